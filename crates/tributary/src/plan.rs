//! `plan`: how many workers a queue needs, and what waiting there will be.

use std::fmt::Write as _;

use serde_json::{Value, json};
use tributary_streams::queueing::{
    self, Error, Load, Measure, Of, Prediction, Target, WORKERS_MAX,
};

use crate::backup::say;
use crate::cli::{self, Time};
use crate::exit::{Exit, wrong_use};

/// The percentiles that are shown.
const SHOWN: [(&str, f64); 3] = [("p50", 0.5), ("p95", 0.95), ("p99", 0.99)];

/// How many pools larger than the answer are shown.
const LARGER_SHOWN: u32 = 3;

/// What a target may be about.
const MEASURES: [(&str, Measure); 6] = [
    ("p50", Measure::Quantile(0.5)),
    ("p90", Measure::Quantile(0.9)),
    ("p95", Measure::Quantile(0.95)),
    ("p99", Measure::Quantile(0.99)),
    ("p99.9", Measure::Quantile(0.999)),
    ("mean", Measure::Mean),
];

/// A target as it is written, such as `p99=50ms`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Goal {
    name: &'static str,
    measure: Measure,
    seconds: f64,
}

/// Reads a rate, such as `300/min`, as a number per second.
pub(crate) fn rate(text: &str) -> Result<f64, String> {
    const RIGHT: &str = "a rate is a number and what it is per: 5000/s, 300/min or 20/h";
    let (number, unit) = text.split_once('/').ok_or(RIGHT)?;
    let per = match unit.trim() {
        "s" => 1.0,
        "min" => 60.0,
        "h" => 3600.0,
        unit => return Err(format!("`{unit}` is no unit here; {RIGHT}")),
    };
    let rate = positive(number.trim(), RIGHT)? / per;
    (rate <= queueing::ARRIVALS_PER_SECOND_MAX)
        .then_some(rate)
        .ok_or_else(|| "the most is 1000000000000/s".to_owned())
}

/// Reads a time, such as `1.5s`, as seconds.
pub(crate) fn seconds(text: &str) -> Result<f64, String> {
    const RIGHT: &str = "a time is a number and its unit: 300us, 2ms, 1.5s, 2m or 1h";
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .ok_or(RIGHT)?;
    let (number, unit) = text.split_at(end);
    // Dividing by a power of ten is exact where multiplying by its inverse is not.
    let (times, by) = match unit.trim() {
        "us" => (1.0, 1e6),
        "ms" => (1.0, 1e3),
        "s" => (1.0, 1.0),
        "m" => (60.0, 1.0),
        "h" => (3600.0, 1.0),
        unit => return Err(format!("`{unit}` is no unit here; {RIGHT}")),
    };
    let seconds = positive(number, RIGHT)? * times / by;
    queueing::SERVICE_SECONDS
        .contains(&seconds)
        .then_some(seconds)
        .ok_or_else(|| "it must be at least 0.000001us and at most 1000000000s".to_owned())
}

/// Reads a target, such as `p99=50ms`.
pub(crate) fn goal(text: &str) -> Result<Goal, String> {
    const RIGHT: &str = "a target is p50, p90, p95, p99, p99.9 or mean, `=` and a time: p99=50ms";
    let (wanted, time) = text.split_once('=').ok_or(RIGHT)?;
    let (name, measure) = MEASURES
        .into_iter()
        .find(|(name, _)| *name == wanted.trim())
        .ok_or_else(|| format!("`{}` is none of them; {RIGHT}", wanted.trim()))?;
    let seconds = seconds(time.trim())?;
    Ok(Goal {
        name,
        measure,
        seconds,
    })
}

/// A plain decimal number above 0.
fn positive(text: &str, right: &str) -> Result<f64, String> {
    let plain = text.chars().all(|c| c.is_ascii_digit() || c == '.');
    let number: Option<f64> = text.parse().ok().filter(|_| plain);
    match number {
        Some(number) if number > 0.0 => Ok(number),
        Some(_) => Err(format!("it must be more than 0; {right}")),
        None => Err(format!("`{text}` is not a number; {right}")),
    }
}

/// Runs `plan`.
pub(crate) fn plan(arguments: &cli::Plan) -> anyhow::Result<Exit> {
    let load = Load {
        arrivals: arguments.arrivals,
        service: arguments.service,
        capacity: arguments.capacity,
    };
    let workers = match (arguments.workers, &arguments.target) {
        (Some(workers), _) => {
            queueing::predict(&load, workers).map_err(|error| impossible(&load, error))?;
            workers
        }
        (None, Some(goal)) => needed(&load, goal, arguments.of)?,
        (None, None) => return Err(wrong_use("--target or --workers is missing")),
    };
    let most = load.capacity.unwrap_or(WORKERS_MAX).min(WORKERS_MAX);
    let pools: Vec<(u32, Option<Prediction>)> = (workers.saturating_sub(1).max(1)
        ..=(workers + LARGER_SHOWN).min(most))
        .map(|workers| (workers, queueing::predict(&load, workers).ok()))
        .collect();
    if arguments.json {
        say(&as_json(arguments, &load, workers, &pools).to_string());
    } else {
        let answer = answer(arguments, workers);
        say(&format!("{answer}\n\n{}", table(&load, workers, &pools)));
    }
    Ok(Exit::Done)
}

