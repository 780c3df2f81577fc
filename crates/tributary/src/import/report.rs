//! What an import did, and which rows were refused and why.

use std::fs::File;
use std::path::Path;

use anyhow::Context as _;
use serde::Serialize;

/// How many refused rows are shown; all of them are in the `--report` file.
const SHOWN_MAX: usize = 20;

/// Longest reason of a refusal, in characters.
const REASON_CHARS_MAX: usize = 400;

/// The counts, and the first refusals.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Summary {
    /// Rows read, the line of column names not counted.
    pub(crate) rows: u64,
    /// Payments made by this run.
    pub(crate) payments_made: u64,
    /// Payments that were there already, made by an earlier run.
    pub(crate) already_there: u64,
    /// Rows that a rule of the map leaves out.
    pub(crate) left_out: u64,
    /// Rows that were refused.
    pub(crate) refused: u64,
    /// Accounts opened by this run.
    pub(crate) accounts_opened: u64,
    /// The first refusals.
    pub(crate) refusals: Vec<Refusal>,
}

/// A row that was refused.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Refusal {
    /// Its line in the file.
    pub(crate) line: u64,
    /// Its idempotency key, if it came to that.
    pub(crate) key: Option<String>,
    /// The error code of the server, or `unreadable`.
    pub(crate) code: String,
    /// For people.
    pub(crate) reason: String,
}

/// Collects what happens during an import.
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
        if let Some(file) = &mut self.file {
            let line = refusal.line.to_string();
            file.write_record([
                &line,
                refusal.key.as_deref().unwrap_or(""),
                &refusal.code,
                &refusal.reason,
            ])?;
        }
        if self.summary.refusals.len() < SHOWN_MAX {
            self.summary.refusals.push(refusal);
        }
        Ok(())
    }

    /// Closes the report file and gives the summary.
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

/// Text of a foreign file as a terminal may see it: it must not move the cursor or begin another line.
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
    /// The result for people.
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
        let more = self.refused - self.refusals.len() as u64;
        if more > 0 {
            text.push_str(&format!(
                "  and {more} more (--report FILE lists them all)\n"
            ));
        }
        text
    }
}
