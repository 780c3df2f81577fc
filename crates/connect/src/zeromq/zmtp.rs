//! ZMTP 3, the bytes of a ZeroMQ connection: the side of a server, with the mechanism NULL. Pure: no socket and no clock.
//!
//! Nothing is allocated for what a peer only announces: a frame is taken when all of it is there, and one that is too large is passed
//! over as it comes. ZMTP 3.0 and 3.1 are spoken; they differ in that 3.1 knows heartbeats.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Size of a greeting, bytes.
pub(super) const GREETING_BYTES: usize = 64;
/// Maximum size of a command, bytes: a READY with its properties is the largest one.
const COMMAND_BYTES_MAX: usize = 1_024;
/// Maximum number of bytes of a message that are passed over before the connection is given up.
const PASSED_OVER_MAX: u64 = 64 * 1024 * 1024;
/// Maximum size of what a PING holds for its PONG, bytes: ZMTP says so.
const CONTEXT_BYTES_MAX: usize = 16;

const MORE: u8 = 0b001;
const LONG: u8 = 0b010;
const COMMAND: u8 = 0b100;

/// What a peer did against the protocol. The connection is of no more use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct Violation(&'static str);

/// The greeting of a server.
pub(super) fn greeting() -> [u8; GREETING_BYTES] {
    let mut greeting = [0; GREETING_BYTES];
    (greeting[0], greeting[9]) = (0xff, 0x7f);
    // Version 3.1.
    (greeting[10], greeting[11]) = (3, 1);
    greeting[12..16].copy_from_slice(b"NULL");
    greeting
}

/// Reads the greeting of a peer. Returns whether it knows heartbeats.
///
/// # Errors
/// If it is no ZMTP 3 with the mechanism NULL.
pub(super) fn read_greeting(greeting: &[u8; GREETING_BYTES]) -> Result<bool, Violation> {
    if greeting[0] != 0xff || greeting[9] & 1 == 0 {
        return Err(Violation("it speaks no ZMTP"));
    }
    if greeting[10] < 3 {
        return Err(Violation("it speaks a ZMTP before 3.0"));
    }
    let mut null = [0; 20];
    null[..4].copy_from_slice(b"NULL");
    if greeting[12..32] != null {
        return Err(Violation(
            "it wants another mechanism of security than NULL",
        ));
    }
    Ok(greeting[10] > 3 || greeting[11] >= 1)
}

/// What a peer sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Item {
    Command(Command),
    Message(Message),
}

/// A message: its frames.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) frames: Vec<Bytes>,
    /// It had too many frames or bytes, and the rest of it was passed over.
    pub(super) is_cut: bool,
}

/// A command of the protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Command {
    /// The peer is ready, and this is the type of its socket.
    Ready { socket_type: Bytes },
    /// The peer wants a PONG with these bytes.
    Ping { context: Bytes },
    /// One that needs no answer.
    Other,
}

/// How much of a message is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    /// Maximum number of frames of a message.
    pub(super) frames_max: usize,
    /// Maximum size of a message, all frames together, bytes.
    pub(super) bytes_max: usize,
}

/// Makes items of the bytes of a connection, after its greeting.
#[derive(Debug)]
pub(super) struct Decoder {
    limits: Limits,
    /// The message so far.
    message: Message,
    bytes: usize,
    /// Bytes of the present frame that are still to be passed over.
    passing_over: u64,
    passed_over: u64,
    /// The frame that is passed over is its message's last one.
    is_last: bool,
}

struct Head {
    flags: u8,
    length: u64,
    bytes: usize,
}

impl Decoder {
    pub(super) fn new(limits: Limits) -> Decoder {
        Decoder {
            limits,
            message: Message::default(),
            bytes: 0,
            passing_over: 0,
            passed_over: 0,
            is_last: false,
        }
    }

    /// Whether a message has begun and not ended.
    pub(super) fn is_within_message(&self) -> bool {
        self.passing_over > 0 || self.message.is_cut || !self.message.frames.is_empty()
    }

