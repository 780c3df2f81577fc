//! Attempts at delivering events, as the history has them.

use serde::{Deserialize, Serialize};
use tributary_engine::{IdKind, Reader};
use tributary_ledger::{Actor, ApiKeyId, OwnerId};
use tributary_messaging::{AttemptEnd, DeliveryIds, EndedAttempt, RECEIVER_TEXT_MARK};
use utoipa::ToSchema;
use utoipa::openapi::schema::Object;

use crate::attempt_note::AttemptNote;
use crate::render::common::owner_name;
use crate::schema::one_of;
use crate::time::format_timestamp;

/// An attempt at delivering an event that is over.
#[derive(Serialize, ToSchema)]
#[schema(as = DeliveryAttempt)]
pub struct AttemptObject {
    #[schema(pattern = "^attempt$")]
    object: &'static str,
    subscription: String,
    event: String,
    /// 1 for the event's first; 0 for an operation.
    attempt: u32,
    #[schema(inline)]
    status: AttemptStatusForm,
    /// `acknowledged`, `refused` (given back, or a webhook that was not answered with 2xx) or `timed_out`; of an operation
    /// `requeued`, `dropped`, `replayed` or `rewound`.
    #[schema(schema_with = outcomes)]
    outcome: &'static str,
    /// Owner of the API key that made the operation; null for an attempt.
    #[schema(required)]
    changed_by: Option<String>,
    /// API key that made the operation; null for an attempt.
    #[schema(required)]
    changed_by_key: Option<String>,
    #[schema(format = DateTime)]
    handed_out: String,
    #[schema(format = DateTime)]
    ended: String,
    /// Code of the error that kept a webhook from being answered.
    #[schema(required)]
    error_code: Option<String>,
    /// Text of the error.
    #[schema(required)]
    error: Option<String>,
    /// The request that was sent; null for events that are fetched.
    #[schema(required)]
    request: Option<SentObject>,
    /// Head of the answer.
    #[schema(required)]
    response: Option<AnsweredObject>,
    /// How long it took from the beginning of the attempt; null for events that are fetched.
    #[schema(required)]
    timing: Option<TimingObject>,
}

/// Whether an event was delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = DeliveryAttemptStatus)]
pub enum AttemptStatusForm {
    /// The receiver took the event.
    Delivered,
    /// The receiver refused the event, or did not answer in time.
    Failed,
    /// No attempt: somebody requeued or dropped a dead letter, replayed a range or rewound the subscription.
    Operation,
}

/// The head of a webhook's request.
#[derive(Serialize, ToSchema)]
#[schema(as = WebhookRequest)]
pub struct SentObject {
    url: String,
    headers: Vec<HeaderObject>,
}

/// The head of the answer to a webhook, at most 4 KiB of it.
#[derive(Serialize, ToSchema)]
#[schema(as = WebhookResponse)]
pub struct AnsweredObject {
    status: u16,
    headers: Vec<HeaderObject>,
}

/// A header.
#[derive(Serialize, ToSchema)]
#[schema(as = WebhookHeader)]
pub struct HeaderObject {
    name: String,
    value: String,
}

/// Microseconds from the beginning of an attempt.
#[derive(Serialize, ToSchema)]
#[schema(as = WebhookTiming)]
pub struct TimingObject {
    /// To a new connection, with TLS; null if there was none, or one was used again.
    #[schema(required)]
    connected_micros: Option<u64>,
    /// To the head of the answer.
    #[schema(required)]
    first_byte_micros: Option<u64>,
    /// To the end.
    total_micros: u64,
}

/// The headers of a head, which has one a line after its first.
fn headers(head: &str) -> Vec<HeaderObject> {
    let lines = head
        .lines()
        .skip(1)
        .filter_map(|line| line.split_once(": "));
    lines
        .map(|(name, value)| HeaderObject {
            name: name.to_owned(),
            value: value.to_owned(),
        })
        .collect()
}

/// Who made an operation, as its note says: owner and API key, `u64` LE each.
fn operator(note: &[u8]) -> Option<Actor> {
    let (words, _) = note.as_chunks::<8>();
    let word = |at: usize| words.get(at).map(|word| u64::from_le_bytes(*word));
    Some(Actor {
        owner: OwnerId(word(0)?),
        api_key: ApiKeyId(word(1)?),
    })
}

fn outcomes() -> Object {
    one_of([
        "acknowledged",
        "refused",
        "timed_out",
        "requeued",
        "dropped",
        "replayed",
        "rewound",
    ])
}

/// Returns the object of an attempt that is over.
pub fn attempt(reader: &Reader, of: &EndedAttempt) -> AttemptObject {
    let ids = reader.ids();
    let actor = of.end.is_operation().then(|| operator(&of.note)).flatten();
    let kept = AttemptNote::from_bytes(&of.note);
    let (error_code, error) = match (&kept, of.end) {
        (_, AttemptEnd::TimedOut) => (None, Some("no answer in time".to_owned())),
        (_, AttemptEnd::Acknowledged) => (None, None),
        (_, end) if end.is_operation() => (None, None),
        (None, _) => {
            let said = of
                .note
                .strip_prefix(&[RECEIVER_TEXT_MARK])
                .unwrap_or(&of.note);
            (None, Some(String::from_utf8_lossy(said).into_owned()))
        }
        (Some(kept), _) => match (&kept.error, kept.status) {
            (Some((code, text)), _) => (Some(code.clone()), Some(text.clone())),
            (None, Some(status)) => (None, Some(format!("answered {status}"))),
            (None, None) => (None, None),
        },
    };
    AttemptObject {
        object: "attempt",
        subscription: ids.encode_subscription(of.subscription),
        event: ids.encode(IdKind::Event, of.position),
        attempt: of.attempt,
        status: match of.end {
            AttemptEnd::Acknowledged => AttemptStatusForm::Delivered,
            AttemptEnd::Refused | AttemptEnd::TimedOut => AttemptStatusForm::Failed,
            AttemptEnd::Requeued
            | AttemptEnd::Dropped
            | AttemptEnd::Replayed
            | AttemptEnd::Rewound => AttemptStatusForm::Operation,
        },
        outcome: match of.end {
            AttemptEnd::Acknowledged => "acknowledged",
            AttemptEnd::Refused => "refused",
            AttemptEnd::TimedOut => "timed_out",
            AttemptEnd::Requeued => "requeued",
            AttemptEnd::Dropped => "dropped",
            AttemptEnd::Replayed => "replayed",
            AttemptEnd::Rewound => "rewound",
        },
        changed_by: actor.map(|actor| owner_name(reader, actor.owner)),
        changed_by_key: actor
            .filter(|actor| actor.api_key != ApiKeyId::SYSTEM)
            .map(|actor| ids.encode(IdKind::ApiKey, actor.api_key.0)),
        handed_out: format_timestamp(of.began),
        ended: format_timestamp(of.ended),
        error_code,
        error: error.filter(|text| !text.is_empty()),
        request: kept.as_ref().map(|kept| SentObject {
            url: kept.url.clone(),
            headers: headers(&kept.request),
        }),
        response: kept.as_ref().and_then(|kept| {
            Some(AnsweredObject {
                status: kept.status?,
                headers: headers(&kept.response),
            })
        }),
        timing: kept.as_ref().map(|kept| TimingObject {
            connected_micros: kept.connected,
            first_byte_micros: kept.answered,
            total_micros: kept.took,
        }),
    }
}
