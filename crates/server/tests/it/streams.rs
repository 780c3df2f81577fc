//! Streams: their forms, what they compute of events, what they publish, and what stops them.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::bindings::with;
use crate::client::{Answer, until};
use crate::fixture::{Fixture, id};
use crate::settings::write;

pub(crate) const STREAMS: &str = "/v1/streams";

fn patch(server: &Fixture, path: &str, body: &Value) -> Answer {
    write(server, &server.platform, "PATCH", path, None, body)
}

/// Captured payments and their amount, by method and minute.
fn volume() -> Value {
    json!({
        "slug": "volume",
        "from": [{
            "event": "payment.captured",
            "where": "has(metadata.method)",
            "fields": {"method": "metadata.method"},
        }],
        "key": ["method"],
        "window": {"type": "tumbling", "size_seconds": 60},
        "emit": {"payments": "count()", "amount": "sum(amount_moved)"},
    })
}

/// A platform's key that may write, by its id.
pub(crate) fn api_key(server: &Fixture) -> String {
    let body = json!({"owner": "platform", "access": "write"});
    id(&server.post("/v1/api_keys", &body).expect(201))
}

pub(crate) fn path_of(stream: &Value) -> String {
    format!("{STREAMS}/{}", id(stream))
}

/// The figures of a stream at the end of the journal.
pub(crate) fn settled(server: &Fixture, path: &str) -> Value {
    until("the stream is at the end of the journal", || {
        let answer = server.get(&format!("{path}/figures"));
        let figures = (answer.status == 200).then(|| answer.json())?;
        let is_settled = figures["state"] == "running"
            && figures["lag"] == 0
            && figures["next_version"].is_null()
            && figures["waiting"] == 0;
        is_settled.then_some(figures)
    })
}

pub(crate) fn rows(server: &Fixture, path: &str, state: &str) -> Vec<Value> {
    let page = server
        .get(&format!("{path}/rows?state={state}"))
        .expect(200);
    page["data"].as_array().expect("a list").clone()
}

/// Rows without what every test repeats.
pub(crate) fn brief(rows: &[Value]) -> Vec<Value> {
    let brief = rows.iter().map(|row| json!([row["key"], row["values"]]));
    brief.collect()
}

/// Accounts that pay each other.
pub(crate) struct Shop<'a> {
    server: &'a Fixture,
    pub(crate) wallet: String,
    pub(crate) merchant: String,
}

impl Shop<'_> {
    pub(crate) fn open(server: &Fixture) -> Shop<'_> {
        Shop {
            server,
            wallet: server.wallet("ann", 100_000),
            merchant: server.account("shop", "merchant"),
        }
    }

    fn pay(&self, amount: u64, metadata: &Value) -> Value {
        let body = json!({
            "amount": amount, "currency": "EUR", "source": self.wallet,
            "destination": self.merchant, "metadata": metadata,
        });
        self.server.post("/v1/payments", &body).json()
    }

    fn pay_by(&self, method: &str, amount: u64) {
        let payment = self.pay(amount, &json!({"method": method}));
        assert_eq!(payment["status"], "captured");
    }
}

pub(crate) fn events(server: &Fixture, kind: &str) -> Vec<Value> {
    let (mut events, mut after) = (Vec::new(), String::new());
    loop {
        let page = server
            .get(&format!("/v1/events?limit=100{after}"))
            .expect(200);
        let found = page["data"].as_array().expect("a list").iter();
        events.extend(found.filter(|event| event["type"] == kind).cloned());
        let Some(cursor) = page["next_cursor"].as_str() else {
            events.reverse();
            return events;
        };
        after = format!("&starting_after={cursor}");
    }
}

