//! Messages as entries of streams, and as the port has them.

use bytes::Bytes;
use redis::Value;

use crate::port::{Message, Outgoing};

/// Header of a message whose other fields are too many or too large.
pub const UNREADABLE_HEADER: &str = "x-unreadable-properties";
/// Maximum size of all headers of a message, in bytes.
const HEADERS_BYTES_MAX: usize = 32 * 1024;
/// Maximum number of headers of a message.
const HEADERS_MAX: usize = 256;

const BODY: &str = "body";
const CONTENT_TYPE: &str = "content_type";
const MESSAGE_ID: &str = "message_id";
const CORRELATION_ID: &str = "correlation_id";
const REPLY_TO: &str = "reply_to";
const KEY: &str = "key";
const ROUTING_KEY: &str = "routing_key";
/// Fields that are no headers.
const OURS: [&str; 7] = [
    BODY,
    CONTENT_TYPE,
    MESSAGE_ID,
    CORRELATION_ID,
    REPLY_TO,
    KEY,
    ROUTING_KEY,
];

/// An entry of a stream.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    pub(super) id: String,
    /// Names and values, in order. None if the entry was deleted.
    pub(super) fields: Option<Vec<(Vec<u8>, Vec<u8>)>>,
}

impl Entry {
    /// Reads a list of entries. None if it is none.
    pub(super) fn parse_all(value: Value) -> Option<Vec<Entry>> {
        match value {
            Value::Nil => Some(Vec::new()),
            Value::Array(entries) => entries.into_iter().map(Entry::parse).collect(),
            _ => None,
        }
    }

    fn parse(value: Value) -> Option<Entry> {
        let Value::Array(parts) = value else {
            return None;
        };
        let [id, fields] = <[Value; 2]>::try_from(parts).ok()?;
        let Value::BulkString(id) = id else {
            return None;
        };
        let fields = match fields {
            Value::Nil => None,
            Value::Array(parts) => {
                let mut parts = parts.into_iter();
                let mut fields = Vec::with_capacity(parts.len() / 2);
                while let Some(name) = parts.next() {
                    match (name, parts.next()?) {
                        (Value::BulkString(name), Value::BulkString(value)) => {
                            fields.push((name, value))
                        }
                        _ => return None,
                    }
                }
                Some(fields)
            }
            _ => return None,
        };
        Some(Entry {
            id: String::from_utf8(id).ok()?,
            fields,
        })
    }

    /// Size of its fields, in bytes.
    pub(super) fn size(&self) -> usize {
        let fields = self.fields.iter().flatten();
        fields.map(|(name, value)| name.len() + value.len()).sum()
    }
}

/// Returns an entry as a message.
pub(super) fn from_entry(token: u64, stream: &str, entry: Entry, redelivered: bool) -> Message {
    let mut message = Message {
        token,
        body: Bytes::new(),
        content_type: None,
        headers: Vec::new(),
        message_id: None,
        broker_id: Some(format!("{stream}:{}", entry.id)),
        key: None,
        reply_to: None,
        correlation_id: None,
        api_key: None,
        redelivered,
    };
    let mut bytes = 0;
    let mut has_body = false;
    let mut others = Vec::new();
    for (name, value) in entry.fields.into_iter().flatten() {
        if name == BODY.as_bytes() && !has_body {
            has_body = true;
            message.body = value.into();
            continue;
        }
        if name == KEY.as_bytes() && message.key.is_none() {
            message.key = Some(value.into());
            continue;
        }
        let text = match &name[..] {
            b"content_type" => Some(&mut message.content_type),
            b"message_id" => Some(&mut message.message_id),
            b"correlation_id" => Some(&mut message.correlation_id),
            b"reply_to" => Some(&mut message.reply_to),
            _ => None,
        };
        match (text, std::str::from_utf8(&value)) {
            (Some(text @ None), Ok(value)) => *text = Some(value.to_owned()),
            _ => {
                bytes += name.len() + value.len();
                if others.len() <= HEADERS_MAX && bytes <= HEADERS_BYTES_MAX {
                    let name = String::from_utf8_lossy(&name).into_owned();
                    others.push((name, Bytes::from(value)));
                }
            }
        }
    }
    message.headers = others;
    if bytes > HEADERS_BYTES_MAX || message.headers.len() > HEADERS_MAX {
        let why =
            Bytes::from_static(b"there are more than 256 fields, or more than 32 KiB of them");
        message.headers = vec![(UNREADABLE_HEADER.to_owned(), why)];
    }
    message
}

