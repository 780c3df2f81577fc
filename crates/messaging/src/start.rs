//! Starts an engine with its subscriptions.

use std::sync::Arc;

use tributary_engine::{Engine, Ports, RecoveredEngine, StartError};

use crate::driver::Messaging;
use crate::storage::Storage;

/// Starts `recovered` with its subscriptions. There are none without a storage, or if what it holds can't be read: money goes on
/// without them. The commit hook of `ports` is theirs. Shut the engine down first, then [`Messaging::shutdown`].
///
/// # Errors
/// If a thread can't be started.
pub fn start_engine(
    recovered: RecoveredEngine,
    mut ports: Ports,
    storage: Option<Storage>,
) -> Result<(Engine, Option<Arc<Messaging>>), StartError> {
    let open = |storage| {
        let (reader, clock) = (recovered.reader(), recovered.clock());
        Messaging::open(storage, reader, clock, ports.permit.clone())
    };
    let messaging = match storage.map(open).transpose() {
        Ok(messaging) => messaging.map(Arc::new),
        Err(error) => {
            tracing::error!(%error, "the delivery log can't be read: there are no subscriptions until the next start");
            None
        }
    };
    ports.commit_hook = messaging.clone().map(|messaging| messaging as _);
    let engine = recovered.start(ports)?;
    if let Some(messaging) = &messaging {
        messaging.set_engine(engine.downgrade());
        messaging.spawn()?;
    }
    Ok((engine, messaging))
}
