//! The rules of ledger time: a pure state machine from readings of two clocks to one time that never goes back.
//!
//! Ledger time advances by the boot-time clock, which counts every second once, and is steered towards the wall clock, which
//! knows the date but may be set to anything at any moment. So a wall clock that is wrong for a moment moves nothing.

/// A wall clock that is ahead by at most this much is followed at once, nanoseconds.
pub const FOLLOWED_AT_ONCE_NS: u64 = 60_000_000_000;
/// A wall clock that is ahead by more is followed after it has stayed there for so long, nanoseconds.
pub const FOLLOWED_AFTER_NS: u64 = 600_000_000_000;
/// Longest time between two readings that counts as observed, nanoseconds. A process that was stopped did not see whether the wall
/// clock stayed where it was.
pub const OBSERVED_GAP_NS_MAX: u64 = 10_000_000_000;
/// A step of the wall clock by less than this is not reported, nanoseconds.
pub const STEP_REPORTED_NS_MIN: u64 = 1_000_000_000;

/// Readings of the operating system's clocks at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockReading {
    /// Time since the machine started, nanoseconds. Never steps and never goes back while the machine runs.
    pub boot: u64,
    /// Wall clock, nanoseconds since the Unix epoch.
    pub wall: u64,
}

/// Relation of the wall clock to ledger time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockState {
    /// Ledger time is the wall clock.
    InStep,
    /// The wall clock is more than [`FOLLOWED_AT_ONCE_NS`] ahead and is not followed yet. Ledger time runs at its normal speed.
    WallAhead {
        /// Time for which the wall clock must stay there before it is followed, nanoseconds.
        followed_in: u64,
    },
    /// The wall clock is behind. Ledger time runs at half speed until the wall clock has caught up.
    WallBehind,
}

/// Something that a reading brought to light.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockEvent {
    /// The wall clock was set forwards (positive) or backwards, by so many nanoseconds.
    Stepped(i64),
    /// The wall clock is ahead by so many nanoseconds and is not followed yet.
    WallAhead(u64),
    /// The wall clock is behind by so many nanoseconds: ledger time runs at half speed.
    WallBehind(u64),
    /// Ledger time moved forwards to the wall clock, by so many nanoseconds.
    Followed(u64),
    /// The wall clock, which was ahead or behind, is in step again.
    InStep,
}

/// A wall clock that is ahead and is not followed yet.
#[derive(Clone, Copy, Debug)]
struct Ahead {
    /// Lead when the wall clock was first seen there, nanoseconds.
    lead: u64,
    /// Time for which the wall clock was seen to stay there, nanoseconds.
    stayed: u64,
}

/// Ledger time, as a function of the readings so far.
#[derive(Clone, Debug)]
pub struct LedgerClock {
    /// Ledger time without the offset, nanoseconds since the Unix epoch.
    time: u64,
    /// Time that was added to the clock of a sandbox, nanoseconds.
    offset: u64,
    last: ClockReading,
    /// Whether half a nanosecond is left over from running at half speed.
    half_left: bool,
    ahead: Option<Ahead>,
    /// Whether it is known outside that the wall clock is behind.
    behind: bool,
}

impl LedgerClock {
    /// Starts after a journal whose last record has the time `head`, 0 for none, in a directory whose clock was moved by `offset`
    /// in all. A wall clock at or after the head is believed: the process was down. If the wall clock is before the head, ledger
    /// time starts at the head.
    pub fn start(head: u64, offset: u64, reading: ClockReading) -> LedgerClock {
        let time = head.saturating_sub(offset).max(reading.wall);
        LedgerClock {
            time,
            offset,
            last: reading,
            half_left: false,
            ahead: None,
            behind: time - reading.wall >= STEP_REPORTED_NS_MIN,
        }
    }

    /// Returns ledger time as of the last reading, nanoseconds since the Unix epoch.
    pub fn now(&self) -> u64 {
        self.time.saturating_add(self.offset)
    }

    /// Returns the time that was added to the clock of a sandbox, nanoseconds.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Moves ledger time forwards to a larger offset. Has no effect if the offset is not larger.
    pub fn set_offset(&mut self, offset: u64) {
        self.offset = self.offset.max(offset);
    }

