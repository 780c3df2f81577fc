//! What follows the journal: the streams of the settings, which take committed records and are kept in checkpoints. It does nothing
//! outwards, and has neither a thread nor a clock.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use tributary_engine::{Basis, Failure, Reader, lock};
use tributary_ledger::{SettingId, SettingKind};

use super::checkpoint::Checkpoints;
use super::feed::{take_frame, with_frame};
use super::fields::OwnerNames;
use super::slot::{Slot, Slots};

/// The streams of a journal, as far as they have come.
pub(super) struct Follower {
    pub(super) reader: Reader,
    pub(super) slots: Arc<Slots>,
    pub(super) checkpoints: Option<Checkpoints>,
}

impl Follower {
    /// Takes the newest revisions of the settings. At first, streams may have been deleted while the server was down.
    pub(super) fn define(&self, is_first: bool) {
        let settings = self.reader.settings(SettingKind::STREAM, None);
        let ids: BTreeSet<SettingId> = settings.iter().map(|setting| setting.id).collect();
        let is_gone = |id: &SettingId, _: &mut _| !ids.contains(id);
        let is_any_gone = lock(&self.slots.0).extract_if(.., is_gone).count() > 0;
        if let Some(checkpoints) = &self.checkpoints
            && (is_first || is_any_gone)
        {
            checkpoints.retain(|id| ids.contains(&id));
        }
        for setting in settings {
            let slot = lock(&self.slots.0)
                .entry(setting.id)
                .or_insert_with(|| Arc::new(Mutex::new(Slot::new(setting.id))))
                .clone();
            lock(&slot).define(&self.reader, &setting, self.checkpoints.as_ref());
        }
    }

    /// Gives a frame to those that are furthest, and one to those that are behind. Returns whether everything was taken.
    pub(super) fn step(
        &self,
        owners: &OwnerNames,
        slots: &[Arc<Mutex<Slot>>],
    ) -> Result<bool, Failure> {
        let head = self.reader.published();
        let mut behind = BTreeSet::new();
        for slot in slots {
            let mut slot = lock(slot);
            if slot.is_paused {
                continue;
            }
            for version in &mut slot.versions {
                let position = version.runner.position;
                version.is_live |= position >= head;
                if position < head && !version.runner.is_over() {
                    behind.insert(position);
                }
            }
            slot.end_old(self.checkpoints.as_ref());
        }
        let (Some(first), Some(last)) = (behind.first(), behind.last()) else {
            return Ok(true);
        };
        for position in BTreeSet::from([*first, *last]) {
            let mut guards: Vec<_> = slots.iter().map(|slot| lock(slot)).collect();
            let at_work = guards.iter_mut().map(|slot| &mut **slot);
            let mut at_work: Vec<_> = at_work.filter(|slot| !slot.is_paused).collect();
            feed(&self.reader, owners, position + 1, head, &mut at_work)?;
        }
        Ok(false)
    }

    /// Returns when the next window ends of which nothing that is recorded says so, in nanoseconds since the Unix epoch.
    pub(super) fn next_deadline(&self, slots: &[Arc<Mutex<Slot>>]) -> Option<i64> {
        let head = self.reader.published();
        let deadlines = slots.iter().filter_map(|slot| {
            let slot = lock(slot);
            let versions = slot.versions.iter().filter(|_| !slot.is_paused);
            // One that is behind learns the time from what it has not taken yet.
            let waiting = versions
                .filter(|version| !version.runner.is_over() && version.runner.position >= head);
            waiting
                .filter_map(|version| version.runner.ready.stream.next_deadline())
                .min()
        });
        deadlines.min()
    }

    /// Keeps checkpoints: of those whose time has come, or of all.
    pub(super) fn keep(&self, slots: &[Arc<Mutex<Slot>>], all: bool) {
        if let Some(checkpoints) = &self.checkpoints {
            for slot in slots {
                lock(slot).keep(all, checkpoints);
            }
        }
    }
}

/// Gives the frame that holds `position` to the versions that come to it, up to the record at `head`.
pub(super) fn feed(
    reader: &Reader,
    owners: &OwnerNames,
    position: u64,
    head: u64,
    slots: &mut [&mut Slot],
) -> Result<(), Failure> {
    slots.iter_mut().for_each(|slot| slot.share_waiting_bound());
    let end = with_frame(reader, position, |frame| {
        take_frame(reader, owners, frame, position, head, |taken| {
            for slot in slots.iter_mut() {
                if let Some(settled) = &taken.result
                    && settled.stream == slot.id
                {
                    let time = u64::try_from(taken.time).unwrap_or(0);
                    for version in &mut slot.versions {
                        version.runner.settle(settled, time);
                    }
                }
                for version in &mut slot.versions {
                    if version.runner.position + 1 == taken.position && !version.runner.is_over() {
                        version.runner.take(taken);
                    }
                }
            }
            Ok(())
        })?;
        Ok(Basis::from(frame.head()))
    })?;
    for version in slots.iter_mut().flat_map(|slot| &mut slot.versions) {
        if version.runner.position == end.position {
            version.basis = Some(end);
        }
    }
    Ok(())
}
