//! What comes in from a broker, screened before fe2o3-amqp reads it.
//!
//! fe2o3-amqp decodes a message itself: it reads lists within lists as deep as they are, until the stack is used up, and what it can't
//! decode it throws away. Brokers pass on what a sender has encoded, however it is. So the payload of every transfer is wrapped into a
//! data section, which fe2o3-amqp takes out as it is: the bytes of the message.

use std::sync::{Arc, OnceLock};

use bytes::{Buf, BufMut, BytesMut};

use super::wire::{Items, Reader, Unreadable, Value};

/// Maximum size of a frame, in bytes; larger messages take several.
pub(super) const FRAME_BYTES_MAX: usize = 64 * 1024;

/// Size, offset, type and channel of a frame, in bytes; and the size of a protocol header.
const HEAD_BYTES: usize = 8;
/// Minimum room for one read, in bytes.
const READ_BYTES_MIN: usize = 16 * 1024;
/// What precedes the payload as a data section, in bytes.
const WRAP_BYTES: usize = 8;
/// Type of a frame that is not about logging in.
const AMQP: u8 = 0;
const OPEN: u64 = 0x10;
const TRANSFER: u64 = 0x14;

/// Product and version of the broker, once it has said them.
pub(super) type Product = Arc<OnceLock<String>>;

/// Bytes from the broker on their way to fe2o3-amqp.
#[derive(Debug, Default)]
pub(super) struct Screen {
    /// What has come in.
    bytes: BytesMut,
    /// What fe2o3-amqp may read.
    passed: BytesMut,
    product: Product,
}

/// The broker sends what is no AMQP 1.0.
#[derive(Debug, PartialEq)]
pub(super) struct Garbled;

impl From<Unreadable> for Garbled {
    fn from(_: Unreadable) -> Garbled {
        Garbled
    }
}

impl Screen {
    pub(super) fn new(product: Product) -> Screen {
        Screen {
            product,
            ..Screen::default()
        }
    }

    /// Where to read to.
    pub(super) fn bytes(&mut self) -> &mut BytesMut {
        self.bytes.reserve(READ_BYTES_MIN);
        &mut self.bytes
    }

    /// Copies what fe2o3-amqp may read. Returns 0 if more has to come in first.
    pub(super) fn take(&mut self, target: &mut [u8]) -> Result<usize, Garbled> {
        while self.passed.is_empty() && self.look()? {}
        let count = self.passed.len().min(target.len());
        self.passed.copy_to_slice(&mut target[..count]);
        Ok(count)
    }

    /// Passes the frame at the front on. Returns whether it was complete.
    fn look(&mut self) -> Result<bool, Garbled> {
        let Some(head) = self.bytes.first_chunk::<HEAD_BYTES>() else {
            return Ok(false);
        };
        if head.starts_with(b"AMQP") {
            self.passed.put(self.bytes.split_to(HEAD_BYTES));
            return Ok(true);
        }
        let [a, b, c, d, offset, kind, ..] = *head;
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        let start = usize::from(offset) * 4;
        if length > FRAME_BYTES_MAX || start < HEAD_BYTES || start > length {
            return Err(Garbled);
        }
        if self.bytes.len() < length {
            return Ok(false);
        }
        let frame = self.bytes.split_to(length);
        if kind != AMQP || start == length {
            self.passed.put(frame);
            return Ok(true);
        }
        let mut reader = Reader(&frame[start..]);
        let code = reader.descriptor()?;
        let Value::List(fields) = reader.value()? else {
            return Err(Garbled);
        };
        fields.clone().check()?;
        let payload = reader.0;
        match code {
            TRANSFER => pass_transfer(&frame, fields, payload, &mut self.passed)?,
            _ if !payload.is_empty() => return Err(Garbled),
            _ => {
                if code == OPEN
                    && let Some(product) = read_product(fields)
                {
                    let _ = self.product.set(product);
                }
                self.passed.put(frame);
            }
        }
        Ok(true)
    }
}

