//! The `Idempotency-Key` header: every write carries one.

use std::borrow::Cow;

use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::request::Parts;
use tributary_ledger::Key;

use crate::app::App;
use crate::code::ErrorCode;
use crate::error::ApiError;
use crate::form::value::is_key_text;

const HEADER: &str = "idempotency-key";

/// The key of a write. Quoted or bare: `"a"` and `a` are the same key.
pub(crate) struct IdempotencyKey(pub(crate) Key);

impl FromRequestParts<App> for IdempotencyKey {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<IdempotencyKey, ApiError> {
        key_of(&parts.headers).map(IdempotencyKey)
    }
}

/// The key in the headers of a write.
pub(crate) fn key_of(headers: &HeaderMap) -> Result<Key, ApiError> {
    let mut values = headers.get_all(HEADER).iter();
    let value = values.next().ok_or_else(|| {
            ApiError::new(
                ErrorCode::IdempotencyKeyMissing,
                "A write needs an Idempotency-Key header: a text of your choice that names this request, so that \
                 sending it again does nothing twice.",
            )
            .param("Idempotency-Key")
        })?;
    if values.next().is_some() {
        return Err(invalid("The header Idempotency-Key is given twice."));
    }
    let text = value
        .to_str()
        .ok()
        .and_then(unquote)
        .filter(|text| is_key_text(text));
    let text = text.ok_or_else(|| {
            invalid("Idempotency-Key must be 1 to 255 printable ASCII characters, bare or in double quotes.")
        })?;
    ledger_key(&text)
}

fn invalid(message: &'static str) -> ApiError {
    ApiError::new(ErrorCode::IdempotencyKeyInvalid, message).param("Idempotency-Key")
}

/// The ledger's key of a text that has the form of one.
pub(crate) fn ledger_key(text: &str) -> Result<Key, ApiError> {
    Key::from_bytes(text.as_bytes())
        .map_err(|_| invalid("Idempotency-Key is not one that the ledger takes."))
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
