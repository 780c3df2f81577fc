//! The owners of a set, packed: millions may be resident, and little is asked of each.

use std::num::NonZeroU64;

use hashbrown::HashTable;

use crate::hash::hash_owner_name;
use crate::slab::{AT_ONCE, Numbered, Slab, insert_all, make_room};
use crate::{AccountId, MaybeAccount, Owner, OwnerId, OwnerName};

/// Bytes of names that lie next to each other.
const CHUNK_BYTES: usize = 1 << CHUNK_BITS;
const CHUNK_BITS: u32 = 16;
/// Bits of a name's place that hold its length.
const LEN_BITS: u32 = 8;

#[derive(Clone)]
pub(super) struct Owners {
    slab: Slab<Packed>,
    names: Names,
    /// The slot of each owner, by its name.
    by_name: HashTable<u32>,
}

/// An owner but for its name. When it changed last follows: then its last account was opened, or it was first named.
#[derive(Clone)]
struct Packed {
    id: OwnerId,
    last_account: MaybeAccount,
    name: Place,
}

impl Numbered for Packed {
    fn number(&self) -> u64 {
        self.id.0
    }
}

/// Where a name lies, and its length in the lowest bits.
#[derive(Clone, Copy)]
struct Place(NonZeroU64);

/// Names one after another, in chunks that never move.
#[derive(Clone)]
struct Names(Vec<Vec<u8>>);

impl Names {
    fn push(&mut self, name: &[u8]) -> Place {
        let full = |chunk: &Vec<u8>| chunk.len() + name.len() > CHUNK_BYTES;
        if self.0.last().is_none_or(full) {
            // Whoever has filled one will fill another; most sets are small.
            let bytes = if self.0.is_empty() { 0 } else { CHUNK_BYTES };
            self.0.push(Vec::with_capacity(bytes));
        }
        let at = (self.0.len() as u64 - 1) << CHUNK_BITS;
        let last = self.0.last_mut().expect("there is one");
        let place = (at | last.len() as u64) << LEN_BITS | name.len() as u64;
        last.extend_from_slice(name);
        Place(NonZeroU64::new(place).expect("a name is not empty"))
    }

    fn get(&self, place: Place) -> &[u8] {
        let len = place.0.get() as usize % (1 << LEN_BITS);
        let at = (place.0.get() >> LEN_BITS) as usize;
        &self.0[at / CHUNK_BYTES][at % CHUNK_BYTES..][..len]
    }

    /// Takes a name back, if it is the last: those of a group that is undone are, and nothing else is taken back.
    fn pop(&mut self, place: Place) {
        let len = self.get(place).len();
        let at = (place.0.get() >> LEN_BITS) as usize;
        if let Some(last) = self.0.get_mut(at / CHUNK_BYTES)
            && at % CHUNK_BYTES + len == last.len()
        {
            last.truncate(at % CHUNK_BYTES);
        }
    }
}

/// Position of the record that changed an owner last.
fn changed_at(id: OwnerId, last_account: Option<AccountId>) -> u64 {
    last_account.map_or(id.0, |account| account.0.max(id.0))
}

/// The hash of the name of the owner in a slot.
fn hashes(slab: &Slab<Packed>, names: &Names) -> impl Fn(u32) -> Option<u64> {
    |slot| {
        let packed = slab.at(slot as usize)?;
        Some(hash_owner_name(names.get(packed.name)))
    }
}