/// Passes a transfer on, with its payload in a data section: in two frames if one were too large.
fn pass_transfer(
    frame: &[u8],
    mut fields: Items<'_>,
    payload: &[u8],
    passed: &mut BytesMut,
) -> Result<(), Garbled> {
    let (head, performative) = frame[..frame.len() - payload.len()].split_at(HEAD_BYTES);
    let mut rest = payload;
    if frame.len() + WRAP_BYTES > FRAME_BYTES_MAX {
        let (first, second) = payload.split_at(payload.len() / 2);
        rest = second;
        // Handle, id, tag, format, settled; and that more comes.
        let mut list = BytesMut::new();
        for _ in 0..5 {
            match fields.encoded()? {
                [] => list.put_u8(0x40),
                field => list.put_slice(field),
            }
        }
        list.put_u8(0x41);
        let mut more = BytesMut::new();
        more.put_slice(&[0x00, 0x53, TRANSFER as u8, 0xd0]);
        more.put_u32(list.len() as u32 + 4);
        more.put_u32(6);
        more.put(list);
        // Without the extended header, if there is any.
        let plain = [&[0, 0, 0, 0, 2], &head[5..]].concat();
        put_frame(&plain, &more, first, passed);
    }
    put_frame(head, performative, rest, passed);
    Ok(())
}

fn put_frame(head: &[u8], performative: &[u8], payload: &[u8], passed: &mut BytesMut) {
    let length = head.len() + performative.len() + WRAP_BYTES + payload.len();
    passed.reserve(length);
    passed.put_u32(length as u32);
    passed.put_slice(&head[4..]);
    passed.put_slice(performative);
    passed.put_slice(&[0x00, 0x53, 0x75, 0xb0]);
    passed.put_u32(payload.len() as u32);
    passed.put_slice(payload);
}

