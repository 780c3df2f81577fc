//! Crash simulation: power failures, full disks and failed syncs at random operations of the disk, again and again, over one journal.
//!
//! An engine runs on a simulated disk until something ends it. The next engine opens what is left. After every crash, every
//! given answer still holds, no record exists twice, a request without an answer is sent again with the
//! same keys and is decided once, and the state equals the model's state after the surviving records.

use std::collections::BTreeMap;
use std::sync::Arc;

use tributary_engine::{Backend, Clock as _, Embedded, Failure, Refused, Reply, Stepped, Stepper};
use tributary_journal::{self as journal, OpenError};
use tributary_ledger::codec::Record;
use tributary_ledger::{Body, Command, Rejection, Text};

use crate::backends::{cluster_meta, small_segments};
use crate::clock::{SteppingTime, TestClock};
use crate::disk::{Fault, SimDisk};
use crate::lockstep::{
    QUEUE_LENGTH_MAX, check_replies, expire_command, next_to_run, system_command,
};
use crate::model::{Answer, Model, check_record, check_set};
use crate::random::Random;
use crate::read_checks;
use crate::workload::Workload;

/// Time at which the simulation begins, nanoseconds since the Unix epoch.
const BEGIN: u64 = 1_780_000_000_000_000_000;
/// Nanoseconds in a millisecond.
const MILLISECOND: u64 = 1_000_000;
/// Maximum number of operations of the disk before a fault.
const OPERATIONS_MAX: u64 = 250;
/// Maximum number of steps before an engine is closed.
const STEPS_MAX: u64 = 120;
/// Size of a text that fills the disk, bytes.
const LONG_TEXT_BYTES: usize = 3_000;
/// Number of records after which a batch is submitted.
const BATCH_RECORDS_MAX: u64 = 60;

/// Counts of what happened: a simulation that never met a fault proves nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct CrashReport {
    /// Engines that were started.
    pub lives: u64,
    /// Power failures.
    pub power_off: u64,
    /// Power failures or errors before the engine had started.
    pub during_start: u64,
    /// Engines that stopped because of a write or sync that failed.
    pub broken: u64,
    /// Engines that were killed.
    pub killed: u64,
    /// Requests refused because the disk was full.
    pub refused_full: u64,
    /// Times that an engine took requests again after the disk had been full.
    pub resumed: u64,
    /// Bytes of unfinished writes that were cut.
    pub cut_bytes: u64,
    /// Queued payments that were run.
    pub ran: u64,
    /// Checkpoints that were finished.
    pub checkpoints: u64,
    /// Records at the end.
    pub records: u64,
    /// Records that survived although no answer was given.
    pub unacknowledged_survived: u64,
    /// Commands that were sent again after a crash.
    pub retried: u64,
    /// Segments at the end.
    pub segments: u64,
}

struct PendingRequest {
    commands: Vec<Command>,
    stepped: Stepped,
    answers: Vec<Answer>,
}

struct World {
    random: Random,
    disk: SimDisk,
    clock: TestClock,
    /// What the clock shows, unless it was set back.
    time: SteppingTime,
    workload: Workload,
    model: Model,
    /// Time of the open batch, and the model's position when it began.
    open: Option<(u64, u64)>,
    last_time: u64,
    pending: Vec<PendingRequest>,
    /// Requests without an answer.
    unanswered: Vec<Vec<Command>>,
    /// Texts of the requested commands, by digest: a command that the actor is not allowed to make is recorded without its text.
    texts: BTreeMap<[u8; 16], Text>,
    /// Records that were seen to be durable, which must never change.
    durable: BTreeMap<u64, Record>,
    /// Position up to which answers were given.
    acknowledged: u64,
    report: CrashReport,
}

