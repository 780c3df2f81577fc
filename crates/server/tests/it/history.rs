//! The history of deliveries, and the timeline of a payment.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Instant;

use http_body_util::Full;
use serde_json::{Value, json};

use crate::client::{PATIENCE, until};
use crate::fixture::{Fixture, hold, id, pay};
use crate::webhooks::receiver::{Receiver, Reply};

fn subscribe(server: &Fixture, token: &str, body: &Value) -> Value {
    server.post_as(token, "/v1/subscriptions", body).expect(201)
}

fn path(subscription: &Value) -> String {
    format!("/v1/subscriptions/{}", id(subscription))
}

fn items(list: &Value) -> Vec<Value> {
    list["data"].as_array().expect("a list").clone()
}

fn attempts(server: &Fixture, subscription: &Value, query: &str) -> Vec<Value> {
    let list = server.get(&format!("{}/attempts?limit=100{query}", path(subscription)));
    items(&list.expect(200))
}

/// A whole list, in pages of so many.
fn pages(server: &Fixture, token: &str, path: &str, limit: usize) -> Vec<Value> {
    let (mut all, mut after) = (Vec::new(), String::new());
    loop {
        let page = server
            .get_as(token, &format!("{path}?limit={limit}{after}"))
            .expect(200);
        all.extend(items(&page));
        match page["next_cursor"].as_str() {
            Some(next) => after = format!("&starting_after={next}"),
            None => return all,
        }
    }
}

fn header<'a>(head: &'a Value, name: &str) -> Option<&'a str> {
    let headers = head["headers"].as_array().expect("headers");
    let found = headers.iter().find(|header| header["name"] == name)?;
    found["value"].as_str()
}

fn ask(server: &Fixture, token: &str, path: &str, body: &Value) -> Value {
    server.post_as(token, path, body).expect(200)
}

fn receive(server: &Fixture, token: &str, subscription: &Value, count: usize) -> Vec<Value> {
    let path = format!("{}/receive", path(subscription));
    let (mut found, begun) = (Vec::new(), Instant::now());
    // The first answer has what there is by then.
    while found.len() < count {
        assert!(begun.elapsed() < PATIENCE, "{found:?} of {count}");
        let wanted = json!({"max": count - found.len(), "wait_seconds": 5});
        found.extend(items(&ask(server, token, &path, &wanted)));
    }
    found
}

/// A receiver that answers what it is told to, with a header.
fn receiver(first: u16) -> (Receiver, Arc<AtomicU16>) {
    let answer = Arc::new(AtomicU16::new(first));
    let told = answer.clone();
    let receiver = Receiver::start(move |_| {
        let response = hyper::Response::builder()
            .status(told.load(Ordering::SeqCst))
            .header("x-why", "because: so");
        Reply::Answer(response.body(Full::default()).expect("a response"))
    });
    (receiver, answer)
}

