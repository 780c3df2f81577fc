//! The durable state of a subscription's deliveries, and the changes of it that the delivery log holds.
//!
//! After any prefix of the changes the image is sound: every event that matched is above the floor and not done, or named, or dead, or
//! was done. So a lost tail of the log costs repeated deliveries and nothing else.

use std::collections::{BTreeMap, BTreeSet};

use crate::settings::SubscriptionId;

/// Maximum number of failed attempts remembered for an event: the first and the last ones.
pub const ATTEMPTS_KEPT: usize = 8;
/// Maximum size of the error of an attempt, in bytes.
pub const ERROR_BYTES_MAX: usize = 200;

/// An attempt that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Time of the failure, nanoseconds since the Unix epoch.
    pub at: u64,
    /// Error, at most [`ERROR_BYTES_MAX`].
    pub error: Box<str>,
}

/// State of an event that the log names: one that waits for another attempt, or a dead letter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Letter {
    /// Time of the event, nanoseconds since the Unix epoch.
    pub time: u64,
    /// Number of the object that the event is about, for the order; 0 for none.
    pub object: u64,
    /// Number of attempts.
    pub attempt: u32,
    /// Earliest time of the next attempt; of a dead letter, when it was given up. Nanoseconds since the Unix epoch.
    pub due: u64,
    /// Failed attempts, the oldest first, at most [`ATTEMPTS_KEPT`].
    pub history: Vec<Attempt>,
}

impl Letter {
    /// Adds a failed attempt, and keeps at most `kept` of them, at least that one: the first and the last ones.
    pub(crate) fn failed(&mut self, at: u64, error: &str, kept: usize) {
        let end = error.floor_char_boundary(ERROR_BYTES_MAX);
        if kept <= 1 {
            self.history = Vec::new();
        }
        while self.history.len() >= kept.max(2) {
            self.history.remove(1);
        }
        self.history.reserve_exact(1);
        self.history.push(Attempt {
            at,
            error: error[..end].into(),
        });
    }

    /// Returns when the next attempt is due in a process that starts at `now`. Time may have gone back since the last attempt failed:
    /// that process ran under a wall clock that was ahead. The event waits as long as it was to wait then, and no longer.
    pub(crate) fn due_after_restart(&self, now: u64) -> u64 {
        let failed_at = self.history.last().map_or(0, |attempt| attempt.at);
        self.due.saturating_sub(failed_at.saturating_sub(now))
    }

    /// Approximate size in memory, in bytes, with the places that refer to the event.
    pub(crate) fn bytes(&self) -> usize {
        let attempts = self.history.iter();
        224 + attempts
            .map(|attempt| 40 + attempt.error.len())
            .sum::<usize>()
    }
}

/// A change of the durable state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A process began to write.
    Begin {
        /// Number below those of all its attempts.
        generation: u64,
        /// Id of the journal.
        cluster: [u8; 16],
    },
    /// The subscription is deleted.
    Delete(SubscriptionId),
    /// Every event up to `floor` that matched is done, named or dead. This is the first change of a subscription.
    Progress {
        /// Subscription.
        id: SubscriptionId,
        /// Position.
        floor: u64,
    },
    /// Events are done.
    Done {
        /// Subscription.
        id: SubscriptionId,
        /// Positions of the events, ascending.
        positions: Vec<u64>,
    },
    /// An event is not done, wherever the floor is: the log names it.
    Named {
        /// Subscription.
        id: SubscriptionId,
        /// Position of the event.
        position: u64,
        /// State of the event.
        letter: Letter,
    },
    /// An event is a dead letter.
    Dead {
        /// Subscription.
        id: SubscriptionId,
        /// Position of the event.
        position: u64,
        /// State of the dead letter.
        letter: Letter,
    },
    /// Delivery begins again after `to`.
    Rewind {
        /// Subscription.
        id: SubscriptionId,
        /// Position.
        to: u64,
        /// Whether the events that are named up to there go too.
        all: bool,
        /// The newest filter matches everything up to this position.
        through: u64,
    },
    /// The newest filter before this position matches everything up to it, as after a rewind.
    Rematch {
        /// Subscription.
        id: SubscriptionId,
        /// Position.
        through: u64,
    },
    /// These ranges are still to be delivered again.
    Replays {
        /// Subscription.
        id: SubscriptionId,
        /// First and last positions, in the order of the work.
        ranges: Vec<(u64, u64)>,
    },
    /// End of the snapshot that the log begins with.
    Whole,
}

