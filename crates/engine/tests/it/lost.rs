//! A lost answer of the store loses nothing that was acknowledged and doubles nothing.

use std::collections::HashMap;
use std::sync::Arc;

use tributary_engine::{
    Clock, Engine, FrameRef, Options, Ports, Reader, Refused, Reply, Stepped, Stepper, SystemClock,
};
use tributary_ledger::{AccountId, Body, Command, PayeeAmounts, PaymentId, PaymentStatus, Refund};
use tributary_testkit::clock::TestClock;
use tributary_testkit::lossy::{Loss, Losses, Lossy};
use tributary_testkit::store::{TestStore, Tested};

use crate::support::{BEGIN, SECOND, codes, command, eventually, open, pay, settle, simulated};

/// An engine without threads over a store that loses what `losses` plans.
fn start(losses: &Losses, clock: &TestClock) -> Tested<Stepper> {
    let store = TestStore::in_memory();
    let backend = Lossy::new(store.open(), losses.clone());
    store.stepper_over(Box::new(backend), Arc::new(clock.clone()))
}

fn no_losses() -> Losses {
    Losses::new(0, 0)
}

/// Every frame of the journal.
fn frames(reader: &Reader) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    let mut next = 1;
    while let Some(bytes) = reader.frame(next).expect("the frame can be read") {
        let frame = FrameRef::parse(&bytes).expect("it is a frame");
        assert_eq!(frame.header().first_position, next);
        next = frame.head().position + 1;
        frames.push(bytes);
    }
    assert_eq!(next, reader.head().position + 1);
    frames
}

fn is_unavailable(stepper: &Stepper, stepped: &Stepped) -> bool {
    let answer = stepper.answer(stepped).expect("the request is answered");
    matches!(answer, Err(Refused::Unavailable(_)))
}

#[test]
fn a_batch_that_is_refused_is_lost_and_nothing_else() {
    let clock = TestClock::starting_at(BEGIN);
    let losses = no_losses();
    let mut lossless = start(&no_losses(), &clock);
    let mut lossy = start(&losses, &clock);
    for n in 0..5 {
        clock.advance(SECOND);
        let request = vec![open(&format!("{n}"), "anna")];
        let before = lossy.reader().head();
        losses.plan(Loss::Refused);
        let stepped = lossy.accept(request.clone());
        lossy.settle();
        assert!(is_unavailable(&lossy, &stepped));
        assert_eq!(lossy.reader().head(), before);
        // The same request again, as if nothing had been.
        assert_eq!(settle(&mut lossy, request.clone()), [None]);
        assert_eq!(settle(&mut lossless, request), [None]);
    }
    assert!(frames(&lossy.reader()) == frames(&lossless.reader()));
    assert_eq!(lossy.published().digest(), lossless.published().digest());
}

#[test]
fn a_connection_cut_in_the_middle_of_a_turn_fails_the_whole_batch() {
    let losses = no_losses();
    let mut stepper = start(&losses, &TestClock::starting_at(BEGIN));
    let first = stepper.accept(vec![open("a", "anna")]);
    losses.break_connection();
    // The next request must not begin a new turn, as if the first part of the batch were written.
    let second = stepper.accept(vec![open("b", "anna")]);
    assert!(is_unavailable(&stepper, &second));
    stepper.settle();
    assert!(is_unavailable(&stepper, &first));
    assert_eq!(stepper.reader().head().position, 0);
    let again = vec![open("a", "anna"), open("b", "anna")];
    assert_eq!(settle(&mut stepper, again), [None, None]);
    assert_eq!(stepper.reader().head().position, 2);
}

