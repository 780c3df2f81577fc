//! Who asks: `Authorization: Bearer tk_…`, and what that key may do.

use std::time::Instant;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use tributary_ledger::codec::Record;
use tributary_ledger::{Access, Account, Actor, ApiKeyId, ApiKeyStatus, Body, OwnerId};

use crate::app::{App, Shared};
use crate::code::ErrorCode;
use crate::error::ApiError;
use crate::token;

/// Whoever proved to hold a key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caller {
    pub(crate) actor: Actor,
    access: Access,
}

impl Caller {
    /// Whether the key is the platform's: it sees and does everything.
    pub(crate) fn is_platform(&self) -> bool {
        self.actor.owner == OwnerId::PLATFORM
    }

    /// The owner that lists are narrowed to; none for the platform.
    pub(crate) fn narrowed_to(&self) -> Option<OwnerId> {
        (!self.is_platform()).then_some(self.actor.owner)
    }

    /// Whether the account is this caller's to see.
    pub(crate) fn sees_account(&self, account: &Account) -> bool {
        self.is_platform() || account.owner == self.actor.owner
    }

    /// Whether the record is this caller's to see, as a subscription of it would: the caller's owner asked for it, or it is about
    /// a payment, an account or money of that owner.
    pub(crate) fn sees_record(&self, shared: &Shared, record: &Record) -> bool {
        let outcome = &record.outcome;
        let asked_payment = outcome
            .payment
            .as_ref()
            .filter(|_| matches!(record.command.body, Body::Pay(_)));
        let opened = outcome
            .account
            .as_ref()
            .filter(|_| matches!(record.command.body, Body::OpenAccount(_)));
        self.is_platform()
            || record.command.actor.owner == self.actor.owner
            || asked_payment.is_some_and(|payment| payment.owner == self.actor.owner)
            || opened.is_some_and(|account| account.owner == self.actor.owner)
            || outcome
                .setting
                .as_ref()
                .is_some_and(|setting| setting.owner == self.actor.owner)
            || outcome.legs.iter().any(|leg| {
                let account = shared.reader.account(leg.account);
                account.is_some_and(|account| account.owner == self.actor.owner)
            })
    }

    pub(crate) fn may_write(self) -> Result<Caller, ApiError> {
        match self.access {
            Access::Write => Ok(self),
            Access::Read => Err(ApiError::new(
                ErrorCode::ReadOnlyKey,
                "This API key may only read.",
            )),
        }
    }

    fn must_be_platform(self) -> Result<Caller, ApiError> {
        if self.is_platform() {
            return Ok(self);
        }
        Err(ApiError::new(
            ErrorCode::PlatformOnly,
            "Only a platform key may do this.",
        ))
    }
}

/// A caller who may read.
pub(crate) struct Reading(pub(crate) Caller);
/// A caller who may write.
pub(crate) struct Writing(pub(crate) Caller);
/// A platform key that may read.
pub(crate) struct PlatformReading;
/// A platform key that may write.
pub(crate) struct PlatformWriting(pub(crate) Caller);

impl FromRequestParts<App> for Reading {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Reading, ApiError> {
        caller(&parts.headers, &app.shared).map(Reading)
    }
}

impl FromRequestParts<App> for Writing {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Writing, ApiError> {
        caller(&parts.headers, &app.shared)?
            .may_write()
            .map(Writing)
    }
}

impl FromRequestParts<App> for PlatformReading {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<PlatformReading, ApiError> {
        caller(&parts.headers, &app.shared)?.must_be_platform()?;
        Ok(PlatformReading)
    }
}

impl FromRequestParts<App> for PlatformWriting {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<PlatformWriting, ApiError> {
        caller(&parts.headers, &app.shared)?
            .must_be_platform()?
            .may_write()
            .map(PlatformWriting)
    }
}

/// The holder of the key in the request, within the rate that the key may keep.
pub(crate) fn caller(headers: &HeaderMap, shared: &Shared) -> Result<Caller, ApiError> {
    let caller = authenticate(headers, shared)?;
    if let Some(rate) = &shared.rate {
        rate.take(caller.actor.api_key.0, Instant::now())
            .map_err(|wait| {
                ApiError::new(
                    ErrorCode::RateLimited,
                    "This API key sends requests faster than it may.",
                )
                .retry_after(wait)
            })?;
    }
    Ok(caller)
}

/// Whether the key that stood in a request is one still. What lasts asks again at times.
pub(crate) fn still_valid(headers: &HeaderMap, shared: &Shared) -> bool {
    authenticate(headers, shared).is_ok()
}

/// Who asks, without counting it as a request.
pub(crate) fn authenticate(headers: &HeaderMap, shared: &Shared) -> Result<Caller, ApiError> {
    let value = headers.get(header::AUTHORIZATION).ok_or_else(|| {
        ApiError::new(
            ErrorCode::ApiKeyMissing,
            "Send your API key as Authorization: Bearer tk_….",
        )
    })?;
    // Every wrong key gets the same answer.
    let wrong = || ApiError::new(ErrorCode::ApiKeyInvalid, "This is not a valid API key.");
    let (scheme, token) = value
        .to_str()
        .ok()
        .and_then(|text| text.split_once(' '))
        .ok_or_else(wrong)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(wrong());
    }
    let token = token.trim_matches(' ');
    let ids = shared.reader.ids();
    let (id, secret) = token::parse(ids, token).ok_or_else(wrong)?;
    if id == INTERNAL_KEY {
        let expected = shared.config.internal.as_ref().ok_or_else(wrong)?;
        if !secret.matches(&expected.hash()) {
            return Err(wrong());
        }
        return Ok(Caller {
            actor: Actor::SYSTEM,
            access: Access::Write,
        });
    }
    let key = shared.reader.api_key(id).ok_or_else(wrong)?;
    if !secret.matches(&key.secret_hash) || key.status != ApiKeyStatus::Active {
        return Err(wrong());
    }
    Ok(Caller {
        actor: Actor {
            owner: key.owner,
            api_key: key.id,
        },
        access: key.access,
    })
}

/// The number that stands in an internal token: no record ever has it.
pub(crate) const INTERNAL_KEY: ApiKeyId = ApiKeyId(u64::MAX);
