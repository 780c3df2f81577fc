//! Reviews: the rules hold a payment, and it does what it asked for once somebody approves it.

use crate::assessments::assessed;
use crate::world::{World, by, command, plain_pay};
use tributary_ledger::codec::RecordRef;
use tributary_ledger::*;

const HOUR_SECONDS: u32 = 3_600;
const HOUR: u64 = HOUR_SECONDS as u64 * 1_000_000_000;

pub(crate) fn held(kind: ReviewKind) -> Effect {
    Effect::Review(ReviewTerms {
        kind,
        seconds: HOUR_SECONDS,
    })
}

pub(crate) fn approve(payment: PaymentId, by_payer: bool) -> Body {
    Body::Approve(Approve { payment, by_payer })
}

pub(crate) fn note(payment: PaymentId, label: Option<RiskLabel>) -> Investigate {
    Investigate {
        payment,
        investigating: None,
        assignee: None,
        label,
    }
}

/// The payment that this one becomes if rules hold it.
fn hold(world: &mut World, kind: ReviewKind, pay: Pay) -> PaymentId {
    let outcome = world.run(&assessed(held(kind), Body::Pay(pay)));
    assert_eq!(outcome.rejection, None);
    let payment = outcome.payment.unwrap();
    assert_eq!(payment.status, PaymentStatus::InReview);
    assert_eq!(
        (payment.held, payment.captured),
        (payment.amount, 0),
        "nothing moves yet"
    );
    payment.id
}

fn stage(world: &World, payment: PaymentId) -> ReviewStage {
    world.payment(payment).review.as_ref().unwrap().stage
}

fn event_of(world: &World) -> String {
    let bytes = world.records.last().unwrap();
    event_type(&RecordRef::parse(bytes, FORMAT_VERSION).unwrap()).to_owned()
}

#[test]
fn an_approval_moves_the_money_that_was_to_move_at_once() {
    let mut world = World::new();
    let (a, b) = (world.funded("a", 100), world.wallet("b"));
    let id = hold(&mut world, ReviewKind::Review, plain_pay(a, b, 60));
    assert_eq!(event_of(&world), "payment.in_review");
    let payment = world.payment(id);
    assert_eq!(payment.expires_at, payment.created_at + HOUR);
    assert_eq!((world.available(a), world.posted(b)), (40, 0));
    // Nobody but the platform.
    let owner = by(world.owner_of(b));
    let refused = world.submit(owner, approve(id, false)).rejection;
    assert_eq!(refused, Some(Rejection::Forbidden));
    let refused = world.submit(Actor::SYSTEM, approve(id, true)).rejection;
    assert_eq!(
        refused,
        Some(Rejection::PaymentNotInReview),
        "not a challenge"
    );
    world.must(approve(id, false));
    assert_eq!(event_of(&world), "payment.captured");
    let payment = world.payment(id);
    assert_eq!(payment.status, PaymentStatus::Captured);
    assert_eq!((payment.held, payment.expires_at), (0, 0));
    assert_eq!((world.available(a), world.posted(b)), (40, 60));
    assert_eq!(stage(&world, id), ReviewStage::Approved);
    let again = world.submit(Actor::SYSTEM, approve(id, false)).rejection;
    assert_eq!(again, Some(Rejection::PaymentNotInReview));
    world.refund(id, Some(60));
    assert_eq!(world.payment(id).status, PaymentStatus::Refunded);
    world.check();
    world.check_mirror();
}

#[test]
fn an_approval_of_a_hold_leaves_the_hold_that_was_asked_for() {
    let mut world = World::new();
    let (a, b) = (world.funded("a", 100), world.wallet("b"));
    let asked = Hold {
        expires_at: world.timestamp + 5 * HOUR,
    };
    let pay = Pay {
        hold: Some(asked),
        ..plain_pay(a, b, 60)
    };
    let id = hold(&mut world, ReviewKind::Review, pay);
    let payment = world.payment(id);
    assert_eq!(payment.expires_at, payment.created_at + HOUR);
    let capture = Body::Capture(Capture {
        payment: id,
        amount: None,
        is_final: false,
        splits: PayeeAmounts::default(),
    });
    let refused = world.submit(Actor::SYSTEM, capture.clone()).rejection;
    assert_eq!(refused, Some(Rejection::PaymentInReview));
    world.must(approve(id, false));
    assert_eq!(event_of(&world), "payment.authorized");
    let payment = world.payment(id);
    assert_eq!(payment.status, PaymentStatus::Authorized);
    assert_eq!((payment.held, payment.expires_at), (60, asked.expires_at));
    world.must(capture);
    assert_eq!(world.posted(b), 60);
    world.check();
    world.check_mirror();
}

