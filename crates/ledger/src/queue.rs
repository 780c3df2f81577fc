//! Terms of queued payments and the mode of the queue.

use std::num::NonZeroU64;

/// Priority of a queued payment, 0 to 9; 9 is the most urgent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Priority(u8);

impl Priority {
    /// The most urgent priority.
    pub const MAX: Priority = Priority(9);

    /// Returns the priority, or `None` if the number is more than 9.
    pub fn new(number: u8) -> Option<Self> {
        (number <= Self::MAX.0).then_some(Priority(number))
    }

    /// Returns the number, 0 to 9.
    pub fn number(self) -> u8 {
        self.0
    }
}

impl Default for Priority {
    /// Returns the medium priority, 4.
    fn default() -> Self {
        Priority(4)
    }
}

/// Whether queued payments run, and whether new ones are accepted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum QueueMode {
    /// Payments are accepted and run.
    #[default]
    Active = 1,
    /// Payments are accepted but do not run. Expired payments still fail.
    Paused = 2,
    /// Queued payments run, and no new payments are accepted.
    Draining = 3,
}

impl QueueMode {
    /// Every mode, by number.
    pub const ALL: [QueueMode; 3] = [Self::Active, Self::Paused, Self::Draining];

    /// Returns the value with this stored number, if there is one.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| *mode as u8 == number)
    }

    /// Returns the name in APIs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Paused => "paused",
            Self::Draining => "draining",
        }
    }
}

/// State of the queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueState {
    /// Mode.
    pub mode: QueueMode,
    /// Position of the record that set the mode; 0 = never set.
    pub changed_at: u64,
}

/// Receiver of the result of a queued payment: a number that the ledger does not interpret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReplyTo(pub NonZeroU64);

impl ReplyTo {
    /// Returns the receiver, or `None` if the number is 0.
    pub fn new(number: u64) -> Option<Self> {
        NonZeroU64::new(number).map(ReplyTo)
    }

    /// Returns the stored number; 0 = none.
    pub(crate) fn raw(reply_to: Option<Self>) -> u64 {
        reply_to.map_or(0, |reply_to| reply_to.0.get())
    }
}

/// When a queued payment runs, its priority, and the receiver of the result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueTerms {
    /// Priority.
    pub priority: Priority,
    /// Earliest time to run, nanoseconds since the Unix epoch; 0 = at once.
    pub not_before: u64,
    /// Time from which the payment fails instead, nanoseconds since the Unix epoch; 0 = never.
    pub expires_at: u64,
    /// Receiver of the result. The record that takes the payment out of the queue names the receiver.
    pub reply_to: Option<ReplyTo>,
}

impl QueueTerms {
    /// Returns whether the payment can be decided at this time: it can run, or it has expired.
    pub fn is_due(&self, now: u64) -> bool {
        self.not_before <= now || self.is_over(now)
    }

    /// Returns whether the payment has expired.
    pub fn is_over(&self, now: u64) -> bool {
        self.expires_at > 0 && self.expires_at <= now
    }

    /// Returns whether there is no time at which the payment can run.
    pub(crate) fn is_hopeless(&self, now: u64) -> bool {
        self.expires_at > 0 && self.expires_at <= now.max(self.not_before)
    }
}