/// The durable state of one subscription's deliveries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Position up to which every event that matched is done, named or dead.
    pub floor: u64,
    /// Events above the floor that are done.
    pub done: BTreeSet<u64>,
    /// Events that are named: not done, wherever the floor is.
    pub named: BTreeMap<u64, Letter>,
    /// Dead letters.
    pub dead: BTreeMap<u64, Letter>,
    /// Ranges to be delivered again.
    pub replays: Vec<(u64, u64)>,
    /// Position up to which the filter that is in force there matches everything, instead of older ones: there was a rewind. 0 for none.
    pub rematch_through: u64,
}

/// The durable state of all deliveries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Images {
    /// Number below those of all attempts of the process that wrote last.
    pub generation: u64,
    /// Id of the journal.
    pub cluster: [u8; 16],
    /// Subscriptions by id.
    pub images: BTreeMap<SubscriptionId, Image>,
}

/// Maximum number of positions in one [`Change::Done`].
const DONE_POSITIONS_MAX: usize = 4_096;

/// Appends [`Change::Done`]s of these positions, each of a bounded size.
pub(crate) fn done_changes(id: SubscriptionId, positions: &[u64], out: &mut Vec<Change>) {
    out.extend(
        positions
            .chunks(DONE_POSITIONS_MAX)
            .map(|chunk| Change::Done {
                id,
                positions: chunk.to_vec(),
            }),
    );
}

impl Image {
    /// The state of a new subscription to events after `start`.
    pub fn new(start: u64) -> Image {
        Image {
            floor: start,
            done: BTreeSet::new(),
            named: BTreeMap::new(),
            dead: BTreeMap::new(),
            replays: Vec::new(),
            rematch_through: 0,
        }
    }

    /// Appends the changes that make this the image of the subscription `id`.
    pub fn changes(&self, id: SubscriptionId, out: &mut Vec<Change>) {
        let floor = self.floor;
        out.push(Change::Progress { id, floor });
        if self.rematch_through > floor {
            let through = self.rematch_through;
            out.push(Change::Rematch { id, through });
        }
        let done: Vec<u64> = self.done.iter().copied().collect();
        done_changes(id, &done, out);
        out.extend(self.named.iter().map(|(&position, letter)| Change::Named {
            id,
            position,
            letter: letter.clone(),
        }));
        out.extend(self.dead.iter().map(|(&position, letter)| Change::Dead {
            id,
            position,
            letter: letter.clone(),
        }));
        if !self.replays.is_empty() {
            out.push(Change::Replays {
                id,
                ranges: self.replays.clone(),
            });
        }
    }

    /// Sets the position, which has no effect up to the floor.
    fn set_rematch_through(&mut self, through: u64) {
        self.rematch_through = match through > self.floor {
            true => through,
            false => 0,
        };
    }

    fn forget(&mut self, position: u64) {
        self.done.remove(&position);
        self.named.remove(&position);
        self.dead.remove(&position);
    }
}

impl Images {
    /// Applies a change. A change of a subscription that is not there has no effect.
    pub fn apply(&mut self, change: Change) {
        match change {
            Change::Begin {
                generation,
                cluster,
            } => {
                self.generation = generation;
                self.cluster = cluster;
            }
            Change::Delete(id) => {
                self.images.remove(&id);
            }
            Change::Progress { id, floor } => {
                let image = self.images.entry(id).or_insert_with(|| Image::new(floor));
                image.floor = floor;
                image.done = image.done.split_off(&(floor + 1));
                image.set_rematch_through(image.rematch_through);
            }
            Change::Done { id, positions } => self.with(id, |image| {
                for position in positions {
                    image.forget(position);
                    if position > image.floor {
                        image.done.insert(position);
                    }
                }
            }),
            Change::Named {
                id,
                position,
                letter,
            } => self.with(id, |image| {
                image.forget(position);
                image.named.insert(position, letter);
            }),
            Change::Dead {
                id,
                position,
                letter,
            } => self.with(id, |image| {
                image.forget(position);
                image.dead.insert(position, letter);
            }),
            Change::Rewind {
                id,
                to,
                all,
                through,
            } => self.with(id, |image| {
                image.floor = to;
                image.set_rematch_through(through);
                image.done.clear();
                image.named.retain(|position, _| !all && *position <= to);
                image.dead.retain(|position, _| *position <= to);
                image.replays.clear();
            }),
            Change::Rematch { id, through } => {
                self.with(id, |image| image.set_rematch_through(through));
            }
            Change::Replays { id, ranges } => self.with(id, |image| image.replays = ranges),
            Change::Whole => {}
        }
    }

    fn with(&mut self, id: SubscriptionId, change: impl FnOnce(&mut Image)) {
        if let Some(image) = self.images.get_mut(&id) {
            change(image);
        }
    }
}
