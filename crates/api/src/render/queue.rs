//! The queue of payments, as it looks from outside.

use serde::Serialize;
use tributary_engine::{IdKind, QueueFigures};
use tributary_ledger::codec::Record;
use tributary_ledger::{ApiKeyId, QueueMode};
use utoipa::ToSchema;
use utoipa::openapi::schema::Object;

use crate::error::ApiError;
use crate::render::common::created;
use crate::render::model::ModelObject;
use crate::schema::one_of;
use crate::time::format_timestamp;
use tributary_engine::Reader;

fn queue_states() -> Object {
    one_of(QueueMode::ALL.map(QueueMode::name))
}

/// State of a queue.
#[derive(Serialize, ToSchema)]
#[schema(as = QueueStanding)]
pub struct StandingObject {
    #[schema(pattern = "^queue$")]
    object: &'static str,
    #[schema(pattern = "^payment_order$")]
    name: &'static str,
    /// `active`; `paused`: payments are accepted and none runs; `draining`: they run and none is accepted.
    #[schema(schema_with = queue_states)]
    status: &'static str,
    /// Since when; null if that was never changed.
    #[schema(required, format = DateTime)]
    changed: Option<String>,
    /// The API key that changed it.
    #[schema(required)]
    changed_by: Option<String>,
}

/// A queue as it is now. Counts of what left it are since the server's start, rates and averages over the last minute.
#[derive(Serialize, ToSchema)]
#[schema(as = Queue)]
pub struct QueueObject {
    #[serde(flatten)]
    standing: StandingObject,
    /// Payments that wait.
    length: usize,
    /// Maximum number of queued payments.
    length_max: usize,
    /// Of those that wait, the ones whose `not_before` has not come.
    later: usize,
    /// Of those that wait, the ones that are being decided.
    in_flight: usize,
    /// When the oldest of them was accepted.
    #[schema(required, format = DateTime)]
    oldest: Option<String>,
    /// How long ago that was.
    #[schema(required)]
    oldest_seconds: Option<f64>,
    /// Payments per second that took their place: accepted, or at their `not_before`.
    rate_in: f64,
    /// Payments per second that were decided.
    rate_out: f64,
    /// Payments per second that were not accepted, because it was full or draining.
    rate_refused: f64,
    /// From a payment's place in the queue to its turn.
    #[schema(required)]
    average_wait_seconds: Option<f64>,
    /// From its turn until the decision was durable.
    #[schema(required)]
    average_processing_seconds: Option<f64>,
    /// Payments that went through.
    run: u64,
    /// Payments that failed when their turn had come.
    failed: u64,
    /// Payments that were too late.
    expired: u64,
    /// Payments that were taken back.
    voided: u64,
    /// What queueing theory expects at these rates, to be held against what is observed; null if no payment was decided in the
    /// last minute.
    #[schema(required)]
    model: Option<ModelObject>,
}

/// How the queue stands since `record`, which set it.
pub fn standing(reader: &Reader, mode: QueueMode, record: Option<&Record>) -> StandingObject {
    let key = record.map(|record| record.command.actor.api_key);
    let key = key.filter(|key| *key != ApiKeyId::SYSTEM);
    StandingObject {
        object: "queue",
        name: "payment_order",
        status: mode.name(),
        changed: record.map(|record| format_timestamp(record.ctx.timestamp)),
        changed_by: key.map(|key| reader.ids().encode(IdKind::ApiKey, key.0)),
    }
}

/// Returns the queue at `now`. `model` is what theory expects of it.
pub fn queue(
    reader: &Reader,
    figures: &QueueFigures,
    length_max: usize,
    model: Option<ModelObject>,
    now: u64,
) -> Result<QueueObject, ApiError> {
    let set_at = figures.state.changed_at;
    let record = match set_at {
        0 => None,
        position => Some(created(reader, position)?),
    };
    let rates = &figures.rates;
    let age = |since: u64| seconds(now.saturating_sub(since));
    Ok(QueueObject {
        standing: standing(reader, figures.state.mode, record.as_ref()),
        length: figures.length,
        length_max,
        later: figures.later,
        in_flight: figures.in_flight,
        oldest: figures.oldest.map(format_timestamp),
        oldest_seconds: figures.oldest.map(age),
        rate_in: rates.arrivals_per_second(),
        rate_out: rates.done_per_second(),
        rate_refused: rates.offered_per_second() - rates.arrivals_per_second(),
        average_wait_seconds: rates.wait_average.map(seconds),
        average_processing_seconds: rates.processing_average.map(seconds),
        run: figures.run,
        failed: figures.failed,
        expired: figures.expired,
        voided: figures.voided,
        model,
    })
}

fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}
