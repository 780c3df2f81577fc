//! Payments: one state machine for pay, transfer, top-up, payout, the return of a payout, and adjustment.

use smallvec::SmallVec;

use crate::{
    AccountId, Actor, Assessment, Command, Context, Currency, Date, Hold, Label, OwnerId, Pay,
    PaymentId, PaymentKind, QueueTerms, Rejection, ReviewKind, ReviewStage, ReviewTerms, RiskLabel,
    TextState,
};

/// Status of a payment. Number 1 is reserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum PaymentStatus {
    /// Accepted and waiting in the queue; nothing is held.
    Queued = 2,
    /// The amount is held, nothing is captured.
    Authorized = 3,
    /// A part is captured, a part is still held, nothing is refunded.
    PartiallyCaptured = 4,
    /// Captured; nothing is held, nothing is refunded.
    Captured = 5,
    /// A part is refunded; a captured part is left, or a part is still held.
    PartiallyRefunded = 6,
    /// The captured amount is fully refunded, nothing is held.
    Refunded = 7,
    /// The ledger refused the payment, or a payout failed; no money moved.
    Failed = 8,
    /// A void released the hold; nothing was captured.
    Voided = 9,
    /// The hold expired; nothing was captured.
    Expired = 10,
    /// A payout whose amount is held until the platform settles it.
    Pending = 11,
    /// A payout that was paid. Money that came back is in [`Payment::refunded`].
    Paid = 12,
    /// The amount is held until somebody approves the payment: see [`Payment::review`].
    InReview = 13,
}

/// Kind of a step that gives amounts per payee.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DivisionStep {
    Capture,
    Refund,
}

/// Part of a payee or a fee in a payment. Amounts are in minor units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PaymentShare {
    /// Account that receives the part.
    pub account: AccountId,
    /// Whether the part is a fee. Refunds keep fees unless they say otherwise.
    pub is_fee: bool,
    /// Part of the authorized amount.
    pub amount: u64,
    /// Part of the captured amount.
    pub captured: u64,
    /// Amount that this account refunded; more than `captured` where a payee bears a kept fee.
    pub refunded: u64,
    /// Part of `refunded` with which the fees were refunded too; 0 for a fee.
    pub refunded_with_fee: u64,
}

/// What a payee had of a payment after the last capture or refund with amounts per payee. Amounts are in minor units.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SplitBase {
    /// Captured after the last capture with amounts per payee.
    pub captured: u64,
    /// Refunded after the last capture or refund with amounts per payee.
    pub refunded: u64,
    /// Part of `refunded` with which the fees were refunded too.
    pub refunded_with_fee: u64,
}

/// State of a payment after its last record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payment {
    /// Position of the record that created the payment.
    pub id: PaymentId,
    /// Kind of the payment.
    pub kind: PaymentKind,
    /// Status.
    pub status: PaymentStatus,
    /// Owner of the payment: for a pay or top-up the owner of the first payee, for a transfer or payout the owner of the
    /// source, for an adjustment the platform, for a failed payment whose account is unknown the owner of the actor.
    pub owner: OwnerId,
    /// Actor who requested the payment.
    pub actor: Actor,
    /// Currency of all legs.
    pub currency: Currency,
    /// Account that pays.
    pub source: AccountId,
    /// Authorized amount, minor units.
    pub amount: u64,
    /// Amount still held on the source, minor units. The payment is open while this is not zero.
    pub held: u64,
    /// Captured amount, minor units; at most `amount`.
    pub captured: u64,
    /// Refunded amount, or the amount of a payout that came back, minor units; at most `captured`.
    pub refunded: u64,
    /// Part of `refunded` that the fee accounts refunded, minor units.
    pub fee_refunded: u64,
    /// Expiry of the hold, nanoseconds since the Unix epoch; 0 = no hold, [`crate::Hold::NO_EXPIRY`] = never.
    pub expires_at: u64,
    /// Time of creation, nanoseconds since the Unix epoch.
    pub created_at: u64,
    /// Business date.
    pub effective_at: Date,
    /// Position of the last record that changed the payment.
    pub changed_at: u64,
    /// Position of the last record that changed what its owners see; none if that is the last record.
    pub shown_at: Option<u64>,
    /// Terms of the queue; none = the payment is not queued.
    pub queue: Option<Box<QueueTerms>>,
    /// Where the newest description and metadata are; none = the payment was never updated.
    pub text: Option<Box<TextState>>,
    /// Review by which the rules for risk held the payment, open or over; none = there was none.
    pub review: Option<Box<Review>>,
    /// What the platform says that the payment was.
    pub label: Option<RiskLabel>,
    /// Whether the payment reached its payees, so that their owners see it: money was held or moved for it, or the platform asked
    /// for it and it was refused at once. A queued payment reaches them when it runs, and never if it fails or is voided before.
    pub reached_payees: bool,
    /// What each payee had after the last step with amounts per payee, in the order of the payees: divisions of later amounts
    /// begin there. None = there was no such step.
    pub split_base: Option<Box<SmallVec<[SplitBase; 4]>>>,
    /// Payees in the order of the command, then fees.
    pub shares: SmallVec<[PaymentShare; 2]>,
}

