//! One version of one stream at work: records in, rows and results to publish out.

use std::collections::VecDeque;

use serde_json::{Map, Value as Json, json};
use tributary_api::streaming::{StreamRow, StreamTerms, Usage};
use tributary_api::time::format_time_ns;

use tributary_ledger::SettingId;

use super::definition::{Ready, ready};
use super::fields::{EventFields, StreamFields};
use crate::expression::Scalar;
use crate::stream::{
    DefinitionError, Event, Expected, LateEvent, Output, OwnedScalar, ResultId, Row, StopReason,
    StreamResult,
};

/// Maximum number of results of a stream that wait to be published. One more stops the stream.
const WAITING_MAX: usize = 100_000;
/// Maximum bytes of results of a stream that wait to be published. One more stops the stream.
const WAITING_BYTES_MAX: usize = 256 << 20;
/// Bytes counted for a result that waits, beside its texts.
const WAITING_BYTES: usize = 128;
/// Maximum number of hops of an event: a stream that reads the events of streams, whose events ..., ends here.
pub(super) const HOPS_MAX: u8 = tributary_ledger::Origin::HOPS_MAX;

/// Nanoseconds of a minute.
const MINUTE: u64 = 60_000_000_000;

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
    /// Results for which something was done.
    pub(super) acted: u64,
    pub(super) refused: u64,
    /// Why a result was refused last, since the process began.
    pub(super) last_refusal: Option<String>,
    /// How much was done lately.
    pub(super) rate: Rate,
    /// Whether nothing more is done for its results: it was changed while it was paused.
    is_given_up: bool,
    /// Hops of the events that are published: one more than of any event that was taken.
    pub(super) hops: u8,
    /// The newest rows that are final, and the number of the one after the newest.
    rows: VecDeque<(Row, u32)>,
    rows_bytes: usize,
    pub(super) next_row: u64,
    waiting: Backlog,
    /// What other versions of the stream have waiting.
    pub(super) waiting_elsewhere: Size,
    /// Why it stopped, and at which position.
    pub(super) stopped: Option<(u64, String)>,
    /// Kept for its memory.
    outputs: Vec<Output>,
}

/// Number and bytes of results that wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) results: usize,
    pub(super) bytes: usize,
}

impl Size {
    pub(super) fn add(self, other: Size) -> Size {
        Size {
            results: self.results + other.results,
            bytes: self.bytes + other.bytes,
        }
    }

    /// Returns what is beside `part`, which is in this.
    pub(super) fn without(self, part: Size) -> Size {
        Size {
            results: self.results - part.results,
            bytes: self.bytes - part.bytes,
        }
    }
}

/// Number of actions of a stream in one minute, those that were refused too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Rate {
    /// The minute, counted from 1970.
    pub(super) minute: u64,
    pub(super) actions: u64,
}

impl Rate {
    /// Returns the number in the minute of `time`, nanoseconds since the Unix epoch.
    pub(super) fn at(self, time: u64) -> u64 {
        match self.minute == time / MINUTE {
            true => self.actions,
            false => 0,
        }
    }

    fn add(&mut self, time: u64) {
        self.actions = self.at(time) + 1;
        self.minute = time / MINUTE;
    }
}

/// What a record says about a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Settled {
    /// The stream.
    pub(super) stream: SettingId,
    pub(super) id: ResultId,
    /// Number of the attempt, from 0.
    pub(super) attempt: u32,
    pub(super) outcome: Outcome,
}

/// What became of a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It was published, or acted upon.
    Done,
    /// It was refused, and why.
    Refused(String),
    /// Somebody else changed the setting that it was to change: it is tried again.
    Overtaken,
}

/// Results that wait to be published, the oldest first.
#[derive(Default)]
struct Backlog {
    list: VecDeque<Waiting>,
    bytes: usize,
}

/// What is to be published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Waiting {
    pub(super) id: ResultId,
    pub(super) hops: u8,
    /// Whether it is an event that came too late.
    pub(super) is_late: bool,
    /// Number of attempts that others overtook.
    pub(super) attempt: u32,
    /// Text by which the events of one key are kept in order.
    pub(super) key: String,
    /// JSON.
    pub(super) data: String,
}

