//! The schema of events: one alternative for each kind of data, told apart by the event's type.
//!
//! The schemas are written by hand as JSON, since one Rust type renders all events, and the document takes them as they are. A
//! test compares the types with those of the ledger.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde_json::{Map, Value, json};
use tributary_ledger::SETTING_KINDS;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema};
use utoipa::{PartialSchema, ToSchema};

use crate::render::account::AccountObject;
use crate::render::api_key::ApiKeyObject;
use crate::render::case::CaseObject;
use crate::render::common::Failure;
use crate::render::event::{EventObject, RefusalObject, ReplyObject};
use crate::render::owner::OwnerObject;
use crate::render::payment::PaymentObject;
use crate::render::queue::StandingObject;
use crate::render::refund::RefundObject;
use crate::render::setting::SettingObject;

/// Events that leave a payment as their object.
const PAYMENT_TYPES: &[&str] = &[
    "payment.queued",
    "payment.authorized",
    "payment.partially_captured",
    "payment.captured",
    "payment.voided",
    "payment.expired",
    "payment.failed",
    "payment.updated",
    "payment.in_review",
    "payout.queued",
    "payout.created",
    "payout.paid",
    "payout.failed",
    "payout.voided",
    "payout.in_review",
    "payout.expired",
    "payout.returned",
];
const CASE_TYPES: &[&str] = &["case.updated", "payment.labelled"];
const REFUND_TYPES: &[&str] = &["payment.partially_refunded", "payment.refunded"];
const ACCOUNT_TYPES: &[&str] = &[
    "account.opened",
    "account.frozen",
    "account.unfrozen",
    "account.closed",
    "account.updated",
];
const API_KEY_TYPES: &[&str] = &["api_key.created", "api_key.rotated", "api_key.revoked"];
const OWNER_TYPES: &[&str] = &["owner.created", "owner.updated"];
const QUEUE_TYPES: &[&str] = &["queue.paused", "queue.draining", "queue.resumed"];
/// Refusals of commands about something else than a setting.
const REFUSAL_TYPES: &[&str] = &[
    "account.refused",
    "payment.capture_refused",
    "payment.void_refused",
    "payment.approve_refused",
    "payment.expire_refused",
    "payment.run_refused",
    "payment.refund_refused",
    "payment.update_refused",
    "payout.settle_refused",
    "case.refused",
    "payout.return_refused",
    "api_key.refused",
    "queue.refused",
    "owner.refused",
    "event.refused",
];

/// Events whose data has the same form.
struct Group {
    /// Name of the event's schema.
    name: &'static str,
    about: &'static str,
    types: Vec<String>,
    data: Value,
}

impl Group {
    /// Events of the ledger with an object of type `T`.
    fn new<T: ToSchema>(name: &'static str, about: &'static str, types: &[&str]) -> Group {
        Group {
            name,
            about,
            types: types.iter().map(|kind| (*kind).to_owned()).collect(),
            data: ledger_data(reference(&T::name()), json!({"type": "null"})),
        }
    }
}

/// The data of an event of the ledger whose command was done.
fn ledger_data(object: Value, failure: Value) -> Value {
    json!({
        "type": "object",
        "required": ["object", "failure", "reply"],
        "properties": {"object": object, "failure": failure, "reply": {"type": "null"}},
    })
}

fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

fn or_null(schema: Value) -> Value {
    json!({"oneOf": [{"type": "null"}, schema]})
}

