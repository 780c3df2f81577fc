//! The writer: takes what has arrived, decides it, and hands over one batch at a time.
//!
//! The core owns no thread and reads no clock but the one it is given, so a simulator can drive it step by step. The open
//! batch grows while the one before it is being synced; nothing is answered before its frame is durable.

use std::sync::Arc;

use hashbrown::HashMap;
use tributary_journal::{
    Builder, Clock, FRAME_BODY_BYTES_MAX, FRAME_RECORDS_MAX, RECORD_HEADER_BYTES,
};
use tributary_ledger::codec::Record;
use tributary_ledger::{
    self as ledger, Body, Command, Context, Destination, Key, Outcome, OwnerId, Residency,
    WorkingSet,
};

use crate::backend::{Backend, Batch, Failure, Fate, KeyUse, Ticket};
use crate::recent::Recent;

/// Commands in one request, and records in one batch.
pub const COMMANDS_PER_BATCH_MAX: usize = FRAME_RECORDS_MAX as usize;
/// Bytes that the records of one request may need in the worst case ([`record_bytes_max`]).
pub const RECORD_BYTES_PER_REQUEST_MAX: usize = FRAME_BODY_BYTES_MAX;

/// Index keys that one record can have: its idempotency key, and one for what it made or changed.
const KEYS_PER_RECORD_MAX: usize = 4;
/// Bytes of a record's fixed parts where at most two accounts and no list are involved.
const PLAIN_RECORD_BYTES: usize = 512;
/// Bytes of a record's fixed parts with as many accounts, shares and fees as there can be.
const FULL_RECORD_BYTES: usize = 2_560;

/// Answers one request: once, with what became of its commands.
pub type Respond = Box<dyn FnOnce(Result<Resolved, Failure>) + Send>;

/// Commands that arrived together and are answered together.
pub struct Request {
    /// At least one, at most [`COMMANDS_PER_BATCH_MAX`].
    pub commands: Vec<Command>,
    /// Called once, from whichever thread learns the fate of the batch.
    pub respond: Respond,
}

/// What became of a request's commands, in their order.
pub struct Resolved {
    /// The batch in which new ones were decided.
    pub batch: Arc<Batch>,
    /// One for each command.
    pub verdicts: Vec<Verdict>,
}

/// What became of one command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Decided now: the index of its record in the batch.
    Decided(usize),
    /// Decided before under the same key: the position of that record.
    Replayed(u64),
    /// The key was used for a different command.
    KeyConflict(u64),
    /// Some keys of the all-or-nothing group were used before and others were not.
    GroupConflict,
}

/// A request whose commands are decided, waiting for the batch to become durable.
struct Waiting {
    verdicts: Vec<Verdict>,
    respond: Respond,
}

/// A batch on its way to the disk, and who waits for it.
pub struct InFlight {
    /// Tells when it is durable.
    pub ticket: Ticket,
    /// What was handed over.
    pub batch: Arc<Batch>,
    waiting: Vec<Waiting>,
}

impl InFlight {
    /// Answers everybody: with their verdicts, or all with the same failure.
    pub fn respond(self, failure: Option<Failure>) {
        let (batch, waiting) = (self.batch, self.waiting);
        for one in waiting {
            (one.respond)(match &failure {
                None => Ok(Resolved {
                    batch: batch.clone(),
                    verdicts: one.verdicts,
                }),
                Some(failure) => Err(failure.clone()),
            });
        }
    }

    /// Splits off the ticket, so that it can be waited for before the rest is used.
    pub fn wait(mut self) -> (Fate, InFlight) {
        let ticket = std::mem::replace(
            &mut self.ticket,
            Ticket::ready(Fate::Unknown("already waited for".into())),
        );
        (ticket.wait(), self)
    }
}

/// The batch being filled.
struct Open {
    frame: Builder,
    records: Vec<Record>,
    context: Context,
    waiting: Vec<Waiting>,
}

/// The single writer of a journal.
pub struct Core {
    backend: Box<dyn Backend>,
    clock: Arc<dyn Clock>,
    set: WorkingSet,
    open: Option<Open>,
    recent: Recent,
    /// Position and timestamp after the last batch handed over.
    last: Context,
    in_flight: usize,
}

