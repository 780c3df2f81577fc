//! Checkpoints: the caller's state as opaque bytes, so that opening a journal need not replay all records.
//!
//! ```text
//! checkpoint/<through position>.ckpt
//! header, 64 bytes
//!   0   4  magic "TRBC"
//!   4   2  format_version (1)
//!   6   2  zero
//!   8   8  through: every change up to this position is in it
//!  16  32  hash of the frame that ends with this position; zeros for 0
//!  48  12  zero
//!  60   4  crc32c of the bytes before
//! blocks, one after another
//!   0   4  bytes of records that follow in this block; 0 in the last block
//!   4   4  crc32c(number of the block as u64 || through as u64 || length as u32 || records)
//!   8      records, whole: u32 length, then the bytes
//! after the last block: records as u64, crc32c of that as u32
//! ```
//!
//! A checkpoint is written under another name, synced as it grows and at the end, and renamed. The newest two are kept. The hash
//! identifies the history of the checkpoint: somebody may have set the journal's files back by hand, after which the journal grew past
//! the same position again.

use std::io;
use std::sync::Arc;

use crate::bytes::{array_at, put, u16_at, u32_at, u64_at};
use crate::disk::{Disk, File};
use crate::files::{CHECKPOINT_DIR, Removal};
use crate::head::{Damage, Head};

/// Maximum number of bytes in a record of a checkpoint.
pub const CHECKPOINT_RECORD_BYTES_MAX: usize = 1024 * 1024;
const BLOCK_BYTES: usize = 1024 * 1024;
const BLOCK_HEADER_BYTES: usize = 8;
const HEADER_BYTES: usize = 64;
const SYNC_BYTES: u64 = 8 * 1024 * 1024;
const CHECKPOINTS_KEPT: usize = 2;
const MAGIC: [u8; 4] = *b"TRBC";
const CHECKPOINT_VERSION: u16 = 1;

/// Writes one checkpoint, record by record. May run on a thread of its own. Only one checkpoint is written at a time.
#[derive(Debug)]
pub struct CheckpointWriter {
    disk: Arc<dyn Disk>,
    file: Arc<dyn File>,
    tmp: String,
    through: u64,
    block: Vec<u8>,
    blocks: u64,
    records: u64,
    written: u64,
    synced: u64,
    done: bool,
}

impl CheckpointWriter {
    /// Begins a checkpoint that holds every change up to `head`, which is or was the head of the journal.
    ///
    /// # Errors
    /// Whatever the storage reports. After [`io::ErrorKind::StorageFull`] the caller may retry later.
    pub fn begin(disk: Arc<dyn Disk>, head: &Head) -> io::Result<CheckpointWriter> {
        let through = head.position;
        disk.create_dir(CHECKPOINT_DIR)?;
        let tmp = format!("{}.tmp", checkpoint_path(through));
        let file = disk.create(&tmp)?;
        let mut block = Vec::with_capacity(2 * BLOCK_BYTES);
        block.resize(BLOCK_HEADER_BYTES, 0);
        let mut writer = CheckpointWriter {
            disk,
            file,
            tmp,
            through,
            block,
            blocks: 0,
            records: 0,
            written: 0,
            synced: 0,
            done: false,
        };
        let mut header = [0; HEADER_BYTES];
        put(&mut header, 0, &MAGIC);
        put(&mut header, 4, &CHECKPOINT_VERSION.to_le_bytes());
        put(&mut header, 8, &through.to_le_bytes());
        put(&mut header, 16, &head.hash);
        let crc = crc32c::crc32c(&header[..60]);
        put(&mut header, 60, &crc.to_le_bytes());
        writer.write(&header)?;
        Ok(writer)
    }

    /// Adds a record of 1 byte to [`CHECKPOINT_RECORD_BYTES_MAX`].
    ///
    /// # Errors
    /// As [`CheckpointWriter::begin`]. Dropping the writer removes the unfinished file.
    pub fn push(&mut self, record: &[u8]) -> io::Result<()> {
        assert!(
            (1..=CHECKPOINT_RECORD_BYTES_MAX).contains(&record.len()),
            "a checkpoint record is bounded"
        );
        self.block.extend((record.len() as u32).to_le_bytes());
        self.block.extend_from_slice(record);
        self.records += 1;
        if self.block.len() >= BLOCK_BYTES {
            self.end_block()
        } else {
            Ok(())
        }
    }

