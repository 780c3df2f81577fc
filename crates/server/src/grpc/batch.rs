//! The two messages of a batch: read into commands, and written from what became of them.

use bytes::{BufMut, Bytes, BytesMut};
use tributary_api::caller::Caller;
use tributary_api::code::ErrorCode;
use tributary_api::error::ApiError;
use tributary_api::intake::check_mailbox;
use tributary_engine::{COMMANDS_PER_BATCH_MAX, IdKind, Ids, NotQueued, Receipt};
use tributary_ledger::{Body, Command, Rejection};

use crate::app::Shared;
use crate::grpc::form::Form;
use crate::grpc::wire::{Fields, Value, put_varint};

/// Least bytes of a command: room for so many is made ahead.
const COMMAND_BYTES_MIN: usize = 24;
/// Bytes of the result of an accepted command: its field, its length, the id's field, its length, the id.
const RESULT_BYTES: usize = 2 + 2 + 16;

/// A batch that was read.
#[derive(Debug)]
pub(crate) struct Batch {
    /// The client's number.
    pub(crate) number: u64,
    /// What goes to the ledger, in order.
    pub(crate) commands: Vec<Command>,
    /// How its result is made, for each command of the batch.
    pub(crate) slots: Vec<Slot>,
}

/// The place of a command in the answer.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Slot {
    /// It went to the ledger: the kinds of its id if it is accepted, and if it is refused.
    Sent(IdKind, IdKind),
    /// It did not; this is why.
    Failed(&'static str),
}

