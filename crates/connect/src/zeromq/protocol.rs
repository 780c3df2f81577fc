//! What peers and the server say to each other: the frames of a request and of the answers to it. `docs/brokers/zeromq.md` is the
//! description for those who write a client.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::zmtp::{self, Limits};
use crate::port::{Message, Outgoing, Refusal, Secret};

/// First frame of everything that is said: name and version of the protocol.
const VERSION: &[u8] = b"tributary/1";
/// Header that is the media type of the body.
const CONTENT_TYPE: &str = "content-type";
/// Maximum size of a name: a destination, an id, a key. Bytes.
const NAME_BYTES_MAX: usize = 255;
/// Maximum size of the headers, bytes.
const HEADERS_BYTES_MAX: usize = 16 * 1024;
/// Maximum number of headers.
const HEADERS_MAX: usize = 64;
/// Maximum size of a request, all frames together, bytes.
pub(super) const REQUEST_BYTES_MAX: usize = 256 * 1024;
/// Number of frames of a request.
const REQUEST_FRAMES: usize = 6;

/// Limits of what is read.
pub(super) const LIMITS: Limits = Limits {
    // One more, so that too many are told from too large.
    frames_max: REQUEST_FRAMES + 1,
    bytes_max: REQUEST_BYTES_MAX,
};

/// A request to take in a message.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) destination: String,
    pub(super) id: String,
    api_key: Secret,
    content_type: Option<String>,
    headers: Vec<(String, Bytes)>,
    body: Bytes,
}

impl Request {
    /// Returns the request as a message whose reply goes to `reply_to`.
    pub(super) fn to_message(&self, token: u64, reply_to: &str) -> Message {
        Message {
            token,
            body: self.body.clone(),
            content_type: self.content_type.clone(),
            headers: self.headers.clone(),
            message_id: Some(self.id.clone()),
            broker_id: None,
            key: None,
            reply_to: Some(reply_to.to_owned()),
            correlation_id: Some(self.id.clone()),
            // Always there, if only as an empty one: without it, the message would need none.
            api_key: Some(self.api_key.clone()),
            redelivered: false,
        }
    }
}

/// A request that can't be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Malformed {
    /// The frame that should be the id, if there is one that is short enough to be repeated.
    pub(super) id: Bytes,
    pub(super) refusal: Refusal,
}

/// Reads a request: version, destination, id, API key, headers, body.
///
/// # Errors
/// What is wrong with it.
pub(super) fn read_request(message: zmtp::Message) -> Result<Request, Malformed> {
    let zmtp::Message { frames, is_cut } = message;
    let id = frames.get(2).filter(|id| id.len() <= NAME_BYTES_MAX);
    let id = id.cloned().unwrap_or_default();
    let malformed = |code: &str, message: String| Malformed {
        id: id.clone(),
        refusal: Refusal {
            code: code.to_owned(),
            message,
        },
    };
    let wrong = |message: &str| malformed("request_malformed", message.to_owned());
    if frames.first().is_some_and(|version| version != VERSION) {
        return Err(wrong("The first frame must be tributary/1."));
    }
    if is_cut && frames.len() < LIMITS.frames_max {
        let text = format!("The request has more than {REQUEST_BYTES_MAX} bytes.");
        return Err(malformed("body_too_large", text));
    }
    let [_, destination, _, api_key, headers, body] = &frames[..] else {
        let text = "The frames must be: tributary/1, destination, id, API key, headers, body.";
        return Err(wrong(text));
    };
    let name = |what: &str, frame: &Bytes| {
        let text = std::str::from_utf8(frame).ok();
        let sound = |text: &&str| {
            (1..=NAME_BYTES_MAX).contains(&text.len()) && !text.chars().any(char::is_control)
        };
        text.filter(sound).map(str::to_owned).ok_or_else(|| {
            wrong(&format!(
                "The {what} must have 1 to {NAME_BYTES_MAX} bytes of UTF-8 without control characters."
            ))
        })
    };
    let destination = name("destination", destination)?;
    let id = name("id", &id)?;
    // A key that is wrong is told by whoever knows the keys, also if it is no text.
    let api_key = std::str::from_utf8(api_key).unwrap_or_default();
    let mut headers = read_headers(headers).map_err(|text| wrong(&text))?;
    let content_type = headers.remove(CONTENT_TYPE);
    Ok(Request {
        destination,
        id,
        api_key: Secret::new(api_key),
        content_type,
        headers: headers
            .into_iter()
            .map(|(name, value)| (name, Bytes::from(value)))
            .collect(),
        body: body.clone(),
    })
}

fn read_headers(frame: &[u8]) -> Result<BTreeMap<String, String>, String> {
    if frame.is_empty() {
        return Ok(BTreeMap::new());
    }
    if frame.len() > HEADERS_BYTES_MAX {
        return Err(format!(
            "The headers have more than {HEADERS_BYTES_MAX} bytes."
        ));
    }
    let headers: BTreeMap<String, String> = serde_json::from_slice(frame).map_err(|error| {
        format!("The headers must be a JSON object of strings, or empty: {error}.")
    })?;
    match headers.len() > HEADERS_MAX {
        true => Err(format!("There are more than {HEADERS_MAX} headers.")),
        false => Ok(headers),
    }
}