/// Every kind of events but the published ones.
fn groups() -> Vec<Group> {
    let failure = || reference(&Failure::name());
    let mut payments = Group::new::<PaymentObject>(
        "PaymentEvent",
        "A payment was made or changed. `data.object` is the payment as the event left it.",
        PAYMENT_TYPES,
    );
    payments.data["properties"]["failure"] = or_null(failure());
    payments.data["properties"]["reply"] = or_null(reference(&ReplyObject::name()));
    let mut settings = Group::new::<SettingObject>(
        "SettingEvent",
        "A setting was created, changed or deleted.",
        &["setting.created", "setting.updated", "setting.deleted"],
    );
    let mut refusals = Group::new::<RefusalObject>(
        "RefusalEvent",
        "The ledger refused a command that made nothing. `data.failure` says why.",
        REFUSAL_TYPES,
    );
    refusals.data["properties"]["failure"] = failure();
    refusals.types.push("setting.refused".to_owned());
    for kind in SETTING_KINDS {
        let events = kind.events;
        let done = [events.created, events.updated, events.deleted];
        settings.types.extend(done.map(str::to_owned));
        refusals.types.push(events.refused.to_owned());
    }
    vec![
        payments,
        Group::new::<RefundObject>(
            "RefundEvent",
            "Money was given back. `data.object` is the refund, not the payment.",
            REFUND_TYPES,
        ),
        Group::new::<CaseObject>(
            "CaseEvent",
            "Somebody found out something about a payment. Only the platform receives it.",
            CASE_TYPES,
        ),
        Group::new::<AccountObject>(
            "AccountEvent",
            "An account was opened or changed.",
            ACCOUNT_TYPES,
        ),
        Group::new::<ApiKeyObject>(
            "ApiKeyEvent",
            "An API key was created, rotated or revoked.",
            API_KEY_TYPES,
        ),
        Group::new::<OwnerObject>(
            "OwnerEvent",
            "An owner was created or changed.",
            OWNER_TYPES,
        ),
        Group::new::<StandingObject>(
            "QueueEvent",
            "The queue of payments was paused, drained or resumed.",
            QUEUE_TYPES,
        ),
        settings,
        refusals,
        system(
            "DeadLetterEvent",
            "A subscription gave up events.",
            "subscription.dead_letter",
            json!({
                "type": "object",
                "required": ["subscription", "new", "total"],
                "properties": {
                    "subscription": {"type": "string"},
                    "new": {
                        "type": "integer", "format": "int64", "minimum": 0,
                        "description": "Dead letters since the last such event.",
                    },
                    "total": {
                        "type": "integer", "format": "int64", "minimum": 0,
                        "description": "Dead letters at that time.",
                    },
                },
            }),
        ),
        system(
            "SubscriptionDisabledEvent",
            "A subscription was paused because its URL takes no webhooks.",
            "subscription.disabled",
            json!({
                "type": "object",
                "required": ["subscription", "url", "reason"],
                "properties": {
                    "subscription": {"type": "string"},
                    "url": {"type": "string"},
                    "reason": {"type": "string"},
                },
            }),
        ),
        system(
            "StreamStoppedEvent",
            "A stream stopped: it reached a bound, or met what it can't compute.",
            "stream.stopped",
            json!({
                "type": "object",
                "required": ["stream", "version", "position", "why"],
                "properties": {
                    "stream": {"type": "string"},
                    "version": {"type": "integer", "format": "int64", "minimum": 1},
                    "position": {
                        "type": "integer", "format": "int64", "minimum": 0,
                        "description": "Position of the record that it did not take.",
                    },
                    "why": {"type": "string"},
                },
            }),
        ),
        system(
            "StreamActedEvent",
            "A stream did what it does for a result, and that made no other record.",
            "stream.acted",
            action(&json!({
                "done": {
                    "type": "integer", "format": "int64", "minimum": 0,
                    "description": "Dead letters that are delivered again; 0 where nothing had to be changed.",
                },
            })),
        ),
        system(
            "StreamActionRefusedEvent",
            "What a stream does could not be done for a result. It is not tried again.",
            "stream.action_refused",
            action(&json!({"why": {"type": "string"}})),
        ),
        system(
            "StreamLateEvent",
            "An event came too late to be counted by a stream.",
            "stream.late",
            json!({
                "type": "object",
                "required": ["stream", "version", "position", "key", "time", "watermark", "window_start", "window_end"],
                "properties": {
                    "stream": {"type": "string"},
                    "version": {"type": "integer", "format": "int64", "minimum": 1},
                    "position": {
                        "type": "integer", "format": "int64", "minimum": 1,
                        "description": "Position of the event's record.",
                    },
                    "key": {"type": "object", "description": "Values of the key, by field."},
                    "time": {"type": "string", "format": "date-time"},
                    "watermark": {"type": "string", "format": "date-time"},
                    "window_start": {"type": "string", "format": "date-time"},
                    "window_end": {"type": "string", "format": "date-time"},
                },
            }),
        ),
        security(
            "SecuritySuspectedEvent",
            "Too many requests of an address went wrong, or of an API key, which was not blocked for that.",
            "security.suspected",
            json!({"type": "null"}),
        ),
        security(
            "SecurityBlockedEvent",
            "An API key or an address was blocked, because too many of its requests went wrong.",
            "security.blocked",
            json!({"type": "string", "format": "date-time", "description": "End of the block."}),
        ),
        system(
            "SecurityOthersEvent",
            "More API keys and addresses were found within a minute than there are events.",
            "security.others",
            json!({
                "type": "object",
                "required": ["findings", "blocks", "signals", "node"],
                "properties": {
                    "findings": {"type": "integer", "minimum": 1, "description": "Findings without an event of their own."},
                    "blocks": {"type": "integer", "minimum": 0, "description": "Those that began a block."},
                    "signals": signals(),
                    "node": node(),
                },
            }),
        ),
    ]
}

