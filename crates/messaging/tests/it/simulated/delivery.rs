//! The plug pulled at any operation of the disk, under the journal and the delivery log together: every event that matched is
//! delivered at least once, what was kept as done is not delivered again, and the order of an object holds, whatever the wall clock
//! shows. The history may lack attempts, and has none that was not made.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tributary_engine::{AlwaysGranted, Clock, Reader, SteeredClock};
use tributary_ledger::codec::RecordRef;
use tributary_ledger::{
    AccountId, Body, Command, FORMAT_VERSION, Pay, PaymentId, Queue, QueueTerms, ReplyTo,
    SettingId, event_type,
};
use tributary_messaging::{
    AttemptEnd, AttemptQuery, Backoff, Messaging, Order, Pattern, Policy, Receipt,
    SubscriptionContent, SubscriptionId,
};
use tributary_testkit::clock::TestClocks;
use tributary_testkit::commands::{BEGIN, SECOND, command, hold, open, pay};
use tributary_testkit::disk::{Fault, SimDisk};
use tributary_testkit::random::Random;
use tributary_testkit::seeds::{ReplayHint, Seeds};

use crate::core::subscription;
use crate::support::{Life, put, revision};

/// Engines that live one after the other on the disk of one seed.
const LIVES: u64 = 10;
/// Steps of one of them, at most.
const STEPS_MAX: u64 = 150;
/// Operations of the disk before something goes wrong, at most.
const OPERATIONS_MAX: u64 = 120;
/// After so many attempts an event is dead.
const ATTEMPTS_MAX: u32 = 4;

/// One in any order, one in the order of objects, one that queued payments name and that wants nothing else, and one whose filter
/// changes all the time.
const IDS: [SubscriptionId; 4] = [SubscriptionId(1), SubscriptionId(2), MAILBOX, CHANGING];
const MAILBOX: SubscriptionId = SubscriptionId(3);
const CHANGING: SubscriptionId = SubscriptionId(4);
/// The filters that it has in turn.
const FILTERS: [&str; 4] = ["account.#", "payment.#", "#", "subscription.*"];

/// What happened to the events of one subscription.
#[derive(Default)]
struct Seen {
    made: bool,
    delivered: BTreeSet<u64>,
    acked: BTreeSet<u64>,
    /// In this life.
    acked_now: BTreeSet<u64>,
    /// Acknowledged, and then the log was written.
    certain: BTreeSet<u64>,
    /// Attempts under way in this life.
    out: BTreeMap<u64, Receipt>,
    receipts: BTreeSet<Receipt>,
}

#[derive(Default, Debug, Clone, Copy)]
struct Happened {
    power_off: u64,
    killed: u64,
    delivered: u64,
    again: u64,
    dead: u64,
    stale: u64,
    unkept: u64,
    remembered: u64,
    told: u64,
    /// A subscription was behind by three revisions or more.
    far_behind: u64,
    /// A batch held other records before and after one that changed a filter.
    divided: u64,
    logs_lost: u64,
    /// Times that the wall clock was set.
    steps: u64,
}

struct World {
    random: Random,
    /// Numbers of the processes.
    processes: Random,
    disk: SimDisk,
    /// Clocks of the machine. The wall clock is set to anything at any moment.
    clocks: TestClocks,
    clock: Arc<SteeredClock<TestClocks>>,
    /// Right time at a running time of 0, nanoseconds since the Unix epoch.
    begun: u64,
    keys: u64,
    /// What each event is about, as far as it was looked up.
    objects: Vec<u64>,
    /// Those by which a payment left the queue that names the mailbox.
    told: BTreeSet<u64>,
    seen: [Seen; 4],
    /// The type of each event, as far as it was looked up.
    types: Vec<String>,
    /// The position of each revision of [`CHANGING`], and its filter.
    revisions: Vec<(u64, Pattern)>,
    happened: Happened,
}

fn policy(at: usize) -> Policy {
    Policy {
        order: [Order::None, Order::Object, Order::None, Order::Object][at],
        attempts_max: ATTEMPTS_MAX,
        backoff: Backoff::List(vec![SECOND]),
        jitter: 0,
        in_flight_max: 20,
        ..Policy::default()
    }
}

