//! How fast one API key may send requests: a token bucket per key.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// How fast one API key may send requests.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RateLimit {
    /// Requests per second in the long run; at least 1.
    pub requests_per_second: u32,
    /// Requests at once after a pause; at least 1.
    pub burst: u32,
}

struct Bucket {
    /// Requests that may still come now, in millionths.
    millionths: u64,
    filled_at: Instant,
}

/// The buckets of all keys that were seen. Bounded by the number of API keys, since only a valid key gets one.
pub(crate) struct RateLimiter {
    /// Whether there is a limit: most servers have none, and then no lock is taken.
    limited: AtomicBool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// None: as many requests as wanted.
    limit: Option<RateLimit>,
    buckets: HashMap<u64, Bucket>,
}

const REQUEST: u64 = 1_000_000;

impl RateLimiter {
    /// Returns a limiter with this limit; without one it limits nothing.
    pub(crate) fn new(limit: Option<RateLimit>) -> RateLimiter {
        let limiter = RateLimiter {
            limited: AtomicBool::new(false),
            state: Mutex::default(),
        };
        limiter.set_limit(limit);
        limiter
    }

    /// Changes the limit. All keys begin with a full bucket again.
    pub(crate) fn set_limit(&self, limit: Option<RateLimit>) {
        let limit = limit.map(|limit| RateLimit {
            requests_per_second: limit.requests_per_second.max(1),
            burst: limit.burst.max(1),
        });
        let mut state = self.state();
        if state.limit != limit {
            state.limit = limit;
            state.buckets.clear();
            self.limited.store(limit.is_some(), Ordering::Release);
        }
    }

    /// Takes one request of `key`, or says how long to wait for the next one.
    pub(crate) fn take(&self, key: u64) -> Result<(), Duration> {
        match self.limited.load(Ordering::Acquire) {
            true => self.take_at(key, Instant::now()),
            false => Ok(()),
        }
    }

    fn take_at(&self, key: u64, now: Instant) -> Result<(), Duration> {
        let state = &mut *self.state();
        let Some(limit) = state.limit else {
            return Ok(());
        };
        let rate = u64::from(limit.requests_per_second);
        let full = u64::from(limit.burst) * REQUEST;
        let bucket = state.buckets.entry(key).or_insert(Bucket {
            millionths: full,
            filled_at: now,
        });
        // One microsecond earns `rate` millionths of a request; the rest of a microsecond is kept for the next call.
        let micros = now.saturating_duration_since(bucket.filled_at).as_micros() as u64;
        bucket.millionths = bucket
            .millionths
            .saturating_add(micros.saturating_mul(rate))
            .min(full);
        bucket.filled_at += Duration::from_micros(micros);
        if bucket.millionths >= REQUEST {
            bucket.millionths -= REQUEST;
            return Ok(());
        }
        Err(Duration::from_micros(
            (REQUEST - bucket.millionths).div_ceil(rate),
        ))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of the buckets panics")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_may_burst_and_then_only_keep_its_rate() {
        let limiter = RateLimiter::new(Some(RateLimit {
            requests_per_second: 10,
            burst: 3,
        }));
        let start = Instant::now();
        for _ in 0..3 {
            assert_eq!(limiter.take_at(1, start), Ok(()));
        }
        assert_eq!(limiter.take_at(1, start), Err(Duration::from_millis(100)));
        assert_eq!(
            limiter.take_at(2, start),
            Ok(()),
            "another key has its own bucket"
        );
        assert_eq!(
            limiter.take_at(1, start + Duration::from_millis(99)),
            Err(Duration::from_millis(1))
        );
        assert_eq!(
            limiter.take_at(1, start + Duration::from_millis(100)),
            Ok(())
        );
        assert!(
            limiter
                .take_at(1, start + Duration::from_millis(100))
                .is_err()
        );
        // A long pause earns no more than the burst.
        let later = start + Duration::from_secs(3600);
        assert_eq!(
            (0..10)
                .filter(|_| limiter.take_at(1, later).is_ok())
                .count(),
            3
        );
        // Another limit holds at once; none limits nothing.
        limiter.set_limit(Some(RateLimit {
            requests_per_second: 10,
            burst: 1,
        }));
        assert!(limiter.take_at(1, later).is_ok() && limiter.take_at(1, later).is_err());
        limiter.set_limit(None);
        assert!((0..10).all(|_| limiter.take(1).is_ok()));
    }
}
