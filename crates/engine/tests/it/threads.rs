//! Promises of the running engine, with its threads, called from many.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Condvar, Mutex, mpsc};
use std::time::Duration;

use tributary_engine::{
    COMMANDS_PER_BATCH_MAX, COMMANDS_QUEUED_MAX, Clock, Engine, Failure, Options, Ports, Refused,
    Reply, SystemClock, Ticket,
};
use tributary_ledger::{
    AccountId, Body, Command, OwnerId, Pay, PayeeAmounts, PaymentId, PaymentStatus, Queue,
    QueueTerms, Refund,
};
use tributary_testkit::clock::TestClock;
use tributary_testkit::disk::{Fault, SimDisk};
use tributary_testkit::intercepted::{Intercepted, Submit};
use tributary_testkit::logs::is_left_out_on_logs;
use tributary_testkit::store::{TestStore, Tested};

use crate::support::{
    BEGIN, SECOND, codes, command, eventually, hold, in_directory, open, options, pay,
};

fn start(store: &TestStore) -> Tested<Engine> {
    store.start(Arc::new(SystemClock), Options::default())
}

fn pay_command(key: &str, amount: u64) -> Command {
    command(key, Body::Pay(pay(1, 2, amount)))
}

fn open_two(engine: &Engine) {
    let opened = engine.execute_blocking(vec![open("a", "platform"), open("b", "shop")]);
    assert_eq!(codes(&opened.expect("nothing is in the way")), [None, None]);
}

fn posted(engine: &Engine, account: u64) -> i64 {
    let account = engine.reader().account(AccountId(account));
    account.expect("it exists").posted
}

