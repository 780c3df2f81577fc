//! The delays of retries that Standard Webhooks suggests, and the wait that a receiver asks for by `Retry-After`.

use std::time::Duration;

use jiff::Timestamp;

/// The waits after the first attempt, the second and so on: what Standard Webhooks 1.0 suggests. After the last of them the webhook
/// is dead: ten attempts, over about three days.
pub const RETRY_DELAYS: [Duration; 9] = [
    Duration::from_secs(5),
    Duration::from_secs(5 * 60),
    Duration::from_secs(30 * 60),
    Duration::from_secs(2 * 3_600),
    Duration::from_secs(5 * 3_600),
    Duration::from_secs(10 * 3_600),
    Duration::from_secs(14 * 3_600),
    Duration::from_secs(20 * 3_600),
    Duration::from_secs(24 * 3_600),
];
/// A wait is up to this much shorter or longer, in percent, so that those who failed together do not come back together.
pub const JITTER_PERCENT: u64 = 20;
/// The longest wait that a receiver may ask for.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 3_600);

/// How long to wait by a `Retry-After` header, seconds or a date (RFC 9110, section 10.2.3), at most [`RETRY_AFTER_MAX`]. None if it
/// says neither. `now` is in nanoseconds since 1970.
pub(super) fn retry_after(value: &str, now: u64) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than fit are a long time.
        let seconds = value.parse().unwrap_or(u64::MAX);
        return Some(Duration::from_secs(seconds).min(RETRY_AFTER_MAX));
    }
    let parser = jiff::fmt::rfc2822::DateTimeParser::new();
    let date: Timestamp = parser.parse_timestamp(value).ok()?;
    let wait = date.as_nanosecond() - i128::from(now);
    let wait = u64::try_from(wait.max(0)).unwrap_or(u64::MAX);
    Some(Duration::from_nanos(wait).min(RETRY_AFTER_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = tributary_api::time::parse_timestamp("2026-11-21T08:00:00Z").expect("a time");
        for (value, seconds) in [
            ("0", Some(0)),
            (" 120 ", Some(120)),
            ("86401", Some(86_400)),
            ("99999999999999999999999", Some(86_400)),
            ("Sat, 21 Nov 2026 08:00:30 GMT", Some(30)),
            ("Sat, 21 Nov 2026 07:00:00 GMT", Some(0)),
            ("Sun, 21 Nov 2027 08:00:00 GMT", Some(86_400)),
            ("Sat, 21 Nov 9998 08:00:00 GMT", Some(86_400)),
            ("", None),
            ("-1", None),
            ("1.5", None),
            ("soon", None),
        ] {
            let expected = seconds.map(Duration::from_secs);
            assert_eq!(retry_after(value, now), expected, "{value}");
        }
    }
}
