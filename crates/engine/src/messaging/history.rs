//! The history: every attempt at an event that is over, in files beside the delivery log.
//!
//! ```text
//! history/<number>.log    64 slots of 64 KiB: a header, then groups of attempts in the order in which they ended
//! ```
//!
//! The slot that is filling is written over at least each second, and nothing is ever synced: what a crash of the machine takes is
//! history and nothing else. A slot that can't be read is passed over. The header says by a filter (Bloom 1970) of which
//! subscriptions and events there may be attempts in it; all filters are in memory, so that only slots are read that have something.
//! Beyond the bound the oldest file goes. If a file can't be written, the history stops for a minute and nothing else does.
//!
//! ```text
//!   0   8  BLAKE3 of the header's bytes from here on, cut
//!   8   8  BLAKE3 of the content, cut
//!  16   4  "TRH1"
//!  20   4  bytes of the content
//!  24   8  number of the slot
//!  32  16  names the journal
//!  48   8  greatest position
//!  56   8  zero
//!  64 256  filter
//! 320      content
//! ```
//!
//! A group: subscription, beginning and end (`u64` each), attempt (`u32`), end (`u8`), events and bytes of the note (`u16` each),
//! the note, and each position as the difference to the one before (the first: to 0), zigzag, seven bits a byte. Little-endian.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::sync::Arc;

use tributary_journal::{Disk, File};

use super::past::{End, Group, Past};
use super::settings::SubscriptionId;

const DIR: &str = "history";
const SLOT_BYTES: usize = 64 << 10;
const HEADER_BYTES: usize = 320;
const CONTENT_BYTES_MAX: usize = SLOT_BYTES - HEADER_BYTES;
const SLOTS_PER_FILE: u64 = 64;
/// Bytes of one file: the history is bounded in steps of them, and never below two.
const FILE_BYTES: u64 = SLOTS_PER_FILE * SLOT_BYTES as u64;
const MAGIC: [u8; 4] = *b"TRH1";
/// Bytes of a group without its note and positions.
const GROUP_BYTES: usize = 33;
/// The slot that is filling is written so often, nanoseconds.
const WRITE_EVERY: u64 = 500_000_000;
/// How long to wait after a write failed, nanoseconds.
const RETRY_AFTER: u64 = 60_000_000_000;
/// No file is begun while less than this is free, bytes: payments come first, and the journal's next segment needs 384 MiB.
const FREE_BYTES_MIN: u64 = 512 << 20;
/// Bits of a cursor that number attempts within a slot.
const INDEX_BITS: u32 = 20;
/// Slots that one question reads, at most.
const SLOTS_READ_MAX: usize = 256;
/// Positions that share a bit of the filter, as a power of two.
const NEIGHBOURS_BITS: u32 = 10;

/// An attempt at an event that is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Whose.
    pub subscription: SubscriptionId,
    /// The event.
    pub position: u64,
    /// 1 for the first.
    pub attempt: u32,
    /// When it was handed out, nanoseconds since the Unix epoch.
    pub began: u64,
    /// When it ended, likewise.
    pub ended: u64,
    /// How it ended.
    pub end: End,
    /// What was noted with it: of a refused one why, of a webhook what was sent and answered.
    pub note: Box<[u8]>,
    /// Its place in the history.
    pub cursor: u64,
}

/// Which attempts are wanted: those that ended last come first.
pub struct Attempts<'a> {
    /// Of these subscriptions only; each is asked about.
    pub of: &'a dyn Fn(SubscriptionId) -> bool,
    /// Of this one only: then no others are read.
    pub subscription: Option<SubscriptionId>,
    /// At these events only; none for all.
    pub events: Option<&'a BTreeSet<u64>>,
    /// Only those that were acknowledged, or only the others.
    pub acknowledged: Option<bool>,
    /// Those before this place only.
    pub before: Option<u64>,
    /// So many at most.
    pub limit: usize,
}

/// Attempts, and where to go on.
#[derive(Clone, Debug, Default)]
pub struct AttemptsFound {
    /// The one that ended last first.
    pub attempts: Vec<Ended>,
    /// Where to go on, if there may be more.
    pub next: Option<u64>,
}

/// What may be in a slot: 2,048 bits, four for each thing. With a thousand things one in 33 is thought to be there and is not; most
/// slots have a few dozen.
#[derive(Clone, Debug)]
struct Filter([u64; 32]);

