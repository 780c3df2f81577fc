//! Approve a payment that is in review, and record what people find out about payments.

use super::capture::{check_takeable, take};
use super::checks::{Decision, is_platform, leg, refuse_if};
use crate::{
    Actor, Approve, Context, Investigate, Outcome, Payment, PaymentStatus, Rejection, ReviewKind,
    ReviewStage, WorkingSet,
};

/// Does what the payment asked for: moves the money that is held, or holds it from now on as asked.
pub(super) fn approve(set: &WorkingSet, actor: Actor, approve: Approve, ctx: Context) -> Decision {
    let payment = set.find_payment(approve.payment)?;
    let is_challenge = payment
        .review
        .as_ref()
        .is_some_and(|review| review.kind == ReviewKind::Challenge);
    let may_confirm = is_challenge && payment.actor.owner == actor.owner;
    refuse_if(
        !(is_platform(actor) || approve.by_payer && may_confirm),
        Rejection::Forbidden,
    )?;
    check_takeable(set, payment, |_| true)?;
    let review = open_review(payment).filter(|_| is_challenge || !approve.by_payer);
    let mut review = review.ok_or(Rejection::PaymentNotInReview)?.clone();
    refuse_if(ctx.timestamp >= payment.expires_at, Rejection::HoldExpired)?;
    review.stage = match approve.by_payer {
        true => ReviewStage::Confirmed,
        false => ReviewStage::Approved,
    };
    let mut outcome = match review.hold {
        None => {
            let parts = payment.shares.iter().map(|share| share.amount).collect();
            take(set, payment, payment.held, &parts, payment.held, ctx)?
        }
        Some(_) => keep_holding(set, payment, ctx)?,
    };
    let after = outcome.payment.as_mut().expect("made with a payment");
    after.status = match review.hold {
        None => PaymentStatus::moved(payment.kind),
        Some(_) => PaymentStatus::held(payment.kind),
    };
    after.expires_at = review.hold.map_or(0, |hold| hold.expires_at);
    after.review = Some(Box::new(review));
    Ok(outcome)
}

/// Returns the outcome that holds what is held, with a leg of each account, so that their lists show it.
fn keep_holding(set: &WorkingSet, payment: &Payment, ctx: Context) -> Decision {
    let mut outcome = Outcome::default();
    let payees = payment.shares.iter().map(|share| share.account);
    for account in std::iter::once(payment.source).chain(payees) {
        let account = set.find_account(account)?;
        outcome.legs.push(leg(account, 0, account.held));
    }
    let mut after = payment.clone();
    after.change(ctx);
    outcome.payment = Some(after);
    Ok(outcome)
}

/// Records who looks into the review of a payment, and what the payment was. The note is the text of the command. The record is the
/// platform's alone: it has no legs.
pub(super) fn investigate(
    set: &WorkingSet,
    actor: Actor,
    investigate: &Investigate,
    ctx: Context,
) -> Decision {
    let payment = set.find_payment(investigate.payment)?;
    refuse_if(!is_platform(actor), Rejection::Forbidden)?;
    let mut after = payment.clone();
    let is_about_review = investigate.investigating.is_some() || investigate.assignee.is_some();
    let is_note = !is_about_review && investigate.label.is_none();
    if is_about_review || is_note && payment.label.is_none() {
        let review =
            open_review(payment).or(payment.review.as_deref().filter(|_| !is_about_review));
        let mut review = review.ok_or(Rejection::PaymentNotInReview)?.clone();
        if let Some(begun) = investigate.investigating {
            review.stage = match begun {
                true => ReviewStage::Investigating,
                false => ReviewStage::Open,
            };
        }
        if let Some(assignee) = &investigate.assignee {
            review.assignee.clone_from(assignee);
        }
        after.review = Some(Box::new(review));
    }
    after.label = investigate.label.or(payment.label);
    after.shown_at = Some(payment.shown_at());
    after.changed_at = ctx.position;
    Ok(Outcome {
        payment: Some(after),
        ..Outcome::default()
    })
}

fn open_review(payment: &Payment) -> Option<&crate::Review> {
    let review = payment.review.as_deref();
    review.filter(|review| review.stage.is_open())
}
