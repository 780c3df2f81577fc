//! Signals: SIGTERM and SIGINT ask a command to finish; SIGHUP asks a server to read its configuration again.

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

/// Signals of a running server other than those that stop it.
#[derive(Debug)]
pub(crate) struct ServeSignals {
    reload: Arc<AtomicBool>,
    /// Signals without a meaning, which would end the process if nobody handled them.
    ignored: [(&'static str, Arc<AtomicBool>); 2],
}

impl ServeSignals {
    /// Installs the signal handlers.
    pub(crate) fn install() -> std::io::Result<Self> {
        let flag = |signal| {
            let flag = Arc::new(AtomicBool::new(false));
            signal_hook::flag::register(signal, Arc::clone(&flag)).map(|_id| flag)
        };
        Ok(Self {
            reload: flag(signal_hook::consts::SIGHUP)?,
            ignored: [
                ("SIGUSR1", flag(signal_hook::consts::SIGUSR1)?),
                ("SIGUSR2", flag(signal_hook::consts::SIGUSR2)?),
            ],
        })
    }

    /// Returns whether SIGHUP came since the last call.
    pub(crate) fn take_reload(&self) -> bool {
        self.reload.swap(false, Ordering::Relaxed)
    }

    /// Logs signals that came since the last call and have no meaning.
    pub(crate) fn log_ignored(&self) {
        for (name, flag) in &self.ignored {
            if flag.swap(false, Ordering::Relaxed) {
                tracing::warn!(
                    signal = name,
                    "a signal without a meaning was ignored: SIGHUP reloads, SIGTERM stops"
                );
            }
        }
    }
}
