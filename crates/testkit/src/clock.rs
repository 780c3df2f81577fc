//! A clock that tests set.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tributary_journal::Clock;

/// A clock that stands still until a test moves it. Clones share the time.
#[derive(Clone, Debug)]
pub struct TestClock(Arc<AtomicU64>);

impl TestClock {
    /// Returns a clock that shows this time, nanoseconds since the Unix epoch.
    pub fn starting_at(nanos: u64) -> TestClock {
        TestClock(Arc::new(AtomicU64::new(nanos)))
    }

    /// Moves the time forward, nanoseconds.
    pub fn advance(&self, nanos: u64) {
        self.0.fetch_add(nanos, Ordering::SeqCst);
    }

    /// Sets the time, also backwards, nanoseconds since the Unix epoch.
    pub fn set(&self, nanos: u64) {
        self.0.store(nanos, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}
