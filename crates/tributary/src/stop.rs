//! SIGTERM and SIGINT, which ask a command to finish.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A flag, set by a signal that asks the command to stop.
#[derive(Debug, Clone)]
pub(crate) struct StopSignal(Arc<AtomicBool>);

impl StopSignal {
    /// Installs the signal handlers. The first signal requests the stop, a second one ends the process at once.
    pub(crate) fn install() -> std::io::Result<Self> {
        let requested = Arc::new(AtomicBool::new(false));
        for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
            signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(&requested))?;
            signal_hook::flag::register(signal, Arc::clone(&requested))?;
        }
        Ok(Self(requested))
    }

    /// Returns whether a stop was requested.
    pub(crate) fn is_requested(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
