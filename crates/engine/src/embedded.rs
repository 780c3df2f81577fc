//! The default backend: the journal crate in one directory, locked by one process.
//!
//! Accounts, owners, API keys and open payments are resident; everything else is found in the journal. Whoever waits for a
//! batch writes and syncs it, so that the writer decides the next one meanwhile and what is durable is shown where its bytes
//! are at hand; a maintenance thread seals and merges indexes. Built without threads it does the same work inline, step by step,
//! for a simulator.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{JoinHandle, Thread};
use std::time::{Duration, Instant};

use tributary_journal::{
    self as journal, AppendError, Disk, Head, KeyExtractor, Maintainer, Meta, OpenError, ReadError,
    RecoveryReport, Scrubber, Versions, Writer, lock,
};
use tributary_ledger::{self as ledger, Lookups, WorkingSet};

use crate::backend::{
    Backend, Fate, JournalMeta, JournalReader, KeyQueries, KeyUse, ReadCache, Recovered,
    StoreStats, Ticket,
};
use crate::batch::Batch;
use crate::failure::Failure;
use crate::versions::NEWEST;
use crate::{lookup, recover};

/// Batches in flight where another thread writes them.
const BATCHES_IN_FLIGHT: usize = 3;
/// Frames for which space is kept reserved ahead: those in flight, and the one being decided.
const FRAMES_RESERVED: u32 = BATCHES_IN_FLIGHT as u32 + 1;
/// How often maintenance looks for work that nobody announced, and checks a piece of the journal.
const MAINTAIN_EVERY: Duration = Duration::from_secs(1);
/// Bytes appended after which maintenance looks for work: a wake is not for nothing each time.
const MAINTAIN_EVERY_BYTES: u64 = 512 << 10;
/// How long a shutdown may wait for index files to be finished.
const FINISH_WITHIN: Duration = Duration::from_secs(5);
/// Maximum number of damaged places that are kept in mind.
const DAMAGED_PLACES_MAX: usize = 10_000;
/// Bytes checked in the background each time: a bound on what the check costs, not on what it finds.
const SCRUB_BYTES: u64 = 4 << 20;

/// Positions where damage was found since the start, by the background check or by whoever read there.
#[derive(Default)]
struct DamagedPlaces(Mutex<BTreeSet<u64>>);

impl DamagedPlaces {
    /// Adds a place. False if it was known, or if very many are.
    fn add(&self, position: u64) -> bool {
        let mut places = lock(&self.0);
        places.len() < DAMAGED_PLACES_MAX && places.insert(position)
    }

    /// Number of places.
    fn count(&self) -> u64 {
        lock(&self.0).len() as u64
    }

    /// The failure of a read, whose place is added if it is damaged.
    fn failure(&self, error: ReadError) -> Failure {
        if let ReadError::Damaged(damage) = &error {
            self.add(damage.position);
        }
        Failure::from(error)
    }
}

/// The embedded backend.
pub struct Embedded {
    disk: Arc<dyn Disk>,
    reader: journal::Reader,
    meta: Meta,
    recovery: RecoveryReport,
    damaged: Arc<DamagedPlaces>,
    /// Kept for its memory.
    newest: Vec<u64>,
    io: Io,
}

enum Io {
    Inline {
        writer: Option<Box<Writer>>,
        maintainer: Maintainer,
    },
    Threads {
        appender: Arc<Appender>,
        maintenance: Option<JoinHandle<()>>,
        stop: Arc<AtomicBool>,
    },
}

/// The journal's writer, shared by the threads that wait for batches.
struct Appender {
    writer: Mutex<Option<Writer>>,
    /// Why no batch may begin now: there is no room, or the journal is of no use any more.
    blocked: Mutex<Option<Failure>>,
    /// Bytes appended since maintenance was woken.
    unseen: AtomicU64,
    maintenance: Thread,
}

impl Appender {
    fn append(&self, batch: &Batch) -> Fate {
        self.append_with(|writer| {
            let mut frame = batch.frame_mut();
            let appended = writer.append(&mut frame);
            (appended, frame.body_bytes() as u64)
        })
    }

    fn append_sealed(&self, frame: &[u8]) -> Fate {
        self.append_with(|writer| (writer.append_sealed(frame), frame.len() as u64))
    }

