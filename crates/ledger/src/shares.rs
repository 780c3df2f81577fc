//! Divides amounts exactly: the parts always sum to the whole.

use std::cmp::Reverse;

/// Basis points in a whole.
pub const BASIS_POINTS: u64 = 10_000;

/// Returns `floor(amount · basis_points / 10,000)`.
pub fn apply_basis_points(amount: u64, basis_points: u16) -> u64 {
    let part = u128::from(amount) * u128::from(basis_points) / u128::from(BASIS_POINTS);
    u64::try_from(part).expect("at most seven times an amount of at most 2^53")
}

/// Shares of a division that goes on: each step adds to what the steps before divided.
#[derive(Clone, Copy, Debug)]
pub struct Division<'a> {
    /// Weight of each share. A share is due `weight ÷ weights` of all that is divided, which is its *exact share*.
    pub weights: &'a [u64],
    /// Amount that each share has from earlier steps.
    pub earlier: &'a [u64],
    /// Most that each share can take in this step.
    pub room: &'a [u64],
}

/// Divides `total` among shares so that what each has after any number of steps follows its exact share.
///
/// Each share first takes what it lacks of its exact share, rounded down. The units left over go one each to shares that are
/// still below their exact share: to those whose next unit is due first, which is at the smallest total that makes their exact share
/// `amount + 1`; among equals to those that lack the largest fraction, then in the given order. This is the quota method of Balinski
/// and Young. As long as the weights stay the same and no room is too small, each share is always less than one unit from its exact
/// share, whatever the steps are.
///
/// If that cannot be, because the weights are new or a room is too small, shares that lack something come first, in proportion to
/// what they lack; what finds no place is divided in proportion to the rooms. The parts always sum to `total`. No part is more
/// than its room if the rooms sum to `total` or more.
///
/// Panics if there are no weights, or more than 64.
pub fn prorate_step(total: u64, division: Division<'_>, parts: &mut [u64]) {
    let Division {
        weights,
        earlier,
        room,
    } = division;
    assert!(
        weights.len() == earlier.len() && weights.len() == room.len(),
        "one weight, earlier amount and room per share"
    );
    let sum = |of: &[u64]| of.iter().map(|one| u128::from(*one)).sum::<u128>();
    let whole = sum(weights);
    // All that is left: each part is its room.
    if whole == 0 || sum(room) <= u128::from(total) {
        return prorate(total, room, parts);
    }
    let divided = sum(earlier) + u128::from(total);
    for (at, part) in parts.iter_mut().enumerate() {
        let due = divided * u128::from(weights[at]) / whole;
        let lacks = due.saturating_sub(u128::from(earlier[at]));
        *part = u64::try_from(lacks).map_or(room[at], |lacks| lacks.min(room[at]));
    }
    let lacking = sum(parts);
    if lacking > u128::from(total) {
        let mut lacks = [0; 64];
        lacks[..parts.len()].copy_from_slice(parts);
        return prorate(total, &lacks[..parts.len()], parts);
    }
    let mut left = total - u64::try_from(lacking).expect("not more than the total");
    while left > 0 {
        let has = |at: usize| u128::from(earlier[at]) + u128::from(parts[at]);
        let takes = |at: &usize| {
            parts[*at] < room[*at] && has(*at) * whole < divided * u128::from(weights[*at])
        };
        let urgency = |at: &usize| {
            let weight = u128::from(weights[*at]);
            let due_at = ((has(*at) + 1) * whole).div_ceil(weight);
            let lacks = divided * weight - has(*at) * whole;
            (due_at, Reverse(lacks))
        };
        // Of equals, the first is taken.
        let next = (0..parts.len()).filter(takes).min_by_key(urgency);
        let Some(next) = next else {
            break;
        };
        parts[next] += 1;
        left -= 1;
    }
    if left > 0 {
        fill_rooms(left, room, parts);
    }
    assert_eq!(
        parts.iter().sum::<u64>(),
        total,
        "parts add up to the whole"
    );
}

/// Adds `total` to the parts in proportion to what each has left of its room.
fn fill_rooms(total: u64, room: &[u64], parts: &mut [u64]) {
    let (mut rooms, mut more) = ([0; 64], [0; 64]);
    for (at, part) in parts.iter().enumerate() {
        rooms[at] = room[at] - part;
    }
    let shares = parts.len();
    prorate(total, &rooms[..shares], &mut more[..shares]);
    parts
        .iter_mut()
        .zip(more)
        .for_each(|(part, more)| *part += more);
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
