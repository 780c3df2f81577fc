//! `/health/live`, `/health/ready` and `/metrics`.

use std::sync::atomic::{AtomicU64, Ordering};

use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tributary_engine::messaging::Figures;
use utoipa::ToSchema;

use crate::app::{App, Shared};
use crate::auth::PlatformReading;
use crate::code::ErrorCode;
use crate::error::ApiError;
use crate::metrics::{EngineNumber, Labelled, append, render};
use crate::routes::json;

/// The server answers.
#[derive(Serialize, ToSchema)]
pub(crate) struct Health {
    /// `live` or `ready`.
    #[schema(value_type = String)]
    status: &'static str,
}

/// Answers as long as the process serves at all.
#[utoipa::path(get, path = "/health/live", tag = "operations", operation_id = "getLive",
    responses((status = 200, description = "It serves.", body = Health)))]
pub(crate) async fn live() -> Response {
    json(200, &Health { status: "live" })
}

/// Answers 200 while the server takes commands, 503 while it does not.
#[utoipa::path(get, path = "/health/ready", tag = "operations", operation_id = "getReady",
    responses((status = 200, description = "It takes commands.", body = Health)))]
pub(crate) async fn ready(State(app): State<App>) -> Result<Response, ApiError> {
    let status = app.shared.engine.status();
    if status.failed.is_some() {
        return Err(ApiError::new(ErrorCode::Unavailable, "The store failed."));
    }
    if status.storage_full {
        return Err(ApiError::new(
            ErrorCode::StorageFull,
            "There is no space for another record.",
        ));
    }
    if !status.ready || app.shared.draining.load(Ordering::Acquire) {
        return Err(ApiError::new(
            ErrorCode::Stopping,
            "The server is stopping.",
        ));
    }
    Ok(json(200, &Health { status: "ready" }))
}

/// Whoever may see the metrics: everybody if they are public, else platform keys.
pub(crate) struct MetricsReader;

impl FromRequestParts<App> for MetricsReader {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<MetricsReader, ApiError> {
        if !app.shared.config.public_metrics {
            PlatformReading::from_request_parts(parts, app).await?;
        }
        Ok(MetricsReader)
    }
}

/// Shows numbers for Prometheus. Platform keys only, unless the server is configured otherwise.
#[utoipa::path(get, path = "/metrics", tag = "operations", operation_id = "getMetrics",
    responses((status = 200, description = "Prometheus text.", body = String, content_type = "text/plain; version=0.0.4")))]
pub(crate) async fn metrics(State(app): State<App>, _: MetricsReader) -> Response {
    let mut page = render(
        app.shared.threads.iter().map(|counters| &**counters),
        &engine_numbers(&app.shared),
    );
    append(&mut page, &subscription_numbers(&app.shared));
    let kind = HeaderValue::from_static("text/plain; version=0.0.4");
    ([(header::CONTENT_TYPE, kind)], page).into_response()
}

fn engine_numbers(shared: &Shared) -> Vec<EngineNumber> {
    let counters = shared.engine.counters();
    let status = shared.engine.status();
    let store = shared.reader.store_stats();
    let total = |name, help, value: &AtomicU64| EngineNumber {
        name,
        help,
        counter: true,
        value: value.load(Ordering::Relaxed) as f64,
    };
    let now = |name, help, value: f64| EngineNumber {
        name,
        help,
        counter: false,
        value,
    };
    vec![
        total(
            "tributary_records_total",
            "Records made durable.",
            &counters.records,
        ),
        total(
            "tributary_records_rejected_total",
            "Records of commands that the ledger refused.",
            &counters.rejected,
        ),
        total(
            "tributary_replays_total",
            "Commands answered from an earlier record.",
            &counters.replayed,
        ),
        total(
            "tributary_key_conflicts_total",
            "Commands whose idempotency key belonged to another.",
            &counters.conflicts,
        ),
        total(
            "tributary_batches_total",
            "Batches synced.",
            &counters.batches,
        ),
        total(
            "tributary_overloaded_total",
            "Requests refused because too many waited.",
            &counters.overloaded,
        ),
        total(
            "tributary_checkpoints_total",
            "Checkpoints written.",
            &counters.checkpoints,
        ),
        now(
            "tributary_queue_length",
            "Payments in the queue payment_order.",
            shared.reader.queue_length() as f64,
        ),
        now(
            "tributary_queue_oldest_timestamp_seconds",
            "When the oldest payment in the queue was accepted, since the Unix epoch; 0 if none waits.",
            shared.reader.queue_oldest().unwrap_or(0) as f64 / 1e9,
        ),
        now(
            "tributary_commands_queued",
            "Commands that wait for the writer.",
            status.queued as f64,
        ),
        now(
            "tributary_event_streams",
            "Event streams open.",
            shared.streams.open() as f64,
        ),
        now(
            "tributary_ready",
            "1 while commands are taken.",
            f64::from(u8::from(status.ready)),
        ),
        now(
            "tributary_storage_full",
            "1 while there is no space.",
            f64::from(u8::from(status.storage_full)),
        ),
        now(
            "tributary_journal_position",
            "Position of the last durable record.",
            shared.reader.head().position as f64,
        ),
        now(
            "tributary_journal_bytes",
            "Bytes of the journal's frames.",
            store.bytes as f64,
        ),
        now(
            "tributary_index_memory_bytes",
            "Bytes of memory that the journal's index holds.",
            store.index_memory_bytes as f64,
        ),
        now(
            "tributary_index_files",
            "Sorted files of the journal's index.",
            store.index_runs as f64,
        ),
        now(
            "tributary_damaged_places",
            "Damaged places that the background check has found.",
            store.damaged as f64,
        ),
    ]
}

