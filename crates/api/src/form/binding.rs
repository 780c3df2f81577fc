//! The bodies of requests about bindings.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::brokers::{Declare, Direction};
use crate::form::json::given;
use crate::map::MessageMap;

/// Make a binding: join a destination at a broker to the system.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BindingCreate {
    /// Name for tools, unique among the bindings: 1 to 64 of `a-z 0-9 . _ -`.
    pub slug: String,
    /// Name of the file or tool that manages the binding, at most 64 bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub managed_by: Option<String>,
    /// `in`: each message from the broker becomes a command. `out`: messages go to the broker. It can't be changed later.
    pub direction: Direction,
    /// Slug or id of the binder. The binding waits while there is no such binder.
    pub binder: String,
    /// Queue, topic, exchange, stream or address at the broker, 1 to 255 bytes.
    pub destination: String,
    /// Consumer group, 1 to 255 bytes: receivers of one group share the messages of a destination. `tributary` if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Media type that replaces the one that a message says; of `out`, the one that messages are sent with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// Id of the API key as which messages are submitted, which may write. Needed with `in`. The binding stops when the key is revoked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acts_as: Option<String>,
    /// Name of the stream of messages, 1 to 64 bytes: each message of it is decided once. A binding that takes the place of another
    /// one repeats it. The slug if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    /// What names a message: `field PATH`, `cloudevents`, `message_id` or `broker`. Needed with `in`. It is changed together with
    /// `identity` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity_from: Option<String>,
    /// Maximum number of messages that a receiver has not acknowledged: 1 to 1,000; 64 if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefetch: Option<u16>,
    /// What happens if the destination is missing: `check` (the default) waits and says so, `create` makes it, `none` does not look.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub declare: Option<Declare>,
    /// How messages are received.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consumer: Option<ConsumerForm>,
    /// How messages are sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub producer: Option<ProducerForm>,
    /// Routing key of each message, 1 to 255 bytes, in which `{type}`, `{currency}`, `{object}` and `{owner}` stand for fields of the
    /// event. In Kafka and NATS it follows the destination and a dot in the name of the topic or subject.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub routing_key: Option<String>,
    /// Where replies may go.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reply: Option<ReplyForm>,
    /// How a message of another form becomes a command; at most 12,288 bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<MessageMap>)]
    pub map: Option<Map<String, Value>>,
    /// Whether the binding rests. As it is, if left out of a file of settings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paused: Option<bool>,
    /// Why the binding is paused, at most 128 bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paused_reason: Option<String>,
}

/// How messages are received. What is left out has its default.
#[derive(Clone, Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = BindingConsumer)]
pub struct ConsumerForm {
    /// Number of receivers at once: 1 to 16; 1 if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u16>,
    /// Number of attempts at a message before it becomes a dead letter: 1 to 100; 3 if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_attempts: Option<u32>,
    /// Milliseconds before the second attempt: 1 to 3,600,000; 1,000 if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub back_off_initial_interval: Option<u64>,
    /// How many times as long each next wait is: 1 to 10; 2 if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub back_off_multiplier: Option<u32>,
    /// Milliseconds between two attempts, at most: up to 3,600,000; 10,000 if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub back_off_max_interval: Option<u64>,
}

/// How messages are sent.
#[derive(Clone, Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = BindingProducer)]
pub struct ProducerForm {
    /// Key by which the broker keeps messages in order, with fields as in `routing_key`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partition_key: Option<String>,
}

/// Where replies may go.
#[derive(Clone, Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = BindingReply)]
pub struct ReplyForm {
    /// Addresses that a message may name, at most 16; one with a final `*` allows all that begin with it.
    pub allow: Vec<String>,
    /// Media type of replies; that of the message if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
}

/// Change a binding: what is left out stays. A table such as `consumer` is replaced as a whole; null gives a field its default.
#[derive(Clone, Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BindingUpdate {
    /// Revision that must be the newest, else the answer is `setting_conflict`. Left out, the change is made to whatever is newest.
    #[serde(skip_serializing_if = "Option::is_none")]
    revision: Option<u64>,
    /// Another name for tools.
    #[serde(skip_serializing_if = "Option::is_none")]
    slug: Option<String>,
    /// Another name of what manages the binding; null for nothing.
    #[serde(
        default,
        deserialize_with = "given",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<String>)]
    managed_by: Option<Option<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    binder: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    destination: Option<String>,
    #[serde(
        default,
        deserialize_with = "given",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<String>)]
    group: Option<Option<String>>,
    #[serde(
        default,
        deserialize_with = "given",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<String>)]
    content_type: Option<Option<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    acts_as: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    identity: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    identity_from: Option<String>,
    #[serde(
        default,
        deserialize_with = "given",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<u16>)]
    prefetch: Option<Option<u16>>,
    #[serde(
        default,
        deserialize_with = "given",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<Declare>)]
    declare: Option<Option<Declare>>,
    #[serde(
        default,
        deserialize_with = "given",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<ConsumerForm>)]
    consumer: Option<Option<ConsumerForm>>,
    #[serde(
        default,
        deserialize_with = "given",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<ProducerForm>)]
    producer: Option<Option<ProducerForm>>,
    #[serde(
        default,
        deserialize_with = "given",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<String>)]
    routing_key: Option<Option<String>>,
    #[serde(
        default,
        deserialize_with = "given",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<ReplyForm>)]
    reply: Option<Option<ReplyForm>>,
    #[serde(
        default,
        deserialize_with = "given",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<MessageMap>)]
    map: Option<Option<Map<String, Value>>>,
}

/// Say why a binding is paused.
#[derive(Clone, Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PauseBinding {
    /// At most 128 bytes.
    #[serde(default)]
    pub reason: String,
}
