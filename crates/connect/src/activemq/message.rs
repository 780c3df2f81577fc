//! Messages as AMQP 1.0 has them, and as the port has them.

use bytes::Bytes;
use fe2o3_amqp::types::messaging::{
    ApplicationProperties, Data, Header, Message as AmqpMessage, MessageId, Properties,
};
use fe2o3_amqp::types::primitives::{Binary, OrderedMap, SimpleValue, Symbol, Uuid};

use super::address;
use super::wire::{self, Items, Reader, Unreadable, Value};
use crate::port::{Message, Outgoing};

/// Header of a message that could not be read. Its body is what came, as it was encoded.
pub const UNREADABLE_HEADER: &str = "x-unreadable-message";

/// How ids are written that are no text, as the mapping of JMS to AMQP has them.
const ULONG: &str = "AMQP_ULONG:";
const UUID: &str = "AMQP_UUID:";
const BINARY: &str = "AMQP_BINARY:";
const STRING: &str = "AMQP_STRING:";
/// How all of them begin.
const TYPED: &str = "AMQP_";

/// Returns a message from its bytes, of whatever they are.
pub(super) fn from_payload(token: u64, payload: Bytes) -> Message {
    read(token, &payload).unwrap_or_else(|Unreadable| Message {
        body: payload,
        headers: vec![(
            UNREADABLE_HEADER.to_owned(),
            Bytes::from_static(b"it is no AMQP 1.0, or deeper or larger than is allowed"),
        )],
        ..empty(token)
    })
}

fn empty(token: u64) -> Message {
    Message {
        token,
        body: Bytes::new(),
        content_type: None,
        headers: Vec::new(),
        message_id: None,
        broker_id: None,
        key: None,
        reply_to: None,
        correlation_id: None,
        api_key: None,
        redelivered: false,
    }
}

fn read(token: u64, payload: &Bytes) -> Result<Message, Unreadable> {
    let mut message = empty(token);
    let mut data: Vec<Bytes> = Vec::new();
    // Elements of sequences, as JSON.
    let mut sequence: Option<Vec<u8>> = None;
    let mut reader = Reader(payload);
    while !reader.is_empty() {
        let section = reader.descriptor()?;
        match (section, reader.value()?) {
            (0x70, Value::List(mut fields)) => {
                let count = fields.nth(4).transpose()?;
                message.redelivered = matches!(count, Some(Value::Unsigned(count)) if count > 0);
            }
            (0x73, Value::List(fields)) => read_properties(fields, &mut message)?,
            (0x74, Value::Map(entries)) => read_headers(entries, &mut message)?,
            (0x75, Value::Binary(bytes)) => data.push(payload.slice_ref(bytes)),
            (0x76, Value::List(elements)) => {
                let json = sequence.get_or_insert_default();
                if !json.is_empty() {
                    json.push(b',');
                }
                wire::write_elements(elements, json)?;
            }
            (0x77, Value::Null) => {}
            (0x77, value) => message.body = value.to_bytes()?.into(),
            // Annotations and footers are not for applications.
            (0x71 | 0x72 | 0x78, _) => {}
            _ => return Err(Unreadable),
        }
    }
    if let Some(mut json) = sequence {
        json.insert(0, b'[');
        json.push(b']');
        message.body = json.into();
    }
    match &data[..] {
        [] => {}
        [one] => message.body = one.clone(),
        several => message.body = several.concat().into(),
    }
    Ok(message)
}

fn read_properties(mut fields: Items<'_>, message: &mut Message) -> Result<(), Unreadable> {
    let text = |value: Value<'_>| match value {
        Value::Text(text) if !text.is_empty() => Some(text.into_owned()),
        _ => None,
    };
    message.message_id = id_to_text(&fields.field()?)?;
    let _user = fields.field()?;
    let _to = fields.field()?;
    let subject = text(fields.field()?);
    let reply_to = text(fields.field()?);
    message.reply_to = reply_to.map(|to| address::queue_name(&to).to_owned());
    message.correlation_id = id_to_text(&fields.field()?)?;
    message.content_type = text(fields.field()?);
    let encoding = text(fields.field()?);
    for (name, value) in [("subject", subject), ("content-encoding", encoding)] {
        if let Some(value) = value {
            message.headers.push((name.to_owned(), value.into()));
        }
    }
    let _expiry = fields.field()?;
    let _creation = fields.field()?;
    message.key = text(fields.field()?).map(Bytes::from);
    Ok(())
}

