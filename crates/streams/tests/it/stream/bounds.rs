//! A stream that reaches a bound, or meets an event that it cannot count, stops and says why.

use tributary_streams::stream::{
    Aggregate, Bounds, Definition, KEY_BYTES_MAX, Source, StopReason, Stopped, Stream, Time,
    VALUE_BYTES_MAX, Window,
};

use super::{Payment, SECOND, definition, emit, event, int, rows, schema, stream};

const HOUR: i64 = 3_600 * SECOND;

fn payment(customer: i64, amount: i64) -> Payment {
    Payment {
        customer,
        amount: Some(amount),
        terminal: format!("terminal {amount}"),
        time: 0,
    }
}

/// Gives payments one second after the other until the stream stops: where and why.
fn stop(definition: Definition, payments: impl IntoIterator<Item = Payment>) -> Stopped {
    let mut stream = stream(definition);
    let mut outputs = Vec::new();
    for (number, payment) in payments.into_iter().enumerate() {
        let (position, time) = (number as u64 + 1, number as i64 * SECOND);
        let given = outputs.len();
        if let Err(stopped) = stream.push(position, &event(&payment, time), &mut outputs) {
            assert_eq!(
                outputs.len(),
                given,
                "nothing is given by a record that stops a stream"
            );
            assert_eq!(stopped.position, position);
            assert_eq!(stream.position(), position - 1);
            assert_eq!(stream.stopped(), Some(&stopped));
            // It stays stopped, whatever comes.
            let next = stream.push(position + 1, &event(&payment, time), &mut outputs);
            assert_eq!(next, Err(stopped.clone()));
            let barrier = stream.advance(position + 2, time + HOUR, &mut outputs);
            assert_eq!(barrier, Err(stopped.clone()));
            assert_eq!(stream.checkpoint(), Err(stopped.clone()));
            assert_eq!(stream.rows(), Err(stopped.clone()));
            return stopped;
        }
    }
    panic!("the stream goes on")
}

const WINDOWS: [Window; 4] = [
    Window::Tumbling { size: HOUR },
    Window::Hopping {
        size: HOUR,
        step: HOUR,
    },
    Window::Session { gap: HOUR },
    Window::Trailing {
        size: HOUR,
        delay: 0,
    },
];

#[test]
fn a_stream_stops_at_each_bound_of_its_state() {
    for window in WINDOWS {
        let bounded = |change: &dyn Fn(&mut Bounds)| {
            let mut definition = definition(window);
            definition.emit.push(emit(
                "terminals",
                Aggregate::Distinct("terminal".to_owned()),
            ));
            change(&mut definition.bounds);
            definition
        };
        let keys = stop(
            bounded(&|bounds| bounds.keys_max = 3),
            (0..).map(|n| payment(n, 1)),
        );
        let bound = |what, bound, max| StopReason::Bound { what, bound, max };
        assert_eq!(keys.why, bound("keys", "keys_max", 3));
        assert_eq!(keys.position, 4);
        let open = stop(
            bounded(&|bounds| bounds.open_windows_max = 5),
            (0..).map(|n| payment(n, 1)),
        );
        assert_eq!(open.why, bound("open windows", "open_windows_max", 5));
        assert_eq!(open.position, 6);
        let bytes = stop(
            bounded(&|bounds| bounds.state_bytes_max = 2_000),
            (0..).map(|n| payment(n, 1)),
        );
        assert_eq!(bytes.why, bound("bytes of state", "state_bytes_max", 2_000));
        // Many values of one key count too.
        let bytes = stop(
            bounded(&|bounds| bounds.state_bytes_max = 2_000),
            (0..).map(|n| payment(1, n)),
        );
        assert_eq!(bytes.why, bound("bytes of state", "state_bytes_max", 2_000));
        let distinct = stop(
            bounded(&|bounds| bounds.distinct_values_max = 2),
            (0..).map(|n| payment(1, n)),
        );
        let name = "terminals".to_owned();
        assert_eq!(distinct.why, StopReason::DistinctValues { name, max: 2 });
        assert_eq!(distinct.position, 3);
    }
}

#[test]
fn texts_that_are_too_long_for_a_key_or_a_value_stop_the_stream() {
    let of_terminal = |length: usize| Payment {
        terminal: "t".repeat(length),
        ..payment(1, 1)
    };
    for window in WINDOWS {
        for aggregate in [Aggregate::Distinct, Aggregate::First, Aggregate::Last] {
            let mut definition = definition(window);
            definition.emit = vec![emit("terminals", aggregate("terminal".to_owned()))];
            let lengths = [1, VALUE_BYTES_MAX, VALUE_BYTES_MAX + 1];
            let stopped = stop(definition, lengths.map(of_terminal));
            assert_eq!(stopped.position, 3);
            let why = StopReason::ValueTooLong {
                field: "emit: terminal".to_owned(),
                bytes: VALUE_BYTES_MAX + 1,
                max: VALUE_BYTES_MAX,
            };
            assert_eq!(stopped.why, why);
        }
        let mut definition = definition(window);
        definition.key = vec!["terminal".to_owned()];
        // A text in a key has five bytes before it.
        let most = KEY_BYTES_MAX - 5;
        let stopped = stop(definition, [1, most, most + 1].map(of_terminal));
        assert_eq!(stopped.position, 3);
        let (bytes, max) = (KEY_BYTES_MAX + 1, KEY_BYTES_MAX);
        assert_eq!(stopped.why, StopReason::KeyTooLong { bytes, max });
    }
}

