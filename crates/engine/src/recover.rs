//! The state at the journal's head: the newest whole checkpoint, and what was recorded since.
//!
//! One thread reads and checks what is on the disk, others fill sets with it: no result depends on which is faster.

use std::sync::{Arc, mpsc};
use std::thread::{Scope, ScopedJoinHandle};

use arrayvec::ArrayVec;
use tributary_journal::{self as journal, CheckpointBlock, CheckpointItem, Disk, FrameRef};
use tributary_ledger::codec::{self, Corrupt, RecordRef};
use tributary_ledger::{self as ledger, Residency, WorkingSet};

use crate::backend::{Failure, Recovered};
use crate::checkpoint::{ACCOUNT, API_KEY, COUNTS, OWNER, PAYMENT, QUEUE};
use crate::view::RECORDS_WARMED;

/// Blocks of a checkpoint, or frames, that are read ahead of what is done with them.
const READ_AHEAD: usize = 4;

/// Rebuilds the state.
pub(crate) fn recover(disk: &dyn Disk, reader: &journal::Reader) -> Result<Recovered, Failure> {
    let head = reader.head();
    let (mut set, through) = load(disk, reader)?;
    replay(reader, through + 1, &mut set)?;
    Ok(Recovered {
        set,
        replayed: head.position - through,
    })
}

/// The newest whole checkpoint and its position, or an empty set.
fn load(disk: &dyn Disk, reader: &journal::Reader) -> Result<(WorkingSet, u64), Failure> {
    let mut is_ours = |through, hash| {
        let there = reader.head_at(through);
        there.is_ok_and(|there| there.is_some_and(|head| head.hash == hash))
    };
    let (loaded, filled) = std::thread::scope(|scope| {
        let mut filling = None;
        let mut item = |item| match item {
            CheckpointItem::Begin { .. } => filling = Some(Filling::begin(scope)),
            CheckpointItem::Block(block) => {
                if let Some(Ok(filling)) = &filling {
                    filling.put(block);
                }
            }
        };
        let loaded = journal::load_latest_checkpoint(disk, &mut is_ours, &mut item);
        (loaded, filling.map(|filling| filling?.finish()))
    });
    let loaded = loaded.map_err(|error| Failure::Unavailable(error.to_string()))?;
    for damage in &loaded.damaged {
        tracing::warn!(%damage, "a checkpoint is damaged; an older one is used");
    }
    match (loaded.through, filled) {
        (Some(through), Some(Ok(set))) => return Ok((set, through)),
        (Some(_), Some(Err(why))) => tracing::warn!(
            why,
            "the checkpoint can't be read; the whole journal is replayed"
        ),
        _ => {}
    }
    Ok((WorkingSet::new(Residency::Accounts), 0))
}

/// A checkpoint on its way into memory: accounts, owners and all else into sets of their own, at the same time.
struct Filling<'scope>([Part<'scope>; 3]);

struct Part<'scope> {
    blocks: mpsc::SyncSender<Arc<CheckpointBlock>>,
    set: ScopedJoinHandle<'scope, Result<WorkingSet, String>>,
}

type Blocks = mpsc::Receiver<Arc<CheckpointBlock>>;
/// Puts of some blocks what belongs to a part.
type Fill = fn(&mut WorkingSet, Blocks) -> Result<(), String>;

impl<'scope> Filling<'scope> {
    fn begin(scope: &'scope Scope<'scope, '_>) -> Result<Self, String> {
        let begin = |fill: Fill| {
            let (blocks, inbox) = mpsc::sync_channel(READ_AHEAD);
            let fill = move || {
                let mut set = WorkingSet::new(Residency::Accounts);
                fill(&mut set, inbox).map(|()| set)
            };
            let thread = std::thread::Builder::new().name("load".into());
            match thread.spawn_scoped(scope, fill) {
                Ok(set) => Ok(Part { blocks, set }),
                Err(error) => Err(error.to_string()),
            }
        };
        let parts = [
            begin(fill_accounts)?,
            begin(fill_owners)?,
            begin(fill_rest)?,
        ];
        Ok(Filling(parts))
    }

    fn put(&self, block: CheckpointBlock) {
        let block = Arc::new(block);
        for part in &self.0 {
            // It ended early if it found something wrong, which is learned at the end.
            let _ended = part.blocks.send(block.clone());
        }
    }

    fn finish(self) -> Result<WorkingSet, String> {
        let [accounts, owners, rest] = self.0.map(|part| {
            drop(part.blocks);
            part.set.join().expect("filling a set does not panic")
        });
        Ok(rest?.with(accounts?, owners?))
    }
}

/// The objects of one kind in a block: their versions and bytes.
fn of_kind(block: &CheckpointBlock, kind: u8) -> impl Iterator<Item = (u16, &[u8])> {
    block.records().filter_map(move |record| {
        let (&[tag, low, high], object) = record.split_first_chunk::<3>()?;
        (tag == kind).then(|| (u16::from_le_bytes([low, high]), object))
    })
}

