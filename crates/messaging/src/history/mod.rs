//! The history of deliveries: every ended attempt, in files beside the delivery log.
//!
//! ```text
//! history/<number>.log    64 slots of 64 KiB: a header, then groups of attempts in the order in which they ended
//! ```
//!
//! A slot has attempts of one owner's subscriptions. Each owner with new attempts has one open slot in memory, which is written again at
//! least each second while few owners have new attempts; nothing is ever synced: a crash of the machine costs history and nothing else.
//! A slot that can't be read is skipped. The header holds a filter (Bloom 1970) of the subscriptions and events in the slot. All filters
//! are in memory, so that only slots with a possible answer are read. Owners share the slots ([`pool`]): an owner's new slot takes the
//! place of its own oldest one once it has its share. If a file can't be written, the history stops for a minute and nothing else does.

mod attempts;
mod pool;
mod slot;

pub use attempts::{AttemptPage, AttemptQuery, EndedAttempt};

use std::collections::BTreeMap;
use std::io;
use std::ops::Bound;
use std::sync::Arc;

use tributary_journal::Disk;
use tributary_ledger::OwnerId;

use crate::ended::EndedAttempts;
use pool::Pool;
use slot::{
    Asked, CONTENT_BYTES_MAX, INDEX_BITS, SLOT_BYTES, SLOTS_PER_FILE, Slot, decode, encode,
    read_slot,
};

/// Size of one file, in bytes. The history is bounded in steps of it, and never below two files.
const FILE_BYTES: u64 = SLOTS_PER_FILE * SLOT_BYTES as u64;
/// Time between two writes of the open slot, nanoseconds.
const WRITE_EVERY: u64 = 500_000_000;
/// Time to wait after a failed write, nanoseconds.
const RETRY_AFTER: u64 = 60_000_000_000;
/// Maximum size of the open slots of all owners in memory, in bytes. Beyond it the one that was used the longest ago is written and
/// closed; an owner's newest slot is opened again when it has room left.
const OPEN_BYTES_MAX: usize = 16 << 20;
/// Room below which a slot is not opened again, in bytes.
const REOPEN_BYTES_MIN: usize = CONTENT_BYTES_MAX / 4;
/// Maximum number of open slots that are written at once.
const WRITTEN_AT_ONCE_MAX: usize = 64;
/// Maximum number of slots read for one query.
const SLOTS_READ_MAX: usize = 256;

/// The history of one journal.
pub(crate) struct History {
    disk: Arc<dyn Disk>,
    cluster: [u8; 16],
    /// End of the journal at the start. Attempts at later events are ignored: the journal was restored.
    head: u64,
    files_max: usize,
    /// None until the first use.
    known: Option<Known>,
    /// Kept between calls for its memory.
    spare: EndedAttempts,
    written_at: u64,
    /// Time before which nothing is written; 0 after a success.
    retry_at: u64,
    told_left_out: bool,
}

/// The slots of the history.
struct Known {
    /// Slots in files, also those that are open.
    pool: Pool,
    /// The open slot of each owner who has one.
    open: BTreeMap<OwnerId, OpenSlot>,
    /// Size of all open slots, in bytes.
    open_bytes: usize,
    /// Number of the next slot.
    next: u64,
    /// Number of uses of open slots.
    uses: u64,
    /// Owner whose open slot was written last.
    last_written: OwnerId,
}

/// A slot that is filling.
struct OpenSlot {
    slot: Slot,
    content: Vec<u8>,
    /// Number of bytes of the content that are in the file.
    written: usize,
    /// Number of the last use.
    used: u64,
}

/// A slot to be read.
struct SlotToRead {
    number: u64,
    place: u64,
    /// The content, where that is in memory.
    content: Option<Vec<u8>>,
}

/// Slots to be read for a query, without a lock.
pub(crate) struct Reading {
    disk: Arc<dyn Disk>,
    cluster: [u8; 16],
    /// Slots, the newest first.
    slots: Vec<SlotToRead>,
}

