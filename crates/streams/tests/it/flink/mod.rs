//! Streams as SQL of Flink: golden files, refusals, and texts that try to leave their quotes.

mod engine;
mod injection;

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tributary_streams::flink::{Options, Sink, sql, terms_of};

fn options() -> Options {
    Options {
        brokers: "127.0.0.1:9092".to_owned(),
        topics: vec!["payment_events".to_owned()],
        sink: Sink::UpsertKafka("streams.rows".to_owned()),
        disorder_seconds: 10,
    }
}

/// The SQL of a definition, or why there is none.
fn written(stream: Value) -> Result<String, String> {
    let form = serde_json::from_value(stream).map_err(|error| error.to_string())?;
    let name = "volume";
    sql(name, &terms_of(form), &options()).map_err(|error| error.to_string())
}

fn example(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/streams");
    let text = std::fs::read_to_string(path.join(name)).expect("an example");
    let file: Value = toml::from_str(&text).expect("TOML");
    file["stream"][0].clone()
}

fn with(mut stream: Value, changes: &Value) -> Value {
    for (name, value) in changes.as_object().expect("an object") {
        stream[name] = value.clone();
    }
    stream
}

/// A stream over published events, with everything that SQL has another word for.
fn visits() -> Value {
    json!({
        "slug": "visits",
        "from": [
            {"event": "app.terminal.used", "where": "data.amount % 100 != 7 && !(data.terminal in [\"test\", \"o'clock\"])",
             "fields": {"size": "data.amount >= 10000 ? \"large\" : \"small\""}},
            {"event": "app.terminal.closed", "from_streams": true, "fields": {"size": "\"none\""}},
        ],
        "data": {"data.terminal": "string", "data.amount": "integer", "data.is_new": "boolean", "data.at": "integer"},
        "key": ["data.terminal", "size"],
        "time": {"milliseconds": "data.at", "lateness_seconds": 5},
        "window": {"type": "session", "gap_seconds": 30},
        "emit": {"uses": "count()", "total": "sum(data.amount)", "began": "first(data.amount)", "ended": "last(data.is_new)",
                 "sizes": "distinct(size)"},
        "having": "uses > 1 && window_end - window_start < 3600000",
        "start": "now",
    })
}

#[test]
fn the_sql_of_a_definition_is_a_golden_file() {
    let created = json!({"time": {"milliseconds": "created"}});
    for (name, stream) in [
        ("declines", example("declines.toml")),
        ("refunds", example("refunds.toml")),
        ("volume", example("volume.toml")),
        ("waiting", example("waiting.toml")),
        ("spending", with(example("spending.toml"), &created)),
        ("visits", visits()),
        (
            "hopping",
            with(
                example("volume.toml"),
                &json!({"window": {"type": "hopping", "size_seconds": 86_400, "step_seconds": 3_600}}),
            ),
        ),
    ] {
        let text = written(stream).unwrap_or_else(|error| panic!("{name}: {error}"));
        let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "tests/golden/flink", name]
            .iter()
            .collect();
        let path = path.with_extension("sql");
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&path, &text).expect("there is room");
        }
        let golden = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            golden == text,
            "{} differs; UPDATE=1 writes it anew",
            path.display()
        );
    }
}

#[test]
fn each_sink_has_its_options() {
    let form = serde_json::from_value(example("volume.toml")).expect("a stream");
    let terms = terms_of(form);
    for (sink, present, absent) in [
        (
            Sink::UpsertKafka("out".to_owned()),
            "PRIMARY KEY (`payee`, `currency`, `window_end`) NOT ENFORCED",
            "'path'",
        ),
        (
            Sink::Kafka("out".to_owned()),
            "'topic' = 'out'",
            "PRIMARY KEY",
        ),
        (
            Sink::Filesystem("/tmp/it's".to_owned()),
            "'path' = '/tmp/it''s'",
            "PRIMARY KEY",
        ),
    ] {
        let options = Options { sink, ..options() };
        let text = sql("volume", &terms, &options).expect("it can be said");
        assert!(text.contains(present) && !text.contains(absent), "{text}");
    }
}

