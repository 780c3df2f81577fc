//! The port of the store that keeps the journal.
//!
//! A backend stores frames verbatim, finds records by position and by key hash, and loads what a batch of commands needs.
//! It holds no rule about money: everything it loads or saves was decided by the ledger crate.

use std::ops::ControlFlow;
use std::sync::Arc;

use tributary_journal::{self as journal, Disk, Head, Versions};
use tributary_ledger::{Command, Key, Lookups, OwnerId, WorkingSet};

use crate::batch::Batch;
use crate::failure::Failure;

/// What became of a submitted batch.
#[derive(Clone, Debug)]
pub enum Fate {
    /// The batch is synced. Holds the head after the batch.
    Durable(Head),
    /// The batch is certainly not written.
    Refused(Failure),
    /// The batch is perhaps written: a connection was lost during the commit. The head tells which, once it can be read again.
    Unknown(String),
    /// The process must stop.
    Fatal(String),
}

/// The pending result of [`Backend::submit`]. Another thread may wait for it.
pub struct Ticket(Box<dyn FnOnce() -> Fate + Send>);

impl Ticket {
    /// Makes a ticket whose fate is known already.
    pub fn ready(fate: Fate) -> Ticket {
        Ticket(Box::new(move || fate))
    }

    /// Makes a ticket whose fate `wait` blocks for.
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
    /// Names the keys of `commands`, with the [`tributary_ledger::hash::hash_key`] of each.
    ///
    /// # Panics
    /// If there are not as many hashes as commands.
    pub fn new(hashes: &'a [u64], commands: &'a [Command]) -> KeyQueries<'a> {
        assert_eq!(hashes.len(), commands.len(), "a hash for each command");
        KeyQueries { hashes, commands }
    }

    /// Returns all hashes, in the order of the commands.
    pub fn hashes(&self) -> &'a [u64] {
        self.hashes
    }

    /// Returns the key of the command with this index.
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
    /// [`tributary_ledger::hash::hash_key`] of the owner and the key.
    pub hash: u64,
    /// Owner of the name space of the key.
    pub owner: OwnerId,
    /// Key.
    pub key: &'a Key,
}

/// The state that an engine starts from.
pub struct Recovered {
    /// Accounts, owners, API keys and open payments as of the head.
    pub set: WorkingSet,
    /// Number of records that no checkpoint reflects.
    pub replayed: u64,
}

/// Sizes and health of a store, for metrics. Zero where a backend has no such figure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreStats {
    /// Size of the journal's frames, in bytes.
    pub bytes: u64,
    /// Number of files that hold the frames.
    pub segments: u64,
    /// Number of sorted index files.
    pub index_runs: u64,
    /// Memory that the index holds, in bytes.
    pub index_memory_bytes: u64,
    /// Number of damaged places that the background check and reads found since the start.
    pub damaged: u64,
}

/// The earlier use of an idempotency key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyUse {
    /// Position of the record that took the key.
    pub position: u64,
    /// Digest of the command that took the key.
    pub digest: [u8; 16],
}

/// A store of the journal and of what is derived from it.
///
/// The engine calls `begin`, then any number of `load`s and `find_key`s, then `submit` or `abandon`, from one thread.
pub trait Backend: Send {
    /// Rebuilds the state at the head.
    fn recover(&mut self) -> Result<Recovered, Failure>;

    /// Opens a turn. Returns the head that the next batch follows. [`Failure::StorageFull`] means that a batch would not fit.
    fn begin(&mut self) -> Result<Head, Failure>;

    /// Returns the versions in which a batch is decided and written now.
    fn versions(&self) -> Versions;

    /// Loads the objects that `lookups` names into `set`, as of the head and what `set` already holds. Objects that do not exist stay
    /// absent. Never replaces what `set` holds.
    fn load(&mut self, lookups: &Lookups, set: &mut WorkingSet) -> Result<(), Failure>;

    /// Returns the earlier uses of keys, by the index of the command, ascending: nearly always none.
    fn find_keys(&mut self, keys: KeyQueries<'_>) -> Result<Vec<(usize, KeyUse)>, Failure>;

    /// Writes a batch that follows the head of `begin`. The frame of the batch holds the encoded records and names their index keys; `set`
    /// is the state after the batch. At most [`Backend::depth`] batches may be in flight.
    fn submit(&mut self, batch: &Arc<Batch>, set: &WorkingSet) -> Ticket;

    /// Writes a frame that another node decided, verbatim. The frame follows the head and everything in flight; no turn is open.
    ///
    /// Only a backend of a cluster is asked for that, and whatever keeps its journal.
    fn follow(&mut self, frame: Vec<u8>) -> Ticket {
        drop(frame);
        Ticket::ready(Fate::Refused(Failure::Unavailable(
            "this store follows nobody".into(),
        )))
    }

    /// Ends the turn without a batch.
    fn abandon(&mut self) {}

    /// Maximum number of batches in flight: 1 where the next turn sees only what is durable.
    fn depth(&self) -> usize;

    /// Does work that can wait: marks the head when idle, merges indexes. True if there may be more to do at once.
    fn idle(&mut self) -> bool {
        false
    }

    /// Returns the directory for checkpoints beside the journal, if the recovery of this backend uses checkpoints.
    fn disk(&self) -> Option<Arc<dyn Disk>> {
        None
    }

    /// Closes the store.
    fn close(&mut self) {}

    /// Returns the reader of the journal, for any thread.
    fn reader(&self) -> Arc<dyn JournalReader>;
}

/// Reads of durable records, from any thread, never waiting for the writer.
pub trait JournalReader: Send + Sync {
    /// Returns the durable head.
    fn head(&self) -> Head;

    /// Reads the payload of the record at `position` into `payload`. False if there is no such record.
    fn read(&self, position: u64, payload: &mut Vec<u8>) -> Result<bool, Failure>;

    /// Returns the payload of the record at `position`, if there is one. Faster for many records that lie near each other, all read with
    /// one `near`.
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

    /// Returns the sealed frame that holds `position`, verbatim; none beyond the head.
    fn frame(&self, position: u64) -> Result<Option<Vec<u8>>, Failure>;

    /// Returns the ids, keys and epochs of the journal.
    fn meta(&self) -> JournalMeta;

    /// Returns sizes and health, for metrics.
    fn stats(&self) -> StoreStats {
        StoreStats::default()
    }
}

/// What reading one record keeps for reading the next.
#[derive(Debug, Default)]
pub struct ReadCache {
    pub(crate) journal: journal::ReadCache,
    payload: Vec<u8>,
}

/// Ids, keys and epochs of a journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalMeta {
    /// Id of the journal for life, through backups and moves.
    pub cluster_id: [u8; 16],
    /// Key of the permutation behind public ids.
    pub id_key: [u8; 16],
    /// Whether the journal is a sandbox, whose clock can be moved.
    pub sandbox: bool,
    /// Epochs and their first positions, ascending.
    pub epochs: Vec<(u32, u64)>,
}
