//! Values with a form of their own: each is checked where it is read, so that the error names its field.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};
use serde::ser::{Serialize, Serializer};
use tributary_engine::{IdKind, Ids};
use tributary_ledger::{
    AMOUNT_MAX, AccountId, CorrelationId, Currency, ExternalId, Invalid, Key, Label, OrderKey,
    OwnerName, Reason, Reference, Topic,
};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{
    AdditionalProperties, KnownFormat, ObjectBuilder, OneOfBuilder, Schema, SchemaFormat,
    SchemaType, Type,
};
use utoipa::{PartialSchema, ToSchema};

use crate::error::ApiError;

/// Basis points of the whole.
pub const BASIS_POINTS_MAX: u64 = 10_000;
/// Longest `reference`, `external_id` and other short text, in bytes of UTF-8.
pub const REFERENCE_BYTES_MAX: usize = 64;
/// Longest `reason` of an adjustment, in bytes of UTF-8.
pub const REASON_BYTES_MAX: usize = 255;
/// Longest `description`, in bytes of UTF-8.
pub const DESCRIPTION_BYTES_MAX: usize = 1_000;
/// Most entries of `metadata`.
pub const METADATA_ENTRIES_MAX: usize = 20;
/// Longest key of `metadata`, in bytes of UTF-8.
pub const METADATA_KEY_BYTES_MAX: usize = 40;
/// Longest value of `metadata`, in bytes of UTF-8. Twenty of these and a description fit the ledger's text bound even
/// when JSON escapes some of them; that bound itself is checked after encoding.
pub const METADATA_VALUE_BYTES_MAX: usize = 500;

/// Text without control characters, as a schema says it.
const NO_CONTROLS: &str = "^[^\\u0000-\\u001f\\u007f-\\u009f]*$";
/// The same without white space at either end. A schema cannot say what else makes a name.
const TRIMMED: &str = "^[^\\s\\u0000-\\u001f\\u007f-\\u009f]([^\\u0000-\\u001f\\u007f-\\u009f]*[^\\s\\u0000-\\u001f\\u007f-\\u009f])?$";

macro_rules! string_form {
    ($(#[$doc:meta])* $name:ident as $schema:literal, $parsed:ty, expecting $expecting:literal,
     parse $parse:path, schema $build:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq)]
        pub struct $name(pub $parsed);

        impl $name {
            /// Reads the text of the field `param`, for interfaces other than JSON.
            pub fn parse(text: &str, param: &str) -> Result<$parsed, ApiError> {
                let message = || format!(concat!("{}: must be ", $expecting, "."), param);
                $parse(text).ok_or_else(|| ApiError::invalid(param, message()))
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<$name, D::Error> {
                struct Form;
                impl Visitor<'_> for Form {
                    type Value = $name;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($expecting)
                    }
                    fn visit_str<E: de::Error>(self, text: &str) -> Result<$name, E> {
                        $parse(text).map($name).ok_or_else(|| E::custom(concat!("must be ", $expecting)))
                    }
                }
                deserializer.deserialize_str(Form)
            }
        }

        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                let build: fn(ObjectBuilder) -> ObjectBuilder = $build;
                build(ObjectBuilder::new().schema_type(Type::String))
                    .description(Some(concat!("Must be ", $expecting, ".")))
                    .build()
                    .into()
            }
        }

        impl ToSchema for $name {
            fn name() -> Cow<'static, str> {
                $schema.into()
            }
        }
    };
}

