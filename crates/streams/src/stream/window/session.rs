//! Session windows: events with less than the gap from each to the next.

use std::collections::BTreeSet;

use super::figures::{Ahead, Figures, Item, Sink, Usage};
use crate::stream::aggregate::{Accumulators, Plans, Values};
use crate::stream::codec::{Reader, Writer};
use crate::stream::errors::StopReason;
use crate::stream::keys::{KeyTable, Slot};

/// Bytes counted for a key and its session, beside the bytes of the key and of the aggregates.
const SESSION_BYTES: usize = 144;

pub(in crate::stream) struct Sessions {
    gap: i64,
    keys: KeyTable<Session>,
    /// The end of each session, exactly.
    ends: BTreeSet<(i64, Slot)>,
    bytes: usize,
}

struct Session {
    first: i64,
    last: i64,
    accumulators: Accumulators,
}

impl Sessions {
    pub(super) fn new(gap: i64) -> Sessions {
        Sessions {
            gap,
            keys: KeyTable::default(),
            ends: BTreeSet::new(),
            bytes: 0,
        }
    }

    pub(super) fn gap(&self) -> i64 {
        self.gap
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
                let (key, session) = self.keys.remove(slot);
                self.bytes -= SESSION_BYTES + key.len() + session.accumulators.bytes();
                sink(Figures {
                    key: &key,
                    start: session.first,
                    end,
                    revision: 0,
                    values: session.accumulators.values(),
                })?;
            }
        }
        Ok(())
    }

    pub(super) fn add(&mut self, plans: &Plans, item: &Item<'_>) -> Result<(), StopReason> {
        let (slot, is_new) = self.keys.find_or_insert(item.key, || Session {
            first: item.time,
            last: item.time,
            accumulators: Accumulators::new(plans, item.inputs),
        });
        let session = self.keys.get_mut(slot).1;
        if is_new {
            self.bytes += SESSION_BYTES + item.key.len();
        } else {
            self.bytes -= session.accumulators.bytes();
            session.accumulators.add(plans, item.inputs)?;
        }
        self.bytes += session.accumulators.bytes();
        if is_new || session.last != item.time {
            self.ends.remove(&(session.last + self.gap, slot));
            session.last = item.time;
            self.ends.insert((session.last + self.gap, slot));
        }
        Ok(())
    }

    /// Of a key, what the session has so far that an event at this time would be in.
    pub(super) fn look(
        &self,
        plans: &Plans,
        key: &[u8],
        time: i64,
        ahead: &Ahead<'_>,
    ) -> Result<Values, StopReason> {
        let session = self.keys.find(key).map(|slot| self.keys.get(slot).1);
        let mut session = session.filter(|session| session.first <= time);
        // The first of those ahead that belong to the session.
        let mut begin = 0;
        let mut last = session.map(|session| session.last);
        let times = ahead.iter().map(|(at, _)| *at);
        for (number, at) in times.chain([time]).enumerate() {
            if last.is_some_and(|last| at - last >= self.gap) {
                session = None;
                begin = number;
            }
            last = Some(at);
        }
        Accumulators::values_with(
            session.map(|session| &session.accumulators),
            plans,
            ahead[begin..].iter().map(|(_, inputs)| *inputs),
        )
    }

    pub(super) fn next_end(&self) -> Option<i64> {
        self.ends.first().map(|(end, _)| *end)
    }

    pub(super) fn rows(&self, sink: &mut Sink<'_>) -> Result<(), StopReason> {
        for (key, session) in self.keys.sorted() {
            sink(Figures {
                key,
                start: session.first,
                end: session.last + self.gap,
                revision: 0,
                values: session.accumulators.values(),
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
        for (key, session) in keys {
            writer.bytes(key);
            writer.i64(session.first);
            writer.i64(session.last);
            session.accumulators.encode(writer);
        }
    }

    pub(super) fn decode(&mut self, plans: &Plans, reader: &mut Reader<'_>) -> Option<()> {
        for _ in 0..reader.count()? {
            let key = reader.bytes()?;
            let session = Session {
                first: reader.i64()?,
                last: reader.i64()?,
                accumulators: Accumulators::decode(plans, reader)?,
            };
            self.bytes += SESSION_BYTES + key.len() + session.accumulators.bytes();
            let end = session.last.checked_add(self.gap)?;
            let (slot, _) = self.keys.find_or_insert(key, || session);
            self.ends.insert((end, slot));
        }
        Some(())
    }
}
