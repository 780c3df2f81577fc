//! `SubmitStream`: order, several batches on their way, and how it ends.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::sync::mpsc;
use tokio_stream::iter;
use tonic::Code;

use super::client::code;
use super::messages::{SubmitRequest, SubmitResponse};
use super::{as_holder, paying, platform, start};
use crate::client::PATIENCE;
use crate::fixture::id;

const STREAM: &str = "/tributary.v1.Ledger/SubmitStream";

#[test]
fn answers_come_in_the_order_of_the_batches_and_in_their_number() {
    let server = start();
    let (buyer, shop) = (
        server.wallet("ann", 1_000_000),
        server.account("shop", "merchant"),
    );
    // Far more than may be on their way at once, of all sizes.
    let batches: Vec<SubmitRequest> = (0..100u64)
        .map(|number| SubmitRequest {
            batch: number * 3 + 1,
            commands: (0..=number % 7)
                .map(|at| paying(&format!("{number}-{at}"), &buyer, &shop, 1))
                .collect(),
        })
        .collect();
    let expected: Vec<(u64, usize)> = batches
        .iter()
        .map(|batch| (batch.batch, batch.commands.len()))
        .collect();
    let mut seen = Vec::new();
    let ended = platform(&server).stream(STREAM, iter(batches), |answer: SubmitResponse| {
        assert!(answer.results.iter().all(|result| result.code.is_empty()));
        seen.push((answer.batch, answer.results.len()));
    });
    ended.expect("it ends with the batches");
    assert_eq!(seen, expected);
    let sum: usize = expected.iter().map(|(_, count)| count).sum();
    assert_eq!(server.posted(&shop), sum as i64);
}

/// Every payment needs the money of the one before it: had any batch overtaken another, it would have been refused.
#[test]
fn batches_of_a_stream_are_decided_in_order() {
    let server = start();
    let (one, two) = (server.wallet("ann", 1), server.account("bob", "wallet"));
    let batches = (0..200u64).map(move |number| {
        let (from, to) = if number % 2 == 0 {
            (&one, &two)
        } else {
            (&two, &one)
        };
        SubmitRequest {
            batch: number,
            commands: vec![paying(&number.to_string(), from, to, 1)],
        }
    });
    let mut count = 0;
    let ended = platform(&server).stream(
        STREAM,
        iter(batches.collect::<Vec<_>>()),
        |answer: SubmitResponse| {
            assert_eq!(answer.results[0].code, "", "batch {}", answer.batch);
            count += 1;
        },
    );
    ended.expect("it ends with the batches");
    assert_eq!(count, 200);
}

#[test]
fn a_batch_that_fails_ends_the_stream_after_the_answers_before_it() {
    let server = start();
    let (buyer, shop) = (
        server.wallet("ann", 1_000),
        server.account("shop", "merchant"),
    );
    let of = |number: u64, key: &str| SubmitRequest {
        batch: number,
        commands: vec![paying(key, &buyer, &shop, 1)],
    };
    let batches = vec![of(1, "a"), of(2, "b"), of(3, ""), of(4, "d")];
    let mut seen = Vec::new();
    let ended = platform(&server).stream(STREAM, iter(batches), |answer: SubmitResponse| {
        seen.push(answer.batch);
    });
    let status = ended.expect_err("the third batch has no key");
    assert_eq!(
        (status.code(), code(&status)),
        (Code::InvalidArgument, "idempotency_key_missing")
    );
    assert_eq!(seen, [1, 2]);
    assert_eq!(
        server.posted(&shop),
        2,
        "what comes behind a batch that failed by its form is not done"
    );
}

