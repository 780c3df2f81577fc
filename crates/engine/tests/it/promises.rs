//! Promises that a single thread can break.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Waker};

use tributary_engine::{Clock, Failure, Fate, Refused, Stepper, Ticket};
use tributary_ledger::{
    Body, Command, Key, Origin, OwnerId, PayeeAmounts, PaymentId, PaymentStatus, PutSetting,
    Refund, ReplyAddress, SettingBody, SettingId, SettingKind, Slug,
};
use tributary_testkit::clock::TestClock;
use tributary_testkit::intercepted::{Intercepted, Submit};
use tributary_testkit::store::{TestStore, Tested};

use crate::support::{
    BEGIN, SECOND, codes, command, hold, open, pay, pay_with_reference, settle, simulated, stepper,
};

#[test]
fn a_reference_that_an_aborted_group_gave_back_is_still_taken_only_once() {
    let clock: Arc<dyn Clock> = Arc::new(TestClock::starting_at(BEGIN));
    let mut stepper = stepper(1, &clock);
    settle(&mut stepper, vec![open("a", "platform"), open("b", "shop")]);

    // The group takes the reference for a moment and is then undone; its batch is on the disk and not yet published.
    let mut first = command("group-1", pay_with_reference(1, 2, "order-1"));
    first.linked = true;
    let fails = command("group-2", Body::Pay(pay(1, 99, 100)));
    let group = stepper.accept(vec![first, fails]);
    stepper.submit();
    // The next batch takes it for good.
    let taken = stepper.accept(vec![command("taken", pay_with_reference(1, 2, "order-1"))]);
    while stepper.land() {}
    let again = stepper.accept(vec![command("again", pay_with_reference(1, 2, "order-1"))]);
    stepper.settle();

    let codes = |stepped| codes(&stepper.answer(stepped).unwrap().unwrap());
    assert_eq!(
        codes(&group),
        [Some("group_aborted"), Some("account_not_found")]
    );
    assert_eq!(codes(&taken), [None]);
    assert_eq!(codes(&again), [Some("reference_in_use")]);
}

/// A message that comes again, under whatever revision of its binding, is recognised by the record of the first time.
#[test]
fn a_key_leads_to_the_record_with_its_origin_and_its_result() {
    let store = simulated(3);
    let clock: Arc<dyn Clock> = Arc::new(TestClock::starting_at(BEGIN));
    let mut before = store.stepper(clock.clone());
    let message = |revision, to| {
        let reply = ReplyAddress::new(to, Some("order-7")).ok();
        let origin = Origin::new(SettingId(7), revision, [9; 32], 1, reply);
        Command {
            origin: origin.map(Box::new),
            ..command("message", Body::Pay(pay(1, 99, 100)))
        }
    };
    let first = message(1, "replies");
    let made = settle(&mut before, vec![open("a", "platform"), first.clone()]);
    assert_eq!(made, [None, Some("account_not_found")]);
    before.close();

    let mut after = store.stepper(clock.clone());
    let again = settle(&mut after, vec![message(2, "elsewhere")]);
    assert_eq!(again, [Some("account_not_found")], "the first answer");
    let reader = after.reader();
    assert_eq!(reader.head().position, 2, "nothing was decided again");
    let find = |key: &[u8]| {
        let key = Key::from_bytes(key).expect("a short key");
        reader.record_by_key(OwnerId::PLATFORM, &key)
    };
    let found = find(b"message").expect("it reads").expect("it was used");
    assert_eq!(found.command.origin, first.origin);
    assert_eq!(found.outcome.rejection.map(|why| why.code()), again[0]);
    assert!(find(b"another").expect("it reads").is_none());
}

