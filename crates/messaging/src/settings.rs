//! The definition of a subscription: which events, by what delivery, under which policy.

use tributary_ledger::{Currency, OwnerId, SettingId};

/// Nanoseconds in a second.
const SECOND: u64 = 1_000_000_000;

/// Id of a subscription: the random number of its setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubscriptionId(pub u64);

/// An invalid field of a definition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} {what}")]
pub struct BadSetting {
    /// Name of the field in the API.
    pub field: &'static str,
    /// Rule that the field breaks.
    pub what: &'static str,
}

const fn bad(field: &'static str, what: &'static str) -> BadSetting {
    BadSetting { field, what }
}

/// A pattern over event types: words between dots, where `*` stands for one word and `#` for any number of words, also none.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pattern(Box<str>);

impl Pattern {
    /// Maximum size of a pattern, in bytes.
    pub const BYTES_MAX: usize = 128;

    /// Checks the form of a pattern.
    ///
    /// # Errors
    /// A pattern has 1 to [`Pattern::BYTES_MAX`] bytes; its words are `*`, `#` or one or more of `[a-z0-9_-]`.
    pub fn new(text: &str) -> Result<Pattern, BadSetting> {
        let plain = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-');
        let word = |word: &str| {
            word == "*" || word == "#" || (!word.is_empty() && word.bytes().all(plain))
        };
        if text.len() <= Pattern::BYTES_MAX && text.split('.').all(word) {
            return Ok(Pattern(text.into()));
        }
        Err(bad(
            "events",
            "must be patterns such as payment.captured, payment.* or payment.#, of at most 128 bytes",
        ))
    }

    /// Returns the text of the pattern.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether an event of this type matches.
    pub fn matches(&self, event_type: &str) -> bool {
        let mut pattern = self.0.split('.');
        let mut words = event_type.split('.');
        // Where to go on if what follows the last `#` does not fit: the `#` takes one word more.
        let mut again: Option<(std::str::Split<'_, char>, std::str::Split<'_, char>)> = None;
        loop {
            let mut rest = words.clone();
            match (pattern.next(), rest.next()) {
                (None, None) => return true,
                (Some("#"), _) => {
                    again = Some((pattern.clone(), words.clone()));
                    continue;
                }
                (Some(wanted), Some(word)) if wanted == "*" || wanted == word => {
                    words = rest;
                    continue;
                }
                _ => {}
            }
            let Some((after, from)) = &mut again else {
                return false;
            };
            if from.next().is_none() {
                return false;
            }
            pattern = after.clone();
            words = from.clone();
        }
    }
}

/// Filter for events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// Patterns of event types, at most [`Filter::PATTERNS_MAX`]; one must match. With none, only the results of queued payments that
    /// name the subscription are delivered.
    pub patterns: Vec<Pattern>,
    /// Restricts the filter to events about money in this currency.
    pub currency: Option<Currency>,
    /// Restricts the filter to events that this owner may see.
    pub owner: Option<OwnerId>,
}

impl Filter {
    /// Maximum number of patterns.
    pub const PATTERNS_MAX: usize = 16;

    /// Checks the bounds.
    ///
    /// # Errors
    /// If there are too many patterns.
    pub fn check(&self) -> Result<(), BadSetting> {
        if self.patterns.len() <= Filter::PATTERNS_MAX {
            return Ok(());
        }
        Err(bad("events", "must be at most 16 patterns"))
    }

    /// Whether a pattern matches the type of an event.
    pub fn wants_type(&self, event_type: &str) -> bool {
        self.patterns
            .iter()
            .any(|pattern| pattern.matches(event_type))
    }
}

/// Delivery of events to the receiver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Receivers fetch events.
    Pull,
    /// Events are sent. Only the sender reads the target.
    Push {
        /// Target, in the sender's own form, at most [`Terms::TARGET_BYTES_MAX`].
        target: Vec<u8>,
    },
    /// Events are sent to a broker, as a binding says. A binding whose own number this is is its replies.
    Sink {
        /// The binding.
        binding: SettingId,
    },
}

/// Order in which events are handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// About the order of the journal. An event that is tried again delays no other.
    None,
    /// Events of one object (payment, account, setting, key of an application's event) one after the other: the next only when the one
    /// before is done or dead.
    Object,
}

/// Delay before the next attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Backoff {
    /// `first`, then each time `factor` times as long, up to `max`, nanoseconds.
    Exponential {
        /// Delay after the first attempt.
        first: u64,
        /// Factor, 1 ..= 10.
        factor: u32,
        /// Longest delay.
        max: u64,
    },
    /// These delays, nanoseconds. The last one is used for all further attempts.
    List(Vec<u64>),
}

