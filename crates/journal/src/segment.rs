//! Segment files: a header block, then frames, each on an alignment boundary, then zeros.
//!
//! ```text
//! header, 4,096 bytes
//!    0   4  magic "TRBS"
//!    4   2  format_version (1)
//!    6   2  zero
//!    8   4  alignment of frames, bytes (512): a power of two, at most 4,096
//!   12   4  zero
//!   16   8  first_position
//!   24   8  bytes reserved for the file
//!   32  16  cluster_id
//!   48   8  position of the last record before this segment
//!   56   8  timestamp of the last frame before
//!   64   8  where the frames of the segment before end, bytes; 0 in the first segment
//!   72  32  hash of the last frame before; zeros in the first segment
//!  104   ..  zero
//! 4092   4  crc32c of the bytes before
//! frames, each padded with zeros to the alignment; zeros up to the end of the file
//! ```
//!
//! The header is durable before the file gets its name. A torn write of a frame never touches the sectors of an
//! acknowledged one, because frames share no alignment block.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::bytes::{align_up, array_at, put, u16_at, u32_at, u64_at};
use crate::disk::File;
use crate::files::SEGMENT_DIR;
use crate::frame::{BadFrame, FRAME_HEADER_BYTES, FrameHeader, FrameRef};
use crate::head::{Damage, Head};
use crate::positions::PositionTable;

pub(crate) const SEGMENT_HEADER_BYTES: u64 = 4096;
pub(crate) const FRAME_ALIGNMENT: u64 = 512;
const SEGMENT_VERSION: u16 = 1;
const MAGIC: [u8; 4] = *b"TRBS";
const CRC_AT: usize = SEGMENT_HEADER_BYTES as usize - 4;
const READ_AHEAD_BYTES: usize = 256 * 1024;
/// Bytes read ahead when a single frame is read: the frame is at most 64 KiB behind a marked one.
const READ_FOR_ONE_BYTES: usize = 16 * 1024;

/// The first block of a segment file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) alignment: u64,
    pub(crate) first_position: u64,
    pub(crate) segment_bytes: u64,
    pub(crate) cluster_id: [u8; 16],
    /// Head before the first frame. Its epoch is not stored, and is 0 here.
    pub(crate) prev: Head,
    pub(crate) prev_end: u64,
}

/// Why the header of a segment cannot be used.
pub(crate) enum BadHeader {
    Damaged(&'static str),
    Unsupported(u16),
}

impl SegmentHeader {
    pub(crate) fn to_block(&self) -> Vec<u8> {
        let mut block = vec![0; SEGMENT_HEADER_BYTES as usize];
        put(&mut block, 0, &MAGIC);
        put(&mut block, 4, &SEGMENT_VERSION.to_le_bytes());
        put(&mut block, 8, &(self.alignment as u32).to_le_bytes());
        put(&mut block, 16, &self.first_position.to_le_bytes());
        put(&mut block, 24, &self.segment_bytes.to_le_bytes());
        put(&mut block, 32, &self.cluster_id);
        put(&mut block, 48, &self.prev.position.to_le_bytes());
        put(&mut block, 56, &self.prev.timestamp.to_le_bytes());
        put(&mut block, 64, &self.prev_end.to_le_bytes());
        put(&mut block, 72, &self.prev.hash);
        let crc = crc32c::crc32c(&block[..CRC_AT]);
        put(&mut block, CRC_AT, &crc.to_le_bytes());
        block
    }

    pub(crate) fn read(file: &dyn File) -> io::Result<Result<SegmentHeader, BadHeader>> {
        let mut block = vec![0; SEGMENT_HEADER_BYTES as usize];
        let read = file.read_at(&mut block, 0)?;
        Ok(if read < block.len() {
            Err(BadHeader::Damaged("the segment is cut short"))
        } else {
            Self::parse(&block)
        })
    }

    fn parse(block: &[u8]) -> Result<SegmentHeader, BadHeader> {
        if block[..4] != MAGIC || crc32c::crc32c(&block[..CRC_AT]) != u32_at(block, CRC_AT) {
            return Err(BadHeader::Damaged(
                "the segment header does not match its checksum",
            ));
        }
        let version = u16_at(block, 4);
        if version != SEGMENT_VERSION {
            return Err(BadHeader::Unsupported(version));
        }
        let header = SegmentHeader {
            alignment: u64::from(u32_at(block, 8)),
            first_position: u64_at(block, 16),
            segment_bytes: u64_at(block, 24),
            cluster_id: array_at(block, 32),
            prev: Head {
                position: u64_at(block, 48),
                hash: array_at(block, 72),
                timestamp: u64_at(block, 56),
                epoch: 0,
            },
            prev_end: u64_at(block, 64),
        };
        let sound = header.alignment.is_power_of_two()
            && (FRAME_ALIGNMENT..=SEGMENT_HEADER_BYTES).contains(&header.alignment)
            && header.first_position == header.prev.position + 1;
        if sound {
            Ok(header)
        } else {
            Err(BadHeader::Damaged("the segment header is out of bounds"))
        }
    }
}

/// An open segment, shared by the writer and all readers.
#[derive(Debug)]
pub(crate) struct Segment {
    /// Path of the file, relative to the journal's directory.
    pub(crate) path: String,
    pub(crate) header: SegmentHeader,
    pub(crate) file: Arc<dyn File>,
    pub(crate) positions: PositionTable,
    /// Offset in bytes of the end of the published frames.
    end: AtomicU64,
}

impl Segment {
    pub(crate) fn new(path: String, header: SegmentHeader, file: Arc<dyn File>) -> Segment {
        let positions = PositionTable::new(header.first_position);
        Segment {
            path,
            header,
            file,
            positions,
            end: AtomicU64::new(SEGMENT_HEADER_BYTES),
        }
    }

