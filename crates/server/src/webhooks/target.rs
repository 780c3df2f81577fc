//! The endpoints of subscriptions, as callers make, see and change them.

use std::sync::Arc;

use tributary_messaging::{DeliveryIds, Kind, SubscriptionId};

use super::address::EndpointUrl;
use super::endpoint::{Endpoint, stored_url};
use super::seal::MasterKey;
use super::signature::{SigningSecret, SigningSecrets};
use crate::app::Shared;
use crate::code::ErrorCode;
use crate::error::ApiError;

/// The target of a new subscription: `url` as the rules allow it, and `secret`, or a new one.
pub(crate) fn target(
    shared: &Shared,
    id: SubscriptionId,
    url: &str,
    secret: Option<&str>,
) -> Result<Vec<u8>, ApiError> {
    let secret = secret.map_or_else(|| Ok(SigningSecret::random()), parse)?;
    let endpoint = Endpoint {
        id: shared.reader.ids().encode_subscription(id),
        url: allowed(shared, url)?,
        secrets: SigningSecrets::new(secret),
    };
    Ok(endpoint.to_bytes(&*key(shared)?))
}

/// Where the events of such a kind go.
pub(crate) fn url(kind: &Kind) -> Option<String> {
    match kind {
        Kind::Pull => None,
        Kind::Push { target } => stored_url(target),
    }
}

/// The newest secret of a target: for whoever has just made it.
pub(crate) fn secret(
    shared: &Shared,
    id: SubscriptionId,
    kind: &Kind,
) -> Result<Option<String>, ApiError> {
    let Kind::Push { target } = kind else {
        return Ok(None);
    };
    let endpoint = endpoint(shared, id, target)?;
    Ok(Some(endpoint.secrets.newest().reveal()))
}

/// Sends events elsewhere from now on, with the same secrets.
pub(crate) fn moved(
    shared: &Shared,
    id: SubscriptionId,
    kind: &Kind,
    url: &str,
) -> Result<Kind, ApiError> {
    changed(shared, id, kind, |endpoint| {
        endpoint.url = allowed(shared, url)?;
        Ok(())
    })
}

/// Signs with `secret`, or a new one, from now on, and with the one before for so many seconds more.
pub(crate) fn rotated(
    shared: &Shared,
    id: SubscriptionId,
    kind: &Kind,
    secret: Option<&str>,
    overlap_seconds: u64,
    now: u64,
) -> Result<Kind, ApiError> {
    let secret = secret.map_or_else(|| Ok(SigningSecret::random()), parse)?;
    changed(shared, id, kind, |endpoint| {
        let rotated = endpoint.secrets.rotate(secret, now, overlap_seconds);
        rotated.map_err(|error| ApiError::invalid("overlap_seconds", format!("{error}.")))
    })
}

fn changed(
    shared: &Shared,
    id: SubscriptionId,
    kind: &Kind,
    change: impl FnOnce(&mut Endpoint) -> Result<(), ApiError>,
) -> Result<Kind, ApiError> {
    let Kind::Push { target } = kind else {
        let message = "This subscription has no URL: its events are fetched.";
        return Err(ApiError::invalid("id", message));
    };
    let mut endpoint = endpoint(shared, id, target)?;
    change(&mut endpoint)?;
    let target = endpoint.to_bytes(&*key(shared)?);
    Ok(Kind::Push { target })
}

fn endpoint(shared: &Shared, id: SubscriptionId, target: &[u8]) -> Result<Endpoint, ApiError> {
    let name = shared.reader.ids().encode_subscription(id);
    Endpoint::from_bytes(&name, target, &*key(shared)?).map_err(|error| {
        tracing::error!(subscription = name, %error, "an endpoint can't be read");
        unavailable(
            "The secret of this webhook can't be read. The operator must look at the master key.",
        )
    })
}

fn parse(secret: &str) -> Result<SigningSecret, ApiError> {
    SigningSecret::parse(secret).map_err(|error| ApiError::invalid("secret", format!("{error}.")))
}

fn allowed(shared: &Shared, url: &str) -> Result<EndpointUrl, ApiError> {
    let Some(config) = &shared.config.webhooks else {
        return Err(unavailable("This server sends no webhooks."));
    };
    let parsed = EndpointUrl::parse(url);
    let checked = parsed.and_then(|url| config.settings.rules.check(&url).map(|()| url));
    checked.map_err(|error| ApiError::invalid("url", format!("{error}.")))
}

fn key(shared: &Shared) -> Result<Arc<MasterKey>, ApiError> {
    let (Some(keys), Some(messaging)) = (&shared.keys, shared.messaging.as_ref()) else {
        return Err(unavailable("This server sends no webhooks."));
    };
    let nothing_sealed = || messaging.pushed().is_empty();
    keys.key(nothing_sealed).map_err(|error| {
        tracing::error!(%error, "the master key can't be used");
        unavailable(
            "Webhooks need the master key, which can't be used. The operator must look at it.",
        )
    })
}

fn unavailable(message: &'static str) -> ApiError {
    ApiError::new(ErrorCode::MessagingUnavailable, message)
}
