//! The store of a node of a cluster: the embedded one, whose journal mirrors the shared log.
//!
//! While the node leads, a batch becomes a frame of the log, and only when it counts is it written to the mirror and answered. The next
//! batch is appended to the log as soon as the one before counts there: the mirror, which may still be writing the one before, is behind
//! the log, never ahead. While another node leads, the engine is given the frames that count, and takes no commands.

use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tributary_engine::{
    Backend, Batch, Embedded, Failure, Fate, FileLog, Head, JournalReader, KeyQueries, KeyUse,
    Permit, Recovered, Ticket, Versions,
};
use tributary_journal::{Disk, FrameRef, lock};
use tributary_ledger::{Lookups, WorkingSet};

use crate::beside::{ClusterLog, Keeper, Task};
use crate::driver::{self, Command, Confirmed, Listener, Now};
use crate::fold::Fold;
use crate::log::{Appended, Log, LogError};
use crate::node::{Event, Node};
use crate::shared::{FrameFate, Shared, Standing};

/// Maximum number of frames of other nodes that are on their way through the engine.
const FRAMES_AHEAD_MAX: usize = 8;
/// Batches in flight: one that is written to the mirror, one that the log is to acknowledge, and one that waits for that.
const BATCHES_IN_FLIGHT: usize = 3;
/// A leader that has appended nothing for so long takes no more commands: whoever sends one learns at once that it was not made.
const LOG_AWAY_AFTER: Duration = Duration::from_secs(5);
/// How often the place is kept where the node goes on at its next start.
const RESUME_EVERY: Duration = Duration::from_secs(5);

/// A handle to a node: what it is asked to do, and what it is.
pub struct Member {
    shared: Shared,
    commands: Sender<Command>,
    thread: Mutex<Option<JoinHandle<Node>>>,
}

/// The store of a node.
pub struct Mirrored {
    embedded: Embedded,
    shared: Shared,
    commands: Sender<Command>,
}

/// A node that does not run yet.
pub struct Prepared {
    shared: Shared,
    commands: Sender<Command>,
    inbox: Receiver<Command>,
    mirror: Arc<dyn JournalReader>,
    disk: Arc<dyn Disk>,
    kept: Arc<Mutex<FileLog>>,
    tasks: (Sender<Task>, Receiver<Task>),
}

/// What a node calls.
pub struct Calls {
    /// Gives a frame that another node decided to the engine, and is told whether the engine has published it.
    pub follow: Box<dyn FnMut(Vec<u8>, Followed) + Send>,
    /// The node leads from now on, with a journal that ends at this position; nothing is decided before this returns. It must take much
    /// less than [`crate::node::CANDIDATE_AFTER`].
    pub lead: Box<dyn FnMut(u64) + Send>,
}

/// Told whether a frame is published.
pub type Followed = Box<dyn FnOnce(bool) + Send>;

/// Makes the store of a node over its mirror, for an engine, and what starts the node beside the engine. `beside` is where the node keeps
/// the log beside the journal.
///
/// # Panics
/// If the mirror has no disk.
#[must_use]
pub fn prepare(mirror: Embedded, beside: FileLog) -> (Mirrored, Prepared) {
    let shared = Shared::new();
    let (commands, inbox) = mpsc::channel();
    let reader = Backend::reader(&mirror);
    let disk = mirror.disk().expect("a mirror is on a disk");
    let store = Mirrored {
        embedded: mirror,
        shared: shared.clone(),
        commands: commands.clone(),
    };
    let prepared = Prepared {
        shared,
        commands,
        inbox,
        mirror: reader,
        disk,
        kept: Arc::new(Mutex::new(beside)),
        tasks: mpsc::channel(),
    };
    (store, prepared)
}

impl Prepared {
    /// Returns the permit for outward work of this node.
    #[must_use]
    pub fn permit(&self) -> Arc<dyn Permit> {
        Arc::new(MayWorkOutward(self.shared.clone()))
    }

