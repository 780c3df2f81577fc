//! The core does what the model says, and a crash after any part of its changes costs repetitions only.

mod shares;
mod time;

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use tributary_ledger::{Actor, OwnerId};
use tributary_messaging::{
    Backoff, Change, Core, DEAD_LETTER_NOTICE_EVERY, Filter, Images, Kind, Known, Matched, Order,
    Pattern, Policy, Receipt, ReceiptExpired, Refusal, Revisions, Subscription, SubscriptionId,
    Terms, WINDOW_MAX,
};

use crate::model::{Model, Stand};

const SECOND: u64 = 1_000_000_000;
const BEGIN: u64 = 1_780_000_000 * SECOND;
pub(super) const ID: SubscriptionId = SubscriptionId(7);
/// One of so many events is wanted by nobody; which one, says the filter.
const UNWANTED: u64 = 3;

pub(crate) fn subscription(id: SubscriptionId, policy: Policy) -> Subscription {
    Subscription {
        id,
        scope: OwnerId::PLATFORM,
        created_at: BEGIN,
        terms: Terms {
            filter: Filter {
                patterns: vec![Pattern::new("#").expect("a pattern")],
                currency: None,
                owner: None,
            },
            kind: Kind::Pull,
            policy,
            paused: None,
            name: String::new(),
            metadata: "{}".into(),
        },
    }
}

#[derive(Clone, Debug)]
enum Op {
    /// So many events happen; the publisher offers them or is too busy to.
    Happen(u64, bool),
    /// A laggard is read for.
    Refill,
    Take(usize, u64),
    /// Answers of a part of all receipts that were ever given, chosen by the number.
    Ack(u64),
    Nack(u64, Option<u64>),
    Extend(u64, u64),
    /// So many seconds go by.
    Pass(u64),
    /// Changes are written, or also synced.
    Write(bool),
    Requeue,
    Drop,
    Rewind(u64),
    Replay(u64, u64),
    Pause,
    /// The setting gets another filter.
    Filter(u64),
    /// The plug is pulled; this part of what was written survives, in percent.
    Crash(u64),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (1..12u64, prop::bool::weighted(0.8)).prop_map(|(n, offered)| Op::Happen(n, offered)),
        3 => Just(Op::Refill),
        8 => (1..9usize, 1..6u64).prop_map(|(max, seconds)| Op::Take(max, seconds)),
        6 => any::<u64>().prop_map(Op::Ack),
        4 => (any::<u64>(), prop::option::of(0..4u64)).prop_map(|(pick, delay)| Op::Nack(pick, delay)),
        2 => (any::<u64>(), 1..9u64).prop_map(|(pick, seconds)| Op::Extend(pick, seconds)),
        4 => (0..7u64).prop_map(Op::Pass),
        4 => any::<bool>().prop_map(Op::Write),
        1 => Just(Op::Requeue),
        1 => Just(Op::Drop),
        1 => (0..100u64).prop_map(Op::Rewind),
        1 => (0..100u64, 0..100u64).prop_map(|(a, b)| Op::Replay(a, b)),
        1 => Just(Op::Pause),
        2 => (0..4u64).prop_map(Op::Filter),
        2 => (0..=100u64).prop_map(Op::Crash),
    ]
}

struct World {
    core: Core,
    model: Model,
    journal: Vec<Matched>,
    now: u64,
    receipts: Vec<Receipt>,
    durable: Images,
    written: Vec<Change>,
    /// Done since the last sync.
    unsynced: BTreeSet<u64>,
    /// The position of each revision and the number of its filter.
    revisions: Vec<(u64, u64)>,
    /// Everything up to here is matched by the newest filter before its end: there was a rewind.
    rematch_through: u64,
}

fn filter(number: u64) -> Filter {
    Filter {
        patterns: vec![Pattern::new(&format!("app.{number}")).expect("a pattern")],
        currency: None,
        owner: None,
    }
}

/// Whether a filter wants the event, as the test has it.
fn wants(number: u64, position: u64) -> bool {
    position % UNWANTED != number % UNWANTED
}

