//! The index: from 64-bit key hashes to positions, newest first.
//!
//! A table in memory for the segment being written ([`active`]); an immutable sorted file for sealed ones ([`run`]), with
//! a Bloom filter in memory ([`bloom`]); files merged in tiers so that their number stays bounded ([`merge`]). All of it
//! is a view: it can be made anew from the segments.
//!
//! Hashes are spread once more on the way in, by a bijection, so that a caller's weak hash costs speed nowhere and two
//! different hashes stay different.

pub(crate) mod active;
pub(crate) mod bloom;
pub(crate) mod merge;
pub(crate) mod run;

use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;

use crate::disk::Disk;
use crate::options::ReadError;
use crate::segment::Segment;
use active::{ActiveTable, warmed_at};
use run::Run;

pub(crate) const INDEX_DIR: &str = "index";

/// Finalizer of MurmurHash3: a bijection of 64 bits. Part of the file format.
pub(crate) fn spread(hash: u64) -> u64 {
    let mut h = hash;
    h = (h ^ (h >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    h = (h ^ (h >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    h ^ (h >> 33)
}

/// A sealed segment whose index is still in memory only.
#[derive(Clone, Debug)]
pub(crate) struct Frozen {
    pub(crate) table: Arc<ActiveTable>,
    pub(crate) segment: Arc<Segment>,
    pub(crate) last_position: u64,
    pub(crate) last_hash: [u8; 32],
}

/// Everything to look in, at one moment.
#[derive(Clone, Debug)]
pub(crate) struct IndexView {
    pub(crate) active: Arc<ActiveTable>,
    /// Oldest first, newer than all runs.
    pub(crate) frozen: Vec<Frozen>,
    /// Oldest first, no gaps.
    pub(crate) runs: Vec<Arc<Run>>,
}

impl IndexView {
    /// Calls `found` with each position at or before `durable`, newest first.
    pub(crate) fn find(
        &self,
        key_hash: u64,
        durable: u64,
        found: &mut dyn FnMut(u64) -> ControlFlow<()>,
    ) -> Result<(), ReadError> {
        let hash = spread(key_hash);
        let mut durable_only = |position| {
            if position <= durable {
                found(position)
            } else {
                ControlFlow::Continue(())
            }
        };
        let tables = std::iter::once(&self.active)
            .chain(self.frozen.iter().rev().map(|frozen| &frozen.table));
        for table in tables {
            if table.find(hash, &mut durable_only).is_break() {
                return Ok(());
            }
        }
        for run in self.runs.iter().rev() {
            if run.may_hold(hash) && run.find(hash, &mut durable_only)?.is_break() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// The newest position of each key, 0 where there is none.
    pub(crate) fn find_newest(
        &self,
        key_hashes: &[u64],
        durable: u64,
        newest: &mut Vec<u64>,
    ) -> Result<(), ReadError> {
        newest.clear();
        newest.resize(key_hashes.len(), 0);
        // Table by table rather than key by key: the probes of different keys do not wait for one another's memory.
        let tables = std::iter::once(&self.active)
            .chain(self.frozen.iter().rev().map(|frozen| &frozen.table));
        for table in tables {
            table.find_newest(key_hashes, durable, newest);
        }
        for run in self.runs.iter().rev() {
            for (at, (newest, key_hash)) in newest.iter_mut().zip(key_hashes).enumerate() {
                if let Some(next) = warmed_at(at, key_hashes.len()) {
                    run.warm(key_hashes[next].iter().copied().map(spread));
                }
                let hash = spread(*key_hash);
                if *newest == 0 && run.may_hold(hash) {
                    let _ = run.find(hash, &mut |position| {
                        *newest = position;
                        ControlFlow::Break(())
                    })?;
                }
            }
        }
        Ok(())
    }
}

/// Writes a small file durably, replacing the old one in one step.
pub(crate) fn store_file(disk: &dyn Disk, path: &str, bytes: &[u8]) -> io::Result<()> {
    let tmp = format!("{path}.tmp");
    let file = disk.create(&tmp)?;
    let written = file.write_at(bytes, 0);
    if let Err(error) = written {
        let _ = disk.remove(&tmp);
        return Err(error);
    }
    file.sync_data()?;
    disk.rename(&tmp, path)?;
    disk.sync_dir(INDEX_DIR)
}
