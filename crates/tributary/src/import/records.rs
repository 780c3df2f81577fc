//! Splits the text of a CSV file into records, strictly: a file whose quotes do not match is refused as a whole, since nobody
//! can say where its rows begin.

use std::io::{self, Read};

/// Maximum size of a record, in bytes of UTF-8. Bounds the memory that a quote without its end can take.
const RECORD_BYTES_MAX: usize = 16 << 20;

/// Number of bytes that are read at once.
const BUFFER_BYTES: usize = 64 * 1024;

/// How a file is written.
#[derive(Debug, Clone)]
pub(crate) struct Dialect {
    pub(crate) delimiter: u8,
    /// Quotation mark; none if the file has no quoted fields.
    pub(crate) quote: Option<u8>,
    /// Lines that begin with one of these texts are no records.
    pub(crate) skip_prefixes: Vec<String>,
}

/// Fields of one record.
#[derive(Debug, Clone, Default)]
pub(crate) struct Fields {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

/// What was found in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// A record that begins on this line, counted from 1.
    Record { line: u64 },
    /// A line that the dialect skips.
    Skipped,
    /// The end of the file.
    End,
}

/// Why a file cannot be split into records.
#[derive(Debug)]
pub(crate) enum Fault {
    Io(io::Error),
    /// The quotes do not match, or a record is too large.
    Structure {
        line: u64,
        reason: String,
    },
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl Fields {
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Returns the fields as text; none if one is not valid UTF-8.
    pub(crate) fn to_text(&self) -> Option<(String, Vec<usize>)> {
        // A character cannot be divided between fields: delimiters and quotes are ASCII.
        let text = String::from_utf8(self.bytes.clone()).ok()?;
        Some((text, self.ends.clone()))
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }

    fn end_field(&mut self) {
        self.ends.push(self.bytes.len());
    }
}

/// Reads records one by one, in bounded memory. Lines end with LF, CR LF or CR; blank lines are no records.
pub(crate) struct Records<R> {
    input: R,
    dialect: Dialect,
    buffer: Vec<u8>,
    at: usize,
    ended: bool,
    line: u64,
}

impl<R: Read> Records<R> {
    pub(crate) fn new(input: R, dialect: Dialect) -> Self {
        Self {
            input,
            dialect,
            buffer: Vec::new(),
            at: 0,
            ended: false,
            line: 1,
        }
    }

    pub(crate) fn input(&self) -> &R {
        &self.input
    }

    /// Skips lines as they are, whatever quotes they have. Returns false if the file has fewer.
    pub(crate) fn skip_lines(&mut self, count: u64) -> io::Result<bool> {
        for _ in 0..count {
            if self.peek()?.is_none() {
                return Ok(false);
            }
            self.skip_line()?;
        }
        Ok(true)
    }

    /// Reads the next record into `fields`.
    pub(crate) fn read(&mut self, fields: &mut Fields) -> Result<Found, Fault> {
        fields.clear();
        loop {
            match self.peek()? {
                None => return Ok(Found::End),
                Some(b'\n' | b'\r') => self.end_line()?,
                Some(_) => break,
            }
        }
        let line = self.line;
        if self.is_skipped()? {
            self.skip_line()?;
            return Ok(Found::Skipped);
        }
        loop {
            let byte = self.peek()?;
            if byte.is_some() && byte == self.dialect.quote {
                self.read_quoted(fields)?;
            } else {
                self.read_plain(fields)?;
            }
            fields.end_field();
            match self.peek()? {
                Some(byte) if byte == self.dialect.delimiter => self.at += 1,
                Some(_) => {
                    self.end_line()?;
                    return Ok(Found::Record { line });
                }
                None => return Ok(Found::Record { line }),
            }
        }
    }

    fn read_plain(&mut self, fields: &mut Fields) -> Result<(), Fault> {
        while let Some(byte) = self.peek()? {
            if byte == self.dialect.delimiter || byte == b'\n' || byte == b'\r' {
                break;
            }
            self.push(fields, byte, self.line)?;
            self.at += 1;
        }
        Ok(())
    }

