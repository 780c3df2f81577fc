//! The running engine: a writer thread, a publisher thread, and the handle that everybody else holds.

use std::ops::Deref;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use tokio::sync::oneshot;
use tributary_journal::Clock;
use tributary_ledger::codec::Record;
use tributary_ledger::{Command, Rejection, WorkingSet};

use crate::backend::{Backend, Failure, Recovered};
use crate::core::{
    COMMANDS_PER_BATCH_MAX, NotQueued, QUEUE_LENGTH_MAX, RECORD_BYTES_PER_REQUEST_MAX, Request,
    Resolved, Respond, Verdict,
};
use crate::hook::Ports;
use crate::read::Reader;
use crate::view::View;
use crate::writer;

/// Commands that may wait for the writer, in all, before new ones are refused.
pub const COMMANDS_QUEUED_MAX: usize = 65_536;
/// Bytes of records that may wait for the writer, in all, at the worst: as many plain commands as may wait fit easily, those with
/// long texts do not.
const RECORD_BYTES_QUEUED_MAX: usize = 256 * 1024 * 1024;
/// What a refused caller is told to wait.
pub const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The answer to one command.
#[derive(Clone, Debug)]
pub enum Reply {
    /// The ledger decided it; accepted or rejected, it is a record.
    Done {
        /// The record.
        record: Answer,
        /// Whether it was decided before, under the same key.
        replayed: bool,
    },
    /// The idempotency key belongs to a different command, recorded at `position`.
    KeyConflict {
        /// The record that took the key.
        position: u64,
    },
    /// Some keys of an all-or-nothing group were used before and others were not, or one stands twice in it.
    GroupKeyConflict,
    /// It was to queue a payment, or stands in a group with one that was, and the queue did not take that: nothing is recorded, and
    /// the key stays free.
    NotQueued(NotQueued),
}

/// The answer to one command in short, for callers who need no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Receipt {
    /// The ledger decided it.
    Done {
        /// The record.
        position: u64,
        /// Why it was refused, if it was.
        rejection: Option<Rejection>,
        /// Whether it was decided before, under the same key.
        replayed: bool,
    },
    /// As [`Reply::KeyConflict`].
    KeyConflict {
        /// The record that took the key.
        position: u64,
    },
    /// As [`Reply::GroupKeyConflict`].
    GroupKeyConflict,
    /// As [`Reply::NotQueued`].
    NotQueued(NotQueued),
}

/// A durable record.
#[derive(Clone)]
pub struct Answer(Arc<Record>);

impl Deref for Answer {
    type Target = Record;

    fn deref(&self) -> &Record {
        &self.0
    }
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        (**self).fmt(f)
    }
}

/// Why commands were not taken. Nothing of them is recorded and their keys stay free, except after `Unavailable`, where a
/// repetition under the same keys tells.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Refused {
    /// Too many commands wait already.
    #[error("too many commands are waiting")]
    Overloaded {
        /// When to try again.
        retry_after: Duration,
    },
    /// The disk is full; it goes on by itself when space returns.
    #[error("the disk is full")]
    StorageFull,
    /// The engine is shutting down.
    #[error("the engine is stopping")]
    Stopping,
    /// More than [`COMMANDS_PER_BATCH_MAX`] commands or [`RECORD_BYTES_PER_REQUEST_MAX`] bytes of records.
    #[error("the batch is too large")]
    TooLarge,
    /// The store failed while the commands were on their way.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
}

impl From<Failure> for Refused {
    fn from(failure: Failure) -> Refused {
        match failure {
            Failure::StorageFull => Refused::StorageFull,
            Failure::Stopping => Refused::Stopping,
            other => Refused::Unavailable(other.to_string()),
        }
    }
}

