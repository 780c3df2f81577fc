//! The intake of commands: from a draft to a command of the ledger, and from the ledger's reply to what became of it. Every
//! interface passes its drafts through here.
//!
//! A draft has the right form already. [`Intake::command`] checks that the caller may see and do what the draft names, so that the
//! journal records only what a caller may ask for. What fails is first looked up as a repetition: a command that was done before
//! gets its first answer, whatever has changed since.

mod batch;
mod commands;
mod message_key;
mod permission;
mod refusals;
mod reply;

pub use batch::{Batch, Place};
pub use commands::Intake;
pub use message_key::{IdentityKind, message_key};
pub use refusals::{REFUSALS_COUNTED_MAX, RefusalCount};
pub use reply::{Done, Position, read_brief_reply, read_reply};
