//! The core and the log beside the engine: offers of the publisher, timers, laggards, and what waits for events.
//!
//! One thread does what nobody waits for: it takes in what the publisher matched, lets come due what is due, reads the journal
//! for those who are behind, and writes down progress. Settings are durable before they are answered. Nothing that goes wrong
//! here stops a payment: without its log, messaging goes on in memory, refuses changes of settings, and tries again.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::{JoinHandle, Thread};
use std::time::Duration;

use tokio::sync::Notify;
use tributary_engine::{Basis, Batch, CommitHook, Failure, Permit, Reader, WeakEngine};
use tributary_journal::{Clock, lock};
use tributary_ledger::codec::RecordRef;
use tributary_ledger::{Actor, FORMAT_VERSION, OwnerId, SettingId, SettingKind};

use crate::core::{Core, Refusal};
use crate::definitions::{self, Definition};
use crate::flow::{Delivery, Figures, Matched, Receipt, ReceiptExpired, Wanted};
use crate::frames::{Frame, FrameCache};
use crate::history::{Attempts, AttemptsFound, History};
use crate::image::Letter;
use crate::log::{self, Log};
use crate::matcher::Matcher;
use crate::scan::{From, scan_frames};
use crate::settings::{Filter, Kind, Subscription, SubscriptionId};
use crate::storage::Storage;

/// Progress is written down at most so often, nanoseconds.
const WRITE_EVERY: u64 = 50_000_000;
/// How long to wait after the log failed before a new one is tried, nanoseconds.
const RETRY_AFTER: u64 = 1_000_000_000;
/// The longest sleep.
const SLEEP_MAX: Duration = Duration::from_millis(500);
/// Matches that were read and are taken in at once, at most.
const FOUND_AT_ONCE: usize = 512;
/// Matches that wait to be taken in, at most: what is more is read from the journal later.
const INBOX_MAX: usize = 100_000;

/// Why a change was not made, or is not known to be durable.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Unsettled {
    /// It was refused; nothing changed.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The journal could not be read; nothing changed.
    #[error(transparent)]
    Unread(#[from] Failure),
    /// The delivery log could not be written: asking again tells.
    #[error("the delivery log could not be written: {0}")]
    NotKept(String),
}

/// Matches on their way from the publisher.
#[derive(Default)]
struct Inbox {
    first: u64,
    through: u64,
    matches: BTreeMap<SubscriptionId, Vec<Matched>>,
    count: usize,
}

/// The log, and how far it was written.
struct Writing {
    log: Log,
    /// The version of the core that is durable.
    through: u64,
    written_at: u64,
    retry_at: u64,
}

/// Subscriptions at work beside an engine.
pub struct Messaging {
    reader: Reader,
    clock: Arc<dyn Clock>,
    permit: Arc<dyn Permit>,
    core: Mutex<Core>,
    writing: Mutex<Writing>,
    /// Counts the changes of the core. Written with the core locked.
    version: AtomicU64,
    inbox: Mutex<Inbox>,
    /// Locked before the core, never after it.
    history: Mutex<History>,
    /// Used by the thread that publishes, with the newest filter of each subscription.
    matcher: Mutex<Matcher>,
    /// Everything up to here was matched, or will be read.
    seen: AtomicU64,
    /// Where notices are published; none until the engine runs.
    engine: OnceLock<WeakEngine>,
    /// Whether there is any subscription.
    active: AtomicBool,
    /// Whether there may be progress to write.
    dirty: AtomicBool,
    /// Whether the log was written the last time it was tried.
    keeps: AtomicBool,
    bells: Mutex<HashMap<SubscriptionId, Arc<Notify>>>,
    /// Rings when a subscription was created, changed or deleted.
    settled: Notify,
    frames: FrameCache,
    /// Who was read for last.
    read_for: Mutex<Option<SubscriptionId>>,
    thread: OnceLock<Thread>,
    running: Mutex<Option<JoinHandle<()>>>,
    stopping: AtomicBool,
}