fn read_headers(mut entries: Items<'_>, message: &mut Message) -> Result<(), Unreadable> {
    while let Some(name) = entries.next() {
        let name = String::from_utf8_lossy(&name?.to_bytes()?).into_owned();
        let value = entries.next().ok_or(Unreadable)??;
        message.headers.push((name, value.to_bytes()?.into()));
    }
    Ok(())
}

/// Returns an id as text. One of another type says so, so that a reply can repeat it.
fn id_to_text(id: &Value<'_>) -> Result<Option<String>, Unreadable> {
    Ok(match id {
        Value::Null => None,
        Value::Text(text) if text.is_empty() => None,
        Value::Text(text) if text.starts_with(TYPED) => Some(format!("{STRING}{text}")),
        Value::Text(text) => Some(text.to_string()),
        Value::Unsigned(number) => Some(format!("{ULONG}{number}")),
        Value::Uuid(bytes) => Some(format!("{UUID}{}", wire::uuid_text(bytes))),
        Value::Binary(bytes) => Some(format!("{BINARY}{}", hex::encode_upper(bytes))),
        other => Some(String::from_utf8_lossy(&other.to_bytes()?).into_owned()),
    })
}

/// Returns the id that [`id_to_text`] was given.
fn id_from_text(text: &str) -> MessageId {
    let number = text.strip_prefix(ULONG).and_then(|rest| rest.parse().ok());
    if let Some(number) = number {
        return MessageId::Ulong(number);
    }
    let uuid = text.strip_prefix(UUID).and_then(|rest| {
        let mut bytes = [0; 16];
        hex::decode_to_slice(rest.replace('-', ""), &mut bytes).ok()?;
        Some(bytes)
    });
    if let Some(uuid) = uuid {
        return MessageId::Uuid(Uuid::from(uuid));
    }
    let binary = text.strip_prefix(BINARY);
    if let Some(binary) = binary.and_then(|rest| hex::decode(rest).ok()) {
        return MessageId::Binary(Binary::from(binary));
    }
    MessageId::String(text.strip_prefix(STRING).unwrap_or(text).to_owned())
}

