//! Payments.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tributary_engine::{IdKind, IdText, Ids, Reader};
use tributary_ledger::codec::Record;
use tributary_ledger::{
    Body, Date, Hold, OwnerId, Payment, PaymentId, PaymentKind, PaymentStatus, Queue, Reason,
    ReplyTo, ReviewKind,
};
use tributary_messaging::{DeliveryIds, SubscriptionId};
use utoipa::ToSchema;

use crate::error::ApiError;
use crate::failures::read_error;
use crate::render::account::AccountOrId;
use crate::render::common::{Failure, owner_name};
use crate::render::notes::present_notes;
use crate::render::owner::{OwnerOrName, revision};
use crate::time::{format_date, format_timestamp};

/// A payment: of a customer to a merchant, between users, in from outside, out, or an adjustment.
#[derive(Serialize, ToSchema)]
#[schema(as = Payment)]
pub struct PaymentObject {
    #[schema(value_type = String)]
    id: IdText,
    #[schema(pattern = "^payment$")]
    object: &'static str,
    kind: PaymentKindForm,
    status: PaymentStatusForm,
    /// Owner of the payment: the first payee's owner; of transfers and payouts the source's owner. Who may capture and
    /// void does not depend on it.
    #[schema(value_type = OwnerOrName)]
    owner: String,
    /// Total amount, in minor units.
    #[schema(minimum = 0)]
    amount: u64,
    /// ISO 4217.
    currency: &'static str,
    /// Still held on the source, minor units.
    #[schema(minimum = 0)]
    amount_held: u64,
    /// Captured so far, minor units.
    #[schema(minimum = 0)]
    amount_captured: u64,
    /// Refunded so far, minor units; never more than was captured.
    #[schema(minimum = 0)]
    amount_refunded: u64,
    /// Of a payout: came back so far, minor units; never more than was paid. Left out of other payments.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0, nullable = false)]
    amount_returned: Option<u64>,
    /// Part of `amount_refunded` that the fee accounts gave back, minor units. In a refund it is `fee_amount`.
    #[schema(minimum = 0)]
    fee_refunded: u64,
    /// Account that pays.
    #[schema(value_type = AccountOrId)]
    source: IdText,
    /// Parts of the payees; empty if the payment failed before they were computed. A payee sees the parts of the others too.
    splits: Vec<ShareObject>,
    /// Parts of the fee accounts.
    fees: Vec<ShareObject>,
    /// When the hold comes due; null if nothing is or was to be held, or the hold never
    /// comes due, as that of a payout.
    #[schema(required, format = DateTime)]
    expires_at: Option<String>,
    /// Given while it is in review and its payer may confirm it, to who asked for it and the platform, in answers to their requests for this
    /// payment: send it back to `/approve` once the payer confirmed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, nullable = false)]
    challenge: Option<IdText>,
    /// The requester's own name for it.
    #[schema(required)]
    reference: Option<String>,
    /// Owner for whom the reference is unique; null if the platform named none.
    #[schema(required)]
    reference_scope: Option<String>,
    /// Why the adjustment was made, the payout failed or its money came back.
    #[schema(required)]
    reason: Option<String>,
    #[schema(required)]
    description: Option<String>,
    metadata: BTreeMap<String, String>,
    /// 1 at first, and one more with each update of description or metadata.
    #[schema(minimum = 1)]
    revision: u64,
    /// How it was queued; null if it was decided at once.
    #[schema(required)]
    pub queue: Option<QueueObject>,
    /// Why the ledger refused it; null unless `status` is `failed`, and null if the payout failed outside.
    #[schema(required)]
    failure: Option<Failure>,
    /// The date of the business.
    #[schema(format = Date)]
    effective_at: String,
    #[schema(format = DateTime)]
    created: String,
    /// The event of its last change, other than of its case.
    #[schema(value_type = String)]
    last_event: IdText,
    /// Of a return: the payout whose money came back.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, nullable = false)]
    payout: Option<IdText>,
    /// The capture that this is the answer to, or the event of.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, nullable = false)]
    pub(crate) capture_id: Option<IdText>,
}

/// A payment: its id or, where `expand[]` names the field and the API key may see the payment, the payment as it is now.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub enum PaymentOrId {
    /// Id of the payment.
    Id(String),
    /// The payment.
    Payment(Box<PaymentObject>),
}

