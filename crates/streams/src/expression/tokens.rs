//! Words and signs of a source.

use super::errors::CompileError;
use super::schema::{is_name_part, is_name_start};

/// Signs; a longer one stands before its beginning.
const SIGNS: &[&str] = &[
    "&&", "||", "==", "!=", "<=", ">=", "<", ">", "!", "+", "-", "*", "/", "%", "?", ":", "(", ")",
    "[", "]", ",", ".",
];

/// Place of a part of a source, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) start: u16,
    pub(super) end: u16,
}

impl Span {
    fn new(start: usize, end: usize) -> Span {
        let place = |at: usize| u16::try_from(at).expect("bounded by SOURCE_BYTES_MAX");
        Span {
            start: place(start),
            end: place(end),
        }
    }

    pub(super) fn offset(self) -> usize {
        usize::from(self.start)
    }

    pub(super) fn to(self, other: Span) -> Span {
        Span {
            start: self.start,
            end: other.end,
        }
    }

    /// Returns this part of the source, shortened to what fits into a message.
    pub(super) fn excerpt(self, source: &str) -> String {
        const BYTES_MAX: usize = 80;
        let part = &source[usize::from(self.start)..usize::from(self.end)];
        match part.len() <= BYTES_MAX {
            true => part.to_owned(),
            false => format!("{}…", &part[..part.floor_char_boundary(BYTES_MAX)]),
        }
    }
}

/// A word or sign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token<'s> {
    /// Digits, without a sign; at most 2^63.
    Integer(u64),
    Text(String),
    Name(&'s str),
    Sign(&'static str),
    End,
}

/// Reads a source word by word.
pub(super) struct Lexer<'s> {
    source: &'s str,
    at: usize,
}

