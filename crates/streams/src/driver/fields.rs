//! The fields of an event that expressions may use: those of the ledger's events, and those of published ones.

use std::cell::OnceCell;

use serde::Serialize;
use serde_json::Value as Json;
use tributary_api::form::request::Notes;
use tributary_api::render::common::payment_of;
use tributary_api::render::notes::{present_notes, record_notes};
use tributary_api::render::payment::{PaymentKindForm, PaymentStatusForm};
use tributary_engine::{IdKind, Reader};
use tributary_ledger::codec::Record;
use tributary_ledger::{AccountId, Body, Data, OwnerId, Payment};

use crate::expression::{FieldId, Fields, Scalar, Type, Value};

/// Nanoseconds of a millisecond, in which expressions see times.
const NS_PER_MS: u64 = 1_000_000;

/// Path of what a caller published.
pub(super) const DATA: &str = "data";

/// A field of every event, or of the events of the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EventField {
    Created,
    EventType,
    Owner,
    OrderKey,
    Payment,
    Kind,
    Status,
    Amount,
    AmountMoved,
    AmountHeld,
    AmountCaptured,
    AmountRefunded,
    Currency,
    Source,
    Payer,
    Destination,
    Payee,
    Reference,
    Description,
    Metadata,
    Failure,
    Waited,
}

/// Fields by path, in the order of their numbers. docs/streams.md says what each is.
pub(super) const EVENT_FIELDS: &[(&str, Type, EventField)] = &[
    ("created", Type::Int, EventField::Created),
    ("event", Type::String, EventField::EventType),
    ("owner", Type::String, EventField::Owner),
    ("order_key", Type::String, EventField::OrderKey),
    ("payment", Type::String, EventField::Payment),
    ("kind", Type::String, EventField::Kind),
    ("status", Type::String, EventField::Status),
    ("amount", Type::Int, EventField::Amount),
    ("amount_moved", Type::Int, EventField::AmountMoved),
    ("amount_held", Type::Int, EventField::AmountHeld),
    ("amount_captured", Type::Int, EventField::AmountCaptured),
    ("amount_refunded", Type::Int, EventField::AmountRefunded),
    ("currency", Type::String, EventField::Currency),
    ("source", Type::String, EventField::Source),
    ("payer", Type::String, EventField::Payer),
    ("destination", Type::String, EventField::Destination),
    ("payee", Type::String, EventField::Payee),
    ("reference", Type::String, EventField::Reference),
    ("description", Type::String, EventField::Description),
    ("metadata", Type::StringMap, EventField::Metadata),
    ("failure", Type::String, EventField::Failure),
    ("waited", Type::Int, EventField::Waited),
];

/// An event, whose fields are looked up when they are asked for, and kept.
pub(super) struct EventFields<'r> {
    reader: &'r Reader,
    event_type: &'r str,
    record: Record,
    /// Texts that were made, by the number of the field.
    texts: [OnceCell<Option<String>>; EVENT_FIELDS.len()],
    notes: OnceCell<Option<Notes>>,
    published: OnceCell<Option<Json>>,
}

