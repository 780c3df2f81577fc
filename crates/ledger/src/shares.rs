//! Divides amounts exactly: the parts always sum to the whole.

/// Basis points in a whole.
pub const BASIS_POINTS: u64 = 10_000;

/// Returns `floor(amount · basis_points / 10,000)`.
pub fn apply_basis_points(amount: u64, basis_points: u16) -> u64 {
    let part = u128::from(amount) * u128::from(basis_points) / u128::from(BASIS_POINTS);
    u64::try_from(part).expect("at most seven times an amount of at most 2^53")
}

/// Divides `total` in proportion to `weights`, exactly: each part is rounded down, and the units left over go one each
/// to the parts that lost the largest fraction, in the given order among equals. If all weights are zero, the first
/// part takes the whole. A part is never more than its weight if `total` is not more than their sum.
///
/// Panics if there are no weights, or more than 64.
pub fn prorate(total: u64, weights: &[u64], parts: &mut [u64]) {
    assert!(
        !weights.is_empty() && weights.len() <= 64 && weights.len() == parts.len(),
        "one part per weight, 1 to 64"
    );
    let sum: u128 = weights.iter().map(|weight| u128::from(*weight)).sum();
    if sum == 0 {
        parts.fill(0);
        parts[0] = total;
        return;
    }
    let mut left = total;
    let mut lost = [0_u128; 64];
    for (at, weight) in weights.iter().enumerate() {
        let product = u128::from(total) * u128::from(*weight);
        parts[at] = u64::try_from(product / sum).expect("a part is not more than the total");
        lost[at] = product % sum;
        left -= parts[at];
    }
    while left > 0 {
        let mut largest = 0;
        for at in 1..weights.len() {
            if lost[at] > lost[largest] {
                largest = at;
            }
        }
        assert!(
            lost[largest] > 0,
            "fewer units are left over than parts lost a fraction"
        );
        parts[largest] += 1;
        lost[largest] = 0;
        left -= 1;
    }
    assert_eq!(
        parts.iter().sum::<u64>(),
        total,
        "parts add up to the whole"
    );
}
