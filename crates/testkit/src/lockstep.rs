//! Runs several backends and the model in lockstep: the same random requests in the same batches must give the same results.
//!
//! The frames are equal byte for byte, and answers and states are equal; statements and lists show what a scan of
//! all records shows. In between, the clock moves (sometimes back), the wall clock behind it is set to anything, checkpoints are written while payments continue, and any of
//! the engines is closed and opened again.

use std::sync::Arc;

use tributary_engine::{Clock as _, RUN_AT_ONCE_MAX, Refused, Reply, Stepped, Stepper};
use tributary_ledger::{Actor, Body, Command, Key, PaymentId, QueueMode};

use crate::backends::BackendFactory;
use crate::clock::{SteppingTime, TestClock};
use crate::lossy::Losses;
use crate::model::{Answer, Model, Payment, Queued, check_record, check_set};
use crate::random::Random;
use crate::read_checks;
use crate::workload::Workload;

/// Maximum number of queued payments: few enough to be reached.
pub const QUEUE_LENGTH_MAX: usize = 12;
/// Number of records after which a batch is submitted.
const BATCH_RECORDS_MAX: u64 = 60;
/// Time at which the simulation begins, nanoseconds since the Unix epoch.
const BEGIN: u64 = 1_780_000_000_000_000_000;
/// Nanoseconds in a millisecond.
const MILLISECOND: u64 = 1_000_000;

struct Replica {
    factory: Box<dyn BackendFactory>,
    stepper: Option<Stepper>,
    /// Number of losses whose requests were already repeated.
    lost_before: u64,
}

/// A request that was sent to every replica.
struct Pending {
    commands: Vec<Command>,
    /// Number and time of the batch of the request.
    batch: u64,
    time: u64,
    /// Answers of the model.
    answers: Vec<Answer>,
    /// Outcome of each replica.
    outcomes: Vec<Outcome>,
}

/// Answer of a replica to a request.
enum Outcome {
    Awaited(Stepped),
    Known(Vec<Reply>),
}

impl Replica {
    fn stepper(&mut self) -> &mut Stepper {
        self.stepper.as_mut().expect("it is open")
    }

    fn reopen(&mut self, clock: &TestClock) {
        if let Some(stepper) = self.stepper.take() {
            stepper.close();
        }
        let backend = self.factory.open();
        let stepper = Stepper::start(backend, Arc::new(clock.clone()))
            .unwrap_or_else(|failure| panic!("{}: {failure}", self.factory.name()));
        self.stepper = Some(stepper.with_queue_length_max(QUEUE_LENGTH_MAX));
    }

    /// Returns the number of batches and answers lost so far. When an answer is lost, the open batch is discarded.
    fn lost(&self) -> u64 {
        let lost = |losses: &Losses| losses.batches_lost() + losses.answers_lost();
        self.factory.losses().map_or(0, lost)
    }

    /// Returns whether something was lost since the last call.
    fn has_lost(&mut self) -> bool {
        let lost = self.lost();
        std::mem::replace(&mut self.lost_before, lost) < lost
    }

    fn keep_batches(&self, keep: bool) {
        if let Some(losses) = self.factory.losses() {
            losses.keep_batches(keep);
        }
    }

    /// Repeats lost requests, in the same batches and at the same times, until nothing is lost. The requests from
    /// batch `open` on are not submitted yet.
    fn repeat_lost(&mut self, at: usize, pending: &mut [Pending], open: u64, clock: &TestClock) {
        let now = clock.now();
        while self.has_lost() {
            // The fate of what was handed over later is learned with that.
            while self.stepper().land() {}
            self.has_lost();
            for batch in pending.chunk_by_mut(|a, b| a.batch == b.batch) {
                clock.set(batch[0].time);
                let mut repeated = false;
                for request in &mut *batch {
                    repeated |= self.repeat(at, request);
                }
                if repeated && batch[0].batch < open {
                    self.stepper().settle();
                    if self.lost() != self.lost_before {
                        break;
                    }
                }
            }
        }
        clock.set(now);
    }

