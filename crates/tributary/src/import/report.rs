//! Report of an import: counts, and refused rows with their reasons.

use std::fs::File;
use std::path::Path;

use anyhow::Context as _;
use serde::Serialize;

use crate::spreadsheet::safe_cell;

/// Maximum number of refused rows on the terminal. The `--report` file has all of them.
const SHOWN_MAX: usize = 20;

/// Maximum length of the reason of a refusal, characters.
const REASON_CHARS_MAX: usize = 400;

/// Counts, and the first refusals.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Summary {
    /// Rows read, without the line of column names.
    pub(crate) rows: u64,
    /// Payments made by this run.
    pub(crate) payments_made: u64,
    /// Payments that an earlier run made.
    pub(crate) already_there: u64,
    /// Rows that a rule of the map skipped.
    pub(crate) left_out: u64,
    /// Rows that were refused.
    pub(crate) refused: u64,
    /// Accounts opened by this run.
    pub(crate) accounts_opened: u64,
    /// Rows that were imported otherwise than the file says; see [`Notice`].
    pub(crate) noticed: u64,
    /// The first refusals.
    pub(crate) refusals: Vec<Refusal>,
    /// The first notices.
    pub(crate) notices: Vec<Notice>,
}

/// What was changed in a row. Money, dates and keys are never changed.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Notice {
    /// Line in the file.
    pub(crate) line: u64,
    /// Idempotency key.
    pub(crate) key: String,
    /// `description_cut`.
    pub(crate) code: &'static str,
    /// What was changed, as text.
    pub(crate) text: &'static str,
}

/// A row that was refused.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Refusal {
    /// Line in the file.
    pub(crate) line: u64,
    /// Idempotency key, if one was made.
    pub(crate) key: Option<String>,
    /// Error code of the server, or `unreadable`.
    pub(crate) code: String,
    /// Reason, as text.
    pub(crate) reason: String,
}

/// Collects the counts and the refusals of an import.
pub(crate) struct Report {
    pub(crate) summary: Summary,
    file: Option<csv::Writer<File>>,
}

impl Report {
    pub(crate) fn new(path: Option<&Path>) -> anyhow::Result<Self> {
        let file = match path {
            None => None,
            Some(path) => {
                let mut file = csv::Writer::from_path(path)
                    .with_context(|| format!("cannot write {}", path.display()))?;
                file.write_record(["line", "key", "code", "reason"])?;
                Some(file)
            }
        };
        Ok(Self {
            summary: Summary::default(),
            file,
        })
    }

    pub(crate) fn refuse(&mut self, mut refusal: Refusal) -> anyhow::Result<()> {
        // A reason may repeat what the row says.
        if let Some((end, _)) = refusal.reason.char_indices().nth(REASON_CHARS_MAX) {
            refusal.reason.truncate(end);
            refusal.reason.push('…');
        }
        self.summary.refused += 1;
        let key = refusal.key.as_deref().unwrap_or("");
        self.write_line(refusal.line, key, &refusal.code, &refusal.reason)?;
        if self.summary.refusals.len() < SHOWN_MAX {
            self.summary.refusals.push(refusal);
        }
        Ok(())
    }

    pub(crate) fn notice(&mut self, notice: Notice) -> anyhow::Result<()> {
        self.summary.noticed += 1;
        self.write_line(notice.line, &notice.key, notice.code, notice.text)?;
        if self.summary.notices.len() < SHOWN_MAX {
            self.summary.notices.push(notice);
        }
        Ok(())
    }

    fn write_line(&mut self, line: u64, key: &str, code: &str, text: &str) -> anyhow::Result<()> {
        if let Some(file) = &mut self.file {
            // Keys and reasons repeat what a foreign file says.
            let line = line.to_string();
            file.write_record([&*line, &*safe_cell(key), code, &*safe_cell(text)])?;
        }
        Ok(())
    }

    /// Closes the report file and returns the summary.
    pub(crate) fn end(mut self) -> anyhow::Result<Summary> {
        if let Some(file) = &mut self.file {
            file.flush()?;
        }
        let s = &self.summary;
        let accounted = s.payments_made + s.already_there + s.left_out + s.refused;
        assert_eq!(s.rows, accounted, "every row must be accounted for");
        Ok(self.summary)
    }
}

/// Makes text of a foreign file safe for a terminal: the text cannot move the cursor or begin another line.
pub(crate) fn shown(text: &str) -> String {
    let plain = |c: char| {
        if c.is_control() {
            char::REPLACEMENT_CHARACTER
        } else {
            c
        }
    };
    text.chars().map(plain).collect()
}

impl Summary {
    /// Returns the summary as text.
    pub(crate) fn text(&self, only_checked: bool) -> String {
        let mut text = if only_checked {
            format!(
                "{} rows read, {} would be payments",
                self.rows, self.payments_made
            )
        } else {
            format!(
                "{} rows read, {} payments made, {} were there already, {} accounts opened",
                self.rows, self.payments_made, self.already_there, self.accounts_opened
            )
        };
        text.push_str(&format!(
            ", {} left out, {} refused\n",
            self.left_out, self.refused
        ));
        for refusal in &self.refusals {
            text.push_str(&format!(
                "  line {}: {} ({})\n",
                refusal.line,
                shown(&refusal.reason),
                refusal.code
            ));
        }
        for notice in &self.notices {
            text.push_str(&format!(
                "  line {}: {} ({})\n",
                notice.line, notice.text, notice.code
            ));
        }
        let more_notices = self.noticed - self.notices.len() as u64;
        if more_notices > 0 {
            text.push_str(&format!(
                "  and {more_notices} more notices (--report FILE lists them all)\n"
            ));
        }
        let more = self.refused - self.refusals.len() as u64;
        if more > 0 {
            text.push_str(&format!(
                "  and {more} more (--report FILE lists them all)\n"
            ));
        }
        text
    }
}
