//! Times and days as text: RFC 3339 in UTC, and YYYY-MM-DD.

use jiff::Timestamp;
use jiff::civil::Date;

const NANOS_PER_SECOND: u64 = 1_000_000_000;
const EPOCH: Date = jiff::civil::date(1970, 1, 1);

/// `nanos` since 1970 as an RFC 3339 time in UTC, with as many digits of a second as it needs.
pub fn format_timestamp(nanos: u64) -> String {
    // 2^64 ns end in 2554, well within what jiff holds.
    let time = Timestamp::new(
        (nanos / NANOS_PER_SECOND) as i64,
        (nanos % NANOS_PER_SECOND) as i32,
    );
    time.expect("64-bit nanoseconds are a time").to_string()
}

/// `nanos` since 1970, or before that if negative, as [`format_timestamp`] has it; nothing before the year -9999 or after 9999.
pub fn format_time_ns(nanos: i128) -> String {
    let time = Timestamp::from_nanosecond(nanos);
    time.map_or_else(|_| String::new(), |time| time.to_string())
}

/// Nanoseconds since 1970 of an RFC 3339 time; none if it has another form or lies before 1970 or after 2553.
pub fn parse_timestamp(text: &str) -> Option<u64> {
    if !has_rfc3339_form(text.as_bytes()) {
        return None;
    }
    let time: Timestamp = text.parse().ok()?;
    u64::try_from(time.as_nanosecond()).ok()
}

/// Whether `text` is laid out as RFC 3339 asks; jiff itself reads more than that.
fn has_rfc3339_form(text: &[u8]) -> bool {
    let digits = |range: std::ops::Range<usize>| text[range].iter().all(u8::is_ascii_digit);
    let fixed = text.len() >= 20
        && digits(0..4)
        && text[4] == b'-'
        && digits(5..7)
        && text[7] == b'-'
        && digits(8..10)
        && matches!(text[10], b'T' | b't')
        && digits(11..13)
        && text[13] == b':'
        && digits(14..16)
        && text[16] == b':'
        && digits(17..19);
    if !fixed {
        return false;
    }
    let mut rest = &text[19..];
    if let [b'.', fraction @ ..] = rest {
        let count = fraction
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        if !(1..=9).contains(&count) {
            return false;
        }
        rest = &fraction[count..];
    }
    match rest {
        [b'Z' | b'z'] => true,
        [b'+' | b'-', h1, h2, b':', m1, m2] => {
            [h1, h2, m1, m2].iter().all(|byte| byte.is_ascii_digit())
        }
        _ => false,
    }
}

/// `days` since 1970-01-01 as YYYY-MM-DD.
pub fn format_date(days: i32) -> String {
    let date = EPOCH.checked_add(jiff::Span::new().days(days));
    date.map_or_else(|_| format!("day {days}"), |date| date.to_string())
}

/// Days since 1970-01-01 of a date as YYYY-MM-DD, from 0001-01-01: many programs that read books know no year 0.
pub fn parse_date(text: &str) -> Option<i32> {
    let bytes = text.as_bytes();
    let form = bytes.len() == 10
        && bytes[4] == b'-'
        && bytes[7] == b'-'
        && [0, 1, 2, 3, 5, 6, 8, 9]
            .iter()
            .all(|&at| bytes[at].is_ascii_digit());
    if !form || bytes.starts_with(b"0000") {
        return None;
    }
    let date: Date = text.parse().ok()?;
    EPOCH.until(date).ok().map(|span| span.get_days())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_come_back_as_they_went() {
        for (text, nanos) in [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("1970-01-01T00:00:01.5Z", Some(1_500_000_000)),
            (
                "2026-11-20T23:15:41.123456789Z",
                Some(1_795_216_541_123_456_789),
            ),
        ] {
            assert_eq!(parse_timestamp(text), nanos, "{text}");
            assert_eq!(format_timestamp(nanos.expect("a time")), text);
        }
        assert_eq!(parse_timestamp("1970-01-01T01:00:00+01:00"), Some(0));
        assert_eq!(parse_timestamp("1970-01-01t00:00:00z"), Some(0));
        for wrong in [
            "",
            "1969-12-31T23:59:59Z",
            "2600-01-01T00:00:00Z",
            "2026-11-20",
            "2026-11-20T23:15Z",
            "2026-11-20 23:15:41Z",
            "2026-11-20T23:15:41",
            "2026-11-20T23:15:41Z[UTC]",
            "2026-13-20T23:15:41Z",
            "2026-11-20T23:15:41.Z",
            "2026-11-20T23:15:41.1234567890Z",
        ] {
            assert_eq!(parse_timestamp(wrong), None, "{wrong}");
        }
        format_timestamp(u64::MAX);
    }

    #[test]
    fn days_come_back_as_they_went() {
        for (text, days) in [
            ("1970-01-01", 0),
            ("1969-12-31", -1),
            ("1993-02-28", 8459),
            ("9999-12-31", 2_932_896),
            ("0001-01-01", -719_162),
        ] {
            assert_eq!(parse_date(text), Some(days), "{text}");
            assert_eq!(format_date(days), text);
        }
        for wrong in [
            "",
            "0000-12-31",
            "1970-1-1",
            "1970-02-30",
            "19700101",
            "1970-01-01T00:00:00Z",
        ] {
            assert_eq!(parse_date(wrong), None, "{wrong}");
        }
    }
}
