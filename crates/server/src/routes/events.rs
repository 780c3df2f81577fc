//! `/v1/events`.

use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;
use tributary_api::caller::Caller;
use tributary_api::error::ApiError;
use tributary_api::failures::read_error;
use tributary_api::form::request::{EventCreate, Request};
use tributary_api::form::subscription::patterns;
use tributary_api::form::value::{OwnerText, TimeText};
use tributary_api::render::common::event_type;
use tributary_api::render::event::{EventObject, event};
use tributary_api::render::list::{Limit, List, PageParams, list};
use tributary_api::visibility::{ListScope, list_scope, sees_object};
use tributary_engine::{IdKind, Reader, Slice};
use tributary_ledger::codec::{Operation, Record};
use tributary_ledger::{AccountId, PaymentId};
use utoipa::IntoParams;

use crate::answer::execute_draft;
use crate::app::{App, Shared};
use crate::auth::{Reading, Writing};
use crate::extract::{Id, IdempotencyKey, Json, Query};
use crate::response::{ErrorResponse, json};

/// Maximum number of patterns that a list of events is filtered by.
const PATTERNS_MAX: usize = 16;

/// Publishes an event in the name of the key's owner.
#[utoipa::path(post, path = "/v1/events", tag = "events", operation_id = "publishEvent", request_body = EventCreate,
    responses((status = 201, description = "The event.", body = EventObject)))]
pub(crate) async fn publish(
    State(app): State<App>,
    Writing(caller): Writing,
    IdempotencyKey(key): IdempotencyKey,
    Json(body): Json<EventCreate>,
) -> Result<Response, ErrorResponse> {
    let draft = body.into_draft(app.shared.reader.ids())?;
    execute_draft(&app, caller, key, draft).await
}

/// Filter of a list of events.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct EventsQuery {
    /// Patterns of event types with commas between them, 1 to 16: words between dots, where `*` is one word and `#` (written
    /// `%23` in a URL) any number of words. All events if left out.
    events: Option<String>,
    /// Events of this payment, or events that touch or change this account.
    #[param(pattern = "^(pay|acct)_[0-7][0-9a-hjkmnp-tv-z]{25}$")]
    object: Option<String>,
    /// Events of this owner: they touch its accounts, create or change what it owns, or the owner asked for them.
    #[param(value_type = Option<String>, pattern = "^[A-Za-z0-9_.:@-]{1,64}$")]
    owner: Option<OwnerText>,
    /// Items at most; 10 if left out.
    #[param(value_type = Option<u8>, minimum = 1, maximum = 100)]
    limit: Option<Limit>,
    /// Events older than the one with this id or cursor.
    starting_after: Option<String>,
    /// Events newer than the one with this id or cursor, the nearest ones.
    ending_before: Option<String>,
    /// Not recorded before this time.
    #[serde(rename = "created[gte]")]
    #[param(value_type = Option<String>, format = DateTime)]
    created_gte: Option<TimeText>,
    /// Recorded before this time.
    #[serde(rename = "created[lt]")]
    #[param(value_type = Option<String>, format = DateTime)]
    created_lt: Option<TimeText>,
}

/// Lists what happened, the newest first. An owner's key sees its own.
#[utoipa::path(get, path = "/v1/events", tag = "events", operation_id = "listEvents", params(EventsQuery),
    responses((status = 200, description = "A page of events.", body = List<EventObject>)))]
pub(crate) async fn list_all(
    State(app): State<App>,
    Reading(caller): Reading,
    Query(query): Query<EventsQuery>,
) -> Result<Response, ErrorResponse> {
    let page = app
        .read(caller.actor.owner, move |shared| {
            events(shared, &caller, query)
        })
        .await?;
    Ok(json(200, &page))
}

fn events(
    shared: &Shared,
    caller: &Caller,
    query: EventsQuery,
) -> Result<List<EventObject>, ApiError> {
    let reader = &shared.reader;
    let params = PageParams {
        limit: query.limit,
        starting_after: query.starting_after,
        ending_before: query.ending_before,
        created_gte: query.created_gte,
        created_lt: query.created_lt,
    };
    let page = params.page(reader, caller, IdKind::Event)?;
    let types: Vec<&str> = query.events.iter().flat_map(|all| all.split(',')).collect();
    let types = patterns(&types)?;
    if types.len() > PATTERNS_MAX {
        let message = format!("events must be at most {PATTERNS_MAX} patterns.");
        return Err(ApiError::invalid("events", message));
    }
    let wanted = |record: &Record| {
        types.is_empty() || {
            let event_type = event_type(record);
            types.iter().any(|pattern| pattern.matches(&event_type))
        }
    };
    let url = "/v1/events".to_owned();
    let show = |slice| list(reader, caller, url, slice, |record| event(reader, &record));
    let nothing = Slice {
        items: Vec::new(),
        has_more: false,
        next: None,
    };
    let owner = match list_scope(reader, caller, query.owner.as_ref()) {
        ListScope::Nobody => return show(nothing),
        ListScope::All => None,
        ListScope::To(owner) => Some(owner),
    };
    let slice = match query.object.as_deref() {
        None => reader.events(None, owner, page, wanted),
        Some(text) => match listed_object(reader, caller, text)? {
            None => return show(nothing),
            Some(Object::Account(account)) => reader.events(Some(account), owner, page, wanted),
            Some(Object::Payment(payment)) => reader.payment_events(payment, page, |record| {
                let theirs = owner.is_none_or(|owner| reader.concerns(record, owner));
                theirs && wanted(record)
            }),
        },
    };
    show(slice.map_err(read_error)?)
}

enum Object {
    Account(AccountId),
    Payment(PaymentId),
}

/// The object that events are listed of; none if the caller may not see it, or if there is no such object.
fn listed_object(reader: &Reader, caller: &Caller, text: &str) -> Result<Option<Object>, ApiError> {
    let (kind, object): (_, fn(u64) -> Object) = match text.split_once('_') {
        Some(("acct", _)) => (IdKind::Account, |at| Object::Account(AccountId(at))),
        Some(("pay", _)) => (IdKind::Payment, |at| Object::Payment(PaymentId(at))),
        _ => {
            let message = "object must be the id of a payment or an account.";
            return Err(ApiError::invalid("object", message));
        }
    };
    let Some(position) = reader.ids().decode(kind, text) else {
        return Ok(None);
    };
    let visible = sees_object(reader, caller, kind, position)?;
    Ok(visible.then(|| object(position)))
}

/// Shows an event.
#[utoipa::path(get, path = "/v1/events/{id}", tag = "events", operation_id = "getEvent",
    params(("id" = String, Path, description = "The event.")),
    responses((status = 200, description = "The event.", body = EventObject)))]
pub(crate) async fn get(
    State(app): State<App>,
    Reading(caller): Reading,
    Id(id): Id,
) -> Result<Response, ErrorResponse> {
    let not_found = || ApiError::not_found("event", "id");
    let position = app
        .shared
        .reader
        .ids()
        .decode(IdKind::Event, &id)
        .ok_or_else(not_found)?;
    let record = app
        .shared
        .reader
        .record(position)
        .map_err(read_error)?
        .ok_or_else(not_found)?;
    if Operation::from_body(&record.command.body).is_internal()
        || !caller.sees_record(&app.shared.reader, &record)
    {
        return Err(not_found().into());
    }
    Ok(json(200, &event(&app.shared.reader, &record)?))
}
