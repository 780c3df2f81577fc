//! A batch: commands that are decided in order and next to each other, each with its own answer.
//!
//! A command whose form is wrong refuses the whole batch. A command that the caller may not submit fails alone, or with its group:
//! it does not reach the ledger.

use tributary_engine::COMMANDS_PER_BATCH_MAX;
use tributary_ledger::{Command, Key, Rejection};

use crate::caller::Caller;
use crate::code::ErrorType;
use crate::draft::CommandDraft;
use crate::error::ApiError;
use crate::intake::commands::Intake;

/// Where a command stands in its batch: what an error names.
pub type Place<'a> = &'a dyn Fn() -> String;

/// Commands on their way to the ledger, and the errors of those that do not go there.
#[derive(Debug, Default)]
pub struct Batch {
    commands: Vec<Command>,
    /// In order of their places.
    failed: Vec<Failed>,
}

/// A command that does not reach the ledger.
#[derive(Debug)]
struct Failed {
    /// Among all commands of the batch, from 0.
    place: usize,
    linked: bool,
    error: ApiError,
}

impl Batch {
    /// An empty batch with room for so many commands.
    pub fn with_capacity(commands: usize) -> Batch {
        Batch {
            commands: Vec::with_capacity(commands.min(COMMANDS_PER_BATCH_MAX)),
            failed: Vec::new(),
        }
    }

    /// Number of commands so far.
    pub fn len(&self) -> usize {
        self.commands.len() + self.failed.len()
    }

    /// Number of commands that name what is not there, or not the caller's to see.
    pub fn not_found(&self) -> usize {
        let errors = self.failed.iter().map(|failed| failed.error.status());
        errors.filter(|status| *status == 404).count()
    }

    /// Whether there is no command yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends the command that a draft asks for. A linked command is done only if the next one is, too. `place` is what errors
    /// name.
    ///
    /// # Errors
    /// If the draft could not be read because of its form, or the server failed: the whole batch is refused. A command that names
    /// what is not there, or that the caller may not submit, fails alone or with its group.
    #[inline]
    pub fn add(
        &mut self,
        intake: &Intake,
        caller: &Caller,
        draft: Result<(Key, CommandDraft), ApiError>,
        linked: bool,
        place: Place<'_>,
    ) -> Result<(), ApiError> {
        let error = match draft {
            Ok((key, draft)) => {
                let subject = draft.subject;
                // Checked where it stays: a command is large, and there are many.
                self.commands
                    .push(draft.into_command(caller.actor, key, linked));
                let command = self.commands.last().expect("it was put there");
                match intake.check(caller, command, subject) {
                    Ok(()) => return Ok(()),
                    Err(error) => error,
                }
            }
            Err(error) => return self.add_unread(error, linked, place),
        };
        self.commands.pop();
        self.fail(error.within(&place()), linked);
        Ok(())
    }

    /// Takes in a command that could not be read.
    #[cold]
    fn add_unread(
        &mut self,
        error: ApiError,
        linked: bool,
        place: Place<'_>,
    ) -> Result<(), ApiError> {
        let whole_batch = matches!(error.status(), 400 | 500..);
        let error = error.within(&place());
        if whole_batch {
            return Err(error);
        }
        self.fail(error, linked);
        Ok(())
    }

    fn fail(&mut self, error: ApiError, linked: bool) {
        self.failed.push(Failed {
            place: self.len(),
            linked,
            error,
        });
    }

    /// Ends the batch: a group of which one command failed does not reach the ledger.
    ///
    /// # Errors
    /// If the batch is empty, or its last command is linked to a next one.
    pub fn finish(mut self) -> Result<Batch, ApiError> {
        if self.is_empty() {
            let message = "A batch has at least one command.";
            return Err(ApiError::invalid("commands", message));
        }
        if !self.failed.is_empty() {
            self.abort_groups();
        }
        if self.commands.last().is_some_and(|last| last.linked)
            || self.failed.last().is_some_and(|last| last.linked)
        {
            let message = "The last command is linked to a next one, and there is none.";
            return Err(ApiError::invalid("commands", message));
        }
        Ok(self)
    }

    fn abort_groups(&mut self) {
        let count = self.len();
        let mut commands = std::mem::take(&mut self.commands).into_iter();
        let mut failed = std::mem::take(&mut self.failed).into_iter().peekable();
        let mut group = Vec::new();
        for place in 0..count {
            let member = match failed.next_if(|failed| failed.place == place) {
                Some(failed) => Err(failed),
                None => Ok(commands
                    .next()
                    .expect("every place has a command or an error")),
            };
            let linked = match &member {
                Ok(command) => command.linked,
                Err(failed) => failed.linked,
            };
            group.push(member);
            // A group that the batch breaks off is left as it is: `finish` refuses the batch.
            if !linked || place + 1 == count {
                self.put_group(place + 1 - group.len(), std::mem::take(&mut group));
            }
        }
    }