impl Owners {
    pub(super) fn new() -> Self {
        Owners {
            slab: Slab::new(),
            names: Names(Vec::new()),
            by_name: HashTable::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.slab.len()
    }

    pub(super) fn slots(&self) -> usize {
        self.slab.slots()
    }

    pub(super) fn at(&self, slot: usize) -> Option<Owner> {
        self.slab.at(slot).map(|packed| self.unpack(packed))
    }

    pub(super) fn get(&self, id: OwnerId) -> Option<Owner> {
        self.slab.get(id.0).map(|packed| self.unpack(packed))
    }

    pub(super) fn by_name(&self, name: &OwnerName) -> Option<Owner> {
        let same = |slot: &u32| self.name_at(*slot as usize) == Some(name.as_bytes());
        let slot = self.by_name.find(hash_owner_name(name.as_bytes()), same)?;
        self.at(*slot as usize)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Owner> {
        self.slab.iter().map(|packed| self.unpack(packed))
    }

    fn unpack(&self, packed: &Packed) -> Owner {
        let last_account = packed.last_account.get();
        Owner {
            id: packed.id,
            name: OwnerName::from_bytes(self.names.get(packed.name)).expect("it was a name"),
            last_account,
            changed_at: changed_at(packed.id, last_account),
        }
    }

    fn name_at(&self, slot: usize) -> Option<&[u8]> {
        self.slab.at(slot).map(|packed| self.names.get(packed.name))
    }

    /// Makes room for so many more.
    pub(super) fn reserve(&mut self, owners: usize) {
        self.slab.reserve(owners);
        self.make_room(owners, self.slots());
    }

    fn make_room(&mut self, more: usize, slots: usize) {
        let hash = hashes(&self.slab, &self.names);
        make_room(&mut self.by_name, more, slots, hash);
    }

    /// Puts an owner in place of the one with its id, if any, which is returned. An owner keeps its name.
    pub(super) fn put(&mut self, owner: Owner) -> Option<Owner> {
        let changed = changed_at(owner.id, owner.last_account);
        assert_eq!(owner.changed_at, changed, "when an owner changed follows");
        if let Some(known) = self.get(owner.id) {
            assert!(known.name == owner.name, "an owner keeps its name");
            let packed = self.slab.get_mut(owner.id.0).expect("it is known");
            packed.last_account = owner.last_account.into();
            return Some(known);
        }
        self.make_room(1, self.slots());
        let packed = self.pack(&owner);
        self.slab.put(packed);
        let slot = self.slab.slot_of(owner.id.0).expect("it was put in");
        let hash = hashes(&self.slab, &self.names);
        let hash = |slot: &u32| hash(*slot).expect("it is there");
        self.by_name.insert_unique(hash(&slot), slot, hash);
        None
    }

    fn pack(&mut self, owner: &Owner) -> Packed {
        Packed {
            id: owner.id,
            last_account: owner.last_account.into(),
            name: self.names.push(owner.name.as_bytes()),
        }
    }

    /// Puts in owners, but for those that are known as of the same or a later record.
    pub(super) fn load(&mut self, owners: impl Iterator<Item = Owner>) {
        let mut first = self.slots();
        for owner in owners {
            if self.slab.is_next(owner.id.0) {
                let packed = self.pack(&owner);
                self.slab.push(packed);
                if self.slots() - first == AT_ONCE {
                    self.index_from(first);
                    first = self.slots();
                }
                continue;
            }
            self.index_from(first);
            let known = self.get(owner.id);
            if known.is_none_or(|known| known.changed_at < owner.changed_at) {
                self.put(owner);
            }
            first = self.slots();
        }
        self.index_from(first);
    }

    fn index_from(&mut self, first: usize) {
        self.slab.index_from(first);
        let slots = self.slots();
        self.make_room(slots - first, first);
        let hash = hashes(&self.slab, &self.names);
        insert_all(&mut self.by_name, first..slots, hash);
    }

    pub(super) fn remove(&mut self, id: OwnerId) {
        let slot = self.slab.slot_of(id.0).expect("a new owner is in the set");
        let name = self.name_at(slot as usize).expect("it has a name");
        let hash = hash_owner_name(name);
        let entry = self.by_name.find_entry(hash, |known| *known == slot);
        entry.expect("an owner is known by its name").remove();
        let packed = self.slab.remove(id.0).expect("it is there");
        self.names.pop(packed.name);
    }
}
