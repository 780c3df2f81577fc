//! Streams while the server is killed and stopped: each result is published once, and is what the payments say.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::crash::{Random, kills, verify};
use crate::support::{PATIENCE, Server, all_pages, json_for, repository, run, run_for, text};

const METHODS: [&str; 3] = ["bank", "card", "cash"];

/// What a result counts: payments and their amount.
type Counted = (i64, i64);

/// A stream whose windows last a second.
fn stream(acts_as: &Value) -> Value {
    json!({
        "slug": "volume",
        "from": [{"event": "payment.captured", "where": "has(metadata.method)",
            "fields": {"method": "metadata.method"}}],
        "key": ["method"],
        "window": {"type": "tumbling", "size_seconds": 1},
        "emit": {"payments": "count()", "amount": "sum(amount)"},
        "publish": {"event": "app.volume", "acts_as": acts_as},
        "bounds": {"rows_max": 100_000},
    })
}

/// Pays until the server is gone, one after another. `made` has the amounts of payments that were answered; the next one may have been
/// made, and is repeated under its key.
fn pay(server: (&str, &str), accounts: &[Value], made: &mut Vec<u64>, is_done: &AtomicBool) {
    let (address, token) = server;
    while !is_done.load(Ordering::Relaxed) {
        let count = made.len();
        let amount = 1 + count as u64 % 89;
        let body = json!({
            "amount": amount, "currency": "EUR", "source": accounts[0], "destination": accounts[1],
            "metadata": {"method": METHODS[count % METHODS.len()]},
        });
        let key = format!("pay-{count}");
        let answer = crate::http::request(
            address,
            "POST",
            "/v1/payments",
            token,
            Some(&key),
            Some(&body),
        );
        match answer {
            Ok(answer) if answer.status == 201 => made.push(amount),
            // Asked again after the next start.
            Ok(_) | Err(_) => return,
        }
    }
}

