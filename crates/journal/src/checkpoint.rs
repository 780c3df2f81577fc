//! Checkpoints.

use std::io;
use std::sync::Arc;

use crate::disk::Disk;
use crate::head::Damage;

/// Writes one checkpoint, a record at a time; may live on its own thread.
#[derive(Debug)]
pub struct CheckpointWriter {}

impl CheckpointWriter {
    /// Begins a checkpoint that holds every change up to position `through`.
    ///
    /// # Errors
    /// Whatever the storage reports; [`io::ErrorKind::StorageFull`] may be tried again later.
    pub fn begin(_disk: Arc<dyn Disk>, _through: u64) -> io::Result<CheckpointWriter> {
        unimplemented!()
    }

    /// Adds a record of 1 byte to 1 MiB.
    ///
    /// # Errors
    /// As [`CheckpointWriter::begin`]; the unfinished file is removed on drop.
    pub fn push(&mut self, _record: &[u8]) -> io::Result<()> {
        unimplemented!()
    }

    /// Makes it durable and visible, and removes all but the newest two. Gives its size in bytes.
    ///
    /// # Errors
    /// As [`CheckpointWriter::begin`].
    pub fn finish(self) -> io::Result<u64> {
        unimplemented!()
    }
}

/// What loading gives.
#[derive(Debug)]
pub enum CheckpointItem<'a> {
    /// A checkpoint begins: forget everything received before (a newer one turned out to be damaged).
    Begin {
        /// It holds every change up to this position.
        through: u64,
    },
    /// A record, as pushed and in the same order.
    Record(&'a [u8]),
}

/// The result of loading.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckpointLoaded {
    /// The checkpoint that was loaded whole; `None`: there is none, forget everything received.
    pub through: Option<u64>,
    /// Newer checkpoints that turned out to be damaged.
    pub damaged: Vec<Damage>,
}

/// Loads the newest checkpoint that is whole and not beyond `head_position`, falling back to older ones.
///
/// # Errors
/// Only what the storage reports; damage is in the result.
pub fn load_latest_checkpoint(
    _disk: &dyn Disk,
    _head_position: u64,
    _item: &mut dyn FnMut(CheckpointItem<'_>),
) -> io::Result<CheckpointLoaded> {
    unimplemented!()
}
