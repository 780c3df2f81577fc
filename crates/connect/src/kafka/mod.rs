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

fn unfit(field: &'static str, what: impl Into<String>) -> Unfit {
    Unfit {
        field,
        what: what.into(),
    }
}

impl Adapter for Kafka {
    fn name(&self) -> &'static str {
        "kafka"
    }

    fn check_binder(&self, binder: &Binder) -> Result<(), Unfit> {
        let cluster = Cluster::parse(&binder.url).map_err(|what| unfit("url", what))?;
        if cluster.needs_openssl(binder.username.is_some()) && !cluster::HAS_OPENSSL {
            let what = "needs TLS or SCRAM, which this server was built without: build it with the cargo feature kafka-tls, or with full";
            return Err(unfit("url", what));
        }
        match (&binder.username, &binder.password) {
            (Some(_), None) => return Err(unfit("password", "is required for a username")),
            (None, Some(_)) => return Err(unfit("username", "is required for a password")),
            (None, None) if cluster.names_mechanism => {
                return Err(unfit("username", "is required by sasl in the url"));
            }
            _ => {}
        }
        let Some(roots) = &binder.trusted_roots else {
            return Ok(());
        };
        if !cluster.is_tls {
            let what = "needs a url that begins with kafkas://";
            return Err(unfit("trusted_roots", what));
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
        topics::check_name(&binding.destination).map_err(|what| unfit("destination", what))?;
        if let Err(what) = topics::check_name(&binding.group) {
            let what =
                format!("{what}: the topic of dead letters is called error.DESTINATION.GROUP");
            return Err(unfit("group", what));
        }
        if topics::check_name(&self.dead_letters(binding)).is_err() {
            let what = format!(
                "is too long: the topic of dead letters is called error.DESTINATION.GROUP, and Kafka allows {} bytes",
                topics::NAME_BYTES_MAX
            );
            return Err(unfit("destination", what));
        }
        if binding.prefetch == 0 {
            return Err(unfit("prefetch", "must be at least 1"));
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
