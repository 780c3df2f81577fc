//! What is counted of one API key or one address: its signals of a minute, and its block.

use crate::guard::declines::{AMOUNTS_MAX, Declined, Declines};
use crate::guard::signal::{Counts, SIGNALS, Signal};

/// Time over which signals are counted, and within which a subject is told of once, nanoseconds.
pub(super) const MINUTE: u64 = 60_000_000_000;
/// Longest block but a longer first one, and time after which earlier blocks are forgotten, nanoseconds.
const HOUR: u64 = 3_600_000_000_000;

/// What is too much, and what follows.
#[derive(Clone, Debug)]
pub(super) struct Terms {
    /// Maximum number of signals of each kind in a minute.
    pub(super) maxima: Counts,
    /// Time of the first block, nanoseconds; none if there are no blocks.
    pub(super) block: Option<u64>,
}

/// A block. Times are running time, nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Block {
    pub(crate) since: u64,
    pub(crate) until: u64,
    /// The signal of which there were too many.
    pub(crate) reason: Signal,
    /// Signals in the minute before the block.
    pub(crate) counts: Counts,
}

/// What is to be told: there were too many signals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// The signal of which there were too many.
    pub(crate) reason: Signal,
    /// Signals in the minute.
    pub(crate) counts: Counts,
    /// End of the block, running time in nanoseconds; none if there is no block.
    pub(crate) until: Option<u64>,
}

/// Counts of one API key or address. Times are running time, nanoseconds.
#[derive(Debug)]
pub(super) struct Entry {
    /// Beginning of the minute that is counted.
    since: u64,
    /// Time of the last signal, or the end of the block if that is later.
    last: u64,
    counts: Counts,
    /// Until when nothing is told, because something was.
    quiet_until: u64,
    block: Option<Block>,
    /// Number of blocks that count for the length of the next one.
    blocks: u32,
    /// Only of an API key whose payments were declined.
    declines: Option<Box<Declines>>,
}

impl Entry {
    pub(super) fn new(now: u64) -> Entry {
        Entry {
            since: now,
            last: now,
            counts: [0; SIGNALS],
            quiet_until: 0,
            block: None,
            blocks: 0,
            declines: None,
        }
    }

    /// The block that is in force.
    pub(super) fn block(&self, now: u64) -> Option<Block> {
        self.block.filter(|block| now < block.until)
    }

    /// Order in which entries give way, the first one first.
    pub(super) fn rank(&self, now: u64) -> (bool, u64) {
        (self.block(now).is_some(), self.last)
    }

    /// Whether nothing of it counts any more.
    pub(super) fn is_over(&self, now: u64) -> bool {
        let kept = match (self.blocks, &self.declines) {
            (0, None) => MINUTE,
            _ => HOUR,
        };
        now >= self.last.saturating_add(kept)
    }

    /// Adds signals. Returns what is to be told.
    pub(super) fn add(
        &mut self,
        now: u64,
        signal: Signal,
        number: u32,
        terms: &Terms,
    ) -> Option<Finding> {
        // Requests that were on their way when the block began.
        if self.block(now).is_some() {
            return None;
        }
        let ended = self.roll(now, terms);
        let count = &mut self.counts[signal as usize];
        *count = match signal {
            // A level, and no number of events.
            Signal::Probing => (*count).max(number),
            _ => count.saturating_add(number),
        };
        self.last = now;
        if *count <= terms.maxima[signal as usize] {
            return ended;
        }
        // Amounts are chosen by the payer: whoever pays for many must not be blocked for one of them.
        let blocks = terms.block.filter(|_| signal != Signal::Probing);
        let until = blocks.map(|first| self.begin_block(now, signal, first));
        if now < self.quiet_until {
            // Without a block, it is told with the whole minute.
            return ended;
        }
        Some(self.tell(now, signal, until))
    }

    /// Adds payments that were declined, and takes off those that were accepted. Returns what is to be told, and the number of signals of
    /// probing.
    pub(super) fn decide(
        &mut self,
        now: u64,
        accepted: u32,
        declined: &[Declined],
        terms: &Terms,
    ) -> (Option<Finding>, u32) {
        if self.block(now).is_some() {
            return (None, 0);
        }
        let known = self
            .declines
            .get_or_insert_with(|| Box::new(Declines::new()));
        let (mut most, mut probing) = (0, 0);
        // Of more than can be remembered, the last ones.
        for one in &declined[declined.len().saturating_sub(AMOUNTS_MAX)..] {
            let amounts = known.add(*one, now).unwrap_or(0);
            most = most.max(amounts);
            probing += u32::from(amounts > 1);
        }
        let number = u32::try_from(declined.len()).unwrap_or(u32::MAX);
        self.accept(accepted.saturating_sub(number));
        let more = number.saturating_sub(accepted);
        let mut told = self.add(now, Signal::Declined, more, terms);
        if most > 1 {
            let of_probing = self.add(now, Signal::Probing, most, terms);
            told = told.or(of_probing);
        }
        (told, probing)
    }

