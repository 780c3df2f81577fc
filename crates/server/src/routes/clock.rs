//! `/v1/clock`: ledger time beside the wall clock. Platform keys only.

use axum::extract::State;
use axum::response::Response;
use tributary_api::form::clock::ClockConfirm;
use tributary_api::render::clock::{ClockObject, clock};

use crate::app::App;
use crate::auth::{PlatformReading, PlatformWriting};
use crate::extract::Json;
use crate::response::{ErrorResponse, json};

/// Shows ledger time beside the wall clock of the machine. Platform keys only.
#[utoipa::path(get, path = "/v1/clock", tag = "operations", operation_id = "getClock",
    responses((status = 200, description = "The clock.", body = ClockObject)))]
pub(crate) async fn get(State(app): State<App>, _: PlatformReading) -> Response {
    json(200, &clock(&app.shared.engine.clock_status()))
}

/// Says that the wall clock is right: ledger time moves forwards to it at once, instead of after 10 minutes. Everything that is
/// due by then happens. It cannot be taken back. Platform keys that may write only.
#[utoipa::path(post, path = "/v1/clock/confirm", tag = "operations", operation_id = "confirmClock", request_body = ClockConfirm,
    responses((status = 200, description = "The clock.", body = ClockObject)))]
pub(crate) async fn confirm(
    State(app): State<App>,
    _: PlatformWriting,
    Json(confirm): Json<ClockConfirm>,
) -> Result<Response, ErrorResponse> {
    let engine = &app.shared.engine;
    confirm.check(&engine.clock_status())?;
    engine.confirm_clock();
    Ok(json(200, &clock(&engine.clock_status())))
}
