//! The running engine: a writer thread, a publisher thread, and the handle that everybody else holds.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, Weak, mpsc};

use tokio::sync::oneshot;
use tributary_journal::lock;
use tributary_ledger::{Command, OwnerId};

use crate::backend::{Backend, Recovered};
use crate::clock::{Clock, ClockStatus};
use crate::failure::Failure;
use crate::ports::Ports;
use crate::read::Reader;
use crate::reply::{BriefReply, RETRY_AFTER, Refused, Reply};
use crate::request::{
    COMMANDS_PER_BATCH_MAX, RECORD_BYTES_PER_REQUEST_MAX, Request, Resolved, Respond,
};
use crate::shared::{COMMANDS_QUEUED_MAX, Counters, Options, Shared};
use crate::writer;

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

/// Status of an engine, for health checks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Whether the engine takes commands.
    pub ready: bool,
    /// Why the engine stopped for good; none if it runs.
    pub failed: Option<String>,
    /// Whether the last batch was refused for lack of space.
    pub storage_full: bool,
    /// Number of commands that wait for the writer.
    pub queued: usize,
}

/// An engine whose state is rebuilt and that takes no commands yet: nothing is committed before [`RecoveredEngine::start`].
pub struct RecoveredEngine {
    backend: Box<dyn Backend>,
    replayed: u64,
    shared: Shared,
}

impl RecoveredEngine {
    /// Returns the read side, at the head from which the engine will continue.
    pub fn reader(&self) -> Reader {
        self.shared.reader.clone()
    }

    /// Returns the engine's clock.
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

/// A handle that does not keep the engine running: for those that the engine itself holds.
#[derive(Clone)]
pub struct WeakEngine(Weak<Running>);

impl WeakEngine {
    /// The engine, if it still runs.
    pub fn upgrade(&self) -> Option<Engine> {
        self.0.upgrade().map(Engine)
    }
}

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
    pub async fn submit(&self, commands: Vec<Command>) -> Result<Vec<BriefReply>, Refused> {
        let answer = self.send(commands)?;
        let resolved = answer.await.map_err(|_| Refused::Stopping)?;
        self.0.shared.brief_replies(resolved?)
    }

    /// [`Engine::execute`] for threads that may block.
    pub fn execute_blocking(&self, commands: Vec<Command>) -> Result<Vec<Reply>, Refused> {
        let answer = self.send(commands)?;
        let resolved = answer.blocking_recv().map_err(|_| Refused::Stopping)?;
        self.0.shared.replies(resolved?)
    }

    /// Has the commands decided without waiting for it: nobody learns what became of them.
    pub fn submit_unwatched(&self, commands: Vec<Command>) -> Result<(), Refused> {
        self.send(commands).map(drop)
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
        mut commands: Vec<Command>,
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
        self.0.shared.assess(&mut commands);
        let request = Request::new(commands, respond);
        if request.bytes_max() > RECORD_BYTES_PER_REQUEST_MAX {
            return Err(Refused::TooLarge);
        }
        if !request.groups_fit() {
            return Err(Refused::GroupTooLarge);
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

    /// Takes in a frame that another node decided, and calls `followed` with whether that is published: not if the engine stops. Frames
    /// follow each other without a gap; while this node leads, there is none. At most a few frames should be on their way: each is in
    /// memory.
    pub fn follow(&self, frame: Vec<u8>, followed: impl FnOnce(bool) + Send + 'static) {
        let respond: Respond = Box::new(move |resolved| followed(resolved.is_ok()));
        let _gone = self.0.inbox.send(writer::Message::Follow(frame, respond));
    }

    /// A handle that does not keep the engine running.
    pub fn downgrade(&self) -> WeakEngine {
        WeakEngine(Arc::downgrade(&self.0))
    }

    /// Returns the read side.
    pub fn reader(&self) -> Reader {
        self.0.shared.reader.clone()
    }

    /// Returns the maximum number of queued payments.
    pub fn queue_length_max(&self) -> usize {
        self.0.shared.options.queue_length_max
    }

    /// Returns ledger time, nanoseconds since the Unix epoch.
    pub fn now(&self) -> u64 {
        self.0.shared.clock.now()
    }

    /// Returns the clock.
    pub fn clock(&self) -> Arc<dyn Clock> {
        self.0.shared.clock.clone()
    }

    /// Returns the status of the clock.
    pub fn clock_status(&self) -> ClockStatus {
        self.0.shared.clock.status()
    }

    /// Follows a wall clock that is ahead at once: an operator says that it is right. What comes due by that is looked for.
    pub fn confirm_clock(&self) {
        self.0.shared.clock.confirm();
        let _gone = self.0.inbox.send(writer::Message::Runnable);
    }

    /// Returns the status.
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

    /// Whether there is room for so many more commands of the owner among those that wait.
    pub fn has_room(&self, owner: OwnerId, commands: usize) -> bool {
        self.0.shared.has_room(owner, commands)
    }

    /// Returns the counters since the start.
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
        let threads = std::mem::take(&mut *lock(&self.threads));
        for thread in threads {
            let _panicked = thread.join();
        }
    }
}