/// `(position, replayed)` of the only reply.
fn done(replies: &[Reply]) -> (u64, bool) {
    match replies {
        [Reply::Done { record, replayed }] => (record.ctx.position, *replayed),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_same_key_at_the_same_moment_from_many_threads_is_one_record() {
    const THREADS: usize = 8;
    const KEYS: usize = 25;
    let store = in_directory();
    let engine = start(&store);
    open_two(&engine);
    let barrier = Barrier::new(THREADS);
    let answers: Vec<Vec<(u64, bool)>> = std::thread::scope(|scope| {
        let call = |thread: usize| {
            let (engine, barrier) = (&engine, &barrier);
            move || {
                let mut answers = Vec::new();
                for key in 0..KEYS {
                    barrier.wait();
                    let shared = pay_command(&format!("shared-{key}"), 1_000 + key as u64);
                    answers.push(done(&engine.execute_blocking(vec![shared]).unwrap()));
                    let own = pay_command(&format!("own-{thread}-{key}"), 1);
                    assert!(!done(&engine.execute_blocking(vec![own]).unwrap()).1);
                }
                answers
            }
        };
        let threads: Vec<_> = (0..THREADS).map(|at| scope.spawn(call(at))).collect();
        threads.into_iter().map(|it| it.join().unwrap()).collect()
    });
    let mut expected = (THREADS * KEYS) as i64;
    for key in 0..KEYS {
        let of_key: Vec<(u64, bool)> = answers.iter().map(|answers| answers[key]).collect();
        assert!(of_key.iter().all(|(position, _)| *position == of_key[0].0));
        let first = of_key.iter().filter(|(_, replayed)| !replayed).count();
        assert_eq!(first, 1, "one of them was first: {of_key:?}");
        expected += 1_000 + key as i64;
    }
    let records = (2 + KEYS + THREADS * KEYS) as u64;
    assert_eq!(engine.reader().head().position, records);
    assert_eq!(
        (posted(&engine, 1), posted(&engine, 2)),
        (-expected, expected)
    );
    let digest = engine.reader().digest();
    engine.shutdown();
    drop(engine);

    let engine = start(&store);
    assert_eq!(engine.reader().digest(), digest);
    let again = engine.execute_blocking(vec![pay_command("shared-3", 1_003)]);
    assert_eq!(done(&again.unwrap()), (answers[0][3].0, true));
    let other = engine.execute_blocking(vec![pay_command("shared-3", 1_004)]);
    assert!(matches!(other.unwrap()[..], [Reply::KeyConflict { .. }]));
    assert_eq!(engine.reader().head().position, records);
}

/// Two refunds of 60 of a payment of 100, at the same moment: only one can be.
#[test]
fn two_refunds_at_once_never_give_back_more_than_was_captured() {
    let store = in_directory();
    let engine = start(&store);
    open_two(&engine);
    for round in 0..10 {
        let paid = engine.execute_blocking(vec![pay_command(&format!("pay-{round}"), 100)]);
        let payment = PaymentId(done(&paid.unwrap()).0);
        let barrier = Barrier::new(2);
        let refund = |who: u64| {
            let refund = Refund {
                payment,
                amount: Some(60),
                refund_fee: false,
                splits: PayeeAmounts::default(),
            };
            let command = command(&format!("refund-{round}-{who}"), Body::Refund(refund));
            barrier.wait();
            codes(&engine.execute_blocking(vec![command]).unwrap())[0]
        };
        let mut answers = std::thread::scope(|scope| {
            let other = scope.spawn(|| refund(1));
            [refund(0), other.join().unwrap()]
        });
        answers.sort_unstable();
        assert_eq!(answers, [None, Some("refund_exceeds_captured")]);
        let now = engine.reader().payment(payment).unwrap().unwrap();
        assert_eq!((now.captured, now.refunded), (100, 60));
    }
}

#[test]
fn what_a_shutdown_answers_is_kept_and_what_it_refuses_is_not() {
    const THREADS: u64 = 4;
    let store = in_directory();
    let engine = start(&store);
    open_two(&engine);
    let (told, tell) = mpsc::channel();
    let answered = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (engine, told, answered) = (&engine, told.clone(), &answered);
            scope.spawn(move || {
                for at in 0..100_000 {
                    let key = format!("{thread}-{at}");
                    let answer = engine.execute_blocking(vec![pay_command(&key, 1)]);
                    let stop = answer.is_err();
                    answered.fetch_add(1, Ordering::SeqCst);
                    told.send((key, answer.map(|replies| done(&replies))))
                        .unwrap();
                    if stop {
                        return;
                    }
                }
            });
        }
        eventually("much is under way", || {
            answered.load(Ordering::SeqCst) > 100
        });
        engine.shutdown();
    });
    drop((engine, told));

    let engine = start(&store);
    let mut accepted = 0;
    for (key, answer) in tell {
        let again = engine.execute_blocking(vec![pay_command(&key, 1)]);
        let again = done(&again.expect("it takes commands"));
        match answer {
            Ok((position, replayed)) => {
                assert!(!replayed);
                assert_eq!(again, (position, true), "{key} was answered");
                accepted += 1;
            }
            Err(Refused::Stopping) => assert!(!again.1, "{key} was refused and is there"),
            Err(other) => panic!("{key}: {other}"),
        }
    }
    assert!(accepted > THREADS, "something was under way");
    assert_eq!(posted(&engine, 2), (accepted + THREADS) as i64);
}

#[test]
fn a_hold_expires_by_itself_also_after_a_restart() {
    let store = in_directory();
    let clock = TestClock::starting_at(BEGIN);
    let start = || store.start(Arc::new(clock.clone()), Options::default());
    let engine = start();
    open_two(&engine);
    let due = BEGIN + SECOND / 2;
    let holds = (0..3).map(|at| command(&format!("hold-{at}"), hold(1, 2, 70, due)));
    let held = engine.execute_blocking(holds.collect()).unwrap();
    assert_eq!(codes(&held), [None, None, None]);
    engine.shutdown();
    drop(engine);

    let engine = start();
    let status = |payment| {
        let payment = engine.reader().payment(PaymentId(payment));
        payment.unwrap().unwrap().status
    };
    clock.set(due - 1);
    // Longer than the writer sleeps.
    std::thread::sleep(Duration::from_millis(600));
    for payment in 3..=5 {
        let before = status(payment);
        assert_eq!(before, PaymentStatus::Authorized, "not before its time");
    }
    clock.set(due);
    for payment in 3..=5 {
        eventually("the hold expires", || {
            status(payment) == PaymentStatus::Expired
        });
    }
    let source = engine.reader().account(AccountId(1)).unwrap();
    assert_eq!((source.posted, source.held), (0, 0));
    assert_eq!(engine.reader().head().position, 8, "each expired once");
}

