//! A stream: events and times in, results out, state and position in one checkpoint.

use std::collections::{BTreeMap, HashMap};

use super::codec::{Reader, Writer};
use super::definition::{Definition, KEY_BYTES_MAX, Source, VALUE_BYTES_MAX, Window};
use super::errors::{DefinitionError, RestoreError, StopReason, Stopped};
use super::output::{Event, LateEvent, Output, ResultId, Row, StreamResult};
use super::plan::{Compiled, result_schema};
use super::value::{OwnedScalar, decode_key, encode_value};
use super::window::{Figures, Item, Usage, Windows};
use crate::expression::{
    EvaluationError, Expression, Fields, LANGUAGE_VERSION, Scalar, Schema, Type, Value,
};

/// Version of the bytes of a checkpoint and of what they mean.
const CHECKPOINT_VERSION: u32 = 1;

/// Greatest distance of a time from 1970, in nanoseconds. With the longest spans it still fits into 64 bits.
const TIME_NS_MAX: i64 = 1 << 62;

/// Maximum number of events that wait for the watermark of a stream whose figures are looked up.
pub const LOOK_WAITING_MAX: usize = 10_000;

/// Bytes counted for an event that waits for the watermark, beside its key and inputs.
const WAITING_BYTES: usize = 96;

/// A stream and its state.
///
/// The same events and times, in the same order, give the same results and the same checkpoints, also over a restore at
/// any point. A stream that stops stays stopped: what it had at the last checkpoint can be restored.
pub struct Stream {
    compiled: Compiled,
    version: u64,
    /// Position of the last record that was taken.
    position: u64,
    /// Time to which windows were advanced: the journal's, or the watermark.
    clock: i64,
    windows: Windows,
    /// Events at or after the watermark, by time and position.
    waiting: BTreeMap<(i64, u64), Waiting>,
    waiting_bytes: usize,
    late_events: u64,
    /// Bytes of the results of the record that is being taken.
    output_bytes: usize,
    stopped: Option<Stopped>,
    scratch: Scratch,
}

/// Events that are not recorded yet, as one stream would count them: time and inputs, by encoded key.
#[derive(Default)]
pub struct Expected(HashMap<Box<[u8]>, Vec<ExpectedEvent>>);

type ExpectedEvent = (i64, Box<[OwnedScalar]>);

/// An event without what is not counted.
#[derive(Default)]
struct Scratch {
    key: Vec<u8>,
    inputs: Vec<OwnedScalar>,
}

struct Waiting {
    role: Role,
    key: Box<[u8]>,
    inputs: Box<[OwnedScalar]>,
}

/// What an event is to a stream.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    /// It is counted.
    Counted,
    /// It ends the wait of its key.
    Answer,
}

impl Waiting {
    fn bytes(&self) -> usize {
        let inputs = self.inputs.iter();
        let inputs = inputs.map(OwnedScalar::bytes);
        WAITING_BYTES + self.key.len() + inputs.sum::<usize>()
    }
}

impl Stream {
    /// Makes a stream without any state. Its definition's expressions and key are over the fields of the schema.
    ///
    /// `version` is a part of the ids of results: a changed definition needs another one.
    ///
    /// # Errors
    /// If the definition is wrong: the error names the field.
    pub fn new(
        definition: Definition,
        version: u64,
        schema: &Schema,
    ) -> Result<Stream, DefinitionError> {
        let compiled = Compiled::new(definition, schema)?;
        Ok(Stream {
            windows: Windows::new(compiled.definition.window),
            compiled,
            version,
            position: 0,
            clock: -TIME_NS_MAX,
            waiting: BTreeMap::new(),
            waiting_bytes: 0,
            late_events: 0,
            output_bytes: 0,
            stopped: None,
            scratch: Scratch::default(),
        })
    }

    /// Takes the event at a position of the journal and appends what became final.
    ///
    /// An event at or before [`Stream::position`] was taken already and is ignored.
    ///
    /// # Errors
    /// If the stream stopped, now or before. Nothing is appended then.
    pub fn push(
        &mut self,
        position: u64,
        event: &Event<'_>,
        outputs: &mut Vec<Output>,
    ) -> Result<(), Stopped> {
        self.take(position, outputs, |stream, outputs| {
            if stream.compiled.time.is_none() {
                stream.advance_journal(event.journal_time, outputs)?;
            }
            let Some(role) = stream.select(event)? else {
                return Ok(());
            };
            let mut scratch = std::mem::take(&mut stream.scratch);
            stream.read(role, event.fields, &mut scratch)?;
            match stream.event_time(event.fields)? {
                None => stream.count(role, event.journal_time, &scratch, outputs)?,
                Some(time) => stream.wait(role, position, time, &scratch, outputs)?,
            }
            stream.scratch = scratch;
            stream.check_bounds()
        })
    }

