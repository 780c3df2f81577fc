//! `/v1/binders`: connections to brokers.

use axum::extract::State;
use axum::response::Response;
use tributary_api::form::binder::{BinderCreate, BinderUpdate};
use tributary_api::render::binder::BinderObject;
use tributary_api::render::list::List;
use tributary_api::render::setting::DeletedObject;
use tributary_api::settings::binder::BinderType;
use tributary_api::settings::defined::Change;

use crate::app::{App, Shared};
use crate::auth::{PlatformReading, PlatformWriting};
use crate::extract::{Id, IdempotencyKey, Json, OptionalIdempotencyKey, Query};
use crate::response::ErrorResponse;
use crate::routes::defined::{self, DeleteQuery};

fn binders(shared: &Shared) -> BinderType {
    BinderType::new(shared.reader.clone(), shared.brokers.clone())
}

/// Makes a binder: a connection to a broker, which bindings use.
#[utoipa::path(post, path = "/v1/binders", tag = "bindings", operation_id = "createBinder",
    request_body = BinderCreate,
    responses((status = 201, description = "The binder.", body = BinderObject)))]
pub(crate) async fn create(
    State(app): State<App>,
    PlatformWriting(caller): PlatformWriting,
    IdempotencyKey(key): IdempotencyKey,
    Json(body): Json<BinderCreate>,
) -> Result<Response, ErrorResponse> {
    defined::create(&app, caller, key, binders(&app.shared), body).await
}

/// Lists all binders.
#[utoipa::path(get, path = "/v1/binders", tag = "bindings", operation_id = "listBinders",
    responses((status = 200, description = "All of them, on one page, the newest first.", body = List<BinderObject>)))]
pub(crate) async fn list_all(
    State(app): State<App>,
    PlatformReading(caller): PlatformReading,
) -> Result<Response, ErrorResponse> {
    defined::list_all(&app, caller, binders(&app.shared), "/v1/binders").await
}

/// Shows a binder.
#[utoipa::path(get, path = "/v1/binders/{id}", tag = "bindings", operation_id = "getBinder",
    params(("id" = String, Path, description = "The binder.")),
    responses((status = 200, description = "The binder.", body = BinderObject)))]
pub(crate) async fn get(
    State(app): State<App>,
    PlatformReading(caller): PlatformReading,
    Id(id): Id,
) -> Result<Response, ErrorResponse> {
    defined::get(&app, &caller, &id, &binders(&app.shared))
}

/// Changes a binder. Its bindings connect anew.
#[utoipa::path(patch, path = "/v1/binders/{id}", tag = "bindings", operation_id = "updateBinder",
    params(("id" = String, Path, description = "The binder.")), request_body = BinderUpdate,
    responses((status = 200, description = "The binder.", body = BinderObject)))]
pub(crate) async fn update(
    State(app): State<App>,
    PlatformWriting(caller): PlatformWriting,
    Id(id): Id,
    OptionalIdempotencyKey(key): OptionalIdempotencyKey,
    Json(body): Json<BinderUpdate>,
) -> Result<Response, ErrorResponse> {
    let change = Change::update(&body)?;
    defined::change(&app, caller, key, &id, binders(&app.shared), change).await
}

/// Deletes a binder. Bindings that name it wait until there is another one of its name.
#[utoipa::path(delete, path = "/v1/binders/{id}", tag = "bindings", operation_id = "deleteBinder",
    params(("id" = String, Path, description = "The binder."), DeleteQuery),
    responses((status = 200, description = "The binder is deleted.", body = DeletedObject)))]
pub(crate) async fn delete(
    State(app): State<App>,
    PlatformWriting(caller): PlatformWriting,
    Id(id): Id,
    OptionalIdempotencyKey(key): OptionalIdempotencyKey,
    Query(query): Query<DeleteQuery>,
) -> Result<Response, ErrorResponse> {
    defined::delete(&app, caller, key, id, binders(&app.shared), &query).await
}