#[test]
fn a_payout_waits_for_an_approval_before_it_is_pending() {
    let mut world = World::new();
    let (a, bank) = (world.funded("a", 100), world.wallet("bank"));
    let payout = Pay {
        kind: PaymentKind::Payout,
        hold: Some(Hold::OF_PAYOUT),
        ..plain_pay(a, bank, 60)
    };
    let id = hold(&mut world, ReviewKind::Review, payout.clone());
    assert_eq!(event_of(&world), "payout.in_review");
    let pay_it = Body::SettlePayout(SettlePayout {
        payout: id,
        failure: None,
    });
    let refused = world.submit(Actor::SYSTEM, pay_it.clone()).rejection;
    assert_eq!(refused, Some(Rejection::PayoutNotPending));
    world.must(approve(id, false));
    assert_eq!(event_of(&world), "payout.created");
    let payment = world.payment(id);
    assert_eq!(payment.status, PaymentStatus::Pending);
    assert_eq!(payment.expires_at, Hold::NO_EXPIRY);
    world.must(pay_it);
    let declined = hold(
        &mut world,
        ReviewKind::Review,
        Pay {
            amount: 40,
            ..payout.clone()
        },
    );
    world.must(Body::Void(declined));
    assert_eq!(event_of(&world), "payout.voided");
    let expired = hold(
        &mut world,
        ReviewKind::Review,
        Pay {
            amount: 40,
            ..payout
        },
    );
    world.timestamp += HOUR;
    world.must(Body::Expire(expired));
    assert_eq!(event_of(&world), "payout.expired");
    assert_eq!((world.available(a), world.posted(bank)), (40, 60));
    world.check();
    world.check_mirror();
}

#[test]
fn a_challenge_is_confirmed_by_the_owner_that_asked_and_by_nobody_else() {
    let mut world = World::new();
    let (a, b) = (world.funded("a", 100), world.wallet("b"));
    let (payer, payee) = (by(world.owner_of(a)), by(world.owner_of(b)));
    let asked = |effect| Command {
        actor: payer,
        ..assessed(effect, Body::Pay(plain_pay(a, b, 10)))
    };
    let challenged = |world: &mut World| {
        let outcome = world.run(&asked(held(ReviewKind::Challenge)));
        outcome.payment.unwrap().id
    };
    let id = challenged(&mut world);
    for (actor, by_payer) in [(payee, true), (payee, false), (payer, false)] {
        let refused = world.submit(actor, approve(id, by_payer)).rejection;
        assert_eq!(refused, Some(Rejection::Forbidden));
    }
    assert_eq!(world.submit(payer, approve(id, true)).rejection, None);
    assert_eq!(stage(&world, id), ReviewStage::Confirmed);
    let overruled = challenged(&mut world);
    world.must(approve(overruled, false));
    assert_eq!(stage(&world, overruled), ReviewStage::Approved);
    let taken_back = challenged(&mut world);
    assert_eq!(world.submit(payer, Body::Void(taken_back)).rejection, None);
    assert_eq!(stage(&world, taken_back), ReviewStage::Cancelled);
    let declined = challenged(&mut world);
    world.must(Body::Void(declined));
    assert_eq!(stage(&world, declined), ReviewStage::Declined);
    let late = challenged(&mut world);
    world.timestamp += HOUR;
    let refused = world.submit(payer, approve(late, true)).rejection;
    assert_eq!(refused, Some(Rejection::HoldExpired));
    world.must(Body::Expire(late));
    assert_eq!(stage(&world, late), ReviewStage::Expired);
    assert_eq!((world.available(a), world.posted(b)), (80, 20));
    world.check();
    world.check_mirror();
}

#[test]
fn a_queued_payment_is_held_when_it_runs() {
    let mut world = World::new();
    let (a, b) = (world.funded("a", 100), world.wallet("b"));
    let queued = Pay {
        queue: Some(Box::default()),
        ..plain_pay(a, b, 10)
    };
    // What the rules say before it is its turn holds nothing.
    let effect = held(ReviewKind::Review);
    world.run(&assessed(effect, Body::Pay(queued)));
    let id = PaymentId(world.position);
    assert_eq!(world.payment(id).status, PaymentStatus::Queued);
    world.run(&assessed(effect, Body::Run(id)));
    assert_eq!(event_of(&world), "payment.in_review");
    assert_eq!(world.payment(id).status, PaymentStatus::InReview);
    assert_eq!((world.available(a), world.posted(b)), (90, 0));
    world.must(approve(id, false));
    assert_eq!(world.posted(b), 10);
    world.check();
    world.check_mirror();
}

