//! Streams as the API knows them: what a stream says, and the port through which the crate that runs them checks and shows them.

mod act;
mod dead_letters;
mod figures;
mod terms;

pub use act::{ActTerms, Action, AddToListForm, ENTRY_SECONDS_MAX};
pub use dead_letters::DeadLetters;
pub use figures::{Preview, StreamFigures, StreamRow, StreamState, Usage};
pub use terms::{
    BoundsForm, FieldType, GiveForm, PublishTerms, SourceForm, StartForm, StreamTerms, TimeForm,
    WindowForm,
};

use tributary_ledger::SettingId;

use crate::error::ApiError;

/// First bytes of the key of a record that a stream's result made. The id of the result follows, and the number of the attempt if it is
/// not the first. No caller can use such a key.
pub const RESULT_KEY: &[u8] = b"\0stream:";
/// Maximum number of records that a preview reads.
pub const PREVIEW_RECORDS_MAX: u64 = 100_000;
/// Records that a preview reads if nothing is said.
pub const PREVIEW_RECORDS_DEFAULT: u64 = 10_000;

/// The streams of a server, as the API asks them: implemented by the crate that runs them.
pub trait Streaming: Send + Sync {
    /// Checks what a stream says, without running it.
    ///
    /// # Errors
    /// The field that is wrong, and what to do.
    fn check(&self, terms: &StreamTerms) -> Result<(), ApiError>;

    /// Returns how far a stream is and what it holds; none if it does not run here.
    fn figures(&self, stream: SettingId) -> Option<StreamFigures>;

    /// Returns at most `limit` results that are final, the newest first, from the one before `before` on; none if the stream does not
    /// run here.
    fn rows(&self, stream: SettingId, before: Option<u64>, limit: usize) -> Option<Vec<StreamRow>>;

    /// Returns the figures of the windows that are open, by key, from the row `after` on; none if the stream does not run here.
    ///
    /// # Errors
    /// If the stream stopped.
    fn open_rows(
        &self,
        stream: SettingId,
        after: u64,
        limit: usize,
    ) -> Option<Result<Vec<StreamRow>, String>>;

    /// Runs a stream over the last `records` records of the journal, beside everything else, and keeps nothing of it.
    ///
    /// # Errors
    /// The field that is wrong, or why the journal can't be read.
    fn preview(&self, terms: &StreamTerms, records: u64) -> Result<Preview, ApiError>;
}

/// A server without streams: it checks nothing and runs nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoStreaming;

impl Streaming for NoStreaming {
    fn check(&self, _terms: &StreamTerms) -> Result<(), ApiError> {
        Ok(())
    }

    fn figures(&self, _stream: SettingId) -> Option<StreamFigures> {
        None
    }

    fn rows(
        &self,
        _stream: SettingId,
        _before: Option<u64>,
        _limit: usize,
    ) -> Option<Vec<StreamRow>> {
        None
    }

    fn open_rows(
        &self,
        _stream: SettingId,
        _after: u64,
        _limit: usize,
    ) -> Option<Result<Vec<StreamRow>, String>> {
        None
    }

    fn preview(&self, _terms: &StreamTerms, _records: u64) -> Result<Preview, ApiError> {
        Ok(Preview::default())
    }
}
