//! Changes of a set, and undoing them.

use super::lookups::{Absent, Droppable};
use super::queued::queued_by;
use super::undo::UndoEntry;
use super::{Residency, WorkingSet};
use crate::{
    Account, AccountId, ApiKey, Details, ExternalId, Leg, Limit, LimitTerms, LimitUse, Owner,
    OwnerId, Payment, PaymentId, PaymentStatus, QueueState, Reference, ReferenceSpace, Rejection,
    Setting, SettingId, SettingKind, TimeOffset,
};

/// Returns what a setting says that is a limit: what the record of its put checked.
fn limit_terms(setting: &Setting) -> Option<LimitTerms> {
    (setting.kind == SettingKind::LIMIT).then(|| {
        let terms = LimitTerms::from_body(setting.body.as_bytes());
        terms.expect("a limit is checked before it is put")
    })
}

/// Changes. Only `apply` and loading make them.
impl WorkingSet {
    pub(crate) fn is_absent(&self, absent: &Absent) -> bool {
        self.absent.contains(absent)
    }

    /// Returns the account. Every existing account is in the set.
    pub(crate) fn find_account(&self, id: AccountId) -> Result<&Account, Rejection> {
        self.account(id).ok_or(Rejection::AccountNotFound)
    }

    /// Returns the payment. The payment must have been looked up before.
    pub(crate) fn find_payment(&self, id: PaymentId) -> Result<&Payment, Rejection> {
        if let Some(payment) = self.payment(id) {
            return Ok(payment);
        }
        let known = self.residency == Residency::Everything || self.is_absent(&Absent::Payment(id));
        assert!(known, "a payment was not looked up before a decision");
        Err(Rejection::PaymentNotFound)
    }

    /// Returns whether a payment has the reference in this name space. A payment that failed when it ran has released its reference.
    pub(crate) fn has_reference(&self, space: ReferenceSpace, reference: &Reference) -> bool {
        let failed = |id| {
            let payment = self.payment(id);
            payment.is_some_and(|payment| payment.status == PaymentStatus::Failed)
        };
        self.reference(space, reference)
            .is_some_and(|id| !failed(id))
    }

    pub(crate) fn set_horizon(&mut self, position: u64) {
        self.horizon = self.horizon.max(position);
    }

    /// Applies a leg to its account, unless the account already reflects this record or a later one.
    pub(crate) fn apply_leg(&mut self, leg: &Leg, position: u64) {
        let account = self
            .accounts
            .get_mut(leg.account.0)
            .expect("a leg's account is in the set");
        if account.changed_at() >= position {
            return;
        }
        if let Some(undo) = &mut self.undo {
            undo.push(UndoEntry::Account(leg.account, Some(account.clone())));
        }
        assert!(
            account.posted + leg.amount == leg.posted_after,
            "a leg's balance follows from the one before"
        );
        assert!(
            account.chain.seq() + 1 == leg.seq && account.chain.last() == leg.prev,
            "a leg follows the one before"
        );
        account.posted = leg.posted_after;
        account.held = leg.held_after;
        account.chain.push(position);
    }

    pub(crate) fn put_account(&mut self, account: Account) {
        let id = account.id;
        let before = self.accounts.put(account);
        if let Some(undo) = &mut self.undo {
            undo.push(UndoEntry::Account(id, before));
        }
    }

    pub(crate) fn put_owner(&mut self, owner: Owner) {
        let id = owner.id;
        let before = self.owners.put(owner);
        if let Some(undo) = &mut self.undo {
            undo.push(UndoEntry::Owner(id, before));
        }
    }

    pub(crate) fn put_api_key(&mut self, key: ApiKey) {
        let id = key.id;
        let before = self.api_keys.put(key);
        if let Some(undo) = &mut self.undo {
            undo.push(UndoEntry::ApiKey(id, before));
        }
    }

    pub(crate) fn put_setting(&mut self, setting: Setting) {
        let id = setting.id;
        if let Some(terms) = limit_terms(&setting) {
            let limit = match self.limits.get(id) {
                Some(limit) => limit.with_terms(terms, setting.changed),
                None => Limit::new(id, setting.created.position, terms, setting.changed),
            };
            self.put_limit(limit);
        }
        let before = self.settings.put(setting);
        if let Some(undo) = &mut self.undo {
            undo.push(UndoEntry::Setting(id, before));
        }
    }

    pub(crate) fn delete_setting(&mut self, id: SettingId) {
        let limit = self.limits.remove(id);
        if let (Some(undo), Some(limit)) = (&mut self.undo, limit) {
            undo.push(UndoEntry::Limit(id, Some(limit)));
        }
        let before = self.settings.remove(id);
        if let Some(undo) = &mut self.undo {
            undo.push(UndoEntry::Setting(id, before));
        }
    }

    pub(super) fn put_limit(&mut self, limit: Limit) {
        let id = limit.id;
        let before = self.limits.put(limit);
        if let Some(undo) = &mut self.undo {
            undo.push(UndoEntry::Limit(id, before));
        }
    }

    /// Counts a payment, unless the limit already reflects this record or a later one, or is deleted by a later one.
    pub(crate) fn apply_limit_use(&mut self, usage: &LimitUse, position: u64) {
        let Some(limit) = self.limits.get_mut(usage.limit) else {
            return;
        };
        if limit.changed_at >= position {
            return;
        }
        if let Some(undo) = &mut self.undo {
            undo.push(UndoEntry::Limit(usage.limit, Some(limit.clone())));
        }
        limit.put_bucket(usage.bucket, usage.totals);
        limit.changed_at = position;
    }

