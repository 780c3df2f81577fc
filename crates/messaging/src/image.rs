//! What is kept of a subscription, and the changes of it that the delivery log holds.
//!
//! After any prefix of the changes the image is sound: every event that matched is either above the floor and not done, or
//! kept by name, or dead, or was dealt with. So a lost tail of the log costs repeated deliveries and nothing else.

use std::collections::{BTreeMap, BTreeSet};

use crate::settings::SubscriptionId;

/// Attempts of one event that are remembered: the first and the last ones.
pub const ATTEMPTS_KEPT: usize = 8;
/// Bytes of an attempt's error, at most.
pub const ERROR_BYTES_MAX: usize = 200;

/// An attempt that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// When it was known to have failed, nanoseconds since the Unix epoch.
    pub at: u64,
    /// Why, at most [`ERROR_BYTES_MAX`].
    pub error: Box<str>,
}

/// An event that is kept by name: it waits for another attempt, or it is dead.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Letter {
    /// When the event happened, nanoseconds since the Unix epoch.
    pub time: u64,
    /// What it is about, for the order; 0 for nothing.
    pub object: u64,
    /// How often it was handed out.
    pub attempt: u32,
    /// Not to be handed out before; of a dead one, when it died. Nanoseconds since the Unix epoch.
    pub due: u64,
    /// The attempts, the oldest first, at most [`ATTEMPTS_KEPT`].
    pub history: Vec<Attempt>,
}

impl Letter {
    /// Notes a failed attempt.
    pub(crate) fn failed(&mut self, at: u64, error: &str) {
        let end = error.floor_char_boundary(ERROR_BYTES_MAX);
        if self.history.len() == ATTEMPTS_KEPT {
            self.history.remove(1);
        }
        self.history.push(Attempt {
            at,
            error: error[..end].into(),
        });
    }

    /// About how many bytes it takes.
    pub(crate) fn bytes(&self) -> usize {
        let attempts = self.history.iter();
        96 + attempts
            .map(|attempt| 24 + attempt.error.len())
            .sum::<usize>()
    }
}

/// A change of what is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A process took over.
    Begin {
        /// Its attempts have numbers above.
        generation: u64,
        /// Names the journal that all this is about.
        cluster: [u8; 16],
    },
    /// A subscription is gone.
    Delete(SubscriptionId),
    /// Every event up to `floor` that matched is done, kept by name or dead. The first change of a subscription.
    Progress {
        /// Whose.
        id: SubscriptionId,
        /// A position.
        floor: u64,
    },
    /// These are done.
    Done {
        /// Whose.
        id: SubscriptionId,
        /// Ascending.
        positions: Vec<u64>,
    },
    /// This one is not done, wherever the floor is.
    Keep {
        /// Whose.
        id: SubscriptionId,
        /// Which.
        position: u64,
        /// How it stands.
        letter: Letter,
    },
    /// This one is dead.
    Dead {
        /// Whose.
        id: SubscriptionId,
        /// Which.
        position: u64,
        /// How it came to that.
        letter: Letter,
    },
    /// Delivery begins again after `to`.
    Rewind {
        /// Whose.
        id: SubscriptionId,
        /// A position.
        to: u64,
        /// Whether those kept up to it go too.
        all: bool,
        /// The newest filter matches everything up to this position.
        through: u64,
    },
    /// The newest filter before this position matches everything up to it, as after a rewind.
    Rematch {
        /// Whose.
        id: SubscriptionId,
        /// A position.
        through: u64,
    },
    /// These are still to be delivered again, first and last positions.
    Replays {
        /// Whose.
        id: SubscriptionId,
        /// In this order.
        ranges: Vec<(u64, u64)>,
    },
    /// The snapshot that the log begins with ends here.
    Whole,
}

/// What is kept of one subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Every event up to here that matched is done, kept by name or dead.
    pub floor: u64,
    /// Above the floor, and done.
    pub done: BTreeSet<u64>,
    /// Not done, wherever the floor is.
    pub kept: BTreeMap<u64, Letter>,
    /// Given up.
    pub dead: BTreeMap<u64, Letter>,
    /// To be delivered again.
    pub replays: Vec<(u64, u64)>,
    /// Everything up to here is matched by the filter that is in force here, not by older ones: there was a rewind.
    pub rematch_through: u64,
}

/// What is kept of all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Images {
    /// Attempts of the process that took over last have numbers above.
    pub generation: u64,
    /// Names the journal.
    pub cluster: [u8; 16],
    /// By id.
    pub images: BTreeMap<SubscriptionId, Image>,
}

/// Positions in one [`Change::Done`], at most.
const DONE_POSITIONS_MAX: usize = 4_096;

/// [`Change::Done`] of all of these, in records that are not too long.
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
    /// A new subscription that wants events after `start`.
    pub fn new(start: u64) -> Image {
        Image {
            floor: start,
            done: BTreeSet::new(),
            kept: BTreeMap::new(),
            dead: BTreeMap::new(),
            replays: Vec::new(),
            rematch_through: 0,
        }
    }

    /// The changes that make it the image of the subscription `id`.
    pub fn changes(&self, id: SubscriptionId, out: &mut Vec<Change>) {
        let floor = self.floor;
        out.push(Change::Progress { id, floor });
        if self.rematch_through > floor {
            let through = self.rematch_through;
            out.push(Change::Rematch { id, through });
        }
        let done: Vec<u64> = self.done.iter().copied().collect();
        done_changes(id, &done, out);
        out.extend(self.kept.iter().map(|(&position, letter)| Change::Keep {
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

    /// Of no effect up to the floor.
    fn set_rematch_through(&mut self, through: u64) {
        self.rematch_through = match through > self.floor {
            true => through,
            false => 0,
        };
    }

    fn forget(&mut self, position: u64) {
        self.done.remove(&position);
        self.kept.remove(&position);
        self.dead.remove(&position);
    }
}

impl Images {
    /// Carries a change in. One about a subscription that is not there changes nothing.
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
            Change::Keep {
                id,
                position,
                letter,
            } => self.with(id, |image| {
                image.forget(position);
                image.kept.insert(position, letter);
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
                image.kept.retain(|position, _| !all && *position <= to);
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
