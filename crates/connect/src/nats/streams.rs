//! The stream behind a subject and the consumer of a group: whether they are there, whether they lose messages, and how they are made.

use std::time::Duration;

use serde_json::{Value, json};

use super::api::{self, CONSUMER_NOT_FOUND};
use super::link::Link;
use super::subject::stream_name;
use crate::port::{Binding, Declare, Trouble, TroubleKind};

/// Time after which a message comes again that nobody acknowledged and for which nobody asked for more time: as long as a crashed
/// server keeps messages from others.
const ACK_WAIT: Duration = Duration::from_secs(10);
/// The least number of unacknowledged messages of a group that a consumer is made for.
const UNACKNOWLEDGED_MIN: u64 = 1_000;

/// A consumer, as a source needs it.
#[derive(Clone, Debug)]
pub(super) struct Consumer {
    pub(super) stream: String,
    pub(super) name: String,
    /// Time after which a message comes again.
    pub(super) ack_wait: Duration,
    /// Maximum number of messages that may be asked for at once, if it has one.
    pub(super) batch_max: Option<usize>,
}

/// Returns the name of the stream that keeps what is sent to `subject`; none if there is none.
pub(super) async fn find(link: &Link, subject: &str) -> Result<Option<String>, Trouble> {
    let found = api::ask(link, "STREAM.NAMES", &json!({"subject": subject})).await?;
    let found = found
        .map_err(|refusal| refusal.trouble(link, &format!("look for the stream of {subject}")))?;
    Ok(found["streams"][0].as_str().map(str::to_owned))
}

/// Finds the stream and the consumer of a binding. `dead_letters` is the subject of its dead letters.
pub(super) async fn prepare(
    link: &Link,
    binding: &Binding,
    dead_letters: &str,
) -> Result<Consumer, Trouble> {
    let stream = stream_of(link, &binding.destination, binding.declare).await?;
    if binding.declare == Declare::Check {
        check_stream(link, &stream, &binding.destination, false).await?;
    }
    if binding.declare != Declare::None {
        let dead = stream_of(link, dead_letters, binding.declare).await?;
        if binding.declare == Declare::Check {
            check_stream(link, &dead, dead_letters, true).await?;
        }
    }
    consumer(link, binding, stream).await
}

/// Returns the stream of a subject, made if it may be made.
async fn stream_of(link: &Link, subject: &str, declare: Declare) -> Result<String, Trouble> {
    if let Some(stream) = find(link, subject).await? {
        return Ok(stream);
    }
    if declare != Declare::Create {
        return Err(missing(link, subject));
    }
    let name = stream_name(subject);
    let config = json!({
        "name": name, "subjects": [subject], "retention": "workqueue", "storage": "file", "discard": "new",
        "max_consumers": -1, "max_msgs": -1, "max_msgs_per_subject": -1, "max_bytes": -1, "max_age": 0,
        "max_msg_size": -1, "num_replicas": 1,
    });
    let made = api::ask(link, &format!("STREAM.CREATE.{name}"), &config).await?;
    match made {
        Ok(_) => Ok(name),
        // Another one may have made it just now.
        Err(refusal) => match find(link, subject).await? {
            Some(stream) => Ok(stream),
            None => Err(refusal.trouble(link, &format!("create the stream {name} for {subject}"))),
        },
    }
}

/// What is told when no stream keeps what is sent to a subject.
pub(super) fn missing(link: &Link, subject: &str) -> Trouble {
    let text = format!(
        "no stream at {} keeps the subject {subject}: create one, or set declare to create",
        link.place()
    );
    Trouble::new(TroubleKind::DestinationMissing, text)
}

async fn check_stream(
    link: &Link,
    stream: &str,
    subject: &str,
    is_written: bool,
) -> Result<(), Trouble> {
    let found = api::ask(link, &format!("STREAM.INFO.{stream}"), &json!({})).await?;
    let found =
        found.map_err(|refusal| refusal.trouble(link, &format!("show the stream {stream}")))?;
    match find_loss(&found["config"], is_written) {
        None => Ok(()),
        Some(why) => {
            let text = format!("the stream {stream} of {subject} at {} {why}", link.place());
            Err(Trouble::new(TroubleKind::DestinationUnfit, text))
        }
    }
}

/// Says how a stream with this configuration loses messages. `is_written` if Tributary only writes to it.
fn find_loss(config: &Value, is_written: bool) -> Option<String> {
    let number = |name: &str| config[name].as_i64().unwrap_or(-1);
    if config["storage"] == "memory" {
        return Some("is in memory: its messages are lost when NATS restarts".to_owned());
    }
    if number("max_age") > 0 {
        return Some("has max_age: it loses messages that wait too long".to_owned());
    }
    let refuses = config["discard"] == "new";
    for limit in ["max_msgs", "max_bytes"] {
        if number(limit) > 0 && !refuses {
            return Some(format!(
                "has {limit} without discard new: it loses its oldest messages when it is full"
            ));
        }
    }
    let refuses = refuses && config["discard_new_per_subject"] == true;
    if number("max_msgs_per_subject") > 0 && !refuses {
        let why = "has max_msgs_per_subject without discard_new_per_subject: it loses its oldest messages when it is full";
        return Some(why.to_owned());
    }
    if config["no_ack"] == true {
        return Some("has no_ack: it confirms nothing".to_owned());
    }
    if is_written && config["retention"] == "interest" {
        let why = "keeps messages only while somebody reads (retention interest): dead letters would be lost";
        return Some(why.to_owned());
    }
    None
}

