//! What comes in from a broker, screened before lapin reads it.
//!
//! Anyone who may publish decides what the names and the properties of a message are. lapin ends the connection at a name that is not
//! UTF-8, so that one such message would come again for ever; and it reads tables within tables as deep as they are, until the stack of
//! its thread is used up, which ends the program. RabbitMQ refuses neither. It also sends properties in one frame, however large they
//! are, where lapin ends the connection.

use std::sync::{Arc, OnceLock};

use bytes::{Buf, BytesMut};

/// Header of a message whose properties could not be read.
pub const UNREADABLE_HEADER: &str = "x-unreadable-properties";
/// Maximum size of a frame, in bytes; larger messages take several. lapin keeps room for 64 of them per connection.
pub(super) const FRAME_BYTES_MAX: usize = 32 * 1024;

/// Type, channel and size of a frame, in bytes.
const HEAD_BYTES: usize = 7;
/// What comes after a frame's payload, in bytes.
const END_BYTES: usize = 1;
/// Class and weight of a message, and the size of its body, at the beginning of its properties; in bytes.
const START_BYTES: usize = 12;
/// Minimum room for one read, in bytes.
const READ_BYTES_MIN: usize = 16 * 1024;
/// Maximum depth of tables within tables.
const DEPTH_MAX: usize = 16;
/// Number of properties of a message.
const PROPERTIES: u32 = 14;

/// Value of the header that stands for properties that were left out.
const UNREADABLE: &str = "its properties can't be read";

/// What ends a frame.
const END: u8 = 0xCE;
const METHOD: u8 = 1;
const HEADER: u8 = 2;
const BODY: u8 = 3;
const HEARTBEAT: u8 = 8;

/// Version of the broker, once it has said it.
pub(super) type Version = Arc<OnceLock<String>>;

/// Bytes from the broker on their way to lapin.
#[derive(Debug, Default)]
pub(super) struct Screen {
    bytes: BytesMut,
    /// Number of bytes at the front that lapin may read.
    passed: usize,
    /// Number of bytes behind them that it shall not read.
    hidden: usize,
    version: Version,
}

/// The broker sends what is no AMQP.
#[derive(Debug, PartialEq)]
pub(super) struct Garbled;

impl Screen {
    pub(super) fn new(version: Version) -> Screen {
        Screen {
            version,
            ..Screen::default()
        }
    }

    /// Where to read to.
    pub(super) fn bytes(&mut self) -> &mut BytesMut {
        self.bytes.reserve(READ_BYTES_MIN);
        &mut self.bytes
    }

    /// Copies what lapin may read. Returns 0 if more has to come in first.
    pub(super) fn take(&mut self, target: &mut [u8]) -> Result<usize, Garbled> {
        if self.passed == 0 {
            let count = self.hidden.min(self.bytes.len());
            self.bytes.advance(count);
            self.hidden -= count;
            if self.hidden == 0 {
                self.look()?;
            }
        }
        let count = self.passed.min(self.bytes.len()).min(target.len());
        self.bytes.copy_to_slice(&mut target[..count]);
        self.passed -= count;
        Ok(count)
    }

    /// Looks through the frame at the front, as soon as it is complete.
    fn look(&mut self) -> Result<(), Garbled> {
        let Some(head) = self.bytes.first_chunk::<HEAD_BYTES>() else {
            return Ok(());
        };
        let [kind, _, _, size @ ..] = *head;
        let length = HEAD_BYTES + u32::from_be_bytes(size) as usize + END_BYTES;
        let is_complete = self.bytes.len() >= length;
        match kind {
            BODY | HEARTBEAT => self.passed = length,
            HEADER if length > FRAME_BYTES_MAX => self.strip(length),
            METHOD if length > FRAME_BYTES_MAX => return Err(Garbled),
            METHOD | HEADER if !is_complete => {}
            METHOD => {
                let payload = &mut self.bytes[HEAD_BYTES..length - END_BYTES];
                if let Some(version) = mend_method(payload) {
                    let _ = self.version.set(version);
                }
                self.passed = length;
            }
            HEADER => {
                let payload = &mut self.bytes[HEAD_BYTES..length - END_BYTES];
                match mend_properties(payload) {
                    Some(()) => self.passed = length,
                    None if length < HEAD_BYTES + START_BYTES => return Err(Garbled),
                    None => self.strip(length),
                }
            }
            // Its own protocol header, which says what it speaks instead: lapin knows what to do.
            b'A' => self.passed = usize::MAX,
            _ => return Err(Garbled),
        }
        Ok(())
    }

