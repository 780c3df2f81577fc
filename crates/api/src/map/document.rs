//! Messages as documents: JSON or XML, and the paths of fields in them.
//!
//! An XML document is read as the JSON that it stands for (`crate::form::xml`), whose values are all texts. So a path means the same
//! in both, but for one thing: an element by itself may be an array with one item, so its first item is the element itself.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::code::ErrorCode;
use crate::error::ApiError;
use crate::form::body::BodyFormat;
use crate::form::{json, xml};
use crate::map::fault::{Fault, FaultCode};
use crate::map::fields::{FieldIndex, Fields, Schema};

/// Maximum size of a message, in bytes.
pub const DOCUMENT_BYTES_MAX: usize = 1 << 20;
/// Longest text of a field that a map names, in bytes of UTF-8.
pub const FIELD_BYTES_MAX: usize = 16 << 10;
/// Longest path, in bytes of UTF-8.
pub const PATH_BYTES_MAX: usize = 512;
/// Maximum number of names in a path.
pub const PATH_NAMES_MAX: usize = 32;
/// Maximum number of paths in a map.
pub const PATHS_MAX: usize = 256;
/// Longest identity of a message, in bytes of UTF-8.
pub const IDENTITY_BYTES_MAX: usize = 255;

/// A message that was read: an object, in which no name is given twice.
#[derive(Debug)]
pub struct Document<'a> {
    json: Cow<'a, str>,
    format: BodyFormat,
}

impl<'a> Document<'a> {
    /// Reads a message. Its media type is that of JSON or XML, or ends with `+json` or `+xml`.
    ///
    /// # Errors
    /// `document_malformed` if it is neither JSON nor XML, is no object, is too large or too deep, or gives a name twice in one
    /// object.
    pub fn read(bytes: &'a [u8], content_type: &str) -> Result<Document<'a>, Fault> {
        let Some(format) = format_of(content_type) else {
            let shown: String = content_type.chars().take(100).collect();
            let why = format!("the content type `{shown}` is neither JSON nor XML in UTF-8");
            return Err(malformed("", why));
        };
        if bytes.len() > DOCUMENT_BYTES_MAX {
            let why = format!("the message is larger than {DOCUMENT_BYTES_MAX} bytes");
            return Err(malformed("", why));
        }
        let json: Cow<'a, str> = match format {
            BodyFormat::Json => {
                let text = std::str::from_utf8(bytes);
                text.map_err(|_| malformed("", "the message is not UTF-8"))?
                    .into()
            }
            BodyFormat::Xml => {
                let json: Box<RawValue> = xml::parse(bytes).map_err(not_read)?;
                String::from(Box::<str>::from(json)).into()
            }
        };
        json::parse::<json::Readable<true>>(json.as_bytes()).map_err(|error| {
            // JSON that was made of XML has no other fault of its form.
            let is_deep =
                format == BodyFormat::Xml && error.code() == ErrorCode::JsonMalformed.as_str();
            match is_deep {
                true => malformed("", "the message is more than 127 levels deep"),
                false => not_read(error),
            }
        })?;
        if !json.trim_ascii_start().starts_with('{') {
            return Err(malformed("", "the message is no object"));
        }
        Ok(Document { json, format })
    }

    /// Returns the fields at `paths`.
    ///
    /// # Errors
    /// None that a document that was read can have.
    pub(super) fn fields<'p>(&self, paths: &'p Paths) -> Result<DocumentFields<'p>, Fault> {
        let mut values = vec![Value::Missing; paths.values];
        let is_xml = self.format == BodyFormat::Xml;
        collect(
            &paths.root,
            self.json.trim_ascii_start(),
            is_xml,
            &mut values,
        )
        .map_err(|error| malformed("", error.to_string()))?;
        Ok(DocumentFields { paths, values })
    }
}

fn malformed(field: &str, why: impl Into<String>) -> Fault {
    Fault::new(FaultCode::DocumentMalformed, field, why)
}

