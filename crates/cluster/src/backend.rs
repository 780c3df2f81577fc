//! The store of a node of a cluster: the embedded one, whose journal mirrors the shared log.
//!
//! While the node leads, a batch becomes a frame of the log, and only when it counts is it written to the mirror and answered. While
//! another node leads, the engine is given the frames that count, and takes no commands.

use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use tributary_engine::{
    Backend, Batch, Embedded, Failure, Fate, Head, JournalReader, KeyQueries, KeyUse, Permit,
    Recovered, Ticket,
};
use tributary_journal::{Disk, FrameRef, lock};
use tributary_ledger::{Lookups, WorkingSet};

use crate::driver::{self, Command, Listener};
use crate::log::{Log, LogError};
use crate::node::{Event, Node};

/// Maximum number of frames of other nodes that are on their way through the engine.
const FRAMES_AHEAD_MAX: usize = 8;
/// Batches in flight: one that the log is to acknowledge, and one that is decided meanwhile.
const BATCHES_IN_FLIGHT: usize = 2;

/// What the threads of a node share.
#[derive(Default)]
struct State {
    leads: bool,
    /// From when and until when the node may work outwards.
    window: Option<(Instant, Instant)>,
    /// Head from which on this node decides.
    begins_at: u64,
    /// The frame that waits to be taken by the node's thread.
    offered: Option<(Vec<u8>, [u8; 32])>,
    /// Whether the frame that was offered counts, as soon as that is known.
    counts: Option<bool>,
    /// Why the node has stopped.
    stopped: Option<String>,
    /// Frames of other nodes that the engine has not published.
    ahead: usize,
}

/// A part that the threads of a node share.
#[derive(Clone)]
struct Shared(Arc<(Mutex<State>, Condvar)>);