    /// Returns the log beside the journal, as this node reads and writes it.
    #[must_use]
    pub fn beside(&self) -> ClusterLog {
        let (shared, commands) = (self.shared.clone(), self.commands.clone());
        ClusterLog::new(self.kept.clone(), shared, commands, self.tasks.0.clone())
    }

    /// Starts the node, whose fold is at most as far as the mirror: frames that the mirror has are compared with it.
    ///
    /// # Errors
    /// If a thread can't be started.
    pub fn start(self, node: Node, mut log: Box<dyn Log>, calls: Calls) -> std::io::Result<Member> {
        let Prepared {
            shared,
            commands,
            inbox,
            mirror,
            disk,
            kept,
            tasks,
        } = self;
        let keeper = Keeper::start(kept, disk, mirror.clone(), tasks)?;
        shared.change(|state| state.is_started = true);
        let mut listener = Follower {
            shared: shared.clone(),
            mirrored: mirror.head(),
            taken: mirror.head(),
            mirror,
            calls,
            keeper,
            resume_at: Instant::now() + RESUME_EVERY,
            last_failure: None,
        };
        let thread = std::thread::Builder::new()
            .name("cluster".into())
            .spawn(move || {
                let node = driver::run(node, &mut *log, &inbox, &mut listener);
                listener.shared.change(|state| {
                    state.stop("the node has stopped");
                });
                listener.keep_place(node.fold());
                node
            })?;
        Ok(Member {
            shared,
            commands,
            thread: Mutex::new(Some(thread)),
        })
    }
}

impl Member {
    /// Whether the node leads.
    #[must_use]
    pub fn leads(&self) -> bool {
        self.shared.look(|state| state.leads)
    }

    /// Returns how the node stands.
    #[must_use]
    pub fn standing(&self) -> Standing {
        self.shared.look(|state| Standing {
            leads: state.leads,
            ..state.standing.clone()
        })
    }

    /// Returns when the node knew last that it had the end of the log.
    #[must_use]
    pub fn confirmed(&self) -> Option<Instant> {
        self.shared.look(|state| state.standing.confirmed)
    }

    /// Returns why the node has stopped, if it has.
    #[must_use]
    pub fn why_stopped(&self) -> Option<String> {
        self.shared.look(|state| state.stopped.clone())
    }

    /// Whether the log has ended and this node, by its own request, goes on alone, with everything published that the log had.
    #[must_use]
    pub fn has_left(&self) -> bool {
        self.shared.look(|state| state.has_left && state.ahead == 0)
    }

    /// Whether the log has ended and this node is the one that goes on: see [`Member::has_left`].
    #[must_use]
    pub fn is_leaving(&self) -> bool {
        self.shared.look(|state| state.has_left)
    }

    /// Makes sure that the node has read everything that was settled before the call, and calls `confirmed` then.
    pub fn confirm(&self, confirmed: Confirmed) {
        let _gone = self.commands.send(Command::Confirm(confirmed));
    }

    /// Ends the log, so that this node goes on alone. `nonce` is random.
    pub fn leave(&self, nonce: u64) {
        let _gone = self.commands.send(Command::Leave(nonce));
    }

    /// Hands the leadership over, to the node of this name or to any if it is empty. Nothing happens if the node does not lead.
    pub fn hand_over(&self, name: &str) {
        let _gone = self.commands.send(Command::Yield(name.to_owned()));
    }

    /// Has records decided and written in the newest versions that this node knows, from which on no older node can go on. Nothing happens
    /// if the node does not lead.
    pub fn finalize_upgrade(&self) {
        let _gone = self.commands.send(Command::Upgrade);
    }

