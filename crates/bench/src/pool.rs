//! `bench pool`: workers at a subscription under random arrivals, beside what the queueing model expects of them.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use tokio::task::LocalSet;
use tributary_streams::queueing::{self, Load, Prediction};

use crate::books::runtime;
use crate::grpc::{Batches, RECEIVE};
use crate::machine;
use crate::options;
use crate::payload::{Message, acknowledge, key, open_receive, response, results};
use crate::report::tell;
use crate::server::{Server, subscribe_to};
use crate::skew::Random;

/// The type of the events.
const TYPE: &str = "app.bench.work";
/// The measured time is cut into so many batches, whose means are taken to be independent.
const BATCHES: usize = 20;
/// The 97.5 % quantile of Student's t with `BATCHES` − 1 degrees of freedom.
const STUDENT_T: f64 = 2.093;
/// The longest wait for what is left at the end.
const PATIENCE: Duration = Duration::from_secs(60);

/// An event, in seconds since the beginning.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    /// When it was due to be published.
    due: f64,
    /// When a worker had it.
    taken: f64,
    /// When the worker had done it.
    done: f64,
}

struct Run {
    begun: Instant,
    seen: RefCell<Vec<Seen>>,
    done: Cell<usize>,
    /// Whether nothing more is published.
    whole: Cell<bool>,
}

impl Run {
    fn now(&self) -> f64 {
        self.begun.elapsed().as_secs_f64()
    }

    fn is_over(&self) -> bool {
        self.whole.get() && self.done.get() == self.seen.borrow().len()
    }
}

/// A time of an exponential distribution with this mean.
fn exponential(random: &mut Random, mean: f64) -> f64 {
    // Above 0 and at most 1.
    let uniform = ((random.next() >> 11) + 1) as f64 / (1_u64 << 53) as f64;
    -uniform.ln() * mean
}

/// Runs `bench pool`.
pub(crate) fn run(options: &options::Pool) -> anyhow::Result<()> {
    let server = Server::own(&options.run)?;
    let terms = json!({"events": ["app.bench.#"], "workers": options.workers});
    let id = subscribe_to(&mut server.client()?, &key(0, 0), &terms)?;
    let (seen, figures) = work(&server, options, &id)?;
    let mut result = compared(options, &seen, &figures);
    let more = json!({
        "processors": machine::processors(),
        "filesystem": server.directory().and_then(machine::filesystem),
        "seed": options.seed,
        "version": env!("CARGO_PKG_VERSION"),
    });
    server.stop()?;
    for (name, value) in more.as_object().into_iter().flatten() {
        result[name] = value.clone();
    }
    tell(&result, options.run.json);
    Ok(())
}

/// Publishes and works for the whole time; gives every event, and the server's figures at the end of it.
fn work(
    server: &Server,
    options: &options::Pool,
    subscription: &str,
) -> anyhow::Result<(Vec<Seen>, Value)> {
    let runtime = runtime()?;
    let set = LocalSet::new();
    let worked = set.block_on(&runtime, async {
        let mut streams = Vec::new();
        for _ in 0..options.workers {
            let mut stream = Batches::open_at(server.grpc, &server.token, RECEIVE).await?;
            // One at a time: the next comes when this one is done.
            stream.send(open_receive(subscription, 1, 1)).await?;
            streams.push(stream);
        }
        let publisher = Batches::open(server.grpc, &server.token).await?;
        let run = Rc::new(Run {
            begun: Instant::now(),
            seen: RefCell::default(),
            done: Cell::new(0),
            whole: Cell::new(false),
        });
        let mut workers = Vec::new();
        for (number, stream) in (1..).zip(streams) {
            let random = Random::new(options.seed.wrapping_add(number));
            let work = worker(stream, run.clone(), random, options.service_ms / 1e3);
            workers.push(tokio::task::spawn_local(work));
        }
        publish(publisher, &run, options).await?;
        let mut client = server.client()?;
        let path = format!("/v1/subscriptions/{subscription}");
        let shown = tokio::task::spawn_blocking(move || client.get_json(&path));
        let shown = shown.await??;
        run.whole.set(true);
        for worker in workers {
            worker.await??;
        }
        let seen = run.seen.borrow().clone();
        anyhow::Ok((seen, shown["figures"].clone()))
    });
    drop((set, runtime));
    worked
}

