//! The same commands give the same bytes and the same state as in memory.

use std::sync::Arc;

use tributary_engine::{Batch, JournalReader, Memory};
use tributary_ledger::{AccountKind, Body, Overdraft, PaymentKind, PaymentStatus};

use crate::database::{Database, TestClock, database, meta};
use crate::driver::{Node, frames, replayed};
use crate::workload::{Workload, command, open, pay, refund};

fn same_outcome(memory: &Batch, postgres: &Batch) {
    assert_eq!(memory.first_position(), postgres.first_position());
    for (a, b) in memory.records().iter().zip(&postgres.records()) {
        assert_eq!(a, b, "at {}", a.ctx.position);
    }
    assert_eq!(memory.len(), postgres.len());
}

/// Everything that can be compared of two journals.
fn same_journal(memory: &Node, postgres: &Node) {
    assert_eq!(memory.reader.head(), postgres.reader.head());
    assert!(
        frames(&*memory.reader) == frames(&*postgres.reader),
        "the frames differ"
    );
    let digest = memory.recovered.digest();
    assert_eq!(
        digest,
        postgres.recovered.digest(),
        "rebuilt from the tables"
    );
    assert_eq!(
        digest,
        replayed(&*postgres.reader).digest(),
        "replayed from the frames"
    );
    assert_eq!(memory.recovered.totals(), postgres.recovered.totals());
}

fn check(database: &Database, seed: u64, batches: usize) {
    let clock = TestClock::running();
    let memory = Memory::new(meta());
    let mut workload = Workload::new(seed);
    let mut model = Node::start(memory.clone(), clock.clone());
    let mut node = Node::start(database.open().expect("it opens"), clock.clone());
    let mut records = 0;
    for batch in 0..batches {
        // Holds come due meanwhile.
        clock.tick();
        workload.now = tributary_engine::Clock::now(&*clock);
        for _ in 0..1 + workload.dice.below(4) {
            let request = workload.request();
            model.accept(request.clone()).expect("the model takes it");
            node.accept(request).expect("PostgreSQL takes it");
        }
        match (model.submit().1, node.submit().1) {
            (Some(expected), Some(found)) => {
                same_outcome(&expected, &found);
                workload.saw(&expected);
                records += expected.len();
            }
            (None, None) => {}
            _ => panic!("one of them lost batch {batch}"),
        }
        assert_eq!(model.told(), node.told(), "seed {seed}, batch {batch}");
        if workload.dice.below(10) == 0 || batch + 1 == batches {
            model = Node::start(memory.clone(), clock.clone());
            node.core.close();
            node = Node::start(database.open().expect("it opens again"), clock.clone());
            same_journal(&model, &node);
        }
    }
    node.core.close();
    assert!(records > batches, "the workload does something");
}

#[test]
fn the_same_commands_give_the_same_frames_and_state_as_in_memory() {
    for seed in [1, 2, 3] {
        let Some(mut database) = database() else {
            return;
        };
        check(&database, seed, 60);
        // Not only refusals.
        for (what, sql) in [
            (
                "captured",
                "SELECT count(*) FROM payments WHERE captured > 0",
            ),
            (
                "refunded",
                "SELECT count(*) FROM payments WHERE refunded > 0",
            ),
            (
                "failed",
                "SELECT count(*) FROM payments WHERE status = 'failed'",
            ),
            ("references", "SELECT count(*) FROM payment_references"),
            ("external ids", "SELECT count(*) FROM external_ids"),
            ("API keys", "SELECT count(*) FROM api_keys"),
        ] {
            assert!(database.number(sql) > 0, "seed {seed}: no {what}");
        }
    }
}

#[test]
fn an_old_payment_is_refunded_and_a_key_is_remembered_after_a_restart() {
    let Some(database) = database() else { return };
    let clock = TestClock::running();
    let mut node = Node::start(database.open().expect("it opens"), clock.clone());
    let opened = node.execute(vec![
        command(
            "a",
            open("bank", AccountKind::External, Overdraft::UNLIMITED),
        ),
        command("b", open("anna", AccountKind::Wallet, Overdraft::NONE)),
    ]);
    let [bank, anna] = [0, 1].map(|at| {
        opened
            .record(at)
            .outcome
            .account
            .clone()
            .expect("opened")
            .id
    });
    let top_up = command(
        "top-up",
        Body::Pay(pay(PaymentKind::TopUp, bank, anna, 700)),
    );
    let paid = node.execute(vec![top_up.clone()]);
    let id = paid.record(0).ctx.position;
    for n in 0..20 {
        node.execute(vec![command(
            &format!("more-{n}"),
            Body::Pay(pay(PaymentKind::TopUp, bank, anna, 1)),
        )]);
    }
    node.core.close();

    let mut node = Node::start(database.open().expect("it opens again"), clock.clone());
    let refunded = node.execute(vec![command("refund", refund(id, Some(300)))]);
    let payment = refunded
        .record(0)
        .outcome
        .payment
        .clone()
        .expect("it was accepted");
    assert_eq!(
        (payment.refunded, payment.status),
        (300, PaymentStatus::PartiallyRefunded)
    );
    // More than is left, and the same key again.
    let over = node.execute(vec![command("over", refund(id, Some(401)))]);
    assert!(!over.record(0).outcome.is_accepted());
    let head = node.reader.head();
    node.accept(vec![top_up]).expect("it is taken");
    assert!(node.submit().0.is_none(), "a replay writes nothing");
    assert_eq!(node.reader.head(), head);
    node.core.close();
    let node = Node::start(database.open().expect("it opens"), clock.clone());
    assert_eq!(
        node.recovered.account(anna).expect("there").posted,
        700 + 20 - 300
    );
}

#[test]
fn reads_work_from_any_thread_also_from_an_async_one() {
    let Some(mut database) = database() else {
        return;
    };
    let clock = TestClock::running();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let mut node = Node::start(database.open().expect("it opens"), clock.clone());
        for n in 0..10 {
            node.execute(vec![command(
                &format!("{n}"),
                open("anna", AccountKind::Wallet, Overdraft::NONE),
            )]);
        }
        // Their connections may die when nobody looks.
        let reader = node.reader.clone();
        read_all(&reader);
        let killed = std::thread::scope(|scope| scope.spawn(|| database.kill("reader")).join());
        assert!(killed.expect("sessions can be ended") > 0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| read_all(&reader));
            }
        });
        node.core.close();
        read_all(&reader);
    });
}

fn read_all(reader: &Arc<dyn JournalReader>) {
    let mut payload = Vec::new();
    for position in 1..=10 {
        assert!(reader.read(position, &mut payload).expect("it can be read"));
        let mut hashes = Vec::new();
        tributary_ledger::index_keys(&payload, &mut |hash| hashes.push(hash)).expect("a record");
        let mut found = Vec::new();
        reader
            .find(hashes[0], &mut |position| {
                found.push(position);
                std::ops::ControlFlow::Continue(())
            })
            .expect("the index answers");
        assert_eq!(found, [position]);
    }
    for position in [0, 11, u64::MAX] {
        assert!(!reader.read(position, &mut payload).expect("it can be read"));
        assert!(reader.frame(position).expect("it can be read").is_none());
    }
}