impl World {
    fn new(ordered: bool, delay: u64) -> World {
        let policy = Policy {
            order: if ordered { Order::Object } else { Order::None },
            attempts_max: 3,
            backoff: Backoff::List(vec![SECOND, 2 * SECOND]),
            jitter: 0,
            in_flight_max: 12,
            delay: delay * SECOND,
            ..Policy::default()
        };
        let mut world = World {
            core: empty_core(),
            model: Model::new(ordered, 3, 12, delay * SECOND),
            journal: Vec::new(),
            now: BEGIN,
            receipts: Vec::new(),
            durable: Images::default(),
            written: Vec::new(),
            unsynced: BTreeSet::new(),
            revisions: vec![(0, 0)],
            rematch_through: 0,
        };
        let mut made = subscription(ID, policy);
        made.terms.filter = filter(0);
        world.core.put(made, 0, 0, BEGIN);
        world.write(true);
        world
    }

    /// The number of the filter that matches the event at `position`.
    fn filter_at(&self, position: u64) -> u64 {
        let position = position.max(self.rematch_through + 1);
        let before = self.revisions.iter().rev();
        let mut before = before.filter(|(revision, _)| *revision < position);
        before.next().unwrap_or(&self.revisions[0]).1
    }

    fn wanted(&self, matched: &Matched) -> bool {
        wants(self.filter_at(matched.position), matched.position)
    }

    /// A revision of the setting is made by the next record.
    fn put(&mut self, change: impl FnOnce(&mut Terms)) {
        self.happen(1, !self.journal.len().is_multiple_of(3));
        let position = self.journal.len() as u64;
        let mut changed = self.core.get(ID).expect("it is there").clone();
        let before = changed.terms.clone();
        change(&mut changed.terms);
        assert_eq!(changed.terms.check_change(&before), Ok(()));
        let number = changed.terms.filter.patterns[0]
            .as_str()
            .strip_prefix("app.");
        let number = number.expect("it has one").parse();
        self.revisions.push((position, number.expect("a number")));
        self.core.put(changed, 0, position, self.now);
    }

    fn set_paused(&mut self, paused: bool) {
        self.put(|terms| terms.paused = paused.then(|| "for a test".to_owned()));
    }

    fn scanned(&self) -> u64 {
        self.core
            .figures(ID, self.now)
            .expect("it is there")
            .scanned
    }

    /// What is new in the model after something was taken in.
    fn arrived(&mut self, before: u64) {
        let scanned = self.scanned();
        let new = self.journal[before as usize..scanned as usize].iter();
        for matched in new {
            if self.wanted(matched) && !self.model.events.contains_key(&matched.position) {
                self.model.happens(matched, self.now);
            }
        }
    }

    fn happen(&mut self, count: u64, offered: bool) {
        let before = self.scanned();
        let from = self.journal.len() as u64 + 1;
        for position in from..from + count {
            self.now += 1;
            let matched = Matched {
                position,
                time: self.now,
                object: position * 7 % 5,
            };
            self.journal.push(matched);
        }
        if offered {
            let new = self.journal[from as usize - 1..].iter();
            let matches = new.filter(|one| self.wanted(one)).copied().collect();
            let matches = BTreeMap::from([(ID, matches)]);
            let through = from + count - 1;
            self.core.offer(from, through, &matches, self.now);
            self.arrived(before);
        }
    }

    /// Reads a few events for it, as long as it wants.
    fn refill(&mut self) -> bool {
        let head = self.journal.len() as u64;
        let Some((subscription, wanted)) = self.core.wanted(None, head) else {
            return false;
        };
        assert_eq!(subscription.id, ID);
        let before = self.scanned();
        let through = wanted.through.min(wanted.from + 4);
        let read = &self.journal[wanted.from as usize - 1..through as usize];
        let newest = self.revisions.last().expect("there is one").1;
        let number = |matched: &Matched| match wanted.replay {
            true => newest,
            false => self.filter_at(matched.position),
        };
        for matched in read {
            assert_eq!(*wanted.filter, filter(number(matched)), "{matched:?}");
        }
        let matches = read.iter().filter(|one| wants(number(one), one.position));
        let matches: Vec<Matched> = matches.copied().collect();
        let rewinds = self.core.rewinds();
        self.core
            .found(ID, rewinds, &wanted, through, &matches, self.now);
        if wanted.replay {
            // A replay: what is not open is owed again.
            for matched in &matches {
                let open = self.model.open().contains(&matched.position);
                if !open && matched.position <= before {
                    self.model.arrives(matched, 0, self.now, self.now);
                    self.unsynced.remove(&matched.position);
                }
            }
        }
        self.arrived(before);
        true
    }

