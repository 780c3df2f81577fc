//! Refunds: each is one record that gave money back.

use std::collections::BTreeMap;

use serde::Serialize;
use tributary_engine::{IdKind, IdText};
use tributary_ledger::Leg;
use tributary_ledger::codec::Record;
use utoipa::ToSchema;

use crate::code::ErrorCode;
use crate::error::ApiError;
use crate::form::request::Notes;
use crate::render::account::AccountOrId;
use crate::render::payment::{PaymentOrId, PaymentStatusForm, effective_at};
use crate::time::format_timestamp;
use tributary_engine::Reader;

/// A refund that was done.
#[derive(Serialize, ToSchema)]
#[schema(as = Refund)]
pub struct RefundObject {
    id: String,
    #[schema(pattern = "^refund$")]
    object: &'static str,
    #[schema(value_type = PaymentOrId)]
    payment: String,
    /// Given back to the payer, minor units.
    #[schema(minimum = 0)]
    amount: u64,
    /// Part of `amount` that the fee accounts gave back, minor units. In the payment it is `fee_refunded`.
    #[schema(minimum = 0)]
    fee_amount: u64,
    /// What each payee gave back; payees who gave nothing are left out.
    splits: Vec<RefundPartObject>,
    /// What each fee account gave back; those that gave nothing are left out.
    fees: Vec<RefundPartObject>,
    /// ISO 4217.
    currency: &'static str,
    /// Status of the payment after this refund.
    payment_status: PaymentStatusForm,
    /// Refunded of the payment so far, with this refund, minor units.
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

/// What one account gave back in a refund.
#[derive(Serialize, ToSchema)]
#[schema(as = RefundPart)]
pub struct RefundPartObject {
    #[schema(value_type = AccountOrId)]
    account: IdText,
    /// Minor units.
    #[schema(minimum = 1)]
    amount: u64,
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
    let parts = |fees: bool| {
        let gave = |leg: &&Leg| {
            let mut shares = payment.shares.iter().filter(|share| share.is_fee == fees);
            leg.amount < 0 && shares.any(|share| share.account == leg.account)
        };
        let part = |leg: &Leg| RefundPartObject {
            account: ids.text(IdKind::Account, leg.account.0),
            amount: leg.amount.unsigned_abs(),
        };
        legs.iter().filter(gave).map(part).collect::<Vec<_>>()
    };
    let (splits, fees) = (parts(false), parts(true));
    let notes = Notes::read(record.command.text.as_ref());
    Ok(RefundObject {
        id: ids.encode(IdKind::Refund, record.ctx.position),
        object: "refund",
        payment: ids.encode(IdKind::Payment, payment.id.0),
        amount: given_back.sum(),
        fee_amount: fees.iter().map(|part| part.amount).sum(),
        splits,
        fees,
        currency: payment.currency.code(),
        payment_status: PaymentStatusForm::new(payment.status),
        payment_amount_refunded: payment.refunded,
        description: notes.description,
        metadata: notes.metadata,
        effective_at: effective_at(record),
        created: format_timestamp(record.ctx.timestamp),
    })
}
