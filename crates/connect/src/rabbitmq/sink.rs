//! Messages that go out.
//!
//! A refusal by RabbitMQ closes the whole channel, so each exchange has one of its own, a *lane*: what is refused at one exchange
//! disturbs no other. A task per lane publishes and takes the confirms in.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use lapin::message::BasicReturnMessage;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions};
use lapin::protocol::{AMQPErrorKind, AMQPSoftError};
use lapin::types::{FieldTable, ShortString};
use lapin::{BasicProperties, Channel, Confirmation, ErrorKind};
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::link::{self, ANSWER_TIMEOUT, Link};
use super::message::to_published;
use crate::port::{Doing, Outgoing, SendError, Sink, Trouble, TroubleKind};

/// Maximum number of bytes that wait for their confirm in one sink.
const UNCONFIRMED_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Bytes that a message counts beside its body, which bounds the number of messages too.
const MESSAGE_BYTES: usize = 4 * 1024;
/// Maximum number of exchanges that a sink keeps channels for. One more, and those channels are closed when they have nothing to do.
const LANES_MAX: usize = 64;
/// Maximum number of messages that a lane has not published yet; the others wait before it.
const LANE_MESSAGES_MAX: usize = 64;
/// How the routing keys of direct replies begin.
const DIRECT_REPLY: &str = "amq.rabbitmq.reply-to.";
/// How often a message is given to a lane whose channel the broker has closed because of another message.
const LANE_TRIES_MAX: usize = 3;

/// A connection for messages that go out. Dropped, it is cut, which ends its lanes.
pub(super) struct RabbitMqSink {
    link: Link,
    lanes: Mutex<HashMap<ShortString, mpsc::Sender<Job>>>,
    room: Arc<Semaphore>,
    /// Channel by which askers are looked for.
    asking: Mutex<Option<Channel>>,
}

/// A message on its way.
struct Job {
    routing_key: ShortString,
    properties: BasicProperties,
    body: Bytes,
    /// Whether it is returned if no queue takes it.
    mandatory: bool,
    /// Dropped unused if the message was not published.
    done: oneshot::Sender<Result<(), SendError>>,
    _room: Arc<OwnedSemaphorePermit>,
}

impl RabbitMqSink {
    pub(super) fn new(link: Link) -> RabbitMqSink {
        RabbitMqSink {
            link,
            lanes: Mutex::default(),
            room: Arc::new(Semaphore::new(UNCONFIRMED_BYTES_MAX)),
            asking: Mutex::default(),
        }
    }

    async fn publish(&self, message: &Outgoing) -> Result<(), SendError> {
        let published =
            to_published(message).map_err(|what| refused(TroubleKind::Refused, what))?;
        let key = published.routing_key.as_str();
        let is_direct = published.exchange.as_str().is_empty() && key.starts_with(DIRECT_REPLY);
        if is_direct {
            self.look_for_asker(&published.routing_key).await?;
        }
        let bytes = (message.body.len() + MESSAGE_BYTES).min(UNCONFIRMED_BYTES_MAX);
        let bytes = u32::try_from(bytes).expect("the maximum is less");
        let room = self.room.clone().acquire_many_owned(bytes).await;
        let room = Arc::new(room.expect("nobody closes it"));
        for _ in 0..LANE_TRIES_MAX {
            let lane = self
                .lane(&published.exchange)
                .await
                .map_err(SendError::Disconnected)?;
            let (done, outcome) = oneshot::channel();
            let job = Job {
                routing_key: published.routing_key.clone(),
                properties: published.properties.clone(),
                body: message.body.clone(),
                mandatory: !is_direct,
                done,
                _room: room.clone(),
            };
            if lane.send(job).await.is_ok()
                && let Ok(outcome) = outcome.await
            {
                return outcome;
            }
        }
        let text = format!("{} closes the channel again and again", self.link.place());
        Err(SendError::Disconnected(Trouble::new(
            TroubleKind::Refused,
            text,
        )))
    }

