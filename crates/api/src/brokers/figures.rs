//! What a binding does, in numbers.

use tributary_engine::Rates;

/// What a binding is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It connects for the first time.
    Connecting,
    /// It takes in messages, or sends them.
    Running,
    /// It waits before it tries again.
    Waiting {
        /// Kind of the trouble at the broker; none if it is on this side.
        kind: Option<&'static str>,
        /// What happened, where, and what to do.
        why: String,
    },
    /// It does nothing until its setting, its binder or its API key changes.
    Stopped {
        /// Why.
        why: String,
    },
}

/// Figures of a binding since it was started with its present definition.
#[derive(Clone, Debug, PartialEq)]
pub struct BindingFigures {
    /// What it is doing.
    pub standing: Standing,
    /// Number of messages received.
    pub received: u64,
    /// Number of those that the broker says it had delivered before.
    pub redelivered: u64,
    /// Number of messages decided now, accepted or refused by the ledger.
    pub decided: u64,
    /// Number of replies or events that the broker confirmed.
    pub sent: u64,
    /// Number of messages that were decided before.
    pub repeated: u64,
    /// Number of messages that a rule of the map left out.
    pub left_out: u64,
    /// Number of dead letters.
    pub dead_letters: u64,
    /// Number of connections lost.
    pub reconnects: u64,
    /// Number of messages received and not acknowledged yet.
    pub in_hand: u64,
    /// When the oldest of these was received, nanoseconds since the Unix epoch of ledger time.
    pub oldest_in_hand: Option<u64>,
    /// Number of messages that wait at the broker, without those in hand; none where it does not tell.
    pub lag: Option<u64>,
    /// Rates and times of the last minute: done = acknowledged, processing = from the receipt of a message to its durable record.
    pub rates: Rates,
}

impl BindingFigures {
    /// Returns the figures of a binding that does nothing, and why.
    pub fn stopped(why: &str) -> BindingFigures {
        BindingFigures {
            standing: Standing::Stopped {
                why: why.to_owned(),
            },
            received: 0,
            redelivered: 0,
            decided: 0,
            sent: 0,
            repeated: 0,
            left_out: 0,
            dead_letters: 0,
            reconnects: 0,
            in_hand: 0,
            oldest_in_hand: None,
            lag: None,
            rates: Rates::default(),
        }
    }
}