    /// Yields if the node leads, and ends its thread. Idempotent; blocks until done.
    pub fn stop(&self) {
        let thread = lock(&self.thread).take();
        if let Some(thread) = thread {
            let _gone = self.commands.send(Command::Stop);
            let _panicked = thread.join();
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.stop();
    }
}

struct MayWorkOutward(Shared);

impl Permit for MayWorkOutward {
    fn is_granted(&self) -> bool {
        let window = self.0.look(|state| state.window);
        let now = Instant::now();
        window.is_some_and(|(from, until)| from <= now && now < until)
    }
}

/// What happens to a node, on the node's thread.
struct Follower {
    shared: Shared,
    mirror: Arc<dyn JournalReader>,
    calls: Calls,
    keeper: Keeper,
    /// When the place in the log is kept next.
    resume_at: Instant,
    /// Head of the mirror when the node began.
    mirrored: Head,
    /// Head after the frame of this node that was taken last.
    taken: Head,
    /// Last failure of the log, so that it is not reported again and again.
    last_failure: Option<LogError>,
}

impl Follower {
    /// Compares a frame that the mirror had when the node began.
    fn compare(&self, position: u64, frame: &[u8]) {
        let why = match self.mirror.frame(position) {
            Ok(Some(mirrored)) if mirrored == frame => return,
            Ok(_) => format!(
                "the mirror has another frame at position {position} than the log: it is not of this log, or the log went back"
            ),
            Err(error) => format!("the mirror can't be compared with the log: {error}"),
        };
        self.shared.change(|state| state.stop(&why));
    }

    /// Seals a batch on the head of the fold, as the mirror will. None if the batch does not follow that head.
    fn seal(&mut self, batch: &Batch, head: &Head) -> Option<(Vec<u8>, [u8; 32])> {
        // The mirror may not have the frame before yet.
        let heads = [self.taken, self.mirror.head()];
        let is_head = |known: &Head| (known.position, known.hash) == (head.position, head.hash);
        let head = heads.into_iter().find(is_head)?;
        let mut frame = batch.frame_mut();
        let follows =
            batch.first_position() == head.position + 1 && frame.timestamp() >= head.timestamp;
        follows.then(|| {
            let sealed = frame.seal(&head);
            self.taken = sealed.head();
            (sealed.bytes().to_vec(), sealed.header().hash)
        })
    }

    /// Gives the engine a frame that another node decided, as soon as not too many are on their way.
    fn follow(&mut self, frame: Vec<u8>) {
        let may_follow = self.shared.wait(|state| match &state.stopped {
            Some(_) => Some(false),
            None => (state.ahead < FRAMES_AHEAD_MAX).then_some(true),
        });
        if !may_follow {
            return;
        }
        self.shared.change(|state| state.ahead += 1);
        let frame_ahead = FrameAhead {
            shared: self.shared.clone(),
            is_published: false,
        };
        let followed = Box::new(move |is_published| frame_ahead.end(is_published));
        (self.calls.follow)(frame, followed);
    }

    /// Begins to decide, once everything is published that others decided.
    fn lead(&mut self, node: &Node) {
        let head = node.fold().head().position;
        let mirrored = self.mirrored.position;
        if head < mirrored {
            return self.shared.change(|state| {
                state.stop(&format!(
                    "the mirror has {mirrored} records, and the log only {head}: the log lost what it had acknowledged; nothing was \
                     changed"
                ));
            });
        }
        let is_published = self.shared.wait(|state| match &state.stopped {
            Some(_) => Some(false),
            None => (state.ahead == 0).then_some(true),
        });
        if !is_published {
            return;
        }
        (self.calls.lead)(head);
        tracing::info!(
            term = node.fold().term(),
            head,
            "this node leads the cluster"
        );
        self.shared.change(|state| {
            state.leads = true;
            state.begins_at = head;
            state.standing.versions = node.fold().versions();
        });
    }

    fn follow_another(&self, node: &Node) {
        let leader = node.fold().leader();
        let name = leader.map(|leader| leader.node.clone()).unwrap_or_default();
        tracing::info!(
            term = node.fold().term(),
            leader = name,
            "this node follows"
        );
        self.shared.change(|state| {
            state.leads = false;
            state.frames.refuse();
            state.beside.refuse();
        });
    }

