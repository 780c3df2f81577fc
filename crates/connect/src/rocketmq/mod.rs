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
use crate::trust;
use link::{Link, Role};
use server::URL;
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

impl Adapter for RocketMq {
    fn name(&self) -> &'static str {
        "rocketmq"
    }

    fn check_binder(&self, binder: &Binder) -> Result<(), Unfit> {
        let server = URL.read(&binder.url)?;
        match (&binder.username, &binder.password) {
            (Some(_), None) => return Err(Unfit::new("password", "is required with a username")),
            (None, Some(_)) => return Err(Unfit::new("username", "is required with a password")),
            (Some(name), Some(_)) => {
                let is_fit = |c: char| c.is_ascii_graphic() && c != ',';
                if name.is_empty() || !name.chars().all(is_fit) {
                    let what = "must have visible characters of ASCII only, and no comma";
                    return Err(Unfit::new("username", what));
                }
            }
            (None, None) => {}
        }
        trust::check_trusted_roots(binder, server.is_tls, "https")
    }

    fn check_binding(&self, binding: &Binding) -> Result<(), Unfit> {
        if !is_name(&binding.destination) {
            let what = "must name a topic: letters, digits, and _ - % | only";
            return Err(Unfit::new("destination", what));
        }
        if !is_name(&binding.group) || binding.group.len() > GROUP_BYTES_MAX {
            let what = format!(
                "must be at most {GROUP_BYTES_MAX} letters, digits, and _ - % |: RocketMQ allows nothing else"
            );
            return Err(Unfit::new("group", what));
        }
        if self.dead_letters(binding).len() > TOPIC_BYTES_MAX {
            let what = format!(
                "is too long: the topic of dead letters is called DESTINATION_GROUP_dlq, and RocketMQ allows {TOPIC_BYTES_MAX} bytes"
            );
            return Err(Unfit::new("destination", what));
        }
        if binding.prefetch == 0 {
            return Err(Unfit::new("prefetch", "must be at least 1"));
        }
        if binding.declare == Declare::Create {
            return Err(Unfit::new("declare", CANT_CREATE));
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
