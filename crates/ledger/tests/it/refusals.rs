//! The rejections of all other commands, and the list of all.

use crate::limits::{put_limit, terms};
use crate::rejections::FAULTS;
use crate::world::{World, by, command, eur, owner, plain_pay, split};
use tributary_ledger::*;

fn hold() -> Option<Hold> {
    Some(Hold {
        expires_at: 2_000 * crate::world::DAY,
    })
}

/// A payment that may run so many nanoseconds from now.
fn queued(world: &mut World, wait: u64) -> PaymentId {
    let (a, b) = (world.funded("a", 9), world.wallet("b"));
    let terms = QueueTerms {
        not_before: world.timestamp + wait,
        ..QueueTerms::default()
    };
    let queue = Some(Box::new(Queue {
        terms,
        ..Queue::default()
    }));
    world.pay(Pay {
        queue,
        ..plain_pay(a, b, 9)
    })
}

fn make_setting(world: &mut World, actor: Actor, kind: SettingKind) {
    let setting = PutSetting {
        kind,
        ..crate::settings::put(7, "orders", 0, b"x")
    };
    let outcome = world.submit(actor, crate::settings::body_of(setting));
    assert_eq!(outcome.rejection, None);
}

fn delete_setting(kind: SettingKind, replaces: u64) -> Body {
    Body::DeleteSetting(DeleteSetting {
        id: SettingId(7),
        kind,
        replaces,
    })
}

