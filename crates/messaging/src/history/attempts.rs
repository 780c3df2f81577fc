//! Attempts of the history, and queries for them.

use std::collections::BTreeSet;

use crate::ended::AttemptEnd;
use crate::settings::SubscriptionId;

/// An ended attempt, or an operation on an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndedAttempt {
    /// Subscription.
    pub subscription: SubscriptionId,
    /// Position of the event.
    pub position: u64,
    /// Number of the attempt, from 1; 0 for an operation.
    pub attempt: u32,
    /// Time of the hand-out, nanoseconds since the Unix epoch.
    pub began: u64,
    /// Time of the end, nanoseconds since the Unix epoch.
    pub ended: u64,
    /// How the attempt ended.
    pub end: AttemptEnd,
    /// Note: the error of a refused attempt, the exchange of a webhook, the actor of an operation.
    pub note: Box<[u8]>,
    /// Place in the history.
    pub cursor: u64,
}

/// A query for ended attempts. Those that ended last come first.
pub struct AttemptQuery<'a> {
    /// Restricts the query to subscriptions for which this returns true.
    pub is_visible: &'a dyn Fn(SubscriptionId) -> bool,
    /// Restricts the query to this subscription: no others are read.
    pub subscription: Option<SubscriptionId>,
    /// Restricts the query to these events.
    pub events: Option<&'a BTreeSet<u64>>,
    /// Only those that were acknowledged, or only those that failed; both leave out operations on the subscription.
    pub acknowledged: Option<bool>,
    /// Restricts the query to attempts before this place.
    pub before: Option<u64>,
    /// Maximum number of attempts.
    pub limit: usize,
}

/// A page of attempts.
#[derive(Clone, Debug, Default)]
pub struct AttemptPage {
    /// Attempts, the one that ended last first.
    pub attempts: Vec<EndedAttempt>,
    /// Place before which the next page begins, if there may be more.
    pub next: Option<u64>,
}
