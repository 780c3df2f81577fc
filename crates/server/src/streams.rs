//! Bounds of the event streams that are open at once.

use std::sync::Arc;

use tokio::sync::Semaphore;

/// Streams that read at once: many of them must not keep the disk and the processor from payments.
const READS_AT_ONCE: usize = 2;

/// Places for streams, and their turns to read.
pub(crate) struct Streams {
    max: usize,
    /// One permit for each stream that is open.
    pub(crate) places: Arc<Semaphore>,
    /// One permit for each stream that reads.
    pub(crate) reads: Arc<Semaphore>,
}

impl Streams {
    /// At most `max` at once.
    pub(crate) fn new(max: usize) -> Streams {
        let max = max.min(Semaphore::MAX_PERMITS);
        Streams {
            max,
            places: Arc::new(Semaphore::new(max)),
            reads: Arc::new(Semaphore::new(READS_AT_ONCE)),
        }
    }

    /// How many are open.
    pub(crate) fn open(&self) -> usize {
        self.max - self.places.available_permits()
    }
}