/// The data of an event about an action of a stream, with `more` fields.
fn action(more: &Value) -> Value {
    let mut schema = json!({
        "type": "object",
        "required": ["stream", "version", "key", "window_start", "window_end", "revision", "action", "setting", "value", "acts_as"],
        "properties": {
            "stream": {"type": "string"},
            "version": {"type": "integer", "format": "int64", "minimum": 1},
            "key": {"type": "object", "description": "Values of the key, by field."},
            "window_start": {"type": "string", "format": "date-time"},
            "window_end": {"type": "string", "format": "date-time"},
            "revision": {"type": "integer", "format": "int64", "minimum": 0},
            "action": {"type": "string", "description": "Such as `add_to_list`."},
            "setting": {
                "type": ["string", "null"],
                "description": "List, subscription or binding; null if it is about an account, or missing.",
            },
            "value": {
                "type": ["string", "null"],
                "description": "Account or text of the entry; null for the others, or if the expression has no value.",
            },
            "acts_as": {"type": "string", "description": "API key as which it was to be done."},
        },
    });
    let more = more.as_object().expect("fields");
    for (name, field) in more {
        schema["properties"][name] = field.clone();
        let required = schema["required"].as_array_mut().expect("a list");
        required.push(json!(name));
    }
    schema
}

/// Events of the system itself, whose data has these fields.
fn system(name: &'static str, about: &'static str, event_type: &str, data: Value) -> Group {
    Group {
        name,
        about,
        types: vec![event_type.to_owned()],
        data,
    }
}

/// An event about one API key or address.
fn security(name: &'static str, about: &'static str, event_type: &str, until: Value) -> Group {
    let data = json!({
        "type": "object",
        "required": ["kind", "id", "reason", "signals", "until", "node"],
        "properties": {
            "kind": {"type": "string", "enum": ["api_key", "address"]},
            "id": {
                "type": "string",
                "description": "Id of the API key; or the address, of IPv6 the first one with the same 64 bits.",
            },
            "reason": {"type": "string", "description": "The signal of which there were too many."},
            "signals": signals(),
            "until": until,
            "node": node(),
        },
    });
    system(name, about, event_type, data)
}

fn signals() -> Value {
    json!({
        "type": "object",
        "additionalProperties": {"type": "integer", "minimum": 1},
        "description": "Numbers of signals, by name.",
    })
}

fn node() -> Value {
    json!({
        "type": ["string", "null"],
        "description": "Node of a cluster that counted; null for a server that is alone.",
    })
}

/// Returns every type of event but those of published events, whose first word is `app`.
pub fn event_types() -> &'static [String] {
    static TYPES: LazyLock<Vec<String>> =
        LazyLock::new(|| groups().into_iter().flat_map(|group| group.types).collect());
    &TYPES
}

/// An event with this type and this data.
fn event(about: &str, kind: Value, data: Value) -> Value {
    json!({
        "type": "object",
        "description": about,
        "required": ["id", "object", "type", "created", "owner", "key", "data"],
        "properties": {
            "id": {"type": "string", "description": "Id of the event. It never changes."},
            "object": {"type": "string", "pattern": "^event$"},
            "type": kind,
            "created": {"type": "string", "format": "date-time"},
            "owner": {
                "type": ["string", "null"],
                "description": "Owner who published the event; null for events of the ledger.",
            },
            "key": {
                "type": ["string", "null"],
                "description": "The order key that the event was published under.",
            },
            "data": data,
        },
    })
}

