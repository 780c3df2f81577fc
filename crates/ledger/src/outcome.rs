//! Outcomes: what became of a command.

use smallvec::SmallVec;

use crate::{
    Account, AccountId, ApiKey, Currency, Owner, Payment, Rejection, ReplyTo, SettingChange,
};

/// Most payees and fees of one payment.
pub const SHARES_MAX: usize = 16;

/// Most legs of one record: the source and the shares.
pub const LEGS_MAX: usize = 1 + SHARES_MAX;

/// Where and when a command is decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Context {
    /// Position of its record, from 1.
    pub position: u64,
    /// Nanoseconds since the Unix epoch; never before that of the record before.
    pub timestamp: u64,
}

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

/// What became of a command: a rejection, or after-images of all that changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Why not; then nothing changed but the chains of the accounts mentioned.
    pub rejection: Option<Rejection>,
    /// At most [`LEGS_MAX`]. Of an accepted payment command: the source, then one per share in the payment's order.
    pub legs: SmallVec<[Leg; 3]>,
    /// The payment after; of a refused `Pay` the failed payment, and of a `Run` by which the payment failed; of any other
    /// refused command none.
    pub payment: Option<Payment>,
    /// The account after, where its status changed; includes its leg.
    pub account: Option<Box<Account>>,
    /// The owner after.
    pub owner: Option<Box<Owner>>,
    /// The API key after.
    pub api_key: Option<Box<ApiKey>>,
    /// The change of a setting, of an accepted put or delete.
    pub setting: Option<Box<SettingChange>>,
    /// Who is told, of the record by which a queued payment leaves the queue.
    pub reply_to: Option<ReplyTo>,
}

impl Outcome {
    /// Whether the command was done.
    pub fn is_accepted(&self) -> bool {
        self.rejection.is_none()
    }

    /// Makes it the default again.
    pub(crate) fn clear(&mut self) {
        self.rejection = None;
        self.legs.clear();
        self.payment = None;
        self.account = None;
        self.owner = None;
        self.api_key = None;
        self.setting = None;
        self.reply_to = None;
    }
}
