//! Cells of CSV files that spreadsheets open: a text must not become a formula.

use std::borrow::Cow;

/// Returns the text as a cell that no spreadsheet executes. A text that begins with `=`, `+`, `-`, `@`, a tab, a line end or an
/// apostrophe gets an apostrophe in front; taking one apostrophe from the front of a cell gives the text back.
///
/// Numbers that this program writes are no text, and need no apostrophe.
pub(crate) fn safe_cell(text: &str) -> Cow<'_, str> {
    // Full-width forms are read as the plain ones by spreadsheets in East Asian languages.
    const STARTS: &[char] = &[
        '=', '+', '-', '@', '\t', '\r', '\n', '\'', '\u{FF1D}', '\u{FF0B}', '\u{FF0D}', '\u{FF20}',
    ];
    if text.starts_with(STARTS) {
        Cow::Owned(format!("'{text}"))
    } else {
        Cow::Borrowed(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_never_a_formula_and_can_be_read_back() {
        for start in [
            "=", "+", "-", "@", "\t", "\r", "\n", "'", "＝", "＋", "－", "＠",
        ] {
            let text = format!("{start}HYPERLINK(1)");
            let cell = safe_cell(&text);
            assert!(cell.starts_with('\''), "{text:?}");
            assert_eq!(cell.strip_prefix('\''), Some(text.as_str()));
        }
        for text in ["", "rent", "a=b", " =1", "5-3", "é"] {
            assert_eq!(safe_cell(text), text);
        }
    }
}
