//! Checkpoints: the published view written out in slices while payments go on.
//!
//! A checkpoint is begun at a position and holds every object at least as it was then; objects written later may be newer.
//! Replay starts after that position and skips what an object already reflects, which makes the fuzzy copy exact.
//!
//! Settings are taken as they are when it begins, and with them what limits have counted: few, with shared bodies.
//!
//! Each record of a checkpoint is one object or a run of accounts or owners: a tag byte, the format version as `u16` LE, and the
//! ledger's bytes of it. Before them stands about how many there are, so that room can be made: owners, accounts and open payments, `u64` LE each; how the
//! queue stands; and the time that was added to the clock.

use std::io;
use std::ops::Range;
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};

use tributary_journal::{CheckpointWriter, Disk, FrameRef, Head};
use tributary_ledger::{self as ledger, Limit, LimitCounts, Setting, WorkingSet, codec};

use crate::shared::Shared;
use crate::view::View;

/// Maximum number of settings written between two slices of other objects: at most 1 MiB.
const SLICE_SETTINGS: usize = 32;
/// Maximum number of objects written under one hold of the view's lock.
const SLICE_OBJECTS: usize = 2_048;

pub(crate) const COUNTS: u8 = 0;
/// One owner. Not written any more, but read.
pub(crate) const OWNER: u8 = 1;
pub(crate) const API_KEY: u8 = 2;
/// One account. Not written any more, but read.
pub(crate) const ACCOUNT: u8 = 3;
pub(crate) const PAYMENT: u8 = 4;
pub(crate) const QUEUE: u8 = 5;
/// A run of owners.
pub(crate) const OWNERS: u8 = 6;
/// A run of accounts.
pub(crate) const ACCOUNTS: u8 = 7;
/// One setting.
pub(crate) const SETTING: u8 = 8;
/// Details of one account or owner.
pub(crate) const DETAILS: u8 = 9;
/// Time that was added to the clock.
pub(crate) const TIME_OFFSET: u8 = 10;
/// What one limit has counted; after all settings.
pub(crate) const LIMIT_COUNTS: u8 = 11;

/// Appends the objects in some slots of one table that a checkpoint needs. False if there are no further slots.
type PutSlots = fn(&WorkingSet, Range<usize>, &mut Records) -> bool;

/// Records one after another, and the end of each.
#[derive(Default)]
struct Records {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Records {
    /// Appends the record that `encode` makes, unless it is empty.
    fn push(&mut self, tag: u8, encode: impl FnOnce(&mut Vec<u8>)) {
        let start = self.bytes.len();
        self.bytes.push(tag);
        self.bytes
            .extend_from_slice(&ledger::FORMAT_VERSION.to_le_bytes());
        let empty = self.bytes.len();
        encode(&mut self.bytes);
        if self.bytes.len() > empty {
            self.ends.push(self.bytes.len());
        } else {
            self.bytes.truncate(start);
        }
    }

    fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let mut start = 0;
        self.ends
            .iter()
            .map(move |&end| &self.bytes[std::mem::replace(&mut start, end)..end])
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }
}

fn put_owners(set: &WorkingSet, slots: Range<usize>, into: &mut Records) -> bool {
    let more = slots.end < set.owner_slots();
    let owners = slots.map_while(|slot| set.owner_in_slot(slot));
    into.push(OWNERS, |bytes| codec::encode_owners(owners, bytes));
    more
}

fn put_accounts(set: &WorkingSet, slots: Range<usize>, into: &mut Records) -> bool {
    let more = slots.end < set.account_slots();
    let accounts = slots.map_while(|slot| set.account_in_slot(slot));
    into.push(ACCOUNTS, |bytes| codec::encode_accounts(accounts, bytes));
    more
}

fn put_api_keys(set: &WorkingSet, slots: Range<usize>, into: &mut Records) -> bool {
    let more = slots.end < set.api_key_slots();
    for key in slots.filter_map(|slot| set.api_key_in_slot(slot)) {
        into.push(API_KEY, |bytes| codec::encode_api_key(key, bytes));
    }
    more
}

fn put_payments(set: &WorkingSet, slots: Range<usize>, into: &mut Records) -> bool {
    let more = slots.end < set.payment_slots();
    let payments = slots.filter_map(|slot| set.payment_in_slot(slot));
    for payment in payments.filter(|payment| payment.is_open()) {
        into.push(PAYMENT, |bytes| codec::encode_payment(payment, bytes));
    }
    more
}

fn put_details(set: &WorkingSet, slots: Range<usize>, into: &mut Records) -> bool {
    let more = slots.end < set.details_slots();
    for details in slots.filter_map(|slot| set.details_in_slot(slot)) {
        into.push(DETAILS, |bytes| codec::encode_details(details, bytes));
    }
    more
}

