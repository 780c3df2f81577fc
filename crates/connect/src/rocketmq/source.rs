//! Messages from one topic.
//!
//! RocketMQ gives a message to one reader of a group and hides it from the others for a while. A reader that works longer must say so
//! again and again. So a source has tasks of its own: one per broker waits for messages, one renews what is held, and one keeps the
//! client known. They end with the source; what was held then shows up again when its time is over.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::stream::{self, StreamExt as _};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;
use tonic::{Code, Streaming};

use super::link::{Greeting, Link};
use super::message::{Receipt, from_wire};
use super::topic::readable_brokers;
use super::wire::{self, Resource, Span, code};
use crate::port::{Binding, Doing, Message, Source, Trouble, TroubleKind};

/// How long the broker hides a message from others after it gave it out, or after it was renewed. RocketMQ allows no less than ten
/// seconds.
const HIDDEN: Duration = Duration::from_secs(15);
/// How often messages that are held are looked at, and how old they are when they are renewed.
const RENEW_EVERY: Duration = Duration::from_secs(2);
const RENEW_AFTER: Duration = Duration::from_secs(5);
/// Renewals at once.
const RENEWALS_MAX: usize = 16;
/// How long a message is hidden that is given back: as good as not at all.
const GIVEN_BACK: Duration = Duration::from_millis(1);
/// Maximum time until everything is given back.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a broker is asked to wait for a message before it says that there is none: as short as the proxy allows, which is five
/// seconds if nobody changes it. A question can't be taken back: the broker answers it to nobody, and hides what it gave.
const WAIT: Duration = Duration::from_secs(1);
/// How long a question may stay without an answer. RocketMQ 5.4 loses one now and then; so it is asked again. Whether the proxy is
/// there at all is what the heartbeats are for.
const QUESTION_TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum time until the questions under way are answered when a source is closed.
const LAST_ANSWERS: Duration = Duration::from_secs(7);
/// Maximum number of messages of one answer: what RocketMQ allows.
const BATCH_MAX: usize = 32;
/// How long the next question waits when a broker says at once that there is nothing, or that it has too much to do.
const PAUSE: Duration = Duration::from_millis(500);
/// How often the client says that it is there.
const HEARTBEAT_EVERY: Duration = Duration::from_secs(10);
/// How many heartbeats pass until the source looks again which brokers have the topic.
const HEARTBEATS_PER_LOOK: u32 = 3;

/// A reader of a group.
pub(super) struct RocketMqSource {
    shared: Arc<Shared>,
    arrivals: mpsc::Receiver<Result<Message, Trouble>>,
    /// Why nothing more comes.
    lost: Option<Trouble>,
    /// Those that ask for messages.
    asking: JoinSet<()>,
    /// The others.
    tasks: JoinSet<()>,
}

/// What the source and its tasks share.
struct Shared {
    link: Link,
    topic: String,
    group: String,
    /// Messages that may still be asked for.
    room: Arc<Semaphore>,
    held: Mutex<Holding>,
}

#[derive(Default)]
struct Holding {
    token: u64,
    messages: HashMap<u64, Arc<Held>>,
}

/// A message that was received and not acknowledged.
struct Held {
    /// Locked while it is renewed or used: the broker changes it at each renewal.
    receipt: tokio::sync::Mutex<Receipt>,
    renewed: Mutex<Instant>,
    _room: OwnedSemaphorePermit,
}

impl RocketMqSource {
    /// Begins to read.
    pub(super) async fn open(
        link: Link,
        greeting: Greeting,
        binding: &Binding,
    ) -> Result<RocketMqSource, Trouble> {
        let shared = Arc::new(Shared {
            link,
            topic: binding.destination.clone(),
            group: binding.group.clone(),
            room: Arc::new(Semaphore::new(binding.prefetch.into())),
            held: Mutex::default(),
        });
        shared.heartbeat().await?;
        let brokers = shared.brokers().await?;
        let (sender, arrivals) = mpsc::channel(usize::from(binding.prefetch) + 1);
        let (mut asking, mut tasks) = (JoinSet::new(), JoinSet::new());
        for broker in &brokers {
            asking.spawn(shared.clone().poll(broker.clone(), sender.clone()));
        }
        tasks.spawn(shared.clone().renew());
        tasks.spawn(shared.clone().stay_known(brokers, sender.clone()));
        tasks.spawn(shared.clone().listen(greeting.telemetry, sender));
        Ok(RocketMqSource {
            shared,
            arrivals,
            lost: None,
            asking,
            tasks,
        })
    }
}