#[test]
fn a_stream_is_made_changed_paused_and_deleted() {
    let server = Fixture::start();
    let made = server.post(STREAMS, &volume()).expect(201);
    let path = path_of(&made);
    assert!(id(&made).starts_with("str_"));
    let expected = json!({
        "id": made["id"], "object": "stream", "slug": "volume", "managed_by": null, "revision": 1,
        "version": 1, "status": "active", "paused_reason": null, "from": volume()["from"],
        "data": {}, "key": ["method"], "time": null,
        "window": {"type": "tumbling", "size_seconds": 60},
        "emit": {"payments": "count()", "amount": "sum(amount_moved)"}, "having": null,
        "publish": null, "act": null, "start": "beginning", "bounds": {},
        "created": made["created"], "updated": made["created"],
    });
    assert_eq!(made, expected);
    assert_eq!(server.get(&path).expect(200), expected);
    assert_eq!(server.get(STREAMS).expect(200)["data"], json!([expected]));
    // What does not change what is computed is no new version.
    let changed = patch(
        &server,
        &path,
        &json!({"slug": "turnover", "bounds": {"keys_max": 9}}),
    );
    let changed = changed.expect(200);
    assert_eq!(
        (&changed["version"], &changed["revision"]),
        (&json!(1), &json!(2))
    );
    let changed = patch(&server, &path, &json!({"having": "payments > 1"})).expect(200);
    assert_eq!(
        (&changed["version"], &changed["revision"]),
        (&json!(2), &json!(3))
    );
    let paused = server.post(&format!("{path}/pause"), &json!({"reason": "too dear"}));
    let paused = paused.expect(200);
    assert_eq!(paused["paused_reason"], "too dear");
    until("the stream rests", || {
        let figures = server.get(&format!("{path}/figures"));
        (figures.status == 200 && figures.json()["state"] == "paused").then_some(())
    });
    server
        .post(&format!("{path}/resume"), &json!({}))
        .expect(200);
    settled(&server, &path);
    write(&server, &server.platform, "DELETE", &path, None, &json!({})).expect(200);
    assert_eq!(server.get(&path).status, 404);
    assert_eq!(server.get(&format!("{path}/rows")).status, 404);
}

#[test]
fn a_wrong_definition_is_refused_with_the_field_and_what_to_do() {
    let server = Fixture::start();
    let source = |changes: Value| json!({ "from": [with(&volume()["from"][0], &changes)] });
    let cases = [
        (json!({"from": []}), "from", "0 entries"),
        (
            source(json!({"where": "amount"})),
            "from[0].where",
            "an integer",
        ),
        (
            source(json!({"where": "amuont > 1"})),
            "from[0].where",
            "amuont",
        ),
        (
            source(json!({"fields": {"a.b": "amount"}})),
            "from[0].fields.a.b",
            "dots",
        ),
        (
            source(json!({"fields": {"amount": "amount"}})),
            "from[0].fields",
            "amount",
        ),
        (
            json!({"key": ["metadata.method"]}),
            "key[0]",
            "give it a name",
        ),
        (json!({"key": ["nobody"]}), "key[0]", "nobody"),
        (json!({"key": []}), "key", "0 entries"),
        (json!({"emit": {"n": "count(amount)"}}), "emit.n", "count()"),
        (
            json!({"emit": {"n": "sum(currency)"}}),
            "emit.n",
            "a string",
        ),
        (json!({"emit": {"n": "median(amount)"}}), "emit.n", "median"),
        (json!({"having": "payments"}), "having", "an integer"),
        (
            json!({"window": {"type": "tumbling", "size_seconds": 0}}),
            "window.size_seconds",
            "0 ns",
        ),
        (
            json!({"window": {"type": "hopping", "size_seconds": 5, "step_seconds": 6}}),
            "window.step_seconds",
            "longer than",
        ),
        (
            json!({"window": {"type": "session", "gap_seconds": u64::MAX}}),
            "window.gap_seconds",
            "18 years",
        ),
        (
            json!({"time": {"milliseconds": "currency"}}),
            "time.milliseconds",
            "a string",
        ),
        (json!({"data": {"terminal": "string"}}), "data", "data."),
        (
            json!({"bounds": {"keys_max": 0}}),
            "bounds.keys_max",
            "1 to",
        ),
        (
            json!({"publish": {"event": "payment.captured", "acts_as": "key_1"}}),
            "publish.event",
            "app.",
        ),
        (
            json!({"publish": {"event": "app.volume", "acts_as": "key_1"}}),
            "publish.acts_as",
            "no such",
        ),
    ];
    for (changes, param, said) in cases {
        let answer = server.post(STREAMS, &with(&volume(), &changes));
        let error = &answer.json()["error"];
        assert!((400..=404).contains(&answer.status), "{changes}: {error}");
        assert_eq!(error["param"], param, "{changes}: {error}");
        let message = error["message"].as_str().expect("a message").to_lowercase();
        assert!(
            message.contains(&said.to_lowercase()),
            "{changes}: {message}"
        );
        // A preview says the same.
        let preview = json!({"stream": with(&volume(), &changes)});
        let preview = server.post(&format!("{STREAMS}/preview"), &preview);
        assert_eq!(preview.json()["error"]["param"], param);
    }
    let answer = server.post(STREAMS, &with(&volume(), &json!({"windows": 1})));
    assert_eq!(answer.status, 400);
    let ann = server.token("ann", "write");
    assert_eq!(server.post_as(&ann, STREAMS, &volume()).status, 403);
}

