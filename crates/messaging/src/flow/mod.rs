//! The deliveries of one subscription: which events wait, which are with a receiver, which are tried again or dead.
//!
//! A flow knows no clock and no disk: time arrives in calls, and what must be kept leaves as [`Change`]s.

mod attempts;
mod dead_letters;
mod persist;
mod unwritten;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use hashbrown::HashMap;

use self::unwritten::UnwrittenDead;
use crate::ascending_map::AscendingMap;
use crate::delivery::Matched;
use crate::ended::{AttemptEnd, EndedAttempts};
use crate::image::{Image, Letter};
use crate::memory::{MemoryUse, WINDOW_MAX};
use crate::revisions::Revisions;
use crate::settings::{Filter, Order, Policy, Subscription, SubscriptionId};
use tributary_engine::{Meter, Rates};

/// Maximum number of events that the log names one by one. A flow with so many takes no new event.
pub const NAMED_MAX: usize = 10_000;
/// Maximum number of dead letters. A flow with so many takes no new event.
pub const DEAD_MAX: usize = 100_000;
/// Maximum size of all dead letters, in bytes. A flow with so many takes no new event.
pub const DEAD_BYTES_MAX: usize = 32 << 20;
/// Maximum number of events that the log begins to name at once.
const NAMED_AT_ONCE: usize = 1_024;
/// Maximum number of ranges that wait to be replayed.
pub const REPLAYS_MAX: usize = 16;
/// Error recorded for a delivery that timed out.
const TIMED_OUT: &str = "no answer within the visibility time-out";
/// Error recorded for a delivery whose receiver disconnected.
const GAVE_BACK: &str = "the receiver went away";

/// First byte of a note that holds the error text of a receiver.
pub const RECEIVER_TEXT_MARK: u8 = b'=';

/// A range of the journal to be searched for events of a subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The first position.
    pub from: u64,
    /// The last position.
    pub through: u64,
    /// Filter for all positions of the range.
    pub filter: Arc<Filter>,
    /// Maximum number of matches to find.
    pub matches_max: usize,
    /// Whether the events are to be delivered again.
    pub replay: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Behind another event of the same object.
    Blocked,
    /// Until its letter's `due`.
    Waiting,
    Ready,
    Out {
        generation: u64,
        /// Running time of the time-out.
        deadline: u64,
        since: u64,
    },
}

#[derive(Clone, Debug)]
struct Open {
    letter: Letter,
    state: State,
    /// Whether the log names the event, or is about to.
    named: bool,
}

/// Events of one object: the one that is next or handed out, and those behind it.
#[derive(Clone, Debug)]
struct Lane {
    holder: u64,
    waiting: BTreeSet<u64>,
}

/// Counts and rates of a subscription.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Figures {
    /// Position up to which every event was matched.
    pub scanned: u64,
    /// Number of matched events that are neither done nor handed out.
    pub waiting: u64,
    /// Number of events that are handed out.
    pub in_flight: u64,
    /// Number of waiting events that were handed out before.
    pub retrying: u64,
    /// Number of dead letters.
    pub dead: u64,
    /// Time of the oldest event that is not done, nanoseconds since the Unix epoch.
    pub oldest: Option<u64>,
    /// Number of hand-outs since the process began.
    pub handed_out: u64,
    /// Number of acknowledged events since the process began.
    pub acknowledged: u64,
    /// Number of attempts that were refused or timed out since the process began.
    pub failed: u64,
    /// Number of events dropped for their age since the process began.
    pub expired: u64,
    /// Rates of the last minute.
    pub rates: Rates,
}

