//! Contents of settings with a change that the system makes by itself: no form, and none if there is nothing to change.

use tributary_ledger::{Setting, SettingBody};

use super::defined::{check_text, encode, unreadable};
use crate::brokers::BindingTerms;
use crate::error::ApiError;
use crate::risk::{ENTRIES_MAX, ENTRY_BYTES_MAX, ListEntryForm, ListTerms};
use crate::streaming::StreamTerms;

/// Returns the content of a list with this entry; none if the list has one of the same text that ends no sooner. Entries that are over at
/// `now_ms`, milliseconds since 1970, are left out then.
///
/// # Errors
/// If the text of the entry is none for a list, or the list has no room for the entry.
pub fn list_with(
    list: &Setting,
    entry: ListEntryForm,
    now_ms: u64,
) -> Result<Option<SettingBody>, ApiError> {
    check_text("The text of an entry", &entry.value, ENTRY_BYTES_MAX)?;
    let terms = ListTerms::from_setting(list).map_err(|error| unreadable(list, &error))?;
    let end = |entry: &ListEntryForm| entry.until_ms.unwrap_or(u64::MAX);
    let known = terms.entries.iter().find(|one| one.value == entry.value);
    if known.is_some_and(|known| end(known) >= end(&entry)) {
        return Ok(None);
    }
    let mut entries = terms.entries;
    entries.retain(|one| end(one) > now_ms && one.value != entry.value);
    entries.push(entry);
    if entries.len() > ENTRIES_MAX {
        let message = format!(
            "The list has {ENTRIES_MAX} entries, and no room for another: remove some, or give entries an end."
        );
        return Err(ApiError::invalid("entries", message));
    }
    encode(list.kind, &ListTerms { entries }).map(Some)
}

/// Returns the content of a binding that is paused for `reason`; none if it is paused already.
///
/// # Errors
/// If a later version of the server wrote it.
pub fn paused_binding(binding: &Setting, reason: String) -> Result<Option<SettingBody>, ApiError> {
    let terms = BindingTerms::from_setting(binding);
    let mut terms = terms.map_err(|error| unreadable(binding, &error))?;
    if terms.paused.is_some() {
        return Ok(None);
    }
    terms.paused = Some(reason);
    encode(binding.kind, &terms).map(Some)
}

/// Returns the content of a stream that is paused for `reason`; none if it is paused already.
///
/// # Errors
/// If a later version of the server wrote it.
pub fn paused_stream(stream: &Setting, reason: String) -> Result<Option<SettingBody>, ApiError> {
    let terms = StreamTerms::from_setting(stream);
    let mut terms = terms.map_err(|error| unreadable(stream, &error))?;
    if terms.paused.is_some() {
        return Ok(None);
    }
    terms.paused = Some(reason);
    encode(stream.kind, &terms).map(Some)
}