/// The number above which the attempts of this process are numbered, if that was `before` for the process before: microseconds since
/// the Unix epoch. There are fewer attempts than microseconds, so no number is given again, even if the log was lost; a clock that was
/// set back is passed by far.
fn next_generation(before: u64, now: u64) -> u64 {
    match now / 1_000 {
        micros if micros > before => micros,
        _ => before + (1 << 32),
    }
}

impl CommitHook for Messaging {
    /// Matches the batch; the matches are taken in later. Cheap where there is no subscription.
    fn committed(&self, batch: &Batch) {
        if batch.changes_settings() || self.active.load(Ordering::SeqCst) {
            self.match_batch(batch);
        }
        self.seen.store(batch.last_position(), Ordering::Release);
    }
}

impl Messaging {
    /// Takes over what `storage` holds for the journal of `reader`, which must show everything up to its head.
    ///
    /// # Errors
    /// If the storage or the journal can't be read. Damage is no error: it is set aside and logged.
    pub fn open(
        storage: Storage,
        reader: Reader,
        clock: Arc<dyn Clock>,
        permit: Arc<dyn Permit>,
    ) -> io::Result<Messaging> {
        let cluster = reader.meta().cluster_id;
        let head = reader.head().position;
        let mut standing = |basis: &Basis| reader.standing(basis);
        let (log, mut images, set_aside) = Log::read(storage.log, cluster, &mut standing)?;
        for why in &set_aside {
            tracing::error!(
                why,
                "a delivery log, or its end, is set aside: events may be delivered again"
            );
        }
        let now = clock.now();
        images.generation = next_generation(images.generation, now);
        let something = !images.images.is_empty() || !set_aside.is_empty();
        let (mut known, mut idle) = (Vec::new(), BTreeSet::new());
        for setting in reader.settings(SettingKind::SUBSCRIPTION, None) {
            let id = SubscriptionId(setting.id.0);
            let one = definitions::known(&reader, &setting, images.images.get(&id));
            match one.map_err(io::Error::other)? {
                Some(one) => known.push(one),
                None => {
                    tracing::error!(
                        id = id.0,
                        "a subscription is of a later version, and is not served"
                    );
                    idle.insert(id);
                }
            }
        }
        let active = !known.is_empty();
        let core = Core::new(images, known, &idle, now);
        let history = History::new(storage.history, cluster, head, storage.history_bytes_max);
        let messaging = Messaging {
            reader,
            clock,
            permit,
            history: Mutex::new(history),
            version: AtomicU64::new(0),
            seen: AtomicU64::new(head),
            engine: OnceLock::new(),
            matcher: Mutex::new(Matcher::new(core.subscriptions())),
            active: AtomicBool::new(active),
            core: Mutex::new(core),
            writing: Mutex::new(Writing {
                log,
                through: 0,
                written_at: 0,
                retry_at: 0,
            }),
            inbox: Mutex::default(),
            dirty: AtomicBool::new(false),
            keeps: AtomicBool::new(true),
            bells: Mutex::default(),
            settled: Notify::new(),
            frames: FrameCache::default(),
            read_for: Mutex::new(None),
            thread: OnceLock::new(),
            running: Mutex::default(),
            stopping: AtomicBool::new(false),
        };
        if something && let Err(Unsettled::NotKept(why)) = messaging.keep(true) {
            tracing::error!(
                why,
                "the delivery log can't be written; it will be tried again"
            );
        }
        Ok(messaging)
    }

