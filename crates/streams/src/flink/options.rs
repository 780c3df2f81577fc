//! Where the events are, and where the rows go.

use crate::stream::DefinitionError;

/// Longest name of a topic.
const TOPIC_BYTES_MAX: usize = 249;

/// Where the events are, and where the rows go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Kafka, as `host:port,host:port`.
    pub brokers: String,
    /// Topics with the events, one at least.
    pub topics: Vec<String>,
    /// Where the rows go.
    pub sink: Sink,
    /// How much later than a younger event an event may come out of Kafka, beside the lateness of the stream, in seconds.
    pub disorder_seconds: u64,
}

/// Where the rows go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sink {
    /// A topic in which the key of a message is the key of the row and the end of its window: a repeated row replaces itself.
    UpsertKafka(String),
    /// A topic whose messages have no key.
    Kafka(String),
    /// Files of JSON in a folder.
    Filesystem(String),
}

impl Options {
    /// Refuses names that would be more than a name in SQL.
    ///
    /// # Errors
    /// The option that is wrong.
    pub(super) fn check(&self) -> Result<(), DefinitionError> {
        if self.topics.is_empty() {
            return Err(DefinitionError::new("topic", "there is none", "give one"));
        }
        for topic in &self.topics {
            check_topic("topic", topic)?;
        }
        match &self.sink {
            Sink::UpsertKafka(topic) | Sink::Kafka(topic) => check_topic("sink_topic", topic)?,
            Sink::Filesystem(path) => check_text("path", path)?,
        }
        check_text("brokers", &self.brokers)
    }
}

fn check_topic(option: &str, topic: &str) -> Result<(), DefinitionError> {
    let is_letter = |letter: u8| letter.is_ascii_alphanumeric() || b"._-".contains(&letter);
    match (1..=TOPIC_BYTES_MAX).contains(&topic.len()) && topic.bytes().all(is_letter) {
        true => Ok(()),
        false => Err(DefinitionError::new(
            option,
            format!("{topic:?} is no name of a topic"),
            format!("give 1 to {TOPIC_BYTES_MAX} of a-z A-Z 0-9 . _ -"),
        )),
    }
}

/// Options of a table are plain literals.
fn check_text(option: &str, text: &str) -> Result<(), DefinitionError> {
    match !text.is_empty() && text.bytes().all(|letter| letter.is_ascii_graphic()) {
        true => Ok(()),
        false => Err(DefinitionError::new(
            option,
            format!("{text:?} has other letters than printable ASCII, or none"),
            "choose another one",
        )),
    }
}