impl Core {
    /// A writer that continues after `set`, which must be the state as of the backend's head.
    pub fn new(backend: Box<dyn Backend>, clock: Arc<dyn Clock>, set: WorkingSet) -> Core {
        let head = backend.reader().head();
        Core {
            set: kept(&*backend, set),
            backend,
            clock,
            open: None,
            recent: Recent::default(),
            last: Context {
                position: head.position,
                timestamp: head.timestamp,
            },
            in_flight: 0,
        }
    }

    /// The state with everything decided so far, durable or not; where the backend forgets, only what the last turn
    /// loaded. For tests and digests.
    pub fn set(&self) -> &WorkingSet {
        &self.set
    }

    /// Records in the open batch, and requests waiting for it.
    pub fn open_len(&self) -> (usize, usize) {
        self.open
            .as_ref()
            .map_or((0, 0), |open| (open.records.len(), open.waiting.len()))
    }

    /// Whether a request of this many commands may join the open batch.
    pub fn has_room(&self, request: &Request) -> bool {
        match &self.open {
            None => true,
            Some(open) => {
                open.records.len() + request.commands.len() <= COMMANDS_PER_BATCH_MAX
                    && open.frame.body_bytes() + bytes_max(&request.commands)
                        <= FRAME_BODY_BYTES_MAX
            }
        }
    }

    /// Whether the open batch may be handed over now.
    pub fn can_submit(&self) -> bool {
        self.open.is_some() && self.in_flight < self.backend.depth()
    }

    /// Batches handed over whose fate was not told to [`Core::landed`] yet.
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Whether a new turn may begin: a store shared with others shows its head only when nothing is in flight.
    pub fn can_accept(&self) -> bool {
        self.open.is_some() || !self.backend.forgets() || self.in_flight == 0
    }

    /// Decides a request into the open batch. On failure the request has been answered and nothing of it remains.
    ///
    /// # Panics
    /// If the request does not fit ([`Core::has_room`]).
    pub fn accept(&mut self, request: Request) -> Result<(), Failure> {
        assert!(self.has_room(&request), "the caller checks the room");
        match self.prepare(&request.commands) {
            Ok(uses) => self.decide_all(request, uses),
            Err(failure) => {
                if self
                    .open
                    .as_ref()
                    .is_some_and(|open| open.waiting.is_empty())
                {
                    self.open = None;
                    self.backend.abandon();
                }
                (request.respond)(Err(failure.clone()));
                return Err(failure);
            }
        }
        Ok(())
    }

    /// Begins the turn if none is open, and loads all that the commands need. Changes nothing that a failure would have
    /// to undo.
    fn prepare(&mut self, commands: &[Command]) -> Result<Vec<Option<KeyUse>>, Failure> {
        if self.open.is_none() {
            self.begin()?;
        }
        let mut uses: Vec<Option<KeyUse>> = Vec::with_capacity(commands.len());
        let mut unknown: Vec<(OwnerId, &Key)> = Vec::new();
        for command in commands {
            let known = self.recent.key(command.actor.owner, &command.key);
            if known.is_none() {
                unknown.push((command.actor.owner, &command.key));
            }
            uses.push(known);
        }
        if !unknown.is_empty() {
            let mut found = self.backend.find_keys(&unknown)?.into_iter();
            for slot in uses.iter_mut().filter(|slot| slot.is_none()) {
                *slot = found.next().expect("one answer for each key asked");
            }
        }
        // Stage one loads what the commands name, stage two what the loaded payments name.
        for _stage in 0..2 {
            let keys = ledger::keys(commands, &self.set);
            if keys.is_empty() {
                break;
            }
            self.backend.load(&keys, &mut self.set)?;
        }
        Ok(uses)
    }

    fn begin(&mut self) -> Result<(), Failure> {
        assert!(self.can_accept(), "a turn begins when the head is known");
        let head = self.backend.begin()?;
        if self.backend.forgets() {
            self.set = WorkingSet::new(Residency::Nothing);
            self.recent = Recent::default();
        }
        if self.in_flight == 0 {
            self.last = Context {
                position: head.position,
                timestamp: head.timestamp,
            };
        }
        assert!(
            head.position <= self.last.position,
            "the head never runs ahead of the writer"
        );
        let first = Context {
            position: self.last.position + 1,
            timestamp: self.clock.now().max(self.last.timestamp),
        };
        self.open = Some(Open {
            frame: Builder::new(first.position, first.timestamp, ledger::RULES_VERSION),
            records: Vec::new(),
            context: first,
            waiting: Vec::new(),
        });
        Ok(())
    }

