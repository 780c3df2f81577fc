//! The history of deliveries: every ended attempt, in files beside the delivery log.
//!
//! ```text
//! history/<number>.log    64 slots of 64 KiB: a header, then groups of attempts in the order in which they ended
//! ```
//!
//! The open slot is written again at least each second, and nothing is ever synced: a crash of the machine costs history and nothing
//! else. A slot that can't be read is skipped. The header holds a filter (Bloom 1970) of the subscriptions and events in the slot. All
//! filters are in memory, so that only slots with a possible answer are read. Beyond the bound the oldest file is removed. If a file
//! can't be written, the history stops for a minute and nothing else does.

mod attempts;
mod slot;

pub use attempts::{AttemptPage, AttemptQuery, EndedAttempt};

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use tributary_journal::{Disk, File};

use crate::ended::EndedAttempts;
use slot::{
    Asked, CONTENT_BYTES_MAX, DIR, HEADER_BYTES, INDEX_BITS, SLOT_BYTES, SLOTS_PER_FILE, Slot,
    decode, encode, parse_header, path, put_header, read_slot,
};

/// Size of one file, in bytes. The history is bounded in steps of it, and never below two files.
const FILE_BYTES: u64 = SLOTS_PER_FILE * SLOT_BYTES as u64;
/// Time between two writes of the open slot, nanoseconds.
const WRITE_EVERY: u64 = 500_000_000;
/// Time to wait after a failed write, nanoseconds.
const RETRY_AFTER: u64 = 60_000_000_000;
/// Free space below which no file is begun, in bytes: payments come first, and the journal's next segment needs 384 MiB.
const FREE_BYTES_MIN: u64 = 512 << 20;
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

/// The files and slots of the history.
struct Known {
    /// Full slots, the oldest first.
    slots: VecDeque<Slot>,
    /// Files, the oldest first.
    files: VecDeque<u64>,
    /// The open slot, which is in memory.
    open: Slot,
    content: Vec<u8>,
    /// Number of bytes of the content that are in the file.
    written: usize,
    /// File of the open slot, once that is open.
    file: Option<(u64, Arc<dyn File>)>,
}

/// Slots to be read for a query, without a lock.
pub(crate) struct Reading {
    disk: Arc<dyn Disk>,
    cluster: [u8; 16],
    /// Slots, the newest first, with the content where that is in memory.
    slots: Vec<(u64, Option<Vec<u8>>)>,
}

