//! Reads the bytes of a file as UTF-8, whatever encoding the file has.

use std::io::{self, Read};

use encoding_rs::{CoderResult, Decoder, Encoding, UTF_8, UTF_16BE, UTF_16LE};

/// Number of bytes of the file that are decoded at once.
const CHUNK_BYTES: usize = 64 * 1024;

/// Returns the encoding with this label of the WHATWG Encoding Standard, such as `windows-1252`, `latin1` or `utf-16le`.
pub(crate) fn find_encoding(label: &str) -> Option<&'static Encoding> {
    Encoding::for_label(label.as_bytes())
}

/// A file as UTF-8. A byte order mark at the beginning is removed; one of UTF-16 overrides the given encoding.
///
/// Bytes of a UTF-8 file pass unchecked, so that the caller can locate a bad row. In any other encoding, what cannot be decoded
/// becomes U+FFFD.
pub(crate) struct Decode<R> {
    inner: R,
    encoding: &'static Encoding,
    /// Decoder; none for UTF-8, and before the first bytes are read.
    decoder: Option<Decoder>,
    chunk: Vec<u8>,
    at: usize,
    begun: bool,
    ended: bool,
    bytes_read: u64,
}

impl<R: Read> Decode<R> {
    pub(crate) fn new(inner: R, encoding: &'static Encoding) -> Self {
        Self {
            inner,
            encoding,
            decoder: None,
            chunk: Vec::new(),
            at: 0,
            begun: false,
            ended: false,
            bytes_read: 0,
        }
    }

    /// Returns the number of bytes of the file that were read so far.
    pub(crate) fn bytes_read(&self) -> u64 {
        self.bytes_read
    }

    /// Returns the encoding of the file, which is certain after the first read.
    pub(crate) fn encoding(&self) -> &'static Encoding {
        self.encoding
    }

    fn fill(&mut self) -> io::Result<()> {
        self.chunk.clear();
        self.at = 0;
        let limit = CHUNK_BYTES as u64;
        let count = self
            .inner
            .by_ref()
            .take(limit)
            .read_to_end(&mut self.chunk)?;
        self.bytes_read += count as u64;
        self.ended = count == 0;
        if !self.begun {
            self.begun = true;
            let mark = Encoding::for_bom(&self.chunk);
            if let Some((encoding, mark_bytes)) = mark {
                self.encoding = encoding;
                self.at = mark_bytes;
            }
            if self.encoding != UTF_8 {
                self.decoder = Some(self.encoding.new_decoder_without_bom_handling());
            }
        }
        Ok(())
    }
}

impl<R: Read> Read for Decode<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.at == self.chunk.len() && !self.ended {
                self.fill()?;
            }
            let rest = &self.chunk[self.at..];
            let Some(decoder) = &mut self.decoder else {
                let count = rest.len().min(buffer.len());
                buffer[..count].copy_from_slice(&rest[..count]);
                self.at += count;
                if count > 0 || self.ended {
                    return Ok(count);
                }
                continue;
            };
            let (result, read, written, _replaced) =
                decoder.decode_to_utf8(rest, buffer, self.ended);
            self.at += read;
            if self.ended && result == CoderResult::InputEmpty {
                // A decoder must not be used after its end.
                self.decoder = None;
            }
            if written > 0 || self.decoder.is_none() {
                return Ok(written);
            }
        }
    }
}

/// Whether an encoding has lines that can be found without decoding. Only these can be given in a map.
pub(crate) fn is_supported(encoding: &'static Encoding) -> bool {
    // `replacement` decodes every file to one U+FFFD.
    encoding == UTF_16LE || encoding == UTF_16BE || encoding.is_ascii_compatible()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives its bytes one by one.
    struct Slowly<'a>(&'a [u8]);

    impl Read for Slowly<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = self.0.len().min(buffer.len()).min(1);
            buffer[..count].copy_from_slice(&self.0[..count]);
            self.0 = &self.0[count..];
            Ok(count)
        }
    }

    fn check(label: &str, bytes: &[u8], expected: &str) {
        let encoding = find_encoding(label).expect("known");
        assert!(is_supported(encoding), "{label}");
        let mut text = Vec::new();
        let mut decode = Decode::new(Slowly(bytes), encoding);
        decode.read_to_end(&mut text).expect("reads");
        assert_eq!(String::from_utf8_lossy(&text), expected, "{label}");
        assert_eq!(decode.bytes_read(), bytes.len() as u64);
    }

    #[test]
    fn a_file_is_decoded_as_its_mark_or_its_map_says() {
        check("utf-8", "ä€\n".as_bytes(), "ä€\n");
        check("utf-8", b"\xEF\xBB\xBFa", "a");
        check("windows-1252", b"\xE4\x80;\xA0", "ä€;\u{A0}");
        check("latin1", b"Z\xFCrich", "Zürich");
        check("iso-8859-2", b"\xE8esk\xFD", "český");
        check("utf-16le", b"a\0\xE4\0\xAC\x20", "aä€");
        // A mark is right, whatever the map says.
        check("utf-8", b"\xFF\xFEa\0\xE4\0", "aä");
        check("windows-1252", b"\xFE\xFF\0a\x20\xAC", "a€");
        check("utf-16be", b"", "");
        // Half a character.
        check("utf-16le", b"a\0b", "a\u{FFFD}");
        assert!(find_encoding("utf-32").is_none());
        assert!(!is_supported(find_encoding("hz-gb-2312").expect("known")));
    }
}
