//! A sandbox: what takes weeks is tested in seconds.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use serde_json::{Value, json};

use crate::client::until;
use crate::fixture::{Fixture, hold, id, pay};
use crate::webhooks::receiver::{Receiver, status};

fn advance(server: &Fixture, seconds: u64) -> Value {
    let body = json!({"advance_seconds": seconds});
    server.post("/v1/sandbox/clock", &body).expect(200)
}

fn until_status(server: &Fixture, payment: &str, status: &str) {
    let path = format!("/v1/payments/{payment}");
    until(status, || {
        (server.get(&path).expect(200)["status"] == status).then_some(())
    });
}

#[test]
fn after_the_clock_was_moved_holds_queued_payments_and_retries_are_due() {
    let server = Fixture::sandbox();
    let (buyer, shop) = (server.wallet("ann", 90), server.account("shop", "merchant"));
    let answer = Arc::new(AtomicU16::new(500));
    let told = answer.clone();
    let receiver = Receiver::start(move |_| status(told.load(Ordering::SeqCst)));
    let subscription = json!({
        "url": format!("http://{}/hooks", receiver.addr),
        "events": ["payment.authorized"],
        "backoff": {"delays_seconds": [7_200]},
        "jitter": 0,
    });
    let made = server.post("/v1/subscriptions", &subscription).expect(201);
    // Until 2026-12-01.
    let held = id(&server
        .post("/v1/payments", &hold(&buyer, &shop, 5))
        .expect(201));
    let mut queued = pay(&buyer, &shop, 7);
    queued["queue"] = json!({"not_before": "2026-11-25T00:00:00Z"});
    let queued = id(&server.post("/v1/payments", &queued).expect(202));
    let subscription = format!("/v1/subscriptions/{}", id(&made));
    until("the first attempt failed", || {
        let figures = server.get(&subscription).expect(200)["figures"].clone();
        (figures["retrying"] == 1).then_some(())
    });
    answer.store(200, Ordering::SeqCst);

    let moved = advance(&server, 7_200);
    assert_eq!(
        moved,
        json!({
            "object": "sandbox_clock",
            "from": "2026-11-20T00:00:00Z",
            "to": "2026-11-20T02:00:00Z",
            "advanced_ms": 7_200_000,
        })
    );
    until("the retry", || (receiver.seen().len() == 2).then_some(()));
    until_status(&server, &queued, "queued");

    let to = json!({"to": "2026-11-25T00:00:00Z"});
    server.post("/v1/sandbox/clock", &to).expect(200);
    until_status(&server, &queued, "captured");
    until_status(&server, &held, "authorized");
    advance(&server, 6 * 86_400);
    until_status(&server, &held, "expired");

    let clock = server.get("/v1/clock").expect(200);
    assert_eq!(clock["ledger_time"], "2026-12-01T00:00:00Z");
    assert_eq!(clock["wall_time"], "2026-11-20T00:00:00Z");
    assert_eq!(
        (&clock["status"], &clock["lead_ms"]),
        (&json!("in_step"), &json!(0))
    );
    assert_eq!(clock["advanced_ms"], 11 * 86_400_000);
    let paid = server
        .post("/v1/payments", &pay(&buyer, &shop, 1))
        .expect(201);
    assert_eq!(paid["created"], "2026-12-01T00:00:00Z");
}

/// The wall clock, by which webhooks are signed, has no part in it.
#[test]
fn an_earlier_secret_of_a_webhook_signs_until_its_overlap_is_over() {
    let server = Fixture::sandbox();
    let (buyer, shop) = (server.wallet("ann", 90), server.account("shop", "merchant"));
    let receiver = Receiver::start(|_| status(200));
    let subscription = json!({
        "url": format!("http://{}/hooks", receiver.addr),
        "events": ["payment.captured"],
    });
    let made = server.post("/v1/subscriptions", &subscription).expect(201);
    let rotate = format!("/v1/subscriptions/{}/rotate_secret", id(&made));
    let overlap = json!({"overlap_seconds": 3_600});
    server.post(&rotate, &overlap).expect(200);
    let signatures = |count: usize| {
        let paid = server.post("/v1/payments", &pay(&buyer, &shop, 1));
        paid.expect(201);
        let seen = until("the webhook", || {
            let seen = receiver.seen();
            (seen.len() == count).then_some(seen)
        });
        let last = seen.last().expect("one came");
        last.header("webhook-signature").split(' ').count()
    };
    assert_eq!(signatures(1), 2);
    advance(&server, 3_599);
    assert_eq!(signatures(2), 2);
    advance(&server, 1);
    assert_eq!(signatures(3), 1);
}

