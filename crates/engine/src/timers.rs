//! What the system does by itself: holds expire, queued payments run. The view knows which, the ledger decides again.
//!
//! Of each kind one request of bounded size is under way at a time, so that a crowd of them leaves room for payments.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use tributary_ledger::{Actor, Body, Command, Key, PaymentId};

use crate::failure::Failure;
use crate::request::{Request, Resolved, Verdict};
use crate::shared::Shared;

/// Holds expired in one request: a payment that arrives meanwhile waits for one or two of these.
const EXPIRED_AT_ONCE_MAX: usize = 256;
/// Queued payments run in one request.
pub const RUN_AT_ONCE_MAX: usize = 256;

/// How long to wait after a round that came to nothing, nanoseconds.
const NOTHING_DONE_WAIT_NS: u64 = 1_000_000_000;
/// First byte of the keys below: reserved to the system, so no caller can take one of them.
const OWN_KEY: u8 = 0;

/// Submits `Expire` for holds that are due, and `Run` for queued payments.
pub(crate) struct Timers {
    holds: Round,
    queue: Round,
}

/// One kind of request: one at a time.
#[derive(Default)]
struct Round {
    /// How many commands the one under way has; 0 if none is.
    under_way: Arc<AtomicUsize>,
    not_before: Arc<AtomicU64>,
}

impl Timers {
    pub(crate) fn new(shared: &Shared) -> Timers {
        Timers {
            holds: Round::default(),
            queue: Round {
                under_way: shared.view.running.clone(),
                ..Round::default()
            },
        }
    }

    /// The next request to expire holds, if some are due at the time `at` that it is decided as of, and none is under way.
    pub(crate) fn expire(&mut self, shared: &Shared, now: u64, at: u64) -> Option<Request> {
        let due = |max| shared.reader.due(at, max);
        self.holds
            .request(now, || due(EXPIRED_AT_ONCE_MAX), "expire", Body::Expire)
    }

    /// The next request to run queued payments, if there are any to run and none is under way.
    pub(crate) fn run(&mut self, shared: &Shared, now: u64, at: u64) -> Option<Request> {
        let next = |max| shared.view.next_queued(at, max);
        self.queue
            .request(now, || next(RUN_AT_ONCE_MAX), "run", Body::Run)
    }
}

impl Round {
    fn request(
        &self,
        now: u64,
        payments: impl FnOnce() -> Vec<PaymentId>,
        name: &str,
        body: fn(PaymentId) -> Body,
    ) -> Option<Request> {
        if self.under_way.load(Ordering::Acquire) > 0
            || now < self.not_before.load(Ordering::Acquire)
        {
            return None;
        }
        let payments = payments();
        if payments.is_empty() {
            return None;
        }
        let command = |payment| Command {
            key: own_key(name, payment, now),
            actor: Actor::SYSTEM,
            linked: false,
            effective_at: None,
            text: None,
            body: body(payment),
        };
        let commands: Vec<Command> = payments.into_iter().map(command).collect();
        self.under_way.store(commands.len(), Ordering::Release);
        let (under_way, not_before) = (self.under_way.clone(), self.not_before.clone());
        let respond = Box::new(move |resolved: Result<Resolved, Failure>| {
            let decided = |resolved: Resolved| {
                resolved
                    .verdicts
                    .iter()
                    .any(|verdict| matches!(verdict, Verdict::Decided(..)))
            };
            if !resolved.is_ok_and(decided) {
                not_before.store(now.saturating_add(NOTHING_DONE_WAIT_NS), Ordering::Release);
            }
            under_way.store(0, Ordering::Release);
        });
        Some(Request::new(commands, respond))
    }
}

/// A key of its own for each try: if the clock was set back in between, the ledger refuses what comes too early, and what was
/// refused once stays refused under its key.
fn own_key(name: &str, payment: PaymentId, now: u64) -> Key {
    let mut key = vec![OWN_KEY];
    key.extend_from_slice(format!("{name}-{}-{now}", payment.0).as_bytes());
    Key::from_bytes(&key).expect("it is short and not empty")
}
