//! The books as a whole, and the frames for backups.

use std::sync::Arc;

use serde_json::json;
use tributary_engine::{FrameRef, Head};

use crate::fixture::{Fixture, hold, id, pay};

#[test]
fn debits_equal_credits() {
    let server = Fixture::start();
    assert_eq!(
        server.get("/v1/trial_balance").expect(200)["currencies"],
        json!([])
    );
    let (buyer, shop) = (
        server.wallet("ann", 1_000),
        server.account("shop", "merchant"),
    );
    server
        .post("/v1/payments", &pay(&buyer, &shop, 300))
        .expect(201);
    server
        .post("/v1/payments", &hold(&buyer, &shop, 100))
        .expect(201);
    let balance = server.get("/v1/trial_balance").expect(200);
    assert_eq!(balance["balanced"], true);
    assert_eq!(
        balance["currencies"],
        json!([{"currency": "EUR", "debits": "1000", "credits": "1000", "pending": "100", "kinds": [
            {"kind": "wallet", "accounts": 1, "debits": "0", "credits": "700", "pending": "100"},
            {"kind": "merchant", "accounts": 1, "debits": "0", "credits": "300", "pending": "0"},
            {"kind": "external", "accounts": 1, "debits": "1000", "credits": "0", "pending": "0"},
        ]}])
    );
    assert_eq!(
        server
            .get(&format!(
                "/v1/events/{}",
                balance["event"].as_str().expect("an id")
            ))
            .status,
        200
    );
}

#[test]
fn every_record_is_one_event() {
    let server = Fixture::start();
    let (buyer, shop) = (
        server.wallet("ann", 1_000),
        server.account("shop", "merchant"),
    );
    let held = id(&server
        .post("/v1/payments", &hold(&buyer, &shop, 100))
        .expect(201));
    server
        .post(
            &format!("/v1/payments/{held}/capture"),
            &json!({"amount": 40}),
        )
        .expect(200);
    server
        .post(&format!("/v1/payments/{held}/void"), &json!({}))
        .expect(200);
    server.post("/v1/refunds", &json!({"payment": held, "amount": 50}));
    server
        .post("/v1/refunds", &json!({"payment": held}))
        .expect(201);
    server.post(&format!("/v1/accounts/{shop}/unfreeze"), &json!({}));
    let events = server.get("/v1/events?limit=100").expect(200);
    let events = events["data"].as_array().expect("events");
    assert_eq!(events.len() as u64, server.reader().head().position);
    let types: Vec<&str> = events
        .iter()
        .map(|event| event["type"].as_str().expect("a type"))
        .collect();
    assert_eq!(
        types,
        [
            "account.refused",
            "payment.refunded",
            "payment.refund_refused",
            "payment.voided",
            "payment.partially_captured",
            "payment.authorized",
            "account.opened",
            "payment.captured",
            "account.opened",
            "account.opened",
            "api_key.created"
        ]
    );
    let refused = &events[2]["data"];
    assert_eq!(
        (&refused["failure"]["code"], &refused["object"]["payment"]),
        (&json!("refund_exceeds_captured"), &json!(held))
    );
    assert_eq!(events[1]["data"]["object"]["object"], "refund");
    assert_eq!(
        events[5]["data"]["object"]["status"], "authorized",
        "an event shows the object as it left it"
    );
    for event in events {
        assert_eq!(
            &server.get(&format!("/v1/events/{}", id(event))).expect(200),
            event
        );
    }
}

#[test]
fn the_frames_are_the_journal() {
    let server = Fixture::start();
    let (buyer, shop) = (
        server.wallet("ann", 1_000),
        server.account("shop", "merchant"),
    );
    let batch: Vec<_> = (0..50).map(|index| json!({"idempotency_key": format!("b{index}"), "payment": pay(&buyer, &shop, 1)})).collect();
    server.post("/v1/batches", &json!(batch)).expect(200);
    let shown = server.get("/v1/journal/head").expect(200);
    let answer = server.get("/v1/journal/frames");
    assert_eq!(
        answer.header("content-type"),
        Some("application/octet-stream")
    );
    assert_eq!(
        answer.header("tributary-head-position"),
        Some(shown["position"].to_string().as_str())
    );
    let mut head = Head {
        epoch: 1,
        ..Head::default()
    };
    let mut rest = &answer.body[..];
    while !rest.is_empty() {
        let len = FrameRef::parse(rest)
            .map_or_else(|_| first_frame_len(rest), |frame| frame.bytes().len());
        let frame = FrameRef::parse(&rest[..len]).expect("a whole frame");
        frame.verify(&head).expect("it follows the one before");
        head = frame.head();
        rest = &rest[len..];
    }
    let hash = hex::encode(head.hash);
    assert_eq!(
        (&shown["position"], &shown["hash"]),
        (&json!(head.position), &json!(hash))
    );

    let beyond = server.get(&format!("/v1/journal/frames?from={}", head.position + 1));
    assert_eq!((beyond.status, beyond.body.len()), (200, 0));
    let meta = server.get("/v1/journal/meta").expect(200);
    assert_eq!(
        (&meta["cluster"], &meta["id_key"]),
        (&json!("01".repeat(16)), &json!("07".repeat(16)))
    );
    assert_eq!(meta["epochs"], json!([{"epoch": 1, "first_position": 1}]));
}

/// The length of the first of several frames.
fn first_frame_len(bytes: &[u8]) -> usize {
    (1..=bytes.len())
        .find(|&len| FrameRef::parse(&bytes[..len]).is_ok())
        .expect("a frame")
}

#[test]
fn a_backup_can_wait_for_the_next_frame() {
    let server = Arc::new(Fixture::start());
    let next = server.reader().head().position + 1;
    let waiting = {
        let server = server.clone();
        std::thread::spawn(move || {
            server.get(&format!("/v1/journal/frames?from={next}&wait_ms=30000"))
        })
    };
    std::thread::sleep(std::time::Duration::from_millis(200));
    assert!(!waiting.is_finished());
    server.account("ann", "wallet");
    let answer = waiting.join().expect("no panic");
    assert_eq!(answer.status, 200);
    assert!(!answer.body.is_empty());
}