    fn read_quoted(&mut self, fields: &mut Fields) -> Result<(), Fault> {
        let (quote, opened) = (self.dialect.quote, self.line);
        self.at += 1;
        loop {
            let Some(byte) = self.peek()? else {
                let reason = "the quote that opens here is not closed before the end of the file";
                return Err(structure(opened, reason));
            };
            if byte == b'\n' || byte == b'\r' {
                self.end_line()?;
                self.push(fields, b'\n', opened)?;
                continue;
            }
            self.at += 1;
            if Some(byte) != quote {
                self.push(fields, byte, opened)?;
                continue;
            }
            match self.peek()? {
                // Two quotes stand for one.
                Some(byte) if Some(byte) == quote => {
                    self.push(fields, byte, opened)?;
                    self.at += 1;
                }
                None | Some(b'\n' | b'\r') => return Ok(()),
                Some(byte) if byte == self.dialect.delimiter => return Ok(()),
                Some(_) => {
                    let reason = format!(
                        "text follows the quote on line {} that closes the field which begins here: is an earlier quote not closed?",
                        self.line
                    );
                    return Err(structure(opened, reason));
                }
            }
        }
    }

    fn push(&self, fields: &mut Fields, byte: u8, line: u64) -> Result<(), Fault> {
        if fields.bytes.len() >= RECORD_BYTES_MAX {
            let reason = format!(
                "the row that begins here is larger than {RECORD_BYTES_MAX} bytes: is a quote not closed?"
            );
            return Err(structure(line, reason));
        }
        fields.bytes.push(byte);
        Ok(())
    }

    fn is_skipped(&mut self) -> io::Result<bool> {
        let longest = self.dialect.skip_prefixes.iter().map(String::len).max();
        self.fill(longest.unwrap_or(0))?;
        let rest = &self.buffer[self.at..];
        let prefixes = &self.dialect.skip_prefixes;
        Ok(prefixes
            .iter()
            .any(|prefix| rest.starts_with(prefix.as_bytes())))
    }

    fn skip_line(&mut self) -> io::Result<()> {
        while let Some(byte) = self.peek()? {
            if byte == b'\n' || byte == b'\r' {
                return self.end_line();
            }
            self.at += 1;
        }
        Ok(())
    }

    /// Passes the end of a line: CR LF is one.
    fn end_line(&mut self) -> io::Result<()> {
        let byte = self.peek()?;
        self.at += 1;
        if byte == Some(b'\r') && self.peek()? == Some(b'\n') {
            self.at += 1;
        }
        self.line += 1;
        Ok(())
    }

    fn peek(&mut self) -> io::Result<Option<u8>> {
        if self.at == self.buffer.len() {
            self.fill(1)?;
        }
        Ok(self.buffer.get(self.at).copied())
    }