#[test]
fn a_lost_answer_leaves_no_batch_lost_or_doubled() {
    let clock = TestClock::starting_at(BEGIN);
    let losses = no_losses();
    let mut lossless = start(&no_losses(), &clock);
    let mut lossy = start(&losses, &clock);
    let cases = [Loss::BatchAndAnswer, Loss::Answer, Loss::Nothing];
    for (n, loss) in cases.into_iter().cycle().take(12).enumerate() {
        clock.advance(SECOND);
        let request = vec![open(&format!("{n}"), "anna")];
        losses.plan(loss);
        let stepped = lossy.accept(request.clone());
        lossy.settle();
        let answer = lossy.answer(&stepped).expect("the request is answered");
        // The caller learns the truth, and repeats what was not done.
        let written = loss != Loss::BatchAndAnswer;
        assert_eq!(answer.is_ok(), written, "{loss:?}: {answer:?}");
        let again = lossy.accept(request.clone());
        lossy.settle();
        let again = lossy.answer(&again).expect("answered").expect("taken");
        assert!(
            matches!(again[..], [Reply::Done { replayed, .. }] if replayed == written),
            "{loss:?}"
        );
        settle(&mut lossless, request);
    }
    assert!(frames(&lossy.reader()) == frames(&lossless.reader()));
    assert_eq!(lossy.published().digest(), lossless.published().digest());
}

#[test]
fn what_was_decided_after_a_batch_goes_with_it_unless_it_was_written() {
    for (loss, written) in [(Loss::BatchAndAnswer, false), (Loss::Answer, true)] {
        let losses = no_losses();
        let mut stepper = start(&losses, &TestClock::starting_at(BEGIN));
        settle(&mut stepper, vec![open("a", "platform"), open("b", "shop")]);
        let pay = |key: &str, amount| vec![command(key, Body::Pay(pay(1, 2, amount)))];
        losses.plan(loss);
        let lost = stepper.accept(pay("lost", 100));
        stepper.submit();
        let behind = stepper.accept(pay("behind", 200));
        stepper.submit();
        let still_open = stepper.accept(pay("still open", 300));
        stepper.settle();
        for stepped in [&lost, &behind] {
            assert_eq!(is_unavailable(&stepper, stepped), !written, "{loss:?}");
        }
        // The open batch was decided on a state that is not told from the lost one: it is repeated in both cases.
        assert!(is_unavailable(&stepper, &still_open), "{loss:?}");
        for (key, amount) in [("lost", 100), ("behind", 200), ("still open", 300)] {
            assert_eq!(settle(&mut stepper, pay(key, amount)), [None]);
        }
        assert_eq!(stepper.reader().head().position, 5, "{loss:?}");
        let payee = stepper.reader().account(AccountId(2)).expect("it is open");
        assert_eq!(payee.posted, 600, "{loss:?}");
    }
}

#[test]
fn an_engine_that_cannot_learn_whether_a_batch_was_written_stops() {
    let losses = no_losses();
    let mut stepper = start(&losses, &TestClock::starting_at(BEGIN));
    settle(&mut stepper, vec![open("a", "anna")]);
    losses.plan(Loss::Answer);
    let stepped = stepper.accept(vec![open("b", "anna")]);
    stepper.submit();
    losses.set_unreachable(true);
    stepper.land();
    assert!(is_unavailable(&stepper, &stepped));
    assert!(stepper.failed().is_some());
    losses.set_unreachable(false);
    let after = stepper.accept(vec![open("c", "anna")]);
    assert!(
        is_unavailable(&stepper, &after),
        "the engine takes nothing more"
    );
}

/// Repeats a command under its key until it is answered; the position of its record.
fn repeat_until_answered(engine: &Engine, command: &Command) -> u64 {
    let mut position = None;
    eventually("an answer", || {
        match engine.execute_blocking(vec![command.clone()]) {
            Ok(replies) => match replies.as_slice() {
                [Reply::Done { record, .. }] => position = Some(record.ctx.position),
                other => panic!("{other:?}"),
            },
            Err(Refused::Unavailable(_)) => {}
            Err(other) => panic!("{other:?}"),
        }
        position.is_some()
    });
    position.expect("there was an answer")
}