    /// Has the place kept where the node goes on at its next start.
    fn keep_place(&self, fold: &Fold) {
        // A log that has ended is not gone on with.
        if fold.genesis().is_some() && fold.closed().is_none() {
            self.keeper.give(Task::Resume(Box::new(fold.clone())));
        }
    }
}

/// A frame on its way through the engine. An engine that ends drops it.
struct FrameAhead {
    shared: Shared,
    is_published: bool,
}

impl FrameAhead {
    fn end(mut self, is_published: bool) {
        self.is_published = is_published;
    }
}

impl Drop for FrameAhead {
    fn drop(&mut self) {
        let is_published = self.is_published;
        self.shared.change(|state| {
            state.ahead -= 1;
            if !is_published {
                state.stop("the engine has stopped");
            }
        });
    }
}

impl Listener for Follower {
    fn next_frame(&mut self, node: &Node) -> Option<(Vec<u8>, [u8; 32])> {
        let queued = self.shared.look(|state| state.frames.waiting.pop_front())?;
        let sealed = self.seal(&queued.batch, &node.fold().head());
        let hash = sealed.as_ref().map_or([0; 32], |(_, hash)| *hash);
        let is_refused = sealed.is_none();
        self.shared.change(|state| {
            state.frames.taken = Some((queued, hash));
            if is_refused {
                state.frames.refuse();
            }
        });
        sealed
    }

    fn next_beside(&mut self) -> Option<Vec<u8>> {
        self.shared.look(|state| state.beside.offered.take())
    }

    fn handle(&mut self, node: &Node, event: Event) {
        match event {
            Event::Frame { is_own: true, .. } => {
                self.shared.change(|state| state.frames.count());
            }
            Event::Frame { bytes, .. } => {
                let header = FrameRef::parse(&bytes).map(|frame| frame.header().first_position);
                let position = header.expect("a frame that counts is whole");
                match position <= self.mirrored.position {
                    true => self.compare(position, &bytes),
                    false => self.follow(bytes),
                }
            }
            Event::FrameRefused => self.shared.change(|state| state.frames.refuse()),
            Event::Beside { bytes, is_own } => {
                self.keeper.give(Task::Piece(bytes));
                if is_own {
                    self.shared.change(|state| state.beside.counts = Some(true));
                }
            }
            Event::BesideRefused => {
                self.shared
                    .change(|state| state.beside.counts = Some(false));
            }
            Event::Leads => self.lead(node),
            Event::Follows => self.follow_another(node),
            Event::Closed { is_own } => self.shared.change(|state| {
                state.has_left = is_own;
                state.stop("the log has ended");
            }),
            Event::Stopped(why) => self.shared.change(|state| state.stop(&why.to_string())),
            Event::Barrier | Event::EndSession => {}
        }
    }

    fn count_append(&mut self, appended: Appended, took: Duration) {
        self.shared.look(|state| match appended {
            Appended::At(_) => {
                state.standing.appends += 1;
                state.standing.append_time += took;
            }
            Appended::Unknown => state.standing.appends_unknown += 1,
            Appended::Lost => {}
        });
    }

    fn observe(&mut self, node: &Node, now: Now) {
        let fold = node.fold();
        self.shared.look(|state| {
            state.window = now.window;
            let standing = &mut state.standing;
            standing.confirmed = now.confirmed;
            if standing.entries == fold.mark().entries {
                return;
            }
            standing.entries = fold.mark().entries;
            standing.entries_ignored = node.ignored();
            standing.position = fold.head().position;
            standing.log_id = fold.log_id();
            standing.versions = fold.versions();
            if standing.term != fold.term() {
                let leader = fold
                    .leader()
                    .map(|leader| (leader.node.clone(), leader.url.clone()));
                let is_change = standing.term != 0
                    && leader.as_ref().map(|leader| &leader.0)
                        != standing.leader.as_ref().map(|leader| &leader.0);
                standing.leader_changes += u64::from(is_change);
                standing.leader = leader;
                standing.term = fold.term();
            }
            standing.has_yielded = fold.leader().is_some_and(|leader| leader.has_yielded);
        });
        if Instant::now() >= self.resume_at {
            self.resume_at = Instant::now() + RESUME_EVERY;
            self.keep_place(fold);
        }
    }

