//! A slot of the history: what is in it, and its bytes.
//!
//! ```text
//!   0   8  BLAKE3 of the header's bytes from here on, cut
//!   8   8  BLAKE3 of the content, cut
//!  16   4  "TRH2"
//!  20   4  bytes of the content
//!  24   8  number of the slot
//!  32  16  names the journal
//!  48   8  greatest position
//!  56   8  owner of the subscriptions in it
//!  64 256  filter
//! 320      content
//! ```
//!
//! A group: subscription, beginning and end (`u64` each), attempt (`u32`), end (`u8`), events and bytes of the note (`u16` each),
//! the note, and each position as the difference to the one before (the first: to 0), zigzag, seven bits a byte. Little-endian.

use tributary_journal::Disk;
use tributary_ledger::OwnerId;

use super::attempts::{AttemptQuery, EndedAttempt};
use crate::ended::{AttemptEnd, Group};
use crate::settings::SubscriptionId;

pub(super) const DIR: &str = "history";
pub(super) const SLOTS_PER_FILE: u64 = 64;
pub(super) const SLOT_BYTES: usize = 64 << 10;
pub(super) const HEADER_BYTES: usize = 320;
pub(super) const CONTENT_BYTES_MAX: usize = SLOT_BYTES - HEADER_BYTES;
const MAGIC: [u8; 4] = *b"TRH2";
/// Bytes of a group without its note and positions.
const GROUP_BYTES: usize = 33;
/// Bits of a cursor that number attempts within a slot.
pub(super) const INDEX_BITS: u32 = 20;
/// Events that share a place in the filter, as a power of two.
const NEIGHBOURS_BITS: u32 = 4;
/// The same for those that ended together.
const FAR_NEIGHBOURS_BITS: u32 = 10;
/// So many events that end at once end together.
const TOGETHER_MIN: usize = 32;

/// What may be in a slot: 2,048 bits, four for each thing. With 100 things one of a thousand others is thought to be there too, with 300
/// one of 26; most slots have a few dozen.
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

    fn may_have(&self, bits: &[usize; 4]) -> bool {
        let is_set = |bit: &usize| self.0[bit / 64] & 1 << (bit % 64) != 0;
        bits.iter().all(is_set)
    }
}

/// The things in a filter: an event with its neighbours, many of them where many ended together.
fn near_of(position: u64, together: bool) -> u64 {
    match together {
        true => position >> FAR_NEIGHBOURS_BITS | 1 << 62,
        false => position >> NEIGHBOURS_BITS,
    }
}

/// A subscription's attempts that ended well, or badly.
fn whose(subscription: SubscriptionId, acknowledged: bool) -> u64 {
    subscription.0.rotate_left(1) ^ (u64::from(acknowledged) << 62) ^ 1 << 63
}

/// What is asked of filters.
pub(super) struct Asked {
    /// Any of these, or anything.
    subscriptions: Option<Vec<[usize; 4]>>,
    /// Any of these, or anything.
    events: Option<Vec<[usize; 4]>>,
}

impl Asked {
    pub(super) fn new(wanted: &AttemptQuery<'_>) -> Asked {
        let ends = match wanted.acknowledged {
            Some(end) => vec![end],
            None => vec![true, false],
        };
        let whose = |id| ends.iter().map(move |end| whose(id, *end));
        let mut near: Vec<u64> = Vec::new();
        for &position in wanted.events.into_iter().flatten() {
            near.extend([near_of(position, false), near_of(position, true)]);
        }
        near.sort_unstable();
        near.dedup();
        let subscriptions = wanted.subscription.map(whose);
        Asked {
            subscriptions: subscriptions.map(|things| things.map(Filter::bits).collect()),
            events: wanted
                .events
                .map(|_| near.into_iter().map(Filter::bits).collect()),
        }
    }
}

/// What is known of a slot without reading it.
#[derive(Clone, Debug)]
pub(super) struct Slot {
    pub(super) number: u64,
    /// Owner of all attempts in the slot.
    pub(super) owner: OwnerId,
    pub(super) greatest: u64,
    filter: Filter,
}

impl Slot {
    pub(super) fn new(number: u64, owner: OwnerId) -> Slot {
        Slot {
            number,
            owner,
            greatest: 0,
            filter: Filter([0; 32]),
        }
    }