impl History {
    /// Opens the history in `disk` of the journal `cluster`, which ends at `head`. Keeps at most about `bytes_max` bytes, 0 for none.
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        cluster: [u8; 16],
        head: u64,
        bytes_max: u64,
    ) -> History {
        let mut history = History {
            disk,
            cluster,
            head,
            files_max: match bytes_max {
                0 => 0,
                bytes => usize::try_from(bytes / FILE_BYTES)
                    .unwrap_or(usize::MAX)
                    .max(2),
            },
            known: None,
            spare: EndedAttempts::default(),
            written_at: 0,
            retry_at: 0,
            told_left_out: false,
        };
        if !history.is_kept() {
            history.known();
        }
        history
    }

    /// Whether a history is kept.
    pub(crate) fn is_kept(&self) -> bool {
        self.files_max > 0
    }

    /// Whether the last write succeeded.
    pub(crate) fn is_written(&self) -> bool {
        self.retry_at == 0
    }

    fn known(&mut self) -> &mut Known {
        let (disk, files_max) = (&*self.disk, self.files_max);
        self.known.get_or_insert_with(|| {
            let pool = Pool::read(disk, self.cluster, self.head, files_max);
            Known::new(pool.unwrap_or_else(|error| {
                tracing::warn!(%error, "the history of deliveries can't be read");
                Pool::new(self.cluster, files_max)
            }))
        })
    }

    /// Adds the attempts that `swap` puts into an empty list, and writes full slots.
    pub(crate) fn take_in(&mut self, now: u64, swap: impl FnOnce(&mut EndedAttempts)) {
        let mut past = std::mem::take(&mut self.spare);
        past.clear();
        swap(&mut past);
        if past.left_out() > 0 && !std::mem::replace(&mut self.told_left_out, true) {
            let count = past.left_out();
            tracing::warn!(
                count,
                "attempts at events are left out of their history: they come faster than it is written"
            );
        }
        let (disk, cluster) = (self.disk.clone(), self.cluster);
        let mut bytes = Vec::new();
        for (owner, group, positions, note) in past.appended() {
            bytes.clear();
            encode(group, positions, note, &mut bytes);
            let open = self.known().open_slot(&*disk, cluster, owner);
            if open.content.len() + bytes.len() > CONTENT_BYTES_MAX {
                self.close_slot(now, owner);
            }
            let known = self.known();
            known.open_bytes += bytes.len();
            let open = known.open_slot(&*disk, cluster, owner);
            open.content.extend_from_slice(&bytes);
            open.slot.put(group, positions);
            while self.known().open_bytes > OPEN_BYTES_MAX {
                let unused = self.known().least_recently_used();
                self.close_slot(now, unused);
            }
        }
        self.spare = past;
    }

    /// Writes the open slot of the owner and closes it. What is not written is lost.
    fn close_slot(&mut self, now: u64, owner: OwnerId) {
        self.write_slots(now, &[owner]);
        let known = self.known();
        if let Some(closed) = known.open.remove(&owner) {
            known.open_bytes -= closed.content.len();
        }
    }

    /// Writes what is not written yet, if it is time.
    pub(crate) fn write_if_due(&mut self, now: u64) {
        // A clock that was set back must not keep it from being written.
        if now.abs_diff(self.written_at) >= WRITE_EVERY {
            self.written_at = now;
            let due = self
                .known
                .as_ref()
                .map(|known| known.unwritten(WRITTEN_AT_ONCE_MAX));
            self.write_slots(now, &due.unwrap_or_default());
        }
    }

    /// Writes all open slots, unless a write failed lately.
    pub(crate) fn write(&mut self, now: u64) {
        self.written_at = now;
        let due = self.known.as_ref().map(|known| known.unwritten(usize::MAX));
        self.write_slots(now, &due.unwrap_or_default());
    }

    /// Writes the open slots of these owners, unless a write failed lately.
    fn write_slots(&mut self, now: u64, owners: &[OwnerId]) {
        if owners.is_empty() || (now < self.retry_at && self.retry_at - now <= RETRY_AFTER) {
            return;
        }
        let disk = self.disk.clone();
        let known = self.known();
        let written = owners
            .iter()
            .try_for_each(|owner| known.write(&*disk, *owner));
        match written {
            Ok(()) => {
                if std::mem::take(&mut self.retry_at) > 0 {
                    tracing::info!("the history of deliveries is written again");
                }
            }
            Err(error) => {
                if self.retry_at == 0 {
                    tracing::warn!(%error, "the history of deliveries can't be written; deliveries go on, and it will be tried again");
                }
                self.retry_at = now.saturating_add(RETRY_AFTER);
            }
        }
    }

    /// What is to be read for an answer.
    pub(crate) fn reading(&mut self, wanted: &AttemptQuery<'_>) -> Reading {
        let asked = Asked::new(wanted);
        let known = self.known();
        let last = wanted
            .before
            .map_or(u64::MAX, |before| before >> INDEX_BITS);
        let is_wanted = |slot: &Slot| slot.number <= last && slot.may_have(&asked);
        let open = known.open.values().filter(|open| is_wanted(&open.slot));
        let mut slots: Vec<SlotToRead> = open
            .map(|open| SlotToRead {
                number: open.slot.number,
                place: 0,
                content: Some(open.content.clone()),
            })
            .collect();
        let is_closed = |slot: &Slot| {
            let open = known.open.get(&slot.owner);
            open.is_none_or(|open| open.slot.number != slot.number)
        };
        let closed = known.pool.newest_first();
        let closed = closed.filter(|one| is_wanted(&one.slot) && is_closed(&one.slot));
        slots.extend(closed.map(|one| SlotToRead {
            number: one.slot.number,
            place: one.place,
            content: None,
        }));
        slots.sort_by_key(|slot| std::cmp::Reverse(slot.number));
        Reading {
            disk: self.disk.clone(),
            cluster: self.cluster,
            slots,
        }
    }
}