    /// Starts the thread. It ends with [`Messaging::shutdown`].
    pub(crate) fn spawn(self: &Arc<Messaging>) -> io::Result<()> {
        let messaging = self.clone();
        let thread = std::thread::Builder::new()
            .name("messaging".into())
            .spawn(move || {
                let run = std::panic::AssertUnwindSafe(|| messaging.run());
                if std::panic::catch_unwind(run).is_err() {
                    // What is kept is sound; what is in memory may not be.
                    messaging.active.store(false, Ordering::SeqCst);
                    tracing::error!("an assertion failed in the messaging thread: deliveries stop until the next start, payments go on");
                }
            })?;
        let _first = self.thread.set(thread.thread().clone());
        *lock(&self.running) = Some(thread);
        Ok(())
    }

    fn run(&self) {
        while !self.stopping.load(Ordering::Acquire) {
            let wait = self.step();
            if !wait.is_zero() {
                std::thread::park_timeout(wait);
            }
        }
        self.close();
    }

    /// Has the thread write down everything and end; blocks until then. Idempotent. To be called when the engine is shut down, so
    /// that what was still committed is kept.
    pub fn shutdown(&self) {
        self.stopping.store(true, Ordering::Release);
        self.wake();
        let thread = lock(&self.running).take();
        if let Some(thread) = thread {
            let _panicked = thread.join();
        }
    }

    /// Writes down everything.
    pub fn close(&self) {
        if let Err(error) = self.keep(true) {
            tracing::error!(%error, "the last progress of deliveries was not kept; events will be delivered again");
        }
        let mut history = lock(&self.history);
        self.collect_ended(&mut history);
        history.write(self.clock.now());
    }

    /// Takes what ended into the history.
    fn collect_ended(&self, history: &mut History) {
        let kept = history.is_kept();
        history.take_in(self.clock.now(), |past| {
            let mut core = lock(&self.core);
            match kept {
                true => std::mem::swap(past, core.ended_attempts()),
                false => core.ended_attempts().clear(),
            }
        });
    }

    fn wake(&self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }

    /// Matches a batch, divided where a record changes a subscription: an event is matched by the newest revision before it.
    fn match_batch(&self, batch: &Batch) {
        let mut matcher = lock(&self.matcher);
        let mut found: Vec<(SubscriptionId, Matched)> = Vec::new();
        let (mut first, mut woken) = (batch.first_position(), false);
        // Kept over the batch: it would keep only the publisher waiting, and that is here.
        let owner = self.reader.account_owners();
        for payload in batch.frame().payloads() {
            let record = RecordRef::parse(payload, FORMAT_VERSION)
                .expect("what the writer encoded can be read");
            if found.len() <= INBOX_MAX {
                matcher.matches(&record, &owner, &mut |id, matched| {
                    found.push((id, matched));
                });
            }
            if batch.changes_settings()
                && let Some(definition) = Definition::from_record(&record)
            {
                let position = record.context().position;
                self.post(first, position, std::mem::take(&mut found));
                first = position + 1;
                woken = true;
                *matcher = self.define(definition, position);
            }
        }
        drop(owner);
        if first <= batch.last_position() {
            woken |= self.post(first, batch.last_position(), found);
        }
        if woken {
            self.wake();
        }
    }

    /// The record at `position` changed the definition of a subscription. Gives the matcher for what follows.
    fn define(&self, definition: Definition, position: u64) -> Matcher {
        let deleted = match &definition {
            Definition::Deleted(id) => Some(*id),
            _ => None,
        };
        let matcher = self.with(|core, now| {
            match definition {
                Definition::Put(subscription, start) => {
                    core.put(*subscription, start, position, now);
                }
                Definition::Unreadable(id) => {
                    tracing::error!(
                        id = id.0,
                        position,
                        "a subscription is of a later version, and is not served"
                    );
                    core.suspend(id);
                }
                Definition::Deleted(id) => core.delete(id),
            }
            Matcher::new(core.subscriptions())
        });
        if let Some(bell) = deleted.and_then(|id| lock(&self.bells).remove(&id)) {
            bell.notify_waiters();
        }
        self.dirty.store(true, Ordering::Release);
        self.settled.notify_waiters();
        matcher
    }

