//! Maintenance: the background work of a journal.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::disk::DirLock;
use crate::files::INDEX_DIR;
use crate::index::PendingRun;
use crate::index::active::ActiveTable;
use crate::index::merge::{Merge, MergeWork, UnusedRuns, choose_runs};
use crate::index::run::{Run, RunExtent, RunWriter};
use crate::locks::{lock, read};
use crate::options::ReadError;
use crate::positions::Extent;
use crate::segment::Segment;
use crate::shared::{Shared, Spare};

/// Bytes of a spare segment that are written per step: few, since frames wait for the disk meanwhile, but more when much is left,
/// since each step costs a sync.
const WRITTEN_AT_ONCE: std::ops::RangeInclusive<u64> = 64 << 10..=1 << 20;
/// Frame size in bytes from which writing ahead gains nothing: the extra write of a sync is small beside such a frame.
const LARGE_FRAME_BYTES: u64 = 512 << 10;
/// Content of one write. Linux keeps the bytes of one write in one folio, and a later sync of a few KiB within the folio writes
/// all of its pages.
static ZEROS: [u8; 16 << 10] = [0; 16 << 10];
/// Entries merged per step: tens of milliseconds of work.
const MERGE_STEP_ENTRIES: usize = 1 << 20;

/// Reserves the next segment, and writes, merges and repairs the index files of sealed segments. Several maintainers of one journal
/// take turns.
#[derive(Debug)]
pub struct Maintainer {
    shared: Arc<Shared>,
    // The directory is in use as long as a maintainer may write into it.
    _lock: Arc<dyn DirLock>,
}

impl Maintainer {
    pub(crate) fn new(shared: Arc<Shared>, lock: Arc<dyn DirLock>) -> Maintainer {
        Maintainer {
            shared,
            _lock: lock,
        }
    }

    /// Does one piece of work. Returns false if there was nothing to do.
    ///
    /// # Errors
    /// [`io::ErrorKind::StorageFull`] when there is no room: try again later. An error leaves the journal unchanged.
    pub fn step(&mut self) -> io::Result<bool> {
        let shared = &self.shared;
        let mut guard = lock(&shared.maintenance);
        let MergeWork { merge, unused } = &mut *guard;
        // When no segment can be reserved, the smaller index files may still find room.
        let reserved = prepare_spare(shared);
        if let Ok(true) = reserved {
            return Ok(true);
        }
        if write_spare(shared)? {
            return Ok(true);
        }
        let view = shared.index();
        if let Some(pending) = view.pending.first() {
            return write_pending(shared, pending).map(|()| true);
        }
        if unused.remove_piece(&*shared.disk)? {
            return Ok(true);
        }
        if let Some(damaged) = view.runs.iter().find(|run| run.is_damaged()) {
            *merge = None;
            return rebuild(shared, damaged).map(|()| true).map_err(into_io);
        }
        if merge_step(shared, &view.runs, merge, unused).map_err(into_io)? {
            return Ok(true);
        }
        reserved
    }
}

fn into_io(error: ReadError) -> io::Error {
    match error {
        ReadError::Io(error) => error,
        ReadError::Damaged(damage) => io::Error::other(damage),
    }
}

fn prepare_spare(shared: &Shared) -> io::Result<bool> {
    let keys = shared.index().active.keys();
    let mut spares = lock(&shared.spares);
    let had_table = spares.table.is_some();
    if !had_table {
        spares.table = Some(ActiveTable::new(0, keys as usize));
    }
    if !spares.files.is_empty() {
        return Ok(!had_table);
    }
    shared.add_spare(&mut spares).map(|()| true)
}

