//! Output for people and scripts: lines on the standard output, and progress bars on the standard error.

use std::io::Write as _;

use indicatif::{ProgressBar, ProgressStyle};

/// Prints a line on the standard output. A reader that went away is no error.
pub(crate) fn print_line(line: &str) {
    drop(writeln!(std::io::stdout(), "{line}"));
}

/// Makes a progress bar over `len` things called `noun`.
pub(crate) fn progress_bar(len: u64, noun: &str) -> ProgressBar {
    let style = ProgressStyle::with_template(&format!("{{bar:40}} {{pos}}/{{len}} {noun} {{msg}}"));
    ProgressBar::new(len).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
