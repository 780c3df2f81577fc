//! JSON bodies: read within the bounds, strictly, with an error that names the field.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use serde::de::{self, Deserialize, DeserializeOwned, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_path_to_error::Segment;

use crate::code::ErrorCode;
use crate::error::ApiError;

/// Reads `bytes`, which must be a JSON object, in the form of `T`: serde would take an array of its fields too.
pub fn parse_object<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    if bytes.trim_ascii_start().starts_with(b"[") {
        let message = "The body must be a JSON object.";
        return Err(ApiError::new(ErrorCode::ParameterInvalid, message));
    }
    parse(bytes)
}

/// Reads `bytes` as JSON in the form of `T`.
pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    // Where a fault stands is found out by reading again: nearly every body has none, and keeping track costs.
    match serde_json::from_slice(bytes) {
        Ok(value) => Ok(value),
        Err(_) => parse_tracked(bytes),
    }
}

fn parse_tracked<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = path_text(error.path());
        let inner = error.into_inner();
        match inner.classify() {
            serde_json::error::Category::Data => data_error(&path, &inner.to_string()),
            // A word of a few is expected where another kind of value stands.
            _ if str::from_utf8(bytes).is_ok_and(is_readable) => data_error(
                &path,
                "invalid type, expected one of the words that it can be",
            ),
            _ => malformed(&inner),
        }
    })?;
    deserializer.end().map_err(|error| malformed(&error))?;
    Ok(value)
}

/// Reads a field in which null means something else than being left out.
pub(crate) fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// Whether every program can read this JSON: there are no bounds to its depth and numbers in JSON itself.
pub fn is_readable(json: &str) -> bool {
    serde_json::from_str::<Readable<false>>(json).is_ok()
}

/// Any JSON, read through and not kept. `UNIQUE`: whether a name that an object gives twice is refused.
pub(crate) struct Readable<const UNIQUE: bool>;

impl<'de, const UNIQUE: bool> Deserialize<'de> for Readable<UNIQUE> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Readable)
    }
}

impl<'de, const UNIQUE: bool> Visitor<'de> for Readable<UNIQUE> {
    type Value = Self;

    fn expecting(&self, into: &mut fmt::Formatter<'_>) -> fmt::Result {
        into.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<Self, A::Error> {
        while values.next_element::<Self>()?.is_some() {}
        Ok(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut values: A) -> Result<Self, A::Error> {
        if !UNIQUE {
            while values.next_entry::<Self, Self>()?.is_some() {}
            return Ok(self);
        }
        let mut names = HashSet::new();
        while let Some(Name(name)) = values.next_key()? {
            if names.contains(&name) {
                return Err(de::Error::custom(format_args!("duplicate field `{name}`")));
            }
            names.insert(name);
            values.next_value::<Self>()?;
        }
        Ok(self)
    }
}

/// The name of a member of an object, copied only if it is written with escapes.
#[derive(serde::Deserialize)]
#[serde(transparent)]
pub(crate) struct Name<'a>(#[serde(borrow)] pub(crate) Cow<'a, str>);

/// JSON without the white space between its parts.
pub fn compact(json: &str) -> Vec<u8> {
    let mut compact = json.as_bytes().to_vec();
    // Looked for at once, not byte by byte: mostly there is none.
    if !compact
        .iter()
        .fold(false, |any, byte| any | (*byte <= b' '))
    {
        return compact;
    }
    let (mut in_text, mut escaped) = (false, false);
    compact.retain(|byte| {
        let stays = in_text || !byte.is_ascii_whitespace();
        in_text = in_text != (*byte == b'"' && !escaped);
        escaped = *byte == b'\\' && !escaped;
        stays
    });
    compact
}

fn malformed(error: &serde_json::Error) -> ApiError {
    ApiError::new(
        ErrorCode::JsonMalformed,
        format!(
            "The body is not JSON, at line {} column {}.",
            error.line(),
            error.column()
        ),
    )
}

/// Turns what serde says about data of a wrong form into a code, the field and a sentence.
pub fn data_error(path: &str, text: &str) -> ApiError {
    // The place in the text helps nobody who has the field's name.
    let text = text.rfind(" at line ").map_or(text, |end| &text[..end]);
    let quoted = || text.split('`').nth(1).unwrap_or_default();
    if text.starts_with("unknown field `") {
        let param = sibling(path, quoted());
        let message = format!("There is no field `{param}` here.");
        return ApiError::new(ErrorCode::ParameterUnknown, message).param(param);
    }
    if text.starts_with("missing field `") {
        let param = child(path, quoted());
        let message = format!("{param} is missing.");
        return ApiError::new(ErrorCode::ParameterMissing, message).param(param);
    }
    if text.starts_with("duplicate field `") {
        let param = sibling(path, quoted());
        let message = format!("{param} is given twice.");
        return ApiError::invalid(&param, message);
    }
    let subject = if path.is_empty() { "The body" } else { path };
    let error = ApiError::new(ErrorCode::ParameterInvalid, format!("{subject}: {text}."));
    if path.is_empty() {
        error
    } else {
        error.param(path)
    }
}

/// The path of `field` in the object at `path`.
fn child(path: &str, field: &str) -> String {
    match path {
        "" => field.to_owned(),
        path => format!("{path}.{field}"),
    }
}

/// The path of `field`, where `path` may already end with it.
fn sibling(path: &str, field: &str) -> String {
    if path == field || path.ends_with(&format!(".{field}")) {
        return path.to_owned();
    }
    child(path, field)
}

/// Returns the path as errors name it, such as `splits[0].account`.
pub(super) fn path_text(path: &serde_path_to_error::Path) -> String {
    let mut text = String::new();
    for segment in path.iter() {
        match segment {
            Segment::Seq { index } => text.push_str(&format!("[{index}]")),
            Segment::Map { key } => {
                if !text.is_empty() {
                    text.push('.');
                }
                text.push_str(key);
            }
            Segment::Enum { .. } | Segment::Unknown => {}
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_goes_only_between_parts() {
        for (json, expected) in [
            (" { \"a b\" :\t[ 1 ,\n2 ] } ", r#"{"a b":[1,2]}"#),
            (r#"  "a \" b \\"  "#, r#""a \" b \\""#),
            (r#"["\\" , " \\\" "]"#, r#"["\\"," \\\" "]"#),
            ("12345678901234567890.0", "12345678901234567890.0"),
        ] {
            let compact = compact(json);
            assert_eq!(String::from_utf8(compact).expect("UTF-8"), expected);
            assert!(is_readable(expected));
        }
    }

    #[test]
    fn json_that_others_choke_on_is_not_readable() {
        let deep = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
        assert!(is_readable(&deep(127)));
        for json in [
            r#"{"a":[null,true,-1,18446744073709551616,2.5e3,"\n\u00e9"],"":{}}"#,
            r#"[{"a":1},{"a":{"b":[]}}]"#,
        ] {
            assert!(is_readable(json), "{json}");
        }
        for json in [
            &deep(128),
            "1e999",
            r#"{"a":[1e999]}"#,
            r#""\ud800""#,
            r#"{"\ud800":1}"#,
            r#"{"a":"\ud800"}"#,
            "{1:2}",
            "[1,]",
            "1 2",
            "{",
            "",
        ] {
            assert!(!is_readable(json), "{json}");
        }
    }
}
