//! NATS JetStream, by a small client of our own: `docs/decisions/0015-a-client-for-nats.md` says why.
//!
//! Each source and each sink has a connection of its own, which is closed with it; nothing reconnects by itself. A destination is a
//! subject that a stream keeps: a source reads it by a durable pull consumer of that stream, named as the group, and whatever is sent
//! to the subject is kept by the stream.

mod api;
mod headers;
mod link;
mod message;
mod orphans;
mod server;
mod sink;
mod source;
mod streams;
mod subject;
mod wire;

use std::sync::Arc;

use crate::port::{Adapter, Binder, Binding, Doing, Sink, Source, Trouble, Unfit};
use crate::trust;

pub use headers::UNREADABLE_HEADER;
use link::Link;
use orphans::Orphans;
use server::URL;
use subject::{NAME_BYTES_MAX, check_name, check_subject};

/// Adapter to NATS JetStream.
#[derive(Clone, Debug, Default)]
pub struct Nats {
    orphans: Arc<Orphans>,
}

impl Nats {
    /// An adapter.
    pub fn new() -> Nats {
        Nats::default()
    }
}

impl Adapter for Nats {
    fn name(&self) -> &'static str {
        "nats"
    }

    fn check_binder(&self, binder: &Binder) -> Result<(), Unfit> {
        let server = URL.read(&binder.url)?;
        if binder.username.is_some() && binder.password.is_none() {
            return Err(Unfit::new("password", "is required with a username"));
        }
        trust::check_trusted_roots(binder, server.is_tls, "tls")
    }

    fn check_binding(&self, binding: &Binding) -> Result<(), Unfit> {
        check_subject(&binding.destination).map_err(|what| Unfit::new("destination", what))?;
        check_name(&binding.group).map_err(|what| Unfit::new("group", what))?;
        // The streams that are made for both are called so.
        if self.dead_letters(binding).len() > NAME_BYTES_MAX {
            let what = format!(
                "is too long: the subject of dead letters is called DESTINATION.GROUP.dlq, which may have {NAME_BYTES_MAX} bytes"
            );
            return Err(Unfit::new("destination", what));
        }
        if binding.prefetch == 0 {
            return Err(Unfit::new("prefetch", "must be at least 1"));
        }
        Ok(())
    }

    fn attribute_prefix(&self) -> &'static str {
        "ce-"
    }

    fn open_source<'a>(
        &'a self,
        binder: &'a Binder,
        binding: &'a Binding,
    ) -> Doing<'a, Result<Box<dyn Source>, Trouble>> {
        Box::pin(async move {
            let link = Link::open(binder).await?;
            let dead_letters = self.dead_letters(binding);
            let consumer = streams::prepare(&link, binding, &dead_letters).await?;
            let source = source::NatsSource::open(
                link,
                consumer,
                binding.prefetch,
                &binder.url,
                self.orphans.clone(),
            )?;
            Ok(Box::new(source) as Box<dyn Source>)
        })
    }

    fn open_sink<'a>(&'a self, binder: &'a Binder) -> Doing<'a, Result<Box<dyn Sink>, Trouble>> {
        Box::pin(async move {
            let link = Link::open(binder).await?;
            Ok(Box::new(sink::NatsSink::new(link)) as Box<dyn Sink>)
        })
    }
}