    /// Fails if whoever waits for a direct reply has gone. RabbitMQ returns every mandatory message to a direct reply, so one is not
    /// published so; but it answers whether the asker is there.
    async fn look_for_asker(&self, key: &ShortString) -> Result<(), SendError> {
        let mut asking = self.asking.lock().await;
        let channel = match asking.take() {
            Some(channel) if channel.status().connected() => channel,
            _ => self.link.channel().await.map_err(SendError::Disconnected)?,
        };
        let passive = QueueDeclareOptions {
            passive: true,
            ..QueueDeclareOptions::default()
        };
        let what = "look for whoever waits for a reply";
        let looked = channel.queue_declare(key.clone(), passive, FieldTable::default());
        let found = self.link.ask(what, async { Ok(looked.await) }).await;
        match found.map_err(SendError::Disconnected)? {
            Ok(_) => {
                *asking = Some(channel);
                Ok(())
            }
            Err(error) if link::is_soft(&error, &AMQPSoftError::NOTFOUND) => {
                let text = format!("whoever waits for the reply {key} has gone");
                Err(refused(TroubleKind::DestinationMissing, text))
            }
            Err(error) => Err(SendError::Disconnected(self.link.trouble(what, &error))),
        }
    }

    /// Returns the lane to an exchange.
    async fn lane(&self, exchange: &ShortString) -> Result<mpsc::Sender<Job>, Trouble> {
        let mut lanes = self.lanes.lock().await;
        if let Some(lane) = lanes.get(exchange)
            && !lane.is_closed()
        {
            return Ok(lane.clone());
        }
        if lanes.len() >= LANES_MAX {
            lanes.clear();
        }
        let channel = self.link.channel().await?;
        let confirming = channel.confirm_select(ConfirmSelectOptions::default());
        self.link.ask("confirm messages", confirming).await?;
        let (jobs, taken) = mpsc::channel(LANE_MESSAGES_MAX);
        let lane = Lane {
            channel,
            exchange: exchange.clone(),
            place: self.link.place().to_owned(),
            returned: Vec::new(),
        };
        tokio::spawn(lane.run(taken));
        lanes.insert(exchange.clone(), jobs.clone());
        Ok(jobs)
    }
}

impl Sink for RabbitMqSink {
    fn send<'a>(&'a self, message: &'a Outgoing) -> Doing<'a, Result<(), SendError>> {
        Box::pin(async move {
            match tokio::time::timeout(ANSWER_TIMEOUT, self.publish(message)).await {
                Ok(done) => done,
                Err(_) => Err(SendError::Disconnected(self.link.late("confirm a message"))),
            }
        })
    }
}

fn refused(kind: TroubleKind, text: impl Into<String>) -> SendError {
    SendError::Refused(Trouble::new(kind, text.into()))
}

/// A channel to one exchange.
struct Lane {
    channel: Channel,
    exchange: ShortString,
    place: String,
    /// What was returned and whose confirm has not been seen yet.
    returned: Vec<Returned>,
}

/// A message that came back because no queue took it.
#[derive(PartialEq)]
struct Returned {
    routing_key: ShortString,
    message_id: Option<ShortString>,
}

/// A message, and what became of it.
type Landed = (Job, lapin::Result<Confirmation>);

impl Lane {
    /// Publishes until nobody has the other end, or the broker closes the channel.
    async fn run(mut self, mut jobs: mpsc::Receiver<Job>) {
        let mut flying = FuturesUnordered::new();
        let mut is_open = true;
        while is_open || !flying.is_empty() {
            tokio::select! {
                biased;
                Some(landed) = flying.next() => {
                    let mut all = vec![landed];
                    while let Some(Some(landed)) = flying.next().now_or_never() {
                        all.push(landed);
                    }
                    if !self.settle(all) {
                        // What is left was not published: whoever sends it finds another lane.
                        jobs.close();
                        while jobs.try_recv().is_ok() {}
                        is_open = false;
                    }
                }
                job = jobs.recv(), if is_open => match job {
                    Some(job) => flying.push(fly(self.channel.clone(), self.exchange.clone(), job)),
                    None => is_open = false,
                },
            }
        }
    }

