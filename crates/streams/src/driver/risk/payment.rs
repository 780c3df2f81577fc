//! A payment as rules see it before it is decided.

use std::cell::OnceCell;

use tributary_api::form::request::Notes;
use tributary_api::render::facts::{account_owner, known_owner};
use tributary_engine::{IdKind, Reader};
use tributary_ledger::codec::Record;
use tributary_ledger::{AccountId, Body, Command, Context, Leg, Outcome, OwnerId, Pay, Payment};

use crate::expression::{FieldId, Fields, Scalar, Type, Value};

/// Nanoseconds of a millisecond.
pub(super) const NS_PER_MS: i64 = 1_000_000;

/// A field of a payment that is assessed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PaymentField {
    Created,
    Kind,
    Amount,
    Currency,
    Source,
    Payer,
    Destination,
    Payee,
    Reference,
    Description,
    Metadata,
    IsHold,
    IsQueued,
    AskedBy,
    ApiKey,
}

/// Fields by path, in the order of their numbers. docs/risk.md says what each is.
const PAYMENT_FIELDS: &[(&str, Type, PaymentField)] = &[
    ("created", Type::Int, PaymentField::Created),
    ("kind", Type::String, PaymentField::Kind),
    ("amount", Type::Int, PaymentField::Amount),
    ("currency", Type::String, PaymentField::Currency),
    ("source", Type::String, PaymentField::Source),
    ("payer", Type::String, PaymentField::Payer),
    ("destination", Type::String, PaymentField::Destination),
    ("payee", Type::String, PaymentField::Payee),
    ("reference", Type::String, PaymentField::Reference),
    ("description", Type::String, PaymentField::Description),
    ("metadata", Type::StringMap, PaymentField::Metadata),
    ("is_hold", Type::Bool, PaymentField::IsHold),
    ("is_queued", Type::Bool, PaymentField::IsQueued),
    ("asked_by", Type::String, PaymentField::AskedBy),
    ("api_key", Type::String, PaymentField::ApiKey),
];

/// Number of fields of a payment: those of features follow.
pub(super) const PAYMENT_FIELDS_LEN: usize = PAYMENT_FIELDS.len();

/// The fields of a payment, by path.
pub(super) fn payment_fields() -> impl Iterator<Item = (String, Type)> {
    let fields = PAYMENT_FIELDS.iter();
    fields.map(|(path, kind, _)| ((*path).to_owned(), *kind))
}

/// A payment, whose fields are looked up when they are asked for, and kept.
pub(super) struct PaymentFields<'a> {
    reader: &'a Reader,
    command: &'a Command,
    pay: &'a Pay,
    /// Milliseconds since the Unix epoch.
    at_ms: i64,
    /// Texts that were made, by the number of the field.
    texts: [OnceCell<Option<String>>; PAYMENT_FIELDS.len()],
    notes: OnceCell<Notes>,
}

impl<'a> PaymentFields<'a> {
    /// The payment that a command asks for.
    ///
    /// # Panics
    /// If the command asks for something else.
    pub(super) fn new(reader: &'a Reader, command: &'a Command, at_ms: i64) -> PaymentFields<'a> {
        let Body::Pay(pay) = &command.body else {
            panic!("the command asks for a payment")
        };
        PaymentFields {
            reader,
            command,
            pay,
            at_ms,
            texts: std::array::from_fn(|_| OnceCell::new()),
            notes: OnceCell::new(),
        }
    }

    /// The event that the payment will be if it is accepted, at a position that no record has: its type, its time in nanoseconds, and its
    /// record.
    pub(super) fn expected_event(&self) -> (&'static str, i64, Record) {
        let (pay, queued) = (self.pay, self.pay.queue.is_some());
        let time = self.at_ms.saturating_mul(NS_PER_MS);
        let ctx = Context {
            position: u64::MAX,
            timestamp: u64::try_from(time).unwrap_or(0),
        };
        let owner_of = |account: Option<AccountId>| {
            let owner = account.and_then(|account| self.reader.account_owner(account));
            owner.unwrap_or(self.command.actor.owner)
        };
        let (payer, payee) = (Some(pay.source), pay.first_payee());
        let owner = pay
            .kind
            .owner(|| owner_of(payer), || owner_of(payee), OwnerId::PLATFORM);
        let mut outcome = Outcome {
            payment: Some(Payment::expected(self.command, pay, ctx, owner)),
            ..Outcome::default()
        };
        if !queued && pay.hold.is_none() {
            outcome.legs.push(Leg {
                account: pay.source,
                amount: i64::try_from(pay.amount).map_or(i64::MIN, |amount| -amount),
                posted_after: 0,
                held_after: 0,
                prev: 0,
                skip: 0,
                seq: 0,
                currency: pay.currency,
            });
        }
        let record = Record {
            ctx,
            digest: [0; 16],
            command: self.command.clone(),
            outcome,
        };
        (pay.expected_event(), time, record)
    }

    fn notes(&self) -> &Notes {
        let text = self.command.text.as_ref();
        self.notes.get_or_init(|| Notes::read(text))
    }

    fn text(&self, field: PaymentField) -> Option<String> {
        let ids = self.reader.ids();
        let account = |account: AccountId| ids.encode(IdKind::Account, account.0);
        match field {
            PaymentField::Source => Some(account(self.pay.source)),
            PaymentField::Payer => account_owner(self.reader, self.pay.source),
            PaymentField::Destination => self.pay.first_payee().map(account),
            PaymentField::Payee => account_owner(self.reader, self.pay.first_payee()?),
            PaymentField::Reference => self.pay.reference.as_ref().map(ToString::to_string),
            PaymentField::AskedBy => known_owner(self.reader, self.command.actor.owner),
            PaymentField::ApiKey => {
                let key = self.command.actor.api_key.0;
                (key != 0).then(|| ids.encode(IdKind::ApiKey, key))
            }
            _ => unreachable!("it is no text, or kept elsewhere"),
        }
    }
}

impl Fields for PaymentFields<'_> {
    fn get(&self, field: FieldId) -> Option<Value<'_>> {
        let number = field.index();
        let field = PAYMENT_FIELDS[number].2;
        let int = |value: u64| i64::try_from(value).ok().map(Scalar::Int);
        let value = match field {
            PaymentField::Created => Scalar::Int(self.at_ms),
            PaymentField::Amount => int(self.pay.amount)?,
            PaymentField::Kind => Scalar::String(self.pay.kind.name()),
            PaymentField::Currency => Scalar::String(self.pay.currency.code()),
            PaymentField::IsHold => Scalar::Bool(self.pay.hold.is_some()),
            PaymentField::IsQueued => Scalar::Bool(self.pay.queue.is_some()),
            PaymentField::Description => Scalar::String(self.notes().description.as_deref()?),
            PaymentField::Metadata => return Some(Value::Map(&self.notes().metadata)),
            _ => {
                let text = self.texts[number].get_or_init(|| self.text(field));
                Scalar::String(text.as_deref()?)
            }
        };
        Some(Value::Scalar(value))
    }
}
