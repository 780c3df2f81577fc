//! `Receive`: what comes, what is acknowledged, and how it ends.

use serde_json::{Value, json};
use tokio::sync::mpsc;
use tonic::{Code, Status};

use super::client::{Client, code, param};
use super::messages::{Nack, ReceiveRequest, ReceiveResponse};
use super::streams::received;
use super::{as_holder, block, platform};
use crate::client::{PATIENCE, send as send_http};
use crate::fixture::{Fixture, id, pay};

const RECEIVE: &str = "/tributary.v1.Subscriptions/Receive";

fn start() -> Fixture {
    Fixture::with_subscriptions_and_grpc()
}

fn subscribe(server: &Fixture, body: &Value) -> String {
    id(&server.post("/v1/subscriptions", body).expect(201))
}

fn publish(server: &Fixture, number: u64, key: &str) -> Value {
    let mut body = json!({"type": "app.order.made", "data": {"number": number}});
    if !key.is_empty() {
        body["key"] = key.into();
    }
    server.post("/v1/events", &body).expect(201)
}

fn figures(server: &Fixture, id: &str) -> Value {
    server.get(&format!("/v1/subscriptions/{id}")).expect(200)["figures"].clone()
}

fn open(subscription: &str) -> ReceiveRequest {
    ReceiveRequest {
        subscription: subscription.as_bytes().to_vec(),
        ..ReceiveRequest::default()
    }
}

fn ack(number: u64) -> ReceiveRequest {
    ReceiveRequest {
        ack_responses: vec![number],
        ..ReceiveRequest::default()
    }
}

/// Opens a stream and hands every response to `see`, with what sends requests; it ends when `see` says so.
fn stream(
    client: &Client,
    first: ReceiveRequest,
    mut see: impl FnMut(&ReceiveResponse, &mpsc::UnboundedSender<ReceiveRequest>) -> bool,
) -> Result<(), Status> {
    let (send, requests) = mpsc::unbounded_channel();
    send.send(first).expect("sent");
    let mut send = Some(send);
    client.stream(RECEIVE, received(requests), |response: ReceiveResponse| {
        let goes_on = send.as_ref().is_some_and(|send| see(&response, send));
        if !goes_on {
            send = None;
        }
    })
}

#[test]
fn events_come_as_they_are_listed_in_numbered_responses() {
    let server = start();
    let (buyer, shop) = (
        server.wallet("ann", 1_000),
        server.account("shop", "merchant"),
    );
    let all = subscribe(&server, &json!({"events": ["#"], "start": "beginning"}));
    for number in 0..30 {
        publish(&server, number, "orders");
        if number % 10 == 0 {
            server
                .post("/v1/payments", &pay(&buyer, &shop, 1 + number))
                .expect(201);
        }
    }
    let head = server.reader().head().position as usize;
    let first = ReceiveRequest {
        batch_max: 7,
        out_max: 14,
        ..open(&all)
    };
    let (mut seen, mut numbers) = (Vec::new(), Vec::new());
    let ended = stream(&platform(&server), first, |response, send| {
        numbers.push(response.number);
        assert!(response.events.len() <= 7 && response.expired.is_empty());
        seen.extend(response.events.iter().cloned());
        send.send(ack(response.number)).expect("sent");
        seen.len() < head
    });
    ended.expect("it ends with the client");
    assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>());
    let listed = |limit: usize| -> Vec<Value> {
        let (mut all, mut after) = (Vec::new(), String::new());
        while all.len() < limit {
            let page = server
                .get(&format!("/v1/events?limit=100{after}"))
                .expect(200);
            let page = page["data"].as_array().expect("a list");
            all.extend(page.iter().cloned());
            after = format!("&starting_after={}", id(&all[all.len() - 1]));
        }
        all.reverse();
        all
    };
    let listed = listed(head);
    assert_eq!((seen.len(), listed.len()), (head, head));
    for (event, listed) in seen.iter().zip(&listed) {
        assert_eq!(event.id, block(&id(listed)));
        assert_eq!(event.r#type, listed["type"].as_str().expect("a type"));
        let data: Value = serde_json::from_slice(&event.data).expect("JSON");
        assert_eq!(data, listed["data"]);
        assert_eq!(event.key, listed["key"].as_str().unwrap_or_default());
        assert_eq!(event.owner, listed["owner"].as_str().unwrap_or_default());
        assert_eq!((event.attempt, event.receipt.len()), (1, 16));
        assert!(event.created > 1_600_000_000_000_000_000);
    }
    let figures = figures(&server, &all);
    assert_eq!(figures["handed_out"], json!(head));
    // The last acknowledgement may have been cut off with the stream.
    assert!(
        figures["acknowledged"].as_u64() >= Some(head as u64 - 7),
        "{figures}"
    );
}