    /// Puts matches among `first ..= through` into the inbox; true if there are any.
    fn post(&self, first: u64, through: u64, found: Vec<(SubscriptionId, Matched)>) -> bool {
        let mut inbox = lock(&self.inbox);
        // What does not follow is read from the journal.
        if inbox.through + 1 != first || inbox.count + found.len() > INBOX_MAX {
            *inbox = Inbox {
                first,
                ..Inbox::default()
            };
        }
        inbox.through = through;
        let any = !found.is_empty();
        if found.len() > INBOX_MAX {
            inbox.first = through + 1;
            return any;
        }
        inbox.count += found.len();
        for (id, matched) in found {
            inbox.matches.entry(id).or_default().push(matched);
        }
        any
    }

    /// Calls `change` with the core, which has taken in all that the publisher offered.
    fn with<T>(&self, change: impl FnOnce(&mut Core, u64) -> T) -> T {
        self.with_version(change).0
    }

    /// [`Messaging::with`], and the version that the core has then.
    fn with_version<T>(&self, change: impl FnOnce(&mut Core, u64) -> T) -> (T, u64) {
        let now = self.clock.now();
        let mut core = lock(&self.core);
        let inbox = {
            let mut inbox = lock(&self.inbox);
            let next = Inbox {
                first: inbox.through + 1,
                through: inbox.through,
                ..Inbox::default()
            };
            std::mem::replace(&mut *inbox, next)
        };
        if inbox.through >= inbox.first {
            core.offer(inbox.first, inbox.through, &inbox.matches, now);
        }
        let result = change(&mut core, now);
        let version = self.version.fetch_add(1, Ordering::AcqRel) + 1;
        let active = core.subscriptions().next().is_some();
        self.active.store(active, Ordering::SeqCst);
        let woken = core.woken();
        drop(core);
        self.notify_receivers(&woken);
        (result, version)
    }

    fn notify_receivers(&self, woken: &[SubscriptionId]) {
        if woken.is_empty() {
            return;
        }
        let bells = lock(&self.bells);
        for bell in woken.iter().filter_map(|id| bells.get(id)) {
            bell.notify_waiters();
        }
    }

    /// Notes that there is progress to write.
    fn progressed(&self) {
        if !self.dirty.swap(true, Ordering::AcqRel) {
            self.wake();
        }
    }

    /// Makes all changes so far durable.
    fn keep(&self, all: bool) -> Result<(), Unsettled> {
        let mut writing = lock(&self.writing);
        self.write(&mut writing, all)
    }

    /// Makes all changes up to this version of the core durable, unless another thread does so meanwhile.
    fn keep_through(&self, version: u64) -> Result<(), Unsettled> {
        let mut writing = lock(&self.writing);
        match writing.through >= version {
            true => Ok(()),
            false => self.write(&mut writing, false),
        }
    }

    fn write(&self, writing: &mut Writing, all: bool) -> Result<(), Unsettled> {
        self.dirty.store(false, Ordering::Release);
        let written = self.write_log(&mut writing.log, all);
        let now = self.clock.now();
        writing.written_at = now;
        self.keeps.store(written.is_ok(), Ordering::Release);
        match written {
            Ok(version) => {
                writing.through = version;
                lock(&self.core).written();
                Ok(())
            }
            Err(error) => {
                writing.retry_at = now.saturating_add(RETRY_AFTER);
                Err(Unsettled::NotKept(error.to_string()))
            }
        }
    }

    /// Gives the version of the core that is durable then.
    fn write_log(&self, log: &mut Log, all: bool) -> io::Result<u64> {
        let now = self.clock.now();
        // Nothing in a change is beyond what is published, so the head that is read after it is a sound basis.
        let basis = || Basis::from(self.reader.head());
        if !log.needs_snapshot() {
            let (changes, version) = self.with_version(|core, _| core.drain(all));
            if !changes.is_empty() {
                log.append(&changes, basis(), now)?;
            }
            if !log.is_large() {
                return Ok(version);
            }
        }
        let (snapshot, version) = self.with_version(|core, _| core.snapshot());
        log.begin(&snapshot, basis(), now)?;
        Ok(version)
    }