/// Batches that are handed over become durable while it is open.
#[derive(Default)]
struct Gate {
    is_open: Mutex<bool>,
    opened: Condvar,
    /// Number of batches that were handed over.
    handed_over: AtomicUsize,
}

impl Gate {
    fn set_open(&self, is_open: bool) {
        *self.is_open.lock().unwrap() = is_open;
        self.opened.notify_all();
    }

    fn pass(&self) {
        let is_open = self.is_open.lock().unwrap();
        drop(self.opened.wait_while(is_open, |is_open| !*is_open));
    }
}

/// An engine over a new store behind a gate, which takes one batch at a time.
fn start_gated(clock: Arc<dyn Clock>, gate: &Arc<Gate>) -> Tested<Engine> {
    let store = TestStore::in_memory();
    let gate = gate.clone();
    let submit: Submit = Box::new(move |submit| {
        let (ticket, gate) = (submit(), gate.clone());
        gate.handed_over.fetch_add(1, Ordering::SeqCst);
        Ticket::pending(move || {
            gate.pass();
            ticket.wait()
        })
    });
    let backend = Box::new(Intercepted::new(store.open(), 1, submit));
    store.start_over(backend, clock, Options::default(), Ports::default())
}

const MILLISECOND: Duration = Duration::from_millis(1);

#[test]
fn too_much_at_once_is_refused_and_what_was_taken_is_answered() {
    let gate = Arc::new(Gate::default());
    let engine = start_gated(Arc::new(SystemClock), &gate);
    // Cheap to decide: there is no such account.
    let batch = |name: usize| -> Vec<Command> {
        (0..COMMANDS_PER_BATCH_MAX)
            .map(|at| {
                command(
                    &format!("{name}-{at}"),
                    Body::FreezeAccount(AccountId(1 << 40)),
                )
            })
            .collect()
    };
    let mut too_many = batch(0);
    too_many.push(command("one more", Body::FreezeAccount(AccountId(1))));
    assert!(matches!(
        engine.execute_blocking(too_many),
        Err(Refused::TooLarge)
    ));
    assert!(matches!(
        engine.execute_blocking(vec![]),
        Err(Refused::TooLarge)
    ));

    // Two batches leave the queue: the one in flight and the open one. The rest stays.
    let fits = COMMANDS_QUEUED_MAX / COMMANDS_PER_BATCH_MAX + 2;
    let answered = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for name in 0..fits {
            let (engine, answered, batch) = (&engine, &answered, &batch);
            scope.spawn(move || {
                // Until the writer has taken the two, the queue is fuller than it stays.
                let replies = loop {
                    match engine.execute_blocking(batch(name)) {
                        Err(Refused::Overloaded { .. }) => std::thread::sleep(MILLISECOND),
                        taken => break taken.expect("it was taken"),
                    }
                };
                answered.fetch_add(replies.len(), Ordering::SeqCst);
            });
            // One after the other, so that the first is in flight before the others come.
            let taken = (name + 1).saturating_sub(2) * COMMANDS_PER_BATCH_MAX;
            eventually("the queue grows", || engine.status().queued == taken);
        }
        assert_eq!(answered.load(Ordering::SeqCst), 0, "nothing is durable yet");
        let refused = engine.execute_blocking(vec![open("late", "shop")]);
        assert!(matches!(refused, Err(Refused::Overloaded { .. })));
        gate.set_open(true);
    });
    assert_eq!(
        answered.load(Ordering::SeqCst),
        fits * COMMANDS_PER_BATCH_MAX
    );
    let late = engine.execute_blocking(vec![open("late", "shop")]).unwrap();
    assert!(!done(&late).1, "its key was never taken");
}

