//! Whether the server takes commands: one answer for health checks over HTTP and gRPC, and for the metrics.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tributary_api::code::ErrorCode;
use tributary_api::error::ApiError;

use crate::app::Shared;
use crate::cluster::node::Leader;

/// When to ask again a server that is starting.
const START_RETRY_AFTER: Duration = Duration::from_secs(1);

/// Returns why the server takes no commands, if it does not.
pub(crate) fn require_ready(shared: &Shared) -> Result<(), ApiError> {
    let status = shared.engine.status();
    if status.failed.is_some() {
        return Err(ApiError::new(ErrorCode::Unavailable, "The store failed."));
    }
    if let Some(node) = &shared.cluster {
        match node.leader() {
            Leader::ThisNode => {}
            Leader::Stopped => return Err(node.stopped()),
            Leader::Other(_) | Leader::Unknown => node.require_current()?,
        }
    }
    if !shared.started.load(Ordering::Acquire) {
        let message = "The server is starting.";
        return Err(ApiError::new(ErrorCode::Unavailable, message).retry_after(START_RETRY_AFTER));
    }
    if status.storage_full {
        return Err(ApiError::new(
            ErrorCode::StorageFull,
            "There is no space for another record.",
        ));
    }
    if !status.ready || shared.draining.load(Ordering::Acquire) {
        return Err(ApiError::new(
            ErrorCode::Stopping,
            "The server is stopping.",
        ));
    }
    Ok(())
}
