//! Who may do what, fees, captures and refunds by example.

use crate::world::{DAY, World, by, command, eur, fees, owner, plain_pay, split};
use tributary_ledger::*;

fn hold() -> Option<Hold> {
    Some(Hold {
        expires_at: u64::MAX,
    })
}

#[test]
fn a_fee_is_taken_out_of_the_amount_and_kept_on_a_refund() {
    let mut world = World::new();
    let buyer = world.funded("buyer", 1_000);
    let (shop, fee) = (
        world.wallet("shop"),
        world.open("platform", AccountKind::Fee, Overdraft::NONE),
    );
    let payment = world.pay(Pay {
        fees: fees(&[(fee, 30, 290)]),
        ..plain_pay(buyer, shop, 1_000)
    });
    assert_eq!((world.posted(shop), world.posted(fee)), (941, 59));
    // The shop must bear the fee, and has not got it.
    assert_eq!(
        world.refund(payment, None).rejection,
        Some(Rejection::InsufficientFunds)
    );
    let topped = world.funded("other", 59);
    world.pay(plain_pay(topped, shop, 59));
    assert_eq!(world.refund(payment, None).rejection, None);
    assert_eq!(
        (world.posted(buyer), world.posted(shop), world.posted(fee)),
        (1_000, 0, 59)
    );
    world.check();
}

#[test]
fn a_fee_is_given_back_if_the_refund_says_so() {
    let mut world = World::new();
    let buyer = world.funded("buyer", 1_000);
    let (shop, fee) = (
        world.wallet("shop"),
        world.open("platform", AccountKind::Fee, Overdraft::NONE),
    );
    let payment = world.pay(Pay {
        fees: fees(&[(fee, 30, 290)]),
        ..plain_pay(buyer, shop, 1_000)
    });
    let half = Body::Refund(Refund {
        payment,
        amount: Some(500),
        refund_fee: true,
        splits: PayeeAmounts::default(),
    });
    let shops = by(world.owner_of(shop));
    assert_eq!(
        world.submit(shops, half.clone()).rejection,
        Some(Rejection::Forbidden),
        "the fee account is not the shop's"
    );
    world.must(half);
    assert_eq!(
        (world.posted(buyer), world.posted(shop), world.posted(fee)),
        (500, 470, 30),
        "470.5 and 29.5: the first gives the odd unit"
    );
    assert_eq!(world.payment(payment).fee_refunded, 29);
    world.must(Body::Refund(Refund {
        payment,
        amount: None,
        refund_fee: true,
        splits: PayeeAmounts::default(),
    }));
    assert_eq!(
        (world.posted(buyer), world.posted(shop), world.posted(fee)),
        (1_000, 0, 0)
    );
    world.check();
}

#[test]
fn many_small_refunds_take_from_each_payee_what_one_large_one_would() {
    let mut world = World::new();
    let buyer = world.funded("buyer", 1_000);
    let (a, b, fee) = (
        world.funded("a", 9),
        world.funded("b", 9),
        world.wallet("fee"),
    );
    let parts = split(&[(a, Part::BasisPoints(2_500)), (b, Part::BasisPoints(7_500))]);
    let list = fees(&[(fee, 4, 0)]);
    let payment = world.pay(Pay {
        destination: parts,
        fees: list,
        ..plain_pay(buyer, a, 20)
    });
    assert_eq!(
        (world.posted(a), world.posted(b), world.posted(fee)),
        (9 + 4, 9 + 12, 4)
    );
    (0..20).for_each(|_| assert_eq!(world.refund(payment, Some(1)).rejection, None));
    assert_eq!(
        (world.posted(a), world.posted(b), world.posted(fee)),
        (9 - 1, 9 - 3, 4),
        "payees bear the fee, 1 to 3"
    );
    assert_eq!(world.posted(buyer), 1_000);
}

#[test]
fn several_captures_take_what_was_held_and_a_final_one_releases_the_rest() {
    let mut world = World::new();
    let buyer = world.funded("buyer", 1_000);
    let (a, b) = (world.wallet("a"), world.wallet("b"));
    let destination = split(&[(a, Part::Amount(1)), (b, Part::BasisPoints(10_000))]);
    let payment = world.pay(Pay {
        destination,
        hold: hold(),
        ..plain_pay(buyer, a, 100)
    });
    assert_eq!(
        world.capture(payment, Some(101)).rejection,
        Some(Rejection::CaptureExceedsHold)
    );
    assert_eq!(world.capture(payment, Some(50)).rejection, None);
    assert_eq!(
        world.payment(payment).status,
        PaymentStatus::PartiallyCaptured
    );
    assert_eq!(
        (world.posted(a), world.posted(b), world.available(buyer)),
        (0, 50, 900)
    );
    world.must(Body::Capture(Capture {
        payment,
        amount: Some(20),
        is_final: true,
        splits: PayeeAmounts::default(),
    }));
    assert_eq!(world.payment(payment).status, PaymentStatus::Captured);
    assert_eq!((world.posted(buyer), world.available(buyer)), (930, 930));
    assert_eq!(
        world.capture(payment, Some(1)).rejection,
        Some(Rejection::PaymentNotOpen)
    );
    assert_eq!(
        world.submit(Actor::SYSTEM, Body::Void(payment)).rejection,
        Some(Rejection::PaymentNotOpen)
    );
    world.check();
}

