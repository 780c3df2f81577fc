//! `/v1/payments/{id}/timeline`: all that happened with a payment.

use std::collections::BTreeSet;

use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;
use tributary_api::caller::Caller;
use tributary_api::error::ApiError;
use tributary_api::failures::read_error;
use tributary_api::render::common::created;
use tributary_api::render::list::{Limit, List, PageParams, list};
use tributary_api::render::timeline::{Entry, timeline};
use tributary_api::visibility::visible_payment;
use tributary_engine::{IdKind, Slice, Start};
use tributary_ledger::codec::Record;
use tributary_messaging::{AttemptQuery, EndedAttempt, SubscriptionId};
use utoipa::IntoParams;

use crate::app::{App, Shared};
use crate::auth::Reading;
use crate::extract::{Id, Query};
use crate::response::{ErrorResponse, json};

/// Events of a page if nothing else is asked for.
const EVENTS_DEFAULT: usize = 100;
/// Attempts at delivering them on a page, at most: the last ones.
const ATTEMPTS_MAX: usize = 1_000;
/// Steps of reading the history for a page: what lies further back is not on it.
const READS_MAX: usize = 4;

/// Page of a timeline.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct TimelineQuery {
    /// Events of the payment that are told of, at most; 100 if left out.
    #[param(value_type = Option<u8>, minimum = 1, maximum = 100)]
    limit: Option<Limit>,
    /// Events after the one with this id or cursor.
    starting_after: Option<String>,
}

/// Tells what happened with a payment, in the order of time: who asked for what, what the ledger decided and posted, how long it
/// waited, and every attempt at delivering its events. A page is of up to 100 events of the payment with all that belongs to them. An
/// owner sees what became of events at its own subscriptions.
#[utoipa::path(get, path = "/v1/payments/{id}/timeline", tag = "payments", operation_id = "getPaymentTimeline",
    params(("id" = String, Path, description = "The payment."), TimelineQuery),
    responses((status = 200, description = "A page of the timeline.", body = List<Entry>)))]
pub(crate) async fn get(
    State(app): State<App>,
    Reading(caller): Reading,
    Id(id): Id,
    Query(query): Query<TimelineQuery>,
) -> Result<Response, ErrorResponse> {
    let page = app
        .blocking(move |shared| page(shared, &caller, &id, query))
        .await?;
    Ok(json(200, &page))
}

fn page(
    shared: &Shared,
    caller: &Caller,
    id: &str,
    query: TimelineQuery,
) -> Result<List<Entry>, ApiError> {
    let payment = visible_payment(&shared.reader, caller, id, "id")?;
    let asked_for = query.limit.is_some();
    let params = PageParams {
        limit: query.limit,
        starting_after: query.starting_after,
        ..PageParams::default()
    };
    let page = params.page(&shared.reader, caller, IdKind::Event)?;
    // This list runs from the oldest to the newest.
    let after = match page.start {
        Start::Before(position) => position,
        Start::Newest | Start::After(_) => 0,
    };
    let limit = if asked_for {
        page.limit
    } else {
        EVENTS_DEFAULT
    };
    let asked = created(&shared.reader, payment.0)?;
    let found = shared.reader.payment_records(payment, after, limit);
    let (mut records, has_more) = found.map_err(read_error)?;
    let next = records.last().map(|record| record.ctx.position);
    records.retain(|record| is_shown(caller, record));
    let attempts = attempts(shared, caller, &records);
    let slice = Slice {
        items: timeline(&shared.reader, caller, &asked, &records, &attempts),
        has_more,
        next,
    };
    let url = format!("/v1/payments/{id}/timeline");
    list(&shared.reader, caller, url, slice, Ok)
}

/// Whether the record is shown: a refused command that did not change the payment is shown to its own owner only.
fn is_shown(caller: &Caller, record: &Record) -> bool {
    caller.is_platform()
        || record.outcome.payment.is_some()
        || record.command.actor.owner == caller.actor.owner
}

/// The attempts at delivering the events of these records that the caller may see.
fn attempts(shared: &Shared, caller: &Caller, records: &[Record]) -> Vec<EndedAttempt> {
    let Some(messaging) = shared.messaging.as_ref() else {
        return Vec::new();
    };
    let positions = records.iter().map(|record| record.ctx.position);
    let events: BTreeSet<u64> = positions.collect();
    let subscriptions = messaging.subscriptions();
    let own: BTreeSet<SubscriptionId> = subscriptions
        .into_iter()
        .filter(|one| one.scope == caller.actor.owner)
        .map(|one| one.id)
        .collect();
    let mut wanted = AttemptQuery {
        is_visible: &|id| caller.is_platform() || own.contains(&id),
        subscription: None,
        events: Some(&events),
        acknowledged: None,
        before: None,
        limit: ATTEMPTS_MAX,
    };
    let mut attempts: Vec<EndedAttempt> = Vec::new();
    if events.is_empty() || (own.is_empty() && !caller.is_platform()) {
        return attempts;
    }
    for _ in 0..READS_MAX {
        if wanted.limit == 0 {
            break;
        }
        let found = messaging.attempts(&wanted);
        wanted.limit -= found.attempts.len();
        wanted.before = found.next;
        attempts.extend(found.attempts);
        if found.next.is_none() {
            break;
        }
    }
    // Of those that end at the same time the one that ended first comes first.
    attempts.reverse();
    attempts
}
