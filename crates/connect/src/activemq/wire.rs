//! The encoding of AMQP 1.0, read with bounds: whoever may send to a queue decides what its messages hold.

use std::borrow::Cow;

/// Maximum depth of values within values.
const DEPTH_MAX: usize = 16;
/// Maximum size of a value that is shown as JSON, in bytes.
const JSON_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Maximum number of elements of an array whose elements take no bytes.
const EMPTY_ELEMENTS_MAX: u32 = 1024;

/// Precedes the descriptor of a described value.
const DESCRIBED: u8 = 0x00;

/// What can't be read: it is no AMQP, or deeper or larger than is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unreadable;

/// A value. What holds others has not been read yet.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value<'a> {
    Null,
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    Single(f32),
    Double(f64),
    Text(Cow<'a, str>),
    Binary(&'a [u8]),
    Uuid([u8; 16]),
    /// A decimal number, as its bytes.
    Decimal(&'a [u8]),
    List(Items<'a>),
    Map(Items<'a>),
}

/// Values in a list or an array; keys and values of a map in turn.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Items<'a> {
    count: u32,
    bytes: Reader<'a>,
    /// Code of every element, in an array.
    code: Option<u8>,
    depth: usize,
}

/// Bytes that are left to be read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], Unreadable> {
        let (first, rest) = self.0.split_at_checked(count).ok_or(Unreadable)?;
        self.0 = rest;
        Ok(first)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Unreadable> {
        let (first, rest) = self.0.split_first_chunk().ok_or(Unreadable)?;
        self.0 = rest;
        Ok(*first)
    }

    fn u8(&mut self) -> Result<u8, Unreadable> {
        self.array().map(u8::from_be_bytes)
    }

    fn u32(&mut self) -> Result<u32, Unreadable> {
        self.array().map(u32::from_be_bytes)
    }

    /// A length of one byte or of four.
    fn length(&mut self, is_long: bool) -> Result<usize, Unreadable> {
        match is_long {
            true => self.u32().map(|length| length as usize),
            false => self.u8().map(usize::from),
        }
    }

    /// Reads what a described value is. The value comes next.
    pub(super) fn descriptor(&mut self) -> Result<u64, Unreadable> {
        if self.u8()? != DESCRIBED {
            return Err(Unreadable);
        }
        match self.value()? {
            Value::Unsigned(code) => Ok(code),
            Value::Text(name) => section_code(&name).ok_or(Unreadable),
            _ => Err(Unreadable),
        }
    }

    /// Reads a value. Of a described one, the descriptor is left out.
    pub(super) fn value(&mut self) -> Result<Value<'a>, Unreadable> {
        self.value_at(0)
    }

    fn value_at(&mut self, depth: usize) -> Result<Value<'a>, Unreadable> {
        let code = self.code(depth)?;
        self.primitive(code, depth)
    }

    /// Reads the code of a value, past its descriptors.
    fn code(&mut self, depth: usize) -> Result<u8, Unreadable> {
        let mut descriptors = depth;
        loop {
            match self.u8()? {
                DESCRIBED if descriptors < DEPTH_MAX => {
                    descriptors += 1;
                    self.value_at(descriptors)?;
                }
                DESCRIBED => return Err(Unreadable),
                code => return Ok(code),
            }
        }
    }

    fn primitive(&mut self, code: u8, depth: usize) -> Result<Value<'a>, Unreadable> {
        let is_long = code & 0x10 != 0;
        Ok(match code {
            0x40 => Value::Null,
            0x41 => Value::Bool(true),
            0x42 => Value::Bool(false),
            0x43 | 0x44 => Value::Unsigned(0),
            0x56 => Value::Bool(self.u8()? != 0),
            0x50 | 0x52 | 0x53 => Value::Unsigned(self.u8()?.into()),
            0x60 => Value::Unsigned(u16::from_be_bytes(self.array()?).into()),
            0x70 => Value::Unsigned(self.u32()?.into()),
            0x80 => Value::Unsigned(u64::from_be_bytes(self.array()?)),
            0x51 | 0x54 | 0x55 => Value::Signed(i8::from_be_bytes(self.array()?).into()),
            0x61 => Value::Signed(i16::from_be_bytes(self.array()?).into()),
            0x71 => Value::Signed(i32::from_be_bytes(self.array()?).into()),
            // A timestamp is a number of milliseconds.
            0x81 | 0x83 => Value::Signed(i64::from_be_bytes(self.array()?)),
            0x72 => Value::Single(f32::from_be_bytes(self.array()?)),
            0x82 => Value::Double(f64::from_be_bytes(self.array()?)),
            0x73 => {
                let letter = char::from_u32(self.u32()?).unwrap_or(char::REPLACEMENT_CHARACTER);
                Value::Text(letter.to_string().into())
            }
            0x74 => Value::Decimal(self.take(4)?),
            0x84 => Value::Decimal(self.take(8)?),
            0x94 => Value::Decimal(self.take(16)?),
            0x98 => Value::Uuid(self.array()?),
            0xa0 | 0xb0 => {
                let length = self.length(is_long)?;
                Value::Binary(self.take(length)?)
            }
            // Text and symbols.
            0xa1 | 0xb1 | 0xa3 | 0xb3 => {
                let length = self.length(is_long)?;
                Value::Text(String::from_utf8_lossy(self.take(length)?))
            }
            0x45 => Value::List(Items::empty()),
            0xc0 | 0xd0 => Value::List(self.items(is_long, false, depth)?),
            0xc1 | 0xd1 => Value::Map(self.items(is_long, false, depth)?),
            0xe0 | 0xf0 => Value::List(self.items(is_long, true, depth)?),
            _ => return Err(Unreadable),
        })
    }

    fn items(
        &mut self,
        is_long: bool,
        is_array: bool,
        depth: usize,
    ) -> Result<Items<'a>, Unreadable> {
        if depth >= DEPTH_MAX {
            return Err(Unreadable);
        }
        let size = self.length(is_long)?;
        let mut bytes = Reader(self.take(size)?);
        let count = u32::try_from(bytes.length(is_long)?).map_err(|_| Unreadable)?;
        let code = match is_array {
            true => Some(bytes.code(depth)?),
            false => None,
        };
        // Elements of these codes take no bytes.
        let count_max = match code {
            Some(0x40..=0x45) => EMPTY_ELEMENTS_MAX,
            _ => u32::try_from(bytes.0.len()).unwrap_or(u32::MAX),
        };
        if count > count_max {
            return Err(Unreadable);
        }
        Ok(Items {
            count,
            bytes,
            code,
            depth: depth + 1,
        })
    }
}

