//! Names of consumers. Redis keeps what a consumer holds under its name, for ever; so a source that is gone leaves its name to the next
//! one of this process, which finds there what it held.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::port::{Binder, Binding, Trouble, TroubleKind};

/// A group: url of its server, name of its stream, its own name.
pub(super) type Key = (String, String, String);

/// A consumer that no source uses.
#[derive(Debug)]
pub(super) struct Name {
    pub(super) name: String,
    /// Entries that were acknowledged, but Redis did not confirm that.
    pub(super) acknowledged: Vec<String>,
}

/// Names that sources of this process have left.
#[derive(Debug, Default)]
pub(super) struct Names(Mutex<HashMap<Key, Vec<Name>>>);

impl Names {
    /// Returns the key of the group of a binding.
    pub(super) fn key(binder: &Binder, binding: &Binding) -> Key {
        (
            binder.url.clone(),
            binding.destination.clone(),
            binding.group.clone(),
        )
    }

    /// Takes a name that was left, or makes one that no other process has.
    pub(super) fn take(&self, key: &Key) -> Result<Name, Trouble> {
        let mut left = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(name) = left.get_mut(key).and_then(Vec::pop) {
            return Ok(name);
        }
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(|error| {
            Trouble::new(TroubleKind::Refused, format!("no random name: {error}"))
        })?;
        Ok(Name {
            name: format!("tributary-{}", hex::encode(random)),
            acknowledged: Vec::new(),
        })
    }

    /// Leaves a name.
    pub(super) fn put(&self, key: Key, name: Name) {
        let mut left = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        left.entry(key).or_default().push(name);
    }
}
