//! Bodies of requests and messages, in whichever of the forms they come: JSON or XML.

use serde::de::DeserializeOwned;

use crate::error::ApiError;
use crate::form::{json, xml};

/// Form of a body. Both mean the same: [`xml`] says how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BodyFormat {
    /// JSON, in UTF-8.
    #[default]
    Json,
    /// XML, in UTF-8.
    Xml,
}

impl BodyFormat {
    /// Returns the format that a `Content-Type` names: `application/json`, `application/xml` or `text/xml`. None if it is another, or
    /// XML in another encoding than UTF-8.
    pub fn from_content_type(content_type: &str) -> Option<BodyFormat> {
        let mut parts = content_type.split(';').map(str::trim);
        let media = parts.next().unwrap_or_default();
        if media.eq_ignore_ascii_case("application/json") {
            return Some(BodyFormat::Json);
        }
        let is_xml = ["application/xml", "text/xml"]
            .iter()
            .any(|xml| media.eq_ignore_ascii_case(xml));
        let is_utf8 = parts.all(|parameter| {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            !name.trim().eq_ignore_ascii_case("charset")
                || value.trim().trim_matches('"').eq_ignore_ascii_case("utf-8")
        });
        (is_xml && is_utf8).then_some(BodyFormat::Xml)
    }

    /// Reads `bytes`, which must be an object, in the form of `T`.
    ///
    /// # Errors
    /// If the bytes are not of this format, or not of the form of `T`; the error names the field.
    pub fn parse_object<T: DeserializeOwned>(self, bytes: &[u8]) -> Result<T, ApiError> {
        match self {
            BodyFormat::Json => json::parse_object(bytes),
            BodyFormat::Xml => xml::parse(bytes),
        }
    }

    /// Reads `bytes` in the form of `T`: an object or an array.
    ///
    /// # Errors
    /// As [`BodyFormat::parse_object`].
    pub fn parse<T: DeserializeOwned>(self, bytes: &[u8]) -> Result<T, ApiError> {
        match self {
            BodyFormat::Json => json::parse(bytes),
            BodyFormat::Xml => xml::parse(bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_type_names_a_format() {
        use BodyFormat::{Json, Xml};
        for (content_type, format) in [
            ("application/json", Some(Json)),
            ("Application/JSON; charset=utf-8", Some(Json)),
            ("application/xml", Some(Xml)),
            ("text/xml", Some(Xml)),
            ("text/xml;charset=UTF-8", Some(Xml)),
            ("application/xml; x=1; Charset=\"utf-8\"", Some(Xml)),
            ("text/xml; charset=iso-8859-1", None),
            ("application/xml; charset", None),
            ("application/xml; charset=utf-16", None),
            ("application/soap+xml", None),
            ("text/plain", None),
            ("", None),
        ] {
            let found = BodyFormat::from_content_type(content_type);
            assert_eq!(found, format, "{content_type}");
        }
    }
}