/// A small state may have results that are many and large: those of hopping windows under a long key.
#[test]
fn results_that_one_record_makes_final_have_a_bound() {
    let mut definition = definition(Window::Hopping {
        size: 500 * SECOND,
        step: SECOND,
    });
    definition.key = vec!["terminal".to_owned()];
    definition.bounds.state_bytes_max = 100_000;
    let mut stream = stream(definition);
    let long = Payment {
        terminal: "t".repeat(1_000),
        ..payment(1, 1)
    };
    let mut outputs = Vec::new();
    let pushed = stream.push(1, &event(&long, 0), &mut outputs);
    pushed.expect("the windows are small");
    assert_eq!(stream.usage().open_windows, 500);
    // A few at a time fit.
    stream.advance(2, 50 * SECOND, &mut outputs).expect("fits");
    assert_eq!(rows(&outputs).len(), 50);
    outputs.clear();
    let stopped = stream.advance(3, HOUR, &mut outputs);
    let StopReason::Bound { bound, max, .. } = stopped.expect_err("too much").why else {
        panic!("another reason")
    };
    assert_eq!((bound, max), ("state_bytes_max", 100_000));
    assert!(outputs.is_empty());
}

/// Events that wait are small; once counted, each may be in many windows. They are looked at one after another.
#[test]
fn events_that_come_to_be_counted_together_stay_within_the_bounds() {
    let mut definition = definition(Window::Hopping {
        size: 1_000 * SECOND,
        step: SECOND,
    });
    definition.time = Time::Event {
        value: "time".to_owned(),
        unit: 1,
        lateness: 10 * SECOND,
    };
    definition.bounds.open_windows_max = 5_000;
    let mut stream = stream(definition);
    let mut outputs = Vec::new();
    for customer in 0..1_000 {
        let payment = payment(customer, 1);
        let pushed = stream.push(customer as u64 + 1, &event(&payment, 0), &mut outputs);
        pushed.expect("it waits");
    }
    assert_eq!(stream.usage().open_windows, 0);
    let later = Payment {
        time: 11 * SECOND,
        ..payment(1, 1)
    };
    let stopped = stream.push(1_001, &event(&later, 0), &mut outputs);
    assert!(matches!(
        stopped.expect_err("too many").why,
        StopReason::Bound {
            bound: "open_windows_max",
            ..
        }
    ));
    // Six events of a thousand windows each, and not a thousand events.
    assert_eq!(stream.usage().open_windows, 6_000);
}

#[test]
fn a_sum_that_does_not_fit_stops_the_stream() {
    for window in WINDOWS {
        for amount in [i64::MAX / 2, i64::MIN / 2] {
            let mut definition = definition(window);
            definition.emit = vec![emit("sum", Aggregate::Sum("amount".to_owned()))];
            let stopped = stop(definition, (0..4).map(|_| payment(1, amount)));
            assert_eq!(stopped.why, StopReason::SumOverflow("sum".to_owned()));
            assert_eq!(stopped.position, 3);
        }
    }
}

#[test]
fn events_that_wait_for_the_watermark_are_counted_as_state() {
    let mut definition = definition(Window::Tumbling { size: HOUR });
    definition.time = Time::Event {
        value: "time".to_owned(),
        unit: 1,
        lateness: HOUR,
    };
    definition.bounds.state_bytes_max = 10_000;
    let stopped = stop(definition, (0..1_000).map(|_| payment(1, 1)));
    assert!(matches!(
        stopped.why,
        StopReason::Bound {
            bound: "state_bytes_max",
            ..
        }
    ));
}

#[test]
fn what_has_no_value_stops_the_stream_and_is_never_taken_for_zero() {
    let missing = || {
        [
            payment(1, 1),
            Payment {
                amount: None,
                ..payment(1, 1)
            },
        ]
    };
    let window = Window::Session { gap: HOUR };
    let mut sum = definition(window);
    sum.emit = vec![emit("sum", Aggregate::Sum("amount".to_owned()))];
    let mut filter = definition(window);
    filter.from[0].filter = Some("amount > 0".to_owned());
    let mut key = definition(window);
    key.key = vec!["amount".to_owned()];
    let mut time = definition(window);
    time.time = Time::Event {
        value: "amount".to_owned(),
        unit: 1,
        lateness: 0,
    };
    for (definition, field) in [
        (sum, "emit: amount"),
        (filter, "from[0].where"),
        (time, "time.value"),
    ] {
        let stopped = stop(definition, missing());
        assert_eq!(stopped.position, 2);
        let StopReason::Evaluation { field: named, .. } = &stopped.why else {
            panic!("{stopped}")
        };
        assert_eq!(named, field);
        assert!(
            stopped
                .to_string()
                .contains("`payments` stopped at position 2"),
            "{stopped}"
        );
        assert!(stopped.to_string().contains("missing"), "{stopped}");
    }
    assert_eq!(
        stop(key, missing()).why,
        StopReason::MissingKey("amount".to_owned())
    );
}

