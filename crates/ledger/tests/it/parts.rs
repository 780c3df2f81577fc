//! Captures and refunds of exact amounts per payee.

use crate::world::{World, by, command, fees, plain_pay, split};
use proptest::prelude::*;
use tributary_ledger::*;

pub(crate) struct Scene {
    pub(crate) world: World,
    pub(crate) buyer: AccountId,
    pub(crate) a: AccountId,
    pub(crate) b: AccountId,
    pub(crate) fee: AccountId,
    pub(crate) payment: PaymentId,
}

/// A hold of 100: 54 to `a`, 36 to `b` and a fee of 10. With the fee, their parts are 60 and 40.
pub(crate) fn held() -> Scene {
    let mut world = World::new();
    let buyer = world.funded("buyer", 1_000);
    let (a, b) = (world.funded("a", 1_000), world.funded("b", 1_000));
    let fee = world.open("platform", AccountKind::Fee, Overdraft::NONE);
    let payment = world.pay(Pay {
        destination: split(&[(a, Part::Amount(54)), (b, Part::Amount(36))]),
        fees: fees(&[(fee, 10, 0)]),
        hold: Some(Hold {
            expires_at: u64::MAX,
        }),
        ..plain_pay(buyer, a, 100)
    });
    Scene {
        world,
        buyer,
        a,
        b,
        fee,
        payment,
    }
}

fn captured() -> Scene {
    let mut s = held();
    assert_eq!(s.world.capture(s.payment, None).rejection, None);
    s
}

fn amounts(list: &[(AccountId, u64)]) -> PayeeAmounts {
    let part = |(account, amount): &(AccountId, u64)| PayeeAmount {
        account: *account,
        amount: *amount,
    };
    PayeeAmounts::new(list.iter().map(part).collect()).unwrap()
}

impl Scene {
    pub(crate) fn capture_of(&self, list: &[(AccountId, u64)]) -> Capture {
        Capture {
            payment: self.payment,
            amount: None,
            is_final: false,
            splits: amounts(list),
        }
    }

    fn refund_of(&self, list: &[(AccountId, u64)], refund_fee: bool) -> Refund {
        Refund {
            payment: self.payment,
            amount: None,
            refund_fee,
            splits: amounts(list),
        }
    }

    pub(crate) fn submit(&mut self, actor: Actor, body: Body) -> Option<Rejection> {
        let outcome = self.world.submit(actor, body);
        self.world.check();
        self.world.check_mirror();
        outcome.rejection
    }

    pub(crate) fn capture(&mut self, list: &[(AccountId, u64)]) -> Option<Rejection> {
        let capture = self.capture_of(list);
        self.submit(Actor::SYSTEM, Body::Capture(capture))
    }

    fn refund(&mut self, list: &[(AccountId, u64)], refund_fee: bool) -> Option<Rejection> {
        let refund = self.refund_of(list, refund_fee);
        self.submit(Actor::SYSTEM, Body::Refund(refund))
    }

    /// Captured of `a`, `b` and the fee.
    pub(crate) fn captured(&self) -> [u64; 3] {
        let shares = &self.world.payment(self.payment).shares;
        std::array::from_fn(|at| shares[at].captured)
    }

    /// Refunded of `a`, `b` and the fee.
    fn refunded(&self) -> [u64; 3] {
        let shares = &self.world.payment(self.payment).shares;
        std::array::from_fn(|at| shares[at].refunded)
    }
}

#[test]
fn a_capture_takes_exact_amounts_and_the_fee_follows() {
    let mut s = held();
    let (a, b) = (s.a, s.b);
    assert_eq!(s.capture(&[(a, 27)]), None);
    assert_eq!(s.captured(), [27, 0, 3], "floor(10 * 27 / 90)");
    assert_eq!(s.capture(&[(b, 1), (a, 7)]), None);
    assert_eq!(s.captured(), [34, 1, 3], "floor(10 * 35 / 90)");
    assert_eq!(s.capture(&[(b, 35)]), None);
    assert_eq!(s.captured(), [34, 36, 7], "floor(10 * 70 / 90)");
    assert_eq!(s.world.payment(s.payment).held, 23);
    assert_eq!(s.capture(&[(a, 20)]), None);
    assert_eq!(s.captured(), [54, 36, 10], "exact at the last piece");
    let payment = s.world.payment(s.payment);
    assert_eq!((payment.status, payment.held), (PaymentStatus::Captured, 0));
    assert_eq!(s.world.posted(s.buyer), 900);
    assert_eq!(s.world.posted(s.fee), 10);
}

