//! Reading a whole journal from the segments alone.

use std::io;
use std::ops::ControlFlow;

use crate::disk::Disk;
use crate::files::SEGMENT_DIR;
use crate::frame::{BadFrame, FRAME_HEADER_BYTES, FrameRef, Versions};
use crate::head::{Damage, Head};
use crate::meta::Meta;
use crate::options::OpenError;
use crate::recovery::read_header;
use crate::segment::{
    SEGMENT_HEADER_BYTES, Segment, SegmentHeader, segment_name_position, segment_path,
};
use crate::synced::{self, Mark};
use crate::tail::{Tail, Walk, WalkError, examine_tail};

/// Checks of a scan besides the journal itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct ScanOptions {
    /// Hash of a frame that was recorded elsewhere. A frame of the journal must have it.
    pub anchor: Option<[u8; 32]>,
}

/// One record during a scan. Its frame is verified.
#[derive(Clone, Copy, Debug)]
pub struct ScanRecord<'a> {
    /// Position of the record.
    pub position: u64,
    /// Timestamp of the frame, nanoseconds since the Unix epoch.
    pub timestamp: u64,
    /// Versions of the record.
    pub versions: Versions,
    /// Epoch that the record belongs to.
    pub epoch: u32,
    /// Payload of the record.
    pub payload: &'a [u8],
}

/// Report of a scan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScanReport {
    /// Head after the last frame that was scanned.
    pub head: Head,
    /// Number of frames.
    pub frames: u64,
    /// Number of segments.
    pub segments: u64,
    /// Bytes of an unfinished write at the end, which opening the journal would cut, or which is being written right now.
    pub tail_bytes: u64,
}

/// Why a scan ended early.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// There is no journal in the directory.
    #[error("there is no journal in the directory")]
    NotFound,
    /// The journal is damaged; this is the first damage.
    #[error(transparent)]
    Damaged(#[from] Damage),
    /// The journal is whole, but no frame has the anchor's hash: this is another history.
    #[error("no frame of this journal has the hash of the anchor")]
    AnchorMissing,
    /// A file is of a newer format than this code knows.
    #[error("{file} is of format version {version}, which a newer version of this program wrote")]
    Unsupported {
        /// The file, relative to the journal's directory.
        file: String,
        /// Version of the file.
        version: u16,
    },
    /// The callback stopped the scan.
    #[error("the caller stopped the scan")]
    Stopped,
    /// The storage failed.
    #[error("the storage failed: {0}")]
    Io(#[from] io::Error),
}

/// Reads every frame from the first to the last, and checks checksums, positions and the hash chain. Uses neither index nor
/// checkpoint, changes nothing, and may run beside a writer.
///
/// # Errors
/// [`ScanError::Damaged`] with the first damage, and others.
pub fn scan(
    disk: &dyn Disk,
    options: &ScanOptions,
    record: &mut dyn FnMut(ScanRecord<'_>) -> ControlFlow<()>,
) -> Result<ScanReport, ScanError> {
    let meta = Meta::load(disk)?.ok_or(ScanError::NotFound)??;
    let Some((mark, _)) = synced::load(disk, &meta.cluster_id)? else {
        return Err(Damage::new(
            synced::SYNCED_FILE,
            0,
            0,
            "neither of its two slots can be read",
        )
        .into());
    };
    let mut scan = Scan {
        disk,
        meta,
        mark,
        anchor: options.anchor,
        anchor_seen: false,
        report: ScanReport::default(),
        record,
    };
    let mut before = (Head::default(), 0);
    let mut next = Some(1);
    while let Some(first_position) = next {
        (before, next) = scan.segment(first_position, before)?;
        scan.report.segments += 1;
    }
    let head = before.0;
    scan.report.head = Head {
        epoch: scan.meta.epoch_of(head.position + 1),
        ..head
    };
    match options.anchor {
        Some(anchor) if !scan.anchor_seen && anchor != [0; 32] => Err(ScanError::AnchorMissing),
        _ => Ok(scan.report),
    }
}

struct Scan<'a> {
    disk: &'a dyn Disk,
    meta: Meta,
    mark: Mark,
    anchor: Option<[u8; 32]>,
    anchor_seen: bool,
    report: ScanReport,
    record: &'a mut dyn FnMut(ScanRecord<'_>) -> ControlFlow<()>,
}

