//! Holds that come due: the view knows which, the ledger decides again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tributary_ledger::{Actor, Body, Command, Key, PaymentId};

use crate::backend::Failure;
use crate::core::{Request, Resolved, Verdict};
use crate::engine::Shared;

/// Holds expired in one request, so that a crowd of them leaves room for payments.
const EXPIRED_AT_ONCE_MAX: usize = 1_024;

/// How long to wait after a round that expired nothing, nanoseconds.
const NOTHING_EXPIRED_WAIT_NS: u64 = 1_000_000_000;
/// First byte of the keys below: reserved to the system, so no caller can take one of them.
const OWN_KEY: u8 = 0;

/// Submits `Expire` for due holds, one request at a time.
#[derive(Default)]
pub(crate) struct Expiring {
    under_way: Arc<AtomicBool>,
    not_before: Arc<AtomicU64>,
}

impl Expiring {
    /// The next request, if holds are due and none is under way.
    pub(crate) fn request(&mut self, shared: &Shared, now: u64) -> Option<Request> {
        if self.under_way.load(Ordering::Acquire) || now < self.not_before.load(Ordering::Acquire) {
            return None;
        }
        let due = shared.reader.due(now, EXPIRED_AT_ONCE_MAX);
        if due.is_empty() {
            return None;
        }
        let commands = due
            .into_iter()
            .map(|payment| Command {
                key: own_key(payment, now),
                actor: Actor::SYSTEM,
                linked: false,
                effective_at: None,
                text: None,
                body: Body::Expire(payment),
            })
            .collect();
        self.under_way.store(true, Ordering::Release);
        let (under_way, not_before) = (self.under_way.clone(), self.not_before.clone());
        let respond = Box::new(move |resolved: Result<Resolved, Failure>| {
            let decided = |resolved: Resolved| {
                resolved
                    .verdicts
                    .iter()
                    .any(|verdict| matches!(verdict, Verdict::Decided(..)))
            };
            if !resolved.is_ok_and(decided) {
                not_before.store(
                    now.saturating_add(NOTHING_EXPIRED_WAIT_NS),
                    Ordering::Release,
                );
            }
            under_way.store(false, Ordering::Release);
        });
        Some(Request::new(commands, respond))
    }
}

/// A key of its own for each try: if the clock was set back in between, the ledger refuses an `Expire` that comes too early,
/// and what was refused once stays refused under its key.
fn own_key(payment: PaymentId, now: u64) -> Key {
    let mut key = vec![OWN_KEY];
    key.extend_from_slice(format!("expire-{}-{now}", payment.0).as_bytes());
    Key::from_bytes(&key).expect("it is short and not empty")
}
