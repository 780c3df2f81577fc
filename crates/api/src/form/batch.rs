//! The body of a batch. It is read item by item, with a count: the items of a body that is a few bytes each would take a
//! hundred times the memory of the body itself, so the first one too many ends the reading.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;

use serde::de::{self, Deserialize, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use tributary_engine::{COMMANDS_PER_BATCH_MAX, Reader};
use tributary_ledger::{Body, PaymentKind};
use utoipa::openapi::schema::{
    AdditionalProperties, ArrayBuilder, ObjectBuilder, OneOfBuilder, Schema,
};
use utoipa::openapi::{Ref, RefOr};
use utoipa::{PartialSchema, ToSchema};

use crate::caller::Caller;
use crate::draft::CommandDraft;
use crate::error::ApiError;
use crate::form::owner::{BatchAccountUpdate, BatchOwnerUpdate, BatchPaymentUpdate, OwnerCreate};
use crate::form::payout::{BatchPayoutFail, BatchPayoutPay, BatchPayoutReturn, PayoutCreate};
use crate::form::request::{
    AccountCreate, AdjustmentCreate, BatchAccount, BatchCapture, BatchVoid, EventCreate,
    PaymentCreate, RefundCreate, Request as _, TransferCreate,
};
use crate::form::value::KeyText;

/// A batch: at least one item, at most [`COMMANDS_PER_BATCH_MAX`] commands.
#[derive(Debug)]
pub struct BatchForm(pub Vec<BatchItem>);

/// One place of a batch.
#[derive(Debug)]
pub enum BatchItem {
    /// A command by itself.
    Alone(BatchCommand),
    /// Commands of which all are done or none; at least one.
    Group(Vec<BatchCommand>),
}

/// One command of a batch.
#[derive(Debug)]
pub struct BatchCommand {
    /// The idempotency key of the command.
    pub idempotency_key: Option<KeyText>,
    /// Operation of the command.
    pub operation: Box<Operation>,
}

/// Operation of a command in a batch.
#[derive(Debug)]
pub enum Operation {
    /// Open an account.
    Account(AccountCreate),
    /// Freeze an account.
    Freeze(BatchAccount),
    /// Unfreeze an account.
    Unfreeze(BatchAccount),
    /// Close an account.
    Close(BatchAccount),
    /// Pay a merchant.
    Payment(PaymentCreate),
    /// Move money between users.
    Transfer(TransferCreate),
    /// Bring money in.
    TopUp(TransferCreate),
    /// Send money out.
    Payout(PayoutCreate),
    /// Record that a payout was paid.
    PayPayout(BatchPayoutPay),
    /// Record that a payout failed.
    FailPayout(BatchPayoutFail),
    /// Record that a payout came back.
    ReturnPayout(BatchPayoutReturn),
    /// Set something right.
    Adjustment(AdjustmentCreate),
    /// Take what is held.
    Capture(BatchCapture),
    /// Release what is held.
    Void(BatchVoid),
    /// Give money back.
    Refund(RefundCreate),
    /// Publish an event.
    Event(EventCreate),
    /// Create an owner.
    Owner(OwnerCreate),
    /// Update an account.
    UpdateAccount(BatchAccountUpdate),
    /// Update a payment.
    UpdatePayment(BatchPaymentUpdate),
    /// Update an owner.
    UpdateOwner(BatchOwnerUpdate),
}

/// The fields of an item; all but the first and the last name an operation.
const FIELDS: &[&str] = &[
    "idempotency_key",
    "account",
    "freeze",
    "unfreeze",
    "close",
    "payment",
    "transfer",
    "top_up",
    "payout",
    "pay_payout",
    "fail_payout",
    "return_payout",
    "adjustment",
    "capture",
    "void",
    "refund",
    "event",
    "owner",
    "update_account",
    "update_payment",
    "update_owner",
    "group",
];
const ONE_OPERATION: &str = "give exactly one of account, freeze, unfreeze, close, payment, transfer, top_up, payout, \
    pay_payout, fail_payout, return_payout, adjustment, capture, void, refund, event, owner, update_account, \
    update_payment and update_owner";

impl Operation {
    /// The name of its field.
    pub fn field(&self) -> &'static str {
        match self {
            Operation::Account(_) => "account",
            Operation::Freeze(_) => "freeze",
            Operation::Unfreeze(_) => "unfreeze",
            Operation::Close(_) => "close",
            Operation::Payment(_) => "payment",
            Operation::Transfer(_) => "transfer",
            Operation::TopUp(_) => "top_up",
            Operation::Payout(_) => "payout",
            Operation::PayPayout(_) => "pay_payout",
            Operation::FailPayout(_) => "fail_payout",
            Operation::ReturnPayout(_) => "return_payout",
            Operation::Adjustment(_) => "adjustment",
            Operation::Capture(_) => "capture",
            Operation::Void(_) => "void",
            Operation::Refund(_) => "refund",
            Operation::Event(_) => "event",
            Operation::Owner(_) => "owner",
            Operation::UpdateAccount(_) => "update_account",
            Operation::UpdatePayment(_) => "update_payment",
            Operation::UpdateOwner(_) => "update_owner",
        }
    }

    /// Returns the draft of the command. An account is opened for `caller`'s owner if none is named.
    pub fn into_draft(self, reader: &Reader, caller: &Caller) -> Result<CommandDraft, ApiError> {
        let ids = reader.ids();
        match self {
            Operation::Account(form) => form.into_draft(reader, caller),
            Operation::Freeze(form) => form.into_draft(ids, Body::FreezeAccount),
            Operation::Unfreeze(form) => form.into_draft(ids, Body::UnfreezeAccount),
            Operation::Close(form) => form.into_draft(ids, Body::CloseAccount),
            Operation::Payment(form) => form.into_draft(reader, caller),
            Operation::Transfer(form) => form.into_draft(PaymentKind::Transfer, reader, caller),
            Operation::TopUp(form) => form.into_draft(PaymentKind::TopUp, reader, caller),
            Operation::Payout(form) => form.into_draft(reader, caller),
            Operation::PayPayout(form) => form.into_draft(ids),
            Operation::FailPayout(form) => form.into_draft(ids),
            Operation::ReturnPayout(form) => form.into_draft(ids),
            Operation::Adjustment(form) => form.into_draft(reader, caller),
            Operation::Capture(form) => form.into_draft(ids),
            Operation::Void(form) => form.into_draft(ids),
            Operation::Refund(form) => form.into_draft(ids),
            Operation::Event(form) => form.into_draft(ids),
            Operation::Owner(form) => form.into_draft(),
            Operation::UpdateAccount(form) => form.into_draft(ids),
            Operation::UpdatePayment(form) => form.into_draft(ids),
            Operation::UpdateOwner(form) => form.into_draft(reader, caller),
        }
    }

    fn read<'de, A: MapAccess<'de>>(field: &str, map: &mut A) -> Result<Operation, A::Error> {
        Ok(match field {
            "account" => Operation::Account(map.next_value()?),
            "freeze" => Operation::Freeze(map.next_value()?),
            "unfreeze" => Operation::Unfreeze(map.next_value()?),
            "close" => Operation::Close(map.next_value()?),
            "payment" => Operation::Payment(map.next_value()?),
            "transfer" => Operation::Transfer(map.next_value()?),
            "top_up" => Operation::TopUp(map.next_value()?),
            "payout" => Operation::Payout(map.next_value()?),
            "pay_payout" => Operation::PayPayout(map.next_value()?),
            "fail_payout" => Operation::FailPayout(map.next_value()?),
            "return_payout" => Operation::ReturnPayout(map.next_value()?),
            "adjustment" => Operation::Adjustment(map.next_value()?),
            "capture" => Operation::Capture(map.next_value()?),
            "void" => Operation::Void(map.next_value()?),
            "refund" => Operation::Refund(map.next_value()?),
            "event" => Operation::Event(map.next_value()?),
            "owner" => Operation::Owner(map.next_value()?),
            "update_account" => Operation::UpdateAccount(map.next_value()?),
            "update_payment" => Operation::UpdatePayment(map.next_value()?),
            "update_owner" => Operation::UpdateOwner(map.next_value()?),
            _ => return Err(de::Error::unknown_field(field, FIELDS)),
        })
    }
}

