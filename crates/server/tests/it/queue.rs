//! Payments that are accepted now and decided when their turn has come.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::client::{Answer, send};
use crate::fixture::{Fixture, QUEUE_LENGTH_MAX, hold, id, pay};

fn post_async(server: &Fixture, path: &str, key: &str, body: &Value) -> Answer {
    let authorization = format!("Bearer {}", server.platform);
    let headers = [
        ("Authorization", authorization.as_str()),
        ("Content-Type", "application/json"),
        ("Idempotency-Key", key),
        ("Prefer", "wait=0, respond-async"),
    ];
    send(
        server.addr,
        "POST",
        path,
        &headers,
        body.to_string().as_bytes(),
    )
}

fn payment(server: &Fixture, id: &str) -> Value {
    server.get(&format!("/v1/payments/{id}")).expect(200)
}

/// The payment once it is queued no more.
fn ended(server: &Fixture, id: &str) -> Value {
    let begun = Instant::now();
    loop {
        let payment = payment(server, id);
        if payment["status"] != "queued" {
            return payment;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "it never ran");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn with_queue(mut body: Value, queue: Value) -> Value {
    body["queue"] = queue;
    body
}

#[test]
fn a_payment_is_accepted_at_once_and_its_end_is_found_where_the_answer_says() {
    let server = Fixture::start();
    let (buyer, shop) = (
        server.wallet("ann", 100),
        server.account("shop", "merchant"),
    );
    let fees = server.account("platform", "fee");
    for (path, body) in [
        ("/v1/payments", pay(&buyer, &shop, 10)),
        ("/v1/transfers", pay(&buyer, &shop, 10)),
        ("/v1/payouts", pay(&buyer, &shop, 10)),
        ("/v1/top_ups", pay(&buyer, &shop, 10)),
        ("/v1/adjustments", {
            let mut body = pay(&buyer, &fees, 10);
            body["reason"] = json!("counted wrongly");
            body
        }),
    ] {
        let key = format!("async {path}");
        let answer = post_async(&server, path, &key, &body);
        let accepted = answer.expect(202);
        assert_eq!(accepted["status"], "queued");
        assert_eq!(accepted["amount_captured"], 0);
        assert_eq!(accepted["queue"]["priority"], 4);
        let location = format!("/v1/payments/{}", id(&accepted));
        assert_eq!(answer.header("location"), Some(location.as_str()));
        assert_eq!(answer.header("preference-applied"), Some("respond-async"));
        let ended = ended(&server, &id(&accepted));
        assert_eq!(
            (&ended["status"], &ended["amount_captured"]),
            (&json!("captured"), &json!(10))
        );
        // The first answer stands, although the payment has changed since.
        let again = post_async(&server, path, &key, &body);
        assert_eq!(again.body, answer.body);
        assert_eq!(again.header("idempotent-replayed"), Some("true"));
        assert_eq!(again.header("location"), Some(location.as_str()));
        // Without the preference it is another request.
        assert_eq!(
            server.post_key(path, &key, &body).code(),
            "idempotency_key_reused"
        );
    }
}

#[test]
fn a_queued_payment_that_fails_says_why_and_what_is_wrong_at_once_is_refused_at_once() {
    let server = Fixture::start();
    let (buyer, shop) = (
        server.wallet("ann", 100),
        server.account("shop", "merchant"),
    );
    let mut body = with_queue(
        pay(&buyer, &shop, 101),
        json!({"reply_to": "https://example.com/x", "correlation_id": "c-1"}),
    );
    body["reference"] = json!("order-1");
    let accepted = server.post("/v1/payments", &body).expect(202);
    let failed = ended(&server, &id(&accepted));
    assert_eq!(failed["status"], "failed");
    assert_eq!(failed["failure"]["code"], "insufficient_funds");
    assert_eq!(
        failed["queue"],
        json!({"priority": 4, "not_before": null, "expires_at": null, "reply_to": "https://example.com/x", "correlation_id": "c-1"})
    );
    let events = server.get("/v1/events?limit=2").expect(200);
    assert_eq!(events["data"][0]["type"], "payment.failed");
    assert_eq!(
        events["data"][0]["data"]["failure"]["code"],
        "insufficient_funds"
    );
    assert_eq!(events["data"][0]["data"]["object"], failed);
    assert_eq!(events["data"][1]["type"], "payment.queued");
    let free = pay(&buyer, &shop, 1);
    let free = with_queue(free, json!(null));
    let mut free = free;
    free["reference"] = json!("order-1");
    server.post("/v1/payments", &free).expect(201);
    let path = "/v1/payments?owner=shop&reference=order-1";
    let holder = server.get(path).expect(200);
    assert_eq!(holder["data"].as_array().expect("a list").len(), 1);
    for (queue, code) in [
        (
            json!({"expires_at": "2026-11-19T00:00:00Z"}),
            "queue_expired",
        ),
        (json!({"priority": 10}), "parameter_invalid"),
        (json!({"priority": -1}), "parameter_invalid"),
        (json!({"soon": true}), "parameter_unknown"),
        (json!({"reply_to": ""}), "parameter_invalid"),
        (
            json!({"correlation_id": "x".repeat(65)}),
            "parameter_invalid",
        ),
    ] {
        let refused = server.post("/v1/payments", &with_queue(pay(&buyer, &shop, 1), queue));
        assert_eq!(refused.code(), code);
    }
    let unknown = post_async(&server, "/v1/payments", "k", &pay(&buyer, &buyer, 1));
    assert_eq!(
        (unknown.status, unknown.code()),
        (402, "duplicate_account".to_owned())
    );
}

#[test]
fn a_payment_waits_for_its_time_and_can_be_taken_back_until_then() {
    let server = Fixture::start();
    let (buyer, shop) = (
        server.wallet("ann", 100),
        server.account("shop", "merchant"),
    );
    let queue = json!({"not_before": "2026-11-20T00:01:00Z", "expires_at": "2026-11-20T00:02:00Z", "priority": 9});
    let body = with_queue(hold(&buyer, &shop, 60), queue);
    let one = id(&server.post("/v1/payments", &body).expect(202));
    let token = server.token("ann", "write");
    let two = id(&server.post_as(&token, "/v1/payments", &body).expect(202));
    let queue = server.get("/v1/queues/payment_order").expect(200);
    assert_eq!(
        queue,
        json!({"object": "queue", "name": "payment_order", "length": 2, "length_max": QUEUE_LENGTH_MAX, "oldest": "2026-11-20T00:00:00Z"})
    );
    assert_eq!(
        server.get_as(&token, "/v1/queues/payment_order").code(),
        "platform_only"
    );
    let listed = server.get("/v1/payments?status=queued").expect(200);
    assert_eq!(listed["data"].as_array().expect("a list").len(), 2);
    let voided = server.post_as(&token, &format!("/v1/payments/{two}/void"), &json!({}));
    assert_eq!(voided.expect(200)["status"], "voided");
    assert_eq!(payment(&server, &one)["status"], "queued");
    server.clock.advance(60);
    let held = ended(&server, &one);
    assert_eq!(
        (&held["status"], &held["amount_held"]),
        (&json!("authorized"), &json!(60))
    );
    assert_eq!(
        server.get("/v1/queues/payment_order").expect(200)["length"],
        0
    );
}

#[test]
fn what_was_accepted_survives_a_restart() {
    let mut server = Fixture::start();
    let (buyer, shop) = (
        server.wallet("ann", 100),
        server.account("shop", "merchant"),
    );
    let queue = json!({"not_before": "2026-11-20T00:01:00Z"});
    let body = with_queue(pay(&buyer, &shop, 60), queue.clone());
    let one = id(&server.post("/v1/payments", &body).expect(202));
    let late = json!({"not_before": "2026-11-20T00:01:00Z", "expires_at": "2026-11-20T00:01:01Z"});
    let late = with_queue(pay(&buyer, &shop, 1), late);
    let late = id(&server.post("/v1/payments", &late).expect(202));
    server.clock.advance(3_600);
    server.restart();
    assert_eq!(ended(&server, &one)["status"], "captured");
    let late = ended(&server, &late);
    assert_eq!(
        (&late["status"], &late["failure"]["code"]),
        (&json!("failed"), &json!("queue_expired"))
    );
}

#[test]
fn a_batch_may_queue_payments_too() {
    let server = Fixture::start();
    let (buyer, shop) = (
        server.wallet("ann", 100),
        server.account("shop", "merchant"),
    );
    let batch =
        json!([{"idempotency_key": "a", "payment": with_queue(pay(&buyer, &shop, 60), json!({}))}]);
    let results = server.post("/v1/batches", &batch).expect(200);
    let result = &results["results"][0];
    assert_eq!(
        (&result["status"], &result["result"]["status"]),
        (&json!(202), &json!("queued"))
    );
    assert_eq!(ended(&server, &id(&result["result"]))["status"], "captured");
}
