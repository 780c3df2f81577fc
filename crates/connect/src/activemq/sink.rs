//! Messages that go out.
//!
//! Each queue has a link of its own, a *lane*. A task per lane sends, and takes the broker's answers in.

use std::collections::HashMap;
use std::sync::Arc;

use fe2o3_amqp::Sendable;
use fe2o3_amqp::link::{DetachError, LinkStateError, SendError as AmqpSendError};
use fe2o3_amqp::types::definitions::Error as AmqpRefusal;
use fe2o3_amqp::types::messaging::{Data, Message as AmqpMessage, Outcome};
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;

use super::address;
use super::link::{self, ANSWER_TIMEOUT, AttachError, Link, Writing};
use super::message::to_amqp;
use crate::port::{Doing, Outgoing, SendError, Sink, Trouble, TroubleKind};

/// Maximum number of bytes that wait for their answer in one sink.
const UNCONFIRMED_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Bytes that a message counts beside its body, which bounds the number of messages too.
const MESSAGE_BYTES: usize = 4 * 1024;
/// Maximum number of queues that a sink keeps links to. One more, and those links are closed when they have nothing to do.
const LANES_MAX: usize = 64;
/// Maximum number of messages that a lane has not sent yet; the others wait before it.
const LANE_MESSAGES_MAX: usize = 64;
/// How often a message is given to a lane whose link the broker has ended.
const LANE_TRIES_MAX: usize = 3;

/// A connection for messages that go out. Dropped, it is cut, which ends its lanes.
pub(super) struct ActiveMqSink {
    lanes: Mutex<HashMap<String, mpsc::Sender<Job>>>,
    link: Link,
    room: Arc<Semaphore>,
}

/// A message on its way.
struct Job {
    message: AmqpMessage<Data>,
    /// Dropped unused if the message was not sent.
    done: oneshot::Sender<Result<(), SendError>>,
    _room: Arc<OwnedSemaphorePermit>,
}

impl ActiveMqSink {
    pub(super) fn new(link: Link) -> ActiveMqSink {
        ActiveMqSink {
            lanes: Mutex::default(),
            link,
            room: Arc::new(Semaphore::new(UNCONFIRMED_BYTES_MAX)),
        }
    }

    async fn send_message(&self, message: &Outgoing) -> Result<(), SendError> {
        let queue = address::queue_name(&message.address.destination);
        address::check_writable(queue).map_err(|what| {
            let text = format!("the destination {queue:?} {what}");
            SendError::Refused(Trouble::new(TroubleKind::Refused, text))
        })?;
        let bytes = (message.body.len() + MESSAGE_BYTES).min(UNCONFIRMED_BYTES_MAX);
        let bytes = u32::try_from(bytes).expect("the maximum is less");
        let room = self.room.clone().acquire_many_owned(bytes).await;
        let room = Arc::new(room.expect("nobody closes it"));
        for _ in 0..LANE_TRIES_MAX {
            let lane = self.lane(queue).await.map_err(|error| match error {
                AttachError::Refused(trouble) => SendError::Refused(trouble),
                AttachError::Lost(trouble) => SendError::Disconnected(trouble),
            })?;
            let (done, outcome) = oneshot::channel();
            let job = Job {
                message: to_amqp(message),
                done,
                _room: room.clone(),
            };
            if lane.send(job).await.is_ok()
                && let Ok(outcome) = outcome.await
            {
                return outcome;
            }
        }
        let place = self.link.place();
        let text = format!("{place} ends the link to the queue {queue} again and again");
        let trouble = Trouble::new(TroubleKind::Unreachable, text);
        Err(SendError::Disconnected(trouble))
    }

    /// Returns the lane to a queue.
    async fn lane(&self, queue: &str) -> Result<mpsc::Sender<Job>, AttachError> {
        let mut lanes = self.lanes.lock().await;
        if let Some(lane) = lanes.get(queue)
            && !lane.is_closed()
        {
            return Ok(lane.clone());
        }
        if lanes.len() >= LANES_MAX {
            lanes.clear();
        }
        let writing = self.link.writing(queue).await?;
        let (jobs, taken) = mpsc::channel(LANE_MESSAGES_MAX);
        let way = Way {
            place: self.link.place().to_owned(),
            queue: queue.to_owned(),
        };
        tokio::spawn(run(Arc::new(way), writing, taken));
        lanes.insert(queue.to_owned(), jobs.clone());
        Ok(jobs)
    }
}

