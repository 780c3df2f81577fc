//! What records look like from outside. The answer to a write is made of its record and of older ones, never of later
//! state, so a repetition of the write gets the same bytes.

pub(crate) mod account;
pub(crate) mod api_key;
pub(crate) mod attempt;
pub(crate) mod event;
pub(crate) mod list;
pub(crate) mod model;
pub(crate) mod payment;
pub(crate) mod queue;
pub(crate) mod refund;
pub(crate) mod setting;
pub(crate) mod subscription;
pub(crate) mod timeline;

use serde::Serialize;
use tributary_engine::{IdKind, IdText};
use tributary_ledger::codec::Record;
use tributary_ledger::{Body, OwnerId, PaymentId, Rejection};
use utoipa::ToSchema;

use crate::app::Shared;
use crate::code::{ErrorCode, ErrorType};
use crate::error::ApiError;
use crate::submit::failed;

/// The object that a command made or changed.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum Resource {
    Account(account::AccountObject),
    Payment(Box<payment::PaymentObject>),
    Refund(refund::RefundObject),
    ApiKey(api_key::ApiKeyObject),
    Queue(queue::StandingObject),
    Setting(setting::SettingObject),
}

/// What a command made or changed.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum Made {
    Resource(Resource),
    Event(event::EventObject),
    Reference(Reference),
}

/// The name of what a command made or changed.
#[derive(Serialize, ToSchema)]
pub(crate) struct Reference {
    #[schema(pattern = "^(account|event|payment|refund)$")]
    object: &'static str,
    #[schema(value_type = String)]
    id: IdText,
}

/// An answer to a command that was done.
pub(crate) struct Rendered {
    /// 201 if the command made something, else 200.
    pub(crate) status: u16,
    pub(crate) object: Made,
}

/// Why the ledger refused.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Failure {
    /// The stable code.
    #[schema(value_type = String)]
    code: &'static str,
    /// One sentence for a person.
    #[schema(value_type = String)]
    message: &'static str,
}

impl Failure {
    pub(crate) fn of(rejection: Rejection) -> Failure {
        Failure {
            code: rejection.code(),
            message: rejection.message(),
        }
    }
}

/// The answer to the command of `record`: what it made, or why it was refused.
pub(crate) fn answer(shared: &Shared, record: &Record) -> Result<Rendered, ApiError> {
    if let Some(rejection) = record.outcome.rejection {
        return Err(refusal(shared, payment_of(record), rejection));
    }
    Ok(Rendered {
        status: status(&record.command.body),
        object: match record.command.body {
            Body::Publish(_) => Made::Event(event::event(shared, record)?),
            _ => Made::Resource(object(shared, record)?),
        },
    })
}

/// The status of the answer to an accepted command.
fn status(body: &Body) -> u16 {
    match body {
        Body::Pay(pay) if pay.queue.is_some() => 202,
        Body::OpenAccount(_)
        | Body::Pay(_)
        | Body::Refund(_)
        | Body::CreateApiKey(_)
        | Body::Publish(_) => 201,
        _ => 200,
    }
}

/// What is known of a command's answer before it is decided: enough to answer without its record.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outline {
    status: u16,
    object: &'static str,
    kind: IdKind,
    /// The position in the id, if it is not the record's own.
    id: Option<u64>,
    payment: Option<PaymentId>,
}

impl Outline {
    /// None for commands that have no such answer.
    pub(crate) fn of(body: &Body) -> Option<Outline> {
        let (object, kind, id) = match body {
            Body::OpenAccount(_) => ("account", IdKind::Account, None),
            Body::FreezeAccount(id) | Body::UnfreezeAccount(id) | Body::CloseAccount(id) => {
                ("account", IdKind::Account, Some(id.0))
            }
            Body::Pay(_) => ("payment", IdKind::Payment, None),
            Body::Capture(capture) => ("payment", IdKind::Payment, Some(capture.payment.0)),
            Body::Void(payment) => ("payment", IdKind::Payment, Some(payment.0)),
            Body::Refund(_) => ("refund", IdKind::Refund, None),
            Body::Publish(_) => ("event", IdKind::Event, None),
            _ => return None,
        };
        Some(Outline {
            status: status(body),
            object,
            kind,
            id,
            payment: payment_changed(body),
        })
    }

