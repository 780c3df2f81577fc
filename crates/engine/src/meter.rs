//! Rates and averages of a queue over the last minute.

/// Nanoseconds in a second.
const SECOND: u64 = 1_000_000_000;
/// Number of seconds in the window.
const SECONDS: usize = 60;

/// Counts of one second.
#[derive(Clone, Copy, Debug, Default)]
struct Second {
    number: u64,
    arrived: u64,
    refused: u64,
    started: u64,
    waited: u64,
    done: u64,
    worked: u64,
    longest: u64,
}

/// Counts per second of the last minute.
#[derive(Clone, Debug)]
pub struct Meter {
    seconds: Box<[Second; SECONDS]>,
    /// Number of the first second with an event; 0 for none.
    first: u64,
}

/// Rates and averages over the last minute.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rates {
    /// Number of arrivals in the minute.
    pub arrived: u64,
    /// Number of arrivals refused in the minute because the queue was full.
    pub refused: u64,
    /// Number of completions in the minute.
    pub done: u64,
    /// Average time from the arrival to the first start of the work, nanoseconds.
    pub wait_average: Option<u64>,
    /// Average time from a start of the work to its end, nanoseconds.
    pub processing_average: Option<u64>,
    /// Longest time from a start of the work to its end, nanoseconds; none where it is not noted.
    pub processing_longest: Option<u64>,
    /// Length of the window in seconds: less than 60 at the beginning.
    pub seconds: u64,
}

impl Rates {
    /// Returns the arrivals per second.
    pub fn arrivals_per_second(&self) -> f64 {
        self.per_second(self.arrived)
    }

    /// Returns the arrivals per second, with those that were refused.
    pub fn offered_per_second(&self) -> f64 {
        self.per_second(self.arrived + self.refused)
    }

    /// Returns the completions per second.
    pub fn done_per_second(&self) -> f64 {
        self.per_second(self.done)
    }

    fn per_second(&self, in_the_minute: u64) -> f64 {
        in_the_minute as f64 / self.seconds.max(1) as f64
    }
}

impl Default for Meter {
    fn default() -> Meter {
        Meter {
            seconds: Box::new([Second::default(); SECONDS]),
            first: 0,
        }
    }
}

impl Meter {
    fn at(&mut self, now: u64) -> &mut Second {
        let number = now / SECOND;
        if self.first == 0 {
            self.first = number;
        }
        let second = &mut self.seconds[(number % SECONDS as u64) as usize];
        if second.number != number {
            *second = Second {
                number,
                ..Second::default()
            };
        }
        second
    }

    /// Counts arrivals.
    pub fn arrived(&mut self, now: u64, count: u64) {
        self.at(now).arrived += count;
    }

    /// Counts refused arrivals.
    pub fn refused(&mut self, now: u64, count: u64) {
        self.at(now).refused += count;
    }

    /// Counts first starts of work, after `waited` nanoseconds of waiting in all.
    pub fn started(&mut self, now: u64, count: u64, waited: u64) {
        let second = self.at(now);
        second.started += count;
        second.waited = second.waited.saturating_add(waited);
    }

    /// Counts completions, after `worked` nanoseconds of work in all.
    pub fn done(&mut self, now: u64, count: u64, worked: u64) {
        let second = self.at(now);
        second.done += count;
        second.worked = second.worked.saturating_add(worked);
    }

    /// Notes that one piece of work took `worked` nanoseconds, for the longest.
    pub fn took(&mut self, now: u64, worked: u64) {
        let second = self.at(now);
        second.longest = second.longest.max(worked);
    }

    /// Returns the rates of the minute before `now`.
    pub fn rates(&self, now: u64) -> Rates {
        let number = now / SECOND;
        let recent = |second: &&Second| second.number + SECONDS as u64 > number;
        let sum = |of: fn(&Second) -> u64| self.seconds.iter().filter(recent).map(of).sum::<u64>();
        let longest = self.seconds.iter().filter(recent);
        let longest = longest.map(|second| second.longest).max();
        let (done, started) = (sum(|second| second.done), sum(|second| second.started));
        Rates {
            arrived: sum(|second| second.arrived),
            refused: sum(|second| second.refused),
            done,
            wait_average: sum(|second| second.waited).checked_div(started),
            processing_average: sum(|second| second.worked).checked_div(done),
            processing_longest: longest.filter(|longest| *longest > 0),
            seconds: match self.first {
                0 => 0,
                first => (number + 1).saturating_sub(first).min(SECONDS as u64),
            },
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
            meter.arrived(second * SECOND, 2);
            if second == 120 {
                meter.took(second * SECOND, 9 * SECOND);
            }
        }
        assert_eq!(meter.rates(109 * SECOND).seconds, 10);
        meter.refused(199 * SECOND, 60);
        meter.started(199 * SECOND, 2, 10 * SECOND);
        meter.done(199 * SECOND, 4, 2 * SECOND);
        meter.took(198 * SECOND, SECOND);
        meter.took(198 * SECOND, SECOND / 4);
        let rates = meter.rates(199 * SECOND);
        assert_eq!((rates.arrived, rates.done), (120, 4));
        assert_eq!(rates.arrivals_per_second(), 2.0);
        assert_eq!(rates.offered_per_second(), 3.0);
        assert_eq!(rates.wait_average, Some(5 * SECOND));
        assert_eq!(rates.processing_average, Some(SECOND / 2));
        assert_eq!(rates.processing_longest, Some(SECOND));
        let idle = Rates {
            seconds: 60,
            ..Rates::default()
        };
        assert_eq!(meter.rates(300 * SECOND), idle);
    }
}
