//! The life of a payout: pending, then paid or failed; what was paid may come back.

use proptest::prelude::*;

use crate::world::{World, by, plain_pay};
use tributary_ledger::*;

/// A world with one seller, and the bank account where payouts go.
struct Scene {
    world: World,
    wallet: AccountId,
    bank: AccountId,
    seller: Actor,
}

impl Scene {
    fn new(balance: u64) -> Scene {
        let mut world = World::new();
        let wallet = world.funded("seller", balance);
        let bank = world.open("platform", AccountKind::External, Overdraft::UNLIMITED);
        let seller = by(world.owner_of(wallet));
        Scene {
            world,
            wallet,
            bank,
            seller,
        }
    }

    fn payout(&self, amount: u64) -> Pay {
        Pay {
            kind: PaymentKind::Payout,
            hold: Some(Hold::OF_PAYOUT),
            ..plain_pay(self.wallet, self.bank, amount)
        }
    }

    fn refused(&mut self, actor: Actor, body: Body, reason: Rejection) {
        let before = self.world.set.digest_all();
        let outcome = self.world.submit(actor, body.clone());
        assert_eq!(outcome.rejection, Some(reason), "{body:?}");
        assert_eq!(self.world.set.digest_all(), before, "{body:?}");
    }

    /// Posted and held of the wallet, posted of the bank.
    fn balances(&self) -> (i64, u64, i64) {
        let wallet = self.world.set.account(self.wallet).unwrap();
        (wallet.posted, wallet.held, self.world.posted(self.bank))
    }
}

pub(crate) fn pending(world: &mut World, amount: u64) -> PaymentId {
    let (wallet, bank) = (world.funded("a", amount), world.wallet("platform"));
    world.pay(Pay {
        kind: PaymentKind::Payout,
        hold: Some(Hold::OF_PAYOUT),
        ..plain_pay(wallet, bank, amount)
    })
}

pub(crate) fn pay(payout: PaymentId) -> Body {
    Body::SettlePayout(SettlePayout {
        payout,
        failure: None,
    })
}

pub(crate) fn fail(payout: PaymentId) -> Body {
    Body::SettlePayout(SettlePayout {
        payout,
        failure: Some(Reason::new("account closed").unwrap()),
    })
}

pub(crate) fn give_back(payout: PaymentId, amount: Option<u64>) -> Body {
    Body::ReturnPayout(ReturnPayout {
        payout,
        amount,
        reason: None,
    })
}

#[test]
fn a_pending_payout_is_held_without_end_and_only_the_platform_settles_it() {
    let mut scene = Scene::new(100);
    let pending = scene.payout(60);
    let payout = scene
        .world
        .submit(scene.seller, Body::Pay(pending))
        .payment
        .unwrap()
        .id;
    assert_eq!(scene.balances(), (100, 60, 0));
    assert_eq!(scene.world.payment(payout).status, PaymentStatus::Pending);
    let capture = |amount| {
        Body::Capture(Capture {
            payment: payout,
            amount,
            is_final: true,
            splits: PayeeAmounts::default(),
        })
    };
    let seller = scene.seller;
    for body in [
        Body::Void(payout),
        capture(None),
        pay(payout),
        fail(payout),
        give_back(payout, None),
        Body::Expire(payout),
    ] {
        scene.refused(seller, body, Rejection::Forbidden);
    }
    // A century later it is still held.
    scene.world.timestamp += 36_500 * crate::world::DAY;
    scene.refused(Actor::SYSTEM, Body::Expire(payout), Rejection::HoldNotDue);
    for body in [Body::Void(payout), capture(Some(1)), capture(None)] {
        scene.refused(Actor::SYSTEM, body, Rejection::PaymentIsPayout);
    }
    let close = Body::CloseAccount(scene.wallet);
    scene.refused(seller, close, Rejection::AccountNotEmpty);
    scene.world.must(pay(payout));
    assert_eq!(scene.balances(), (40, 0, 60));
    assert_eq!(scene.world.payment(payout).status, PaymentStatus::Paid);
    for body in [pay(payout), fail(payout)] {
        scene.refused(Actor::SYSTEM, body, Rejection::PayoutNotPending);
    }
    let refund = Body::Refund(Refund {
        payment: payout,
        amount: None,
        refund_fee: false,
        splits: PayeeAmounts::default(),
    });
    scene.refused(Actor::SYSTEM, refund, Rejection::PaymentNotRefundable);
    scene.world.check();
    scene.world.check_mirror();
}

