//! The owners of a set, packed: millions may be resident, and little is asked of each.

use std::sync::{Arc, Mutex, PoisonError};

use hashbrown::{HashMap, HashTable};

use super::sip::Sip;
use crate::hash::hash_owner_name;
use crate::ordered::Chunked;
use crate::ranks::Ranks;
use crate::slab::{AT_ONCE, Numbered, Slab, insert_all, make_room};
use crate::{MaybeAccount, Owner, OwnerId, OwnerName, OwnerRef};

#[derive(Clone)]
pub(super) struct Owners {
    ids: Ranks,
    /// Names, by the places of the owners among the ids.
    names: Names,
    /// Last accounts, by place. They also give the last change of an owner, which opened the last account or named the owner.
    last_accounts: Chunked<MaybeAccount>,
    /// The place of each owner, by its name.
    by_name: HashTable<u32>,
    strays: Strays,
}

/// Names of owners one after another, in pieces: full ones never change.
#[derive(Clone)]
struct Names {
    full: Vec<Arc<Piece>>,
    open: Piece,
    /// Full pieces of all copies of the set: they learn the same names in the same order, and hold them once. A copy that went
    /// another way holds its own.
    shared: Arc<Mutex<Vec<Arc<Piece>>>>,
}

/// Names, as many as [`PIECE`] when it is full.
#[derive(Clone, Default, PartialEq)]
struct Piece {
    ends: Vec<u32>,
    bytes: Vec<u8>,
}

const PIECE: usize = 4_096;

impl Piece {
    fn get(&self, at: usize) -> &[u8] {
        let start = at.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.bytes[start as usize..self.ends[at] as usize]
    }

    fn push(&mut self, name: &[u8]) {
        self.bytes.extend_from_slice(name);
        // At most 64 bytes each.
        self.ends.push(self.bytes.len() as u32);
    }

    fn pop(&mut self) {
        self.ends.pop();
        self.bytes
            .truncate(self.ends.last().map_or(0, |end| *end as usize));
    }
}

impl Names {
    fn get(&self, place: usize) -> &[u8] {
        let piece = self.full.get(place / PIECE);
        piece.map_or(&self.open, |full| full).get(place % PIECE)
    }

    fn push(&mut self, name: &[u8]) {
        self.open.push(name);
        if self.open.ends.len() == PIECE {
            let mut piece = std::mem::take(&mut self.open);
            piece.bytes.shrink_to_fit();
            let piece = self.share(piece);
            self.full.push(piece);
            // Whoever has filled one will fill another.
            self.open.ends.reserve_exact(PIECE);
        }
    }

    fn share(&self, piece: Piece) -> Arc<Piece> {
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        let at = self.full.len();
        let known = shared.get(at);
        if let Some(known) = known.filter(|known| ***known == piece) {
            return known.clone();
        }
        let piece = Arc::new(piece);
        if shared.len() == at {
            shared.push(piece.clone());
        } else if let Some(known) = shared
            .get_mut(at)
            .filter(|known| Arc::strong_count(known) == 1)
        {
            // The copy that held the piece was dropped, or set back.
            *known = piece.clone();
        }
        piece
    }

    fn pop(&mut self) {
        if self.open.ends.is_empty() {
            let last = self.full.pop().expect("there is a name");
            self.open = Piece::clone(&last);
        }
        self.open.pop();
    }
}

/// Owners that were loaded after an owner with a higher id. There are few of them.
#[derive(Clone)]
struct Strays {
    owners: Slab<Owner>,
    by_name: HashMap<OwnerName, OwnerId, Sip>,
}

impl Numbered for Owner {
    fn number(&self) -> u64 {
        self.id.0
    }
}

/// Returns the hash of the name of the owner at a place.
fn hashes(names: &Names) -> impl Fn(u32) -> Option<u64> {
    |place| Some(hash_owner_name(names.get(place as usize)))
}

impl Owners {
    pub(super) fn new() -> Self {
        Owners {
            ids: Ranks::default(),
            names: Names {
                full: Vec::new(),
                open: Piece::default(),
                shared: Arc::default(),
            },
            last_accounts: Chunked::new(),
            by_name: HashTable::new(),
            strays: Strays {
                owners: Slab::new(),
                by_name: HashMap::default(),
            },
        }
    }

    pub(super) fn len(&self) -> usize {
        self.ids.len() + self.strays.owners.len()
    }

