//! ActiveMQ Classic and Artemis, with the program of `examples/activemq`.

use super::example::Example;

const ACTIVEMQ: Example = Example {
    name: "activemq",
    scheme: "amqp://",
    user: Some("tributary"),
    other: None,
    orders: "payment_order",
    replies: "payment_replies",
};

#[test]
#[ignore = "needs ActiveMQ: scripts/engines-test"]
fn orders_by_classic_are_paid_once_and_answered() {
    ACTIVEMQ.orders_are_paid_once_and_answered();
}

#[test]
#[ignore = "needs ActiveMQ: scripts/engines-test"]
fn orders_by_artemis_are_paid_once_and_answered() {
    if let Some(engine) = ACTIVEMQ.start_on("artemis") {
        ACTIVEMQ.pay_and_answer(&engine);
    }
}

#[test]
#[ignore = "needs ActiveMQ: scripts/engines-test"]
fn a_server_and_a_classic_that_are_killed_lose_and_double_no_order() {
    ACTIVEMQ.killed_server_and_broker_lose_and_double_no_order();
}

#[test]
#[ignore = "needs ActiveMQ: scripts/engines-test"]
fn a_server_and_an_artemis_that_are_killed_lose_and_double_no_order() {
    if let Some(engine) = ACTIVEMQ.start_on("artemis") {
        ACTIVEMQ.kill_server_and_broker(engine);
    }
}
