//! What the ports of the engine promise to those who take part in its work.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use tributary_engine::{
    Batch, Clock, CommitHook, Engine, Judge, Options, Permit, Ports, Reader, SystemClock,
};
use tributary_ledger::{
    AccountId, Assessment, Body, Command, Effect, Pay, PaymentId, PaymentStatus, Queue, Rejection,
};
use tributary_testkit::clock::TestClock;
use tributary_testkit::lossy::{Loss, Losses, Lossy};
use tributary_testkit::store::{TestStore, Tested};

use crate::support::{BEGIN, SECOND, codes, command, eventually, hold, open, pay};

fn start(losses: &Losses, ports: impl FnOnce(Reader) -> Ports) -> Tested<Engine> {
    start_by(Arc::new(SystemClock), losses, ports)
}

fn start_by(
    clock: Arc<dyn Clock>,
    losses: &Losses,
    ports: impl FnOnce(Reader) -> Ports,
) -> Tested<Engine> {
    let store = TestStore::in_memory();
    let backend = Lossy::new(store.open(), losses.clone());
    let recovered = Engine::recover(Box::new(backend), clock, Options::default());
    let recovered = recovered.expect("it is rebuilt");
    let ports = ports(recovered.reader());
    store.watch(recovered.start(ports).expect("it starts"))
}

fn order(key: &str, amount: u64) -> Command {
    let pay = Pay {
        queue: Some(Box::new(Queue::default())),
        ..pay(1, 2, amount)
    };
    command(key, Body::Pay(pay))
}

/// Checks what the hook is promised, and lets each batch in only when told to.
#[derive(Default)]
struct Witness {
    reader: OnceLock<Reader>,
    seen: Mutex<u64>,
    batches: AtomicUsize,
    may_return: AtomicBool,
}

