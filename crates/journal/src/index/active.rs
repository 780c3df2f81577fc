//! Index table of the segment being written: a hash table with open addressing, in which a missing key costs one cache line.
//!
//! A slot holds the number of the key's newest entry in an append-only log of entries; entries with the same hash are linked from
//! newer to older. So a key written a hundred thousand times takes one slot, the table can grow from the log, and sealing a segment
//! needs no reading.
//!
//! When the table grows, the old slots are moved a few at a time, so that no insertion waits for all of them. Until all are moved, a
//! look-up searches the new slots and then the old ones.
//!
//! Beside each slot stands a tag, one byte of the hash. Most look-ups are of new keys and read only tags, which are small enough to
//! stay in the processor's cache. One thread inserts while others look up, without locks except while the slots are replaced.

use std::ops::{ControlFlow, Range};
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{OnceLock, RwLock};

use super::spread::spread;
use crate::locks::{read, write};
use crate::prefetch::prefetch;

// 2^32 entries in all. Chunks are small, so that clearing one is quick.
const CHUNK_ENTRIES: usize = 1 << 13;
/// Number of keys that are prefetched at once, ahead of the key that is looked up.
pub(crate) const KEYS_PREFETCHED: usize = 32;
const GROUP_CHUNKS: usize = 1 << 9;
const GROUPS: usize = 1 << 10;
pub(crate) const SLOTS_MIN: usize = 1 << 12;
/// Old slots that are moved per inserted entry. Two would suffice to finish before the new slots are full.
const SLOTS_MOVED_PER_ENTRY: usize = 4;

#[derive(Debug, Default)]
struct Entry {
    hash: AtomicU64,
    // High half: position - base. Low half: number of the next older entry with this hash, plus one.
    link: AtomicU64,
}

#[derive(Debug)]
struct Slots {
    // A tag of 0 marks an empty slot.
    tags: Box<[AtomicU8]>,
    // Numbers of the newest entries of the keys.
    entries: Box<[AtomicU32]>,
}

impl Slots {
    /// Creates `len` empty slots; `len` is a power of two.
    fn new(len: usize) -> Slots {
        Slots {
            tags: (0..len).map(|_| AtomicU8::new(0)).collect(),
            entries: (0..len).map(|_| AtomicU32::new(0)).collect(),
        }
    }

    fn mask(&self) -> usize {
        self.tags.len() - 1
    }

    /// Fills an empty slot. A thread that sees the tag also sees the slot.
    fn fill(&self, at: usize, hash: u64, number: u32) {
        self.entries[at].store(number, Ordering::Release);
        self.tags[at].store(tag(hash), Ordering::Release);
    }

    /// Prefetches the tags of keys that will be looked up.
    fn prefetch(&self, key_hashes: impl Iterator<Item = u64>) {
        for key_hash in key_hashes {
            prefetch(&self.tags[spread(key_hash) as usize & self.mask()]);
        }
    }
}

/// The slots, and the old slots that they replace until all of those are moved. Old slots are only read.
#[derive(Debug)]
struct SlotTables {
    current: Slots,
    old: Option<Slots>,
}

impl SlotTables {
    fn prefetch(&self, key_hashes: impl Iterator<Item = u64> + Clone) {
        self.current.prefetch(key_hashes.clone());
        if let Some(old) = &self.old {
            old.prefetch(key_hashes);
        }
    }

    /// Prefetches the slots that new keys will fill.
    fn prefetch_entries(&self, key_hashes: impl Iterator<Item = u64>) {
        for key_hash in key_hashes {
            prefetch(&self.current.entries[spread(key_hash) as usize & self.current.mask()]);
        }
    }
}

/// Returns which of `len` keys to prefetch when the key at index `at` is looked up.
pub(crate) fn keys_to_prefetch(at: usize, len: usize) -> Option<Range<usize>> {
    let next = if at == 0 { 0 } else { at + KEYS_PREFETCHED };
    let until = len.min(at + 2 * KEYS_PREFETCHED);
    (at.is_multiple_of(KEYS_PREFETCHED) && next < until).then_some(next..until)
}

