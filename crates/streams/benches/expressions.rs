//! Cost of one evaluation of an expression: `cargo bench -p tributary-streams`. Allocations are counted.

use std::collections::BTreeMap;
use std::hint::black_box;

use divan::{AllocProfiler, Bencher};
use tributary_streams::expression::{Expression, FieldId, Fields, Scalar, Schema, Type, Value};

#[global_allocator]
static ALLOCATIONS: AllocProfiler = AllocProfiler::system();

const SOURCES: &[(&str, &str)] = &[
    ("one comparison", "amount > 22000"),
    (
        "three comparisons",
        "amount > 22000 && currency == \"EUR\" && count_24h >= 10",
    ),
    (
        "a list of countries",
        "country in [\"DE\", \"AT\", \"CH\", \"FR\", \"IT\", \"NL\", \"BE\", \"LU\"]",
    ),
    (
        "metadata",
        "has(metadata.score) && int(metadata.score) > 70",
    ),
    ("arithmetic", "(amount - count_24h * 100) / 3 % 1000 > 7"),
    ("a computed list", "country in [currency, country]"),
    ("a missing field", "note == \"\""),
    ("twenty conditions", TWENTY),
];

const TWENTY: &str = "amount > 1 && amount > 2 && amount > 3 && amount > 4 && amount > 5 && amount > 6 && \
    amount > 7 && amount > 8 && amount > 9 && amount > 10 && count_24h > 1 && count_24h > 2 && count_24h > 3 && \
    count_24h > 4 && count_24h > 5 && currency == \"EUR\" && currency != \"USD\" && country == \"LU\" && \
    country != \"DE\" && amount < 99999";

struct Event {
    amount: i64,
    count: i64,
    currency: String,
    country: String,
    metadata: BTreeMap<String, String>,
}

impl Fields for Event {
    fn get(&self, field: FieldId) -> Option<Value<'_>> {
        Some(match field.index() {
            0 => Value::Scalar(Scalar::Int(self.amount)),
            1 => Value::Scalar(Scalar::Int(self.count)),
            2 => Value::Scalar(Scalar::String(&self.currency)),
            3 => Value::Scalar(Scalar::String(&self.country)),
            4 => Value::Map(&self.metadata),
            _ => return None,
        })
    }
}

fn event() -> Event {
    let score = ("score".to_owned(), "73".to_owned());
    Event {
        amount: 25_000,
        count: 12,
        currency: "EUR".to_owned(),
        country: "LU".to_owned(),
        metadata: BTreeMap::from([score]),
    }
}

fn schema() -> Schema {
    let fields = [
        ("amount", Type::Int),
        ("count_24h", Type::Int),
        ("currency", Type::String),
        ("country", Type::String),
        ("metadata", Type::StringMap),
        ("note", Type::String),
    ];
    Schema::new(fields).expect("a schema")
}

fn main() {
    divan::main();
}

#[divan::bench(args = SOURCES.iter().map(|(name, _)| *name))]
fn evaluate(bencher: Bencher<'_, '_>, name: &str) {
    let source = SOURCES
        .iter()
        .find(|(known, _)| *known == name)
        .expect("a source")
        .1;
    let expression = Expression::compile(source, &schema()).expect("an expression");
    let event = event();
    bencher.bench_local(|| black_box(&expression).evaluate(black_box(&event)).is_ok());
}

#[divan::bench]
fn compile_three_comparisons(bencher: Bencher<'_, '_>) {
    let schema = schema();
    bencher.bench_local(|| Expression::compile(black_box(SOURCES[1].1), &schema));
}
