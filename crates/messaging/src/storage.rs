//! Where the state of deliveries is kept.

use std::sync::Arc;

use tributary_engine::{FileLog, FrameLog};
use tributary_journal::Disk;

use crate::log::{DELIVERY_DIRECTORY, DELIVERY_LOG_VERSION};

/// Default bound of the history of deliveries, in bytes.
pub const HISTORY_BYTES_MAX: u64 = 1 << 30;

/// Where the state of deliveries is kept.
pub struct Storage {
    /// The delivery log.
    pub log: Box<dyn FrameLog>,
    /// The disk for the history of deliveries.
    pub history: Arc<dyn Disk>,
    /// Maximum size of the history of deliveries, in bytes, about. With 0 there is none, and what there was goes. A 200th of it is
    /// taken in memory, and 16 MiB for slots that are not full.
    pub history_bytes_max: u64,
    /// Random number of this process. It keeps the receipts of two processes apart, where ledger time does not.
    pub process_number: u64,
}

impl Storage {
    /// The log and the history in the directory [`DELIVERY_DIRECTORY`] of `disk`. `process_number` is random.
    pub fn local(disk: Arc<dyn Disk>, history_bytes_max: u64, process_number: u64) -> Storage {
        let log = FileLog::new(disk.clone(), DELIVERY_DIRECTORY, DELIVERY_LOG_VERSION);
        Storage {
            log: Box::new(log),
            history: disk,
            history_bytes_max,
            process_number,
        }
    }
}