#[test]
fn a_failed_payout_releases_its_money_and_its_reference() {
    let mut scene = Scene::new(100);
    let reference = Reference::new("payout-2026-11").ok();
    let asked = Pay {
        reference,
        ..scene.payout(100)
    };
    let first = scene.world.pay(asked.clone());
    scene.world.must(fail(first));
    assert_eq!(scene.balances(), (100, 0, 0));
    assert_eq!(scene.world.payment(first).status, PaymentStatus::Failed);
    scene.refused(
        Actor::SYSTEM,
        give_back(first, None),
        Rejection::PayoutNotPaid,
    );
    // The same payout can be tried again.
    let second = scene.world.pay(asked.clone());
    assert_eq!(scene.balances(), (100, 100, 0));
    let again = scene.world.submit(Actor::SYSTEM, Body::Pay(asked));
    assert_eq!(again.rejection, Some(Rejection::ReferenceInUse));
    scene.world.must(pay(second));
    scene.world.check();
    scene.world.check_mirror();
}

#[test]
fn only_the_platform_records_a_payout_as_paid_at_once() {
    let mut scene = Scene::new(100);
    let paid = Pay {
        hold: None,
        ..scene.payout(30)
    };
    let refused = scene.world.submit(scene.seller, Body::Pay(paid.clone()));
    assert_eq!(refused.rejection, Some(Rejection::Forbidden));
    let payout = scene.world.pay(paid);
    assert_eq!(scene.balances(), (70, 0, 30));
    assert_eq!(scene.world.payment(payout).status, PaymentStatus::Paid);
    let expiring = Pay {
        hold: Some(Hold {
            expires_at: scene.world.timestamp + 1_000,
        }),
        ..scene.payout(30)
    };
    let refused = scene.world.submit(Actor::SYSTEM, Body::Pay(expiring));
    assert_eq!(refused.rejection, Some(Rejection::HoldNotAllowed));
    scene.world.check_mirror();
}

#[test]
fn a_return_is_a_payment_of_its_own_and_leaves_the_payout_paid() {
    let mut scene = Scene::new(100);
    let pending = scene.payout(60);
    let payout = scene.world.pay(pending);
    scene.world.must(pay(payout));
    let outcome = scene.world.must(give_back(payout, Some(20)));
    let returned = outcome.payment.unwrap();
    assert_eq!(scene.balances(), (60, 0, 40));
    assert_eq!(
        (returned.kind, returned.status, returned.amount),
        (PaymentKind::PayoutReturn, PaymentStatus::Captured, 20)
    );
    assert_eq!(returned.owner, scene.world.owner_of(scene.wallet));
    let paid = scene.world.payment(payout);
    assert_eq!((paid.status, paid.refunded), (PaymentStatus::Paid, 20));
    scene.refused(
        Actor::SYSTEM,
        give_back(payout, Some(41)),
        Rejection::ReturnExceedsPaid,
    );
    scene.world.must(give_back(payout, None));
    assert_eq!(scene.balances(), (100, 0, 0));
    for amount in [None, Some(1)] {
        scene.refused(
            Actor::SYSTEM,
            give_back(payout, amount),
            Rejection::ReturnExceedsPaid,
        );
    }
    // A return is neither refunded, returned nor requested as a payment.
    let refund = Body::Refund(Refund {
        payment: returned.id,
        amount: None,
        refund_fee: false,
        splits: PayeeAmounts::default(),
    });
    scene.refused(Actor::SYSTEM, refund, Rejection::PaymentNotRefundable);
    scene.refused(
        Actor::SYSTEM,
        give_back(returned.id, None),
        Rejection::PaymentNotPayout,
    );
    let asked = Pay {
        kind: PaymentKind::PayoutReturn,
        ..plain_pay(scene.bank, scene.wallet, 5)
    };
    let refused = scene.world.submit(Actor::SYSTEM, Body::Pay(asked));
    assert_eq!(refused.rejection, Some(Rejection::Forbidden));
    scene.world.check();
    scene.world.check_mirror();
}

