//! Events that go out to RabbitMQ, read by the program of `examples/rabbitmq`.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tributary_testkit::engine::Engine;

use super::client::Client;
use super::rabbitmq::wait_for_names;
use crate::support::{PATIENCE, Server, all_pages, repository, tool};

/// Payments in euros; each has three events.
const PAYMENTS: usize = 120;

/// The example that reads the events with some routing keys from a queue.
fn reader(engine: &Engine, queue: &str, keys: &str, arguments: &[&str]) -> Option<Command> {
    let mut command = Command::new(tool("tools-python")?);
    let url = format!("amqp://tributary:tributary@{}/%2F", engine.address());
    command
        .arg(repository().join("examples/rabbitmq/read_events.py"))
        .args(["--url", &url, "--wait", "100"])
        .args(["--queue", queue, "--routing-key", keys])
        .args(arguments)
        .stdin(Stdio::null());
    Some(command)
}

/// Starts to read so many events.
fn read(engine: &Engine, queue: &str, keys: &str, count: usize) -> Client {
    let reader = reader(engine, queue, keys, &["--count", &count.to_string()]);
    Client::start(reader.expect("it is there"))
}

/// Waits until the example has read everything, and returns the events that it printed.
fn events(reading: Client) -> Vec<Value> {
    let ended = reading.succeed();
    let lines = ended.out.lines().map(serde_json::from_str);
    lines.map(|line| line.expect("a line of JSON")).collect()
}

/// Opens an account and returns its id.
fn account(server: &Server, name: &str, currency: &str) -> String {
    let mut body = json!({"owner": "platform", "currency": currency, "kind": "merchant"});
    if name == "world" {
        body["kind"] = json!("external");
        body["overdraft"] = json!("unlimited");
    }
    let key = format!("account-{name}-{currency}");
    let made = server.post("/v1/accounts", &key, &body).ok();
    made["id"].as_str().expect("an id").to_owned()
}

/// Does commands, each under a key of its own, and returns the ids of what they made or changed.
fn batch(server: &Server, name: &str, commands: impl Iterator<Item = Value>) -> Vec<String> {
    let commands: Vec<Value> = commands
        .enumerate()
        .map(|(number, mut command)| {
            command["idempotency_key"] = json!(format!("{name}-{number}"));
            command
        })
        .collect();
    let body = Value::Array(commands);
    let answer = server.request("POST", "/v1/batches", None, Some(&body));
    let answer = answer.expect("it answers").ok();
    let results = answer["results"].as_array().expect("a list");
    let made = |result: &Value| {
        assert!(result["error"].is_null(), "{result}");
        result["result"]["id"].as_str().expect("an id").to_owned()
    };
    results.iter().map(made).collect()
}

/// Holds so many amounts in a currency, and returns the ids of the payments.
fn hold(server: &Server, currency: &str, count: usize) -> Vec<String> {
    let source = account(server, "world", currency);
    let shop = account(server, "shop", currency);
    let hold = json!({"payment": {
        "amount": 10, "currency": currency, "source": source, "destination": shop,
        "capture_method": "manual", "expires_at": "2099-01-01T00:00:00Z",
    }});
    let name = format!("hold-{currency}");
    batch(server, &name, std::iter::repeat_n(hold, count))
}

/// Makes the binding that sends to the exchange `payments`, and returns its id.
fn bind(server: &Server, engine: &Engine) -> String {
    let binder = json!({
        "slug": "main", "type": "rabbitmq", "url": format!("amqp://{}", engine.address()),
        "username": "tributary", "password": "tributary",
    });
    server.post("/v1/binders", "binder", &binder).ok();
    let binding = json!({
        "slug": "events", "binder": "main", "direction": "out", "destination": "payments",
        "routing_key": "payment.{currency}.{type}",
    });
    let made = server.post("/v1/bindings", "events", &binding).ok();
    made["id"].as_str().expect("an id").to_owned()
}