impl<'a> Items<'a> {
    fn empty() -> Items<'a> {
        Items {
            count: 0,
            bytes: Reader(&[]),
            code: None,
            depth: 0,
        }
    }

    /// Returns the next one; null if there is none, which is how AMQP leaves fields out at the end.
    pub(super) fn field(&mut self) -> Result<Value<'a>, Unreadable> {
        match self.next() {
            Some(value) => value,
            None => Ok(Value::Null),
        }
    }

    /// Returns the bytes of the next one.
    pub(super) fn encoded(&mut self) -> Result<&'a [u8], Unreadable> {
        let before = self.bytes.0;
        self.field()?;
        Ok(&before[..before.len() - self.bytes.0.len()])
    }

    /// Reads all of it, so that nothing in it is deeper than is allowed.
    pub(super) fn check(self) -> Result<(), Unreadable> {
        for value in self {
            if let Value::List(items) | Value::Map(items) = value? {
                items.check()?;
            }
        }
        Ok(())
    }
}

impl<'a> Iterator for Items<'a> {
    type Item = Result<Value<'a>, Unreadable>;

    fn next(&mut self) -> Option<Result<Value<'a>, Unreadable>> {
        self.count = self.count.checked_sub(1)?;
        Some(match self.code {
            Some(code) => self.bytes.primitive(code, self.depth),
            None => self.bytes.value_at(self.depth),
        })
    }
}

