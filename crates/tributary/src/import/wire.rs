//! Movements as commands of the HTTP API.

use serde_json::{Value, json};
use tributary_api::map::AccountName;

use super::map::Overdraft;
use super::movement::{AccountSpec, RowPayment};
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

/// Returns the command for a payment; `id` returns the id of an account.
pub(super) fn payment(
    payment: &RowPayment,
    id: &dyn Fn(&AccountName) -> Result<String, Refused>,
) -> Result<BatchCommand, Refused> {
    let movement = &payment.movement;
    // What a file lists has happened already.
    let fields = movement.to_fields(true, id)?;
    Ok(BatchCommand::new(
        movement.payment.operation(),
        payment.key.clone(),
        Value::Object(fields),
    ))
}