    /// The answer to the command, which is the record at `position`.
    pub(crate) fn answer(
        self,
        shared: &Shared,
        position: u64,
        rejection: Option<Rejection>,
    ) -> Result<Rendered, ApiError> {
        if let Some(rejection) = rejection {
            let made = (self.kind == IdKind::Payment).then_some(PaymentId(position));
            return Err(refusal(shared, self.payment.or(made), rejection));
        }
        let id = self.id.unwrap_or(position);
        Ok(Rendered {
            status: self.status,
            object: Made::Reference(Reference {
                object: self.object,
                id: shared.reader.ids().text(self.kind, id),
            }),
        })
    }
}

/// A refusal that is on record: 402 where money was to move, else 409.
fn refusal(shared: &Shared, payment: Option<PaymentId>, rejection: Rejection) -> ApiError {
    let (code, message) = (rejection.code(), rejection.message());
    match payment {
        Some(payment) => ApiError::refused(402, ErrorType::Payment, code, message)
            .payment(Some(shared.reader.ids().encode(IdKind::Payment, payment.0))),
        None => ApiError::refused(409, ErrorType::Conflict, code, message),
    }
}

/// The payment that a command makes or would change.
pub(crate) fn payment_of(record: &Record) -> Option<PaymentId> {
    match &record.command.body {
        Body::Pay(_) => Some(PaymentId(record.ctx.position)),
        body => payment_changed(body),
    }
}

/// The payment, made before, that a command would change.
fn payment_changed(body: &Body) -> Option<PaymentId> {
    match body {
        Body::Capture(capture) => Some(capture.payment),
        Body::Refund(refund) => Some(refund.payment),
        Body::Void(payment) | Body::Expire(payment) | Body::Run(payment) => Some(*payment),
        _ => None,
    }
}

/// What an accepted record made or changed, as the record left it.
fn object(shared: &Shared, record: &Record) -> Result<Resource, ApiError> {
    if let Body::Refund(_) = record.command.body {
        return Ok(Resource::Refund(refund::refund(shared, record)?));
    }
    if let Body::SetQueue(mode) = record.command.body {
        return Ok(Resource::Queue(queue::standing(shared, mode, Some(record))));
    }
    let outcome = &record.outcome;
    if let Some(payment) = &outcome.payment {
        let created = created_by(shared, record, payment.id.0)?;
        let object = payment::payment(shared, payment, created.as_ref().unwrap_or(record));
        return Ok(Resource::Payment(Box::new(object)));
    }
    if let Some(account) = &outcome.account {
        let opened = created_by(shared, record, account.id.0)?;
        return Ok(Resource::Account(account::account(
            shared,
            account,
            opened.as_ref().unwrap_or(record),
        )));
    }
    if let Some(key) = &outcome.api_key {
        return Ok(Resource::ApiKey(api_key::api_key(shared, key, None)));
    }
    let changed = outcome.setting.as_ref();
    if let Some(setting) = changed.and_then(|change| setting::setting(shared, record, change)) {
        return Ok(Resource::Setting(setting));
    }
    tracing::error!(
        position = record.ctx.position,
        "an accepted record has no after-image"
    );
    Err(ApiError::new(
        ErrorCode::InternalError,
        "The server failed.",
    ))
}

/// The record at `position` that created what `record` changed; none if it is `record` itself.
fn created_by(shared: &Shared, record: &Record, position: u64) -> Result<Option<Record>, ApiError> {
    if position == record.ctx.position {
        return Ok(None);
    }
    created(shared, position).map(Some)
}

/// The record at `position`, which something that exists was created by.
pub(crate) fn created(shared: &Shared, position: u64) -> Result<Record, ApiError> {
    let record = shared.reader.record(position).map_err(failed)?;
    record.ok_or_else(|| {
        tracing::error!(position, "the record that created an object is missing");
        ApiError::new(ErrorCode::RecordDamaged, "A stored record is missing.")
    })
}

/// The name of an owner.
pub(crate) fn owner_name(shared: &Shared, owner: OwnerId) -> String {
    if owner == OwnerId::PLATFORM {
        return "platform".to_owned();
    }
    shared
        .reader
        .owner_name(owner)
        .map_or_else(String::new, |name| name.to_string())
}
