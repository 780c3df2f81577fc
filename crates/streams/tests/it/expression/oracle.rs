//! Random expressions, evaluated here and by the `cel` crate.
//!
//! The two must agree but for the categories below, each of which has cases of its own:
//!
//! - an error in `&&` or `||` that CEL ignores: translated to `?:` as CEL's specification tells, the results are the
//!   same;
//! - `has()` of a key in a map that is missing: false here, an error in CEL;
//! - what the types of the schema refuse, and CEL evaluates or fails at;
//! - `has()` of a field without a dot, which CEL refuses.

use std::collections::{BTreeMap, HashMap};

use cel::{Context, Program};
use proptest::prelude::*;
use tributary_streams::expression::{Expression, Scalar, Schema, Type};

use super::{Owned, Row, compiled, sample_row, sample_schema, shown, strings};

/// Fields of random expressions. The fields of objects are asked by `has()`, and those without a dot are not.
const FIELDS: &[(&str, Type)] = &[
    ("n", Type::Int),
    ("s", Type::String),
    ("b", Type::Bool),
    ("e.n", Type::Int),
    ("e.m", Type::Int),
    ("e.s", Type::String),
    ("e.t", Type::String),
    ("e.b", Type::Bool),
    ("e.ns", Type::IntList),
    ("e.ss", Type::StringList),
    ("e.bs", Type::BoolList),
    ("e.map", Type::StringMap),
];

const INTS: &[i64] = &[
    0,
    1,
    -1,
    2,
    3,
    7,
    10,
    22_000,
    1 << 32,
    i64::MAX,
    i64::MIN,
    i64::MAX - 1,
];

const STRINGS: &[&str] = &[
    "",
    "a",
    "b",
    "ab",
    "aba",
    "EUR",
    "é",
    "é😀",
    "7",
    "-12",
    "+7",
    " 7",
    "\\\"'\n\t\u{1}",
];

/// Random choices from a seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ mixed >> 31) >> 33).expect("31 bits") % bound
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }
}

/// A source for both, and the same with `&&` and `||` written as `?:`.
#[derive(Debug, Clone)]
struct Source {
    plain: String,
    ordered: String,
}

impl Source {
    fn same(text: String) -> Source {
        Source {
            ordered: text.clone(),
            plain: text,
        }
    }

    /// Puts parts into the places `{}` of a pattern.
    fn fill(pattern: &str, parts: &[&Source]) -> Source {
        let fill = |part: fn(&Source) -> &str| {
            let mut pieces = pattern.split("{}");
            let mut text = pieces.next().expect("a beginning").to_owned();
            for (piece, source) in pieces.zip(parts) {
                text.push_str(part(source));
                text.push_str(piece);
            }
            text
        };
        Source {
            plain: fill(|source| &source.plain),
            ordered: fill(|source| &source.ordered),
        }
    }
}

fn literal(dice: &mut Dice, kind: Type) -> String {
    match kind {
        Type::Bool => dice.one(&["true", "false"]).to_owned(),
        Type::Int => match dice.one(INTS) {
            value if value >= 0 && dice.below(4) == 0 => format!("0x{value:x}"),
            value => value.to_string(),
        },
        _ => {
            let value = dice.one(STRINGS);
            quoted(dice, value)
        }
    }
}

/// Writes a string in one of the ways that there are.
fn quoted(dice: &mut Dice, value: &str) -> String {
    let plain = !value.contains(['\\', '"', '\'', '\n']);
    let quote = dice.one(&['"', '\'']);
    if plain && dice.below(3) == 0 {
        let raw = dice.one(&["", "r", "R"]);
        return format!("{raw}{quote}{value}{quote}");
    }
    let letters = value.chars().map(|letter| {
        let code = u32::from(letter);
        match (letter, dice.below(5)) {
            (_, 0) => format!("\\U{code:08x}"),
            (_, 1) if code < 0x1_0000 => format!("\\u{code:04X}"),
            (_, 2) if code < 0x100 => format!("\\x{code:02x}"),
            (_, 3) if code < 0x100 => format!("\\{code:03o}"),
            ('\\' | '"' | '\'', _) => format!("\\{letter}"),
            ('\n', _) => "\\n".to_owned(),
            _ => letter.to_string(),
        }
    });
    let letters: String = letters.collect();
    format!("{quote}{letters}{quote}")
}

