//! Bounds: no source, however malicious, takes the process down or takes much memory.

use std::process::Command;

use proptest::prelude::*;
use tributary_streams::expression::{
    DEPTH_MAX, Expression, NODES_MAX, Problem, SOURCE_BYTES_MAX, STEPS_MAX, Schema, Type,
};

use super::{Owned, Row, sample_row, sample_schema};

/// Checks whether a source is taken; it must not be refused for another reason.
#[track_caller]
fn check(source: &str, taken: bool, reason: &str) {
    match (Expression::compile(source, &sample_schema()), taken) {
        (Ok(_), true) => {}
        (Err(error), false) => assert!(error.to_string().contains(reason), "{error}"),
        (found, _) => {
            let shown = found.map(|expression| expression.to_string());
            panic!("{} bytes: {shown:?}", source.len())
        }
    }
}

#[test]
fn nesting_has_a_bound() {
    let reason = &format!("at most {DEPTH_MAX} levels of operators, calls and parentheses");
    let nested = |open: &str, inner: &str, close: &str, levels: usize| {
        format!("{}{inner}{}", open.repeat(levels), close.repeat(levels))
    };
    for (open, inner, close, per_level) in [
        ("(", "1", ")", 1),
        ("!(", "true", ")", 1),
        ("-(", "amount", ")", 1),
        (
            "int(currency.contains('x') ? '1' : currency) + (",
            "1",
            ")",
            1,
        ),
        ("hours[", "0", "]", 1),
        ("true ? 1 : ", "2", "", 1),
        ("1 + (", "1", ")", 1),
        ("metadata[", "'a'", "]", 1),
        ("currency in [", "currency", "] ? '' : ''", 3),
    ] {
        check(
            &nested(open, inner, close, DEPTH_MAX / per_level - 4),
            true,
            reason,
        );
        check(&nested(open, inner, close, DEPTH_MAX + 1), false, reason);
        // As deep as the source may be long.
        let levels = (SOURCE_BYTES_MAX - inner.len()) / (open.len() + close.len());
        check(&nested(open, inner, close, levels), false, reason);
        check(
            &nested(open, "", "", SOURCE_BYTES_MAX / open.len()),
            false,
            reason,
        );
    }
    check(&nested("(", "1", ")", DEPTH_MAX), true, reason);
    // Operators in a row: as many as CEL demands of every implementation.
    check(&format!("1{}", " + 1".repeat(DEPTH_MAX)), true, reason);
    check(&format!("1{}", " + 1".repeat(DEPTH_MAX + 1)), false, reason);
    check(&format!("true{}", " && true".repeat(200)), true, reason);
    check(
        &format!("true{}", " || (true || true)".repeat(100)),
        true,
        reason,
    );
}

#[test]
fn the_deepest_expression_needs_less_than_half_of_the_usual_stack() {
    let half = std::thread::Builder::new().stack_size(1024 * 1024);
    let run = || {
        let source = format!(
            "{}count_24h{}",
            "-(".repeat(DEPTH_MAX),
            ")".repeat(DEPTH_MAX)
        );
        let expression = Expression::compile(&source, &sample_schema()).expect("an expression");
        assert!(expression.evaluate(&sample_row()).is_ok());
        assert!(Expression::compile(&"(".repeat(SOURCE_BYTES_MAX), &sample_schema()).is_err());
        assert!(Expression::compile(&"a[".repeat(SOURCE_BYTES_MAX / 2), &sample_schema()).is_err());
    };
    half.spawn(run).expect("a thread").join().expect("it ends");
}

#[test]
fn the_source_has_a_bound() {
    let of = |length: usize| format!("1{}", " ".repeat(length - 1));
    check(&of(SOURCE_BYTES_MAX), true, "");
    check(
        &of(SOURCE_BYTES_MAX + 1),
        false,
        "a source of at most 4096 bytes, found 4097 bytes",
    );
    let long = format!("'{}' == ''", "é".repeat(2_043));
    assert_eq!(long.len(), SOURCE_BYTES_MAX - 2);
    check(&long, true, "");
}