    /// Does what is to be done now; gives how long nothing more is.
    pub fn step(&self) -> Duration {
        if !self.permit.is_granted() {
            return SLEEP_MAX;
        }
        if !self.active.load(Ordering::SeqCst) && !self.dirty.load(Ordering::Acquire) {
            return SLEEP_MAX;
        }
        let more = self.with(|core, now| core.tick(now));
        self.publish_notices();
        let read = self.read_for_one();
        let write_in = self.write_if_due();
        let mut history = lock(&self.history);
        self.collect_ended(&mut history);
        history.write_if_due(self.clock.now());
        drop(history);
        if more || read {
            return Duration::ZERO;
        }
        let due = lock(&self.core).next_due();
        let now = self.clock.now();
        let due = due.map_or(u64::MAX, |due| due.saturating_sub(now));
        SLEEP_MAX.min(Duration::from_nanos(due.min(write_in)))
    }

    /// Writes progress down if there is some and it is time; gives how long it is until then.
    fn write_if_due(&self) -> u64 {
        let (due, now) = {
            let writing = lock(&self.writing);
            let due = writing.written_at.saturating_add(WRITE_EVERY);
            (due.max(writing.retry_at), self.clock.now())
        };
        // A clock that was set back must not keep it from being written.
        if now < due && due - now <= RETRY_AFTER {
            return match self.dirty.load(Ordering::Acquire) {
                true => due - now,
                false => u64::MAX,
            };
        }
        let before = self.keeps.load(Ordering::Acquire);
        if let Err(error) = self.keep(false)
            && before
        {
            tracing::error!(%error, "deliveries go on without their log; it will be tried again");
        }
        u64::MAX
    }

    /// Notices of dead letters are published by this engine.
    pub(crate) fn set_engine(&self, engine: WeakEngine) {
        let _first = self.engine.set(engine);
    }

    fn publish_notices(&self) {
        let Some(engine) = self.engine.get().and_then(WeakEngine::upgrade) else {
            return;
        };
        let now = self.clock.now();
        let notices = lock(&self.core).dead_letter_notices(now);
        for notice in notices {
            let command = notice.command(self.reader.ids(), now);
            if let Err(error) = engine.submit_unwatched(vec![command]) {
                tracing::warn!(%error, "an event about new dead letters could not be published; it will be tried again");
                lock(&self.core).notice_failed(&notice);
            }
        }
    }

    /// Reads the filters of revisions for a subscription that passed those that it knew.
    fn read_revisions(&self, head: u64) -> Result<(), Failure> {
        let Some((id, from)) = lock(&self.core).lacking_revisions(head) else {
            return Ok(());
        };
        // It may have been deleted meanwhile, which the core will learn.
        if let Some(setting) = self.reader.setting(SettingId(id.0)) {
            let revisions = definitions::revisions(&self.reader, &setting, from)?;
            lock(&self.core).set_revisions(id, revisions);
        }
        Ok(())
    }

    /// Reads a piece of the journal for one that is behind; false if none is.
    fn read_for_one(&self) -> bool {
        let head = self.seen.load(Ordering::Acquire);
        if let Err(failure) = self.read_revisions(head) {
            tracing::error!(%failure, "the revisions of a subscription can't be read");
        }
        let mut read_for = lock(&self.read_for);
        let (rewinds, wanted) = {
            let core = lock(&self.core);
            (core.rewinds(), core.wanted(*read_for, head))
        };
        let Some((subscription, wanted)) = wanted else {
            return false;
        };
        let id = subscription.id;
        *read_for = Some(id);
        match self.read(&subscription, &wanted) {
            Ok((through, matches)) => {
                self.found(id, rewinds, wanted, through, &matches);
                self.progressed();
                true
            }
            Err(failure) => {
                tracing::error!(%failure, from = wanted.from, "the journal can't be read for a subscription");
                false
            }
        }
    }

