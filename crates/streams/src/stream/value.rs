//! Owned values of fields and results, and the bytes of a key.

use crate::expression::Scalar;

/// A boolean, an integer or a string of its own.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OwnedScalar {
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Text.
    String(Box<str>),
}

impl OwnedScalar {
    /// Returns the value as an expression reads it.
    #[must_use]
    pub fn as_scalar(&self) -> Scalar<'_> {
        match self {
            OwnedScalar::Bool(value) => Scalar::Bool(*value),
            OwnedScalar::Int(value) => Scalar::Int(*value),
            OwnedScalar::String(value) => Scalar::String(value),
        }
    }

    /// Returns the bytes that are counted for the value.
    pub(crate) fn bytes(&self) -> usize {
        size_of::<OwnedScalar>() + self.heap_bytes()
    }

    /// Returns the bytes that the value holds beside its own size.
    pub(crate) fn heap_bytes(&self) -> usize {
        match self {
            OwnedScalar::String(text) => text.len(),
            _ => 0,
        }
    }
}

impl From<Scalar<'_>> for OwnedScalar {
    fn from(value: Scalar<'_>) -> Self {
        match value {
            Scalar::Bool(value) => OwnedScalar::Bool(value),
            Scalar::Int(value) => OwnedScalar::Int(value),
            Scalar::String(value) => OwnedScalar::String(value.into()),
        }
    }
}

const BOOL: u8 = 1;
const INT: u8 = 2;
const STRING: u8 = 3;

/// Appends a value in bytes that begin no other value; integers and booleans keep their order.
pub(super) fn encode_value(bytes: &mut Vec<u8>, value: Scalar<'_>) {
    match value {
        Scalar::Bool(value) => bytes.extend([BOOL, u8::from(value)]),
        Scalar::Int(value) => {
            bytes.push(INT);
            // The sign turned around: negative numbers come first.
            bytes.extend((value ^ i64::MIN).to_be_bytes());
        }
        Scalar::String(value) => {
            bytes.push(STRING);
            let length = u32::try_from(value.len()).expect("a string of an event is below 4 GiB");
            bytes.extend(length.to_be_bytes());
            bytes.extend(value.as_bytes());
        }
    }
}

/// Takes a value from the beginning of encoded bytes; none if they are malformed.
pub(super) fn decode_value(bytes: &mut &[u8]) -> Option<OwnedScalar> {
    let (kind, mut rest) = bytes.split_first()?;
    let value = match *kind {
        BOOL => {
            let (value, after) = rest.split_first()?;
            rest = after;
            OwnedScalar::Bool(match value {
                0 => false,
                1 => true,
                _ => return None,
            })
        }
        INT => {
            let (value, after) = rest.split_first_chunk()?;
            rest = after;
            OwnedScalar::Int(i64::from_be_bytes(*value) ^ i64::MIN)
        }
        STRING => {
            let (length, after) = rest.split_first_chunk()?;
            let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
            let (text, after) = after.split_at_checked(length)?;
            rest = after;
            OwnedScalar::String(std::str::from_utf8(text).ok()?.into())
        }
        _ => return None,
    };
    *bytes = rest;
    Some(value)
}

/// Returns the values of an encoded key.
pub(super) fn decode_key(mut bytes: &[u8]) -> Option<Vec<OwnedScalar>> {
    let mut values = Vec::new();
    while !bytes.is_empty() {
        values.push(decode_value(&mut bytes)?);
    }
    Some(values)
}
