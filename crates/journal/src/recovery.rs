//! Creating, opening and repairing.

use std::sync::Arc;

use crate::disk::Disk;
use crate::meta::Meta;
use crate::options::{KeysOf, OpenError, Options};
use crate::reader::Reader;
use crate::writer::Writer;

/// What opening found and did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Bytes of an unfinished, unacknowledged write that were zeroed; 0 after a clean stop.
    pub cut_bytes: u64,
    /// The file and offset where they began.
    pub cut_at: Option<(String, u64)>,
    /// Records verified, those of the active segment.
    pub records_verified: u64,
    /// Index files that were missing or damaged and were made anew from the segments.
    pub rebuilt: Vec<String>,
    /// Whether one of the two `synced` slots was unreadable (a torn write of a slot is harmless).
    pub synced_slot_damaged: bool,
}

/// Makes an empty journal. `meta` may bring the epochs of a journal that will be restored into it.
///
/// # Errors
/// [`OpenError::AlreadyExists`] and others; a crash half-way leaves a directory in which `create` works again.
pub fn create(_disk: &Arc<dyn Disk>, _options: &Options, _meta: &Meta) -> Result<(), OpenError> {
    unimplemented!()
}

/// Opens a journal, verifies its active segment, cuts an unfinished write and rebuilds lost index files.
///
/// # Errors
/// See [`OpenError`]; damage to acknowledged data is never repaired here, nor cut.
pub fn open(
    _disk: Arc<dyn Disk>,
    _options: Options,
    _keys_of: KeysOf,
) -> Result<(Writer, Reader, Recovery), OpenError> {
    unimplemented!()
}