/// How an engine is run.
pub struct Options {
    /// Called once, from a thread of the engine, if it must stop because what is durable can't be known: the process should
    /// exit non-zero. Must not block.
    pub on_fatal: Box<dyn Fn(&str) + Send + Sync>,
    /// Records between two checkpoints, at least; where there are very many accounts and open payments, a quarter as many as
    /// those.
    pub checkpoint_every: u64,
    /// Payments that may be queued, at most.
    pub queue_length_max: usize,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            on_fatal: Box::new(|_| ()),
            checkpoint_every: 250_000,
            queue_length_max: QUEUE_LENGTH_MAX,
        }
    }
}

/// Why an engine did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The state could not be rebuilt.
    #[error("the state could not be rebuilt from the journal: {0}")]
    Recovery(#[from] Failure),
    /// A thread could not be started.
    #[error("a thread could not be started: {0}")]
    Thread(#[from] std::io::Error),
}

/// What an engine is doing, for health checks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// It takes commands.
    pub ready: bool,
    /// Why it stopped for good.
    pub failed: Option<String>,
    /// The last batch was refused for lack of space.
    pub storage_full: bool,
    /// Commands that wait for the writer.
    pub queued: usize,
}

/// Counters since the start, for metrics.
#[derive(Default)]
pub struct Counters {
    /// Records made durable.
    pub records: AtomicU64,
    /// Of those, rejected by the ledger.
    pub rejected: AtomicU64,
    /// Commands answered from an earlier record.
    pub replayed: AtomicU64,
    /// Commands whose key belonged to another command.
    pub conflicts: AtomicU64,
    /// Batches synced.
    pub batches: AtomicU64,
    /// Nanoseconds that these took, from being handed to the store until they were durable.
    pub batch_nanos: AtomicU64,
    /// Requests refused because too many waited.
    pub overloaded: AtomicU64,
    /// Payments that the queue did not take.
    pub not_queued: AtomicU64,
    /// Checkpoints written.
    pub checkpoints: AtomicU64,
}

/// What the handle, the writer and the publisher share.
pub(crate) struct Shared {
    pub(crate) view: Arc<View>,
    pub(crate) reader: Reader,
    pub(crate) counters: Counters,
    /// Commands that wait for the writer.
    queued: AtomicUsize,
    /// Bytes of records that they may take.
    queued_bytes: AtomicUsize,
    pub(crate) stopping: AtomicBool,
    pub(crate) storage_full: AtomicBool,
    pub(crate) failed: Mutex<Option<String>>,
    pub(crate) options: Options,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) ports: Ports,
}

impl Shared {
    /// What an engine over `backend` shares, whose state at the head is `set`.
    pub(crate) fn new(
        backend: &dyn Backend,
        set: WorkingSet,
        options: Options,
        clock: Arc<dyn Clock>,
    ) -> Shared {
        let journal = backend.reader();
        let view = Arc::new(View::new(set, journal.head().position));
        let reader = Reader::new(journal, view.clone());
        Shared {
            ports: Ports::default(),
            reader,
            view,
            counters: Counters::default(),
            queued: AtomicUsize::new(0),
            queued_bytes: AtomicUsize::new(0),
            stopping: AtomicBool::new(false),
            storage_full: AtomicBool::new(false),
            failed: Mutex::new(None),
            options,
            clock,
        }
    }

    /// Notes that a request waits for the writer; false if it was too much beside what waits already.
    pub(crate) fn queue(&self, request: &Request) -> bool {
        let commands = self.queued.fetch_add(request.len(), Ordering::AcqRel);
        let bytes = self
            .queued_bytes
            .fetch_add(request.bytes_max(), Ordering::AcqRel);
        commands == 0
            || (commands + request.len() <= COMMANDS_QUEUED_MAX
                && bytes + request.bytes_max() <= RECORD_BYTES_QUEUED_MAX)
    }

    /// Notes that a request waits no longer.
    pub(crate) fn unqueue(&self, request: &Request) {
        self.queued.fetch_sub(request.len(), Ordering::AcqRel);
        self.queued_bytes
            .fetch_sub(request.bytes_max(), Ordering::AcqRel);
    }

    /// Why the engine stopped for good, if it did.
    pub(crate) fn why_failed(&self) -> Option<String> {
        self.failed
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .clone()
    }

