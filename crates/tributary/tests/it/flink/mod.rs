//! One definition, two engines: the rows of streams are those that Flink computes by the SQL of `tributary streams flink-sql`, and those that
//! DuckDB computes by SQL that a person wrote.

mod cluster;
mod definitions;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::{Value, json};

use self::cluster::{Cluster, TOPIC};
use self::definitions::{STREAMS, strict};
use crate::crash::Random;
use crate::streams::wait_for_figures;
use crate::support::{PATIENCE, Server, all_pages};

/// Steps of a test: payments, captures, refunds, published events, and moves of the clock.
const STEPS: u64 = 300;
/// Steps from one rewind of the subscription to the next.
const STEPS_TO_REWIND: u64 = 100;
/// How far the clock goes on at the end, so that every window before is over in both engines: seconds. Half of it is more than the disorder.
const END_SECONDS: i64 = 7_200;

/// The rows of a stream, by their key and the end of their window, of which the last one counts: beginning and values.
type Rows = BTreeMap<(String, Timestamp), (Timestamp, Value)>;

fn time(value: &Value) -> Timestamp {
    let text = value.as_str().expect("a time");
    text.parse().expect("RFC 3339")
}

fn id(made: &Value) -> String {
    made["id"].as_str().expect("an id").to_owned()
}

/// A system whose clock the test moves, with a binding that sends all events to Kafka, and the path of the subscription.
fn start(cluster: &Cluster, data: &std::path::Path) -> (Server, String) {
    let server = Server::start_with_arguments(data, &["--sandbox"]);
    let url = format!("kafka://{}", cluster.kafka.address());
    let binder = json!({"slug": "main", "type": "kafka", "url": url});
    server.post("/v1/binders", "binder", &binder).ok();
    let binding =
        json!({"slug": "events", "binder": "main", "direction": "out", "destination": TOPIC});
    server.post("/v1/bindings", "binding", &binding).ok();
    let subscription =
        json!({"slug": "all", "binding": "events", "events": ["payment.#", "app.#"]});
    let made = server.post("/v1/subscriptions", "subscription", &subscription);
    let path = format!("/v1/subscriptions/{}", id(&made.ok()));
    (server, path)
}

fn make(server: &Server, stream: &Value) -> String {
    let slug = stream["slug"].as_str().expect("a slug");
    let made = server.post("/v1/streams", slug, stream).ok();
    format!("/v1/streams/{}", id(&made))
}

/// Payments and events of a made-up day.
struct Day<'s> {
    server: &'s Server,
    random: Random,
    payers: Vec<String>,
    payees: Vec<String>,
    /// Payments that have something to capture or to refund.
    open: Vec<(String, bool)>,
    keys: u64,
}