    /// Repeats a request if it was refused because its batch was lost.
    fn repeat(&mut self, at: usize, request: &mut Pending) -> bool {
        let outcome = &mut request.outcomes[at];
        let Outcome::Awaited(stepped) = &*outcome else {
            return false;
        };
        match self.stepper().answer(stepped) {
            Some(Ok(replies)) => {
                *outcome = Outcome::Known(replies);
                false
            }
            Some(Err(Refused::Unavailable(_))) => {
                *outcome = Outcome::Awaited(self.stepper().accept(request.commands.clone()));
                true
            }
            Some(Err(refused)) => panic!("{}: refused: {refused}", self.factory.name()),
            None => panic!("{}: a request was never answered", self.factory.name()),
        }
    }
}

/// Several replicas in lockstep with the model.
pub struct Lockstep {
    rng: Random,
    clock: TestClock,
    /// What the clock shows, unless it was set back.
    time: SteppingTime,
    model: Model,
    workload: Workload,
    replicas: Vec<Replica>,
    /// Time of the open batch, and the model's position when it began.
    open: Option<(u64, u64)>,
    /// Batches handed over so far.
    batches: u64,
    last_time: u64,
    pending: Vec<Pending>,
    compared: u64,
}

impl Lockstep {
    /// Opens all replicas.
    pub fn new(factories: Vec<Box<dyn BackendFactory>>, seed: u64) -> Lockstep {
        let clock = TestClock::starting_at(BEGIN);
        let mut replicas: Vec<Replica> = factories
            .into_iter()
            .map(|factory| Replica {
                lost_before: 0,
                factory,
                stepper: None,
            })
            .collect();
        replicas
            .iter_mut()
            .for_each(|replica| replica.reopen(&clock));
        Lockstep {
            rng: Random::new(seed),
            clock,
            time: SteppingTime::starting_at(BEGIN),
            model: Model::default().with_queue_length_max(QUEUE_LENGTH_MAX),
            workload: Workload::new(seed),
            replicas,
            open: None,
            batches: 0,
            last_time: 0,
            pending: Vec::new(),
            compared: 0,
        }
    }

    /// Returns the source of the requests.
    pub fn workload(&mut self) -> &mut Workload {
        &mut self.workload
    }

    /// Returns the model.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Takes `steps` random steps and compares everything at the end. Panics at a difference.
    pub fn run(&mut self, steps: u64) {
        for _ in 0..steps {
            self.step();
        }
        self.drain();
        self.compare_frames();
        for at in 0..self.replicas.len() {
            self.check_all_reads(at);
        }
        for replica in &mut self.replicas {
            replica.reopen(&self.clock);
        }
        self.compare();
    }

    fn step(&mut self) {
        match self.rng.below(100) {
            0..=59 => {
                let now = self.next_time();
                let commands = self.workload.request(&self.model, now);
                self.request(commands);
            }
            60..=74 => self.submit(),
            75..=82 => {
                self.for_each(|stepper| {
                    stepper.land();
                });
                self.repeat_lost();
            }
            83..=88 => self.move_clock(),
            89..=90 => self.expire(),
            91 => self.run_queue(),
            92 => self.restart_some(),
            93..=94 => self.for_each(|stepper| {
                stepper.idle();
            }),
            95 => self.begin_checkpoint(),
            96..=97 => self.settle(),
            _ => {
                self.settle();
                let at = self.rng.index(self.replicas.len());
                self.check_random_reads(at);
            }
        }
        self.for_each(|stepper| {
            stepper.step_checkpoint(3).expect("there is room");
        });
    }

    fn for_each(&mut self, mut with: impl FnMut(&mut Stepper)) {
        for replica in &mut self.replicas {
            with(replica.stepper());
        }
    }

    /// Repeats the requests of lost batches, and all that followed, in every replica.
    fn repeat_lost(&mut self) {
        let open = self.batches;
        for (at, replica) in self.replicas.iter_mut().enumerate() {
            replica.repeat_lost(at, &mut self.pending, open, &self.clock);
        }
    }

