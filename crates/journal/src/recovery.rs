//! Creating, opening and repairing a journal.
//!
//! Of a sealed segment only the header, the position file and the header of the last frame are read; they must link up. The active
//! segment is verified whole. So is a sealed segment whose index files a killed process had no time to write; the index of the newest of
//! these is kept in memory until maintenance writes it. Bytes behind the last valid frame are either the rest of an unfinished write,
//! which is zeroed and reported, or damage, which is only reported: see [`crate::tail`].

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use crate::bytes::all_zero;
use crate::disk::{DirLock, Disk};
use crate::files::{CHECKPOINT_DIR, INDEX_DIR, SEGMENT_DIR};
use crate::frame::{FRAME_HEADER_BYTES, FrameRef};
use crate::head::{Damage, Head, SharedLog};
use crate::index::active::ActiveTable;
use crate::index::run::{Run, run_path};
use crate::index::{IndexView, PendingRun};
use crate::maintain::write_index;
use crate::meta::{META_FILE, Meta};
use crate::options::{FIRST_SEGMENT_BYTES, KeyExtractor, OpenError, Options, ReadError};
use crate::positions::{Extent, PositionTable, positions_path};
use crate::reader::Reader;
use crate::segment::{
    BadHeader, FRAME_ALIGNMENT, FrameReader, SEGMENT_HEADER_BYTES, Segment, SegmentHeader,
    segment_name_position, segment_path,
};
use crate::shared::{Shared, spare_name};
use crate::synced::{self, Mark, Marker};
use crate::tail::{Tail, Walk, WalkError, examine_tail};
use crate::writer::Writer;

const LOCK_FILE: &str = "lock";
/// Maximum number of sealed segments whose index is kept in memory when the disk is too full to write the index at open.
const PENDING_MAX: usize = 8;
/// Number of newest sealed segments whose index, if missing, maintenance writes later, so that opening does not wait for it.
const DEFERRED_MAX: usize = 4;

/// Report of what opening a journal found and did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecoveryReport {
    /// Bytes of an unfinished, unacknowledged write that were zeroed; 0 after a clean stop.
    pub cut_bytes: u64,
    /// File and offset of the first of these bytes.
    pub cut_at: Option<(String, u64)>,
    /// Number of records verified, all in the active segment.
    pub records_verified: u64,
    /// Index files that were missing or damaged and were rebuilt from the segments. The next maintenance writes those of the newest
    /// segments.
    pub rebuilt: Vec<String>,
    /// Whether one of the two `synced` slots was unreadable. A torn write of one slot is harmless.
    pub synced_slot_damaged: bool,
}

/// Creates an empty journal. `meta` may contain the epochs of a journal that will be restored into it.
///
/// # Errors
/// [`OpenError::AlreadyExists`] and others. After a crash half-way, `create` works again in the same directory.
pub fn create(disk: &Arc<dyn Disk>, options: &Options, meta: &Meta) -> Result<(), OpenError> {
    options.check()?;
    if !meta.is_sound() {
        return Err(OpenError::Options(
            "the epochs do not begin at (1, 1) and ascend",
        ));
    }
    for dir in ["", SEGMENT_DIR, INDEX_DIR, CHECKPOINT_DIR] {
        disk.create_dir(dir)?;
    }
    let _lock = take_lock(&**disk)?;
    let segments = disk.list(SEGMENT_DIR)?;
    let first = segment_path(1);
    if Meta::load(&**disk)?.is_some() {
        return Err(OpenError::AlreadyExists);
    }
    // Without a meta file, the directory may hold only what an unfinished `create` left, and never a record.
    for name in &segments {
        let path = format!("{SEGMENT_DIR}/{name}");
        if path != first || holds_frames(&**disk, &path)? {
            return Err(Damage::new(META_FILE, 0, 0, "the meta file is missing").into());
        }
    }
    let header = SegmentHeader {
        alignment: FRAME_ALIGNMENT,
        first_position: 1,
        segment_bytes: options.segment_bytes.min(FIRST_SEGMENT_BYTES),
        cluster_id: meta.cluster_id,
        prev: Head::default(),
        prev_end: 0,
    };
    let file = disk.create(&first)?;
    file.allocate(header.segment_bytes)?;
    file.write_at(&header.to_block(), 0)?;
    file.sync_data()?;
    disk.sync_dir(SEGMENT_DIR)?;
    synced::create(&**disk, &meta.cluster_id)?;
    // The meta file is written last: the journal exists from then on.
    meta.store(&**disk)?;
    Ok(())
}

