//! The description and the metadata of an object: read from the records that have them.

use tributary_engine::Reader;
use tributary_ledger::TextState;
use tributary_ledger::codec::Record;

use crate::error::ApiError;
use crate::form::request::Notes;
use crate::render::common::created;

/// Returns description and metadata of an object. `text`: where they are; none = it was never updated. `opened`: the record that created
/// the object with its text; none = an owner, whose text is where `text` says or nowhere.
///
/// # Errors
/// If a record can't be read.
pub fn present_notes(
    reader: &Reader,
    text: Option<&TextState>,
    opened: Option<&Record>,
) -> Result<Notes, ApiError> {
    let first = || opened.map_or_else(Notes::default, record_notes);
    let Some(text) = text else {
        return Ok(first());
    };
    let at = |position: u64| match position {
        0 => Ok(first()),
        _ => created(reader, position).map(|record| record_notes(&record)),
    };
    let notes = at(text.description_at)?;
    if text.metadata_at == text.description_at {
        return Ok(notes);
    }
    Ok(Notes {
        description: notes.description,
        metadata: at(text.metadata_at)?.metadata,
    })
}

/// Returns the description and the metadata that a record has itself.
pub fn record_notes(record: &Record) -> Notes {
    Notes::read(record.command.text.as_ref())
}
