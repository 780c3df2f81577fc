//! What the compiler refuses, where, and what it says.

use tributary_streams::expression::Expression;

use super::sample_schema;

/// Checks the place of an error, and parts of what it says.
#[track_caller]
fn check(cases: &[(&str, usize, &[&str])]) {
    for (source, offset, parts) in cases {
        let error = Expression::compile(source, &sample_schema()).expect_err(source);
        assert_eq!(error.offset, *offset, "{source}: {error}");
        let said = error.to_string();
        for part in *parts {
            assert!(said.contains(part), "{source}: `{part}` is not in `{said}`");
        }
    }
}

#[test]
fn errors_say_where_what_and_what_to_do() {
    let error = Expression::compile("amount > 'a'", &sample_schema()).expect_err("two types");
    assert_eq!(
        error.to_string(),
        "at byte 9: expected an integer, found `'a'`, which is a string; \
         compare values of one type with `>`, or convert with int()"
    );
}

#[test]
fn unknown_fields_are_refused_and_similar_ones_named() {
    check(&[
        (
            "amout > 1",
            0,
            &[
                "expected the path of a field",
                "`amout`",
                "did you mean `amount`?",
            ],
        ),
        ("1 + card.contry", 4, &["did you mean `card.country`?"]),
        (
            "nothing_like_it",
            0,
            &["use one of the fields that are documented"],
        ),
        ("has(amout)", 0, &["did you mean `amount`?"]),
        (
            "card == 1",
            0,
            &["only begins the names of fields", "such as `card.country`"],
        ),
        ("has(card)", 0, &["only begins the names of fields"]),
        (
            "amount.x == 1",
            0,
            &["a member of `amount`, which has none"],
        ),
        (
            "metadata.a.b == ''",
            0,
            &["a member of `metadata.a`, which has none"],
        ),
        ("has(metadata.a.b)", 0, &["a member of `metadata.a`"]),
        ("tags.size > 1", 0, &["a member of `tags`"]),
        ("Amount > 1", 0, &["did you mean `amount`?"]),
    ]);
}

#[test]
fn types_that_do_not_fit_are_refused() {
    check(&[
        ("1 == '1'", 5, &["an integer", "a string"]),
        ("'1' == 1", 7, &["expected a string", "an integer"]),
        ("true == 1", 8, &["expected a boolean"]),
        (
            "amount == tags",
            10,
            &["expected an integer", "a list of strings"],
        ),
        (
            "tags == hours",
            8,
            &["expected a list of strings", "a list of integers"],
        ),
        (
            "metadata == metadata",
            0,
            &["a map of strings", "compare single keys"],
        ),
        (
            "true < false",
            0,
            &["an integer or a string", "use == or !="],
        ),
        (
            "tags < tags",
            0,
            &["only integers and strings have an order"],
        ),
        ("1 < 2 < 3", 8, &["expected a boolean"]),
        (
            "'a' + 'b'",
            0,
            &["expected an integer", "calculates with integers only"],
        ),
        ("1 + true", 4, &["expected an integer"]),
        ("tags + tags", 0, &["expected an integer"]),
        ("1 % 'a'", 4, &["expected an integer"]),
        ("-'a'", 1, &["expected an integer"]),
        ("-true", 1, &["expected an integer"]),
        ("!1", 1, &["expected a boolean"]),
        (
            "amount && true",
            0,
            &["expected a boolean", "join conditions with `&&`"],
        ),
        ("true || currency", 8, &["join conditions with `||`"]),
        (
            "1 ? 2 : 3",
            0,
            &["expected a boolean", "write a condition before `?`"],
        ),
        (
            "true ? 1 : 'a'",
            11,
            &["expected an integer", "the same type"],
        ),
        ("1 in ['a']", 0, &["expected a string", "right of `in`"]),
        ("'a' in hours", 0, &["expected an integer"]),
        ("1 in metadata", 0, &["expected a string"]),
        (
            "'a' in currency",
            7,
            &["a list or a map", "which is a string"],
        ),
        ("1 in 1", 5, &["a list or a map"]),
        ("tags in tags", 0, &["expected a string"]),
        (
            "[1, 'a'] == [1]",
            4,
            &["expected an integer", "type of the first one"],
        ),
        ("[amount, 'a'] == [1]", 9, &["expected an integer"]),
        ("[tags] == [tags]", 1, &["cannot be elements of a list"]),
        ("[[1]] == [[1]]", 1, &["cannot be elements of a list"]),
        ("[metadata][0]", 1, &["cannot be elements"]),
        ("1 in []", 5, &["an empty list"]),
        ("amount[0]", 0, &["a list or a map", "remove the index"]),
        ("currency[0]", 0, &["a list or a map"]),
        ("tags['a']", 5, &["expected an integer", "numbered from 0"]),
        ("metadata[0]", 9, &["expected a string"]),
        ("size(1)", 5, &["a string, a list or a map"]),
        ("size(true)", 5, &["a string, a list or a map"]),
        ("int(1)", 4, &["expected a string"]),
        ("amount.startsWith('a')", 0, &["expected a string"]),
        ("currency.startsWith(1)", 20, &["expected a string"]),
        (
            "tags.contains('new')",
            0,
            &["expected a string", "use `in` for lists"],
        ),
        ("tags", 0, &["as the result", "a list of strings"]),
        ("metadata", 0, &["as the result"]),
        ("[1]", 0, &["as the result"]),
        ("true ? tags : tags", 0, &["as the result"]),
    ]);
}