impl Scan<'_> {
    /// Returns the first position of the next segment, by the names of the files.
    fn next_segment(&self, first_position: u64) -> io::Result<Option<u64>> {
        let names = self.disk.list(SEGMENT_DIR)?;
        let positions = names.iter().filter_map(|name| segment_name_position(name));
        Ok(positions
            .filter(|position| *position > first_position)
            .min())
    }

    fn open(&self, first_position: u64) -> Result<Segment, ScanError> {
        let path = segment_path(first_position);
        let file = match self.disk.open_read(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(Damage::new(&path, 0, first_position, "the segment is missing").into());
            }
            Err(error) => return Err(error.into()),
        };
        let header = read_header(&*file, &path, first_position, &self.meta.cluster_id)?;
        Ok(Segment::new(path, header, file))
    }

    /// Scans a segment, which must begin where the segment before ended. Returns where this segment ends, and the first position of the
    /// next segment if there was one by then: a later one may follow frames that were not scanned.
    fn segment(
        &mut self,
        first_position: u64,
        before: (Head, u64),
    ) -> Result<((Head, u64), Option<u64>), ScanError> {
        let segment = self.open(first_position)?;
        let SegmentHeader { prev, prev_end, .. } = segment.header;
        if (prev, prev_end)
            != (
                Head {
                    epoch: 0,
                    ..before.0
                },
                before.1,
            )
        {
            // The missing segment would begin where the segment before ended.
            let what = "the segment does not follow the one before";
            return Err(segment.damage(0, before.0.position + 1, what).into());
        }
        let mark = self.mark;
        let mut walk = Walk::new(&segment, &mark);
        walk.check_padding = true;
        loop {
            let next = self.next_segment(first_position)?;
            let limit = match next {
                Some(next) => self.open(next)?.header.prev_end,
                None => segment.file.len()?,
            };
            walk.discard_read_ahead();
            let bad = self.walk(&mut walk, limit)?;
            match next {
                Some(_) => {
                    return match bad {
                        Some(bad) => Err(segment
                            .damage(walk.offset, walk.head.position + 1, bad.0)
                            .into()),
                        None => Ok(((walk.head, walk.offset), next)),
                    };
                }
                None => {
                    if let Some(tail) = self.tail(&mut walk, &segment, limit, bad)? {
                        self.report.tail_bytes = tail;
                        return Ok(((walk.head, walk.offset), None));
                    }
                }
            }
        }
    }

    /// Judges the bytes behind the last frame. `None` if the writer has appended frames meanwhile.
    fn tail(
        &mut self,
        walk: &mut Walk<'_>,
        segment: &Segment,
        limit: u64,
        bad: Option<BadFrame>,
    ) -> Result<Option<u64>, ScanError> {
        let tail = examine_tail(segment, walk.offset, &walk.head, limit, &self.mark, bad)?;
        let frames = self.report.frames;
        walk.discard_read_ahead();
        self.walk(walk, limit)?;
        if self.report.frames != frames || self.next_segment(segment.first_position())?.is_some() {
            return Ok(None);
        }
        Ok(Some(match tail? {
            Tail::Clean => 0,
            Tail::Unfinished { bytes } => bytes,
        }))
    }

    /// Verifies frames and delivers their records, until `limit` or a bad frame.
    fn walk(&mut self, walk: &mut Walk<'_>, limit: u64) -> Result<Option<BadFrame>, ScanError> {
        while walk.offset.max(SEGMENT_HEADER_BYTES) + FRAME_HEADER_BYTES as u64 <= limit {
            let mut visited = Ok(());
            let bad = walk.step(limit, &mut |frame, _| visited = self.frame(frame))?;
            visited?;
            if let Some(bad) = bad {
                return Ok(Some(bad));
            }
        }
        Ok(None)
    }

    fn frame(&mut self, frame: &FrameRef<'_>) -> Result<(), ScanError> {
        let header = frame.header();
        if self.meta.epoch_of(header.first_position) != header.epoch {
            // The epoch may have begun after the scan.
            self.meta = Meta::load(self.disk)?.ok_or(ScanError::NotFound)??;
            if self.meta.epoch_of(header.first_position) != header.epoch {
                let what = "the epochs are not those of the frames";
                return Err(
                    Damage::new(crate::meta::META_FILE, 0, header.first_position, what).into(),
                );
            }
        }
        self.report.frames += 1;
        self.anchor_seen |= self.anchor == Some(header.hash);
        for record in frame.records() {
            let record = ScanRecord {
                position: record.position(),
                timestamp: header.timestamp,
                versions: header.versions(),
                epoch: header.epoch,
                payload: record.payload(),
            };
            if (self.record)(record).is_break() {
                return Err(ScanError::Stopped);
            }
        }
        Ok(())
    }
}

impl From<WalkError> for ScanError {
    fn from(error: WalkError) -> Self {
        match error {
            WalkError::Io(error) => error.into(),
            WalkError::Damaged(damage) => damage.into(),
            WalkError::Unsupported { file, version } => ScanError::Unsupported { file, version },
        }
    }
}

impl From<OpenError> for ScanError {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Io(error) => error.into(),
            OpenError::Damaged(damage) => damage.into(),
            OpenError::Unsupported { file, version } => ScanError::Unsupported { file, version },
            other => ScanError::Io(io::Error::other(other)),
        }
    }
}
