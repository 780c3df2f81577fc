//! The position and the time of a decision.

/// Position and time at which a command is decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Context {
    /// Position of the record, from 1.
    pub position: u64,
    /// Time, nanoseconds since the Unix epoch; never before the time of the previous record.
    pub timestamp: u64,
}
