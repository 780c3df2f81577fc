//! `/v1/models`: models of trees that score payments. The body of a request is the file that the trainer wrote; the rest is in the query.

use axum::extract::{FromRequest, Request, State};
use axum::response::Response;
use serde::Deserialize;
use tributary_api::error::ApiError;
use tributary_api::failures::internal_error;
use tributary_api::form::tree_model::{ModelCreate, ModelUpdate};
use tributary_api::render::list::List;
use tributary_api::render::setting::DeletedObject;
use tributary_api::render::tree_model::TreeModelObject;
use tributary_api::settings::defined::Change;
use tributary_api::settings::tree_model::ModelType;
use utoipa::IntoParams;

use crate::app::{App, Shared};
use crate::auth::{PlatformReading, PlatformWriting};
use crate::extract::{Id, IdempotencyKey, OptionalIdempotencyKey, Query, read_body};
use crate::response::ErrorResponse;
use crate::routes::defined::{self, DeleteQuery};

fn models(shared: &Shared) -> ModelType {
    ModelType::new(shared.reader.clone(), shared.risk.clone())
}

/// What is said of a new model beside its file.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct ModelQuery {
    /// Name by which rule sets name the model, unique among the models: 1 to 64 of `a-z 0-9 . _ -`.
    slug: String,
    /// What people should know of the model: at most 512 bytes.
    description: Option<String>,
    /// Name of the file or tool that manages the model, at most 64 bytes.
    managed_by: Option<String>,
}

/// What changes of a model beside its file.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct ModelChangeQuery {
    /// Revision that must be the newest, else the answer is `setting_conflict`. Left out, the change is made to whatever is newest.
    #[param(minimum = 1)]
    revision: Option<u64>,
    /// Another name. Rule sets that name the model by the old one have no model any more.
    slug: Option<String>,
    /// Another description; empty for none.
    description: Option<String>,
    /// Another name of what manages the model; empty for nothing.
    managed_by: Option<String>,
}

/// The body of a request, whatever its type: the file of a model, or nothing.
pub(crate) struct ModelFile(Vec<u8>);

impl FromRequest<App> for ModelFile {
    type Rejection = ErrorResponse;

    async fn from_request(request: Request, app: &App) -> Result<ModelFile, ErrorResponse> {
        let bytes = read_body(request.into_body(), app).await?;
        Ok(ModelFile(bytes.into()))
    }
}

impl ModelFile {
    /// The file as text; none if there is none.
    async fn text(self, app: &App, slug: Option<&str>) -> Result<Option<String>, ApiError> {
        match String::from_utf8(self.0) {
            Ok(text) => Ok(Some(text).filter(|text| !text.is_empty())),
            Err(error) => {
                let slug = slug.unwrap_or_default().to_owned();
                let file = error.into_bytes();
                app.blocking(move |shared| match shared.risk.read_model(&slug, &file) {
                    Ok(_) => Err(internal_error()),
                    Err(error) => Err(error),
                })
                .await
            }
        }
    }
}

/// Makes a model: the body is the file that the trainer wrote, XGBoost's JSON or LightGBM's text, at most 16 MiB, of any content type.
#[utoipa::path(post, path = "/v1/models", tag = "rules", operation_id = "createModel", params(ModelQuery),
    request_body(content = String, content_type = "application/octet-stream"),
    responses((status = 201, description = "The model.", body = TreeModelObject)))]
pub(crate) async fn create(
    State(app): State<App>,
    PlatformWriting(caller): PlatformWriting,
    IdempotencyKey(key): IdempotencyKey,
    Query(query): Query<ModelQuery>,
    file: ModelFile,
) -> Result<Response, ErrorResponse> {
    let form = ModelCreate {
        file: file.text(&app, Some(&query.slug)).await?,
        slug: query.slug,
        description: query.description,
        managed_by: query.managed_by,
    };
    defined::create(&app, caller, key, models(&app.shared), form).await
}

/// Lists all models.
#[utoipa::path(get, path = "/v1/models", tag = "rules", operation_id = "listModels",
    responses((status = 200, description = "All of them, on one page, the newest first.", body = List<TreeModelObject>)))]
pub(crate) async fn list_all(
    State(app): State<App>,
    PlatformReading(caller): PlatformReading,
) -> Result<Response, ErrorResponse> {
    defined::list_all(&app, caller, models(&app.shared), "/v1/models").await
}

/// Shows a model.
#[utoipa::path(get, path = "/v1/models/{id}", tag = "rules", operation_id = "getModel",
    params(("id" = String, Path, description = "The model.")),
    responses((status = 200, description = "The model.", body = TreeModelObject)))]
pub(crate) async fn get(
    State(app): State<App>,
    PlatformReading(caller): PlatformReading,
    Id(id): Id,
) -> Result<Response, ErrorResponse> {
    defined::get(&app, &caller, &id, &models(&app.shared))
}

/// Changes a model: a body is another file, without one the file stays. The next payment is scored by the new revision.
#[utoipa::path(patch, path = "/v1/models/{id}", tag = "rules", operation_id = "updateModel",
    params(("id" = String, Path, description = "The model."), ModelChangeQuery),
    request_body(content = String, content_type = "application/octet-stream"),
    responses((status = 200, description = "The model.", body = TreeModelObject)))]
pub(crate) async fn update(
    State(app): State<App>,
    PlatformWriting(caller): PlatformWriting,
    Id(id): Id,
    OptionalIdempotencyKey(key): OptionalIdempotencyKey,
    Query(query): Query<ModelChangeQuery>,
    file: ModelFile,
) -> Result<Response, ErrorResponse> {
    let or_nothing = |text: String| Some(text).filter(|text| !text.is_empty());
    let form = ModelUpdate {
        file: file.text(&app, query.slug.as_deref()).await?,
        revision: query.revision,
        slug: query.slug,
        description: query.description.map(or_nothing),
        managed_by: query.managed_by.map(or_nothing),
    };
    let change = Change::update(&form)?;
    defined::change(&app, caller, key, &id, models(&app.shared), change).await
}

/// Deletes a model. Features of rule sets that name it are missing from then on.
#[utoipa::path(delete, path = "/v1/models/{id}", tag = "rules", operation_id = "deleteModel",
    params(("id" = String, Path, description = "The model."), DeleteQuery),
    responses((status = 200, description = "The model is deleted.", body = DeletedObject)))]
pub(crate) async fn delete(
    State(app): State<App>,
    PlatformWriting(caller): PlatformWriting,
    Id(id): Id,
    OptionalIdempotencyKey(key): OptionalIdempotencyKey,
    Query(query): Query<DeleteQuery>,
) -> Result<Response, ErrorResponse> {
    defined::delete(&app, caller, key, id, models(&app.shared), &query).await
}
