//! A disk in memory that behaves as badly as a disk may.
//!
//! Writes, lengths and names are visible at once and durable only after a sync; a crash keeps any part of the rest: nothing,
//! all of it, single sectors, half a sector. Every operation that changes something has a number, at which a fault can
//! be placed. Names in one directory survive as a prefix of what was done to them, as in a journaling file system.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tributary_journal::{DirLock, Disk, File};

use crate::random::Random;

const SECTOR: usize = 512;

/// Fault of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The power fails during the operation; everything after it fails too. See [`SimDisk::crash`].
    PowerOff,
    /// No space is left; a write is done in part.
    StorageFull,
    /// The device reports an error. Data that was not durable may be lost, and later syncs do not report the loss.
    Broken,
}

/// A simulated disk; see the module. Clones share the disk.
#[derive(Clone, Debug)]
pub struct SimDisk(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    random: Random,
    inodes: BTreeMap<u64, Inode>,
    names: BTreeMap<String, u64>,
    durable_names: BTreeMap<String, u64>,
    pending_names: Vec<NameChange>,
    next_inode: u64,
    operations: u64,
    faults: BTreeMap<u64, Fault>,
    off: bool,
    capacity: u64,
    copies_on_write: bool,
    locks: BTreeSet<String>,
}

#[derive(Clone, Debug, Default)]
struct Inode {
    /// Content that programs see.
    cache: Vec<u8>,
    /// Content that is certainly durable.
    durable: Vec<u8>,
    pending: Vec<Change>,
}

#[derive(Clone, Debug)]
enum Change {
    Length(usize),
    Truncate(usize),
    Write(usize, Vec<u8>),
}

#[derive(Clone, Debug)]
struct NameChange {
    dir: String,
    changes: Vec<(String, Option<u64>)>,
}

impl SimDisk {
    /// Returns an empty disk with unlimited capacity.
    #[must_use]
    pub fn new(seed: u64) -> SimDisk {
        SimDisk(Arc::new(Mutex::new(State {
            random: Random::new(seed),
            inodes: BTreeMap::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            pending_names: Vec::new(),
            next_inode: 1,
            operations: 0,
            faults: BTreeMap::new(),
            off: false,
            capacity: u64::MAX,
            copies_on_write: false,
            locks: BTreeSet::new(),
        })))
    }

    /// Returns the disk as the journal uses it.
    #[must_use]
    pub fn disk(&self) -> Arc<dyn Disk> {
        Arc::new(self.clone())
    }

