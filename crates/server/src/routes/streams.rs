//! `/v1/streams`: figures over windows of events, by key.

use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;
use tributary_api::code::ErrorCode;
use tributary_api::error::ApiError;
use tributary_api::form::stream::{PauseStream, StreamCreate, StreamPreviewCreate, StreamUpdate};
use tributary_api::render::list::{List, list};
use tributary_api::render::setting::DeletedObject;
use tributary_api::render::stream::{
    StreamFiguresObject, StreamObject, StreamPreviewObject, StreamRowObject, stream_figures,
    stream_preview, stream_row,
};
use tributary_api::settings::defined::Change;
use tributary_api::settings::stream::StreamType;
use tributary_api::streaming::{PREVIEW_RECORDS_DEFAULT, PREVIEW_RECORDS_MAX};
use tributary_engine::Slice;
use utoipa::{IntoParams, ToSchema};

use crate::app::{App, Shared};
use crate::auth::{PlatformReading, PlatformWriting};
use crate::extract::{Id, IdempotencyKey, Json, OptionalIdempotencyKey, OptionalJson, Query};
use crate::response::{ErrorResponse, json};
use crate::routes::defined::{self, DeleteQuery, cursor};

/// Rows of a page if nothing else is asked for.
const ROWS_DEFAULT: u16 = 100;
/// Most rows of a page.
const ROWS_MAX: u16 = 1_000;

fn streams(shared: &Shared) -> StreamType {
    StreamType::new(shared.reader.clone(), shared.streaming.clone())
}

/// Makes a stream: figures over windows of events, by key. It is computed from the records of the past first.
#[utoipa::path(post, path = "/v1/streams", tag = "streams", operation_id = "createStream",
    request_body = StreamCreate,
    responses((status = 201, description = "The stream.", body = StreamObject)))]
pub(crate) async fn create(
    State(app): State<App>,
    PlatformWriting(caller): PlatformWriting,
    IdempotencyKey(key): IdempotencyKey,
    Json(body): Json<StreamCreate>,
) -> Result<Response, ErrorResponse> {
    defined::create(&app, caller, key, streams(&app.shared), body).await
}

/// Lists all streams.
#[utoipa::path(get, path = "/v1/streams", tag = "streams", operation_id = "listStreams",
    responses((status = 200, description = "All of them, on one page, the newest first.", body = List<StreamObject>)))]
pub(crate) async fn list_all(
    State(app): State<App>,
    PlatformReading(caller): PlatformReading,
) -> Result<Response, ErrorResponse> {
    defined::list_all(&app, caller, streams(&app.shared), "/v1/streams").await
}

/// Shows a stream.
#[utoipa::path(get, path = "/v1/streams/{id}", tag = "streams", operation_id = "getStream",
    params(("id" = String, Path, description = "The stream.")),
    responses((status = 200, description = "The stream.", body = StreamObject)))]
pub(crate) async fn get(
    State(app): State<App>,
    PlatformReading(caller): PlatformReading,
    Id(id): Id,
) -> Result<Response, ErrorResponse> {
    defined::get(&app, &caller, &id, &streams(&app.shared))
}

/// Changes a stream. If that changes what it computes or publishes, a new version is computed from the past beside the old one, whose
/// rows are shown until then.
#[utoipa::path(patch, path = "/v1/streams/{id}", tag = "streams", operation_id = "updateStream",
    params(("id" = String, Path, description = "The stream.")), request_body = StreamUpdate,
    responses((status = 200, description = "The stream.", body = StreamObject)))]
pub(crate) async fn update(
    State(app): State<App>,
    PlatformWriting(caller): PlatformWriting,
    Id(id): Id,
    OptionalIdempotencyKey(key): OptionalIdempotencyKey,
    Json(body): Json<StreamUpdate>,
) -> Result<Response, ErrorResponse> {
    let change = Change::update(&body)?;
    defined::change(&app, caller, key, &id, streams(&app.shared), change).await
}

/// Deletes a stream, with its rows. What it published stays.
#[utoipa::path(delete, path = "/v1/streams/{id}", tag = "streams", operation_id = "deleteStream",
    params(("id" = String, Path, description = "The stream."), DeleteQuery),
    responses((status = 200, description = "The stream is deleted.", body = DeletedObject)))]
pub(crate) async fn delete(
    State(app): State<App>,
    PlatformWriting(caller): PlatformWriting,
    Id(id): Id,
    OptionalIdempotencyKey(key): OptionalIdempotencyKey,
    Query(query): Query<DeleteQuery>,
) -> Result<Response, ErrorResponse> {
    defined::delete(&app, caller, key, id, streams(&app.shared), &query).await
}

/// Takes no events until the stream is resumed, which then goes on where it was.
#[utoipa::path(post, path = "/v1/streams/{id}/pause", tag = "streams", operation_id = "pauseStream",
    params(("id" = String, Path, description = "The stream.")), request_body(content = PauseStream),
    responses((status = 200, description = "The stream.", body = StreamObject)))]
pub(crate) async fn pause(
    State(app): State<App>,
    PlatformWriting(caller): PlatformWriting,
    Id(id): Id,
    OptionalIdempotencyKey(key): OptionalIdempotencyKey,
    OptionalJson(body): OptionalJson<PauseStream>,
) -> Result<Response, ErrorResponse> {
    let change = Change::pause(body.reason);
    defined::change(&app, caller, key, &id, streams(&app.shared), change).await
}