impl<'s> Day<'s> {
    fn new(server: &'s Server) -> Day<'s> {
        let account = |owner: &str, kind: &str| {
            let body =
                json!({"owner": owner, "currency": "EUR", "kind": kind, "overdraft": "unlimited"});
            id(&server.post("/v1/accounts", owner, &body).ok())
        };
        Day {
            server,
            random: Random::new(),
            payers: ["ada", "ben", "cleo"]
                .map(|name| account(name, "wallet"))
                .into(),
            payees: ["shop", "kiosk"]
                .map(|name| account(name, "merchant"))
                .into(),
            open: Vec::new(),
            keys: 0,
        }
    }

    fn post(&mut self, path: &str, body: &Value) -> Value {
        self.keys += 1;
        self.server
            .post(path, &format!("day-{}", self.keys), body)
            .ok()
    }

    fn clock(&mut self, seconds: i64) {
        self.post("/v1/sandbox/clock", &json!({"advance_seconds": seconds}));
    }

    fn now_ms(&self) -> i64 {
        let clock = self.server.get("/v1/clock");
        time(&clock["ledger_time"]).as_millisecond()
    }

    fn step(&mut self) {
        match self.random.below(10) {
            0..4 => self.pay(),
            4 => self.go_on(),
            5..8 => {
                let late = i64::try_from(self.random.below(15_000)).expect("small");
                let at = self.now_ms() - late;
                // Some are exactly a gap apart, or at the same time.
                self.publish(at - at % 5_000);
            }
            _ => {
                let seconds = 1 + self.random.below(40);
                self.clock(i64::try_from(seconds).expect("small"));
            }
        }
    }

    fn pay(&mut self) {
        let is_hold = self.random.below(3) == 0;
        let payer = self.random.below(3);
        let mut body = json!({
            "amount": 10 + self.random.below(5_000), "currency": "EUR",
            "source": self.payers[usize::try_from(payer).expect("small")],
            "destination": self.payees[usize::try_from(self.random.below(2)).expect("small")],
        });
        if is_hold {
            body["capture_method"] = json!("manual");
            body["expires_at"] = json!("2199-01-01T00:00:00Z");
        }
        if self.random.below(4) > 0 {
            let methods = ["card", "o'clock", "caf\u{e9} \u{1f600}", "17", "x\\y`;--"];
            let method = methods[usize::try_from(self.random.below(5)).expect("small")];
            body["metadata"] = json!({"method": method});
        }
        let made = self.post("/v1/payments", &body);
        self.open.push((id(&made), is_hold));
    }

    /// Captures a part of what is held, or gives back a part of what was paid.
    fn go_on(&mut self) {
        let Some((payment, is_hold)) = self.open.pop() else {
            return;
        };
        match is_hold {
            true => {
                let path = format!("/v1/payments/{payment}/capture");
                self.post(&path, &json!({"amount": 3, "final": false}))
            }
            false => self.post("/v1/refunds", &json!({"payment": payment, "amount": 4})),
        };
    }

    fn publish(&mut self, at: i64) {
        let number = self.random.below(9);
        let mut data = json!({
            "terminal": format!("t{}", number % 3), "is_new": number == 4, "at": at,
            "amount": self.random.below(100_000),
        });
        if number == 8 {
            data["amount"] = Value::Null;
        }
        self.event(&data);
    }

    fn event(&mut self, data: &Value) {
        let body = json!({"type": "app.terminal.used", "key": "terminals", "data": data});
        self.post("/v1/events", &body);
    }

    /// Ends every window before, and returns the time until which the rows of both engines are final.
    fn end(&mut self) -> Timestamp {
        self.clock(END_SECONDS);
        let now = self.now_ms();
        self.random = Random::number(1);
        self.pay();
        let data = json!({"terminal": "end", "is_new": false, "at": now, "amount": 1});
        self.event(&data);
        Timestamp::from_millisecond(now - END_SECONDS * 1_000 / 2).expect("in range")
    }
}

/// The rows of a stream of Tributary.
fn rows_of_server(server: &Server, path: &str, until: Timestamp) -> Rows {
    let mut rows = Rows::new();
    // The newest first: of a time, the last revision is found first.
    for row in all_pages(server, &format!("{path}/rows?state=final")) {
        let end = time(&row["window_end"]);
        if end <= until {
            let value = (time(&row["window_start"]), row["values"].clone());
            rows.entry((row["key"].to_string(), end)).or_insert(value);
        }
    }
    rows
}

/// The rows of Flink, of messages of its topic, or those of DuckDB.
fn rows_of_flink(messages: &[Value], stream: &Value, until: Timestamp) -> Rows {
    let mut rows = Rows::new();
    let pick = |message: &Value, names: &mut dyn Iterator<Item = &str>| {
        let fields = names.map(|name| (name.to_owned(), message[name].clone()));
        Value::Object(fields.collect())
    };
    for message in messages {
        let end = time(&message["window_end"]);
        if end <= until {
            let key = stream["key"].as_array().expect("a list").iter();
            let key = pick(message, &mut key.filter_map(Value::as_str));
            let emit = stream["emit"].as_object().expect("a table");
            let values = pick(message, &mut emit.keys().map(String::as_str));
            let value = (time(&message["window_start"]), values);
            rows.insert((key.to_string(), end), value);
        }
    }
    rows
}

fn check(what: &str, found: &Rows, expected: &Rows) {
    for (key, row) in found {
        assert_eq!(expected.get(key), Some(row), "{what}: {key:?}");
    }
    assert_eq!(found.len(), expected.len(), "{what}");
}

#[test]
#[ignore = "needs Kafka and Flink: scripts/engines-test"]
fn flink_computes_the_rows_of_each_kind_of_window() {
    let Some(cluster) = Cluster::start() else {
        return;
    };
    let directory = tempfile::tempdir().expect("a directory");
    let (server, subscription) = start(&cluster, &directory.path().join("data"));
    let streams: Vec<Value> = STREAMS.iter().map(|stream| stream()).collect();
    let paths: Vec<String> = streams.iter().map(|stream| make(&server, stream)).collect();
    for stream in &streams {
        cluster.run_sql(
            &server,
            stream["slug"].as_str().expect("a slug"),
            directory.path(),
        );
    }
    let mut day = Day::new(&server);
    for step in 1..=STEPS {
        day.step();
        if step % STEPS_TO_REWIND == 0 {
            // Every event comes to Flink once more, while windows are open.
            let beginning = json!({"to": "beginning"});
            day.post(&format!("{subscription}/rewind"), &beginning);
        }
    }
    let until = day.end();
    let events = directory.path().join("events.jsonl");
    for (stream, path) in streams.iter().zip(&paths) {
        let slug = stream["slug"].as_str().expect("a slug");
        wait_for_figures(&server, path, |_| true);
        let expected = rows_of_server(&server, path, until);
        assert!(expected.len() > 20, "{slug}: {} rows", expected.len());
        let begun = Instant::now();
        let found = loop {
            let found = rows_of_flink(&cluster.rows(slug), stream, until);
            if expected.keys().all(|key| found.contains_key(key)) {
                break found;
            }
            let missing = expected.keys().find(|key| !found.contains_key(key));
            assert!(
                begun.elapsed() < PATIENCE,
                "{slug}: {} of {} rows, without {missing:?}\n{}",
                found.len(),
                expected.len(),
                cluster.log()
            );
            std::thread::sleep(Duration::from_millis(500));
        };
        check(slug, &found, &expected);
        cluster.save_events(&events);
        let batch = rows_of_flink(&cluster.batch_rows(&events, slug), stream, until);
        check(&format!("{slug} by DuckDB"), &batch, &expected);
        eprintln!("{slug}: {} rows", found.len());
    }
}

#[test]
#[ignore = "needs Kafka and Flink: scripts/engines-test"]
fn an_event_without_a_field_of_the_key_stops_both_engines() {
    let Some(cluster) = Cluster::start() else {
        return;
    };
    let directory = tempfile::tempdir().expect("a directory");
    let (server, _) = start(&cluster, &directory.path().join("data"));
    let path = make(&server, &strict());
    let job = cluster.run_sql(&server, "strict", directory.path());
    let mut day = Day::new(&server);
    let at = day.now_ms();
    day.event(&json!({"terminal": "t1", "at": at}));
    day.event(&json!({"at": at}));
    let begun = Instant::now();
    let why = loop {
        let figures = server.get(&format!("{path}/figures"));
        if figures["state"] == "stopped" {
            break figures["why"].to_string();
        }
        assert!(begun.elapsed() < PATIENCE, "{figures}");
        std::thread::sleep(Duration::from_millis(50));
    };
    assert!(why.contains("data.terminal"), "{why}");
    let why = cluster.why_failed(&job);
    let expected = "the field data.terminal of the key has no value in the event evt_";
    assert!(why.contains(expected), "{why}");
}
