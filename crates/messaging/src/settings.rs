//! What a subscription wants and how it is served.

use tributary_ledger::{Currency, OwnerId};

/// Nanoseconds in a second.
const SECOND: u64 = 1_000_000_000;

/// Names a subscription: a random number that its maker gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubscriptionId(pub u64);

/// What is wrong with a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} {what}")]
pub struct BadSetting {
    /// The field, as the API names it.
    pub field: &'static str,
    /// What it must be.
    pub what: &'static str,
}

const fn bad(field: &'static str, what: &'static str) -> BadSetting {
    BadSetting { field, what }
}

/// A pattern over event types: words between dots, where `*` stands for one word and `#` for any number of words, also none.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pattern(Box<str>);

impl Pattern {
    /// Bytes of a pattern, at most.
    pub const BYTES_MAX: usize = 128;

    /// Checks the form.
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

    /// As it was written.
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

/// Which events a subscription wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// Any of these, at most [`Filter::PATTERNS_MAX`]; with none, nothing comes but the results of queued payments that name
    /// the subscription.
    pub patterns: Vec<Pattern>,
    /// Only events that are about money in this currency.
    pub currency: Option<Currency>,
    /// Only events that this owner may see.
    pub owner: Option<OwnerId>,
}

impl Filter {
    /// Patterns, at most.
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

    /// Whether the type of an event is among those wanted.
    pub fn wants_type(&self, event_type: &str) -> bool {
        self.patterns
            .iter()
            .any(|pattern| pattern.matches(event_type))
    }
}

/// How events get to the receiver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Consumers come for them.
    Pull,
    /// They are sent. Where to and how is not looked into here.
    Push {
        /// The sender's own, at most [`Terms::TARGET_BYTES_MAX`].
        target: Vec<u8>,
    },
}

/// In which order events are handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// About that of the journal; one that is tried again holds nobody up.
    None,
    /// Events of one object (payment, account, key of an application's event) one after the other, the next only when the one
    /// before is done or dead.
    Object,
}

/// How long to wait before the next attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Backoff {
    /// `first`, then each time `factor` times as long, up to `max`, nanoseconds.
    Exponential {
        /// After the first attempt.
        first: u64,
        /// 1 ..= 10.
        factor: u32,
        /// At most.
        max: u64,
    },
    /// These delays, nanoseconds; the last one for all that follow.
    List(Vec<u64>),
}

/// How a subscription is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Fixed when the subscription is made.
    pub order: Order,
    /// After so many attempts an event is dead: 1 ..= 1,000.
    pub attempts_max: u32,
    /// Between attempts, unless the receiver names a delay.
    pub backoff: Backoff,
    /// Percent by which a delay of the backoff may be shorter or longer: 0 ..= 100.
    pub jitter: u8,
    /// How long a receiver has an event before it is taken to have failed, unless it names another time; nanoseconds.
    pub visibility: u64,
    /// Events in the hands of receivers, at most: 1 ..= 10,000.
    pub in_flight_max: u32,
    /// Events older than this are dropped instead of handed out; nanoseconds, 0 for never.
    pub ttl: u64,
    /// Events younger than this wait; nanoseconds.
    pub delay: u64,
    /// How many work on it at once, as far as somebody said so: 1 ..= 10,000. Nothing but the queueing model asks.
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
    /// Longest of all times in a policy, nanoseconds: 30 days.
    pub const TIME_MAX: u64 = 30 * 86_400 * SECOND;
    /// Longest visibility time-out, nanoseconds: 12 hours.
    pub const VISIBILITY_MAX: u64 = 12 * 3_600 * SECOND;
    /// Delays in a list, at most.
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

    /// How long to wait after attempt number `attempt` of the event at `position`, nanoseconds. The jitter is the same each
    /// time it is asked for and differs between events.
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

/// Spreads numbers evenly: the finalizer of SplitMix64.
fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Everything about a subscription that can be set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Which events.
    pub filter: Filter,
    /// How they get there. Pull stays pull, push stays push.
    pub kind: Kind,
    /// How they are served.
    pub policy: Policy,
    /// Why nothing is handed out now; none while it is active.
    pub paused: Option<String>,
    /// For people, at most [`Terms::NAME_BYTES_MAX`].
    pub name: String,
    /// The owner's own JSON object, at most [`Terms::METADATA_BYTES_MAX`].
    pub metadata: String,
}

impl Terms {
    /// Bytes of a name or of the reason of a pause, at most.
    pub const NAME_BYTES_MAX: usize = 128;
    /// Bytes of the metadata, at most.
    pub const METADATA_BYTES_MAX: usize = 8 * 1024;
    /// Bytes of the target of a push, at most.
    pub const TARGET_BYTES_MAX: usize = 16 * 1024;

    /// Checks that these terms may follow `before`: a subscription that fetches stays one, and the order stays.
    ///
    /// # Errors
    /// The first field that may not change.
    pub fn check_change(&self, before: &Terms) -> Result<(), BadSetting> {
        if matches!(before.kind, Kind::Pull) != matches!(self.kind, Kind::Pull) {
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
