//! Keys and what is kept for each.

use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

/// Number of a key while it is kept. Never a part of a result or of a checkpoint: those are in the order of keys.
pub(super) type Slot = u32;

/// A key, encoded, and its state.
type Kept<S> = (Box<[u8]>, S);

/// States by key.
pub(super) struct KeyTable<S> {
    index: HashTable<Slot>,
    slots: Vec<Option<Kept<S>>>,
    free: Vec<Slot>,
    hasher: RandomState,
}

impl<S> Default for KeyTable<S> {
    fn default() -> Self {
        KeyTable {
            index: HashTable::new(),
            slots: Vec::new(),
            free: Vec::new(),
            hasher: RandomState::new(),
        }
    }
}

impl<S> KeyTable<S> {
    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    /// Finds the state of a key, or makes it. Returns whether it is new.
    pub(super) fn find_or_insert(&mut self, key: &[u8], new: impl FnOnce() -> S) -> (Slot, bool) {
        let KeyTable {
            index,
            slots,
            free,
            hasher,
        } = self;
        let key_of = |slot: Slot| &entry(slots, slot).0;
        let found = index.entry(
            hasher.hash_one(key),
            |slot| **key_of(*slot) == *key,
            |slot| hasher.hash_one(&**key_of(*slot)),
        );
        match found {
            Entry::Occupied(found) => (*found.get(), false),
            Entry::Vacant(place) => {
                let slot = free.pop().unwrap_or_else(|| {
                    slots.push(None);
                    Slot::try_from(slots.len() - 1).expect("keys are bounded below 2³²")
                });
                slots[slot as usize] = Some((key.into(), new()));
                place.insert(slot);
                (slot, true)
            }
        }
    }

    /// Finds a key.
    pub(super) fn find(&self, key: &[u8]) -> Option<Slot> {
        let hash = self.hasher.hash_one(key);
        let found = self
            .index
            .find(hash, |slot| *entry(&self.slots, *slot).0 == *key);
        found.copied()
    }

    pub(super) fn get(&self, slot: Slot) -> (&[u8], &S) {
        let (key, state) = entry(&self.slots, slot);
        (key, state)
    }

    pub(super) fn get_mut(&mut self, slot: Slot) -> (&[u8], &mut S) {
        let (key, state) = self.slots[slot as usize].as_mut().expect("a kept key");
        (key, state)
    }

    pub(super) fn remove(&mut self, slot: Slot) -> Kept<S> {
        let removed = self.slots[slot as usize].take().expect("a kept key");
        let hash = self.hasher.hash_one(&*removed.0);
        let found = self.index.find_entry(hash, |other| *other == slot);
        found.expect("a kept key is in the index").remove();
        self.free.push(slot);
        removed
    }

    /// Returns all keys and their states in the order of keys.
    pub(super) fn sorted(&self) -> Vec<(&[u8], &S)> {
        let kept = self.slots.iter().flatten();
        let mut kept: Vec<_> = kept.map(|(key, state)| (&**key, state)).collect();
        kept.sort_unstable_by_key(|(key, _)| *key);
        kept
    }

    /// Puts numbers of keys into the order of the keys.
    pub(super) fn sort_slots(&self, slots: &mut [Slot]) {
        slots.sort_unstable_by_key(|slot| self.get(*slot).0);
    }
}

fn entry<S>(slots: &[Option<Kept<S>>], slot: Slot) -> &Kept<S> {
    slots[slot as usize].as_ref().expect("a kept key")
}