#[test]
fn payments_made_while_answers_are_lost_are_each_made_once() {
    const CALLERS: u64 = 4;
    const PAYMENTS_PER_CALLER: u64 = 60;
    let losses = Losses::new(11, 30);
    let store = TestStore::in_memory();
    let start = |losses: Losses| {
        let backend = Box::new(Lossy::new(store.open(), losses));
        let clock = Arc::new(SystemClock);
        store.start_over(backend, clock, Options::default(), Ports::default())
    };
    let engine = start(losses.clone());
    repeat_until_answered(&engine, &open("source", "platform"));
    repeat_until_answered(&engine, &open("payee", "anna"));
    let acknowledged: HashMap<String, u64> = std::thread::scope(|scope| {
        let call = |caller| {
            let engine = &engine;
            move || {
                let pay = |n| {
                    let key = format!("pay-{caller}-{n}");
                    let command = command(&key, Body::Pay(pay(1, 2, 1)));
                    (key, repeat_until_answered(engine, &command))
                };
                (0..PAYMENTS_PER_CALLER).map(pay).collect::<Vec<_>>()
            }
        };
        let callers: Vec<_> = (0..CALLERS).map(|at| scope.spawn(call(at))).collect();
        let answered = callers.into_iter().map(|caller| caller.join());
        answered
            .flat_map(|pairs| pairs.expect("a caller ends well"))
            .collect()
    });
    assert!(losses.batches_lost() > 0 && losses.answers_lost() > 0);
    assert!(engine.status().ready, "{:?}", engine.status());
    let payments = acknowledged.len() as u64;
    assert_eq!(payments, CALLERS * PAYMENTS_PER_CALLER);
    let posted = |engine: &Engine| engine.reader().account(AccountId(2)).map(|it| it.posted);
    assert_eq!(posted(&engine), Some(payments as i64), "what readers see");
    engine.shutdown();
    drop(engine);

    let engine = start(no_losses());
    assert_eq!(posted(&engine), Some(payments as i64), "after a restart");
    let reader = engine.reader();
    assert_eq!(reader.head().position, payments + 2, "nothing twice");
    for (key, position) in &acknowledged {
        let record = reader
            .record(*position)
            .expect("it is whole")
            .expect("it is there");
        assert_eq!(record.command.key.as_bytes(), key.as_bytes());
        assert!(record.outcome.is_accepted());
    }
    engine.shutdown();
}

#[test]
fn an_old_payment_is_refunded_and_a_key_is_remembered_after_a_restart() {
    let clock: Arc<dyn Clock> = Arc::new(TestClock::starting_at(BEGIN));
    for store in [TestStore::in_memory(), simulated(3)] {
        let open_again = || store.stepper(clock.clone());
        let mut before = open_again();
        let paid = command("pay", Body::Pay(pay(1, 2, 700)));
        settle(&mut before, vec![open("a", "platform"), open("b", "shop")]);
        assert_eq!(settle(&mut before, vec![paid.clone()]), [None]);
        for n in 0..20 {
            let more = command(&format!("more-{n}"), Body::Pay(pay(1, 2, 1)));
            assert_eq!(settle(&mut before, vec![more]), [None]);
        }
        before.close();

        let mut after = open_again();
        let refund = |key: &str, amount| {
            let refund = Refund {
                payment: PaymentId(3),
                amount: Some(amount),
                refund_fee: false,
                splits: PayeeAmounts::default(),
            };
            vec![command(key, Body::Refund(refund))]
        };
        assert_eq!(settle(&mut after, refund("refund", 300)), [None]);
        let payment = after.reader().payment(PaymentId(3)).unwrap().unwrap();
        let expected = (300, PaymentStatus::PartiallyRefunded);
        assert_eq!((payment.refunded, payment.status), expected);
        // More than is left, and the same key again.
        assert!(settle(&mut after, refund("over", 401))[0].is_some());
        let head = after.reader().head();
        let again = after.accept(vec![paid]);
        after.settle();
        let again = after.answer(&again).expect("answered").expect("taken");
        assert!(matches!(again[..], [Reply::Done { replayed: true, .. }]));
        assert_eq!(codes(&again), [None]);
        assert_eq!(after.reader().head(), head, "a replay writes nothing");
        after.close();
        let payee = open_again().reader().account(AccountId(2)).expect("open");
        assert_eq!(payee.posted, 700 + 20 - 300);
    }
}
