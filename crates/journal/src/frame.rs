//! Frames: batches of records, sealed into the hash chain.
//!
//! The bytes of a frame are the same on every backend and do not depend on where they are stored.
//! All integers are little-endian.
//!
//! ```text
//! header, 128 bytes
//!   0   4  magic "TRBF"
//!   4   2  format_version: of the frame and of its records
//!   6   2  rules_version: of the rules that decided the records
//!   8   4  epoch
//!  12   4  count: records in the body, 1 ..= 8,192
//!  16   8  first_position
//!  24   8  timestamp, nanoseconds since the Unix epoch; never less than the frame's before
//!  32   4  body_len, bytes; with the header at most 4 MiB
//!  36  24  zero
//!  60  32  prev_hash: hash of the frame before; zeros for the first
//!  92  32  hash = BLAKE3(header[0..92] || body)
//! 124   4  crc32c of header[0..124]
//! body: `count` records, no gaps
//!   0   4  len of the payload, 1 ..= 65,536
//!   4   4  crc32c(position as u64 || len as u32 || payload)
//!   8 len  payload
//! ```
//!
//! The checksum of a record covers its position, so that intact bytes read from the wrong place are detected.
//! A length can be mistaken neither for the magic nor for padding: both lie outside of 1 ..= 65,536.

use crate::bytes::{array_at, put, u16_at, u32_at, u64_at};
use crate::head::Head;
use crate::prefetch::prefetch;

/// Maximum number of records in one frame.
pub const FRAME_RECORDS_MAX: u32 = 8_192;
/// Maximum number of bytes in one frame, header included.
pub const FRAME_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Maximum number of bytes in the body of one frame: payloads plus [`RECORD_HEADER_BYTES`] each.
pub const FRAME_BODY_BYTES_MAX: usize = FRAME_BYTES_MAX - FRAME_HEADER_BYTES;
/// Maximum number of bytes in the payload of one record.
pub const RECORD_BYTES_MAX: usize = 64 * 1024;
/// Bytes of a record's header, which precedes each payload.
pub const RECORD_HEADER_BYTES: usize = 8;
/// Bytes of a frame's header.
pub const FRAME_HEADER_BYTES: usize = 128;
/// Distance in bytes at which memory for a later record is prefetched.
const PREFETCH_BYTES: usize = 2 * 1024;
/// Newest version of the format of frames and their records that this code reads, and that it writes unless it is told otherwise.
pub const FORMAT_VERSION: u16 = if cfg!(feature = "next-format") { 2 } else { 1 };

/// What a reader of a frame must know. Zeros: nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Versions {
    /// Format of the frame and of its records.
    pub format: u16,
    /// Rules that decided the records.
    pub rules: u16,
}

impl Versions {
    /// Returns the bytes by which logs and files name them.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 4] {
        let ([a, b], [c, d]) = (self.format.to_le_bytes(), self.rules.to_le_bytes());
        [a, b, c, d]
    }

    /// Reads what [`Versions::to_bytes`] gives.
    #[must_use]
    pub fn from_bytes([a, b, c, d]: [u8; 4]) -> Versions {
        Versions {
            format: u16::from_le_bytes([a, b]),
            rules: u16::from_le_bytes([c, d]),
        }
    }

    /// Whether a program that knows `newest` can read what was written in these.
    #[must_use]
    pub fn are_known_to(self, newest: Versions) -> bool {
        self.format <= newest.format && self.rules <= newest.rules
    }
}

impl std::fmt::Display for Versions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "format {}, rules {}", self.format, self.rules)
    }
}

pub(crate) const MAGIC: [u8; 4] = *b"TRBF";
/// Error of a frame that is of a newer format: neither damage nor ever to be cut.
pub(crate) const UNKNOWN_VERSION: BadFrame = BadFrame("the frame is of an unknown format version");
/// Error of a header that no torn write leaves behind, since its checksum matches, and that this code never writes: damage, and
/// never to be cut.
pub(crate) const OUT_OF_BOUNDS: BadFrame = BadFrame("the frame header is out of bounds");
const HASH_AT: usize = 92;
const CRC_AT: usize = 124;

/// Why a record cannot be added to a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PushError {
    /// The frame holds [`FRAME_RECORDS_MAX`] records, or its body would pass [`FRAME_BODY_BYTES_MAX`].
    #[error("the frame is full")]
    FrameFull,
    /// The payload is empty or larger than [`RECORD_BYTES_MAX`].
    #[error("a record must have 1 to 65,536 bytes")]
    RecordSize,
}