string_form! {
    /// The id of an account, in form only: what stands behind its text.
    AccountText as "AccountId", [u8; 16], expecting "an account id: `acct_` and 26 characters",
    parse account_text, schema |object| object.pattern(Some("^acct_[0-7][0-9a-hjkmnp-tv-z]{25}$"))
}
string_form! {
    /// The id of a payment, in form only: what stands behind its text.
    PaymentText as "PaymentId", [u8; 16], expecting "a payment id: `pay_` and 26 characters",
    parse payment_text, schema |object| object.pattern(Some("^pay_[0-7][0-9a-hjkmnp-tv-z]{25}$"))
}
string_form! {
    /// The id of a subscription, in form only.
    SubscriptionText as "SubscriptionId", [u8; 16], expecting "a subscription id: `sub_` and 26 characters",
    parse subscription_text, schema |object| object.pattern(Some("^sub_[0-7][0-9a-hjkmnp-tv-z]{25}$"))
}
string_form! {
    /// The name of an owner.
    OwnerText as "OwnerName", OwnerName, expecting "1 to 64 letters, digits or any of _ . : @ -",
    parse owner_name, schema |object| object.pattern(Some("^[A-Za-z0-9_.:@-]{1,64}$"))
}
string_form! {
    /// An idempotency key within a batch.
    KeyText as "IdempotencyKey", Key, expecting "1 to 255 printable ASCII characters, no space at either end",
    parse key_text, schema |object| object.pattern(Some("^[!-~]([ -~]{0,253}[!-~])?$"))
}
string_form! {
    /// A merchant's reference.
    ReferenceText as "Reference", Reference, expecting "1 to 64 bytes of text in Unicode normalization form NFC, without control or invisible characters, and with plain spaces only, none at either end",
    parse reference, schema reference_schema
}
string_form! {
    /// An external id.
    ExternalIdText as "Reference", ExternalId, expecting "1 to 64 bytes of text in Unicode normalization form NFC, without control or invisible characters, and with plain spaces only, none at either end",
    parse external_id, schema reference_schema
}
string_form! {
    /// Correlation id of a queued payment.
    CorrelationText as "ShortText", CorrelationId, expecting "1 to 64 bytes of text without control characters",
    parse correlation_id, schema short_text_schema
}
string_form! {
    /// Purpose of an API key.
    LabelText as "ShortText", Label, expecting "1 to 64 bytes of text without control characters",
    parse label, schema short_text_schema
}
string_form! {
    /// The order key of an event.
    OrderKeyText as "ShortText", OrderKey, expecting "1 to 64 bytes of text without control characters",
    parse order_key, schema short_text_schema
}

string_form! {
    /// The type of a published event.
    TopicText as "Topic", Topic, expecting "`app.` and 1 to 8 words of a-z, 0-9, _ and - with dots between them, at most 128 bytes",
    parse topic, schema |object| object.max_length(Some(Topic::BYTES_MAX)).pattern(Some(r"^app(\.[a-z0-9_-]+){1,8}$"))
}
string_form! {
    /// Why an adjustment was made.
    ReasonText as "Reason", Reason, expecting "1 to 255 bytes of text without control characters",
    parse reason, schema |object| object.min_length(Some(1)).max_length(Some(REASON_BYTES_MAX)).pattern(Some(NO_CONTROLS))
}
string_form! {
    /// Description for people.
    DescriptionText as "Description", String, expecting "at most 1,000 bytes of text without control characters",
    parse description_text, schema |object| object.max_length(Some(DESCRIPTION_BYTES_MAX)).pattern(Some(NO_CONTROLS))
}
string_form! {
    /// A day, as days since 1970-01-01.
    DateText as "Date", i32, expecting "a date as YYYY-MM-DD, from 0001-01-01",
    parse crate::time::parse_date, schema |object| object.format(Some(SchemaFormat::KnownFormat(KnownFormat::Date)))
}
string_form! {
    /// A time, as nanoseconds since 1970.
    TimeText as "Timestamp", u64, expecting "an RFC 3339 time from 1970 to 2553, such as 2026-01-31T09:30:00Z",
    parse crate::time::parse_timestamp,
    schema |object| object.format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
}

string_form! {
    /// A currency that the ledger knows.
    CurrencyForm as "Currency", Currency, expecting "the code of an active ISO 4217 currency with a minor unit, such as EUR",
    parse currency, schema |object| object.enum_values(Some(Currency::all().map(Currency::code)))
}

fn currency(text: &str) -> Option<Currency> {
    Currency::from_code(text).ok()
}

impl AccountText {
    /// Returns the account that is meant. `param` is the field that names the account.
    pub(crate) fn find(&self, ids: &Ids, param: &str) -> Result<AccountId, ApiError> {
        ids.position_of(IdKind::Account, self.0)
            .map(AccountId)
            .ok_or_else(|| ApiError::not_found("account", param))
    }
}

fn account_text(text: &str) -> Option<[u8; 16]> {
    IdKind::Account.block(text)
}

fn payment_text(text: &str) -> Option<[u8; 16]> {
    IdKind::Payment.block(text)
}

fn subscription_text(text: &str) -> Option<[u8; 16]> {
    IdKind::Subscription.block(text)
}

fn owner_name(text: &str) -> Option<OwnerName> {
    OwnerName::new(text).ok()
}

/// Reads an idempotency key, from a header or a batch.
pub fn key_text(text: &str) -> Option<Key> {
    let printable = text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    let trimmed = text.trim_matches(' ').len() == text.len();
    let key = Key::from_bytes(text.as_bytes()).ok();
    key.filter(|_| printable && trimmed)
}