    pub(crate) fn put_details(&mut self, details: Details) {
        let object = details.object;
        let before = self.details.put(details);
        if let Some(undo) = &mut self.undo {
            undo.push(UndoEntry::Details(object, before));
        }
    }

    /// `until`: position of the record that must be durable before the payment can be dropped.
    pub(crate) fn put_payment(&mut self, payment: Payment, until: u64) {
        let id = payment.id;
        if self.residency != Residency::Everything && !payment.is_open() {
            self.passing.push_back((until, Droppable::Payment(id)));
        }
        let before = self.swap_payment(payment);
        if let Some(undo) = &mut self.undo {
            undo.push(UndoEntry::Payment(id, before));
        }
    }

    fn swap_payment(&mut self, payment: Payment) -> Option<Payment> {
        self.queued.add(queued_by(&payment));
        self.note_review(payment.id, payment.status == PaymentStatus::InReview);
        let before = self.payments.put(payment);
        self.queued.remove(before.as_ref().and_then(queued_by));
        before
    }

    pub(super) fn remove_payment(&mut self, id: PaymentId) {
        let before = self.payments.remove(id.0);
        self.queued.remove(before.as_ref().and_then(queued_by));
        self.note_review(id, false);
    }

    fn note_review(&mut self, id: PaymentId, is_in_review: bool) {
        if is_in_review {
            self.in_review.insert(id);
        } else if !self.in_review.is_empty() {
            self.in_review.remove(&id);
        }
    }

    pub(crate) fn put_queue(&mut self, queue: QueueState) {
        let before = std::mem::replace(&mut self.queue, queue);
        if let Some(undo) = &mut self.undo {
            undo.push(UndoEntry::Queue(before));
        }
    }

    pub(crate) fn put_time_offset(&mut self, offset: TimeOffset) {
        let before = std::mem::replace(&mut self.time_offset, offset);
        if let Some(undo) = &mut self.undo {
            undo.push(UndoEntry::TimeOffset(before));
        }
    }

    pub(crate) fn put_reference(
        &mut self,
        space: ReferenceSpace,
        reference: Reference,
        payment: PaymentId,
        until: u64,
    ) {
        if self.residency != Residency::Everything {
            self.passing
                .push_back((until, Droppable::Reference(space, reference.clone())));
        }
        let before = self.references.insert((space, reference.clone()), payment);
        if let Some(undo) = &mut self.undo {
            undo.push(UndoEntry::Reference(space, reference, before));
        }
    }

    pub(crate) fn put_external(
        &mut self,
        owner: OwnerId,
        external: ExternalId,
        account: AccountId,
        until: u64,
    ) {
        if self.residency != Residency::Everything {
            self.passing
                .push_back((until, Droppable::External(owner, external.clone())));
        }
        let before = self.externals.insert((owner, external.clone()), account);
        if let Some(undo) = &mut self.undo {
            undo.push(UndoEntry::External(owner, external, before));
        }
    }

    /// Starts to record changes for [`WorkingSet::undo`].
    pub(crate) fn begin_undo(&mut self) {
        assert!(self.undo.is_none(), "groups do not nest");
        self.undo = Some(Vec::new());
    }

    /// Keeps the changes since `begin_undo`.
    pub(crate) fn end_undo(&mut self) {
        assert!(self.undo.take().is_some(), "a group was begun");
    }

    /// Undoes the changes since `begin_undo`.
    pub(crate) fn undo(&mut self) {
        let undo = self.undo.take().expect("a group was begun");
        for before in undo.into_iter().rev() {
            self.restore(before);
        }
    }

    fn restore(&mut self, before: UndoEntry) {
        match before {
            UndoEntry::Account(id, None) => _ = self.accounts.remove(id.0),
            UndoEntry::Account(_, Some(account)) => _ = self.accounts.put(account),
            UndoEntry::Owner(id, None) => self.owners.remove(id),
            UndoEntry::Owner(_, Some(owner)) => _ = self.owners.put(owner),
            UndoEntry::Payment(id, None) => self.remove_payment(id),
            UndoEntry::Payment(_, Some(payment)) => _ = self.swap_payment(payment),
            UndoEntry::Queue(queue) => self.queue = queue,
            UndoEntry::TimeOffset(offset) => self.time_offset = offset,
            UndoEntry::ApiKey(id, None) => _ = self.api_keys.remove(id.0),
            UndoEntry::ApiKey(_, Some(key)) => _ = self.api_keys.put(key),
            UndoEntry::Setting(id, None) => _ = self.settings.remove(id),
            UndoEntry::Setting(_, Some(setting)) => _ = self.settings.put(setting),
            UndoEntry::Limit(id, None) => _ = self.limits.remove(id),
            UndoEntry::Limit(_, Some(limit)) => _ = self.limits.put(limit),
            UndoEntry::Details(object, None) => self.details.remove(object),
            UndoEntry::Details(_, Some(details)) => _ = self.details.put(details),
            UndoEntry::Reference(space, reference, None) => {
                _ = self.references.remove(&(space, reference))
            }
            UndoEntry::Reference(space, reference, Some(payment)) => {
                _ = self.references.insert((space, reference), payment);
            }
            UndoEntry::External(owner, external, None) => {
                _ = self.externals.remove(&(owner, external))
            }
            UndoEntry::External(owner, external, Some(account)) => {
                _ = self.externals.insert((owner, external), account);
            }
        }
    }

    pub(crate) fn references(
        &self,
    ) -> impl Iterator<Item = (&(ReferenceSpace, Reference), &PaymentId)> {
        self.references.iter()
    }

    pub(crate) fn externals(&self) -> impl Iterator<Item = (&(OwnerId, ExternalId), &AccountId)> {
        self.externals.iter()
    }
}
