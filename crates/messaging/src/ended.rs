//! Ended attempts on their way into the history, in groups that began and ended together: a receiver takes and acknowledges many
//! events at once.

use std::collections::HashMap;

use tributary_ledger::{BoundUse, OwnerId, SharedBound};

use crate::settings::SubscriptionId;

/// Maximum number of events in one group.
pub(crate) const GROUP_EVENTS_MAX: u16 = 4_096;
/// Maximum number of events that wait to be written, shared as [`SharedBound`] says. Attempts beyond it are left out of the history. An
/// owner's quarter holds an operation on all dead letters of a subscription.
const EVENTS_MAX: usize = 1 << 19;
/// Maximum size of notes that wait to be written, in bytes, shared as [`SharedBound`] says. Attempts beyond it are left out of the
/// history.
const NOTES_BYTES_MAX: usize = 8 << 20;
/// Maximum size of one note, in bytes. The rest is cut off.
pub const NOTE_BYTES_MAX: usize = 16 << 10;

/// How an attempt ended, or what else happened to an event. The numbers stand in files: none is ever used for something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum AttemptEnd {
    /// The receiver acknowledged the event, or answered the webhook with 2xx.
    Acknowledged = 1,
    /// The receiver refused the event, or the webhook failed.
    Refused = 2,
    /// The receiver did not answer in time.
    TimedOut = 3,
    /// No attempt: somebody put a dead letter back into delivery. The note names the actor.
    Requeued = 4,
    /// No attempt: somebody dropped a dead letter. The note names the actor.
    Dropped = 5,
    /// No attempt: somebody had a range delivered again, of which this is the first or the last event. The note names the actor.
    Replayed = 6,
    /// No attempt: somebody had delivery continue after this position. The note names the actor.
    Rewound = 7,
}

impl AttemptEnd {
    const ALL: [AttemptEnd; 7] = [
        AttemptEnd::Acknowledged,
        AttemptEnd::Refused,
        AttemptEnd::TimedOut,
        AttemptEnd::Requeued,
        AttemptEnd::Dropped,
        AttemptEnd::Replayed,
        AttemptEnd::Rewound,
    ];

    pub(crate) fn from_number(number: u8) -> Option<AttemptEnd> {
        AttemptEnd::ALL.into_iter().find(|end| *end as u8 == number)
    }

    /// Whether this is an operation on the subscription, and no attempt.
    pub fn is_operation(self) -> bool {
        !matches!(
            self,
            AttemptEnd::Acknowledged | AttemptEnd::Refused | AttemptEnd::TimedOut
        )
    }
}

/// Attempts of one subscription that began and ended together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Group {
    pub(crate) subscription: SubscriptionId,
    /// Number of the attempt, from 1.
    pub(crate) attempt: u32,
    pub(crate) end: AttemptEnd,
    /// Time of the hand-out, nanoseconds since the Unix epoch.
    pub(crate) began: u64,
    /// Time of the end, nanoseconds since the Unix epoch.
    pub(crate) ended: u64,
    /// Number of events.
    pub(crate) events: u16,
    /// Size of the note, in bytes.
    pub(crate) note: u16,
}

/// Ended attempts, in the order of their ends.
#[derive(Debug, Default)]
pub(crate) struct EndedAttempts {
    groups: Vec<Group>,
    /// Positions of the events of all groups.
    positions: Vec<u64>,
    /// Notes of all groups.
    notes: Vec<u8>,
    /// Owner of each group, of groups that were appended.
    owners: Vec<OwnerId>,
    /// Numbers of events and sizes of notes of the owners whose groups were appended.
    used: HashMap<OwnerId, (usize, usize)>,
    /// Number of attempts left out for want of room.
    left_out: u64,
}

impl EndedAttempts {
    /// Adds one attempt, of the event at `position`. `like` counts no events and no note.
    #[inline]
    pub(crate) fn push(&mut self, like: Group, position: u64, note: &[u8]) {
        let note = &note[..note.len().min(NOTE_BYTES_MAX)];
        if self.positions.len() >= EVENTS_MAX || self.notes.len() + note.len() > NOTES_BYTES_MAX {
            self.left_out += 1;
            return;
        }
        self.positions.push(position);
        if let Some(last) = self.groups.last_mut()
            && note.is_empty()
            && last.note == 0
            && last.events < GROUP_EVENTS_MAX
            && (Group { events: 0, ..*last }) == like
        {
            last.events += 1;
            return;
        }
        self.notes.extend_from_slice(note);
        self.groups.push(Group {
            events: 1,
            note: note.len() as u16,
            ..like
        });
    }

