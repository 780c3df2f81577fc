//! A cache of the names of owners: a name never changes, and most answers hold one.

use std::sync::{Mutex, PoisonError};

use hashbrown::HashMap;
use tributary_ledger::{OwnerId, OwnerName};

/// Number of parts, so that threads seldom wait for each other.
const PARTS: usize = 16;
/// Maximum number of names in a part, which is then emptied.
const PART_NAMES_MAX: usize = 4_096;

#[derive(Default)]
pub(super) struct Names([Mutex<HashMap<OwnerId, OwnerName>>; PARTS]);

impl Names {
    /// Returns the name of an owner. Calls `find` if the name is not cached.
    pub(super) fn get(
        &self,
        owner: OwnerId,
        find: impl FnOnce() -> Option<OwnerName>,
    ) -> Option<OwnerName> {
        let part = &self.0[owner.0 as usize % PARTS];
        let lock = || part.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(name) = lock().get(&owner) {
            return Some(name.clone());
        }
        let name = find()?;
        let mut names = lock();
        if names.len() >= PART_NAMES_MAX {
            names.clear();
        }
        names.insert(owner, name.clone());
        Some(name)
    }
}
