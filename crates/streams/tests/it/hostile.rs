//! Definitions and events that were made to do harm: whatever they say, a stream is refused, goes on or stops, within its bounds.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value as Json, json};
use tributary_api::form::stream::StreamCreate;
use tributary_api::settings::stream::StreamType;
use tributary_api::streaming::{BoundsForm, Preview, Streaming as _};
use tributary_engine::{Engine, Options};
use tributary_ledger::{AccountId, Body, Command, Data, Destination, Publish, Topic};
use tributary_streams::driver::Streams;
use tributary_streams::expression::{FieldId, Fields, Scalar, Schema, Type, Value};
use tributary_streams::stream::{
    Aggregate, Bounds, Definition, Emit, Event, Give, Output, Source, StopReason, Stream, Time, To,
    VALUE_BYTES_MAX, WINDOWS_PER_EVENT_MAX, Window,
};
use tributary_testkit::clock::TestClock;
use tributary_testkit::commands::{BEGIN, SECOND, command, open, pay};
use tributary_testkit::random::Random;
use tributary_testkit::seeds::{ReplayHint, Seeds};
use tributary_testkit::store::TestStore;

/// Nanoseconds of a year.
const YEAR: u64 = 365 * 86_400 * SECOND;
/// Bounds of each stream that is tried.
const BOUNDS: BoundsForm = BoundsForm {
    keys_max: Some(100),
    open_windows_max: Some(5_000),
    state_bytes_max: Some(1 << 20),
    distinct_values_max: Some(20),
    rows_max: Some(1_000),
    events_per_second: None,
    actions_per_minute: None,
};
/// Most that the memory may grow while streams are tried one after another, in KiB. One event may be in 1,000 windows, with a text of
/// 4 KiB in some aggregates of each, before a bound is looked at.
const GROWTH_KIB: u64 = 32 * 1_024;
/// Name under which `scripts/simulate` runs these tests with other seeds.
const NAME: &str = "streams";
/// Variable that says that this process is the one whose memory is measured.
const MEASURED: &str = "TRIBUTARY_STREAM_TEST_MEASURED";

/// Expressions that take long, overflow, or read what is not there.
const EXPRESSIONS: [&str; 24] = [
    "data.n",
    "data.s",
    "data.t",
    "data.b",
    "data.n + data.n",
    "data.n * data.n * data.n",
    "data.n / 0",
    "data.n % data.n",
    "-data.n",
    "int(data.s)",
    "created",
    "created - data.t",
    "data.t * 1000000",
    "has(data.n) && data.n > 0",
    "has(data.t)",
    "data.s.contains(data.s)",
    "size(data.s) > 100",
    "metadata.a",
    "metadata['a']",
    "amount",
    "amount_moved + amount",
    "9223372036854775807 + 1",
    "true",
    "((((((((((((((((((((((((((((((((((1))))))))))))))))))))))))))))))))))",
];

/// Sound definitions of every kind of window.
fn sound() -> Vec<Json> {
    let windows = [
        json!({"type": "tumbling", "size_seconds": 60}),
        json!({"type": "hopping", "size_seconds": 86_400, "step_seconds": 3_600}),
        json!({"type": "session", "gap_seconds": 30}),
        json!({"type": "trailing", "size_seconds": 3_600, "delay_seconds": 5}),
        json!({"type": "await", "within_seconds": 3_600, "give": "answered",
            "until": [{"event": "app.answer"}]}),
    ];
    let mut sound = Vec::new();
    for window in windows {
        sound.push(json!({
            "slug": "published",
            "from": [{"event": "app.hostile", "where": "has(data.n) && has(data.s) && has(data.t) && data.s != ''"}],
            "data": {"data.n": "integer", "data.s": "string", "data.t": "integer", "data.b": "boolean"},
            "key": ["data.n"],
            "window": window.clone(),
            "emit": {"all": "count()", "n": "max(data.n)", "least": "min(data.n)", "different": "distinct(data.s)",
                "last": "last(data.s)", "first": "first(data.n)"},
            "having": "all > 0 && window_end > window_start",
        }));
        let mut timed = sound.last().cloned().unwrap_or_default();
        timed["time"] = json!({"milliseconds": "data.t", "lateness_seconds": 60});
        timed["key"] = json!(["data.s", "data.b"]);
        timed["from"][0]["where"] =
            json!("has(data.b) && has(data.n) && has(data.t) && size(data.s) < 100");
        sound.push(timed);
        let mut paid = json!({
            "slug": "paid",
            "from": [{"event": "payment.captured", "where": "amount > 1", "fields": {"twice": "amount * 2"}},
                {"event": "payment.failed", "where": "has(payer)", "fields": {"twice": "amount"}}],
            "data": {"data.n": "integer", "data.s": "string", "data.t": "integer"},
            "key": ["event", "currency"],
            "window": window,
            "emit": {"all": "count()", "moved": "sum(amount_moved)"},
        });
        if let Some(until) = paid["window"].get_mut("until") {
            until[0]["fields"] = json!({"twice": "1"});
        }
        sound.push(paid);
    }
    sound
}

