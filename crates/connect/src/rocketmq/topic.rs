//! Topics: whether they are there, and what they take.

use std::collections::BTreeSet;

use super::link::{Greeting, Link};
use super::wire::{Queue, kind};
use crate::port::{Trouble, TroubleKind};

/// Fewest deliveries after which a group may give a message up. Each pause of a binding counts as one for RocketMQ.
const ATTEMPTS_MIN: i32 = 100_000;
/// Maximum length of the name of a topic, and of a group, in bytes: what RocketMQ allows.
pub(super) const TOPIC_BYTES_MAX: usize = 127;
pub(super) const GROUP_BYTES_MAX: usize = 120;

const READ: i32 = 2;
const WRITE: i32 = 3;
const READ_AND_WRITE: i32 = 4;

/// In which order a topic takes messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// None: the topic's type is NORMAL.
    Free,
    /// In that of their group: the topic's type is FIFO.
    ByGroup,
    /// With a group or without one: the topic's type is MIXED, or is not checked.
    Either,
}

/// Whether RocketMQ takes a text as the name of a topic or a group.
pub(super) fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '%' | '|'))
}

/// Returns the brokers that a topic can be read from.
pub(super) fn readable_brokers(
    link: &Link,
    topic: &str,
    queues: &[Queue],
) -> Result<BTreeSet<String>, Trouble> {
    if queues.is_empty() {
        return Err(missing(link, topic));
    }
    let readable = queues
        .iter()
        .filter(|queue| matches!(queue.permission, READ | READ_AND_WRITE));
    let brokers: BTreeSet<String> = readable
        .filter_map(|queue| Some(queue.broker.as_ref()?.name.clone()))
        .collect();
    match brokers.is_empty() {
        true => Err(unfit(link, topic, "has no queue that may be read")),
        false => Ok(brokers),
    }
}

/// Returns how messages are sent to a topic.
pub(super) fn order(link: &Link, topic: &str, queues: &[Queue]) -> Result<Order, Trouble> {
    if queues.is_empty() {
        return Err(missing(link, topic));
    }
    let mut writable = queues
        .iter()
        .filter(|queue| matches!(queue.permission, WRITE | READ_AND_WRITE));
    let Some(queue) = writable.next() else {
        return Err(unfit(link, topic, "has no queue that may be written"));
    };
    let takes = |kind| queue.kinds.contains(&kind);
    match (takes(kind::NORMAL), takes(kind::FIFO)) {
        (true, true) => Ok(Order::Either),
        (true, false) => Ok(Order::Free),
        (false, true) => Ok(Order::ByGroup),
        (false, false) if queue.kinds.is_empty() => Ok(Order::Either),
        (false, false) => {
            let why =
                "is for delayed messages or transactions: its type must be NORMAL, FIFO or MIXED";
            Err(unfit(link, topic, why))
        }
    }
}

/// Fails unless the topics of a binding are there and fit, and its group gives no message up.
pub(super) async fn check(
    link: &Link,
    greeting: &Greeting,
    topic: &str,
    dead_letters: &str,
    group: &str,
) -> Result<(), Trouble> {
    let queues = link.queues(topic).await?;
    readable_brokers(link, topic, &queues)?;
    let queues = link.queues(dead_letters).await?;
    order(link, dead_letters, &queues)?;
    let attempts = greeting.attempts_max;
    if attempts < ATTEMPTS_MIN {
        let text = format!(
            "the group {group} at {} gives a message up after {attempts} deliveries, and each pause counts as one: \
             run mqadmin updateSubGroup -g {group} -r 1000000, or set declare to none",
            link.place()
        );
        return Err(Trouble::new(TroubleKind::DestinationUnfit, text));
    }
    Ok(())
}

fn missing(link: &Link, topic: &str) -> Trouble {
    let text = format!(
        "the topic {topic} does not exist at {}: create it with mqadmin updateTopic",
        link.place()
    );
    Trouble::new(TroubleKind::DestinationMissing, text)
}

fn unfit(link: &Link, topic: &str, why: &str) -> Trouble {
    let text = format!("the topic {topic} at {} {why}", link.place());
    Trouble::new(TroubleKind::DestinationUnfit, text)
}

#[cfg(test)]
mod tests {
    use super::is_name;

    #[test]
    fn names_are_rocketmqs() {
        for name in ["payment_order", "a-b", "%RETRY%g", "7"] {
            assert!(is_name(name), "{name}");
        }
        for name in ["", "a.b", "a b", "a/b", "ä"] {
            assert!(!is_name(name), "{name}");
        }
    }
}
