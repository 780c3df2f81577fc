//! ActiveMQ Classic, ActiveMQ Artemis, and others that speak AMQP 1.0 and have queues.
//!
//! Each source and each sink has a connection of its own, which is closed with it; nothing reconnects by itself. A destination is a
//! queue. The group only names the queue of dead letters.

mod address;
mod link;
mod manage;
mod message;
mod queues;
mod screen;
mod server;
mod sink;
mod socket;
mod source;
mod wire;

use crate::port::{Adapter, Binder, Binding, Declare, Doing, Sink, Source, Trouble, Unfit};
use crate::trust;

pub use message::UNREADABLE_HEADER;
use server::URL;

/// Maximum length of a user's name and password together, in bytes: a log-in is one frame of 512 bytes.
const LOG_IN_BYTES_MAX: usize = 400;

/// Adapter to brokers that speak AMQP 1.0.
#[derive(Clone, Copy, Debug, Default)]
pub struct ActiveMq;

impl ActiveMq {
    /// An adapter.
    pub fn new() -> ActiveMq {
        ActiveMq
    }
}

impl Adapter for ActiveMq {
    fn name(&self) -> &'static str {
        "activemq"
    }

    fn check_binder(&self, binder: &Binder) -> Result<(), Unfit> {
        let server = URL.read(&binder.url)?;
        match (&binder.username, &binder.password) {
            (None, Some(_)) => return Err(Unfit::new("username", "is required with a password")),
            (Some(_), None) => return Err(Unfit::new("password", "is required with a username")),
            (Some(username), Some(password))
                if username.len() + password.expose().len() > LOG_IN_BYTES_MAX =>
            {
                let what =
                    format!("and username must have at most {LOG_IN_BYTES_MAX} bytes together");
                return Err(Unfit::new("password", what));
            }
            _ => {}
        }
        trust::check_trusted_roots(binder, server.is_tls, "amqps")
    }

    fn check_binding(&self, binding: &Binding) -> Result<(), Unfit> {
        address::check_readable(&binding.destination)
            .and_then(|()| address::check_writable(&self.dead_letters(binding)))
            .map_err(|what| Unfit::new("destination", what))?;
        if binding.prefetch == 0 {
            return Err(Unfit::new("prefetch", "must be at least 1"));
        }
        Ok(())
    }

    fn attribute_prefix(&self) -> &'static str {
        "cloudEvents:"
    }

    fn dead_letters(&self, binding: &Binding) -> String {
        let queue = address::queue_of(&binding.destination);
        format!("{queue}.{}.dlq", binding.group)
    }

    fn open_source<'a>(
        &'a self,
        binder: &'a Binder,
        binding: &'a Binding,
    ) -> Doing<'a, Result<Box<dyn Source>, Trouble>> {
        Box::pin(async move {
            let link = link::Link::open(binder).await?;
            let dead_letters = self.dead_letters(binding);
            match binding.declare {
                Declare::None => {}
                Declare::Check => queues::check(&link, &binding.destination, &dead_letters).await?,
                Declare::Create => queues::make_dead_letters(&link, &dead_letters).await?,
            }
            let source = source::ActiveMqSource::open(link, binding).await?;
            Ok(Box::new(source) as Box<dyn Source>)
        })
    }

    fn open_sink<'a>(&'a self, binder: &'a Binder) -> Doing<'a, Result<Box<dyn Sink>, Trouble>> {
        Box::pin(async move {
            let link = link::Link::open(binder).await?;
            Ok(Box::new(sink::ActiveMqSink::new(link)) as Box<dyn Sink>)
        })
    }
}
