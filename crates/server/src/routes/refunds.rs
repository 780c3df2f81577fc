//! `/v1/refunds`.

use axum::extract::State;
use axum::response::Response;
use tributary_engine::IdKind;
use tributary_ledger::Body;

use crate::app::App;
use crate::auth::{Reading, Writing};
use crate::code::ErrorCode;
use crate::error::ApiError;
use crate::form::idempotency::IdempotencyKey;
use crate::form::json::Json;
use crate::form::request::{RefundCreate, Request};
use crate::render::refund::{RefundObject, refund};
use crate::routes::{Id, json, must_see_payment, write};
use crate::submit::failed;

/// Gives back what was captured, or a part; never more than was captured in all.
#[utoipa::path(post, path = "/v1/refunds", tag = "refunds", operation_id = "createRefund",
    request_body = RefundCreate, responses((status = 201, description = "The refund.", body = RefundObject)))]
pub(crate) async fn create(
    State(app): State<App>,
    Writing(caller): Writing,
    IdempotencyKey(key): IdempotencyKey,
    Json(body): Json<RefundCreate>,
) -> Result<Response, ApiError> {
    let wish = body.wish(app.shared.reader.ids())?;
    let Body::Refund(wanted) = &wish.body else {
        return Err(ApiError::new(
            ErrorCode::InternalError,
            "The server failed.",
        ));
    };
    must_see_payment(&app.shared, &caller, wanted.payment, "payment")?;
    write(&app, caller, key, wish).await
}

/// Shows a refund.
#[utoipa::path(get, path = "/v1/refunds/{id}", tag = "refunds", operation_id = "getRefund",
    params(("id" = String, Path, description = "The refund.")),
    responses((status = 200, description = "The refund.", body = RefundObject)))]
pub(crate) async fn get(
    State(app): State<App>,
    Reading(caller): Reading,
    Id(id): Id,
) -> Result<Response, ApiError> {
    let not_found = || ApiError::not_found("refund", "id");
    let position = app
        .shared
        .reader
        .ids()
        .decode(IdKind::Refund, &id)
        .ok_or_else(not_found)?;
    let record = app
        .shared
        .reader
        .record(position)
        .map_err(failed)?
        .ok_or_else(not_found)?;
    let is_refund = matches!(record.command.body, Body::Refund(_)) && record.outcome.is_accepted();
    if !is_refund || !caller.sees_record(&app.shared, &record) {
        return Err(not_found());
    }
    Ok(json(200, &refund(&app.shared, &record)?))
}