    /// Takes payments that were accepted off those that were declined.
    pub(super) fn accept(&mut self, accepted: u32) {
        let declined = &mut self.counts[Signal::Declined as usize];
        *declined = declined.saturating_sub(accepted);
    }

    /// Ends the block, and forgets what led to it.
    pub(super) fn lift(&mut self, now: u64) {
        self.block = None;
        self.blocks = 0;
        self.declines = None;
        self.begin_minute(now);
    }

    /// Ends a minute that is over. Returns what is to be told of it: something only where nothing is blocked.
    fn roll(&mut self, now: u64, terms: &Terms) -> Option<Finding> {
        if self.block.take().is_some() {
            self.begin_minute(now);
        }
        if now >= self.last.saturating_add(HOUR) {
            self.blocks = 0;
        }
        if now < self.since.saturating_add(MINUTE) {
            return None;
        }
        let is_beyond = |signal: &Signal| {
            let place = *signal as usize;
            self.counts[place] > terms.maxima[place]
        };
        let beyond = Signal::ALL.into_iter().find(is_beyond);
        let told = beyond.map(|reason| self.tell(now, reason, None));
        self.begin_minute(now);
        told
    }

    /// Blocks, and returns the end.
    fn begin_block(&mut self, now: u64, reason: Signal, first: u64) -> u64 {
        let doubled = first.saturating_mul(1 << self.blocks.min(16));
        let until = now.saturating_add(doubled.min(HOUR.max(first)));
        self.block = Some(Block {
            since: now,
            until,
            reason,
            counts: self.counts,
        });
        self.blocks += 1;
        self.last = until;
        self.declines = None;
        until
    }

    fn tell(&mut self, now: u64, reason: Signal, until: Option<u64>) -> Finding {
        let counts = self.counts;
        self.quiet_until = now.saturating_add(MINUTE);
        self.begin_minute(now);
        Finding {
            reason,
            counts,
            until,
        }
    }