/// Sends the events of payments in a currency to the binding. Returns the path of the subscription.
fn subscribe(server: &Server, currency: &str, more: &Value) -> String {
    let mut body = json!({
        "slug": currency.to_lowercase(), "binding": "events", "events": ["payment.*"],
        "currency": currency,
    });
    let fields = body.as_object_mut().expect("an object");
    fields.extend(more.as_object().expect("an object").clone());
    let made = server.post("/v1/subscriptions", currency, &body).ok();
    format!("/v1/subscriptions/{}", made["id"].as_str().expect("an id"))
}

/// Waits until what a path shows is so.
#[track_caller]
fn wait_until(server: &Server, path: &str, holds: impl Fn(&Value) -> bool) -> Value {
    let begun = Instant::now();
    loop {
        let shown = server.get(path);
        if holds(&shown) {
            return shown;
        }
        assert!(begun.elapsed() < PATIENCE, "{shown}\n{}", server.log());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The types of events by object, in the order of their first occurrence.
fn by_object<'a>(
    events: impl Iterator<Item = (&'a Value, &'a Value)>,
) -> BTreeMap<&'a str, Vec<&'a str>> {
    let mut objects: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (object, kind) in events {
        let kinds = objects.entry(object.as_str().expect("an id")).or_default();
        kinds.push(kind.as_str().expect("a type"));
    }
    objects
}

#[test]
fn events_reach_a_foreign_client_in_order_although_the_broker_is_killed() {
    let Some(engine) = Engine::find("rabbitmq") else {
        return;
    };
    engine.start();
    let (queue, keys) = ("payment_events", "payment.EUR.#");
    let Some(declare) = reader(&engine, queue, keys, &["--declare-only"]) else {
        return;
    };
    Client::start(declare).succeed();
    wait_for_names(engine.folder(), queue);
    let directory = tempfile::tempdir().expect("directory");
    let server = Server::start(&directory.path().join("data"));
    let figures = format!("/v1/bindings/{}/figures", bind(&server, &engine));
    let euros = subscribe(&server, "EUR", &json!({}));
    let reading = read(&engine, queue, keys, 3 * PAYMENTS);

    // The broker is killed with some events confirmed, and others on their way or still to come.
    let payments = hold(&server, "EUR", PAYMENTS);
    let capture = |id: &String| json!({"capture": {"payment": id, "amount": 4, "final": false}});
    wait_until(&server, &figures, |figures| {
        figures["sent"].as_u64() >= Some(PAYMENTS as u64 / 2)
    });
    // Many events that go out at once take few threads, and so little memory.
    let threads = server.threads("bindings");
    assert!((1..16).contains(&threads), "{threads} threads");
    let (early, late) = payments.split_at(PAYMENTS / 2);
    batch(&server, "early", early.iter().map(capture));
    engine.kill();
    batch(&server, "late", late.iter().map(capture));
    batch(
        &server,
        "void",
        payments.iter().map(|id| json!({"void": {"payment": id}})),
    );
    // It is tried again and again, and everybody can see why nothing goes out.
    let begun = Instant::now();
    while server.log().matches("events wait for their broker").count() < 3 {
        assert!(begun.elapsed() < PATIENCE, "{}", server.log());
        std::thread::sleep(Duration::from_millis(50));
    }
    let down = server.get(&figures);
    assert_eq!(
        (&down["standing"], &down["trouble"], &down["reconnects"]),
        (&json!("waiting"), &json!("unreachable"), &json!(1)),
        "{down}"
    );
    let ready = server.get("/health/ready");
    let expected = json!([{"slug": "events", "standing": "waiting", "trouble": "unreachable"}]);
    assert_eq!(
        (&ready["status"], &ready["bindings"]),
        (&json!("ready"), &expected)
    );
    let metrics = server
        .request("GET", "/metrics", None, None)
        .expect("it answers");
    let metrics = String::from_utf8_lossy(&metrics.body).into_owned();
    let line = "tributary_binding_up{binding=\"events\"} 0";
    assert!(metrics.lines().any(|shown| shown == line), "{metrics}");
    engine.start();
    let read = events(reading);

    // Each event came at least once, and the first occurrences of a payment's events in order.
    let told: Vec<Value> = all_pages(&server, "/v1/events?events=payment.*");
    let first = read.iter().filter(|event| event["again"] == json!(false));
    let first = by_object(first.map(|event| (&event["object"], &event["type"])));
    let expected = told.iter().rev();
    let expected =
        by_object(expected.map(|event| (&event["data"]["object"]["id"], &event["type"])));
    assert_eq!(expected.values().map(Vec::len).sum::<usize>(), 3 * PAYMENTS);
    assert_eq!(first, expected);
    for event in &read {
        let (kind, headers) = (&event["type"], &event["headers"]);
        let kind = kind.as_str().expect("a type");
        assert_eq!(event["routing_key"], json!(format!("payment.EUR.{kind}")));
        assert_eq!(event["content_type"], "application/json");
        for (attribute, value) in [
            ("specversion", &json!("1.0")),
            ("id", &event["id"]),
            ("type", &event["type"]),
            ("subject", &event["object"]),
        ] {
            assert_eq!(
                &headers[format!("cloudEvents:{attribute}")],
                value,
                "{event}"
            );
        }
        assert!(headers["cloudEvents:source"].is_string(), "{event}");
        assert!(headers["cloudEvents:time"].is_string(), "{event}");
    }
    // The broker was away for seconds, which is no attempt of any event.
    let after = wait_until(&server, &euros, |shown| {
        shown["figures"]["acknowledged"] == json!(3 * PAYMENTS)
    });
    let counts = ["failed", "dead_letters", "length", "in_flight"];
    assert_eq!(
        counts.map(|count| &after["figures"][count]),
        [&json!(0); 4],
        "{after}"
    );
    let failed = server.get(&format!("{euros}/attempts?status=failed"));
    assert_eq!(failed["data"], json!([]));
    let up = server.get(&figures);
    assert_eq!(
        (&up["standing"], &up["trouble"]),
        (&json!("running"), &Value::Null)
    );

    unroutable_events_are_listed_and_sent_again(&server, &engine);
    assert!(server.stop().success());
}

/// No queue takes events of payments in dollars, until there is one.
fn unroutable_events_are_listed_and_sent_again(server: &Server, engine: &Engine) {
    let twice = json!({"attempts_max": 2, "backoff": {"delays_seconds": [1]}, "jitter": 0});
    let dollars = subscribe(server, "USD", &twice);
    let payments = hold(server, "USD", 5);
    let list = format!("{dollars}/dead_letters");
    let dead = wait_until(server, &list, |dead| {
        dead["data"]
            .as_array()
            .is_some_and(|dead| dead.len() == payments.len())
    });
    for letter in dead["data"].as_array().expect("a list") {
        assert_eq!(letter["attempts"], 2, "{letter}");
        let error = letter["history"][0]["error"].as_str().expect("a text");
        let key = "no queue";
        assert!(
            error.contains(key) && error.contains("payment.USD.payment.authorized"),
            "{error}"
        );
    }
    let (queue, keys) = ("payment_events_usd", "payment.USD.#");
    let declare = reader(engine, queue, keys, &["--declare-only"]);
    Client::start(declare.expect("it is there")).succeed();
    let requeued = server
        .post(&format!("{list}/requeue"), "requeue", &json!({}))
        .ok();
    assert_eq!(
        (&requeued["done"], &requeued["left"]),
        (&json!(5), &json!(0))
    );
    let read = events(read(engine, queue, keys, 5));
    let mut objects: Vec<&str> = read
        .iter()
        .filter_map(|event| event["object"].as_str())
        .collect();
    objects.sort_unstable();
    objects.dedup();
    let mut expected: Vec<&str> = payments.iter().map(String::as_str).collect();
    expected.sort_unstable();
    assert_eq!(objects, expected);
}
