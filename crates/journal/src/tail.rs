//! Walking through a segment, and telling an unfinished write from damage.
//!
//! A frame is written only after the frame before it is durable. So a bad frame was acknowledged, and is damage, when a valid header of
//! a later frame follows, when the `synced` mark covers the bad frame, or when its own header is valid but says something that no writer
//! would have written here. Otherwise the bad frame is the rest of an unfinished write.

use std::io;

use crate::bytes::{align_up, all_zero, u16_at};
use crate::frame::{
    BadFrame, FRAME_HEADER_BYTES, FrameHeader, FrameRef, OUT_OF_BOUNDS, UNKNOWN_VERSION,
};
use crate::head::{Damage, Head};
use crate::segment::{FRAME_ALIGNMENT, FrameReader, SEGMENT_HEADER_BYTES, Segment};
use crate::synced::Mark;

const SEARCH_BYTES: u64 = 1024 * 1024;

/// Verifies the frames of a segment one after another.
pub(crate) struct Walk<'a> {
    segment: &'a Segment,
    mark: &'a Mark,
    reader: FrameReader,
    /// Offset of the next frame.
    pub(crate) offset: u64,
    /// Head before the next frame.
    pub(crate) head: Head,
    /// Whether padding that is not zero counts as damage. No acknowledged data is lost with it.
    pub(crate) check_padding: bool,
}

pub(crate) enum WalkError {
    Io(io::Error),
    Damaged(Damage),
    Unsupported { file: String, version: u16 },
}

impl From<io::Error> for WalkError {
    fn from(error: io::Error) -> Self {
        WalkError::Io(error)
    }
}

impl<'a> Walk<'a> {
    pub(crate) fn new(segment: &'a Segment, mark: &'a Mark) -> Walk<'a> {
        Walk {
            segment,
            mark,
            reader: FrameReader::default(),
            offset: SEGMENT_HEADER_BYTES,
            head: segment.header.prev,
            check_padding: false,
        }
    }

    /// Discards the read-ahead, since a writer may have appended frames.
    pub(crate) fn discard_read_ahead(&mut self) {
        self.reader.discard();
    }

    /// Verifies frames until `limit` or a bad frame. Returns why the frame is bad.
    pub(crate) fn run(
        &mut self,
        limit: u64,
        visit: &mut dyn FnMut(&FrameRef<'_>, u64),
    ) -> Result<Option<BadFrame>, WalkError> {
        while self.offset + FRAME_HEADER_BYTES as u64 <= limit {
            if let Some(bad) = self.step(limit, visit)? {
                return Ok(Some(bad));
            }
        }
        Ok(None)
    }

    /// Verifies one frame. Returns why the frame is bad, if it is.
    pub(crate) fn step(
        &mut self,
        limit: u64,
        visit: &mut dyn FnMut(&FrameRef<'_>, u64),
    ) -> Result<Option<BadFrame>, WalkError> {
        let segment = self.segment;
        let frame = match self.reader.frame(&*segment.file, self.offset, limit)? {
            Ok(frame) => frame,
            Err(UNKNOWN_VERSION) => {
                let header =
                    self.reader
                        .bytes(&*segment.file, self.offset, FRAME_HEADER_BYTES, limit)?;
                return Err(WalkError::Unsupported {
                    file: segment.path.clone(),
                    version: u16_at(header, 4),
                });
            }
            Err(bad) => return Ok(Some(bad)),
        };
        if let Err(bad) = frame.verify(&self.head) {
            return Ok(Some(bad));
        }
        let head = frame.head();
        if head.position == self.mark.position && head.hash != self.mark.hash {
            let what = "the frame is not the one that the file `synced` names";
            return Err(WalkError::Damaged(segment.damage(
                self.offset,
                frame.header().first_position,
                what,
            )));
        }
        visit(&frame, self.offset);
        let frame_len = frame.bytes().len();
        let end = self.offset + frame_len as u64;
        let next = segment.next_frame_offset(self.offset, frame_len);
        if self.check_padding {
            let padding =
                self.reader
                    .bytes(&*segment.file, end, (next - end) as usize, limit.max(end))?;
            if !all_zero(padding) {
                let what = "the padding behind the frame is not zero";
                return Err(WalkError::Damaged(segment.damage(end, head.position, what)));
            }
        }
        self.head = head;
        self.offset = next;
        Ok(None)
    }
}

/// The bytes behind the last valid frame.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Tail {
    Clean,
    /// The rest of an unfinished write. The last byte that is not zero lies within `bytes` behind the last valid frame.
    Unfinished {
        bytes: u64,
    },
}

/// Judges the bytes between the last valid frame, which ends at `end` with `head`, and the end of the file.
pub(crate) fn examine_tail(
    segment: &Segment,
    end: u64,
    head: &Head,
    file_len: u64,
    mark: &Mark,
    bad: Option<BadFrame>,
) -> io::Result<Result<Tail, Damage>> {
    let expected = head.position + 1;
    let what = bad.map_or("frames that were known to be durable are missing", |bad| {
        bad.0
    });
    if mark.position >= expected || bad == Some(OUT_OF_BOUNDS) {
        return Ok(Err(segment.damage(end, expected, what)));
    }
    let mut reader = FrameReader::default();
    let mut search_from = end;
    if let Ok(header) = reader.header(&*segment.file, end, file_len)? {
        let follows = header.first_position == expected
            && header.prev_hash == head.hash
            && header.timestamp >= head.timestamp;
        if !follows {
            return Ok(Err(segment.damage(end, expected, what)));
        }
        // Only the body of the frame is bad. Do not search in it: payloads may look like a frame.
        search_from = segment.next_frame_offset(end, header.frame_len());
    }
    let (later, used) = search(segment, end, search_from, file_len, head)?;
    Ok(if later {
        Err(segment.damage(end, expected, what))
    } else if used == end {
        Ok(Tail::Clean)
    } else {
        Ok(Tail::Unfinished { bytes: used - end })
    })
}

/// Returns whether a later frame begins at or after `search_from`, and the end of the bytes that are not zero.
fn search(
    segment: &Segment,
    end: u64,
    search_from: u64,
    file_len: u64,
    head: &Head,
) -> io::Result<(bool, u64)> {
    // A header may straddle two pieces, so each read takes one header more.
    let mut piece = vec![0; SEARCH_BYTES as usize + FRAME_HEADER_BYTES];
    let (mut at, mut used) = (end, end);
    while at < file_len {
        let wanted = (file_len - at).min(piece.len() as u64) as usize;
        let read = segment.file.read_at(&mut piece[..wanted], at)?;
        let bytes = &piece[..read];
        if !all_zero(bytes) {
            let last = bytes
                .iter()
                .rposition(|byte| *byte != 0)
                .map_or(0, |last| last as u64 + 1);
            used = align_up(at + last, FRAME_ALIGNMENT).min(file_len);
            for offset in (0..bytes.len()).step_by(FRAME_ALIGNMENT as usize) {
                let later = at + offset as u64 >= search_from
                    && FrameHeader::parse(&bytes[offset..]).is_ok_and(|header| {
                        header.first_position > head.position + 1
                            && header.timestamp >= head.timestamp
                    });
                if later {
                    return Ok((true, used));
                }
            }
        }
        at += SEARCH_BYTES;
    }
    Ok((false, used))
}
