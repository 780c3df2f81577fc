//! The port through which streams have dead letters delivered again.

use tributary_ledger::SettingId;
use tributary_messaging::{Messaging, SubscriptionId};

use crate::caller::Caller;
use crate::error::ApiError;
use crate::subscriptions::{unsettled_error, visible_subscription};

/// Dead letters, as streams put them back into delivery.
pub trait DeadLetters: Send + Sync {
    /// Has all dead letters of a subscription that the caller may see delivered again. Returns how many; blocks until that is durable.
    ///
    /// # Errors
    /// If there is no such subscription, or its state can't be kept.
    fn requeue(&self, caller: &Caller, subscription: SettingId) -> Result<u64, ApiError>;
}

impl DeadLetters for Messaging {
    fn requeue(&self, caller: &Caller, subscription: SettingId) -> Result<u64, ApiError> {
        let id = visible_subscription(self, caller, Some(SubscriptionId(subscription.0)))?.id;
        let done = Messaging::requeue(self, id, None, caller.actor).map_err(unsettled_error)?;
        Ok(done as u64)
    }
}
