//! What time it is for the broker that leads the partition.
//!
//! Kafka can't be asked for its time. Each entry has the time at which the leader of the partition appended it. If this node knows two
//! moments between which that was, and they are close together, it knows the leader's time for a while.

use std::time::{Duration, Instant};

/// How far the two moments may be apart.
const WIDTH_MAX: Duration = Duration::from_millis(500);
/// How long what was learned is of use. Later, the clock of this machine may have drifted.
const AGE_MAX: Duration = Duration::from_secs(600);

/// The clock of a log, as far as it is known.
#[derive(Debug, Default)]
pub(super) struct LogClock {
    /// Time of an entry, nanoseconds since the Unix epoch, and when it was learned.
    learned: Option<(u64, Instant)>,
}

impl LogClock {
    /// Takes in the time of an entry that was appended between `since` and now. `milliseconds` since the Unix epoch; none if the entry
    /// has no time of the log.
    pub(super) fn learn(&mut self, milliseconds: Option<i64>, since: Instant) {
        let time = milliseconds.and_then(|time| u64::try_from(time).ok()?.checked_mul(1_000_000));
        let now = Instant::now();
        if let Some(time) = time
            && now.saturating_duration_since(since) <= WIDTH_MAX
        {
            self.learned = Some((time, now));
        }
    }

    /// Returns the time of the log now, nanoseconds since the Unix epoch.
    pub(super) fn now(&self) -> Option<u64> {
        let (time, learned) = self.learned?;
        let age = learned.elapsed();
        let nanoseconds = u64::try_from(age.as_nanos()).ok()?;
        (age <= AGE_MAX).then(|| time.saturating_add(nanoseconds))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_came_in_at_once_tells_the_time() {
        let now = Instant::now();
        let long_ago = now.checked_sub(WIDTH_MAX * 2).expect("it runs for longer");
        let mut clock = LogClock::default();
        assert_eq!(clock.now(), None);
        clock.learn(Some(5), long_ago);
        clock.learn(None, now);
        clock.learn(Some(-1), now);
        assert_eq!(clock.now(), None);
        clock.learn(Some(5), now);
        let told = clock.now().expect("it has learned the time");
        assert!(told >= 5_000_000, "{told}");
        clock.learned = clock.learned.map(|(time, _)| (time, long_ago));
        let told = clock.now().expect("it remembers");
        assert!(told >= 1_005_000_000, "{told}");
        let too_long_ago = now.checked_sub(AGE_MAX + WIDTH_MAX);
        if let Some(too_long_ago) = too_long_ago {
            clock.learned = Some((5, too_long_ago));
            assert_eq!(clock.now(), None);
        }
    }
}
