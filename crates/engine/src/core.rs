//! The writer: takes what has arrived, decides it, and hands over one batch at a time.
//!
//! The core owns no thread and reads no clock but the one it is given, so a simulator can drive it step by step. The open
//! batch grows while the one before it is being synced; nothing is answered before its frame is durable.

use std::ops::Range;
use std::sync::Arc;

use hashbrown::HashMap;
use tributary_journal::{
    Builder, Clock, FRAME_BODY_BYTES_MAX, FRAME_RECORDS_MAX, RECORD_HEADER_BYTES, bring_near,
};
use tributary_ledger::{
    self as ledger, Body, Command, Context, Destination, Outcome, OwnerId, PaymentId, Queue,
    QueueMode, Rejection, Small, WorkingSet,
};

use crate::backend::{Backend, Fate, KeyQueries, KeyQuery, KeyUse, Ticket};
use crate::batch::{Batch, Frames};
use crate::failure::Failure;
use crate::recent::{Flight, created_in};

/// Commands in one request, and records in one batch.
pub const COMMANDS_PER_BATCH_MAX: usize = FRAME_RECORDS_MAX as usize;
/// Payments that may be queued, if nothing else is said.
pub const QUEUE_LENGTH_MAX: usize = 100_000;
/// Bytes that the records of one request may need in the worst case ([`record_bytes_max`]).
pub const RECORD_BYTES_PER_REQUEST_MAX: usize = FRAME_BODY_BYTES_MAX;

/// Commands whose accounts are brought near at once, before the first of them is decided.
const COMMANDS_WARMED: usize = 16;
/// Bytes of a record's fixed parts where at most two accounts and no list are involved.
const PLAIN_RECORD_BYTES: usize = 512;
/// Bytes of a record's fixed parts with as many accounts, shares and fees as there can be.
const FULL_RECORD_BYTES: usize = 2_560;

/// Answers one request: once, with what became of its commands.
pub type Respond = Box<dyn FnOnce(Result<Resolved, Failure>) + Send>;

/// Commands that arrived together and are answered together.
pub struct Request {
    /// At least one, at most [`COMMANDS_PER_BATCH_MAX`].
    commands: Vec<Command>,
    /// For each command, the hash of its key, and its digest: computed where the request is made, not by the writer.
    hashes: Vec<u64>,
    digests: Vec<[u8; 16]>,
    /// Bytes that the records may take.
    bytes_max: usize,
    /// Called once, from whichever thread learns the fate of the batch.
    respond: Respond,
}

impl Request {
    /// A request of these commands.
    pub fn new(mut commands: Vec<Command>, respond: Respond) -> Request {
        if let Some(last) = commands.last_mut() {
            // Records say themselves where a group ends: nothing follows the last command.
            last.linked = false;
        }
        let hash = |command: &Command| ledger::hash::hash_key(command.actor.owner, &command.key);
        let mut scratch = Vec::with_capacity(PLAIN_RECORD_BYTES);
        let digest = |command: &Command| command.digest_with(&mut scratch);
        Request {
            hashes: commands.iter().map(hash).collect(),
            digests: commands.iter().map(digest).collect(),
            bytes_max: bytes_max(&commands),
            commands,
            respond,
        }
    }

    /// Bytes that its records may take, at most.
    pub fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    /// Commands in it.
    pub fn len(&self) -> usize {
        self.commands.len()
    }

    /// Whether it asks for nothing.
    pub fn is_empty(&self) -> bool {
        self.commands.is_empty()
    }

    /// Answers it without deciding anything.
    pub fn refuse(self, failure: Failure) {
        (self.respond)(Err(failure));
    }
}

/// A request that could not be decided, and why.
pub struct TurnedAway {
    /// Still to be answered.
    pub request: Request,
    /// Why.
    pub failure: Failure,
}