/// How a payment was queued.
#[derive(Serialize, ToSchema)]
#[schema(as = PaymentQueue)]
pub struct QueueObject {
    /// 0 to 9, the most urgent.
    #[schema(minimum = 0, maximum = 9)]
    priority: u8,
    /// Not to be decided before.
    #[schema(required, format = DateTime)]
    not_before: Option<String>,
    /// From then on it fails as `queue_expired`.
    #[schema(required, format = DateTime)]
    expires_at: Option<String>,
    /// Subscription that receives the result.
    #[schema(required)]
    reply_to: Option<String>,
    /// Text that the result carries, so that the receiver can match it with the payment.
    #[schema(required)]
    pub correlation_id: Option<String>,
}

impl QueueObject {
    fn new(ids: &Ids, queue: &Queue) -> QueueObject {
        let time = |nanos: u64| (nanos > 0).then(|| format_timestamp(nanos));
        QueueObject {
            priority: queue.terms.priority.number(),
            not_before: time(queue.terms.not_before),
            expires_at: time(queue.terms.expires_at),
            reply_to: queue.terms.reply_to.map(|to| reply_to(ids, to)),
            correlation_id: queue.correlation_id.as_ref().map(ToString::to_string),
        }
    }
}

/// The subscription that is told.
pub fn reply_to(ids: &Ids, to: ReplyTo) -> String {
    ids.encode_subscription(SubscriptionId(to.0.get()))
}

/// A payee's or a fee's part of a payment, minor units.
#[derive(Serialize, ToSchema)]
#[schema(as = PaymentShare)]
pub struct ShareObject {
    #[schema(value_type = AccountOrId)]
    account: IdText,
    /// Part of the payment's amount.
    #[schema(minimum = 0)]
    amount: u64,
    /// Part of what was captured so far.
    #[schema(minimum = 0)]
    captured: u64,
    /// What the account gave back so far; more than `captured` where a payee bears a fee that is kept.
    #[schema(minimum = 0)]
    refunded: u64,
}

/// Kind of payment.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = PaymentKind)]
pub enum PaymentKindForm {
    /// A customer pays a merchant.
    Pay,
    /// Money moves between users.
    Transfer,
    /// Money comes in from outside.
    TopUp,
    /// Money goes out.
    Payout,
    /// The platform sets something right.
    Adjustment,
    /// Money of a payout comes back.
    PayoutReturn,
}

impl PaymentKindForm {
    /// Returns the ledger's value.
    pub fn ledger(self) -> PaymentKind {
        match self {
            PaymentKindForm::Pay => PaymentKind::Pay,
            PaymentKindForm::Transfer => PaymentKind::Transfer,
            PaymentKindForm::TopUp => PaymentKind::TopUp,
            PaymentKindForm::Payout => PaymentKind::Payout,
            PaymentKindForm::Adjustment => PaymentKind::Adjustment,
            PaymentKindForm::PayoutReturn => PaymentKind::PayoutReturn,
        }
    }

    /// Returns the form of a kind.
    pub fn new(kind: PaymentKind) -> PaymentKindForm {
        match kind {
            PaymentKind::Pay => PaymentKindForm::Pay,
            PaymentKind::Transfer => PaymentKindForm::Transfer,
            PaymentKind::TopUp => PaymentKindForm::TopUp,
            PaymentKind::Payout => PaymentKindForm::Payout,
            PaymentKind::Adjustment => PaymentKindForm::Adjustment,
            PaymentKind::PayoutReturn => PaymentKindForm::PayoutReturn,
        }
    }
}

/// Where a payment stands.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = PaymentStatus)]
pub enum PaymentStatusForm {
    /// Accepted, to be decided when its turn has come; nothing is held.
    Queued,
    /// Held, nothing captured.
    Authorized,
    /// A part is captured, a part still held.
    PartiallyCaptured,
    /// Captured, nothing refunded.
    Captured,
    /// A part is refunded.
    PartiallyRefunded,
    /// All that was captured is refunded.
    Refunded,
    /// The ledger refused it, or the payout failed; nothing moved.
    Failed,
    /// The hold was released, nothing was captured.
    Voided,
    /// The hold came due, nothing was captured.
    Expired,
    /// A payout whose amount is held until the platform settles it.
    Pending,
    /// A payout that was paid; `amount_returned` says what came back.
    Paid,
    /// Held until somebody approves it; a void declines it.
    InReview,
}

