//! Batches: what they take, and how much.

use serde_json::{Value, json};

use crate::fixture::{Fixture, hold, id, pay};

/// The results' statuses, and their error codes where there are any.
fn results(answer: &Value) -> Vec<(u64, &str)> {
    let results = answer["results"].as_array().expect("results");
    results
        .iter()
        .map(|result| {
            let status = result["status"].as_u64().expect("a status");
            (status, result["error"]["code"].as_str().unwrap_or(""))
        })
        .collect()
}

#[test]
fn accounts_are_frozen_unfrozen_and_closed_in_a_batch() {
    let server = Fixture::start();
    let (ann, shop) = (
        server.wallet("ann", 100),
        server.account("shop", "merchant"),
    );
    let named = json!({"account": ann});
    let answer = server
        .post(
            "/v1/batches",
            &json!([
                {"idempotency_key": "1", "freeze": named},
                {"idempotency_key": "2", "payment": pay(&ann, &shop, 40)},
                {"idempotency_key": "3", "unfreeze": named},
                {"idempotency_key": "4", "payment": pay(&ann, &shop, 40)},
                {"idempotency_key": "5", "close": named},
                {"group": [
                    {"idempotency_key": "6", "transfer": pay(&ann, &shop, 60)},
                    {"idempotency_key": "7", "close": named},
                ]},
                {"idempotency_key": "1", "freeze": named},
            ]),
        )
        .expect(200);
    assert_eq!(
        results(&answer),
        [
            (200, ""),
            (402, "account_frozen"),
            (200, ""),
            (201, ""),
            (409, "account_not_empty"),
            (201, ""),
            (200, ""),
            (200, ""),
        ]
    );
    assert_eq!(answer["results"][7]["replayed"], true);
    assert_eq!(answer["results"][7]["result"]["status"], "frozen");
    assert_eq!(
        server.get(&format!("/v1/accounts/{ann}")).expect(200)["status"],
        "closed"
    );
    // A batch and the account's own path share the keys and the command.
    let path = format!("/v1/accounts/{ann}/freeze");
    let again = server.post_key(&path, "1", &json!({}));
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
}

/// Whoever wants ids only is told the same otherwise, whichever way was asked first.
#[test]
fn with_return_minimal_each_result_is_the_id_of_what_the_whole_result_shows() {
    let server = Fixture::start();
    let (ann, shop) = (
        server.wallet("ann", 1_000),
        server.account("shop", "merchant"),
    );
    let held = id(&server
        .post("/v1/payments", &hold(&ann, &shop, 100))
        .expect(201));
    let commands = |run: &str, payment: &str| {
        let key = |at: u32| format!("{run}-{at}");
        let mut queued = pay(&ann, &shop, 2);
        queued["queue"] = json!({"priority": 9});
        json!([
            {"idempotency_key": key(1), "payment": pay(&ann, &shop, 40)},
            {"idempotency_key": key(2), "payment": pay(&ann, &shop, 40_000)},
            {"idempotency_key": key(3), "capture": {"payment": payment, "amount": 10}},
            {"idempotency_key": key(4), "refund": {"payment": payment, "amount": 5}},
            {"idempotency_key": key(5), "refund": {"payment": payment, "amount": 5_000}},
            {"idempotency_key": key(6), "account": {"owner": "eve", "kind": "wallet", "currency": "EUR"}},
            {"idempotency_key": key(7), "freeze": {"account": shop}},
            {"idempotency_key": key(8), "unfreeze": {"account": shop}},
            {"idempotency_key": key(8), "freeze": {"account": shop}},
            {"idempotency_key": key(9), "event": {"type": "app.seen", "data": {"n": 1}}},
            {"idempotency_key": key(10), "payment": queued},
            {"group": [
                {"idempotency_key": key(11), "transfer": pay(&ann, &shop, 1)},
                {"idempotency_key": key(12), "transfer": pay(&ann, &shop, 100_000)},
            ]},
            {"idempotency_key": key(13), "void": {"payment": "pay_00000000000000000000000000"}},
        ])
    };
    let minimal = |body: &Value| {
        let answer = server.post_preferring("wait=10, return=minimal", "/v1/batches", None, body);
        let applied = answer.header("preference-applied").map(str::to_owned);
        let answer = answer.expect(200);
        assert_eq!(applied.as_deref(), Some("return=minimal"));
        answer
    };
    let whole = |body: &Value| {
        let answer = server.post("/v1/batches", body);
        assert_eq!(answer.header("preference-applied"), None);
        answer.expect(200)
    };
    let body = commands("a", &held);
    let first = (minimal(&body), whole(&body));
    let body = commands("b", &held);
    let second = whole(&body);
    let second = (minimal(&body), second);
    for (short, long) in [first, second] {
        let [short, long] =
            [&short, &long].map(|answer| answer["results"].as_array().expect("results"));
        assert_eq!((short.len(), long.len()), (14, 14));
        for (short, long) in short.iter().zip(long) {
            for field in ["idempotency_key", "status"] {
                assert_eq!(short[field], long[field], "{short} {long}");
            }
            for field in ["code", "message", "param", "payment", "type"] {
                assert_eq!(
                    short["error"][field], long["error"][field],
                    "{short} {long}"
                );
            }
            if long["result"].is_null() {
                assert_eq!(short["result"], Value::Null);
                continue;
            }
            let mut named = json!({"object": long["result"]["object"], "id": long["result"]["id"]});
            if let Some(capture) = long["result"].get("capture_id") {
                named["capture_id"] = capture.clone();
            }
            assert_eq!(short["result"], named, "{long}");
        }
        let done = short
            .iter()
            .filter(|result| result["error"].is_null())
            .count();
        assert_eq!(done, 8, "{short:?}");
        let statuses: Vec<&Value> = short.iter().map(|result| &result["status"]).collect();
        assert_eq!(statuses[9], 201, "{short:?}");
        assert_eq!(statuses[10], 202, "{short:?}");
    }
}

