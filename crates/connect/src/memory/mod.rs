//! A broker in memory: the reference of the contract, and the broker of tests. Nothing is kept when the process ends.

mod broker;

use std::sync::Arc;

use tokio::sync::Notify;

use crate::port::{
    Adapter, Binder, Binding, Declare, Doing, Message, Outgoing, Refusal, SendError, Sink, Source,
    Trouble, TroubleKind, Unfit,
};

use crate::trust;
pub use broker::Broker;
use broker::{Connection, Held};

/// Adapter to a [`Broker`].
#[derive(Clone)]
pub struct Memory {
    broker: Arc<Broker>,
    refuses: bool,
}

impl Memory {
    /// An adapter to `broker`.
    pub fn new(broker: Arc<Broker>) -> Memory {
        Memory {
            broker,
            refuses: false,
        }
    }

    /// An adapter that gives messages back to their senders: [`Broker::refusals`].
    pub fn refusing(broker: Arc<Broker>) -> Memory {
        Memory {
            broker,
            refuses: true,
        }
    }

    fn connect(&self, binder: &Binder) -> Result<Connection, Trouble> {
        let password = binder.password.as_ref().map(|secret| secret.expose());
        self.broker.connect(password)
    }
}

impl Adapter for Memory {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn check_binder(&self, binder: &Binder) -> Result<(), Unfit> {
        if !binder.url.starts_with("memory:") {
            return Err(Unfit::new("url", "must begin with memory:"));
        }
        trust::check_trusted_roots(binder, true, "memory")
    }

    fn check_binding(&self, _binding: &Binding) -> Result<(), Unfit> {
        Ok(())
    }

    fn refuses(&self) -> bool {
        self.refuses
    }

    fn open_source<'a>(
        &'a self,
        binder: &'a Binder,
        binding: &'a Binding,
    ) -> Doing<'a, Result<Box<dyn Source>, Trouble>> {
        Box::pin(async move {
            let connection = self.connect(binder)?;
            for queue in [&binding.destination, &self.dead_letters(binding)] {
                if binding.declare == Declare::Create {
                    self.broker.declare(queue);
                }
                if binding.declare == Declare::Check && !self.broker.exists(queue) {
                    let text = format!("the queue {queue} does not exist");
                    return Err(Trouble::new(TroubleKind::DestinationMissing, text));
                }
            }
            let source: Box<dyn Source> = Box::new(MemorySource {
                broker: self.broker.clone(),
                connection,
                queue: binding.destination.clone(),
                prefetch: usize::from(binding.prefetch),
                held: Vec::new(),
            });
            Ok(source)
        })
    }

    fn open_sink<'a>(&'a self, binder: &'a Binder) -> Doing<'a, Result<Box<dyn Sink>, Trouble>> {
        Box::pin(async move {
            let sink: Box<dyn Sink> = Box::new(MemorySink {
                broker: self.broker.clone(),
                connection: self.connect(binder)?,
            });
            Ok(sink)
        })
    }
}

/// Messages of one queue.
struct MemorySource {
    broker: Arc<Broker>,
    connection: Connection,
    queue: String,
    prefetch: usize,
    /// What was received and not acknowledged, in order.
    held: Vec<Held>,
}

impl MemorySource {
    /// Takes a message, if there is one and room for it.
    fn take(&mut self) -> Result<Option<Message>, Trouble> {
        if self.held.len() >= self.prefetch {
            self.broker.check(&self.connection)?;
            return Ok(None);
        }
        let Some(held) = self.broker.take(&self.connection, &self.queue)? else {
            return Ok(None);
        };
        let message = held.to_message();
        self.held.push(held);
        Ok(Some(message))
    }
}

impl Source for MemorySource {
    fn receive(&mut self) -> Doing<'_, Result<Message, Trouble>> {
        Box::pin(async move {
            let changed: Arc<Notify> = self.broker.changed();
            loop {
                // Asked for before looking, so that nothing is missed.
                let notified = changed.notified();
                tokio::pin!(notified);
                notified.as_mut().enable();
                if let Some(message) = self.take()? {
                    return Ok(message);
                }
                notified.await;
            }
        })
    }

    fn acknowledge(&mut self, token: u64) -> Doing<'_, Result<(), Trouble>> {
        Box::pin(async move {
            self.broker.check(&self.connection)?;
            self.held.retain(|held| held.token != token);
            Ok(())
        })
    }

    fn backlog(&mut self) -> Doing<'_, Option<u64>> {
        Box::pin(async move {
            self.broker.check(&self.connection).ok()?;
            self.broker.waiting(&self.queue)
        })
    }

    fn refuse<'a>(
        &'a mut self,
        token: u64,
        refusal: &'a Refusal,
    ) -> Doing<'a, Result<(), Trouble>> {
        Box::pin(async move {
            self.broker.check(&self.connection)?;
            if let Some(at) = self.held.iter().position(|held| held.token == token) {
                self.broker.refuse(&self.held.remove(at), refusal);
            }
            Ok(())
        })
    }

    fn close(self: Box<Self>) -> Doing<'static, ()> {
        // Dropped, it gives back what it holds.
        Box::pin(async move { drop(self) })
    }
}

impl Drop for MemorySource {
    fn drop(&mut self) {
        self.broker
            .give_back(&self.queue, std::mem::take(&mut self.held));
    }
}

/// The way to every queue.
struct MemorySink {
    broker: Arc<Broker>,
    connection: Connection,
}

impl Sink for MemorySink {
    fn send<'a>(&'a self, message: &'a Outgoing) -> Doing<'a, Result<(), SendError>> {
        Box::pin(async move {
            self.broker
                .check(&self.connection)
                .map_err(SendError::Disconnected)?;
            let queue = &message.address.destination;
            if self.broker.is_absent(queue) {
                let text = format!("whoever reads the queue {queue} has gone");
                return Err(SendError::Absent(Trouble::new(
                    TroubleKind::DestinationMissing,
                    text,
                )));
            }
            if self.broker.put(queue, message) {
                return Ok(());
            }
            let text = format!("the queue {queue} does not exist");
            Err(SendError::Refused(Trouble::new(
                TroubleKind::DestinationMissing,
                text,
            )))
        })
    }
}