#[test]
fn a_void_releases_what_is_left_and_keeps_what_was_captured() {
    let mut world = World::new();
    let buyer = world.funded("buyer", 100);
    let shop = world.wallet("shop");
    let payment = world.pay(Pay {
        hold: hold(),
        ..plain_pay(buyer, shop, 100)
    });
    world.capture(payment, Some(40));
    assert_eq!(world.refund(payment, Some(40)).rejection, None);
    assert_eq!(
        world.payment(payment).status,
        PaymentStatus::PartiallyRefunded,
        "60 are still held"
    );
    world.must(Body::Void(payment));
    assert_eq!(world.payment(payment).status, PaymentStatus::Refunded);
    assert_eq!(world.available(buyer), 100);
    let untouched = world.pay(Pay {
        hold: hold(),
        ..plain_pay(buyer, shop, 100)
    });
    world.must(Body::Void(untouched));
    assert_eq!(world.payment(untouched).status, PaymentStatus::Voided);
    world.check();
}

#[test]
fn an_owner_debits_only_its_own_accounts_and_credits_any() {
    let mut world = World::new();
    let (buyer, shop) = (world.funded("buyer", 100), world.wallet("shop"));
    let (buyers, shops) = (by(world.owner_of(buyer)), by(world.owner_of(shop)));
    let check = |world: &mut World, actor, body, expected| {
        assert_eq!(world.submit(actor, body).rejection, expected)
    };
    check(
        &mut world,
        shops,
        Body::Pay(plain_pay(buyer, shop, 10)),
        Some(Rejection::Forbidden),
    );
    check(
        &mut world,
        buyers,
        Body::Pay(plain_pay(buyer, shop, 10)),
        None,
    );
    let payment = PaymentId(world.position);
    let refund = Body::Refund(Refund {
        payment,
        amount: None,
        refund_fee: false,
        splits: PayeeAmounts::default(),
    });
    check(
        &mut world,
        buyers,
        refund.clone(),
        Some(Rejection::Forbidden),
    );
    check(&mut world, shops, refund, None);
    let held = world.pay(Pay {
        hold: hold(),
        ..plain_pay(buyer, shop, 10)
    });
    let capture = Body::Capture(Capture {
        payment: held,
        amount: Some(5),
        is_final: false,
        splits: PayeeAmounts::default(),
    });
    check(
        &mut world,
        buyers,
        capture.clone(),
        Some(Rejection::Forbidden),
    );
    check(&mut world, shops, capture, None);
    check(
        &mut world,
        buyers,
        Body::Void(held),
        Some(Rejection::Forbidden),
    );
    check(
        &mut world,
        shops,
        Body::Expire(held),
        Some(Rejection::Forbidden),
    );
    check(&mut world, shops, Body::Void(held), None);
    check(
        &mut world,
        buyers,
        Body::FreezeAccount(buyer),
        Some(Rejection::Forbidden),
    );
    check(
        &mut world,
        buyers,
        Body::CloseAccount(shop),
        Some(Rejection::Forbidden),
    );
    let reason = Some(Reason::new("a mistake").unwrap());
    let adjust = Pay {
        kind: PaymentKind::Adjustment,
        reason,
        ..plain_pay(buyer, shop, 1)
    };
    check(
        &mut world,
        buyers,
        Body::Pay(adjust.clone()),
        Some(Rejection::Forbidden),
    );
    check(&mut world, Actor::SYSTEM, Body::Pay(adjust), None);
    let adjustment = PaymentId(world.position);
    assert_eq!(
        world.refund(adjustment, None).rejection,
        Some(Rejection::PaymentNotRefundable)
    );
}

