//! A plain client of a broker: puts messages in, or takes them out, and tells the rate as JSON.
//!
//! It does what a careful program does with the same client library and no more: every message is confirmed before it counts as
//! produced, and acknowledged before it counts as consumed, with as much on its way as it is told.

#[cfg(feature = "activemq")]
mod activemq;
#[cfg(feature = "kafka")]
mod kafka;
#[cfg(feature = "nats")]
mod nats;
#[cfg(feature = "rabbitmq")]
mod rabbitmq;
#[cfg(feature = "redis")]
mod redis;
#[cfg(feature = "rocketmq")]
mod rocketmq;
#[cfg(feature = "zeromq")]
mod zeromq;

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};

/// Puts messages into a broker, or takes them out of it, and tells the rate.
#[derive(Parser)]
struct Options {
    /// Kind of broker
    broker: Broker,
    /// What to do
    side: Side,
    /// Where it is, such as amqp://user:password@127.0.0.1:5672/%2f; for kafka the bootstrap servers
    #[arg(long)]
    url: String,
    /// Queue, topic, subject or stream; made by what puts messages in if it is missing
    #[arg(long)]
    destination: String,
    /// Number of messages
    #[arg(long, default_value_t = 200_000)]
    messages: u64,
    /// Bytes of each
    #[arg(long, default_value_t = 256)]
    size: usize,
    /// Send payment orders such as {"order_id":"7","amount":100} instead, beginning with this number
    #[arg(long)]
    orders: Option<u64>,
    /// Messages that may be on their way at once
    #[arg(long, default_value_t = 256)]
    window: u16,
    /// API key of each request (zeromq only)
    #[arg(long, env = "PLAIN_CLIENT_KEY", default_value = "")]
    key: String,
    /// Acknowledge half a window at once (rabbitmq only)
    #[arg(long)]
    together: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Broker {
    Rabbitmq,
    Kafka,
    Nats,
    Redis,
    Activemq,
    Rocketmq,
    Zeromq,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Side {
    Produce,
    /// Put messages in, each when the one before is confirmed, and tell how long that takes (kafka only)
    ProduceSingly,
    Consume,
}

/// Nothing came for so long: something is wrong.
const PATIENCE: Duration = Duration::from_secs(60);

impl Options {
    /// The body of a message.
    fn body(&self, number: u64) -> Vec<u8> {
        match self.orders {
            None => vec![b'x'; self.size],
            Some(first) => {
                format!(r#"{{"order_id":"{}","amount":100}}"#, first + number).into_bytes()
            }
        }
    }
}

async fn in_time<T>(what: &str, doing: impl Future<Output = T>) -> Result<T> {
    let done = tokio::time::timeout(PATIENCE, doing).await;
    done.with_context(|| format!("{what} takes more than {PATIENCE:?}"))
}

#[cfg(feature = "kafka")]
fn print_latencies(mut latencies: Vec<Duration>) {
    latencies.sort_unstable();
    let us = |quantile: f64| {
        let index = (latencies.len() as f64 * quantile) as usize;
        latencies[index.min(latencies.len() - 1)].as_nanos() as f64 / 1e3
    };
    let result = serde_json::json!({
        "messages": latencies.len(),
        "p50_us": us(0.5),
        "p99_us": us(0.99),
    });
    println!("{result}");
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let options = Options::parse();
    #[cfg(feature = "kafka")]
    if let (Broker::Kafka, Side::ProduceSingly) = (options.broker, options.side) {
        print_latencies(kafka::produce_singly(&options).await?);
        return Ok(());
    }
    // Both return the moment when everything was ready and the work began.
    let begun: Instant = match (options.broker, options.side) {
        #[cfg(feature = "rabbitmq")]
        (Broker::Rabbitmq, Side::Produce) => rabbitmq::produce(&options).await?,
        #[cfg(feature = "rabbitmq")]
        (Broker::Rabbitmq, Side::Consume) => rabbitmq::consume(&options).await?,
        #[cfg(feature = "kafka")]
        (Broker::Kafka, Side::Produce) => kafka::produce(&options).await?,
        #[cfg(feature = "kafka")]
        (Broker::Kafka, Side::Consume) => kafka::consume(&options).await?,
        #[cfg(feature = "nats")]
        (Broker::Nats, Side::Produce) => nats::produce(&options).await?,
        #[cfg(feature = "nats")]
        (Broker::Nats, Side::Consume) => nats::consume(&options).await?,
        #[cfg(feature = "redis")]
        (Broker::Redis, Side::Produce) => redis::produce(&options).await?,
        #[cfg(feature = "redis")]
        (Broker::Redis, Side::Consume) => redis::consume(&options).await?,
        #[cfg(feature = "activemq")]
        (Broker::Activemq, Side::Produce) => activemq::produce(&options).await?,
        #[cfg(feature = "activemq")]
        (Broker::Activemq, Side::Consume) => activemq::consume(&options).await?,
        #[cfg(feature = "rocketmq")]
        (Broker::Rocketmq, Side::Produce) => rocketmq::produce(&options).await?,
        #[cfg(feature = "rocketmq")]
        (Broker::Rocketmq, Side::Consume) => rocketmq::consume(&options).await?,
        #[cfg(feature = "zeromq")]
        (Broker::Zeromq, Side::Produce) => zeromq::produce(&options).await?,
        #[cfg(feature = "zeromq")]
        (Broker::Zeromq, Side::Consume) => zeromq::consume(&options).await?,
        #[allow(unreachable_patterns, reason = "only some builds leave one out")]
        _ => anyhow::bail!("this program was built without this broker"),
    };
    let seconds = begun.elapsed().as_secs_f64();
    let result = serde_json::json!({
        "messages": options.messages,
        "window": options.window,
        "seconds": seconds,
        "per_second": (options.messages as f64 / seconds).round(),
    });
    println!("{result}");
    Ok(())
}
