//! Captures and refunds by amount: many small steps divide as one large step does, whatever the steps are.

use crate::world::{World, fees, plain_pay, split};
use proptest::prelude::*;
use tributary_ledger::*;

/// A payment from a buyer to some payees and fees, all with more money than they need.
pub(crate) struct Scene {
    pub(crate) world: World,
    pub(crate) payment: PaymentId,
}

/// Money that each account has beside the payment.
const FUNDS: u64 = AMOUNT_MAX / 64;

impl Scene {
    /// Holds the sum of the parts of some payees and of the flat fees.
    pub(crate) fn held(parts: &[u64], flat: &[u64]) -> Self {
        let mut world = World::new();
        let buyer = world.funded("buyer", AMOUNT_MAX / 2);
        let mut accounts = (0..).map(|at| format!("account-{at}"));
        let mut open = |world: &mut World| world.funded(&accounts.next().unwrap(), FUNDS);
        let payees: Vec<(AccountId, Part)> = parts
            .iter()
            .map(|part| (open(&mut world), Part::Amount(*part)))
            .collect();
        let flat: Vec<(AccountId, u64, u16)> =
            flat.iter().map(|fee| (open(&mut world), *fee, 0)).collect();
        let amount = parts.iter().sum::<u64>() + flat.iter().map(|fee| fee.1).sum::<u64>();
        let payment = world.pay(Pay {
            destination: split(&payees),
            fees: fees(&flat),
            hold: Some(Hold {
                expires_at: u64::MAX,
            }),
            ..plain_pay(buyer, payees[0].0, amount)
        });
        Scene { world, payment }
    }

    pub(crate) fn captured(parts: &[u64], flat: &[u64]) -> Self {
        let mut scene = Scene::held(parts, flat);
        assert_eq!(scene.world.capture(scene.payment, None).rejection, None);
        scene
    }

    pub(crate) fn now(&self) -> Payment {
        self.world.payment(self.payment).clone()
    }

    fn submit(&mut self, body: Body) -> Option<Rejection> {
        self.world.submit(Actor::SYSTEM, body).rejection
    }

    /// Takes the amounts in turn for the payees; 0 names no payee.
    fn splits(&self, amounts: &[u64]) -> PayeeAmounts {
        let payment = self.now();
        let each = payment.payees().iter().zip(amounts);
        let each = each.map(|(share, amount)| PayeeAmount {
            account: share.account,
            amount: *amount,
        });
        PayeeAmounts::new(each.filter(|part| part.amount > 0).collect()).unwrap()
    }

    pub(crate) fn capture_parts(&mut self, amounts: &[u64]) -> Option<Rejection> {
        self.submit(Body::Capture(Capture {
            payment: self.payment,
            amount: None,
            is_final: false,
            splits: self.splits(amounts),
        }))
    }

    pub(crate) fn refund_parts(&mut self, amounts: &[u64], refund_fee: bool) -> Option<Rejection> {
        self.submit(Body::Refund(Refund {
            payment: self.payment,
            amount: None,
            refund_fee,
            splits: self.splits(amounts),
        }))
    }

    pub(crate) fn refund(&mut self, amount: Option<u64>, refund_fee: bool) -> Option<Rejection> {
        self.submit(Body::Refund(Refund {
            payment: self.payment,
            amount,
            refund_fee,
            splits: PayeeAmounts::default(),
        }))
    }

    pub(crate) fn shares_of<T>(&self, of: impl Fn(&PaymentShare) -> T) -> Vec<T> {
        self.now().shares.iter().map(of).collect()
    }

    pub(crate) fn check(&self) {
        self.world.check();
        self.world.check_mirror();
    }
}

/// What each share captured.
fn captured(share: &PaymentShare) -> u64 {
    share.captured
}

/// What each share gave back with the fees.
fn with_fee(share: &PaymentShare) -> u64 {
    match share.is_fee {
        true => share.refunded,
        false => share.refunded_with_fee,
    }
}

/// What each payee gave back alone.
fn alone(share: &PaymentShare) -> u64 {
    match share.is_fee {
        true => 0,
        false => share.refunded - share.refunded_with_fee,
    }
}

/// Checks that each share has less than `units` more or less than its exact share of all that is divided, by weight.
#[track_caller]
fn check_within(units: u64, weights: &[u64], has: &[u64]) {
    let sum = |of: &[u64]| of.iter().map(|one| i128::from(*one)).sum::<i128>();
    let (whole, total) = (sum(weights), sum(has));
    for (weight, one) in weights.iter().zip(has) {
        let off = i128::from(*one) * whole - total * i128::from(*weight);
        assert!(
            off.abs() < i128::from(units) * whole || off == 0,
            "{one} of {total} for the weight {weight}: {has:?} by {weights:?}"
        );
    }
}

