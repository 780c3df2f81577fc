//! The ports through which others take part in the engine's work: the hook of what follows the commit, the judge of payments, and the
//! permit to work outwards.

use std::sync::Arc;

use tributary_ledger::Command;

use crate::batch::Batch;

/// What follows the commit: the one place from which subscriptions, streams and other views learn of new records.
pub trait CommitHook: Send + Sync {
    /// Called once for each batch that holds a record, in the order of positions: after the view shows the batch and before any
    /// caller is answered, also for a batch whose fate was unknown and that turned out to be durable. Everything up to the head
    /// that [`crate::RecoveredEngine::reader`] shows came before the first call.
    ///
    /// The thread that publishes waits for it, so it must be short and must not block.
    fn committed(&self, batch: &Batch);
}

/// Assesses payments before they are decided.
pub trait Judge: Send + Sync {
    /// Whether there is anything to assess payments by. Asked for each request, so it must be cheap.
    fn is_needed(&self) -> bool;

    /// Puts an assessment to each payment of a request that is assessed. The commands are in the order in which they will be decided, next
    /// to each other. A queued payment comes twice: as it is made, and as [`Body::Run`](tributary_ledger::Body::Run) when its turn has
    /// come.
    ///
    /// Called before the request waits for the writer, on the thread that submits it, which answers nobody meanwhile; for payments whose
    /// turn has come on a thread of its own, and later payments of the queue wait for it. Also called for a repetition, whose
    /// assessment is not used.
    fn assess(&self, commands: &mut [Command]);
}

/// Says whether this node may do outward work: expire holds, run queued payments, hand out events.
pub trait Permit: Send + Sync {
    /// Whether outward work is allowed now. Asked often, so it must be cheap.
    fn is_granted(&self) -> bool;
}

/// The permit of a single node: always granted.
#[derive(Clone, Copy, Debug, Default)]
pub struct AlwaysGranted;

impl Permit for AlwaysGranted {
    fn is_granted(&self) -> bool {
        true
    }
}

/// Who takes part in the engine's work. By default nobody does, no payment is assessed, and outward work is always allowed.
#[derive(Clone)]
pub struct Ports {
    /// Learns of every batch.
    pub commit_hook: Option<Arc<dyn CommitHook>>,
    /// Assesses payments. Without one, none is.
    pub judge: Option<Arc<dyn Judge>>,
    /// Allows outward work.
    pub permit: Arc<dyn Permit>,
}

impl Default for Ports {
    fn default() -> Ports {
        Ports {
            commit_hook: None,
            judge: None,
            permit: Arc::new(AlwaysGranted),
        }
    }
}