/// Returns a value in the place of `was`: mostly of its type, so that more than the first check of a definition is tried.
fn hostile_value(random: &mut Random, was: &Json, other: &Json) -> Json {
    match was {
        Json::Number(_) if random.chance(80) => hostile_of(2, random, other),
        Json::String(text) if random.chance(80) => {
            let kind = if text.contains("()") || text.contains("data.") && text.contains('(') {
                10
            } else {
                8
            };
            hostile_of(kind, random, other)
        }
        _ => {
            let kind = random.below(12);
            hostile_of(kind, random, other)
        }
    }
}

fn hostile_of(kind: u64, random: &mut Random, other: &Json) -> Json {
    let numbers = [
        0,
        1,
        2,
        59,
        3_600,
        31_536_000,
        576_460_752,
        4_611_686_018,
        i64::MAX as u64,
        u64::MAX,
    ];
    match kind {
        0 => Json::Null,
        1 => json!(random.one_in(2)),
        2 | 3 => json!(random.pick(&numbers)),
        4 => json!(-1),
        5 => json!(1e308),
        6 => json!("x".repeat(random.index(6_000))),
        7 => {
            let nested = |inner: Json, _| match inner.is_array() {
                true => json!({ "a": inner }),
                false => json!([inner]),
            };
            (0..random.below(100)).fold(json!("deep"), nested)
        }
        8 | 9 => json!(random.pick(&EXPRESSIONS)),
        10 => {
            let function = random.pick(&["sum", "min", "max", "distinct", "first", "last", "none"]);
            let of = random.pick(&EXPRESSIONS);
            json!(format!(
                "{}({})",
                function.unwrap_or(&""),
                of.unwrap_or(&"")
            ))
        }
        _ => other.clone(),
    }
}

/// Returns a value somewhere in `json`.
fn pick_within<'a>(json: &'a mut Json, random: &mut Random) -> &'a mut Json {
    let count = match json {
        Json::Array(items) => items.len(),
        Json::Object(fields) => fields.len(),
        _ => 0,
    };
    if count == 0 || random.one_in(4) {
        return json;
    }
    let at = random.index(count);
    let within = match json {
        Json::Array(items) => &mut items[at],
        Json::Object(fields) => fields.values_mut().nth(at).expect("there are so many"),
        _ => unreachable!("it has something in it"),
    };
    pick_within(within, random)
}

fn mutate(definition: &mut Json, random: &mut Random) {
    let other = pick_within(&mut definition.clone(), random).clone();
    let fields = definition
        .as_object_mut()
        .expect("a definition is an object");
    let at = random.index(fields.len());
    let field = fields.values_mut().nth(at).expect("there are so many");
    let place = pick_within(field, random);
    match (place, random.below(6)) {
        (Json::Object(fields), 0) if !fields.is_empty() => {
            let name = fields.keys().nth(random.index(fields.len()));
            let name = name.expect("there are so many").clone();
            fields.remove(&name);
        }
        (Json::Object(fields), 1..4) => {
            let names = [
                "a.b",
                "",
                "data.n",
                "where",
                "another",
                "all",
                "window_end",
                "event",
            ];
            let name = *random.pick(&names).expect("there are some");
            let value = match fields.values().next() {
                Some(like) => hostile_value(random, &like.clone(), &other),
                None => other,
            };
            fields.insert(name.to_owned(), value);
        }
        (Json::Array(items), 0..4) => {
            let like = items.first().cloned().unwrap_or_default();
            for _ in 0..random.below(40) {
                items.push(hostile_value(random, &like, &other));
            }
        }
        (place, _) => *place = hostile_value(random, &place.clone(), &other),
    }
}

