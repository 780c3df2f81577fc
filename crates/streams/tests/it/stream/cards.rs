//! 585,177 card payments of 61 days: windows over them must give figures that were computed without this program.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value as Json, json};
use tributary_streams::expression::{FieldId, Fields, Scalar, Schema, Type, Value};
use tributary_streams::stream::{
    Aggregate, Definition, Event, Output, OwnedScalar, Row, Stream, Window,
};

use super::{SECOND, definition, emit};

const HOUR: i64 = 3_600 * SECOND;
const DAY: i64 = 24 * HOUR;

/// A row of the file: id, time, customer, terminal, amount in minor units, fraud, scenario.
struct Payment([i64; 7]);

impl Payment {
    fn amount(&self) -> i64 {
        self.0[4]
    }

    fn fraud(&self) -> i64 {
        self.0[5]
    }
}

impl Fields for Payment {
    fn get(&self, field: FieldId) -> Option<Value<'_>> {
        Some(Value::Scalar(Scalar::Int(self.0[field.index()])))
    }
}

/// Payments and expected figures; none if the tests run where they are not and may skip.
fn read() -> Option<(Vec<Payment>, Json)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    let file = folder.join("cards-61-days.csv.xz");
    let unpacked = Command::new("xz").arg("-dc").arg(&file).output();
    let Some(unpacked) = unpacked.ok().filter(|output| output.status.success()) else {
        let may_skip = std::env::var_os("TRIBUTARY_TEST_ALL").is_none();
        assert!(
            may_skip,
            "the cards' data or xz is missing: {}",
            file.display()
        );
        eprintln!(
            "SKIPPED: the cards' data or xz is missing: {}",
            file.display()
        );
        return None;
    };
    let text = String::from_utf8(unpacked.stdout).expect("UTF-8");
    let payments = text.lines().skip(1).map(|line| {
        let mut columns = line
            .split(',')
            .map(|column| column.parse().expect("a number"));
        Payment(std::array::from_fn(|_| {
            columns.next().expect("seven columns")
        }))
    });
    let expected = std::fs::read_to_string(folder.join("cards-61-days.expected.json"));
    let expected = serde_json::from_str(&expected.expect("the expected figures")).expect("JSON");
    Some((payments.collect(), expected))
}

fn stream(key: &str, window: Window, aggregates: &[(&str, &str)]) -> Stream {
    let names = [
        "id", "time", "customer", "terminal", "amount", "fraud", "scenario",
    ];
    let schema = Schema::new(names.map(|name| (name, Type::Int))).expect("a schema");
    let sums = aggregates.iter();
    let sums = sums.map(|(name, input)| emit(name, Aggregate::Sum((*input).to_owned())));
    let definition = Definition {
        key: vec![key.to_owned()],
        emit: std::iter::once(emit("count", Aggregate::Count))
            .chain(sums)
            .collect(),
        ..definition(window)
    };
    Stream::new(definition, 1, &schema).expect("a definition")
}

/// Gives all payments to a stream. `each` gets every result, and the payment after which it came; none at the end.
fn play(mut stream: Stream, payments: &[Payment], mut each: impl FnMut(Option<&Payment>, &Row)) {
    let mut outputs = Vec::new();
    let mut give = |outputs: &mut Vec<Output>, payment: Option<&Payment>| {
        for output in outputs.drain(..) {
            let Output::Result(result) = output else {
                panic!("journal time: no event is late")
            };
            each(payment, &result.row);
        }
    };
    let mut position = 0;
    for payment in payments {
        position += 1;
        let event = Event {
            event_type: "payment.captured",
            journal_time: payment.0[1] * SECOND,
            fields: payment,
        };
        stream
            .push(position, &event, &mut outputs)
            .expect("goes on");
        give(&mut outputs, Some(payment));
    }
    while let Some(deadline) = stream.next_deadline() {
        position += 1;
        stream
            .advance(position, deadline, &mut outputs)
            .expect("goes on");
        give(&mut outputs, None);
    }
}

fn figure(row: &Row, place: usize) -> i64 {
    match row.values[place] {
        Some(OwnedScalar::Int(value)) => value,
        _ => panic!("a figure that is no integer"),
    }
}

