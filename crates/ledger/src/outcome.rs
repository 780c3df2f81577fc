//! Outcomes: results of commands.

use smallvec::SmallVec;

use crate::{
    Account, AccountId, ApiKey, Details, Leg, LimitUse, Owner, OwnerId, Payment, Rejection,
    ReplyTo, SettingChange,
};

/// Result of a command: a rejection, or after-images of all changed objects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Reason of the refusal. A refused command changes only the chains of the accounts that it names.
    pub rejection: Option<Rejection>,
    /// Legs, at most [`crate::LEGS_MAX`]. For an accepted payment command: the source, then, if the payment [reached its
    /// payees](Payment::reached_payees), one leg per share in the payment's order.
    pub legs: SmallVec<[Leg; 3]>,
    /// Payment after the record. For a refused `Pay`, and for a `Run` that made the payment fail, the failed payment; for any other
    /// refused command, none.
    pub payment: Option<Payment>,
    /// Payout after the record that returned it; `payment` is the return.
    pub payout: Option<Box<Payment>>,
    /// Account after the record, if the account was opened or its status changed: includes the leg. Of an update of an account: the
    /// account as it was, so that its event shows it.
    pub account: Option<Box<Account>>,
    /// Owner after the record, if changed.
    pub owner: Option<Box<Owner>>,
    /// API key after the record, if changed.
    pub api_key: Option<Box<ApiKey>>,
    /// Change of the setting, for an accepted put or delete.
    pub setting: Option<Box<SettingChange>>,
    /// Details after the record: of the account or owner that was updated, of the owner that was created, and of an account whose
    /// status changed and that was updated before.
    pub details: Option<Box<Details>>,
    /// Owners that see an updated payment, each once, ascending: see [`Payment::viewers`].
    pub payment_owners: SmallVec<[OwnerId; 2]>,
    /// First account that lacks funds, of a refund or a return that is refused with [`Rejection::InsufficientFunds`]. Of a payment,
    /// the account is the source, which the command names.
    pub short_of_funds: Option<AccountId>,
    /// Of a payment that holds or moves its money: how it used each limit that counts it, at most [`crate::LIMITS_PER_PAYMENT_MAX`]. Of one
    /// that is refused with [`Rejection::LimitExceeded`]: the limit.
    pub limits: SmallVec<[LimitUse; 1]>,
    /// Receiver of the result, for the record that takes a queued payment out of the queue.
    pub reply_to: Option<ReplyTo>,
}

impl Outcome {
    /// Returns whether the command was accepted.
    pub fn is_accepted(&self) -> bool {
        self.rejection.is_none()
    }

    /// Resets the outcome to the default and keeps its memory.
    pub(crate) fn clear(&mut self) {
        self.rejection = None;
        self.legs.clear();
        self.payment = None;
        self.payout = None;
        self.account = None;
        self.owner = None;
        self.api_key = None;
        self.setting = None;
        self.details = None;
        self.payment_owners.clear();
        self.short_of_funds = None;
        self.limits.clear();
        self.reply_to = None;
    }
}
