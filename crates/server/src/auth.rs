//! Extracts the caller from a request, and limits the rate of each API key.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use tributary_api::caller::{self, Caller, api_key_missing};
use tributary_api::code::ErrorCode;
use tributary_api::error::ApiError;

use crate::app::{App, Shared};
use crate::request_head::require_single_headers;
use crate::request_notes::note_caller;
use crate::response::ErrorResponse;

/// A caller who may read.
pub(crate) struct Reading(pub(crate) Caller);
/// A caller who may write.
pub(crate) struct Writing(pub(crate) Caller);
/// A platform key that may read.
pub(crate) struct PlatformReading(pub(crate) Caller);
/// A platform key that may write.
pub(crate) struct PlatformWriting(pub(crate) Caller);

impl FromRequestParts<App> for Reading {
    type Rejection = ErrorResponse;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Reading, ErrorResponse> {
        Ok(Reading(caller(&parts.headers, &app.shared)?))
    }
}

impl FromRequestParts<App> for Writing {
    type Rejection = ErrorResponse;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Writing, ErrorResponse> {
        Ok(Writing(writer(&parts.headers, &app.shared)?))
    }
}

impl FromRequestParts<App> for PlatformReading {
    type Rejection = ErrorResponse;

    async fn from_request_parts(
        parts: &mut Parts,
        app: &App,
    ) -> Result<PlatformReading, ErrorResponse> {
        let caller = caller(&parts.headers, &app.shared)?;
        Ok(PlatformReading(caller.must_be_platform()?))
    }
}

impl FromRequestParts<App> for PlatformWriting {
    type Rejection = ErrorResponse;

    async fn from_request_parts(
        parts: &mut Parts,
        app: &App,
    ) -> Result<PlatformWriting, ErrorResponse> {
        let caller = caller(&parts.headers, &app.shared)?;
        let allowed = caller.must_be_platform().and_then(Caller::may_write);
        allowed.inspect_err(|error| app.shared.intake.count_refusal(&caller, error))?;
        Ok(PlatformWriting(caller))
    }
}

/// The holder of the key in the request, unless it is blocked or sends faster than it may.
pub(crate) fn caller(headers: &HeaderMap, shared: &Shared) -> Result<Caller, ApiError> {
    let caller = authenticate(headers, shared)?;
    if let Some(guard) = &shared.guard {
        guard.check_key(&caller)?;
    }
    let taken = shared.rate.take(caller.actor.api_key.0);
    taken.map_err(|wait| {
        ApiError::new(
            ErrorCode::RateLimited,
            "This API key sends requests faster than it may.",
        )
        .retry_after(wait)
    })?;
    Ok(caller)
}

/// The holder of the key in the request, who may write.
pub(crate) fn writer(headers: &HeaderMap, shared: &Shared) -> Result<Caller, ApiError> {
    let caller = caller(headers, shared)?;
    caller
        .may_write()
        .inspect_err(|error| shared.intake.count_refusal(&caller, error))
}

/// Returns the error of a request that is refused before its API key is looked at: that the key is blocked, or else `error`. Notes whose
/// key it is, so that the request counts for the key.
pub(crate) fn error_of_sender(headers: &HeaderMap, shared: &Shared, error: ApiError) -> ApiError {
    let Ok(caller) = authenticate(headers, shared) else {
        return error;
    };
    let blocked = shared.guard.as_ref().map(|guard| guard.check_key(&caller));
    blocked.and_then(Result::err).unwrap_or(error)
}

/// Whether the key that stood in a request is one still. What lasts asks again at times.
pub(crate) fn still_valid(headers: &HeaderMap, shared: &Shared) -> bool {
    authenticate(headers, shared).is_ok()
}

/// Returns the caller, without counting the request against the key's rate.
pub(crate) fn authenticate(headers: &HeaderMap, shared: &Shared) -> Result<Caller, ApiError> {
    // Over gRPC nobody has looked at the headers before.
    require_single_headers(headers)?;
    let authorization = headers
        .get(header::AUTHORIZATION)
        .ok_or_else(api_key_missing)?;
    let internal = shared.config.internal.as_ref();
    let now = || shared.engine.now();
    let authorization = authorization.to_str().ok();
    let caller = caller::authenticate(&shared.reader, internal, authorization, now)?;
    note_caller(caller);
    Ok(caller)
}