#[test]
fn a_window_becomes_a_row_when_its_time_is_over_also_if_nothing_else_happens() {
    let server = Fixture::start();
    let shop = Shop::open(&server);
    // Before the stream: it is computed from the past.
    shop.pay_by("card", 100);
    let path = path_of(&server.post(STREAMS, &volume()).expect(201));
    shop.pay_by("bank", 30);
    shop.pay_by("card", 20);
    shop.pay(5, &json!({}));
    settled(&server, &path);
    let expected = [
        json!([{"method": "bank"}, {"payments": 1, "amount": 30}]),
        json!([{"method": "card"}, {"payments": 2, "amount": 120}]),
    ];
    assert_eq!(brief(&rows(&server, &path, "open")), expected);
    assert_eq!(rows(&server, &path, "final"), [] as [Value; 0]);
    let head = server.get("/v1/journal/head").expect(200)["position"].clone();
    // A clock that is set back ends no window.
    server.clock.step_wall(-3_600);
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert_eq!(server.get("/v1/journal/head").expect(200)["position"], head);
    server.clock.step_wall(3_600);
    server.clock.advance(60);
    until("the windows are over", || {
        (rows(&server, &path, "final").len() == 2).then_some(())
    });
    let closed = rows(&server, &path, "final");
    let newest_first: Vec<Value> = expected.iter().rev().cloned().collect();
    assert_eq!(brief(&closed), newest_first);
    assert_eq!(closed[0]["window_start"], "2026-11-20T00:00:00Z");
    assert_eq!(closed[0]["window_end"], "2026-11-20T00:01:00Z");
    assert_eq!(rows(&server, &path, "open"), [] as [Value; 0]);
    // Without an open window there are no barriers.
    let head = server.get("/v1/journal/head").expect(200)["position"].clone();
    server.clock.advance(3_600);
    std::thread::sleep(std::time::Duration::from_millis(600));
    assert_eq!(server.get("/v1/journal/head").expect(200)["position"], head);
    // Pages.
    let page = server.get(&format!("{path}/rows?limit=1")).expect(200);
    assert_eq!(page["has_more"], true);
    let cursor = page["next_cursor"].as_str().expect("a cursor");
    let rest = server.get(&format!("{path}/rows?limit=1&starting_after={cursor}"));
    let rest = rest.expect(200);
    assert_eq!(rest["has_more"], false);
    assert_eq!(json!([page["data"][0], rest["data"][0]]), json!(closed));
}