    /// Takes a record that is no event and says the time, such as a barrier, and appends the results of the windows that
    /// it ends.
    ///
    /// It ends no window of a stream over the times of events: only events move the watermark.
    ///
    /// # Errors
    /// If the stream stopped, now or before. Nothing is appended then.
    pub fn advance(
        &mut self,
        position: u64,
        journal_time: i64,
        outputs: &mut Vec<Output>,
    ) -> Result<(), Stopped> {
        self.take(position, outputs, |stream, outputs| {
            match stream.compiled.time {
                None => stream.advance_journal(journal_time, outputs),
                Some(_) => Ok(()),
            }
        })
    }

    /// Returns the time of the journal at which the next window ends, in nanoseconds: if no record has that time or a
    /// later one, a barrier is due. None if no window is open or if none ends by the journal's time.
    #[must_use]
    pub fn next_deadline(&self) -> Option<i64> {
        match self.compiled.time {
            None => self.windows.next_end(),
            Some(_) => None,
        }
    }

    /// Returns the figures of the open windows as they are, in the order of keys and then of windows, without those for
    /// which `having` does not hold. For trailing windows: as they were at the last event of each key.
    ///
    /// Events that wait for the watermark are not in them.
    ///
    /// # Errors
    /// If the stream stopped, or if `having` has no value for a row.
    pub fn rows(&self) -> Result<Vec<Row>, Stopped> {
        self.rows_page(0, usize::MAX)
    }

