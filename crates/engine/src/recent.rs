//! What the journal's index can't tell yet: keys taken by records that are still on their way.

use hashbrown::HashMap;
use tributary_ledger::{Command, Key, OwnerId};

use crate::backend::{Batch, KeyUse};

/// Idempotency keys of the open batch and of those in flight.
#[derive(Default)]
pub(crate) struct Recent {
    keys: HashMap<(OwnerId, Key), KeyUse>,
}

impl Recent {
    /// The use of `key` by a command whose batch has not landed.
    pub(crate) fn key(&self, owner: OwnerId, key: &Key) -> Option<KeyUse> {
        if self.keys.is_empty() {
            return None;
        }
        self.keys.get(&(owner, key.clone())).copied()
    }

    /// Notes that `command`'s record takes its key.
    pub(crate) fn took(&mut self, command: &Command, used: KeyUse) {
        let before = self
            .keys
            .insert((command.actor.owner, command.key.clone()), used);
        assert!(before.is_none(), "a key is taken once");
    }

    /// The batch is durable and indexed: the index tells from now on.
    pub(crate) fn landed(&mut self, batch: &Batch) {
        for record in &batch.records {
            self.keys
                .remove(&(record.command.actor.owner, record.command.key.clone()));
        }
    }
}
