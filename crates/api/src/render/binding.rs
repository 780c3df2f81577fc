//! Bindings as they look from outside.

use serde::Serialize;
use serde_json::{Map, Value};
use tributary_engine::{IdKind, Reader};
use tributary_ledger::Setting;
use utoipa::ToSchema;
use utoipa::openapi::schema::Object;

use crate::brokers::{BindingTerms, ConsumerTerms, Declare, Direction, ReplyTerms};
use crate::form::binding::{ConsumerForm, ProducerForm, ReplyForm};
use crate::map::MessageMap;
use crate::schema::one_of;
use crate::time::format_timestamp;

fn binding_states() -> Object {
    one_of(["active", "paused"])
}

/// A destination at a broker, joined to the system.
#[derive(Serialize, ToSchema)]
#[schema(as = Binding)]
pub struct BindingObject {
    id: String,
    #[schema(pattern = "^binding$")]
    object: &'static str,
    /// Name for tools, unique among the bindings.
    slug: String,
    /// Name of the file or tool that manages the binding.
    #[schema(required)]
    managed_by: Option<String>,
    /// Number of this revision, from 1.
    revision: u64,
    #[schema(schema_with = binding_states)]
    status: &'static str,
    #[schema(required)]
    paused_reason: Option<String>,
    direction: Direction,
    /// Slug or id of the binder.
    binder: String,
    destination: String,
    #[schema(required)]
    content_type: Option<String>,
    declare: Declare,
    /// Consumer group. This field and those that follow are null where they go with the other direction.
    #[schema(required)]
    group: Option<String>,
    /// API key as which messages are submitted.
    #[schema(required)]
    acts_as: Option<String>,
    /// Name of the stream of messages.
    #[schema(required)]
    identity: Option<String>,
    #[schema(required)]
    identity_from: Option<String>,
    #[schema(required)]
    prefetch: Option<u16>,
    #[schema(required)]
    consumer: Option<ConsumerForm>,
    #[schema(required)]
    reply: Option<ReplyForm>,
    /// The map, as it was given.
    #[schema(required, value_type = Option<MessageMap>)]
    map: Option<Map<String, Value>>,
    #[schema(required)]
    producer: Option<ProducerForm>,
    #[schema(required)]
    routing_key: Option<String>,
    #[schema(format = DateTime)]
    created: String,
    /// When this revision was made.
    #[schema(format = DateTime)]
    updated: String,
}

/// Returns the binding that a setting defines.
pub fn binding(reader: &Reader, setting: &Setting, terms: BindingTerms) -> BindingObject {
    let ids = reader.ids();
    let is_in = terms.direction == Direction::In;
    let producer = ProducerForm {
        partition_key: terms.partition_key.as_ref().map(ToString::to_string),
    };
    BindingObject {
        id: ids.encode_setting(setting.kind, setting.id),
        object: "binding",
        slug: setting.slug.to_string(),
        managed_by: setting.managed_by.as_ref().map(ToString::to_string),
        revision: setting.revision,
        status: match terms.paused {
            None => "active",
            Some(_) => "paused",
        },
        paused_reason: terms.paused,
        direction: terms.direction,
        binder: terms.binder,
        destination: terms.destination,
        content_type: terms.content_type,
        declare: terms.declare,
        group: is_in.then_some(terms.group),
        acts_as: terms.acts_as.map(|key| ids.encode(IdKind::ApiKey, key.0)),
        identity: is_in.then_some(terms.identity),
        identity_from: terms.identity_from.map(|from| from.to_string()),
        prefetch: is_in.then_some(terms.prefetch),
        consumer: is_in.then(|| consumer(&terms.consumer)),
        reply: is_in.then(|| reply(&terms.reply)),
        map: terms.map,
        producer: (!is_in).then_some(producer),
        routing_key: terms.routing_key.map(|template| template.to_string()),
        created: format_timestamp(setting.created.timestamp),
        updated: format_timestamp(setting.changed.timestamp),
    }
}

/// Returns how messages are received, with every field.
pub fn consumer(terms: &ConsumerTerms) -> ConsumerForm {
    ConsumerForm {
        concurrency: Some(terms.concurrency),
        max_attempts: Some(terms.max_attempts),
        back_off_initial_interval: Some(terms.back_off_initial_interval),
        back_off_multiplier: Some(terms.back_off_multiplier),
        back_off_max_interval: Some(terms.back_off_max_interval),
    }
}

/// Returns where replies may go.
pub fn reply(terms: &ReplyTerms) -> ReplyForm {
    ReplyForm {
        allow: terms
            .allow
            .iter()
            .map(|pattern| pattern.as_str().to_owned())
            .collect(),
        content_type: terms.content_type.clone(),
    }
}
