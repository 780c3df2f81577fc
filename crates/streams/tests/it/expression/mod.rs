//! The language of expressions: cases for each rule, the `cel` crate as an oracle, bounds, and the page of docs.

mod bounds;
mod evaluation;
mod oracle;
mod page;
mod refusals;

use std::collections::BTreeMap;

use tributary_streams::expression::{
    Expression, FieldId, Fields, ListValues, MapValues, Problem, Scalar, Schema, Type, Value,
};

/// Value of a field that a test owns.
#[derive(Debug, Clone)]
enum Owned {
    Bool(bool),
    Int(i64),
    String(String),
    Bools(Vec<bool>),
    Ints(Vec<i64>),
    Strings(Vec<String>),
    Map(BTreeMap<String, String>),
}

/// Values of fields by their numbers; none is a missing field.
#[derive(Debug, Clone)]
struct Row(Vec<Option<Owned>>);

impl Fields for Row {
    fn get(&self, field: FieldId) -> Option<Value<'_>> {
        Some(match self.0[field.index()].as_ref()? {
            Owned::Bool(value) => value.into(),
            Owned::Int(value) => value.into(),
            Owned::String(value) => value.into(),
            Owned::Bools(values) => Value::List(values),
            Owned::Ints(values) => Value::List(values),
            Owned::Strings(values) => Value::List(values),
            Owned::Map(values) => Value::Map(values),
        })
    }
}

fn strings(values: &[&str]) -> Vec<String> {
    values.iter().map(|value| (*value).to_owned()).collect()
}

/// Fields of the cases, with a value or missing.
fn sample() -> Vec<(&'static str, Type, Option<Owned>)> {
    let metadata = [("score", "73"), ("order-type", "gift"), ("bad", "7x")];
    let metadata = metadata.map(|(key, value)| (key.to_owned(), value.to_owned()));
    vec![
        ("amount", Type::Int, Some(Owned::Int(25_000))),
        ("currency", Type::String, Some(Owned::String("EUR".into()))),
        ("count_24h", Type::Int, Some(Owned::Int(12))),
        (
            "card.country",
            Type::String,
            Some(Owned::String("DE".into())),
        ),
        ("card.present", Type::Bool, Some(Owned::Bool(false))),
        (
            "tags",
            Type::StringList,
            Some(Owned::Strings(strings(&["new", "web"]))),
        ),
        ("hours", Type::IntList, Some(Owned::Ints(vec![1, 23]))),
        (
            "flags",
            Type::BoolList,
            Some(Owned::Bools(vec![true, false])),
        ),
        (
            "metadata",
            Type::StringMap,
            Some(Owned::Map(metadata.into())),
        ),
        ("payer.age", Type::Int, None),
        ("note", Type::String, None),
        ("context", Type::StringMap, None),
        ("payer.labels", Type::StringList, None),
        ("payer.known", Type::Bool, None),
    ]
}

fn sample_schema() -> Schema {
    let fields = sample();
    Schema::new(fields.into_iter().map(|(path, kind, _)| (path, kind))).expect("a schema")
}

fn sample_row() -> Row {
    Row(sample().into_iter().map(|(_, _, value)| value).collect())
}

#[track_caller]
fn compiled(source: &str) -> Expression {
    Expression::compile(source, &sample_schema())
        .unwrap_or_else(|error| panic!("{source}: {error}"))
}