    fn decide_all(&mut self, request: Request, mut uses: Vec<Option<KeyUse>>) {
        let Request { commands, respond } = request;
        let mut verdicts = Vec::with_capacity(commands.len());
        let mut commands = commands.into_iter().peekable();
        let mut unit: Vec<Command> = Vec::new();
        let mut at = 0;
        while let Some(mut command) = commands.next() {
            // Records say themselves where a group ends: nothing follows the last command.
            command.linked &= commands.peek().is_some();
            let goes_on = command.linked;
            unit.push(command);
            if goes_on {
                continue;
            }
            let uses = &mut uses[at..at + unit.len()];
            at += unit.len();
            self.decide_unit(&mut unit, uses, &mut verdicts);
            unit.clear();
        }
        let open = self.open.as_mut().expect("the turn is open");
        open.waiting.push(Waiting { verdicts, respond });
    }

    /// Decides one command, or one all-or-nothing group.
    fn decide_unit(
        &mut self,
        unit: &mut Vec<Command>,
        uses: &mut [Option<KeyUse>],
        verdicts: &mut Vec<Verdict>,
    ) {
        // A key may have been taken earlier in this very request.
        for (command, slot) in unit.iter().zip(uses.iter_mut()) {
            if slot.is_none() {
                *slot = self.recent.key(command.actor.owner, &command.key);
            }
        }
        let taken = uses.iter().flatten().count();
        if taken == 0 && !repeats_a_key(unit) {
            return self.decide_new(unit, verdicts);
        }
        if taken < unit.len() {
            verdicts.extend(unit.iter().map(|_| Verdict::GroupConflict));
            return;
        }
        for (command, used) in unit.iter().zip(uses.iter().flatten()) {
            verdicts.push(if command.digest() == used.digest {
                Verdict::Replayed(used.position)
            } else {
                Verdict::KeyConflict(used.position)
            });
        }
    }

    fn decide_new(&mut self, unit: &mut Vec<Command>, verdicts: &mut Vec<Verdict>) {
        let open = self.open.as_mut().expect("the turn is open");
        let first = open.context;
        if unit.len() == 1 {
            let outcome = ledger::decide(&self.set, &unit[0], first);
            ledger::apply(&mut self.set, &unit[0], &outcome, first);
            let command = unit.pop().expect("there is one");
            verdicts.push(open.record(&mut self.recent, command, outcome));
            return;
        }
        let outcomes = ledger::decide_group(&mut self.set, unit, first);
        for (command, outcome) in unit.drain(..).zip(outcomes) {
            verdicts.push(open.record(&mut self.recent, command, outcome));
        }
    }

    /// Hands the open batch over. None if the batch holds no record and nothing is in flight: it is answered at once.
    ///
    /// # Panics
    /// If there is no open batch, or too many are in flight ([`Core::can_submit`]).
    pub fn submit(&mut self) -> Option<InFlight> {
        assert!(
            self.in_flight < self.backend.depth(),
            "the caller checks the depth"
        );
        let Open {
            frame,
            records,
            context,
            waiting,
        } = self
            .open
            .take()
            .expect("the caller checks that a batch is open");
        let batch = Arc::new(Batch {
            first_position: frame.first_position(),
            records,
        });
        if !batch.records.is_empty() {
            self.last = Context {
                position: context.position - 1,
                timestamp: context.timestamp,
            };
            self.in_flight += 1;
            let ticket = self.backend.submit(frame, &batch, &self.set);
            return Some(InFlight {
                ticket,
                batch,
                waiting,
            });
        }
        self.backend.abandon();
        let ticket = Ticket::ready(Fate::Durable(self.backend.reader().head()));
        let nothing_new = InFlight {
            ticket,
            batch,
            waiting,
        };
        if self.in_flight == 0 {
            nothing_new.respond(None);
            return None;
        }
        // A replay may lead to a record that is still on its way: its answer waits for that.
        self.in_flight += 1;
        Some(nothing_new)
    }

    /// Tells the core that a batch became durable and readers can see it.
    pub fn landed(&mut self, batch: &Batch) {
        assert!(self.in_flight > 0, "a batch lands once");
        self.in_flight -= 1;
        if !self.backend.forgets() {
            self.recent.landed(batch);
            if let Some(last) = batch.records.last() {
                self.set.evict_through(last.ctx.position);
            }
        }
    }

