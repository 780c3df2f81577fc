//! Modes `publish` and `pull`: events are published in batches, then pulled from a subscription.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Instant;

use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;
use serde_json::{Value, json};
use tokio::task::LocalSet;

use crate::books::runtime;
use crate::error::usage_error;
use crate::grpc::{GrpcStream, RECEIVE};
use crate::machine;
use crate::meter::{Latencies, Progress};
use crate::options;
use crate::payload::{
    DeliveredEvent, Message, encode_acknowledgement, encode_receive_request, idempotency_key,
    parse_response, parse_results,
};
use crate::report::{print_result, round_to_tenth};
use crate::server::{Server, create_subscription};

/// Type of the events.
const TYPE: &str = "app.bench.event";
/// Place of an event's number in its data, in hexadecimal digits.
const NUMBER_AT: std::ops::Range<usize> = 6..22;

/// The events of one run: each has its own number, and all have the same length.
struct Events {
    run: u64,
    data: Vec<u8>,
}

impl Events {
    fn new(size: u32) -> anyhow::Result<Events> {
        let mut run = [0; 8];
        getrandom::fill(&mut run)?;
        let mut data = br#"{"n":"0000000000000000","x":""#.to_vec();
        data.resize(size as usize - 2, b'x');
        data.extend(b"\"}");
        Ok(Events {
            run: u64::from_le_bytes(run),
            data,
        })
    }

    /// Returns the data of an event.
    fn data(&mut self, number: u64) -> &[u8] {
        for (at, digit) in self.data[NUMBER_AT].iter_mut().zip((0..16).rev()) {
            *at = b"0123456789abcdef"[(number >> (4 * digit) & 15) as usize];
        }
        &self.data
    }

    /// Returns the number of a delivered event, or `None` if the event differs from the published one.
    fn number(&mut self, event: &DeliveredEvent<'_>) -> Option<u64> {
        let digits = event.data.get(NUMBER_AT)?;
        let mut number = 0;
        for digit in digits {
            number = number << 4 | u64::from(char::from(*digit).to_digit(16)?);
        }
        (event.kind == TYPE.as_bytes() && event.data == self.data(number)).then_some(number)
    }
}

/// Runs the mode `publish`.
pub(crate) fn publish(options: &options::PublishOptions) -> anyhow::Result<()> {
    run(&options.events, None)
}

/// Runs the mode `pull`.
pub(crate) fn pull(options: &options::PullOptions) -> anyhow::Result<()> {
    run(&options.events, Some(options))
}

fn run(
    options: &options::EventsOptions,
    pull: Option<&options::PullOptions>,
) -> anyhow::Result<()> {
    if options.events == 0 {
        return Err(usage_error("--events must be at least 1"));
    }
    let server = Server::start_new(&options.run)?;
    let subscription = subscribe(&server)?;
    let mut events = Events::new(options.size)?;
    let mut result = publish_all(&server, options, &mut events)?;
    if let Some(pull) = pull {
        let pulled = pull_all(&server, pull, &subscription, events)?;
        let Value::Object(pulled) = pulled else {
            bail!("a result is an object");
        };
        result.as_object_mut().expect("an object").extend(pulled);
    }
    let (memory, directory) = (server.memory(), server.directory());
    let more = json!({
        "mode": if pull.is_some() { "pull" } else { "publish" },
        "events": options.events,
        "event_bytes": options.size,
        "publish_batch_size": options.publish_batch,
        "server_rss_anon_bytes": memory.anonymous,
        "sync_policy": "synced before every answer; answers that wait share a sync",
        "filesystem": directory.and_then(machine::find_filesystem),
        "processors": machine::count_processors(),
        "version": env!("CARGO_PKG_VERSION"),
    });
    server.stop()?;
    let Value::Object(more) = more else {
        bail!("a result is an object");
    };
    result.as_object_mut().expect("an object").extend(more);
    print_result(&result, options.run.json);
    Ok(())
}

/// Creates a subscription to all events of the run, and returns its id.
fn subscribe(server: &Server) -> anyhow::Result<String> {
    let terms = json!({"events": ["app.bench.#"], "in_flight_max": 10_000});
    create_subscription(&mut server.client()?, &idempotency_key(0, 0), &terms)
}

/// Publishes all events over one stream, with several batches in flight.
fn publish_all(
    server: &Server,
    options: &options::EventsOptions,
    events: &mut Events,
) -> anyhow::Result<Value> {
    let runtime = runtime()?;
    let set = LocalSet::new();
    set.block_on(&runtime, async {
        let mut stream = GrpcStream::open(server.grpc, &server.token).await?;
        let mut latencies = Latencies::new();
        let mut progress = Progress::new("publish", "events", options.events);
        let mut waiting: VecDeque<(u64, Instant)> = VecDeque::new();
        let mut next = 0;
        loop {
            let room = waiting.len() < options.in_flight as usize;
            if next < options.events && room {
                let begun = Instant::now();
                let count = u64::from(options.publish_batch).min(options.events - next);
                let mut message = Message::new(count as usize * (options.size as usize / 64 + 1));
                for number in next..next + count {
                    message.add_event(
                        &idempotency_key(events.run, number),
                        TYPE,
                        events.data(number),
                    );
                }
                next += count;
                stream.send(message.finish()).await?;
                waiting.push_back((count, begun));
                continue;
            }
            let Some((count, begun)) = waiting.pop_front() else {
                break;
            };
            let answer = stream.next_message().await?;
            let done =
                parse_results(&answer).filter(|result| result.code.is_empty() && !result.replayed);
            ensure!(done.count() as u64 == count, "an event was not published");
            let now = Instant::now();
            latencies.record(now.duration_since(begun));
            progress.add(count, now);
        }
        stream.finish_sending()?;
        let (took, rates) = progress.finish();
        let seconds = took.as_secs_f64();
        Ok(json!({
            "published_per_second": round_to_tenth(options.events as f64 / seconds.max(1e-9)),
            "publish_seconds": seconds,
            "publish_rate_of_each_tenth": rates,
            "publish_latency": latencies.summary(),
        }))
    })
}

