//! What users of other ledgers complain of must not happen here.

use crate::world::{World, eur, plain_pay, split};
use tributary_ledger::*;

/// Hyperswitch #13182.
#[test]
fn of_two_concurrent_refunds_of_60_of_a_payment_of_100_only_one_is_done() {
    let mut world = World::new();
    let buyer = world.funded("buyer", 100);
    let shop = world.wallet("shop");
    let payment = world.pay(plain_pay(buyer, shop, 100));
    // The merchant has more than enough of other money: only the payment's own limit can stop the second.
    let other = world.funded("other", 500);
    world.pay(plain_pay(other, shop, 500));
    assert_eq!(world.refund(payment, Some(60)).rejection, None);
    assert_eq!(
        world.refund(payment, Some(60)).rejection,
        Some(Rejection::RefundExceedsCaptured)
    );
    assert_eq!((world.posted(buyer), world.posted(shop)), (60, 540));
    assert_eq!(world.payment(payment).refunded, 60);
    assert_eq!(world.refund(payment, Some(40)).rejection, None);
    assert_eq!(world.payment(payment).status, PaymentStatus::Refunded);
    world.check();
}

/// Hyperswitch #11491. A negative amount cannot even be written: amounts are unsigned.
#[test]
fn a_refund_of_nothing_or_of_a_wrapped_negative_is_refused() {
    let mut world = World::new();
    let buyer = world.funded("buyer", 100);
    let shop = world.wallet("shop");
    let payment = world.pay(plain_pay(buyer, shop, 100));
    assert_eq!(
        world.refund(payment, Some(0)).rejection,
        Some(Rejection::AmountZero)
    );
    assert_eq!(
        world.refund(payment, Some(-60_i64 as u64)).rejection,
        Some(Rejection::AmountTooLarge)
    );
    assert_eq!((world.posted(buyer), world.posted(shop)), (0, 100));
}

/// Blnk #374.
#[test]
fn a_repeated_refund_is_refused_and_never_reverses_the_first() {
    let mut world = World::new();
    let buyer = world.funded("buyer", 100);
    let shop = world.wallet("shop");
    let payment = world.pay(plain_pay(buyer, shop, 100));
    assert_eq!(world.refund(payment, None).rejection, None);
    let before = world.set.digest_all();
    for amount in [None, Some(100), Some(1)] {
        let again = world.refund(payment, amount);
        assert_eq!(again.rejection, Some(Rejection::PaymentAlreadyRefunded));
        assert!(again.legs.is_empty());
    }
    assert_eq!(world.set.digest_all(), before);
    assert_eq!((world.posted(buyer), world.posted(shop)), (100, 0));
}

/// Blnk #181.
#[test]
fn holds_count_in_balance_checks() {
    let mut world = World::new();
    let buyer = world.funded("buyer", 100);
    let shop = world.wallet("shop");
    let hold = Some(Hold {
        expires_at: u64::MAX,
    });
    let payment = world.pay(Pay {
        hold,
        ..plain_pay(buyer, shop, 70)
    });
    assert_eq!((world.posted(buyer), world.available(buyer)), (100, 30));
    for hold in [None, hold] {
        let more = world.submit(
            Actor::SYSTEM,
            Body::Pay(Pay {
                hold,
                ..plain_pay(buyer, shop, 31)
            }),
        );
        assert_eq!(more.rejection, Some(Rejection::InsufficientFunds));
    }
    world.pay(plain_pay(buyer, shop, 30));
    assert_eq!(world.capture(payment, None).rejection, None);
    assert_eq!(
        (
            world.posted(buyer),
            world.available(buyer),
            world.posted(shop)
        ),
        (0, 0, 100)
    );
    world.check();
}

