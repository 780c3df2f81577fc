//! Accounts.

use crate::chain::Chain;
use crate::{AccountId, Currency, MaybeAccount, OwnerId};

/// Purpose of an account. No rule of money depends on the kind; the permission to open the account does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum AccountKind {
    /// Money of a user.
    Wallet = 1,
    /// Money of a seller.
    Merchant = 2,
    /// Money outside the system, for example at a bank or a card network. Usually has an unlimited overdraft.
    External = 3,
    /// Fees that the platform earned.
    Fee = 4,
    /// Money that is not yet assigned to another account.
    Suspense = 5,
}

/// Whether an account can pay and receive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum AccountStatus {
    /// The account can pay and receive.
    Open = 1,
    /// The account can receive but not pay.
    Frozen = 2,
    /// The account can neither pay nor receive. Its balance is zero.
    Closed = 3,
}

/// Overdraft limit of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Overdraft(u64);

impl Overdraft {
    /// No overdraft: the available balance cannot go below zero.
    pub const NONE: Overdraft = Overdraft(0);
    /// No limit but the smallest balance, `-AMOUNT_MAX`.
    pub const UNLIMITED: Overdraft = Overdraft(u64::MAX);

    /// Returns an overdraft limit in minor units. The ledger refuses to open an account with a limit above [`crate::AMOUNT_MAX`].
    pub fn limited(minor_units: u64) -> Self {
        Overdraft(minor_units.min(u64::MAX - 1))
    }

    /// Returns the limit in minor units; `None` means unlimited.
    pub fn limit(self) -> Option<u64> {
        (self != Overdraft::UNLIMITED).then_some(self.0)
    }

    /// Returns the limit as stored: `u64::MAX` means unlimited.
    pub(crate) fn raw(self) -> u64 {
        self.0
    }

    pub(crate) fn from_raw(raw: u64) -> Self {
        Overdraft(raw)
    }
}

/// State of an account after its last record. The external id, the description and the metadata are only in the
/// record at position `id`, because millions of accounts are resident.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Position of the record that opened the account.
    pub id: AccountId,
    /// Owner of the account.
    pub owner: OwnerId,
    /// Account of the same owner that was opened before this one.
    pub owner_prev: MaybeAccount,
    /// Balance: sum of all postings, minor units, within ±[`crate::AMOUNT_MAX`].
    pub posted: i64,
    /// Sum of the open holds, minor units.
    pub held: u64,
    /// Overdraft limit.
    pub overdraft: Overdraft,
    /// Time of opening, nanoseconds since the Unix epoch.
    pub opened_at: u64,
    /// Chain of the legs of the account, from the newest.
    pub chain: Chain,
    /// Currency of every posting to the account.
    pub currency: Currency,
    /// Purpose of the account.
    pub kind: AccountKind,
    /// Whether the account can pay and receive.
    pub status: AccountStatus,
}

impl Account {
    /// Returns the available balance without the overdraft, minor units: `posted - held`.
    pub fn available(&self) -> i64 {
        self.posted - self.held as i64
    }

    /// Returns the position of the last record that changed the account.
    pub fn changed_at(&self) -> u64 {
        self.chain.last()
    }
}

impl AccountKind {
    /// Returns the value with this stored number, if there is one.
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
    /// Returns the value with this stored number, if there is one.
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
