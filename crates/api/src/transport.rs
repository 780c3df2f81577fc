//! How events of the push kind of subscriptions travel: implemented by the crate that sends them, such as webhooks.

use tributary_messaging::{Policy, SubscriptionId};

use crate::code::ErrorCode;
use crate::error::ApiError;

/// The transport part of subscriptions whose events are sent. A *target* is what a subscription stores of the transport: where
/// events go and, sealed, what signs them. Only the transport reads a target.
pub trait PushTransport: Send + Sync {
    /// Checks `url` and `secret` and makes the target of a new subscription. Without a secret, makes one.
    fn create_target(
        &self,
        id: SubscriptionId,
        url: &str,
        secret: Option<&str>,
    ) -> Result<Vec<u8>, ApiError>;

    /// Returns the URL of a target; none if the target can't be read.
    fn target_url(&self, target: &[u8]) -> Option<String>;

    /// Returns the newest secret of a target: for the caller who has just made it.
    fn newest_secret(&self, id: SubscriptionId, target: &[u8]) -> Result<String, ApiError>;

    /// Returns the target with another URL and the same secrets.
    fn change_url(&self, id: SubscriptionId, target: &[u8], url: &str)
    -> Result<Vec<u8>, ApiError>;

    /// Returns the target with another newest secret; the one before signs too for `overlap_seconds` more. Without a secret,
    /// makes one. `now` is ledger time, nanoseconds since 1970.
    fn rotate_secret(
        &self,
        id: SubscriptionId,
        target: &[u8],
        secret: Option<&str>,
        overlap_seconds: u64,
        now: u64,
    ) -> Result<Vec<u8>, ApiError>;

    /// Returns the MAC of a secret under a key that follows from the master key: stands for the secret in the digest of a request.
    fn mac_secret(&self, secret: &str) -> Result<[u8; 32], ApiError>;

    /// Returns the delivery policy of a new subscription that says nothing else.
    fn default_policy(&self) -> Policy;

    /// Maximum number of events of one subscription that are sent at once.
    fn concurrent_max(&self) -> u32;

    /// Whether secrets can be sealed and opened: the server has its master key.
    fn can_seal(&self) -> bool;

    /// Begins to send for a subscription that was just made. Failures are logged: the subscription exists in any case.
    fn begin(&self);
}

/// Error of a server that sends no webhooks.
pub fn no_transport() -> ApiError {
    ApiError::new(
        ErrorCode::MessagingUnavailable,
        "This server sends no webhooks.",
    )
}
