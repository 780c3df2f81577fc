//! Take what was held, or a part.

use super::checks::{
    Decision, check_amount, check_ceiling, leg, may_settle, refuse_if, signed, standing,
};
use super::payout::check_no_payout;
use crate::shares::prorate;
use crate::{
    Account, AccountStatus, Actor, Capture, Context, Outcome, Rejection, SHARES_MAX, WorkingSet,
};
use arrayvec::ArrayVec;

pub(super) fn capture(set: &WorkingSet, actor: Actor, capture: &Capture, ctx: Context) -> Decision {
    check_amount(capture.amount)?;
    let payment = set.find_payment(capture.payment)?;
    refuse_if(!may_settle(set, actor, payment), Rejection::Forbidden)?;
    let closed = |account: &Account| account.status == AccountStatus::Closed;
    let mut payees = payment
        .shares
        .iter()
        .filter_map(|share| set.find_account(share.account).ok());
    refuse_if(payees.any(closed), Rejection::AccountClosed)?;
    let frozen = set
        .find_account(payment.source)
        .is_ok_and(|source| source.status == AccountStatus::Frozen);
    refuse_if(frozen, Rejection::AccountFrozen)?;
    refuse_if(payment.held == 0, Rejection::PaymentNotOpen)?;
    refuse_if(ctx.timestamp >= payment.expires_at, Rejection::HoldExpired)?;
    let amount = capture.amount.unwrap_or(payment.held);
    refuse_if(amount > payment.held, Rejection::CaptureExceedsHold)?;
    check_no_payout(payment)?;

    let weights: ArrayVec<u64, SHARES_MAX> = payment
        .shares
        .iter()
        .map(|share| share.amount - share.captured)
        .collect();
    let mut parts = [0; SHARES_MAX];
    prorate(amount, &weights, &mut parts[..weights.len()]);
    let source = set.find_account(payment.source)?;
    let released = if capture.is_final {
        payment.held
    } else {
        amount
    };
    let mut outcome = Outcome::default();
    outcome
        .legs
        .push(leg(source, -signed(amount), source.held - released));
    let mut after = payment.clone();
    for (share, part) in after.shares.iter_mut().zip(parts) {
        let account = set.find_account(share.account)?;
        check_ceiling(account, part)?;
        outcome.legs.push(leg(account, signed(part), account.held));
        share.captured += part;
    }
    after.captured += amount;
    after.held -= released;
    after.status = standing(&after);
    after.changed_at = ctx.position;
    outcome.payment = Some(after);
    Ok(outcome)
}