fn not_read(error: ApiError) -> Fault {
    malformed(error.parameter().unwrap_or_default(), error.message())
}

/// Returns the format that a media type names.
fn format_of(content_type: &str) -> Option<BodyFormat> {
    // As nearly every message has it.
    if content_type == "application/json" {
        return Some(BodyFormat::Json);
    }
    let (media, parameters) = content_type.split_once(';').unwrap_or((content_type, ""));
    let media = media.trim().to_ascii_lowercase();
    let (_, suffix) = media.rsplit_once('+').unwrap_or_default();
    let plain = match suffix {
        "json" | "xml" => format!("application/{suffix};{parameters}"),
        _ => format!("{media};{parameters}"),
    };
    BodyFormat::from_content_type(&plain)
}

/// Paths of fields, each with a number.
///
/// A path is the names that lead to the field, with points between them: `order.lines.0.amount`, where a number is the place in an
/// array. A path that begins with `/` is a JSON Pointer (RFC 6901), for names with points in them. A field whose path ends with `?`
/// may be missing.
#[derive(Debug, Default)]
pub(super) struct Paths {
    root: Node,
    /// Number of different places that the paths lead to.
    values: usize,
    paths: Vec<Path>,
}

/// A place in a document, and the places in it.
#[derive(Debug, Default)]
struct Node {
    /// Number of the value, if a path ends here.
    value: Option<usize>,
    children: BTreeMap<String, Node>,
}

#[derive(Debug)]
struct Path {
    text: String,
    value: usize,
}

impl Path {
    /// Returns the path without the mark of a field that may be missing, and whether it has one.
    fn split(text: &str) -> (&str, bool) {
        match text.strip_suffix('?') {
            Some(path) => (path, true),
            None => (text, false),
        }
    }
}

impl Schema for Paths {
    fn find(&mut self, text: &str) -> Result<FieldIndex, Fault> {
        if let Some(known) = self.paths.iter().position(|path| path.text == text) {
            return Ok(FieldIndex(known));
        }
        if self.paths.len() == PATHS_MAX {
            return Err(Fault::map(
                "",
                format!("there are more than {PATHS_MAX} paths"),
            ));
        }
        let mut node = &mut self.root;
        for name in parse_path(Path::split(text).0)? {
            node = node.children.entry(name).or_default();
        }
        let value = *node.value.get_or_insert(self.values);
        self.values = self.values.max(value + 1);
        self.paths.push(Path {
            text: text.to_owned(),
            value,
        });
        Ok(FieldIndex(self.paths.len() - 1))
    }

    fn plain_name<'a>(&self, name: &'a str) -> &'a str {
        Path::split(name).0
    }
}

/// Returns the names in a path.
fn parse_path(path: &str) -> Result<Vec<String>, Fault> {
    let refuse = |why: &str| {
        let shown: String = path.chars().take(100).collect();
        let rule = "it is names with points between them, such as `order.lines.0.amount`";
        Err(Fault::map(
            "",
            format!("`{shown}` is no path: {why}; {rule}"),
        ))
    };
    if path.len() > PATH_BYTES_MAX {
        return refuse(&format!("it is longer than {PATH_BYTES_MAX} bytes"));
    }
    let names: Vec<String> = match path.strip_prefix('/') {
        Some(pointer) => {
            let is_escape = |rest: &str| rest.starts_with(['0', '1']);
            if !pointer.split('~').skip(1).all(is_escape) {
                return refuse("in a JSON Pointer, ~ is written as ~0");
            }
            let names = pointer.split('/');
            names
                .map(|name| name.replace("~1", "/").replace("~0", "~"))
                .collect()
        }
        None if path.split('.').any(str::is_empty) => return refuse("a name is empty"),
        None => path.split('.').map(str::to_owned).collect(),
    };
    if names.len() > PATH_NAMES_MAX {
        return refuse(&format!("it has more than {PATH_NAMES_MAX} names"));
    }
    Ok(names)
}