/// Returns how a message is sent: to last until it is read.
pub(super) fn to_amqp(message: &Outgoing) -> AmqpMessage<Data> {
    let mut properties = Properties::new();
    if !message.message_id.is_empty() {
        properties.message_id = Some(MessageId::String(message.message_id.clone()));
    }
    if !message.content_type.is_empty() {
        properties.content_type = Some(Symbol::from(message.content_type.as_str()));
    }
    properties.subject = message.address.routing_key.clone();
    properties.correlation_id = message.correlation_id.as_deref().map(id_from_text);
    let mut headers = OrderedMap::new();
    for (name, value) in &message.headers {
        let value = match std::str::from_utf8(value) {
            Ok(text) => SimpleValue::String(text.to_owned()),
            Err(_) => SimpleValue::Binary(Binary::from(value.to_vec())),
        };
        headers.insert(name.clone(), value);
    }
    AmqpMessage::builder()
        .header(Header {
            durable: true,
            ..Header::default()
        })
        .properties(properties)
        .application_properties(ApplicationProperties(headers))
        .data(Binary::from(message.body.to_vec()))
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(code: u8, value: &[u8]) -> Vec<u8> {
        [&[0x00, 0x53, code], value].concat()
    }

    fn of(sections: &[Vec<u8>]) -> Message {
        from_payload(7, sections.concat().into())
    }

    fn compound(code: u8, count: u8, inner: &[u8]) -> Vec<u8> {
        [&[code, inner.len() as u8 + 1, count], inner].concat()
    }

    #[track_caller]
    fn check_body(sections: &[Vec<u8>], expected: &[u8]) {
        let message = of(sections);
        assert_eq!(&message.body[..], expected);
        assert!(message.headers.is_empty(), "{:?}", message.headers);
    }

    #[test]
    fn bodies_of_every_kind_are_taken() {
        check_body(&[section(0x75, b"\xa0\x02{}")], b"{}");
        check_body(
            &[section(0x75, b"\xa0\x02{ "), section(0x75, b"\xa0\x01}")],
            b"{ }",
        );
        check_body(&[section(0x77, b"\xa1\x02{}")], b"{}");
        check_body(&[section(0x77, b"\xa0\x02\xff\x00")], b"\xff\x00");
        check_body(&[section(0x77, b"\x40")], b"");
        check_body(&[], b"");
        let map = compound(0xc1, 2, b"\xa1\x06amount\x52\x64");
        check_body(&[section(0x77, &map)], b"{\"amount\":100}");
        let list = compound(0xc0, 1, b"\x52\x01");
        check_body(&[section(0x76, &list), section(0x76, &list)], b"[1,1]");
        check_body(&[section(0x76, b"\x45")], b"[]");
        // A sender may name a section in place of its number.
        let named = [b"\x00\xa3\x10amqp:data:binary\xa0\x01x".to_vec()];
        check_body(&named, b"x");
    }

    #[test]
    fn properties_and_headers_are_taken() {
        let properties = [
            &b"\xa1\x02id\x40\x40\xa1\x01s\xa1\x0fqueue://replies"[..],
            b"\x53\x09\xa3\x10application/json\xa3\x04gzip\x40\x40\xa1\x05group",
        ];
        let headers = b"\xa1\x01t\xa1\x01x\xa1\x01n\x54\xff\xa1\x01b\xa0\x01\xff\xa1\x01u\x40";
        let message = of(&[
            section(0x70, &compound(0xc0, 5, b"\x41\x50\x04\x40\x42\x52\x02")),
            section(0x72, &compound(0xc1, 2, b"\xa3\x01a\x41")),
            section(0x73, &compound(0xc0, 11, &properties.concat())),
            section(0x74, &compound(0xc1, 8, headers)),
            section(0x75, b"\xa0\x01x"),
            section(0x78, &compound(0xc1, 0, b"")),
        ]);
        assert!(message.redelivered);
        assert_eq!(message.message_id.as_deref(), Some("id"));
        assert_eq!(message.reply_to.as_deref(), Some("replies"));
        assert_eq!(message.correlation_id.as_deref(), Some("AMQP_ULONG:9"));
        assert_eq!(message.content_type.as_deref(), Some("application/json"));
        assert_eq!(message.key.as_deref(), Some(&b"group"[..]));
        let expected: [(&str, &[u8]); 6] = [
            ("subject", b"s"),
            ("content-encoding", b"gzip"),
            ("t", b"x"),
            ("n", b"-1"),
            ("b", b"\xff"),
            ("u", b"null"),
        ];
        let headers = message.headers.iter();
        let headers: Vec<_> = headers
            .map(|(name, value)| (&name[..], &value[..]))
            .collect();
        assert_eq!(headers, expected);
    }

    #[test]
    fn what_can_t_be_read_is_kept_as_it_is() {
        let deep = (0..20).fold(vec![0x40], |inner, _| compound(0xc0, 1, &inner));
        for unreadable in [
            b"plain bytes".to_vec(),
            section(0x75, b"\xa0\x09x"),
            section(0x75, b"\xa1\x01x"),
            section(0x79, b"\x40"),
            section(0x77, &deep),
            section(0x74, &compound(0xc1, 1, b"\xa1\x01t")),
        ] {
            let message = of(std::slice::from_ref(&unreadable));
            assert_eq!(message.body, unreadable);
            assert_eq!(message.headers[0].0, UNREADABLE_HEADER);
        }
    }

    #[test]
    fn ids_of_every_type_go_back_as_they_came() {
        let bytes = [0xab; 16];
        let cases = [
            (Value::Text("a".into()), MessageId::String("a".to_owned())),
            (
                Value::Text("AMQP_ULONG:x".into()),
                MessageId::String("AMQP_ULONG:x".to_owned()),
            ),
            (Value::Unsigned(u64::MAX), MessageId::Ulong(u64::MAX)),
            (Value::Uuid(bytes), MessageId::Uuid(Uuid::from(bytes))),
            (
                Value::Binary(b"\x00\xff"),
                MessageId::Binary(Binary::from(vec![0x00, 0xff])),
            ),
        ];
        for (value, expected) in cases {
            let text = id_to_text(&value).expect("it is shallow");
            assert_eq!(id_from_text(&text.expect("it is there")), expected);
        }
        let none = [Value::Null, Value::Text("".into())];
        assert!(none.iter().all(|id| id_to_text(id) == Ok(None)));
    }
}
