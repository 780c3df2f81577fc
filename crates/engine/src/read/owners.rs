//! Owners, and the details of accounts and owners.

use tributary_ledger::{Details, ExternalId, ObjectId, Owner, OwnerId, OwnerProfile};

use super::{Page, RECORDS_SCANNED_MAX, Reader, Slice, Start};
use crate::failure::Failure;

/// Owners looked at under one hold of the view.
const SLICE_OWNERS: usize = 512;

impl Reader {
    /// Returns the owner, as of the last durable batch.
    pub fn owner(&self, id: OwnerId) -> Option<Owner> {
        self.view.read().set.owner(id)
    }

    /// Returns the owner with this external id.
    pub fn owner_by_external_id(&self, external_id: &ExternalId) -> Option<OwnerId> {
        self.view.read().set.owner_by_external_id(external_id)
    }

    /// Returns the details of an account or an owner, if it was ever described or updated.
    pub fn details(&self, object: ObjectId) -> Option<Details> {
        self.view.read().set.details(object).cloned()
    }

    /// Returns the owners that `keep` keeps, newest first: all, or `only` one. The platform comes last.
    ///
    /// # Errors
    /// If the journal can't be read, for a page of a window of time.
    pub fn owners(
        &self,
        only: Option<OwnerId>,
        page: Page,
        keep: impl Fn(&Owner, Option<&OwnerProfile>) -> bool,
    ) -> Result<Slice<Owner>, Failure> {
        let newest_first = !matches!(page.start, Start::After(_));
        let (mut first, mut last) = self.window(page, self.published())?;
        // The platform has number 0; it is older than every record.
        if page.from.is_none() && newest_first && page.start != Start::Before(0) {
            first = 0;
        }
        if let Some(id) = only {
            first = first.max(id.0);
            last = last.min(id.0);
        }
        let mut slice = Slice {
            items: Vec::new(),
            has_more: false,
            next: None,
        };
        let mut scanned = 0;
        'full: while first <= last {
            let owners = self.owners_in(first, last, newest_first, &keep);
            if owners.is_empty() {
                break;
            }
            for (owner, kept) in owners {
                if slice.items.len() == page.limit || scanned == RECORDS_SCANNED_MAX {
                    slice.has_more = true;
                    break 'full;
                }
                scanned += 1;
                let id = owner.id.0;
                slice.next = Some(id);
                if kept {
                    slice.items.push(owner);
                }
                match (newest_first, id) {
                    (true, 0) => break 'full,
                    (true, _) => last = id - 1,
                    (false, _) => first = id + 1,
                }
            }
        }
        if !newest_first {
            slice.items.reverse();
        }
        Ok(slice)
    }

    /// Returns a few owners with ids within `first..=last`, in the direction of the page, and whether each is kept.
    fn owners_in(
        &self,
        first: u64,
        last: u64,
        newest_first: bool,
        keep: &impl Fn(&Owner, Option<&OwnerProfile>) -> bool,
    ) -> Vec<(Owner, bool)> {
        let published = self.view.read();
        let set = &published.set;
        let to = set.owner_slot_from(last.saturating_add(1));
        let from = set.owner_slot_from(first).min(to);
        let at = |slot| {
            let owner = set.owner_in_slot(slot)?.to_owner();
            let details = set.details(ObjectId::Owner(owner.id));
            let kept = keep(&owner, details.and_then(|found| found.profile.as_deref()));
            Some((owner, kept))
        };
        if newest_first {
            let from = from.max(to.saturating_sub(SLICE_OWNERS));
            (from..to).rev().filter_map(at).collect()
        } else {
            let to = to.min(from + SLICE_OWNERS);
            (from..to).filter_map(at).collect()
        }
    }
}