#[test]
fn the_fee_of_many_small_pieces_is_that_of_one() {
    let mut s = held();
    let (a, b) = (s.a, s.b);
    for _ in 0..54 {
        assert_eq!(s.capture(&[(a, 1)]), None);
    }
    for _ in 0..36 {
        assert_eq!(s.capture(&[(b, 1)]), None);
    }
    assert_eq!(s.captured(), [54, 36, 10]);
    for _ in 0..36 {
        assert_eq!(s.refund(&[(b, 1)], true), None);
    }
    assert_eq!(s.refunded(), [0, 36, 4]);
    for _ in 0..54 {
        assert_eq!(s.refund(&[(a, 1)], true), None);
    }
    assert_eq!(s.refunded(), [54, 36, 10]);
    let status = s.world.payment(s.payment).status;
    assert_eq!(status, PaymentStatus::Refunded);
    assert_eq!(s.world.posted(s.buyer), 1_000);
}

#[test]
fn divisions_by_amount_and_exact_amounts_can_follow_each_other() {
    let mut s = held();
    let (a, b) = (s.a, s.b);
    assert_eq!(s.world.capture(s.payment, Some(10)).rejection, None);
    assert_eq!(s.captured(), [5, 4, 1]);
    assert_eq!(s.capture(&[(a, 49)]), None);
    assert_eq!(s.captured(), [54, 4, 6], "floor(10 * 58 / 90)");
    // Of what is held, 32 are b's and 4 the fee's.
    assert_eq!(s.world.capture(s.payment, Some(9)).rejection, None);
    assert_eq!(s.captured(), [54, 12, 7]);
    assert_eq!(s.capture(&[(b, 24)]), None);
    assert_eq!(s.captured(), [54, 36, 10]);
}

#[test]
fn a_final_capture_of_one_payee_releases_the_others() {
    let mut s = held();
    let capture = Capture {
        is_final: true,
        ..s.capture_of(&[(s.a, 54)])
    };
    assert_eq!(s.submit(Actor::SYSTEM, Body::Capture(capture)), None);
    assert_eq!(s.captured(), [54, 0, 6]);
    assert_eq!(s.world.available(s.buyer), 940);
    let payment = s.world.payment(s.payment);
    assert_eq!((payment.status, payment.held), (PaymentStatus::Captured, 0));
    let (a, fees) = (s.a, s.fee);
    assert_eq!(s.refund(&[(a, 54)], true), None);
    assert_eq!(s.world.posted(fees), 0);
    assert_eq!(s.world.posted(s.buyer), 1_000);
}

#[test]
fn a_payee_refunds_its_gross_part_or_its_net_part_with_the_fee() {
    let mut s = captured();
    let (a, b) = (s.a, s.b);
    assert_eq!(
        s.refund(&[(b, 37)], true),
        Some(Rejection::RefundExceedsPart)
    );
    assert_eq!(
        s.refund(&[(a, 61)], false),
        Some(Rejection::RefundExceedsPart)
    );
    assert_eq!(s.refund(&[(a, 60)], false), None);
    assert_eq!(
        s.refund(&[(a, 1)], false),
        Some(Rejection::RefundExceedsPart)
    );
    assert_eq!(s.refund(&[(b, 36)], true), None);
    assert_eq!(s.refunded(), [60, 36, 4], "a bore its part of the fee");
    let payment = s.world.payment(s.payment);
    assert_eq!(payment.status, PaymentStatus::Refunded);
    assert_eq!((payment.fee_refunded, s.world.posted(s.buyer)), (4, 1_000));
}

#[test]
fn a_part_that_was_given_back_with_its_fee_is_done() {
    let mut s = captured();
    let (a, b) = (s.a, s.b);
    assert_eq!(s.refund(&[(a, 54)], true), None);
    assert_eq!(s.refunded(), [54, 0, 6]);
    assert_eq!(
        s.refund(&[(a, 1)], false),
        Some(Rejection::RefundExceedsPart)
    );
    assert_eq!(
        s.refund(&[(a, 1)], true),
        Some(Rejection::RefundExceedsPart)
    );
    // What is divided afterwards is what is left: b's alone.
    assert_eq!(s.world.refund(s.payment, Some(10)).rejection, None);
    assert_eq!(s.refunded(), [54, 10, 6]);
    assert_eq!(
        s.refund(&[(b, 31)], false),
        Some(Rejection::RefundExceedsCaptured)
    );
    assert_eq!(s.refund(&[(b, 30)], false), None);
    assert_eq!(s.refunded(), [54, 40, 6]);
}

