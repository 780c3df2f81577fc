//! Messages that go out.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tonic::Streaming;

use super::link::{Greeting, Link};
use super::message::to_wire;
use super::topic::{self, Order};
use super::wire::{self, Telemetry};
use crate::port::{Doing, Outgoing, SendError, Sink, Trouble, TroubleKind};

/// Maximum number of topics whose type a sink remembers.
const TOPICS_MAX: usize = 1_024;

/// A connection for messages that go out.
pub(super) struct RocketMqSink {
    link: Link,
    orders: Mutex<HashMap<String, Order>>,
    /// Open as long as the sink is, so that the proxy does not take the connection for idle.
    _telemetry: Streaming<Telemetry>,
}

impl RocketMqSink {
    pub(super) fn new(link: Link, greeting: Greeting) -> RocketMqSink {
        RocketMqSink {
            link,
            orders: Mutex::default(),
            _telemetry: greeting.telemetry,
        }
    }

    fn orders(&self) -> MutexGuard<'_, HashMap<String, Order>> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns how messages are sent to a topic.
    async fn order(&self, topic: &str) -> Result<Order, Trouble> {
        if !topic::is_name(topic) || topic.len() > topic::TOPIC_BYTES_MAX {
            let text = format!("{topic} can't be the name of a topic of RocketMQ");
            return Err(Trouble::new(TroubleKind::Refused, text));
        }
        let known = self.orders().get(topic).copied();
        if let Some(order) = known {
            return Ok(order);
        }
        let queues = self.link.queues(topic).await?;
        let order = topic::order(&self.link, topic, &queues)?;
        let mut orders = self.orders();
        if orders.len() >= TOPICS_MAX {
            orders.clear();
        }
        orders.insert(topic.to_owned(), order);
        Ok(order)
    }

    async fn publish(&self, message: &Outgoing) -> Result<(), Trouble> {
        let topic = &message.address.destination;
        let is_ordered = match self.order(topic).await? {
            Order::Free => false,
            Order::ByGroup => true,
            Order::Either => message.key.is_some(),
        };
        let what = format!("take a message for the topic {topic}");
        let question = wire::Send {
            messages: vec![to_wire(message, is_ordered)],
        };
        let answer: wire::SendAnswer = self.link.ask_once(&what, "SendMessage", question).await?;
        // What became of the one message says more than what became of all.
        let entry = answer
            .entries
            .first()
            .and_then(|entry| entry.status.as_ref());
        self.link.check(&what, entry.or(answer.status.as_ref()))
    }
}

impl Sink for RocketMqSink {
    fn send<'a>(&'a self, message: &'a Outgoing) -> Doing<'a, Result<(), SendError>> {
        Box::pin(async move {
            self.publish(message).await.map_err(|trouble| {
                // The topic may have changed its type, or be gone.
                self.orders().remove(&message.address.destination);
                match trouble.kind {
                    TroubleKind::Unreachable => SendError::Disconnected(trouble),
                    _ => SendError::Refused(trouble),
                }
            })
        })
    }
}