#[test]
fn results_are_published_once_also_after_a_restart_without_checkpoints() {
    let mut server = Fixture::start();
    let acts_as = api_key(&server);
    let publish = json!({"event": "app.volume", "acts_as": acts_as});
    let stream = with(
        &volume(),
        &json!({"publish": publish, "having": "payments > 1"}),
    );
    let path = path_of(&server.post(STREAMS, &stream).expect(201));
    let shop = Shop::open(&server);
    for (method, amount) in [("card", 1), ("card", 2), ("bank", 3)] {
        shop.pay_by(method, amount);
    }
    settled(&server, &path);
    server.clock.advance(60);
    let published = until("a result is published", || {
        let published = events(&server, "app.volume");
        (!published.is_empty()).then_some(published)
    });
    settled(&server, &path);
    let expected = json!({
        "stream": path.rsplit('/').next(), "version": 1, "key": {"method": "card"},
        "window_start": "2026-11-20T00:00:00Z", "window_end": "2026-11-20T00:01:00Z",
        "revision": 0, "values": {"payments": 2, "amount": 3},
    });
    assert_eq!(published.len(), 1);
    assert_eq!(published[0]["data"], expected);
    assert_eq!(published[0]["key"], "card");
    server.restart();
    settled(&server, &path);
    assert_eq!(events(&server, "app.volume"), published);
    assert_eq!(rows(&server, &path, "final").len(), 1);
}

#[test]
fn a_new_version_is_computed_from_the_past_and_publishes_only_what_ends_later() {
    let server = Fixture::with_subscriptions();
    let publish = json!({"event": "app.volume", "acts_as": api_key(&server)});
    let stream = with(&volume(), &json!({"publish": publish}));
    let path = path_of(&server.post(STREAMS, &stream).expect(201));
    let shop = Shop::open(&server);
    shop.pay_by("card", 1);
    settled(&server, &path);
    server.clock.advance(60);
    until("the first window is over", || {
        (events(&server, "app.volume").len() == 1).then_some(())
    });
    shop.pay_by("card", 20);
    let changed = json!({"emit": {"greatest": "max(amount)"}});
    patch(&server, &path, &changed).expect(200);
    settled(&server, &path);
    // The first window again, of the new version: shown, not published.
    let first = json!([[{"method": "card"}, {"greatest": 1}]]);
    assert_eq!(json!(brief(&rows(&server, &path, "final"))), first);
    server.clock.advance(60);
    let published = until("the second window is over", || {
        let published = events(&server, "app.volume");
        (published.len() == 2).then_some(published)
    });
    let versions: Vec<&Value> = published
        .iter()
        .map(|event| &event["data"]["version"])
        .collect();
    assert_eq!(versions, [1, 2]);
    assert_eq!(published[1]["data"]["values"], json!({"greatest": 20}));
}

#[test]
fn a_stream_goes_on_from_its_checkpoint() {
    let mut server = Fixture::with_subscriptions();
    let path = path_of(&server.post(STREAMS, &volume()).expect(201));
    let shop = Shop::open(&server);
    shop.pay_by("card", 7);
    let before = settled(&server, &path);
    server.restart();
    let after = settled(&server, &path);
    assert_eq!(after["keys"], before["keys"]);
    let expected = json!([[{"method": "card"}, {"payments": 1, "amount": 7}]]);
    assert_eq!(json!(brief(&rows(&server, &path, "open"))), expected);
    let shop = Shop::open(&server);
    shop.pay_by("card", 8);
    settled(&server, &path);
    let expected = json!([[{"method": "card"}, {"payments": 2, "amount": 15}]]);
    assert_eq!(json!(brief(&rows(&server, &path, "open"))), expected);
}

