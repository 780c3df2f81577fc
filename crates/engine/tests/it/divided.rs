//! A request that needs more than one frame is divided between frames, an all-or-nothing group is not.

use std::sync::Arc;

use tributary_engine::{
    COMMANDS_PER_BATCH_MAX, Clock, Engine, FrameRef, NotQueued, Options,
    RECORD_BYTES_PER_GROUP_MAX, Reader, Refused, Reply, Stepper, SystemClock,
};
use tributary_journal::{self as journal, FRAME_BYTES_MAX};
use tributary_ledger::{
    AccountId, Body, Command, Data, Key, LIMIT_WINDOW_NS_MAX, LIMITED_KINDS,
    LIMITS_PER_PAYMENT_MAX, LimitSubject, LimitTerms, OwnerId, Publish, PutSetting, SettingBody,
    SettingId, SettingKind, Slug, Text, Topic,
};
use tributary_testkit::clock::TestClock;
use tributary_testkit::disk::{Fault, SimDisk};
use tributary_testkit::logs::is_left_out_on_logs;
use tributary_testkit::lossy::{Loss, Losses, Lossy};
use tributary_testkit::store::{TestStore, Tested};

use crate::support::{BEGIN, command, open, pay, settle};

/// Bytes of text with which [`COMMANDS`] payments need nearly as much as one request may.
const TEXT_BYTES: usize = 2_700;
const COMMANDS: usize = COMMANDS_PER_BATCH_MAX - 3;
/// Accounts that are opened first.
const ACCOUNTS: u64 = 2;

/// Payments of one minor unit each, which need several frames together.
fn payments(count: usize, text_bytes: usize) -> Vec<Command> {
    let payment = |at| Command {
        text: Text::new(Text::PLAIN, &vec![b't'; text_bytes]).ok(),
        ..command(&format!("payment-{at}"), Body::Pay(pay(1, 2, 1)))
    };
    (0..count).map(payment).collect()
}

fn options() -> journal::Options {
    journal::Options {
        segment_bytes: 64 * 1024 * 1024,
        reserve_bytes: 0,
        shared_log: None,
    }
}

/// An engine without threads on this disk.
fn start(disk: &SimDisk) -> Tested<Stepper> {
    let clock: Arc<dyn Clock> = Arc::new(TestClock::starting_at(BEGIN));
    TestStore::inline(disk.disk(), options()).stepper(clock)
}

/// An engine with threads in a new directory.
fn start_in_directory() -> Tested<Engine> {
    TestStore::in_directory(options()).start(Arc::new(SystemClock), Options::default())
}

fn open_accounts(stepper: &mut Stepper) {
    let opened = settle(stepper, vec![open("a", "platform"), open("b", "shop")]);
    assert_eq!(opened, [None, None]);
}

/// Number of frames that hold the records after `position`; each is within its bound.
fn frames_after(reader: &Reader, position: u64) -> usize {
    let (mut frames, mut next) = (0, position + 1);
    while let Some(bytes) = reader.frame(next).expect("the frame can be read") {
        assert!(bytes.len() <= FRAME_BYTES_MAX, "{} bytes", bytes.len());
        let frame = FrameRef::parse(&bytes).expect("it is a frame");
        next = frame.header().last_position() + 1;
        frames += 1;
    }
    frames
}

/// Has the commands decided and made durable.
fn answer(stepper: &mut Stepper, commands: Vec<Command>) -> Result<Vec<Reply>, Refused> {
    let stepped = stepper.accept(commands);
    stepper.settle();
    stepper.answer(&stepped).expect("the request is answered")
}

/// The replies are the records from `first` on, in order, of which the first `replayed` were made before.
fn check_replies(replies: &[Reply], first: u64, replayed: usize) {
    for (at, reply) in replies.iter().enumerate() {
        let Reply::Done {
            record,
            replayed: again,
        } = reply
        else {
            panic!("{reply:?}");
        };
        assert_eq!(record.ctx.position, first + at as u64);
        assert_eq!(record.outcome.rejection, None);
        let key = format!("payment-{at}");
        assert_eq!(record.command.key.as_bytes(), key.as_bytes());
        assert_eq!(*again, at < replayed, "at {at}");
    }
}