/// Why bytes are not a valid frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadFrame(pub &'static str);

/// A frame that is being filled. Uses one buffer, which [`FrameBuilder::reset`] keeps, and allocates nothing per record.
#[derive(Debug)]
pub struct FrameBuilder {
    // Room for the header, then the body. Sealed in place and written in one piece.
    buf: Vec<u8>,
    first_position: u64,
    timestamp: u64,
    count: u32,
    versions: Versions,
    // Offset of each record from the start of the frame.
    starts: Vec<u32>,
    keys: Vec<(u64, u32)>,
    sealed_on: Option<Head>,
}

impl FrameBuilder {
    /// Creates an empty frame whose first record will have `first_position`.
    #[must_use]
    pub fn new(first_position: u64, timestamp: u64, versions: Versions) -> Self {
        let mut builder = FrameBuilder {
            buf: Vec::new(),
            first_position: 0,
            timestamp: 0,
            count: 0,
            versions,
            starts: Vec::new(),
            keys: Vec::new(),
            sealed_on: None,
        };
        builder.reset(first_position, timestamp, versions);
        builder
    }

    /// Creates a builder that holds a sealed frame, to read its records as if they had been added here.
    #[must_use]
    pub fn from_sealed(frame: &FrameRef<'_>) -> Self {
        let header = frame.header();
        let mut builder =
            FrameBuilder::new(header.first_position, header.timestamp, header.versions());
        for record in frame.records() {
            builder
                .push(|into| into.extend_from_slice(record.payload()))
                .expect("a sealed frame is within the bounds");
        }
        builder
    }

    /// Empties the frame and keeps its memory.
    pub fn reset(&mut self, first_position: u64, timestamp: u64, versions: Versions) {
        assert!(first_position > 0, "positions start at 1");
        self.buf.clear();
        self.buf.resize(FRAME_HEADER_BYTES, 0);
        self.first_position = first_position;
        self.timestamp = timestamp;
        self.count = 0;
        self.versions = versions;
        self.starts.clear();
        self.keys.clear();
        self.sealed_on = None;
    }

    /// Adds a record. `encode` appends the payload to the buffer and must not change what is there. Returns the position of the record.
    ///
    /// # Errors
    /// The frame stays as it was. [`FrameBuilder::has_room`] tells beforehand.
    pub fn push(&mut self, encode: impl FnOnce(&mut Vec<u8>)) -> Result<u64, PushError> {
        if self.count == FRAME_RECORDS_MAX {
            return Err(PushError::FrameFull);
        }
        let start = self.buf.len();
        self.buf.extend_from_slice(&[0; RECORD_HEADER_BYTES]);
        encode(&mut self.buf);
        let payload_at = start + RECORD_HEADER_BYTES;
        assert!(self.buf.len() >= payload_at, "an encoder only appends");
        let len = self.buf.len() - payload_at;
        let refused = if len == 0 || len > RECORD_BYTES_MAX {
            Some(PushError::RecordSize)
        } else if self.buf.len() - FRAME_HEADER_BYTES > FRAME_BODY_BYTES_MAX {
            Some(PushError::FrameFull)
        } else {
            None
        };
        if let Some(error) = refused {
            self.buf.truncate(start);
            return Err(error);
        }
        let position = self.next_position();
        let crc = record_crc(position, &self.buf[payload_at..]);
        put(&mut self.buf, start, &(len as u32).to_le_bytes());
        put(&mut self.buf, start + 4, &crc.to_le_bytes());
        self.starts.push(start as u32);
        self.count += 1;
        self.sealed_on = None;
        self.prefetch_next(RECORD_HEADER_BYTES + len);
        Ok(position)
    }

    /// Prefetches as much memory as was just written, a few records ahead.
    fn prefetch_next(&mut self, bytes: usize) {
        let ahead = self.buf.spare_capacity_mut();
        let next = ahead.get(PREFETCH_BYTES..PREFETCH_BYTES + bytes);
        let lines = next.unwrap_or_default().chunks(64);
        lines.for_each(|line| prefetch(&line[0]));
    }

