//! The reply to a message: the event of the record that decided it, sent to where the message asked for.

use tributary_api::render::event::outgoing_event;
use tributary_engine::{Failure, Reader};
use tributary_ledger::codec::Record;
use tributary_ledger::{Body, Origin, PaymentId, ReplyAddress};

use super::event_message::{body, headers};
use crate::port::{Adapter, Outgoing};

/// Records of a payment that are looked through for its result: the order, updates while it waited, and the result.
const RECORDS_READ_MAX: usize = 64;

/// The record that the reply to an order tells of.
pub(super) enum Outcome {
    /// It stands at this position.
    At(u64),
    /// The order is still queued.
    Pending,
}

/// Returns where the result of the order in `record` stands.
pub(super) fn result_of(reader: &Reader, record: &Record) -> Result<Outcome, Failure> {
    let position = record.ctx.position;
    let payment = record.outcome.payment.as_ref();
    let is_queued = matches!(record.command.body, Body::Pay(_))
        && payment.is_some_and(|payment| payment.queue.is_some());
    if !is_queued {
        return Ok(Outcome::At(position));
    }
    let (records, _) = reader.payment_records(PaymentId(position), position, RECORDS_READ_MAX)?;
    let ends = |record: &&Record| match record.command.body {
        Body::Run(_) => true,
        Body::Void(_) | Body::Expire(_) => record.outcome.is_accepted(),
        _ => false,
    };
    let end = records.iter().find(ends);
    Ok(end.map_or(Outcome::Pending, |record| Outcome::At(record.ctx.position)))
}

/// Returns the order whose result stands in `record`, and which asked for a reply.
pub(super) fn order_of(reader: &Reader, record: Record) -> Result<Record, Failure> {
    let payment = match &record.command.body {
        Body::Run(payment) | Body::Void(payment) | Body::Expire(payment) => *payment,
        _ => return Ok(record),
    };
    // The payment's first record is the order.
    let order = reader.record(payment.0)?;
    Ok(order.unwrap_or(record))
}

/// Returns the reply that tells the event at `position` to `address`, in the form that `content_type` says.
///
/// # Errors
/// A sentence that says why the event can't be read.
pub(super) fn reply(
    reader: &Reader,
    adapter: &dyn Adapter,
    address: &ReplyAddress,
    origin: &Origin,
    position: u64,
    content_type: Option<&str>,
) -> Result<Outgoing, String> {
    let event = outgoing_event(reader, position)?;
    let (body, content_type) = body(&event, content_type);
    Ok(Outgoing {
        address: adapter.address(address.to()),
        key: event.subject.clone(),
        headers: headers(adapter, &event, Vec::new(), origin.hops()),
        content_type,
        message_id: event.event.id().to_owned(),
        correlation_id: address.correlation_id().map(str::to_owned),
        body,
    })
}