    /// Returns the time of the next decision.
    fn next_time(&self) -> u64 {
        match self.open {
            Some((time, _)) => time,
            None => self.clock.now().max(self.last_time),
        }
    }

    fn request(&mut self, commands: Vec<Command>) {
        let time = self.next_time();
        let (_, first) = *self.open.get_or_insert((time, self.model.position()));
        let answers = self.model.request(&commands, time);
        let outcomes = self
            .replicas
            .iter_mut()
            .map(|replica| Outcome::Awaited(replica.stepper().accept(commands.clone())))
            .collect();
        self.pending.push(Pending {
            commands,
            batch: self.batches,
            time,
            answers,
            outcomes,
        });
        if self.model.position() - first >= BATCH_RECORDS_MAX {
            self.submit();
        }
    }

    fn submit(&mut self) {
        self.for_each(Stepper::submit);
        self.submitted();
    }

    fn submitted(&mut self) {
        self.batches += 1;
        self.repeat_lost();
        if let Some((time, before)) = self.open.take()
            && self.model.position() > before
        {
            self.last_time = time;
        }
    }

    fn move_clock(&mut self) {
        let by = self.rng.below(6_000) * MILLISECOND;
        if self.rng.chance(12) {
            self.clock.set(self.clock.now() - by);
        } else {
            self.time.advance_randomly(by, &mut self.rng);
            self.clock.set(self.time.now());
        }
    }

    /// Expires holds: the timers submit the commands, which the model derives itself.
    fn expire(&mut self) {
        self.settle();
        let now = self.clock.now();
        let time = self.next_time();
        let mut due: Vec<(u64, u64)> = self
            .model
            .payments()
            .iter()
            .filter(|(_, payment)| payment.held > 0 && payment.expires_at <= time)
            .map(|(id, payment)| (payment.expires_at, *id))
            .collect();
        due.sort_unstable();
        for replica in &mut self.replicas {
            let wanted = replica.stepper().expire();
            // A round of the timers that fails waits before it tries again, and others would not.
            replica.keep_batches(wanted);
            assert_eq!(
                wanted,
                !due.is_empty(),
                "{}: timers",
                replica.factory.name()
            );
        }
        if due.is_empty() {
            return;
        }
        let commands: Vec<Command> = due
            .into_iter()
            .map(|(_, id)| expire_command(id, now))
            .collect();
        self.open = Some((time, self.model.position()));
        let answers = self.model.request(&commands, time);
        let decided = answers
            .iter()
            .all(|answer| matches!(answer, Answer::Decided(_)));
        assert!(decided, "the keys of timers are their own");
        self.settle();
    }

    /// Runs due queued payments, which the model derives itself.
    fn run_queue(&mut self) {
        self.settle();
        let now = self.clock.now();
        let time = self.next_time();
        let next = next_to_run(&self.model, time);
        for replica in &mut self.replicas {
            let wanted = replica.stepper().run_queue();
            replica.keep_batches(wanted);
            assert_eq!(
                wanted,
                !next.is_empty(),
                "{}: the queue",
                replica.factory.name()
            );
        }
        if next.is_empty() {
            return;
        }
        let command = |id: &u64| system_command("run", *id, now, Body::Run);
        let commands: Vec<Command> = next.iter().map(command).collect();
        self.open = Some((time, self.model.position()));
        let answers = self.model.request(&commands, time);
        let decided = answers
            .iter()
            .all(|answer| matches!(answer, Answer::Decided(_)));
        assert!(decided, "the keys of the queue are its own");
        self.settle();
    }

    /// Advances the clock until every queued payment is decided.
    fn drain(&mut self) {
        self.settle();
        let last = self.clock.now().max(self.last_time);
        self.time.advance_to(last + 100_000 * MILLISECOND);
        self.clock.set(self.time.now());
        let resume = system_command("resume", 0, self.clock.now(), |_| {
            Body::SetQueue(QueueMode::Active)
        });
        self.request(vec![resume]);
        self.settle();
        while !next_to_run(&self.model, self.clock.now()).is_empty() {
            self.run_queue();
        }
        let queued = self.model.payments().values();
        assert_eq!(queued.filter(|payment| payment.queue.is_some()).count(), 0);
        for replica in &mut self.replicas {
            assert_eq!(replica.stepper().reader().queue_length(), 0);
        }
    }

