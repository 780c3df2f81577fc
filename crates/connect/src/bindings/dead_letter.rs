//! A message that can't be decided, as it goes to the destination of dead letters: its bytes and headers, and why.

use bytes::Bytes;

use super::order::Undecidable;
use crate::port::{Adapter, Binding, Message, Outgoing};

/// Longest text of a header that says why.
const REASON_BYTES_MAX: usize = 1_000;

/// Returns `message` as a dead letter of `binding`. The names of the headers are Spring Cloud Stream's.
pub(super) fn dead_letter(
    adapter: &dyn Adapter,
    binding: &Binding,
    message: &Message,
    why: &Undecidable,
) -> Outgoing {
    let mut reason = why.message.clone();
    reason.truncate(reason.floor_char_boundary(REASON_BYTES_MAX));
    let ours = [
        ("x-exception-code", why.code.as_str()),
        ("x-exception-message", reason.as_str()),
        ("x-original-destination", binding.destination.as_str()),
        ("x-original-group", binding.group.as_str()),
        (
            "x-original-reply-to",
            message.reply_to.as_deref().unwrap_or_default(),
        ),
    ];
    let is_ours = |name: &str| ours.iter().any(|(ours, _)| *ours == name);
    // A dead letter that was sent again and failed again says why it failed now.
    let mut headers: Vec<(String, Bytes)> = message.headers.clone();
    headers.retain(|(name, _)| !is_ours(name));
    for (name, value) in ours {
        if !value.is_empty() {
            headers.push((name.to_owned(), Bytes::copy_from_slice(value.as_bytes())));
        }
    }
    let key = message.key.as_deref();
    Outgoing {
        address: adapter.address(&adapter.dead_letters(binding)),
        key: key.map(|key| String::from_utf8_lossy(key).into_owned()),
        body: message.body.clone(),
        content_type: message.content_type.clone().unwrap_or_default(),
        headers,
        message_id: message.message_id.clone().unwrap_or_default(),
        correlation_id: message.correlation_id.clone(),
    }
}