    /// Stops the engine for good.
    pub(crate) fn fail(&self, why: &str) {
        let mut failed = self
            .failed
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if failed.is_some() {
            return;
        }
        tracing::error!(
            why,
            "the engine stops: what is durable can no longer be known"
        );
        *failed = Some(why.to_owned());
        drop(failed);
        (self.options.on_fatal)(why);
    }

    /// What the callers of a durable batch are told, with records. Earlier ones are read back.
    pub(crate) fn replies(&self, resolved: Resolved) -> Result<Vec<Reply>, Refused> {
        let batch = &resolved.batch;
        let reply = |verdict: &Verdict| {
            Ok(match *verdict {
                Verdict::Decided(index, _) => Reply::Done {
                    record: Answer(Arc::new(batch.record(index))),
                    replayed: false,
                },
                Verdict::Replayed(position) => Reply::Done {
                    record: Answer(Arc::new(self.earlier(position)?)),
                    replayed: true,
                },
                Verdict::KeyConflict(position) => Reply::KeyConflict { position },
                Verdict::GroupConflict => Reply::GroupKeyConflict,
                Verdict::NotQueued(why, _) => Reply::NotQueued(why),
            })
        };
        self.count(&resolved.verdicts);
        resolved.verdicts.iter().map(reply).collect()
    }

    /// What the callers of a durable batch are told, without records. Earlier ones are read back for their rejection.
    fn receipts(&self, resolved: Resolved) -> Result<Vec<Receipt>, Refused> {
        let first = resolved.batch.first_position();
        let receipt = |verdict: &Verdict| {
            Ok(match *verdict {
                Verdict::Decided(index, rejection) => Receipt::Done {
                    position: first + index as u64,
                    rejection,
                    replayed: false,
                },
                Verdict::Replayed(position) => Receipt::Done {
                    position,
                    rejection: self.earlier(position)?.outcome.rejection,
                    replayed: true,
                },
                Verdict::KeyConflict(position) => Receipt::KeyConflict { position },
                Verdict::GroupConflict => Receipt::GroupKeyConflict,
                Verdict::NotQueued(why, _) => Receipt::NotQueued(why),
            })
        };
        self.count(&resolved.verdicts);
        resolved.verdicts.iter().map(receipt).collect()
    }

    fn earlier(&self, position: u64) -> Result<Record, Failure> {
        let record = self.reader.record(position)?;
        record.ok_or_else(|| Failure::RecordDamaged {
            position,
            what: "it is missing".into(),
        })
    }

    fn count(&self, verdicts: &[Verdict]) {
        let (mut replayed, mut conflicts, mut not_queued) = (0, 0, 0);
        for verdict in verdicts {
            match verdict {
                Verdict::Decided(..) => {}
                Verdict::Replayed(_) => replayed += 1,
                Verdict::KeyConflict(_) | Verdict::GroupConflict => conflicts += 1,
                Verdict::NotQueued(_, payment) => not_queued += u64::from(*payment),
            }
        }
        if replayed > 0 {
            self.counters
                .replayed
                .fetch_add(replayed, Ordering::Relaxed);
        }
        if conflicts > 0 {
            self.counters
                .conflicts
                .fetch_add(conflicts, Ordering::Relaxed);
        }
        if not_queued > 0 {
            self.counters
                .not_queued
                .fetch_add(not_queued, Ordering::Relaxed);
            self.view.not_queued(self.clock.now(), not_queued);
        }
    }
}

/// An engine whose state is rebuilt and that takes no commands yet: nothing is committed before [`RecoveredEngine::start`].
pub struct RecoveredEngine {
    backend: Box<dyn Backend>,
    replayed: u64,
    shared: Shared,
}

impl RecoveredEngine {
    /// The read side, at the head from which the engine will go on.
    pub fn reader(&self) -> Reader {
        self.shared.reader.clone()
    }

    /// The engine's clock.
    pub fn clock(&self) -> Arc<dyn Clock> {
        self.shared.clock.clone()
    }

