//! Messages as RocketMQ has them, and as the port has them.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::Read as _;

use bytes::Bytes;
use flate2::read::{GzDecoder, ZlibDecoder};

use super::call::random_id;
use super::link::MESSAGE_BYTES_MAX;
use super::wire::{self, Properties, Resource, encoding, kind};
use crate::port::{Message, Outgoing};

const CONTENT_TYPE: &str = "content-type";
const MESSAGE_ID: &str = "message-id";
const CORRELATION_ID: &str = "correlation-id";
const REPLY_TO: &str = "reply-to";
/// Header with the tag of a message that came in.
const TAG: &str = "rocketmq-tag";
/// Header with the keys of a message that came in, which stand between spaces.
const KEYS: &str = "rocketmq-keys";
/// Header that says that the body is compressed in a way that is not known.
const CONTENT_ENCODING: &str = "content-encoding";
/// Header with the number of headers that were too large to be sent.
const LEFT_OUT: &str = "headers-left-out";

/// Maximum size of all names and values of properties, in bytes, and of their number: what a proxy takes if nobody changes it.
const PROPERTIES_BYTES_MAX: usize = 16 * 1024;
const PROPERTIES_MAX: usize = 128;
/// Maximum length of a message group, in bytes: what a proxy takes if nobody changes it.
const GROUP_BYTES_MAX: usize = 64;

/// Names of properties that RocketMQ keeps for itself, sorted: it refuses a message of a client with one of them, or takes it for
/// something else.
const RESERVED: [&str; 66] = [
    "1ST_POP_TIME",
    "ARRIVE_TIME",
    "BORN_TIMESTAMP",
    "BUYER_ID",
    "CHECK_IMMUNITY_TIME_IN_SECONDS",
    "CLUSTER",
    "CONSUME_START_TIME",
    "CORRECTION_FLAG",
    "CORRELATION_ID",
    "DELAY",
    "DLQ_ORIGIN_MESSAGE_ID",
    "DLQ_ORIGIN_TOPIC",
    "DUP_INFO",
    "EXTEND_UNIQ_INFO",
    "E_T",
    "INNER_BASE",
    "INNER_MULTI_DISPATCH",
    "INNER_MULTI_QUEUE_OFFSET",
    "INNER_NUM",
    "INSTANCE_ID",
    "KEYS",
    "MAX_OFFSET",
    "MAX_RECONSUME_TIMES",
    "MIN_OFFSET",
    "MQ2_FLAG",
    "MSG_REGION",
    "MSG_TYPE",
    "ORIGIN_GROUP",
    "ORIGIN_MESSAGE_ID",
    "PGROUP",
    "POP_CK",
    "POP_CK_OFFSET",
    "PROPERTY_FORWARD_QUEUE_ID",
    "PUSH_REPLY_TIME",
    "REAL_QID",
    "REAL_TOPIC",
    "RECONSUME_TIME",
    "REDIRECT",
    "REPLY_TO_CLIENT",
    "RETRY_TOPIC",
    "TAGS",
    "TIMER_DELAY_LEVEL",
    "TIMER_DELAY_MS",
    "TIMER_DELAY_SEC",
    "TIMER_DELIVER_MS",
    "TIMER_DEL_UNIQKEY",
    "TIMER_DEQUEUE_MS",
    "TIMER_ENQUEUE_MS",
    "TIMER_OUT_MS",
    "TIMER_ROLL_LABEL",
    "TIMER_ROLL_TIMES",
    "TRACE_CONTEXT",
    "TRACE_ON",
    "TRANSACTION_CHECK_TIMES",
    "TRANSFER_FLAG",
    "TRANS_OFFSET",
    "TRAN_MSG",
    "TRAN_PREPARED_QUEUE_OFFSET",
    "TTL",
    "UNIQ_KEY",
    "WAIT",
    "_SYS_MSG_PRIORITY_",
    "__BORNHOST",
    "__CRC32#",
    "__SHARDINGKEY",
    "__transactionId__",
];

fn is_reserved(name: &str) -> bool {
    RESERVED.binary_search(&name).is_ok()
}

/// What a broker wants to hear about a message that it gave out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Receipt {
    pub(super) message_id: String,
    pub(super) handle: String,
}

