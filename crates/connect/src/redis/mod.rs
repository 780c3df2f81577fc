//! Redis, by its streams.
//!
//! Each source and each sink has connections of its own, which are closed with it; nothing reconnects by itself. A destination is a
//! stream; a source reads it as a consumer of the group. What a consumer holds stays under its name until it is acknowledged, so names
//! are used again: see `names.rs`.

mod link;
mod message;
mod names;
mod record_store;
mod server;
mod sink;
mod source;
mod streams;

use std::sync::Arc;

use crate::port::{Adapter, Binder, Binding, Doing, Sink, Source, Trouble, Unfit};
use crate::trust;

use link::Link;
pub use message::UNREADABLE_HEADER;
use names::Names;
pub use record_store::{ANSWER_TIMEOUT as RECORD_ANSWER_TIMEOUT, RecordStore, RecordStoreConfig};

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

impl Adapter for Redis {
    fn name(&self) -> &'static str {
        "redis"
    }

    fn check_binder(&self, binder: &Binder) -> Result<(), Unfit> {
        let (server, _database) = server::read(&binder.url)?;
        if binder.username.is_some() && binder.password.is_none() {
            return Err(Unfit::new("password", "is required with a username"));
        }
        trust::check_trusted_roots(binder, server.is_tls, "rediss")
    }

    fn check_binding(&self, binding: &Binding) -> Result<(), Unfit> {
        if binding.destination.is_empty() {
            return Err(Unfit::new("destination", "must name a stream"));
        }
        if binding.group.is_empty() {
            return Err(Unfit::new("group", "must name a group"));
        }
        if binding.prefetch == 0 {
            return Err(Unfit::new("prefetch", "must be at least 1"));
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