/// Runs `lives` engines one after the other. Panics if a promise is broken.
pub fn run(seed: u64, lives: u64) -> CrashReport {
    let mut world = World {
        random: Random::new(seed),
        disk: SimDisk::new(seed),
        clock: TestClock::starting_at(BEGIN),
        time: SteppingTime::starting_at(BEGIN),
        workload: Workload::new(seed),
        model: Model::default().with_queue_length_max(QUEUE_LENGTH_MAX),
        open: None,
        last_time: 0,
        pending: Vec::new(),
        unanswered: Vec::new(),
        texts: BTreeMap::new(),
        durable: BTreeMap::new(),
        acknowledged: 0,
        report: CrashReport::default(),
    };
    for _ in 0..lives {
        world.run_engine();
    }
    world.run_last_engine();
    world.report
}

/// How an engine ended.
enum EngineEnd {
    Closed,
    Dead,
}

impl World {
    fn run_engine(&mut self) {
        self.report.lives += 1;
        self.place_fault();
        let Some(mut stepper) = self.start() else {
            self.report.during_start += 1;
            return self.take_surviving_disk();
        };
        match self.serve(&mut stepper) {
            EngineEnd::Closed => {
                stepper.close();
                self.take_surviving_disk();
            }
            EngineEnd::Dead => {
                drop(stepper);
                self.take_surviving_disk();
            }
        }
    }

    /// Runs the last engine, without faults: all unanswered requests are sent again, and everything is compared.
    fn run_last_engine(&mut self) {
        let survivor = self.disk.crash(self.random.any());
        self.disk = survivor;
        self.disk.set_capacity(u64::MAX);
        let mut stepper = self.start().expect("nothing is in the way");
        self.retry(&mut stepper);
        self.settle(&mut stepper);
        assert!(self.unanswered.is_empty(), "everything is answered");
        read_checks::check_everything(&self.model, &stepper.reader(), &mut self.random)
            .expect("reads agree");
        while stepper.idle() {}
        self.report.records = self.model.position();
        let head = stepper.reader().head();
        stepper.close();
        let mut count = 0;
        let report = journal::scan(&*self.disk.disk(), &Default::default(), &mut |_| {
            count += 1;
            std::ops::ControlFlow::Continue(())
        })
        .expect("a clean journal");
        assert_eq!(
            (report.head, report.tail_bytes),
            (head, 0),
            "a whole journal"
        );
        assert_eq!(count, head.position, "every record once");
        self.report.segments = report.segments;
    }

    fn place_fault(&mut self) {
        let at = self.disk.operations() + self.random.below(OPERATIONS_MAX);
        match self.random.below(10) {
            0..=5 => self.disk.inject(at, Fault::PowerOff),
            6 => self.disk.inject(at, Fault::Broken),
            7 => self.disk.inject(at, Fault::StorageFull),
            _ => {}
        }
    }

    /// Replaces the disk by what the next engine finds.
    fn take_surviving_disk(&mut self) {
        for asked in std::mem::take(&mut self.pending) {
            self.unanswered.push(asked.commands);
        }
        self.open = None;
        if self.disk.is_off() {
            self.report.power_off += 1;
        } else if self.random.chance(50) {
            // Only the process ended: what it wrote is there to be read, synced or not.
            return;
        }
        let capacity_left = self.random.chance(90);
        self.disk = self.disk.crash(self.random.any());
        if capacity_left {
            self.disk.set_capacity(u64::MAX);
        }
    }

    /// Opens the journal. Returns none if the disk failed again meanwhile.
    fn start(&mut self) -> Option<Stepper> {
        let disk = self.disk.disk();
        match journal::create(&disk, &small_segments(), &cluster_meta()) {
            Ok(()) | Err(OpenError::AlreadyExists) => {}
            Err(OpenError::Io(_)) => return None,
            Err(error) => panic!("create: {error}"),
        }
        let backend = match Embedded::open_inline(disk, small_segments()) {
            Ok(backend) => backend,
            Err(OpenError::Io(_)) => return None,
            Err(error) => panic!("open after {:?}: {error}", self.report),
        };
        self.report.cut_bytes += backend.recovery().cut_bytes;
        let reader = Backend::reader(&backend);
        let stepper = match Stepper::start(Box::new(backend), Arc::new(self.clock.clone())) {
            Ok(stepper) => stepper.with_queue_length_max(QUEUE_LENGTH_MAX),
            Err(Failure::Unavailable(_)) if self.disk.is_off() => return None,
            Err(failure) => panic!("recover: {failure}"),
        };
        let head = reader.head().timestamp;
        drop(reader);
        self.resync(&stepper);
        self.time.restart(head, self.model.time_offset().0);
        self.clock.set(self.time.now());
        Some(stepper)
    }

