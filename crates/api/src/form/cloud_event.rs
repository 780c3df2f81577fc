//! Messages of CloudEvents 1.0: their identity, and the data in them.
//!
//! In *structured* mode a JSON object holds the attributes and the data; in *binary* mode the attributes are headers of the message,
//! whose names the caller maps (`ce_id` of Kafka, `cloudEvents:id` of AMQP, `ce-id` of HTTP), and the body is the data. Source and id
//! together are the identity: a sender that repeats an event repeats both.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::{self, Deserialize, DeserializeOwned, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::code::ErrorCode;
use crate::error::ApiError;
use crate::form::json;

/// Version of the specification that is read and written.
pub const SPEC_VERSION: &str = "1.0";
/// Longest `id`, in bytes.
pub const ID_BYTES_MAX: usize = 255;
/// Longest `source`, in bytes.
pub const SOURCE_BYTES_MAX: usize = 1_024;
/// Longest other attribute, in bytes.
pub const ATTRIBUTE_BYTES_MAX: usize = 1_024;
/// Maximum number of attributes, extensions and data included.
pub const ATTRIBUTES_MAX: usize = 64;
/// Media type of data that does not name its own.
const DEFAULT_CONTENT_TYPE: &str = "application/json";

/// A message of CloudEvents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloudEvent {
    /// What the event comes from. With [`CloudEvent::id`] the identity of the message.
    pub source: String,
    /// Id of the event, unique for its source.
    pub id: String,
    /// Type of the event.
    pub kind: String,
    /// Media type of the data.
    pub content_type: String,
    /// The data.
    pub data: Vec<u8>,
    /// The trace that the event belongs to, if it names one as W3C Trace Context has it.
    pub traceparent: Option<String>,
}

/// Returns whether the media type says that the body is a CloudEvent in structured mode, as JSON.
pub fn is_structured(content_type: &str) -> bool {
    let media = content_type.split(';').next().unwrap_or_default();
    media
        .trim()
        .eq_ignore_ascii_case("application/cloudevents+json")
}

impl CloudEvent {
    /// Reads a message in structured mode.
    ///
    /// # Errors
    /// `json_malformed`, or an error that names the attribute at fault.
    pub fn from_json(bytes: &[u8]) -> Result<CloudEvent, ApiError> {
        let Members(mut members) = json::parse_object(bytes)?;
        let (data, base64) = (members.remove("data"), members.remove("data_base64"));
        let data = data.filter(|data| data.get() != "null");
        let base64: Option<String> = base64.map_or(Ok(None), |text| value(&text, "data_base64"))?;
        let mut attributes = Attributes::default();
        for (name, text) in &members {
            attributes.insert(name, || value(text, name))?;
        }
        let content_type = attributes.content_type.take();
        let content_type = content_type.unwrap_or_else(|| DEFAULT_CONTENT_TYPE.to_owned());
        let data = match (data, base64) {
            (Some(_), Some(_)) => {
                let message = "Give either data or data_base64, not both.";
                return Err(ApiError::invalid("data_base64", message));
            }
            (None, Some(text)) => STANDARD.decode(text).map_err(|_| {
                ApiError::invalid("data_base64", "data_base64 must be text in base 64.")
            })?,
            (Some(data), None) if is_json(&content_type) => data.get().as_bytes().to_vec(),
            // Of any other media type the data is text, which stands in the object as a JSON text.
            (Some(data), None) => value::<String>(&data, "data")?.into_bytes(),
            (None, None) => return Err(missing("data")),
        };
        attributes.into_event(content_type, data)
    }

    /// Reads a message in binary mode: its attributes, whose names are as in the specification, the media type of its body if it has
    /// one, and its body.
    ///
    /// # Errors
    /// An error that names the attribute at fault.
    pub fn from_attributes<'a>(
        attributes: impl IntoIterator<Item = (&'a str, &'a str)>,
        content_type: Option<&str>,
        data: Vec<u8>,
    ) -> Result<CloudEvent, ApiError> {
        let mut read = Attributes::default();
        for (name, value) in attributes {
            read.insert(name, || Ok(Some(value.to_owned())))?;
        }
        let named = read.content_type.take();
        let content_type = content_type.map(str::to_owned).or(named);
        let content_type = content_type.unwrap_or_else(|| DEFAULT_CONTENT_TYPE.to_owned());
        if data.is_empty() {
            return Err(missing("data"));
        }
        read.into_event(content_type, data)
    }
}

