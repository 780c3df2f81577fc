//! The protocol between client and server: what the server says, read within bounds, and what is said to it.

use bytes::{Buf, Bytes, BytesMut};
use serde::Deserialize;

/// Maximum length of a line of the protocol, in bytes. INFO is the longest: it lists the servers of a cluster.
const LINE_BYTES_MAX: usize = 64 * 1024;
/// Maximum size of a message with its headers, in bytes: no server can be told to take more.
const MESSAGE_BYTES_MAX: usize = 64 * 1024 * 1024;
const LINE_END: &[u8] = b"\r\n";

/// What a server says.
#[derive(Debug, PartialEq)]
pub(super) enum Op {
    Info(Info),
    Message(Incoming),
    Ping,
    Pong,
    /// Something that needs no answer.
    Nothing,
    /// What went wrong, in the server's words.
    Error(String),
}

/// What a server says about itself.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(super) struct Info {
    pub(super) headers: bool,
    pub(super) max_payload: usize,
    pub(super) tls_required: bool,
    pub(super) tls_available: bool,
}

/// A message, as the protocol has it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Incoming {
    /// Number of the subscription that it belongs to.
    pub(super) subscription: u64,
    pub(super) subject: String,
    pub(super) reply: Option<String>,
    /// Headers as they came; empty if there are none.
    pub(super) headers: Bytes,
    pub(super) body: Bytes,
}

