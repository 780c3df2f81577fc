//! The bodies of requests about subscriptions.

use serde::{Deserialize, Serialize};
use tributary_engine::{IdKind, Ids, Reader};
use tributary_ledger::OwnerId;
use tributary_messaging::{
    Backoff, BadSetting, Filter, Kind, Order, Pattern, Policy, StartAt, Terms,
};
use utoipa::ToSchema;

use crate::caller::Caller;
use crate::error::ApiError;
use crate::form::json::given;
use crate::form::value::{CurrencyForm, MetadataForm, OwnerText};
use crate::render::event_schema::event_types;
use crate::time::parse_timestamp;
use crate::visibility::visible_event;

/// Nanoseconds in a second.
const SECOND: u64 = 1_000_000_000;
/// How long the signing secret before signs too after a rotation, if nothing else is said: one day, in seconds.
pub const OVERLAP_SECONDS_DEFAULT: u64 = 86_400;
/// Receipts in one request, at most.
const RECEIPTS_MAX: usize = 1_000;

/// Make a subscription.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SubscriptionCreate {
    /// Where events are sent to as webhooks. Without it they are fetched by `/receive`.
    #[serde(default)]
    pub url: Option<String>,
    /// What signs the webhooks, `whsec_` and 24 to 64 bytes in base 64; made if left out.
    #[serde(default)]
    pub secret: Option<String>,
    /// Slug or id of a binding whose `direction` is `out`: events are sent to its broker. Only for the platform. It can't be changed
    /// later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub binding: Option<String>,
    /// Where it begins: `now` (the default), `beginning`, the id of an event to begin after, or a time.
    #[serde(default)]
    start: Option<String>,
    /// In which order events are handed out; `none` if left out, `object` if they go to a binding. With `object`, events about one payment, account or key
    /// come one after the other. It can't be changed later.
    #[serde(default)]
    order: Option<OrderForm>,
    /// Patterns of event types, at most 16: words between dots, where `*` is one word and `#` any number of words. With none,
    /// only the results of queued payments come that name the subscription in `reply_to`.
    events: Vec<String>,
    /// Only events about money in this currency.
    #[serde(default)]
    currency: Option<String>,
    /// Only events that this owner may see. An owner's key gets only its own owner's events in any case.
    #[serde(default)]
    owner: Option<String>,
    /// After so many attempts an event becomes a dead letter: 1 to 1,000; 16 if left out.
    #[serde(default)]
    attempts_max: Option<u32>,
    #[serde(default)]
    backoff: Option<BackoffForm>,
    /// Percent by which delays of the backoff vary; 20 if left out.
    #[serde(default)]
    jitter: Option<u8>,
    /// How long a receiver has for an event: 1 to 43,200; 30 if left out.
    #[serde(default)]
    visibility_seconds: Option<u64>,
    /// Events in the hands of receivers, at most: 1 to 10,000; 1,000 if left out.
    #[serde(default)]
    in_flight_max: Option<u32>,
    /// Older events are dropped instead of handed out; 0, as if left out, for never.
    #[serde(default)]
    ttl_seconds: Option<u64>,
    /// Younger events wait; 0 if left out.
    #[serde(default)]
    delay_seconds: Option<u64>,
    /// How many receivers work on it at once, one event each: 1 to 10,000. Only the model in `figures` asks.
    #[serde(default)]
    workers: Option<u32>,
    /// Name for tools, unique among the owner's subscriptions: 1 to 64 of `a-z 0-9 . _ -`; made if left out.
    #[serde(default)]
    pub slug: Option<String>,
    /// Name of the file or tool that manages the subscription, at most 64 bytes.
    #[serde(default)]
    pub managed_by: Option<String>,
    /// For people, at most 128 bytes.
    #[serde(default)]
    name: Option<String>,
    /// At most 20 names of 1 to 40 bytes, each with at most 500 bytes of text.
    #[serde(default)]
    #[schema(value_type = Option<MetadataForm>)]
    metadata: Option<std::collections::BTreeMap<String, String>>,
}

