//! The bodies of requests about streams.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::form::json::given;
use crate::streaming::{
    Action, AddToListForm, BoundsForm, FieldType, SourceForm, StartForm, TimeForm, WindowForm,
};

/// Make a stream: figures over windows of events, by key.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StreamCreate {
    /// Name for tools, unique among the streams: 1 to 64 of `a-z 0-9 . _ -`.
    pub slug: String,
    /// Name of the file or tool that manages the stream, at most 64 bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub managed_by: Option<String>,
    /// Which events are counted: 1 to 32 types.
    pub from: Vec<SourceForm>,
    /// Types of the fields of published events that expressions may use, by path: `data.terminal` is the field `terminal` of what was
    /// published.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub data: BTreeMap<String, FieldType>,
    /// Names of 1 to 8 fields. Each combination of their values has windows of its own.
    pub key: Vec<String>,
    /// The event's own time; left out, the time of its record counts, which never goes back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<TimeForm>,
    /// How events are put together.
    pub window: WindowForm,
    /// What is computed over a window: 1 to 16 names, each with `count()`, `sum(E)`, `min(E)`, `max(E)`, `distinct(E)`, `first(E)` or
    /// `last(E)`, where E is an expression over the event.
    pub emit: BTreeMap<String, String>,
    /// Condition over a result: over the fields of the key, the names in `emit`, and `window_start` and `window_end` in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub having: Option<String>,
    /// Has each result published as an event; left out, results are rows of the stream's table only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub publish: Option<PublishForm>,
    /// Has something done for each result. Not together with `publish`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub act: Option<ActForm>,
    /// Where in the journal the stream begins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<StartForm>,
    /// Bounds. A stream that reaches one stops.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bounds: Option<BoundsForm>,
    /// Whether the stream rests. As it is, if left out of a file of settings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paused: Option<bool>,
    /// Why the stream is paused, at most 128 bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paused_reason: Option<String>,
}

/// How results become events.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = StreamPublish)]
pub struct PublishForm {
    /// Type of the events, which begins with `app.`
    pub event: String,
    /// Id of the API key as which they are published, which may write. Nothing is published once the key is revoked.
    pub acts_as: String,
}

/// What is done for a result: one of the actions.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = StreamAct)]
pub struct ActForm {
    /// Freezes the account whose id this expression over the result gives, such as `source` where that is a field of the key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub freeze_account: Option<String>,
    /// Opens the frozen account whose id this expression over the result gives.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unfreeze_account: Option<String>,
    /// Adds an entry to a list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub add_to_list: Option<AddToListForm>,
    /// Slug or id of a subscription: all its dead letters are delivered again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requeue_dead_letters: Option<String>,
    /// Slug or id of a binding: it is paused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pause_binding: Option<String>,
    /// Id of an API key as which it is done, which may write: one of the platform, but for `requeue_dead_letters`. Nothing is done once
    /// the key is revoked.
    pub acts_as: String,
}

impl ActForm {
    /// Returns the form of an action that is done as this API key.
    pub fn new(action: Action, acts_as: String) -> ActForm {
        let mut form = ActForm {
            freeze_account: None,
            unfreeze_account: None,
            add_to_list: None,
            requeue_dead_letters: None,
            pause_binding: None,
            acts_as,
        };
        match action {
            Action::FreezeAccount(account) => form.freeze_account = Some(account),
            Action::UnfreezeAccount(account) => form.unfreeze_account = Some(account),
            Action::AddToList(entry) => form.add_to_list = Some(entry),
            Action::RequeueDeadLetters(named) => form.requeue_dead_letters = Some(named),
            Action::PauseBinding(named) => form.pause_binding = Some(named),
        }
        form
    }

    /// Returns the action; none if the form has none, or more than one.
    pub fn action(self) -> Option<Action> {
        let actions = [
            self.freeze_account.map(Action::FreezeAccount),
            self.unfreeze_account.map(Action::UnfreezeAccount),
            self.add_to_list.map(Action::AddToList),
            self.requeue_dead_letters.map(Action::RequeueDeadLetters),
            self.pause_binding.map(Action::PauseBinding),
        ];
        let mut given = actions.into_iter().flatten();
        given.next().filter(|_| given.next().is_none())
    }
}

/// Change a stream: what is left out stays. A table such as `window` is replaced as a whole; null gives a field its default. A change of
/// what is computed or published is a new version, which is computed from the journal beside the old one.
#[derive(Clone, Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StreamUpdate {
    /// Revision that must be the newest, else the answer is `setting_conflict`. Left out, the change is made to whatever is newest.
    #[serde(skip_serializing_if = "Option::is_none")]
    revision: Option<u64>,
    /// Another name for tools.
    #[serde(skip_serializing_if = "Option::is_none")]
    slug: Option<String>,
    /// Another name of what manages the stream; null for nothing.
    #[serde(
        default,
        deserialize_with = "given",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<String>)]
    managed_by: Option<Option<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<Vec<SourceForm>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<BTreeMap<String, FieldType>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<Vec<String>>,
    #[serde(
        default,
        deserialize_with = "given",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<TimeForm>)]
    time: Option<Option<TimeForm>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    window: Option<WindowForm>,
    #[serde(skip_serializing_if = "Option::is_none")]
    emit: Option<BTreeMap<String, String>>,
    #[serde(
        default,
        deserialize_with = "given",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<String>)]
    having: Option<Option<String>>,
    #[serde(
        default,
        deserialize_with = "given",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<PublishForm>)]
    publish: Option<Option<PublishForm>>,
    #[serde(
        default,
        deserialize_with = "given",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<ActForm>)]
    act: Option<Option<ActForm>>,
    #[serde(
        default,
        deserialize_with = "given",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<StartForm>)]
    start: Option<Option<StartForm>>,
    #[serde(
        default,
        deserialize_with = "given",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<BoundsForm>)]
    bounds: Option<Option<BoundsForm>>,
}

/// Pause a stream.
#[derive(Clone, Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PauseStream {
    /// Why, at most 128 bytes.
    #[serde(default)]
    pub reason: String,
}

/// Try a stream over what was recorded last.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StreamPreviewCreate {
    /// The stream, as it would be made.
    pub stream: StreamCreate,
    /// Number of records to read, up to 100,000; 10,000 if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub records: Option<u64>,
}