    fn has_stopped(&self) -> bool {
        self.shared.look(|state| state.stopped.is_some())
    }

    fn report_failure(&mut self, error: &LogError) {
        if self.last_failure.as_ref() != Some(error) {
            tracing::warn!(%error, "the log of the cluster can't be used now, and is tried again");
            self.last_failure = Some(error.clone());
        }
    }
}

impl Mirrored {
    /// Waits until it is known whether a batch counts, and writes it into the mirror if it does.
    fn finish(shared: &Shared, fate: &FrameFate, write: Ticket) -> Fate {
        match shared.wait_for(fate) {
            // The mirror follows the log: if it can't be written, the process must stop.
            Ok(Some(hash)) => match write.wait() {
                Fate::Durable(head) if head.hash != hash => {
                    Fate::Fatal("the mirror has another frame than the log".to_owned())
                }
                Fate::Refused(failure) => {
                    Fate::Fatal(format!("the mirror can't be written: {failure}"))
                }
                fate => fate,
            },
            Ok(None) => Fate::Refused(Failure::Unavailable(
                "this node does not lead the cluster now".to_owned(),
            )),
            Err(why) => Fate::Fatal(format!(
                "{why}, and whether the last commands count is not known here"
            )),
        }
    }
}

impl Backend for Mirrored {
    fn recover(&mut self) -> Result<Recovered, Failure> {
        self.embedded.recover()
    }

    fn begin(&mut self) -> Result<Head, Failure> {
        let head = self.embedded.begin()?;
        let (may_decide, confirmed) = self.shared.look(|state| {
            let may_decide = state.leads && head.position >= state.begins_at;
            (may_decide, state.standing.confirmed)
        });
        let is_away = confirmed.is_some_and(|at| at.elapsed() > LOG_AWAY_AFTER);
        match (may_decide, is_away) {
            (true, false) => Ok(head),
            (true, true) => Err(Failure::Unavailable(
                "the log of the cluster can't be reached".to_owned(),
            )),
            (false, _) => Err(Failure::Unavailable(
                "this node does not lead the cluster".to_owned(),
            )),
        }
    }

    fn versions(&self) -> Versions {
        self.shared.look(|state| state.standing.versions)
    }

    fn load(&mut self, lookups: &Lookups, set: &mut WorkingSet) -> Result<(), Failure> {
        self.embedded.load(lookups, set)
    }

    fn find_keys(&mut self, keys: KeyQueries<'_>) -> Result<Vec<(usize, KeyUse)>, Failure> {
        self.embedded.find_keys(keys)
    }

    fn submit(&mut self, batch: &Arc<Batch>, set: &WorkingSet) -> Ticket {
        let write = self.embedded.submit(batch, set);
        let shared = self.shared.clone();
        let fate = shared.queue(&self.commands, batch.clone());
        // Tickets are waited for in order: those before it are in the mirror then.
        Ticket::pending(move || Mirrored::finish(&shared, &fate, write))
    }

    fn follow(&mut self, frame: Vec<u8>) -> Ticket {
        self.embedded.follow(frame)
    }

    fn abandon(&mut self) {
        self.embedded.abandon();
    }

    fn depth(&self) -> usize {
        BATCHES_IN_FLIGHT
    }

    fn idle(&mut self) -> bool {
        self.embedded.idle()
    }

    fn disk(&self) -> Option<Arc<dyn Disk>> {
        self.embedded.disk()
    }

    fn close(&mut self) {
        self.embedded.close();
    }

    fn reader(&self) -> Arc<dyn JournalReader> {
        Backend::reader(&self.embedded)
    }
}