/// The rejections that a payment itself cannot meet: world, actor, body, reason.
fn others() -> Vec<(Actor, Body, Rejection, World)> {
    type Make = fn(&mut World) -> (Actor, Body);
    let cases: &[(Rejection, Make)] = &[
        (Rejection::PaymentIsPayout, |world| {
            let payout = crate::payouts::pending(world, 9);
            (Actor::SYSTEM, Body::Void(payout))
        }),
        (Rejection::PaymentNotPayout, |world| {
            let payment = queued(world, 0);
            (Actor::SYSTEM, crate::payouts::pay(payment))
        }),
        (Rejection::PayoutNotPending, |world| {
            let payout = crate::payouts::pending(world, 9);
            world.must(crate::payouts::pay(payout));
            (Actor::SYSTEM, crate::payouts::fail(payout))
        }),
        (Rejection::PayoutNotPaid, |world| {
            let payout = crate::payouts::pending(world, 9);
            (Actor::SYSTEM, crate::payouts::give_back(payout, Some(1)))
        }),
        (Rejection::ReturnExceedsPaid, |world| {
            let payout = crate::payouts::pending(world, 9);
            world.must(crate::payouts::pay(payout));
            (Actor::SYSTEM, crate::payouts::give_back(payout, Some(10)))
        }),
        (Rejection::OverdraftTooLarge, |_| {
            let overdraft = Overdraft::limited(AMOUNT_MAX + 1);
            let open = OpenAccount {
                owner: owner("a"),
                currency: eur(),
                kind: AccountKind::Wallet,
                overdraft,
                external_id: None,
            };
            (Actor::SYSTEM, Body::OpenAccount(open))
        }),
        (Rejection::OverdraftTooLarge, |_| {
            let overdraft = Overdraft::limited(u64::MAX);
            let open = OpenAccount {
                owner: owner("a"),
                currency: eur(),
                kind: AccountKind::Wallet,
                overdraft,
                external_id: None,
            };
            (by(OwnerId(77)), Body::OpenAccount(open))
        }),
        (Rejection::ExternalIdInUse, |world| {
            let external_id = Some(ExternalId::new("42").unwrap());
            let overdraft = Overdraft::NONE;
            let open = OpenAccount {
                owner: owner("a"),
                currency: eur(),
                kind: AccountKind::Wallet,
                overdraft,
                external_id,
            };
            world.must(Body::OpenAccount(OpenAccount {
                owner: owner("b"),
                ..open.clone()
            }));
            world.must(Body::OpenAccount(open.clone()));
            (Actor::SYSTEM, Body::OpenAccount(open))
        }),
        (Rejection::AccountNotFound, |_| {
            (by(OwnerId(77)), Body::FreezeAccount(AccountId(99)))
        }),
        (Rejection::AccountNotFound, |_| {
            (Actor::SYSTEM, Body::UnfreezeAccount(AccountId(99)))
        }),
        (Rejection::AccountNotFound, |_| {
            (Actor::SYSTEM, Body::CloseAccount(AccountId(99)))
        }),
        (Rejection::Forbidden, |world| {
            let account = world.wallet("a");
            world.must(Body::FreezeAccount(account));
            (by(world.owner_of(account)), Body::FreezeAccount(account))
        }),
        (Rejection::AccountFrozen, |world| {
            let account = world.funded("a", 1);
            world.must(Body::FreezeAccount(account));
            (Actor::SYSTEM, Body::CloseAccount(account))
        }),
        (Rejection::AccountFrozen, |world| {
            let account = world.wallet("a");
            world.must(Body::FreezeAccount(account));
            (Actor::SYSTEM, Body::FreezeAccount(account))
        }),
        (Rejection::AccountNotFrozen, |world| {
            (Actor::SYSTEM, Body::UnfreezeAccount(world.wallet("a")))
        }),
        (Rejection::AccountClosed, |world| {
            let account = world.wallet("a");
            world.must(Body::CloseAccount(account));
            (Actor::SYSTEM, Body::UnfreezeAccount(account))
        }),
        (Rejection::AccountNotEmpty, |world| {
            (Actor::SYSTEM, Body::CloseAccount(world.funded("a", 1)))
        }),
        (Rejection::PaymentNotFound, |_| {
            (by(OwnerId(77)), Body::Void(PaymentId(99)))
        }),
        (Rejection::PaymentNotFound, |_| {
            (Actor::SYSTEM, Body::Expire(PaymentId(99)))
        }),
        (Rejection::PaymentNotFound, |_| {
            (by(OwnerId(77)), Body::Run(PaymentId(99)))
        }),
        (Rejection::PaymentNotQueued, |world| {
            let (a, b) = (world.funded("a", 9), world.wallet("b"));
            (Actor::SYSTEM, Body::Run(world.pay(plain_pay(a, b, 9))))
        }),
        (Rejection::Forbidden, |world| {
            let payment = queued(world, 1_000);
            (by(world.payment(payment).owner), Body::Run(payment))
        }),
        (Rejection::PaymentNotDue, |world| {
            (Actor::SYSTEM, Body::Run(queued(world, 1_000)))
        }),
        (Rejection::QueuePaused, |world| {
            let payment = queued(world, 0);
            world.must(Body::SetQueue(QueueMode::Paused));
            (Actor::SYSTEM, Body::Run(payment))
        }),
        (Rejection::Forbidden, |_| {
            (by(OwnerId(77)), Body::SetQueue(QueueMode::Active))
        }),
        (Rejection::Forbidden, |_| {
            (
                by(OwnerId(77)),
                Body::AdvanceTime(AdvanceTime::By(TIME_OFFSET_NS_MAX)),
            )
        }),
        (Rejection::TimeOutOfRange, |_| {
            (by(OwnerId(77)), Body::AdvanceTime(AdvanceTime::By(0)))
        }),
        (Rejection::TimeOutOfRange, |world| {
            (
                Actor::SYSTEM,
                Body::AdvanceTime(AdvanceTime::To(world.timestamp)),
            )
        }),
        (Rejection::TimeOutOfRange, |world| {
            world.must(Body::AdvanceTime(AdvanceTime::By(TIME_OFFSET_NS_MAX)));
            (Actor::SYSTEM, Body::AdvanceTime(AdvanceTime::By(1)))
        }),
        (Rejection::PaymentNotOpen, |world| {
            let payment = queued(world, 1_000);
            (Actor::SYSTEM, Body::Expire(payment))
        }),
        (Rejection::PaymentNotOpen, |world| {
            let payment = queued(world, 1_000);
            let (amount, is_final) = (None, false);
            let capture = Capture {
                payment,
                amount,
                is_final,
                splits: PayeeAmounts::default(),
            };
            (Actor::SYSTEM, Body::Capture(capture))
        }),
        (Rejection::PaymentNotRefundable, |world| {
            let payment = queued(world, 1_000);
            let (amount, refund_fee) = (None, false);
            let refund = Refund {
                payment,
                amount,
                refund_fee,
                splits: PayeeAmounts::default(),
            };
            (Actor::SYSTEM, Body::Refund(refund))
        }),
        (Rejection::PaymentNotFound, |world| {
            let not_a_payment = PaymentId(world.wallet("a").0);
            (
                Actor::SYSTEM,
                Body::Refund(Refund {
                    payment: not_a_payment,
                    amount: Some(1),
                    refund_fee: false,
                    splits: PayeeAmounts::default(),
                }),
            )
        }),
        (Rejection::AmountZero, |_| {
            (
                Actor::SYSTEM,
                Body::Capture(Capture {
                    payment: PaymentId(99),
                    amount: Some(0),
                    is_final: false,
                    splits: PayeeAmounts::default(),
                }),
            )
        }),
        (Rejection::AmountTooLarge, |_| {
            (
                Actor::SYSTEM,
                Body::Refund(Refund {
                    payment: PaymentId(99),
                    amount: Some(AMOUNT_MAX + 1),
                    refund_fee: false,
                    splits: PayeeAmounts::default(),
                }),
            )
        }),
        (Rejection::PaymentNotOpen, |world| {
            let (a, b) = (world.funded("a", 9), world.wallet("b"));
            let payment = world.pay(plain_pay(a, b, 9));
            (
                Actor::SYSTEM,
                Body::Capture(Capture {
                    payment,
                    amount: Some(10),
                    is_final: false,
                    splits: PayeeAmounts::default(),
                }),
            )
        }),
        (Rejection::PaymentNotOpen, |world| {
            let (a, b) = (world.wallet("a"), world.wallet("b"));
            let failed = world
                .submit(Actor::SYSTEM, Body::Pay(plain_pay(a, b, 9)))
                .payment
                .unwrap()
                .id;
            (Actor::SYSTEM, Body::Void(failed))
        }),
        (Rejection::HoldExpired, |world| {
            let (a, b) = (world.funded("a", 9), world.wallet("b"));
            let payment = world.pay(Pay {
                hold: hold(),
                ..plain_pay(a, b, 9)
            });
            world.timestamp = hold().unwrap().expires_at;
            (
                Actor::SYSTEM,
                Body::Capture(Capture {
                    payment,
                    amount: Some(10),
                    is_final: false,
                    splits: PayeeAmounts::default(),
                }),
            )
        }),
        (Rejection::PayeeNotFound, |world| {
            let (payment, _, stranger) = held_for_two(world);
            let splits = one(stranger, 1);
            (by(OwnerId(77)), Body::Capture(exact(payment, splits)))
        }),
        (Rejection::CaptureExceedsPart, |world| {
            let (payment, payee, _) = held_for_two(world);
            let splits = one(payee, 5);
            (Actor::SYSTEM, Body::Capture(exact(payment, splits)))
        }),
        (Rejection::RefundExceedsPart, |world| {
            let (payment, payee, _) = held_for_two(world);
            world.capture(payment, None);
            let refund = Refund {
                payment,
                amount: None,
                refund_fee: false,
                splits: one(payee, 5),
            };
            (Actor::SYSTEM, Body::Refund(refund))
        }),
        (Rejection::HoldNotDue, |world| {
            let (a, b) = (world.funded("a", 9), world.wallet("b"));
            let payment = world.pay(Pay {
                hold: hold(),
                ..plain_pay(a, b, 9)
            });
            world.timestamp = hold().unwrap().expires_at - 1;
            (Actor::SYSTEM, Body::Expire(payment))
        }),
        (Rejection::CaptureExceedsHold, |world| {
            let (a, b) = (world.funded("a", 9), world.wallet("b"));
            let payment = world.pay(Pay {
                hold: hold(),
                ..plain_pay(a, b, 8)
            });
            (
                Actor::SYSTEM,
                Body::Capture(Capture {
                    payment,
                    amount: Some(9),
                    is_final: true,
                    splits: PayeeAmounts::default(),
                }),
            )
        }),
        (Rejection::PaymentNotRefundable, |world| {
            let (a, b) = (world.funded("a", 9), world.wallet("b"));
            let payment = world.pay(Pay {
                hold: hold(),
                ..plain_pay(a, b, 9)
            });
            (
                Actor::SYSTEM,
                Body::Refund(Refund {
                    payment,
                    amount: Some(10),
                    refund_fee: false,
                    splits: PayeeAmounts::default(),
                }),
            )
        }),
        (Rejection::PaymentNotRefundable, |world| {
            let (a, b) = (world.wallet("a"), world.wallet("b"));
            let failed = world
                .submit(Actor::SYSTEM, Body::Pay(plain_pay(a, b, 9)))
                .payment
                .unwrap()
                .id;
            (
                Actor::SYSTEM,
                Body::Refund(Refund {
                    payment: failed,
                    amount: None,
                    refund_fee: true,
                    splits: PayeeAmounts::default(),
                }),
            )
        }),
        (Rejection::PaymentAlreadyRefunded, |world| {
            let (a, b) = (world.funded("a", 9), world.wallet("b"));
            let payment = world.pay(plain_pay(a, b, 9));
            assert!(world.refund(payment, None).is_accepted());
            (
                Actor::SYSTEM,
                Body::Refund(Refund {
                    payment,
                    amount: Some(10),
                    refund_fee: false,
                    splits: PayeeAmounts::default(),
                }),
            )
        }),
        (Rejection::RefundExceedsCaptured, |world| {
            let (a, b) = (world.funded("a", 9), world.wallet("b"));
            let payment = world.pay(plain_pay(a, b, 9));
            (
                by(world.owner_of(b)),
                Body::Refund(Refund {
                    payment,
                    amount: Some(10),
                    refund_fee: false,
                    splits: PayeeAmounts::default(),
                }),
            )
        }),
        (Rejection::InsufficientFunds, |world| {
            let (a, b) = (world.funded("a", 9), world.wallet("b"));
            let payment = world.pay(plain_pay(a, b, 9));
            world.pay(plain_pay(b, a, 1));
            (
                by(world.owner_of(b)),
                Body::Refund(Refund {
                    payment,
                    amount: None,
                    refund_fee: false,
                    splits: PayeeAmounts::default(),
                }),
            )
        }),
        (Rejection::AccountClosed, |world| {
            let (a, b) = (world.funded("a", 9), world.wallet("b"));
            let payment = world.pay(plain_pay(a, b, 9));
            world.must(Body::CloseAccount(a));
            (
                by(world.owner_of(b)),
                Body::Refund(Refund {
                    payment,
                    amount: None,
                    refund_fee: false,
                    splits: PayeeAmounts::default(),
                }),
            )
        }),
        (Rejection::AccountClosed, |world| {
            let (a, b) = (world.funded("a", 9), world.wallet("b"));
            let payment = world.pay(Pay {
                hold: hold(),
                ..plain_pay(a, b, 9)
            });
            world.must(Body::CloseAccount(b));
            (
                Actor::SYSTEM,
                Body::Capture(Capture {
                    payment,
                    amount: None,
                    is_final: false,
                    splits: PayeeAmounts::default(),
                }),
            )
        }),
        (Rejection::LimitInvalid, |_| {
            (Actor::SYSTEM, put_limit(1, b"no limit"))
        }),
        (Rejection::TooManyLimits, |world| {
            let account = world.wallet("a");
            let limit = terms(LimitSubject::Account(account), Some(9), None).to_body();
            for id in 1..=4 {
                world.must(put_limit(id, &limit));
            }
            (Actor::SYSTEM, put_limit(5, &limit))
        }),
        (Rejection::BalanceOverflow, |world| {
            let (a, b) = (world.funded("a", 9), world.funded("b", AMOUNT_MAX));
            let payment = world.pay(Pay {
                hold: hold(),
                ..plain_pay(a, b, 9)
            });
            (
                Actor::SYSTEM,
                Body::Capture(Capture {
                    payment,
                    amount: None,
                    is_final: false,
                    splits: PayeeAmounts::default(),
                }),
            )
        }),
        (Rejection::Forbidden, |world| {
            let (a, b, c) = (world.funded("a", 9), world.wallet("b"), world.wallet("c"));
            let parts = split(&[(b, Part::BasisPoints(5_000)), (c, Part::BasisPoints(5_000))]);
            let payment = world.pay(Pay {
                destination: parts,
                ..plain_pay(a, b, 9)
            });
            (
                by(world.owner_of(b)),
                Body::Refund(Refund {
                    payment,
                    amount: None,
                    refund_fee: false,
                    splits: PayeeAmounts::default(),
                }),
            )
        }),
        (Rejection::ApiKeyNotFound, |_| {
            (by(OwnerId(77)), Body::RevokeApiKey(ApiKeyId(99)))
        }),
        (Rejection::ApiKeyNotFound, |_| {
            (
                Actor::SYSTEM,
                Body::RotateApiKey {
                    api_key: ApiKeyId(99),
                    secret_hash: [1; 32],
                    overlap: 0,
                },
            )
        }),
        (Rejection::Forbidden, |world| {
            let key = world.api_key("a", Access::Write);
            (
                Actor {
                    owner: world.set.api_key(key).unwrap().owner,
                    api_key: key,
                },
                Body::RevokeApiKey(key),
            )
        }),
        (Rejection::Forbidden, |_| {
            let create = CreateApiKey {
                owner: owner("a"),
                access: Access::Write,
                secret_hash: [0; 32],
                label: None,
            };
            (by(OwnerId(77)), Body::CreateApiKey(create))
        }),
        (Rejection::SettingKindUnknown, |_| {
            (by(OwnerId(77)), delete_setting(SettingKind(999), 1))
        }),
        (Rejection::SettingNotFound, |_| {
            (
                by(OwnerId(77)),
                delete_setting(SettingKind::APPLIED_FILE, 1),
            )
        }),
        (Rejection::SettingNotFound, |world| {
            make_setting(world, Actor::SYSTEM, SettingKind::SUBSCRIPTION);
            (
                by(OwnerId(77)),
                delete_setting(SettingKind::SUBSCRIPTION, 0),
            )
        }),
        (Rejection::SettingNotFound, |world| {
            make_setting(world, Actor::SYSTEM, SettingKind::SUBSCRIPTION);
            (Actor::SYSTEM, delete_setting(SettingKind::APPLIED_FILE, 1))
        }),
        (Rejection::SettingConflict, |world| {
            let owner = by(OwnerId(77));
            make_setting(world, owner, SettingKind::SUBSCRIPTION);
            (owner, delete_setting(SettingKind::SUBSCRIPTION, 2))
        }),
        (Rejection::OwnerNotFound, |_| {
            (
                by(OwnerId(77)),
                crate::details::rename(OwnerId(99), Some("x")),
            )
        }),
        (Rejection::AccountNotFound, |_| {
            let update = Updated::Account(AccountId(99));
            (by(OwnerId(77)), crate::details::update(update, true, true))
        }),
        (Rejection::PaymentNotFound, |_| {
            let update = Updated::Payment(PaymentId(99));
            (by(OwnerId(77)), crate::details::update(update, true, true))
        }),
        (Rejection::Forbidden, |world| {
            world.must(crate::details::create("a", None));
            (by(OwnerId(77)), crate::details::create("a", None))
        }),
        (Rejection::OwnerExists, |world| {
            world.must(crate::details::create("a", Some("x")));
            (Actor::SYSTEM, crate::details::create("a", Some("x")))
        }),
        (Rejection::OwnerExists, |_| {
            (Actor::SYSTEM, crate::details::create("platform", None))
        }),
        (Rejection::OwnerExternalIdInUse, |world| {
            world.must(crate::details::create("a", Some("x")));
            (Actor::SYSTEM, crate::details::create("b", Some("x")))
        }),
        (Rejection::OwnerInactive, |world| {
            let account = world.wallet("a");
            let inactive = OwnerStatus::Inactive;
            let id = world.owner_of(account);
            world.must(crate::details::set_status(id, inactive));
            let create = CreateApiKey {
                owner: owner("a"),
                access: Access::Write,
                secret_hash: [0; 32],
                label: None,
            };
            (Actor::SYSTEM, Body::CreateApiKey(create))
        }),
        (Rejection::ApiKeyAlreadyRevoked, |world| {
            let key = world.api_key("a", Access::Write);
            world.must(Body::RevokeApiKey(key));
            (
                Actor::SYSTEM,
                Body::RotateApiKey {
                    api_key: key,
                    secret_hash: [1; 32],
                    overlap: 0,
                },
            )
        }),
    ];
    cases
        .iter()
        .map(|(rejection, make)| {
            let mut world = World::new();
            let (actor, body) = make(&mut world);
            (actor, body, *rejection, world)
        })
        .collect()
}

