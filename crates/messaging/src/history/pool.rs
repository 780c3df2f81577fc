//! The places of slots in files, which owners share.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use tributary_journal::{Disk, File};
use tributary_ledger::{BoundReached, BoundUse, OwnerId, SharedBound};

use super::slot::{
    DIR, HEADER_BYTES, SLOT_BYTES, SLOTS_PER_FILE, Slot, parse_header, path, put_header,
};

/// Free space below which no file is begun, in bytes: payments come first, and the journal's next segment needs 384 MiB.
pub(super) const FREE_BYTES_MIN: u64 = 512 << 20;
/// Maximum number of files that are kept open.
const FILES_OPEN_MAX: usize = 16;

/// A slot in a file.
#[derive(Clone, Debug)]
pub(super) struct StoredSlot {
    pub(super) slot: Slot,
    /// Place in the files, counted in slots.
    pub(super) place: u64,
    /// Size of the content, in bytes.
    pub(super) bytes: usize,
}

/// The slots in files. Owners share their number as [`SharedBound`] says; where an owner has no room, an old slot makes room.
pub(super) struct Pool {
    cluster: [u8; 16],
    files_max: usize,
    slots: BTreeMap<u64, StoredSlot>,
    /// Numbers of the slots of each owner who has some.
    by_owner: BTreeMap<OwnerId, BTreeSet<u64>>,
    free: BTreeSet<u64>,
    files: BTreeSet<u64>,
    open: BTreeMap<u64, Arc<dyn File>>,
}

/// Removes a file. A failure costs space and nothing else.
fn remove(disk: &dyn Disk, file: u64) {
    if let Err(error) = disk.remove(&path(file)) {
        tracing::warn!(%error, file, "an old part of the history of deliveries can't be removed");
    }
}

impl Pool {
    pub(super) fn new(cluster: [u8; 16], files_max: usize) -> Pool {
        Pool {
            cluster,
            files_max,
            slots: BTreeMap::new(),
            by_owner: BTreeMap::new(),
            free: BTreeSet::new(),
            files: BTreeSet::new(),
            open: BTreeMap::new(),
        }
    }

    /// Reads the headers of all slots. Erases those that know of events after `head`, the end of the journal.
    pub(super) fn read(
        disk: &dyn Disk,
        cluster: [u8; 16],
        head: u64,
        files_max: usize,
    ) -> io::Result<Pool> {
        let mut pool = Pool::new(cluster, files_max);
        let number = |name: &String| {
            let number = name.strip_suffix(".log")?.parse().ok()?;
            path(number).ends_with(name.as_str()).then_some(number)
        };
        let files: Vec<u64> = disk.list(DIR)?.iter().filter_map(number).collect();
        let mut found: BTreeMap<u64, Vec<StoredSlot>> = BTreeMap::new();
        for file in files {
            let slots = read_file(disk, cluster, file);
            if slots.iter().all(|one| one.slot.greatest <= head) {
                found.insert(file, slots);
            } else if let Ok(kept) = erase_after(disk, file, slots, head) {
                found.insert(file, kept);
            } else {
                remove(disk, file);
            }
        }
        // The files with the oldest slots go.
        while found.len() > files_max {
            let newest = |slots: &Vec<StoredSlot>| slots.iter().map(|one| one.slot.number).max();
            let oldest = found.iter().min_by_key(|(_, slots)| newest(slots));
            let oldest = *oldest.expect("there are some").0;
            remove(disk, oldest);
            found.remove(&oldest);
        }
        for (file, slots) in found {
            pool.add_file(file);
            for one in slots {
                pool.free.remove(&one.place);
                pool.insert(one);
            }
        }
        Ok(pool)
    }

    /// Takes in a slot that was read. Of two with one number the longer one is the newer one.
    fn insert(&mut self, one: StoredSlot) {
        let (number, owner) = (one.slot.number, one.slot.owner);
        if let Some(other) = self.slots.remove(&number) {
            let (kept, given_back) = match other.bytes >= one.bytes {
                true => (other, one),
                false => (one, other),
            };
            self.forget_owner(given_back.slot.owner, number);
            self.free.insert(given_back.place);
            let owner = kept.slot.owner;
            self.slots.insert(number, kept);
            self.by_owner.entry(owner).or_default().insert(number);
            return;
        }
        self.slots.insert(number, one);
        self.by_owner.entry(owner).or_default().insert(number);
    }

    fn forget_owner(&mut self, owner: OwnerId, number: u64) {
        if let Some(numbers) = self.by_owner.get_mut(&owner) {
            numbers.remove(&number);
            if numbers.is_empty() {
                self.by_owner.remove(&owner);
            }
        }
    }

    fn add_file(&mut self, file: u64) {
        self.files.insert(file);
        let first = file * SLOTS_PER_FILE;
        self.free.extend(first..first + SLOTS_PER_FILE);
    }

    /// Returns the number after that of the newest slot.
    pub(super) fn next_number(&self) -> u64 {
        self.slots
            .last_key_value()
            .map_or(0, |(number, _)| number + 1)
    }

    /// Returns the newest slot of the owner.
    pub(super) fn newest(&self, owner: OwnerId) -> Option<&StoredSlot> {
        let number = self.by_owner.get(&owner)?.last()?;
        self.slots.get(number)
    }

    /// Returns all slots, the newest first.
    pub(super) fn newest_first(&self) -> impl Iterator<Item = &StoredSlot> {
        self.slots.values().rev()
    }