impl Filter {
    fn bits(thing: u64) -> [usize; 4] {
        // The finalizer of SplitMix64 (Steele, Lea, Flood 2014).
        let mut hash = thing.wrapping_add(0x9e37_79b9_7f4a_7c15);
        hash = (hash ^ hash >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        hash = (hash ^ hash >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        hash ^= hash >> 31;
        [0, 16, 32, 48].map(|shift| (hash >> shift) as usize % 2_048)
    }

    fn put(&mut self, thing: u64) {
        for bit in Filter::bits(thing) {
            self.0[bit / 64] |= 1 << (bit % 64);
        }
    }

    fn may_have(&self, thing: u64) -> bool {
        Filter::bits(thing)
            .into_iter()
            .all(|bit| self.0[bit / 64] & 1 << (bit % 64) != 0)
    }
}

/// The things in a filter.
fn near(position: u64) -> u64 {
    position >> NEIGHBOURS_BITS
}

fn whose(subscription: SubscriptionId, acknowledged: bool) -> u64 {
    // Apart from positions, which are small.
    subscription.0.rotate_left(1) ^ (u64::from(acknowledged) << 62) ^ 1 << 63
}

/// What is known of a slot without reading it.
#[derive(Clone, Debug)]
struct Slot {
    number: u64,
    greatest: u64,
    filter: Filter,
}

impl Slot {
    fn new(number: u64) -> Slot {
        Slot {
            number,
            greatest: 0,
            filter: Filter([0; 32]),
        }
    }

    fn may_have(&self, wanted: &Attempts<'_>) -> bool {
        let ends = match wanted.acknowledged {
            Some(end) => [end; 2],
            None => [true, false],
        };
        let whose = wanted.subscription.is_none_or(|id| {
            ends.into_iter()
                .any(|end| self.filter.may_have(whose(id, end)))
        });
        whose
            && wanted.events.is_none_or(|events| {
                let mut last = None;
                events
                    .iter()
                    .map(|position| near(*position))
                    .any(|near| last.replace(near) != Some(near) && self.filter.may_have(near))
            })
    }
}

/// The history of one journal.
pub(crate) struct History {
    disk: Arc<dyn Disk>,
    cluster: [u8; 16],
    /// The journal's end at the start: what is about later events was cut with them.
    head: u64,
    files_max: usize,
    /// None until it is asked for first.
    known: Option<Known>,
    /// What is taken in next; here for its room.
    spare: Past,
    written_at: u64,
    /// Nothing is written before; 0 while all is well.
    retry_at: u64,
    told_left_out: bool,
}

/// What is there.
struct Known {
    /// Whole slots, the oldest first.
    slots: VecDeque<Slot>,
    /// Files, the oldest first.
    files: VecDeque<u64>,
    /// The one that is filling, which stands in memory.
    open: Slot,
    content: Vec<u8>,
    /// Bytes of the content that are in the file.
    written: usize,
    /// The file that it goes into, once it is open.
    file: Option<(u64, Arc<dyn File>)>,
}

/// Slots to be read for a question, without holding anything up.
pub(crate) struct Reading {
    disk: Arc<dyn Disk>,
    cluster: [u8; 16],
    /// The newest first; with the content where that is in memory.
    slots: Vec<(u64, Option<Vec<u8>>)>,
}

fn path(file: u64) -> String {
    format!("{DIR}/{file:012}.log")
}

impl History {
    /// What is in `disk` of the journal `cluster`, which ends at `head`; at most about `bytes_max` of it, 0 for none.
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
            spare: Past::default(),
            written_at: 0,
            retry_at: 0,
            told_left_out: false,
        };
        if !history.is_kept() {
            history.known();
        }
        history
    }

