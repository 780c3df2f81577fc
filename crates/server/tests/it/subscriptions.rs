//! Subscriptions over HTTP.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::client::{Answer, PATIENCE, send};
use crate::fixture::{Fixture, hold, id, pay};

fn subscribe(server: &Fixture, body: &Value) -> String {
    let made = server.post("/v1/subscriptions", body).expect(201);
    assert_eq!(made["object"], "subscription");
    format!("/v1/subscriptions/{}", id(&made))
}

fn without_key(server: &Fixture, token: &str, method: &str, path: &str, body: &Value) -> Answer {
    let authorization = format!("Bearer {token}");
    let headers = [
        ("Authorization", authorization.as_str()),
        ("Content-Type", "application/json"),
    ];
    send(
        server.addr,
        method,
        path,
        &headers,
        body.to_string().as_bytes(),
    )
}

fn ask(server: &Fixture, path: &str, body: &Value) -> Value {
    without_key(server, &server.platform, "POST", path, body).expect(200)
}

/// So many deliveries.
fn receive(server: &Fixture, path: &str, count: usize) -> Vec<Value> {
    let begun = Instant::now();
    let mut all = Vec::new();
    while all.len() < count {
        assert!(
            begun.elapsed() < PATIENCE,
            "{} of {count} came: {all:?}",
            all.len()
        );
        let wanted = json!({"max": count - all.len(), "wait_seconds": 5});
        let answer = ask(server, &format!("{path}/receive"), &wanted);
        assert_eq!(answer["object"], "deliveries");
        all.extend(answer["data"].as_array().expect("a list").iter().cloned());
    }
    all
}

fn nothing_comes(server: &Fixture, path: &str) {
    let answer = ask(server, &format!("{path}/receive"), &json!({}));
    assert_eq!(answer["data"], json!([]));
}

fn receipts(deliveries: &[Value]) -> Value {
    let receipts = deliveries
        .iter()
        .map(|delivery| delivery["receipt"].clone());
    json!({"receipts": receipts.collect::<Vec<Value>>()})
}

fn types(deliveries: &[Value]) -> Vec<&str> {
    let types = deliveries.iter().map(|delivery| &delivery["event"]["type"]);
    types.map(|one| one.as_str().expect("a type")).collect()
}

#[test]
fn events_are_received_as_they_are_listed_and_acknowledged_once() {
    let server = Fixture::with_subscriptions();
    let (buyer, shop) = (
        server.wallet("ann", 1_000),
        server.account("shop", "merchant"),
    );
    let all = subscribe(&server, &json!({"events": ["#"], "start": "beginning"}));
    let captured = subscribe(
        &server,
        &json!({"events": ["payment.captured"], "currency": "EUR", "order": "object", "name": "captured",
            "metadata": {"team": "a"}, "backoff": {"delays_seconds": [1, 5]}, "attempts_max": 2}),
    );
    for amount in 1..=3 {
        server
            .post("/v1/payments", &pay(&buyer, &shop, amount))
            .expect(201);
    }
    server
        .post("/v1/payments", &pay(&buyer, &shop, 10_000))
        .expect(402);
    let deliveries = receive(&server, &captured, 3);
    assert_eq!(types(&deliveries), ["payment.captured"; 3]);
    for delivery in &deliveries {
        let event = id(&delivery["event"]);
        let listed = server.get(&format!("/v1/events/{event}")).expect(200);
        assert_eq!(delivery["event"], listed);
        assert_eq!(delivery["attempt"], 1);
    }
    let done = ask(&server, &format!("{captured}/ack"), &receipts(&deliveries));
    assert_eq!(
        done,
        json!({"object": "receipts", "done": 3, "expired": []})
    );
    let again = ask(&server, &format!("{captured}/ack"), &receipts(&deliveries));
    assert_eq!(
        (&again["done"], again["expired"].as_array().map(Vec::len)),
        (&json!(0), Some(3))
    );
    let odd = ask(
        &server,
        &format!("{captured}/ack"),
        &json!({"receipts": ["rcp_x"]}),
    );
    assert_eq!(odd["expired"], json!(["rcp_x"]));
    let head = server.reader().head().position;
    let everything = receive(&server, &all, head as usize);
    let ids: BTreeSet<String> = everything.iter().map(|one| id(&one["event"])).collect();
    assert_eq!(ids.len() as u64, head);
    let shown = server.get(&captured).expect(200);
    assert_eq!(shown["figures"]["acknowledged"], 3);
    assert_eq!(
        (&shown["figures"]["length"], &shown["figures"]["lag"]),
        (&json!(0), &json!(0))
    );
    assert_eq!(
        (&shown["name"], &shown["metadata"]),
        (&json!("captured"), &json!({"team": "a"}))
    );
    assert_eq!(shown["backoff"], json!({"delays_seconds": [1, 5]}));
    let listed = server.get("/v1/subscriptions").expect(200);
    assert_eq!(listed["data"].as_array().map(Vec::len), Some(2));
    let metrics = String::from_utf8(server.get("/metrics").body).expect("UTF-8");
    let captured = captured.trim_start_matches("/v1/subscriptions/");
    for line in [
        format!("tributary_subscription_acknowledged_total{{subscription=\"{captured}\"}} 3"),
        format!("tributary_subscription_waiting{{subscription=\"{captured}\"}} 0"),
        "tributary_delivery_log_up 1".to_owned(),
        "tributary_history_up 1".to_owned(),
    ] {
        assert!(
            metrics.lines().any(|known| known == line),
            "{line} in\n{metrics}"
        );
    }
}

