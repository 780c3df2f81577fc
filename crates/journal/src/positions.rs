//! Position table of a segment: the offset of every 16th record, and of one frame per 64 KiB.
//!
//! The writer extends the table while readers read it, without locks. The table of a sealed segment is stored in a file, which is a
//! view and can be rebuilt:
//!
//! ```text
//! index/<first position>.pos
//!   0   4  magic "TRBP"
//!   4   2  format_version (1)
//!   6   2  zero
//!   8   8  first position of the segment
//!  16   8  last position of the segment
//!  24   8  where its frames end, bytes
//!  32   8  offset of its last frame
//!  40   4  samples
//!  44   4  marks
//!  48  12  zero
//!  60   4  crc32c of the bytes before
//!  64      samples: u32 offset of the record at first position + 16 n
//!          marks: u32 position - first position, u32 offset of the frame that begins with it
//!          crc32c of samples and marks
//! ```

use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::bytes::{put, u16_at, u32_at, u64_at};
use crate::disk::Disk;
use crate::files::{INDEX_DIR, replace_file};
use crate::frame::{FRAME_HEADER_BYTES, FrameRef, RECORD_HEADER_BYTES};

/// Distance in records between two sampled offsets.
pub(crate) const SAMPLE_RECORDS: u64 = 16;
const MARK_BYTES: u32 = 64 * 1024;
const MAGIC: [u8; 4] = *b"TRBP";
const POS_VERSION: u16 = 1;
const HEADER_BYTES: usize = 64;
const CHUNKS: usize = 20;
const FIRST_CHUNK: usize = 1 << 10;

/// A list of `u32` that one thread extends while other threads read.
#[derive(Debug)]
struct GrowingList {
    // Chunk `n` holds `FIRST_CHUNK << n` values, so that no value ever moves.
    chunks: [OnceLock<Box<[AtomicU32]>>; CHUNKS],
    len: AtomicU32,
}

impl GrowingList {
    fn new() -> Self {
        GrowingList {
            chunks: [const { OnceLock::new() }; CHUNKS],
            len: AtomicU32::new(0),
        }
    }

    fn place(index: usize) -> (usize, usize) {
        let shifted = index / FIRST_CHUNK + 1;
        let chunk = shifted.ilog2() as usize;
        (chunk, index - FIRST_CHUNK * ((1 << chunk) - 1))
    }

    fn len(&self) -> usize {
        self.len.load(Ordering::Acquire) as usize
    }

    fn push(&self, value: u32) {
        let index = self.len.load(Ordering::Relaxed) as usize;
        let (chunk, at) = Self::place(index);
        let values = self.chunks[chunk].get_or_init(|| {
            (0..FIRST_CHUNK << chunk)
                .map(|_| AtomicU32::new(0))
                .collect()
        });
        values[at].store(value, Ordering::Relaxed);
        self.len.store(index as u32 + 1, Ordering::Release);
    }

    fn get(&self, index: usize) -> Option<u32> {
        if index >= self.len() {
            return None;
        }
        let (chunk, at) = Self::place(index);
        self.chunks[chunk]
            .get()
            .map(|values| values[at].load(Ordering::Relaxed))
    }

    fn memory_bytes(&self) -> usize {
        self.chunks
            .iter()
            .filter_map(OnceLock::get)
            .map(|values| values.len() * 4)
            .sum()
    }
}

/// Offsets of records and frames of one segment. See the module.
#[derive(Debug)]
pub(crate) struct PositionTable {
    first_position: u64,
    samples: GrowingList,
    // Pairs: position - first_position, offset.
    marks: GrowingList,
    last_frame: AtomicU32,
}

/// Positions and bytes that a `.pos` file covers.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) first_position: u64,
    pub(crate) last_position: u64,
    pub(crate) end: u64,
}

impl PositionTable {
    pub(crate) fn new(first_position: u64) -> Self {
        PositionTable {
            first_position,
            samples: GrowingList::new(),
            marks: GrowingList::new(),
            last_frame: AtomicU32::new(0),
        }
    }

    /// Adds the frame at `offset` of the segment. Frames are added in order.
    pub(crate) fn add_frame(&self, frame: &FrameRef<'_>, offset: u64) {
        let mut starts = Vec::with_capacity(frame.header().count as usize);
        let mut at = FRAME_HEADER_BYTES as u32;
        for record in frame.records() {
            starts.push(at);
            at += (RECORD_HEADER_BYTES + record.payload().len()) as u32;
        }
        self.add_record_starts(frame.header().first_position, offset, &starts);
    }

    /// As [`PositionTable::add_frame`], for a frame whose records begin at `starts`, counted from the start of the frame.
    pub(crate) fn add_record_starts(&self, first: u64, offset: u64, starts: &[u32]) {
        let offset = u32::try_from(offset).expect("a segment is below 4 GiB");
        let marks = self.marks.len();
        let due = match marks.checked_sub(1).and_then(|last| self.marks.get(last)) {
            Some(last) => offset - last >= MARK_BYTES,
            None => true,
        };
        if due {
            self.marks.push((first - self.first_position) as u32);
            self.marks.push(offset);
        }
        let past = (first - self.first_position) % SAMPLE_RECORDS;
        let unsampled = (SAMPLE_RECORDS - past) % SAMPLE_RECORDS;
        for start in starts
            .iter()
            .skip(unsampled as usize)
            .step_by(SAMPLE_RECORDS as usize)
        {
            self.samples.push(offset + start);
        }
        self.last_frame.store(offset, Ordering::Relaxed);
    }