    /// Reads until `count` bytes are there, or the file has ended.
    fn fill(&mut self, count: usize) -> io::Result<()> {
        while self.buffer.len() - self.at < count && !self.ended {
            self.buffer.drain(..self.at);
            self.at = 0;
            let kept = self.buffer.len();
            self.buffer.resize(kept + BUFFER_BYTES, 0);
            let read = self.input.read(&mut self.buffer[kept..])?;
            self.buffer.truncate(kept + read);
            self.ended = read == 0;
        }
        Ok(())
    }
}

fn structure(line: u64, reason: impl Into<String>) -> Fault {
    Fault::Structure {
        line,
        reason: reason.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dialect(quote: Option<u8>) -> Dialect {
        Dialect {
            delimiter: b',',
            quote,
            skip_prefixes: vec!["#".to_owned(), "Total".to_owned()],
        }
    }

    /// Line and fields.
    type Texts = (u64, Vec<String>);

    fn read_all(text: &str, quote: Option<u8>) -> Result<Vec<Texts>, (u64, String)> {
        let mut records = Records::new(text.as_bytes(), dialect(quote));
        let (mut fields, mut found) = (Fields::default(), Vec::new());
        loop {
            match records.read(&mut fields) {
                Ok(Found::End) => return Ok(found),
                Ok(Found::Skipped) => found.push((0, Vec::new())),
                Ok(Found::Record { line }) => {
                    let (text, ends) = fields.to_text().expect("UTF-8");
                    let mut begin = 0;
                    let mut texts = Vec::new();
                    for end in ends {
                        texts.push(text[begin..end].to_owned());
                        begin = end;
                    }
                    found.push((line, texts));
                }
                Err(Fault::Structure { line, reason }) => return Err((line, reason)),
                Err(Fault::Io(error)) => panic!("{error}"),
            }
        }
    }

    fn check(text: &str, expected: &[(u64, &[&str])]) {
        let expected: Vec<Texts> = expected
            .iter()
            .map(|(line, fields)| {
                (
                    *line,
                    fields.iter().map(|&field| field.to_owned()).collect(),
                )
            })
            .collect();
        for text in [
            text.to_owned(),
            text.replace('\n', "\r\n"),
            text.replace('\n', "\r"),
        ] {
            assert_eq!(
                read_all(&text, Some(b'"')),
                Ok(expected.clone()),
                "{text:?}"
            );
        }
    }

    #[test]
    fn records_are_split_exactly() {
        check("", &[]);
        check("\n\na,b\n", &[(3, &["a", "b"])]);
        check("a,,\n,b", &[(1, &["a", "", ""]), (2, &["", "b"])]);
        check("\"a,\"\"b\"\"\",c\n", &[(1, &["a,\"b\"", "c"])]);
        check(
            "\"a\n\nb\",c\nd,e",
            &[(1, &["a\n\nb", "c"]), (4, &["d", "e"])],
        );
        // A quote within a field that does not begin with one is text.
        check("a 5\" pipe,b\n", &[(1, &["a 5\" pipe", "b"])]);
        check("\"\",\"\"\n", &[(1, &["", ""])]);
        check(
            "# note \"\na\nTotal,9\nb\n#",
            &[(0, &[]), (2, &["a"]), (0, &[]), (4, &["b"]), (0, &[])],
        );
        assert_eq!(
            read_all("\"a\",b\"", None),
            Ok(vec![(1, vec!["\"a\"".to_owned(), "b\"".to_owned()])])
        );
    }

    #[test]
    fn quotes_that_do_not_match_refuse_the_file_with_the_line() {
        for (text, line, part) in [
            ("a\nb,\"c\nd,e\nf,g\n", 2, "not closed before the end"),
            ("a\nb,\"c\nd,\"e\"\nf,g\n", 2, "on line 3"),
            ("\"a\"b,c\n", 1, "on line 1"),
            ("\"", 1, "not closed"),
        ] {
            let (at, reason) = read_all(text, Some(b'"')).expect_err(text);
            assert_eq!(at, line, "{text:?}: {reason}");
            assert!(reason.contains(part), "{text:?}: {reason}");
        }
        let endless = format!("a\n\"{}", "x".repeat(RECORD_BYTES_MAX + 1));
        let (line, reason) = read_all(&endless, Some(b'"')).expect_err("too large");
        assert!(line == 2 && reason.contains("larger than"), "{reason}");
    }

    #[test]
    fn lines_before_the_file_are_skipped_as_they_are() {
        let mut records = Records::new(&b"Bank \"x\nKonto\r\na\n"[..], dialect(Some(b'"')));
        assert!(records.skip_lines(2).expect("reads"));
        let mut fields = Fields::default();
        let found = records.read(&mut fields).expect("reads");
        assert_eq!((found, fields.len()), (Found::Record { line: 3 }, 1));
        assert!(!records.skip_lines(1).expect("reads"));
    }
}
