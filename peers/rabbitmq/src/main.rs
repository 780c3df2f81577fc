//! Publishes messages to a durable quorum queue of RabbitMQ and takes them out again, and tells the two rates as JSON.
//!
//! Every message is persistent and confirmed before it counts as published; every message is acknowledged, several at once,
//! before it counts as processed. Both ends keep as much on its way as they are told to.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use futures_util::StreamExt;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions,
    ConfirmSelectOptions, QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};

/// Measures a RabbitMQ: publishing with confirms, then consuming with acknowledgements.
#[derive(Parser)]
struct Options {
    /// Where it is, such as amqp://user:password@127.0.0.1:5672/%2f
    #[arg(long)]
    url: String,
    /// Messages to publish and to consume
    #[arg(long, default_value_t = 200_000)]
    messages: u64,
    /// Bytes of each
    #[arg(long, default_value_t = 256)]
    size: usize,
    /// Messages that may be on their way to the consumer, and messages that may wait for their confirm
    #[arg(long, default_value_t = 256)]
    prefetch: u16,
    /// Connections that publish, and connections that consume
    #[arg(long, default_value_t = 1)]
    connections: u64,
}

const QUEUE: &str = "tributary-peer";
/// Nothing came for so long: something is wrong.
const PATIENCE: Duration = Duration::from_secs(30);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let options = Options::parse();
    let (_admin, channel) = connect(&options).await?;
    let mut arguments = FieldTable::default();
    arguments.insert(
        "x-queue-type".into(),
        AMQPValue::LongString("quorum".into()),
    );
    let durable = QueueDeclareOptions {
        durable: true,
        ..Default::default()
    };
    channel
        .queue_declare(QUEUE.into(), durable, arguments)
        .await
        .context("declaring the queue")?;

    let begun = Instant::now();
    each(&options, publish).await?;
    let published = begun.elapsed();
    let begun = Instant::now();
    each(&options, consume).await?;
    let consumed = begun.elapsed();

    channel
        .queue_delete(QUEUE.into(), QueueDeleteOptions::default())
        .await?;
    let per_second = |took: Duration| (options.messages as f64 / took.as_secs_f64()).round();
    let result = serde_json::json!({
        "messages": options.messages,
        "message_bytes": options.size,
        "prefetch": options.prefetch,
        "connections": options.connections,
        "published_per_second": per_second(published),
        "consumed_per_second": per_second(consumed),
    });
    println!("{result}");
    Ok(())
}

async fn connect(options: &Options) -> Result<(Connection, Channel)> {
    let connection = Connection::connect(&options.url, ConnectionProperties::default()).await;
    let connection = connection.context("connecting to RabbitMQ")?;
    let channel = connection.create_channel().await?;
    Ok((connection, channel))
}

/// Runs one side on every connection at once, each with its part of the messages.
async fn each<F>(options: &Options, side: fn(Channel, u64, usize, u16) -> F) -> Result<()>
where
    F: Future<Output = Result<()>>,
{
    let mut parts = Vec::new();
    let mut connections = Vec::new();
    for index in 0..options.connections {
        let (connection, channel) = connect(options).await?;
        let part = options.messages / options.connections
            + u64::from(index < options.messages % options.connections);
        parts.push(side(channel, part, options.size, options.prefetch));
        connections.push(connection);
    }
    for done in futures_util::future::join_all(parts).await {
        done?;
    }
    for connection in connections {
        // All is confirmed or acknowledged; a channel that is still closing would make this an error.
        let _closing = connection.close(200, "done".into()).await;
    }
    Ok(())
}

async fn publish(channel: Channel, messages: u64, size: usize, window: u16) -> Result<()> {
    channel
        .confirm_select(ConfirmSelectOptions::default())
        .await?;
    let payload = vec![b'x'; size];
    let persistent = BasicProperties::default().with_delivery_mode(2);
    let mut unconfirmed = VecDeque::with_capacity(usize::from(window));
    for _ in 0..messages {
        if unconfirmed.len() == usize::from(window) {
            let oldest = unconfirmed.pop_front().expect("the window is not empty");
            confirmed(oldest).await?;
        }
        let options = BasicPublishOptions::default();
        let sent = channel.basic_publish(
            "".into(),
            QUEUE.into(),
            options,
            &payload,
            persistent.clone(),
        );
        unconfirmed.push_back(sent.await?);
    }
    for rest in unconfirmed {
        confirmed(rest).await?;
    }
    Ok(())
}

async fn confirmed(sent: lapin::PublisherConfirm) -> Result<()> {
    let confirmation = tokio::time::timeout(PATIENCE, sent)
        .await
        .context("a message is not confirmed")??;
    ensure!(confirmation.is_ack(), "a message was refused");
    Ok(())
}

async fn consume(channel: Channel, messages: u64, size: usize, prefetch: u16) -> Result<()> {
    channel
        .basic_qos(prefetch, BasicQosOptions::default())
        .await?;
    let mut consumer = channel
        .basic_consume(
            QUEUE.into(),
            "".into(),
            BasicConsumeOptions::default(),
            FieldTable::default(),
        )
        .await?;
    // Half of what may be on its way at once: the other half travels meanwhile.
    let every = u64::from(prefetch / 2).max(1);
    for count in 1..=messages {
        let next = tokio::time::timeout(PATIENCE, consumer.next())
            .await
            .context("no message comes")?;
        let delivery = next.context("the consumer ended")??;
        ensure!(delivery.data.len() == size, "a message has another size");
        if count % every == 0 || count == messages {
            delivery
                .acker
                .ack(BasicAckOptions { multiple: true })
                .await?;
        }
    }
    Ok(())
}
