//! Keys and what is kept for each.

use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

/// Number of a key while it is kept. Never a part of a result or of a checkpoint: those are in the order of keys.
pub(super) type Slot = u32;

/// Number of slots up to which a table keeps the memory that it once needed.
const SLOTS_KEPT: usize = 1_024;

/// A key, encoded, and its state.
type Kept<S> = (Box<[u8]>, S);

/// States by key.
pub(super) struct KeyTable<S> {
    index: HashTable<Slot>,
    slots: Vec<Option<Kept<S>>>,
    free: Vec<Slot>,
    /// Number of keys that were removed since it was looked for memory to give back.
    removed: usize,
    hasher: RandomState,
}

impl<S> Default for KeyTable<S> {
    fn default() -> Self {
        KeyTable {
            index: HashTable::new(),
            slots: Vec::new(),
            free: Vec::new(),
            removed: 0,
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
            ..
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
        self.removed += 1;
        let slots = self.slots.len();
        if slots > SLOTS_KEPT && self.index.len() < slots / 4 && self.removed >= slots / 2 {
            self.shrink();
        }
        removed
    }

    /// Gives back the memory after the last slot that is in use. Keys that come next get the first free slots, so that the last ones
    /// become free. It is done once for many keys that were removed, and so costs little for each.
    fn shrink(&mut self) {
        self.removed = 0;
        let used = self.slots.iter().rposition(Option::is_some);
        let used = used.map_or(0, |last| last + 1);
        self.slots.truncate(used);
        self.free.retain(|slot| (*slot as usize) < used);
        self.free.sort_unstable_by(|one, other| other.cmp(one));
        self.slots.shrink_to(SLOTS_KEPT);
        self.free.shrink_to(SLOTS_KEPT);
        let KeyTable {
            index,
            slots,
            hasher,
            ..
        } = self;
        index.shrink_to(SLOTS_KEPT, |slot| hasher.hash_one(&*entry(slots, *slot).0));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_of_keys_that_are_gone_is_given_back() {
        const KEYS: u32 = 100_000;
        let key = |number: u32| number.to_be_bytes();
        let mut table = KeyTable::default();
        for number in 0..KEYS {
            let (slot, is_new) = table.find_or_insert(&key(number), || number);
            assert!(is_new);
            assert_eq!(table.get(slot), (&key(number)[..], &number));
        }
        // What stays is in the first and in the last slots.
        let stay = [0, 1, KEYS - 2, KEYS - 1];
        let remove = |table: &mut KeyTable<u32>, number: u32| {
            let slot = table.find(&key(number)).expect("it is there");
            assert_eq!(table.remove(slot).1, number);
        };
        (2..KEYS - 2).for_each(|number| remove(&mut table, number));
        for number in stay {
            let slot = table.find(&key(number)).expect("it is there");
            assert_eq!(table.get(slot), (&key(number)[..], &number));
        }
        assert!(
            table.slots.len() == KEYS as usize,
            "the last slot is in use"
        );
        // Keys come and go, and then the last ones of before go.
        for number in KEYS..2 * KEYS {
            table.find_or_insert(&key(number), || number);
            remove(&mut table, number);
            if number == KEYS + 1_000 {
                stay[2..]
                    .iter()
                    .for_each(|number| remove(&mut table, *number));
            }
        }
        assert_eq!(table.len(), 2);
        assert!(table.slots.capacity() <= SLOTS_KEPT);
        assert!(table.free.capacity() <= SLOTS_KEPT);
        assert!(table.index.capacity() <= 2 * SLOTS_KEPT);
        stay[..2]
            .iter()
            .for_each(|number| remove(&mut table, *number));
        assert_eq!(table.len(), 0);
    }
}
