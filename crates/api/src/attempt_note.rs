//! Notes of the history about webhooks: request, answer and duration of an attempt. A note never holds the secret.

use serde::{Deserialize, Serialize};
use tributary_messaging::NOTE_BYTES_MAX;

/// An attempt as it is kept, JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptNote {
    /// Where the webhook went.
    pub url: String,
    /// Request line and headers; empty if nothing was sent.
    pub request: String,
    /// Status line and headers; empty if nothing was answered.
    pub response: String,
    /// Status of the answer.
    pub status: Option<u16>,
    /// Code and text of what went wrong.
    pub error: Option<(String, String)>,
    /// Microseconds from the beginning to a new connection.
    pub connected: Option<u64>,
    /// Microseconds from the beginning to the head of the answer.
    pub answered: Option<u64>,
    /// Microseconds from the beginning to the end.
    pub took: u64,
}

impl AttemptNote {
    /// At most [`NOTE_BYTES_MAX`]: of an answer whose head takes too much in JSON only the first line.
    pub fn to_bytes(&self) -> Vec<u8> {
        let bytes = serde_json::to_vec(self).expect("text and numbers");
        if bytes.len() <= NOTE_BYTES_MAX {
            return bytes;
        }
        let first = self.response.lines().next().unwrap_or_default().to_owned();
        let short = AttemptNote {
            response: first,
            ..self.clone()
        };
        serde_json::to_vec(&short).expect("text and numbers")
    }

    /// None if these are not the bytes of one.
    pub fn from_bytes(bytes: &[u8]) -> Option<AttemptNote> {
        serde_json::from_slice(bytes).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_comes_back_and_fits() {
        let mut kept = AttemptNote {
            url: "https://example.com/hooks".to_owned(),
            request: "POST /hooks HTTP/1.1\nhost: example.com\n".to_owned(),
            response: "HTTP/1.1 500 Internal Server Error\nserver: x\n".to_owned(),
            status: Some(500),
            error: None,
            connected: Some(1),
            answered: None,
            took: 2,
        };
        assert_eq!(
            AttemptNote::from_bytes(&kept.to_bytes()).as_ref(),
            Some(&kept)
        );
        // Six bytes of JSON for each.
        kept.response.push_str(&"\u{1}".repeat(4_000));
        let bytes = kept.to_bytes();
        assert!(bytes.len() <= NOTE_BYTES_MAX);
        let read = AttemptNote::from_bytes(&bytes).expect("it is JSON");
        assert_eq!(read.response, "HTTP/1.1 500 Internal Server Error");
        assert_eq!(AttemptNote::from_bytes(b"{"), None);
    }
}
