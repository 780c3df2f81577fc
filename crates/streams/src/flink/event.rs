//! The events of a topic as columns of a table of Flink: what the messages of a sink to Kafka hold, and where.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use tributary_api::streaming::FieldType;

use super::text::identifier;
use crate::driver::fields::EventField;
use crate::expression::{NotInSql, Type};

/// Header with the time of the record in milliseconds: only messages of the platform's subscriptions have it.
pub(super) const RECORDED: &str = "ce_recordedms";
/// Header with the position of the record, in 20 digits.
pub(super) const SEQUENCE: &str = "ce_sequence";
/// Digits of a position.
pub(super) const SEQUENCE_DIGITS: usize = 20;
/// Header that counts the systems that an event went through.
const HOPS: &str = "tributary-hops";

/// What the events of a type are about, as their messages show it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum About {
    Payment,
    Refund,
    /// A command that was refused.
    Refusal,
    /// What a caller or a stream published.
    Published,
    Other,
}

impl About {
    pub(super) fn new(event_type: &str) -> About {
        let is_payment = event_type.starts_with("payment.") || event_type.starts_with("payout.");
        match event_type {
            "payment.refunded" | "payment.partially_refunded" => About::Refund,
            "payment.labelled" => About::Other,
            _ if is_payment && event_type.ends_with("_refused") => About::Refusal,
            _ if is_payment => About::Payment,
            _ if ["app.", "stream.", "security."]
                .iter()
                .any(|of| event_type.starts_with(of)) =>
            {
                About::Published
            }
            _ => About::Other,
        }
    }

    /// Returns a condition that leaves out what streams caused.
    pub(super) fn not_of_streams(self) -> Option<String> {
        match self {
            About::Published | About::Other => Some(format!("({} = '0')", header(HOPS))),
            _ => None,
        }
    }
}

/// Returns the text of a header.
pub(super) fn header(name: &str) -> String {
    format!("CAST(`headers`['{name}'] AS STRING)")
}

/// Returns the number in a header.
pub(super) fn header_number(name: &str) -> String {
    format!("CAST({} AS BIGINT)", header(name))
}

fn missing(kind: Type) -> String {
    let kind = match kind {
        Type::Int => "BIGINT",
        Type::StringMap => "MAP<STRING, STRING>",
        Type::Bool => "BOOLEAN",
        _ => "STRING",
    };
    format!("CAST(NULL AS {kind})")
}

/// A column, or what is in one.
enum Content {
    Leaf(&'static str),
    Row(BTreeMap<String, Content>),
}

/// The columns that are used, as the messages have them.
#[derive(Default)]
pub(super) struct Columns(BTreeMap<String, Content>);

impl Columns {
    /// Returns the SQL of a field of the events of a type; NULL where it is missing.
    pub(super) fn field(
        &mut self,
        event_type: &str,
        path: &str,
        kind: Type,
        field: EventField,
    ) -> Result<String, NotInSql> {
        let about = About::new(event_type);
        match field {
            EventField::EventType => return self.leaf("type", "STRING"),
            EventField::Created => return Ok(header_number(RECORDED)),
            _ => {}
        }
        let refused = || {
            Err(NotInSql::new(
                format!("messages with {event_type} do not hold `{path}`"),
                "leave the field or the type out",
            ))
        };
        let object = |name: &str| format!("data.object.{name}");
        match (about, field) {
            (About::Published, EventField::Owner) => self.leaf("owner", "STRING"),
            (About::Published, EventField::OrderKey) => self.leaf("key", "STRING"),
            (About::Published, _) | (_, EventField::OrderKey) => Ok(missing(kind)),
            (About::Other, _) | (_, EventField::Label) => refused(),
            (_, EventField::Failure) => self.leaf("data.failure.code", "STRING"),
            (About::Refusal, EventField::Payment) => self.leaf(&object("payment"), "STRING"),
            (About::Refusal, _) => refused(),
            (_, EventField::AmountMoved) => Ok(header_number("ce_amountmoved")),
            (_, EventField::Waited) => Ok(header_number("ce_waitedms")),
            (_, EventField::Payer) => Ok(header("ce_payer")),
            (_, EventField::Payee) => Ok(header("ce_payee")),
            (_, EventField::Amount) => self.leaf(&object("amount"), "BIGINT"),
            (_, EventField::Currency) => self.leaf(&object("currency"), "STRING"),
            (_, EventField::Description) => self.leaf(&object("description"), "STRING"),
            (_, EventField::Metadata) => self.leaf(&object("metadata"), "MAP<STRING, STRING>"),
            (About::Refund, EventField::Payment) => self.leaf(&object("payment"), "STRING"),
            (About::Refund, EventField::Status) => self.leaf(&object("payment_status"), "STRING"),
            (About::Refund, EventField::AmountRefunded) => {
                self.leaf(&object("payment_amount_refunded"), "BIGINT")
            }
            (About::Refund, _) => refused(),
            (_, EventField::Payment) => self.payment(),
            (_, EventField::AmountRefunded) => {
                let returned = self.leaf(&object("amount_returned"), "BIGINT")?;
                let refunded = self.leaf(&object("amount_refunded"), "BIGINT")?;
                Ok(format!("COALESCE({returned}, {refunded})"))
            }
            (_, EventField::AmountHeld | EventField::AmountCaptured) => {
                self.leaf(&object(path), "BIGINT")
            }
            (_, EventField::Destination) => {
                let splits = self.leaf(&object("splits"), "ARRAY<ROW<`account` STRING>>")?;
                Ok(format!("{splits}[1].`account`"))
            }
            _ => self.leaf(&object(path), "STRING"),
        }
    }