/// Returns an event that a caller might publish to do harm.
fn hostile_event(random: &mut Random, now: u64) -> String {
    let now_ms = (now / 1_000_000) as i64;
    let times = [
        now_ms,
        now_ms,
        now_ms - 59_000,
        now_ms + 31_536_000_000,
        0,
        i64::MAX,
        i64::MIN,
    ];
    let mut data = Map::new();
    let n = [0, 1, -1, i64::MAX, i64::MIN, 1 << 40];
    data.insert("n".to_owned(), json!(random.pick(&n)));
    // Times far away come seldom: most of them stop a stream.
    let time = if random.one_in(30) {
        random.index(times.len())
    } else {
        random.index(3)
    };
    data.insert("t".to_owned(), json!(times[time]));
    let length = if random.one_in(20) {
        random.index(5_300)
    } else {
        random.index(3)
    };
    let letter = random
        .pick(&["a", "é", "\u{1}", "\""])
        .expect("there are some");
    data.insert("s".to_owned(), json!(letter.repeat(length)));
    data.insert("b".to_owned(), json!(random.one_in(2)));
    match random.below(25) {
        0 => drop(data.remove("n")),
        1 => drop(data.remove("t")),
        2 => drop(data.insert("n".to_owned(), json!(1.5e300))),
        3 => drop(data.insert("s".to_owned(), json!({"s": [[[]]]}))),
        4 => return format!("{}{}", "[".repeat(5_000), "]".repeat(5_000)),
        5 => return "{\"n\":18446744073709551615,\"s\":\"\",\"t\":1e400}".to_owned(),
        _ => {}
    }
    Json::Object(data).to_string()
}

/// Records what streams are to be tried over. Time goes on by seconds, and at times by years.
fn record_events(engine: &Engine, clock: &TestClock, random: &mut Random) -> u64 {
    let mut records = 0;
    let mut run = |command: Command| {
        let replies = engine.execute_blocking(vec![command]);
        records += replies.expect("it is recorded").len() as u64;
    };
    for number in 0..4 {
        run(open(
            &format!("account {number}"),
            &format!("owner-{number}"),
        ));
    }
    let mut now = BEGIN;
    for number in 0..400 {
        let step = match random.below(60) {
            0 => YEAR,
            1 => 20 * YEAR / 365,
            _ => random.below(30) * SECOND,
        };
        now += step;
        clock.advance(step);
        let amounts = [0, 1, 2, 1_000, i64::MAX as u64, u64::MAX];
        let amount = *random.pick(&amounts).expect("there are some");
        let (from, to) = (1 + random.below(4), 1 + random.below(5));
        let body = match random.below(5) {
            0 => {
                let mut payment = pay(from, to, amount);
                payment.destination = Destination::One(AccountId(to));
                Body::Pay(payment)
            }
            of_answers => {
                let topic = if of_answers == 1 {
                    "app.answer"
                } else {
                    "app.hostile"
                };
                let data = hostile_event(random, now);
                Body::Publish(Publish {
                    topic: Topic::new(topic).expect("a type"),
                    key: None,
                    data: Data::new(Data::PLAIN, data.as_bytes()).expect("short data"),
                })
            }
        };
        run(command(&format!("event {number}"), body));
    }
    records
}

/// What became of the definitions.
#[derive(Default, Debug)]
struct Tried {
    refused: u32,
    over: u32,
    went_on: u32,
    reasons: BTreeMap<String, u32>,
}

