//! Queued payments: accepted now, decided when their turn has come.

use crate::world::{World, by, command, fees, plain_pay};
use tributary_ledger::*;

struct Scene {
    world: World,
    buyer: AccountId,
    shop: AccountId,
}

fn scene() -> Scene {
    let mut world = World::new();
    let buyer = world.funded("buyer", 1_000);
    let shop = world.wallet("shop");
    Scene { world, buyer, shop }
}

fn terms(not_before: u64, expires_at: u64) -> Option<Box<Queue>> {
    let terms = QueueTerms {
        not_before,
        expires_at,
        ..QueueTerms::default()
    };
    Some(Box::new(Queue {
        terms,
        ..Queue::default()
    }))
}

impl Scene {
    fn order(&self, amount: u64) -> Pay {
        Pay {
            queue: terms(0, 0),
            reference: Reference::new("order").ok(),
            ..plain_pay(self.buyer, self.shop, amount)
        }
    }

    fn run(&mut self, payment: PaymentId) -> Outcome {
        let outcome = self.world.submit(Actor::SYSTEM, Body::Run(payment));
        self.world.check();
        self.world.check_mirror();
        outcome
    }

    fn event(&self) -> &str {
        let record = self.world.records.last().unwrap();
        event_type(&codec::RecordRef::parse(record, FORMAT_VERSION).unwrap())
    }

    fn balances(&self) -> (i64, i64, i64) {
        let held = self.world.set.account(self.buyer).unwrap().held;
        let posted = |account| self.world.posted(account);
        (posted(self.buyer), posted(self.shop), held as i64)
    }
}

#[test]
fn a_queued_payment_holds_nothing_and_moves_its_money_when_it_runs() {
    let mut s = scene();
    let fee = s.world.wallet("fee");
    let payment = s.world.pay(Pay {
        fees: fees(&[(fee, 7, 0)]),
        ..s.order(100)
    });
    assert_eq!(s.event(), "payment.queued");
    assert_eq!(s.world.payment(payment).status, PaymentStatus::Queued);
    assert!(s.world.payment(payment).is_open());
    assert_eq!(s.balances(), (1_000, 0, 0));
    s.world.pay(plain_pay(s.buyer, s.shop, 900));
    assert_eq!(s.run(payment).rejection, None);
    assert_eq!(s.event(), "payment.captured");
    assert_eq!(s.balances(), (0, 993, 0));
    assert_eq!(s.world.posted(fee), 7);
    assert_eq!(s.world.payment(payment).status, PaymentStatus::Captured);
    assert_eq!(s.world.refund(payment, None).rejection, None);
    assert_eq!(s.run(payment).rejection, Some(Rejection::PaymentNotQueued));
    assert_eq!(s.event(), "payment.run_refused");
}

#[test]
fn a_queued_hold_is_held_when_it_runs() {
    let mut s = scene();
    let hold = Some(Hold {
        expires_at: s.world.timestamp + 1_000,
    });
    let order = Pay {
        hold,
        ..s.order(100)
    };
    let payment = s.world.pay(order.clone());
    assert_eq!(s.balances(), (1_000, 0, 0));
    assert_eq!(s.run(payment).rejection, None);
    assert_eq!(s.event(), "payment.authorized");
    assert_eq!(s.balances(), (1_000, 0, 100));
    assert_eq!(s.world.capture(payment, None).rejection, None);
    assert_eq!(s.balances(), (900, 100, 0));
    let reference = None;
    let late = s.world.pay(Pay { reference, ..order });
    s.world.timestamp += 2_000;
    assert_eq!(s.run(late).rejection, Some(Rejection::HoldAlreadyDue));
    assert_eq!(s.event(), "payment.failed");
}

#[test]
fn a_payment_that_fails_when_it_runs_gives_its_reference_back() {
    let mut s = scene();
    let payment = s.world.pay(s.order(1_001));
    let again = Body::Pay(s.order(1));
    let taken = s.world.submit(Actor::SYSTEM, again.clone());
    assert_eq!(taken.rejection, Some(Rejection::ReferenceInUse));
    let outcome = s.run(payment);
    assert_eq!(outcome.rejection, Some(Rejection::InsufficientFunds));
    assert_eq!(s.event(), "payment.failed");
    assert_eq!(s.balances(), (1_000, 0, 0));
    assert_eq!(s.world.payment(payment).status, PaymentStatus::Failed);
    assert_eq!(s.run(payment).rejection, Some(Rejection::PaymentNotQueued));
    s.world.must(again.clone());
    let taken = s.world.submit(Actor::SYSTEM, again);
    assert_eq!(taken.rejection, Some(Rejection::ReferenceInUse));
    s.world.check_mirror();
}