#[test]
fn two_modes_of_one_payee_give_back_its_gross_part() {
    let mut s = captured();
    let a = s.a;
    assert_eq!(s.refund(&[(a, 20)], false), None);
    assert_eq!(s.refund(&[(a, 27)], true), None);
    assert_eq!(s.refunded(), [47, 0, 3]);
    assert_eq!(
        s.refund(&[(a, 11)], false),
        Some(Rejection::RefundExceedsPart)
    );
    assert_eq!(s.refund(&[(a, 10)], false), None);
    assert_eq!(s.refunded(), [57, 0, 3], "60 in all");
}

#[test]
fn an_owner_refunds_its_own_part_and_no_other() {
    let mut s = captured();
    let (a, b) = (s.a, s.b);
    let of_a = by(s.world.owner_of(a));
    let of_b = by(s.world.owner_of(b));
    let forbidden = Some(Rejection::Forbidden);
    for (actor, list, refund_fee, expected) in [
        (of_a, vec![(b, 1)], false, forbidden),
        (of_a, vec![(a, 1), (b, 1)], false, forbidden),
        (of_a, vec![(a, 1)], true, forbidden),
        (of_a, vec![(a, 1)], false, None),
        (of_b, vec![(b, 40)], false, None),
    ] {
        let refund = s.refund_of(&list, refund_fee);
        assert_eq!(s.submit(actor, Body::Refund(refund)), expected, "{list:?}");
    }
    let whole = s.refund_of(&[], false);
    assert_eq!(s.submit(of_a, Body::Refund(whole)), forbidden);
    assert_eq!(s.refunded(), [1, 40, 0]);
}

#[test]
fn only_the_accounts_that_give_or_take_must_be_open() {
    let mut s = captured();
    let (a, b) = (s.a, s.b);
    s.world.must(Body::FreezeAccount(b));
    assert_eq!(s.refund(&[(b, 1)], false), Some(Rejection::AccountFrozen));
    assert_eq!(s.refund(&[(a, 1)], false), None);
    let mut s = held();
    let (a, b, bank) = (s.a, s.b, AccountId(1));
    s.world.pay(Pay {
        kind: PaymentKind::Payout,
        ..plain_pay(b, bank, 1_000)
    });
    s.world.must(Body::CloseAccount(b));
    assert_eq!(
        s.world.capture(s.payment, None).rejection,
        Some(Rejection::AccountClosed)
    );
    assert_eq!(s.capture(&[(b, 1)]), Some(Rejection::AccountClosed));
    assert_eq!(s.capture(&[(a, 54)]), None);
}

