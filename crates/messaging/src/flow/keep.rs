//! What is kept of a subscription at work: the changes that go into the log, and what they make.

use super::{Flow, KEPT_AT_ONCE, KEPT_MAX, WINDOW_MAX};
use crate::image::{Change, Image, done_changes};
use crate::past::End;
use crate::settings::Terms;
use tributary_ledger::Actor;

/// Done events above the floor after which the ones that hold the floor are kept by name instead.
const DONE_MAX: usize = 16_384;
/// Positions that the floor may move on without anything being done before that is worth noting.
const FLOOR_STEP: u64 = 65_536;

impl Flow {
    /// What is kept of it, once all that was drained is in the log.
    pub fn image(&self) -> Image {
        let kept = self.open.iter().filter(|(_, open)| open.kept);
        Image {
            floor: self.floor,
            done: self.done.clone(),
            kept: kept
                .map(|(&position, open)| (position, open.letter.clone()))
                .collect(),
            dead: self.dead.clone(),
            replays: self.replays.iter().copied().collect(),
            rematch_through: self.rematch_through,
        }
    }

    /// Begins again after `to`. Backwards, what is open up to there stays open; forwards, everything open is dropped. Attempts
    /// under way are over. The newest filter matches everything up to `through`, which is where the journal ends.
    pub fn rewind(&mut self, to: u64, through: u64, by: Actor, now: u64, out: &mut Vec<Change>) {
        let through = through.max(self.revisions.newest_after());
        self.note_operation(End::Rewound, &[to], by, now);
        let all = to >= self.scanned;
        if !all {
            let open = self.open.iter_mut();
            let open = open.take_while(|(position, _)| **position <= to);
            for (&position, open) in open.filter(|(_, open)| !open.kept) {
                open.kept = true;
                self.kept += 1;
                self.changed.push(position);
            }
        }
        self.drain(true, out);
        out.push(Change::Rewind {
            id: self.id(),
            to,
            all,
            through,
        });
        let mut image = self.image();
        image.floor = to;
        image.rematch_through = through;
        image.done.clear();
        image.kept.retain(|position, _| !all && *position <= to);
        image.dead.retain(|position, _| *position <= to);
        image.replays.clear();
        let (meter, totals) = (std::mem::take(&mut self.meter), self.totals);
        let past = std::mem::take(&mut self.past);
        let mut unwritten = std::mem::take(&mut self.unwritten);
        let (unnoticed, noticed_at) = (self.unnoticed, self.noticed_at);
        unwritten.retain(|position| position <= to);
        let mut revisions = self.revisions.clone();
        revisions.forget_older();
        *self = Flow::new(self.subscription.clone(), image, revisions, now);
        self.unwritten = unwritten;
        (self.unnoticed, self.noticed_at) = (unnoticed, noticed_at);
        self.meter = meter;
        self.totals = totals;
        self.past = past;
    }

    /// Changes the definition or the state, by the record at `position`.
    pub(crate) fn set_terms(&mut self, terms: Terms, position: u64, now: u64) {
        self.revisions.push(position, &terms.filter, self.scanned);
        let order_changed = self.policy().order != terms.policy.order;
        self.subscription.terms = terms;
        // It can't be changed by the API. If it is, nothing is left of the order before.
        if order_changed {
            let (image, revisions) = (self.image(), self.revisions.clone());
            let scanned = self.scanned;
            *self = Flow::new(self.subscription.clone(), image, revisions, now);
            tracing::warn!(
                scanned,
                "the order of a subscription was changed: events may be delivered again"
            );
        }
    }

    /// Puts out what changed since the last time in what is kept. A floor that moved only a little is left for later unless
    /// `all`.
    pub fn drain(&mut self, all: bool, out: &mut Vec<Change>) {
        let (id, before) = (self.id(), out.len());
        if self.done.len() > DONE_MAX {
            self.keep_oldest();
        }
        let first = self.open.iter().find(|(_, open)| !open.kept);
        let floor = first.map_or(self.scanned, |(position, _)| position - 1);
        let mut changed = std::mem::take(&mut self.changed);
        changed.sort_unstable();
        changed.dedup();
        let mut done: Vec<u64> = std::mem::take(&mut self.done_since);
        done.retain(|position| *position > floor && self.done.contains(position));
        for position in changed {
            if let Some(open) = self.open.get(&position) {
                debug_assert!(open.kept, "what is not kept by name is not noted by name");
                let letter = open.letter.clone();
                out.push(Change::Keep {
                    id,
                    position,
                    letter,
                });
            } else if let Some(letter) = self.dead.get(&position) {
                let letter = letter.clone();
                out.push(Change::Dead {
                    id,
                    position,
                    letter,
                });
            } else {
                done.push(position);
            }
        }
        done.sort_unstable();
        done.dedup();
        let passed = std::mem::take(&mut self.passed);
        let worth_it = passed || out.len() > before || !done.is_empty() || !self.done.is_empty();
        done_changes(id, &done, out);
        if std::mem::take(&mut self.replays_changed) {
            out.push(Change::Replays {
                id,
                ranges: self.replays.iter().copied().collect(),
            });
        }
        if floor != self.floor && (all || worth_it || floor > self.floor + FLOOR_STEP) {
            self.floor = floor;
            if self.rematch_through <= floor {
                self.rematch_through = 0;
            }
            self.done = self.done.split_off(&(floor + 1));
            out.push(Change::Progress { id, floor });
        }
    }

    /// So few hold the floor that it is cheaper to keep them by name.
    fn keep_oldest(&mut self) {
        let oldest = self.open.iter_mut().filter(|(_, open)| !open.kept);
        for (&position, open) in oldest.take(KEPT_AT_ONCE) {
            open.kept = true;
            self.kept += 1;
            self.changed.push(position);
        }
    }

    /// Events that wait, or are out, or were given up, above the bounds of memory: none, ever.
    pub fn within_bounds(&self) -> bool {
        let bound = WINDOW_MAX + self.policy().in_flight_max as usize;
        self.open.len() <= bound * 2 + 2 * KEPT_MAX
            && self.done.len() <= DONE_MAX + bound + KEPT_AT_ONCE
            && self.timers.len() <= self.open.len()
            && self.ready.len() <= self.open.len()
            && [
                self.open.places(),
                self.timers.places(),
                self.ready.places(),
            ]
            .iter()
            .all(|places| *places <= 4 * bound + 4 * KEPT_MAX)
    }
}
