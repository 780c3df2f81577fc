//! Places for journals.

use tributary_engine::{Backend, JournalMeta, Memory};
use tributary_testkit::lockstep::{Site, cluster_meta};

/// The memory backend.
pub(crate) struct InMemory(Memory);

impl InMemory {
    pub(crate) fn new() -> Box<InMemory> {
        let meta = cluster_meta();
        Box::new(InMemory(Memory::new(JournalMeta {
            cluster_id: meta.cluster_id,
            id_key: meta.id_key,
            epochs: vec![(1, 1)],
        })))
    }
}

impl Site for InMemory {
    fn name(&self) -> String {
        "memory".into()
    }

    fn open(&mut self) -> Box<dyn Backend> {
        Box::new(self.0.clone())
    }
}