/// Waits until the figures of a stream are as asked for, for as long as it goes on. It must not stop.
pub(crate) fn wait_for_figures(server: &Server, path: &str, is_there: impl Fn(&Value) -> bool) {
    let (mut begun, mut lag) = (Instant::now(), u64::MAX);
    loop {
        let answer = server.request("GET", &format!("{path}/figures"), None, None);
        let answer = answer.expect("answers");
        if answer.status == 200 {
            let figures = answer.json();
            assert_ne!(figures["state"], "stopped", "{path}: {figures}");
            let left = figures["lag"].as_u64().expect("a number");
            if figures["state"] == "running" && left == 0 && is_there(&figures) {
                return;
            }
            if left < lag {
                (begun, lag) = (Instant::now(), left);
            }
        }
        assert!(begun.elapsed() < PATIENCE, "{path} does not go on");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Waits until every window is over and every result is published.
fn settle(server: &Server, path: &str) {
    wait_for_figures(server, path, |figures| {
        figures["waiting"] == 0 && figures["open_windows"] == 0
    });
}

fn counted(values: &Value) -> Counted {
    let number = |name: &str| values[name].as_i64().expect("a number");
    (number("payments"), number("amount"))
}

fn rows(server: &Server, path: &str) -> BTreeMap<(String, String), Counted> {
    let rows = all_pages(server, &format!("{path}/rows?state=final"));
    let rows = rows.into_iter().map(|row| {
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        let place = (text(&row["key"]["method"]), text(&row["window_end"]));
        (place, counted(&row["values"]))
    });
    rows.collect()
}

fn published(server: &Server) -> Vec<Value> {
    let events = all_pages(server, "/v1/events");
    let of_stream = events
        .into_iter()
        .filter(|event| event["type"] == "app.volume");
    of_stream.map(|event| event["data"].clone()).collect()
}

fn open_accounts(server: &Server) -> Vec<Value> {
    let account = |name: &str, kind: &str, overdraft: Value| {
        let body = json!({
            "owner": name, "currency": "EUR", "kind": kind, "overdraft": overdraft,
        });
        server.post("/v1/accounts", name, &body).ok()["id"].clone()
    };
    vec![
        account("payer", "wallet", json!("unlimited")),
        account("payee", "merchant", json!(0)),
    ]
}

#[test]
fn results_of_streams_are_published_once_while_the_server_is_killed_and_stopped() {
    let directory = tempfile::tempdir().expect("there is room");
    let data = directory.path().join("data");
    let mut random = Random::new();
    let mut server = Server::start(&data);
    let accounts = open_accounts(&server);
    let key = json!({"owner": "platform", "access": "write"});
    let key = server.post("/v1/api_keys", "key", &key).ok();
    let made = server
        .post("/v1/streams", "stream", &stream(&key["id"]))
        .ok();
    let path = format!("/v1/streams/{}", made["id"].as_str().expect("an id"));
    let mut payments = Vec::new();
    for kill in 0..kills() {
        let is_done = AtomicBool::new(false);
        let (address, token) = (server.address.clone(), server.key.clone());
        std::thread::scope(|scope| {
            let payer = scope.spawn(|| pay((&address, &token), &accounts, &mut payments, &is_done));
            random.pause(200, 2_500);
            // A server that stops keeps a checkpoint, one that is killed does not.
            match kill % 2 {
                0 => server.kill(),
                _ => {
                    is_done.store(true, Ordering::Relaxed);
                    payer.join().expect("the payer ends");
                }
            }
        });
        if kill % 2 == 1 {
            assert!(server.stop().success());
        }
        server = Server::start(&data);
    }
    // The last one may have been made.
    let is_done = AtomicBool::new(false);
    let before = payments.len();
    std::thread::scope(|scope| {
        let (address, token) = (server.address.clone(), server.key.clone());
        let (payments, is_done, accounts) = (&mut payments, &is_done, &accounts);
        scope.spawn(move || pay((&address, &token), accounts, payments, is_done));
        std::thread::sleep(Duration::from_millis(300));
        is_done.store(true, Ordering::Relaxed);
    });
    assert!(payments.len() > before, "payments go on");
    settle(&server, &path);
    let (shown, told) = (rows(&server, &path), published(&server));
    check(&shown, &told, &payments);
    assert!(server.stop().success());
    compute_again(&data, &path, &shown, told.len());
    verify(&data);
    eprintln!(
        "{} payments, {} results, each once",
        payments.len(),
        told.len()
    );
}

/// For every twentieth payment, one of 200 numbers goes onto a list.
fn listing(acts_as: &Value) -> Value {
    json!({
        "slug": "listing",
        "from": [{"event": "payment.captured"}],
        "key": ["payer"],
        "window": {"type": "trailing", "size_seconds": 86_400},
        "emit": {"payments": "count()"},
        "having": "payments % 20 == 0",
        "act": {"add_to_list": {"list": "numbers", "value": "payments / 20 % 200"}, "acts_as": acts_as},
        "bounds": {"actions_per_minute": 10_000},
    })
}

#[test]
fn each_result_acts_once_while_the_server_is_killed_and_stopped() {
    let directory = tempfile::tempdir().expect("there is room");
    let data = directory.path().join("data");
    let mut random = Random::new();
    let mut server = Server::start(&data);
    let accounts = open_accounts(&server);
    let key = json!({"owner": "platform", "access": "write"});
    let key = server.post("/v1/api_keys", "key", &key).ok();
    let list = json!({"slug": "numbers"});
    let list = server.post("/v1/lists", "list", &list).ok();
    let made = server
        .post("/v1/streams", "stream", &listing(&key["id"]))
        .ok();
    let path = format!("/v1/streams/{}", made["id"].as_str().expect("an id"));
    let mut payments = Vec::new();
    for kill in 0..kills() {
        let is_done = AtomicBool::new(false);
        let (address, token) = (server.address.clone(), server.key.clone());
        std::thread::scope(|scope| {
            scope.spawn(|| pay((&address, &token), &accounts, &mut payments, &is_done));
            random.pause(200, 2_500);
            if kill % 2 == 0 {
                server.kill();
            }
            is_done.store(true, Ordering::Relaxed);
        });
        if kill % 2 == 1 {
            assert!(server.stop().success());
        }
        server = Server::start(&data);
    }
    wait_for_figures(&server, &path, |figures| figures["waiting"] == 0);
    let results = all_pages(&server, &format!("{path}/rows?state=final"));
    let list = list["id"].as_str().expect("an id");
    let revisions = all_pages(&server, &format!("/v1/settings/{list}/revisions"));
    let origins = revisions
        .iter()
        .map(|revision| &revision["origin"]["message"]);
    let made: Vec<&str> = origins.filter_map(Value::as_str).collect();
    let distinct: BTreeSet<&str> = made.iter().copied().collect();
    assert_eq!(made.len(), distinct.len(), "a result acted twice");
    assert_eq!(
        revisions.len(),
        made.len() + 1,
        "but for the first revision"
    );
    let events = all_pages(&server, "/v1/events");
    let acted = |event: &&Value| event["type"] == "stream.acted";
    let unchanged = events.iter().filter(acted).count();
    assert!(!made.is_empty());
    assert_eq!(made.len() + unchanged, results.len(), "each result acted");
    assert!(server.stop().success());
    verify(&data);
    eprintln!("{} payments, {} actions", payments.len(), results.len());
}

/// Rows and events are the same, each once, and count every payment once.
fn check(shown: &BTreeMap<(String, String), Counted>, told: &[Value], payments: &[u64]) {
    let mut events = BTreeMap::new();
    for event in told {
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        let place = (text(&event["key"]["method"]), text(&event["window_end"]));
        let before = events.insert(place, counted(&event["values"]));
        assert_eq!(before, None, "a result was published twice: {event}");
    }
    assert_eq!(events, *shown);
    for (number, method) in METHODS.iter().enumerate() {
        let of_method = events.iter().filter(|(place, _)| place.0 == *method);
        let total = of_method.fold((0, 0), |total, (_, one)| (total.0 + one.0, total.1 + one.1));
        let amounts = payments.iter().skip(number).step_by(METHODS.len());
        let expected = amounts.fold((0, 0), |total: Counted, amount| {
            (total.0 + 1, total.1 + *amount as i64)
        });
        assert_eq!(total, expected, "{method}");
    }
}

/// Without what was kept, the journal alone gives the same rows, and nothing is published again.
fn compute_again(
    data: &Path,
    path: &str,
    shown: &BTreeMap<(String, String), Counted>,
    published_before: usize,
) {
    std::fs::remove_dir_all(data.join("streams")).expect("it is there");
    let server = Server::start(data);
    settle(&server, path);
    assert_eq!(rows(&server, path), *shown);
    assert_eq!(published(&server).len(), published_before);
    assert!(server.stop().success());
}

#[test]
fn every_example_is_applied_and_runs() {
    let directory = tempfile::tempdir().expect("there is room");
    let server = Server::start(&directory.path().join("data"));
    let folder = repository().join("examples/streams");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .expect("it is there")
        .map(|file| file.expect("a file").path())
        .collect();
    files.sort();
    assert!(files.len() >= 5, "{files:?}");
    let key = json!({"owner": "platform", "access": "write"});
    let key = server.post("/v1/api_keys", "acts-as", &key).ok();
    let key = key["id"].as_str().expect("an id");
    for file in &files {
        let url = server.url();
        let example = std::fs::read_to_string(file).expect("it is read");
        let file = directory.path().join(file.file_name().expect("a name"));
        std::fs::write(&file, example.replace("key_…", key)).expect("there is room");
        let arguments = [
            "apply",
            text(&file),
            "--server",
            &url,
            "--api-key-file",
            server.key_file(),
            "--json",
        ];
        json_for(0, &arguments);
    }
    let streams = server.get("/v1/streams");
    let streams = streams["data"].as_array().expect("a list");
    assert_eq!(streams.len(), files.len());
    let accounts = open_accounts(&server);
    let body = json!({
        "amount": 500, "currency": "EUR", "source": accounts[0], "destination": accounts[1],
    });
    let payment = server.post("/v1/payments", "paid", &body).ok();
    let refund = json!({"payment": payment["id"], "amount": 100});
    server.post("/v1/refunds", "refunded", &refund).ok();
    let unfunded = json!({
        "amount": 1, "currency": "EUR", "source": accounts[1], "destination": accounts[1],
    });
    server.post("/v1/payments", "declined", &unfunded);
    for stream in streams {
        let path = format!("/v1/streams/{}", stream["id"].as_str().expect("an id"));
        wait_for_figures(&server, &path, |_| true);
    }
    assert!(server.stop().success());
}

#[test]
fn the_sql_of_a_stream_is_the_same_by_a_file_and_by_a_server() {
    let directory = tempfile::tempdir().expect("there is room");
    let server = Server::start(&directory.path().join("data"));
    let example = repository().join("examples/streams/volume.toml");
    let url = server.url();
    let there = ["--server", &url, "--api-key-file", server.key_file()];
    let file = ["--file", text(&example)];
    let sql = |name: &str, place: &[&str]| {
        let command = ["streams", "flink-sql", name, "--topic", "events"];
        run(&[&command, place].concat())
    };
    let said = |output: &std::process::Output, code: i32| {
        let err = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{err}");
        err
    };
    assert!(said(&sql("volume", &there), 2).contains("the server has no streams"));
    run_for(0, &[&["apply", text(&example)], &there[..]].concat());
    let (of_file, of_server) = (sql("volume", &file), sql("volume", &there));
    assert!(said(&of_file, 0).is_empty() && said(&of_server, 0).is_empty());
    assert_eq!(of_file.stdout, of_server.stdout);
    let id = server.get("/v1/streams")["data"][0]["id"].clone();
    let by_id = sql(id.as_str().expect("an id"), &there);
    assert_eq!(by_id.stdout, of_file.stdout);
    let text_of = String::from_utf8_lossy(&of_file.stdout);
    assert!(text_of.contains("'topic' = 'streams.volume'"), "{text_of}");

    let unknown = said(&sql("other", &file), 2);
    assert!(
        unknown.contains("has no stream `other`, but \"volume\""),
        "{unknown}"
    );
    let unknown = said(&sql("other", &there), 2);
    assert!(
        unknown.contains("the server has no stream `other`, but volume"),
        "{unknown}"
    );
    let waits = repository().join("examples/streams/uncaptured.toml");
    let refused = said(&sql("uncaptured", &["--file", text(&waits)]), 2);
    assert!(
        refused.contains("Flink's SQL has no window that an event opens"),
        "{refused}"
    );
    assert!(said(&sql("volume", &[]), 2).contains("--server URL is missing"));
}
