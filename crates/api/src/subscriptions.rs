//! Subscriptions as callers name, see and change them, and the errors of doing so.

use std::sync::Arc;
use std::time::Duration;

use tributary_engine::Reader;
use tributary_ledger::{OwnerId, OwnerName};
use tributary_messaging::{Kind, Messaging, Refusal, Subscription, SubscriptionId, Unsettled};

use crate::caller::Caller;
use crate::code::ErrorCode;
use crate::error::ApiError;
use crate::failures::read_error;
use crate::transport::{PushTransport, no_transport};

/// Returns what keeps subscriptions, or the error of a server that keeps none.
pub fn require_messaging(messaging: Option<&Arc<Messaging>>) -> Result<&Arc<Messaging>, ApiError> {
    messaging.ok_or_else(|| {
        ApiError::new(
            ErrorCode::MessagingUnavailable,
            "This server keeps no subscriptions.",
        )
    })
}

/// Error of a subscription that is not there, or not the caller's to see.
pub fn subscription_not_found() -> ApiError {
    ApiError::not_found("subscription", "id")
}

/// Returns the error for an operation that messaging refused.
pub fn refusal_error(refusal: Refusal) -> ApiError {
    match refusal {
        Refusal::NotFound => subscription_not_found(),
        Refusal::TooManyReplays => ApiError::new(
            ErrorCode::SubscriptionLimit,
            format!("There may be no more: {refusal}."),
        ),
        Refusal::Expired(_) => {
            ApiError::invalid("receipts", "The receipt is of an attempt that is over.")
        }
    }
}

/// Returns the error for a change of a subscription that did not become durable.
pub fn unsettled_error(unsettled: Unsettled) -> ApiError {
    match unsettled {
        Unsettled::Refused(refusal) => refusal_error(refusal),
        Unsettled::Unread(failure) => read_error(failure),
        Unsettled::NotDurable(why) => {
            tracing::error!(why, "a subscription could not be kept");
            ApiError::new(
                ErrorCode::MessagingUnavailable,
                "Subscriptions can't be kept now. Send the request again to learn what became of it.",
            )
            .retry_after(Duration::from_secs(1))
        }
    }
}

/// Returns the subscription, if the caller may see it. `id` is none if the caller's text is no id.
pub fn visible_subscription(
    messaging: &Messaging,
    caller: &Caller,
    id: Option<SubscriptionId>,
) -> Result<Subscription, ApiError> {
    let found = id.and_then(|id| messaging.get(id));
    found
        .filter(|found| caller.is_platform() || found.scope == caller.actor.owner)
        .ok_or_else(subscription_not_found)
}

/// Returns the owner that a filter names. An owner's key names its own owner only.
pub fn filter_owner(reader: &Reader, caller: &Caller, name: &str) -> Result<OwnerId, ApiError> {
    let absent = || ApiError::not_found("owner", "owner");
    let owner = match OwnerName::new(name).ok().filter(|_| name != "platform") {
        None if name == "platform" => Some(OwnerId::PLATFORM),
        None => None,
        Some(name) => reader.owner_by_name(&name),
    };
    owner
        .filter(|owner| caller.is_platform() || *owner == caller.actor.owner)
        .ok_or_else(absent)
}

/// Refuses to fetch events of a subscription whose events are sent.
pub fn must_be_pull(subscription: &Subscription, param: &str) -> Result<(), ApiError> {
    match subscription.terms.kind {
        Kind::Pull => Ok(()),
        Kind::Push { .. } | Kind::Sink { .. } => Err(ApiError::invalid(
            param,
            "Events of this subscription are sent, not fetched.",
        )),
    }
}

/// Returns the newest secret of a subscription whose events are sent: for the caller who has just made it.
pub fn newest_secret(
    transport: Option<&dyn PushTransport>,
    subscription: &Subscription,
) -> Result<Option<String>, ApiError> {
    let Kind::Push { target } = &subscription.terms.kind else {
        return Ok(None);
    };
    let transport = transport.ok_or_else(no_transport)?;
    transport.newest_secret(subscription.id, target).map(Some)
}

/// Changes the target of a subscription whose events are sent.
pub fn change_target(
    transport: Option<&dyn PushTransport>,
    subscription: &Subscription,
    change: impl FnOnce(&dyn PushTransport, &[u8]) -> Result<Vec<u8>, ApiError>,
) -> Result<Kind, ApiError> {
    let Kind::Push { target } = &subscription.terms.kind else {
        let message = "This subscription has no URL: its events are fetched.";
        return Err(ApiError::invalid("id", message));
    };
    let target = change(transport.ok_or_else(no_transport)?, target)?;
    Ok(Kind::Push { target })
}