/// One command by itself, as a message of a broker has it: what gives it its idempotency key is not in its body.
#[derive(Debug)]
pub struct LoneCommand(pub Box<Operation>);

impl<'de> Deserialize<'de> for LoneCommand {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<LoneCommand, D::Error> {
        struct Command;
        impl<'de> Visitor<'de> for Command {
            type Value = LoneCommand;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("one command")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<LoneCommand, A::Error> {
                let mut operation = None;
                while let Some(field) = map.next_key::<String>()? {
                    let next = match field.as_str() {
                        "idempotency_key" => Err(de::Error::custom(
                            "the identity of a message takes the place of an idempotency_key",
                        )),
                        "group" => Err(de::Error::custom(
                            "a message is one command: groups go through /v1/batches",
                        )),
                        name => Operation::read(name, &mut map),
                    };
                    if operation.replace(Box::new(next?)).is_some() {
                        return Err(de::Error::custom(ONE_OPERATION));
                    }
                }
                let operation = operation.ok_or_else(|| de::Error::custom(ONE_OPERATION))?;
                Ok(LoneCommand(operation))
            }
        }
        deserializer.deserialize_map(Command)
    }
}

impl<'de> Deserialize<'de> for BatchForm {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<BatchForm, D::Error> {
        let left = Cell::new(COMMANDS_PER_BATCH_MAX);
        let items = Items {
            left: &left,
            in_group: false,
        };
        items.deserialize(deserializer).map(BatchForm)
    }
}