#[test]
fn a_fee_of_a_payout_is_kept_when_the_payout_comes_back() {
    let mut scene = Scene::new(100);
    let fee = scene
        .world
        .open("platform", AccountKind::Fee, Overdraft::NONE);
    let asked = Pay {
        fees: crate::world::fees(&[(fee, 3, 0)]),
        ..scene.payout(100)
    };
    let payout = scene.world.pay(asked);
    scene.world.must(pay(payout));
    assert_eq!((scene.balances(), scene.world.posted(fee)), ((0, 0, 97), 3));
    scene.refused(
        Actor::SYSTEM,
        give_back(payout, Some(98)),
        Rejection::ReturnExceedsPaid,
    );
    scene.world.must(give_back(payout, None));
    assert_eq!((scene.balances(), scene.world.posted(fee)), ((97, 0, 0), 3));
    scene.world.check_mirror();
}

#[test]
fn a_queued_payout_holds_nothing_until_it_runs_and_may_be_taken_back_before() {
    let mut scene = Scene::new(100);
    let queued = Pay {
        queue: Some(Box::default()),
        ..scene.payout(80)
    };
    let seller = scene.seller;
    let ask = |scene: &mut Scene| {
        let body = Body::Pay(queued.clone());
        scene.world.submit(seller, body).payment.unwrap().id
    };
    let taken_back = ask(&mut scene);
    assert_eq!(scene.balances(), (100, 0, 0));
    scene.refused(Actor::SYSTEM, pay(taken_back), Rejection::PayoutNotPending);
    let voided = scene.world.submit(seller, Body::Void(taken_back));
    assert_eq!(voided.payment.unwrap().status, PaymentStatus::Voided);
    let first = ask(&mut scene);
    let second = ask(&mut scene);
    scene.world.must(Body::Run(first));
    assert_eq!(scene.balances(), (100, 80, 0));
    assert_eq!(scene.world.payment(first).status, PaymentStatus::Pending);
    scene.refused(seller, Body::Void(first), Rejection::Forbidden);
    let failed = scene.world.submit(Actor::SYSTEM, Body::Run(second));
    assert_eq!(failed.rejection, Some(Rejection::InsufficientFunds));
    assert_eq!(scene.world.payment(second).status, PaymentStatus::Failed);
    scene.world.must(pay(first));
    assert_eq!(scene.balances(), (20, 0, 80));
    scene.world.check();
    scene.world.check_mirror();
}

#[test]
fn a_frozen_wallet_does_not_stop_what_happened_outside() {
    let mut scene = Scene::new(100);
    let (first, second) = (scene.payout(30), scene.payout(20));
    let (first, second) = (scene.world.pay(first), scene.world.pay(second));
    scene.world.must(Body::FreezeAccount(scene.wallet));
    scene.world.must(pay(first));
    scene.world.must(fail(second));
    scene.world.must(give_back(first, Some(10)));
    assert_eq!(scene.balances(), (80, 0, 20));
}

