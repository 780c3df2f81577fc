//! The field at fault of a refused command that gives amounts per payee.

use tributary_engine::Reader;
use tributary_ledger::codec::Record;
use tributary_ledger::{Body, PayeeAmounts, Payment, PaymentShare, Rejection, refund_limits};

use crate::error::ApiError;
use crate::failures::read_error;

/// Whether a refusal for this reason is about the splits of a command.
pub(crate) fn concerns_splits(rejection: Rejection) -> bool {
    matches!(
        rejection,
        Rejection::SplitMismatch
            | Rejection::PayeeNotFound
            | Rejection::CaptureExceedsPart
            | Rejection::RefundExceedsPart
    )
}

/// Names the split at fault of a refused command, and how much was left for its payee when the command was refused. Whoever may
/// capture or refund a payment sees the amounts of all its payees.
pub(crate) fn name_split(
    reader: &Reader,
    record: &Record,
    rejection: Rejection,
    error: ApiError,
) -> Result<ApiError, ApiError> {
    let (payment, splits) = match &record.command.body {
        Body::Capture(capture) => (capture.payment, &capture.splits),
        Body::Refund(refund) => (refund.payment, &refund.splits),
        _ => return Ok(error.param("splits")),
    };
    // A group that is refused may have changed the payment before the command was decided: then the split is not found.
    let payment = reader
        .payment_before(payment, record.ctx.position)
        .map_err(read_error)?;
    let Some(payment) = payment else {
        return Ok(error.param("splits"));
    };
    Ok(match (rejection, &record.command.body) {
        (Rejection::PayeeNotFound, _) => {
            let is_payee = |account| {
                let mut payees = payment.payees().iter();
                payees.any(|share| share.account == account)
            };
            match splits.iter().position(|part| !is_payee(part.account)) {
                Some(index) => error.param(format!("splits[{index}].account")),
                None => error.param("splits"),
            }
        }
        (Rejection::CaptureExceedsPart, _) => {
            let left = |share: &PaymentShare| share.amount - share.captured;
            let limits = payment.shares.iter().map(left).collect();
            name_excess(&payment, splits, limits, "capture", error)
        }
        (Rejection::RefundExceedsPart, Body::Refund(refund)) => {
            let limits = refund_limits(&payment, refund.refund_fee);
            name_excess(&payment, splits, limits, "refund", error)
        }
        _ => error.param("splits"),
    })
}

fn name_excess(
    payment: &Payment,
    splits: &PayeeAmounts,
    limits: Vec<u64>,
    verb: &str,
    error: ApiError,
) -> ApiError {
    let excess = splits.iter().enumerate().find_map(|(index, part)| {
        let mut payees = payment.payees().iter();
        let at = payees.position(|share| share.account == part.account)?;
        (part.amount > limits[at]).then_some((index, limits[at]))
    });
    let Some((index, left)) = excess else {
        return error.param("splits");
    };
    let message = format!("{} This payee can {verb} at most {left}.", error.message());
    error
        .param(format!("splits[{index}].amount"))
        .with_message(message)
}