impl Shared {
    fn held(&self) -> MutexGuard<'_, Holding> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn group(&self) -> Option<Resource> {
        Resource::named(&self.group)
    }

    fn topic(&self) -> Option<Resource> {
        Resource::named(&self.topic)
    }

    async fn brokers(&self) -> Result<BTreeSet<String>, Trouble> {
        let queues = self.link.queues(&self.topic).await?;
        readable_brokers(&self.link, &self.topic, &queues)
    }

    /// Says that this reader is there.
    async fn heartbeat(&self) -> Result<(), Trouble> {
        let beat = wire::Heartbeat {
            group: self.group(),
            client: wire::client::SIMPLE_CONSUMER,
        };
        let what = format!("keep a reader in the group {}", self.group);
        let answer: Result<wire::HeartbeatAnswer, Trouble> =
            self.link.ask(&what, "Heartbeat", beat).await;
        answer.map(drop)
    }

    /// Passes on what one broker has, until something goes wrong.
    async fn poll(
        self: Arc<Self>,
        broker: String,
        arrivals: mpsc::Sender<Result<Message, Trouble>>,
    ) {
        let what = format!("read the topic {}", self.topic);
        loop {
            let mut room = Vec::new();
            // It fails when the source is closed.
            let Ok(first) = self.room.clone().acquire_owned().await else {
                return;
            };
            room.push(first);
            while room.len() < BATCH_MAX
                && let Ok(more) = self.room.clone().try_acquire_owned()
            {
                room.push(more);
            }
            let begun = Instant::now();
            match self.take(&what, &broker, room, &arrivals).await {
                Ok(true) => {}
                Ok(false) if begun.elapsed() > PAUSE => {}
                Ok(false) => tokio::time::sleep(PAUSE).await,
                Err(trouble) => {
                    // Nobody listens if the source is gone.
                    let _ = arrivals.send(Err(trouble)).await;
                    return;
                }
            }
        }
    }

    /// Takes at most as many messages as there is room for. Returns whether any came.
    async fn take(
        &self,
        what: &str,
        broker: &str,
        mut room: Vec<OwnedSemaphorePermit>,
        arrivals: &mpsc::Sender<Result<Message, Trouble>>,
    ) -> Result<bool, Trouble> {
        let question = wire::Receive {
            group: self.group(),
            queue: Some(wire::Queue {
                topic: self.topic(),
                id: -1,
                permission: 0,
                broker: Some(wire::Broker {
                    name: broker.to_owned(),
                }),
                kinds: Vec::new(),
            }),
            filter: wire::Filter::everything(),
            batch: i32::try_from(room.len()).expect("it is not more than a batch"),
            invisible: Span::lasting(HIDDEN),
            wait: Span::lasting(WAIT),
        };
        let mut any = false;
        let asking = self.link.receive(what, question);
        let Ok(answers) = tokio::time::timeout(QUESTION_TIMEOUT, asking).await else {
            return Ok(any);
        };
        let mut answers = answers?;
        loop {
            let next = tokio::time::timeout(HIDDEN, answers.message()).await;
            let next = next.map_err(|_| self.link.late(what, HIDDEN))?;
            let answer = match next {
                Ok(Some(answer)) => answer,
                Ok(None) => return Ok(any),
                // What did not come in time shows up again.
                Err(status) if status.code() == Code::DeadlineExceeded => return Ok(any),
                Err(status) => return Err(self.link.describe(what, &status)),
            };
            if let Some(status) = &answer.status {
                match status.code {
                    code::MESSAGE_NOT_FOUND => return Ok(false),
                    code::TOO_MANY_REQUESTS => return Ok(false),
                    _ => self.link.check(what, Some(status))?,
                }
            }
            let Some(message) = answer.message else {
                continue;
            };
            let wrong = |why: &str| {
                let text = format!(
                    "{} sent {why} of the topic {}",
                    self.link.place(),
                    self.topic
                );
                Trouble::new(TroubleKind::Refused, text)
            };
            let room = room
                .pop()
                .ok_or_else(|| wrong("more messages than it was asked for"))?;
            let message = self.hold(message, room).map_err(wrong)?;
            any = true;
            if arrivals.send(Ok(message)).await.is_err() {
                return Ok(any);
            }
        }
    }

    /// Notes that a message is held.
    fn hold(
        &self,
        message: wire::Message,
        room: OwnedSemaphorePermit,
    ) -> Result<Message, &'static str> {
        let mut held = self.held();
        held.token += 1;
        let token = held.token;
        let (message, receipt) = from_wire(message, token)?;
        let one = Held {
            receipt: tokio::sync::Mutex::new(receipt),
            renewed: Mutex::new(Instant::now()),
            _room: room,
        };
        held.messages.insert(token, Arc::new(one));
        Ok(message)
    }

    /// Keeps what is held hidden from other readers.
    async fn renew(self: Arc<Self>) {
        let mut looks = tokio::time::interval(RENEW_EVERY);
        loop {
            looks.tick().await;
            let due: Vec<Arc<Held>> = {
                let held = self.held();
                let is_due = |held: &&Arc<Held>| held.age() >= RENEW_AFTER;
                held.messages.values().filter(is_due).cloned().collect()
            };
            let renewing = due.into_iter().map(|held| self.hide(held, HIDDEN));
            stream::iter(renewing)
                .buffer_unordered(RENEWALS_MAX)
                .for_each(|()| std::future::ready(()))
                .await;
        }
    }

    /// Sets for how long a message is hidden from now on. If that fails, it shows up again earlier.
    async fn hide(&self, held: Arc<Held>, time: Duration) {
        let mut receipt = held.receipt.lock().await;
        let begun = Instant::now();
        let change = wire::ChangeInvisible {
            group: self.group(),
            topic: self.topic(),
            receipt: receipt.handle.clone(),
            invisible: Span::lasting(time),
            message_id: receipt.message_id.clone(),
        };
        let what = "hide a message that is held";
        let changed: Result<wire::ChangeInvisibleAnswer, Trouble> =
            self.link.ask(what, "ChangeInvisibleDuration", change).await;
        match changed {
            Ok(changed) => {
                if !changed.receipt.is_empty() {
                    receipt.handle = changed.receipt;
                }
                *held.renewed.lock().unwrap_or_else(PoisonError::into_inner) = begun;
            }
            Err(trouble) => {
                tracing::debug!(topic = self.topic, %trouble, "a message may come twice")
            }
        }
    }

    /// Keeps the proxy from forgetting this reader, and looks whether the topic is where it was.
    async fn stay_known(
        self: Arc<Self>,
        brokers: BTreeSet<String>,
        arrivals: mpsc::Sender<Result<Message, Trouble>>,
    ) {
        for beats in 1_u32.. {
            tokio::time::sleep(HEARTBEAT_EVERY).await;
            let mut well = self.heartbeat().await;
            if well.is_ok() && beats.is_multiple_of(HEARTBEATS_PER_LOOK) {
                well = match self.brokers().await {
                    Ok(found) if found == brokers => Ok(()),
                    Ok(_) => Err(self.moved()),
                    Err(trouble) => Err(trouble),
                };
            }
            if let Err(trouble) = well {
                // Nobody listens if the source is gone.
                let _ = arrivals.send(Err(trouble)).await;
                return;
            }
        }
    }

    fn moved(&self) -> Trouble {
        let (topic, place) = (&self.topic, self.link.place());
        let text = format!("the topic {topic} at {place} has moved to other brokers");
        Trouble::new(TroubleKind::Unreachable, text)
    }

    /// Waits until the proxy ends the connection. What it says before is for clients that do more.
    async fn listen(
        self: Arc<Self>,
        mut telemetry: Streaming<wire::Telemetry>,
        arrivals: mpsc::Sender<Result<Message, Trouble>>,
    ) {
        let trouble = loop {
            match telemetry.message().await {
                Ok(Some(_)) => {}
                Ok(None) => break self.link.closed(),
                Err(status) => break self.link.describe("keep this client", &status),
            }
        };
        // Nobody listens if the source is gone.
        let _ = arrivals.send(Err(trouble)).await;
    }

    async fn acknowledge(&self, tokens: &[u64]) -> Result<(), Trouble> {
        let held: Vec<Arc<Held>> = {
            let mut held = self.held();
            let taken = tokens
                .iter()
                .filter_map(|token| held.messages.remove(token));
            taken.collect()
        };
        // A renewal that is under way changes the receipt.
        let mut receipts = Vec::with_capacity(held.len());
        for one in &held {
            receipts.push(one.receipt.lock().await);
        }
        let entries = receipts.iter().map(|receipt| wire::AckEntry {
            message_id: receipt.message_id.clone(),
            receipt: receipt.handle.clone(),
        });
        let entries: Vec<wire::AckEntry> = entries.collect();
        let acknowledging = entries
            .chunks(BATCH_MAX)
            .map(|some| self.tell(some.to_vec()));
        futures_util::future::try_join_all(acknowledging).await?;
        Ok(())
    }

    async fn tell(&self, entries: Vec<wire::AckEntry>) -> Result<(), Trouble> {
        let ack = wire::Ack {
            group: self.group(),
            topic: self.topic(),
            entries,
        };
        let what = "take an acknowledgement";
        let answer: wire::AckAnswer = self.link.ask_once(what, "AckMessage", ack).await?;
        // What became of each message says more than what became of all.
        let mut statuses: Vec<_> = answer
            .entries
            .iter()
            .map(|one| one.status.as_ref())
            .collect();
        if statuses.is_empty() {
            statuses.push(answer.status.as_ref());
        }
        for status in statuses {
            match status {
                // The message was held for too long: others may have it, and it is known when it comes again.
                Some(status) if status.code == code::INVALID_RECEIPT_HANDLE => {
                    let (topic, why) = (&self.topic, &status.message);
                    tracing::info!(topic, why, "an acknowledgement came too late");
                }
                status => self.link.check(what, status)?,
            }
        }
        Ok(())
    }

    /// Gives back what is held, and leaves the group.
    async fn leave(&self) {
        let held: Vec<Arc<Held>> = self.held().messages.drain().map(|(_, held)| held).collect();
        let giving = held.into_iter().map(|held| self.hide(held, GIVEN_BACK));
        stream::iter(giving)
            .buffer_unordered(RENEWALS_MAX)
            .for_each(|()| std::future::ready(()))
            .await;
        let what = "let this client go";
        let leave = wire::Termination {
            group: self.group(),
        };
        let left: Result<wire::TerminationAnswer, Trouble> =
            self.link.ask(what, "NotifyClientTermination", leave).await;
        if let Err(trouble) = left {
            tracing::debug!(topic = self.topic, %trouble, "the proxy was not told");
        }
    }
}