impl CommitHook for Witness {
    fn committed(&self, batch: &Batch) {
        let mut seen = self.seen.lock().expect("unpoisoned");
        assert_eq!(
            batch.first_position(),
            *seen + 1,
            "no batch twice, none left out"
        );
        assert!(!batch.is_empty());
        *seen = batch.last_position();
        let reader = self.reader.get().expect("it was set at the start");
        assert!(reader.published() >= *seen, "the view shows it already");
        self.batches.fetch_add(1, Ordering::SeqCst);
        while !self.may_return.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

#[test]
fn the_hook_learns_of_each_batch_once_and_before_anyone_is_answered() {
    for loss in [Loss::Nothing, Loss::Answer] {
        let losses = Losses::new(0, 0);
        let witness = Arc::new(Witness::default());
        let hook = witness.clone();
        let engine = start(&losses, |reader| {
            assert!(hook.reader.set(reader).is_ok());
            Ports {
                commit_hook: Some(hook),
                ..Ports::default()
            }
        });
        losses.plan(loss);
        let asking = engine.clone();
        let answer = std::thread::spawn(move || asking.execute_blocking(vec![open("a", "a")]));
        eventually("the hook is called", || {
            witness.batches.load(Ordering::SeqCst) == 1
        });
        std::thread::sleep(Duration::from_millis(50));
        assert!(!answer.is_finished(), "{loss:?}: answered before the hook");
        witness.may_return.store(true, Ordering::SeqCst);
        let answered = answer.join().expect("it asked").expect("it is written");
        assert_eq!(codes(&answered), [None]);
        losses.plan(Loss::BatchAndAnswer);
        engine
            .execute_blocking(vec![open("lost", "b")])
            .expect_err("it is lost");
        engine
            .execute_blocking(vec![open("b", "b")])
            .expect("it is written");
        engine.shutdown();
        assert_eq!(*witness.seen.lock().expect("unpoisoned"), 2);
        assert_eq!(witness.batches.load(Ordering::SeqCst), 2);
    }
}

/// Blocks payments of 13, and queued ones when they run.
struct Superstitious {
    may_judge: AtomicBool,
    reader: Reader,
}

impl Judge for Superstitious {
    fn is_needed(&self) -> bool {
        true
    }

    fn assess(&self, commands: &mut [Command]) {
        for command in commands {
            let (is_unlucky, report) = match &command.body {
                Body::Pay(pay) => (pay.amount == 13 && pay.queue.is_none(), "as it is made"),
                Body::Run(id) => {
                    while !self.may_judge.load(Ordering::SeqCst) {
                        std::thread::sleep(Duration::from_millis(1));
                    }
                    let payment = self.reader.payment(*id).expect("it can be read");
                    (payment.expect("it is there").amount == 13, "as it runs")
                }
                _ => continue,
            };
            let effect = match is_unlucky {
                true => Effect::Block,
                false => Effect::Allow,
            };
            command.assessment = Assessment::new(effect, report.as_bytes()).map(Box::new);
        }
    }
}

#[test]
fn a_judge_assesses_payments_as_they_are_made_and_as_they_run_and_keeps_no_other_waiting() {
    let mut judge = None;
    let engine = start(&Losses::new(0, 0), |reader| {
        let made = Arc::new(Superstitious {
            may_judge: AtomicBool::new(false),
            reader: reader.clone(),
        });
        judge = Some(made.clone());
        Ports {
            judge: Some(made),
            ..Ports::default()
        }
    });
    let judge = judge.expect("it was made");
    let run = |commands| codes(&engine.execute_blocking(commands).expect("it runs"));
    run(vec![open("a", "a"), open("b", "b")]);
    run(vec![order("fine", 12), order("not fine", 13)]);
    // While the judge ponders, the writer goes on.
    assert_eq!(run(vec![command("plain", Body::Pay(pay(1, 2, 7)))]), [None]);
    let blocked = Some(Rejection::PaymentBlocked.code());
    assert_eq!(
        run(vec![command("unlucky", Body::Pay(pay(1, 2, 13)))]),
        [blocked]
    );
    let status = |id| {
        let payment = engine.reader().payment(PaymentId(id));
        payment
            .expect("it can be read")
            .expect("it is there")
            .status
    };
    assert_eq!(status(3), PaymentStatus::Queued);
    judge.may_judge.store(true, Ordering::SeqCst);
    eventually("the queue is empty", || engine.reader().queue_length() == 0);
    assert_eq!(status(3), PaymentStatus::Captured);
    assert_eq!(status(4), PaymentStatus::Failed);
    let found = |position| {
        let record = engine.reader().record(position).expect("it can be read");
        let command = record.expect("it is there").command;
        let found = command.assessment.expect("it was assessed");
        (
            found.effect(),
            String::from_utf8_lossy(found.report()).into_owned(),
        )
    };
    assert_eq!(found(4), (Effect::Allow, "as it is made".to_owned()));
    assert_eq!(found(6), (Effect::Block, "as it is made".to_owned()));
    assert_eq!(found(8), (Effect::Block, "as it runs".to_owned()));
    engine.shutdown();
}

#[derive(Default)]
struct Revocable(AtomicBool);

impl Permit for Revocable {
    fn is_granted(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

#[test]
fn nothing_runs_and_no_hold_expires_without_a_permit() {
    let permit = Arc::new(Revocable::default());
    let clock = TestClock::starting_at(BEGIN);
    let engine = start_by(Arc::new(clock.clone()), &Losses::new(0, 0), |_| Ports {
        permit: permit.clone(),
        ..Ports::default()
    });
    let run = |commands| codes(&engine.execute_blocking(commands).expect("it runs"));
    run(vec![open("a", "a"), open("b", "b")]);
    let soon = BEGIN + SECOND;
    assert_eq!(
        run(vec![
            order("queued", 12),
            command("held", hold(1, 2, 5, soon))
        ]),
        [None, None]
    );
    clock.set(soon);
    // Time to do what must not be done.
    std::thread::sleep(Duration::from_millis(200));
    let account = || engine.reader().account(AccountId(1)).expect("it is there");
    assert_eq!((engine.reader().queue_length(), account().held), (1, 5));
    permit.0.store(true, Ordering::SeqCst);
    eventually("both are done", || {
        engine.reader().queue_length() == 0 && account().held == 0
    });
    engine.shutdown();
}
