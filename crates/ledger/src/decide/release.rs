//! Release what is held: by a void, or because its time has come. A void also ends a payment that is queued.

use super::checks::{Decision, check_may_release, is_platform, leg, refuse_if, standing};
use super::payout::check_no_payout;
use crate::{Actor, Context, Outcome, Payment, PaymentId, PaymentStatus, Rejection, WorkingSet};

pub(super) fn void(set: &WorkingSet, actor: Actor, payment: PaymentId, ctx: Context) -> Decision {
    let payment = set.find_payment(payment)?;
    // The requester of a queued payment can cancel it until it runs.
    let own = payment.queue.is_some() && payment.actor.owner == actor.owner;
    if !own {
        check_may_release(set, actor, payment)?;
    }
    refuse_if(!payment.is_open(), Rejection::PaymentNotOpen)?;
    if payment.held > 0 {
        check_no_payout(payment)?;
    }
    release(set, payment, PaymentStatus::Voided, ctx)
}

pub(super) fn expire(set: &WorkingSet, actor: Actor, payment: PaymentId, ctx: Context) -> Decision {
    let payment = set.find_payment(payment)?;
    refuse_if(!is_platform(actor), Rejection::Forbidden)?;
    refuse_if(payment.held == 0, Rejection::PaymentNotOpen)?;
    refuse_if(ctx.timestamp < payment.expires_at, Rejection::HoldNotDue)?;
    release(set, payment, PaymentStatus::Expired, ctx)
}

/// `untouched`: status of the payment if nothing was captured.
fn release(
    set: &WorkingSet,
    payment: &Payment,
    untouched: PaymentStatus,
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
    outcome.reply_to = after.queue.take().and_then(|terms| terms.reply_to);
    after.status = if after.captured == 0 {
        untouched
    } else {
        standing(&after)
    };
    after.changed_at = ctx.position;
    outcome.payment = Some(after);
    Ok(outcome)
}
