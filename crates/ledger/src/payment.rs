//! Payments: one state machine for pay, transfer, top-up, payout and adjustment.

use smallvec::SmallVec;

use crate::{
    AccountId, Actor, Command, Context, Currency, Date, OwnerId, Pay, PaymentId, PaymentKind,
    QueueTerms,
};

/// Where a payment stands. Number 1 is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum PaymentStatus {
    /// Accepted, to be decided when its turn has come; holds nothing.
    Queued = 2,
    /// Held, nothing captured.
    Authorized = 3,
    /// Something captured, something still held, nothing refunded.
    PartiallyCaptured = 4,
    /// Captured, nothing held, nothing refunded.
    Captured = 5,
    /// Something refunded; something captured is left, or something is still held.
    PartiallyRefunded = 6,
    /// All that was captured is refunded, nothing is held.
    Refunded = 7,
    /// The ledger refused it; nothing moved.
    Failed = 8,
    /// The hold was released by a void, nothing was captured.
    Voided = 9,
    /// The hold was released because its time had come, nothing was captured.
    Expired = 10,
}

/// One payee's or fee's part of a payment, minor units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PaymentShare {
    /// Who receives.
    pub account: AccountId,
    /// Fees are kept on a refund unless it says otherwise.
    pub is_fee: bool,
    /// Of the authorized amount.
    pub amount: u64,
    /// Of the captured amount.
    pub captured: u64,
    /// Given back from this account; beyond `captured` where a payee bears a kept fee.
    pub refunded: u64,
}

/// A payment as of its last record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payment {
    /// Position of the record that created it.
    pub id: PaymentId,
    /// Which machine's legs.
    pub kind: PaymentKind,
    /// Where it stands.
    pub status: PaymentStatus,
    /// To whom it belongs: of pay and top-up the owner of the first payee, of transfer and payout the owner of the
    /// source, of an adjustment the platform, of a failed payment whose account is unknown the actor.
    pub owner: OwnerId,
    /// Who asked for it.
    pub actor: Actor,
    /// Of all its legs.
    pub currency: Currency,
    /// Who pays.
    pub source: AccountId,
    /// Authorized in all, minor units.
    pub amount: u64,
    /// Still held on the source, minor units. Not zero = the payment is open.
    pub held: u64,
    /// Captured so far, minor units; at most `amount`.
    pub captured: u64,
    /// Refunded so far, minor units; at most `captured`.
    pub refunded: u64,
    /// The part of `refunded` that fee accounts gave back.
    pub fee_refunded: u64,
    /// When the hold comes due, nanoseconds since the Unix epoch; 0 = it is not to be held.
    pub expires_at: u64,
    /// Nanoseconds since the Unix epoch.
    pub created_at: u64,
    /// Date of the business.
    pub effective_at: Date,
    /// Position of the record that changed it last.
    pub changed_at: u64,
    /// When it may run; none = it is not queued.
    pub queue: Option<Box<QueueTerms>>,
    /// Payees in the order given, then fees.
    pub shares: SmallVec<[PaymentShare; 2]>,
}

impl Payment {
    /// The payment that a command creates: with the amounts of its shares if it is accepted, else failed.
    #[inline]
    pub(crate) fn created(
        command: &Command,
        pay: &Pay,
        ctx: Context,
        owner: OwnerId,
        amounts: Option<&[u64]>,
    ) -> Self {
        let accepted = amounts.is_some();
        let status = match (&pay.queue, pay.hold) {
            _ if !accepted => PaymentStatus::Failed,
            (Some(_), _) => PaymentStatus::Queued,
            (None, None) => PaymentStatus::Captured,
            (None, Some(_)) => PaymentStatus::Authorized,
        };
        let mut shares = SmallVec::new();
        let payees = pay.payees();
        for (at, account) in pay.accounts().skip(1).enumerate() {
            let amount = amounts.map_or(0, |amounts| amounts[at]);
            let captured = match status {
                PaymentStatus::Captured => amount,
                _ => 0,
            };
            shares.push(PaymentShare {
                account,
                is_fee: at >= payees,
                amount,
                captured,
                refunded: 0,
            });
        }
        Payment {
            id: PaymentId(ctx.position),
            kind: pay.kind,
            status,
            owner,
            actor: command.actor,
            currency: pay.currency,
            source: pay.source,
            amount: pay.amount,
            held: if status == PaymentStatus::Authorized {
                pay.amount
            } else {
                0
            },
            captured: if status == PaymentStatus::Captured {
                pay.amount
            } else {
                0
            },
            refunded: 0,
            fee_refunded: 0,
            expires_at: pay.hold.map_or(0, |hold| hold.expires_at),
            created_at: ctx.timestamp,
            effective_at: command
                .effective_at
                .unwrap_or(Date::of_timestamp(ctx.timestamp)),
            changed_at: ctx.position,
            queue: match status {
                PaymentStatus::Queued => pay.queue.as_ref().map(|queue| Box::new(queue.terms)),
                _ => None,
            },
            shares,
        }
    }

    /// Whether something is still to come of it: something is held for it, or it is queued.
    pub fn is_open(&self) -> bool {
        self.held > 0 || self.queue.is_some()
    }

    /// What can still be refunded, minor units.
    pub fn refundable(&self) -> u64 {
        self.captured - self.refunded
    }
}

impl PaymentStatus {
    /// The stored number.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|status| *status as u8 == number)
    }

    /// Every status, by number.
    pub const ALL: [PaymentStatus; 9] = [
        Self::Queued,
        Self::Authorized,
        Self::PartiallyCaptured,
        Self::Captured,
        Self::PartiallyRefunded,
        Self::Refunded,
        Self::Failed,
        Self::Voided,
        Self::Expired,
    ];

    /// As people and APIs write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Authorized => "authorized",
            Self::PartiallyCaptured => "partially_captured",
            Self::Captured => "captured",
            Self::PartiallyRefunded => "partially_refunded",
            Self::Refunded => "refunded",
            Self::Failed => "failed",
            Self::Voided => "voided",
            Self::Expired => "expired",
        }
    }
}