#[test]
fn what_fails_comes_again_and_dies_in_the_end() {
    let server = Fixture::with_subscriptions();
    let path = subscribe(
        &server,
        &json!({"events": ["account.*"], "attempts_max": 2, "backoff": {"delays_seconds": [10]}, "jitter": 0}),
    );
    server.account("shop", "merchant");
    let mut refused = receipts(&receive(&server, &path, 1));
    refused["error"] = json!("not today");
    assert_eq!(ask(&server, &format!("{path}/nack"), &refused)["done"], 1);
    nothing_comes(&server, &path);
    server.clock.advance(10);
    let second = receive(&server, &path, 1);
    assert_eq!(second[0]["attempt"], 2);
    let mut longer = receipts(&second);
    longer["visibility_seconds"] = json!(60);
    assert_eq!(ask(&server, &format!("{path}/extend"), &longer)["done"], 1);
    server.clock.advance(59);
    nothing_comes(&server, &path);
    assert_eq!(server.get(&path).expect(200)["figures"]["in_flight"], 1);
    server.clock.advance(1);
    let begun = Instant::now();
    let dead = loop {
        let dead = server.get(&format!("{path}/dead_letters")).expect(200);
        if dead["data"] != json!([]) {
            break dead;
        }
        assert!(begun.elapsed() < PATIENCE, "it never died");
        std::thread::sleep(Duration::from_millis(5));
    };
    let letter = &dead["data"][0];
    assert_eq!(
        (&letter["attempts"], &letter["object"]),
        (&json!(2), &json!("dead_letter"))
    );
    assert_eq!(letter["history"][0]["error"], "not today");
    assert_eq!(letter["event"]["type"], "account.opened");
    let named = json!({"events": [letter["event"]["id"]]});
    let requeued = ask(&server, &format!("{path}/dead_letters/requeue"), &named);
    assert_eq!(
        requeued,
        json!({"object": "dead_letters", "done": 1, "left": 0})
    );
    let third = receive(&server, &path, 1);
    assert_eq!(third[0]["attempt"], 1);
    assert_eq!(
        ask(&server, &format!("{path}/ack"), &receipts(&third))["done"],
        1
    );
    let dropped = ask(&server, &format!("{path}/dead_letters/drop"), &json!({}));
    assert_eq!(dropped["done"], 0);
}

#[test]
fn whoever_waits_is_answered_when_an_event_comes_and_otherwise_in_time() {
    let server = Fixture::with_subscriptions();
    let path = subscribe(&server, &json!({"events": ["account.opened"]}));
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| receive(&server, &path, 1));
        std::thread::sleep(Duration::from_millis(100));
        server.account("shop", "merchant");
        assert_eq!(types(&waits.join().expect("it waits")), ["account.opened"]);
    });
    let begun = Instant::now();
    let answer = ask(
        &server,
        &format!("{path}/receive"),
        &json!({"wait_seconds": 1}),
    );
    assert_eq!(answer["data"], json!([]));
    assert!(begun.elapsed() >= Duration::from_millis(900));
}

