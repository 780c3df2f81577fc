//! A cache of frames: what is matched and then handed out is read from the disk once.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use tributary_engine::{Failure, Reader};
use tributary_journal::{FrameRef, lock};

/// Maximum size of all cached frames, in bytes, unless the newest alone is larger.
const CACHED_BYTES_MAX: usize = 32 << 20;

/// Memory that a frame takes besides its bytes and the places of its records, in bytes.
const OVERHEAD_BYTES: usize = 256;

/// A frame of the journal and the places of its records.
#[derive(Debug)]
pub struct Frame {
    bytes: Vec<u8>,
    first: u64,
    /// Begin and end of the payload of each record.
    payloads: Vec<(u32, u32)>,
}

impl Frame {
    pub(crate) fn read(reader: &Reader, position: u64) -> Result<Frame, Failure> {
        let damaged = |what| Failure::RecordDamaged { position, what };
        let bytes = reader.frame(position)?;
        let bytes = bytes.ok_or_else(|| damaged("its frame is missing".into()))?;
        let frame = FrameRef::parse(&bytes).map_err(|error| damaged(error.to_string()))?;
        let first = frame.header().first_position;
        let place = |payload: &[u8]| {
            let from = payload.as_ptr().addr() - bytes.as_ptr().addr();
            let place = |at| u32::try_from(at).expect("frames are smaller");
            (place(from), place(from + payload.len()))
        };
        let payloads: Vec<_> = frame
            .records()
            .map(|record| place(record.payload()))
            .collect();
        let frame = Frame {
            first,
            payloads,
            bytes,
        };
        match frame.payload(position) {
            Some(_) => Ok(frame),
            None => Err(damaged("its frame does not hold it".into())),
        }
    }

    /// Approximate size in memory, in bytes.
    fn memory(&self) -> usize {
        OVERHEAD_BYTES + self.bytes.len() + self.payloads.len() * size_of::<(u32, u32)>()
    }

    /// Returns the records from the one at `from` on, each with its position.
    pub(crate) fn payloads_from(&self, from: u64) -> impl Iterator<Item = (u64, &[u8])> {
        let skip = usize::try_from(from.saturating_sub(self.first)).unwrap_or(usize::MAX);
        let payloads = self.payloads.iter().enumerate().skip(skip);
        payloads.map(|(index, &(begin, end))| {
            let payload = &self.bytes[begin as usize..end as usize];
            (self.first + index as u64, payload)
        })
    }

    /// Returns the position of the last record.
    pub fn last(&self) -> u64 {
        self.first + self.payloads.len() as u64 - 1
    }

    /// Whether the frame holds the record at `position`.
    pub fn holds(&self, position: u64) -> bool {
        (self.first..=self.last()).contains(&position)
    }

    /// Returns the payload of the record at `position`, if the frame holds it.
    #[inline]
    pub fn payload(&self, position: u64) -> Option<&[u8]> {
        let index = usize::try_from(position.checked_sub(self.first)?).ok()?;
        let &(from, to) = self.payloads.get(index)?;
        Some(&self.bytes[from as usize..to as usize])
    }
}

/// The frames that were read last.
#[derive(Debug, Default)]
pub(crate) struct FrameCache(Mutex<Cached>);

#[derive(Debug, Default)]
struct Cached {
    /// Frames by their first position.
    frames: BTreeMap<u64, Arc<Frame>>,
    /// First positions, in the order in which the frames came.
    order: VecDeque<u64>,
    bytes: usize,
}

impl Cached {
    fn find(&self, position: u64) -> Option<Arc<Frame>> {
        let (_, frame) = self.frames.range(..=position).next_back()?;
        frame.holds(position).then(|| frame.clone())
    }

    fn put(&mut self, frame: &Arc<Frame>) {
        if self.frames.insert(frame.first, frame.clone()).is_some() {
            return;
        }
        self.order.push_back(frame.first);
        self.bytes += frame.memory();
        while self.bytes > CACHED_BYTES_MAX && self.order.len() > 1 {
            let oldest = self.order.pop_front().expect("there are several");
            let oldest = self.frames.remove(&oldest).expect("each is there once");
            self.bytes -= oldest.memory();
        }
    }
}

impl FrameCache {
    fn lock(&self) -> MutexGuard<'_, Cached> {
        lock(&self.0)
    }

    /// Returns the frame that holds `position`, if it is cached. Never waits for the disk.
    pub(crate) fn cached(&self, position: u64) -> Option<Arc<Frame>> {
        self.lock().find(position)
    }

    /// Returns the frame that holds `position`, and caches it.
    pub(crate) fn get(&self, reader: &Reader, position: u64) -> Result<Arc<Frame>, Failure> {
        let frame = self.read(reader, position)?;
        self.insert(&frame);
        Ok(frame)
    }

    /// Returns the frame that holds `position`, and does not cache it.
    pub(crate) fn read(&self, reader: &Reader, position: u64) -> Result<Arc<Frame>, Failure> {
        match self.cached(position) {
            Some(frame) => Ok(frame),
            // Two may read the same frame at once: that is rare, and then nobody waits for the disk with the lock.
            None => Frame::read(reader, position).map(Arc::new),
        }
    }

    /// Caches a frame.
    pub(crate) fn insert(&self, frame: &Arc<Frame>) {
        self.lock().put(frame);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(first: u64, records: usize, bytes: usize) -> Arc<Frame> {
        Arc::new(Frame {
            bytes: vec![0; bytes],
            first,
            payloads: vec![(0, 1); records],
        })
    }

    #[test]
    fn what_was_read_last_is_kept_and_the_memory_is_bounded() {
        let frames = FrameCache::default();
        for first in 0..40_000 {
            frames.insert(&frame(first * 10, 8, 2_000));
            // Again, which changes nothing.
            frames.insert(&frame(first * 10, 8, 2_000));
            let kept = frames.lock();
            if first % 997 == 0 {
                let bytes: usize = kept.frames.values().map(|frame| frame.memory()).sum();
                assert_eq!((kept.bytes, kept.order.len()), (bytes, kept.frames.len()));
            }
            assert!(kept.bytes <= CACHED_BYTES_MAX);
            drop(kept);
            let found = |position| frames.cached(position).map(|frame| frame.first);
            assert_eq!(found(first * 10 + 7), Some(first * 10));
            assert_eq!(found(first * 10 + 8), None, "between two frames");
            if first > 100 {
                assert_eq!(found(first * 10 - 1_000), Some(first * 10 - 1_000));
            }
        }
        assert!(frames.cached(0).is_none(), "the oldest went");
        frames.insert(&frame(1_000_000, 1, 2 * CACHED_BYTES_MAX));
        assert!(frames.cached(1_000_000).is_some(), "however large it is");
        assert_eq!(frames.lock().frames.len(), 1);
    }

    #[test]
    fn records_of_a_frame_are_given_from_any_one_on() {
        let frame = frame(5, 3, 4);
        for (from, expected) in [(0, vec![5, 6, 7]), (6, vec![6, 7]), (8, vec![])] {
            let positions: Vec<u64> = frame.payloads_from(from).map(|(at, _)| at).collect();
            assert_eq!(positions, expected);
        }
    }
}