#[test]
fn every_attempt_at_a_webhook_is_shown_with_what_was_sent_and_answered_also_after_a_restart() {
    let mut server = Fixture::with_webhooks();
    let (buyer, shop) = (
        server.wallet("ann", 1_000),
        server.account("shop", "merchant"),
    );
    let (receiver, answer) = receiver(500);
    let url = format!("http://{}/hooks?a=b", receiver.addr);
    let hook = subscribe(
        &server,
        &server.platform,
        &json!({"url": url, "events": ["payment.captured"], "backoff": {"delays_seconds": [5]}, "jitter": 0}),
    );
    let secret = hook["secret"].as_str().expect("a secret").to_owned();
    server
        .post("/v1/payments", &pay(&buyer, &shop, 5))
        .expect(201);
    let failed = until("it fails", || attempts(&server, &hook, "").pop());
    assert_eq!(
        (&failed["status"], &failed["outcome"]),
        (&json!("failed"), &json!("refused"))
    );
    assert_eq!(
        (&failed["attempt"], &failed["error"]),
        (&json!(1), &json!("answered 500"))
    );
    assert_eq!(
        (&failed["request"]["url"], &failed["error_code"]),
        (&json!(url), &Value::Null)
    );
    assert_eq!(failed["subscription"], id(&hook));
    assert_eq!(failed["response"]["status"], 500);
    assert_eq!(header(&failed["response"], "x-why"), Some("because: so"));
    let seen = receiver.seen().remove(0);
    for name in [
        "webhook-id",
        "webhook-timestamp",
        "webhook-signature",
        "content-type",
        "user-agent",
        "host",
    ] {
        assert_eq!(
            header(&failed["request"], name),
            Some(seen.header(name)),
            "{name}"
        );
    }
    assert_eq!(
        header(&failed["request"], "webhook-id"),
        failed["event"].as_str()
    );
    let timing = &failed["timing"];
    let micros = |name: &str| timing[name].as_u64().expect(name);
    assert!(micros("connected_micros") <= micros("first_byte_micros"));
    assert!(micros("first_byte_micros") <= micros("total_micros"));
    answer.store(204, Ordering::SeqCst);
    server.clock.advance(6);
    until("it is delivered", || {
        (attempts(&server, &hook, "").len() == 2).then_some(())
    });
    // Nobody is there any more.
    drop(receiver);
    server
        .post("/v1/payments", &pay(&buyer, &shop, 6))
        .expect(201);
    until("it fails again", || {
        (attempts(&server, &hook, "").len() == 3).then_some(())
    });
    let before = attempts(&server, &hook, "");
    assert_eq!(before[0]["error_code"], "cannot_connect");
    assert_eq!(
        (
            &before[0]["response"],
            &before[0]["timing"]["connected_micros"]
        ),
        (&Value::Null, &Value::Null)
    );
    assert_eq!(
        (&before[1]["attempt"], &before[1]["status"]),
        (&json!(2), &json!("delivered"))
    );
    assert_eq!(before[1]["handed_out"], "2026-11-20T00:00:06Z");
    assert_eq!(
        (&before[1]["error"], &before[1]["response"]["status"]),
        (&Value::Null, &json!(204))
    );
    assert!(
        !json!(before)
            .to_string()
            .contains(&secret["whsec_".len()..])
    );

    server.restart();
    let shown = attempts(&server, &hook, "");
    assert_eq!(shown[shown.len() - 3..], before);
    let event = before[1]["event"].as_str().expect("an id");
    assert_eq!(
        attempts(&server, &hook, &format!("&event={event}")),
        before[1..]
    );
    assert_eq!(attempts(&server, &hook, "&status=delivered"), before[1..2]);
    let failed = attempts(&server, &hook, &format!("&status=failed&event={event}"));
    assert_eq!(failed, before[2..]);
    let list = format!("{}/attempts", path(&hook));
    assert_eq!(
        pages(&server, &server.platform, &list, 1),
        attempts(&server, &hook, "")
    );
    server.get(&format!("{list}?event=evt_x")).expect(404);
    server.get(&format!("{list}?status=odd")).expect(400);
    server
        .get(&format!("{list}?starting_after={event}"))
        .expect(400);
    let other = server.token("ann", "write");
    server.get_as(&other, &list).expect(404);
}

#[test]
fn every_way_in_which_a_fetched_event_ends_is_shown_once() {
    let server = Fixture::with_subscriptions();
    let (buyer, shop) = (
        server.wallet("ann", 1_000),
        server.account("shop", "merchant"),
    );
    let token = server.token("shop", "write");
    let made = subscribe(
        &server,
        &token,
        &json!({"events": ["payment.captured"], "visibility_seconds": 5, "backoff": {"delays_seconds": [1]}, "jitter": 0}),
    );
    for amount in 1..=3 {
        server
            .post("/v1/payments", &pay(&buyer, &shop, amount))
            .expect(201);
    }
    let taken = receive(&server, &token, &made, 3);
    let receipt = |at: usize| json!({"receipts": [taken[at]["receipt"]]});
    server.clock.advance(2);
    ask(
        &server,
        &token,
        &format!("{}/ack", path(&made)),
        &receipt(0),
    );
    // Twice is once.
    ask(
        &server,
        &token,
        &format!("{}/ack", path(&made)),
        &receipt(0),
    );
    let mut refused = receipt(1);
    // What a receiver says is never taken for what the server saw.
    let forged = r#"{"url":"u","request":"","response":"","status":200,"error":null,"connected":1,"answered":1,"took":1}"#;
    assert!(forged.len() < 200);
    refused["error"] = json!(format!("{forged}{}", "no room".repeat(100)));
    ask(&server, &token, &format!("{}/nack", path(&made)), &refused);
    server.clock.advance(4);
    until("the third times out", || {
        (attempts(&server, &made, "").len() == 3).then_some(())
    });
    let shown = attempts(&server, &made, "");
    let fields = |at: usize| {
        let of = |name: &str| shown[at][name].clone();
        (
            of("event"),
            of("outcome"),
            of("error"),
            of("ended"),
            of("handed_out"),
        )
    };
    let event = |at: usize| taken[at]["event"]["id"].clone();
    let at = |second: u32| json!(format!("2026-11-20T00:00:0{second}Z"));
    let began = at(0);
    assert_eq!(
        fields(2),
        (
            event(0),
            json!("acknowledged"),
            Value::Null,
            at(2),
            began.clone()
        )
    );
    assert_eq!(
        fields(1),
        (
            event(1),
            json!("refused"),
            json!(format!("{forged}{}", "no room".repeat(100))[..200]),
            at(2),
            began.clone()
        )
    );
    assert_eq!(
        fields(0),
        (
            event(2),
            json!("timed_out"),
            json!("no answer in time"),
            at(6),
            began
        )
    );
    for one in &shown {
        assert_eq!(
            (&one["request"], &one["response"], &one["timing"]),
            (&Value::Null, &Value::Null, &Value::Null)
        );
    }
    assert_eq!(attempts(&server, &made, "&status=failed"), shown[..2]);
}