/// Whether a queued payment fails for this reason when it runs after `change`, which is made after it was accepted.
#[track_caller]
fn check(change: fn(&mut Scene), expected: Rejection) {
    let mut s = scene();
    let key = s.world.api_key("buyer", Access::Write);
    let actor = Actor {
        owner: s.world.owner_of(s.buyer),
        api_key: key,
    };
    let expires_at = s.world.timestamp + 1_000;
    let order = Pay {
        queue: terms(0, expires_at),
        ..s.order(500)
    };
    let payment = s.world.submit(actor, Body::Pay(order)).payment.unwrap().id;
    change(&mut s);
    let before = s.balances();
    assert_eq!(s.run(payment).rejection, Some(expected));
    assert_eq!(s.world.payment(payment).status, PaymentStatus::Failed);
    assert_eq!(s.balances(), before);
}

#[test]
fn every_check_is_made_again_when_a_payment_runs() {
    check(
        |s| _ = s.world.must(Body::FreezeAccount(s.buyer)),
        Rejection::AccountFrozen,
    );
    check(
        |s| _ = s.world.must(Body::CloseAccount(s.shop)),
        Rejection::AccountClosed,
    );
    check(
        |s| _ = s.world.pay(plain_pay(s.buyer, s.shop, 501)),
        Rejection::InsufficientFunds,
    );
    check(|s| s.world.timestamp += 2_000, Rejection::QueueExpired);
    let revoke = |s: &mut Scene| {
        let key = s.world.set.api_keys().next().unwrap().id;
        s.world.must(Body::RevokeApiKey(key));
    };
    check(revoke, Rejection::ActorKeyRevoked);
}

#[test]
fn a_payment_runs_within_its_time_and_not_before() {
    let mut s = scene();
    let now = s.world.timestamp;
    let order = Pay {
        queue: terms(now + 100, now + 200),
        ..s.order(1)
    };
    let payment = s.world.pay(order.clone());
    let early = s.run(payment);
    assert_eq!(early.rejection, Some(Rejection::PaymentNotDue));
    assert_eq!((early.payment, early.legs.len()), (None, 0));
    s.world.timestamp = now + 100;
    assert_eq!(s.run(payment).rejection, None);
    for (not_before, expires_at) in [(0, now), (now + 300, now + 250), (now + 300, now + 300)] {
        let queue = terms(not_before, expires_at);
        let refused = s.world.submit(
            Actor::SYSTEM,
            Body::Pay(Pay {
                queue,
                ..order.clone()
            }),
        );
        assert_eq!(refused.rejection, Some(Rejection::QueueExpired));
    }
}

#[test]
fn a_queued_payment_can_be_taken_back_by_who_asked_for_it_and_by_the_platform() {
    for (by_whom, may) in [
        ("buyer", true),
        // It has not reached its payee.
        ("shop", false),
        ("other", false),
        ("platform", true),
    ] {
        let mut s = scene();
        let other = s.world.wallet("other");
        let account = match by_whom {
            "shop" => s.shop,
            "other" => other,
            _ => s.buyer,
        };
        let mut actor = by(s.world.owner_of(account));
        if by_whom == "platform" {
            actor = Actor::SYSTEM;
        }
        let buyer = by(s.world.owner_of(s.buyer));
        let order = Body::Pay(s.order(100));
        let payment = s.world.submit(buyer, order).payment.unwrap().id;
        let outcome = s.world.submit(actor, Body::Void(payment));
        assert_eq!(outcome.is_accepted(), may, "{by_whom}");
        if may {
            assert_eq!(s.event(), "payment.voided");
            assert_eq!(s.world.payment(payment).status, PaymentStatus::Voided);
            assert_eq!(s.run(payment).rejection, Some(Rejection::PaymentNotQueued));
        }
        assert_eq!(s.balances(), (1_000, 0, 0));
        s.world.check_mirror();
    }
}

