//! Idempotency keys: every write carries one.

use std::borrow::Cow;

use tributary_ledger::Key;

use crate::code::ErrorCode;
use crate::error::ApiError;
use crate::form::value::key_text;

/// The header of a write that holds its idempotency key.
pub const IDEMPOTENCY_KEY: &str = "Idempotency-Key";

/// Reads the value of the header `Idempotency-Key`; none if the value is not ASCII. Quoted or bare: `"a"` and `a` are the same
/// key.
pub fn parse_header(value: Option<&str>) -> Result<Key, ApiError> {
    let key = value.and_then(unquote).and_then(|text| key_text(&text));
    key.ok_or_else(|| {
        invalid(
            "Idempotency-Key must be 1 to 255 printable ASCII characters, bare or in double quotes.",
        )
    })
}

/// Error of a write without an idempotency key.
pub fn key_missing() -> ApiError {
    let message = "A write needs an Idempotency-Key header: a text of your choice that names this request, so that \
                   sending it again does nothing twice.";
    ApiError::new(ErrorCode::IdempotencyKeyMissing, message).param(IDEMPOTENCY_KEY)
}

/// Error of a write with two idempotency keys.
pub fn key_given_twice() -> ApiError {
    invalid("The header Idempotency-Key is given twice.")
}

fn invalid(message: &'static str) -> ApiError {
    ApiError::new(ErrorCode::IdempotencyKeyInvalid, message).param(IDEMPOTENCY_KEY)
}

/// The text of a header value: a structured-field string when it starts with a quote, else itself.
fn unquote(value: &str) -> Option<Cow<'_, str>> {
    let Some(rest) = value.strip_prefix('"') else {
        return Some(value.into());
    };
    let inner = rest.strip_suffix('"')?;
    let mut text = String::with_capacity(inner.len());
    let mut bytes = inner.chars();
    while let Some(next) = bytes.next() {
        match next {
            '\\' => match bytes.next() {
                Some(escaped @ ('"' | '\\')) => text.push(escaped),
                _ => return None,
            },
            '"' => return None,
            plain => text.push(plain),
        }
    }
    Some(text.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quoted_key_is_the_bare_one() {
        for (value, text) in [
            ("abc", Some("abc")),
            ("\"abc\"", Some("abc")),
            ("\"a\\\"b\\\\c\"", Some("a\"b\\c")),
            ("a\"b", Some("a\"b")),
            ("\"abc", None),
            ("\"", None),
            ("\"a\"b\"", None),
            ("\"a\\n\"", None),
        ] {
            assert_eq!(unquote(value).as_deref(), text, "{value}");
        }
    }
}
