//! Events of applications: published once, seen as they were.

use serde_json::{Value, json};

use crate::fixture::{Fixture, id};

fn shipped(data: &Value) -> Value {
    json!({"type": "app.order.shipped", "key": "order-7", "data": data})
}

#[test]
fn an_event_is_published_once_and_shown_as_it_was() {
    let server = Fixture::start();
    let token = server.token("shop", "write");
    let body = br#"{"type": "app.order.shipped", "key": "order-7",
        "data": {"z": 1, "a": [12345678901234567890123, 1.50, "x  y\"", null]}}"#;
    let first = server.post_raw(&token, "/v1/events", Some("event-1"), body);
    assert_eq!(
        first.status,
        201,
        "{}",
        String::from_utf8_lossy(&first.body)
    );
    let text = String::from_utf8(first.body.clone()).expect("UTF-8");
    let data = r#""data":{"z":1,"a":[12345678901234567890123,1.50,"x  y\"",null]}"#;
    assert!(text.contains(data), "{text}");
    let event = first.json();
    for (field, value) in [
        ("object", "event"),
        ("type", "app.order.shipped"),
        ("owner", "shop"),
        ("key", "order-7"),
    ] {
        assert_eq!(event[field], value);
    }
    // White space between the parts is no other event; another word is.
    let again = String::from_utf8_lossy(body).replace(": ", " :  ");
    let again = server.post_raw(&token, "/v1/events", Some("event-1"), again.as_bytes());
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    assert_eq!(again.body, first.body);
    let other = String::from_utf8_lossy(body).replace("x  y", "x y");
    let other = server.post_raw(&token, "/v1/events", Some("event-1"), other.as_bytes());
    assert_eq!(other.code(), "idempotency_key_reused");
    let path = format!("/v1/events/{}", id(&event));
    assert_eq!(server.get_as(&token, &path).body, first.body);
    let newest = server.get("/v1/events?limit=1").expect(200);
    assert_eq!(newest["data"][0], event);
}

#[test]
fn an_event_is_published_in_the_name_of_the_key_s_owner_and_seen_by_no_other() {
    let server = Fixture::start();
    let (shop, other) = (server.token("shop", "write"), server.token("other", "read"));
    let of_shop = server.post_as(&shop, "/v1/events", &shipped(&json!(1)));
    let of_platform = server.post("/v1/events", &shipped(&json!(2))).expect(201);
    assert_eq!(of_platform["owner"], "platform");
    let path = format!("/v1/events/{}", id(&of_shop.expect(201)));
    for (token, status) in [(&shop, 200), (&other, 404), (&server.platform, 200)] {
        assert_eq!(server.get_as(token, &path).status, status);
    }
    let path = format!("/v1/events/{}", id(&of_platform));
    assert_eq!(server.get_as(&shop, &path).status, 404);
    let read = server.token("shop", "read");
    let refused = server.post_as(&read, "/v1/events", &shipped(&json!(1)));
    assert_eq!(refused.code(), "read_only_key");
}

#[test]
fn what_is_no_event_is_refused_by_name() {
    let server = Fixture::start();
    let deep = "[".repeat(200) + &"]".repeat(200);
    let long = format!("\"{}\"", "x".repeat(32 * 1024));
    for (body, code, param) in [
        (r#"{"data": 1}"#.to_owned(), "parameter_missing", "type"),
        (
            r#"{"type": "app.a"}"#.to_owned(),
            "parameter_missing",
            "data",
        ),
        (
            r#"{"type": "payment.captured", "data": 1}"#.to_owned(),
            "parameter_invalid",
            "type",
        ),
        (
            r#"{"type": "app.A", "data": 1}"#.to_owned(),
            "parameter_invalid",
            "type",
        ),
        (
            r#"{"type": "app.a", "data": 1, "key": ""}"#.to_owned(),
            "parameter_invalid",
            "key",
        ),
        (
            r#"{"type": "app.a", "data": 1, "owner": "x"}"#.to_owned(),
            "parameter_unknown",
            "owner",
        ),
        (
            r#"{"type": "app.a", "data": 1e999}"#.to_owned(),
            "parameter_invalid",
            "data",
        ),
        (
            format!(r#"{{"type": "app.a", "data": {deep}}}"#),
            "parameter_invalid",
            "data",
        ),
        (
            format!(r#"{{"type": "app.a", "data": {long}}}"#),
            "parameter_invalid",
            "data",
        ),
    ] {
        let answer = server.post_raw(&server.platform, "/v1/events", Some("k"), body.as_bytes());
        assert_eq!(answer.code(), code, "{:.80}", body);
        assert_eq!(answer.json()["error"]["param"], param, "{:.80}", body);
    }
    let longest = format!(
        r#"{{"type": "app.a", "data": {}}}"#,
        long.replacen("xx", "", 1)
    );
    let answer = server.post_raw(
        &server.platform,
        "/v1/events",
        Some("k"),
        longest.as_bytes(),
    );
    assert_eq!(answer.status, 201);
}

#[test]
fn a_batch_publishes_with_the_payment_or_not_at_all() {
    let server = Fixture::start();
    let (buyer, shop) = (server.wallet("ann", 10), server.account("shop", "merchant"));
    let group = |amount: u64, keys: [&str; 2]| {
        json!([{"group": [
            {"idempotency_key": keys[0], "payment": crate::fixture::pay(&buyer, &shop, amount)},
            {"idempotency_key": keys[1], "event": shipped(&json!({"amount": amount}))},
        ]}])
    };
    let done = server
        .post("/v1/batches", &group(10, ["a", "b"]))
        .expect(200);
    assert_eq!(done["results"][1]["status"], 201);
    assert_eq!(done["results"][1]["result"]["data"], json!({"amount": 10}));
    let refused = server
        .post("/v1/batches", &group(1, ["c", "d"]))
        .expect(200);
    assert_eq!(refused["results"][1]["error"]["code"], "group_aborted");
    let event = &server.get("/v1/events?limit=1").expect(200)["data"][0];
    assert_eq!(
        (&event["type"], &event["owner"]),
        (&json!("event.refused"), &json!("platform"))
    );
    assert_eq!(event["data"]["object"]["command"], "publish");
}
