//! The constants of a map: what the API would refuse in every payment is refused when the map is put.

use serde_json::{Map, Value};
use tributary_ledger::Currency;

use crate::error::ApiError;
use crate::form::queue::QueueForm;
use crate::form::value::{AccountText, ExternalIdText, OwnerText};
use crate::map::definition::{AccountSource, Definition, MovementKind, Rule};
use crate::map::document::Paths;
use crate::map::fault::{Fault, FaultCode};
use crate::map::payment::{read, read_operation, refused};
use crate::map::plan::{AccountName, AccountTarget, Movement};
use crate::map::queue::QueueTemplates;
use crate::map::template::Template;

/// Refuses constants that the API would refuse in every payment.
pub(super) fn check_constants(
    definition: &Definition,
    paid: bool,
    queue: Option<&QueueTemplates>,
) -> Result<(), Fault> {
    for (label, account) in &definition.accounts {
        check_account(account).map_err(|fault| fault.within(&format!("accounts.{label}")))?;
    }
    let code = constant(&definition.currency, "currency")?;
    let currency = Currency::from_code(code.as_deref().unwrap_or("EUR"));
    let currency = currency.map_err(|_| {
        let why = format!("`{}` is not an ISO 4217 currency", definition.currency);
        Fault::map("currency", why)
    })?;
    if let Some(queue) = queue {
        let constants = queue.parse(&mut Paths::default())?.constants();
        read::<QueueForm>(&constants).map_err(|error| wrong(&error).within("queue"))?;
    }
    for (number, rule) in definition.rules.iter().enumerate() {
        let Some(payment) = rule.payment.filter(|_| !rule.skip) else {
            continue;
        };
        let fields = sample(paid, payment, currency, rule);
        fields
            .and_then(|fields| read_operation(payment, &fields).map_err(|error| wrong(&error)))
            .map_err(|fault| fault.within(&format!("rules[{number}]")))?;
    }
    Ok(())
}

fn check_account(account: &AccountSource) -> Result<(), Fault> {
    type Parse = fn(&str) -> Result<(), ApiError>;
    let checks: [(&str, &Option<String>, Parse); 3] = [
        ("external_id", &account.external_id, |text| {
            ExternalIdText::parse(text, "external_id").map(drop)
        }),
        ("owner", &account.owner, |text| {
            OwnerText::parse(text, "owner").map(drop)
        }),
        ("id", &account.id, |text| {
            AccountText::parse(text, "id").map(drop)
        }),
    ];
    for (field, text, parse) in checks {
        let Some(text) = text else { continue };
        if let Some(text) = constant(text, field)? {
            parse(&text).map_err(|error| wrong(&error))?;
        }
    }
    Ok(())
}

/// Returns a payment of the rule: constants as they are, and texts that the API takes for everything that comes from a message.
fn sample(
    paid: bool,
    payment: MovementKind,
    currency: Currency,
    rule: &Rule,
) -> Result<Map<String, Value>, Fault> {
    const ID: &str = "acct_00000000000000000000000000";
    let text = |text: &Option<String>, field: &str| match text {
        None => Ok(None),
        Some(text) => Ok(Some(
            constant(text, field)?.unwrap_or_else(|| "x".to_owned()),
        )),
    };
    if let Some(reference) = &rule.reference
        && constant(reference, "reference")?.is_some()
    {
        let why = "the reference would be the same for every message: name a field in it";
        return Err(Fault::map("reference", why));
    }
    let mut metadata = Vec::new();
    for (name, value) in &rule.metadata {
        let value = constant(value, &format!("metadata.{name}"))?;
        metadata.push((name.clone(), value.unwrap_or_else(|| "x".to_owned())));
    }
    let account = || AccountName {
        label: "".into(),
        target: AccountTarget::Id(ID.to_owned()),
    };
    let movement = Movement {
        payment,
        from: account(),
        to: account(),
        amount: 1,
        currency,
        fee: rule.fee.as_ref().map(|_| (account(), 1)),
        effective_at: None,
        reference: text(&rule.reference, "reference")?,
        description: None,
        description_cut: false,
        metadata,
        reason: text(&rule.reason, "reason")?,
    };
    movement.to_fields(paid, |_| Ok(ID.to_owned()))
}

fn wrong(error: &ApiError) -> Fault {
    refused(FaultCode::MapInvalid, error)
}

/// Returns the text of a template that is the same for every message; none if it is not.
fn constant(text: &str, field: &str) -> Result<Option<String>, Fault> {
    let template = Template::parse(text, &mut Paths::default());
    let template = template.map_err(|fault| fault.of(field))?;
    Ok(template.constant().map(str::to_owned))
}
