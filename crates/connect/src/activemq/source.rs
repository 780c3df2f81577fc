//! Messages from one queue.

use std::collections::HashMap;

use fe2o3_amqp::link::delivery::DeliveryInfo;
use fe2o3_amqp::link::{DispositionError, RecvError};
use fe2o3_amqp::types::messaging::{Batch, Data};

use super::address;
use super::link::{self, Link, Reading};
use super::manage::{Manager, payload};
use super::message;
use crate::port::{Binding, Declare, Doing, Message, Source, Trouble, TroubleKind};

/// A receiver. The broker sends as many messages as it has credit for: the prefetch, less what is held here.
pub(super) struct ActiveMqSource {
    // Dropped first, while there is a connection to say so.
    reading: Reading,
    link: Link,
    queue: String,
    prefetch: u32,
    /// Credit that was given and is not used up.
    credit: u32,
    /// What was received and not acknowledged.
    held: HashMap<u64, DeliveryInfo>,
    tokens: u64,
    /// Whether the broker may be asked how much waits.
    may_ask: bool,
    /// Why it is of no more use.
    ended: Option<Trouble>,
}

impl ActiveMqSource {
    /// Begins to take messages in.
    pub(super) async fn open(link: Link, binding: &Binding) -> Result<ActiveMqSource, Trouble> {
        let queue = address::queue_name(&binding.destination).to_owned();
        let reading = link.reading(&queue).await?;
        let mut source = ActiveMqSource {
            reading,
            link,
            queue,
            prefetch: binding.prefetch.into(),
            credit: 0,
            held: HashMap::new(),
            tokens: 0,
            may_ask: binding.declare != Declare::None,
            ended: None,
        };
        source.give_credit().await?;
        Ok(source)
    }

    /// Gives the broker credit for what there is room for, unless that would be little more than it has.
    async fn give_credit(&mut self) -> Result<(), Trouble> {
        let held = u32::try_from(self.held.len()).unwrap_or(u32::MAX);
        let room = self.prefetch.saturating_sub(held);
        let more = room.saturating_sub(self.credit);
        if more == 0 || (self.credit > 0 && more < self.prefetch.div_ceil(4)) {
            return Ok(());
        }
        let giving = self.reading.receiver.set_credit(room);
        let given = self.link.ask("take credit", giving).await?;
        given.map_err(|error| self.lost(&error))?;
        self.credit = room;
        Ok(())
    }

    async fn next(&mut self) -> Result<Message, Trouble> {
        let delivery = tokio::select! {
            received = self.reading.receiver.recv::<Batch<Data>>() => received,
            trouble = self.link.silence() => return Err(trouble),
        };
        let delivery = delivery.map_err(|error| self.describe(&error))?;
        self.credit = self.credit.saturating_sub(1);
        self.tokens += 1;
        self.held.insert(self.tokens, DeliveryInfo::from(&delivery));
        Ok(message::from_payload(self.tokens, payload(delivery)))
    }

    async fn waiting(&mut self) -> Option<u64> {
        if !self.may_ask {
            return None;
        }
        let Some(mut manager) = Manager::open(&self.link).await.ok()? else {
            self.may_ask = false;
            return None;
        };
        let waiting = manager.waiting(address::queue_of(&self.queue)).await;
        manager.close().await;
        waiting
    }

    async fn settle(&mut self, token: u64) -> Result<(), Trouble> {
        let Some(delivery) = self.held.remove(&token) else {
            return Ok(());
        };
        let accepting = self.reading.receiver.accept(delivery);
        let accepted = self.link.ask("take an acknowledgement", accepting).await?;
        accepted.map_err(|error| self.lost(&error))?;
        self.give_credit().await
    }

    fn describe(&self, error: &RecvError) -> Trouble {
        let (queue, place) = (&self.queue, self.link.place());
        match error {
            RecvError::LinkStateError(error) => link::describe_end(place, "read", queue, error),
            RecvError::MessageSizeExceeded(size) => {
                let text = format!(
                    "the first message of the queue {queue} at {place} has more than {} bytes: move it away",
                    size.max_size
                );
                Trouble::new(TroubleKind::Refused, text)
            }
            other => {
                let text = format!("{place} breaks AMQP 1.0 at the queue {queue}: {other}");
                Trouble::new(TroubleKind::Refused, text)
            }
        }
    }

    fn lost(&self, error: &DispositionError) -> Trouble {
        match error {
            DispositionError::SessionStopped(reason) => {
                link::describe_stop(self.link.place(), reason)
            }
            _ => {
                let text = format!("the link to the queue {} is closed", self.queue);
                Trouble::new(TroubleKind::Unreachable, text)
            }
        }
    }

    /// Does nothing any more after it has failed once.
    fn once<T>(&mut self, done: Result<T, Trouble>) -> Result<T, Trouble> {
        done.inspect_err(|trouble| self.ended = Some(trouble.clone()))
    }
}

impl Source for ActiveMqSource {
    fn receive(&mut self) -> Doing<'_, Result<Message, Trouble>> {
        Box::pin(async move {
            if let Some(trouble) = &self.ended {
                return Err(trouble.clone());
            }
            let received = self.next().await;
            self.once(received)
        })
    }

    fn acknowledge(&mut self, token: u64) -> Doing<'_, Result<(), Trouble>> {
        Box::pin(async move {
            if let Some(trouble) = &self.ended {
                return Err(trouble.clone());
            }
            let settled = self.settle(token).await;
            self.once(settled)
        })
    }

    fn backlog(&mut self) -> Doing<'_, Option<u64>> {
        Box::pin(self.waiting())
    }

    fn close(self: Box<Self>) -> Doing<'static, ()> {
        Box::pin(async move {
            if self.ended.is_some() {
                return;
            }
            let releasing = self.reading.receiver.release_all(self.held.into_values());
            // If it fails, the connection is lost, and everything goes back all the same.
            if let Ok(Ok(())) = self.link.ask("take messages back", releasing).await {
                // What has come in and was not received goes back with the link.
                self.reading.close().await;
            }
            self.link.close().await;
        })
    }
}
