//! Questions to Artemis about a queue, by its management address. They are for users with the permission `manage`.

use bytes::Bytes;
use fe2o3_amqp::Sendable;
use fe2o3_amqp::link::delivery::Delivery;
use fe2o3_amqp::types::messaging::{
    ApplicationProperties, Batch, Data, Message as AmqpMessage, Outcome, Properties,
};
use fe2o3_amqp::types::primitives::{OrderedMap, SimpleValue};
use serde_json::{Value, json};

use super::link::{AttachError, Link, Reading, Writing};
use super::message;
use crate::port::{Trouble, TroubleKind};

/// Where Artemis is asked about itself.
const MANAGEMENT: &str = "activemq.management";
/// Header of an answer that says whether it is one.
const SUCCEEDED: &str = "_AMQ_OperationSucceeded";

/// A way to ask.
pub(super) struct Manager<'a> {
    questions: Writing,
    answers: Reading,
    /// Name of the queue of the answers.
    replies: String,
    link: &'a Link,
}

impl<'a> Manager<'a> {
    /// Opens a way to ask. None if the broker is no Artemis, or this user may not ask.
    pub(super) async fn open(link: &'a Link) -> Result<Option<Manager<'a>>, Trouble> {
        if !link.is_artemis() {
            return Ok(None);
        }
        let opened = async {
            let (answers, replies) = link.temporary().await?;
            let questions = link.plain_writing(MANAGEMENT).await?;
            Ok(Manager {
                questions,
                answers,
                replies,
                link,
            })
        };
        match opened.await {
            Ok(manager) => Ok(Some(manager)),
            Err(AttachError::Refused(trouble)) => {
                tracing::info!(why = trouble.text, "this user may not ask about queues");
                Ok(None)
            }
            Err(AttachError::Lost(trouble)) => Err(trouble),
        }
    }

    /// Fails unless a queue is there and loses no messages.
    pub(super) async fn check(&mut self, queue: &str) -> Result<(), Trouble> {
        let place = self.link.place().to_owned();
        let Some(found) = self.find(queue).await? else {
            return Ok(());
        };
        if found.is_null() {
            let text = format!(
                "the queue {queue} does not exist at {place}: create it, or set declare to create"
            );
            return Err(Trouble::new(TroubleKind::DestinationMissing, text));
        }
        let mut why = loss_of_queue(&found);
        if why.is_none() {
            let address = json!([found["address"]]);
            let settings = self.ask("getAddressSettingsAsJSON", &address).await?;
            why = settings.and_then(|settings| loss_of_settings(&settings));
        }
        match why {
            Some(why) => {
                let text = format!("the queue {queue} at {place} {why}");
                Err(Trouble::new(TroubleKind::DestinationUnfit, text))
            }
            None => Ok(()),
        }
    }

    /// Returns the number of messages of a queue that no consumer has. None if the broker does not tell.
    pub(super) async fn waiting(&mut self, queue: &str) -> Option<u64> {
        let found = self.find(queue).await.ok()??;
        let count = |name: &str| found[name].as_str()?.parse::<u64>().ok();
        Some(count("messageCount")?.saturating_sub(count("deliveringCount")?))
    }

    /// Returns what the broker says about a queue: null if there is none. None if it has no answer.
    async fn find(&mut self, queue: &str) -> Result<Option<Value>, Trouble> {
        let filter = json!({"field": "name", "operation": "EQUALS", "value": queue});
        let arguments = json!([filter.to_string(), 1, 10]);
        let listed = self.ask("listQueues", &arguments).await?;
        Ok(listed.map(|listed| {
            let queues = listed["data"].as_array();
            let found =
                queues.and_then(|queues| queues.iter().find(|found| found["name"] == queue));
            found.cloned().unwrap_or_default()
        }))
    }

    /// Asks the broker. None if it has no answer.
    async fn ask(&mut self, operation: &str, arguments: &Value) -> Result<Option<Value>, Trouble> {
        let mut headers = OrderedMap::new();
        for (name, value) in [
            ("_AMQ_ResourceName", "broker"),
            ("_AMQ_OperationName", operation),
        ] {
            headers.insert(name.to_owned(), SimpleValue::String(value.to_owned()));
        }
        let question = AmqpMessage::builder()
            .properties(Properties::builder().reply_to(self.replies.clone()).build())
            .application_properties(ApplicationProperties(headers))
            .value(arguments.to_string())
            .build();
        let asking = async {
            match self.questions.sender.send(Sendable::from(question)).await {
                Ok(Outcome::Accepted(_)) => {}
                _ => return None,
            }
            let answer = self.answers.receiver.recv::<Batch<Data>>().await.ok()?;
            self.answers.receiver.accept(&answer).await.ok()?;
            Some(answer)
        };
        let answer = self.link.ask("answer about its queues", asking).await?;
        let value = answer.and_then(|answer| read_answer(payload(answer)));
        if value.is_none() {
            tracing::info!(operation, "the broker has no answer about its queues");
        }
        Ok(value)
    }

    /// Stops asking.
    pub(super) async fn close(self) {
        self.questions.close().await;
        self.answers.close().await;
    }
}

/// Returns the bytes of a message.
pub(super) fn payload(delivery: Delivery<Batch<Data>>) -> Bytes {
    let mut parts: Vec<Data> = delivery.into_body().into();
    match &mut parts[..] {
        [one] => std::mem::take(&mut one.0).into_vec().into(),
        several => {
            let several: Vec<&[u8]> = several.iter().map(|part| &part.0[..]).collect();
            several.concat().into()
        }
    }
}

/// Reads `["…"]`, with JSON as its text.
fn read_answer(payload: Bytes) -> Option<Value> {
    let answer = message::from_payload(0, payload);
    let succeeded = answer.headers.iter().find(|(name, _)| name == SUCCEEDED);
    if succeeded.is_none_or(|(_, value)| &value[..] != b"true") {
        return None;
    }
    let answers: Vec<String> = serde_json::from_slice(&answer.body).ok()?;
    serde_json::from_str(answers.first()?).ok()
}

/// Says how a queue loses messages. Artemis writes all of its properties as text.
fn loss_of_queue(queue: &Value) -> Option<&'static str> {
    let is = |name: &str, value: &str| queue[name] == value;
    if is("durable", "false") || is("temporary", "true") {
        return Some("is not durable: its messages are lost when Artemis restarts");
    }
    if is("purgeOnNoConsumers", "true") {
        return Some("has purge-on-no-consumers: it loses its messages when the binding pauses");
    }
    if is("lastValue", "true") {
        return Some("has last-value: it loses messages that a later one replaces");
    }
    if queue["ringSize"].as_str().is_some_and(|size| size != "-1") {
        return Some("has a ring-size: it loses its oldest messages when it is full");
    }
    None
}