fn plain_text(text: &str, bytes_max: usize) -> Option<String> {
    (text.len() <= bytes_max && !text.chars().any(char::is_control)).then(|| text.to_owned())
}

/// Text without control characters, as the ledger keeps it: the ledger's type bounds its length.
fn ledger_text<T>(text: &str, new: fn(&str) -> Result<T, Invalid>) -> Option<T> {
    new(text)
        .ok()
        .filter(|_| !text.chars().any(char::is_control))
}

fn reference(text: &str) -> Option<Reference> {
    Reference::new(text).ok()
}

fn external_id(text: &str) -> Option<ExternalId> {
    ExternalId::new(text).ok()
}

fn correlation_id(text: &str) -> Option<CorrelationId> {
    ledger_text(text, CorrelationId::new)
}

fn label(text: &str) -> Option<Label> {
    ledger_text(text, Label::new)
}

fn order_key(text: &str) -> Option<OrderKey> {
    ledger_text(text, OrderKey::new)
}

fn reason(text: &str) -> Option<Reason> {
    ledger_text(text, Reason::new)
}

fn reference_schema(object: ObjectBuilder) -> ObjectBuilder {
    object
        .min_length(Some(1))
        .max_length(Some(REFERENCE_BYTES_MAX))
        .pattern(Some(TRIMMED))
}

fn short_text_schema(object: ObjectBuilder) -> ObjectBuilder {
    object
        .min_length(Some(1))
        .max_length(Some(REFERENCE_BYTES_MAX))
        .pattern(Some(NO_CONTROLS))
}

fn topic(text: &str) -> Option<Topic> {
    Topic::new(text).ok().filter(Topic::is_of_application)
}

fn description_text(text: &str) -> Option<String> {
    plain_text(text, DESCRIPTION_BYTES_MAX)
}

macro_rules! integer_form {
    ($(#[$doc:meta])* $name:ident as $schema:literal, $parsed:ty, min $min:expr, max $max:expr, expecting $expecting:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq)]
        pub struct $name(pub $parsed);

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<$name, D::Error> {
                struct Form;
                impl Visitor<'_> for Form {
                    type Value = $name;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($expecting)
                    }
                    fn visit_u64<E: de::Error>(self, number: u64) -> Result<$name, E> {
                        if ($min..=$max).contains(&number) {
                            return Ok($name(<$parsed>::try_from(number).expect("the bound fits the type")));
                        }
                        Err(E::custom(concat!("must be ", $expecting)))
                    }
                    fn visit_i64<E: de::Error>(self, _: i64) -> Result<$name, E> {
                        Err(E::custom(concat!("must be ", $expecting)))
                    }
                }
                deserializer.deserialize_u64(Form)
            }
        }

        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                ObjectBuilder::new()
                    .schema_type(Type::Integer)
                    .format(Some(SchemaFormat::KnownFormat(KnownFormat::Int64)))
                    .minimum(Some($min))
                    .maximum(Some($max))
                    .description(Some(concat!("Must be ", $expecting, ".")))
                    .build()
                    .into()
            }
        }

        impl ToSchema for $name {
            fn name() -> Cow<'static, str> {
                $schema.into()
            }
        }
    };
}

integer_form! {
    /// Minor units. Zero has the right form; the ledger refuses it.
    AmountForm as "Amount", u64, min 0u64, max AMOUNT_MAX,
    expecting "an integer of minor units from 0 to 9007199254740991, without fraction or exponent"
}
integer_form! {
    /// How urgent a queued payment is.
    PriorityForm as "Priority", u8, min 0u64, max 9u64,
    expecting "an integer from 0 to 9"
}
integer_form! {
    /// Hundredths of a percent.
    BasisPoints as "BasisPoints", u16, min 0u64, max BASIS_POINTS_MAX,
    expecting "an integer of basis points from 0 to 10000"
}

/// An amount in the query of a URL: digits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AmountText(pub u64);

impl<'de> Deserialize<'de> for AmountText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<AmountText, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let amount = text.parse().ok();
        let amount = amount.filter(|amount| digits && *amount <= AMOUNT_MAX);
        amount.map(AmountText).ok_or_else(|| {
            de::Error::custom("must be an integer of minor units from 0 to 9007199254740991")
        })
    }
}

/// Overdraft limit of an account.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum OverdraftForm {
    /// So many minor units.
    Limit(u64),
    /// Without a limit.
    Unlimited,
}

