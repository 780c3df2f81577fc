//! What the handle, the writer and the publisher share.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tributary_journal::lock;
use tributary_ledger::codec::Record;
use tributary_ledger::{Body, Command, OwnerId, SharedBound, WorkingSet};

use crate::backend::Backend;
use crate::clock::Clock;
use crate::core::QUEUE_LENGTH_MAX;
use crate::failure::Failure;
use crate::ports::{Judge, Ports};
use crate::read::Reader;
use crate::record_cache::RecordCacheOptions;
use crate::reply::{BriefReply, DurableRecord, Refused, Reply};
use crate::request::{Request, Resolved, Verdict};
use crate::shared_counter::SharedCounter;
use crate::view::View;

/// Commands that may wait for the writer, in all, before new ones are refused.
pub const COMMANDS_QUEUED_MAX: usize = 65_536;
/// Bytes of records that may wait for the writer, in all, at the worst: as many plain commands as may wait fit easily, those with
/// long texts do not.
const RECORD_BYTES_QUEUED_MAX: usize = 256 * 1024 * 1024;
/// Options of an engine.
pub struct Options {
    /// Called once, from a thread of the engine, if it must stop because what is durable can't be known: the process should
    /// exit non-zero. Must not block.
    pub on_fatal: Box<dyn Fn(&str) + Send + Sync>,
    /// Records between two checkpoints, at least; where there are very many accounts and open payments, a quarter as many as
    /// those.
    pub checkpoint_every: u64,
    /// Maximum number of queued payments.
    pub queue_length_max: usize,
    /// Cache of records for reads; none by default.
    pub record_cache: RecordCacheOptions,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            on_fatal: Box::new(|_| ()),
            checkpoint_every: 250_000,
            queue_length_max: QUEUE_LENGTH_MAX,
            record_cache: RecordCacheOptions::default(),
        }
    }
}

/// Counters since the start, for metrics.
#[derive(Default)]
pub struct Counters {
    /// Number of records made durable.
    pub records: AtomicU64,
    /// Number of durable records that the ledger rejected.
    pub rejected: AtomicU64,
    /// Number of commands answered from an earlier record.
    pub replayed: AtomicU64,
    /// Number of commands whose key belonged to another command.
    pub conflicts: AtomicU64,
    /// Number of batches synced.
    pub batches: AtomicU64,
    /// Duration of all syncs, from the hand-over of a batch to the store until the batch was durable, in nanoseconds.
    pub batch_nanos: AtomicU64,
    /// Number of requests refused because too many waited.
    pub overloaded: AtomicU64,
    /// Number of payments that the queue did not take.
    pub not_queued: AtomicU64,
    /// Number of checkpoints written.
    pub checkpoints: AtomicU64,
}

/// What the handle, the writer and the publisher share.
pub(crate) struct Shared {
    pub(crate) view: Arc<View>,
    pub(crate) reader: Reader,
    pub(crate) counters: Counters,
    /// Number of commands that wait for the writer.
    pub(crate) queued: AtomicUsize,
    /// Maximum size of the records of the waiting commands, in bytes.
    queued_bytes: AtomicUsize,
    /// Commands of owners other than the platform that wait for the writer, and bytes of their records.
    queued_by_owner: SharedCounter,
    queued_bytes_by_owner: SharedCounter,
    pub(crate) stopping: AtomicBool,
    pub(crate) storage_full: AtomicBool,
    pub(crate) failed: Mutex<Option<String>>,
    pub(crate) options: Options,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) ports: Ports,
}

impl Shared {
    /// Whether payments are assessed now.
    pub(crate) fn needs_judge(&self) -> bool {
        let judge = self.ports.judge.as_deref();
        judge.is_some_and(Judge::is_needed)
    }

    /// Has the judge, if there is one, assess the payments among the commands of a request.
    pub(crate) fn assess(&self, commands: &mut [Command]) {
        let is_payment = |command: &Command| matches!(command.body, Body::Pay(_) | Body::Run(_));
        if let Some(judge) = &self.ports.judge
            && judge.is_needed()
            && commands.iter().any(is_payment)
        {
            judge.assess(commands);
        }
    }