#[test]
fn a_stream_that_reaches_a_bound_stops_and_says_so_and_payments_go_on() {
    let server = Fixture::with_subscriptions();
    let stream = with(&volume(), &json!({"bounds": {"keys_max": 2}}));
    let path = path_of(&server.post(STREAMS, &stream).expect(201));
    let shop = Shop::open(&server);
    for method in ["card", "bank", "cash"] {
        shop.pay_by(method, 1);
    }
    let figures = until("the stream stops", || {
        let answer = server.get(&format!("{path}/figures"));
        let figures = (answer.status == 200).then(|| answer.json())?;
        (figures["state"] == "stopped").then_some(figures)
    });
    let why = figures["why"].as_str().expect("a reason");
    assert!(why.contains("keys_max"), "{why}");
    let told = until("the journal says so", || {
        let told = events(&server, "stream.stopped");
        (!told.is_empty()).then_some(told)
    });
    assert_eq!(told.len(), 1);
    assert_eq!(
        told[0]["data"]["stream"],
        path.rsplit('/').next().expect("an id")
    );
    assert_eq!(server.metric("tributary_stream_up{stream=\"volume\"}"), "0");
    shop.pay_by("cash", 1);
    // With another bound it goes on, and nothing is missing.
    patch(&server, &path, &json!({"bounds": {"keys_max": 3}})).expect(200);
    settled(&server, &path);
    let expected = json!([
        [{"method": "bank"}, {"payments": 1, "amount": 1}],
        [{"method": "card"}, {"payments": 1, "amount": 1}],
        [{"method": "cash"}, {"payments": 2, "amount": 2}],
    ]);
    assert_eq!(json!(brief(&rows(&server, &path, "open"))), expected);
    assert_eq!(events(&server, "stream.stopped").len(), 1);
}

#[test]
fn events_of_applications_are_counted_by_their_own_time_and_late_ones_are_told() {
    let server = Fixture::start();
    let stream = json!({
        "slug": "visits",
        "from": [{"event": "app.visit"}],
        "data": {"data.at": "integer", "data.page.name": "string", "data.new": "boolean"},
        "key": ["data.page.name"],
        "time": {"milliseconds": "data.at", "lateness_seconds": 10},
        "window": {"type": "hopping", "size_seconds": 60, "step_seconds": 30},
        "emit": {"visits": "count()", "last": "last(data.at)"},
        "publish": {"event": "app.visits", "acts_as": api_key(&server)},
    });
    let path = path_of(&server.post(STREAMS, &stream).expect(201));
    let visit = |at: i64| {
        let data = json!({"at": at * 1_000, "page": {"name": "home"}, "new": true});
        let event = json!({"type": "app.visit", "data": data});
        server.post("/v1/events", &event).expect(201);
    };
    for at in [1_000_000, 1_000_031, 1_000_025, 1_000_100] {
        visit(at);
    }
    // The watermark is at 1,000,090.
    visit(1_000_089);
    let figures = settled(&server, &path);
    assert_eq!(figures["late_events"], 1);
    assert_eq!(figures["watermark"], "1970-01-12T13:48:10Z");
    let late = until("the late one is told", || {
        events(&server, "stream.late").pop()
    });
    assert_eq!(late["data"]["time"], "1970-01-12T13:48:09Z");
    assert_eq!(late["data"]["key"], json!({"data.page.name": "home"}));
    let visits: Vec<Value> = events(&server, "app.visits")
        .iter()
        .map(|event| {
            json!([
                event["data"]["window_end"],
                event["data"]["values"]["visits"]
            ])
        })
        .collect();
    let expected = json!([
        ["1970-01-12T13:46:30Z", 0],
        ["1970-01-12T13:47:00Z", 2],
        ["1970-01-12T13:47:30Z", 3],
        ["1970-01-12T13:48:00Z", 1],
    ]);
    let expected: Vec<Value> = expected
        .as_array()
        .expect("a list")
        .iter()
        .filter(|row| row[1] != 0)
        .cloned()
        .collect();
    assert_eq!(visits.len(), expected.len(), "{visits:?}");
}

