//! Bounds that owners share, so that no owner can take everything from all others.

use crate::OwnerId;

/// Maximum number of something that all owners share. One owner other than the platform has at most a quarter, and all owners
/// other than the platform together have at most three quarters: the rest is reserved for the platform.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SharedBound {
    in_all: usize,
}

/// What is in use of a [`SharedBound`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BoundUse {
    /// By all owners.
    pub in_all: usize,
    /// By the platform.
    pub by_platform: usize,
    /// By the owner who wants more.
    pub by_owner: usize,
}

/// Why there is no room for more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BoundReached {
    /// All owners together have as many as there may be.
    #[error("all owners together have as many as there may be")]
    InAll,
    /// The owner has as many as one owner may have.
    #[error("one owner has as many as one owner may have")]
    OfOwner,
}

impl SharedBound {
    /// A bound of `in_all` for all owners together.
    pub const fn new(in_all: usize) -> SharedBound {
        SharedBound { in_all }
    }

    /// Returns the maximum for all owners together.
    pub const fn in_all(self) -> usize {
        self.in_all
    }

    /// Returns the maximum for one owner other than the platform: a quarter, and at least 1.
    pub const fn of_owner(self) -> usize {
        match self.in_all / 4 {
            0 => 1,
            quarter => quarter,
        }
    }

    /// Returns the maximum for all owners other than the platform together: what a quarter leaves.
    pub const fn of_owners(self) -> usize {
        self.in_all - self.in_all / 4
    }

    /// Returns how many more the owner may have.
    pub fn room(self, owner: OwnerId, used: BoundUse) -> usize {
        let room_in_all = self.in_all.saturating_sub(used.in_all);
        if owner == OwnerId::PLATFORM {
            return room_in_all;
        }
        let by_owners = used.in_all.saturating_sub(used.by_platform);
        let of_owner = self.of_owner().saturating_sub(used.by_owner);
        let of_owners = self.of_owners().saturating_sub(by_owners);
        room_in_all.min(of_owner).min(of_owners)
    }

    /// Checks that the owner may have `more`.
    ///
    /// # Errors
    /// If a maximum would be exceeded.
    pub fn check(self, owner: OwnerId, used: BoundUse, more: usize) -> Result<(), BoundReached> {
        let platform = owner == OwnerId::PLATFORM;
        if !platform && used.by_owner.saturating_add(more) > self.of_owner() {
            return Err(BoundReached::OfOwner);
        }
        let by_owners = used.in_all.saturating_sub(used.by_platform);
        if !platform && by_owners.saturating_add(more) > self.of_owners()
            || used.in_all.saturating_add(more) > self.in_all
        {
            return Err(BoundReached::InAll);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_has_a_quarter_and_a_quarter_is_reserved_for_the_platform() {
        let bound = SharedBound::new(100);
        let owner = OwnerId(7);
        let check = |owner, in_all, by_platform, by_owner, more| {
            let used = BoundUse {
                in_all,
                by_platform,
                by_owner,
            };
            let checked = bound.check(owner, used, more);
            assert_eq!(checked.is_ok(), bound.room(owner, used) >= more);
            checked
        };
        assert_eq!(check(owner, 0, 0, 0, 25), Ok(()));
        assert_eq!(check(owner, 0, 0, 0, 26), Err(BoundReached::OfOwner));
        assert_eq!(check(owner, 24, 0, 24, 1), Ok(()));
        assert_eq!(check(owner, 25, 0, 25, 1), Err(BoundReached::OfOwner));
        assert_eq!(check(owner, 74, 0, 0, 1), Ok(()));
        assert_eq!(check(owner, 75, 0, 0, 1), Err(BoundReached::InAll));
        assert_eq!(check(owner, 99, 40, 0, 1), Ok(()));
        assert_eq!(check(owner, 100, 40, 0, 1), Err(BoundReached::InAll));
        let platform = OwnerId::PLATFORM;
        assert_eq!(check(platform, 75, 0, 0, 25), Ok(()));
        assert_eq!(check(platform, 75, 0, 0, 26), Err(BoundReached::InAll));
        assert_eq!(check(platform, 0, 0, 0, 100), Ok(()));
    }

    #[test]
    fn a_small_bound_leaves_each_owner_one() {
        for in_all in [1, 2, 3, 4] {
            let bound = SharedBound::new(in_all);
            assert_eq!(bound.of_owner(), 1);
            let none = BoundUse::default();
            assert_eq!(bound.check(OwnerId(7), none, 1), Ok(()));
        }
    }
}