    /// Returns at most `limit` of [`Stream::rows`], from the one after the first `skip` on.
    ///
    /// # Errors
    /// As [`Stream::rows`].
    pub fn rows_page(&self, skip: usize, limit: usize) -> Result<Vec<Row>, Stopped> {
        if let Some(stopped) = &self.stopped {
            return Err(stopped.clone());
        }
        let (mut rows, mut seen) = (Vec::new(), 0);
        let mut sink = |figures: Figures<'_>| {
            if let Some(row) = select_row(&self.compiled, figures)? {
                seen += 1;
                if seen > skip && rows.len() < limit {
                    rows.push(row);
                }
            }
            Ok(())
        };
        let taken = self.windows.rows(&self.compiled.aggregates, &mut sink);
        taken.map_err(|why| self.stopped_at(self.position, why))?;
        Ok(rows)
    }

    /// Returns the figures of a key at a time, in nanoseconds, as far as records were taken, in the order of `emit`: over the window that
    /// an event of the key at this time would be in, without it. For hopping windows the longest one; for trailing windows the
    /// interval before. What sums and counts is 0 where there is no event, and what needs an event has no value.
    ///
    /// `expected` are counted as if they had been taken last.
    ///
    /// # Errors
    /// If the time is too far from 1970, a sum does not fit, or more than [`LOOK_WAITING_MAX`] events wait for the watermark.
    pub fn look(
        &self,
        key: &[Scalar<'_>],
        time: i64,
        expected: &Expected,
    ) -> Result<Vec<Option<OwnedScalar>>, StopReason> {
        check_time(time)?;
        self.check_look()?;
        let mut bytes = Vec::new();
        key.iter()
            .for_each(|value| encode_value(&mut bytes, *value));
        let ahead = self.waiting.range(..=(time, u64::MAX));
        let ahead = ahead.filter(|(_, event)| event.role == Role::Counted && *event.key == *bytes);
        let ahead = ahead.map(|((at, _), event)| (*at, &*event.inputs));
        let expected = expected.0.get(&*bytes).into_iter().flatten();
        let expected = expected.filter(|(at, _)| *at <= time);
        let expected = expected.map(|(at, inputs)| (*at, &**inputs));
        let mut ahead: Vec<_> = ahead.chain(expected).collect();
        ahead.sort_by_key(|(at, _)| *at);
        self.windows
            .look(&self.compiled.aggregates, &bytes, time, &ahead)
    }

    /// Checks that figures can be looked up now.
    ///
    /// # Errors
    /// If more than [`LOOK_WAITING_MAX`] events wait for the watermark.
    pub fn check_look(&self) -> Result<(), StopReason> {
        match self.waiting.len() {
            ..=LOOK_WAITING_MAX => Ok(()),
            _ => Err(StopReason::LookTooLong {
                max: LOOK_WAITING_MAX,
            }),
        }
    }

    /// Adds an event that is not recorded yet to those that are expected, if it would be counted: not if one of its fields has no value.
    pub fn expect(&self, event: &Event<'_>, expected: &mut Expected) {
        let mut scratch = Scratch::default();
        let mut read = || {
            let role = self.select(event).ok()??;
            self.read(role, event.fields, &mut scratch).ok()?;
            let time = self.event_time(event.fields).ok()?;
            let is_late = time.is_some_and(|time| time < self.clock);
            (role == Role::Counted && !is_late).then(|| time.unwrap_or(event.journal_time))
        };
        if let Some(time) = read() {
            let inputs = scratch.inputs.into_boxed_slice();
            let of_key = expected.0.entry(scratch.key.into()).or_default();
            of_key.push((time, inputs));
        }
    }

    /// Returns the fields of a result, which expressions over a [`Row`] use: those of the key, the names in `emit`, and `window_start`
    /// and `window_end` in milliseconds.
    ///
    /// # Panics
    /// Never: the definition was checked.
    #[must_use]
    pub fn result_schema(&self) -> Schema {
        let Compiled {
            definition,
            key_types,
            value_types,
            ..
        } = &self.compiled;
        result_schema(definition, key_types, value_types).expect("it was made before")
    }

    /// Returns the types of the fields of the key, in order.
    #[must_use]
    pub fn key_types(&self) -> &[Type] {
        &self.compiled.key_types
    }

    /// Returns the types of the figures, in the order of `emit`.
    #[must_use]
    pub fn value_types(&self) -> &[Type] {
        &self.compiled.value_types
    }

    /// Returns the position of the last record that was taken, 0 before the first.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Returns the definition.
    #[must_use]
    pub fn definition(&self) -> &Definition {
        &self.compiled.definition
    }

    /// Returns the version of the definition.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Returns why the stream stopped; none if it goes on.
    #[must_use]
    pub fn stopped(&self) -> Option<&Stopped> {
        self.stopped.as_ref()
    }

    /// Returns the number of events that came too late.
    #[must_use]
    pub fn late_events(&self) -> u64 {
        self.late_events
    }

    /// Returns the watermark of a stream over the times of events, in nanoseconds; none before the first event and for
    /// journal time.
    #[must_use]
    pub fn watermark(&self) -> Option<i64> {
        let has_watermark = self.compiled.time.is_some() && self.clock != -TIME_NS_MAX;
        has_watermark.then_some(self.clock)
    }

    /// Returns what is counted against the bounds.
    #[must_use]
    pub fn usage(&self) -> Usage {
        let usage = self.windows.usage();
        Usage {
            state_bytes: usage.state_bytes + self.waiting_bytes,
            ..usage
        }
    }

    /// Returns state and position as bytes, which depend on nothing but the definition, its version and what was taken.
    ///
    /// The last 32 bytes are a checksum of the others, and so a digest of the state.
    ///
    /// # Errors
    /// If the stream stopped: its last checkpoint before remains the state to restore.
    pub fn checkpoint(&self) -> Result<Vec<u8>, Stopped> {
        if let Some(stopped) = &self.stopped {
            return Err(stopped.clone());
        }
        let mut writer = Writer::default();
        writer.u32(CHECKPOINT_VERSION);
        writer.u32(LANGUAGE_VERSION);
        writer.bytes(self.compiled.definition.name.as_bytes());
        writer.u64(self.version);
        self.encode_shape(&mut writer);
        writer.u64(self.position);
        writer.i64(self.clock);
        writer.u64(self.late_events);
        writer.count(self.waiting.len());
        for ((time, position), waiting) in &self.waiting {
            writer.i64(*time);
            writer.u64(*position);
            writer.bytes(&waiting.key);
            if !self.compiled.answers.is_empty() {
                writer.u32(waiting.role as u32);
            }
            waiting.inputs.iter().for_each(|value| writer.value(value));
        }
        self.windows.encode(&mut writer);
        let mut bytes = writer.0;
        let checksum = blake3::hash(&bytes);
        bytes.extend(checksum.as_bytes());
        Ok(bytes)
    }

    /// Restores state and position into a stream that was just made of the same definition and version.
    ///
    /// # Errors
    /// If the bytes are damaged, of another format, or of another stream.
    pub fn restore(mut self, checkpoint: &[u8]) -> Result<Stream, RestoreError> {
        let (bytes, checksum) = checkpoint
            .split_last_chunk::<32>()
            .ok_or(RestoreError::Damaged)?;
        if blake3::hash(bytes).as_bytes() != checksum {
            return Err(RestoreError::Damaged);
        }
        let mut reader = Reader(bytes);
        if (reader.u32(), reader.u32()) != (Some(CHECKPOINT_VERSION), Some(LANGUAGE_VERSION)) {
            return Err(RestoreError::Format);
        }
        let mut shape = Writer::default();
        shape.bytes(self.compiled.definition.name.as_bytes());
        shape.u64(self.version);
        self.encode_shape(&mut shape);
        reader.0 = reader
            .0
            .strip_prefix(&*shape.0)
            .ok_or(RestoreError::OtherStream)?;
        match self.decode(&mut reader) {
            Some(()) if reader.0.is_empty() => Ok(self),
            _ => Err(RestoreError::Damaged),
        }
    }

    /// Writes what the rest of a checkpoint cannot be read without: the kind of window and the aggregates.
    fn encode_shape(&self, writer: &mut Writer) {
        let (kind, first, second) = match self.compiled.definition.window {
            Window::Tumbling { size } => (0, size, 0),
            Window::Hopping { size, step } => (1, size, step),
            Window::Session { gap } => (2, gap, 0),
            Window::Trailing { size, delay } => (3, size, delay),
            Window::Await { within, give } => (4, within, give as i64),
        };
        writer.u32(kind);
        writer.i64(first);
        writer.i64(second);
        writer.u32(u32::from(self.compiled.time.is_some()));
        writer.count(self.compiled.key.len());
        writer.count(self.compiled.inputs.len());
        for plan in &self.compiled.aggregates.list {
            writer.u32(plan.kind as u32);
            writer.count(plan.input);
        }
    }

    fn decode(&mut self, reader: &mut Reader<'_>) -> Option<()> {
        self.position = reader.u64()?;
        self.clock = reader.i64()?;
        self.late_events = reader.u64()?;
        for _ in 0..reader.count()? {
            let place = (reader.i64()?, reader.u64()?);
            let key = reader.bytes()?.into();
            let role = match self.compiled.answers.is_empty() || reader.u32()? == 0 {
                true => Role::Counted,
                false => Role::Answer,
            };
            let inputs = match role {
                Role::Counted => self.compiled.inputs.len(),
                Role::Answer => 0,
            };
            let waiting = Waiting {
                role,
                key,
                inputs: reader.values(inputs)?.into(),
            };
            self.waiting_bytes += waiting.bytes();
            self.waiting.insert(place, waiting);
        }
        self.windows.decode(&self.compiled.aggregates, reader)
    }

    /// Runs a step at a position. If the step fails, the stream is stopped and nothing is appended.
    fn take(
        &mut self,
        position: u64,
        outputs: &mut Vec<Output>,
        step: impl FnOnce(&mut Stream, &mut Vec<Output>) -> Result<(), StopReason>,
    ) -> Result<(), Stopped> {
        if let Some(stopped) = &self.stopped {
            return Err(stopped.clone());
        }
        if position <= self.position {
            return Ok(());
        }
        let before = outputs.len();
        self.output_bytes = 0;
        match step(self, outputs) {
            Ok(()) => {
                self.position = position;
                Ok(())
            }
            Err(why) => {
                outputs.truncate(before);
                let stopped = self.stopped_at(position, why);
                self.stopped = Some(stopped.clone());
                Err(stopped)
            }
        }
    }

    fn stopped_at(&self, position: u64, why: StopReason) -> Stopped {
        Stopped {
            stream: self.compiled.definition.name.clone(),
            position,
            why,
        }
    }

    fn advance_journal(&mut self, time: i64, outputs: &mut Vec<Output>) -> Result<(), StopReason> {
        check_time(time)?;
        if time < self.clock {
            let from = self.clock;
            return Err(StopReason::TimeWentBack { from, to: time });
        }
        self.advance_windows(time, outputs)
    }

    fn advance_windows(&mut self, time: i64, outputs: &mut Vec<Output>) -> Result<(), StopReason> {
        self.clock = time;
        let mut sink = result_sink(
            &self.compiled,
            self.version,
            &mut self.output_bytes,
            outputs,
        );
        let plans = &self.compiled.aggregates;
        self.windows.advance(plans, time, &mut sink)
    }

    /// Returns what the event is to the stream; none if it is nothing.
    fn select(&self, event: &Event<'_>) -> Result<Option<Role>, StopReason> {
        let (compiled, definition) = (&self.compiled, &self.compiled.definition);
        if selects("from", &definition.from, &compiled.filters, event)? {
            return Ok(Some(Role::Counted));
        }
        let answers = selects("until", &definition.until, &compiled.answers, event)?;
        Ok(answers.then_some(Role::Answer))
    }

    /// Reads the key of an event, and its inputs if it is counted.
    fn read(
        &self,
        role: Role,
        fields: &dyn Fields,
        scratch: &mut Scratch,
    ) -> Result<(), StopReason> {
        scratch.key.clear();
        for (number, field) in self.compiled.key.iter().enumerate() {
            match fields.get(*field) {
                Some(Value::Scalar(value)) => encode_value(&mut scratch.key, value),
                _ => {
                    let path = self.compiled.definition.key[number].clone();
                    return Err(StopReason::MissingKey(path));
                }
            }
        }
        if scratch.key.len() > KEY_BYTES_MAX {
            return Err(StopReason::KeyTooLong {
                bytes: scratch.key.len(),
                max: KEY_BYTES_MAX,
            });
        }
        scratch.inputs.clear();
        if role == Role::Answer {
            return Ok(());
        }
        for input in &self.compiled.inputs {
            let value = input
                .evaluate(fields)
                .map_err(|error| no_value(format!("emit: {input}"), error))?;
            if let Scalar::String(text) = value
                && text.len() > VALUE_BYTES_MAX
            {
                return Err(StopReason::ValueTooLong {
                    field: format!("emit: {input}"),
                    bytes: text.len(),
                    max: VALUE_BYTES_MAX,
                });
            }
            scratch.inputs.push(value.into());
        }
        Ok(())
    }

    fn event_time(&self, fields: &dyn Fields) -> Result<Option<i64>, StopReason> {
        let Some(time) = &self.compiled.time else {
            return Ok(None);
        };
        let value = evaluate_int(&time.value, fields)?;
        let time = value
            .checked_mul(time.unit)
            .ok_or(StopReason::TimeOutOfRange(value))?;
        check_time(time)?;
        Ok(Some(time))
    }

    /// Counts an event, or takes it as an answer, at a time to which windows were advanced.
    fn count(
        &mut self,
        role: Role,
        time: i64,
        scratch: &Scratch,
        outputs: &mut Vec<Output>,
    ) -> Result<(), StopReason> {
        let mut sink = result_sink(
            &self.compiled,
            self.version,
            &mut self.output_bytes,
            outputs,
        );
        if role == Role::Answer {
            return self.windows.answer(time, &scratch.key, &mut sink);
        }
        let item = Item {
            time,
            key: &scratch.key,
            inputs: &scratch.inputs,
        };
        let plans = &self.compiled.aggregates;
        self.windows.add(plans, &item, &mut sink)
    }

    /// Keeps an event until the watermark has passed its time, and counts those whose time it passes now: events with an
    /// earlier time cannot come any more, so that they are counted in the order of their times.
    fn wait(
        &mut self,
        role: Role,
        position: u64,
        time: i64,
        scratch: &Scratch,
        outputs: &mut Vec<Output>,
    ) -> Result<(), StopReason> {
        if time < self.clock {
            let (window_start, window_end) = self.windows.interval_at(time);
            self.late_events += 1;
            outputs.push(Output::Late(LateEvent {
                position,
                key: decode_key(&scratch.key).expect("the key was encoded here"),
                time,
                watermark: self.clock,
                window_start,
                window_end,
            }));
            return Ok(());
        }
        let waiting = Waiting {
            role,
            key: scratch.key.as_slice().into(),
            inputs: scratch.inputs.as_slice().into(),
        };
        self.waiting_bytes += waiting.bytes();
        self.waiting.insert((time, position), waiting);
        let lateness = self.compiled.time.as_ref().map_or(0, |time| time.lateness);
        let watermark = (time - lateness).max(self.clock);
        while let Some(first) = self
            .waiting
            .first_entry()
            .filter(|first| first.key().0 < watermark)
        {
            let ((time, _), waiting) = first.remove_entry();
            self.waiting_bytes -= waiting.bytes();
            self.advance_windows(time, outputs)?;
            let scratch = Scratch {
                key: waiting.key.into(),
                inputs: waiting.inputs.into(),
            };
            self.count(waiting.role, time, &scratch, outputs)?;
            // An event that waits is small, and may be in many windows.
            self.check_bounds()?;
        }
        self.advance_windows(watermark, outputs)
    }

    fn check_bounds(&self) -> Result<(), StopReason> {
        let (usage, bounds) = (self.usage(), &self.compiled.definition.bounds);
        for (what, bound, used, max) in [
            ("keys", "keys_max", usage.keys, bounds.keys_max),
            (
                "open windows",
                "open_windows_max",
                usage.open_windows,
                bounds.open_windows_max,
            ),
            (
                "bytes of state",
                "state_bytes_max",
                usage.state_bytes,
                bounds.state_bytes_max,
            ),
        ] {
            if used > max {
                return Err(StopReason::Bound { what, bound, max });
            }
        }
        Ok(())
    }
}

