//! The table of the segment being written: open addressing, one cache line for a missing key.
//!
//! A slot holds the number of the key's newest entry in an append-only log of entries; entries with the same hash are linked
//! from newer to older. So a key written a hundred thousand times takes one slot, the
//! table can grow from the log, and sealing needs no reading. When it grows, the old slots are moved a few at a time, so that
//! no insertion waits for all of them; until then a key is looked for in the new slots and then in the old ones. Beside each slot stands a tag, a byte of the hash: most keys
//! that are looked for are new, and the tags, small enough to stay near, are all that they touch. One thread inserts
//! while others look, without locks but for the moment in which the slots are replaced by more.

use std::ops::{ControlFlow, Range};
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{OnceLock, RwLock};

use super::spread::spread;
use crate::locks::{read, write};
use crate::prefetch::prefetch;

// 2^32 entries in all; small pieces, so that none takes long to clear.
const CHUNK_ENTRIES: usize = 1 << 13;
/// So many keys are asked for at once, ahead of the one that is looked for.
pub(crate) const WARM_KEYS: usize = 32;
const GROUP_CHUNKS: usize = 1 << 9;
const GROUPS: usize = 1 << 10;
pub(crate) const SLOTS_MIN: usize = 1 << 12;
/// Old slots that are moved with each entry. Two would be enough to be done before the new ones are full.
const MOVED_PER_ENTRY: usize = 4;

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

    /// Asks for the tags of keys that are about to be looked for.
    fn warm(&self, key_hashes: impl Iterator<Item = u64>) {
        for key_hash in key_hashes {
            prefetch(&self.tags[spread(key_hash) as usize & self.mask()]);
        }
    }
}

/// The slots, and beside them the fewer ones that they replace while not all of these are moved. Those are only read.
#[derive(Debug)]
struct Places {
    current: Slots,
    old: Option<Slots>,
}

impl Places {
    fn warm(&self, key_hashes: impl Iterator<Item = u64> + Clone) {
        self.current.warm(key_hashes.clone());
        if let Some(old) = &self.old {
            old.warm(key_hashes);
        }
    }

    /// The same for the slots that keys which are new will fill.
    fn warm_entries(&self, key_hashes: impl Iterator<Item = u64>) {
        for key_hash in key_hashes {
            prefetch(&self.current.entries[spread(key_hash) as usize & self.current.mask()]);
        }
    }
}

