//! Dividing exactly.

use proptest::prelude::*;
use tributary_ledger::AMOUNT_MAX;
use tributary_ledger::shares::{apply_basis_points, prorate};

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

proptest! {
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
