//! Templates of routing keys and partition keys: texts with fields of an event, in the language of the templates of maps.

use std::fmt;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::map::{Fault, FieldIndex, Fields, Schema, Template};

/// A template in which `{type}`, `{currency}`, `{object}` and `{owner}` stand for fields of an event.
#[derive(Clone, Debug)]
pub struct EventTemplate {
    text: String,
    template: Template,
}

/// The fields of an event that a template can name.
#[derive(Clone, Copy, Debug)]
pub struct EventFields<'a> {
    /// Type of the event, such as `payment.captured`.
    pub kind: &'a str,
    /// Currency of the money that the event is about; empty if it is about none.
    pub currency: &'a str,
    /// Id of the object that the event is about.
    pub object: &'a str,
    /// Owner of the object.
    pub owner: &'a str,
}

/// Names of the fields in a template.
const NAMES: [&str; 4] = ["type", "currency", "object", "owner"];

/// The fields of every event.
struct EventSchema;

impl Schema for EventSchema {
    fn find(&mut self, name: &str) -> Result<FieldIndex, Fault> {
        let place = NAMES.iter().position(|known| *known == name);
        place.map(FieldIndex).ok_or_else(|| {
            let why = format!(
                "an event has no field `{name}`: there are {}",
                NAMES.join(", ")
            );
            Fault::map(name, why)
        })
    }
}

impl Fields for EventFields<'_> {
    fn text(&self, field: FieldIndex) -> Result<&str, Fault> {
        Ok([self.kind, self.currency, self.object, self.owner][field.0])
    }
}

impl EventTemplate {
    /// Maximum size of a template, bytes.
    pub const BYTES_MAX: usize = 255;

    /// Reads a template.
    ///
    /// # Errors
    /// What is wrong, as a sentence without a subject: the text is empty or too long, has control characters, or names another field.
    pub fn parse(text: &str) -> Result<EventTemplate, String> {
        if text.is_empty() || text.len() > Self::BYTES_MAX || text.chars().any(char::is_control) {
            let bytes_max = Self::BYTES_MAX;
            return Err(format!(
                "must be 1 to {bytes_max} bytes of text without control characters"
            ));
        }
        let template = Template::parse(text, &mut EventSchema);
        let template = template.map_err(|fault| format!("is no template: {}", fault.why))?;
        Ok(EventTemplate {
            text: text.to_owned(),
            template,
        })
    }

    /// Returns the text for an event, without white space at its ends.
    pub fn render(&self, event: EventFields<'_>) -> String {
        let rendered = self.template.render(&event);
        rendered.expect("an event has every field")
    }
}

impl PartialEq for EventTemplate {
    fn eq(&self, other: &EventTemplate) -> bool {
        self.text == other.text
    }
}

impl Eq for EventTemplate {}

impl fmt::Display for EventTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for EventTemplate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for EventTemplate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<EventTemplate, D::Error> {
        let text = String::deserialize(deserializer)?;
        EventTemplate::parse(&text).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_of_an_event_stand_in_a_template() {
        let event = EventFields {
            kind: "payment.captured",
            currency: "EUR",
            object: "pay_1",
            owner: "shop",
        };
        for (text, rendered) in [
            ("payments", "payments"),
            ("{type}", "payment.captured"),
            (
                "{owner}.{type}.{currency|lower}",
                "shop.payment.captured.eur",
            ),
            ("key:{object}!", "key:pay_1!"),
        ] {
            let template = EventTemplate::parse(text).expect("a template");
            assert_eq!(template.to_string(), text);
            assert_eq!(template.render(event), rendered);
        }
    }

    #[test]
    fn a_text_that_names_another_field_is_no_template() {
        let long = "a".repeat(EventTemplate::BYTES_MAX + 1);
        for (text, why) in [
            (
                "{amount}",
                "no field `amount`: there are type, currency, object, owner",
            ),
            ("{type", "without a `}`"),
            ("", "1 to 255 bytes"),
            ("a\n", "control characters"),
            (&long, "1 to 255 bytes"),
        ] {
            let said = EventTemplate::parse(text).expect_err(text);
            assert!(said.contains(why), "{text}: {said}");
        }
        assert!(EventTemplate::parse(&"a".repeat(EventTemplate::BYTES_MAX)).is_ok());
    }
}
