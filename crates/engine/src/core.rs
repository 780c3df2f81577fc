//! The writer: takes what has arrived, decides it, and hands over one batch at a time.
//!
//! The core owns no thread and reads no clock but the one it is given, so a simulator can drive it step by step. The open
//! batch grows while the one before it is being synced; nothing is answered before its frame is durable.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use hashbrown::HashMap;
use tributary_journal::{
    FRAME_BODY_BYTES_MAX, FrameBuilder, FrameRef, Head, RECORD_BYTES_MAX, RECORD_HEADER_BYTES,
    prefetch,
};
use tributary_ledger::{
    self as ledger, Body, BoundUse, Command, Context, Outcome, OwnerId, PaymentId, QueueMode,
    SharedBound, WorkingSet,
};

use crate::backend::{Backend, Fate, KeyQueries, KeyQuery, KeyUse, Ticket};
use crate::batch::{Batch, Frames};
use crate::clock::Clock;
use crate::failure::Failure;
use crate::recent::{Flight, created_in};
use crate::replay;
use crate::request::{
    COMMANDS_PER_BATCH_MAX, NotQueued, Request, Resolved, Respond, TurnedAway, Verdict, bytes_max,
    failure_of_rest, limit_bytes_max,
};

/// Payments that may be queued, if nothing else is said.
pub const QUEUE_LENGTH_MAX: usize = 100_000;

/// Commands whose accounts are brought near at once, before the first of them is decided.
const COMMANDS_WARMED: usize = 16;

/// A request whose commands are decided, waiting for the batch to become durable.
struct Waiting {
    verdicts: Vec<Verdict>,
    /// The batches before, if the request was divided.
    earlier: Vec<Arc<Batch>>,
    respond: Respond,
}

impl Waiting {
    fn refuse(self, failure: &Failure) {
        (self.respond)(Err(failure_of_rest(&self.earlier, failure.clone())));
    }
}

/// A request of which not all commands are decided.
struct Undecided {
    request: Request,
    /// Index of the first command that is not decided.
    next: usize,
    /// What became of those before.
    verdicts: Vec<Verdict>,
    /// The batches that were handed over with records of theirs.
    earlier: Vec<Arc<Batch>>,
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
            match &failure {
                None => (one.respond)(Ok(Resolved {
                    batch: batch.clone(),
                    earlier: one.earlier,
                    verdicts: one.verdicts,
                })),
                Some(failure) => one.refuse(failure),
            }
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
    frame: FrameBuilder,
    /// Whether there is no space for a record: only repetitions of earlier commands are answered.
    lacks_space: bool,
    /// Whether a record in it changes a setting.
    changes_settings: bool,
    timestamp: u64,
    waiting: Vec<Waiting>,
}

