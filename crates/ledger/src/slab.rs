//! Storage of objects in chunks that never move, with an index by number of four bytes per object.

use std::ops::Range;

use hashbrown::HashTable;

/// Objects per chunk.
const CHUNK: usize = 1_360;
/// Number of objects that are indexed at once, if there are many.
pub(crate) const AT_ONCE: usize = 1 << 18;
/// Up to this number, objects are indexed in their order of arrival.
const FEW: usize = 1 << 12;
/// Number of regions of an index that are filled one after another.
const REGIONS: usize = 256;

/// An object with a number of its own.
pub(crate) trait Numbered {
    fn number(&self) -> u64;
}

#[derive(Clone)]
pub(crate) struct Slab<T> {
    chunks: Vec<Vec<Option<T>>>,
    free: Vec<u32>,
    /// The slot of each object, by its number.
    index: HashTable<u32>,
    /// One past the highest number that was ever stored: higher numbers need no look-up.
    beyond: u64,
}

/// Returns a hash of a number. Numbers are positions, which clients cannot choose, so spreading the bits is enough.
fn spread(number: u64) -> u64 {
    let spread = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    spread ^ spread >> 32
}

fn object_in_slot<T>(chunks: &[Vec<Option<T>>], slot: u32) -> Option<&T> {
    let slot = slot as usize;
    chunks.get(slot / CHUNK)?.get(slot % CHUNK)?.as_ref()
}

/// Reserves memory for `more` entries in an index of the objects in the slots below `slots`. `hash` returns the hash of the object
/// in a slot, if there is one.
///
/// Growing reads every object again; if most slots are filled, in the order of slots, so that memory is read sequentially.
pub(crate) fn make_room(
    index: &mut HashTable<u32>,
    more: usize,
    slots: usize,
    hash: impl Fn(u32) -> Option<u64>,
) {
    let len = index.len();
    if index.capacity() - len >= more {
        return;
    }
    if slots > 2 * len {
        return index.reserve(more, |slot| hash(*slot).expect("it is there"));
    }
    *index = HashTable::with_capacity(len + more.max(len / 2));
    insert_all(index, 0..slots, hash);
    assert_eq!(index.len(), len, "every object is indexed");
}

/// Indexes the objects in some slots. The index must have room.
pub(crate) fn insert_all(
    index: &mut HashTable<u32>,
    slots: Range<usize>,
    hash: impl Fn(u32) -> Option<u64>,
) {
    let mut found: Vec<(u64, u32)> = Vec::with_capacity(slots.len().min(AT_ONCE));
    let mut sorted = Vec::new();
    for first in slots.clone().step_by(AT_ONCE) {
        let slots = first as u32..(first + AT_ONCE).min(slots.end) as u32;
        found.clear();
        found.extend(slots.filter_map(|slot| Some((hash(slot)?, slot))));
        if found.len() > FEW {
            sort_by_region(&found, &mut sorted, index.capacity());
            std::mem::swap(&mut found, &mut sorted);
        }
        for &(object, slot) in &found {
            index.insert_unique(object, slot, |slot| hash(*slot).expect("it is there"));
        }
    }
}

/// Sorts new entries by their region in the table, so that insertion stays within one region at a time.
fn sort_by_region(found: &[(u64, u32)], sorted: &mut Vec<(u64, u32)>, capacity: usize) {
    let buckets = capacity.next_power_of_two();
    let region = |hash: u64| (hash as usize & (buckets - 1)) * REGIONS / buckets;
    let mut places = [0; REGIONS + 1];
    for (hash, _) in found {
        places[region(*hash) + 1] += 1;
    }
    for at in 1..=REGIONS {
        places[at] += places[at - 1];
    }
    sorted.resize(found.len(), (0, 0));
    for &(hash, slot) in found {
        let place = &mut places[region(hash)];
        sorted[*place] = (hash, slot);
        *place += 1;
    }
}

fn hashes<T: Numbered>(chunks: &[Vec<Option<T>>]) -> impl Fn(u32) -> Option<u64> {
    |slot| object_in_slot(chunks, slot).map(|object| spread(object.number()))
}

impl<T: Numbered> Slab<T> {
    pub(crate) fn new() -> Self {
        Slab {
            chunks: Vec::new(),
            free: Vec::new(),
            index: HashTable::new(),
            beyond: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.index.len()
    }

    fn make_room(&mut self, more: usize, slots: usize) {
        let hash = hashes(&self.chunks);
        make_room(&mut self.index, more, slots, hash);
    }

    /// Returns one past the last slot ever used.
    pub(crate) fn slots(&self) -> usize {
        self.chunks
            .last()
            .map_or(0, |last| (self.chunks.len() - 1) * CHUNK + last.len())
    }

    pub(crate) fn in_slot(&self, slot: usize) -> Option<&T> {
        self.chunks.get(slot / CHUNK)?.get(slot % CHUNK)?.as_ref()
    }

    pub(crate) fn find_slot(&self, number: u64) -> Option<u32> {
        let same = |slot: &u32| {
            object_in_slot(&self.chunks, *slot).is_some_and(|object| object.number() == number)
        };
        self.index.find(spread(number), same).copied()
    }

    pub(crate) fn get(&self, number: u64) -> Option<&T> {
        self.in_slot(self.find_slot(number)? as usize)
    }

    pub(crate) fn get_mut(&mut self, number: u64) -> Option<&mut T> {
        let slot = self.find_slot(number)? as usize;
        self.chunks[slot / CHUNK][slot % CHUNK].as_mut()
    }

    /// Adds an object, or replaces and returns the object with the same number.
    pub(crate) fn put(&mut self, object: T) -> Option<T> {
        let number = object.number();
        if number < self.beyond
            && let Some(known) = self.get_mut(number)
        {
            return Some(std::mem::replace(known, object));
        }
        match self.free.pop() {
            None => {
                let slot = self.slots();
                self.make_room(1, slot);
                self.push(object);
                self.insert(u32::try_from(slot).expect("fewer than 2^32 objects"));
            }
            Some(slot) => {
                self.make_room(1, self.slots());
                self.chunks[slot as usize / CHUNK][slot as usize % CHUNK] = Some(object);
                self.beyond = self.beyond.max(number + 1);
                self.insert(slot);
            }
        }
        None
    }

    /// Adds a new object in the next slot.
    fn push(&mut self, object: T) {
        self.beyond = self.beyond.max(object.number() + 1);
        match self.chunks.last_mut() {
            Some(last) if last.len() < CHUNK => last.push(Some(object)),
            _ => {
                let mut chunk = Vec::with_capacity(CHUNK);
                chunk.push(Some(object));
                self.chunks.push(chunk);
            }
        }
    }

    /// Indexes the object in a slot. The index must have room.
    fn insert(&mut self, slot: u32) {
        let hash = hashes(&self.chunks);
        let hash = |slot: &u32| hash(*slot).expect("it is there");
        self.index.insert_unique(hash(&slot), slot, hash);
    }

    pub(crate) fn remove(&mut self, number: u64) -> Option<T> {
        let slot = self.find_slot(number)?;
        let entry = self
            .index
            .find_entry(spread(number), |indexed| *indexed == slot);
        entry.ok()?.remove();
        self.free.push(slot);
        self.chunks[slot as usize / CHUNK][slot as usize % CHUNK].take()
    }

    /// Returns the objects in the order of slots, which is the same for the same history.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.chunks.iter().flatten().flatten()
    }
}
