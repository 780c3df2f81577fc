//! The results of queued payments, told to the subscription that the caller named.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::client::{PATIENCE, until};
use crate::fixture::{Fixture, id, pay};

fn mailbox(server: &Fixture, token: &str) -> String {
    let body = json!({"events": [], "name": "results"});
    id(&server
        .post_as(token, "/v1/subscriptions", &body)
        .expect(201))
}

fn queued(source: &str, shop: &str, amount: u64, queue: Value) -> Value {
    let mut body = pay(source, shop, amount);
    body["queue"] = queue;
    body
}

/// So many events of a subscription, which are acknowledged.
fn received(server: &Fixture, token: &str, subscription: &str, count: usize) -> Vec<Value> {
    let path = format!("/v1/subscriptions/{subscription}");
    let (mut events, begun) = (Vec::new(), Instant::now());
    while events.len() < count {
        assert!(begun.elapsed() < PATIENCE, "{events:?} of {count}");
        let wanted = json!({"max": 100, "wait_seconds": 5});
        let answer = server.post_as(token, &format!("{path}/receive"), &wanted);
        for delivery in answer.expect(200)["data"].as_array().expect("a list") {
            events.push(delivery["event"].clone());
            let done = json!({"receipts": [delivery["receipt"]]});
            let done = server.post_as(token, &format!("{path}/ack"), &done);
            assert_eq!(done.expect(200)["done"], 1);
        }
    }
    let rest = server.post_as(token, &format!("{path}/receive"), &json!({}));
    assert_eq!(rest.expect(200)["data"], json!([]), "no more than {count}");
    events
}

#[test]
fn every_end_of_a_queued_payment_is_told_to_the_mailbox_and_nothing_else_is() {
    let mut server = Fixture::with_subscriptions();
    let (ann, shop) = (
        server.wallet("ann", 100),
        server.account("shop", "merchant"),
    );
    let token = server.token("ann", "write");
    let to = mailbox(&server, &token);
    let also = id(&server
        .post(
            "/v1/subscriptions",
            &json!({"events": ["payment.*"], "order": "object"}),
        )
        .expect(201));
    // One that wants something else, and still is told.
    let dollars = json!({"events": ["account.#"], "currency": "USD"});
    let dollars = id(&server.post("/v1/subscriptions", &dollars).expect(201));
    let send = |amount: u64, queue: Value| {
        let body = queued(&ann, &shop, amount, queue);
        // On a log those before it may still be in the queue, which is short.
        until("the queue takes it", || {
            let answer = server.post_as(&token, "/v1/payments", &body);
            (answer.status != 429).then(|| id(&answer.expect(202)))
        })
    };
    let captured = send(10, json!({"reply_to": to, "correlation_id": "c-1"}));
    let failed = send(1_000, json!({"reply_to": to}));
    let elsewhere = send(1, json!({"reply_to": dollars, "correlation_id": "c-2"}));
    let unsaid = send(2, json!({"correlation_id": "c-3"}));
    let later =
        json!({"reply_to": to, "not_before": "2026-11-20T00:01:00Z", "correlation_id": "c-4"});
    let voided = send(3, later.clone());
    let mut late = later.clone();
    late["expires_at"] = json!("2026-11-20T00:01:01Z");
    let expired = send(4, late);
    let void = format!("/v1/payments/{voided}/void");
    server.post_as(&token, &void, &json!({})).expect(200);
    server.clock.advance(3_600);
    server.restart();

    let mut told = received(&server, &token, &to, 4);
    told.sort_by_key(|event| event["data"]["object"]["queue"]["correlation_id"].to_string());
    let seen: Vec<[&Value; 4]> = told
        .iter()
        .map(|event| {
            let data = &event["data"];
            assert_eq!(data["reply"]["to"], json!(to));
            assert_eq!(data["reply"]["asked_by"], "ann");
            assert_eq!(
                data["reply"]["correlation_id"],
                data["object"]["queue"]["correlation_id"]
            );
            [
                &event["type"],
                &data["object"]["id"],
                &data["failure"]["code"],
                &data["reply"]["correlation_id"],
            ]
        })
        .collect();
    let none = &Value::Null;
    for wanted in [
        [
            &json!("payment.captured"),
            &json!(captured),
            none,
            &json!("c-1"),
        ],
        [
            &json!("payment.failed"),
            &json!(failed),
            &json!("insufficient_funds"),
            none,
        ],
        [
            &json!("payment.voided"),
            &json!(voided),
            none,
            &json!("c-4"),
        ],
        [
            &json!("payment.failed"),
            &json!(expired),
            &json!("queue_expired"),
            &json!("c-4"),
        ],
    ] {
        assert!(seen.contains(&wanted), "{wanted:?} in {seen:?}");
    }
    let told_dollars = received(&server, &server.platform, &dollars, 1);
    assert_eq!(told_dollars[0]["data"]["object"]["id"], json!(elsewhere));
    // Who has the event otherwise gets the same one, once.
    let all = received(&server, &server.platform, &also, 12);
    for event in told.iter().chain(&told_dollars) {
        assert_eq!(all.iter().filter(|other| *other == event).count(), 1);
        let path = format!("/v1/events/{}", id(event));
        assert_eq!(server.get_as(&token, &path).expect(200), *event);
    }
    let of_unsaid = |event: &&Value| event["data"]["object"]["id"] == json!(unsaid);
    for event in all.iter().filter(of_unsaid) {
        assert_eq!(event["data"]["reply"], Value::Null);
    }
    // Going back, results come again.
    let rewind = format!("/v1/subscriptions/{to}/rewind");
    let beginning = json!({"to": "beginning"});
    server.post_as(&token, &rewind, &beginning).expect(200);
    let mut again = received(&server, &token, &to, 4);
    again.sort_by_key(|event| event["data"]["object"]["queue"]["correlation_id"].to_string());
    assert_eq!(again, told);
}

