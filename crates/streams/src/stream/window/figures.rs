//! What the kinds of windows take and give.

use crate::stream::errors::StopReason;
use crate::stream::value::OwnedScalar;

/// What a window says at its end, or a trailing window at an event.
pub(in crate::stream) struct Figures<'a> {
    pub(in crate::stream) key: &'a [u8],
    pub(in crate::stream) start: i64,
    pub(in crate::stream) end: i64,
    /// Number of results with the same key and end before.
    pub(in crate::stream) revision: u32,
    pub(in crate::stream) values: Vec<Option<OwnedScalar>>,
}

/// Takes figures in the order in which they are final.
pub(in crate::stream) type Sink<'s> = dyn FnMut(Figures<'_>) -> Result<(), StopReason> + 's;

/// An event after `where`: its time, encoded key and inputs of aggregates.
pub(in crate::stream) struct Item<'a> {
    pub(in crate::stream) time: i64,
    pub(in crate::stream) key: &'a [u8],
    pub(in crate::stream) inputs: &'a [OwnedScalar],
}

/// What is counted against the bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Keys that have a window.
    pub keys: usize,
    /// Open windows; a trailing window counts one per key.
    pub open_windows: usize,
    /// Bytes of state.
    pub state_bytes: usize,
}

/// Events of one key that were not added to the windows yet, in the order of their times: the time and the inputs of each.
pub(in crate::stream) type Ahead<'a> = [(i64, &'a [OwnedScalar])];