/// Name, help, whether it only grows, and where it is found.
type Figure = (
    &'static str,
    &'static str,
    bool,
    fn(&Figures, head: u64, now: u64) -> f64,
);

/// What there is of every subscription.
const FIGURES: [Figure; 8] = [
    (
        "tributary_subscription_waiting",
        "Matching events in memory that wait.",
        false,
        |figures, _, _| figures.waiting as f64,
    ),
    (
        "tributary_subscription_lag",
        "Events that were not looked at yet.",
        false,
        |figures, head, _| head.saturating_sub(figures.scanned) as f64,
    ),
    (
        "tributary_subscription_in_flight",
        "Events in the hands of receivers.",
        false,
        |figures, _, _| figures.in_flight as f64,
    ),
    (
        "tributary_subscription_retrying",
        "Events that wait for another attempt.",
        false,
        |figures, _, _| figures.retrying as f64,
    ),
    (
        "tributary_subscription_dead_letters",
        "Events that were given up.",
        false,
        |figures, _, _| figures.dead as f64,
    ),
    (
        "tributary_subscription_oldest_seconds",
        "Age of the oldest event that is not done.",
        false,
        |figures, _, now| {
            let oldest = figures.oldest.unwrap_or(now);
            now.saturating_sub(oldest) as f64 / 1e9
        },
    ),
    (
        "tributary_subscription_handed_out_total",
        "Events handed out.",
        true,
        |figures, _, _| figures.handed_out as f64,
    ),
    (
        "tributary_subscription_acknowledged_total",
        "Events acknowledged.",
        true,
        |figures, _, _| figures.acknowledged as f64,
    ),
];

fn subscription_numbers(shared: &Shared) -> Vec<Labelled> {
    let Some(messaging) = shared.engine.messaging() else {
        return Vec::new();
    };
    let (head, now) = (shared.reader.published(), messaging.now());
    let known: Vec<(String, Figures)> = messaging
        .subscriptions()
        .into_iter()
        .filter_map(|one| {
            let (figures, _) = messaging.figures(one.id).ok()?;
            let id = shared.reader.ids().encode_subscription(one.id);
            Some((format!("subscription=\"{id}\""), figures))
        })
        .collect();
    let number = |(name, help, counter, value): Figure| Labelled {
        name,
        help,
        counter,
        values: known
            .iter()
            .map(|(labels, figures)| (labels.clone(), value(figures, head, now)))
            .collect(),
    };
    let up = |name, help, is_up| Labelled {
        name,
        help,
        counter: false,
        values: vec![(String::new(), f64::from(u8::from(is_up)))],
    };
    let kept = [
        up(
            "tributary_delivery_log_up",
            "1 while the delivery log can be written.",
            messaging.keeps(),
        ),
        up(
            "tributary_history_up",
            "1 while the history of deliveries can be written, or none is wanted.",
            messaging.keeps_history(),
        ),
    ];
    FIGURES.into_iter().map(number).chain(kept).collect()
}