fn check_preview(preview: &Preview, records: u64) {
    assert!(preview.events <= records, "{preview:?}");
    let windows = WINDOWS_PER_EVENT_MAX as u64;
    assert!(preview.results <= preview.events * windows, "{preview:?}");
    assert!(preview.rows.len() <= 100 && preview.open_rows.len() <= 100);
}

fn try_definitions(seed: u64, definitions: usize) -> Tried {
    let clock = TestClock::starting_at(BEGIN);
    let engine = TestStore::in_memory().start(Arc::new(clock.clone()), Options::default());
    let mut random = Random::new(seed);
    let records = record_events(&engine, &clock, &mut random);
    let streams = Streams::new(engine.reader());
    let kind = StreamType::new(engine.reader(), streams.clone());
    let sound = sound();
    let mut tried = Tried::default();
    for number in 0..definitions {
        let mut definition = sound[number % sound.len()].clone();
        // Each sound one as it is, at first.
        if number >= sound.len() {
            (0..1 + random.below(3)).for_each(|_| mutate(&mut definition, &mut random));
        }
        let text = definition.to_string();
        let Ok(form) = serde_json::from_str::<StreamCreate>(&text) else {
            tried.refused += 1;
            continue;
        };
        let mut terms = match kind.checked(form) {
            Ok(terms) => terms,
            Err(error) => {
                assert!(number >= sound.len(), "{}: {text}", error.message());
                assert!(error.message().len() < 20_000, "{}", error.message());
                tried.refused += 1;
                continue;
            }
        };
        terms.bounds = BOUNDS;
        // From the beginning, and from somewhere.
        for read in [records, 1 + random.below(records)] {
            let preview = streams.preview(&terms, read).expect("the journal is whole");
            check_preview(&preview, read);
            match preview.stopped {
                None => tried.went_on += 1,
                Some(why) => {
                    tried.over += 1;
                    let reason = why.split_once(": ").map_or(&*why, |(_, reason)| reason);
                    let words = reason
                        .split(' ')
                        .filter(|word| !word.contains(char::is_numeric));
                    let kind = words.take(4).collect::<Vec<_>>().join(" ");
                    *tried.reasons.entry(kind).or_default() += 1;
                }
            }
        }
    }
    tried
}

#[test]
fn definitions_are_refused_or_run_within_their_bounds() {
    for seed in Seeds::for_test(NAME, 2) {
        let _hint = ReplayHint { test: NAME, seed };
        let tried = try_definitions(seed, 3_000);
        println!("{tried:?}");
        assert!(tried.refused > 500, "{tried:?}");
        assert!(tried.over > 200, "{tried:?}");
        assert!(tried.went_on > 200, "{tried:?}");
    }
}

/// Memory is that of a process, so that the test measures one of its own.
#[test]
#[cfg(target_os = "linux")]
fn memory_is_bounded_whatever_a_definition_says() {
    let mut program = std::process::Command::new(std::env::current_exe().expect("this program"));
    program.args([
        "--exact",
        "hostile::definitions_in_measured_memory",
        "--nocapture",
    ]);
    let output = program.env(MEASURED, "1").output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{errors}");
    assert!(said.contains("KiB more"), "{said}{errors}");
}

/// Run by the test above in a process of its own.
#[test]
#[cfg(target_os = "linux")]
fn definitions_in_measured_memory() {
    if std::env::var_os(MEASURED).is_none() {
        return;
    }
    let clock = TestClock::starting_at(BEGIN);
    drop(TestStore::in_memory().start(Arc::new(clock), Options::default()));
    let before = resident_peak_kib();
    try_definitions(1, 3_000);
    let mut random = Random::new(2);
    for number in 0..300 {
        try_windows(&mut random, number);
    }
    let growth = resident_peak_kib() - before;
    println!("{growth} KiB more");
    assert!(growth <= GROWTH_KIB, "{growth} KiB");
}

#[cfg(target_os = "linux")]
fn resident_peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("a status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let figure = line.and_then(|line| line.split_whitespace().next());
    figure
        .and_then(|figure| figure.parse().ok())
        .expect("a figure in KiB")
}

