//! What is kept of a subscription at work: the changes that go into the log, and what they make.

use super::{Flow, KEPT_AT_ONCE, KEPT_MAX, WINDOW_MAX};
use crate::image::{Change, Image, done_changes};

/// Done events above the floor after which the ones that hold the floor are kept by name instead.
const DONE_MAX: usize = 16_384;
/// Positions that the floor may move on without anything being done before that is worth noting.
const FLOOR_STEP: u64 = 65_536;

impl Flow {
    /// What is kept of it, once all that was drained is in the log.
    pub fn image(&self) -> Image {
        let kept = self.open.iter().filter(|(_, open)| open.kept);
        Image {
            subscription: self.subscription.clone(),
            floor: self.floor,
            done: self.done.clone(),
            kept: kept
                .map(|(&position, open)| (position, open.letter.clone()))
                .collect(),
            dead: self.dead.clone(),
            replays: self.replays.iter().copied().collect(),
        }
    }

    /// Begins again after `to`. Backwards, what is open up to there stays open; forwards, everything open is dropped. Attempts
    /// under way are over.
    pub fn rewind(&mut self, to: u64, now: u64, out: &mut Vec<Change>) {
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
        });
        let mut image = self.image();
        image.floor = to;
        image.done.clear();
        image.kept.retain(|position, _| !all && *position <= to);
        image.dead.retain(|position, _| *position <= to);
        image.replays.clear();
        let (meter, totals) = (std::mem::take(&mut self.meter), self.totals);
        let past = std::mem::take(&mut self.past);
        let mut unwritten = std::mem::take(&mut self.unwritten);
        unwritten.retain(|position| position <= to);
        *self = Flow::new(image, now);
        self.unwritten = unwritten;
        self.meter = meter;
        self.totals = totals;
        self.past = past;
    }

    /// Makes the floor reach as far as was looked at, by keeping all that is open by name: what comes next may be matched
    /// differently.
    pub(crate) fn keep_all(&mut self, out: &mut Vec<Change>) {
        for (&position, open) in self.open.iter_mut().filter(|(_, open)| !open.kept) {
            open.kept = true;
            self.kept += 1;
            self.changed.push(position);
        }
        self.drain(true, out);
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