fn fill_accounts(set: &mut WorkingSet, blocks: Blocks) -> Result<(), String> {
    for block in blocks {
        for (version, account) in of_kind(&block, ACCOUNT) {
            let account = codec::decode_account(account, version);
            set.load_account(account.map_err(|why| why.to_string())?);
        }
    }
    Ok(())
}

fn fill_owners(set: &mut WorkingSet, blocks: Blocks) -> Result<(), String> {
    let first = blocks.recv().ok();
    set.reserve(counts(first.as_deref())?[0], 0);
    set.load_owners(|put| {
        for block in first.into_iter().chain(blocks) {
            for (version, owner) in of_kind(&block, OWNER) {
                put(codec::decode_owner_ref(owner, version)?);
            }
        }
        Ok(())
    })
    .map_err(|why: Corrupt| why.to_string())
}

fn fill_rest(set: &mut WorkingSet, blocks: Blocks) -> Result<(), String> {
    for block in blocks {
        for record in block.records() {
            let Some((&[tag, low, high], object)) = record.split_first_chunk::<3>() else {
                return Err("an object is too short".into());
            };
            let version = u16::from_le_bytes([low, high]);
            put_rest(set, tag, object, version)?;
        }
    }
    Ok(())
}

fn put_rest(set: &mut WorkingSet, tag: u8, object: &[u8], version: u16) -> Result<(), String> {
    let corrupt = |why: Corrupt| why.to_string();
    match tag {
        COUNTS | OWNER | ACCOUNT => {}
        API_KEY => set.load_api_key(codec::decode_api_key(object, version).map_err(corrupt)?),
        PAYMENT => set.load_payment(codec::decode_payment(object, version).map_err(corrupt)?),
        QUEUE => set.load_queue(codec::decode_queue(object, version).map_err(corrupt)?),
        _ => return Err(format!("an object is of the unknown kind {tag}")),
    }
    Ok(())
}

/// How many owners, accounts and open payments a checkpoint that begins with this block says to hold.
fn counts(first: Option<&CheckpointBlock>) -> Result<[usize; 3], String> {
    let Some(record) = first.and_then(|block| block.records().next()) else {
        return Ok([0; 3]);
    };
    let Some(([COUNTS, ..], counts)) = record.split_first_chunk::<3>() else {
        return Ok([0; 3]);
    };
    let (counts, rest) = counts.as_chunks::<8>();
    let (&[owners, accounts, payments], []) = (counts, rest) else {
        return Err("the counts are not three".into());
    };
    // A wrong count costs memory or time: it says nothing about what is there.
    Ok([owners, accounts, payments].map(|count| {
        let count = usize::try_from(u64::from_le_bytes(count));
        count.unwrap_or(0).min(1 << 26)
    }))
}

/// Applies every record from `first` on to `set`.
fn replay(reader: &journal::Reader, first: u64, set: &mut WorkingSet) -> Result<(), Failure> {
    if first > reader.head().position {
        return Ok(());
    }
    std::thread::scope(|scope| {
        let (to_apply, frames) = mpsc::sync_channel::<Vec<u8>>(READ_AHEAD);
        let apply = move || {
            frames.iter().try_for_each(|frame| {
                let frame = FrameRef::parse(&frame).expect("it was verified");
                apply_frame(&frame, first, set)
            })
        };
        let thread = std::thread::Builder::new().name("replay".into());
        let applied = thread
            .spawn_scoped(scope, apply)
            .map_err(|error| Failure::Unavailable(error.to_string()))?;
        let read = read_frames(reader, first, &to_apply);
        drop(to_apply);
        applied.join().expect("records can be applied")?;
        read
    })
}

fn read_frames(
    reader: &journal::Reader,
    first: u64,
    to_apply: &mpsc::SyncSender<Vec<u8>>,
) -> Result<(), Failure> {
    let mut frames = reader.frames(first);
    while let Some(frame) = frames.next().map_err(crate::embedded::read_failure)? {
        if to_apply.send(frame.bytes().to_vec()).is_err() {
            // A record could not be applied, which is what is told.
            return Ok(());
        }
    }
    Ok(())
}

fn apply_frame(frame: &FrameRef<'_>, first: u64, set: &mut WorkingSet) -> Result<(), Failure> {
    let damaged = |position, corrupt: Corrupt| Failure::RecordDamaged {
        position,
        what: corrupt.to_string(),
    };
    let mut stored = frame.records().filter(|stored| stored.position() >= first);
    let mut records: ArrayVec<RecordRef<'_>, RECORDS_WARMED> = ArrayVec::new();
    let mut last = 0;
    loop {
        for stored in stored.by_ref().take(RECORDS_WARMED) {
            last = stored.position();
            let record = RecordRef::parse(stored.payload(), ledger::FORMAT_VERSION);
            records.push(record.map_err(|corrupt| damaged(last, corrupt))?);
        }
        if records.is_empty() {
            break;
        }
        set.warm_records(&records);
        for record in records.drain(..) {
            let applied = ledger::apply_record(set, &record);
            applied.map_err(|corrupt| damaged(record.context().position, corrupt))?;
        }
    }
    set.evict_through(last);
    Ok(())
}
