//! When a queued payment may run, whether the queue lets it, and who is told what became of it.

use std::num::NonZeroU64;

/// How urgent a queued payment is: 0 to 9, 9 the most urgent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Priority(u8);

impl Priority {
    /// The most urgent.
    pub const MAX: Priority = Priority(9);

    /// `None` if it is more than 9.
    pub fn new(number: u8) -> Option<Self> {
        (number <= Self::MAX.0).then_some(Priority(number))
    }

    /// 0 to 9.
    pub fn number(self) -> u8 {
        self.0
    }
}

impl Default for Priority {
    /// 4: neither urgent nor not.
    fn default() -> Self {
        Priority(4)
    }
}

/// Whether queued payments run, and whether new ones are accepted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum QueueMode {
    /// Both.
    #[default]
    Active = 1,
    /// New ones are accepted, and none runs; those that are too late fail all the same.
    Paused = 2,
    /// What waits runs, and no new ones are accepted.
    Draining = 3,
}

impl QueueMode {
    /// Every mode, by number.
    pub const ALL: [QueueMode; 3] = [Self::Active, Self::Paused, Self::Draining];

    /// The stored number.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| *mode as u8 == number)
    }

    /// As people and APIs write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Paused => "paused",
            Self::Draining => "draining",
        }
    }
}

/// How the queue stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueState {
    /// Whether it runs and accepts.
    pub mode: QueueMode,
    /// Position of the record that set the mode; 0 = it was never set.
    pub changed_at: u64,
}

/// Where the result of a queued payment is to be told: a number that means nothing here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReplyTo(pub NonZeroU64);

impl ReplyTo {
    /// `None` if the number is 0.
    pub fn new(number: u64) -> Option<Self> {
        NonZeroU64::new(number).map(ReplyTo)
    }

    /// As it is stored: 0 = none.
    pub(crate) fn raw(reply_to: Option<Self>) -> u64 {
        reply_to.map_or(0, |reply_to| reply_to.0.get())
    }
}

/// When a queued payment may run, how urgent it is, and who is told what became of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueTerms {
    /// How urgent it is.
    pub priority: Priority,
    /// It does not run before, nanoseconds since the Unix epoch; 0 = at once.
    pub not_before: u64,
    /// From then on it fails instead, nanoseconds since the Unix epoch; 0 = never.
    pub expires_at: u64,
    /// The record by which the payment leaves the queue names it.
    pub reply_to: Option<ReplyTo>,
}

impl QueueTerms {
    /// Whether something is to become of the payment at this time: it may run, or it is too late.
    pub fn is_due(&self, now: u64) -> bool {
        self.not_before <= now || self.is_over(now)
    }

    /// Whether it is too late to run.
    pub fn is_over(&self, now: u64) -> bool {
        self.expires_at > 0 && self.expires_at <= now
    }

    /// Whether there is no time at which it could run.
    pub(crate) fn is_hopeless(&self, now: u64) -> bool {
        self.expires_at > 0 && self.expires_at <= now.max(self.not_before)
    }
}
