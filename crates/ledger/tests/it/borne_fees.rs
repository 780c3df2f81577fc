//! Refunds after a payee gave money back alone, and so bore the fee of it: that fee is nobody else's to have back.

use crate::divisions::Scene;
use proptest::prelude::*;
use tributary_ledger::*;

/// What each share gave back.
fn refunded(s: &Scene) -> Vec<u64> {
    s.shares_of(|share| share.refunded)
}

#[test]
fn a_fee_that_one_seller_bore_is_not_given_back_to_another() {
    let mut s = Scene::captured(&[54, 36], &[10]);
    assert_eq!(s.refund_parts(&[60, 0], false), None);
    assert_eq!(s.refund(Some(20), true), None);
    assert_eq!(refunded(&s), [60, 18, 2]);
    assert_eq!(s.refund(Some(20), true), None);
    assert_eq!(refunded(&s), [60, 36, 4], "of the fee, 6 were the first's");
}

#[test]
fn refunds_with_and_without_the_fee_may_come_in_any_order() {
    for (first, second) in [(true, false), (false, true)] {
        let amount = |with_fee: bool| Some(if with_fee { 40 } else { 60 });
        let mut s = Scene::captured(&[54, 36], &[10]);
        assert_eq!(s.refund(amount(first), first), None);
        assert_eq!(s.refund(amount(second), second), None);
        let refunded = refunded(&s);
        assert_eq!(refunded[2], 4, "{first}: the fee of 40, {refunded:?}");
        assert!(refunded[0].abs_diff(58) <= 1, "{first}: {refunded:?}");
    }
}

#[test]
fn a_seller_that_bore_a_part_of_its_fee_gets_the_fee_of_the_rest() {
    let mut s = Scene::captured(&[54, 36], &[10]);
    assert_eq!(s.refund_parts(&[20, 0], false), None);
    let too_much = Some(Rejection::RefundExceedsPart);
    assert_eq!(s.refund_parts(&[37, 0], true), too_much);
    assert_eq!(s.refund_parts(&[36, 0], true), None);
    assert_eq!(refunded(&s), [56, 0, 4], "60 in all: 20 alone, 40 with 4");
    assert_eq!(s.refund_parts(&[1, 0], true), too_much);
    assert_eq!(s.refund_parts(&[1, 0], false), too_much);
    assert_eq!(s.refund_parts(&[0, 36], true), None);
    assert_eq!(refunded(&s), [56, 36, 8]);
    assert_eq!(
        s.refund(None, true),
        Some(Rejection::PaymentAlreadyRefunded)
    );
}

#[test]
fn fees_that_take_nearly_everything_stay_as_far_as_they_were_borne() {
    // The seller gives half alone, although only 1 of 100 was ever its own.
    let mut s = Scene::captured(&[1], &[33, 33, 33]);
    assert_eq!(s.refund(Some(50), false), None);
    assert_eq!(s.refund(None, true), None);
    let refunded = refunded(&s);
    let of_fees = refunded[1..].iter().sum::<u64>();
    assert_eq!((refunded[0], of_fees), (51, 49), "{refunded:?}");
}

#[derive(Clone, Debug)]
enum Step {
    Capture(u64),
    CaptureParts(Vec<u64>),
    Refund(u64, bool),
    RefundParts(Vec<u64>, bool),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let parts = || prop::collection::vec(prop_oneof![Just(0), 0..800_u64], 3);
    let step = prop_oneof![
        (1..800_u64).prop_map(Step::Capture),
        parts().prop_map(Step::CaptureParts),
        (1..800_u64, any::<bool>()).prop_map(|(amount, fee)| Step::Refund(amount, fee)),
        (parts(), any::<bool>()).prop_map(|(amounts, fee)| Step::RefundParts(amounts, fee)),
    ];
    prop::collection::vec(step, 1..12)
}

/// A fraction that is never rounded.
#[derive(Clone, Copy, Debug)]
struct Fraction {
    above: i128,
    below: i128,
}

impl Fraction {
    /// Returns `value · above / below`; nothing of nothing.
    fn of(value: u64, above: u64, below: u64) -> Self {
        Fraction {
            above: i128::from(value) * i128::from(above),
            below: i128::from(below.max(1)),
        }
    }