/// State that all consumers share.
struct Pulling {
    events: Events,
    /// One bit per delivered event.
    seen: Vec<u64>,
    left: u64,
    again: u64,
    responses: u64,
    progress: Progress,
}

impl Pulling {
    /// Records the events of a response, and returns the number of the response.
    fn take(&mut self, bytes: &[u8]) -> anyhow::Result<u64> {
        let (mut number, mut count) = (0, 0);
        parse_response(bytes, &mut number, &mut |event| {
            let Some(at) = self.events.number(&event) else {
                bail!("a delivered event differs from every published one");
            };
            let word = self.seen.get_mut((at / 64) as usize);
            let word = word.context("a delivered event was never published")?;
            let bit = 1 << (at % 64);
            if *word & bit == 0 {
                *word |= bit;
                count += 1;
            } else {
                self.again += 1;
            }
            Ok(())
        })?;
        self.left -= count;
        self.responses += 1;
        self.progress.add(count, Instant::now());
        Ok(number)
    }
}

/// Pulls and acknowledges all events.
fn pull_all(
    server: &Server,
    options: &options::PullOptions,
    subscription: &str,
    events: Events,
) -> anyhow::Result<Value> {
    let total = options.events.events;
    let pulling = Rc::new(RefCell::new(Pulling {
        events,
        seen: vec![0; total.div_ceil(64) as usize],
        left: total,
        again: 0,
        responses: 0,
        progress: Progress::new("pull", "events", total),
    }));
    let runtime = runtime()?;
    let set = LocalSet::new();
    set.block_on(&runtime, async {
        let mut consumers = Vec::new();
        for _ in 0..options.consumers {
            let mut stream = GrpcStream::open_method(server.grpc, &server.token, RECEIVE).await?;
            let (batch, out) = (options.batch, options.batch * options.responses_out);
            stream
                .send(encode_receive_request(subscription, batch, out))
                .await?;
            consumers.push(stream);
        }
        let mut tasks = Vec::new();
        for stream in consumers {
            tasks.push(tokio::task::spawn_local(consume(stream, pulling.clone())));
        }
        for task in tasks {
            task.await??;
        }
        anyhow::Ok(())
    })?;
    drop((set, runtime));
    let pulling = Rc::into_inner(pulling).context("a consumer still runs")?;
    let pulling = pulling.into_inner();
    let (took, rates) = pulling.progress.finish();
    let acknowledged = acknowledged(server, subscription, total)?;
    let seconds = took.as_secs_f64();
    Ok(json!({
        "pulled_per_second": round_to_tenth(total as f64 / seconds.max(1e-9)),
        "pull_seconds": seconds,
        "pull_rate_of_each_tenth": rates,
        "pulled_again": pulling.again,
        "responses": pulling.responses,
        "acknowledged": acknowledged,
        "consumers": options.consumers,
        "batch_size": options.batch,
        "responses_out": options.responses_out,
    }))
}

/// Receives and acknowledges responses, until every event was delivered to one of the consumers.
async fn consume(mut stream: GrpcStream, pulling: Rc<RefCell<Pulling>>) -> anyhow::Result<()> {
    while pulling.borrow().left > 0 {
        let bytes: Bytes = tokio::select! {
            bytes = stream.next_message() => bytes?,
            // Other consumers may have received the rest.
            () = tokio::time::sleep(std::time::Duration::from_millis(20)) => continue,
        };
        let number = pulling.borrow_mut().take(&bytes)?;
        if number > 0 {
            stream.send(encode_acknowledgement(number)).await?;
        }
    }
    stream.finish_sending()?;
    // The server ends the stream after it has processed all acknowledgements.
    stream.drain().await
}

/// Checks that the server counted every acknowledgement, and returns the count.
fn acknowledged(server: &Server, subscription: &str, total: u64) -> anyhow::Result<u64> {
    let path = format!("/v1/subscriptions/{subscription}");
    let shown = server.client()?.get_json(&path)?;
    let count = shown["figures"]["acknowledged"].as_u64();
    let count = count.context("the subscription shows no count of acknowledgements")?;
    ensure!(
        count == total,
        "{total} events were acknowledged, but the server counts {count}"
    );
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_told_from_one_that_was_changed() {
        let mut events = Events::new(64).expect("random bytes");
        let data = events.data(0xabc).to_vec();
        assert_eq!(data.len(), 64);
        assert!(serde_json::from_slice::<Value>(&data).is_ok());
        let kind = TYPE.as_bytes();
        let event = |data| DeliveredEvent { kind, data };
        assert_eq!(events.number(&event(&data)), Some(0xabc));
        let mut other = data.clone();
        other[40] = b'y';
        assert_eq!(events.number(&event(&other)), None);
        assert_eq!(events.number(&event(&data[..63])), None);
    }
}
