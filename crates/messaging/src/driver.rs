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
use tributary_engine::{Basis, Clock, Failure, Permit, Reader, WeakEngine};
use tributary_journal::lock;
use tributary_ledger::{SettingId, SettingKind};

use crate::core::{Core, Refusal};
use crate::definitions::{self};
use crate::delivery::Matched;
use crate::flow::Wanted;
use crate::frames::FrameCache;
use crate::history::History;
use crate::image::Images;
use crate::log::Log;
use crate::matcher::Matcher;
use crate::scan::scan_frames;
use crate::settings::{Filter, Subscription, SubscriptionId};
use crate::storage::Storage;

/// Shortest time between two writes of progress, nanoseconds.
const WRITE_EVERY: u64 = 50_000_000;
/// Time to wait after a failed write of the log before the next one, nanoseconds.
const RETRY_AFTER: u64 = 1_000_000_000;
/// The longest sleep.
const SLEEP_MAX: Duration = Duration::from_millis(500);
/// Maximum number of matches handed to the core at once: receivers come in between.
const FOUND_AT_ONCE: usize = 512;
/// Maximum number of matches in the inbox. More of them are read from the journal later.
pub(crate) const INBOX_MAX: usize = 100_000;

/// Why a change was not made, or is not known to be durable.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Unsettled {
    /// The change was refused. Nothing changed.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The journal could not be read. Nothing changed.
    #[error(transparent)]
    Unread(#[from] Failure),
    /// The delivery log could not be written. Send the request again to learn what became of it.
    #[error("the delivery log could not be written: {0}")]
    NotDurable(String),
}

/// Matches on their way from the publisher to the core.
#[derive(Default)]
pub(crate) struct Inbox {
    pub(crate) first: u64,
    pub(crate) through: u64,
    pub(crate) matches: BTreeMap<SubscriptionId, Vec<Matched>>,
    pub(crate) count: usize,
}

/// The log, and how far it was written.
pub(crate) struct Writing {
    pub(crate) log: Log,
    /// The version of the core that is durable.
    pub(crate) through: u64,
    /// Running time of the last write.
    pub(crate) written_at: u64,
    /// Running time before which a failed write is not tried again.
    pub(crate) retry_at: u64,
}

/// The deliveries of all subscriptions, beside an engine.
pub struct Messaging {
    pub(crate) reader: Reader,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) permit: Arc<dyn Permit>,
    pub(crate) core: Mutex<Core>,
    pub(crate) writing: Mutex<Writing>,
    /// Number of changes of the core. Written while the core is locked.
    pub(crate) version: AtomicU64,
    pub(crate) inbox: Mutex<Inbox>,
    /// Locked before the core, never after the core.
    pub(crate) history: Mutex<History>,
    /// Used by the thread that publishes, with the newest filter of each subscription.
    pub(crate) matcher: Mutex<Matcher>,
    /// End of the committed journal, as far as the commit hook learned of it.
    pub(crate) seen: AtomicU64,
    /// Engine that publishes notices; none until the engine runs.
    pub(crate) engine: OnceLock<WeakEngine>,
    /// Whether there is any subscription.
    pub(crate) active: AtomicBool,
    /// Whether there may be progress to write.
    pub(crate) dirty: AtomicBool,
    /// Whether the last write of the log succeeded.
    pub(crate) keeps: AtomicBool,
    pub(crate) bells: Mutex<HashMap<SubscriptionId, Arc<Notify>>>,
    /// Whether a receiver was given nothing for want of the permit, since the permit was last seen.
    pub(crate) denied: AtomicBool,
    /// Notified when a subscription was created, changed or deleted.
    pub(crate) settled: Notify,
    pub(crate) frames: FrameCache,
    /// Subscription for which the journal was searched last.
    pub(crate) read_for: Mutex<Option<SubscriptionId>>,
    pub(crate) thread: OnceLock<Thread>,
    pub(crate) running: Mutex<Option<JoinHandle<()>>>,
    pub(crate) stopping: AtomicBool,
    /// See [`Storage::process_number`].
    process_number: u64,
}