/// The review of a payment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Review {
    /// Who must approve.
    pub kind: ReviewKind,
    /// Where it stands.
    pub stage: ReviewStage,
    /// Hold that the payment asks for; none = the approval moves the money.
    pub hold: Option<Hold>,
    /// Name of the person who looks into it, or of a team.
    pub assignee: Option<Label>,
}

impl Review {
    /// Returns a review that begins, and the hold while it lasts. `asked`: the hold that the payment asks for; the other one expires no
    /// later.
    pub(crate) fn begin(terms: ReviewTerms, asked: Option<Hold>, ctx: Context) -> (Self, Hold) {
        const SECOND: u64 = 1_000_000_000;
        let end = u64::from(terms.seconds) * SECOND;
        let end = ctx.timestamp.saturating_add(end);
        let hold = Hold {
            expires_at: asked.map_or(end, |hold| hold.expires_at.min(end)),
        };
        let review = Review {
            kind: terms.kind,
            stage: ReviewStage::Open,
            hold: asked,
            assignee: None,
        };
        (review, hold)
    }
}

impl Payment {
    /// Returns the payees' shares, in the order of the command.
    pub fn payees(&self) -> &[PaymentShare] {
        let fees = self.shares.iter().rev().take_while(|share| share.is_fee);
        &self.shares[..self.shares.len() - fees.count()]
    }

    /// Notes that the record at `ctx` changes what the owners of the payment see.
    pub(crate) fn change(&mut self, ctx: Context) {
        self.changed_at = ctx.position;
        self.shown_at = None;
    }

    /// Returns the position of the last record that changed what the owners of the payment see.
    pub fn shown_at(&self) -> u64 {
        self.shown_at.unwrap_or(self.changed_at)
    }

    /// Makes later divisions begin at what the payees have now, after a step with amounts per payee.
    pub(crate) fn begin_divisions(&mut self, step: DivisionStep) {
        let before = self.split_base.take();
        let after = self.payees().iter().enumerate().map(|(at, share)| {
            let before = before.as_ref().map_or(0, |base| base[at].captured);
            SplitBase {
                captured: match step {
                    DivisionStep::Capture => share.captured,
                    DivisionStep::Refund => before,
                },
                refunded: share.refunded,
                refunded_with_fee: share.refunded_with_fee,
            }
        });
        self.split_base = Some(Box::new(after.collect()));
    }

    /// Returns the payment that a command would create if it were accepted, without what each payee would get of it.
    pub fn expected(command: &Command, pay: &Pay, ctx: Context, owner: OwnerId) -> Self {
        let amounts = vec![0; pay.accounts().skip(1).count()];
        Payment::created(command, pay, ctx, owner, Ok(&amounts))
    }

