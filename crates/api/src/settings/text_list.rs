//! The kind `list`: texts that rules look up.

use std::collections::HashSet;

use serde_json::{Map, Value, json};
use tributary_engine::Reader;
use tributary_ledger::{Setting, SettingBody, SettingId, SettingKind, Slug};

use super::SettingType;
use super::defined::{DefinedType, check_text, encode, parse_definition, unreadable};
use crate::caller::Caller;
use crate::error::ApiError;
use crate::form::text_list::{EntryForm, ListCreate, ListUpdate};
use crate::render::text_list::{EntryObject, TextListObject, text_list};
use crate::risk::{ENTRIES_MAX, ENTRY_BYTES_MAX, ListEntryForm, ListTerms, NOTE_BYTES_MAX};

/// Nanoseconds of a millisecond.
const MILLISECOND: u64 = 1_000_000;

/// The kind `list`.
#[derive(Clone)]
pub struct ListType {
    reader: Reader,
}

impl ListType {
    /// Lists as `reader` shows them.
    pub fn new(reader: Reader) -> ListType {
        ListType { reader }
    }
}

/// Checks the parts of a change that say the same whatever the list has.
///
/// # Errors
/// The field that is wrong.
pub fn check_update(form: &ListUpdate) -> Result<(), ApiError> {
    let add = form.add.as_deref().unwrap_or_default();
    let remove = form.remove.as_deref().unwrap_or_default();
    if form.entries.is_some() && (form.add.is_some() || form.remove.is_some()) {
        let message = "Give either entries, which replace all, or add and remove.";
        return Err(ApiError::invalid("entries", message));
    }
    check_entries("add", add)?;
    if remove.len() > ENTRIES_MAX {
        let message = format!("remove must be at most {ENTRIES_MAX} texts.");
        return Err(ApiError::invalid("remove", message));
    }
    let added: HashSet<&str> = add.iter().map(|entry| entry.value.as_str()).collect();
    let both = remove.iter().position(|text| added.contains(text.as_str()));
    if let Some(at) = both {
        let message = "The same text is in add: give it once.";
        return Err(ApiError::invalid(&format!("remove[{at}]"), message));
    }
    Ok(())
}

/// Checks entries. `param` is the field that has them.
fn check_entries(param: &str, entries: &[EntryForm]) -> Result<(), ApiError> {
    if entries.len() > ENTRIES_MAX {
        let message = format!("{param} must be at most {ENTRIES_MAX} entries.");
        return Err(ApiError::invalid(param, message));
    }
    let mut known = HashSet::new();
    for (at, entry) in entries.iter().enumerate() {
        let place = format!("{param}[{at}].value");
        check_text(&place, &entry.value, ENTRY_BYTES_MAX)?;
        if !known.insert(entry.value.as_str()) {
            let message = format!("{place}: another entry has the same text.");
            return Err(ApiError::invalid(&place, message));
        }
        if let Some(note) = &entry.note {
            check_text(&format!("{param}[{at}].note"), note, NOTE_BYTES_MAX)?;
        }
    }
    Ok(())
}

impl SettingType for ListType {
    fn kind(&self) -> SettingKind {
        SettingKind::LIST
    }

    fn define(
        &self,
        caller: &Caller,
        _id: SettingId,
        slug: &Slug,
        definition: &Map<String, Value>,
        before: Option<&Setting>,
    ) -> Result<SettingBody, ApiError> {
        caller.must_be_platform()?;
        let form: ListCreate = parse_definition(slug, definition)?;
        let Some(entries) = form.entries else {
            return match before {
                Some(before) => Ok(before.body.clone()),
                None => encode(SettingKind::LIST, &ListTerms::default()),
            };
        };
        check_entries("entries", &entries)?;
        let entries = entries.into_iter().map(|entry| ListEntryForm {
            value: entry.value,
            until_ms: entry.until.map(|until| until.0 / MILLISECOND),
            note: entry.note,
        });
        let terms = ListTerms {
            entries: entries.collect(),
        };
        encode(SettingKind::LIST, &terms).map_err(|error| error.param("entries"))
    }

    fn mask(&self, _definition: &mut Map<String, Value>) -> Result<(), ApiError> {
        Ok(())
    }

    fn render(&self, setting: &Setting) -> Result<Value, ApiError> {
        let object = self.object(setting)?;
        Ok(serde_json::to_value(object).expect("an object is JSON"))
    }

    fn reveal(&self, _setting: &Setting) -> Result<Option<String>, ApiError> {
        Ok(None)
    }
}

impl DefinedType for ListType {
    type Object = TextListObject;

    fn reader(&self) -> &Reader {
        &self.reader
    }

    fn definition(&self, setting: &Setting) -> Result<Map<String, Value>, ApiError> {
        let entries = terms_of(setting)?.entries.into_iter();
        let entries: Vec<EntryObject> = entries.map(EntryObject::new).collect();
        Ok(Map::from_iter([("entries".to_owned(), json!(entries))]))
    }

    fn amend(&self, definition: &mut Map<String, Value>, mut changes: Map<String, Value>) {
        let mut take = |name| match changes.remove(name) {
            Some(Value::Array(items)) => items,
            _ => Vec::new(),
        };
        let (add, remove) = (take("add"), take("remove"));
        definition.extend(changes);
        let Some(Value::Array(entries)) = definition.get_mut("entries") else {
            unreachable!("a list has entries")
        };
        let remove: HashSet<&str> = remove.iter().filter_map(Value::as_str).collect();
        let is_removed = |entry: &Value| {
            entry["value"]
                .as_str()
                .is_some_and(|text| remove.contains(text))
        };
        entries.retain(|entry| !is_removed(entry));
        for entry in add {
            let mut known = entries.iter_mut();
            match known.find(|known| known["value"] == entry["value"]) {
                Some(known) => *known = entry,
                None => entries.push(entry),
            }
        }
    }

    fn object(&self, setting: &Setting) -> Result<TextListObject, ApiError> {
        Ok(text_list(&self.reader, setting, terms_of(setting)?))
    }
}

fn terms_of(setting: &Setting) -> Result<ListTerms, ApiError> {
    ListTerms::from_setting(setting).map_err(|error| unreadable(setting, &error))
}