/// A hold of 9 for two payees, 4 for the first of them; and somebody else's account.
fn held_for_two(world: &mut World) -> (PaymentId, AccountId, AccountId) {
    let (a, b) = (world.funded("a", 9), world.wallet("b"));
    let (c, stranger) = (world.wallet("c"), world.wallet("d"));
    let payment = world.pay(Pay {
        destination: split(&[(b, Part::Amount(4)), (c, Part::Amount(5))]),
        hold: hold(),
        ..plain_pay(a, b, 9)
    });
    (payment, b, stranger)
}

fn one(account: AccountId, amount: u64) -> PayeeAmounts {
    PayeeAmounts::new(vec![PayeeAmount { account, amount }]).unwrap()
}

fn exact(payment: PaymentId, splits: PayeeAmounts) -> Capture {
    Capture {
        payment,
        amount: None,
        is_final: false,
        splits,
    }
}

#[test]
fn every_other_fault_is_refused_for_its_reason_and_changes_nothing() {
    for (actor, body, rejection, mut world) in others() {
        let before = world.set.digest_all();
        let outcome = world.submit(actor, body.clone());
        assert_eq!(outcome.rejection, Some(rejection), "{body:?}");
        assert_eq!(world.set.digest_all(), before);
        world.check_mirror();
    }
}

