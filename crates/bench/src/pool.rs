//! Mode `pool`: workers at a subscription with random arrivals, compared with the queueing model.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use tokio::task::LocalSet;
use tributary_streams::queueing::{self, Load, Prediction};

use crate::books::runtime;
use crate::grpc::{GrpcStream, RECEIVE};
use crate::machine;
use crate::options;
use crate::payload::{
    Message, encode_acknowledgement, encode_receive_request, idempotency_key, parse_response,
    parse_results,
};
use crate::report::print_result;
use crate::server::{Server, create_subscription};
use crate::skew::Random;

/// Type of the events.
const TYPE: &str = "app.bench.work";
/// Number of batches into which the measured time is divided. Their means are treated as independent.
const BATCHES: usize = 20;
/// The 97.5 % quantile of Student's t with `BATCHES` − 1 degrees of freedom.
const STUDENT_T: f64 = 2.093;
/// Maximum wait for the remaining events at the end.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// Times of one event, in seconds since the start.
#[derive(Clone, Copy, Debug, Default)]
struct EventTimes {
    /// When the event was due to be published.
    due: f64,
    /// When a worker received the event.
    taken: f64,
    /// When the worker had finished the event.
    done: f64,
}

struct PoolRun {
    begun: Instant,
    seen: RefCell<Vec<EventTimes>>,
    done: Cell<usize>,
    /// Whether all events are published.
    whole: Cell<bool>,
}

impl PoolRun {
    fn now(&self) -> f64 {
        self.begun.elapsed().as_secs_f64()
    }

    fn is_over(&self) -> bool {
        self.whole.get() && self.done.get() == self.seen.borrow().len()
    }
}

/// Draws a time from an exponential distribution with the given mean.
fn draw_exponential(random: &mut Random, mean: f64) -> f64 {
    // Greater than 0 and at most 1.
    let uniform = ((random.next() >> 11) + 1) as f64 / (1_u64 << 53) as f64;
    -uniform.ln() * mean
}

/// Runs the mode `pool`.
pub(crate) fn run(options: &options::PoolOptions) -> anyhow::Result<()> {
    let server = Server::start_new(&options.run)?;
    let terms = json!({"events": ["app.bench.#"], "workers": options.workers});
    let id = create_subscription(&mut server.client()?, &idempotency_key(0, 0), &terms)?;
    let (seen, figures) = work(&server, options, &id)?;
    let mut result = compare_with_model(options, &seen, &figures);
    let more = json!({
        "processors": machine::count_processors(),
        "filesystem": server.directory().and_then(machine::find_filesystem),
        "seed": options.seed,
        "version": env!("CARGO_PKG_VERSION"),
    });
    server.stop()?;
    for (name, value) in more.as_object().into_iter().flatten() {
        result[name] = value.clone();
    }
    print_result(&result, options.run.json);
    Ok(())
}