#[test]
fn times_that_go_back_or_are_out_of_range_stop_the_stream() {
    let mut stream = stream(definition(Window::Tumbling { size: HOUR }));
    let mut outputs = Vec::new();
    stream.advance(1, 5, &mut outputs).expect("goes on");
    let stopped = stream
        .push(2, &event(&payment(1, 1), 4), &mut outputs)
        .expect_err("went back");
    assert_eq!(stopped.why, StopReason::TimeWentBack { from: 5, to: 4 });
    let mut definition = definition(Window::Tumbling { size: HOUR });
    definition.time = Time::Event {
        value: "time".to_owned(),
        unit: 1,
        lateness: HOUR,
    };
    for time in [i64::MAX, i64::MIN] {
        let stopped = stop(
            definition.clone(),
            [Payment {
                time,
                ..payment(1, 1)
            }],
        );
        assert_eq!(stopped.why, StopReason::TimeOutOfRange(time));
    }
}

#[test]
fn keys_are_forgotten_when_nothing_of_them_can_count_any_more() {
    for window in WINDOWS {
        let mut definition = definition(window);
        definition.bounds.keys_max = 2;
        let mut stream = stream(definition);
        let mut outputs = Vec::new();
        for customer in 0..100 {
            let (position, time) = (customer as u64 + 1, customer * HOUR);
            stream
                .push(position, &event(&payment(customer, 1), time), &mut outputs)
                .expect("goes on");
        }
        let empty = self::stream(self::definition(window)).usage();
        stream
            .advance(1_000, 1_000 * HOUR, &mut outputs)
            .expect("goes on");
        assert_eq!(stream.usage(), empty, "{window:?}");
        assert_eq!(rows(&outputs).len(), 100);
    }
}

#[test]
fn only_results_that_having_holds_for_are_given_and_other_events_are_not_counted() {
    let mut definition = definition(Window::Tumbling { size: HOUR });
    definition.from = vec![
        Source {
            event_type: "payment.captured".to_owned(),
            filter: Some("amount > 10".to_owned()),
        },
        Source {
            event_type: "payment.captured".to_owned(),
            filter: Some("customer == 3".to_owned()),
        },
    ];
    definition
        .emit
        .push(emit("sum", Aggregate::Sum("amount * 2".to_owned())));
    definition.having =
        Some("sum > 50 && customer != 2 && window_end - window_start > count".to_owned());
    let mut stream = stream(definition);
    let mut outputs = Vec::new();
    let given = [(1, 20), (1, 10), (2, 99), (3, 1), (1, 30), (4, 11), (3, 40)];
    for (position, (customer, amount)) in (1..).zip(given) {
        stream
            .push(
                position,
                &event(&payment(customer, amount), 7),
                &mut outputs,
            )
            .expect("goes on");
    }
    let refunded = payment(1, 99);
    let mut other = event(&refunded, 7);
    other.event_type = "payment.refunded";
    stream.push(50, &other, &mut outputs).expect("goes on");
    assert_eq!(stream.next_deadline(), Some(HOUR));
    let open = stream.rows().expect("goes on");
    stream.advance(51, HOUR - 1, &mut outputs).expect("goes on");
    assert_eq!(rows(&outputs), []);
    stream.advance(52, HOUR, &mut outputs).expect("goes on");
    let found: Vec<_> = rows(&outputs)
        .into_iter()
        .map(|row| (row.key, row.values))
        .collect();
    let row = |customer, count, sum| (vec![int(customer)], vec![Some(int(count)), Some(int(sum))]);
    assert_eq!(found, [row(1, 2, 100), row(3, 2, 82)]);
    assert_eq!(rows(&outputs), open);
    assert_eq!(stream.next_deadline(), None);
}

#[test]
fn the_id_of_a_result_depends_on_stream_version_key_and_window_alone() {
    let id = |name: &str, version: u64, customer: i64, time: i64, amount: i64| {
        let mut definition = definition(Window::Tumbling { size: HOUR });
        definition.name = name.to_owned();
        let mut stream = Stream::new(definition, version, &schema()).expect("a definition");
        let mut outputs = Vec::new();
        stream
            .push(1, &event(&payment(customer, amount), time), &mut outputs)
            .expect("goes on");
        stream
            .advance(2, time + HOUR, &mut outputs)
            .expect("goes on");
        match &outputs[..] {
            [tributary_streams::stream::Output::Result(result)] => result.id,
            other => panic!("{other:?}"),
        }
    };
    let first = id("a", 1, 1, 0, 1);
    assert_eq!(first, id("a", 1, 1, HOUR - 1, 2));
    for other in [
        id("b", 1, 1, 0, 1),
        id("a", 2, 1, 0, 1),
        id("a", 1, 2, 0, 1),
        id("a", 1, 1, HOUR, 1),
    ] {
        assert_ne!(first, other);
    }
}
