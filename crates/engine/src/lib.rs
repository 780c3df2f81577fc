//! The engine: one writer over one journal, and everything that reads it.
//!
//! It takes commands, has the ledger decide them, makes each batch durable through a [`Backend`], and only then publishes
//! and answers. Its one
//! hook, [`CommitHook`], is where everything that follows the commit begins. It knows neither HTTP nor SQL nor how a file is laid
//! out, nor that subscriptions, brokers or nodes exist, and holds no rule about money.

mod backend;
mod batch;
#[cfg(test)]
mod bounds;
mod byte_cache;
mod checkpoint;
mod clock;
mod completions;
mod core;
mod embedded;
mod engine;
mod failure;
mod file_log;
mod frame_log;
mod ids;
mod lookup;
mod memory;
mod meter;
mod payload;
mod ports;
mod queue;
mod read;
mod recent;
mod record_cache;
mod recover;
mod replay;
mod reply;
mod request;
mod shared;
mod shared_counter;
mod stepper;
mod submit_queue;
mod timers;
mod versions;
mod view;
mod writer;

pub use backend::{
    Backend, Fate, JournalMeta, JournalReader, KeyQueries, KeyQuery, KeyUse, ReadCache, Recovered,
    StoreStats, Ticket,
};
pub use batch::Batch;
pub use byte_cache::{ByteCache, CacheFigures, CachePolicy};
pub use checkpoint::Checkpointer;
pub use clock::{
    Clock, ClockEvent, ClockReading, ClockSource, ClockState, ClockStatus, FOLLOWED_AFTER_NS,
    FOLLOWED_AT_ONCE_NS, LedgerClock, OBSERVED_GAP_NS_MAX, STEP_REPORTED_NS_MIN, SteeredClock,
    Steps, SystemClock, SystemClocks,
};
pub use core::{Core, InFlight, QUEUE_LENGTH_MAX};
pub use embedded::{Embedded, key_extractor};
pub use engine::{Engine, RecoveredEngine, StartError, Status, WeakEngine};
pub use failure::Failure;
pub use file_log::FileLog;
pub use frame_log::{Basis, FrameLog, LogVisitor, Standing, Visited};
pub use ids::{IdKind, IdText, Ids};
pub use memory::Memory;
pub use meter::{Meter, Rates};
pub use payload::parse_record;
pub use ports::{AlwaysGranted, CommitHook, Judge, Permit, Ports};
pub use queue::{Figures as QueueFigures, LEVEL_NS as PRIORITY_LEVEL_NS};
pub use request::{
    COMMANDS_PER_BATCH_MAX, NotQueued, RECORD_BYTES_PER_GROUP_MAX, RECORD_BYTES_PER_REQUEST_MAX,
    Request, Resolved, Respond, TurnedAway, Verdict,
};
// What the port speaks in, so that a backend outside of this crate need not know the journal.
pub use tributary_journal::{
    DirDisk, DirLock, Disk, File, FrameBuilder, FrameRef, Head, Versions, lock, replace_file,
};

pub use read::{
    DATED_RECORDS_MAX, DatedBalance, Page, PastBalance, PaymentFilter, RECORDS_SCANNED_MAX, Reader,
    Slice, Start, StatementLine, TRIAL_ACCOUNTS_MAX, TRIAL_RECORDS_MAX, Totals,
};
pub use record_cache::{
    OpenShared, RecordCacheFigures, RecordCacheOptions, RecordPlace, SharedFigures, SharedRecords,
};
pub use reply::{BriefReply, DurableRecord, RETRY_AFTER, Refused, Reply};
pub use shared::{COMMANDS_QUEUED_MAX, Counters, Options};
pub use shared_counter::{SharedCounter, SharedPlace};
pub use stepper::{Stepped, Stepper};
pub use submit_queue::SubmitQueue;
pub use timers::RUN_AT_ONCE_MAX;
pub use versions::NEWEST;
