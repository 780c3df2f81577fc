//! The living settings of a set. All of them are always resident.

use std::collections::{BTreeMap, BTreeSet};

use crate::{OwnerId, Setting, SettingId, SettingKind, Slug};

#[derive(Clone, Default)]
pub(super) struct Settings {
    by_id: BTreeMap<SettingId, Setting>,
    /// In the order of the records that created them.
    by_creation: BTreeSet<(u64, SettingId)>,
    /// The id is part of the entry: while records are applied over a checkpoint that was taken meanwhile, a setting that
    /// is yet to be deleted and the next holder of its slug may both be here.
    by_slug: BTreeSet<(SettingKind, OwnerId, Slug, SettingId)>,
    /// Number of settings; only of owners that have some.
    counts: BTreeMap<(SettingKind, OwnerId), usize>,
    /// Size of all bodies.
    bytes: usize,
}

impl Settings {
    pub(super) fn get(&self, id: SettingId) -> Option<&Setting> {
        self.by_id.get(&id)
    }

    pub(super) fn by_slug(
        &self,
        owner: OwnerId,
        kind: SettingKind,
        slug: &Slug,
    ) -> Option<&Setting> {
        let entry = |id| (kind, owner, slug.clone(), SettingId(id));
        let (.., id) = self.by_slug.range(entry(0)..=entry(u64::MAX)).next()?;
        self.get(*id)
    }

    /// Returns the number of settings of an owner and kind.
    pub(super) fn count(&self, owner: OwnerId, kind: SettingKind) -> usize {
        self.counts.get(&(kind, owner)).copied().unwrap_or(0)
    }

    /// Returns the number of settings of a kind of all owners.
    pub(super) fn count_of_kind(&self, kind: SettingKind) -> usize {
        let owners = (kind, OwnerId(0))..=(kind, OwnerId(u64::MAX));
        self.counts.range(owners).map(|(_, count)| count).sum()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Returns the settings that were created after a position, in the order of their creation.
    pub(super) fn created_after(&self, position: u64) -> impl Iterator<Item = &Setting> {
        self.by_creation
            .range((position + 1, SettingId(0))..)
            .map(|(_, id)| &self.by_id[id])
    }

    /// Adds a setting, or replaces and returns the setting with the same id.
    pub(super) fn put(&mut self, setting: Setting) -> Option<Setting> {
        let before = self.remove(setting.id);
        self.by_creation
            .insert((setting.created.position, setting.id));
        self.by_slug.insert(slug_entry(&setting));
        *self
            .counts
            .entry((setting.kind, setting.owner))
            .or_default() += 1;
        self.bytes += setting.body.as_bytes().len();
        self.by_id.insert(setting.id, setting);
        before
    }

    pub(super) fn remove(&mut self, id: SettingId) -> Option<Setting> {
        let setting = self.by_id.remove(&id)?;
        self.by_creation.remove(&(setting.created.position, id));
        self.by_slug.remove(&slug_entry(&setting));
        let counted = (setting.kind, setting.owner);
        let count = self.counts.get_mut(&counted);
        let count = count.expect("a setting in the set was counted");
        *count -= 1;
        if *count == 0 {
            self.counts.remove(&counted);
        }
        self.bytes -= setting.body.as_bytes().len();
        Some(setting)
    }
}

fn slug_entry(setting: &Setting) -> (SettingKind, OwnerId, Slug, SettingId) {
    let slug = setting.slug.clone();
    (setting.kind, setting.owner, slug, setting.id)
}
