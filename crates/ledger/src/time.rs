//! The time that was added to the clock of a sandbox.

/// Maximum time that can be added in all, nanoseconds: 100 years.
pub const TIME_OFFSET_NS_MAX: u64 = 100 * 365 * 86_400 * 1_000_000_000;

/// How to move the clock forwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdvanceTime {
    /// By a time, nanoseconds, not 0.
    By(u64),
    /// To a time after that of the record, nanoseconds since the Unix epoch.
    To(u64),
}

/// Time that was added to the clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TimeOffset {
    /// Time that was added in all, nanoseconds.
    pub nanos: u64,
    /// Position of the record that last moved the clock; 0 = none did.
    pub changed_at: u64,
}

impl AdvanceTime {
    /// Moves nothing: the record says only that it is as late as it is. The system alone appends it, where something waits for the time
    /// and nothing else is recorded.
    pub const BARRIER: AdvanceTime = AdvanceTime::By(0);

    /// Returns the time to add at the time `now` of the record; 0 if the clock would not move forwards.
    pub fn nanos(self, now: u64) -> u64 {
        match self {
            AdvanceTime::By(nanos) => nanos,
            AdvanceTime::To(time) => time.saturating_sub(now),
        }
    }

    /// Returns whether the clock can be moved like this at the time `now`, when `offset` nanoseconds were added before.
    pub(crate) fn is_possible(self, offset: u64, now: u64) -> bool {
        let nanos = self.nanos(now);
        nanos > 0 && nanos <= TIME_OFFSET_NS_MAX.saturating_sub(offset)
    }
}
