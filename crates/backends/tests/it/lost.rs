//! A lost connection loses nothing that was acknowledged and doubles nothing.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tributary_backends::postgres::{Options, Postgres};
use tributary_engine::{
    Engine, Failure, Fate, Memory, Options as EngineOptions, Refused, Reply, SystemClock,
};
use tributary_ledger::{AccountId, AccountKind, Body, Command, Overdraft, PaymentKind};

use crate::database::{TestClock, database, meta};
use crate::driver::{Node, frames, records};
use crate::proxy::{Cut, Proxy, address_in};
use crate::workload::{Dice, command, open, pay};

/// Connections are killed for so long at most: a slow machine may get nothing done between two kills, and what became of a commit
/// must be learned within [`UNKNOWN_ASKED_FOR_MAX`].
///
/// [`UNKNOWN_ASKED_FOR_MAX`]: tributary_backends::postgres::UNKNOWN_ASKED_FOR_MAX
const KILLING_MAX: Duration = Duration::from_secs(10);

/// Connections that are killed at least, however long that takes.
const KILLS_MIN: usize = 3;

/// A command is repeated for so long before a test gives up: well beyond the killing.
const REPEATED_MAX: Duration = Duration::from_secs(120);

#[test]
fn a_connection_killed_between_load_and_commit_loses_that_batch_and_nothing_else() {
    let Some(mut database) = database() else {
        return;
    };
    let clock = TestClock::running();
    let memory = Memory::new(meta());
    let mut model = Node::start(memory, clock.clone());
    let mut node = Node::start(database.open().expect("it opens"), clock.clone());
    for n in 0..5 {
        let request = vec![command(
            &format!("{n}"),
            open("anna", AccountKind::Wallet, Overdraft::NONE),
        )];
        clock.tick();
        let before = node.reader.head();
        node.accept(request.clone())
            .expect("it is loaded and decided");
        assert_eq!(database.kill("writer"), 1);
        let (fate, batch) = node.submit();
        assert!(
            matches!(fate, Some(Fate::Refused(Failure::Unavailable(_)))) && batch.is_none(),
            "{fate:?}"
        );
        assert!(matches!(node.told().as_slice(), [Err(_)]));
        assert_eq!(node.reader.head(), before);
        // The same again, over a new connection, as if nothing had been.
        node.execute(request.clone());
        node.told();
        model.execute(request);
    }
    assert!(
        frames(&*model.reader) == frames(&*node.reader),
        "the frames differ"
    );
    node.core.close();
}

#[test]
fn a_connection_killed_in_the_middle_of_a_turn_fails_the_whole_batch() {
    let Some(mut database) = database() else {
        return;
    };
    let clock = TestClock::running();
    let mut node = Node::start(database.open().expect("it opens"), clock.clone());
    let request = |key: &str| {
        vec![command(
            key,
            open("anna", AccountKind::Wallet, Overdraft::NONE),
        )]
    };
    node.accept(request("a")).expect("it is decided");
    assert_eq!(database.kill("writer"), 1);
    // The next one must not go on in a new transaction, as if the first part of the batch were in it.
    assert!(matches!(
        node.accept(request("b")),
        Err(Failure::Unavailable(_))
    ));
    let (fate, _) = node.submit();
    assert!(matches!(fate, Some(Fate::Refused(_))), "{fate:?}");
    assert!(node.told().iter().all(Result::is_err));
    assert_eq!(node.reader.head().position, 0);
    node.execute([request("a"), request("b")].concat());
    assert_eq!(records(&*node.reader).len(), 2);
    node.core.close();
}

#[test]
fn an_idle_connection_that_died_is_replaced_unnoticed() {
    let Some(mut database) = database() else {
        return;
    };
    let clock = TestClock::running();
    let mut node = Node::start(database.open().expect("it opens"), clock.clone());
    for n in 0..3 {
        assert_eq!(database.kill("writer"), 1);
        node.execute(vec![command(
            &format!("{n}"),
            open("anna", AccountKind::Wallet, Overdraft::NONE),
        )]);
    }
    assert_eq!(records(&*node.reader).len(), 3);
    node.core.close();
}

