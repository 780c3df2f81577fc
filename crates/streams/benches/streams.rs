//! Cost of one event of a stream: `cargo bench -p tributary-streams --bench streams`. One event per millisecond, of one of a
//! million keys, and windows of a thousand seconds.

use divan::Bencher;
use divan::counter::ItemsCount;
use tributary_streams::expression::{FieldId, Fields, Scalar, Schema, Type, Value};
use tributary_streams::stream::{
    Aggregate, Bounds, Definition, Emit, Event, Source, Stream, Time, To, Window,
};

const MILLISECOND: i64 = 1_000_000;
const SIZE: i64 = 1_000_000 * MILLISECOND;
const KEYS: u64 = 1_000_000;

const WINDOWS: &[(&str, Window)] = &[
    ("tumbling", Window::Tumbling { size: SIZE }),
    (
        "hopping",
        Window::Hopping {
            size: SIZE,
            step: SIZE / 4,
        },
    ),
    ("session", Window::Session { gap: SIZE }),
    (
        "trailing",
        Window::Trailing {
            size: SIZE,
            delay: 0,
        },
    ),
    (
        "trailing with a delay",
        Window::Trailing {
            size: SIZE,
            delay: SIZE,
        },
    ),
];

struct Payment {
    customer: i64,
    amount: i64,
}

impl Fields for Payment {
    fn get(&self, field: FieldId) -> Option<Value<'_>> {
        Some(Value::Scalar(Scalar::Int(match field.index() {
            0 => self.customer,
            _ => self.amount,
        })))
    }
}

fn definition(window: Window) -> Definition {
    let emit = |name: &str, aggregate| Emit {
        name: name.to_owned(),
        aggregate,
    };
    Definition {
        name: "payments".to_owned(),
        from: vec![Source {
            event_type: "payment.captured".to_owned(),
            filter: Some("amount > 0".to_owned()),
        }],
        until: Vec::new(),
        key: vec!["customer".to_owned()],
        time: Time::Journal,
        window,
        emit: vec![
            emit("count", Aggregate::Count),
            emit("sum", Aggregate::Sum("amount".to_owned())),
        ],
        having: None,
        to: To::Event,
        bounds: Bounds::default(),
    }
}

#[divan::bench(args = WINDOWS.iter().map(|window| window.0), sample_count = 20, sample_size = 50_000)]
fn push(bencher: Bencher<'_, '_>, name: &str) {
    let window = WINDOWS.iter().find(|window| window.0 == name);
    let window = window.expect("a window of this name").1;
    let schema = Schema::new([("customer", Type::Int), ("amount", Type::Int)]);
    let schema = schema.expect("a schema");
    let mut stream = Stream::new(definition(window), 1, &schema).expect("a definition");
    let (mut position, mut outputs) = (0_u64, Vec::new());
    let mut push = move || {
        position += 1;
        // A permutation of numbers, so that keys come in no order.
        let number = position.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 20;
        let payment = Payment {
            customer: i64::try_from(number % KEYS).expect("small"),
            amount: i64::try_from(position % 1_000).expect("small") + 1,
        };
        let event = Event {
            event_type: "payment.captured",
            journal_time: i64::try_from(position).expect("small") * MILLISECOND,
            fields: &payment,
        };
        stream
            .push(position, &event, &mut outputs)
            .expect("goes on");
        outputs.clear();
    };
    for _ in 0..2 * KEYS {
        push();
    }
    bencher.counter(ItemsCount::new(1_usize)).bench_local(push);
}

fn main() {
    divan::main();
}