#[test]
fn whoever_waits_for_settings_is_woken_by_a_change_of_one_and_by_nothing_else() {
    let clock: Arc<dyn Clock> = Arc::new(TestClock::starting_at(BEGIN));
    let mut stepper = stepper(4, &clock);
    let reader = stepper.reader();
    let mut context = Context::from_waker(Waker::noop());
    let put = |replaces| {
        Body::PutSetting(Box::new(PutSetting {
            id: SettingId(7),
            kind: SettingKind::BINDER,
            slug: Slug::new("main").expect("a slug"),
            managed_by: None,
            replaces,
            body: SettingBody::new(b"content").expect("it is short"),
            request: [replaces as u8; 16],
        }))
    };
    for replaces in 0..2 {
        let seen = reader.published();
        let mut waiting = pin!(reader.settings_changed_after(seen));
        let key = |name: &str| format!("{name}-{replaces}");
        settle(&mut stepper, vec![open(&key("open"), "platform")]);
        let refused = command(&key("refused"), put(77));
        assert_eq!(
            settle(&mut stepper, vec![refused]).len(),
            1,
            "it changes nothing"
        );
        assert!(waiting.as_mut().poll(&mut context).is_pending());
        let made = command(&key("put"), put(replaces));
        assert_eq!(settle(&mut stepper, vec![made]), [None]);
        assert!(waiting.as_mut().poll(&mut context).is_ready());
        // Whoever comes late misses nothing.
        let mut late = pin!(reader.settings_changed_after(seen));
        assert!(late.as_mut().poll(&mut context).is_ready());
    }
}

/// Hold expiry must not live in a cache: a new engine over the same journal knows what is due.
#[test]
fn hold_expiry_survives_a_restart_with_and_without_a_checkpoint() {
    for checkpoint in [false, true] {
        let store = simulated(2);
        let time = TestClock::starting_at(BEGIN);
        let clock: Arc<dyn Clock> = Arc::new(time.clone());
        let mut before = store.stepper(clock.clone());
        let hold = command("hold", hold(1, 2, 500, BEGIN + 60 * SECOND));
        settle(
            &mut before,
            vec![open("a", "platform"), open("b", "shop"), hold],
        );
        if checkpoint {
            let disk = store.disk().expect("it is on a disk");
            before.begin_checkpoint(disk).expect("it begins");
            while !before.step_checkpoint(10).expect("there is room") {}
        }
        assert!(!before.expire(), "nothing is due yet");
        before.close();

        time.advance(61 * SECOND);
        let mut after = store.stepper(clock.clone());
        assert!(after.expire(), "the hold is due");
        after.settle();
        let payment = after.reader().payment(PaymentId(3)).unwrap().unwrap();
        assert_eq!((payment.status, payment.held), (PaymentStatus::Expired, 0));
        let source = after.reader().account(tributary_ledger::AccountId(1));
        assert_eq!(
            source.map(|source| (source.posted, source.held)),
            Some((0, 0))
        );
        assert!(!after.expire(), "it expires once");
    }
}

/// A ledger with one hold, which expires a minute after [`BEGIN`].
fn with_hold(seed: u64, clock: &Arc<dyn Clock>) -> Tested<Stepper> {
    let mut stepper = stepper(seed, clock);
    let hold = command("hold", hold(1, 2, 500, BEGIN + 60 * SECOND));
    settle(
        &mut stepper,
        vec![open("a", "platform"), open("b", "shop"), hold],
    );
    stepper
}

/// How the hold of [`with_hold`] stands.
fn status_of_hold(stepper: &Stepper) -> PaymentStatus {
    let payment = stepper.reader().payment(PaymentId(3)).unwrap().unwrap();
    payment.status
}

/// A clock that can be set back after the next look at it.
struct Unsteady {
    steady: TestClock,
    set_back: AtomicBool,
}

impl Clock for Unsteady {
    fn now(&self) -> u64 {
        let now = self.steady.now();
        if self.set_back.swap(false, Ordering::SeqCst) {
            self.steady.set(now - 10 * SECOND);
        }
        now
    }
}

#[test]
fn a_hold_expires_although_the_clock_was_set_back_when_it_came_due() {
    let unsteady = Arc::new(Unsteady {
        steady: TestClock::starting_at(BEGIN),
        set_back: AtomicBool::new(false),
    });
    let clock: Arc<dyn Clock> = unsteady.clone();
    let mut stepper = with_hold(3, &clock);

    // The timers see it due; when it is decided, it is not.
    unsteady.steady.advance(61 * SECOND);
    unsteady.set_back.store(true, Ordering::SeqCst);
    assert!(stepper.expire());
    stepper.settle();
    assert_eq!(status_of_hold(&stepper), PaymentStatus::Authorized);

    unsteady.steady.advance(20 * SECOND);
    assert!(stepper.expire());
    stepper.settle();
    assert_eq!(status_of_hold(&stepper), PaymentStatus::Expired);
}