#[test]
fn events_of_one_payment_come_one_after_the_other() {
    let server = Fixture::with_subscriptions();
    let (buyer, shop) = (
        server.wallet("ann", 1_000),
        server.account("shop", "merchant"),
    );
    let path = subscribe(
        &server,
        &json!({"events": ["payment.#"], "order": "object"}),
    );
    let held = id(&server
        .post("/v1/payments", &hold(&buyer, &shop, 100))
        .expect(201));
    server
        .post(&format!("/v1/payments/{held}/capture"), &json!({}))
        .expect(200);
    let first = receive(&server, &path, 1);
    assert_eq!(types(&first), ["payment.authorized"]);
    nothing_comes(&server, &path);
    ask(&server, &format!("{path}/ack"), &receipts(&first));
    assert_eq!(types(&receive(&server, &path, 1)), ["payment.captured"]);
}

#[test]
fn what_a_model_expects_stands_beside_what_was_measured() {
    let server = Fixture::with_subscriptions();
    let body = json!({"events": ["app.#"], "workers": 2});
    let path = subscribe(&server, &body);
    let shown = server.get(&path).expect(200);
    assert_eq!(
        (&shown["workers"], &shown["figures"]["model"]),
        (&json!(2), &Value::Null)
    );
    for number in 0..10 {
        let event = json!({"type": "app.order.made", "data": number});
        server.post("/v1/events", &event).expect(201);
    }
    let taken = receive(&server, &path, 10);
    server.clock.advance(1);
    ask(&server, &format!("{path}/ack"), &receipts(&taken));
    server.clock.advance(8);
    let figures = server.get(&path).expect(200)["figures"].clone();
    assert_eq!(
        (&figures["rate_in"], &figures["average_processing_seconds"]),
        (&json!(1.0), &json!(1.0))
    );
    // One a second, a second each, two workers: a third has to wait, a third of a second on average.
    let model = &figures["model"];
    assert_eq!(
        (&model["workers"], &model["unstable"]),
        (&json!(2), &json!(false))
    );
    for (name, wanted) in [
        ("utilisation", 0.5),
        ("waits", 1.0 / 3.0),
        ("wait_seconds", 1.0 / 3.0),
        ("length", 1.0 / 3.0),
    ] {
        let value = model[name].as_f64().expect("a number");
        assert!((value - wanted).abs() < 1e-9, "{name}: {value}");
    }
    let change = |body: &Value| without_key(&server, &server.platform, "PATCH", &path, body);
    let model = |shown: &Value| shown["figures"]["model"].clone();
    let one = change(&json!({"workers": 1})).expect(200);
    assert_eq!(model(&one)["unstable"], true);
    assert_eq!(model(&one)["wait_seconds"], Value::Null);
    assert_eq!(model(&change(&json!({})).expect(200))["workers"], 1);
    let none = change(&json!({"workers": null})).expect(200);
    assert_eq!(
        (&none["workers"], model(&none)),
        (&Value::Null, Value::Null)
    );
    assert_eq!(change(&json!({"workers": 0})).code(), "parameter_invalid");
}

#[test]
fn a_filter_is_taken_away_by_null() {
    let server = Fixture::with_subscriptions();
    let shop = server.account("shop", "merchant");
    let body = json!({"events": ["payment.*"], "currency": "USD", "owner": "shop"});
    let path = subscribe(&server, &body);
    let change = |body: &Value| without_key(&server, &server.platform, "PATCH", &path, body);
    let kept = change(&json!({"name": "a name"})).expect(200);
    assert_eq!(
        (&kept["currency"], &kept["owner"]),
        (&json!("USD"), &json!("shop"))
    );
    let free = change(&json!({"currency": null, "owner": null})).expect(200);
    assert_eq!(
        (&free["currency"], &free["owner"]),
        (&Value::Null, &Value::Null)
    );
    let ann = server.wallet("ann", 100);
    server
        .post("/v1/payments", &pay(&ann, &shop, 1))
        .expect(201);
    let came = receive(&server, &path, 2);
    assert_eq!(types(&came), ["payment.captured"; 2]);
}

