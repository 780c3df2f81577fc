//! Encoding and decoding of the gRPC messages. A plain payment is 72 bytes, in which only key, accounts and amount differ.

use bytes::{BufMut, Bytes, BytesMut};

use crate::skew::mix_bits;

/// Numeric currency code of EUR.
pub(crate) const CURRENCY: u32 = 978;
/// Size of the prefix of a message, in bytes: a compression flag and the length.
pub(crate) const PREFIX_BYTES: usize = 5;
/// Size of a plain payment within a batch, in bytes.
const PAYMENT_BYTES: usize = 72;

/// The 16 bytes of an id.
pub(crate) type IdBytes = [u8; 16];

/// Returns the idempotency key of payment `number` in the run `run`.
pub(crate) fn idempotency_key(run: u64, number: u64) -> IdBytes {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&mix_bits(run ^ mix_bits(number)).to_le_bytes());
    key[8..].copy_from_slice(&number.to_le_bytes());
    key
}

/// Encodes the fields that every payment has.
fn encode_payment(source: &IdBytes, destination: &IdBytes, amount: u64) -> Vec<u8> {
    let mut pay = Vec::with_capacity(60);
    put_field(&mut pay, 1, source);
    put_field(&mut pay, 2, destination);
    pay.push(0x19);
    pay.extend(amount.to_le_bytes());
    pay.push(0x25);
    pay.extend(CURRENCY.to_le_bytes());
    pay
}

/// A `SubmitRequest` that is being encoded.
pub(crate) struct Message(BytesMut);

impl Message {
    /// Creates an empty message with room for `payments` payments.
    pub(crate) fn new(payments: usize) -> Message {
        let mut bytes = BytesMut::with_capacity(PREFIX_BYTES + payments * PAYMENT_BYTES);
        bytes.put_bytes(0, PREFIX_BYTES);
        Message(bytes)
    }

    /// Appends a payment.
    pub(crate) fn add_payment(
        &mut self,
        key: &IdBytes,
        source: &IdBytes,
        destination: &IdBytes,
        amount: u64,
    ) {
        let mut bytes = [0; PAYMENT_BYTES];
        bytes[..4].copy_from_slice(&[0x0a, 70, 0x0a, 16]);
        bytes[4..20].copy_from_slice(key);
        bytes[20..24].copy_from_slice(&[0x1a, 50, 0x0a, 16]);
        bytes[24..40].copy_from_slice(source);
        bytes[40..42].copy_from_slice(&[0x12, 16]);
        bytes[42..58].copy_from_slice(destination);
        bytes[58] = 0x19;
        bytes[59..67].copy_from_slice(&amount.to_le_bytes());
        bytes[67] = 0x25;
        bytes[68..].copy_from_slice(&CURRENCY.to_le_bytes());
        self.0.extend_from_slice(&bytes);
    }

    /// Appends an authorization that holds money until `expires_at`, nanoseconds since the Unix epoch.
    pub(crate) fn add_authorization(
        &mut self,
        key: &IdBytes,
        source: &IdBytes,
        destination: &IdBytes,
        amount: u64,
        expires_at: u64,
    ) {
        let mut pay = encode_payment(source, destination, amount);
        pay.push(0x41);
        pay.extend(expires_at.to_le_bytes());
        self.add_command(key, 3, &pay);
    }

    /// Appends a top-up.
    pub(crate) fn add_top_up(
        &mut self,
        key: &IdBytes,
        source: &IdBytes,
        destination: &IdBytes,
        amount: u64,
    ) {
        let mut pay = encode_payment(source, destination, amount);
        // Kind: top-up.
        pay.extend([5 << 3, 2]);
        self.add_command(key, 3, &pay);
    }

    /// Appends the opening of an account: a wallet, or an external account if the owner is the platform.
    pub(crate) fn add_account(&mut self, key: &IdBytes, owner: &str) {
        let mut open = Vec::with_capacity(64);
        put_field(&mut open, 1, owner.as_bytes());
        open.push(0x15);
        open.extend(CURRENCY.to_le_bytes());
        if owner == "platform" {
            // Kind: external. Overdraft: unlimited.
            open.extend([3 << 3, 2, 5 << 3, 1]);
        }
        self.add_command(key, 7, &open);
    }

