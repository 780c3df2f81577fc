//! A stream as SQL of Apache Flink, over the topics that a sink to Kafka writes: one definition, two engines.
//!
//! Pure. What can't be said exactly is refused, with the field that is at fault and what to do. An event for which a part has no value
//! fails the job, as it stops the stream. docs/streams.md, "Moving to Flink", says what differs.

mod event;
mod options;
mod statements;
mod text;

use tributary_api::form::stream::StreamCreate;
use tributary_api::streaming::StreamTerms;

pub use self::options::{Options, Sink};

use crate::driver::definition::ready;
use crate::stream::DefinitionError;

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
    options.check()?;
    let ready = ready(name.to_owned(), terms)?;
    statements::write(name, terms, &ready, options)
}
