//! A cache of single records in front of the journal.
//!
//! A durable record never changes, so no entry can be stale: which record is the newest of a payment is always asked of the index.
//! Only records about money and accounts are kept: those of API keys and of settings hold secrets. What `decide` reads, idempotency
//! keys, sums of balances, and walks, which find their next record in the bytes that they have read, go past the cache.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tributary_journal::{FrameRef, Head};
use tributary_ledger::codec::Operation;

use crate::backend::{JournalMeta, JournalReader, ReadCache, StoreStats};
use crate::byte_cache::{ByteCache, CacheFigures, CachePolicy};
use crate::failure::Failure;
use crate::payload::parse_record;

/// Records between two places whose hashes name a history, as a power of two. Records after the last such place are not shared.
const HISTORY_BITS: u32 = 16;

/// Options of the cache of records.
#[derive(Clone, Default)]
pub struct RecordCacheOptions {
    /// Approximate maximum size, in bytes; 0 for no cache.
    pub bytes_max: u64,
    /// Which records leave a full cache.
    pub policy: CachePolicy,
    /// Opens a second level, which is asked for records that are not cached.
    pub shared: Option<Arc<OpenShared>>,
}

/// Opens the second level for the journal with these ids and keys.
pub type OpenShared = dyn Fn(&JournalMeta) -> Arc<dyn SharedRecords> + Send + Sync;

/// Records outside of this process, such as those that several nodes share. May lose any record at any time.
pub trait SharedRecords: Send + Sync {
    /// Returns the payload that was stored for this place, byte for byte; none if there is none, if there is no answer within a
    /// short bound, or if the stored bytes can't be proved to be those.
    fn get(&self, place: &RecordPlace) -> Option<Vec<u8>>;

    /// Stores the payload of the record at this place, if it can be done soon. Must not block.
    fn put(&self, place: RecordPlace, payload: &[u8]);

    /// Returns what happened since the start, for metrics.
    fn figures(&self) -> SharedFigures;
}

/// Place of a record: no two different records ever have the same, in any copy of a journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RecordPlace {
    /// Epoch of the position.
    pub epoch: u32,
    /// Hash of a frame at or after the record, which proves everything before the frame's end: it differs where a copy of the
    /// journal that was put back by hand went on in another way.
    pub history: [u8; 32],
    /// Position of the record.
    pub position: u64,
}

/// What happened to a second level since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SharedFigures {
    /// Records that it gave.
    pub hits: u64,
    /// Records that it did not have.
    pub misses: u64,
    /// Requests that failed or were not answered in time.
    pub failures: u64,
    /// Requests that were not sent, because others had failed before or too many waited.
    pub skipped: u64,
    /// Records whose bytes were not what had been stored.
    pub forged: u64,
}

/// What the cache of records did since the start, and how it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecordCacheFigures {
    /// The cache; zeros if there is none.
    pub records: CacheFigures,
    /// Ids that were made up, and look-ups of positions and names that do not exist: refused without the cost of a record.
    pub refused: u64,
    /// The second level, if there is one.
    pub shared: Option<SharedFigures>,
}

/// A journal with a cache in front of it.
pub(crate) struct CachedJournal {
    journal: Arc<dyn JournalReader>,
    cache: Option<RecordCache>,
    refused: AtomicU64,
}

struct RecordCache {
    records: ByteCache<u64, Arc<[u8]>>,
    shared: Option<Shared>,
}

struct Shared {
    records: Arc<dyn SharedRecords>,
    epochs: Vec<(u32, u64)>,
    /// Hashes that name histories, by the number of the place.
    histories: Mutex<HashMap<u64, [u8; 32]>>,
}

/// Why the payload of a record that was read is not in the cache.
enum NotKept {
    Missing,
    Secret,
    Failed(Failure),
}

impl CachedJournal {
    pub(crate) fn new(
        journal: Arc<dyn JournalReader>,
        options: &RecordCacheOptions,
    ) -> CachedJournal {
        let cache = (options.bytes_max > 0).then(|| {
            let open = |open: &Arc<OpenShared>| {
                let meta = journal.meta();
                Shared {
                    records: open(&meta),
                    epochs: meta.epochs,
                    histories: Mutex::default(),
                }
            };
            let bytes = |payload: &Arc<[u8]>| payload.len();
            RecordCache {
                records: ByteCache::new(options.bytes_max, options.policy, bytes),
                shared: options.shared.as_ref().map(open),
            }
        });
        CachedJournal {
            journal,
            cache,
            refused: AtomicU64::new(0),
        }
    }

    pub(crate) fn figures(&self) -> RecordCacheFigures {
        let cache = self.cache.as_ref();
        let shared = cache.and_then(|cache| cache.shared.as_ref());
        RecordCacheFigures {
            records: cache.map_or_else(CacheFigures::default, |cache| cache.records.figures()),
            refused: self.refused.load(Ordering::Relaxed),
            shared: shared.map(|shared| shared.records.figures()),
        }
    }

    fn is_there(&self, position: u64) -> bool {
        let is_there = position > 0 && position <= self.journal.head().position;
        if !is_there {
            self.count_refused();
        }
        is_there
    }

