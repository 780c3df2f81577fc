//! Payments of the journal as they were before they were decided: each with the figures of streams as of the record that was taken then.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use tributary_api::risk::RuleEffect;
use tributary_api::streaming::{StartForm, StreamTerms};
use tributary_engine::{Failure, Reader, parse_record};
use tributary_ledger::codec::{Operation, RecordRef};
use tributary_ledger::{Body, Command, PaymentId, Setting, SettingId};

use super::book::List;
use super::look::Known;
use super::payment::{NS_PER_MS, PaymentFields};
use super::report::Report;
use crate::driver::feed::{take_frame, with_frame};
use crate::driver::fields::{EventFields, OwnerNames};
use crate::driver::runner::Runner;
use crate::stream::Expected;

/// How many records may lie between the one up to which figures counted and the payment.
const BEHIND_MAX: u64 = 65_536;
/// Payments of one request before a payment that are looked at.
const EARLIER_MAX: usize = 1_000;

/// A version of a stream.
pub(super) type StreamVersion = (SettingId, u64);

/// Takes a payment, with the streams as they were.
pub(super) type Each<'e> =
    dyn FnMut(&BTreeMap<StreamVersion, Runner>, &Seen) -> Result<(), Failure> + 'e;

/// A payment that is to be assessed again.
pub(super) struct Seen {
    /// Position of the record that made it, or ran it.
    pub(super) position: u64,
    /// What made the payment, as it was assessed.
    pub(super) made: Arc<Command>,
    /// The report of its assessment; empty if it was not assessed.
    pub(super) report: Vec<u8>,
    pub(super) at_ms: i64,
    /// Payments before it in its request that count.
    before: Vec<Arc<Command>>,
}

/// Returns the position after which a version of a stream begins that a revision of its setting made.
pub(super) fn first_position(terms: &StreamTerms, made: &Setting) -> u64 {
    match terms.start {
        StartForm::Beginning => 0,
        StartForm::Now => made.changed.position,
    }
}

/// The journal, from a record on, with streams that begin there.
pub(super) struct Replay<'r> {
    pub(super) reader: &'r Reader,
    pub(super) runners: BTreeMap<StreamVersion, Runner>,
    /// Position before the first record.
    pub(super) begin: u64,
    /// Position of the last record.
    pub(super) end: u64,
}

impl Replay<'_> {
    /// Goes through the records and calls `each` with each payment whose record is after `after`, when the streams have taken what was
    /// taken then. Of queued payments that ran, only those that were assessed then, if `runs` is set. Calls `progress` with the position
    /// now and then. Returns how many payments could not be given.
    pub(super) fn run(
        &mut self,
        after: u64,
        runs: bool,
        each: &mut Each<'_>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<u64, Failure> {
        let mut ahead = Ahead {
            reader: self.reader,
            position: self.begin,
            after,
            runs,
            as_of: BTreeMap::new(),
            request: (0, Vec::new()),
            not_given: 0,
        };
        let owners = OwnerNames::new(self.reader);
        let mut position = self.begin;
        ahead.read(position, (position + BEHIND_MAX).min(self.end))?;
        for seen in ahead.as_of.remove(&position).unwrap_or_default() {
            each(&self.runners, &seen)?;
        }
        while position < self.end {
            progress(position);
            position = with_frame(self.reader, position + 1, |frame| {
                let last = frame.head().position.min(self.end);
                ahead.read(position, (last + BEHIND_MAX).min(self.end))?;
                take_frame(self.reader, &owners, frame, position + 1, last, |taken| {
                    for runner in self.runners.values_mut() {
                        if runner.position + 1 == taken.position && !runner.is_over() {
                            runner.take(taken);
                        }
                    }
                    let seen = ahead.as_of.remove(&taken.position).unwrap_or_default();
                    seen.iter().try_for_each(|seen| each(&self.runners, seen))
                })?;
                Ok(last)
            })?;
        }
        let left: usize = ahead.as_of.values().map(Vec::len).sum();
        Ok(ahead.not_given + left as u64)
    }
}

/// Payments of the records that come, by the position as of which each was assessed.
struct Ahead<'r> {
    reader: &'r Reader,
    position: u64,
    after: u64,
    runs: bool,
    as_of: BTreeMap<u64, Vec<Seen>>,
    /// The request that is read: when it was assessed, and its payments that count so far.
    request: (i64, Vec<Arc<Command>>),
    not_given: u64,
}