    fn take(&mut self, max: usize, seconds: u64) -> usize {
        let paused = self
            .core
            .get(ID)
            .expect("it is there")
            .terms
            .paused
            .is_some();
        let expected = match paused {
            true => Vec::new(),
            false => self.model.expected(max, self.now),
        };
        let visibility = seconds * SECOND;
        let taken = self
            .core
            .take(ID, max, Some(visibility), self.now, self.now)
            .expect("it is there");
        let got: Vec<(u64, u32)> = taken
            .iter()
            .map(|one| (one.position, one.attempt))
            .collect();
        assert_eq!(got, expected);
        for delivery in &taken {
            self.model.taken(delivery, self.now + visibility);
            assert!(
                !self.receipts.contains(&delivery.receipt),
                "a receipt is given once"
            );
            self.receipts.push(delivery.receipt);
        }
        taken.len()
    }

    fn picked(&self, pick: u64) -> Vec<Receipt> {
        let receipts = self.receipts.iter().rev().take(24).enumerate();
        let picked = receipts.filter(|(at, _)| pick >> at & 1 == 1);
        picked.map(|(_, receipt)| *receipt).collect()
    }

    fn ack(&mut self, receipts: &[Receipt]) {
        let results = self.core.ack(ID, receipts, self.now).expect("it is there");
        for (receipt, result) in receipts.iter().zip(results) {
            let done = self.model.ack(*receipt);
            assert_eq!(result.is_ok(), done, "{receipt:?}");
            if done {
                self.unsynced.insert(receipt.position);
            }
        }
    }

    fn write(&mut self, synced: bool) {
        self.written.extend(self.core.drain(false));
        if synced {
            self.written
                .drain(..)
                .for_each(|change| self.durable.apply(change));
            assert_eq!(
                self.durable.images,
                self.core.images().images,
                "what is kept is what was written"
            );
            self.unsynced.clear();
            self.core.written();
        }
    }

    fn pass(&mut self, seconds: u64) {
        self.now += seconds * SECOND;
        while self.core.tick(self.now, self.now) {}
        self.model.tick(self.now);
        assert!(self.core.next_due().is_none_or(|due| due > self.now));
        assert!(
            self.core
                .next_deadline()
                .is_none_or(|deadline| deadline > self.now)
        );
    }

    fn rewind(&mut self, to: u64) {
        self.write(true);
        let forwards = to >= self.scanned();
        let now = self.now;
        let head = self.journal.len() as u64;
        self.core
            .rewind(ID, to, head, Actor::SYSTEM, now)
            .expect("it is there");
        self.rematch_through = head;
        let (open, dead) = (self.model.open(), self.model.with_stand(&Stand::Dead));
        self.model.events.retain(|position, _| *position <= to);
        let kept = self.durable_after_sync();
        let owed: Vec<u64> = open
            .into_iter()
            .filter(|position| *position <= to && !forwards)
            .collect();
        assert!(
            kept.0.iter().map(|(m, ..)| m.position).eq(owed),
            "what was open stays open"
        );
        let dead = dead
            .into_iter()
            .filter(|position| *position <= to)
            .collect();
        assert_eq!(kept.1, dead);
        self.model.restart(&kept.0, &kept.1, now);
    }

    /// What is owed by name, and what is dead.
    fn durable_after_sync(&mut self) -> (Vec<(Matched, u32, u64)>, BTreeSet<u64>) {
        self.write(true);
        let image = &self.durable.images[&ID];
        let kept = image.named.iter().map(|(position, letter)| {
            let matched = self.journal[*position as usize - 1];
            (matched, letter.attempt, letter.due)
        });
        (kept.collect(), image.dead.keys().copied().collect())
    }

