//! Objects in chunks that never move or grow by copying, found by number through an index of four bytes each.

use hashbrown::HashTable;

/// Objects per chunk.
const CHUNK: usize = 1024;

/// An object with a number of its own.
pub(crate) trait Numbered {
    fn number(&self) -> u64;
}

#[derive(Clone)]
pub(crate) struct Slab<T> {
    chunks: Vec<Vec<Option<T>>>,
    free: Vec<u32>,
    index: HashTable<u32>,
}

/// Numbers are positions, which nobody can choose: spreading them is enough.
fn spread(number: u64) -> u64 {
    let product = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    product ^ (product >> 32)
}

impl<T: Numbered> Slab<T> {
    pub(crate) fn new() -> Self {
        Slab {
            chunks: Vec::new(),
            free: Vec::new(),
            index: HashTable::new(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.index.len()
    }

    /// One past the last slot ever used.
    pub(crate) fn slots(&self) -> usize {
        self.chunks
            .last()
            .map_or(0, |last| (self.chunks.len() - 1) * CHUNK + last.len())
    }

    pub(crate) fn at(&self, slot: usize) -> Option<&T> {
        self.chunks.get(slot / CHUNK)?.get(slot % CHUNK)?.as_ref()
    }

    fn slot_of(&self, number: u64) -> Option<u32> {
        let same = |slot: &u32| {
            self.at(*slot as usize)
                .is_some_and(|object| object.number() == number)
        };
        self.index.find(spread(number), same).copied()
    }

    pub(crate) fn get(&self, number: u64) -> Option<&T> {
        self.at(self.slot_of(number)? as usize)
    }

    pub(crate) fn get_mut(&mut self, number: u64) -> Option<&mut T> {
        let slot = self.slot_of(number)? as usize;
        self.chunks[slot / CHUNK][slot % CHUNK].as_mut()
    }

    /// Puts an object in place of the one with its number, if any, which is returned with the slot.
    pub(crate) fn put(&mut self, object: T) -> (u32, Option<T>) {
        let number = object.number();
        if let Some(slot) = self.slot_of(number) {
            let place = &mut self.chunks[slot as usize / CHUNK][slot as usize % CHUNK];
            return (slot, place.replace(object));
        }
        let slot = self
            .free
            .pop()
            .unwrap_or_else(|| u32::try_from(self.slots()).expect("fewer than 2^32 objects"));
        let at = slot as usize;
        if at == self.chunks.len() * CHUNK {
            self.chunks.push(Vec::with_capacity(CHUNK));
        }
        let chunk = &mut self.chunks[at / CHUNK];
        if at % CHUNK == chunk.len() {
            chunk.push(Some(object));
        } else {
            chunk[at % CHUNK] = Some(object);
        }
        let chunks = &self.chunks;
        let rehash = |slot: &u32| {
            let place = &chunks[*slot as usize / CHUNK][*slot as usize % CHUNK];
            spread(place.as_ref().expect("an indexed slot is filled").number())
        };
        self.index.insert_unique(spread(number), slot, rehash);
        (slot, None)
    }

    pub(crate) fn remove(&mut self, number: u64) -> Option<T> {
        let chunks = &self.chunks;
        let same = |slot: &u32| {
            let place = &chunks[*slot as usize / CHUNK][*slot as usize % CHUNK];
            place
                .as_ref()
                .is_some_and(|object| object.number() == number)
        };
        let slot = self.index.find_entry(spread(number), same).ok()?.remove().0;
        self.free.push(slot);
        self.chunks[slot as usize / CHUNK][slot as usize % CHUNK].take()
    }

    /// In the order of slots: the same for the same history.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.chunks.iter().flatten().flatten()
    }
}