/// Publishes and processes events for the whole time. Returns the times of every event, and the server's final figures.
fn work(
    server: &Server,
    options: &options::PoolOptions,
    subscription: &str,
) -> anyhow::Result<(Vec<EventTimes>, Value)> {
    let runtime = runtime()?;
    let set = LocalSet::new();
    let worked = set.block_on(&runtime, async {
        let mut streams = Vec::new();
        for _ in 0..options.workers {
            let mut stream = GrpcStream::open_method(server.grpc, &server.token, RECEIVE).await?;
            // One event at a time: the next one is delivered after the acknowledgement.
            stream
                .send(encode_receive_request(subscription, 1, 1))
                .await?;
            streams.push(stream);
        }
        let publisher = GrpcStream::open(server.grpc, &server.token).await?;
        let run = Rc::new(PoolRun {
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

/// Publishes events at random times, independently of earlier events.
async fn publish(
    mut stream: GrpcStream,
    run: &PoolRun,
    options: &options::PoolOptions,
) -> anyhow::Result<()> {
    let mut seed = [0; 8];
    getrandom::fill(&mut seed)?;
    let run_number = u64::from_le_bytes(seed);
    let mut random = Random::new(options.seed);
    let (mut due, mut waiting) = (0.0, 0);
    loop {
        due += draw_exponential(&mut random, 1.0 / options.arrivals);
        let last = due > options.seconds as f64;
        let until = run.begun + Duration::from_secs_f64(due.min(options.seconds as f64));
        loop {
            tokio::select! {
                // An event that the server has not read is lost with the stream.
                () = tokio::time::sleep_until(until.into()), if !last || waiting == 0 => break,
                answer = stream.next_message(), if waiting > 0 => {
                    let answer = answer?;
                    ensure!(parse_results(&answer).all(|result| result.code.is_empty()), "an event was not published");
                    waiting -= 1;
                }
            }
        }
        if last {
            return Ok(());
        }
        let number = run.seen.borrow().len();
        let seen = EventTimes {
            due,
            ..EventTimes::default()
        };
        run.seen.borrow_mut().push(seen);
        let mut message = Message::new(1);
        let data = format!("{{\"n\":{number}}}");
        message.add_event(
            &idempotency_key(run_number, number as u64),
            TYPE,
            data.as_bytes(),
        );
        stream.send(message.finish()).await?;
        waiting += 1;
    }
}

/// Runs a worker: it receives an event, waits for a random time, and acknowledges the event.
async fn worker(
    mut stream: GrpcStream,
    run: Rc<PoolRun>,
    mut random: Random,
    mean: f64,
) -> anyhow::Result<()> {
    while !run.is_over() {
        let bytes = tokio::select! {
            bytes = stream.next_message() => bytes?,
            () = tokio::time::sleep(Duration::from_millis(20)) => {
                let late = run.now() - run.seen.borrow().last().map_or(0.0, |seen| seen.due);
                ensure!(!run.whole.get() || late < WAIT_MAX.as_secs_f64(), "events remained after the end");
                continue;
            }
        };
        let taken = run.now();
        let (mut response_number, mut event) = (0, None);
        parse_response(&bytes, &mut response_number, &mut |delivered| {
            let data: Value = serde_json::from_slice(delivered.data)?;
            event = data["n"].as_u64();
            Ok(())
        })?;
        let event = event.context("a response has no event")? as usize;
        let wanted = taken + draw_exponential(&mut random, mean);
        let until = run.begun + Duration::from_secs_f64(wanted);
        tokio::time::sleep_until(until.into()).await;
        stream.send(encode_acknowledgement(response_number)).await?;
        let done = run.now();
        let mut seen = run.seen.borrow_mut();
        let seen = seen
            .get_mut(event)
            .context("an event was never published")?;
        ensure!(seen.taken == 0.0, "an event came twice");
        (seen.taken, seen.done) = (taken, done);
        run.done.set(run.done.get() + 1);
    }
    stream.finish_sending()?;
    stream.drain().await
}

/// Returns the mean of the batches' means and its 95 % confidence interval; no interval if a batch has no mean.
fn confidence_interval(batches: &[Option<f64>]) -> (f64, Option<(f64, f64)>) {
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

/// Returns the mean wait and the mean queue length of each batch of `width` seconds from `from` on.
fn average_batches(
    seen: &[EventTimes],
    from: f64,
    width: f64,
) -> (Vec<Option<f64>>, Vec<Option<f64>>) {
    let batch = |at: usize| {
        let (begin, end) = (from + at as f64 * width, from + (at + 1) as f64 * width);
        let arrived = seen.iter().filter(|one| (begin..end).contains(&one.due));
        let (count, waited) = arrived.fold((0, 0.0), |(count, sum), one| {
            (count + 1, sum + (one.taken - one.due))
        });
        let overlap = |one: &EventTimes| (one.taken.min(end) - one.due.max(begin)).max(0.0);
        let length = seen.iter().map(overlap).sum::<f64>() / width;
        ((count > 0).then(|| waited / f64::from(count)), Some(length))
    };
    (0..BATCHES).map(batch).unzip()
}

/// Compares an observed figure with the model's prediction from rates measured here and from rates measured by the server.
fn compare_figure(batches: &[Option<f64>], predicted: Option<f64>, by_server: &Value) -> Value {
    let (mean, bounds) = confidence_interval(batches);
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

fn compare_with_model(
    options: &options::PoolOptions,
    seen: &[EventTimes],
    figures: &Value,
) -> Value {
    let seconds = options.seconds as f64;
    // The queue was empty at the start, so the first tenth is not counted.
    let from = seconds / 10.0;
    let counted: Vec<&EventTimes> = seen.iter().filter(|one| one.due >= from).collect();
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
    let (waits, lengths) = average_batches(seen, from, (seconds - from) / BATCHES as f64);
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
        "wait_seconds": compare_figure(&waits, figure(|of| of.wait), &model["wait_seconds"]),
        "length": compare_figure(&lengths, figure(|of| of.queue_length), &model["length"]),
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
        let seen: Vec<EventTimes> = (0..40)
            .map(|at| EventTimes {
                due: f64::from(at),
                taken: f64::from(at) + 0.5,
                done: f64::from(at) + 0.75,
            })
            .collect();
        let (waits, lengths) = average_batches(&seen, 0.0, 2.0);
        assert_eq!(waits, vec![Some(0.5); BATCHES]);
        assert_eq!(lengths, vec![Some(0.5); BATCHES]);
        assert_eq!(confidence_interval(&waits), (0.5, Some((0.5, 0.5))));
        let (_, bounds) = confidence_interval(&[Some(0.5), None]);
        assert_eq!(bounds, None);
    }

    #[test]
    fn an_interval_is_as_wide_as_its_batches_differ() {
        let batches: Vec<Option<f64>> = (0..20).map(|at| Some(f64::from(at % 2))).collect();
        let (mean, bounds) = confidence_interval(&batches);
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
            .map(|_| draw_exponential(&mut random, 2.0))
            .collect();
        let mean = times.iter().sum::<f64>() / 1e5;
        let longer = times.iter().filter(|time| **time > 2.0).count() as f64 / 1e5;
        assert!((mean - 2.0).abs() < 0.03, "{mean}");
        assert!((longer - (-1.0_f64).exp()).abs() < 0.01, "{longer}");
    }
}
