//! `/v1/limits`: the most that an account or an owner may pay within a time.

use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;
use tributary_api::caller::Caller;
use tributary_api::error::ApiError;
use tributary_api::form::limit::{LimitCreate, LimitUpdate};
use tributary_api::form::value::OwnerText;
use tributary_api::render::limit::LimitObject;
use tributary_api::render::list::{Limit, List, list};
use tributary_api::render::setting::DeletedObject;
use tributary_api::settings::defined::{Change, DefinedType};
use tributary_api::settings::limit::LimitType;
use tributary_engine::Slice;
use utoipa::IntoParams;

use crate::app::{App, Shared};
use crate::auth::{PlatformReading, PlatformWriting};
use crate::extract::{Id, IdempotencyKey, Json, OptionalIdempotencyKey, Query};
use crate::response::{ErrorResponse, json};
use crate::routes::defined::{self, DeleteQuery, cursor};

fn limits(shared: &Shared) -> LimitType {
    LimitType::new(shared.reader.clone())
}

/// Makes a limit: the most that an account, or all accounts of an owner together, may pay within a time. A payment that would exceed it is
/// refused with `limit_exceeded`. Payments made before do not count.
#[utoipa::path(post, path = "/v1/limits", tag = "limits", operation_id = "createLimit",
    request_body = LimitCreate,
    responses((status = 201, description = "The limit.", body = LimitObject)))]
pub(crate) async fn create(
    State(app): State<App>,
    PlatformWriting(caller): PlatformWriting,
    IdempotencyKey(key): IdempotencyKey,
    Json(body): Json<LimitCreate>,
) -> Result<Response, ErrorResponse> {
    defined::create(&app, caller, key, limits(&app.shared), body).await
}

/// Which limits.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct LimitsQuery {
    /// Those on this account.
    account: Option<String>,
    /// Those on the owner with this name.
    #[param(value_type = Option<String>)]
    owner: Option<OwnerText>,
    /// Items at most; 10 if left out.
    #[param(value_type = Option<u8>, minimum = 1, maximum = 100)]
    limit: Option<Limit>,
    /// Limits after this cursor of the page before.
    starting_after: Option<String>,
}

/// Lists limits, the newest first: all, or those on an account or an owner.
#[utoipa::path(get, path = "/v1/limits", tag = "limits", operation_id = "listLimits", params(LimitsQuery),
    responses((status = 200, description = "A page of limits.", body = List<LimitObject>)))]
pub(crate) async fn list_all(
    State(app): State<App>,
    PlatformReading(caller): PlatformReading,
    Query(query): Query<LimitsQuery>,
) -> Result<Response, ErrorResponse> {
    let page = app
        .read(caller.actor.owner, move |shared| {
            page(shared, &caller, &query)
        })
        .await?;
    Ok(json(200, &page))
}

fn page(
    shared: &Shared,
    caller: &Caller,
    query: &LimitsQuery,
) -> Result<List<LimitObject>, ApiError> {
    let (reader, kind) = (&shared.reader, limits(shared));
    let subject = kind.subject(query.account.as_deref(), query.owner.as_ref())?;
    let after = query.starting_after.as_deref();
    let after = after.map(|text| cursor(shared, caller, text)).transpose()?;
    let mut items = reader.limits(subject);
    items.retain(|setting| after.is_none_or(|after| setting.created.position < after));
    let limit = Limit::items(query.limit);
    let has_more = items.len() > limit;
    items.truncate(limit);
    let slice = Slice {
        next: items.last().map(|setting| setting.created.position),
        has_more,
        items,
    };
    list(reader, caller, "/v1/limits".to_owned(), slice, |setting| {
        kind.object(&setting)
    })
}

/// Shows a limit, and how much of it is used now.
#[utoipa::path(get, path = "/v1/limits/{id}", tag = "limits", operation_id = "getLimit",
    params(("id" = String, Path, description = "The limit.")),
    responses((status = 200, description = "The limit.", body = LimitObject)))]
pub(crate) async fn get(
    State(app): State<App>,
    PlatformReading(caller): PlatformReading,
    Id(id): Id,
) -> Result<Response, ErrorResponse> {
    defined::get(&app, &caller, &id, &limits(&app.shared))
}

/// Changes a limit. Another maximum counts at once, with what was counted before; other kinds, another currency or another window begin to
/// count anew.
#[utoipa::path(patch, path = "/v1/limits/{id}", tag = "limits", operation_id = "updateLimit",
    params(("id" = String, Path, description = "The limit.")), request_body = LimitUpdate,
    responses((status = 200, description = "The limit.", body = LimitObject)))]
pub(crate) async fn update(
    State(app): State<App>,
    PlatformWriting(caller): PlatformWriting,
    Id(id): Id,
    OptionalIdempotencyKey(key): OptionalIdempotencyKey,
    Json(body): Json<LimitUpdate>,
) -> Result<Response, ErrorResponse> {
    let change = Change::update(&body)?;
    defined::change(&app, caller, key, &id, limits(&app.shared), change).await
}

/// Deletes a limit. What it counted is forgotten.
#[utoipa::path(delete, path = "/v1/limits/{id}", tag = "limits", operation_id = "deleteLimit",
    params(("id" = String, Path, description = "The limit."), DeleteQuery),
    responses((status = 200, description = "The limit is deleted.", body = DeletedObject)))]
pub(crate) async fn delete(
    State(app): State<App>,
    PlatformWriting(caller): PlatformWriting,
    Id(id): Id,
    OptionalIdempotencyKey(key): OptionalIdempotencyKey,
    Query(query): Query<DeleteQuery>,
) -> Result<Response, ErrorResponse> {
    defined::delete(&app, caller, key, id, limits(&app.shared), &query).await
}
