//! Drives the engine's core step by step, so that two backends see the same batches.

use std::sync::{Arc, Mutex};

use tributary_engine::{
    Backend, Batch, Clock, Core, Failure, Fate, FrameRef, JournalReader, Recovered, Request,
    Resolved, Verdict,
};
use tributary_ledger::codec::{self, Record};
use tributary_ledger::{self as ledger, Command, Residency, WorkingSet};

/// What the callers of one batch were told, in order.
pub(crate) type Told = Vec<Result<Vec<Verdict>, String>>;

/// A core, and what it started from.
pub(crate) struct Node {
    pub(crate) core: Core,
    pub(crate) reader: Arc<dyn JournalReader>,
    pub(crate) recovered: WorkingSet,
    told: Arc<Mutex<Told>>,
}

impl Node {
    pub(crate) fn start(mut backend: impl Backend + 'static, clock: Arc<dyn Clock>) -> Node {
        let Recovered { set, .. } = backend.recover().expect("the state can be rebuilt");
        let reader = backend.reader();
        Node {
            core: Core::new(Box::new(backend), clock, set.clone()),
            reader,
            recovered: set,
            told: Arc::default(),
        }
    }

    /// Decides a request into the open batch.
    pub(crate) fn accept(&mut self, commands: Vec<Command>) -> Result<(), Failure> {
        let told = self.told.clone();
        let respond = Box::new(move |resolved: Result<Resolved, Failure>| {
            let answer = resolved
                .map(|resolved| resolved.verdicts)
                .map_err(|failure| failure.to_string());
            told.lock().expect("no holder panics").push(answer);
        });
        match self.core.accept(Request::new(commands, respond)) {
            None => Ok(()),
            Some(turned_away) => {
                let failure = turned_away.failure.clone();
                turned_away.refuse();
                Err(failure)
            }
        }
    }

    /// Hands the open batch over and does what the engine's threads would do with its fate. The batch, if it is durable.
    pub(crate) fn submit(&mut self) -> (Option<Fate>, Option<Arc<Batch>>) {
        let (fate, in_flight) = self.core.submit().wait();
        let batch = in_flight.batch.clone();
        if batch.is_empty() {
            in_flight.respond(None);
            return (None, None);
        }
        let lost = match &fate {
            Fate::Durable(_) => None,
            Fate::Refused(failure) => Some(failure.clone()),
            Fate::Fatal(why) => Some(Failure::Fatal(why.clone())),
            Fate::Unknown(why) => match self.core.is_durable(&batch) {
                Ok(true) => None,
                Ok(false) => Some(Failure::Unavailable(why.clone())),
                Err(failure) => Some(failure),
            },
        };
        match lost {
            None if matches!(fate, Fate::Durable(_)) => {
                self.core.landed();
                in_flight.respond(None);
            }
            None => {
                in_flight.respond(None);
                self.core
                    .reset(WorkingSet::new(Residency::Nothing), Failure::Stopping);
            }
            Some(failure) => {
                in_flight.respond(Some(failure.clone()));
                self.core
                    .reset(WorkingSet::new(Residency::Nothing), failure);
                return (Some(fate), None);
            }
        }
        (Some(fate), Some(batch))
    }

    /// What the callers were told since the last time.
    pub(crate) fn told(&mut self) -> Told {
        std::mem::take(&mut self.told.lock().expect("no holder panics"))
    }

    /// One request, one batch, which must become durable: its records.
    pub(crate) fn execute(&mut self, commands: Vec<Command>) -> Arc<Batch> {
        self.accept(commands).expect("the request is taken");
        self.submit().1.expect("the batch is durable")
    }
}

/// Every frame of a journal, in order.
pub(crate) fn frames(reader: &dyn JournalReader) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    let mut next = 1;
    while let Some(bytes) = reader.frame(next).expect("the frame can be read") {
        let frame = FrameRef::parse(&bytes).expect("it is a frame");
        assert_eq!(
            frame.header().first_position,
            next,
            "frames follow each other"
        );
        next = frame.head().position + 1;
        frames.push(bytes);
    }
    assert_eq!(next, reader.head().position + 1, "frames reach the head");
    frames
}

/// Every record of a journal, from its frames, whose chain is checked.
pub(crate) fn records(reader: &dyn JournalReader) -> Vec<Record> {
    let mut records = Vec::new();
    let mut head = None;
    for bytes in frames(reader) {
        let frame = FrameRef::parse(&bytes).expect("it is a frame");
        frame
            .verify(&head.unwrap_or_default())
            .expect("the chain holds");
        head = Some(frame.head());
        for record in frame.records() {
            let record =
                codec::decode(record.payload(), ledger::FORMAT_VERSION).expect("it is a record");
            records.push(record);
        }
    }
    records
}

/// The state that the frames of a journal lead to.
pub(crate) fn replayed(reader: &dyn JournalReader) -> WorkingSet {
    let mut set = WorkingSet::new(Residency::Accounts);
    for record in records(reader) {
        ledger::apply(&mut set, &record.command, &record.outcome, record.ctx);
        set.evict_through(record.ctx.position);
    }
    set
}