#[test]
fn a_revoked_key_ends_its_stream() {
    let server = start();
    let (buyer, shop) = (
        server.wallet("ann", 1_000),
        server.account("shop", "merchant"),
    );
    let key = server
        .post("/v1/api_keys", &json!({"owner": "ann", "access": "write"}))
        .expect(201);
    let client = as_holder(&server, key["secret"].as_str().expect("it is shown"));
    let of = |key: &str| SubmitRequest {
        batch: 0,
        commands: vec![paying(key, &buyer, &shop, 1)],
    };
    let (send, batches) = mpsc::unbounded_channel();
    send.send(of("a")).expect("sent");
    let (mut count, again) = (0, of("b"));
    let ended = client.stream(STREAM, received(batches), |_: SubmitResponse| {
        count += 1;
        let path = format!("/v1/api_keys/{}/revoke", id(&key));
        server.post(&path, &json!({})).expect(200);
        send.send(again.clone()).expect("sent");
    });
    let status = ended.expect_err("the key is revoked");
    assert_eq!(
        (count, status.code(), code(&status)),
        (1, Code::Unauthenticated, "api_key_invalid")
    );
}

#[test]
fn a_stop_ends_streams_without_waiting_for_their_clients() {
    let mut server = start();
    let (buyer, shop) = (
        server.wallet("ann", 1_000),
        server.account("shop", "merchant"),
    );
    let client = platform(&server);
    let (send, batches) = mpsc::unbounded_channel();
    send.send(SubmitRequest {
        batch: 1,
        commands: vec![paying("a", &buyer, &shop, 1)],
    })
    .expect("sent");
    let mut running = server.running.take();
    let (mut seen, mut stopping) = (0, None);
    let ended = client.stream(STREAM, received(batches), |answer: SubmitResponse| {
        seen += answer.results.len();
        let running = running.take().expect("the first answer");
        stopping = Some(std::thread::spawn(move || {
            let begun = Instant::now();
            running.shutdown();
            begun.elapsed()
        }));
    });
    let status = ended.expect_err("the server stops");
    assert_eq!(
        (seen, status.code(), code(&status)),
        (1, Code::Unavailable, "stopping")
    );
    drop(client);
    let took = stopping.expect("it began").join().expect("it ends");
    assert!(
        took < PATIENCE / 2,
        "{took:?}: it waited for its drain time-out"
    );
    drop(send);
}

/// A channel as a stream.
pub(crate) fn received<T: Send + 'static>(
    mut channel: mpsc::UnboundedReceiver<T>,
) -> impl tokio_stream::Stream<Item = T> + Send + 'static {
    struct Received<F>(F);
    impl<F, T> tokio_stream::Stream for Received<F>
    where
        F: FnMut(&mut std::task::Context<'_>) -> std::task::Poll<Option<T>> + Unpin,
    {
        type Item = T;
        fn poll_next(
            mut self: std::pin::Pin<&mut Self>,
            context: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<T>> {
            (self.0)(context)
        }
    }
    Received(move |context: &mut std::task::Context<'_>| channel.poll_recv(context))
}

/// Many streams at once send far more than may wait: they are held up, and none is refused.
#[test]
fn more_batches_than_may_wait_are_held_up_and_not_refused() {
    let server = start();
    let (buyer, shop) = (
        server.wallet("ann", 1_000_000_000),
        server.account("shop", "merchant"),
    );
    // The engine can't finish anything before all of it has been sent.
    server.faults.hold();
    let threads: Vec<_> = (0..4u64)
        .map(|stream| {
            let client = platform(&server);
            let batches: Vec<SubmitRequest> = (0..6u64)
                .map(|number| SubmitRequest {
                    batch: number,
                    commands: (0..4_096)
                        .map(|at| paying(&format!("{stream}-{number}-{at}"), &buyer, &shop, 1))
                        .collect(),
                })
                .collect();
            std::thread::spawn(move || {
                let mut count = 0;
                let ended = client.stream(STREAM, iter(batches), |answer: SubmitResponse| {
                    count += answer.results.len();
                });
                ended.map(|()| count)
            })
        })
        .collect();
    std::thread::sleep(Duration::from_millis(500));
    server.faults.release();
    for thread in threads {
        let ended = thread.join().expect("no panic");
        assert_eq!(ended.expect("it is not refused"), 6 * 4_096);
    }
    assert_eq!(server.posted(&shop), 4 * 6 * 4_096);
}
