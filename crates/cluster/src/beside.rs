//! The log beside the journal, on a cluster: the leader writes it into the shared log, and each node keeps it in its own directory, so
//! that whoever leads next goes on where the leader before was.
//!
//! It travels in entries of the shared log, as whole snapshots and what was appended to them, in pieces that fit. A piece:
//!
//! ```text
//!   0   1  1 for the first piece of a snapshot; + 2 for the last piece of what is written at once
//!   1  40  basis: position and hash
//!  41   8  time, nanoseconds since the Unix epoch
//!  49      records, each preceded by its length in four bytes
//! ```

use std::io;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};

use tributary_engine::{
    Basis, Failure, Fate, FileLog, FrameLog, JournalReader, LogVisitor, Standing, Ticket, Visited,
};
use tributary_journal::{Disk, Head, lock};

use crate::driver::Command;
use crate::fold::Fold;
use crate::resume;
use crate::shared::Shared;

/// Bytes of records in a piece, at most; one record more than fits is in it all the same. Small, since payments wait for a piece.
const PIECE_BYTES_MAX: usize = 512 << 10;
const HEAD_BYTES: usize = 49;

/// What is written at once, or a piece of that.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Write {
    is_snapshot: bool,
    is_last: bool,
    basis: Basis,
    now: u64,
    records: Vec<Vec<u8>>,
}

impl Write {
    /// Returns the pieces, encoded.
    fn encode(is_snapshot: bool, records: &[Vec<u8>], basis: Basis, now: u64) -> Vec<Vec<u8>> {
        let mut pieces = Vec::new();
        let mut rest = records;
        loop {
            let mut piece = vec![u8::from(is_snapshot && pieces.is_empty())];
            piece.extend_from_slice(&basis.position.to_le_bytes());
            piece.extend_from_slice(&basis.hash);
            piece.extend_from_slice(&now.to_le_bytes());
            while let Some((record, others)) = rest.split_first()
                && piece.len() < PIECE_BYTES_MAX
            {
                let length = u32::try_from(record.len()).expect("a record is bounded");
                piece.extend_from_slice(&length.to_le_bytes());
                piece.extend_from_slice(record);
                rest = others;
            }
            pieces.push(piece);
            if rest.is_empty() {
                break;
            }
        }
        let last = pieces.last_mut().expect("there is one at least");
        last[0] |= 2;
        pieces
    }

    fn decode(bytes: &[u8]) -> Option<Write> {
        let (head, mut rest) = bytes.split_at_checked(HEAD_BYTES)?;
        let u64_at = |at: usize| {
            let bytes: &[u8; 8] = head[at..].first_chunk().expect("they are there");
            u64::from_le_bytes(*bytes)
        };
        let mut records = Vec::new();
        while !rest.is_empty() {
            let (length, others) = rest.split_first_chunk()?;
            let length = u32::from_le_bytes(*length) as usize;
            let (record, others) = others.split_at_checked(length)?;
            records.push(record.to_vec());
            rest = others;
        }
        Some(Write {
            is_snapshot: head[0] & 1 != 0,
            is_last: head[0] & 2 != 0,
            basis: Basis {
                position: u64_at(1),
                hash: *head[9..].first_chunk().expect("they are there"),
            },
            now: u64_at(41),
            records,
        })
    }
}

/// What the keeper is given, in the order of the log.
pub(crate) enum Task {
    /// A piece that counts.
    Piece(Vec<u8>),
    /// The node can go on here at its next start, once the mirror has as much.
    Resume(Box<Fold>),
    /// Everything before is done.
    Done(Sender<()>),
}

/// The thread that keeps the log beside the journal in the node's directory, and the place where the node can go on.
pub(crate) struct Keeper {
    tasks: Sender<Task>,
}

/// The log in the node's directory.
type Kept = Arc<Mutex<FileLog>>;

impl Keeper {
    /// Starts the thread.
    pub(crate) fn start(
        kept: Kept,
        disk: Arc<dyn Disk>,
        mirror: Arc<dyn JournalReader>,
        tasks: (Sender<Task>, Receiver<Task>),
    ) -> io::Result<Keeper> {
        let (tasks, inbox) = tasks;
        let mut keeping = Keeping {
            kept,
            disk,
            mirror,
            snapshot: None,
            resume: None,
        };
        std::thread::Builder::new()
            .name("cluster-keeper".into())
            .spawn(move || keeping.run(&inbox))?;
        Ok(Keeper { tasks })
    }

    /// Gives it a task.
    pub(crate) fn give(&self, task: Task) {
        let _gone = self.tasks.send(task);
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        let (done, is_done) = mpsc::channel();
        self.give(Task::Done(done));
        // Others hold a sender too, so the thread may stay until they have gone: it has nothing to do any more.
        let _ended = is_done.recv();
    }
}

