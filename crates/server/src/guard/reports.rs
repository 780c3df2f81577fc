//! What is to be published about abuse, in bounded number: what goes beyond it is added up.

use std::collections::VecDeque;

use crate::guard::entry::{Finding, MINUTE};
use crate::guard::signal::Counts;

/// Maximum number of events about single subjects in a minute.
pub(super) const EVENTS_PER_MINUTE_MAX: u32 = 60;
/// Maximum number of events that wait to be published.
const WAITING_MAX: usize = 4 * EVENTS_PER_MINUTE_MAX as usize;

/// Something to publish.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Report<S> {
    /// About one subject.
    Of(S, Finding),
    /// About all those that had no event of their own in a minute.
    Others(Others),
}

/// Subjects that had no event of their own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Others {
    /// Number of findings.
    pub(super) findings: u32,
    /// Number of those that began a block.
    pub(super) blocks: u32,
    /// Their signals.
    pub(super) counts: Counts,
}

/// Reports that wait to be published. Times are running time, nanoseconds.
#[derive(Debug)]
pub(super) struct Reports<S> {
    waiting: VecDeque<Report<S>>,
    /// Beginning of the minute.
    since: u64,
    taken_in: u32,
    others: Others,
}

impl<S> Default for Reports<S> {
    fn default() -> Reports<S> {
        Reports {
            waiting: VecDeque::new(),
            since: 0,
            taken_in: 0,
            others: Others::default(),
        }
    }
}

impl<S> Reports<S> {
    /// Takes a finding in. Returns whether it has an event of its own.
    pub(super) fn add(&mut self, now: u64, subject: S, finding: Finding) -> bool {
        self.roll(now);
        if self.taken_in >= EVENTS_PER_MINUTE_MAX || self.waiting.len() >= WAITING_MAX {
            self.others.add(&finding);
            return false;
        }
        self.taken_in += 1;
        self.waiting.push_back(Report::Of(subject, finding));
        true
    }

    /// Takes the next report out.
    pub(super) fn next(&mut self, now: u64) -> Option<Report<S>> {
        self.roll(now);
        self.waiting.pop_front()
    }

    /// Ends a minute that is over.
    fn roll(&mut self, now: u64) {
        if now < self.since.saturating_add(MINUTE) {
            return;
        }
        if self.others.findings > 0 && self.waiting.len() < WAITING_MAX {
            let others = std::mem::take(&mut self.others);
            self.waiting.push_back(Report::Others(others));
        }
        self.since = now;
        self.taken_in = 0;
    }
}

impl Others {
    fn add(&mut self, finding: &Finding) {
        self.findings = self.findings.saturating_add(1);
        let is_block = u32::from(finding.until.is_some());
        self.blocks = self.blocks.saturating_add(is_block);
        for (sum, count) in self.counts.iter_mut().zip(finding.counts) {
            *sum = sum.saturating_add(count);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guard::signal::Signal;

    fn finding() -> Finding {
        Finding {
            reason: Signal::BadKey,
            counts: [2, 0, 0, 0, 0, 1],
            until: Some(MINUTE),
        }
    }

    fn taken(reports: &mut Reports<u32>, now: u64) -> Vec<Report<u32>> {
        std::iter::from_fn(|| reports.next(now)).collect()
    }

    #[test]
    fn a_minute_has_so_many_events_and_one_for_all_others() {
        let mut reports = Reports::default();
        for minute in 1..=3_u32 {
            let now = u64::from(minute) * MINUTE;
            let own = (0..1_000).filter(|one| reports.add(now, *one, finding()));
            assert_eq!(own.count(), EVENTS_PER_MINUTE_MAX as usize);
            let taken = taken(&mut reports, now + MINUTE - 1);
            // Those of the minute before come first.
            let others: Vec<&Report<u32>> = taken
                .iter()
                .filter(|one| matches!(one, Report::Others(_)))
                .collect();
            assert_eq!(others.len(), usize::from(minute > 1));
            assert_eq!(taken.len() - others.len(), EVENTS_PER_MINUTE_MAX as usize);
        }
        let last = taken(&mut reports, 4 * MINUTE);
        let others = Others {
            findings: 940,
            blocks: 940,
            counts: [1_880, 0, 0, 0, 0, 940],
        };
        assert_eq!(last, [Report::Others(others)]);
        assert_eq!(taken(&mut reports, 9 * MINUTE), []);
    }

    #[test]
    fn reports_that_nobody_takes_are_bounded_and_none_goes_uncounted() {
        let mut reports = Reports::default();
        for minute in 1..=100_u64 {
            for one in 0..50 {
                reports.add(minute * MINUTE, one, finding());
            }
        }
        let taken = taken(&mut reports, 200 * MINUTE);
        assert!(taken.len() <= WAITING_MAX, "{}", taken.len());
        let own = taken.iter().filter(|one| matches!(one, Report::Of(..)));
        let own = own.count() as u32;
        // The sum of the others had no room, and follows.
        let rest = reports.next(300 * MINUTE);
        assert_eq!(
            rest,
            Some(Report::Others(Others {
                findings: 5_000 - own,
                blocks: 5_000 - own,
                counts: [2 * (5_000 - own), 0, 0, 0, 0, 5_000 - own],
            }))
        );
    }
}
