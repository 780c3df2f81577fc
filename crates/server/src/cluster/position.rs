//! Positions: how far the view of a node is, in its answers, and how far a read asks it to be.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use tributary_api::caller::Caller;
use tributary_api::code::ErrorCode;
use tributary_api::error::ApiError;
use tributary_api::failures::submit_error;
use tributary_api::form::query::{CONSISTENCY, MIN_POSITION, single_value};
use tributary_engine::{Ids, Refused};
use tributary_ledger::OwnerId;

use crate::app::App;
use crate::auth::authenticate;
use crate::cluster::node::RETRY_AFTER;

/// Header of an answer with the position of the view that the answer was made from.
pub(crate) const POSITION: HeaderName = HeaderName::from_static("tributary-position");

/// What `min_position` is called in the metadata of gRPC.
const MIN_POSITION_METADATA: &str = "tributary-min-position";
/// What `consistency` is called in the metadata of gRPC.
const CONSISTENCY_METADATA: &str = "tributary-consistency";
/// The only value of `consistency`.
const STRICT: &str = "strict";

/// Returns the text of a position. The platform sees the number; other owners see a cursor, which does not tell them how much happens.
pub(crate) fn position_text(ids: &Ids, caller: &Caller, position: u64) -> HeaderValue {
    if caller.is_platform() {
        return HeaderValue::from(position);
    }
    let cursor = ids.encode_cursor(OwnerId::PLATFORM, position);
    HeaderValue::try_from(cursor).expect("a cursor is plain text")
}

/// Returns the position that a text of [`position_text`] names.
fn parse_position(ids: &Ids, takes_numbers: bool, text: &str) -> Option<u64> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    match is_number && takes_numbers {
        true => text.parse().ok(),
        false => ids.decode_cursor(OwnerId::PLATFORM, text),
    }
}

/// Returns the position in the headers of an answer of another node.
pub(super) fn position_of_answer(app: &App, headers: &HeaderMap) -> Option<u64> {
    let text = headers.get(POSITION)?.to_str().ok()?;
    parse_position(app.shared.reader.ids(), true, text)
}

/// Waits until the view has reached the position, at most until the deadline. Whether it has.
pub(super) async fn wait_for_view(app: &App, position: u64, deadline: Instant) -> bool {
    let Some(before) = position.checked_sub(1) else {
        return true;
    };
    let reached = app.shared.reader.published_after(before);
    let left = deadline.saturating_duration_since(Instant::now());
    app.timeouts.within(left, reached).await.is_some()
}

/// What a read asks of the view that it is answered from.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct ReadTerms {
    /// Text of the position that must be reached.
    min_position: Option<String>,
    /// Whether everything must be shown that was answered anywhere before the read.
    strict: bool,
}

impl ReadTerms {
    /// Reads the query of a URL.
    pub(super) fn from_query(query: Option<&str>) -> Result<ReadTerms, ApiError> {
        let Some(query) = query else {
            return Ok(ReadTerms::default());
        };
        ReadTerms::new(
            single_value(query, MIN_POSITION)?.map(Cow::into_owned),
            single_value(query, CONSISTENCY)?.as_deref(),
        )
    }

    /// Reads the metadata of a gRPC call.
    pub(super) fn from_metadata(headers: &HeaderMap) -> Result<ReadTerms, ApiError> {
        let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or(""));
        ReadTerms::new(
            text(MIN_POSITION_METADATA).map(str::to_owned),
            text(CONSISTENCY_METADATA),
        )
    }

    fn new(min_position: Option<String>, consistency: Option<&str>) -> Result<ReadTerms, ApiError> {
        let strict = match consistency {
            None => false,
            Some(STRICT) => true,
            Some(_) => {
                let message = "consistency must be strict, or left out.";
                return Err(ApiError::invalid(CONSISTENCY, message));
            }
        };
        Ok(ReadTerms {
            min_position,
            strict,
        })
    }

    /// Waits until the view is as the read asks, no longer than a request may. Without a valid API key there is nothing to wait for:
    /// the read is refused.
    pub(super) async fn wait(&self, app: &App, headers: &HeaderMap) -> Result<(), ApiError> {
        if *self == ReadTerms::default() {
            return Ok(());
        }
        let Ok(caller) = authenticate(headers, &app.shared) else {
            return Ok(());
        };
        let mut stopped = app.shared.stopped.clone();
        tokio::select! {
            done = self.reach(app, &caller) => done,
            _told_or_gone = stopped.wait_for(|stopped| *stopped) => Err(submit_error(Refused::Stopping)),
        }
    }

    async fn reach(&self, app: &App, caller: &Caller) -> Result<(), ApiError> {
        let shared = &app.shared;
        let position = match &self.min_position {
            None => 0,
            Some(text) => parse_position(shared.reader.ids(), caller.is_platform(), text)
                .ok_or_else(|| {
                    let message =
                        "min_position must be the Tributary-Position of an earlier answer.";
                    ApiError::invalid(MIN_POSITION, message)
                })?,
        };
        let deadline = Instant::now() + shared.config.limits.request_timeout;
        let confirmed = self.confirm(app, deadline).await?;
        match wait_for_view(app, position.max(confirmed), deadline).await {
            true => Ok(()),
            false => Err(not_reached(app, caller)),
        }
    }

    /// Returns the position that a strict read must see; 0 for others. A server that is alone always has everything.
    async fn confirm(&self, app: &App, deadline: Instant) -> Result<u64, ApiError> {
        let Some(node) = app.shared.cluster.as_ref().filter(|_| self.strict) else {
            return Ok(0);
        };
        let left: Duration = deadline.saturating_duration_since(Instant::now());
        let confirmed = app.timeouts.within(left, node.leadership.confirm()).await;
        confirmed.flatten().ok_or_else(|| {
            let message =
                "This node cannot confirm now that it has everything. Ask again, or another node.";
            ApiError::new(ErrorCode::Unavailable, message).retry_after(RETRY_AFTER)
        })
    }
}

fn not_reached(app: &App, caller: &Caller) -> ApiError {
    let shared = &app.shared;
    let text = position_text(shared.reader.ids(), caller, shared.reader.published());
    let message = format!(
        "The position that the request asks for was not reached in time. This server shows position {}.",
        text.to_str().unwrap_or_default()
    );
    ApiError::new(ErrorCode::PositionNotReached, message).retry_after(RETRY_AFTER)
}
