//! Headers of a message: lines of `name: value` after a first line that may hold a status of the server.

use bytes::{BufMut, Bytes, BytesMut};

/// Header of a message whose headers could not be read.
pub const UNREADABLE_HEADER: &str = "x-unreadable-properties";
/// Maximum size of all headers of a message, in bytes.
const HEADERS_BYTES_MAX: usize = 32 * 1024;
/// Maximum number of headers of a message.
const HEADERS_MAX: usize = 256;
const VERSION: &[u8] = b"NATS/1.0";
/// How headers begin that tell the server what to do with a message.
const SERVERS_OWN: &str = "nats-";

/// Headers, read.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Headers {
    /// Status, if the server itself says something: 503 is that nobody listens.
    pub(super) status: Option<u16>,
    /// What the server says about the status.
    pub(super) description: String,
    /// Names and values, in order. What is no UTF-8 in a name is replaced.
    pub(super) fields: Vec<(String, Bytes)>,
}

impl Headers {
    /// Reads headers. Nothing that a sender writes is an error: what can't be read is left out, and a header says so.
    pub(super) fn parse(block: &[u8]) -> Headers {
        if block.is_empty() {
            return Headers::default();
        }
        let unreadable = |why: &'static str| Headers {
            fields: vec![(
                UNREADABLE_HEADER.to_owned(),
                Bytes::from_static(why.as_bytes()),
            )],
            ..Headers::default()
        };
        if block.len() > HEADERS_BYTES_MAX {
            return unreadable("the headers have more than 32 KiB");
        }
        let mut lines = block.split(|byte| *byte == b'\n');
        let first = lines.next().unwrap_or_default();
        let Some(status) = first.strip_prefix(VERSION) else {
            return unreadable("the headers do not begin with NATS/1.0");
        };
        let status = String::from_utf8_lossy(status);
        let status = status.trim();
        let (number, description) = status.split_once(' ').unwrap_or((status, ""));
        let mut fields = Vec::new();
        for line in lines {
            let Some(colon) = line.iter().position(|byte| *byte == b':') else {
                continue;
            };
            if fields.len() == HEADERS_MAX {
                return unreadable("there are more than 256 headers");
            }
            let name = String::from_utf8_lossy(line[..colon].trim_ascii()).into_owned();
            fields.push((name, Bytes::copy_from_slice(line[colon + 1..].trim_ascii())));
        }
        Headers {
            status: number.parse().ok(),
            description: description.trim().to_owned(),
            fields,
        }
    }

    /// Takes the first header of this name out, whatever the case of its letters. None if there is none, or if it is no UTF-8.
    pub(super) fn take(&mut self, name: &str) -> Option<String> {
        let is_it = |(known, _): &(String, Bytes)| known.eq_ignore_ascii_case(name);
        let index = self.fields.iter().position(is_it)?;
        let value = std::str::from_utf8(&self.fields[index].1).ok()?.to_owned();
        self.fields.remove(index);
        Some(value)
    }
}

/// Whether a header is an order to the server: to drop what it takes for a repetition, to delete other messages, to let a message
/// expire. One that came in with a message must not go out with it.
pub(super) fn is_servers_own(name: &str) -> bool {
    let start = name.as_bytes().get(..SERVERS_OWN.len());
    start.is_some_and(|start| start.eq_ignore_ascii_case(SERVERS_OWN.as_bytes()))
}

/// Writes headers. Line ends in a value are written as spaces, and what a name can't hold as `_`.
pub(super) fn encode<'a>(fields: impl Iterator<Item = (&'a str, &'a [u8])>) -> BytesMut {
    let mut block = BytesMut::from(VERSION);
    block.put_slice(b"\r\n");
    for (name, value) in fields {
        let is_unfit =
            |character: char| character == ':' || character.is_control() || character == ' ';
        block.put_slice(name.replace(is_unfit, "_").as_bytes());
        block.put_slice(b": ");
        block.extend(value.iter().map(|byte| match byte {
            b'\r' | b'\n' => b' ',
            byte => *byte,
        }));
        block.put_slice(b"\r\n");
    }
    block.put_slice(b"\r\n");
    block
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(name: &str, value: &'static [u8]) -> (String, Bytes) {
        (name.to_owned(), Bytes::from_static(value))
    }

    #[test]
    fn headers_are_read_whatever_a_sender_writes() {
        let block = b"NATS/1.0\r\nce-type: a:b \r\nno colon\r\n : empty\r\nKey:\xff\r\nkey: 2\r\nlone\rcr: x\r\nK\xff: v\r\n\r\n";
        let mut headers = Headers::parse(block);
        let expected = [
            field("ce-type", b"a:b"),
            field("", b"empty"),
            field("Key", b"\xff"),
            field("key", b"2"),
            field("lone\rcr", b"x"),
            field("K\u{fffd}", b"v"),
        ];
        assert_eq!(headers.fields, expected);
        assert_eq!(headers.status, None);
        assert_eq!(headers.take("CE-Type").as_deref(), Some("a:b"));
        assert_eq!(headers.take("ce-type"), None);
        // What is no text stays a header.
        assert_eq!(headers.take("KEY"), None);
        assert_eq!(headers.fields.len(), 5);
    }

    #[test]
    fn a_status_of_the_server_is_read() {
        let headers =
            Headers::parse(b"NATS/1.0 409 Consumer Deleted\r\nNats-Pending-Messages: 3\r\n\r\n");
        assert_eq!(headers.status, Some(409));
        assert_eq!(headers.description, "Consumer Deleted");
        assert_eq!(Headers::parse(b"NATS/1.0 503\r\n\r\n").status, Some(503));
        assert_eq!(Headers::parse(b"NATS/1.0 x\r\n\r\n").status, None);
    }

    #[test]
    fn headers_that_nobody_needs_cost_no_memory() {
        let large = [
            b"NATS/1.0\r\na: ",
            &vec![b'x'; HEADERS_BYTES_MAX][..],
            b"\r\n\r\n",
        ]
        .concat();
        let many = [b"NATS/1.0\r\n".to_vec(), b"a:\r\n".repeat(HEADERS_MAX + 1)].concat();
        for block in [large, many, b"HTTP/1.1 200\r\n\r\n".to_vec()] {
            let headers = Headers::parse(&block);
            assert_eq!(headers.fields.len(), 1);
            assert_eq!(headers.fields[0].0, UNREADABLE_HEADER);
        }
    }

    #[test]
    fn what_is_written_can_be_read() {
        let fields: [(&str, &[u8]); 3] =
            [("a", b"1"), ("b:c\r\nd e", b"x\r\nPUB y 0"), ("e", b"\xff")];
        let block = encode(fields.into_iter());
        let expected = [
            field("a", b"1"),
            field("b_c__d_e", b"x  PUB y 0"),
            field("e", b"\xff"),
        ];
        assert_eq!(Headers::parse(&block).fields, expected);
    }

    #[test]
    fn orders_to_the_server_are_known() {
        assert!(is_servers_own("Nats-Msg-Id") && is_servers_own("nats-rollup"));
        assert!(!is_servers_own("nats") && !is_servers_own("x-nats-y") && !is_servers_own("né"));
    }
}