    /// Returns the number of changing operations so far.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.state().operations
    }

    /// Injects a fault at the operation with this number. The number of the next operation is [`SimDisk::operations`].
    pub fn inject(&self, operation: u64, fault: Fault) {
        self.state().faults.insert(operation, fault);
    }

    /// Sets the capacity, bytes.
    pub fn set_capacity(&self, bytes: u64) {
        self.state().capacity = bytes;
    }

    /// Has the disk copy on write: while no space is free, writes fail also where space was reserved, and are done in part.
    pub fn set_copy_on_write(&self, copies_on_write: bool) {
        self.state().copies_on_write = copies_on_write;
    }

    /// Returns the used space, bytes.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.state().used()
    }

    /// Returns whether a [`Fault::PowerOff`] has occurred.
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.state().off
    }

    /// Returns the disk as found after a power failure now, or after the one that has occurred: another disk, without faults.
    #[must_use]
    pub fn crash(&self, seed: u64) -> SimDisk {
        let state = self.state();
        let mut random = Random::new(seed);
        let mut names = state.durable_names.clone();
        let dirs: BTreeSet<&String> = state
            .pending_names
            .iter()
            .map(|change| &change.dir)
            .collect();
        for dir in dirs {
            let changes: Vec<_> = state
                .pending_names
                .iter()
                .filter(|change| change.dir == *dir)
                .collect();
            let kept = random.below(changes.len() as u64 + 1) as usize;
            changes[..kept]
                .iter()
                .for_each(|change| change.apply(&mut names));
        }
        let survivor = SimDisk::new(random.any());
        {
            let mut after = survivor.state();
            for inode in names.values() {
                let bytes = state.inodes[inode].survive(&mut random);
                after.inodes.insert(
                    *inode,
                    Inode {
                        cache: bytes.clone(),
                        durable: bytes,
                        pending: Vec::new(),
                    },
                );
            }
            after.durable_names = names.clone();
            after.names = names;
            after.next_inode = state.next_inode;
            after.capacity = state.capacity;
        }
        survivor
    }

    /// Returns a disk with the same files, all durable.
    #[must_use]
    pub fn copy(&self) -> SimDisk {
        let state = self.state();
        let copy = SimDisk::new(1);
        {
            let mut to = copy.state();
            to.names = state.names.clone();
            to.durable_names = state.names.clone();
            to.next_inode = state.next_inode;
            to.capacity = state.capacity;
            for inode in state.names.values() {
                let bytes = state.inodes[inode].cache.clone();
                to.inodes.insert(
                    *inode,
                    Inode {
                        cache: bytes.clone(),
                        durable: bytes,
                        pending: Vec::new(),
                    },
                );
            }
        }
        copy
    }

    /// Returns all files and their bytes.
    #[must_use]
    pub fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let state = self.state();
        state
            .names
            .iter()
            .map(|(name, inode)| (name.clone(), state.inodes[inode].cache.clone()))
            .collect()
    }

    /// Flips bits of a byte of a file, without an operation.
    ///
    /// # Panics
    /// If there is no such byte.
    pub fn flip(&self, path: &str, offset: usize, mask: u8) {
        self.damage(path, |bytes| bytes[offset] ^= mask);
    }

    /// Changes a file without an operation.
    ///
    /// # Panics
    /// If there is no such file.
    pub fn damage(&self, path: &str, damage: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.state();
        let inode = state.names[path];
        let inode = state.inodes.get_mut(&inode).expect("a name has an inode");
        assert!(inode.pending.is_empty(), "only durable files are damaged");
        damage(&mut inode.cache);
        inode.durable = inode.cache.clone();
    }

    /// Deletes a file without an operation.
    pub fn delete(&self, path: &str) {
        let mut state = self.state();
        state.names.remove(path);
        state.durable_names.remove(path);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn dir_of(path: &str) -> String {
    path.rsplit_once('/')
        .map_or(String::new(), |(dir, _)| dir.to_owned())
}

fn power_is_off() -> io::Error {
    io::Error::other("the power is off")
}

fn set_len(bytes: &mut Vec<u8>, len: usize) {
    if bytes.len() < len {
        bytes.resize(len, 0);
    }
}

fn write_into(bytes: &mut Vec<u8>, offset: usize, data: &[u8]) {
    set_len(bytes, offset + data.len());
    bytes[offset..offset + data.len()].copy_from_slice(data);
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<String, u64>) {
        for (name, inode) in &self.changes {
            match inode {
                Some(inode) => names.insert(name.clone(), *inode),
                None => names.remove(name),
            };
        }
    }
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Change::Length(len) => set_len(bytes, *len),
            Change::Truncate(len) => bytes.truncate(*len),
            Change::Write(offset, data) => write_into(bytes, *offset, data),
        }
    }

    /// Applies single sectors of a write, and half a sector now and then.
    fn apply_torn(&self, bytes: &mut Vec<u8>, random: &mut Random) {
        let Change::Write(offset, data) = self else {
            return self.apply(bytes);
        };
        let mut at = 0;
        while at < data.len() {
            let take = (SECTOR - (offset + at) % SECTOR).min(data.len() - at);
            if random.one_in(2) {
                let part = if random.one_in(8) {
                    random.below(take as u64 + 1) as usize
                } else {
                    take
                };
                write_into(bytes, offset + at, &data[at..at + part]);
            }
            at += take;
        }
    }
}

