//! RabbitMQ, with the programs of `examples/rabbitmq`.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::engine::Engine;
use crate::crash::verify;
use crate::support::{PATIENCE, Server, all_pages, nothing_may_be_skipped, repository, tool};

/// Opens an account and returns its id.
pub(super) fn account(server: &Server, name: &str, kind: &str) {
    let mut body =
        json!({"owner": "platform", "currency": "EUR", "kind": kind, "external_id": name});
    if kind == "external" {
        body["overdraft"] = json!("unlimited");
    }
    server
        .post("/v1/accounts", &format!("account-{name}"), &body)
        .ok();
}

/// Joins the queue `payment_order` to the system, as `examples/rabbitmq/settings.toml` does.
fn bind(server: &Server, engine: &Engine) {
    account(server, "wallet-anna", "external");
    account(server, "shop", "merchant");
    let key = json!({"owner": "platform", "access": "write"});
    let key = server.post("/v1/api_keys", "binding", &key).ok();
    let binder = json!({
        "slug": "main", "type": "rabbitmq", "url": format!("amqp://{}", engine.address()),
        "username": "tributary", "password": "tributary",
    });
    server.post("/v1/binders", "binder", &binder).ok();
    let binding = json!({
        "slug": "orders", "binder": "main", "direction": "in", "destination": "payment_order",
        "acts_as": key["id"], "identity_from": "field order_id",
        "consumer": {"back_off_initial_interval": 50, "back_off_max_interval": 500},
        "reply": {"allow": ["payment_replies"]},
        "map": {
            "currency": "EUR", "source": "wallet-anna", "destination": "shop",
            "reference": "{order_id}", "amount": {"field": "amount", "unit": "minor"},
        },
    });
    server.post("/v1/bindings", "orders", &binding).ok();
}

fn example(engine: &Engine, arguments: &[&str]) -> Option<Command> {
    let mut command = Command::new(tool("tools-python")?);
    let url = format!("amqp://tributary:tributary@{}/%2F", engine.address());
    command
        .arg(repository().join("examples/rabbitmq/place_orders.py"))
        .args(["--url", &url, "--wait", "100"])
        .args(arguments)
        .stdin(Stdio::null());
    Some(command)
}