    /// Leaves the properties of the message at the front out, but for a header that says so.
    fn strip(&mut self, length: usize) {
        const START: usize = HEAD_BYTES + START_BYTES;
        const ONLY_HEADERS: u16 = 1 << 13;
        let Some(start) = self.bytes.first_chunk::<START>() else {
            return;
        };
        let (head, start) = start.split_at(HEAD_BYTES);
        let table = [
            &[UNREADABLE_HEADER.len() as u8][..],
            UNREADABLE_HEADER.as_bytes(),
            b"S",
            &(UNREADABLE.len() as u32).to_be_bytes(),
            UNREADABLE.as_bytes(),
        ]
        .concat();
        let payload = [
            start,
            &ONLY_HEADERS.to_be_bytes(),
            &(table.len() as u32).to_be_bytes(),
            &table,
        ]
        .concat();
        let size = (payload.len() as u32).to_be_bytes();
        let frame = [&head[..3], &size, &payload, &[END]].concat();
        let rest = self.bytes.split_off(START);
        self.bytes = BytesMut::from(&frame[..]);
        self.bytes.extend_from_slice(&rest);
        self.passed = frame.len();
        self.hidden = length - START;
    }
}

/// Makes the names in a method UTF-8 where a publisher has chosen them. Returns the version of the broker, if this is its greeting.
fn mend_method(payload: &mut [u8]) -> Option<String> {
    let mut rest = Rest(payload);
    match (rest.u16()?, rest.u16()?) {
        // connection.start
        (10, 10) => {
            const NAME: &[u8] = b"\x07versionS";
            let at = rest.0.windows(NAME.len()).position(|part| part == NAME)?;
            rest.skip(at + NAME.len())?;
            let length = rest.u32()? as usize;
            let text = rest.0.get(..length)?;
            return Some(String::from_utf8_lossy(text).into_owned());
        }
        // connection.close and channel.close: RabbitMQ cuts the text off anywhere.
        (10, 50) | (20, 40) => {
            rest.skip(2)?;
            rest.name()?;
        }
        // basic.deliver: consumer tag, delivery tag, redelivered, exchange, routing key.
        (60, 60) => {
            rest.name()?;
            rest.skip(9)?;
            rest.name()?;
            rest.name()?;
        }
        _ => {}
    }
    None
}

/// Makes the texts in a message's properties UTF-8. None if they can't be read.
fn mend_properties(payload: &mut [u8]) -> Option<()> {
    let mut rest = Rest(payload);
    rest.skip(START_BYTES)?;
    let flags = rest.u16()?;
    for number in 0..PROPERTIES {
        if flags & (1 << (15 - number)) == 0 {
            continue;
        }
        match number {
            2 => rest.table(0)?,
            // Delivery mode, priority; timestamp.
            3 | 4 => rest.skip(1)?,
            9 => rest.skip(8)?,
            _ => rest.name()?,
        }
    }
    (flags & 0b11 == 0 && rest.0.is_empty()).then_some(())
}

/// What of a payload is left to be looked through.
struct Rest<'a>(&'a mut [u8]);

