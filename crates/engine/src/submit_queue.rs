//! The way of one serving thread to the writer and back, shared by all requests that the thread works on.
//!
//! A hand-off between threads costs more than deciding a payment does. So requests that are made in one turn of a thread's
//! event loop travel as one message, and the answers of one batch wake the thread once, not once for each. When there is
//! nothing else to run, a request leaves at once: no request waits for others to join it.

use std::future::poll_fn;
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};

use tokio::sync::oneshot;
use tributary_journal::lock;
use tributary_ledger::Command;

use crate::completions::{Completions, store_waker};
use crate::engine::Engine;
use crate::reply::{Refused, Reply};
use crate::request::Request;

/// The submissions of one serving thread. [`SubmitQueue::run`] must run on the thread's executor as long as requests are made.
pub struct SubmitQueue {
    engine: Engine,
    submissions: Mutex<Submissions>,
    completions: Arc<Completions>,
}

/// Requests that go to the writer with the next turn.
#[derive(Default)]
struct Submissions {
    requests: Vec<Request>,
    runner: Option<Waker>,
}

impl SubmitQueue {
    /// A queue for one thread.
    pub fn new(engine: Engine) -> SubmitQueue {
        SubmitQueue {
            engine,
            submissions: Mutex::default(),
            completions: Arc::default(),
        }
    }

    /// The engine that the requests go to.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// As [`Engine::execute`].
    pub async fn execute(&self, commands: Vec<Command>) -> Result<Vec<Reply>, Refused> {
        let (sender, receiver) = oneshot::channel();
        let completions = self.completions.clone();
        let respond = Box::new(move |outcome| completions.put(sender, outcome));
        let request = self.engine.admit(commands, respond)?;
        let runner = {
            let mut submissions = lock(&self.submissions);
            submissions.requests.push(request);
            match submissions.requests.len() {
                1 => submissions.runner.clone(),
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
            self.completions.deliver(context.waker());
            let requests = {
                let mut submissions = lock(&self.submissions);
                store_waker(&mut submissions.runner, context.waker());
                std::mem::take(&mut submissions.requests)
            };
            if !requests.is_empty() {
                self.engine.hand_over(requests);
            }
            Poll::<()>::Pending
        })
        .await;
    }
}
