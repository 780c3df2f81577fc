//! `/v1/lists`: texts that rules look up.

use axum::extract::State;
use axum::response::Response;
use tributary_api::form::text_list::{ListCreate, ListUpdate};
use tributary_api::render::list::List;
use tributary_api::render::setting::DeletedObject;
use tributary_api::render::text_list::TextListObject;
use tributary_api::settings::defined::Change;
use tributary_api::settings::text_list::{ListType, check_update};

use crate::app::{App, Shared};
use crate::auth::{PlatformReading, PlatformWriting};
use crate::extract::{Id, IdempotencyKey, Json, OptionalIdempotencyKey, Query};
use crate::response::ErrorResponse;
use crate::routes::defined::{self, DeleteQuery};

fn lists(shared: &Shared) -> ListType {
    ListType::new(shared.reader.clone())
}

/// Makes a list of texts, such as names of owners or devices, which rules look up.
#[utoipa::path(post, path = "/v1/lists", tag = "rules", operation_id = "createList",
    request_body = ListCreate,
    responses((status = 201, description = "The list.", body = TextListObject)))]
pub(crate) async fn create(
    State(app): State<App>,
    PlatformWriting(caller): PlatformWriting,
    IdempotencyKey(key): IdempotencyKey,
    Json(body): Json<ListCreate>,
) -> Result<Response, ErrorResponse> {
    defined::create(&app, caller, key, lists(&app.shared), body).await
}

/// Lists all lists.
#[utoipa::path(get, path = "/v1/lists", tag = "rules", operation_id = "listLists",
    responses((status = 200, description = "All of them, on one page, the newest first.", body = List<TextListObject>)))]
pub(crate) async fn list_all(
    State(app): State<App>,
    PlatformReading(caller): PlatformReading,
) -> Result<Response, ErrorResponse> {
    defined::list_all(&app, caller, lists(&app.shared), "/v1/lists").await
}

/// Shows a list.
#[utoipa::path(get, path = "/v1/lists/{id}", tag = "rules", operation_id = "getList",
    params(("id" = String, Path, description = "The list.")),
    responses((status = 200, description = "The list.", body = TextListObject)))]
pub(crate) async fn get(
    State(app): State<App>,
    PlatformReading(caller): PlatformReading,
    Id(id): Id,
) -> Result<Response, ErrorResponse> {
    defined::get(&app, &caller, &id, &lists(&app.shared))
}

/// Changes a list: `entries` replaces all entries, `add` and `remove` change some. The next payment is assessed by the new revision.
#[utoipa::path(patch, path = "/v1/lists/{id}", tag = "rules", operation_id = "updateList",
    params(("id" = String, Path, description = "The list.")), request_body = ListUpdate,
    responses((status = 200, description = "The list.", body = TextListObject)))]
pub(crate) async fn update(
    State(app): State<App>,
    PlatformWriting(caller): PlatformWriting,
    Id(id): Id,
    OptionalIdempotencyKey(key): OptionalIdempotencyKey,
    Json(body): Json<ListUpdate>,
) -> Result<Response, ErrorResponse> {
    check_update(&body)?;
    let change = Change::update(&body)?;
    defined::change(&app, caller, key, &id, lists(&app.shared), change).await
}

/// Deletes a list. Features of rule sets that name it are missing from then on.
#[utoipa::path(delete, path = "/v1/lists/{id}", tag = "rules", operation_id = "deleteList",
    params(("id" = String, Path, description = "The list."), DeleteQuery),
    responses((status = 200, description = "The list is deleted.", body = DeletedObject)))]
pub(crate) async fn delete(
    State(app): State<App>,
    PlatformWriting(caller): PlatformWriting,
    Id(id): Id,
    OptionalIdempotencyKey(key): OptionalIdempotencyKey,
    Query(query): Query<DeleteQuery>,
) -> Result<Response, ErrorResponse> {
    defined::delete(&app, caller, key, id, lists(&app.shared), &query).await
}
