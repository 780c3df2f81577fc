//! Templates of routing keys and partition keys: a text with fields of an event.

use std::fmt;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A text in which `{type}`, `{currency}`, `{object}` and `{owner}` stand for fields of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    text: String,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Field(TemplateField),
}

/// A field of an event that a template names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TemplateField {
    /// Type of the event, such as `payment.captured`.
    Type,
    /// Currency of the money that the event is about.
    Currency,
    /// Id of the object that the event is about.
    Object,
    /// Owner of the object.
    Owner,
}

impl TemplateField {
    /// Every field, with its name in a template.
    pub const ALL: [(&'static str, TemplateField); 4] = [
        ("type", TemplateField::Type),
        ("currency", TemplateField::Currency),
        ("object", TemplateField::Object),
        ("owner", TemplateField::Owner),
    ];
}

impl Template {
    /// Maximum size of a template, bytes.
    pub const BYTES_MAX: usize = 255;

    /// Reads a template: none if the text is empty or too long, has control characters, or braces around anything but the name of a
    /// field.
    pub fn parse(text: &str) -> Option<Template> {
        if text.is_empty() || text.len() > Self::BYTES_MAX || text.chars().any(char::is_control) {
            return None;
        }
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(brace) = rest.find(['{', '}']) {
            let (before, from_brace) = rest.split_at(brace);
            let (name, after) = from_brace.strip_prefix('{')?.split_once('}')?;
            let (_, field) = TemplateField::ALL
                .iter()
                .find(|(known, _)| *known == name)?;
            if !before.is_empty() {
                parts.push(Part::Text(before.to_owned()));
            }
            parts.push(Part::Field(*field));
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        Some(Template {
            text: text.to_owned(),
            parts,
        })
    }

    /// Returns the text with each field replaced by what `value` returns for it.
    pub fn fill<'a>(&self, value: impl Fn(TemplateField) -> &'a str) -> String {
        let parts = self.parts.iter().map(|part| match part {
            Part::Text(text) => text.as_str(),
            Part::Field(field) => value(*field),
        });
        parts.collect()
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for Template {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Template {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Template, D::Error> {
        let text = String::deserialize(deserializer)?;
        Template::parse(&text).ok_or_else(|| D::Error::custom("not a template"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_replaced_and_nothing_else() {
        let value = |field| match field {
            TemplateField::Type => "payment.captured",
            TemplateField::Currency => "EUR",
            TemplateField::Object => "pay_1",
            TemplateField::Owner => "shop",
        };
        for (text, filled) in [
            ("payments", "payments"),
            ("{type}", "payment.captured"),
            ("{owner}.{type}.{currency}", "shop.payment.captured.EUR"),
            ("key:{object}!", "key:pay_1!"),
            ("{owner}{owner}", "shopshop"),
        ] {
            let template = Template::parse(text).expect("a template");
            assert_eq!(template.to_string(), text);
            assert_eq!(template.fill(value), filled);
        }
    }

    #[test]
    fn a_text_with_other_braces_is_no_template() {
        let long = "a".repeat(Template::BYTES_MAX + 1);
        for text in [
            "", "{amount}", "{type", "type}", "{{type}}", "{}", "a\n", &long,
        ] {
            assert_eq!(Template::parse(text), None, "{text}");
        }
        assert!(Template::parse(&"a".repeat(Template::BYTES_MAX)).is_some());
    }
}
