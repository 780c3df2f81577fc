//! Limits: exactly as many payments pass as they allow, and what counts is what the documents say.

use crate::settings::put;
use crate::world::{DAY, World, by, command, eur, plain_pay};
use proptest::prelude::*;
use tributary_ledger::*;

const SECOND: u64 = 1_000_000_000;
const HOUR: u64 = 3_600 * SECOND;

pub(crate) fn terms(
    subject: LimitSubject,
    payments: Option<u64>,
    amount: Option<u64>,
) -> LimitTerms {
    LimitTerms::new(subject, &LIMITED_KINDS, Some(eur()), HOUR, payments, amount).unwrap()
}

pub(crate) fn put_limit(id: u64, body: &[u8]) -> Body {
    Body::PutSetting(Box::new(PutSetting {
        kind: SettingKind::LIMIT,
        ..put(id, &format!("limit-{id}"), 0, body)
    }))
}

fn put_terms(id: u64, replaces: u64, terms: LimitTerms) -> Body {
    let Body::PutSetting(mut put) = put_limit(id, &terms.to_body()) else {
        unreachable!("it was made as one")
    };
    put.replaces = replaces;
    Body::PutSetting(put)
}

fn pay_again(world: &mut World, pay: &Pay) -> Option<Rejection> {
    world
        .submit(Actor::SYSTEM, Body::Pay(pay.clone()))
        .rejection
}

fn counted(world: &World, id: u64) -> LimitTotals {
    let limit = world.set.limit(SettingId(id)).unwrap();
    limit.totals(world.timestamp)
}

#[test]
fn as_many_payments_pass_as_the_limit_allows_and_the_next_is_refused_with_it() {
    let mut world = World::new();
    let (a, b) = (world.funded("a", 1_000), world.wallet("b"));
    let limit = terms(LimitSubject::Account(a), Some(5), None);
    world.must(put_terms(7, 0, limit));
    let pay = plain_pay(a, b, 10);
    for _ in 0..5 {
        assert_eq!(pay_again(&mut world, &pay), None);
    }
    let refused = world.submit(Actor::SYSTEM, Body::Pay(pay.clone()));
    assert_eq!(refused.rejection, Some(Rejection::LimitExceeded));
    let totals = LimitTotals {
        payments: 5,
        amount: 50,
    };
    assert_eq!(refused.limits.len(), 1);
    assert_eq!(refused.limits[0].limit, SettingId(7));
    assert_eq!(refused.limits[0].totals, totals);
    assert_eq!(refused.payment.unwrap().status, PaymentStatus::Failed);
    assert_eq!(world.posted(b), 50);
    // What is missing is money: that is told first.
    let more = plain_pay(a, b, 10_000);
    assert_eq!(
        pay_again(&mut world, &more),
        Some(Rejection::InsufficientFunds)
    );
    // Another payer is not concerned, and the payee pays as it likes.
    assert_eq!(pay_again(&mut world, &plain_pay(b, a, 1)), None);
    // The oldest bucket counts whole.
    world.timestamp += HOUR;
    assert_eq!(pay_again(&mut world, &pay), Some(Rejection::LimitExceeded));
    world.timestamp += HOUR / 15;
    for _ in 0..5 {
        assert_eq!(pay_again(&mut world, &pay), None);
    }
    assert_eq!(pay_again(&mut world, &pay), Some(Rejection::LimitExceeded));
    world.check_mirror();
}

#[test]
fn amounts_are_added_up_to_the_last_cent() {
    let mut world = World::new();
    let (a, b) = (world.funded("a", 1_000), world.wallet("b"));
    world.must(put_terms(
        7,
        0,
        terms(LimitSubject::Account(a), None, Some(100)),
    ));
    let mut pay = |amount| pay_again(&mut world, &plain_pay(a, b, amount));
    assert_eq!(pay(60), None);
    assert_eq!(pay(41), Some(Rejection::LimitExceeded));
    assert_eq!(pay(40), None);
    assert_eq!(pay(1), Some(Rejection::LimitExceeded));
}