impl TurnedAway {
    /// Answers it.
    pub fn refuse(self) {
        self.request.refuse(self.failure);
    }
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
    /// Decided now: the index of its record in the batch, and whether it was refused.
    Decided(usize, Option<Rejection>),
    /// Decided before under the same key: the position of that record.
    Replayed(u64),
    /// The key was used for a different command.
    KeyConflict(u64),
    /// Some keys of the all-or-nothing group were used before and others were not.
    GroupConflict,
    /// It was to queue a payment, or (false) stands in a group with one that was: no record, and the key stays free.
    NotQueued(NotQueued, bool),
}

/// Why payments were not taken into the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotQueued {
    /// It holds as many as it may.
    Full,
    /// Keys of one owner have asked for as many of those in it as they may: a quarter of what it may hold.
    ShareFull,
    /// It takes no new ones until it is resumed.
    Draining,
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
    timestamp: u64,
    waiting: Vec<Waiting>,
}

/// The single writer of a journal.
pub struct Core {
    backend: Box<dyn Backend>,
    clock: Arc<dyn Clock>,
    set: WorkingSet,
    open: Option<Open>,
    flight: Flight,
    frames: Arc<Frames>,
    /// The last one decided, kept for its place.
    outcome: Outcome,
    queue_length_max: usize,
    /// Position and timestamp after the last batch handed over.
    last: Context,
}

impl Core {
    /// A writer that continues after `set`, which must be the state as of the backend's head.
    pub fn new(backend: Box<dyn Backend>, clock: Arc<dyn Clock>, set: WorkingSet) -> Core {
        let head = backend.reader().head();
        Core {
            set,
            backend,
            clock,
            open: None,
            flight: Flight::default(),
            frames: Arc::default(),
            outcome: Outcome::default(),
            queue_length_max: QUEUE_LENGTH_MAX,
            last: Context {
                position: head.position,
                timestamp: head.timestamp,
            },
        }
    }

    /// The same with this bound of the queue instead of [`QUEUE_LENGTH_MAX`].
    #[must_use]
    pub fn with_queue_length_max(mut self, payments: usize) -> Core {
        self.queue_length_max = payments;
        self
    }

    /// The state with everything decided so far, durable or not. For tests and digests.
    pub fn set(&self) -> &WorkingSet {
        &self.set
    }

    /// The time as of which a command is decided that arrives at `now`: the open batch's, which may have been begun a while ago, or
    /// that of the one which it begins, never before the last. What is chosen by another one is taken to be due, or too late, when
    /// by its record it is not.
    pub fn decided_at(&self, now: u64) -> u64 {
        let next = now.max(self.last.timestamp);
        self.open.as_ref().map_or(next, |open| open.timestamp)
    }

    /// Records in the open batch, and requests waiting for it.
    pub fn open_len(&self) -> (usize, usize) {
        self.open.as_ref().map_or((0, 0), |open| {
            (open.frame.count() as usize, open.waiting.len())
        })
    }

    /// Whether a request of this many commands may join the open batch.
    pub fn has_room(&self, request: &Request) -> bool {
        match &self.open {
            None => true,
            Some(open) => {
                open.frame.count() as usize + request.len() <= COMMANDS_PER_BATCH_MAX
                    && open.frame.body_bytes() + request.bytes_max <= FRAME_BODY_BYTES_MAX
            }
        }
    }

    /// Whether the open batch may be handed over now. One without records waits until nothing is in flight: what it replays
    /// may be on its way, and may get lost.
    pub fn can_submit(&self) -> bool {
        self.open.as_ref().is_some_and(|open| {
            let room = self.flight.len() < self.backend.depth();
            room && (!open.frame.is_empty() || self.flight.len() == 0)
        })
    }

    /// Batches handed over whose fate was not told to [`Core::landed`] yet.
    pub fn in_flight(&self) -> usize {
        self.flight.len()
    }

    /// Decides a request into the open batch; gives it back, to be answered, if that failed: nothing of it remains here.
    ///
    /// # Panics
    /// If the request does not fit ([`Core::has_room`]).
    pub fn accept(&mut self, request: Request) -> Option<TurnedAway> {
        assert!(self.has_room(&request), "the caller checks the room");
        match self.prepare(&request) {
            Ok(uses) => {
                self.decide_all(request, uses);
                None
            }
            Err(failure) => {
                if self
                    .open
                    .as_ref()
                    .is_some_and(|open| open.waiting.is_empty())
                {
                    self.open = None;
                    self.abandon();
                }
                Some(TurnedAway { request, failure })
            }
        }
    }

