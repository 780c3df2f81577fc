//! The answer to a write, made from its record.

use serde::Serialize;
use tributary_engine::{IdKind, IdText, Ids, Reader};
use tributary_ledger::codec::Record;
use tributary_ledger::{AccountId, Body, OwnerId, PaymentId, Rejection, Updated};
use utoipa::ToSchema;

use crate::code::ErrorType;
use crate::error::ApiError;
use crate::render::common::{created, limit_of, payment_changed, payment_of};
use crate::render::event;
use crate::render::resource::{Resource, object};
use crate::render::split_fault::{concerns_splits, name_split};

/// The object in the answer to a command.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub enum AnswerObject {
    /// An object of the ledger.
    Resource(Resource),
    /// A published event.
    Event(event::EventObject),
    /// Only the name of an object.
    Reference(Reference),
}

/// The name of what a command made or changed.
#[derive(Serialize, ToSchema)]
// Told apart from whole objects, which have more fields.
#[serde(deny_unknown_fields)]
#[schema(as = ObjectReference)]
pub struct Reference {
    #[schema(pattern = "^(account|event|payment|refund)$")]
    object: &'static str,
    #[schema(value_type = String)]
    id: IdText,
    /// The capture that this is the answer to.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, nullable = false)]
    capture_id: Option<IdText>,
}

/// An answer to a command that was done.
pub struct Rendered {
    /// 201 if the command made something, else 200.
    pub status: u16,
    /// The object that the command made or changed.
    pub object: AnswerObject,
}

/// The answer to the command of `record`: what it made, or why it was refused.
pub fn answer(reader: &Reader, record: &Record) -> Result<Rendered, ApiError> {
    if let Some(rejection) = record.outcome.rejection {
        let moves = !matches!(record.command.body, Body::Update(_));
        let payment = payment_of(record).filter(|_| moves);
        let error = refusal(reader, payment, rejection);
        return Err(match rejection {
            Rejection::InsufficientFunds => name_poor_account(reader, record, error)?,
            Rejection::LimitExceeded => name_limit(reader, record, error),
            _ if concerns_splits(rejection) => name_split(reader, record, rejection, error)?,
            _ => error,
        });
    }
    Ok(Rendered {
        status: status(&record.command.body),
        object: match record.command.body {
            Body::Publish(_) => AnswerObject::Event(event::event(reader, record)?),
            _ => AnswerObject::Resource(shown_to_sender(reader, record)?),
        },
    })
}

/// The object that a record made or changed, as whoever asked for that sees it.
fn shown_to_sender(reader: &Reader, record: &Record) -> Result<Resource, ApiError> {
    Ok(match (object(reader, record)?, &record.outcome.payment) {
        (Resource::Payment(object), Some(payment)) => {
            let sender = record.command.actor.owner;
            let object = object.with_challenge(reader.ids(), payment, sender);
            Resource::Payment(Box::new(object))
        }
        (other, _) => other,
    })
}

/// The status of the answer to an accepted command.
fn status(body: &Body) -> u16 {
    match body {
        Body::Pay(pay) if pay.queue.is_some() => 202,
        Body::OpenAccount(_)
        | Body::Pay(_)
        | Body::Refund(_)
        | Body::ReturnPayout(_)
        | Body::CreateApiKey(_)
        | Body::CreateOwner(_)
        | Body::Publish(_) => 201,
        _ => 200,
    }
}

/// Parts of a command's answer that are known before the decision: enough to answer without the record.
#[derive(Clone, Copy, Debug)]
pub struct Outline {
    status: u16,
    object: &'static str,
    kind: IdKind,
    /// The position in the id, if it is not the record's own.
    id: Option<u64>,
    payment: Option<PaymentId>,
    /// Whether the record is a capture, which has an id of its own.
    captures: bool,
}