/// Whatever an owner's programs send in batches, such as an import: they take a quarter of what may wait, and others go on.
#[test]
fn the_batches_of_an_owner_take_a_share_of_the_commands_that_may_wait() {
    let gate = Arc::new(Gate::default());
    let engine = start_gated(Arc::new(SystemClock), &gate);
    let batch = |owner: u64, name: usize| -> Vec<Command> {
        let freeze = |at| {
            let key = format!("{owner}-{name}-{at}");
            let mut command = command(&key, Body::FreezeAccount(AccountId(1 << 40)));
            command.actor.owner = OwnerId(owner);
            command
        };
        (0..COMMANDS_PER_BATCH_MAX).map(freeze).collect()
    };
    let submit = |owner, name| engine.submit_unwatched(batch(owner, name));
    // Two leave the queue: one is in flight, one is open.
    for name in 0..2 {
        submit(0, name).expect("there is room");
        eventually("the writer takes it", || engine.status().queued == 0);
    }
    submit(70, 0).expect("there is room");
    submit(70, 1).expect("there is room");
    assert!(matches!(submit(70, 2), Err(Refused::Overloaded { .. })));
    submit(80, 0).expect("another owner has its share");
    submit(0, 2).expect("the platform has its part");
    let one = vec![batch(70, 3).remove(0)];
    let refused = engine.submit_unwatched(one);
    assert!(matches!(refused, Err(Refused::Overloaded { .. })));
    gate.set_open(true);
    eventually("all are done", || engine.status().queued == 0);
    engine
        .execute_blocking(batch(70, 2))
        .expect("there is room again");
}

/// The time of the later one comes while the earlier one is on its way to the disk.
#[test]
fn a_slow_sync_lets_no_later_queued_payment_of_a_payer_overtake() {
    let clock = TestClock::starting_at(BEGIN);
    let gate = Arc::new(Gate::default());
    gate.set_open(true);
    let engine = start_gated(Arc::new(clock.clone()), &gate);
    open_two(&engine);
    let queued = |key: &str, not_before| {
        let terms = QueueTerms {
            not_before,
            ..QueueTerms::default()
        };
        let queue = Queue {
            terms,
            ..Queue::default()
        };
        let pay = Pay {
            queue: Some(Box::new(queue)),
            ..pay(1, 2, 1)
        };
        vec![command(key, Body::Pay(pay))]
    };
    let later = engine.execute_blocking(queued("later", BEGIN + 2 * SECOND));
    assert_eq!(codes(&later.unwrap()), [None]);
    clock.set(BEGIN + SECOND);
    gate.set_open(false);
    let before = gate.handed_over.load(Ordering::SeqCst);
    engine.submit_unwatched(queued("earlier", 0)).unwrap();
    eventually("it is handed over", || {
        gate.handed_over.load(Ordering::SeqCst) > before
    });
    clock.set(BEGIN + 3 * SECOND);
    // Time for the writer to look at the queue.
    std::thread::sleep(700 * MILLISECOND);
    gate.set_open(true);
    let payment = |id| engine.reader().payment(PaymentId(id)).unwrap();
    let ran = |id| payment(id).is_some_and(|it| it.status == PaymentStatus::Captured);
    eventually("both run", || ran(3) && ran(4));
    assert!(payment(4).unwrap().changed_at < payment(3).unwrap().changed_at);
}

fn on_disk(disk: &SimDisk) -> TestStore {
    TestStore::on_disk(disk.disk(), options())
}

#[test]
fn a_failed_sync_stops_the_engine_for_good() {
    let disk = SimDisk::new(5);
    let fatal = Arc::new(AtomicUsize::new(0));
    let count = fatal.clone();
    let store = on_disk(&disk);
    let options = Options {
        on_fatal: Box::new(move |_| {
            count.fetch_add(1, Ordering::SeqCst);
        }),
        ..Options::default()
    };
    let engine = store.start(Arc::new(SystemClock), options);
    open_two(&engine);
    // Whatever operation comes next: the write, its sync, or the mark of an idle moment.
    disk.inject(disk.operations(), Fault::Broken);
    let mut acknowledged = 0;
    let refused = (0..200).find_map(|at| {
        match engine.execute_blocking(vec![pay_command(&format!("pay-{at}"), 1)]) {
            Ok(_) => {
                acknowledged += 1;
                None
            }
            Err(refused) => Some(refused),
        }
    });
    assert!(
        matches!(refused, Some(Refused::Unavailable(_))),
        "{refused:?}"
    );
    eventually("the process is told", || fatal.load(Ordering::SeqCst) == 1);
    assert!(engine.status().failed.is_some() && !engine.status().ready);
    let after = engine.execute_blocking(vec![pay_command("after", 1)]);
    assert!(after.is_err(), "it takes nothing more");
    assert_eq!(posted(&engine, 2), acknowledged, "reads go on");
    engine.shutdown();
    drop(engine);

    store.go_on_with(disk.crash(6).disk());
    let engine = start(&store);
    let again = engine
        .execute_blocking(vec![pay_command("pay-0", 1)])
        .unwrap();
    assert_eq!(codes(&again), [None]);
    assert!((acknowledged.max(1)..=acknowledged + 1).contains(&posted(&engine, 2)));
}

