//! A pool of workers on a simulated clock against the model: many seeded runs, and a confidence interval over their means.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use tributary_streams::queueing::{Load, Prediction, predict};
use tributary_testkit::random::Random;

/// Runs of each pool; their seeds are 1, 2, … .
const RUNS: u32 = 30;

/// Of Student's t with 29 degrees of freedom: within ± this lie 95 % and 99.9 %.
const T_95: f64 = 2.045;
const T_999: f64 = 3.659;

/// Arrivals of a run that are left out, because it begins empty, and those that count.
const WARM_UP: u64 = 1_000;
const COUNTED: u64 = 7_000;

/// A nanosecond is the unit of the simulated clock.
const SECOND: f64 = 1e9;

#[derive(Default)]
struct Seen {
    /// Sum of waits, in seconds.
    wait: f64,
    taken: u64,
    /// Waits, and times in the system, above the predicted 95th percentile.
    waits_late: u64,
    sojourns_late: u64,
    done: u64,
    refused: u64,
    arrived: u64,
    /// Number of those waiting, times seconds.
    queue_seconds: f64,
    seconds: f64,
}

/// A figure of one run.
type Figure = fn(&Seen) -> f64;

/// A random time, exponential with this mean, in ticks of the clock.
fn exponential(random: &mut Random, mean_seconds: f64) -> u64 {
    // Above 0 and at most 1.
    let uniform = ((random.any() >> 11) + 1) as f64 / (1_u64 << 53) as f64;
    (-uniform.ln() * mean_seconds * SECOND) as u64
}

/// One run: Poisson arrivals, exponential service, first come, first served.
fn run(load: &Load, workers: u32, late: [f64; 2], seed: u64) -> Seen {
    let mut random = Random::new(seed);
    let mut seen = Seen::default();
    let mut queue: VecDeque<u64> = VecDeque::new();
    // When each busy worker will be done, and when its work arrived.
    let mut busy: BinaryHeap<Reverse<(u64, u64)>> = BinaryHeap::new();
    let (mut now, mut arrived) = (0, 0);
    let mut arrival = exponential(&mut random, 1.0 / load.arrivals);
    while arrived < WARM_UP + COUNTED {
        let done = busy.peek().map(|Reverse((at, _))| *at);
        let next = done.map_or(arrival, |at| at.min(arrival));
        let counts = arrived >= WARM_UP;
        if counts {
            let seconds = (next - now) as f64 / SECOND;
            seen.seconds += seconds;
            seen.queue_seconds += seconds * queue.len() as f64;
        }
        now = next;
        if done == Some(now) {
            let Reverse((_, since)) = busy.pop().expect("one is done");
            if counts {
                seen.done += 1;
                seen.sojourns_late += u64::from((now - since) as f64 / SECOND > late[1]);
            }
        } else {
            arrived += 1;
            arrival = now + exponential(&mut random, 1.0 / load.arrivals);
            let full = load
                .capacity
                .is_some_and(|most| queue.len() + busy.len() >= most as usize);
            if counts {
                seen.arrived += 1;
                seen.refused += u64::from(full);
            }
            if !full {
                queue.push_back(now);
            }
        }
        if busy.len() < workers as usize
            && let Some(since) = queue.pop_front()
        {
            let wait = (now - since) as f64 / SECOND;
            busy.push(Reverse((
                now + exponential(&mut random, load.service),
                since,
            )));
            if counts {
                seen.wait += wait;
                seen.taken += 1;
                seen.waits_late += u64::from(wait > late[0]);
            }
        }
    }
    seen
}

/// Mean and half the width of the confidence interval over the means of runs.
fn interval(means: &[f64], t: f64) -> (f64, f64) {
    let n = means.len() as f64;
    let mean = means.iter().sum::<f64>() / n;
    let variance = means.iter().map(|m| (m - mean).powi(2)).sum::<f64>() / (n - 1.0);
    (mean, t * (variance / n).sqrt())
}

fn contains((mean, half): (f64, f64), value: f64) -> bool {
    (value - mean).abs() <= half
}

#[track_caller]
fn check(name: &str, means: &[f64], t: f64, predicted: f64) {
    let found = interval(means, t);
    assert!(
        contains(found, predicted),
        "{name}: predicted {predicted}, observed {} ± {}",
        found.0,
        found.1
    );
}

/// Simulates a pool and holds it against the model; and that it would not pass for the model of one worker fewer.
#[track_caller]
fn agrees(arrivals: f64, service: f64, workers: u32, capacity: Option<u32>) {
    let load = Load {
        arrivals,
        service,
        capacity,
    };
    let model: Prediction = predict(&load, workers).expect("a steady state");
    let late = [model.wait_quantile(0.95), model.sojourn_quantile(0.95)];
    let runs: Vec<Seen> = (1..=u64::from(RUNS))
        .map(|seed| run(&load, workers, late, seed))
        .collect();
    let means = |of: Figure| -> Vec<f64> { runs.iter().map(of).collect() };
    let waits = means(|seen| seen.wait / seen.taken as f64);
    let queues = means(|seen| seen.queue_seconds / seen.seconds);
    check("mean wait", &waits, T_95, model.wait);
    check("mean queue length", &queues, T_95, model.queue_length);

    let shares: [(&str, Figure, f64); 3] = [
        (
            "waits above p95",
            |seen| seen.waits_late as f64 / seen.taken as f64,
            0.05,
        ),
        (
            "times above p95",
            |seen| seen.sojourns_late as f64 / seen.done as f64,
            0.05,
        ),
        (
            "refused",
            |seen| seen.refused as f64 / seen.arrived as f64,
            model.refusal_probability,
        ),
    ];
    for (name, of, predicted) in shares {
        check(name, &means(of), T_999, predicted);
    }

    // One worker too few, where that has a steady state at all.
    if let Ok(fewer) = predict(&load, workers.saturating_sub(1)) {
        assert!(!contains(interval(&waits, T_95), fewer.wait));
        assert!(!contains(interval(&queues, T_95), fewer.queue_length));
    }
}

#[test]
fn a_simulated_single_worker_waits_as_predicted() {
    agrees(300.0, 0.002, 1, None);
}

#[test]
fn a_simulated_small_pool_waits_as_predicted() {
    agrees(280.0, 0.010, 4, None);
}

#[test]
fn a_simulated_larger_pool_waits_as_predicted() {
    agrees(7_500.0, 0.002, 18, None);
}

#[test]
fn a_simulated_overloaded_pool_with_a_bound_waits_and_refuses_as_predicted() {
    agrees(4.5, 1.0, 4, Some(10));
}