#[test]
fn nobody_confirms_their_own_top_up_or_payout() {
    let mut world = World::new();
    let (wallet, bank) = (world.funded("user", 100), world.funded("platform", 100));
    let users = by(world.owner_of(wallet));
    for (kind, source, payee) in [
        (PaymentKind::TopUp, bank, wallet),
        (PaymentKind::Payout, wallet, bank),
    ] {
        let held = world.pay(Pay {
            kind,
            hold: Some(Hold::OF_PAYOUT),
            ..plain_pay(source, payee, 10)
        });
        let settle = Body::SettlePayout(SettlePayout {
            payout: held,
            failure: None,
        });
        let capture = Body::Capture(Capture {
            payment: held,
            amount: None,
            is_final: false,
            splits: PayeeAmounts::default(),
        });
        for body in [capture.clone(), Body::Void(held), settle.clone()] {
            let refused = world.submit(users, body).rejection;
            assert_eq!(refused, Some(Rejection::Forbidden));
        }
        let ends = match kind {
            PaymentKind::Payout => settle,
            _ => capture,
        };
        assert_eq!(world.submit(Actor::SYSTEM, ends).rejection, None);
    }
}

#[test]
fn an_owner_opens_and_closes_plain_accounts_of_its_own() {
    let mut world = World::new();
    let first = world.wallet("shop");
    let shops = by(world.owner_of(first));
    let open = |name: &str, kind, overdraft| {
        Body::OpenAccount(OpenAccount {
            owner: owner(name),
            currency: eur(),
            kind,
            overdraft,
            external_id: None,
        })
    };
    let forbidden = [
        open("other", AccountKind::Wallet, Overdraft::NONE),
        open("platform", AccountKind::Wallet, Overdraft::NONE),
        open("shop", AccountKind::External, Overdraft::NONE),
        open("shop", AccountKind::Wallet, Overdraft::limited(1)),
        open("shop", AccountKind::Wallet, Overdraft::UNLIMITED),
    ];
    for body in forbidden {
        assert_eq!(
            world.submit(shops, body).rejection,
            Some(Rejection::Forbidden)
        );
    }
    let opened = world
        .submit(shops, open("shop", AccountKind::Merchant, Overdraft::NONE))
        .account
        .unwrap();
    assert_eq!(opened.owner_prev.get(), Some(first));
    assert_eq!(
        world.set.owner(shops.owner).unwrap().last_account,
        Some(opened.id)
    );
    assert_eq!(
        world.submit(shops, Body::CloseAccount(opened.id)).rejection,
        None
    );
}

#[test]
fn an_overdraft_is_a_limit_and_not_a_unit_more() {
    let mut world = World::new();
    let (a, b) = (
        world.open("a", AccountKind::Wallet, Overdraft::limited(50)),
        world.wallet("b"),
    );
    world.pay(plain_pay(a, b, 50));
    let more = world.submit(Actor::SYSTEM, Body::Pay(plain_pay(a, b, 1)));
    assert_eq!(more.rejection, Some(Rejection::InsufficientFunds));
    assert_eq!(world.posted(a), -50);
}

#[test]
fn balances_end_at_the_largest_amount_on_both_sides() {
    let max = i64::try_from(AMOUNT_MAX).unwrap();
    let mut world = World::new();
    let bank = world.open("platform", AccountKind::External, Overdraft::UNLIMITED);
    let (a, b) = (world.wallet("a"), world.wallet("b"));
    world.pay(plain_pay(bank, a, AMOUNT_MAX));
    assert_eq!((world.posted(bank), world.posted(a)), (-max, max));
    let check = |world: &mut World, pay| {
        assert_eq!(
            world.submit(Actor::SYSTEM, Body::Pay(pay)).rejection,
            Some(Rejection::BalanceOverflow)
        )
    };
    check(&mut world, plain_pay(bank, b, 1));
    check(
        &mut world,
        Pay {
            hold: hold(),
            ..plain_pay(bank, b, 1)
        },
    );
    let other = world.open("platform", AccountKind::External, Overdraft::UNLIMITED);
    check(&mut world, plain_pay(other, a, 1));
    world.pay(Pay {
        hold: hold(),
        ..plain_pay(other, b, AMOUNT_MAX)
    });
    check(&mut world, plain_pay(other, b, 1));
    world.check();
}

#[test]
fn a_frozen_account_receives_and_does_not_pay() {
    let mut world = World::new();
    let (a, b) = (world.funded("a", 100), world.funded("b", 100));
    let held = world.pay(Pay {
        hold: hold(),
        ..plain_pay(a, b, 10)
    });
    let taken = world.pay(plain_pay(b, a, 5));
    world.must(Body::FreezeAccount(a));
    world.pay(plain_pay(b, a, 1));
    let frozen = Some(Rejection::AccountFrozen);
    assert_eq!(
        world
            .submit(Actor::SYSTEM, Body::Pay(plain_pay(a, b, 1)))
            .rejection,
        frozen
    );
    assert_eq!(world.capture(held, None).rejection, frozen);
    assert_eq!(world.refund(taken, None).rejection, frozen);
    world.must(Body::Void(held));
    world.must(Body::UnfreezeAccount(a));
    world.pay(plain_pay(a, b, 1));
}

