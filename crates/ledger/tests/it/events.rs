//! Each record has one event, whose name says what became of the payment, account or key.

use crate::world::{World, plain_pay};
use tributary_ledger::codec::RecordRef;
use tributary_ledger::*;

fn last(world: &World) -> &str {
    event_type(&RecordRef::parse(world.records.last().unwrap(), FORMAT_VERSION).unwrap())
}

/// Submits each body and compares the name of its event.
fn check(world: &mut World, steps: &[(Body, &str)]) {
    for (body, expected) in steps {
        world.submit(Actor::SYSTEM, body.clone());
        assert_eq!(last(world), *expected, "{body:?}");
    }
}

fn hold(world: &World) -> Option<Hold> {
    Some(Hold {
        expires_at: world.timestamp + 1_000,
    })
}

fn refund(payment: PaymentId, amount: Option<u64>) -> Body {
    Body::Refund(Refund {
        payment,
        amount,
        refund_fee: false,
        splits: PayeeAmounts::default(),
    })
}

fn capture(payment: PaymentId, amount: Option<u64>) -> Body {
    Body::Capture(Capture {
        payment,
        amount,
        is_final: false,
        splits: PayeeAmounts::default(),
    })
}

#[test]
fn events_of_payments() {
    let mut world = World::new();
    let (a, b) = (world.funded("a", 100), world.wallet("b"));
    check(
        &mut world,
        &[
            (Body::Pay(plain_pay(a, b, 101)), "payment.failed"),
            (Body::Pay(plain_pay(a, b, 10)), "payment.captured"),
        ],
    );
    let paid = PaymentId(world.position);
    let steps = [
        (refund(paid, Some(11)), "payment.refund_refused"),
        (refund(paid, Some(4)), "payment.partially_refunded"),
        (refund(paid, None), "payment.refunded"),
        (capture(paid, None), "payment.capture_refused"),
        (Body::Void(paid), "payment.void_refused"),
        (Body::Expire(paid), "payment.expire_refused"),
    ];
    check(&mut world, &steps);
    let pay = Body::Pay(Pay {
        hold: hold(&world),
        ..plain_pay(a, b, 10)
    });
    check(&mut world, &[(pay.clone(), "payment.authorized")]);
    let held = PaymentId(world.position);
    let steps = [
        (capture(held, Some(4)), "payment.partially_captured"),
        (refund(held, Some(4)), "payment.partially_refunded"),
        (capture(held, None), "payment.captured"),
        (pay.clone(), "payment.authorized"),
    ];
    check(&mut world, &steps);
    let voided = PaymentId(world.position);
    check(
        &mut world,
        &[
            (Body::Void(voided), "payment.voided"),
            (pay, "payment.authorized"),
        ],
    );
    let expired = PaymentId(world.position);
    world.timestamp += 1_000;
    check(&mut world, &[(Body::Expire(expired), "payment.expired")]);
}

#[test]
fn events_of_payouts() {
    use crate::payouts::{fail, give_back, pay};
    let mut world = World::new();
    let (wallet, bank) = (
        world.funded("seller", 100),
        world.open("platform", AccountKind::External, Overdraft::UNLIMITED),
    );
    let payout = |hold, queue| {
        Body::Pay(Pay {
            kind: PaymentKind::Payout,
            hold,
            queue,
            ..plain_pay(wallet, bank, 30)
        })
    };
    let pending = payout(Some(Hold::OF_PAYOUT), None);
    check(
        &mut world,
        &[
            (payout(None, None), "payout.paid"),
            (pending.clone(), "payout.created"),
        ],
    );
    let id = PaymentId(world.position);
    let steps = [
        (Body::Void(id), "payment.void_refused"),
        (give_back(id, None), "payout.return_refused"),
        (pay(id), "payout.paid"),
        (pay(id), "payout.settle_refused"),
        (give_back(id, Some(10)), "payout.returned"),
        (pending, "payout.created"),
    ];
    check(&mut world, &steps);
    let id = PaymentId(world.position);
    check(&mut world, &[(fail(id), "payout.failed")]);
    let queue = Some(Box::default());
    let queued = payout(Some(Hold::OF_PAYOUT), queue.clone());
    check(&mut world, &[(queued.clone(), "payout.queued")]);
    let id = PaymentId(world.position);
    check(
        &mut world,
        &[
            (Body::Void(id), "payout.voided"),
            (queued.clone(), "payout.queued"),
        ],
    );
    let id = PaymentId(world.position);
    check(
        &mut world,
        &[
            (Body::Run(id), "payout.created"),
            (payout(None, queue), "payout.queued"),
        ],
    );
    let id = PaymentId(world.position);
    check(
        &mut world,
        &[(Body::Run(id), "payout.failed"), (queued, "payout.queued")],
    );
    check(
        &mut world,
        &[(payout(Some(Hold::OF_PAYOUT), None), "payout.failed")],
    );
}