#[test]
fn a_connection_lost_in_commit_leaves_no_batch_lost_or_doubled() {
    let Some(database) = database() else { return };
    let proxy = Proxy::to(address_in(&database.options.url));
    let options = Options {
        url: proxy.url(&database.options.url),
        ..database.options.clone()
    };
    let clock = TestClock::running();
    let memory = Memory::new(meta());
    let mut model = Node::start(memory, clock.clone());
    let backend = Postgres::open(&options, TestClock::running(), &meta()).expect("it opens");
    let mut node = Node::start(backend, clock.clone());
    let cuts = [
        Cut::BeforeCommit,
        Cut::AfterCommit,
        Cut::DuringCommit,
        Cut::Never,
    ];
    for (n, cut) in cuts.into_iter().cycle().take(16).enumerate() {
        let request = vec![command(
            &format!("{n}"),
            open("anna", AccountKind::Wallet, Overdraft::NONE),
        )];
        clock.tick();
        let before = proxy.cuts();
        proxy.cut_next(cut);
        node.accept(request.clone()).expect("it is decided");
        let (fate, durable) = node.submit();
        assert_eq!(
            proxy.cuts() - before,
            usize::from(cut != Cut::Never),
            "{cut:?}"
        );
        match cut {
            Cut::Never => assert!(matches!(fate, Some(Fate::Durable(_))), "{fate:?}"),
            _ => assert!(matches!(fate, Some(Fate::Unknown(_))), "{cut:?}: {fate:?}"),
        }
        match cut {
            Cut::BeforeCommit => assert!(durable.is_none(), "it can't be there"),
            Cut::AfterCommit | Cut::Never => assert!(durable.is_some(), "it must be there"),
            _ => {}
        }
        // The caller was told the truth, and repeats what was not done.
        assert_eq!(matches!(node.told().as_slice(), [Ok(_)]), durable.is_some());
        if durable.is_none() {
            node.execute(request.clone());
        } else {
            node.accept(request.clone()).expect("it is taken");
            assert!(node.submit().0.is_none(), "a replay writes nothing");
        }
        node.told();
        model.execute(request);
    }
    assert!(
        frames(&*model.reader) == frames(&*node.reader),
        "the frames differ"
    );
    node.core.close();
}