#[test]
fn a_queued_payment_touches_its_payees_when_it_runs_and_only_then() {
    let mut s = scene();
    let fee = s.world.wallet("fee");
    let order = |s: &Scene, amount| Pay {
        fees: fees(&[(fee, 1, 0)]),
        reference: None,
        ..s.order(amount)
    };
    let of = |s: &Scene, account| s.world.owner_of(account);
    let all = [s.buyer, s.shop, fee];
    let owners = all.map(|account| of(&s, account));
    // (what is done with it, legs of the record that does it, whether the payees see it afterwards)
    type End = fn(&mut Scene, PaymentId) -> Outcome;
    let void: End = |s, id| s.world.submit(Actor::SYSTEM, Body::Void(id));
    let ends: [(u64, End, usize, bool); 3] = [
        (10, |s, id| s.run(id), 3, true),
        (5_000, |s, id| s.run(id), 1, false),
        (10, void, 1, false),
    ];
    for (amount, end, legs, reached) in ends {
        let body = Body::Pay(order(&s, amount));
        let asked = s.world.submit(by(owners[0]), body);
        let touched: Vec<AccountId> = asked.legs.iter().map(|leg| leg.account).collect();
        assert_eq!(touched, [s.buyer]);
        let viewers = |s: &Scene, payment: &Payment| {
            let mut viewers = Vec::new();
            let owner_of = |id| s.world.set.account(id).map(|account| account.owner);
            payment.viewers(owner_of, |owner| viewers.push(owner));
            viewers.sort_unstable();
            viewers.dedup();
            viewers
        };
        let queued = asked.payment.unwrap();
        assert_eq!(viewers(&s, &queued), owners[..1]);
        let ended = end(&mut s, queued.id);
        assert_eq!(ended.legs.len(), legs);
        let seen = viewers(&s, &ended.payment.unwrap());
        assert_eq!(seen, owners[..if reached { 3 } else { 1 }]);
    }
    s.world.check_mirror();
}

#[test]
fn a_group_that_is_refused_leaves_a_payment_in_the_queue() {
    let mut s = scene();
    let good = s.world.pay(s.order(1));
    let reference = None;
    let bad = s.world.pay(Pay {
        reference,
        ..s.order(1_001)
    });
    let linked = |payment, linked| Command {
        linked,
        ..command(Actor::SYSTEM, Body::Run(payment))
    };
    let outcomes = s.world.run_group(&[linked(good, true), linked(bad, false)]);
    let reasons = outcomes.iter().map(|outcome| outcome.rejection);
    let expected = [
        Some(Rejection::GroupAborted),
        Some(Rejection::InsufficientFunds),
    ];
    assert_eq!(reasons.collect::<Vec<_>>(), expected);
    for payment in [good, bad] {
        assert_eq!(s.world.payment(payment).status, PaymentStatus::Queued);
    }
    s.world.check_mirror();
    assert_eq!(s.run(good).rejection, None);
}

#[test]
fn a_paused_queue_runs_nothing_but_what_is_too_late_and_a_draining_one_runs_all() {
    let mut s = scene();
    let order = s.order(100);
    let waits = s.world.pay(Pay {
        reference: None,
        ..order.clone()
    });
    let late = s.world.pay(Pay {
        queue: terms(0, s.world.timestamp + 10),
        reference: None,
        ..order.clone()
    });
    let voided = s.world.pay(order);
    s.world.must(Body::SetQueue(QueueMode::Paused));
    assert_eq!(s.event(), "queue.paused");
    assert_eq!(s.world.set.queue().changed_at, s.world.position);
    assert_eq!(s.run(late).rejection, Some(Rejection::QueuePaused));
    assert_eq!(s.event(), "payment.run_refused");
    s.world.timestamp += 10;
    assert_eq!(s.run(waits).rejection, Some(Rejection::QueuePaused));
    assert_eq!(s.run(late).rejection, Some(Rejection::QueueExpired));
    assert_eq!(s.event(), "payment.failed");
    s.world.must(Body::Void(voided));
    assert_eq!(s.world.set.queued(), 1);
    s.world.must(Body::SetQueue(QueueMode::Draining));
    assert_eq!(s.event(), "queue.draining");
    assert_eq!(s.run(waits).rejection, None);
    s.world.must(Body::SetQueue(QueueMode::Active));
    assert_eq!(s.event(), "queue.resumed");
    let shop = by(s.world.owner_of(s.shop));
    let refused = s.world.submit(shop, Body::SetQueue(QueueMode::Paused));
    assert_eq!(refused.rejection, Some(Rejection::Forbidden));
    assert_eq!(s.event(), "queue.refused");
    assert_eq!(s.world.set.queue().mode, QueueMode::Active);
    assert_eq!(s.world.set.queued(), 0);
}

#[test]
fn a_group_that_is_undone_leaves_the_queue_as_it_was() {
    let mut s = scene();
    let waits = s.world.pay(s.order(100));
    let before = s.world.set.queue();
    let linked = |body| Command {
        linked: true,
        ..command(Actor::SYSTEM, body)
    };
    let reference = None;
    let another = Pay {
        reference,
        ..s.order(1)
    };
    s.world.run_group(&[
        linked(Body::SetQueue(QueueMode::Draining)),
        linked(Body::Pay(another)),
        linked(Body::Void(waits)),
        command(Actor::SYSTEM, Body::Void(PaymentId(9_999))),
    ]);
    assert_eq!((s.world.set.queue(), s.world.set.queued()), (before, 1));
    assert_eq!(s.world.set.queued_by(OwnerId::PLATFORM), 1);
    s.world.check_mirror();
}
