//! The clock of a running engine: ledger time from the clocks of the operating system, with its steps in the log.

use std::sync::{Mutex, MutexGuard};

use rustix::time::{ClockId, clock_gettime};
use tributary_journal::lock;

use super::{
    Clock, ClockEvent, ClockReading, ClockStatus, FOLLOWED_AFTER_NS, LedgerClock,
    STEP_REPORTED_NS_MIN, Steps, SystemClock,
};

/// Longest time between the readings of two clocks that counts as one moment, nanoseconds. More passes where the thread was
/// interrupted between them, which would look like a step.
const TOGETHER_NS_MAX: u64 = 1_000_000;
/// Maximum number of times that both clocks are read again.
const READ_AGAIN_MAX: u32 = 3;

/// Reads the two clocks that ledger time is made of.
pub trait ClockSource: Send + Sync {
    /// Returns the readings of this moment.
    fn read(&self) -> ClockReading;
}

/// The clocks of the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClocks;

impl ClockSource for SystemClocks {
    fn read(&self) -> ClockReading {
        let mut boot = boot_time();
        for _ in 0..READ_AGAIN_MAX {
            let wall = SystemClock.now();
            let after = boot_time();
            if after.saturating_sub(boot) <= TOGETHER_NS_MAX {
                return ClockReading { boot, wall };
            }
            boot = after;
        }
        let wall = SystemClock.now();
        ClockReading { boot, wall }
    }
}

/// Returns the time since the machine started, nanoseconds. Unlike the monotonic clock, it counts the time for which the machine
/// slept.
fn boot_time() -> u64 {
    let boot = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(boot.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(boot.tv_nsec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(nanos)
}

struct Steered {
    clock: LedgerClock,
    steps: Steps,
}

/// Ledger time, steered towards the wall clock.
pub struct SteeredClock<S = SystemClocks> {
    source: S,
    steered: Mutex<Steered>,
}

impl SteeredClock {
    /// Makes a clock of the operating system's clocks.
    pub fn system() -> SteeredClock {
        SteeredClock::new(SystemClocks)
    }
}

impl<S: ClockSource> SteeredClock<S> {
    /// Makes a clock of these clocks.
    pub fn new(source: S) -> SteeredClock<S> {
        let clock = LedgerClock::start(0, 0, source.read());
        SteeredClock {
            source,
            steered: Mutex::new(Steered {
                clock,
                steps: Steps::default(),
            }),
        }
    }

    /// Takes a reading. The readings are taken in the order of the calls, so that none seems to go back.
    fn advanced(&self) -> MutexGuard<'_, Steered> {
        let mut steered = lock(&self.steered);
        let Steered { clock, steps } = &mut *steered;
        clock.advance(self.source.read(), &mut |event| note(steps, event));
        steered
    }
}

impl<S: ClockSource> Clock for SteeredClock<S> {
    fn now(&self) -> u64 {
        self.advanced().clock.now()
    }

    fn running(&self) -> u64 {
        self.source.read().boot
    }

    fn wall(&self) -> u64 {
        self.source.read().wall
    }

    fn start(&self, head: u64, offset: u64) {
        let reading = self.source.read();
        let mut steered = lock(&self.steered);
        steered.clock = LedgerClock::start(head, offset, reading);
        let behind = steered.clock.lead().min(0).unsigned_abs();
        drop(steered);
        if behind >= STEP_REPORTED_NS_MIN {
            tracing::error!(
                behind_seconds = seconds(behind),
                "the wall clock is behind the last record of the journal: ledger time starts at the last record and runs at \
                 half speed until the wall clock has caught up. Check the time service of this machine"
            );
        }
    }

    fn set_offset(&self, offset: u64) {
        lock(&self.steered).clock.set_offset(offset);
    }

    fn confirm(&self) {
        let mut steered = lock(&self.steered);
        let Steered { clock, steps } = &mut *steered;
        clock.confirm(self.source.read(), &mut |event| note(steps, event));
    }

    fn status(&self) -> ClockStatus {
        let mut steered = lock(&self.steered);
        let Steered { clock, steps } = &mut *steered;
        let reading = self.source.read();
        clock.advance(reading, &mut |event| note(steps, event));
        ClockStatus {
            ledger: clock.now(),
            wall: reading.wall,
            state: clock.state(),
            lead: clock.lead(),
            offset: clock.offset(),
            steps: *steps,
        }
    }
}

fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}

/// Counts and logs an event.
fn note(steps: &mut Steps, event: ClockEvent) {
    match event {
        ClockEvent::Stepped(by) => {
            let counter = match by > 0 {
                true => &mut steps.forwards,
                false => &mut steps.backwards,
            };
            *counter += 1;
            tracing::warn!(by_seconds = by as f64 / 1e9, "the wall clock was set");
        }
        ClockEvent::WallAhead(lead) => tracing::error!(
            ahead_seconds = seconds(lead),
            followed_after_seconds = seconds(FOLLOWED_AFTER_NS),
            "the wall clock is far ahead of ledger time and is not followed yet. If it is right, confirm it with POST \
             /v1/clock/confirm; if not, correct it. Ledger time follows a wall clock that stays there"
        ),
        ClockEvent::WallBehind(lag) => tracing::error!(
            behind_seconds = seconds(lag),
            "the wall clock is behind ledger time, which runs at half speed until the wall clock has caught up. Check the \
             time service of this machine"
        ),
        ClockEvent::Followed(lead) => {
            steps.followed += 1;
            tracing::warn!(
                by_seconds = seconds(lead),
                "ledger time moved forwards to the wall clock"
            );
        }
        ClockEvent::InStep => tracing::info!("the wall clock and ledger time are in step again"),
    }
}
