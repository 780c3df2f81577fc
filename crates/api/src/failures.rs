//! Failures of the engine, as callers are told of them.

use std::time::Duration;

use tributary_engine::{Failure, NotQueued, RETRY_AFTER, Refused};

use crate::code::ErrorCode;
use crate::error::ApiError;

/// Error whose cause is not told.
pub fn internal_error() -> ApiError {
    ApiError::new(ErrorCode::InternalError, "The server failed.")
}

/// Error of an idempotency key that was used for another request.
pub fn key_conflict() -> ApiError {
    let message = "This idempotency key was used for another request.";
    ApiError::new(ErrorCode::IdempotencyKeyReused, message).param("idempotency_key")
}

/// Error of a group of which some idempotency keys were used before, or for other requests.
pub fn group_key_conflict() -> ApiError {
    let message = "Some idempotency keys of this group were used before, or for other requests.";
    ApiError::new(ErrorCode::IdempotencyKeyReused, message).param("idempotency_key")
}

/// Returns the error for a payment that the queue did not take.
pub fn not_queued_error(why: NotQueued) -> ApiError {
    match why {
        NotQueued::Full => ApiError::new(
            ErrorCode::QueueFull,
            "The maximum number of queued payments is reached.",
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
        NotQueued::GroupTooLarge => group_too_large(),
    }
}

fn group_too_large() -> ApiError {
    ApiError::new(
        ErrorCode::BodyTooLarge,
        "The commands of an all-or-nothing group are written in one piece of at most 4 MiB, and these may need more. \
         Send a smaller group or shorter texts.",
    )
}

/// Error of a command whose outcome was not known in time.
pub fn outcome_unknown() -> ApiError {
    ApiError::new(
        ErrorCode::OutcomeUnknown,
        "The outcome was not known in time. Send the same request again with the same idempotency key to learn it.",
    )
}

/// Returns the error for commands that the engine did not take.
pub fn submit_error(refused: Refused) -> ApiError {
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
        Refused::GroupTooLarge => group_too_large(),
        Refused::RecordDamaged { position, what } => record_damaged(position, &what),
        Refused::Unavailable(why) => unavailable(&why),
    }
}

/// Returns the error for a read that failed. The cause is in the log, not in the answer.
pub fn read_error(failure: Failure) -> ApiError {
    match failure {
        Failure::RecordDamaged { position, what } => record_damaged(position, &what),
        Failure::StorageFull => storage_full(),
        other => unavailable(&other.to_string()),
    }
}

fn record_damaged(position: u64, what: &str) -> ApiError {
    tracing::error!(position, what, "a stored record is damaged");
    ApiError::new(
        ErrorCode::RecordDamaged,
        "A stored record is damaged. The operator must look at it; verify says where it is.",
    )
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