#[test]
fn what_cel_has_and_this_language_has_not_is_named() {
    check(&[
        ("1.5 > 1", 0, &["`1.5`", "does not have", "minor units"]),
        ("1e3", 0, &["`1e3`"]),
        ("1.5e-3", 0, &["`1.5e`"]),
        ("amount > 5u", 9, &["`5u`", "without `u`"]),
        ("0x1Fu", 0, &["`0x1Fu`"]),
        ("12abc", 0, &["`12abc`"]),
        (".5", 0, &["expected a value", "`.`"]),
        ("1.", 2, &["the name of a method", "the end"]),
        ("null", 0, &["`null`", "has()"]),
        ("note == null", 8, &["`null`"]),
        ("b'a'", 0, &["a sequence of bytes"]),
        ("Br\"a\"", 0, &["a sequence of bytes"]),
        ("'''a'''", 0, &["triple quotes"]),
        ("r\"\"\"a\"\"\"", 1, &["triple quotes"]),
        (
            "{'a': 1}",
            0,
            &["`{`", "maps and messages cannot be written"],
        ),
        (
            "tags.exists(t, t == 'a')",
            5,
            &["exists()", "loops are not in this language"],
        ),
        (
            "currency.matches('E.*')",
            9,
            &["matches()", "regular expressions"],
        ),
        ("tags.size()", 5, &["write size(value)"]),
        (
            "size(tags, tags)",
            0,
            &["one argument of size()", "found 2"],
        ),
        (
            "currency.contains()",
            9,
            &["one argument of contains()", "found 0"],
        ),
        ("string(1)", 0, &["string()", "has(), size(), int()"]),
        ("currency.startsWith", 0, &["a member of `currency`"]),
        ("startsWith(currency, 'a')", 0, &["startsWith()"]),
        ("has('a')", 0, &["has() of something else"]),
        ("has(tags[0])", 0, &["has() of something else"]),
        ("has(metadata['a'])", 0, &["has() of something else"]),
        ("has()", 0, &["has() of something else"]),
        ("has(amount, amount)", 0, &["has() of something else"]),
        ("--1", 1, &["expected one sign", "parentheses"]),
        ("!!true", 1, &["expected one sign"]),
        ("!-1", 1, &["expected one sign"]),
        (".amount", 0, &["expected a value"]),
        ("[1, 2,]", 6, &["expected a value", "`]`"]),
        ("(metadata).score", 11, &["a method", "the member `score`"]),
        ("tags[0].x", 8, &["a method"]),
        ("amount > `a`", 9, &["```"]),
    ]);
}

#[test]
fn sources_that_are_no_expressions_are_refused() {
    check(&[
        ("", 0, &["expected a value", "found the end"]),
        ("  // nothing", 12, &["found the end"]),
        ("1 +", 3, &["expected a value", "the end"]),
        (
            "1 2",
            2,
            &["an operator or the end", "an integer", "join conditions"],
        ),
        ("amount currency", 7, &["found a name"]),
        ("amount 'a'", 7, &["found a string"]),
        ("(1", 2, &["expected `)`"]),
        ("1)", 1, &["found `)`"]),
        ("[1", 2, &["expected `]`"]),
        ("[1 2]", 3, &["put a comma between values"]),
        ("tags[0", 6, &["expected `]`"]),
        ("size(tags", 9, &["expected `)`"]),
        ("true ? 1", 8, &["expected `:`"]),
        ("true ? 1 : ", 11, &["expected a value"]),
        ("true ? true ? 1 : 2 : 3", 12, &["expected `:`"]),
        ("amount = 1", 7, &["`=`", "write `==`"]),
        ("true & true", 5, &["`&`", "write `&&`"]),
        ("true | true", 5, &["`|`", "`||`"]),
        ("amount > $1", 9, &["`$`"]),
        ("é == 1", 0, &["`é`"]),
        ("1 \u{a0}+ 1", 2, &["`\\u{a0}`"]),
        ("'a", 0, &["a string that ends with ' on its line"]),
        ("\"a\nb\"", 0, &["close the string"]),
        ("'a\r'", 0, &["close the string"]),
        ("'\\", 1, &["an escape sequence"]),
        (r"'\q'", 1, &["an escape sequence", "for a backslash"]),
        (r"'\x4'", 1, &["an escape sequence"]),
        (r"'\u00g0'", 1, &["an escape sequence"]),
        (r"'\ud800'", 1, &["an escape sequence"]),
        (r"'\U00110000'", 1, &["an escape sequence"]),
        (r"'\400'", 1, &["an escape sequence"]),
        (r"'\38'", 1, &["an escape sequence"]),
        (r"'\x+4'", 1, &["an escape sequence"]),
        (r"'\xé'", 1, &["an escape sequence"]),
        ("9223372036854775808", 0, &["an integer of 64 bits"]),
        ("-9223372036854775809", 1, &["an integer of 64 bits"]),
        ("1 - 9223372036854775808", 4, &["an integer of 64 bits"]),
        ("99999999999999999999", 0, &["an integer of 64 bits"]),
        ("0x", 0, &["an integer of 64 bits"]),
        ("0xg", 0, &["`0xg`"]),
        ("if > 1", 0, &["the reserved word `if`"]),
        ("card.in == 1", 5, &["the reserved word `in`"]),
        ("card.1 == 1", 5, &["the name of a field or method"]),
        ("card. == 1", 6, &["the name of a field or method"]),
        ("amount in", 9, &["expected a value"]),
        ("in amount", 0, &["the reserved word `in`"]),
    ]);
}
