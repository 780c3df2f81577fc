//! Payments that are accepted now and decided when their turn has come.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::client::{Answer, PATIENCE, send};
use crate::fixture::{Fixture, QUEUE_LENGTH_MAX, hold, id, pay};

fn post_async(server: &Fixture, path: &str, key: &str, body: &Value) -> Answer {
    server.post_preferring("wait=0, respond-async", path, Some(key), body)
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
        assert!(begun.elapsed() < PATIENCE, "it never ran");
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
        let end = match path {
            "/v1/payouts" => (json!("pending"), json!(0)),
            _ => (json!("captured"), json!(10)),
        };
        assert_eq!(
            (&ended["status"], &ended["amount_captured"]),
            (&end.0, &end.1)
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
    let mut body = with_queue(pay(&buyer, &shop, 101), json!({"correlation_id": "c-1"}));
    body["reference"] = json!("order-1");
    let accepted = server.post("/v1/payments", &body).expect(202);
    let failed = ended(&server, &id(&accepted));
    assert_eq!(failed["status"], "failed");
    assert_eq!(failed["failure"]["code"], "insufficient_funds");
    assert_eq!(
        failed["queue"],
        json!({"priority": 4, "not_before": null, "expires_at": null, "reply_to": null, "correlation_id": "c-1"})
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
    let path = "/v1/payments?owner=platform&reference=order-1";
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
        json!({
            "object": "queue", "name": "payment_order", "status": "active", "changed": null, "changed_by": null,
            "length": 2, "length_max": QUEUE_LENGTH_MAX, "later": 2, "in_flight": 0,
            "oldest": "2026-11-20T00:00:00Z", "oldest_seconds": 0.0,
            "rate_in": 0.0, "rate_out": 0.0, "rate_refused": 0.0,
            "average_wait_seconds": null, "average_processing_seconds": null,
            "run": 0, "failed": 0, "expired": 0, "voided": 0, "model": null
        })
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

const QUEUE: &str = "/v1/queues/payment_order";

#[test]
fn the_platform_pauses_drains_and_resumes_the_queue_and_everybody_can_see_who_did() {
    let mut server = Fixture::start();
    let (buyer, shop) = (
        server.wallet("ann", 100),
        server.account("shop", "merchant"),
    );
    let order = |queue: Value| with_queue(pay(&buyer, &shop, 1), queue);
    let token = server.token("ann", "write");
    let refused = server.post_as(&token, &format!("{QUEUE}/pause"), &json!({}));
    assert_eq!(refused.code(), "platform_only");
    let keyless = format!("Bearer {}", server.platform);
    let keyless = [("Authorization", keyless.as_str())];
    let keyless = send(
        server.addr,
        "POST",
        &format!("{QUEUE}/pause"),
        &keyless,
        b"",
    );
    assert_eq!(keyless.code(), "idempotency_key_missing");

    let paused = server.post_key(&format!("{QUEUE}/pause"), "pause", &json!({}));
    let stands = paused.expect(200);
    assert_eq!(stands["object"], "queue");
    assert_eq!(stands["status"], "paused");
    assert_eq!(stands["changed"], "2026-11-20T00:00:00Z");
    let by = stands["changed_by"].as_str().expect("a key").to_owned();
    assert!(by.starts_with("key_"), "{by}");
    let waits = id(&server.post("/v1/payments", &order(json!({}))).expect(202));
    let terms = json!({"expires_at": "2026-11-20T00:00:10Z"});
    let late = id(&server.post("/v1/payments", &order(terms)).expect(202));
    let void = id(&server.post("/v1/payments", &order(json!({}))).expect(202));
    server
        .post(&format!("/v1/payments/{void}/void"), &json!({}))
        .expect(200);
    server.restart();
    server.clock.advance(10);
    let failed = ended(&server, &late);
    assert_eq!(failed["failure"]["code"], "queue_expired");
    assert_eq!(payment(&server, &waits)["status"], "queued");
    let queue = server.get(QUEUE).expect(200);
    for (field, value) in [
        ("status", json!("paused")),
        ("changed_by", json!(by)),
        ("length", json!(1)),
        ("oldest_seconds", json!(10.0)),
        ("expired", json!(1)),
    ] {
        assert_eq!(queue[field], value, "{field}");
    }
    let metrics = server.get("/metrics");
    let metrics = String::from_utf8_lossy(&metrics.body);
    for line in [
        "tributary_queue_paused 1",
        "tributary_queue_length 1",
        "tributary_queue_oldest_seconds 10.0",
        "tributary_queue_longest_wait_seconds 10.0",
        "tributary_oldest_open_payment_seconds 10.0",
        "tributary_queue_expired_total 1",
    ] {
        assert!(
            metrics.lines().any(|found| found == line),
            "{line} in {metrics}"
        );
    }
    let again = server.post_key(&format!("{QUEUE}/pause"), "pause", &json!({}));
    assert_eq!(again.body, paused.body);

    let drained = server
        .post(&format!("{QUEUE}/drain"), &json!({}))
        .expect(200);
    assert_eq!(drained["status"], "draining");
    assert_eq!(ended(&server, &waits)["status"], "captured");
    let refused = server.post_key("/v1/payments", "refused", &order(json!({})));
    assert_eq!(
        (refused.status, refused.code()),
        (503, "queue_draining".to_owned())
    );
    assert_eq!(refused.header("retry-after"), Some("5"));
    let batch = json!([
        {"idempotency_key": "a", "payment": order(json!({}))},
        {"idempotency_key": "b", "payment": pay(&buyer, &shop, 1)},
    ]);
    let results = server.post("/v1/batches", &batch).expect(200);
    assert_eq!(results["results"][0]["status"], 503);
    assert_eq!(results["results"][1]["status"], 201);
    // Of a group only the payments that were to be queued count as refused by the queue.
    let group = json!([{"group": [
        {"idempotency_key": "c", "payment": order(json!({}))},
        {"idempotency_key": "d", "payment": pay(&buyer, &shop, 1)},
    ]}]);
    let results = server.post("/v1/batches", &group).expect(200);
    for at in 0..2 {
        assert_eq!(results["results"][at]["error"]["code"], "queue_draining");
    }
    let metrics = server.get("/metrics");
    let metrics = String::from_utf8_lossy(&metrics.body);
    let refused = "tributary_queue_refused_total 3";
    assert!(metrics.lines().any(|line| line == refused), "{metrics}");
    let resumed = server
        .post(&format!("{QUEUE}/resume"), &json!({}))
        .expect(200);
    assert_eq!(resumed["status"], "active");
    server
        .post_key("/v1/payments", "refused", &order(json!({})))
        .expect(202);

    let events = server.get("/v1/events?limit=100").expect(200);
    let events = events["data"].as_array().expect("a list");
    let told: Vec<&Value> = events
        .iter()
        .rev()
        .filter(|event| {
            event["type"]
                .as_str()
                .is_some_and(|kind| kind.starts_with("queue."))
        })
        .collect();
    let types: Vec<&str> = told
        .iter()
        .filter_map(|event| event["type"].as_str())
        .collect();
    assert_eq!(types, ["queue.paused", "queue.draining", "queue.resumed"]);
    assert_eq!(told[0]["data"]["object"], stands);
    let seen = server.get_as(&token, "/v1/events?limit=100").expect(200);
    let seen = seen["data"].as_array().expect("a list");
    assert!(
        seen.iter()
            .all(|event| !types.contains(&event["type"].as_str().unwrap_or("")))
    );
}

#[test]
fn a_full_queue_says_when_to_come_again_and_gives_those_it_took_their_first_answer() {
    let server = Fixture::start();
    let (buyer, shop) = (
        server.wallet("ann", 100),
        server.account("shop", "merchant"),
    );
    let body = with_queue(
        pay(&buyer, &shop, 1),
        json!({"not_before": "2030-01-01T00:00:00Z"}),
    );
    let first = server.post_key("/v1/payments", "0", &body);
    first.expect(202);
    for key in 1..QUEUE_LENGTH_MAX {
        server
            .post_key("/v1/payments", &key.to_string(), &body)
            .expect(202);
    }
    let full = server.post_key("/v1/payments", "more", &body);
    assert_eq!((full.status, full.code()), (429, "queue_full".to_owned()));
    assert_eq!(full.header("retry-after"), Some("1"));
    let again = server.post_key("/v1/payments", "0", &body);
    assert_eq!((again.status, again.body), (202, first.body.clone()));
    let void = format!("/v1/payments/{}/void", id(&first.expect(202)));
    server.post(&void, &json!({})).expect(200);
    server.post_key("/v1/payments", "more", &body).expect(202);
}

#[test]
fn an_owner_has_a_quarter_of_the_queue_and_leaves_the_rest_to_others() {
    let mut server = Fixture::start();
    let shop = server.account("shop", "merchant");
    let later = json!({"not_before": "2030-01-01T00:00:00Z"});
    let orders = ["ann", "bob"].map(|owner| {
        let order = with_queue(pay(&server.wallet(owner, 100), &shop, 1), later.clone());
        (server.token(owner, "write"), order)
    });
    let [(ann, of_ann), (bob, of_bob)] = &orders;
    let send = |server: &Fixture, key: &str| {
        let body = of_ann.to_string();
        server.post_raw(ann, "/v1/payments", Some(key), body.as_bytes())
    };
    let share = QUEUE_LENGTH_MAX / 4;
    let group: Vec<Value> = (0..=share)
        .map(|at| json!({"idempotency_key": format!("g{at}"), "payment": of_ann}))
        .collect();
    let group = json!([{ "group": group }]);
    let results = server.post_as(ann, "/v1/batches", &group).expect(200);
    assert_eq!(results["results"][0]["error"]["code"], "queue_full");
    let first = send(&server, "0").expect(202);
    for key in 1..share {
        send(&server, &key.to_string()).expect(202);
    }
    for _ in 0..2 {
        let full = send(&server, "more");
        assert_eq!((full.status, full.code()), (429, "queue_full".to_owned()));
        let error = &full.json()["error"];
        let message = error["message"].as_str().expect("a text");
        assert!(message.contains("owner"), "{message}");
        // What is loaded again is counted as before.
        server.restart();
    }
    server.post_as(bob, "/v1/payments", of_bob).expect(202);
    // The platform may fill the rest, also from the same account.
    for _ in 0..QUEUE_LENGTH_MAX - share - 1 {
        server.post("/v1/payments", of_ann).expect(202);
    }
    let full = server.post_as(bob, "/v1/payments", of_bob);
    assert_eq!((full.status, full.code()), (429, "queue_full".to_owned()));
    assert_eq!(send(&server, "0").expect(202), first);
    let void = format!("/v1/payments/{}/void", id(&first));
    server.post_as(ann, &void, &json!({})).expect(200);
    send(&server, "more").expect(202);
}

#[test]
fn a_quarter_of_the_queue_is_reserved_for_the_platform() {
    let server = Fixture::start();
    let shop = server.account("shop", "merchant");
    let later = json!({"not_before": "2030-01-01T00:00:00Z"});
    let order = |owner: &str| with_queue(pay(&server.wallet(owner, 100), &shop, 1), later.clone());
    for owner in ["ann", "bob", "cid"] {
        let (token, order) = (server.token(owner, "write"), order(owner));
        for _ in 0..QUEUE_LENGTH_MAX / 4 {
            server.post_as(&token, "/v1/payments", &order).expect(202);
        }
    }
    let (token, order) = (server.token("dora", "write"), order("dora"));
    let full = server.post_as(&token, "/v1/payments", &order);
    assert_eq!((full.status, full.code()), (429, "queue_full".to_owned()));
    for _ in 0..QUEUE_LENGTH_MAX / 4 {
        server.post("/v1/payments", &order).expect(202);
    }
    let full = server.post("/v1/payments", &order);
    assert_eq!((full.status, full.code()), (429, "queue_full".to_owned()));
}

#[test]
fn the_figures_stand_beside_what_theory_expects_of_them() {
    let server = Fixture::start();
    let (buyer, shop) = (
        server.wallet("ann", 100),
        server.account("shop", "merchant"),
    );
    for _ in 0..6 {
        let order = with_queue(pay(&buyer, &shop, 1), json!({}));
        let order = server.post("/v1/payments", &order).expect(202);
        assert_eq!(ended(&server, &id(&order))["status"], "captured");
    }
    server.clock.advance(59);
    let queue = server.get(QUEUE).expect(200);
    assert_eq!((&queue["run"], &queue["length"]), (&json!(6), &json!(0)));
    assert_eq!(
        (&queue["rate_in"], &queue["rate_out"]),
        (&json!(0.1), &json!(0.1))
    );
    assert_eq!(
        queue["average_wait_seconds"], 0.0,
        "the clock of the test stands"
    );
    // What took no time at all is no work that a model knows.
    assert_eq!(queue["average_processing_seconds"], 0.0);
    assert_eq!(queue["model"], json!(null));
}
