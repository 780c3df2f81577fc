//! Redis, with the program of `examples/redis`.

use super::example::Example;

const REDIS: Example = Example {
    name: "redis",
    scheme: "redis://",
    user: Some("tributary"),
    other: None,
    orders: "payment_orders",
    replies: "payment_replies",
};

#[test]
fn orders_of_a_foreign_client_are_paid_once_and_answered() {
    REDIS.orders_are_paid_once_and_answered();
}

#[test]
fn a_server_and_a_broker_that_are_killed_lose_and_double_no_order() {
    REDIS.killed_server_and_broker_lose_and_double_no_order();
}
