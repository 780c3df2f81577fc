//! Accounts.

use crate::chain::Chain;
use crate::{AccountId, Currency, MaybeAccount, OwnerId};

/// What an account is for. No rule of money depends on it; who may open it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum AccountKind {
    /// A user's money.
    Wallet = 1,
    /// A seller's money.
    Merchant = 2,
    /// The world outside: a bank, a card network. Usually may go negative without limit.
    External = 3,
    /// Fees earned.
    Fee = 4,
    /// Money whose place is not yet known.
    Suspense = 5,
}

/// Whether an account takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum AccountStatus {
    /// May pay and receive.
    Open = 1,
    /// May receive, may not pay.
    Frozen = 2,
    /// Neither; its balance is zero.
    Closed = 3,
}

/// How far below zero an account may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Overdraft(u64);

impl Overdraft {
    /// Not below zero.
    pub const NONE: Overdraft = Overdraft(0);
    /// As far as a balance can be written.
    pub const UNLIMITED: Overdraft = Overdraft(u64::MAX);

    /// Down to `-minor_units`. More than [`crate::AMOUNT_MAX`] is refused when the account is opened.
    pub fn limited(minor_units: u64) -> Self {
        Overdraft(minor_units.min(u64::MAX - 1))
    }

    /// The limit in minor units; `None` means unlimited.
    pub fn limit(self) -> Option<u64> {
        (self != Overdraft::UNLIMITED).then_some(self.0)
    }

    /// As stored: `u64::MAX` means unlimited.
    pub(crate) fn raw(self) -> u64 {
        self.0
    }

    pub(crate) fn from_raw(raw: u64) -> Self {
        Overdraft(raw)
    }
}

/// An account as of its last record. What its opener wrote about it (external id, description, metadata) is in the
/// record at position `id`, not here: millions of these are resident.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Position of the record that opened it.
    pub id: AccountId,
    /// Whose it is.
    pub owner: OwnerId,
    /// The owner's account opened before this one.
    pub owner_prev: MaybeAccount,
    /// Sum of all postings, minor units; never beyond ±[`crate::AMOUNT_MAX`].
    pub posted: i64,
    /// Sum of the open holds, minor units.
    pub held: u64,
    /// How far below zero it may go.
    pub overdraft: Overdraft,
    /// Nanoseconds since the Unix epoch.
    pub opened_at: u64,
    /// Its legs, newest first.
    pub chain: Chain,
    /// Of every posting to it.
    pub currency: Currency,
    /// What it is for.
    pub kind: AccountKind,
    /// Whether it takes part.
    pub status: AccountStatus,
}

impl Account {
    /// What may be spent but for the overdraft: posted less held.
    pub fn available(&self) -> i64 {
        self.posted - self.held as i64
    }

    /// Position of the record that changed it last.
    pub fn changed_at(&self) -> u64 {
        self.chain.last()
    }
}

impl AccountKind {
    /// The stored number.
    pub fn from_number(number: u8) -> Option<Self> {
        [
            Self::Wallet,
            Self::Merchant,
            Self::External,
            Self::Fee,
            Self::Suspense,
        ]
        .into_iter()
        .find(|kind| *kind as u8 == number)
    }
}

impl AccountStatus {
    /// The stored number.
    pub fn from_number(number: u8) -> Option<Self> {
        [Self::Open, Self::Frozen, Self::Closed]
            .into_iter()
            .find(|status| *status as u8 == number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_million_accounts_fit_in_memory_twice() {
        assert!(
            size_of::<Option<Account>>() <= 96,
            "{}",
            size_of::<Option<Account>>()
        );
    }
}
