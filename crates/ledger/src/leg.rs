//! Legs: the postings of a record.

use crate::{AccountId, Currency};

/// Most payees and fees of one payment.
pub const SHARES_MAX: usize = 16;

/// Most legs of one record: the source and the shares.
pub const LEGS_MAX: usize = 1 + SHARES_MAX;

/// What a record did to one account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leg {
    /// Which.
    pub account: AccountId,
    /// Signed posting, minor units; 0 = touched only (a hold changed, or a refused payment mentions it).
    pub amount: i64,
    /// Balance after, minor units.
    pub posted_after: i64,
    /// Sum of the open holds after, minor units.
    pub held_after: u64,
    /// Position of the account's leg before; 0 = none.
    pub prev: u64,
    /// Position of an older leg to jump to, see [`crate::chain`]; 0 = none.
    pub skip: u64,
    /// Ordinal of the leg in its account, from 1, less than 2^48.
    pub seq: u64,
    /// The account's.
    pub currency: Currency,
}
