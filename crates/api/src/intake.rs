//! The way of a draft into a command, and of the ledger's reply back.

use std::sync::Arc;

use tributary_engine::{Answer, Reader, Reply};
use tributary_ledger::{Actor, Body, Command, Key, OwnerId, OwnerName};
use tributary_messaging::{Messaging, Subscription, SubscriptionId};

use crate::caller::Caller;
use crate::code::ErrorCode;
use crate::error::ApiError;
use crate::failures::{group_key_conflict, key_conflict, not_queued_error, read_error};
use crate::form::queue::no_mailbox;
use crate::form::request::{CommandDraft, owner_name};
use crate::form::value::OwnerText;
use crate::subscriptions::require_messaging;

/// A command that the ledger answered, now or before.
pub struct Done {
    /// The record of the command.
    pub record: Answer,
    /// Whether this is the repetition of an earlier answer.
    pub replayed: bool,
}

/// Returns the command that a draft asks for.
pub fn command(actor: Actor, key: Key, draft: CommandDraft) -> Command {
    Command {
        key,
        actor,
        linked: false,
        effective_at: draft.effective_at,
        text: draft.text,
        body: draft.body,
    }
}

/// Checks that the command may name the mailbox that it names, if it does: a subscription of its own owner, or one of the
/// platform's that does not want another owner's events only. Under a key that was used before it may be gone since: the first
/// answer is given again. Nothing of an error is about the form of the command.
pub fn check_mailbox(
    reader: &Reader,
    messaging: Option<&Arc<Messaging>>,
    command: &Command,
) -> Result<(), ApiError> {
    let Body::Pay(pay) = &command.body else {
        return Ok(());
    };
    let Some(reply_to) = pay.queue.as_ref().and_then(|queue| queue.terms.reply_to) else {
        return Ok(());
    };
    let owner = command.actor.owner;
    let mailbox = messaging.and_then(|messaging| messaging.get(SubscriptionId(reply_to.0.get())));
    let takes = |mailbox: Subscription| {
        let wanted = mailbox.terms.filter.owner;
        let common = mailbox.scope == OwnerId::PLATFORM;
        mailbox.scope == owner || common && wanted.is_none_or(|wanted| wanted == owner)
    };
    if mailbox.is_some_and(takes) || reader.key_used(owner, &command.key).map_err(read_error)? {
        return Ok(());
    }
    require_messaging(messaging)?;
    Err(no_mailbox("queue.reply_to"))
}

/// Returns what a reply says of one command.
pub fn read_reply(reply: Reply) -> Result<Done, ApiError> {
    match reply {
        Reply::Done { record, replayed } => Ok(Done { record, replayed }),
        Reply::KeyConflict { .. } => Err(key_conflict()),
        Reply::GroupKeyConflict => Err(group_key_conflict()),
        Reply::NotQueued(why) => Err(not_queued_error(why)),
    }
}

/// Returns the owner of a new account: the one named, else the caller's own.
pub fn owner_of_new(
    reader: &Reader,
    caller: &Caller,
    named: Option<&OwnerText>,
) -> Result<OwnerName, ApiError> {
    match named {
        Some(text) => owner_name(text),
        None if caller.is_platform() => {
            let message =
                "A platform key must say whose account it opens; platform is the platform itself.";
            Err(ApiError::new(ErrorCode::ParameterMissing, message).param("owner"))
        }
        None => {
            let name = crate::render::common::owner_name(reader, caller.actor.owner);
            OwnerName::new(&name).map_err(|error| ApiError::invalid("owner", error.to_string()))
        }
    }
}