    /// Begins the turn if none is open, and loads all that the commands need. Changes nothing that a failure would have
    /// to undo.
    fn prepare(&mut self, request: &Request) -> Result<Vec<(usize, KeyUse)>, Failure> {
        if self.open.is_none() {
            self.begin()?;
        }
        let uses = self.backend.find_keys(request.queries())?;
        // First what the commands name, then what that names.
        for _stage in 0..ledger::LOADING_STAGES_MAX {
            let mut keys = ledger::keys(&request.commands, &self.set);
            keys.payments.retain(|id| !self.load_from_frames(*id));
            if keys.is_empty() {
                break;
            }
            self.backend.load(&keys, &mut self.set)?;
        }
        Ok(uses)
    }

    /// Puts a payment into the set that a record on its way created. Later changes of it would be in the set.
    fn load_from_frames(&mut self, id: PaymentId) -> bool {
        let open = self
            .open
            .as_ref()
            .and_then(|open| created_in(&open.frame, id));
        match open.or_else(|| self.flight.created(id)) {
            Some(payment) => {
                self.set.load_payment(payment);
                true
            }
            None => false,
        }
    }

    fn begin(&mut self) -> Result<(), Failure> {
        let head = self.backend.begin()?;
        if self.flight.len() == 0 {
            self.last = Context {
                position: head.position,
                timestamp: head.timestamp,
            };
        }
        assert!(
            head.position <= self.last.position,
            "the head never runs ahead of the writer"
        );
        let timestamp = self.decided_at(self.clock.now());
        self.open = Some(Open {
            frame: self
                .frames
                .begin(self.last.position + 1, timestamp, ledger::RULES_VERSION),
            timestamp,
            waiting: Vec::new(),
        });
        Ok(())
    }

    /// `uses`: what the backend knows of the keys, by the index of the command.
    fn decide_all(&mut self, request: Request, uses: Vec<(usize, KeyUse)>) {
        let mut verdicts = Vec::with_capacity(request.len());
        let mut uses = uses.into_iter().peekable();
        let mut start = 0;
        let mut warm = 0;
        while start < request.len() {
            let linked = |command: &&Command| command.linked;
            let end = start + 1 + request.commands[start..].iter().take_while(linked).count();
            // So many ahead of the one that is decided.
            while warm < request.len() && warm <= start + COMMANDS_WARMED {
                let next = warm..(warm + COMMANDS_WARMED).min(request.len());
                warm = next.end;
                self.warm(&request, next);
            }
            let earlier = (start..end)
                .map(|index| {
                    let known = uses.next_if(|used| used.0 == index).map(|used| used.1);
                    known.or_else(|| self.used_on_the_way(&request.queries().get(index)))
                })
                .collect();
            self.decide_unit(&request, start..end, &earlier, &mut verdicts);
            start = end;
        }
        let open = self.open.as_mut().expect("the turn is open");
        let respond = request.respond;
        open.waiting.push(Waiting { verdicts, respond });
    }

    /// Asks for the memory that some commands will need, and for those that follow.
    fn warm(&mut self, request: &Request, next: Range<usize>) {
        let after = next.end..(next.end + COMMANDS_WARMED).min(request.len());
        request.commands[after].iter().for_each(bring_near);
        request.digests[next.clone()].iter().for_each(bring_near);
        self.set.expect(&request.commands[next.clone()], bring_near);
        self.flight.warm(&request.hashes[next]);
    }

    /// The use of a key by a record that the backend can't know yet.
    fn used_on_the_way(&self, query: &KeyQuery<'_>) -> Option<KeyUse> {
        let open = self.open.as_ref().expect("the turn is open");
        self.flight.find(query, &open.frame)
    }