/// Which of `len` keys are to be asked for when the one at `at` is looked for.
pub(crate) fn warmed_at(at: usize, len: usize) -> Option<Range<usize>> {
    let next = if at == 0 { 0 } else { at + WARM_KEYS };
    let until = len.min(at + 2 * WARM_KEYS);
    (at.is_multiple_of(WARM_KEYS) && next < until).then_some(next..until)
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
    places: RwLock<Places>,
    // Old slots that are moved. Written by the one that inserts only.
    moved: AtomicUsize,
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
            places: RwLock::new(Places {
                current: Slots::new(slots),
                old: None,
            }),
            moved: AtomicUsize::new(0),
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
        let places = read(&self.places);
        let old = places.old.as_ref().map_or(0, |old| old.tags.len());
        let slots = (places.current.tags.len() + old) * 5;
        slots + (self.entries() as usize).next_multiple_of(CHUNK_ENTRIES) * size_of::<Entry>()
    }

    /// Inserts `(key hash, position)` pairs, positions ascending. Only ever called by one thread at a time.
    pub(crate) fn insert_all(&self, pairs: &[(u64, u64)]) {
        self.grow_for(pairs.len());
        let places = read(&self.places);
        for (at, (key_hash, position)) in pairs.iter().enumerate() {
            if let Some(next) = warmed_at(at, pairs.len()) {
                let next = pairs[next].iter().map(|pair| pair.0);
                places.warm(next.clone());
                places.warm_entries(next);
            }
            self.insert(&places, spread(*key_hash), *position);
        }
        drop(places);
        self.move_slots(pairs.len() * MOVED_PER_ENTRY);
    }

    fn insert(&self, places: &Places, hash: u64, position: u64) {
        let number = self.entries.load(Ordering::Relaxed);
        let relative =
            u32::try_from(position - self.base).expect("a segment holds fewer than 2^32 records");
        assert!(
            number < u64::from(u32::MAX),
            "a segment holds fewer than 2^32 keys"
        );
        let slots = &places.current;
        let (at, there) = self.slot_of(slots, hash);
        let older = match there {
            0 => self.in_old(places, hash),
            _ => there,
        };
        if older == 0 {
            // Not as one locked step, which would wait for all that was written before: nobody else writes it.
            self.keys.store(self.keys() + 1, Ordering::Relaxed);
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
        if there == 0 {
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
        let mut number = self.newest(&read(&self.places), hash);
        while number != 0 {
            found(self.position(number))?;
            number = self.entry(number).link.load(Ordering::Relaxed) as u32;
        }
        ControlFlow::Continue(())
    }

    pub(crate) fn find_newest(&self, key_hashes: &[u64], durable: u64, newest: &mut [u64]) {
        let places = read(&self.places);
        for (at, (key_hash, newest)) in key_hashes.iter().zip(newest).enumerate() {
            if let Some(next) = warmed_at(at, key_hashes.len()) {
                places.warm(key_hashes[next].iter().copied());
            }
            if *newest != 0 {
                continue;
            }
            let mut number = self.newest(&places, spread(*key_hash));
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

    /// The number of the newest entry of a hash, or 0.
    fn newest(&self, places: &Places, hash: u64) -> u32 {
        match self.slot_of(&places.current, hash).1 {
            0 => self.in_old(places, hash),
            number => number,
        }
    }

    /// The same in the old slots. What is there and in the current ones too is newer in these, or the same.
    fn in_old(&self, places: &Places, hash: u64) -> u32 {
        let old = places.old.as_ref();
        old.map_or(0, |old| self.slot_of(old, hash).1)
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
        let len = read(&self.places).current.tags.len();
        if needed <= len / 8 * 5 {
            return;
        }
        self.move_slots(usize::MAX);
        let mut grown = len * 2;
        while needed > grown / 8 * 5 {
            grown *= 2;
        }
        let new = Slots::new(grown);
        let mut places = write(&self.places);
        assert!(places.old.is_none(), "all old slots were moved");
        places.old = Some(std::mem::replace(&mut places.current, new));
        self.moved.store(0, Ordering::Relaxed);
    }

    /// Moves up to so many old slots.
    fn move_slots(&self, count: usize) {
        let places = read(&self.places);
        let Some(old) = &places.old else {
            return;
        };
        let from = self.moved.load(Ordering::Relaxed);
        let to = old.entries.len().min(from.saturating_add(count));
        for slots in old.entries[from..to].chunks(WARM_KEYS) {
            let (mut moving, mut count) = ([(0, 0); WARM_KEYS], 0);
            let numbers = slots.iter().map(|slot| slot.load(Ordering::Relaxed));
            // All hashes first: their cache misses overlap.
            for number in numbers.filter(|number| *number != 0) {
                moving[count] = (self.entry(number).hash.load(Ordering::Relaxed), number);
                count += 1;
            }
            for &(hash, number) in &moving[..count] {
                let (at, newer) = self.slot_of(&places.current, hash);
                if newer == 0 {
                    places.current.fill(at, hash, number);
                }
            }
        }
        self.moved.store(to, Ordering::Relaxed);
        let done = to == old.entries.len();
        drop(places);
        if done {
            let old = write(&self.places).old.take();
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
            WARM_KEYS - 1,
            WARM_KEYS,
            WARM_KEYS + 1,
            5 * WARM_KEYS + 7,
        ] {
            let mut asked = 0;
            for at in 0..len {
                if let Some(next) = warmed_at(at, len) {
                    assert_eq!(next.start, asked, "at {at} of {len}");
                    asked = next.end;
                }
                assert!(at < asked && asked <= at + 2 * WARM_KEYS);
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
            let len = read(&table.places).current.tags.len();
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
            let places = read(&table.places);
            growths += usize::from(places.current.tags.len() > len);
            moving += usize::from(places.old.is_some());
            drop(places);
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
            let places = read(&table.places);
            let moved = table.moved.load(Ordering::Relaxed);
            if let Some(old) = &places.old {
                let from = before.filter(|(len, _)| *len == old.entries.len());
                let from = from.map_or(0, |(_, moved)| moved);
                assert!(moved - from <= MOVED_PER_ENTRY, "{from} to {moved}");
                before = Some((old.entries.len(), moved));
            } else if let Some((len, moved)) = before.take() {
                assert!(len - moved <= MOVED_PER_ENTRY, "the last of {len}");
            }
        }
    }
}
