//! What is said of topics: their names, which are refused, and how they are made.

use std::time::Duration;

use rdkafka::admin::{
    AdminClient, AdminOptions, ConfigEntry, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::Metadata;
use tokio::runtime::Handle;

use super::client::{CONNECT_TIMEOUT, Link, Listener, Reports};
use crate::port::{Declare, Trouble, TroubleKind};

/// Maximum length of the name of a topic, in bytes: what Kafka allows.
pub(super) const NAME_BYTES_MAX: usize = 249;
/// Shortest time that a topic of orders may keep its messages, in milliseconds: a day.
const RETENTION_MS_MIN: i64 = 24 * 60 * 60 * 1_000;
/// For the number of partitions and of copies: what the cluster is set to.
const OF_CLUSTER: i32 = -1;

/// Checks the name of a topic.
///
/// # Errors
/// What it must be.
pub(super) fn check_name(name: &str) -> Result<(), String> {
    let is_of_name = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let is_name = !name.is_empty() && name.bytes().all(is_of_name);
    if !is_name || matches!(name, "." | "..") || name.len() > NAME_BYTES_MAX {
        return Err(format!(
            "must be 1 to {NAME_BYTES_MAX} letters, digits, dots, hyphens and underscores"
        ));
    }
    Ok(())
}

/// Returns the error of the one topic that was asked about, if it has one.
pub(super) fn error_in(metadata: &Metadata) -> Option<RDKafkaErrorCode> {
    match metadata.topics() {
        [topic] => topic.error().map(RDKafkaErrorCode::from),
        _ => Some(RDKafkaErrorCode::UnknownTopicOrPartition),
    }
}

/// What asks brokers about a topic.
pub(super) type Asking<'a> = &'a dyn Fn(&str, Duration) -> Result<Metadata, KafkaError>;

/// Fails if a topic does not exist.
pub(super) fn look_for(
    link: &Link,
    reports: &Reports,
    topic: &str,
    ask: Asking<'_>,
) -> Result<(), Trouble> {
    let what = format!("read the topic {topic}");
    link.ask(reports, &what, |time| {
        let found = ask(topic, time).map_err(|error| code(&error))?;
        error_in(&found).map_or(Ok(()), Err)
    })
}

fn code(error: &KafkaError) -> RDKafkaErrorCode {
    match error {
        KafkaError::AdminOp(code) => *code,
        error => error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail),
    }
}

/// Checks or makes topics as `declare` says. The first one is that of orders.
pub(super) fn prepare(
    link: &Link,
    reports: &Reports,
    topics: &[String; 2],
    declare: Declare,
    runtime: &Handle,
    ask: Asking<'_>,
) -> Result<(), Trouble> {
    let missing = |topic: &String| match look_for(link, reports, topic, ask) {
        Ok(()) => Ok(false),
        Err(trouble) if trouble.kind == TroubleKind::DestinationMissing => Ok(true),
        Err(trouble) => Err(trouble),
    };
    match declare {
        Declare::None => look_for(link, reports, &topics[0], ask),
        Declare::Check => {
            for topic in topics {
                look_for(link, reports, topic, ask)?;
            }
            let admin = link.make(link.config().create_with_context(Listener::default()))?;
            check(link, reports, topics, runtime, &admin)
        }
        Declare::Create => {
            let mut absent = Vec::new();
            for topic in topics {
                if missing(topic)? {
                    absent.push(topic.as_str());
                }
            }
            if absent.is_empty() {
                return Ok(());
            }
            let admin = link.make(link.config().create_with_context(Listener::default()))?;
            create(link, reports, &absent, runtime, &admin)?;
            // Other brokers may know of it a moment later.
            for topic in absent {
                let what = format!("create the topic {topic}");
                link.ask(reports, &what, |time| {
                    let found = ask(topic, time).map_err(|error| code(&error))?;
                    match error_in(&found) {
                        None => Ok(()),
                        Some(RDKafkaErrorCode::UnknownTopicOrPartition) => {
                            std::thread::sleep(time / 4);
                            Err(RDKafkaErrorCode::LeaderNotAvailable)
                        }
                        Some(code) => Err(code),
                    }
                })?;
            }
            Ok(())
        }
    }
}

fn options() -> AdminOptions {
    AdminOptions::new()
        .request_timeout(Some(CONNECT_TIMEOUT))
        .operation_timeout(Some(CONNECT_TIMEOUT))
}

fn create(
    link: &Link,
    reports: &Reports,
    topics: &[&str],
    runtime: &Handle,
    admin: &AdminClient<Listener>,
) -> Result<(), Trouble> {
    let topics: Vec<NewTopic<'_>> = topics
        .iter()
        .map(|topic| {
            NewTopic::new(topic, OF_CLUSTER, TopicReplication::Fixed(OF_CLUSTER))
                .set("cleanup.policy", "delete")
                .set("retention.ms", "-1")
                .set("retention.bytes", "-1")
        })
        .collect();
    let created = runtime.block_on(admin.create_topics(&topics, &options()));
    let refused = |topic: &str, code| {
        let what = format!("create the topic {topic}");
        link.trouble(&what, code, reports)
    };
    let created = created.map_err(|error| refused(topics[0].name, code(&error)))?;
    for result in created {
        match result {
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((topic, code)) => return Err(refused(&topic, code)),
        }
    }
    Ok(())
}

