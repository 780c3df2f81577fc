//! A backend of which a test delays or refuses batches.

use std::sync::Arc;

use tributary_engine::{
    Backend, Batch, Disk, Failure, Head, JournalReader, KeyQueries, KeyUse, Recovered, Ticket,
    Versions,
};
use tributary_ledger::{Lookups, WorkingSet};

/// What is done in place of [`Backend::submit`], by way of a closure that submits.
pub type Submit = Box<dyn FnMut(&mut dyn FnMut() -> Ticket) -> Ticket + Send>;

/// A backend over another one, whose batches are submitted as a test says.
pub struct Intercepted {
    inner: Box<dyn Backend>,
    depth: usize,
    submit: Submit,
}

impl Intercepted {
    /// Returns a backend over another one. At most `depth` batches may be in flight.
    pub fn new(inner: Box<dyn Backend>, depth: usize, submit: Submit) -> Intercepted {
        Intercepted {
            inner,
            depth,
            submit,
        }
    }
}

impl Backend for Intercepted {
    fn recover(&mut self) -> Result<Recovered, Failure> {
        self.inner.recover()
    }

    fn begin(&mut self) -> Result<Head, Failure> {
        self.inner.begin()
    }

    fn versions(&self) -> Versions {
        self.inner.versions()
    }

    fn load(&mut self, lookups: &Lookups, set: &mut WorkingSet) -> Result<(), Failure> {
        self.inner.load(lookups, set)
    }

    fn find_keys(&mut self, keys: KeyQueries<'_>) -> Result<Vec<(usize, KeyUse)>, Failure> {
        self.inner.find_keys(keys)
    }

    fn submit(&mut self, batch: &Arc<Batch>, set: &WorkingSet) -> Ticket {
        let inner = &mut self.inner;
        (self.submit)(&mut || inner.submit(batch, set))
    }

    fn abandon(&mut self) {
        self.inner.abandon();
    }

    fn depth(&self) -> usize {
        self.depth
    }

    fn idle(&mut self) -> bool {
        self.inner.idle()
    }

    fn disk(&self) -> Option<Arc<dyn Disk>> {
        self.inner.disk()
    }

    fn close(&mut self) {
        self.inner.close();
    }

    fn reader(&self) -> Arc<dyn JournalReader> {
        self.inner.reader()
    }
}