/// What an expression gives over the sample, as it would be written: a literal, or an error.
fn shown(expression: &Expression, row: &Row) -> String {
    match expression.evaluate(row) {
        Ok(Scalar::Bool(value)) => value.to_string(),
        Ok(Scalar::Int(value)) => value.to_string(),
        Ok(Scalar::String(value)) => format!("{value:?}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn fields_are_reported_once_and_in_the_order_of_the_schema() {
    let check = |source: &str, expected: &[&str]| {
        let expression = compiled(source);
        let found: Vec<&str> = expression.fields().map(|(_, path)| path).collect();
        assert_eq!(found, expected, "{source}");
        for (id, path) in expression.fields() {
            assert_eq!(
                sample_schema().field(path).expect("a field").0,
                id,
                "{source}"
            );
        }
    };
    check("1 + 1", &[]);
    check("has(note)", &["note"]);
    check("count_24h > amount && amount > 2", &["amount", "count_24h"]);
    check(
        "has(payer.age) ? payer.age : amount",
        &["amount", "payer.age"],
    );
    check(
        "has(context.a) || metadata.score == 'x'",
        &["metadata", "context"],
    );
    check(
        "'a' in metadata && metadata['a'] in [currency, note]",
        &["currency", "metadata", "note"],
    );
}

#[test]
fn an_expression_shows_its_source_its_canonical_form_and_its_type() {
    let check = |source: &str, canonical: &str, kind: Type| {
        let expression = compiled(source);
        assert_eq!(expression.source(), source);
        assert_eq!(expression.to_string(), canonical);
        assert_eq!(expression.result_type(), kind, "{source}");
        assert_eq!(compiled(canonical).to_string(), canonical);
    };
    check(
        " amount>0x10 // above\n&&currency=='EUR'",
        "amount > 16 && currency == \"EUR\"",
        Type::Bool,
    );
    check("((1+2))*3", "(1 + 2) * 3", Type::Int);
    check("1+(2*3)", "1 + 2 * 3", Type::Int);
    check("1-(2-3)-4", "1 - (2 - 3) - 4", Type::Int);
    check(
        "(true&&(false&&true))||(false||true)",
        "true && false && true || false || true",
        Type::Bool,
    );
    check("(true||false)&&true", "(true || false) && true", Type::Bool);
    check("!(!true)", "!(!true)", Type::Bool);
    check("-(-5) - -6", "-(-5) - -6", Type::Int);
    check("-(amount) - -(7) - -(0)", "-amount - -7 - 0", Type::Int);
    check(
        "(amount>1)==(amount>2)",
        "amount > 1 == (amount > 2)",
        Type::Bool,
    );
    check(
        "(true?1:2)>0?(false?1:2):(true?3:4)",
        "(true ? 1 : 2) > 0 ? (false ? 1 : 2) : true ? 3 : 4",
        Type::Int,
    );
    check(
        "(tags)[ 0 ].contains( r'\\n' )",
        "tags[0].contains(\"\\\\n\")",
        Type::Bool,
    );
    check(
        "(true?tags:tags)[0]",
        "(true ? tags : tags)[0]",
        Type::String,
    );
    check("size( [1,2] )", "size([1, 2])", Type::Int);
    check("int(metadata . score)", "int(metadata.score)", Type::Int);
    check("has( payer.age )", "has(payer.age)", Type::Bool);
    check(
        r#"'it\'s "\x41\u00e9\U0001F600\101\t\x07'"#,
        "\"it's \\\"Aé😀A\\t\\u0007\"",
        Type::String,
    );
    check("1 in[1,2]==true", "1 in [1, 2] == true", Type::Bool);
    check("007", "7", Type::Int);
}

#[test]
fn conditions_hold_or_not() {
    let schema = sample_schema();
    let condition = Expression::compile_condition("amount > 22000", &schema).expect("a condition");
    assert_eq!(condition.holds(&sample_row()), Ok(true));
    let condition = Expression::compile_condition("amount < 22000", &schema).expect("a condition");
    assert_eq!(condition.holds(&sample_row()), Ok(false));
    let error = Expression::compile_condition("amount + 1", &schema).expect_err("no condition");
    assert_eq!(
        error.to_string(),
        "at byte 0: expected a condition, found an expression whose result is an integer; \
         compare the result with something"
    );
}

#[test]
fn values_of_other_types_than_the_schema_says_are_errors() {
    struct Wrong;
    impl ListValues for Wrong {
        fn size(&self) -> usize {
            2
        }
        fn get(&self, index: usize) -> Option<Scalar<'_>> {
            (index == 0).then_some(Scalar::Int(7))
        }
    }
    impl MapValues for Wrong {
        fn size(&self) -> usize {
            0
        }
        fn get(&self, _key: &str) -> Option<&str> {
            None
        }
    }
    impl Fields for Wrong {
        fn get(&self, field: FieldId) -> Option<Value<'_>> {
            Some(match field.index() {
                0 => "25000".into(),
                1 => Value::List(self),
                3 => (&true).into(),
                5 => Value::List(self),
                6 => Value::Map(self),
                8 => (&1i64).into(),
                _ => Value::List(self),
            })
        }
    }
    for (source, excerpt) in [
        ("amount", "amount"),
        ("amount > 1", "amount"),
        ("currency", "currency"),
        ("card.country == 'DE'", "card.country"),
        ("card.present", "card.present"),
        ("'new' in tags", "'new' in tags"),
        ("tags == ['a', 'b']", "tags == ['a', 'b']"),
        ("tags[0]", "tags[0]"),
        ("hours[0]", "hours[0]"),
        ("1 in hours", "1 in hours"),
        ("metadata.score == 'a'", "metadata.score"),
        ("has(metadata.score)", "has(metadata.score)"),
        ("'a' in metadata", "metadata"),
    ] {
        let expression = compiled(source);
        let error = expression.evaluate(&Wrong).expect_err(source);
        assert_eq!(
            (error.excerpt.as_str(), error.problem),
            (excerpt, Problem::WrongType),
            "{source}"
        );
    }
}

#[test]
fn schemas_refuse_paths_that_name_nothing_or_two_things() {
    let check = |paths: &[&str], expected: Result<(), &str>| {
        let found = Schema::new(paths.iter().map(|path| (*path, Type::Int)));
        match (found, expected) {
            (Ok(_), Ok(())) => {}
            (Err(error), Err(part)) => {
                assert!(error.to_string().contains(part), "{paths:?}: {error}");
            }
            (found, _) => panic!("{paths:?}: {found:?}"),
        }
    };
    let long = "a".repeat(256);
    check(&["a", "b.c", "b.d", "_x1", &long], Ok(()));
    check(&["b.c", "bc", "b_c"], Ok(()));
    for path in [
        "",
        ".",
        "a.",
        ".a",
        "a..b",
        "1a",
        "a b",
        "é",
        "in",
        "a.null",
        "a-b",
        &format!("{long}a"),
    ] {
        check(&[path], Err("is no path of a field"));
    }
    check(&["a", "a"], Err("`a` and `a`"));
    check(&["a.b.c", "x", "a.b"], Err("`a.b` and `a.b.c`"));
    let names = |count: usize| (0..count).map(|number| (format!("f{number}"), Type::Int));
    assert!(Schema::new(names(1_024)).is_ok());
    let error = Schema::new(names(1_025)).expect_err("too many");
    assert_eq!(error.to_string(), "a schema has at most 1024 fields");
}
