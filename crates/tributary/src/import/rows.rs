//! Reads the rows of a CSV file with their line numbers. A bad row does not stop the file; quotes that do not match refuse it.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use anyhow::Context as _;
use encoding_rs::UTF_8;
use tributary_api::map::{self, FieldIndex};

use super::decode::Decode;
use super::map::Csv;
use super::records::{Fault, Fields, Found, Records};
use super::report::shown;
use crate::exit::usage_error;

/// A row of the file.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    /// Line on which the row starts, from 1.
    pub(crate) line: u64,
    text: String,
    /// End of each field in `text`.
    ends: Vec<usize>,
}

impl Row {
    /// Returns a field without blanks at both ends; empty if the row has no such field.
    pub(crate) fn get(&self, index: usize) -> &str {
        let Some(end) = self.ends.get(index) else {
            return "";
        };
        let begin = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        self.text[begin..*end].trim()
    }

    #[cfg(test)]
    pub(crate) fn from_fields(line: u64, fields: &[&str]) -> Self {
        let mut row = Self {
            line,
            text: String::new(),
            ends: Vec::new(),
        };
        for field in fields {
            row.text.push_str(field);
            row.ends.push(row.text.len());
        }
        row
    }
}

impl map::Fields for Row {
    fn text(&self, field: FieldIndex) -> Result<&str, map::Fault> {
        Ok(self.get(field.0))
    }
}

/// What the file has next.
#[derive(Debug)]
pub(crate) enum Next {
    Row(Row),
    /// A row that cannot be read.
    BadRow {
        line: u64,
        reason: String,
    },
    /// A line that the map skips.
    Skipped,
}

/// Reads rows one by one, in bounded memory.
pub(crate) struct Rows<R> {
    records: Records<Decode<R>>,
    columns: Vec<String>,
    fields: Fields,
}

impl Rows<BufReader<File>> {
    pub(crate) fn open(path: &Path, options: &Csv) -> anyhow::Result<Self> {
        let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
        Self::new(BufReader::new(file), options)
            .with_context(|| format!("cannot read {}", path.display()))
    }

    /// Reads the whole file once, so that a file whose quotes do not match is refused before anything is done with its rows.
    pub(crate) fn check_structure(path: &Path, options: &Csv) -> anyhow::Result<()> {
        let mut rows = Self::open(path, options)?;
        while rows
            .next()
            .with_context(|| format!("cannot read {}; nothing was imported", path.display()))?
            .is_some()
        {}
        Ok(())
    }
}

impl<R: Read> Rows<R> {
    pub(crate) fn new(input: R, options: &Csv) -> anyhow::Result<Self> {
        let dialect = options.dialect()?;
        let mut records = Records::new(Decode::new(input, options.encoding()?), dialect);
        let few = || {
            usage_error(
                "the file is empty: its first line (after csv.skip_lines) must name the columns",
            )
        };
        if !records.skip_lines(options.skip_lines)? {
            return Err(few());
        }
        let mut fields = Fields::default();
        let columns = match &options.columns {
            Some(columns) => columns.clone(),
            None => {
                let line = loop {
                    match records.read(&mut fields).map_err(refuse_file)? {
                        Found::Record { line } => break line,
                        Found::Skipped => {}
                        Found::End => return Err(few()),
                    }
                };
                let (text, ends) = fields.to_text().ok_or_else(|| {
                    usage_error(format!(
                        "line {line}, the names of the columns: {NOT_UTF_8}"
                    ))
                })?;
                let header = Row { line, text, ends };
                (0..fields.len())
                    .map(|index| header.get(index).to_owned())
                    .collect()
            }
        };
        for (index, name) in columns.iter().enumerate() {
            if columns[..index].contains(name) {
                return Err(usage_error(format!(
                    "two columns are called `{}`: name the columns yourself with csv.columns",
                    shown(name)
                )));
            }
        }
        Ok(Self {
            records,
            columns,
            fields,
        })
    }

    pub(crate) fn columns(&self) -> &[String] {
        &self.columns
    }

    /// Returns the number of bytes of the file that were read so far.
    pub(crate) fn bytes_read(&self) -> u64 {
        self.records.input().bytes_read()
    }

