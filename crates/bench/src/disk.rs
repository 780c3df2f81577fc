//! What the disk can do: writes in pieces, each synced before the next.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{FallocateFlags, fallocate};

use crate::meter::{Latencies, Summary};
use crate::skew::Random;

/// A block of the small writes, in bytes.
const BLOCK_BYTES: usize = 4_096;
/// Blocks that the small writes go to, one after the other and round again.
const BLOCKS: u64 = 4_096;

/// Writes in sequence.
pub(crate) struct Sequential {
    pub(crate) pieces: u64,
    pub(crate) took: Duration,
    /// Of a write and its sync.
    pub(crate) latency: Summary,
}

fn create(directory: &Path, name: &str, bytes: u64) -> std::io::Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(directory.join(name))?;
    match fallocate(&file, FallocateFlags::empty(), 0, bytes) {
        Ok(()) | Err(rustix::io::Errno::OPNOTSUPP) => {}
        Err(error) => return Err(error.into()),
    }
    file.sync_all()?;
    Ok(file)
}

/// Bytes that no disk can make smaller.
fn noise(bytes: usize) -> Vec<u8> {
    let mut random = Random::new(9);
    let words = std::iter::repeat_with(|| random.next().to_le_bytes());
    words.flatten().take(bytes).collect()
}

/// Writes `total` bytes into space that is reserved, `piece` at a time.
pub(crate) fn sequential(directory: &Path, piece: u64, total: u64) -> std::io::Result<Sequential> {
    let pieces = total.div_ceil(piece).max(1);
    let file = create(directory, "sequential", pieces * piece)?;
    let bytes = noise(piece as usize);
    let mut latencies = Latencies::new();
    let begun = Instant::now();
    for at in 0..pieces {
        let now = Instant::now();
        file.write_all_at(&bytes, at * piece)?;
        file.sync_data()?;
        latencies.record(now.elapsed());
    }
    let took = begun.elapsed();
    std::fs::remove_file(directory.join("sequential"))?;
    Ok(Sequential {
        pieces,
        took,
        latency: latencies.summary(),
    })
}

/// Writes 4 KiB, `count` times, each synced: into space that was written before, or only reserved.
pub(crate) fn small(directory: &Path, count: u32, written: bool) -> std::io::Result<Summary> {
    let blocks = if written { BLOCKS } else { u64::from(count) };
    let file = create(directory, "small", blocks * BLOCK_BYTES as u64)?;
    let bytes = noise(BLOCK_BYTES);
    if written {
        for at in 0..blocks {
            file.write_all_at(&bytes, at * BLOCK_BYTES as u64)?;
        }
        file.sync_all()?;
    }
    let mut latencies = Latencies::new();
    for at in 0..u64::from(count) {
        let now = Instant::now();
        file.write_all_at(&bytes, at % blocks * BLOCK_BYTES as u64)?;
        file.sync_data()?;
        latencies.record(now.elapsed());
    }
    std::fs::remove_file(directory.join("small"))?;
    Ok(latencies.summary())
}