/// The fewest workers that reach the goal.
fn needed(load: &Load, goal: &Goal, of: Time) -> anyhow::Result<u32> {
    let target = Target {
        of: match of {
            Time::Wait => Of::Wait,
            Time::Total => Of::Sojourn,
        },
        measure: goal.measure,
        seconds: goal.seconds,
    };
    queueing::workers_needed(load, &target).map_err(|error| {
        let Error::OutOfReach { workers } = error else {
            return impossible(load, error);
        };
        // Without any wait there is still the service, which is exponential.
        let least = match goal.measure {
            Measure::Mean => load.service,
            Measure::Quantile(q) => -load.service * (1.0 - q).ln(),
        };
        if of == Time::Total && least >= goal.seconds {
            return wrong_use(format!(
                "{}={} is out of reach: the service alone, without any wait, has a {} of {}; allow more, make \
                 the service faster, or ask for the wait (--of wait)",
                goal.name,
                time(goal.seconds),
                goal.name,
                time(least),
            ));
        }
        match queueing::predict(load, workers) {
            Ok(best) if best.refusal_probability > 0.0 => wrong_use(format!(
                "{}={} is out of reach: even {workers} workers, as many as the capacity, refuse {} of the arrivals, \
                 which count as late; allow a larger --capacity",
                goal.name,
                time(goal.seconds),
                percent(best.refusal_probability),
            )),
            _ => wrong_use(format!(
                "{}={} is out of reach: it needs more than {workers} workers, the most that is computed",
                goal.name,
                time(goal.seconds),
            )),
        }
    })
}

/// What is wrong, and what would be right.
fn impossible(load: &Load, error: Error) -> anyhow::Error {
    let Error::Unstable {
        workers,
        utilisation,
    } = error
    else {
        return wrong_use(error.to_string());
    };
    let least = (load.arrivals * load.service).floor() + 1.0;
    wrong_use(format!(
        "too few workers: what arrives is {} of what {workers} can do, so the queue would grow for ever; take at \
         least {least}, or bound the queue with --capacity",
        percent(utilisation),
    ))
}

fn answer(arguments: &cli::Plan, workers: u32) -> String {
    let plural = if workers == 1 { "" } else { "s" };
    let Some(goal) = &arguments.target else {
        return format!("{workers} worker{plural}:");
    };
    let of = match arguments.of {
        Time::Wait => "the wait",
        Time::Total => "the time in the system",
    };
    let late = if arguments.capacity.is_some() {
        " (refused ones count as late)"
    } else {
        ""
    };
    format!(
        "{workers} worker{plural} needed for a {} of {of} of at most {}{late}:",
        goal.name,
        time(goal.seconds),
    )
}

/// One line per pool; the one that was asked about is marked.
fn table(load: &Load, asked: u32, pools: &[(u32, Option<Prediction>)]) -> String {
    let refused = load.capacity.map_or("", |_| "  refused");
    let names = SHOWN.map(|(name, _)| format!("{name:>8}")).concat();
    let first = format!("workers {:>8}{:>8}{refused}{:>8}", "busy", "waits", "queue");
    let mut lines = format!(
        "{:lead$}{:>20}{:>33}\n{first}{:>8}{names}{names}",
        "",
        "wait",
        "time in the system",
        "mean",
        lead = first.len(),
    );
    for (workers, prediction) in pools {
        let mark = if *workers == asked { '>' } else { ' ' };
        let line = match prediction {
            Some(prediction) => row(prediction),
            None => "  too few: the queue grows for ever".to_owned(),
        };
        write!(lines, "\n{mark}{workers:>7}{line}").expect("writes to memory");
    }
    lines
}

fn row(p: &Prediction) -> String {
    let mut line = format!(
        "{:>8}{:>8}",
        percent(p.utilisation),
        percent(p.waiting_probability)
    );
    if p.load.capacity.is_some() {
        write!(line, "{:>9}", percent(p.refusal_probability)).expect("writes to memory");
    }
    write!(line, "{:>8}{:>8}", figures(p.queue_length), time(p.wait)).expect("writes to memory");
    for (_, q) in SHOWN {
        write!(line, "{:>8}", time(p.wait_quantile(q))).expect("writes to memory");
    }
    for (_, q) in SHOWN {
        write!(line, "{:>8}", time(p.sojourn_quantile(q))).expect("writes to memory");
    }
    line
}

