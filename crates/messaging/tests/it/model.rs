//! An independent model of one subscription: slow, plain, and without a window or a log.

use std::collections::{BTreeMap, BTreeSet};

use tributary_messaging::{Delivery, Matched, Receipt};

/// How an event stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stand {
    /// To be handed out from `due` on.
    Owed { due: u64 },
    /// In the hands of a receiver.
    Out { receipt: Receipt, deadline: u64 },
    /// Given up.
    Dead,
    /// Dealt with.
    Done,
}

/// An event that matched.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) object: u64,
    pub(crate) attempts: u32,
    pub(crate) stand: Stand,
}

/// The model.
pub(crate) struct Model {
    pub(crate) ordered: bool,
    pub(crate) attempts_max: u32,
    pub(crate) in_flight_max: usize,
    pub(crate) delay: u64,
    pub(crate) events: BTreeMap<u64, Event>,
    /// Of each object, the one whose turn it is.
    turns: BTreeMap<u64, u64>,
}

impl Model {
    pub(crate) fn new(ordered: bool, attempts_max: u32, in_flight_max: usize, delay: u64) -> Model {
        Model {
            ordered,
            attempts_max,
            in_flight_max,
            delay,
            events: BTreeMap::new(),
            turns: BTreeMap::new(),
        }
    }

    fn is_open(&self, position: u64) -> bool {
        matches!(
            self.events[&position].stand,
            Stand::Owed { .. } | Stand::Out { .. }
        )
    }

    pub(crate) fn open(&self) -> BTreeSet<u64> {
        let open = |position: &u64| self.is_open(*position);
        self.events.keys().copied().filter(open).collect()
    }

    pub(crate) fn with_stand(&self, stand: &Stand) -> BTreeSet<u64> {
        let same = self
            .events
            .iter()
            .filter(|(_, event)| event.stand == *stand);
        same.map(|(position, _)| *position).collect()
    }

    pub(crate) fn out(&self) -> usize {
        let out = |event: &&Event| matches!(event.stand, Stand::Out { .. });
        self.events.values().filter(out).count()
    }

    /// An event is there, or is there again.
    pub(crate) fn arrives(&mut self, matched: &Matched, attempts: u32, due: u64, now: u64) {
        let event = Event {
            object: matched.object,
            attempts,
            stand: Stand::Owed { due },
        };
        self.events.insert(matched.position, event);
        let turn = self.turns.get(&matched.object).copied();
        let turn = turn.filter(|turn| self.is_open(*turn) && *turn != matched.position);
        let passes = match turn {
            None => true,
            Some(turn) => {
                let ready = matches!(self.events[&turn].stand, Stand::Owed { due } if due <= now);
                ready && matched.position < turn
            }
        };
        if passes {
            self.turns.insert(matched.object, matched.position);
        }
    }

    fn goes(&mut self, position: u64, stand: Stand) {
        let object = self.events[&position].object;
        self.events.get_mut(&position).expect("it is there").stand = stand;
        if self.turns.get(&object) == Some(&position) {
            let next = self
                .events
                .iter()
                .filter(|(other, event)| event.object == object && self.is_open(**other))
                .map(|(other, _)| *other)
                .next();
            match next {
                Some(next) => self.turns.insert(object, next),
                None => self.turns.remove(&object),
            };
        }
    }

    /// An event is there for the first time.
    pub(crate) fn happens(&mut self, matched: &Matched, now: u64) {
        self.arrives(matched, 0, matched.time + self.delay, now);
    }

    /// What a receiver must get now.
    pub(crate) fn expected(&self, max: usize, now: u64) -> Vec<(u64, u32)> {
        let room = self.in_flight_max - self.out();
        let its_turn = |position: u64, object: u64| {
            !self.ordered || object == 0 || self.turns.get(&object) == Some(&position)
        };
        self.events
            .iter()
            .filter(|(_, event)| matches!(event.stand, Stand::Owed { due } if due <= now))
            .filter(|(position, event)| its_turn(**position, event.object))
            .map(|(position, event)| (*position, event.attempts + 1))
            .take(max.min(room))
            .collect()
    }

    pub(crate) fn taken(&mut self, delivery: &Delivery, deadline: u64) {
        let event = self.events.get_mut(&delivery.position).expect("it matched");
        event.attempts += 1;
        event.stand = Stand::Out {
            receipt: delivery.receipt,
            deadline,
        };
    }

    fn names(&self, receipt: Receipt) -> bool {
        self.events.get(&receipt.position).is_some_and(
            |event| matches!(event.stand, Stand::Out { receipt: now, .. } if now == receipt),
        )
    }

    pub(crate) fn ack(&mut self, receipt: Receipt) -> bool {
        let named = self.names(receipt);
        if named {
            self.goes(receipt.position, Stand::Done);
        }
        named
    }

    fn fails(&mut self, position: u64, due: u64) {
        if self.events[&position].attempts >= self.attempts_max {
            self.goes(position, Stand::Dead);
        } else {
            self.events.get_mut(&position).expect("it is there").stand = Stand::Owed { due };
        }
    }

    pub(crate) fn nack(&mut self, receipt: Receipt, due: u64) -> bool {
        let named = self.names(receipt);
        if named {
            self.fails(receipt.position, due);
        }
        named
    }

    pub(crate) fn extend(&mut self, receipt: Receipt, until: u64) -> bool {
        let named = self.names(receipt);
        if named {
            let event = self.events.get_mut(&receipt.position).expect("it is there");
            event.stand = Stand::Out {
                receipt,
                deadline: until,
            };
        }
        named
    }

    /// Time passes: what is out for too long has failed.
    pub(crate) fn tick(&mut self, now: u64) {
        let mut late: Vec<(u64, u64)> = Vec::new();
        for (position, event) in &self.events {
            if let Stand::Out { deadline, .. } = event.stand
                && deadline <= now
            {
                late.push((deadline, *position));
            }
        }
        late.sort_unstable();
        for (_, position) in late {
            self.fails(position, now);
        }
    }

    pub(crate) fn dropped(&mut self, position: u64) {
        self.goes(position, Stand::Done);
    }

    /// Everything was forgotten that only the process knew: these are owed, with attempts and due times as they were kept.
    pub(crate) fn restart(&mut self, owed: &[(Matched, u32, u64)], dead: &BTreeSet<u64>, now: u64) {
        self.turns.clear();
        for (position, event) in &mut self.events {
            event.stand = if dead.contains(position) {
                Stand::Dead
            } else {
                Stand::Done
            };
        }
        for (matched, attempts, due) in owed {
            self.arrives(matched, *attempts, *due, now);
        }
    }
}