impl Value<'_> {
    /// Returns text and bytes as they are, and everything else as JSON.
    pub(super) fn to_bytes(&self) -> Result<Vec<u8>, Unreadable> {
        match self {
            Value::Text(text) => Ok(text.as_bytes().to_vec()),
            Value::Binary(bytes) => Ok(bytes.to_vec()),
            Value::Uuid(bytes) => Ok(uuid_text(bytes).into_bytes()),
            value => {
                let mut json = Vec::new();
                value.write_json(&mut json)?;
                Ok(json)
            }
        }
    }

    /// Appends it as JSON.
    pub(super) fn write_json(&self, json: &mut Vec<u8>) -> Result<(), Unreadable> {
        if json.len() > JSON_BYTES_MAX {
            return Err(Unreadable);
        }
        match self {
            Value::Null => json.extend(b"null"),
            Value::Bool(value) => json.extend(value.to_string().bytes()),
            Value::Unsigned(number) => json.extend(number.to_string().bytes()),
            Value::Signed(number) => json.extend(number.to_string().bytes()),
            Value::Single(number) => write(number, json)?,
            Value::Double(number) => write(number, json)?,
            Value::Text(text) => write(text, json)?,
            Value::Binary(bytes) => write(&String::from_utf8_lossy(bytes), json)?,
            Value::Uuid(bytes) => write(&uuid_text(bytes), json)?,
            Value::Decimal(bytes) => write(&hex::encode(bytes), json)?,
            Value::List(items) => write_list(items.clone(), json)?,
            Value::Map(items) => write_map(items.clone(), json)?,
        }
        Ok(())
    }
}

fn write(value: &impl serde::Serialize, json: &mut Vec<u8>) -> Result<(), Unreadable> {
    serde_json::to_writer(json, value).map_err(|_| Unreadable)
}

fn write_list(items: Items<'_>, json: &mut Vec<u8>) -> Result<(), Unreadable> {
    json.push(b'[');
    write_elements(items, json)?;
    json.push(b']');
    Ok(())
}

/// Appends the elements of a list with commas between them.
pub(super) fn write_elements(items: Items<'_>, json: &mut Vec<u8>) -> Result<(), Unreadable> {
    for (index, value) in items.enumerate() {
        if index > 0 {
            json.push(b',');
        }
        value?.write_json(json)?;
    }
    Ok(())
}

fn write_map(mut items: Items<'_>, json: &mut Vec<u8>) -> Result<(), Unreadable> {
    json.push(b'{');
    let mut is_first = true;
    while let Some(key) = items.next() {
        if !std::mem::take(&mut is_first) {
            json.push(b',');
        }
        let key = key?.to_bytes()?;
        write(&String::from_utf8_lossy(&key), json)?;
        json.push(b':');
        items.next().ok_or(Unreadable)??.write_json(json)?;
    }
    json.push(b'}');
    Ok(())
}

/// Returns a UUID in its usual form.
pub(super) fn uuid_text(bytes: &[u8; 16]) -> String {
    let digits = hex::encode(bytes);
    let parts = [
        &digits[..8],
        &digits[8..12],
        &digits[12..16],
        &digits[16..20],
        &digits[20..],
    ];
    parts.join("-")
}