#[test]
fn wrong_amounts_per_payee_are_refused_for_their_reason() {
    let mut s = captured();
    let fresh = held();
    let (a, b, fee) = (s.a, s.b, s.fee);
    let cases = [
        (vec![(a, 0)], None, Rejection::AmountZero),
        (vec![(a, AMOUNT_MAX + 1)], None, Rejection::AmountTooLarge),
        (
            vec![(a, AMOUNT_MAX + 1), (b, 0)],
            None,
            Rejection::AmountZero,
        ),
        (vec![(a, AMOUNT_MAX + 1)], Some(0), Rejection::AmountZero),
        (vec![(a, 1), (a, 1)], None, Rejection::DuplicateAccount),
        (vec![(a, 1)], Some(1), Rejection::SplitMismatch),
        (vec![(fee, 1)], None, Rejection::PayeeNotFound),
        (vec![(s.buyer, 1)], None, Rejection::PayeeNotFound),
        (vec![(AccountId(9_999), 1)], None, Rejection::PayeeNotFound),
    ];
    for (list, amount, expected) in cases {
        let refund = Refund {
            amount,
            ..s.refund_of(&list, false)
        };
        assert_eq!(
            s.submit(Actor::SYSTEM, Body::Refund(refund)),
            Some(expected),
            "{list:?}"
        );
        let capture = Capture {
            amount,
            ..s.capture_of(&list)
        };
        assert_eq!(
            s.submit(Actor::SYSTEM, Body::Capture(capture)),
            Some(expected),
            "{list:?}"
        );
    }
    // What was captured is not open; of a hold, a part is too much before the whole is.
    assert_eq!(s.capture(&[(a, 1)]), Some(Rejection::PaymentNotOpen));
    let mut s = fresh;
    assert_eq!(
        s.refund(&[(a, 1)], false),
        Some(Rejection::PaymentNotRefundable)
    );
    assert_eq!(s.capture(&[(a, 55)]), Some(Rejection::CaptureExceedsPart));
    assert_eq!(
        s.capture(&[(a, 55), (b, 36)]),
        Some(Rejection::CaptureExceedsHold)
    );
    assert_eq!(
        s.capture(&[(a, AMOUNT_MAX)]),
        Some(Rejection::CaptureExceedsHold)
    );
    assert_eq!(s.capture(&[(a, 54)]), None);
    assert_eq!(s.refund(&[(a, 54)], true), None);
    assert_eq!(
        s.refund(&[(a, 1)], true),
        Some(Rejection::PaymentAlreadyRefunded)
    );
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Capture(u64, u64),
    CaptureAmount(u64),
    Refund(u64, u64, bool),
    RefundAmount(u64, bool),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let part = 0..400_u64;
    let step = prop_oneof![
        (part.clone(), part.clone()).prop_map(|(a, b)| Step::Capture(a, b)),
        part.clone().prop_map(Step::CaptureAmount),
        (part.clone(), part.clone(), any::<bool>()).prop_map(|(a, b, fee)| Step::Refund(a, b, fee)),
        (part, any::<bool>()).prop_map(|(amount, fee)| Step::RefundAmount(amount, fee)),
    ];
    prop::collection::vec(step, 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever was done before, the rest can be captured and given back, and the fee is exact when the payees are.
    #[test]
    fn in_any_order_of_steps_every_part_ends_exact(
        amount in 3..2_000_u64,
        points in 0..=10_000_u16,
        fee_points in 0..9_000_u16,
        flat in 0..2_u64,
        steps in steps(),
    ) {
        check_steps(amount, points, fee_points, flat, &steps);
    }
}

fn check_steps(amount: u64, points: u16, fee_points: u16, flat: u64, steps: &[Step]) {
    let mut s = held();
    let (a, b, fee) = (s.a, s.b, s.fee);
    let list = [
        (a, Part::BasisPoints(points)),
        (b, Part::BasisPoints(10_000 - points)),
    ];
    let list: Vec<_> = list
        .into_iter()
        .filter(|(_, part)| *part != Part::BasisPoints(0))
        .collect();
    for account in [s.buyer, a, b] {
        s.world.pay(Pay {
            kind: PaymentKind::TopUp,
            ..plain_pay(AccountId(1), account, 10_000)
        });
    }
    let pay = Pay {
        destination: split(&list),
        fees: fees(&[(fee, flat, fee_points + 1)]),
        hold: Some(Hold {
            expires_at: u64::MAX,
        }),
        ..plain_pay(s.buyer, a, amount)
    };
    let outcome = s.world.submit(Actor::SYSTEM, Body::Pay(pay));
    if !outcome.is_accepted() {
        return;
    }
    s.payment = outcome.payment.unwrap().id;
    let of = |a_part: u64, b_part: u64| -> Vec<(AccountId, u64)> {
        let parts = [(a, a_part), (b, b_part)].into_iter();
        parts.filter(|(_, amount)| *amount > 0).collect()
    };
    for step in steps {
        let before = s.world.payment(s.payment).clone();
        let refused = match *step {
            Step::Capture(x, y) => s.capture(&of(x, y)),
            Step::CaptureAmount(x) => s.world.capture(s.payment, Some(x)).rejection,
            Step::Refund(x, y, fee) => s.refund(&of(x, y), fee),
            Step::RefundAmount(x, refund_fee) => {
                let body = Body::Refund(Refund {
                    amount: Some(x),
                    ..s.refund_of(&[], refund_fee)
                });
                s.submit(Actor::SYSTEM, body)
            }
        };
        let after = s.world.payment(s.payment).clone();
        if refused.is_some() {
            assert_eq!(before, after, "{step:?}");
            continue;
        }
        for (share, earlier) in after.shares.iter().zip(&before.shares) {
            let asked = match *step {
                Step::Capture(x, y) | Step::Refund(x, y, _) if !of(x, y).is_empty() => {
                    Some(if share.account == a { x } else { y })
                }
                _ => None,
            };
            let given = share.captured - earlier.captured + share.refunded - earlier.refunded;
            let exact = share.is_fee || asked.is_none_or(|asked| asked == given);
            assert!(exact, "{step:?}: {given} of {asked:?}");
        }
    }
    finish(&mut s);
}

/// Captures and refunds what is left, each payee by itself.
fn finish(s: &mut Scene) {
    let left = |s: &Scene, of: fn(&PaymentShare) -> u64| -> Vec<(AccountId, u64)> {
        let shares = s.world.payment(s.payment).shares.clone();
        let payees = shares.into_iter().filter(|share| !share.is_fee);
        let parts = payees.map(|share| (share.account, of(&share)));
        parts.filter(|(_, amount)| *amount > 0).collect()
    };
    for part in left(s, |share| share.amount - share.captured) {
        assert_eq!(s.capture(&[part]), None);
    }
    if s.world.payment(s.payment).held > 0 {
        // Nothing but a fee was ever to be captured.
        assert_eq!(s.world.capture(s.payment, None).rejection, None);
    }
    let payment = s.world.payment(s.payment).clone();
    assert!(
        payment
            .shares
            .iter()
            .all(|share| share.captured == share.amount)
    );
    let clean = payment.refunded == 0;
    if clean {
        for part in left(s, |share| share.captured) {
            assert_eq!(s.refund(&[part], true), None);
        }
    }
    if s.world.payment(s.payment).refundable() > 0 {
        assert_eq!(s.world.refund(s.payment, None).rejection, None);
    }
    let payment = s.world.payment(s.payment).clone();
    assert_eq!(payment.status, PaymentStatus::Refunded);
    if clean
        && payment
            .shares
            .iter()
            .any(|share| !share.is_fee && share.amount > 0)
    {
        let exact = payment
            .shares
            .iter()
            .all(|share| share.refunded == share.captured);
        assert!(exact, "{payment:?}");
    }
    s.world.check();
}

#[test]
fn a_refund_for_which_a_payee_lacks_funds_names_that_payee_also_in_a_group() {
    let mut s = captured();
    let refund = |splits| {
        Body::Refund(Refund {
            payment: s.payment,
            amount: None,
            refund_fee: false,
            splits,
        })
    };
    let (all, of_a) = (refund(amounts(&[])), refund(amounts(&[(s.a, 1)])));
    let spend = |world: &World, from: AccountId, left: u64| {
        let amount = world.posted(from).unsigned_abs() - left;
        Body::Pay(plain_pay(from, s.buyer, amount))
    };
    // In a group, `b` has the money only before the group.
    let group = [spend(&s.world, s.b, 39), all.clone()];
    let linked = |(at, body): (usize, &Body)| Command {
        linked: at == 0,
        ..command(Actor::SYSTEM, body.clone())
    };
    let commands: Vec<Command> = group.iter().enumerate().map(linked).collect();
    let outcomes = s.world.run_group(&commands);
    assert_eq!(outcomes[1].rejection, Some(Rejection::InsufficientFunds));
    let short: Vec<_> = outcomes.iter().map(|one| one.short_of_funds).collect();
    assert_eq!(short, [None, Some(s.b)]);

    let spent = spend(&s.world, s.b, 39);
    s.world.must(spent);
    let refused = s.world.submit(Actor::SYSTEM, all.clone());
    assert_eq!(refused.rejection, Some(Rejection::InsufficientFunds));
    assert_eq!(refused.short_of_funds, Some(s.b));
    // Where several lack funds, the first payee.
    let spent = spend(&s.world, s.a, 0);
    s.world.must(spent);
    let refused = s.world.submit(Actor::SYSTEM, all);
    assert_eq!(refused.short_of_funds, Some(s.a));
    let refused = s.world.submit(Actor::SYSTEM, of_a);
    assert_eq!(refused.short_of_funds, Some(s.a));
    // Other refusals name no account.
    let zero = s.world.refund(s.payment, Some(0));
    assert_eq!(zero.rejection, Some(Rejection::AmountZero));
    assert_eq!(zero.short_of_funds, None);
    s.world.check();
    s.world.check_mirror();
}
