//! What streams say, as their settings keep it: JSON.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tributary_ledger::{ApiKeyId, Setting};
use utoipa::ToSchema;

use super::act::{ActTerms, api_key};

/// Figures over windows of events, by key.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct StreamTerms {
    /// Number of the definition, from 1: one more with each change of what is computed or published.
    pub version: u64,
    /// Which events are counted.
    pub from: Vec<SourceForm>,
    /// Types of the fields of published events, by path within `data`.
    pub data: BTreeMap<String, FieldType>,
    /// Fields whose values form the key.
    pub key: Vec<String>,
    /// The event's own time; none for the time of its record.
    pub time: Option<TimeForm>,
    /// How events are put together.
    pub window: WindowForm,
    /// What is computed, by name, such as `sum(amount)`.
    pub emit: BTreeMap<String, String>,
    /// Condition over a result.
    pub having: Option<String>,
    /// How results become events; none if they are rows of a table only.
    pub publish: Option<PublishTerms>,
    /// What is done for each result; none if nothing is. Not together with `publish`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub act: Option<ActTerms>,
    /// Where in the journal the stream begins.
    pub start: StartForm,
    /// Bounds; what is left out has its default.
    pub bounds: BoundsForm,
    /// Why the stream is paused, if it is.
    pub paused: Option<String>,
}

impl StreamTerms {
    /// Reads the content of a setting.
    ///
    /// # Errors
    /// If a later version of the server wrote it.
    pub fn from_setting(setting: &Setting) -> serde_json::Result<StreamTerms> {
        serde_json::from_slice(setting.body.as_bytes())
    }

    /// Returns the API key as which results are published or acted upon; none if they are rows of a table only.
    #[must_use]
    pub fn acts_as(&self) -> Option<ApiKeyId> {
        let publishes = self.publish.as_ref().map(|publish| publish.acts_as);
        publishes.or(self.act.as_ref().map(|act| act.acts_as))
    }

    /// Returns whether another stream computes and publishes the same.
    #[must_use]
    pub fn computes_as(&self, other: &StreamTerms) -> bool {
        let bare = |terms: &StreamTerms| StreamTerms {
            version: 0,
            bounds: BoundsForm::default(),
            paused: None,
            ..terms.clone()
        };
        bare(self) == bare(other)
    }
}

/// Events of one type, and which of them.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = StreamSource)]
pub struct SourceForm {
    /// Type of the events, such as `payment.captured`; each type once.
    pub event: String,
    /// Condition over the event, an expression (docs/expressions.md); every event of the type if left out.
    #[serde(rename = "where", skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// Fields of the stream's own, each an expression over the event. All sources have the same names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub fields: BTreeMap<String, String>,
    /// Whether events that streams published are counted too; not if left out.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub from_streams: bool,
}

/// Type of a field of published events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = StreamFieldType)]
pub enum FieldType {
    /// True or false.
    Boolean,
    /// A whole number of 64 bits.
    Integer,
    /// Text.
    String,
}

/// The event's own time.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = StreamTime)]
pub struct TimeForm {
    /// Expression over the event: milliseconds since 1970-01-01T00:00:00Z.
    pub milliseconds: String,
    /// How much later than a younger event an event may come and still be counted; 0 if left out.
    #[serde(default)]
    pub lateness_seconds: u64,
}

/// How the events of a key are put together.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
#[schema(as = StreamWindow)]
pub enum WindowForm {
    /// Intervals one after another: each event is in one.
    Tumbling {
        /// Length.
        size_seconds: u64,
    },
    /// Intervals that overlap: each event is in several.
    Hopping {
        /// Length.
        size_seconds: u64,
        /// From one beginning to the next.
        step_seconds: u64,
    },
    /// Events with less than the gap from each to the next.
    Session {
        /// Shortest silence that ends a session.
        gap_seconds: u64,
    },
    /// One result for each event, over the time before it.
    Trailing {
        /// Length.
        size_seconds: u64,
        /// From the end of the interval to the event; 0 if left out, and the event itself counts then.
        #[serde(default)]
        delay_seconds: u64,
    },
    /// Waits for an answer: the first event of a key opens a wait, and the first answer of the key in time ends it.
    Await {
        /// Longest time until an answer.
        within_seconds: u64,
        /// Which events are answers: 1 to 32 types, none of those in `from`.
        until: Vec<SourceForm>,
        /// Which waits have results; those without an answer if left out.
        #[serde(default)]
        give: GiveForm,
    },
}

/// Which waits for an answer have results.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = StreamGive)]
pub enum GiveForm {
    /// Those that no answer ended, when their time is over.
    #[default]
    Unanswered,
    /// Those that an answer ended, when it came.
    Answered,
}

/// How results become events.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct PublishTerms {
    /// Type of the events.
    pub event: String,
    /// API key as which they are published.
    #[serde(with = "api_key")]
    pub acts_as: ApiKeyId,
}

/// Where in the journal a stream begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = StreamStart)]
pub enum StartForm {
    /// At the first record.
    #[default]
    Beginning,
    /// At the record that makes the stream, or that changes what it computes.
    Now,
}

/// Bounds of a stream. One that reaches a bound stops, and payments go on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = StreamBounds)]
pub struct BoundsForm {
    /// Maximum number of keys that have a window: 1 to 10,000,000; 2,000,000 if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keys_max: Option<u64>,
    /// Maximum number of open windows: 1 to 20,000,000; 4,000,000 if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub open_windows_max: Option<u64>,
    /// Maximum bytes of state and of the final rows that are kept, together: 1 to 17,179,869,184; 1,073,741,824 if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state_bytes_max: Option<u64>,
    /// Maximum number of distinct values of an aggregate in a window: 1 to 1,000,000; 10,000 if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub distinct_values_max: Option<u64>,
    /// Final rows that are kept, the newest ones: 1 to 1,000,000; 10,000 if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows_max: Option<u64>,
    /// Maximum number of events published in a second: 1 to 10,000; 500 if left out. More results wait; more than
    /// 100,000 that wait, or 256 MiB of them, stop the stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub events_per_second: Option<u64>,
    /// Maximum number of actions in a minute: 1 to 10,000; 60 if left out. A stream that would do more pauses itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actions_per_minute: Option<u64>,
}
