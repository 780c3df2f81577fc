//! `/health/live`, `/health/ready` and `/metrics`.

use std::sync::atomic::{AtomicU64, Ordering};

use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tributary_api::code::ErrorCode;
use tributary_api::error::ApiError;
use tributary_api::intake::RefusalCount;
use tributary_api::render::model::ModelObject;
use tributary_engine::IdKind;
use tributary_ledger::QueueMode;
use tributary_messaging::{DeliveryIds, Figures};
use utoipa::ToSchema;

use crate::app::{App, Shared};
use crate::auth::PlatformReading;
use crate::metrics::{EngineNumber, Labelled, append, render};
use crate::model::{queue_model, subscription_model};
use crate::response::{ErrorResponse, json};

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
pub(crate) async fn ready(State(app): State<App>) -> Result<Response, ErrorResponse> {
    let status = app.shared.engine.status();
    if status.failed.is_some() {
        return Err(ApiError::new(ErrorCode::Unavailable, "The store failed.").into());
    }
    if status.storage_full {
        return Err(ApiError::new(
            ErrorCode::StorageFull,
            "There is no space for another record.",
        )
        .into());
    }
    if !status.ready || app.shared.draining.load(Ordering::Acquire) {
        return Err(ApiError::new(ErrorCode::Stopping, "The server is stopping.").into());
    }
    Ok(json(200, &Health { status: "ready" }))
}

/// Whoever may see the metrics: everybody if they are public, else platform keys.
pub(crate) struct MetricsReader;

impl FromRequestParts<App> for MetricsReader {
    type Rejection = ErrorResponse;

