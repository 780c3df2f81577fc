//! Assessments: the effect is obeyed at its place among the reasons to refuse, and the report is kept and changes nothing.

use crate::world::{World, by, command, plain_pay};
use tributary_ledger::codec::{self, RecordRef};
use tributary_ledger::*;

/// A command of the system that was assessed.
pub(crate) fn assessed(effect: Effect, body: Body) -> Command {
    Command {
        assessment: Assessment::new(effect, b"{\"score\":7}").map(Box::new),
        ..command(Actor::SYSTEM, body)
    }
}

fn encoded(command: &Command, outcome: &Outcome, world: &World) -> Vec<u8> {
    let mut bytes = Vec::new();
    let ctx = Context {
        position: world.position,
        timestamp: world.timestamp,
    };
    codec::encode(
        command,
        &command.digest(),
        outcome,
        ctx,
        FORMAT_VERSION,
        &mut bytes,
    );
    bytes
}

#[test]
fn a_blocked_payment_exists_as_failed_and_moves_nothing() {
    let mut world = World::new();
    let (a, b) = (world.funded("a", 100), world.wallet("b"));
    let pay = Body::Pay(plain_pay(a, b, 10));
    let allowed = world.run(&assessed(Effect::Allow, pay.clone()));
    assert_eq!(allowed.rejection, None);
    let before = world.set.account(a).unwrap().posted;
    let blocked = assessed(Effect::Block, pay);
    let outcome = world.run(&blocked);
    assert_eq!(outcome.rejection, Some(Rejection::PaymentBlocked));
    assert_eq!(
        outcome.payment.as_ref().unwrap().status,
        PaymentStatus::Failed
    );
    assert_eq!(world.set.account(a).unwrap().posted, before);
    let bytes = encoded(&blocked, &outcome, &world);
    let record = RecordRef::parse(&bytes, FORMAT_VERSION).unwrap();
    let found = record.assessment().unwrap();
    assert_eq!(
        (found.effect, found.report),
        (Effect::Block, &b"{\"score\":7}"[..])
    );
    assert_eq!(record.to_record().unwrap().command, blocked);
}

#[test]
fn what_is_wrong_with_a_payment_itself_is_told_first_and_what_it_lacks_is_not_told() {
    let mut world = World::new();
    let (a, b) = (world.funded("a", 5), world.wallet("b"));
    let mut refusal = |pay: Pay, effect| world.run(&assessed(effect, Body::Pay(pay))).rejection;
    let poor = plain_pay(a, b, 10);
    assert_eq!(
        refusal(poor.clone(), Effect::Allow),
        Some(Rejection::InsufficientFunds)
    );
    assert_eq!(
        refusal(poor, Effect::Block),
        Some(Rejection::PaymentBlocked)
    );
    let nobody = plain_pay(a, AccountId(999), 1);
    assert_eq!(
        refusal(nobody, Effect::Block),
        Some(Rejection::AccountNotFound)
    );
    world.must(Body::FreezeAccount(a));
    let frozen = world.run(&assessed(Effect::Block, Body::Pay(plain_pay(a, b, 1))));
    assert_eq!(frozen.rejection, Some(Rejection::AccountFrozen));
}

#[test]
fn a_queued_payment_is_blocked_when_it_is_made_or_when_it_runs() {
    let mut world = World::new();
    let (a, b) = (world.funded("a", 100), world.wallet("b"));
    let queued = Body::Pay(Pay {
        queue: Some(Box::default()),
        ..plain_pay(a, b, 10)
    });
    let outcome = world.run(&assessed(Effect::Block, queued.clone()));
    assert_eq!(outcome.rejection, Some(Rejection::PaymentBlocked));
    assert_eq!(world.run(&assessed(Effect::Allow, queued)).rejection, None);
    let id = PaymentId(world.position);
    let outcome = world.run(&assessed(Effect::Block, Body::Run(id)));
    assert_eq!(outcome.rejection, Some(Rejection::PaymentBlocked));
    let payment = world.set.payment(id).unwrap();
    assert_eq!(
        (payment.status, payment.queue.is_none()),
        (PaymentStatus::Failed, true)
    );
    assert_eq!(world.set.account(a).unwrap().posted, 100);
    world.check_mirror();
}

#[test]
fn a_blocked_payment_uses_no_limit_and_refuses_its_group() {
    let mut world = World::new();
    let (a, b) = (world.funded("a", 100), world.wallet("b"));
    let terms = crate::limits::terms(LimitSubject::Account(a), Some(1), None);
    world.must(crate::limits::put_limit(7, &terms.to_body()));
    let pay = Body::Pay(plain_pay(a, b, 10));
    let group = [
        assessed(Effect::Allow, pay.clone()),
        assessed(Effect::Block, pay.clone()),
    ];
    let outcomes = world.run_group(&group);
    let reasons: Vec<_> = outcomes.iter().map(|outcome| outcome.rejection).collect();
    let (aborted, blocked) = (Rejection::GroupAborted, Rejection::PaymentBlocked);
    assert_eq!(reasons, [Some(aborted), Some(blocked)]);
    world.run(&assessed(Effect::Block, pay.clone()));
    assert_eq!(world.run(&assessed(Effect::Allow, pay)).rejection, None);
}

#[test]
fn a_record_whose_outcome_does_not_obey_its_assessment_is_refused() {
    let mut world = World::new();
    let (a, b) = (world.funded("a", 100), world.wallet("b"));
    let pay = Body::Pay(plain_pay(a, b, 10));
    let (allowed, blocked) = (
        assessed(Effect::Allow, pay.clone()),
        assessed(Effect::Block, pay.clone()),
    );
    let made = world.run(&allowed);
    let refused = world.run(&blocked);
    let parse = |command: &Command, outcome: &Outcome| {
        let bytes = encoded(command, outcome, &world);
        RecordRef::parse(&bytes, FORMAT_VERSION).map(|_| ())
    };
    assert_eq!(parse(&allowed, &made), Ok(()));
    assert_eq!(parse(&blocked, &refused), Ok(()));
    assert!(parse(&blocked, &made).is_err());
    assert!(parse(&allowed, &refused).is_err());
    assert!(parse(&command(by(OwnerId::PLATFORM), pay), &refused).is_err());
    let freeze = assessed(Effect::Allow, Body::FreezeAccount(b));
    let frozen = world.run(&command(Actor::SYSTEM, Body::FreezeAccount(b)));
    let bytes = encoded(&freeze, &frozen, &world);
    assert!(RecordRef::parse(&bytes, FORMAT_VERSION).is_err());
}

#[test]
fn a_report_has_a_bound_and_is_no_part_of_the_digest() {
    assert!(Assessment::new(Effect::Allow, &[]).is_none());
    let longest = [b'r'; Assessment::REPORT_BYTES_MAX];
    assert!(Assessment::new(Effect::Allow, &longest).is_some());
    let too_long = [b'r'; Assessment::REPORT_BYTES_MAX + 1];
    assert!(Assessment::new(Effect::Allow, &too_long).is_none());
    let mut world = World::new();
    let (a, b) = (world.funded("a", 100), world.wallet("b"));
    let pay = Body::Pay(plain_pay(a, b, 10));
    assert_eq!(
        assessed(Effect::Block, pay.clone()).digest(),
        command(Actor::SYSTEM, pay).digest()
    );
}
