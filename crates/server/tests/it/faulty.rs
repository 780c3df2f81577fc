//! A backend with faults that a test can switch on and off.

use std::collections::BTreeSet;
use std::io;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use tributary_engine::{
    Backend, Basis, Batch, DirLock, Disk, Failure, Fate, File, FrameLog, Head, JournalMeta,
    JournalReader, KeyQueries, KeyUse, LogVisitor, Recovered, Standing, StoreStats, Ticket,
    Versions,
};
use tributary_ledger::{Lookups, WorkingSet};

/// The switches.
#[derive(Default)]
pub(crate) struct Faults {
    pub(crate) full: AtomicBool,
    pub(crate) unavailable: AtomicBool,
    /// Whether nothing can be written beside the journal.
    pub(crate) deliveries_unwritable: AtomicBool,
    damaged: Mutex<BTreeSet<u64>>,
    held: Mutex<bool>,
    let_go: Condvar,
}

impl Faults {
    /// From now on reading this record finds it damaged.
    pub(crate) fn damage(&self, position: u64) {
        self.damaged.lock().expect("unpoisoned").insert(position);
    }

    /// From now on nothing becomes durable until [`Faults::release`].
    pub(crate) fn hold(&self) {
        *self.held.lock().expect("unpoisoned") = true;
    }

    pub(crate) fn release(&self) {
        *self.held.lock().expect("unpoisoned") = false;
        self.let_go.notify_all();
    }

    fn wait(&self) {
        let mut held = self.held.lock().expect("unpoisoned");
        while *held {
            held = self.let_go.wait(held).expect("unpoisoned");
        }
    }
}

/// A place for deliveries that can be written only while the switches say so.
#[derive(Clone)]
pub(crate) struct FaultyDisk {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) faults: Arc<Faults>,
}

impl std::fmt::Debug for FaultyDisk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.disk.fmt(f)
    }
}

impl FaultyDisk {
    fn check(&self) -> io::Result<()> {
        match self.faults.deliveries_unwritable.load(Ordering::SeqCst) {
            true => Err(io::Error::other("switched off")),
            false => Ok(()),
        }
    }

    fn wrap(&self, file: Arc<dyn File>) -> Arc<dyn File> {
        let disk = self.clone();
        Arc::new(FaultyFile { file, disk })
    }
}

impl Disk for FaultyDisk {
    fn open(&self, path: &str) -> io::Result<Arc<dyn File>> {
        Ok(self.wrap(self.disk.open(path)?))
    }

    fn open_read(&self, path: &str) -> io::Result<Arc<dyn File>> {
        self.disk.open_read(path)
    }

    fn create(&self, path: &str) -> io::Result<Arc<dyn File>> {
        self.check()?;
        Ok(self.wrap(self.disk.create(path)?))
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        self.check()?;
        self.disk.remove(path)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.check()?;
        self.disk.rename(from, to)
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        self.disk.list(dir)
    }

    fn create_dir(&self, dir: &str) -> io::Result<()> {
        self.check()?;
        self.disk.create_dir(dir)
    }

    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        self.check()?;
        self.disk.sync_dir(dir)
    }

    fn lock(&self, path: &str) -> io::Result<Box<dyn DirLock>> {
        self.disk.lock(path)
    }

    fn free_bytes(&self) -> io::Result<u64> {
        self.disk.free_bytes()
    }
}

#[derive(Debug)]
struct FaultyFile {
    file: Arc<dyn File>,
    disk: FaultyDisk,
}

impl File for FaultyFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buf, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.disk.check()?;
        self.file.write_at(bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.disk.check()?;
        self.file.sync_data()
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.disk.check()?;
        self.file.allocate(len)
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.disk.check()?;
        self.file.truncate(len)
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
}

/// The log of deliveries that a node keeps in the log of its cluster, which can be written only while the switches say so.
pub(crate) struct FaultyLog {
    pub(crate) log: Box<dyn FrameLog>,
    pub(crate) faults: Arc<Faults>,
}

impl FaultyLog {
    fn write(&mut self, write: impl FnOnce(&mut dyn FrameLog) -> Ticket) -> Ticket {
        match self.faults.deliveries_unwritable.load(Ordering::SeqCst) {
            true => Ticket::ready(Fate::Unknown("switched off".to_owned())),
            false => write(&mut *self.log),
        }
    }
}