/// Reads the places of a batch, or the commands of a group: at least one.
struct Items<'a> {
    /// Commands that the batch may still have.
    left: &'a Cell<usize>,
    in_group: bool,
}

impl<'de> DeserializeSeed<'de> for Items<'_> {
    type Value = Vec<BatchItem>;

    fn deserialize<D: Deserializer<'de>>(
        self,
        deserializer: D,
    ) -> Result<Vec<BatchItem>, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Items<'_> {
    type Value = Vec<BatchItem>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of commands")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<BatchItem>, A::Error> {
        let mut items = Vec::new();
        let item = || Item {
            left: self.left,
            in_group: self.in_group,
        };
        while let Some(item) = seq.next_element_seed(item())? {
            items.push(item);
        }
        if items.is_empty() {
            return Err(de::Error::custom("must have at least one command"));
        }
        Ok(items)
    }
}

/// Reads one place of a batch, or one command of a group.
struct Item<'a> {
    left: &'a Cell<usize>,
    in_group: bool,
}

impl<'de> DeserializeSeed<'de> for Item<'_> {
    type Value = BatchItem;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<BatchItem, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Item<'_> {
    type Value = BatchItem;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a command")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<BatchItem, A::Error> {
        let mut key: Option<KeyText> = None;
        let mut operation: Option<Box<Operation>> = None;
        let mut group: Option<Vec<BatchItem>> = None;
        while let Some(field) = map.next_key::<String>()? {
            match field.as_str() {
                "idempotency_key" if key.is_some() => {
                    return Err(de::Error::duplicate_field("idempotency_key"));
                }
                "idempotency_key" => key = Some(map.next_value()?),
                "group" if self.in_group => {
                    return Err(de::Error::custom("a group holds commands, not groups"));
                }
                "group" if group.is_some() => return Err(de::Error::duplicate_field("group")),
                "group" => {
                    let members = Items {
                        left: self.left,
                        in_group: true,
                    };
                    group = Some(map.next_value_seed(members)?);
                }
                name => {
                    let next = Operation::read(name, &mut map)?;
                    if operation.is_some() {
                        return Err(de::Error::custom(ONE_OPERATION));
                    }
                    operation = Some(Box::new(next));
                }
            }
        }
        match (group, operation) {
            (Some(members), None) if key.is_none() => {
                let alone = members.into_iter().filter_map(|member| match member {
                    BatchItem::Alone(command) => Some(command),
                    BatchItem::Group(_) => None,
                });
                Ok(BatchItem::Group(alone.collect()))
            }
            (Some(_), _) => Err(de::Error::custom(
                "a group has nothing but its commands; each has its own idempotency key",
            )),
            (None, None) => Err(de::Error::custom(ONE_OPERATION)),
            (None, Some(operation)) => {
                let left = self.left.get().checked_sub(1).ok_or_else(|| {
                    de::Error::custom(format_args!(
                        "a batch has at most {COMMANDS_PER_BATCH_MAX} commands"
                    ))
                })?;
                self.left.set(left);
                Ok(BatchItem::Alone(BatchCommand {
                    idempotency_key: key,
                    operation,
                }))
            }
        }
    }
}

