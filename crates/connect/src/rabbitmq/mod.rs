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

pub use screen::UNREADABLE_HEADER;
use server::{NAME_BYTES_MAX, Server};

/// Adapter to RabbitMQ.
#[derive(Clone, Copy, Debug, Default)]
pub struct RabbitMq;

impl RabbitMq {
    /// An adapter.
    pub fn new() -> RabbitMq {
        RabbitMq
    }
}

fn unfit(field: &'static str, what: impl Into<String>) -> Unfit {
    Unfit {
        field,
        what: what.into(),
    }
}

impl Adapter for RabbitMq {
    fn name(&self) -> &'static str {
        "rabbitmq"
    }

    fn check_binder(&self, binder: &Binder) -> Result<(), Unfit> {
        let server = Server::parse(&binder.url).map_err(|what| unfit("url", what))?;
        if binder.username.is_none() {
            return Err(unfit(
                "username",
                "is required: RabbitMQ knows no nameless user",
            ));
        }
        if binder.password.is_none() {
            return Err(unfit("password", "is required"));
        }
        let Some(roots) = &binder.trusted_roots else {
            return Ok(());
        };
        if !server.is_tls {
            return Err(unfit(
                "trusted_roots",
                "needs a url that begins with amqps://",
            ));
        }
        match crate::trust::parse_trusted_roots(roots.as_bytes()) {
            Ok(_) => Ok(()),
            Err(error) => Err(unfit(
                "trusted_roots",
                format!("must be PEM certificates: {error}"),
            )),
        }
    }

    fn check_binding(&self, binding: &Binding) -> Result<(), Unfit> {
        if binding.destination.is_empty() {
            return Err(unfit("destination", "must name a queue"));
        }
        if self.dead_letters(binding).len() > NAME_BYTES_MAX {
            let what = format!(
                "is too long: the queue of dead letters is called DESTINATION.GROUP.dlq, and RabbitMQ allows {NAME_BYTES_MAX} bytes"
            );
            return Err(unfit("destination", what));
        }
        if binding.prefetch == 0 {
            // RabbitMQ takes 0 for "without a limit".
            return Err(unfit("prefetch", "must be at least 1"));
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
