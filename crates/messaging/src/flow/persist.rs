//! The durable state of a flow: the changes that go into the log, and the image that they make.

use super::{Flow, NAMED_AT_ONCE, NAMED_MAX};
use crate::ended::AttemptEnd;
use crate::image::{Change, Image, done_changes};
use crate::memory::WINDOW_MAX;
use crate::revisions::Revisions;
use crate::settings::Terms;
use tributary_ledger::Actor;

/// Number of done events above the floor from which on the log names the events that hold the floor. It is less where there are many
/// subscriptions: four times as many as may wait in memory.
const DONE_MAX: usize = 16_384;
/// Minimum of that number.
const DONE_MIN: usize = 1_024;
/// Number of positions that the floor moves on, with nothing done, before that is worth a change.
const FLOOR_STEP: u64 = 65_536;

impl Flow {
    /// Returns the durable state once everything that was drained is in the log.
    pub fn image(&self) -> Image {
        let named = self.open.iter().filter(|(_, open)| open.named);
        Image {
            floor: self.floor,
            done: self.done.clone(),
            named: named
                .map(|(&position, open)| (position, open.letter.clone()))
                .collect(),
            dead: self.dead.clone(),
            replays: self.replays.iter().copied().collect(),
            rematch_through: self.rematch_through,
        }
    }

    /// Continues after `to`. Backwards, open events up to there stay open; forwards, open events are dropped. Attempts under way end.
    /// The newest filter matches everything up to `through`, the end of the committed journal.
    pub fn rewind(&mut self, to: u64, through: u64, by: Actor, now: u64, out: &mut Vec<Change>) {
        let through = through.max(self.revisions.newest_after());
        self.note_operation(AttemptEnd::Rewound, &[to], by, now);
        let all = to >= self.scanned;
        if !all {
            let open = self.open.iter_mut();
            let open = open.take_while(|(position, _)| **position <= to);
            for (&position, open) in open.filter(|(_, open)| !open.named) {
                open.named = true;
                self.named += 1;
                self.named_bytes += open.letter.bytes();
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
        image.named.retain(|position, _| !all && *position <= to);
        image.dead.retain(|position, _| *position <= to);
        image.replays.clear();
        let (meter, totals) = (std::mem::take(&mut self.meter), self.totals);
        let past = std::mem::take(&mut self.past);
        let mut unwritten = std::mem::take(&mut self.unwritten);
        let (unnoticed, noticed_at) = (self.unnoticed, self.noticed_at);
        unwritten.retain(|position| position <= to);
        let mut revisions = self.revisions.clone();
        revisions.forget_older();
        self.make_anew(image, revisions, now);
        self.unwritten = unwritten;
        (self.unnoticed, self.noticed_at) = (unnoticed, noticed_at);
        self.meter = meter;
        self.totals = totals;
        self.past = past;
    }

    fn make_anew(&mut self, image: Image, revisions: Revisions, now: u64) {
        let (window, memory) = (self.window, self.memory.another());
        *self = Flow::new(self.subscription.clone(), image, revisions, memory, now);
        self.window = window;
    }

    /// Takes the definition and the state that the record at `position` made.
    pub(crate) fn set_terms(&mut self, terms: Terms, position: u64, now: u64) {
        self.revisions.push(position, &terms.filter, self.scanned);
        let order_changed = self.policy().order != terms.policy.order;
        self.subscription.terms = terms;
        // It can't be changed by the API. If it is, nothing is left of the order before.
        if order_changed {
            let (image, revisions) = (self.image(), self.revisions.clone());
            let scanned = self.scanned;
            self.make_anew(image, revisions, now);
            tracing::warn!(
                scanned,
                "the order of a subscription was changed: events may be delivered again"
            );
        }
    }

    /// Appends the changes since the last drain. Leaves a floor that moved only a little for later, unless `all`.
    pub fn drain(&mut self, all: bool, out: &mut Vec<Change>) {
        let (id, before) = (self.id(), out.len());
        if self.done.len() > (4 * self.window).clamp(DONE_MIN, DONE_MAX) {
            self.name_oldest();
        }
        let first = self.open.iter().find(|(_, open)| !open.named);
        let floor = first.map_or(self.scanned, |(position, _)| position - 1);
        let mut changed = std::mem::take(&mut self.changed);
        changed.sort_unstable();
        changed.dedup();
        let mut done: Vec<u64> = std::mem::take(&mut self.done_since);
        done.retain(|position| *position > floor && self.done.contains(position));
        for position in changed {
            if let Some(open) = self.open.get(&position) {
                debug_assert!(open.named, "only events that the log names change by name");
                let letter = open.letter.clone();
                out.push(Change::Named {
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

    /// Has the log name the oldest events: so few hold the floor that this is cheaper.
    fn name_oldest(&mut self) {
        let oldest = self.open.iter_mut().filter(|(_, open)| !open.named);
        for (&position, open) in oldest.take(NAMED_AT_ONCE) {
            open.named = true;
            self.named += 1;
            self.named_bytes += open.letter.bytes();
            self.changed.push(position);
        }
    }

    /// Whether every queue is within its bounds.
    pub fn within_bounds(&self) -> bool {
        let bound = WINDOW_MAX + self.policy().in_flight_max as usize;
        self.open.len() <= bound * 2 + 2 * NAMED_MAX
            && self.done.len() <= DONE_MAX + bound + NAMED_AT_ONCE
            && self.timers.len() + self.deadlines.len() <= self.open.len()
            && self.ready.len() <= self.open.len()
            && [
                self.open.places(),
                self.timers.places(),
                self.deadlines.places(),
                self.ready.places(),
            ]
            .iter()
            .all(|places| *places <= 4 * bound + 4 * NAMED_MAX)
    }
}