#[test]
fn events_of_accounts_and_api_keys() {
    let mut world = World::new();
    let account = world.wallet("a");
    assert_eq!(last(&world), "account.opened");
    let steps = [
        (Body::UnfreezeAccount(account), "account.refused"),
        (Body::FreezeAccount(account), "account.frozen"),
        (Body::UnfreezeAccount(account), "account.unfrozen"),
        (Body::CloseAccount(account), "account.closed"),
    ];
    check(&mut world, &steps);
    let key = world.api_key("a", Access::Write);
    assert_eq!(last(&world), "api_key.created");
    let rotate = Body::RotateApiKey {
        api_key: key,
        secret_hash: [1; 32],
        overlap: 0,
    };
    let steps = [
        (rotate.clone(), "api_key.rotated"),
        (Body::RevokeApiKey(key), "api_key.revoked"),
        (rotate, "api_key.refused"),
    ];
    check(&mut world, &steps);
}

fn publish(topic: &str, key: Option<&str>, data: &[u8]) -> Body {
    Body::Publish(Publish {
        topic: Topic::new(topic).unwrap(),
        key: key.map(|key| OrderKey::new(key).unwrap()),
        data: Data::new(Data::PLAIN, data).unwrap(),
    })
}

/// A published event changes nothing, and its topic is the name of its event unless it was refused.
#[test]
fn events_of_applications() {
    let mut world = World::new();
    let key = world.api_key("shop", Access::Write);
    let before = world.set.digest_all();
    let actor = Actor {
        owner: world.set.api_key(key).unwrap().owner,
        api_key: key,
    };
    let body = publish("app.order.shipped", Some("order-7"), b"{\"parcels\":2}");
    let outcome = world.submit(actor, body.clone());
    assert_eq!(outcome, Outcome::default());
    assert_eq!(last(&world), "app.order.shipped");
    let record = RecordRef::parse(world.records.last().unwrap(), FORMAT_VERSION).unwrap();
    assert_eq!(record.topic(), Some("app.order.shipped"));
    assert_eq!(record.order_key(), Some(&b"order-7"[..]));
    assert_eq!(record.data(), Some((Data::PLAIN, &b"{\"parcels\":2}"[..])));
    assert_eq!(record.actor(), actor);
    assert_eq!((record.payment(), record.legs().len()), (None, 0));
    assert_eq!(world.set.digest_all(), before);
    world.submit(
        Actor::SYSTEM,
        publish("app.x", None, &[b'x'; Data::BYTES_MAX]),
    );
    assert_eq!(last(&world), "app.x");
    let record = RecordRef::parse(world.records.last().unwrap(), FORMAT_VERSION).unwrap();
    assert_eq!(record.order_key(), None);
    let disabled = publish("subscription.disabled", None, b"{}");
    let refused = world.submit(actor, disabled.clone());
    assert_eq!(
        refused.rejection,
        Some(Rejection::Forbidden),
        "only the system speaks as such"
    );
    let of_system = Actor {
        api_key: ApiKeyId::SYSTEM,
        ..actor
    };
    assert_eq!(world.submit(of_system, disabled), Outcome::default());
    assert_eq!(last(&world), "subscription.disabled");
    world.must(Body::RevokeApiKey(key));
    let refused = world.submit(actor, body);
    assert_eq!(refused.rejection, Some(Rejection::ActorKeyRevoked));
    assert_eq!(last(&world), "event.refused");
    world.check_mirror();
}

#[test]
fn topics_have_one_form() {
    let long = |len: usize| format!("app.{}", "a".repeat(len - 4));
    for (text, is_topic) in [
        ("app.a", true),
        ("app.order-1.line_2", true),
        ("app.1.2.3.4.5.6.7.8", true),
        ("app.1.2.3.4.5.6.7.8.9", false),
        (&long(128), true),
        (&long(129), false),
        ("", false),
        ("app", false),
        ("app.", false),
        ("app..a", false),
        ("app.a.", false),
        ("apps.a", false),
        ("subscription.disabled", true),
        ("security.blocked", true),
        ("security", false),
        ("subscription", false),
        ("payment.captured", false),
        ("app.Order", false),
        ("app.a b", false),
        ("app.*", false),
        ("app.#", false),
        ("app.ä", false),
    ] {
        assert_eq!(Topic::new(text).is_ok(), is_topic, "{text}");
    }
}
