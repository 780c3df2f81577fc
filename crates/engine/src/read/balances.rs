//! Balances of the past: after a record, or of a business date.
//!
//! What an account held after a record is found through its chain, in a few reads. A business date may lie long before or after
//! the record that names it, so a balance of a date adds up every posting, within a bound.

use std::collections::{BTreeMap, HashMap};

use tributary_ledger::codec::{Operation, RecordRef};
use tributary_ledger::{Account, AccountId, AccountKind, Currency, CurrencyTotals, Date};

use super::Reader;
use super::accounts::accounts_slice;
use super::walk::{ChainEnd, Records};
use crate::failure::Failure;

/// Maximum number of records of an account that its balance of a date adds up, if nothing else is configured.
pub const DATED_RECORDS_MAX: u64 = 50_000;
/// Maximum number of records of a journal that its trial balance of a date adds up.
pub const TRIAL_RECORDS_MAX: u64 = 1_000_000;
/// Maximum number of accounts, changed since then, that a trial balance of the past looks up.
pub const TRIAL_ACCOUNTS_MAX: u64 = 10_000;

/// Balances by currency and kind of account.
pub type Totals = BTreeMap<(Currency, AccountKind), CurrencyTotals>;

/// What an account held after a record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PastBalance {
    /// Sum of the postings, minor units.
    pub posted: i64,
    /// Sum of the open holds, minor units.
    pub held: u64,
    /// Position of the last record that touched the account; 0 = none.
    pub last: u64,
}

/// What was posted to an account up to a business date.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DatedBalance {
    /// Sum of the postings, minor units. Dates can be given freely, so this sum has not the bounds of a balance.
    pub posted: i128,
    /// Position of the last record of the account that was looked at; 0 = none.
    pub through: u64,
}

impl Reader {
    /// Returns the position of the last record that was made at or before `time`, nanoseconds since the Unix epoch; 0 if there is
    /// none.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub fn position_by(&self, time: u64) -> Result<u64, Failure> {
        let after = self.position_at(time.saturating_add(1), self.published())?;
        Ok(after - 1)
    }

    /// Returns what the account held after the record at `position`; none if there is no such account.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub fn balance_at(
        &self,
        account: AccountId,
        position: u64,
    ) -> Result<Option<PastBalance>, Failure> {
        let Some(account) = self.account(account) else {
            return Ok(None);
        };
        let mut records = Records::new(&*self.journal);
        past_balance(&mut records, &account, position).map(Some)
    }

    /// Returns what was posted to the account on `date` and before, by business dates. None if the account has more than
    /// `records_max` records (see [`DATED_RECORDS_MAX`]), or does not exist.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub fn balance_on(
        &self,
        account: AccountId,
        date: Date,
        records_max: u64,
    ) -> Result<Option<DatedBalance>, Failure> {
        let Some(account) = self.account(account) else {
            return Ok(None);
        };
        if account.chain.seq() > records_max {
            return Ok(None);
        }
        let mut records = Records::new(&*self.journal);
        let mut balance = DatedBalance {
            posted: 0,
            through: account.chain.last(),
        };
        let mut next = balance.through;
        while next != 0 {
            let (effective_at, leg) = records.dated_leg(account.id, next)?;
            if effective_at <= date {
                balance.posted += i128::from(leg.amount);
            }
            next = leg.prev;
        }
        Ok(Some(balance))
    }

    /// Returns the balances after the record at `position`. None if more than [`TRIAL_ACCOUNTS_MAX`] accounts changed since.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub fn trial_balance_at(&self, position: u64) -> Result<Option<Totals>, Failure> {
        let mut records = Records::new(&*self.journal);
        let mut totals = Totals::new();
        let (mut first, mut changed) = (1, 0);
        loop {
            let accounts = accounts_slice(&self.view.read(), first, position, false);
            let Some(last) = accounts.last() else {
                return Ok(Some(totals));
            };
            first = last.id.0 + 1;
            for mut account in accounts {
                if account.chain.last() > position {
                    changed += 1;
                    if changed > TRIAL_ACCOUNTS_MAX {
                        return Ok(None);
                    }
                    let past = past_balance(&mut records, &account, position)?;
                    (account.posted, account.held) = (past.posted, past.held);
                }
                let kind = (account.currency, account.kind);
                totals.entry(kind).or_default().add(&account);
            }
        }
    }

    /// Returns the balances of `date`, by business dates and without holds, and the position of the last record that was looked
    /// at. None if the journal has more than [`TRIAL_RECORDS_MAX`] records.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub fn trial_balance_on(&self, date: Date) -> Result<Option<(u64, Totals)>, Failure> {
        let head = self.published();
        if head > TRIAL_RECORDS_MAX {
            return Ok(None);
        }
        let mut records = Records::new(&*self.journal);
        let mut sums: HashMap<AccountId, i128> = HashMap::new();
        for position in 1..=head {
            records.read(position, |record| {
                if record.effective_at() > date {
                    return;
                }
                if opens_account(record) {
                    sums.entry(AccountId(position)).or_default();
                }
                for leg in record.legs().filter(|leg| leg.amount != 0) {
                    *sums.entry(leg.account).or_default() += i128::from(leg.amount);
                }
            })?;
        }
        let mut totals = Totals::new();
        for (id, posted) in sums {
            let Some(account) = self.account(id) else {
                let what = format!("it names account {}, which is missing", id.0);
                return Err(crate::payload::damaged(id.0, what));
            };
            let kind = totals.entry((account.currency, account.kind)).or_default();
            kind.accounts += 1;
            if posted < 0 {
                kind.debit -= posted;
            } else {
                kind.credit += posted;
            }
        }
        Ok(Some((head, totals)))
    }
}

fn opens_account(record: &RecordRef<'_>) -> bool {
    record.operation() == Operation::OpenAccount && record.rejection().is_none()
}

/// What the account, as it is now, held after the record at `position`.
fn past_balance(
    records: &mut Records<'_>,
    account: &Account,
    position: u64,
) -> Result<PastBalance, Failure> {
    let last = account.chain.last();
    if last <= position {
        return Ok(PastBalance {
            posted: account.posted,
            held: account.held,
            last,
        });
    }
    let end = ChainEnd {
        account: account.id,
        last,
        seq: account.chain.seq(),
    };
    let link = records.seek(end, tributary_ledger::chain::Until::Position(position))?;
    Ok(link.map_or_else(PastBalance::default, |link| PastBalance {
        posted: link.leg.posted_after,
        held: link.leg.held_after,
        last: link.position,
    }))
}
