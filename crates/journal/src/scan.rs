//! Scans and scrubs.

use std::io;
use std::ops::ControlFlow;

use crate::disk::Disk;
use crate::head::{Damage, Head};

/// What a scan checks besides the journal itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct ScanOptions {
    /// The hash of a frame that was noted elsewhere: it must occur.
    pub anchor: Option<[u8; 32]>,
}

/// One record during a scan; its frame has been verified.
#[derive(Clone, Copy, Debug)]
pub struct ScanRecord<'a> {
    /// Its position.
    pub position: u64,
    /// Of its frame, nanoseconds since the Unix epoch.
    pub timestamp: u64,
    /// Of the rules that decided it.
    pub rules_version: u16,
    /// The epoch that it belongs to.
    pub epoch: u32,
    /// Its bytes.
    pub payload: &'a [u8],
}

/// What a scan found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScanReport {
    /// The end of what was scanned.
    pub head: Head,
    /// Frames.
    pub frames: u64,
    /// Segments.
    pub segments: u64,
    /// Bytes of an unfinished write at the end, which opening would cut (or which is being written right now).
    pub tail_bytes: u64,
}

/// Why a scan ended early.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// There is no journal in the directory.
    #[error("there is no journal here")]
    NotFound,
    /// The first damage.
    #[error(transparent)]
    Damaged(#[from] Damage),
    /// Everything is whole, but the anchor does not occur: this is another history.
    #[error("the anchor does not occur in this journal")]
    AnchorMissing,
    /// A file is of a newer format than this code knows.
    #[error("{file} is of format version {version}, which this version cannot read")]
    Unsupported {
        /// The file, relative to the journal's directory.
        file: String,
        /// Its version.
        version: u16,
    },
    /// The callback broke off.
    #[error("stopped")]
    Stopped,
    /// The storage failed.
    #[error("storage: {0}")]
    Io(#[from] io::Error),
}

/// Reads every frame from the first to the last, trusting neither index nor checkpoint, and checks checksums,
/// positions and the hash chain. Changes nothing and may run beside a writer.
///
/// # Errors
/// The first damage, and others.
pub fn scan(
    _disk: &dyn Disk,
    _options: &ScanOptions,
    _record: &mut dyn FnMut(ScanRecord<'_>) -> ControlFlow<()>,
) -> Result<ScanReport, ScanError> {
    unimplemented!()
}

/// An incremental check of everything stored, a few bytes at a time, round and round.
#[derive(Debug)]
pub struct Scrubber {}

/// What a scrub step did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScrubStep {
    /// Bytes read and checked.
    pub bytes: u64,
    /// Damage found; the scrub goes on behind it.
    pub damage: Vec<Damage>,
    /// Whether a round was completed with this step.
    pub round_complete: bool,
}

impl Scrubber {
    /// Checks at least one frame or page, and about `max_bytes`.
    ///
    /// # Errors
    /// Whatever the storage reports; damage is in the result.
    pub fn step(&mut self, _max_bytes: u64) -> io::Result<ScrubStep> {
        unimplemented!()
    }
}