    /// Hands over what was read, in pieces: receivers come in between.
    fn found(
        &self,
        id: SubscriptionId,
        rewinds: u64,
        mut wanted: Wanted,
        through: u64,
        mut matches: &[Matched],
    ) {
        while wanted.from <= through {
            let piece;
            (piece, matches) = matches.split_at(matches.len().min(FOUND_AT_ONCE));
            let reach = match (piece.last(), matches.is_empty()) {
                (Some(last), false) => last.position,
                _ => through,
            };
            // Before what the publisher offered meanwhile, which may follow it.
            let now = self.clock.now();
            let mut core = lock(&self.core);
            core.found(id, rewinds, &wanted, reach, piece, now);
            let woken = core.woken();
            drop(core);
            self.notify_receivers(&woken);
            wanted.from = reach + 1;
        }
        self.with(|_, _| ());
    }

    /// What a subscription wants of the next records, and the last one that was looked at.
    fn read(
        &self,
        subscription: &Subscription,
        wanted: &Wanted,
    ) -> Result<(u64, Vec<Matched>), Failure> {
        let filter = Filter::clone(&wanted.filter);
        let mut matcher = Matcher::for_one(subscription.id, subscription.scope, filter);
        scan_frames(
            &self.reader,
            &mut matcher,
            wanted.from,
            wanted.through,
            wanted.matches_max,
            &|position| self.frames.read(&self.reader, position),
            // It is handed out soon.
            &|frame| self.frames.insert(frame),
        )
    }

    /// The frame that holds the record at `position`: from memory if it was read lately.
    ///
    /// # Errors
    /// If it can't be read, or there is none.
    pub fn frame(&self, position: u64) -> Result<Arc<Frame>, Failure> {
        self.frames.get(&self.reader, position)
    }

    /// The same if it is in memory. Never waits for the disk.
    pub fn frame_kept(&self, position: u64) -> Option<Arc<Frame>> {
        self.frames.cached(position)
    }

    /// Makes `change`, and has it durable before it is answered.
    fn settle<T>(
        &self,
        change: impl FnOnce(&mut Core, u64) -> Result<T, Refusal>,
    ) -> Result<T, Unsettled> {
        let (result, version) = self.with_version(change);
        let result = result?;
        self.keep_through(version)?;
        // There may be something to read now.
        self.wake();
        Ok(result)
    }

    /// Begins again at `from`: see [`Core::rewind`].
    ///
    /// # Errors
    /// See [`Unsettled`].
    pub fn rewind(&self, id: SubscriptionId, from: From, by: Actor) -> Result<(), Unsettled> {
        let to = from.position(&self.reader)?;
        let through = self.seen.load(Ordering::Acquire);
        self.settle(|core, now| core.rewind(id, to.min(through), through, by, now))
    }

    /// Delivers again what the newest filter matches in `first ..= last`.
    ///
    /// # Errors
    /// See [`Unsettled`].
    pub fn replay(
        &self,
        id: SubscriptionId,
        first: u64,
        last: u64,
        by: Actor,
    ) -> Result<(), Unsettled> {
        self.settle(|core, now| core.replay(id, first, last, by, now))
    }

    /// Has dead letters delivered again: see [`Core::requeue`].
    ///
    /// # Errors
    /// See [`Unsettled`].
    pub fn requeue(
        &self,
        id: SubscriptionId,
        positions: Option<&[u64]>,
        by: Actor,
    ) -> Result<usize, Unsettled> {
        self.settle(|core, now| core.requeue(id, positions, by, now))
    }

    /// Forgets dead letters: see [`Core::drop_dead`].
    ///
    /// # Errors
    /// See [`Unsettled`].
    pub fn drop_dead(
        &self,
        id: SubscriptionId,
        positions: Option<&[u64]>,
        by: Actor,
    ) -> Result<usize, Unsettled> {
        self.settle(|core, now| core.drop_dead(id, positions, by, now))
    }

