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
    /// Running time before which none is made.
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

    /// Selects holds to expire, if some are due at the time `at` that they are decided as of, and no request is under way.
    pub(crate) fn expire(&mut self, shared: &Shared, now: u64, at: u64) -> Option<Request> {
        if !shared.ports.permit.is_granted() {
            return None;
        }
        let due = || shared.reader.due(at, EXPIRED_AT_ONCE_MAX);
        let selected = self.holds.select(now, shared.clock.running(), due)?;
        Some(selected.request("expire", Body::Expire, |_| ()))
    }

    /// Selects queued payments to run, if there are any at the time `at` and no request is under way.
    pub(crate) fn select(&mut self, shared: &Shared, now: u64, at: u64) -> Option<Selected> {
        if !shared.ports.permit.is_granted() {
            return None;
        }
        let next = || shared.view.next_queued(at, RUN_AT_ONCE_MAX);
        self.queue.select(now, shared.clock.running(), next)
    }
}

impl Round {
    /// Selects `payments`, if there are any and no request is under way. `running` is the running time.
    fn select(
        &self,
        now: u64,
        running: u64,
        payments: impl FnOnce() -> Vec<PaymentId>,
    ) -> Option<Selected> {
        if self.under_way.load(Ordering::Acquire) > 0
            || running < self.not_before.load(Ordering::Acquire)
        {
            return None;
        }
        let payments = payments();
        if payments.is_empty() {
            return None;
        }
        self.under_way.store(payments.len(), Ordering::Release);
        Some(Selected {
            payments,
            now,
            end: RoundEnd {
                under_way: self.under_way.clone(),
                not_before: self.not_before.clone(),
                retry_at: running.saturating_add(NOTHING_DONE_WAIT_NS),
            },
        })
    }
}

/// Payments of a request that is under way, though it may not be made yet.
pub(crate) struct Selected {
    payments: Vec<PaymentId>,
    now: u64,
    end: RoundEnd,
}

/// Ends a round.
struct RoundEnd {
    under_way: Arc<AtomicUsize>,
    not_before: Arc<AtomicU64>,
    retry_at: u64,
}

impl RoundEnd {
    fn end(&self, done: bool) {
        if !done {
            self.not_before.store(self.retry_at, Ordering::Release);
        }
        self.under_way.store(0, Ordering::Release);
    }
}

impl Selected {
    /// The request that runs the payments, as the judge assesses them, if there is one. Takes as long as the judge does.
    pub(crate) fn judge(self, shared: &Shared) -> Request {
        self.request("run", Body::Run, |commands| shared.assess(commands))
    }

    /// The request of the commands with these bodies.
    fn request(
        self,
        name: &str,
        body: impl Fn(PaymentId) -> Body,
        assess: impl FnOnce(&mut [Command]),
    ) -> Request {
        let now = self.now;
        let command = |payment| Command {
            key: own_key(name, payment, now),
            actor: Actor::SYSTEM,
            linked: false,
            effective_at: None,
            text: None,
            origin: None,
            assessment: None,
            body: body(payment),
        };
        let mut commands: Vec<Command> = self.payments.into_iter().map(command).collect();
        assess(&mut commands);
        let end = self.end;
        let respond = Box::new(move |resolved: Result<Resolved, Failure>| {
            let decided = |resolved: Resolved| {
                let mut verdicts = resolved.verdicts.iter();
                verdicts.any(|verdict| matches!(verdict, Verdict::Decided(..)))
            };
            end.end(resolved.is_ok_and(decided));
        });
        Request::new(commands, respond)
    }
}

/// A key of its own for each try: if the clock was set back in between, the ledger refuses what comes too early, and what was
/// refused once stays refused under its key.
fn own_key(name: &str, payment: PaymentId, now: u64) -> Key {
    let mut key = vec![OWN_KEY];
    key.extend_from_slice(format!("{name}-{}-{now}", payment.0).as_bytes());
    Key::from_bytes(&key).expect("it is short and not empty")
}