#[test]
fn a_seller_that_captures_unit_by_unit_leaves_the_fee_its_part() {
    for (parts, fee) in [(vec![90], 10), (vec![54, 36], 10), (vec![997], 3)] {
        let mut s = Scene::held(&parts, &[fee]);
        let weights = s.shares_of(|share| share.amount);
        for _ in 1..s.now().amount {
            assert_eq!(s.world.capture(s.payment, Some(1)).rejection, None);
            check_within(1, &weights, &s.shares_of(captured));
        }
        s.check();
    }
    // 80 of 100 are captured and the rest is given up: the fee is 8.
    let mut s = Scene::held(&[90], &[10]);
    for _ in 0..80 {
        assert_eq!(s.world.capture(s.payment, Some(1)).rejection, None);
    }
    assert_eq!(s.submit(Body::Void(s.payment)), None);
    assert_eq!(s.shares_of(captured), [72, 8]);
    s.check();
}

#[test]
fn the_fee_comes_back_with_many_refunds_of_one_unit() {
    let mut s = Scene::captured(&[54, 36], &[10]);
    for _ in 0..100 {
        assert_eq!(s.refund(Some(1), true), None);
        check_within(1, &[54, 36, 10], &s.shares_of(with_fee));
    }
    assert_eq!(s.shares_of(with_fee), [54, 36, 10]);
    s.check();
}

#[test]
fn refunds_of_one_unit_with_and_without_the_fee_follow_two_lines() {
    let mut s = Scene::captured(&[54, 36], &[10]);
    for at in 0..100 {
        assert_eq!(s.refund(Some(1), at % 2 == 0), None);
        check_within(1, &[54, 36, 10], &s.shares_of(with_fee));
        check_within(1, &[54, 36, 0], &s.shares_of(alone));
    }
    assert_eq!(s.shares_of(with_fee), [27, 18, 5]);
    assert_eq!(s.shares_of(alone), [30, 20, 0]);
    s.check();
}

#[test]
fn after_amounts_per_payee_small_captures_use_what_these_left() {
    let mut s = Scene::held(&[54, 36], &[10]);
    assert_eq!(s.capture_parts(&[27, 0]), None);
    assert_eq!(s.shares_of(captured), [27, 0, 3]);
    for _ in 0..35 {
        assert_eq!(s.world.capture(s.payment, Some(1)).rejection, None);
    }
    // 65 in all: of the fee 6.5, of the other 58.5 what 27 and 36 are to each other: 13.5 and 18.
    let has = s.shares_of(captured);
    assert!(
        [40, 41].contains(&has[0]) && [18, 19].contains(&has[1]),
        "{has:?}"
    );
    assert!([6, 7].contains(&has[2]), "{has:?}");
    assert_eq!(s.world.capture(s.payment, None).rejection, None);
    assert_eq!(s.shares_of(captured), [54, 36, 10]);
    s.check();
}

/// A payee captures its own, unit by unit, between captures by amount: the fee follows all of it.
#[test]
fn the_fee_follows_captures_by_amount_and_by_payee_in_turn() {
    let mut s = Scene::held(&[54, 36], &[10]);
    for at in 0..60 {
        let refused = match at % 2 {
            0 => s.capture_parts(&[1, 0]),
            _ => s.world.capture(s.payment, Some(1)).rejection,
        };
        assert_eq!(refused, None);
        let has = s.shares_of(captured);
        let exact = has.iter().sum::<u64>() / 10;
        assert!(has[2].abs_diff(exact) <= 1, "{has:?}");
    }
    s.check();
}

#[derive(Clone, Debug)]
enum Step {
    Capture(u64),
    CaptureParts(Vec<u64>),
    Refund(u64, bool),
    RefundParts(Vec<u64>, bool),
}

/// Single units, small amounts, and large ones.
fn amount() -> impl Strategy<Value = u64> {
    prop_oneof![4 => Just(1), 3 => 1..20_u64, 1 => 1..AMOUNT_MAX / 256]
}