#[test]
fn streams_read_each_others_events_only_if_asked_and_never_round_in_a_circle() {
    let server = Fixture::start();
    let acts_as = api_key(&server);
    let echo = |slug: &str, from_streams: bool| {
        json!({
            "slug": slug,
            "from": [{"event": "app.echo", "from_streams": from_streams}],
            "key": ["event"],
            "window": {"type": "trailing", "size_seconds": 60},
            "emit": {"count": "count()"},
            "publish": {"event": "app.echo", "acts_as": acts_as},
        })
    };
    let deaf = path_of(&server.post(STREAMS, &echo("deaf", false)).expect(201));
    let publish = || {
        let event = json!({"type": "app.echo", "data": {}});
        server.post("/v1/events", &event).expect(201);
    };
    publish();
    settled(&server, &deaf);
    assert_eq!(events(&server, "app.echo").len(), 2);
    let circle = path_of(
        &server
            .post(
                STREAMS,
                &with(&echo("circle", true), &json!({"start": "now"})),
            )
            .expect(201),
    );
    settled(&server, &circle);
    publish();
    let figures = until("the circle is broken", || {
        let figures = server.get(&format!("{circle}/figures")).expect(200);
        (figures["state"] == "stopped").then_some(figures)
    });
    let why = figures["why"].as_str().expect("a reason");
    assert!(why.contains("round in a circle"), "{why}");
    assert!(events(&server, "app.echo").len() < 30);
}

#[test]
fn nothing_is_published_in_the_name_of_a_revoked_key() {
    let server = Fixture::start();
    let acts_as = api_key(&server);
    let publish = json!({"event": "app.volume", "acts_as": acts_as});
    let stream = with(&volume(), &json!({"publish": publish}));
    let path = path_of(&server.post(STREAMS, &stream).expect(201));
    let shop = Shop::open(&server);
    shop.pay_by("card", 1);
    settled(&server, &path);
    server
        .post(&format!("/v1/api_keys/{acts_as}/revoke"), &json!({}))
        .expect(200);
    server.clock.advance(60);
    let why = until("the stream says why", || {
        let figures = server.get(&format!("{path}/figures")).expect(200);
        let waits = figures["waiting"] == 1;
        figures["why"].as_str().filter(|_| waits).map(str::to_owned)
    });
    assert!(why.contains("revoked"), "{why}");
    assert_eq!(events(&server, "app.volume"), [] as [Value; 0]);
}

#[test]
fn a_preview_shows_what_a_stream_would_and_keeps_nothing() {
    let server = Fixture::start();
    let shop = Shop::open(&server);
    for method in ["card", "card", "bank"] {
        shop.pay_by(method, 10);
    }
    let preview = |records: u64| {
        let body = json!({"stream": volume(), "records": records});
        server
            .post(&format!("{STREAMS}/preview"), &body)
            .expect(200)
    };
    let shown = preview(1_000);
    let open = shown["open_rows"].as_array().expect("a list");
    let expected = json!([
        [{"method": "bank"}, {"payments": 1, "amount": 10}],
        [{"method": "card"}, {"payments": 2, "amount": 20}],
    ]);
    assert_eq!(json!(brief(open)), expected);
    assert_eq!(shown["events"], 6 - 2);
    assert_eq!(shown["stopped"], Value::Null);
    let shown = preview(1);
    assert_eq!(
        (&shown["records"], &shown["events"]),
        (&json!(1), &json!(1))
    );
    let before = server.get("/v1/journal/head").expect(200)["position"].clone();
    preview(1_000);
    assert_eq!(
        server.get("/v1/journal/head").expect(200)["position"],
        before
    );
    assert_eq!(server.get(STREAMS).expect(200)["data"], json!([]));
}

