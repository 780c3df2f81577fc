//! Ledger time under a wall clock that is set to anything at any moment.

use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;
use tributary_engine::{
    Clock, ClockEvent, ClockReading, ClockState, FOLLOWED_AFTER_NS, FOLLOWED_AT_ONCE_NS,
    LedgerClock, SteeredClock, Stepper,
};
use tributary_ledger::{Body, Pay, PaymentId, PaymentStatus, Queue, QueueTerms};
use tributary_testkit::clock::TestClocks;
use tributary_testkit::store::Tested;

use crate::support::{BEGIN, SECOND, command, hold, open, pay, settle, stepper};

const HOUR: u64 = 3_600 * SECOND;

/// An engine whose clocks a test sets.
struct World {
    clocks: TestClocks,
    clock: Arc<dyn Clock>,
    stepper: Tested<Stepper>,
}

impl World {
    /// An engine with an account 1 that pays and an account 2 that is paid.
    fn new() -> World {
        let clocks = TestClocks::starting_at(BEGIN);
        let clock: Arc<dyn Clock> = Arc::new(SteeredClock::new(clocks.clone()));
        let mut stepper = stepper(1, &clock);
        let accounts = vec![open("a", "ann"), open("b", "shop")];
        assert_eq!(settle(&mut stepper, accounts), [None; 2]);
        World {
            clocks,
            clock,
            stepper,
        }
    }

    /// Lets seconds pass, as a running engine notices them.
    fn pass(&self, seconds: u64) {
        pass(&self.clocks, &*self.clock, seconds);
    }

    /// The time of the last record.
    fn last_time(&self) -> u64 {
        self.stepper.reader().head().timestamp
    }

    fn status(&self, payment: u64) -> PaymentStatus {
        let payment = self.stepper.reader().payment(PaymentId(payment));
        payment
            .expect("it can be read")
            .expect("it is there")
            .status
    }
}

fn pass(clocks: &TestClocks, clock: &dyn Clock, seconds: u64) {
    for _ in 0..seconds {
        clocks.advance(SECOND);
        clock.now();
    }
}

fn clocks() -> (TestClocks, SteeredClock<TestClocks>) {
    let clocks = TestClocks::starting_at(BEGIN);
    let clock = SteeredClock::new(clocks.clone());
    clock.start(BEGIN - HOUR, 0);
    (clocks, clock)
}

fn seconds(by: i64) -> i64 {
    by * SECOND as i64
}

fn order(not_before: u64) -> Body {
    let terms = QueueTerms {
        not_before,
        ..QueueTerms::default()
    };
    Body::Pay(Pay {
        queue: Some(Box::new(Queue {
            terms,
            ..Queue::default()
        })),
        ..pay(1, 2, 1)
    })
}

#[test]
fn a_wall_clock_that_is_wrong_for_a_moment_moves_nothing() {
    let mut world = World::new();
    let due = command("due", hold(1, 2, 500, BEGIN + 60 * SECOND));
    let later = command("later", order(BEGIN + HOUR / 2));
    assert_eq!(settle(&mut world.stepper, vec![due, later]), [None; 2]);
    world.pass(5);

    world.clocks.step_wall(seconds(7_200));
    let paid = command("paid", Body::Pay(pay(1, 2, 1)));
    let hour = command("hour", hold(1, 2, 1, BEGIN + HOUR));
    assert_eq!(settle(&mut world.stepper, vec![paid, hour]), [None; 2]);
    assert_eq!(world.last_time(), BEGIN + 5 * SECOND, "the right time");
    assert!(!world.stepper.run_queue(), "its time has not come");
    assert!(!world.stepper.expire(), "nothing is due");
    assert!(matches!(
        world.clock.status().state,
        ClockState::WallAhead { .. }
    ));

    world.pass(5);
    world.clocks.step_wall(seconds(-7_200));
    world.pass(51);
    assert!(world.stepper.expire(), "due by now");
    world.stepper.settle();
    assert_eq!(world.status(3), PaymentStatus::Expired);
    assert_eq!(world.last_time(), world.clocks.wall());
    world.pass(1_700);
    assert!(!world.stepper.run_queue());
    world.pass(60);
    assert!(world.stepper.run_queue());
    world.stepper.settle();
    assert_eq!(world.status(4), PaymentStatus::Captured);
    let status = world.clock.status();
    assert_eq!((status.state, status.lead), (ClockState::InStep, 0));
    assert_eq!((status.steps.forwards, status.steps.backwards), (1, 1));
    assert_eq!(status.steps.followed, 0);
}

#[test]
fn a_wall_clock_that_is_a_little_ahead_is_followed_at_once() {
    let (clocks, clock) = clocks();
    clocks.step_wall(seconds(60));
    assert_eq!(clock.now(), BEGIN + 60 * SECOND);
    clocks.step_wall(seconds(61));
    assert_eq!(clock.now(), BEGIN + 60 * SECOND);
}