fn check(
    link: &Link,
    reports: &Reports,
    topics: &[String; 2],
    runtime: &Handle,
    admin: &AdminClient<Listener>,
) -> Result<(), Trouble> {
    let resources = topics
        .each_ref()
        .map(|topic| ResourceSpecifier::Topic(topic));
    let described = runtime.block_on(admin.describe_configs(&resources, &options()));
    let refused = |topic: &str, code| {
        let what = format!("describe the topic {topic}");
        link.trouble(&what, code, reports)
    };
    let described = described.map_err(|error| refused(&topics[0], code(&error)))?;
    for (topic, found) in topics.iter().zip(described) {
        let found = match found {
            Ok(found) => found,
            Err(RDKafkaErrorCode::TopicAuthorizationFailed) => {
                tracing::info!(topic, "the configuration of the topic can't be seen");
                continue;
            }
            Err(code) => return Err(refused(topic, code)),
        };
        let value = |name: &str| value(&found.entries, name);
        if let Some(why) = find_loss(&value) {
            let text = format!("the topic {topic} at {} {why}", link.place());
            return Err(Trouble::new(TroubleKind::DestinationUnfit, text));
        }
    }
    Ok(())
}

fn value(entries: &[ConfigEntry], name: &str) -> Option<String> {
    let entry = entries.iter().find(|entry| entry.name == name);
    entry.and_then(|entry| entry.value.clone())
}

/// Says how a topic with this configuration loses messages.
fn find_loss(value: &dyn Fn(&str) -> Option<String>) -> Option<String> {
    let number = |name: &str| value(name).and_then(|text| text.parse::<i64>().ok());
    let policy = value("cleanup.policy").unwrap_or_default();
    let deletes = policy.split(',').any(|part| part.trim() == "delete");
    if policy.split(',').any(|part| part.trim() == "compact") {
        return Some(format!(
            "has cleanup.policy {policy}: of messages with one key it keeps only the last. Set it to delete"
        ));
    }
    if deletes
        && let Some(time) = number("retention.ms")
        && (0..RETENTION_MS_MIN).contains(&time)
    {
        return Some(format!(
            "has retention.ms {time}: it loses messages that wait longer. Set it to {RETENTION_MS_MIN} or more, or to -1"
        ));
    }
    if deletes
        && let Some(bytes) = number("retention.bytes")
        && bytes >= 0
    {
        return Some(format!(
            "has retention.bytes {bytes}: it loses its oldest messages when it is full. Set it to -1"
        ));
    }
    if value("unclean.leader.election.enable").as_deref() == Some("true") {
        return Some(
            "has unclean.leader.election.enable: it may lose messages that it has confirmed when a broker fails. Set it to false"
                .to_owned(),
        );
    }
    None
}

#[cfg(test)]
mod tests {
    use super::{check_name, find_loss};

    #[test]
    fn names_are_those_that_kafka_allows() {
        for name in [
            "a",
            "payment_order",
            "error.payment-order.tributary",
            &"t".repeat(249),
        ] {
            check_name(name).expect("Kafka allows it");
        }
        for name in ["", ".", "..", "a b", "a/b", "ä", "a\0", &"t".repeat(250)] {
            check_name(name).expect_err("Kafka refuses it");
        }
    }

    #[test]
    fn a_topic_that_loses_messages_is_found() {
        let check = |configuration: &[(&str, &str)], expected: Option<&str>| {
            let value = |name: &str| {
                let found = configuration.iter().find(|(known, _)| *known == name);
                found.map(|(_, value)| (*value).to_owned())
            };
            let found = find_loss(&value);
            let fits = match (&found, expected) {
                (Some(found), Some(expected)) => found.contains(expected),
                (found, expected) => found.is_none() && expected.is_none(),
            };
            assert!(fits, "{configuration:?}: {found:?}");
        };
        check(&[], None);
        let usual = [
            ("cleanup.policy", "delete"),
            ("retention.ms", "604800000"),
            ("retention.bytes", "-1"),
            ("unclean.leader.election.enable", "false"),
        ];
        check(&usual, None);
        check(&[("cleanup.policy", "compact")], Some("cleanup.policy"));
        check(
            &[("cleanup.policy", "delete, compact")],
            Some("cleanup.policy"),
        );
        let delete = ("cleanup.policy", "delete");
        check(
            &[delete, ("retention.ms", "86399999")],
            Some("retention.ms"),
        );
        check(&[delete, ("retention.ms", "86400000")], None);
        check(&[delete, ("retention.ms", "-1")], None);
        check(
            &[delete, ("retention.bytes", "1048576")],
            Some("retention.bytes"),
        );
        // Without a policy that deletes, limits mean nothing.
        check(&[("cleanup.policy", ""), ("retention.ms", "1")], None);
        let unclean = [delete, ("unclean.leader.election.enable", "true")];
        check(&unclean, Some("unclean.leader.election.enable"));
    }
}
