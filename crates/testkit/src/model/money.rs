//! How an amount is divided, by the documents: round down, then one unit each to the largest fractions; and how a division goes on.

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

/// One part of a division that goes on.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Follower {
    /// Its fraction of the whole, in units of which the whole has as many as the weights sum to.
    pub(super) weight: i128,
    /// What it has of earlier steps.
    pub(super) has: i128,
    /// Most that it can take.
    pub(super) left: i128,
}

impl Follower {
    /// Returns the parts taken together.
    pub(super) fn sum(parts: &[Follower]) -> Follower {
        parts
            .iter()
            .fold(Follower::default(), |sum, part| Follower {
                weight: sum.weight + part.weight,
                has: sum.has + part.has,
                left: sum.left + part.left,
            })
    }
}

/// Divides `total` so that each part follows its fraction of all that was divided. First each takes the whole units that it lacks.
/// The rest goes to parts that still lack a fraction of a unit, by the total at which this unit will be theirs in full: one each.
pub(super) fn divide_further(total: i128, parts: &[Follower]) -> Vec<i128> {
    let all = Follower::sum(parts);
    let left: Vec<i128> = parts.iter().map(|part| part.left).collect();
    if all.weight == 0 || all.left <= total {
        return divide(total, &left);
    }
    let exact = |part: &Follower| (all.has + total) * part.weight;
    let whole_units = |part: &Follower| exact(part).div_euclid(all.weight) - part.has;
    let mut takes: Vec<i128> = parts
        .iter()
        .map(|part| whole_units(part).min(part.left).max(0))
        .collect();
    let rest = total - takes.iter().sum::<i128>();
    if rest < 0 {
        return divide(total, &takes);
    }
    // Fraction lacked, of which a unit is the sum of the weights.
    let lacks = |at: usize| exact(&parts[at]) - (parts[at].has + takes[at]) * all.weight;
    let full_at = |at: usize| {
        let units = (parts[at].has + takes[at] + 1) * all.weight;
        -(-units).div_euclid(parts[at].weight)
    };
    let mut waiting: Vec<usize> = (0..parts.len())
        .filter(|&at| lacks(at) > 0 && takes[at] < parts[at].left)
        .collect();
    waiting.sort_by_key(|&at| (full_at(at), -lacks(at)));
    let first = usize::try_from(rest).map_or(waiting.len(), |rest| rest.min(waiting.len()));
    waiting[..first].iter().for_each(|&at| takes[at] += 1);
    let rest = total - takes.iter().sum::<i128>();
    if rest > 0 {
        let free: Vec<i128> = left
            .iter()
            .zip(&takes)
            .map(|(left, takes)| left - takes)
            .collect();
        let more = divide(rest, &free);
        takes
            .iter_mut()
            .zip(more)
            .for_each(|(takes, more)| *takes += more);
    }
    takes
}
