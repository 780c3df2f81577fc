//! Commands: requests to change the ledger.

use crate::{
    Access, AccountId, AccountKind, AdvanceTime, ApiKeyId, Assessment, Context, CorrelationId,
    Currency, Data, Date, ExternalId, Key, Label, ManagedBy, ObjectId, OrderKey, Origin, Overdraft,
    OwnerId, OwnerName, OwnerProfile, PaymentId, QueueMode, QueueTerms, Reason, Reference,
    RiskLabel, Setting, SettingBody, SettingChange, SettingId, SettingKind, Slug, Text, Topic,
    Updated,
};

/// Actor of a command: an owner and an API key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Actor {
    /// Owner for whom the actor acts; [`OwnerId::PLATFORM`] is allowed to do everything.
    pub owner: OwnerId,
    /// API key of the request; [`ApiKeyId::SYSTEM`] is the system itself and is trusted.
    pub api_key: ApiKeyId,
}

impl Actor {
    /// The system itself, acting for the platform (first start, timers).
    pub const SYSTEM: Actor = Actor {
        owner: OwnerId::PLATFORM,
        api_key: ApiKeyId::SYSTEM,
    };
}

/// A request to change the ledger. Every command becomes one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// Idempotency key, unique per `actor.owner`.
    pub key: Key,
    /// Actor of the command.
    pub actor: Actor,
    /// Whether the command and the next command of the batch are accepted or refused together.
    pub linked: bool,
    /// Business date; none = the UTC date of the record.
    pub effective_at: Option<Date>,
    /// Description and metadata, which the ledger does not read.
    pub text: Option<Text>,
    /// Message from which the system made the command; none for a command of a caller. The digest does not cover the origin.
    pub origin: Option<Box<Origin>>,
    /// What the rules for risk found; only of a payment that is made or runs. The digest does not cover it.
    pub assessment: Option<Box<Assessment>>,
    /// Operation and its arguments.
    pub body: Body,
}

/// Operation of a command, with its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// Open an account.
    OpenAccount(OpenAccount),
    /// Freeze an account: it can receive but not pay.
    FreezeAccount(AccountId),
    /// Unfreeze an account: it can pay again.
    UnfreezeAccount(AccountId),
    /// Close an empty account permanently.
    CloseAccount(AccountId),
    /// Move or hold money.
    Pay(Pay),
    /// Capture all or a part of a hold.
    Capture(Capture),
    /// Release a hold, or cancel a queued payment.
    Void(PaymentId),
    /// Release a hold that has expired.
    Expire(PaymentId),
    /// Decide a queued payment that is due or has expired.
    Run(PaymentId),
    /// Approve a payment that is in review.
    Approve(Approve),
    /// Record what people find out about a payment.
    Investigate(Box<Investigate>),
    /// Refund all or a part of the captured amount.
    Refund(Refund),
    /// Record that a pending payout was paid, or that it failed.
    SettlePayout(SettlePayout),
    /// Record that a paid payout came back, all or a part.
    ReturnPayout(ReturnPayout),
    /// Create an API key.
    CreateApiKey(CreateApiKey),
    /// Replace the secret of an API key.
    RotateApiKey {
        /// API key to rotate.
        api_key: ApiKeyId,
        /// Keyed hash of the new secret.
        secret_hash: [u8; 32],
        /// Time for which the old secret stays valid, nanoseconds; at most [`crate::API_KEY_OVERLAP_MAX`], and more counts as
        /// that. 0 = the old secret ends at once.
        overlap: u64,
    },
    /// Revoke an API key permanently.
    RevokeApiKey(ApiKeyId),
    /// Publish an event of an application.
    Publish(Publish),
    /// Pause, drain or resume the queue of payments.
    SetQueue(QueueMode),
    /// Create a setting, or replace its content.
    PutSetting(Box<PutSetting>),
    /// Delete a setting.
    DeleteSetting(DeleteSetting),
    /// Create an owner before its first account or API key.
    CreateOwner(Box<CreateOwner>),
    /// Update the description, the metadata or other details of an object.
    Update(Box<Update>),
    /// Move the clock forwards. The record is internal: it is no event.
    AdvanceTime(AdvanceTime),
}