/// Removes a file. A failure costs space and nothing else.
fn remove(disk: &dyn Disk, file: u64) {
    if let Err(error) = disk.remove(&path(file)) {
        tracing::warn!(%error, file, "an old part of the history of deliveries can't be removed");
    }
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
            Known::read(disk, self.cluster, self.head, files_max).unwrap_or_else(|error| {
                tracing::warn!(%error, "the history of deliveries can't be read");
                Known::new(VecDeque::new(), VecDeque::new(), 0)
            })
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
        let mut bytes = Vec::new();
        for (group, positions, note) in past.groups() {
            bytes.clear();
            encode(group, positions, note, &mut bytes);
            if self.known().content.len() + bytes.len() > CONTENT_BYTES_MAX {
                self.write(now);
                self.turn();
            }
            let known = self.known();
            known.content.extend_from_slice(&bytes);
            known.open.put(group, positions);
        }
        self.spare = past;
    }

    /// Begins another slot. One that was not written is lost.
    fn turn(&mut self) {
        let known = self.known();
        let whole = known.written == known.content.len();
        let next = known.open.number + u64::from(whole);
        let full = std::mem::replace(&mut known.open, Slot::new(next));
        if whole {
            known.slots.push_back(full);
        }
        known.content.clear();
        known.written = 0;
    }

    /// Writes what is not written yet, if it is time.
    pub(crate) fn write_if_due(&mut self, now: u64) {
        // A clock that was set back must not keep it from being written.
        if now.abs_diff(self.written_at) >= WRITE_EVERY {
            self.write(now);
        }
    }

    /// Writes the open slot, unless a write failed lately.
    pub(crate) fn write(&mut self, now: u64) {
        self.written_at = now;
        let to_write = |known: &Known| known.written < known.content.len();
        if !self.known.as_ref().is_some_and(to_write)
            || (now < self.retry_at && self.retry_at - now <= RETRY_AFTER)
        {
            return;
        }
        let (disk, files_max, cluster) = (self.disk.clone(), self.files_max, self.cluster);
        match self.known().write(&*disk, files_max, cluster) {
            Ok(()) => {
                if std::mem::take(&mut self.retry_at) > 0 {
                    tracing::info!("the history of deliveries is written again");
                }
            }
            Err(error) => {
                if self.retry_at == 0 {
                    tracing::warn!(%error, "the history of deliveries can't be written; deliveries go on, and it will be tried again");
                }
                self.known().file = None;
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
        let mut slots = Vec::new();
        if known.open.number <= last && known.open.may_have(&asked) {
            slots.push((known.open.number, Some(known.content.clone())));
        }
        let whole = known.slots.iter().rev();
        let whole = whole.filter(|slot| slot.number <= last && slot.may_have(&asked));
        slots.extend(whole.map(|slot| (slot.number, None)));
        Reading {
            disk: self.disk.clone(),
            cluster: self.cluster,
            slots,
        }
    }
}

impl Known {
    fn new(slots: VecDeque<Slot>, files: VecDeque<u64>, next: u64) -> Known {
        Known {
            slots,
            files,
            open: Slot::new(next),
            content: Vec::new(),
            written: 0,
            file: None,
        }
    }

    /// Reads the headers of all slots.
    fn read(disk: &dyn Disk, cluster: [u8; 16], head: u64, files_max: usize) -> io::Result<Known> {
        let names = disk.list(DIR)?;
        let number = |name: &String| {
            let number = name.strip_suffix(".log")?.parse().ok()?;
            path(number).ends_with(name.as_str()).then_some(number)
        };
        let mut files: VecDeque<u64> = names.iter().filter_map(number).collect();
        files.make_contiguous().sort_unstable();
        let mut slots: VecDeque<Slot> = VecDeque::new();
        let newest = files.back().copied();
        while files.len() > files_max {
            let oldest = files.pop_front().expect("there are some");
            remove(disk, oldest);
        }
        let mut header = [0; HEADER_BYTES];
        let mut gone = Vec::new();
        for &file in &files {
            let first = file * SLOTS_PER_FILE;
            let mut of_file = Vec::new();
            // What can't be read is passed over like what is damaged.
            let open = disk.open_read(&path(file)).ok();
            for at in 0..SLOTS_PER_FILE {
                let mut read = |from: &dyn File| from.read_at(&mut header, at * SLOT_BYTES as u64);
                let read = open.as_deref().and_then(|file| read(file).ok());
                if read.unwrap_or(0) < HEADER_BYTES {
                    break;
                }
                let found = parse_header(&header, cluster);
                of_file.extend(
                    found
                        .map(|(slot, ..)| slot)
                        .filter(|slot| slot.number == first + at),
                );
            }
            // The journal was restored to an earlier position: other events will have these positions.
            if of_file.iter().any(|slot| slot.greatest > head) {
                remove(disk, file);
                gone.push(file);
            } else {
                slots.extend(of_file);
            }
        }
        files.retain(|file| !gone.contains(file));
        // What can't be read in the newest file is not written over.
        let after = slots.back().map_or(0, |slot| slot.number + 1);
        let next = match newest {
            Some(newest) if after.div_ceil(SLOTS_PER_FILE) != newest + 1 => {
                (newest + 1) * SLOTS_PER_FILE
            }
            _ => after,
        };
        Ok(Known::new(slots, files, next))
    }

    /// Puts the slot that is filling into its file.
    fn write(&mut self, disk: &dyn Disk, files_max: usize, cluster: [u8; 16]) -> io::Result<()> {
        let number = self.open.number / SLOTS_PER_FILE;
        let file = match &self.file {
            Some((open, file)) if *open == number => file.clone(),
            _ => self.open_file(disk, number, files_max)?,
        };
        self.file = Some((number, file.clone()));
        let mut bytes = vec![0; HEADER_BYTES];
        bytes.extend_from_slice(&self.content);
        put_header(&self.open, cluster, &mut bytes);
        let at = self.open.number % SLOTS_PER_FILE * SLOT_BYTES as u64;
        file.write_at(&bytes, at)?;
        self.written = self.content.len();
        Ok(())
    }

    fn open_file(
        &mut self,
        disk: &dyn Disk,
        number: u64,
        files_max: usize,
    ) -> io::Result<Arc<dyn File>> {
        if self.files.contains(&number) {
            return disk.open(&path(number));
        }
        if disk.free_bytes()? < FREE_BYTES_MIN {
            return Err(io::ErrorKind::StorageFull.into());
        }
        disk.create_dir(DIR)?;
        while self.files.len() >= files_max
            && let Some(&oldest) = self.files.front()
        {
            disk.remove(&path(oldest))?;
            self.files.pop_front();
            let newer = |slot: &Slot| slot.number / SLOTS_PER_FILE > oldest;
            self.slots.retain(newer);
        }
        let file = disk.create(&path(number))?;
        self.files.push_back(number);
        Ok(file)
    }
}

impl Reading {
    /// The answer. Waits for the disk.
    pub(crate) fn find(self, wanted: &AttemptQuery<'_>) -> AttemptPage {
        let mut found = AttemptPage::default();
        for (read, (number, content)) in self.slots.into_iter().enumerate() {
            if read == SLOTS_READ_MAX {
                found.next = Some((number + 1) << INDEX_BITS);
                return found;
            }
            // One that can't be read is passed over; its file may be gone by now.
            let content = content.or_else(|| read_slot(&*self.disk, self.cluster, number));
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