/// Runs the example for Node, which finds its library where the tools are.
fn node_example(engine: &Engine, first: u64, count: u64) -> Option<std::process::Output> {
    let tools = repository().join("target/tools/node");
    if !tools.join("node_modules/amqplib").exists() {
        assert!(
            !nothing_may_be_skipped(),
            "amqplib is missing: scripts/install-tools"
        );
        return None;
    }
    let program = tools.join(format!("place_orders-{}.mjs", std::process::id()));
    let source = repository().join("examples/rabbitmq/place_orders.mjs");
    std::fs::copy(source, &program).expect("it can be copied");
    let mut node = Command::new("node");
    node.arg(&program)
        .arg(format!("amqp://tributary:tributary@{}", engine.address()))
        .args([first.to_string(), count.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let output = finish(node.spawn().expect("it runs"), "the client for Node");
    std::fs::remove_file(program).expect("it was copied");
    Some(output)
}

/// The orders that an example says were answered, and by which event.
pub(super) fn answered(output: &std::process::Output) -> BTreeMap<String, String> {
    let text = String::from_utf8_lossy(&output.stdout);
    let lines = text.lines().filter_map(|line| line.split_once(' '));
    lines
        .map(|(order, kind)| (order.to_owned(), kind.to_owned()))
        .collect()
}

/// Checks that each of the orders was paid once.
#[track_caller]
pub(super) fn check_paid_once(server: &Server, first: u64, count: u64) {
    let payments = all_pages(server, "/v1/payments");
    let mut references: Vec<u64> = payments
        .iter()
        .map(|payment| {
            assert_eq!(payment["amount"], json!(100), "{payment}");
            let reference = payment["reference"].as_str().expect("an order has one");
            reference.parse().expect("a number")
        })
        .collect();
    references.sort_unstable();
    let expected: Vec<u64> = (first..first + count).collect();
    assert_eq!(references, expected);
}

#[test]
fn orders_of_a_foreign_client_are_paid_once_and_answered() {
    let Some(engine) = Engine::start("rabbitmq") else {
        return;
    };
    let Some(mut declare) = example(&engine, &["--declare-only"]) else {
        return;
    };
    assert!(declare.status().expect("it runs").success());
    let directory = tempfile::tempdir().expect("directory");
    let server = Server::start(&directory.path().join("data"));
    bind(&server, &engine);
    let run = || {
        let mut example = example(&engine, &["--count", "50"]).expect("it is there");
        example.output().expect("it runs")
    };
    let output = run();
    assert!(output.status.success(), "{output:?}\n{}", server.log());
    let results = answered(&output);
    assert_eq!(results.len(), 50);
    assert!(results.values().all(|kind| kind == "payment.captured"));
    // The same orders once more: each is answered again, and none is paid again.
    let output = run();
    assert!(output.status.success(), "{output:?}\n{}", server.log());
    assert_eq!(answered(&output), results);
    check_paid_once(&server, 123_456, 50);
    // A client in another language, made of another library.
    let Some(output) = node_example(&engine, 123_506, 10) else {
        return;
    };
    assert!(output.status.success(), "{output:?}\n{}", server.log());
    assert_eq!(answered(&output).len(), 10);
    check_paid_once(&server, 123_456, 60);
    let bindings = server.get("/v1/bindings");
    let id = bindings["data"][0]["id"].as_str().expect("an id");
    // The last reply may be here before it is counted.
    let begun = Instant::now();
    loop {
        let figures = server.get(&format!("/v1/bindings/{id}/figures"));
        let counts = ["decided", "sent", "repeated", "dead_letters", "in_hand"];
        let counts = counts.map(|name| figures[name].as_u64().expect("a count"));
        if figures["standing"] == "running" && counts == [60, 60, 50, 0, 0] {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "{figures}");
        std::thread::sleep(Duration::from_millis(20));
    }
    let message = server.get(&format!("/v1/bindings/{id}/messages/123456"));
    assert_eq!(message["result"]["reference"], json!("123456"), "{message}");
    assert!(server.stop().success());
}

/// Waits for a program that must succeed.
pub(super) fn finish(mut child: Child, what: &str) -> std::process::Output {
    let begun = Instant::now();
    while child.try_wait().expect("it is our child").is_none() {
        assert!(begun.elapsed() < 2 * PATIENCE, "{what} does not end");
        std::thread::sleep(Duration::from_millis(20));
    }
    child.wait_with_output().expect("it has ended")
}

#[test]
fn a_server_and_a_broker_that_are_killed_lose_and_double_no_order() {
    let Some(mut engine) = Engine::start("rabbitmq") else {
        return;
    };
    let Some(mut declare) = example(&engine, &["--declare-only"]) else {
        return;
    };
    assert!(declare.status().expect("it runs").success());
    wait_for_names(engine.folder(), "payment_order");
    let directory = tempfile::tempdir().expect("directory");
    let data = directory.path().join("data");
    let mut server = Server::start(&data);
    bind(&server, &engine);
    let (first, count) = (1_000, 600);
    let orders = |first: u64, count: u64| {
        let (first, count) = (first.to_string(), count.to_string());
        let mut example = example(&engine, &["--first", &first, "--count", &count]);
        let example = example.as_mut().expect("it is there");
        let pipes = example.stdout(Stdio::piped()).stderr(Stdio::piped());
        pipes.spawn().expect("it runs")
    };
    let placing = orders(first, count);
    wait_for_payments(&server, 50);
    server.kill();
    let address = server.address.clone();
    drop(server);
    let listen = address.trim_start_matches("http://");
    let server = Server::start_at(&data, listen);
    let output = finish(placing, "the client");
    assert!(output.status.success(), "{output:?}\n{}", server.log());
    assert_eq!(answered(&output).len() as u64, count);

    // Orders that nobody waits for: the broker is killed with them in its queue, and in the server's hands.
    let mut placing = orders(first + count, count);
    wait_for_payments(&server, count + 50);
    placing.kill().expect("it is our child");
    placing.wait().expect("it is our child");
    engine.kill();
    engine.restart();
    // What was not confirmed is sent again, under the same ids.
    let placing = {
        let (first, count) = ((first + count).to_string(), count.to_string());
        let mut example = example(&engine, &["--first", &first, "--count", &count]);
        let example = example.as_mut().expect("it is there");
        let pipes = example.stdout(Stdio::piped()).stderr(Stdio::piped());
        pipes.spawn().expect("it runs")
    };
    let output = finish(placing, "the client");
    assert!(output.status.success(), "{output:?}\n{}", server.log());
    check_paid_once(&server, first, 2 * count);
    assert!(server.stop().success());
    let verified: Value = verify(&data);
    assert_eq!(verified["ok"], json!(true), "{verified}");
}

/// Waits until that many payments are there.
pub(super) fn wait_for_payments(server: &Server, count: u64) {
    let begun = Instant::now();
    loop {
        let balances = server.get("/v1/accounts?limit=10");
        let accounts = balances["data"].as_array().expect("a list");
        let shop = accounts.iter().find(|one| one["external_id"] == "shop");
        let balance = shop.and_then(|shop| shop["posted"].as_i64());
        if balance.unwrap_or_default() >= 100 * i64::try_from(count).expect("few") {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "{balances}\n{}", server.log());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Waits until the broker has written the name of a queue: it does so some seconds after the queue was made.
pub(super) fn wait_for_names(folder: &Path, queue: &str) {
    let begun = Instant::now();
    let has = |file: &Path| {
        let bytes = std::fs::read(file).unwrap_or_default();
        let name = queue.as_bytes();
        bytes.windows(name.len()).any(|window| window == name)
    };
    loop {
        let mut folders = vec![folder.join("data")];
        while let Some(next) = folders.pop() {
            for entry in std::fs::read_dir(&next).into_iter().flatten().flatten() {
                let path = entry.path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.ends_with("names.dets") && has(&path) {
                    return;
                }
            }
        }
        assert!(begun.elapsed() < PATIENCE, "the queues are not written");
        std::thread::sleep(Duration::from_millis(100));
    }
}
