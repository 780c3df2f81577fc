//! Subscriptions follow their settings, and the delivery log is only a help.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tributary_engine::{AlwaysGranted, Clock, Engine, Memory, Options, Permit, Ports, SystemClock};
use tributary_ledger::{Actor, Body, Command, Data, OrderKey, Publish, SettingId, Topic};
use tributary_messaging::{
    AttemptEnd, AttemptQuery, FILTERS_KEPT_MAX, HISTORY_BYTES_MAX, Messaging, Pattern, Policy,
    Receipt, StartAt, Storage, SubscriptionId, restore_snapshot, start_engine,
};
use tributary_testkit::backends::empty_memory;
use tributary_testkit::clock::TestClock;
use tributary_testkit::commands::{BEGIN, SECOND, command, open};
use tributary_testkit::disk::{Fault, SimDisk};

use crate::core::{ID, subscription};
use crate::support::{Life, put, revision};

fn start(disk: &SimDisk) -> Life {
    start_at(disk, BEGIN)
}

fn start_at(disk: &SimDisk, now: u64) -> Life {
    let clock: Arc<dyn Clock> = Arc::new(TestClock::starting_at(now));
    Life::start(disk.disk(), clock).expect("nothing is in the way")
}

fn publish(key: &str, topic: &str) -> Command {
    let publish = Publish {
        topic: Topic::new(topic).expect("a topic"),
        key: None::<OrderKey>,
        data: Data::new(Data::PLAIN, b"{}").expect("data"),
    };
    command(key, Body::Publish(publish))
}

/// Has the subscription want this.
fn want(life: &mut Life, id: SubscriptionId, pattern: &str, start: Option<u64>) -> u64 {
    let replaces = revision(&life.reader(), id);
    let mut made = subscription(id, Policy::default());
    made.terms.filter.patterns = vec![Pattern::new(pattern).expect("a pattern")];
    life.settle_one(put(
        &format!("want-{}-{replaces}", id.0),
        &made,
        start,
        replaces,
    ));
    life.reader().published()
}

/// Takes and acknowledges everything that comes.
fn drain(messaging: &Messaging, id: SubscriptionId) -> Vec<u64> {
    let mut came = Vec::new();
    for _ in 0..10_000 {
        let wait = messaging.step();
        let taken = messaging.take(id, 1_000, None).expect("it is there");
        let receipts: Vec<Receipt> = taken.iter().map(|one| one.receipt).collect();
        came.extend(taken.iter().map(|one| one.position));
        let acked = messaging.ack(id, &receipts).expect("it is there");
        assert!(acked.iter().all(Result::is_ok));
        if taken.is_empty() && !wait.is_zero() {
            return came;
        }
    }
    panic!("it never ends");
}

#[test]
fn a_laggard_that_passes_many_revisions_matches_each_event_with_the_one_before_it() {
    let disk = SimDisk::new(1);
    let mut life = start(&disk);
    // Events of two kinds after every revision, of which the filter wants one.
    let mut expected = BTreeSet::new();
    let mut newest = BTreeSet::new();
    let rounds = 3 * FILTERS_KEPT_MAX as u64;
    for round in 0..rounds {
        let wanted = format!("app.k{}", round % 3);
        let start = Some(0).filter(|_| round == 0);
        want(&mut life, ID, &wanted, start.or(Some(0)));
        for kind in 0..3 {
            let topic = format!("app.k{kind}");
            life.settle_one(publish(&format!("{round}-{kind}"), &topic));
            let position = life.reader().published();
            if topic == wanted {
                expected.insert(position);
            }
            if kind == (rounds - 1) % 3 {
                newest.insert(position);
            }
        }
    }
    // Each time from the beginning, which begins behind all revisions.
    for file in disk.files().into_keys() {
        if file.starts_with("delivery/") {
            disk.delete(&file);
        }
    }
    drop(life);
    let life = start(&disk);
    let came = drain(&life.messaging, ID);
    assert!(
        came.iter().eq(&expected),
        "{} of {}",
        came.len(),
        expected.len()
    );
    // After a rewind the newest revision matches all that there is, also after a restart on the way.
    let rewound = life.messaging.rewind(ID, StartAt::Beginning, Actor::SYSTEM);
    rewound.expect("it is rewound");
    let taken = life.messaging.take(ID, 1, None).expect("it is there");
    assert!(taken.is_empty(), "nothing is read yet");
    drop(life);
    let life = start(&disk);
    let came = drain(&life.messaging, ID);
    assert!(
        came.iter().eq(&newest),
        "{} of {}",
        came.len(),
        newest.len()
    );
    let replayed = life.messaging.replay(ID, 1, 20, Actor::SYSTEM);
    replayed.expect("it is replayed");
    let again: Vec<u64> = newest.into_iter().take_while(|one| *one <= 20).collect();
    assert_eq!(drain(&life.messaging, ID), again);
}

