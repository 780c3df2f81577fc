//! What bindings do, as it looks from outside.

use serde::Serialize;
use tributary_engine::{IdKind, Reader};
use tributary_ledger::codec::Record;
use tributary_messaging::Figures;
use utoipa::ToSchema;
use utoipa::openapi::schema::Object;

use crate::brokers::{BindingFigures, Standing};
use crate::error::{ApiError, ErrorBody};
use crate::render::answer::{AnswerObject, answer};
use crate::schema::one_of;
use crate::time::format_timestamp;

/// Nanoseconds in a second.
const SECOND: f64 = 1e9;

fn standings() -> Object {
    one_of(["connecting", "running", "waiting", "stopped"])
}

/// What a binding does. Counts are since it was started with its present definition, rates and averages over the last minute.
#[derive(Serialize, ToSchema)]
#[schema(as = BindingFigures)]
pub struct BindingFiguresObject {
    #[schema(pattern = "^binding_figures$")]
    object: &'static str,
    /// `waiting` will try again by itself; `stopped` needs a change of the binding, its binder or its API key.
    #[schema(schema_with = standings)]
    standing: &'static str,
    /// Why it waits or stands still: what happened, where, and what to do.
    #[schema(required)]
    why: Option<String>,
    /// Kind of the trouble at the broker, such as `unreachable`.
    #[schema(required)]
    trouble: Option<&'static str>,
    received: u64,
    /// Of these, the ones that the broker says it had delivered before.
    redelivered: u64,
    /// Messages that were decided now, accepted or refused.
    decided: u64,
    /// Replies or events that the broker confirmed.
    sent: u64,
    /// Messages that had been decided before.
    repeated: u64,
    /// Messages that a rule of the map leaves out.
    left_out: u64,
    /// Messages that could not be decided, and went to the destination of dead letters.
    dead_letters: u64,
    /// Connections that were lost.
    reconnects: u64,
    /// Messages that were received and not acknowledged yet.
    in_hand: u64,
    /// When the oldest of these was received.
    #[schema(required, format = DateTime)]
    oldest_in_hand: Option<String>,
    /// Messages that wait at the broker, without those in hand, as it told within the last 10 seconds; null where it does not tell, while
    /// there is no connection, and of a binding that sends.
    #[schema(required)]
    lag: Option<u64>,
    /// Replies that are not done: they wait to be sent for the first time or again. Null of a binding that sends.
    #[schema(required)]
    replies_waiting: Option<u64>,
    /// Replies that were given up: `GET /v1/bindings/{id}/dead_letters` lists them. Null of a binding that sends.
    #[schema(required)]
    reply_dead_letters: Option<u64>,
    /// Messages received per second.
    rate_in: f64,
    /// Messages acknowledged, or confirmed by the broker, per second.
    rate_out: f64,
    /// From the receipt of a message to its durable record; of a binding that sends, to the broker's confirmation.
    #[schema(required)]
    average_processing_seconds: Option<f64>,
    /// The longest of these times.
    #[schema(required)]
    longest_processing_seconds: Option<f64>,
}

fn seconds(nanos: u64) -> f64 {
    nanos as f64 / SECOND
}

/// Returns the figures of a binding. `replies` are those of its replies, if it takes messages in.
pub fn binding_figures(figures: BindingFigures, replies: Option<&Figures>) -> BindingFiguresObject {
    let (standing, trouble, why) = match figures.standing {
        Standing::Connecting => ("connecting", None, None),
        Standing::Running => ("running", None, None),
        Standing::Waiting { kind, why } => ("waiting", kind, Some(why)),
        Standing::Stopped { why } => ("stopped", None, Some(why)),
    };
    let rates = figures.rates;
    BindingFiguresObject {
        object: "binding_figures",
        standing,
        why,
        trouble,
        received: figures.received,
        redelivered: figures.redelivered,
        decided: figures.decided,
        sent: figures.sent,
        repeated: figures.repeated,
        left_out: figures.left_out,
        dead_letters: figures.dead_letters,
        reconnects: figures.reconnects,
        in_hand: figures.in_hand,
        oldest_in_hand: figures.oldest_in_hand.map(format_timestamp),
        lag: figures.lag,
        replies_waiting: replies.map(|replies| replies.waiting + replies.in_flight),
        reply_dead_letters: replies.map(|replies| replies.dead),
        rate_in: rates.arrivals_per_second(),
        rate_out: rates.done_per_second(),
        average_processing_seconds: rates.processing_average.map(seconds),
        longest_processing_seconds: rates.processing_longest.map(seconds),
    }
}

/// What became of a message that a binding took in.
#[derive(Serialize, ToSchema)]
#[schema(as = BindingMessage)]
pub struct BindingMessageObject {
    #[schema(pattern = "^binding_message$")]
    object: &'static str,
    /// The event that tells the decision.
    event: String,
    #[schema(format = DateTime)]
    decided: String,
    /// The object that the command made or changed, as it was then; null if the command was refused.
    #[schema(required)]
    result: Option<AnswerObject>,
    /// Why the command was refused; null if it was done.
    #[schema(required)]
    error: Option<ErrorBody>,
}

/// Returns what became of the message in `record`. `request` is the id of the request, for the error.
///
/// # Errors
/// If the journal can't be read.
pub fn binding_message(
    reader: &Reader,
    record: &Record,
    request: &str,
) -> Result<BindingMessageObject, ApiError> {
    let (result, error) = match answer(reader, record) {
        Ok(made) => (Some(made.object), None),
        Err(error) if error.status() >= 500 => return Err(error),
        Err(error) => (None, Some(error.body(request))),
    };
    Ok(BindingMessageObject {
        object: "binding_message",
        event: reader.ids().encode(IdKind::Event, record.ctx.position),
        decided: format_timestamp(record.ctx.timestamp),
        result,
        error,
    })
}