/// What the event at `position` is about, and whether it is for the mailbox.
fn object_of(reader: &Reader, position: u64) -> (u64, bool) {
    let record = reader
        .record(position)
        .expect("it can be read")
        .expect("it is there");
    let told = record.outcome.reply_to.is_some();
    let object = match record.command.body {
        Body::Void(PaymentId(payment)) | Body::Run(PaymentId(payment)) => payment,
        Body::FreezeAccount(AccountId(account)) | Body::UnfreezeAccount(AccountId(account)) => {
            account
        }
        Body::PutSetting(_) => {
            let change = record.outcome.setting;
            // A refused one is about nothing.
            change.map_or(u64::MAX - position, |change| change.created.position)
        }
        _ => position,
    };
    (object, told)
}

/// A payment that is queued and names the mailbox: it goes through, or has too little money, or waits for a while.
fn queued(key: &str, amount: u64, not_before: u64) -> Command {
    let terms = QueueTerms {
        not_before,
        reply_to: ReplyTo::new(MAILBOX.0),
        ..QueueTerms::default()
    };
    let queue = Queue {
        terms,
        ..Queue::default()
    };
    let pay = Pay {
        queue: Some(Box::new(queue)),
        ..pay(1, 2, amount)
    };
    command(key, Body::Pay(pay))
}

impl World {
    fn start(&mut self) -> Option<Life> {
        Life::start_with(
            self.disk.disk(),
            self.clock.clone(),
            Arc::new(AlwaysGranted),
            self.processes.any(),
        )
    }

    fn live(&mut self) {
        let at = self.disk.operations() + self.random.below(OPERATIONS_MAX);
        match self.random.below(10) {
            0..=5 => self.disk.inject(at, Fault::PowerOff),
            6 => self.disk.inject(at, Fault::Broken),
            7 => self.disk.inject(at, Fault::StorageFull),
            _ => {}
        }
        if let Some(mut stepper) = self.start() {
            let steps = self.random.below(STEPS_MAX);
            for _ in 0..steps {
                if self.disk.is_off() || stepper.failed().is_some() {
                    break;
                }
                self.step(&mut stepper);
            }
        }
        self.happened.power_off += u64::from(self.disk.is_off());
        self.happened.killed += u64::from(!self.disk.is_off());
        if self.disk.is_off() || self.random.one_in(2) {
            self.disk = self.disk.crash(self.random.any());
        }
        // A process takes its time to start.
        self.clocks.advance(SECOND);
        if self.random.one_in(6) {
            self.lose_log();
        }
        for seen in &mut self.seen {
            seen.out.clear();
            seen.acked_now.clear();
        }
    }

    /// Without the delivery log every subscription is still there, and what is not known to be delivered comes again.
    fn lose_log(&mut self) {
        for file in self.disk.files().into_keys() {
            if file.starts_with("delivery/") {
                self.disk.delete(&file);
                self.happened.logs_lost += 1;
            }
        }
        for seen in &mut self.seen {
            seen.certain.clear();
        }
    }

    /// The revision of [`CHANGING`] that matches the event at `position`: none if there is none.
    fn pattern_at(&self, position: u64) -> &Pattern {
        let mut before = self.revisions.iter().rev();
        let found = before.find(|(revision, _)| *revision < position);
        &found.unwrap_or(&self.revisions[0]).1
    }

    /// Whether a subscription wants the event at `position`.
    fn wants(&self, id: SubscriptionId, position: u64) -> bool {
        match id {
            MAILBOX => self.told.contains(&position),
            CHANGING => {
                let matches = self.pattern_at(position);
                matches.matches(&self.types[position as usize - 1])
            }
            _ => true,
        }
    }

    /// Looks up what happened since the last time.
    fn look_up(&mut self, reader: &Reader) {
        let mut payload = Vec::new();
        for position in self.objects.len() as u64 + 1..=reader.published() {
            let (object, told) = object_of(reader, position);
            self.objects.push(object);
            if told {
                self.told.insert(position);
            }
            let read = reader.payload(position, &mut payload);
            assert!(read.expect("it can be read"), "it is there");
            let record = RecordRef::parse(&payload, FORMAT_VERSION).expect("a record");
            self.types.push(event_type(&record).to_owned());
            let Some(setting) = record
                .setting()
                .filter(|one| one.id == SettingId(CHANGING.0))
            else {
                continue;
            };
            if record.setting_change().is_some() {
                let content = SubscriptionContent::decode(setting.body).expect("it is one");
                let pattern = content.terms.filter.patterns[0].clone();
                self.revisions.push((position, pattern));
            }
        }
    }

