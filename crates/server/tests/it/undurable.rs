//! Where nothing can be written beside the journal, nothing is answered as done that a crash would undo.

use std::sync::atomic::Ordering;

use serde_json::{Value, json};
use tokio::sync::mpsc;
use tonic::Code;

use crate::client::send;
use crate::fixture::{Fixture, id};
use crate::grpc::client::code;
use crate::grpc::messages::{Nack, ReceiveRequest, ReceiveResponse};
use crate::grpc::streams::received;
use crate::grpc::{block, platform};

/// A subscription whose events are dead after one attempt, and one event for it.
fn subscribe(server: &Fixture) -> String {
    let body = json!({"events": ["app.#"], "attempts_max": 1});
    let made = server.post("/v1/subscriptions", &body).expect(201);
    publish(server);
    format!("/v1/subscriptions/{}", id(&made))
}

fn publish(server: &Fixture) {
    let event = json!({"type": "app.order", "data": {}});
    server.post("/v1/events", &event).expect(201);
}

fn set_unwritable(server: &Fixture, unwritable: bool) {
    let switch = &server.faults.deliveries_unwritable;
    switch.store(unwritable, Ordering::SeqCst);
}

fn take(server: &Fixture, path: &str) -> Value {
    let body = json!({"max": 1, "wait_seconds": 20});
    let taken = server.post(&format!("{path}/receive"), &body).expect(200);
    taken["data"][0].clone()
}

fn dead(server: &Fixture, path: &str) -> usize {
    let page = server.get(&format!("{path}/dead_letters")).expect(200);
    page["data"].as_array().expect("a list").len()
}

#[test]
fn a_nack_that_cannot_be_kept_is_refused_and_lists_no_dead_letter() {
    let mut server = Fixture::with_subscriptions();
    let path = subscribe(&server);
    let delivery = take(&server, &path);
    set_unwritable(&server, true);
    let nack = json!({"receipts": [delivery["receipt"]], "error": "no"});
    let answer = server.post(&format!("{path}/nack"), &nack);
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (503, "messaging_unavailable")
    );
    assert_eq!(dead(&server, &path), 0, "a crash would undo it");
    // Nothing more can be written, as if the process was killed.
    server.restart();
    assert_eq!(dead(&server, &path), 0);
    let again = take(&server, &path);
    assert_eq!(again["event"]["id"], delivery["event"]["id"]);

    let nack = json!({"receipts": [again["receipt"]], "error": "no"});
    server.post(&format!("{path}/nack"), &nack).expect(200);
    assert_eq!(dead(&server, &path), 1);
    // What was answered as done is durable already: the end of the process writes nothing more.
    set_unwritable(&server, true);
    server.restart();
    assert_eq!(dead(&server, &path), 1);
}

#[test]
fn what_cannot_be_kept_of_a_change_of_deliveries_is_refused() {
    let mut server = Fixture::with_subscriptions();
    let path = subscribe(&server);
    let delivery = take(&server, &path);
    let nack = json!({"receipts": [delivery["receipt"]]});
    server.post(&format!("{path}/nack"), &nack).expect(200);
    set_unwritable(&server, true);
    let event = &delivery["event"]["id"];
    for (operation, body) in [
        ("dead_letters/drop", json!({})),
        ("dead_letters/requeue", json!({})),
        ("rewind", json!({"to": "beginning"})),
        ("replay", json!({"first": event, "last": event})),
    ] {
        let answer = server.post(&format!("{path}/{operation}"), &body);
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (503, "messaging_unavailable"),
            "{operation}"
        );
    }
    server.restart();
    assert_eq!(dead(&server, &path), 1, "nothing of it was done");
}

/// Settings are records of the journal: they need no place beside it.
#[test]
fn a_subscription_is_made_changed_and_deleted_all_the_same_and_is_so_after_a_restart() {
    let mut server = Fixture::with_subscriptions();
    let deleted = subscribe(&server);
    set_unwritable(&server, true);
    let made = subscribe(&server);
    let pause = format!("{made}/pause");
    server.post(&pause, &json!({})).expect(200);
    let bearer = format!("Bearer {}", server.platform);
    let headers = [("Authorization", bearer.as_str())];
    send(server.addr, "DELETE", &deleted, &headers, b"").expect(200);
    let shown = server.get(&made).expect(200);
    server.restart();
    let after = server.get(&made).expect(200);
    for field in ["id", "revision", "paused", "events"] {
        assert_eq!(after[field], shown[field], "{field}");
    }
    assert_eq!(server.get(&deleted).status, 404);
    let resume = format!("{made}/resume");
    server.post(&resume, &json!({})).expect(200);
    take(&server, &made);
}

#[test]
fn over_grpc_a_nack_that_cannot_be_kept_ends_the_stream() {
    let mut server = Fixture::with_subscriptions_and_grpc();
    let path = subscribe(&server);
    let subscription = path.rsplit('/').next().expect("an id").to_owned();
    let client = platform(&server);
    let (requests, arrived) = mpsc::unbounded_channel();
    let first = ReceiveRequest {
        subscription: subscription.as_bytes().to_vec(),
        ..ReceiveRequest::default()
    };
    requests.send(first).expect("sent");
    let ended = client.stream(
        "/tributary.v1.Subscriptions/Receive",
        received(arrived),
        |response: ReceiveResponse| {
            set_unwritable(&server, true);
            let nack = Nack {
                responses: vec![response.number],
                error: "no".to_owned(),
                ..Nack::default()
            };
            let request = ReceiveRequest {
                nacks: vec![nack],
                ..ReceiveRequest::default()
            };
            requests.send(request).expect("sent");
        },
    );
    let status = ended.expect_err("it is not answered as done");
    assert_eq!(
        (status.code(), code(&status)),
        (Code::Unavailable, "messaging_unavailable")
    );
    assert_eq!(dead(&server, &path), 0);
    drop(client);
    server.restart();
    assert_eq!(dead(&server, &path), 0);
    take(&server, &path);
}

/// A receipt that was never handed out is answered like one whose attempt is over.
#[test]
fn over_grpc_an_invented_receipt_is_answered_like_an_old_one() {
    let server = Fixture::with_subscriptions_and_grpc();
    let path = subscribe(&server);
    let delivery = take(&server, &path);
    let old = delivery["receipt"].as_str().expect("text").to_owned();
    let ack = json!({ "receipts": [old] });
    server.post(&format!("{path}/ack"), &ack).expect(200);
    let invented = format!("rcp_{}", "2".repeat(26));
    for receipt in [old, invented] {
        let client = platform(&server);
        let (requests, arrived) = mpsc::unbounded_channel();
        let subscription = path.rsplit('/').next().expect("an id");
        for request in [
            ReceiveRequest {
                subscription: subscription.as_bytes().to_vec(),
                ..ReceiveRequest::default()
            },
            ReceiveRequest {
                ack_receipts: vec![receipt.clone().into_bytes()],
                ..ReceiveRequest::default()
            },
        ] {
            requests.send(request).expect("sent");
        }
        let mut requests = Some(requests);
        let mut expired = Vec::new();
        let ended = client.stream(
            "/tributary.v1.Subscriptions/Receive",
            received(arrived),
            |response: ReceiveResponse| {
                expired.extend(response.expired);
                requests = None;
            },
        );
        ended.expect("it goes on");
        assert_eq!(expired, [block(&receipt)], "{receipt}");
    }
}
