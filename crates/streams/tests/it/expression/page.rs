//! docs/expressions.md says what is true: its examples, its limits and its errors.

use std::collections::BTreeMap;

use tributary_streams::expression::{
    DEPTH_MAX, Expression, NODES_MAX, SOURCE_BYTES_MAX, STEPS_MAX, Scalar, Schema, Type,
};

use super::oracle::{Outcome, ours, theirs};
use super::{Owned, Row, shown};

fn page() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/expressions.md");
    std::fs::read_to_string(path).expect("the page")
}

/// Returns the cells of the rows of the table with this head.
fn table(page: &str, head: &str) -> Vec<Vec<String>> {
    let lines = page.lines().skip_while(|line| *line != head).skip(2);
    let rows = lines.take_while(|line| line.starts_with('|'));
    let rows: Vec<Vec<String>> = rows
        .map(|row| {
            let cells = row.trim_matches('|').split(" | ");
            cells.map(|cell| cell.trim().to_owned()).collect()
        })
        .collect();
    assert!(!rows.is_empty(), "no table {head}");
    rows
}

/// Returns what stands between the marks of code, of one or two letters.
fn code(cell: &str) -> &str {
    let inner = cell
        .strip_prefix("`` ")
        .and_then(|cell| cell.strip_suffix(" ``"));
    let inner = inner.or_else(|| cell.strip_prefix('`')?.strip_suffix('`'));
    inner.unwrap_or_else(|| panic!("{cell} is no code"))
}

/// Evaluates an expression without fields.
fn literal(source: &str) -> Owned {
    let schema = Schema::default();
    let literal = Expression::compile(source, &schema).expect("a literal");
    match literal.evaluate(&Row(Vec::new())).expect("a value") {
        Scalar::Bool(value) => Owned::Bool(value),
        Scalar::Int(value) => Owned::Int(value),
        Scalar::String(value) => Owned::String(value.to_owned()),
    }
}

fn string(source: &str) -> String {
    match literal(source) {
        Owned::String(value) => value,
        other => panic!("{other:?} is no string"),
    }
}

/// Reads the schema and the event of the page.
fn event(page: &str) -> (Schema, Row) {
    let mut fields = Vec::new();
    let mut values = Vec::new();
    for row in table(page, "| field | type | value |") {
        let [name, kind, value] = row.as_slice() else {
            panic!("{row:?}");
        };
        let kind = match kind.as_str() {
            "integer" => Type::Int,
            "string" => Type::String,
            "boolean" => Type::Bool,
            "list of strings" => Type::StringList,
            "map of strings" => Type::StringMap,
            other => panic!("{other}"),
        };
        let value = match kind {
            _ if value == "missing" => None,
            Type::StringMap => {
                let entries = value.split(", ").map(|entry| {
                    let (key, value) = entry.split_once(" is ").expect("a value");
                    (code(key).to_owned(), string(code(value)))
                });
                Some(Owned::Map(entries.collect::<BTreeMap<_, _>>()))
            }
            Type::StringList => {
                let elements = code(value).trim_matches(['[', ']']).split(", ");
                Some(Owned::Strings(elements.map(string).collect()))
            }
            _ => Some(literal(code(value))),
        };
        fields.push((code(name).to_owned(), kind));
        values.push(value);
    }
    (Schema::new(fields).expect("a schema"), Row(values))
}

#[test]
fn the_examples_of_the_page_give_what_it_says() {
    let page = page();
    let (schema, row) = event(&page);
    let examples = table(&page, "| expression | result |");
    assert_eq!(examples.len(), 10);
    for example in examples {
        let [source, result] = example.as_slice() else {
            panic!("{example:?}");
        };
        let compiled = Expression::compile(code(source), &schema);
        let compiled = compiled.unwrap_or_else(|error| panic!("{source}: {error}"));
        let expected = code(result.strip_prefix("error: ").unwrap_or(result));
        assert_eq!(shown(&compiled, &row), expected, "{source}");
    }
    let refused = Expression::compile("amount > \"22000\"", &schema).expect_err("two types");
    assert!(
        page.contains(&format!("```text\n{refused}\n```")),
        "{refused}"
    );
}

#[test]
fn missing_fields_are_here_and_in_cel_what_the_page_says() {
    let page = page();
    let (schema, row) = event(&page);
    let outcome = |cell: &str| match cell {
        "error" => Outcome::Error,
        _ => Outcome::Bool(code(cell) == "true"),
    };
    for line in table(&page, "| expression | here | in CEL |") {
        let [source, here, there] = line.as_slice() else {
            panic!("{line:?}");
        };
        let source = source.replace("<code>", "`").replace("</code>", "`");
        let source = source.replace("&#124;", "|");
        let source = code(&source);
        let compiled = Expression::compile(source, &schema).expect(source);
        assert_eq!(ours(&compiled, &row), outcome(here), "{source}");
        let fields: Vec<(&str, Type)> = compiled
            .fields()
            .map(|(_, path)| (path, Type::Int))
            .collect();
        let values = compiled.fields().map(|(id, _)| row.0[id.index()].clone());
        let cel = theirs(source, &fields, &Row(values.collect()));
        assert_eq!(cel, outcome(there), "{source}");
    }
}

#[test]
fn the_limits_of_the_page_are_those_of_the_code() {
    let page = page();
    let values: Vec<String> = table(&page, "| limit | value |")
        .into_iter()
        .map(|row| row[1].clone())
        .collect();
    let thousands = |count: usize| format!("{},{:03}", count / 1_000, count % 1_000);
    let expected = [
        format!("{} bytes", thousands(SOURCE_BYTES_MAX)),
        format!("{DEPTH_MAX} levels"),
        NODES_MAX.to_string(),
        thousands(usize::try_from(STEPS_MAX).expect("a number")),
    ];
    assert_eq!(values, expected);
}
