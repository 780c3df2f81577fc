//! The broker itself: named queues, and the means of a test to break it.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;

use crate::port::{Message, Outgoing, Refusal, Trouble, TroubleKind};

/// Queues in memory.
#[derive(Default)]
pub struct Broker {
    state: Mutex<State>,
    /// Notified whenever a source may look again.
    changed: Arc<Notify>,
}

#[derive(Default)]
struct State {
    queues: HashMap<String, VecDeque<Held>>,
    tokens: u64,
    is_down: bool,
    /// Connections of an earlier number were cut.
    epoch: u64,
    password: Option<String>,
    refusals: Vec<(Outgoing, Refusal)>,
    absent: HashSet<String>,
}

/// A connection, until it is cut.
#[derive(Clone, Debug)]
pub(super) struct Connection {
    epoch: u64,
}

/// A message that a queue keeps, or a source holds.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) token: u64,
    message: Outgoing,
    redelivered: bool,
}

impl Held {
    pub(super) fn to_message(&self) -> Message {
        let message = &self.message;
        let header = |name: &str| {
            let found = message.headers.iter().find(|(found, _)| found == name);
            found.map(|(_, value)| String::from_utf8_lossy(value).into_owned())
        };
        Message {
            token: self.token,
            body: message.body.clone(),
            content_type: Some(message.content_type.clone()),
            headers: message.headers.clone(),
            message_id: Some(message.message_id.clone()).filter(|id| !id.is_empty()),
            broker_id: Some(self.token.to_string()),
            key: message.key.clone().map(Bytes::from),
            reply_to: header("reply-to"),
            correlation_id: message.correlation_id.clone(),
            api_key: None,
            redelivered: self.redelivered,
        }
    }
}

impl Broker {
    /// A broker without queues.
    pub fn new() -> Arc<Broker> {
        Arc::new(Broker::default())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a queue, if there is none of this name.
    pub fn declare(&self, queue: &str) {
        self.state().queues.entry(queue.to_owned()).or_default();
    }

    /// Puts a message into a queue. Returns whether there is such a queue.
    pub fn put(&self, queue: &str, message: &Outgoing) -> bool {
        let mut state = self.state();
        state.tokens += 1;
        let held = Held {
            token: state.tokens,
            message: message.clone(),
            redelivered: false,
        };
        let kept = match state.queues.get_mut(queue) {
            Some(waiting) => {
                waiting.push_back(held);
                true
            }
            None => false,
        };
        drop(state);
        self.changed.notify_waiters();
        kept
    }

    /// Returns the messages that were given back to their senders, and why.
    pub fn refusals(&self) -> Vec<(Outgoing, Refusal)> {
        self.state().refusals.clone()
    }

    /// Has the reader of a queue go, as where no broker stands between, or come back.
    pub fn set_absent(&self, queue: &str, is_absent: bool) {
        let absent = &mut self.state().absent;
        match is_absent {
            true => absent.insert(queue.to_owned()),
            false => absent.remove(queue),
        };
    }

    /// Cuts every connection.
    pub fn cut(&self) {
        self.state().epoch += 1;
        self.changed.notify_waiters();
    }

    /// Stops the broker, which cuts every connection, or starts it again. What is in the queues stays.
    pub fn set_down(&self, is_down: bool) {
        self.state().is_down = is_down;
        self.cut();
    }

    /// Asks for this password from now on, and cuts every connection.
    pub fn set_password(&self, password: Option<&str>) {
        self.state().password = password.map(str::to_owned);
        self.cut();
    }

    pub(super) fn refuse(&self, held: &Held, refusal: &Refusal) {
        let refusals = &mut self.state().refusals;
        refusals.push((held.message.clone(), refusal.clone()));
    }

    pub(super) fn is_absent(&self, queue: &str) -> bool {
        self.state().absent.contains(queue)
    }

    pub(super) fn changed(&self) -> Arc<Notify> {
        self.changed.clone()
    }

    pub(super) fn exists(&self, queue: &str) -> bool {
        self.state().queues.contains_key(queue)
    }

    /// Number of messages that wait in a queue; none if there is no such queue.
    pub(super) fn waiting(&self, queue: &str) -> Option<u64> {
        self.state().queues.get(queue).map(|held| held.len() as u64)
    }

    pub(super) fn connect(&self, password: Option<&str>) -> Result<Connection, Trouble> {
        let state = self.state();
        if state.is_down {
            return Err(unreachable_now());
        }
        if state.password.is_some() && state.password.as_deref() != password {
            let text = "the broker refuses the password";
            return Err(Trouble::new(TroubleKind::CredentialsRefused, text));
        }
        Ok(Connection { epoch: state.epoch })
    }

    /// Fails if the connection was cut.
    pub(super) fn check(&self, connection: &Connection) -> Result<(), Trouble> {
        let state = self.state();
        match state.is_down || state.epoch != connection.epoch {
            true => Err(unreachable_now()),
            false => Ok(()),
        }
    }

    pub(super) fn take(
        &self,
        connection: &Connection,
        queue: &str,
    ) -> Result<Option<Held>, Trouble> {
        self.check(connection)?;
        let mut state = self.state();
        let Some(waiting) = state.queues.get_mut(queue) else {
            let text = format!("the queue {queue} was removed");
            return Err(Trouble::new(TroubleKind::DestinationMissing, text));
        };
        Ok(waiting.pop_front())
    }

    /// Puts what a source held back at the front, in order.
    pub(super) fn give_back(&self, queue: &str, held: Vec<Held>) {
        let mut state = self.state();
        if let Some(waiting) = state.queues.get_mut(queue) {
            for mut one in held.into_iter().rev() {
                one.redelivered = true;
                waiting.push_front(one);
            }
        }
        drop(state);
        self.changed.notify_waiters();
    }
}

fn unreachable_now() -> Trouble {
    Trouble::new(
        TroubleKind::Unreachable,
        "the connection to the broker is cut",
    )
}
