//! The limits in force, by what they limit. All of them are always resident.

use hashbrown::HashMap;
use smallvec::SmallVec;

use super::sip::Sip;
use crate::{LIMITS_PER_SUBJECT_MAX, Limit, LimitSubject, SettingId};

#[derive(Clone, Default)]
pub(super) struct Limits {
    by_id: HashMap<SettingId, Limit, Sip>,
    /// Positions of creation and ids, ascending: the order in which a payment meets the limits.
    by_subject: HashMap<LimitSubject, SmallVec<[(u64, SettingId); LIMITS_PER_SUBJECT_MAX]>, Sip>,
}

impl Limits {
    pub(super) fn get(&self, id: SettingId) -> Option<&Limit> {
        self.by_id.get(&id)
    }

    pub(super) fn get_mut(&mut self, id: SettingId) -> Option<&mut Limit> {
        self.by_id.get_mut(&id)
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Limit> {
        self.by_id.values()
    }

    /// Returns the limits of a subject, oldest first.
    pub(super) fn of(&self, subject: LimitSubject) -> impl Iterator<Item = &Limit> {
        let ids = self.by_subject.get(&subject);
        ids.into_iter().flatten().map(|(_, id)| &self.by_id[id])
    }

    pub(super) fn put(&mut self, limit: Limit) -> Option<Limit> {
        let before = self.remove(limit.id);
        let ids = self.by_subject.entry(limit.terms.subject).or_default();
        let entry = (limit.created_at, limit.id);
        let at = ids.partition_point(|other| *other < entry);
        ids.insert(at, entry);
        self.by_id.insert(limit.id, limit);
        before
    }

    pub(super) fn remove(&mut self, id: SettingId) -> Option<Limit> {
        let limit = self.by_id.remove(&id)?;
        let ids = self.by_subject.get_mut(&limit.terms.subject);
        let ids = ids.expect("a limit is listed under its subject");
        ids.retain(|(_, other)| *other != id);
        if ids.is_empty() {
            self.by_subject.remove(&limit.terms.subject);
        }
        Some(limit)
    }
}
