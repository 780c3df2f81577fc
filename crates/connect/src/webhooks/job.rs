//! The job of a sender: one webhook.

use std::sync::Arc;

use bytes::Bytes;

use super::endpoint::Endpoint;

/// One webhook to send once.
#[derive(Debug, Clone)]
pub struct Job {
    /// Endpoint of the webhook.
    pub endpoint: Arc<Endpoint>,
    /// The event's id: the same at every attempt. 1 to 128 printable ASCII characters, no full stop.
    pub event_id: String,
    /// 1 for the first attempt.
    pub attempt: u32,
    /// The event, JSON.
    pub body: Bytes,
}