/// Returns whether the event is of one of these sources. `list` names them in an error.
fn selects(
    list: &str,
    sources: &[Source],
    filters: &[Option<Expression>],
    event: &Event<'_>,
) -> Result<bool, StopReason> {
    for (number, (source, filter)) in sources.iter().zip(filters).enumerate() {
        if source.event_type != event.event_type {
            continue;
        }
        let holds = match filter {
            None => true,
            Some(filter) => filter
                .holds(event.fields)
                .map_err(|error| no_value(format!("{list}[{number}].where"), error))?,
        };
        if holds {
            return Ok(true);
        }
    }
    Ok(false)
}

fn check_time(time: i64) -> Result<(), StopReason> {
    if !(-TIME_NS_MAX..=TIME_NS_MAX).contains(&time) {
        return Err(StopReason::TimeOutOfRange(time));
    }
    Ok(())
}

fn no_value(field: String, error: EvaluationError) -> StopReason {
    StopReason::Evaluation { field, error }
}

fn evaluate_int(value: &Expression, fields: &dyn Fields) -> Result<i64, StopReason> {
    let value = value.evaluate(fields);
    match value.map_err(|error| no_value("time.value".to_owned(), error))? {
        Scalar::Int(value) => Ok(value),
        _ => unreachable!("the definition was checked: a time is an integer"),
    }
}

