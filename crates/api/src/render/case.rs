//! Cases: payments in review, and what people found out about them.

use serde::{Deserialize, Serialize};
use tributary_engine::{IdKind, IdText, Reader};
use tributary_ledger::codec::Record;
use tributary_ledger::{OwnerId, Payment, ReviewKind, ReviewStage};
use utoipa::ToSchema;

use crate::error::ApiError;
use crate::form::review::RiskLabelForm;
use crate::render::payment::{PaymentObject, payment};

/// A payment that is or was in review, or that somebody labelled. Shown to the platform only.
#[derive(Serialize, ToSchema)]
#[schema(as = Case)]
pub struct CaseObject {
    /// The id of the payment.
    #[schema(value_type = String)]
    id: IdText,
    #[schema(pattern = "^case$")]
    object: &'static str,
    /// Who must approve, or had to; null if the payment was never in review.
    #[schema(required)]
    kind: Option<CaseKind>,
    /// Where it stands; null if the payment was never in review.
    #[schema(required)]
    state: Option<CaseState>,
    /// How it ended; null while it is open.
    #[schema(required)]
    outcome: Option<CaseOutcome>,
    /// The person or team who looks into it.
    #[schema(required)]
    assignee: Option<String>,
    /// What the payment was, as far as it is known.
    #[schema(required)]
    label: Option<RiskLabelForm>,
    /// The payment. Its `expires_at` is when the review ends by itself.
    payment: Box<PaymentObject>,
}

/// Who must approve a payment.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CaseKind {
    /// The platform.
    Review,
    /// The payer, or the platform.
    Challenge,
}

/// Where a case stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CaseState {
    /// Nobody has begun.
    Open,
    /// Somebody is looking into it.
    Investigating,
    /// The payment is no longer in review.
    Closed,
}

/// How a case ended.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CaseOutcome {
    /// The platform approved the payment.
    Approved,
    /// The payer confirmed the payment.
    Confirmed,
    /// The platform voided the payment.
    Declined,
    /// Another owner voided the payment: who asked for it, or who was to be paid.
    Cancelled,
    /// Nobody approved it in time.
    Expired,
}

impl CaseState {
    /// Returns where the review of a payment stands; none if it was never in review.
    pub fn of(now: &Payment) -> Option<CaseState> {
        let stage = now.review.as_ref()?.stage;
        Some(match stage {
            ReviewStage::Open => CaseState::Open,
            ReviewStage::Investigating => CaseState::Investigating,
            _ => CaseState::Closed,
        })
    }
}

/// The case of the payment as `now` has it, asked for by the record `created`.
///
/// # Errors
/// If a record can't be read.
pub fn case(reader: &Reader, now: &Payment, created: &Record) -> Result<CaseObject, ApiError> {
    let review = now.review.as_deref();
    Ok(CaseObject {
        id: reader.ids().text(IdKind::Payment, now.id.0),
        object: "case",
        kind: review.map(|review| match review.kind {
            ReviewKind::Review => CaseKind::Review,
            ReviewKind::Challenge => CaseKind::Challenge,
        }),
        state: CaseState::of(now),
        outcome: review.and_then(|review| match review.stage {
            ReviewStage::Open | ReviewStage::Investigating => None,
            ReviewStage::Approved => Some(CaseOutcome::Approved),
            ReviewStage::Confirmed => Some(CaseOutcome::Confirmed),
            ReviewStage::Declined => Some(CaseOutcome::Declined),
            ReviewStage::Cancelled => Some(CaseOutcome::Cancelled),
            ReviewStage::Expired => Some(CaseOutcome::Expired),
        }),
        assignee: review
            .and_then(|review| review.assignee.as_ref())
            .map(ToString::to_string),
        label: now.label.map(RiskLabelForm::new),
        payment: Box::new(payment(reader, now, created)?.with_challenge(
            reader.ids(),
            now,
            OwnerId::PLATFORM,
        )),
    })
}
