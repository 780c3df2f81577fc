//! Dead letters: how events are given up, put back or dropped, and who is told.

use tributary_ledger::Actor;

use super::unwritten::UnwrittenDead;
use super::{Flow, NAMED_MAX, REPLAYS_MAX};
use crate::ended::{AttemptEnd, Group};
use crate::image::Letter;
use crate::notices::{DEAD_LETTER_NOTICE_EVERY, DeadLetterNotice};

impl Flow {
    pub(super) fn mark_dead(&mut self, position: u64, now: u64) {
        let mut letter = self.close(position, now).letter;
        letter.due = now;
        self.dead_bytes += letter.bytes();
        self.dead.insert(position, letter);
        self.unwritten.new.insert(position);
        self.changed.push(position);
    }

    pub(super) fn remove_dead(&mut self, position: u64) -> Option<Letter> {
        let letter = self.dead.remove(&position)?;
        self.dead_bytes -= letter.bytes();
        self.unwritten.remove(position);
        Some(letter)
    }

    /// Whether there are dead letters that are not known to be in the log.
    pub(crate) fn has_unwritten_dead(&self) -> bool {
        !self.unwritten.is_empty()
    }

    /// Marks everything that was drained as on its way into the log.
    pub(crate) fn drained(&mut self) {
        let UnwrittenDead { new, drained } = &mut self.unwritten;
        drained.append(new);
    }

    /// Marks what was drained last as written.
    pub(crate) fn written(&mut self) {
        self.unnoticed += self.unwritten.drained.len() as u64;
        self.unwritten.drained.clear();
    }

    /// Returns the notice of new dead letters that is due now, if there is one.
    pub(crate) fn dead_letter_notice(&mut self, now: u64) -> Option<DeadLetterNotice> {
        if self.unnoticed == 0 || now.abs_diff(self.noticed_at) < DEAD_LETTER_NOTICE_EVERY {
            return None;
        }
        self.noticed_at = now;
        Some(DeadLetterNotice {
            subscription: self.id(),
            kind: self.subscription.setting_kind(),
            scope: self.subscription.scope,
            new: std::mem::take(&mut self.unnoticed),
            total: self.dead.len() as u64,
        })
    }

    /// Takes back a notice that could not be published, to be tried again.
    pub(crate) fn notice_failed(&mut self, notice: &DeadLetterNotice) {
        self.unnoticed += notice.new;
        self.noticed_at = 0;
    }

    /// Records an operation on these events for the history, with the actor.
    pub(super) fn note_operation(
        &mut self,
        end: AttemptEnd,
        positions: &[u64],
        by: Actor,
        now: u64,
    ) {
        let like = Group {
            subscription: self.id(),
            attempt: 0,
            end,
            began: now,
            ended: now,
            events: 0,
            note: 0,
        };
        let note = [by.owner.0.to_le_bytes(), by.api_key.0.to_le_bytes()].concat();
        self.past.push_all(like, positions, &note);
    }

    /// Returns dead letters that are in the log, after this position, the oldest event first, and whether there are more.
    pub fn dead(&self, after: u64, limit: usize) -> (Vec<(u64, Letter)>, bool) {
        let written = |(position, _): &(&u64, &Letter)| !self.unwritten.contains(**position);
        let mut rest = self.dead.range(after + 1..).filter(written);
        let page = rest.by_ref().take(limit);
        let page = page.map(|(position, letter)| (*position, letter.clone()));
        (page.collect(), rest.next().is_some())
    }

    /// Positions of these dead letters that exist, or of the oldest ones.
    fn dead_ones(&self, positions: Option<&[u64]>, max: usize) -> Vec<u64> {
        let there = |position: &&u64| self.dead.contains_key(position);
        match positions {
            Some(positions) => positions.iter().filter(there).take(max).copied().collect(),
            None => self.dead.keys().take(max).copied().collect(),
        }
    }

    /// Puts dead letters back into delivery: these, or all, as many as the log may name. Returns how many.
    pub fn requeue(&mut self, positions: Option<&[u64]>, by: Actor, now: u64) -> usize {
        let room = NAMED_MAX.saturating_sub(self.named);
        let mut requeued = 0;
        let positions = self.dead_ones(positions, room);
        self.note_operation(AttemptEnd::Requeued, &positions, by, now);
        for position in positions {
            let Some(mut letter) = self.remove_dead(position) else {
                continue;
            };
            letter.attempt = 0;
            letter.due = 0;
            self.admit(position, letter, true, now);
            self.changed.push(position);
            requeued += 1;
        }
        requeued
    }

    /// Drops dead letters: these, or all. Returns how many.
    pub fn drop_dead(&mut self, positions: Option<&[u64]>, by: Actor, now: u64) -> usize {
        let mut dropped = 0;
        let positions = self.dead_ones(positions, usize::MAX);
        self.note_operation(AttemptEnd::Dropped, &positions, by, now);
        for position in positions {
            if self.remove_dead(position).is_some() {
                if position > self.floor {
                    self.done.insert(position);
                }
                self.changed.push(position);
                dropped += 1;
            }
        }
        dropped
    }

    /// Delivers again what the newest filter matches in `first ..= last`, as far as that was matched before. False if too many ranges
    /// wait.
    pub fn replay(&mut self, first: u64, last: u64, by: Actor, now: u64) -> bool {
        let last = last.min(self.scanned);
        if first > last {
            return true;
        }
        if self.replays.len() >= REPLAYS_MAX {
            return false;
        }
        self.replays.push_back((first.max(1), last));
        self.replays_changed = true;
        self.note_operation(AttemptEnd::Replayed, &[first.max(1), last], by, now);
        true
    }
}
