//! The port of a log beside the journal, for state that follows the commit and is neither money nor a setting.
//!
//! The log holds frames like the journal's: a snapshot, and what changed since. Each frame names the place of the journal that it
//! rests on, so that a log that is ahead of the journal, or belongs to another history, is told from one that can be used. Losing
//! the log, or its end, must cost repetitions only.

use std::io;

use tributary_journal::{FrameRef, Head};

use crate::backend::{JournalReader, Ticket};
use crate::failure::Failure;

/// Bytes of an encoded [`Basis`].
const BASIS_BYTES: usize = 40;

/// The place of the journal that a frame of another log rests on: the end of a frame of the journal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Basis {
    /// Position of the last record.
    pub position: u64,
    /// Hash of its frame; zeros before the first one.
    pub hash: [u8; 32],
}

impl From<Head> for Basis {
    fn from(head: Head) -> Basis {
        Basis {
            position: head.position,
            hash: head.hash,
        }
    }
}

impl Basis {
    /// Returns how a journal stands to this place.
    ///
    /// # Errors
    /// If the journal can't be read there.
    pub fn standing(&self, journal: &dyn JournalReader) -> Result<Standing, Failure> {
        if *self == Basis::default() {
            return Ok(Standing::Known);
        }
        if self.position > journal.head().position {
            return Ok(Standing::Ahead);
        }
        let Some(frame) = journal.frame(self.position)? else {
            return Ok(Standing::Foreign);
        };
        let frame = FrameRef::parse(&frame).map_err(|error| Failure::RecordDamaged {
            position: self.position,
            what: error.to_string(),
        })?;
        match Basis::from(frame.head()) == *self {
            true => Ok(Standing::Known),
            false => Ok(Standing::Foreign),
        }
    }

    pub(crate) fn encode(&self, into: &mut Vec<u8>) {
        into.extend_from_slice(&self.position.to_le_bytes());
        into.extend_from_slice(&self.hash);
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Basis> {
        let bytes: &[u8; BASIS_BYTES] = bytes.try_into().ok()?;
        let (position, hash) = bytes.split_first_chunk().expect("it is longer");
        Some(Basis {
            position: u64::from_le_bytes(*position),
            hash: hash.try_into().expect("the rest has 32 bytes"),
        })
    }
}

/// How the journal stands to a [`Basis`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The journal has it.
    Known,
    /// The journal does not reach as far yet.
    Ahead,
    /// The journal has something else there.
    Foreign,
}

/// What a [`LogVisitor`] makes of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Visited {
    /// It is taken in.
    Taken,
    /// It can't be read.
    Unreadable,
    /// It belongs to another journal.
    Foreign,
}

/// Takes in what is read of a [`FrameLog`].
pub trait LogVisitor {
    /// A snapshot begins: what was taken in before does not count.
    fn begin(&mut self);

    /// The next record. Unless it is taken in, neither it nor what follows counts.
    fn record(&mut self, payload: &[u8]) -> Visited;

    /// No more follows; false if what was taken in is not a whole snapshot, so that an older one must do.
    fn end(&mut self) -> bool;
}

/// A log beside the journal.
pub trait FrameLog: Send {
    /// Reads the newest snapshot that rests on the journal, by `standing`, and what follows it. Frames that are ahead of the
    /// journal wait: neither they nor what follows is read, nor removed. Gives what is set aside, and why, in words for the log.
    ///
    /// # Errors
    /// If the storage or the journal can't be read. Damage is none: it is set aside.
    fn read(
        &mut self,
        standing: &mut dyn FnMut(&Basis) -> Result<Standing, Failure>,
        visitor: &mut dyn LogVisitor,
    ) -> io::Result<Vec<String>>;

    /// Appends records that rest on `basis`. Unless they become durable, nothing can be appended before the next snapshot.
    fn append(&mut self, records: &[Vec<u8>], basis: Basis, now: u64) -> Ticket;

    /// Begins anew with a snapshot that rests on `basis`: what was before is not read any more once it is durable.
    fn begin(&mut self, snapshot: &[Vec<u8>], basis: Basis, now: u64) -> Ticket;

    /// Whether so much was appended that a new snapshot is worth its while.
    fn wants_snapshot(&self) -> bool;
}
