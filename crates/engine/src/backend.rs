//! The port: what the engine asks of the place that keeps the journal.
//!
//! A backend stores frames verbatim, finds records by position and by key hash, and loads what a batch of commands needs.
//! It holds no rule about money: everything it loads or saves was decided by the ledger crate.

use std::ops::ControlFlow;
use std::sync::Arc;

use tributary_journal::{self as journal, Disk, Head};
use tributary_ledger::{Command, Key, Keys, OwnerId, WorkingSet};

use crate::batch::Batch;
use crate::failure::Failure;

/// What became of a submitted batch.
#[derive(Clone, Debug)]
pub enum Fate {
    /// Synced: the head after it.
    Durable(Head),
    /// Certainly not written.
    Refused(Failure),
    /// Perhaps written: a connection was lost while committing. The head tells, once it can be read again.
    Unknown(String),
    /// The process must stop.
    Fatal(String),
}

/// The pending outcome of [`Backend::submit`]; it can be waited for on another thread.
pub struct Ticket(Box<dyn FnOnce() -> Fate + Send>);

impl Ticket {
    /// A ticket whose fate is known already.
    pub fn ready(fate: Fate) -> Ticket {
        Ticket(Box::new(move || fate))
    }

    /// A ticket whose fate `wait` blocks for.
    pub fn pending(wait: impl FnOnce() -> Fate + Send + 'static) -> Ticket {
        Ticket(Box::new(wait))
    }

    /// Blocks until the fate is known.
    pub fn wait(self) -> Fate {
        (self.0)()
    }
}

/// The idempotency keys of a request, to be looked up.
#[derive(Clone, Copy, Debug)]
pub struct KeyQueries<'a> {
    hashes: &'a [u64],
    commands: &'a [Command],
}

impl<'a> KeyQueries<'a> {
    /// Those of `commands`, with the [`tributary_ledger::hash::hash_key`] of each.
    ///
    /// # Panics
    /// If there are not as many hashes as commands.
    pub fn new(hashes: &'a [u64], commands: &'a [Command]) -> KeyQueries<'a> {
        assert_eq!(hashes.len(), commands.len(), "a hash for each command");
        KeyQueries { hashes, commands }
    }

    /// All hashes, in order.
    pub fn hashes(&self) -> &'a [u64] {
        self.hashes
    }

    /// The key of the command with this index.
    pub fn get(&self, index: usize) -> KeyQuery<'a> {
        let command = &self.commands[index];
        KeyQuery {
            hash: self.hashes[index],
            owner: command.actor.owner,
            key: &command.key,
        }
    }
}

/// An idempotency key to be looked up.
#[derive(Clone, Copy, Debug)]
pub struct KeyQuery<'a> {
    /// [`tributary_ledger::hash::hash_key`] of the two below.
    pub hash: u64,
    /// In whose name space.
    pub owner: OwnerId,
    /// The key.
    pub key: &'a Key,
}

/// What an engine starts from.
pub struct Recovered {
    /// Accounts, owners, API keys and open payments as of the head.
    pub set: WorkingSet,
    /// Records that no checkpoint reflects.
    pub replayed: u64,
}

/// Sizes and health of a store, for metrics. All zero where a backend has no such thing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreStats {
    /// Bytes of the journal's frames.
    pub bytes: u64,
    /// Files or rows that hold them.
    pub segments: u64,
    /// Sorted index files.
    pub index_runs: u64,
    /// Bytes of memory that the index holds.
    pub index_memory_bytes: u64,
    /// Damaged places that the background check has found since the start.
    pub damaged: u64,
}

/// The earlier use of an idempotency key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyUse {
    /// The record that took the key.
    pub position: u64,
    /// Digest of the command that took it.
    pub digest: [u8; 16],
}

/// A place that keeps the journal and what is derived from it.
///
/// The engine calls `begin`, then any number of `load`s and `find_key`s, then `submit` or `abandon`, from one thread.
pub trait Backend: Send {
    /// The state at the head, rebuilt.
    fn recover(&mut self) -> Result<Recovered, Failure>;

    /// Opens a turn: the head that the next batch follows. [`Failure::StorageFull`] here means that a batch would not fit.
    fn begin(&mut self) -> Result<Head, Failure>;

    /// Puts what `keys` names into `set`, as of the head and what `set` already holds; what does not exist stays absent.
    /// Never replaces what `set` holds.
    fn load(&mut self, keys: &Keys, set: &mut WorkingSet) -> Result<(), Failure>;

    /// The earlier uses of keys, by the index of the command, ascending: nearly always none.
    fn find_keys(&mut self, keys: KeyQueries<'_>) -> Result<Vec<(usize, KeyUse)>, Failure>;

    /// Hands over a batch that follows the head of `begin`; its frame holds the encoded records and names their index keys.
    /// `set` is the state after it. At most [`Backend::depth`] may be in flight.
    fn submit(&mut self, batch: &Arc<Batch>, set: &WorkingSet) -> Ticket;

    /// Ends the turn without a batch.
    fn abandon(&mut self) {}

    /// How many batches may be in flight: 1 where the next turn sees only what is durable.
    fn depth(&self) -> usize;

    /// Does work that can wait: marks the head when idle, merges indexes. True if there may be more to do at once.
    fn idle(&mut self) -> bool {
        false
    }

    /// The directory in which checkpoints are kept beside the journal, if this backend's recovery uses them.
    fn disk(&self) -> Option<Arc<dyn Disk>> {
        None
    }

    /// Lets go of the store. What was durable stays so.
    fn close(&mut self) {}

    /// What readers use, from any thread.
    fn reader(&self) -> Arc<dyn JournalReader>;
}

/// Reads of durable records, from any thread, never waiting for the writer.
pub trait JournalReader: Send + Sync {
    /// The durable head.
    fn head(&self) -> Head;

    /// Puts the payload of the record at `position` into `payload`; false if there is none.
    fn read(&self, position: u64, payload: &mut Vec<u8>) -> Result<bool, Failure>;

    /// The payload of the record at `position`, if there is one: for many records that may lie near each other, all with one
    /// `near`.
    fn read_cached<'a>(
        &self,
        position: u64,
        near: &'a mut ReadCache,
    ) -> Result<Option<&'a [u8]>, Failure> {
        let found = self.read(position, &mut near.payload)?;
        Ok(found.then_some(&near.payload[..]))
    }

    /// Calls `found` with every position that `key_hash` may lead to, newest first, until it breaks.
    fn find(
        &self,
        key_hash: u64,
        found: &mut dyn FnMut(u64) -> ControlFlow<()>,
    ) -> Result<(), Failure>;

    /// The sealed frame that holds `position`, verbatim; none beyond the head.
    fn frame(&self, position: u64) -> Result<Option<Vec<u8>>, Failure>;

    /// The id key and the epochs `(epoch, first position)`.
    fn meta(&self) -> JournalMeta;

    /// Sizes and health, for metrics.
    fn stats(&self) -> StoreStats {
        StoreStats::default()
    }
}

/// What is kept of reading one record for reading the next.
#[derive(Debug, Default)]
pub struct ReadCache {
    pub(crate) journal: journal::ReadCache,
    payload: Vec<u8>,
}

/// What makes the ids of a journal its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalMeta {
    /// Names the journal for life, through backups and moves.
    pub cluster_id: [u8; 16],
    /// Key of the permutation behind public ids.
    pub id_key: [u8; 16],
    /// `(epoch, first position)`, ascending.
    pub epochs: Vec<(u32, u64)>,
}