    /// Makes the checkpoint durable and visible, and removes all others but the one before: newer ones are of another history. Returns
    /// the size of the checkpoint in bytes.
    ///
    /// # Errors
    /// As [`CheckpointWriter::begin`].
    pub fn finish(mut self) -> io::Result<u64> {
        if self.block.len() > BLOCK_HEADER_BYTES {
            self.end_block()?;
        }
        self.end_block()?;
        let mut trailer = [0; 12];
        put(&mut trailer, 0, &self.records.to_le_bytes());
        let crc = crc32c::crc32c(&trailer[..8]);
        put(&mut trailer, 8, &crc.to_le_bytes());
        self.write(&trailer)?;
        self.file.sync_data()?;
        self.disk
            .rename(&self.tmp, &checkpoint_path(self.through))?;
        self.done = true;
        self.disk.sync_dir(CHECKPOINT_DIR)?;
        let found = checkpoints(&*self.disk)?;
        let end = found.partition_point(|through| *through <= self.through);
        let kept = end.saturating_sub(CHECKPOINTS_KEPT)..end;
        for (at, other) in found.into_iter().enumerate() {
            if !kept.contains(&at) {
                // Rename first: a half removed file must not look like a checkpoint. The next open removes what a crash leaves.
                let path = checkpoint_path(other);
                let gone = format!("{path}.tmp");
                self.disk.rename(&path, &gone)?;
                let mut removal = Removal::begin(&*self.disk, gone)?;
                while !removal.advance(&*self.disk)? {}
            }
        }
        Ok(self.written)
    }

    fn end_block(&mut self) -> io::Result<()> {
        let mut block = std::mem::take(&mut self.block);
        let len = (block.len() - BLOCK_HEADER_BYTES) as u32;
        let crc = block_crc(self.blocks, self.through, &block[BLOCK_HEADER_BYTES..]);
        put(&mut block, 0, &len.to_le_bytes());
        put(&mut block, 4, &crc.to_le_bytes());
        let written = self.write(&block);
        block.truncate(BLOCK_HEADER_BYTES);
        self.block = block;
        self.blocks += 1;
        written
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_at(bytes, self.written)?;
        self.written += bytes.len() as u64;
        if self.written - self.synced >= SYNC_BYTES {
            self.file.sync_data()?;
            self.synced = self.written;
        }
        Ok(())
    }
}

impl Drop for CheckpointWriter {
    fn drop(&mut self) {
        if !self.done {
            let _ = self.disk.remove(&self.tmp);
        }
    }
}

/// An item that loading a checkpoint delivers.
#[derive(Debug)]
pub enum CheckpointItem {
    /// A checkpoint begins. The receiver must discard everything received before: a newer checkpoint turned out to be damaged.
    Begin {
        /// The checkpoint holds every change up to this position.
        through: u64,
    },
    /// The next records, in the order in which they were written.
    Block(CheckpointBlock),
}

/// About a mebibyte of records of a checkpoint.
#[derive(Debug)]
pub struct CheckpointBlock(Vec<u8>);

impl CheckpointBlock {
    /// Iterates over the records, as they were written.
    pub fn records(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = &self.0[..];
        std::iter::from_fn(move || {
            let record;
            (record, rest) = split_record(rest)?;
            Some(record)
        })
    }

    /// Returns the number of records. `None` if they do not fill the block.
    fn count(&self) -> Option<u64> {
        let (mut rest, mut count) = (&self.0[..], 0);
        while !rest.is_empty() {
            rest = split_record(rest)?.1;
            count += 1;
        }
        Some(count)
    }
}

/// Splits off the first record of a block's bytes.
fn split_record(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = bytes.split_first_chunk()?;
    rest.split_at_checked(u32::from_le_bytes(*len) as usize)
}

/// The result of loading.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckpointLoaded {
    /// The checkpoint that was loaded. `None` if there is none; then the receiver must discard everything received.
    pub through: Option<u64>,
    /// Newer checkpoints that are damaged or of another history.
    pub damaged: Vec<Damage>,
}

