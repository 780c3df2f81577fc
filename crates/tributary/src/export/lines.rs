//! Exports the books line by line: JSON per record, CSV per posting. A positive amount is a credit to the account.

use std::io::Write;

use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tributary_engine::{IdKind, Ids};
use tributary_ledger::codec::Record;
use tributary_ledger::{Body, Data, Text};

use super::entry::{Accounts, Entry, date, effective_day};
use crate::amount::decimal;
use crate::spreadsheet::safe_cell;

/// Returns the description and the metadata of a record as the author wrote them; null if they cannot be read.
pub(super) fn notes(record: &Record) -> Value {
    let text = record
        .command
        .text
        .as_ref()
        .filter(|text| text.scheme() == Text::PLAIN);
    text.and_then(|text| serde_json::from_slice(text.as_bytes()).ok())
        .unwrap_or(Value::Null)
}

/// A line. Published data is copied byte for byte; null if it cannot be read.
#[derive(Serialize)]
struct Line {
    #[serde(flatten)]
    line: Value,
    #[serde(flatten)]
    published: Option<Published>,
}

#[derive(Serialize)]
struct Published {
    key: Option<String>,
    data: Box<RawValue>,
}

fn published(record: &Record) -> Option<Published> {
    let Body::Publish(publish) = &record.command.body else {
        return None;
    };
    let plain = Some(publish.data.as_bytes()).filter(|_| publish.data.scheme() == Data::PLAIN);
    Some(Published {
        key: publish.key.as_ref().map(ToString::to_string),
        data: plain
            .and_then(|bytes| serde_json::from_slice(bytes).ok())
            .unwrap_or_else(|| RawValue::NULL.to_owned()),
    })
}

/// Writes a record as JSON.
pub(super) fn json(
    out: &mut dyn Write,
    record: &Record,
    event: &str,
    ids: &Ids,
) -> anyhow::Result<()> {
    let postings: Vec<Value> = record
        .outcome
        .legs
        .iter()
        .map(|leg| {
            json!({
                "account": ids.encode(IdKind::Account, leg.account.0),
                "currency": leg.currency.code(),
                "amount": leg.amount,
                "balance": leg.posted_after,
                "held": leg.held_after,
            })
        })
        .collect();
    let notes = notes(record);
    let line = json!({
        "position": record.ctx.position,
        "id": ids.encode(IdKind::Event, record.ctx.position),
        "type": event,
        "created": time(record.ctx.timestamp),
        "effective_at": date(effective_day(record)),
        "idempotency_key": String::from_utf8_lossy(record.command.key.as_bytes()),
        "payment": record.outcome.payment.as_ref().map(|payment| ids.encode(IdKind::Payment, payment.id.0)),
        "status": record.outcome.payment.as_ref().map(|payment| payment.status.name()),
        "refused": record.outcome.rejection.map(|rejection| rejection.code()),
        "description": notes["description"],
        "metadata": notes["metadata"],
        "postings": postings,
    });
    let line = Line {
        line,
        published: published(record),
    };
    serde_json::to_writer(&mut *out, &line)?;
    writeln!(out)?;
    Ok(())
}

/// Writes the names of the columns.
pub(super) fn csv_head(out: &mut dyn Write) -> anyhow::Result<()> {
    let columns = "position,created,effective_at,event,payment,kind,account,owner,external_id,currency,amount,amount_minor,\
                   balance_minor,counterparties,counterparty_owners,reference,description";
    writeln!(out, "{columns}")?;
    Ok(())
}

/// Writes one line for each posting of a record.
pub(super) fn csv_rows(
    out: &mut dyn Write,
    accounts: &Accounts,
    record: &Record,
    entry: &Entry,
) -> anyhow::Result<()> {
    let mut rows = csv::WriterBuilder::new().from_writer(out);
    for leg in record.outcome.legs.iter().filter(|leg| leg.amount != 0) {
        let account = &accounts[&leg.account.0];
        // Where the money came from or went to. Neither ids nor names of owners have blanks.
        let others = record.outcome.legs.iter();
        let others = others.filter(|other| other.amount.signum() == -leg.amount.signum());
        let (ids, owners): (Vec<_>, Vec<_>) = others
            .map(|other| &accounts[&other.account.0])
            .map(|other| (other.id.as_str(), other.owner.as_str()))
            .unzip();
        rows.write_record([
            &record.ctx.position.to_string(),
            &time(record.ctx.timestamp),
            &date(entry.day),
            &entry.event,
            &entry.payment,
            entry.kind,
            &account.id,
            &*safe_cell(&account.owner),
            &*safe_cell(account.external_id.as_deref().unwrap_or("")),
            account.currency,
            &decimal(leg.amount.into(), account.exponent),
            &leg.amount.to_string(),
            &leg.posted_after.to_string(),
            &ids.join(" "),
            &*safe_cell(&owners.join(" ")),
            &*safe_cell(entry.reference.as_deref().unwrap_or("")),
            &*safe_cell(entry.description.as_deref().unwrap_or("")),
        ])?;
    }
    rows.flush()?;
    Ok(())
}

/// Formats nanoseconds since the Unix epoch by RFC 3339.
fn time(nanos: u64) -> String {
    jiff::Timestamp::from_nanosecond(nanos.into())
        .map_or_else(|_| nanos.to_string(), |time| time.to_string())
}
