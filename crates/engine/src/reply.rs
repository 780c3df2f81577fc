//! Answers to callers.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use tributary_ledger::Rejection;
use tributary_ledger::codec::Record;

use crate::failure::Failure;
use crate::request::NotQueued;

/// What a refused caller is told to wait.
pub const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The answer to one command.
#[derive(Clone, Debug)]
pub enum Reply {
    /// The ledger decided the command. The decision is a record, accepted or rejected.
    Done {
        /// Record of the command.
        record: DurableRecord,
        /// Whether the command was decided before, under the same key.
        replayed: bool,
    },
    /// The idempotency key belongs to a different command, recorded at `position`.
    KeyConflict {
        /// Position of the record that took the key.
        position: u64,
    },
    /// Some keys of an all-or-nothing group were used before and others were not, or one stands twice in it.
    GroupKeyConflict,
    /// The queue did not take the payment of the command, or of another command of the group. Nothing is recorded, and the key stays
    /// free.
    NotQueued(NotQueued),
}

/// The answer to one command for callers who need no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BriefReply {
    /// The ledger decided the command.
    Done {
        /// Position of the record.
        position: u64,
        /// Reason of the ledger's refusal; none if the command was accepted.
        rejection: Option<Rejection>,
        /// Whether the command was decided before, under the same key.
        replayed: bool,
    },
    /// As [`Reply::KeyConflict`].
    KeyConflict {
        /// Position of the record that took the key.
        position: u64,
    },
    /// As [`Reply::GroupKeyConflict`].
    GroupKeyConflict,
    /// As [`Reply::NotQueued`].
    NotQueued(NotQueued),
}

/// A record that is durable. Clones share the record.
#[derive(Clone)]
pub struct DurableRecord(Arc<Record>);

impl DurableRecord {
    pub(crate) fn new(record: Record) -> DurableRecord {
        DurableRecord(Arc::new(record))
    }
}

impl Deref for DurableRecord {
    type Target = Record;

    fn deref(&self) -> &Record {
        &self.0
    }
}

impl std::fmt::Debug for DurableRecord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        (**self).fmt(f)
    }
}

/// Why commands were not taken. Nothing of them is recorded and their keys stay free, except after `Unavailable`: repeat the commands
/// under the same keys to learn what became of them.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Refused {
    /// Too many commands wait already.
    #[error("too many commands are waiting")]
    Overloaded {
        /// When to try again.
        retry_after: Duration,
    },
    /// The disk is full. The engine continues when space returns.
    #[error("the disk is full")]
    StorageFull,
    /// The engine is shutting down.
    #[error("the engine is stopping")]
    Stopping,
    /// More than [`crate::COMMANDS_PER_BATCH_MAX`] commands or [`crate::RECORD_BYTES_PER_REQUEST_MAX`] bytes of records.
    #[error("the batch is too large")]
    TooLarge,
    /// More than [`crate::RECORD_BYTES_PER_GROUP_MAX`] bytes of records in one all-or-nothing group.
    #[error("an all-or-nothing group is too large")]
    GroupTooLarge,
    /// A stored record that the commands need does not match its checksum.
    #[error("the record at position {position} is damaged: {what}")]
    RecordDamaged {
        /// Position of the record.
        position: u64,
        /// What is wrong with it.
        what: String,
    },
    /// The store failed while the commands were on their way.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
}

impl From<Failure> for Refused {
    fn from(failure: Failure) -> Refused {
        match failure {
            Failure::StorageFull => Refused::StorageFull,
            Failure::Stopping => Refused::Stopping,
            Failure::RecordDamaged { position, what } => Refused::RecordDamaged { position, what },
            other => Refused::Unavailable(other.to_string()),
        }
    }
}