    /// Takes the next item from the front of `buffer`; none if more bytes are needed.
    ///
    /// # Errors
    /// If the bytes are no ZMTP.
    pub(super) fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Item>, Violation> {
        loop {
            if self.passing_over > 0 {
                let here = buffer.len().min(self.passing_over_here());
                buffer.advance(here);
                self.passing_over -= here as u64;
                if self.passing_over > 0 {
                    return Ok(None);
                }
                if self.is_last {
                    return Ok(Some(self.end_message()));
                }
                continue;
            }
            let Some(head) = head(buffer)? else {
                return Ok(None);
            };
            if head.flags & COMMAND != 0 {
                return match take(buffer, &head, COMMAND_BYTES_MAX) {
                    Ok(Some(body)) => Ok(Some(Item::Command(read_command(&body)?))),
                    Ok(None) => Ok(None),
                    Err(()) => Err(Violation("it sends a command that is too large")),
                };
            }
            let is_last = head.flags & MORE == 0;
            let is_full = self.message.frames.len() == self.limits.frames_max;
            let taken = match self.message.is_cut || is_full {
                true => Err(()),
                false => take(buffer, &head, self.limits.bytes_max - self.bytes),
            };
            match taken {
                Ok(Some(frame)) => {
                    self.bytes += frame.len();
                    self.message.frames.push(frame);
                    if is_last {
                        return Ok(Some(self.end_message()));
                    }
                }
                Ok(None) => return Ok(None),
                Err(()) => self.pass_over(buffer, &head, is_last)?,
            }
            if self.message.is_cut && self.passing_over == 0 && is_last {
                return Ok(Some(self.end_message()));
            }
        }
    }

    fn passing_over_here(&self) -> usize {
        usize::try_from(self.passing_over).unwrap_or(usize::MAX)
    }

    /// Begins to pass over a frame.
    fn pass_over(
        &mut self,
        buffer: &mut BytesMut,
        head: &Head,
        is_last: bool,
    ) -> Result<(), Violation> {
        buffer.advance(head.bytes);
        self.message.is_cut = true;
        self.is_last = is_last;
        self.passing_over = head.length;
        // The head counts too, so that empty frames end as well.
        let bytes = head.length.saturating_add(head.bytes as u64);
        self.passed_over = self.passed_over.saturating_add(bytes);
        match self.passed_over > PASSED_OVER_MAX {
            true => Err(Violation("it sends a message that is far too large")),
            false => Ok(()),
        }
    }

    fn end_message(&mut self) -> Item {
        (self.bytes, self.passed_over) = (0, 0);
        Item::Message(std::mem::take(&mut self.message))
    }
}

/// Reads flags and length of the frame at the front; none if they are not all there.
fn head(buffer: &[u8]) -> Result<Option<Head>, Violation> {
    let Some(flags) = buffer.first().copied() else {
        return Ok(None);
    };
    if flags & !(MORE | LONG | COMMAND) != 0 {
        return Err(Violation("it sets flags that ZMTP does not know"));
    }
    if flags & COMMAND != 0 && flags & MORE != 0 {
        return Err(Violation("it divides a command"));
    }
    let head = match flags & LONG == 0 {
        true => buffer.get(1).map(|length| Head {
            flags,
            length: u64::from(*length),
            bytes: 2,
        }),
        false => {
            let length = buffer.get(1..9).and_then(|bytes| bytes.try_into().ok());
            length.map(|length| Head {
                flags,
                length: u64::from_be_bytes(length),
                bytes: 9,
            })
        }
    };
    Ok(head)
}

/// Takes a frame out of the buffer as a copy, so that it keeps no more memory than its own; none if it is not all there.
///
/// # Errors
/// If it is larger than `room`.
fn take(buffer: &mut BytesMut, head: &Head, room: usize) -> Result<Option<Bytes>, ()> {
    let length = usize::try_from(head.length).map_err(|_| ())?;
    if length > room {
        return Err(());
    }
    let Some(frame) = buffer.get(head.bytes..head.bytes + length) else {
        return Ok(None);
    };
    let frame = Bytes::copy_from_slice(frame);
    buffer.advance(head.bytes + length);
    Ok(Some(frame))
}

fn read_command(body: &Bytes) -> Result<Command, Violation> {
    let named = |body: &Bytes| {
        let length = usize::from(*body.first()?);
        (length > 0 && body.len() > length)
            .then(|| (body.slice(1..=length), body.slice(length + 1..)))
    };
    let (name, data) = named(body).ok_or(Violation("it sends a command without a name"))?;
    match &name[..] {
        b"READY" => {
            let socket_type = read_socket_type(data)?;
            Ok(Command::Ready { socket_type })
        }
        b"PING" => {
            // The first two bytes are how long the peer waits, which is its own affair.
            if data.len() < 2 || data.len() > 2 + CONTEXT_BYTES_MAX {
                return Err(Violation("it sends a PING of a wrong size"));
            }
            Ok(Command::Ping {
                context: data.slice(2..),
            })
        }
        _ => Ok(Command::Other),
    }
}

fn read_socket_type(mut properties: Bytes) -> Result<Bytes, Violation> {
    let broken = Violation("it sends properties that can't be read");
    let mut socket_type = Bytes::new();
    while properties.has_remaining() {
        let length = usize::from(properties.get_u8());
        if length == 0 || properties.remaining() < length + 4 {
            return Err(broken);
        }
        let name = properties.split_to(length);
        let length = usize::try_from(properties.get_u32()).map_err(|_| broken.clone())?;
        if properties.remaining() < length {
            return Err(broken);
        }
        let value = properties.split_to(length);
        if name.eq_ignore_ascii_case(b"Socket-Type") {
            socket_type = value;
        }
    }
    Ok(socket_type)
}