#[test]
fn a_mailbox_is_the_caller_s_own_or_the_platform_s() {
    let server = Fixture::with_subscriptions();
    let (ann, shop) = (
        server.wallet("ann", 100),
        server.account("shop", "merchant"),
    );
    let (token, other) = (server.token("ann", "write"), server.token("shop", "write"));
    let (own, foreign) = (mailbox(&server, &token), mailbox(&server, &other));
    let common = mailbox(&server, &server.platform);
    let of = |owner: &str| {
        let body = json!({"events": [], "owner": owner});
        id(&server.post("/v1/subscriptions", &body).expect(201))
    };
    let (of_ann, of_shop) = (of("ann"), of("shop"));
    let unknown = id(&server
        .post_as(&token, "/v1/subscriptions", &json!({"events": []}))
        .expect(201));
    let path = format!("/v1/subscriptions/{unknown}");
    let bearer = format!("Bearer {token}");
    let headers = [("Authorization", bearer.as_str())];
    crate::client::send(server.addr, "DELETE", &path, &headers, b"").expect(200);
    let head = server.reader().head().position;
    let malformed = ["x".to_owned(), String::new()];
    let invented = format!("sub_{}", "0".repeat(26));
    let absent = [&foreign, &of_shop, &unknown, &invented].map(|wrong| (wrong, 404));
    let malformed = [&ann].into_iter().chain(&malformed);
    for (wrong, status) in absent
        .into_iter()
        .chain(malformed.map(|wrong| (wrong, 400)))
    {
        let body = queued(&ann, &shop, 1, json!({"reply_to": wrong}));
        let refused = server.post_as(&token, "/v1/payments", &body);
        assert_eq!(refused.status, status, "{wrong}");
        assert_eq!(refused.json()["error"]["param"], "queue.reply_to");
    }
    let item = |key: &str, to: &str| json!({"idempotency_key": key, "payment": queued(&ann, &shop, 1, json!({"reply_to": to}))});
    let batch = json!([item("a", &own), item("b", "x")]);
    let refused = server.post_as(&token, "/v1/batches", &batch);
    assert_eq!(
        refused.json()["error"]["param"],
        "[1].payment.queue.reply_to"
    );
    assert_eq!(server.reader().head().position, head, "nothing is recorded");
    // One that is not there, or not for this owner, fails its command alone, with its group.
    let batch = json!([
        item("a", &own),
        item("b", &unknown),
        {"group": [item("c", &foreign), item("d", &own)]},
        item("e", &common),
        item("f", &of_ann),
    ]);
    let done = server.post_as(&token, "/v1/batches", &batch).expect(200);
    let results = done["results"].as_array().expect("a list");
    let statuses: Vec<&Value> = results.iter().map(|result| &result["status"]).collect();
    assert_eq!(statuses, [202, 404, 404, 409, 202, 202]);
    for (at, param) in [(1, "[1].payment"), (2, "[2].group[0].payment")] {
        let error = &results[at]["error"];
        assert_eq!(error["param"], format!("{param}.queue.reply_to"));
    }
    assert_eq!(results[3]["error"]["code"], "group_aborted");
    assert_eq!(received(&server, &token, &own, 1).len(), 1);
    assert_eq!(received(&server, &server.platform, &common, 1).len(), 1);
    // The platform may name each of its own, and whoever is told sees that it was the platform.
    let body = queued(&ann, &shop, 1, json!({"reply_to": of_ann}));
    server.post("/v1/payments", &body).expect(202);
    let told = received(&server, &server.platform, &of_ann, 2);
    let asked: Vec<&Value> = told
        .iter()
        .map(|event| &event["data"]["reply"]["asked_by"])
        .collect();
    assert_eq!(asked, ["ann", "platform"]);
}

