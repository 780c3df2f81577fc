//! What streams show.

use serde_json::{Map, Value};

/// How far a stream is, and what it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamFigures {
    /// What it does.
    pub state: StreamState,
    /// Why it stopped, or does not publish.
    pub why: Option<String>,
    /// Version whose rows are shown.
    pub version: u64,
    /// Version that is computed from the journal beside it, and the position that it has reached.
    pub next: Option<(u64, u64)>,
    /// Position of the last record that was taken.
    pub position: u64,
    /// Position of the last record of the journal.
    pub head: u64,
    /// Of event time: milliseconds up to which no more events are expected.
    pub watermark_ms: Option<i64>,
    /// Results that became final.
    pub results: u64,
    /// Events that came too late.
    pub late_events: u64,
    /// Results that are yet to be published.
    pub waiting: u64,
    /// Results for which what the stream does was done.
    pub acted: u64,
    /// Results that were refused: to be published, or what was to be done for them.
    pub refused: u64,
    /// Why one was refused last, since this server started.
    pub last_refusal: Option<String>,
    /// What is counted against the bounds.
    pub usage: Usage,
}

/// What a stream does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamState {
    /// It is at the end of the journal.
    Running,
    /// It reads what was recorded before.
    CatchingUp,
    /// It rests, as its setting says.
    Paused,
    /// It reached a bound or met what it can't compute, and needs another definition or another bound.
    Stopped,
}

impl StreamState {
    /// Every state.
    pub const ALL: [StreamState; 4] = [
        StreamState::Running,
        StreamState::CatchingUp,
        StreamState::Paused,
        StreamState::Stopped,
    ];

    /// Returns the name in answers and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            StreamState::Running => "running",
            StreamState::CatchingUp => "catching_up",
            StreamState::Paused => "paused",
            StreamState::Stopped => "stopped",
        }
    }
}

/// What is counted against the bounds of a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Keys that have a window.
    pub keys: u64,
    /// Open windows.
    pub open_windows: u64,
    /// Bytes of state, and of the final rows that are kept.
    pub state_bytes: u64,
}

/// Figures of one window of one key.
#[derive(Clone, Debug, PartialEq)]
pub struct StreamRow {
    /// Number of the row in its list.
    pub number: u64,
    /// Version of the stream that computed it.
    pub version: u64,
    /// Values of the key, by field.
    pub key: Map<String, Value>,
    /// Beginning of the window, nanoseconds since the Unix epoch.
    pub window_start: i64,
    /// End of the window, nanoseconds since the Unix epoch.
    pub window_end: i64,
    /// Number of results of the same key and window end before.
    pub revision: u32,
    /// Values of the aggregates, by name; null for an aggregate of nothing.
    pub values: Map<String, Value>,
}

/// What a stream would show.
#[derive(Clone, Debug, Default)]
pub struct Preview {
    /// Position of the first record that was read; 0 if there is none.
    pub first: u64,
    /// Position of the last record that was read.
    pub last: u64,
    /// Events that were counted.
    pub events: u64,
    /// Results that became final.
    pub results: u64,
    /// The newest of them, the newest first.
    pub rows: Vec<StreamRow>,
    /// Figures of the windows that are open at the end.
    pub open_rows: Vec<StreamRow>,
    /// Events that came too late.
    pub late_events: u64,
    /// Why the stream stopped, if it did.
    pub stopped: Option<String>,
}
