//! The way of a command to the ledger and back.

use std::time::Duration;

use tributary_engine::{Answer, Failure, NotQueued, RETRY_AFTER, Receipt, Refused, Reply};
use tributary_ledger::{Actor, Body, Command, Key, OwnerId};
use tributary_messaging::{Subscription, SubscriptionId};

use crate::app::{App, Shared};
use crate::code::ErrorCode;
use crate::error::ApiError;
use crate::form::queue::no_mailbox;
use crate::form::request::Wish;
use crate::routes::subscriptions::messaging;

/// A command that the ledger answered, now or before.
pub(crate) struct Done {
    pub(crate) record: Answer,
    pub(crate) replayed: bool,
}

/// The command that asks for `wish`.
pub(crate) fn command(actor: Actor, key: Key, wish: Wish) -> Command {
    Command {
        key,
        actor,
        linked: false,
        effective_at: wish.effective_at,
        text: wish.text,
        body: wish.body,
    }
}

/// Whether the command may name the mailbox that it names, if it does: a subscription of its own owner, or one of the platform's
/// that does not want another owner's events only. Under a key that was used before it may be gone since: the first answer is given
/// again. Nothing of an error is about the form of the command.
pub(crate) fn check_mailbox(shared: &Shared, command: &Command) -> Result<(), ApiError> {
    let Body::Pay(pay) = &command.body else {
        return Ok(());
    };
    let Some(reply_to) = pay.queue.as_ref().and_then(|queue| queue.terms.reply_to) else {
        return Ok(());
    };
    let owner = command.actor.owner;
    let kept = shared.messaging.as_ref();
    let mailbox = kept.and_then(|messaging| messaging.get(SubscriptionId(reply_to.0.get())));
    let takes = |mailbox: Subscription| {
        let wanted = mailbox.terms.filter.owner;
        let common = mailbox.scope == OwnerId::PLATFORM;
        mailbox.scope == owner || common && wanted.is_none_or(|wanted| wanted == owner)
    };
    if mailbox.is_some_and(takes)
        || shared
            .reader
            .key_used(owner, &command.key)
            .map_err(failed)?
    {
        return Ok(());
    }
    messaging(shared)?;
    Err(no_mailbox("queue.reply_to"))
}

/// Sends one command and waits until its record is durable.
pub(crate) async fn submit(app: &App, command: Command) -> Result<Done, ApiError> {
    check_mailbox(&app.shared, &command)?;
    let replies = submit_all(app, vec![command]).await?;
    let reply = replies.into_iter().next();
    reply_of(reply.ok_or_else(|| ApiError::new(ErrorCode::InternalError, "The server failed."))?)
}

/// Sends commands that are decided next to each other, and waits until their records are durable.
pub(crate) async fn submit_all(app: &App, commands: Vec<Command>) -> Result<Vec<Reply>, ApiError> {
    let timeout = app.shared.config.limits.request_timeout;
    let replies = app.waits.within(timeout, app.desk.execute(commands)).await;
    replies.ok_or_else(unknown)?.map_err(refused)
}

/// [`submit_all`], without the records.
pub(crate) async fn submit_briefly(
    shared: &Shared,
    commands: Vec<Command>,
) -> Result<Vec<Receipt>, ApiError> {
    let timeout = shared.config.limits.request_timeout;
    let receipts = tokio::time::timeout(timeout, shared.engine.submit(commands)).await;
    receipts.map_err(|_| unknown())?.map_err(refused)
}

/// What a reply says of one command.
pub(crate) fn reply_of(reply: Reply) -> Result<Done, ApiError> {
    match reply {
        Reply::Done { record, replayed } => Ok(Done { record, replayed }),
        Reply::KeyConflict { .. } => Err(key_conflict()),
        Reply::GroupKeyConflict => Err(group_key_conflict()),
        Reply::NotQueued(why) => Err(not_queued(why)),
    }
}

pub(crate) fn key_conflict() -> ApiError {
    let message = "This idempotency key was used for another request.";
    ApiError::new(ErrorCode::IdempotencyKeyReused, message).param("Idempotency-Key")
}

pub(crate) fn group_key_conflict() -> ApiError {
    let message = "Some idempotency keys of this group were used before, or for other requests.";
    ApiError::new(ErrorCode::IdempotencyKeyReused, message).param("Idempotency-Key")
}

pub(crate) fn not_queued(why: NotQueued) -> ApiError {
    match why {
        NotQueued::Full => ApiError::new(
            ErrorCode::QueueFull,
            "The queue holds as many payments as it may.",
        )
        .retry_after(RETRY_AFTER),
        NotQueued::ShareFull => ApiError::new(
            ErrorCode::QueueFull,
            "This owner's payments fill a quarter of the queue, which is its share.",
        )
        .retry_after(RETRY_AFTER),
        NotQueued::Draining => ApiError::new(
            ErrorCode::QueueDraining,
            "The queue takes no new payments until it is resumed.",
        )
        .retry_after(Duration::from_secs(5)),
    }
}

pub(crate) fn unknown() -> ApiError {
    ApiError::new(
        ErrorCode::OutcomeUnknown,
        "The outcome was not known in time. Send the same request again with the same idempotency key to learn it.",
    )
}

pub(crate) fn refused(refused: Refused) -> ApiError {
    match refused {
        Refused::Overloaded { retry_after } => ApiError::new(
            ErrorCode::Overloaded,
            "More commands are waiting than the server holds.",
        )
        .retry_after(retry_after),
        Refused::StorageFull => storage_full(),
        Refused::Stopping => ApiError::new(ErrorCode::Stopping, "The server is stopping.")
            .retry_after(Duration::from_secs(1)),
        Refused::TooLarge => ApiError::new(
            ErrorCode::BodyTooLarge,
            "The batch is larger than the engine takes.",
        ),
        Refused::Unavailable(why) => unavailable(&why),
    }
}

/// The answer to a read that failed. What failed is in the log and not in the answer.
pub(crate) fn failed(failure: Failure) -> ApiError {
    match failure {
        Failure::RecordDamaged { position, what } => {
            tracing::error!(position, what, "a stored record is damaged");
            ApiError::new(
                ErrorCode::RecordDamaged,
                "A stored record is damaged. The operator must look at it; verify says where it is.",
            )
        }
        Failure::StorageFull => storage_full(),
        other => unavailable(&other.to_string()),
    }
}

fn storage_full() -> ApiError {
    ApiError::new(
        ErrorCode::StorageFull,
        "There is no space for another record. Reading goes on.",
    )
    .retry_after(Duration::from_secs(5))
}

fn unavailable(why: &str) -> ApiError {
    tracing::error!(why, "the store is unavailable");
    ApiError::new(ErrorCode::Unavailable, "The store can't be reached now.")
        .retry_after(Duration::from_secs(1))
}
