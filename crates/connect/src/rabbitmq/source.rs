//! Messages from one queue.

use futures_util::StreamExt;
use lapin::options::{
    BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicNackOptions, BasicQosOptions,
};
use lapin::types::{FieldTable, ShortString};
use lapin::{Channel, Consumer};

use super::link::Link;
use super::message::from_delivery;
use super::queues;
use crate::port::{Binding, Doing, Message, Source, Trouble, TroubleKind};

/// A consumer. The broker keeps the count of what was delivered and not acknowledged, and stops at the prefetch; so lapin's queue of
/// deliveries holds no more.
pub(super) struct RabbitMqSource {
    link: Link,
    channel: Channel,
    consumer: Consumer,
    queue: String,
}

impl RabbitMqSource {
    /// Begins to consume.
    pub(super) async fn open(link: Link, binding: &Binding) -> Result<RabbitMqSource, Trouble> {
        let queue = binding.destination.clone();
        let name = ShortString::try_new(queue.as_str()).map_err(|error| {
            Trouble::new(TroubleKind::Refused, format!("the queue {queue}: {error}"))
        })?;
        let channel = link.channel().await?;
        let qos = channel.basic_qos(binding.prefetch, BasicQosOptions::default());
        link.ask("limit its deliveries", qos).await?;
        let consuming = channel.basic_consume(
            name,
            ShortString::default(),
            BasicConsumeOptions::default(),
            FieldTable::default(),
        );
        let consumer = link
            .ask(&format!("read the queue {queue}"), consuming)
            .await?;
        Ok(RabbitMqSource {
            link,
            channel,
            consumer,
            queue,
        })
    }

    /// Why no more messages come.
    fn ended(&self) -> Trouble {
        let (queue, place) = (&self.queue, self.link.place());
        if self.link.is_up() && self.channel.status().connected() {
            let text = format!("the queue {queue} at {place} was deleted, or its node is down");
            return Trouble::new(TroubleKind::DestinationMissing, text);
        }
        let text = format!("the connection to {place} is closed");
        Trouble::new(TroubleKind::Unreachable, text)
    }
}

impl Source for RabbitMqSource {
    fn receive(&mut self) -> Doing<'_, Result<Message, Trouble>> {
        Box::pin(async move {
            match self.consumer.next().await {
                Some(Ok(delivery)) => Ok(from_delivery(delivery)),
                Some(Err(error)) => {
                    let what = format!("go on with the queue {}", self.queue);
                    Err(self.link.trouble(&what, &error))
                }
                None => Err(self.ended()),
            }
        })
    }

    fn acknowledge(&mut self, token: u64) -> Doing<'_, Result<(), Trouble>> {
        Box::pin(async move {
            let written = self.channel.basic_ack(token, BasicAckOptions::default());
            self.link.ask("take an acknowledgement", written).await
        })
    }

    fn backlog(&mut self) -> Doing<'_, Option<u64>> {
        Box::pin(queues::waiting(&self.link, &self.queue))
    }

    fn close(self: Box<Self>) -> Doing<'static, ()> {
        Box::pin(async move {
            let cancelled = self
                .channel
                .basic_cancel(self.consumer.tag(), BasicCancelOptions::default());
            if self.link.ask("stop", cancelled).await.is_ok() {
                // Since 4.3, RabbitMQ counts what is given back so as no failed delivery; it does count what a closed connection held.
                let everything = BasicNackOptions {
                    multiple: true,
                    requeue: true,
                };
                let given_back = self.channel.basic_nack(0, everything);
                // If it fails, the connection is lost, and everything goes back all the same.
                let _ = self.link.ask("take messages back", given_back).await;
            }
            self.link.close().await;
        })
    }
}
