//! Tumbling and hopping windows: intervals [k · step, k · step + size) from 1970.

use std::collections::{BTreeMap, VecDeque};

use super::figures::{Ahead, Figures, Item, Sink, Usage};
use crate::stream::aggregate::{Accumulators, Plans, Values};
use crate::stream::codec::{Reader, Writer};
use crate::stream::errors::StopReason;
use crate::stream::keys::{KeyTable, Slot};

/// Bytes counted for a key, beside its own, and for a window, beside its aggregates.
const KEY_BYTES: usize = 96;
const WINDOW_BYTES: usize = 48;

pub(in crate::stream) struct Aligned {
    size: i64,
    step: i64,
    /// Open windows of each key, the oldest first.
    keys: KeyTable<VecDeque<Open>>,
    /// Keys that have a window with this end.
    ends: BTreeMap<i64, Vec<Slot>>,
    open_windows: usize,
    bytes: usize,
}

struct Open {
    start: i64,
    accumulators: Accumulators,
}

impl Aligned {
    pub(super) fn new(size: i64, step: i64) -> Aligned {
        Aligned {
            size,
            step,
            keys: KeyTable::default(),
            ends: BTreeMap::new(),
            open_windows: 0,
            bytes: 0,
        }
    }

    pub(super) fn advance(&mut self, time: i64, sink: &mut Sink<'_>) -> Result<(), StopReason> {
        while let Some(entry) = self.ends.first_entry().filter(|first| *first.key() <= time) {
            let (end, mut slots) = entry.remove_entry();
            self.keys.sort_slots(&mut slots);
            for slot in slots {
                let (key, windows) = self.keys.get_mut(slot);
                let open = windows.pop_front().expect("the key has a window that ends");
                assert_eq!(open.start + self.size, end, "the oldest window ends first");
                self.open_windows -= 1;
                self.bytes -= WINDOW_BYTES + open.accumulators.bytes();
                sink(Figures {
                    key,
                    start: open.start,
                    end,
                    revision: 0,
                    values: open.accumulators.values(),
                })?;
                if windows.is_empty() {
                    self.bytes -= KEY_BYTES + key.len();
                    self.keys.remove(slot);
                }
            }
        }
        Ok(())
    }

    pub(super) fn add(&mut self, plans: &Plans, item: &Item<'_>) -> Result<(), StopReason> {
        let (slot, is_new) = self.keys.find_or_insert(item.key, VecDeque::new);
        if is_new {
            self.bytes += KEY_BYTES + item.key.len();
        }
        let (first, last) = self.starts_at(item.time);
        let windows = self.keys.get_mut(slot).1;
        // Each open window holds this time: it began before an earlier event, and has not ended.
        for open in windows.iter_mut() {
            self.bytes -= open.accumulators.bytes();
            open.accumulators.add(plans, item.inputs)?;
            self.bytes += open.accumulators.bytes();
        }
        let mut start = windows.back().map_or(first, |open| open.start + self.step);
        while start <= last {
            let accumulators = Accumulators::new(plans, item.inputs);
            self.bytes += WINDOW_BYTES + accumulators.bytes();
            self.open_windows += 1;
            windows.push_back(Open {
                start,
                accumulators,
            });
            self.ends.entry(start + self.size).or_default().push(slot);
            start += self.step;
        }
        Ok(())
    }

    /// Returns the first and the last beginning of the windows that hold a time.
    fn starts_at(&self, time: i64) -> (i64, i64) {
        let last = time.div_euclid(self.step) * self.step;
        let room = self.size - 1 - (time - last);
        (last - room.div_euclid(self.step) * self.step, last)
    }

    /// Of a key, what the longest of the windows that hold this time has so far.
    pub(super) fn look(
        &self,
        plans: &Plans,
        key: &[u8],
        time: i64,
        ahead: &Ahead<'_>,
    ) -> Result<Values, StopReason> {
        let (first, _) = self.starts_at(time);
        let windows = self.keys.find(key).map(|slot| self.keys.get(slot).1);
        let open = windows.and_then(|windows| {
            let holds = |open: &&Open| (first..=time).contains(&open.start);
            windows.iter().find(holds)
        });
        let following = ahead.iter().filter(|(at, _)| *at >= first);
        Accumulators::values_with(
            open.map(|open| &open.accumulators),
            plans,
            following.map(|(_, inputs)| *inputs),
        )
    }

    pub(super) fn interval_at(&self, time: i64) -> (i64, i64) {
        let (first, last) = self.starts_at(time);
        (first, last + self.size)
    }

    pub(super) fn next_end(&self) -> Option<i64> {
        self.ends.keys().next().copied()
    }

    pub(super) fn rows(&self, sink: &mut Sink<'_>) -> Result<(), StopReason> {
        for (key, windows) in self.keys.sorted() {
            for open in windows {
                sink(Figures {
                    key,
                    start: open.start,
                    end: open.start + self.size,
                    revision: 0,
                    values: open.accumulators.values(),
                })?;
            }
        }
        Ok(())
    }

    pub(super) fn usage(&self) -> Usage {
        Usage {
            keys: self.keys.len(),
            open_windows: self.open_windows,
            state_bytes: self.bytes,
        }
    }

    pub(super) fn encode(&self, writer: &mut Writer) {
        let keys = self.keys.sorted();
        writer.count(keys.len());
        for (key, windows) in keys {
            writer.bytes(key);
            writer.count(windows.len());
            for open in windows {
                writer.i64(open.start);
                open.accumulators.encode(writer);
            }
        }
    }

    pub(super) fn decode(&mut self, plans: &Plans, reader: &mut Reader<'_>) -> Option<()> {
        for _ in 0..reader.count()? {
            let key = reader.bytes()?;
            let (slot, _) = self.keys.find_or_insert(key, VecDeque::new);
            self.bytes += KEY_BYTES + key.len();
            for _ in 0..reader.count()? {
                let start = reader.i64()?;
                let end = start.checked_add(self.size)?;
                let accumulators = Accumulators::decode(plans, reader)?;
                self.bytes += WINDOW_BYTES + accumulators.bytes();
                self.open_windows += 1;
                self.keys.get_mut(slot).1.push_back(Open {
                    start,
                    accumulators,
                });
                self.ends.entry(end).or_default().push(slot);
            }
        }
        Some(())
    }
}