    pub(crate) fn with_positions(self, positions: PositionTable, end: u64) -> Segment {
        Segment {
            positions,
            end: AtomicU64::new(end),
            ..self
        }
    }

    pub(crate) fn first_position(&self) -> u64 {
        self.header.first_position
    }

    pub(crate) fn end(&self) -> u64 {
        self.end.load(Ordering::Acquire)
    }

    pub(crate) fn set_end(&self, end: u64) {
        self.end.store(end, Ordering::Release);
    }

    /// Returns the offset of the frame that follows one of `frame_len` bytes at `offset`.
    pub(crate) fn next_frame_offset(&self, offset: u64, frame_len: usize) -> u64 {
        align_up(offset + frame_len as u64, self.header.alignment)
    }

    pub(crate) fn damage(&self, offset: u64, position: u64, what: &'static str) -> Damage {
        Damage::new(&self.path, offset, position, what)
    }
}

pub(crate) fn segment_path(first_position: u64) -> String {
    format!("{SEGMENT_DIR}/{first_position:020}.seg")
}

/// Parses the first position from the name of a segment's file.
pub(crate) fn segment_name_position(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".seg")?;
    if digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        digits.parse().ok()
    } else {
        None
    }
}

/// Reads frames one after another, with read-ahead. Holds at most one frame and the read-ahead in memory.
#[derive(Debug)]
pub(crate) struct FrameReader {
    buf: Vec<u8>,
    base: u64,
    /// Minimum number of bytes per read.
    ahead: usize,
}

impl Default for FrameReader {
    fn default() -> Self {
        FrameReader {
            buf: Vec::new(),
            base: 0,
            ahead: READ_AHEAD_BYTES,
        }
    }
}

impl FrameReader {
    /// Creates a reader that will read a single frame, with little read-ahead.
    pub(crate) fn for_one_frame() -> FrameReader {
        FrameReader {
            ahead: READ_FOR_ONE_BYTES,
            ..FrameReader::default()
        }
    }

    /// Returns the bytes of the frame at `offset`, which must be the frame that was read last and have `len` bytes.
    pub(crate) fn into_frame(mut self, offset: u64, len: usize) -> Vec<u8> {
        let skip = usize::try_from(offset - self.base).expect("it is in the buffer");
        assert!(skip + len <= self.buf.len(), "it was read last");
        // Copy a small frame rather than keep the whole buffer alive.
        if skip > 0 || self.buf.capacity() > 2 * len {
            return self.buf[skip..skip + len].to_vec();
        }
        self.buf.truncate(len);
        self.buf
    }

    /// Discards the read-ahead.
    pub(crate) fn discard(&mut self) {
        self.buf.clear();
    }

    /// Reads the frame at `offset` and checks its header. Reads nothing at or after `limit`.
    pub(crate) fn frame(
        &mut self,
        file: &dyn File,
        offset: u64,
        limit: u64,
    ) -> io::Result<Result<FrameRef<'_>, BadFrame>> {
        self.fill(file, offset, FRAME_HEADER_BYTES, limit)?;
        let header = match FrameHeader::parse(self.at(offset)) {
            Ok(header) => header,
            Err(bad) => return Ok(Err(bad)),
        };
        self.fill(file, offset, header.frame_len(), limit)?;
        Ok(FrameRef::parse(self.at(offset)))
    }

    /// Reads the frame header at `offset` and checks it.
    pub(crate) fn header(
        &mut self,
        file: &dyn File,
        offset: u64,
        limit: u64,
    ) -> io::Result<Result<FrameHeader, BadFrame>> {
        self.fill(file, offset, FRAME_HEADER_BYTES, limit)?;
        Ok(FrameHeader::parse(self.at(offset)))
    }

    /// Returns up to `len` bytes from `offset` on, fewer if `limit` or the end of the file comes first.
    pub(crate) fn bytes(
        &mut self,
        file: &dyn File,
        offset: u64,
        len: usize,
        limit: u64,
    ) -> io::Result<&[u8]> {
        self.fill(file, offset, len, limit)?;
        let bytes = self.at(offset);
        Ok(&bytes[..len.min(bytes.len())])
    }

    fn at(&self, offset: u64) -> &[u8] {
        usize::try_from(offset.wrapping_sub(self.base))
            .ok()
            .and_then(|skip| self.buf.get(skip..))
            .unwrap_or(&[])
    }

    fn fill(&mut self, file: &dyn File, offset: u64, len: usize, limit: u64) -> io::Result<()> {
        if self.at(offset).len() >= len {
            return Ok(());
        }
        let wanted = (len.max(self.ahead) as u64).min(limit.saturating_sub(offset));
        self.base = offset;
        self.buf.resize(wanted as usize, 0);
        match file.read_at(&mut self.buf, offset) {
            Ok(read) => {
                self.buf.truncate(read);
                Ok(())
            }
            Err(error) => {
                self.buf.clear();
                Err(error)
            }
        }
    }
}
