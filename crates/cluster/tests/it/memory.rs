//! The log in memory.

use tributary_cluster::log::Log;
use tributary_cluster::memory::MemoryStore;

use crate::contract::{self, Rig};

impl Rig for MemoryStore {
    fn connect(&self) -> Box<dyn Log> {
        Box::new(MemoryStore::connect(self))
    }

    fn cut(&self) {
        MemoryStore::cut(self);
    }

    fn kill(&self) {
        self.set_away(true);
        self.set_away(false);
    }
}

#[test]
fn the_log_in_memory_keeps_the_contract() {
    contract::pass(&MemoryStore::default());
}