fn types(entries: &[Value]) -> Vec<&str> {
    entries
        .iter()
        .map(|entry| entry["type"].as_str().expect("a type"))
        .collect()
}

fn timeline(server: &Fixture, token: &str, payment: &str) -> Vec<Value> {
    let list = server
        .get_as(token, &format!("/v1/payments/{payment}/timeline"))
        .expect(200);
    assert_eq!(
        (&list["object"], &list["has_more"]),
        (&json!("list"), &json!(false))
    );
    items(&list)
}

#[test]
fn a_timeline_tells_all_that_happened_to_whom_it_may_be_told() {
    let mut server = Fixture::with_subscriptions();
    let (buyer, shop) = (
        server.wallet("ann", 1_000),
        server.account("shop", "merchant"),
    );
    let (ann, of_shop) = (server.token("ann", "write"), server.token("shop", "write"));
    let made = subscribe(&server, &of_shop, &json!({"events": ["payment.*"]}));
    let all = subscribe(&server, &server.platform, &json!({"events": ["payment.*"]}));
    let payment = id(&server
        .post_as(&ann, "/v1/payments", &hold(&buyer, &shop, 100))
        .expect(201));
    let path_of = |what: &str| format!("/v1/payments/{payment}/{what}");
    server.clock.advance(1);
    ask(
        &server,
        &of_shop,
        &path_of("capture"),
        &json!({"amount": 60}),
    );
    server.clock.advance(1);
    server
        .post_as(
            &of_shop,
            "/v1/refunds",
            &json!({"payment": payment, "amount": 10}),
        )
        .expect(201);
    server.clock.advance(1);
    server
        .post_as(
            &of_shop,
            "/v1/refunds",
            &json!({"payment": payment, "amount": 900}),
        )
        .expect(402);
    server.clock.advance(1);
    for (token, subscription) in [(&of_shop, &made), (&server.platform, &all)] {
        let taken = receive(&server, token, subscription, 3);
        let receipts: Vec<&Value> = taken.iter().map(|one| &one["receipt"]).collect();
        ask(
            &server,
            token,
            &format!("{}/ack", path(subscription)),
            &json!({"receipts": receipts}),
        );
    }
    let entry = ["request", "decision", "posting", "posting"];
    let whole = timeline(&server, &server.platform, &payment);
    let refused = ["request", "decision"];
    // The platform's subscription has the refused refund too, fourth, which was not fetched.
    let expected = [&entry[..], &entry, &entry, &refused, &["delivery"; 6]].concat();
    assert_eq!(types(&whole), expected, "{whole:#?}");
    let (asked, decided) = (&whole[0], &whole[1]);
    assert_eq!(
        (&asked["command"], &asked["actor"]["owner"]),
        (&json!("pay"), &json!("ann"))
    );
    assert!(asked["idempotency_key"].is_string() && asked["actor"]["api_key"].is_string());
    assert_eq!(
        (&decided["accepted"], &decided["event_type"]),
        (&json!(true), &json!("payment.authorized"))
    );
    let captured = &whole[5];
    assert_eq!(captured["time"], "2026-11-20T00:00:01Z");
    assert_eq!(captured["payment_status"], "partially_captured");
    let posting = |at: usize| {
        let of = |name: &str| whole[at][name].clone();
        (of("account"), of("amount"), of("posted"), of("pending"))
    };
    assert_eq!(
        posting(2),
        (json!(buyer), json!(0), json!(1_000), json!(100))
    );
    assert_eq!(
        posting(6),
        (json!(buyer), json!(-60), json!(940), json!(40))
    );
    assert_eq!(posting(11), (json!(shop), json!(-10), json!(50), json!(0)));
    assert_eq!(whole[13]["failure"]["code"], "refund_exceeds_captured");
    assert_eq!(
        (&whole[13]["accepted"], &whole[13]["payment_status"]),
        (&json!(false), &Value::Null)
    );
    let delivery = &whole[14];
    assert_eq!(delivery["time"], "2026-11-20T00:00:04Z");
    assert_eq!(delivery["attempt"]["event"], whole[0]["event"]);
    assert_eq!(delivery["attempt"]["subscription"], id(&made));

    // The payer: its own postings, nobody else's keys, refusals and deliveries.
    let payers = timeline(&server, &ann, &payment);
    let entry = ["request", "decision", "posting"];
    assert_eq!(types(&payers), [&entry[..], &entry, &entry].concat());
    assert!(payers[0]["idempotency_key"].is_string());
    assert_eq!(
        payers[3]["actor"],
        json!({"owner": "shop", "api_key": null})
    );
    assert_eq!(payers[3]["idempotency_key"], Value::Null);
    let of_ann = |entry: &Value| entry["type"] != "posting" || entry["account"] == json!(buyer);
    assert!(payers.iter().all(of_ann));
    let shops = timeline(&server, &of_shop, &payment);
    assert_eq!(
        types(&shops),
        [&entry[..], &entry, &entry, &refused, &["delivery"; 3]].concat()
    );
    let stranger = server.token("eve", "read");
    server.get_as(&stranger, &path_of("timeline")).expect(404);
    server.restart();
    assert_eq!(timeline(&server, &server.platform, &payment), whole);
}

