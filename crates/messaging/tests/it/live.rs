//! Subscriptions beside a running engine, in a real directory.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tributary_engine::{Embedded, Engine, Options, Ports, Reply, SystemClock};
use tributary_journal::{self as journal, DirDisk, Disk, OpenError};
use tributary_ledger::codec::RecordRef;
use tributary_ledger::{Actor, Body, Command, Currency, FORMAT_VERSION, OwnerId, event_type};
use tributary_messaging::{
    Filter, HISTORY_BYTES_MAX, Messaging, Order, Pattern, Policy, Receipt, StartAt, Storage,
    Subscription, SubscriptionContent, SubscriptionId, start_engine,
};
use tributary_testkit::backends::cluster_meta;
use tributary_testkit::commands::{command, open, pay};

use crate::core::{ID, subscription};
use crate::support::{delete, put, revision};

/// The longest that a test waits for something that must happen.
const PATIENCE: Duration = Duration::from_secs(300);

/// Journals with small segments.
fn options() -> journal::Options {
    journal::Options {
        segment_bytes: 1024 * 1024,
        reserve_bytes: 0,
        shared_log: None,
    }
}

/// An engine with its subscriptions.
struct Running {
    engine: Engine,
    messaging: Arc<Messaging>,
}

impl Running {
    fn shutdown(&self) {
        self.engine.shutdown();
        self.messaging.shutdown();
    }
}

impl std::ops::Deref for Running {
    type Target = Engine;

    fn deref(&self) -> &Engine {
        &self.engine
    }
}

fn engine(path: &Path) -> Running {
    let disk: Arc<dyn Disk> = Arc::new(DirDisk::new(path));
    match journal::create(&disk, &options(), &cluster_meta()) {
        Ok(()) | Err(OpenError::AlreadyExists) => {}
        Err(error) => panic!("{error}"),
    }
    let backend = Embedded::open(disk.clone(), options()).expect("it opens");
    let recovered = Engine::recover(Box::new(backend), Arc::new(SystemClock), Options::default());
    let started = start_engine(
        recovered.expect("it starts"),
        Ports::default(),
        Some(Storage::local(disk, HISTORY_BYTES_MAX, 0)),
    );
    let (engine, messaging) = started.expect("it starts");
    Running {
        engine,
        messaging: messaging.expect("there is a directory for it"),
    }
}

/// Has a subscription created, or its definition changed.
fn define(running: &Running, subscription: &Subscription, start: Option<u64>) {
    let replaces = revision(&running.reader(), subscription.id);
    let key = format!("define-{}-{replaces}", subscription.id.0);
    let replies = running.execute_blocking(vec![put(&key, subscription, start, replaces)]);
    let replies = replies.expect("it is decided");
    assert!(
        matches!(&replies[..], [Reply::Done { record, .. }] if record.outcome.is_accepted()),
        "{replies:?}"
    );
}

fn messaging(running: &Running) -> &Arc<Messaging> {
    &running.messaging
}

fn payments(name: &str, count: usize) -> Vec<Command> {
    let payment = |at| command(&format!("{name}-{at}"), Body::Pay(pay(1, 2, 5)));
    (0..count).map(payment).collect()
}

