//! `/v1/sandbox`: what only a sandbox can do. Platform keys only.

use axum::extract::State;
use axum::response::Response;
use tributary_api::code::ErrorCode;
use tributary_api::error::ApiError;
use tributary_api::form::clock::SandboxClockAdvance;
use tributary_api::render::sandbox::SandboxClockObject;

use crate::answer::execute_draft;
use crate::app::App;
use crate::auth::PlatformWriting;
use crate::extract::{IdempotencyKey, Json};
use crate::response::ErrorResponse;

/// Moves the clock of a sandbox forwards: what is due by then happens at once, as after that time. Only on a server that was
/// started with `--sandbox`. Platform keys that may write only.
#[utoipa::path(post, path = "/v1/sandbox/clock", tag = "operations", operation_id = "advanceSandboxClock", request_body = SandboxClockAdvance,
    responses((status = 200, description = "The move of the clock.", body = SandboxClockObject)))]
pub(crate) async fn advance_clock(
    State(app): State<App>,
    PlatformWriting(caller): PlatformWriting,
    IdempotencyKey(key): IdempotencyKey,
    Json(advance): Json<SandboxClockAdvance>,
) -> Result<Response, ErrorResponse> {
    if !app.shared.reader.meta().sandbox {
        return Err(ApiError::new(
            ErrorCode::SandboxOnly,
            "The clock of this server cannot be moved: it is no sandbox. `tributary serve --sandbox` makes one.",
        )
        .into());
    }
    execute_draft(&app, caller, key, advance.into_draft()?).await
}