    /// Appends by `append`, which tells how many bytes that were.
    fn append_with(
        &self,
        append: impl FnOnce(&mut Writer) -> (Result<Head, AppendError>, u64),
    ) -> Fate {
        let mut writer = lock(&self.writer);
        let Some(writer) = writer.as_mut() else {
            return Fate::Refused(Failure::Stopping);
        };
        let (appended, bytes) = append(writer);
        let fate = fate_of(appended);
        self.reserve(writer);
        if self.unseen.fetch_add(bytes, Ordering::Relaxed) + bytes >= MAINTAIN_EVERY_BYTES {
            self.unseen.store(0, Ordering::Relaxed);
            self.maintenance.unpark();
        }
        fate
    }

    /// Reserves space for the next frames, and keeps in mind whether that went well.
    fn reserve(&self, writer: &mut Writer) {
        let failure = reserve(writer).err();
        let mut blocked = lock(&self.blocked);
        match (&*blocked, &failure) {
            (None, Some(Failure::StorageFull)) => warn_of_full_disk(writer),
            (Some(Failure::StorageFull), None) => {
                tracing::info!("there is space for records again: commands are taken");
            }
            _ => {}
        }
        *blocked = failure;
    }

    /// Whether a batch may begin. Waits for the disk only if it was found full before.
    fn begin(&self) -> Result<(), Failure> {
        if lock(&self.blocked).is_some()
            && let Some(writer) = lock(&self.writer).as_mut()
        {
            self.reserve(writer);
        }
        match &*lock(&self.blocked) {
            Some(failure) => Err(failure.clone()),
            None => Ok(()),
        }
    }

    /// Marks the head.
    fn idle(&self) {
        if let Some(writer) = lock(&self.writer).as_mut()
            && !mark(writer)
        {
            self.reserve(writer);
        }
    }
}

/// Marks the head. False if the journal is of no use any more. On a full disk the mark stays where it was, and is moved later.
fn mark(writer: &mut Writer) -> bool {
    match writer.mark() {
        Ok(()) | Err(AppendError::StorageFull) => true,
        Err(error) => {
            tracing::error!(%error, "the head could not be marked");
            false
        }
    }
}

fn warn_of_full_disk(writer: &Writer) {
    match writer.space() {
        Ok(space) => tracing::warn!(
            free_bytes = space.free_bytes,
            needed_bytes = space.needed_bytes,
            "there is no space for more records, so commands are refused: make space on the disk of the data directory, or raise \
             its quota; reads go on, and commands are taken again by themselves"
        ),
        Err(error) => {
            tracing::warn!(%error, "there is no space for more records, so commands are refused")
        }
    }
}

fn close(writer: Option<Writer>) {
    if let Some(Err(error)) = writer.map(Writer::close) {
        tracing::error!(%error, "the journal did not close cleanly");
    }
}

fn reserve(writer: &mut Writer) -> Result<(), Failure> {
    writer
        .reserve(FRAMES_RESERVED)
        .map_err(|error| match error {
            AppendError::Fatal(error) => Failure::Fatal(error.to_string()),
            _ => Failure::StorageFull,
        })
}

/// The index keys of a record, for rebuilding the index from the journal.
pub fn key_extractor() -> KeyExtractor {
    Arc::new(|payload, found| {
        ledger::index_keys(payload, found).expect("a record whose checksum holds can be read");
    })
}

impl Embedded {
    /// Opens the journal in `disk`, which must exist, with I/O on threads of its own.
    pub fn open(disk: Arc<dyn Disk>, options: journal::Options) -> Result<Embedded, OpenError> {
        Embedded::open_with(disk, options, start_threads)
    }

    /// Opens the journal in `disk`, doing all work on the caller's thread.
    pub fn open_inline(
        disk: Arc<dyn Disk>,
        options: journal::Options,
    ) -> Result<Embedded, OpenError> {
        Embedded::open_with(disk, options, |writer, maintainer, _damaged| {
            Ok(Io::Inline {
                writer: Some(Box::new(writer)),
                maintainer,
            })
        })
    }

    fn open_with(
        disk: Arc<dyn Disk>,
        options: journal::Options,
        io: impl FnOnce(Writer, Maintainer, Arc<DamagedPlaces>) -> std::io::Result<Io>,
    ) -> Result<Embedded, OpenError> {
        let (writer, reader, recovery) = journal::open(disk.clone(), options, key_extractor())?;
        let meta = writer.meta();
        let maintainer = writer.maintainer();
        let damaged = Arc::<DamagedPlaces>::default();
        Ok(Embedded {
            disk,
            reader,
            meta,
            recovery,
            newest: Vec::new(),
            io: io(writer, maintainer, damaged.clone())?,
            damaged,
        })
    }

    /// What opening found: cut bytes, rebuilt index files.
    pub fn recovery(&self) -> &RecoveryReport {
        &self.recovery
    }

