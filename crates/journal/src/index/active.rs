//! The table of the segment being written: open addressing, one cache line for a missing key.
//!
//! A slot holds the number of the key's newest entry in an append-only log of entries; entries with the same hash are linked
//! from newer to older. So a key written a hundred thousand times takes one slot, the
//! table can grow from the log, and sealing needs no reading. Beside each slot stands a tag, a byte of the hash: most keys
//! that are looked for are new, and the tags, small enough to stay near, are all that they touch. One thread inserts
//! while others look, without locks but for the moment in which the slots are replaced by more.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{OnceLock, RwLock};

use super::spread;
use crate::shared::{read, write};

// 2^32 entries in all; small pieces, so that none takes long to clear.
const CHUNK_ENTRIES: usize = 1 << 13;
/// So many keys are looked for at once.
pub(crate) const WARM_KEYS: usize = 32;
const GROUP_CHUNKS: usize = 1 << 9;
const GROUPS: usize = 1 << 10;
pub(crate) const SLOTS_MIN: usize = 1 << 12;

#[derive(Debug, Default)]
struct Entry {
    hash: AtomicU64,
    // High half: position - base. Low half: number of the next older entry with this hash, plus one.
    link: AtomicU64,
}

#[derive(Debug)]
struct Slots {
    // 0 = the slot is empty.
    tags: Box<[AtomicU8]>,
    // Numbers of the newest entries.
    entries: Box<[AtomicU32]>,
}

impl Slots {
    /// Empty ones, a power of two.
    fn new(len: usize) -> Slots {
        Slots {
            tags: (0..len).map(|_| AtomicU8::new(0)).collect(),
            entries: (0..len).map(|_| AtomicU32::new(0)).collect(),
        }
    }

    fn mask(&self) -> usize {
        self.tags.len() - 1
    }

    /// Fills an empty slot. Whoever sees the tag sees the slot.
    fn fill(&self, at: usize, hash: u64, number: u32) {
        self.entries[at].store(number, Ordering::Release);
        self.tags[at].store(tag(hash), Ordering::Release);
    }

    /// Touches the tags of a few keys first, so that their cache misses overlap instead of following one another.
    fn warm(&self, key_hashes: impl Iterator<Item = u64>) {
        let touched = key_hashes.fold(0, |touched, key_hash| {
            touched ^ self.tags[spread(key_hash) as usize & self.mask()].load(Ordering::Relaxed)
        });
        std::hint::black_box(touched);
    }
}

fn tag(hash: u64) -> u8 {
    ((hash >> 56) as u8).max(1)
}

type Chunk = OnceLock<Box<[Entry]>>;
type Group = OnceLock<Box<[Chunk]>>;

/// See the module.
#[derive(Debug)]
pub(crate) struct ActiveTable {
    base: u64,
    slots: RwLock<Slots>,
    groups: Box<[Group]>,
    // Written by the one that inserts only.
    entries: AtomicU64,
    keys: AtomicU64,
}

impl ActiveTable {
    /// A table for positions from `base` on, with room for `keys` different keys before it has to grow.
    pub(crate) fn new(base: u64, keys: usize) -> ActiveTable {
        let slots = (keys * 2).next_power_of_two().max(SLOTS_MIN);
        ActiveTable {
            base,
            slots: RwLock::new(Slots::new(slots)),
            groups: (0..GROUPS).map(|_| Group::new()).collect(),
            entries: AtomicU64::new(0),
            keys: AtomicU64::new(0),
        }
    }

    /// Moves an empty table, prepared ahead, to where it is needed.
    pub(crate) fn rebase(&mut self, base: u64) {
        assert_eq!(self.entries(), 0, "only an empty table moves");
        self.base = base;
    }

    pub(crate) fn entries(&self) -> u64 {
        self.entries.load(Ordering::Acquire)
    }

    pub(crate) fn keys(&self) -> u64 {
        self.keys.load(Ordering::Relaxed)
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        let slots = read(&self.slots).tags.len() * 5;
        slots + (self.entries() as usize).next_multiple_of(CHUNK_ENTRIES) * size_of::<Entry>()
    }

    /// Inserts `(key hash, position)` pairs, positions ascending. Only ever called by one thread at a time.
    pub(crate) fn insert_all(&self, pairs: &[(u64, u64)]) {
        self.grow_for(pairs.len());
        let slots = read(&self.slots);
        for group in pairs.chunks(WARM_KEYS) {
            slots.warm(group.iter().map(|pair| pair.0));
            for (key_hash, position) in group {
                self.insert(&slots, spread(*key_hash), *position);
            }
        }
    }

