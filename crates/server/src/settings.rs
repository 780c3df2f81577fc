//! Requests about settings: commands that are derived from the newest revision, sent, and derived again when overtaken.

use tributary_api::caller::Caller;
use tributary_api::code::ErrorCode;
use tributary_api::error::ApiError;
use tributary_api::settings::{ATTEMPTS_MAX, Revision, attempt_key, replayed};
use tributary_ledger::codec::Record;
use tributary_ledger::{Key, Rejection};

use crate::app::{App, Shared};
use crate::submit::submit;

/// A request about a setting that the ledger decided, now or before.
pub(crate) struct Settled {
    /// Record of the decision.
    pub(crate) record: Record,
    /// Whether this is the repetition of an earlier answer.
    pub(crate) replayed: bool,
}

/// A request that puts a setting.
#[derive(Clone)]
pub(crate) struct PutRequest {
    pub(crate) caller: Caller,
    /// Idempotency key of the request.
    pub(crate) key: Key,
    /// Digest of the request.
    pub(crate) request: [u8; 16],
    /// Whether the caller named the revision that is replaced: then a conflict is the answer.
    pub(crate) names_revision: bool,
}

/// Puts the setting that `derive` makes of what is newest. `derive` runs on a thread that may block, once per attempt.
pub(crate) async fn put_setting(
    app: &App,
    asked: PutRequest,
    derive: impl Fn(&Shared, &Caller) -> Result<Revision, ApiError> + Clone + Send + 'static,
) -> Result<Settled, ApiError> {
    for attempt in 0..ATTEMPTS_MAX {
        let (asked_now, derive) = (asked.clone(), derive.clone());
        let step = app
            .blocking(move |shared| {
                let PutRequest {
                    caller,
                    key,
                    request,
                    ..
                } = asked_now;
                let (actor, key) = (caller.actor, attempt_key(&key, attempt));
                match derive(shared, &caller) {
                    Ok(revision) => Ok(Ok(revision.into_command(actor, key, request))),
                    // What was decided once is answered in the same way again.
                    Err(error) => {
                        let earlier = replayed(&shared.reader, actor.owner, &key, request, error)?;
                        Ok(Err(earlier))
                    }
                }
            })
            .await?;
        let settled = match step {
            Ok(command) => {
                let done = submit(app, command).await?;
                Settled {
                    record: Record::clone(&done.record),
                    replayed: done.replayed,
                }
            }
            Err(record) => Settled {
                record,
                replayed: true,
            },
        };
        let overtaken = settled.record.outcome.rejection == Some(Rejection::SettingConflict);
        if !overtaken || asked.names_revision {
            return Ok(settled);
        }
    }
    Err(ApiError::new(
        ErrorCode::Overloaded,
        "The setting was changed by others at the same time: send the request again.",
    ))
}