impl<'s> Lexer<'s> {
    /// Begins at the beginning of a source of at most `SOURCE_BYTES_MAX`.
    pub(super) fn new(source: &'s str) -> Lexer<'s> {
        Lexer { source, at: 0 }
    }

    /// Reads the next word or sign.
    pub(super) fn next(&mut self) -> Result<(Token<'s>, Span), CompileError> {
        self.skip_space();
        let start = self.at;
        let token = self.token()?;
        Ok((token, Span::new(start, self.at)))
    }

    fn skip_space(&mut self) {
        loop {
            let rest = self.rest();
            let space = [' ', '\t', '\n', '\r', '\u{c}'];
            let after = rest.trim_start_matches(space);
            self.at += rest.len() - after.len();
            if !after.starts_with("//") {
                return;
            }
            self.at += after.find('\n').unwrap_or(after.len());
        }
    }

    fn token(&mut self) -> Result<Token<'s>, CompileError> {
        let rest = self.rest();
        let Some(first) = rest.bytes().next() else {
            return Ok(Token::End);
        };
        if first.is_ascii_digit() {
            return self.integer();
        }
        if first == b'"' || first == b'\'' {
            return self.text(false);
        }
        if is_name_start(first) {
            let name = self.take_while(is_name_part);
            return match (name, self.peek()) {
                ("r" | "R", Some(b'"' | b'\'')) => self.text(true),
                ("b" | "B" | "br" | "bR" | "Br" | "BR", Some(b'"' | b'\'')) => {
                    let start = self.at - name.len();
                    Err(not_in_language(
                        start,
                        "a sequence of bytes",
                        "use a string",
                    ))
                }
                _ => Ok(Token::Name(name)),
            };
        }
        if let Some(sign) = SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
            self.at += sign.len();
            return Ok(Token::Sign(sign));
        }
        let found = rest.chars().next().unwrap_or_default();
        let advice = match found {
            '&' | '|' => "write `&&` and `||`",
            '=' => "write `==` to compare",
            '{' | '}' => "maps and messages cannot be written here; use fields",
            _ => "remove it, or put it into a string",
        };
        let found = format!("`{}`", found.escape_debug());
        Err(CompileError::new(
            self.at,
            "a name, a value or an operator",
            found,
            advice,
        ))
    }

    fn integer(&mut self) -> Result<Token<'s>, CompileError> {
        let start = self.at;
        let hexadecimal = self.rest().starts_with("0x");
        let value = if hexadecimal {
            self.at += 2;
            let digits = self.take_while(|letter| letter.is_ascii_hexdigit());
            u64::from_str_radix(digits, 16)
        } else {
            self.take_while(|letter| letter.is_ascii_digit()).parse()
        };
        let fraction = self.peek() == Some(b'.')
            && self
                .source
                .as_bytes()
                .get(self.at + 1)
                .is_some_and(u8::is_ascii_digit);
        if fraction || self.peek().is_some_and(is_name_part) {
            let word = self.take_while(|letter| is_name_part(letter) || letter == b'.');
            let whole = &self.source[start..start + (self.at - start).min(40)];
            let advice = match word.starts_with(['u', 'U']) {
                true => "write an integer without `u`",
                false => "write a whole number, amounts in minor units, or put a space behind it",
            };
            return Err(not_in_language(start, &format!("`{whole}`"), advice));
        }
        match value {
            Ok(value) if value <= 1 << 63 => Ok(Token::Integer(value)),
            _ => Err(CompileError::new(
                start,
                "an integer of 64 bits",
                "other digits",
                "write a number from -9223372036854775808 to 9223372036854775807",
            )),
        }
    }

    /// Reads a string from its opening quote.
    fn text(&mut self, raw: bool) -> Result<Token<'s>, CompileError> {
        let start = self.at;
        let quote = if self.peek() == Some(b'"') { '"' } else { '\'' };
        let triple = if quote == '"' { "\"\"\"" } else { "'''" };
        if self.rest().starts_with(triple) {
            return Err(not_in_language(
                start,
                "a string in triple quotes",
                "use single or double quotes, and \\n for a new line",
            ));
        }
        self.at += quote.len_utf8();
        let mut value = String::new();
        loop {
            let place = self.at;
            let Some(letter) = self.rest().chars().next() else {
                return Err(unclosed(start, quote));
            };
            self.at += letter.len_utf8();
            match letter {
                '\n' | '\r' => return Err(unclosed(start, quote)),
                '\\' if !raw => value.push(self.escape(place)?),
                _ if letter == quote => return Ok(Token::Text(value)),
                _ => value.push(letter),
            }
        }
    }

    /// Reads what follows a backslash.
    fn escape(&mut self, place: usize) -> Result<char, CompileError> {
        let letter = self.rest().chars().next();
        self.at += letter.map_or(0, char::len_utf8);
        let digits = match letter {
            Some('a') => return Ok('\u{7}'),
            Some('b') => return Ok('\u{8}'),
            Some('f') => return Ok('\u{c}'),
            Some('n') => return Ok('\n'),
            Some('r') => return Ok('\r'),
            Some('t') => return Ok('\t'),
            Some('v') => return Ok('\u{b}'),
            Some(itself @ ('\\' | '?' | '"' | '\'' | '`')) => return Ok(itself),
            Some('x' | 'X') => (2, 16),
            Some('u') => (4, 16),
            Some('U') => (8, 16),
            Some('0'..='3') => {
                self.at -= 1;
                (3, 8)
            }
            _ => (0, 0),
        };
        let (count, radix) = digits;
        let written = self.rest().get(..count).unwrap_or_default();
        let valid =
            count > 0 && written.len() == count && written.chars().all(|c| c.is_digit(radix));
        let code = match valid {
            true => u32::from_str_radix(written, radix)
                .ok()
                .and_then(char::from_u32),
            false => None,
        };
        self.at += written.len();
        code.ok_or_else(|| {
            CompileError::new(
                place,
                "an escape sequence",
                "a backslash before something else",
                "write \\\\ for a backslash, or one of \\n \\r \\t \\\" \\' \\xHH \\uHHHH \\UHHHHHHHH",
            )
        })
    }

    fn rest(&self) -> &'s str {
        &self.source[self.at..]
    }

    fn peek(&self) -> Option<u8> {
        self.source.as_bytes().get(self.at).copied()
    }

    fn take_while(&mut self, wanted: impl Fn(u8) -> bool) -> &'s str {
        let rest = self.rest();
        let length = rest.bytes().take_while(|letter| wanted(*letter)).count();
        self.at += length;
        &rest[..length]
    }
}

/// Makes the error for something that CEL has and this language has not.
pub(super) fn not_in_language(offset: usize, found: &str, advice: &str) -> CompileError {
    CompileError::new(
        offset,
        "an integer, a string, a boolean or a list",
        format!("{found}, which this language does not have"),
        advice,
    )
}

fn unclosed(start: usize, quote: char) -> CompileError {
    CompileError::new(
        start,
        format!("a string that ends with {quote} on its line"),
        "no end",
        "close the string, and write \\n for a new line",
    )
}
