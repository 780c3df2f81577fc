//! Merging runs in tiers, a part at a time.
//!
//! The level of a run is the logarithm, to the base of [`FAN_OUT`], of the number of segments that it covers. When [`FAN_OUT`]
//! neighbours are of one level, they are merged into one run of the next. So a journal of n segments has fewer than
//! `FAN_OUT * (log n + 1)` runs, and an entry is rewritten once per level.

use std::io;
use std::sync::Arc;

use super::run::{Run, RunCursor, RunExtent, RunWriter};
use crate::disk::Disk;
use crate::files::Removal;
use crate::options::ReadError;

pub(crate) const FAN_OUT: usize = 8;
/// Number of runs above which neighbours are merged whatever their levels, since rebuilt runs may lie in any order of levels.
const RUNS_MAX: usize = 64;

fn level(segments: u64) -> u32 {
    segments.max(1).ilog(FAN_OUT as u64)
}

/// Chooses which neighbours to merge next, as a range of indexes. `segments`: the number of segments that each run covers.
pub(crate) fn choose_runs(segments: &[u64]) -> Option<std::ops::Range<usize>> {
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
    /// Begins to merge neighbouring runs, oldest first.
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

    /// Merges up to `entries` more entries. Returns true if all are merged.
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

    /// Whether this run is one of those being merged.
    pub(crate) fn reads(&self, run: &Arc<Run>) -> bool {
        self.cursors
            .iter()
            .any(|cursor| Arc::ptr_eq(&cursor.run, run))
    }

    /// Makes the merged run durable and opens it.
    pub(crate) fn finish(self) -> io::Result<Run> {
        self.writer.finish()
    }
}

/// The merge under way, and what earlier merges left behind.
#[derive(Debug, Default)]
pub(crate) struct MergeWork {
    pub(crate) merge: Option<Merge>,
    pub(crate) unused: UnusedRuns,
}

/// Index files that were merged into others. Readers that still look in such a file may go on; then the file is removed in
/// pieces. The next open removes what a crash leaves of these files.
#[derive(Debug, Default)]
pub(crate) struct UnusedRuns {
    runs: Vec<(Arc<Run>, String)>,
    /// The file that is being removed.
    removing: Option<Removal>,
    /// Number of files that were ever added.
    count: u64,
}

impl UnusedRuns {
    pub(crate) fn add(&mut self, disk: &dyn Disk, run: Arc<Run>) -> io::Result<()> {
        // A name that no other file has while this one exists, not even one of the same segments.
        let path = format!("{}.{}.tmp", run.path, self.count);
        disk.rename(&run.path, &path)?;
        self.count += 1;
        self.runs.push((run, path));
        Ok(())
    }

    /// Removes a piece of an unused file; false if there is none.
    pub(crate) fn remove_piece(&mut self, disk: &dyn Disk) -> io::Result<bool> {
        if self.removing.is_none() {
            // Nobody can come to look in a run that only this list knows.
            let alone = |(run, _): &(Arc<Run>, String)| Arc::strong_count(run) == 1;
            let Some(at) = self.runs.iter().position(alone) else {
                return Ok(false);
            };
            let (run, path) = self.runs.swap_remove(at);
            drop(run);
            self.removing = Some(Removal::begin(disk, path)?);
        }
        if let Some(removal) = &mut self.removing
            && removal.advance(disk)?
        {
            self.removing = None;
        }
        Ok(true)
    }
}