/// Makes a random expression of a type, every part in parentheses.
fn expression(dice: &mut Dice, kind: Type, depth: usize) -> Source {
    if depth == 0 || dice.below(6) == 0 {
        return leaf(dice, kind);
    }
    let depth = depth - 1;
    let common = dice.below(8);
    if common == 0 {
        let condition = expression(dice, Type::Bool, depth);
        let (yes, no) = (expression(dice, kind, depth), expression(dice, kind, depth));
        return Source::fill("({} ? {} : {})", &[&condition, &yes, &no]);
    }
    if let (1, Some(list)) = (common, list_of(kind)) {
        let (list, index) = (expression(dice, list, depth), small(dice));
        return Source::fill("{}[{}]", &[&list, &index]);
    }
    match kind {
        Type::Bool => condition(dice, depth),
        Type::Int => number(dice, depth),
        Type::String => {
            let key = expression(dice, Type::String, depth);
            Source::fill("e.map[{}]", &[&key])
        }
        Type::BoolList | Type::IntList | Type::StringList => {
            let element = kind.element().expect("a list");
            let count = 1 + dice.below(3);
            let parts: Vec<Source> = (0..count)
                .map(|_| expression(dice, element, depth))
                .collect();
            let pattern = format!("[{}]", vec!["{}"; count].join(", "));
            Source::fill(&pattern, &parts.iter().collect::<Vec<_>>())
        }
        Type::StringMap => leaf(dice, kind),
    }
}

fn list_of(kind: Type) -> Option<Type> {
    match kind {
        Type::Bool => Some(Type::BoolList),
        Type::Int => Some(Type::IntList),
        Type::String => Some(Type::StringList),
        _ => None,
    }
}

fn small(dice: &mut Dice) -> Source {
    Source::same(dice.one(&["0", "1", "2", "-1", "e.n"]).to_owned())
}

fn leaf(dice: &mut Dice, kind: Type) -> Source {
    let fields: Vec<&str> = FIELDS
        .iter()
        .filter(|field| field.1 == kind)
        .map(|field| field.0)
        .collect();
    let is_list = kind.element().is_some();
    Source::same(match dice.below(3) {
        0 if !is_list && kind != Type::StringMap => literal(dice, kind),
        0 if is_list => {
            let element = kind.element().expect("a list");
            let count = 1 + dice.below(3);
            let parts: Vec<String> = (0..count).map(|_| literal(dice, element)).collect();
            format!("[{}]", parts.join(","))
        }
        1 if kind == Type::String => dice
            .one(&["e.map.k", "e.map['k']", "e.map.gone"])
            .to_owned(),
        _ => dice.one(&fields).to_owned(),
    })
}

fn number(dice: &mut Dice, depth: usize) -> Source {
    match dice.below(8) {
        0 => {
            let kind = dice.one(&[
                Type::String,
                Type::IntList,
                Type::StringList,
                Type::StringMap,
            ]);
            Source::fill("size({})", &[&expression(dice, kind, depth)])
        }
        1 => Source::fill("int({})", &[&expression(dice, Type::String, depth)]),
        2 => Source::fill("(-({}))", &[&expression(dice, Type::Int, depth)]),
        _ => {
            let sign = dice.one(&["+", "-", "*", "/", "%"]);
            let (left, right) = (
                expression(dice, Type::Int, depth),
                expression(dice, Type::Int, depth),
            );
            Source::fill(&format!("({{}} {sign} {{}})"), &[&left, &right])
        }
    }
}

