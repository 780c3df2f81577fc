//! No text of a definition leaves the quotes in which it stands.

use proptest::prelude::*;
use serde_json::json;
use tributary_streams::flink::{sql, terms_of};

/// A part of SQL, as Flink reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    /// A literal with its meaning.
    Literal(String),
    /// A name in backticks.
    Name(String),
    Other(char),
}

/// Splits SQL as Flink does: comments end with their line, a doubled quote is one, `U&'…'` has escapes of four digits.
fn tokens(sql: &str) -> Vec<Token> {
    let letters: Vec<char> = sql.chars().collect();
    let (mut at, mut found) = (0, Vec::new());
    while let Some(&letter) = letters.get(at) {
        if letters[at..].starts_with(&['-', '-']) {
            while letters.get(at).is_some_and(|letter| *letter != '\n') {
                at += 1;
            }
        } else if letters[at..].starts_with(&['U', '&', '\'']) {
            let (text, end) = quoted(&letters, at + 2);
            found.push(Token::Literal(unescaped(&text)));
            at = end;
        } else if letter == '\'' || letter == '`' {
            let (text, end) = quoted(&letters, at);
            found.push(match letter {
                '`' => Token::Name(text),
                _ => Token::Literal(text),
            });
            at = end;
        } else {
            if !letter.is_whitespace() {
                found.push(Token::Other(letter));
            }
            at += 1;
        }
    }
    found
}

/// The text in quotes that begin at a place, and the place after them.
fn quoted(letters: &[char], start: usize) -> (String, usize) {
    let quote = letters[start];
    let (mut at, mut text) = (start + 1, String::new());
    loop {
        match (letters[at], letters.get(at + 1)) {
            (letter, Some(next)) if letter == quote && *next == quote => {
                text.push(quote);
                at += 2;
            }
            (letter, _) if letter == quote => return (text, at + 1),
            (letter, _) => {
                text.push(letter);
                at += 1;
            }
        }
    }
}

fn unescaped(text: &str) -> String {
    let letters: Vec<char> = text.chars().collect();
    let (mut at, mut units) = (0, Vec::new());
    while let Some(&letter) = letters.get(at) {
        match letter {
            '\\' => {
                let digits: String = letters[at + 1..at + 5].iter().collect();
                units.push(u16::from_str_radix(&digits, 16).expect("four digits"));
                at += 5;
            }
            _ => {
                units.extend(letter.encode_utf16(&mut [0; 2]).iter());
                at += 1;
            }
        }
    }
    String::from_utf16(&units).expect("whole letters")
}

/// SQL of a stream in which a text stands wherever one can.
fn sql_with(name: &str, event: &str, text: &str) -> String {
    let literal = serde_json::to_string(text).expect("a text");
    let literal = literal.replace('\u{7f}', "\\u007f");
    let stream = json!({
        "slug": "s",
        "from": [{"event": event, "where": format!("has(metadata.x) && metadata[{literal}] != {literal} && currency in [{literal}]"),
                  "fields": {"f": format!("has(reference) ? reference : {literal}")}}],
        "key": ["f"],
        "window": {"type": "tumbling", "size_seconds": 60},
        "emit": {"n": format!("last({literal})")},
        "having": format!("n != {literal}"),
    });
    let form = serde_json::from_value(stream).expect("a stream");
    let options = super::options();
    let text = sql(name, &terms_of(form), &options);
    text.unwrap_or_else(|error| panic!("{literal}: {error}"))
}

/// Texts that are made of what could end a literal, a name, a comment or a statement.
fn nasty() -> impl Strategy<Value = String> {
    let letter = prop_oneof![
        3 => prop::sample::select(vec![
            '\'', '`', '"', '\\', ';', '-', '/', '*', '\n', '\r', '\0', '\u{1a}', 'U', '&', '\u{2019}', '\u{2028}', '\u{1f600}', '\u{7f}', '{', '$',
        ]),
        1 => any::<char>(),
    ];
    prop::collection::vec(letter, 0..24).prop_map(|letters| letters.into_iter().collect())
}

proptest! {
    #[test]
    fn a_text_changes_nothing_but_its_literals(text in nasty(), name in nasty(), event in nasty()) {
        let event = format!("payment.{event}");
        prop_assume!(event.len() <= 128 && !event.ends_with("_refused"));
        let name = format!("n{name}");
        let (good_name, good_event, good_text) = ("good", "payment.good", "<good>");
        let good = tokens(&sql_with(good_name, good_event, good_text));
        let written = sql_with(&name, &event, &text);
        prop_assert!(written.bytes().all(|letter| letter == b'\n' || (b' '..=b'~').contains(&letter)));
        let found = tokens(&written);
        prop_assert_eq!(found.len(), good.len());
        for (found, good) in found.iter().zip(&good) {
            match (found, good) {
                (Token::Literal(found), Token::Literal(good)) if good == good_text => prop_assert_eq!(found, &text),
                (Token::Literal(found), Token::Literal(good)) => {
                    prop_assert_eq!(found, &good.replace(good_event, &event));
                }
                (Token::Name(found), Token::Name(good)) => {
                    let is_table = good.starts_with("good.");
                    prop_assert!(is_table || found == good, "{} {}", found, good);
                }
                (found, good) => prop_assert_eq!(found, good),
            }
        }
        // Each statement ends where a line does, and no other line ends so.
        let ends = written.lines().filter(|line| line.ends_with(';')).count();
        prop_assert_eq!(ends, 9);
        let semicolons = found.iter().filter(|token| **token == Token::Other(';')).count();
        prop_assert_eq!(semicolons, 9);
    }
}