    /// Names an index key of the record that was added last. A frame that names a key must name all keys, exactly those that the
    /// [`KeyExtractor`](crate::KeyExtractor) of the journal finds in the payloads. Of a frame that names none, the keys are extracted on
    /// append.
    pub fn add_key(&mut self, hash: u64) {
        assert!(self.count > 0, "a key belongs to a record");
        self.keys.push((hash, self.count - 1));
    }

    /// Whether a record with a payload of `payload_bytes` can still be added.
    #[must_use]
    pub fn has_room(&self, payload_bytes: usize) -> bool {
        self.count < FRAME_RECORDS_MAX
            && self.body_bytes() + RECORD_HEADER_BYTES + payload_bytes <= FRAME_BODY_BYTES_MAX
    }

    /// Returns the number of records so far.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Whether the frame has no record yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Returns the number of bytes of the body so far.
    #[must_use]
    pub fn body_bytes(&self) -> usize {
        self.buf.len() - FRAME_HEADER_BYTES
    }

    /// Returns the position of the first record.
    #[must_use]
    pub fn first_position(&self) -> u64 {
        self.first_position
    }

    /// Returns the position that the next record will have.
    #[must_use]
    pub fn next_position(&self) -> u64 {
        self.first_position + u64::from(self.count)
    }

    /// Returns what a reader of the frame must know.
    #[must_use]
    pub fn versions(&self) -> Versions {
        self.versions
    }

    /// Returns the timestamp of the frame, nanoseconds since the Unix epoch.
    #[must_use]
    pub fn timestamp(&self) -> u64 {
        self.timestamp
    }

    /// Links the frame to `prev` and computes its hash. The same records on the same head give the same bytes everywhere. If the frame
    /// was sealed before, [`crate::Writer::append`] does not hash it again.
    ///
    /// # Panics
    /// When the frame is empty, does not follow `prev`, or is older than it.
    pub fn seal(&mut self, prev: &Head) -> FrameRef<'_> {
        assert!(self.count > 0, "an empty frame is never sealed");
        assert_eq!(
            self.first_position,
            prev.position + 1,
            "a frame follows its head"
        );
        assert!(
            self.timestamp >= prev.timestamp,
            "time does not go backwards"
        );
        let header = FrameHeader {
            format_version: self.versions.format,
            rules_version: self.versions.rules,
            epoch: prev.epoch.max(1),
            count: self.count,
            first_position: self.first_position,
            timestamp: self.timestamp,
            body_len: self.body_bytes() as u32,
            prev_hash: prev.hash,
            hash: [0; 32],
        };
        if self.sealed_on != Some(*prev) {
            header.write(&mut self.buf);
            self.sealed_on = Some(*prev);
        }
        FrameRef {
            header: FrameHeader {
                hash: array_at(&self.buf, HASH_AT),
                ..header
            },
            bytes: &self.buf,
        }
    }

    /// Iterates over the index keys named so far, each with the position of its record.
    pub fn index_keys(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.keys
            .iter()
            .map(|&(hash, at)| (hash, self.first_position + u64::from(at)))
    }

    /// Returns the payload of the record with this index, counted from 0.
    ///
    /// # Panics
    /// When there are not that many records.
    #[must_use]
    pub fn payload(&self, index: usize) -> &[u8] {
        let start = self.starts[index] as usize;
        let len = u32_at(&self.buf, start) as usize;
        &self.buf[start + RECORD_HEADER_BYTES..][..len]
    }

    /// Iterates over the payloads in order.
    pub fn payloads(&self) -> impl ExactSizeIterator<Item = &[u8]> + '_ {
        (0..self.starts.len()).map(|index| self.payload(index))
    }

    pub(crate) fn starts(&self) -> &[u32] {
        &self.starts
    }

    pub(crate) fn keys(&self) -> &[(u64, u32)] {
        &self.keys
    }

    /// Calls `write` with the sealed bytes and zeros behind them, `padded_len` bytes in all, for one single write.
    pub(crate) fn write_padded<R>(
        &mut self,
        padded_len: usize,
        write: impl FnOnce(&[u8]) -> R,
    ) -> R {
        let len = self.buf.len();
        assert!(
            self.sealed_on.is_some() && padded_len >= len,
            "only a sealed frame is written"
        );
        self.buf.resize(padded_len, 0);
        let result = write(&self.buf);
        self.buf.truncate(len);
        result
    }
}

