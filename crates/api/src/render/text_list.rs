//! Lists of texts as they look from outside.

use serde::Serialize;
use tributary_engine::Reader;
use tributary_ledger::Setting;
use utoipa::ToSchema;

use crate::risk::{ListEntryForm, ListTerms};
use crate::time::format_timestamp;

/// Nanoseconds of a millisecond.
const MILLISECOND: u64 = 1_000_000;

/// Texts that rules look up.
#[derive(Serialize, ToSchema)]
#[schema(as = TextList)]
pub struct TextListObject {
    id: String,
    #[schema(pattern = "^list$")]
    object: &'static str,
    /// Name by which rule sets name the list, unique among the lists.
    slug: String,
    /// Name of the file or tool that manages the list.
    #[schema(required)]
    managed_by: Option<String>,
    /// Number of this revision, from 1.
    revision: u64,
    /// The entries, each text once. One that has ended stays until it is removed.
    entries: Vec<EntryObject>,
    #[schema(format = DateTime)]
    created: String,
    /// When this revision was made.
    #[schema(format = DateTime)]
    updated: String,
}

/// An entry of a list.
#[derive(Serialize, ToSchema)]
#[schema(as = TextListEntry)]
pub struct EntryObject {
    /// The text.
    value: String,
    /// When the entry ends by itself; null for never.
    #[schema(required, format = DateTime)]
    until: Option<String>,
    /// Why the entry is there.
    #[schema(required)]
    note: Option<String>,
}

impl EntryObject {
    /// Returns an entry as it looks from outside.
    pub fn new(entry: ListEntryForm) -> EntryObject {
        let until = entry.until_ms;
        let until = until.map(|until| format_timestamp(until.saturating_mul(MILLISECOND)));
        EntryObject {
            value: entry.value,
            until,
            note: entry.note,
        }
    }
}

/// Returns the list that a setting defines.
pub fn text_list(reader: &Reader, setting: &Setting, terms: ListTerms) -> TextListObject {
    TextListObject {
        id: reader.ids().encode_setting(setting.kind, setting.id),
        object: "list",
        slug: setting.slug.to_string(),
        managed_by: setting.managed_by.as_ref().map(ToString::to_string),
        revision: setting.revision,
        entries: terms.entries.into_iter().map(EntryObject::new).collect(),
        created: format_timestamp(setting.created.timestamp),
        updated: format_timestamp(setting.changed.timestamp),
    }
}