/// Returns a message that came in, which is named `token` from now on, and its receipt.
///
/// # Errors
/// If it lacks what every message of RocketMQ has.
pub(super) fn from_wire(
    message: wire::Message,
    token: u64,
) -> Result<(Message, Receipt), &'static str> {
    let properties = message.properties.ok_or("a message without properties")?;
    let handle = properties.receipt.ok_or("a message without a receipt")?;
    let mut named = message.user_properties;
    let mut take = |name: &str| named.remove(name).filter(|text| !text.is_empty());
    let content_type = take(CONTENT_TYPE);
    let message_id = take(MESSAGE_ID);
    let correlation_id = take(CORRELATION_ID);
    let reply_to = take(REPLY_TO);
    let mut headers: Vec<(String, Bytes)> = named
        .into_iter()
        .filter(|(name, _)| !is_reserved(name))
        .map(|(name, value)| (name, Bytes::from(value)))
        .collect();
    let mut add = |name: &str, value: String| {
        headers.retain(|(present, _)| present != name);
        headers.push((name.to_owned(), Bytes::from(value)));
    };
    if let Some(tag) = properties.tag.filter(|tag| !tag.is_empty()) {
        add(TAG, tag);
    }
    if !properties.keys.is_empty() {
        add(KEYS, properties.keys.join(" "));
    }
    let body = match properties.encoding {
        encoding::COMPRESSED => decompress(&message.body).unwrap_or_else(|| {
            add(CONTENT_ENCODING, "unknown".to_owned());
            message.body.clone()
        }),
        _ => message.body.clone(),
    };
    let group = properties.message_group.filter(|group| !group.is_empty());
    let receipt = Receipt {
        message_id: properties.message_id.clone(),
        handle,
    };
    let message = Message {
        token,
        body,
        content_type,
        headers,
        message_id,
        broker_id: Some(properties.message_id).filter(|id| !id.is_empty()),
        key: group.map(Bytes::from),
        reply_to,
        correlation_id,
        api_key: None,
        redelivered: properties.attempt.is_some_and(|attempt| attempt > 1),
    };
    Ok((message, receipt))
}

/// Returns what clients of RocketMQ compressed by gzip or zlib; none if it is neither, or too large.
fn decompress(body: &[u8]) -> Option<Bytes> {
    let most = MESSAGE_BYTES_MAX as u64 + 1;
    let mut plain = Vec::new();
    match body.first()? {
        0x1f => GzDecoder::new(body).take(most).read_to_end(&mut plain),
        0x78 => ZlibDecoder::new(body).take(most).read_to_end(&mut plain),
        _ => return None,
    }
    .ok()?;
    (plain.len() <= MESSAGE_BYTES_MAX).then(|| plain.into())
}

/// Returns how a message is sent: in the order of its key, if `is_ordered`.
pub(super) fn to_wire(message: &Outgoing, is_ordered: bool) -> wire::Message {
    let ours = [
        (CONTENT_TYPE, message.content_type.as_str()),
        (MESSAGE_ID, message.message_id.as_str()),
        (
            CORRELATION_ID,
            message.correlation_id.as_deref().unwrap_or_default(),
        ),
    ];
    let mut named: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in &message.headers {
        if !name.is_empty() && !is_reserved(name) {
            let value = String::from_utf8_lossy(value);
            named.insert(printable(name).into_owned(), printable(&value).into_owned());
        }
    }
    for (name, value) in ours {
        match value {
            "" => named.remove(name),
            value => named.insert(name.to_owned(), printable(value).into_owned()),
        };
    }
    let tag = message.address.routing_key.as_deref();
    let tag = tag.map(|tag| printable(tag).replace('|', " "));
    let tag = tag.filter(|tag| !tag.trim().is_empty());
    let key = message.key.as_deref().filter(|key| !key.is_empty());
    let keys: Vec<String> = key
        .filter(|key| !key.contains(|character: char| character.is_control() || character == ' '))
        .map(|key| vec![key.to_owned()])
        .unwrap_or_default();
    let other_bytes = tag.iter().chain(&keys).map(String::len).sum();
    shrink(&mut named, other_bytes);
    let id = random_id();
    wire::Message {
        topic: Resource::named(&message.address.destination),
        user_properties: named,
        properties: Some(Properties {
            tag,
            keys,
            encoding: encoding::PLAIN,
            kind: if is_ordered { kind::FIFO } else { kind::NORMAL },
            // A topic that keeps an order wants a group; without a key, it is one of its own.
            message_group: is_ordered.then(|| key.map_or_else(|| id.clone(), message_group)),
            message_id: id,
            receipt: None,
            attempt: None,
        }),
        body: message.body.clone(),
    }
}

