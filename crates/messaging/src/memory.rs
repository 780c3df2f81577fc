//! Memory of deliveries, which the subscriptions of all owners share.

use tributary_engine::SharedCounter;
use tributary_ledger::{OwnerId, SharedBound};

/// Maximum number of matched events that wait in memory to be handed out, per subscription. Later ones are read from the
/// journal when these are gone.
pub const WINDOW_MAX: usize = 4_096;
/// Maximum size in memory of the events of all subscriptions that failed, in bytes: those that wait for another attempt and dead
/// letters. It is shared as [`SharedBound`] says. A subscription whose owner has no room left takes no new event, and remembers only the
/// last failed attempt of an event.
pub const LETTER_BYTES_IN_ALL_MAX: usize = 256 << 20;
/// Maximum number of events of all subscriptions in the hands of receivers, shared as [`SharedBound`] says. An event takes some 400
/// bytes.
pub const IN_FLIGHT_IN_ALL_MAX: usize = 1 << 19;
/// Maximum number of matched events of all subscriptions that wait in memory to be handed out, divided between the subscriptions as
/// [`SharedBound`] says. An event takes some 400 bytes.
pub const WINDOWS_IN_ALL_MAX: usize = 1 << 20;
/// Minimum of a subscription's part of [`WINDOWS_IN_ALL_MAX`].
pub const WINDOW_MIN: usize = 64;

/// Counters of what the subscriptions of all owners have in memory.
#[derive(Debug)]
pub(crate) struct MemoryCounters {
    /// Size of the events that failed, in bytes.
    letter_bytes: SharedCounter,
    /// Number of events in the hands of receivers.
    in_flight: SharedCounter,
}

impl MemoryCounters {
    /// Returns counters with the bounds [`LETTER_BYTES_IN_ALL_MAX`] and [`IN_FLIGHT_IN_ALL_MAX`].
    pub(crate) fn new() -> MemoryCounters {
        MemoryCounters::with_bounds(LETTER_BYTES_IN_ALL_MAX, IN_FLIGHT_IN_ALL_MAX)
    }

    pub(crate) fn with_bounds(letter_bytes: usize, in_flight: usize) -> MemoryCounters {
        MemoryCounters {
            letter_bytes: SharedCounter::new(SharedBound::new(letter_bytes)),
            in_flight: SharedCounter::new(SharedBound::new(in_flight)),
        }
    }

    /// Returns the use of a subscription of this owner, which has nothing yet.
    pub(crate) fn subscription(&self, owner: OwnerId) -> MemoryUse {
        let none = |shared: &SharedCounter| CountedUse {
            shared: shared.clone(),
            owner,
            own: 0,
        };
        MemoryUse {
            letter_bytes: none(&self.letter_bytes),
            in_flight: none(&self.in_flight),
        }
    }
}

/// What one subscription has in memory.
#[derive(Debug)]
pub(crate) struct MemoryUse {
    /// Size of its events that failed, in bytes.
    pub(crate) letter_bytes: CountedUse,
    /// Number of its events in the hands of receivers.
    pub(crate) in_flight: CountedUse,
}

impl MemoryUse {
    /// Returns the use of another subscription of the same owner, which has nothing yet.
    pub(crate) fn another(&self) -> MemoryUse {
        MemoryUse {
            letter_bytes: self.letter_bytes.another(),
            in_flight: self.in_flight.another(),
        }
    }
}

/// A subscription's part of what all share. It is given back when this is dropped.
#[derive(Debug)]
pub(crate) struct CountedUse {
    shared: SharedCounter,
    owner: OwnerId,
    /// What is counted.
    own: usize,
}

impl CountedUse {
    fn another(&self) -> CountedUse {
        CountedUse {
            shared: self.shared.clone(),
            owner: self.owner,
            own: 0,
        }
    }

    /// Counts `own` instead of what was counted before, as far as the owner has room. More than its share is not counted: it must not
    /// take the shares of others.
    pub(crate) fn set(&mut self, own: usize) {
        if own > self.own {
            self.take_up_to(own - self.own);
        } else if own < self.own {
            self.shared.give_back(self.owner, self.own - own);
            self.own = own;
        }
    }

    /// Counts up to `max` more, as many as the owner has room for. Returns how many.
    pub(crate) fn take_up_to(&mut self, max: usize) -> usize {
        let taken = self.shared.take_up_to(self.owner, max);
        self.own += taken;
        taken
    }

    /// Whether the owner has room for more.
    pub(crate) fn has_room(&self) -> bool {
        self.shared.has_room(self.owner, 1)
    }
}

impl Drop for CountedUse {
    fn drop(&mut self) {
        self.shared.give_back(self.owner, self.own);
    }
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