    /// Builds the model again from the journal, and checks that no acknowledged record is lost or changed.
    fn resync(&mut self, stepper: &Stepper) {
        let reader = stepper.reader();
        let head = reader.head().position;
        assert!(
            head >= self.acknowledged,
            "{} records are left and {} were acknowledged",
            head,
            self.acknowledged
        );
        self.model = Model::default().with_queue_length_max(QUEUE_LENGTH_MAX);
        self.open = None;
        let mut unit: Vec<Command> = Vec::new();
        let mut records: Vec<Record> = Vec::new();
        for position in 1..=head {
            let record = reader
                .record(position)
                .unwrap_or_else(|failure| panic!("record {position}: {failure}"))
                .unwrap_or_else(|| panic!("record {position} is missing"));
            if let Some(before) = self.durable.get(&position) {
                assert_eq!(&record, before, "record {position} changed");
            }
            let mut asked = record.command.clone();
            let refused = record.outcome.rejection;
            if refused.is_some_and(Rejection::concerns_actor) {
                asked.text = self.texts.get(&record.digest).cloned();
            }
            unit.push(asked);
            if !record.command.linked {
                self.model.replay(&unit, record.ctx.timestamp);
                unit.clear();
            }
            records.push(record);
        }
        assert!(unit.is_empty(), "half of a group survived");
        for (entry, record) in self.model.entries().iter().zip(&records) {
            check_record(entry, record).unwrap_or_else(|why| panic!("after recovery: {why}"));
        }
        let known = self.durable.last_key_value().map_or(0, |(last, _)| *last);
        self.report.unacknowledged_survived += head - known;
        self.last_time = records.last().map_or(0, |record| record.ctx.timestamp);
        self.durable = (1..).zip(records).collect();
        check_set(&self.model, &stepper.published())
            .unwrap_or_else(|why| panic!("after recovery: {why}"));
        check_set(&self.model, stepper.set()).unwrap_or_else(|why| panic!("after recovery: {why}"));
    }

    fn serve(&mut self, stepper: &mut Stepper) -> EngineEnd {
        self.retry(stepper);
        let steps = 1 + self.random.below(STEPS_MAX);
        for _ in 0..steps {
            if self.disk.is_off() {
                self.collect_replies(stepper);
                return EngineEnd::Dead;
            }
            if stepper.failed().is_some() {
                self.report.broken += u64::from(!self.disk.is_off());
                self.check_refuses_all(stepper);
                return EngineEnd::Dead;
            }
            self.step(stepper);
        }
        if self.random.chance(50) {
            self.report.killed += 1;
            return EngineEnd::Dead;
        }
        self.settle(stepper);
        EngineEnd::Closed
    }

