//! The ports through which others take part in the engine's work: the hook of what follows the commit, the judge of queued
//! payments, and the permit to work outwards.

use std::sync::Arc;

use tributary_ledger::Payment;

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

/// Judges queued payments before they run.
pub trait Judge: Send + Sync {
    /// Decides what is submitted for a queued payment whose turn has come. Called on a thread of its own, so it may take its time;
    /// later payments of the queue wait for it.
    fn judge(&self, payment: &Payment) -> Judgement;
}

/// What a [`Judge`] decides about a queued payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// The payment runs, if the ledger finds nothing against it.
    Run,
    /// The payment is voided.
    Void,
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

/// Who takes part in the engine's work. By default nobody does, every payment runs, and outward work is always allowed.
#[derive(Clone)]
pub struct Ports {
    /// Learns of every batch.
    pub commit_hook: Option<Arc<dyn CommitHook>>,
    /// Judges queued payments. Without one, every payment runs.
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