#[test]
fn a_wall_clock_that_stays_far_ahead_is_followed_after_ten_minutes() {
    let (clocks, clock) = clocks();
    clocks.step_wall(seconds(7_200));
    clock.now();
    pass(&clocks, &clock, 599);
    assert_eq!(clock.now(), BEGIN + 599 * SECOND);
    let state = clock.status().state;
    assert_eq!(
        state,
        ClockState::WallAhead {
            followed_in: SECOND
        }
    );
    pass(&clocks, &clock, 1);
    assert_eq!(clock.now(), clocks.wall());
    let status = clock.status();
    assert_eq!((status.state, status.lead), (ClockState::InStep, 0));
    assert_eq!(status.steps.followed, 1);
}

#[test]
fn a_wall_clock_that_moves_again_must_stay_for_ten_minutes_anew() {
    let (clocks, clock) = clocks();
    for _ in 0..20 {
        clocks.step_wall(seconds(7_200));
        clock.now();
        pass(&clocks, &clock, 540);
    }
    assert_eq!(clock.now(), BEGIN + 20 * 540 * SECOND);
}

#[test]
fn what_nobody_saw_does_not_count_as_stayed() {
    let (clocks, clock) = clocks();
    clocks.step_wall(seconds(7_200));
    clock.now();
    // The process was stopped: the wall clock may have been right meanwhile.
    clocks.advance(HOUR);
    assert_eq!(clock.now(), BEGIN + HOUR);
    pass(&clocks, &clock, 589);
    assert_eq!(clock.now(), BEGIN + HOUR + 589 * SECOND);
    pass(&clocks, &clock, 1);
    assert_eq!(clock.now(), clocks.wall());
}

#[test]
fn an_operator_can_confirm_a_wall_clock_that_is_far_ahead() {
    let (clocks, clock) = clocks();
    clocks.step_wall(seconds(7_200));
    assert_eq!(clock.now(), BEGIN);
    clock.confirm();
    assert_eq!(clock.now(), clocks.wall());
    clocks.step_wall(seconds(-30));
    clock.confirm();
    assert_eq!(clock.now(), clocks.wall() + 30 * SECOND, "never back");
}

#[test]
fn while_the_wall_clock_is_behind_ledger_time_runs_at_half_speed() {
    let (clocks, clock) = clocks();
    clocks.step_wall(seconds(-25));
    assert_eq!(clock.now(), BEGIN);
    pass(&clocks, &clock, 10);
    assert_eq!(clock.now(), BEGIN + 5 * SECOND);
    assert_eq!(clock.status().state, ClockState::WallBehind);
    assert_eq!(clock.status().lead, seconds(-20));
    pass(&clocks, &clock, 39);
    assert_eq!(clock.status().state, ClockState::WallBehind);
    pass(&clocks, &clock, 1);
    assert_eq!(clock.now(), clocks.wall());
    assert_eq!(clock.status().state, ClockState::InStep);
    pass(&clocks, &clock, 10);
    assert_eq!(clock.now(), clocks.wall());
}

#[test]
fn the_running_time_never_steps() {
    let (clocks, clock) = clocks();
    let begun = clock.running();
    for by in [7_200, -9_000, 30, -5, 100_000] {
        clocks.step_wall(seconds(by));
        clock.now();
        clocks.advance(SECOND);
    }
    assert_eq!(clock.running(), begun + 5 * SECOND);
}

#[test]
fn at_a_start_a_wall_clock_after_the_last_record_is_believed() {
    let (clocks, clock) = clocks();
    clocks.step_wall(seconds(30 * 86_400));
    clock.start(BEGIN, 0);
    assert_eq!(clock.now(), clocks.wall());
    assert_eq!(clock.status().state, ClockState::InStep);
}

#[test]
fn at_a_start_with_a_wall_clock_before_the_last_record_time_goes_on_from_that() {
    let (clocks, clock) = clocks();
    let head = BEGIN + 2 * HOUR;
    clock.start(head, 0);
    assert_eq!(clock.now(), head);
    assert_eq!(clock.status().state, ClockState::WallBehind);
    pass(&clocks, &clock, 100);
    assert_eq!(clock.now(), head + 50 * SECOND);
    // Recorded under the false clock, it stays; the clock gets over it at half speed.
    pass(&clocks, &clock, 4 * 3_600);
    assert_eq!(clock.now(), clocks.wall());
}

