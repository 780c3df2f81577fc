//! The plain backend: everything in maps, nothing on disk. It is the model that tests hold the others against.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::{Arc, RwLock};

use tributary_journal::{BadFrame, FrameRef, Head, Versions};
use tributary_ledger::{self as ledger, Lookups, Residency, WorkingSet};

use crate::backend::{
    Backend, Fate, JournalMeta, JournalReader, KeyQueries, KeyUse, Recovered, Ticket,
};
use crate::batch::Batch;
use crate::failure::Failure;
use crate::lookup;
use crate::payload;
use crate::versions::NEWEST;

#[derive(Default)]
struct Stored {
    head: Head,
    frames: Vec<(u64, Vec<u8>)>,
    records: Vec<Vec<u8>>,
    keys: HashMap<u64, Vec<u64>>,
}

/// Frames, records and keys in memory. Clones share the same journal, so it survives a restart of the engine over it.
#[derive(Clone)]
pub struct Memory {
    stored: Arc<RwLock<Stored>>,
    meta: JournalMeta,
}

impl Memory {
    /// An empty journal.
    pub fn new(meta: JournalMeta) -> Memory {
        let head = Head {
            epoch: meta.epochs.last().map_or(1, |epoch| epoch.0),
            ..Head::default()
        };
        Memory {
            stored: Arc::new(RwLock::new(Stored {
                head,
                ..Stored::default()
            })),
            meta,
        }
    }
}

impl Stored {
    /// Adds a frame that another node decided.
    fn append_sealed(&mut self, bytes: Vec<u8>) -> Result<Head, BadFrame> {
        let frame = FrameRef::parse(&bytes)?;
        frame.verify(&self.head)?;
        let first_position = frame.header().first_position;
        let head = frame.head();
        for record in frame.records() {
            ledger::index_keys(record.payload(), &mut |hash| {
                let positions = self.keys.entry(hash).or_default();
                positions.push(record.position());
            })
            .expect("a record whose checksum holds can be read");
            self.records.push(record.payload().to_vec());
        }
        self.frames.push((first_position, bytes));
        self.head = head;
        Ok(head)
    }
}

impl Backend for Memory {
    fn recover(&mut self) -> Result<Recovered, Failure> {
        let mut set = WorkingSet::new(Residency::Accounts);
        let stored = self.stored.read().expect("no holder panics");
        for (position, payload) in (1..).zip(&stored.records) {
            let record = payload::decode_record(position, payload)?;
            ledger::apply(&mut set, &record.command, &record.outcome, record.ctx);
            set.evict_through(position);
        }
        Ok(Recovered { set, replayed: 0 })
    }

    fn begin(&mut self) -> Result<Head, Failure> {
        Ok(JournalReader::head(self))
    }

    fn versions(&self) -> Versions {
        NEWEST
    }

    fn load(&mut self, lookups: &Lookups, set: &mut WorkingSet) -> Result<(), Failure> {
        lookup::load(self, lookups, set)
    }

    fn find_keys(&mut self, keys: KeyQueries<'_>) -> Result<Vec<(usize, KeyUse)>, Failure> {
        lookup::find_keys(self, keys)
    }

    fn submit(&mut self, batch: &Arc<Batch>, _set: &WorkingSet) -> Ticket {
        let mut stored = self.stored.write().expect("no holder panics");
        if batch.first_position() != stored.head.position + 1 {
            return Ticket::ready(Fate::Refused(Failure::Unavailable(
                "the batch before this one failed".into(),
            )));
        }
        let mut frame = batch.frame_mut();
        for (hash, position) in frame.index_keys() {
            stored.keys.entry(hash).or_default().push(position);
        }
        let head = stored.head;
        let sealed = frame.seal(&head);
        stored
            .records
            .extend(sealed.records().map(|record| record.payload().to_vec()));
        stored.head = sealed.head();
        stored
            .frames
            .push((batch.first_position(), sealed.bytes().to_vec()));
        Ticket::ready(Fate::Durable(stored.head))
    }

    fn follow(&mut self, bytes: Vec<u8>) -> Ticket {
        let mut stored = self.stored.write().expect("no holder panics");
        Ticket::ready(match stored.append_sealed(bytes) {
            Ok(head) => Fate::Durable(head),
            Err(bad) => Fate::Refused(Failure::Unavailable(bad.to_string())),
        })
    }

    fn depth(&self) -> usize {
        1
    }

    fn reader(&self) -> Arc<dyn JournalReader> {
        Arc::new(self.clone())
    }
}

impl JournalReader for Memory {
    fn head(&self) -> Head {
        self.stored.read().expect("no holder panics").head
    }

    fn read(&self, position: u64, payload: &mut Vec<u8>) -> Result<bool, Failure> {
        let stored = self.stored.read().expect("no holder panics");
        let record = position
            .checked_sub(1)
            .and_then(|index| stored.records.get(usize::try_from(index).ok()?));
        payload.clear();
        payload.extend_from_slice(record.map_or(&[], Vec::as_slice));
        Ok(record.is_some())
    }

    fn find(
        &self,
        key_hash: u64,
        found: &mut dyn FnMut(u64) -> ControlFlow<()>,
    ) -> Result<(), Failure> {
        // The closure may read the journal, so the lock is not held while it runs.
        let positions = self
            .stored
            .read()
            .expect("no holder panics")
            .keys
            .get(&key_hash)
            .cloned();
        let _ = positions
            .unwrap_or_default()
            .into_iter()
            .rev()
            .try_for_each(found);
        Ok(())
    }

    fn frame(&self, position: u64) -> Result<Option<Vec<u8>>, Failure> {
        let stored = self.stored.read().expect("no holder panics");
        if position == 0 || position > stored.head.position {
            return Ok(None);
        }
        let after = stored
            .frames
            .partition_point(|(first, _)| *first <= position);
        Ok(Some(stored.frames[after - 1].1.clone()))
    }

    fn meta(&self) -> JournalMeta {
        self.meta.clone()
    }
}