/// The deliveries of one subscription.
pub struct Flow {
    subscription: Subscription,
    revisions: Revisions,
    /// Position up to which every event was matched.
    scanned: u64,
    /// Floor as of the last drain.
    floor: u64,
    open: AscendingMap<u64, Open>,
    ready: AscendingMap<u64, ()>,
    /// `(due, position)` of every event that waits for a time.
    timers: AscendingMap<(u64, u64), ()>,
    /// `(deadline, position)` of every event that is handed out. A deadline is running time: no step of the clock ends an attempt, or
    /// makes it longer.
    deadlines: AscendingMap<(u64, u64), ()>,
    lanes: HashMap<u64, Lane>,
    /// Events above the floor that are done.
    done: BTreeSet<u64>,
    dead: BTreeMap<u64, Letter>,
    /// Size of the dead letters, in bytes.
    dead_bytes: usize,
    /// Size of the events that the log names, in bytes.
    named_bytes: usize,
    memory: MemoryUse,
    /// Maximum number of matched events that wait in memory to be handed out, at most [`WINDOW_MAX`].
    window: usize,
    /// Dead letters that are not known to be in the log.
    unwritten: UnwrittenDead,
    /// Dead letters that came into the log since the last notice of them, and when that was.
    unnoticed: u64,
    noticed_at: u64,
    named: usize,
    out: usize,
    replays: VecDeque<(u64, u64)>,
    /// Everything up to here is matched by the filter that is in force here; 0 if the floor is beyond it.
    rematch_through: u64,
    /// Events that the log names, or named, and that changed since the last drain.
    changed: Vec<u64>,
    /// Events done since the last drain, behind others that are not.
    done_since: Vec<u64>,
    /// Whether the oldest events were done since the last drain.
    passed: bool,
    replays_changed: bool,
    /// Whether a receiver came and got fewer events than it asked for.
    receiver_waits: bool,
    meter: Meter,
    totals: Figures,
    /// Attempts that ended since they were last taken.
    past: EndedAttempts,
}

impl Flow {
    /// Makes the flow that `image` describes. `revisions` must hold the filters for everything above the floor.
    pub(crate) fn new(
        subscription: Subscription,
        image: Image,
        revisions: Revisions,
        memory: MemoryUse,
        now: u64,
    ) -> Flow {
        let mut flow = Flow {
            revisions,
            rematch_through: image.rematch_through,
            scanned: image.floor,
            floor: image.floor,
            open: AscendingMap::new(),
            ready: AscendingMap::new(),
            timers: AscendingMap::new(),
            deadlines: AscendingMap::new(),
            lanes: HashMap::new(),
            done: image.done,
            dead_bytes: image.dead.values().map(Letter::bytes).sum(),
            named_bytes: 0,
            memory,
            window: WINDOW_MAX,
            dead: image.dead,
            unwritten: UnwrittenDead::default(),
            unnoticed: 0,
            noticed_at: 0,
            named: 0,
            out: 0,
            replays: image.replays.into(),
            changed: Vec::new(),
            done_since: Vec::new(),
            passed: false,
            replays_changed: false,
            receiver_waits: true,
            meter: Meter::default(),
            totals: Figures::default(),
            past: EndedAttempts::default(),
            subscription,
        };
        for (position, mut letter) in image.named {
            letter.due = letter.due_after_restart(now);
            flow.admit(position, letter, true, now);
        }
        flow.count_memory();
        flow
    }

    /// Counts what is in memory now in what the subscriptions of all owners share.
    pub(crate) fn count_memory(&mut self) {
        self.memory
            .letter_bytes
            .set(self.dead_bytes + self.named_bytes);
        self.memory.in_flight.set(self.out);
    }

    /// Returns the definition of the subscription.
    pub fn subscription(&self) -> &Subscription {
        &self.subscription
    }

    /// Returns the position up to which every event was matched.
    pub fn scanned(&self) -> u64 {
        self.scanned
    }

    fn id(&self) -> SubscriptionId {
        self.subscription.id
    }

    fn policy(&self) -> &Policy {
        &self.subscription.terms.policy
    }

