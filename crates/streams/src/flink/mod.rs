//! A stream as SQL of Apache Flink, over the topics that a sink to Kafka writes: one definition, two engines.
//!
//! Pure. What can't be said exactly is refused, with the field that is at fault and what to do. An event for which a part has no value
//! fails the job, as it stops the stream. docs/streams.md, "Moving to Flink", says what differs.

mod event;
mod statements;
mod text;

use tributary_api::form::stream::StreamCreate;
use tributary_api::streaming::StreamTerms;

use crate::driver::definition::ready;
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

/// Returns what a form says, without what a stream does with its results: that is no part of the SQL.
#[must_use]
pub fn terms_of(form: StreamCreate) -> StreamTerms {
    StreamTerms {
        version: 1,
        from: form.from,
        data: form.data,
        key: form.key,
        time: form.time,
        window: form.window,
        emit: form.emit,
        having: form.having,
        publish: None,
        act: None,
        start: form.start.unwrap_or_default(),
        bounds: form.bounds.unwrap_or_default(),
        paused: None,
    }
}

/// Returns a stream as a file of SQL of Flink. Each statement ends with a semicolon at the end of a line, and no other line does.
///
/// # Errors
/// The field of the definition, or the option, that is wrong or can't be said in SQL.
pub fn sql(name: &str, terms: &StreamTerms, options: &Options) -> Result<String, DefinitionError> {
    check(options)?;
    let ready = ready(name.to_owned(), terms)?;
    statements::write(name, terms, &ready, options)
}

fn check(options: &Options) -> Result<(), DefinitionError> {
    if options.topics.is_empty() {
        return Err(DefinitionError::new("topic", "there is none", "give one"));
    }
    for topic in &options.topics {
        check_topic("topic", topic)?;
    }
    match &options.sink {
        Sink::UpsertKafka(topic) | Sink::Kafka(topic) => check_topic("sink_topic", topic)?,
        Sink::Filesystem(path) => check_text("path", path)?,
    }
    check_text("brokers", &options.brokers)
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