/// Policy of deliveries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Order of events. Fixed at the creation.
    pub order: Order,
    /// Maximum number of attempts before an event is dead: 1 ..= 1,000.
    pub attempts_max: u32,
    /// Delay between attempts, unless the receiver names one.
    pub backoff: Backoff,
    /// Percent by which a delay of the backoff may be shorter or longer: 0 ..= 100.
    pub jitter: u8,
    /// Time until an unanswered attempt fails, unless the receiver names another, nanoseconds.
    pub visibility: u64,
    /// Maximum number of events handed out at once: 1 ..= 10,000.
    pub in_flight_max: u32,
    /// Age from which on events are dropped instead of handed out, nanoseconds; 0 for none.
    pub ttl: u64,
    /// Age before which events wait, nanoseconds.
    pub delay: u64,
    /// Number of workers, if given: 1 ..= 10,000. Used by the queueing model only.
    pub workers: Option<u32>,
}

impl Default for Policy {
    fn default() -> Policy {
        Policy {
            order: Order::None,
            attempts_max: 16,
            backoff: Backoff::Exponential {
                first: SECOND,
                factor: 2,
                max: 3_600 * SECOND,
            },
            jitter: 20,
            visibility: 30 * SECOND,
            in_flight_max: 1_000,
            ttl: 0,
            delay: 0,
            workers: None,
        }
    }
}

impl Policy {
    /// Longest time in a policy, nanoseconds: 30 days.
    pub const TIME_MAX: u64 = 30 * 86_400 * SECOND;
    /// Longest visibility time-out, nanoseconds: 12 hours.
    pub const VISIBILITY_MAX: u64 = 12 * 3_600 * SECOND;
    /// Maximum number of delays in a list.
    pub const DELAYS_MAX: usize = 32;

    /// Checks the bounds.
    ///
    /// # Errors
    /// The first field that is out of them.
    pub fn check(&self) -> Result<(), BadSetting> {
        let backoff = match &self.backoff {
            Backoff::Exponential { first, factor, max } => {
                (1..=10).contains(factor) && first <= max && *max <= Policy::TIME_MAX
            }
            Backoff::List(delays) => {
                (1..=Policy::DELAYS_MAX).contains(&delays.len())
                    && delays.iter().all(|delay| *delay <= Policy::TIME_MAX)
            }
        };
        let checks = [
            (
                (1..=1_000).contains(&self.attempts_max),
                bad("attempts_max", "must be 1 to 1000"),
            ),
            (backoff, bad("backoff", "is out of bounds")),
            (
                self.jitter <= 100,
                bad("jitter", "must be 0 to 100 percent"),
            ),
            (
                (SECOND..=Policy::VISIBILITY_MAX).contains(&self.visibility),
                bad("visibility_seconds", "must be 1 to 43200"),
            ),
            (
                (1..=10_000).contains(&self.in_flight_max),
                bad("in_flight_max", "must be 1 to 10000"),
            ),
            (
                self.ttl <= Policy::TIME_MAX,
                bad("ttl_seconds", "must be at most 30 days"),
            ),
            (
                self.delay <= Policy::TIME_MAX,
                bad("delay_seconds", "must be at most 30 days"),
            ),
            (
                self.workers
                    .is_none_or(|workers| (1..=10_000).contains(&workers)),
                bad("workers", "must be 1 to 10000"),
            ),
        ];
        match checks.into_iter().find(|(sound, _)| !sound) {
            Some((_, bad)) => Err(bad),
            None => Ok(()),
        }
    }

    /// Returns the delay after attempt number `attempt` of the event at `position`, nanoseconds. The jitter depends on the event and the
    /// attempt only.
    pub fn wait(&self, attempt: u32, position: u64) -> u64 {
        let plain = match &self.backoff {
            Backoff::Exponential { first, factor, max } => {
                let power = u64::from(*factor).checked_pow(attempt.saturating_sub(1));
                power
                    .and_then(|power| first.checked_mul(power))
                    .map_or(*max, |wait| wait.min(*max))
            }
            Backoff::List(delays) => {
                let at = (attempt.max(1) as usize - 1).min(delays.len() - 1);
                delays[at]
            }
        };
        let spread = plain / 100 * u64::from(self.jitter);
        if spread == 0 {
            return plain;
        }
        plain - spread + mix(position ^ u64::from(attempt) << 48) % (2 * spread + 1)
    }
}

/// Mixes a number: the finalizer of SplitMix64.
fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Definition and state of a subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Filter for events.
    pub filter: Filter,
    /// Delivery. Its kind stays.
    pub kind: Kind,
    /// Policy of deliveries.
    pub policy: Policy,
    /// Reason of a pause; none while the subscription is active.
    pub paused: Option<String>,
    /// Name for people, at most [`Terms::NAME_BYTES_MAX`].
    pub name: String,
    /// JSON object of the owner, at most [`Terms::METADATA_BYTES_MAX`].
    pub metadata: String,
}