impl<'a> Rest<'a> {
    fn split(&mut self, length: usize) -> Option<&'a mut [u8]> {
        let (first, rest) = std::mem::take(&mut self.0).split_at_mut_checked(length)?;
        self.0 = rest;
        Some(first)
    }

    fn skip(&mut self, length: usize) -> Option<()> {
        self.split(length).map(drop)
    }

    fn u8(&mut self) -> Option<u8> {
        Some(self.split(1)?[0])
    }

    fn u16(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes(self.split(2)?.try_into().ok()?))
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_be_bytes(self.split(4)?.try_into().ok()?))
    }

    /// A name of up to 255 bytes. If it is not UTF-8, it is made so.
    fn name(&mut self) -> Option<()> {
        let length = self.u8()?;
        let name = self.split(length.into())?;
        if std::str::from_utf8(name).is_err() {
            for byte in name.iter_mut().filter(|byte| !byte.is_ascii()) {
                *byte = b'?';
            }
        }
        Some(())
    }

    fn table(&mut self, depth: usize) -> Option<()> {
        let length = self.u32()? as usize;
        let mut inside = Rest(self.split(length)?);
        while !inside.0.is_empty() {
            inside.name()?;
            inside.value(depth)?;
        }
        Some(())
    }

    fn array(&mut self, depth: usize) -> Option<()> {
        let length = self.u32()? as usize;
        let mut inside = Rest(self.split(length)?);
        while !inside.0.is_empty() {
            inside.value(depth)?;
        }
        Some(())
    }

    fn value(&mut self, depth: usize) -> Option<()> {
        match self.u8()? {
            b'V' => Some(()),
            b't' | b'b' | b'B' => self.skip(1),
            b's' | b'U' | b'u' => self.skip(2),
            b'I' | b'i' | b'f' => self.skip(4),
            b'D' => self.skip(5),
            b'l' | b'L' | b'd' | b'T' => self.skip(8),
            b'S' | b'x' => {
                let length = self.u32()? as usize;
                self.skip(length)
            }
            b'F' if depth < DEPTH_MAX => self.table(depth + 1),
            b'A' if depth < DEPTH_MAX => self.array(depth + 1),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![kind, 0, 1];
        frame.extend((payload.len() as u32).to_be_bytes());
        frame.extend(payload);
        frame.push(END);
        frame
    }

    fn name(text: &[u8]) -> Vec<u8> {
        [&[text.len() as u8], text].concat()
    }

    fn deliver(key: &[u8]) -> Vec<u8> {
        let start = [0, 60, 0, 60].to_vec();
        let payload = [start, name(b"tag"), vec![0; 9], name(b""), name(key)].concat();
        frame(METHOD, &payload)
    }

    /// Properties of a message with a body of 5 bytes.
    fn properties(flags: u16, values: &[u8]) -> Vec<u8> {
        let start = [0, 60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5];
        frame(HEADER, &[&start, &flags.to_be_bytes()[..], values].concat())
    }

    fn table(entries: &[u8]) -> Vec<u8> {
        [&(entries.len() as u32).to_be_bytes(), entries].concat()
    }

    fn nested(depth: usize) -> Vec<u8> {
        let mut inner = table(&[]);
        for _ in 0..depth {
            inner = table(&[&b"\x01aF"[..], &inner].concat());
        }
        inner
    }

    /// What lapin reads if these bytes come in so many at a time.
    #[track_caller]
    fn read(bytes: &[u8], at_once: usize) -> Vec<u8> {
        let mut screen = Screen::default();
        let mut read = Vec::new();
        for part in bytes.chunks(at_once) {
            screen.bytes().extend_from_slice(part);
            let mut target = [0; 3];
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
        for at_once in [1, 7, 8, 1000] {
            assert_eq!(read(bytes, at_once), expected, "{at_once} at once");
        }
    }

    #[test]
    fn what_is_sound_passes_as_it_is() {
        let headers = [
            &b"\x01tt\x01\x01sU\x00\x07\x01SS\x00\x00\x00\x02\xff\xfe"[..],
            b"\x01VV\x01DD\x00\x00\x00\x00\x01\x01TT\x00\x00\x00\x00\x00\x00\x00\x09",
            b"\x01AA\x00\x00\x00\x02t\x00",
        ];
        let all = [
            deliver("ключ".as_bytes()),
            // Content type, headers, delivery mode and timestamp.
            properties(
                0b1011_0000_0100_0000,
                &[
                    name(b"text/plain"),
                    table(&headers.concat()),
                    vec![2],
                    vec![0; 8],
                ]
                .concat(),
            ),
            frame(BODY, b"hello"),
            frame(HEARTBEAT, b""),
            properties(0b0010_0000_0000_0000, &nested(16)),
        ];
        check(&all.concat(), &all.concat());
    }

    #[test]
    fn a_name_that_is_not_utf_8_becomes_ascii() {
        check(&deliver(b"caf\xe9"), &deliver(b"caf?"));
        let entry = |key: &[u8]| table(&[name(key), vec![b'V']].concat());
        check(
            &properties(
                0b0010_0000_1000_0000,
                &[entry(b"\xe9"), name(b"id-\xff")].concat(),
            ),
            &properties(
                0b0010_0000_1000_0000,
                &[entry(b"?"), name(b"id-?")].concat(),
            ),
        );
    }

    #[test]
    fn properties_that_can_t_be_read_are_left_out() {
        let told = [
            &name(UNREADABLE_HEADER.as_bytes())[..],
            b"S\x00\x00\x00\x1c",
            UNREADABLE.as_bytes(),
        ]
        .concat();
        let left = properties(0b0010_0000_0000_0000, &table(&told));
        let next = frame(BODY, b"hello");
        let large = [&name(b"large")[..], b"S\x00\x00\x80\x00", &[b'x'; 0x8000]].concat();
        assert!(large.len() > FRAME_BYTES_MAX);
        for unsound in [
            properties(0b0010_0000_0000_0000, &nested(17)),
            properties(0b0010_0000_0000_0000, &nested(4_000)),
            properties(0b0010_0000_0000_0000, &table(b"\x01a?")),
            properties(0b1000_0000_0000_0000, b"\x09text"),
            properties(0b1000_0000_0000_0001, &name(b"text")),
            properties(0, b"more"),
            properties(0b0010_0000_0000_0000, &table(&large)),
        ] {
            check(
                &[&unsound[..], &next].concat(),
                &[&left[..], &next].concat(),
            );
        }
    }

    #[test]
    fn the_broker_s_version_is_read_from_its_greeting() {
        let version = Version::default();
        let mut screen = Screen::new(version.clone());
        let greeting = table(b"\x07productS\x00\x00\x00\x01R\x07versionS\x00\x00\x00\x064.3.12");
        let start = frame(METHOD, &[&[0, 10, 0, 10, 0, 9][..], &greeting].concat());
        screen.bytes().extend_from_slice(&start);
        screen.take(&mut [0; 8]).expect("it is AMQP");
        assert_eq!(version.get().map(String::as_str), Some("4.3.12"));
    }

    #[test]
    fn what_is_no_amqp_is_refused() {
        let mut screen = Screen::default();
        screen
            .bytes()
            .extend_from_slice(b"HTTP/1.1 400 Bad Request");
        assert!(screen.take(&mut [0; 8]).is_err());
    }
}