impl Batch {
    /// Reads a `SubmitRequest`.
    pub(crate) fn read(shared: &Shared, caller: &Caller, bytes: &[u8]) -> Result<Batch, ApiError> {
        let form = Form::new(shared, caller);
        let room = (bytes.len() / COMMAND_BYTES_MIN).min(COMMANDS_PER_BATCH_MAX);
        let mut number = 0;
        let mut commands = Vec::with_capacity(room);
        let mut failed: Vec<(usize, bool, &'static str)> = Vec::new();
        let mut fields = Fields(bytes);
        while let Some(field) = fields.next()? {
            match field {
                (1, Value::Bytes(bytes)) => {
                    let at = commands.len() + failed.len();
                    if at == COMMANDS_PER_BATCH_MAX {
                        return Err(too_many());
                    }
                    match form.command(bytes) {
                        Ok(command) => {
                            match check_mailbox(&shared.reader, shared.messaging.as_ref(), &command)
                            {
                                Ok(()) => commands.push(command),
                                Err(error) => failed.push((at, command.linked, error.code())),
                            }
                        }
                        Err(error) => failed.push((at, is_linked(bytes), of_one(error, at)?)),
                    }
                }
                (2, Value::Fixed64(given)) => number = given,
                (unknown, _) => {
                    let message = format!("Field {unknown} of the batch is not known here.");
                    return Err(ApiError::new(ErrorCode::ParameterUnknown, message));
                }
            }
        }
        let batch = Batch {
            number,
            slots: commands.iter().map(slot).collect(),
            commands,
        };
        batch.with_failed(&failed)
    }

    /// Puts the failed commands, in order, where they stood, and has their groups fail with them.
    fn with_failed(mut self, failed: &[(usize, bool, &'static str)]) -> Result<Batch, ApiError> {
        let mut steps: Vec<(bool, Option<Command>, Slot)>;
        if failed.is_empty() {
            if self.commands.is_empty() {
                let message = "A batch has at least one command.";
                return Err(ApiError::invalid("commands", message));
            }
            if self.commands.last().is_some_and(|last| last.linked) {
                return Err(linked_to_nothing());
            }
            return Ok(self);
        }
        steps = std::mem::take(&mut self.commands)
            .into_iter()
            .zip(std::mem::take(&mut self.slots))
            .map(|(command, slot)| (command.linked, Some(command), slot))
            .collect();
        for &(at, linked, code) in failed {
            steps.insert(at, (linked, None, Slot::Failed(code)));
        }
        if steps.last().is_some_and(|(linked, ..)| *linked) {
            return Err(linked_to_nothing());
        }
        let mut start = 0;
        while start < steps.len() {
            let group = steps[start..]
                .iter()
                .take_while(|(linked, ..)| *linked)
                .count()
                + 1;
            let group = &mut steps[start..start + group];
            start += group.len();
            if group.iter().any(|(_, command, _)| command.is_none()) {
                for (_, command, slot) in group {
                    if command.take().is_some() {
                        *slot = Slot::Failed(Rejection::GroupAborted.code());
                    }
                }
            }
        }
        for (_, command, slot) in steps {
            self.commands.extend(command);
            self.slots.push(slot);
        }
        Ok(self)
    }
}

/// An error of one command that is about its form fails the batch; what it names and is not there, or is not the
/// caller's to do, fails it alone.
fn of_one(error: ApiError, at: usize) -> Result<&'static str, ApiError> {
    if matches!(error.status(), 400 | 500..) {
        return Err(error.within(&format!("commands[{at}]")));
    }
    Ok(error.code())
}

/// Whether a command that could not be made is linked to the next.
fn is_linked(bytes: &[u8]) -> bool {
    let mut fields = Fields(bytes);
    let mut linked = false;
    while let Ok(Some(field)) = fields.next() {
        if let (2, Value::Varint(number)) = field {
            linked = number != 0;
        }
    }
    linked
}

fn too_many() -> ApiError {
    let message = format!("A batch has at most {COMMANDS_PER_BATCH_MAX} commands.");
    ApiError::invalid("commands", message)
}

fn linked_to_nothing() -> ApiError {
    let message = "The last command is linked to a next one, and there is none.";
    ApiError::invalid("commands", message)
}

fn slot(command: &Command) -> Slot {
    match command.body {
        Body::Pay(_) => Slot::Sent(IdKind::Payment, IdKind::Payment),
        Body::Capture(_) => Slot::Sent(IdKind::Capture, IdKind::Event),
        Body::Refund(_) => Slot::Sent(IdKind::Refund, IdKind::Event),
        Body::OpenAccount(_) => Slot::Sent(IdKind::Account, IdKind::Event),
        _ => Slot::Sent(IdKind::Event, IdKind::Event),
    }
}

/// Writes a `SubmitResponse`.
pub(crate) fn answer(ids: &Ids, number: u64, slots: &[Slot], decided: &[Receipt]) -> Bytes {
    let mut into = BytesMut::with_capacity(9 + slots.len() * (RESULT_BYTES + 2));
    let mut decided = decided.iter();
    for slot in slots {
        let (accepted, refused) = match *slot {
            Slot::Failed(code) => {
                put_result(&mut into, None, code, false);
                continue;
            }
            Slot::Sent(accepted, refused) => (accepted, refused),
        };
        match *decided
            .next()
            .expect("the engine answers every command it was sent")
        {
            Receipt::Done {
                position,
                rejection: None,
                replayed: false,
            } => put_accepted(&mut into, &ids.block(accepted, position)),
            Receipt::Done {
                position,
                rejection,
                replayed,
            } => {
                let kind = if rejection.is_some() {
                    refused
                } else {
                    accepted
                };
                let id = ids.block(kind, position);
                let code = rejection.map_or("", Rejection::code);
                put_result(&mut into, Some(&id), code, replayed);
            }
            Receipt::KeyConflict { .. } | Receipt::GroupKeyConflict => put_result(
                &mut into,
                None,
                ErrorCode::IdempotencyKeyReused.as_str(),
                false,
            ),
            Receipt::NotQueued(why) => {
                let code = match why {
                    NotQueued::Full | NotQueued::ShareFull => ErrorCode::QueueFull,
                    NotQueued::Draining => ErrorCode::QueueDraining,
                };
                put_result(&mut into, None, code.as_str(), false);
            }
        }
    }
    if number != 0 {
        into.put_u8(0x11);
        into.put_u64_le(number);
    }
    into.freeze()
}

/// The result that nearly all have.
#[inline]
fn put_accepted(into: &mut BytesMut, id: &[u8; 16]) {
    let mut bytes = [0; RESULT_BYTES];
    bytes[..4].copy_from_slice(&[0x0a, 18, 0x0a, 16]);
    bytes[4..].copy_from_slice(id);
    into.extend_from_slice(&bytes);
}

fn put_result(into: &mut BytesMut, id: Option<&[u8; 16]>, code: &str, replayed: bool) {
    let len = id.map_or(0, |_| 18)
        + if code.is_empty() { 0 } else { 2 + code.len() }
        + if replayed { 2 } else { 0 };
    into.put_u8(0x0a);
    put_varint(into, len as u64);
    if let Some(id) = id {
        into.put_slice(&[0x0a, 16]);
        into.put_slice(id);
    }
    if !code.is_empty() {
        into.put_u8(0x12);
        // Every code is shorter than 128 bytes, so that its length is one.
        into.put_u8(u8::try_from(code.len()).expect("codes are short"));
        into.put_slice(code.as_bytes());
    }
    if replayed {
        into.put_slice(&[0x18, 1]);
    }
}