#[test]
fn a_revision_amid_a_batch_counts_for_what_follows_it() {
    let mut life = start(&SimDisk::new(1));
    want(&mut life, ID, "app.a", None);
    let mut changed = subscription(ID, Policy::default());
    changed.terms.filter.patterns = vec![Pattern::new("app.b").expect("a pattern")];
    let requests = [
        publish("1", "app.a"),
        publish("2", "app.b"),
        put("change", &changed, None, 1),
        publish("3", "app.a"),
        publish("4", "app.b"),
    ];
    for request in requests {
        life.accept(vec![request]);
    }
    life.settle();
    assert_eq!(life.reader().published(), 6, "the batch is one");
    assert_eq!(drain(&life.messaging, ID), [2, 6]);
}

#[test]
fn a_delivery_log_of_another_history_is_set_aside_and_every_subscription_is_there() {
    let (disk, other) = (SimDisk::new(1), SimDisk::new(2));
    let run = |disk: &SimDisk, owner: &str| {
        let mut life = start(disk);
        want(&mut life, ID, "account.*", Some(0));
        for number in 0..5 {
            life.settle_one(open(&format!("{owner}-{number}"), owner));
        }
        assert_eq!(drain(&life.messaging, ID), [2, 3, 4, 5, 6]);
        life.messaging.close();
    };
    run(&disk, "ann");
    run(&other, "bob");
    let here = disk.files();
    let here = here
        .keys()
        .find(|name| name.ends_with("1.log"))
        .expect("a log");
    let there = other.files();
    let there = &there[here];
    disk.damage(here, |bytes| bytes.clone_from(there));
    let life = start(&disk);
    assert!(disk.files().contains_key(&here.replace(".log", ".foreign")));
    assert_eq!(
        drain(&life.messaging, ID),
        [2, 3, 4, 5, 6],
        "all come again"
    );
}

#[test]
fn a_snapshot_is_where_a_restored_system_goes_on() {
    let disk = SimDisk::new(1);
    let mut life = start(&disk);
    want(&mut life, ID, "account.*", Some(0));
    for number in 0..5 {
        life.settle_one(open(&number.to_string(), "ann"));
    }
    let taken = life.messaging.take(ID, 3, None);
    let taken = taken.expect("it is there");
    assert!(taken.is_empty(), "nothing is read yet");
    life.messaging.step();
    let taken = life.messaging.take(ID, 3, None).expect("it is there");
    let receipts: Vec<Receipt> = taken.iter().map(|one| one.receipt).collect();
    life.messaging.ack(ID, &receipts).expect("it is there");
    life.messaging.close();
    let snapshot = life.messaging.snapshot();
    let mut restored = disk.copy();
    for file in restored.files().into_keys() {
        if file.starts_with("delivery/") {
            restored.delete(&file);
        }
    }
    restore_snapshot(&*restored.disk(), &snapshot).expect("there is room");
    restored = restored.crash(1);
    let life = start(&restored);
    assert_eq!(drain(&life.messaging, ID), [5, 6]);
    restore_snapshot(&*restored.disk(), &snapshot).expect_err("there is one");
}