/// The fields of a frame's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// Version of the format of the frame and of its records.
    pub format_version: u16,
    /// Version of the rules that decided the records.
    pub rules_version: u16,
    /// Epoch that the frame belongs to.
    pub epoch: u32,
    /// Number of records.
    pub count: u32,
    /// Position of the first record.
    pub first_position: u64,
    /// Timestamp, nanoseconds since the Unix epoch.
    pub timestamp: u64,
    /// Number of bytes of the body.
    pub body_len: u32,
    /// Hash of the previous frame.
    pub prev_hash: [u8; 32],
    /// Hash of this frame.
    pub hash: [u8; 32],
}

impl FrameHeader {
    /// Parses a header, and checks its checksum and bounds.
    ///
    /// # Errors
    /// [`BadFrame`] says what is wrong.
    pub fn parse(bytes: &[u8]) -> Result<FrameHeader, BadFrame> {
        if bytes.len() < FRAME_HEADER_BYTES {
            return Err(BadFrame("the frame header is cut short"));
        }
        if bytes[..4] != MAGIC {
            return Err(BadFrame("no frame begins here"));
        }
        if crc32c::crc32c(&bytes[..CRC_AT]) != u32_at(bytes, CRC_AT) {
            return Err(BadFrame("the frame header's checksum does not match"));
        }
        let header = FrameHeader {
            format_version: u16_at(bytes, 4),
            rules_version: u16_at(bytes, 6),
            epoch: u32_at(bytes, 8),
            count: u32_at(bytes, 12),
            first_position: u64_at(bytes, 16),
            timestamp: u64_at(bytes, 24),
            body_len: u32_at(bytes, 32),
            prev_hash: array_at(bytes, 60),
            hash: array_at(bytes, HASH_AT),
        };
        if !(1..=FORMAT_VERSION).contains(&header.format_version) {
            return Err(UNKNOWN_VERSION);
        }
        let sound = header.count >= 1
            && header.count <= FRAME_RECORDS_MAX
            && header.first_position >= 1
            && header.epoch >= 1
            && header.body_len as usize >= header.count as usize * (RECORD_HEADER_BYTES + 1)
            && header.body_len as usize <= FRAME_BODY_BYTES_MAX;
        if !sound {
            return Err(OUT_OF_BOUNDS);
        }
        Ok(header)
    }

    /// Returns what a reader of the frame must know.
    #[must_use]
    pub fn versions(&self) -> Versions {
        Versions {
            format: self.format_version,
            rules: self.rules_version,
        }
    }

    /// Returns the number of bytes of the whole frame, header and body.
    #[must_use]
    pub fn frame_len(&self) -> usize {
        FRAME_HEADER_BYTES + self.body_len as usize
    }

    /// Returns the position of the last record.
    #[must_use]
    pub fn last_position(&self) -> u64 {
        self.first_position + u64::from(self.count) - 1
    }

    /// Returns the head after this frame.
    #[must_use]
    pub fn head(&self) -> Head {
        Head {
            position: self.last_position(),
            hash: self.hash,
            timestamp: self.timestamp,
            epoch: self.epoch,
        }
    }

    /// Writes the header with hash and checksum in front of the body that is in `frame` already.
    fn write(&self, frame: &mut [u8]) {
        frame[..FRAME_HEADER_BYTES].fill(0);
        put(frame, 0, &MAGIC);
        put(frame, 4, &self.format_version.to_le_bytes());
        put(frame, 6, &self.rules_version.to_le_bytes());
        put(frame, 8, &self.epoch.to_le_bytes());
        put(frame, 12, &self.count.to_le_bytes());
        put(frame, 16, &self.first_position.to_le_bytes());
        put(frame, 24, &self.timestamp.to_le_bytes());
        put(frame, 32, &self.body_len.to_le_bytes());
        put(frame, 60, &self.prev_hash);
        let hash = frame_hash(frame);
        put(frame, HASH_AT, &hash);
        let crc = crc32c::crc32c(&frame[..CRC_AT]);
        put(frame, CRC_AT, &crc.to_le_bytes());
    }
}

/// A frame in memory whose header is valid. [`FrameRef::verify`] checks the rest.
#[derive(Clone, Copy, Debug)]
pub struct FrameRef<'a> {
    header: FrameHeader,
    bytes: &'a [u8],
}

