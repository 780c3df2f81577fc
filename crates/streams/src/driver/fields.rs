//! The fields of an event that expressions may use: those of the ledger's events, and those of published ones.

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use serde_json::Value as Json;
use tributary_api::form::request::Notes;
use tributary_api::render::common::payment_of;
use tributary_api::render::facts::{
    account_owner, amount_moved, known_owner, recorded_ms, waited_ms,
};
use tributary_api::render::notes::{present_notes, record_notes};
use tributary_engine::{IdKind, Reader};
use tributary_ledger::codec::Record;
use tributary_ledger::{AccountId, Body, Data, Payment};

use crate::expression::{FieldId, Fields, Scalar, Type, Value};

/// Path of what a caller published.
pub(crate) const DATA: &str = "data";

/// A field of every event, or of the events of the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EventField {
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
    Label,
    Waited,
}

/// Fields by path, in the order of their numbers. docs/streams.md says what each is.
pub(crate) const EVENT_FIELDS: &[(&str, Type, EventField)] = &[
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
    ("label", Type::String, EventField::Label),
    ("waited", Type::Int, EventField::Waited),
];

/// Names of the owners of accounts, which never change. The published state is looked at once for each account: whoever looks at it
/// keeps it from being changed.
pub(super) struct OwnerNames {
    reader: Reader,
    names: RefCell<HashMap<AccountId, Rc<str>>>,
}

impl OwnerNames {
    /// Maximum number of accounts whose owners' names are kept. One more, and they are looked up again.
    const ACCOUNTS_MAX: usize = 100_000;

    pub(super) fn new(reader: &Reader) -> OwnerNames {
        OwnerNames {
            reader: reader.clone(),
            names: RefCell::default(),
        }
    }

    fn of_account(&self, account: AccountId) -> Option<Rc<str>> {
        if let Some(name) = self.names.borrow().get(&account) {
            return Some(name.clone());
        }
        let name: Rc<str> = account_owner(&self.reader, account)?.into();
        let mut names = self.names.borrow_mut();
        if names.len() >= Self::ACCOUNTS_MAX {
            names.clear();
        }
        names.insert(account, name.clone());
        Some(name)
    }
}

/// Text of a field.
enum FieldText {
    Static(&'static str),
    Shared(Rc<str>),
    Own(String),
}

impl FieldText {
    fn as_str(&self) -> &str {
        match self {
            FieldText::Static(text) => text,
            FieldText::Shared(text) => text,
            FieldText::Own(text) => text,
        }
    }
}

/// An event, whose fields are looked up when they are asked for, and kept.
pub(super) struct EventFields<'r> {
    reader: &'r Reader,
    owners: &'r OwnerNames,
    event_type: &'r str,
    record: Record,
    /// Texts that were made, by the number of the field.
    texts: [OnceCell<Option<FieldText>>; EVENT_FIELDS.len()],
    notes: OnceCell<Option<Notes>>,
    published: OnceCell<Option<Json>>,
}

impl<'r> EventFields<'r> {
    pub(super) fn new(
        reader: &'r Reader,
        owners: &'r OwnerNames,
        event_type: &'r str,
        record: Record,
    ) -> EventFields<'r> {
        EventFields {
            reader,
            owners,
            event_type,
            record,
            texts: std::array::from_fn(|_| OnceCell::new()),
            notes: OnceCell::new(),
            published: OnceCell::new(),
        }
    }

    /// Type of the event.
    pub(super) fn event_type(&self) -> &'r str {
        self.event_type
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
                Scalar::String(text.as_ref()?.as_str())
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
            EventField::Created => Some(recorded_ms(&self.record)),
            EventField::Amount if self.is_refund() => amount_moved(&self.record),
            EventField::Amount => of(|payment| payment.amount),
            EventField::AmountMoved => amount_moved(&self.record),
            EventField::AmountHeld => of(|payment| payment.held),
            EventField::AmountCaptured => of(|payment| payment.captured),
            EventField::AmountRefunded => of(|payment| payment.refunded),
            EventField::Waited => waited_ms(&self.record),
            _ => return None,
        };
        Some(amount.and_then(|amount| i64::try_from(amount).ok()))
    }

    fn text(&self, field: EventField) -> Option<FieldText> {
        let (ids, record) = (self.reader.ids(), &self.record);
        let account = |account: AccountId| ids.encode(IdKind::Account, account.0);
        let payment = self.payment();
        let payee = || payment?.payees().first().map(|share| share.account);
        let text = match field {
            EventField::Kind => return static_text(payment?.kind.name()),
            EventField::Status => return static_text(payment?.status.name()),
            EventField::Currency => return static_text(payment?.currency.code()),
            EventField::Label => return static_text(payment?.label?.name()),
            EventField::Failure => return static_text(record.outcome.rejection?.code()),
            EventField::Payer => return self.account_owner(payment?.source),
            EventField::Payee => return self.account_owner(payee()?),
            EventField::Owner => match &record.command.body {
                Body::Publish(_) => known_owner(self.reader, record.command.actor.owner),
                _ => known_owner(self.reader, payment?.owner),
            },
            EventField::OrderKey => match &record.command.body {
                Body::Publish(publish) => publish.key.as_ref().map(ToString::to_string),
                _ => None,
            },
            EventField::Payment => {
                let payment = payment_of(record)?;
                Some(ids.encode(IdKind::Payment, payment.0))
            }
            EventField::Source => Some(account(payment?.source)),
            EventField::Destination => payee().map(account),
            EventField::Reference => self.opened()?.reference().map(ToString::to_string),
            _ => unreachable!("it is a number, or kept elsewhere"),
        };
        text.map(FieldText::Own)
    }

    fn payment(&self) -> Option<&Payment> {
        self.record.outcome.payment.as_ref()
    }

    fn is_refund(&self) -> bool {
        matches!(self.record.command.body, Body::Refund(_))
    }

    fn account_owner(&self, account: AccountId) -> Option<FieldText> {
        self.owners.of_account(account).map(FieldText::Shared)
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

#[expect(clippy::unnecessary_wraps, reason = "a field may be missing")]
fn static_text(text: &'static str) -> Option<FieldText> {
    Some(FieldText::Static(text))
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
