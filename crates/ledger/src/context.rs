//! The position and the time of a decision.

/// Where and when a command is decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Context {
    /// Position of its record, from 1.
    pub position: u64,
    /// Nanoseconds since the Unix epoch; never before that of the record before.
    pub timestamp: u64,
}
