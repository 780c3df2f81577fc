//! Quantities on the command line: rates, times, and targets for waiting times.

use tributary_streams::queueing::{self, Measure};

/// Measures that a target can have, by name.
const MEASURES: [(&str, Measure); 6] = [
    ("p50", Measure::Quantile(0.5)),
    ("p90", Measure::Quantile(0.9)),
    ("p95", Measure::Quantile(0.95)),
    ("p99", Measure::Quantile(0.99)),
    ("p99.9", Measure::Quantile(0.999)),
    ("mean", Measure::Mean),
];

/// A target, such as `p99=50ms`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PlanTarget {
    pub(crate) name: &'static str,
    pub(crate) measure: Measure,
    pub(crate) seconds: f64,
}

/// Parses a rate, such as `300/min`, as a number per second.
pub(crate) fn parse_rate(text: &str) -> Result<f64, String> {
    const RIGHT: &str = "a rate is a number and what it is per: 5000/s, 300/min or 20/h";
    let (number, unit) = text.split_once('/').ok_or(RIGHT)?;
    let per = match unit.trim() {
        "s" => 1.0,
        "min" => 60.0,
        "h" => 3600.0,
        unit => return Err(format!("`{unit}` is no unit here; {RIGHT}")),
    };
    let rate = parse_positive(number.trim(), RIGHT)? / per;
    (rate <= queueing::ARRIVALS_PER_SECOND_MAX)
        .then_some(rate)
        .ok_or_else(|| "the most is 1000000000000/s".to_owned())
}

/// Parses a time, such as `1.5s`, as seconds.
pub(crate) fn parse_seconds(text: &str) -> Result<f64, String> {
    const RIGHT: &str = "a time is a number and its unit: 300us, 2ms, 1.5s, 2m or 1h";
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .ok_or(RIGHT)?;
    let (number, unit) = text.split_at(end);
    // Division by a power of ten is exact; multiplication by its inverse is not.
    let (times, by) = match unit.trim() {
        "us" => (1.0, 1e6),
        "ms" => (1.0, 1e3),
        "s" => (1.0, 1.0),
        "m" => (60.0, 1.0),
        "h" => (3600.0, 1.0),
        unit => return Err(format!("`{unit}` is no unit here; {RIGHT}")),
    };
    let seconds = parse_positive(number, RIGHT)? * times / by;
    queueing::SERVICE_SECONDS
        .contains(&seconds)
        .then_some(seconds)
        .ok_or_else(|| "it must be at least 0.000001us and at most 1000000000s".to_owned())
}

/// Parses a target, such as `p99=50ms`.
pub(crate) fn parse_target(text: &str) -> Result<PlanTarget, String> {
    const RIGHT: &str = "a target is p50, p90, p95, p99, p99.9 or mean, `=` and a time: p99=50ms";
    let (wanted, time) = text.split_once('=').ok_or(RIGHT)?;
    let (name, measure) = MEASURES
        .into_iter()
        .find(|(name, _)| *name == wanted.trim())
        .ok_or_else(|| format!("`{}` is none of them; {RIGHT}", wanted.trim()))?;
    let seconds = parse_seconds(time.trim())?;
    Ok(PlanTarget {
        name,
        measure,
        seconds,
    })
}

/// Parses a plain decimal number above 0.
fn parse_positive(text: &str, right: &str) -> Result<f64, String> {
    let plain = text.chars().all(|c| c.is_ascii_digit() || c == '.');
    let number: Option<f64> = text.parse().ok().filter(|_| plain);
    match number {
        Some(number) if number > 0.0 => Ok(number),
        Some(_) => Err(format!("it must be more than 0; {right}")),
        None => Err(format!("`{text}` is not a number; {right}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_times_and_targets_are_read_with_their_units() {
        for (text, expected) in [("5000/s", 5000.0), ("300/min", 5.0), ("1.8/h", 0.0005)] {
            assert_eq!(parse_rate(text), Ok(expected), "{text}");
        }
        for (text, expected) in [
            ("300us", 300e-6),
            ("2ms", 0.002),
            ("1.5s", 1.5),
            ("2m", 120.0),
            ("0.5h", 1800.0),
        ] {
            assert_eq!(parse_seconds(text), Ok(expected), "{text}");
        }
        for (name, measure) in MEASURES {
            let goal = parse_target(&format!("{name} = 50ms")).expect(name);
            assert_eq!((goal.measure, goal.seconds), (measure, 0.05));
        }
    }

    #[test]
    fn what_cannot_be_read_is_answered_with_what_can() {
        for text in [
            "", "5", "5s", "5/d", "-5/s", "1e3/s", "inf/s", "0/s", "/s", "1.2.3/s",
        ] {
            let error = parse_rate(text).expect_err(text);
            assert!(error.contains("300/min"), "{text}: {error}");
        }
        for text in [
            "", "2", "2 days", "-2ms", "0ms", "ms", "1e3s", "NaNs", "2ms/s",
        ] {
            let error = parse_seconds(text).expect_err(text);
            assert!(error.contains("1.5s"), "{text}: {error}");
        }
        for text in ["", "p99", "p98=1s", "50ms=p99", "=1s"] {
            let error = parse_target(text).expect_err(text);
            assert!(error.contains("p99=50ms"), "{text}: {error}");
        }
        assert!(parse_target("p99=50").is_err() && parse_target("p99=5x").is_err());
        assert!(parse_rate("1000000000001/s").is_err() && parse_seconds("1000000h").is_err());
    }
}