/// Name of the schema of all events.
const EVENT: &str = "Event";
/// Name of the schema of all events but the published ones.
const LEDGER_EVENT: &str = "LedgerEvent";
/// Name of the schema of published events.
const PUBLISHED: &str = "PublishedEvent";

/// Returns the schemas of events by name. The document holds them in place of the one that [`EventObject`] names.
pub fn event_schemas() -> Map<String, Value> {
    let mut schemas = Map::new();
    let mut mapping = BTreeMap::new();
    let mut alternatives = Vec::new();
    for group in groups() {
        let data = format!("{}Data", group.name);
        let kind = json!({"type": "string", "enum": group.types});
        alternatives.push(reference(group.name));
        schemas.insert(
            group.name.to_owned(),
            event(group.about, kind, reference(&data)),
        );
        schemas.insert(data, group.data);
        let target = format!("#/components/schemas/{}", group.name);
        mapping.extend(group.types.into_iter().map(|kind| (kind, target.clone())));
    }
    let kind = json!({
        "type": "string", "pattern": "^app\\.", "description": "Topic of the event, such as `app.order.shipped`.",
    });
    let data = json!({"description": "Data that the program published: any JSON."});
    let published = event("An event that a program published.", kind, data);
    schemas.insert(PUBLISHED.to_owned(), published);
    let of_the_ledger = json!({
        "description": "An event of the ledger or of the server itself. `type` says what happened, and which form `data` has.",
        "oneOf": alternatives,
        "discriminator": {"propertyName": "type", "mapping": mapping},
    });
    schemas.insert(LEDGER_EVENT.to_owned(), of_the_ledger);
    // Without a discriminator: generators demand a list of its values, and topics are not listed.
    let all = json!({
        "description": "An event. The type of an event that a program published begins with `app.`",
        "oneOf": [reference(LEDGER_EVENT), reference(PUBLISHED)],
    });
    schemas.insert(EVENT.to_owned(), all);
    schemas
}

impl PartialSchema for EventObject {
    fn schema() -> RefOr<Schema> {
        // Stands for the schema of all events until `event_schemas` takes its place.
        let object = ObjectBuilder::new().description(Some("An event: see `event_schemas`."));
        RefOr::T(object.build().into())
    }
}

impl ToSchema for EventObject {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed(EVENT)
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        fn push<T: ToSchema>(schemas: &mut Vec<(String, RefOr<Schema>)>) {
            schemas.push((T::name().into_owned(), T::schema()));
            T::schemas(schemas);
        }
        push::<PaymentObject>(schemas);
        push::<RefundObject>(schemas);
        push::<AccountObject>(schemas);
        push::<ApiKeyObject>(schemas);
        push::<OwnerObject>(schemas);
        push::<StandingObject>(schemas);
        push::<SettingObject>(schemas);
        push::<RefusalObject>(schemas);
        push::<Failure>(schemas);
        push::<ReplyObject>(schemas);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The source of the ledger's function that names the type of each event.
    const LEDGER: &str = include_str!("../../../ledger/src/event.rs");

    #[test]
    fn every_type_of_the_ledger_has_a_schema_and_only_one() {
        let mut documented = BTreeSet::new();
        for group in groups() {
            for kind in group.types {
                assert!(documented.insert(kind.clone()), "{kind} is there twice");
            }
        }
        let literals = LEDGER.split('"').skip(1).step_by(2);
        let is_type = |text: &&str| {
            let words: Vec<&str> = text.split('.').collect();
            let is_word = |word: &&str| {
                !word.is_empty() && word.bytes().all(|b| b == b'_' || b.is_ascii_lowercase())
            };
            // The moves of a sandbox's clock are internal records and no events.
            words[0] != "clock" && words.len() == 2 && words.iter().all(is_word)
        };
        let of_the_ledger: BTreeSet<&str> = literals.filter(is_type).collect();
        assert!(of_the_ledger.len() > 20, "{of_the_ledger:?}");
        for kind in of_the_ledger {
            assert!(
                documented.contains(kind),
                "{kind} has no schema: add it to crates/api/src/render/event_schema.rs"
            );
        }
    }
}