    /// Returns what the file has next; none at the end. An error concerns the whole file.
    pub(crate) fn next(&mut self) -> anyhow::Result<Option<Next>> {
        let line = match self.records.read(&mut self.fields).map_err(refuse_file)? {
            Found::End => return Ok(None),
            Found::Skipped => return Ok(Some(Next::Skipped)),
            Found::Record { line } => line,
        };
        let (found, expected) = (self.fields.len(), self.columns.len());
        if found != expected {
            let reason = format!("the row has {found} fields, the file {expected} columns");
            return Ok(Some(Next::BadRow { line, reason }));
        }
        let encoding = self.records.input().encoding();
        Ok(Some(match self.fields.to_text() {
            None => Next::BadRow {
                line,
                reason: NOT_UTF_8.to_owned(),
            },
            // The decoder puts this character where bytes mean nothing.
            Some((text, _)) if encoding != UTF_8 && text.contains(char::REPLACEMENT_CHARACTER) => {
                Next::BadRow {
                    line,
                    reason: format!("the row is not valid {}", encoding.name()),
                }
            }
            Some((text, ends)) => Next::Row(Row { line, text, ends }),
        }))
    }
}

const NOT_UTF_8: &str = "the row is not valid UTF-8: say with csv.encoding how the file is written";

fn refuse_file(fault: Fault) -> anyhow::Error {
    match fault {
        Fault::Io(error) => error.into(),
        Fault::Structure { line, reason } => usage_error(format!(
            "line {line}: {reason} (csv.quote = \"\" in the map is for files without quoted fields)"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_row_is_located_and_the_rest_is_read() {
        for (ending, mark) in [("\r\n", true), ("\n", false), ("\r", false)] {
            check(ending, mark);
        }
    }

    fn check(ending: &str, mark: bool) {
        let text = b"id,name\n1,a\n2\n3,\"two\nlines\"\n\n4,\xFF\n5,e";
        let mut bytes = if mark {
            b"\xEF\xBB\xBF".to_vec()
        } else {
            Vec::new()
        };
        for byte in text {
            if *byte == b'\n' {
                bytes.extend(ending.as_bytes())
            } else {
                bytes.push(*byte)
            }
        }
        let (columns, seen) = read(&bytes, &Csv::default());
        assert_eq!(columns, ["id", "name"]);
        assert_eq!(
            seen,
            [
                "2: 1 a".to_owned(),
                "3! the row has 1 fields, the file 2 columns".to_owned(),
                "4: 3 two\nlines".to_owned(),
                format!("7! {NOT_UTF_8}"),
                "8: 5 e".to_owned(),
            ]
        );
    }

    fn read(bytes: &[u8], options: &Csv) -> (Vec<String>, Vec<String>) {
        let mut rows = Rows::new(bytes, options).expect("opens");
        let mut seen = Vec::new();
        while let Some(next) = rows.next().expect("reads") {
            seen.push(match next {
                Next::Row(row) => format!("{}: {} {}", row.line, row.get(0), row.get(1)),
                Next::BadRow { line, reason } => format!("{line}! {reason}"),
                Next::Skipped => "skipped".to_owned(),
            });
        }
        (rows.columns().to_vec(), seen)
    }

    #[test]
    fn a_bank_file_with_a_head_a_total_and_another_encoding_is_read() {
        let options = Csv {
            delimiter: Some(';'),
            encoding: Some("windows-1252".to_owned()),
            skip_lines: 2,
            skip_prefixes: vec!["Summe".to_owned()],
            ..Csv::default()
        };
        let bytes =
            b"Kontoauszug \"M\xFCller\nDE00\nName;Betrag\nJ\xF6rg;1\nSumme;1;EUR\nA\x80;2\n";
        let (columns, seen) = read(bytes, &options);
        assert_eq!(columns, ["Name", "Betrag"]);
        assert_eq!(seen, ["4: Jörg 1", "skipped", "6: A€ 2"]);
        // UTF-16 says so itself, and one bad character spoils one row only.
        let mut bytes = b"\xFF\xFE".to_vec();
        for unit in "a,b\n1,ü\n2,"
            .encode_utf16()
            .chain([0xD800])
            .chain("\n3,c\n".encode_utf16())
        {
            bytes.extend(unit.to_le_bytes());
        }
        let (_, seen) = read(&bytes, &Csv::default());
        assert_eq!(
            seen,
            ["2: 1 ü", "3! the row is not valid UTF-16LE", "4: 3 c"]
        );
    }
}
