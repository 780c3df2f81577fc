//! Bounds of the event streams, of the receivers that wait at once, and of the reads at once.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tributary_api::code::ErrorCode;
use tributary_api::error::ApiError;
use tributary_engine::{SharedCounter, SharedPlace};
use tributary_ledger::{BoundReached, OwnerId, SharedBound};

/// Streams that read at once: many of them must not keep the disk and the processor from payments.
const READS_AT_ONCE: usize = 2;
/// Maximum number of receivers of subscriptions that wait for events at once: requests, and streams over gRPC.
const RECEIVERS_MAX: usize = 4_096;
/// Maximum number of reads that wait for a thread or run at once: lists, statements and look-ups of the past.
const READS_MAX: usize = 1_024;
/// Wait that a client is asked for when its read gets no place.
const READ_RETRY_AFTER: Duration = Duration::from_secs(1);
/// Wait that a client is asked for when it gets no place.
const PLACE_RETRY_AFTER: Duration = Duration::from_secs(5);

/// Places for streams and receivers, which all owners share, and the turns of streams to read.
pub(crate) struct Streams {
    /// One place for each stream that is open.
    streams: SharedCounter,
    /// One place for each receiver that waits.
    receivers: SharedCounter,
    /// One place for each read by a request.
    request_reads: SharedCounter,
    /// One permit for each stream that reads.
    pub(crate) reads: Arc<Semaphore>,
}

impl Streams {
    /// At most `max` streams at once.
    pub(crate) fn new(max: usize) -> Streams {
        Streams {
            streams: SharedCounter::new(SharedBound::new(max)),
            receivers: SharedCounter::new(SharedBound::new(RECEIVERS_MAX)),
            request_reads: SharedCounter::new(SharedBound::new(READS_MAX)),
            reads: Arc::new(Semaphore::new(READS_AT_ONCE)),
        }
    }

    /// Returns a place for a stream of the owner.
    pub(crate) fn stream(&self, owner: OwnerId) -> Result<SharedPlace, ApiError> {
        let place = self.streams.place(owner);
        place.map_err(|reached| no_place("event streams are open", reached))
    }

    /// Returns a place for a receiver of the owner.
    pub(crate) fn receiver(&self, owner: OwnerId) -> Result<SharedPlace, ApiError> {
        let place = self.receivers.place(owner);
        place.map_err(|reached| no_place("receivers wait for events", reached))
    }

    /// Returns a place for a read by a request of the owner.
    pub(crate) fn read(&self, owner: OwnerId) -> Result<SharedPlace, ApiError> {
        let place = self.request_reads.place(owner);
        place.map_err(|reached| {
            let message = places_taken("reads are under way", reached);
            ApiError::new(ErrorCode::Overloaded, message).retry_after(READ_RETRY_AFTER)
        })
    }

    /// How many streams are open.
    pub(crate) fn open(&self) -> usize {
        self.streams.in_all()
    }
}

fn no_place(what: &str, reached: BoundReached) -> ApiError {
    let message = places_taken(what, reached);
    ApiError::new(ErrorCode::TooManyStreams, message).retry_after(PLACE_RETRY_AFTER)
}

fn places_taken(what: &str, reached: BoundReached) -> String {
    match reached {
        BoundReached::InAll => format!("As many {what} as there may be."),
        BoundReached::OfOwner => format!("As many {what} for this owner as one owner may have."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_owner_cannot_keep_others_from_reading() {
        let streams = Streams::new(8);
        let reads = |owner| -> Vec<_> {
            std::iter::from_fn(|| streams.read(OwnerId(owner)).ok()).collect()
        };
        let owners: Vec<Vec<SharedPlace>> = (5..9).map(reads).collect();
        let counts: Vec<usize> = owners.iter().map(Vec::len).collect();
        assert_eq!(counts, [256, 256, 256, 0]);
        let refused = streams.read(OwnerId(5)).expect_err("it has its share");
        assert_eq!(refused.code(), "overloaded");
        assert_eq!(reads(OwnerId::PLATFORM.0).len(), 256);
        drop(owners);
        assert_eq!(reads(8).len(), 256);
    }

    #[test]
    fn one_owner_cannot_keep_receivers_of_others_from_waiting() {
        let streams = Streams::new(8);
        let waiting = |owner| -> Vec<_> {
            std::iter::from_fn(|| streams.receiver(OwnerId(owner)).ok()).collect()
        };
        let owners: Vec<Vec<SharedPlace>> = (5..9).map(waiting).collect();
        let counts: Vec<usize> = owners.iter().map(Vec::len).collect();
        assert_eq!(counts, [1_024, 1_024, 1_024, 0]);
        let refused = streams.receiver(OwnerId(5)).expect_err("it has its share");
        assert_eq!(refused.code(), "too_many_streams");
        assert_eq!(waiting(OwnerId::PLATFORM.0).len(), 1_024);
        drop(owners);
        assert_eq!(waiting(8).len(), 1_024);
    }
}