    /// Appends the publication of an event.
    pub(crate) fn add_event(&mut self, key: &IdBytes, kind: &str, data: &[u8]) {
        let body = field_len(kind.len()) + field_len(data.len());
        put_head(&mut self.0, 1, field_len(key.len()) + field_len(body));
        put_head(&mut self.0, 1, key.len());
        self.0.extend_from_slice(key);
        put_head(&mut self.0, 14, body);
        put_head(&mut self.0, 1, kind.len());
        self.0.extend_from_slice(kind.as_bytes());
        put_head(&mut self.0, 3, data.len());
        self.0.extend_from_slice(data);
    }

    fn add_command(&mut self, key: &IdBytes, number: u8, body: &[u8]) {
        let mut command = Vec::with_capacity(24 + body.len());
        put_field(&mut command, 1, key);
        put_field(&mut command, number, body);
        let mut outer = Vec::with_capacity(2 + command.len());
        put_field(&mut outer, 1, &command);
        self.0.extend_from_slice(&outer);
    }

    /// Returns the message with its prefix.
    pub(crate) fn finish(mut self) -> Bytes {
        let len = u32::try_from(self.0.len() - PREFIX_BYTES).expect("a batch is small");
        self.0[1..PREFIX_BYTES].copy_from_slice(&len.to_be_bytes());
        self.0.freeze()
    }
}

/// Encodes the first request of a `Receive` stream.
pub(crate) fn encode_receive_request(subscription: &str, batch_max: u32, out_max: u32) -> Bytes {
    let mut message = Message::new(2);
    put_head(&mut message.0, 1, subscription.len());
    message.0.extend_from_slice(subscription.as_bytes());
    for (number, value) in [(2, batch_max), (3, out_max)] {
        message.0.put_u8(number << 3);
        put_varint(&mut message.0, value as usize);
    }
    message.finish()
}

/// Encodes the acknowledgement of a response.
pub(crate) fn encode_acknowledgement(number: u64) -> Bytes {
    let mut message = Message::new(1);
    message.0.put_u8(5 << 3);
    put_varint(&mut message.0, number as usize);
    message.finish()
}

/// A delivered event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct DeliveredEvent<'a> {
    pub(crate) kind: &'a [u8],
    pub(crate) data: &'a [u8],
}

/// Decodes a `ReceiveResponse`: sets `number` if the response has one, and calls `each` with every event.
pub(crate) fn parse_response<'a>(
    mut bytes: &'a [u8],
    number: &mut u64,
    each: &mut dyn FnMut(DeliveredEvent<'a>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    while let Some((field, value, content)) = take_field(&mut bytes) {
        match field {
            1 => *number = value,
            2 => {
                let (mut event, mut rest) = (DeliveredEvent::default(), content);
                while let Some((field, _, content)) = take_field(&mut rest) {
                    match field {
                        2 => event.kind = content,
                        6 => event.data = content,
                        _ => {}
                    }
                }
                each(event)?;
            }
            _ => {}
        }
    }
    anyhow::ensure!(bytes.is_empty(), "a response is not a valid message");
    Ok(())
}

/// Takes a field: its number, and its value as an integer or as bytes. Returns `None` at the end and at invalid bytes.
#[inline]
fn take_field<'a>(bytes: &mut &'a [u8]) -> Option<(u64, u64, &'a [u8])> {
    let head = take_varint(bytes)?;
    let (value, content) = match head & 7 {
        0 => (take_varint(bytes)?, &[][..]),
        1 => (0, bytes.split_off(..8)?),
        2 => {
            let len = usize::try_from(take_varint(bytes)?).ok()?;
            (0, bytes.split_off(..len)?)
        }
        _ => return None,
    };
    Some((head >> 3, value, content))
}

#[inline]
fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..63).step_by(7) {
        let byte = *bytes.split_off_first()?;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

fn put_varint(into: &mut BytesMut, mut number: usize) {
    while number >= 0x80 {
        into.put_u8(number as u8 | 0x80);
        number >>= 7;
    }
    into.put_u8(number as u8);
}

/// Appends the head of a field of `len` bytes.
fn put_head(into: &mut BytesMut, number: u8, len: usize) {
    into.put_u8(number << 3 | 2);
    put_varint(into, len);
}

/// Returns the size of a field of `len` bytes with its head.
fn field_len(len: usize) -> usize {
    1 + (usize::BITS - (len | 1).leading_zeros()).div_ceil(7) as usize + len
}

/// Appends a field of fewer than 128 bytes.
fn put_field(into: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    let len = u8::try_from(bytes.len()).expect("short");
    assert!(len < 128 && number < 16, "one byte each");
    into.extend([number << 3 | 2, len]);
    into.extend(bytes);
}

/// Result of one command of a batch.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct CommandResult<'a> {
    /// Id of the created object; empty if there is none.
    pub(crate) id: &'a [u8],
    /// Code of the rejection; empty if the command was accepted.
    pub(crate) code: &'a str,
    pub(crate) replayed: bool,
}

