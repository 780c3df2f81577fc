//! Payments that are only accepted now: the `Prefer` header and the field `queue`.

use serde::Deserialize;
use tributary_engine::Ids;
use tributary_ledger::{Priority, Queue, QueueTerms, ReplyTo};
use tributary_messaging::{DeliveryIds, SubscriptionId};
use utoipa::ToSchema;

use crate::error::ApiError;
use crate::form::value::{CorrelationText, PriorityForm, SubscriptionText, TimeText};

/// How a payment is queued. A payment with this field is answered with 202 and decided when its turn has come; so is one that is
/// sent with `Prefer: respond-async`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = QueueTerms)]
pub struct QueueForm {
    /// How urgent: 9 the most; 4 if left out. Payers are ordered by it; the payments of one payer run in the order in which
    /// they were accepted. A level is worth ten seconds of waiting.
    priority: Option<PriorityForm>,
    /// Not to be decided before.
    not_before: Option<TimeText>,
    /// If it was not decided by then, it fails as `queue_expired`.
    expires_at: Option<TimeText>,
    /// The subscription that is told the result, whatever events it wants: one of the key's own owner, or one of the platform's
    /// whose `owner`, if it has one, is the key's.
    reply_to: Option<SubscriptionText>,
    /// Text that the result carries, so that the receiver can match it with the payment.
    correlation_id: Option<CorrelationText>,
}

impl QueueForm {
    /// Returns the ledger's terms of the queue.
    pub fn ledger(self, ids: &Ids) -> Result<Box<Queue>, ApiError> {
        let time = |time: Option<TimeText>| time.map_or(0, |time| time.0);
        let priority = self.priority.and_then(|form| Priority::new(form.0));
        let reply_to = self.reply_to.map(|text| {
            let found = ids.subscription_of(text.0).and_then(mailbox);
            found.ok_or_else(|| no_mailbox("queue.reply_to"))
        });
        Ok(Box::new(Queue {
            terms: QueueTerms {
                priority: priority.unwrap_or_default(),
                not_before: time(self.not_before),
                expires_at: time(self.expires_at),
                reply_to: reply_to.transpose()?,
            },
            correlation_id: self.correlation_id.map(|text| text.0),
        }))
    }
}

/// A subscription as queued payments name it.
pub fn mailbox(id: SubscriptionId) -> Option<ReplyTo> {
    ReplyTo::new(id.0)
}

/// Error of a mailbox that is not there, or that the caller may not name.
pub fn no_mailbox(param: &str) -> ApiError {
    ApiError::not_found("subscription", param)
}