impl Inode {
    /// Returns the content after a crash.
    fn survive(&self, random: &mut Random) -> Vec<u8> {
        let mut bytes = self.durable.clone();
        let mode = random.below(4);
        for change in &self.pending {
            match mode {
                0 => {}
                1 => change.apply(&mut bytes),
                2 => change.apply_torn(&mut bytes, random),
                _ if random.one_in(2) => change.apply_torn(&mut bytes, random),
                _ => {}
            }
        }
        bytes
    }
}

impl State {
    fn used(&self) -> u64 {
        self.names
            .values()
            .map(|inode| self.inodes[inode].cache.len() as u64)
            .sum()
    }

    fn free(&self) -> u64 {
        self.capacity.saturating_sub(self.used())
    }

    /// Counts an operation and returns its fault, if there is one.
    fn begin(&mut self) -> io::Result<Option<Fault>> {
        if self.off {
            return Err(power_is_off());
        }
        let fault = self.faults.remove(&self.operations);
        self.operations += 1;
        self.off = fault == Some(Fault::PowerOff);
        Ok(fault)
    }

    fn check_on(&self) -> io::Result<()> {
        if self.off {
            Err(power_is_off())
        } else {
            Ok(())
        }
    }

    fn change_names(&mut self, dir: String, changes: Vec<(String, Option<u64>)>) -> io::Result<()> {
        let fault = self.begin()?;
        if matches!(fault, Some(Fault::StorageFull | Fault::Broken)) {
            return Err(fault_error(fault));
        }
        let change = NameChange { dir, changes };
        change.apply(&mut self.names);
        self.pending_names.push(change);
        if fault.is_some() {
            Err(fault_error(fault))
        } else {
            Ok(())
        }
    }
}

fn fault_error(fault: Option<Fault>) -> io::Error {
    match fault {
        Some(Fault::StorageFull) => io::ErrorKind::StorageFull.into(),
        Some(Fault::Broken) => io::Error::other("the device is broken"),
        _ => power_is_off(),
    }
}

#[derive(Debug)]
struct SimFile {
    disk: SimDisk,
    inode: u64,
    writable: bool,
}

impl SimFile {
    fn change(&self, change: Change) -> io::Result<()> {
        assert!(self.writable, "a file opened for reading is not written");
        let mut state = self.disk.state();
        let fault = state.begin()?;
        let free = state.free();
        let no_copy = state.copies_on_write && free == 0;
        let mut random = state.random.clone();
        let inode = state
            .inodes
            .get_mut(&self.inode)
            .expect("an open file has an inode");
        let end = match &change {
            Change::Length(len) | Change::Truncate(len) => *len,
            Change::Write(offset, data) => offset + data.len(),
        };
        let room = inode.cache.len() as u64 + free;
        let mut result = if fault.is_some() {
            Err(fault_error(fault))
        } else {
            Ok(())
        };
        let mut change = change;
        let no_copy = no_copy && matches!(&change, Change::Write(_, data) if !data.is_empty());
        if no_copy || end as u64 > room || matches!(fault, Some(Fault::StorageFull | Fault::Broken))
        {
            if result.is_ok() {
                result = Err(io::ErrorKind::StorageFull.into());
            }
            match &mut change {
                Change::Length(_) | Change::Truncate(_) => return result,
                Change::Write(offset, data) => {
                    let fits = data.len().min((room as usize).saturating_sub(*offset));
                    let fits = fits - usize::from(no_copy && fits == data.len());
                    data.truncate(random.below(fits as u64 + 1) as usize);
                }
            }
        }
        change.apply(&mut inode.cache);
        inode.pending.push(change);
        state.random = random;
        result
    }
}

