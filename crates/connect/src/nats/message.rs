//! Messages as JetStream has them, and as the port has them.

use bytes::{Bytes, BytesMut};

use super::headers::{self, Headers};
use super::wire::Incoming;
use crate::port::{Message, Outgoing};

pub(super) const CONTENT_TYPE: &str = "content-type";
pub(super) const MESSAGE_ID: &str = "message-id";
const CORRELATION_ID: &str = "correlation-id";
const REPLY_TO: &str = "reply-to";
/// Header by which NATS knows repetitions.
const NATS_MESSAGE_ID: &str = "Nats-Msg-Id";

/// What JetStream says about a delivery, in the subject by which it is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Delivery<'a> {
    stream: &'a str,
    /// How often it was delivered, this time included.
    count: u64,
    /// Number within the stream.
    sequence: u64,
    /// When the stream took it, in nanoseconds: a stream of the same name that is made anew numbers from 1 again.
    time: u64,
}

impl<'a> Delivery<'a> {
    /// Reads `$JS.ACK.stream.consumer.count.sequence.…`, in the form of before 2.10 or with the domain and the account before the
    /// stream. None if it is no such subject.
    pub(super) fn parse(subject: &'a str) -> Option<Delivery<'a>> {
        let words: Vec<&str> = subject.strip_prefix("$JS.ACK.")?.split('.').collect();
        let words = match words.len() {
            7 => &words[..],
            9.. => &words[2..],
            _ => return None,
        };
        Some(Delivery {
            stream: words[0],
            count: words[2].parse().ok()?,
            sequence: words[3].parse().ok()?,
            time: words[5].parse().ok()?,
        })
    }
}

/// Returns a delivery as a message.
pub(super) fn from_delivery(token: u64, incoming: &Incoming, delivery: Delivery<'_>) -> Message {
    let mut headers = Headers::parse(&incoming.headers);
    let ours = headers.take(MESSAGE_ID);
    let theirs = headers.take(NATS_MESSAGE_ID);
    Message {
        token,
        body: incoming.body.clone(),
        content_type: headers.take(CONTENT_TYPE),
        message_id: ours.or(theirs),
        broker_id: Some(format!(
            "{}:{}:{}",
            delivery.stream, delivery.sequence, delivery.time
        )),
        key: None,
        reply_to: headers.take(REPLY_TO),
        correlation_id: headers.take(CORRELATION_ID),
        api_key: None,
        redelivered: delivery.count > 1,
        headers: headers.fields,
    }
}

/// Returns the headers of a message that goes out.
pub(super) fn to_headers(message: &Outgoing) -> BytesMut {
    let ours = [
        (CONTENT_TYPE, message.content_type.as_str()),
        (MESSAGE_ID, message.message_id.as_str()),
        (
            CORRELATION_ID,
            message.correlation_id.as_deref().unwrap_or_default(),
        ),
    ];
    let is_given = |(_, value): &(&str, &str)| !value.is_empty();
    let ours = ours.into_iter().filter(is_given);
    let ours = ours.map(|(name, value)| (name, value.as_bytes()));
    let others = message.headers.iter();
    let others = others.filter(|(name, _)| !headers::is_servers_own(name));
    let others = others.map(|(name, value): &(String, Bytes)| (name.as_str(), &value[..]));
    headers::encode(ours.chain(others))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_acknowledgement_are_read() {
        let delivery = Delivery {
            stream: "ORDERS",
            count: 3,
            sequence: 70,
            time: 1_700_000_000_000_000_000,
        };
        for subject in [
            "$JS.ACK.ORDERS.tributary.3.70.9.1700000000000000000.5",
            "$JS.ACK._.ACCOUNT.ORDERS.tributary.3.70.9.1700000000000000000.5",
            "$JS.ACK.hub.ACCOUNT.ORDERS.tributary.3.70.9.1700000000000000000.5.x9",
        ] {
            assert_eq!(Delivery::parse(subject), Some(delivery), "{subject}");
        }
        for subject in [
            "orders",
            "$JS.ACK.a.b.c",
            "$JS.ACK.a.b.x.1.1.1.1",
            "$JS.ACK.1.2.3.4.5.6.7.8",
        ] {
            assert_eq!(Delivery::parse(subject), None, "{subject}");
        }
    }
}
