//! The memory backend with faults that a test can switch on and off.

use std::collections::BTreeSet;
use std::io;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use tributary_engine::{
    Backend, Batch, DirLock, Disk, Failure, File, Head, JournalMeta, JournalReader, KeyQueries,
    KeyUse, Memory, Recovered, StoreStats, Ticket,
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

/// The backend.
#[derive(Clone)]
pub(crate) struct Faulty {
    pub(crate) memory: Memory,
    pub(crate) faults: Arc<Faults>,
}

impl Backend for Faulty {
    fn recover(&mut self) -> Result<Recovered, Failure> {
        self.memory.recover()
    }

    fn begin(&mut self) -> Result<Head, Failure> {
        if self.faults.full.load(Ordering::SeqCst) {
            return Err(Failure::StorageFull);
        }
        if self.faults.unavailable.load(Ordering::SeqCst) {
            return Err(Failure::Unavailable("switched off".to_owned()));
        }
        self.memory.begin()
    }

    fn load(&mut self, lookups: &Lookups, set: &mut WorkingSet) -> Result<(), Failure> {
        self.memory.load(lookups, set)
    }

    fn find_keys(&mut self, keys: KeyQueries<'_>) -> Result<Vec<(usize, KeyUse)>, Failure> {
        self.memory.find_keys(keys)
    }

    fn submit(&mut self, batch: &Arc<Batch>, set: &WorkingSet) -> Ticket {
        let ticket = self.memory.submit(batch, set);
        let faults = self.faults.clone();
        Ticket::pending(move || {
            faults.wait();
            ticket.wait()
        })
    }

    fn follow(&mut self, frame: Vec<u8>) -> Ticket {
        self.memory.follow(frame)
    }

    fn depth(&self) -> usize {
        self.memory.depth()
    }

    fn reader(&self) -> Arc<dyn JournalReader> {
        Arc::new(self.clone())
    }
}

impl JournalReader for Faulty {
    fn head(&self) -> Head {
        JournalReader::head(&self.memory)
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
        self.memory.read(position, payload)
    }

    fn find(
        &self,
        key_hash: u64,
        found: &mut dyn FnMut(u64) -> ControlFlow<()>,
    ) -> Result<(), Failure> {
        self.memory.find(key_hash, found)
    }

    fn stats(&self) -> StoreStats {
        let damaged = self.faults.damaged.lock().expect("unpoisoned").len() as u64;
        StoreStats {
            damaged,
            ..JournalReader::stats(&self.memory)
        }
    }

    fn frame(&self, position: u64) -> Result<Option<Vec<u8>>, Failure> {
        self.memory.frame(position)
    }

    fn meta(&self) -> JournalMeta {
        self.memory.meta()
    }
}