/// Returns what makes results of figures: those for which `having` holds, with their ids. `bytes` is what they take together.
fn result_sink<'s>(
    compiled: &'s Compiled,
    version: u64,
    bytes: &'s mut usize,
    outputs: &'s mut Vec<Output>,
) -> impl FnMut(Figures<'_>) -> Result<(), StopReason> + 's {
    move |figures| {
        let (key, end, revision) = (figures.key, figures.end, figures.revision);
        if let Some(row) = select_row(compiled, figures)? {
            let max = compiled.definition.bounds.state_bytes_max;
            *bytes += row.bytes();
            if *bytes > max {
                return Err(StopReason::Bound {
                    what: "bytes of results of one record",
                    bound: "state_bytes_max",
                    max,
                });
            }
            let id = result_id(&compiled.definition.name, version, key, end, revision);
            outputs.push(Output::Result(StreamResult { id, row, revision }));
        }
        Ok(())
    }
}

fn result_id(stream: &str, version: u64, key: &[u8], end: i64, revision: u32) -> ResultId {
    let mut writer = Writer::default();
    writer.bytes(stream.as_bytes());
    writer.u64(version);
    writer.bytes(key);
    writer.i64(end);
    writer.u32(revision);
    *blake3::hash(&writer.0).as_bytes()
}

/// Returns figures as a row; none if `having` does not hold for it.
fn select_row(compiled: &Compiled, figures: Figures<'_>) -> Result<Option<Row>, StopReason> {
    let row = Row {
        key: decode_key(figures.key).expect("the key was encoded here"),
        window_start: figures.start,
        window_end: figures.end,
        values: figures.values,
    };
    let holds = match &compiled.having {
        None => true,
        Some(having) => having
            .holds(&row)
            .map_err(|error| no_value("having".to_owned(), error))?,
    };
    Ok(holds.then_some(row))
}
