//! Refunds: each is one record that gave money back.

use std::collections::BTreeMap;

use serde::Serialize;
use tributary_engine::IdKind;
use tributary_ledger::codec::Record;
use utoipa::ToSchema;

use crate::code::ErrorCode;
use crate::error::ApiError;
use crate::form::request::Notes;
use crate::render::payment::{PaymentStatusForm, effective_at};
use crate::time::format_timestamp;
use tributary_engine::Reader;

/// A refund that was done.
#[derive(Serialize, ToSchema)]
#[schema(as = Refund)]
pub struct RefundObject {
    id: String,
    #[schema(pattern = "^refund$")]
    object: &'static str,
    payment: String,
    /// Given back to the payer, minor units.
    #[schema(minimum = 0)]
    amount: u64,
    /// Of that, what fee accounts gave back.
    #[schema(minimum = 0)]
    fee_amount: u64,
    /// ISO 4217.
    currency: &'static str,
    /// Where the payment stood after it.
    payment_status: PaymentStatusForm,
    /// Refunded of the payment after it, minor units.
    #[schema(minimum = 0)]
    payment_amount_refunded: u64,
    #[schema(required)]
    description: Option<String>,
    metadata: BTreeMap<String, String>,
    /// The date of the business.
    #[schema(format = Date)]
    effective_at: String,
    #[schema(format = DateTime)]
    created: String,
}

/// The refund that `record` did.
pub fn refund(reader: &Reader, record: &Record) -> Result<RefundObject, ApiError> {
    let payment = record.outcome.payment.as_ref().ok_or_else(|| {
        tracing::error!(
            position = record.ctx.position,
            "an accepted refund has no payment"
        );
        ApiError::new(ErrorCode::InternalError, "The server failed.")
    })?;
    let ids = reader.ids();
    let legs = &record.outcome.legs;
    let given_back = legs
        .iter()
        .filter(|leg| leg.account == payment.source)
        .map(|leg| leg.amount.unsigned_abs());
    let is_fee = |account| {
        payment
            .shares
            .iter()
            .any(|share| share.is_fee && share.account == account)
    };
    let of_fees = legs
        .iter()
        .filter(|leg| is_fee(leg.account))
        .map(|leg| leg.amount.unsigned_abs());
    let notes = Notes::read(record.command.text.as_ref());
    Ok(RefundObject {
        id: ids.encode(IdKind::Refund, record.ctx.position),
        object: "refund",
        payment: ids.encode(IdKind::Payment, payment.id.0),
        amount: given_back.sum(),
        fee_amount: of_fees.sum(),
        currency: payment.currency.code(),
        payment_status: PaymentStatusForm::new(payment.status),
        payment_amount_refunded: payment.refunded,
        description: notes.description,
        metadata: notes.metadata,
        effective_at: effective_at(record),
        created: format_timestamp(record.ctx.timestamp),
    })
}
