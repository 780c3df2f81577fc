//! What binders and bindings say, as their settings keep it: JSON.

use std::fmt;

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};
use tributary_engine::Reader;
use tributary_ledger::{ApiKeyId, OwnerId, Setting, SettingId, SettingKind};
use utoipa::ToSchema;

use super::template::EventTemplate;
use crate::intake::IdentityKind;

/// A connection to a broker.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct BinderTerms {
    /// Type of broker, such as `rabbitmq`.
    #[serde(rename = "type")]
    pub broker: String,
    /// Where the broker is, without a password.
    pub url: String,
    /// Name of the user at the broker.
    pub username: Option<String>,
    /// Password of the user as [`super::Brokers::seal_password`] sealed it.
    pub sealed_password: Option<String>,
    /// PEM certificates that sign the broker's; the system's roots if there are none.
    pub trusted_roots: Option<String>,
}

/// A destination at a broker, joined to the system.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct BindingTerms {
    /// Which way messages go.
    pub direction: Direction,
    /// Slug or id of the binder.
    pub binder: String,
    /// Queue, topic, exchange, stream or address at the broker.
    pub destination: String,
    /// Consumer group: receivers of one group share the messages of a destination.
    pub group: String,
    /// Media type that replaces the one that a message says, or the one that messages are sent with.
    pub content_type: Option<String>,
    /// API key as which messages are submitted. Every binding in has one.
    #[serde(with = "api_key")]
    pub acts_as: Option<ApiKeyId>,
    /// Name of the stream of messages, under which each message is decided once. A binding that takes the place of another
    /// repeats it.
    pub identity: String,
    /// What names a message within the stream. Every binding in has one.
    pub identity_from: Option<IdentityFrom>,
    /// Maximum number of messages that were received and not acknowledged, of each receiver.
    pub prefetch: u16,
    /// What happens if the destination is missing.
    pub declare: Declare,
    /// How messages are received.
    pub consumer: ConsumerTerms,
    /// Key by which the broker keeps messages that go out in order.
    pub partition_key: Option<EventTemplate>,
    /// Routing key of messages that go out, or the end of their topic or subject.
    pub routing_key: Option<EventTemplate>,
    /// Where replies may go.
    pub reply: ReplyTerms,
    /// How a message of another form becomes a command, see [`super::check_map`].
    pub map: Option<Map<String, Value>>,
    /// Why the binding is paused, if it is.
    pub paused: Option<String>,
}

/// Which way messages go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = BindingDirection)]
pub enum Direction {
    /// From the broker: each message becomes a command.
    In,
    /// To the broker.
    Out,
}

/// What happens if a destination is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = BindingDeclare)]
pub enum Declare {
    /// The binding waits, and says that it is missing.
    Check,
    /// It is created.
    Create,
    /// Nobody looks: for users who may not ask.
    None,
}

/// How messages are received.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ConsumerTerms {
    /// Number of receivers at once.
    pub concurrency: u16,
    /// Number of attempts at a message before it becomes a dead letter.
    pub max_attempts: u32,
    /// Wait before the second attempt, milliseconds.
    pub back_off_initial_interval: u64,
    /// How many times as long each next wait is.
    pub back_off_multiplier: u32,
    /// Maximum wait between two attempts, milliseconds.
    pub back_off_max_interval: u64,
}

impl Default for ConsumerTerms {
    /// Returns what Spring Cloud Stream does if nothing is said.
    fn default() -> ConsumerTerms {
        ConsumerTerms {
            concurrency: 1,
            max_attempts: 3,
            back_off_initial_interval: 1_000,
            back_off_multiplier: 2,
            back_off_max_interval: 10_000,
        }
    }
}

/// Where replies may go.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ReplyTerms {
    /// Addresses that a message may name; with none, nobody gets a reply.
    pub allow: Vec<ReplyPattern>,
    /// Media type of replies; that of the message if there is none.
    pub content_type: Option<String>,
}

impl ReplyTerms {
    /// Returns whether a reply may go to this address.
    pub fn allows(&self, address: &str) -> bool {
        self.allow.iter().any(|pattern| pattern.matches(address))
    }
}

/// An address, or with a final `*` all addresses that begin with it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(transparent)]
pub struct ReplyPattern(String);

impl ReplyPattern {
    /// Maximum size of a pattern, bytes.
    pub const BYTES_MAX: usize = 512;

    /// Reads a pattern: none if the text is empty or too long, has control characters, or a `*` anywhere but at its end.
    pub fn parse(text: &str) -> Option<ReplyPattern> {
        let fixed = text.strip_suffix('*').unwrap_or(text);
        let sound = (1..=Self::BYTES_MAX).contains(&text.len())
            && !fixed.contains('*')
            && !text.chars().any(char::is_control);
        sound.then(|| ReplyPattern(text.to_owned()))
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns whether the pattern allows this address.
    pub fn matches(&self, address: &str) -> bool {
        match self.0.strip_suffix('*') {
            Some(beginning) => address.starts_with(beginning),
            None => address == self.0,
        }
    }
}

/// What names a message, so that it is recognised when it comes again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IdentityFrom {
    /// The field of the body at this path.
    Field(String),
    /// `source` and `id` of a CloudEvent.
    CloudEvents,
    /// The id that the sender gave to the broker.
    MessageId,
    /// The id that the broker gave: it protects against redelivery only.
    Broker,
}

impl IdentityFrom {
    /// Maximum size of the path of a field, bytes.
    pub const PATH_BYTES_MAX: usize = 255;