/// Writes zeros to a piece of a spare segment, in proportion to how full the active segment is: the spare is written while the
/// active segment goes from a quarter to three quarters full. So the spare is ready when it is needed, and a journal that hardly
/// grows writes nothing in vain. Writes nothing while frames are large.
fn write_spare(shared: &Shared) -> io::Result<bool> {
    if shared.frame_bytes.load(Ordering::Relaxed) >= LARGE_FRAME_BYTES {
        return Ok(false);
    }
    let filled = {
        let segments = shared.segments();
        let active = segments.last().expect("a journal has a segment");
        active.end() as f64 / active.header.segment_bytes as f64
    };
    let share = ((filled - 0.25) * 2.0).clamp(0.0, 1.0);
    let is_behind = |spare: &Spare| (spare.written as f64) < spare.bytes as f64 * share;
    // Take the file out of the list: zeros must not overwrite a frame, and this sync must not receive the error of a frame's
    // write.
    let mut spare = {
        let mut spares = lock(&shared.spares);
        let Some(behind) = spares.files.iter().position(is_behind) else {
            return Ok(false);
        };
        spares.being_written += 1;
        spares.files.remove(behind)
    };
    let behind = (spare.bytes as f64 * share) as u64 - spare.written;
    let piece = (behind / 16)
        .clamp(*WRITTEN_AT_ONCE.start(), *WRITTEN_AT_ONCE.end())
        .min(spare.bytes - spare.written);
    let end = spare.written + piece;
    let mut starts = (spare.written..end).step_by(ZEROS.len());
    let written = starts
        .try_for_each(|at| {
            let len = ZEROS.len().min((end - at) as usize);
            spare.file.write_at(&ZEROS[..len], at)
        })
        .and_then(|()| spare.file.sync_data());
    let mut spares = lock(&shared.spares);
    spares.being_written -= 1;
    match written {
        Ok(()) => spare.written += piece,
        // The file system copies on write, so writing ahead gains nothing.
        Err(error) if error.kind() == io::ErrorKind::StorageFull => spare.written = spare.bytes,
        Err(error) => {
            let _gone = shared.disk.remove(&spare.path);
            return Err(error);
        }
    }
    spares.files.insert(0, spare);
    Ok(true)
}

fn write_pending(shared: &Shared, pending: &PendingRun) -> io::Result<()> {
    let run = Arc::new(write_index(shared, pending)?);
    shared.change_index(|view| {
        view.pending
            .retain(|other| !Arc::ptr_eq(&other.table, &pending.table));
        view.runs.push(run);
    });
    Ok(())
}

/// Writes both index files of a sealed segment.
pub(crate) fn write_index(shared: &Shared, pending: &PendingRun) -> io::Result<Run> {
    let segment: &Segment = &pending.segment;
    let extent = Extent {
        first_position: segment.first_position(),
        last_position: pending.last_position,
        end: segment.end(),
    };
    segment.positions.store(&*shared.disk, &extent)?;
    let extent = RunExtent {
        first_position: extent.first_position,
        last_position: extent.last_position,
        segments: 1,
        cluster_id: read(&shared.meta).cluster_id,
        last_hash: pending.last_hash,
    };
    let pairs = pending.table.sorted();
    let mut writer = RunWriter::begin(shared.disk.clone(), extent, pairs.len() as u64)?;
    for (hash, position) in pairs {
        writer.push(hash, position)?;
    }
    writer.finish()
}

/// Rebuilds a damaged run from its segments, as one run per segment.
fn rebuild(shared: &Shared, damaged: &Arc<Run>) -> Result<(), ReadError> {
    let segments = shared.segments();
    let covered = damaged.extent.first_position..=damaged.extent.last_position;
    let mut made = Vec::new();
    for pair in segments
        .windows(2)
        .filter(|pair| covered.contains(&pair[0].first_position()))
    {
        let pending = PendingRun {
            table: Arc::new(shared.index_segment(&pair[0])?),
            segment: pair[0].clone(),
            last_position: pair[1].header.prev.position,
            last_hash: pair[1].header.prev.hash,
        };
        made.push(Arc::new(write_index(shared, &pending)?));
    }
    let replaced = made.iter().any(|run| run.path == damaged.path);
    shared.change_index(|view| {
        if let Some(at) = view.runs.iter().position(|run| Arc::ptr_eq(run, damaged)) {
            view.runs.splice(at..=at, made);
        }
    });
    if !replaced {
        shared.disk.remove(&damaged.path)?;
    }
    Ok(())
}

fn merge_step(
    shared: &Shared,
    runs: &[Arc<Run>],
    slot: &mut Option<Merge>,
    unused: &mut UnusedRuns,
) -> Result<bool, ReadError> {
    let mut merge = match slot.take() {
        Some(merge) => merge,
        None => {
            let segments: Vec<u64> = runs.iter().map(|run| run.extent.segments).collect();
            let Some(range) = choose_runs(&segments) else {
                return Ok(false);
            };
            Merge::begin(shared.disk.clone(), &runs[range])?
        }
    };
    if !merge.advance(MERGE_STEP_ENTRIES)? {
        *slot = Some(merge);
        return Ok(true);
    }
    let merged: Vec<Arc<Run>> = runs
        .iter()
        .filter(|run| merge.reads(run))
        .cloned()
        .collect();
    let run = Arc::new(merge.finish()?);
    shared.change_index(|view| {
        let start = view
            .runs
            .iter()
            .position(|run| Arc::ptr_eq(run, &merged[0]))
            .expect("a merged run is in use");
        view.runs.splice(start..start + merged.len(), [run]);
    });
    for run in merged {
        unused.add(&*shared.disk, run)?;
    }
    // Before the files are shortened: a file under its own name is always whole.
    shared.disk.sync_dir(INDEX_DIR)?;
    Ok(true)
}