/// Attributes that are read. Those that are not used here are checked and passed over.
#[derive(Default)]
struct Attributes {
    count: usize,
    spec_version: Option<String>,
    id: Option<String>,
    source: Option<String>,
    kind: Option<String>,
    content_type: Option<String>,
    traceparent: Option<String>,
}

impl Attributes {
    fn insert(
        &mut self,
        name: &str,
        text: impl FnOnce() -> Result<Option<String>, ApiError>,
    ) -> Result<(), ApiError> {
        self.count += 1;
        if self.count > ATTRIBUTES_MAX {
            let message = format!("An event has at most {ATTRIBUTES_MAX} attributes.");
            return Err(ApiError::new(ErrorCode::ParameterInvalid, message));
        }
        let is_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        if name.is_empty() || !name.bytes().all(is_name) {
            let name: String = name.chars().take(ATTRIBUTE_BYTES_MAX).collect();
            let message = "Names of attributes are of a-z and 0-9.";
            return Err(ApiError::new(ErrorCode::ParameterUnknown, message).param(name));
        }
        let (slot, bytes_max) = match name {
            "specversion" => (&mut self.spec_version, ATTRIBUTE_BYTES_MAX),
            "id" => (&mut self.id, ID_BYTES_MAX),
            "source" => (&mut self.source, SOURCE_BYTES_MAX),
            "type" => (&mut self.kind, ATTRIBUTE_BYTES_MAX),
            "datacontenttype" => (&mut self.content_type, ATTRIBUTE_BYTES_MAX),
            "traceparent" => (&mut self.traceparent, ATTRIBUTE_BYTES_MAX),
            _ => return Ok(()),
        };
        let Some(text) = text()? else {
            return Ok(());
        };
        if slot.is_some() {
            return Err(ApiError::invalid(name, format!("{name} is given twice.")));
        }
        if text.is_empty() || text.len() > bytes_max || text.chars().any(char::is_control) {
            let message = format!(
                "{name} must be 1 to {bytes_max} bytes of text without control characters."
            );
            return Err(ApiError::invalid(name, message));
        }
        *slot = Some(text);
        Ok(())
    }

    fn into_event(self, content_type: String, data: Vec<u8>) -> Result<CloudEvent, ApiError> {
        let given = |text: Option<String>, name| text.ok_or_else(|| missing(name));
        if given(self.spec_version, "specversion")? != SPEC_VERSION {
            let message = "Only version 1.0 of CloudEvents is taken.";
            return Err(ApiError::invalid("specversion", message));
        }
        Ok(CloudEvent {
            id: given(self.id, "id")?,
            source: given(self.source, "source")?,
            kind: given(self.kind, "type")?,
            content_type,
            data,
            // A trace context that cannot be read is passed over, as its specification wants.
            traceparent: self.traceparent.filter(|text| is_traceparent(text)),
        })
    }
}

fn missing(name: &'static str) -> ApiError {
    let message = format!("{name} is missing.");
    ApiError::new(ErrorCode::ParameterMissing, message).param(name)
}

/// Returns whether data of this media type stands in the object as JSON.
fn is_json(content_type: &str) -> bool {
    let media = content_type.split(';').next().unwrap_or_default();
    let media = media.trim().to_ascii_lowercase();
    media.ends_with("/json") || media.ends_with("+json")
}

/// Returns whether the text is a `traceparent` of W3C Trace Context, version 00.
fn is_traceparent(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let is_hex = |part: &str, length: usize| {
        let is_digit = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'a'..=b'f');
        part.len() == length && part.bytes().all(is_digit)
    };
    let is_zero = |part: &str| part.bytes().all(|byte| byte == b'0');
    match parts[..] {
        ["00", trace, parent, flags] => {
            is_hex(trace, 32)
                && is_hex(parent, 16)
                && is_hex(flags, 2)
                && !is_zero(trace)
                && !is_zero(parent)
        }
        _ => false,
    }
}