impl Terms {
    /// Maximum size of a name, or of the reason of a pause, in bytes.
    pub const NAME_BYTES_MAX: usize = 128;
    /// Maximum size of the metadata, in bytes.
    pub const METADATA_BYTES_MAX: usize = 8 * 1024;
    /// Maximum size of the target of a push, in bytes.
    pub const TARGET_BYTES_MAX: usize = 16 * 1024;

    /// Checks that these terms may follow `before`: the kind stays, and the order stays.
    ///
    /// # Errors
    /// The first field that may not change.
    pub fn check_change(&self, before: &Terms) -> Result<(), BadSetting> {
        if std::mem::discriminant(&before.kind) != std::mem::discriminant(&self.kind) {
            return Err(bad("kind", "can't be changed"));
        }
        if before.policy.order != self.policy.order {
            return Err(bad("order", "can't be changed"));
        }
        Ok(())
    }

    /// Checks all bounds.
    ///
    /// # Errors
    /// The first field that is out of them.
    pub fn check(&self) -> Result<(), BadSetting> {
        self.filter.check()?;
        if self.name.len() > Terms::NAME_BYTES_MAX {
            return Err(bad("name", "must have at most 128 bytes"));
        }
        if self.metadata.len() > Terms::METADATA_BYTES_MAX {
            return Err(bad("metadata", "must have at most 8192 bytes"));
        }
        let paused = self.paused.as_ref().map_or(0, String::len);
        if paused > Terms::NAME_BYTES_MAX {
            return Err(bad("reason", "must have at most 128 bytes"));
        }
        if matches!(&self.kind, Kind::Push { target } if target.len() > Terms::TARGET_BYTES_MAX) {
            return Err(bad("target", "is too large"));
        }
        self.policy.check()
    }
}

/// A subscription as its setting has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// Number of its setting.
    pub id: SubscriptionId,
    /// Owner of the setting: the subscription gets the events that this owner may see, of the platform all.
    pub scope: OwnerId,
    /// When the setting was created, nanoseconds since the Unix epoch.
    pub created_at: u64,
    /// Its definition and state.
    pub terms: Terms,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_one_word_and_a_hash_any_number() {
        let check = |pattern: &str, matches: &[&str], others: &[&str]| {
            let pattern = Pattern::new(pattern).expect("a pattern");
            for word in matches {
                assert!(pattern.matches(word), "{pattern:?} {word}");
            }
            for word in others {
                assert!(!pattern.matches(word), "{pattern:?} {word}");
            }
        };
        check(
            "payment.captured",
            &["payment.captured"],
            &["payment", "payment.captured.x"],
        );
        check(
            "payment.*",
            &["payment.captured", "payment.failed"],
            &["payment", "payment.a.b"],
        );
        check(
            "payment.#",
            &["payment", "payment.captured", "payment.a.b"],
            &["payments", "account.x"],
        );
        check("#", &["a", "a.b", "app.x.y.z"], &[]);
        check("*.*", &["a.b"], &["a", "a.b.c"]);
        check(
            "#.failed",
            &["payment.failed", "failed", "a.failed.failed"],
            &["payment.failed.x"],
        );
        check(
            "a.#.b.*.c",
            &["a.b.x.c", "a.x.b.y.c", "a.b.b.b.c"],
            &["a.b.c", "a.x.b.c"],
        );
        check(
            "#.a.#.b.#",
            &["a.b", "x.a.y.b.z", "a.a.b.b"],
            &["b.a", "a", "b"],
        );
        for wrong in ["", ".", "a.", "A.b", "a b", "a.**", "ä"] {
            assert!(Pattern::new(wrong).is_err(), "{wrong}");
        }
        assert!(Pattern::new(&"a".repeat(129)).is_err());
    }

    #[test]
    fn a_backoff_grows_to_its_bound_within_its_jitter() {
        let mut policy = Policy {
            jitter: 0,
            ..Policy::default()
        };
        let seconds: Vec<u64> = (1..=14)
            .map(|attempt| policy.wait(attempt, 7) / SECOND)
            .collect();
        assert_eq!(
            seconds,
            [
                1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 3600, 3600
            ]
        );
        assert_eq!(policy.wait(1_000, 7), 3_600 * SECOND);
        policy.backoff = Backoff::List(vec![5 * SECOND, 300 * SECOND]);
        assert_eq!(policy.wait(1, 7), 5 * SECOND);
        assert_eq!(policy.wait(9, 7), 300 * SECOND);
        policy.jitter = 20;
        let waits: Vec<u64> = (0..1_000)
            .map(|position| policy.wait(1, position))
            .collect();
        assert!(
            waits
                .iter()
                .all(|wait| (4 * SECOND..=6 * SECOND).contains(wait))
        );
        assert!(waits.iter().any(|wait| *wait < 41 * SECOND / 10));
        assert!(waits.iter().any(|wait| *wait > 59 * SECOND / 10));
    }
}
