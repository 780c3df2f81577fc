//! Real brokers, and clients of theirs that know nothing of Tributary.

mod activemq;
mod change;
mod client;
mod example;
mod kafka;
mod nats;
mod rabbitmq;
mod rabbitmq_events;
mod redis;
mod rocketmq;
mod zeromq;
