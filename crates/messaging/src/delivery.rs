//! An event on its way to a receiver: matched, handed out, and answered by its receipt.

/// An event that matches the filter of a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Matched {
    /// Position of the event.
    pub position: u64,
    /// Time of the event, nanoseconds since the Unix epoch.
    pub time: u64,
    /// Number of the object that the event is about, for the order; 0 for none.
    pub object: u64,
}

/// An event that is handed out to a receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Position of the event.
    pub position: u64,
    /// Name of this attempt.
    pub receipt: Receipt,
    /// Number of the attempt, from 1.
    pub attempt: u32,
}

/// Names one attempt to deliver one event. A later attempt has another receipt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Receipt {
    /// Position of the event.
    pub position: u64,
    /// Number of the hand-out, 56 bits. No number is used twice.
    pub generation: u64,
}

/// The receipt is of an attempt that is over: it timed out, was answered before, or the subscription was rewound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the receipt is of an attempt that is over")]
pub struct ReceiptExpired;