/// Publishes at random times, whatever becomes of what was published before.
async fn publish(mut stream: Batches, run: &Run, options: &options::Pool) -> anyhow::Result<()> {
    let mut seed = [0; 8];
    getrandom::fill(&mut seed)?;
    let run_number = u64::from_le_bytes(seed);
    let mut random = Random::new(options.seed);
    let (mut due, mut waiting) = (0.0, 0);
    loop {
        due += exponential(&mut random, 1.0 / options.arrivals);
        let last = due > options.seconds as f64;
        let until = run.begun + Duration::from_secs_f64(due.min(options.seconds as f64));
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(until.into()) => break,
                answer = stream.answer(), if waiting > 0 => {
                    let answer = answer?;
                    ensure!(results(&answer).all(|result| result.code.is_empty()), "an event was not published");
                    waiting -= 1;
                }
            }
        }
        if last {
            return Ok(());
        }
        let number = run.seen.borrow().len();
        let seen = Seen {
            due,
            ..Seen::default()
        };
        run.seen.borrow_mut().push(seen);
        let mut message = Message::new(1);
        let data = format!("{{\"n\":{number}}}");
        message.publish(&key(run_number, number as u64), TYPE, data.as_bytes());
        stream.send(message.finish()).await?;
        waiting += 1;
    }
}

/// One worker: takes an event, works on it for a random time, and acknowledges it.
async fn worker(
    mut stream: Batches,
    run: Rc<Run>,
    mut random: Random,
    mean: f64,
) -> anyhow::Result<()> {
    while !run.is_over() {
        let bytes = tokio::select! {
            bytes = stream.answer() => bytes?,
            () = tokio::time::sleep(Duration::from_millis(20)) => {
                let late = run.now() - run.seen.borrow().last().map_or(0.0, |seen| seen.due);
                ensure!(!run.whole.get() || late < PATIENCE.as_secs_f64(), "events are left over");
                continue;
            }
        };
        let taken = run.now();
        let (mut response_number, mut event) = (0, None);
        response(&bytes, &mut response_number, &mut |delivered| {
            let data: Value = serde_json::from_slice(delivered.data)?;
            event = data["n"].as_u64();
            Ok(())
        })?;
        let event = event.context("a response has no event")? as usize;
        let wanted = taken + exponential(&mut random, mean);
        let until = run.begun + Duration::from_secs_f64(wanted);
        tokio::time::sleep_until(until.into()).await;
        stream.send(acknowledge(response_number)).await?;
        let done = run.now();
        let mut seen = run.seen.borrow_mut();
        let seen = seen
            .get_mut(event)
            .context("an event was never published")?;
        ensure!(seen.taken == 0.0, "an event came twice");
        (seen.taken, seen.done) = (taken, done);
        run.done.set(run.done.get() + 1);
    }
    stream.end()?;
    stream.rest().await
}

/// Mean and the bounds of its 95 % confidence interval, from the means of batches; no bounds if one is missing.
fn interval(batches: &[Option<f64>]) -> (f64, Option<(f64, f64)>) {
    let known: Vec<f64> = batches.iter().flatten().copied().collect();
    let count = known.len() as f64;
    let mean = known.iter().sum::<f64>() / count.max(1.0);
    if known.len() < BATCHES {
        return (mean, None);
    }
    let squares: f64 = known.iter().map(|one| (one - mean).powi(2)).sum();
    let half = STUDENT_T * (squares / (count - 1.0) / count).sqrt();
    (mean, Some((mean - half, mean + half)))
}

/// What was observed from `from` on, in batches of `width` seconds: mean waits, and mean numbers of those that wait.
fn observed(seen: &[Seen], from: f64, width: f64) -> (Vec<Option<f64>>, Vec<Option<f64>>) {
    let batch = |at: usize| {
        let (begin, end) = (from + at as f64 * width, from + (at + 1) as f64 * width);
        let arrived = seen.iter().filter(|one| (begin..end).contains(&one.due));
        let (count, waited) = arrived.fold((0, 0.0), |(count, sum), one| {
            (count + 1, sum + (one.taken - one.due))
        });
        let overlap = |one: &Seen| (one.taken.min(end) - one.due.max(begin)).max(0.0);
        let length = seen.iter().map(overlap).sum::<f64>() / width;
        ((count > 0).then(|| waited / f64::from(count)), Some(length))
    };
    (0..BATCHES).map(batch).unzip()
}