    fn step(&mut self, stepper: &mut Stepper) {
        match self.random.below(100) {
            0..=49 => {
                let commands = self.workload.request(&self.model, self.next_time());
                self.send_request(stepper, commands);
            }
            50..=66 => self.submit(stepper),
            67..=76 => {
                stepper.land();
                self.collect_replies(stepper);
            }
            77..=82 => {
                let by = self.random.below(6_000) * MILLISECOND;
                if self.random.chance(10) {
                    self.clock.set(self.clock.now() - by);
                } else {
                    self.time.advance_randomly(by, &mut self.random);
                    self.clock.set(self.time.now());
                }
            }
            83..=84 => self.expire(stepper),
            85 => self.run_queue(stepper),
            86..=89 => {
                stepper.idle();
            }
            90..=91 => {
                // A full disk, or a broken one, costs the checkpoint and nothing else.
                let _failed = stepper.begin_checkpoint(self.disk.disk());
            }
            92..=93 => self.fill_the_disk(stepper),
            94..=96 => self.retry(stepper),
            _ => {
                self.settle(stepper);
                if stepper.failed().is_none() && !self.disk.is_off() {
                    read_checks::check_random_pages(
                        &self.model,
                        &stepper.reader(),
                        &mut self.random,
                    )
                    .unwrap_or_else(|why| panic!("{why}"));
                }
            }
        }
        if let Ok(true) = stepper.step_checkpoint(4) {
            self.report.checkpoints += 1;
        }
    }

    fn next_time(&self) -> u64 {
        match self.open {
            Some((time, _)) => time,
            None => self.clock.now().max(self.last_time),
        }
    }

    fn send_request(&mut self, stepper: &mut Stepper, commands: Vec<Command>) {
        let time = self.next_time();
        for (at, command) in commands.iter().enumerate() {
            if let Some(text) = &command.text {
                // Nothing follows the last command of a request, so it is recorded as not linked.
                let mut recorded = command.clone();
                recorded.linked &= at + 1 < commands.len();
                self.texts.insert(recorded.digest(), text.clone());
            }
        }
        let stepped = stepper.accept(commands.clone());
        if let Some(answer) = stepper.answer(&stepped) {
            // Answered at once: refused, nothing of it remains.
            match answer {
                Err(Refused::StorageFull) => self.report.refused_full += 1,
                Err(_) if stepper.failed().is_some() || self.disk.is_off() => {}
                other => panic!("answered before it was durable: {other:?}"),
            }
            self.unanswered.push(commands);
            return;
        }
        let (_, first) = *self.open.get_or_insert((time, self.model.position()));
        let answers = self.model.request(&commands, time);
        self.pending.push(PendingRequest {
            commands,
            stepped,
            answers,
        });
        if self.model.position() - first >= BATCH_RECORDS_MAX {
            self.submit(stepper);
        }
    }

    fn submit(&mut self, stepper: &mut Stepper) {
        stepper.submit();
        if let Some((time, before)) = self.open.take()
            && self.model.position() > before
        {
            self.last_time = time;
        }
        self.collect_replies(stepper);
    }

    fn settle(&mut self, stepper: &mut Stepper) {
        stepper.settle();
        self.submit(stepper);
        if self.time.set_offset(self.model.time_offset().0) {
            self.clock.set(self.time.now());
        }
    }

    /// Takes the replies that arrived. If a batch was not written, the model goes back to the state of the journal.
    fn collect_replies(&mut self, stepper: &mut Stepper) {
        let mut lost = false;
        for asked in std::mem::take(&mut self.pending) {
            match stepper.answer(&asked.stepped) {
                None => self.pending.push(asked),
                Some(Ok(replies)) => self.acknowledge(&asked, replies),
                Some(Err(refused)) => {
                    if matches!(refused, Refused::StorageFull) {
                        self.report.refused_full += 1;
                    }
                    lost = true;
                    self.unanswered.push(asked.commands);
                }
            }
        }
        if lost && !self.disk.is_off() && stepper.failed().is_none() {
            assert!(
                self.pending.is_empty(),
                "what follows a lost batch is lost too"
            );
            self.resync(stepper);
        }
    }

    fn acknowledge(&mut self, asked: &PendingRequest, replies: Vec<Reply>) {
        for reply in &replies {
            let Reply::Done { record, .. } = reply else {
                continue;
            };
            let position = record.ctx.position;
            self.acknowledged = self.acknowledged.max(position);
            let known = self.durable.entry(position);
            let known = known.or_insert_with(|| (**record).clone());
            assert_eq!(*known, **record, "an answer that does not last");
        }
        check_replies(&self.model, &asked.answers, Ok(replies))
            .unwrap_or_else(|why| panic!("{why}, asked for {:?}", asked.commands));
    }

