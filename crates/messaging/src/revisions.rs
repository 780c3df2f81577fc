//! The filters of a subscription by position: an event is matched by the newest revision before its own position.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::settings::Filter;

/// Maximum number of filters before the newest one that are kept in memory for a subscription; later ones are read from the journal
/// when their turn comes.
pub const FILTERS_KEPT_MAX: usize = 64;

/// A filter, and the position after which it matches.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Revision {
    after: u64,
    filter: Arc<Filter>,
}

/// The filters of one subscription from some position on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revisions {
    /// Those before the newest, ascending; each matches up to where the next begins. The first matches everything before it too.
    older: VecDeque<Revision>,
    /// Where the first filter begins that is left out between those above and the newest.
    gap: Option<u64>,
    newest: Revision,
}

impl Revisions {
    /// One filter for every position.
    pub fn new(filter: Filter) -> Revisions {
        Revisions {
            older: VecDeque::new(),
            gap: None,
            newest: Revision {
                after: 0,
                filter: Arc::new(filter),
            },
        }
    }

    /// The filters of revisions, the newest first, each with the position of its record. Those that follow a revision at or before
    /// `from` are of no use any more and may be missing.
    ///
    /// # Errors
    /// Whatever `revisions` fails with.
    ///
    /// # Panics
    /// If there is no revision.
    pub fn collect<E>(
        revisions: impl Iterator<Item = Result<(u64, Filter), E>>,
        from: u64,
    ) -> Result<Revisions, E> {
        let mut newest: Option<Revision> = None;
        let mut older: VecDeque<Revision> = VecDeque::new();
        let mut gap = None;
        for revision in revisions {
            let (after, filter) = revision?;
            let previous = older.back_mut().or(newest.as_mut());
            match previous {
                // The filter did not change between the two.
                Some(previous) if *previous.filter == filter => previous.after = after,
                None => {
                    newest = Some(Revision {
                        after,
                        filter: Arc::new(filter),
                    });
                }
                Some(_) => {
                    older.push_back(Revision {
                        after,
                        filter: Arc::new(filter),
                    });
                    if older.len() > FILTERS_KEPT_MAX {
                        gap = older.pop_front().map(|left_out| left_out.after);
                    }
                }
            }
            if after <= from {
                break;
            }
        }
        older.make_contiguous().reverse();
        let newest = newest.expect("a setting has a revision");
        Ok(Revisions { older, gap, newest })
    }

    /// A revision with this filter was made by the record at `position`; everything up to `matched` is matched already.
    pub fn push(&mut self, position: u64, filter: &Filter, matched: u64) {
        if *self.newest.filter == *filter {
            return;
        }
        let newest = Revision {
            after: position,
            filter: Arc::new(filter.clone()),
        };
        let before = std::mem::replace(&mut self.newest, newest);
        if self.older.len() < FILTERS_KEPT_MAX && self.gap.is_none() {
            self.older.push_back(before);
        } else {
            self.gap.get_or_insert(before.after);
        }
        self.forget_through(matched);
    }

    /// The filter for the event at `position`, and the last position that it matches. None if it must be read from the journal first.
    pub fn filter_at(&self, position: u64) -> Option<(&Arc<Filter>, u64)> {
        if position > self.newest.after || (self.older.is_empty() && self.gap.is_none()) {
            return Some((&self.newest.filter, u64::MAX));
        }
        let after = self.older.partition_point(|one| one.after < position);
        let end = match self.older.get(after.max(1)) {
            Some(next) => next.after,
            None => self.gap.unwrap_or(self.newest.after),
        };
        let filter = &self.older.get(after.saturating_sub(1))?.filter;
        (position <= end).then_some((filter, end))
    }

    /// Position after which the newest filter is in force.
    pub fn newest_after(&self) -> u64 {
        self.newest.after
    }

    /// The newest filter.
    pub fn newest(&self) -> &Arc<Filter> {
        &self.newest.filter
    }

    /// Everything up to `position` is matched: forgets the filters of which no event is left.
    pub fn forget_through(&mut self, position: u64) {
        if position >= self.newest.after {
            self.older.clear();
            self.gap = None;
            return;
        }
        while self.older.get(1).is_some_and(|next| next.after <= position) {
            self.older.pop_front();
        }
    }

    /// From now on the newest filter matches everything.
    pub fn forget_older(&mut self) {
        self.older.clear();
        self.gap = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Pattern;

    fn filter(number: u64) -> Filter {
        Filter {
            patterns: vec![Pattern::new(&format!("app.f{number}")).expect("a pattern")],
            currency: None,
            owner: None,
        }
    }

    /// The number of the newest revision whose position is below, as a list of all of them has it.
    fn expected(positions: &[u64], position: u64) -> u64 {
        let below = positions.iter().filter(|one| **one < position).count();
        below.max(1) as u64 - 1
    }

    /// What matches each position from `from` on, as far as it is known.
    fn check(revisions: &Revisions, positions: &[u64], from: u64) -> u64 {
        let mut position = from;
        while let Some((found, end)) = revisions.filter_at(position) {
            assert_eq!(**found, filter(expected(positions, position)), "{position}");
            if end == u64::MAX {
                return u64::MAX;
            }
            assert_eq!(**found, filter(expected(positions, end)), "up to {end}");
            position = end + 1;
        }
        position
    }

    #[test]
    fn each_event_has_the_filter_of_the_newest_revision_before_it() {
        for count in [1, 2, 3, 60, 66, 200] {
            let positions: Vec<u64> = (1..=count).map(|at| at * 10).collect();
            for matched in [0, 5, 10, 15, 400, 5_000] {
                let mut live = Revisions::new(filter(0));
                for (number, position) in positions.iter().enumerate().skip(1) {
                    live.push(*position, &filter(number as u64), matched.min(*position));
                }
                let known = check(&live, &positions, matched + 1);
                let walked = positions.iter().enumerate().rev();
                let walked = walked.map(|(at, position)| Ok((*position, filter(at as u64))));
                let walked = Revisions::collect::<()>(walked, matched).expect("all are there");
                assert_eq!(check(&walked, &positions, matched + 1), known);
                let all = count as usize - 1 <= FILTERS_KEPT_MAX || matched >= 5_000;
                assert!(known == u64::MAX || !all, "{count} {matched} {known}");
                assert!(
                    known == u64::MAX || known > matched + 300,
                    "a good part is known"
                );
            }
        }
    }

    #[test]
    fn what_does_not_change_the_filter_takes_no_place() {
        let mut live = Revisions::new(filter(0));
        live.push(20, &filter(0), 0);
        assert_eq!(live, Revisions::new(filter(0)));
        let revisions = [(30, 1), (20, 0), (10, 0)].map(|(at, number)| Ok((at, filter(number))));
        let walked = Revisions::collect::<()>(revisions.into_iter(), 0).expect("they are there");
        assert_eq!(walked.older.len(), 1);
        assert_eq!(walked.filter_at(1), Some((&Arc::new(filter(0)), 30)));
    }
}