fn posted(reader: &Reader) -> i64 {
    let account = reader.account(AccountId(2));
    account.expect("the account is open").posted
}

#[test]
fn a_request_that_needs_several_frames_is_divided_and_answered_in_order() {
    let mut stepper = start(&SimDisk::new(1));
    open_accounts(&mut stepper);
    let replies =
        answer(&mut stepper, payments(COMMANDS, TEXT_BYTES)).expect("nothing is in the way");
    assert_eq!(replies.len(), COMMANDS);
    check_replies(&replies, ACCOUNTS + 1, 0);
    let frames = frames_after(&stepper.reader(), ACCOUNTS);
    let least = COMMANDS * TEXT_BYTES / FRAME_BYTES_MAX + 1;
    assert!((least..=least + 1).contains(&frames), "{frames} frames");
    assert_eq!(posted(&stepper.reader()), COMMANDS as i64);
    assert_eq!(stepper.set().digest(), stepper.published().digest());
}

#[test]
fn a_kill_between_the_frames_of_a_request_leaves_a_prefix_that_a_repetition_completes() {
    const COUNT: usize = 600;
    if is_left_out_on_logs("a frame that the log has is there after the kill, written or not") {
        return;
    }
    let mut prefixes = Vec::new();
    for operations in 0..8 {
        let disk = SimDisk::new(operations);
        let mut stepper = start(&disk);
        open_accounts(&mut stepper);
        disk.inject(disk.operations() + operations, Fault::PowerOff);
        let refused = answer(&mut stepper, payments(COUNT, Text::BYTES_MAX));
        assert!(refused.is_err() == disk.is_off(), "{operations}");
        drop(stepper);

        let disk = disk.crash(operations);
        let mut stepper = start(&disk);
        let prefix = stepper.reader().head().position - ACCOUNTS;
        assert_eq!(posted(&stepper.reader()), prefix as i64);
        let replies =
            answer(&mut stepper, payments(COUNT, Text::BYTES_MAX)).expect("nothing is in the way");
        check_replies(&replies, ACCOUNTS + 1, prefix as usize);
        assert_eq!(posted(&stepper.reader()), COUNT as i64);
        frames_after(&stepper.reader(), ACCOUNTS);
        // The same once more: all of it is known.
        let again =
            answer(&mut stepper, payments(COUNT, Text::BYTES_MAX)).expect("nothing is in the way");
        check_replies(&again, ACCOUNTS + 1, COUNT);
        prefixes.push(prefix as usize);
    }
    assert!(prefixes.contains(&0), "{prefixes:?}");
    let in_between = prefixes.iter().filter(|prefix| (1..COUNT).contains(prefix));
    assert!(in_between.count() >= 2, "{prefixes:?}");
}

#[test]
fn a_request_of_which_one_frame_is_lost_fails_as_a_whole_and_a_repetition_completes_it() {
    const COUNT: usize = 600;
    const FRAMES: usize = 3;
    for loss in [Loss::Refused, Loss::BatchAndAnswer, Loss::Answer] {
        for lost in 0..FRAMES {
            let losses = Losses::new(0, 0);
            let clock: Arc<dyn Clock> = Arc::new(TestClock::starting_at(BEGIN));
            let store = TestStore::in_memory();
            let backend = Lossy::new(store.open(), losses.clone());
            let mut stepper = store.stepper_over(Box::new(backend), clock);
            open_accounts(&mut stepper);
            (0..lost).for_each(|_| losses.plan(Loss::Nothing));
            losses.plan(loss);
            let first = answer(&mut stepper, payments(COUNT, Text::BYTES_MAX));
            // The last two frames are in flight together. Of an earlier one the rest is given up, although it was written.
            let done = loss == Loss::Answer && lost >= FRAMES - 2;
            assert_eq!(first.is_ok(), done, "{loss:?} {lost}");
            if let Err(refused) = first {
                assert!(matches!(refused, Refused::Unavailable(_)), "{refused:?}");
            }
            let prefix = stepper.reader().head().position - ACCOUNTS;
            assert_eq!(prefix == 0, lost == 0 && loss != Loss::Answer);
            assert_eq!(posted(&stepper.reader()), prefix as i64);
            let again = answer(&mut stepper, payments(COUNT, Text::BYTES_MAX))
                .expect("nothing is in the way");
            check_replies(&again, ACCOUNTS + 1, prefix as usize);
            assert_eq!(frames_after(&stepper.reader(), ACCOUNTS), FRAMES);
        }
    }
}