    fn restart_some(&mut self) {
        self.settle();
        for at in 0..self.replicas.len() {
            if self.rng.chance(60) {
                self.replicas[at].reopen(&self.clock);
            }
        }
        self.compare();
    }

    fn begin_checkpoint(&mut self) {
        for replica in &mut self.replicas {
            if let Some(disk) = replica.factory.checkpoint_disk() {
                replica.stepper().begin_checkpoint(disk).expect("it begins");
            }
        }
    }

    /// Waits for all batches, and checks answers and states.
    fn settle(&mut self) {
        self.for_each(Stepper::settle);
        self.submitted();
        for request in std::mem::take(&mut self.pending) {
            for (replica, outcome) in self.replicas.iter_mut().zip(request.outcomes) {
                let name = replica.factory.name();
                let replies = match outcome {
                    Outcome::Known(replies) => Ok(replies),
                    Outcome::Awaited(stepped) => replica
                        .stepper()
                        .answer(&stepped)
                        .unwrap_or_else(|| panic!("{name}: a request was never answered")),
                };
                check_replies(&self.model, &request.answers, replies)
                    .unwrap_or_else(|why| panic!("{name}: {why}"));
            }
        }
        for replica in &self.replicas {
            replica.keep_batches(false);
        }
        self.compare();
        // An engine moves its clock when the record is durable. Here all of them share one.
        if self.time.set_offset(self.model.time_offset().0) {
            self.clock.set(self.time.now());
        }
    }

    /// Compares the states, the heads and the records since the last call.
    fn compare(&mut self) {
        let mut first: Option<(tributary_journal::Head, [u8; 32])> = None;
        let (from, model) = (self.compared, &self.model);
        for replica in &mut self.replicas {
            let name = replica.factory.name();
            let reader = replica.stepper().reader();
            let head = reader.head();
            assert_eq!(head.position, model.position(), "{name}: the head");
            let seen = (head, reader.digest());
            let (first_head, first_digest) = *first.get_or_insert(seen);
            assert_eq!(head, first_head, "{name}: another head");
            assert_eq!(seen.1, first_digest, "{name}: another state");
            check_set(model, &replica.stepper().published())
                .unwrap_or_else(|why| panic!("{name}: {why}"));
            for entry in &model.entries()[from as usize..] {
                let record = reader
                    .record(entry.position)
                    .unwrap_or_else(|failure| panic!("{name}: {failure}"))
                    .unwrap_or_else(|| panic!("{name}: no record at {}", entry.position));
                check_record(entry, &record).unwrap_or_else(|why| panic!("{name}: {why}"));
            }
        }
        self.compared = model.position();
    }

    fn compare_frames(&mut self) {
        let readers: Vec<_> = self
            .replicas
            .iter_mut()
            .map(|replica| (replica.factory.name(), replica.stepper().reader()))
            .collect();
        let mut position = 1;
        while position <= self.model.position() {
            let frame = readers[0].1.frame(position).expect("it can be read");
            let frame = frame.expect("it is not beyond the head");
            for (name, reader) in &readers[1..] {
                let other = reader.frame(position).expect("it can be read");
                assert!(
                    other.as_ref() == Some(&frame),
                    "{name}: another frame at {position} than {}",
                    readers[0].0
                );
            }
            let parsed = tributary_journal::FrameRef::parse(&frame).expect("it is a frame");
            position = parsed.header().last_position() + 1;
        }
    }

    fn check_random_reads(&mut self, at: usize) {
        let replica = &mut self.replicas[at];
        let reader = replica.stepper().reader();
        read_checks::check_random_pages(&self.model, &reader, &mut self.rng)
            .unwrap_or_else(|why| panic!("{}: {why}", replica.factory.name()));
    }