/// Members of a JSON object, each as it stands.
struct Members(BTreeMap<String, Box<RawValue>>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Members, D::Error> {
        struct Form;
        impl<'de> Visitor<'de> for Form {
            type Value = Members;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an event")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = BTreeMap::new();
                while let Some(name) = map.next_key::<String>()? {
                    // Of two ids a receiver before this one may have read the other.
                    if members.contains_key(&name) {
                        return Err(de::Error::custom(format_args!("duplicate field `{name}`")));
                    }
                    if members.len() == ATTRIBUTES_MAX {
                        return Err(de::Error::custom(format_args!(
                            "must have at most {ATTRIBUTES_MAX} attributes"
                        )));
                    }
                    members.insert(name, map.next_value()?);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Form)
    }
}

/// Reads the value of an attribute.
fn value<T: DeserializeOwned>(json: &RawValue, name: &str) -> Result<T, ApiError> {
    serde_json::from_str(json.get())
        .map_err(|_| ApiError::invalid(name, format!("{name} must be text.")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn event(content_type: &str, data: &str) -> CloudEvent {
        CloudEvent {
            source: "/shop".to_owned(),
            id: "o-1".to_owned(),
            kind: "order.placed".to_owned(),
            content_type: content_type.to_owned(),
            data: data.as_bytes().to_vec(),
            traceparent: None,
        }
    }

    /// An event with these members more, or in place of its own; without those that are `"-"`.
    fn message(members: Value) -> Vec<u8> {
        let mut message = json!({"specversion": "1.0", "source": "/shop", "id": "o-1", "type": "order.placed", "data": {"a": 1}});
        for (name, value) in members.as_object().expect("an object") {
            message[name] = value.clone();
        }
        let fields = message.as_object_mut().expect("an object");
        fields.retain(|_, value| value != "-");
        message.to_string().into_bytes()
    }

    #[test]
    fn a_message_in_structured_mode_is_read() {
        for (members, expected) in [
            (json!({}), event("application/json", r#"{"a":1}"#)),
            (
                json!({"data": [1, "x"], "datacontenttype": "application/vnd.x+json"}),
                event("application/vnd.x+json", r#"[1,"x"]"#),
            ),
            (json!({"data": "x"}), event("application/json", "\"x\"")),
            (
                json!({"data": "<a>é</a>", "datacontenttype": "application/xml"}),
                event("application/xml", "<a>é</a>"),
            ),
            (
                json!({"data": "-", "data_base64": "eyJhIjoxfQ=="}),
                event("application/json", r#"{"a":1}"#),
            ),
            (
                json!({"data": null, "data_base64": "PGEvPg==", "datacontenttype": "text/xml"}),
                event("text/xml", "<a/>"),
            ),
            (
                json!({"time": "2026-01-01T00:00:00Z", "subject": null, "count": 3, "flag": true, "traceparent": TRACE}),
                CloudEvent {
                    traceparent: Some(TRACE.to_owned()),
                    ..event("application/json", r#"{"a":1}"#)
                },
            ),
            (
                json!({"traceparent": "00-00000000000000000000000000000000-00f067aa0ba902b7-01"}),
                event("application/json", r#"{"a":1}"#),
            ),
        ] {
            let found = CloudEvent::from_json(&message(members.clone()));
            assert_eq!(found.expect("an event"), expected, "{members}");
        }
    }

    #[test]
    fn a_message_in_structured_mode_that_is_wrong_is_refused() {
        let long = "x".repeat(ID_BYTES_MAX + 1);
        for (members, code, param) in [
            (json!({"id": "-"}), "parameter_missing", "id"),
            (json!({"id": null}), "parameter_missing", "id"),
            (json!({"id": ""}), "parameter_invalid", "id"),
            (json!({"id": 5}), "parameter_invalid", "id"),
            (json!({"id": "a\n"}), "parameter_invalid", "id"),
            (json!({"id": long}), "parameter_invalid", "id"),
            (json!({"source": "-"}), "parameter_missing", "source"),
            (json!({"type": "-"}), "parameter_missing", "type"),
            (
                json!({"specversion": "-"}),
                "parameter_missing",
                "specversion",
            ),
            (
                json!({"specversion": "0.3"}),
                "parameter_invalid",
                "specversion",
            ),
            (json!({"data": "-"}), "parameter_missing", "data"),
            (json!({"data": null}), "parameter_missing", "data"),
            (
                json!({"data_base64": "eA=="}),
                "parameter_invalid",
                "data_base64",
            ),
            (
                json!({"data": "-", "data_base64": "?"}),
                "parameter_invalid",
                "data_base64",
            ),
            (
                json!({"data": "-", "data_base64": 1}),
                "parameter_invalid",
                "data_base64",
            ),
            (
                json!({"datacontenttype": "text/xml"}),
                "parameter_invalid",
                "data",
            ),
            (json!({"Id": "x"}), "parameter_unknown", "Id"),
            (json!({"my_ext": "x"}), "parameter_unknown", "my_ext"),
        ] {
            let error = CloudEvent::from_json(&message(members.clone())).expect_err("refused");
            assert_eq!(
                (error.code(), error.parameter()),
                (code, Some(param)),
                "{members}"
            );
        }
        let twice = br#"{"specversion":"1.0","id":"a","source":"s","type":"t","data":1,"id":"b"}"#;
        let error = CloudEvent::from_json(twice).expect_err("refused");
        assert_eq!(
            (error.code(), error.message()),
            ("parameter_invalid", "id is given twice.")
        );
        let many: BTreeMap<String, u8> = (0..ATTRIBUTES_MAX)
            .map(|at| (format!("e{at}"), 1))
            .collect();
        for (bytes, code) in [
            (&b"["[..], "parameter_invalid"),
            (b"{", "json_malformed"),
            (b"5", "parameter_invalid"),
            (&message(json!(many)), "parameter_invalid"),
        ] {
            assert_eq!(
                CloudEvent::from_json(bytes).expect_err("refused").code(),
                code
            );
        }
    }

    #[test]
    fn a_message_in_binary_mode_is_read_from_its_attributes() {
        let base = [
            ("specversion", "1.0"),
            ("id", "o-1"),
            ("source", "/shop"),
            ("type", "order.placed"),
        ];
        let read = |more: &[(&'static str, &'static str)], content_type, data: &str| {
            let attributes = base
                .into_iter()
                .filter(|(name, _)| !more.contains(&(name, "-")));
            let more = more.iter().copied().filter(|(_, value)| *value != "-");
            CloudEvent::from_attributes(
                attributes.chain(more),
                content_type,
                data.as_bytes().to_vec(),
            )
        };
        let found = read(
            &[("subject", "x"), ("traceparent", "x")],
            Some("text/xml"),
            "<a/>",
        );
        assert_eq!(found.expect("an event"), event("text/xml", "<a/>"));
        let found = read(&[("datacontenttype", "text/xml")], None, "<a/>");
        assert_eq!(found.expect("an event"), event("text/xml", "<a/>"));
        let found = read(&[], None, "{}").expect("an event");
        assert_eq!(found, event("application/json", "{}"));
        for (more, data, code, param) in [
            (&[("id", "-")][..], "{}", "parameter_missing", "id"),
            (&[("id", "b")], "{}", "parameter_invalid", "id"),
            (&[("ID", "b")], "{}", "parameter_unknown", "ID"),
            (&[], "", "parameter_missing", "data"),
        ] {
            let error = read(more, None, data).expect_err("refused");
            assert_eq!(
                (error.code(), error.parameter()),
                (code, Some(param)),
                "{more:?}"
            );
        }
    }

    #[test]
    fn structured_mode_is_known_by_its_media_type() {
        for (content_type, structured) in [
            ("application/cloudevents+json", true),
            ("Application/CloudEvents+JSON; charset=utf-8", true),
            ("application/cloudevents-batch+json", false),
            ("application/json", false),
        ] {
            assert_eq!(is_structured(content_type), structured, "{content_type}");
        }
    }
}
