//! Time as the engine knows it.
//!
//! *Ledger time* is the time of records and of everything that is due: holds, queued payments, waits between deliveries. *Running
//! time* is for time-outs inside the process. The wall clock itself is only for what others compare with their own clocks, such as
//! signatures.

mod ledger_clock;
mod steered;

pub use ledger_clock::{
    ClockEvent, ClockReading, ClockState, FOLLOWED_AFTER_NS, FOLLOWED_AT_ONCE_NS, LedgerClock,
    OBSERVED_GAP_NS_MAX, STEP_REPORTED_NS_MIN,
};
pub use steered::{ClockSource, SteeredClock, SystemClocks};

/// A clock.
pub trait Clock: Send + Sync {
    /// Returns the time, nanoseconds since the Unix epoch. A clock of an engine returns ledger time.
    fn now(&self) -> u64;

    /// Returns the running time, nanoseconds since a moment in the past, for time-outs inside the process: it never steps. A clock
    /// that itself never steps may return [`Clock::now`].
    fn running(&self) -> u64 {
        self.now()
    }

    /// Returns the wall clock, nanoseconds since the Unix epoch: only for what others compare with their own clocks.
    fn wall(&self) -> u64 {
        self.now()
    }

    /// Starts ledger time after a journal whose last record has the time `head`, 0 for none, and whose clock was moved by `offset`
    /// nanoseconds in all. The engine calls this once, before it takes commands.
    fn start(&self, _head: u64, _offset: u64) {}

    /// Moves ledger time forwards to a larger offset, nanoseconds.
    fn set_offset(&self, _offset: u64) {}

    /// Follows a wall clock that is ahead at once, because an operator says that it is right.
    fn confirm(&self) {}

    /// Returns the status for operators.
    fn status(&self) -> ClockStatus {
        let now = self.now();
        ClockStatus {
            ledger: now,
            wall: now,
            state: ClockState::InStep,
            lead: 0,
            offset: 0,
            steps: Steps::default(),
        }
    }
}

/// Steps since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Steps {
    /// Number of times that the wall clock was set forwards by [`STEP_REPORTED_NS_MIN`] or more.
    pub forwards: u64,
    /// Number of times that the wall clock was set backwards by [`STEP_REPORTED_NS_MIN`] or more.
    pub backwards: u64,
    /// Number of times that ledger time moved forwards to the wall clock by [`STEP_REPORTED_NS_MIN`] or more.
    pub followed: u64,
}

/// Status of a clock, for operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockStatus {
    /// Ledger time, nanoseconds since the Unix epoch.
    pub ledger: u64,
    /// Wall clock, nanoseconds since the Unix epoch.
    pub wall: u64,
    /// Relation of the wall clock to ledger time.
    pub state: ClockState,
    /// Lead of the wall clock over ledger time without the offset, nanoseconds; negative if the wall clock is behind.
    pub lead: i64,
    /// Time that was added to the clock of a sandbox, nanoseconds.
    pub offset: u64,
    /// Steps since the start.
    pub steps: Steps,
}

/// The wall clock of the operating system, which may be set to anything at any moment. Not for an engine that keeps money: see
/// [`SteeredClock`].
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> u64 {
        std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |since| {
                u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
            })
    }
}
