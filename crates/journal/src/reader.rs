//! Reading durable records and frames.

use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use crate::bytes::{align_up, u32_at};
use crate::frame::{
    BadFrame, FRAME_HEADER_BYTES, FrameRef, MAGIC, RECORD_BYTES_MAX, RECORD_HEADER_BYTES,
    record_crc,
};
use crate::head::Head;
use crate::locks::read;
use crate::meta::Meta;
use crate::options::ReadError;
use crate::segment::{FrameReader, Segment};
use crate::shared::Shared;

/// Maximum distance in bytes between two sampled records that is read in one piece.
const SPAN_BYTES: u64 = 16 * 1024;

/// Reads a journal up to its durable head. Usable from any thread; never blocks the writer.
#[derive(Clone, Debug)]
pub struct Reader {
    shared: Arc<Shared>,
}

/// Sizes of a journal and of its index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JournalStats {
    /// Number of segment files, the active one included.
    pub segments: u64,
    /// Bytes of the frames in the segments, headers and padding included.
    pub segment_bytes: u64,
    /// Number of sorted index files.
    pub runs: u64,
    /// Number of entries in the index files.
    pub run_entries: u64,
    /// Number of sealed segments whose index is not written yet.
    pub runs_pending: u64,
    /// Bytes of memory that the index and the position tables hold.
    pub memory_bytes: u64,
}

impl Reader {
    pub(crate) fn new(shared: Arc<Shared>) -> Reader {
        Reader { shared }
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Returns the durable head.
    #[must_use]
    pub fn head(&self) -> Head {
        self.shared.head()
    }

    /// Reads the payload of the record at `position` into `buf`, which is cleared first. Returns false if the position is 0 or beyond
    /// the head.
    ///
    /// # Errors
    /// [`ReadError::Damaged`] when the checksum of the record does not match.
    pub fn read(&self, position: u64, buf: &mut Vec<u8>) -> Result<bool, ReadError> {
        let mut cache = ReadCache {
            bytes: std::mem::take(buf),
            ..ReadCache::default()
        };
        let found = self.find_record(position, &mut cache);
        *buf = cache.bytes;
        let payload = match found {
            Ok(Some(payload)) => payload,
            missing => {
                buf.clear();
                return missing.map(|_| false);
            }
        };
        let len = payload.len();
        buf.copy_within(payload, 0);
        buf.truncate(len);
        Ok(true)
    }

    /// Reads the payload of the record at `position` by way of `cache`: faster than [`Reader::read`] for a record near the one that was
    /// read with the same cache before. `None` if the position is 0 or beyond the head.
    ///
    /// # Errors
    /// As [`Reader::read`].
    pub fn read_cached<'a>(
        &self,
        position: u64,
        cache: &'a mut ReadCache,
    ) -> Result<Option<&'a [u8]>, ReadError> {
        let payload = self.find_record(position, cache)?;
        Ok(payload.map(|payload| &cache.bytes[payload]))
    }

    fn find_record(
        &self,
        position: u64,
        cache: &mut ReadCache,
    ) -> Result<Option<Range<usize>>, ReadError> {
        if position == 0 || position > self.shared.durable() {
            return Ok(None);
        }
        let (segment, _) = self
            .shared
            .segment_of(position)
            .expect("a published position has a segment");
        let same = |cached: &Arc<Segment>| Arc::ptr_eq(cached, &segment);
        if !cache.segment.as_ref().is_some_and(same) {
            cache.segment = Some(segment.clone());
            cache.bytes.clear();
        }
        find_record(&segment, position, cache).map(Some)
    }

    /// Returns the head as it was when `position` was the last one. `None` if no frame ends with `position`.
    ///
    /// # Errors
    /// [`ReadError::Damaged`] when the header of the frame does not match its checksum.
    pub fn head_at(&self, position: u64) -> Result<Option<Head>, ReadError> {
        if position == 0 || position > self.shared.durable() {
            return Ok((position == 0).then(Head::default));
        }
        let mut frames = self.frames(position);
        let (segment, offset) = frames.locate()?;
        match frames
            .reader
            .header(&*segment.file, offset, segment.end())?
        {
            Ok(header) => Ok((header.last_position() == position).then(|| header.head())),
            Err(bad) => Err(segment.damage(offset, position, bad.0).into()),
        }
    }

    /// Iterates over whole, verified frames, from the frame that holds `from_position` (0 counts as 1) up to the head.
    #[must_use]
    pub fn frames(&self, from_position: u64) -> FrameIter {
        FrameIter {
            shared: self.shared.clone(),
            next: from_position.max(1),
            place: None,
            prev: None,
            reader: FrameReader::default(),
        }
    }

    /// Returns the frame that holds `position`, after verifying its hash. `None` if the position is 0 or beyond the head.
    ///
    /// # Errors
    /// [`ReadError::Damaged`] when the frame is damaged.
    pub fn frame(&self, position: u64) -> Result<Option<Vec<u8>>, ReadError> {
        if position == 0 || position > self.shared.durable() {
            return Ok(None);
        }
        let mut frames = self.frames(position);
        frames.reader = FrameReader::for_one_frame();
        let (segment, offset) = frames.locate()?;
        let damage = |bad: BadFrame| segment.damage(offset, position, bad.0);
        let frame = frames.reader.frame(&*segment.file, offset, segment.end())?;
        let frame = frame.map_err(damage)?;
        frame.verify_hash().map_err(damage)?;
        let len = frame.bytes().len();
        Ok(Some(frames.reader.into_frame(offset, len)))
    }

    /// Calls `found` with the positions of records that have the key, newest first, until `found` breaks. Two keys can have the same
    /// hash, so a position may be of a record with another key: the caller must look at the record.
    ///
    /// # Errors
    /// [`ReadError::Damaged`] when an index file is damaged. The next maintenance or open rebuilds the file.
    pub fn find(
        &self,
        key_hash: u64,
        found: &mut dyn FnMut(u64) -> ControlFlow<()>,
    ) -> Result<(), ReadError> {
        let durable = self.shared.durable();
        self.shared.index().find(key_hash, durable, found)
    }

    /// Finds the newest position of each of many keys, 0 where there is none. Faster than [`Reader::find`] in a loop, above all when
    /// most keys are missing. As with [`Reader::find`], a position may be of a record with another key.
    ///
    /// # Errors
    /// As [`Reader::find`].
    pub fn find_newest(&self, key_hashes: &[u64], newest: &mut Vec<u64>) -> Result<(), ReadError> {
        let durable = self.shared.durable();
        self.shared.index().find_newest(key_hashes, durable, newest)
    }

    /// Returns the epoch that `position` belongs to, or will belong to.
    #[must_use]
    pub fn epoch_of(&self, position: u64) -> u32 {
        read(&self.shared.meta).epoch_of(position)
    }

    /// Returns the identity of the journal and its epochs.
    #[must_use]
    pub fn meta(&self) -> Meta {
        Meta::clone(&read(&self.shared.meta))
    }

    /// Returns the sizes of the journal and of its index.
    #[must_use]
    pub fn stats(&self) -> JournalStats {
        let segments = self.shared.segments();
        let view = self.shared.index();
        let tables = view.active.memory_bytes()
            + view
                .pending
                .iter()
                .map(|pending| pending.table.memory_bytes())
                .sum::<usize>()
            + view
                .runs
                .iter()
                .map(|run| run.memory_bytes())
                .sum::<usize>()
            + segments
                .iter()
                .map(|segment| segment.positions.memory_bytes())
                .sum::<usize>();
        JournalStats {
            segments: segments.len() as u64,
            segment_bytes: segments.iter().map(|segment| segment.end()).sum(),
            runs: view.runs.len() as u64,
            run_entries: view.runs.iter().map(|run| run.entries).sum(),
            runs_pending: view.pending.len() as u64,
            memory_bytes: tables as u64,
        }
    }
}