    /// Sizes of the journal's parts.
    pub fn journal(&self) -> &journal::Reader {
        &self.reader
    }
}

fn start_threads(
    mut writer: Writer,
    maintainer: Maintainer,
    damaged: Arc<DamagedPlaces>,
) -> std::io::Result<Io> {
    let blocked = reserve(&mut writer).err();
    if matches!(blocked, Some(Failure::StorageFull)) {
        warn_of_full_disk(&writer);
    }
    let stop = Arc::new(AtomicBool::new(false));
    let scrubber = Scrubber::new(writer.reader());
    let maintain_stop = stop.clone();
    let maintenance = std::thread::Builder::new()
        .name("maintenance".into())
        .spawn(move || run_maintenance(maintainer, scrubber, &maintain_stop, &damaged))?;
    let appender = Appender {
        writer: Mutex::new(Some(writer)),
        blocked: Mutex::new(blocked),
        unseen: AtomicU64::new(0),
        maintenance: maintenance.thread().clone(),
    };
    Ok(Io::Threads {
        appender: Arc::new(appender),
        maintenance: Some(maintenance),
        stop,
    })
}

/// Seals and merges indexes as soon as there are any to be, and looks through the journal for damage at leisure.
fn run_maintenance(
    mut maintainer: Maintainer,
    mut scrubber: Scrubber,
    stop: &AtomicBool,
    damaged: &DamagedPlaces,
) {
    let mut scrubbed = Instant::now();
    while !stop.load(Ordering::Acquire) {
        match maintainer.step() {
            Ok(true) => continue,
            Ok(false) => {}
            Err(error) => {
                tracing::warn!(%error, "index maintenance failed and will be tried again");
            }
        }
        if scrubbed.elapsed() >= MAINTAIN_EVERY {
            scrub(&mut scrubber, damaged);
            scrubbed = Instant::now();
        }
        std::thread::park_timeout(MAINTAIN_EVERY);
    }
    // What is left undone is done at the next start, which waits for it.
    let deadline = Instant::now() + FINISH_WITHIN;
    while Instant::now() < deadline && maintainer.step().unwrap_or(false) {}
}

fn scrub(scrubber: &mut Scrubber, damaged: &DamagedPlaces) {
    match scrubber.step(SCRUB_BYTES) {
        Ok(step) => {
            for damage in &step.damage {
                if damaged.add(damage.position) {
                    tracing::error!(%damage, "the journal is damaged: run tributary verify on a copy, and restore from a backup");
                }
            }
        }
        Err(error) => tracing::warn!(%error, "a piece of the journal could not be checked"),
    }
}

fn fate_of(result: Result<Head, AppendError>) -> Fate {
    match result {
        Ok(head) => Fate::Durable(head),
        Err(AppendError::StorageFull) => Fate::Refused(Failure::StorageFull),
        Err(error @ (AppendError::TooLarge | AppendError::Refused(_))) => {
            Fate::Refused(Failure::Unavailable(error.to_string()))
        }
        Err(AppendError::Fatal(error)) => Fate::Fatal(error.to_string()),
    }
}

impl Backend for Embedded {
    fn recover(&mut self) -> Result<Recovered, Failure> {
        recover::recover(&*self.disk, &self.reader)
    }

    fn begin(&mut self) -> Result<Head, Failure> {
        match &mut self.io {
            Io::Inline { writer, .. } => {
                reserve(writer.as_mut().ok_or(Failure::Stopping)?)?;
            }
            Io::Threads { appender, .. } => appender.begin()?,
        }
        Ok(self.reader.head())
    }

    fn versions(&self) -> Versions {
        NEWEST
    }

    fn load(&mut self, lookups: &Lookups, set: &mut WorkingSet) -> Result<(), Failure> {
        lookup::load(self, lookups, set)
    }

    fn find_keys(&mut self, keys: KeyQueries<'_>) -> Result<Vec<(usize, KeyUse)>, Failure> {
        self.reader
            .find_newest(keys.hashes(), &mut self.newest)
            .map_err(Failure::from)?;
        // Nearly all keys are new: only those that may have been used are looked up in full.
        let mut uses = Vec::new();
        for (index, position) in self.newest.iter().enumerate() {
            if *position != 0 {
                let used = lookup::find_key(self, &keys.get(index))?;
                uses.extend(used.map(|used| (index, used)));
            }
        }
        Ok(uses)
    }

