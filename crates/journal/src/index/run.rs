//! A run: an immutable sorted file of `(hash, position)` for one or more sealed segments.
//!
//! ```text
//! index/<first position>-<last position>.run
//! header, 4,096 bytes
//!    0   4  magic "TRBR"
//!    4   2  format_version (1)
//!    6   2  zero
//!    8   8  first position that is covered
//!   16   8  last position that is covered
//!   24   8  segments that are covered
//!   32   8  entries
//!   40   8  pages
//!   48   8  Bloom blocks
//!   56  16  cluster_id
//!   72  32  hash of the frame that ends with the last position
//!  104   4  crc32c of the Bloom blocks
//!  108   4  crc32c of the fences
//!  112   ..  zero
//! 4092   4  crc32c of the bytes before
//! pages, 4,096 bytes each, ascending by (hash, position)
//!    0      up to 255 entries: u64 spread hash, u64 position
//! 4080   8  number of the page, from 0
//! 4088   4  entries in it
//! 4092   4  crc32c of the bytes before
//! Bloom blocks, 64 bytes each
//! fences: u64 first hash of each page
//! ```
//!
//! Bloom blocks and fences are kept in memory, about 1.6 bytes per key. A run is written under another name, synced and renamed.

use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::bloom::{BLOCK_BYTES, Bloom};
use crate::bytes::{array_at, put, u16_at, u32_at, u64_at};
use crate::disk::{Disk, File};
use crate::files::INDEX_DIR;
use crate::head::Damage;
use crate::options::ReadError;

pub(crate) const PAGE_BYTES: usize = 4096;
const PAGE_ENTRIES: usize = 255;
const ENTRY_BYTES: usize = 16;
const PAGE_NUMBER_AT: usize = 4080;
const PAGE_COUNT_AT: usize = 4088;
const CRC_AT: usize = 4092;
const MAGIC: [u8; 4] = *b"TRBR";
const RUN_VERSION: u16 = 1;
const WRITE_BYTES: usize = 1024 * 1024;
/// Bytes written between two syncs: a large run must not delay the sync of a frame.
const SYNC_BYTES: u64 = 8 * 1024 * 1024;

/// Positions and segments that a run covers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RunExtent {
    pub(crate) first_position: u64,
    pub(crate) last_position: u64,
    pub(crate) segments: u64,
    pub(crate) cluster_id: [u8; 16],
    pub(crate) last_hash: [u8; 32],
}

impl RunExtent {
    pub(crate) fn path(&self) -> String {
        run_path(self.first_position, self.last_position)
    }
}

pub(crate) fn run_path(first_position: u64, last_position: u64) -> String {
    format!("{INDEX_DIR}/{first_position:020}-{last_position:020}.run")
}

/// An open run.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) extent: RunExtent,
    pub(crate) path: String,
    file: Arc<dyn File>,
    pub(crate) entries: u64,
    bloom: Bloom,
    fences: Vec<u64>,
    damaged: AtomicBool,
}

impl Run {
    /// Prefetches what [`Run::may_hold`] reads for these hashes.
    pub(crate) fn prefetch(&self, hashes: impl Iterator<Item = u64>) {
        self.bloom.prefetch(hashes);
    }

    /// Whether a hash may occur in the run. Reads one cache line of memory.
    pub(crate) fn may_hold(&self, hash: u64) -> bool {
        self.bloom.may_hold(hash)
    }