#[test]
fn no_rejection_is_without_a_case() {
    let provoked = FAULTS
        .iter()
        .map(|fault| fault.rejection)
        .chain(others().into_iter().map(|case| case.2))
        .chain(crate::settings::FAULTS.iter().map(|fault| fault.rejection));
    // A group's abortion is provoked in `rules`, a limit is exceeded in `limits`, a payment is blocked in `assessments`, and what goes wrong
    // with reviews does in `reviews`.
    let elsewhere = [
        Rejection::GroupAborted,
        Rejection::LimitExceeded,
        Rejection::PaymentBlocked,
        Rejection::PaymentInReview,
        Rejection::PaymentNotInReview,
        Rejection::ReviewNotPossible,
    ];
    let provoked: Vec<_> = provoked.chain(elsewhere).collect();
    let missing: Vec<_> = Rejection::ALL
        .iter()
        .filter(|rejection| !provoked.contains(rejection))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn the_documents_list_every_rejection_in_order() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/ledger.md");
    let text = std::fs::read_to_string(path).unwrap();
    let rows = text
        .lines()
        .filter(|line| line.starts_with("| ") && line.as_bytes()[2].is_ascii_digit());
    let row = |rejection: &Rejection| {
        let (number, code, message) = (rejection.number(), rejection.code(), rejection.message());
        format!("| {number} | `{code}` | {message} |")
    };
    let expected: Vec<String> = Rejection::ALL.iter().map(row).collect();
    assert_eq!(rows.collect::<Vec<_>>(), expected);
}

