//! Sends commands to the ledger and waits for its answers.

use tributary_api::code::ErrorCode;
use tributary_api::error::ApiError;
use tributary_api::failures::{internal_error, outcome_unknown, submit_error};
use tributary_api::form::idempotency::IDEMPOTENCY_KEY;
use tributary_api::intake::{Done, read_reply};
use tributary_engine::{BriefReply, DurableRecord, Reply};
use tributary_ledger::Command;

use crate::app::App;
use crate::decided_payments::DecidedPayments;

/// Sends one command and waits until its record is durable.
pub(crate) async fn submit(app: &App, command: Command) -> Result<Done<DurableRecord>, ApiError> {
    let replies = submit_all(app, vec![command]).await?;
    let done = read_reply(replies.into_iter().next().ok_or_else(internal_error)?);
    done.map_err(
        |error| match error.code() == ErrorCode::IdempotencyKeyReused.as_str() {
            true => error.param(IDEMPOTENCY_KEY),
            false => error,
        },
    )
}

/// Sends commands that are decided next to each other, and waits until their records are durable.
pub(crate) async fn submit_all(app: &App, commands: Vec<Command>) -> Result<Vec<Reply>, ApiError> {
    let payments = DecidedPayments::of(&app.shared, &commands);
    let timeout = app.shared.config.limits.request_timeout;
    let replies = app
        .timeouts
        .within(timeout, app.submit_queue.execute(commands))
        .await;
    let replies = replies.ok_or_else(outcome_unknown)?.map_err(submit_error)?;
    if let Some(payments) = payments {
        payments.count(replies.iter().map(|reply| match reply {
            Reply::Done { record, replayed } if !replayed => Some(record.outcome.rejection),
            _ => None,
        }));
    }
    Ok(replies)
}

/// Sends commands as [`submit_all`] does, and returns the positions of the records instead of the records.
pub(crate) async fn submit_briefly(
    app: &App,
    commands: Vec<Command>,
) -> Result<Vec<BriefReply>, ApiError> {
    let payments = DecidedPayments::of(&app.shared, &commands);
    let timeout = app.shared.config.limits.request_timeout;
    let receipts = app
        .timeouts
        .within(timeout, app.shared.engine.submit(commands))
        .await;
    let receipts = receipts
        .ok_or_else(outcome_unknown)?
        .map_err(submit_error)?;
    if let Some(payments) = payments {
        payments.count(receipts.iter().map(|receipt| match receipt {
            BriefReply::Done {
                rejection,
                replayed: false,
                ..
            } => Some(*rejection),
            _ => None,
        }));
    }
    Ok(receipts)
}