    fn minus(self, other: Self) -> Self {
        Fraction {
            above: self.above * other.below - other.above * self.below,
            below: self.below * other.below,
        }
    }

    fn is_at_most(self, units: u64) -> bool {
        self.above <= i128::from(units) * self.below
    }
}

/// What must hold of every payment, but for one unit of each division that was rounded (and, of a payee, for the fee of this unit):
///
/// - No fee gives back more than its part of the money that was not refunded without it.
/// - No payee has more fee back than was taken of its part, less what it bore itself.
/// - No payee gives more than its part and the fee that was taken of it.
fn check_fees(shares: &[PaymentShare], divisions: u64) {
    let sum = |of: &dyn Fn(&PaymentShare) -> u64| shares.iter().map(of).sum::<u64>();
    let alone = |share: &PaymentShare| match share.is_fee {
        true => 0,
        false => share.refunded - share.refunded_with_fee,
    };
    let captured = sum(&|share| share.captured);
    let fee = sum(&|share| if share.is_fee { share.captured } else { 0 });
    let fee_back = sum(&|share| if share.is_fee { share.refunded } else { 0 });
    let with_fee = sum(&|share| share.refunded_with_fee);
    let of_payee = divisions * captured.div_ceil((captured - fee).max(1));
    let not_alone = captured - sum(&alone);
    for share in shares {
        let has = |units: u64| Fraction::of(units, 1, 1);
        if share.is_fee {
            let due = Fraction::of(share.captured, not_alone, captured);
            let over = has(share.refunded).minus(due);
            assert!(over.is_at_most(divisions), "{over:?}: {shares:#?}");
            continue;
        }
        let back = Fraction::of(fee_back, share.refunded_with_fee, with_fee);
        let taken = Fraction::of(fee, share.captured, captured - fee);
        let borne = Fraction::of(fee, alone(share), captured);
        let over = back.minus(taken.minus(borne));
        assert!(over.is_at_most(of_payee), "{over:?}: {shares:#?}");
        let gross = Fraction::of(captured, share.captured, captured - fee);
        let given = has(share.refunded).minus(gross.minus(back));
        assert!(given.is_at_most(of_payee), "{given:?}: {shares:#?}");
    }
}

fn check_steps(parts: &[u64], flat: &[u64], steps: &[Step]) {
    let mut s = Scene::held(parts, flat);
    // Each share of each step is rounded once.
    let mut divisions = 1;
    for step in steps {
        let refused = match step {
            Step::Capture(amount) => s.world.capture(s.payment, Some(*amount)).rejection,
            Step::CaptureParts(amounts) => s.capture_parts(amounts),
            Step::Refund(amount, refund_fee) => s.refund(Some(*amount), *refund_fee),
            Step::RefundParts(amounts, refund_fee) => s.refund_parts(amounts, *refund_fee),
        };
        divisions += u64::from(refused.is_none());
        check_fees(&s.now().shares, divisions);
    }
    s.check();
    let payment = s.now();
    if payment.refundable() == 0 {
        return;
    }
    assert_eq!(s.refund(None, true), None);
    s.world.check();
    let shares = s.now().shares;
    check_fees(&shares, divisions + 1);
    // Everything came back: of the fees, neither more nor less than the part of what payees did not give alone.
    let of_payees = shares.iter().filter(|share| !share.is_fee);
    let alone: u64 = of_payees
        .map(|share| share.refunded - share.refunded_with_fee)
        .sum();
    for share in shares.iter().filter(|share| share.is_fee) {
        let due = Fraction::of(share.captured, payment.captured - alone, payment.captured);
        let missing = due.minus(Fraction::of(share.refunded, 1, 1));
        assert!(
            missing.is_at_most(divisions + 1),
            "{missing:?}: {shares:#?}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_came_before_fees_return_in_proportion_to_what_was_refunded_with_them(
        parts in prop::collection::vec(50..700_u64, 1..4),
        flat in prop::collection::vec(1..200_u64, 1..3),
        steps in steps(),
    ) {
        check_steps(&parts, &flat, &steps);
    }
}
