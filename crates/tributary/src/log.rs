//! The log on the standard error: one line per event, as text or as flat JSON. The level can be changed while the program runs.

use std::io::IsTerminal as _;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::reload::{Handle, Layer};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Registry, fmt};

use crate::config::{Log, LogFormat};
use crate::exit::usage_error;

/// A library whose own lines are left out: it shows messages of the broker as they are, passwords too at the level `trace`. What goes
/// wrong with a connection is said by whoever uses it.
const SILENT: &str = "lapin";

/// Changes the level of the log.
#[derive(Debug, Clone)]
pub(crate) struct LogLevel {
    handle: Handle<LevelFilter, Registry>,
    demo: bool,
}

impl LogLevel {
    /// Changes the level.
    pub(crate) fn set(&self, log: &Log) -> anyhow::Result<()> {
        Ok(self.handle.reload(filter(log, self.demo)?)?)
    }
}

/// Starts the log.
pub(crate) fn start(log: &Log, demo: bool) -> anyhow::Result<LogLevel> {
    let (level, handle) = Layer::new(filter(log, demo)?);
    let lines = fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    let registry = tracing_subscriber::registry()
        .with(level)
        .with(filter_fn(|line| !line.target().starts_with(SILENT)));
    match log.format {
        LogFormat::Text => registry.with(lines).init(),
        LogFormat::Json => registry.with(lines.json().flatten_event(true)).init(),
    }
    Ok(LogLevel { handle, demo })
}

fn filter(log: &Log, demo: bool) -> anyhow::Result<LevelFilter> {
    // One line per request would bury the demo's output.
    let level = if demo && log.level == "info" {
        "warn"
    } else {
        &log.level
    };
    level.parse().map_err(|_| usage_error("log.level is wrong"))
}
