//! Number of queued payments: in total, and per requesting owner.

use crate::{OwnerId, Payment};
use std::collections::BTreeMap;

/// Counts of queued payments. Contains only owners who have some.
#[derive(Clone, Default)]
pub(super) struct Queued {
    all: usize,
    by_owner: BTreeMap<OwnerId, usize>,
}

/// Returns the owner of the actor who requested the payment, if it is queued.
pub(super) fn queued_by(payment: &Payment) -> Option<OwnerId> {
    payment.queue.as_ref().map(|_| payment.actor.owner)
}

impl Queued {
    /// Counts one more payment of this owner, if there is one.
    pub(super) fn add(&mut self, owner: Option<OwnerId>) {
        if let Some(owner) = owner {
            self.all += 1;
            *self.by_owner.entry(owner).or_default() += 1;
        }
    }

    /// Counts one payment fewer.
    pub(super) fn remove(&mut self, owner: Option<OwnerId>) {
        let Some(owner) = owner else {
            return;
        };
        let count = self.by_owner.get_mut(&owner);
        let count = count.expect("what is queued was counted");
        *count -= 1;
        if *count == 0 {
            self.by_owner.remove(&owner);
        }
        self.all -= 1;
    }

    pub(super) fn all(&self) -> usize {
        self.all
    }

    pub(super) fn by(&self, owner: OwnerId) -> usize {
        self.by_owner.get(&owner).copied().unwrap_or(0)
    }

    pub(super) fn by_owner(&self) -> impl Iterator<Item = (OwnerId, usize)> {
        self.by_owner.iter().map(|(owner, count)| (*owner, *count))
    }
}