/// The other side does not speak the protocol.
#[derive(Debug, PartialEq, thiserror::Error)]
#[error("it does not speak the protocol of NATS: {0}")]
pub(super) struct Garbled(&'static str);

/// Takes the next thing that the server says out of `buffer`; none if it is not complete yet.
///
/// # Errors
/// If it is none, or larger than any server may be told to allow. Nothing that an application puts into a message is an error.
pub(super) fn parse(buffer: &mut BytesMut) -> Result<Option<Op>, Garbled> {
    let seen = &buffer[..buffer.len().min(LINE_BYTES_MAX)];
    let Some(length) = seen.windows(2).position(|pair| pair == LINE_END) else {
        return match seen.len() {
            LINE_BYTES_MAX => Err(Garbled("a line is too long")),
            _ => Ok(None),
        };
    };
    let line = &buffer[..length];
    let name_length = line.iter().position(u8::is_ascii_whitespace);
    let (name, rest) = line.split_at(name_length.unwrap_or(length));
    let op = match name.to_ascii_uppercase().as_slice() {
        b"MSG" => return parse_message(buffer, length, false),
        b"HMSG" => return parse_message(buffer, length, true),
        b"INFO" => {
            let info = serde_json::from_slice(rest);
            Op::Info(info.map_err(|_| Garbled("INFO is no JSON"))?)
        }
        b"PING" => Op::Ping,
        b"PONG" => Op::Pong,
        b"+OK" => Op::Nothing,
        b"-ERR" => {
            let text = String::from_utf8_lossy(rest);
            Op::Error(text.trim().trim_matches('\'').to_owned())
        }
        _ => return Err(Garbled("a line begins with no known word")),
    };
    buffer.advance(length + LINE_END.len());
    Ok(Some(op))
}

/// Reads `MSG subject subscription [reply] bytes`, or `HMSG subject subscription [reply] header-bytes bytes`.
fn parse_message(
    buffer: &mut BytesMut,
    line_length: usize,
    has_headers: bool,
) -> Result<Option<Op>, Garbled> {
    let wrong = Garbled("a message has a wrong first line");
    let line = String::from_utf8_lossy(&buffer[..line_length]);
    let mut words: Vec<&str> = line.split_ascii_whitespace().skip(1).collect();
    let mut number = || words.pop().and_then(|word| word.parse::<usize>().ok());
    let Some(total) = number() else {
        return Err(wrong);
    };
    let header_length = match has_headers {
        false => 0,
        true => match number() {
            Some(length) if length <= total => length,
            _ => return Err(wrong),
        },
    };
    if total > MESSAGE_BYTES_MAX {
        return Err(Garbled("a message has more than 64 MiB"));
    }
    let (subject, subscription, reply) = match words[..] {
        [subject, subscription] => (subject, subscription, None),
        [subject, subscription, reply] => (subject, subscription, Some(reply)),
        _ => return Err(wrong),
    };
    let Ok(subscription) = subscription.parse() else {
        return Err(wrong);
    };
    let begin = line_length + LINE_END.len();
    let end = begin + total;
    if buffer.len() < end + LINE_END.len() {
        return Ok(None);
    }
    if &buffer[end..end + LINE_END.len()] != LINE_END {
        return Err(Garbled("a message does not end where it said"));
    }
    let message = Incoming {
        subscription,
        subject: subject.to_owned(),
        reply: reply.map(str::to_owned),
        // Copied, so that a small message does not keep the whole buffer.
        headers: Bytes::copy_from_slice(&buffer[begin..begin + header_length]),
        body: Bytes::copy_from_slice(&buffer[begin + header_length..end]),
    };
    buffer.advance(end + LINE_END.len());
    Ok(Some(Op::Message(message)))
}

/// Appends what publishes a message. The subjects hold no spaces.
pub(super) fn publish(
    out: &mut BytesMut,
    subject: &str,
    reply: Option<&str>,
    headers: &[u8],
    body: &[u8],
) {
    let reply = reply.map_or(String::new(), |reply| format!(" {reply}"));
    let total = headers.len() + body.len();
    let line = match headers {
        [] => format!("PUB {subject}{reply} {total}\r\n"),
        headers => format!("HPUB {subject}{reply} {} {total}\r\n", headers.len()),
    };
    out.extend_from_slice(line.as_bytes());
    out.extend_from_slice(headers);
    out.extend_from_slice(body);
    out.extend_from_slice(LINE_END);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &[u8]) -> Result<Vec<Op>, Garbled> {
        let mut buffer = BytesMut::from(text);
        let mut ops = Vec::new();
        while let Some(op) = parse(&mut buffer)? {
            ops.push(op);
        }
        Ok(ops)
    }

    fn message(reply: Option<&str>, headers: &'static [u8], body: &'static [u8]) -> Op {
        Op::Message(Incoming {
            subscription: 2,
            subject: "orders".to_owned(),
            reply: reply.map(str::to_owned),
            headers: Bytes::from_static(headers),
            body: Bytes::from_static(body),
        })
    }

    #[test]
    fn what_a_server_says_is_read_wherever_it_is_cut() {
        let text = b"INFO {\"max_payload\":9,\"headers\":true,\"x\":[1]} \r\nPING\r\n+OK\r\n-ERR 'Authorization Violation'\r\n\
            MSG orders 2 3\r\na\r\n\r\nHMSG orders 2 $JS.ACK.x 4 6\r\nN\xff\r\nhi\r\nMSG  orders\t2  r.1 0\r\n\r\npong\r\n";
        let expected = vec![
            Op::Info(Info {
                headers: true,
                max_payload: 9,
                ..Info::default()
            }),
            Op::Ping,
            Op::Nothing,
            Op::Error("Authorization Violation".to_owned()),
            message(None, b"", b"a\r\n"),
            message(Some("$JS.ACK.x"), b"N\xff\r\n", b"hi"),
            message(Some("r.1"), b"", b""),
            Op::Pong,
        ];
        assert_eq!(read(text), Ok(expected));
        for cut in 0..text.len() {
            let mut buffer = BytesMut::from(&text[..cut]);
            let mut count = 0;
            while parse(&mut buffer).expect("it is only cut").is_some() {
                count += 1;
            }
            buffer.extend_from_slice(&text[cut..]);
            while parse(&mut buffer).expect("it is whole").is_some() {
                count += 1;
            }
            assert_eq!(count, 8, "cut at {cut}");
        }
    }

    #[test]
    fn what_is_no_protocol_ends_the_connection() {
        let long = vec![b'x'; LINE_BYTES_MAX];
        let garbled: [&[u8]; 10] = [
            b"HTTP/1.1 400 Bad Request\r\n",
            b"\r\n",
            b"INFO {\r\n",
            b"MSG orders\r\n",
            b"MSG orders 2 -1\r\n",
            b"MSG orders 2 99999999999999999999\r\n",
            b"MSG orders 2 67108865\r\n",
            b"HMSG orders 2 3 2\r\n",
            b"MSG orders 2 1\r\nabc",
            &long,
        ];
        for text in garbled {
            let shown = String::from_utf8_lossy(&text[..text.len().min(40)]);
            assert!(read(text).is_err(), "{shown}");
        }
    }
}