    /// Returns the payment that a command creates: with the given amounts of its shares, or failed for this reason.
    #[inline]
    pub(crate) fn created(
        command: &Command,
        pay: &Pay,
        ctx: Context,
        owner: OwnerId,
        amounts: Result<&[u64], Rejection>,
    ) -> Self {
        let accepted = amounts.is_ok();
        let now = accepted && pay.queue.is_none();
        let assessment = command.assessment.as_deref().filter(|_| now);
        let review = assessment.and_then(Assessment::review);
        let status = match (&pay.queue, pay.hold) {
            _ if !accepted => PaymentStatus::Failed,
            (Some(_), _) => PaymentStatus::Queued,
            (None, _) if review.is_some() => PaymentStatus::InReview,
            (None, None) => PaymentStatus::moved(pay.kind),
            (None, Some(_)) => PaymentStatus::held(pay.kind),
        };
        let (review, hold) = match review.map(|terms| Review::begin(terms, pay.hold, ctx)) {
            Some((review, hold)) => (Some(Box::new(review)), Some(hold)),
            None => (None, pay.hold),
        };
        let (held, moved) = (now && hold.is_some(), now && hold.is_none());
        let mut shares = SmallVec::new();
        let payees = pay.payees();
        for (at, account) in pay.accounts().skip(1).enumerate() {
            let amount = amounts.map_or(0, |amounts| amounts[at]);
            let captured = if moved { amount } else { 0 };
            shares.push(PaymentShare {
                account,
                is_fee: at >= payees,
                amount,
                captured,
                refunded: 0,
                refunded_with_fee: 0,
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
            held: if held { pay.amount } else { 0 },
            captured: if moved { pay.amount } else { 0 },
            refunded: 0,
            fee_refunded: 0,
            expires_at: hold.map_or(0, |hold| hold.expires_at),
            created_at: ctx.timestamp,
            effective_at: command
                .effective_at
                .unwrap_or(Date::from_timestamp(ctx.timestamp)),
            changed_at: ctx.position,
            shown_at: None,
            queue: match status {
                PaymentStatus::Queued => pay.queue.as_ref().map(|queue| Box::new(queue.terms)),
                _ => None,
            },
            text: None,
            review,
            label: None,
            reached_payees: match amounts {
                Ok(_) => now,
                Err(rejection) => {
                    command.actor.owner == OwnerId::PLATFORM && !rejection.concerns_actor()
                }
            },
            split_base: None,
            shares,
        }
    }

    /// Calls `each` with the owners that see the payment besides the platform, some of them more than once: the owner that asked for
    /// it, the payer's if that is another one for whom the platform asked, and once it [reached its payees](Payment::reached_payees)
    /// its own owner and those of the payees and of the fees. `owner_of` returns the owner of an account.
    pub fn viewers(
        &self,
        owner_of: impl Fn(AccountId) -> Option<OwnerId>,
        mut each: impl FnMut(OwnerId),
    ) {
        if self.actor.owner != OwnerId::PLATFORM {
            each(self.actor.owner);
        }
        // An owner that may not pay from the account can name it all the same.
        if self.reached_payees || self.actor.owner == OwnerId::PLATFORM {
            owner_of(self.source).into_iter().for_each(&mut each);
        }
        if self.reached_payees {
            each(self.owner);
            let shares = self.shares.iter();
            shares
                .filter_map(|share| owner_of(share.account))
                .for_each(each);
        }
    }

    /// Returns whether the payment is open: an amount is held, or the payment is queued.
    pub fn is_open(&self) -> bool {
        self.held > 0 || self.queue.is_some()
    }

    /// Returns the amount that can still be refunded, minor units.
    pub fn refundable(&self) -> u64 {
        self.captured - self.refunded
    }
}

impl PaymentStatus {
    /// Returns the value with this stored number, if there is one.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|status| *status as u8 == number)
    }

    /// Every status, by number.
    pub const ALL: [PaymentStatus; 12] = [
        Self::Queued,
        Self::Authorized,
        Self::PartiallyCaptured,
        Self::Captured,
        Self::PartiallyRefunded,
        Self::Refunded,
        Self::Failed,
        Self::Voided,
        Self::Expired,
        Self::Pending,
        Self::Paid,
        Self::InReview,
    ];

    /// Returns the status of a payment of this kind whose whole amount is held.
    pub(crate) fn held(kind: PaymentKind) -> Self {
        match kind {
            PaymentKind::Payout => Self::Pending,
            _ => Self::Authorized,
        }
    }

    /// Returns the status of a payment of this kind whose whole amount has moved.
    pub(crate) fn moved(kind: PaymentKind) -> Self {
        match kind {
            PaymentKind::Payout => Self::Paid,
            _ => Self::Captured,
        }
    }

    /// Returns the name in APIs.
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
            Self::Pending => "pending",
            Self::Paid => "paid",
            Self::InReview => "in_review",
        }
    }
}