    /// Makes the shared state of an engine over `backend`, whose state at the head is `set`.
    pub(crate) fn new(
        backend: &dyn Backend,
        set: WorkingSet,
        options: Options,
        clock: Arc<dyn Clock>,
    ) -> Shared {
        let journal = backend.reader();
        let head = journal.head();
        clock.start(head.timestamp, set.time_offset().nanos);
        let view = Arc::new(View::new(set, head.position));
        let reader = Reader::new(journal, &options.record_cache, view.clone(), clock.clone());
        Shared {
            ports: Ports::default(),
            reader,
            view,
            counters: Counters::default(),
            queued: AtomicUsize::new(0),
            queued_bytes: AtomicUsize::new(0),
            queued_by_owner: SharedCounter::new(SharedBound::new(COMMANDS_QUEUED_MAX)),
            queued_bytes_by_owner: SharedCounter::new(SharedBound::new(RECORD_BYTES_QUEUED_MAX)),
            stopping: AtomicBool::new(false),
            storage_full: AtomicBool::new(false),
            failed: Mutex::new(None),
            options,
            clock,
        }
    }

    /// Counts a request that waits for the writer. False if too much waits already.
    pub(crate) fn queue(&self, request: &Request) -> bool {
        let commands = self.queued.fetch_add(request.len(), Ordering::AcqRel);
        let bytes = self
            .queued_bytes
            .fetch_add(request.bytes_max(), Ordering::AcqRel);
        let within = commands == 0
            || (commands + request.len() <= COMMANDS_QUEUED_MAX
                && bytes + request.bytes_max() <= RECORD_BYTES_QUEUED_MAX);
        let owner = request.owner();
        if owner == OwnerId::PLATFORM {
            return within;
        }
        let share = self.queued_by_owner.add(owner, request.len());
        within & share & self.queued_bytes_by_owner.add(owner, request.bytes_max())
    }

    /// Whether there is room for `commands` more commands of the owner.
    pub(crate) fn has_room(&self, owner: OwnerId, commands: usize) -> bool {
        self.queued.load(Ordering::Acquire) + commands <= COMMANDS_QUEUED_MAX
            && (owner == OwnerId::PLATFORM || self.queued_by_owner.has_room(owner, commands))
    }

    /// Counts a request that waits no longer.
    pub(crate) fn unqueue(&self, request: &Request) {
        self.queued.fetch_sub(request.len(), Ordering::AcqRel);
        self.queued_bytes
            .fetch_sub(request.bytes_max(), Ordering::AcqRel);
        let owner = request.owner();
        if owner != OwnerId::PLATFORM {
            self.queued_by_owner.give_back(owner, request.len());
            self.queued_bytes_by_owner
                .give_back(owner, request.bytes_max());
        }
    }

    /// Returns why the engine stopped for good, if it did.
    pub(crate) fn why_failed(&self) -> Option<String> {
        lock(&self.failed).clone()
    }

    /// Stops the engine for good.
    pub(crate) fn fail(&self, why: &str) {
        let mut failed = lock(&self.failed);
        if failed.is_some() {
            return;
        }
        tracing::error!(
            why,
            "the engine stops: what is durable can no longer be known"
        );
        *failed = Some(why.to_owned());
        drop(failed);
        (self.options.on_fatal)(why);
    }

    /// Returns the answers to the callers of a durable batch, with records. Earlier records are read back.
    pub(crate) fn replies(&self, resolved: Resolved) -> Result<Vec<Reply>, Refused> {
        let reply = |verdict: &Verdict| {
            Ok(match *verdict {
                Verdict::Decided(position, _) => Reply::Done {
                    record: DurableRecord::new(resolved.record(position)),
                    replayed: false,
                },
                Verdict::Replayed(position) => Reply::Done {
                    record: DurableRecord::new(self.earlier(position)?),
                    replayed: true,
                },
                Verdict::KeyConflict(position) => Reply::KeyConflict { position },
                Verdict::GroupConflict => Reply::GroupKeyConflict,
                Verdict::NotQueued(why, _) => Reply::NotQueued(why),
            })
        };
        self.count(&resolved.verdicts);
        resolved.verdicts.iter().map(reply).collect()
    }

    /// Returns the answers to the callers of a durable batch, without records. Earlier records are read back for their rejection.
    pub(crate) fn brief_replies(&self, resolved: Resolved) -> Result<Vec<BriefReply>, Refused> {
        let brief_reply = |verdict: &Verdict| {
            Ok(match *verdict {
                Verdict::Decided(position, rejection) => BriefReply::Done {
                    position,
                    rejection,
                    replayed: false,
                },
                Verdict::Replayed(position) => BriefReply::Done {
                    position,
                    rejection: self.earlier(position)?.outcome.rejection,
                    replayed: true,
                },
                Verdict::KeyConflict(position) => BriefReply::KeyConflict { position },
                Verdict::GroupConflict => BriefReply::GroupKeyConflict,
                Verdict::NotQueued(why, _) => BriefReply::NotQueued(why),
            })
        };
        self.count(&resolved.verdicts);
        resolved.verdicts.iter().map(brief_reply).collect()
    }

