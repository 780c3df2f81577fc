//! Redis, by its streams.
//!
//! Each source and each sink has connections of its own, which are closed with it; nothing reconnects by itself. A destination is a
//! stream; a source reads it as a consumer of the group. What a consumer holds stays under its name until it is acknowledged, so names
//! are used again: see `names.rs`.

mod link;
mod message;
mod names;
mod server;
mod sink;
mod source;
mod streams;

use std::sync::Arc;

use crate::port::{Adapter, Binder, Binding, Doing, Sink, Source, Trouble, Unfit};

use link::Link;
pub use message::UNREADABLE_HEADER;
use names::Names;
use server::Server;

/// Adapter to Redis.
#[derive(Clone, Debug, Default)]
pub struct Redis {
    names: Arc<Names>,
}

impl Redis {
    /// An adapter.
    pub fn new() -> Redis {
        Redis::default()
    }
}

fn unfit(field: &'static str, what: impl Into<String>) -> Unfit {
    Unfit {
        field,
        what: what.into(),
    }
}

impl Adapter for Redis {
    fn name(&self) -> &'static str {
        "redis"
    }

    fn check_binder(&self, binder: &Binder) -> Result<(), Unfit> {
        let server = Server::parse(&binder.url).map_err(|what| unfit("url", what))?;
        if binder.username.is_some() && binder.password.is_none() {
            return Err(unfit("password", "is required with a username"));
        }
        let Some(roots) = &binder.trusted_roots else {
            return Ok(());
        };
        if !server.is_tls {
            return Err(unfit(
                "trusted_roots",
                "needs a url that begins with rediss://",
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
            return Err(unfit("destination", "must name a stream"));
        }
        if binding.group.is_empty() {
            return Err(unfit("group", "must name a group"));
        }
        if binding.prefetch == 0 {
            return Err(unfit("prefetch", "must be at least 1"));
        }
        Ok(())
    }

    fn open_source<'a>(
        &'a self,
        binder: &'a Binder,
        binding: &'a Binding,
    ) -> Doing<'a, Result<Box<dyn Source>, Trouble>> {
        Box::pin(async move {
            let link = Link::open(binder).await?;
            streams::prepare(&link, binding, &self.dead_letters(binding)).await?;
            let reading = Link::open(binder).await?;
            let (names, key) = (self.names.clone(), Names::key(binder, binding));
            let source = source::RedisSource::open(link, reading, binding, names, key).await?;
            Ok(Box::new(source) as Box<dyn Source>)
        })
    }

    fn open_sink<'a>(&'a self, binder: &'a Binder) -> Doing<'a, Result<Box<dyn Sink>, Trouble>> {
        Box::pin(async move {
            let link = Link::open(binder).await?;
            Ok(Box::new(sink::RedisSink::new(link)) as Box<dyn Sink>)
        })
    }
}
