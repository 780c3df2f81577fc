//! Merging runs in tiers, a slice at a time.
//!
//! A run's level is the logarithm of how many segments it covers, to the base of [`FAN_OUT`]. Whenever [`FAN_OUT`] neighbours are of
//! one level they become one of the next, so a journal of n segments has fewer than `FAN_OUT * (log n + 1)` runs, and
//! an entry is rewritten once per level.

use std::io;
use std::sync::Arc;

use super::run::{Run, RunCursor, RunExtent, RunWriter};
use crate::disk::Disk;
use crate::options::ReadError;

pub(crate) const FAN_OUT: usize = 8;
/// Beyond it, neighbours are merged whatever their levels: rebuilt runs may lie out of order.
const RUNS_MAX: usize = 64;

fn level(segments: u64) -> u32 {
    segments.max(1).ilog(FAN_OUT as u64)
}

/// Which neighbours to merge next, as a range of indexes.
pub(crate) fn choose(segments: &[u64]) -> Option<std::ops::Range<usize>> {
    let windows = || segments.windows(FAN_OUT).enumerate();
    let even = windows()
        .filter(|(_, window)| window.iter().all(|one| level(*one) == level(window[0])))
        .min_by_key(|(_, window)| level(window[0]));
    let chosen = match even {
        None if segments.len() > RUNS_MAX => {
            windows().min_by_key(|(_, window)| window.iter().sum::<u64>())
        }
        even => even,
    };
    chosen.map(|(start, _)| start..start + FAN_OUT)
}

/// A merge under way.
#[derive(Debug)]
pub(crate) struct Merge {
    cursors: Vec<RunCursor>,
    writer: RunWriter,
}

impl Merge {
    /// Begins to merge neighbours, oldest first.
    pub(crate) fn begin(disk: Arc<dyn Disk>, runs: &[Arc<Run>]) -> Result<Merge, ReadError> {
        let (first, last) = (&runs[0].extent, &runs[runs.len() - 1].extent);
        let extent = RunExtent {
            first_position: first.first_position,
            last_position: last.last_position,
            segments: runs.iter().map(|run| run.extent.segments).sum(),
            cluster_id: last.cluster_id,
            last_hash: last.last_hash,
        };
        let entries = runs.iter().map(|run| run.entries).sum();
        let writer = RunWriter::begin(disk, extent, entries)?;
        let cursors = runs
            .iter()
            .cloned()
            .map(RunCursor::new)
            .collect::<Result<_, _>>()?;
        Ok(Merge { cursors, writer })
    }

    /// Merges up to `entries` more. `Ok(true)`: all are.
    pub(crate) fn advance(&mut self, entries: usize) -> Result<bool, ReadError> {
        for _ in 0..entries {
            let least = self
                .cursors
                .iter_mut()
                .filter_map(|cursor| Some((cursor.entry()?, cursor)))
                .min_by_key(|(entry, _)| *entry);
            let Some(((hash, position), cursor)) = least else {
                return Ok(true);
            };
            self.writer.push(hash, position)?;
            cursor.advance()?;
        }
        Ok(false)
    }

    /// Whether it merges this run.
    pub(crate) fn reads(&self, run: &Arc<Run>) -> bool {
        self.cursors
            .iter()
            .any(|cursor| Arc::ptr_eq(&cursor.run, run))
    }

    /// Makes the result durable.
    pub(crate) fn finish(self) -> io::Result<Run> {
        self.writer.finish()
    }
}