    /// Starts taking commands.
    ///
    /// # Errors
    /// If a thread can't be started.
    pub fn start(mut self, ports: Ports) -> Result<Engine, StartError> {
        self.shared.ports = ports;
        let shared = Arc::new(self.shared);
        let (inbox, messages) = mpsc::channel();
        let threads = writer::spawn(
            self.backend,
            self.replayed,
            shared.clone(),
            inbox.clone(),
            messages,
        )?;
        Ok(Engine(Arc::new(Running {
            shared,
            inbox,
            threads: Mutex::new(threads),
        })))
    }
}

/// A handle to a running engine. Cheap to clone; the last one to go shuts it down.
#[derive(Clone)]
pub struct Engine(Arc<Running>);

struct Running {
    shared: Arc<Shared>,
    inbox: mpsc::Sender<writer::Message>,
    threads: Mutex<Vec<std::thread::JoinHandle<()>>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shutdown();
    }
}

impl Engine {
    /// Rebuilds the state from the backend's journal.
    ///
    /// # Errors
    /// If the state can't be rebuilt.
    pub fn recover(
        mut backend: Box<dyn Backend>,
        clock: Arc<dyn Clock>,
        options: Options,
    ) -> Result<RecoveredEngine, StartError> {
        let Recovered { set, replayed } = backend.recover()?;
        let shared = Shared::new(&*backend, set, options, clock);
        Ok(RecoveredEngine {
            backend,
            replayed,
            shared,
        })
    }

    /// Rebuilds the state from the backend's journal and starts taking commands, with the default [`Ports`].
    ///
    /// # Errors
    /// If the state can't be rebuilt, or a thread can't be started.
    pub fn start(
        backend: Box<dyn Backend>,
        clock: Arc<dyn Clock>,
        options: Options,
    ) -> Result<Engine, StartError> {
        Engine::recover(backend, clock, options)?.start(Ports::default())
    }

    /// Decides the commands in order and answers when every one is durable. Commands of one call are decided next to each
    /// other; runs of `linked` ones all or nothing.
    pub async fn execute(&self, commands: Vec<Command>) -> Result<Vec<Reply>, Refused> {
        let answer = self.send(commands)?;
        let resolved = answer.await.map_err(|_| Refused::Stopping)?;
        self.0.shared.replies(resolved?)
    }

    /// [`Engine::execute`] for callers who need no records.
    pub async fn submit(&self, commands: Vec<Command>) -> Result<Vec<Receipt>, Refused> {
        let answer = self.send(commands)?;
        let resolved = answer.await.map_err(|_| Refused::Stopping)?;
        self.0.shared.receipts(resolved?)
    }

    /// [`Engine::execute`] for threads that may block.
    pub fn execute_blocking(&self, commands: Vec<Command>) -> Result<Vec<Reply>, Refused> {
        let answer = self.send(commands)?;
        let resolved = answer.blocking_recv().map_err(|_| Refused::Stopping)?;
        self.0.shared.replies(resolved?)
    }

    fn send(
        &self,
        commands: Vec<Command>,
    ) -> Result<oneshot::Receiver<Result<Resolved, Failure>>, Refused> {
        let (sender, receiver) = oneshot::channel();
        let respond = Box::new(move |resolved| {
            // Whoever asked may have gone; the record stands all the same.
            let _gone = sender.send(resolved);
        });
        let request = self.admit(commands, respond)?;
        self.hand_over(vec![request]);
        Ok(receiver)
    }