impl<'de> Deserialize<'de> for OverdraftForm {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<OverdraftForm, D::Error> {
        struct Form;
        const WRONG: &str =
            "must be an integer of minor units from 0 to 9007199254740991, or \"unlimited\"";
        impl Visitor<'_> for Form {
            type Value = OverdraftForm;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an integer of minor units or \"unlimited\"")
            }
            fn visit_u64<E: de::Error>(self, number: u64) -> Result<OverdraftForm, E> {
                (number <= AMOUNT_MAX)
                    .then_some(OverdraftForm::Limit(number))
                    .ok_or_else(|| E::custom(WRONG))
            }
            fn visit_i64<E: de::Error>(self, _: i64) -> Result<OverdraftForm, E> {
                Err(E::custom(WRONG))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<OverdraftForm, E> {
                (text == "unlimited")
                    .then_some(OverdraftForm::Unlimited)
                    .ok_or_else(|| E::custom(WRONG))
            }
        }
        deserializer.deserialize_any(Form)
    }
}

impl PartialSchema for OverdraftForm {
    fn schema() -> RefOr<Schema> {
        let unlimited = ObjectBuilder::new()
            .schema_type(Type::String)
            .title(Some("Unlimited"))
            .enum_values(Some(["unlimited"]));
        let overdraft = OneOfBuilder::new()
            .item(AmountForm::schema())
            .item(unlimited)
            .description(Some(
                "How far the account may go below zero: minor units, or \"unlimited\".",
            ))
            .build();
        RefOr::T(Schema::OneOf(overdraft))
    }
}

impl ToSchema for OverdraftForm {
    fn name() -> Cow<'static, str> {
        "Overdraft".into()
    }
}

/// Metadata of a caller: text by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MetadataForm(pub BTreeMap<String, String>);

impl Serialize for MetadataForm {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl Serialize for CurrencyForm {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl Serialize for OwnerText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl Serialize for TimeText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&crate::time::format_timestamp(self.0))
    }
}

impl<'de> Deserialize<'de> for MetadataForm {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<MetadataForm, D::Error> {
        struct Form;
        impl<'de> Visitor<'de> for Form {
            type Value = MetadataForm;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of strings")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<MetadataForm, A::Error> {
                let mut entries = BTreeMap::new();
                while let Some((name, value)) = map.next_entry::<String, String>()? {
                    metadata_entry(&name, &value).map_err(de::Error::custom)?;
                    if entries.insert(name, value).is_some() {
                        return Err(de::Error::custom("metadata names must differ"));
                    }
                    if entries.len() > METADATA_ENTRIES_MAX {
                        return Err(de::Error::custom("metadata must have at most 20 entries"));
                    }
                }
                Ok(MetadataForm(entries))
            }
        }
        deserializer.deserialize_map(Form)
    }
}

/// The one rule for entries of metadata; the error says it.
pub fn metadata_entry(name: &str, value: &str) -> Result<(), &'static str> {
    if name.is_empty() || plain_text(name, METADATA_KEY_BYTES_MAX).is_none() {
        return Err("metadata names must be 1 to 40 bytes of text without control characters");
    }
    if plain_text(value, METADATA_VALUE_BYTES_MAX).is_none() {
        return Err("metadata values must be at most 500 bytes of text without control characters");
    }
    Ok(())
}

impl PartialSchema for MetadataForm {
    fn schema() -> RefOr<Schema> {
        let value = ObjectBuilder::new()
            .schema_type(Type::String)
            .max_length(Some(METADATA_VALUE_BYTES_MAX))
            .pattern(Some(NO_CONTROLS))
            .build();
        let name = ObjectBuilder::new()
            .schema_type(Type::String)
            .min_length(Some(1))
            .max_length(Some(METADATA_KEY_BYTES_MAX))
            .pattern(Some(NO_CONTROLS))
            .build();
        ObjectBuilder::new()
            .schema_type(SchemaType::new(Type::Object))
            .property_names(Some(name))
            .additional_properties(Some(AdditionalProperties::RefOr(RefOr::T(value.into()))))
            .max_properties(Some(METADATA_ENTRIES_MAX))
            .description(Some(
                "Your own notes: at most 20 names of 1 to 40 bytes, each with at most 500 bytes of text.",
            ))
            .build()
            .into()
    }
}

impl ToSchema for MetadataForm {
    fn name() -> Cow<'static, str> {
        "Metadata".into()
    }
}
