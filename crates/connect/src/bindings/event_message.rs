//! What a message with an event has beside the event.

use bytes::Bytes;
use serde_json::Value;
use tributary_api::brokers::{EventFields, EventTemplate};
use tributary_api::form::body::BodyFormat;
use tributary_api::render::cloud_event::attributes;
use tributary_api::render::event::OutgoingEvent;
use tributary_api::render::facts;
use tributary_api::render::xml::xml_of_json;
use tributary_engine::Reader;
use tributary_ledger::codec::Record;

use super::order::HOPS_HEADER;
use crate::port::Adapter;

/// The attribute `source` of CloudEvents that Tributary sends.
const SOURCE: &str = "/tributary";

/// Returns the body that tells an event, and its media type: XML where `content_type` says so, else JSON.
pub(super) fn body(event: &OutgoingEvent, content_type: Option<&str>) -> (Bytes, String) {
    let wanted =
        content_type.filter(|text| BodyFormat::from_content_type(text) == Some(BodyFormat::Xml));
    match wanted.zip(wanted.and_then(|_| xml_of_json(&event.body))) {
        Some((content_type, xml)) => (xml.into(), content_type.to_owned()),
        None => (
            Bytes::copy_from_slice(&event.body),
            "application/json".to_owned(),
        ),
    }
}

/// Returns extension attributes for what streams know of an event beside its object, so that another engine can compute the same figures:
/// `sequence` and the time of the record, and of a payment who paid whom, what moved and how long it waited. Only the platform may see them.
pub(super) fn extensions(reader: &Reader, record: &Record) -> Vec<(&'static str, String)> {
    let number = |number: Option<u64>| number.map(|number| number.to_string());
    let all = [
        // As texts, too, the numbers are in order.
        ("sequence", Some(format!("{:020}", record.ctx.position))),
        ("recordedms", number(Some(facts::recorded_ms(record)))),
        ("payer", facts::payer(reader, record)),
        ("payee", facts::payee(reader, record)),
        ("amountmoved", number(facts::amount_moved(record))),
        ("waitedms", number(facts::waited_ms(record))),
    ];
    let all = all.into_iter();
    all.filter_map(|(name, value)| Some((name, value?)))
        .collect()
}

/// Headers: the attributes of CloudEvents in binary mode with `extensions`, and the count of hops.
pub(super) fn headers(
    adapter: &dyn Adapter,
    event: &OutgoingEvent,
    extensions: Vec<(&'static str, String)>,
    hops: u8,
) -> Vec<(String, Bytes)> {
    let prefix = adapter.attribute_prefix();
    let attributes = attributes(event, SOURCE).into_iter().chain(extensions);
    // In binary mode the media type is the message's own.
    let attributes = attributes.filter(|(name, _)| *name != "datacontenttype");
    let mut headers: Vec<(String, Bytes)> = attributes
        .map(|(name, value)| (format!("{prefix}{name}"), Bytes::from(value)))
        .collect();
    headers.push((HOPS_HEADER.to_owned(), Bytes::from(hops.to_string())));
    headers
}

/// Returns the text of a template for an event. A field that the event does not have is `none`.
pub(super) fn fill(template: &EventTemplate, event: &OutgoingEvent) -> String {
    let body: Value = serde_json::from_slice(&event.body).unwrap_or_default();
    let object = &body["data"]["object"];
    let or_none = |text: Option<&'_ str>| text.unwrap_or("none").to_owned();
    let currency = or_none(object["currency"].as_str());
    let owner = or_none(body["owner"].as_str().or(object["owner"].as_str()));
    template.render(EventFields {
        kind: event.event.kind(),
        object: event.subject.as_deref().unwrap_or("none"),
        currency: &currency,
        owner: &owner,
    })
}