    /// Reads `field PATH`, `cloudevents`, `message_id` or `broker`. A path has no white space.
    pub fn parse(text: &str) -> Option<IdentityFrom> {
        match text {
            "cloudevents" => Some(IdentityFrom::CloudEvents),
            "message_id" => Some(IdentityFrom::MessageId),
            "broker" => Some(IdentityFrom::Broker),
            _ => {
                let path = text.strip_prefix("field ")?;
                let sound = (1..=Self::PATH_BYTES_MAX).contains(&path.len())
                    && !path.contains(|one: char| one.is_whitespace() || one.is_control());
                sound.then(|| IdentityFrom::Field(path.to_owned()))
            }
        }
    }

    /// Returns the kind, which is part of the idempotency key.
    pub fn kind(&self) -> IdentityKind {
        match self {
            IdentityFrom::Field(_) => IdentityKind::Field,
            IdentityFrom::CloudEvents => IdentityKind::CloudEvents,
            IdentityFrom::MessageId => IdentityKind::MessageId,
            IdentityFrom::Broker => IdentityKind::Broker,
        }
    }
}

impl fmt::Display for IdentityFrom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            IdentityFrom::Field(path) => write!(f, "field {path}"),
            other => f.write_str(other.kind().as_str()),
        }
    }
}

impl Serialize for IdentityFrom {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for IdentityFrom {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<IdentityFrom, D::Error> {
        let text = String::deserialize(deserializer)?;
        IdentityFrom::parse(&text).ok_or_else(|| D::Error::custom("not what names a message"))
    }
}

/// An API key as its number.
mod api_key {
    use super::{ApiKeyId, Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(
        key: &Option<ApiKeyId>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        key.map(|key| key.0).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<ApiKeyId>, D::Error> {
        let number = Option::<u64>::deserialize(deserializer)?;
        Ok(number.map(ApiKeyId))
    }
}

impl BinderTerms {
    /// Reads the content of a setting of the kind `binder`.
    ///
    /// # Errors
    /// If a later version of the server wrote it.
    pub fn from_setting(setting: &Setting) -> Result<BinderTerms, serde_json::Error> {
        serde_json::from_slice(setting.body.as_bytes())
    }
}

impl BindingTerms {
    /// Reads the content of a setting of the kind `binding`.
    ///
    /// # Errors
    /// If a later version of the server wrote it.
    pub fn from_setting(setting: &Setting) -> Result<BindingTerms, serde_json::Error> {
        serde_json::from_slice(setting.body.as_bytes())
    }
}

/// A living setting and what it says.
#[derive(Clone, Debug)]
pub struct Current<T> {
    /// Id.
    pub id: SettingId,
    /// Owner.
    pub owner: OwnerId,
    /// Name, unique among the owner's settings of the kind.
    pub slug: String,
    /// Number of the revision.
    pub revision: u64,
    /// Content.
    pub terms: T,
}

/// A binder as of its newest revision.
pub type Binder = Current<BinderTerms>;

/// A binding as of its newest revision.
pub type Binding = Current<BindingTerms>;

/// Returns the binders as of their newest revisions. One that a later version of the server wrote is left out, and logged.
/// [`Reader::settings_changed_after`] waits until they may differ.
pub fn current_binders(reader: &Reader) -> Vec<Binder> {
    current(reader, SettingKind::BINDER)
}

/// Returns the bindings, as [`current_binders`] does.
pub fn current_bindings(reader: &Reader) -> Vec<Binding> {
    current(reader, SettingKind::BINDING)
}

fn current<T: DeserializeOwned>(reader: &Reader, kind: SettingKind) -> Vec<Current<T>> {
    let settings = reader.settings(kind, None).into_iter();
    let read = settings.filter_map(|setting| match serde_json::from_slice(setting.body.as_bytes()) {
        Ok(terms) => Some(Current {
            id: setting.id,
            owner: setting.owner,
            slug: setting.slug.to_string(),
            revision: setting.revision,
            terms,
        }),
        Err(error) => {
            let (kind, slug) = (kind.name(), setting.slug.as_str());
            tracing::error!(kind, slug, %error, "a setting is of a later version, and is not served");
            None
        }
    });
    read.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_names_a_message_is_read_as_it_is_shown() {
        for text in [
            "field order_id",
            "field a.b[0]",
            "cloudevents",
            "message_id",
            "broker",
        ] {
            let identity = IdentityFrom::parse(text).expect("it names messages");
            assert_eq!(identity.to_string(), text);
        }
        let long = format!("field {}", "p".repeat(IdentityFrom::PATH_BYTES_MAX + 1));
        for text in [
            "",
            "field",
            "field ",
            "field a b",
            "offset",
            "Broker",
            &long,
        ] {
            assert_eq!(IdentityFrom::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_pattern_allows_an_address_or_all_that_begin_with_it() {
        for (pattern, address, expected) in [
            ("replies", "replies", true),
            ("replies", "replies.1", false),
            ("replies.*", "replies.1", true),
            ("replies.*", "replies", false),
            ("*", "anything", true),
        ] {
            let parsed = ReplyPattern::parse(pattern).expect("a pattern");
            assert_eq!(parsed.matches(address), expected, "{pattern} {address}");
        }
        for text in ["", "*.replies", "a*b", "**", "a\n"] {
            assert_eq!(ReplyPattern::parse(text), None, "{text}");
        }
        assert!(
            !ReplyTerms::default().allows("replies"),
            "nobody gets a reply"
        );
    }
}
