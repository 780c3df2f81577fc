//! The file `synced`: the position up to which the journal was known to be durable when the writer last became idle, rotated or
//! closed.
//!
//! Two slots of 4,096 bytes are written in turn, so that a torn write leaves the other slot intact.
//!
//! ```text
//!    0   4  magic "TRBM"
//!    4   2  format_version (1)
//!    6   2  zero
//!    8   8  sequence number of the write; the higher one counts
//!   16   8  position
//!   24  32  hash of the frame that ends with it
//!   56  16  cluster_id
//!   72   ..  zero
//! 4092   4  crc32c of the bytes before
//! ```

use std::io;
use std::sync::Arc;

use crate::bytes::{array_at, put, u16_at, u32_at, u64_at};
use crate::disk::{Disk, File};
use crate::head::Head;

pub(crate) const SYNCED_FILE: &str = "synced";
const SLOT_BYTES: usize = 4096;
const CRC_AT: usize = 4092;
const MAGIC: [u8; 4] = *b"TRBM";
const SYNCED_VERSION: u16 = 1;

/// Content of a slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mark {
    sequence: u64,
    pub(crate) position: u64,
    pub(crate) hash: [u8; 32],
}

/// Loads the newest slot, and whether the other slot is unreadable. `None` if neither can be read.
pub(crate) fn load(disk: &dyn Disk, cluster_id: &[u8; 16]) -> io::Result<Option<(Mark, bool)>> {
    let file = match disk.open_read(SYNCED_FILE) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut slots = [None, None];
    for (index, slot) in slots.iter_mut().enumerate() {
        let mut block = vec![0; SLOT_BYTES];
        if file.read_at(&mut block, (index * SLOT_BYTES) as u64)? == SLOT_BYTES {
            *slot = parse(&block, cluster_id);
        }
    }
    let damaged = slots.contains(&None);
    Ok(slots
        .into_iter()
        .flatten()
        .max_by_key(|mark| mark.sequence)
        .map(|mark| (mark, damaged)))
}

fn parse(block: &[u8], cluster_id: &[u8; 16]) -> Option<Mark> {
    let sound = block[..4] == MAGIC
        && crc32c::crc32c(&block[..CRC_AT]) == u32_at(block, CRC_AT)
        && u16_at(block, 4) == SYNCED_VERSION
        && block[56..72] == *cluster_id;
    sound.then(|| Mark {
        sequence: u64_at(block, 8),
        position: u64_at(block, 16),
        hash: array_at(block, 24),
    })
}

fn to_block(mark: &Mark, cluster_id: &[u8; 16]) -> Vec<u8> {
    let mut block = vec![0; SLOT_BYTES];
    put(&mut block, 0, &MAGIC);
    put(&mut block, 4, &SYNCED_VERSION.to_le_bytes());
    put(&mut block, 8, &mark.sequence.to_le_bytes());
    put(&mut block, 16, &mark.position.to_le_bytes());
    put(&mut block, 24, &mark.hash);
    put(&mut block, 56, cluster_id);
    let crc = crc32c::crc32c(&block[..CRC_AT]);
    put(&mut block, CRC_AT, &crc.to_le_bytes());
    block
}

/// Creates the file of an empty journal with both slots.
pub(crate) fn create(disk: &dyn Disk, cluster_id: &[u8; 16]) -> io::Result<()> {
    let file = disk.create(SYNCED_FILE)?;
    file.allocate(2 * SLOT_BYTES as u64)?;
    for sequence in 0..2 {
        let mark = Mark {
            sequence,
            ..Mark::default()
        };
        file.write_at(&to_block(&mark, cluster_id), sequence * SLOT_BYTES as u64)?;
    }
    file.sync_data()
}

/// Writes the slots in turn.
#[derive(Debug)]
pub(crate) struct Marker {
    file: Arc<dyn File>,
    cluster_id: [u8; 16],
    last: Mark,
}

impl Marker {
    pub(crate) fn open(disk: &dyn Disk, cluster_id: [u8; 16], last: Mark) -> io::Result<Marker> {
        Ok(Marker {
            file: disk.open(SYNCED_FILE)?,
            cluster_id,
            last,
        })
    }

    /// Records durably that the journal is durable up to `head`.
    pub(crate) fn mark(&mut self, head: &Head) -> io::Result<()> {
        if head.position == self.last.position {
            return Ok(());
        }
        self.write(head)
    }

    /// Writes both slots. For use after opening, when one slot may be torn.
    pub(crate) fn refresh(&mut self, head: &Head) -> io::Result<()> {
        self.write(head)?;
        self.write(head)
    }

    fn write(&mut self, head: &Head) -> io::Result<()> {
        assert!(
            head.position >= self.last.position,
            "a mark never goes back"
        );
        let mark = Mark {
            sequence: self.last.sequence + 1,
            position: head.position,
            hash: head.hash,
        };
        let slot = mark.sequence % 2;
        self.file
            .write_at(&to_block(&mark, &self.cluster_id), slot * SLOT_BYTES as u64)?;
        self.file.sync_data()?;
        self.last = mark;
        Ok(())
    }
}