#[test]
fn events_of_applications_come_in_the_order_of_their_keys() {
    let server = Fixture::with_subscriptions();
    let path = subscribe(
        &server,
        &json!({"events": ["app.order.*"], "order": "object"}),
    );
    for (topic, key) in [
        ("app.order.made", "order-7"),
        ("app.order.shipped", "order-7"),
        ("app.stock.low", "order-7"),
        ("app.order.made", "order-8"),
    ] {
        let body = json!({"type": topic, "key": key, "data": {}});
        server.post("/v1/events", &body).expect(201);
    }
    let first = receive(&server, &path, 2);
    assert_eq!(types(&first), ["app.order.made"; 2]);
    nothing_comes(&server, &path);
    ask(&server, &format!("{path}/ack"), &receipts(&first[..1]));
    assert_eq!(types(&receive(&server, &path, 1)), ["app.order.shipped"]);
}

#[test]
fn settings_and_progress_survive_a_restart() {
    let mut server = Fixture::with_subscriptions();
    let body = json!({"events": ["account.opened"], "start": "beginning"});
    let made = server.post_key("/v1/subscriptions", "one", &body);
    let made = made.expect(201);
    let path = format!("/v1/subscriptions/{}", id(&made));
    for _ in 0..3 {
        server.account("shop", "merchant");
    }
    let two = receive(&server, &path, 2);
    ask(&server, &format!("{path}/ack"), &receipts(&two[..1]));
    ask(
        &server,
        &format!("{path}/pause"),
        &json!({"reason": "a move"}),
    );
    nothing_comes(&server, &path);
    server.restart();
    let shown = server.get(&path).expect(200);
    assert_eq!(
        (&shown["status"], &shown["paused_reason"]),
        (&json!("paused"), &json!("a move"))
    );
    assert_eq!(
        ask(&server, &format!("{path}/resume"), &json!({}))["status"],
        "active"
    );
    let rest = receive(&server, &path, 2);
    assert_eq!(rest[0]["event"], two[1]["event"]);
    let stale = ask(&server, &format!("{path}/ack"), &receipts(&two[1..]));
    assert_eq!(
        stale["done"], 0,
        "a receipt from before is of an attempt that is over"
    );
    assert_eq!(
        ask(&server, &format!("{path}/ack"), &receipts(&rest))["done"],
        2
    );
    let repeated = server.post_key("/v1/subscriptions", "one", &body);
    assert_eq!(repeated.header("idempotent-replayed"), Some("true"));
    assert_eq!(repeated.expect(201)["id"], made["id"]);
    let other = server.post_key("/v1/subscriptions", "one", &json!({"events": ["#"]}));
    assert_eq!(
        (other.status, other.code().as_str()),
        (422, "idempotency_key_reused")
    );

    let first = &two[0]["event"]["id"];
    ask(&server, &format!("{path}/rewind"), &json!({"to": first}));
    assert_eq!(receive(&server, &path, 2)[0]["event"], two[1]["event"]);
    ask(&server, &format!("{path}/rewind"), &json!({"to": "now"}));
    nothing_comes(&server, &path);
    ask(
        &server,
        &format!("{path}/replay"),
        &json!({"first": first, "last": first}),
    );
    assert_eq!(receive(&server, &path, 1)[0]["event"], two[0]["event"]);
    let change = json!({"events": ["payment.*"], "in_flight_max": 5});
    let changed = without_key(&server, &server.platform, "PATCH", &path, &change).expect(200);
    assert_eq!(
        (&changed["events"], &changed["in_flight_max"]),
        (&json!(["payment.*"]), &json!(5))
    );
    let gone = without_key(&server, &server.platform, "DELETE", &path, &json!({})).expect(200);
    assert_eq!(gone["deleted"], true);
    assert_eq!(server.get(&path).status, 404);
}

