//! Reads the rows of a CSV file with their line numbers. A bad row does not stop the file.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use anyhow::Context as _;

use super::map::Csv;
use crate::exit::usage_error;

/// A row of the file.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    /// Line on which the row starts, from 1.
    pub(crate) line: u64,
    fields: csv::StringRecord,
}

impl Row {
    /// Returns a field without blanks at both ends; empty if the row has no such field.
    pub(crate) fn get(&self, index: usize) -> &str {
        self.fields.get(index).unwrap_or("").trim()
    }

    #[cfg(test)]
    pub(crate) fn from_fields(line: u64, fields: &[&str]) -> Self {
        Self {
            line,
            fields: csv::StringRecord::from(fields.to_vec()),
        }
    }
}

/// A row that cannot be read.
#[derive(Debug)]
pub(crate) struct BadRow {
    pub(crate) line: u64,
    pub(crate) reason: String,
}

/// Reads rows one by one, in bounded memory.
pub(crate) struct Rows<R> {
    reader: csv::Reader<R>,
    columns: Vec<String>,
    record: csv::ByteRecord,
}

impl Rows<Lines<BufReader<File>>> {
    pub(crate) fn open(path: &Path, options: &Csv) -> anyhow::Result<Self> {
        let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
        Self::new(Lines::new(BufReader::new(file)), options)
            .with_context(|| format!("cannot read {}", path.display()))
    }
}

impl<R: Read> Rows<Lines<R>> {
    /// Returns the number of bytes read so far.
    pub(crate) fn bytes_read(&self) -> u64 {
        self.reader.get_ref().read
    }
}

impl<R: Read> Rows<R> {
    /// Reads rows from `input`, in which one newline must end every line, also the last one: see [`Lines`].
    pub(crate) fn new(input: R, options: &Csv) -> anyhow::Result<Self> {
        let mut reader = csv::ReaderBuilder::new()
            .delimiter(options.delimiter_byte()?)
            .has_headers(false)
            .flexible(true)
            .from_reader(input);
        let mut record = csv::ByteRecord::new();
        let columns = match &options.columns {
            Some(columns) => columns.clone(),
            None => {
                if !reader.read_byte_record(&mut record)? {
                    return Err(usage_error(
                        "the file is empty: its first line must name the columns",
                    ));
                }
                record
                    .iter()
                    .map(|name| String::from_utf8_lossy(name).trim().to_owned())
                    .collect()
            }
        };
        for (index, name) in columns.iter().enumerate() {
            if columns[..index].contains(name) {
                return Err(usage_error(format!(
                    "two columns are called `{name}`: name the columns yourself with csv.columns"
                )));
            }
        }
        Ok(Self {
            reader,
            columns,
            record,
        })
    }

    pub(crate) fn columns(&self) -> &[String] {
        &self.columns
    }

    /// Returns the next row; none at the end. The outer error concerns the file, the inner one the row.
    pub(crate) fn next(&mut self) -> anyhow::Result<Option<Result<Row, BadRow>>> {
        if !self.reader.read_byte_record(&mut self.record)? {
            return Ok(None);
        }
        // The reader's own position of a record is where the search for it began: before blank lines.
        let newlines: u64 = self
            .record
            .iter()
            .flatten()
            .map(|byte| u64::from(*byte == b'\n'))
            .sum();
        let line = self.reader.position().line().saturating_sub(1 + newlines);
        let (found, expected) = (self.record.len(), self.columns.len());
        if found != expected {
            let reason = format!("the row has {found} fields, the file {expected} columns");
            return Ok(Some(Err(BadRow { line, reason })));
        }
        let row = csv::StringRecord::from_byte_record(self.record.clone());
        Ok(Some(match row {
            Ok(fields) => Ok(Row { line, fields }),
            Err(_) => Err(BadRow {
                line,
                reason: "the row is not valid UTF-8".to_owned(),
            }),
        }))
    }
}

/// Ends every line, also the last one, with one newline, so that lines can be counted. Counts the bytes that are read,
/// for the progress bar.
pub(crate) struct Lines<R> {
    inner: R,
    read: u64,
    after_return: bool,
    last: u8,
    ended: bool,
}

impl<R: Read> Lines<R> {
    fn new(inner: R) -> Self {
        Self {
            inner,
            read: 0,
            after_return: false,
            last: b'\n',
            ended: false,
        }
    }
}

impl<R: Read> Read for Lines<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        // A chunk that was only the second half of a line end becomes empty, which would read as the end.
        loop {
            if buffer.is_empty() || self.ended {
                return Ok(0);
            }
            let count = self.inner.read(buffer)?;
            self.read += count as u64;
            if count == 0 {
                self.ended = true;
                if self.last == b'\n' {
                    return Ok(0);
                }
                buffer[0] = b'\n';
                return Ok(1);
            }
            let mut kept = 0;
            for at in 0..count {
                let byte = buffer[at];
                let second_half = byte == b'\n' && self.after_return;
                self.after_return = byte == b'\r';
                if !second_half {
                    buffer[kept] = if byte == b'\r' { b'\n' } else { byte };
                    self.last = buffer[kept];
                    kept += 1;
                }
            }
            if kept > 0 {
                return Ok(kept);
            }
        }
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
        let mut rows = Rows::new(Lines::new(bytes.as_slice()), &Csv::default()).expect("opens");
        assert_eq!(rows.columns(), ["id", "name"]);
        let mut seen = Vec::new();
        while let Some(row) = rows.next().expect("reads") {
            seen.push(match row {
                Ok(row) => format!("{}: {} {}", row.line, row.get(0), row.get(1)),
                Err(bad) => format!("{}! {}", bad.line, bad.reason),
            });
        }
        assert_eq!(
            seen,
            [
                "2: 1 a",
                "3! the row has 1 fields, the file 2 columns",
                "4: 3 two\nlines",
                "7! the row is not valid UTF-8",
                "8: 5 e",
            ]
        );
    }
}