/// Says how the settings of an address lose messages. Those that are as Artemis is delivered are left out.
fn loss_of_settings(settings: &Value) -> Option<&'static str> {
    if settings["addressFullMessagePolicy"] == "DROP" {
        return Some("has the address-full-policy DROP: it loses messages when it is full");
    }
    let delays = ["expiryDelay", "maxExpiryDelay"];
    if delays
        .iter()
        .any(|name| settings[name].as_i64().is_some_and(|delay| delay >= 0))
    {
        return Some("has an expiry-delay: it loses messages that wait too long");
    }
    let dead_letters = settings["deadLetterAddress"].as_str().unwrap_or_default();
    if settings["maxDeliveryAttempts"] != -1 && dead_letters.is_empty() {
        return Some(
            "has a limit of deliveries and no dead-letter-address: it loses messages that were delivered too often. \
             Give it that address, or max-delivery-attempts -1",
        );
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queues_that_lose_messages_are_seen() {
        let fit = json!({"durable": "true", "temporary": "false", "purgeOnNoConsumers": "false",
            "lastValue": "false", "ringSize": "-1"});
        assert_eq!(loss_of_queue(&fit), None);
        for (name, value, why) in [
            ("durable", "false", "durable"),
            ("temporary", "true", "durable"),
            ("purgeOnNoConsumers", "true", "purge"),
            ("lastValue", "true", "last-value"),
            ("ringSize", "5", "ring-size"),
        ] {
            let mut unfit = fit.clone();
            unfit[name] = value.into();
            let found = loss_of_queue(&unfit).expect("it loses messages");
            assert!(found.contains(why), "{name}: {found}");
        }
    }

    #[test]
    fn settings_that_lose_messages_are_seen() {
        let fit = json!({"addressFullMessagePolicy": "PAGE", "maxDeliveryAttempts": 10,
            "deadLetterAddress": "DLQ"});
        assert_eq!(loss_of_settings(&fit), None);
        assert_eq!(loss_of_settings(&json!({"maxDeliveryAttempts": -1})), None);
        for (name, value, why) in [
            ("addressFullMessagePolicy", json!("DROP"), "DROP"),
            ("expiryDelay", json!(60_000), "expiry-delay"),
            ("maxExpiryDelay", json!(0), "expiry-delay"),
            ("deadLetterAddress", json!(""), "dead-letter-address"),
        ] {
            let mut unfit = fit.clone();
            unfit[name] = value;
            let found = loss_of_settings(&unfit).expect("it loses messages");
            assert!(found.contains(why), "{name}: {found}");
        }
    }
}
