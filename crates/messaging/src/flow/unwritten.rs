//! Dead letters that are not known to be in the log.

use std::collections::BTreeSet;

/// Positions of dead letters that are not known to be in the log.
#[derive(Clone, Debug, Default)]
pub(super) struct UnwrittenDead {
    /// Since the last drain.
    pub(super) new: BTreeSet<u64>,
    /// Drained, and perhaps not in the log.
    pub(super) drained: BTreeSet<u64>,
}

impl UnwrittenDead {
    pub(super) fn is_empty(&self) -> bool {
        self.new.is_empty() && self.drained.is_empty()
    }

    pub(super) fn contains(&self, position: u64) -> bool {
        self.new.contains(&position) || self.drained.contains(&position)
    }

    pub(super) fn remove(&mut self, position: u64) {
        self.new.remove(&position);
        self.drained.remove(&position);
    }

    pub(super) fn retain(&mut self, keep: impl Fn(u64) -> bool) {
        self.new.retain(|position| keep(*position));
        self.drained.retain(|position| keep(*position));
    }
}
