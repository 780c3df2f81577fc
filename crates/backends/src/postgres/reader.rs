//! Reads of durable records, over connections of their own.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use tributary_engine::{Failure, FrameRef, Head, JournalMeta, JournalReader};

use super::session::{Link, Sessions, failure};
use super::turn::int8;

/// Connections for reading.
pub(super) const CONNECTIONS: usize = 4;
/// Bytes of frames kept in memory, because neighbours in time are read together.
const FRAME_CACHE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Positions of one key fetched at a time.
const FOUND_AT_ONCE: i64 = 64;

const FRAME_OF: &str = "SELECT bytes FROM frames WHERE first_position <= $1 \
    ORDER BY first_position DESC LIMIT 1";
const FIND: &str = "SELECT position FROM keys WHERE hash = $1 AND position <= $2 \
    ORDER BY position DESC LIMIT $3";

/// A verified frame, and where in it each record's payload is.
struct Frame {
    bytes: Vec<u8>,
    first_position: u64,
    payloads: Vec<(u32, u32)>,
}

impl Frame {
    fn verified(bytes: Vec<u8>) -> Result<Frame, &'static str> {
        let frame = FrameRef::parse(&bytes).map_err(|bad| bad.0)?;
        frame.verify_content().map_err(|bad| bad.0)?;
        let start = bytes.as_ptr().addr();
        let place = |payload: &[u8]| {
            let at = payload.as_ptr().addr() - start;
            (at as u32, payload.len() as u32)
        };
        let payloads = frame
            .records()
            .map(|record| place(record.payload()))
            .collect();
        let first_position = frame.header().first_position;
        Ok(Frame {
            first_position,
            payloads,
            bytes,
        })
    }

    fn payload(&self, position: u64) -> Option<&[u8]> {
        let index = usize::try_from(position.checked_sub(self.first_position)?).ok()?;
        let (at, len) = *self.payloads.get(index)?;
        Some(&self.bytes[at as usize..][..len as usize])
    }
}

/// Frames read of late. They never change, so a cached one is never stale.
#[derive(Default)]
struct Cache {
    frames: BTreeMap<u64, (u64, Arc<Frame>)>,
    bytes: usize,
    clock: u64,
}

impl Cache {
    fn get(&mut self, position: u64) -> Option<Arc<Frame>> {
        self.clock += 1;
        let (used, frame) = self.frames.range_mut(..=position).next_back()?.1;
        frame.payload(position)?;
        *used = self.clock;
        Some(frame.clone())
    }

    fn put(&mut self, frame: Arc<Frame>) {
        self.clock += 1;
        self.bytes += frame.bytes.len();
        if let Some((_, before)) = self
            .frames
            .insert(frame.first_position, (self.clock, frame))
        {
            self.bytes -= before.bytes.len();
        }
        while self.bytes > FRAME_CACHE_BYTES_MAX {
            let oldest = self.frames.iter().min_by_key(|(_, (used, _))| *used);
            let oldest = *oldest.expect("bytes are those of frames").0;
            let (_, gone) = self.frames.remove(&oldest).expect("just found");
            self.bytes -= gone.bytes.len();
        }
    }
}

/// What is durable, as far as this node knows.
pub(super) struct Stored {
    pool: Sessions,
    head: RwLock<Head>,
    meta: JournalMeta,
    cache: Mutex<Cache>,
}

impl Stored {
    pub(super) fn new(pool: Sessions, head: Head, meta: JournalMeta) -> Stored {
        Stored {
            pool,
            head: RwLock::new(head),
            meta,
            cache: Mutex::default(),
        }
    }

    pub(super) fn set_head(&self, head: Head) {
        *self.head.write().unwrap_or_else(PoisonError::into_inner) = head;
    }

    /// Runs one read. A connection that died while nobody used it is replaced once.
    fn ask<R: Send + 'static>(
        &self,
        read: impl Fn(&mut Link) -> Result<R, Failure> + Send + 'static,
    ) -> Result<R, Failure> {
        self.pool.run(move |link| {
            let once = |link: &mut Link| {
                link.client()?;
                read(link)
            };
            match once(link) {
                Err(Failure::Unavailable(_)) if link.is_lost() => once(link),
                other => other,
            }
        })
    }

    /// The frame that holds `position`, which must not be beyond the head.
    fn frame_of(&self, position: u64) -> Result<Arc<Frame>, Failure> {
        if let Some(frame) = self
            .cache
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(position)
        {
            return Ok(frame);
        }
        let bytes = self.ask(move |link| {
            let (client, statement) = link.prepared(FRAME_OF)?;
            let row = client
                .query_opt(&statement, &[&int8(position)])
                .map_err(failure)?;
            Ok(row.map(|row| row.get::<_, Vec<u8>>(0)))
        })?;
        let damaged = |what: &str| Failure::RecordDamaged {
            position,
            what: what.into(),
        };
        let frame = Frame::verified(bytes.ok_or_else(|| damaged("its frame is missing"))?)
            .map_err(damaged)?;
        if frame.payload(position).is_none() {
            return Err(damaged("its frame is missing"));
        }
        let frame = Arc::new(frame);
        self.cache
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .put(frame.clone());
        Ok(frame)
    }

    fn is_beyond(&self, position: u64) -> bool {
        position == 0 || position > self.head().position
    }
}

impl JournalReader for Stored {
    fn head(&self) -> Head {
        *self.head.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self, position: u64, payload: &mut Vec<u8>) -> Result<bool, Failure> {
        payload.clear();
        if self.is_beyond(position) {
            return Ok(false);
        }
        let frame = self.frame_of(position)?;
        payload.extend_from_slice(
            frame
                .payload(position)
                .expect("frame_of checks that it is there"),
        );
        Ok(true)
    }

    fn find(
        &self,
        key_hash: u64,
        found: &mut dyn FnMut(u64) -> ControlFlow<()>,
    ) -> Result<(), Failure> {
        let mut through = int8(self.head().position);
        loop {
            let positions = self.ask(move |link| {
                let (client, statement) = link.prepared(FIND)?;
                let rows = client
                    .query(
                        &statement,
                        &[&key_hash.cast_signed(), &through, &FOUND_AT_ONCE],
                    )
                    .map_err(failure)?;
                Ok(rows
                    .iter()
                    .map(|row| row.get::<_, i64>(0))
                    .collect::<Vec<_>>())
            })?;
            for &position in &positions {
                if found(position.cast_unsigned()).is_break() {
                    return Ok(());
                }
                through = position - 1;
            }
            if (positions.len() as i64) < FOUND_AT_ONCE {
                return Ok(());
            }
        }
    }

    fn frame(&self, position: u64) -> Result<Option<Vec<u8>>, Failure> {
        if self.is_beyond(position) {
            return Ok(None);
        }
        Ok(Some(self.frame_of(position)?.bytes.clone()))
    }

    fn meta(&self) -> JournalMeta {
        self.meta.clone()
    }
}
