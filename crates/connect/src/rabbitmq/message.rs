//! Messages as AMQP 0-9-1 has them, and as the port has them.

use bytes::Bytes;
use lapin::BasicProperties;
use lapin::message::Delivery;
use lapin::types::{AMQPValue, ByteArray, FieldTable, LongString, ShortString};
use serde_json::Value;

use super::server::NAME_BYTES_MAX;
use crate::port::{Message, Outgoing};

/// The message survives a restart of the broker.
const PERSISTENT: u8 = 2;
/// Maximum depth of tables in a header that is shown as JSON.
const TABLE_DEPTH_MAX: usize = 16;

/// Returns a delivery as a message. Its token is its delivery tag.
pub(super) fn from_delivery(delivery: Delivery) -> Message {
    let properties = &delivery.properties;
    let text = |property: &Option<ShortString>| property.as_ref().map(ToString::to_string);
    let mut headers: Vec<(String, Bytes)> = Vec::new();
    if let Some(table) = properties.headers() {
        headers.extend(
            table
                .into_iter()
                .map(|(name, value)| (name.to_string(), bytes(value))),
        );
    }
    if let Some(encoding) = text(properties.content_encoding()) {
        headers.push(("content-encoding".to_owned(), Bytes::from(encoding)));
    }
    Message {
        token: delivery.delivery_tag,
        content_type: text(properties.content_type()),
        headers,
        message_id: text(properties.message_id()),
        broker_id: None,
        key: None,
        reply_to: text(properties.reply_to()),
        correlation_id: text(properties.correlation_id()),
        api_key: None,
        redelivered: delivery.redelivered,
        body: Bytes::from(delivery.data),
    }
}

/// A value of a header: text and bytes as they are, numbers and the like as JSON.
fn bytes(value: &AMQPValue) -> Bytes {
    match value {
        AMQPValue::LongString(text) => Bytes::copy_from_slice(text.as_bytes()),
        AMQPValue::ByteArray(bytes) => Bytes::copy_from_slice(bytes.as_slice()),
        value => Bytes::from(json(value, 0).to_string()),
    }
}

fn json(value: &AMQPValue, depth: usize) -> Value {
    match value {
        AMQPValue::Boolean(value) => (*value).into(),
        AMQPValue::ShortShortInt(value) => (*value).into(),
        AMQPValue::ShortShortUInt(value) => (*value).into(),
        AMQPValue::ShortInt(value) => (*value).into(),
        AMQPValue::ShortUInt(value) => (*value).into(),
        AMQPValue::LongInt(value) => (*value).into(),
        AMQPValue::LongUInt(value) => (*value).into(),
        AMQPValue::LongLongInt(value) => (*value).into(),
        AMQPValue::Timestamp(value) => (*value).into(),
        AMQPValue::Float(value) => (*value).into(),
        AMQPValue::Double(value) => (*value).into(),
        AMQPValue::DecimalValue(value) => format!("{}e-{}", value.value, value.scale).into(),
        AMQPValue::ShortString(text) => text.as_str().into(),
        AMQPValue::LongString(text) => text.to_string().into(),
        AMQPValue::ByteArray(bytes) => String::from_utf8_lossy(bytes.as_slice()).into(),
        AMQPValue::FieldArray(_) | AMQPValue::FieldTable(_) if depth == TABLE_DEPTH_MAX => {
            Value::Null
        }
        AMQPValue::FieldArray(values) => values
            .as_slice()
            .iter()
            .map(|value| json(value, depth + 1))
            .collect(),
        AMQPValue::FieldTable(table) => table
            .into_iter()
            .map(|(name, value)| (name.to_string(), json(value, depth + 1)))
            .collect(),
        AMQPValue::Void => Value::Null,
    }
}

/// A message as it is published.
pub(super) struct Published {
    pub(super) exchange: ShortString,
    pub(super) routing_key: ShortString,
    pub(super) properties: BasicProperties,
}

/// Returns how a message is published.
///
/// # Errors
/// What about it is longer than AMQP allows.
pub(super) fn to_published(message: &Outgoing) -> Result<Published, String> {
    let address = &message.address;
    let mut headers = FieldTable::default();
    for (name, value) in &message.headers {
        let value = match std::str::from_utf8(value) {
            Ok(text) => AMQPValue::LongString(LongString::from(text)),
            Err(_) => AMQPValue::ByteArray(ByteArray::from(&value[..])),
        };
        headers.insert(short("the name of a header", name)?, value);
    }
    let mut properties = BasicProperties::default()
        .with_delivery_mode(PERSISTENT)
        .with_content_type(short("the content type", &message.content_type)?)
        .with_message_id(short("the message id", &message.message_id)?)
        .with_headers(headers);
    if let Some(id) = &message.correlation_id {
        properties = properties.with_correlation_id(short("the correlation id", id)?);
    }
    Ok(Published {
        exchange: short("the name of the exchange", &address.destination)?,
        routing_key: short(
            "the routing key",
            address.routing_key.as_deref().unwrap_or(""),
        )?,
        properties,
    })
}

fn short(what: &str, text: &str) -> Result<ShortString, String> {
    ShortString::try_new(text).map_err(|_| {
        format!(
            "{what} has {} bytes; AMQP allows {}",
            text.len(),
            NAME_BYTES_MAX
        )
    })
}