    /// Hands out up to `max` events: see [`Core::take`].
    ///
    /// # Errors
    /// If there is no such subscription.
    pub fn take(
        &self,
        id: SubscriptionId,
        max: usize,
        visibility: Option<u64>,
    ) -> Result<Vec<Delivery>, Refusal> {
        let max = match self.permit.is_granted() {
            true => max,
            false => 0,
        };
        let taken = self.with(|core, now| core.take(id, max, visibility, now))?;
        if !taken.is_empty() {
            // Their time-outs may be the next thing to happen, and others may have to be read.
            self.progressed();
        }
        Ok(taken)
    }

    /// These are done. Each receipt is answered for itself.
    ///
    /// # Errors
    /// If there is no such subscription.
    pub fn ack(
        &self,
        id: SubscriptionId,
        receipts: &[Receipt],
    ) -> Result<Vec<Result<(), ReceiptExpired>>, Refusal> {
        let results = self.with(|core, now| core.ack(id, receipts, now));
        self.after_ack(id);
        results
    }

    /// Some are done: there is progress to write, and perhaps room for more, which the thread reads at once.
    fn after_ack(&self, id: SubscriptionId) {
        if lock(&self.core).wants(id, self.seen.load(Ordering::Acquire)) {
            self.wake();
        }
        self.progressed();
    }

    /// This attempt failed: see [`Core::nack`]. Call [`Messaging::make_durable`] before anyone is told so.
    ///
    /// # Errors
    /// If there is no such subscription, or the attempt is over.
    pub fn nack(
        &self,
        id: SubscriptionId,
        receipt: Receipt,
        delay: Option<u64>,
        error: &str,
    ) -> Result<(), Refusal> {
        let result = self.with(|core, now| core.nack(id, receipt, delay, error, now));
        self.progressed();
        result
    }

    /// Makes all changes so far durable. Blocks until then.
    ///
    /// # Errors
    /// If they could not be made durable.
    pub fn make_durable(&self) -> Result<(), Unsettled> {
        self.keep_through(self.version.load(Ordering::Acquire))
    }

    /// A delivery log that holds what is kept now and nothing else, as bytes, for a backup: see [`crate::restore_snapshot`]. It counts
    /// beside a journal that reaches as far as this one does now.
    pub fn snapshot(&self) -> Vec<u8> {
        let changes = self.with(|core, _| core.as_changes());
        log::encode_snapshot(&changes, self.reader.head().into(), self.clock.now())
    }

    /// The receiver of these went away: see [`Core::give_back`].
    ///
    /// # Errors
    /// If there is no such subscription.
    pub fn give_back(
        &self,
        id: SubscriptionId,
        sent: &[Receipt],
        unsent: &[Receipt],
    ) -> Result<(), Refusal> {
        let result = self.with(|core, now| core.give_back(id, sent, unsent, now));
        self.progressed();
        result
    }

    /// The receiver keeps the event for `visibility` nanoseconds from now.
    ///
    /// # Errors
    /// If there is no such subscription, or the attempt is over.
    pub fn extend(
        &self,
        id: SubscriptionId,
        receipt: Receipt,
        visibility: u64,
    ) -> Result<(), Refusal> {
        self.with(|core, now| core.extend(id, receipt, now.saturating_add(visibility)))
    }

    /// Dead letters: see [`Core::dead`]. Those that are not durable, and can't be made so, are not among them.
    ///
    /// # Errors
    /// If there is no such subscription.
    pub fn dead(
        &self,
        id: SubscriptionId,
        after: u64,
        limit: usize,
    ) -> Result<(Vec<(u64, Letter)>, bool), Refusal> {
        let unwritten = lock(&self.core).has_unwritten_dead(id);
        if unwritten && let Err(error) = self.make_durable() {
            tracing::warn!(%error, "the newest dead letters are not listed: the delivery log can't be written");
        }
        lock(&self.core).dead(id, after, limit)
    }

