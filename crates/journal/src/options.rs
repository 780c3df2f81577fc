//! Options and errors of a journal.

use std::io;
use std::sync::Arc;

use crate::head::{Damage, SharedLog};

/// Extracts the index keys of a record: called with a payload and a function that receives each 64-bit key hash. Must give the
/// same keys for the same payload for ever.
pub type KeyExtractor = Arc<dyn Fn(&[u8], &mut dyn FnMut(u64)) + Send + Sync>;

/// Minimum size of a segment, bytes.
pub const SEGMENT_BYTES_MIN: u64 = 16 * 1024;
/// Maximum size of a segment, bytes: offsets within a segment have 32 bits.
pub const SEGMENT_BYTES_MAX: u64 = 2 * 1024 * 1024 * 1024;

/// Size of the first segment in bytes: small, so that a growing journal is soon in the next segment, to which zeros were written
/// ahead.
pub(crate) const FIRST_SEGMENT_BYTES: u64 = 16 << 20;

/// Options of a journal's storage.
#[derive(Clone, Debug)]
pub struct Options {
    /// Bytes of each new segment file, a multiple of 4,096, [`SEGMENT_BYTES_MIN`] ..= [`SEGMENT_BYTES_MAX`].
    /// A frame must fit into a segment: sizes below 8 MiB are for tests.
    pub segment_bytes: u64,
    /// Bytes of the disk that stay free for index and checkpoints: no segment is reserved that would take them.
    pub reserve_bytes: u64,
    /// Id of the shared log whose mirror is opened; none for a journal of its own. A journal that is anything else is not opened.
    pub shared_log: Option<[u8; 16]>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            segment_bytes: 256 * 1024 * 1024,
            reserve_bytes: 128 * 1024 * 1024,
            shared_log: None,
        }
    }
}

/// Space on a disk, bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// Bytes that are free.
    pub free_bytes: u64,
    /// Bytes that must be free before the next segment is reserved.
    pub needed_bytes: u64,
}

impl Options {
    /// Returns the bytes that must be free before another segment is reserved.
    #[must_use]
    pub fn bytes_to_grow(&self) -> u64 {
        self.segment_bytes.saturating_add(self.reserve_bytes)
    }

    /// Returns the bytes that must be free where a new journal is to take records.
    #[must_use]
    pub fn bytes_to_begin(&self) -> u64 {
        let first = self.segment_bytes.min(FIRST_SEGMENT_BYTES);
        self.bytes_to_grow().saturating_add(first)
    }

    pub(crate) fn check(&self) -> Result<(), OpenError> {
        let sound = self.segment_bytes.is_multiple_of(4096)
            && (SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX).contains(&self.segment_bytes);
        if sound {
            Ok(())
        } else {
            Err(OpenError::Options("segment_bytes is out of bounds"))
        }
    }
}

/// Why a journal cannot be opened or created.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has the journal open, or this process has it open already.
    #[error("the journal is in use by another process")]
    Locked,
    /// There is no journal in the directory.
    #[error("there is no journal in the directory")]
    NotFound,
    /// There is a journal in the directory already.
    #[error("there is a journal in the directory already")]
    AlreadyExists,
    /// Acknowledged data is damaged. Nothing was changed.
    #[error(transparent)]
    Damaged(#[from] Damage),
    /// A file is of a newer format than this code knows. Nothing was changed.
    #[error("{file} is of format version {version}, which a newer version of this program wrote")]
    Unsupported {
        /// The file, relative to the journal's directory.
        file: String,
        /// Version of the file.
        version: u16,
    },
    /// The journal belongs to a shared log, or to another one, or to none: what is in it is not for the caller to decide.
    #[error("{}", another_log(.0))]
    AnotherLog(Option<SharedLog>),
    /// An option is out of bounds.
    #[error("{0}")]
    Options(&'static str),
    /// The storage failed.
    #[error("the storage failed: {0}")]
    Io(#[from] io::Error),
}

fn another_log(found: &Option<SharedLog>) -> String {
    match found {
        Some(log) if log.is_moving => format!(
            "the journal is on its way onto the shared log {}",
            hex::encode(log.id)
        ),
        Some(log) => format!(
            "the journal is a mirror of the shared log {}",
            hex::encode(log.id)
        ),
        None => "the journal is no mirror of a shared log".to_owned(),
    }
}

/// Why a frame was not appended.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// There is no room on the disk. Nothing of the frame remains, and the caller may retry later.
    #[error("there is no space on the disk for another frame")]
    StorageFull,
    /// The frame does not fit into a segment, which happens only with small segments. Nothing changed.
    #[error("the frame is larger than a segment")]
    TooLarge,
    /// The frame does not follow the head, or its bytes are bad. Nothing changed.
    #[error("{0}")]
    Refused(&'static str),
    /// A write or sync failed. Whether the frame is durable is unknown, and the writer cannot be used any more.
    #[error("the journal failed: {0}")]
    Fatal(io::Error),
}

/// Why a read failed.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The stored bytes are not the bytes that were written.
    #[error(transparent)]
    Damaged(#[from] Damage),
    /// The storage failed.
    #[error("the storage failed: {0}")]
    Io(#[from] io::Error),
}
