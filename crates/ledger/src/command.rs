//! Commands: what somebody wants.

use crate::{
    Access, AccountId, AccountKind, ApiKeyId, CorrelationId, Currency, Data, Date, ExternalId, Key,
    Label, ManagedBy, OrderKey, Overdraft, OwnerId, OwnerName, PaymentId, QueueMode, QueueTerms,
    Reason, Reference, SettingBody, SettingId, SettingKind, Slug, Text, Topic,
};

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Actor {
    /// In whose name; [`OwnerId::PLATFORM`] may do everything.
    pub owner: OwnerId,
    /// By which API key; [`ApiKeyId::SYSTEM`] is the system itself and is trusted.
    pub api_key: ApiKeyId,
}

impl Actor {
    /// The system itself in the platform's name: first start, timers.
    pub const SYSTEM: Actor = Actor {
        owner: OwnerId::PLATFORM,
        api_key: ApiKeyId::SYSTEM,
    };
}

/// One request to the ledger. One command becomes one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// Idempotency key, unique per `actor.owner`.
    pub key: Key,
    /// Who asks.
    pub actor: Actor,
    /// All or nothing with the command that follows in the batch.
    pub linked: bool,
    /// Date of the business; none = the UTC date of the record.
    pub effective_at: Option<Date>,
    /// Description and metadata, opaque here.
    pub text: Option<Text>,
    /// What is wanted.
    pub body: Body,
}

/// What is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// Open an account.
    OpenAccount(OpenAccount),
    /// Let an account only receive.
    FreezeAccount(AccountId),
    /// Let a frozen account pay again.
    UnfreezeAccount(AccountId),
    /// Close an empty account for good.
    CloseAccount(AccountId),
    /// Move money, or hold it.
    Pay(Pay),
    /// Take what was held, or a part.
    Capture(Capture),
    /// Release what is held.
    Void(PaymentId),
    /// Release what is held because its time has come.
    Expire(PaymentId),
    /// Decide a queued payment because its turn has come, or its time is over.
    Run(PaymentId),
    /// Give back what was captured, or a part.
    Refund(Refund),
    /// Create an API key.
    CreateApiKey(CreateApiKey),
    /// Give an API key another secret.
    RotateApiKey {
        /// Which.
        api_key: ApiKeyId,
        /// Keyed hash of the new secret.
        secret_hash: [u8; 32],
    },
    /// End an API key for good.
    RevokeApiKey(ApiKeyId),
    /// Tell others of something.
    Publish(Publish),
    /// Pause, drain or resume the queue of payments.
    SetQueue(QueueMode),
    /// Create a setting, or replace its content.
    PutSetting(Box<PutSetting>),
    /// Delete a setting.
    DeleteSetting(DeleteSetting),
}

/// Open an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenAccount {
    /// Whose; named here for the first time or known.
    pub owner: OwnerName,
    /// Of every posting to it.
    pub currency: Currency,
    /// What it is for.
    pub kind: AccountKind,
    /// How far below zero it may go.
    pub overdraft: Overdraft,
    /// The owner's own name for it, unique among the owner's accounts.
    pub external_id: Option<ExternalId>,
}

/// The five names of the one payment machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum PaymentKind {
    /// A customer pays a merchant.
    Pay = 1,
    /// Between users.
    Transfer = 2,
    /// Money comes in from outside.
    TopUp = 3,
    /// Money goes outside.
    Payout = 4,
    /// The platform sets something right; has a reason, cannot be held or refunded.
    Adjustment = 5,
}

/// Move money from one account to one or several, or hold it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pay {
    /// Which of the five.
    pub kind: PaymentKind,
    /// Who pays.
    pub source: AccountId,
    /// Who receives what the fees leave.
    pub destination: Destination,
    /// Who earns fees; taken out of `amount`.
    pub fees: Fees,
    /// In all, minor units.
    pub amount: u64,
    /// Must be that of every account named.
    pub currency: Currency,
    /// Only hold the amount (authorize).
    pub hold: Option<Hold>,
    /// The owner's own name for the payment.
    pub reference: Option<Reference>,
    /// Why; required for an adjustment.
    pub reason: Option<Reason>,
    /// Only accept it now, and decide it when its turn has come.
    pub queue: Option<Box<Queue>>,
}