impl<'a> FrameRef<'a> {
    /// Parses the frame at the start of `bytes`, which may be longer. Checks only the header.
    ///
    /// # Errors
    /// [`BadFrame`] says what is wrong.
    pub fn parse(bytes: &'a [u8]) -> Result<FrameRef<'a>, BadFrame> {
        let header = FrameHeader::parse(bytes)?;
        match bytes.get(..header.frame_len()) {
            Some(bytes) => Ok(FrameRef { header, bytes }),
            None => Err(BadFrame("the frame is cut short")),
        }
    }

    /// Checks that the frame follows `prev`, its hash, and the bounds and checksum of every record.
    ///
    /// # Errors
    /// [`BadFrame`] says what is wrong.
    pub fn verify(&self, prev: &Head) -> Result<(), BadFrame> {
        let header = &self.header;
        if header.first_position != prev.position + 1 {
            return Err(BadFrame(
                "the frame's position does not follow the one before",
            ));
        }
        if header.prev_hash != prev.hash {
            return Err(BadFrame("the frame is not chained to the one before"));
        }
        if header.timestamp < prev.timestamp {
            return Err(BadFrame("the frame is older than the one before"));
        }
        self.verify_content()
    }

    /// Checks that every byte is as it was sealed.
    pub(crate) fn verify_hash(&self) -> Result<(), BadFrame> {
        match frame_hash(self.bytes) == self.header.hash {
            true => Ok(()),
            false => Err(BadFrame("the frame's hash does not match")),
        }
    }

    /// Checks the hash and every record, but not that the frame follows another.
    ///
    /// # Errors
    /// [`BadFrame`] says what is wrong.
    pub fn verify_content(&self) -> Result<(), BadFrame> {
        self.verify_hash()?;
        let mut records = self.records();
        for record in records.by_ref() {
            let (position, crc, payload) = record.raw;
            if record_crc(position, payload) != crc {
                return Err(BadFrame("a record's checksum does not match"));
            }
        }
        if records.left != 0 || !records.rest.is_empty() {
            return Err(BadFrame("the records do not fill the frame"));
        }
        Ok(())
    }

    /// Returns the fields of the header.
    #[must_use]
    pub fn header(&self) -> &FrameHeader {
        &self.header
    }

    /// Returns the bytes of the frame, header and body.
    #[must_use]
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Returns the head after this frame.
    #[must_use]
    pub fn head(&self) -> Head {
        self.header.head()
    }

    /// Iterates over the records in order. Ends early where a length is out of bounds, which [`FrameRef::verify`] detects.
    #[must_use]
    pub fn records(&self) -> Records<'a> {
        Records {
            rest: &self.bytes[FRAME_HEADER_BYTES..],
            position: self.header.first_position,
            left: self.header.count,
        }
    }
}

/// One record of a frame.
#[derive(Clone, Copy, Debug)]
pub struct FrameRecord<'a> {
    raw: (u64, u32, &'a [u8]),
}

impl<'a> FrameRecord<'a> {
    /// Returns the position of the record.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.raw.0
    }

    /// Returns the payload of the record.
    #[must_use]
    pub fn payload(&self) -> &'a [u8] {
        self.raw.2
    }
}

/// Iterator over the records of a frame.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    rest: &'a [u8],
    position: u64,
    left: u32,
}

impl<'a> Iterator for Records<'a> {
    type Item = FrameRecord<'a>;

    fn next(&mut self) -> Option<FrameRecord<'a>> {
        if self.left == 0 || self.rest.len() < RECORD_HEADER_BYTES {
            return None;
        }
        let len = u32_at(self.rest, 0) as usize;
        let crc = u32_at(self.rest, 4);
        if len == 0 || len > RECORD_BYTES_MAX {
            return None;
        }
        let payload = self
            .rest
            .get(RECORD_HEADER_BYTES..RECORD_HEADER_BYTES + len)?;
        self.rest = &self.rest[RECORD_HEADER_BYTES + len..];
        let position = self.position;
        self.position += 1;
        self.left -= 1;
        Some(FrameRecord {
            raw: (position, crc, payload),
        })
    }
}

pub(crate) fn record_crc(position: u64, payload: &[u8]) -> u32 {
    let mut prefix = [0; 12];
    put(&mut prefix, 0, &position.to_le_bytes());
    put(&mut prefix, 8, &(payload.len() as u32).to_le_bytes());
    crc32c::crc32c_append(crc32c::crc32c(&prefix), payload)
}

fn frame_hash(frame: &[u8]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&frame[..HASH_AT]);
    hasher.update(&frame[FRAME_HEADER_BYTES..]);
    *hasher.finalize().as_bytes()
}
