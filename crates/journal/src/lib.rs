//! The journal: an append-only log of opaque records. An append returns when the records are durable.
//!
//! This crate does: frames with checksums and a hash chain, segments reserved ahead, one write and one sync per frame, reads by
//! position, an index from 64-bit key hashes to positions, recovery, checkpoints of opaque bytes, scans and scrubs.
//! This crate must not know what a record means: no money, no accounts, no commands. It accesses storage and time only through
//! [`Disk`] and [`Clock`].
//!
//! # The directory
//! ```text
//! meta                           identity of the journal and its epochs
//! lock                           locked while the journal is open
//! synced                         two slots: the durable position when the writer last became idle
//! journal/<first position>.seg   frames: the truth, from which nothing is ever deleted
//! journal/spare-<n>.seg          reserved ahead, and filled with zeros as the journal grows
//! index/<first position>.pos     offsets of the records of a sealed segment; a view
//! index/<first>-<last>.run       sorted (hash, position) of sealed segments; a view
//! checkpoint/<position>.ckpt     state of the caller; a view
//! ```
//!
//! # The write rule
//! Frame n + 1 is written only after frame n is synced. Hence a valid header of a later frame proves that every earlier frame
//! was durable, and only a bad *last* frame can be the rest of an unfinished write. The `synced` slots protect the last frame, too.

mod bytes;
mod checkpoint;
mod disk;
mod files;
mod frame;
mod head;
mod index;
mod locks;
mod maintain;
mod meta;
mod options;
mod positions;
mod prefetch;
mod reader;
mod recovery;
mod scan;
mod scrub;
mod segment;
mod shared;
mod synced;
mod tail;
mod writer;

pub use checkpoint::{
    CHECKPOINT_RECORD_BYTES_MAX, CheckpointBlock, CheckpointItem, CheckpointLoaded,
    CheckpointWriter, load_latest_checkpoint,
};
pub use disk::{DirDisk, DirLock, Disk, File};
pub use files::replace_file;
pub use frame::{
    BadFrame, FORMAT_VERSION, FRAME_BODY_BYTES_MAX, FRAME_BYTES_MAX, FRAME_HEADER_BYTES,
    FRAME_RECORDS_MAX, FrameBuilder, FrameHeader, FrameRecord, FrameRef, PushError,
    RECORD_BYTES_MAX, RECORD_HEADER_BYTES, Records, Versions,
};
pub use head::{Damage, Head, SharedLog};
pub use locks::{lock, read as read_lock, write as write_lock};
pub use maintain::Maintainer;
pub use meta::{Epoch, Meta, read_meta};
pub use options::{
    AppendError, KeyExtractor, OpenError, Options, ReadError, SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN,
    Space,
};
pub use prefetch::prefetch;
pub use reader::{FrameIter, JournalStats, ReadCache, Reader};
pub use recovery::{RecoveryReport, create, is_in_use, open, set_shared_log};
pub use scan::{ScanError, ScanOptions, ScanRecord, ScanReport, scan};
pub use scrub::{ScrubStep, Scrubber};
pub use writer::Writer;
