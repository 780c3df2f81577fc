//! Checkpoints: the published view written out in slices while payments go on.
//!
//! A checkpoint is begun at a position and holds every object at least as it was then; objects written later may be newer.
//! Replay starts after that position and skips what an object already reflects, which makes the fuzzy copy exact.
//!
//! Each record of a checkpoint is one object: a tag byte, the format version as `u16` LE, and the ledger's bytes of it. Before
//! them stands about how many there are, so that room can be made: owners, accounts and open payments, `u64` LE each; and how the
//! queue stands.

use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};

use tributary_journal::{CheckpointWriter, Disk, FrameRef, Head};
use tributary_ledger::{self as ledger, WorkingSet, codec};

use crate::engine::Shared;
use crate::view::View;

/// Objects written out under one hold of the view's lock.
const SLICE_OBJECTS: usize = 2_048;

pub(crate) const COUNTS: u8 = 0;
pub(crate) const OWNER: u8 = 1;
pub(crate) const API_KEY: u8 = 2;
pub(crate) const ACCOUNT: u8 = 3;
pub(crate) const PAYMENT: u8 = 4;
pub(crate) const QUEUE: u8 = 5;

/// Appends the object in slot `slot` of one table, if there is one that a checkpoint needs; false past the last slot.
type PutSlot = fn(&WorkingSet, usize, &mut Vec<u8>) -> bool;

fn put_owner(set: &WorkingSet, slot: usize, into: &mut Vec<u8>) -> bool {
    if let Some(owner) = set.owner_at(slot) {
        into.push(OWNER);
        into.extend_from_slice(&ledger::FORMAT_VERSION.to_le_bytes());
        codec::encode_owner_ref(owner, into);
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

/// In turns, so that owners and accounts can be loaded at the same time.
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
        let (frame_end, counts, queue) = {
            let published = shared.view.read();
            let set = &published.set;
            (published.frame_end, counts(set), queue(set))
        };
        let head = head_at(shared, frame_end)?;
        let mut writer = CheckpointWriter::begin(self.disk.clone(), &head)?;
        writer.push(&counts)?;
        writer.push(&queue)?;
        Ok(Slices {
            writer,
            tables: TABLES.map(|put| Some((put, 0))),
            turn: 0,
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

fn queue(set: &WorkingSet) -> Vec<u8> {
    let mut record = vec![QUEUE];
    record.extend_from_slice(&ledger::FORMAT_VERSION.to_le_bytes());
    codec::encode_queue(&set.queue(), &mut record);
    record
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
    /// What is left of each table, and from which slot on.
    tables: [Option<(PutSlot, usize)>; TABLES.len()],
    turn: usize,
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Slices {
    /// Writes out the next `objects` slots of a table as they are now. False once all are.
    pub(crate) fn step(&mut self, view: &View, objects: usize) -> io::Result<bool> {
        let left = |turn: &usize| self.tables[turn % TABLES.len()].is_some();
        let Some(turn) = (self.turn..self.turn + TABLES.len()).find(left) else {
            return Ok(false);
        };
        self.turn = turn + 1;
        let table = &mut self.tables[turn % TABLES.len()];
        let (put, slot) = table.as_mut().expect("something is left of it");
        self.bytes.clear();
        self.ends.clear();
        let mut more = true;
        {
            let published = view.read();
            for _ in 0..objects {
                more = put(&published.set, *slot, &mut self.bytes);
                self.ends.push(self.bytes.len());
                *slot += 1;
            }
        }
        if !more {
            *table = None;
        }
        let mut start = 0;
        for &end in &self.ends {
            if end > start {
                self.writer.push(&self.bytes[start..end])?;
            }
            start = end;
        }
        Ok(true)
    }

    /// Makes it durable; gives its size in bytes.
    pub(crate) fn finish(self) -> io::Result<u64> {
        self.writer.finish()
    }
}