impl PaymentStatusForm {
    /// Returns the ledger's value.
    pub fn ledger(self) -> PaymentStatus {
        match self {
            PaymentStatusForm::Queued => PaymentStatus::Queued,
            PaymentStatusForm::Authorized => PaymentStatus::Authorized,
            PaymentStatusForm::PartiallyCaptured => PaymentStatus::PartiallyCaptured,
            PaymentStatusForm::Captured => PaymentStatus::Captured,
            PaymentStatusForm::PartiallyRefunded => PaymentStatus::PartiallyRefunded,
            PaymentStatusForm::Refunded => PaymentStatus::Refunded,
            PaymentStatusForm::Failed => PaymentStatus::Failed,
            PaymentStatusForm::Voided => PaymentStatus::Voided,
            PaymentStatusForm::Expired => PaymentStatus::Expired,
            PaymentStatusForm::Pending => PaymentStatus::Pending,
            PaymentStatusForm::Paid => PaymentStatus::Paid,
            PaymentStatusForm::InReview => PaymentStatus::InReview,
        }
    }

    /// Returns the form of a status.
    pub fn new(status: PaymentStatus) -> PaymentStatusForm {
        match status {
            PaymentStatus::Queued => PaymentStatusForm::Queued,
            PaymentStatus::Authorized => PaymentStatusForm::Authorized,
            PaymentStatus::PartiallyCaptured => PaymentStatusForm::PartiallyCaptured,
            PaymentStatus::Captured => PaymentStatusForm::Captured,
            PaymentStatus::PartiallyRefunded => PaymentStatusForm::PartiallyRefunded,
            PaymentStatus::Refunded => PaymentStatusForm::Refunded,
            PaymentStatus::Failed => PaymentStatusForm::Failed,
            PaymentStatus::Voided => PaymentStatusForm::Voided,
            PaymentStatus::Expired => PaymentStatusForm::Expired,
            PaymentStatus::Pending => PaymentStatusForm::Pending,
            PaymentStatus::Paid => PaymentStatusForm::Paid,
            PaymentStatus::InReview => PaymentStatusForm::InReview,
        }
    }
}

/// The payment as `payment` has it, asked for by the record `created`.
///
/// # Errors
/// If a record can't be read.
pub fn payment(
    reader: &Reader,
    payment: &Payment,
    created: &Record,
) -> Result<PaymentObject, ApiError> {
    let ids = reader.ids();
    let notes = present_notes(reader, payment.text.as_deref(), Some(created))?;
    let (reference, scope, queue) = match &created.command.body {
        Body::Pay(pay) => (
            pay.reference.as_ref(),
            pay.reference_scope,
            pay.queue.as_deref(),
        ),
        _ => (None, None, None),
    };
    let is_payout = payment.kind == PaymentKind::Payout;
    let shares = |fees: bool| {
        let shares = payment.shares.iter().filter(|share| share.is_fee == fees);
        let part = shares.map(|share| ShareObject {
            account: ids.text(IdKind::Account, share.account.0),
            amount: share.amount,
            captured: share.captured,
            refunded: share.refunded,
        });
        part.collect()
    };
    Ok(PaymentObject {
        id: ids.text(IdKind::Payment, payment.id.0),
        object: "payment",
        kind: PaymentKindForm::new(payment.kind),
        status: PaymentStatusForm::new(payment.status),
        owner: owner_name(reader, payment.owner),
        amount: payment.amount,
        currency: payment.currency.code(),
        amount_held: payment.held,
        amount_captured: payment.captured,
        amount_refunded: if is_payout { 0 } else { payment.refunded },
        amount_returned: is_payout.then_some(payment.refunded),
        fee_refunded: payment.fee_refunded,
        source: ids.text(IdKind::Account, payment.source.0),
        splits: shares(false),
        fees: shares(true),
        expires_at: (![0, Hold::NO_EXPIRY].contains(&payment.expires_at))
            .then(|| format_timestamp(payment.expires_at)),
        challenge: None,
        reference: reference.map(|reference| reference.to_string()),
        reference_scope: scope.map(|owner| owner_name(reader, owner)),
        reason: reason(reader, payment, created)?.map(|reason| reason.to_string()),
        description: notes.description,
        metadata: notes.metadata,
        revision: revision(payment.text.as_deref()),
        queue: queue.map(|queue| QueueObject::new(ids, queue)),
        failure: why_failed(reader, payment, created)?,
        effective_at: format_date(payment.effective_at.0),
        created: format_timestamp(payment.created_at),
        last_event: ids.text(IdKind::Event, payment.shown_at()),
        payout: payout_of(created).map(|payout| ids.text(IdKind::Payment, payout.0)),
        capture_id: None,
    })
}