    /// Throws away everything that is not durable. `set` is the state at the backend's head; nothing may be in flight
    /// any more. Whoever waits for the open batch is told `failure`.
    pub fn reset(&mut self, set: WorkingSet, failure: Failure) {
        if let Some(open) = self.open.take() {
            self.backend.abandon();
            for one in open.waiting {
                (one.respond)(Err(failure.clone()));
            }
        }
        self.in_flight = 0;
        self.set = kept(&*self.backend, set);
        self.recent = Recent::default();
        let head = self.backend.reader().head();
        self.last = Context {
            position: head.position,
            timestamp: head.timestamp,
        };
    }

    /// Whether a batch whose fate nobody told is in the journal: its first record is, or is not.
    pub fn is_durable(&mut self, batch: &Batch) -> Result<bool, Failure> {
        self.backend.begin()?;
        self.backend.abandon();
        let reader = self.backend.reader();
        match crate::lookup::record(&*reader, batch.first_position)? {
            Some(found) => Ok(batch.records.first().is_some_and(|first| {
                found.command == first.command
                    && found.outcome == first.outcome
                    && found.ctx == first.ctx
            })),
            None => Ok(false),
        }
    }

    /// Whether a turn could begin, as far as space goes.
    pub fn has_space(&mut self) -> bool {
        if self.open.is_some() || self.in_flight > 0 {
            return true;
        }
        let full = matches!(self.backend.begin(), Err(Failure::StorageFull));
        self.backend.abandon();
        !full
    }

    /// Lets go of the backend.
    pub fn close(&mut self) {
        self.backend.close();
    }

    /// Lets the backend do work that can wait. True if there may be more.
    pub fn idle(&mut self) -> bool {
        self.open.is_none() && self.in_flight == 0 && self.backend.idle()
    }
}

impl Open {
    /// Encodes a decided command and keeps it.
    fn record(&mut self, recent: &mut Recent, command: Command, outcome: Outcome) -> Verdict {
        let ctx = self.context;
        let digest = command.digest();
        let mut keys: arrayvec::ArrayVec<u64, KEYS_PER_RECORD_MAX> = arrayvec::ArrayVec::new();
        self.frame
            .push(|payload| {
                let start = payload.len();
                ledger::codec::encode(&command, &digest, &outcome, ctx, payload);
                ledger::index_keys(&payload[start..], &mut |hash| keys.push(hash))
                    .expect("what was just encoded can be read");
            })
            .expect("has_room bounds the frame");
        keys.into_iter().for_each(|hash| self.frame.key(hash));
        recent.took(
            &command,
            KeyUse {
                position: ctx.position,
                digest,
            },
        );
        self.records.push(Record {
            ctx,
            digest,
            command,
            outcome,
        });
        self.context.position += 1;
        Verdict::Decided(self.records.len() - 1)
    }
}

/// What the writer keeps of `set` between turns: nothing, where each turn loads what it needs.
fn kept(backend: &dyn Backend, set: WorkingSet) -> WorkingSet {
    if backend.forgets() {
        WorkingSet::new(Residency::Nothing)
    } else {
        set
    }
}

/// Whether two commands of one group share a key, which no order of deciding could make sense of.
fn repeats_a_key(unit: &[Command]) -> bool {
    if unit.len() == 1 {
        return false;
    }
    let mut seen = HashMap::with_capacity(unit.len());
    unit.iter().any(|command| {
        seen.insert((command.actor.owner, &command.key), ())
            .is_some()
    })
}

/// An upper bound of the bytes that a command's record takes.
pub(crate) fn record_bytes_max(command: &Command) -> usize {
    let text = command
        .text
        .as_ref()
        .map_or(0, |text| text.as_bytes().len());
    let fixed = match &command.body {
        Body::Pay(pay) if pay.fees.is_empty() && matches!(pay.destination, Destination::One(_)) => {
            PLAIN_RECORD_BYTES
                + pay
                    .reason
                    .as_ref()
                    .map_or(0, |reason| reason.as_bytes().len())
        }
        _ => FULL_RECORD_BYTES,
    };
    RECORD_HEADER_BYTES + fixed + command.key.as_bytes().len() + text
}

/// An upper bound of the bytes that the commands' records take.
pub(crate) fn bytes_max(commands: &[Command]) -> usize {
    commands.iter().map(record_bytes_max).sum()
}
