//! Clocks that tests set.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tributary_engine::{Clock, ClockReading, ClockSource, LedgerClock, lock};

use crate::random::Random;

/// Nanoseconds in a second.
const SECOND: u64 = 1_000_000_000;

/// A clock that stands still until a test moves it. Clones share the time.
#[derive(Clone, Debug)]
pub struct TestClock(Arc<AtomicU64>);

impl TestClock {
    /// Returns a clock that shows this time, nanoseconds since the Unix epoch.
    pub fn starting_at(nanos: u64) -> TestClock {
        TestClock(Arc::new(AtomicU64::new(nanos)))
    }

    /// Moves the time forward, nanoseconds.
    pub fn advance(&self, nanos: u64) {
        self.0.fetch_add(nanos, Ordering::SeqCst);
    }

    /// Sets the time, also backwards, nanoseconds since the Unix epoch.
    pub fn set(&self, nanos: u64) {
        self.0.store(nanos, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

/// The clocks of an operating system, which stand still until a test moves them. Clones share them.
#[derive(Clone, Debug)]
pub struct TestClocks(Arc<Mutex<ClockReading>>);

impl TestClocks {
    /// Returns clocks of a machine that started an hour before this wall clock, nanoseconds since the Unix epoch.
    pub fn starting_at(wall: u64) -> TestClocks {
        TestClocks(Arc::new(Mutex::new(ClockReading {
            boot: 3_600 * SECOND,
            wall,
        })))
    }

    /// Lets time pass, nanoseconds.
    pub fn advance(&self, nanos: u64) {
        let mut clocks = lock(&self.0);
        clocks.boot += nanos;
        clocks.wall += nanos;
    }

    /// Sets the wall clock by so many nanoseconds forwards, or backwards if negative.
    pub fn step_wall(&self, nanos: i64) {
        let mut clocks = lock(&self.0);
        clocks.wall = clocks.wall.saturating_add_signed(nanos);
    }

    /// Returns the wall clock, nanoseconds since the Unix epoch.
    pub fn wall(&self) -> u64 {
        self.read().wall
    }
}

impl ClockSource for TestClocks {
    fn read(&self) -> ClockReading {
        *lock(&self.0)
    }
}

/// Ledger time of a simulation in which the wall clock is set to anything at any moment.
#[derive(Debug)]
pub struct SteppingTime {
    clock: LedgerClock,
    reading: ClockReading,
    /// What the wall clock would show if nobody had set it.
    right: u64,
}

impl SteppingTime {
    /// Returns a time that begins at a right wall clock, nanoseconds since the Unix epoch.
    pub fn starting_at(nanos: u64) -> SteppingTime {
        let reading = ClockReading {
            boot: 0,
            wall: nanos,
        };
        SteppingTime {
            clock: LedgerClock::start(0, 0, reading),
            reading,
            right: nanos,
        }
    }

    /// Returns ledger time, nanoseconds since the Unix epoch.
    pub fn now(&self) -> u64 {
        self.clock.now()
    }

    /// Moves ledger time forwards to a larger offset, nanoseconds. Returns whether it moved.
    pub fn set_offset(&mut self, offset: u64) -> bool {
        let before = self.clock.offset();
        self.clock.set_offset(offset);
        self.clock.offset() > before
    }

    /// Starts again, as another process does, after a journal whose last record has the time `head` and whose clock was moved by
    /// `offset` nanoseconds in all.
    pub fn restart(&mut self, head: u64, offset: u64) {
        self.clock = LedgerClock::start(head, offset, self.reading);
        assert!(self.now() >= head, "ledger time never goes back");
    }

    /// Lets time pass, nanoseconds.
    pub fn advance(&mut self, nanos: u64) {
        self.reading.boot += nanos;
        self.reading.wall += nanos;
        self.right += nanos;
        self.read();
    }

    /// Lets time pass until ledger time is `time` or later.
    pub fn advance_to(&mut self, time: u64) {
        while self.now() < time {
            self.advance((time - self.now()).clamp(2, 9 * SECOND));
        }
    }

    /// Lets time pass, nanoseconds, and now and then sets the wall clock: wrong by hours, by seconds, or right again. Sometimes it
    /// stays there until it is followed.
    pub fn advance_randomly(&mut self, nanos: u64, random: &mut Random) {
        self.advance(nanos);
        let (right, error) = (self.right, random.below(4 * 3_600 * SECOND));
        match random.below(40) {
            0 => self.reading.wall = right + error,
            1 => self.reading.wall = right - error,
            2 => self.reading.wall = right + error / 300,
            3 => self.reading.wall = right - error / 300,
            4..=9 => self.reading.wall = right,
            10 => (0..70).for_each(|_| self.advance(9 * SECOND)),
            _ => {}
        }
        self.read();
    }

    fn read(&mut self) {
        let before = self.now();
        self.clock.advance(self.reading, &mut |_| ());
        assert!(self.now() >= before, "ledger time never goes back");
    }
}
