//! RabbitMQ, by lapin: a durable quorum queue.

use std::collections::VecDeque;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use futures_util::StreamExt;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions,
    ConfirmSelectOptions, QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};

use crate::{Options, in_time};

/// Where messages are published to, with the name of their queue as the routing key.
const EXCHANGE: &str = "amq.direct";

async fn connect(options: &Options) -> Result<(Connection, Channel)> {
    let connection = Connection::connect(&options.url, ConnectionProperties::default()).await;
    let connection = connection.context("connecting to RabbitMQ")?;
    let channel = connection.create_channel().await?;
    Ok((connection, channel))
}

/// Publishes persistent messages with confirms.
pub(crate) async fn produce(options: &Options) -> Result<Instant> {
    let (connection, channel) = connect(options).await?;
    let mut arguments = FieldTable::default();
    let quorum = AMQPValue::LongString("quorum".into());
    arguments.insert("x-queue-type".into(), quorum);
    let durable = QueueDeclareOptions {
        durable: true,
        ..Default::default()
    };
    let queue = options.destination.as_str();
    let declared = channel.queue_declare(queue.into(), durable, arguments);
    declared.await.context("declaring the queue")?;
    let (bound, none) = (QueueBindOptions::default(), FieldTable::default());
    let binding = channel.queue_bind(queue.into(), EXCHANGE.into(), queue.into(), bound, none);
    binding.await.context("binding the queue")?;
    let confirming = channel.confirm_select(ConfirmSelectOptions::default());
    confirming.await?;
    let persistent = BasicProperties::default()
        .with_delivery_mode(2)
        .with_content_type("application/json".into());
    let begun = Instant::now();
    let mut unconfirmed = VecDeque::with_capacity(usize::from(options.window));
    for number in 0..options.messages {
        if unconfirmed.len() == usize::from(options.window) {
            confirmed(unconfirmed.pop_front().expect("it is full")).await?;
        }
        let mandatory = BasicPublishOptions {
            mandatory: true,
            ..Default::default()
        };
        let body = options.body(number);
        let sent = channel.basic_publish(
            EXCHANGE.into(),
            queue.into(),
            mandatory,
            &body,
            persistent.clone(),
        );
        unconfirmed.push_back(sent.await?);
    }
    for rest in unconfirmed {
        confirmed(rest).await?;
    }
    finish(connection).await;
    Ok(begun)
}

async fn confirmed(sent: lapin::PublisherConfirm) -> Result<()> {
    let confirmation = in_time("a confirm", sent).await??;
    ensure!(confirmation.is_ack(), "a message was refused");
    Ok(())
}

/// Consumes and acknowledges.
pub(crate) async fn consume(options: &Options) -> Result<Instant> {
    let (connection, channel) = connect(options).await?;
    let qos = channel.basic_qos(options.window, BasicQosOptions::default());
    qos.await?;
    let begun = Instant::now();
    let consuming = channel.basic_consume(
        options.destination.as_str().into(),
        "".into(),
        BasicConsumeOptions::default(),
        FieldTable::default(),
    );
    let mut consumer = consuming.await?;
    // Half of what may be on its way at once: the other half travels meanwhile.
    let every = match options.together {
        true => u64::from(options.window / 2).max(1),
        false => 1,
    };
    for count in 1..=options.messages {
        let next = in_time("a message", consumer.next()).await?;
        let delivery = next.context("the consumer ended")??;
        if count % every == 0 || count == options.messages {
            let multiple = options.together;
            delivery.acker.ack(BasicAckOptions { multiple }).await?;
        }
    }
    finish(connection).await;
    Ok(begun)
}

/// Says good-bye, so that the broker has seen every acknowledgement.
async fn finish(connection: Connection) {
    // All is confirmed or acknowledged; a channel that is still closing would make this an error.
    let _closing = connection.close(200, "done".into()).await;
}
