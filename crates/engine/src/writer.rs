//! The threads around the core: one decides commands, one makes batches durable and publishes them, one writes checkpoints.
//!
//! Effects follow the commit: the publisher shows a batch to readers and answers its callers only after the sync, in the order
//! of the batches.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::backend::{Backend, Fate};
use crate::batch::Batch;
use crate::checkpoint::Checkpointer;
use crate::clock::Clock;
use crate::completions;
use crate::core::{Core, InFlight};
use crate::failure::Failure;
use crate::request::{Request, Respond, TurnedAway};
use crate::shared::Shared;
use crate::timers::{self, Selected};

/// Time that the writer waits for a message before it does work that can wait.
const IDLE_AFTER: Duration = Duration::from_millis(20);
/// Longest sleep of the writer: the bound on how late a hold that comes due is noticed while nothing else happens.
const SLEEP_MAX: Duration = Duration::from_millis(500);

/// A message to the writer.
pub(crate) enum Message {
    /// Requests that were made at about the same time.
    Requests(Vec<Request>),
    /// A batch is durable. It is published before any that follows.
    Landed,
    /// A batch met another fate. Its callers wait.
    Lost(Fate, InFlight),
    /// Holds have come due, or queued payments can run.
    Runnable,
    /// A frame that another node decided. Who is to be answered learns when it is published.
    Follow(Vec<u8>, Respond),
    Stop,
}

/// Starts the threads. They end after [`Message::Stop`], or when the engine fails.
pub(crate) fn spawn(
    mut backend: Box<dyn Backend>,
    replayed: u64,
    shared: Arc<Shared>,
    inbox: mpsc::Sender<Message>,
    messages: mpsc::Receiver<Message>,
) -> std::io::Result<Vec<JoinHandle<()>>> {
    let (to_publisher, from_writer) = mpsc::channel::<InFlight>();
    let clock = shared.clock.clone();
    // Known before anybody asks whether the engine takes commands.
    let full = matches!(backend.begin(), Err(Failure::StorageFull));
    backend.abandon();
    shared.storage_full.store(full, Ordering::Release);
    let mut threads = Vec::new();
    let to_checkpoints = match backend.disk() {
        None => None,
        Some(disk) => {
            let checkpointer = Checkpointer::new(disk);
            let (wanted, requests) = mpsc::sync_channel(1);
            let shared = shared.clone();
            threads.push(named("checkpoint", shared.clone(), move || {
                checkpointer.run(&shared, &requests)
            })?);
            Some(wanted)
        }
    };
    let to_judge = match &shared.ports.judge {
        None => None,
        Some(_) => {
            let (to_judge, selected) = mpsc::channel::<Selected>();
            let (inbox, judging) = (inbox.clone(), shared.clone());
            threads.push(named("judge", shared.clone(), move || {
                for selected in selected {
                    let request = selected.judge(&judging);
                    // Bounded by itself, and never turned away.
                    judging.queue(&request);
                    let _ended = inbox.send(Message::Requests(vec![request]));
                }
            })?);
            Some(to_judge)
        }
    };
    let publisher = Publisher {
        shared: shared.clone(),
        clock: clock.clone(),
        inbox,
        to_checkpoints,
        since_checkpoint: replayed,
    };
    threads.push(named("publisher", shared.clone(), move || {
        publisher.run(&from_writer)
    })?);
    let decider = shared.clone();
    let write = move || {
        // Reads are answered while the writer still makes its own copy of the state, which nothing can change meanwhile.
        let set = decider.view.read().set.clone();
        let writer = Writer {
            core: Core::new(backend, clock.clone(), set)
                .with_queue_length_max(decider.options.queue_length_max),
            clock,
            shared: decider,
            to_publisher,
            to_judge,
            pending: VecDeque::new(),
            follows: false,
            followed: VecDeque::new(),
            stopping: false,
        };
        writer.run(&messages);
    };
    threads.push(named("writer", shared, write)?);
    Ok(threads)
}

/// A thread whose panic stops the engine: an invariant did not hold, so nothing more may be written.
fn named(
    name: &str,
    shared: Arc<Shared>,
    body: impl FnOnce() + Send + 'static,
) -> std::io::Result<JoinHandle<()>> {
    let owned = name.to_owned();
    std::thread::Builder::new()
        .name(owned.clone())
        .spawn(move || {
            if std::panic::catch_unwind(std::panic::AssertUnwindSafe(body)).is_err() {
                shared.fail(&format!("an assertion failed in the {owned} thread"));
            }
        })
}

struct Publisher {
    shared: Arc<Shared>,
    clock: Arc<dyn Clock>,
    inbox: mpsc::Sender<Message>,
    to_checkpoints: Option<mpsc::SyncSender<()>>,
    since_checkpoint: u64,
}

