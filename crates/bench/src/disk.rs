//! Measures the disk: writes in pieces, each synced before the next.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{FallocateFlags, fallocate};

use crate::meter::{Latencies, Summary};
use crate::skew::Random;

/// Size of a small write, in bytes.
const BLOCK_BYTES: usize = 4_096;
/// Number of blocks that the small writes go to, in a circle.
const BLOCKS: u64 = 4_096;

/// Result of sequential writes.
pub(crate) struct Sequential {
    pub(crate) pieces: u64,
    pub(crate) took: Duration,
    /// Latency of a write with its sync.
    pub(crate) latency: Summary,
}

fn create_file(directory: &Path, name: &str, bytes: u64) -> std::io::Result<File> {
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

/// Returns bytes that no disk can compress.
fn random_bytes(bytes: usize) -> Vec<u8> {
    let mut random = Random::new(9);
    let words = std::iter::repeat_with(|| random.next().to_le_bytes());
    words.flatten().take(bytes).collect()
}

/// Writes `total` bytes into reserved space, `piece` bytes at a time.
pub(crate) fn measure_sequential_writes(
    directory: &Path,
    piece: u64,
    total: u64,
) -> std::io::Result<Sequential> {
    let pieces = total.div_ceil(piece).max(1);
    let file = create_file(directory, "sequential", pieces * piece)?;
    let bytes = random_bytes(piece as usize);
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

/// Writes 4 KiB `count` times, each synced: into space that was written before, or was only reserved.
pub(crate) fn measure_small_writes(
    directory: &Path,
    count: u32,
    written: bool,
) -> std::io::Result<Summary> {
    let blocks = if written { BLOCKS } else { u64::from(count) };
    let file = create_file(directory, "small", blocks * BLOCK_BYTES as u64)?;
    let bytes = random_bytes(BLOCK_BYTES);
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