/// Loads the newest checkpoint that is whole and of this history, and falls back to older ones. `is_ours` tells whether the
/// journal has a frame that ends with the given position and has the given hash ([`crate::Reader::head_at`]).
///
/// # Errors
/// Whatever the storage reports. Damage is reported in the result.
pub fn load_latest_checkpoint(
    disk: &dyn Disk,
    is_ours: &mut dyn FnMut(u64, [u8; 32]) -> bool,
    item: &mut dyn FnMut(CheckpointItem),
) -> io::Result<CheckpointLoaded> {
    let mut loaded = CheckpointLoaded::default();
    for through in checkpoints(disk)?.into_iter().rev() {
        let path = checkpoint_path(through);
        let file = disk.open_read(&path)?;
        item(CheckpointItem::Begin { through });
        match load(&*file, through, is_ours, item)? {
            Ok(()) => {
                loaded.through = Some(through);
                break;
            }
            Err((offset, what)) => loaded
                .damaged
                .push(Damage::new(&path, offset, through, what)),
        }
    }
    Ok(loaded)
}

type Bad = (u64, &'static str);

fn load(
    file: &dyn File,
    through: u64,
    is_ours: &mut dyn FnMut(u64, [u8; 32]) -> bool,
    item: &mut dyn FnMut(CheckpointItem),
) -> io::Result<Result<(), Bad>> {
    let mut header = [0; HEADER_BYTES];
    let read = file.read_at(&mut header, 0)?;
    let sound = read == HEADER_BYTES
        && header[..4] == MAGIC
        && crc32c::crc32c(&header[..60]) == u32_at(&header, 60)
        && u16_at(&header, 4) == CHECKPOINT_VERSION
        && u64_at(&header, 8) == through;
    if !sound {
        return Ok(Err((
            0,
            "the checkpoint's header does not match its checksum",
        )));
    }
    if !is_ours(through, array_at(&header, 16)) {
        return Ok(Err((0, "the checkpoint is of another history")));
    }
    let (mut at, mut number, mut records) = (HEADER_BYTES as u64, 0, 0);
    loop {
        let mut block_header = [0; BLOCK_HEADER_BYTES];
        let read = file.read_at(&mut block_header, at)?;
        let len = u32_at(&block_header, 0) as usize;
        if read < BLOCK_HEADER_BYTES || len > BLOCK_BYTES + CHECKPOINT_RECORD_BYTES_MAX + 4 {
            return Ok(Err((at, "a block of the checkpoint is cut short")));
        }
        let mut block = vec![0; len];
        let read = file.read_at(&mut block, at + BLOCK_HEADER_BYTES as u64)?;
        if read < len || block_crc(number, through, &block) != u32_at(&block_header, 4) {
            return Ok(Err((
                at,
                "a block of the checkpoint does not match its checksum",
            )));
        }
        if len == 0 {
            break;
        }
        let block = CheckpointBlock(block);
        let Some(count) = block.count() else {
            return Ok(Err((at, "the records do not fill the block")));
        };
        item(CheckpointItem::Block(block));
        records += count;
        at += (BLOCK_HEADER_BYTES + len) as u64;
        number += 1;
    }
    let mut trailer = [0; 12];
    at += BLOCK_HEADER_BYTES as u64;
    let read = file.read_at(&mut trailer, at)?;
    let whole = read == trailer.len()
        && crc32c::crc32c(&trailer[..8]) == u32_at(&trailer, 8)
        && u64_at(&trailer, 0) == records;
    Ok(if whole {
        Ok(())
    } else {
        Err((at, "the checkpoint's end does not match its checksum"))
    })
}

fn block_crc(number: u64, through: u64, records: &[u8]) -> u32 {
    let mut prefix = [0; 20];
    put(&mut prefix, 0, &number.to_le_bytes());
    put(&mut prefix, 8, &through.to_le_bytes());
    put(&mut prefix, 16, &(records.len() as u32).to_le_bytes());
    crc32c::crc32c_append(crc32c::crc32c(&prefix), records)
}

fn checkpoint_path(through: u64) -> String {
    format!("{CHECKPOINT_DIR}/{through:020}.ckpt")
}

/// Lists the positions of the existing checkpoints, oldest first.
fn checkpoints(disk: &dyn Disk) -> io::Result<Vec<u64>> {
    let names = disk.list(CHECKPOINT_DIR)?;
    Ok(names
        .iter()
        .filter_map(|name| name.strip_suffix(".ckpt")?.parse().ok())
        .collect())
}
