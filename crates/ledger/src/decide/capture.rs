//! Take what was held, or a part.

use super::checks::{Decision, check_ceiling, check_may_capture, leg, refuse_if, signed, standing};
use super::parts::{
    PerShare, capture_divided, capture_exactly, check_amounts, check_payees, concerns,
};
use super::payout::check_no_payout;
use crate::payment::DivisionStep;
use crate::{
    Account, AccountStatus, Actor, Capture, Context, Outcome, Payment, PaymentShare, PaymentStatus,
    Rejection, WorkingSet,
};

pub(super) fn capture(set: &WorkingSet, actor: Actor, capture: &Capture, ctx: Context) -> Decision {
    check_amounts(capture.amount, &capture.splits)?;
    let payment = set.find_payment(capture.payment)?;
    check_payees(payment, &capture.splits)?;
    check_may_capture(set, actor, payment, capture)?;
    check_takeable(set, payment, |share| concerns(&capture.splits, share))?;
    refuse_if(
        payment.status == PaymentStatus::InReview,
        Rejection::PaymentInReview,
    )?;
    refuse_if(payment.held == 0, Rejection::PaymentNotOpen)?;
    refuse_if(ctx.timestamp >= payment.expires_at, Rejection::HoldExpired)?;
    let (amount, parts, exceeds) = divide(payment, capture);
    refuse_if(amount > payment.held, Rejection::CaptureExceedsHold)?;
    check_no_payout(payment)?;
    refuse_if(exceeds, Rejection::CaptureExceedsPart)?;
    let released = if capture.is_final {
        payment.held
    } else {
        amount
    };
    let mut outcome = take(set, payment, amount, &parts, released, ctx)?;
    let after = outcome.payment.as_mut().expect("made with a payment");
    if !capture.splits.is_empty() {
        after.begin_divisions(DivisionStep::Capture);
    }
    after.status = standing(after);
    Ok(outcome)
}

/// Checks that the source may pay and that the payees that are `concerned` can receive.
pub(super) fn check_takeable(
    set: &WorkingSet,
    payment: &Payment,
    concerned: impl Fn(&PaymentShare) -> bool,
) -> Result<(), Rejection> {
    let closed = |account: &Account| account.status == AccountStatus::Closed;
    let mut payees = payment
        .shares
        .iter()
        .filter(|share| concerned(share))
        .filter_map(|share| set.find_account(share.account).ok());
    refuse_if(payees.any(closed), Rejection::AccountClosed)?;
    let frozen = set
        .find_account(payment.source)
        .is_ok_and(|source| source.status == AccountStatus::Frozen);
    refuse_if(frozen, Rejection::AccountFrozen)
}

/// Moves `amount` to the shares, in these parts, and releases what is held by `released`. The status of the payment stays.
pub(super) fn take(
    set: &WorkingSet,
    payment: &Payment,
    amount: u64,
    parts: &PerShare<u64>,
    released: u64,
    ctx: Context,
) -> Decision {
    let source = set.find_account(payment.source)?;
    let mut outcome = Outcome::default();
    outcome
        .legs
        .push(leg(source, -signed(amount), source.held - released));
    let mut after = payment.clone();
    for (share, part) in after.shares.iter_mut().zip(parts) {
        let account = set.find_account(share.account)?;
        check_ceiling(account, *part)?;
        outcome.legs.push(leg(account, signed(*part), account.held));
        share.captured += part;
    }
    after.captured += amount;
    after.held -= released;
    after.change(ctx);
    outcome.payment = Some(after);
    Ok(outcome)
}

/// Returns the amount of the capture, that of each share, and whether a payee exceeds its part: as the splits say, or in
/// proportion.
fn divide(payment: &Payment, capture: &Capture) -> (u64, PerShare<u64>, bool) {
    if !capture.splits.is_empty() {
        let (parts, exceeds) = capture_exactly(payment, &capture.splits);
        return (parts.iter().sum(), parts, exceeds);
    }
    let amount = capture.amount.unwrap_or(payment.held);
    // More than is held is refused, and not divided.
    let parts = capture_divided(payment, amount.min(payment.held));
    (amount, parts, false)
}
