//! Messages from one subject, by a pull consumer.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::task::AbortHandle;

use super::api::NO_RESPONDERS;
use super::headers::Headers;
use super::link::{Answer, Link};
use super::message::{Delivery, from_delivery};
use super::orphans::{Key, Lost, Orphans};
use super::streams::{self, Consumer, nanos};
use super::wire::Incoming;
use crate::port::{Doing, Message, Source, Trouble, TroubleKind};

/// How long the server waits for as many messages as it was asked for.
const PULL_EXPIRES: Duration = Duration::from_secs(60);
/// How often the server says that it still waits.
const PULL_HEARTBEAT: Duration = Duration::from_secs(5);
/// Time without a sign after which the server has forgotten what it was asked for.
const PULL_LOST: Duration = Duration::from_secs(20);
/// How often a source that waits looks whether something is late.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Bytes of messages that are asked for at once, unless the server's largest message is more than half of it.
const PULL_BYTES: usize = 8 * 1024 * 1024;
/// Maximum number of acknowledgements that the server has not confirmed. One more waits for the first of them.
const UNCONFIRMED_MAX: usize = 1_024;
/// Maximum time for the confirmations that are missing when a source is closed.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// Deliveries beside messages that may wait: what the server says about what it was asked for.
const STATUSES_MAX: usize = 64;

/// Acknowledged: the server answers when it is done.
const ACK: &[u8] = b"+ACK";
/// Deliver it again, now.
const NAK: &[u8] = b"-NAK";
/// Somebody still works on it.
const PROGRESS: &[u8] = b"+WPI";

/// A pull consumer's reader. It asks for as many messages as there is room for, and for more when these have come.
pub(super) struct NatsSource {
    link: Arc<Link>,
    consumer: Consumer,
    prefetch: usize,
    /// Where messages are sent to.
    inbox: String,
    pull: Option<Pull>,
    pulls: u64,
    next_token: u64,
    held: Arc<Held>,
    unconfirmed: VecDeque<(String, Answer)>,
    keeper: AbortHandle,
    orphans: Arc<Orphans>,
    key: Key,
    is_closed: bool,
}

/// What the server was asked for.
struct Pull {
    number: u64,
    /// Messages that have not come.
    left: usize,
    asked: Instant,
}

/// Messages that were given out and not acknowledged: their token, and the subject by which each is acknowledged.
#[derive(Default)]
struct Held(Mutex<BTreeMap<u64, String>>);

impl Held {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl NatsSource {
    /// Begins to read. What sources before it have lost comes first.
    pub(super) fn open(
        link: Link,
        consumer: Consumer,
        prefetch: u16,
        url: &str,
        orphans: Arc<Orphans>,
    ) -> Result<NatsSource, Trouble> {
        let link = Arc::new(link);
        let prefetch = usize::from(prefetch);
        let inbox = link.take_deliveries(prefetch + STATUSES_MAX);
        let key = (
            url.to_owned(),
            consumer.stream.clone(),
            consumer.name.clone(),
        );
        let held = Arc::new(Held::default());
        let keeper = tokio::spawn(keep(link.clone(), held.clone(), consumer.ack_wait / 3));
        let mut source = NatsSource {
            link,
            consumer,
            prefetch,
            inbox,
            pull: None,
            pulls: 0,
            next_token: 1,
            held,
            unconfirmed: VecDeque::new(),
            keeper: keeper.abort_handle(),
            orphans,
            key,
            is_closed: false,
        };
        for lost in source.orphans.take(&source.key) {
            for subject in lost.open {
                source.link.publish(&subject, None, NAK);
            }
            for subject in lost.acknowledged {
                source.tell_acknowledged(subject)?;
            }
        }
        Ok(source)
    }

    fn tell_acknowledged(&mut self, subject: String) -> Result<(), Trouble> {
        let answer = self.link.ask(&subject, &[], ACK);
        match answer {
            Ok(answer) => {
                self.unconfirmed.push_back((subject, answer));
                Ok(())
            }
            Err(trouble) => {
                // For the next source.
                let lost = Lost {
                    acknowledged: vec![subject],
                    open: Vec::new(),
                };
                self.orphans.put(self.key.clone(), lost);
                Err(trouble)
            }
        }
    }

