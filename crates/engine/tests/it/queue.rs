//! The queue of payments in the running engine.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tributary_engine::{Clock, Engine, Options, Reply, SystemClock};
use tributary_ledger::{
    Body, Command, Pay, PaymentId, PaymentStatus, Priority, Queue, QueueMode, QueueTerms,
};

use tributary_testkit::clock::TestClock;
use tributary_testkit::store::TestStore;

use crate::support::{
    BEGIN, SECOND, codes, command, eventually, in_directory, open, pay, settle, stepper,
};

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

/// Not in this century.
fn later() -> QueueTerms {
    QueueTerms {
        not_before: 4_200_000_000 * SECOND,
        ..QueueTerms::default()
    }
}

fn open_accounts(engine: &Engine) {
    let accounts = [open("a", "ann"), open("b", "bob"), open("c", "shop")];
    let opened = engine.execute_blocking(accounts.into()).expect("it runs");
    assert_eq!(codes(&opened), [None, None, None]);
}

#[test]
fn the_queue_never_holds_more_than_it_may_however_many_ask_at_once() {
    let options = Options {
        queue_length_max: 50,
        ..Options::default()
    };
    let engine = TestStore::in_memory().start(Arc::new(SystemClock), options);
    open_accounts(&engine);
    let first = engine.execute_blocking(vec![order("first", 1, later())]);
    assert_eq!(codes(&first.expect("there is room")), [None]);
    let (taken, refused) = (AtomicUsize::new(1), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let (engine, taken, refused) = (&engine, &taken, &refused);
            scope.spawn(move || {
                for at in 0..40 {
                    let orders =
                        (0..1 + at % 3).map(|n| order(&format!("{thread}-{at}-{n}"), 1, later()));
                    let replies = engine.execute_blocking(orders.collect()).expect("it runs");
                    for code in codes(&replies) {
                        match code {
                            None => taken.fetch_add(1, Ordering::SeqCst),
                            Some("full") => refused.fetch_add(1, Ordering::SeqCst),
                            Some(other) => panic!("{other}"),
                        };
                    }
                    assert!(engine.reader().queue_length() <= 50);
                }
            });
        }
    });
    let length = engine.reader().queue_length();
    assert_eq!(length, taken.load(Ordering::SeqCst));
    assert_eq!(length, 50, "it fills to the last place");
    let before = engine.reader().head().position;
    let run = |commands| codes(&engine.execute_blocking(commands).expect("it runs"));
    assert_eq!(run(vec![order("more", 1, later())]), [Some("full")]);
    assert!(refused.load(Ordering::SeqCst) > 0);
    let linked = |key: &str| Command {
        linked: true,
        ..command(key, Body::Pay(pay(1, 3, 1)))
    };
    assert_eq!(
        run(vec![linked("beside"), order("in a group", 1, later())]),
        [Some("full"), Some("full")],
        "a group is taken whole or not at all"
    );
    assert_eq!(
        engine.reader().head().position,
        before,
        "what is not taken makes no record"
    );
    let again = engine.execute_blocking(vec![order("first", 1, later())]);
    assert!(
        matches!(
            again.expect("it runs")[..],
            [Reply::Done { replayed: true, .. }]
        ),
        "who was accepted is told so again"
    );
    let plain = engine.execute_blocking(vec![command("plain", Body::Pay(pay(1, 3, 1)))]);
    assert_eq!(codes(&plain.expect("it is not queued")), [None]);
}