/// Takes and acknowledges until so many events came, each once.
fn drain(messaging: &Messaging, id: SubscriptionId, count: usize) -> BTreeSet<u64> {
    let begun = Instant::now();
    let mut came = BTreeSet::new();
    while came.len() < count {
        assert!(begun.elapsed() < PATIENCE, "{} of {count} came", came.len());
        let taken = messaging.take(id, 256, None).expect("it is there");
        let receipts: Vec<Receipt> = taken.iter().map(|one| one.receipt).collect();
        for delivery in taken {
            assert!(
                came.insert(delivery.position),
                "{} came twice",
                delivery.position
            );
        }
        let acked = messaging.ack(id, &receipts).expect("it is there");
        assert!(acked.iter().all(Result::is_ok));
        if receipts.is_empty() {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    came
}

#[test]
fn events_come_once_while_all_is_well_and_go_on_after_a_restart() {
    let directory = tempfile::tempdir().expect("a directory");
    let engine_now = engine(directory.path());
    engine_now
        .execute_blocking(vec![open("a", "a"), open("b", "b")])
        .expect("they are opened");
    for batch in 0..10 {
        let name = format!("before-{batch}");
        engine_now
            .execute_blocking(payments(&name, 500))
            .expect("they are made");
    }
    let ordered = Policy {
        order: Order::Object,
        ..Policy::default()
    };
    define(&engine_now, &subscription(ID, ordered), Some(0));
    let now = subscription(SubscriptionId(8), Policy::default());
    define(&engine_now, &now, None);
    for batch in 0..20 {
        let name = format!("while-{batch}");
        engine_now
            .execute_blocking(payments(&name, 200))
            .expect("they are made");
    }
    assert_eq!(drain(messaging(&engine_now), ID, 9_004).len(), 9_004);
    let later = drain(messaging(&engine_now), SubscriptionId(8), 4_000);
    assert_eq!(later.first(), Some(&5_005), "after its own setting");
    engine_now.shutdown();
    drop(engine_now);

    let engine_then = engine(directory.path());
    engine_then
        .execute_blocking(payments("after", 10))
        .expect("they are made");
    let came = drain(messaging(&engine_then), ID, 10);
    assert_eq!((came.first(), came.last()), (Some(&9_005), Some(&9_014)));
    messaging(&engine_then)
        .rewind(ID, StartAt::After(9_002), Actor::SYSTEM)
        .expect("it is rewound");
    assert_eq!(drain(messaging(&engine_then), ID, 12).first(), Some(&9_003));
    messaging(&engine_then)
        .replay(ID, 100, 199, Actor::SYSTEM)
        .expect("it is replayed");
    assert_eq!(drain(messaging(&engine_then), ID, 100).first(), Some(&100));
    let deleted = engine_then.execute_blocking(vec![delete("delete", ID)]);
    deleted.expect("it is decided");
    assert!(messaging(&engine_then).take(ID, 1, None).is_err());
    engine_then.shutdown();
}

#[test]
fn an_owner_gets_its_own_events_and_a_filter_only_what_it_names() {
    let directory = tempfile::tempdir().expect("a directory");
    let engine = engine(directory.path());
    let opened = vec![open("a", "a"), open("b", "b"), open("c", "c")];
    engine.execute_blocking(opened).expect("they are opened");
    let owner = |position: u64| OwnerId(position);
    let make = |id: u64, scope: OwnerId, pattern: &str, currency: Option<&str>| {
        let mut made = subscription(SubscriptionId(id), Policy::default());
        made.scope = scope;
        made.terms.filter = Filter {
            patterns: vec![Pattern::new(pattern).expect("a pattern")],
            currency: currency.map(|code| Currency::from_code(code).expect("a currency")),
            owner: None,
        };
        define(&engine, &made, Some(0));
    };
    make(1, owner(1), "#", None);
    make(2, owner(3), "#", None);
    make(3, OwnerId::PLATFORM, "payment.*", Some("EUR"));
    make(4, OwnerId::PLATFORM, "payment.*", Some("USD"));
    make(5, OwnerId::PLATFORM, "account.opened", None);
    make(6, owner(1), "payment.failed", None);
    engine
        .execute_blocking(payments("one", 3))
        .expect("they are made");
    let check = |id: u64, positions: &[u64]| {
        let came = drain(messaging(&engine), SubscriptionId(id), positions.len());
        assert!(came.iter().eq(positions), "{id}: {came:?}");
        let more = messaging(&engine)
            .take(SubscriptionId(id), 9, None)
            .expect("it is there");
        assert!(more.is_empty(), "{id}: {more:?}");
    };
    // The settings of the subscriptions are events too.
    check(1, &[1, 4, 9, 10, 11, 12]);
    check(2, &[3, 5]);
    check(3, &[10, 11, 12]);
    check(5, &[1, 2, 3]);
    check(4, &[]);
    check(6, &[]);
    engine.shutdown();
}

#[test]
fn whoever_waits_is_called_when_an_event_comes() {
    let directory = tempfile::tempdir().expect("a directory");
    let engine = engine(directory.path());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    let mut made = subscription(ID, Policy::default());
    made.terms.filter.patterns = vec![Pattern::new("account.*").expect("a pattern")];
    define(&engine, &made, None);
    let asking = engine.engine.clone();
    let asks = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(50));
        asking
            .execute_blocking(vec![open("a", "a")])
            .expect("it is opened");
    });
    let delivery = runtime.block_on(async {
        let bell = messaging(&engine).arrivals(ID);
        loop {
            let mut rings = std::pin::pin!(bell.notified());
            rings.as_mut().enable();
            let taken = messaging(&engine).take(ID, 1, None).expect("it is there");
            if let Some(delivery) = taken.first() {
                return *delivery;
            }
            rings.await;
        }
    });
    assert_eq!((delivery.position, delivery.attempt), (2, 1));
    asks.join().expect("it asked");
    engine.shutdown();
}