impl Held {
    fn age(&self) -> Duration {
        let renewed = self.renewed.lock().unwrap_or_else(PoisonError::into_inner);
        renewed.elapsed()
    }
}

impl Source for RocketMqSource {
    fn receive(&mut self) -> Doing<'_, Result<Message, Trouble>> {
        Box::pin(async move {
            if let Some(trouble) = &self.lost {
                return Err(trouble.clone());
            }
            let arrived = self.arrivals.recv().await;
            let arrived = arrived.unwrap_or_else(|| Err(self.shared.link.closed()));
            if let Err(trouble) = &arrived {
                self.lost = Some(trouble.clone());
                self.asking.abort_all();
                self.tasks.abort_all();
            }
            arrived
        })
    }

    fn acknowledge(&mut self, token: u64) -> Doing<'_, Result<(), Trouble>> {
        Box::pin(async move { self.shared.acknowledge(&[token]).await })
    }

    fn acknowledge_all<'a>(&'a mut self, tokens: &'a [u64]) -> Doing<'a, Result<(), Trouble>> {
        Box::pin(self.shared.acknowledge(tokens))
    }

    fn close(mut self: Box<Self>) -> Doing<'static, ()> {
        Box::pin(async move {
            // What was asked for arrives, but nothing more is asked for.
            self.shared.room.close();
            let answered = async { while self.asking.join_next().await.is_some() {} };
            let _late = tokio::time::timeout(LAST_ANSWERS, answered).await;
            // Nothing may arrive, or be renewed, while everything is given back.
            self.asking.shutdown().await;
            self.tasks.shutdown().await;
            if tokio::time::timeout(CLOSE_TIMEOUT, self.shared.leave())
                .await
                .is_err()
            {
                let topic = &self.shared.topic;
                tracing::info!(topic, "not everything was given back: it comes again later");
            }
        })
    }
}