#[test]
fn what_was_accepted_runs_after_a_restart_at_its_time_and_in_order() {
    let store = in_directory();
    let clock = TestClock::starting_at(BEGIN);
    let start = || store.start(Arc::new(clock.clone()), Options::default());
    let engine = start();
    open_accounts(&engine);
    let not_before = BEGIN + SECOND / 2;
    let terms = |priority| QueueTerms {
        priority: Priority::new(priority).expect("it is one"),
        not_before,
        ..QueueTerms::default()
    };
    let hopeless = QueueTerms {
        expires_at: BEGIN + SECOND / 10,
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
    assert_eq!(engine.reader().queue_length(), 4, "none before its time");
    engine.shutdown();
    drop(engine);

    clock.advance(SECOND);
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
    assert_eq!(engine.reader().head().position, 12, "each ran once");
}

#[test]
fn a_paused_queue_waits_and_tells_only_those_that_are_too_late_through_a_restart() {
    let store = in_directory();
    let clock = TestClock::starting_at(BEGIN);
    let start = || store.start(Arc::new(clock.clone()), Options::default());
    let set = |engine: &Engine, key: &str, mode| {
        let set = engine.execute_blocking(vec![command(key, Body::SetQueue(mode))]);
        assert_eq!(codes(&set.expect("it runs")), [None]);
    };
    let engine = start();
    open_accounts(&engine);
    set(&engine, "pause", QueueMode::Paused);
    let soon = QueueTerms {
        expires_at: BEGIN + SECOND / 5,
        ..QueueTerms::default()
    };
    let orders = vec![
        order("waits", 1, QueueTerms::default()),
        order("late", 1, soon),
        order("voided", 2, QueueTerms::default()),
    ];
    let accepted = engine.execute_blocking(orders).expect("it runs");
    assert_eq!(codes(&accepted), [None, None, None]);
    let taken_back = vec![command("void", Body::Void(PaymentId(7)))];
    let voided = engine.execute_blocking(taken_back).expect("it runs");
    assert_eq!(codes(&voided), [None]);
    engine.shutdown();
    drop(engine);

    clock.advance(SECOND);
    let engine = start();
    let status = |engine: &Engine, id| {
        let payment = engine.reader().payment(PaymentId(id)).unwrap().unwrap();
        payment.status
    };
    eventually("the late one is told", || {
        status(&engine, 6) == PaymentStatus::Failed
    });
    assert_eq!(status(&engine, 5), PaymentStatus::Queued);
    assert_eq!(status(&engine, 7), PaymentStatus::Voided);
    let figures = engine.reader().queue_figures(engine.now());
    assert_eq!(figures.state.mode, QueueMode::Paused);
    assert_eq!((figures.length, figures.expired, figures.run), (1, 1, 0));

    set(&engine, "drain", QueueMode::Draining);
    eventually("what waits runs", || {
        status(&engine, 5) == PaymentStatus::Captured
    });
    let run = |key: &str| {
        let replies = engine.execute_blocking(vec![order(key, 1, QueueTerms::default())]);
        codes(&replies.expect("it runs"))
    };
    assert_eq!(run("new"), [Some("draining")]);
    assert_eq!(run("waits"), [None], "it was accepted");
    set(&engine, "resume", QueueMode::Active);
    assert_eq!(run("new"), [None], "the key stayed free");
    eventually("it runs", || engine.reader().queue_length() == 0);
    let figures = engine.reader().queue_figures(engine.now());
    assert_eq!((figures.run, figures.expired, figures.failed), (2, 1, 0));
    assert_eq!((figures.rates.done, figures.rates.refused), (3, 1));
    assert_eq!(engine.reader().oldest_open(), None);
}

/// The record says when it was decided, and that may be a little before the clock by which it was chosen.
#[test]
fn who_is_in_time_by_its_record_does_not_overtake_as_if_it_were_too_late() {
    let time = TestClock::starting_at(BEGIN);
    let clock: Arc<dyn Clock> = Arc::new(time.clone());
    let mut stepper = stepper(1, &clock);
    let accounts = vec![open("a", "ann"), open("b", "bob"), open("c", "shop")];
    assert_eq!(settle(&mut stepper, accounts), [None; 3]);
    let soon = QueueTerms {
        expires_at: BEGIN + 2,
        ..QueueTerms::default()
    };
    let orders = vec![
        order("first", 1, QueueTerms::default()),
        order("second", 1, soon),
    ];
    assert_eq!(settle(&mut stepper, orders), [None; 2]);
    let _waits = stepper.accept(vec![command("opens a batch", Body::Pay(pay(1, 3, 1)))]);
    time.advance(2);
    assert!(stepper.run_queue());
    stepper.settle();
    let payment = |id| stepper.reader().payment(PaymentId(id)).unwrap().unwrap();
    assert_eq!(payment(5).status, PaymentStatus::Captured);
    assert!(payment(4).changed_at < payment(5).changed_at);
}

/// A payment that is on its way to the disk may be ahead of one whose time has come meanwhile.
#[test]
fn a_later_payment_waits_for_an_earlier_one_of_its_payer_that_is_not_published_yet() {
    let time = TestClock::starting_at(BEGIN);
    let clock: Arc<dyn Clock> = Arc::new(time.clone());
    let mut stepper = stepper(1, &clock);
    let accounts = vec![open("a", "ann"), open("b", "bob"), open("c", "shop")];
    assert_eq!(settle(&mut stepper, accounts), [None; 3]);
    let at = |seconds| QueueTerms {
        not_before: BEGIN + seconds * SECOND,
        ..QueueTerms::default()
    };
    let orders = vec![order("at two", 1, at(2)), order("of another", 2, at(1))];
    assert_eq!(settle(&mut stepper, orders), [None; 2]);

    time.advance(SECOND);
    let _accepted = stepper.accept(vec![order("at one", 1, QueueTerms::default())]);
    stepper.submit();
    time.advance(SECOND * 5 / 2);
    // The sync takes long. What joined its lane before is not held up by that.
    assert!(stepper.run_queue());
    stepper.settle();
    let payment = |id| stepper.reader().payment(PaymentId(id)).unwrap().unwrap();
    assert_eq!(payment(5).status, PaymentStatus::Captured);
    assert_eq!(payment(4).status, PaymentStatus::Queued);

    assert!(stepper.run_queue());
    stepper.settle();
    let payment = |id| stepper.reader().payment(PaymentId(id)).unwrap().unwrap();
    assert_eq!(payment(4).status, PaymentStatus::Captured);
    assert_eq!(payment(6).status, PaymentStatus::Captured);
    let ran = [6, 4].map(|id| payment(id).changed_at);
    assert!(ran.is_sorted(), "by the time at which they joined: {ran:?}");
}
