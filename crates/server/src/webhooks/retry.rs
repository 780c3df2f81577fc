//! When a webhook that failed is sent again.

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

/// How long to wait after `attempt` (1 is the first) has failed; none if it was the last. Never less than the receiver asked for.
/// `random` is any number, even over all of them.
pub fn retry_delay(attempt: u32, after: Option<Duration>, random: u64) -> Option<Duration> {
    let index = usize::try_from(attempt.checked_sub(1)?).ok()?;
    let delay = jittered(*RETRY_DELAYS.get(index)?, random);
    Some(after.map_or(delay, |after| delay.max(after.min(RETRY_AFTER_MAX))))
}

fn jittered(delay: Duration, random: u64) -> Duration {
    let spread = delay.as_millis() as u64 * JITTER_PERCENT / 100;
    let least = delay.as_millis() as u64 - spread;
    Duration::from_millis(least + random % (2 * spread + 1))
}

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
    fn retries_follow_the_schedule_with_a_fifth_of_jitter_and_end() {
        let seconds = [5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400];
        for (attempt, seconds) in (1..).zip(seconds) {
            let delay = Duration::from_secs(seconds);
            let spread = delay / 5;
            let all = (0..50_000).map(|random| retry_delay(attempt, None, random * 7_919));
            let all: Vec<Duration> = all.map(|delay| delay.expect("a retry")).collect();
            let (least, most) = (all.iter().min(), all.iter().max());
            let (least, most) = (*least.expect("some"), *most.expect("some"));
            assert!(least >= delay - spread && most <= delay + spread);
            assert!(least < delay - spread / 2 && most > delay + spread / 2);
        }
        for attempt in [0, 10, u32::MAX] {
            assert_eq!(retry_delay(attempt, None, 0), None, "{attempt}");
        }
    }

    #[test]
    fn a_receiver_may_ask_for_more_time_but_not_for_less_nor_for_ever() {
        let wait = |after| retry_delay(1, Some(Duration::from_secs(after)), 0);
        assert_eq!(wait(1), Some(Duration::from_secs(4)));
        assert_eq!(wait(60), Some(Duration::from_secs(60)));
        assert_eq!(wait(1 << 40), Some(RETRY_AFTER_MAX));
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = crate::time::parse_timestamp("2026-11-21T08:00:00Z").expect("a time");
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