    fn begin_minute(&mut self, now: u64) {
        self.since = now;
        self.counts = [0; SIGNALS];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn terms(block: Option<u64>) -> Terms {
        Terms {
            maxima: [3; SIGNALS],
            block,
        }
    }

    fn add(entry: &mut Entry, now: u64, number: u32, terms: &Terms) -> Option<Finding> {
        entry.add(now, Signal::Malformed, number, terms)
    }

    fn counts(number: u32) -> Counts {
        let mut counts = [0; SIGNALS];
        counts[Signal::Malformed as usize] = number;
        counts
    }

    fn declined(payer: u64, amounts: std::ops::Range<u64>) -> Vec<Declined> {
        amounts.map(|amount| Declined { payer, amount }).collect()
    }

    #[test]
    fn more_than_the_maximum_within_a_minute_blocks_and_not_over_two() {
        let terms = terms(Some(MINUTE));
        let mut entry = Entry::new(0);
        assert_eq!(add(&mut entry, 0, 3, &terms), None);
        assert_eq!(add(&mut entry, MINUTE, 3, &terms), None);
        let told = add(&mut entry, MINUTE + 1, 1, &terms).expect("the fourth in a minute");
        assert_eq!(told.until, Some(2 * MINUTE + 1));
        assert_eq!((told.reason, told.counts), (Signal::Malformed, counts(4)));
        let block = entry.block(2 * MINUTE).expect("it is blocked");
        assert_eq!((block.since, block.counts), (MINUTE + 1, counts(4)));
        assert_eq!(entry.block(2 * MINUTE + 1), None);
    }

    #[test]
    fn requests_that_were_on_their_way_do_not_prolong_a_block() {
        let terms = terms(Some(MINUTE));
        let mut entry = Entry::new(0);
        assert!(add(&mut entry, 0, 4, &terms).is_some());
        assert_eq!(add(&mut entry, 1, 1_000, &terms), None);
        assert_eq!(entry.block(MINUTE), None);
        assert_eq!(add(&mut entry, MINUTE, 3, &terms), None, "it begins anew");
    }

    #[test]
    fn each_block_within_an_hour_lasts_twice_as_long_up_to_an_hour() {
        let terms = terms(Some(MINUTE));
        let (mut entry, mut now, mut lengths) = (Entry::new(0), 0, Vec::new());
        for _ in 0..8 {
            let told = add(&mut entry, now, 4, &terms).expect("it is blocked");
            let until = told.until.expect("an end");
            lengths.push((until - now) / MINUTE);
            now = until;
        }
        assert_eq!(lengths, [1, 2, 4, 8, 16, 32, 60, 60]);
        let told = add(&mut entry, now + HOUR, 4, &terms).expect("it is blocked");
        assert_eq!(told.until, Some(now + HOUR + MINUTE), "it is forgotten");
    }

    #[test]
    fn what_is_not_blocked_is_told_of_once_a_minute_with_the_whole_minute() {
        let terms = terms(None);
        let (mut entry, mut told) = (Entry::new(0), Vec::new());
        for second in 0..=150 {
            told.extend(add(&mut entry, second * SECOND, 1, &terms).map(|told| (second, told)));
        }
        let told: Vec<_> = told
            .into_iter()
            .map(|(second, told)| (second, told.counts, told.until))
            .collect();
        // The first four at once; then those of the minute that is over.
        let expected = [
            (3, counts(4), None),
            (63, counts(59), None),
            (123, counts(60), None),
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn a_lifted_block_is_over_and_the_next_one_is_a_first_one() {
        let terms = terms(Some(MINUTE));
        let mut entry = Entry::new(0);
        assert!(add(&mut entry, 0, 4, &terms).is_some());
        entry.lift(1);
        assert_eq!(entry.block(1), None);
        assert_eq!(add(&mut entry, 2, 3, &terms), None);
        assert_eq!(
            add(&mut entry, 3, 1, &terms),
            None,
            "told within the minute"
        );
        let block = entry.block(4).expect("blocked all the same");
        assert_eq!(block.until - block.since, MINUTE);
    }

    #[test]
    fn accepted_payments_make_up_for_declined_ones() {
        let mut terms = terms(Some(MINUTE));
        terms.maxima[Signal::Probing as usize] = u32::MAX;
        let mut entry = Entry::new(0);
        for payer in 0..100 {
            // As many accepted ones in the same batch, or afterwards.
            let (told, _) = entry.decide(0, 2, &declined(payer, 0..2), &terms);
            assert_eq!(told, None);
            let (told, _) = entry.decide(0, 0, &declined(payer, 2..4), &terms);
            assert_eq!(told, None);
            entry.accept(2);
        }
        let (told, _) = entry.decide(0, 1, &declined(100, 0..5), &terms);
        let told = told.expect("four more declined than accepted");
        assert_eq!(told.reason, Signal::Declined);
    }

    #[test]
    fn many_amounts_declined_for_one_payer_are_probing_and_for_many_payers_are_not() {
        let mut terms = terms(Some(MINUTE));
        terms.maxima[Signal::Declined as usize] = u32::MAX;
        let mut entry = Entry::new(0);
        for payer in 0..20 {
            let two = declined(payer, 0..2);
            assert_eq!(entry.decide(0, 0, &two, &terms), (None, 1));
            assert_eq!(entry.decide(0, 0, &two, &terms), (None, 0), "a retry");
        }
        // Also over minutes in which others were counted.
        assert_eq!(
            entry.decide(3 * MINUTE, 0, &declined(7, 2..3), &terms),
            (None, 1)
        );
        let (told, probing) = entry.decide(5 * MINUTE, 0, &declined(7, 3..4), &terms);
        let told = told.expect("the fourth amount");
        assert_eq!((told.reason, probing), (Signal::Probing, 1));
        assert_eq!(told.counts[Signal::Probing as usize], 4);
    }

    #[test]
    fn a_huge_batch_of_declines_is_taken_in() {
        let terms = terms(Some(MINUTE));
        let mut entry = Entry::new(0);
        let (told, probing) = entry.decide(0, 0, &declined(1, 0..8_192), &terms);
        let told = told.expect("it is blocked");
        assert_eq!(told.counts[Signal::Declined as usize], 8_192);
        assert_eq!(probing, AMOUNTS_MAX as u32 - 1);
    }
}
