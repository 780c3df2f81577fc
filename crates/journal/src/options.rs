//! What a journal can be told, and what can go wrong with it as a whole.

use std::io;
use std::sync::Arc;

use crate::head::Damage;

/// Finds the index keys of a record: called with a payload and a sink for 64-bit key hashes. Must give the same
/// answer for the same payload for ever.
pub type KeyExtractor = Arc<dyn Fn(&[u8], &mut dyn FnMut(u64)) + Send + Sync>;

/// Smallest segment, bytes.
pub const SEGMENT_BYTES_MIN: u64 = 16 * 1024;
/// Largest segment, bytes: offsets within one are 32 bits.
pub const SEGMENT_BYTES_MAX: u64 = 2 * 1024 * 1024 * 1024;

/// How a journal is stored.
#[derive(Clone, Debug)]
pub struct Options {
    /// Bytes of each new segment file, a multiple of 4,096, [`SEGMENT_BYTES_MIN`] ..= [`SEGMENT_BYTES_MAX`].
    /// A frame must fit: segments below 8 MiB are for tests.
    pub segment_bytes: u64,
    /// Bytes that stay free for index and checkpoints: a new segment is reserved only above it.
    pub reserve_bytes: u64,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            segment_bytes: 256 * 1024 * 1024,
            reserve_bytes: 128 * 1024 * 1024,
        }
    }
}

impl Options {
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
    /// Another process, or another opener in this one, has it.
    #[error("the journal is in use by another process")]
    Locked,
    /// There is no journal in the directory.
    #[error("there is no journal here")]
    NotFound,
    /// `create` found a journal already.
    #[error("there is a journal here already")]
    AlreadyExists,
    /// Acknowledged data is damaged. Nothing was changed.
    #[error(transparent)]
    Damaged(#[from] Damage),
    /// A file is of a newer format than this code knows. Nothing was changed.
    #[error("{file} is of format version {version}, which this version cannot read")]
    Unsupported {
        /// The file, relative to the journal's directory.
        file: String,
        /// Its version.
        version: u16,
    },
    /// An option is out of bounds.
    #[error("{0}")]
    Options(&'static str),
    /// The storage failed.
    #[error("storage: {0}")]
    Io(#[from] io::Error),
}

/// Why a frame was not appended.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// No room on the disk. Nothing of the frame remains; may be retried later.
    #[error("no space left for the journal")]
    StorageFull,
    /// The frame does not fit a segment (only with small segments). Nothing changed.
    #[error("the frame is larger than a segment")]
    TooLarge,
    /// The frame does not follow the head, or its bytes are bad. Nothing changed.
    #[error("{0}")]
    Refused(&'static str),
    /// A write or sync failed: whether the frame is durable is unknown and the writer is of no use any more.
    #[error("the journal failed: {0}")]
    Fatal(io::Error),
}

/// Why a read failed.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// What is stored is not what was written.
    #[error(transparent)]
    Damaged(#[from] Damage),
    /// The storage failed.
    #[error("storage: {0}")]
    Io(#[from] io::Error),
}