#[test]
fn no_more_are_out_than_may_be_and_what_is_not_acknowledged_comes_again() {
    let server = start();
    let orders = subscribe(&server, &json!({"events": ["app.#"]}));
    for number in 0..10 {
        publish(&server, number, "");
    }
    let first = ReceiveRequest {
        batch_max: 3,
        out_max: 5,
        visibility_seconds: 1,
        ..open(&orders)
    };
    let (mut attempts, mut expired, mut out) = (Vec::new(), 0, 0);
    let ended = stream(&platform(&server), first, |response, send| {
        expired += response.expired.len();
        out += response.events.len();
        out -= response.expired.len();
        assert!(out <= 5, "{out} are out");
        attempts.extend(response.events.iter().map(|event| event.attempt));
        if attempts.len() == 5 && expired == 0 {
            assert_eq!(figures(&server, &orders)["in_flight"], 5);
            // Nobody answers for as long as the receiver has.
            server.clock.advance(2);
        }
        // Only those that come again are acknowledged.
        let again = response.events.iter().filter(|event| event.attempt > 1);
        let receipts: Vec<Vec<u8>> = again.map(|event| event.receipt.clone()).collect();
        out -= receipts.len();
        let request = ReceiveRequest {
            ack_receipts: receipts,
            ..ReceiveRequest::default()
        };
        send.send(request).expect("sent");
        // On a busy machine the second response may be over long after the first.
        attempts.iter().filter(|attempt| **attempt > 1).count() < 5 || expired < 5
    });
    ended.expect("it ends with the client");
    assert!(expired >= 5, "{expired} were told to be over");
}

#[test]
fn what_a_stream_had_when_it_ended_comes_again() {
    let server = start();
    let terms = json!({"events": ["app.#"], "attempts_max": 2, "visibility_seconds": 43_200,
        "backoff": {"delays_seconds": [0]}});
    let orders = subscribe(&server, &terms);
    for number in 0..5 {
        publish(&server, number, "");
    }
    for attempt in 1..=2 {
        let first = ReceiveRequest {
            batch_max: 2,
            out_max: 4,
            ..open(&orders)
        };
        let mut seen = Vec::new();
        let ended = stream(&platform(&server), first, |response, send| {
            seen.extend(response.events.iter().map(|event| event.attempt));
            // The first event is done by itself; three of four are not.
            if attempt == 1 && response.number == 1 {
                let request = ReceiveRequest {
                    ack_receipts: vec![response.events[0].receipt.clone()],
                    ..ReceiveRequest::default()
                };
                send.send(request).expect("sent");
            }
            seen.len() < 4
        });
        ended.expect("it ends with the client");
        assert!(
            seen.iter().all(|seen| *seen == attempt || *seen == 1),
            "{seen:?}"
        );
        let begun = std::time::Instant::now();
        while figures(&server, &orders)["in_flight"] != 0 {
            assert!(begun.elapsed() < PATIENCE);
        }
    }
    // No time went by. What was had twice is dead.
    let dead = server.get(&format!("/v1/subscriptions/{orders}/dead_letters"));
    let dead = dead.expect(200);
    let dead = dead["data"].as_array().expect("a list");
    assert!((3..=4).contains(&dead.len()), "{dead:?}");
    for letter in dead {
        assert_eq!(letter["history"][1]["error"], "the receiver went away");
    }
}