    /// Returns the relation of the wall clock to ledger time as of the last reading.
    pub fn state(&self) -> ClockState {
        match self.ahead {
            Some(ahead) => ClockState::WallAhead {
                followed_in: FOLLOWED_AFTER_NS.saturating_sub(ahead.stayed),
            },
            None if self.last.wall < self.time => ClockState::WallBehind,
            None => ClockState::InStep,
        }
    }

    /// Returns by how much the wall clock was ahead of ledger time (positive) or behind at the last reading, nanoseconds, without
    /// the offset.
    pub fn lead(&self) -> i64 {
        difference(self.last.wall, self.time)
    }

    /// Takes a reading. Ledger time is up to date afterwards. Calls `report` with everything that came to light.
    pub fn advance(&mut self, reading: ClockReading, report: &mut impl FnMut(ClockEvent)) {
        let elapsed = reading.boot.saturating_sub(self.last.boot);
        let step = difference(reading.wall, self.last.wall.saturating_add(elapsed));
        if step.unsigned_abs() >= STEP_REPORTED_NS_MIN {
            report(ClockEvent::Stepped(step));
        }
        self.last = ClockReading {
            boot: reading.boot.max(self.last.boot),
            wall: reading.wall,
        };
        let before = self.time;
        let steady = self.time.saturating_add(elapsed);
        if reading.wall < steady {
            self.lag(reading.wall, elapsed, report);
        } else {
            self.lead_or_follow(reading.wall, steady, elapsed, report);
        }
        assert!(self.time >= before, "ledger time never goes back");
    }

    /// Moves ledger time on while the wall clock is behind: at half speed, until they meet.
    fn lag(&mut self, wall: u64, elapsed: u64, report: &mut impl FnMut(ClockEvent)) {
        self.ahead = None;
        let half = elapsed / 2 + u64::from(elapsed % 2 == 1 && self.half_left);
        self.half_left ^= elapsed % 2 == 1;
        let slow = self.time.saturating_add(half);
        self.time = slow.max(wall);
        let lag = self.time - wall;
        if lag == 0 {
            self.in_step(report);
        } else if lag >= STEP_REPORTED_NS_MIN && !self.behind {
            self.behind = true;
            report(ClockEvent::WallBehind(lag));
        }
    }

    /// Moves ledger time on while the wall clock is not behind: to the wall clock, unless that is too far ahead to be believed.
    fn lead_or_follow(
        &mut self,
        wall: u64,
        steady: u64,
        elapsed: u64,
        report: &mut impl FnMut(ClockEvent),
    ) {
        let lead = wall - steady;
        if lead <= FOLLOWED_AT_ONCE_NS {
            return self.follow(wall, lead, report);
        }
        self.time = steady;
        self.behind = false;
        match &mut self.ahead {
            Some(ahead) if lead.abs_diff(ahead.lead) <= FOLLOWED_AT_ONCE_NS => {
                ahead.stayed += elapsed.min(OBSERVED_GAP_NS_MAX);
                if ahead.stayed >= FOLLOWED_AFTER_NS {
                    self.follow(wall, lead, report);
                }
            }
            moved => {
                *moved = Some(Ahead { lead, stayed: 0 });
                report(ClockEvent::WallAhead(lead));
            }
        }
    }

    fn follow(&mut self, wall: u64, lead: u64, report: &mut impl FnMut(ClockEvent)) {
        self.time = wall;
        if lead >= STEP_REPORTED_NS_MIN {
            report(ClockEvent::Followed(lead));
        }
        self.in_step(report);
    }

    fn in_step(&mut self, report: &mut impl FnMut(ClockEvent)) {
        let reported = self.ahead.take().is_some() | std::mem::take(&mut self.behind);
        self.half_left = false;
        if reported {
            report(ClockEvent::InStep);
        }
    }

    /// Moves ledger time to the wall clock now, if that is ahead: an operator says that the wall clock is right.
    pub fn confirm(&mut self, reading: ClockReading, report: &mut impl FnMut(ClockEvent)) {
        self.advance(reading, report);
        if reading.wall > self.time {
            let lead = reading.wall - self.time;
            self.follow(reading.wall, lead, report);
        }
    }
}

/// Returns `a - b`, as far as the type reaches.
fn difference(a: u64, b: u64) -> i64 {
    let size = i64::try_from(a.abs_diff(b)).unwrap_or(i64::MAX);
    if a < b { -size } else { size }
}
