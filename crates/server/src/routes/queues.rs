//! `/v1/queues`: the payments that wait to be decided.

use axum::extract::State;
use axum::response::Response;
use tributary_api::caller::Caller;
use tributary_api::draft::CommandDraft;
use tributary_api::form::request::Empty;
use tributary_api::render::queue::{QueueObject, StandingObject, queue};
use tributary_ledger::{Body, Key, QueueMode};

use crate::answer::execute_draft;
use crate::app::App;
use crate::auth::{PlatformReading, PlatformWriting};
use crate::extract::{IdempotencyKey, OptionalJson};
use crate::model::queue_model;
use crate::response::{ErrorResponse, json};

/// Shows the queue of payments that were accepted and not decided yet: how it stands, what it does, and what queueing theory
/// expects of it. Platform keys only.
#[utoipa::path(get, path = "/v1/queues/payment_order", tag = "operations", operation_id = "getPaymentQueue",
    responses((status = 200, description = "The queue.", body = QueueObject)))]
pub(crate) async fn payment_order(
    State(app): State<App>,
    _: PlatformReading,
) -> Result<Response, ErrorResponse> {
    let shown = app.blocking(|shared| {
        let now = shared.engine.now();
        let figures = shared.reader.queue_figures(now);
        let length_max = shared.engine.queue_length_max();
        let model = queue_model(&figures, length_max);
        queue(&shared.reader, &figures, length_max, model, now)
    });
    Ok(json(200, &shown.await?))
}

/// Pauses the queue: payments are accepted and none runs; a payment whose `expires_at` passes fails. Platform keys only.
#[utoipa::path(post, path = "/v1/queues/payment_order/pause", tag = "operations", operation_id = "pausePaymentQueue",
    request_body(content = Empty),
    responses((status = 200, description = "How the queue stands.", body = StandingObject)))]
pub(crate) async fn pause(
    State(app): State<App>,
    PlatformWriting(caller): PlatformWriting,
    IdempotencyKey(key): IdempotencyKey,
    OptionalJson(Empty {}): OptionalJson<Empty>,
) -> Result<Response, ErrorResponse> {
    set(&app, caller, key, QueueMode::Paused).await
}

/// Drains the queue: queued payments run, new ones are refused with `queue_draining`. Platform keys only.
#[utoipa::path(post, path = "/v1/queues/payment_order/drain", tag = "operations", operation_id = "drainPaymentQueue",
    request_body(content = Empty),
    responses((status = 200, description = "How the queue stands.", body = StandingObject)))]
pub(crate) async fn drain(
    State(app): State<App>,
    PlatformWriting(caller): PlatformWriting,
    IdempotencyKey(key): IdempotencyKey,
    OptionalJson(Empty {}): OptionalJson<Empty>,
) -> Result<Response, ErrorResponse> {
    set(&app, caller, key, QueueMode::Draining).await
}

/// Ends a pause or a drain. Platform keys only.
#[utoipa::path(post, path = "/v1/queues/payment_order/resume", tag = "operations", operation_id = "resumePaymentQueue",
    request_body(content = Empty),
    responses((status = 200, description = "How the queue stands.", body = StandingObject)))]
pub(crate) async fn resume(
    State(app): State<App>,
    PlatformWriting(caller): PlatformWriting,
    IdempotencyKey(key): IdempotencyKey,
    OptionalJson(Empty {}): OptionalJson<Empty>,
) -> Result<Response, ErrorResponse> {
    set(&app, caller, key, QueueMode::Active).await
}

async fn set(
    app: &App,
    caller: Caller,
    key: Key,
    mode: QueueMode,
) -> Result<Response, ErrorResponse> {
    execute_draft(app, caller, key, CommandDraft::new(Body::SetQueue(mode))).await
}
