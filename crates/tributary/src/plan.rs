//! `plan`: how many workers a queue needs, and what waiting there will be.

use std::fmt::Write as _;

use serde_json::{Value, json};
use tributary_streams::queueing::{
    self, Error, Load, Measure, Of, Prediction, Target, WORKERS_MAX,
};

use crate::cli::{self, Time};
use crate::exit::{Exit, wrong_use};
use crate::quantity::PlanTarget;
use crate::terminal::print_line;

/// The percentiles that are shown.
const SHOWN: [(&str, f64); 3] = [("p50", 0.5), ("p95", 0.95), ("p99", 0.99)];

/// How many pools larger than the answer are shown.
const LARGER_SHOWN: u32 = 3;

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
        print_line(&as_json(arguments, &load, workers, &pools).to_string());
    } else {
        let answer = answer(arguments, workers);
        print_line(&format!("{answer}\n\n{}", table(&load, workers, &pools)));
    }
    Ok(Exit::Done)
}

/// The fewest workers that reach the goal.
fn needed(load: &Load, goal: &PlanTarget, of: Time) -> anyhow::Result<u32> {
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