impl Sink for ActiveMqSink {
    fn send<'a>(&'a self, message: &'a Outgoing) -> Doing<'a, Result<(), SendError>> {
        Box::pin(async move {
            match tokio::time::timeout(ANSWER_TIMEOUT, self.send_message(message)).await {
                Ok(done) => done,
                Err(_) => Err(SendError::Disconnected(self.link.late("confirm a message"))),
            }
        })
    }
}

/// Where a lane leads to, for texts.
struct Way {
    place: String,
    queue: String,
}

/// Sends until nobody has the other end, or the broker ends the link.
async fn run(way: Arc<Way>, mut writing: Writing, mut jobs: mpsc::Receiver<Job>) {
    let mut flying = JoinSet::new();
    while let Some(job) = jobs.recv().await {
        while flying.try_join_next().is_some() {}
        let sent = writing
            .sender
            .send_batchable(Sendable::from(job.message))
            .await;
        let outcome = match sent {
            Ok(outcome) => outcome,
            Err(
                error @ (AmqpSendError::MessageSizeExceeded(_) | AmqpSendError::MessageEncodeError),
            ) => {
                let text = format!("the queue {} at {}: {error}", way.queue, way.place);
                let refused = SendError::Refused(Trouble::new(TroubleKind::Refused, text));
                // Whoever gave up waiting for it does not listen.
                let _ = job.done.send(Err(refused));
                continue;
            }
            // It was not sent: whoever sends it finds another lane.
            Err(_) => break,
        };
        let (way, done, room) = (way.clone(), job.done, job._room);
        flying.spawn(async move {
            let judged = way.judge(outcome.await);
            drop(room);
            let _ = done.send(judged);
        });
    }
    jobs.close();
    while jobs.try_recv().is_ok() {}
    while flying.join_next().await.is_some() {}
    writing.close().await;
}

impl Way {
    /// Returns what the sender of a message is told.
    fn judge(&self, outcome: Result<Outcome, AmqpSendError>) -> Result<(), SendError> {
        let error = match outcome {
            Ok(Outcome::Accepted(_)) => return Ok(()),
            Ok(Outcome::Rejected(rejected)) => {
                return Err(SendError::Refused(match &rejected.error {
                    Some(refusal) => self.describe(refusal),
                    None => self.refused("rejected"),
                }));
            }
            Ok(_) => return Err(SendError::Refused(self.refused("did not keep"))),
            Err(error) => error,
        };
        let error = match error {
            AmqpSendError::LinkStateError(error) => error,
            AmqpSendError::Detached(DetachError::RemoteClosedWithError(refusal)) => {
                LinkStateError::RemoteClosedWithError(refusal)
            }
            other => {
                let text = format!("the connection to {} is lost: {other}", self.place);
                let trouble = Trouble::new(TroubleKind::Unreachable, text);
                return Err(SendError::Disconnected(trouble));
            }
        };
        let trouble = link::describe_end(&self.place, "write to", &self.queue, &error);
        match &error {
            LinkStateError::RemoteClosedWithError(refusal)
            | LinkStateError::RemoteDetachedWithError(refusal)
                if !link::is_forced(refusal) =>
            {
                Err(SendError::Refused(trouble))
            }
            _ => Err(SendError::Disconnected(trouble)),
        }
    }

    fn describe(&self, refusal: &AmqpRefusal) -> Trouble {
        link::describe(&self.place, "write to", &self.queue, refusal)
    }

    fn refused(&self, what: &str) -> Trouble {
        let text = format!(
            "{} {what} a message to the queue {}",
            self.place, self.queue
        );
        Trouble::new(TroubleKind::Refused, text)
    }
}
