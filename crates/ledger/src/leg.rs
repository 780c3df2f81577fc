//! Legs: the postings of a record.

use crate::{AccountId, Currency};

/// Maximum number of payees and fees of a payment.
pub const SHARES_MAX: usize = 16;

/// Maximum number of legs of a record: the source and the shares.
pub const LEGS_MAX: usize = 1 + SHARES_MAX;

/// Effect of a record on one account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leg {
    /// Account.
    pub account: AccountId,
    /// Signed posting, minor units; 0 = only a hold changed, or a refused payment names the account.
    pub amount: i64,
    /// Balance after the record, minor units.
    pub posted_after: i64,
    /// Sum of the open holds after the record, minor units.
    pub held_after: u64,
    /// Position of the previous leg of the account; 0 = none.
    pub prev: u64,
    /// Position of an older leg that readers can skip to, see [`crate::chain`]; 0 = none.
    pub skip: u64,
    /// Number of the leg in its account, from 1, less than 2^48.
    pub seq: u64,
    /// Currency of the account.
    pub currency: Currency,
}
