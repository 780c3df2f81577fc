//! Opens the data directory of a node.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use tributary_engine::Embedded;
use tributary_journal::{DirDisk, OpenError, Options};

/// Returns the options of the mirror of a log; those of a journal of its own without one.
pub(crate) fn stored(log_id: Option<[u8; 16]>) -> Options {
    Options {
        shared_log: log_id,
        ..Options::default()
    }
}

/// Opens a directory as the mirror of a log, or as a journal of its own without one.
pub(crate) fn open_mirror(data: &Path, log_id: Option<[u8; 16]>) -> anyhow::Result<Embedded> {
    match Embedded::open(Arc::new(DirDisk::new(data)), stored(log_id)) {
        Err(OpenError::Locked) => bail!(
            "{} is in use by another process: stop the node first",
            data.display()
        ),
        other => other.with_context(|| format!("cannot open {}", data.display())),
    }
}
