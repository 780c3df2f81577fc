//! Lines of statements, such that a person can read them.

use serde::Serialize;
use tributary_engine::{IdKind, Reader, StatementLine};
use tributary_ledger::{AccountId, Body, PaymentKind};
use utoipa::ToSchema;

use crate::caller::Caller;
use crate::error::ApiError;
use crate::form::request::Notes;
use crate::render::account::AccountOrId;
use crate::render::common::{created, event_type, owner_name, payment_of};
use crate::render::owner::OwnerOrName;
use crate::render::payment::{PaymentKindForm, PaymentOrId, effective_at};
use crate::time::format_timestamp;

/// One line of an account's statement.
#[derive(Serialize, ToSchema)]
#[schema(as = Entry)]
pub struct EntryObject {
    /// The event that made it.
    id: String,
    #[schema(pattern = "^entry$")]
    object: &'static str,
    account: String,
    /// Added to the account, minor units; below zero: taken.
    amount: i64,
    /// ISO 4217.
    currency: &'static str,
    /// Sum of all postings after this one, minor units.
    balance: i64,
    /// Held after it, minor units.
    #[schema(minimum = 0)]
    pending: u64,
    /// The payment that it belongs to.
    #[schema(required, value_type = Option<PaymentOrId>)]
    payment: Option<String>,
    /// Kind of that payment.
    #[schema(required)]
    payment_kind: Option<PaymentKindForm>,
    /// Where the money came from or went to: the accounts that the same event changed in the other direction.
    counterparties: Vec<CounterpartyObject>,
    /// Reference of the payment.
    #[schema(required)]
    reference: Option<String>,
    /// Type of the event.
    #[serde(rename = "type")]
    kind: String,
    /// Description of this event; the payment's, if the event has none.
    #[schema(required)]
    description: Option<String>,
    /// Why the adjustment was made, or why the money of a payout came back.
    #[schema(required)]
    reason: Option<String>,
    /// The date of the business.
    #[schema(format = Date)]
    effective_at: String,
    #[schema(format = DateTime)]
    created: String,
}

/// The other side of a posting.
#[derive(Serialize, ToSchema)]
#[schema(as = Counterparty)]
pub struct CounterpartyObject {
    #[schema(value_type = AccountOrId)]
    account: String,
    /// Owner of the account; null where the API key may not see the account.
    #[schema(required, value_type = Option<OwnerOrName>)]
    owner: Option<String>,
}

/// What a person must know of a posting besides its amount.
pub struct LineDetails {
    /// Kind of the payment.
    pub payment_kind: Option<PaymentKind>,
    /// Accounts that the same record changed in the other direction, with the owner where the caller may see the account.
    pub counterparties: Vec<(AccountId, Option<String>)>,
    /// Reference of the payment.
    pub reference: Option<String>,
    /// Description of the record, or else of the payment.
    pub description: Option<String>,
    /// Reason of the adjustment or of the payout's return.
    pub reason: Option<String>,
}

impl LineDetails {
    /// Looks up the details of a line, which the caller may see.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub fn find(
        reader: &Reader,
        caller: &Caller,
        line: &StatementLine,
    ) -> Result<LineDetails, ApiError> {
        let (record, leg) = (&line.record, &line.leg);
        let payment = record.outcome.payment.as_ref();
        let others = record.outcome.legs.iter();
        let others = others.filter(|other| other.amount.signum() == -leg.amount.signum());
        let owner_of = |account| {
            let account = reader.account(account);
            let seen = account.filter(|account| caller.sees_account(account));
            seen.map(|account| owner_name(reader, account.owner))
        };
        // A capture, a refund and a queued payment that is run are records of their own.
        let asked = match (payment, &record.command.body) {
            (Some(payment), body) if !matches!(body, Body::Pay(_)) => {
                Some(created(reader, payment.id.0)?)
            }
            _ => None,
        };
        let asked = asked.as_ref().unwrap_or(record);
        let (reference, reason) = match &asked.command.body {
            Body::Pay(pay) => (pay.reference.as_ref(), pay.reason.as_ref()),
            Body::ReturnPayout(give) => (None, give.reason.as_ref()),
            _ => (None, None),
        };
        let description = Notes::read(record.command.text.as_ref()).description;
        Ok(LineDetails {
            payment_kind: payment.map(|payment| payment.kind),
            counterparties: others
                .map(|other| (other.account, owner_of(other.account)))
                .collect(),
            reference: reference.map(ToString::to_string),
            description: description
                .or_else(|| Notes::read(asked.command.text.as_ref()).description),
            reason: reason.map(ToString::to_string),
        })
    }
}

/// One line of a statement.
pub fn entry(
    reader: &Reader,
    caller: &Caller,
    line: &StatementLine,
) -> Result<EntryObject, ApiError> {
    let ids = reader.ids();
    let (record, leg) = (&line.record, &line.leg);
    let details = LineDetails::find(reader, caller, line)?;
    Ok(EntryObject {
        id: ids.encode(IdKind::Event, record.ctx.position),
        object: "entry",
        account: ids.encode(IdKind::Account, leg.account.0),
        amount: leg.amount,
        currency: leg.currency.code(),
        balance: leg.posted_after,
        pending: leg.held_after,
        payment: payment_of(record).map(|payment| ids.encode(IdKind::Payment, payment.0)),
        payment_kind: details.payment_kind.map(PaymentKindForm::new),
        counterparties: details
            .counterparties
            .into_iter()
            .map(|(account, owner)| CounterpartyObject {
                account: ids.encode(IdKind::Account, account.0),
                owner,
            })
            .collect(),
        reference: details.reference,
        kind: event_type(record),
        description: details.description,
        reason: details.reason,
        effective_at: effective_at(record),
        created: format_timestamp(record.ctx.timestamp),
    })
}
