//! Names of owners that were asked for lately: a name never changes, and most answers have one.

use std::sync::{Mutex, PoisonError};

use hashbrown::HashMap;
use tributary_ledger::{OwnerId, OwnerName};

/// Parts, so that threads seldom wait for each other.
const PARTS: usize = 16;
/// Names in a part; then it starts anew.
const PART_NAMES_MAX: usize = 4_096;

#[derive(Default)]
pub(super) struct Names([Mutex<HashMap<OwnerId, OwnerName>>; PARTS]);

impl Names {
    /// The name of an owner, looked up by `find` if it is not here.
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