/// Open an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenAccount {
    /// Name of the owner. A new name creates an owner.
    pub owner: OwnerName,
    /// Currency of the account.
    pub currency: Currency,
    /// Purpose of the account.
    pub kind: AccountKind,
    /// Overdraft limit.
    pub overdraft: Overdraft,
    /// Name that the owner gives to the account, unique among the owner's accounts.
    pub external_id: Option<ExternalId>,
}

/// Kind of a payment. All kinds share one state machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum PaymentKind {
    /// Payment from a customer to a merchant.
    Pay = 1,
    /// Transfer between users.
    Transfer = 2,
    /// Deposit of money from outside the system.
    TopUp = 3,
    /// Withdrawal of money to outside the system.
    Payout = 4,
    /// Correction by the platform. Requires a reason; cannot be held or refunded.
    Adjustment = 5,
    /// Money of a paid payout that came back. Only [`Body::ReturnPayout`] creates one.
    PayoutReturn = 6,
}

/// Move or hold money from one account to one or several accounts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pay {
    /// Kind of the payment.
    pub kind: PaymentKind,
    /// Account that pays.
    pub source: AccountId,
    /// Payees, who receive the amount less the fees.
    pub destination: Destination,
    /// Fees, which are part of `amount`.
    pub fees: Fees,
    /// Total amount, minor units.
    pub amount: u64,
    /// Currency of the payment and of all its accounts.
    pub currency: Currency,
    /// Terms of the hold, if the amount is only held (authorized).
    pub hold: Option<Hold>,
    /// Name that the requester gives to the payment, unique within its [`crate::ReferenceSpace`].
    pub reference: Option<Reference>,
    /// Owner for whom the reference is unique, set by the platform only: the payer or a payee. None = the requester.
    pub reference_scope: Option<OwnerId>,
    /// Reason; required for an adjustment.
    pub reason: Option<Reason>,
    /// Terms of the queue, if the payment is decided later.
    pub queue: Option<Box<Queue>>,
}

/// Queue terms and correlation id of a payment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Queue {
    /// When the payment runs, its priority, and where the result goes.
    pub terms: QueueTerms,
    /// Correlation id that is sent with the result.
    pub correlation_id: Option<CorrelationId>,
}

/// Maximum number of accounts that a payment command can name. An accepted payment names at most [`crate::LEGS_MAX`].
pub const NAMED_ACCOUNTS_MAX: usize = 1 + 2 * crate::SHARES_MAX;

/// Terms of a hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hold {
    /// Time from which the hold cannot be captured, nanoseconds since the Unix epoch.
    pub expires_at: u64,
}

impl Hold {
    /// Expiry of a hold that never expires. The hold of a payout has this expiry: only the platform settles a payout.
    pub const NO_EXPIRY: u64 = u64::MAX;
    /// Hold of a payout.
    pub const OF_PAYOUT: Hold = Hold {
        expires_at: Hold::NO_EXPIRY,
    };
}

/// Payees, who receive the amount less the fees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// One payee receives everything.
    One(AccountId),
    /// Several payees share.
    Split(Payees),
}

/// Part of one payee of a split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Account of the payee.
    pub account: AccountId,
    /// Size of the part.
    pub part: Part,
}

/// Size of the part of a payee.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Exact amount, minor units.
    Amount(u64),
    /// Basis points of the amount less fees and exact parts. The basis points of one payment sum to 10,000.
    BasisPoints(u16),
}

/// A fee: `flat` plus `basis_points` of the payment's amount, rounded down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fee {
    /// Account that earns the fee.
    pub account: AccountId,
    /// Fixed part, minor units.
    pub flat: u64,
    /// Proportional part, in basis points of the amount.
    pub basis_points: u16,
}

macro_rules! bounded_list {
    ($(#[$doc:meta])* $name:ident, $item:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct $name(Box<[$item]>);

        impl $name {
            /// Returns the list, or `None` if there are more than [`crate::SHARES_MAX`] items.
            pub fn new(items: Vec<$item>) -> Option<Self> {
                (items.len() <= crate::SHARES_MAX).then(|| $name(items.into()))
            }
        }

        impl std::ops::Deref for $name {
            type Target = [$item];

            fn deref(&self) -> &[$item] {
                &self.0
            }
        }
    };
}

bounded_list!(
    /// The payees of a split, at most [`crate::SHARES_MAX`].
    Payees,
    Share
);
bounded_list!(
    /// The fees of a payment. Payees and fees together are at most [`crate::SHARES_MAX`].
    Fees,
    Fee
);

/// Exact amount that a capture gives to a payee, or a refund takes from a payee.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PayeeAmount {
    /// Account of the payee.
    pub account: AccountId,
    /// Amount, minor units.
    pub amount: u64,
}

