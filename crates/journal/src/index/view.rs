//! The set of tables and files that a look-up searches.

use std::ops::ControlFlow;
use std::sync::Arc;

use super::active::{ActiveTable, keys_to_prefetch};
use super::run::Run;
use super::spread::spread;
use crate::options::ReadError;
use crate::segment::Segment;

/// A sealed segment whose index is in memory and not written to a file yet.
#[derive(Clone, Debug)]
pub(crate) struct PendingRun {
    pub(crate) table: Arc<ActiveTable>,
    pub(crate) segment: Arc<Segment>,
    pub(crate) last_position: u64,
    pub(crate) last_hash: [u8; 32],
}

/// The tables and files of the index at one moment.
#[derive(Clone, Debug)]
pub(crate) struct IndexView {
    pub(crate) active: Arc<ActiveTable>,
    /// Sealed segments without an index file: oldest first, newer than all runs.
    pub(crate) pending: Vec<PendingRun>,
    /// Index files: oldest first, without gaps.
    pub(crate) runs: Vec<Arc<Run>>,
}

impl IndexView {
    /// Calls `found` with each position of the key at or before `durable`, newest first, until `found` breaks.
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
            .chain(self.pending.iter().rev().map(|pending| &pending.table));
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

    /// Finds the newest position of each key, 0 where there is none.
    pub(crate) fn find_newest(
        &self,
        key_hashes: &[u64],
        durable: u64,
        newest: &mut Vec<u64>,
    ) -> Result<(), ReadError> {
        newest.clear();
        newest.resize(key_hashes.len(), 0);
        // Table by table rather than key by key, so that the cache misses of different keys overlap.
        let tables = std::iter::once(&self.active)
            .chain(self.pending.iter().rev().map(|pending| &pending.table));
        for table in tables {
            table.find_newest(key_hashes, durable, newest);
        }
        for run in self.runs.iter().rev() {
            for (at, (newest, key_hash)) in newest.iter_mut().zip(key_hashes).enumerate() {
                if let Some(next) = keys_to_prefetch(at, key_hashes.len()) {
                    run.prefetch(key_hashes[next].iter().copied().map(spread));
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