    /// Sends all unanswered requests again, with the same keys. Settings are derived anew.
    fn retry(&mut self, stepper: &mut Stepper) {
        for mut commands in std::mem::take(&mut self.unanswered) {
            self.report.retried += commands.len() as u64;
            for command in &mut commands {
                self.workload.derive_again(command);
            }
            self.send_request(stepper, commands);
        }
    }

    fn expire(&mut self, stepper: &mut Stepper) {
        self.settle(stepper);
        if stepper.failed().is_some() || self.disk.is_off() || stepper.storage_full() {
            return;
        }
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
        if due.is_empty() {
            return;
        }
        // The timers' own way is tested in lockstep; here the same commands are asked for, to hear what becomes of them.
        let commands = due.iter().map(|(_, id)| expire_command(*id, now)).collect();
        self.send_request(stepper, commands);
    }

    /// Like [`Self::expire`], for queued payments.
    fn run_queue(&mut self, stepper: &mut Stepper) {
        self.settle(stepper);
        if stepper.failed().is_some() || self.disk.is_off() || stepper.storage_full() {
            return;
        }
        let now = self.clock.now();
        let next = next_to_run(&self.model, self.next_time());
        assert_eq!(
            stepper.reader().queue_length(),
            self.model
                .payments()
                .values()
                .filter(|one| one.queue.is_some())
                .count(),
            "what was accepted waits, through every crash"
        );
        if next.is_empty() {
            return;
        }
        let command = |id: &u64| system_command("run", *id, now, Body::Run);
        let commands: Vec<Command> = next.iter().map(command).collect();
        self.report.ran += commands.len() as u64;
        self.send_request(stepper, commands);
    }

    /// Fills the disk for a while: requests are refused, reads work, and afterwards requests work again.
    fn fill_the_disk(&mut self, stepper: &mut Stepper) {
        self.settle(stepper);
        // On half of the file systems nothing can be written then, even where space was reserved.
        self.disk.set_copy_on_write(self.random.chance(50));
        self.disk.set_capacity(self.disk.used());
        let mut refused = false;
        for _ in 0..200 {
            if self.disk.is_off() || stepper.failed().is_some() {
                return self.disk.set_capacity(u64::MAX);
            }
            let before = self.report.refused_full;
            let mut commands = self.workload.request(&self.model, self.next_time());
            for command in &mut commands {
                command.text = Some(
                    Text::new(Text::PLAIN, &[b'x'; LONG_TEXT_BYTES]).expect("it is short enough"),
                );
            }
            self.send_request(stepper, commands);
            self.settle(stepper);
            if self.report.refused_full > before {
                refused = true;
                break;
            }
        }
        if self.disk.is_off() || stepper.failed().is_some() {
            return self.disk.set_capacity(u64::MAX);
        }
        assert!(refused, "a full disk is noticed");
        read_checks::check_random_pages(&self.model, &stepper.reader(), &mut self.random)
            .unwrap_or_else(|why| panic!("on a full disk: {why}"));
        self.disk.set_capacity(u64::MAX);
        // The second time because a fault that was placed here may say once more that the disk is full.
        for _ in 0..2 {
            self.retry(stepper);
            self.settle(stepper);
        }
        if !self.disk.is_off() && stepper.failed().is_none() {
            assert!(!stepper.storage_full(), "there is space again");
            self.report.resumed += 1;
        }
    }

    /// Checks that a failed engine accepts no requests.
    fn check_refuses_all(&mut self, stepper: &mut Stepper) {
        self.collect_replies(stepper);
        let commands = self.workload.request(&self.model, self.next_time());
        let stepped = stepper.accept(commands);
        assert!(
            matches!(stepper.answer(&stepped), Some(Err(Refused::Unavailable(_)))),
            "a failed engine goes on"
        );
    }
}