fn percent(share: f64) -> String {
    format!("{:.1}%", share * 100.0)
}

/// A time with three figures, in the unit that suits it; less than a nanosecond is none.
fn time(seconds: f64) -> String {
    match seconds {
        s if s < 1e-9 => "0".to_owned(),
        s if s < 0.999_5e-3 => format!("{}us", figures(s * 1e6)),
        s if s < 0.999_5 => format!("{}ms", figures(s * 1e3)),
        s => format!("{}s", figures(s)),
    }
}

/// Three figures, or all before the point.
fn figures(number: f64) -> String {
    match number {
        n if n < 9.995 => format!("{n:.2}"),
        n if n < 99.95 => format!("{n:.1}"),
        n => format!("{n:.0}"),
    }
}

fn as_json(
    arguments: &cli::Plan,
    load: &Load,
    workers: u32,
    pools: &[(u32, Option<Prediction>)],
) -> Value {
    let target = arguments.target.as_ref().map(|goal| {
        let of = match arguments.of {
            Time::Wait => "wait",
            Time::Total => "total",
        };
        json!({ "of": of, "measure": goal.name, "seconds": goal.seconds })
    });
    let quantiles = |of: fn(&Prediction, f64) -> f64, p: &Prediction| -> Value {
        SHOWN
            .iter()
            .map(|(name, q)| ((*name).to_owned(), json!(of(p, *q))))
            .collect::<serde_json::Map<_, _>>()
            .into()
    };
    let pools: Vec<Value> = pools
        .iter()
        .map(|(workers, prediction)| match prediction {
            None => json!({ "workers": workers, "stable": false }),
            Some(p) => json!({
                "workers": workers,
                "stable": true,
                "utilisation": p.utilisation,
                "waiting_probability": p.waiting_probability,
                "refusal_probability": p.refusal_probability,
                "throughput_per_second": p.throughput,
                "queue_length": p.queue_length,
                "system_length": p.system_length,
                "wait_seconds": p.wait,
                "total_seconds": p.sojourn,
                "wait_quantile_seconds": quantiles(Prediction::wait_quantile, p),
                "total_quantile_seconds": quantiles(Prediction::sojourn_quantile, p),
            }),
        })
        .collect();
    json!({
        "arrivals_per_second": load.arrivals,
        "service_seconds": load.service,
        "capacity": load.capacity,
        "target": target,
        "workers": workers,
        "pools": pools,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_times_and_targets_are_read_with_their_units() {
        for (text, expected) in [("5000/s", 5000.0), ("300/min", 5.0), ("1.8/h", 0.0005)] {
            assert_eq!(rate(text), Ok(expected), "{text}");
        }
        for (text, expected) in [
            ("300us", 300e-6),
            ("2ms", 0.002),
            ("1.5s", 1.5),
            ("2m", 120.0),
            ("0.5h", 1800.0),
        ] {
            assert_eq!(seconds(text), Ok(expected), "{text}");
        }
        for (name, measure) in MEASURES {
            let goal = goal(&format!("{name} = 50ms")).expect(name);
            assert_eq!((goal.measure, goal.seconds), (measure, 0.05));
        }
    }

    #[test]
    fn what_cannot_be_read_is_answered_with_what_can() {
        for text in [
            "", "5", "5s", "5/d", "-5/s", "1e3/s", "inf/s", "0/s", "/s", "1.2.3/s",
        ] {
            let error = rate(text).expect_err(text);
            assert!(error.contains("300/min"), "{text}: {error}");
        }
        for text in [
            "", "2", "2 days", "-2ms", "0ms", "ms", "1e3s", "NaNs", "2ms/s",
        ] {
            let error = seconds(text).expect_err(text);
            assert!(error.contains("1.5s"), "{text}: {error}");
        }
        for text in ["", "p99", "p98=1s", "50ms=p99", "=1s"] {
            let error = goal(text).expect_err(text);
            assert!(error.contains("p99=50ms"), "{text}: {error}");
        }
        assert!(goal("p99=50").is_err() && goal("p99=5x").is_err());
        assert!(rate("1000000000001/s").is_err() && seconds("1000000h").is_err());
    }

    #[test]
    fn times_are_shown_with_three_figures() {
        for (seconds, shown) in [
            (0.0, "0"),
            (1e-12, "0"),
            (0.000_001_234, "1.23us"),
            (0.000_999_4, "999us"),
            (0.000_999_6, "1.00ms"),
            (0.028_888, "28.9ms"),
            (0.999_4, "999ms"),
            (0.999_9, "1.00s"),
            (12_345.6, "12346s"),
        ] {
            assert_eq!(time(seconds), shown);
        }
    }
}
