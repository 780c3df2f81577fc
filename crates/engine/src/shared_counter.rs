//! Counts what is in use of a bound that owners share.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use tributary_journal::lock;
use tributary_ledger::{BoundReached, BoundUse, OwnerId, SharedBound};

/// Counts what is in use of a [`SharedBound`]. Clones count together.
#[derive(Clone, Debug)]
pub struct SharedCounter {
    bound: SharedBound,
    counts: Arc<Mutex<Counts>>,
}

#[derive(Debug, Default)]
struct Counts {
    in_all: usize,
    /// Only of owners who have some.
    by_owner: HashMap<OwnerId, usize>,
}

impl Counts {
    fn used(&self, owner: OwnerId) -> BoundUse {
        let by = |owner| self.by_owner.get(&owner).copied().unwrap_or(0);
        BoundUse {
            in_all: self.in_all,
            by_platform: by(OwnerId::PLATFORM),
            by_owner: by(owner),
        }
    }

    fn add(&mut self, owner: OwnerId, count: usize) {
        if count > 0 {
            self.in_all += count;
            *self.by_owner.entry(owner).or_default() += count;
        }
    }
}

impl SharedCounter {
    /// A counter of nothing yet.
    pub fn new(bound: SharedBound) -> SharedCounter {
        SharedCounter {
            bound,
            counts: Arc::default(),
        }
    }

    /// Takes `count` for the owner.
    ///
    /// # Errors
    /// If a maximum would be exceeded. Nothing is taken then.
    pub fn take(&self, owner: OwnerId, count: usize) -> Result<(), BoundReached> {
        let mut counts = lock(&self.counts);
        self.bound.check(owner, counts.used(owner), count)?;
        counts.add(owner, count);
        Ok(())
    }

    /// Takes up to `max` for the owner, as many as the owner has room for. Returns how many.
    pub fn take_up_to(&self, owner: OwnerId, max: usize) -> usize {
        let mut counts = lock(&self.counts);
        let count = self.bound.room(owner, counts.used(owner)).min(max);
        counts.add(owner, count);
        count
    }

    /// Takes one for the owner, until the place is dropped.
    ///
    /// # Errors
    /// As [`SharedCounter::take`].
    pub fn place(&self, owner: OwnerId) -> Result<SharedPlace, BoundReached> {
        self.take(owner, 1)?;
        Ok(SharedPlace {
            counter: self.clone(),
            owner,
        })
    }

    /// Adds `count` of the owner, whatever the maximum is. Returns whether it is within.
    pub fn add(&self, owner: OwnerId, count: usize) -> bool {
        let mut counts = lock(&self.counts);
        let within = self.bound.check(owner, counts.used(owner), count).is_ok();
        counts.add(owner, count);
        within
    }

    /// Whether the owner can take `count`.
    pub fn has_room(&self, owner: OwnerId, count: usize) -> bool {
        let counts = lock(&self.counts);
        self.bound.check(owner, counts.used(owner), count).is_ok()
    }

    /// Gives back `count` of the owner.
    ///
    /// # Panics
    /// If the owner has fewer.
    pub fn give_back(&self, owner: OwnerId, count: usize) {
        if count == 0 {
            return;
        }
        let mut counts = lock(&self.counts);
        counts.in_all -= count;
        let own = counts.by_owner.get_mut(&owner);
        let own = own.expect("an owner gives back what it has");
        *own = own.checked_sub(count).expect("it was counted");
        if *own == 0 {
            counts.by_owner.remove(&owner);
        }
    }

    /// Returns what all owners have.
    pub fn in_all(&self) -> usize {
        lock(&self.counts).in_all
    }
}

/// One of what a [`SharedCounter`] counts; given back when dropped.
#[derive(Debug)]
pub struct SharedPlace {
    counter: SharedCounter,
    owner: OwnerId,
}

impl Drop for SharedPlace {
    fn drop(&mut self) {
        self.counter.give_back(self.owner, 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_owner_leaves_places_for_others_and_all_owners_leave_some_for_the_platform() {
        let counter = SharedCounter::new(SharedBound::new(8));
        let places = |owner, count| -> Vec<_> {
            (0..count)
                .map_while(|_| counter.place(OwnerId(owner)).ok())
                .collect()
        };
        let platform = OwnerId::PLATFORM.0;
        let [first, second, third, fourth] = [5, 6, 7, 8].map(|owner| places(owner, 9));
        let taken = [&first, &second, &third, &fourth].map(Vec::len);
        assert_eq!(taken, [2, 2, 2, 0]);
        assert!(!counter.has_room(OwnerId(9), 1) && counter.has_room(OwnerId::PLATFORM, 2));
        let of_platform = places(platform, 9);
        assert_eq!((of_platform.len(), counter.in_all()), (2, 8));
        drop(first);
        assert_eq!(places(8, 9).len(), 2);
        drop((second, third, of_platform));
        assert_eq!(counter.in_all(), 0);
        assert_eq!(lock(&counter.counts).by_owner.len(), 0);
    }
}