/// Returns `text` without control characters, which RocketMQ refuses.
fn printable(text: &str) -> Cow<'_, str> {
    match text.contains(char::is_control) {
        true => Cow::Owned(text.replace(char::is_control, " ")),
        false => Cow::Borrowed(text),
    }
}

/// Returns the message group of a key: the key, or its hash if RocketMQ does not take it.
fn message_group(key: &str) -> String {
    let is_fit =
        key.len() <= GROUP_BYTES_MAX && !key.trim().is_empty() && !key.contains(char::is_control);
    match is_fit {
        true => key.to_owned(),
        false => blake3::hash(key.as_bytes()).to_hex().as_str().to_owned(),
    }
}

/// Leaves out the largest headers, until a proxy takes the others. A dead letter must not be refused for what its sender wrote.
fn shrink(named: &mut BTreeMap<String, String>, other_bytes: usize) {
    let size = |(name, value): (&String, &String)| name.len() + value.len();
    let mut left_out = 0;
    loop {
        let bytes: usize = named.iter().map(size).sum::<usize>() + other_bytes;
        if bytes <= PROPERTIES_BYTES_MAX && named.len() <= PROPERTIES_MAX {
            return;
        }
        let largest = named.iter().filter(|(name, _)| *name != LEFT_OUT);
        let Some((largest, _)) = largest.max_by_key(|named| size(*named)) else {
            return;
        };
        let largest = largest.clone();
        named.remove(&largest);
        left_out += 1;
        named.insert(LEFT_OUT.to_owned(), left_out.to_string());
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use bytes::Bytes;
    use flate2::Compression;
    use flate2::write::{GzEncoder, ZlibEncoder};

    use super::*;
    use crate::port::Address;

    fn outgoing() -> Outgoing {
        Outgoing {
            address: Address {
                destination: "topic".to_owned(),
                routing_key: Some("payment.captured".to_owned()),
            },
            key: Some("acct_1".to_owned()),
            body: Bytes::from_static(b"{}"),
            content_type: "application/json".to_owned(),
            headers: vec![("ce_type".to_owned(), Bytes::from_static(b"x"))],
            message_id: "evt_1".to_owned(),
            correlation_id: Some("c".to_owned()),
        }
    }

    /// As a broker gives it out.
    fn delivered(mut message: wire::Message) -> wire::Message {
        if let Some(properties) = &mut message.properties {
            properties.receipt = Some("receipt".to_owned());
            properties.attempt = Some(1);
        }
        message
    }

    #[test]
    fn the_reserved_names_are_sorted() {
        assert!(RESERVED.is_sorted());
        assert!(is_reserved("__SHARDINGKEY") && is_reserved("1ST_POP_TIME"));
        assert!(!is_reserved("ORDER_ID"));
    }

    #[test]
    fn what_is_sent_comes_in_as_it_was() {
        let sent = to_wire(&outgoing(), true);
        let properties = sent.properties.clone().expect("it has some");
        assert_eq!(properties.message_group.as_deref(), Some("acct_1"));
        assert_eq!(properties.kind, kind::FIFO);
        let (got, receipt) = from_wire(delivered(sent), 7).expect("it is whole");
        assert_eq!(receipt.handle, "receipt");
        assert_eq!(receipt.message_id, properties.message_id);
        assert_eq!(got.token, 7);
        assert_eq!(got.content_type.as_deref(), Some("application/json"));
        assert_eq!(got.message_id.as_deref(), Some("evt_1"));
        assert_eq!(got.correlation_id.as_deref(), Some("c"));
        assert_eq!(got.broker_id, Some(properties.message_id));
        assert_eq!(got.key, Some(Bytes::from_static(b"acct_1")));
        let expected = [
            ("ce_type", "x"),
            (TAG, "payment.captured"),
            (KEYS, "acct_1"),
        ];
        let expected = expected.map(|(name, value)| (name.to_owned(), Bytes::from(value)));
        assert_eq!(got.headers, expected);
        // Without an order, there is no group, which a topic without an order would refuse.
        let sent = to_wire(&outgoing(), false);
        let properties = sent.properties.expect("it has some");
        assert_eq!(properties.message_group, None);
        assert_eq!(properties.kind, kind::NORMAL);
    }

    #[test]
    fn a_message_never_has_what_rocketmq_refuses() {
        let mut message = outgoing();
        message.key = Some("k".repeat(65));
        message.address.routing_key = Some("a|b\n".to_owned());
        message.correlation_id = Some("c\n".to_owned());
        message.headers = vec![
            ("TAGS".to_owned(), Bytes::from_static(b"x")),
            (String::new(), Bytes::from_static(b"x")),
            ("a\u{1}b".to_owned(), Bytes::from_static(b"1\x022")),
            ("bytes".to_owned(), Bytes::from_static(b"\xff")),
        ];
        let sent = to_wire(&message, true);
        let properties = sent.properties.expect("it has some");
        assert_eq!(properties.message_group.map(|group| group.len()), Some(64));
        assert_eq!(properties.tag.as_deref(), Some("a b "));
        let named: Vec<(&str, &str)> = sent
            .user_properties
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let expected = [
            ("a b", "1 2"),
            ("bytes", "\u{fffd}"),
            (CONTENT_TYPE, "application/json"),
            (CORRELATION_ID, "c "),
            (MESSAGE_ID, "evt_1"),
        ];
        assert_eq!(named, expected);
        for key in [None, Some(String::new()), Some(" ".to_owned())] {
            message.key = key;
            let properties = to_wire(&message, true).properties.expect("it has some");
            let group = properties.message_group.expect("it needs one");
            assert!(!group.trim().is_empty());
        }
    }

    #[test]
    fn headers_that_are_too_large_are_left_out() {
        let mut message = outgoing();
        let large = |bytes: usize| Bytes::from("x".repeat(bytes));
        message.headers = vec![
            ("a".to_owned(), large(9_000)),
            ("b".to_owned(), large(10_000)),
            ("c".to_owned(), large(100)),
        ];
        let sent = to_wire(&message, false).user_properties;
        let names: Vec<&str> = sent.keys().map(String::as_str).collect();
        let expected = ["a", "c", CONTENT_TYPE, CORRELATION_ID, LEFT_OUT, MESSAGE_ID];
        assert_eq!(names, expected);
        assert_eq!(sent[LEFT_OUT], "1");
        message.headers = (0..1_000).map(|n| (format!("h{n}"), large(1))).collect();
        let sent = to_wire(&message, false).user_properties;
        assert_eq!(sent.len(), PROPERTIES_MAX);
    }

    #[test]
    fn bodies_are_decompressed() {
        let plain = br#"{"order_id":"1"}"#;
        let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
        gzip.write_all(plain).expect("memory");
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::default());
        zlib.write_all(plain).expect("memory");
        let read = |body: Vec<u8>| {
            let mut message = delivered(to_wire(&outgoing(), false));
            message.body = body.into();
            message.properties.as_mut().expect("it has some").encoding = encoding::COMPRESSED;
            from_wire(message, 1).expect("it is whole").0
        };
        assert_eq!(read(gzip.finish().expect("memory")).body, plain[..]);
        assert_eq!(read(zlib.finish().expect("memory")).body, plain[..]);
        let is_marked = |message: &Message| {
            let mut names = message.headers.iter().map(|(name, _)| name);
            names.any(|name| name == CONTENT_ENCODING)
        };
        for broken in [b"".to_vec(), b"\x04lz4".to_vec(), b"\x1f\x8bcut".to_vec()] {
            let got = read(broken.clone());
            assert_eq!(got.body, broken);
            assert!(is_marked(&got));
        }
        // What would fill the memory stays as it is.
        let mut bomb = ZlibEncoder::new(Vec::new(), Compression::best());
        for _ in 0..=MESSAGE_BYTES_MAX / 65_536 {
            bomb.write_all(&[0; 65_536]).expect("memory");
        }
        let bomb = bomb.finish().expect("memory");
        assert_eq!(read(bomb.clone()).body, bomb);
    }

    #[test]
    fn a_message_that_is_not_whole_is_an_error() {
        let whole = || delivered(to_wire(&outgoing(), false));
        let mut message = whole();
        message.properties = None;
        from_wire(message, 1).expect_err("it has no properties");
        let mut message = whole();
        message.properties.as_mut().expect("it has some").receipt = None;
        from_wire(message, 1).expect_err("it has no receipt");
    }
}
