//! `plan`: calculates how many workers a queue needs, and how long arrivals wait.

use std::fmt::Write as _;

use serde_json::{Value, json};
use tributary_streams::queueing::{
    self, Error, Load, Measure, Of, Prediction, Target, WORKERS_MAX,
};

use crate::cli::{self, Time};
use crate::exit::{Exit, usage_error};
use crate::quantity::PlanTarget;
use crate::terminal::print_line;

/// Percentiles in the table.
const SHOWN: [(&str, f64); 3] = [("p50", 0.5), ("p95", 0.95), ("p99", 0.99)];

/// Number of larger pools in the table.
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
            queueing::predict(&load, workers).map_err(|error| infeasible_error(&load, error))?;
            workers
        }
        (None, Some(target)) => find_workers(&load, target, arguments.of)?,
        (None, None) => return Err(usage_error("--target or --workers is missing")),
    };
    let most = load.capacity.unwrap_or(WORKERS_MAX).min(WORKERS_MAX);
    let pools: Vec<(u32, Option<Prediction>)> = (workers.saturating_sub(1).max(1)
        ..=(workers + LARGER_SHOWN).min(most))
        .map(|workers| (workers, queueing::predict(&load, workers).ok()))
        .collect();
    if arguments.json {
        print_line(&result_json(arguments, &load, workers, &pools).to_string());
    } else {
        let answer = describe_answer(arguments, workers);
        print_line(&format!(
            "{answer}\n\n{}",
            format_table(&load, workers, &pools)
        ));
    }
    Ok(Exit::Done)
}

/// Returns the smallest number of workers that reaches the target.
fn find_workers(load: &Load, target: &PlanTarget, of: Time) -> anyhow::Result<u32> {
    let wanted = Target {
        of: match of {
            Time::Wait => Of::Wait,
            Time::Total => Of::Sojourn,
        },
        measure: target.measure,
        seconds: target.seconds,
    };
    queueing::workers_needed(load, &wanted).map_err(|error| {
        let Error::OutOfReach { workers } = error else {
            return infeasible_error(load, error);
        };
        // Without any wait, the time in the system is the service time, which is exponential.
        let least = match target.measure {
            Measure::Mean => load.service,
            Measure::Quantile(q) => -load.service * (1.0 - q).ln(),
        };
        if of == Time::Total && least >= target.seconds {
            return usage_error(format!(
                "{}={} is out of reach: the service alone, without any wait, has a {} of {}; allow more, make \
                 the service faster, or ask for the wait (--of wait)",
                target.name,
                format_time(target.seconds),
                target.name,
                format_time(least),
            ));
        }
        match queueing::predict(load, workers) {
            Ok(best) if best.refusal_probability > 0.0 => usage_error(format!(
                "{}={} is out of reach: even {workers} workers, as many as the capacity, refuse {} of the arrivals, \
                 which count as late; allow a larger --capacity",
                target.name,
                format_time(target.seconds),
                format_percent(best.refusal_probability),
            )),
            _ => usage_error(format!(
                "{}={} is out of reach: it needs more than {workers} workers, the most that is computed",
                target.name,
                format_time(target.seconds),
            )),
        }
    })
}

/// Explains why there is no prediction, and what to change.
fn infeasible_error(load: &Load, error: Error) -> anyhow::Error {
    let Error::Unstable {
        workers,
        utilisation,
    } = error
    else {
        return usage_error(error.to_string());
    };
    let least = (load.arrivals * load.service).floor() + 1.0;
    usage_error(format!(
        "too few workers: what arrives is {} of what {workers} can do, so the queue would grow for ever; take at \
         least {least}, or bound the queue with --capacity",
        format_percent(utilisation),
    ))
}

fn describe_answer(arguments: &cli::Plan, workers: u32) -> String {
    let plural = if workers == 1 { "" } else { "s" };
    let Some(target) = &arguments.target else {
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
        target.name,
        format_time(target.seconds),
    )
}

/// Formats one line per pool, and marks the requested pool.
fn format_table(load: &Load, asked: u32, pools: &[(u32, Option<Prediction>)]) -> String {
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
            Some(prediction) => format_row(prediction),
            None => "  too few: the queue grows for ever".to_owned(),
        };
        write!(lines, "\n{mark}{workers:>7}{line}").expect("writes to memory");
    }
    lines
}

fn format_row(p: &Prediction) -> String {
    let mut line = format!(
        "{:>8}{:>8}",
        format_percent(p.utilisation),
        format_percent(p.waiting_probability)
    );
    if p.load.capacity.is_some() {
        write!(line, "{:>9}", format_percent(p.refusal_probability)).expect("writes to memory");
    }
    write!(
        line,
        "{:>8}{:>8}",
        format_figures(p.queue_length),
        format_time(p.wait)
    )
    .expect("writes to memory");
    for (_, q) in SHOWN {
        write!(line, "{:>8}", format_time(p.wait_quantile(q))).expect("writes to memory");
    }
    for (_, q) in SHOWN {
        write!(line, "{:>8}", format_time(p.sojourn_quantile(q))).expect("writes to memory");
    }
    line
}

fn format_percent(share: f64) -> String {
    format!("{:.1}%", share * 100.0)
}

/// Formats a time with three significant digits in a suitable unit. Less than a nanosecond is 0.
fn format_time(seconds: f64) -> String {
    match seconds {
        s if s < 1e-9 => "0".to_owned(),
        s if s < 0.999_5e-3 => format!("{}us", format_figures(s * 1e6)),
        s if s < 0.999_5 => format!("{}ms", format_figures(s * 1e3)),
        s => format!("{}s", format_figures(s)),
    }
}

/// Formats a number with three significant digits, or with all digits before the point.
fn format_figures(number: f64) -> String {
    match number {
        n if n < 9.995 => format!("{n:.2}"),
        n if n < 99.95 => format!("{n:.1}"),
        n => format!("{n:.0}"),
    }
}

fn result_json(
    arguments: &cli::Plan,
    load: &Load,
    workers: u32,
    pools: &[(u32, Option<Prediction>)],
) -> Value {
    let target = arguments.target.as_ref().map(|target| {
        let of = match arguments.of {
            Time::Wait => "wait",
            Time::Total => "total",
        };
        json!({ "of": of, "measure": target.name, "seconds": target.seconds })
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
            assert_eq!(format_time(seconds), shown);
        }
    }
}