#[test]
fn what_fails_comes_again_and_dies() {
    let server = start();
    let terms = json!({"events": ["app.#"], "attempts_max": 2});
    let orders = subscribe(&server, &terms);
    for number in 0..2 {
        publish(&server, number, "");
    }
    let nack = |nack: Nack| ReceiveRequest {
        nacks: vec![Nack {
            delay_seconds: Some(0),
            error: "no stock".into(),
            ..nack
        }],
        ..ReceiveRequest::default()
    };
    let mut seen = Vec::new();
    let ended = stream(&platform(&server), open(&orders), |response, send| {
        for event in &response.events {
            seen.push(event.attempt);
        }
        let first = &response.events.first().map(|event| event.receipt.clone());
        let by_receipt = nack(Nack {
            receipts: first.iter().cloned().collect(),
            ..Nack::default()
        });
        let rest = nack(Nack {
            responses: vec![response.number],
            ..Nack::default()
        });
        if first.is_some() {
            send.send(by_receipt.clone()).expect("sent");
            send.send(rest).expect("sent");
            // Its attempt is over by then.
            if seen.len() == 4 {
                send.send(by_receipt).expect("sent");
            }
        }
        response.expired.is_empty()
    });
    ended.expect("it ends with the client");
    assert_eq!(seen, [1, 1, 2, 2]);
    let dead = format!("/v1/subscriptions/{orders}/dead_letters");
    let dead = server.get(&dead).expect(200);
    let dead = dead["data"].as_array().expect("a list");
    assert_eq!(dead.len(), 2);
    assert_eq!(dead[0]["history"][1]["error"], "no stock");
}

#[test]
fn events_wake_a_stream_and_a_deletion_ends_it() {
    let server = start();
    let orders = subscribe(&server, &json!({"events": ["app.#"]}));
    publish(&server, 0, "");
    let mut count = 0;
    let ended = stream(&platform(&server), open(&orders), |response, send| {
        count += response.events.len();
        send.send(ack(response.number)).expect("sent");
        if count < 3 {
            publish(&server, count as u64, "");
        } else {
            let path = format!("/v1/subscriptions/{orders}");
            let authorization = format!("Bearer {}", server.platform);
            let headers = [("Authorization", authorization.as_str())];
            send_http(server.addr, "DELETE", &path, &headers, b"").expect(200);
        }
        true
    });
    let status = ended.expect_err("it is gone");
    assert_eq!((count, status.code()), (3, Code::NotFound));
}

#[test]
fn a_stop_ends_a_stream_and_what_was_out_comes_again() {
    let mut server = start();
    let orders = subscribe(
        &server,
        &json!({"events": ["app.#"], "visibility_seconds": 1}),
    );
    publish(&server, 0, "");
    let client = platform(&server);
    let mut running = server.running.take();
    let mut stopping = None;
    let ended = stream(&client, open(&orders), |response, _| {
        assert_eq!(response.events.len(), 1);
        let running = running.take().expect("the first response");
        stopping = Some(std::thread::spawn(move || running.shutdown()));
        true
    });
    let status = ended.expect_err("the server stops");
    assert_eq!(
        (status.code(), code(&status)),
        (Code::Unavailable, "stopping")
    );
    drop(client);
    stopping.expect("it began").join().expect("it ends");
}

#[test]
fn wrong_requests_and_callers_are_refused() {
    let server = start();
    let orders = subscribe(&server, &json!({"events": ["app.#"]}));
    publish(&server, 0, "");
    let refused = |token: &str, first: ReceiveRequest| {
        let ended = stream(&as_holder(&server, token), first, |_, _| false);
        ended.expect_err("it is refused")
    };
    let eve = server.token("eve", "write");
    let reader = server.token("eve", "read");
    for (token, expected) in [
        ("", "api_key_missing"),
        (reader.as_str(), "read_only_key"),
        (eve.as_str(), "resource_not_found"),
    ] {
        assert_eq!(code(&refused(token, open(&orders))), expected);
    }
    let all = server.platform.clone();
    let with = |change: fn(&mut ReceiveRequest)| {
        let mut first = open(&orders);
        change(&mut first);
        first
    };
    for (first, at) in [
        (with(|first| first.batch_max = 1_001), "batch_max"),
        (with(|first| first.out_max = 10_001), "out_max"),
        (
            with(|first| first.visibility_seconds = 43_201),
            "visibility_seconds",
        ),
        (with(|first| first.ack_responses = vec![1]), "ack_responses"),
        (with(|first| first.subscription.clear()), "subscription"),
    ] {
        let status = refused(&all, first);
        assert_eq!(param(&status), at);
    }
    for (second, at) in [
        (open(&orders), "subscription"),
        (
            ReceiveRequest {
                ack_receipts: vec![vec![7; 15]],
                ..ReceiveRequest::default()
            },
            "receipts",
        ),
    ] {
        let ended = stream(&platform(&server), open(&orders), |_, send| {
            send.send(second.clone()).expect("sent");
            true
        });
        let status = ended.expect_err("it is refused");
        assert_eq!((code(&status), param(&status)), ("parameter_invalid", at));
        // So that the next one has something to see.
        publish(&server, 1, "");
    }
}