    /// Takes confirmations in that have come.
    fn take_confirmations(&mut self) -> Result<(), Trouble> {
        while let Some((_, answer)) = self.unconfirmed.front_mut() {
            match answer.poll() {
                None => break,
                Some(confirmed) => self.is_confirmed(confirmed)?,
            }
        }
        Ok(())
    }

    /// Takes the first confirmation in. An acknowledgement that failed stays, for the next source.
    fn is_confirmed(&mut self, confirmed: Result<Incoming, Trouble>) -> Result<(), Trouble> {
        let confirmed = confirmed?;
        if Headers::parse(&confirmed.headers).status == Some(NO_RESPONDERS) {
            return Err(self.gone("takes no acknowledgement"));
        }
        self.unconfirmed.pop_front();
        Ok(())
    }

    fn gone(&self, what: &str) -> Trouble {
        let Consumer { stream, name, .. } = &self.consumer;
        let text = format!(
            "the consumer {name} of the stream {stream} at {} {what}: it was deleted, or has no leader",
            self.link.place()
        );
        Trouble::new(TroubleKind::DestinationMissing, text)
    }

    /// Returns the next message if it has come.
    fn take(&mut self) -> Result<Option<Message>, Trouble> {
        loop {
            let has_room = self.held.lock().len() < self.prefetch;
            let is_message = |next: &Incoming| is_message(next);
            let next = self
                .link
                .next_delivery(|next| has_room || !is_message(next));
            let Some(next) = next else {
                return Ok(None);
            };
            let Some(delivery) = next.reply.as_deref().and_then(Delivery::parse) else {
                self.take_status(&next)?;
                continue;
            };
            self.take_off();
            let token = self.next_token;
            self.next_token += 1;
            let message = from_delivery(token, &next, delivery);
            let subject = next.reply.unwrap_or_default();
            self.held.lock().insert(token, subject);
            return Ok(Some(message));
        }
    }

    /// One message fewer is to come.
    fn take_off(&mut self) {
        if let Some(pull) = &mut self.pull {
            pull.left = pull.left.saturating_sub(1);
            if pull.left == 0 {
                self.pull = None;
            }
        }
    }

    /// Takes in what the server says about what it was asked for.
    fn take_status(&mut self, incoming: &Incoming) -> Result<(), Trouble> {
        let number = incoming.subject.rsplit('.').next();
        let number = number.and_then(|number| number.parse().ok());
        let is_current = self
            .pull
            .as_ref()
            .is_some_and(|pull| Some(pull.number) == number);
        let headers = Headers::parse(&incoming.headers);
        let said = headers.description.to_ascii_lowercase();
        match headers.status {
            Some(NO_RESPONDERS) => Err(self.gone("does not answer")),
            Some(409) if said.contains("consumer deleted") => Err(self.gone("is gone")),
            _ if !is_current => Ok(()),
            Some(404 | 408) => {
                self.pull = None;
                Ok(())
            }
            // It has brought all that there was room for, or it is asked again at another server of the cluster.
            Some(409)
                if said.contains("exceeds maxbytes")
                    || said.contains("leadership")
                    || said.contains("shutdown") =>
            {
                self.pull = None;
                Ok(())
            }
            Some(status @ 400..) => {
                let Consumer { stream, name, .. } = &self.consumer;
                let text = format!(
                    "the consumer {name} of the stream {stream} at {} gives no messages: {status} {}",
                    self.link.place(),
                    headers.description
                );
                Err(Trouble::new(TroubleKind::Refused, text))
            }
            _ => Ok(()),
        }
    }

    /// Asks for messages, if there is room for some and none are to come.
    fn ask_for_more(&mut self) {
        let room = self.prefetch.saturating_sub(self.held.lock().len());
        let room = room.min(self.consumer.batch_max.unwrap_or(usize::MAX));
        if room == 0 || self.pull.is_some() {
            return;
        }
        self.pulls += 1;
        let Consumer { stream, name, .. } = &self.consumer;
        let subject = format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.{name}");
        let reply = format!("{}.{}", self.inbox, self.pulls);
        let wanted = json!({
            "batch": room, "expires": nanos(PULL_EXPIRES), "idle_heartbeat": nanos(PULL_HEARTBEAT),
            "max_bytes": PULL_BYTES.max(2 * self.link.max_payload()),
        });
        self.link
            .publish(&subject, Some(&reply), wanted.to_string().as_bytes());
        self.pull = Some(Pull {
            number: self.pulls,
            left: room,
            asked: Instant::now(),
        });
    }

