//! Why the store, or the engine itself, could not do as asked.

use tributary_journal::{ReadError, Versions};

use crate::versions::NEWEST;

/// Why a backend could not do as asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Failure {
    /// There is no room for another frame. Nothing was written; reads go on, and writes resume when space returns.
    #[error("no space is left for another frame of the journal")]
    StorageFull,
    /// A stored record does not match its checksum.
    #[error("the record at position {position} is damaged: {what}")]
    RecordDamaged {
        /// The position whose bytes are damaged.
        position: u64,
        /// What was wrong with it.
        what: String,
    },
    /// A record was written by a newer program.
    #[error(
        "the record at position {position} is of a newer version ({versions}) than this program knows ({NEWEST}): use the newer program"
    )]
    Newer {
        /// Position of the record.
        position: u64,
        /// Versions of the record.
        versions: Versions,
    },
    /// The store can't be reached now; nothing is known to be lost. The working set must be thrown away.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// The engine is shutting down.
    #[error("the engine is stopping")]
    Stopping,
    /// The process must stop: what is durable can no longer be known.
    #[error("the journal failed and the process must stop: {0}")]
    Fatal(String),
}

impl From<ReadError> for Failure {
    fn from(error: ReadError) -> Failure {
        match error {
            ReadError::Damaged(damage) => Failure::RecordDamaged {
                position: damage.position,
                what: damage.to_string(),
            },
            ReadError::Io(error) => Failure::Unavailable(error.to_string()),
        }
    }
}