#[test]
fn an_owner_is_limited_over_all_its_accounts_and_currencies() {
    let mut world = World::new();
    let (first, second) = (world.funded("a", 1_000), world.funded("a", 1_000));
    let other = world.wallet("b");
    let a = world.owner_of(first);
    let subject = LimitSubject::Owner(a);
    let kinds = [PaymentKind::Pay];
    let limit = LimitTerms::new(subject, &kinds, None, HOUR, Some(2), None).unwrap();
    world.must(put_terms(7, 0, limit));
    let transfer = Pay {
        kind: PaymentKind::Transfer,
        ..plain_pay(first, second, 5)
    };
    assert_eq!(pay_again(&mut world, &transfer), None);
    assert_eq!(pay_again(&mut world, &plain_pay(first, other, 5)), None);
    assert_eq!(pay_again(&mut world, &plain_pay(second, other, 5)), None);
    let third = plain_pay(first, other, 5);
    assert_eq!(
        pay_again(&mut world, &third),
        Some(Rejection::LimitExceeded)
    );
    // Only what the limit counts is refused; an adjustment never is.
    assert_eq!(pay_again(&mut world, &transfer), None);
    let adjustment = Pay {
        kind: PaymentKind::Adjustment,
        reason: Some(Reason::new("by mistake").unwrap()),
        ..plain_pay(first, other, 5)
    };
    assert_eq!(pay_again(&mut world, &adjustment), None);
    assert_eq!(counted(&world, 7).payments, 2);
    assert_eq!(counted(&world, 7).amount, 0, "currencies are not mixed");
}

#[test]
fn a_payment_counts_once_when_its_money_is_held_or_moved_and_nothing_takes_it_back() {
    let mut world = World::new();
    let (a, b) = (world.funded("a", 1_000), world.wallet("b"));
    world.must(put_terms(
        7,
        0,
        terms(LimitSubject::Account(a), Some(100), None),
    ));
    let hold = Pay {
        hold: Some(Hold {
            expires_at: world.timestamp + DAY,
        }),
        ..plain_pay(a, b, 10)
    };
    let captured = world.pay(hold.clone());
    assert_eq!(counted(&world, 7).payments, 1);
    assert!(world.capture(captured, Some(4)).is_accepted());
    assert!(world.capture(captured, Some(6)).is_accepted());
    assert!(world.refund(captured, Some(10)).is_accepted());
    let voided = world.pay(hold.clone());
    world.must(Body::Void(voided));
    let expired = world.pay(Pay {
        hold: Some(Hold {
            expires_at: world.timestamp + 2,
        }),
        ..hold.clone()
    });
    world.timestamp += 10;
    world.must(Body::Expire(expired));
    let paid = world.pay(Pay {
        kind: PaymentKind::Payout,
        ..plain_pay(a, b, 10)
    });
    world.must(Body::ReturnPayout(ReturnPayout {
        payout: paid,
        amount: None,
        reason: None,
    }));
    let expected = LimitTotals {
        payments: 4,
        amount: 40,
    };
    assert_eq!(counted(&world, 7), expected);
    // A queued payment counts when it runs; one that is cancelled, or refused, does not.
    let queue = Queue {
        terms: QueueTerms {
            priority: Priority::new(5).unwrap(),
            not_before: 0,
            expires_at: 0,
            reply_to: None,
        },
        correlation_id: None,
    };
    let queued = Pay {
        queue: Some(Box::new(queue)),
        ..plain_pay(a, b, 10)
    };
    let (runs, cancelled) = (world.pay(queued.clone()), world.pay(queued.clone()));
    world.must(Body::Void(cancelled));
    assert_eq!(
        pay_again(&mut world, &plain_pay(a, b, 5_000)),
        Some(Rejection::InsufficientFunds)
    );
    assert_eq!(counted(&world, 7), expected);
    world.must(Body::Run(runs));
    assert_eq!(counted(&world, 7).payments, 5);
    // One that would exceed the limit when it runs fails, and says why.
    let late = world.pay(queued);
    world.must(put_terms(
        7,
        1,
        terms(LimitSubject::Account(a), Some(5), None),
    ));
    let failed = world.submit(Actor::SYSTEM, Body::Run(late));
    assert_eq!(failed.rejection, Some(Rejection::LimitExceeded));
    assert_eq!(failed.limits[0].limit, SettingId(7));
    assert_eq!(failed.payment.unwrap().status, PaymentStatus::Failed);
    assert_eq!(counted(&world, 7).payments, 5);
    world.check_mirror();
}

