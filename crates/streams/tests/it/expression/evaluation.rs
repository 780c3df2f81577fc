//! One table for each rule: what expressions give over the sample.

use tributary_streams::expression::LANGUAGE_VERSION;

use super::{compiled, sample_row, shown};

#[track_caller]
fn check(cases: &[(&str, &str)]) {
    for (source, expected) in cases {
        assert_eq!(
            shown(&compiled(source), &sample_row()),
            *expected,
            "{source}"
        );
    }
}

const MISSING: &str = "the field is missing; test it with has() first";
const NO_KEY: &str = "the key is missing in the map; test it with `in` or has() first";
const OVERFLOW: &str = "the result does not fit into 64 bits; use smaller numbers";
const BY_ZERO: &str = "division by zero; test the divisor first";

/// Checks errors: the part that has no value, its place and the problem.
#[track_caller]
fn check_errors(cases: &[(&str, &str, usize, &str)]) {
    for (source, excerpt, offset, problem) in cases {
        let expected = format!("`{excerpt}` at byte {offset}: {problem}");
        assert_eq!(
            shown(&compiled(source), &sample_row()),
            expected,
            "{source}"
        );
    }
}

#[test]
fn literals_are_what_they_say() {
    check(&[
        ("true", "true"),
        ("0", "0"),
        ("0x7fffFFFFffffFFFF", "9223372036854775807"),
        ("9223372036854775807", "9223372036854775807"),
        ("-9223372036854775808", "-9223372036854775808"),
        ("- 5", "-5"),
        ("-0x10", "-16"),
        ("'a' == \"a\"", "true"),
        (r"r'\n' == '\\n'", "true"),
        (r#"R"\" == '\\'"#, "true"),
        (
            r#"'\a\b\f\n\r\t\v\\\?\"\'\`' == "\x07\x08\x0C\u000a\r\011\013\\?\"'`""#,
            "true",
        ),
        (r"'\u00e9\U0001F600\X41\101' == 'é😀AA'", "true"),
        ("'// no comment' // but this is one", "\"// no comment\""),
        ("// a comment first\n1", "1"),
        ("'tab\there'", "\"tab\\there\""),
    ]);
}

#[test]
fn integers_are_calculated_exactly_or_not_at_all() {
    check(&[
        ("2 + 3 * 4 - 5", "9"),
        ("(2 + 3) * 4", "20"),
        ("10 - 4 - 3", "3"),
        ("100 / 10 / 5", "2"),
        ("-7 / 2", "-3"),
        ("-7 % 3", "-1"),
        ("7 % -3", "1"),
        ("7 - -3", "10"),
        ("7-3", "4"),
        ("-(amount)", "-25000"),
        ("amount / 100 % 7", "5"),
        ("9223372036854775807 - 1 + 1", "9223372036854775807"),
        ("-9223372036854775807 - 1", "-9223372036854775808"),
        ("int(metadata.score) + 1", "74"),
        ("int('-9223372036854775808')", "-9223372036854775808"),
        ("int('007')", "7"),
    ]);
    check_errors(&[
        (
            "1 + 9223372036854775807 * 1",
            "1 + 9223372036854775807 * 1",
            0,
            OVERFLOW,
        ),
        (
            "1 - (-9223372036854775807 - 2)",
            "(-9223372036854775807 - 2)",
            4,
            OVERFLOW,
        ),
        (
            "amount * 9223372036854775807",
            "amount * 9223372036854775807",
            0,
            OVERFLOW,
        ),
        (
            "-(-9223372036854775808)",
            "-(-9223372036854775808)",
            0,
            OVERFLOW,
        ),
        (
            "-9223372036854775808 / -1",
            "-9223372036854775808 / -1",
            0,
            OVERFLOW,
        ),
        (
            "-9223372036854775808 % -1",
            "-9223372036854775808 % -1",
            0,
            OVERFLOW,
        ),
        (
            "1 + amount / (count_24h - 12)",
            "amount / (count_24h - 12)",
            4,
            BY_ZERO,
        ),
        ("amount % 0", "amount % 0", 0, BY_ZERO),
    ]);
    let problem = "the string is no whole number of 64 bits; correct the value where it is made";
    check_errors(&[
        ("1 + int(metadata.bad)", "int(metadata.bad)", 4, problem),
        ("int('')", "int('')", 0, problem),
        ("int(' 1')", "int(' 1')", 0, problem),
        ("int('1.0')", "int('1.0')", 0, problem),
        (
            "int('9223372036854775808')",
            "int('9223372036854775808')",
            0,
            problem,
        ),
    ]);
}

#[test]
fn values_of_one_type_are_compared() {
    check(&[
        ("amount == 25000", "true"),
        ("amount != 25000", "false"),
        ("amount < 25000", "false"),
        ("amount <= 25000", "true"),
        ("amount > 25000", "false"),
        ("amount >= 25000", "true"),
        ("-1 < 0", "true"),
        ("'a' < 'b'", "true"),
        ("'a' < 'a'", "false"),
        ("'a' <= 'a'", "true"),
        ("'B' < 'a'", "true"),
        ("'a' < 'aa'", "true"),
        ("'é' > 'z'", "true"),
        ("'' < 'a'", "true"),
        ("currency == 'EUR'", "true"),
        ("currency != 'EUR'", "false"),
        ("currency == 'eur'", "false"),
        ("currency == 'EURO'", "false"),
        ("card.present == false", "true"),
        ("card.present != (1 > 2)", "false"),
        ("1 < 2 == true", "true"),
        ("tags == ['new', 'web']", "true"),
        ("tags == ['web', 'new']", "false"),
        ("tags == ['new']", "false"),
        ("tags != ['new']", "true"),
        ("hours == [1, 22 + 1]", "true"),
        ("flags == [true, false]", "true"),
        ("[amount, 1] == [25000, 1]", "true"),
    ]);
}

#[test]
fn conditions_are_evaluated_from_left_to_right_until_one_decides() {
    check(&[
        ("true && true && false", "false"),
        ("true && true", "true"),
        ("false || false || true", "true"),
        ("false || false", "false"),
        ("true || false && false", "true"),
        ("(true || false) && false", "false"),
        ("!true", "false"),
        ("!(1 > 2)", "true"),
        ("!has(note)", "true"),
        ("false && note == 'x'", "false"),
        ("true || note == 'x'", "true"),
        ("has(note) && note == 'x'", "false"),
        ("!has(note) || note == 'x'", "true"),
        ("true ? 1 : 2", "1"),
        ("false ? 1 : 2", "2"),
        ("false ? payer.age : amount", "25000"),
        ("true ? amount : 1 / 0", "25000"),
        ("false ? 'a' : false ? 'b' : 'c'", "\"c\""),
        ("amount > 1 ? currency : note", "\"EUR\""),
        ("1 in (true ? hours : [2])", "true"),
    ]);
}

#[test]
fn a_missing_field_is_an_error_wherever_it_is_read() {
    check_errors(&[
        ("note", "note", 0, MISSING),
        ("note == ''", "note", 0, MISSING),
        ("'' != note", "note", 6, MISSING),
        ("!payer.known", "payer.known", 1, MISSING),
        ("payer.age + 1", "payer.age", 0, MISSING),
        ("-payer.age", "payer.age", 1, MISSING),
        ("payer.known && true", "payer.known", 0, MISSING),
        ("true && payer.known", "payer.known", 8, MISSING),
        ("payer.known ? 1 : 1", "payer.known", 0, MISSING),
        ("true ? payer.age : 1", "payer.age", 7, MISSING),
        ("size(note)", "note", 5, MISSING),
        ("size(payer.labels) == 0", "payer.labels", 5, MISSING),
        ("'a' in payer.labels", "payer.labels", 7, MISSING),
        ("note in tags", "note", 0, MISSING),
        ("payer.labels[0]", "payer.labels", 0, MISSING),
        ("tags[payer.age]", "payer.age", 5, MISSING),
        ("context.a", "context.a", 0, MISSING),
        ("'a' in context", "context", 7, MISSING),
        ("note.startsWith('')", "note", 0, MISSING),
        ("currency.contains(note)", "note", 18, MISSING),
        ("int(note)", "note", 4, MISSING),
        ("metadata.nothing == ''", "metadata.nothing", 0, NO_KEY),
        ("metadata['no' ] == ''", "metadata['no' ]", 0, NO_KEY),
        ("metadata[note]", "note", 9, MISSING),
        // CEL may leave these out, since the other operand decides.
        ("payer.age > 1 && false", "payer.age", 0, MISSING),
        ("payer.age > 1 || true", "payer.age", 0, MISSING),
        ("(payer.age > 1 && false) || true", "payer.age", 1, MISSING),
        // All elements of a list are computed, also behind the one that is looked for.
        ("25000 in [amount, payer.age]", "payer.age", 18, MISSING),
        ("[amount, payer.age][0]", "payer.age", 9, MISSING),
    ]);
}

#[test]
fn has_is_true_exactly_if_the_field_can_be_read() {
    check(&[
        ("has(amount)", "true"),
        ("has(card.country)", "true"),
        ("has(note)", "false"),
        ("has(payer.age)", "false"),
        ("has(tags)", "true"),
        ("has(metadata)", "true"),
        ("has(metadata.score)", "true"),
        ("has(metadata.nothing)", "false"),
        ("has(context)", "false"),
        ("has(context.a)", "false"),
        ("has(metadata.score) && int(metadata.score) > 70", "true"),
    ]);
}

#[test]
fn lists_and_maps_are_searched_indexed_and_measured() {
    check(&[
        ("currency in ['USD', 'EUR']", "true"),
        ("currency in ['USD']", "false"),
        ("!(currency in ['USD'])", "true"),
        ("'web' in tags", "true"),
        ("'we' in tags", "false"),
        ("23 in hours", "true"),
        ("2 in hours", "false"),
        ("true in flags", "true"),
        ("false in [true]", "false"),
        ("amount in [count_24h, amount]", "true"),
        ("amount in [count_24h, amount + 1]", "false"),
        ("[1, 2][amount - 24999] == [amount, 2, 3][1]", "true"),
        ("size([count_24h, [5, amount][0]])", "2"),
        ("[count_24h, [5, amount][0], 3] == [12, 5, 3]", "true"),
        ("tags[0]", "\"new\""),
        ("hours[1] - hours[0]", "22"),
        ("flags[1]", "false"),
        ("['a', 'b'][1]", "\"b\""),
        ("'score' in metadata", "true"),
        ("'nothing' in metadata", "false"),
        ("metadata['order-type']", "\"gift\""),
        ("metadata['sco' in tags ? 'a' : 'score']", "\"73\""),
        ("size(tags)", "2"),
        ("size(metadata)", "3"),
        ("size([1, 2, 3])", "3"),
        ("size('')", "0"),
        ("size('aé😀')", "3"),
    ]);
    let problem = "the list has 2 elements and none at 2; test size() first";
    check_errors(&[
        ("tags[2] == ''", "tags[2]", 0, problem),
        (
            "1 + [1, 2][count_24h - 10]",
            "[1, 2][count_24h - 10]",
            4,
            problem,
        ),
        ("[amount, 2][2]", "[amount, 2][2]", 0, problem),
        (
            "tags[-1] == ''",
            "tags[-1]",
            0,
            "the list has 2 elements and none at -1; test size() first",
        ),
    ]);
}

#[test]
fn strings_are_searched() {
    check(&[
        ("currency.startsWith('EU')", "true"),
        ("currency.startsWith('UR')", "false"),
        ("currency.startsWith('')", "true"),
        ("currency.endsWith('UR')", "true"),
        ("currency.endsWith('EU')", "false"),
        ("currency.contains('U')", "true"),
        ("currency.contains('EURO')", "false"),
        ("'EURO'.contains(currency)", "true"),
        ("tags[0].startsWith('n')", "true"),
        ("metadata.score.endsWith('3')", "true"),
        ("metadata['score'].endsWith('3')", "true"),
        ("(amount > 1 ? 'a' : 'b').contains('a')", "true"),
        ("!currency.contains('x')", "true"),
    ]);
}

/// If a result here has to be changed, the meaning of recorded expressions changes: raise the version.
#[test]
fn the_version_names_these_meanings() {
    assert_eq!(LANGUAGE_VERSION, 1);
}