    fn check_all_reads(&mut self, at: usize) {
        let replica = &mut self.replicas[at];
        let reader = replica.stepper().reader();
        read_checks::check_everything(&self.model, &reader, &mut self.rng)
            .unwrap_or_else(|why| panic!("{}: {why}", replica.factory.name()));
    }
}

/// Returns the payments to run at `now`, in order: first expired payments; then, unless the queue is paused, always the payer
/// whose first payment is most urgent. Ten seconds of waiting count as much as one level of priority.
pub fn next_to_run(model: &Model, now: u64) -> Vec<u64> {
    let mut waiting: Vec<(u64, &Payment, Queued)> = model
        .payments()
        .iter()
        .filter_map(|(id, payment)| Some((*id, payment, payment.queue?)))
        .collect();
    let joins = |payment: &Payment, queue: &Queued| payment.created_at.max(queue.not_before);
    let mut late: Vec<(u64, u64)> = waiting
        .iter()
        .filter_map(|(id, _, queue)| Some((queue.expires_at?, *id)))
        .filter(|(at, _)| *at <= now)
        .collect();
    late.sort_unstable();
    let mut next: Vec<u64> = late.iter().map(|(_, id)| *id).collect();
    if model.queue().0 == QueueMode::Paused {
        waiting.clear();
    }
    // The clock may have been set back since a payment was accepted.
    waiting.retain(|(_, payment, queue)| {
        queue.not_before <= payment.created_at || queue.not_before <= now
    });
    waiting.sort_by_key(|(id, payment, queue)| (joins(payment, queue), *id));
    while !waiting.is_empty() {
        let heads = (0..waiting.len()).filter(|&at| {
            let payer = waiting[at].1.source;
            waiting[..at]
                .iter()
                .all(|(_, before, _)| before.source != payer)
        });
        let rank = |&at: &usize| {
            let (id, payment, queue) = &waiting[at];
            let worth = i128::from(queue.priority) * 10_000_000_000;
            (i128::from(joins(payment, queue)) - worth, *id)
        };
        let first = heads.min_by_key(rank).expect("somebody is first");
        let (id, ..) = waiting.remove(first);
        if !next.contains(&id) {
            next.push(id);
        }
    }
    next.truncate(RUN_AT_ONCE_MAX);
    next
}

/// Returns the command that the timers submit for a hold that expired at `now`.
pub fn expire_command(payment: u64, now: u64) -> Command {
    system_command("expire", payment, now, Body::Expire)
}

/// Returns a command that the system submits about a payment at `now`.
pub fn system_command(name: &str, payment: u64, now: u64, body: fn(PaymentId) -> Body) -> Command {
    let mut key = vec![0];
    key.extend_from_slice(format!("{name}-{payment}-{now}").as_bytes());
    Command {
        key: Key::from_bytes(&key).expect("it is short and not empty"),
        actor: Actor::SYSTEM,
        linked: false,
        effective_at: None,
        text: None,
        origin: None,
        assessment: None,
        body: body(PaymentId(payment)),
    }
}

/// Checks the replies against the answers of the model.
pub fn check_replies(
    model: &Model,
    answers: &[Answer],
    replies: Result<Vec<Reply>, Refused>,
) -> Result<(), String> {
    let replies = replies.map_err(|refused| format!("refused: {refused}"))?;
    if replies.len() != answers.len() {
        return Err(format!("{} answers to {}", replies.len(), answers.len()));
    }
    for (answer, reply) in answers.iter().zip(&replies) {
        let real = match reply {
            Reply::Done { record, replayed } => {
                let position = record.ctx.position;
                check_record(&model.entries()[position as usize - 1], record)?;
                match replayed {
                    true => Answer::Replayed(position),
                    false => Answer::Decided(position),
                }
            }
            Reply::KeyConflict { position } => Answer::KeyConflict(*position),
            Reply::GroupKeyConflict => Answer::GroupConflict,
            Reply::NotQueued(_) => Answer::NotQueued,
        };
        if real != *answer {
            return Err(format!(
                "answered {real:?}, the model {answer:?} of {:?}",
                real.position().map(|at| &model.entries()[at as usize - 1])
            ));
        }
    }
    Ok(())
}
