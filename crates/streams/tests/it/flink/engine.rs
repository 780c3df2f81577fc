//! Expressions by Flink itself: the value that they have here, and NULL where they have none.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value as Json;
use tributary_streams::expression::{Expression, FieldId, Fields, Scalar, Schema, Type, Value};
use tributary_testkit::engine::Engine;

/// Longest wait for the job.
const PATIENCE: Duration = Duration::from_secs(120);

const FIELDS: [(&str, Type, &str); 6] = [
    ("a", Type::Int, "BIGINT"),
    ("b", Type::Int, "BIGINT"),
    ("s", Type::String, "STRING"),
    ("t", Type::String, "STRING"),
    ("f", Type::Bool, "BOOLEAN"),
    ("m", Type::StringMap, "MAP<STRING, STRING>"),
];

/// Events, of which each lacks something, or has what is at the edge.
const ROWS: [&str; 10] = [
    r#"{"a": 7, "b": 2, "s": "EUR", "t": "EUR2", "f": true, "m": {"k": "5", "EUR": "x"}}"#,
    r#"{"a": -7, "b": 2, "s": "", "t": "a", "f": false, "m": {}}"#,
    r#"{"a": 9223372036854775807, "b": 1, "s": "+5", "t": "-05", "f": true, "m": {"k": "9223372036854775808"}}"#,
    r#"{"a": -9223372036854775808, "b": -1, "s": "\ud83d\ude00x", "t": "\uffee", "f": true, "m": {"k": "\ud83d\ude00"}}"#,
    r#"{"a": 3037000500, "b": 3037000500, "s": " 5", "t": "5\n", "f": false, "m": {"k": "1.5"}}"#,
    r#"{"a": 5, "b": 0, "s": "o'clock`;\\\n", "t": "o'", "m": {"k": "o'clock"}}"#,
    r#"{"a": 5, "s": "aa", "f": true}"#,
    r#"{"b": 5, "t": "aa", "m": {"aa": ""}}"#,
    r#"{"s": "EUR ", "t": "EUR", "f": false, "m": {"EUR": "1", "k": "-9223372036854775808"}}"#,
    "{}",
];

/// Every kind of part, with those left and right of it that have no value.
const EXPRESSIONS: &[&str] = &[
    "a + b",
    "a - b",
    "a * b",
    "a / b",
    "a % b",
    "-a",
    "a / 2",
    "a % 2",
    "a / -1",
    "a % -1",
    "a / 0",
    "a % 0",
    "a / -3",
    "7 % a",
    "-9223372036854775808 / b",
    "(a + 1) - 1",
    "a * a * b",
    "-(-7) - -a",
    "a == b",
    "a != b",
    "a < b",
    "a <= b",
    "a > b",
    "a >= b",
    "a == 7",
    "a > 3000000000",
    "s == t",
    "s != t",
    "s < t",
    "s <= t",
    "s > t",
    "s >= t",
    "s == \"EUR\"",
    "s < \"\u{1f600}\"",
    "t > \"\u{1f600}\"",
    "f",
    "!f",
    "f == false",
    "f != true",
    "f == (a > b)",
    "has(a)",
    "has(s) && has(m)",
    "has(m.k)",
    "has(m.nothing)",
    "!has(f)",
    "m.k",
    "m[\"k\"]",
    "m[s]",
    "m[t] == \"x\"",
    "\"k\" in m",
    "s in m",
    "t in m && true",
    "int(m.k)",
    "int(s)",
    "int(t)",
    "int(\"17\")",
    "has(m.k) ? int(m.k) : -1",
    "f && a > b",
    "a > b && f",
    "f || a > b",
    "a > b || f",
    "has(a) && a > 5",
    "has(b) || b == 2",
    "a > 5 || !has(b)",
    "a > b && s == t && f",
    "has(a) && f && has(b)",
    "(f || a > 1) && (b > 1 || f)",
    "!(f && has(s))",
    "f ? a : b",
    "has(f) ? s : t",
    "a > b ? \"large\" : \"small one\"",
    "f ? (a > 0 ? s : t) : m.k",
    "has(a) ? a : 0",
    "a in [7, -7, 5]",
    "s in [\"EUR\", \"o'clock`;\\\\\\n\"]",
    "f in [true]",
    "!(s in [\"a\"])",
    "size(s)",
    "size(t) == size(s)",
    "size(m)",
    "size(\"\u{1f600}\")",
    "s.startsWith(t)",
    "t.startsWith(s)",
    "s.endsWith(\"\")",
    "t.endsWith(\"2\")",
    "s.contains(t)",
    "t.contains(s)",
    "s.contains(\"\")",
    "s.contains(\"`;\")",
    "s.startsWith(\"\u{1f600}\")",
    "\"it's\"",
    "9223372036854775807",
    "-9223372036854775808",
    "1 == 1 && f",
];

/// An event of JSON.
struct Event(BTreeMap<String, Json>, BTreeMap<String, String>);

impl Event {
    fn new(text: &str) -> Event {
        let fields: BTreeMap<String, Json> = serde_json::from_str(text).expect("an object");
        let map = fields.get("m").cloned();
        let map = map.map(|map| serde_json::from_value(map).expect("a map"));
        Event(fields, map.unwrap_or_default())
    }
}

