//! The ports through which others take part in the engine's work.

use std::sync::Arc;

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

/// Who takes part in the engine's work. The default is nobody.
#[derive(Clone, Default)]
pub struct Ports {
    /// Learns of every batch.
    pub commit_hook: Option<Arc<dyn CommitHook>>,
}