/// Takes events again.
#[utoipa::path(post, path = "/v1/streams/{id}/resume", tag = "streams", operation_id = "resumeStream",
    params(("id" = String, Path, description = "The stream.")),
    responses((status = 200, description = "The stream.", body = StreamObject)))]
pub(crate) async fn resume(
    State(app): State<App>,
    PlatformWriting(caller): PlatformWriting,
    Id(id): Id,
    OptionalIdempotencyKey(key): OptionalIdempotencyKey,
) -> Result<Response, ErrorResponse> {
    let change = Change::resume();
    defined::change(&app, caller, key, &id, streams(&app.shared), change).await
}

fn not_yet() -> ApiError {
    let message = "This server does not run the stream yet. Ask again.";
    ApiError::new(ErrorCode::Unavailable, message)
}

/// Shows how far a stream is on this server, and what it holds.
#[utoipa::path(get, path = "/v1/streams/{id}/figures", tag = "streams", operation_id = "getStreamFigures",
    params(("id" = String, Path, description = "The stream.")),
    responses((status = 200, description = "The figures.", body = StreamFiguresObject)))]
pub(crate) async fn figures(
    State(app): State<App>,
    PlatformReading(caller): PlatformReading,
    Id(id): Id,
) -> Result<Response, ErrorResponse> {
    let setting = defined::visible(&app, &caller, &id, &streams(&app.shared))?;
    let object = app
        .read(caller.actor.owner, move |shared| {
            shared.streaming.figures(setting.id).ok_or_else(not_yet)
        })
        .await?;
    Ok(json(200, &stream_figures(object)))
}

/// Which rows of a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RowState {
    /// Those of windows that are over, the newest first.
    #[default]
    Final,
    /// Those of windows that are open, as they are now, in the order of their keys.
    Open,
}

/// Which rows.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct RowsQuery {
    /// `final`, the default: of windows that are over, the newest first. `open`: of windows that are open, as they are now, in the order
    /// of their keys.
    #[serde(default)]
    #[param(inline)]
    state: RowState,
    /// Rows at most: 1 to 1,000; 100 if left out.
    #[serde(default)]
    limit: Option<u16>,
    /// Rows after this cursor of the page before.
    #[serde(default)]
    starting_after: Option<String>,
}

/// Lists the rows of a stream's table. Of windows that are over, `bounds.rows_max` are kept, the newest ones.
#[utoipa::path(get, path = "/v1/streams/{id}/rows", tag = "streams", operation_id = "listStreamRows",
    params(("id" = String, Path, description = "The stream."), RowsQuery),
    responses((status = 200, description = "A page of rows.", body = List<StreamRowObject>)))]
pub(crate) async fn rows(
    State(app): State<App>,
    PlatformReading(caller): PlatformReading,
    Id(id): Id,
    Query(query): Query<RowsQuery>,
) -> Result<Response, ErrorResponse> {
    let setting = defined::visible(&app, &caller, &id, &streams(&app.shared))?;
    let limit = query.limit.unwrap_or(ROWS_DEFAULT);
    if !(1..=ROWS_MAX).contains(&limit) {
        let message = format!("limit must be 1 to {ROWS_MAX}.");
        return Err(ApiError::invalid("limit", message).into());
    }
    let url = format!("/v1/streams/{id}/rows");
    let page = app
        .read(caller.actor.owner, move |shared| {
            let after = query.starting_after.as_deref();
            let after = after
                .map(|text| cursor(shared, &caller, text))
                .transpose()?;
            let limit = usize::from(limit);
            let streaming = &shared.streaming;
            // One more says whether there are more.
            let mut rows = match query.state {
                RowState::Final => streaming.rows(setting.id, after, limit + 1),
                RowState::Open => {
                    let rows = streaming.open_rows(setting.id, after.unwrap_or(0), limit + 1);
                    rows.transpose().map_err(stopped)?
                }
            }
            .ok_or_else(not_yet)?;
            let has_more = rows.len() > limit;
            rows.truncate(limit);
            let slice = Slice {
                next: rows.last().map(|row| row.number),
                has_more,
                items: rows,
            };
            list(&shared.reader, &caller, url, slice, |row| {
                Ok(stream_row(row))
            })
        })
        .await?;
    Ok(json(200, &page))
}

fn stopped(why: String) -> ApiError {
    ApiError::new(
        ErrorCode::Unavailable,
        format!("The stream has no open windows: {why}."),
    )
}

/// Runs a stream over the last records of the journal, and keeps nothing of it: to see what a definition does before it is made.
#[utoipa::path(post, path = "/v1/streams/preview", tag = "streams", operation_id = "previewStream",
    request_body = StreamPreviewCreate,
    responses((status = 200, description = "What the stream would show.", body = StreamPreviewObject)))]
pub(crate) async fn preview(
    State(app): State<App>,
    PlatformReading(caller): PlatformReading,
    Json(body): Json<StreamPreviewCreate>,
) -> Result<Response, ErrorResponse> {
    let records = body.records.unwrap_or(PREVIEW_RECORDS_DEFAULT);
    if !(1..=PREVIEW_RECORDS_MAX).contains(&records) {
        let message = format!("records must be 1 to {PREVIEW_RECORDS_MAX}.");
        return Err(ApiError::invalid("records", message).into());
    }
    let object = app
        .read(caller.actor.owner, move |shared| {
            let terms = streams(shared).checked(body.stream)?;
            shared.streaming.preview(&terms, records)
        })
        .await?;
    Ok(json(200, &stream_preview(object)))
}