impl Shared {
    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let changed = change(&mut lock(&self.0.0));
        self.0.1.notify_all();
        changed
    }

    /// Waits until `found` finds something.
    fn wait<T>(&self, mut found: impl FnMut(&mut State) -> Option<T>) -> T {
        let mut state = lock(&self.0.0);
        loop {
            if let Some(found) = found(&mut state) {
                return found;
            }
            state = self.0.1.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// A handle to a node: what it is asked to do, and what it is.
pub struct Member {
    shared: Shared,
    commands: Sender<Command>,
    thread: Option<JoinHandle<Node>>,
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
    inbox: mpsc::Receiver<Command>,
    mirror: Arc<dyn JournalReader>,
}

/// Told whether a frame is published.
pub type Followed = Box<dyn FnOnce(bool) + Send>;

/// Makes the store of a node over its mirror, for an engine, and what starts the node beside the engine.
#[must_use]
pub fn prepare(mirror: Embedded) -> (Mirrored, Prepared) {
    let shared = Shared(Arc::default());
    let (commands, inbox) = mpsc::channel();
    let reader = Backend::reader(&mirror);
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
    };
    (store, prepared)
}

impl Prepared {
    /// Returns the permit for outward work of this node.
    #[must_use]
    pub fn permit(&self) -> Arc<dyn Permit> {
        Arc::new(MayWorkOutward(self.shared.clone()))
    }

    /// Starts the node, whose fold is at most as far as the mirror: frames that the mirror has are compared with it. `follow` gives a
    /// frame that another node decided to the engine, and is told whether the engine has published it.
    ///
    /// # Errors
    /// If the thread can't be started.
    pub fn start(
        self,
        node: Node,
        mut log: Box<dyn Log>,
        follow: impl FnMut(Vec<u8>, Followed) + Send + 'static,
    ) -> std::io::Result<Member> {
        let Prepared {
            shared,
            commands,
            inbox,
            mirror,
        } = self;
        let mut listener = Follower {
            shared: shared.clone(),
            mirrored: mirror.head(),
            mirror,
            follow: Box::new(follow),
            last_failure: None,
        };
        let thread = std::thread::Builder::new()
            .name("cluster".into())
            .spawn(move || {
                let node = driver::run(node, &mut *log, &inbox, &mut listener);
                listener.shared.change(|state| {
                    state.stop("the node has stopped");
                });
                node
            })?;
        Ok(Member {
            shared,
            commands,
            thread: Some(thread),
        })
    }
}

impl State {
    fn stop(&mut self, why: &str) {
        self.leads = false;
        self.window = None;
        self.stopped.get_or_insert_with(|| why.to_owned());
    }
}

impl Member {
    /// Whether the node leads.
    #[must_use]
    pub fn leads(&self) -> bool {
        lock(&self.shared.0.0).leads
    }

    /// Returns why the node has stopped, if it has.
    #[must_use]
    pub fn why_stopped(&self) -> Option<String> {
        lock(&self.shared.0.0).stopped.clone()
    }

    /// Hands the leadership over, to the node of this name or to any if it is empty. Nothing happens if the node does not lead.
    pub fn hand_over(&self, name: &str) {
        let _gone = self.commands.send(Command::Yield(name.to_owned()));
    }

    /// Yields if the node leads, ends its thread, and returns the node as it was.
    ///
    /// # Panics
    /// If an assertion failed there.
    pub fn stop(mut self) -> Node {
        let thread = self.thread.take().expect("it is stopped once");
        let _gone = self.commands.send(Command::Stop);
        thread.join().expect("the node's thread does not panic")
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let _gone = self.commands.send(Command::Stop);
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}

struct MayWorkOutward(Shared);

impl Permit for MayWorkOutward {
    fn is_granted(&self) -> bool {
        let window = lock(&self.0.0.0).window;
        let now = Instant::now();
        window.is_some_and(|(from, until)| from <= now && now < until)
    }
}

/// What happens to a node, on the node's thread.
struct Follower {
    shared: Shared,
    mirror: Arc<dyn JournalReader>,
    follow: Box<dyn FnMut(Vec<u8>, Followed) + Send>,
    /// Head of the mirror when the node began.
    mirrored: Head,
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
        (self.follow)(frame, followed);
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
    fn next_frame(&mut self) -> Option<(Vec<u8>, [u8; 32])> {
        lock(&self.shared.0.0).offered.take()
    }

    fn handle(&mut self, node: &Node, event: Event) {
        match event {
            Event::Frame { is_own: true, .. } => {
                self.shared.change(|state| state.counts = Some(true));
            }
            Event::Frame { bytes, .. } => {
                let header = FrameRef::parse(&bytes).map(|frame| frame.header().first_position);
                let position = header.expect("a frame that counts is whole");
                match position <= self.mirrored.position {
                    true => self.compare(position, &bytes),
                    false => self.follow(bytes),
                }
            }
            Event::FrameRefused => self.shared.change(|state| state.counts = Some(false)),
            Event::Leads => self.shared.change(|state| {
                let head = node.fold().head().position;
                if head < self.mirrored.position {
                    let mirrored = self.mirrored.position;
                    return state.stop(&format!(
                        "the mirror has {mirrored} records, and the log only {head}: the log lost what it had acknowledged; nothing \
                         was changed"
                    ));
                }
                tracing::info!(term = node.fold().term(), head, "this node leads the cluster");
                state.leads = true;
                state.begins_at = head;
            }),
            Event::Follows => self.shared.change(|state| {
                state.leads = false;
                if state.offered.take().is_some() {
                    state.counts = Some(false);
                }
            }),
            Event::Closed { .. } => self.shared.change(|state| state.stop("the log has ended")),
            Event::Stopped(why) => self.shared.change(|state| state.stop(&why.to_string())),
            Event::Barrier | Event::EndSession => {}
        }
    }

    fn set_window(&mut self, window: Option<(Instant, Instant)>) {
        lock(&self.shared.0.0).window = window;
    }

    fn has_stopped(&self) -> bool {
        lock(&self.shared.0.0).stopped.is_some()
    }

    fn report_failure(&mut self, error: &LogError) {
        if self.last_failure.as_ref() != Some(error) {
            tracing::warn!(%error, "the log of the cluster can't be used now, and is tried again");
            self.last_failure = Some(error.clone());
        }
    }
}

impl Mirrored {
    /// Puts a batch into the log, and into the mirror when it counts.
    fn append(
        shared: &Shared,
        commands: &Sender<Command>,
        batch: &Batch,
        write: Ticket,
        head: Head,
    ) -> Fate {
        let refused = |why: &str| Fate::Refused(Failure::Unavailable(why.to_owned()));
        let frame = {
            let mut frame = batch.frame_mut();
            let sealed = frame.seal(&head);
            (sealed.bytes().to_vec(), sealed.header().hash)
        };
        let offered = shared.change(|state| {
            let may_offer = state.leads && state.stopped.is_none();
            if may_offer {
                state.counts = None;
                state.offered = Some(frame);
            }
            may_offer
        });
        if !offered {
            return refused("this node does not lead the cluster");
        }
        let _gone = commands.send(Command::Wake);
        let counts = shared.wait(|state| match (state.counts, &state.stopped) {
            (Some(counts), _) => Some(Ok(counts)),
            (None, Some(why)) => Some(Err(why.clone())),
            (None, None) => None,
        });
        match counts {
            // The mirror follows the log: if it can't be written, the process must stop.
            Ok(true) => match write.wait() {
                Fate::Refused(failure) => {
                    Fate::Fatal(format!("the mirror can't be written: {failure}"))
                }
                fate => fate,
            },
            Ok(false) => refused("another node leads the cluster now"),
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
        let state = lock(&self.shared.0.0);
        match state.leads && head.position >= state.begins_at {
            true => Ok(head),
            false => Err(Failure::Unavailable(
                "this node does not lead the cluster".to_owned(),
            )),
        }
    }

    fn load(&mut self, lookups: &Lookups, set: &mut WorkingSet) -> Result<(), Failure> {
        self.embedded.load(lookups, set)
    }

    fn find_keys(&mut self, keys: KeyQueries<'_>) -> Result<Vec<(usize, KeyUse)>, Failure> {
        self.embedded.find_keys(keys)
    }

    fn submit(&mut self, batch: &Arc<Batch>, set: &WorkingSet) -> Ticket {
        let write = self.embedded.submit(batch, set);
        let (shared, commands) = (self.shared.clone(), self.commands.clone());
        let (batch, reader) = (batch.clone(), self.embedded.reader());
        Ticket::pending(move || {
            // Those before it are in the mirror: tickets are waited for in order.
            let head = reader.head();
            Mirrored::append(&shared, &commands, &batch, write, head)
        })
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