/// Marks a journal, which nobody may have open, durably as a mirror of a shared log, or as a journal of its own.
///
/// # Errors
/// [`OpenError::Locked`] and others. The mark is the one before, or the new one.
pub fn set_shared_log(disk: &dyn Disk, shared_log: Option<SharedLog>) -> Result<(), OpenError> {
    let _lock = take_lock(disk)?;
    let mut meta = Meta::load(disk)?.ok_or(OpenError::NotFound)??;
    meta.shared_log = shared_log;
    Ok(meta.store(disk)?)
}

/// Returns whether another process has the journal open. Changes nothing; false if there is no journal.
///
/// # Errors
/// The directory cannot be read.
pub fn is_in_use(disk: &dyn Disk) -> io::Result<bool> {
    if Meta::load(disk)?.is_none() {
        return Ok(false);
    }
    match disk.lock(LOCK_FILE) {
        Ok(_released_at_once) => Ok(false),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(true),
        Err(error) => Err(error),
    }
}

/// Opens a journal, verifies its active segment, cuts an unfinished write and rebuilds lost index files.
///
/// # Errors
/// See [`OpenError`]. Opening neither repairs nor cuts damaged data that was acknowledged.
pub fn open(
    disk: Arc<dyn Disk>,
    options: Options,
    extract_keys: KeyExtractor,
) -> Result<(Writer, Reader, RecoveryReport), OpenError> {
    options.check()?;
    if Meta::load(&*disk)?.is_none() {
        return Err(OpenError::NotFound);
    }
    let lock = take_lock(&*disk)?;
    let meta = Meta::load(&*disk)?.ok_or(OpenError::NotFound)??;
    if meta.shared_log.map(|log| log.id) != options.shared_log {
        return Err(OpenError::AnotherLog(meta.shared_log));
    }
    let Some((mark, synced_slot_damaged)) = synced::load(&*disk, &meta.cluster_id)? else {
        return Err(Damage::new(
            synced::SYNCED_FILE,
            0,
            0,
            "neither of its two slots can be read",
        )
        .into());
    };
    let mut recovery = RecoveryReport {
        synced_slot_damaged,
        ..RecoveryReport::default()
    };
    let mut segments = open_segments(&*disk, &meta)?;
    let active = segments.pop().expect("at least one segment was opened");
    let (segments, mut made) = link_segments(&*disk, segments, &active, &mark, &extract_keys)?;
    // Room for as many records as the segment before holds, so that the table need not grow.
    let before = segments.last().map_or(0, |segment| {
        active.first_position() - segment.first_position()
    });
    let table = ActiveTable::new(active.first_position(), before as usize);
    let (active, table, head) = verify_active(active, &mark, table, &extract_keys, &mut recovery)?;
    let head = Head {
        epoch: meta.epoch_of(head.position + 1),
        ..head
    };

    // Files are changed from here on.
    active.file.sync_data()?;
    // The process before may have ended between creating a file and making its name durable.
    for dir in [SEGMENT_DIR, ""] {
        disk.sync_dir(dir)?;
    }
    remove_leftovers(&*disk)?;
    let mut marker = Marker::open(&*disk, meta.cluster_id, mark)?;
    marker.refresh(&head)?;
    let mut segments: Vec<Arc<Segment>> = segments.into_iter().map(Arc::new).collect();
    segments.push(Arc::new(active));
    let view = IndexView {
        active: Arc::new(table),
        pending: Vec::new(),
        runs: Vec::new(),
    };
    let shared = Shared::new(disk, options, extract_keys, meta, head, segments, view);
    open_index(&shared, &mut made, &mut recovery)?;
    let shared = Arc::new(shared);
    let writer = Writer::new(shared.clone(), lock, marker);
    Ok((writer, Reader::new(shared), recovery))
}

fn holds_frames(disk: &dyn Disk, path: &str) -> io::Result<bool> {
    let mut begin = [0; FRAME_HEADER_BYTES];
    let read = disk
        .open_read(path)?
        .read_at(&mut begin, SEGMENT_HEADER_BYTES)?;
    Ok(!all_zero(&begin[..read]))
}