/// Change a subscription: what is left out stays.
#[derive(Clone, Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SubscriptionUpdate {
    /// Revision that must be the newest, else the answer is `setting_conflict`. Left out, the change is made to whatever is newest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<u64>,
    /// Another name for tools.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slug: Option<String>,
    /// Another name of what manages the subscription; null for nothing.
    #[serde(
        default,
        deserialize_with = "given",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<String>)]
    pub managed_by: Option<Option<String>>,
    /// Where webhooks are sent to from now on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Patterns of event types, for events from now on.
    #[serde(skip_serializing_if = "Option::is_none")]
    events: Option<Vec<String>>,
    /// Only events about money in this currency, from now on; null for any.
    #[serde(
        default,
        deserialize_with = "given",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<CurrencyForm>)]
    currency: Option<Option<CurrencyForm>>,
    /// Only events that this owner may see, from now on; null for any.
    #[serde(
        default,
        deserialize_with = "given",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<OwnerText>)]
    owner: Option<Option<OwnerText>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attempts_max: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    backoff: Option<BackoffForm>,
    #[serde(skip_serializing_if = "Option::is_none")]
    jitter: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    visibility_seconds: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    in_flight_max: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl_seconds: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delay_seconds: Option<u64>,
    /// How many receivers work on it at once; null if that is not known.
    #[serde(
        default,
        deserialize_with = "given",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<u32>)]
    workers: Option<Option<u32>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<MetadataForm>,
}

/// In which order events are handed out.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = SubscriptionOrder)]
pub enum OrderForm {
    /// In any order.
    None,
    /// Events about one object one after the other.
    Object,
}

/// How long to wait between attempts: `first_seconds`, `factor` and `max_seconds`, or `delays_seconds`.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SubscriptionBackoff)]
pub struct BackoffForm {
    /// After the first attempt; 1 if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_seconds: Option<u64>,
    /// How many times as long each next time: 1 to 10; 2 if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub factor: Option<u32>,
    /// At most; 3,600 if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_seconds: Option<u64>,
    /// These delays instead, 1 to 32; the last one for all that follow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delays_seconds: Option<Vec<u64>>,
}

impl BackoffForm {
    fn engine(&self) -> Result<Backoff, ApiError> {
        let nanos = |seconds: u64| seconds.saturating_mul(SECOND);
        let exponential =
            self.first_seconds.is_some() || self.factor.is_some() || self.max_seconds.is_some();
        match &self.delays_seconds {
            Some(_) if exponential => Err(ApiError::invalid(
                "backoff",
                "Give either delays_seconds or the other fields, not both.",
            )),
            Some(delays) => Ok(Backoff::List(delays.iter().copied().map(nanos).collect())),
            None => Ok(Backoff::Exponential {
                first: nanos(self.first_seconds.unwrap_or(1)),
                factor: self.factor.unwrap_or(2),
                max: nanos(self.max_seconds.unwrap_or(3_600)),
            }),
        }
    }
}

/// Returns the error for a setting of a subscription that is out of bounds.
pub fn bad_setting(bad: BadSetting) -> ApiError {
    ApiError::invalid(bad.field, format!("{} {}.", bad.field, bad.what))
}

/// Reads patterns of event types.
///
/// # Errors
/// A pattern has a wrong form, or matches no type of event: it is misspelt.
pub fn patterns(events: &[impl AsRef<str>]) -> Result<Vec<Pattern>, ApiError> {
    events.iter().map(|text| pattern(text.as_ref())).collect()
}

fn pattern(text: &str) -> Result<Pattern, ApiError> {
    let pattern = Pattern::new(text).map_err(bad_setting)?;
    let published = matches!(text.split('.').next(), Some("app" | "*" | "#"));
    if published || event_types().iter().any(|kind| pattern.matches(kind)) {
        return Ok(pattern);
    }
    let message = format!("No type of event matches `{text}`; docs/events.md lists the types.");
    Err(ApiError::invalid("events", message))
}

/// Returns where `text` says to begin. An event must be one that the caller may see.
pub fn from(
    reader: &Reader,
    caller: &Caller,
    text: &str,
    param: &str,
) -> Result<StartAt, ApiError> {
    match text {
        "now" => return Ok(StartAt::Now),
        "beginning" => return Ok(StartAt::Beginning),
        _ => {}
    }
    let event = visible_event(reader, caller, text)?.map(StartAt::After);
    let time = || parse_timestamp(text).map(StartAt::Time);
    event.or_else(time).ok_or_else(|| {
        let message =
            format!("{param} must be now, beginning, the id of an event, or an RFC 3339 time.");
        ApiError::invalid(param, message)
    })
}

