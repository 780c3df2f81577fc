//! Subscriptions and what they deliver, as they look from outside.

use serde::Serialize;
use tributary_engine::Reader;
use tributary_ledger::{Setting, SettingKind};
use tributary_messaging::{
    Backoff, DeliveryIds, Figures, Kind, Letter, Order, Pattern, Subscription,
};
use utoipa::ToSchema;
use utoipa::openapi::schema::Object;

use crate::form::subscription::{BackoffForm, OrderForm};
use crate::render::common::owner_name;
use crate::render::event::EventObject;
use crate::render::model::ModelObject;
use crate::schema::one_of;
use crate::time::format_timestamp;
use crate::transport::PushTransport;

/// Nanoseconds in a second.
const SECOND: u64 = 1_000_000_000;

fn subscription_kinds() -> Object {
    one_of(["pull", "push", "sink"])
}

fn subscription_states() -> Object {
    one_of(["active", "paused"])
}

/// A standing request for events.
#[derive(Serialize, ToSchema)]
#[schema(as = Subscription)]
pub struct SubscriptionObject {
    id: String,
    #[schema(pattern = "^subscription$")]
    object: &'static str,
    /// `pull`, `push` for webhooks, or `sink` for a binding.
    #[schema(schema_with = subscription_kinds)]
    kind: &'static str,
    /// Where webhooks are sent to.
    #[schema(required)]
    url: Option<String>,
    /// The binding that events are sent to.
    #[schema(required)]
    binding: Option<String>,
    /// Secret that signs the webhooks: shown only when it is new.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
    /// Name for tools, unique among the owner's subscriptions.
    slug: String,
    /// Name of the file or tool that manages the subscription.
    #[schema(required)]
    managed_by: Option<String>,
    /// Number of this revision, from 1.
    revision: u64,
    /// In whose name it was made: it gets the events that this owner may see.
    made_by: String,
    /// `active` or `paused`.
    #[schema(schema_with = subscription_states)]
    status: &'static str,
    #[schema(required)]
    paused_reason: Option<String>,
    events: Vec<String>,
    #[schema(required)]
    currency: Option<String>,
    #[schema(required)]
    owner: Option<String>,
    order: OrderForm,
    attempts_max: u32,
    backoff: BackoffForm,
    jitter: u8,
    visibility_seconds: u64,
    in_flight_max: u32,
    ttl_seconds: u64,
    delay_seconds: u64,
    #[schema(required)]
    workers: Option<u32>,
    name: String,
    #[schema(value_type = crate::form::value::MetadataForm)]
    metadata: serde_json::Value,
    #[schema(format = DateTime)]
    created: String,
    /// When this revision was made.
    #[schema(format = DateTime)]
    updated: String,
    /// What the subscription does; absent where a revision is shown that may not be the newest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub figures: Option<FiguresObject>,
}

/// What a subscription does. Counts are since the server's start, rates and averages over the last minute.
#[derive(Serialize, ToSchema)]
#[schema(as = SubscriptionFigures)]
pub struct FiguresObject {
    /// Matching events that wait; with a `lag`, at least so many.
    length: u64,
    /// Events that were not looked at yet: they may match or not.
    lag: u64,
    in_flight: u64,
    /// Of those that wait, the ones that were handed out before.
    retrying: u64,
    dead_letters: u64,
    /// When the oldest event happened that is not done.
    #[schema(required, format = DateTime)]
    oldest: Option<String>,
    /// Matching events per second.
    rate_in: f64,
    /// Acknowledged events per second.
    rate_out: f64,
    /// From an event to its first delivery.
    #[schema(required)]
    average_wait_seconds: Option<f64>,
    /// From a delivery to its acknowledgement.
    #[schema(required)]
    average_processing_seconds: Option<f64>,
    handed_out: u64,
    acknowledged: u64,
    failed: u64,
    /// Dropped because they were older than `ttl_seconds`.
    expired: u64,
    /// Why no new events are taken now, if none are.
    #[schema(required)]
    stalled: Option<&'static str>,
    /// What queueing theory expects at these rates; null where the number of workers is not known or nothing was measured.
    #[schema(required)]
    model: Option<ModelObject>,
}

fn seconds(nanos: u64) -> f64 {
    nanos as f64 / SECOND as f64
}

/// Returns the figures of a subscription. `model` is what theory expects of it.
pub fn figures(
    reader: &Reader,
    figures: &Figures,
    stalled: Option<&'static str>,
    model: Option<ModelObject>,
) -> FiguresObject {
    let rates = &figures.rates;
    FiguresObject {
        length: figures.waiting,
        lag: reader.published().saturating_sub(figures.scanned),
        in_flight: figures.in_flight,
        retrying: figures.retrying,
        dead_letters: figures.dead,
        oldest: figures.oldest.map(format_timestamp),
        rate_in: rates.arrivals_per_second(),
        rate_out: rates.done_per_second(),
        average_wait_seconds: rates.wait_average.map(seconds),
        average_processing_seconds: rates.processing_average.map(seconds),
        handed_out: figures.handed_out,
        acknowledged: figures.acknowledged,
        failed: figures.failed,
        expired: figures.expired,
        stalled,
        model,
    }
}

fn backoff(backoff: &Backoff) -> BackoffForm {
    match backoff {
        Backoff::Exponential { first, factor, max } => BackoffForm {
            first_seconds: Some(first / SECOND),
            factor: Some(*factor),
            max_seconds: Some(max / SECOND),
            delays_seconds: None,
        },
        Backoff::List(delays) => BackoffForm {
            first_seconds: None,
            factor: None,
            max_seconds: None,
            delays_seconds: Some(delays.iter().map(|delay| delay / SECOND).collect()),
        },
    }
}