/// Fields of a hostile event: a number, a text and a time, each of which may be missing.
struct HostileFields {
    number: Option<i64>,
    text: Option<String>,
    time: Option<i64>,
}

impl Fields for HostileFields {
    fn get(&self, field: FieldId) -> Option<Value<'_>> {
        let scalar = match field.index() {
            0 => Scalar::Int(self.number?),
            1 => Scalar::String(self.text.as_deref()?),
            _ => Scalar::Int(self.time?),
        };
        Some(Value::Scalar(scalar))
    }
}

fn hostile_span(random: &mut Random, from: i64) -> i64 {
    let spans = [
        0,
        1,
        2,
        999_999_999,
        1_000_000_000,
        60_000_000_000,
        31_536_000_000_000_000,
        1 << 59,
        (1 << 59) + 1,
        i64::MAX,
        -1,
    ];
    (*random.pick(&spans).expect("there are some")).max(from.min(random.below(3) as i64))
}

fn hostile_window(random: &mut Random) -> Window {
    match random.below(5) {
        0 => Window::Tumbling {
            size: hostile_span(random, 1),
        },
        1 => {
            let size = hostile_span(random, 1);
            let parts = [1, 2, 7, 999, 1_000, 1_001, 31_536_000];
            let parts = random.pick(&parts).expect("there are some");
            Window::Hopping {
                size,
                step: (size / parts).max(1),
            }
        }
        2 => Window::Session {
            gap: hostile_span(random, 1),
        },
        3 => Window::Trailing {
            size: hostile_span(random, 1),
            delay: hostile_span(random, 0),
        },
        _ => Window::Await {
            within: hostile_span(random, 1),
            give: if random.one_in(2) {
                Give::Answered
            } else {
                Give::Unanswered
            },
        },
    }
}

