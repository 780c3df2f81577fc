//! Moves a journal onto a log, and compares a journal with one.

use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use tributary_engine::JournalReader;
use tributary_journal::FrameRef;

use crate::driver::{self, Listener, Now};
use crate::entry::{Body, Entry, Genesis, Header, Mark};
use crate::fold::{Fold, Step};
use crate::log::{Appended, Log, LogError};
use crate::node::{Event, Identity, Node};

/// How long a log may take to acknowledge its first entry.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often the first entry is tried.
const ATTEMPTS_MAX: u32 = 10;
/// Bytes of one read.
const READ_BYTES_MAX: usize = 8 << 20;

/// Why a journal was not moved, or is not that of the log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MoveError {
    /// The log can't be used.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The log is not empty, and is not that of this journal.
    #[error("the log holds another journal already: its id is {}. Name an empty log", hex::encode(.0))]
    Taken([u8; 16]),
    /// Something else is in the log, or the journal can't be read.
    #[error("{0}")]
    Failed(String),
}

/// Returns the id of a log and the identity of its cluster; none if the log is empty.
///
/// # Errors
/// If the log can't be reached or used, or is not one of Tributary.
pub fn read_genesis(log: &mut dyn Log) -> Result<Option<([u8; 16], Genesis)>, MoveError> {
    log.session()?;
    log.check_settings()?;
    let mut entries = Vec::new();
    log.read(0, 1, Duration::ZERO, &mut entries)?;
    let Some(first) = entries.first() else {
        return Ok(None);
    };
    let entry = Entry::parse(first).map_err(|bad| {
        MoveError::Failed(format!("the first entry of the log can't be read: {bad}"))
    })?;
    match entry.body {
        Body::Genesis(genesis) => Ok(Some((entry.header.log_id, genesis))),
        _ => Err(MoveError::Failed(
            "the log does not begin as a log of Tributary does".to_owned(),
        )),
    }
}

/// What is moved onto a log.
pub struct Source<'a> {
    /// Id of the log, random.
    pub log_id: [u8; 16],
    /// Identity of the cluster.
    pub genesis: Genesis,
    /// The journal.
    pub reader: Arc<dyn JournalReader>,
    /// What there is of the log beside the journal: [`crate::beside::read_pieces`].
    pub beside: Vec<Vec<u8>>,
    /// Called with the position that the log has reached.
    pub progress: &'a mut dyn FnMut(u64),
}

/// Moves a journal onto a log, which is empty or has a part of the same journal already. Every frame is read back and compared.
///
/// # Errors
/// If the log can't be used, or is another one. What is in the log then is a part of the journal, and moving it can be tried again.
pub fn move_journal(
    log: &mut dyn Log,
    identity: Identity,
    source: Source<'_>,
) -> Result<(), MoveError> {
    let Source {
        log_id,
        genesis,
        reader,
        beside,
        progress,
    } = source;
    begin(log, log_id, &genesis)?;
    let goal = reader.head();
    let identity = Identity {
        is_moving: true,
        ..identity
    };
    let mut mover = Mover {
        reader,
        goal: goal.position,
        position: 0,
        offered: 0,
        beside,
        beside_next: 0,
        leads: false,
        failed: None,
        progress,
    };
    let (_commands, inbox) = mpsc::channel();
    let node = Node::new(identity, Fold::default(), Duration::ZERO);
    let node = driver::run(node, log, &inbox, &mut mover);
    match mover.failed {
        Some(failed) => Err(failed),
        None if node.fold().head().hash == goal.hash => Ok(()),
        None => Err(MoveError::Failed(
            "another node leads the log, and has other records than this journal".to_owned(),
        )),
    }
}

/// Appends the first entry, if there is none.
fn begin(log: &mut dyn Log, log_id: [u8; 16], genesis: &Genesis) -> Result<(), MoveError> {
    let header = Header {
        log_id,
        term: 0,
        nonce: 0,
        settled: Mark::default(),
    };
    let entry = Entry::encode(&header, &Body::Genesis(genesis.clone()));
    for _ in 0..ATTEMPTS_MAX {
        match read_genesis(log) {
            Ok(Some((found, _))) if found == log_id => return Ok(()),
            Ok(Some((found, _))) => return Err(MoveError::Taken(found)),
            Ok(None) => {}
            Err(MoveError::Log(LogError::Disconnected(_))) => {
                std::thread::sleep(Duration::from_millis(300));
                continue;
            }
            Err(error) => return Err(error),
        }
        // Whether it is there is seen by reading it.
        let _at_or_not = log.append(0, &entry, PATIENCE);
    }
    let why = "the first entry could not be appended: the log takes too long, or can't be reached";
    Err(MoveError::Log(LogError::Disconnected(why.to_owned())))
}

/// Gives the node the frames of a journal, one after another.
struct Mover<'a> {
    reader: Arc<dyn JournalReader>,
    /// Position of the journal's last record.
    goal: u64,
    /// Last position that the log has.
    position: u64,
    /// Last position of the frame on its way.
    offered: u64,
    beside: Vec<Vec<u8>>,
    /// Number of pieces beside the journal that the log has.
    beside_next: usize,
    leads: bool,
    failed: Option<MoveError>,
    progress: &'a mut dyn FnMut(u64),
}

