//! Messages of sources that were lost. JetStream does not notice that a connection has gone: it would give what that held to others
//! only after the consumer's `ack_wait`. So the next source of the same consumer settles it.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Time after which JetStream has given up what was lost by itself.
const KEPT: Duration = Duration::from_secs(60);
/// Maximum number of messages that are kept, of all consumers.
const KEPT_MAX: usize = 100_000;

/// A consumer: url of its server, name of its stream, its own name.
pub(super) type Key = (String, String, String);

/// What is to be said about messages, by the subjects by which they are acknowledged.
#[derive(Debug, Default)]
pub(super) struct Lost {
    /// Were acknowledged, but the server did not confirm that.
    pub(super) acknowledged: Vec<String>,
    /// Were not acknowledged.
    pub(super) open: Vec<String>,
}

impl Lost {
    fn len(&self) -> usize {
        self.acknowledged.len() + self.open.len()
    }
}

/// What sources of this process have lost.
#[derive(Debug, Default)]
pub(super) struct Orphans(Mutex<HashMap<Key, Vec<(Instant, Lost)>>>);

impl Orphans {
    /// Keeps what a source has lost.
    pub(super) fn put(&self, key: Key, lost: Lost) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, kept| {
            kept.retain(|(since, _)| since.elapsed() < KEPT);
            !kept.is_empty()
        });
        let kept: usize = all.values().flatten().map(|(_, lost)| lost.len()).sum();
        if lost.len() > 0 && kept + lost.len() <= KEPT_MAX {
            all.entry(key).or_default().push((Instant::now(), lost));
        }
    }

    /// Takes what sources of a consumer have lost.
    pub(super) fn take(&self, key: &Key) -> Vec<Lost> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let lost = all.remove(key).unwrap_or_default();
        lost.into_iter().map(|(_, lost)| lost).collect()
    }
}