/// What a document has at a path.
#[derive(Clone, Debug)]
enum Value {
    /// Nothing, or `null`.
    Missing,
    /// A text.
    Text(String),
    /// A number, `true` or `false`, as it is written.
    Literal(String),
    /// An object or an array.
    Composite,
}

impl Value {
    fn read(json: &str) -> serde_json::Result<Value> {
        Ok(match json.as_bytes().first() {
            Some(b'"') => Value::Text(serde_json::from_str(json)?),
            Some(b'n') => Value::Missing,
            Some(b'{' | b'[') => Value::Composite,
            _ => Value::Literal(json.to_owned()),
        })
    }
}

/// Reads the values of a node and of those in it. Only the objects and arrays that paths lead through are looked into.
fn collect(node: &Node, json: &str, is_xml: bool, values: &mut [Value]) -> serde_json::Result<()> {
    if let Some(value) = node.value {
        values[value] = Value::read(json)?;
    }
    if node.children.is_empty() {
        return Ok(());
    }
    let (mut members, mut items) = (Vec::new(), Vec::new());
    let is_array = json.starts_with('[');
    match json.as_bytes().first() {
        Some(b'{') => {
            let mut object = serde_json::Deserializer::from_str(json);
            members = Wanted(&node.children).deserialize(&mut object)?;
        }
        Some(b'[') => items = serde_json::from_str(json)?,
        _ => {}
    }
    for (name, child) in &node.children {
        let item = place_in_array(name).and_then(|place| items.get(place).copied());
        let member = || {
            let found = members.iter().find(|(member, _)| *member == name);
            found.map(|(_, value)| *value)
        };
        let found = item.or_else(member).map(RawValue::get);
        // An element by itself is its own first item.
        let found = found.or_else(|| (is_xml && !is_array && name == "0").then_some(json));
        if let Some(json) = found {
            collect(child, json, is_xml, values)?;
        }
    }
    Ok(())
}

/// Reads the members of an object that have a place in a node.
struct Wanted<'n>(&'n BTreeMap<String, Node>);

impl<'n, 'de> DeserializeSeed<'de> for Wanted<'n> {
    type Value = Vec<(&'n str, &'de RawValue)>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'n, 'de> Visitor<'de> for Wanted<'n> {
    type Value = Vec<(&'n str, &'de RawValue)>;

    fn expecting(&self, into: &mut fmt::Formatter<'_>) -> fmt::Result {
        into.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut found = Vec::with_capacity(self.0.len());
        while let Some(json::Name(name)) = members.next_key()? {
            match self.0.get_key_value(&*name) {
                Some((name, _)) => found.push((name.as_str(), members.next_value()?)),
                None => drop(members.next_value::<IgnoredAny>()?),
            }
        }
        Ok(found)
    }
}

fn place_in_array(name: &str) -> Option<usize> {
    let is_plain = name == "0" || !name.starts_with(['0', '+']);
    name.parse().ok().filter(|_| is_plain)
}

/// The fields of one document at the paths of a map.
pub(super) struct DocumentFields<'p> {
    paths: &'p Paths,
    values: Vec<Value>,
}

impl DocumentFields<'_> {
    /// Returns the path of a field, without the mark of one that may be missing, and the text there; none if it is missing.
    fn find(&self, field: FieldIndex) -> Result<(&str, Option<&str>), Fault> {
        let path = &self.paths.paths[field.0];
        let (name, is_optional) = Path::split(&path.text);
        let text = match &self.values[path.value] {
            Value::Missing if is_optional => Some(""),
            Value::Missing => None,
            Value::Text(text) | Value::Literal(text) => Some(text.trim()),
            Value::Composite => {
                let why = format!("`{name}` is an object or an array: name a field in it");
                return Err(Fault::invalid(name, why));
            }
        };
        if text.is_some_and(|text| text.len() > FIELD_BYTES_MAX) {
            let why = format!("`{name}` is longer than {FIELD_BYTES_MAX} bytes");
            return Err(Fault::invalid(name, why));
        }
        Ok((name, text))
    }
}