    /// Returns position and offset of the sampled record at or before `position`, and the offset of the next sampled record.
    pub(crate) fn sample(&self, position: u64) -> Option<(u64, u64, Option<u64>)> {
        let index = ((position - self.first_position) / SAMPLE_RECORDS) as usize;
        let offset = self.samples.get(index)?;
        let next = self.samples.get(index + 1).map(u64::from);
        Some((
            self.first_position + index as u64 * SAMPLE_RECORDS,
            u64::from(offset),
            next,
        ))
    }

    /// Returns first position and offset of a marked frame at or before the frame that holds `position`.
    pub(crate) fn frame_before(&self, position: u64) -> Option<(u64, u64)> {
        let relative = position.checked_sub(self.first_position)?;
        let (mut low, mut high) = (0, self.marks.len() / 2);
        while low < high {
            let middle = usize::midpoint(low, high);
            if u64::from(self.marks.get(middle * 2)?) <= relative {
                low = middle + 1
            } else {
                high = middle
            }
        }
        self.mark(low.checked_sub(1)?)
    }

    /// Returns the first position of the first marked frame that begins after `position`.
    pub(crate) fn frame_after(&self, position: u64) -> Option<u64> {
        (0..self.marks.len() / 2)
            .filter_map(|index| self.mark(index))
            .map(|mark| mark.0)
            .find(|first| *first > position)
    }

    pub(crate) fn last_frame(&self) -> u64 {
        u64::from(self.last_frame.load(Ordering::Relaxed))
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.samples.memory_bytes() + self.marks.memory_bytes()
    }

    fn mark(&self, index: usize) -> Option<(u64, u64)> {
        let relative = self.marks.get(index * 2)?;
        let offset = self.marks.get(index * 2 + 1)?;
        Some((self.first_position + u64::from(relative), u64::from(offset)))
    }

    /// Writes the file of a sealed segment.
    pub(crate) fn store(&self, disk: &dyn Disk, extent: &Extent) -> io::Result<()> {
        let (samples, marks) = (self.samples.len(), self.marks.len());
        let mut bytes = vec![0; HEADER_BYTES];
        put(&mut bytes, 0, &MAGIC);
        put(&mut bytes, 4, &POS_VERSION.to_le_bytes());
        put(&mut bytes, 8, &extent.first_position.to_le_bytes());
        put(&mut bytes, 16, &extent.last_position.to_le_bytes());
        put(&mut bytes, 24, &extent.end.to_le_bytes());
        put(&mut bytes, 32, &self.last_frame().to_le_bytes());
        put(&mut bytes, 40, &(samples as u32).to_le_bytes());
        put(&mut bytes, 44, &(marks as u32 / 2).to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..60]);
        put(&mut bytes, 60, &crc.to_le_bytes());
        for list in [&self.samples, &self.marks] {
            bytes.extend(
                (0..list.len())
                    .filter_map(|index| list.get(index))
                    .flat_map(u32::to_le_bytes),
            );
        }
        assert_eq!(
            bytes.len(),
            HEADER_BYTES + 4 * (samples + marks),
            "a sealed table does not grow"
        );
        let crc = crc32c::crc32c(&bytes[HEADER_BYTES..]);
        bytes.extend(crc.to_le_bytes());
        replace_file(
            disk,
            INDEX_DIR,
            &positions_name(extent.first_position),
            &bytes,
        )
    }

    /// Reads the file of a sealed segment. `None` if the file is missing, damaged, or covers something else than `extent`.
    pub(crate) fn load(disk: &dyn Disk, extent: &Extent) -> io::Result<Option<PositionTable>> {
        let file = match disk.open_read(&positions_path(extent.first_position)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut bytes = vec![0; file.len()? as usize];
        let read = file.read_at(&mut bytes, 0)?;
        bytes.truncate(read);
        Ok(Self::parse(&bytes, extent))
    }

    fn parse(bytes: &[u8], extent: &Extent) -> Option<PositionTable> {
        if bytes.len() < HEADER_BYTES + 4
            || bytes[..4] != MAGIC
            || u16_at(bytes, 4) != POS_VERSION
            || crc32c::crc32c(&bytes[..60]) != u32_at(bytes, 60)
        {
            return None;
        }
        let stored = Extent {
            first_position: u64_at(bytes, 8),
            last_position: u64_at(bytes, 16),
            end: u64_at(bytes, 24),
        };
        let (samples, marks) = (u32_at(bytes, 40) as usize, u32_at(bytes, 44) as usize * 2);
        let lists_end = HEADER_BYTES + 4 * (samples + marks);
        if stored != *extent || bytes.len() != lists_end + 4 {
            return None;
        }
        if crc32c::crc32c(&bytes[HEADER_BYTES..lists_end]) != u32_at(bytes, lists_end) {
            return None;
        }
        let table = PositionTable::new(extent.first_position);
        table
            .last_frame
            .store(u32::try_from(u64_at(bytes, 32)).ok()?, Ordering::Relaxed);
        for index in 0..samples + marks {
            let list = if index < samples {
                &table.samples
            } else {
                &table.marks
            };
            list.push(u32_at(bytes, HEADER_BYTES + 4 * index));
        }
        Some(table)
    }
}

fn positions_name(first_position: u64) -> String {
    format!("{first_position:020}.pos")
}

pub(crate) fn positions_path(first_position: u64) -> String {
    format!("{INDEX_DIR}/{}", positions_name(first_position))
}