#[test]
fn another_maximum_keeps_what_was_counted_and_another_window_starts_over() {
    let mut world = World::new();
    let (a, b) = (world.funded("a", 1_000), world.wallet("b"));
    let first = terms(LimitSubject::Account(a), Some(3), None);
    world.must(put_terms(7, 0, first));
    let since = world.set.limit(SettingId(7)).unwrap().since;
    let pay = plain_pay(a, b, 10);
    (0..3).for_each(|_| assert_eq!(pay_again(&mut world, &pay), None));
    let raised = terms(LimitSubject::Account(a), Some(4), Some(500));
    world.must(put_terms(7, 1, raised));
    assert_eq!(pay_again(&mut world, &pay), None);
    assert_eq!(pay_again(&mut world, &pay), Some(Rejection::LimitExceeded));
    assert_eq!(world.set.limit(SettingId(7)).unwrap().since, since);
    let longer = LimitTerms {
        window_ns: 2 * HOUR,
        ..raised
    };
    world.must(put_terms(7, 2, longer));
    let limit = world.set.limit(SettingId(7)).unwrap();
    assert!(limit.since > since);
    assert_eq!(counted(&world, 7).payments, 0);
    (0..4).for_each(|_| assert_eq!(pay_again(&mut world, &pay), None));
    assert_eq!(pay_again(&mut world, &pay), Some(Rejection::LimitExceeded));
    let delete = DeleteSetting {
        id: SettingId(7),
        kind: SettingKind::LIMIT,
        replaces: 0,
    };
    world.must(Body::DeleteSetting(delete));
    assert_eq!(pay_again(&mut world, &pay), None);
    world.check_mirror();
}

#[test]
fn every_limit_that_counts_a_payment_must_allow_it_and_the_oldest_of_the_account_is_named_first() {
    let mut world = World::new();
    let (a, b) = (world.funded("a", 1_000), world.wallet("b"));
    let owner = LimitSubject::Owner(world.owner_of(a));
    world.must(put_terms(1, 0, terms(owner, Some(2), None)));
    world.must(put_terms(
        9,
        0,
        terms(LimitSubject::Account(a), Some(3), None),
    ));
    world.must(put_terms(
        5,
        0,
        terms(LimitSubject::Account(a), Some(3), None),
    ));
    let pay = plain_pay(a, b, 10);
    let outcome = world.submit(Actor::SYSTEM, Body::Pay(pay.clone()));
    let met: Vec<u64> = outcome.limits.iter().map(|usage| usage.limit.0).collect();
    assert_eq!(met, [9, 5, 1]);
    assert_eq!(pay_again(&mut world, &pay), None);
    let refused = world.submit(Actor::SYSTEM, Body::Pay(pay.clone()));
    assert_eq!(refused.limits[0].limit, SettingId(1));
    // A refusal by one limit leaves the others as they were.
    assert_eq!(counted(&world, 9).payments, 2);
    world.must(put_terms(1, 1, terms(owner, Some(10), None)));
    assert_eq!(pay_again(&mut world, &pay), None);
    let refused = world.submit(Actor::SYSTEM, Body::Pay(pay));
    assert_eq!(refused.limits[0].limit, SettingId(9));
    world.check_mirror();
}

#[test]
fn a_group_counts_its_own_payments_and_a_refused_one_counts_nothing() {
    let mut world = World::new();
    let (a, b) = (world.funded("a", 1_000), world.wallet("b"));
    let limit = put_terms(7, 0, terms(LimitSubject::Account(a), Some(2), None));
    let pay = command(Actor::SYSTEM, Body::Pay(plain_pay(a, b, 10)));
    let put = command(Actor::SYSTEM, limit.clone());
    // A limit that a refused group made is gone with it.
    let group = [put, pay.clone(), pay.clone(), pay.clone()];
    let outcomes = world.run_group(&group);
    assert_eq!(outcomes[3].rejection, Some(Rejection::LimitExceeded));
    assert_eq!(outcomes[3].limits[0].totals.payments, 2);
    assert_eq!(world.set.limit(SettingId(7)), None);
    world.must(limit);
    let refused = world.run_group(&[pay.clone(), pay.clone(), pay.clone()]);
    assert_eq!(refused[0].rejection, Some(Rejection::GroupAborted));
    assert!(refused[0].limits.is_empty());
    assert_eq!(refused[2].limits[0].totals.payments, 2);
    assert_eq!(counted(&world, 7), LimitTotals::default());
    let accepted = world.run_group(&[pay.clone(), pay]);
    assert!(accepted.iter().all(Outcome::is_accepted));
    assert_eq!(counted(&world, 7).payments, 2);
    world.check_mirror();
}

