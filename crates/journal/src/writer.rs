//! The one writer.

use std::io;

use crate::frame::Builder;
use crate::head::Head;
use crate::meta::Meta;
use crate::options::AppendError;
use crate::reader::Reader;

/// The one that appends. Dropped without [`Writer::close`], everything acknowledged is still safe.
#[derive(Debug)]
pub struct Writer {}

impl Writer {
    /// The durable head.
    #[must_use]
    pub fn head(&self) -> Head {
        unimplemented!()
    }

    /// Seals (unless sealed on this head already), writes, syncs, indexes and then publishes a frame. The builder
    /// is left as it is, to be retried after [`AppendError::StorageFull`] or reset.
    ///
    /// # Errors
    /// After [`AppendError::Fatal`] every later call fails too; after the others nothing has changed.
    pub fn append(&mut self, _frame: &mut Builder) -> Result<Head, AppendError> {
        unimplemented!()
    }

    /// Appends a frame of another journal verbatim: it must follow this head and be whole. An epoch that it
    /// begins is begun here.
    ///
    /// # Errors
    /// As [`Writer::append`].
    pub fn append_sealed(&mut self, _bytes: &[u8]) -> Result<Head, AppendError> {
        unimplemented!()
    }

    /// Makes sure that the next `frames` frames, however large, find room; call it before deciding anything.
    ///
    /// # Errors
    /// [`AppendError::StorageFull`]: refuse commands and try again later.
    pub fn reserve(&mut self, _frames: u32) -> Result<(), AppendError> {
        unimplemented!()
    }

    /// Notes durably that everything up to the head is durable, so that even damage to the last frame is
    /// known from an unfinished write. Call when idle. Cheap when the head has not moved.
    ///
    /// # Errors
    /// [`AppendError::Fatal`].
    pub fn mark(&mut self) -> Result<(), AppendError> {
        unimplemented!()
    }

    /// Begins a new epoch at the next position: after restoring a backup. Gives its number.
    ///
    /// # Errors
    /// [`AppendError::StorageFull`] (nothing changed) or [`AppendError::Fatal`].
    pub fn new_epoch(&mut self) -> Result<u32, AppendError> {
        unimplemented!()
    }

    /// Who this journal is.
    #[must_use]
    pub fn meta(&self) -> Meta {
        unimplemented!()
    }

    /// A handle for reading.
    #[must_use]
    pub fn reader(&self) -> Reader {
        unimplemented!()
    }

    /// The background work: give it a thread of its own, or call it between appends.
    #[must_use]
    pub fn maintainer(&self) -> Maintainer {
        unimplemented!()
    }

    /// Marks the head and lets go of the directory. The lock goes with the last reader and maintainer.
    ///
    /// # Errors
    /// [`AppendError::Fatal`].
    pub fn close(self) -> Result<(), AppendError> {
        unimplemented!()
    }
}

/// The background work of a journal: reserves the next segment, writes index files of sealed segments and merges them.
#[derive(Debug)]
pub struct Maintainer {}

impl Maintainer {
    /// Does one piece of work. `Ok(false)`: nothing to do.
    ///
    /// # Errors
    /// [`io::ErrorKind::StorageFull`]: try again later. Any error leaves the journal as it was.
    pub fn step(&mut self) -> io::Result<bool> {
        unimplemented!()
    }
}
