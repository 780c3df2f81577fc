//! Writes the OpenAPI document in lines.

use serde_json::{Value, json};

/// Levels of the document that are written with a line for each entry. Deeper values stand on the line of their entry: a property
/// of a schema, a parameter or an answer of an operation. So the document is small, and a change of it is still seen by lines.
const LEVELS_IN_LINES: usize = 5;

/// Writes a value that stands on this level of the document.
pub(super) fn write_in_lines(value: &Value, level: usize, text: &mut String) {
    let (first, last, entries): (char, char, Vec<(Option<&String>, &Value)>) = match value {
        Value::Object(fields) if level < LEVELS_IN_LINES && !fields.is_empty() => {
            let entries = fields.iter().map(|(name, value)| (Some(name), value));
            ('{', '}', entries.collect())
        }
        Value::Array(items) if level < LEVELS_IN_LINES && !items.is_empty() => {
            ('[', ']', items.iter().map(|item| (None, item)).collect())
        }
        value => return text.push_str(&value.to_string()),
    };
    let start_line = |text: &mut String, level| {
        text.push('\n');
        text.extend(std::iter::repeat_n(' ', level));
    };
    text.push(first);
    for (at, (name, value)) in entries.into_iter().enumerate() {
        if at > 0 {
            text.push(',');
        }
        start_line(text, level + 1);
        if let Some(name) = name {
            text.push_str(&json!(name).to_string());
            text.push_str(": ");
        }
        write_in_lines(value, level + 1, text);
    }
    start_line(text, level);
    text.push(last);
}
