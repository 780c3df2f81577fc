//! RabbitMQ, by AMQP 0-9-1.
//!
//! Each source and each sink has a connection of its own, which is closed with it; nothing reconnects by itself. A destination is a
//! queue: as a source it is read, and its address is the default exchange with the queue's name as the routing key. The group only
//! names the queue of dead letters.

mod link;
mod message;
mod queues;
mod screen;
mod server;
mod sink;
mod socket;
mod source;

use crate::port::{
    Adapter, Address, Binder, Binding, Declare, Doing, Sink, Source, Trouble, Unfit,
};
use crate::trust;

pub use screen::UNREADABLE_HEADER;
use server::NAME_BYTES_MAX;

/// Adapter to RabbitMQ.
#[derive(Clone, Copy, Debug, Default)]
pub struct RabbitMq;

impl RabbitMq {
    /// An adapter.
    pub fn new() -> RabbitMq {
        RabbitMq
    }
}

impl Adapter for RabbitMq {
    fn name(&self) -> &'static str {
        "rabbitmq"
    }

    fn check_binder(&self, binder: &Binder) -> Result<(), Unfit> {
        let (server, _vhost) = server::read(&binder.url)?;
        if binder.username.is_none() {
            return Err(Unfit::new(
                "username",
                "is required: RabbitMQ knows no nameless user",
            ));
        }
        if binder.password.is_none() {
            return Err(Unfit::new("password", "is required"));
        }
        trust::check_trusted_roots(binder, server.is_tls, "amqps")
    }

    fn check_binding(&self, binding: &Binding) -> Result<(), Unfit> {
        if binding.destination.is_empty() {
            return Err(Unfit::new("destination", "must name a queue"));
        }
        if self.dead_letters(binding).len() > NAME_BYTES_MAX {
            let what = format!(
                "is too long: the queue of dead letters is called DESTINATION.GROUP.dlq, and RabbitMQ allows {NAME_BYTES_MAX} bytes"
            );
            return Err(Unfit::new("destination", what));
        }
        if binding.prefetch == 0 {
            // RabbitMQ takes 0 for "without a limit".
            return Err(Unfit::new("prefetch", "must be at least 1"));
        }
        Ok(())
    }

    fn attribute_prefix(&self) -> &'static str {
        "cloudEvents:"
    }

    fn address(&self, destination: &str) -> Address {
        Address {
            destination: String::new(),
            routing_key: Some(destination.to_owned()),
        }
    }

    fn open_source<'a>(
        &'a self,
        binder: &'a Binder,
        binding: &'a Binding,
    ) -> Doing<'a, Result<Box<dyn Source>, Trouble>> {
        Box::pin(async move {
            let link = link::Link::open(binder).await?;
            let queues = [binding.destination.clone(), self.dead_letters(binding)];
            match binding.declare {
                Declare::None => {}
                Declare::Check => queues::check(&link, &queues).await?,
                Declare::Create => queues::create(&link, &queues).await?,
            }
            let source = source::RabbitMqSource::open(link, binding).await?;
            Ok(Box::new(source) as Box<dyn Source>)
        })
    }

    fn open_sink<'a>(&'a self, binder: &'a Binder) -> Doing<'a, Result<Box<dyn Sink>, Trouble>> {
        Box::pin(async move {
            let link = link::Link::open(binder).await?;
            Ok(Box::new(sink::RabbitMqSink::new(link)) as Box<dyn Sink>)
        })
    }
}
