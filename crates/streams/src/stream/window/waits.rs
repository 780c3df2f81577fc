//! Waits for an answer: the first event of a key opens one, and an event of `until` of the same key in time ends it.

use std::collections::{BTreeMap, BTreeSet};

use super::figures::{Figures, Item, Sink, Usage};
use crate::stream::aggregate::{Accumulators, Plans, Values, values_of_nothing};
use crate::stream::codec::{Reader, Writer};
use crate::stream::definition::Give;
use crate::stream::errors::StopReason;
use crate::stream::keys::{KeyTable, Slot};

/// Bytes counted for a key and its wait, beside the bytes of the key and of the aggregates.
const WAIT_BYTES: usize = 136;
/// Bytes counted for a key that had results at the present time, beside those of the key.
const ANSWERED_BYTES: usize = 64;

pub(in crate::stream) struct Waits {
    within: i64,
    give: Give,
    keys: KeyTable<Wait>,
    /// When each wait ends without an answer.
    ends: BTreeSet<(i64, Slot)>,
    bytes: usize,
    /// Number of results by key at the time to which the waits were advanced: they would have the same id.
    answered: BTreeMap<Box<[u8]>, u32>,
    answered_bytes: usize,
    clock: i64,
}

struct Wait {
    start: i64,
    accumulators: Accumulators,
}

impl Waits {
    pub(super) fn new(within: i64, give: Give) -> Waits {
        Waits {
            within,
            give,
            keys: KeyTable::default(),
            ends: BTreeSet::new(),
            bytes: 0,
            answered: BTreeMap::new(),
            answered_bytes: 0,
            clock: i64::MIN,
        }
    }

    pub(super) fn within(&self) -> i64 {
        self.within
    }

    pub(super) fn advance(&mut self, time: i64, sink: &mut Sink<'_>) -> Result<(), StopReason> {
        while let Some(end) = self.next_end().filter(|end| *end <= time) {
            let mut slots = Vec::new();
            while let Some((_, slot)) = self.ends.first().filter(|first| first.0 == end) {
                slots.push(*slot);
                self.ends.pop_first();
            }
            self.keys.sort_slots(&mut slots);
            for slot in slots {
                let (key, wait) = self.remove(slot);
                if self.give == Give::Unanswered {
                    sink(figures(&key, &wait, end, 0))?;
                }
            }
        }
        if time > self.clock {
            self.clock = time;
            self.answered.clear();
            self.answered_bytes = 0;
        }
        Ok(())
    }

    /// Of a key, what the wait has so far that is open at this time.
    pub(super) fn look(&self, plans: &Plans, key: &[u8], time: i64) -> Values {
        let wait = self.keys.find(key).map(|slot| self.keys.get(slot).1);
        let is_open = |wait: &&Wait| (wait.start..wait.start + self.within).contains(&time);
        match wait.filter(is_open) {
            Some(wait) => wait.accumulators.values(),
            None => values_of_nothing(plans),
        }
    }

    pub(super) fn add(&mut self, plans: &Plans, item: &Item<'_>) -> Result<(), StopReason> {
        let (slot, is_new) = self.keys.find_or_insert(item.key, || Wait {
            start: item.time,
            accumulators: Accumulators::new(plans, item.inputs),
        });
        let wait = self.keys.get_mut(slot).1;
        if is_new {
            self.bytes += WAIT_BYTES + item.key.len();
            self.ends.insert((item.time + self.within, slot));
        } else {
            self.bytes -= wait.accumulators.bytes();
            wait.accumulators.add(plans, item.inputs)?;
        }
        self.bytes += wait.accumulators.bytes();
        Ok(())
    }

    /// Ends the wait of a key, if there is one, at a time to which the waits were advanced.
    pub(super) fn answer(
        &mut self,
        time: i64,
        key: &[u8],
        sink: &mut Sink<'_>,
    ) -> Result<(), StopReason> {
        let Some(slot) = self.keys.find(key) else {
            return Ok(());
        };
        let start = self.keys.get(slot).1.start;
        self.ends.remove(&(start + self.within, slot));
        let (key, wait) = self.remove(slot);
        if self.give == Give::Unanswered {
            return Ok(());
        }
        let revision = self.count_answered(&key, 1);
        sink(figures(&key, &wait, time, revision))
    }

    /// Counts results of a key at the present time. Returns how many there were before.
    fn count_answered(&mut self, key: &[u8], results: u32) -> u32 {
        if let Some(before) = self.answered.get_mut(key) {
            *before += results;
            return *before - results;
        }
        self.answered.insert(key.into(), results);
        self.answered_bytes += ANSWERED_BYTES + key.len();
        0
    }

    fn remove(&mut self, slot: Slot) -> (Box<[u8]>, Wait) {
        let (key, wait) = self.keys.remove(slot);
        self.bytes -= WAIT_BYTES + key.len() + wait.accumulators.bytes();
        (key, wait)
    }

    /// The earliest time at which a wait has a result by itself.
    pub(super) fn next_result(&self) -> Option<i64> {
        self.next_end().filter(|_| self.give == Give::Unanswered)
    }

    fn next_end(&self) -> Option<i64> {
        self.ends.first().map(|(end, _)| *end)
    }

    pub(super) fn rows(&self, sink: &mut Sink<'_>) -> Result<(), StopReason> {
        for (key, wait) in self.keys.sorted() {
            sink(figures(key, wait, wait.start + self.within, 0))?;
        }
        Ok(())
    }

    pub(super) fn usage(&self) -> Usage {
        Usage {
            keys: self.keys.len(),
            open_windows: self.keys.len(),
            state_bytes: self.bytes + self.answered_bytes,
        }
    }

    pub(super) fn encode(&self, writer: &mut Writer) {
        writer.i64(self.clock);
        writer.count(self.answered.len());
        for (key, results) in &self.answered {
            writer.bytes(key);
            writer.u32(*results);
        }
        let keys = self.keys.sorted();
        writer.count(keys.len());
        for (key, wait) in keys {
            writer.bytes(key);
            writer.i64(wait.start);
            wait.accumulators.encode(writer);
        }
    }

    pub(super) fn decode(&mut self, plans: &Plans, reader: &mut Reader<'_>) -> Option<()> {
        self.clock = reader.i64()?;
        for _ in 0..reader.count()? {
            let key = reader.bytes()?;
            let results = reader.u32()?;
            self.count_answered(key, results);
        }
        for _ in 0..reader.count()? {
            let key = reader.bytes()?;
            let wait = Wait {
                start: reader.i64()?,
                accumulators: Accumulators::decode(plans, reader)?,
            };
            self.bytes += WAIT_BYTES + key.len() + wait.accumulators.bytes();
            let end = wait.start.checked_add(self.within)?;
            let (slot, _) = self.keys.find_or_insert(key, || wait);
            self.ends.insert((end, slot));
        }
        Some(())
    }
}

fn figures<'k>(key: &'k [u8], wait: &Wait, end: i64, revision: u32) -> Figures<'k> {
    Figures {
        key,
        start: wait.start,
        end,
        revision,
        values: wait.accumulators.values(),
    }
}