impl Publisher {
    fn run(mut self, batches: &mpsc::Receiver<InFlight>) {
        // What had to be replayed at the start need not be replayed at the next one.
        self.request_checkpoint();
        while let Ok(in_flight) = batches.recv() {
            let begun = Instant::now();
            let (fate, in_flight) = in_flight.wait();
            let took = begun.elapsed().as_nanos() as u64;
            let counters = &self.shared.counters;
            counters.batch_nanos.fetch_add(took, Ordering::Relaxed);
            if !matches!(fate, Fate::Durable(_)) {
                let _ended = self.inbox.send(Message::Lost(fate, in_flight));
                continue;
            }
            // The disk is free: the next batch need not wait until this one is shown and answered.
            if !in_flight.batch.is_empty() {
                let _ended = self.inbox.send(Message::Landed);
            }
            self.publish(&in_flight.batch);
            completions::wake_once(|| in_flight.respond(None));
            // The next of many need not wait until the writer looks for itself.
            let due = self.shared.view.next_due();
            if due.is_some_and(|due| due <= self.clock.now()) {
                let _ended = self.inbox.send(Message::Runnable);
            }
        }
    }

    fn publish(&mut self, batch: &Batch) {
        publish(&self.shared, batch);
        self.since_checkpoint += batch.len() as u64;
        self.request_checkpoint();
    }

    fn request_checkpoint(&mut self) {
        // With very many accounts or holds a checkpoint is large: not more of it is written than of the records themselves.
        let objects = self.shared.view.object_count() as u64;
        if self.since_checkpoint >= self.shared.options.checkpoint_every.max(objects / 4)
            && let Some(wanted) = &self.to_checkpoints
            && wanted.try_send(()).is_ok()
        {
            self.since_checkpoint = 0;
        }
    }
}

/// Shows a durable batch to readers, and then to the commit hook.
pub(crate) fn publish(shared: &Shared, batch: &Batch) {
    if batch.is_empty() {
        return;
    }
    let now = shared.clock.now();
    let offset = shared.view.time_offset();
    let rejected = shared.view.publish(&batch.frame(), now);
    if batch.changes_settings() {
        shared.view.announce_settings(batch.last_position());
    }
    if shared.view.time_offset() > offset {
        shared.clock.set_offset(shared.view.time_offset());
    }
    if let Some(hook) = &shared.ports.commit_hook {
        hook.committed(batch);
    }
    let counters = &shared.counters;
    counters
        .records
        .fetch_add(batch.len() as u64, Ordering::Relaxed);
    counters.rejected.fetch_add(rejected, Ordering::Relaxed);
    shared.counters.batches.fetch_add(1, Ordering::Relaxed);
}

struct Writer {
    core: Core,
    clock: Arc<dyn Clock>,
    shared: Arc<Shared>,
    to_publisher: mpsc::Sender<InFlight>,
    /// None without a judge.
    to_judge: Option<mpsc::Sender<Selected>>,
    pending: VecDeque<Request>,
    /// Whether the last batch that was handed over was decided by another node.
    follows: bool,
    /// Frames that came while the writer waited for something else.
    followed: VecDeque<(Vec<u8>, Respond)>,
    stopping: bool,
}

impl Writer {
    fn run(mut self, messages: &mpsc::Receiver<Message>) {
        let mut timers = timers::Timers::new(&self.shared);
        loop {
            while let Some(message) = self.next_message(messages) {
                self.handle(message, messages);
            }
            if self.shared.why_failed().is_some() {
                return self.refuse_all(messages);
            }
            let now = self.clock.now();
            let at = self.core.decided_at(now);
            let expire = timers.expire(&self.shared, now, at);
            // A payment that was accepted then but is not published yet may be ahead of one that joins its lane later.
            let joined = self.core.published_before(self.shared.view.position());
            // The queue may be long: what is left of it runs after the next start.
            let run = match self.stopping {
                true => None,
                false => timers.select(&self.shared, now, at.min(joined)),
            };
            let run = run.and_then(|selected| self.judge(selected));
            for request in expire.into_iter().chain(run) {
                // Bounded by itself, and never turned away.
                self.shared.queue(&request);
                self.pending.push_back(request);
            }
            self.fill();
            // What is left is decided while the disk is busy with the batch before it.
            while self.hand_over() && (self.core.is_divided() || !self.pending.is_empty()) {
                self.fill();
            }
            if self.done() {
                return self.core.close();
            }
            self.wait_for_message(messages);
        }
    }

