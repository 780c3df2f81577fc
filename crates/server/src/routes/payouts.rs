//! `/v1/payouts`: money that goes outside, and what became of it.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use tributary_api::form::path::payment_in_path;
use tributary_api::form::payout::{PayoutCreate, PayoutFail, PayoutReturnCreate, settle};
use tributary_api::form::request::Empty;
use tributary_api::render::payment::PaymentObject;

use crate::answer::execute_draft;
use crate::app::App;
use crate::auth::Writing;
use crate::extract::{Id, IdempotencyKey, Json, OptionalJson};
use crate::prefer::RESPOND_ASYNC;
use crate::response::ErrorResponse;

/// Sends money outside. The payout is pending, and its amount is held, until the platform records that it was paid or
/// failed; a platform key may record it as paid at once.
#[utoipa::path(post, path = "/v1/payouts", tag = "payments", operation_id = "createPayout",
    request_body = PayoutCreate, responses(
        (status = 201, description = "The payout.", body = PaymentObject),
        (status = 202, description = "The payout, queued.", body = PaymentObject)
    ))]
pub(crate) async fn create(
    State(app): State<App>,
    Writing(caller): Writing,
    IdempotencyKey(key): IdempotencyKey,
    headers: HeaderMap,
    Json(body): Json<PayoutCreate>,
) -> Result<Response, ErrorResponse> {
    let draft = body.into_draft(&app.shared.reader, &caller)?;
    let draft = draft.queued_if(RESPOND_ASYNC.is_in(&headers));
    execute_draft(&app, caller, key, draft).await
}

/// Records that a pending payout was paid. Platform keys only.
#[utoipa::path(post, path = "/v1/payouts/{id}/pay", tag = "payments", operation_id = "payPayout",
    params(("id" = String, Path, description = "The payout.")), request_body(content = Empty),
    responses((status = 200, description = "The payout.", body = PaymentObject)))]
pub(crate) async fn pay(
    State(app): State<App>,
    Writing(caller): Writing,
    Id(id): Id,
    IdempotencyKey(key): IdempotencyKey,
    OptionalJson(Empty {}): OptionalJson<Empty>,
) -> Result<Response, ErrorResponse> {
    let payout = payment_in_path(app.shared.reader.ids(), &id)?;
    execute_draft(&app, caller, key, settle(payout, None).named_by_path()).await
}

/// Records that a pending payout failed: its amount is released. Platform keys only.
#[utoipa::path(post, path = "/v1/payouts/{id}/fail", tag = "payments", operation_id = "failPayout",
    params(("id" = String, Path, description = "The payout.")), request_body = PayoutFail,
    responses((status = 200, description = "The payout.", body = PaymentObject)))]
pub(crate) async fn fail(
    State(app): State<App>,
    Writing(caller): Writing,
    Id(id): Id,
    IdempotencyKey(key): IdempotencyKey,
    Json(body): Json<PayoutFail>,
) -> Result<Response, ErrorResponse> {
    let payout = payment_in_path(app.shared.reader.ids(), &id)?;
    execute_draft(&app, caller, key, body.into_draft(payout).named_by_path()).await
}

/// Records that money of a paid payout came back, all or a part: a payment of the kind `payout_return`. Platform keys only.
#[utoipa::path(post, path = "/v1/payouts/{id}/returns", tag = "payments", operation_id = "returnPayout",
    params(("id" = String, Path, description = "The payout.")), request_body(content = PayoutReturnCreate),
    responses((status = 201, description = "The return.", body = PaymentObject)))]
pub(crate) async fn give_back(
    State(app): State<App>,
    Writing(caller): Writing,
    Id(id): Id,
    IdempotencyKey(key): IdempotencyKey,
    OptionalJson(body): OptionalJson<PayoutReturnCreate>,
) -> Result<Response, ErrorResponse> {
    let payout = payment_in_path(app.shared.reader.ids(), &id)?;
    execute_draft(&app, caller, key, body.into_draft(payout)?.named_by_path()).await
}