/// How a payment is queued.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Queue {
    /// When it runs, and who is told.
    pub terms: QueueTerms,
    /// What the result is told with.
    pub correlation_id: Option<CorrelationId>,
}

/// Most accounts that a payment can name; one that is accepted names at most [`crate::LEGS_MAX`].
pub const NAMED_MAX: usize = 1 + 2 * crate::SHARES_MAX;

/// A hold's terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hold {
    /// From then on it cannot be captured, nanoseconds since the Unix epoch.
    pub expires_at: u64,
}

/// Who receives what the fees leave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// One payee receives all.
    One(AccountId),
    /// Several payees.
    Split(Payees),
}

/// A payee of a split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Who receives.
    pub account: AccountId,
    /// How much.
    pub part: Part,
}

/// How a payee's part is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Exactly so many minor units.
    Amount(u64),
    /// So many ten-thousandths of what fees and exact amounts leave. Those of one payment sum to 10,000.
    BasisPoints(u16),
}

/// A fee: `flat` plus `basis_points` of the payment's amount, rounded down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fee {
    /// Who earns it.
    pub account: AccountId,
    /// Minor units.
    pub flat: u64,
    /// Ten-thousandths of the amount.
    pub basis_points: u16,
}

macro_rules! bounded_list {
    ($(#[$doc:meta])* $name:ident, $item:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct $name(Box<[$item]>);

        impl $name {
            /// `None` if there are more than [`crate::SHARES_MAX`].
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
    /// The fees of a payment, at most [`crate::SHARES_MAX`]; payees and fees together may not be more either.
    Fees,
    Fee
);

/// Take what was held, or a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capture {
    /// Which payment.
    pub payment: PaymentId,
    /// Minor units; none = all that is still held.
    pub amount: Option<u64>,
    /// Release what is left.
    pub is_final: bool,
}

/// Give back what was captured, or a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refund {
    /// Which payment.
    pub payment: PaymentId,
    /// Minor units; none = all that can still be refunded.
    pub amount: Option<u64>,
    /// The fee accounts give back their part too.
    pub refund_fee: bool,
}

/// Create an API key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateApiKey {
    /// In whose name it acts; named here for the first time or known.
    pub owner: OwnerName,
    /// Read or write.
    pub access: Access,
    /// Keyed hash of the secret.
    pub secret_hash: [u8; 32],
    /// What it is for.
    pub label: Option<Label>,
}

/// Tell others of something: an event of the application, which changes nothing here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publish {
    /// Its event's type.
    pub topic: Topic,
    /// Events of the same publisher and key are delivered in order, to those who want order.
    pub key: Option<OrderKey>,
    /// What it says.
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

impl PaymentKind {
    /// Every kind, by number.
    pub const ALL: [PaymentKind; 5] = [
        Self::Pay,
        Self::Transfer,
        Self::TopUp,
        Self::Payout,
        Self::Adjustment,
    ];

    /// The stored number.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == number)
    }

    /// As people and APIs write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pay => "pay",
            Self::Transfer => "transfer",
            Self::TopUp => "top_up",
            Self::Payout => "payout",
            Self::Adjustment => "adjustment",
        }
    }
}

impl Body {
    /// The payment that it would change.
    pub fn payment(&self) -> Option<PaymentId> {
        match self {
            Body::Capture(capture) => Some(capture.payment),
            Body::Refund(refund) => Some(refund.payment),
            Body::Void(id) | Body::Expire(id) | Body::Run(id) => Some(*id),
            _ => None,
        }
    }
}

impl Pay {
    /// The accounts named, in the order of the record: source, payees, fees.
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

    /// How many payees there are.
    pub fn payees(&self) -> usize {
        match &self.destination {
            Destination::One(_) => 1,
            Destination::Split(payees) => payees.len(),
        }
    }

    /// The first payee, if there is any.
    pub fn first_payee(&self) -> Option<AccountId> {
        match &self.destination {
            Destination::One(account) => Some(*account),
            Destination::Split(payees) => payees.first().map(|share| share.account),
        }
    }
}