#[test]
fn a_divided_request_and_small_ones_beside_it_are_all_answered() {
    let engine = start_in_directory();
    let opened = engine.execute_blocking(vec![open("a", "platform"), open("b", "shop")]);
    opened.expect("nothing is in the way");
    std::thread::scope(|scope| {
        let large = scope.spawn(|| engine.execute_blocking(payments(COMMANDS, TEXT_BYTES)));
        let small = scope.spawn(|| {
            for at in 0..200 {
                let payment = command(&format!("small-{at}"), Body::Pay(pay(1, 2, 1)));
                let replies = engine.execute_blocking(vec![payment]);
                let replies = replies.expect("nothing is in the way");
                assert!(matches!(replies[..], [Reply::Done { .. }]));
            }
        });
        let replies = large.join().expect("no panic").expect("it is taken");
        let Reply::Done { record, .. } = &replies[0] else {
            panic!("{:?}", replies[0]);
        };
        // No record of another request stands between its own.
        check_replies(&replies, record.ctx.position, 0);
        small.join().expect("all are answered");
    });
    assert_eq!(posted(&engine.reader()), COMMANDS as i64 + 200);
    frames_after(&engine.reader(), 0);
    engine.shutdown();
}

/// Events that need `bytes` in the worst case, all in one group.
fn group(name: &str, bytes: usize) -> Vec<Command> {
    const EVENT_BYTES: usize = 32 * 1024;
    let event = |at: usize, data_bytes: usize| {
        let publish = Publish {
            topic: Topic::new("app.test").expect("a topic"),
            key: None,
            data: Data::new(Data::PLAIN, &vec![b'd'; data_bytes]).expect("it is short"),
        };
        Command {
            linked: true,
            ..command(&format!("{name}-{at:03}"), Body::Publish(publish))
        }
    };
    let worst = |command: &Command| {
        let request = tributary_engine::Request::new(vec![command.clone()], Box::new(|_| ()));
        request.bytes_max()
    };
    let one = worst(&event(0, EVENT_BYTES));
    let mut events: Vec<Command> = (0..bytes / one).map(|at| event(at, EVENT_BYTES)).collect();
    let rest = bytes % one;
    let fixed = one - EVENT_BYTES;
    assert!(rest > fixed, "choose another size");
    events.push(event(events.len(), rest - fixed));
    events
}

#[test]
fn a_group_as_large_as_a_frame_is_taken_and_a_larger_one_is_refused() {
    let engine = start_in_directory();
    let larger = group("larger", RECORD_BYTES_PER_GROUP_MAX + 1);
    let refused = engine.execute_blocking(larger);
    assert!(
        matches!(refused, Err(Refused::GroupTooLarge)),
        "{refused:?}"
    );
    assert_eq!(engine.reader().head().position, 0, "nothing was done");
    let largest = group("largest", RECORD_BYTES_PER_GROUP_MAX);
    let count = largest.len() as u64;
    engine.execute_blocking(largest).expect("it is taken");
    assert_eq!(engine.reader().head().position, count);
    assert_eq!(frames_after(&engine.reader(), 0), 1);
    engine.shutdown();
}

#[test]
fn a_group_behind_others_of_its_request_stands_in_one_frame() {
    let mut stepper = start(&SimDisk::new(2));
    open_accounts(&mut stepper);
    let single = payments(200, Text::BYTES_MAX);
    let together = group("group", RECORD_BYTES_PER_GROUP_MAX - 2_000);
    let (first, last) = (single.len() as u64, together.len() as u64);
    let all = [single, together].concat();
    let replies = answer(&mut stepper, all).expect("nothing is in the way");
    assert_eq!(replies.len() as u64, first + last);
    let frame = stepper.reader().frame(ACCOUNTS + first + 1);
    let frame = frame.expect("it can be read").expect("it is there");
    let header = FrameRef::parse(&frame).expect("it is a frame");
    let header = header.header();
    assert_eq!(header.first_position, ACCOUNTS + first + 1);
    assert_eq!(header.last_position(), ACCOUNTS + first + last);
}

