//! `/v1/settings/apply`: many settings as a file says.

use axum::extract::State;
use axum::response::Response;
use tributary_api::settings::apply::{AppliedObject, SettingsApply};

use crate::app::App;
use crate::auth::Writing;
use crate::extract::Json;
use crate::response::{ErrorResponse, json};

/// Creates, changes and, with `prune`, deletes settings so that those of the caller are as the request says. Everything is
/// checked before anything is done. Sending the request again finds nothing to do, and does the rest after a failure half-way.
#[utoipa::path(post, path = "/v1/settings/apply", tag = "settings", operation_id = "applySettings",
    request_body = SettingsApply,
    responses((status = 200, description = "What was done.", body = AppliedObject)))]
pub(crate) async fn apply(
    State(app): State<App>,
    Writing(caller): Writing,
    Json(body): Json<SettingsApply>,
) -> Result<Response, ErrorResponse> {
    let applied = app
        .blocking_within(move |shared| {
            shared.messaging()?;
            let types = &shared.setting_types;
            tributary_api::settings::apply::apply(&shared.engine, types, &caller, &body)
        })
        .await?;
    Ok(json(200, &applied))
}