fn condition(dice: &mut Dice, depth: usize) -> Source {
    let scalar = dice.one(&[Type::Bool, Type::Int, Type::String]);
    match dice.below(12) {
        0..=3 => {
            let (left, right) = (
                expression(dice, Type::Bool, depth),
                expression(dice, Type::Bool, depth),
            );
            let (sign, ordered) =
                dice.one(&[("&&", "({} ? {} : false)"), ("||", "({} ? true : {})")]);
            Source {
                plain: format!("({} {sign} {})", left.plain, right.plain),
                ordered: Source::fill(ordered, &[&left, &right]).ordered,
            }
        }
        4 => Source::fill("(!({}))", &[&expression(dice, Type::Bool, depth)]),
        5 => {
            let kind = dice.one(&[scalar, Type::BoolList, Type::IntList, Type::StringList]);
            let sign = dice.one(&["==", "!="]);
            let (left, right) = (expression(dice, kind, depth), expression(dice, kind, depth));
            Source::fill(&format!("({{}} {sign} {{}})"), &[&left, &right])
        }
        6..=7 => {
            let kind = dice.one(&[Type::Int, Type::String]);
            let sign = dice.one(&["<", "<=", ">", ">="]);
            let (left, right) = (expression(dice, kind, depth), expression(dice, kind, depth));
            Source::fill(&format!("({{}} {sign} {{}})"), &[&left, &right])
        }
        8 => {
            let list = list_of(scalar).expect("a list");
            let (value, list) = (
                expression(dice, scalar, depth),
                expression(dice, list, depth),
            );
            Source::fill("({} in {})", &[&value, &list])
        }
        9 => Source::fill("({} in e.map)", &[&expression(dice, Type::String, depth)]),
        10 => {
            let method = dice.one(&["startsWith", "endsWith", "contains"]);
            let (text, part) = (
                expression(dice, Type::String, depth),
                expression(dice, Type::String, depth),
            );
            Source::fill(&format!("({{}}).{method}({{}})"), &[&text, &part])
        }
        _ => match dice.below(4) {
            0 => Source {
                plain: "has(e.map.k)".to_owned(),
                ordered: "(has(e.map) ? has(e.map.k) : false)".to_owned(),
            },
            _ => Source::same(format!(
                "has({})",
                dice.one(&["e.n", "e.s", "e.b", "e.ns", "e.map"])
            )),
        },
    }
}

/// Makes conditions in a row without any parentheses: what binds stronger is for the parsers to know.
fn row_of_conditions(dice: &mut Dice) -> String {
    let mut text = String::new();
    for number in 0..=dice.below(4) {
        if number > 0 {
            text += dice.one(&[" && ", " || ", "&&", "||"]);
        }
        if dice.below(5) == 0 {
            text += "!";
            text += dice.one(&["b", "e.b", "true"]);
            continue;
        }
        let sum = |dice: &mut Dice| {
            let mut text = literal(dice, Type::Int);
            for _ in 0..dice.below(4) {
                text += dice.one(&["+", " - ", "-", " * ", "/", " % "]);
                text += dice.one(&["n", "-n", "e.n", "2", "-3", "e.ns[0]", "size(s)"]);
            }
            text
        };
        text += &sum(dice);
        match dice.below(4) {
            0 => text += " in e.ns",
            _ => {
                text += dice.one(&["==", " != ", "<", " <= ", " > ", ">="]);
                text += &sum(dice);
            }
        }
        if dice.below(4) == 0 {
            text += dice.one(&[" == true", "!=e.b", " == b", " in e.bs"]);
        }
    }
    match dice.below(4) {
        0 => format!("{text}?b:e.n>1?b&&b:e.b||b"),
        _ => text,
    }
}

/// Makes values of the fields, some missing.
fn random_row(dice: &mut Dice) -> Row {
    let values = FIELDS.iter().map(|(_, kind)| {
        if dice.below(8) == 0 {
            return None;
        }
        let count = dice.below(4);
        Some(match kind {
            Type::Bool => Owned::Bool(dice.below(2) == 0),
            Type::Int => Owned::Int(dice.one(INTS)),
            Type::String => Owned::String(dice.one(STRINGS).to_owned()),
            Type::BoolList => Owned::Bools((0..count).map(|_| dice.below(2) == 0).collect()),
            Type::IntList => Owned::Ints((0..count).map(|_| dice.one(INTS)).collect()),
            Type::StringList => {
                Owned::Strings((0..count).map(|_| dice.one(STRINGS).to_owned()).collect())
            }
            Type::StringMap => {
                let keys = ["k", "a", "", "é"].into_iter().take(count);
                let entries = keys.map(|key| (key.to_owned(), dice.one(STRINGS).to_owned()));
                Owned::Map(entries.collect())
            }
        })
    });
    Row(values.collect())
}