    /// Notes what a group adds.
    pub(super) fn put(&mut self, group: &Group, positions: &[u64]) {
        let end = group.end == AttemptEnd::Acknowledged;
        self.filter.put(whose(group.subscription, end));
        let together = positions.len() >= TOGETHER_MIN;
        let mut last = None;
        for &position in positions {
            self.greatest = self.greatest.max(position);
            let near = near_of(position, together);
            if last.replace(near) != Some(near) {
                self.filter.put(near);
            }
        }
    }

    /// Whether it may have something of what is asked for.
    pub(super) fn may_have(&self, asked: &Asked) -> bool {
        let any = |things: &Vec<[usize; 4]>| things.iter().any(|bits| self.filter.may_have(bits));
        asked.subscriptions.as_ref().is_none_or(any) && asked.events.as_ref().is_none_or(any)
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

pub(super) fn path(file: u64) -> String {
    format!("{DIR}/{file:012}.log")
}

/// Fills in the header before the content.
pub(super) fn put_header(slot: &Slot, cluster: [u8; 16], bytes: &mut [u8]) {
    let (header, content) = bytes.split_at_mut(HEADER_BYTES);
    header[8..16].copy_from_slice(&digest(content));
    header[16..20].copy_from_slice(&MAGIC);
    header[20..24].copy_from_slice(&(content.len() as u32).to_le_bytes());
    header[24..32].copy_from_slice(&slot.number.to_le_bytes());
    header[32..48].copy_from_slice(&cluster);
    header[48..56].copy_from_slice(&slot.greatest.to_le_bytes());
    header[56..64].copy_from_slice(&slot.owner.0.to_le_bytes());
    for (at, word) in slot.filter.0.iter().enumerate() {
        header[64 + 8 * at..72 + 8 * at].copy_from_slice(&word.to_le_bytes());
    }
    let sum = digest(&header[8..]);
    header[..8].copy_from_slice(&sum);
}

/// A header: the slot, and the digest and length of its content.
pub(super) fn parse_header(header: &[u8], cluster: [u8; 16]) -> Option<(Slot, [u8; 8], usize)> {
    let sound =
        header[..8] == digest(&header[8..]) && header[16..20] == MAGIC && header[32..48] == cluster;
    let length = u64_at(header, 16) >> 32;
    let mut slot = Slot::new(u64_at(header, 24), OwnerId(u64_at(header, 56)));
    slot.greatest = u64_at(header, 48);
    for (at, word) in slot.filter.0.iter_mut().enumerate() {
        *word = u64_at(header, 64 + 8 * at);
    }
    let content = *header[8..].first_chunk().expect("it is longer");
    let fits = length <= CONTENT_BYTES_MAX as u64;
    (sound && fits).then_some((slot, content, length as usize))
}

/// Reads the content of the slot `number` at this place, if it is there and whole.
pub(super) fn read_slot(
    disk: &dyn Disk,
    cluster: [u8; 16],
    number: u64,
    place: u64,
) -> Option<Vec<u8>> {
    let file = disk.open_read(&path(place / SLOTS_PER_FILE)).ok()?;
    let mut bytes = vec![0; SLOT_BYTES];
    let at = place % SLOTS_PER_FILE * SLOT_BYTES as u64;
    let read = file.read_at(&mut bytes, at).ok()?;
    bytes.truncate(read);
    if read < HEADER_BYTES {
        return None;
    }
    let (slot, sum, length) = parse_header(&bytes[..HEADER_BYTES], cluster)?;
    let content = bytes.get(HEADER_BYTES..HEADER_BYTES + length)?;
    (slot.number == number && digest(content) == sum).then(|| content.to_vec())
}

pub(super) fn encode(group: &Group, positions: &[u64], note: &[u8], out: &mut Vec<u8>) {
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
        end: AttemptEnd::from_number(head[28])?,
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
pub(super) fn decode(
    mut rest: &[u8],
    number: u64,
    wanted: &AttemptQuery<'_>,
    out: &mut Vec<EndedAttempt>,
) {
    let mut index = 0u64;
    while let Some((group, note, positions)) = decode_group(rest) {
        rest = positions;
        let subscription = group.subscription;
        let of_group = wanted.subscription.is_none_or(|id| id == subscription)
            && (wanted.acknowledged).is_none_or(|acknowledged| match acknowledged {
                true => group.end == AttemptEnd::Acknowledged,
                false => matches!(group.end, AttemptEnd::Refused | AttemptEnd::TimedOut),
            })
            && (wanted.is_visible)(subscription);
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
                out.push(EndedAttempt {
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