impl SubscriptionCreate {
    /// The settings, and where to begin. An event to begin after must be one that the caller may
    /// see. `kind` and `policy` are those of the transport; `owner` finds the owner of a name.
    pub fn terms(
        self,
        reader: &Reader,
        caller: &Caller,
        kind: Kind,
        policy: Policy,
        owner: impl Fn(&str) -> Result<OwnerId, ApiError>,
    ) -> Result<(Terms, StartAt), ApiError> {
        let start = from(
            reader,
            caller,
            self.start.as_deref().unwrap_or("now"),
            "start",
        )?;
        let order = match self.order {
            Some(OrderForm::Object) => Order::Object,
            Some(OrderForm::None) => Order::None,
            None => policy.order,
        };
        let currency = |code: String| {
            tributary_ledger::Currency::from_code(&code)
                .map_err(|_| ApiError::invalid("currency", "currency must be an ISO 4217 code."))
        };
        let mut terms = Terms {
            filter: Filter {
                patterns: Vec::new(),
                currency: self.currency.map(currency).transpose()?,
                owner: None,
            },
            kind,
            policy: Policy { order, ..policy },
            paused: None,
            name: String::new(),
            metadata: "{}".to_owned(),
        };
        if let Some(metadata) = &self.metadata {
            for (name, value) in metadata {
                crate::form::value::metadata_entry(name, value)
                    .map_err(|message| ApiError::invalid("metadata", message))?;
            }
        }
        let update = SubscriptionUpdate {
            revision: None,
            slug: None,
            managed_by: None,
            url: None,
            events: Some(self.events),
            currency: None,
            owner: self
                .owner
                .map(|name| OwnerText::parse(&name, "owner").map(OwnerText).map(Some))
                .transpose()?,
            attempts_max: self.attempts_max,
            backoff: self.backoff,
            jitter: self.jitter,
            visibility_seconds: self.visibility_seconds,
            in_flight_max: self.in_flight_max,
            ttl_seconds: self.ttl_seconds,
            delay_seconds: self.delay_seconds,
            workers: self.workers.map(Some),
            name: self.name,
            metadata: self.metadata.map(MetadataForm),
        };
        update.change(&mut terms, owner)?;
        Ok((terms, start))
    }
}

impl SubscriptionUpdate {
    /// Puts what is given into `terms`, and checks them.
    pub fn change(
        self,
        terms: &mut Terms,
        owner: impl Fn(&str) -> Result<OwnerId, ApiError>,
    ) -> Result<(), ApiError> {
        let (filter, policy) = (&mut terms.filter, &mut terms.policy);
        if let Some(events) = self.events {
            filter.patterns = patterns(&events)?;
        }
        if let Some(currency) = self.currency {
            filter.currency = currency.map(|currency| currency.0);
        }
        if let Some(name) = self.owner {
            filter.owner = name.map(|name| owner(name.0.as_str())).transpose()?;
        }
        if let Some(backoff) = self.backoff {
            policy.backoff = backoff.engine()?;
        }
        let nanos = |seconds: u64| seconds.saturating_mul(SECOND);
        policy.attempts_max = self.attempts_max.unwrap_or(policy.attempts_max);
        policy.jitter = self.jitter.unwrap_or(policy.jitter);
        policy.in_flight_max = self.in_flight_max.unwrap_or(policy.in_flight_max);
        policy.visibility = self.visibility_seconds.map_or(policy.visibility, nanos);
        policy.ttl = self.ttl_seconds.map_or(policy.ttl, nanos);
        policy.delay = self.delay_seconds.map_or(policy.delay, nanos);
        policy.workers = self.workers.unwrap_or(policy.workers);
        if let Some(name) = self.name {
            terms.name = name;
        }
        if let Some(MetadataForm(metadata)) = self.metadata {
            if metadata.len() > 20 {
                let message = "metadata must have at most 20 entries.";
                return Err(ApiError::invalid("metadata", message));
            }
            terms.metadata = serde_json::to_string(&metadata).expect("texts are JSON");
        }
        terms.check().map_err(bad_setting)
    }
}

/// Let another secret sign.
#[derive(Clone, Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RotateSecret {
    /// Revision that must be the newest, else the answer is `setting_conflict`.
    #[serde(default)]
    pub revision: Option<u64>,
    /// The new secret; made if left out.
    #[serde(default)]
    pub secret: Option<String>,
    /// How long the one before signs too: 0 to 2,592,000; 86,400 if left out.
    #[serde(default)]
    overlap_seconds: Option<u64>,
}

impl RotateSecret {
    /// In seconds.
    pub fn overlap(&self) -> Result<u64, ApiError> {
        let seconds = self.overlap_seconds.unwrap_or(OVERLAP_SECONDS_DEFAULT);
        let max = Policy::TIME_MAX / SECOND;
        Ok(within("overlap_seconds", seconds, 0, max)? / SECOND)
    }
}

/// Say why a subscription is paused.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PauseSubscription {
    /// At most 128 bytes.
    #[serde(default)]
    pub reason: String,
}

