//! From subscriptions to the sender and back: takes events that are due, has them sent, and notes what came of it.
//!
//! Every subscription of the push kind has a task of its own, which keeps a bounded number of its events with the sender: who is
//! slow fills its own share and nobody else's. Nothing here is kept: what was taken and not noted as done is taken again.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::json;
use tokio::sync::{Notify, mpsc};
use tributary_api::attempt_note::AttemptNote;
use tributary_api::render::event::outgoing_event;
use tributary_api::settings::subscription::pause_as_system;
use tributary_engine::{Engine, IdKind, Reader};
use tributary_ledger::{Actor, ApiKeyId, Body, Command, Data, Key, Publish, Topic};
use tributary_messaging::{
    Delivery, DeliveryIds, Kind, Messaging, Receipt, Subscription, SubscriptionId,
};

use super::endpoint::Endpoint;
use super::job::Job;
use super::seal::Keyring;
use super::sender::{Attempt, Outcome, Sender, SenderError};
use super::settings::Settings;

/// Events of one subscription that are with the sender at once.
const WITH_SENDER_MAX: usize = 20;
/// How long an event may be with the sender before it is taken again: its host's queue may be long.
const VISIBILITY: Duration = Duration::from_secs(900);
/// How often the feed looks for new subscriptions without being notified of one.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Pause of a subscription whose host has no room.
const PAUSE: Duration = Duration::from_millis(100);
/// An endpoint that took nothing for so long while an event ran out of attempts is disabled.
const DISABLE_AFTER: Duration = Duration::from_secs(3 * 24 * 3_600);
/// Threads that read and render events.
const READING_THREADS_MAX: usize = 4;

/// Why webhooks did not start.
#[derive(Debug, thiserror::Error)]
pub enum FeedError {
    /// The sender did not start.
    #[error(transparent)]
    Sender(#[from] SenderError),
    /// A thread could not be started.
    #[error("cannot start the thread for webhooks: {0}")]
    Thread(#[from] std::io::Error),
}

/// Webhooks at work. Dropped, it stops.
pub(super) struct Feed {
    inner: Arc<Inner>,
    thread: Option<JoinHandle<()>>,
}

impl std::fmt::Debug for Feed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Feed")
    }
}

struct Inner {
    engine: Engine,
    reader: Reader,
    messaging: Arc<Messaging>,
    keyring: Keyring,
    sender: Sender,
    feeds: Mutex<HashMap<SubscriptionId, Arc<SubscriptionFeed>>>,
    stopping: AtomicBool,
    /// Ends the waits of all tasks.
    stop: Notify,
}

/// Events of one subscription that the sender has.
struct SubscriptionFeed {
    given: Mutex<HashMap<String, Receipt>>,
    /// There is room again.
    freed: Notify,
    /// When something was taken last, or since when nothing was.
    delivered_at: Mutex<Instant>,
}

