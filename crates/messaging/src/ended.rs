//! Ended attempts on their way into the history, in groups that began and ended together: a receiver takes and acknowledges many
//! events at once.

use crate::settings::SubscriptionId;

/// Maximum number of events in one group.
pub(crate) const GROUP_EVENTS_MAX: u16 = 4_096;
/// Maximum number of events that wait to be written. Attempts beyond it are left out of the history.
const EVENTS_MAX: usize = 1 << 18;
/// Maximum size of notes that wait to be written, in bytes. Attempts beyond it are left out of the history.
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

    /// Moves everything out of `other`, which keeps its memory.
    pub(crate) fn append(&mut self, other: &mut EndedAttempts) {
        if self.positions.len() + other.positions.len() > EVENTS_MAX
            || self.notes.len() + other.notes.len() > NOTES_BYTES_MAX
        {
            self.left_out += other.positions.len() as u64;
        } else {
            self.groups.extend_from_slice(&other.groups);
            self.positions.extend_from_slice(&other.positions);
            self.notes.extend_from_slice(&other.notes);
        }
        other.clear();
    }

    /// Removes everything, and keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.groups.clear();
        self.positions.clear();
        self.notes.clear();
        self.left_out = 0;
    }

    /// Returns how many attempts were left out for want of room.
    pub(crate) fn left_out(&self) -> u64 {
        self.left_out
    }

    /// Returns each group with its positions and its note.
    pub(crate) fn groups(&self) -> impl Iterator<Item = (&Group, &[u64], &[u8])> {
        let (mut positions, mut notes) = (&self.positions[..], &self.notes[..]);
        self.groups.iter().map(move |group| {
            let (of_group, rest) = positions.split_at(usize::from(group.events));
            let (note, others) = notes.split_at(usize::from(group.note));
            (positions, notes) = (rest, others);
            (group, of_group, note)
        })
    }
}