/// Parts of 1 to 16 payees and fees, of which one at least is a payee.
fn parts_and_fees() -> impl Strategy<Value = (Vec<u64>, Vec<u64>)> {
    let part = prop_oneof![1..300_u64, 1..AMOUNT_MAX / 256];
    (prop::collection::vec(part, 1..=16), 0..8_usize).prop_map(|(mut parts, fees)| {
        let payees = parts.len() - fees.min(parts.len() - 1);
        let fees = parts.split_off(payees);
        (parts, fees)
    })
}

fn small_parts_and_fees() -> impl Strategy<Value = (Vec<u64>, Vec<u64>)> {
    let parts = prop::collection::vec(1..300_u64, 1..=6);
    (parts, prop::collection::vec(1..300_u64, 0..=10))
}

fn steps(captures: bool, splits: bool) -> impl Strategy<Value = Vec<Step>> {
    let each = || prop::collection::vec(prop_oneof![3 => Just(0), 2 => Just(1), 1 => 0..80_u64], 6);
    let step = prop_oneof![
        6 => (amount(), any::<bool>()).prop_map(|(amount, fee)| Step::Refund(amount, fee)),
        if captures { 6 } else { 0 } => amount().prop_map(Step::Capture),
        if captures && splits { 2 } else { 0 } => each().prop_map(Step::CaptureParts),
        if splits { 2 } else { 0 } =>
            (each(), any::<bool>()).prop_map(|(each, fee)| Step::RefundParts(each, fee)),
    ];
    prop::collection::vec(step, 1..120)
}

/// Runs a step, with its amounts cut to what can be done, and returns whether it was accepted.
fn run(s: &mut Scene, step: &Step) -> bool {
    let before = s.now();
    let cut = |amounts: &[u64], room: Vec<u64>| -> Vec<u64> {
        let each = amounts.iter().zip(room);
        each.map(|(amount, room)| (*amount).min(room)).collect()
    };
    let refused = match step {
        Step::Capture(amount) => {
            let amount = (*amount).min(before.held);
            s.world.capture(s.payment, Some(amount)).rejection
        }
        Step::CaptureParts(amounts) => {
            let room = s.shares_of(|share| share.amount - share.captured);
            s.capture_parts(&cut(amounts, room))
        }
        Step::Refund(amount, refund_fee) => {
            s.refund(Some((*amount).min(before.refundable())), *refund_fee)
        }
        Step::RefundParts(amounts, refund_fee) => {
            let room = refund_limits(&before, *refund_fee);
            s.refund_parts(&cut(amounts, room), *refund_fee)
        }
    };
    let after = s.now();
    for (share, earlier) in after.shares.iter().zip(&before.shares) {
        assert!(share.captured >= earlier.captured && share.captured <= share.amount);
        assert!(share.refunded >= earlier.refunded, "{step:?}: {after:?}");
    }
    refused.is_none()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn captures_by_amount_keep_every_share_within_a_unit(
        (parts, flat) in parts_and_fees(),
        amounts in prop::collection::vec(amount(), 1..120),
    ) {
        let mut s = Scene::held(&parts, &flat);
        let weights = s.shares_of(|share| share.amount);
        for amount in amounts {
            run(&mut s, &Step::Capture(amount));
            check_within(1, &weights, &s.shares_of(captured));
        }
        run(&mut s, &Step::Capture(AMOUNT_MAX));
        assert_eq!(s.shares_of(captured), weights);
        s.check();
    }

    #[test]
    fn refunds_by_amount_keep_every_share_within_a_unit_of_its_line(
        (parts, flat) in parts_and_fees(),
        steps in steps(false, false),
    ) {
        let mut s = Scene::captured(&parts, &flat);
        let weights = s.shares_of(captured);
        let of_payees = s.shares_of(|share| if share.is_fee { 0 } else { share.captured });
        // What a payee gives alone for each unit that it has of the payment.
        let payment = s.now();
        let of_all_payees = of_payees.iter().sum::<u64>();
        let gross = payment.captured.div_ceil(of_all_payees);
        let smallest = of_payees.iter().filter(|part| **part > 0).min();
        let smallest = u128::from(*smallest.expect("there is a payee"));
        for step in steps.iter().chain([&Step::Refund(AMOUNT_MAX, true)]) {
            run(&mut s, step);
            // The two lines meet where the smallest part is nearly used up: a unit of one line, with its fee, is in the other.
            let is_used = |of: fn(&PaymentShare) -> u64| s.shares_of(of).iter().any(|one| *one > 0);
            let left = u128::from(s.now().refundable()) * smallest / u128::from(of_all_payees);
            let meet = is_used(alone) && is_used(with_fee) && left < 2 * (1 + u128::from(gross));
            let units = if meet { (1 + gross) * parts.len() as u64 } else { 1 };
            check_within(units, &weights, &s.shares_of(with_fee));
            check_within(units, &of_payees, &s.shares_of(alone));
        }
        if s.shares_of(alone).iter().all(|one| *one == 0) {
            assert_eq!(s.shares_of(with_fee), weights);
        }
        s.check();
    }

    #[test]
    fn after_amounts_per_payee_the_payees_divide_what_these_left(
        (parts, flat) in small_parts_and_fees(),
        steps in steps(true, true),
    ) {
        check_mix(&parts, &flat, &steps);
    }
}