/// Reads the tenth field of the greeting: a map of properties.
fn read_product(mut fields: Items<'_>) -> Option<String> {
    let Value::Map(mut properties) = fields.nth(9)?.ok()? else {
        return None;
    };
    let (mut product, mut version) = (String::new(), String::new());
    while let Some(Ok(key)) = properties.next() {
        let (Value::Text(key), Value::Text(value)) = (key, properties.next()?.ok()?) else {
            continue;
        };
        match &*key {
            "product" => product = value.into_owned(),
            "version" => version = value.into_owned(),
            _ => {}
        }
    }
    Some(format!("{product} {version}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, body: &[u8]) -> Vec<u8> {
        let mut frame = (body.len() as u32 + 8).to_be_bytes().to_vec();
        frame.extend([2, kind, 0, 1]);
        frame.extend(body);
        frame
    }

    fn performative(code: u8, count: u8, fields: &[u8]) -> Vec<u8> {
        let mut body = vec![0x00, 0x53, code, 0xc0, fields.len() as u8 + 1, count];
        body.extend(fields);
        body
    }

    fn transfer(payload: &[u8]) -> Vec<u8> {
        // Handle 0, delivery 7, tag "t".
        let list = performative(0x14, 3, b"\x43\x52\x07\xa0\x01t");
        frame(AMQP, &[&list, payload].concat())
    }

    fn wrapped(payload: &[u8]) -> Vec<u8> {
        let length = (payload.len() as u32).to_be_bytes();
        [b"\x00\x53\x75\xb0", &length[..], payload].concat()
    }

    /// What fe2o3-amqp reads if these bytes come in so many at a time.
    #[track_caller]
    fn read(bytes: &[u8], at_once: usize) -> Vec<u8> {
        let mut screen = Screen::default();
        let mut read = Vec::new();
        for part in bytes.chunks(at_once) {
            screen.bytes().extend_from_slice(part);
            let mut target = [0; 999];
            loop {
                match screen.take(&mut target).expect("it is AMQP") {
                    0 => break,
                    count => read.extend(&target[..count]),
                }
            }
        }
        read
    }

    #[track_caller]
    fn check(bytes: &[u8], expected: &[u8]) {
        for at_once in [1, 7, 8, 100_000] {
            assert!(read(bytes, at_once) == expected, "{at_once} at once");
        }
    }

    #[test]
    fn what_is_no_transfer_passes_as_it_is() {
        let all = [
            b"AMQP\x03\x01\x00\x00".to_vec(),
            frame(1, &performative(0x44, 1, b"\x50\x00")),
            b"AMQP\x00\x01\x00\x00".to_vec(),
            frame(AMQP, &performative(0x10, 1, b"\xa1\x01c")),
            frame(AMQP, b""),
            frame(AMQP, b"\x00\x53\x18\x45"),
        ];
        check(&all.concat(), &all.concat());
    }

    #[test]
    fn payloads_are_wrapped_whatever_they_are() {
        for payload in [&b"\x00\x53\x77\x40"[..], b"\xff", b"", &[0; 3_000]] {
            let sent = [transfer(payload), frame(AMQP, b"")].concat();
            check(
                &sent,
                &[transfer(&wrapped(payload)), frame(AMQP, b"")].concat(),
            );
        }
    }

    #[test]
    fn a_frame_that_would_be_too_large_becomes_two() {
        let head = transfer(b"").len();
        for spare in [0, 7, 8] {
            let payload: Vec<u8> = (0..FRAME_BYTES_MAX - head - spare)
                .map(|number| number as u8)
                .collect();
            let got = read(&transfer(&payload), 10_000);
            let first = u32::from_be_bytes(got[..4].try_into().expect("four bytes")) as usize;
            assert!(first <= FRAME_BYTES_MAX);
            if spare == 8 {
                assert!(got == transfer(&wrapped(&payload)));
                continue;
            }
            let (half, rest) = payload.split_at(payload.len() / 2);
            let more = b"\x00\x53\x14\xd0\x00\x00\x00\x0d\x00\x00\x00\x06\x43\x52\x07\xa0\x01t\x40\x40\x41";
            let expected = [
                frame(AMQP, &[&more[..], &wrapped(half)].concat()),
                transfer(&wrapped(rest)),
            ];
            assert!(got == expected.concat());
        }
    }

    #[test]
    fn what_is_no_amqp_is_refused() {
        let deep = (0..20).fold(vec![0x40], |inner: Vec<u8>, _| {
            [&[0xc0, inner.len() as u8 + 1, 1], &inner[..]].concat()
        });
        for garbled in [
            b"HTTP/1.1 400 Bad Request".to_vec(),
            b"\x00\x00\x00\x08\x01\x00\x00\x00".to_vec(),
            b"\x00\x00\x00\x08\x03\x00\x00\x00".to_vec(),
            frame(AMQP, b"\x41"),
            frame(AMQP, &performative(0x12, 1, &deep)),
            frame(
                AMQP,
                &[performative(0x11, 0, b""), b"more".to_vec()].concat(),
            ),
            (FRAME_BYTES_MAX as u32 + 1).to_be_bytes().repeat(2),
        ] {
            let mut screen = Screen::default();
            screen.bytes().extend_from_slice(&garbled);
            assert_eq!(screen.take(&mut [0; 8]), Err(Garbled), "{garbled:x?}");
        }
    }

    #[test]
    fn the_broker_s_product_is_read_from_its_greeting() {
        let map = b"\xa3\x07product\xa1\x08ActiveMQ\xa3\x07version\xa1\x056.3.1\xa3\x01n\x41";
        let map = [&[0xc1, map.len() as u8 + 1, 6], &map[..]].concat();
        let open = [b"\xa1\x01c\x40\x40\x40\x40\x40\x40\x40\x40", &map[..]].concat();
        let product = Product::default();
        let mut screen = Screen::new(product.clone());
        screen
            .bytes()
            .extend_from_slice(&frame(AMQP, &performative(0x10, 10, &open)));
        screen.take(&mut [0; 8]).expect("it is AMQP");
        assert_eq!(product.get().map(String::as_str), Some("ActiveMQ 6.3.1"));
    }
}