    fn step(&mut self, stepper: &mut Life) {
        match self.random.below(20) {
            0..=4 => self.ask(stepper),
            5..=6 => stepper.settle(),
            7 => {
                stepper.run_queue();
            }
            8..=10 => {
                self.look_up(&stepper.reader());
                let scanned = self.messaging(stepper).figures(CHANGING);
                let scanned = scanned.map_or(u64::MAX, |(figures, _)| figures.scanned);
                let passed = self.revisions.iter().filter(|(at, _)| *at > scanned);
                self.happened.far_behind += u64::from(passed.count() >= 3);
                self.messaging(stepper).step();
            }
            11..=13 => self.take(stepper, 10),
            14..=15 => self.ack(stepper, 50),
            16 => self.nack(stepper),
            17 => self.pass_time(),
            18 => self.keep(stepper),
            _ => self.make(stepper),
        }
        assert!(self.messaging(stepper).within_bounds());
    }

    /// Lets time pass, and now and then sets the wall clock: by hours, by seconds, or right again. Sometimes it stays there until it is
    /// followed.
    fn pass_time(&mut self) {
        self.clocks.advance(self.random.below(20) * SECOND / 2);
        let error = self.random.below(4 * 3_600) as i64 * SECOND as i64;
        let error = match self.random.below(12) {
            0 => error,
            1 => -error,
            2 => error / 300,
            3 => -error / 300,
            4 => 0,
            5 => {
                return (0..70).for_each(|_| {
                    self.clocks.advance(9 * SECOND);
                    self.clock.now();
                });
            }
            _ => return,
        };
        self.happened.steps += 1;
        let right = self.begun + self.clock.running();
        self.clocks
            .step_wall((right as i64 + error) - self.clocks.wall() as i64);
        self.clock.now();
    }

