//! RocketMQ 5, by the gRPC of its proxy.
//!
//! Each source and each sink has a connection of its own, which is closed with it; nothing reconnects by itself. A destination is a
//! topic, and the group a consumer group. A topic of the type FIFO keeps the order of each key, which is its message group.

mod call;
mod link;
mod message;
mod server;
mod sink;
mod source;
#[cfg(test)]
mod tests;
mod topic;
mod wire;

use crate::port::{
    Adapter, Binder, Binding, Declare, Doing, Sink, Source, Trouble, TroubleKind, Unfit,
};
use link::{Link, Role};
use server::Server;
use topic::{GROUP_BYTES_MAX, TOPIC_BYTES_MAX, is_name};

/// Why a destination can't be created.
const CANT_CREATE: &str = "must be check or none: a proxy of RocketMQ can't make topics, so make them with mqadmin updateTopic";

/// Adapter to RocketMQ.
#[derive(Clone, Copy, Debug, Default)]
pub struct RocketMq;

impl RocketMq {
    /// An adapter.
    pub fn new() -> RocketMq {
        RocketMq
    }
}

fn unfit(field: &'static str, what: impl Into<String>) -> Unfit {
    Unfit {
        field,
        what: what.into(),
    }
}

impl Adapter for RocketMq {
    fn name(&self) -> &'static str {
        "rocketmq"
    }

    fn check_binder(&self, binder: &Binder) -> Result<(), Unfit> {
        let server = Server::parse(&binder.url).map_err(|what| unfit("url", what))?;
        match (&binder.username, &binder.password) {
            (Some(_), None) => return Err(unfit("password", "is required with a username")),
            (None, Some(_)) => return Err(unfit("username", "is required with a password")),
            (Some(name), Some(_)) => {
                let is_fit = |c: char| c.is_ascii_graphic() && c != ',';
                if name.is_empty() || !name.chars().all(is_fit) {
                    let what = "must have visible characters of ASCII only, and no comma";
                    return Err(unfit("username", what));
                }
            }
            (None, None) => {}
        }
        let Some(roots) = &binder.trusted_roots else {
            return Ok(());
        };
        if !server.is_tls {
            let what = "needs a url that begins with https://";
            return Err(unfit("trusted_roots", what));
        }
        match crate::trust::parse_trusted_roots(roots.as_bytes()) {
            Ok(_) => Ok(()),
            Err(error) => {
                let what = format!("must be PEM certificates: {error}");
                Err(unfit("trusted_roots", what))
            }
        }
    }

    fn check_binding(&self, binding: &Binding) -> Result<(), Unfit> {
        if !is_name(&binding.destination) {
            let what = "must name a topic: letters, digits, and _ - % | only";
            return Err(unfit("destination", what));
        }
        if !is_name(&binding.group) || binding.group.len() > GROUP_BYTES_MAX {
            let what = format!(
                "must be at most {GROUP_BYTES_MAX} letters, digits, and _ - % |: RocketMQ allows nothing else"
            );
            return Err(unfit("group", what));
        }
        if self.dead_letters(binding).len() > TOPIC_BYTES_MAX {
            let what = format!(
                "is too long: the topic of dead letters is called DESTINATION_GROUP_dlq, and RocketMQ allows {TOPIC_BYTES_MAX} bytes"
            );
            return Err(unfit("destination", what));
        }
        if binding.prefetch == 0 {
            return Err(unfit("prefetch", "must be at least 1"));
        }
        if binding.declare == Declare::Create {
            return Err(unfit("declare", CANT_CREATE));
        }
        Ok(())
    }

    fn dead_letters(&self, binding: &Binding) -> String {
        // RocketMQ allows no dots, and keeps names such as %DLQ%group for itself.
        format!("{}_{}_dlq", binding.destination, binding.group)
    }

    fn open_source<'a>(
        &'a self,
        binder: &'a Binder,
        binding: &'a Binding,
    ) -> Doing<'a, Result<Box<dyn Source>, Trouble>> {
        Box::pin(async move {
            let (topic, group) = (&binding.destination, &binding.group);
            let (link, greeting) = Link::open(binder, Role::Consumer { topic, group }).await?;
            match binding.declare {
                Declare::None => {}
                Declare::Check => {
                    let dead_letters = self.dead_letters(binding);
                    topic::check(&link, &greeting, topic, &dead_letters, group).await?;
                }
                Declare::Create => {
                    let text = format!("declare {CANT_CREATE}");
                    return Err(Trouble::new(TroubleKind::Refused, text));
                }
            }
            let source = source::RocketMqSource::open(link, greeting, binding).await?;
            Ok(Box::new(source) as Box<dyn Source>)
        })
    }

    fn open_sink<'a>(&'a self, binder: &'a Binder) -> Doing<'a, Result<Box<dyn Sink>, Trouble>> {
        Box::pin(async move {
            let (link, greeting) = Link::open(binder, Role::Producer).await?;
            let sink = sink::RocketMqSink::new(link, greeting);
            Ok(Box::new(sink) as Box<dyn Sink>)
        })
    }
}