#[test]
fn nobody_is_told_of_a_nack_or_a_dead_letter_that_is_not_durable() {
    let disk = SimDisk::new(1);
    let mut life = start(&disk);
    let mut made = subscription(ID, Policy::default());
    made.terms.policy.attempts_max = 1;
    life.settle_one(put("make", &made, Some(0), 0));
    life.messaging.step();
    let take = |life: &Life| {
        let taken = life.messaging.take(ID, 1, None).expect("it is there");
        taken[0].receipt
    };
    let dead = |life: &Life| life.messaging.dead(ID, 0, 9).expect("it is there").0.len();
    let receipt = take(&life);
    disk.set_capacity(disk.used());
    let nacked = life.messaging.nack(ID, receipt, None, "no");
    nacked.expect("it is out");
    assert!(life.messaging.make_durable().is_err());
    assert_eq!(dead(&life), 0, "it is not durable");
    disk.set_capacity(u64::MAX);
    assert!(life.messaging.make_durable().is_ok());
    assert_eq!(dead(&life), 1);
    drop(life);
    // Killed at once, it is there.
    let disk = disk.crash(1);
    let life = start(&disk);
    assert_eq!(dead(&life), 1);
    let dropped = life.messaging.drop_dead(ID, None, Actor::SYSTEM);
    assert_eq!(dropped.expect("it is durable"), 1);
    disk.inject(disk.operations(), Fault::PowerOff);
    let disk = disk.crash(1);
    let life = start(&disk);
    assert_eq!(dead(&life), 0);
}

#[derive(Default)]
struct Revocable(AtomicBool);

