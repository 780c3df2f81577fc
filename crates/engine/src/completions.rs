//! The way back of answers to serving threads: the answers of one batch wake each thread once.

use std::cell::RefCell;
use std::sync::{Arc, Mutex};
use std::task::Waker;

use tokio::sync::oneshot;
use tributary_journal::lock;

use crate::failure::Failure;
use crate::request::Resolved;

/// What became of a request.
pub(crate) type Outcome = Result<Resolved, Failure>;

/// Outcomes for one serving thread, put there by other threads.
#[derive(Default)]
pub(crate) struct Completions(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    outcomes: Vec<(oneshot::Sender<Outcome>, Outcome)>,
    runner: Option<Waker>,
}

thread_local! {
    /// Threads to be woken at the end of [`wake_once`]; none outside of it.
    static TO_WAKE: RefCell<Option<Vec<Arc<Completions>>>> = const { RefCell::new(None) };
}

/// Runs `respond`, which answers many requests, and then wakes each serving thread that got an answer, once.
pub(crate) fn wake_once(respond: impl FnOnce()) {
    TO_WAKE.with_borrow_mut(|list| *list = Some(Vec::new()));
    respond();
    let threads = TO_WAKE.with_borrow_mut(Option::take);
    for completions in threads.into_iter().flatten() {
        completions.wake();
    }
}

impl Completions {
    /// Puts an outcome there for `caller`.
    pub(crate) fn put(self: &Arc<Completions>, caller: oneshot::Sender<Outcome>, outcome: Outcome) {
        let first = {
            let mut waiting = lock(&self.0);
            waiting.outcomes.push((caller, outcome));
            waiting.outcomes.len() == 1
        };
        // The thread that put the first one wakes, at the end of its round.
        if first {
            let later = TO_WAKE.with_borrow_mut(|list| match list {
                Some(list) => {
                    list.push(self.clone());
                    true
                }
                None => false,
            });
            if !later {
                self.wake();
            }
        }
    }

    /// Hands every outcome that is there to its caller. `runner` is woken for the next one.
    pub(crate) fn deliver(&self, runner: &Waker) {
        let outcomes = {
            let mut waiting = lock(&self.0);
            store_waker(&mut waiting.runner, runner);
            std::mem::take(&mut waiting.outcomes)
        };
        for (caller, outcome) in outcomes {
            // The caller may have gone; the record stands all the same.
            let _gone = caller.send(outcome);
        }
    }

    fn wake(&self) {
        let runner = lock(&self.0).runner.clone();
        if let Some(runner) = runner {
            runner.wake();
        }
    }
}

/// Stores `waker` in `slot`, without a copy if it is there already.
pub(crate) fn store_waker(slot: &mut Option<Waker>, waker: &Waker) {
    match slot {
        Some(known) => known.clone_from(waker),
        None => *slot = Some(waker.clone()),
    }
}