    /// Counts a look-up of what does not exist.
    pub(crate) fn count_refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// Reads the record at `position`, which is durable, into `payload`, and returns what to keep of it.
    fn load(
        &self,
        cache: &RecordCache,
        position: u64,
        payload: &mut Vec<u8>,
    ) -> Result<Arc<[u8]>, NotKept> {
        let shared = cache.shared.as_ref();
        let place = shared.and_then(|shared| shared.place(&*self.journal, position));
        if let (Some(shared), Some(place)) = (shared, &place)
            && let Some(found) = shared.records.get(place)
            && let Ok(Some(kept)) = keep(position, &found)
        {
            *payload = found;
            return Ok(kept);
        }
        match self.journal.read(position, payload) {
            Ok(true) => {}
            Ok(false) => return Err(NotKept::Missing),
            Err(failure) => return Err(NotKept::Failed(failure)),
        }
        let kept = keep(position, payload).map_err(NotKept::Failed)?;
        let kept = kept.ok_or(NotKept::Secret)?;
        if let (Some(shared), Some(place)) = (shared, place) {
            shared.records.put(place, payload);
        }
        Ok(kept)
    }
}

impl Shared {
    /// Returns the place of a record; none if the record is too new, or if the history can't be read.
    fn place(&self, journal: &dyn JournalReader, position: u64) -> Option<RecordPlace> {
        let number = (position >> HISTORY_BITS) + 1;
        let after = self.epochs.partition_point(|&(_, first)| first <= position);
        Some(RecordPlace {
            epoch: self.epochs[after.saturating_sub(1)].0,
            history: self.history(journal, number)?,
            position,
        })
    }

    fn history(&self, journal: &dyn JournalReader, number: u64) -> Option<[u8; 32]> {
        let histories = || {
            self.histories
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
        };
        if let Some(known) = histories().get(&number) {
            return Some(*known);
        }
        let through = number << HISTORY_BITS;
        if through > journal.head().position {
            return None;
        }
        // Whoever comes first reads a whole frame: once for each place.
        let frame = journal.frame(through).ok()??;
        let hash = FrameRef::parse(&frame).ok()?.head().hash;
        histories().insert(number, hash);
        Some(hash)
    }
}

/// Returns what to keep of the record at `position`; nothing if it may hold a secret.
fn keep(position: u64, payload: &[u8]) -> Result<Option<Arc<[u8]>>, Failure> {
    let operation = parse_record(position, payload)?.operation();
    let is_kept = match operation {
        Operation::OpenAccount
        | Operation::Pay
        | Operation::Capture
        | Operation::Void
        | Operation::Expire
        | Operation::Refund
        | Operation::Run
        | Operation::Approve
        | Operation::Investigate
        | Operation::SettlePayout
        | Operation::ReturnPayout => true,
        Operation::FreezeAccount
        | Operation::UnfreezeAccount
        | Operation::CloseAccount
        | Operation::CreateApiKey
        | Operation::RotateApiKey
        | Operation::RevokeApiKey
        | Operation::Publish
        | Operation::SetQueue
        | Operation::PutSetting
        | Operation::DeleteSetting
        | Operation::CreateOwner
        | Operation::Update
        | Operation::AdvanceTime => false,
    };
    Ok(is_kept.then(|| Arc::from(payload)))
}

impl JournalReader for CachedJournal {
    fn head(&self) -> Head {
        self.journal.head()
    }

    /// Of several threads that miss the same record, one reads it.
    fn read(&self, position: u64, payload: &mut Vec<u8>) -> Result<bool, Failure> {
        if !self.is_there(position) {
            payload.clear();
            return Ok(false);
        }
        let Some(cache) = &self.cache else {
            return self.journal.read(position, payload);
        };
        let copy = |found: &[u8], payload: &mut Vec<u8>| {
            payload.clear();
            payload.extend_from_slice(found);
            Ok(true)
        };
        if let Some(found) = cache.records.get(&position) {
            return copy(&found, payload);
        }
        let mut is_ours = false;
        let loaded = cache.records.get_or_load(position, || {
            is_ours = true;
            self.load(cache, position, payload)
        });
        match loaded {
            Ok(_) if is_ours => Ok(true),
            Ok(found) => copy(&found, payload),
            Err(Some(NotKept::Secret)) => Ok(true),
            Err(Some(NotKept::Missing)) => Ok(false),
            Err(Some(NotKept::Failed(failure))) => Err(failure),
            Err(None) => self.journal.read(position, payload),
        }
    }

    fn read_cached<'a>(
        &self,
        position: u64,
        near: &'a mut ReadCache,
    ) -> Result<Option<&'a [u8]>, Failure> {
        self.journal.read_cached(position, near)
    }

    fn find(
        &self,
        key_hash: u64,
        found: &mut dyn FnMut(u64) -> ControlFlow<()>,
    ) -> Result<(), Failure> {
        self.journal.find(key_hash, found)
    }

    fn frame(&self, position: u64) -> Result<Option<Vec<u8>>, Failure> {
        self.journal.frame(position)
    }

    fn meta(&self) -> JournalMeta {
        self.journal.meta()
    }

    fn stats(&self) -> StoreStats {
        self.journal.stats()
    }
}
