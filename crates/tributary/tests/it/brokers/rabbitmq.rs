//! RabbitMQ, with the programs of `examples/rabbitmq`.

use std::fs::File;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use tributary_testkit::engine::Engine;

use super::example::Example;
use crate::support::{PATIENCE, nothing_may_be_skipped, repository};

pub(super) const RABBITMQ: Example = Example {
    name: "rabbitmq",
    scheme: "amqp://",
    user: Some("tributary"),
    other: Some(in_node),
    orders: "payment_order",
    replies: "payment_replies",
};

/// The example for Node, which looks for its library where it runs.
fn in_node(engine: &Engine, first: u64, count: u64) -> Option<Command> {
    let tools = repository().join("target/tools/node");
    if !tools.join("node_modules/amqplib").exists() {
        let missing = "amqplib is missing: scripts/install-tools";
        assert!(!nothing_may_be_skipped(), "{missing}");
        return None;
    }
    let program = repository().join("examples/rabbitmq/place_orders.mjs");
    let mut node = Command::new("node");
    node.current_dir(tools)
        .args(["--input-type=module", "-"])
        .arg(format!("amqp://tributary:tributary@{}", engine.address()))
        .args([first.to_string(), count.to_string()])
        .stdin(File::open(program).expect("it is there"));
    Some(node)
}

#[test]
fn orders_of_foreign_clients_are_paid_once_and_answered() {
    RABBITMQ.orders_are_paid_once_and_answered();
}

#[test]
fn a_server_and_a_broker_that_are_killed_lose_and_double_no_order() {
    if let Some(engine) = RABBITMQ.start() {
        wait_for_names(engine.folder(), RABBITMQ.replies);
        RABBITMQ.kill_server_and_broker(engine);
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