/// Not only of a frame: also of the space reserved for the next ones, and of the mark of an idle moment.
#[test]
fn a_broken_disk_is_never_taken_for_a_full_one() {
    for operation in 0..12 {
        let disk = SimDisk::new(operation);
        let engine = start(&on_disk(&disk));
        open_two(&engine);
        disk.inject(disk.operations() + operation, Fault::Broken);
        for at in 0..200 {
            let mut command = pay_command(&format!("pay-{at}"), 1);
            command.text = tributary_ledger::Text::new(0, &[b'x'; 16_000]).ok();
            if let Err(refused) = engine.execute_blocking(vec![command]) {
                assert!(!matches!(refused, Refused::StorageFull), "{operation}");
                eventually("it has stopped", || engine.status().failed.is_some());
                break;
            }
        }
    }
}

#[test]
fn a_full_disk_refuses_and_goes_on_by_itself_when_space_returns() {
    let disk = SimDisk::new(7);
    let engine = start(&on_disk(&disk));
    open_two(&engine);
    disk.set_capacity(disk.used());
    let mut acknowledged: i64 = 0;
    let mut at = 0;
    let refused = loop {
        at += 1;
        let mut command = pay_command(&format!("pay-{at}"), 1);
        command.text = tributary_ledger::Text::new(0, &[b'x'; 16_000]).ok();
        match engine.execute_blocking(vec![command]) {
            Ok(_) => acknowledged += 1,
            Err(refused) => break refused,
        }
        assert!(at < 2_000, "a full disk is noticed");
    };
    assert!(matches!(refused, Refused::StorageFull), "{refused}");
    assert!(!engine.status().ready && engine.status().storage_full);
    assert_eq!(posted(&engine, 2), acknowledged, "reads go on");
    let statement = engine
        .reader()
        .statement(AccountId(2), tributary_engine::Page::newest(10));
    assert!(!statement.expect("reads go on").items.is_empty());

    disk.set_capacity(u64::MAX);
    eventually("it is ready again, although nobody asks", || {
        engine.status().ready
    });
    let mut command = pay_command(&format!("pay-{at}"), 1);
    command.text = tributary_ledger::Text::new(0, &[b'x'; 16_000]).ok();
    let again = engine.execute_blocking(vec![command]).unwrap();
    assert!(!done(&again).1, "what was refused left nothing behind");
    assert_eq!(posted(&engine, 2), acknowledged + 1);
}

