//! What a subscription did in the last minute.

/// Nanoseconds in a second.
const SECOND: u64 = 1_000_000_000;
/// Seconds that are looked back on.
const SECONDS: usize = 60;

/// What happened in one second.
#[derive(Clone, Copy, Debug, Default)]
struct Second {
    number: u64,
    matched: u64,
    done: u64,
    handed_out: u64,
    waited: u64,
    worked: u64,
}

/// Counts per second of the last minute.
#[derive(Clone, Debug)]
pub(crate) struct Meter(Box<[Second; SECONDS]>);

/// Rates and averages over the last minute.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rates {
    /// Events that matched, in the minute.
    pub matched: u64,
    /// Events that were acknowledged, in the minute.
    pub done: u64,
    /// From the event to its first hand-out, nanoseconds.
    pub wait_average: Option<u64>,
    /// From a hand-out to its acknowledgement, nanoseconds.
    pub processing_average: Option<u64>,
}

impl Default for Meter {
    fn default() -> Meter {
        Meter(Box::new([Second::default(); SECONDS]))
    }
}

impl Meter {
    fn at(&mut self, now: u64) -> &mut Second {
        let number = now / SECOND;
        let second = &mut self.0[(number % SECONDS as u64) as usize];
        if second.number != number {
            *second = Second {
                number,
                ..Second::default()
            };
        }
        second
    }

    pub(crate) fn matched(&mut self, now: u64, events: u64) {
        self.at(now).matched += events;
    }

    /// First hand-outs of events, which waited for `waited` nanoseconds in all.
    pub(crate) fn handed_out(&mut self, now: u64, events: u64, waited: u64) {
        let second = self.at(now);
        second.handed_out += events;
        second.waited = second.waited.saturating_add(waited);
    }

    /// Acknowledgements, `worked` nanoseconds after the hand-outs in all.
    pub(crate) fn done(&mut self, now: u64, events: u64, worked: u64) {
        let second = self.at(now);
        second.done += events;
        second.worked = second.worked.saturating_add(worked);
    }

    /// Over the minute before `now`.
    pub(crate) fn rates(&self, now: u64) -> Rates {
        let number = now / SECOND;
        let recent = |second: &&Second| second.number + SECONDS as u64 > number;
        let sum = |of: fn(&Second) -> u64| self.0.iter().filter(recent).map(of).sum::<u64>();
        let (done, handed_out) = (sum(|second| second.done), sum(|second| second.handed_out));
        Rates {
            matched: sum(|second| second.matched),
            done,
            wait_average: sum(|second| second.waited).checked_div(handed_out),
            processing_average: sum(|second| second.worked).checked_div(done),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_is_looked_back_on_and_no_more() {
        let mut meter = Meter::default();
        assert_eq!(meter.rates(5 * SECOND), Rates::default());
        for second in 100..200 {
            meter.matched(second * SECOND, 2);
        }
        meter.handed_out(199 * SECOND, 2, 10 * SECOND);
        meter.done(199 * SECOND, 4, 2 * SECOND);
        let rates = meter.rates(199 * SECOND);
        assert_eq!((rates.matched, rates.done), (120, 4));
        assert_eq!(rates.wait_average, Some(5 * SECOND));
        assert_eq!(rates.processing_average, Some(SECOND / 2));
        assert_eq!(meter.rates(300 * SECOND), Rates::default());
    }
}