/// Bytes that were read for one record and are reused for records nearby: some kilobytes of published frames, which never change.
#[derive(Debug, Default)]
pub struct ReadCache {
    segment: Option<Arc<Segment>>,
    base: u64,
    bytes: Vec<u8>,
}

/// Walks from the nearest sampled record to the record at `position`. Returns the range of its payload in the bytes of `cache`.
fn find_record(
    segment: &Segment,
    position: u64,
    cache: &mut ReadCache,
) -> Result<Range<usize>, ReadError> {
    let (mut current, mut offset, next) = segment
        .positions
        .sample(position)
        .expect("a published record is in the position table");
    let limit = segment.end();
    let span = match next {
        Some(next) if next - offset <= SPAN_BYTES => next - offset,
        _ => SPAN_BYTES / 2,
    };
    let mut window = Window {
        segment,
        limit,
        span: span as usize,
        cache,
    };
    loop {
        offset = window
            .record_start(offset)
            .map_err(|error| error.into_read(segment, position))?;
        let header = window.bytes(offset, RECORD_HEADER_BYTES)?;
        let Some((len, crc)) = header.map(|header| (u32_at(header, 0) as usize, u32_at(header, 4)))
        else {
            return Err(segment
                .damage(offset, position, "the record is cut short")
                .into());
        };
        if len == 0 || len > RECORD_BYTES_MAX {
            return Err(segment
                .damage(offset, position, "the record's length is out of bounds")
                .into());
        }
        if current == position {
            let payload_at = offset + RECORD_HEADER_BYTES as u64;
            match window.bytes(payload_at, len)? {
                Some(payload) if record_crc(position, payload) == crc => {}
                _ => {
                    return Err(segment
                        .damage(offset, position, "the record's checksum does not match")
                        .into());
                }
            }
            let skip = (payload_at - window.cache.base) as usize;
            return Ok(skip..skip + len);
        }
        offset += (RECORD_HEADER_BYTES + len) as u64;
        current += 1;
    }
}

enum WalkError {
    Io(std::io::Error),
    Lost(u64),
}

impl WalkError {
    fn into_read(self, segment: &Segment, position: u64) -> ReadError {
        match self {
            WalkError::Io(error) => error.into(),
            WalkError::Lost(offset) => segment
                .damage(offset, position, "no record or frame begins where one must")
                .into(),
        }
    }
}