impl BatchForm {
    fn command() -> RefOr<Schema> {
        let operations = [
            ("account", AccountCreate::name()),
            ("freeze", BatchAccount::name()),
            ("unfreeze", BatchAccount::name()),
            ("close", BatchAccount::name()),
            ("payment", PaymentCreate::name()),
            ("transfer", TransferCreate::name()),
            ("top_up", TransferCreate::name()),
            ("payout", PayoutCreate::name()),
            ("pay_payout", BatchPayoutPay::name()),
            ("fail_payout", BatchPayoutFail::name()),
            ("return_payout", BatchPayoutReturn::name()),
            ("adjustment", AdjustmentCreate::name()),
            ("capture", BatchCapture::name()),
            ("void", BatchVoid::name()),
            ("refund", RefundCreate::name()),
            ("event", EventCreate::name()),
            ("owner", OwnerCreate::name()),
            ("update_account", BatchAccountUpdate::name()),
            ("update_payment", BatchPaymentUpdate::name()),
            ("update_owner", BatchOwnerUpdate::name()),
        ];
        let mut one_of =
            OneOfBuilder::new().description(Some("One command with its own idempotency key."));
        for (field, schema) in operations {
            // Generators name a type after the title.
            let words = field
                .split('_')
                .map(|word| word[..1].to_ascii_uppercase() + &word[1..]);
            one_of = one_of.item(
                ObjectBuilder::new()
                    .title(Some(words.collect::<String>() + "Command"))
                    .property("idempotency_key", Ref::from_schema_name(KeyText::name()))
                    .required("idempotency_key")
                    .property(field, Ref::from_schema_name(schema))
                    .required(field)
                    .additional_properties(Some(AdditionalProperties::<Schema>::FreeForm(false))),
            );
        }
        RefOr::T(Schema::OneOf(one_of.build()))
    }

    fn group() -> RefOr<Schema> {
        let commands = ArrayBuilder::new()
            .items(Ref::from_schema_name("BatchCommand"))
            .min_items(Some(1))
            .max_items(Some(8192));
        ObjectBuilder::new()
            .description(Some("Commands of which all are done, or none."))
            .property("group", commands)
            .required("group")
            .additional_properties(Some(AdditionalProperties::<Schema>::FreeForm(false)))
            .build()
            .into()
    }
}

impl PartialSchema for BatchForm {
    fn schema() -> RefOr<Schema> {
        let item = OneOfBuilder::new()
            .item(Ref::from_schema_name("BatchCommand"))
            .item(Ref::from_schema_name("BatchGroup"));
        ArrayBuilder::new()
            .items(item)
            .min_items(Some(1))
            .max_items(Some(8192))
            .build()
            .into()
    }
}

impl ToSchema for BatchForm {
    fn name() -> Cow<'static, str> {
        "Batch".into()
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push(("BatchCommand".to_owned(), BatchForm::command()));
        schemas.push(("BatchGroup".to_owned(), BatchForm::group()));
        schemas.push((KeyText::name().into_owned(), KeyText::schema()));
        add::<AccountCreate>(schemas);
        add::<BatchAccount>(schemas);
        add::<PaymentCreate>(schemas);
        add::<TransferCreate>(schemas);
        add::<PayoutCreate>(schemas);
        add::<BatchPayoutPay>(schemas);
        add::<BatchPayoutFail>(schemas);
        add::<BatchPayoutReturn>(schemas);
        add::<AdjustmentCreate>(schemas);
        add::<BatchCapture>(schemas);
        add::<BatchVoid>(schemas);
        add::<RefundCreate>(schemas);
        add::<EventCreate>(schemas);
        add::<OwnerCreate>(schemas);
        add::<BatchAccountUpdate>(schemas);
        add::<BatchPaymentUpdate>(schemas);
        add::<BatchOwnerUpdate>(schemas);
    }
}

fn add<T: ToSchema>(schemas: &mut Vec<(String, RefOr<Schema>)>) {
    schemas.push((T::name().into_owned(), T::schema()));
    T::schemas(schemas);
}
