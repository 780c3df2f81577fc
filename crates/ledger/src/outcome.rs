//! Outcomes: what became of a command.

use smallvec::SmallVec;

use crate::{Account, ApiKey, Leg, Owner, Payment, Rejection, ReplyTo, SettingChange};

/// What became of a command: a rejection, or after-images of all that changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Why not; then nothing changed but the chains of the accounts mentioned.
    pub rejection: Option<Rejection>,
    /// At most [`crate::LEGS_MAX`]. Of an accepted payment command: the source, then one per share in the payment's order.
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
