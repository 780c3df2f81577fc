//! What streams know of an event that its object does not show: who paid whom, what moved, and how long the payment waited.

use tributary_engine::Reader;
use tributary_ledger::codec::Record;
use tributary_ledger::{AccountId, OwnerId};

/// Nanoseconds of a millisecond.
const NS_PER_MS: u64 = 1_000_000;

/// Returns the time of a record in milliseconds since 1970, rounded down.
#[must_use]
pub fn recorded_ms(record: &Record) -> u64 {
    record.ctx.timestamp / NS_PER_MS
}

/// Returns what a record itself moved from or to the account that pays, in minor units; none if it is about no payment.
#[must_use]
pub fn amount_moved(record: &Record) -> Option<u64> {
    let source = record.outcome.payment.as_ref()?.source;
    let legs = record.outcome.legs.iter();
    let of_source = legs.filter(|leg| leg.account == source);
    Some(of_source.map(|leg| leg.amount.unsigned_abs()).sum())
}

/// Returns how long before a record its payment was asked for, in milliseconds; none if it is about no payment.
#[must_use]
pub fn waited_ms(record: &Record) -> Option<u64> {
    let payment = record.outcome.payment.as_ref()?;
    Some(record.ctx.timestamp.saturating_sub(payment.created_at) / NS_PER_MS)
}

/// Returns the name of the owner of the account that pays.
#[must_use]
pub fn payer(reader: &Reader, record: &Record) -> Option<String> {
    account_owner(reader, record.outcome.payment.as_ref()?.source)
}

/// Returns the name of the owner of the first payee's account.
#[must_use]
pub fn payee(reader: &Reader, record: &Record) -> Option<String> {
    let payees = record.outcome.payment.as_ref()?.payees();
    account_owner(reader, payees.first()?.account)
}

/// Returns the name of an owner; none if there is none.
#[must_use]
pub fn known_owner(reader: &Reader, owner: OwnerId) -> Option<String> {
    match owner {
        OwnerId::PLATFORM => Some("platform".to_owned()),
        owner => reader.owner_name(owner).map(|name| name.to_string()),
    }
}

/// Returns the name of the owner of an account; none if there is no such account.
#[must_use]
pub fn account_owner(reader: &Reader, account: AccountId) -> Option<String> {
    known_owner(reader, reader.account_owner(account)?)
}