#[test]
fn nodes_have_a_bound() {
    let reason = &format!("at most {NODES_MAX} literals, names, operators and calls");
    // The list, what is looked for and `in` are three.
    let list = |elements: usize| format!("1 in [{}]", vec!["7"; elements].join(","));
    check(&list(NODES_MAX - 3), true, reason);
    check(&list(NODES_MAX - 2), false, reason);
    let chain = |operands: usize| vec!["true"; operands].join("||");
    check(&chain(NODES_MAX / 2), true, reason);
    check(&chain(NODES_MAX), false, reason);
}

#[test]
fn steps_have_a_bound() {
    let schema = Schema::new([
        ("short", Type::String),
        ("long", Type::String),
        ("numbers", Type::IntList),
        ("words", Type::StringList),
    ]);
    let schema = schema.expect("a schema");
    let steps = usize::try_from(STEPS_MAX).expect("a number");
    let row = Row(vec![
        Some(Owned::String("a".repeat(10))),
        Some(Owned::String("a".repeat(steps))),
        Some(Owned::Ints(vec![1; steps])),
        Some(Owned::Strings(vec!["b".repeat(10); steps / 10])),
    ]);
    for (source, excerpt) in [
        ("long.contains(short)", "long.contains(short)"),
        ("long.startsWith('')", "long.startsWith('')"),
        ("true && long == long", "long == long"),
        ("long >= long", "long >= long"),
        ("size(long) > 1", "size(long)"),
        ("int(long) > 1", "int(long)"),
        ("2 in numbers", "2 in numbers"),
        ("numbers == numbers", "numbers == numbers"),
        ("short in words", "short in words"),
        ("words == words", "words == words"),
    ] {
        let expression = Expression::compile(source, &schema).expect("an expression");
        let error = expression.evaluate(&row).expect_err(source);
        assert_eq!(
            (error.excerpt.as_str(), error.problem),
            (excerpt, Problem::TooManySteps)
        );
    }
    for source in [
        "short == long",
        "long == short",
        "short < long",
        "1 in numbers",
        "size(numbers) == 20000",
        "short.contains('a')",
        "numbers[19999] == 1",
    ] {
        let expression = Expression::compile(source, &schema).expect("an expression");
        assert!(expression.evaluate(&row).is_ok(), "{source}");
    }
}

#[test]
fn steps_are_counted_exactly() {
    let schema =
        Schema::new([("text", Type::String), ("numbers", Type::IntList)]).expect("a schema");
    let check = |source: &str, text: u32, numbers: u32, fits: bool| {
        let text = "x".repeat(usize::try_from(text).expect("a number"));
        let numbers = vec![1; usize::try_from(numbers).expect("a number")];
        let row = Row(vec![Some(Owned::String(text)), Some(Owned::Ints(numbers))]);
        let expression = Expression::compile(source, &schema).expect("an expression");
        assert_eq!(expression.evaluate(&row).is_ok(), fits, "{source}");
    };
    // The node of `size` and the name are two steps.
    check("size(text)", STEPS_MAX - 2, 0, true);
    check("size(text)", STEPS_MAX - 1, 0, false);
    // The node of `in`, the number and the list are three.
    check("2 in numbers", 0, STEPS_MAX - 3, true);
    check("2 in numbers", 0, STEPS_MAX - 2, false);
    // Every evaluation has a budget of its own.
    check(
        "size(text) > 0 && 2 in numbers",
        STEPS_MAX / 2,
        STEPS_MAX / 2 - 8,
        true,
    );
    check(
        "size(text) > 0 && 2 in numbers",
        STEPS_MAX / 2,
        STEPS_MAX / 2 - 7,
        false,
    );
}

/// Pieces of sources that are put together at random.
const PIECES: &[&str] = &[
    "amount",
    "currency",
    "card.country",
    "metadata.score",
    "metadata",
    "tags",
    "hours",
    "note",
    "has(",
    "size(",
    "int(",
    ".contains(",
    ".startsWith(",
    "(",
    ")",
    "[",
    "]",
    ",",
    "?",
    ":",
    "&&",
    "||",
    "!",
    "==",
    "!=",
    "<",
    "<=",
    ">",
    " in ",
    "+",
    "-",
    "*",
    "/",
    "%",
    "1",
    "0x7f",
    "9223372036854775808",
    "1.5",
    "'a'",
    "\"",
    "'",
    "r'\\'",
    "'\\u00e9'",
    "true",
    "null",
    "//",
    "\n",
    " ",
    ".",
    "é",
    "{",
    "'''",
    "\\",
];

