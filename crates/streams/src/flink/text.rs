//! Names and spans of time in SQL of Flink.

/// Milliseconds of a day.
const DAY_MS: i64 = 86_400_000;

/// Longest span that Flink takes, in milliseconds: just below 1,000 days.
pub(super) const SPAN_MS_MAX: i64 = 1_000 * DAY_MS - 1;

/// Returns a name in backticks, in which it may hold anything: all but printable ASCII becomes `_`, so that a name ends neither its
/// quotes nor its line.
pub(super) fn identifier(name: &str) -> String {
    format!("`{}`", one_line(name, '_').replace('`', "``"))
}

/// Returns a text for a comment: one line, without what could end a statement.
pub(super) fn comment(text: &str) -> String {
    one_line(text, '?').replace(';', "?")
}

/// Returns a text with `other` in place of all but printable ASCII.
fn one_line(text: &str, other: char) -> String {
    let letters = text.chars().map(|letter| match letter {
        ' ' => ' ',
        _ if letter.is_ascii_graphic() => letter,
        _ => other,
    });
    letters.collect()
}

/// Returns a span of at most [`SPAN_MS_MAX`] milliseconds.
pub(super) fn interval(milliseconds: i64) -> String {
    let (days, rest) = (milliseconds / DAY_MS, milliseconds % DAY_MS);
    let (seconds, milliseconds) = (rest / 1_000, rest % 1_000);
    let (hours, minutes, seconds) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    format!(
        "INTERVAL '{days} {hours:02}:{minutes:02}:{seconds:02}.{milliseconds:03}' DAY(3) TO SECOND(3)"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_days_hours_minutes_and_seconds() {
        for (milliseconds, expected) in [
            (1, "0 00:00:00.001"),
            (59_999, "0 00:00:59.999"),
            (3_661_000, "0 01:01:01.000"),
            (SPAN_MS_MAX, "999 23:59:59.999"),
        ] {
            let expected = format!("INTERVAL '{expected}' DAY(3) TO SECOND(3)");
            assert_eq!(interval(milliseconds), expected);
        }
    }

    #[test]
    fn a_name_stays_in_its_quotes() {
        assert_eq!(identifier("a`; DROP\n\u{e9}"), "`a``; DROP__`");
    }
}
