//! Run a queued payment: the money is moved or held now, or the payment fails.

use super::checks::{check_actor, check_assessment, is_platform, refuse_if};
use super::limits::{self, Counted};
use super::pay::{check_accounts, check_balances, put_legs};
use crate::{
    Account, Assessment, Command, Context, Hold, Outcome, Payment, PaymentId, PaymentKind,
    PaymentStatus, QueueMode, QueueTerms, Rejection, Review, SHARES_MAX, WorkingSet,
};
use arrayvec::ArrayVec;

/// Fills in the empty `outcome` if the payment is queued and due. If a check of the payment itself fails, the payment
/// fails, and the reason is the outcome's rejection.
pub(super) fn run(
    set: &WorkingSet,
    command: &Command,
    id: PaymentId,
    ctx: Context,
    outcome: &mut Outcome,
) -> Result<(), Rejection> {
    let payment = set.find_payment(id)?;
    refuse_if(!is_platform(command.actor), Rejection::Forbidden)?;
    let terms = payment
        .queue
        .as_deref()
        .ok_or(Rejection::PaymentNotQueued)?;
    refuse_if(!terms.is_due(ctx.timestamp), Rejection::PaymentNotDue)?;
    // An expired payment fails even while the queue is paused.
    let paused = set.queue().mode == QueueMode::Paused;
    refuse_if(
        paused && !terms.is_over(ctx.timestamp),
        Rejection::QueuePaused,
    )?;
    let source = set.find_account(payment.source)?;
    let mut payees: ArrayVec<&Account, SHARES_MAX> = ArrayVec::new();
    for share in &payment.shares {
        payees.push(set.find_account(share.account)?);
    }
    let amounts: ArrayVec<u64, SHARES_MAX> =
        payment.shares.iter().map(|share| share.amount).collect();
    let asked_hold = (payment.expires_at > 0).then_some(Hold {
        expires_at: payment.expires_at,
    });
    let assessment = command.assessment.as_deref();
    let review = assessment.and_then(Assessment::review);
    let holds = asked_hold.is_some() || review.is_some();
    let mut against = check(set, payment, terms, source, &payees, ctx)
        .and_then(|()| check_assessment(command))
        .and_then(|()| check_balances(payment.amount, holds, source, &payees, &amounts))
        .and_then(|()| {
            let possible = payment.kind != PaymentKind::Adjustment;
            refuse_if(review.is_some() && !possible, Rejection::ReviewNotPossible)
        })
        .err();
    if against.is_none() {
        let payment = Counted {
            source,
            kind: payment.kind,
            currency: payment.currency,
            amount: payment.amount,
        };
        match limits::count(set, payment, ctx) {
            Ok(uses) => outcome.limits = uses,
            Err(exceeded) => {
                outcome.limits.push(exceeded);
                against = Some(Rejection::LimitExceeded);
            }
        }
    }
    let held = against.is_none() && holds;
    let moved = against.is_none() && !held;
    // A payment that fails never reaches its payees.
    let reached = if against.is_none() { payees.len() } else { 0 };
    put_legs(
        source,
        payees.iter().copied().zip(&amounts).take(reached),
        payment.amount,
        held,
        moved,
        outcome,
    );
    outcome.rejection = against;
    outcome.reply_to = terms.reply_to;
    let mut after = payment.clone();
    after.queue = None;
    after.change(ctx);
    after.reached_payees = against.is_none();
    after.status = match against {
        Some(_) => PaymentStatus::Failed,
        None if review.is_some() => PaymentStatus::InReview,
        None if held => PaymentStatus::held(payment.kind),
        None => PaymentStatus::moved(payment.kind),
    };
    if let (Some(terms), None) = (review, against) {
        let (review, hold) = Review::begin(terms, asked_hold, ctx);
        after.expires_at = hold.expires_at;
        after.review = Some(Box::new(review));
    }
    if held {
        after.held = after.amount;
    }
    if moved {
        after.captured = after.amount;
        after
            .shares
            .iter_mut()
            .for_each(|share| share.captured = share.amount);
    }
    outcome.payment = Some(after);
    Ok(())
}

/// Makes the checks of an immediate payment again that come before risk and balances, except those whose result cannot have changed since
/// the payment was queued.
fn check(
    set: &WorkingSet,
    payment: &Payment,
    terms: &QueueTerms,
    source: &Account,
    payees: &[&Account],
    ctx: Context,
) -> Result<(), Rejection> {
    check_actor(set, payment.actor)?;
    let hold = payment.expires_at > 0;
    refuse_if(
        hold && payment.expires_at <= ctx.timestamp,
        Rejection::HoldAlreadyDue,
    )?;
    refuse_if(terms.is_over(ctx.timestamp), Rejection::QueueExpired)?;
    check_accounts(payment.currency, source, payees)
}