#[test]
fn a_group_is_all_or_nothing_and_says_who_is_to_blame() {
    let mut world = World::new();
    let (a, b) = (world.funded("a", 100), world.wallet("b"));
    let pay = |amount| command(Actor::SYSTEM, Body::Pay(plain_pay(a, b, amount)));
    let balances = (world.posted(a), world.posted(b));
    let outcomes = world.run_group(&[pay(60), pay(60), pay(10)]);
    let rejections: Vec<_> = outcomes.iter().map(|outcome| outcome.rejection).collect();
    let aborted = Some(Rejection::GroupAborted);
    assert_eq!(
        rejections,
        [aborted, Some(Rejection::InsufficientFunds), aborted]
    );
    assert_eq!((world.posted(a), world.posted(b)), balances);
    assert_eq!(
        world.set.account(a).unwrap().chain.seq(),
        2 + 3,
        "each failed payment is mentioned"
    );
    let outcomes = world.run_group(&[pay(60), pay(40)]);
    assert!(outcomes.iter().all(Outcome::is_accepted));
    assert_eq!((world.posted(a), world.posted(b)), (0, 100));
    assert_eq!(world.run_group(&[]), []);
    world.check_mirror();
}

#[test]
fn a_payment_has_the_date_it_is_given_or_else_that_of_its_record() {
    let mut world = World::new();
    let (a, b) = (world.funded("a", 100), world.wallet("b"));
    let mut pay = command(Actor::SYSTEM, Body::Pay(plain_pay(a, b, 1)));
    assert_eq!(
        world.run(&pay).payment.unwrap().effective_at,
        Date((world.timestamp / DAY) as i32)
    );
    for date in [Date(i32::MIN), Date(-1), Date(0), Date(8_400)] {
        pay.effective_at = Some(date);
        assert_eq!(world.run(&pay).payment.unwrap().effective_at, date);
    }
}

#[test]
fn the_digest_of_a_command_is_of_what_is_asked_and_not_of_the_key() {
    let base = command(
        by(OwnerId(3)),
        Body::Pay(plain_pay(AccountId(1), AccountId(2), 5)),
    );
    let same = [
        Command {
            key: Key::from_bytes(b"x").unwrap(),
            ..base.clone()
        },
        Command {
            actor: Actor {
                owner: OwnerId(3),
                api_key: ApiKeyId(9),
            },
            ..base.clone()
        },
    ];
    for command in same {
        assert_eq!(command.digest(), base.digest());
    }
    let others = [
        Command {
            actor: by(OwnerId(4)),
            ..base.clone()
        },
        Command {
            linked: true,
            ..base.clone()
        },
        Command {
            effective_at: Some(Date(0)),
            ..base.clone()
        },
        Command {
            text: Some(Text::new(0, b"{}").unwrap()),
            ..base.clone()
        },
        Command {
            text: Some(Text::new(1, b"{}").unwrap()),
            ..base.clone()
        },
        Command {
            body: Body::Pay(plain_pay(AccountId(1), AccountId(2), 6)),
            ..base.clone()
        },
        Command {
            body: Body::Pay(plain_pay(AccountId(1), AccountId(3), 5)),
            ..base.clone()
        },
        Command {
            body: Body::Void(PaymentId(1)),
            ..base.clone()
        },
        Command {
            body: Body::Expire(PaymentId(1)),
            ..base.clone()
        },
    ];
    let mut digests: Vec<_> = others
        .iter()
        .map(Command::digest)
        .chain([base.digest()])
        .collect();
    digests.sort_unstable();
    digests.dedup();
    assert_eq!(digests.len(), others.len() + 1);
}

/// The old secret of an API key is valid for the overlap of its last rotation, and not at all after another one or a revocation.
#[test]
fn a_rotation_leaves_the_old_secret_valid_for_its_overlap_only() {
    let mut world = World::new();
    let key = world.api_key("shop", Access::Write);
    let mut rotate = |secret: u8, overlap: u64| {
        let rotated = world.must(Body::RotateApiKey {
            api_key: key,
            secret_hash: [secret; 32],
            overlap,
        });
        let now = world.timestamp - 1;
        let previous = rotated.api_key.unwrap().previous;
        previous.map(|old| (old.secret_hash[0], old.valid_until - now))
    };
    for (secret, overlap, expected) in [
        (1, 0, None),
        (2, 60, Some((1, 60))),
        (3, API_KEY_OVERLAP_MAX, Some((2, API_KEY_OVERLAP_MAX))),
        (4, u64::MAX, Some((3, API_KEY_OVERLAP_MAX))),
        (5, 0, None),
        (6, 60, Some((5, 60))),
    ] {
        assert_eq!(rotate(secret, overlap), expected);
    }
    let revoked = world.must(Body::RevokeApiKey(key)).api_key.unwrap();
    assert_eq!(revoked.previous, None);
    world.check_mirror();
}