#[derive(Clone, Debug)]
enum Step {
    Ask(u64),
    Pay(usize),
    Fail(usize),
    Return(usize, Option<u64>),
    Void(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let which = 0..6_usize;
    let step = prop_oneof![
        3 => (1..60_u64).prop_map(Step::Ask),
        3 => which.clone().prop_map(Step::Pay),
        2 => which.clone().prop_map(Step::Fail),
        3 => (which.clone(), proptest::option::of(0..40_u64)).prop_map(|(at, amount)| Step::Return(at, amount)),
        2 => which.prop_map(Step::Void),
    ];
    proptest::collection::vec(step, 0..60)
}

/// A payout as this test keeps it: amount, and what came back of it once it was paid; none = it failed.
#[derive(Clone, Copy, PartialEq)]
enum Known {
    Pending(u64),
    Paid(u64, u64),
    Failed,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// What is pending is held exactly, no more comes back than was paid, and the owner can end nothing.
    #[test]
    fn payouts_keep_their_books(steps in steps()) {
        let mut scene = Scene::new(200);
        let mut known: Vec<(PaymentId, Known)> = Vec::new();
        for step in steps {
            let at = |at: usize| known.get(at).map(|(id, _)| *id).unwrap_or(PaymentId(9_999));
            let body = match step {
                Step::Ask(amount) => Body::Pay(scene.payout(amount)),
                Step::Pay(which) => pay(at(which)),
                Step::Fail(which) => fail(at(which)),
                Step::Return(which, amount) => give_back(at(which), amount),
                Step::Void(which) => Body::Void(at(which)),
            };
            let held: u64 = known.iter().map(|(_, known)| match known {
                Known::Pending(amount) => *amount,
                _ => 0,
            }).sum();
            let free = scene.world.posted(scene.wallet) - held as i64;
            let actor = match step {
                Step::Ask(_) | Step::Void(_) => scene.seller,
                _ => Actor::SYSTEM,
            };
            let outcome = scene.world.submit(actor, body);
            let found = |which: usize| known.get(which).map(|(_, known)| *known);
            let mut next = None;
            let expected = match step {
                Step::Ask(amount) => {
                    if free >= amount as i64 {
                        let id = outcome.payment.as_ref().unwrap().id;
                        known.push((id, Known::Pending(amount)));
                        true
                    } else {
                        false
                    }
                }
                Step::Pay(which) => match found(which) {
                    Some(Known::Pending(amount)) => {
                        next = Some((which, Known::Paid(amount, 0)));
                        true
                    }
                    _ => false,
                },
                Step::Fail(which) => match found(which) {
                    Some(Known::Pending(_)) => {
                        next = Some((which, Known::Failed));
                        true
                    }
                    _ => false,
                },
                Step::Return(which, wanted) => match found(which) {
                    Some(Known::Paid(amount, back)) => {
                        let more = wanted.unwrap_or(amount - back);
                        let fits = more > 0 && back + more <= amount;
                        if fits {
                            next = Some((which, Known::Paid(amount, back + more)));
                        }
                        fits
                    }
                    _ => false,
                },
                Step::Void(_) => false,
            };
            prop_assert_eq!(outcome.is_accepted(), expected, "{:?}", outcome.rejection);
            if let Some((which, now)) = next {
                known[which].1 = now;
            }
            let (mut held, mut out) = (0, 0);
            for (id, known) in &known {
                let payout = scene.world.payment(*id);
                let (status, returned) = match known {
                    Known::Pending(amount) => {
                        held += amount;
                        (PaymentStatus::Pending, 0)
                    }
                    Known::Paid(amount, back) => {
                        out += amount - back;
                        (PaymentStatus::Paid, *back)
                    }
                    Known::Failed => (PaymentStatus::Failed, 0),
                };
                prop_assert_eq!((payout.status, payout.refunded), (status, returned));
            }
            let out = i64::try_from(out).unwrap();
            prop_assert_eq!(scene.balances(), (200 - out, held, out));
            scene.world.check();
        }
        scene.world.check_mirror();
    }
}
