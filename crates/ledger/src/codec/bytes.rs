//! Reading and writing little-endian fields.

/// Error: the bytes are not a record or an object of this format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not of this format: {0}")]
pub struct Corrupt(pub &'static str);

/// Bytes that are not yet read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Input<'a>(pub(super) &'a [u8]);

impl<'a> Input<'a> {
    pub(super) fn take(&mut self, len: usize) -> Result<&'a [u8], Corrupt> {
        let (taken, rest) = self
            .0
            .split_at_checked(len)
            .ok_or(Corrupt("ends too early"))?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Corrupt> {
        let (taken, rest) = self
            .0
            .split_first_chunk()
            .ok_or(Corrupt("ends too early"))?;
        self.0 = rest;
        Ok(*taken)
    }

    pub(super) fn u8(&mut self) -> Result<u8, Corrupt> {
        Ok(self.array::<1>()?[0])
    }

    pub(super) fn u16(&mut self) -> Result<u16, Corrupt> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    pub(super) fn u64(&mut self) -> Result<u64, Corrupt> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub(super) fn i64(&mut self) -> Result<i64, Corrupt> {
        Ok(i64::from_le_bytes(self.array()?))
    }

    pub(super) fn i32(&mut self) -> Result<i32, Corrupt> {
        Ok(i32::from_le_bytes(self.array()?))
    }

    /// Reads a flag, 0 or 1.
    pub(super) fn flag(&mut self) -> Result<bool, Corrupt> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Corrupt("a flag is neither 0 nor 1")),
        }
    }

    pub(super) fn end(&self) -> Result<(), Corrupt> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(Corrupt("goes on too long"))
        }
    }
}

/// Reads the field at an offset. The caller has checked the length.
pub(super) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(*bytes[at..].first_chunk().expect("length was checked"))
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(*bytes[at..].first_chunk().expect("length was checked"))
}

/// Appends fields to bytes.
pub(super) trait Put {
    fn put(&mut self, bytes: &[u8]);

    /// Like [`Put::put`], for a word, which is usually empty or 16 bytes: both cases avoid a call.
    #[inline]
    fn word(&mut self, bytes: &[u8]) {
        if let Ok(number) = <&[u8; 16]>::try_from(bytes) {
            self.put(number);
        } else if !bytes.is_empty() {
            self.put(bytes);
        }
    }

    fn u8(&mut self, value: u8) {
        self.put(&[value]);
    }

    fn u16(&mut self, value: u16) {
        self.put(&value.to_le_bytes());
    }

    fn i32(&mut self, value: i32) {
        self.put(&value.to_le_bytes());
    }

    fn u64(&mut self, value: u64) {
        self.put(&value.to_le_bytes());
    }

    fn i64(&mut self, value: i64) {
        self.put(&value.to_le_bytes());
    }
}

impl Put for Vec<u8> {
    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// Returns the length of a word, which always fits in a byte.
pub(super) fn len_u8(bytes: &[u8]) -> u8 {
    u8::try_from(bytes.len()).expect("words are at most 255 bytes")
}

/// Reads an optional word; no bytes = none.
pub(super) fn word<T, E>(
    bytes: &[u8],
    make: impl FnOnce(&[u8]) -> Result<T, E>,
) -> Result<Option<T>, Corrupt> {
    if bytes.is_empty() {
        return Ok(None);
    }
    make(bytes)
        .map(Some)
        .map_err(|_| Corrupt("not a word of its kind"))
}