    fn earlier(&self, position: u64) -> Result<Record, Failure> {
        let record = self.reader.record(position)?;
        record.ok_or_else(|| Failure::RecordDamaged {
            position,
            what: "it is missing".into(),
        })
    }

    fn count(&self, verdicts: &[Verdict]) {
        let (mut replayed, mut conflicts, mut not_queued) = (0, 0, 0);
        for verdict in verdicts {
            match verdict {
                Verdict::Decided(..) => {}
                Verdict::Replayed(_) => replayed += 1,
                Verdict::KeyConflict(_) | Verdict::GroupConflict => conflicts += 1,
                Verdict::NotQueued(_, payment) => not_queued += u64::from(*payment),
            }
        }
        if replayed > 0 {
            self.counters
                .replayed
                .fetch_add(replayed, Ordering::Relaxed);
        }
        if conflicts > 0 {
            self.counters
                .conflicts
                .fetch_add(conflicts, Ordering::Relaxed);
        }
        if not_queued > 0 {
            self.counters
                .not_queued
                .fetch_add(not_queued, Ordering::Relaxed);
            self.view.not_queued(self.clock.now(), not_queued);
        }
    }
}

#[cfg(test)]
mod tests {
    use tributary_ledger::{Actor, Body, Command, Key, PaymentId, Residency, Text};

    use super::*;
    use crate::backend::JournalMeta;
    use crate::memory::Memory;

    fn shared() -> Shared {
        let memory = Memory::new(JournalMeta {
            cluster_id: [1; 16],
            id_key: [2; 16],
            sandbox: false,
            epochs: vec![(1, 1)],
        });
        let set = WorkingSet::new(Residency::Accounts);
        let clock = Arc::new(crate::clock::SystemClock);
        Shared::new(&memory, set, Options::default(), clock)
    }

    fn plain() -> Command {
        Command {
            key: Key::from_bytes(b"plain").expect("a short key"),
            actor: Actor::SYSTEM,
            linked: false,
            effective_at: None,
            text: None,
            origin: None,
            assessment: None,
            body: Body::Void(PaymentId(1)),
        }
    }

    #[test]
    fn few_commands_with_long_texts_are_too_much_as_well() {
        let shared = shared();
        let command = Command {
            text: Text::new(Text::PLAIN, &[b'x'; 16_000]).ok(),
            ..plain()
        };
        let request = Request::new(vec![command; 1_000], Box::new(|_| ()));
        let taken = (0..).take_while(|_| shared.queue(&request)).count();
        assert_eq!(taken, RECORD_BYTES_QUEUED_MAX / request.bytes_max());
        // The one that was too much, and then all the others.
        for left in (0..=taken).rev() {
            shared.unqueue(&request);
            assert_eq!(shared.queued.load(Ordering::Acquire), left * request.len());
        }
        assert!(shared.queue(&request), "they wait no longer");
    }

    /// Whoever sends more than the writer takes keeps others from it by no more than its share.
    #[test]
    fn one_owner_leaves_room_for_the_commands_of_others() {
        let shared = shared();
        let request = |owner| {
            let command = Command {
                actor: Actor {
                    owner,
                    api_key: Actor::SYSTEM.api_key,
                },
                ..plain()
            };
            Request::new(vec![command; 1_024], Box::new(|_| ()))
        };
        let queue = |owner| {
            let request = request(owner);
            let taken = (0..100).take_while(|_| shared.queue(&request)).count();
            // The one that was too much.
            shared.unqueue(&request);
            taken
        };
        let owners = [5, 6, 7, 8].map(OwnerId);
        assert_eq!(owners.map(queue), [16, 16, 16, 0]);
        assert!(!shared.has_room(owners[0], 1) && shared.has_room(OwnerId::PLATFORM, 8_192));
        assert_eq!(queue(OwnerId::PLATFORM), 16);
        for owner in &owners[..3] {
            (0..16).for_each(|_| shared.unqueue(&request(*owner)));
        }
        assert!(shared.has_room(owners[3], 16_384));
    }
}