#[test]
fn the_clock_of_a_sandbox_is_where_it_was_after_a_restart() {
    let mut server = Fixture::sandbox();
    advance(&server, 86_400);
    server.restart();
    let clock = server.get("/v1/clock").expect(200);
    assert_eq!(clock["ledger_time"], "2026-11-21T00:00:00Z");
    server.clock.advance(10);
    let clock = server.get("/v1/clock").expect(200);
    assert_eq!(clock["ledger_time"], "2026-11-21T00:00:10Z");
}

#[test]
fn a_move_of_the_clock_is_decided_once_and_is_no_event() {
    let server = Fixture::sandbox();
    let all = json!({"events": ["#"]});
    let mailbox = id(&server.post("/v1/subscriptions", &all).expect(201));
    let body = json!({"advance_seconds": 60});
    let first = server.post_key("/v1/sandbox/clock", "a minute", &body);
    let position = server.reader().head().position;
    let again = server.post_key("/v1/sandbox/clock", "a minute", &body);
    assert_eq!(first.expect(200), again.expect(200));
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    assert_eq!(server.get("/v1/clock").expect(200)["advanced_ms"], 60_000);
    let other = server.post_key(
        "/v1/sandbox/clock",
        "a minute",
        &json!({"advance_seconds": 61}),
    );
    assert_eq!(other.code(), "idempotency_key_reused");

    let ids = server.reader();
    let event = ids.ids().encode(tributary_engine::IdKind::Event, position);
    assert_eq!(server.get(&format!("/v1/events/{event}")).status, 404);
    let listed = server.get("/v1/events?limit=100").expect(200);
    let kinds: Vec<&str> = listed["data"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|event| event["type"].as_str().expect("a type"))
        .collect();
    assert!(kinds.contains(&"subscription.created"));
    assert!(
        !kinds.iter().any(|kind| kind.starts_with("clock")),
        "{kinds:?}"
    );
    server.account("ann", "wallet");
    let receive = format!("/v1/subscriptions/{mailbox}/receive");
    let wanted = json!({"max": 10, "wait_seconds": 20});
    let taken = server.post(&receive, &wanted).expect(200);
    let taken = taken["data"].as_array().expect("a list");
    let kinds: Vec<&Value> = taken.iter().map(|one| &one["event"]["type"]).collect();
    assert_eq!(kinds, ["account.opened"]);
}

#[test]
fn the_clock_moves_forwards_only_and_by_a_platform_key_only() {
    let server = Fixture::sandbox();
    let check = |body: Value, status: u16, code: &str| {
        let answer = server.post("/v1/sandbox/clock", &body);
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (status, code),
            "{body}"
        );
    };
    check(json!({}), 400, "parameter_missing");
    check(json!({"advance_seconds": 0}), 400, "parameter_invalid");
    check(
        json!({"advance_seconds": 3_153_600_001_u64}),
        400,
        "parameter_invalid",
    );
    check(
        json!({"advance_seconds": 1, "to": "2027-01-01T00:00:00Z"}),
        400,
        "parameter_invalid",
    );
    check(json!({"to": "tomorrow"}), 400, "parameter_invalid");
    check(
        json!({"to": "2026-11-20T00:00:00Z"}),
        409,
        "time_out_of_range",
    );
    check(
        json!({"to": "2126-11-20T00:00:00Z"}),
        409,
        "time_out_of_range",
    );
    let owner = server.token("ann", "write");
    let body = json!({"advance_seconds": 1});
    assert_eq!(
        server.post_as(&owner, "/v1/sandbox/clock", &body).code(),
        "platform_only"
    );
    assert_eq!(server.get("/v1/clock").expect(200)["advanced_ms"], 0);
}

#[test]
fn the_clock_of_a_server_that_is_no_sandbox_cannot_be_moved() {
    let server = Fixture::start();
    let before = server.reader().head().position;
    let body = json!({"advance_seconds": 1});
    let refused = server.post("/v1/sandbox/clock", &body);
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (403, "sandbox_only")
    );
    assert_eq!(
        server.reader().head().position,
        before,
        "nothing is on record"
    );
}