impl PaymentObject {
    /// Returns the object of `payment` as an owner sees it that asked for it, or the platform: with its challenge, if the payer may confirm
    /// it now.
    #[must_use]
    pub fn with_challenge(
        mut self,
        ids: &Ids,
        payment: &Payment,
        viewer: OwnerId,
    ) -> PaymentObject {
        let asked = [payment.actor.owner, OwnerId::PLATFORM].contains(&viewer);
        if asked && is_challenged(payment) {
            self.challenge = Some(ids.text(IdKind::Challenge, payment.id.0));
        }
        self
    }
}

/// Returns whether the payer may confirm the payment now.
fn is_challenged(payment: &Payment) -> bool {
    let review = payment.review.as_ref();
    payment.status == PaymentStatus::InReview
        && review.is_some_and(|review| review.kind == ReviewKind::Challenge)
}

/// Returns the payout whose money came back by the payment that `created` records, if it is a return.
pub fn payout_of(created: &Record) -> Option<PaymentId> {
    match &created.command.body {
        Body::ReturnPayout(give) => Some(give.payout),
        _ => None,
    }
}

/// Returns the reason that the request for the payment gave, or the reason why a payout failed outside.
///
/// # Errors
/// If the record of the failure can't be read.
pub fn reason(
    reader: &Reader,
    payment: &Payment,
    created: &Record,
) -> Result<Option<Reason>, ApiError> {
    let given = match &created.command.body {
        Body::Pay(pay) => pay.reason.clone(),
        Body::ReturnPayout(give) => give.reason.clone(),
        _ => None,
    };
    let failed = payment.kind == PaymentKind::Payout && payment.status == PaymentStatus::Failed;
    if given.is_some() || !failed || created.outcome.rejection.is_some() {
        return Ok(given);
    }
    let failure = |record: Option<Record>| match record?.command.body {
        Body::SettlePayout(settle) => settle.failure,
        _ => None,
    };
    let changed = reader.record(payment.shown_at()).map_err(read_error)?;
    let failure_then = failure(changed);
    if failure_then.is_some() || payment.text.is_none() {
        return Ok(failure_then);
    }
    // It was updated after it had failed.
    Ok(failure(reader.failed_run(payment.id).map_err(read_error)?))
}

/// Returns why the payment failed: the record that asked for it says so, or, of a queued one, the record by which it was run.
///
/// # Errors
/// If that record can't be read.
pub fn why_failed(
    reader: &Reader,
    payment: &Payment,
    created: &Record,
) -> Result<Option<Failure>, ApiError> {
    let failure = |record: &Record| Failure::of(reader, record);
    if payment.status != PaymentStatus::Failed || created.outcome.rejection.is_some() {
        return Ok(failure(created));
    }
    let changed = reader.record(payment.shown_at()).map_err(read_error)?;
    let changed = changed.as_ref().and_then(failure);
    if changed.is_some() || payment.text.is_none() {
        return Ok(changed);
    }
    // It was updated after it had failed.
    let run = reader.failed_run(payment.id).map_err(read_error)?;
    Ok(run.as_ref().and_then(failure))
}

/// The date of the business of a record.
pub fn effective_at(record: &Record) -> String {
    let date = record.command.effective_at;
    format_date(
        date.unwrap_or_else(|| Date::from_timestamp(record.ctx.timestamp))
            .0,
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_in_answers_are_those_of_the_ledger() {
        for kind in PaymentKind::ALL {
            assert_eq!(json!(PaymentKindForm::new(kind)), kind.name());
        }
        for status in PaymentStatus::ALL {
            assert_eq!(json!(PaymentStatusForm::new(status)), status.name());
        }
    }
}
