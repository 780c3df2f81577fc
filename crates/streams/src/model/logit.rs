//! The score of a margin, by comparisons alone.
//!
//! The trainers make a probability of a margin: `p = 1 / (1 + exp(-margin))`. The score is `floor(p * 1000 + 0.5)`.
//! So it is at least `k` exactly if `p >= (k - 0.5) / 1000`, which is `margin >= ln((2k - 1) / (2001 - 2k))`. These
//! 1000 bounds are computed by the compiler, and a score is the number of bounds that the margin reaches: no `exp`,
//! which has another last digit in each mathematical library, is called.
//!
//! [`ln`] uses only additions, multiplications and divisions of `f64`. IEEE 754 fixes their results, and the compiler
//! neither reorders nor fuses them. Its error is below 4e-15 for the bounds, so the score of a margin closer than
//! that to an exact bound is whatever this table says, on every machine.

/// Largest score.
pub const SCORE_MAX: u16 = 1_000;

/// Least margin for each score from 1 to 1000, ascending.
static MARGINS: [f64; SCORE_MAX as usize] = least_margins();

/// Returns the score of a margin, from 0 to [`SCORE_MAX`].
pub(super) fn score_margin(margin: f64) -> u16 {
    let reached = MARGINS.partition_point(|least| *least <= margin);
    u16::try_from(reached).unwrap_or(SCORE_MAX)
}

const fn least_margins() -> [f64; SCORE_MAX as usize] {
    let mut margins = [0.0; SCORE_MAX as usize];
    let mut place = 0;
    while place < margins.len() {
        let odds = (2 * place + 1) as f64 / (1_999 - 2 * place) as f64;
        margins[place] = ln(odds);
        place += 1;
    }
    margins
}

/// Returns the natural logarithm of a positive, finite number.
///
/// With `number = f * 2^e` and `0.75 <= f < 1.5`, it is `e * ln(2) + 2 * atanh((f - 1) / (f + 1))`. The argument of
/// `atanh` is at most 0.2, where the terms of its series that are left out are below 1e-20.
pub(super) const fn ln(number: f64) -> f64 {
    let mut fraction = number;
    let mut exponent = 0;
    while fraction >= 1.5 {
        fraction /= 2.0;
        exponent += 1;
    }
    while fraction < 0.75 {
        fraction *= 2.0;
        exponent -= 1;
    }
    let ratio = (fraction - 1.0) / (fraction + 1.0);
    let square = ratio * ratio;
    let mut series = 0.0;
    let mut power = 27;
    while power > 0 {
        series = series * square + 1.0 / power as f64;
        power -= 2;
    }
    exponent as f64 * std::f64::consts::LN_2 + 2.0 * ratio * series
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logarithms_agree_with_the_mathematical_library() {
        for number in [
            1e-38, 1e-3, 0.1, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 1_999.0, 3e38,
        ] {
            let difference = (ln(number) - number.ln()).abs();
            assert!(
                difference <= 4e-16 * number.ln().abs(),
                "{number}: {difference}"
            );
        }
    }

    #[test]
    fn a_score_is_the_rounded_probability_in_thousandths() {
        let probability = |margin: f64| 1.0 / (1.0 + (-margin).exp());
        for step in -100_000..=100_000 {
            // A step that meets no bound exactly.
            let margin = f64::from(step) * 1.000_1e-4;
            let expected = (probability(margin) * 1_000.0 + 0.5).floor();
            assert_eq!(f64::from(score_margin(margin)), expected, "{margin}");
        }
        for (place, least) in MARGINS.iter().enumerate() {
            let exact = (place as f64 + 0.5) / 1_000.0;
            assert!((probability(*least) - exact).abs() < 1e-15, "{place}");
            assert_eq!(usize::from(score_margin(*least)), place + 1);
            assert_eq!(usize::from(score_margin(least.next_down())), place);
        }
        let check = |margin: f64, score: u16| assert_eq!(score_margin(margin), score, "{margin}");
        check(f64::NEG_INFINITY, 0);
        check(-7.7, 0);
        check(0.0, 500);
        check(7.7, 1_000);
        check(f64::INFINITY, 1_000);
        check(f64::NAN, 0);
    }
}
