//! `/v1/bindings`: destinations at brokers, joined to the system.

use axum::extract::State;
use axum::response::Response;
use tributary_api::form::binding::{BindingCreate, BindingUpdate, PauseBinding};
use tributary_api::render::binding::BindingObject;
use tributary_api::render::list::List;
use tributary_api::render::setting::DeletedObject;
use tributary_api::settings::binding::BindingType;
use tributary_api::settings::defined::Change;

use crate::app::{App, Shared};
use crate::auth::{PlatformReading, PlatformWriting};
use crate::extract::{Id, IdempotencyKey, Json, OptionalIdempotencyKey, OptionalJson, Query};
use crate::response::ErrorResponse;
use crate::routes::defined::{self, DeleteQuery};

fn bindings(shared: &Shared) -> BindingType {
    BindingType::new(shared.reader.clone(), shared.brokers.clone())
}

/// Makes a binding: joins a destination at a broker to the system.
#[utoipa::path(post, path = "/v1/bindings", tag = "bindings", operation_id = "createBinding",
    request_body = BindingCreate,
    responses((status = 201, description = "The binding.", body = BindingObject)))]
pub(crate) async fn create(
    State(app): State<App>,
    PlatformWriting(caller): PlatformWriting,
    IdempotencyKey(key): IdempotencyKey,
    Json(body): Json<BindingCreate>,
) -> Result<Response, ErrorResponse> {
    defined::create(&app, caller, key, bindings(&app.shared), body).await
}

/// Lists all bindings.
#[utoipa::path(get, path = "/v1/bindings", tag = "bindings", operation_id = "listBindings",
    responses((status = 200, description = "All of them, on one page, the newest first.", body = List<BindingObject>)))]
pub(crate) async fn list_all(
    State(app): State<App>,
    PlatformReading(caller): PlatformReading,
) -> Result<Response, ErrorResponse> {
    defined::list_all(&app, caller, bindings(&app.shared), "/v1/bindings").await
}

/// Shows a binding.
#[utoipa::path(get, path = "/v1/bindings/{id}", tag = "bindings", operation_id = "getBinding",
    params(("id" = String, Path, description = "The binding.")),
    responses((status = 200, description = "The binding.", body = BindingObject)))]
pub(crate) async fn get(
    State(app): State<App>,
    PlatformReading(caller): PlatformReading,
    Id(id): Id,
) -> Result<Response, ErrorResponse> {
    defined::get(&app, &caller, &id, &bindings(&app.shared))
}

/// Changes a binding.
#[utoipa::path(patch, path = "/v1/bindings/{id}", tag = "bindings", operation_id = "updateBinding",
    params(("id" = String, Path, description = "The binding.")), request_body = BindingUpdate,
    responses((status = 200, description = "The binding.", body = BindingObject)))]
pub(crate) async fn update(
    State(app): State<App>,
    PlatformWriting(caller): PlatformWriting,
    Id(id): Id,
    OptionalIdempotencyKey(key): OptionalIdempotencyKey,
    Json(body): Json<BindingUpdate>,
) -> Result<Response, ErrorResponse> {
    let change = Change::update(&body)?;
    defined::change(&app, caller, key, &id, bindings(&app.shared), change).await
}

/// Deletes a binding. What was not acknowledged stays at the broker.
#[utoipa::path(delete, path = "/v1/bindings/{id}", tag = "bindings", operation_id = "deleteBinding",
    params(("id" = String, Path, description = "The binding."), DeleteQuery),
    responses((status = 200, description = "The binding is deleted.", body = DeletedObject)))]
pub(crate) async fn delete(
    State(app): State<App>,
    PlatformWriting(caller): PlatformWriting,
    Id(id): Id,
    OptionalIdempotencyKey(key): OptionalIdempotencyKey,
    Query(query): Query<DeleteQuery>,
) -> Result<Response, ErrorResponse> {
    defined::delete(&app, caller, key, id, bindings(&app.shared), &query).await
}

/// Takes no messages until the binding is resumed: they wait at the broker.
#[utoipa::path(post, path = "/v1/bindings/{id}/pause", tag = "bindings", operation_id = "pauseBinding",
    params(("id" = String, Path, description = "The binding.")), request_body(content = PauseBinding),
    responses((status = 200, description = "The binding.", body = BindingObject)))]
pub(crate) async fn pause(
    State(app): State<App>,
    PlatformWriting(caller): PlatformWriting,
    Id(id): Id,
    OptionalIdempotencyKey(key): OptionalIdempotencyKey,
    OptionalJson(body): OptionalJson<PauseBinding>,
) -> Result<Response, ErrorResponse> {
    let change = Change::pause(body.reason);
    defined::change(&app, caller, key, &id, bindings(&app.shared), change).await
}

/// Takes messages again.
#[utoipa::path(post, path = "/v1/bindings/{id}/resume", tag = "bindings", operation_id = "resumeBinding",
    params(("id" = String, Path, description = "The binding.")),
    responses((status = 200, description = "The binding.", body = BindingObject)))]
pub(crate) async fn resume(
    State(app): State<App>,
    PlatformWriting(caller): PlatformWriting,
    Id(id): Id,
    OptionalIdempotencyKey(key): OptionalIdempotencyKey,
) -> Result<Response, ErrorResponse> {
    defined::change(
        &app,
        caller,
        key,
        &id,
        bindings(&app.shared),
        Change::resume(),
    )
    .await
}
