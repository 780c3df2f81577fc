//! Release what is held: by a void, or because its time has come. A void also ends a payment that is queued.

use super::checks::{Decision, check_may_release, is_platform, leg, refuse_if, standing};
use super::payout::check_no_payout;
use crate::{
    Actor, Context, Outcome, Payment, PaymentId, PaymentStatus, Rejection, ReviewStage, WorkingSet,
};

pub(super) fn void(set: &WorkingSet, actor: Actor, payment: PaymentId, ctx: Context) -> Decision {
    let payment = set.find_payment(payment)?;
    // The requester of a queued payment can cancel it until it runs.
    // The same holds while it is in review.
    let in_review = payment.status == PaymentStatus::InReview;
    let own = (payment.queue.is_some() || in_review) && payment.actor.owner == actor.owner;
    if !own {
        check_may_release(set, actor, payment)?;
    }
    refuse_if(!payment.is_open(), Rejection::PaymentNotOpen)?;
    if payment.held > 0 && !in_review {
        check_no_payout(payment)?;
    }
    let stage = match is_platform(actor) {
        true => ReviewStage::Declined,
        false => ReviewStage::Cancelled,
    };
    release(set, payment, PaymentStatus::Voided, stage, ctx)
}

pub(super) fn expire(set: &WorkingSet, actor: Actor, payment: PaymentId, ctx: Context) -> Decision {
    let payment = set.find_payment(payment)?;
    refuse_if(!is_platform(actor), Rejection::Forbidden)?;
    refuse_if(payment.held == 0, Rejection::PaymentNotOpen)?;
    refuse_if(ctx.timestamp < payment.expires_at, Rejection::HoldNotDue)?;
    let stage = ReviewStage::Expired;
    release(set, payment, PaymentStatus::Expired, stage, ctx)
}

/// `untouched`: status of the payment if nothing was captured. `stage`: where its review stands, if it was in review.
fn release(
    set: &WorkingSet,
    payment: &Payment,
    untouched: PaymentStatus,
    stage: ReviewStage,
    ctx: Context,
) -> Decision {
    let source = set.find_account(payment.source)?;
    let mut outcome = Outcome::default();
    outcome
        .legs
        .push(leg(source, 0, source.held - payment.held));
    let reached = payment.shares.iter().filter(|_| payment.reached_payees);
    for share in reached {
        let account = set.find_account(share.account)?;
        outcome.legs.push(leg(account, 0, account.held));
    }
    let mut after = payment.clone();
    after.held = 0;
    let review = after.review.as_mut();
    if let Some(review) = review.filter(|review| review.stage.is_open()) {
        review.stage = stage;
    }
    outcome.reply_to = after.queue.take().and_then(|terms| terms.reply_to);
    after.status = if after.captured == 0 {
        untouched
    } else {
        standing(&after)
    };
    after.change(ctx);
    outcome.payment = Some(after);
    Ok(outcome)
}
