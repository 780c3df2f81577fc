//! One version of one stream at work: records in, rows and results to publish out.

use std::collections::VecDeque;

use serde_json::{Map, Value as Json, json};
use tributary_api::streaming::{StreamRow, StreamTerms, Usage};
use tributary_api::time::format_time_ns;

use super::definition::{Ready, ready};
use super::fields::{EventFields, StreamFields};
use crate::stream::{
    DefinitionError, Event, LateEvent, Output, OwnedScalar, ResultId, Row, StreamResult,
};

/// Results that wait to be published, of one version of a stream. One more stops the stream.
pub(super) const WAITING_MAX: usize = 100_000;
/// Maximum number of hops of an event: a stream that reads the events of streams, whose events ..., ends here.
pub(super) const HOPS_MAX: u8 = tributary_ledger::Origin::HOPS_MAX;

/// One version of a stream.
pub(super) struct Runner {
    pub(super) ready: Ready,
    pub(super) terms: StreamTerms,
    /// Position of the record that made this version: results that are final by then are not published.
    pub(super) activation: u64,
    /// Position of the record that made the next version: the last one that this version takes.
    pub(super) until: Option<u64>,
    /// Position of the last record that was taken.
    pub(super) position: u64,
    pub(super) events: u64,
    pub(super) results: u64,
    pub(super) refused: u64,
    /// Hops of the events that are published: one more than of any event that was taken.
    pub(super) hops: u8,
    /// The newest rows that are final, and the number of the one after the newest.
    pub(super) rows: VecDeque<(Row, u32)>,
    pub(super) next_row: u64,
    pub(super) waiting: VecDeque<Waiting>,
    /// Why it stopped, and at which position.
    pub(super) stopped: Option<(u64, String)>,
    /// Kept for its memory.
    outputs: Vec<Output>,
}

/// What is to be published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Waiting {
    pub(super) id: ResultId,
    pub(super) hops: u8,
    /// Whether it is an event that came too late.
    pub(super) is_late: bool,
    /// Text by which the events of one key are kept in order.
    pub(super) key: String,
    /// JSON.
    pub(super) data: String,
}

/// A record as a stream takes it.
pub(super) struct Taken<'e> {
    pub(super) position: u64,
    /// Nanoseconds since the Unix epoch.
    pub(super) time: i64,
    /// The event; none for records that are no event.
    pub(super) event_type: Option<&'e str>,
    /// Hops of an event that a stream published.
    pub(super) stream_hops: Option<u8>,
    /// Makes the fields, once for all streams.
    pub(super) fields: &'e dyn Fn() -> Option<&'e EventFields<'e>>,
}

impl Runner {
    /// Makes a stream of its terms, which begins after `position`.
    pub(super) fn new(
        name: String,
        terms: StreamTerms,
        activation: u64,
        position: u64,
    ) -> Result<Runner, DefinitionError> {
        Ok(Runner {
            ready: ready(name, &terms)?,
            terms,
            activation,
            until: None,
            position,
            events: 0,
            results: 0,
            refused: 0,
            hops: 1,
            rows: VecDeque::new(),
            next_row: 0,
            waiting: VecDeque::new(),
            stopped: None,
            outputs: Vec::new(),
        })
    }

    /// Whether it takes no more records.
    pub(super) fn is_over(&self) -> bool {
        self.stopped.is_some() || self.until.is_some_and(|until| self.position >= until)
    }

    /// Takes the next record.
    pub(super) fn take(&mut self, taken: &Taken<'_>) {
        let mut outputs = std::mem::take(&mut self.outputs);
        let done = self.push(taken, &mut outputs);
        if let Err(why) = done {
            self.stop(taken.position, why);
        } else {
            self.position = taken.position;
            for output in outputs.drain(..) {
                self.give(taken.position, output);
            }
        }
        outputs.clear();
        self.outputs = outputs;
    }

    /// Why it stopped, and where, as a sentence; none if it goes on.
    pub(super) fn why_stopped(&self) -> Option<String> {
        let stopped = self.stopped.as_ref();
        stopped.map(|(position, why)| format!("at record {position}: {why}"))
    }

    pub(super) fn stop(&mut self, position: u64, why: String) {
        self.stopped.get_or_insert((position, why));
    }

    fn push(&mut self, taken: &Taken<'_>, outputs: &mut Vec<Output>) -> Result<(), String> {
        let Ready {
            stream,
            sources,
            data,
            ..
        } = &mut self.ready;
        let source = taken.event_type.and_then(|event_type| {
            let source = sources
                .iter()
                .find(|source| source.event_type == event_type)?;
            (source.from_streams || taken.stream_hops.is_none()).then_some(source)
        });
        let done = match source {
            None => stream.advance(taken.position, taken.time, outputs),
            Some(source) => {
                let event = (taken.fields)().ok_or("the record can't be read")?;
                self.events += 1;
                if let Some(hops) = taken.stream_hops {
                    self.hops = self.hops.max(hops + 1);
                    if self.hops > HOPS_MAX {
                        return Err(format!(
                            "an event went through {HOPS_MAX} streams already; streams that read each other's events go round in a circle"
                        ));
                    }
                }
                let fields = StreamFields {
                    event,
                    data,
                    derived: &source.derived,
                };
                let event = Event {
                    event_type: &source.event_type,
                    journal_time: taken.time,
                    fields: &fields,
                };
                stream.push(taken.position, &event, outputs)
            }
        };
        done.map_err(|stopped| stopped.why.to_string())
    }