/// What a peer is told of a request.
#[derive(Clone, Copy, Debug)]
pub(super) enum Answer<'a> {
    /// It is decided, and its record durable.
    Ok,
    /// It can't be taken now, and may be sent again in a moment.
    Later(&'a str),
    /// It can't be decided, and sending it again changes nothing.
    Refused(&'a Refusal),
}

/// Returns the bytes of an answer to the request with this id.
pub(super) fn answer(id: &[u8], answer: Answer<'_>) -> Bytes {
    match answer {
        Answer::Ok => zmtp::message(&[VERSION, b"OK", id]),
        Answer::Later(why) => zmtp::message(&[VERSION, b"LATER", id, why.as_bytes()]),
        Answer::Refused(Refusal { code, message }) => {
            zmtp::message(&[VERSION, b"REFUSED", id, code.as_bytes(), message.as_bytes()])
        }
    }
}

/// Returns the bytes of a reply: the result of the request that it names.
pub(super) fn reply(message: &Outgoing) -> Bytes {
    let mut headers = BTreeMap::new();
    for (name, value) in &message.headers {
        headers.insert(name.as_str(), String::from_utf8_lossy(value));
    }
    if !message.content_type.is_empty() {
        headers.insert(CONTENT_TYPE, message.content_type.as_str().into());
    }
    let headers = serde_json::to_vec(&headers).expect("strings are JSON");
    let id = message.correlation_id.as_deref().unwrap_or_default();
    zmtp::message(&[VERSION, b"REPLY", id.as_bytes(), &headers, &message.body])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(frames: &[&[u8]]) -> zmtp::Message {
        zmtp::Message {
            frames: frames
                .iter()
                .map(|frame| Bytes::copy_from_slice(frame))
                .collect(),
            is_cut: false,
        }
    }

    const GOOD: [&[u8]; 6] = [
        b"tributary/1",
        b"payment_order",
        b"order-1",
        b"tk_secret",
        br#"{"content-type": "application/xml", "ce_id": "1"}"#,
        b"<payment/>",
    ];

    #[test]
    fn a_request_becomes_a_message() {
        let request = read_request(frames(&GOOD)).expect("it is sound");
        assert_eq!(request.destination, "payment_order");
        let message = request.to_message(7, "peer-1");
        assert_eq!(message.token, 7);
        assert_eq!(&message.body[..], b"<payment/>");
        assert_eq!(message.content_type.as_deref(), Some("application/xml"));
        assert_eq!(message.headers, [("ce_id".to_owned(), Bytes::from("1"))]);
        assert_eq!(message.message_id.as_deref(), Some("order-1"));
        assert_eq!(message.correlation_id.as_deref(), Some("order-1"));
        assert_eq!(message.reply_to.as_deref(), Some("peer-1"));
        assert_eq!(
            message.api_key.as_ref().map(Secret::expose),
            Some("tk_secret")
        );
        assert!(!format!("{request:?}").contains("tk_secret"));
    }

    #[test]
    fn a_request_without_a_key_has_an_empty_one() {
        for key in [&b""[..], b"\xff"] {
            let mut request = GOOD;
            request[3] = key;
            request[4] = b"";
            let request = read_request(frames(&request)).expect("it is read");
            let message = request.to_message(1, "peer-1");
            assert_eq!(message.api_key.as_ref().map(Secret::expose), Some(""));
            assert_eq!(message.content_type, None);
        }
    }

    #[track_caller]
    fn check_malformed(at: usize, frame: &[u8], text: &str) {
        let mut request = GOOD;
        request[at] = frame;
        let malformed = read_request(frames(&request)).expect_err(text);
        assert_eq!(malformed.refusal.code, "request_malformed");
        let message = &malformed.refusal.message;
        assert!(message.contains(text), "{message}");
        assert!(!message.contains("tk_secret"));
    }

    #[test]
    fn what_is_wrong_with_a_request_is_named() {
        check_malformed(0, b"tributary/2", "first frame");
        check_malformed(0, b"", "first frame");
        check_malformed(1, b"", "destination");
        check_malformed(1, b"\xff", "destination");
        check_malformed(2, b"", "The id");
        check_malformed(2, b"a\nb", "The id");
        check_malformed(2, &[b'i'; 256], "The id");
        check_malformed(4, b"[]", "JSON object of strings");
        check_malformed(4, br#"{"a": 1}"#, "JSON object of strings");
        check_malformed(4, &[b' '; HEADERS_BYTES_MAX + 1], "headers have more than");
        let many: BTreeMap<String, &str> = (0..65).map(|one| (one.to_string(), "")).collect();
        check_malformed(4, &serde_json::to_vec(&many).expect("JSON"), "more than 64");
        for count in [0, 1, 5] {
            let malformed = read_request(frames(&GOOD[..count])).expect_err("too few");
            assert!(malformed.refusal.message.contains("The frames must be"));
        }
        let mut many = GOOD.to_vec();
        many.push(b"more");
        let malformed = read_request(frames(&many)).expect_err("too many");
        assert_eq!(malformed.refusal.code, "request_malformed");
        assert_eq!(&malformed.id[..], b"order-1");
        let mut large = frames(&GOOD[..5]);
        large.is_cut = true;
        let malformed = read_request(large).expect_err("too large");
        assert_eq!(malformed.refusal.code, "body_too_large");
        assert_eq!(&malformed.id[..], b"order-1");
    }
}