struct Keeping {
    kept: Kept,
    disk: Arc<dyn Disk>,
    mirror: Arc<dyn JournalReader>,
    /// A snapshot of which not all pieces have come.
    snapshot: Option<Write>,
    /// Where the node can go on, once the mirror has as much.
    resume: Option<Box<Fold>>,
}

impl Keeping {
    fn run(&mut self, inbox: &Receiver<Task>) {
        while let Ok(task) = inbox.recv() {
            match task {
                Task::Piece(bytes) => match Write::decode(&bytes) {
                    Some(piece) => self.take(piece),
                    None => tracing::error!("an entry beside the journal can't be read: left out"),
                },
                // In the middle of a snapshot there is no place to go on.
                Task::Resume(_) if self.snapshot.is_some() => {}
                Task::Resume(fold) => {
                    // Under constant load the mirror is always behind the newest place, but has the one before by now.
                    self.write_resume();
                    self.resume = Some(fold);
                }
                Task::Done(done) => {
                    let _gone = done.send(());
                }
            }
            self.write_resume();
        }
    }

    fn take(&mut self, piece: Write) {
        let is_last = piece.is_last;
        if piece.is_snapshot {
            self.snapshot = Some(piece);
        } else if let Some(snapshot) = &mut self.snapshot {
            snapshot.records.extend(piece.records);
        } else {
            let fate = lock(&self.kept)
                .append(&piece.records, piece.basis, piece.now)
                .wait();
            warn_unless_durable(&fate);
            return;
        }
        if is_last && let Some(snapshot) = self.snapshot.take() {
            let fate = lock(&self.kept)
                .begin(&snapshot.records, snapshot.basis, snapshot.now)
                .wait();
            warn_unless_durable(&fate);
        }
    }

    fn write_resume(&mut self) {
        let head = self.mirror.head().position;
        let Some(fold) = self
            .resume
            .take_if(|fold| fold.head().position <= head && self.snapshot.is_none())
        else {
            return;
        };
        if let Err(error) = resume::store(&*self.disk, &fold) {
            tracing::warn!(%error, "the place in the log can't be kept: the next start reads more of the log");
        }
    }
}

fn warn_unless_durable(fate: &Fate) {
    match fate {
        Fate::Durable(_) => {}
        Fate::Refused(failure) => {
            tracing::debug!(%failure, "the log beside the journal is not kept")
        }
        Fate::Unknown(why) | Fate::Fatal(why) => {
            tracing::warn!(
                why,
                "the log beside the journal can't be kept here: if this node leads before there is a new snapshot, \
                events may be delivered again"
            );
        }
    }
}

/// The log beside the journal, as the leader writes it and a new leader reads it.
pub struct ClusterLog {
    kept: Kept,
    shared: Shared,
    commands: Sender<Command>,
    tasks: Sender<Task>,
}

impl ClusterLog {
    pub(crate) fn new(
        kept: Kept,
        shared: Shared,
        commands: Sender<Command>,
        tasks: Sender<Task>,
    ) -> ClusterLog {
        ClusterLog {
            kept,
            shared,
            commands,
            tasks,
        }
    }

    fn write(&self, pieces: Vec<Vec<u8>>) -> Ticket {
        let (shared, commands) = (self.shared.clone(), self.commands.clone());
        Ticket::pending(move || {
            for piece in pieces {
                // If it is not known, the next snapshot says it again.
                let counts = shared.write_beside(&commands, piece);
                if counts != Ok(true) {
                    let why = "another node leads the cluster now".to_owned();
                    return Fate::Refused(Failure::Unavailable(why));
                }
            }
            Fate::Durable(Head::default())
        })
    }
}

impl FrameLog for ClusterLog {
    fn read(
        &mut self,
        standing: &mut dyn FnMut(&Basis) -> Result<Standing, Failure>,
        visitor: &mut dyn LogVisitor,
    ) -> io::Result<Vec<String>> {
        // What the node was given before is kept first. Before the node runs, nobody is there to say so, and nothing was given.
        let (done, is_done) = mpsc::channel();
        if self.shared.is_started() && self.tasks.send(Task::Done(done)).is_ok() {
            let _ended = is_done.recv();
        }
        let mut kept = lock(&self.kept);
        let set_aside = kept.read(standing, visitor)?;
        kept.reopen()?;
        Ok(set_aside)
    }

    fn append(&mut self, records: &[Vec<u8>], basis: Basis, now: u64) -> Ticket {
        self.write(Write::encode(false, records, basis, now))
    }