impl Fields for Event {
    fn get(&self, field: FieldId) -> Option<Value<'_>> {
        let value = match self.0.get(FIELDS[field.index()].0)? {
            Json::Bool(value) => Scalar::Bool(*value),
            Json::Number(value) => Scalar::Int(value.as_i64().expect("an integer")),
            Json::String(value) => Scalar::String(value),
            _ => return Some(Value::Map(&self.1)),
        };
        Some(Value::Scalar(value))
    }
}

fn schema() -> Schema {
    Schema::new(FIELDS.map(|(name, kind, _)| (name, kind))).expect("a schema")
}

/// The value of an expression as a text; none if it has none.
fn expected(expression: &Expression, row: &str) -> Json {
    match expression.evaluate(&Event::new(row)) {
        Ok(Scalar::Bool(value)) => Json::from(if value { "TRUE" } else { "FALSE" }),
        Ok(Scalar::Int(value)) => Json::from(value.to_string()),
        Ok(Scalar::String(value)) => Json::from(value),
        Err(_) => Json::Null,
    }
}

/// SQL that computes all expressions for all events.
fn sql(expressions: &[Expression], schema: &Schema, folder: &Path) -> String {
    let folder = folder.display();
    let mut text = String::new();
    let table = |name: &str, columns: &[String], path: &str| {
        format!(
            "CREATE TEMPORARY TABLE `{name}` ({}) WITH ('connector' = 'filesystem', 'path' = '{folder}/{path}', 'format' = 'json');\n",
            columns.join(", ")
        )
    };
    let fields = FIELDS.map(|(name, _, kind)| format!("`{name}` {kind}"));
    let columns: Vec<String> = (0..expressions.len())
        .map(|number| format!("`c{number}` STRING"))
        .collect();
    text += &table(
        "events",
        &[&["`row` INT".to_owned()], &fields[..]].concat(),
        "events.json",
    );
    text += &table(
        "found",
        &[&["`row` INT".to_owned()], &columns[..]].concat(),
        "found",
    );
    text += "INSERT INTO `found` SELECT `row`";
    for expression in expressions {
        let column = &mut |field: FieldId| Ok(format!("`{}`", FIELDS[field.index()].0));
        let sql = expression.to_sql(schema, column);
        let sql = sql.unwrap_or_else(|error| panic!("{expression}: {error}"));
        write!(text, ",\n  CAST({sql} AS STRING)").expect("there is room");
    }
    text + "\nFROM `events`;\n"
}

/// What Flink has found, once it is complete.
fn found(folder: &Path) -> Option<Vec<Json>> {
    let files = std::fs::read_dir(folder.join("found")).ok()?.flatten();
    let mut rows = Vec::new();
    for file in files {
        // Files that are being written begin with a dot.
        if !file.file_name().to_string_lossy().starts_with('.') {
            let text = std::fs::read_to_string(file.path()).ok()?;
            rows.extend(
                text.lines()
                    .map(|line| serde_json::from_str(line).expect("JSON")),
            );
        }
    }
    rows.sort_by_key(|row: &Json| row["row"].as_u64());
    (rows.len() == ROWS.len()).then_some(rows)
}

#[test]
#[ignore = "needs Flink: scripts/engines-test"]
fn flink_gives_each_expression_the_value_that_it_has_here() {
    let Some(flink) = Engine::find("flink") else {
        return;
    };
    let folder = flink.folder();
    let schema = schema();
    let compile = |source: &&str| Expression::compile(source, &schema).expect(source);
    let expressions: Vec<Expression> = EXPRESSIONS.iter().map(compile).collect();
    let events = ROWS.iter().enumerate().map(|(number, row)| {
        let rest = row.trim_start_matches('{');
        let comma = if rest == "}" { "" } else { "," };
        format!("{{\"row\": {number}{comma}{rest}\n")
    });
    flink.write("events.json", &events.collect::<String>());
    flink.write("test.sql", &sql(&expressions, &schema, folder));
    flink.start();
    let client = Command::new(folder.join("sql"))
        .arg(folder.join("test.sql"))
        .stdin(Stdio::null())
        .output()
        .expect("the client of Flink runs");
    let said = String::from_utf8_lossy(&client.stderr);
    assert!(client.status.success(), "{said}");
    let begun = Instant::now();
    let rows = loop {
        if let Some(rows) = found(folder) {
            break rows;
        }
        let log = || std::fs::read_to_string(folder.join("log.txt")).unwrap_or_default();
        assert!(begun.elapsed() < PATIENCE, "{}", log());
        std::thread::sleep(Duration::from_millis(200));
    };
    let mut wrong = String::new();
    for (row, found) in ROWS.iter().zip(&rows) {
        for (number, expression) in expressions.iter().enumerate() {
            let (found, expected) = (&found[format!("c{number}")], expected(expression, row));
            if *found != expected {
                writeln!(wrong, "{expression} over {row}: {found} and not {expected}")
                    .expect("there is room");
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}