#[test]
fn without_its_mailbox_a_payment_ends_all_the_same_and_a_repetition_is_answered_as_before() {
    let server = Fixture::with_subscriptions();
    let (ann, shop) = (
        server.wallet("ann", 100),
        server.account("shop", "merchant"),
    );
    let to = mailbox(&server, &server.platform);
    let queue = json!({"reply_to": to, "not_before": "2026-11-20T00:01:00Z"});
    let body = queued(&ann, &shop, 10, queue);
    let first = server.post_key("/v1/payments", "key-1", &body).expect(202);
    let path = format!("/v1/subscriptions/{to}");
    let bearer = format!("Bearer {}", server.platform);
    let headers = [("Authorization", bearer.as_str())];
    crate::client::send(server.addr, "DELETE", &path, &headers, b"").expect(200);
    let again = server.post_key("/v1/payments", "key-1", &body);
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    assert_eq!(again.expect(202), first);
    assert_eq!(
        server.post_key("/v1/payments", "key-2", &body).code(),
        "resource_not_found"
    );
    server.clock.advance(3_600);
    let begun = Instant::now();
    let path = format!("/v1/payments/{}", id(&first));
    while server.get(&path).expect(200)["status"] != "captured" {
        assert!(begun.elapsed() < PATIENCE, "it never ran");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_server_that_keeps_no_subscriptions_repeats_its_answers_and_takes_no_new_mailbox() {
    let mut server = Fixture::with_subscriptions();
    let (ann, shop) = (
        server.wallet("ann", 100),
        server.account("shop", "merchant"),
    );
    let to = mailbox(&server, &server.platform);
    let body = queued(&ann, &shop, 10, json!({"reply_to": to}));
    let first = server.post_key("/v1/payments", "key-1", &body).expect(202);
    server.restart_without_subscriptions();
    let again = server.post_key("/v1/payments", "key-1", &body);
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    assert_eq!(again.expect(202), first);
    let refused = server.post_key("/v1/payments", "key-2", &body);
    assert_eq!(
        (refused.status, refused.code()),
        (503, "messaging_unavailable".into())
    );
    let batch = json!([
        {"idempotency_key": "key-1", "payment": body},
        {"idempotency_key": "key-2", "payment": body},
        {"idempotency_key": "key-3", "payment": pay(&ann, &shop, 1)},
    ]);
    let done = server.post("/v1/batches", &batch).expect(200);
    let results = done["results"].as_array().expect("a list");
    let statuses: Vec<&Value> = results.iter().map(|result| &result["status"]).collect();
    assert_eq!(statuses, [202, 503, 201]);
}