impl FrameLog for FaultyLog {
    fn read(
        &mut self,
        standing: &mut dyn FnMut(&Basis) -> Result<Standing, Failure>,
        visitor: &mut dyn LogVisitor,
    ) -> io::Result<Vec<String>> {
        self.log.read(standing, visitor)
    }

    fn append(&mut self, records: &[Vec<u8>], basis: Basis, now: u64) -> Ticket {
        self.write(|log| log.append(records, basis, now))
    }

    fn begin(&mut self, snapshot: &[Vec<u8>], basis: Basis, now: u64) -> Ticket {
        self.write(|log| log.begin(snapshot, basis, now))
    }

    fn wants_snapshot(&self) -> bool {
        self.log.wants_snapshot()
    }
}

/// The backend.
pub(crate) struct Faulty {
    pub(crate) inner: Box<dyn Backend>,
    pub(crate) faults: Arc<Faults>,
}

impl Backend for Faulty {
    fn recover(&mut self) -> Result<Recovered, Failure> {
        self.inner.recover()
    }

    fn begin(&mut self) -> Result<Head, Failure> {
        if self.faults.full.load(Ordering::SeqCst) {
            return Err(Failure::StorageFull);
        }
        if self.faults.unavailable.load(Ordering::SeqCst) {
            return Err(Failure::Unavailable("switched off".to_owned()));
        }
        self.inner.begin()
    }

    fn versions(&self) -> Versions {
        self.inner.versions()
    }

    fn load(&mut self, lookups: &Lookups, set: &mut WorkingSet) -> Result<(), Failure> {
        self.inner.load(lookups, set)
    }

    fn find_keys(&mut self, keys: KeyQueries<'_>) -> Result<Vec<(usize, KeyUse)>, Failure> {
        self.inner.find_keys(keys)
    }

    fn submit(&mut self, batch: &Arc<Batch>, set: &WorkingSet) -> Ticket {
        let ticket = self.inner.submit(batch, set);
        let faults = self.faults.clone();
        Ticket::pending(move || {
            faults.wait();
            ticket.wait()
        })
    }

    fn follow(&mut self, frame: Vec<u8>) -> Ticket {
        self.inner.follow(frame)
    }

    fn abandon(&mut self) {
        self.inner.abandon();
    }

    fn depth(&self) -> usize {
        self.inner.depth()
    }

    fn idle(&mut self) -> bool {
        self.inner.idle()
    }

    fn disk(&self) -> Option<Arc<dyn Disk>> {
        self.inner.disk()
    }

    fn close(&mut self) {
        self.inner.close();
    }

    fn reader(&self) -> Arc<dyn JournalReader> {
        Arc::new(FaultyReader {
            inner: self.inner.reader(),
            faults: self.faults.clone(),
        })
    }
}

struct FaultyReader {
    inner: Arc<dyn JournalReader>,
    faults: Arc<Faults>,
}

impl JournalReader for FaultyReader {
    fn head(&self) -> Head {
        self.inner.head()
    }

    fn read(&self, position: u64, payload: &mut Vec<u8>) -> Result<bool, Failure> {
        if self
            .faults
            .damaged
            .lock()
            .expect("unpoisoned")
            .contains(&position)
        {
            return Err(Failure::RecordDamaged {
                position,
                what: "switched".to_owned(),
            });
        }
        self.inner.read(position, payload)
    }

    fn find(
        &self,
        key_hash: u64,
        found: &mut dyn FnMut(u64) -> ControlFlow<()>,
    ) -> Result<(), Failure> {
        self.inner.find(key_hash, found)
    }

    fn stats(&self) -> StoreStats {
        let damaged = self.faults.damaged.lock().expect("unpoisoned").len() as u64;
        StoreStats {
            damaged,
            ..self.inner.stats()
        }
    }

    fn frame(&self, position: u64) -> Result<Option<Vec<u8>>, Failure> {
        self.inner.frame(position)
    }

    fn meta(&self) -> JournalMeta {
        self.inner.meta()
    }
}