bounded_list!(
    /// Exact amounts per payee of a capture or refund, at most [`crate::SHARES_MAX`]. An empty list means that the amount is
    /// divided in proportion.
    PayeeAmounts,
    PayeeAmount
);

/// Capture all or a part of a hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capture {
    /// Payment to change.
    pub payment: PaymentId,
    /// Amount, minor units; none = everything that is still held, or what the splits amount to.
    pub amount: Option<u64>,
    /// Whether the rest of the hold is released.
    pub is_final: bool,
    /// Exact amounts of payees; the fees follow in proportion. Not with `amount`.
    pub splits: PayeeAmounts,
}

/// Refund all or a part of the captured amount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refund {
    /// Payment to change.
    pub payment: PaymentId,
    /// Amount, minor units; none = everything that can still be refunded, or what the splits amount to.
    pub amount: Option<u64>,
    /// Whether the fee accounts refund their parts too.
    pub refund_fee: bool,
    /// Exact amounts of payees; with `refund_fee` the fees follow in proportion. Not with `amount`.
    pub splits: PayeeAmounts,
}

/// Approve a payment that is in review.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Approve {
    /// Payment to approve.
    pub payment: PaymentId,
    /// Whether its payer confirmed it: only of a [`crate::ReviewKind::Challenge`], and then the owner that asked for the payment may.
    pub by_payer: bool,
}

/// Record what people find out about a payment. The text of the command is a note, which does not change that of the payment. A note
/// alone needs a payment that is or was in review, or that has a label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Investigate {
    /// Payment.
    pub payment: PaymentId,
    /// Whether somebody looks into it from now on; only of an open review.
    pub investigating: Option<bool>,
    /// Who looks into it; `Some(None)` removes the name. Only of an open review.
    pub assignee: Option<Option<Label>>,
    /// What the payment was.
    pub label: Option<RiskLabel>,
}

/// Record that a pending payout was paid, or that it failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettlePayout {
    /// Payout to settle.
    pub payout: PaymentId,
    /// Reason why the payout failed; none = the payout was paid.
    pub failure: Option<Reason>,
}

/// Record that a paid payout came back, all or a part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReturnPayout {
    /// Payout that came back.
    pub payout: PaymentId,
    /// Amount, minor units; none = all that was paid and has not come back.
    pub amount: Option<u64>,
    /// Reason of the return.
    pub reason: Option<Reason>,
}

/// Create an API key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateApiKey {
    /// Name of the owner for whom the key acts. A new name creates an owner.
    pub owner: OwnerName,
    /// Access that the key grants.
    pub access: Access,
    /// Keyed hash of the secret.
    pub secret_hash: [u8; 32],
    /// Description of the use of the key.
    pub label: Option<Label>,
}

/// Publish an event of an application, which changes nothing in the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publish {
    /// Type of the event.
    pub topic: Topic,
    /// Order key. Ordered subscriptions receive the events of one publisher and key in order.
    pub key: Option<OrderKey>,
    /// Data of the event.
    pub data: Data,
}

/// Create a setting, or replace its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PutSetting {
    /// Random number that names the setting, not 0.
    pub id: SettingId,
    /// Kind.
    pub kind: SettingKind,
    /// Name, unique per owner and kind.
    pub slug: Slug,
    /// Name of the file or tool that manages the setting.
    pub managed_by: Option<ManagedBy>,
    /// Revision that is replaced; 0 creates the setting.
    pub replaces: u64,
    /// Content.
    pub body: SettingBody,
    /// Digest of what the caller asked for, which is the digest of the command: id, sealed secrets and derived content
    /// differ from one attempt to the next, and a repetition must still be recognized.
    pub request: [u8; 16],
}

/// Delete a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeleteSetting {
    /// Setting.
    pub id: SettingId,
    /// Kind of the setting.
    pub kind: SettingKind,
    /// Revision that must be the newest; 0 deletes any.
    pub replaces: u64,
}