impl File for SimFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let state = self.disk.state();
        state.check_on()?;
        let bytes = &state.inodes[&self.inode].cache;
        let start = (offset as usize).min(bytes.len());
        let len = buf.len().min(bytes.len() - start);
        buf[..len].copy_from_slice(&bytes[start..start + len]);
        Ok(len)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.change(Change::Write(offset as usize, bytes.to_vec()))
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.disk.state();
        let fault = state.begin()?;
        if fault == Some(Fault::PowerOff) {
            return Err(power_is_off());
        }
        let mut random = state.random.clone();
        let inode = state
            .inodes
            .get_mut(&self.inode)
            .expect("an open file has an inode");
        for change in std::mem::take(&mut inode.pending) {
            if fault.is_none() {
                change.apply(&mut inode.durable);
            } else if random.one_in(2) {
                change.apply_torn(&mut inode.durable, &mut random);
            }
        }
        state.random = random;
        if fault.is_some() {
            Err(fault_error(fault))
        } else {
            Ok(())
        }
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.change(Change::Length(len as usize))
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.change(Change::Truncate(len as usize))
    }

    fn len(&self) -> io::Result<u64> {
        let state = self.disk.state();
        state.check_on()?;
        Ok(state.inodes[&self.inode].cache.len() as u64)
    }
}

#[derive(Debug)]
struct SimLock {
    disk: SimDisk,
    path: String,
}

impl DirLock for SimLock {}

impl Drop for SimLock {
    fn drop(&mut self) {
        self.disk.state().locks.remove(&self.path);
    }
}

impl SimDisk {
    fn open_as(&self, path: &str, writable: bool) -> io::Result<Arc<dyn File>> {
        let state = self.state();
        state.check_on()?;
        match state.names.get(path) {
            Some(inode) => Ok(Arc::new(SimFile {
                disk: self.clone(),
                inode: *inode,
                writable,
            })),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

impl Disk for SimDisk {
    fn open(&self, path: &str) -> io::Result<Arc<dyn File>> {
        self.open_as(path, true)
    }

    fn open_read(&self, path: &str) -> io::Result<Arc<dyn File>> {
        self.open_as(path, false)
    }

    fn create(&self, path: &str) -> io::Result<Arc<dyn File>> {
        let inode = {
            let mut state = self.state();
            let inode = state.next_inode;
            state.next_inode += 1;
            state.inodes.insert(inode, Inode::default());
            state.change_names(dir_of(path), vec![(path.to_owned(), Some(inode))])?;
            inode
        };
        Ok(Arc::new(SimFile {
            disk: self.clone(),
            inode,
            writable: true,
        }))
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        let mut state = self.state();
        if !state.names.contains_key(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.change_names(dir_of(path), vec![(path.to_owned(), None)])
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        assert_eq!(dir_of(from), dir_of(to), "a rename stays in its directory");
        let mut state = self.state();
        let inode = *state.names.get(from).ok_or(io::ErrorKind::NotFound)?;
        state.change_names(
            dir_of(from),
            vec![(from.to_owned(), None), (to.to_owned(), Some(inode))],
        )
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        let state = self.state();
        state.check_on()?;
        let names = state.names.keys().filter(|path| dir_of(path) == dir);
        Ok(names
            .map(|path| path.rsplit('/').next().unwrap_or(path).to_owned())
            .collect())
    }

    fn create_dir(&self, _dir: &str) -> io::Result<()> {
        self.state().check_on()
    }

    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        let mut state = self.state();
        let fault = state.begin()?;
        if fault.is_some() {
            return Err(fault_error(fault));
        }
        let pending = std::mem::take(&mut state.pending_names);
        let (now, later): (Vec<_>, Vec<_>) =
            pending.into_iter().partition(|change| change.dir == dir);
        now.iter()
            .for_each(|change| change.apply(&mut state.durable_names));
        state.pending_names = later;
        Ok(())
    }

    fn lock(&self, path: &str) -> io::Result<Box<dyn DirLock>> {
        let mut state = self.state();
        state.check_on()?;
        if !state.locks.insert(path.to_owned()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(SimLock {
            disk: self.clone(),
            path: path.to_owned(),
        }))
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let state = self.state();
        state.check_on()?;
        Ok(state.free())
    }
}
