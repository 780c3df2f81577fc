//! Objects in chunks that never move or grow by copying, found by number through an index of eight bytes each.

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
    index: HashTable<Place>,
}

/// Where an object is, with the hash of its number, so that the index grows without looking at objects.
#[derive(Clone, Copy)]
struct Place {
    slot: u32,
    hash: u32,
}

/// Numbers are positions, which nobody can choose: spreading them is enough.
fn short_hash(number: u64) -> u32 {
    (number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as u32
}

fn spread(hash: u32) -> u64 {
    u64::from(hash).wrapping_mul(0xff51_afd7_ed55_8ccd)
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

    /// Makes room for so many more objects.
    pub(crate) fn reserve(&mut self, objects: usize) {
        self.chunks.reserve(objects.div_ceil(CHUNK));
        self.index.reserve(objects, |place| spread(place.hash));
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

    fn place_of(&self, number: u64) -> Option<Place> {
        let hash = short_hash(number);
        let same = |place: &Place| {
            place.hash == hash
                && self
                    .at(place.slot as usize)
                    .is_some_and(|object| object.number() == number)
        };
        self.index.find(spread(hash), same).copied()
    }

    pub(crate) fn get(&self, number: u64) -> Option<&T> {
        self.at(self.place_of(number)?.slot as usize)
    }

    pub(crate) fn get_mut(&mut self, number: u64) -> Option<&mut T> {
        let slot = self.place_of(number)?.slot as usize;
        self.chunks[slot / CHUNK][slot % CHUNK].as_mut()
    }

    /// Puts an object in place of the one with its number, if any, which is returned.
    pub(crate) fn put(&mut self, object: T) -> Option<T> {
        let number = object.number();
        if let Some(known) = self.get_mut(number) {
            return Some(std::mem::replace(known, object));
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
        let hash = short_hash(number);
        self.index
            .insert_unique(spread(hash), Place { slot, hash }, |place| {
                spread(place.hash)
            });
        None
    }

    pub(crate) fn remove(&mut self, number: u64) -> Option<T> {
        let found = self.place_of(number)?;
        let entry = self
            .index
            .find_entry(spread(found.hash), |place| place.slot == found.slot);
        entry.ok()?.remove();
        self.free.push(found.slot);
        self.chunks[found.slot as usize / CHUNK][found.slot as usize % CHUNK].take()
    }

    /// In the order of slots: the same for the same history.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.chunks.iter().flatten().flatten()
    }
}
