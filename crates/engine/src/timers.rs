//! Holds that come due: the view knows which, the ledger decides again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tributary_ledger::{Actor, Body, Command, Key};

use crate::core::Request;
use crate::engine::Shared;
use crate::writer::own_request;

/// Holds expired in one request, so that a crowd of them leaves room for payments.
const EXPIRED_AT_ONCE_MAX: usize = 1_024;

/// Submits `Expire` for due holds, one request at a time.
#[derive(Default)]
pub(crate) struct Expiring {
    under_way: Arc<AtomicBool>,
}

impl Expiring {
    /// The next request, if holds are due and none is under way.
    pub(crate) fn request(&mut self, shared: &Shared, now: u64) -> Option<Request> {
        if self.under_way.load(Ordering::Acquire) {
            return None;
        }
        let due = shared.reader.due(now, EXPIRED_AT_ONCE_MAX);
        if due.is_empty() {
            return None;
        }
        let commands = due
            .into_iter()
            .map(|payment| Command {
                // A hold comes due once, so this key is taken once.
                key: Key::from_bytes(format!("expire-{}", payment.0).as_bytes())
                    .expect("it is short and not empty"),
                actor: Actor::SYSTEM,
                linked: false,
                effective_at: None,
                text: None,
                body: Body::Expire(payment),
            })
            .collect();
        self.under_way.store(true, Ordering::Release);
        let under_way = self.under_way.clone();
        Some(own_request(commands, move || {
            under_way.store(false, Ordering::Release)
        }))
    }
}