fn cel_value(value: &Owned) -> cel::Value {
    match value {
        Owned::Bool(value) => (*value).into(),
        Owned::Int(value) => (*value).into(),
        Owned::String(value) => value.as_str().into(),
        Owned::Bools(values) => values.clone().into(),
        Owned::Ints(values) => values.clone().into(),
        Owned::Strings(values) => values.clone().into(),
        Owned::Map(values) => {
            let entries = values
                .iter()
                .map(|(key, value)| (key.clone(), value.clone()));
            entries.collect::<HashMap<String, String>>().into()
        }
    }
}

/// What an expression gave; all errors are one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    Bool(bool),
    Int(i64),
    String(String),
    Error,
}

pub(super) fn ours(expression: &Expression, row: &Row) -> Outcome {
    match expression.evaluate(row) {
        Ok(Scalar::Bool(value)) => Outcome::Bool(value),
        Ok(Scalar::Int(value)) => Outcome::Int(value),
        Ok(Scalar::String(value)) => Outcome::String(value.to_owned()),
        Err(_) => Outcome::Error,
    }
}

/// Evaluates by the `cel` crate, with fields of objects in maps.
#[track_caller]
pub(super) fn theirs(source: &str, fields: &[(&str, Type)], row: &Row) -> Outcome {
    let program = Program::compile(source).unwrap_or_else(|error| panic!("{source}: {error}"));
    let mut context = Context::default();
    let mut objects: BTreeMap<&str, HashMap<String, cel::Value>> = BTreeMap::new();
    for ((path, _), value) in fields.iter().zip(&row.0) {
        let value = value.as_ref().map(cel_value);
        match path.split_once('.') {
            Some((object, field)) => {
                let object = objects.entry(object).or_default();
                object.extend(value.map(|value| (field.to_owned(), value)));
            }
            None => {
                if let Some(value) = value {
                    context.add_variable_from_value(*path, value);
                }
            }
        }
    }
    for (name, object) in objects {
        context.add_variable_from_value(name, object);
    }
    match program.execute(&context) {
        Ok(cel::Value::Bool(value)) => Outcome::Bool(value),
        Ok(cel::Value::Int(value)) => Outcome::Int(value),
        Ok(cel::Value::String(value)) => Outcome::String(value.to_string()),
        Ok(other) => panic!("{source}: {other:?}"),
        Err(_) => Outcome::Error,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_expressions_have_the_value_that_cel_gives_them(seed: u64) {
        let dice = &mut Dice(seed);
        let kind = dice.one(&[Type::Bool, Type::Bool, Type::Int, Type::String]);
        let depth = 1 + dice.below(3);
        let source = expression(dice, kind, depth);
        let row = random_row(dice);
        let schema = Schema::new(FIELDS.iter().copied()).expect("a schema");
        let compiled = Expression::compile(&source.plain, &schema);
        let compiled = compiled.unwrap_or_else(|error| panic!("{}: {error}", source.plain));
        let found = ours(&compiled, &row);
        prop_assert_eq!(&found, &theirs(&source.ordered, FIELDS, &row), "{}", &source.plain);

        // Written as it is, CEL may have a value where an operand of && or || is an error, but never another one.
        let plain = theirs(&source.plain, FIELDS, &row);
        let unlike = plain != found && !source.plain.contains("has(e.map.k)");
        prop_assert!(!unlike || found == Outcome::Error, "{}", &source.plain);

        // The canonical form is the same expression, here and there.
        let canonical = compiled.to_string();
        let again = Expression::compile(&canonical, &schema);
        let again = again.unwrap_or_else(|error| panic!("{canonical}: {error}"));
        prop_assert_eq!(again.to_string(), canonical.as_str());
        prop_assert_eq!(&ours(&again, &row), &found, "{}", canonical);
        prop_assert_eq!(theirs(&canonical, FIELDS, &row), plain, "{}", canonical);
    }

    #[test]
    fn operators_bind_as_in_cel(seed: u64) {
        let dice = &mut Dice(seed);
        let source = row_of_conditions(dice);
        let row = random_row(dice);
        let schema = Schema::new(FIELDS.iter().copied()).expect("a schema");
        let compiled = Expression::compile(&source, &schema);
        let compiled = compiled.unwrap_or_else(|error| panic!("{source}: {error}"));
        let (found, expected) = (ours(&compiled, &row), theirs(&source, FIELDS, &row));
        prop_assert!(found == expected || found == Outcome::Error, "{}: {:?} {:?}", source, found, expected);
        let canonical = compiled.to_string();
        prop_assert_eq!(theirs(&canonical, FIELDS, &row), expected, "{}", canonical);
    }
}

#[test]
fn random_expressions_are_worth_trying() {
    let schema = Schema::new(FIELDS.iter().copied()).expect("a schema");
    let (mut errors, mut values, mut absorbed) = (0, BTreeMap::new(), 0);
    for seed in 0..2_000 {
        let dice = &mut Dice(seed);
        let source = expression(dice, Type::Bool, 3);
        let row = random_row(dice);
        let compiled = Expression::compile(&source.plain, &schema).expect("an expression");
        match ours(&compiled, &row) {
            Outcome::Error => {
                errors += 1;
                absorbed += u32::from(theirs(&source.plain, FIELDS, &row) != Outcome::Error);
            }
            Outcome::Bool(value) => *values.entry(value).or_insert(0) += 1,
            other => panic!("{other:?}"),
        }
    }
    let enough = values[&true] > 200 && values[&false] > 200 && errors > 200 && absorbed > 20;
    assert!(
        enough,
        "{values:?}, {errors} errors, {absorbed} of them absorbed by CEL"
    );
}

#[test]
fn differences_from_cel_are_those_that_are_documented() {
    let fields: Vec<(&str, Type)> = super::sample()
        .into_iter()
        .map(|(path, kind, _)| (path, kind))
        .collect();
    let row = sample_row();
    let cel = |source: &str| theirs(source, &fields, &row);
    let error = "the field is missing; test it with has() first";
    for (source, here, there) in [
        // An operand of && or || that is an error, while the other one decides.
        ("payer.age > 1 && false", error, Outcome::Bool(false)),
        ("payer.age > 1 || true", error, Outcome::Bool(true)),
        ("payer.age > 1 && true", error, Outcome::Error),
        // A key of a map that is missing.
        ("has(context.a)", "false", Outcome::Error),
    ] {
        let found = shown(&compiled(source), &row);
        assert!(found.ends_with(here), "{source}: {found}");
        assert_eq!(cel(source), there, "{source}");
    }
    // Types are refused before the first evaluation.
    for (source, there) in [
        ("1 == '1'", Outcome::Bool(false)),
        ("1 in ['a']", Outcome::Bool(false)),
        ("[1, 'a'] == [1]", Outcome::Bool(false)),
        ("false && 1", Outcome::Bool(false)),
        ("'a' + 'b'", Outcome::String("ab".into())),
        ("size([] + tags)", Outcome::Int(2)),
        ("1 in []", Outcome::Bool(false)),
        ("int(5)", Outcome::Int(5)),
        ("tags.size()", Outcome::Int(2)),
        ("--5", Outcome::Int(5)),
        ("1.5 > 1.0", Outcome::Bool(true)),
        ("1 < 'a'", Outcome::Error),
        ("1 + true", Outcome::Error),
    ] {
        assert!(
            Expression::compile(source, &sample_schema()).is_err(),
            "{source}"
        );
        assert_eq!(cel(source), there, "{source}");
    }
    // Any field may be missing, so any may be asked for.
    assert!(Program::compile("has(amount)").is_err());
    assert_eq!(shown(&compiled("has(amount)"), &row), "true");
}

#[test]
fn cel_agrees_with_the_strings_and_integers_of_the_cases() {
    let fields = [("s", Type::String)];
    let row = Row(vec![Some(Owned::String("x".into()))]);
    for text in strings(&[
        "'\\a\\b\\f\\n\\r\\t\\v\\\\\\?\\\"\\'\\`'",
        "\"\\x41\\X42\\u00e9\\U0001F600\\101\"",
        "r'\\n\\'",
        "'tab\there // no comment'",
    ]) {
        let schema = Schema::new(fields).expect("a schema");
        let compiled = Expression::compile(&text, &schema).expect("a string");
        assert_eq!(
            ours(&compiled, &row),
            theirs(&text, &fields, &row),
            "{text}"
        );
        assert_eq!(
            ours(&compiled, &row),
            theirs(&compiled.to_string(), &fields, &row),
            "{text}"
        );
    }
}
