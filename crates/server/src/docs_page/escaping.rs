//! Text within HTML.

use serde_json::Value;

/// Returns a JSON string as HTML text; nothing for anything else.
pub(crate) fn text(value: &Value) -> String {
    escape(value.as_str().unwrap_or_default())
}

/// Returns text as HTML text, which may stand in an attribute, too.
pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}