    /// The id of the payment, which a refused payment without an object does not have as its own.
    fn payment(&mut self) -> Result<String, NotInSql> {
        let kind = self.leaf("data.object.object", "STRING")?;
        let own = self.leaf("data.object.id", "STRING")?;
        let named = self.leaf("data.object.payment", "STRING")?;
        Ok(format!(
            "(CASE WHEN {kind} = 'payment' THEN {own} ELSE {named} END)"
        ))
    }

    /// Returns the SQL of a field within the data of published events.
    pub(super) fn published(
        &mut self,
        event_type: &str,
        path: &str,
        kind: FieldType,
    ) -> Result<String, NotInSql> {
        if About::new(event_type) != About::Published {
            return Ok(missing(match kind {
                FieldType::Boolean => Type::Bool,
                FieldType::Integer => Type::Int,
                FieldType::String => Type::String,
            }));
        }
        // As text, since Flink would read 1.5 as the integer 1.
        let text = self.leaf(&format!("data.{path}"), "STRING")?;
        Ok(match kind {
            FieldType::String => text,
            FieldType::Boolean => {
                format!("(CASE {text} WHEN 'true' THEN TRUE WHEN 'false' THEN FALSE END)")
            }
            FieldType::Integer => format!(
                "(CASE WHEN REGEXP({text}, '\\A(0|-?[1-9][0-9]*)\\z') THEN TRY_CAST({text} AS BIGINT) END)"
            ),
        })
    }

    /// Adds a column, by its path in the message. Returns its SQL.
    pub(super) fn leaf(&mut self, path: &str, kind: &'static str) -> Result<String, NotInSql> {
        let taken = || {
            NotInSql::new(
                format!("the messages have different things at `{path}`"),
                "count the events of callers and those of payments in two streams",
            )
        };
        let (groups, name) = match path.rsplit_once('.') {
            Some((groups, name)) => (groups.split('.').collect(), name),
            None => (Vec::new(), path),
        };
        let mut columns = &mut self.0;
        for group in groups {
            let content = columns
                .entry(group.to_owned())
                .or_insert_with(|| Content::Row(BTreeMap::new()));
            match content {
                Content::Row(row) => columns = row,
                Content::Leaf(_) => return Err(taken()),
            }
        }
        match columns
            .entry(name.to_owned())
            .or_insert(Content::Leaf(kind))
        {
            Content::Leaf(known) if *known == kind => {}
            _ => return Err(taken()),
        }
        let names = path.split('.').map(identifier);
        Ok(names.collect::<Vec<_>>().join("."))
    }

    /// Returns the columns for a `CREATE TABLE`, each with a comma and on a line.
    pub(super) fn declared(&self) -> String {
        let mut text = String::new();
        for (name, content) in &self.0 {
            let _never_fails = writeln!(text, "  {} {},", identifier(name), content.kind());
        }
        text
    }
}

impl Content {
    fn kind(&self) -> String {
        match self {
            Content::Leaf(kind) => (*kind).to_owned(),
            Content::Row(row) => {
                let fields = row
                    .iter()
                    .map(|(name, content)| format!("{} {}", identifier(name), content.kind()));
                format!("ROW<{}>", fields.collect::<Vec<_>>().join(", "))
            }
        }
    }
}
