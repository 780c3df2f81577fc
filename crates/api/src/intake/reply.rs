//! The way back: from the ledger's reply to what became of a command.

use tributary_engine::{BriefReply, DurableRecord, Reply};
use tributary_ledger::Rejection;

use crate::error::ApiError;
use crate::failures::{group_key_conflict, key_conflict, not_queued_error};

/// A decision of the ledger, made now or before.
pub struct Done<T> {
    /// The record of the command, or what is known of it.
    pub record: T,
    /// Whether this is the repetition of an earlier answer.
    pub replayed: bool,
}

/// Position of a record, and why the command was refused, if it was.
pub type Position = (u64, Option<Rejection>);

/// Returns the record that a reply gives, or the error of a command that was not decided.
pub fn read_reply(reply: Reply) -> Result<Done<DurableRecord>, ApiError> {
    match reply {
        Reply::Done { record, replayed } => Ok(Done { record, replayed }),
        Reply::KeyConflict { .. } => Err(key_conflict()),
        Reply::GroupKeyConflict => Err(group_key_conflict()),
        Reply::NotQueued(why) => Err(not_queued_error(why)),
    }
}

/// Returns the position that a receipt gives, or the error of a command that was not decided.
pub fn read_brief_reply(receipt: BriefReply) -> Result<Done<Position>, ApiError> {
    match receipt {
        BriefReply::Done {
            position,
            rejection,
            replayed,
        } => Ok(Done {
            record: (position, rejection),
            replayed,
        }),
        BriefReply::KeyConflict { .. } => Err(key_conflict()),
        BriefReply::GroupKeyConflict => Err(group_key_conflict()),
        BriefReply::NotQueued(why) => Err(not_queued_error(why)),
    }
}
