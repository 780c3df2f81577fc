//! Messages as Kafka has them, and as the port has them.
//!
//! Kafka knows a key, a body and headers. What else a message has is in headers: those of Spring Kafka and of CloudEvents, and where
//! these name none, `message_id`, `correlation_id` and `reply_to`.

use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use rdkafka::Message as _;
use rdkafka::message::{BorrowedHeaders, BorrowedMessage, Header, Headers, OwnedHeaders};

use crate::port::{Message, Outgoing};

/// Header of a message whose headers could not be read, or were too many.
pub const UNREADABLE_HEADER: &str = "x-unreadable-headers";

/// Maximum number of headers of a message that are taken in.
const HEADERS_MAX: usize = 256;
/// Maximum size of the headers of a message that are taken in, in bytes.
const HEADERS_BYTES_MAX: usize = 64 * 1024;

/// Media type of the body, as the binding of CloudEvents to Kafka names it.
const CONTENT_TYPE: &str = "content-type";
/// The same as Spring Cloud Stream names it, which has written it with quotation marks.
const CONTENT_TYPE_OF_SPRING: &str = "contentType";
const MESSAGE_ID: &str = "message_id";
const CORRELATION_ID: &str = "correlation_id";
const CORRELATION_ID_OF_SPRING: &str = "kafka_correlationId";
const REPLY_TO: &str = "reply_to";
const REPLY_TO_OF_SPRING: &str = "kafka_replyTopic";

/// How a text begins that stands for bytes that are no text.
const HEX: &str = "hex:";

/// Returns a record as a message. Its token is still to be given.
pub(super) fn from_record(record: &BorrowedMessage<'_>) -> Message {
    let mut message = Message {
        token: 0,
        body: Bytes::copy_from_slice(record.payload().unwrap_or_default()),
        content_type: None,
        headers: Vec::new(),
        message_id: None,
        // An offset would name another message when the topic was deleted and made again.
        broker_id: None,
        key: record.key().map(Bytes::copy_from_slice),
        reply_to: None,
        correlation_id: None,
        api_key: None,
        redelivered: false,
    };
    if let Some(headers) = record.headers()
        && let Err(why) = read_headers(headers, &mut message)
    {
        message.headers.clear();
        let why = Bytes::from_static(why.as_bytes());
        message.headers.push((UNREADABLE_HEADER.to_owned(), why));
    }
    message
}

/// Puts headers where they belong. The last one of a name counts, as in Kafka's own clients.
fn read_headers(headers: &BorrowedHeaders, message: &mut Message) -> Result<(), &'static str> {
    let count = headers.count();
    if count > HEADERS_MAX {
        return Err("it has too many headers");
    }
    let mut bytes = 0;
    for index in 0..count {
        let header = read_header(headers, index).ok_or("a header has a name that is no UTF-8")?;
        let value = header.value.unwrap_or_default();
        bytes += header.key.len() + value.len();
        if bytes > HEADERS_BYTES_MAX {
            return Err("its headers are too large");
        }
        let lossy = || String::from_utf8_lossy(value).into_owned();
        match header.key {
            CONTENT_TYPE => message.content_type = Some(lossy()),
            CONTENT_TYPE_OF_SPRING => {
                message.content_type = Some(lossy().trim_matches('"').to_owned());
            }
            MESSAGE_ID => message.message_id = Some(text_of(value)),
            CORRELATION_ID | CORRELATION_ID_OF_SPRING => {
                message.correlation_id = Some(text_of(value));
            }
            REPLY_TO | REPLY_TO_OF_SPRING => message.reply_to = Some(lossy()),
            name => message
                .headers
                .push((name.to_owned(), Bytes::copy_from_slice(value))),
        }
    }
    Ok(())
}

/// Returns a header; none if its name is not UTF-8. At such a name rdkafka panics, and whoever may publish decides what names are.
fn read_header(headers: &BorrowedHeaders, index: usize) -> Option<Header<'_, &[u8]>> {
    catch_unwind(AssertUnwindSafe(|| headers.try_get(index))).unwrap_or(None)
}

/// Returns bytes as a text from which they can be made again. Spring's correlation ids are the 16 bytes of a UUID.
fn text_of(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.starts_with(HEX) => text.to_owned(),
        _ => format!("{HEX}{}", hex::encode(bytes)),
    }
}

/// Returns the bytes for which a text stands.
fn bytes_of(text: &str) -> Cow<'_, [u8]> {
    match text.strip_prefix(HEX).map(hex::decode) {
        Some(Ok(bytes)) => bytes.into(),
        _ => text.as_bytes().into(),
    }
}

/// Returns the headers of a message that goes out.
pub(super) fn to_headers(message: &Outgoing) -> OwnedHeaders {
    let mut parts: Vec<(&str, Cow<'_, [u8]>)> = Vec::with_capacity(message.headers.len() + 4);
    if !message.content_type.is_empty() {
        parts.push((CONTENT_TYPE, message.content_type.as_bytes().into()));
    }
    if !message.message_id.is_empty() {
        parts.push((MESSAGE_ID, bytes_of(&message.message_id)));
    }
    if let Some(id) = &message.correlation_id {
        parts.push((CORRELATION_ID, bytes_of(id)));
        parts.push((CORRELATION_ID_OF_SPRING, bytes_of(id)));
    }
    let others = message.headers.iter();
    parts.extend(others.map(|(name, value)| (name.as_str(), value[..].into())));
    let headers = OwnedHeaders::new_with_capacity(parts.len());
    parts.iter().fold(headers, |headers, (key, value)| {
        let value: Option<&[u8]> = Some(value);
        headers.insert(Header { key, value })
    })
}

#[cfg(test)]
mod tests {
    use super::{bytes_of, text_of};

    #[test]
    fn every_id_comes_back_as_the_same_bytes() {
        let ids: [&[u8]; 6] = [
            b"",
            b"order-1",
            b"hex:",
            b"hex:zz",
            b"hex:00ff",
            &[
                0xff, 0, 0x80, 7, 0xff, 0, 0x80, 7, 0xff, 0, 0x80, 7, 0xff, 0, 0x80, 7,
            ],
        ];
        for id in ids {
            assert_eq!(*bytes_of(&text_of(id)), *id);
        }
        assert_eq!(text_of(b"order-1"), "order-1");
        assert_eq!(text_of(&[0xff, 1]), "hex:ff01");
    }
}