    fn put_group(&mut self, first: usize, group: Vec<Result<Command, Failed>>) {
        let broken = group.iter().any(Result::is_err);
        for (index, member) in group.into_iter().enumerate() {
            match member {
                Ok(command) if !broken => self.commands.push(command),
                Ok(command) => self.failed.push(Failed {
                    place: first + index,
                    linked: command.linked,
                    error: group_aborted(),
                }),
                Err(failed) => self.failed.push(failed),
            }
        }
    }

    /// Returns the commands that go to the ledger, in order. Their answers go to [`Batch::answers`].
    pub fn commands(&self) -> &[Command] {
        &self.commands
    }

    /// Takes the commands that go to the ledger out, in order.
    pub fn take_commands(&mut self) -> Vec<Command> {
        std::mem::take(&mut self.commands)
    }

    /// Puts the answers to the commands that went to the ledger and the errors of the others in the order of the batch.
    ///
    /// # Panics
    /// If there are fewer answers than commands that went to the ledger.
    pub fn answers<T>(
        self,
        sent: impl ExactSizeIterator<Item = T>,
    ) -> impl Iterator<Item = Result<T, ApiError>> {
        let count = self.failed.len() + sent.len();
        let mut failed = self.failed.into_iter().peekable();
        let mut sent = sent;
        (0..count).map(
            move |place| match failed.next_if(|failed| failed.place == place) {
                Some(failed) => Err(failed.error),
                None => Ok(sent.next().expect("the ledger answers every command")),
            },
        )
    }
}

/// Error of a command whose group does not reach the ledger because of another command.
fn group_aborted() -> ApiError {
    let aborted = Rejection::GroupAborted;
    ApiError::refused(409, ErrorType::Conflict, aborted.code(), aborted.message())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tributary_ledger::{Actor, Body, PaymentId};

    /// Takes in a command that was checked, or the error of one.
    fn push(batch: &mut Batch, command: Result<Command, ApiError>, linked: bool) {
        match command {
            Ok(command) => batch.commands.push(Command { linked, ..command }),
            Err(error) => batch.fail(error, linked),
        }
    }

    fn command(number: u64) -> Command {
        Command {
            key: Key::from_bytes(&number.to_be_bytes()).expect("short"),
            actor: Actor::SYSTEM,
            linked: false,
            effective_at: None,
            text: None,
            origin: None,
            assessment: None,
            body: Body::Void(PaymentId(number)),
        }
    }

    /// `g` links a command to the next one, `x` is a command that may not be submitted.
    fn check(batch: &str, sent: &[u64], codes: &[&str]) {
        let mut built = Batch::default();
        for (number, kind) in batch.chars().enumerate() {
            let command = match kind.eq_ignore_ascii_case(&'x') {
                true => Err(ApiError::not_found("payment", "payment")),
                false => Ok(command(number as u64)),
            };
            let linked = kind.is_ascii_uppercase();
            push(&mut built, command, linked);
        }
        let mut built = built.finish().expect(batch);
        let commands = built.take_commands();
        let numbers = commands.iter().map(|command| match command.body {
            Body::Void(payment) => payment.0,
            _ => unreachable!("only voids are sent"),
        });
        assert_eq!(numbers.collect::<Vec<_>>(), sent, "{batch}");
        let answers = built.answers(commands.iter());
        let found: Vec<&str> = answers
            .map(|answer| answer.map_or_else(|error| error.code(), |_| ""))
            .collect();
        assert_eq!(found, codes, "{batch}");
    }

    #[test]
    fn a_command_that_may_not_be_submitted_fails_alone_or_with_its_group() {
        let (absent, aborted) = ("resource_not_found", "group_aborted");
        check("aaa", &[0, 1, 2], &["", "", ""]);
        check("axa", &[0, 2], &["", absent, ""]);
        check("xxx", &[], &[absent, absent, absent]);
        check("AAa", &[0, 1, 2], &["", "", ""]);
        check("AXaa", &[3], &[aborted, absent, aborted, ""]);
        check("aAx", &[0], &["", aborted, absent]);
        check("XaAa", &[2, 3], &[absent, aborted, "", ""]);
    }

    #[test]
    fn a_batch_is_not_empty_and_ends_no_group_in_the_middle() {
        assert!(Batch::default().finish().is_err());
        for last in [
            Ok(command(1)),
            Err(ApiError::not_found("payment", "payment")),
        ] {
            let mut batch = Batch::default();
            push(&mut batch, Ok(command(0)), false);
            push(&mut batch, last, true);
            assert!(batch.finish().is_err());
        }
    }
}