fn take_lock(disk: &dyn Disk) -> Result<Arc<dyn DirLock>, OpenError> {
    match disk.lock(LOCK_FILE) {
        Ok(lock) => Ok(Arc::from(lock)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(OpenError::Locked),
        Err(error) => Err(error.into()),
    }
}

/// Removes files that the process before did not finish.
fn remove_leftovers(disk: &dyn Disk) -> io::Result<()> {
    for name in disk
        .list(SEGMENT_DIR)?
        .iter()
        .filter(|name| spare_name(name))
    {
        disk.remove(&format!("{SEGMENT_DIR}/{name}"))?;
    }
    for dir in [INDEX_DIR, CHECKPOINT_DIR] {
        let names = disk.list(dir)?;
        for name in names.iter().filter(|name| name.ends_with(".tmp")) {
            disk.remove(&format!("{dir}/{name}"))?;
        }
    }
    Ok(())
}

/// Opens all segments and checks their headers.
fn open_segments(disk: &dyn Disk, meta: &Meta) -> Result<Vec<Segment>, OpenError> {
    let mut segments = Vec::new();
    for name in disk.list(SEGMENT_DIR)? {
        let Some(first_position) = segment_name_position(&name) else {
            continue;
        };
        let path = segment_path(first_position);
        let file = disk.open(&path)?;
        let header = read_header(&*file, &path, first_position, &meta.cluster_id)?;
        segments.push(Segment::new(path, header, file));
    }
    match segments.first() {
        None => Err(Damage::new(SEGMENT_DIR, 0, 1, "there is no segment").into()),
        Some(first) if first.first_position() != 1 => {
            Err(Damage::new(&segment_path(1), 0, 1, "the first segment is missing").into())
        }
        Some(_) => Ok(segments),
    }
}

pub(crate) fn read_header(
    file: &dyn crate::disk::File,
    path: &str,
    first_position: u64,
    cluster_id: &[u8; 16],
) -> Result<SegmentHeader, OpenError> {
    let header = match SegmentHeader::read(file)? {
        Ok(header) => header,
        Err(BadHeader::Unsupported(version)) => {
            return Err(OpenError::Unsupported {
                file: path.to_owned(),
                version,
            });
        }
        Err(BadHeader::Damaged(what)) => {
            return Err(Damage::new(path, 0, first_position, what).into());
        }
    };
    if header.first_position != first_position {
        return Err(Damage::new(
            path,
            0,
            first_position,
            "the segment's name is not its first position",
        )
        .into());
    }
    if header.cluster_id != *cluster_id {
        return Err(Damage::new(
            path,
            0,
            first_position,
            "the segment belongs to another journal",
        )
        .into());
    }
    Ok(header)
}

/// Index tables of sealed segments that were read whole, by first position.
type BuiltTables = BTreeMap<u64, ActiveTable>;

/// Checks that each sealed segment ends where the next one says it does.
fn link_segments(
    disk: &dyn Disk,
    sealed: Vec<Segment>,
    active: &Segment,
    mark: &Mark,
    extract_keys: &KeyExtractor,
) -> Result<(Vec<Segment>, BuiltTables), OpenError> {
    let mut made = BuiltTables::new();
    let mut linked: Vec<Segment> = Vec::with_capacity(sealed.len());
    let mut sealed = sealed.into_iter().peekable();
    while let Some(segment) = sealed.next() {
        let next = sealed.peek().unwrap_or(active);
        let (last, end) = (next.header.prev, next.header.prev_end);
        let extent = Extent {
            first_position: segment.first_position(),
            last_position: last.position,
            end,
        };
        let positions = match PositionTable::load(disk, &extent)? {
            Some(positions) if ends_with(&segment, &positions, &last, end)? => positions,
            _ => {
                let (positions, table) = verify_sealed(&segment, &last, end, mark, extract_keys)?;
                made.insert(extent.first_position, table);
                positions
            }
        };
        linked.push(segment.with_positions(positions, end));
    }
    let last = &active.header.prev;
    if mark.position == last.position && mark.hash != last.hash {
        return Err(active
            .damage(
                0,
                last.position,
                "the segment does not follow the frame that the file `synced` names",
            )
            .into());
    }
    Ok((linked, made))
}

/// Whether the header of the last frame is the one that the next segment names.
fn ends_with(
    segment: &Segment,
    positions: &PositionTable,
    last: &Head,
    end: u64,
) -> io::Result<bool> {
    let offset = positions.last_frame();
    let header = FrameReader::default().header(
        &*segment.file,
        offset,
        offset + FRAME_HEADER_BYTES as u64,
    )?;
    Ok(header.is_ok_and(|header| {
        header.last_position() == last.position
            && header.hash == last.hash
            && segment.next_frame_offset(offset, header.frame_len()) == end
    }))
}

/// Verifies a whole sealed segment, because its position file is missing or does not match its end.
fn verify_sealed(
    segment: &Segment,
    last: &Head,
    end: u64,
    mark: &Mark,
    extract_keys: &KeyExtractor,
) -> Result<(PositionTable, ActiveTable), OpenError> {
    let positions = PositionTable::new(segment.first_position());
    let records = last.position + 1 - segment.first_position();
    let table = ActiveTable::new(segment.first_position(), records as usize);
    let mut pairs = Vec::new();
    let mut walk = Walk::new(segment, mark);
    let bad = walk
        .run(end, &mut |frame, offset| {
            positions.add_frame(frame, offset);
            index_frame(frame, extract_keys, &table, &mut pairs);
        })
        .map_err(walk_error)?;
    let reached = Head {
        epoch: 0,
        ..walk.head
    };
    if reached != *last || walk.offset != end {
        let what = bad.map_or(
            "the segment does not end where the next one begins",
            |bad| bad.0,
        );
        return Err(segment
            .damage(walk.offset, walk.head.position + 1, what)
            .into());
    }
    Ok((positions, table))
}

/// Inserts the keys of a frame's records into a table.
fn index_frame(
    frame: &FrameRef<'_>,
    extract_keys: &KeyExtractor,
    table: &ActiveTable,
    pairs: &mut Vec<(u64, u64)>,
) {
    pairs.clear();
    for record in frame.records() {
        extract_keys(record.payload(), &mut |hash| {
            pairs.push((hash, record.position()))
        });
    }
    table.insert_all(pairs);
}

/// Verifies the active segment and cuts an unfinished write.
fn verify_active(
    segment: Segment,
    mark: &Mark,
    table: ActiveTable,
    extract_keys: &KeyExtractor,
    recovery: &mut RecoveryReport,
) -> Result<(Segment, ActiveTable, Head), OpenError> {
    let positions = PositionTable::new(segment.first_position());
    let mut pairs = Vec::new();
    let file_len = segment.file.len()?;
    let mut last_frame = 0;
    let mut walk = Walk::new(&segment, mark);
    let bad = walk
        .run(file_len, &mut |frame: &FrameRef<'_>, offset| {
            last_frame = offset;
            positions.add_frame(frame, offset);
            index_frame(frame, extract_keys, &table, &mut pairs);
            recovery.records_verified += u64::from(frame.header().count);
        })
        .map_err(walk_error)?;
    let (end, head) = (walk.offset, walk.head);
    match examine_tail(&segment, end, &head, file_len, mark, bad)? {
        Ok(Tail::Clean) => {}
        Ok(Tail::Unfinished { bytes }) => {
            zero(&segment, end, bytes)?;
            recovery.cut_bytes = bytes;
            recovery.cut_at = Some((segment.path.clone(), end));
        }
        Err(damage) => return Err(damage.into()),
    }
    if mark.position < head.position {
        write_again(&segment, last_frame, end)?;
    }
    if file_len < segment.header.segment_bytes {
        // The reservation was lost, or the file was copied without its zeros.
        segment.file.allocate(segment.header.segment_bytes)?;
    }
    Ok((segment.with_positions(positions, end), table, head))
}

