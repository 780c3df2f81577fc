//! Why a definition is refused, why a stream stops, and why a checkpoint is not restored.

use crate::expression::EvaluationError;

/// A field of a definition that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{field}`: {problem}; {advice}")]
pub struct DefinitionError {
    /// Path of the field in the definition, such as `from[0].where`.
    pub field: String,
    /// What is wrong with it.
    pub problem: String,
    /// What to do.
    pub advice: String,
}

impl DefinitionError {
    pub(crate) fn new(
        field: impl Into<String>,
        problem: impl Into<String>,
        advice: impl Into<String>,
    ) -> DefinitionError {
        DefinitionError {
            field: field.into(),
            problem: problem.into(),
            advice: advice.into(),
        }
    }
}

/// A stream that stopped: at which record, and why. Payments go on without it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("stream `{stream}` stopped at position {position}: {why}")]
pub struct Stopped {
    /// Name of the stream.
    pub stream: String,
    /// Position of the record that could not be taken. The state before it is the last checkpoint's.
    pub position: u64,
    /// The reason.
    pub why: StopReason,
}

/// Why a stream stopped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StopReason {
    /// The time of a record is before that of an earlier record.
    #[error(
        "the journal's time went back from {from} to {to} ns; report this as a fault of the program"
    )]
    TimeWentBack {
        /// Time of the latest record, in nanoseconds.
        from: i64,
        /// Time of this record, in nanoseconds.
        to: i64,
    },
    /// A time is so far from 1970 that intervals around it cannot be computed.
    #[error("the time {0} is outside of the years 1824 to 2116; refuse such events by `where`")]
    TimeOutOfRange(i64),
    /// A condition or an input of an aggregate has no value for an event.
    #[error("`{field}` has no value: {error}")]
    Evaluation {
        /// Path of the field of the definition.
        field: String,
        /// The problem.
        error: EvaluationError,
    },
    /// An event lacks a field of the key.
    #[error(
        "the event has no value for the key field `{0}`; refuse such events by `where` with has()"
    )]
    MissingKey(String),
    /// The values of a key are too long together.
    #[error("a key of {bytes} bytes, at most {max}; choose shorter fields as key")]
    KeyTooLong {
        /// Bytes of this key.
        bytes: usize,
        /// Maximum.
        max: usize,
    },
    /// A text that an aggregate reads is too long.
    #[error(
        "`{field}` is a text of {bytes} bytes, at most {max}; choose a shorter field, or refuse such events by `where`"
    )]
    ValueTooLong {
        /// The aggregate's expression.
        field: String,
        /// Bytes of this text.
        bytes: usize,
        /// Maximum.
        max: usize,
    },
    /// A sum is above or below what 64 bits hold.
    #[error("the sum `{0}` does not fit into 64 bits; choose a shorter window or a finer key")]
    SumOverflow(String),
    /// A window has too many distinct values.
    #[error(
        "`{name}` has more than {max} distinct values in one window (bounds.distinct_values_max)"
    )]
    DistinctValues {
        /// Name of the aggregate.
        name: String,
        /// Maximum.
        max: usize,
    },
    /// Too many events wait for the watermark. It stops nothing but the look-up of a figure.
    #[error(
        "more than {max} events wait for the watermark, too many to look a figure up; choose a shorter lateness"
    )]
    LookTooLong {
        /// Maximum.
        max: usize,
    },
    /// A bound of the state is reached.
    #[error(
        "more than {max} {what} (bounds.{bound}); raise the bound, choose fewer keys or shorter windows"
    )]
    Bound {
        /// What is counted.
        what: &'static str,
        /// Name of the bound.
        bound: &'static str,
        /// Maximum.
        max: usize,
    },
    /// Results are made faster than they are published.
    #[error(
        "more than {max} {what} wait to be published; choose longer windows, fewer keys or a narrower `having`, or raise bounds.events_per_second"
    )]
    Waiting {
        /// What is counted.
        what: &'static str,
        /// Maximum.
        max: usize,
    },
}

/// Why a checkpoint is not restored. The stream can be built again from the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// The bytes were changed or cut.
    #[error(
        "the checkpoint is damaged: its checksum differs; build the stream again from the journal"
    )]
    Damaged,
    /// The format is that of another version of the program.
    #[error(
        "the checkpoint has a format of another version; build the stream again from the journal"
    )]
    Format,
    /// The checkpoint belongs to another stream or to another version of its definition.
    #[error(
        "the checkpoint is of another stream or version; build the stream again from the journal"
    )]
    OtherStream,
}
