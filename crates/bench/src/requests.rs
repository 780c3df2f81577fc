//! HTTP requests as bytes, prepared in advance and patched.

use crate::payload::IdBytes;

/// Number of characters of an account's id.
const ID_CHARS: usize = 31;
/// Number of characters for an amount. JSON allows spaces before a number.
const AMOUNT_CHARS: usize = 7;
const KEY_CHARS: usize = 32;

/// A request with places for the values that differ.
#[derive(Clone)]
pub(crate) struct Template {
    bytes: Vec<u8>,
    key: usize,
    amount: usize,
    source: usize,
    destination: usize,
}

/// Values in the head of every request.
pub(crate) struct Head {
    pub(crate) host: String,
    pub(crate) token: String,
}

/// Returns the JSON of a payment with placeholders.
fn payment_json(hold: bool) -> String {
    let hold = match hold {
        true => r#","capture_method":"manual","expires_at":"2200-01-01T00:00:00Z""#,
        false => "",
    };
    let (amount, id) = (" ".repeat(AMOUNT_CHARS), "_".repeat(ID_CHARS));
    format!(r#"{{"amount":{amount},"currency":"EUR","source":"{id}","destination":"{id}"{hold}}}"#)
}

fn post(head: &Head, path: &str, key: &str, body: &str) -> Vec<u8> {
    format!(
        "POST {path} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {}\r\n\
         content-type: application/json\r\nidempotency-key: {key}\r\ncontent-length: {}\r\n\r\n{body}",
        head.host,
        head.token,
        body.len()
    )
    .into_bytes()
}

fn place(bytes: &[u8], before: &[u8]) -> usize {
    memchr::memmem::find(bytes, before).expect("the template has this place") + before.len()
}

impl Template {
    /// Creates a template for `POST /v1/payments`: a payment, or an authorization if `hold` is set.
    pub(crate) fn payment(head: &Head, hold: bool) -> Template {
        let key = "_".repeat(KEY_CHARS);
        let bytes = post(head, "/v1/payments", &key, &payment_json(hold));
        Template::of(bytes, b"idempotency-key: ")
    }

    /// Creates a template for a payment within `POST /v1/batches`.
    pub(crate) fn in_batch() -> Template {
        let key = "_".repeat(KEY_CHARS);
        let payment = payment_json(false);
        let item = format!(r#"{{"idempotency_key":"{key}","payment":{payment}}}"#);
        Template::of(item.into_bytes(), b"\"idempotency_key\":\"")
    }

    fn of(bytes: Vec<u8>, before_key: &[u8]) -> Template {
        Template {
            key: place(&bytes, before_key),
            amount: place(&bytes, b"\"amount\":"),
            source: place(&bytes, b"\"source\":\""),
            destination: place(&bytes, b"\"destination\":\""),
            bytes,
        }
    }

    /// Appends the request with these values.
    pub(crate) fn put(
        &self,
        into: &mut Vec<u8>,
        key: &IdBytes,
        source: &str,
        destination: &str,
        mut amount: u32,
    ) {
        let start = into.len();
        into.extend_from_slice(&self.bytes);
        let bytes = &mut into[start..];
        hex::encode_to_slice(key, &mut bytes[self.key..self.key + KEY_CHARS])
            .expect("the place holds a key");
        bytes[self.source..self.source + ID_CHARS].copy_from_slice(source.as_bytes());
        bytes[self.destination..self.destination + ID_CHARS]
            .copy_from_slice(destination.as_bytes());
        for digit in bytes[self.amount..self.amount + AMOUNT_CHARS]
            .iter_mut()
            .rev()
        {
            if amount == 0 {
                break;
            }
            *digit = b'0' + (amount % 10) as u8;
            amount /= 10;
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }
}

/// Appends a POST request without a template.
pub(crate) fn put_post(into: &mut Vec<u8>, head: &Head, path: &str, key: &IdBytes, body: &str) {
    into.extend(post(head, path, &hex::encode(key), body));
}

/// Appends the head of a batch with a body of `body_bytes` bytes; `minimal` asks for ids instead of objects.
pub(crate) fn put_batch_head(into: &mut Vec<u8>, head: &Head, minimal: bool, body_bytes: usize) {
    use std::io::Write as _;
    let prefer = if minimal {
        "prefer: return=minimal\r\n"
    } else {
        ""
    };
    write!(
        into,
        "POST /v1/batches HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {}\r\n\
         content-type: application/json\r\n{prefer}content-length: {body_bytes}\r\n\r\n",
        head.host, head.token,
    )
    .expect("memory takes what is written");
}

/// Appends a GET request.
pub(crate) fn put_get(into: &mut Vec<u8>, head: &Head, path: std::fmt::Arguments<'_>) {
    use std::io::Write as _;
    write!(
        into,
        "GET {path} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {}\r\n\r\n",
        head.host, head.token,
    )
    .expect("memory takes what is written");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patched_request_is_whole() {
        let head = Head {
            host: "h".into(),
            token: "tk".into(),
        };
        let (source, destination) = (
            format!("acct_{}", "a".repeat(26)),
            format!("acct_{}", "b".repeat(26)),
        );
        let mut bytes = b"before".to_vec();
        let template = Template::payment(&head, true);
        template.put(&mut bytes, &[0xab; 16], &source, &destination, 1_005);
        let text = String::from_utf8(bytes).expect("ASCII");
        let (head, body) = text.split_once("\r\n\r\n").expect("a head and a body");
        assert!(head.contains(&format!("idempotency-key: {}", "ab".repeat(16))));
        assert!(head.ends_with(&format!("content-length: {}", body.len())));
        let json: serde_json::Value = serde_json::from_str(body).expect("JSON");
        assert_eq!(json["amount"], 1_005);
        assert_eq!(json["source"], source);
        assert_eq!(json["destination"], destination);
    }
}
