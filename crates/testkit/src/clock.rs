//! A clock that only tests move.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tributary_journal::Clock;

/// A clock that stands until it is moved. Clones are the same clock.
#[derive(Clone, Debug)]
pub struct TestClock(Arc<AtomicU64>);

impl TestClock {
    /// A clock that shows this many nanoseconds since the Unix epoch.
    pub fn starting_at(nanos: u64) -> TestClock {
        TestClock(Arc::new(AtomicU64::new(nanos)))
    }

    /// Moves on.
    pub fn advance(&self, nanos: u64) {
        self.0.fetch_add(nanos, Ordering::SeqCst);
    }

    /// Moves anywhere, also back.
    pub fn set(&self, nanos: u64) {
        self.0.store(nanos, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}
