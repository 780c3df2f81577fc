//! The engine: one writer over one journal, and everything that reads it.
//!
//! It takes commands, has the ledger decide them, makes each batch durable through a [`Backend`], and only then publishes
//! and answers. Its one
//! hook, [`CommitHook`], is where everything that follows the commit begins. It knows neither HTTP nor SQL nor how a file is laid
//! out, nor that subscriptions, brokers or nodes exist, and holds no rule about money.

mod backend;
#[cfg(test)]
mod bounds;
mod checkpoint;
mod core;
mod desk;
mod embedded;
mod engine;
mod hook;
mod ids;
mod lookup;
mod memory;
mod meter;
mod queue;
mod read;
mod recent;
mod recover;
mod stepper;
mod timers;
mod view;
mod writer;

pub use backend::{
    Backend, Batch, Failure, Fate, JournalMeta, JournalReader, KeyQueries, KeyQuery, KeyUse, Near,
    Recovered, StoreStats, Ticket,
};
pub use checkpoint::Checkpointer;
pub use core::{
    COMMANDS_PER_BATCH_MAX, Core, InFlight, NotQueued, QUEUE_LENGTH_MAX,
    RECORD_BYTES_PER_REQUEST_MAX, Request, Resolved, Respond, TurnedAway, Verdict,
};
pub use desk::Desk;
pub use embedded::{Embedded, keys_of};
pub use engine::{
    Answer, COMMANDS_QUEUED_MAX, Counters, Engine, Options, RETRY_AFTER, Receipt, RecoveredEngine,
    Refused, Reply, StartError, Status,
};
pub use hook::{CommitHook, Ports};
pub use ids::{IdKind, IdText, Ids};
pub use lookup::parse_record;
pub use memory::Memory;
pub use meter::{Meter, Rates};
pub use queue::{Figures as QueueFigures, LEVEL_NS as PRIORITY_LEVEL_NS};
// What the port speaks in, so that a backend outside of this crate need not know the journal.
pub use tributary_journal::{Builder, Clock, DirDisk, Disk, FrameRef, Head, SystemClock};

pub use read::{Page, PaymentFilter, RECORDS_SCANNED_MAX, Reader, Slice, Start, StatementLine};
pub use stepper::{Stepped, Stepper};
pub use timers::RUN_AT_ONCE_MAX;