/// Runs a stream over hostile events and compares what it counts with its bounds after each. Returns whether its definition was taken.
fn try_windows(random: &mut Random, number: u64) -> Option<Option<StopReason>> {
    let source = |event_type: &str| Source {
        event_type: event_type.to_owned(),
        filter: (!random_is_open(number)).then(|| "has(text) && has(number)".to_owned()),
    };
    let window = hostile_window(random);
    let mut emit = Vec::new();
    for (name, aggregate) in [
        ("count", Aggregate::Count),
        ("sum", Aggregate::Sum("number".to_owned())),
        ("least", Aggregate::Min("number".to_owned())),
        ("most", Aggregate::Max("number".to_owned())),
        ("different", Aggregate::Distinct("text".to_owned())),
        ("first", Aggregate::First("text".to_owned())),
        ("last", Aggregate::Last("text".to_owned())),
    ] {
        if emit.is_empty() || random.one_in(3) {
            let name = name.to_owned();
            emit.push(Emit { name, aggregate });
        }
    }
    let bounds = Bounds {
        keys_max: 30,
        open_windows_max: 3_000,
        state_bytes_max: 1 << 18,
        distinct_values_max: 10,
    };
    let time = match random.below(2) {
        0 => Time::Journal,
        _ => Time::Event {
            value: "time".to_owned(),
            unit: *random
                .pick(&[1, 1_000_000, i64::MAX])
                .expect("there are some"),
            lateness: hostile_span(random, 0),
        },
    };
    let definition = Definition {
        name: "hostile".to_owned(),
        from: vec![source("one")],
        until: match window {
            Window::Await { .. } => vec![source("other")],
            _ => Vec::new(),
        },
        key: vec![if random.one_in(2) { "text" } else { "number" }.to_owned()],
        time,
        window,
        emit,
        having: None,
        to: To::Table,
        bounds,
    };
    let schema = Schema::new([
        ("number", Type::Int),
        ("text", Type::String),
        ("time", Type::Int),
    ]);
    let mut stream = Stream::new(definition, 1, &schema.expect("a schema")).ok()?;
    let (mut outputs, mut journal) = (Vec::new(), BEGIN as i64);
    let mut event_time = journal;
    for position in 1..=300 {
        let jumps = [
            0,
            0,
            0,
            1,
            1_000_000_000,
            3_600_000_000_000,
            YEAR as i64,
            40 * YEAR as i64,
        ];
        let jump = if random.one_in(50) {
            random.index(jumps.len())
        } else {
            random.index(5)
        };
        journal += jumps[jump];
        event_time = match random.below(80) {
            0 => i64::MAX,
            1 => i64::MIN,
            2 => 0,
            _ => event_time.saturating_add(jumps[random.index(6)]),
        };
        let numbers = [0, 1, 2, 3, -1, 1 << 50];
        let number = match random.one_in(100) {
            true => random.pick(&[i64::MAX, i64::MIN]),
            false => random.pick(&numbers),
        };
        let length = if random.one_in(100) {
            random.index(2 * VALUE_BYTES_MAX)
        } else {
            random.index(40)
        };
        let fields = HostileFields {
            number: number.copied().filter(|_| !random.one_in(150)),
            text: Some("t".repeat(length)).filter(|_| !random.one_in(150)),
            time: Some(event_time).filter(|_| !random.one_in(150)),
        };
        let event = Event {
            event_type: if random.one_in(4) { "other" } else { "one" },
            journal_time: journal,
            fields: &fields,
        };
        outputs.clear();
        let pushed = stream.push(position, &event, &mut outputs);
        assert!(
            outputs.len() <= 2_000,
            "{} results of one record",
            outputs.len()
        );
        if let Err(stopped) = pushed {
            assert!(outputs.is_empty());
            assert!(stopped.to_string().len() < 1_000, "{stopped}");
            return Some(Some(stopped.why));
        }
        let usage = stream.usage();
        assert!(usage.keys <= bounds.keys_max, "{usage:?}");
        assert!(usage.open_windows <= bounds.open_windows_max, "{usage:?}");
        assert!(usage.state_bytes <= bounds.state_bytes_max, "{usage:?}");
        if position % 50 == 0 {
            let open = stream.rows_page(3, 7).expect("no condition");
            assert!(open.len() <= 7);
            let whole = stream.rows().expect("no condition");
            assert_eq!(open[..], whole[whole.len().min(3)..whole.len().min(10)]);
            let kept = stream.checkpoint().expect("it goes on");
            let again = Stream::new(stream.definition().clone(), 1, &again_schema());
            let again = again
                .expect("a definition")
                .restore(&kept)
                .expect("sound bytes");
            assert_eq!(again.usage(), usage);
            assert!(kept.len() <= 2 * bounds.state_bytes_max, "{}", kept.len());
        }
    }
    assert!(
        outputs
            .iter()
            .all(|output| matches!(output, Output::Result(_) | Output::Late(_)))
    );
    Some(None)
}

fn again_schema() -> Schema {
    let fields = [
        ("number", Type::Int),
        ("text", Type::String),
        ("time", Type::Int),
    ];
    Schema::new(fields).expect("a schema")
}

/// Whether the stream of this number takes events that lack a field.
fn random_is_open(number: u64) -> bool {
    number.is_multiple_of(4)
}

#[test]
fn windows_over_hostile_events_stay_within_their_bounds() {
    for seed in Seeds::for_test(NAME, 2) {
        let _hint = ReplayHint { test: NAME, seed };
        let mut random = Random::new(seed);
        let (mut refused, mut went_on) = (0, 0);
        let mut reasons: BTreeMap<String, u32> = BTreeMap::new();
        for number in 0..1_500 {
            match try_windows(&mut random, number) {
                None => refused += 1,
                Some(None) => went_on += 1,
                Some(Some(why)) => {
                    let name = format!("{why:?}");
                    let end = name.find([' ', '(', '{']).unwrap_or(name.len());
                    *reasons.entry(name[..end].to_owned()).or_default() += 1;
                }
            }
        }
        println!("{refused} refused, {went_on} went on, {reasons:?}");
        assert!(
            refused > 50 && went_on > 20,
            "{refused} {went_on} {reasons:?}"
        );
        for name in [
            "Bound",
            "TimeOutOfRange",
            "ValueTooLong",
            "Evaluation",
            "SumOverflow",
        ] {
            assert!(reasons.contains_key(name), "{name}: {reasons:?}");
        }
    }
}
