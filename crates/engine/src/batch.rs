//! A batch of decided records, on its way from the writer through the journal to readers and callers.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use tributary_journal::{FrameBuilder, FrameRef, Versions, lock, read_lock, write_lock};
use tributary_ledger::codec::Record;

use crate::failure::Failure;
use crate::payload;
use crate::versions::NEWEST;

/// Maximum number of frames kept for reuse: as many as are filled, written, published and answered from at once.
const FRAMES_KEPT: usize = 4;

/// A batch of decided records: the frame on its way to the journal, shared by the threads that write, publish and answer.
pub struct Batch {
    first_position: u64,
    len: usize,
    changes_settings: bool,
    frame: RwLock<FrameBuilder>,
    frames: Arc<Frames>,
}

/// Frames for reuse: fresh memory is slow at first touch.
#[derive(Default)]
pub(crate) struct Frames(Mutex<Vec<FrameBuilder>>);

impl Frames {
    /// An empty frame.
    pub(crate) fn begin(
        &self,
        first_position: u64,
        timestamp: u64,
        versions: Versions,
    ) -> FrameBuilder {
        let spare = self.spare().pop();
        match spare {
            None => FrameBuilder::new(first_position, timestamp, versions),
            Some(mut frame) => {
                frame.reset(first_position, timestamp, versions);
                frame
            }
        }
    }

    fn spare(&self) -> MutexGuard<'_, Vec<FrameBuilder>> {
        lock(&self.0)
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        let frame = self.frame.get_mut();
        let frame = frame.unwrap_or_else(PoisonError::into_inner);
        let mut spare = self.frames.spare();
        if spare.len() < FRAMES_KEPT {
            spare.push(std::mem::replace(frame, FrameBuilder::new(1, 0, NEWEST)));
        }
    }
}

impl Batch {
    pub(crate) fn new(frame: FrameBuilder, changes_settings: bool, frames: Arc<Frames>) -> Batch {
        Batch {
            first_position: frame.first_position(),
            len: frame.count() as usize,
            changes_settings,
            frame: RwLock::new(frame),
            frames,
        }
    }

    /// A batch of the records of a frame that another node decided.
    pub(crate) fn of_sealed(frame: &FrameRef<'_>, frames: Arc<Frames>) -> Result<Batch, Failure> {
        let mut changes_settings = false;
        for record in frame.records() {
            let record = payload::parse_record(record.position(), record.payload())?;
            changes_settings |= record.setting_change().is_some();
        }
        let frame = FrameBuilder::from_sealed(frame);
        Ok(Batch::new(frame, changes_settings, frames))
    }

    /// Returns the position of the first record.
    pub fn first_position(&self) -> u64 {
        self.first_position
    }

    /// Returns the number of records.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the batch holds no record: its callers wait for earlier batches.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether a record of the batch changes a setting. Nearly always false, so that nobody need look for one.
    pub fn changes_settings(&self) -> bool {
        self.changes_settings
    }

    /// Returns the position of the last record; of an empty batch, of the record before the batch.
    pub fn last_position(&self) -> u64 {
        self.first_position + self.len as u64 - 1
    }

    /// Whether the batch holds the record at `position`.
    pub fn holds(&self, position: u64) -> bool {
        position >= self.first_position && position - self.first_position < self.len as u64
    }

    /// Returns the frame. Waits while the backend seals and writes the frame.
    pub fn frame(&self) -> RwLockReadGuard<'_, FrameBuilder> {
        read_lock(&self.frame)
    }

    /// Returns the frame, to be sealed.
    pub fn frame_mut(&self) -> RwLockWriteGuard<'_, FrameBuilder> {
        write_lock(&self.frame)
    }

    /// Decodes the record with this index.
    pub fn record(&self, index: usize) -> Record {
        payload::decode_record(
            self.first_position + index as u64,
            self.frame().payload(index),
        )
        .expect("what was encoded here can be decoded")
    }

    /// Decodes all records, in order.
    pub fn records(&self) -> Vec<Record> {
        (0..self.len).map(|index| self.record(index)).collect()
    }
}