/// Blnk #336: whether a hold has come due is decided from the record's time, however late the timer is.
#[test]
fn a_hold_cannot_be_captured_once_it_is_due_and_is_released_in_full() {
    let mut world = World::new();
    let buyer = world.funded("buyer", 100);
    let shop = world.wallet("shop");
    let due = world.timestamp + 1_000;
    let payment = world.pay(Pay {
        hold: Some(Hold { expires_at: due }),
        ..plain_pay(buyer, shop, 70)
    });
    let early = world.submit(Actor::SYSTEM, Body::Expire(payment));
    assert_eq!(early.rejection, Some(Rejection::HoldNotDue));
    world.timestamp = due;
    assert_eq!(
        world.capture(payment, None).rejection,
        Some(Rejection::HoldExpired)
    );
    world.timestamp = due;
    world.must(Body::Expire(payment));
    assert_eq!(world.payment(payment).status, PaymentStatus::Expired);
    assert_eq!(world.available(buyer), 100);
}

/// Blnk #73.
#[test]
fn splits_add_up_exactly() {
    let mut world = World::new();
    let buyer = world.funded("buyer", 1_000);
    let (a, b, c) = (world.wallet("a"), world.wallet("b"), world.wallet("c"));
    let thirds = split(&[
        (a, Part::BasisPoints(3_333)),
        (b, Part::BasisPoints(3_333)),
        (c, Part::BasisPoints(3_334)),
    ]);
    world.pay(Pay {
        destination: thirds,
        ..plain_pay(buyer, a, 100)
    });
    assert_eq!(
        (world.posted(a), world.posted(b), world.posted(c)),
        (33, 33, 34)
    );
    let halves = split(&[(a, Part::BasisPoints(5_000)), (b, Part::BasisPoints(5_000))]);
    world.pay(Pay {
        destination: halves,
        ..plain_pay(buyer, a, 1)
    });
    assert_eq!(
        (world.posted(a), world.posted(b)),
        (34, 33),
        "the first of equals gets the odd unit"
    );
    assert_eq!(world.posted(buyer), 899);
    world.check();
}

/// Blnk #73: amounts are integers to the last unit, as far as they go.
#[test]
fn the_largest_amount_is_exact() {
    let mut world = World::new();
    let buyer = world.funded("buyer", AMOUNT_MAX);
    let (a, b) = (world.wallet("a"), world.wallet("b"));
    let parts = split(&[(a, Part::BasisPoints(1)), (b, Part::BasisPoints(9_999))]);
    world.pay(Pay {
        destination: parts,
        ..plain_pay(buyer, a, AMOUNT_MAX)
    });
    let expected = (u128::from(AMOUNT_MAX) + 5_000) / 10_000;
    assert_eq!(u128::try_from(world.posted(a)).unwrap(), expected);
    assert_eq!(
        world.posted(a) + world.posted(b),
        i64::try_from(AMOUNT_MAX).unwrap()
    );
    let bank = world.open("platform", AccountKind::External, Overdraft::UNLIMITED);
    let over = world.submit(Actor::SYSTEM, Body::Pay(plain_pay(bank, b, AMOUNT_MAX)));
    assert_eq!(over.rejection, Some(Rejection::BalanceOverflow));
}

/// Formance stack#1633 and Hyperswitch #1471 in the small: the same command twice leaves two definite outcomes.
#[test]
fn a_refused_payment_is_failed_at_once_and_its_reference_stays_free() {
    let mut world = World::new();
    let buyer = world.funded("buyer", 10);
    let shop = world.wallet("shop");
    let reference = Some(Reference::new("order-1").unwrap());
    let pay = |amount| {
        Body::Pay(Pay {
            reference: reference.clone(),
            currency: eur(),
            ..plain_pay(buyer, shop, amount)
        })
    };
    let failed = world.submit(Actor::SYSTEM, pay(11)).payment.unwrap();
    assert_eq!(failed.status, PaymentStatus::Failed);
    assert_eq!(failed.owner, world.owner_of(shop));
    assert_eq!(
        world.set.reference(
            ReferenceSpace::new(OwnerId::PLATFORM, None),
            reference.as_ref().unwrap()
        ),
        None
    );
    world.must(pay(10));
    assert_eq!(
        world.submit(Actor::SYSTEM, pay(10)).rejection,
        Some(Rejection::ReferenceInUse)
    );
}
