//! The way of one serving thread to the writer and back, shared by all requests that the thread works on.
//!
//! A hand-off between threads costs more than deciding a payment does. So requests that are made in one turn of a thread's
//! event loop travel as one message, and the answers of one batch wake the thread once, not once for each. When there is
//! nothing else to run, a request leaves at once: nothing waits for company.

use std::cell::RefCell;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use tokio::sync::oneshot;
use tributary_ledger::Command;

use crate::backend::Failure;
use crate::core::{Request, Resolved};
use crate::engine::{Engine, Refused, Reply};

type Outcome = Result<Resolved, Failure>;

/// A serving thread's place before the writer. [`Desk::run`] must run on the thread's executor as long as requests are made.
pub struct Desk {
    engine: Engine,
    leaving: Mutex<Leaving>,
    arrived: Arc<Arrived>,
}

/// What goes to the writer with the next turn.
#[derive(Default)]
struct Leaving {
    requests: Vec<Request>,
    runner: Option<Waker>,
}

/// Answers from other threads.
#[derive(Default)]
struct Arrived(Mutex<Answers>);

#[derive(Default)]
struct Answers {
    waiting: Vec<(oneshot::Sender<Outcome>, Outcome)>,
    runner: Option<Waker>,
}

thread_local! {
    /// Desks to be woken at the end of [`gathered`]; none outside of it.
    static TO_WAKE: RefCell<Option<Vec<Arc<Arrived>>>> = const { RefCell::new(None) };
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs `respond`, which answers many requests, and wakes each desk once after it.
pub(crate) fn gathered(respond: impl FnOnce()) {
    TO_WAKE.with_borrow_mut(|list| *list = Some(Vec::new()));
    respond();
    let desks = TO_WAKE.with_borrow_mut(Option::take);
    for desk in desks.into_iter().flatten() {
        desk.wake();
    }
}

impl Arrived {
    fn put(self: &Arc<Arrived>, to: oneshot::Sender<Outcome>, outcome: Outcome) {
        let first = {
            let mut answers = lock(&self.0);
            answers.waiting.push((to, outcome));
            answers.waiting.len() == 1
        };
        // Whoever put the first one wakes, at the end of its round.
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

    fn wake(&self) {
        let runner = lock(&self.0).runner.clone();
        if let Some(runner) = runner {
            runner.wake();
        }
    }
}

impl Desk {
    /// A desk for one thread.
    pub fn new(engine: Engine) -> Desk {
        Desk {
            engine,
            leaving: Mutex::default(),
            arrived: Arc::default(),
        }
    }

    /// The engine behind it.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// As [`Engine::execute`].
    pub async fn execute(&self, commands: Vec<Command>) -> Result<Vec<Reply>, Refused> {
        let (sender, receiver) = oneshot::channel();
        let arrived = self.arrived.clone();
        let respond = Box::new(move |outcome| arrived.put(sender, outcome));
        let request = self.engine.admit(commands, respond)?;
        let runner = {
            let mut leaving = lock(&self.leaving);
            leaving.requests.push(request);
            match leaving.requests.len() {
                1 => leaving.runner.clone(),
                _ => None,
            }
        };
        if let Some(runner) = runner {
            runner.wake();
        }
        let resolved = receiver.await.map_err(|_| Refused::Stopping)?;
        self.engine.replies(resolved?)
    }

    /// Carries requests and answers, for ever. Woken by the first request of a turn, it runs after what was ready before.
    pub async fn run(&self) {
        poll_fn(|context| {
            let answers = {
                let mut answers = lock(&self.arrived.0);
                keep(&mut answers.runner, context.waker());
                std::mem::take(&mut answers.waiting)
            };
            for (to, outcome) in answers {
                // Whoever asked may have gone; the record stands all the same.
                let _gone = to.send(outcome);
            }
            let requests = {
                let mut leaving = lock(&self.leaving);
                keep(&mut leaving.runner, context.waker());
                std::mem::take(&mut leaving.requests)
            };
            if !requests.is_empty() {
                self.engine.hand_over(requests);
            }
            Poll::<()>::Pending
        })
        .await;
    }
}

fn keep(slot: &mut Option<Waker>, waker: &Waker) {
    match slot {
        Some(known) => known.clone_from(waker),
        None => *slot = Some(waker.clone()),
    }
}