/// One figure: as it was observed, and as it was expected from what was measured here and by the server itself.
fn beside(batches: &[Option<f64>], predicted: Option<f64>, by_server: &Value) -> Value {
    let (mean, bounds) = interval(batches);
    let within = |expected: Option<f64>| {
        let ((low, high), expected) = bounds.zip(expected)?;
        Some((low..=high).contains(&expected))
    };
    json!({
        "observed": mean,
        "interval_95": bounds.map(|(low, high)| [low, high]),
        "model": predicted,
        "model_within": within(predicted),
        "model_of_the_server": by_server,
        "model_of_the_server_within": within(by_server.as_f64()),
    })
}

fn compared(options: &options::Pool, seen: &[Seen], figures: &Value) -> Value {
    let seconds = options.seconds as f64;
    // It began empty: the first tenth is not counted.
    let from = seconds / 10.0;
    let counted: Vec<&Seen> = seen.iter().filter(|one| one.due >= from).collect();
    let count = counted.len() as f64;
    let arrivals = count / (seconds - from);
    let service = counted.iter().map(|one| one.done - one.taken).sum::<f64>() / count.max(1.0);
    let load = Load {
        arrivals,
        service,
        capacity: None,
    };
    let predicted = queueing::predict(&load, options.workers).ok();
    let figure = |of: fn(&Prediction) -> f64| predicted.as_ref().map(of);
    let (waits, lengths) = observed(seen, from, (seconds - from) / BATCHES as f64);
    let model = &figures["model"];
    json!({
        "mode": "pool",
        "workers": options.workers,
        "seconds": options.seconds,
        "events": counted.len(),
        "arrivals_per_second_asked": options.arrivals,
        "arrivals_per_second": arrivals,
        "service_seconds_asked": options.service_ms / 1e3,
        "service_seconds": service,
        "utilisation": figure(|of| of.utilisation),
        "wait_seconds": beside(&waits, figure(|of| of.wait), &model["wait_seconds"]),
        "length": beside(&lengths, figure(|of| of.queue_length), &model["length"]),
        "figures_of_the_server": {
            "rate_in": figures["rate_in"],
            "average_wait_seconds": figures["average_wait_seconds"],
            "average_processing_seconds": figures["average_processing_seconds"],
            "model": model,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_and_lengths_are_those_of_the_batches() {
        // One event a second, each taken half a second later.
        let seen: Vec<Seen> = (0..40)
            .map(|at| Seen {
                due: f64::from(at),
                taken: f64::from(at) + 0.5,
                done: f64::from(at) + 0.75,
            })
            .collect();
        let (waits, lengths) = observed(&seen, 0.0, 2.0);
        assert_eq!(waits, vec![Some(0.5); BATCHES]);
        assert_eq!(lengths, vec![Some(0.5); BATCHES]);
        assert_eq!(interval(&waits), (0.5, Some((0.5, 0.5))));
        let (_, bounds) = interval(&[Some(0.5), None]);
        assert_eq!(bounds, None);
    }

    #[test]
    fn an_interval_is_as_wide_as_its_batches_differ() {
        let batches: Vec<Option<f64>> = (0..20).map(|at| Some(f64::from(at % 2))).collect();
        let (mean, bounds) = interval(&batches);
        let (low, high) = bounds.expect("all batches are there");
        // The standard deviation is √(20/19) / 2.
        let half = 2.093 * (5.0_f64 / 19.0 / 20.0).sqrt();
        assert_eq!(mean, 0.5);
        assert!((high - mean - half).abs() < 1e-12 && (mean - low - half).abs() < 1e-12);
    }

    #[test]
    fn times_are_exponential() {
        let mut random = Random::new(7);
        let times: Vec<f64> = (0..100_000)
            .map(|_| exponential(&mut random, 2.0))
            .collect();
        let mean = times.iter().sum::<f64>() / 1e5;
        let longer = times.iter().filter(|time| **time > 2.0).count() as f64 / 1e5;
        assert!((mean - 2.0).abs() < 0.03, "{mean}");
        assert!((longer - (-1.0_f64).exp()).abs() < 0.01, "{longer}");
    }
}