fn walk_error(error: WalkError) -> OpenError {
    match error {
        WalkError::Io(error) => error.into(),
        WalkError::Damaged(damage) => damage.into(),
        WalkError::Unsupported { file, version } => OpenError::Unsupported { file, version },
    }
}

/// Writes the last frame again, or the header of a segment without frames, as it was read. After a failed sync the operating system
/// may return bytes that never reached the medium, and treat them as clean, so that no later sync would write them.
fn write_again(segment: &Segment, from: u64, to: u64) -> io::Result<()> {
    let len = usize::try_from(to - from).map_err(io::Error::other)?;
    let mut bytes = vec![0; len];
    let read = segment.file.read_at(&mut bytes, from)?;
    segment.file.write_at(&bytes[..read], from)
}

/// Overwrites the rest of an unfinished write with zeros, so that it can never be taken for a frame.
fn zero(segment: &Segment, from: u64, bytes: u64) -> io::Result<()> {
    let zeros = vec![0; 1024 * 1024];
    let (mut at, end) = (from, from + bytes);
    while at < end {
        let take = (end - at).min(zeros.len() as u64);
        segment.file.write_at(&zeros[..take as usize], at)?;
        at += take;
    }
    segment.file.sync_data()
}

/// Opens the runs that cover the sealed segments without gaps, and rebuilds missing ones.
fn open_index(
    shared: &Shared,
    made: &mut BuiltTables,
    recovery: &mut RecoveryReport,
) -> Result<(), OpenError> {
    let segments = shared.segments();
    let mut names: Vec<(u64, u64, String)> = Vec::new();
    for name in shared.disk.list(INDEX_DIR)? {
        if let Some((first, last)) = run_name(&name) {
            names.push((first, last, format!("{INDEX_DIR}/{name}")));
        }
    }
    // The widest first: a merged run replaces the runs that it was made from.
    names.sort_unstable_by(|a, b| a.0.cmp(&b.0).then(b.1.cmp(&a.1)));
    let (mut runs, mut pending): (Vec<Arc<Run>>, Vec<PendingRun>) = (Vec::new(), Vec::new());
    let mut at = 0;
    while at + 1 < segments.len() {
        let first = segments[at].first_position();
        let candidates = names.iter().filter(|name| name.0 == first);
        let mut chosen = None;
        for (_, last, path) in candidates {
            if let Some(run) = Run::load(&*shared.disk, path)?
                && let Some(after) = segments
                    .iter()
                    .position(|segment| segment.first_position() == last + 1)
                && segments[after].header.prev.hash == run.extent.last_hash
            {
                chosen = Some((run, after));
                break;
            }
        }
        match chosen {
            Some((run, after)) => {
                write_all(shared, &mut pending, &mut runs)?;
                store_positions(shared, &segments[at..=after], made, recovery)?;
                runs.push(Arc::new(run));
                at = after;
            }
            None => {
                pending.push(make_index(shared, &segments, at, made)?);
                recovery.rebuilt.push(run_path(
                    segments[at].first_position(),
                    segments[at + 1].first_position() - 1,
                ));
                if pending.len() > DEFERRED_MAX {
                    write_oldest(shared, &mut pending, &mut runs)?;
                }
                at += 1;
            }
        }
    }
    for (_, _, path) in names
        .iter()
        .filter(|name| runs.iter().all(|run| run.path != name.2))
    {
        shared.disk.remove(path)?;
    }
    shared.change_index(|view| {
        view.runs = runs;
        view.pending = pending;
    });
    Ok(())
}