/// Weights of the payees and what they had when these weights began.
struct Line {
    weights: Vec<u64>,
    before: Vec<u64>,
}

impl Line {
    fn check(&self, has: &[u64]) {
        let since = has
            .iter()
            .zip(&self.before)
            .map(|(has, before)| has - before);
        check_within(1, &self.weights, &since.collect::<Vec<_>>());
    }
}

fn check_mix(parts: &[u64], flat: &[u64], steps: &[Step]) {
    let mut s = Scene::held(parts, flat);
    let payees = |all: Vec<u64>| all[..parts.len()].to_vec();
    let mut line = Line {
        weights: parts.to_vec(),
        before: vec![0; parts.len()],
    };
    // Before amounts per payee, fees and payees divide together, which is tested above.
    let mut split = false;
    for step in steps {
        let before = s.now();
        let done = run(&mut s, step);
        if done && matches!(step, Step::CaptureParts(_)) {
            split = true;
            line = Line {
                weights: payees(s.shares_of(|share| share.amount - share.captured)),
                before: payees(s.shares_of(captured)),
            };
        }
        if split {
            line.check(&payees(s.shares_of(captured)));
        }
        let after = s.now();
        assert!(off_in_captures(&after) <= 1, "{step:?}: {after:#?}");
        // A capture changes what is due back; refunds make up for it.
        if matches!(step, Step::Refund(_, true) | Step::RefundParts(_, true)) {
            let allowed = off_in_refunds(&before).max(1);
            assert!(off_in_refunds(&after) <= allowed, "{step:?}: {after:#?}");
        }
    }
    s.check();
    run(&mut s, &Step::Capture(AMOUNT_MAX));
    assert!(s.now().held == 0 && s.now().captured == s.now().amount);
    assert_eq!(s.shares_of(captured), s.shares_of(|share| share.amount));
    run(&mut s, &Step::Refund(AMOUNT_MAX, true));
    assert_eq!(s.now().refundable(), 0);
    s.check();
}

/// Returns by how many whole units a fee is below its part or above it. Its part lies between what it is by the whole and by what the
/// payees have: amounts per payee are exact, so the two differ for a while.
fn off(fee: u64, has: u64, lines: [(u64, u64); 2]) -> i128 {
    let [one, other] = lines.map(|(done, of)| {
        let exact = i128::from(fee) * i128::from(done);
        exact.checked_div(i128::from(of)).unwrap_or(0)
    });
    let has = i128::from(has);
    let below = one.min(other) - has;
    let above = has - (one.max(other) + 1);
    below.max(above).max(0)
}

/// Returns by how many whole units a fee at most has captured too little or too much.
fn off_in_captures(payment: &Payment) -> i128 {
    let payees = |of: fn(&PaymentShare) -> u64| payment.payees().iter().map(of).sum::<u64>();
    let by_whole = (payment.captured, payment.amount);
    let by_payees = (payees(captured), payees(|share| share.amount));
    let fees = payment.shares.iter().filter(|share| share.is_fee);
    let off = fees.map(|fee| off(fee.amount, fee.captured, [by_whole, by_payees]));
    off.max().unwrap_or(0)
}

/// Returns by how many whole units a fee at most has given back too little or too much.
fn off_in_refunds(payment: &Payment) -> i128 {
    let payees = |of: fn(&PaymentShare) -> u64| payment.payees().iter().map(of).sum::<u64>();
    let all = |of: fn(&PaymentShare) -> u64| payment.shares.iter().map(of).sum::<u64>();
    let by_whole = (all(with_fee), payment.captured);
    let by_payees = (payees(with_fee), payees(captured));
    let fees = payment.shares.iter().filter(|share| share.is_fee);
    let off = fees.map(|fee| off(fee.captured, fee.refunded, [by_whole, by_payees]));
    off.max().unwrap_or(0)
}
