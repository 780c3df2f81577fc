//! Checkpoints: the published view written out in slices while payments go on.
//!
//! A checkpoint is begun at a position and holds every object at least as it was then; objects written later may be newer.
//! Replay starts after that position and skips what an object already reflects, which makes the fuzzy copy exact.
//!
//! Each record of a checkpoint is one object: a tag byte, the format version as `u16` LE, and the ledger's bytes of it. Before
//! them stands about how many there are, so that room can be made: owners, accounts and open payments, `u64` LE each.

use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};

use tributary_journal::{self as journal, CheckpointItem, CheckpointWriter, Disk, FrameRef, Head};
use tributary_ledger::codec::RecordRef;
use tributary_ledger::{self as ledger, Residency, WorkingSet, codec};

use crate::backend::{Failure, Recovered};
use crate::engine::Shared;
use crate::view::View;

/// Objects written out under one hold of the view's lock.
const SLICE_OBJECTS: usize = 2_048;

const COUNTS: u8 = 0;
const OWNER: u8 = 1;
const API_KEY: u8 = 2;
const ACCOUNT: u8 = 3;
const PAYMENT: u8 = 4;

/// Appends the object in slot `slot` of one table, if there is one that a checkpoint needs; false past the last slot.
type PutSlot = fn(&WorkingSet, usize, &mut Vec<u8>) -> bool;

fn put_owner(set: &WorkingSet, slot: usize, into: &mut Vec<u8>) -> bool {
    if let Some(owner) = set.owner_at(slot) {
        into.push(OWNER);
        into.extend_from_slice(&ledger::FORMAT_VERSION.to_le_bytes());
        codec::encode_owner(owner, into);
    }
    slot < set.owner_slots()
}

fn put_api_key(set: &WorkingSet, slot: usize, into: &mut Vec<u8>) -> bool {
    if let Some(key) = set.api_key_at(slot) {
        into.push(API_KEY);
        into.extend_from_slice(&ledger::FORMAT_VERSION.to_le_bytes());
        codec::encode_api_key(key, into);
    }
    slot < set.api_key_slots()
}

fn put_account(set: &WorkingSet, slot: usize, into: &mut Vec<u8>) -> bool {
    if let Some(account) = set.account_at(slot) {
        into.push(ACCOUNT);
        into.extend_from_slice(&ledger::FORMAT_VERSION.to_le_bytes());
        codec::encode_account(account, into);
    }
    slot < set.account_slots()
}

fn put_payment(set: &WorkingSet, slot: usize, into: &mut Vec<u8>) -> bool {
    if let Some(payment) = set.payment_at(slot).filter(|payment| payment.is_open()) {
        into.push(PAYMENT);
        into.extend_from_slice(&ledger::FORMAT_VERSION.to_le_bytes());
        codec::encode_payment(payment, into);
    }
    slot < set.payment_slots()
}

/// In this order, because an account names its owner.
const TABLES: [PutSlot; 4] = [put_owner, put_api_key, put_account, put_payment];

/// Writes checkpoints of the published view.
pub struct Checkpointer {
    disk: Arc<dyn Disk>,
}

impl Checkpointer {
    /// Checkpoints go into the journal's own directory.
    pub fn new(disk: Arc<dyn Disk>) -> Checkpointer {
        Checkpointer { disk }
    }

    /// Writes one whenever it is wished for, until nobody can wish any more.
    pub(crate) fn run(&self, shared: &Shared, wishes: &mpsc::Receiver<()>) {
        while wishes.recv().is_ok() {
            match self.write(shared) {
                Ok(bytes) => {
                    shared.counters.checkpoints.fetch_add(1, Ordering::Relaxed);
                    tracing::debug!(bytes, "wrote a checkpoint");
                }
                // The one before stays in place, and the journal holds everything anyway.
                Err(error) => tracing::warn!(%error, "a checkpoint could not be written"),
            }
        }
    }

    /// Writes a checkpoint; gives its size in bytes.
    fn write(&self, shared: &Shared) -> io::Result<u64> {
        let mut slices = self.begin(shared)?;
        while slices.step(&shared.view, SLICE_OBJECTS)? {}
        slices.finish()
    }

    /// Begins a checkpoint as of what the view shows now.
    pub(crate) fn begin(&self, shared: &Shared) -> io::Result<Slices> {
        let (frame_end, counts) = {
            let published = shared.view.read();
            (published.frame_end, counts(&published.set))
        };
        let head = head_at(shared, frame_end)?;
        let mut writer = CheckpointWriter::begin(self.disk.clone(), &head)?;
        writer.push(&counts)?;
        Ok(Slices {
            writer,
            table: 0,
            slot: 0,
            bytes: Vec::new(),
            ends: Vec::with_capacity(SLICE_OBJECTS),
        })
    }
}

fn counts(set: &WorkingSet) -> Vec<u8> {
    let mut record = vec![COUNTS];
    record.extend_from_slice(&ledger::FORMAT_VERSION.to_le_bytes());
    for count in [set.owner_count(), set.account_count(), set.payment_count()] {
        record.extend_from_slice(&(count as u64).to_le_bytes());
    }
    record
}

