//! Schemas of the OpenAPI document as HTML.

use std::fmt::Write as _;

use serde_json::Value;

use super::escaping::{escape, text};
use super::markdown::render;

/// Keywords that list alternatives or parts of a schema.
const ALTERNATIVES: [&str; 3] = ["oneOf", "anyOf", "allOf"];

/// Writes what a schema says: its description, its alternatives and its fields, at every depth up to the next reference.
pub(super) fn details(out: &mut String, schema: &Value) {
    if let Some(description) = schema["description"].as_str() {
        out.push_str(&render(description));
    }
    let alternatives = ALTERNATIVES
        .iter()
        .filter_map(|many| schema[*many].as_array());
    for alternatives in alternatives {
        if alternatives.iter().any(has_details) {
            out.push_str("<ul>");
            for alternative in alternatives {
                out.push_str("<li>");
                out.push_str(&form(alternative));
                details(out, alternative);
                out.push_str("</li>");
            }
            out.push_str("</ul>");
        }
    }
    for inner in ["items", "additionalProperties", "propertyNames"] {
        if has_details(&schema[inner]) {
            details(out, &schema[inner]);
        }
    }
    fields(out, schema);
}

/// Whether a schema says more than its form does.
fn has_details(schema: &Value) -> bool {
    let within = |value: &Value| {
        value
            .as_array()
            .is_some_and(|all| all.iter().any(has_details))
    };
    schema["description"].is_string()
        || schema["properties"].is_object()
        || ALTERNATIVES.iter().any(|many| within(&schema[*many]))
        || ["items", "additionalProperties", "propertyNames"]
            .iter()
            .any(|inner| schema[*inner].is_object() && has_details(&schema[*inner]))
}

fn fields(out: &mut String, schema: &Value) {
    let Some(properties) = schema["properties"].as_object() else {
        return;
    };
    out.push_str("<table><tr><th>field</th><th>form</th><th></th></tr>");
    let required = schema["required"].as_array();
    for (name, property) in properties {
        let is_required = required.is_some_and(|names| names.iter().any(|known| known == name));
        let mark = if is_required { ", required" } else { "" };
        let (name, form) = (escape(name), form(property));
        let _ = write!(
            out,
            "<tr><td><code>{name}</code></td><td>{form}{mark}</td><td>"
        );
        details(out, property);
        out.push_str("</td></tr>");
    }
    out.push_str("</table>");
}

/// A schema in a few words, with links to the named ones.
pub(super) fn form(schema: &Value) -> String {
    if let Some(name) = reference_name(schema) {
        let name = escape(name);
        return format!("<a href=\"#schema-{name}\">{name}</a>");
    }
    for many in ALTERNATIVES {
        if let Some(forms) = schema[many].as_array() {
            let joint = if many == "allOf" { " and " } else { " or " };
            return forms.iter().map(form).collect::<Vec<_>>().join(joint);
        }
    }
    if !schema["const"].is_null() {
        return format!("<code>{}</code>", value(&schema["const"]));
    }
    if let Some(values) = schema["enum"].as_array() {
        let names: Vec<String> = values
            .iter()
            .map(|one| format!("<code>{}</code>", value(one)))
            .collect();
        return names.join(", ");
    }
    let mut words = match &schema["type"] {
        Value::Array(kinds) => kinds.iter().map(text).collect::<Vec<_>>().join(" or "),
        Value::Null if schema["properties"].is_object() => "object".to_owned(),
        Value::Null => "any value".to_owned(),
        kind => text(kind),
    };
    if schema["items"].is_object() {
        words = format!("array of {}", form(&schema["items"]));
    }
    if let Some(kind) = schema["format"].as_str() {
        let _ = write!(words, " ({})", escape(kind));
    }
    for (keyword, about) in [
        ("minimum", "at least"),
        ("maximum", "at most"),
        ("minLength", "characters at least"),
        ("maxLength", "characters at most"),
        ("minItems", "items at least"),
        ("maxItems", "items at most"),
    ] {
        if schema[keyword].is_number() {
            let _ = write!(words, ", {about} {}", schema[keyword]);
        }
    }
    if let Some(pattern) = schema["pattern"].as_str() {
        let _ = write!(words, ", <code>{}</code>", escape(pattern));
    }
    words
}

/// Name of the schema that a reference leads to.
fn reference_name(schema: &Value) -> Option<&str> {
    schema["$ref"].as_str()?.rsplit('/').next()
}

/// A constant as HTML text.
fn value(constant: &Value) -> String {
    match constant {
        Value::String(word) => escape(word),
        other => escape(&other.to_string()),
    }
}