    fn crash(&mut self, percent: u64) {
        self.write(false);
        let survive = self.written.len() * percent as usize / 100;
        let survived: Vec<Change> = self.written.drain(..).take(survive).collect();
        survived
            .into_iter()
            .for_each(|change| self.durable.apply(change));
        self.durable.generation += 1 << 32;
        let image = &self.durable.images[&ID];
        assert!(image.rematch_through == self.rematch_through || image.rematch_through == 0);
        let owed = |matched: &&Matched| {
            let position = matched.position;
            self.wanted(matched)
                && position > image.floor
                && !image.done.contains(&position)
                && !image.dead.contains_key(&position)
                && !image.named.contains_key(&position)
        };
        let by_name = image.named.iter().map(|(position, letter)| {
            (
                self.journal[*position as usize - 1],
                letter.attempt,
                letter.due,
            )
        });
        let by_name: Vec<_> = by_name.collect();
        let anew: Vec<Matched> = self.journal.iter().filter(owed).copied().collect();
        let dead: BTreeSet<u64> = image.dead.keys().copied().collect();
        let mut after: BTreeSet<u64> = anew.iter().map(|matched| matched.position).collect();
        after.extend(by_name.iter().map(|(matched, ..)| matched.position));
        for (position, event) in &self.model.events {
            match event.stand {
                Stand::Owed { .. } | Stand::Out { .. } => {
                    // One that is to be replayed may be so still; nothing else is lost.
                    let replayed = image
                        .replays
                        .iter()
                        .any(|(a, b)| (a..=b).contains(&position));
                    assert!(after.contains(position) || replayed, "{position} is lost");
                }
                Stand::Dead => assert!(after.contains(position) || dead.contains(position)),
                Stand::Done => assert!(
                    !after.contains(position) || self.unsynced.contains(position),
                    "{position} was done for certain"
                ),
            }
        }
        let from = image.floor.max(image.rematch_through);
        let revisions = self.revisions.iter().rev();
        let revisions = revisions.map(|(position, number)| Ok((*position, filter(*number))));
        let known = Known {
            subscription: self.core.get(ID).expect("it is there").clone(),
            start: 0,
            revisions: Revisions::collect::<()>(revisions, from).expect("all can be read"),
        };
        self.core = Core::new(
            self.durable.clone(),
            vec![known],
            &BTreeSet::new(),
            self.now,
        );
        self.model.restart(&by_name, &dead, self.now);
        self.model.events.retain(|position, event| {
            event.stand != Stand::Done || *position <= image.floor || image.done.contains(position)
        });
        self.unsynced.clear();
    }

    fn perform(&mut self, op: &Op) {
        match *op {
            Op::Happen(count, offered) => self.happen(count, offered),
            Op::Refill => {
                self.refill();
            }
            Op::Take(max, seconds) => {
                self.take(max, seconds);
            }
            Op::Ack(pick) => self.ack(&self.picked(pick)),
            Op::Nack(pick, delay) => {
                for receipt in self.picked(pick).into_iter().take(3) {
                    let attempts = self.model.events.get(&receipt.position);
                    let attempts = attempts.map_or(0, |event| event.attempts);
                    let wait = delay.unwrap_or(if attempts == 1 { 1 } else { 2 }) * SECOND;
                    let nanos = delay.map(|seconds| seconds * SECOND);
                    let nacked = self.core.nack(ID, receipt, nanos, "no", self.now);
                    let expected = self.model.nack(receipt, self.now + wait);
                    assert_eq!(nacked.is_ok(), expected);
                }
            }
            Op::Extend(pick, seconds) => {
                for receipt in self.picked(pick) {
                    let until = self.now + seconds * SECOND;
                    let extended = self.core.extend(ID, receipt, until);
                    assert_eq!(extended.is_ok(), self.model.extend(receipt, until));
                }
            }
            Op::Pass(seconds) => self.pass(seconds),
            Op::Write(synced) => self.write(synced),
            Op::Requeue => {
                let dead = self.model.with_stand(&Stand::Dead);
                let requeued = self.core.requeue(ID, None, Actor::SYSTEM, self.now);
                assert_eq!(requeued, Ok(dead.len()));
                for position in dead {
                    let matched = self.journal[position as usize - 1];
                    self.model.arrives(&matched, 0, self.now, self.now);
                }
                self.write(true);
            }
            Op::Drop => {
                let dead: Vec<u64> = self.model.with_stand(&Stand::Dead).into_iter().collect();
                let dropped = self
                    .core
                    .drop_dead(ID, Some(&dead), Actor::SYSTEM, self.now);
                assert_eq!(dropped, Ok(dead.len()));
                dead.into_iter()
                    .for_each(|position| self.model.dropped(position));
                self.write(true);
            }
            Op::Rewind(percent) => self.rewind(self.journal.len() as u64 * percent / 100),
            Op::Replay(a, b) => {
                let at = |percent| self.journal.len() as u64 * percent / 100;
                let (first, last) = (at(a), at(b));
                let replay = self.core.replay(ID, first, last, Actor::SYSTEM, self.now);
                assert!(matches!(replay, Ok(()) | Err(Refusal::TooManyReplays)));
                self.write(true);
            }
            Op::Pause => {
                let paused = self
                    .core
                    .get(ID)
                    .expect("it is there")
                    .terms
                    .paused
                    .is_some();
                self.set_paused(!paused);
            }
            Op::Filter(number) => {
                self.put(|terms| terms.filter = filter(number));
            }
            Op::Crash(percent) => self.crash(percent),
        }
        self.check();
    }