#[test]
fn sessions_that_outlive_their_connections_do_not_keep_the_journal_locked() {
    let Some(mut database) = database() else {
        return;
    };
    let proxy = Proxy::to(address_in(&database.options.url));
    let options = Options {
        url: proxy.url(&database.options.url),
        ..database.options.clone()
    };
    let backend = Postgres::open(&options, TestClock::running(), &meta()).expect("it opens");
    let mut node = Node::start(backend, TestClock::running());
    let cases: [&[Cut]; 4] = [
        &[],
        &[Cut::HalfOpenBeforeLock],
        &[Cut::HalfOpenAfterLock],
        &[
            Cut::HalfOpenAfterLock,
            Cut::HalfOpenBeforeLock,
            Cut::HalfOpenAfterLock,
            Cut::HalfOpenAfterLock,
        ],
    ];
    for (n, then) in cases.into_iter().enumerate() {
        let before = proxy.cuts();
        proxy.cut_next(Cut::HalfOpenAfterCommit);
        then.iter().for_each(|&cut| proxy.cut_next(cut));
        node.accept(vec![command(
            &format!("{n}"),
            open("anna", AccountKind::Wallet, Overdraft::NONE),
        )])
        .expect("it is decided");
        // It is asked after until the time for that is over.
        let (fate, durable) = node.submit();
        assert!(matches!(fate, Some(Fate::Unknown(_))), "{fate:?}");
        assert!(durable.is_some(), "{then:?}: {:?}", node.told());
        assert_eq!(proxy.cuts() - before, 1 + then.len(), "{then:?}");
        let writers = format!(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'tributary writer {}'",
            database.options.schema
        );
        // Half-open ones don't go by themselves; one of an attempt that took too long does.
        let stop = Instant::now() + REPEATED_MAX;
        while database.number(&writers) != 1 {
            assert!(Instant::now() < stop, "{then:?}: the others were not ended");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    assert_eq!(records(&*node.reader).len(), cases.len());
    node.core.close();
}

/// Repeats a command under its key until it is answered.
fn persist(engine: &Engine, command: &Command) -> u64 {
    let stop = Instant::now() + REPEATED_MAX;
    let mut why = None;
    while Instant::now() < stop {
        match engine.execute_blocking(vec![command.clone()]) {
            Ok(replies) => match replies.as_slice() {
                [Reply::Done { record, .. }] => return record.ctx.position,
                other => panic!("{other:?}"),
            },
            Err(Refused::Unavailable(failure)) => {
                why = Some(failure);
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(other) => panic!("{other:?}"),
        }
    }
    panic!("never answered, last {why:?}");
}

#[test]
fn payments_made_while_connections_are_killed_are_each_made_once() {
    const PAYMENTS_MIN: u64 = 120;
    let Some(mut database) = database() else {
        return;
    };
    let backend =
        Postgres::open(&database.options, Arc::new(SystemClock), &meta()).expect("it opens");
    let engine = Engine::start(
        Box::new(backend),
        Arc::new(SystemClock),
        EngineOptions::default(),
    )
    .expect("it starts");
    let opened = |key: &str, owner: &str, overdraft| {
        AccountId(persist(
            &engine,
            &command(key, open(owner, AccountKind::Wallet, overdraft)),
        ))
    };
    let source = opened("source", "bank", Overdraft::UNLIMITED);
    let payee = opened("payee", "anna", Overdraft::NONE);

    let (done, kills) = (AtomicBool::new(false), AtomicUsize::new(0));
    let acknowledged = std::thread::scope(|scope| {
        let killer = scope.spawn(|| {
            let mut dice = Dice::new(11);
            let stop = Instant::now() + KILLING_MAX;
            let few = || kills.load(Ordering::SeqCst) < KILLS_MIN;
            while !done.load(Ordering::SeqCst) && (few() || Instant::now() < stop) {
                std::thread::sleep(Duration::from_millis(1 + dice.below(40) as u64));
                let role = match dice.below(4) {
                    0 => "reader",
                    _ => "writer",
                };
                kills.fetch_add(database.kill(role), Ordering::SeqCst);
            }
        });
        let callers: Vec<_> = (0..4)
            .map(|caller| {
                let (engine, kills) = (&engine, &kills);
                scope.spawn(move || {
                    let mut acknowledged = HashMap::new();
                    // Some more, where the killer comes late.
                    for n in 0.. {
                        if n >= PAYMENTS_MIN / 4 && kills.load(Ordering::SeqCst) >= KILLS_MIN {
                            break;
                        }
                        let key = format!("pay-{caller}-{n}");
                        let body = Body::Pay(pay(PaymentKind::Transfer, source, payee, 1));
                        acknowledged.insert(key.clone(), persist(engine, &command(&key, body)));
                    }
                    acknowledged
                })
            })
            .collect();
        let callers = callers
            .into_iter()
            .map(|caller| caller.join().expect("a caller ends well"));
        let acknowledged: HashMap<String, u64> = callers.flatten().collect();
        done.store(true, Ordering::SeqCst);
        killer.join().expect("the killer ends well");
        acknowledged
    });
    assert!(engine.status().ready, "{:?}", engine.status());
    let seen = engine.reader().account(payee).map(|account| account.posted);
    let payments = acknowledged.len() as u64;
    assert_eq!(seen, Some(payments as i64), "what readers see");
    engine.shutdown();

    let clock = TestClock::running();
    let mut node = Node::start(database.open().expect("it opens again"), clock.clone());
    let records = records(&*node.reader);
    assert_eq!(records.len() as u64, payments + 2, "nothing twice");
    for (key, position) in &acknowledged {
        let record = &records[*position as usize - 1];
        assert_eq!(record.command.key.as_bytes(), key.as_bytes());
        assert!(record.outcome.is_accepted());
    }
    assert_eq!(
        node.recovered.account(payee).expect("there").posted,
        payments as i64
    );
    node.core.close();
}
