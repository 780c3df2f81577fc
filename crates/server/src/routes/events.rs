//! `/v1/events`.

use axum::extract::State;
use axum::response::Response;
use tributary_api::error::ApiError;
use tributary_api::failures::read_error;
use tributary_api::form::request::{EventCreate, Request};
use tributary_api::render::event::{EventObject, event};
use tributary_api::render::list::{List, PageParams, PageQuery, list};
use tributary_engine::IdKind;
use tributary_ledger::codec::Operation;

use crate::answer::execute_draft;
use crate::app::App;
use crate::auth::{Reading, Writing};
use crate::extract::{Id, IdempotencyKey, Json, Query};
use crate::response::{ErrorResponse, json};

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

/// Lists what happened, the newest first. An owner's key sees what touches its accounts.
#[utoipa::path(get, path = "/v1/events", tag = "events", operation_id = "listEvents", params(PageQuery),
    responses((status = 200, description = "A page of events.", body = List<EventObject>)))]
pub(crate) async fn list_all(
    State(app): State<App>,
    Reading(caller): Reading,
    Query(query): Query<PageQuery>,
) -> Result<Response, ErrorResponse> {
    let page = app
        .blocking(move |shared| {
            let page = PageParams::from(query).page(&shared.reader, &caller, IdKind::Event)?;
            let slice = shared
                .reader
                .records(caller.listed_owner(), page)
                .map_err(read_error)?;
            list(
                &shared.reader,
                &caller,
                "/v1/events".to_owned(),
                slice,
                |record| event(&shared.reader, &record),
            )
        })
        .await?;
    Ok(json(200, &page))
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