    fn check(&self) {
        assert!(self.core.within_bounds());
        let figures = self.core.figures(ID, self.now).expect("it is there");
        let (out, open) = (self.model.out(), self.model.open());
        assert_eq!(figures.in_flight, out as u64);
        assert_eq!(figures.waiting, (open.len() - out) as u64);
        let dead = self.model.with_stand(&Stand::Dead);
        let (letters, more) = self.core.dead(ID, 0, 10_000).expect("it is there");
        assert!(!more);
        // Listed once they are durable, and those all.
        let listed = |position: &u64| self.durable.images[&ID].dead.contains_key(position);
        assert!(letters.iter().all(|(position, _)| listed(position)));
        if !self.core.has_unwritten_dead(ID) {
            assert!(letters.iter().map(|(position, _)| position).eq(&dead));
        }
        assert_eq!(figures.dead, dead.len() as u64);
    }

    /// Everything that is owed comes, and then nothing is.
    fn finish(&mut self) {
        self.set_paused(false);
        loop {
            let mut more = self.refill();
            more |= self.take(100, 1) > 0;
            self.ack(&self.receipts.clone());
            self.pass(3);
            self.check();
            if !more && self.model.open().is_empty() {
                break;
            }
        }
        assert_eq!(self.scanned(), self.journal.len() as u64);
        self.written.extend(self.core.drain(true));
        self.write(true);
        let image = &self.durable.images[&ID];
        assert!(image.named.is_empty() && image.done.is_empty() && image.replays.is_empty());
        assert_eq!(image.floor, self.journal.len() as u64);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_core_does_what_the_model_says(
        ordered in any::<bool>(),
        delay in prop_oneof![3 => Just(0u64), 1 => 1..5u64],
        ops in prop::collection::vec(op(), 1..120),
    ) {
        let mut world = World::new(ordered, delay);
        for op in &ops {
            world.perform(op);
        }
        world.finish();
    }
}

fn empty_core() -> Core {
    Core::new(Images::default(), Vec::new(), &BTreeSet::new(), BEGIN)
}

/// A core with one subscription, offered these events.
fn busy(policy: Policy, events: u64) -> Core {
    let mut core = empty_core();
    core.put(subscription(ID, policy), 0, 0, BEGIN);
    feed(&mut core, 1, events);
    core
}

fn feed(core: &mut Core, from: u64, through: u64) {
    let event = |position| Matched {
        position,
        time: BEGIN,
        object: 0,
    };
    let matches = BTreeMap::from([(ID, (from..=through).map(event).collect())]);
    core.offer(from, through, &matches, BEGIN);
}

#[test]
fn one_event_that_never_ends_keeps_no_others_in_memory() {
    let mut core = busy(Policy::default(), 1);
    let stuck = core
        .take(ID, 1, Some(3_600 * SECOND), BEGIN, BEGIN)
        .expect("it is there");
    let mut durable = Images::default();
    let mut next = 2;
    for _ in 0..80 {
        feed(&mut core, next, next + 999);
        next += 1_000;
        loop {
            let taken = core
                .take(ID, 1_000, None, BEGIN, BEGIN)
                .expect("it is there");
            if taken.is_empty() {
                break;
            }
            let receipts: Vec<Receipt> = taken.iter().map(|one| one.receipt).collect();
            assert!(
                core.ack(ID, &receipts, BEGIN)
                    .expect("it is there")
                    .iter()
                    .all(Result::is_ok)
            );
        }
        core.drain(false)
            .into_iter()
            .for_each(|change| durable.apply(change));
        assert!(core.within_bounds());
    }
    let image = &durable.images[&ID];
    assert!(
        image.named.contains_key(&1) && image.floor > 60_000,
        "{}",
        image.floor
    );
    let acked = core
        .ack(ID, &[stuck[0].receipt], BEGIN)
        .expect("it is there");
    assert!(acked[0].is_ok());
    core.drain(true)
        .into_iter()
        .for_each(|change| durable.apply(change));
    assert!(durable.images[&ID].named.is_empty());
}

#[test]
fn a_full_window_takes_no_more_and_asks_for_the_rest_later() {
    let mut core = busy(Policy::default(), 1);
    feed(&mut core, 2, 100_000);
    let figures = core.figures(ID, BEGIN).expect("it is there");
    let bound = WINDOW_MAX as u64;
    assert_eq!((figures.waiting, figures.scanned), (bound, bound));
    assert!(
        core.wanted(None, 100_000).is_none(),
        "nothing is read while it is full"
    );
    assert!(!core.wants(ID, 100_000));
    feed(&mut core, 100_001, 100_010);
    assert_eq!(core.figures(ID, BEGIN).expect("it is there").scanned, bound);
    let mut got = 0;
    while got < 4_000 {
        let taken = core.take(ID, 500, None, BEGIN, BEGIN).expect("it is there");
        let receipts: Vec<Receipt> = taken.iter().map(|one| one.receipt).collect();
        core.ack(ID, &receipts, BEGIN).expect("it is there");
        got += taken.len();
    }
    let (_, wanted) = core.wanted(None, 100_010).expect("there is room again");
    assert_eq!((wanted.from, wanted.through), (bound + 1, 100_010));
    assert!(core.wants(ID, 100_010) && !core.wants(ID, bound));
    assert!(!core.wants(SubscriptionId(99), 100_010));
}

#[test]
fn too_many_dead_letters_stop_new_events_and_nothing_else() {
    let policy = Policy {
        attempts_max: 1,
        in_flight_max: 10_000,
        ..Policy::default()
    };
    let mut core = busy(policy, 1);
    let (mut next, mut now) = (2, BEGIN);
    while core.stalled(ID).is_none() {
        feed(&mut core, next, next + 3_999);
        next += 4_000;
        let taken = core
            .take(ID, 10_000, Some(SECOND), now, now)
            .expect("it is there");
        assert!(!taken.is_empty());
        now += SECOND;
        while core.tick(now, now) {}
        core.drain(false);
        assert!(core.within_bounds());
    }
    let scanned = core.figures(ID, now).expect("it is there").scanned;
    feed(&mut core, scanned + 1, scanned + 10);
    assert_eq!(core.figures(ID, now).expect("it is there").scanned, scanned);
    assert!(core.wanted(None, next).is_none());
    assert!(
        core.drop_dead(ID, None, Actor::SYSTEM, now)
            .expect("it is there")
            >= 100_000
    );
    assert!(core.stalled(ID).is_none() && core.wanted(None, next).is_some());
}

#[test]
fn a_receiver_that_came_for_nothing_is_called_once_there_is_something() {
    let mut core = busy(
        Policy {
            in_flight_max: 2,
            ..Policy::default()
        },
        0,
    );
    assert!(
        core.take(ID, 10, None, BEGIN, BEGIN)
            .expect("it is there")
            .is_empty()
    );
    core.woken();
    feed(&mut core, 1, 3);
    assert_eq!(core.woken(), [ID]);
    let two = core.take(ID, 10, None, BEGIN, BEGIN).expect("it is there");
    assert_eq!((two.len(), core.woken().len()), (2, 0));
    core.ack(ID, &[two[0].receipt], BEGIN).expect("it is there");
    assert_eq!(core.woken(), [ID], "there is room in flight again");
    let mut paused = core.get(ID).expect("it is there").clone();
    let active = paused.clone();
    paused.terms.paused = Some(String::new());
    core.put(paused, 0, 4, BEGIN);
    core.take(ID, 10, None, BEGIN, BEGIN).expect("it is there");
    core.put(active, 0, 5, BEGIN);
    assert_eq!(core.woken(), [ID]);
}

#[test]
fn a_subscription_that_is_deleted_leaves_nothing() {
    let mut core = busy(Policy::default(), 3);
    let mut durable = Images::default();
    let mut apply = |core: &mut Core| {
        let drained = core.drain(true).into_iter();
        drained.for_each(|change| durable.apply(change));
        durable.images.len()
    };
    assert_eq!(apply(&mut core), 1);
    core.delete(ID);
    assert_eq!(apply(&mut core), 0);
    assert_eq!(core.take(ID, 1, None, BEGIN, BEGIN), Err(Refusal::NotFound));
    core.delete(ID);
    assert_eq!(apply(&mut core), 0);
}

#[test]
fn what_is_kept_of_a_subscription_that_cannot_be_read_stays_and_of_others_goes() {
    let mut core = busy(Policy::default(), 3);
    core.put(
        subscription(SubscriptionId(8), Policy::default()),
        2,
        2,
        BEGIN,
    );
    let before = core.images();
    assert_eq!(before.images.len(), 2);
    let idle = BTreeSet::from([SubscriptionId(8)]);
    let mut core = Core::new(before.clone(), Vec::new(), &idle, BEGIN);
    assert_eq!(core.subscriptions().count(), 0);
    let mut kept = Images::default();
    let snapshot = core.snapshot().into_iter();
    snapshot.for_each(|change| kept.apply(change));
    let eight = &SubscriptionId(8);
    assert_eq!(kept.images.len(), 1);
    assert_eq!(kept.images[eight], before.images[eight]);
}

#[test]
fn new_dead_letters_are_told_of_at_most_once_a_minute_and_only_when_they_are_durable() {
    let policy = Policy {
        attempts_max: 1,
        ..Policy::default()
    };
    let mut core = busy(policy, 9);
    let fail = |core: &mut Core, now| {
        let taken = core.take(ID, 2, None, now, now).expect("it is there");
        for one in &taken {
            core.nack(ID, one.receipt, None, "no", now)
                .expect("it is out");
        }
    };
    let counts = |core: &mut Core, now| {
        let notices = core.dead_letter_notices(now).into_iter();
        let counts: Vec<_> = notices
            .map(|one| (one.subscription, one.new, one.total))
            .collect();
        counts
    };
    fail(&mut core, BEGIN);
    assert_eq!(counts(&mut core, BEGIN), [], "they are not durable");
    core.drain(false);
    core.written();
    assert_eq!(counts(&mut core, BEGIN), [(ID, 2, 2)]);
    fail(&mut core, BEGIN);
    core.drain(false);
    fail(&mut core, BEGIN);
    core.written();
    let minute = BEGIN + DEAD_LETTER_NOTICE_EVERY;
    assert_eq!(counts(&mut core, minute - 1), []);
    let notices = core.dead_letter_notices(minute);
    assert_eq!(
        (notices[0].new, notices[0].total),
        (2, 6),
        "of which two are durable"
    );
    core.notice_failed(&notices[0]);
    assert_eq!(counts(&mut core, minute), [(ID, 2, 6)]);
}

#[test]
fn what_is_too_old_is_dropped_and_counted() {
    let ttl = Policy {
        ttl: 5 * SECOND,
        ..Policy::default()
    };
    let mut core = busy(ttl, 3);
    feed(&mut core, 4, 4);
    assert!(
        core.take(ID, 9, None, BEGIN + 5 * SECOND, BEGIN + 5 * SECOND)
            .expect("it is there")
            .is_empty()
    );
    let figures = core.figures(ID, BEGIN + 5 * SECOND).expect("it is there");
    assert_eq!((figures.expired, figures.waiting), (4, 0));
}

#[test]
fn what_a_receiver_never_had_was_no_attempt() {
    let policy = Policy {
        attempts_max: 1,
        ..Policy::default()
    };
    let mut core = busy(policy, 4);
    for round in 0..3 {
        let taken = core.take(ID, 4, None, BEGIN, BEGIN).expect("it is there");
        let receipts: Vec<Receipt> = taken.iter().map(|one| one.receipt).collect();
        assert!(taken.iter().all(|one| one.attempt == 1));
        let (sent, unsent) = receipts.split_at(1);
        assert_eq!(core.give_back(ID, sent, unsent, BEGIN), Ok(()));
        // They are of attempts that are over.
        assert_eq!(core.give_back(ID, &receipts, &receipts, BEGIN), Ok(()));
        let figures = core.figures(ID, BEGIN).expect("it is there");
        assert_eq!((figures.dead, figures.in_flight), (round + 1, 0));
        assert_eq!(figures.waiting, 3 - round);
    }
}