    /// Adds an operation on many events, with one note. `like` counts no events and no note.
    pub(crate) fn push_all(&mut self, like: Group, positions: &[u64], note: &[u8]) {
        let note = &note[..note.len().min(NOTE_BYTES_MAX)];
        for positions in positions.chunks(usize::from(GROUP_EVENTS_MAX)) {
            if self.positions.len() + positions.len() > EVENTS_MAX
                || self.notes.len() + note.len() > NOTES_BYTES_MAX
            {
                self.left_out += positions.len() as u64;
                continue;
            }
            self.positions.extend_from_slice(positions);
            self.notes.extend_from_slice(note);
            self.groups.push(Group {
                events: positions.len() as u16,
                note: note.len() as u16,
                ..like
            });
        }
    }

    /// Moves everything out of `other`, whose attempts are the owner's, as far as the owner has room. `other` keeps its memory.
    pub(crate) fn append(&mut self, owner: OwnerId, other: &mut EndedAttempts) {
        if other.is_empty() {
            return;
        }
        self.left_out += other.left_out;
        for (group, positions, note) in other.groups() {
            if !self.take_room(owner, positions.len(), note.len()) {
                self.left_out += positions.len() as u64;
                continue;
            }
            self.groups.push(*group);
            self.owners.push(owner);
            self.positions.extend_from_slice(positions);
            self.notes.extend_from_slice(note);
        }
        other.clear();
    }

    fn is_empty(&self) -> bool {
        self.groups.is_empty() && self.left_out == 0
    }

    /// Counts events and a note of the owner, if both have room.
    fn take_room(&mut self, owner: OwnerId, events: usize, note: usize) -> bool {
        let of = |owner| self.used.get(&owner).copied().unwrap_or_default();
        let (platform, own) = (of(OwnerId::PLATFORM), of(owner));
        let has_room = |max, in_all, by_platform, by_owner, more| {
            let used = BoundUse {
                in_all,
                by_platform,
                by_owner,
            };
            SharedBound::new(max).check(owner, used, more).is_ok()
        };
        let events_in_all = self.positions.len();
        if !has_room(EVENTS_MAX, events_in_all, platform.0, own.0, events)
            || !has_room(NOTES_BYTES_MAX, self.notes.len(), platform.1, own.1, note)
        {
            return false;
        }
        self.used.insert(owner, (own.0 + events, own.1 + note));
        true
    }

    /// Removes everything, and keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.groups.clear();
        self.positions.clear();
        self.notes.clear();
        self.owners.clear();
        self.used.clear();
        self.left_out = 0;
    }

    /// Returns how many attempts were left out for want of room.
    pub(crate) fn left_out(&self) -> u64 {
        self.left_out
    }

    /// Returns each group that was appended with its owner, its positions and its note.
    pub(crate) fn appended(&self) -> impl Iterator<Item = (OwnerId, &Group, &[u64], &[u8])> {
        assert_eq!(
            self.owners.len(),
            self.groups.len(),
            "each group has an owner"
        );
        let owners = self.owners.iter().copied();
        owners
            .zip(self.groups())
            .map(|(owner, (group, positions, note))| (owner, group, positions, note))
    }

    /// Returns each group with its positions and its note.
    fn groups(&self) -> impl Iterator<Item = (&Group, &[u64], &[u8])> {
        let (mut positions, mut notes) = (&self.positions[..], &self.notes[..]);
        self.groups.iter().map(move |group| {
            let (of_group, rest) = positions.split_at(usize::from(group.events));
            let (note, others) = notes.split_at(usize::from(group.note));
            (positions, notes) = (rest, others);
            (group, of_group, note)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_whose_attempts_end_fast_leaves_room_for_those_of_others() {
        let of = |subscription| Group {
            subscription: SubscriptionId(subscription),
            attempt: 1,
            end: AttemptEnd::Refused,
            began: 1,
            ended: 2,
            events: 0,
            note: 0,
        };
        let mut all = EndedAttempts::default();
        let mut append = |owner: u64, events: usize, note: &[u8]| {
            let mut list = EndedAttempts::default();
            for position in 1..=events as u64 {
                list.push(of(owner), position, note);
            }
            let before = all.positions.len();
            all.append(OwnerId(owner), &mut list);
            all.positions.len() - before
        };
        let note = [b'n'; 1_024];
        let notes_of_owner = NOTES_BYTES_MAX / 4 / note.len();
        assert_eq!(append(7, 3 * notes_of_owner, &note), notes_of_owner);
        let events_of_owner = EVENTS_MAX / 4;
        let taken = append(7, 2 * events_of_owner, &[]);
        assert!(taken <= events_of_owner && taken > events_of_owner / 2);
        assert_eq!(append(8, events_of_owner / 2, &[]), events_of_owner / 2);
        assert_eq!(append(0, notes_of_owner, &note), notes_of_owner);
        assert!(all.left_out() > 0);
        assert!(all.appended().any(|(owner, ..)| owner == OwnerId(8)));
    }
}