/// The sections of a message by their names, which a sender may write in place of their numbers.
fn section_code(name: &str) -> Option<u64> {
    const NAMES: [&str; 9] = [
        "amqp:header:list",
        "amqp:delivery-annotations:map",
        "amqp:message-annotations:map",
        "amqp:properties:list",
        "amqp:application-properties:map",
        "amqp:data:binary",
        "amqp:amqp-sequence:list",
        "amqp:amqp-value:*",
        "amqp:footer:map",
    ];
    let index = NAMES.iter().position(|known| *known == name)?;
    Some(0x70 + index as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(encoded: &[u8], json: Result<&str, Unreadable>) {
        let mut reader = Reader(encoded);
        let shown = reader.value().and_then(|value| {
            let mut json = Vec::new();
            value.write_json(&mut json)?;
            Ok(String::from_utf8(json).expect("it is JSON"))
        });
        assert_eq!(shown.as_deref(), json.as_deref(), "{encoded:x?}");
        if shown.is_ok() {
            assert!(reader.is_empty());
        }
    }

    /// A list of one element.
    fn list(inner: &[u8]) -> Vec<u8> {
        let mut outer = vec![0xd0];
        outer.extend((inner.len() as u32 + 4).to_be_bytes());
        outer.extend(1u32.to_be_bytes());
        outer.extend(inner);
        outer
    }

    fn nested(depth: usize) -> Vec<u8> {
        (0..depth).fold(vec![0x40], |inner, _| list(&inner))
    }

    #[test]
    fn every_type_is_shown() {
        let cases: [(&[u8], &str); 30] = [
            (b"\x40", "null"),
            (b"\x41", "true"),
            (b"\x56\x00", "false"),
            (b"\x50\xff", "255"),
            (b"\x60\x01\x00", "256"),
            (b"\x52\x07", "7"),
            (b"\x43", "0"),
            (b"\x70\x00\x01\x00\x00", "65536"),
            (
                b"\x80\xff\xff\xff\xff\xff\xff\xff\xff",
                "18446744073709551615",
            ),
            (b"\x53\x09", "9"),
            (b"\x51\xff", "-1"),
            (b"\x61\xff\xfe", "-2"),
            (b"\x71\xff\xff\xff\xfd", "-3"),
            (b"\x54\x05", "5"),
            (
                b"\x81\x80\x00\x00\x00\x00\x00\x00\x00",
                "-9223372036854775808",
            ),
            (b"\x55\xfc", "-4"),
            (b"\x72\x3d\xcc\xcc\xcd", "0.1"),
            (b"\x82\x3f\xb9\x99\x99\x99\x99\x99\x9a", "0.1"),
            (b"\x82\x7f\xf8\x00\x00\x00\x00\x00\x00", "null"),
            (b"\x73\x00\x00\x00\xe9", "\"é\""),
            (b"\x83\x00\x00\x00\x00\x00\x00\x03\xe8", "1000"),
            (
                b"\x98\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f",
                "\"00010203-0405-0607-0809-0a0b0c0d0e0f\"",
            ),
            (b"\xa0\x02hi", "\"hi\""),
            (b"\xa1\x03a\"b", "\"a\\\"b\""),
            (b"\xb3\x00\x00\x00\x01s", "\"s\""),
            (b"\xa1\x02\xc3\x28", "\"\u{fffd}(\""),
            (b"\x45", "[]"),
            (b"\xc0\x03\x02\x41\x40", "[true,null]"),
            (b"\xc1\x06\x02\xa1\x01k\x52\x01", "{\"k\":1}"),
            (b"\xe0\x04\x02\x50\x01\x02", "[1,2]"),
        ];
        for (encoded, json) in cases {
            check(encoded, Ok(json));
        }
        check(b"\x00\xa3\x01x\x52\x01", Ok("1"));
        check(b"\x74\x00\x00\x00\x01", Ok("\"00000001\""));
        check(b"\xc1\x05\x02\x52\x01\x52\x02", Ok("{\"1\":2}"));
    }

    #[test]
    fn what_is_cut_short_or_says_too_much_is_unreadable() {
        let cases: [&[u8]; 9] = [
            b"",
            b"\x80\x00",
            b"\xa1\x05abc",
            b"\xb0\xff\xff\xff\xffabc",
            b"\xc0\x03\x05\x41\x40",
            b"\xd0\x00\x00\x00\x06\xff\xff\xff\xff\x41\x41",
            b"\xc1\x02\x01\x41",
            // Four thousand million nulls in eleven bytes.
            b"\xf0\x00\x00\x00\x05\xff\xff\xff\xff\x40",
            b"\x3f",
        ];
        for encoded in cases {
            check(encoded, Err(Unreadable));
        }
    }

    #[test]
    fn depth_has_a_bound() {
        let brackets = |depth| format!("{}null{}", "[".repeat(depth), "]".repeat(depth));
        check(&nested(DEPTH_MAX), Ok(&brackets(DEPTH_MAX)));
        check(&nested(DEPTH_MAX + 1), Err(Unreadable));
        check(&nested(5_000), Err(Unreadable));
        check(&[0; 100_000], Err(Unreadable));
        let deep = nested(5_000);
        let Ok(Value::List(items)) = Reader(&deep).value() else {
            panic!("its outermost list can be read");
        };
        assert_eq!(items.check(), Err(Unreadable));
    }
}