impl Outline {
    /// The outline of a command's answer; none for commands that have no such answer.
    pub fn new(body: &Body) -> Option<Outline> {
        let (object, kind, id) = match body {
            Body::OpenAccount(_) => ("account", IdKind::Account, None),
            Body::FreezeAccount(id) | Body::UnfreezeAccount(id) | Body::CloseAccount(id) => {
                ("account", IdKind::Account, Some(id.0))
            }
            Body::Pay(_) => ("payment", IdKind::Payment, None),
            Body::Capture(capture) => ("payment", IdKind::Payment, Some(capture.payment.0)),
            Body::Void(payment) => ("payment", IdKind::Payment, Some(payment.0)),
            Body::Refund(_) => ("refund", IdKind::Refund, None),
            Body::SettlePayout(settle) => ("payment", IdKind::Payment, Some(settle.payout.0)),
            Body::ReturnPayout(_) => ("payment", IdKind::Payment, None),
            Body::Publish(_) => ("event", IdKind::Event, None),
            Body::Update(update) => match &update.object {
                Updated::Account(id) => ("account", IdKind::Account, Some(id.0)),
                Updated::Payment(id) => ("payment", IdKind::Payment, Some(id.0)),
                // An owner has a name, which the caller has given, and no id: the event stands for it.
                Updated::Owner(..) => ("event", IdKind::Event, None),
            },
            Body::CreateOwner(_) => ("event", IdKind::Event, None),
            _ => return None,
        };
        Some(Outline {
            status: status(body),
            object,
            kind,
            id,
            payment: payment_changed(body).filter(|_| !matches!(body, Body::Update(_))),
            captures: matches!(body, Body::Capture(_)),
        })
    }

    /// The 16 bytes of the id of what the command made or changed; of what it would have made, if it was refused.
    #[inline]
    pub fn id_block(self, ids: &Ids, position: u64, refused: bool) -> [u8; 16] {
        match (refused, self.kind, self.id) {
            (false, kind, id) => ids.block(kind, id.unwrap_or(position)),
            // A refused payment exists as failed; a refused return does not exist.
            (true, IdKind::Payment, None) if self.payment.is_none() => {
                ids.block(IdKind::Payment, position)
            }
            (true, ..) => ids.block(IdKind::Event, position),
        }
    }

    /// The 16 bytes of the capture's id, if the command was one and was accepted.
    pub fn capture_block(self, ids: &Ids, position: u64) -> Option<[u8; 16]> {
        let block = || ids.block(IdKind::Capture, position);
        self.captures.then(block)
    }

    /// The answer to the command, which is the record at `position`.
    pub fn answer(
        self,
        reader: &Reader,
        position: u64,
        rejection: Option<Rejection>,
    ) -> Result<Rendered, ApiError> {
        let told_by_record = |rejection: Rejection| {
            let told = [Rejection::InsufficientFunds, Rejection::LimitExceeded];
            told.contains(&rejection) || concerns_splits(rejection)
        };
        if rejection.is_some_and(told_by_record) {
            // The record says which account, limit or split is at fault.
            return answer(reader, &created(reader, position)?);
        }
        if let Some(rejection) = rejection {
            let made = self.kind == IdKind::Payment && self.id.is_none();
            let made = made.then_some(PaymentId(position));
            return Err(refusal(reader, self.payment.or(made), rejection));
        }
        let ids = reader.ids();
        Ok(Rendered {
            status: self.status,
            object: AnswerObject::Reference(Reference {
                object: self.object,
                id: ids.text(self.kind, self.id.unwrap_or(position)),
                capture_id: self.captures.then(|| ids.text(IdKind::Capture, position)),
            }),
        })
    }
}

/// Adds to an error which account lacks funds: the field that names it, and its id where the actor may see the account.
fn name_poor_account(
    reader: &Reader,
    record: &Record,
    error: ApiError,
) -> Result<ApiError, ApiError> {
    let actor = record.command.actor.owner;
    let (param, account) = match &record.command.body {
        Body::Pay(pay) => ("source", Some(pay.source)),
        Body::Refund(_) => ("payment", record.outcome.short_of_funds),
        Body::ReturnPayout(_) => ("payout", record.outcome.short_of_funds),
        _ => return Ok(error),
    };
    let seen = |account: &AccountId| {
        actor == OwnerId::PLATFORM || reader.account_owner(*account) == Some(actor)
    };
    let account = account.filter(seen);
    let id = account.map(|account| reader.ids().encode(IdKind::Account, account.0));
    Ok(error.param(param).account(id))
}

/// Adds to an error which limit the payment would exceed.
fn name_limit(reader: &Reader, record: &Record, error: ApiError) -> ApiError {
    let error = error.param("source");
    match limit_of(reader, record) {
        Some(id) => error.limit(id),
        None => error,
    }
}

/// A refusal that is on record: 402 where money was to move, else 409.
fn refusal(reader: &Reader, payment: Option<PaymentId>, rejection: Rejection) -> ApiError {
    let (code, message) = (rejection.code(), rejection.message());
    match payment {
        Some(payment) => ApiError::refused(402, ErrorType::Payment, code, message)
            .payment(Some(reader.ids().encode(IdKind::Payment, payment.0))),
        None => ApiError::refused(409, ErrorType::Conflict, code, message),
    }
}