    async fn from_request_parts(
        parts: &mut Parts,
        app: &App,
    ) -> Result<MetricsReader, ErrorResponse> {
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
    let page = app.blocking(|shared| {
        let mut page = render(
            shared.threads.iter().map(|counters| &**counters),
            &engine_numbers(shared),
        );
        append(&mut page, &queue_numbers(shared));
        append(&mut page, &subscription_numbers(shared));
        append(&mut page, &[refusal_numbers(shared)]);
        Ok(page)
    });
    let page = match page.await {
        Ok(page) => page,
        Err(error) => return ErrorResponse(error).into_response(),
    };
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
        EngineNumber {
            name: "tributary_batch_seconds_total",
            help: "Time that batches took to become durable.",
            counter: true,
            value: seconds(counters.batch_nanos.load(Ordering::Relaxed)),
        },
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
            "tributary_master_key_up",
            "1 while secrets of webhooks can be sealed and opened.",
            f64::from(u8::from(shared.transport().is_some_and(|it| it.can_seal()))),
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

/// What the queue of payments does, the age of the oldest payment that is not final, and what queueing theory expects of the queue.
fn queue_numbers(shared: &Shared) -> Vec<Labelled> {
    let now = shared.engine.now();
    let figures = shared.reader.queue_figures(now);
    let age = |since: Option<u64>| now.saturating_sub(since.unwrap_or(now)) as f64 / 1e9;
    let average = |nanos: Option<u64>| nanos.unwrap_or(0) as f64 / 1e9;
    let stands = |mode| f64::from(u8::from(figures.state.mode == mode));
    let rates = &figures.rates;
    let refused = shared.engine.counters().not_queued.load(Ordering::Relaxed);
    let gauge = |name, help, value: f64| Labelled {
        name,
        help,
        counter: false,
        values: vec![(String::new(), value)],
    };
    let total = |name, help, value: u64| Labelled {
        counter: true,
        ..gauge(name, help, value as f64)
    };
    let mut numbers = vec![
        gauge(
            "tributary_oldest_open_payment_seconds",
            "Age of the oldest payment that is queued or holds money; 0 if there is none.",
            age(shared.reader.oldest_open()),
        ),
        gauge(
            "tributary_queue_length",
            "Payments in the queue payment_order.",
            figures.length as f64,
        ),
        gauge(
            "tributary_queue_length_max",
            "As many may be in it.",
            shared.engine.queue_length_max() as f64,
        ),
        gauge(
            "tributary_queue_later",
            "Of those in it, the ones whose time has not come.",
            figures.later as f64,
        ),
        gauge(
            "tributary_queue_in_flight",
            "Of those in it, the ones that are being decided.",
            figures.in_flight as f64,
        ),
        gauge(
            "tributary_queue_oldest_seconds",
            "Age of the oldest payment in it; 0 if there is none.",
            age(figures.oldest),
        ),
        gauge(
            "tributary_queue_longest_wait_seconds",
            "For how long the payment in it has waited for its turn whose time came first; 0 if no payment's has come.",
            age(figures.placed),
        ),
        gauge(
            "tributary_queue_paused",
            "1 while it is paused.",
            stands(QueueMode::Paused),
        ),
        gauge(
            "tributary_queue_draining",
            "1 while it is draining.",
            stands(QueueMode::Draining),
        ),
        gauge(
            "tributary_queue_arrivals_per_second",
            "Payments that took their place in it, over the last minute.",
            rates.arrivals_per_second(),
        ),
        gauge(
            "tributary_queue_done_per_second",
            "Payments of it that were decided, over the last minute.",
            rates.done_per_second(),
        ),
        gauge(
            "tributary_queue_wait_seconds",
            "Average wait of a payment for its turn, over the last minute; 0 if none had it.",
            average(rates.wait_average),
        ),
        gauge(
            "tributary_queue_processing_seconds",
            "Average time until a payment whose turn had come was decided durably, over the last minute; 0 if none was.",
            average(rates.processing_average),
        ),
        total(
            "tributary_queue_run_total",
            "Payments of it that went through.",
            figures.run,
        ),
        total(
            "tributary_queue_failed_total",
            "Payments of it that failed when their turn had come.",
            figures.failed,
        ),
        total(
            "tributary_queue_expired_total",
            "Payments of it that were too late.",
            figures.expired,
        ),
        total(
            "tributary_queue_voided_total",
            "Payments of it that were taken back.",
            figures.voided,
        ),
        total(
            "tributary_queue_refused_total",
            "Payments that it did not accept, because it was full or draining.",
            refused,
        ),
    ];
    let model = queue_model(&figures, shared.engine.queue_length_max());
    let mut expect = |name, help, of: fn(&ModelObject) -> Option<f64>| {
        if let Some(value) = model.as_ref().and_then(of) {
            numbers.push(gauge(name, help, value));
        }
    };
    expect(
        "tributary_queue_expected_wait_seconds",
        "Mean wait that queueing theory expects at the rates of the last minute.",
        |model| model.wait_seconds,
    );
    expect(
        "tributary_queue_expected_length",
        "Mean number of waiting payments that it expects.",
        |model| model.length,
    );
    expect(
        "tributary_queue_expected_waiting_ratio",
        "Probability of waiting that it expects.",
        |model| model.waits,
    );
    expect(
        "tributary_queue_expected_utilisation_ratio",
        "Share of what can be decided at once that it expects to be in use.",
        |model| model.utilisation,
    );
    numbers
}

/// What is known of a subscription.
struct Known {
    labels: String,
    figures: Figures,
    stalled: bool,
    paused: bool,
    model: Option<ModelObject>,
    /// Of the published journal.
    head: u64,
    now: u64,
}

/// Name, help, whether it only grows, and where it is found, if it is known.
type Figure = (&'static str, &'static str, bool, fn(&Known) -> Option<f64>);

fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}

/// What there is of every subscription.
const FIGURES: [Figure; 21] = [
    (
        "tributary_subscription_waiting",
        "Matching events in memory that wait.",
        false,
        |known| Some(known.figures.waiting as f64),
    ),
    (
        "tributary_subscription_lag",
        "Events that were not looked at yet.",
        false,
        |known| Some(known.head.saturating_sub(known.figures.scanned) as f64),
    ),
    (
        "tributary_subscription_in_flight",
        "Events in the hands of receivers.",
        false,
        |known| Some(known.figures.in_flight as f64),
    ),
    (
        "tributary_subscription_retrying",
        "Events that wait for another attempt.",
        false,
        |known| Some(known.figures.retrying as f64),
    ),
    (
        "tributary_subscription_dead_letters",
        "Events that were given up.",
        false,
        |known| Some(known.figures.dead as f64),
    ),
    (
        "tributary_subscription_oldest_seconds",
        "Age of the oldest event that is not done.",
        false,
        |known| {
            let oldest = known.figures.oldest.unwrap_or(known.now);
            Some(seconds(known.now.saturating_sub(oldest)))
        },
    ),
    (
        "tributary_subscription_handed_out_total",
        "Events handed out.",
        true,
        |known| Some(known.figures.handed_out as f64),
    ),
    (
        "tributary_subscription_acknowledged_total",
        "Events acknowledged.",
        true,
        |known| Some(known.figures.acknowledged as f64),
    ),
    (
        "tributary_subscription_failed_total",
        "AttemptQuery that were refused, or not answered in time.",
        true,
        |known| Some(known.figures.failed as f64),
    ),
    (
        "tributary_subscription_expired_total",
        "Events dropped for their age.",
        true,
        |known| Some(known.figures.expired as f64),
    ),
    (
        "tributary_subscription_stalled",
        "1 while it takes no new events, for too many dead letters or retries.",
        false,
        |known| Some(f64::from(u8::from(known.stalled))),
    ),
    (
        "tributary_subscription_paused",
        "1 while it is paused.",
        false,
        |known| Some(f64::from(u8::from(known.paused))),
    ),
    (
        "tributary_subscription_arrivals_per_second",
        "Matching events per second, over the last minute.",
        false,
        |known| Some(known.figures.rates.arrivals_per_second()),
    ),
    (
        "tributary_subscription_done_per_second",
        "Acknowledged events per second, over the last minute.",
        false,
        |known| Some(known.figures.rates.done_per_second()),
    ),
    (
        "tributary_subscription_wait_seconds",
        "Average time from an event to its first delivery, over the last minute.",
        false,
        |known| known.figures.rates.wait_average.map(seconds),
    ),
    (
        "tributary_subscription_processing_seconds",
        "Average time from a delivery to its acknowledgement, over the last minute.",
        false,
        |known| known.figures.rates.processing_average.map(seconds),
    ),
    (
        "tributary_subscription_expected_unstable",
        "1 while more comes than the workers can do, by the queueing model at the measured rates.",
        false,
        |known| Some(f64::from(u8::from(known.model.as_ref()?.unstable))),
    ),
    (
        "tributary_subscription_expected_utilisation_ratio",
        "Share of the workers that are busy, by the model.",
        false,
        |known| known.model.as_ref()?.utilisation,
    ),
    (
        "tributary_subscription_expected_waiting_ratio",
        "Probability that an event has to wait, by the model.",
        false,
        |known| known.model.as_ref()?.waits,
    ),
    (
        "tributary_subscription_expected_wait_seconds",
        "Average wait, by the model.",
        false,
        |known| known.model.as_ref()?.wait_seconds,
    ),
    (
        "tributary_subscription_expected_length",
        "Average number of events that wait, by the model.",
        false,
        |known| known.model.as_ref()?.length,
    ),
];

/// Commands that were refused before they reached the ledger.
fn refusal_numbers(shared: &Shared) -> Labelled {
    let value = |one: RefusalCount| {
        let api_key = one.api_key.map_or_else(
            || "others".to_owned(),
            |key| shared.reader.ids().encode(IdKind::ApiKey, key.0),
        );
        let labels = format!("api_key=\"{api_key}\",code=\"{}\"", one.code);
        (labels, one.count as f64)
    };
    Labelled {
        name: "tributary_intake_refused_total",
        help: "Commands refused before the ledger, because the API key may not see or do what they name.",
        counter: true,
        values: shared.intake.refusals().into_iter().map(value).collect(),
    }
}

fn subscription_numbers(shared: &Shared) -> Vec<Labelled> {
    let Some(messaging) = shared.messaging.as_ref() else {
        return Vec::new();
    };
    let (head, now) = (shared.reader.published(), messaging.now());
    let known: Vec<Known> = messaging
        .subscriptions()
        .into_iter()
        .filter_map(|one| {
            let (figures, stalled) = messaging.figures(one.id).ok()?;
            let id = shared.reader.ids().encode_subscription(one.id);
            Some(Known {
                labels: format!("subscription=\"{id}\""),
                stalled: stalled.is_some(),
                paused: one.terms.paused.is_some(),
                model: subscription_model(shared.transport(), &one, &figures.rates),
                figures,
                head,
                now,
            })
        })
        .collect();
    let number = |(name, help, counter, value): Figure| Labelled {
        name,
        help,
        counter,
        values: known
            .iter()
            .filter_map(|known| Some((known.labels.clone(), value(known)?)))
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
            messaging.log_is_written(),
        ),
        up(
            "tributary_history_up",
            "1 while the history of deliveries can be written, or none is wanted.",
            messaging.history_is_written(),
        ),
    ];
    FIGURES.into_iter().map(number).chain(kept).collect()
}