    /// Decides one command, or one all-or-nothing group, with the earlier uses of their keys.
    fn decide_unit(
        &mut self,
        request: &Request,
        unit: Range<usize>,
        uses: &Small<Option<KeyUse>, 1>,
        verdicts: &mut Vec<Verdict>,
    ) {
        let taken = uses.iter().flatten().count();
        if taken == 0 && !repeats_a_key(&request.commands[unit.clone()]) {
            // Only now, so that whoever was accepted before is told so again.
            let commands = &request.commands[unit.clone()];
            return match self.not_queued(commands) {
                Some(why) => verdicts.extend(
                    commands
                        .iter()
                        .map(|command| Verdict::NotQueued(why, queues(command))),
                ),
                None => self.decide_new(request, unit, verdicts),
            };
        }
        if taken < unit.len() {
            verdicts.extend(unit.map(|_| Verdict::GroupConflict));
            return;
        }
        for (index, used) in unit.zip(uses.iter().flatten()) {
            verdicts.push(if request.digests[index] == used.digest {
                Verdict::Replayed(used.position)
            } else {
                Verdict::KeyConflict(used.position)
            });
        }
    }

    /// Why the queue does not take the payments among these commands, if it does not.
    fn not_queued(&self, commands: &[Command]) -> Option<NotQueued> {
        let payments = commands.iter().filter(|command| queues(command)).count();
        if payments == 0 {
            None
        } else if self.set.queue().mode == QueueMode::Draining {
            Some(NotQueued::Draining)
        } else if self.set.queued() + payments > self.queue_length_max {
            Some(NotQueued::Full)
        } else if self.takes_too_much(commands) {
            Some(NotQueued::ShareFull)
        } else {
            None
        }
    }

    /// Whether with these commands an owner other than the platform would have more than its share of the queue.
    fn takes_too_much(&self, commands: &[Command]) -> bool {
        let mut wanted: HashMap<OwnerId, usize> = HashMap::new();
        for command in commands.iter().filter(|command| queues(command)) {
            *wanted.entry(command.actor.owner).or_default() += 1;
        }
        wanted.remove(&OwnerId::PLATFORM);
        let share = share(self.queue_length_max);
        let mut wanted = wanted.into_iter();
        wanted.any(|(owner, payments)| self.set.queued_by(owner) + payments > share)
    }

    fn decide_new(&mut self, request: &Request, unit: Range<usize>, verdicts: &mut Vec<Verdict>) {
        let commands = &request.commands[unit.clone()];
        for command in commands {
            // Its payment may have been made earlier in this very request.
            if let Some(id) = command.body.payment()
                && self.set.payment(id).is_none()
            {
                self.load_from_frames(id);
            }
        }
        let open = self.open.as_mut().expect("the turn is open");
        let ctx = open.context();
        if let [command] = commands {
            ledger::decide_into(&self.set, command, ctx, &mut self.outcome);
            ledger::apply_sparse(&mut self.set, command, &self.outcome, ctx);
            let at = open.record(request, unit.start, &self.outcome);
            verdicts.push(Verdict::Decided(at, self.outcome.rejection));
            self.flight.take(request.hashes[unit.start], ctx.position);
            return;
        }
        let outcomes = ledger::decide_group(&mut self.set, commands, ctx);
        for (index, outcome) in unit.zip(&outcomes) {
            let position = open.frame.next_position();
            let at = open.record(request, index, outcome);
            verdicts.push(Verdict::Decided(at, outcome.rejection));
            self.flight.take(request.hashes[index], position);
        }
    }