/// Iterates over the results in a `SubmitResponse`, in order, until the end or until invalid bytes.
pub(crate) fn parse_results(mut bytes: &[u8]) -> impl Iterator<Item = CommandResult<'_>> {
    std::iter::from_fn(move || {
        let (&[0x0a, len], rest) = bytes.split_first_chunk()? else {
            return None;
        };
        let (mut result, rest) = rest.split_at_checked(usize::from(len))?;
        bytes = rest;
        let mut answered = CommandResult {
            id: &[],
            code: "",
            replayed: false,
        };
        while let Some((&[key, len], rest)) = result.split_first_chunk() {
            if key == 0x18 {
                answered.replayed = len != 0;
                result = rest;
                continue;
            }
            let (value, rest) = rest.split_at_checked(usize::from(len))?;
            match key {
                0x0a => answered.id = value,
                0x12 => answered.code = std::str::from_utf8(value).ok()?,
                _ => return None,
            }
            result = rest;
        }
        Some(answered)
    })
}

/// Returns the text form of an id.
pub(crate) fn id_text(prefix: &str, block: &IdBytes) -> String {
    const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
    let mut bits = u128::from_be_bytes(*block);
    let mut digits = [0; 26];
    for digit in digits.iter_mut().rev() {
        *digit = ALPHABET[(bits & 31) as usize];
        bits >>= 5;
    }
    let digits = std::str::from_utf8(&digits).expect("the alphabet is ASCII");
    format!("{prefix}_{digits}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_written_in_crockford_base32() {
        // The example of the ULID specification, which uses the same alphabet and order.
        let block = 0x0156_3e3a_b5d3_d676_4c61_efb9_9302_bd5b_u128.to_be_bytes();
        assert_eq!(id_text("acct", &block), "acct_01arz3ndektsv4rrffq69g5fav");
        assert_eq!(
            id_text("acct", &[0; 16]),
            format!("acct_{}", "0".repeat(26))
        );
    }

    #[test]
    fn events_are_read_with_their_response() {
        let data = [b'x'; 200];
        let mut message = Message::new(1);
        message.add_event(&[1; 16], "app.a", &data);
        let bytes = message.finish();
        // In the command, field 1 is the type and field 3 the data.
        let mut command = &bytes[PREFIX_BYTES..];
        let (field, _, mut command) = take_field(&mut command).expect("a command");
        let (key, _, _) = take_field(&mut command).expect("a key");
        let (publish, _, mut publish_body) = take_field(&mut command).expect("a body");
        assert_eq!((field, key, publish), (1, 1, 14));
        let kind = take_field(&mut publish_body).expect("a type");
        assert_eq!(kind, (1, 0, &b"app.a"[..]));
        assert_eq!(take_field(&mut publish_body), Some((3, 0, &data[..])));
        let mut response_bytes = vec![0x08, 7, 0x12, 9, 0x12, 1, b'k', 0x32, 2];
        response_bytes.extend(b"{}");
        response_bytes.extend([0x38, 1]);
        let (mut number, mut seen) = (0, Vec::new());
        parse_response(&response_bytes, &mut number, &mut |event| {
            seen.push(event);
            Ok(())
        })
        .expect("a response");
        let (kind, data) = (&b"k"[..], &b"{}"[..]);
        assert_eq!((number, seen), (7, vec![DeliveredEvent { kind, data }]));
    }

    #[test]
    fn results_are_read_with_their_codes() {
        let mut bytes = vec![0x0a, 18, 0x0a, 16];
        bytes.extend([7; 16]);
        bytes.extend([0x0a, 7, 0x12, 3, b'o', b'h', b'!', 0x18, 1]);
        let read: Vec<_> = parse_results(&bytes).collect();
        assert_eq!(read.len(), 2);
        assert_eq!(
            (read[0].id, read[0].code, read[0].replayed),
            (&[7; 16][..], "", false)
        );
        assert_eq!(
            (read[1].id, read[1].code, read[1].replayed),
            (&[][..], "oh!", true)
        );
    }
}