    fn begin(&mut self, snapshot: &[Vec<u8>], basis: Basis, now: u64) -> Ticket {
        self.write(Write::encode(true, snapshot, basis, now))
    }

    fn wants_snapshot(&self) -> bool {
        lock(&self.kept).wants_snapshot()
    }
}

/// Returns what a directory has of the log beside the journal, as one snapshot that rests on `basis`, in pieces for the shared log. None
/// if it has nothing.
///
/// # Errors
/// If it can't be read.
pub fn read_pieces(
    kept: &mut FileLog,
    basis: Basis,
    now: u64,
    standing: &mut dyn FnMut(&Basis) -> Result<Standing, Failure>,
) -> io::Result<Option<Vec<Vec<u8>>>> {
    let mut records = Records(Vec::new());
    let _set_aside = kept.read(standing, &mut records)?;
    let has_any = !records.0.is_empty();
    Ok(has_any.then(|| Write::encode(true, &records.0, basis, now)))
}

/// Takes in records as they are.
struct Records(Vec<Vec<u8>>);

impl LogVisitor for Records {
    fn begin(&mut self) {
        self.0.clear();
    }

    fn record(&mut self, payload: &[u8]) -> Visited {
        self.0.push(payload.to_vec());
        Visited::Taken
    }

    fn end(&mut self) -> bool {
        !self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use tributary_engine::{Backend, Embedded, NEWEST, Stepper};
    use tributary_journal::create;
    use tributary_testkit::backends::{cluster_meta, small_segments};
    use tributary_testkit::clock::TestClock;
    use tributary_testkit::commands::{BEGIN, open};
    use tributary_testkit::disk::SimDisk;

    use super::*;
    use crate::entry::{Genesis, HeadMark, Mark};

    #[test]
    fn pieces_together_are_what_was_written() {
        let records: Vec<Vec<u8>> = (0..50_000u32)
            .map(|number| number.to_le_bytes().repeat(10))
            .collect();
        let basis = Basis {
            position: 7,
            hash: [8; 32],
        };
        for is_snapshot in [true, false] {
            let pieces = Write::encode(is_snapshot, &records, basis, 9);
            assert!(pieces.len() > 3);
            let mut together = Vec::new();
            for (index, piece) in pieces.iter().enumerate() {
                let piece = Write::decode(piece).expect("it was encoded");
                assert_eq!(piece.is_snapshot, is_snapshot && index == 0);
                assert_eq!(piece.is_last, index + 1 == pieces.len());
                assert_eq!((piece.basis, piece.now), (basis, 9));
                together.extend(piece.records);
            }
            assert_eq!(together, records);
        }
        let [empty] = &Write::encode(true, &[], basis, 9)[..] else {
            panic!("one piece");
        };
        assert!(Write::decode(empty).is_some_and(|piece| piece.is_snapshot && piece.is_last));
        assert_eq!(Write::decode(&empty[..40]), None);
        let cut = [&empty[..], &[9, 0, 0, 0, 1]].concat();
        assert_eq!(Write::decode(&cut), None);
    }

    #[test]
    fn a_place_is_kept_although_the_mirror_is_always_behind_the_newest() {
        let disk = SimDisk::new(1).disk();
        create(&disk, &small_segments(), &cluster_meta()).expect("there is room");
        let mirror = Embedded::open_inline(disk.clone(), small_segments()).expect("it is new");
        let mut keeping = Keeping {
            kept: Arc::new(Mutex::new(FileLog::new(disk.clone(), "beside", 1))),
            disk: disk.clone(),
            mirror: Backend::reader(&mirror),
            snapshot: None,
            resume: None,
        };
        let clock = Arc::new(TestClock::starting_at(BEGIN));
        let mut engine = Stepper::start(Box::new(mirror), clock).expect("it starts");
        for position in 1..=3 {
            let head = Head {
                position,
                ..Head::default()
            };
            let (id, beside) = ([6; 16], 0);
            let genesis = Genesis::new(&cluster_meta(), 1, Vec::new(), HeadMark::default(), NEWEST);
            let (mark, before) = (Mark::default(), [0; 32]);
            let fold = Fold::resume(
                (mark, before),
                (id, genesis),
                (0, None),
                head,
                beside,
                NEWEST,
            );
            let (tasks, inbox) = mpsc::channel();
            tasks
                .send(Task::Resume(Box::new(fold)))
                .expect("it is there");
            drop(tasks);
            keeping.run(&inbox);
            let kept = resume::load(&*disk).expect("it can be read");
            assert_eq!(kept.map_or(0, |fold| fold.head().position), position - 1);
            engine.accept(vec![open(&format!("{position}"), "ann")]);
            engine.settle();
        }
    }
}