    /// The next message, if there is one now. What came while fates were awaited comes first.
    fn next_message(&mut self, messages: &mpsc::Receiver<Message>) -> Option<Message> {
        match self.followed.pop_front() {
            Some((frame, respond)) => Some(Message::Follow(frame, respond)),
            None => messages.try_recv().ok(),
        }
    }

    /// Makes the request of selected payments. Where they are to be assessed, the judge's thread makes and sends it.
    fn judge(&self, selected: Selected) -> Option<Request> {
        match &self.to_judge {
            Some(to_judge) if self.shared.needs_judge() => {
                let _ended = to_judge.send(selected);
                None
            }
            _ => Some(selected.judge(&self.shared)),
        }
    }

    fn done(&self) -> bool {
        self.stopping
            && self.pending.is_empty()
            && self.core.in_flight() == 0
            && self.core.open_len() == (0, 0)
            && !self.core.is_divided()
    }

    /// Waits for a message. While none comes, lets the backend do work that can wait.
    fn wait_for_message(&mut self, messages: &mpsc::Receiver<Message>) {
        let mut wait = match self.shared.view.look_again() {
            true => Duration::ZERO,
            false => IDLE_AFTER,
        };
        loop {
            match messages.recv_timeout(wait) {
                Ok(message) => return self.handle(message, messages),
                Err(mpsc::RecvTimeoutError::Disconnected) => {
                    self.stopping = true;
                    return;
                }
                Err(mpsc::RecvTimeoutError::Timeout) => {}
            }
            // Read at each round, so that the clock sees where the wall clock is while nothing else happens.
            let now = self.clock.now();
            if self.shared.reader.next_due().is_some_and(|due| due <= now) {
                return;
            }
            if self.shared.storage_full.load(Ordering::Acquire) && self.core.has_space() {
                self.shared.storage_full.store(false, Ordering::Release);
            }
            wait = if self.core.idle() {
                Duration::ZERO
            } else {
                SLEEP_MAX
            };
        }
    }

    fn handle(&mut self, message: Message, messages: &mpsc::Receiver<Message>) {
        match message {
            Message::Requests(requests) => self.pending.extend(requests),
            Message::Landed => self.core.landed(),
            Message::Lost(fate, in_flight) => self.lost(fate, in_flight, messages),
            Message::Runnable => {}
            Message::Follow(frame, respond) => self.follow(frame, respond, messages),
            Message::Stop => self.stopping = true,
        }
    }

    /// Takes in a frame that another node decided. What was decided here and is not durable is lost: another node leads.
    fn follow(&mut self, frame: Vec<u8>, respond: Respond, messages: &mpsc::Receiver<Message>) {
        if !self.follows {
            let lost = self.learn_fates(Vec::new(), messages);
            if !lost.is_empty() || self.core.is_divided() || self.core.open_len() != (0, 0) {
                settle_lost(&mut self.core, &self.shared, lost);
            }
            self.follows = true;
        }
        if self.shared.why_failed().is_some() {
            return respond(Err(Failure::Stopping));
        }
        match self.core.follow(frame, respond) {
            Ok(in_flight) => {
                let _ended = self.to_publisher.send(in_flight);
            }
            Err(failure) => self.shared.fail(&failure.to_string()),
        }
    }

    /// Decides as many of the pending requests as fit into the open batch.
    fn fill(&mut self) {
        if self.core.can_resume() {
            let turned_away = self.core.resume();
            turn_away(&self.core, &self.shared, turned_away);
        }
        while let Some(request) = self.pending.front() {
            if !self.core.has_room(request) {
                return;
            }
            let request = self.pending.pop_front().expect("it was there");
            self.shared.unqueue(&request);
            let turned_away = self.core.accept(request);
            turn_away(&self.core, &self.shared, turned_away);
        }
    }

    /// Hands the open batch over: at once when nothing is in flight, else when it is full, so that the disk finds the next
    /// batch ready and batches grow while it is busy. Whether it did.
    fn hand_over(&mut self) -> bool {
        let full = !self.pending.is_empty() || self.core.is_divided();
        let now = self.core.can_submit() && (self.core.in_flight() == 0 || full);
        if now {
            self.follows = false;
            let _ended = self.to_publisher.send(self.core.submit());
        }
        now
    }

    /// Handles a batch that was not written, or perhaps not. Everything decided after the batch is lost with it.
    fn lost(&mut self, fate: Fate, in_flight: InFlight, messages: &mpsc::Receiver<Message>) {
        let lost = self.learn_fates(vec![(fate, in_flight)], messages);
        if self.follows {
            // What another node decided can't be given up, and nothing can follow before it is written.
            let why = lost.iter().find_map(|(fate, _)| match fate {
                Fate::Refused(failure) => Some(failure.to_string()),
                _ => None,
            });
            let why = why.unwrap_or_else(|| "its fate is unknown".to_owned());
            self.shared.fail(&format!(
                "a frame of the cluster could not be written here: {why}"
            ));
        }
        settle_lost(&mut self.core, &self.shared, lost);
    }

