//! Memory of deliveries, which the subscriptions of all owners share.

use tributary_engine::SharedCounter;
use tributary_ledger::{OwnerId, SharedBound};

/// Maximum number of matched events that wait in memory to be handed out, per subscription. Later ones are read from the
/// journal when these are gone.
pub const WINDOW_MAX: usize = 4_096;
/// Maximum size of the dead letters of all subscriptions in memory, in bytes, shared as [`SharedBound`] says. A subscription whose owner
/// has no room left takes no new event.
pub const DEAD_BYTES_IN_ALL_MAX: usize = 256 << 20;
/// Maximum number of matched events of all subscriptions that wait in memory to be handed out, divided between the subscriptions as
/// [`SharedBound`] says. An event takes some 300 bytes.
pub const WINDOWS_IN_ALL_MAX: usize = 1 << 20;
/// Minimum of a subscription's part of [`WINDOWS_IN_ALL_MAX`].
pub const WINDOW_MIN: usize = 64;

/// Dead letters of one subscription in the memory that all share. They are given back when this is dropped.
#[derive(Debug)]
pub(crate) struct DeadBytes {
    shared: SharedCounter,
    owner: OwnerId,
    own: usize,
}

impl DeadBytes {
    pub(crate) fn new(shared: SharedCounter, owner: OwnerId) -> DeadBytes {
        DeadBytes {
            shared,
            owner,
            own: 0,
        }
    }

    /// None yet, of the same owner.
    pub(crate) fn another(&self) -> DeadBytes {
        DeadBytes::new(self.shared.clone(), self.owner)
    }

    /// Adds a letter, also if there is no room.
    pub(crate) fn add(&mut self, bytes: usize) {
        self.own += bytes;
        self.shared.add(self.owner, bytes);
    }

    pub(crate) fn remove(&mut self, bytes: usize) {
        self.own -= bytes;
        self.shared.give_back(self.owner, bytes);
    }

    /// Size of this subscription's dead letters, in bytes.
    pub(crate) fn own(&self) -> usize {
        self.own
    }

    /// Whether the owner has room for more.
    pub(crate) fn has_room(&self) -> bool {
        self.shared.has_room(self.owner, 1)
    }
}

impl Drop for DeadBytes {
    fn drop(&mut self) {
        self.shared.give_back(self.owner, self.own);
    }
}

/// Returns the counter of the dead letters of all subscriptions.
pub(crate) fn count_dead_bytes() -> SharedCounter {
    SharedCounter::new(SharedBound::new(DEAD_BYTES_IN_ALL_MAX))
}

/// Returns the maximum number of events that wait in memory, of one subscription of an owner who has `of_owner` of them, where all
/// owners have `in_all` and all but the platform `of_owners`.
pub(crate) fn window(owner: OwnerId, of_owner: usize, of_owners: usize, in_all: usize) -> usize {
    let bound = SharedBound::new(WINDOWS_IN_ALL_MAX);
    let equal = bound.in_all() / in_all.max(1);
    let part = match owner == OwnerId::PLATFORM {
        true => {
            let reserved = bound.in_all() - bound.of_owners();
            equal.max(reserved / of_owner.max(1))
        }
        false => {
            let of_owners_part = bound.of_owners() / of_owners.max(1);
            let platform_takes_more = (in_all - of_owners) * 4 > in_all;
            let part = if platform_takes_more {
                equal
            } else {
                of_owners_part
            };
            part.min(bound.of_owner() / of_owner.max(1))
        }
    };
    part.clamp(WINDOW_MIN, WINDOW_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_windows_of_all_subscriptions_fit_the_bound() {
        for (platform, owners) in [
            (1, vec![]),
            (2_000, vec![]),
            (500, vec![500, 500, 500]),
            (0, vec![1; 1_500]),
            (100, vec![500, 3, 70]),
            (1_000, vec![333, 333, 333]),
            (1, vec![500, 500, 500]),
        ] {
            let of_owners: usize = owners.iter().sum();
            let in_all = platform + of_owners;
            let of = |owner, count| window(OwnerId(owner), count, of_owners, in_all) * count;
            let mut sum = of(OwnerId::PLATFORM.0, platform);
            for count in owners {
                let own = of(7, count);
                assert!(own <= WINDOWS_IN_ALL_MAX / 4, "{count}: {own}");
                sum += own;
            }
            assert!(sum <= WINDOWS_IN_ALL_MAX, "{platform}: {sum}");
        }
        assert_eq!(window(OwnerId(7), 1, 1, 1), WINDOW_MAX);
    }
}