/// Returns a command as it is sent.
fn command(name: &[u8], data: &[u8]) -> Bytes {
    let length = 1 + name.len() + data.len();
    let mut bytes = BytesMut::with_capacity(length + 2);
    bytes.put_u8(COMMAND);
    bytes.put_u8(u8::try_from(length).expect("our commands are short"));
    bytes.put_u8(u8::try_from(name.len()).expect("our names are short"));
    bytes.put_slice(name);
    bytes.put_slice(data);
    bytes.freeze()
}

/// The command by which a ROUTER says that it is ready.
pub(super) fn ready() -> Bytes {
    let mut data = BytesMut::new();
    for (name, value) in [("Socket-Type", "ROUTER"), ("Identity", "")] {
        data.put_u8(u8::try_from(name.len()).expect("our names are short"));
        data.put_slice(name.as_bytes());
        data.put_u32(u32::try_from(value.len()).expect("our values are short"));
        data.put_slice(value.as_bytes());
    }
    command(b"READY", &data)
}

/// The command that asks a peer whether it is there.
pub(super) fn ping() -> Bytes {
    // No time to live: the peer need not count on hearing from us.
    command(b"PING", &[0, 0])
}

/// The command that answers a PING.
pub(super) fn pong(context: &[u8]) -> Bytes {
    command(b"PONG", &context[..context.len().min(CONTEXT_BYTES_MAX)])
}

/// The command that says why the handshake ends.
pub(super) fn error(reason: &str) -> Bytes {
    let reason = &reason.as_bytes()[..reason.len().min(200)];
    let mut data = vec![u8::try_from(reason.len()).expect("it is cut")];
    data.extend(reason);
    command(b"ERROR", &data)
}