    /// Waits until the fate of everything in flight is known, and returns what did not become durable.
    fn learn_fates(
        &mut self,
        mut lost: Vec<(Fate, InFlight)>,
        messages: &mpsc::Receiver<Message>,
    ) -> Vec<(Fate, InFlight)> {
        // The publisher tells of batches in order.
        while lost.len() < self.core.in_flight() {
            match messages.recv() {
                Ok(Message::Lost(fate, in_flight)) => lost.push((fate, in_flight)),
                Ok(Message::Landed) => self.core.landed(),
                Ok(Message::Requests(requests)) => self.pending.extend(requests),
                Ok(Message::Runnable) => {}
                Ok(Message::Follow(frame, respond)) => self.followed.push_back((frame, respond)),
                Ok(Message::Stop) => self.stopping = true,
                Err(_) => break,
            }
        }
        lost
    }

    /// Refuses every request: the engine failed, and no caller may wait for an answer that will not come.
    fn refuse_all(&mut self, messages: &mpsc::Receiver<Message>) {
        self.shared.stopping.store(true, Ordering::Release);
        let failure = Failure::Fatal("the engine stopped".into());
        let set = self.shared.view.read().set.clone();
        self.core.reset(set, failure.clone());
        for request in self.pending.drain(..) {
            request.refuse(failure.clone());
        }
        for (_, respond) in self.followed.drain(..) {
            respond(Err(failure.clone()));
        }
        while let Ok(message) = messages.recv_timeout(SLEEP_MAX) {
            match message {
                Message::Requests(requests) => {
                    for request in requests {
                        request.refuse(failure.clone());
                    }
                }
                Message::Lost(_, in_flight) => in_flight.respond(Some(failure.clone())),
                Message::Landed | Message::Runnable => {}
                Message::Follow(_, respond) => respond(Err(failure.clone())),
                Message::Stop => return,
            }
        }
    }
}

/// Updates the status for a request that was turned away, and only then answers the request: the caller may ask for the status.
pub(crate) fn turn_away(core: &Core, shared: &Shared, turned_away: Option<TurnedAway>) {
    let failure = turned_away.as_ref().map(|one| &one.failure);
    // A repetition that was answered tells of no space.
    let full = core.lacks_space() || matches!(failure, Some(Failure::StorageFull));
    shared.storage_full.store(full, Ordering::Release);
    if let Some(Failure::Fatal(why)) = failure {
        shared.fail(why);
    }
    if let Some(turned_away) = turned_away {
        turned_away.refuse();
    }
}

/// Answers the callers of batches that were not reported durable, and resets the core to what is durable.
pub(crate) fn settle_lost(core: &mut Core, shared: &Shared, lost: Vec<(Fate, InFlight)>) {
    let mut reason = None;
    let mut unwritten = Vec::new();
    for (fate, in_flight) in lost {
        match resolve(core, fate, &in_flight) {
            None => {
                publish(shared, &in_flight.batch);
                in_flight.respond(None);
            }
            Some(failure) => {
                tracing::warn!(%failure, records = in_flight.batch.len(), "a batch was not written");
                // Those behind the first were not written because that one was not.
                if reason.is_none() || matches!(failure, Failure::Fatal(_)) {
                    reason = Some(failure);
                }
                unwritten.push(in_flight);
            }
        }
    }
    let reason = reason.unwrap_or_else(|| Failure::Unavailable("the batch before failed".into()));
    shared
        .storage_full
        .store(matches!(reason, Failure::StorageFull), Ordering::Release);
    if let Failure::Fatal(why) = &reason {
        shared.fail(why);
    }
    for in_flight in unwritten {
        in_flight.respond(Some(reason.clone()));
    }
    let set = shared.view.read().set.clone();
    core.reset(set, reason);
}

/// Finds out what became of a batch that was not reported durable: none if the batch is durable after all.
fn resolve(core: &mut Core, fate: Fate, in_flight: &InFlight) -> Option<Failure> {
    match fate {
        Fate::Durable(_) => None,
        Fate::Refused(failure) => Some(failure),
        Fate::Fatal(why) => Some(Failure::Fatal(why)),
        Fate::Unknown(why) => match core.is_durable(&in_flight.batch) {
            Ok(true) => None,
            Ok(false) => Some(Failure::Unavailable(why)),
            // If the store can't say, neither can we: going on could decide on a state that is not there.
            Err(failure) => Some(Failure::Fatal(format!("{why}; and then: {failure}"))),
        },
    }
}
