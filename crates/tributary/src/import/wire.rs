//! Movements as commands of the HTTP API.

use serde_json::{Map, Value, json};

use super::map::{Overdraft, PaymentKind};
use super::movement::{AccountSpec, Movement};
use crate::batch::BatchCommand;
use crate::client::encode_query_value;

/// Returns the command that opens an account. The idempotency key does not depend on the map, so that several maps can share accounts.
pub(super) fn open_account(spec: &AccountSpec) -> BatchCommand {
    let mut fields = json!({
        "owner": spec.owner,
        "external_id": spec.external_id,
        "kind": spec.kind,
        "currency": spec.currency,
    });
    match spec.overdraft {
        Overdraft::Limit(0) => {}
        Overdraft::Limit(limit) => fields["overdraft"] = json!(limit),
        Overdraft::Unlimited => fields["overdraft"] = json!("unlimited"),
    }
    let name = blake3::hash(format!("{}\n{}", spec.owner, spec.external_id).as_bytes()).to_hex();
    BatchCommand::new("account", format!("import-account:{}", &name[..32]), fields)
}

/// Returns the path and query that find an account.
pub(super) fn find_account(spec: &AccountSpec) -> String {
    format!(
        "/v1/accounts?limit=1&owner={}&external_id={}",
        encode_query_value(&spec.owner),
        encode_query_value(&spec.external_id)
    )
}

/// Returns the id in the answer to [`find_account`].
pub(super) fn found_account(answer: &Value) -> Option<String> {
    Some(answer["data"].get(0)?["id"].as_str()?.to_owned())
}

/// Error code and reason.
pub(super) type Refused = (String, String);

/// Returns the command for a movement; `id` returns the id of an account.
pub(super) fn payment(
    movement: &Movement,
    id: &dyn Fn(&AccountSpec) -> Result<String, Refused>,
) -> Result<BatchCommand, Refused> {
    let mut fields = Map::new();
    fields.insert("amount".to_owned(), json!(movement.amount));
    fields.insert("currency".to_owned(), json!(movement.currency));
    fields.insert("source".to_owned(), json!(id(&movement.from)?));
    fields.insert("destination".to_owned(), json!(id(&movement.to)?));
    if let Some((account, fee)) = &movement.fee {
        fields.insert(
            "fees".to_owned(),
            json!([{ "account": id(account)?, "amount": fee }]),
        );
    }
    let texts = [
        ("effective_at", &movement.effective_at),
        ("reference", &movement.reference),
        ("description", &movement.description),
        ("reason", &movement.reason),
    ];
    for (name, text) in texts {
        if let Some(text) = text {
            fields.insert(name.to_owned(), json!(text));
        }
    }
    if !movement.metadata.is_empty() {
        let metadata: Map<String, Value> = movement
            .metadata
            .iter()
            .map(|(name, text)| (name.clone(), json!(text)))
            .collect();
        fields.insert("metadata".to_owned(), Value::Object(metadata));
    }
    if movement.payment == PaymentKind::Payout {
        // What a file lists has happened already.
        fields.insert("paid".to_owned(), json!(true));
    }
    let kind = match movement.payment {
        PaymentKind::Pay => "payment",
        PaymentKind::Transfer => "transfer",
        PaymentKind::TopUp => "top_up",
        PaymentKind::Payout => "payout",
        PaymentKind::Adjustment => "adjustment",
    };
    Ok(BatchCommand::new(
        kind,
        movement.key.clone(),
        Value::Object(fields),
    ))
}
