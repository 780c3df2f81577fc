//! Attempts that are over, on their way into the history: kept together by when they began and ended, since a receiver takes and
//! acknowledges many events at once.

use crate::settings::SubscriptionId;

/// Events of one group, at most.
pub(crate) const GROUP_EVENTS_MAX: u16 = 4_096;
/// Events that wait to be written, at most: what ends beyond them is left out of the history.
const EVENTS_MAX: usize = 1 << 18;
/// Bytes of notes that wait to be written, at most; likewise.
const NOTES_BYTES_MAX: usize = 8 << 20;
/// Bytes of one note, at most; the rest is cut off.
pub const NOTE_BYTES_MAX: usize = 16 << 10;

/// How an attempt ended. The numbers stand in files: never used again for something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum End {
    /// The receiver said that it is done, or answered the webhook with 2xx.
    Acknowledged = 1,
    /// The receiver said that it failed, or the webhook did.
    Refused = 2,
    /// The receiver said nothing in time.
    TimedOut = 3,
    /// No attempt: a dead letter was put back, to be delivered again. The note says who did it.
    Requeued = 4,
    /// No attempt: a dead letter was dropped. The note says who did it.
    Dropped = 5,
    /// No attempt: the first and the last event of a range to be delivered again. The note says who did it.
    Replayed = 6,
    /// No attempt: delivery begins again after this position. The note says who did it.
    Rewound = 7,
}

impl End {
    const ALL: [End; 7] = [
        End::Acknowledged,
        End::Refused,
        End::TimedOut,
        End::Requeued,
        End::Dropped,
        End::Replayed,
        End::Rewound,
    ];

    pub(crate) fn from_number(number: u8) -> Option<End> {
        End::ALL.into_iter().find(|end| *end as u8 == number)
    }

    /// Whether this is an operation on the subscription, and no attempt.
    pub fn is_operation(self) -> bool {
        !matches!(self, End::Acknowledged | End::Refused | End::TimedOut)
    }
}

/// Attempts of one subscription that began and ended alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Group {
    pub(crate) subscription: SubscriptionId,
    /// 1 for an event's first.
    pub(crate) attempt: u32,
    pub(crate) end: End,
    /// When they were handed out, nanoseconds since the Unix epoch.
    pub(crate) began: u64,
    /// When they ended, likewise.
    pub(crate) ended: u64,
    /// How many.
    pub(crate) events: u16,
    /// Bytes of the note.
    pub(crate) note: u16,
}

/// Attempts that are over, in the order in which they ended.
#[derive(Debug, Default)]
pub(crate) struct Past {
    groups: Vec<Group>,
    /// Those of all groups.
    positions: Vec<u64>,
    /// Those of all groups.
    notes: Vec<u8>,
    /// Attempts that were left out for want of room.
    left_out: u64,
}

impl Past {
    /// Notes the end of one attempt, at the event at `position`. `like` names no events and no note.
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

    /// Notes what was done to many events at once, with one note. `like` names no events and no note.
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

    /// Takes over all that `other` has. It keeps its room.
    pub(crate) fn append(&mut self, other: &mut Past) {
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

    /// Forgets everything, and keeps the room.
    pub(crate) fn clear(&mut self) {
        self.groups.clear();
        self.positions.clear();
        self.notes.clear();
        self.left_out = 0;
    }

    /// How many attempts were left out for want of room.
    pub(crate) fn left_out(&self) -> u64 {
        self.left_out
    }

    /// Each group with its positions and its note.
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
