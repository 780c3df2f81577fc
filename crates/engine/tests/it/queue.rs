//! The queue of payments in the running engine.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tributary_engine::{Engine, JournalMeta, Memory, Options, Refused, SystemClock};
use tributary_journal::Clock;
use tributary_ledger::{Body, Command, Pay, PaymentId, PaymentStatus, Priority, Queue, QueueTerms};

use crate::support::{SECOND, codes, command, in_directory, open, pay};

fn memory() -> Box<Memory> {
    Box::new(Memory::new(JournalMeta {
        cluster_id: [1; 16],
        id_key: [2; 16],
        epochs: vec![(1, 1)],
    }))
}

fn order(key: &str, source: u64, terms: QueueTerms) -> Command {
    let queue = Queue {
        terms,
        ..Queue::default()
    };
    let pay = Pay {
        queue: Some(Box::new(queue)),
        ..pay(source, 3, 1)
    };
    command(key, Body::Pay(pay))
}

fn later() -> QueueTerms {
    QueueTerms {
        not_before: SystemClock.now() + 3_600 * SECOND,
        ..QueueTerms::default()
    }
}

fn open_accounts(engine: &Engine) {
    let accounts = [open("a", "ann"), open("b", "bob"), open("c", "shop")];
    let opened = engine.execute_blocking(accounts.into()).expect("it runs");
    assert_eq!(codes(&opened), [None, None, None]);
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(
            begun.elapsed() < Duration::from_secs(20),
            "{what} never came true"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn the_queue_never_holds_more_than_it_may_however_many_ask_at_once() {
    let options = Options {
        queue_length_max: 50,
        ..Options::default()
    };
    let engine = Engine::start(memory(), Arc::new(SystemClock), options).expect("it starts");
    open_accounts(&engine);
    let (taken, refused) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let (engine, taken, refused) = (&engine, &taken, &refused);
            scope.spawn(move || {
                for at in 0..40 {
                    let orders =
                        (0..1 + at % 3).map(|n| order(&format!("{thread}-{at}-{n}"), 1, later()));
                    let orders: Vec<Command> = orders.collect();
                    let count = orders.len();
                    match engine.execute_blocking(orders) {
                        Ok(_) => taken.fetch_add(count, Ordering::SeqCst),
                        Err(Refused::QueueFull { .. }) => refused.fetch_add(1, Ordering::SeqCst),
                        Err(other) => panic!("{other}"),
                    };
                    assert!(engine.reader().queue_length() <= 50);
                }
            });
        }
    });
    let length = engine.reader().queue_length();
    assert_eq!(length, taken.load(Ordering::SeqCst));
    // Nobody is on the way any more: one place at a time, it fills to the last.
    for at in length..50 {
        let one = engine.execute_blocking(vec![order(&format!("last-{at}"), 1, later())]);
        assert_eq!(codes(&one.expect("there is room")), [None]);
    }
    let full = engine.execute_blocking(vec![order("more", 1, later())]);
    assert!(matches!(full, Err(Refused::QueueFull { .. })), "{full:?}");
    assert!(refused.load(Ordering::SeqCst) > 0);
    let plain = engine.execute_blocking(vec![command("plain", Body::Pay(pay(1, 3, 1)))]);
    assert_eq!(codes(&plain.expect("it is not queued")), [None]);
}

#[test]
fn what_was_accepted_runs_after_a_restart_at_its_time_and_in_order() {
    let directory = tempfile::tempdir().expect("a directory");
    let start = || {
        let backend = in_directory(directory.path());
        Engine::start(backend, Arc::new(SystemClock), Options::default()).expect("it starts")
    };
    let engine = start();
    open_accounts(&engine);
    let not_before = SystemClock.now() + SECOND / 2;
    let terms = |priority| QueueTerms {
        priority: Priority::new(priority).expect("it is one"),
        not_before,
        expires_at: 0,
    };
    let hopeless = QueueTerms {
        expires_at: SystemClock.now() + SECOND / 10,
        ..later()
    };
    assert!(hopeless.expires_at < hopeless.not_before);
    let late = QueueTerms {
        not_before,
        expires_at: not_before + 1,
        ..QueueTerms::default()
    };
    let orders = vec![
        order("low", 1, terms(0)),
        order("behind", 1, terms(9)),
        order("high", 2, terms(9)),
        order("hopeless", 2, hopeless),
        order("late", 2, late),
    ];
    let accepted = engine.execute_blocking(orders).expect("it runs");
    assert_eq!(
        codes(&accepted),
        [None, None, None, Some("queue_expired"), None]
    );
    engine.shutdown();
    drop(engine);

    std::thread::sleep(Duration::from_millis(600));
    let engine = start();
    eventually("the queue is empty", || engine.reader().queue_length() == 0);
    let payment = |id| engine.reader().payment(PaymentId(id)).unwrap().unwrap();
    let ran = |id| payment(id).changed_at;
    assert!(
        ran(6) < ran(4) && ran(4) < ran(5),
        "the urgent payer, then the other in order"
    );
    for id in [4, 5, 6] {
        assert_eq!(payment(id).status, PaymentStatus::Captured);
    }
    assert_eq!(
        payment(8).status,
        PaymentStatus::Failed,
        "it was told that it was too late"
    );
    assert!(SystemClock.now() >= not_before);
    assert_eq!(engine.reader().head().position, 12, "each ran once");
}
