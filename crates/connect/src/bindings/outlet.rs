//! The way out to one binder: dead letters, replies and events share it.

use std::sync::Arc;

use tokio::sync::Mutex;

use crate::port::{Adapter, Binder, Outgoing, SendError, Sink};

/// A sink that is opened when it is needed, and again after it was lost.
pub(super) struct Outlet {
    adapter: Arc<dyn Adapter>,
    binder: Binder,
    /// Held while the sink is opened, so that it is opened once.
    sink: Mutex<Option<Arc<dyn Sink>>>,
}

impl Outlet {
    pub(super) fn new(adapter: Arc<dyn Adapter>, binder: Binder) -> Outlet {
        Outlet {
            adapter,
            binder,
            sink: Mutex::new(None),
        }
    }

    pub(super) fn adapter(&self) -> &Arc<dyn Adapter> {
        &self.adapter
    }

    pub(super) fn binder(&self) -> &Binder {
        &self.binder
    }

    /// Sends a message, and returns when the broker has confirmed it.
    pub(super) async fn send(&self, message: &Outgoing) -> Result<(), SendError> {
        let sink = self.sink().await?;
        let sent = sink.send(message).await;
        if let Err(SendError::Disconnected(_)) = &sent {
            let mut known = self.sink.lock().await;
            // Another one may have been opened already.
            if known
                .as_ref()
                .is_some_and(|known| Arc::ptr_eq(known, &sink))
            {
                *known = None;
            }
        }
        sent
    }

    async fn sink(&self) -> Result<Arc<dyn Sink>, SendError> {
        let mut known = self.sink.lock().await;
        if let Some(sink) = &*known {
            return Ok(sink.clone());
        }
        let opened = self.adapter.open_sink(&self.binder).await;
        let sink: Arc<dyn Sink> = opened.map_err(SendError::Disconnected)?.into();
        *known = Some(sink.clone());
        Ok(sink)
    }
}
