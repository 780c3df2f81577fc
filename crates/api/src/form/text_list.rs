//! The bodies of requests about lists of texts.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::form::json::given;
use crate::form::value::TimeText;

/// An entry of a list.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = TextListEntryForm)]
pub struct EntryForm {
    /// The text, such as the name of an owner or a device: 1 to 256 bytes without control characters.
    pub value: String,
    /// When the entry ends by itself, to the millisecond; never if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub until: Option<TimeText>,
    /// Why the entry is there: at most 256 bytes without control characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// Make a list of texts, which rules look up.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ListCreate {
    /// Name by which rule sets name the list, unique among the lists: 1 to 64 of `a-z 0-9 . _ -`.
    pub slug: String,
    /// Name of the file or tool that manages the list, at most 64 bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub managed_by: Option<String>,
    /// The entries, each text once: at most 1,000, which together fit 32 KiB of JSON. None if left out; as they are, if left out of a file
    /// of settings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entries: Option<Vec<EntryForm>>,
}

/// Change a list: what is left out stays. `add` and `remove` change some entries of whatever revision is newest.
#[derive(Clone, Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ListUpdate {
    /// Revision that must be the newest, else the answer is `setting_conflict`. Left out, the change is made to whatever is newest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<u64>,
    /// Another name. Rule sets that name the list by the old one have no list any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slug: Option<String>,
    /// Another name of what manages the list; null for nothing.
    #[serde(
        default,
        deserialize_with = "given",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<String>)]
    pub managed_by: Option<Option<String>>,
    /// Other entries, which replace all. Not together with `add` or `remove`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entries: Option<Vec<EntryForm>>,
    /// Entries to add. An entry with the same text is replaced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub add: Option<Vec<EntryForm>>,
    /// Texts of entries to remove. A text that is not in the list is no error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remove: Option<Vec<String>>,
}
