//! Kafka, with the programs of `examples/kafka`.

use std::process::{Command, Stdio};

use tributary_testkit::engine::Engine;

use super::example::Example;
use crate::support::repository;

pub(super) const KAFKA: Example = Example {
    name: "kafka",
    scheme: "kafka://",
    user: None,
    other: Some(in_java),
    orders: "payment_order",
    replies: "payment_replies",
};

/// The example in Java, with the client that the broker itself is made of.
fn in_java(engine: &Engine, first: u64, count: u64) -> Option<Command> {
    let libraries = repository().join("target/engines/kafka/libs/*");
    let mut java = Command::new("java");
    java.args(["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"])
        .arg("-Dorg.slf4j.simpleLogger.defaultLogLevel=warn")
        .arg("-cp")
        .arg(libraries)
        .arg(repository().join("examples/kafka/PlaceOrders.java"))
        .arg(engine.address().to_string())
        .args([first.to_string(), count.to_string()])
        .stdin(Stdio::null());
    Some(java)
}

#[test]
fn orders_of_foreign_clients_are_paid_once_and_answered() {
    KAFKA.orders_are_paid_once_and_answered();
}

#[test]
fn a_server_and_a_broker_that_are_killed_lose_and_double_no_order() {
    KAFKA.killed_server_and_broker_lose_and_double_no_order();
}