    fn submit(&mut self, batch: &Arc<Batch>, _set: &WorkingSet) -> Ticket {
        match &mut self.io {
            Io::Inline {
                writer: Some(writer),
                ..
            } => Ticket::ready(fate_of(writer.append(&mut batch.frame_mut()))),
            Io::Inline { writer: None, .. } => Ticket::ready(Fate::Refused(Failure::Stopping)),
            Io::Threads { appender, .. } => {
                let (appender, batch) = (appender.clone(), batch.clone());
                Ticket::pending(move || appender.append(&batch))
            }
        }
    }

    fn follow(&mut self, frame: Vec<u8>) -> Ticket {
        match &mut self.io {
            Io::Inline {
                writer: Some(writer),
                ..
            } => Ticket::ready(fate_of(writer.append_sealed(&frame))),
            Io::Inline { writer: None, .. } => Ticket::ready(Fate::Refused(Failure::Stopping)),
            Io::Threads { appender, .. } => {
                let appender = appender.clone();
                Ticket::pending(move || appender.append_sealed(&frame))
            }
        }
    }

    fn depth(&self) -> usize {
        match self.io {
            Io::Inline { .. } => 1,
            Io::Threads { .. } => BATCHES_IN_FLIGHT,
        }
    }

    fn idle(&mut self) -> bool {
        match &mut self.io {
            Io::Inline { writer, maintainer } => {
                if let Some(writer) = writer {
                    mark(writer);
                }
                maintainer.step().unwrap_or(false)
            }
            Io::Threads { appender, .. } => {
                appender.idle();
                false
            }
        }
    }

    fn reader(&self) -> Arc<dyn JournalReader> {
        Arc::new(Stored {
            reader: self.reader.clone(),
            meta: self.meta.clone(),
            damaged: self.damaged.clone(),
        })
    }

    fn disk(&self) -> Option<Arc<dyn Disk>> {
        Some(self.disk.clone())
    }

    fn close(&mut self) {
        match &mut self.io {
            Io::Inline { writer, .. } => close(writer.take().map(|writer| *writer)),
            Io::Threads {
                appender,
                maintenance,
                stop,
            } => {
                close(lock(&appender.writer).take());
                stop.store(true, Ordering::Release);
                if let Some(thread) = maintenance.take() {
                    thread.thread().unpark();
                    let _panicked = thread.join();
                }
            }
        }
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        // A simulated crash drops an inline backend without closing it.
        if matches!(self.io, Io::Threads { .. }) {
            self.close();
        }
    }
}

/// The journal for readers.
struct Stored {
    reader: journal::Reader,
    meta: Meta,
    damaged: Arc<DamagedPlaces>,
}

fn meta_of(meta: &Meta) -> JournalMeta {
    JournalMeta {
        cluster_id: meta.cluster_id,
        id_key: meta.id_key,
        sandbox: meta.sandbox,
        epochs: meta
            .epochs
            .iter()
            .map(|epoch| (epoch.number, epoch.first_position))
            .collect(),
    }
}

macro_rules! journal_reader {
    ($type:ty) => {
        impl JournalReader for $type {
            fn head(&self) -> Head {
                self.reader.head()
            }

            fn read(&self, position: u64, payload: &mut Vec<u8>) -> Result<bool, Failure> {
                let read = self.reader.read(position, payload);
                read.map_err(|error| self.damaged.failure(error))
            }

            fn read_cached<'a>(
                &self,
                position: u64,
                near: &'a mut ReadCache,
            ) -> Result<Option<&'a [u8]>, Failure> {
                let found = self.reader.read_cached(position, &mut near.journal);
                found.map_err(|error| self.damaged.failure(error))
            }

            fn find(
                &self,
                key_hash: u64,
                found: &mut dyn FnMut(u64) -> ControlFlow<()>,
            ) -> Result<(), Failure> {
                let searched = self.reader.find(key_hash, found);
                searched.map_err(|error| self.damaged.failure(error))
            }

            fn frame(&self, position: u64) -> Result<Option<Vec<u8>>, Failure> {
                let frame = self.reader.frame(position);
                frame.map_err(|error| self.damaged.failure(error))
            }

            fn meta(&self) -> JournalMeta {
                meta_of(&self.meta)
            }

            fn stats(&self) -> StoreStats {
                let stats = self.reader.stats();
                StoreStats {
                    bytes: stats.segment_bytes,
                    segments: stats.segments,
                    index_runs: stats.runs,
                    index_memory_bytes: stats.memory_bytes,
                    damaged: self.damaged.count(),
                }
            }
        }
    };
}

journal_reader!(Embedded);
journal_reader!(Stored);