impl Waiting {
    fn bytes(&self) -> usize {
        WAITING_BYTES + self.key.len() + self.data.len()
    }
}

impl Backlog {
    fn size(&self) -> Size {
        Size {
            results: self.list.len(),
            bytes: self.bytes,
        }
    }

    fn push(&mut self, waiting: Waiting) {
        self.bytes += waiting.bytes();
        self.list.push_back(waiting);
    }

    fn remove(&mut self, id: &ResultId) -> Option<Waiting> {
        let at = self.list.iter().position(|waiting| waiting.id == *id);
        let removed = at.and_then(|at| self.list.remove(at));
        let bytes = removed.as_ref().map(Waiting::bytes);
        self.bytes -= bytes.unwrap_or(0);
        removed
    }
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
    /// What it says about a result of a stream, if it is about one.
    pub(super) result: Option<Settled>,
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
            acted: 0,
            refused: 0,
            last_refusal: None,
            rate: Rate::default(),
            is_given_up: false,
            hops: 1,
            rows: VecDeque::new(),
            rows_bytes: 0,
            next_row: 0,
            waiting: Backlog::default(),
            waiting_elsewhere: Size::default(),
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
            let mut given = outputs.drain(..);
            let given = given.try_for_each(|output| self.give(taken.position, output));
            if let Err(why) = given.and_then(|()| self.check_bytes()) {
                self.stop(taken.position, why.to_string());
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

    /// Adds an event that is not recorded yet to those that are expected, if it would be counted.
    pub(super) fn expect(&self, event: &EventFields<'_>, time: i64, expected: &mut Expected) {
        let Ready {
            stream,
            sources,
            data,
            ..
        } = &self.ready;
        let event_type = event.event_type();
        let source = sources
            .iter()
            .find(|source| source.event_type == event_type);
        let Some(source) = source else { return };
        let fields = StreamFields {
            event,
            data,
            derived: &source.derived,
        };
        let event = Event {
            event_type,
            journal_time: time,
            fields: &fields,
        };
        stream.expect(&event, expected);
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

    fn give(&mut self, position: u64, output: Output) -> Result<(), StopReason> {
        let is_published =
            position > self.activation && self.terms.acts_as().is_some() && !self.is_given_up;
        let waiting = match output {
            Output::Result(result) => {
                self.results += 1;
                let waiting = is_published.then(|| self.result_event(&result));
                self.keep_row(result.row, result.revision);
                self.next_row += 1;
                self.check_bytes()?;
                waiting
            }
            Output::Late(late) => is_published.then(|| self.late_event(&late)),
        };
        let Some(mut waiting) = waiting else {
            return Ok(());
        };
        waiting.data.shrink_to_fit();
        self.waiting.push(waiting);
        let size = self.waiting.size().add(self.waiting_elsewhere);
        for (what, used, max) in [
            ("results", size.results, WAITING_MAX),
            ("bytes of results", size.bytes, WAITING_BYTES_MAX),
        ] {
            if used > max {
                return Err(StopReason::Waiting { what, max });
            }
        }
        Ok(())
    }

    /// Keeps a final row, and drops the oldest beyond the bound.
    fn keep_row(&mut self, row: Row, revision: u32) {
        self.rows_bytes += row.bytes();
        self.rows.push_back((row, revision));
        if self.rows.len() > self.ready.rows_max
            && let Some((oldest, _)) = self.rows.pop_front()
        {
            self.rows_bytes -= oldest.bytes();
        }
    }

    /// Checks state and final rows together.
    fn check_bytes(&self) -> Result<(), StopReason> {
        let max = self.ready.stream.definition().bounds.state_bytes_max;
        if self.state_bytes() > max {
            return Err(StopReason::Bound {
                what: "bytes of state and final rows",
                bound: "state_bytes_max",
                max,
            });
        }
        Ok(())
    }

    fn state_bytes(&self) -> usize {
        self.ready.stream.usage().state_bytes + self.rows_bytes
    }

    /// Takes rows and results that were kept by an earlier process.
    pub(super) fn restore(&mut self, rows: Vec<(Row, u32)>, waiting: Vec<Waiting>) {
        // The bound may be lower now.
        for (row, revision) in rows {
            self.keep_row(row, revision);
        }
        for waiting in waiting {
            self.waiting.push(waiting);
        }
    }

    /// The final rows that are kept, the oldest first.
    pub(super) fn kept_rows(&self) -> &VecDeque<(Row, u32)> {
        &self.rows
    }

    /// The results that wait to be published, the oldest first.
    pub(super) fn waiting(&self) -> &VecDeque<Waiting> {
        &self.waiting.list
    }

    pub(super) fn waiting_size(&self) -> Size {
        self.waiting.size()
    }

    /// The event of a result holds no time but that of its window, so that it is the same whenever it is computed.
    fn result_event(&self, result: &StreamResult) -> Waiting {
        let row = self.row(0, &result.row, result.revision);
        let mut data = json!({
            "stream": self.name(),
            "version": row.version,
            "key": row.key,
            "window_start": format_time_ns(i128::from(row.window_start)),
            "window_end": format_time_ns(i128::from(row.window_end)),
            "revision": row.revision,
        });
        match &self.terms.act {
            None => data["values"] = Json::Object(row.values),
            Some(_) => data["target"] = self.target(&result.row),
        }
        Waiting {
            id: result.id,
            hops: self.hops,
            is_late: false,
            attempt: 0,
            key: key_text(&result.row.key),
            data: data.to_string(),
        }
    }

    /// To what something is done for a result: a text, or an object with the `fault` of an expression without a value.
    fn target(&self, row: &Row) -> Json {
        let Some(target) = &self.ready.target else {
            return Json::Null;
        };
        match target.evaluate(row) {
            Ok(Scalar::String(text)) => Json::from(text),
            Ok(Scalar::Int(number)) => Json::from(number.to_string()),
            Ok(Scalar::Bool(_)) => unreachable!("the type was checked"),
            Err(error) => json!({ "fault": error.to_string() }),
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
            attempt: 0,
            key: key_text(&late.key),
            data,
        }
    }

    /// The record of a result has come: that it was published or acted upon, or refused. `time` is that of the record, nanoseconds since
    /// the Unix epoch.
    pub(super) fn settle(&mut self, settled: &Settled, time: u64) {
        if settled.outcome == Outcome::Overtaken {
            let mut waiting = self.waiting.list.iter_mut();
            if let Some(waiting) = waiting.find(|waiting| waiting.id == settled.id) {
                waiting.attempt = waiting.attempt.max(settled.attempt + 1);
            }
            return;
        }
        let Some(waited) = self.waiting.remove(&settled.id) else {
            return;
        };
        let is_action = self.terms.act.is_some() && !waited.is_late;
        if is_action {
            self.rate.add(time);
        }
        match &settled.outcome {
            Outcome::Refused(why) => {
                self.refused += 1;
                self.last_refusal = Some(why.clone());
            }
            Outcome::Done | Outcome::Overtaken => self.acted += u64::from(is_action),
        }
    }

    /// Does nothing more for its results: those that wait are dropped.
    pub(super) fn give_up(&mut self) {
        self.is_given_up = true;
        self.waiting = Backlog::default();
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
            state_bytes: self.state_bytes() as u64,
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
        let skip = usize::try_from(after).unwrap_or(usize::MAX);
        let rows = self.ready.stream.rows_page(skip, limit);
        let rows = rows.map_err(|stopped| stopped.to_string())?;
        let rows = rows.iter().zip(after.saturating_add(1)..);
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A stream of one key with 16 values that publishes its results.
    fn runner(bounds: &Json) -> Runner {
        let emit: Map<String, Json> = (0..16)
            .map(|number| (format!("v{number:02}"), json!("first(reference)")))
            .collect();
        let terms = json!({
            "version": 1, "from": [{"event": "payment.captured"}], "data": {}, "key": ["payer"], "time": null,
            "window": {"type": "tumbling", "size_seconds": 60}, "emit": emit, "having": null,
            "publish": {"event": "app.result", "acts_as": 1}, "start": "beginning", "bounds": bounds, "paused": null,
        });
        let terms = serde_json::from_value(terms).expect("terms");
        Runner::new("str_1".to_owned(), terms, 10, 0).expect("a stream")
    }

    fn result(number: u32, text: &str) -> Output {
        let mut id = [0; 32];
        id[..4].copy_from_slice(&number.to_le_bytes());
        let text = OwnedScalar::String(text.into());
        Output::Result(StreamResult {
            id,
            row: Row {
                key: vec![text.clone()],
                window_start: 0,
                window_end: 60_000_000_000,
                values: vec![Some(text); 16],
            },
            revision: 0,
        })
    }

    /// Gives the same result under ever new ids until the stream stops: how many, and why.
    fn fill(runner: &mut Runner, text: &str) -> (u32, StopReason) {
        for number in 0.. {
            if let Err(why) = runner.give(11, result(number, text)) {
                return (number, why);
            }
        }
        unreachable!("there are as many numbers as need be")
    }

    #[test]
    fn final_rows_are_state() {
        let mut runner = runner(&json!({"rows_max": 1_000_000, "state_bytes_max": 1_000_000}));
        let (given, why) = fill(&mut runner, &"t".repeat(1_000));
        // A row has 17 texts.
        assert!((50..59).contains(&given), "{given}");
        let max = 1_000_000;
        let what = "bytes of state and final rows";
        let bound = "state_bytes_max";
        assert_eq!(why, StopReason::Bound { what, bound, max });
        assert!(runner.usage().state_bytes > 1_000_000);
        // Rows that were dropped do not count.
        let mut runner = self::runner(&json!({"rows_max": 20, "state_bytes_max": 1_000_000}));
        for number in 0..1_000 {
            let given = runner.give(5, result(number, &"t".repeat(1_000)));
            given.expect("few rows are kept");
        }
        assert_eq!(runner.kept_rows().len(), 20);
        let kept = runner.kept_rows().iter().map(|(row, _)| row.bytes());
        assert_eq!(runner.usage().state_bytes, kept.sum::<usize>() as u64);
    }

    #[test]
    fn results_that_wait_have_a_bound_in_number_and_in_bytes() {
        let few_rows = json!({"rows_max": 1});
        let mut runner = runner(&few_rows);
        let (given, why) = fill(&mut runner, "short");
        assert_eq!(given as usize, WAITING_MAX);
        let (what, max) = ("results", WAITING_MAX);
        assert_eq!(why, StopReason::Waiting { what, max });
        // In JSON, such a letter has six bytes.
        let long = "\u{1}".repeat(4_096);
        let mut runner = self::runner(&few_rows);
        let (given, why) = fill(&mut runner, &long);
        let (what, max) = ("bytes of results", WAITING_BYTES_MAX);
        assert_eq!(why, StopReason::Waiting { what, max });
        let each = WAITING_BYTES_MAX / given as usize;
        assert!((17 * 6 * 4_096..18 * 6 * 4_096).contains(&each), "{each}");
        // What other versions have waiting counts, and what was published does not.
        let mut runner = self::runner(&few_rows);
        runner.waiting_elsewhere = Size {
            results: 10,
            bytes: WAITING_BYTES_MAX - 10 * each,
        };
        let (given, _) = fill(&mut runner, &long);
        assert!((9..=10).contains(&given), "{given}");
        let mut id = [0; 32];
        for number in 0..given {
            id[..4].copy_from_slice(&number.to_le_bytes());
            runner.settle(
                &Settled {
                    stream: SettingId(1),
                    id,
                    attempt: 0,
                    outcome: Outcome::Done,
                },
                0,
            );
        }
        let left = runner.waiting_size();
        assert_eq!(left.results, 1);
        let left_bytes = runner.waiting().iter().map(Waiting::bytes).sum::<usize>();
        assert_eq!(left.bytes, left_bytes);
    }
}
