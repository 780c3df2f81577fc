//! What a stream takes and gives.

use super::value::OwnedScalar;
use crate::expression::{FieldId, Fields, Scalar, Value};

/// Nanoseconds of a millisecond, in which conditions see times.
const NS_PER_MS: i64 = 1_000_000;

/// Bytes counted for a row, beside its values.
const ROW_BYTES: usize = 128;

/// An event of the journal.
#[derive(Clone, Copy)]
pub struct Event<'a> {
    /// Type of the event.
    pub event_type: &'a str,
    /// Time of its record, in nanoseconds since 1970.
    pub journal_time: i64,
    /// Values of its fields.
    pub fields: &'a dyn Fields,
}

/// What a stream gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// A result that is final.
    Result(StreamResult),
    /// An event that came too late to be counted (`stream.late`).
    Late(LateEvent),
}

/// Identity of a result: a hash of the stream, its version, the key, the end of the window and the revision. The same
/// wherever and however often the result is computed.
pub type ResultId = [u8; 32];

/// Final figures of a window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamResult {
    /// Identity.
    pub id: ResultId,
    /// Figures.
    pub row: Row,
    /// Number of results of the same key and window end before: above 0 only for trailing windows at equal times.
    pub revision: u32,
}

/// Figures of a window of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Values of the key's fields, in the order of the definition.
    pub key: Vec<OwnedScalar>,
    /// Beginning in nanoseconds: within the window, but for a trailing window, which begins just after.
    pub window_start: i64,
    /// End in nanoseconds: just after the window, but for a trailing window, which holds its end.
    pub window_end: i64,
    /// Values of the aggregates, in the order of the definition. None: the window is empty and the aggregate of nothing
    /// has no value.
    pub values: Vec<Option<OwnedScalar>>,
}

/// An event that was not counted because it came after the watermark had passed its time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LateEvent {
    /// Position of the event.
    pub position: u64,
    /// Values of the key's fields.
    pub key: Vec<OwnedScalar>,
    /// Time of the event, in nanoseconds.
    pub time: i64,
    /// Watermark when it came, in nanoseconds.
    pub watermark: i64,
    /// First beginning of the windows that would hold it. For sessions: of the session of the event alone.
    pub window_start: i64,
    /// Last end of those windows.
    pub window_end: i64,
}

impl Row {
    /// Returns the bytes that are counted for the row.
    pub(crate) fn bytes(&self) -> usize {
        let key = self.key.iter().map(OwnedScalar::bytes);
        let values = self.values.iter().map(|value| {
            let heap = value.as_ref().map_or(0, OwnedScalar::heap_bytes);
            size_of::<OwnedScalar>() + heap
        });
        ROW_BYTES + key.sum::<usize>() + values.sum::<usize>()
    }
}

impl Fields for Row {
    fn get(&self, field: FieldId) -> Option<Value<'_>> {
        let place = field.index();
        if let Some(value) = self.key.get(place) {
            return Some(value.as_scalar().into());
        }
        let place = place - self.key.len();
        if let Some(value) = self.values.get(place) {
            return value.as_ref().map(|value| value.as_scalar().into());
        }
        let time = match place - self.values.len() {
            0 => self.window_start,
            _ => self.window_end,
        };
        Some(Value::Scalar(Scalar::Int(time.div_euclid(NS_PER_MS))))
    }
}
