//! Factories of the backends that simulations open, close and open again.

use std::path::Path;
use std::sync::Arc;

use tributary_engine::{Backend, Embedded, JournalMeta, Memory};
use tributary_journal::{self as journal, DirDisk, Disk, OpenError, Options};

use crate::lossy::{Losses, Lossy};

/// Opens a backend over one journal, again and again.
pub trait BackendFactory {
    /// Returns the name for messages.
    fn name(&self) -> String;

    /// Opens the journal, or creates it with [`cluster_meta`].
    fn open(&mut self) -> Box<dyn Backend>;

    /// Returns the disk for checkpoints, if this backend uses them.
    fn checkpoint_disk(&self) -> Option<Arc<dyn Disk>> {
        None
    }

    /// Returns the losses of this backend, if it has any. The lockstep repeats the requests of lost batches.
    fn losses(&self) -> Option<&Losses> {
        None
    }
}

/// Returns the identity of every journal in these tests.
pub fn cluster_meta() -> tributary_journal::Meta {
    tributary_journal::Meta::new([7; 16], [9; 16])
}

/// Returns the identity of a new journal.
pub fn new_meta(cluster_id: [u8; 16], id_key: [u8; 16], sandbox: bool) -> tributary_journal::Meta {
    let mut meta = tributary_journal::Meta::new(cluster_id, id_key);
    meta.sandbox = sandbox;
    meta
}

/// Size of a segment, bytes: so small that a test fills many segments.
pub const SEGMENT_BYTES: u64 = 64 * 1024;

/// Returns options with small segments and no reserved space.
pub fn small_segments() -> Options {
    Options {
        segment_bytes: SEGMENT_BYTES,
        reserve_bytes: 0,
        shared_log: None,
    }
}

/// Returns an empty journal in memory, with [`cluster_meta`].
pub fn empty_memory() -> Memory {
    let meta = cluster_meta();
    let epochs = meta
        .epochs
        .iter()
        .map(|epoch| (epoch.number, epoch.first_position))
        .collect();
    Memory::new(JournalMeta {
        cluster_id: meta.cluster_id,
        id_key: meta.id_key,
        sandbox: meta.sandbox,
        epochs,
    })
}

/// Factory of the memory backend.
pub struct MemoryFactory(Memory);

impl MemoryFactory {
    /// Returns a factory over an empty journal.
    pub fn boxed() -> Box<dyn BackendFactory> {
        Box::new(MemoryFactory(empty_memory()))
    }
}

/// Factory of a memory backend that loses batches, and answers about written batches.
pub struct LossyMemoryFactory {
    memory: Memory,
    losses: Losses,
}

impl LossyMemoryFactory {
    /// Returns a factory over an empty journal. `losses` decides what is lost.
    pub fn boxed(losses: Losses) -> Box<dyn BackendFactory> {
        let memory = empty_memory();
        Box::new(LossyMemoryFactory { memory, losses })
    }
}

impl BackendFactory for LossyMemoryFactory {
    fn name(&self) -> String {
        "memory that loses answers".into()
    }

    fn open(&mut self) -> Box<dyn Backend> {
        let (memory, losses) = (self.memory.clone(), self.losses.clone());
        Box::new(Lossy::new(Box::new(memory), losses))
    }

    fn losses(&self) -> Option<&Losses> {
        Some(&self.losses)
    }
}

impl BackendFactory for MemoryFactory {
    fn name(&self) -> String {
        "memory".into()
    }

    fn open(&mut self) -> Box<dyn Backend> {
        Box::new(self.0.clone())
    }
}

/// Factory of the embedded backend.
pub struct EmbeddedFactory {
    name: &'static str,
    disk: Arc<dyn Disk>,
    threads: bool,
}

impl EmbeddedFactory {
    /// Returns a factory on a simulated disk. All work runs on the caller's thread.
    pub fn on_disk(disk: Arc<dyn Disk>) -> Box<dyn BackendFactory> {
        Box::new(EmbeddedFactory {
            name: "embedded, simulated disk",
            disk,
            threads: false,
        })
    }

    /// Returns a factory in a real directory, with threads, so that two batches can be in flight.
    pub fn in_directory(path: &Path) -> Box<dyn BackendFactory> {
        Box::new(EmbeddedFactory {
            name: "embedded, real directory",
            disk: Arc::new(DirDisk::new(path)),
            threads: true,
        })
    }
}

impl BackendFactory for EmbeddedFactory {
    fn name(&self) -> String {
        self.name.into()
    }

    fn open(&mut self) -> Box<dyn Backend> {
        let disk = self.disk.clone();
        match journal::create(&disk, &small_segments(), &cluster_meta()) {
            Ok(()) | Err(OpenError::AlreadyExists) => {}
            Err(error) => panic!("{}: {error}", self.name),
        }
        let opened = if self.threads {
            Embedded::open(disk, small_segments())
        } else {
            Embedded::open_inline(disk, small_segments())
        };
        Box::new(opened.unwrap_or_else(|error| panic!("{}: {error}", self.name)))
    }

    fn checkpoint_disk(&self) -> Option<Arc<dyn Disk>> {
        Some(self.disk.clone())
    }
}