#[test]
fn what_is_due_by_the_time_of_the_last_record_is_not_missed_when_the_clock_was_set_back() {
    let time = TestClock::starting_at(BEGIN);
    let clock: Arc<dyn Clock> = Arc::new(time.clone());
    let mut stepper = with_hold(5, &clock);
    time.advance(61 * SECOND);
    settle(&mut stepper, vec![open("c", "platform")]);

    time.set(BEGIN + 30 * SECOND);
    assert!(stepper.expire(), "its record comes after the last");
    stepper.settle();
    assert_eq!(status_of_hold(&stepper), PaymentStatus::Expired);
}

#[test]
fn a_hold_that_comes_due_while_a_batch_is_open_is_not_refused_first() {
    let time = TestClock::starting_at(BEGIN);
    let clock: Arc<dyn Clock> = Arc::new(time.clone());
    let mut stepper = with_hold(4, &clock);

    time.advance(59 * SECOND);
    let _opened = stepper.accept(vec![open("c", "platform")]);
    time.advance(2 * SECOND);
    assert!(!stepper.expire(), "the open batch was begun before");
    stepper.settle();
    let before = stepper.reader().head().position;
    assert!(stepper.expire());
    stepper.settle();
    assert_eq!(stepper.reader().head().position, before + 1);
    assert_eq!(status_of_hold(&stepper), PaymentStatus::Expired);
}

/// Two batches may be in flight, and the second one finds no room.
#[test]
fn a_repetition_of_what_was_lost_is_never_answered_with_another_record() {
    let store = TestStore::in_memory();
    let mut submitted = 0;
    let submit: Submit = Box::new(move |submit| {
        submitted += 1;
        match submitted {
            2 => Ticket::ready(Fate::Refused(Failure::StorageFull)),
            _ => submit(),
        }
    });
    let backend = Box::new(Intercepted::new(store.open(), 2, submit));
    let clock: Arc<dyn Clock> = Arc::new(TestClock::starting_at(BEGIN));
    let mut stepper = store.stepper_over(backend, clock);
    settle(&mut stepper, vec![open("a", "platform"), open("b", "shop")]);

    let pay = |key: &str, amount: u64| vec![command(key, Body::Pay(pay(1, 2, amount)))];
    let first = stepper.accept(pay("first", 100));
    stepper.submit();
    let behind = stepper.accept(pay("behind", 200));
    stepper.submit();
    // Its only answer would be a record that is on its way.
    let again = stepper.accept(pay("first", 100));
    stepper.submit();
    while stepper.land() {}
    for stepped in [&first, &behind, &again] {
        let refused = stepper.answer(stepped).expect("everybody is answered");
        assert!(matches!(refused, Err(Refused::StorageFull)), "{refused:?}");
    }

    // The positions are given to other records, and the keys are free.
    assert_eq!(settle(&mut stepper, pay("other", 300)), [None]);
    assert_eq!(settle(&mut stepper, pay("first", 100)), [None]);
    assert_eq!(stepper.reader().head().position, 4);
}

#[test]
fn repetitions_alone_fill_no_memory() {
    let clock: Arc<dyn Clock> = Arc::new(TestClock::starting_at(BEGIN));
    let mut stepper = stepper(1, &clock);
    settle(&mut stepper, vec![open("a", "platform"), open("b", "shop")]);
    let refund = |at: u64| {
        let (payment, amount, refund_fee) = (PaymentId(3 + at), Some(1), false);
        let refund = Refund {
            payment,
            amount,
            refund_fee,
            splits: PayeeAmounts::default(),
        };
        vec![command(&format!("refund-{at}"), Body::Refund(refund))]
    };
    for at in 0..20 {
        let payment = command(&format!("pay-{at}"), Body::Pay(pay(1, 2, 100)));
        assert_eq!(settle(&mut stepper, vec![payment]), [None]);
    }
    for at in 0..20 {
        assert_eq!(settle(&mut stepper, refund(at)), [None]);
    }
    for at in 0..20 {
        assert_eq!(settle(&mut stepper, refund(at)), [None]);
        assert_eq!(stepper.set().payment_count(), 0, "after repetition {at}");
    }
}
