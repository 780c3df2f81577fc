//! Drivers for outside systems, one folder each: webhooks, the adapters to brokers behind [`port`], and registries of nodes
//! ([`discovery`]).
//!
//! A driver takes the events that subscriptions have to be given, sends them, and notes what came of it. **It must not know** the
//! server, another driver, or any rule about money.

#[cfg(feature = "activemq")]
pub mod activemq;
pub mod adapters;
pub mod bindings;
mod counters;
#[cfg(any(
    feature = "activemq",
    feature = "nats",
    feature = "rabbitmq",
    feature = "redis",
    feature = "rocketmq"
))]
mod dial;
pub mod discovery;
#[cfg(feature = "kafka")]
pub mod kafka;
pub mod memory;
#[cfg(feature = "nats")]
pub mod nats;
pub mod port;
#[cfg(feature = "rabbitmq")]
pub mod rabbitmq;
#[cfg(feature = "redis")]
pub mod redis;
#[cfg(feature = "rocketmq")]
pub mod rocketmq;
pub mod trust;
pub mod webhooks;
#[cfg(feature = "zeromq")]
pub mod zeromq;