    fn insert(&self, slots: &Slots, hash: u64, position: u64) {
        let number = self.entries.load(Ordering::Relaxed);
        let relative =
            u32::try_from(position - self.base).expect("a segment holds fewer than 2^32 records");
        assert!(
            number < u64::from(u32::MAX),
            "a segment holds fewer than 2^32 keys"
        );
        let (at, older) = self.slot_of(slots, hash);
        if older == 0 {
            self.keys.fetch_add(1, Ordering::Relaxed);
        } else if self.position(older) == position {
            // The same key twice in one record.
            return;
        }
        let index = number as usize;
        let chunk = self.groups[index / CHUNK_ENTRIES / GROUP_CHUNKS]
            .get_or_init(|| (0..GROUP_CHUNKS).map(|_| Chunk::new()).collect())
            [index / CHUNK_ENTRIES % GROUP_CHUNKS]
            .get_or_init(|| (0..CHUNK_ENTRIES).map(|_| Entry::default()).collect());
        let entry = &chunk[index % CHUNK_ENTRIES];
        entry.hash.store(hash, Ordering::Relaxed);
        entry.link.store(
            u64::from(relative) << 32 | u64::from(older),
            Ordering::Relaxed,
        );
        let newest = number as u32 + 1;
        if older == 0 {
            slots.fill(at, hash, newest);
        } else {
            slots.entries[at].store(newest, Ordering::Release);
        }
        self.entries.store(number + 1, Ordering::Release);
    }

    /// Calls `found` with the positions of a (spread) hash, newest first.
    pub(crate) fn find(
        &self,
        hash: u64,
        found: &mut dyn FnMut(u64) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let mut number = {
            let slots = read(&self.slots);
            self.slot_of(&slots, hash).1
        };
        while number != 0 {
            found(self.position(number))?;
            number = self.entry(number).link.load(Ordering::Relaxed) as u32;
        }
        ControlFlow::Continue(())
    }

    pub(crate) fn find_newest(&self, key_hashes: &[u64], durable: u64, newest: &mut [u64]) {
        let slots = read(&self.slots);
        for (at, (key_hash, newest)) in key_hashes.iter().zip(newest).enumerate() {
            if at % WARM_KEYS == 0 {
                let group = &key_hashes[at..key_hashes.len().min(at + WARM_KEYS)];
                slots.warm(group.iter().copied());
            }
            if *newest != 0 {
                continue;
            }
            let mut number = self.slot_of(&slots, spread(*key_hash)).1;
            while number != 0 && *newest == 0 {
                let position = self.position(number);
                *newest = if position <= durable { position } else { 0 };
                number = self.entry(number).link.load(Ordering::Relaxed) as u32;
            }
        }
    }

    /// All `(spread hash, position)` pairs, sorted.
    pub(crate) fn sorted(&self) -> Vec<(u64, u64)> {
        let mut pairs: Vec<(u64, u64)> = (1..=self.entries() as u32)
            .map(|number| {
                (
                    self.entry(number).hash.load(Ordering::Relaxed),
                    self.position(number),
                )
            })
            .collect();
        pairs.sort_unstable();
        pairs
    }

    /// The slot where a hash is or would be, and the number of its newest entry or 0.
    fn slot_of(&self, slots: &Slots, hash: u64) -> (usize, u32) {
        let wanted = tag(hash);
        let mut at = hash as usize & slots.mask();
        loop {
            let tag = slots.tags[at].load(Ordering::Acquire);
            if tag == 0 {
                return (at, 0);
            }
            if tag == wanted {
                let number = slots.entries[at].load(Ordering::Acquire);
                if self.entry(number).hash.load(Ordering::Relaxed) == hash {
                    return (at, number);
                }
            }
            at = (at + 1) & slots.mask();
        }
    }

    fn entry(&self, number: u32) -> &Entry {
        let index = number as usize - 1;
        let group = self.groups[index / CHUNK_ENTRIES / GROUP_CHUNKS].get();
        let chunk = group.and_then(|group| group[index / CHUNK_ENTRIES % GROUP_CHUNKS].get());
        let chunk = chunk.expect("an entry is stored before its number");
        &chunk[index % CHUNK_ENTRIES]
    }

    fn position(&self, number: u32) -> u64 {
        self.base + (self.entry(number).link.load(Ordering::Relaxed) >> 32)
    }

    /// Keeps the slots at most five eighths full.
    fn grow_for(&self, count: usize) {
        let needed = self.keys() as usize + count;
        let len = read(&self.slots).tags.len();
        if needed <= len / 8 * 5 {
            return;
        }
        let mut grown = len * 2;
        while needed > grown / 8 * 5 {
            grown *= 2;
        }
        let new = Slots::new(grown);
        // The old slots are only read, so readers go on meanwhile.
        let old = read(&self.slots);
        for number in old
            .entries
            .iter()
            .map(|slot| slot.load(Ordering::Relaxed))
            .filter(|number| *number != 0)
        {
            let hash = self.entry(number).hash.load(Ordering::Relaxed);
            let mut at = hash as usize & new.mask();
            while new.tags[at].load(Ordering::Relaxed) != 0 {
                at = (at + 1) & new.mask();
            }
            new.fill(at, hash, number);
        }
        drop(old);
        *write(&self.slots) = new;
    }
}
