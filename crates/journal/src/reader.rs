//! Reads.

use std::ops::ControlFlow;

use crate::head::Head;
use crate::meta::Meta;
use crate::options::ReadError;
use crate::scan::Scrubber;

/// Reads a journal up to its durable head, from any thread, without blocking the writer.
#[derive(Clone, Debug)]
pub struct Reader {}

/// Sizes of a journal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Segment files, the active one included.
    pub segments: u64,
    /// Bytes of frames in them, headers and padding included.
    pub segment_bytes: u64,
    /// Sorted index files.
    pub runs: u64,
    /// Entries in them.
    pub run_entries: u64,
    /// Sealed segments whose index is not yet written.
    pub runs_pending: u64,
    /// Bytes of memory held by the index and position tables.
    pub memory_bytes: u64,
}

impl Reader {
    /// The durable head.
    #[must_use]
    pub fn head(&self) -> Head {
        unimplemented!()
    }

    /// Reads the payload of a record into `buf` (cleared first). `Ok(false)`: beyond the head, or 0.
    ///
    /// # Errors
    /// [`ReadError::Damaged`] when its checksum does not match.
    pub fn read(&self, _position: u64, _buf: &mut Vec<u8>) -> Result<bool, ReadError> {
        unimplemented!()
    }

    /// Whole frames, verified, from the one that holds `from_position` (0 counts as 1) up to the head.
    #[must_use]
    pub fn frames(&self, _from_position: u64) -> Frames {
        unimplemented!()
    }

    /// Calls `found` with the positions of records that have the key, newest first, until it breaks. Every record
    /// with the key is given; one without it may be, when two keys have the same hash: look at the record.
    ///
    /// # Errors
    /// [`ReadError::Damaged`] when an index file is; the next maintenance or open rebuilds it.
    pub fn find(
        &self,
        _key_hash: u64,
        _found: &mut dyn FnMut(u64) -> ControlFlow<()>,
    ) -> Result<(), ReadError> {
        unimplemented!()
    }

    /// The newest position for each of many keys at once, 0 where there is none: faster than [`Reader::find`] in a
    /// loop, above all when most are missing. As there, a hit may be another key with the same hash.
    ///
    /// # Errors
    /// As [`Reader::find`].
    pub fn find_newest(&self, _key_hashes: &[u64], _newest: &mut Vec<u64>) -> Result<(), ReadError> {
        unimplemented!()
    }

    /// The epoch that a position belongs to, or would.
    #[must_use]
    pub fn epoch_of(&self, _position: u64) -> u32 {
        unimplemented!()
    }

    /// Who this journal is.
    #[must_use]
    pub fn meta(&self) -> Meta {
        unimplemented!()
    }

    /// Sizes.
    #[must_use]
    pub fn stats(&self) -> Stats {
        unimplemented!()
    }

    /// A background check of everything stored.
    #[must_use]
    pub fn scrubber(&self) -> Scrubber {
        unimplemented!()
    }
}

/// Iterator over whole frames; see [`Reader::frames`]. Its memory is bounded by one frame.
#[derive(Debug)]
pub struct Frames {}

impl Frames {
    /// The next frame; `None` at the durable head, and again `Some` once that has moved.
    ///
    /// # Errors
    /// [`ReadError::Damaged`]; the following call gives the same error.
    #[expect(clippy::should_implement_trait, reason = "the frame borrows the iterator's buffer")]
    pub fn next(&mut self) -> Result<Option<crate::frame::FrameRef<'_>>, ReadError> {
        unimplemented!()
    }
}