    /// Writes a slot into its place, or into one that it is given.
    pub(super) fn write(&mut self, disk: &dyn Disk, slot: &Slot, content: &[u8]) -> io::Result<()> {
        let place = match self.slots.get(&slot.number) {
            Some(stored) => stored.place,
            None => self.make_room(disk, slot.owner)?,
        };
        let written = self.write_at(disk, place, slot, content);
        if written.is_err() {
            self.open.clear();
            if !self.slots.contains_key(&slot.number) {
                self.free.insert(place);
            }
            return written;
        }
        let (number, owner) = (slot.number, slot.owner);
        let stored = StoredSlot {
            slot: slot.clone(),
            place,
            bytes: content.len(),
        };
        self.slots.insert(number, stored);
        self.by_owner.entry(owner).or_default().insert(number);
        Ok(())
    }

    fn write_at(
        &mut self,
        disk: &dyn Disk,
        place: u64,
        slot: &Slot,
        content: &[u8],
    ) -> io::Result<()> {
        let number = place / SLOTS_PER_FILE;
        let file = match self.open.get(&number) {
            Some(file) => file.clone(),
            None => {
                if self.open.len() >= FILES_OPEN_MAX {
                    self.open.pop_first();
                }
                let file = disk.open(&path(number))?;
                self.open.insert(number, file.clone());
                file
            }
        };
        let mut bytes = vec![0; HEADER_BYTES];
        bytes.extend_from_slice(content);
        put_header(slot, self.cluster, &mut bytes);
        file.write_at(&bytes, place % SLOTS_PER_FILE * SLOT_BYTES as u64)
    }

    /// Takes a free place for the owner. Where there is none for this owner, the oldest slot of one who has too many makes room.
    fn make_room(&mut self, disk: &dyn Disk, owner: OwnerId) -> io::Result<u64> {
        let bound = SharedBound::new(self.files_max * SLOTS_PER_FILE as usize);
        loop {
            let count = |owner| self.by_owner.get(&owner).map_or(0, BTreeSet::len);
            let used = BoundUse {
                in_all: self.slots.len(),
                by_platform: count(OwnerId::PLATFORM),
                by_owner: count(owner),
            };
            let owners_are_full = used.in_all - used.by_platform >= bound.of_owners();
            match bound.check(owner, used, 1) {
                Ok(()) => match self.free.pop_first() {
                    Some(place) => return Ok(place),
                    None => self.begin_file(disk)?,
                },
                Err(BoundReached::OfOwner) => self.free_oldest(owner),
                Err(BoundReached::InAll) if owner != OwnerId::PLATFORM && owners_are_full => {
                    self.free_oldest(self.largest_owner(owner));
                }
                Err(BoundReached::InAll) => self.free_oldest(OwnerId::PLATFORM),
            }
        }
    }

    /// Returns the owner other than the platform who has the most slots; of several `wanting`, or else the one with the oldest slot.
    fn largest_owner(&self, wanting: OwnerId) -> OwnerId {
        let owners = self.by_owner.iter();
        let owners = owners.filter(|(owner, _)| **owner != OwnerId::PLATFORM);
        let largest = owners.max_by_key(|(owner, numbers)| {
            let oldest = std::cmp::Reverse(numbers.first());
            (numbers.len(), **owner == wanting, oldest)
        });
        *largest.expect("owners have three quarters of all slots").0
    }

    fn free_oldest(&mut self, owner: OwnerId) {
        let numbers = self.by_owner.get(&owner);
        let oldest = numbers.and_then(|numbers| numbers.first().copied());
        let number = oldest.expect("an owner who has too many has one");
        self.forget_owner(owner, number);
        let stored = self.slots.remove(&number).expect("it has an owner");
        self.free.insert(stored.place);
    }

    fn begin_file(&mut self, disk: &dyn Disk) -> io::Result<()> {
        assert!(
            self.files.len() < self.files_max,
            "full files leave no room"
        );
        if disk.free_bytes()? < FREE_BYTES_MIN {
            return Err(io::ErrorKind::StorageFull.into());
        }
        disk.create_dir(DIR)?;
        let unused = (0..).find(|number| !self.files.contains(number));
        let number = unused.expect("there are more numbers than files");
        let file = disk.create(&path(number))?;
        if self.open.len() >= FILES_OPEN_MAX {
            self.open.pop_first();
        }
        self.open.insert(number, file);
        self.add_file(number);
        Ok(())
    }
}

/// Reads the headers of a file. What can't be read is passed over like what is damaged.
fn read_file(disk: &dyn Disk, cluster: [u8; 16], file: u64) -> Vec<StoredSlot> {
    let mut slots = Vec::new();
    let Ok(open) = disk.open_read(&path(file)) else {
        return slots;
    };
    let mut header = [0; HEADER_BYTES];
    for at in 0..SLOTS_PER_FILE {
        let read = open.read_at(&mut header, at * SLOT_BYTES as u64);
        if read.unwrap_or(0) < HEADER_BYTES {
            break;
        }
        slots.extend(
            parse_header(&header, cluster).map(|(slot, _, bytes)| StoredSlot {
                slot,
                place: file * SLOTS_PER_FILE + at,
                bytes,
            }),
        );
    }
    slots
}

/// Erases the slots that know of events after `head`: the journal was restored to an earlier position, and other events will have
/// these positions. Returns the other slots.
fn erase_after(
    disk: &dyn Disk,
    file: u64,
    slots: Vec<StoredSlot>,
    head: u64,
) -> io::Result<Vec<StoredSlot>> {
    let open = disk.open(&path(file))?;
    let (kept, later): (Vec<_>, Vec<_>) =
        slots.into_iter().partition(|one| one.slot.greatest <= head);
    for one in later {
        let at = one.place % SLOTS_PER_FILE * SLOT_BYTES as u64;
        open.write_at(&[0; HEADER_BYTES], at)?;
    }
    Ok(kept)
}
