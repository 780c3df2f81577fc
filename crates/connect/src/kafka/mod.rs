//! Apache Kafka, by librdkafka.
//!
//! A source is a member of a consumer group, with a thread of its own that speaks to librdkafka; a sink is an idempotent producer. Both
//! reconnect by themselves for some seconds, as clients of Kafka do: a broker of several that restarts is not noticed. A destination
//! is a topic, and so is its address. A topic that does not exist is never made by the way.

mod client;
mod cluster;
mod message;
mod offsets;
mod shared;
mod sink;
mod source;
mod topics;

use crate::port::{Adapter, Binder, Binding, Doing, Sink, Source, Trouble, Unfit};
use crate::trust;

use cluster::Cluster;
pub use message::UNREADABLE_HEADER;

/// Adapter to Kafka.
#[derive(Clone, Copy, Debug, Default)]
pub struct Kafka;

impl Kafka {
    /// An adapter.
    pub fn new() -> Kafka {
        Kafka
    }
}

impl Adapter for Kafka {
    fn name(&self) -> &'static str {
        "kafka"
    }

    fn check_binder(&self, binder: &Binder) -> Result<(), Unfit> {
        let cluster = Cluster::parse(&binder.url).map_err(|what| Unfit::new("url", what))?;
        if cluster.needs_openssl(binder.username.is_some()) && !cluster::HAS_OPENSSL {
            let what = "needs TLS or SCRAM, which this server was built without: build it with the cargo feature kafka-tls, or with full";
            return Err(Unfit::new("url", what));
        }
        match (&binder.username, &binder.password) {
            (Some(_), None) => return Err(Unfit::new("password", "is required for a username")),
            (None, Some(_)) => return Err(Unfit::new("username", "is required for a password")),
            (None, None) if cluster.names_mechanism => {
                return Err(Unfit::new("username", "is required by sasl in the url"));
            }
            _ => {}
        }
        trust::check_trusted_roots(binder, cluster.is_tls, "kafkas")
    }

    fn check_binding(&self, binding: &Binding) -> Result<(), Unfit> {
        topics::check_name(&binding.destination).map_err(|what| Unfit::new("destination", what))?;
        if let Err(what) = topics::check_name(&binding.group) {
            let what =
                format!("{what}: the topic of dead letters is called error.DESTINATION.GROUP");
            return Err(Unfit::new("group", what));
        }
        if topics::check_name(&self.dead_letters(binding)).is_err() {
            let what = format!(
                "is too long: the topic of dead letters is called error.DESTINATION.GROUP, and Kafka allows {} bytes",
                topics::NAME_BYTES_MAX
            );
            return Err(Unfit::new("destination", what));
        }
        if binding.prefetch == 0 {
            return Err(Unfit::new("prefetch", "must be at least 1"));
        }
        Ok(())
    }

    fn dead_letters(&self, binding: &Binding) -> String {
        format!("error.{}.{}", binding.destination, binding.group)
    }

    fn open_source<'a>(
        &'a self,
        binder: &'a Binder,
        binding: &'a Binding,
    ) -> Doing<'a, Result<Box<dyn Source>, Trouble>> {
        Box::pin(async move {
            let dead_letters = self.dead_letters(binding);
            let source = source::KafkaSource::open(binder, binding, dead_letters).await?;
            Ok(Box::new(source) as Box<dyn Source>)
        })
    }

    fn open_sink<'a>(&'a self, binder: &'a Binder) -> Doing<'a, Result<Box<dyn Sink>, Trouble>> {
        Box::pin(async move {
            let sink = sink::KafkaSink::open(binder).await?;
            Ok(Box::new(sink) as Box<dyn Sink>)
        })
    }
}