/// The single writer of a journal.
pub struct Core {
    backend: Box<dyn Backend>,
    clock: Arc<dyn Clock>,
    set: WorkingSet,
    open: Option<Open>,
    /// The request that needs more frames than the open one, which takes no other request then.
    divided: Option<Undecided>,
    flight: Flight,
    /// Last position and time of every batch handed over that may not be published yet, the oldest first.
    unpublished: VecDeque<Context>,
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
        let last = context_of(backend.reader().head());
        Core {
            set,
            backend,
            clock,
            open: None,
            divided: None,
            flight: Flight::default(),
            unpublished: VecDeque::new(),
            frames: Arc::default(),
            outcome: Outcome::default(),
            queue_length_max: QUEUE_LENGTH_MAX,
            last,
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

    /// Returns the time of the oldest batch that was handed over and is not published, if everything up to `position` is; [`u64::MAX`]
    /// if there is none. The view lacks nothing that was decided before that time.
    pub fn published_before(&mut self, position: u64) -> u64 {
        let is_published = |batch: &Context| batch.position <= position;
        while self.unpublished.front().is_some_and(is_published) {
            self.unpublished.pop_front();
        }
        let oldest = self.unpublished.front();
        oldest.map_or(u64::MAX, |batch| batch.timestamp)
    }

    /// Records in the open batch, and requests waiting for it.
    pub fn open_len(&self) -> (usize, usize) {
        self.open.as_ref().map_or((0, 0), |open| {
            (open.frame.count() as usize, open.waiting.len())
        })
    }

    /// Whether a request may join the open batch: it certainly fits, or is the first to make records there.
    pub fn has_room(&self, request: &Request) -> bool {
        match &self.open {
            _ if self.divided.is_some() => false,
            None => true,
            Some(open) => {
                open.frame.is_empty()
                    || open.frame.count() as usize + request.len() <= COMMANDS_PER_BATCH_MAX
                        && open.frame.body_bytes() + request.bytes_max <= FRAME_BODY_BYTES_MAX
            }
        }
    }

    /// Whether a request needs more frames than the open one.
    pub fn is_divided(&self) -> bool {
        self.divided.is_some()
    }

    /// Whether [`Core::resume`] has something to do.
    pub fn can_resume(&self) -> bool {
        self.divided.is_some() && self.open.is_none()
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
    /// A request that needs more than the open frame is divided ([`Core::is_divided`]): hand the batch over, then
    /// [`Core::resume`].
    ///
    /// # Panics
    /// If the request does not fit ([`Core::has_room`]), or a group of it fits into no frame ([`Request::groups_fit`]).
    pub fn accept(&mut self, request: Request) -> Option<TurnedAway> {
        assert!(self.has_room(&request), "the caller checks the room");
        self.decide(Undecided {
            verdicts: Vec::with_capacity(request.len()),
            request,
            next: 0,
            earlier: Vec::new(),
        })
    }

    /// Goes on with the request that was divided, in the next batch. Gives the request back if that failed, as
    /// [`Core::accept`] does.
    ///
    /// # Panics
    /// If there is none to go on with ([`Core::can_resume`]).
    pub fn resume(&mut self) -> Option<TurnedAway> {
        assert!(self.can_resume(), "the caller checks");
        let undecided = self.divided.take().expect("a request was divided");
        self.decide(undecided)
    }

    fn decide(&mut self, undecided: Undecided) -> Option<TurnedAway> {
        match self.prepare(&undecided) {
            Ok(uses) => {
                self.decide_all(undecided, uses);
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
                Some(TurnedAway {
                    request: undecided.request,
                    failure,
                    earlier: undecided.earlier,
                })
            }
        }
    }

    /// Begins the turn if none is open, and loads all that the undecided commands need. Changes nothing that a failure would
    /// have to undo. Gives what the backend knows of the keys, by the index of the command among the undecided ones.
    fn prepare(&mut self, undecided: &Undecided) -> Result<Vec<(usize, KeyUse)>, Failure> {
        match &self.open {
            None => match self.begin() {
                Err(Failure::StorageFull) => return self.prepare_repetition(undecided),
                begun => begun?,
            },
            Some(open) if open.lacks_space => return self.prepare_repetition(undecided),
            Some(_) => {}
        }
        let (request, next) = (&undecided.request, undecided.next);
        let commands = &request.commands[next..];
        let queries = KeyQueries::new(&request.hashes[next..], commands);
        let uses = self.backend.find_keys(queries)?;
        // First what the commands name, then what that names.
        for _stage in 0..ledger::LOADING_STAGES_MAX {
            let mut lookups = ledger::missing_lookups(commands, &self.set);
            lookups.payments.retain(|id| !self.load_from_frames(*id));
            if lookups.is_empty() {
                break;
            }
            self.backend.load(&lookups, &mut self.set)?;
        }
        Ok(uses)
    }

    /// [`Core::prepare`] while there is no space for another record: whoever repeats commands gets their first answers all the same.
    fn prepare_repetition(
        &mut self,
        undecided: &Undecided,
    ) -> Result<Vec<(usize, KeyUse)>, Failure> {
        let (request, next) = (&undecided.request, undecided.next);
        let (hashes, commands) = (&request.hashes[next..], &request.commands[next..]);
        let uses = self.backend.find_keys(KeyQueries::new(hashes, commands))?;
        if self.open.is_none() {
            self.begin_at(self.backend.reader().head(), true);
        }
        let queries = KeyQueries::new(hashes, commands);
        let mut known = uses.iter().map(|(index, _)| *index).peekable();
        let all_used = (0..commands.len()).all(|index| {
            let is_known = known.next_if_eq(&index).is_some();
            is_known || self.used_on_the_way(&queries.get(index)).is_some()
        });
        match all_used {
            true => Ok(uses),
            false => Err(Failure::StorageFull),
        }
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
        self.begin_at(head, false);
        Ok(())
    }

    fn begin_at(&mut self, head: Head, lacks_space: bool) {
        if self.flight.len() == 0 {
            self.last = context_of(head);
        }
        assert!(
            head.position <= self.last.position,
            "the head never runs ahead of the writer"
        );
        let timestamp = self.decided_at(self.clock.now());
        self.open = Some(Open {
            frame: self
                .frames
                .begin(self.last.position + 1, timestamp, self.backend.versions()),
            timestamp,
            lacks_space,
            changes_settings: false,
            waiting: Vec::new(),
        });
    }

    /// Decides what fits into the open frame. `uses`: what [`Core::prepare`] gave.
    fn decide_all(&mut self, undecided: Undecided, uses: Vec<(usize, KeyUse)>) {
        let Undecided {
            request,
            next,
            mut verdicts,
            earlier,
        } = undecided;
        let mut uses = uses.into_iter().peekable();
        let mut start = next;
        let mut warm = next;
        while start < request.len() {
            let linked = |command: &&Command| command.linked;
            let end = start + 1 + request.commands[start..].iter().take_while(linked).count();
            let room = self.room_for(&request.commands[start..end]);
            if room == Room::NextFrame {
                self.divided = Some(Undecided {
                    request,
                    next: start,
                    verdicts,
                    earlier,
                });
                return;
            }
            // So many ahead of the one that is decided.
            while warm < request.len() && warm <= start + COMMANDS_WARMED {
                let next = warm..(warm + COMMANDS_WARMED).min(request.len());
                warm = next.end;
                self.warm(&request, next);
            }
            let mut earlier_use = |index| {
                let known = uses.next_if(|used| next + used.0 == index);
                let known = known.map(|used| used.1);
                known.or_else(|| self.used_on_the_way(&request.queries().get(index)))
            };
            if end == start + 1 {
                // Nearly always: without a list.
                let used = earlier_use(start);
                self.decide_unit(&request, start..end, &[used], room, &mut verdicts);
            } else {
                let used: Vec<Option<KeyUse>> = (start..end).map(earlier_use).collect();
                self.decide_unit(&request, start..end, &used, room, &mut verdicts);
            }
            start = end;
        }
        let open = self.open.as_mut().expect("the turn is open");
        open.waiting.push(Waiting {
            verdicts,
            earlier,
            respond: request.respond,
        });
    }

    /// Where the records of one command, or of one group, certainly fit.
    fn room_for(&self, unit: &[Command]) -> Room {
        let frame = &self.open.as_ref().expect("the turn is open").frame;
        let room = FRAME_BODY_BYTES_MAX - frame.body_bytes();
        // Nearly always: no need to look at the commands.
        if unit.len() * (RECORD_HEADER_BYTES + RECORD_BYTES_MAX) <= room {
            return Room::OpenFrame;
        }
        let bytes = bytes_max(unit);
        if bytes + limit_bytes_max(unit, &self.set) <= room {
            return Room::OpenFrame;
        }
        if !frame.is_empty() {
            return Room::NextFrame;
        }
        assert!(
            bytes <= room && unit.len() > 1,
            "admission bounds a group but for its uses of limits"
        );
        Room::Never
    }

    /// Asks for the memory that some commands will need, and for those that follow.
    fn warm(&mut self, request: &Request, next: Range<usize>) {
        let after = next.end..(next.end + COMMANDS_WARMED).min(request.len());
        request.commands[after].iter().for_each(prefetch);
        request.digests[next.clone()].iter().for_each(prefetch);
        self.set.prefetch(&request.commands[next.clone()], prefetch);
        self.flight.warm(&request.hashes[next]);
    }

    /// The use of a key by a record that the backend can't know yet.
    #[inline]
    fn used_on_the_way(&self, query: &KeyQuery<'_>) -> Option<KeyUse> {
        let open = self.open.as_ref().expect("the turn is open");
        self.flight.find(query, &open.frame)
    }

    /// Decides one command, or one all-or-nothing group, with the earlier uses of their keys.
    fn decide_unit(
        &mut self,
        request: &Request,
        unit: Range<usize>,
        uses: &[Option<KeyUse>],
        room: Room,
        verdicts: &mut Vec<Verdict>,
    ) {
        let taken = uses.iter().flatten().count();
        if taken == 0 && !repeats_a_key(&request.commands[unit.clone()]) {
            // Only now, so that whoever was accepted before is told so again.
            let commands = &request.commands[unit.clone()];
            let too_large = (room == Room::Never).then_some(NotQueued::GroupTooLarge);
            return match too_large.or_else(|| self.not_queued(commands)) {
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

    /// Whether with these commands an owner other than the platform, or all of them together, would have more than its share of the
    /// queue.
    fn takes_too_much(&self, commands: &[Command]) -> bool {
        let mut wanted: HashMap<OwnerId, usize> = HashMap::new();
        for command in commands.iter().filter(|command| queues(command)) {
            *wanted.entry(command.actor.owner).or_default() += 1;
        }
        wanted.remove(&OwnerId::PLATFORM);
        let by_platform = self.set.queued_by(OwnerId::PLATFORM);
        let mut in_all = self.set.queued();
        for (owner, payments) in wanted {
            let used = BoundUse {
                in_all,
                by_platform,
                by_owner: self.set.queued_by(owner),
            };
            let bound = SharedBound::new(self.queue_length_max);
            if bound.check(owner, used, payments).is_err() {
                return true;
            }
            in_all += payments;
        }
        false
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
            open.record(request, unit.start, &self.outcome);
            verdicts.push(Verdict::Decided(ctx.position, self.outcome.rejection));
            self.flight.take(request.hashes[unit.start], ctx.position);
            return;
        }
        let outcomes = ledger::decide_group(&mut self.set, commands, ctx);
        for (index, outcome) in unit.zip(&outcomes) {
            let position = open.frame.next_position();
            open.record(request, index, outcome);
            verdicts.push(Verdict::Decided(position, outcome.rejection));
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
            changes_settings,
            timestamp,
            waiting,
            lacks_space,
        } = open.expect("there is one to be handed over");
        assert!(
            !lacks_space || frame.is_empty(),
            "repetitions make no records"
        );
        let batch = Arc::new(Batch::new(frame, changes_settings, self.frames.clone()));
        let ticket = if batch.is_empty() {
            self.abandon();
            Ticket::ready(Fate::Durable(self.backend.reader().head()))
        } else {
            self.last = Context {
                position: batch.last_position(),
                timestamp,
            };
            self.unpublished.push_back(self.last);
            self.flight.took_off(batch.clone());
            if let Some(divided) = &mut self.divided {
                divided.earlier.push(batch.clone());
            }
            self.backend.submit(&batch, &self.set)
        };
        InFlight {
            ticket,
            batch,
            waiting,
        }
    }

    /// Takes in a frame that another node decided: applies its records, and hands it over to be written and published.
    ///
    /// # Errors
    /// If a record can't be read or applied. The engine must stop then.
    ///
    /// # Panics
    /// If something is being decided here, or the frame does not follow what was handed over before.
    pub fn follow(&mut self, bytes: Vec<u8>, respond: Respond) -> Result<InFlight, Failure> {
        let is_free = self.open.is_none() && self.divided.is_none();
        assert!(is_free, "one node decides");
        let frame = FrameRef::parse(&bytes).expect("a frame that counts is whole");
        let header = *frame.header();
        if self.flight.len() == 0 {
            self.last = context_of(self.backend.reader().head());
        }
        assert_eq!(
            header.first_position,
            self.last.position + 1,
            "a frame follows the head"
        );
        let batch = Batch::of_sealed(&frame, self.frames.clone())?;
        replay::apply_frame(&frame, header.first_position, &mut self.set)?;
        let batch = Arc::new(batch);
        self.last = Context {
            position: batch.last_position(),
            timestamp: header.timestamp,
        };
        self.unpublished.push_back(self.last);
        self.flight.took_off(batch.clone());
        Ok(InFlight {
            ticket: self.backend.follow(bytes),
            batch,
            waiting: vec![Waiting {
                verdicts: Vec::new(),
                earlier: Vec::new(),
                respond,
            }],
        })
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
                one.refuse(&failure);
            }
        }
        if let Some(divided) = self.divided.take() {
            divided
                .request
                .refuse(failure_of_rest(&divided.earlier, failure));
        }
        self.flight.clear();
        self.unpublished.clear();
        self.set = set;
        self.last = context_of(self.backend.reader().head());
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
        if let Some(open) = &self.open {
            return !open.lacks_space;
        }
        if self.flight.len() > 0 {
            return true;
        }
        let full = matches!(self.backend.begin(), Err(Failure::StorageFull));
        self.backend.abandon();
        !full
    }

    /// Whether the open batch was begun without space for a record.
    pub fn lacks_space(&self) -> bool {
        self.open.as_ref().is_some_and(|open| open.lacks_space)
    }

    /// Lets go of the backend.
    pub fn close(&mut self) {
        self.backend.close();
    }

    /// Lets the backend do work that can wait. True if there may be more.
    pub fn idle(&mut self) -> bool {
        let busy = self.open.is_some() || self.divided.is_some() || self.flight.len() > 0;
        !busy && self.backend.idle()
    }
}

/// Where the records of a command, or of a group, fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Room {
    OpenFrame,
    NextFrame,
    Never,
}

impl Open {
    /// Where the next record goes.
    fn context(&self) -> Context {
        Context {
            position: self.frame.next_position(),
            timestamp: self.timestamp,
        }
    }

    /// Encodes a decided command.
    fn record(&mut self, request: &Request, index: usize, outcome: &Outcome) {
        let ctx = self.context();
        let (command, hash) = (&request.commands[index], request.hashes[index]);
        let digest = &request.digests[index];
        let format = self.frame.versions().format;
        self.frame
            .push(|payload| ledger::codec::encode(command, digest, outcome, ctx, format, payload))
            .expect("room_for bounds the frame");
        self.changes_settings |= outcome.setting.is_some();
        ledger::index_command_keys(command, hash, outcome, &mut |hash| self.frame.add_key(hash));
    }
}

fn context_of(head: Head) -> Context {
    Context {
        position: head.position,
        timestamp: head.timestamp,
    }
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
