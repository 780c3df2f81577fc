//! How an amount is divided, by the documents: round down, then one unit each to the largest fractions.

/// Divides `total` by `weights`. All weights zero: the first takes the whole.
pub fn divide(total: i128, weights: &[i128]) -> Vec<i128> {
    let sum: i128 = weights.iter().sum();
    if sum == 0 {
        let mut parts = vec![0; weights.len()];
        parts[0] = total;
        return parts;
    }
    let mut parts: Vec<i128> = weights.iter().map(|weight| total * weight / sum).collect();
    let left = total - parts.iter().sum::<i128>();
    // The fraction of part i is (total · weight mod sum) / sum. A stable sort keeps the given order among equals.
    let mut order: Vec<usize> = (0..weights.len()).collect();
    order.sort_by_key(|&at| -(total * weights[at] % sum));
    for &at in order
        .iter()
        .take(usize::try_from(left).expect("not negative"))
    {
        parts[at] += 1;
    }
    assert_eq!(parts.iter().sum::<i128>(), total, "nothing is lost");
    parts
}
