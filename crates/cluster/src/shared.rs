//! What the threads of a node share.

use std::collections::VecDeque;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tributary_engine::Batch;
use tributary_journal::{Versions, lock};

use crate::driver::Command;

/// How a node stands in its cluster.
#[derive(Clone, Debug, Default)]
pub struct Standing {
    /// Whether it leads: it decides.
    pub leads: bool,
    /// Id of the log.
    pub log_id: [u8; 16],
    /// Term of the present claim; 0 before the first.
    pub term: u64,
    /// Name and url of the node that claimed; none before the first claim.
    pub leader: Option<(String, String)>,
    /// Whether that node has yielded, so that nobody decides.
    pub has_yielded: bool,
    /// Position of the last record that is settled.
    pub position: u64,
    /// Versions in which records are decided and written; zeros before anything was read.
    pub versions: Versions,
    /// Number of entries that are folded.
    pub entries: u64,
    /// Those that this process folded and that did not count.
    pub entries_ignored: u64,
    /// How often the leader changed since the process began.
    pub leader_changes: u64,
    /// When the node knew last that it had the end of the log.
    pub confirmed: Option<Instant>,
    /// Entries of this process that the log acknowledged, and how long that took in all.
    pub appends: u64,
    /// See `appends`.
    pub append_time: Duration,
    /// Entries of this process whose result was unknown.
    pub appends_unknown: u64,
}

/// Hash of the frame that a batch became, once the frame counts; none if it never will. Set when that is known.
pub(crate) type FrameFate = Arc<OnceLock<Option<[u8; 32]>>>;

/// A batch that is to become a frame of the log.
pub(crate) struct Queued {
    pub(crate) batch: Arc<Batch>,
    pub(crate) fate: FrameFate,
}

/// What the engine wants the node's thread to append. Each batch follows the one before, and counts only if that one does.
#[derive(Default)]
pub(crate) struct Frames {
    pub(crate) waiting: VecDeque<Queued>,
    /// The batch that was taken by the node's thread, and the hash of its frame.
    pub(crate) taken: Option<(Queued, [u8; 32])>,
}

impl Frames {
    /// The frame that was taken counts.
    pub(crate) fn count(&mut self) {
        let (counted, hash) = self.taken.take().expect("a frame was taken");
        // Nobody else says what became of it.
        let _is_first = counted.fate.set(Some(hash));
    }

    /// Neither the frame that was taken counts, nor what was to follow.
    pub(crate) fn refuse(&mut self) {
        let taken = self.taken.take().map(|(taken, _)| taken);
        for refused in taken.into_iter().chain(self.waiting.drain(..)) {
            let _is_first = refused.fate.set(None);
        }
    }
}

/// What the engine wants the node's thread to append to the log beside the journal, one piece after another.
#[derive(Default)]
pub(crate) struct Slot {
    /// Waits to be taken by the node's thread.
    pub(crate) offered: Option<Vec<u8>>,
    /// Whether it counts, as soon as that is known.
    pub(crate) counts: Option<bool>,
}

impl Slot {
    /// The node leads no longer: what it did not take does not count.
    pub(crate) fn refuse(&mut self) {
        if self.offered.take().is_some() {
            self.counts = Some(false);
        }
    }
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) leads: bool,
    pub(crate) standing: Standing,
    /// From when and until when the node may work outwards.
    pub(crate) window: Option<(Instant, Instant)>,
    /// Head from which on this node decides.
    pub(crate) begins_at: u64,
    /// The next frames.
    pub(crate) frames: Frames,
    /// What comes next in the log beside the journal.
    pub(crate) beside: Slot,
    /// Whether the node's thread was started.
    pub(crate) is_started: bool,
    /// Why the node has stopped.
    pub(crate) stopped: Option<String>,
    /// Whether the log ended, and this node goes on alone.
    pub(crate) has_left: bool,
    /// Frames of other nodes that the engine has not published.
    pub(crate) ahead: usize,
}

impl State {
    fn may_offer(&self) -> bool {
        self.leads && self.stopped.is_none()
    }

    pub(crate) fn stop(&mut self, why: &str) {
        self.leads = false;
        self.window = None;
        self.stopped.get_or_insert_with(|| why.to_owned());
    }
}

/// A part that the threads of a node share.
#[derive(Clone)]
pub(crate) struct Shared(Arc<(Mutex<State>, Condvar)>);

impl Shared {
    pub(crate) fn new() -> Shared {
        Shared(Arc::default())
    }

    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let changed = change(&mut lock(&self.0.0));
        self.0.1.notify_all();
        changed
    }

    pub(crate) fn look<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        look(&mut lock(&self.0.0))
    }

    /// Waits until `found` finds something.
    pub(crate) fn wait<T>(&self, mut found: impl FnMut(&mut State) -> Option<T>) -> T {
        let mut state = lock(&self.0.0);
        loop {
            if let Some(found) = found(&mut state) {
                return found;
            }
            state = self.0.1.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    pub(crate) fn is_started(&self) -> bool {
        self.look(|state| state.is_started)
    }

    /// Has a batch put into the log, behind those before.
    pub(crate) fn queue(&self, commands: &Sender<Command>, batch: Arc<Batch>) -> FrameFate {
        let fate = FrameFate::default();
        let queued = Queued {
            batch,
            fate: fate.clone(),
        };
        self.look(|state| match state.may_offer() {
            true => state.frames.waiting.push_back(queued),
            // What was taken before may count all the same.
            false => drop(queued.fate.set(None)),
        });
        let _gone = commands.send(Command::Wake);
        fate
    }

    /// Waits until it is known what became of a batch. The error says why that is not known here.
    pub(crate) fn wait_for(&self, fate: &FrameFate) -> Result<Option<[u8; 32]>, String> {
        self.wait(|state| match (fate.get(), &state.stopped) {
            (Some(hash), _) => Some(Ok(*hash)),
            (None, Some(why)) => Some(Err(why.clone())),
            (None, None) => None,
        })
    }

    /// Puts a piece into the log beside the journal. Whether it counts; the error says why that is not known here.
    pub(crate) fn write_beside(
        &self,
        commands: &Sender<Command>,
        piece: Vec<u8>,
    ) -> Result<bool, String> {
        let offered = self.change(|state| {
            let may_offer = state.may_offer();
            if may_offer {
                state.beside = Slot {
                    offered: Some(piece),
                    counts: None,
                };
            }
            may_offer
        });
        if !offered {
            return Ok(false);
        }
        let _gone = commands.send(Command::Wake);
        self.wait(|state| match (state.beside.counts, &state.stopped) {
            (Some(counts), _) => Some(Ok(counts)),
            (None, Some(why)) => Some(Err(why.clone())),
            (None, None) => None,
        })
    }
}