#[test]
fn an_owner_may_no_more_in_a_batch_than_alone() {
    let server = Fixture::start();
    let (own, foreign) = (
        server.account("ann", "wallet"),
        server.account("bob", "wallet"),
    );
    let token = server.token("ann", "write");
    let answer = server
        .post_as(
            &token,
            "/v1/batches",
            &json!([
                {"idempotency_key": "1", "freeze": {"account": own}},
                {"idempotency_key": "2", "unfreeze": {"account": own}},
                {"idempotency_key": "3", "close": {"account": foreign}},
                {"idempotency_key": "4", "close": {"account": own}},
            ]),
        )
        .expect(200);
    assert_eq!(
        results(&answer),
        [
            (403, "platform_only"),
            (403, "platform_only"),
            (404, "resource_not_found"),
            (200, ""),
        ]
    );
}

#[test]
fn a_batch_has_at_most_8192_commands_however_they_are_grouped() {
    let server = Fixture::start();
    let (ann, shop) = (
        server.wallet("ann", 10_000),
        server.account("shop", "merchant"),
    );
    let command =
        |at: usize| json!({"idempotency_key": format!("{at}"), "payment": pay(&ann, &shop, 1)});
    let mut items: Vec<Value> = (0..8_190).map(command).collect();
    items.push(json!({"group": [command(8_190), command(8_191)]}));
    let full = server.post("/v1/batches", &json!(items)).expect(200);
    assert!(results(&full).iter().all(|result| *result == (201, "")));
    assert_eq!(server.posted(&shop), 8_192);
    items[8_190] = json!({"group": [command(8_190), command(8_191), command(8_192)]});
    let answer = server.post("/v1/batches", &json!(items));
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (400, "parameter_invalid")
    );
    assert_eq!(answer.json()["error"]["param"], "[8190].group[2]");
    assert_eq!(server.posted(&shop), 8_192);
}

#[test]
fn a_group_whose_records_need_more_than_one_frame_is_refused_and_its_events_alone_are_taken() {
    let server = Fixture::start();
    let data = json!({"text": "d".repeat(32_000)});
    let event = |at: usize| json!({"idempotency_key": format!("{at}"), "event": {"type": "app.seen", "data": data}});
    let events: Vec<Value> = (0..150).map(event).collect();
    let before = server.get("/v1/journal/head").expect(200);
    let refused = server.post("/v1/batches", &json!([{"group": events}]));
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (413, "body_too_large")
    );
    let message = refused.json()["error"]["message"].to_string();
    assert!(
        message.contains("group") && message.contains("4 MiB"),
        "{message}"
    );
    let after = server.get("/v1/journal/head").expect(200);
    assert_eq!(before, after, "nothing was done");
    let taken = server.post("/v1/batches", &json!(events)).expect(200);
    assert!(results(&taken).iter().all(|result| *result == (201, "")));
}

/// A body within its bound of bytes must not take a multiple of that in memory, nor the whole stack.
#[test]
fn the_first_item_of_a_wrong_form_ends_the_reading() {
    let server = Fixture::start();
    let nested = |depth: usize| {
        let (open, close) = ("[{\"group\":".repeat(depth), "}]".repeat(depth));
        format!("{open}[]{close}")
    };
    for (body, code) in [
        (nested(2), "parameter_invalid"),
        (nested(60), "parameter_invalid"),
        (nested(100_000), "parameter_invalid"),
        (
            format!("[{}{{}}]", "{},".repeat(1_000_000)),
            "parameter_invalid",
        ),
        (
            format!("[{{\"group\":[{}{{}}]}}]", "{},".repeat(1_000_000)),
            "parameter_invalid",
        ),
        (
            format!(
                "[{{\"idempotency_key\":\"k\",\"group\":[{{\"idempotency_key\":\"l\",\"void\":{{\"payment\":\"pay_{}\"}}}}]}}]",
                "0".repeat(26)
            ),
            "parameter_invalid",
        ),
    ] {
        let answer = server.post_raw(&server.platform, "/v1/batches", None, body.as_bytes());
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (400, code),
            "{}…",
            &body[..body.len().min(60)]
        );
    }
    assert_eq!(server.get("/health/live").status, 200);
}

#[test]
fn a_command_of_a_batch_names_one_operation() {
    let server = Fixture::start();
    let account = id(&server
        .post("/v1/accounts", &json!({"owner": "ann", "currency": "EUR"}))
        .expect(201));
    let named = json!({"account": account});
    for (item, code, param) in [
        (
            json!({"idempotency_key": "k", "freeze": named, "close": named}),
            "parameter_invalid",
            "[0]",
        ),
        (
            json!({"idempotency_key": "k", "fly": named}),
            "parameter_unknown",
            "[0].fly",
        ),
        (
            json!({"idempotency_key": "k", "freeze": {"account": account, "x": 1}}),
            "parameter_unknown",
            "[0].freeze.x",
        ),
        (
            json!({"idempotency_key": "k", "freeze": {}}),
            "parameter_missing",
            "[0].freeze.account",
        ),
    ] {
        let answer = server.post("/v1/batches", &json!([item]));
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (400, code),
            "{item}"
        );
        assert_eq!(answer.json()["error"]["param"], param, "{item}");
    }
    assert_eq!(
        server.get(&format!("/v1/accounts/{account}")).expect(200)["status"],
        "open"
    );
}
