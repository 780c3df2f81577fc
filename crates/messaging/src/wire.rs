//! Starts an engine with its subscriptions.

use std::sync::Arc;

use tributary_engine::{Engine, Ports, RecoveredEngine, StartError};
use tributary_journal::Disk;

use crate::driver::Messaging;

/// Default bound of the history of deliveries, in bytes.
pub const HISTORY_BYTES_MAX: u64 = 1 << 30;

/// Starts `recovered` with the subscriptions that are kept in `disk`. There are none without a disk, or if what is kept can't be
/// read: money goes on without them. The commit hook of `ports` is theirs. Shut the engine down first, then [`Messaging::shutdown`].
///
/// # Errors
/// If a thread can't be started.
pub fn start_engine(
    recovered: RecoveredEngine,
    mut ports: Ports,
    disk: Option<Arc<dyn Disk>>,
    history_bytes_max: u64,
) -> Result<(Engine, Option<Arc<Messaging>>), StartError> {
    let open = |disk| {
        let (reader, clock) = (recovered.reader(), recovered.clock());
        Messaging::open(disk, reader, clock, history_bytes_max)
    };
    let messaging = match disk.map(open).transpose() {
        Ok(messaging) => messaging.map(Arc::new),
        Err(error) => {
            tracing::error!(%error, "the delivery log can't be read: there are no subscriptions until the next start");
            None
        }
    };
    ports.commit_hook = messaging.clone().map(|messaging| messaging as _);
    let engine = recovered.start(ports)?;
    if let Some(messaging) = &messaging {
        messaging.spawn()?;
    }
    Ok((engine, messaging))
}