#[test]
fn what_cannot_be_held_is_refused() {
    let mut world = World::new();
    let (a, b) = (world.funded("a", 100), world.wallet("b"));
    let effect = held(ReviewKind::Challenge);
    let adjustment = Pay {
        kind: PaymentKind::Adjustment,
        reason: Reason::new("counted wrongly").ok(),
        ..plain_pay(a, b, 10)
    };
    let refused = world
        .run(&assessed(effect, Body::Pay(adjustment)))
        .rejection;
    assert_eq!(refused, Some(Rejection::ReviewNotPossible));
    let pay = Body::Pay(plain_pay(a, b, 10));
    let group = [
        command(Actor::SYSTEM, pay.clone()),
        assessed(effect, pay.clone()),
    ];
    let reasons: Vec<_> = world
        .run_group(&group)
        .iter()
        .map(|outcome| outcome.rejection)
        .collect();
    let (aborted, impossible) = (Rejection::GroupAborted, Rejection::ReviewNotPossible);
    assert_eq!(reasons, [Some(aborted), Some(impossible)]);
    let poor = assessed(effect, Body::Pay(plain_pay(a, b, 1_000)));
    let refused = world.run(&poor).rejection;
    assert_eq!(
        refused,
        Some(Rejection::InsufficientFunds),
        "a hold needs its money"
    );
    assert_eq!((world.available(a), world.posted(b)), (100, 0));
    world.check_mirror();
}

#[test]
fn an_approval_is_refused_while_the_payer_is_frozen_or_the_payee_closed() {
    let mut world = World::new();
    let (a, b) = (world.funded("a", 100), world.wallet("b"));
    let id = hold(&mut world, ReviewKind::Review, plain_pay(a, b, 60));
    world.must(Body::FreezeAccount(a));
    let refused = world.submit(Actor::SYSTEM, approve(id, false)).rejection;
    assert_eq!(refused, Some(Rejection::AccountFrozen));
    world.must(Body::UnfreezeAccount(a));
    world.must(Body::CloseAccount(b));
    let refused = world.submit(Actor::SYSTEM, approve(id, false)).rejection;
    assert_eq!(refused, Some(Rejection::AccountClosed));
    world.must(Body::Void(id));
    assert_eq!(world.available(a), 100);
    world.check();
}

#[test]
fn a_limit_counts_a_payment_when_it_is_held_and_not_again() {
    let mut world = World::new();
    let (a, b) = (world.funded("a", 100), world.wallet("b"));
    let terms = crate::limits::terms(LimitSubject::Account(a), Some(2), None);
    world.must(crate::limits::put_limit(7, &terms.to_body()));
    let first = hold(&mut world, ReviewKind::Review, plain_pay(a, b, 1));
    world.must(approve(first, false));
    hold(&mut world, ReviewKind::Review, plain_pay(a, b, 1));
    let third = assessed(held(ReviewKind::Review), Body::Pay(plain_pay(a, b, 1)));
    assert_eq!(world.run(&third).rejection, Some(Rejection::LimitExceeded));
    world.check_mirror();
}

#[test]
fn what_people_find_out_is_the_platform_s_alone() {
    let mut world = World::new();
    let (a, b) = (world.funded("a", 100), world.wallet("b"));
    let plain = world.pay(plain_pay(a, b, 1));
    let body = |found| Body::Investigate(Box::new(found));
    let label = Some(RiskLabel::Fraud);
    let refused = world
        .submit(Actor::SYSTEM, body(note(plain, None)))
        .rejection;
    assert_eq!(refused, Some(Rejection::PaymentNotInReview));
    let refused = world.submit(by(world.owner_of(a)), body(note(plain, label)));
    assert_eq!(refused.rejection, Some(Rejection::Forbidden));
    let labelled = world.must(body(note(plain, label)));
    assert_eq!(event_of(&world), "payment.labelled");
    assert!(labelled.legs.is_empty());
    world.must(body(note(plain, None)));
    assert_eq!(
        world.payment(plain).shown_at(),
        plain.0,
        "its owners see nothing"
    );
    let told = audience(&command(Actor::SYSTEM, body(note(plain, label))), &labelled);
    assert!(told.is_empty(), "no owner is told");
    let id = hold(&mut world, ReviewKind::Review, plain_pay(a, b, 60));
    world.must(body(Investigate {
        investigating: Some(true),
        assignee: Some(Label::new("fraud team").ok()),
        ..note(id, None)
    }));
    assert_eq!(event_of(&world), "case.updated");
    assert_eq!(stage(&world, id), ReviewStage::Investigating);
    assert_eq!(world.payment(id).status, PaymentStatus::InReview);
    world.must(approve(id, false));
    let late = Investigate {
        investigating: Some(true),
        ..note(id, None)
    };
    let refused = world.submit(Actor::SYSTEM, body(late)).rejection;
    assert_eq!(refused, Some(Rejection::PaymentNotInReview));
    world.must(body(note(id, Some(RiskLabel::Genuine))));
    world.must(body(note(id, None)));
    let payment = world.payment(id);
    assert_eq!(payment.label, Some(RiskLabel::Genuine));
    let review = payment.review.as_ref().unwrap();
    assert_eq!(review.assignee, Label::new("fraud team").ok());
    assert_eq!(world.payment(plain).label, label);
    assert!(world.set.in_review().is_empty());
    world.check();
    world.check_mirror();
}