#[test]
fn limits_that_cannot_be_kept_are_refused() {
    let mut world = World::new();
    let a = world.wallet("a");
    let account = LimitSubject::Account(a);
    let sound = terms(account, Some(5), None);
    let mut put_body = |body: &[u8], actor| world.submit(actor, put_limit(99, body)).rejection;
    let system = Actor::SYSTEM;
    assert_eq!(put_body(&[0; 65], system), Some(Rejection::SettingTooLarge));
    assert_eq!(put_body(b"{}", system), Some(Rejection::LimitInvalid));
    let mut spoilt = sound.to_body();
    spoilt[1] = 1 << PaymentKind::Adjustment as u8;
    assert_eq!(put_body(&spoilt, system), Some(Rejection::LimitInvalid));
    let missing = terms(LimitSubject::Account(AccountId(77)), Some(1), None);
    assert_eq!(
        put_body(&missing.to_body(), system),
        Some(Rejection::AccountNotFound)
    );
    let missing = terms(LimitSubject::Owner(OwnerId(77)), Some(1), None);
    assert_eq!(
        put_body(&missing.to_body(), system),
        Some(Rejection::OwnerNotFound)
    );
    let yen = LimitTerms {
        currency: Some(Currency::from_code("JPY").unwrap()),
        ..sound
    };
    assert_eq!(
        put_body(&yen.to_body(), system),
        Some(Rejection::CurrencyMismatch)
    );
    let owner = by(OwnerId(1));
    assert_eq!(
        put_body(&sound.to_body(), owner),
        Some(Rejection::Forbidden)
    );
    for id in 1..=4 {
        world.must(put_terms(id, 0, sound));
    }
    let fifth = world.submit(Actor::SYSTEM, put_terms(5, 0, sound));
    assert_eq!(fifth.rejection, Some(Rejection::TooManyLimits));
    // A change of one of the four is none more.
    world.must(put_terms(4, 1, sound));
    let wrong = [
        LimitTerms::new(account, &[], None, HOUR, Some(1), None),
        LimitTerms::new(account, &LIMITED_KINDS, None, SECOND - 1, Some(1), None),
        LimitTerms::new(
            account,
            &LIMITED_KINDS,
            None,
            LIMIT_WINDOW_NS_MAX + 1,
            Some(1),
            None,
        ),
        LimitTerms::new(account, &LIMITED_KINDS, None, HOUR, None, None),
        LimitTerms::new(account, &LIMITED_KINDS, None, HOUR, None, Some(5)),
        LimitTerms::new(
            account,
            &LIMITED_KINDS,
            Some(eur()),
            HOUR,
            None,
            Some(AMOUNT_MAX + 1),
        ),
    ];
    assert!(wrong.iter().all(Result::is_err));
}

/// Sums of a limit in EUR, over payments at times that never go back.
fn check_windows(window_ns: u64, payments_max: u64, amount_max: u64, steps: &[(u64, u64)]) {
    let mut world = World::new();
    let (a, b) = (world.funded("a", 1 << 40), world.wallet("b"));
    let limit = LimitTerms {
        window_ns,
        ..terms(
            LimitSubject::Account(a),
            Some(payments_max),
            Some(amount_max),
        )
    };
    world.must(put_terms(7, 0, limit));
    let mut passed: Vec<(u64, u64)> = Vec::new();
    for (pause, amount) in steps {
        world.timestamp += pause;
        let now = world.timestamp;
        let refusal = pay_again(&mut world, &plain_pay(a, b, *amount));
        let within = |length: u64| {
            let inside = passed.iter().filter(move |(at, _)| at + length > now);
            inside.fold((0, 0), |sum, (_, amount)| (sum.0 + 1, sum.1 + amount))
        };
        let fits =
            |(payments, sum): (u64, u64)| payments < payments_max && sum + amount <= amount_max;
        match refusal {
            None => {
                assert!(fits(within(window_ns)), "more passed than is allowed");
                passed.push((now, *amount));
            }
            Some(Rejection::LimitExceeded) => {
                let longest = window_ns + 2 * limit.bucket_ns();
                assert!(!fits(within(longest)), "refused for what is long past");
            }
            other => panic!("{other:?}"),
        }
    }
    world.check_mirror();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_window_holds_more_than_is_allowed_and_nothing_is_refused_for_what_is_long_past(
        window_ns in SECOND..100 * SECOND,
        payments_max in 0..6_u64,
        amount_max in 0..2_000_u64,
        steps in prop::collection::vec((0..20 * SECOND, 1..600_u64), 1..80),
    ) {
        check_windows(window_ns, payments_max, amount_max, &steps);
    }

    #[test]
    fn no_bytes_that_say_a_limit_mean_another(body in prop::collection::vec(any::<u8>(), 30..40)) {
        if let Ok(terms) = LimitTerms::from_body(&body) {
            prop_assert_eq!(terms.to_body(), body);
        }
    }
}