#[test]
fn a_timeline_tells_how_long_a_payment_was_queued() {
    let server = Fixture::start();
    let (buyer, shop) = (
        server.wallet("ann", 1_000),
        server.account("shop", "merchant"),
    );
    let mut order = pay(&buyer, &shop, 5);
    order["queue"] = json!({"priority": 7, "not_before": "2026-11-20T00:00:10Z"});
    let payment = id(&server.post("/v1/payments", &order).expect(202));
    let queued = timeline(&server, &server.platform, &payment);
    assert_eq!(types(&queued)[..2], ["request", "decision"]);
    let joined = queued.last().expect("an entry");
    assert_eq!(
        (&joined["type"], &joined["priority"]),
        (&json!("queue_joined"), &json!(7))
    );
    assert_eq!(joined["time"], "2026-11-20T00:00:10Z");
    server.clock.advance(12);
    until("it has run", || {
        let shown = server.get(&format!("/v1/payments/{payment}")).expect(200);
        (shown["status"] == "captured").then_some(())
    });
    let run = timeline(&server, &server.platform, &payment);
    assert_eq!(
        types(&run)[queued.len()..],
        ["request", "decision", "posting", "posting", "queue_left"]
    );
    let asked = &run[queued.len()];
    assert_eq!(asked["actor"], json!({"owner": "system", "api_key": null}));
    assert_eq!(
        (&asked["command"], &asked["idempotency_key"]),
        (&json!("run"), &Value::Null)
    );
    assert_eq!(
        run.last().map(|left| &left["waited_ms"]),
        Some(&json!(2_000))
    );
}

#[test]
fn the_timeline_of_a_payment_with_very_many_refunds_comes_in_pages() {
    let server = Fixture::start();
    let (buyer, shop) = (
        server.wallet("ann", 2_000),
        server.account("shop", "merchant"),
    );
    let payment = id(&server
        .post("/v1/payments", &pay(&buyer, &shop, 1_500))
        .expect(201));
    for some in 0..10 {
        let refund = |at: u32| json!({"idempotency_key": format!("r-{some}-{at}"), "refund": {"payment": payment, "amount": 1}});
        let refunds: Vec<Value> = (0..100).map(refund).collect();
        server.post("/v1/batches", &json!(refunds)).expect(200);
    }
    let path = format!("/v1/payments/{payment}/timeline");
    let whole = pages(&server, &server.platform, &path, 70);
    assert_eq!(whole.len(), 1_001 * 4);
    let balances = whole
        .iter()
        .filter(|entry| entry["account"] == json!(buyer));
    let balances: Vec<i64> = balances
        .map(|entry| entry["posted"].as_i64().expect("one"))
        .collect();
    assert!(balances.iter().copied().eq(500..=1_500));
    let events = whole.iter().filter(|entry| entry["type"] == "decision");
    let distinct: std::collections::BTreeSet<&str> = events
        .map(|entry| entry["event"].as_str().expect("an id"))
        .collect();
    assert_eq!(distinct.len(), 1_001);
    let first = server.get(&path).expect(200);
    assert_eq!(
        (items(&first).len(), &first["has_more"]),
        (400, &json!(true))
    );
}