impl Fields for DocumentFields<'_> {
    fn text(&self, field: FieldIndex) -> Result<&str, Fault> {
        let (name, text) = self.find(field)?;
        text.ok_or_else(|| missing(name))
    }

    fn text_or_empty(&self, field: FieldIndex) -> Result<&str, Fault> {
        let (_, text) = self.find(field)?;
        Ok(text.unwrap_or_default())
    }
}

fn missing(path: &str) -> Fault {
    let why = format!("the message has no field `{path}`");
    Fault::new(FaultCode::FieldMissing, path, why)
}

/// The path of the field that tells messages apart.
#[derive(Debug)]
pub struct IdentityPath(Paths);

impl IdentityPath {
    /// Reads a path.
    ///
    /// # Errors
    /// If it is no path, or one of a field that may be missing.
    pub fn parse(path: &str) -> Result<IdentityPath, Fault> {
        if path.ends_with('?') {
            let why = "the field that tells messages apart cannot be one that may be missing";
            return Err(Fault::map("", why));
        }
        let mut paths = Paths::default();
        paths.find(path)?;
        Ok(IdentityPath(paths))
    }
}

/// Returns the identity of a message: the text at `path`, which is a text or a whole number, without white space at its ends.
///
/// # Errors
/// If it is missing, empty, longer than [`IDENTITY_BYTES_MAX`], or anything else.
pub fn identity(document: &Document<'_>, path: &IdentityPath) -> Result<String, Fault> {
    let fields = document.fields(&path.0)?;
    let (name, text) = fields.find(FieldIndex(0))?;
    let text = text.ok_or_else(|| missing(name))?;
    let is_whole = |text: &str| {
        let digits = text.strip_prefix('-').unwrap_or(text);
        digits.bytes().all(|byte| byte.is_ascii_digit())
    };
    if matches!(&fields.values[0], Value::Literal(text) if !is_whole(text)) {
        let why = format!("`{name}` must be a text or a whole number");
        return Err(Fault::invalid(name, why));
    }
    if !(1..=IDENTITY_BYTES_MAX).contains(&text.len()) {
        let why = format!("`{name}` must be 1 to {IDENTITY_BYTES_MAX} bytes of text");
        return Err(Fault::invalid(name, why));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const JSON: &str = "application/json";
    const XML: &str = "application/xml";

    /// Returns the text at a path, or the code and the text of the fault.
    fn text_at(message: &str, content_type: &str, path: &str) -> Result<String, String> {
        let shown = |fault: Fault| format!("{}: {}", fault.code.as_str(), fault.why);
        let document = Document::read(message.as_bytes(), content_type).map_err(shown)?;
        let mut paths = Paths::default();
        let field = paths.find(path).map_err(shown)?;
        let fields = document.fields(&paths).map_err(shown)?;
        fields.text(field).map(str::to_owned).map_err(shown)
    }

    fn check(message: &str, content_type: &str, path: &str, expected: Result<&str, &str>) {
        let found = text_at(message, content_type, path);
        match (&found, expected) {
            (Ok(text), Ok(expected)) => assert_eq!(text, expected, "{message} {path}"),
            (Err(why), Err(part)) => assert!(why.contains(part), "{message} {path}: {why}"),
            _ => panic!("{message} {path}: {found:?}"),
        }
    }

    #[test]
    fn a_path_leads_to_the_text_as_it_is_written() {
        let order = r#" {"id": 7, "order": {"id": " A1 ", "paid": true, "note": null, "lines": [{"amount": 12.50}, {"amount": "3"}]},
            "large": 123456789012345678901234567890, "small": 1.10, "e": 1e3, "a.b": {"c/d~": "x"}, "": "y", "0": "zero"} "#;
        for (path, expected) in [
            ("id", Ok("7")),
            ("order.id", Ok("A1")),
            ("order.paid", Ok("true")),
            ("order.lines.0.amount", Ok("12.50")),
            ("order.lines.1.amount", Ok("3")),
            ("/order/lines/1/amount", Ok("3")),
            ("large", Ok("123456789012345678901234567890")),
            ("small", Ok("1.10")),
            ("e", Ok("1e3")),
            ("/a.b/c~1d~0", Ok("x")),
            ("/", Ok("y")),
            ("0", Ok("zero")),
            (
                "note",
                Err("field_missing: the message has no field `note`"),
            ),
            (
                "order.note",
                Err("field_missing: the message has no field `order.note`"),
            ),
            ("order.note?", Ok("")),
            ("order.nothing.at.all?", Ok("")),
            (
                "order.lines.2.amount",
                Err("no field `order.lines.2.amount`"),
            ),
            ("order.lines.01.amount", Err("no field")),
            ("order.lines.+1.amount", Err("no field")),
            ("order.id.0", Err("no field")),
            (
                "order",
                Err("field_invalid: `order` is an object or an array"),
            ),
            (
                "order.lines?",
                Err("field_invalid: `order.lines` is an object"),
            ),
            ("", Err("map_invalid: `` is no path: a name is empty")),
            ("a..b", Err("a name is empty")),
            (".a", Err("a name is empty")),
            ("/a~2", Err("~ is written as ~0")),
            ("/a~", Err("~ is written as ~0")),
        ] {
            check(order, JSON, path, expected);
        }
        check(
            order,
            JSON,
            &"a".repeat(PATH_BYTES_MAX + 1),
            Err("longer than 512 bytes"),
        );
        check(
            order,
            JSON,
            &["a"; PATH_NAMES_MAX + 1].join("."),
            Err("more than 32 names"),
        );
    }

    #[test]
    fn an_element_by_itself_is_its_own_first_item() {
        let order = "<order><id> 007 </id><line><amount>12.50</amount></line><tag>a</tag><tag>b</tag><note/>\
                     <gone xmlns:x=\"http://www.w3.org/2001/XMLSchema-instance\" x:nil=\"true\"/><_x0030_>zero</_x0030_></order>";
        for (path, expected) in [
            ("id", Ok("007")),
            ("id.0", Ok("007")),
            ("line.amount", Ok("12.50")),
            ("line.0.amount", Ok("12.50")),
            ("line.0.amount.0", Ok("12.50")),
            ("line.1.amount", Err("field_missing")),
            ("tag.1", Ok("b")),
            ("tag", Err("field_invalid")),
            ("note", Ok("")),
            ("gone", Err("field_missing")),
            ("0", Ok("zero")),
        ] {
            check(order, XML, path, expected);
        }
    }

    #[test]
    fn a_message_that_two_programs_could_read_differently_is_refused() {
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(128), "]".repeat(128));
        let large = format!("{{\"a\":\"{}\"}}", "x".repeat(DOCUMENT_BYTES_MAX));
        for (message, part) in [
            (r#"{"a": 1, "a": 1}"#, "a is given twice"),
            (r#"{"a": 1, "\u0061": 2}"#, "a is given twice"),
            (
                r#"{"o": {"x": [{"b": 1, "c": 2, "b": 3}]}}"#,
                "o.x[0].b is given twice",
            ),
            (r#"{"a": "\ud800"}"#, "not JSON"),
            (r#"{"a": 1e999}"#, "not JSON"),
            (r#"{"a": 1} {}"#, "not JSON"),
            (r#"{"a": 01}"#, "not JSON"),
            (&deep, "not JSON"),
            (&large, "larger than 1048576 bytes"),
            ("[1]", "no object"),
            ("5", "no object"),
            ("", "not JSON"),
        ] {
            check(message, JSON, "a", Err("document_malformed"));
            check(message, JSON, "a", Err(part));
        }
        check("{\"a\":\"\u{fc}\"}", JSON, "a", Ok("\u{fc}"));
        let latin = Document::read(b"{\"a\":\"\xFC\"}", JSON).expect_err("Latin 1");
        assert!(latin.why.contains("not UTF-8"), "{latin:?}");
        let nested = format!("<r>{}{}</r>", "<a>".repeat(130), "</a>".repeat(130));
        let arrays = format!(
            "<r>{}{}</r>",
            "<a><b/><b>".repeat(60),
            "</b></a>".repeat(60)
        );
        for (message, part) in [
            ("<r><a>1</a><b/><a>2</a></r>", "a is given twice"),
            ("<r><a x=\"1\"/></r>", "attributes are not taken"),
            (
                "<!DOCTYPE r [<!ENTITY e \"x\">]><r><a>&e;</a></r>",
                "document type",
            ),
            ("<r>text</r>", "no object"),
            (&nested, "more than 128 elements"),
            (&arrays, "127 levels deep"),
            ("<r>", "not XML"),
        ] {
            check(message, XML, "a", Err("document_malformed"));
            check(message, XML, "a", Err(part));
        }
    }

    #[test]
    fn the_media_type_says_which_of_the_two_a_message_is() {
        let (json, xml) = (r#"{"a": 1}"#, "<r><a>1</a></r>");
        for (content_type, message) in [
            ("application/json", json),
            ("application/json; charset=utf-8", json),
            ("application/vnd.shop.order+JSON", json),
            ("text/xml", xml),
            ("application/vnd.shop.order+xml; charset=\"UTF-8\"", xml),
        ] {
            check(message, content_type, "a", Ok("1"));
        }
        for content_type in ["", "text/plain", "text/xml; charset=latin1", "a/b+yaml"] {
            check(json, content_type, "a", Err("neither JSON nor XML"));
        }
    }

    #[test]
    fn an_identity_is_a_text_or_a_whole_number() {
        let identity = |message: &str, path: &str| {
            let path = IdentityPath::parse(path)?;
            identity(&Document::read(message.as_bytes(), JSON)?, &path)
        };
        let long = format!(r#"{{"a": "{}"}}"#, "x".repeat(IDENTITY_BYTES_MAX + 1));
        let fits = format!(r#"{{"a": "{}"}}"#, "x".repeat(IDENTITY_BYTES_MAX));
        for (message, expected) in [
            (r#"{"a": "order 7"}"#, Some("order 7")),
            (r#"{"a": " 7\n"}"#, Some("7")),
            (r#"{"a": 7}"#, Some("7")),
            (r#"{"a": -7}"#, Some("-7")),
            (
                r#"{"a": 36893488147419103232}"#,
                Some("36893488147419103232"),
            ),
            (&fits, Some(&fits[7..7 + IDENTITY_BYTES_MAX])),
            (&long, None),
            (r#"{"a": ""}"#, None),
            (r#"{"a": " "}"#, None),
            (r#"{"a": 7.0}"#, None),
            (r#"{"a": 7e0}"#, None),
            (r#"{"a": true}"#, None),
            (r#"{"a": null}"#, None),
            (r#"{"a": {"b": 7}}"#, None),
            (r#"{"b": 7}"#, None),
        ] {
            let found = identity(message, "a");
            assert_eq!(found.ok().as_deref(), expected, "{message}");
        }
        assert_eq!(
            identity(r#"{"o": [{"id": 5}]}"#, "o.0.id").as_deref(),
            Ok("5")
        );
        assert!(
            identity(r#"{"a": 7}"#, "a?").is_err(),
            "it cannot be missing"
        );
        assert!(identity(r#"{"a": 7}"#, "a.").is_err(), "it is no path");
    }
}
