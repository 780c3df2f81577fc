//! Places for journals that are opened, closed and opened again.

use std::path::Path;
use std::sync::Arc;

use tributary_engine::{Backend, Embedded, JournalMeta, Memory};
use tributary_journal::{self as journal, DirDisk, Disk, OpenError, Options};

use crate::lossy::{Losses, LossyMemory};

/// A replica where a journal is kept, which can be opened again after it was closed.
pub trait BackendFactory {
    /// For messages.
    fn name(&self) -> String;

    /// Opens the journal that is there, or creates it: always with [`cluster_meta`].
    fn open(&mut self) -> Box<dyn Backend>;

    /// Where checkpoints go, if they are of use here.
    fn checkpoint_disk(&self) -> Option<Arc<dyn Disk>> {
        None
    }

    /// What gets lost here on the way, if anything does. The lockstep repeats the requests of batches that were not written.
    fn losses(&self) -> Option<&Losses> {
        None
    }
}

/// Who every journal of these tests is.
pub fn cluster_meta() -> tributary_journal::Meta {
    tributary_journal::Meta::new([7; 16], [9; 16])
}

/// Segments so small that a test fills many.
pub const SEGMENT_BYTES: u64 = 64 * 1024;

/// Small segments, and nothing kept free.
pub fn small_segments() -> Options {
    Options {
        segment_bytes: SEGMENT_BYTES,
        reserve_bytes: 0,
    }
}

/// An empty journal in memory, with [`cluster_meta`].
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
        epochs,
    })
}

/// The memory backend.
pub struct MemoryFactory(Memory);

impl MemoryFactory {
    /// An empty journal.
    pub fn boxed() -> Box<dyn BackendFactory> {
        Box::new(MemoryFactory(empty_memory()))
    }
}

/// The memory backend that loses batches, and answers about batches that it wrote.
pub struct LossyMemoryFactory {
    memory: Memory,
    losses: Losses,
}

impl LossyMemoryFactory {
    /// An empty journal, whose losses are drawn by `losses`.
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
        Box::new(LossyMemory::new(memory, losses))
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

/// The embedded backend on some disk.
pub struct EmbeddedFactory {
    name: &'static str,
    disk: Arc<dyn Disk>,
    threads: bool,
}

impl EmbeddedFactory {
    /// On a simulated disk, all work on the caller's thread.
    pub fn on_disk(disk: Arc<dyn Disk>) -> Box<dyn BackendFactory> {
        Box::new(EmbeddedFactory {
            name: "embedded, simulated disk",
            disk,
            threads: false,
        })
    }

    /// In a real directory, with threads, so that two batches may be in flight.
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