#[test]
fn what_cannot_be_said_exactly_is_refused_with_what_to_do() {
    let volume = || example("volume.toml");
    let from = |source: Value| with(volume(), &json!({"from": [source]}));
    for (stream, fault) in [
        (
            example("uncaptured.toml"),
            "`window`: Flink's SQL has no window that an event opens",
        ),
        (
            example("spending.toml"),
            "`time`: Flink counts time in milliseconds, and the trailing windows of records",
        ),
        (
            with(
                volume(),
                &json!({"window": {"type": "session", "gap_seconds": 60}}),
            ),
            "give the stream \"time\": {\"milliseconds\": \"created\"}",
        ),
        (
            with(
                volume(),
                &json!({"window": {"type": "trailing", "size_seconds": 60, "delay_seconds": 1}}),
            ),
            "`window.delay_seconds`: a window OVER",
        ),
        (
            with(
                volume(),
                &json!({"window": {"type": "hopping", "size_seconds": 60, "step_seconds": 7}}),
            ),
            "`window.step_seconds`: Flink's HOP needs a size that is a multiple of the step",
        ),
        (
            with(
                volume(),
                &json!({"window": {"type": "tumbling", "size_seconds": 86_400_000}}),
            ),
            "`window`: Flink's SQL has no spans of 1,000 days and more",
        ),
        (
            with(
                volume(),
                &json!({"time": {"milliseconds": "created", "lateness_seconds": 86_400_000}}),
            ),
            "`time.lateness_seconds`: with the disorder",
        ),
        (
            from(json!({"event": "payment.refunded", "where": "kind == \"pay\""})),
            "`from[0].where`: Flink: messages with payment.refunded do not hold `kind`",
        ),
        (
            from(json!({"event": "account.frozen"})),
            "`key[0]`: Flink: messages with account.frozen do not hold `payee`",
        ),
        (
            from(json!({"event": "payment.captured", "where": "amount in [1, amount]"})),
            "`from[0].where`: Flink: a list whose elements are computed; compare with each element",
        ),
        (
            from(json!({"event": "payment.captured", "where": "[1, 2][0] == 1"})),
            "`from[0].where`: Flink: a list that does not stand right of `in`",
        ),
        (
            with(
                from(json!({"event": "app.a", "fields": {"where_it_was": "data.object"}})),
                &json!({"data": {"data.object": "string"}, "key": ["where_it_was"], "emit": {"all": "count()"}, "from": [
                    {"event": "app.a", "fields": {"where_it_was": "data.object"}},
                    {"event": "payment.captured", "fields": {"where_it_was": "currency"}},
                ]}),
            ),
            "the messages have different things at `data.object",
        ),
        (
            with(volume(), &json!({"key": ["nothing"]})),
            "`key[0]`: the events have no field `nothing`",
        ),
    ] {
        let shown = stream.to_string();
        let error = written(stream).expect_err(&shown);
        assert!(error.contains(fault), "{shown}\n{error}");
    }
}

#[test]
fn a_divisor_that_is_an_expression_makes_no_endless_sql() {
    let nested = (0..25).fold("amount".to_owned(), |inner, _| {
        format!("(amount / {inner})")
    });
    let source = json!({"event": "payment.captured", "where": format!("{nested} > 1")});
    let stream = with(example("volume.toml"), &json!({"from": [source]}));
    let error = written(stream).expect_err("it is large");
    assert!(error.contains("more than 65536 bytes of SQL"), "{error}");
}

#[test]
fn topics_brokers_and_folders_are_plain_names() {
    let form = serde_json::from_value(example("volume.toml")).expect("a stream");
    let terms = terms_of(form);
    let good = options();
    for (wrong, fault) in [
        (
            Options {
                topics: vec![],
                ..good.clone()
            },
            "`topic`: there is none",
        ),
        (
            Options {
                topics: vec!["a;b".to_owned()],
                ..good.clone()
            },
            "`topic`: \"a;b\" is no name of a topic",
        ),
        (
            Options {
                sink: Sink::Kafka("'x".to_owned()),
                ..good.clone()
            },
            "`sink_topic`: \"'x\" is no name",
        ),
        (
            Options {
                brokers: "a\nb".to_owned(),
                ..good.clone()
            },
            "`brokers`: \"a\\nb\" has other letters",
        ),
        (
            Options {
                sink: Sink::Filesystem("/\u{e9}".to_owned()),
                ..good
            },
            "`path`: ",
        ),
    ] {
        let error = sql("volume", &terms, &wrong).expect_err(fault).to_string();
        assert!(error.contains(fault), "{error}");
    }
}
