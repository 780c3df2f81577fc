//! Requests that ran out of time.

use std::error::Error;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::registry::Registry;
use tributary_api::code::ErrorCode;

use crate::metrics::families::{Labelled, register_counters};

/// Numbers of requests that ran out of time, by what was waited for.
#[derive(Debug, Default)]
pub(crate) struct RequestTimeouts {
    /// Connections that ended while the server waited for the head of a request; idle ones are among them.
    head: AtomicU64,
    /// The body of a request.
    body: AtomicU64,
    /// The outcome, for which the ledger took too long.
    outcome: AtomicU64,
    /// The other end, to take an answer.
    answer: AtomicU64,
}

impl RequestTimeouts {
    /// Counts an answer with this code of an error.
    pub(crate) fn count_answer(&self, code: &[u8]) {
        let is_code = |known: ErrorCode| code == known.as_str().as_bytes();
        if is_code(ErrorCode::RequestTimeout) {
            self.body.fetch_add(1, Ordering::Relaxed);
        } else if is_code(ErrorCode::OutcomeUnknown) {
            self.outcome.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts a connection that ended with this error.
    pub(crate) fn count_connection(&self, error: &hyper::Error) {
        let cause = error
            .source()
            .and_then(|cause| cause.downcast_ref::<io::Error>());
        if cause.is_some_and(|cause| cause.kind() == io::ErrorKind::TimedOut) {
            self.answer.fetch_add(1, Ordering::Relaxed);
        } else if error.is_timeout() {
            self.head.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Registers the numbers.
pub(super) fn register_request_timeouts(registry: &mut Registry, timeouts: &RequestTimeouts) {
    let RequestTimeouts {
        head,
        body,
        outcome,
        answer,
    } = timeouts;
    let counts = [
        ("head", head),
        ("body", body),
        ("outcome", outcome),
        ("answer", answer),
    ];
    let counts = counts.map(|(at, count)| {
        let labels = vec![("at", at.to_owned())];
        (labels, ConstCounter::new(count.load(Ordering::Relaxed)))
    });
    register_counters(
        registry,
        "tributary_request_timeouts_total",
        "Requests that ran out of time, by what the server waited for: head (idle connections are among them), body, outcome, or \
         answer (the client did not take it)",
        Labelled(counts.into()),
    );
}
