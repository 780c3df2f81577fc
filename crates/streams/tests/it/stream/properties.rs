//! Random events, times, restores and bounds of time against the model.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use tributary_streams::expression::Scalar;
use tributary_streams::stream::{Aggregate, Give, LateEvent, Output, Row, Stream, Time, Window};

use super::model::{self, Expected, Item};
use super::{Payment, answer, definition, emit, event, int, schema};

/// What happens at a position.
#[derive(Debug, Clone)]
enum Step {
    /// An event: by how much the journal's time goes on, and how far its own time lies before that.
    Event {
        wait: i64,
        age: i64,
        is_answer: bool,
        payment: Payment,
    },
    /// A barrier.
    Barrier { wait: i64 },
    /// The stream is restored from its checkpoint.
    Restore,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let event = (0..5_i64, -3..12_i64, 1..4_i64, -9..10_i64, 0..6_usize);
    let step = prop_oneof![
        8 => event.prop_map(|(wait, age, customer, amount, terminal)| {
            let is_answer = terminal >= 4;
            let terminal = ["", "north", "south"][terminal % 3].to_owned();
            let payment = Payment { customer, amount: Some(amount), terminal, time: 0 };
            Step::Event { wait, age, is_answer, payment }
        }),
        1 => (0..20_i64).prop_map(|wait| Step::Barrier { wait }),
        1 => Just(Step::Restore),
    ];
    proptest::collection::vec(step, 0..60)
}

fn window() -> impl Strategy<Value = Window> {
    prop_oneof![
        (1..12_i64).prop_map(|size| Window::Tumbling { size }),
        (1..12_i64, 1..12_i64).prop_map(|(a, b)| Window::Hopping {
            size: a.max(b),
            step: a.min(b)
        }),
        (1..8_i64).prop_map(|gap| Window::Session { gap }),
        (1..12_i64, 0..8_i64).prop_map(|(size, delay)| Window::Trailing { size, delay }),
        (1..12_i64).prop_map(|within| Window::Await {
            within,
            give: Give::Unanswered
        }),
        (1..12_i64).prop_map(|within| Window::Await {
            within,
            give: Give::Answered
        }),
    ]
}

fn every_aggregate(window: Window, lateness: Option<i64>) -> Stream {
    let mut definition = definition(window);
    definition.emit = vec![
        emit("count", Aggregate::Count),
        emit("sum", Aggregate::Sum("amount".to_owned())),
        emit("min", Aggregate::Min("amount".to_owned())),
        emit("max", Aggregate::Max("amount + 0".to_owned())),
        emit("terminals", Aggregate::Distinct("terminal".to_owned())),
        emit("first_terminal", Aggregate::First("terminal".to_owned())),
        emit("last_amount", Aggregate::Last("amount".to_owned())),
    ];
    if let Some(lateness) = lateness {
        let value = "time".to_owned();
        definition.time = Time::Event {
            value,
            unit: 1,
            lateness,
        };
    }
    Stream::new(definition, 7, &schema()).expect("a definition")
}

fn as_expected(row: &Row) -> Expected {
    let tributary_streams::stream::OwnedScalar::Int(customer) = row.key[0] else {
        panic!("the key is an integer")
    };
    Expected {
        customer,
        start: row.window_start,
        end: row.window_end,
        values: row.values.clone(),
    }
}

fn interval(window: Window, time: i64) -> (i64, i64) {
    let starts = |size: i64, step: i64| {
        let starts = (time - 2 * size..=time).filter(move |start| start.rem_euclid(step) == 0);
        starts.filter(move |start| time < start + size)
    };
    match window {
        Window::Tumbling { size } => (
            starts(size, size).min().unwrap(),
            starts(size, size).max().unwrap() + size,
        ),
        Window::Hopping { size, step } => (
            starts(size, step).min().unwrap(),
            starts(size, step).max().unwrap() + size,
        ),
        Window::Session { gap } => (time, time + gap),
        Window::Await { within, .. } => (time, time + within),
        Window::Trailing { size, delay } => (time - size - delay, time - delay),
    }
}