impl Permit for Revocable {
    fn is_granted(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

#[test]
fn nothing_is_handed_out_or_written_without_a_permit() {
    let permit = Arc::new(Revocable::default());
    let clock: Arc<dyn Clock> = Arc::new(TestClock::starting_at(BEGIN));
    let life = Life::start_with(SimDisk::new(1).disk(), clock, permit.clone(), 0);
    let mut life = life.expect("nothing is in the way");
    want(&mut life, ID, "#", Some(0));
    life.messaging.step();
    let taken = |life: &Life| life.messaging.take(ID, 9, None).expect("it is there").len();
    assert_eq!(taken(&life), 0);
    assert!(life.messaging.make_durable().is_err());
    permit.0.store(true, Ordering::SeqCst);
    life.messaging.step();
    assert_eq!(taken(&life), 1);
    assert!(life.messaging.make_durable().is_ok());
}

/// It comes when the permit is still to be granted, and perhaps nothing else happens later.
#[test]
fn a_receiver_that_waits_is_told_to_look_again_when_the_permit_is_granted() {
    let permit = Arc::new(Revocable::default());
    let clock: Arc<dyn Clock> = Arc::new(TestClock::starting_at(BEGIN));
    let life = Life::start_with(SimDisk::new(1).disk(), clock, permit.clone(), 0);
    let mut life = life.expect("nothing is in the way");
    want(&mut life, ID, "app.#", None);
    life.settle_one(publish("event", "app.order"));
    let taken = || life.messaging.take(ID, 9, None).expect("it is there").len();
    assert_eq!(taken(), 0);
    let bell = life.messaging.arrivals(ID);
    let mut rings = pin!(bell.notified());
    rings.as_mut().enable();
    assert_eq!(taken(), 0);
    life.messaging.step();
    assert!(!rings.as_mut().enable(), "there is nothing to be had");
    permit.0.store(true, Ordering::SeqCst);
    life.messaging.step();
    assert!(rings.as_mut().enable(), "it is told");
    assert_eq!(taken(), 1);
}

/// Ledger time stands still where the wall clock was set back, and without the log nothing tells of the process before.
#[test]
fn an_old_receipt_settles_nothing_after_the_log_was_lost_while_time_stood_still() {
    let mut disk = SimDisk::new(1);
    let life = |disk: &SimDisk, process_number: u64| {
        let clock = Arc::new(TestClock::starting_at(BEGIN));
        let life = Life::start_with(disk.disk(), clock, Arc::new(AlwaysGranted), process_number);
        life.expect("nothing is in the way")
    };
    let take = |life: &Life| {
        life.messaging.step();
        let taken = life.messaging.take(ID, 1, None).expect("it is there");
        taken[0].receipt
    };
    let mut first = life(&disk, 0x5eed_0000_0000_0001);
    want(&mut first, ID, "#", Some(0));
    let old = take(&first);
    disk = disk.crash(1);
    let files = disk.files().into_keys();
    let lost: Vec<String> = files.filter(|file| file.starts_with("delivery/")).collect();
    lost.iter().for_each(|file| disk.delete(file));

    let second = life(&disk, 0x5eed_0000_0000_1002);
    let new = take(&second);
    assert_eq!(new.position, old.position, "the same event comes again");
    assert_ne!(new, old);
    let acked = second.messaging.ack(ID, &[old]).expect("it is there");
    assert!(
        acked[0].is_err(),
        "it is of an attempt of the process before"
    );
    let acked = second.messaging.ack(ID, &[new]).expect("it is there");
    assert!(acked[0].is_ok());
}

#[test]
fn who_changes_what_is_delivered_stands_in_the_history() {
    let disk = SimDisk::new(1);
    let mut life = start(&disk);
    let mut made = subscription(ID, Policy::default());
    made.terms.policy.attempts_max = 1;
    life.settle_one(put("make", &made, Some(0), 0));
    life.settle_one(open("a", "ann"));
    life.messaging.step();
    let taken = life.messaging.take(ID, 2, None).expect("it is there");
    for one in &taken {
        let nacked = life.messaging.nack(ID, one.receipt, None, "no");
        nacked.expect("it is out");
    }
    let by = Actor::SYSTEM;
    let requeued = life.messaging.requeue(ID, Some(&[1]), by);
    assert_eq!(requeued.expect("it is durable"), 1);
    let dropped = life.messaging.drop_dead(ID, Some(&[2]), by);
    assert_eq!(dropped.expect("it is durable"), 1);
    life.messaging.replay(ID, 1, 2, by).expect("it is replayed");
    let rewound = life.messaging.rewind(ID, StartAt::Beginning, by);
    rewound.expect("it is rewound");
    let found = life.messaging.attempts(&AttemptQuery {
        is_visible: &|_| true,
        subscription: Some(ID),
        events: None,
        acknowledged: None,
        before: None,
        limit: 100,
    });
    let mut by_end: BTreeMap<u8, Vec<u64>> = BTreeMap::new();
    for one in found.attempts.iter().filter(|one| one.end.is_operation()) {
        by_end.entry(one.end as u8).or_default().push(one.position);
        assert_eq!(one.note.len(), 16);
    }
    let expected = [
        (AttemptEnd::Requeued, vec![1]),
        (AttemptEnd::Dropped, vec![2]),
        (AttemptEnd::Replayed, vec![2, 1]),
        (AttemptEnd::Rewound, vec![0]),
    ];
    assert_eq!(
        by_end,
        expected
            .map(|(end, positions)| (end as u8, positions))
            .into()
    );
}

#[test]
fn a_notice_of_dead_letters_goes_to_others_and_never_to_its_own_subscription() {
    let directory = tempfile::tempdir().expect("a directory");
    let disk = Arc::new(tributary_journal::DirDisk::new(directory.path()));
    let memory: Memory = empty_memory();
    let recovered = Engine::recover(Box::new(memory), Arc::new(SystemClock), Options::default());
    let storage = Storage::local(disk, HISTORY_BYTES_MAX, 0);
    let started = start_engine(
        recovered.expect("it starts"),
        Ports::default(),
        Some(storage),
    );
    let (engine, messaging) = started.expect("it starts");
    let messaging = messaging.expect("there is a storage");
    let (own, other) = (ID, SubscriptionId(8));
    let mut made = subscription(own, Policy::default());
    made.terms.policy.attempts_max = 1;
    let watches = subscription(other, Policy::default());
    let replies = engine.execute_blocking(vec![
        put("own", &made, Some(0), 0),
        put("other", &watches, Some(2), 0),
    ]);
    replies.expect("they are decided");
    assert!(engine.reader().setting(SettingId(own.0)).is_some());
    let begun = Instant::now();
    let mut told = 0;
    while told == 0 {
        assert!(begun.elapsed() < Duration::from_secs(60), "nobody is told");
        for one in messaging.take(own, 9, None).expect("it is there") {
            assert!(one.position <= 2, "it is told of itself");
            let nacked = messaging.nack(own, one.receipt, None, "no");
            nacked.expect("it is out");
        }
        for one in messaging.take(other, 9, Some(SECOND)).expect("it is there") {
            let record = engine
                .reader()
                .record(one.position)
                .expect("it can be read");
            let record = record.expect("it is there");
            let Body::Publish(publish) = &record.command.body else {
                panic!("{record:?}");
            };
            assert_eq!(publish.topic.as_str(), "subscription.dead_letter");
            told = one.position;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    std::thread::sleep(Duration::from_millis(200));
    assert!(
        messaging
            .take(own, 9, None)
            .expect("it is there")
            .is_empty()
    );
    let (figures, _) = messaging.figures(own).expect("it is there");
    assert!(figures.scanned >= told, "it was passed over");
    engine.shutdown();
    messaging.shutdown();
}