/// Returns the subscription that a setting defines.
pub fn subscription(
    reader: &Reader,
    transport: Option<&dyn PushTransport>,
    setting: &Setting,
    of: &Subscription,
    figures: Option<FiguresObject>,
) -> SubscriptionObject {
    let terms = &of.terms;
    let policy = &terms.policy;
    SubscriptionObject {
        id: reader.ids().encode_subscription(of.id),
        object: "subscription",
        kind: match terms.kind {
            Kind::Pull => "pull",
            Kind::Push { .. } => "push",
            Kind::Sink { .. } => "sink",
        },
        url: match &terms.kind {
            Kind::Push { target } => transport.and_then(|transport| transport.target_url(target)),
            Kind::Pull | Kind::Sink { .. } => None,
        },
        binding: match terms.kind {
            Kind::Sink { binding } => {
                Some(reader.ids().encode_setting(SettingKind::BINDING, binding))
            }
            Kind::Pull | Kind::Push { .. } => None,
        },
        secret: None,
        slug: setting.slug.to_string(),
        managed_by: setting.managed_by.as_ref().map(ToString::to_string),
        revision: setting.revision,
        made_by: owner_name(reader, of.scope),
        status: match terms.paused {
            None => "active",
            Some(_) => "paused",
        },
        paused_reason: terms.paused.clone(),
        events: terms
            .filter
            .patterns
            .iter()
            .map(Pattern::as_str)
            .map(str::to_owned)
            .collect(),
        currency: terms.filter.currency.map(|currency| currency.to_string()),
        owner: terms.filter.owner.map(|owner| owner_name(reader, owner)),
        order: match policy.order {
            Order::None => OrderForm::None,
            Order::Object => OrderForm::Object,
        },
        attempts_max: policy.attempts_max,
        backoff: backoff(&policy.backoff),
        jitter: policy.jitter,
        visibility_seconds: policy.visibility / SECOND,
        in_flight_max: policy.in_flight_max,
        ttl_seconds: policy.ttl / SECOND,
        delay_seconds: policy.delay / SECOND,
        workers: policy.workers,
        name: terms.name.clone(),
        metadata: serde_json::from_str(&terms.metadata).unwrap_or_default(),
        created: format_timestamp(of.created_at),
        updated: format_timestamp(setting.changed.timestamp),
        figures,
    }
}

/// Events on loan.
#[derive(Serialize, ToSchema)]
#[schema(as = Deliveries)]
pub struct DeliveriesObject {
    /// The kind of the object.
    #[schema(pattern = "^deliveries$")]
    pub object: &'static str,
    /// None if no event came in time.
    pub data: Vec<DeliveryObject>,
}

/// An event, and what to acknowledge it by.
#[derive(Serialize, ToSchema)]
#[schema(as = Delivery)]
pub struct DeliveryObject {
    /// Receipt by which the event is acknowledged.
    pub receipt: String,
    /// 1 for the first.
    pub attempt: u32,
    /// The event.
    pub event: EventObject,
}

/// Result of an operation on receipts.
#[derive(Serialize, ToSchema)]
#[schema(as = ReceiptsAnswer)]
pub struct ReceiptsObject {
    /// The kind of the object.
    #[schema(pattern = "^receipts$")]
    pub object: &'static str,
    /// How many it was done for.
    pub done: usize,
    /// Those that are of an attempt that is over, or of none: nothing was done for them.
    pub expired: Vec<String>,
}

/// An event that was given up.
#[derive(Serialize, ToSchema)]
#[schema(as = DeadLetter)]
pub struct DeadLetterObject {
    #[schema(pattern = "^dead_letter$")]
    object: &'static str,
    /// None if the event's record can't be read.
    #[schema(required)]
    event: Option<EventObject>,
    /// How often it was handed out.
    attempts: u32,
    #[schema(format = DateTime)]
    died: String,
    /// The first attempt and the last ones, at most 8.
    history: Vec<AttemptObject>,
}

/// An attempt that failed.
#[derive(Serialize, ToSchema)]
#[schema(as = DeadLetterAttempt)]
pub struct AttemptObject {
    #[schema(format = DateTime)]
    at: String,
    error: String,
}

/// Returns the object of a dead letter.
pub fn dead_letter(letter: &Letter, event: Option<EventObject>) -> DeadLetterObject {
    let attempts = letter.history.iter().map(|attempt| AttemptObject {
        at: format_timestamp(attempt.at),
        error: attempt.error.to_string(),
    });
    DeadLetterObject {
        object: "dead_letter",
        event,
        attempts: letter.attempt,
        died: format_timestamp(letter.due),
        history: attempts.collect(),
    }
}

/// Result of an operation on dead letters.
#[derive(Serialize, ToSchema)]
#[schema(as = DeadLettersChanged)]
pub struct DeadLettersObject {
    /// The kind of the object.
    #[schema(pattern = "^dead_letters$")]
    pub object: &'static str,
    /// How many it was done to.
    pub done: usize,
    /// How many dead letters are left.
    pub left: u64,
}

/// A subscription that is gone.
#[derive(Serialize, ToSchema)]
#[schema(as = SubscriptionDeleted)]
pub struct DeletedObject {
    /// The id of the subscription.
    pub id: String,
    /// The kind of the object.
    #[schema(pattern = "^subscription$")]
    pub object: &'static str,
    /// Always true.
    pub deleted: bool,
}
