//! Balances of one account at a moment.

use serde::Serialize;
use tributary_engine::{DatedBalance, IdKind, PastBalance, Reader};
use tributary_ledger::Account;
use utoipa::ToSchema;

use crate::error::ApiError;
use crate::moment::Moment;

/// What an account held at a moment.
#[derive(Serialize, ToSchema)]
#[schema(as = Balance)]
pub struct BalanceObject {
    #[schema(pattern = "^balance$")]
    object: &'static str,
    account: String,
    /// ISO 4217.
    currency: &'static str,
    /// The moment: an event, a time, or a date; null for now.
    #[schema(required)]
    at: Option<String>,
    basis: BalanceBasis,
    /// Sum of the postings, minor units.
    posted: i64,
    /// Held by authorizations that were open, minor units; null on the basis of business dates, which holds do not have.
    #[schema(required, minimum = 0)]
    pending: Option<u64>,
    /// `posted` less `pending`; null where `pending` is null.
    #[schema(required)]
    available: Option<i64>,
    /// The last event of the account that was looked at; null if there is none.
    #[schema(required)]
    last_event: Option<String>,
}

/// Which postings belong to a moment.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum BalanceBasis {
    /// Those that were recorded up to the event or the time.
    Recorded,
    /// Those whose `effective_at` is the date or before it, whenever they were recorded.
    Effective,
}

/// The balance of the account after a record.
pub fn past_balance(
    reader: &Reader,
    account: &Account,
    at: Option<&Moment>,
    balance: PastBalance,
) -> Result<BalanceObject, ApiError> {
    let held = i64::try_from(balance.held).map_err(|_| too_large())?;
    let available = balance.posted.checked_sub(held).ok_or_else(too_large)?;
    Ok(BalanceObject {
        basis: BalanceBasis::Recorded,
        posted: balance.posted,
        pending: Some(balance.held),
        available: Some(available),
        ..object(reader, account, at, balance.last)
    })
}

/// The balance of the account on a business date.
pub fn dated_balance(
    reader: &Reader,
    account: &Account,
    at: &Moment,
    balance: DatedBalance,
) -> Result<BalanceObject, ApiError> {
    Ok(BalanceObject {
        basis: BalanceBasis::Effective,
        posted: i64::try_from(balance.posted).map_err(|_| too_large())?,
        ..object(reader, account, Some(at), balance.through)
    })
}

fn object(reader: &Reader, account: &Account, at: Option<&Moment>, last: u64) -> BalanceObject {
    let ids = reader.ids();
    BalanceObject {
        object: "balance",
        account: ids.encode(IdKind::Account, account.id.0),
        currency: account.currency.code(),
        at: at.map(|at| at.show(ids)),
        basis: BalanceBasis::Recorded,
        posted: 0,
        pending: None,
        available: None,
        last_event: (last > 0).then(|| ids.encode(IdKind::Event, last)),
    }
}

/// Only sums over freely chosen dates can be so large.
fn too_large() -> ApiError {
    ApiError::invalid(
        "at",
        "The postings up to this date sum to more than 64 bits hold.",
    )
}
