//! Dividing exactly.

use proptest::prelude::*;
use tributary_ledger::AMOUNT_MAX;
use tributary_ledger::shares::{Division, apply_basis_points, prorate, prorate_step};

fn check(total: u64, weights: &[u64], expected: &[u64]) {
    let mut parts = vec![0; weights.len()];
    prorate(total, weights, &mut parts);
    assert_eq!(parts, expected, "{total} over {weights:?}");
}

#[test]
fn left_over_units_go_to_the_largest_fractions_and_first_among_equals() {
    check(100, &[1, 1, 1], &[34, 33, 33]);
    check(101, &[1, 1, 1], &[34, 34, 33]);
    check(10, &[1, 2, 3], &[2, 3, 5]);
    check(1, &[1, 9], &[0, 1]);
    check(7, &[0, 0], &[7, 0]);
    check(0, &[3, 4], &[0, 0]);
    check(5, &[0, 5, 0], &[0, 5, 0]);
    check(
        AMOUNT_MAX,
        &[AMOUNT_MAX, AMOUNT_MAX],
        &[AMOUNT_MAX / 2 + 1, AMOUNT_MAX / 2],
    );
}

#[test]
fn basis_points_round_down() {
    assert_eq!(apply_basis_points(9_999, 1), 0);
    assert_eq!(apply_basis_points(10_000, 1), 1);
    assert_eq!(apply_basis_points(AMOUNT_MAX, 10_000), AMOUNT_MAX);
}

fn amount() -> impl Strategy<Value = u64> {
    prop_oneof![
        0..=20_u64,
        0..=AMOUNT_MAX,
        Just(AMOUNT_MAX),
        Just(AMOUNT_MAX - 1)
    ]
}

/// Divides the steps one after the other, and returns what each share has after each.
fn divide_steps(weights: &[u64], steps: &[u64]) -> Vec<Vec<u64>> {
    let mut has = vec![0; weights.len()];
    let mut after = Vec::new();
    for step in steps {
        let room: Vec<u64> = weights
            .iter()
            .zip(&has)
            .map(|(all, has)| all - has)
            .collect();
        let mut parts = vec![0; weights.len()];
        let division = Division {
            weights,
            earlier: &has,
            room: &room,
        };
        prorate_step(*step, division, &mut parts);
        assert_eq!(parts.iter().sum::<u64>(), *step);
        has.iter_mut()
            .zip(parts)
            .for_each(|(has, part)| *has += part);
        after.push(has.clone());
    }
    after
}

/// Checks that each share has less than a unit more or less than `total · weight ÷ weights`.
fn check_within_a_unit(weights: &[u64], has: &[u64]) {
    let sum = |of: &[u64]| of.iter().map(|one| i128::from(*one)).sum::<i128>();
    let (whole, total) = (sum(weights), sum(has));
    for (weight, has) in weights.iter().zip(has) {
        let off = i128::from(*has) * whole - total * i128::from(*weight);
        assert!(
            off.abs() < whole || off == 0,
            "{has} of {total} for {weight} in {weights:?}"
        );
    }
}

#[test]
fn steps_of_one_unit_give_each_share_its_part_on_the_way() {
    let after = divide_steps(&[54, 36, 10], &[1; 100]);
    after
        .iter()
        .for_each(|has| check_within_a_unit(&[54, 36, 10], has));
    assert_eq!(after[49], [27, 18, 5]);
    assert_eq!(after[99], [54, 36, 10]);
    // Three thirds come in turn.
    assert_eq!(divide_steps(&[5, 5, 5], &[1, 1, 1, 1])[3], [2, 1, 1]);
}

/// Every weight up to 6 of four shares, in steps of one unit and of mixed sizes.
#[test]
fn shares_stay_within_a_unit_for_all_small_weights() {
    for number in 1..7_u64.pow(4) {
        let weights: Vec<u64> = (0..4).map(|at| number / 7_u64.pow(at) % 7).collect();
        let whole: u64 = weights.iter().sum();
        for size in [1, 2, 3, 5] {
            let mut steps = vec![size; usize::try_from(whole / size).unwrap()];
            steps.push(whole % size);
            let after = divide_steps(&weights, &steps);
            after
                .iter()
                .for_each(|has| check_within_a_unit(&weights, has));
            assert_eq!(after.last(), Some(&weights));
        }
    }
}

/// After other steps than divisions, no share takes more than its room, and those that lack something come first.
#[test]
fn a_division_over_uneven_amounts_fills_up_what_lacks() {
    let check = |total, weights: &[u64], earlier: &[u64], room: &[u64], expected: &[u64]| {
        let mut parts = vec![0; weights.len()];
        let division = Division {
            weights,
            earlier,
            room,
        };
        prorate_step(total, division, &mut parts);
        assert_eq!(parts, expected, "{total} by {division:?}");
    };
    check(10, &[50, 50], &[20, 10], &[30, 40], &[0, 10]);
    check(4, &[50, 50], &[20, 10], &[30, 40], &[0, 4]);
    check(12, &[50, 50], &[20, 10], &[30, 40], &[1, 11]);
    check(40, &[40, 30, 30], &[0, 0, 0], &[40, 5, 5], &[30, 5, 5]);
    check(50, &[40, 30, 30], &[0, 0, 0], &[40, 5, 5], &[40, 5, 5]);
    check(51, &[40, 30, 30], &[0, 0, 0], &[40, 5, 5], &[41, 5, 5]);
    check(3, &[0, 0], &[0, 0], &[0, 7], &[0, 3]);
    check(3, &[0, 0], &[0, 0], &[0, 0], &[3, 0]);
}

proptest! {
    #[test]
    fn divided_steps_stay_within_a_unit_of_each_exact_share(
        weights in prop::collection::vec(prop_oneof![0..=20_u64, 0..=AMOUNT_MAX / 16], 1..=17),
        steps in prop::collection::vec(prop_oneof![Just(1), 1..9_u64, 0..=AMOUNT_MAX / 16], 0..80),
    ) {
        let mut left: u64 = weights.iter().sum();
        let mut cut = Vec::new();
        for step in steps {
            cut.push(step.min(left));
            left -= cut[cut.len() - 1];
        }
        cut.push(left);
        let after = divide_steps(&weights, &cut);
        after.iter().for_each(|has| check_within_a_unit(&weights, has));
        prop_assert_eq!(after.last(), Some(&weights));
    }

    #[test]
    fn parts_add_up_and_stay_within_a_unit_of_their_share(total in amount(), weights in prop::collection::vec(amount(), 1..=17)) {
        let mut parts = vec![0; weights.len()];
        prorate(total, &weights, &mut parts);
        prop_assert_eq!(parts.iter().sum::<u64>(), total);
        let sum: u128 = weights.iter().map(|weight| u128::from(*weight)).sum();
        for (part, weight) in parts.iter().zip(&weights) {
            if sum > 0 {
                let exact = u128::from(total) * u128::from(*weight);
                prop_assert!(u128::from(*part) * sum <= exact + sum && exact <= u128::from(*part) * sum + sum);
                prop_assert!(*weight > 0 || *part == 0);
            }
            prop_assert!(u128::from(total) > sum || part <= weight);
        }
    }
}