    /// [`Messaging::ack`] of one, with the nanoseconds that were worked on it and a note for the history.
    ///
    /// # Errors
    /// If there is no such subscription, or the attempt is over.
    pub fn ack_noted(
        &self,
        id: SubscriptionId,
        receipt: Receipt,
        worked: u64,
        note: &[u8],
    ) -> Result<(), Refusal> {
        let result = self.with(|core, now| core.ack_noted(id, receipt, worked, note, now));
        self.after_ack(id);
        result
    }

    /// [`Messaging::nack`] with a note for the history.
    ///
    /// # Errors
    /// If there is no such subscription, or the attempt is over.
    pub fn nack_noted(
        &self,
        id: SubscriptionId,
        receipt: Receipt,
        delay: Option<u64>,
        error: &str,
        note: &[u8],
    ) -> Result<(), Refusal> {
        let result = self.with(|core, now| core.nack_noted(id, receipt, delay, error, note, now));
        self.progressed();
        result
    }

    /// Attempts that are over, as far as the history has them. Waits for the disk.
    pub fn attempts(&self, wanted: &Attempts<'_>) -> AttemptsFound {
        let mut history = lock(&self.history);
        self.collect_ended(&mut history);
        let reading = history.reading(wanted);
        // Read by this thread alone.
        drop(history);
        reading.find(wanted)
    }

    /// Rings when a subscription was made, changed or deleted. Ask for it before looking, so that nothing is missed.
    pub fn settled(&self) -> &Notify {
        &self.settled
    }

    /// Rings when there may be something to take. Ask for it before taking, so that nothing is missed.
    pub fn bell(&self, id: SubscriptionId) -> Arc<Notify> {
        if lock(&self.core).get(id).is_none() {
            return Arc::default();
        }
        lock(&self.bells).entry(id).or_default().clone()
    }

    /// The time, nanoseconds since the Unix epoch.
    pub fn now(&self) -> u64 {
        self.clock.now()
    }

    /// One of them.
    pub fn get(&self, id: SubscriptionId) -> Option<Subscription> {
        lock(&self.core).get(id).cloned()
    }

    /// Whose events one of them may see, if it is there.
    pub fn scope(&self, id: SubscriptionId) -> Option<OwnerId> {
        lock(&self.core).get(id).map(|one| one.scope)
    }

    /// Those whose events are sent.
    pub fn pushed(&self) -> Vec<SubscriptionId> {
        let core = lock(&self.core);
        let pushed = |one: &&Subscription| matches!(one.terms.kind, Kind::Push { .. });
        core.subscriptions()
            .filter(pushed)
            .map(|one| one.id)
            .collect()
    }

    /// All of them, by id.
    pub fn subscriptions(&self) -> Vec<Subscription> {
        lock(&self.core).subscriptions().cloned().collect()
    }

    /// The numbers of one, and why it takes no new events, if it does not.
    ///
    /// # Errors
    /// If there is no such subscription.
    pub fn figures(&self, id: SubscriptionId) -> Result<(Figures, Option<&'static str>), Refusal> {
        let figures = self.with(|core, now| core.figures(id, now))?;
        let stalled = lock(&self.core).stalled(id);
        Ok((figures, stalled))
    }

    /// Whether the log was written the last time it was tried.
    pub fn keeps(&self) -> bool {
        self.keeps.load(Ordering::Acquire)
    }

    /// Whether the history was written the last time it was tried.
    pub fn keeps_history(&self) -> bool {
        lock(&self.history).is_written()
    }

    /// Whether memory is as bounded as it should be.
    pub fn within_bounds(&self) -> bool {
        lock(&self.core).within_bounds() && lock(&self.inbox).count <= INBOX_MAX
    }
}
