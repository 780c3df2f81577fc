//! Trailing windows: one result per event, over the interval (t − size − delay, t − delay] before it.

use std::collections::{BTreeSet, VecDeque};

use super::figures::{Ahead, Figures, Item, Sink, Usage};
use crate::stream::aggregate::{AGGREGATE_BYTES, Accumulators, Plans, Sliding, Values};
use crate::stream::codec::{Reader, Writer};
use crate::stream::errors::StopReason;
use crate::stream::keys::{KeyTable, Slot};
use crate::stream::value::OwnedScalar;

/// Bytes counted for a key, beside its own, its aggregates and its events.
const KEY_BYTES: usize = 208;

pub(in crate::stream) struct Trailing {
    size: i64,
    delay: i64,
    keys: KeyTable<Queue>,
    /// For each key, a time at which to look whether its youngest event has left: never after it has.
    expiries: BTreeSet<(i64, Slot)>,
    bytes: usize,
}

/// Events of a key: first those of the window, then those that the delay keeps out of it.
struct Queue {
    times: VecDeque<i64>,
    /// Inputs of the events, one event after the other.
    inputs: VecDeque<OwnedScalar>,
    /// Number of events in the window.
    inside: usize,
    /// Number of events that have left: the number of the oldest one that is kept.
    left: u64,
    /// Number of earlier events with the time of the youngest one.
    revision: u32,
    sliding: Sliding,
}

impl Queue {
    fn new(plans: &Plans) -> Queue {
        Queue {
            times: VecDeque::new(),
            inputs: VecDeque::new(),
            inside: 0,
            left: 0,
            revision: 0,
            sliding: Sliding::new(plans),
        }
    }

    fn youngest(&self) -> i64 {
        *self.times.back().expect("a key that is kept has an event")
    }

    /// Takes the events up to this time into the window.
    fn enter_until(&mut self, plans: &Plans, end: i64) -> Result<(), StopReason> {
        while self.times.get(self.inside).is_some_and(|time| *time <= end) {
            self.enter(plans)?;
        }
        Ok(())
    }

    /// Takes the next event into the window.
    fn enter(&mut self, plans: &Plans) -> Result<(), StopReason> {
        let first = self.inside * plans.inputs;
        let input = |input: usize| &self.inputs[first + input];
        let number = self.left + self.inside as u64;
        self.inside += 1;
        self.sliding.add(plans, number, input)
    }

    /// Removes the oldest event. Returns its counted bytes.
    fn leave(&mut self, plans: &Plans) -> usize {
        if self.inside > 0 {
            let input = |input: usize| &self.inputs[input];
            self.sliding.remove(plans, self.left, input);
            self.inside -= 1;
        }
        self.times.pop_front();
        self.left += 1;
        let bytes = Sliding::event_bytes(plans, |input| &self.inputs[input]);
        self.inputs.drain(..plans.inputs);
        bytes
    }

    fn values(&self, plans: &Plans) -> Result<Vec<Option<OwnedScalar>>, StopReason> {
        let input = |event: usize, input: usize| &self.inputs[event * plans.inputs + input];
        self.sliding.values(plans, self.inside, input)
    }
}

impl Trailing {
    pub(super) fn new(size: i64, delay: i64) -> Trailing {
        Trailing {
            size,
            delay,
            keys: KeyTable::default(),
            expiries: BTreeSet::new(),
            bytes: 0,
        }
    }

    /// Forgets the keys whose events have all left the windows of events at this time and later.
    pub(super) fn advance(&mut self, plans: &Plans, time: i64) {
        while let Some((_, slot)) = self.expiries.first().filter(|first| first.0 <= time) {
            let slot = *slot;
            self.expiries.pop_first();
            let expiry = self.keys.get(slot).1.youngest() + self.size + self.delay;
            if expiry > time {
                self.expiries.insert((expiry, slot));
                continue;
            }
            let (key, mut queue) = self.keys.remove(slot);
            self.bytes -= key_bytes(plans, &key);
            while !queue.times.is_empty() {
                self.bytes -= queue.leave(plans);
            }
        }
    }

    pub(super) fn add(
        &mut self,
        plans: &Plans,
        item: &Item<'_>,
        sink: &mut Sink<'_>,
    ) -> Result<(), StopReason> {
        let (slot, is_new) = self.keys.find_or_insert(item.key, || Queue::new(plans));
        if is_new {
            self.bytes += key_bytes(plans, item.key);
            let expiry = item.time + self.size + self.delay;
            self.expiries.insert((expiry, slot));
        }
        let (start, end) = self.interval_at(item.time);
        let queue = self.keys.get_mut(slot).1;
        queue.revision = match queue.times.back() {
            Some(time) if *time == item.time => queue.revision + 1,
            _ => 0,
        };
        while queue.times.front().is_some_and(|time| *time <= start) {
            self.bytes -= queue.leave(plans);
        }
        queue.times.push_back(item.time);
        queue.inputs.extend(item.inputs.iter().cloned());
        self.bytes += Sliding::event_bytes(plans, |input| &item.inputs[input]);
        queue.enter_until(plans, end)?;
        sink(Figures {
            key: item.key,
            start,
            end,
            revision: queue.revision,
            values: queue.values(plans)?,
        })
    }