/// Create an owner before its first account or API key. The text of the command is that of the owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateOwner {
    /// Name, which no owner has yet.
    pub name: OwnerName,
    /// What is known of the owner.
    pub profile: OwnerProfile,
}

/// Update the description, the metadata or other details of an object. The text of the command has what is given of description and
/// metadata; what is given and not in the text is removed from the object. The last update wins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Update {
    /// Object, and what else than the text changes.
    pub object: Updated,
    /// Whether a description is given.
    pub description: bool,
    /// Whether metadata are given.
    pub metadata: bool,
}

impl PutSetting {
    /// Returns the setting after an accepted put.
    pub(crate) fn to_setting(&self, change: &SettingChange, ctx: Context) -> Setting {
        Setting {
            id: self.id,
            kind: self.kind,
            owner: change.owner,
            slug: self.slug.clone(),
            managed_by: self.managed_by.clone(),
            revision: change.revision,
            body: self.body.clone(),
            created: change.created,
            changed: ctx,
            prev: change.prev,
        }
    }
}

impl PaymentKind {
    /// Every kind, by number.
    pub const ALL: [PaymentKind; 6] = [
        Self::Pay,
        Self::Transfer,
        Self::TopUp,
        Self::Payout,
        Self::Adjustment,
        Self::PayoutReturn,
    ];

    /// Returns the value with this stored number, if there is one.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == number)
    }

    /// Returns whose a payment of this kind is: the payer's, the first payee's or the platform's.
    pub fn owner<O>(self, payer: impl FnOnce() -> O, payee: impl FnOnce() -> O, platform: O) -> O {
        match self {
            Self::Pay | Self::TopUp | Self::PayoutReturn => payee(),
            Self::Transfer | Self::Payout => payer(),
            Self::Adjustment => platform,
        }
    }

    /// Returns the name in APIs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pay => "pay",
            Self::Transfer => "transfer",
            Self::TopUp => "top_up",
            Self::Payout => "payout",
            Self::Adjustment => "adjustment",
            Self::PayoutReturn => "payout_return",
        }
    }
}

impl Body {
    /// Returns the existing payment that the command names, if any.
    pub fn payment(&self) -> Option<PaymentId> {
        match self {
            Body::Capture(capture) => Some(capture.payment),
            Body::Refund(refund) => Some(refund.payment),
            Body::Void(id) | Body::Expire(id) | Body::Run(id) => Some(*id),
            Body::Approve(approve) => Some(approve.payment),
            Body::Investigate(investigate) => Some(investigate.payment),
            Body::Update(update) => match update.object {
                Updated::Payment(id) => Some(id),
                Updated::Account(_) | Updated::Owner(..) => None,
            },
            Body::SettlePayout(settle) => Some(settle.payout),
            Body::ReturnPayout(give) => Some(give.payout),
            _ => None,
        }
    }

    /// Returns the existing account or owner whose status or text the command changes, if any.
    pub fn changed_object(&self) -> Option<ObjectId> {
        match self {
            Body::FreezeAccount(id) | Body::UnfreezeAccount(id) | Body::CloseAccount(id) => {
                Some(ObjectId::Account(*id))
            }
            Body::Update(update) => match update.object.object() {
                ObjectId::Payment(_) => None,
                object => Some(object),
            },
            _ => None,
        }
    }
}

impl Pay {
    /// Returns the accounts in the order of the record: source, payees, fees.
    #[inline]
    pub fn accounts(&self) -> impl Iterator<Item = AccountId> + Clone {
        let (one, split): (_, &[Share]) = match &self.destination {
            Destination::One(account) => (Some(*account), &[]),
            Destination::Split(payees) => (None, payees),
        };
        let payees = one
            .into_iter()
            .chain(split.iter().map(|share| share.account));
        let fees = self.fees.iter().map(|fee| fee.account);
        std::iter::once(self.source).chain(payees).chain(fees)
    }

    /// Returns the number of payees.
    pub fn payees(&self) -> usize {
        match &self.destination {
            Destination::One(_) => 1,
            Destination::Split(payees) => payees.len(),
        }
    }

    /// Returns the account of the first payee, if there is one.
    pub fn first_payee(&self) -> Option<AccountId> {
        match &self.destination {
            Destination::One(account) => Some(*account),
            Destination::Split(payees) => payees.first().map(|share| share.account),
        }
    }
}