    /// Tells the senders what became of their messages. Returns whether the channel is of further use.
    ///
    /// A message that no queue took is returned before it is confirmed. lapin gives the returned message to the confirm that it sees
    /// next, which may be another message's when one confirm is for several. So everything that has landed is looked through first.
    fn settle(&mut self, landed: Vec<Landed>) -> bool {
        let mut outcomes = Vec::with_capacity(landed.len());
        for (job, outcome) in landed {
            let outcome = outcome.map(|confirmation| {
                let is_kept = confirmation.is_ack();
                self.returned
                    .extend(confirmation.take_message().map(Returned::new));
                is_kept
            });
            outcomes.push((job, outcome));
        }
        let mut is_usable = true;
        for (job, outcome) in outcomes {
            is_usable &= outcome.is_ok();
            if let Some(outcome) = self.judge(&job, outcome) {
                // Whoever gave up waiting for it does not listen.
                let _ = job.done.send(outcome);
            }
        }
        is_usable
    }

    /// Returns what the sender is told; nothing if the message was not published.
    fn judge(&mut self, job: &Job, kept: lapin::Result<bool>) -> Option<Result<(), SendError>> {
        let place = &self.place;
        let error = match kept {
            Ok(is_kept) => {
                let returned = self.returned.iter().position(|returned| returned.is(job));
                if let Some(index) = returned {
                    self.returned.swap_remove(index);
                    return Some(Err(self.unroutable(job)));
                }
                if is_kept {
                    return Some(Ok(()));
                }
                let text = format!(
                    "{place} did not keep the message: its queue is full, or a node is down"
                );
                return Some(Err(refused(TroubleKind::Refused, text)));
            }
            Err(error) => error,
        };
        let trouble = link::describe(place, "take a message", &error);
        match error.kind() {
            ErrorKind::InvalidChannelState(..) => None,
            ErrorKind::ProtocolError(refusal)
                if matches!(refusal.kind(), AMQPErrorKind::Soft(_)) =>
            {
                // A message that is too large takes those that fly with it down, but they are not to blame.
                let is_innocent = link::is_soft(&error, &AMQPSoftError::PRECONDITIONFAILED)
                    && !error
                        .to_string()
                        .contains(&format!("size {} ", job.body.len()));
                Some(Err(match is_innocent {
                    true => SendError::Disconnected(trouble),
                    false => SendError::Refused(trouble),
                }))
            }
            _ => Some(Err(SendError::Disconnected(trouble))),
        }
    }

    fn unroutable(&self, job: &Job) -> SendError {
        let (place, key) = (&self.place, &job.routing_key);
        let text = match self.exchange.as_str() {
            "" => format!("the queue {key} does not exist at {place}: create it"),
            exchange => format!(
                "no queue at {place} is bound to the exchange {exchange} for the routing key {key}: bind one"
            ),
        };
        refused(TroubleKind::DestinationMissing, text)
    }
}

impl Returned {
    fn new(message: BasicReturnMessage) -> Returned {
        Returned {
            routing_key: message.delivery.routing_key,
            message_id: message.delivery.properties.message_id().clone(),
        }
    }

    fn is(&self, job: &Job) -> bool {
        self.routing_key == job.routing_key && self.message_id == *job.properties.message_id()
    }
}

/// Publishes a message and waits for its confirm.
async fn fly(channel: Channel, exchange: ShortString, job: Job) -> Landed {
    let options = BasicPublishOptions {
        mandatory: job.mandatory,
        ..BasicPublishOptions::default()
    };
    let key = job.routing_key.clone();
    let published = channel
        .basic_publish(exchange, key, options, &job.body, job.properties.clone())
        .await;
    let outcome = match published {
        Ok(confirm) => confirm.await,
        Err(error) => Err(error),
    };
    (job, outcome)
}
