//! The details of accounts and owners in a set: of the few that were described or updated.

use hashbrown::HashMap;

use super::sip::Sip;
use crate::slab::{Numbered, Slab};
use crate::{Details, ExternalId, ObjectId, OwnerId};

#[derive(Clone)]
pub(super) struct DetailsTable {
    objects: Slab<Details>,
    owners: HashMap<ExternalId, OwnerId, Sip>,
}

/// Returns a number that no other account or owner has: an account is often opened at the position that names its owner.
fn number(object: ObjectId) -> u64 {
    match object {
        ObjectId::Account(id) => id.0 << 1,
        ObjectId::Owner(id) => id.0 << 1 | 1,
        ObjectId::Payment(_) => unreachable!("the details of a payment are a part of it"),
    }
}

impl Numbered for Details {
    fn number(&self) -> u64 {
        number(self.object)
    }
}

fn external_id(details: &Details) -> Option<&ExternalId> {
    details.profile.as_ref()?.external_id.as_ref()
}

impl DetailsTable {
    pub(super) fn new() -> Self {
        DetailsTable {
            objects: Slab::new(),
            owners: HashMap::default(),
        }
    }

    pub(super) fn get(&self, object: ObjectId) -> Option<&Details> {
        self.objects.get(number(object))
    }

    pub(super) fn owner(&self, external_id: &ExternalId) -> Option<OwnerId> {
        self.owners.get(external_id).copied()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Details> {
        self.objects.iter()
    }

    pub(super) fn slots(&self) -> usize {
        self.objects.slots()
    }

    pub(super) fn in_slot(&self, slot: usize) -> Option<&Details> {
        self.objects.in_slot(slot)
    }

    /// Adds details, or replaces and returns those of the same object.
    pub(super) fn put(&mut self, details: Details) -> Option<Details> {
        let ObjectId::Owner(owner) = details.object else {
            return self.objects.put(details);
        };
        let named = external_id(&details).cloned();
        let changed_at = details.text.changed_at;
        let before = self.objects.put(details);
        self.forget_name(before.as_ref(), owner);
        if let Some(named) = named
            && !self.is_newer_name(&named, changed_at)
        {
            self.owners.insert(named, owner);
        }
        before
    }

    pub(super) fn remove(&mut self, object: ObjectId) {
        let before = self.objects.remove(number(object));
        if let ObjectId::Owner(owner) = object {
            self.forget_name(before.as_ref(), owner);
        }
    }

    /// Whether another owner took the external id later: objects of a checkpoint may be newer than others.
    fn is_newer_name(&self, name: &ExternalId, changed_at: u64) -> bool {
        let holder = self.owners.get(name).copied();
        let holder = holder.and_then(|holder| self.get(ObjectId::Owner(holder)));
        holder.is_some_and(|holder| holder.text.changed_at > changed_at)
    }

    /// Removes the external id of the details before, unless another owner has it.
    fn forget_name(&mut self, before: Option<&Details>, owner: OwnerId) {
        if let Some(name) = before.and_then(external_id)
            && self.owners.get(name) == Some(&owner)
        {
            self.owners.remove(name);
        }
    }
}