/// Returns the fields of a message that goes out.
pub(super) fn to_fields(message: &Outgoing) -> Vec<(&str, &[u8])> {
    let ours = [
        (CONTENT_TYPE, message.content_type.as_str()),
        (MESSAGE_ID, message.message_id.as_str()),
        (
            CORRELATION_ID,
            message.correlation_id.as_deref().unwrap_or_default(),
        ),
        (KEY, message.key.as_deref().unwrap_or_default()),
        (
            ROUTING_KEY,
            message.address.routing_key.as_deref().unwrap_or_default(),
        ),
    ];
    let ours = ours.into_iter().filter(|(_, value)| !value.is_empty());
    let ours = ours.map(|(name, value)| (name, value.as_bytes()));
    let headers = message.headers.iter();
    let headers = headers.filter(|(name, _)| !OURS.contains(&name.as_str()));
    let headers = headers.map(|(name, value)| (name.as_str(), &value[..]));
    let body = (BODY, &message.body[..]);
    std::iter::once(body).chain(ours).chain(headers).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(text: &[u8]) -> Value {
        Value::BulkString(text.to_vec())
    }

    fn entry(fields: &[(&[u8], &[u8])]) -> Entry {
        let parts = fields
            .iter()
            .flat_map(|(name, value)| [bulk(name), bulk(value)]);
        let value = Value::Array(vec![bulk(b"5-0"), Value::Array(parts.collect())]);
        let entries = Entry::parse_all(Value::Array(vec![value]));
        entries.expect("it is a list of entries").remove(0)
    }

    #[test]
    fn an_entry_is_read_whatever_a_sender_writes() {
        let fields: [(&[u8], &[u8]); 8] = [
            (b"body", b"{}"),
            (b"body", b"second"),
            (b"message_id", b"m-1"),
            (b"reply_to", b"\xff"),
            (b"key", b"\xfe"),
            (b"\xff", b"x"),
            (b"", b""),
            (b"body", b""),
        ];
        let message = from_entry(7, "orders", entry(&fields), true);
        assert_eq!(&message.body[..], b"{}");
        assert_eq!(message.message_id.as_deref(), Some("m-1"));
        assert_eq!(message.broker_id.as_deref(), Some("orders:5-0"));
        assert_eq!(message.reply_to, None);
        assert_eq!(message.key.as_deref(), Some(&b"\xfe"[..]));
        let names: Vec<&str> = message
            .headers
            .iter()
            .map(|(name, _)| name.as_str())
            .collect();
        assert_eq!(names, ["body", "reply_to", "\u{fffd}", "", "body"]);
    }

    #[test]
    fn fields_that_nobody_needs_cost_no_memory() {
        let large = vec![b'x'; HEADERS_BYTES_MAX];
        let many = vec![(&b"a"[..], &b""[..]); HEADERS_MAX + 1];
        for fields in [vec![(&b"a"[..], &large[..])], many] {
            let message = from_entry(7, "orders", entry(&fields), false);
            assert_eq!(message.headers.len(), 1);
            assert_eq!(message.headers[0].0, UNREADABLE_HEADER);
        }
    }

    #[test]
    fn a_deleted_entry_has_no_fields() {
        let value = Value::Array(vec![bulk(b"5-0"), Value::Nil]);
        let entries = Entry::parse_all(Value::Array(vec![value])).expect("it is a list");
        assert_eq!(entries[0].fields, None);
        assert_eq!(Entry::parse_all(Value::Nil), Some(Vec::new()));
        for wrong in [
            Value::Int(1),
            Value::Array(vec![Value::Int(1)]),
            Value::Array(vec![Value::Array(vec![])]),
        ] {
            assert_eq!(Entry::parse_all(wrong), None);
        }
    }
}