    /// Makes a request and counts it among those that wait for the writer, if there is room for it.
    pub(crate) fn admit(
        &self,
        commands: Vec<Command>,
        respond: Respond,
    ) -> Result<Request, Refused> {
        let count = commands.len();
        if count == 0 || count > COMMANDS_PER_BATCH_MAX {
            return Err(Refused::TooLarge);
        }
        if self.0.shared.stopping.load(Ordering::Acquire) {
            return Err(Refused::Stopping);
        }
        let overloaded = || {
            let counters = &self.0.shared.counters;
            counters.overloaded.fetch_add(1, Ordering::Relaxed);
            Refused::Overloaded {
                retry_after: RETRY_AFTER,
            }
        };
        // Before any work is done for it.
        if self.0.shared.queued.load(Ordering::Acquire) >= COMMANDS_QUEUED_MAX {
            return Err(overloaded());
        }
        let request = Request::new(commands, respond);
        if request.bytes_max() > RECORD_BYTES_PER_REQUEST_MAX {
            return Err(Refused::TooLarge);
        }
        if !self.0.shared.queue(&request) {
            self.0.shared.unqueue(&request);
            return Err(overloaded());
        }
        Ok(request)
    }

    /// Hands admitted requests to the writer. If it has gone, so have they, and whoever waits for them learns that.
    pub(crate) fn hand_over(&self, requests: Vec<Request>) {
        let _gone = self.0.inbox.send(writer::Message::Requests(requests));
    }

    pub(crate) fn replies(&self, resolved: Resolved) -> Result<Vec<Reply>, Refused> {
        self.0.shared.replies(resolved)
    }

    /// The read side.
    pub fn reader(&self) -> Reader {
        self.0.shared.reader.clone()
    }

    /// Payments that may be queued, at most.
    pub fn queue_length_max(&self) -> usize {
        self.0.shared.options.queue_length_max
    }

    /// The time by the engine's clock, nanoseconds since the Unix epoch.
    pub fn now(&self) -> u64 {
        self.0.shared.clock.now()
    }

    /// What the engine is doing.
    pub fn status(&self) -> Status {
        let failed = self.0.shared.why_failed();
        let storage_full = self.0.shared.storage_full.load(Ordering::Acquire);
        let stopping = self.0.shared.stopping.load(Ordering::Acquire);
        Status {
            ready: failed.is_none() && !storage_full && !stopping,
            failed,
            storage_full,
            queued: self.0.shared.queued.load(Ordering::Acquire),
        }
    }

    /// Counters since the start.
    pub fn counters(&self) -> &Counters {
        &self.0.shared.counters
    }

    /// Takes no more commands, finishes those that were taken, and closes the backend. Idempotent; blocks until done.
    pub fn shutdown(&self) {
        self.0.shutdown();
    }
}

impl Running {
    fn shutdown(&self) {
        self.shared.stopping.store(true, Ordering::Release);
        let _gone = self.inbox.send(writer::Message::Stop);
        let threads = std::mem::take(
            &mut *self
                .threads
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner),
        );
        for thread in threads {
            let _panicked = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use tributary_ledger::{Actor, Body, Key, PaymentId, Residency, Text};

    use super::*;
    use crate::backend::JournalMeta;
    use crate::memory::Memory;

    #[test]
    fn few_commands_with_long_texts_are_too_much_as_well() {
        let memory = Memory::new(JournalMeta {
            cluster_id: [1; 16],
            id_key: [2; 16],
            epochs: vec![(1, 1)],
        });
        let set = WorkingSet::new(Residency::Accounts);
        let clock = Arc::new(tributary_journal::SystemClock);
        let shared = Shared::new(&memory, set, Options::default(), clock);
        let command = Command {
            key: Key::from_bytes(b"long").expect("a short key"),
            actor: Actor::SYSTEM,
            linked: false,
            effective_at: None,
            text: Text::new(Text::PLAIN, &[b'x'; 16_000]).ok(),
            body: Body::Void(PaymentId(1)),
        };
        let request = Request::new(vec![command; 1_000], Box::new(|_| ()));
        let taken = (0..).take_while(|_| shared.queue(&request)).count();
        assert_eq!(taken, RECORD_BYTES_QUEUED_MAX / request.bytes_max());
        // The one that was too much, and then all the others.
        for left in (0..=taken).rev() {
            shared.unqueue(&request);
            assert_eq!(shared.queued.load(Ordering::Acquire), left * request.len());
        }
        assert!(shared.queue(&request), "they wait no longer");
    }
}