fn tag(hash: u64) -> u8 {
    ((hash >> 56) as u8).max(1)
}

type Chunk = OnceLock<Box<[Entry]>>;
type Group = OnceLock<Box<[Chunk]>>;

/// Index table of the segment being written. See the module.
#[derive(Debug)]
pub(crate) struct ActiveTable {
    base: u64,
    tables: RwLock<SlotTables>,
    // Number of old slots that are moved. Only the inserting thread writes it.
    moved: AtomicUsize,
    groups: Box<[Group]>,
    // Only the inserting thread writes these.
    entries: AtomicU64,
    keys: AtomicU64,
}

impl ActiveTable {
    /// Creates a table for positions from `base` on, with room for `keys` different keys before it grows.
    pub(crate) fn new(base: u64, keys: usize) -> ActiveTable {
        let slots = (keys * 2).next_power_of_two().max(SLOTS_MIN);
        ActiveTable {
            base,
            tables: RwLock::new(SlotTables {
                current: Slots::new(slots),
                old: None,
            }),
            moved: AtomicUsize::new(0),
            groups: (0..GROUPS).map(|_| Group::new()).collect(),
            entries: AtomicU64::new(0),
            keys: AtomicU64::new(0),
        }
    }

    /// Sets the first position of an empty table that was prepared ahead.
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
        let tables = read(&self.tables);
        let old = tables.old.as_ref().map_or(0, |old| old.tags.len());
        let slots = (tables.current.tags.len() + old) * 5;
        slots + (self.entries() as usize).next_multiple_of(CHUNK_ENTRIES) * size_of::<Entry>()
    }

    /// Inserts pairs of key hash and position; positions ascend. Only one thread may insert at a time.
    pub(crate) fn insert_all(&self, pairs: &[(u64, u64)]) {
        self.grow_for(pairs.len());
        let tables = read(&self.tables);
        for (at, (key_hash, position)) in pairs.iter().enumerate() {
            if let Some(next) = keys_to_prefetch(at, pairs.len()) {
                let next = pairs[next].iter().map(|pair| pair.0);
                tables.prefetch(next.clone());
                tables.prefetch_entries(next);
            }
            self.insert(&tables, spread(*key_hash), *position);
        }
        drop(tables);
        self.move_slots(pairs.len() * SLOTS_MOVED_PER_ENTRY);
    }

    fn insert(&self, tables: &SlotTables, hash: u64, position: u64) {
        let number = self.entries.load(Ordering::Relaxed);
        let relative =
            u32::try_from(position - self.base).expect("a segment holds fewer than 2^32 records");
        assert!(
            number < u64::from(u32::MAX),
            "a segment holds fewer than 2^32 keys"
        );
        let slots = &tables.current;
        let (at, there) = self.find_slot(slots, hash);
        let older = match there {
            0 => self.newest_old_entry(tables, hash),
            _ => there,
        };
        if older == 0 {
            // No locked read-modify-write, which would wait for all stores before: no other thread writes the count.
            self.keys.store(self.keys() + 1, Ordering::Relaxed);
        } else if self.position(older) == position {
            // A record has the same key twice.
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
        if there == 0 {
            slots.fill(at, hash, newest);
        } else {
            slots.entries[at].store(newest, Ordering::Release);
        }
        self.entries.store(number + 1, Ordering::Release);
    }

    /// Calls `found` with the positions of a spread hash, newest first, until `found` breaks.
    pub(crate) fn find(
        &self,
        hash: u64,
        found: &mut dyn FnMut(u64) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let mut number = self.newest_entry(&read(&self.tables), hash);
        while number != 0 {
            found(self.position(number))?;
            number = self.entry(number).link.load(Ordering::Relaxed) as u32;
        }
        ControlFlow::Continue(())
    }

    pub(crate) fn find_newest(&self, key_hashes: &[u64], durable: u64, newest: &mut [u64]) {
        let tables = read(&self.tables);
        for (at, (key_hash, newest)) in key_hashes.iter().zip(newest).enumerate() {
            if let Some(next) = keys_to_prefetch(at, key_hashes.len()) {
                tables.prefetch(key_hashes[next].iter().copied());
            }
            if *newest != 0 {
                continue;
            }
            let mut number = self.newest_entry(&tables, spread(*key_hash));
            while number != 0 && *newest == 0 {
                let position = self.position(number);
                *newest = if position <= durable { position } else { 0 };
                number = self.entry(number).link.load(Ordering::Relaxed) as u32;
            }
        }
    }

    /// Returns all pairs of spread hash and position, sorted.
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

    /// Returns the number of the newest entry of a hash, or 0.
    fn newest_entry(&self, tables: &SlotTables, hash: u64) -> u32 {
        match self.find_slot(&tables.current, hash).1 {
            0 => self.newest_old_entry(tables, hash),
            number => number,
        }
    }

    /// As [`ActiveTable::newest_entry`], in the old slots only. A hash that is in both has the same or a newer entry in the current
    /// slots.
    fn newest_old_entry(&self, tables: &SlotTables, hash: u64) -> u32 {
        let old = tables.old.as_ref();
        old.map_or(0, |old| self.find_slot(old, hash).1)
    }

    /// Returns the slot where a hash is or would be, and the number of its newest entry or 0.
    fn find_slot(&self, slots: &Slots, hash: u64) -> (usize, u32) {
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

    /// Grows the slots so that they stay at most five eighths full with `count` more keys.
    fn grow_for(&self, count: usize) {
        let needed = self.keys() as usize + count;
        let len = read(&self.tables).current.tags.len();
        if needed <= len / 8 * 5 {
            return;
        }
        self.move_slots(usize::MAX);
        let mut grown = len * 2;
        while needed > grown / 8 * 5 {
            grown *= 2;
        }
        let new = Slots::new(grown);
        let mut tables = write(&self.tables);
        assert!(tables.old.is_none(), "all old slots were moved");
        tables.old = Some(std::mem::replace(&mut tables.current, new));
        self.moved.store(0, Ordering::Relaxed);
    }

    /// Moves up to `count` old slots.
    fn move_slots(&self, count: usize) {
        let tables = read(&self.tables);
        let Some(old) = &tables.old else {
            return;
        };
        let from = self.moved.load(Ordering::Relaxed);
        let to = old.entries.len().min(from.saturating_add(count));
        for slots in old.entries[from..to].chunks(KEYS_PREFETCHED) {
            let (mut moving, mut count) = ([(0, 0); KEYS_PREFETCHED], 0);
            let numbers = slots.iter().map(|slot| slot.load(Ordering::Relaxed));
            // Read all hashes first, so that their cache misses overlap.
            for number in numbers.filter(|number| *number != 0) {
                moving[count] = (self.entry(number).hash.load(Ordering::Relaxed), number);
                count += 1;
            }
            for &(hash, number) in &moving[..count] {
                let (at, newer) = self.find_slot(&tables.current, hash);
                if newer == 0 {
                    tables.current.fill(at, hash, number);
                }
            }
        }
        self.moved.store(to, Ordering::Relaxed);
        let done = to == old.entries.len();
        drop(tables);
        if done {
            let old = write(&self.tables).old.take();
            drop(old);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn every_key_is_asked_for_once_and_before_it_is_looked_for() {
        for len in [
            0,
            1,
            KEYS_PREFETCHED - 1,
            KEYS_PREFETCHED,
            KEYS_PREFETCHED + 1,
            5 * KEYS_PREFETCHED + 7,
        ] {
            let mut asked = 0;
            for at in 0..len {
                if let Some(next) = keys_to_prefetch(at, len) {
                    assert_eq!(next.start, asked, "at {at} of {len}");
                    asked = next.end;
                }
                assert!(at < asked && asked <= at + 2 * KEYS_PREFETCHED);
            }
            assert_eq!(asked, len);
        }
    }

    fn all_of(table: &ActiveTable, key_hash: u64) -> Vec<u64> {
        let mut positions = Vec::new();
        let _all = table.find(spread(key_hash), &mut |position| {
            positions.push(position);
            ControlFlow::Continue(())
        });
        positions
    }

    /// Checked after each insertion, so at every step of each growth.
    #[test]
    fn every_entry_is_found_whenever_the_table_grows() {
        let (table, mut model) = (ActiveTable::new(1, 0), BTreeMap::<u64, Vec<u64>>::new());
        let (mut state, mut growths, mut moving) = (7u64, 0, 0);
        let mut random = |below: u64| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        let mut position = 1;
        while position < 40_000 {
            let len = read(&table.tables).current.tags.len();
            let count = 1 + random(40);
            // Most are new, some came before.
            let pairs: Vec<(u64, u64)> = (position..position + count)
                .map(|position| match random(4) {
                    0 => (random(position), position),
                    _ => (position, position),
                })
                .collect();
            position += count;
            table.insert_all(&pairs);
            for (key, position) in &pairs {
                model.entry(*key).or_default().insert(0, *position);
            }
            let tables = read(&table.tables);
            growths += usize::from(tables.current.tags.len() > len);
            moving += usize::from(tables.old.is_some());
            drop(tables);
            let others: Vec<u64> = (0..20).map(|_| random(position)).collect();
            let keys = pairs.iter().map(|pair| pair.0).chain(others);
            for key in keys {
                let expected = model.get(&key).cloned().unwrap_or_default();
                assert_eq!(all_of(&table, key), expected, "key {key} at {position}");
                let mut newest = [0];
                table.find_newest(&[key], u64::MAX, &mut newest);
                assert_eq!(newest[0], expected.first().copied().unwrap_or(0));
            }
        }
        assert!(growths >= 3, "it grew {growths} times");
        assert!(moving > 100, "only {moving} insertions found it growing");
        assert_eq!(table.keys(), model.len() as u64);
        for (key, expected) in &model {
            assert_eq!(all_of(&table, *key), *expected);
        }
    }

    #[test]
    fn a_reader_finds_what_was_inserted_while_the_table_grows() {
        let table = ActiveTable::new(1, 0);
        let inserted = AtomicU64::new(0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for position in 1..=60_000 {
                    table.insert_all(&[(position, position)]);
                    inserted.store(position, Ordering::Release);
                }
            });
            let mut looked = 0u64;
            loop {
                let through = inserted.load(Ordering::Acquire);
                if through > 0 {
                    looked = looked.wrapping_mul(31).wrapping_add(7);
                    let key = 1 + looked % through;
                    assert_eq!(all_of(&table, key), [key], "of {through}");
                }
                if through == 60_000 {
                    break;
                }
            }
        });
    }

    #[test]
    fn no_insertion_moves_more_than_a_few_slots() {
        let table = ActiveTable::new(1, 0);
        let mut before = None;
        for position in 1..30_000u64 {
            table.insert_all(&[(position, position)]);
            let tables = read(&table.tables);
            let moved = table.moved.load(Ordering::Relaxed);
            if let Some(old) = &tables.old {
                let from = before.filter(|(len, _)| *len == old.entries.len());
                let from = from.map_or(0, |(_, moved)| moved);
                assert!(moved - from <= SLOTS_MOVED_PER_ENTRY, "{from} to {moved}");
                before = Some((old.entries.len(), moved));
            } else if let Some((len, moved)) = before.take() {
                assert!(len - moved <= SLOTS_MOVED_PER_ENTRY, "the last of {len}");
            }
        }
    }
}