/// Number of attempts of a process that are counted, at most, before the log keeps their number again.
const UNKEPT_ATTEMPTS_MAX: u64 = 1 << 32;
/// Bits of the random number of a process that its attempts differ by.
const PROCESS_BITS: u32 = 36;

/// Returns the number below those of all attempts of this process: at least `now` in microseconds since the Unix epoch, and above
/// all attempts of the process before, which had kept the number `before`. If the log was lost, ledger time alone does not tell
/// two processes apart: it stands still where the wall clock was set back.
fn next_generation(before: u64, now: u64, process_number: u64) -> u64 {
    let above = (now / 1_000).max(before + UNKEPT_ATTEMPTS_MAX);
    above + (process_number & ((1 << PROCESS_BITS) - 1))
}

/// Rebuilds the state of deliveries from what the delivery log says and what the journal defines.
fn load_core(
    reader: &Reader,
    mut images: Images,
    set_aside: &[String],
    now: u64,
    process_number: u64,
) -> io::Result<Core> {
    for why in set_aside {
        tracing::error!(
            why,
            "a delivery log, or its end, is set aside: events may be delivered again"
        );
    }
    images.generation = next_generation(images.generation, now, process_number);
    let (mut known, mut idle) = (Vec::new(), BTreeSet::new());
    let defining = [SettingKind::SUBSCRIPTION, SettingKind::BINDING];
    for setting in defining
        .into_iter()
        .flat_map(|kind| reader.settings(kind, None))
    {
        let id = SubscriptionId(setting.id.0);
        let one = definitions::known(reader, &setting, images.images.get(&id));
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
    Ok(Core::new(images, known, &idle, now))
}

impl Messaging {
    /// Reads the delivery log anew, which another node may have written, and forgets what was known before. Nothing may be committed
    /// meanwhile.
    ///
    /// # Errors
    /// If the log or the journal can't be read. Everything is as before then.
    pub fn reload(&self) -> io::Result<()> {
        let head = self.reader.head().position;
        {
            let mut writing = lock(&self.writing);
            let cluster = self.reader.meta().cluster_id;
            let mut standing = |basis: &Basis| self.reader.standing(basis);
            let (images, set_aside) = writing.log.read_again(cluster, &mut standing)?;
            let now = self.clock.now();
            let new = load_core(&self.reader, images, &set_aside, now, self.process_number)?;
            let mut matcher = lock(&self.matcher);
            let mut core = lock(&self.core);
            *lock(&self.inbox) = Inbox {
                first: head + 1,
                through: head,
                ..Inbox::default()
            };
            *matcher = Matcher::new(new.subscriptions());
            self.active
                .store(new.subscriptions().next().is_some(), Ordering::SeqCst);
            *core = new;
            writing.through = self.version.fetch_add(1, Ordering::AcqRel);
        }
        self.seen.store(head, Ordering::Release);
        self.dirty.store(true, Ordering::Release);
        self.ring_all();
        self.settled.notify_waiters();
        self.wake();
        Ok(())
    }

    /// Opens the deliveries that `storage` holds for the journal of `reader`, which must show everything up to its head.
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
        let (log, images, set_aside) = Log::read(storage.log, cluster, &mut standing)?;
        let process_number = storage.process_number;
        let something = !images.images.is_empty() || !set_aside.is_empty();
        let core = load_core(&reader, images, &set_aside, clock.now(), process_number)?;
        let active = core.subscriptions().next().is_some();
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
            denied: AtomicBool::new(false),
            settled: Notify::new(),
            frames: FrameCache::default(),
            read_for: Mutex::new(None),
            thread: OnceLock::new(),
            running: Mutex::default(),
            stopping: AtomicBool::new(false),
            process_number,
        };
        let begins = something && messaging.permit.is_granted();
        if begins && let Err(Unsettled::NotDurable(why)) = messaging.keep(true) {
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

    /// Stops the thread, which writes everything first. Blocks until then. Idempotent. Call this after the engine was shut down, so that
    /// nothing is committed afterwards.
    pub fn shutdown(&self) {
        self.stopping.store(true, Ordering::Release);
        self.wake();
        let thread = lock(&self.running).take();
        if let Some(thread) = thread {
            let _panicked = thread.join();
        }
    }

    /// Writes all progress.
    pub fn close(&self) {
        if self.permit.is_granted()
            && let Err(error) = self.keep(true)
        {
            tracing::error!(%error, "the last progress of deliveries was not kept; events will be delivered again");
        }
        let mut history = lock(&self.history);
        self.collect_ended(&mut history);
        history.write(self.clock.running());
    }

    /// Moves ended attempts into the history.
    pub(crate) fn collect_ended(&self, history: &mut History) {
        let kept = history.is_kept();
        history.take_in(self.clock.running(), |past| {
            let mut core = lock(&self.core);
            match kept {
                true => std::mem::swap(past, core.ended_attempts()),
                false => core.ended_attempts().clear(),
            }
        });
    }

    /// Tells all receivers that wait to look again.
    fn ring_all(&self) {
        let bells = lock(&self.bells);
        bells.values().for_each(|bell| bell.notify_waiters());
    }

    pub(crate) fn wake(&self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }

    /// Calls `change` with the core, after the core took the inbox.
    pub(crate) fn with<T>(&self, change: impl FnOnce(&mut Core, u64) -> T) -> T {
        self.with_version(change).0
    }

    /// [`Messaging::with`]. Returns the version of the core too.
    pub(crate) fn with_version<T>(&self, change: impl FnOnce(&mut Core, u64) -> T) -> (T, u64) {
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
    pub(crate) fn progressed(&self) {
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
    pub(crate) fn keep_through(&self, version: u64) -> Result<(), Unsettled> {
        let mut writing = lock(&self.writing);
        match writing.through >= version {
            true => Ok(()),
            false => self.write(&mut writing, false),
        }
    }

    fn write(&self, writing: &mut Writing, all: bool) -> Result<(), Unsettled> {
        if !self.permit.is_granted() {
            let why = "deliveries are another node's work now".to_owned();
            return Err(Unsettled::NotDurable(why));
        }
        self.dirty.store(false, Ordering::Release);
        let written = self.write_log(&mut writing.log, all);
        let now = self.clock.running();
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
                Err(Unsettled::NotDurable(error.to_string()))
            }
        }
    }

    /// Writes the log. Returns the version of the core that is durable then.
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

    /// Does the work that is due now: timers, searches, writes. Returns the time until more is due.
    pub fn step(&self) -> Duration {
        if !self.permit.is_granted() {
            return SLEEP_MAX;
        }
        if self.denied.swap(false, Ordering::SeqCst) {
            self.ring_all();
        }
        if !self.active.load(Ordering::SeqCst) && !self.dirty.load(Ordering::Acquire) {
            return SLEEP_MAX;
        }
        let running = self.clock.running();
        let more = self.with(|core, now| core.tick(now, running));
        self.publish_notices();
        let read = self.read_for_one();
        let write_in = self.write_if_due();
        let mut history = lock(&self.history);
        self.collect_ended(&mut history);
        history.write_if_due(self.clock.running());
        drop(history);
        if more || read {
            return Duration::ZERO;
        }
        let (due, deadline) = {
            let core = lock(&self.core);
            (core.next_due(), core.next_deadline())
        };
        let until =
            |time: Option<u64>, now: u64| time.map_or(u64::MAX, |time| time.saturating_sub(now));
        let due = until(due, self.clock.now()).min(until(deadline, self.clock.running()));
        SLEEP_MAX.min(Duration::from_nanos(due.min(write_in)))
    }

    /// Writes progress if a write is due. Returns the nanoseconds until the next one.
    fn write_if_due(&self) -> u64 {
        let (due, now) = {
            let writing = lock(&self.writing);
            let due = writing.written_at.saturating_add(WRITE_EVERY);
            (due.max(writing.retry_at), self.clock.running())
        };
        if now < due {
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

    /// Sets the engine that publishes notices of dead letters.
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

    /// Reads older filters for a subscription that needs them.
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

    /// Searches a piece of the journal for a subscription that is behind. False if none is.
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

    /// Hands the matches of a search to the core, in pieces.
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

    /// Searches the journal for a subscription. Returns the last position that was searched, and the matches.
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
}