/// Plays steps and compares every output, row and deadline with the model's.
fn check(window: Window, lateness: Option<i64>, steps: &[Step]) -> Result<(), TestCaseError> {
    let mut stream = every_aggregate(window, lateness);
    let (mut journal, mut greatest) = (-20_i64, None::<i64>);
    let mut items: Vec<Item> = Vec::new();
    let mut ids = BTreeSet::new();
    let mut revisions: BTreeMap<(i64, i64), u32> = BTreeMap::new();
    // Time before which no more events come.
    let mut clock = i64::MIN;
    for (number, step) in steps.iter().enumerate() {
        let position = number as u64 * 2 + 1;
        let mut outputs = Vec::new();
        let mut late = Vec::new();
        let (before, already) = (clock, items.len());
        match step {
            Step::Restore => {
                let bytes = stream.checkpoint().expect("goes on");
                let restored = every_aggregate(window, lateness).restore(&bytes);
                let restored = restored.expect("the checkpoint is whole");
                prop_assert_eq!(restored.usage(), stream.usage());
                stream = restored;
                prop_assert_eq!(stream.checkpoint().expect("goes on"), bytes);
            }
            Step::Barrier { wait } => {
                journal += wait;
                let taken = stream.advance(position, journal, &mut outputs);
                taken.expect("goes on");
                if lateness.is_none() {
                    clock = journal;
                }
            }
            Step::Event {
                wait,
                age,
                is_answer,
                payment,
            } => {
                journal += wait;
                let mut payment = payment.clone();
                payment.time = journal - age;
                // Only a wait has answers.
                let is_answer = *is_answer && matches!(window, Window::Await { .. });
                let pushed = match is_answer {
                    true => answer(&payment, journal),
                    false => event(&payment, journal),
                };
                let taken = stream.push(position, &pushed, &mut outputs);
                taken.expect("goes on");
                let time = match lateness {
                    None => journal,
                    Some(_) => payment.time,
                };
                if time < clock {
                    let (window_start, window_end) = interval(window, time);
                    late.push(Output::Late(LateEvent {
                        position,
                        key: vec![int(payment.customer)],
                        time,
                        watermark: clock,
                        window_start,
                        window_end,
                    }));
                } else {
                    items.push(Item {
                        time,
                        is_answer,
                        position,
                        payment,
                    });
                    greatest = greatest.max(Some(time));
                    clock = clock.max(greatest.expect("set") - lateness.unwrap_or(0));
                }
                // A second delivery changes nothing.
                let again = outputs.clone();
                let payment = Payment::default();
                stream
                    .push(position, &event(&payment, 0), &mut outputs)
                    .expect("goes on");
                prop_assert_eq!(&again, &outputs);
            }
        }
        let results: Vec<_> = outputs
            .iter()
            .filter_map(|output| match output {
                Output::Result(result) => Some(result),
                Output::Late(_) => None,
            })
            .collect();
        let given: Vec<Expected> = results
            .iter()
            .map(|result| as_expected(&result.row))
            .collect();
        let known = model::windows(window, &items);
        let expected: Vec<Expected> = match window {
            // One result for each item that became final, in their order.
            Window::Trailing { .. } => {
                let mut order: Vec<(usize, &Item)> = items.iter().enumerate().collect();
                order.sort_by_key(|(_, item)| (item.time, item.position));
                let places = order.iter().zip(known.iter());
                let places = places.filter(|((arrival, item), _)| match lateness {
                    None => *arrival >= already,
                    Some(_) => before <= item.time && item.time < clock,
                });
                places.map(|(_, window)| window.clone()).collect()
            }
            Window::Await {
                within,
                give: Give::Answered,
            } => {
                let mut order: Vec<&Item> = items.iter().collect();
                order.sort_by_key(|item| (item.time, item.position));
                let waits = model::waits(within, &order).into_iter();
                let now = waits.filter(|wait| match (wait.answer, lateness) {
                    (None, _) => false,
                    (Some((_, answered)), None) => answered == position,
                    (Some((time, _)), Some(_)) => before <= time && time < clock,
                });
                now.map(|wait| wait.expected).collect()
            }
            _ => {
                let ended = known.iter();
                let ended = ended.filter(|window| before < window.end && window.end <= clock);
                ended.cloned().collect()
            }
        };
        prop_assert_eq!(given, expected, "{:?} at {}", step, number);
        let given_late: Vec<_> = outputs
            .iter()
            .filter(|o| matches!(o, Output::Late(_)))
            .cloned()
            .collect();
        prop_assert_eq!(given_late, late);
        for result in results {
            prop_assert!(ids.insert(result.id), "an id is given twice");
            let row = as_expected(&result.row);
            let revision = revisions.entry((row.customer, row.end)).or_default();
            prop_assert_eq!(result.revision, *revision);
            *revision += 1;
        }
        // What a rule sees of a key now and a little later: waits with times of their own are looked up by no rule.
        let is_wait = matches!(window, Window::Await { .. });
        let newest = lateness.map_or(Some(journal), |_| greatest);
        let mut expected = tributary_streams::stream::Expected::default();
        let mut with_expected = items.clone();
        for (after, newest) in [0, 1, 4, 30].into_iter().zip(newest.into_iter().cycle()) {
            if is_wait {
                break;
            }
            let time = newest + after;
            for customer in 1..5 {
                let given = stream.look(&[Scalar::Int(customer)], time, &expected);
                let wanted = model::look(window, &with_expected, customer, time);
                prop_assert_eq!(given.expect("a value"), wanted, "{} at {}", customer, time);
            }
            // The next look is at what is expected too.
            let payment = Payment {
                customer: 1 + after % 3,
                amount: Some(after - 2),
                terminal: "east".to_owned(),
                time,
            };
            stream.expect(&event(&payment, time), &mut expected);
            with_expected.push(Item {
                time,
                is_answer: false,
                position: u64::MAX,
                payment,
            });
        }
        if is_wait && lateness.is_none() {
            for (customer, after) in [(1, 0), (2, 1), (3, 4), (4, 30)] {
                let key = [Scalar::Int(customer)];
                let given = stream.look(&key, journal + after, &expected);
                let wanted = model::look(window, &items, customer, journal + after);
                prop_assert_eq!(given.expect("a value"), wanted);
            }
        }
        // Events at or after the watermark wait and are in no row yet.
        let counted = items
            .iter()
            .filter(|item| lateness.is_none() || item.time < clock);
        let counted: Vec<Item> = counted.cloned().collect();
        let mut open = model::windows(window, &counted);
        let mut deadline = None;
        if let Window::Trailing { size, delay } = window {
            // The last result of each key, until its last event has left.
            let mut last = BTreeMap::new();
            for window in open {
                last.insert(window.customer, window);
            }
            open = last.into_values().collect();
            open.retain(|window| window.end + delay + size + delay > clock);
        } else {
            open.retain(|window| window.end > clock);
            let waits_for_answers = matches!(
                window,
                Window::Await {
                    give: Give::Answered,
                    ..
                }
            );
            deadline = open.iter().map(|window| window.end).min();
            deadline = deadline.filter(|_| !waits_for_answers);
        }
        prop_assert_eq!(
            stream.next_deadline(),
            deadline.filter(|_| lateness.is_none())
        );
        prop_assert_eq!(stream.usage().open_windows, open.len());
        open.sort_by_key(|window| (window.customer, window.end));
        let rows = stream.rows().expect("goes on");
        prop_assert_eq!(rows.iter().map(as_expected).collect::<Vec<_>>(), open);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_stream_over_journal_time_gives_what_the_model_gives(window in window(), steps in steps()) {
        check(window, None, &steps)?;
    }

    #[test]
    fn a_stream_over_event_time_gives_what_the_model_gives(
        window in window(),
        lateness in 0..10_i64,
        steps in steps(),
    ) {
        check(window, Some(lateness), &steps)?;
    }

    #[test]
    fn a_checkpoint_that_was_changed_is_refused(
        window in window(),
        steps in steps(),
        place in any::<prop::sample::Index>(),
        cut in any::<bool>(),
    ) {
        let mut stream = every_aggregate(window, Some(3));
        let mut outputs = Vec::new();
        for (number, step) in steps.iter().enumerate() {
            if let Step::Event { payment, age, .. } = step {
                let payment = Payment { time: -age, ..payment.clone() };
                stream.push(number as u64 + 1, &event(&payment, 0), &mut outputs).expect("goes on");
            }
        }
        let mut bytes = stream.checkpoint().expect("goes on");
        let place = place.index(bytes.len());
        match cut {
            true => bytes.truncate(place),
            false => bytes[place] ^= 1,
        }
        prop_assert!(every_aggregate(window, Some(3)).restore(&bytes).is_err());
    }
}
