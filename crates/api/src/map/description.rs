//! Descriptions of foreign files and messages as the API takes them.

use crate::form::value::DESCRIPTION_BYTES_MAX;

/// Makes a description one line of text that the API takes: longer ones are cut. Returns none if nothing is left, and whether the
/// end was cut.
pub(crate) fn shorten(text: String) -> (Option<String>, bool) {
    // Line ends and other control characters become blanks, one for each run.
    let mut line = String::with_capacity(text.len());
    for word in text.split(char::is_control).map(str::trim) {
        if !word.is_empty() && !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    let cut = line.len() > DESCRIPTION_BYTES_MAX;
    if cut {
        const MARK: char = '…';
        let mut end = DESCRIPTION_BYTES_MAX - MARK.len_utf8();
        while !line.is_char_boundary(end) {
            end -= 1;
        }
        line.truncate(end);
        line.push(MARK);
    }
    (Some(line).filter(|line| !line.is_empty()), cut)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_becomes_one_line_that_the_api_takes() {
        let check = |text: &str, expected: &str, cut: bool| {
            let (line, was_cut) = shorten(text.to_owned());
            assert_eq!(
                (line.unwrap_or_default().as_str(), was_cut),
                (expected, cut)
            );
        };
        check("rent", "rent", false);
        check("rent \r\n\n  May\t2026\n", "rent May 2026", false);
        check("\n", "", false);
        let long = "é".repeat(500);
        check(&long, &long, false);
        let cut = format!("{}…", "é".repeat(498));
        check(&format!("{long}!"), &cut, true);
    }
}