    fn messaging<'a>(&self, stepper: &'a Life) -> &'a Messaging {
        &stepper.messaging
    }

    /// Accounts are opened, frozen and unfrozen; money is held and released.
    fn ask(&mut self, stepper: &mut Life) {
        for _ in 0..=self.random.below(6) {
            self.keys += 1;
            let key = format!("key-{}", self.keys);
            let some = 1 + self.random.below(stepper.reader().published() + 1);
            let asked = match self.random.below(8) {
                _ if self.keys <= 2 => open(&key, "someone"),
                0 => open(&key, "someone"),
                1 => command(&key, Body::FreezeAccount(AccountId(1 + some % 3))),
                2 => command(&key, Body::UnfreezeAccount(AccountId(1 + some % 3))),
                3 => command(&key, hold(1, 2, 100, BEGIN * 2)),
                4 => {
                    let later = self.clock.now() + self.random.below(8) * SECOND;
                    queued(&key, 1 + self.random.below(2) * 100_000_000, later)
                }
                _ => command(&key, Body::Void(PaymentId(some))),
            };
            stepper.accept(vec![asked]);
        }
    }

    /// Has subscriptions created that are not there, and the filter of one changed, amid other commands.
    fn make(&mut self, stepper: &mut Life) {
        for (at, id) in IDS.into_iter().enumerate() {
            self.keys += 1;
            let key = format!("make-{}", self.keys);
            let replaces = revision(&stepper.reader(), id);
            let there = stepper.messaging.get(id).is_some();
            assert_eq!(
                there,
                replaces > 0,
                "a subscription is lost, or of no setting"
            );
            assert!(there || !self.seen[at].made, "a subscription is lost");
            self.seen[at].made |= there;
            let mut made = subscription(id, policy(at));
            match id {
                MAILBOX => made.terms.filter.patterns.clear(),
                CHANGING => {
                    let pattern = FILTERS[self.keys as usize % FILTERS.len()];
                    made.terms.filter.patterns = vec![Pattern::new(pattern).expect("a pattern")];
                }
                _ => {}
            }
            if !there || id == CHANGING {
                self.ask(stepper);
                stepper.accept(vec![put(&key, &made, Some(0), replaces)]);
                self.ask(stepper);
                self.happened.divided += u64::from(there);
            }
        }
    }

    fn take(&mut self, stepper: &Life, max: usize) {
        let reader = stepper.reader();
        self.look_up(&reader);
        for (at, id) in IDS.into_iter().enumerate() {
            let messaging = &stepper.messaging;
            let Ok(taken) = messaging.take(id, max, Some(5 * SECOND)) else {
                assert!(!self.seen[at].made, "a subscription is lost");
                continue;
            };
            let (dead, _) = messaging.dead(id, 0, 100_000).expect("it is there");
            let dead: BTreeSet<u64> = dead.into_iter().map(|(position, _)| position).collect();
            // While the log can't be written, new dead letters are not listed.
            let (figures, _) = messaging.figures(id).expect("it is there");
            let unlisted = figures.dead > dead.len() as u64;
            for delivery in &taken {
                let position = delivery.position;
                assert!(position <= reader.published(), "it is not known yet");
                assert!(self.wants(id, position), "{id:?} does not want {position}");
            }
            let objects = &self.objects;
            let object = |position: u64| objects[position as usize - 1];
            let wanted: Vec<bool> = (1..=reader.published())
                .map(|position| self.wants(id, position))
                .collect();
            let seen = &mut self.seen[at];
            for delivery in taken {
                let position = delivery.position;
                assert!(
                    !seen.certain.contains(&position),
                    "{position} was done for certain"
                );
                assert!(
                    seen.receipts.insert(delivery.receipt),
                    "a receipt is given once"
                );
                self.happened.delivered += 1;
                let first = seen.delivered.insert(position);
                self.happened.again += u64::from(!first);
                if policy(at).order == Order::Object {
                    let about = object(position);
                    let earlier = (1..position)
                        .filter(|other| object(*other) == about && wanted[*other as usize - 1]);
                    for other in earlier {
                        let settled = seen.acked.contains(&other) || dead.contains(&other);
                        assert!(
                            settled || unlisted,
                            "{id:?}: {position} came before {other} was done, {figures:?}, delivered {}, {:?}",
                            seen.delivered.contains(&other),
                            self.revisions
                        );
                        // A receiver may not know yet that its time is over.
                        let over =
                            |receipt: &Receipt| messaging.extend(id, *receipt, SECOND).is_err();
                        assert!(seen.out.get(&other).is_none_or(over), "{other} is out");
                    }
                }
                seen.out.insert(position, delivery.receipt);
            }
        }
    }

    fn ack(&mut self, stepper: &Life, percent: u64) {
        for (at, id) in IDS.into_iter().enumerate() {
            let random = &mut self.random;
            let mut receipts: Vec<Receipt> = self.seen[at].out.values().copied().collect();
            receipts.retain(|_| random.chance(percent));
            let Ok(results) = self.messaging(stepper).ack(id, &receipts) else {
                continue;
            };
            let seen = &mut self.seen[at];
            for (receipt, result) in receipts.iter().zip(results) {
                seen.out.remove(&receipt.position);
                match result {
                    Ok(()) => {
                        seen.acked_now.insert(receipt.position);
                        seen.acked.insert(receipt.position)
                    }
                    Err(_) => {
                        self.happened.stale += 1;
                        false
                    }
                };
            }
        }
    }

    fn nack(&mut self, stepper: &Life) {
        for (at, id) in IDS.into_iter().enumerate() {
            let Some((&position, &receipt)) = self.seen[at].out.first_key_value() else {
                continue;
            };
            let _stale = self.messaging(stepper).nack(id, receipt, None, "it failed");
            self.seen[at].out.remove(&position);
        }
    }

    /// Writes progress down; what was acknowledged must not come again then.
    fn keep(&mut self, stepper: &Life) {
        let messaging = self.messaging(stepper);
        messaging.close();
        if !messaging.log_is_written() {
            self.happened.unkept += 1;
            return;
        }
        for seen in &mut self.seen {
            seen.certain.append(&mut seen.acked_now);
        }
    }

    fn last_life(&mut self) {
        self.disk = self.disk.crash(self.random.any());
        let mut stepper = self.start().expect("nothing is in the way");
        while IDS.iter().any(|id| stepper.messaging.get(*id).is_none()) {
            self.make(&mut stepper);
            stepper.settle();
        }
        stepper.settle();
        let head = stepper.reader().published();
        for _ in 0..head + 1_000 {
            let wait = self.messaging(&stepper).step();
            self.take(&stepper, 50);
            self.ack(&stepper, 100);
            self.clocks.advance(SECOND);
            let out = self.seen.iter().any(|seen| !seen.out.is_empty());
            if !wait.is_zero() && !out && self.idle(&stepper) {
                break;
            }
        }
        for (at, id) in IDS.into_iter().enumerate() {
            let messaging = self.messaging(&stepper);
            let (figures, stalled) = messaging.figures(id).expect("it is there");
            assert_eq!((figures.waiting, figures.in_flight), (0, 0), "{figures:?}");
            assert_eq!((figures.scanned, stalled), (head, None));
            let (dead, _) = messaging.dead(id, 0, 100_000).expect("it is there");
            self.happened.dead += dead.len() as u64;
            for (position, letter) in &dead {
                // One whose last attempt was cut short by a crash gets another.
                assert!(letter.attempt >= ATTEMPTS_MAX, "{position}: {letter:?}");
                assert!(!letter.history.is_empty());
            }
            let dead: BTreeSet<u64> = dead.into_iter().map(|(position, _)| position).collect();
            for position in (1..=head).filter(|position| self.wants(id, *position)) {
                let seen = &self.seen[at];
                assert!(seen.delivered.contains(&position), "{position} never came");
                let settled = seen.acked.contains(&position) || dead.contains(&position);
                assert!(settled, "{position} was neither done nor dead");
            }
        }
        self.check_history(&stepper);
        self.happened.told = self.told.len() as u64;
        self.messaging(&stepper).close();
        stepper.stepper.close();
    }

    fn check_history(&mut self, stepper: &Life) {
        for (at, id) in IDS.into_iter().enumerate() {
            let found = self.messaging(stepper).attempts(&AttemptQuery {
                is_visible: &|_| true,
                subscription: Some(id),
                events: None,
                acknowledged: None,
                before: None,
                limit: 1_000_000,
            });
            let seen = &self.seen[at];
            for attempt in &found.attempts {
                assert!(seen.delivered.contains(&attempt.position), "{attempt:?}");
                let acked = attempt.end == AttemptEnd::Acknowledged;
                assert!(!acked || seen.acked.contains(&attempt.position));
                assert!(attempt.began <= attempt.ended && attempt.attempt > 0);
            }
            self.happened.remembered += found.attempts.len() as u64;
        }
    }

    fn idle(&self, stepper: &Life) -> bool {
        let head = stepper.reader().published();
        IDS.into_iter().all(|id| {
            let (figures, _) = self.messaging(stepper).figures(id).expect("it is there");
            figures.waiting == 0 && figures.scanned == head
        })
    }
}