    /// Hands the open batch over. One that holds no record is durable already, but its callers too must be answered only after
    /// what came before is published: else they would read what was before the answer that they were given again.
    ///
    /// # Panics
    /// If it may not be handed over ([`Core::can_submit`]).
    pub fn submit(&mut self) -> InFlight {
        assert!(self.can_submit(), "the caller checks");
        let open = self.open.take();
        let Open {
            frame,
            timestamp,
            waiting,
        } = open.expect("there is one to be handed over");
        let batch = Arc::new(Batch::new(frame, self.frames.clone()));
        let ticket = if batch.is_empty() {
            self.abandon();
            Ticket::ready(Fate::Durable(self.backend.reader().head()))
        } else {
            self.last = Context {
                position: batch.last_position(),
                timestamp,
            };
            self.flight.took_off(batch.clone());
            self.backend.submit(&batch, &self.set)
        };
        InFlight {
            ticket,
            batch,
            waiting,
        }
    }

    /// Ends a turn that made no record, and forgets what was loaded for it.
    fn abandon(&mut self) {
        self.backend.abandon();
        if self.flight.len() == 0 {
            // What is loaded stays until the next record is durable, and that may be long in coming.
            self.set.evict_through(self.last.position + 1);
        }
    }

    /// Tells the core that the oldest batch in flight became durable.
    pub fn landed(&mut self) {
        let batch = self.flight.landed();
        self.set.evict_through(batch.last_position());
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
        self.flight.clear();
        self.set = set;
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
        let mut payload = Vec::new();
        let there = reader.read(batch.first_position(), &mut payload)?;
        Ok(there && payload == batch.frame().payload(0))
    }

    /// Whether a turn could begin, as far as space goes.
    pub fn has_space(&mut self) -> bool {
        if self.open.is_some() || self.flight.len() > 0 {
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
        self.open.is_none() && self.flight.len() == 0 && self.backend.idle()
    }
}

impl Request {
    fn queries(&self) -> KeyQueries<'_> {
        KeyQueries::new(&self.hashes, &self.commands)
    }
}

impl Open {
    /// Where the next record goes.
    fn context(&self) -> Context {
        Context {
            position: self.frame.next_position(),
            timestamp: self.timestamp,
        }
    }

    /// Encodes a decided command; gives the index of its record.
    fn record(&mut self, request: &Request, index: usize, outcome: &Outcome) -> usize {
        let ctx = self.context();
        let (command, hash) = (&request.commands[index], request.hashes[index]);
        let digest = &request.digests[index];
        self.frame
            .push(|payload| ledger::codec::encode(command, digest, outcome, ctx, payload))
            .expect("has_room bounds the frame");
        ledger::index_keys_of(command, hash, outcome, &mut |hash| self.frame.key(hash));
        self.frame.count() as usize - 1
    }
}

/// How many of the payments in the queue may be asked for by keys of one owner other than the platform: a quarter of the bound, so
/// that nobody fills it for all others; at least 1.
fn share(queue_length_max: usize) -> usize {
    (queue_length_max / 4).max(1)
}

/// Whether the command is to queue a payment.
fn queues(command: &Command) -> bool {
    matches!(&command.body, Body::Pay(pay) if pay.queue.is_some())
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
    let queue = match &command.body {
        Body::Pay(pay) => pay.queue.as_ref().map_or(0, |queue| queue_bytes(queue)),
        _ => 0,
    };
    let fixed = match &command.body {
        Body::Pay(pay) if pay.fees.is_empty() && matches!(pay.destination, Destination::One(_)) => {
            PLAIN_RECORD_BYTES
                + pay
                    .reason
                    .as_ref()
                    .map_or(0, |reason| reason.as_bytes().len())
        }
        Body::Publish(publish) => PLAIN_RECORD_BYTES + publish.data.as_bytes().len(),
        Body::PutSetting(put) => PLAIN_RECORD_BYTES + put.body.as_bytes().len(),
        _ => FULL_RECORD_BYTES,
    };
    RECORD_HEADER_BYTES + fixed + queue + command.key.as_bytes().len() + text
}

/// What being queued adds to the record of a payment.
fn queue_bytes(queue: &Queue) -> usize {
    let correlation_id = queue.correlation_id.as_ref();
    26 + correlation_id.map_or(0, |word| word.as_bytes().len())
}

/// An upper bound of the bytes that the commands' records take.
fn bytes_max(commands: &[Command]) -> usize {
    commands.iter().map(record_bytes_max).sum()
}