#[test]
fn windows_over_card_payments_give_the_exact_figures() {
    let Some((payments, expected)) = read() else {
        return;
    };
    let number = |condition: &dyn Fn(&Payment) -> bool| {
        payments.iter().filter(|payment| condition(payment)).count()
    };
    let distinct = |column: usize| {
        let values: BTreeSet<i64> = payments.iter().map(|payment| payment.0[column]).collect();
        values.len()
    };

    let window = Window::Trailing {
        size: DAY,
        delay: 0,
    };
    let (mut counts, mut large_sums) = (Vec::new(), 0);
    play(
        stream("customer", window, &[("sum", "amount")]),
        &payments,
        |_, row| {
            counts.push(figure(row, 0));
            large_sums += usize::from(figure(row, 1) > 50_000);
        },
    );
    assert_eq!(counts.len(), payments.len(), "one result per payment");
    let at_least = |least: i64| counts.iter().filter(|count| **count >= least).count();

    let window = Window::Trailing {
        size: 28 * DAY,
        delay: 7 * DAY,
    };
    let [mut hits, mut hit_frauds, mut either, mut either_frauds] = [0; 4];
    play(
        stream("terminal", window, &[("frauds", "fraud")]),
        &payments,
        |payment, row| {
            let payment = payment.expect("a trailing window says its result at the payment");
            let hit = i64::from(figure(row, 1) >= 3);
            let any = hit.max(i64::from(payment.amount() > 22_000));
            hits += hit;
            hit_frauds += hit * payment.fraud();
            either += any;
            either_frauds += any * payment.fraud();
        },
    );

    let [
        mut tumbling,
        mut tumbling_max,
        mut tumbling_sum,
        mut tumbling_three,
    ] = [0; 4];
    let window = Window::Tumbling { size: HOUR };
    play(
        stream("terminal", window, &[("sum", "amount")]),
        &payments,
        |_, row| {
            tumbling += 1;
            tumbling_max = tumbling_max.max(figure(row, 0));
            tumbling_sum += figure(row, 1);
            tumbling_three += i64::from(figure(row, 0) >= 3);
        },
    );

    let [mut hopping, mut hopping_max, mut hopping_ten] = [0; 3];
    let window = Window::Hopping {
        size: DAY,
        step: 6 * HOUR,
    };
    play(stream("customer", window, &[]), &payments, |_, row| {
        hopping += 1;
        hopping_max = hopping_max.max(figure(row, 0));
        hopping_ten += i64::from(figure(row, 0) >= 10);
    });

    let [mut sessions, mut sessions_three, mut in_sessions] = [0; 3];
    let window = Window::Session { gap: HOUR / 2 };
    play(stream("customer", window, &[]), &payments, |_, row| {
        sessions += 1;
        sessions_three += i64::from(figure(row, 0) >= 3);
        in_sessions += figure(row, 0);
    });
    assert_eq!(
        in_sessions,
        payments.len() as i64,
        "each payment is in one session"
    );

    let found = json!({
        "payments": payments.len(),
        "frauds": number(&|payment| payment.fraud() == 1),
        "by_scenario": {
            "1": number(&|payment| payment.0[6] == 1),
            "2": number(&|payment| payment.0[6] == 2),
            "3": number(&|payment| payment.0[6] == 3),
        },
        "customers": distinct(2),
        "terminals": distinct(3),
        "sum_minor": payments.iter().map(Payment::amount).sum::<i64>(),
        "amount_over_22000": {
            "hits": number(&|payment| payment.amount() > 22_000),
            "frauds": number(&|payment| payment.amount() > 22_000 && payment.fraud() == 1),
        },
        "customer_24h": {
            "max": counts.iter().max(),
            "at_least_8": at_least(8),
            "at_least_10": at_least(10),
            "at_least_12": at_least(12),
        },
        "customer_24h_sum_over_50000": large_sums,
        "terminal_frauds_28d_delay_7d_at_least_3": { "hits": hits, "frauds": hit_frauds },
        "either_rule": { "hits": either, "frauds": either_frauds },
        "terminal_tumbling_1h": {
            "rows": tumbling,
            "count_max": tumbling_max,
            "sum_minor": tumbling_sum,
            "rows_with_count_at_least_3": tumbling_three,
        },
        "customer_hopping_24h_step_6h": {
            "rows": hopping,
            "count_max": hopping_max,
            "rows_with_count_at_least_10": hopping_ten,
        },
        "customer_sessions_gap_30min": {
            "sessions": sessions,
            "with_at_least_3": sessions_three,
        },
    });
    assert_eq!(found, expected);
}
