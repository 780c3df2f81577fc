//! Living settings and their revisions.

use tributary_ledger::codec::Record;
use tributary_ledger::{Body, Limit, LimitSubject, OwnerId, Setting, SettingId, SettingKind, Slug};

use super::{RECORDS_SCANNED_MAX, Reader, Slice, Start};
use crate::failure::Failure;

impl Reader {
    /// Returns the living setting with this id.
    pub fn setting(&self, id: SettingId) -> Option<Setting> {
        self.view.read().set.setting(id).cloned()
    }

    /// Returns the living setting of an owner with this kind and slug.
    pub fn setting_by_slug(
        &self,
        owner: OwnerId,
        kind: SettingKind,
        slug: &Slug,
    ) -> Option<Setting> {
        let published = self.view.read();
        published.set.setting_by_slug(owner, kind, slug).cloned()
    }

    /// Returns the limit that a setting says, if it is in force, with what it has counted.
    pub fn limit(&self, id: SettingId) -> Option<Limit> {
        self.view.read().set.limit(id).cloned()
    }

    /// Returns the settings of limits, the newest first: all, or those on an account or an owner.
    pub fn limits(&self, subject: Option<LimitSubject>) -> Vec<Setting> {
        let Some(subject) = subject else {
            let mut all = self.settings(SettingKind::LIMIT, None);
            all.reverse();
            return all;
        };
        let published = self.view.read();
        let set = &published.set;
        let theirs = set
            .limits_of(subject)
            .filter_map(|limit| set.setting(limit.id));
        let mut theirs: Vec<Setting> = theirs.cloned().collect();
        theirs.reverse();
        theirs
    }

    /// Returns the living settings of a kind, in the order of their creation: all, or those of `owner`.
    pub fn settings(&self, kind: SettingKind, owner: Option<OwnerId>) -> Vec<Setting> {
        let wanted = |setting: &&Setting| {
            setting.kind == kind && owner.is_none_or(|owner| setting.owner == owner)
        };
        let published = self.view.read();
        published.set.settings().filter(wanted).cloned().collect()
    }

    /// Returns the position of the newest record that put or deleted a setting since the start, 0 if there is none, once the change shows.
    pub fn settings_changed_at(&self) -> u64 {
        self.view.settings_position()
    }

    /// Waits until a setting of any kind was put or deleted after `position`, and the change shows. To miss none, take
    /// [`Reader::published`] before the settings are read, and wait with that. No thread waits meanwhile.
    pub async fn settings_changed_after(&self, position: u64) {
        loop {
            let mut news = std::pin::pin!(self.view.settings_news.notified());
            // Before looking, so that nothing is missed in between.
            news.as_mut().enable();
            if self.view.settings_position() > position {
                return;
            }
            news.await;
        }
    }

    /// Returns the size of the bodies of all living settings, in bytes.
    pub fn settings_bytes(&self) -> usize {
        self.view.read().set.settings_bytes()
    }

    /// Returns the records of a living setting's revisions, newest first.
    pub fn setting_revisions(
        &self,
        id: SettingId,
        start: Start,
        limit: usize,
    ) -> Result<Slice<Record>, Failure> {
        let mut slice = Slice {
            items: Vec::new(),
            has_more: false,
            next: None,
        };
        let Some(setting) = self.setting(id) else {
            return Ok(slice);
        };
        let mut position = setting.changed.position;
        // A cursor that is a revision itself leads on at once.
        if let Start::Before(cursor) = start
            && cursor <= position
            && let Some(record) = self.record(cursor)?
            && let Some(previous) = previous_revision(&record, id)
        {
            position = previous;
        }
        for _ in 0..RECORDS_SCANNED_MAX {
            if position == 0 || matches!(start, Start::After(after) if position <= after) {
                break;
            }
            let record = self.record(position)?;
            let record = record.ok_or_else(|| missing(position))?;
            let previous = previous_revision(&record, id).ok_or_else(|| missing(position))?;
            if !matches!(start, Start::Before(before) if position >= before) {
                slice.items.push(record);
            }
            position = previous;
            if slice.items.len() > limit {
                slice.has_more = true;
                match start {
                    // Those nearest to the cursor stay.
                    Start::After(_) => _ = slice.items.remove(0),
                    Start::Newest | Start::Before(_) => {
                        slice.items.pop();
                        break;
                    }
                }
            }
        }
        let end = match start {
            Start::After(_) => slice.items.first(),
            _ => slice.items.last(),
        };
        slice.next = end.map(|record| record.ctx.position);
        Ok(slice)
    }
}

/// Position of the revision before the one that the record made of the setting; none if the record made none.
fn previous_revision(record: &Record, id: SettingId) -> Option<u64> {
    let is_put = matches!(&record.command.body, Body::PutSetting(put) if put.id == id);
    let change = record.outcome.setting.as_ref().filter(|_| is_put)?;
    Some(change.prev)
}

fn missing(position: u64) -> Failure {
    Failure::RecordDamaged {
        position,
        what: "a revision of a setting is not where its successor says".into(),
    }
}