fn of_pieces(numbers: &[usize]) -> String {
    numbers
        .iter()
        .map(|number| PIECES[number % PIECES.len()])
        .collect()
}

/// Compiles a source and evaluates what compiles, which must print as something that compiles to the same.
fn try_source(source: &str, schema: &Schema, row: &Row) -> bool {
    let Ok(expression) = Expression::compile(source, schema) else {
        return false;
    };
    let _any = expression.evaluate(row);
    let canonical = expression.to_string();
    if canonical.len() <= SOURCE_BYTES_MAX {
        let again = Expression::compile(&canonical, schema).unwrap_or_else(|error| {
            panic!("{source} became {canonical}: {error}");
        });
        assert_eq!(again.to_string(), canonical, "{source}");
        assert_eq!(
            again.evaluate(row).map_err(|error| error.problem),
            expression.evaluate(row).map_err(|error| error.problem),
            "{source}"
        );
    }
    true
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        try_source(&String::from_utf8_lossy(&bytes), &sample_schema(), &sample_row());
    }

    #[test]
    fn pieces_never_panic(numbers in proptest::collection::vec(any::<usize>(), 0..40)) {
        try_source(&of_pieces(&numbers), &sample_schema(), &sample_row());
    }
}

/// Variable that says that this process is the one with little memory.
const LIMITED: &str = "TRIBUTARY_EXPRESSION_TEST_LIMITED";

/// Most address space of the process with little memory, in KiB. Threads of the test runner reserve most of it.
const ADDRESS_SPACE_KIB: u32 = 400 * 1024;

/// Most that the resident memory may grow while many sources are tried, in KiB.
const GROWTH_KIB: u64 = 4 * 1024;

#[test]
#[cfg(target_os = "linux")]
fn memory_is_bounded_whatever_the_source() {
    let program = std::env::current_exe().expect("this program");
    let mut shell = Command::new("sh");
    shell.args([
        "-c",
        &format!("ulimit -v {ADDRESS_SPACE_KIB}; exec \"$0\" \"$@\""),
    ]);
    shell.arg(program);
    shell.args([
        "--exact",
        "expression::bounds::sources_in_little_memory",
        "--nocapture",
    ]);
    shell.args(["--test-threads", "1"]);
    let output = shell.env(LIMITED, "1").output().expect("sh runs");
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{errors}");
    assert!(said.contains("sources were tried"), "{said}{errors}");
}

/// Run by the test above in a process of its own.
#[test]
#[cfg(target_os = "linux")]
fn sources_in_little_memory() {
    if std::env::var_os(LIMITED).is_none() {
        return;
    }
    let (schema, row) = (sample_schema(), sample_row());
    let mut random = 1u64;
    let mut next = move || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        usize::try_from(random >> 33).expect("31 bits")
    };
    let (mut tried, mut taken) = (0, 0);
    let before = resident_peak_kib();
    // Each piece over the whole length of a source, alone and before another one: nesting, chains and lists.
    for first in PIECES {
        for second in PIECES {
            let piece = format!("{first}{second}");
            let mut source = piece.repeat(SOURCE_BYTES_MAX / piece.len());
            taken += u32::from(try_source(&source, &schema, &row));
            source.truncate(source.floor_char_boundary(125));
            taken += u32::from(try_source(&source, &schema, &row));
            tried += 2;
        }
    }
    for round in 0..60_000 {
        let length = next() % if round % 20 == 0 { 1_000 } else { 12 };
        let numbers: Vec<usize> = (0..length).map(|_| next()).collect();
        let mut source = of_pieces(&numbers);
        source.truncate(source.floor_char_boundary(SOURCE_BYTES_MAX));
        taken += u32::from(try_source(&source, &schema, &row));
        let bytes: Vec<u8> = numbers
            .iter()
            .map(|number| number.to_le_bytes()[0])
            .collect();
        taken += u32::from(try_source(&String::from_utf8_lossy(&bytes), &schema, &row));
        tried += 2;
    }
    let growth = resident_peak_kib() - before;
    assert!(growth <= GROWTH_KIB, "{growth} KiB");
    assert!(taken > 500, "only {taken} of {tried} are expressions");
    println!("{tried} sources were tried, {taken} are expressions, {growth} KiB more");
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
