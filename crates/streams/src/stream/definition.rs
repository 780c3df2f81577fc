//! What a stream counts: its definition as a setting says it.

/// Longest name of a stream or of an aggregate, in bytes.
pub const NAME_BYTES_MAX: usize = 128;

/// Maximum number of event types of a stream.
pub const SOURCES_MAX: usize = 32;

/// Maximum number of fields of a key.
pub const KEY_FIELDS_MAX: usize = 8;

/// Longest key, encoded, in bytes.
pub const KEY_BYTES_MAX: usize = 1_024;

/// Longest text that an aggregate reads from an event, in bytes.
pub const VALUE_BYTES_MAX: usize = 4_096;

/// Maximum number of aggregates of a stream.
pub const AGGREGATES_MAX: usize = 16;

/// Maximum number of windows that hold one event: size / step of a hopping window.
pub const WINDOWS_PER_EVENT_MAX: i64 = 1_000;

/// Longest size, step, gap, delay or lateness, in nanoseconds: about 18 years.
pub const SPAN_NS_MAX: i64 = 1 << 59;

/// Definition of a stream. [`crate::stream::Stream::new`] checks it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Definition {
    /// Name of the stream, a part of the ids of its results.
    pub name: String,
    /// Which events are counted: those of any of these sources.
    pub from: Vec<Source>,
    /// Which events are answers, to [`Window::Await`]; empty for other windows.
    pub until: Vec<Source>,
    /// Paths of the fields whose values form the key. Each key has windows of its own.
    pub key: Vec<String>,
    /// Which time of an event counts.
    pub time: Time,
    /// How events are put together.
    pub window: Window,
    /// What is computed over a window, by name.
    pub emit: Vec<Emit>,
    /// Condition over a result: only results for which it holds are given. It may use the fields of the key, the names
    /// in `emit`, and `window_start` and `window_end` in milliseconds since 1970, rounded down.
    pub having: Option<String>,
    /// Where results go. The caller puts them there.
    pub to: To,
    /// Bounds of the state.
    pub bounds: Bounds,
}

/// Events of one type, and which of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Type of the events.
    pub event_type: String,
    /// Condition over the event (`where`); none takes every event of the type.
    pub filter: Option<String>,
}

/// Which time of an event counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Time {
    /// The time of its record in the journal, which never goes back: no event is late.
    Journal,
    /// A time that the event holds. The watermark is the greatest such time so far minus the lateness. An event before
    /// the watermark is late: it is given as late and not counted, also if a window that would hold it is still open.
    Event {
        /// Expression over the event: how many units since 1970.
        value: String,
        /// Nanoseconds of a unit: 1 to 86,400,000,000,000.
        unit: i64,
        /// How much later than a younger event an event may come, in nanoseconds.
        lateness: i64,
    },
}

/// How events of one key are put together. All spans are nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Window {
    /// Intervals [k · size, (k + 1) · size) from 1970: each event is in one.
    Tumbling {
        /// Length.
        size: i64,
    },
    /// Intervals [k · step, k · step + size) from 1970: each event is in one or more.
    Hopping {
        /// Length.
        size: i64,
        /// From one beginning to the next, at most the size.
        step: i64,
    },
    /// Events with less than the gap from each to the next: [first, last + gap). An event exactly `gap` after the last
    /// one begins a new session.
    Session {
        /// Shortest silence that ends a session.
        gap: i64,
    },
    /// One result per event: over the events in (t − size − delay, t − delay], where t is the event's time. Of events
    /// with the same time, those count that came before; the event itself counts if the delay is 0.
    Trailing {
        /// Length.
        size: i64,
        /// From the end of the interval to the event.
        delay: i64,
    },
    /// Waits for an answer. The first event of a key, at t, opens a wait [t, t + within); further ones are in it. The first answer of the
    /// key in that time ends it, and the next event of the key opens another.
    Await {
        /// Longest time until an answer.
        within: i64,
        /// Which waits have results.
        give: Give,
    },
}

/// Which waits for an answer have results.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Give {
    /// Those that no answer ended, at their end.
    Unanswered,
    /// Those that an answer ended, at the time of the answer.
    Answered,
}

/// A named aggregate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Emit {
    /// Name in results and in `having`.
    pub name: String,
    /// What is computed.
    pub aggregate: Aggregate,
}

/// What is computed over the events of a window. The strings are expressions over the event; the path of a field is one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Aggregate {
    /// Number of events.
    Count,
    /// Sum of integers.
    Sum(String),
    /// Smallest integer; missing if the window is empty.
    Min(String),
    /// Greatest integer; missing if the window is empty.
    Max(String),
    /// Exact number of different values. More than [`Bounds::distinct_values_max`] stop the stream.
    Distinct(String),
    /// Value of the first event in order of time, then of record; missing if the window is empty.
    First(String),
    /// Value of the last event in order of time, then of record; missing if the window is empty.
    Last(String),
}

/// Where results go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum To {
    /// Each result is an event.
    Event,
    /// Results are rows of a table.
    Table,
}

/// Bounds of a stream's state. A stream that reaches one stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Maximum number of keys that have a window.
    pub keys_max: usize,
    /// Maximum number of open windows. A trailing window counts one per key.
    pub open_windows_max: usize,
    /// Maximum bytes of state, as counted by a fixed formula that is near what the memory holds. Also the maximum of what one record
    /// may make final, and of state and final rows together where a caller keeps rows.
    pub state_bytes_max: usize,
    /// Maximum number of distinct values of one aggregate in one window.
    pub distinct_values_max: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Bounds {
            keys_max: 2_000_000,
            open_windows_max: 4_000_000,
            state_bytes_max: 1 << 30,
            distinct_values_max: 10_000,
        }
    }
}