impl Ahead<'_> {
    /// Reads records up to `end`, while the streams have taken those up to `taken`.
    fn read(&mut self, taken: u64, end: u64) -> Result<(), Failure> {
        while self.position < end {
            with_frame(self.reader, self.position + 1, |frame| {
                for record in frame.records() {
                    let position = record.position();
                    if position > self.position && position <= end {
                        self.take(taken, &parse_record(position, record.payload())?)?;
                        self.position = position;
                    }
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    fn take(&mut self, taken: u64, record: &RecordRef<'_>) -> Result<(), Failure> {
        let ctx = record.context();
        if ctx.position <= self.after {
            return Ok(());
        }
        let assessment = record.assessment();
        let is_wanted = match record.operation() {
            Operation::Pay => true,
            Operation::Run => self.runs && assessment.is_some(),
            _ => false,
        };
        if !is_wanted {
            return Ok(());
        }
        let Some(made) = self.made(record)? else {
            return Ok(());
        };
        let Some(assessment) = assessment else {
            let at_ms = i64::try_from(ctx.timestamp).unwrap_or(i64::MAX) / NS_PER_MS + 1;
            let seen = Seen {
                position: ctx.position,
                made: Arc::new(made),
                report: Vec::new(),
                at_ms,
                before: Vec::new(),
            };
            self.as_of.entry(ctx.position - 1).or_default().push(seen);
            return Ok(());
        };
        let Ok(report) = serde_json::from_slice::<Report<'_>>(assessment.report) else {
            // Another version of the program wrote it.
            self.not_given += 1;
            return Ok(());
        };
        let made = Arc::new(made);
        if report.earlier == 0 {
            self.request = (report.at, Vec::new());
        }
        let (at_ms, counted) = &mut self.request;
        let is_known = *at_ms == report.at && counted.len() == report.earlier;
        if !is_known || report.earlier > EARLIER_MAX || report.as_of < taken {
            self.not_given += 1;
        } else {
            let seen = Seen {
                position: ctx.position,
                made: made.clone(),
                report: assessment.report.to_vec(),
                at_ms: report.at,
                before: counted.clone(),
            };
            self.as_of.entry(report.as_of).or_default().push(seen);
        }
        if is_known && report.effect == RuleEffect::Allow && counted.len() <= EARLIER_MAX {
            counted.push(made);
        }
        Ok(())
    }

    /// The command that made the payment of a record.
    fn made(&self, record: &RecordRef<'_>) -> Result<Option<Command>, Failure> {
        let position = record.context().position;
        let whole = record.to_record();
        let whole = whole.map_err(|error| Failure::RecordDamaged {
            position,
            what: error.to_string(),
        })?;
        match &whole.command.body {
            Body::Run(PaymentId(id)) => {
                let made = self.reader.record(*id)?;
                Ok(made.and_then(|made| as_it_runs(made.command)))
            }
            _ => Ok(Some(whole.command)),
        }
    }
}

/// The command that made a queued payment, as if it were made now.
pub(super) fn as_it_runs(mut command: Command) -> Option<Command> {
    let Body::Pay(pay) = &mut command.body else {
        return None;
    };
    pay.queue = None;
    Some(command)
}

/// What rules knew of a payment.
pub(super) struct Replayed<'a> {
    runners: &'a BTreeMap<StreamVersion, Runner>,
    /// Versions of the streams by slug.
    streams: &'a BTreeMap<String, StreamVersion>,
    lists: &'a BTreeMap<String, Arc<List>>,
    expected: HashMap<StreamVersion, Expected>,
}

impl<'a> Replayed<'a> {
    pub(super) fn new(
        reader: &Reader,
        seen: &Seen,
        runners: &'a BTreeMap<StreamVersion, Runner>,
        streams: &'a BTreeMap<String, StreamVersion>,
        lists: &'a BTreeMap<String, Arc<List>>,
    ) -> Replayed<'a> {
        let mut expected: HashMap<StreamVersion, Expected> = HashMap::new();
        let owners = OwnerNames::new(reader);
        for made in &seen.before {
            let payment = PaymentFields::new(reader, made, seen.at_ms);
            let (event_type, time, record) = payment.expected_event();
            let event = EventFields::new(reader, &owners, event_type, record);
            for version in streams.values() {
                if let Some(runner) = runners.get(version) {
                    runner.expect(&event, time, expected.entry(*version).or_default());
                }
            }
        }
        Replayed {
            runners,
            streams,
            lists,
            expected,
        }
    }
}

impl Known for Replayed<'_> {
    fn runner(&self, slug: &str) -> Option<&Runner> {
        let runner = self.runners.get(self.streams.get(slug)?)?;
        runner.stopped.is_none().then_some(runner)
    }

    fn expected(&self, slug: &str) -> Option<&Expected> {
        self.expected.get(self.streams.get(slug)?)
    }

    fn is_listed(&self, slug: &str, text: &str, at_ms: i64) -> Option<bool> {
        Some(self.lists.get(slug)?.has(text, at_ms))
    }
}
