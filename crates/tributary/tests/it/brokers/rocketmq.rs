//! RocketMQ, with the program of `examples/rocketmq`.

use std::process::Command;
use std::time::{Duration, Instant};

use tributary_testkit::engine::Engine;

use super::example::Example;
use crate::support::PATIENCE;

const ROCKETMQ: Example = Example {
    name: "rocketmq",
    scheme: "http://",
    user: Some("tributary"),
    other: None,
    orders: "payment_order",
    replies: "payment_replies",
};

/// Starts the broker with what `docs/brokers/rocketmq.md` makes; none if the test is to be skipped.
fn start() -> Option<Engine> {
    let engine = Engine::find("rocketmq")?;
    engine.start();
    for (topic, kind) in [
        ("payment_order", "FIFO"),
        ("payment_order_tributary_dlq", "NORMAL"),
        ("payment_replies", "FIFO"),
    ] {
        let kind = format!("+message.type={kind}");
        let queues = ["-r", "4", "-w", "4"];
        let topic = ["updateTopic", "-t", topic, "-a", &kind];
        admin(&engine, &[&topic[..], &queues].concat());
    }
    admin(
        &engine,
        &["updateSubGroup", "-g", "tributary", "-r", "1000000"],
    );
    Some(engine)
}

/// Runs a command of the broker's own command line until the broker is known to its name server.
fn admin(engine: &Engine, arguments: &[&str]) {
    let begun = Instant::now();
    loop {
        let done = Command::new(engine.folder().join("mqadmin"))
            .args(arguments)
            .args(["-c", "DefaultCluster"])
            .output()
            .expect("it can be started");
        if String::from_utf8_lossy(&done.stdout).contains("success") {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "{arguments:?}: {done:?}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[test]
#[ignore = "needs RocketMQ: scripts/engines-test"]
fn orders_of_a_foreign_client_are_paid_once_and_answered() {
    if let Some(engine) = start() {
        ROCKETMQ.pay_and_answer(&engine);
    }
}

#[test]
#[ignore = "needs RocketMQ: scripts/engines-test"]
fn a_server_and_a_broker_that_are_killed_lose_and_double_no_order() {
    if let Some(engine) = start() {
        ROCKETMQ.kill_server_and_broker(engine);
    }
}