/// Tables, written in turns, so that owners and accounts can be loaded at the same time.
const TABLES: [PutSlots; 5] = [
    put_owners,
    put_api_keys,
    put_accounts,
    put_payments,
    put_details,
];

/// Writes checkpoints of the published view.
pub struct Checkpointer {
    disk: Arc<dyn Disk>,
}

impl Checkpointer {
    /// Makes a checkpointer that writes into `disk`, the directory of the journal.
    pub fn new(disk: Arc<dyn Disk>) -> Checkpointer {
        Checkpointer { disk }
    }

    /// Writes a checkpoint at each request, until the requests end.
    pub(crate) fn run(&self, shared: &Shared, requests: &mpsc::Receiver<()>) {
        while requests.recv().is_ok() {
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

    /// Writes a checkpoint. Returns its size in bytes.
    fn write(&self, shared: &Shared) -> io::Result<u64> {
        let mut slices = self.begin(shared)?;
        while slices.step(&shared.view, SLICE_OBJECTS)? {}
        slices.finish()
    }

    /// Begins a checkpoint as of what the view shows now.
    pub(crate) fn begin(&self, shared: &Shared) -> io::Result<Slices> {
        let (frame_end, counts, queue, time, settings, limits) = {
            let published = shared.view.read();
            let set = &published.set;
            // All at once: their bodies are shared, and a setting has no slot of its own.
            let settings = set.settings().cloned().collect();
            let limits = set.limits().map(Limit::counts).collect();
            let (queue, time) = (queue(set), time_offset(set));
            (
                published.frame_end,
                counts(set),
                queue,
                time,
                settings,
                limits,
            )
        };
        let head = head_at(shared, frame_end)?;
        let mut writer = CheckpointWriter::begin(self.disk.clone(), &head)?;
        writer.push(&counts)?;
        writer.push(&queue)?;
        writer.push(&time)?;
        Ok(Slices {
            writer,
            settings,
            limits,
            tables: TABLES.map(|put| Some((put, 0))),
            turn: 0,
            records: Records::default(),
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

fn time_offset(set: &WorkingSet) -> Vec<u8> {
    let mut record = vec![TIME_OFFSET];
    record.extend_from_slice(&ledger::FORMAT_VERSION.to_le_bytes());
    codec::encode_time_offset(&set.time_offset(), &mut record);
    record
}

/// Returns the head of the journal as of `position`, the end of a frame that the view shows.
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
    /// Settings that are not written yet.
    settings: Vec<Setting>,
    /// What limits have counted, as far as it is not written yet.
    limits: Vec<LimitCounts>,
    /// Next slot of each table that is not written whole.
    tables: [Option<(PutSlots, usize)>; TABLES.len()],
    turn: usize,
    records: Records,
}

impl Slices {
    /// Writes out the next `objects` slots of a table as they are now. False once all are.
    pub(crate) fn step(&mut self, view: &View, objects: usize) -> io::Result<bool> {
        if !self.settings.is_empty() {
            let rest = self.settings.len().saturating_sub(SLICE_SETTINGS);
            self.records.clear();
            for setting in self.settings.drain(rest..) {
                self.records
                    .push(SETTING, |bytes| codec::encode_setting(&setting, bytes));
            }
            return self.write_records();
        }
        if !self.limits.is_empty() {
            let rest = self.limits.len().saturating_sub(objects);
            self.records.clear();
            for counts in self.limits.drain(rest..) {
                self.records.push(LIMIT_COUNTS, |bytes| {
                    codec::encode_limit_counts(&counts, bytes)
                });
            }
            return self.write_records();
        }
        let left = |turn: &usize| self.tables[turn % TABLES.len()].is_some();
        let Some(turn) = (self.turn..self.turn + TABLES.len()).find(left) else {
            return Ok(false);
        };
        self.turn = turn + 1;
        let table = &mut self.tables[turn % TABLES.len()];
        let (put, slot) = table.as_mut().expect("something is left of it");
        let slots = *slot..*slot + objects;
        *slot = slots.end;
        self.records.clear();
        if !put(&view.read().set, slots, &mut self.records) {
            *table = None;
        }
        self.write_records()
    }

    fn write_records(&mut self) -> io::Result<bool> {
        for record in self.records.iter() {
            self.writer.push(record)?;
        }
        Ok(true)
    }

    /// Makes the checkpoint durable. Returns its size in bytes.
    pub(crate) fn finish(self) -> io::Result<u64> {
        self.writer.finish()
    }
}