impl Known {
    fn new(pool: Pool) -> Known {
        Known {
            open: BTreeMap::new(),
            open_bytes: 0,
            next: pool.next_number(),
            uses: 0,
            last_written: OwnerId::PLATFORM,
            pool,
        }
    }

    /// Returns the open slot of the owner. Opens the owner's newest one again if that has room, else a new one.
    fn open_slot(&mut self, disk: &dyn Disk, cluster: [u8; 16], owner: OwnerId) -> &mut OpenSlot {
        if !self.open.contains_key(&owner) {
            let open = self
                .reopen(disk, cluster, owner)
                .unwrap_or_else(|| self.begin(owner));
            self.open_bytes += open.content.len();
            self.open.insert(owner, open);
        }
        self.uses += 1;
        let open = self.open.get_mut(&owner).expect("it was opened");
        open.used = self.uses;
        open
    }

    fn reopen(&self, disk: &dyn Disk, cluster: [u8; 16], owner: OwnerId) -> Option<OpenSlot> {
        let newest = self.pool.newest(owner)?;
        if CONTENT_BYTES_MAX - newest.bytes < REOPEN_BYTES_MIN {
            return None;
        }
        let content = read_slot(disk, cluster, newest.slot.number, newest.place)?;
        Some(OpenSlot {
            slot: newest.slot.clone(),
            written: content.len(),
            content,
            used: 0,
        })
    }

    fn begin(&mut self, owner: OwnerId) -> OpenSlot {
        let number = self.next;
        self.next += 1;
        OpenSlot {
            slot: Slot::new(number, owner),
            content: Vec::new(),
            written: 0,
            used: 0,
        }
    }

    fn least_recently_used(&self) -> OwnerId {
        let unused = self.open.iter().min_by_key(|(_, open)| open.used);
        *unused.expect("open slots take memory").0
    }

    /// Returns owners whose open slots have something that is not written yet, at most `max`, in turn.
    fn unwritten(&self, max: usize) -> Vec<OwnerId> {
        let after = (Bound::Excluded(self.last_written), Bound::Unbounded);
        let in_turn = self
            .open
            .range(after)
            .chain(self.open.range(..=self.last_written));
        let unwritten = in_turn.filter(|(_, open)| open.written < open.content.len());
        unwritten.map(|(owner, _)| *owner).take(max).collect()
    }

    /// Writes the open slot of the owner into its file.
    fn write(&mut self, disk: &dyn Disk, owner: OwnerId) -> io::Result<()> {
        if let Some(open) = self.open.get_mut(&owner)
            && open.written < open.content.len()
        {
            self.pool.write(disk, &open.slot, &open.content)?;
            open.written = open.content.len();
            self.last_written = owner;
        }
        Ok(())
    }
}

impl Reading {
    /// The answer. Waits for the disk.
    pub(crate) fn find(self, wanted: &AttemptQuery<'_>) -> AttemptPage {
        let mut found = AttemptPage::default();
        for (read, slot) in self.slots.into_iter().enumerate() {
            let SlotToRead {
                number,
                place,
                content,
            } = slot;
            if read == SLOTS_READ_MAX {
                found.next = Some((number + 1) << INDEX_BITS);
                return found;
            }
            // One that can't be read is passed over; its file may be gone by now.
            let content = content.or_else(|| read_slot(&*self.disk, self.cluster, number, place));
            let mut of_slot = Vec::new();
            decode(&content.unwrap_or_default(), number, wanted, &mut of_slot);
            for attempt in of_slot.into_iter().rev() {
                if found.attempts.len() == wanted.limit {
                    found.next = found.attempts.last().map(|last| last.cursor);
                    return found;
                }
                found.attempts.push(attempt);
            }
        }
        found
    }
}

#[cfg(test)]
mod tests;