#[test]
fn the_offset_of_a_sandbox_moves_ledger_time_and_not_its_relation_to_the_wall_clock() {
    let (clocks, clock) = clocks();
    clock.set_offset(HOUR);
    assert_eq!(clock.now(), BEGIN + HOUR);
    clock.set_offset(HOUR / 2);
    assert_eq!(clock.now(), BEGIN + HOUR, "forwards only");
    assert_eq!(clock.status().lead, 0);
    pass(&clocks, &clock, 10);
    // The record that moved the clock by an hour was the last.
    clock.start(BEGIN, 2 * HOUR);
    assert_eq!(clock.now(), clocks.wall() + 2 * HOUR);
    clock.start(BEGIN + 3 * HOUR, 2 * HOUR);
    assert_eq!(clock.now(), BEGIN + 3 * HOUR);
    assert_eq!(clock.status().state, ClockState::WallBehind);
}

/// Something that happens to the clocks.
#[derive(Clone, Debug)]
enum Change {
    Pass(u64),
    Set(u64),
    Confirm,
    Offset(u64),
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let pass = prop_oneof![0..3 * SECOND, 0..3_u64, 0..2 * HOUR];
    let wall = prop_oneof![
        BEGIN - 3 * HOUR..BEGIN + 3 * HOUR,
        BEGIN - 2 * SECOND..BEGIN + 90 * SECOND,
        0..u64::MAX / 4
    ];
    let change = prop_oneof![
        8 => pass.prop_map(Change::Pass),
        4 => wall.prop_map(Change::Set),
        1 => Just(Change::Confirm),
        1 => (0..4 * HOUR).prop_map(Change::Offset),
    ];
    vec(change, 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn ledger_time_never_goes_back_and_never_runs_faster_than_it_may(changes in changes()) {
        let mut reading = ClockReading { boot: HOUR, wall: BEGIN };
        let mut clock = LedgerClock::start(BEGIN, 0, reading);
        for change in changes {
            let (before, offset) = (clock.now(), clock.offset());
            let mut elapsed = 0;
            let mut followed = 0;
            let mut report = |event| if let ClockEvent::Followed(by) = event {
                followed += by;
            };
            match change {
                Change::Pass(nanos) => {
                    elapsed = nanos;
                    reading.boot += nanos;
                    reading.wall = reading.wall.saturating_add(nanos);
                    clock.advance(reading, &mut report);
                }
                Change::Set(wall) => {
                    reading.wall = wall;
                    clock.advance(reading, &mut report);
                }
                Change::Confirm => {
                    clock.confirm(reading, &mut report);
                    prop_assert!(clock.now() >= reading.wall);
                }
                Change::Offset(to) => clock.set_offset(to),
            }
            let moved = clock.now() - before - (clock.offset() - offset);
            prop_assert!(moved >= elapsed / 2, "at least at half speed");
            // A step of less than a second is followed without a word.
            prop_assert!(moved <= elapsed + followed + SECOND);
            let state_fits = match clock.state() {
                ClockState::InStep => clock.lead() == 0,
                ClockState::WallBehind => clock.lead() < 0,
                ClockState::WallAhead { followed_in } => {
                    clock.lead() > FOLLOWED_AT_ONCE_NS as i64 && followed_in <= FOLLOWED_AFTER_NS
                }
            };
            prop_assert!(state_fits, "{:?} with a lead of {}", clock.state(), clock.lead());
        }
    }

    /// Whatever the wall clock showed for less than ten minutes, soon after it is right again so is ledger time.
    #[test]
    fn a_false_wall_clock_is_got_over(error in -4 * HOUR as i64..4 * HOUR as i64, lasted in 1..590_u64) {
        let mut reading = ClockReading { boot: HOUR, wall: BEGIN };
        let mut clock = LedgerClock::start(BEGIN, 0, reading);
        let mut pass = |seconds: u64, error: i64, clock: &mut LedgerClock| {
            for _ in 0..seconds {
                reading.boot += SECOND;
                reading.wall += SECOND;
                let wall = reading.wall.saturating_add_signed(error);
                clock.advance(ClockReading { wall, ..reading }, &mut |_| ());
            }
            reading.wall
        };
        let right = pass(lasted, error, &mut clock);
        prop_assert!(clock.now() <= right + FOLLOWED_AT_ONCE_NS);
        prop_assert!(clock.now() >= right - lasted * SECOND / 2);
        // At half speed a minute takes two to be got over.
        let right = pass(120, 0, &mut clock);
        prop_assert_eq!(clock.lead(), clock.lead().max(0), "not behind");
        if clock.now() < right {
            // It ran at half speed for long: a small lead is followed at once, a large one after ten minutes.
            let not_followed = matches!(clock.state(), ClockState::WallAhead { .. });
            prop_assert!(not_followed);
            let right = pass(480 + 1, 0, &mut clock);
            prop_assert_eq!(clock.now(), right);
        } else {
            prop_assert_eq!(clock.now(), right);
        }
    }
}