/// What an actor may not do tells nobody else, and says nothing but what the actor named.
#[test]
fn what_an_actor_may_not_do_belongs_to_the_actor_alone() {
    let mut world = World::new();
    let (buyer, shop) = (world.funded("buyer", 100), world.wallet("shop"));
    let eve = world.wallet("eve");
    let eve = by(world.owner_of(eve));
    let revoked = Actor {
        api_key: ApiKeyId(999),
        ..eve
    };
    for (actor, rejection) in [
        (eve, Rejection::Forbidden),
        (revoked, Rejection::ActorKeyNotFound),
    ] {
        let text = Text::new(Text::PLAIN, b"{\"description\":\"none of your business\"}");
        let asked = Command {
            text: text.ok(),
            ..command(actor, Body::Pay(plain_pay(buyer, shop, 10)))
        };
        let outcome = world.run(&asked);
        assert_eq!(outcome.rejection, Some(rejection));
        assert!(outcome.legs.is_empty(), "no account mentions it");
        let payment = outcome.payment.expect("a refused payment exists");
        assert_eq!(payment.owner, actor.owner);
        let record = world.records.last().expect("a record");
        let record = codec::decode(record, FORMAT_VERSION).expect("a record");
        assert_eq!(record.command.text, None);
        assert_eq!(record.digest, asked.digest(), "a repetition is known");
    }
}