    fn give(&mut self, position: u64, output: Output) {
        let is_published = position > self.activation && self.terms.acts_as().is_some();
        let waiting = match output {
            Output::Result(result) => {
                self.results += 1;
                let waiting = is_published.then(|| self.result_event(&result));
                self.rows.push_back((result.row, result.revision));
                self.next_row += 1;
                if self.rows.len() > self.ready.rows_max {
                    self.rows.pop_front();
                }
                waiting
            }
            Output::Late(late) => is_published.then(|| self.late_event(&late)),
        };
        let Some(waiting) = waiting else { return };
        if self.waiting.len() >= WAITING_MAX {
            let why = format!(
                "{WAITING_MAX} results wait to be published; choose longer windows, fewer keys or a narrower `having`, or raise bounds.events_per_second"
            );
            return self.stop(position, why);
        }
        self.waiting.push_back(waiting);
    }

    /// The event of a result holds no time but that of its window, so that it is the same whenever it is computed.
    fn result_event(&self, result: &StreamResult) -> Waiting {
        let row = self.row(0, &result.row, result.revision);
        let data = json!({
            "stream": self.name(),
            "version": row.version,
            "key": row.key,
            "window_start": format_time_ns(i128::from(row.window_start)),
            "window_end": format_time_ns(i128::from(row.window_end)),
            "revision": row.revision,
            "values": row.values,
        });
        Waiting {
            id: result.id,
            hops: self.hops,
            is_late: false,
            key: key_text(&result.row.key),
            data: data.to_string(),
        }
    }

    fn late_event(&self, late: &LateEvent) -> Waiting {
        let time = |nanos: i64| format_time_ns(i128::from(nanos));
        let data = json!({
            "stream": self.name(),
            "version": self.terms.version,
            "position": late.position,
            "key": self.key_object(&late.key),
            "time": time(late.time),
            "watermark": time(late.watermark),
            "window_start": time(late.window_start),
            "window_end": time(late.window_end),
        });
        let data = data.to_string();
        Waiting {
            id: *blake3::hash(data.as_bytes()).as_bytes(),
            hops: self.hops,
            is_late: true,
            key: key_text(&late.key),
            data,
        }
    }

    /// The record of a result that was published, or refused, has come.
    pub(super) fn published(&mut self, id: &ResultId, is_refused: bool) {
        if let Some(at) = self.waiting.iter().position(|waiting| waiting.id == *id) {
            self.waiting.remove(at);
            self.refused += u64::from(is_refused);
        }
    }

    /// Id of the stream.
    pub(super) fn name(&self) -> &str {
        &self.ready.stream.definition().name
    }

    pub(super) fn usage(&self) -> Usage {
        let usage = self.ready.stream.usage();
        Usage {
            keys: usage.keys as u64,
            open_windows: usage.open_windows as u64,
            state_bytes: usage.state_bytes as u64,
        }
    }

    /// The newest final rows, the newest first, from the one before `before` on.
    pub(super) fn final_rows(&self, before: Option<u64>, limit: usize) -> Vec<StreamRow> {
        let first = self.next_row - self.rows.len() as u64;
        let end = before.map_or(self.next_row, |before| before.clamp(first, self.next_row));
        let numbers = (first..end).rev().take(limit);
        numbers
            .map(|number| {
                let (row, revision) = &self.rows[(number - first) as usize];
                self.row(number, row, *revision)
            })
            .collect()
    }

    /// The rows of the windows that are open, in the order of their keys, from the one after `after` on.
    pub(super) fn open_rows(&self, after: u64, limit: usize) -> Result<Vec<StreamRow>, String> {
        let rows = self
            .ready
            .stream
            .rows()
            .map_err(|stopped| stopped.to_string())?;
        let skip = usize::try_from(after).unwrap_or(usize::MAX);
        let rows = rows.iter().zip(1..).skip(skip).take(limit);
        Ok(rows.map(|(row, number)| self.row(number, row, 0)).collect())
    }

    fn row(&self, number: u64, row: &Row, revision: u32) -> StreamRow {
        let names = self.ready.stream.definition().emit.iter();
        let values = names.zip(&row.values).map(|(emit, value)| {
            let value = value.as_ref().map_or(Json::Null, to_json);
            (emit.name.clone(), value)
        });
        StreamRow {
            number,
            version: self.terms.version,
            key: self.key_object(&row.key),
            window_start: row.window_start,
            window_end: row.window_end,
            revision,
            values: values.collect(),
        }
    }

    fn key_object(&self, key: &[OwnedScalar]) -> Map<String, Json> {
        let names = self.terms.key.iter().cloned();
        names.zip(key.iter().map(to_json)).collect()
    }
}

fn to_json(value: &OwnedScalar) -> Json {
    match value {
        OwnedScalar::Bool(value) => Json::Bool(*value),
        OwnedScalar::Int(value) => Json::from(*value),
        OwnedScalar::String(value) => Json::String(value.to_string()),
    }
}

/// What keeps the events of a key in order: its values, cut off.
fn key_text(key: &[OwnedScalar]) -> String {
    let values = key.iter().map(|value| match to_json(value) {
        Json::String(text) => text,
        other => other.to_string(),
    });
    values.collect::<Vec<_>>().join("/")
}