    /// Returns one past the last slot. The slots of owners that arrived in order ascend with their ids.
    pub(super) fn slots(&self) -> usize {
        assert!(self.strays.owners.len() == 0, "owners in order have slots");
        self.ids.len()
    }

    /// Returns the slot of the first owner whose id is at least this.
    pub(super) fn slot_from(&self, id: u64) -> usize {
        self.ids.below(id)
    }

    /// Returns the owner with this id and place.
    fn owner_in_place(&self, id: u64, place: usize) -> OwnerRef<'_> {
        OwnerRef {
            id: OwnerId(id),
            name: self.names.get(place),
            last_account: self.last_accounts.get(place).and_then(|last| last.get()),
        }
    }

    pub(super) fn in_slot(&self, slot: usize) -> Option<OwnerRef<'_>> {
        self.ids.nth(slot).map(|id| self.owner_in_place(id, slot))
    }

    pub(super) fn get(&self, id: OwnerId) -> Option<Owner> {
        match self.ids.place(id.0) {
            Some(place) => Some(self.owner_in_place(id.0, place).to_owner()),
            None => self.strays.owners.get(id.0).cloned(),
        }
    }

    /// Returns the position of the last record that changed an owner, if the owner is in the set.
    fn known_at(&self, id: OwnerId) -> Option<u64> {
        match self.ids.place(id.0) {
            Some(place) => Some(self.owner_in_place(id.0, place).changed_at()),
            None => self.strays.owners.get(id.0).map(|owner| owner.changed_at),
        }
    }

    pub(super) fn by_name(&self, name: &OwnerName) -> Option<Owner> {
        let bytes = name.as_bytes();
        let same = |place: &u32| self.names.get(*place as usize) == bytes;
        if let Some(place) = self.by_name.find(hash_owner_name(bytes), same) {
            let owner = self.in_slot(*place as usize).expect("it has a place");
            return Some(owner.to_owner());
        }
        if self.strays.by_name.is_empty() {
            return None;
        }
        self.get(*self.strays.by_name.get(name)?)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Owner> {
        let in_order = (0..self.ids.len()).filter_map(|place| self.in_slot(place));
        let in_order = in_order.map(OwnerRef::to_owner);
        in_order.chain(self.strays.owners.iter().cloned())
    }

    /// Reserves memory for more owners.
    pub(super) fn reserve(&mut self, owners: usize) {
        make_room(
            &mut self.by_name,
            owners,
            self.ids.len(),
            hashes(&self.names),
        );
    }

    /// Adds an owner, or replaces and returns the owner with the same id. An owner keeps its name.
    pub(super) fn put(&mut self, owner: Owner) -> Option<Owner> {
        let changed = owner.borrowed().changed_at();
        assert_eq!(owner.changed_at, changed, "when an owner changed follows");
        if let Some(known) = self.get(owner.id) {
            assert!(known.name == owner.name, "an owner keeps its name");
            match self.ids.place(owner.id.0) {
                Some(place) => {
                    let last = self.last_accounts.get_mut(place);
                    *last.expect("it is known") = owner.last_account.into();
                }
                None => _ = self.strays.owners.put(owner),
            }
            return Some(known);
        }
        if self.ids.is_next(owner.id.0) {
            self.push(owner.borrowed());
            self.index_from(self.ids.len() - 1);
        } else {
            let by_name = &mut self.strays.by_name;
            by_name.insert(owner.name.clone(), owner.id);
            self.strays.owners.put(owner);
        }
        None
    }

    /// Adds an owner, which is found by name only after [`Owners::index_from`] its place.
    fn push(&mut self, owner: OwnerRef<'_>) {
        self.ids.push(owner.id.0);
        self.names.push(owner.name);
        self.last_accounts.push(owner.last_account.into());
    }

    /// Adds the owners that `each` passes on, except those that are known as of the same or a later record.
    pub(super) fn load<E>(
        &mut self,
        each: impl FnOnce(&mut dyn FnMut(OwnerRef<'_>)) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut first = self.ids.len();
        let result = each(&mut |owner| {
            if self.ids.is_next(owner.id.0) && self.strays.owners.len() == 0 {
                self.push(owner);
                if self.ids.len() - first == AT_ONCE {
                    self.index_from(first);
                    first = self.ids.len();
                }
                return;
            }
            let known = self.known_at(owner.id);
            if known.is_none_or(|known| known < owner.changed_at()) {
                self.index_from(first);
                self.put(owner.to_owner());
                first = self.ids.len();
            }
        });
        self.index_from(first);
        result
    }

    fn index_from(&mut self, first: usize) {
        let places = self.ids.len();
        assert!(u32::try_from(places).is_ok(), "fewer than 2^32 owners");
        let hash = hashes(&self.names);
        make_room(&mut self.by_name, places - first, first, &hash);
        insert_all(&mut self.by_name, first..places, hash);
    }

    /// Removes the owner that was added last.
    pub(super) fn remove(&mut self, id: OwnerId) {
        let Some(place) = self.ids.place(id.0) else {
            let owner = self.strays.owners.remove(id.0);
            let owner = owner.expect("a new owner is in the set");
            self.strays.by_name.remove(&owner.name);
            return;
        };
        let hash = hash_owner_name(self.names.get(place));
        let entry = self
            .by_name
            .find_entry(hash, |known| *known as usize == place);
        entry.expect("an owner is known by its name").remove();
        self.ids.pop(id.0);
        self.names.pop();
        self.last_accounts.pop();
    }

    /// Sorts the owners by id.
    pub(super) fn sort(&mut self) {
        if self.strays.owners.len() == 0 {
            return;
        }
        let mut all: Vec<Owner> = self.iter().collect();
        all.sort_unstable_by_key(|owner| owner.id);
        *self = Owners::new();
        for owner in all {
            self.put(owner);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(id: u64, name: &str) -> Owner {
        Owner {
            id: OwnerId(id),
            name: OwnerName::new(&format!("{name}-{id}")).unwrap(),
            last_account: None,
            changed_at: id,
        }
    }

    fn put(owners: &mut Owners, ids: std::ops::RangeInclusive<u64>, name: &str) {
        ids.for_each(|id| assert_eq!(owners.put(owner(id, name)), None));
    }

    fn check(owners: &Owners, ids: std::ops::RangeInclusive<u64>, name: &str) {
        for id in ids {
            let owner = owner(id, name);
            assert_eq!(owners.by_name(&owner.name).as_ref(), Some(&owner));
            assert_eq!(owners.get(OwnerId(id)), Some(owner));
        }
    }

    fn shared(one: &Owners, other: &Owners) -> Vec<bool> {
        let pieces = one.names.full.iter().zip(&other.names.full);
        pieces.map(|(one, other)| Arc::ptr_eq(one, other)).collect()
    }

    const PIECES: u64 = PIECE as u64;

    #[test]
    fn copies_hold_names_once_and_one_that_went_another_way_holds_its_own() {
        let mut ahead = Owners::new();
        let mut behind = ahead.clone();
        put(&mut ahead, 1..=2 * PIECES + 9, "a");
        put(&mut behind, 1..=PIECES, "a");
        assert_eq!(shared(&ahead, &behind), [true]);
        // What the other has been told is never said.
        assert_eq!(behind.by_name(&owner(PIECES + 1, "a").name), None);
        put(&mut behind, PIECES + 1..=3 * PIECES, "b");
        assert_eq!(shared(&ahead, &behind), [true, false]);
        check(&ahead, 1..=2 * PIECES + 9, "a");
        check(&behind, 1..=PIECES, "a");
        check(&behind, PIECES + 1..=3 * PIECES, "b");
        // One that starts over where the other is shares with it again.
        let mut again = behind.clone();
        drop(ahead);
        put(&mut behind, 3 * PIECES + 1..=4 * PIECES, "c");
        put(&mut again, 3 * PIECES + 1..=4 * PIECES, "c");
        assert_eq!(shared(&behind, &again), [true; 4]);
    }

    #[test]
    fn names_that_are_taken_back_across_pieces_are_gone_and_others_take_their_place() {
        let mut owners = Owners::new();
        put(&mut owners, 1..=PIECES + 5, "a");
        let copy = owners.clone();
        for id in (PIECES - 4..=PIECES + 5).rev() {
            owners.remove(OwnerId(id));
            assert_eq!(owners.by_name(&owner(id, "a").name), None);
        }
        put(&mut owners, PIECES - 4..=2 * PIECES, "b");
        check(&owners, 1..=PIECES - 5, "a");
        check(&owners, PIECES - 4..=2 * PIECES, "b");
        check(&copy, 1..=PIECES + 5, "a");
    }
}