fn run(seed: u64) -> Happened {
    let clocks = TestClocks::starting_at(BEGIN);
    let clock = Arc::new(SteeredClock::new(clocks.clone()));
    let mut world = World {
        random: Random::new(seed),
        processes: Random::new(!seed),
        disk: SimDisk::new(seed),
        begun: BEGIN - clock.running(),
        clocks,
        clock,
        keys: 0,
        objects: Vec::new(),
        told: BTreeSet::new(),
        seen: Default::default(),
        types: Vec::new(),
        revisions: Vec::new(),
        happened: Happened::default(),
    };
    for _ in 0..LIVES {
        world.live();
    }
    world.last_life();
    world.happened
}

#[test]
fn every_event_comes_at_least_once_whatever_crashes() {
    let mut all = Vec::new();
    for seed in Seeds::for_test("delivery", 12) {
        let _replay = ReplayHint {
            test: "delivery",
            seed,
        };
        let happened = run(seed);
        eprintln!("seed {seed}: {happened:?}");
        all.push(happened);
    }
    let sum = |of: fn(&Happened) -> u64| all.iter().map(of).sum::<u64>();
    if all.len() >= 12 {
        assert!(sum(|happened| happened.power_off) > 0);
        assert!(sum(|happened| happened.killed) > 0);
        assert!(sum(|happened| happened.delivered) > 1_000);
        assert!(sum(|happened| happened.again) > 0);
        assert!(sum(|happened| happened.dead) > 0);
        assert!(sum(|happened| happened.stale) > 0);
        assert!(sum(|happened| happened.unkept) > 0);
        assert!(sum(|happened| happened.remembered) > 1_000);
        assert!(sum(|happened| happened.told) > 0);
        assert!(sum(|happened| happened.far_behind) > 0);
        assert!(sum(|happened| happened.divided) > 0);
        assert!(sum(|happened| happened.logs_lost) > 0);
        assert!(sum(|happened| happened.steps) > 0);
    }
}