impl Mover<'_> {
    fn fail(&mut self, why: impl Into<String>) {
        self.failed.get_or_insert(MoveError::Failed(why.into()));
    }

    fn frame(&mut self, position: u64) -> Option<Vec<u8>> {
        match self.reader.frame(position) {
            Ok(frame) => frame,
            Err(error) => {
                self.fail(format!("the journal can't be read: {error}"));
                None
            }
        }
    }

    /// Compares a frame of the log with that of the journal.
    fn compare(&mut self, bytes: &[u8]) {
        let frame = FrameRef::parse(bytes).expect("a frame that counts is whole");
        let first = frame.header().first_position;
        match self.frame(first) {
            Some(ours) if ours == bytes => {
                self.position = frame.head().position;
                (self.progress)(self.position);
            }
            _ => self.fail(format!(
                "at position {first} the log has another frame than this journal"
            )),
        }
    }
}

impl Listener for Mover<'_> {
    fn next_frame(&mut self, _node: &Node) -> Option<(Vec<u8>, [u8; 32])> {
        if self.offered > self.position || self.position >= self.goal {
            return None;
        }
        let frame = self.frame(self.position + 1)?;
        let header = FrameRef::parse(&frame).ok().map(|frame| {
            self.offered = frame.head().position;
            frame.header().hash
        });
        let hash = header.or_else(|| {
            self.fail("a frame of the journal can't be read");
            None
        })?;
        Some((frame, hash))
    }

    fn next_beside(&mut self) -> Option<Vec<u8>> {
        let is_next = self.position >= self.goal;
        let piece = self.beside.get(self.beside_next).filter(|_| is_next);
        piece.cloned()
    }

    fn handle(&mut self, _node: &Node, event: Event) {
        match event {
            Event::Frame { bytes, .. } => self.compare(&bytes),
            Event::FrameRefused => self.offered = 0,
            Event::Leads => self.leads = true,
            Event::Follows => self.leads = false,
            Event::Stopped(why) => self.fail(why.to_string()),
            Event::Closed { .. } => self.fail("the log has ended"),
            Event::Beside { is_own: true, .. } => self.beside_next += 1,
            // A snapshot is begun anew.
            Event::BesideRefused => self.beside_next = 0,
            Event::Beside { .. } | Event::Barrier | Event::EndSession => {}
        }
    }

    fn count_append(&mut self, _appended: Appended, _took: Duration) {}

    fn observe(&mut self, _node: &Node, _now: Now) {}

    fn has_stopped(&self) -> bool {
        let is_done = self.position >= self.goal && self.beside_next >= self.beside.len();
        self.failed.is_some() || is_done && self.leads
    }

    fn report_failure(&mut self, error: &LogError) {
        match error {
            LogError::Unfit(_) => {
                self.failed.get_or_insert(MoveError::Log(error.clone()));
            }
            LogError::Disconnected(why) => {
                tracing::warn!(why, "the log can't be reached now, and is tried again");
            }
        }
    }
}

/// What [`compare`] found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compared {
    /// Number of entries of the log.
    pub entries: u64,
    /// Those that do not count.
    pub entries_ignored: u64,
    /// Position of the last record of the log.
    pub position: u64,
    /// Position of the last record of the journal.
    pub mirrored: u64,
    /// Present term.
    pub term: u64,
}

/// Reads a log from its first entry to its end, and compares every frame that counts with a journal, as far as that goes.
///
/// # Errors
/// If the log can't be read, or is not that of the journal.
pub fn compare(
    log: &mut dyn Log,
    reader: &dyn JournalReader,
    progress: &mut dyn FnMut(u64),
) -> Result<Compared, MoveError> {
    log.session()?;
    log.check_settings()?;
    let mirrored = reader.head().position;
    let mut compared = Compared {
        mirrored,
        ..Compared::default()
    };
    let mut fold = Fold::default();
    loop {
        let mut entries = Vec::new();
        log.read(
            fold.mark().entries,
            READ_BYTES_MAX,
            Duration::ZERO,
            &mut entries,
        )?;
        if entries.is_empty() {
            break;
        }
        for entry in &entries {
            let step = fold.step(entry);
            match step.map_err(|stop| MoveError::Failed(stop.to_string()))? {
                Step::Frame(frame) => {
                    let first = frame.header().first_position;
                    let ours = match first <= mirrored {
                        true => reader.frame(first),
                        false => Ok(None),
                    };
                    let ours = ours.map_err(|error| MoveError::Failed(error.to_string()))?;
                    if first <= mirrored && ours.as_deref() != Some(frame.bytes()) {
                        return Err(MoveError::Failed(format!(
                            "at position {first} the log has another frame than the journal"
                        )));
                    }
                }
                Step::Ignored(_) => compared.entries_ignored += 1,
                _ => {}
            }
        }
        progress(fold.head().position);
    }
    compared.entries = fold.mark().entries;
    compared.position = fold.head().position;
    compared.term = fold.term();
    match compared.position < mirrored {
        true => Err(MoveError::Failed(format!(
            "the log has {} records and the journal {mirrored}: the log lost what it had acknowledged, or the journal was not moved onto \
             it to the end",
            compared.position
        ))),
        false => Ok(compared),
    }
}
