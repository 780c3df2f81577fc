//! Frames that were read lately: what is matched first and handed out then is read from the disk once.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tributary_journal::FrameRef;

use crate::backend::Failure;
use crate::read::Reader;

/// Frames that are kept, at most.
const FRAMES_KEPT: usize = 64;
/// Bytes of frames that are kept, at most, unless the newest alone is larger.
const BYTES_KEPT: usize = 32 << 20;

/// A frame and where its records are.
#[derive(Debug)]
pub struct Frame {
    bytes: Vec<u8>,
    first: u64,
    /// From where to where the payload of each record reaches.
    payloads: Vec<(u32, u32)>,
}

impl Frame {
    fn read(reader: &Reader, position: u64) -> Result<Frame, Failure> {
        let damaged = |what: String| Failure::RecordDamaged { position, what };
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

    /// The position of its last record.
    pub fn last(&self) -> u64 {
        self.first + self.payloads.len() as u64 - 1
    }

    /// Whether the record at `position` is in it.
    pub fn holds(&self, position: u64) -> bool {
        (self.first..=self.last()).contains(&position)
    }

    /// The payload of the record at `position`, if the frame holds it.
    #[inline]
    pub fn payload(&self, position: u64) -> Option<&[u8]> {
        let index = usize::try_from(position.checked_sub(self.first)?).ok()?;
        let &(from, to) = self.payloads.get(index)?;
        Some(&self.bytes[from as usize..to as usize])
    }
}

/// The frames that were read last, the newest first.
#[derive(Debug, Default)]
pub(crate) struct Frames(Mutex<VecDeque<Arc<Frame>>>);

impl Frames {
    fn lock(&self) -> MutexGuard<'_, VecDeque<Arc<Frame>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The frame that holds `position`, if it is kept. Never waits for the disk.
    pub(crate) fn kept(&self, position: u64) -> Option<Arc<Frame>> {
        let kept = self.lock();
        let frame = kept.iter().find(|frame| frame.holds(position));
        frame.cloned()
    }

    /// The frame that holds `position`.
    pub(crate) fn get(&self, reader: &Reader, position: u64) -> Result<Arc<Frame>, Failure> {
        if let Some(frame) = self.kept(position) {
            return Ok(frame);
        }
        // Two may read the same frame at once: that is rare, and then nobody waits for the disk with the lock.
        let frame = Arc::new(Frame::read(reader, position)?);
        let mut kept = self.lock();
        kept.retain(|other| other.first != frame.first);
        kept.push_front(frame.clone());
        let bytes = |kept: &VecDeque<Arc<Frame>>| kept.iter().map(|f| f.bytes.len()).sum::<usize>();
        while kept.len() > 1 && (kept.len() > FRAMES_KEPT || bytes(&kept) > BYTES_KEPT) {
            kept.pop_back();
        }
        Ok(frame)
    }
}
