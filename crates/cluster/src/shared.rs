//! What the threads of a node share.

use std::sync::mpsc::Sender;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

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

/// What a thread wants the node's thread to append, one after another.
pub(crate) struct Slot<T> {
    /// Waits to be taken by the node's thread.
    pub(crate) offered: Option<T>,
    /// Whether it counts, as soon as that is known.
    pub(crate) counts: Option<bool>,
}

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Slot {
            offered: None,
            counts: None,
        }
    }
}

impl<T> Slot<T> {
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
    /// The next frame, and its hash.
    pub(crate) frame: Slot<(Vec<u8>, [u8; 32])>,
    /// What comes next in the log beside the journal.
    pub(crate) beside: Slot<Vec<u8>>,
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

    /// Puts something into the log, by its slot. Whether it counts; the error says why that is not known here.
    pub(crate) fn write<T>(
        &self,
        commands: &Sender<Command>,
        slot: fn(&mut State) -> &mut Slot<T>,
        what: T,
    ) -> Result<bool, String> {
        let offered = self.change(|state| {
            let may_offer = state.leads && state.stopped.is_none();
            if may_offer {
                *slot(state) = Slot {
                    offered: Some(what),
                    counts: None,
                };
            }
            may_offer
        });
        if !offered {
            return Ok(false);
        }
        let _gone = commands.send(Command::Wake);
        self.wait(|state| match (slot(state).counts, &state.stopped) {
            (Some(counts), _) => Some(Ok(counts)),
            (None, Some(why)) => Some(Err(why.clone())),
            (None, None) => None,
        })
    }
}