/// Returns a message as it is sent.
pub(super) fn message(frames: &[&[u8]]) -> Bytes {
    let length = frames.iter().map(|frame| frame.len() + 9).sum();
    let mut bytes = BytesMut::with_capacity(length);
    for (index, frame) in frames.iter().enumerate() {
        let more = match index + 1 < frames.len() {
            true => MORE,
            false => 0,
        };
        match u8::try_from(frame.len()) {
            Ok(length) => {
                bytes.put_u8(more);
                bytes.put_u8(length);
            }
            Err(_) => {
                bytes.put_u8(more | LONG);
                bytes.put_u64(frame.len() as u64);
            }
        }
        bytes.put_slice(frame);
    }
    bytes.freeze()
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    const LIMITS: Limits = Limits {
        frames_max: 4,
        bytes_max: 1_000,
    };

    /// Decodes bytes that come in pieces of these sizes, over and over.
    fn decode(bytes: &[u8], pieces: &[usize]) -> Result<Vec<Item>, Violation> {
        let mut decoder = Decoder::new(LIMITS);
        let (mut buffer, mut items) = (BytesMut::new(), Vec::new());
        let (mut rest, mut sizes) = (bytes, pieces.iter().cycle());
        loop {
            while let Some(item) = decoder.decode(&mut buffer)? {
                items.push(item);
            }
            // What is announced and not there is not waited for with more than a message's memory.
            assert!(buffer.len() <= LIMITS.bytes_max.max(COMMAND_BYTES_MAX) + 9);
            if rest.is_empty() {
                return Ok(items);
            }
            let size = rest.len().min(*sizes.next().expect("it goes round"));
            buffer.put_slice(&rest[..size]);
            rest = &rest[size..];
        }
    }

    fn frames(item: &Item) -> (Vec<Vec<u8>>, bool) {
        match item {
            Item::Message(message) => (
                message.frames.iter().map(|frame| frame.to_vec()).collect(),
                message.is_cut,
            ),
            Item::Command(command) => panic!("{command:?}"),
        }
    }

    #[track_caller]
    fn check_refused(bytes: &[u8], why: &str) {
        let refused = decode(bytes, &[1]).expect_err(why);
        assert!(refused.to_string().contains(why), "{refused}");
    }

    #[test]
    fn a_greeting_of_a_version_and_a_mechanism_that_we_speak_is_taken() {
        let mut peer = greeting();
        assert_eq!(read_greeting(&peer), Ok(true));
        peer[11] = 0;
        assert_eq!(read_greeting(&peer), Ok(false));
        peer[10] = 2;
        assert!(read_greeting(&peer).is_err());
        let mut peer = greeting();
        peer[12..17].copy_from_slice(b"CURVE");
        assert!(read_greeting(&peer).is_err());
        let mut peer = greeting();
        peer[16] = b'X';
        assert!(read_greeting(&peer).is_err());
        assert!(read_greeting(&[b'G'; 64]).is_err());
        assert!(read_greeting(&[0; 64]).is_err());
    }

    #[test]
    fn commands_are_read() {
        let mut bytes = ready().to_vec();
        bytes.extend(ping());
        bytes.extend(command(b"PING", &[0, 9, 1, 2]));
        bytes.extend(pong(&[1, 2]));
        bytes.extend(command(b"SUBSCRIBE", b"x"));
        let ready = Command::Ready {
            socket_type: Bytes::from_static(b"ROUTER"),
        };
        let ping = |context: &'static [u8]| Command::Ping {
            context: Bytes::from_static(context),
        };
        let expected = [
            ready,
            ping(&[]),
            ping(&[1, 2]),
            Command::Other,
            Command::Other,
        ];
        assert_eq!(
            decode(&bytes, &[3]),
            Ok(expected.map(Item::Command).to_vec())
        );
    }

    #[test]
    fn what_is_no_zmtp_ends_the_connection() {
        check_refused(&[0x08, 0], "flags");
        check_refused(&[0xff, 0], "flags");
        check_refused(&[COMMAND | MORE, 0], "divides");
        check_refused(&[COMMAND, 0], "without a name");
        check_refused(&[COMMAND, 2, 5, b'R'], "without a name");
        check_refused(&command(b"PING", &[0]), "PING");
        check_refused(&command(b"PING", &[0; 19]), "PING");
        check_refused(&command(b"READY", &[3, b'a']), "properties");
        check_refused(&command(b"READY", &[1, b'a', 0, 0, 0, 9, 1]), "properties");
        check_refused(
            &command(b"READY", &[1, b'a', 255, 255, 255, 255]),
            "properties",
        );
        let mut large = vec![COMMAND | LONG];
        large.extend(2_000_u64.to_be_bytes());
        check_refused(&large, "too large");
        let mut huge = vec![LONG];
        huge.extend(u64::MAX.to_be_bytes());
        check_refused(&huge, "far too large");
        // Endless empty frames end too.
        let mut decoder = Decoder::new(LIMITS);
        decoder.message.is_cut = true;
        decoder.passed_over = PASSED_OVER_MAX - 3;
        let mut endless = BytesMut::from(&[MORE, 0, MORE, 0][..]);
        let refused = decoder.decode(&mut endless).expect_err("it is enough");
        assert!(refused.to_string().contains("far too large"), "{refused}");
    }

    #[test]
    fn a_message_that_is_too_large_is_passed_over_and_the_next_one_is_read() {
        let large = [7; 991];
        let mut bytes = message(&[b"first", &large, b"third"]).to_vec();
        bytes.extend(message(&[b"1", b"2", b"3", b"4", b"5", b""]));
        bytes.extend(message(&[b"good"]));
        for pieces in [1, 3, 64, 4_096] {
            let items = decode(&bytes, &[pieces]).expect("it is ZMTP");
            let items: Vec<_> = items.iter().map(frames).collect();
            let kept = |frames: &[&[u8]]| frames.iter().map(|frame| frame.to_vec()).collect();
            let expected: [(Vec<Vec<u8>>, bool); 3] = [
                (kept(&[b"first", &large]), true),
                (kept(&[b"1", b"2", b"3", b"4"]), true),
                (kept(&[b"good"]), false),
            ];
            assert!(items == expected, "in pieces of {pieces} bytes");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused_within_bounded_memory(
            bytes in vec(prop_oneof![3 => 0..8_u8, 1 => any::<u8>()], 0..3_000),
            pieces in vec(1..700_usize, 1..8),
        ) {
            let whole = decode(&bytes, &[64]);
            prop_assert_eq!(decode(&bytes, &pieces), whole);
        }

        #[test]
        fn what_is_written_is_read(
            messages in vec(vec(vec(any::<u8>(), 0..300), 1..4), 0..6),
            pieces in vec(1..700_usize, 1..8),
        ) {
            let mut bytes = Vec::new();
            for frames in &messages {
                let frames: Vec<&[u8]> = frames.iter().map(Vec::as_slice).collect();
                bytes.extend(message(&frames));
                // A heartbeat may come between any two.
                bytes.extend(pong(b"x"));
            }
            let items = decode(&bytes, &pieces).expect("it is ZMTP");
            let read: Vec<Vec<Vec<u8>>> = items
                .iter()
                .filter(|item| matches!(item, Item::Message(_)))
                .map(|item| frames(item).0)
                .collect();
            prop_assert_eq!(read, messages);
        }
    }
}