    /// Fails if nothing is heard of what was asked for.
    fn check_pull(&self) -> Result<(), Trouble> {
        let Some(pull) = &self.pull else {
            return Ok(());
        };
        let last = self.link.last_delivery().unwrap_or(pull.asked);
        match last.max(pull.asked).elapsed() < PULL_LOST {
            true => Ok(()),
            false => {
                let mut trouble = self.gone("gives no sign of life");
                trouble.kind = TroubleKind::Unreachable;
                Err(trouble)
            }
        }
    }
}

/// Whether a delivery is a message of the stream, and no word of the server about them.
fn is_message(incoming: &Incoming) -> bool {
    incoming
        .reply
        .as_deref()
        .and_then(Delivery::parse)
        .is_some()
}

/// Asks for more time, again and again, for everything that was delivered and not acknowledged.
async fn keep(link: Arc<Link>, held: Arc<Held>, every: Duration) {
    loop {
        tokio::time::sleep(every.max(Duration::from_millis(10))).await;
        let mut subjects: Vec<String> = held.lock().values().cloned().collect();
        link.look_at_deliveries(|next| {
            subjects.extend(next.reply.clone().filter(|_| is_message(next)))
        });
        if link.check().is_err() {
            return;
        }
        for subject in &subjects {
            link.publish(subject, None, PROGRESS);
        }
    }
}

impl Source for NatsSource {
    fn receive(&mut self) -> Doing<'_, Result<Message, Trouble>> {
        Box::pin(async move {
            loop {
                self.link.check()?;
                self.take_confirmations()?;
                if let Some(message) = self.take()? {
                    return Ok(message);
                }
                self.ask_for_more();
                self.check_pull()?;
                let _quiet = tokio::time::timeout(LOOK_EVERY, self.link.news()).await;
            }
        })
    }

    fn acknowledge(&mut self, token: u64) -> Doing<'_, Result<(), Trouble>> {
        Box::pin(async move {
            let subject = self.held.lock().remove(&token);
            if let Some(subject) = subject {
                self.tell_acknowledged(subject)?;
            }
            self.take_confirmations()?;
            while self.unconfirmed.len() > UNCONFIRMED_MAX
                && let Some((_, answer)) = self.unconfirmed.front_mut()
            {
                let confirmed = answer.wait().await;
                self.is_confirmed(confirmed)?;
            }
            Ok(())
        })
    }

    fn backlog(&mut self) -> Doing<'_, Option<u64>> {
        Box::pin(streams::waiting(&self.link, &self.consumer))
    }

    fn close(mut self: Box<Self>) -> Doing<'static, ()> {
        Box::pin(async move {
            self.keeper.abort();
            // If any of this fails, the connection is lost: then the next source settles the rest.
            let Ok(waiting) = self.link.stop_deliveries().await else {
                return;
            };
            let waiting = waiting.into_iter().filter(is_message);
            let waiting = waiting.filter_map(|next| next.reply);
            let held: Vec<String> = self.held.lock().values().cloned().chain(waiting).collect();
            for subject in &held {
                self.link.publish(subject, None, NAK);
            }
            let confirming = async {
                while let Some((_, answer)) = self.unconfirmed.front_mut() {
                    let confirmed = answer.wait().await;
                    self.is_confirmed(confirmed)?;
                }
                self.link.flush().await
            };
            let done = tokio::time::timeout(CLOSE_TIMEOUT, confirming).await;
            self.is_closed = matches!(done, Ok(Ok(())));
        })
    }
}

impl Drop for NatsSource {
    fn drop(&mut self) {
        self.keeper.abort();
        if self.is_closed {
            return;
        }
        let mut lost = Lost {
            acknowledged: self
                .unconfirmed
                .drain(..)
                .map(|(subject, _)| subject)
                .collect(),
            open: self.held.lock().values().cloned().collect(),
        };
        self.link.look_at_deliveries(|next| {
            lost.open
                .extend(next.reply.clone().filter(|_| is_message(next)))
        });
        self.orphans.put(self.key.clone(), lost);
    }
}