    /// Whether one is kept at all.
    pub(crate) fn is_kept(&self) -> bool {
        self.files_max > 0
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

    /// Takes in what `swap` puts into an empty place, and writes slots that are full.
    pub(crate) fn take_in(&mut self, now: u64, swap: impl FnOnce(&mut Past)) {
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
            known.open.greatest = positions.iter().fold(known.open.greatest, |a, b| a.max(*b));
            let end = group.end == End::Acknowledged;
            known.open.filter.put(whose(group.subscription, end));
            let mut last = None;
            for near in positions.iter().map(|position| near(*position)) {
                if last.replace(near) != Some(near) {
                    known.open.filter.put(near);
                }
            }
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

    /// Writes what is not written yet, unless that failed lately.
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
    pub(crate) fn reading(&mut self, wanted: &Attempts<'_>) -> Reading {
        let known = self.known();
        let last = wanted
            .before
            .map_or(u64::MAX, |before| before >> INDEX_BITS);
        let mut slots = Vec::new();
        if known.open.number <= last && known.open.may_have(wanted) {
            slots.push((known.open.number, Some(known.content.clone())));
        }
        let whole = known.slots.iter().rev();
        let whole = whole.filter(|slot| slot.number <= last && slot.may_have(wanted));
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
        let number = |name: &String| name.strip_suffix(".log")?.parse::<u64>().ok();
        let mut files: VecDeque<u64> = names.iter().filter_map(number).collect();
        files.make_contiguous().sort_unstable();
        let mut slots: VecDeque<Slot> = VecDeque::new();
        let newest = files.back().copied();
        while files.len() > files_max {
            let oldest = files.pop_front().expect("there are some");
            disk.remove(&path(oldest))?;
        }
        let mut header = [0; HEADER_BYTES];
        let mut gone = Vec::new();
        for &file in &files {
            let open = disk.open_read(&path(file))?;
            let first = file * SLOTS_PER_FILE;
            let mut of_file = Vec::new();
            for at in 0..SLOTS_PER_FILE {
                if open.read_at(&mut header, at * SLOT_BYTES as u64)? < HEADER_BYTES {
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
                disk.remove(&path(file))?;
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
    pub(crate) fn find(self, wanted: &Attempts<'_>) -> AttemptsFound {
        let mut found = AttemptsFound::default();
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

fn digest(bytes: &[u8]) -> [u8; 8] {
    *blake3::hash(bytes)
        .as_bytes()
        .first_chunk()
        .expect("longer")
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

/// Fills in the header before the content.
fn put_header(slot: &Slot, cluster: [u8; 16], bytes: &mut [u8]) {
    let (header, content) = bytes.split_at_mut(HEADER_BYTES);
    header[8..16].copy_from_slice(&digest(content));
    header[16..20].copy_from_slice(&MAGIC);
    header[20..24].copy_from_slice(&(content.len() as u32).to_le_bytes());
    header[24..32].copy_from_slice(&slot.number.to_le_bytes());
    header[32..48].copy_from_slice(&cluster);
    header[48..56].copy_from_slice(&slot.greatest.to_le_bytes());
    for (at, word) in slot.filter.0.iter().enumerate() {
        header[64 + 8 * at..72 + 8 * at].copy_from_slice(&word.to_le_bytes());
    }
    let sum = digest(&header[8..]);
    header[..8].copy_from_slice(&sum);
}

/// A header: the slot, and the digest and length of its content.
fn parse_header(header: &[u8], cluster: [u8; 16]) -> Option<(Slot, [u8; 8], usize)> {
    let sound =
        header[..8] == digest(&header[8..]) && header[16..20] == MAGIC && header[32..48] == cluster;
    let length = u64_at(header, 16) >> 32;
    let mut slot = Slot::new(u64_at(header, 24));
    slot.greatest = u64_at(header, 48);
    for (at, word) in slot.filter.0.iter_mut().enumerate() {
        *word = u64_at(header, 64 + 8 * at);
    }
    let content = *header[8..].first_chunk().expect("it is longer");
    let fits = length <= CONTENT_BYTES_MAX as u64;
    (sound && fits).then_some((slot, content, length as usize))
}

/// The content of a slot, if it is whole.
fn read_slot(disk: &dyn Disk, cluster: [u8; 16], number: u64) -> Option<Vec<u8>> {
    let file = disk.open_read(&path(number / SLOTS_PER_FILE)).ok()?;
    let mut bytes = vec![0; SLOT_BYTES];
    let at = number % SLOTS_PER_FILE * SLOT_BYTES as u64;
    let read = file.read_at(&mut bytes, at).ok()?;
    bytes.truncate(read);
    if read < HEADER_BYTES {
        return None;
    }
    let (slot, sum, length) = parse_header(&bytes[..HEADER_BYTES], cluster)?;
    let content = bytes.get(HEADER_BYTES..HEADER_BYTES + length)?;
    (slot.number == number && digest(content) == sum).then(|| content.to_vec())
}

fn encode(group: &Group, positions: &[u64], note: &[u8], out: &mut Vec<u8>) {
    for word in [group.subscription.0, group.began, group.ended] {
        out.extend_from_slice(&word.to_le_bytes());
    }
    out.extend_from_slice(&group.attempt.to_le_bytes());
    out.push(group.end as u8);
    out.extend_from_slice(&group.events.to_le_bytes());
    out.extend_from_slice(&group.note.to_le_bytes());
    out.extend_from_slice(note);
    let mut before = 0u64;
    for &position in positions {
        let step = position.wrapping_sub(before) as i64;
        let mut rest = (step << 1 ^ step >> 63) as u64;
        while rest >= 0x80 {
            out.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        out.push(rest as u8);
        before = position;
    }
}

/// A group and its note, and the bytes after them.
fn decode_group(bytes: &[u8]) -> Option<(Group, &[u8], &[u8])> {
    let (head, rest) = bytes.split_at_checked(GROUP_BYTES)?;
    let small = |at: usize| u16::from_le_bytes([head[at], head[at + 1]]);
    let group = Group {
        subscription: SubscriptionId(u64_at(head, 0)),
        began: u64_at(head, 8),
        ended: u64_at(head, 16),
        attempt: u32::from_le_bytes(*head[24..].first_chunk()?),
        end: End::from_number(head[28])?,
        events: small(29),
        note: small(31),
    };
    let (note, rest) = rest.split_at_checked(usize::from(group.note))?;
    Some((group, note, rest))
}

/// The next position, and the bytes after it.
fn decode_position(mut bytes: &[u8], before: u64) -> Option<(u64, &[u8])> {
    let mut step = 0u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        bytes = rest;
        step |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            let step = (step >> 1) as i64 ^ -((step & 1) as i64);
            return Some((before.wrapping_add(step as u64), bytes));
        }
    }
    None
}

/// What is wanted of a slot's content, in the order in which it ended.
fn decode(mut rest: &[u8], number: u64, wanted: &Attempts<'_>, out: &mut Vec<Ended>) {
    let mut index = 0u64;
    while let Some((group, note, positions)) = decode_group(rest) {
        rest = positions;
        let subscription = group.subscription;
        let of_group = wanted.subscription.is_none_or(|id| id == subscription)
            && (wanted.acknowledged).is_none_or(|end| end == (group.end == End::Acknowledged))
            && (wanted.of)(subscription);
        let mut position = 0;
        for _ in 0..group.events {
            let Some((next, after)) = decode_position(rest, position) else {
                return;
            };
            (position, rest) = (next, after);
            let cursor = number << INDEX_BITS | index;
            index += 1;
            if of_group
                && wanted.before.is_none_or(|before| cursor < before)
                && wanted
                    .events
                    .is_none_or(|events| events.contains(&position))
            {
                out.push(Ended {
                    subscription,
                    position,
                    attempt: group.attempt,
                    began: group.began,
                    ended: group.ended,
                    end: group.end,
                    note: note.into(),
                    cursor,
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::messaging::past::NOTE_BYTES_MAX;
    use tributary_testkit::disk::SimDisk;
    use tributary_testkit::random::Random;

    const CLUSTER: [u8; 16] = [3; 16];
    const SECOND: u64 = 1_000_000_000;

    fn open(disk: &SimDisk, head: u64, bytes_max: u64) -> History {
        History::new(disk.disk(), CLUSTER, head, bytes_max)
    }

    fn like(subscription: u64, end: End, at: u64) -> Group {
        Group {
            subscription: SubscriptionId(subscription),
            attempt: 1,
            end,
            began: at,
            ended: at + 5,
            events: 0,
            note: 0,
        }
    }

    fn put(history: &mut History, now: u64, fill: impl FnOnce(&mut Past)) {
        history.take_in(now, fill);
        history.write_if_due(now);
    }

    fn all(history: &mut History, wanted: &Attempts<'_>) -> Vec<Ended> {
        let (mut found, mut before) = (Vec::new(), None);
        loop {
            let wanted = Attempts { before, ..*wanted };
            let page = history.reading(&wanted).find(&wanted);
            assert!(page.attempts.len() <= wanted.limit);
            found.extend(page.attempts);
            match page.next {
                Some(next) => before = Some(next),
                None => return found,
            }
        }
    }

    const ANY: Attempts<'static> = Attempts {
        of: &|_| true,
        subscription: None,
        events: None,
        acknowledged: None,
        before: None,
        limit: 100,
    };

    /// Random attempts, asked for in every way, also after restarts, against a list of all of them.
    #[test]
    fn every_attempt_is_found_again_the_newest_first_also_after_a_restart() {
        for seed in 1..6 {
            let mut random = Random::new(seed);
            let disk = SimDisk::new(seed);
            let mut history = open(&disk, u64::MAX, 1 << 30);
            let mut model: Vec<(u64, u64, End, u64, Vec<u8>)> = Vec::new();
            let mut now = SECOND;
            for _ in 0..120 {
                now += random.below(SECOND);
                put(&mut history, now, |past| {
                    let end = [End::Acknowledged, End::Refused, End::TimedOut][random.index(3)];
                    let subscription = random.below(4);
                    let bits = random.below(40);
                    let first = random.below(1 << bits);
                    for step in 0..random.below(2_000) {
                        // Up and down.
                        let position = 1 + (first + step * 3) ^ random.below(4);
                        let note = match random.below(20) {
                            0 => vec![b'x'; random.index(3_000)],
                            _ => Vec::new(),
                        };
                        past.push(like(subscription, end, now), position, &note);
                        model.push((subscription, position, end, now, note));
                    }
                });
                if random.one_in(20) {
                    history.write(now);
                    history = open(&disk, u64::MAX, 1 << 30);
                }
            }
            let of = |attempt: &Ended| {
                assert_eq!((attempt.attempt, attempt.ended), (1, attempt.began + 5));
                let (end, note) = (attempt.end, attempt.note.to_vec());
                (
                    attempt.subscription.0,
                    attempt.position,
                    end,
                    attempt.began,
                    note,
                )
            };
            let check = |history: &mut History, wanted: &Attempts<'_>| {
                let found: Vec<_> = all(history, wanted).iter().map(of).collect();
                let right = model.iter().rev().filter(|one| {
                    wanted.subscription.is_none_or(|id| id.0 == one.0)
                        && wanted.events.is_none_or(|events| events.contains(&one.1))
                        && (wanted.acknowledged)
                            .is_none_or(|wanted| wanted == (one.2 == End::Acknowledged))
                });
                assert!(right.eq(found.iter()));
                found.len()
            };
            assert_eq!(check(&mut history, &ANY), model.len());
            for subscription in 0..5 {
                let subscription = Some(SubscriptionId(subscription));
                for acknowledged in [None, Some(true), Some(false)] {
                    let limit = 1 + random.index(3_000);
                    check(
                        &mut history,
                        &Attempts {
                            subscription,
                            acknowledged,
                            limit,
                            ..ANY
                        },
                    );
                }
            }
            for _ in 0..20 {
                let some: BTreeSet<u64> =
                    (0..5).map(|_| model[random.index(model.len())].1).collect();
                let count = check(
                    &mut history,
                    &Attempts {
                        events: Some(&some),
                        ..ANY
                    },
                );
                assert!(count >= some.len());
                // Few slots are read for few events.
                let slots = history
                    .reading(&Attempts {
                        events: Some(&some),
                        ..ANY
                    })
                    .slots
                    .len();
                assert!(slots <= 5 * 40, "{slots}");
            }
        }
    }

    /// A note that fills a slot quickly.
    fn fill(history: &mut History, from: u64, count: u64) {
        for position in from..from + count {
            put(history, position * SECOND, |past| {
                let note = vec![b'n'; NOTE_BYTES_MAX - 200];
                past.push(like(1, End::Refused, position), position, &note);
            });
        }
    }

    #[test]
    fn the_oldest_goes_beyond_the_bound_and_nothing_is_kept_where_nothing_is_wanted() {
        let disk = SimDisk::new(1);
        let mut history = open(&disk, u64::MAX, 2 * FILE_BYTES);
        fill(&mut history, 1, 3_000);
        let used = disk.used();
        assert!(used > FILE_BYTES && used <= 2 * FILE_BYTES, "{used}");
        let kept = all(&mut history, &ANY);
        // Four in a slot; the newest without a gap.
        assert!((256..=512).contains(&kept.len()), "{}", kept.len());
        assert!(
            kept.iter()
                .map(|one| one.position)
                .eq((3_001 - kept.len() as u64..=3_000).rev())
        );
        history.write(u64::MAX / 2);
        let mut again = open(&disk, u64::MAX, 2 * FILE_BYTES);
        assert_eq!(all(&mut again, &ANY), kept);
        fill(&mut again, 3_001, 600);
        assert!(disk.used() <= 2 * FILE_BYTES);
        assert_eq!(all(&mut again, &ANY)[0].position, 3_600);
        assert!(!open(&disk, u64::MAX, 0).is_kept());
        assert_eq!(disk.used(), 0);
    }

    #[test]
    fn damage_is_passed_over_and_what_a_restored_journal_does_not_have_is_forgotten() {
        let disk = SimDisk::new(1);
        let mut history = open(&disk, u64::MAX, 1 << 30);
        fill(&mut history, 1, 400);
        history.write(SECOND * 1_000);
        // As if it had been synced.
        let disk = disk.copy();
        let positions = |history: &mut History| -> Vec<u64> {
            all(history, &ANY).iter().map(|one| one.position).collect()
        };
        let whole = positions(&mut open(&disk, u64::MAX, 1 << 30));
        assert_eq!(whole.len(), 400);
        // Of one slot the content, of another the header, and the end of the last file.
        disk.flip(&path(0), 3 * SLOT_BYTES + HEADER_BYTES + 20_000, 1);
        disk.flip(&path(0), 7 * SLOT_BYTES + 100, 1);
        disk.damage(&path(1), |bytes| bytes.truncate(bytes.len() - 1));
        let mut history = open(&disk, u64::MAX, 1 << 30);
        let left = positions(&mut history);
        let lost: Vec<u64> = whole
            .iter()
            .filter(|one| !left.contains(one))
            .copied()
            .collect();
        assert_eq!(
            lost,
            [397..=400, 29..=32, 13..=16]
                .map(|range| range.rev())
                .into_iter()
                .flatten()
                .collect::<Vec<_>>()
        );
        fill(&mut history, 401, 4);
        history.write(SECOND * 2_000);
        assert_eq!(
            positions(&mut open(&disk, u64::MAX, 1 << 30)).len(),
            left.len() + 4
        );
        // Of a file with later events nothing is left.
        let mut cut = open(&disk, 300, 1 << 30);
        let left = positions(&mut cut);
        assert!(
            left.iter().all(|one| *one <= 256) && left.len() == 248,
            "{left:?}"
        );
        fill(&mut cut, 257, 1);
        cut.write(SECOND * 3_000);
        assert_eq!(positions(&mut open(&disk, 300, 1 << 30))[0], 257);
        let other = &mut History::new(disk.disk(), [4; 16], u64::MAX, 1 << 30);
        assert_eq!(positions(other), []);
    }

    #[test]
    fn a_full_disk_stops_the_history_for_a_minute_and_the_rest_of_it_is_found() {
        let disk = SimDisk::new(1);
        disk.set_capacity(FREE_BYTES_MIN - 1);
        let mut history = open(&disk, u64::MAX, 1 << 30);
        fill(&mut history, 1, 50);
        assert_eq!(disk.used(), 0);
        // The last ones are in memory.
        assert_eq!(all(&mut history, &ANY)[0].position, 50);
        disk.set_capacity(u64::MAX);
        fill(&mut history, 51, 100);
        let found = all(&mut history, &ANY);
        assert_eq!(found[0].position, 150);
        assert!((80..=150).contains(&found.len()), "{}", found.len());
        assert!(disk.used() > 0);
    }

    #[test]
    fn attempts_that_began_and_ended_alike_take_a_byte_or_two_each() {
        let disk = SimDisk::new(1);
        let mut history = open(&disk, u64::MAX, 1 << 30);
        put(&mut history, SECOND, |past| {
            for position in 1..=100_000u64 {
                let at = position / 1_000;
                past.push(like(1, End::Acknowledged, at), position, &[]);
            }
        });
        assert!(
            history.known().open.number <= 2,
            "{}",
            history.known().open.number
        );
        assert_eq!(
            all(
                &mut history,
                &Attempts {
                    limit: 10_000,
                    ..ANY
                }
            )
            .len(),
            100_000
        );
    }
}
