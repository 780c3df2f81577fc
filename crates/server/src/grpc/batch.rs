//! The two messages of a batch: read into commands, and written from what became of them.

use bytes::{BufMut, Bytes, BytesMut};
use tributary_api::caller::Caller;
use tributary_api::code::ErrorCode;
use tributary_api::error::ApiError;
use tributary_api::failures::internal_error;
use tributary_api::intake::{Batch, Intake, read_brief_reply};
use tributary_api::render::answer::Outline;
use tributary_engine::{BriefReply, COMMANDS_PER_BATCH_MAX, Ids};
use tributary_ledger::{Command, Rejection};

use crate::grpc::form::Form;
use crate::grpc::wire::{Fields, Value, put_varint};

/// Least bytes of a command: room for so many is made ahead.
const COMMAND_BYTES_MIN: usize = 24;
/// Bytes of the result of an accepted command: its field, its length, the id's field, its length, the id.
const RESULT_BYTES: usize = 2 + 2 + 16;

/// A batch that was read.
#[derive(Debug)]
pub(crate) struct Submitted {
    /// The client's number.
    number: u64,
    batch: Batch,
    /// Of the answers to the commands that go to the ledger.
    outlines: Vec<Outline>,
}

impl Submitted {
    /// Reads a `SubmitRequest`.
    pub(crate) fn read(
        intake: &Intake,
        caller: &Caller,
        bytes: &[u8],
    ) -> Result<Submitted, ApiError> {
        let form = Form::new(intake.reader(), caller);
        let mut number = 0;
        let mut batch = Batch::with_capacity(bytes.len() / COMMAND_BYTES_MIN);
        let mut fields = Fields(bytes);
        while let Some(field) = fields.next()? {
            match field {
                (1, Value::Bytes(bytes)) => {
                    let place = batch.len();
                    if place == COMMANDS_PER_BATCH_MAX {
                        return Err(too_many());
                    }
                    let mut linked = false;
                    let draft = form.draft(bytes, &mut linked);
                    batch.add(intake, caller, draft, linked, &|| {
                        format!("commands[{place}]")
                    })?;
                }
                (2, Value::Fixed64(given)) => number = given,
                (unknown, _) => {
                    let message = format!("Field {unknown} of the batch is not known here.");
                    return Err(ApiError::new(ErrorCode::ParameterUnknown, message));
                }
            }
        }
        let batch = batch.finish()?;
        let outlines = batch.commands().iter();
        let outlines: Option<Vec<Outline>> = outlines.map(|one| Outline::new(&one.body)).collect();
        Ok(Submitted {
            number,
            batch,
            outlines: outlines.ok_or_else(internal_error)?,
        })
    }

    /// Number of commands that name what is not there, or not the caller's to see.
    pub(crate) fn not_found(&self) -> usize {
        self.batch.not_found()
    }

    /// Takes the commands that go to the ledger out, in order.
    pub(crate) fn take_commands(&mut self) -> Vec<Command> {
        self.batch.take_commands()
    }

    /// Writes a `SubmitResponse`.
    pub(crate) fn answer(self, ids: &Ids, receipts: Vec<BriefReply>) -> Bytes {
        let count = self.batch.len() + receipts.len();
        let mut into = BytesMut::with_capacity(9 + count * (RESULT_BYTES + 2));
        let sent = self.outlines.into_iter().zip(receipts);
        for result in self.batch.answers(sent) {
            match result {
                Ok((outline, receipt)) => put_brief_reply(&mut into, ids, outline, receipt),
                Err(error) => put_result(&mut into, None, None, error.code(), false),
            }
        }
        if self.number != 0 {
            into.put_u8(0x11);
            into.put_u64_le(self.number);
        }
        into.freeze()
    }
}

fn too_many() -> ApiError {
    let message = format!("A batch has at most {COMMANDS_PER_BATCH_MAX} commands.");
    ApiError::invalid("commands", message)
}

/// Writes what became of a command that went to the ledger.
#[inline]
fn put_brief_reply(into: &mut BytesMut, ids: &Ids, outline: Outline, receipt: BriefReply) {
    let done = match read_brief_reply(receipt) {
        Ok(done) => done,
        Err(error) => return put_result(into, None, None, error.code(), false),
    };
    let (position, rejection) = done.record;
    let id = outline.id_block(ids, position, rejection.is_some());
    let capture = match rejection {
        None => outline.capture_block(ids, position),
        Some(_) => None,
    };
    match (rejection, capture, done.replayed) {
        (None, None, false) => put_accepted(into, &id),
        (rejection, capture, replayed) => {
            let code = rejection.map_or("", Rejection::code);
            put_result(into, Some(&id), capture.as_ref(), code, replayed);
        }
    }
}

/// The result that nearly all have.
#[inline]
fn put_accepted(into: &mut BytesMut, id: &[u8; 16]) {
    let mut bytes = [0; RESULT_BYTES];
    bytes[..4].copy_from_slice(&[0x0a, 18, 0x0a, 16]);
    bytes[4..].copy_from_slice(id);
    into.extend_from_slice(&bytes);
}

fn put_result(
    into: &mut BytesMut,
    id: Option<&[u8; 16]>,
    capture: Option<&[u8; 16]>,
    code: &str,
    replayed: bool,
) {
    let len = id.map_or(0, |_| 18)
        + if code.is_empty() { 0 } else { 2 + code.len() }
        + if replayed { 2 } else { 0 }
        + capture.map_or(0, |_| 18);
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
    if let Some(capture) = capture {
        into.put_slice(&[0x22, 16]);
        into.put_slice(capture);
    }
}