/// Begin again.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RewindSubscription {
    /// `now`, `beginning`, the id of an event to begin after, or a time.
    pub to: String,
}

/// Deliver a range again.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReplaySubscription {
    /// The id of the first event.
    pub first: String,
    /// The id of the last event.
    pub last: String,
}

/// Ask for events.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReceiveEvents {
    /// Events, at most: 1 to 1,000; 10 if left out.
    #[serde(default)]
    max: Option<u32>,
    /// How long to wait if there are none: 0 to 30; 0 if left out.
    #[serde(default)]
    wait_seconds: Option<u64>,
    /// How long the receiver has: 1 to 43,200; as the subscription says if left out.
    #[serde(default)]
    visibility_seconds: Option<u64>,
}

/// Nanoseconds of `seconds`, which must be within the bounds.
fn within(param: &'static str, seconds: u64, min: u64, max: u64) -> Result<u64, ApiError> {
    if (min..=max).contains(&seconds) {
        return Ok(seconds * SECOND);
    }
    Err(ApiError::invalid(
        param,
        format!("{param} must be {min} to {max}."),
    ))
}

const VISIBILITY_SECONDS_MAX: u64 = Policy::VISIBILITY_MAX / SECOND;

/// How many events, how long to wait and for how long they are given, the times in nanoseconds.
pub struct Receive {
    /// Maximum number of events.
    pub max: usize,
    /// How long to wait for an event.
    pub wait: u64,
    /// How long the events are given for.
    pub visibility: Option<u64>,
}

impl ReceiveEvents {
    /// Checks the bounds.
    pub fn check(&self) -> Result<Receive, ApiError> {
        let max = self.max.unwrap_or(10);
        if !(1..=1_000).contains(&max) {
            return Err(ApiError::invalid("max", "max must be 1 to 1000."));
        }
        let visibility = |seconds| within("visibility_seconds", seconds, 1, VISIBILITY_SECONDS_MAX);
        Ok(Receive {
            max: max as usize,
            wait: within("wait_seconds", self.wait_seconds.unwrap_or(0), 0, 30)?,
            visibility: self.visibility_seconds.map(visibility).transpose()?,
        })
    }
}

/// Name deliveries that are done.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AcknowledgeEvents {
    /// 1 to 1,000.
    pub receipts: Vec<String>,
}

/// Name deliveries that failed.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RefuseEvents {
    /// 1 to 1,000.
    pub receipts: Vec<String>,
    /// When to try again; as the subscription's backoff says if left out. At most 2,592,000.
    #[serde(default)]
    delay_seconds: Option<u64>,
    /// Why; the first 200 bytes are kept.
    #[serde(default)]
    pub error: String,
}

impl RefuseEvents {
    /// Nanoseconds until the next attempt, if it says.
    pub fn delay(&self) -> Result<Option<u64>, ApiError> {
        let delay = |seconds| within("delay_seconds", seconds, 0, Policy::TIME_MAX / SECOND);
        self.delay_seconds.map(delay).transpose()
    }
}

/// Name deliveries that take longer.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExtendEvents {
    /// 1 to 1,000.
    pub receipts: Vec<String>,
    /// How long the receiver has from now on: 1 to 43,200.
    visibility_seconds: u64,
}

impl ExtendEvents {
    /// In nanoseconds.
    pub fn visibility(&self) -> Result<u64, ApiError> {
        within(
            "visibility_seconds",
            self.visibility_seconds,
            1,
            VISIBILITY_SECONDS_MAX,
        )
    }
}

/// Bounds the receipts of one request.
pub fn check_receipts(receipts: &[String]) -> Result<(), ApiError> {
    if (1..=RECEIPTS_MAX).contains(&receipts.len()) {
        return Ok(());
    }
    Err(ApiError::invalid("receipts", "receipts must be 1 to 1000."))
}

/// Name dead letters.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SelectDeadLetters {
    /// The ids of their events, at most 1,000; all if left out.
    #[serde(default)]
    events: Option<Vec<String>>,
}

impl SelectDeadLetters {
    /// Their positions; none for all. What is no event's id is no dead letter.
    pub fn positions(&self, ids: &Ids) -> Result<Option<Vec<u64>>, ApiError> {
        let Some(events) = &self.events else {
            return Ok(None);
        };
        if events.len() > RECEIPTS_MAX {
            return Err(ApiError::invalid("events", "events must be at most 1000."));
        }
        let positions = events.iter().filter_map(|id| ids.decode(IdKind::Event, id));
        Ok(Some(positions.collect()))
    }
}
