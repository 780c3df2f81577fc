//! Checks what a caller may submit, and makes the commands.

use std::sync::Arc;

use tributary_engine::{IdKind, Reader};
use tributary_ledger::{Command, Key};
use tributary_messaging::Messaging;

use crate::caller::Caller;
use crate::draft::CommandDraft;
use crate::error::ApiError;
use crate::failures::read_error;

use crate::intake::permission::check_permission;
use crate::intake::refusals::{RefusalCount, Refusals};

/// Intake of commands.
pub struct Intake {
    reader: Reader,
    messaging: Option<Arc<Messaging>>,
    refusals: Refusals,
}

impl Intake {
    /// An intake for the journal behind `reader` and its subscriptions, if there are any.
    pub fn new(reader: Reader, messaging: Option<Arc<Messaging>>) -> Intake {
        Intake {
            reader,
            messaging,
            refusals: Refusals::default(),
        }
    }

    /// Returns what reads the journal.
    pub fn reader(&self) -> &Reader {
        &self.reader
    }

    /// Returns the command that the draft asks for.
    ///
    /// # Errors
    /// If the caller may not see or do what the draft names, and the idempotency key was not used before. Nothing is recorded
    /// then; the refusal is logged and counted under the API key.
    pub fn command(
        &self,
        caller: &Caller,
        key: Key,
        draft: CommandDraft,
    ) -> Result<Command, ApiError> {
        let subject = draft.subject;
        let command = draft.into_command(caller.actor, key, false);
        self.check(caller, &command, subject)?;
        Ok(command)
    }

    /// Checks a command, as [`Intake::command`] does. `subject` is the field that names what the command is about.
    ///
    /// # Errors
    /// As of [`Intake::command`].
    #[inline]
    pub fn check(&self, caller: &Caller, command: &Command, subject: &str) -> Result<(), ApiError> {
        let messaging = self.messaging.as_ref();
        match check_permission(&self.reader, messaging, caller, command, subject) {
            Ok(()) => Ok(()),
            Err(error) => self.refuse_unless_repeated(caller, command, error),
        }
    }

    /// Lets a command pass whose idempotency key was used before: the caller gets the first answer, whatever has changed since.
    #[cold]
    fn refuse_unless_repeated(
        &self,
        caller: &Caller,
        command: &Command,
        error: ApiError,
    ) -> Result<(), ApiError> {
        let used = self.reader.key_used(caller.actor.owner, &command.key);
        if used.map_err(read_error)? {
            return Ok(());
        }
        self.count_refusal(caller, &error);
        Err(error)
    }

    /// Logs and counts a command that the caller may not submit.
    pub fn count_refusal(&self, caller: &Caller, error: &ApiError) {
        let api_key = caller.actor.api_key;
        let id = self.reader.ids().encode(IdKind::ApiKey, api_key.0);
        tracing::info!(
            api_key = id,
            code = error.code(),
            "a command was refused before it reached the ledger"
        );
        self.refusals.count(api_key, error.code());
    }

    /// Returns how often commands were refused since the start, by API key and code.
    pub fn refusals(&self) -> Vec<RefusalCount> {
        self.refusals.all()
    }
}
