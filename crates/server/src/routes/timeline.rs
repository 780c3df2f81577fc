//! `/v1/payments/{id}/timeline`: all that happened with a payment; the same of accounts and owners, but for the money that moved.

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
use tributary_api::visibility::{visible_account, visible_payment};
use tributary_engine::{IdKind, Reader, Slice, Start};
use tributary_ledger::ObjectId;
use tributary_ledger::codec::Record;
use tributary_messaging::{AttemptQuery, EndedAttempt, SubscriptionId};
use utoipa::IntoParams;

use crate::app::{App, Shared};
use crate::auth::Reading;
use crate::extract::{Id, Query};
use crate::response::{ErrorResponse, json};
use crate::routes::owners::owner_in_path;

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
    /// Events that are told of, at most; 100 if left out.
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
        .read(caller.actor.owner, move |shared| {
            page(shared, &caller, &id, query)
        })
        .await?;
    Ok(json(200, &page))
}

/// Tells what happened with an account but for the money that moved: who opened it, froze it, unfroze it, closed it or changed its
/// description or metadata, and what the account said after each. A page is of up to 100 events, in the order of time.
#[utoipa::path(get, path = "/v1/accounts/{id}/timeline", tag = "accounts", operation_id = "getAccountTimeline",
    params(("id" = String, Path, description = "The account."), TimelineQuery),
    responses((status = 200, description = "A page of the timeline.", body = List<Entry>)))]
pub(crate) async fn of_account(
    State(app): State<App>,
    Reading(caller): Reading,
    Id(id): Id,
    Query(query): Query<TimelineQuery>,
) -> Result<Response, ErrorResponse> {
    let page = app
        .read(caller.actor.owner, move |shared| {
            let account = visible_account(&shared.reader, &caller, &id)?.id;
            let url = format!("/v1/accounts/{id}/timeline");
            changes(shared, &caller, ObjectId::Account(account), url, query)
        })
        .await?;
    Ok(json(200, &page))
}

/// Tells what happened with an owner: who named or created it, or changed what is known of it, and what that was after each change. A
/// page is of up to 100 events, in the order of time.
#[utoipa::path(get, path = "/v1/owners/{name}/timeline", tag = "owners", operation_id = "getOwnerTimeline",
    params(("name" = String, Path, description = "Name of the owner."), TimelineQuery),
    responses((status = 200, description = "A page of the timeline.", body = List<Entry>)))]
pub(crate) async fn of_owner(
    State(app): State<App>,
    Reading(caller): Reading,
    Id(name): Id,
    Query(query): Query<TimelineQuery>,
) -> Result<Response, ErrorResponse> {
    let page = app
        .read(caller.actor.owner, move |shared| {
            let owner = owner_in_path(&shared.reader, &caller, &name)?;
            let url = format!("/v1/owners/{name}/timeline");
            changes(shared, &caller, ObjectId::Owner(owner), url, query)
        })
        .await?;
    Ok(json(200, &page))
}

/// Returns a page of the timeline of an account or an owner, which the caller may see.
fn changes(
    shared: &Shared,
    caller: &Caller,
    object: ObjectId,
    url: String,
    query: TimelineQuery,
) -> Result<List<Entry>, ApiError> {
    let reader = &shared.reader;
    let (after, limit) = range(reader, caller, query)?;
    let found = reader.change_records(object, after, limit);
    let records = slice(found.map_err(read_error)?);
    tell(shared, caller, url, records.items.first(), &records)
}

fn page(
    shared: &Shared,
    caller: &Caller,
    id: &str,
    query: TimelineQuery,
) -> Result<List<Entry>, ApiError> {
    let payment = visible_payment(&shared.reader, caller, id, "id")?;
    let (after, limit) = range(&shared.reader, caller, query)?;
    let asked = created(&shared.reader, payment.0)?;
    let found = shared.reader.payment_records(payment, after, limit);
    let mut records = slice(found.map_err(read_error)?);
    records
        .items
        .retain(|record| is_shown(&shared.reader, caller, record));
    let url = format!("/v1/payments/{id}/timeline");
    tell(shared, caller, url, Some(&asked), &records)
}

/// Returns records in the order of time as a page, and whether there are more.
fn slice((items, has_more): (Vec<Record>, bool)) -> Slice<Record> {
    Slice {
        next: items.last().map(|record| record.ctx.position),
        items,
        has_more,
    }
}

/// Returns the page of what these records say, `asked` being the first of them. Without any, nothing happened.
fn tell(
    shared: &Shared,
    caller: &Caller,
    url: String,
    asked: Option<&Record>,
    records: &Slice<Record>,
) -> Result<List<Entry>, ApiError> {
    let attempts = attempts(shared, caller, &records.items);
    let items = match asked {
        Some(asked) => timeline(&shared.reader, caller, asked, &records.items, &attempts)?,
        None => Vec::new(),
    };
    let slice = Slice {
        items,
        has_more: records.has_more,
        next: records.next,
    };
    list(&shared.reader, caller, url, slice, Ok)
}

/// Returns the position after which the page begins, and the number of its events.
fn range(reader: &Reader, caller: &Caller, query: TimelineQuery) -> Result<(u64, usize), ApiError> {
    let asked_for = query.limit.is_some();
    let params = PageParams {
        limit: query.limit,
        starting_after: query.starting_after,
        ..PageParams::default()
    };
    let page = params.page(reader, caller, IdKind::Event)?;
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
    Ok((after, limit))
}

/// Whether the record is shown: a refused command that did not change the payment is shown to its own owner only, and what was
/// before a queued payment ran not to its payees.
fn is_shown(reader: &Reader, caller: &Caller, record: &Record) -> bool {
    caller.is_platform()
        || record.command.actor.owner == caller.actor.owner
        || (record.outcome.payment.is_some() && caller.sees_record(reader, record))
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
    // The history is in order for each owner. Of those that end at the same time the one that ended first comes first.
    attempts.reverse();
    attempts.sort_by_key(|one| one.ended);
    attempts
}