/// A part of a segment in memory, which moves along with the walk.
struct Window<'a> {
    segment: &'a Segment,
    limit: u64,
    span: usize,
    cache: &'a mut ReadCache,
}

impl Window<'_> {
    /// Returns `len` bytes at `offset`. `None` if the published frames end before.
    fn bytes(&mut self, offset: u64, len: usize) -> std::io::Result<Option<&[u8]>> {
        let ReadCache { base, bytes, .. } = &mut *self.cache;
        let inside = offset >= *base && offset + len as u64 <= *base + bytes.len() as u64;
        if !inside {
            if offset + len as u64 > self.limit {
                return Ok(None);
            }
            let wanted = (len.max(self.span) as u64).min(self.limit - offset) as usize;
            *base = offset;
            bytes.resize(wanted, 0);
            let read = self.segment.file.read_at(bytes, offset);
            // Keep only bytes that were read.
            bytes.truncate(*read.as_ref().unwrap_or(&0));
            read?;
        }
        let skip = (offset - *base) as usize;
        Ok(bytes.get(skip..skip + len))
    }

    /// Returns the offset of the record at `offset`, or of the one behind the padding and frame header at `offset`.
    fn record_start(&mut self, offset: u64) -> Result<u64, WalkError> {
        let four = self.bytes(offset, 4).map_err(WalkError::Io)?;
        if four.is_some_and(|four| (1..=RECORD_BYTES_MAX as u32).contains(&u32_at(four, 0))) {
            return Ok(offset);
        }
        let header = align_up(offset, self.segment.header.alignment);
        match self
            .bytes(header, FRAME_HEADER_BYTES)
            .map_err(WalkError::Io)?
        {
            Some(bytes) if bytes[..4] == MAGIC => Ok(header + FRAME_HEADER_BYTES as u64),
            _ => Err(WalkError::Lost(offset)),
        }
    }
}

/// Iterator over whole frames; see [`Reader::frames`]. Holds at most one frame in memory.
#[derive(Debug)]
pub struct FrameIter {
    shared: Arc<Shared>,
    next: u64,
    place: Option<(Arc<Segment>, u64)>,
    prev: Option<Head>,
    reader: FrameReader,
}

impl FrameIter {
    /// Returns the next frame. `None` at the durable head; `Some` again once the head has moved.
    ///
    /// # Errors
    /// [`ReadError::Damaged`]. The following call returns the same error.
    #[expect(
        clippy::should_implement_trait,
        reason = "the frame borrows the iterator's buffer"
    )]
    pub fn next(&mut self) -> Result<Option<FrameRef<'_>>, ReadError> {
        if self.next > self.shared.durable() {
            return Ok(None);
        }
        let (segment, offset) = self.locate()?;
        let limit = segment.end();
        let frame = match self.reader.frame(&*segment.file, offset, limit)? {
            Ok(frame) => frame,
            Err(bad) => return Err(segment.damage(offset, self.next, bad.0).into()),
        };
        let verified = match &self.prev {
            Some(prev) => frame.verify(prev),
            None => frame.verify_content(),
        };
        verified.map_err(|bad| segment.damage(offset, self.next, bad.0))?;
        self.next = frame.head().position + 1;
        self.prev = Some(frame.head());
        self.place = Some((
            segment.clone(),
            segment.next_frame_offset(offset, frame.bytes().len()),
        ));
        Ok(Some(frame))
    }

    /// Returns the position of the first record that was not returned yet.
    #[must_use]
    pub fn next_position(&self) -> u64 {
        self.next
    }

    /// Skips damage: goes on at the next frame whose place is known. Returns the position of that frame.
    pub(crate) fn skip_damage(&mut self) -> u64 {
        let (segment, after) = self
            .shared
            .segment_of(self.next)
            .expect("a published position has a segment");
        let marked = segment.positions.frame_after(self.next);
        self.next = marked.or(after).unwrap_or(u64::MAX);
        self.place = None;
        self.prev = None;
        self.next
    }

    /// Returns segment and offset of the frame that holds the next position.
    fn locate(&mut self) -> Result<(Arc<Segment>, u64), ReadError> {
        let (segment, _) = self
            .shared
            .segment_of(self.next)
            .expect("a published position has a segment");
        if let Some((current, offset)) = &self.place {
            if Arc::ptr_eq(current, &segment) {
                return Ok((segment, *offset));
            }
            self.reader.discard();
            return Ok((segment, crate::segment::SEGMENT_HEADER_BYTES));
        }
        self.reader.discard();
        let (_, mut offset) = segment
            .positions
            .frame_before(self.next)
            .expect("a published record is in the position table");
        loop {
            match self.reader.header(&*segment.file, offset, segment.end())? {
                Ok(header) if header.last_position() >= self.next => break,
                Ok(header) => offset = segment.next_frame_offset(offset, header.frame_len()),
                Err(bad) => return Err(segment.damage(offset, self.next, bad.0).into()),
            }
        }
        self.place = Some((segment.clone(), offset));
        Ok((segment, offset))
    }
}