    /// Calls `found` with the positions of a spread hash, newest first, until `found` breaks.
    pub(crate) fn find(
        &self,
        hash: u64,
        found: &mut dyn FnMut(u64) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, ReadError> {
        let mut page_number = self.fences.partition_point(|first| *first <= hash);
        let mut page = [0; PAGE_BYTES];
        while page_number > 0 {
            page_number -= 1;
            let count = self.page(page_number, &mut page)?;
            let mut index = upper_bound(&page, count, hash);
            while index > 0 && u64_at(&page, (index - 1) * ENTRY_BYTES) == hash {
                index -= 1;
                if found(u64_at(&page, index * ENTRY_BYTES + 8)).is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
            if index > 0 || self.fences[page_number] != hash {
                break;
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    pub(crate) fn pages(&self) -> usize {
        self.fences.len()
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.bloom.blocks() as usize * BLOCK_BYTES + self.fences.len() * 8
    }

    /// Whether a read has found damage, so that the run must be rebuilt.
    pub(crate) fn is_damaged(&self) -> bool {
        self.damaged.load(Ordering::Relaxed)
    }

    /// Reads and checks a page. Returns its number of entries.
    pub(crate) fn page(
        &self,
        number: usize,
        page: &mut [u8; PAGE_BYTES],
    ) -> Result<usize, ReadError> {
        let offset = ((number + 1) * PAGE_BYTES) as u64;
        let read = self.file.read_at(page, offset)?;
        match (read == PAGE_BYTES)
            .then(|| check_page(page, number))
            .flatten()
        {
            Some(count) if u64_at(page, 0) == self.fences[number] => Ok(count),
            _ => {
                self.damaged.store(true, Ordering::Relaxed);
                Err(Damage::new(
                    &self.path,
                    offset,
                    0,
                    "an index page does not match its checksum",
                )
                .into())
            }
        }
    }

    /// Opens a run. `None` if the run is missing, damaged or of a newer format, so that it must be rebuilt.
    pub(crate) fn load(disk: &dyn Disk, path: &str) -> io::Result<Option<Run>> {
        let file = match disk.open_read(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut block = vec![0; PAGE_BYTES];
        if file.read_at(&mut block, 0)? < PAGE_BYTES {
            return Ok(None);
        }
        let Some(layout) = Layout::parse(&block) else {
            return Ok(None);
        };
        if layout.extent.path() != path || file.len()? < layout.file_bytes() {
            return Ok(None);
        }
        let mut bloom = Bloom::with_blocks(layout.blocks);
        let mut bytes = vec![0; WRITE_BYTES];
        let (mut crc, mut at) = (0, 0);
        let bloom_bytes = layout.blocks as usize * BLOCK_BYTES;
        while at < bloom_bytes {
            let take = (bloom_bytes - at).min(WRITE_BYTES);
            file.read_at(&mut bytes[..take], layout.bloom_at() + at as u64)?;
            crc = crc32c::crc32c_append(crc, &bytes[..take]);
            bloom.read(at / BLOCK_BYTES, &bytes[..take]);
            at += take;
        }
        let mut fences = vec![0; layout.pages as usize * 8];
        file.read_at(&mut fences, layout.fences_at())?;
        if crc != layout.bloom_crc || crc32c::crc32c(&fences) != layout.fences_crc {
            return Ok(None);
        }
        let fences = fences
            .chunks_exact(8)
            .map(|fence| u64_at(fence, 0))
            .collect();
        Ok(Some(Run {
            entries: layout.entries,
            extent: layout.extent,
            path: path.to_owned(),
            file,
            bloom,
            fences,
            damaged: AtomicBool::new(false),
        }))
    }
}

fn upper_bound(page: &[u8; PAGE_BYTES], count: usize, hash: u64) -> usize {
    let (mut low, mut high) = (0, count);
    while low < high {
        let middle = usize::midpoint(low, high);
        if u64_at(page, middle * ENTRY_BYTES) <= hash {
            low = middle + 1
        } else {
            high = middle
        }
    }
    low
}

fn check_page(page: &[u8], number: usize) -> Option<usize> {
    let count = u32_at(page, PAGE_COUNT_AT) as usize;
    let sound = crc32c::crc32c(&page[..CRC_AT]) == u32_at(page, CRC_AT)
        && u64_at(page, PAGE_NUMBER_AT) == number as u64
        && (1..=PAGE_ENTRIES).contains(&count);
    sound.then_some(count)
}

#[derive(Debug)]
struct Layout {
    extent: RunExtent,
    entries: u64,
    pages: u64,
    blocks: u64,
    bloom_crc: u32,
    fences_crc: u32,
}

impl Layout {
    fn bloom_at(&self) -> u64 {
        (self.pages + 1) * PAGE_BYTES as u64
    }

    fn fences_at(&self) -> u64 {
        self.bloom_at() + self.blocks * BLOCK_BYTES as u64
    }

    fn file_bytes(&self) -> u64 {
        self.fences_at() + self.pages * 8
    }

    fn to_block(&self) -> Vec<u8> {
        let mut block = vec![0; PAGE_BYTES];
        put(&mut block, 0, &MAGIC);
        put(&mut block, 4, &RUN_VERSION.to_le_bytes());
        let numbers = [
            self.extent.first_position,
            self.extent.last_position,
            self.extent.segments,
            self.entries,
            self.pages,
            self.blocks,
        ];
        for (index, number) in numbers.iter().enumerate() {
            put(&mut block, 8 + 8 * index, &number.to_le_bytes());
        }
        put(&mut block, 56, &self.extent.cluster_id);
        put(&mut block, 72, &self.extent.last_hash);
        put(&mut block, 104, &self.bloom_crc.to_le_bytes());
        put(&mut block, 108, &self.fences_crc.to_le_bytes());
        let crc = crc32c::crc32c(&block[..CRC_AT]);
        put(&mut block, CRC_AT, &crc.to_le_bytes());
        block
    }

    fn parse(block: &[u8]) -> Option<Layout> {
        let known = block[..4] == MAGIC
            && crc32c::crc32c(&block[..CRC_AT]) == u32_at(block, CRC_AT)
            && u16_at(block, 4) == RUN_VERSION;
        known.then(|| Layout {
            extent: RunExtent {
                first_position: u64_at(block, 8),
                last_position: u64_at(block, 16),
                segments: u64_at(block, 24),
                cluster_id: array_at(block, 56),
                last_hash: array_at(block, 72),
            },
            entries: u64_at(block, 32),
            pages: u64_at(block, 40),
            blocks: u64_at(block, 48),
            bloom_crc: u32_at(block, 104),
            fences_crc: u32_at(block, 108),
        })
    }
}

/// Writes a run from sorted entries.
#[derive(Debug)]
pub(crate) struct RunWriter {
    disk: Arc<dyn Disk>,
    file: Arc<dyn File>,
    tmp: String,
    layout: Layout,
    bloom: Bloom,
    fences: Vec<u64>,
    buf: Vec<u8>,
    page_entries: usize,
    pushed: u64,
    written: u64,
    synced: u64,
    done: bool,
}

impl RunWriter {
    /// Begins a run of exactly `entries` entries and reserves its space.
    pub(crate) fn begin(
        disk: Arc<dyn Disk>,
        extent: RunExtent,
        entries: u64,
    ) -> io::Result<RunWriter> {
        let tmp = format!("{}.tmp", extent.path());
        let bloom = Bloom::for_keys(entries);
        let layout = Layout {
            extent,
            entries,
            pages: entries.div_ceil(PAGE_ENTRIES as u64),
            blocks: bloom.blocks(),
            bloom_crc: 0,
            fences_crc: 0,
        };
        let file = disk.create(&tmp)?;
        let writer = RunWriter {
            disk,
            file,
            tmp,
            bloom,
            fences: Vec::with_capacity(layout.pages as usize),
            layout,
            buf: Vec::with_capacity(WRITE_BYTES),
            page_entries: 0,
            pushed: 0,
            written: PAGE_BYTES as u64,
            synced: 0,
            done: false,
        };
        writer.file.allocate(writer.layout.file_bytes())?;
        Ok(writer)
    }

    /// Adds an entry. Entries ascend.
    pub(crate) fn push(&mut self, hash: u64, position: u64) -> io::Result<()> {
        if self.page_entries == 0 {
            self.fences.push(hash);
        }
        self.buf.extend(hash.to_le_bytes());
        self.buf.extend(position.to_le_bytes());
        self.bloom.add(hash);
        self.page_entries += 1;
        self.pushed += 1;
        if self.page_entries == PAGE_ENTRIES {
            self.end_page()
        } else {
            Ok(())
        }
    }

    fn end_page(&mut self) -> io::Result<()> {
        let start = self.buf.len() - self.page_entries * ENTRY_BYTES;
        self.buf.resize(start + PAGE_BYTES, 0);
        let page = &mut self.buf[start..];
        put(
            page,
            PAGE_NUMBER_AT,
            &(self.fences.len() as u64 - 1).to_le_bytes(),
        );
        put(
            page,
            PAGE_COUNT_AT,
            &(self.page_entries as u32).to_le_bytes(),
        );
        let crc = crc32c::crc32c(&page[..CRC_AT]);
        put(page, CRC_AT, &crc.to_le_bytes());
        self.page_entries = 0;
        if self.buf.len() >= WRITE_BYTES {
            self.flush()
        } else {
            Ok(())
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.write_at(&self.buf, self.written)?;
        self.written += self.buf.len() as u64;
        self.buf.clear();
        if self.written - self.synced >= SYNC_BYTES {
            self.file.sync_data()?;
            self.synced = self.written;
        }
        Ok(())
    }

    /// Makes the run durable and opens it.
    pub(crate) fn finish(mut self) -> io::Result<Run> {
        if self.page_entries > 0 {
            self.end_page()?;
        }
        self.flush()?;
        assert_eq!(
            self.pushed, self.layout.entries,
            "the number of entries is known ahead"
        );
        assert_eq!(
            self.written,
            self.layout.bloom_at(),
            "the number of pages is known ahead"
        );
        let blocks = self.layout.blocks as usize;
        for from in (0..blocks).step_by(WRITE_BYTES / BLOCK_BYTES) {
            let to = (from + WRITE_BYTES / BLOCK_BYTES).min(blocks);
            self.bloom.write(from, to, &mut self.buf);
            self.layout.bloom_crc = crc32c::crc32c_append(self.layout.bloom_crc, &self.buf);
            self.flush()?;
        }
        self.buf
            .extend(self.fences.iter().flat_map(|fence| fence.to_le_bytes()));
        self.layout.fences_crc = crc32c::crc32c(&self.buf);
        self.flush()?;
        self.file.write_at(&self.layout.to_block(), 0)?;
        self.file.sync_data()?;
        let path = self.layout.extent.path();
        self.disk.rename(&self.tmp, &path)?;
        self.done = true;
        self.disk.sync_dir(INDEX_DIR)?;
        Ok(Run {
            extent: self.layout.extent.clone(),
            file: self.file.clone(),
            path,
            entries: self.pushed,
            bloom: std::mem::replace(&mut self.bloom, Bloom::with_blocks(0)),
            fences: std::mem::take(&mut self.fences),
            damaged: AtomicBool::new(false),
        })
    }
}

impl Drop for RunWriter {
    fn drop(&mut self) {
        if !self.done {
            // The next open removes a leftover, too.
            let _ = self.disk.remove(&self.tmp);
        }
    }
}

/// Reads a run's entries in order, for merging.
#[derive(Debug)]
pub(crate) struct RunCursor {
    pub(crate) run: Arc<Run>,
    next_page: usize,
    page: Box<[u8; PAGE_BYTES]>,
    count: usize,
    index: usize,
}

impl RunCursor {
    pub(crate) fn new(run: Arc<Run>) -> Result<RunCursor, ReadError> {
        let mut cursor = RunCursor {
            run,
            next_page: 0,
            page: Box::new([0; PAGE_BYTES]),
            count: 0,
            index: 0,
        };
        cursor.turn()?;
        Ok(cursor)
    }

    pub(crate) fn entry(&self) -> Option<(u64, u64)> {
        let at = self.index * ENTRY_BYTES;
        (self.index < self.count).then(|| (u64_at(&*self.page, at), u64_at(&*self.page, at + 8)))
    }

    pub(crate) fn advance(&mut self) -> Result<(), ReadError> {
        self.index += 1;
        if self.index >= self.count {
            self.turn()
        } else {
            Ok(())
        }
    }

    fn turn(&mut self) -> Result<(), ReadError> {
        self.index = 0;
        self.count = 0;
        if self.next_page < self.run.pages() {
            self.count = self.run.page(self.next_page, &mut self.page)?;
            self.next_page += 1;
        }
        Ok(())
    }
}