    /// Returns why the flow takes no new events, if it takes none.
    pub fn stalled(&self) -> Option<&'static str> {
        if self.dead.len() >= DEAD_MAX || self.dead_bytes >= DEAD_BYTES_MAX {
            Some("there are too many dead letters")
        } else if !self.memory.letter_bytes.has_room() {
            Some("the subscriptions of this owner have too many events that failed")
        } else if self.named >= NAMED_MAX {
            Some("too many events wait for another attempt")
        } else {
            None
        }
    }

    /// Returns why the flow hands out nothing although it may have events, if that is so.
    pub(crate) fn hands_out_nothing(&self) -> Option<&'static str> {
        let has_room = self.memory.in_flight.has_room();
        (!has_room).then_some("the receivers of this owner hold too many events")
    }

    /// Returns how many more matched events the flow takes now.
    pub fn room(&self) -> usize {
        if self.stalled().is_some() {
            return 0;
        }
        let bound = self.window + self.out;
        bound.saturating_sub(self.open.len() - self.named)
    }

    /// Sets the maximum number of matched events that wait in memory to be handed out.
    pub(crate) fn set_window(&mut self, events: usize) {
        self.window = events;
    }

    /// Returns the range to search next, if the committed journal ends at `head`.
    pub fn wanted(&self, head: u64) -> Option<Wanted> {
        if let Some(&(from, through)) = self.replays.front()
            && self.named < NAMED_MAX / 2
            && self.memory.letter_bytes.has_room()
        {
            return Some(Wanted {
                from,
                through: through.min(head),
                filter: self.revisions.newest().clone(),
                matches_max: NAMED_AT_ONCE,
                replay: true,
            });
        }
        // In pieces that are worth a look at the journal.
        let room = self.room();
        if self.scanned >= head || room < self.window / 2 {
            return None;
        }
        let (filter, end) = self.revisions.filter_at(self.scanned + 1)?;
        Some(Wanted {
            from: self.scanned + 1,
            through: end.min(head),
            filter: filter.clone(),
            matches_max: room,
            replay: false,
        })
    }

    /// Whether the filter of the next event to match must be read from the journal first, which ends at `head`.
    pub fn lacks_revisions(&self, head: u64) -> bool {
        self.scanned < head && self.revisions.filter_at(self.scanned + 1).is_none()
    }

    /// Replaces the filters for everything that is not matched yet.
    pub(crate) fn set_revisions(&mut self, mut revisions: Revisions) {
        revisions.forget_through(self.scanned);
        self.revisions = revisions;
    }

    /// Position from which on the filters of revisions are wanted.
    pub(crate) fn revisions_from(&self) -> u64 {
        self.scanned.max(self.rematch_through)
    }

    /// Takes the matches among the events `from ..= through`, ascending, as far as there is room. Ignores a range that does not follow
    /// what was matched before.
    pub fn offer(&mut self, from: u64, through: u64, matches: &[Matched], now: u64) {
        if from > self.scanned + 1 || through <= self.scanned {
            return;
        }
        let after = matches.partition_point(|matched| matched.position <= self.scanned);
        let mut room = self.room();
        self.scanned = through;
        for matched in &matches[after..] {
            if room == 0 {
                self.scanned = matched.position - 1;
                break;
            }
            room -= usize::from(self.take_in(matched, now));
        }
        self.revisions.forget_through(self.scanned);
    }

    fn take_in(&mut self, matched: &Matched, now: u64) -> bool {
        let position = matched.position;
        if self.open.contains(&position)
            || self.done.contains(&position)
            || self.dead.contains_key(&position)
        {
            return false;
        }
        self.meter.arrived(now, 1);
        let letter = Letter {
            time: matched.time,
            object: matched.object,
            due: matched.time.saturating_add(self.policy().delay),
            ..Letter::default()
        };
        self.admit(position, letter, false, now);
        true
    }

    /// Takes the matches among the events `from ..= through` of the range that is being replayed.
    pub fn replay_found(&mut self, from: u64, through: u64, matches: &[Matched], now: u64) {
        let Some(range) = self.replays.front_mut().filter(|range| range.0 == from) else {
            return;
        };
        range.0 = through + 1;
        if range.0 > range.1 {
            self.replays.pop_front();
        }
        self.replays_changed = true;
        for matched in matches {
            // What was not looked at yet comes by itself.
            if self.open.contains(&matched.position) || matched.position > self.scanned {
                continue;
            }
            self.remove_dead(matched.position);
            self.done.remove(&matched.position);
            let letter = Letter {
                time: matched.time,
                object: matched.object,
                ..Letter::default()
            };
            self.admit(matched.position, letter, true, now);
            self.changed.push(matched.position);
        }
    }

    fn admit(&mut self, position: u64, letter: Letter, named: bool, now: u64) {
        let object = letter.object;
        if named {
            self.named += 1;
            self.named_bytes += letter.bytes();
        }
        let open = Open {
            letter,
            state: State::Blocked,
            named,
        };
        self.open.insert(position, open);
        if self.policy().order == Order::Object && object != 0 {
            let Some(lane) = self.lanes.get_mut(&object) else {
                let waiting = BTreeSet::new();
                self.lanes.insert(
                    object,
                    Lane {
                        holder: position,
                        waiting,
                    },
                );
                return self.activate(position, now);
            };
            let holder = lane.holder;
            let holds = self.open.get(&holder).expect("it is open");
            if holder < position || holds.state != State::Ready {
                lane.waiting.insert(position);
                return;
            }
            // An older one that comes back goes before one that nobody has.
            lane.waiting.insert(holder);
            lane.holder = position;
            self.ready.remove(&holder);
            self.at(holder).state = State::Blocked;
        }
        self.activate(position, now);
    }

    fn opened(&self, position: u64) -> &Open {
        self.open.get(&position).expect("it is open")
    }

    fn at(&mut self, position: u64) -> &mut Open {
        self.open.get_mut(&position).expect("it is open")
    }

    /// Makes an event the next of its object: ready now, or when it is due.
    fn activate(&mut self, position: u64, now: u64) {
        let open = self.at(position);
        let due = open.letter.due;
        if due > now {
            open.state = State::Waiting;
            self.timers.insert((due, position), ());
        } else {
            open.state = State::Ready;
            self.ready.insert(position, ());
        }
    }

    /// Removes an open event. The next event of its object gets its turn.
    fn close(&mut self, position: u64, now: u64) -> Open {
        let open = self.open.remove(&position).expect("it is open");
        if open.named {
            self.named -= 1;
            self.named_bytes -= open.letter.bytes();
        }
        match open.state {
            State::Blocked => {}
            State::Waiting => {
                self.timers.remove(&(open.letter.due, position));
            }
            State::Ready => {
                self.ready.remove(&position);
            }
            State::Out { deadline, .. } => {
                self.deadlines.remove(&(deadline, position));
                self.out -= 1;
            }
        }
        if let Some(lane) = self.lanes.get_mut(&open.letter.object) {
            if lane.holder != position {
                lane.waiting.remove(&position);
            } else if let Some(next) = lane.waiting.pop_first() {
                lane.holder = next;
                self.activate(next, now);
            } else {
                self.lanes.remove(&open.letter.object);
            }
        }
        open
    }

    /// Ends the delivery of an event: it is done.
    fn settle(&mut self, position: u64, now: u64) -> Open {
        let open = self.close(position, now);
        // None before it is open, and none can come to be: the floor will pass it.
        if !open.named && self.open.first().is_none_or(|first| *first > position) {
            self.passed = true;
            return open;
        }
        if open.named {
            self.changed.push(position);
        } else {
            self.done_since.push(position);
        }
        if position > self.floor {
            self.done.insert(position);
        }
        open
    }

    /// Returns when the next waiting event is due.
    pub fn next_due(&self) -> Option<u64> {
        self.timers.first().map(|(due, _)| *due)
    }

    /// Returns the running time at which the next attempt times out.
    pub fn next_deadline(&self) -> Option<u64> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// Fires timers that are due, at most `max` of them. `running` is the running time. Returns how many.
    pub fn tick(&mut self, now: u64, running: u64, max: usize) -> usize {
        let mut happened = 0;
        while happened < max
            && let Some(&(deadline, position)) = self.deadlines.first()
            && deadline <= running
        {
            happened += 1;
            let open = self.opened(position);
            let attempt = open.letter.attempt;
            let State::Out { since, .. } = open.state else {
                unreachable!("only what is out has a deadline");
            };
            self.over(position, attempt, AttemptEnd::TimedOut, since, now, &[]);
            self.fail(position, TIMED_OUT, now, now);
        }
        while happened < max
            && let Some(&(due, position)) = self.timers.first()
            && due <= now
        {
            happened += 1;
            self.timers.pop_first();
            self.activate(position, now);
        }
        happened
    }

    /// Whether a waiting receiver would get an event now. True once for each receiver that came and got too little.
    pub(crate) fn wakes(&mut self) -> bool {
        let wakes = self.receiver_waits
            && self.subscription.terms.paused.is_none()
            && !self.ready.is_empty()
            && self.out < self.policy().in_flight_max as usize
            && self.memory.in_flight.has_room();
        self.receiver_waits &= !wakes;
        wakes
    }

    /// Returns counts and rates.
    pub fn figures(&self, now: u64) -> Figures {
        let retrying = self
            .open
            .values()
            .filter(|open| open.letter.attempt > 0 && !matches!(open.state, State::Out { .. }));
        Figures {
            scanned: self.scanned,
            waiting: (self.open.len() - self.out) as u64,
            in_flight: self.out as u64,
            retrying: retrying.count() as u64,
            dead: self.dead.len() as u64,
            oldest: self.open.values().map(|open| open.letter.time).min(),
            rates: self.meter.rates(now),
            ..self.totals
        }
    }
}