#[test]
fn repetitions_get_their_first_answer_while_the_disk_is_full() {
    if is_left_out_on_logs("a disk that copies on write may have no room for what the log has") {
        return;
    }
    let disk = SimDisk::new(8);
    let store = on_disk(&disk);
    let engine = start(&store);
    open_two(&engine);
    let first = engine
        .execute_blocking(vec![pay_command("first", 5)])
        .unwrap();
    // Nothing can be written any more, however long it lasts.
    disk.set_copy_on_write(true);
    disk.set_capacity(disk.used());
    let refuses = |key: &str| {
        let refused = engine.execute_blocking(vec![pay_command(key, 1)]);
        assert!(matches!(refused, Err(Refused::StorageFull)), "{refused:?}");
    };
    for round in 0..3 {
        refuses("new");
        let again = engine
            .execute_blocking(vec![pay_command("first", 5)])
            .unwrap();
        assert_eq!(done(&again), (done(&first).0, true), "round {round}");
        assert!(
            engine.status().storage_full,
            "a repetition tells of no space"
        );
        // The key of another command stays a conflict.
        let other = engine
            .execute_blocking(vec![pay_command("first", 6)])
            .unwrap();
        assert!(
            matches!(other[..], [Reply::KeyConflict { .. }]),
            "{other:?}"
        );
        // One new command among repetitions refuses them all.
        let mixed = vec![pay_command("first", 5), pay_command("new", 1)];
        let refused = engine.execute_blocking(mixed);
        assert!(matches!(refused, Err(Refused::StorageFull)), "{refused:?}");
    }
    assert_eq!(engine.status().failed, None);
    assert_eq!(posted(&engine, 2), 5);
    disk.set_capacity(u64::MAX);
    eventually("it is ready again, although nobody asks", || {
        engine.status().ready
    });
    let paid = engine
        .execute_blocking(vec![pay_command("new", 1)])
        .unwrap();
    assert!(!done(&paid).1, "what was refused left nothing behind");
    engine.shutdown();
    drop(engine);
    store.go_on_with(disk.crash(8).disk());
    let engine = start(&store);
    assert_eq!(posted(&engine, 2), 6);
}

#[test]
fn an_engine_that_starts_on_a_full_disk_says_so_at_once() {
    let disk = SimDisk::new(9);
    let store = on_disk(&disk);
    let engine = start(&store);
    open_two(&engine);
    let mut at = 0;
    disk.set_capacity(disk.used());
    loop {
        at += 1;
        let mut command = pay_command(&format!("pay-{at}"), 1);
        command.text = tributary_ledger::Text::new(0, &[b'x'; 16_000]).ok();
        if engine.execute_blocking(vec![command]).is_err() {
            break;
        }
        assert!(at < 2_000, "a full disk is noticed");
    }
    engine.shutdown();
    drop(engine);
    let disk = disk.crash(9);
    disk.set_capacity(disk.used());
    store.go_on_with(disk.disk());
    let engine = start(&store);
    let status = engine.status();
    assert!(status.storage_full && !status.ready, "{status:?}");
    disk.set_capacity(u64::MAX);
    eventually("it is ready when space returns", || engine.status().ready);
}

#[test]
fn damage_under_a_running_engine_is_told_alike_to_reads_and_repetitions() {
    if is_left_out_on_logs("it damages a file of the directory") {
        return;
    }
    let disk = SimDisk::new(10);
    let engine = start(&on_disk(&disk));
    open_two(&engine);
    let first = engine
        .execute_blocking(vec![pay_command("first", 5)])
        .unwrap();
    let position = done(&first).0;
    let text = tributary_ledger::Text::new(0, &[b'x'; 16_000]).expect("a text");
    for at in 0..200 {
        let mut command = pay_command(&format!("pay-{at}"), 1);
        command.text = Some(text.clone());
        engine.execute_blocking(vec![command]).unwrap();
    }
    assert!(
        engine.reader().store_stats().segments > 1,
        "the first is sealed"
    );
    assert_eq!(engine.reader().store_stats().damaged, 0);
    let disk = disk.disk();
    let segment = disk
        .list("journal")
        .expect("it lists")
        .into_iter()
        .next()
        .expect("a segment");
    let file = disk.open(&format!("journal/{segment}")).expect("it opens");
    let length = usize::try_from(file.len().expect("a length")).expect("it is small");
    let header = 4096;
    file.write_at(&vec![0xaa; length.min(64 << 10) - header], header as u64)
        .expect("it writes");
    let read = engine.reader().record(position);
    assert!(
        matches!(read, Err(Failure::RecordDamaged { .. })),
        "{read:?}"
    );
    let again = engine.execute_blocking(vec![pay_command("first", 5)]);
    assert!(
        matches!(again, Err(Refused::RecordDamaged { .. })),
        "{again:?}"
    );
    assert!(engine.reader().store_stats().damaged > 0, "it is counted");
    // What does not need the place goes on.
    assert!(
        engine
            .execute_blocking(vec![pay_command("another", 1)])
            .is_ok()
    );
    assert!(engine.status().ready);
}