#[test]
fn an_owner_has_subscriptions_of_its_own_to_its_own_events() {
    let server = Fixture::with_subscriptions();
    let (ann, bob) = (server.wallet("ann", 100), server.wallet("bob", 100));
    let shop = server.account("shop", "merchant");
    let (token, reading) = (server.token("ann", "write"), server.token("ann", "read"));
    let body = json!({"events": ["payment.*"]});
    let made = server
        .post_as(&token, "/v1/subscriptions", &body)
        .expect(201);
    let path = format!("/v1/subscriptions/{}", id(&made));
    let platforms = subscribe(&server, &json!({"events": ["#"], "owner": "bob"}));
    server
        .post("/v1/payments", &pay(&bob, &shop, 10))
        .expect(201);
    server
        .post("/v1/payments", &pay(&ann, &shop, 10))
        .expect(201);
    let of_bob = receive(&server, &platforms, 1);
    assert_eq!(of_bob[0]["event"]["data"]["object"]["source"], json!(bob));
    let receive_path = format!("{path}/receive");
    let begun = Instant::now();
    let came = loop {
        let came = without_key(
            &server,
            &token,
            "POST",
            &receive_path,
            &json!({"wait_seconds": 1}),
        );
        let came = came.expect(200)["data"].as_array().expect("a list").clone();
        if !came.is_empty() {
            break came;
        }
        assert!(begun.elapsed() < PATIENCE);
    };
    assert_eq!(came.len(), 1);
    assert_eq!(came[0]["event"]["data"]["object"]["source"], json!(ann));
    for (token, method, path, body, status) in [
        (&reading, "POST", receive_path.as_str(), json!({}), 403),
        (&reading, "GET", path.as_str(), json!(null), 200),
        (&token, "GET", platforms.as_str(), json!(null), 404),
        (&token, "DELETE", platforms.as_str(), json!({}), 404),
        (&server.platform, "GET", path.as_str(), json!(null), 200),
    ] {
        let answer = without_key(&server, token, method, path, &body);
        assert_eq!(answer.status, status, "{method} {path}");
    }
    let foreign = json!({"events": ["#"], "owner": "bob"});
    let refused = server.post_as(&token, "/v1/subscriptions", &foreign);
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (404, "resource_not_found")
    );
    let listed = server.get_as(&reading, "/v1/subscriptions").expect(200);
    assert_eq!(listed["data"].as_array().map(Vec::len), Some(1));
}

#[test]
fn a_setting_that_is_out_of_bounds_is_named() {
    let server = Fixture::with_subscriptions();
    for (field, body) in [
        ("events", json!({"events": vec!["#"; 17]})),
        ("events", json!({"events": ["Payment"]})),
        ("events", json!({"events": ["payments.*"]})),
        (
            "events",
            json!({"events": ["payment.captured", "payment.paid"]}),
        ),
        ("events", json!({"events": ["payment"]})),
        ("start", json!({"events": ["#"], "start": "soon"})),
        ("attempts_max", json!({"events": ["#"], "attempts_max": 0})),
        (
            "backoff",
            json!({"events": ["#"], "backoff": {"factor": 11}}),
        ),
        (
            "backoff",
            json!({"events": ["#"], "backoff": {"factor": 1, "delays_seconds": [1]}}),
        ),
        ("jitter", json!({"events": ["#"], "jitter": 101})),
        (
            "visibility_seconds",
            json!({"events": ["#"], "visibility_seconds": 0}),
        ),
        (
            "in_flight_max",
            json!({"events": ["#"], "in_flight_max": 10_001}),
        ),
        (
            "ttl_seconds",
            json!({"events": ["#"], "ttl_seconds": u64::MAX}),
        ),
        ("name", json!({"events": ["#"], "name": "n".repeat(129)})),
        ("currency", json!({"events": ["#"], "currency": "XXX"})),
    ] {
        let answer = server.post("/v1/subscriptions", &body);
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (400, "parameter_invalid"),
            "{body}"
        );
        assert_eq!(answer.json()["error"]["param"], field, "{body}");
    }
    let path = subscribe(&server, &json!({"events": ["#"]}));
    for (end, field, body) in [
        ("receive", "max", json!({"max": 1_001})),
        ("receive", "wait_seconds", json!({"wait_seconds": 31})),
        (
            "receive",
            "visibility_seconds",
            json!({"visibility_seconds": 43_201}),
        ),
        ("ack", "receipts", json!({"receipts": []})),
        (
            "nack",
            "delay_seconds",
            json!({"receipts": ["x"], "delay_seconds": u64::MAX}),
        ),
        ("rewind", "to", json!({"to": "then"})),
    ] {
        let path = format!("{path}/{end}");
        let answer = without_key(&server, &server.platform, "POST", &path, &body);
        assert_eq!(answer.code(), "parameter_invalid", "{path} {body}");
        assert_eq!(answer.json()["error"]["param"], field, "{path} {body}");
    }
}
