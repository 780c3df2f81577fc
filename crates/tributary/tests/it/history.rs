//! The history of deliveries in a real directory: it is there after a kill, in the way of nothing, and gone where it is not wanted.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{PATIENCE, Server};

const LOCAL: [(&str, &str); 2] = [
    ("TRIBUTARY_WEBHOOKS_ALLOW_HTTP", "true"),
    ("TRIBUTARY_WEBHOOKS_ALLOW_PRIVATE", "true"),
];

fn start(data: &Path, more: &[(&str, &str)]) -> Server {
    let settings = [&LOCAL[..], more].concat();
    Server::try_start_with(data, "127.0.0.1:0", &settings).expect("it starts")
}

/// Answers every request with 204, on a thread that ends with the test.
fn receiver() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut length = 0;
            for line in BufReader::new(&stream).lines().map_while(Result::ok) {
                if let Some(value) = line.to_lowercase().strip_prefix("content-length: ") {
                    length = value.parse().unwrap_or(0);
                }
                if line.is_empty() {
                    break;
                }
            }
            assert!(length > 0, "a webhook has a body");
            drop(stream.write_all(b"HTTP/1.1 204 X\r\nconnection: close\r\n\r\n"));
        }
    });
    format!("http://{address}/hooks")
}

fn until<T>(what: &str, look: impl Fn() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Threads of the server that send webhooks.
fn webhook_threads(server: &Server) -> usize {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", server.process()));
    let names = tasks.expect("it runs").flatten().filter_map(|task| {
        // A thread may end while it is looked at.
        std::fs::read_to_string(task.path().join("comm")).ok()
    });
    names.filter(|name| name.starts_with("webhook")).count()
}

/// A thread bears its name soon after it was started.
fn sends_webhooks(server: &Server) {
    until("there is a thread for the webhook", || {
        (webhook_threads(server) > 0).then_some(())
    });
}

fn publish(server: &Server, key: &str) -> String {
    let body = json!({"type": "app.tick", "data": {}});
    let made = server.post("/v1/events", key, &body).ok();
    made["id"].as_str().expect("an id").to_owned()
}

fn attempts(server: &Server, path: &str) -> Vec<Value> {
    let list = server.get(&format!("{path}/attempts"));
    list["data"].as_array().expect("a list").clone()
}

fn subscribe(server: &Server, key: &str, body: &Value) -> String {
    let made = server.post("/v1/subscriptions", key, body).ok();
    format!("/v1/subscriptions/{}", made["id"].as_str().expect("an id"))
}

#[test]
fn webhooks_begin_with_the_first_one_and_their_history_survives_a_kill() {
    let directory = tempfile::tempdir().expect("directory");
    let data = directory.path().join("data");
    let mut server = start(&data, &[]);
    let pull = subscribe(&server, "pull", &json!({"events": ["app.#"]}));
    assert_eq!(webhook_threads(&server), 0, "nobody wants webhooks yet");
    let hook = subscribe(
        &server,
        "hook",
        &json!({"url": receiver(), "events": ["app.#"]}),
    );
    sends_webhooks(&server);
    for at in 0..5 {
        publish(&server, &at.to_string());
    }
    until("webhooks arrive", || {
        (attempts(&server, &hook).len() == 5).then_some(())
    });
    let taken = until("some are received", || {
        let wanted = json!({"max": 5, "wait_seconds": 5});
        let taken = server.post(&format!("{pull}/receive"), "x", &wanted).ok();
        let taken = taken["data"].as_array().expect("a list").clone();
        (!taken.is_empty()).then_some(taken)
    });
    let receipts: Vec<&Value> = taken.iter().map(|one| &one["receipt"]).collect();
    server
        .post(&format!("{pull}/ack"), "y", &json!({"receipts": receipts}))
        .ok();
    // It is written within about a second, in the order in which it happened.
    let last = publish(&server, "last");
    let written = || {
        let file = std::fs::read(data.join("history/000000000000.log")).ok()?;
        let mut parts = file.windows(last.len());
        parts.any(|part| part == last.as_bytes()).then_some(())
    };
    until("it is written", written);
    let before = [attempts(&server, &hook), attempts(&server, &pull)];
    assert_eq!((before[0].len(), before[1].len()), (6, taken.len()));
    server.kill();
    let server = start(&data, &[]);
    sends_webhooks(&server);
    // What was delivered in the last moment may not be known to be, and comes again.
    let after = attempts(&server, &hook);
    assert_eq!(after[after.len() - before[0].len()..], before[0]);
    assert_eq!(attempts(&server, &pull), before[1]);
    assert!(server.stop().success());

    let server = start(&data, &[("TRIBUTARY_LIMITS_HISTORY_BYTES_MAX", "0")]);
    assert_eq!(
        [attempts(&server, &hook), attempts(&server, &pull)],
        [const { Vec::<Value>::new() }; 2]
    );
    let files = std::fs::read_dir(data.join("history")).expect("a folder");
    assert_eq!(files.count(), 0, "nothing is kept");
    publish(&server, "more");
    until("it is delivered", || {
        let figures = server.get(&hook)["figures"].clone();
        (figures["acknowledged"] == 1).then_some(())
    });
    assert_eq!(attempts(&server, &hook), [] as [Value; 0]);
    assert!(server.stop().success());
}

/// The place for the history can't be written.
#[test]
fn a_history_that_cannot_be_written_stops_nothing_and_is_told_of_once() {
    let directory = tempfile::tempdir().expect("directory");
    let data = directory.path().join("data");
    let server = start(&data, &[]);
    assert!(server.stop().success());
    std::fs::write(data.join("history"), "no folder").expect("writes");
    let server = start(&data, &[]);
    let hook = subscribe(
        &server,
        "hook",
        &json!({"url": receiver(), "events": ["app.#"]}),
    );
    for at in 0..20 {
        publish(&server, &at.to_string());
    }
    until("all is delivered", || {
        let figures = server.get(&hook)["figures"].clone();
        (figures["acknowledged"] == 20).then_some(())
    });
    server.has_logged("the history of deliveries can't be written");
    let metrics = server
        .request("GET", "/metrics", None, None)
        .expect("answers");
    let metrics = String::from_utf8_lossy(&metrics.body);
    assert!(metrics.contains("\ntributary_history_up 0\n"), "{metrics}");
    assert!(
        metrics.contains("\ntributary_delivery_log_up 1\n"),
        "{metrics}"
    );
    // What is in memory is shown.
    assert_eq!(attempts(&server, &hook).len(), 10);
    assert!(server.stop().success());
}
