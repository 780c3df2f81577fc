//! The port to a shared log: an existing store that keeps entries in one order and tells whoever appended one that it will stay.
//!
//! # The contract
//! 1. Entries have the offsets 0, 1, 2 …; a reader gets them in this order and never steps over a missing one.
//! 2. What was read in one session, at offsets up to that of an entry which was acknowledged in the same session, stays: at the same
//!    offsets, with the same bytes, for every reader, through every failure that the log promises to survive.
//! 3. What was only read proves nothing: after a failover, other entries may be there.
//! 4. A lost connection ends the session. The next call that needs one begins the next.
//! 5. [`Appended::Lost`] is said only of an entry that is not in the log and never will be. In doubt the answer is
//!    [`Appended::Unknown`], and then the entry may also appear later, even twice.

use std::time::Duration;

/// What became of an entry that was to be appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appended {
    /// The log has acknowledged the entry, at this offset.
    At(u64),
    /// The entry is certainly absent, and always will be: another entry took its place. Read on, and append again.
    Lost,
    /// The entry is there, or will be, or is not.
    Unknown,
}

/// Why a log can't be used now, or at all.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// The session has ended: the connection was lost. The next call connects again.
    #[error("the connection to the log was lost: {0}")]
    Disconnected(String),
    /// The log is set up so that it may lose what it has acknowledged. Says what to change.
    #[error("{0}")]
    Unfit(String),
}

/// A shared log, as one thread of a node uses it.
pub trait Log: Send {
    /// Returns the number of the session: another one after each loss of the connection. Connects if there is no session.
    ///
    /// # Errors
    /// If the log can't be reached, or is unfit.
    fn session(&mut self) -> Result<u64, LogError>;

    /// Reads entries from `offset` on into `entries`, in order and without a gap: at most about `bytes_max` bytes, but at least one
    /// entry if there is one. Waits for the first one for at most `wait`; none means that the end was reached.
    ///
    /// # Errors
    /// [`LogError::Disconnected`] if the session has ended. What was read before in this session is to be forgotten then, as far
    /// as it was not acknowledged.
    fn read(
        &mut self,
        offset: u64,
        bytes_max: usize,
        wait: Duration,
        entries: &mut Vec<Vec<u8>>,
    ) -> Result<(), LogError>;

    /// Appends an entry, and waits for at most `patience` until the log acknowledges it. `read` is how far this session has read: a log
    /// may append there and nowhere else, and say [`Appended::Lost`] if another entry is there.
    fn append(&mut self, read: u64, entry: &[u8], patience: Duration) -> Appended;

    /// Returns the time of the log, nanoseconds since the Unix epoch; none while the log has not told it. A log that can't be asked
    /// tells it with an acknowledgement, or with an entry that comes in while a reader waits for it.
    ///
    /// # Errors
    /// [`LogError::Disconnected`] if the session has ended.
    fn clock(&mut self) -> Result<Option<u64>, LogError>;

    /// Checks that the log keeps what it acknowledges.
    ///
    /// # Errors
    /// [`LogError::Unfit`] says which setting is unfit, and what it must be.
    fn check_settings(&mut self) -> Result<(), LogError>;
}