/// As many limits on the first account and its owner as there can be, which allow everything.
fn limits() -> Vec<Command> {
    let limit = |at: u64| {
        let subject = match at % 2 {
            0 => LimitSubject::Account(AccountId(1)),
            _ => LimitSubject::Owner(OwnerId::PLATFORM),
        };
        let (window, most) = (LIMIT_WINDOW_NS_MAX, Some(1 << 40));
        let terms = LimitTerms::new(subject, &LIMITED_KINDS, None, window, most, None);
        let body = terms.expect("it says a limit").to_body();
        let put = PutSetting {
            id: SettingId(1 + at),
            kind: SettingKind::LIMIT,
            slug: Slug::new(&format!("limit-{at}")).expect("it is short"),
            managed_by: None,
            replaces: 0,
            body: SettingBody::new(&body).expect("it is short"),
            request: [at as u8; 16],
        };
        command(&format!("limit-{at}"), Body::PutSetting(Box::new(put)))
    };
    (0..LIMITS_PER_PAYMENT_MAX as u64).map(limit).collect()
}

fn large_group(count: usize, name: &str) -> Vec<Command> {
    let mut group = payments(count, 1);
    for (at, command) in group.iter_mut().enumerate() {
        command.linked = true;
        command.key = Key::from_bytes(format!("{name}-{at}").as_bytes()).expect("it is short");
    }
    group
}

#[test]
fn payments_that_use_limits_are_divided_and_a_group_of_them_that_no_frame_holds_is_turned_away() {
    let mut stepper = start(&SimDisk::new(7));
    open_accounts(&mut stepper);
    // It is too large only with what limits add: it fits before there are any.
    let early = large_group(COMMANDS, "early");
    let replies = answer(&mut stepper, early.clone()).expect("it fits");
    let accepted = |reply: &Reply| matches!(reply, Reply::Done { record, .. } if record.outcome.rejection.is_none());
    assert!(replies.iter().all(accepted));
    let made = settle(&mut stepper, limits());
    assert_eq!(made, vec![None; LIMITS_PER_PAYMENT_MAX]);
    let first = stepper.reader().head().position + 1;
    let replies = answer(&mut stepper, payments(COMMANDS, 40)).expect("nothing is in the way");
    check_replies(&replies, first, 0);
    assert!(frames_after(&stepper.reader(), first - 1) >= 2);
    // What was decided is answered as it was, however large it is by now.
    let again = answer(&mut stepper, early).expect("it was decided");
    assert!(again.iter().all(accepted));
    let position = stepper.reader().head().position;
    let late = large_group(COMMANDS, "late");
    for _ in 0..2 {
        let replies = answer(&mut stepper, late.clone()).expect("it is answered");
        let turned_away =
            |reply: &Reply| matches!(reply, Reply::NotQueued(NotQueued::GroupTooLarge));
        assert!(replies.iter().all(turned_away), "{:?}", replies[0]);
    }
    assert_eq!(stepper.reader().head().position, position, "no record");
    // Its keys are free, and a smaller group fits.
    let smaller = late[..5_000].to_vec();
    let replies = answer(&mut stepper, smaller).expect("it fits");
    assert!(replies.iter().all(accepted));
    // A group may make a limit itself.
    let mut own = limits()[..1].to_vec();
    if let Body::PutSetting(put) = &mut own[0].body {
        put.replaces = 1;
    }
    own[0].linked = true;
    own[0].key = Key::from_bytes(b"changed").expect("it is short");
    own.extend(large_group(COMMANDS - 1, "own"));
    let replies = answer(&mut stepper, own).expect("it is answered");
    assert!(!replies.iter().any(accepted));
    assert_eq!(stepper.set().digest(), stepper.published().digest());
}