type Done = (Job, Attempt);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Feed {
    /// Starts sending what subscriptions of the push kind want.
    pub(super) fn start(
        engine: Engine,
        messaging: Arc<Messaging>,
        keyring: Keyring,
        settings: Settings,
    ) -> Result<Feed, FeedError> {
        let (tell, results) = mpsc::unbounded_channel::<Done>();
        // Bounded by what is with the sender.
        let sender = Sender::start(settings, engine.clock(), move |job, attempt| {
            let _stopped = tell.send((job, attempt));
        })?;
        let inner = Arc::new(Inner {
            reader: engine.reader(),
            engine,
            messaging,
            keyring,
            sender,
            feeds: Mutex::default(),
            stopping: AtomicBool::new(false),
            stop: Notify::new(),
        });
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .max_blocking_threads(READING_THREADS_MAX)
            .build()?;
        let running = inner.clone();
        let thread = std::thread::Builder::new()
            .name("webhook-feed".to_owned())
            .spawn(move || {
                let tasks = tokio::task::LocalSet::new();
                tasks.spawn_local(record_results(running.clone(), results));
                runtime.block_on(tasks.run_until(watch_subscriptions(running)));
            })?;
        Ok(Feed {
            inner,
            thread: Some(thread),
        })
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.inner.stopping.store(true, Ordering::Release);
        self.inner.stop.notify_waiters();
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}

/// Starts a task for each subscription that has none.
async fn watch_subscriptions(inner: Arc<Inner>) {
    while !inner.stopping.load(Ordering::Acquire) {
        let settled = inner.messaging.definitions_changed().notified();
        tokio::pin!(settled);
        settled.as_mut().enable();
        for id in inner.messaging.push_subscriptions() {
            if lock(&inner.feeds).contains_key(&id) {
                continue;
            }
            let feeding = Arc::new(SubscriptionFeed {
                given: Mutex::default(),
                freed: Notify::new(),
                delivered_at: Mutex::new(Instant::now()),
            });
            lock(&inner.feeds).insert(id, feeding.clone());
            tokio::task::spawn_local(feed(inner.clone(), id, feeding));
        }
        tokio::select! {
            () = settled => {}
            () = wait(&inner, LOOK_EVERY) => {}
        }
    }
}

async fn wait(inner: &Inner, time: Duration) {
    tokio::select! {
        () = tokio::time::sleep(time) => {}
        () = inner.stop.notified() => {}
    }
}

/// Keeps the sender supplied for one subscription, until that is deleted.
async fn feed(inner: Arc<Inner>, id: SubscriptionId, feeding: Arc<SubscriptionFeed>) {
    let mut known: Option<(Vec<u8>, Arc<Endpoint>)> = None;
    while !inner.stopping.load(Ordering::Acquire) {
        // Asked for before anything is taken, so that nothing is missed.
        let bell = inner.messaging.arrivals(id);
        let rung = bell.notified();
        tokio::pin!(rung);
        rung.as_mut().enable();
        let freed = feeding.freed.notified();
        let Some(subscription) = inner.messaging.get(id) else {
            break;
        };
        let room = WITH_SENDER_MAX.saturating_sub(lock(&feeding.given).len());
        let is_usable = endpoint_of(&inner, &subscription, &mut known).is_some();
        let taken = match (is_usable, room) {
            (false, _) | (_, 0) => Vec::new(),
            (true, room) => {
                let visibility = Some(VISIBILITY.as_nanos() as u64);
                inner
                    .messaging
                    .take(id, room, visibility)
                    .unwrap_or_default()
            }
        };
        if taken.is_empty() {
            tokio::select! {
                () = rung => {}
                () = freed => {}
                () = wait(&inner, Duration::from_secs(5)) => {}
            }
            continue;
        }
        // Read after the events were taken, so that an event is never signed by a secret that was replaced before it.
        let Some(subscription) = inner.messaging.get(id) else {
            break;
        };
        match endpoint_of(&inner, &subscription, &mut known) {
            Some(endpoint) => send(&inner, &subscription, &feeding, &endpoint, taken).await,
            None => {
                let receipts: Vec<Receipt> = taken.iter().map(|one| one.receipt).collect();
                let _deleted = inner.messaging.give_back(id, &[], &receipts);
            }
        }
    }
    lock(&inner.feeds).remove(&id);
}

/// Where a subscription's events go; none if that can't be read, which is told once.
fn endpoint_of(
    inner: &Inner,
    subscription: &Subscription,
    known: &mut Option<(Vec<u8>, Arc<Endpoint>)>,
) -> Option<Arc<Endpoint>> {
    let Kind::Push { target } = &subscription.terms.kind else {
        return None;
    };
    if let Some((bytes, endpoint)) = known
        && bytes == target
    {
        return Some(endpoint.clone());
    }
    let name = name(inner, subscription.id);
    let key = inner.keyring.key().map_err(str::to_owned);
    let endpoint = key.and_then(|key| {
        Endpoint::from_bytes(&name, target, key).map_err(|error| error.to_string())
    });
    match endpoint {
        Ok(endpoint) => {
            let endpoint = Arc::new(endpoint);
            *known = Some((target.clone(), endpoint.clone()));
            Some(endpoint)
        }
        Err(error) => {
            tracing::error!(subscription = name, error, "webhooks can't be sent");
            None
        }
    }
}

fn name(inner: &Inner, id: SubscriptionId) -> String {
    inner.reader.ids().encode_subscription(id)
}

/// Hands events to the sender.
async fn send(
    inner: &Arc<Inner>,
    subscription: &Subscription,
    feeding: &Arc<SubscriptionFeed>,
    endpoint: &Arc<Endpoint>,
    taken: Vec<Delivery>,
) {
    // Reading may wait for the disk.
    let reader = inner.reader.clone();
    let rendered = tokio::task::spawn_blocking(move || {
        let body = |delivery: &Delivery| {
            outgoing_event(&reader, delivery.position).map(|event| Bytes::from(event.body))
        };
        taken
            .into_iter()
            .map(|delivery| (delivery, body(&delivery)))
            .collect::<Vec<_>>()
    });
    for (delivery, body) in rendered.await.unwrap_or_default() {
        let body = match body {
            Ok(body) => body,
            Err(why) => {
                let receipt = delivery.receipt;
                let _expired = inner.messaging.nack(subscription.id, receipt, None, &why);
                continue;
            }
        };
        let ids = inner.reader.ids();
        let event_id = ids.encode(IdKind::Event, delivery.position);
        lock(&feeding.given).insert(event_id.clone(), delivery.receipt);
        let mut job = Job {
            endpoint: endpoint.clone(),
            event_id,
            attempt: delivery.attempt,
            body,
        };
        // Too many wait for this host: others of its subscriptions fill its queue too.
        while let Err(back) = inner.sender.offer(job) {
            if inner.stopping.load(Ordering::Acquire) {
                return;
            }
            job = back;
            wait(inner, PAUSE).await;
        }
    }
}

async fn record_results(inner: Arc<Inner>, mut results: mpsc::UnboundedReceiver<Done>) {
    while let Some((job, attempt)) = results.recv().await {
        note(&inner, &job, &attempt);
    }
}

/// Notes what came of an attempt.
fn note(inner: &Arc<Inner>, job: &Job, attempt: &Attempt) {
    let ids = inner.reader.ids();
    let Some(id) = ids.decode_subscription(&job.endpoint.id) else {
        return;
    };
    let Some(feeding) = lock(&inner.feeds).get(&id).cloned() else {
        return;
    };
    let Some(receipt) = lock(&feeding.given).remove(&job.event_id) else {
        return;
    };
    let messaging = &inner.messaging;
    let kept = note_of_attempt(job, attempt).to_bytes();
    match attempt.outcome {
        Outcome::Delivered => {
            *lock(&feeding.delivered_at) = Instant::now();
            let worked = u64::try_from(attempt.took.as_nanos()).unwrap_or(u64::MAX);
            let _deleted = messaging.ack_noted(id, receipt, worked, &kept);
        }
        Outcome::Retry { after } => {
            let policy = messaging.get(id).map(|of| of.terms.policy);
            // What the receiver asks for makes a wait longer, never shorter.
            let delay = policy.as_ref().zip(after).map(|(policy, after)| {
                let wait = policy.wait(job.attempt, receipt.position);
                wait.max(after.as_nanos() as u64)
            });
            let why = failure_text(attempt);
            let _expired = messaging.nack_noted(id, receipt, delay, &why, &kept);
            let idle = lock(&feeding.delivered_at).elapsed();
            let last = policy.is_some_and(|policy| job.attempt >= policy.attempts_max);
            if last && idle >= DISABLE_AFTER {
                disable(inner, id, job, "no webhook was accepted for days");
            }
        }
        Outcome::Gone => {
            let why = failure_text(attempt);
            let _expired = messaging.nack_noted(id, receipt, None, &why, &kept);
            disable(inner, id, job, "the endpoint answered 410 Gone");
        }
    }
    feeding.freed.notify_waiters();
}

/// Returns what the history keeps of an attempt.
fn note_of_attempt(job: &Job, attempt: &Attempt) -> AttemptNote {
    let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    let error = attempt.error.as_ref();
    AttemptNote {
        url: job.endpoint.url.as_str().to_owned(),
        request: attempt.request_head.clone(),
        response: attempt.response_head.clone(),
        status: attempt.status,
        error: error.map(|error| (error.code().to_owned(), error.to_string())),
        connected: attempt.connected.map(micros),
        answered: attempt.answered.map(micros),
        took: micros(attempt.took),
    }
}

fn failure_text(attempt: &Attempt) -> String {
    match (&attempt.error, attempt.status) {
        (Some(error), _) => error.to_string(),
        (None, Some(status)) => format!("answered {status}"),
        (None, None) => "no answer".to_owned(),
    }
}

/// Pauses a subscription and tells of it by an event. Runs on a thread of its own: it waits for the disk.
fn disable(inner: &Arc<Inner>, id: SubscriptionId, job: &Job, why: &'static str) {
    let inner = inner.clone();
    let url = job.endpoint.url.as_str().to_owned();
    let event_id = job.event_id.clone();
    tokio::task::spawn_blocking(move || {
        let owner = match pause_as_system(&inner.engine, id, why) {
            Ok(Some(owner)) => owner,
            Ok(None) => return,
            Err(error) => {
                let why = error.message();
                tracing::error!(
                    subscription = name(&inner, id),
                    why,
                    "webhooks were not disabled"
                );
                return;
            }
        };
        let name = name(&inner, id);
        tracing::warn!(subscription = name, why, "webhooks are disabled");
        let data = json!({ "subscription": name, "url": url, "reason": why });
        let command = Command {
            key: Key::from_bytes(format!("\0disabled-{name}-{event_id}").as_bytes())
                .expect("it is short"),
            actor: Actor {
                owner,
                api_key: ApiKeyId::SYSTEM,
            },
            linked: false,
            effective_at: None,
            text: None,
            origin: None,
            assessment: None,
            body: Body::Publish(Publish {
                topic: Topic::new("subscription.disabled").expect("a topic"),
                key: None,
                data: Data::new(Data::PLAIN, data.to_string().as_bytes()).expect("short"),
            }),
        };
        if let Err(error) = inner.engine.execute_blocking(vec![command]) {
            tracing::error!(%error, "an event about disabled webhooks was not recorded");
        }
    });
}