/// Makes room for what a checkpoint says to hold.
fn make_room(set: &mut WorkingSet, counts: &[u8]) -> Result<(), String> {
    let (counts, rest) = counts.as_chunks::<8>();
    let &[owners, accounts, payments] = counts else {
        return Err("the counts are not three".into());
    };
    // A wrong count costs memory or time: it says nothing about what is there.
    let bounded = |count| {
        usize::try_from(u64::from_le_bytes(count))
            .unwrap_or(0)
            .min(1 << 26)
    };
    set.reserve(bounded(owners), bounded(accounts), bounded(payments));
    if rest.is_empty() {
        Ok(())
    } else {
        Err("the counts go on too long".into())
    }
}

/// The head as it was when `position`, the end of a frame that the view shows, was its last.
fn head_at(shared: &Shared, position: u64) -> io::Result<Head> {
    if position == 0 {
        return Ok(Head::default());
    }
    let frame = shared.reader.frame(position).map_err(io::Error::other)?;
    let frame = frame.ok_or_else(|| io::Error::other("what is shown is not in the journal"))?;
    let head = FrameRef::parse(&frame).map_err(io::Error::other)?.head();
    assert_eq!(head.position, position, "frames are published whole");
    Ok(head)
}

/// A checkpoint on its way to the disk.
pub(crate) struct Slices {
    writer: CheckpointWriter,
    table: usize,
    slot: usize,
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Slices {
    /// Writes out the next `objects` slots as they are now. False once all are.
    pub(crate) fn step(&mut self, view: &View, objects: usize) -> io::Result<bool> {
        let Some(put) = TABLES.get(self.table) else {
            return Ok(false);
        };
        self.bytes.clear();
        self.ends.clear();
        let mut more = true;
        {
            let published = view.read();
            for _ in 0..objects {
                more = put(&published.set, self.slot, &mut self.bytes);
                self.ends.push(self.bytes.len());
                self.slot += 1;
            }
        }
        let mut start = 0;
        for &end in &self.ends {
            if end > start {
                self.writer.push(&self.bytes[start..end])?;
            }
            start = end;
        }
        if !more {
            self.table += 1;
            self.slot = 0;
        }
        Ok(true)
    }

    /// Makes it durable; gives its size in bytes.
    pub(crate) fn finish(self) -> io::Result<u64> {
        self.writer.finish()
    }
}

/// Rebuilds the state at the journal's head: the newest whole checkpoint, and what was recorded since.
pub(crate) fn recover(disk: &dyn Disk, reader: &journal::Reader) -> Result<Recovered, Failure> {
    let head = reader.head();
    let mut set = WorkingSet::new(Residency::Accounts);
    let mut failed = None;
    let mut is_ours = |through, hash| {
        let there = reader.head_at(through);
        there.is_ok_and(|there| there.is_some_and(|head| head.hash == hash))
    };
    let loaded = journal::load_latest_checkpoint(disk, &mut is_ours, &mut |item| match item {
        CheckpointItem::Begin { .. } => {
            set = WorkingSet::new(Residency::Accounts);
            failed = None;
        }
        CheckpointItem::Record(bytes) => {
            if let Err(corrupt) = put(&mut set, bytes) {
                failed.get_or_insert(corrupt);
            }
        }
    })
    .map_err(|error| Failure::Unavailable(error.to_string()))?;
    for damage in &loaded.damaged {
        tracing::warn!(%damage, "a checkpoint is damaged; an older one is used");
    }
    let mut through = loaded.through.unwrap_or(0);
    if through == 0 || failed.is_some() {
        if let Some(why) = failed {
            tracing::warn!(
                why,
                "the checkpoint can't be read; the whole journal is replayed"
            );
        }
        set = WorkingSet::new(Residency::Accounts);
        through = 0;
    }
    replay(reader, through + 1, &mut set)?;
    Ok(Recovered {
        set,
        replayed: head.position - through,
    })
}

fn put(set: &mut WorkingSet, bytes: &[u8]) -> Result<(), String> {
    let Some((&[tag, low, high], object)) = bytes.split_first_chunk::<3>() else {
        return Err("an object is too short".into());
    };
    let version = u16::from_le_bytes([low, high]);
    match tag {
        COUNTS => make_room(set, object)?,
        OWNER => {
            set.load_owner(codec::decode_owner(object, version).map_err(|error| error.to_string())?)
        }
        API_KEY => set.load_api_key(
            codec::decode_api_key(object, version).map_err(|error| error.to_string())?,
        ),
        ACCOUNT => set.load_account(
            codec::decode_account(object, version).map_err(|error| error.to_string())?,
        ),
        PAYMENT => set.load_payment(
            codec::decode_payment(object, version).map_err(|error| error.to_string())?,
        ),
        _ => return Err(format!("an object is of the unknown kind {tag}")),
    }
    Ok(())
}

/// Applies every record from `first` on to `set`.
pub(crate) fn replay(
    reader: &journal::Reader,
    first: u64,
    set: &mut WorkingSet,
) -> Result<(), Failure> {
    if first > reader.head().position {
        return Ok(());
    }
    let mut frames = reader.frames(first);
    while let Some(frame) = frames.next().map_err(crate::embedded::read_failure)? {
        let mut last = 0;
        for stored in frame.records() {
            last = stored.position();
            if last < first {
                continue;
            }
            let damaged = |corrupt: codec::Corrupt| Failure::RecordDamaged {
                position: last,
                what: corrupt.to_string(),
            };
            let record =
                RecordRef::parse(stored.payload(), ledger::FORMAT_VERSION).map_err(damaged)?;
            ledger::apply_record(set, &record).map_err(damaged)?;
        }
        set.evict_through(last);
    }
    Ok(())
}
