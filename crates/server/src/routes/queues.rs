//! `/v1/queues`: the payments that wait to be decided.

use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use crate::app::App;
use crate::auth::PlatformReading;
use crate::error::ApiError;
use crate::routes::json;
use crate::time::format_timestamp;

/// A queue as it is now.
#[derive(Serialize, ToSchema)]
#[schema(as = Queue)]
pub(crate) struct QueueObject {
    #[schema(pattern = "^queue$")]
    object: &'static str,
    #[schema(pattern = "^payment_order$")]
    name: &'static str,
    /// Payments that wait.
    length: usize,
    /// As many may wait.
    length_max: usize,
    /// When the oldest of them was accepted.
    #[schema(required, format = DateTime)]
    oldest: Option<String>,
}

/// Shows the queue of payments that were accepted and not decided yet. Platform keys only.
#[utoipa::path(get, path = "/v1/queues/payment_order", tag = "operations", operation_id = "getPaymentQueue",
    responses((status = 200, description = "The queue.", body = QueueObject)))]
pub(crate) async fn payment_order(
    State(app): State<App>,
    PlatformReading: PlatformReading,
) -> Result<Response, ApiError> {
    let reader = &app.shared.reader;
    let queue = QueueObject {
        object: "queue",
        name: "payment_order",
        length: reader.queue_length(),
        length_max: app.shared.engine.queue_length_max(),
        oldest: reader.queue_oldest().map(format_timestamp),
    };
    Ok(json(200, &queue))
}