/// A subscription whose filter changes while payments are made and events are taken gets each event that the revision before the
/// event wants, once, and no other.
#[test]
fn a_filter_that_changes_under_load_matches_each_event_with_the_revision_before_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let running = engine(directory.path());
    running
        .execute_blocking(vec![open("a", "a"), open("b", "b")])
        .expect("they are opened");
    let patterns = ["payment.*", "account.#", "#", "subscription.#"];
    let made = |round: usize| {
        let mut made = subscription(ID, Policy::default());
        let pattern = patterns[round % patterns.len()];
        made.terms.filter.patterns = vec![Pattern::new(pattern).expect("a pattern")];
        made
    };
    define(&running, &made(0), Some(0));
    let done = AtomicBool::new(false);
    let mut came = BTreeSet::new();
    std::thread::scope(|scope| {
        let (running, done) = (&running, &done);
        scope.spawn(move || {
            for batch in 0..60 {
                let name = format!("load-{batch}");
                let paid = running.execute_blocking(payments(&name, 50));
                paid.expect("they are made");
            }
            done.store(true, Ordering::SeqCst);
        });
        scope.spawn(move || {
            for round in 1.. {
                define(running, &made(round), Some(0));
                let key = format!("opened-{round}");
                let opened = running.execute_blocking(vec![open(&key, "c")]);
                opened.expect("it is opened");
                if done.load(Ordering::SeqCst) {
                    break;
                }
            }
        });
        let begun = Instant::now();
        let caught_up = |running: &Running| {
            let (figures, _) = messaging(running).figures(ID).expect("it is there");
            let idle = figures.waiting == 0 && figures.in_flight == 0;
            idle && figures.scanned == running.reader().published()
        };
        while !(done.load(Ordering::SeqCst) && caught_up(running)) {
            assert!(begun.elapsed() < PATIENCE, "it never ends");
            let taken = messaging(running).take(ID, 64, None).expect("it is there");
            let receipts: Vec<Receipt> = taken.iter().map(|one| one.receipt).collect();
            for one in taken {
                assert!(came.insert(one.position), "{} came twice", one.position);
            }
            let acked = messaging(running).ack(ID, &receipts).expect("it is there");
            assert!(acked.iter().all(Result::is_ok));
        }
    });
    // The last definition may have come after the last look.
    let rest = drain_all(messaging(&running), ID, &running);
    came.extend(rest);
    assert_eq!(came, expected(&running));
    running.shutdown();
}

/// Takes what is left, until everything was matched.
fn drain_all(messaging: &Messaging, id: SubscriptionId, running: &Running) -> BTreeSet<u64> {
    let mut came = BTreeSet::new();
    loop {
        let taken = messaging.take(id, 256, None).expect("it is there");
        let receipts: Vec<Receipt> = taken.iter().map(|one| one.receipt).collect();
        came.extend(taken.iter().map(|one| one.position));
        messaging.ack(id, &receipts).expect("it is there");
        let (figures, _) = messaging.figures(id).expect("it is there");
        if figures.waiting == 0 && figures.scanned == running.reader().published() {
            return came;
        }
    }
}

/// What the subscription should get, as the journal has its revisions: read one record after the other.
fn expected(running: &Running) -> BTreeSet<u64> {
    let reader = running.reader();
    let (mut expected, mut payload) = (BTreeSet::new(), Vec::new());
    let mut pattern = Pattern::new("payment.*").expect("a pattern");
    for position in 1..=reader.published() {
        let read = reader.payload(position, &mut payload);
        assert!(read.expect("it can be read"), "it is there");
        let record = RecordRef::parse(&payload, FORMAT_VERSION).expect("a record");
        if pattern.matches(event_type(&record)) {
            expected.insert(position);
        }
        if let (Some(setting), Some(_)) = (record.setting(), record.setting_change()) {
            let content = SubscriptionContent::decode(setting.body).expect("it is one");
            pattern = content.terms.filter.patterns[0].clone();
        }
    }
    expected
}