    /// Of a key, the results over the interval that an event at this time would have, without it.
    pub(super) fn look(
        &self,
        plans: &Plans,
        key: &[u8],
        time: i64,
        ahead: &Ahead<'_>,
    ) -> Result<Values, StopReason> {
        let (start, end) = self.interval_at(time);
        let within = |at: i64| start < at && at <= end;
        // They come in the order of time, so those within follow each other.
        let skipped = ahead.iter().take_while(|(at, _)| !within(*at)).count();
        let ahead = &ahead[skipped..];
        let ahead = &ahead[..ahead.iter().take_while(|(at, _)| within(*at)).count()];
        let Some(slot) = self.keys.find(key) else {
            let following = ahead.iter().map(|(_, inputs)| *inputs);
            return Accumulators::values_with(None, plans, following);
        };
        let queue = self.keys.get(slot).1;
        let kept = queue.times.len();
        let first = queue.times.partition_point(|at| *at <= start);
        let last = queue.times.partition_point(|at| *at <= end);
        let input = |event: usize, input: usize| match event.checked_sub(kept) {
            None => &queue.inputs[event * plans.inputs + input],
            Some(ahead_at) => &ahead[ahead_at].1[input],
        };
        let end = last + ahead.len();
        if first <= queue.inside && queue.inside <= last {
            let places = (first, queue.inside, end);
            return queue
                .sliding
                .values_between(plans, queue.left, places, input);
        }
        // A time before that of the youngest event, or after all of them.
        let inputs = |event| -> Vec<OwnedScalar> {
            let each = 0..plans.inputs;
            each.map(|number| input(event, number).clone()).collect()
        };
        let events: Vec<_> = (first..end).map(inputs).collect();
        Accumulators::values_with(None, plans, events.iter().map(Vec::as_slice))
    }

    pub(super) fn interval_at(&self, time: i64) -> (i64, i64) {
        (time - self.size - self.delay, time - self.delay)
    }

    pub(super) fn rows(&self, plans: &Plans, sink: &mut Sink<'_>) -> Result<(), StopReason> {
        for (key, queue) in self.keys.sorted() {
            let (start, end) = self.interval_at(queue.youngest());
            sink(Figures {
                key,
                start,
                end,
                revision: queue.revision,
                values: queue.values(plans)?,
            })?;
        }
        Ok(())
    }

    pub(super) fn usage(&self) -> Usage {
        Usage {
            keys: self.keys.len(),
            open_windows: self.keys.len(),
            state_bytes: self.bytes,
        }
    }

    pub(super) fn encode(&self, writer: &mut Writer) {
        let keys = self.keys.sorted();
        writer.count(keys.len());
        for (key, queue) in keys {
            writer.bytes(key);
            writer.u32(queue.revision);
            writer.count(queue.times.len());
            queue.times.iter().for_each(|time| writer.i64(*time));
            queue.inputs.iter().for_each(|value| writer.value(value));
        }
    }

    pub(super) fn decode(&mut self, plans: &Plans, reader: &mut Reader<'_>) -> Option<()> {
        for _ in 0..reader.count()? {
            let key = reader.bytes()?;
            let mut queue = Queue::new(plans);
            queue.revision = reader.u32()?;
            let count = reader.count()?;
            queue.times = (0..count).map(|_| reader.i64()).collect::<Option<_>>()?;
            queue.inputs = reader.values(count.checked_mul(plans.inputs)?)?.into();
            let youngest = *queue.times.back()?;
            let end = youngest.checked_sub(self.delay)?;
            queue.enter_until(plans, end).ok()?;
            self.bytes += key_bytes(plans, key);
            for event in 0..count {
                let input = |input: usize| &queue.inputs[event * plans.inputs + input];
                self.bytes += Sliding::event_bytes(plans, input);
            }
            let expiry = youngest.checked_add(self.size + self.delay)?;
            let (slot, _) = self.keys.find_or_insert(key, || queue);
            self.expiries.insert((expiry, slot));
        }
        Some(())
    }
}

fn key_bytes(plans: &Plans, key: &[u8]) -> usize {
    KEY_BYTES + key.len() + AGGREGATE_BYTES * plans.list.len()
}