impl<'r> EventFields<'r> {
    pub(super) fn new(reader: &'r Reader, event_type: &'r str, record: Record) -> EventFields<'r> {
        EventFields {
            reader,
            event_type,
            record,
            texts: std::array::from_fn(|_| OnceCell::new()),
            notes: OnceCell::new(),
            published: OnceCell::new(),
        }
    }

    pub(super) fn get(&self, number: usize) -> Option<Value<'_>> {
        let field = EVENT_FIELDS[number].2;
        match field {
            EventField::Metadata => {
                let notes = self.notes()?;
                return Some(Value::Map(&notes.metadata));
            }
            EventField::EventType => return Some(Value::Scalar(Scalar::String(self.event_type))),
            EventField::Description => {
                let text = self.notes()?.description.as_deref()?;
                return Some(Value::Scalar(Scalar::String(text)));
            }
            _ => {}
        }
        let value = match self.number(field) {
            Some(number) => Scalar::Int(number?),
            None => {
                let text = self.texts[number].get_or_init(|| self.text(field));
                Scalar::String(text.as_deref()?)
            }
        };
        Some(Value::Scalar(value))
    }

    /// The value of a field of what was published, by its path within the data.
    pub(super) fn published(&self, path: &str) -> Option<Value<'_>> {
        let read = || match &self.record.command.body {
            Body::Publish(publish) if publish.data.scheme() == Data::PLAIN => {
                serde_json::from_slice(publish.data.as_bytes()).ok()
            }
            _ => None,
        };
        let mut value = self.published.get_or_init(read).as_ref()?;
        for name in path.split('.') {
            value = value.get(name)?;
        }
        let scalar = match value {
            Json::Bool(value) => Scalar::Bool(*value),
            Json::Number(value) => Scalar::Int(value.as_i64()?),
            Json::String(value) => Scalar::String(value),
            _ => return None,
        };
        Some(Value::Scalar(scalar))
    }

    /// Returns the value of a field that is a number: none if the field is text, and `Some(None)` if the event has no such field.
    fn number(&self, field: EventField) -> Option<Option<i64>> {
        let payment = self.payment();
        let of = |amount: fn(&Payment) -> u64| payment.map(amount);
        let amount = match field {
            EventField::Created => Some(self.record.ctx.timestamp / NS_PER_MS),
            EventField::Amount if self.is_refund() => self.moved(),
            EventField::Amount => of(|payment| payment.amount),
            EventField::AmountMoved => self.moved(),
            EventField::AmountHeld => of(|payment| payment.held),
            EventField::AmountCaptured => of(|payment| payment.captured),
            EventField::AmountRefunded => of(|payment| payment.refunded),
            EventField::Waited => {
                let now = self.record.ctx.timestamp;
                payment.map(|payment| now.saturating_sub(payment.created_at) / NS_PER_MS)
            }
            _ => return None,
        };
        Some(amount.and_then(|amount| i64::try_from(amount).ok()))
    }

    fn text(&self, field: EventField) -> Option<String> {
        let (ids, record) = (self.reader.ids(), &self.record);
        let account = |account: AccountId| ids.encode(IdKind::Account, account.0);
        let payment = self.payment();
        let payee = || payment?.payees().first().map(|share| share.account);
        match field {
            EventField::Owner => match &record.command.body {
                Body::Publish(_) => self.owner_name(record.command.actor.owner),
                _ => self.owner_name(payment?.owner),
            },
            EventField::OrderKey => match &record.command.body {
                Body::Publish(publish) => publish.key.as_ref().map(ToString::to_string),
                _ => None,
            },
            EventField::Payment => {
                let payment = payment_of(record)?;
                Some(ids.encode(IdKind::Payment, payment.0))
            }
            EventField::Kind => name(&PaymentKindForm::new(payment?.kind)),
            EventField::Status => name(&PaymentStatusForm::new(payment?.status)),
            EventField::Currency => Some(payment?.currency.code().to_owned()),
            EventField::Source => Some(account(payment?.source)),
            EventField::Payer => self.account_owner(payment?.source),
            EventField::Destination => payee().map(account),
            EventField::Payee => self.account_owner(payee()?),
            EventField::Reference => self.opened()?.reference().map(ToString::to_string),
            EventField::Failure => record.outcome.rejection.map(|why| why.code().to_owned()),
            _ => unreachable!("it is a number, or kept elsewhere"),
        }
    }

    fn payment(&self) -> Option<&Payment> {
        self.record.outcome.payment.as_ref()
    }

    fn is_refund(&self) -> bool {
        matches!(self.record.command.body, Body::Refund(_))
    }

    /// What this record moved from or to the account that pays.
    fn moved(&self) -> Option<u64> {
        let source = self.payment()?.source;
        let legs = self.record.outcome.legs.iter();
        let of_source = legs.filter(|leg| leg.account == source);
        Some(of_source.map(|leg| leg.amount.unsigned_abs()).sum())
    }

    fn owner_name(&self, owner: OwnerId) -> Option<String> {
        match owner {
            OwnerId::PLATFORM => Some("platform".to_owned()),
            owner => self.reader.owner_name(owner).map(|name| name.to_string()),
        }
    }

    fn account_owner(&self, account: AccountId) -> Option<String> {
        self.owner_name(self.reader.account_owner(account)?)
    }

    /// The record that made the payment.
    fn opened(&self) -> Option<Record> {
        let id = self.payment()?.id;
        match id.0 == self.record.ctx.position {
            true => Some(self.record.clone()),
            false => self.reader.record(id.0).ok().flatten(),
        }
    }

    fn notes(&self) -> Option<&Notes> {
        let read = || {
            if self.is_refund() {
                return Some(record_notes(&self.record));
            }
            let payment = self.payment()?;
            if payment.id.0 == self.record.ctx.position && payment.text.is_none() {
                return Some(record_notes(&self.record));
            }
            let opened = self.opened()?;
            present_notes(self.reader, payment.text.as_deref(), Some(&opened)).ok()
        };
        self.notes.get_or_init(read).as_ref()
    }
}

/// The name of a value as answers show it.
fn name(value: &impl Serialize) -> Option<String> {
    match serde_json::to_value(value) {
        Ok(Json::String(name)) => Some(name),
        _ => None,
    }
}

/// An event as the expressions of one stream see it.
pub(super) struct StreamFields<'e> {
    pub(super) event: &'e EventFields<'e>,
    /// Paths within the data of published events, which follow the fields of every event.
    pub(super) data: &'e [String],
    /// The stream's own fields, which follow those: expressions over the others.
    pub(super) derived: &'e [crate::expression::Expression],
}

impl Fields for StreamFields<'_> {
    fn get(&self, field: FieldId) -> Option<Value<'_>> {
        let number = field.index();
        if number < EVENT_FIELDS.len() {
            return self.event.get(number);
        }
        let number = number - EVENT_FIELDS.len();
        if let Some(path) = self.data.get(number) {
            return self.event.published(path);
        }
        // A field whose expression has no value is missing.
        let derived = &self.derived[number - self.data.len()];
        derived.evaluate(self).ok().map(Value::Scalar)
    }
}