/// Stores the positions of segments that have a run but had no position file, and drops the index tables built with them.
fn store_positions(
    shared: &Shared,
    segments: &[Arc<Segment>],
    made: &mut BuiltTables,
    recovery: &mut RecoveryReport,
) -> io::Result<()> {
    for pair in segments.windows(2) {
        if made.remove(&pair[0].first_position()).is_none() {
            continue;
        }
        let extent = Extent {
            first_position: pair[0].first_position(),
            last_position: pair[1].header.prev.position,
            end: pair[0].end(),
        };
        match pair[0].positions.store(&*shared.disk, &extent) {
            // The table in memory suffices, and the next open rebuilds it.
            Err(error) if error.kind() == io::ErrorKind::StorageFull => {}
            stored => stored?,
        }
        recovery.rebuilt.push(positions_path(extent.first_position));
    }
    Ok(())
}

/// Builds the index of the sealed segment with index `at`, in memory.
fn make_index(
    shared: &Shared,
    segments: &[Arc<Segment>],
    at: usize,
    made: &mut BuiltTables,
) -> Result<PendingRun, OpenError> {
    let segment = segments[at].clone();
    let table = match made.remove(&segment.first_position()) {
        Some(table) => table,
        None => shared
            .index_segment(&segment)
            .map_err(|error| match error {
                ReadError::Io(error) => OpenError::Io(error),
                ReadError::Damaged(damage) => OpenError::Damaged(damage),
            })?,
    };
    let last = &segments[at + 1].header.prev;
    Ok(PendingRun {
        table: Arc::new(table),
        segment,
        last_position: last.position,
        last_hash: last.hash,
    })
}

/// Writes the oldest of the tables in memory. Keeps it if the disk is full and there are not too many tables.
fn write_oldest(
    shared: &Shared,
    pending: &mut Vec<PendingRun>,
    runs: &mut Vec<Arc<Run>>,
) -> io::Result<()> {
    match write_index(shared, &pending[0]) {
        Ok(run) => {
            pending.remove(0);
            runs.push(Arc::new(run));
            Ok(())
        }
        Err(error) if error.kind() == io::ErrorKind::StorageFull && pending.len() < PENDING_MAX => {
            Ok(())
        }
        Err(error) => Err(error),
    }
}

/// Writes all tables in memory, because a newer run follows: tables in memory must be newer than all runs.
fn write_all(
    shared: &Shared,
    pending: &mut Vec<PendingRun>,
    runs: &mut Vec<Arc<Run>>,
) -> io::Result<()> {
    for pending in pending.drain(..) {
        runs.push(Arc::new(write_index(shared, &pending)?));
    }
    Ok(())
}

fn run_name(name: &str) -> Option<(u64, u64)> {
    let (first, last) = name.strip_suffix(".run")?.split_once('-')?;
    Some((first.parse().ok()?, last.parse().ok()?))
}
