//! How fast one API key may send requests: a token bucket per key.

use std::collections::HashMap;
use std::sync::Mutex;
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
    limit: RateLimit,
    buckets: Mutex<HashMap<u64, Bucket>>,
}

const REQUEST: u64 = 1_000_000;

impl RateLimiter {
    pub(crate) fn new(limit: RateLimit) -> RateLimiter {
        let limit = RateLimit {
            requests_per_second: limit.requests_per_second.max(1),
            burst: limit.burst.max(1),
        };
        RateLimiter {
            limit,
            buckets: Mutex::new(HashMap::new()),
        }
    }

    /// Takes one request of `key` at `now`, or says how long to wait for the next one.
    pub(crate) fn take(&self, key: u64, now: Instant) -> Result<(), Duration> {
        let rate = u64::from(self.limit.requests_per_second);
        let full = u64::from(self.limit.burst) * REQUEST;
        let mut buckets = self
            .buckets
            .lock()
            .expect("no holder of the buckets panics");
        let bucket = buckets.entry(key).or_insert(Bucket {
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_may_burst_and_then_only_keep_its_rate() {
        let limiter = RateLimiter::new(RateLimit {
            requests_per_second: 10,
            burst: 3,
        });
        let start = Instant::now();
        for _ in 0..3 {
            assert_eq!(limiter.take(1, start), Ok(()));
        }
        assert_eq!(limiter.take(1, start), Err(Duration::from_millis(100)));
        assert_eq!(
            limiter.take(2, start),
            Ok(()),
            "another key has its own bucket"
        );
        assert_eq!(
            limiter.take(1, start + Duration::from_millis(99)),
            Err(Duration::from_millis(1))
        );
        assert_eq!(limiter.take(1, start + Duration::from_millis(100)), Ok(()));
        assert!(limiter.take(1, start + Duration::from_millis(100)).is_err());
        // A long pause earns no more than the burst.
        let later = start + Duration::from_secs(3600);
        assert_eq!(
            (0..10).filter(|_| limiter.take(1, later).is_ok()).count(),
            3
        );
    }
}