/// Returns the consumer of the group, made if it is missing: it is what the group has acknowledged, and loses nothing.
async fn consumer(link: &Link, binding: &Binding, stream: String) -> Result<Consumer, Trouble> {
    let name = &binding.group;
    let found = api::ask(link, &format!("CONSUMER.INFO.{stream}.{name}"), &json!({})).await?;
    let found = match found {
        Ok(found) => found,
        Err(refusal) if refusal.code == CONSUMER_NOT_FOUND => {
            let pending = u64::from(binding.prefetch) * u64::from(binding.concurrency);
            let config = json!({
                "durable_name": name, "deliver_policy": "all", "ack_policy": "explicit", "replay_policy": "instant",
                "ack_wait": nanos(ACK_WAIT), "max_deliver": -1, "filter_subject": binding.destination,
                "max_ack_pending": pending.max(UNACKNOWLEDGED_MIN),
            });
            let question = json!({"stream_name": stream, "config": config});
            let subject = format!("CONSUMER.DURABLE.CREATE.{stream}.{name}");
            let made = api::ask(link, &subject, &question).await?;
            made.map_err(|refusal| {
                refusal.trouble(
                    link,
                    &format!("create the consumer {name} of the stream {stream}"),
                )
            })?
        }
        Err(refusal) => {
            let what = format!("show the consumer {name} of the stream {stream}");
            return Err(refusal.trouble(link, &what));
        }
    };
    let config = &found["config"];
    if let Some(why) = find_misfit(config, &binding.destination) {
        let text = format!(
            "the consumer {name} of the stream {stream} at {} {why}; delete it, or set group to another name",
            link.place()
        );
        return Err(Trouble::new(TroubleKind::DestinationUnfit, text));
    }
    let ack_wait = config["ack_wait"].as_u64().filter(|wait| *wait > 0);
    let batch_max = config["max_batch"].as_u64().filter(|max| *max > 0);
    Ok(Consumer {
        stream,
        name: name.clone(),
        ack_wait: ack_wait.map_or(ACK_WAIT, Duration::from_nanos),
        batch_max: batch_max.and_then(|max| usize::try_from(max).ok()),
    })
}

/// Returns the number of messages that a consumer has never delivered.
pub(super) async fn waiting(link: &Link, consumer: &Consumer) -> Option<u64> {
    let Consumer { stream, name, .. } = consumer;
    let found = api::ask(link, &format!("CONSUMER.INFO.{stream}.{name}"), &json!({})).await;
    found.ok()?.ok()?["num_pending"].as_u64()
}

pub(super) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Says why a consumer with this configuration can't serve a binding.
fn find_misfit(config: &Value, destination: &str) -> Option<String> {
    if let Some(subject) = config["deliver_subject"].as_str()
        && !subject.is_empty()
    {
        return Some("is a push consumer, not a pull consumer".to_owned());
    }
    if config["ack_policy"] != "explicit" {
        let policy = config["ack_policy"].as_str().unwrap_or_default();
        return Some(format!(
            "has the ack policy {policy}, not explicit: it loses messages that were not acknowledged"
        ));
    }
    if config["max_deliver"].as_i64().unwrap_or(-1) > 0 {
        return Some("has max_deliver: it loses messages that were delivered too often".to_owned());
    }
    if config["headers_only"] == true {
        return Some("delivers headers only".to_owned());
    }
    if config["mem_storage"] == true || config["inactive_threshold"].as_u64().unwrap_or(0) > 0 {
        return Some("does not last: it forgets what was acknowledged".to_owned());
    }
    let filters = config["filter_subjects"].as_array().into_iter().flatten();
    let filter = config["filter_subject"]
        .as_str()
        .filter(|one| !one.is_empty());
    let mut filters = filters.filter_map(Value::as_str).chain(filter);
    let other = filters.find(|filter| *filter != destination)?;
    Some(format!("is for the subject {other}, not for {destination}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_consumer_that_can_t_serve_is_known() {
        let fit = json!({"ack_policy": "explicit", "max_deliver": -1, "filter_subject": "orders", "ack_wait": 1});
        let with = |name: &str, value: Value| {
            let mut config = fit.clone();
            config[name] = value;
            find_misfit(&config, "orders")
        };
        assert_eq!(find_misfit(&fit, "orders"), None);
        assert_eq!(with("filter_subject", json!("")), None);
        assert_eq!(with("filter_subjects", json!(["orders"])), None);
        let misfits = [
            ("deliver_subject", json!("push"), "push"),
            ("ack_policy", json!("none"), "ack policy none"),
            ("ack_policy", json!("all"), "ack policy all"),
            ("max_deliver", json!(5), "max_deliver"),
            ("headers_only", json!(true), "headers only"),
            ("mem_storage", json!(true), "does not last"),
            ("inactive_threshold", json!(5), "does not last"),
            ("filter_subject", json!("other"), "other"),
            ("filter_subjects", json!(["orders", "more"]), "more"),
        ];
        for (name, value, why) in misfits {
            let found = with(name, value).expect(why);
            assert!(found.contains(why), "{found}");
        }
    }
}