/// The fields that expressions may use say what the event says.
#[test]
fn fields_are_those_that_events_show() {
    let server = Fixture::start();
    let shop = Shop::open(&server);
    let body = json!({
        "amount": 500, "currency": "EUR", "source": shop.wallet, "destination": shop.merchant,
        "capture_method": "manual", "reference": "order-1", "description": "a book",
        "metadata": {"method": "card"}, "expires_at": "2026-12-01T00:00:00Z",
    });
    let payment = id(&server.post("/v1/payments", &body).expect(201));
    server.clock.advance(2);
    let capture = json!({"amount": 300});
    server
        .post(&format!("/v1/payments/{payment}/capture"), &capture)
        .expect(200);
    let update = json!({"metadata": {"method": "cash"}});
    write(
        &server,
        &server.platform,
        "PATCH",
        &format!("/v1/payments/{payment}"),
        Some("u"),
        &update,
    )
    .expect(200);
    let refund = json!({"payment": payment, "amount": 120, "metadata": {"why": "torn"}});
    server.post("/v1/refunds", &refund).expect(201);
    let too_much = json!({
        "amount": 9_000_000, "currency": "EUR", "source": shop.wallet, "destination": shop.merchant,
    });
    assert_eq!(server.post("/v1/payments", &too_much).status, 402);
    let texts = [
        "payment",
        "kind",
        "status",
        "currency",
        "source",
        "payer",
        "destination",
        "payee",
        "owner",
        "reference",
        "description",
        "failure",
    ];
    let numbers = [
        "amount",
        "amount_moved",
        "amount_held",
        "amount_captured",
        "amount_refunded",
        "waited",
        "created",
    ];
    let types = [
        "payment.authorized",
        "payment.partially_captured",
        "payment.updated",
        "payment.partially_refunded",
        "payment.failed",
    ];
    let mut seen = BTreeSet::new();
    for kind in types {
        let field = |name: &str, absent: &str| format!("last(has({name}) ? {name} : {absent})");
        let names = |names: &[&str], absent: &str| -> Vec<(String, String)> {
            let each = names
                .iter()
                .map(|name| ((*name).to_owned(), field(name, absent)));
            each.collect()
        };
        let method = "last(has(metadata.method) ? metadata.method : \"-\")";
        let mut values = serde_json::Map::new();
        let emits = [names(&texts, "\"-\""), names(&numbers, "-1")].concat();
        for chunk in emits.chunks(10) {
            let emit: serde_json::Map<String, Value> = chunk
                .iter()
                .map(|(name, text)| (format!("its_{name}"), Value::String(text.clone())))
                .chain([("its_method".to_owned(), json!(method))])
                .collect();
            let stream = json!({
                "slug": "all", "from": [{"event": kind}], "key": ["event"], "emit": emit,
                "window": {"type": "tumbling", "size_seconds": 86_400},
            });
            let shown = server.post(&format!("{STREAMS}/preview"), &json!({"stream": stream}));
            let row = shown.expect(200)["open_rows"][0].clone();
            assert!(row.is_object(), "{kind}");
            values.extend(row["values"].as_object().expect("values").clone());
        }
        let event = events(&server, kind).pop().expect("there is one");
        let object = &event["data"]["object"];
        let value = |name: &str| values[&format!("its_{name}")].clone();
        for name in [
            "status",
            "currency",
            "source",
            "amount",
            "amount_held",
            "amount_captured",
            "amount_refunded",
            "reference",
            "description",
            "kind",
        ] {
            if let Some(told) = object.get(name).filter(|told| !told.is_null()) {
                assert_eq!(value(name), *told, "{kind}: {name}");
                seen.insert(name);
            }
        }
        assert_eq!(value("payment"), json!(payment_of(object)), "{kind}");
        assert_eq!(value("payer"), "ann");
        assert_eq!(
            value("failure"),
            event["data"]["failure"]["code"].as_str().unwrap_or("-")
        );
        if kind != "payment.failed" {
            assert_eq!(value("payee"), "shop");
            assert_eq!(value("destination"), json!(shop.merchant));
        }
        let moved = match kind {
            "payment.partially_captured" => 300,
            "payment.partially_refunded" => 120,
            _ => 0,
        };
        assert_eq!(value("amount_moved"), moved, "{kind}");
        let method = match kind {
            "payment.updated" => "cash",
            "payment.authorized" | "payment.partially_captured" => "card",
            _ => "-",
        };
        assert_eq!(value("method"), method, "{kind}");
        if kind == "payment.partially_captured" {
            assert_eq!(value("waited"), 2_000);
        }
    }
    assert!(seen.len() > 8, "{seen:?}");
}

fn payment_of(object: &Value) -> &Value {
    match object["object"] == "refund" {
        true => &object["payment"],
        false => &object["id"],
    }
}
