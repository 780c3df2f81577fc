//! Checks the head of a request, before anything of it is used: its size, the headers that may stand in it once, how its body is
//! framed and encoded, and its query parameters.
//!
//! What a program misunderstands it must refuse: a query parameter that is passed over (`dry_run=true`) may be all that the
//! caller wanted, and of two `Authorization` headers a proxy may have read the other one.

use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, Version, header};
use tributary_api::code::ErrorCode;
use tributary_api::error::ApiError;

use crate::config::Limits;
use crate::parameters::QueryParameters;
use crate::version::check_version;

/// Maximum number of header lines of one request.
const HEADER_LINES_MAX: usize = 64;

/// Headers that may stand in a request once. `Idempotency-Key` is checked where it is read, with an error of its own.
const SINGLE_HEADERS: [HeaderName; 3] = [header::AUTHORIZATION, header::CONTENT_TYPE, header::HOST];

/// Method, target, version and headers of a request.
#[derive(Clone, Copy)]
pub(crate) struct RequestHead<'a> {
    pub(crate) method: &'a Method,
    pub(crate) uri: &'a Uri,
    pub(crate) version: Version,
    pub(crate) headers: &'a HeaderMap,
}

impl<'a> RequestHead<'a> {
    /// Returns the head of a request in parts.
    pub(crate) fn of_parts(parts: &'a Parts) -> RequestHead<'a> {
        RequestHead {
            method: &parts.method,
            uri: &parts.uri,
            version: parts.version,
            headers: &parts.headers,
        }
    }

    /// Returns the head of a whole request.
    pub(crate) fn of_request<B>(request: &'a axum::http::Request<B>) -> RequestHead<'a> {
        RequestHead {
            method: request.method(),
            uri: request.uri(),
            version: request.version(),
            headers: request.headers(),
        }
    }

    /// Checks the head of a request over HTTP/1 whose path leads to `route`; none if it leads nowhere.
    pub(crate) fn check(
        self,
        limits: &Limits,
        parameters: &QueryParameters,
        route: Option<&str>,
    ) -> Result<(), ApiError> {
        self.check_size(limits.header_bytes_max)?;
        require_single_headers(self.headers)?;
        if self.version == Version::HTTP_11 && !self.headers.contains_key(header::HOST) {
            let message = "A request over HTTP/1.1 needs a Host header.";
            return Err(ApiError::new(ErrorCode::HeaderMissing, message).param("Host"));
        }
        check_version(self.headers)?;
        check_encodings(self.headers)?;
        check_announced_length(self.headers, limits.body_bytes_max)?;
        match (route, self.uri.query()) {
            (Some(route), Some(query)) => parameters.check(self.method, route, query),
            _ => Ok(()),
        }
    }

    fn check_size(self, bytes_max: usize) -> Result<(), ApiError> {
        // Request line, lines of headers, and the empty line; what separates name and value, and the line ends, is counted as
        // it is usually sent.
        let target = self
            .uri
            .path_and_query()
            .map_or(0, |target| target.as_str().len());
        let request_line = self.method.as_str().len() + target + " ".len() + " HTTP/1.1\r\n".len();
        let headers = self.headers.iter();
        let lines = headers.map(|(name, value)| name.as_str().len() + value.len() + ": \r\n".len());
        let bytes = request_line + lines.sum::<usize>() + "\r\n".len();
        if bytes > bytes_max || self.headers.len() > HEADER_LINES_MAX {
            let message = format!(
                "The request line and the headers have {bytes} bytes and {} headers; at most {bytes_max} bytes and \
                 {HEADER_LINES_MAX} headers are taken.",
                self.headers.len()
            );
            return Err(ApiError::new(ErrorCode::HeadTooLarge, message));
        }
        Ok(())
    }
}

/// Refuses a request in which a header stands twice that may stand once.
pub(crate) fn require_single_headers(headers: &HeaderMap) -> Result<(), ApiError> {
    // Nearly always no header at all stands twice.
    if headers.len() == headers.keys_len() {
        return Ok(());
    }
    match SINGLE_HEADERS
        .iter()
        .find(|name| is_repeated(headers, name))
    {
        Some(name) => Err(repeated(name)),
        None => Ok(()),
    }
}

fn is_repeated(headers: &HeaderMap, name: &HeaderName) -> bool {
    headers.get_all(name).iter().nth(1).is_some()
}

fn repeated(name: &HeaderName) -> ApiError {
    let title = title_case(name);
    let message = format!("The header {title} is given twice.");
    ApiError::new(ErrorCode::HeaderRepeated, message).param(title)
}

/// `content-type` as `Content-Type`.
fn title_case(name: &HeaderName) -> String {
    let words = name.as_str().split('-').map(|word| {
        let (first, rest) = word.split_at(1);
        first.to_ascii_uppercase() + rest
    });
    words.collect::<Vec<_>>().join("-")
}

/// Refuses bodies that are compressed, whichever of the two headers says so.
fn check_encodings(headers: &HeaderMap) -> Result<(), ApiError> {
    for value in headers.get_all(header::CONTENT_ENCODING) {
        if !value
            .as_bytes()
            .trim_ascii()
            .eq_ignore_ascii_case(b"identity")
        {
            return Err(ApiError::new(
                ErrorCode::ContentEncodingUnsupported,
                "Send the body as it is: no Content-Encoding is taken.",
            )
            .param("Content-Encoding"));
        }
    }
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let is_chunked = |value: &HeaderValue| {
        value
            .as_bytes()
            .trim_ascii()
            .eq_ignore_ascii_case(b"chunked")
    };
    match (codings.next(), codings.next()) {
        (None, _) => Ok(()),
        (Some(only), None) if is_chunked(only) => Ok(()),
        _ => Err(ApiError::new(
            ErrorCode::TransferEncodingUnsupported,
            "Of Transfer-Encoding only chunked is taken, once.",
        )
        .param("Transfer-Encoding")),
    }
}

/// Refuses a body that is announced as too long, before the caller is told to send it.
fn check_announced_length(headers: &HeaderMap, bytes_max: usize) -> Result<(), ApiError> {
    let length = headers.get(header::CONTENT_LENGTH);
    // What is no number was refused when the head was parsed.
    let length = length.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    match length {
        Some(length) if length > bytes_max as u64 => Err(body_too_large(bytes_max)),
        _ => Ok(()),
    }
}

/// Error of a body that is larger than the server takes.
pub(crate) fn body_too_large(bytes_max: usize) -> ApiError {
    ApiError::new(
        ErrorCode::BodyTooLarge,
        format!("The body has more than {bytes_max} bytes."),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let lines = lines.iter().map(|(name, value)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )
        });
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(name, value);
        }
        headers
    }

    #[test]
    fn only_bodies_that_are_sent_as_they_are_pass() {
        for (lines, code) in [
            (&[][..], None),
            (&[("content-encoding", "identity")], None),
            (
                &[("content-encoding", "gzip")],
                Some("content_encoding_unsupported"),
            ),
            (
                &[("content-encoding", "")],
                Some("content_encoding_unsupported"),
            ),
            (
                &[("content-encoding", "identity"), ("content-encoding", "br")],
                Some("content_encoding_unsupported"),
            ),
            (&[("transfer-encoding", "Chunked")], None),
            (
                &[("transfer-encoding", "gzip, chunked")],
                Some("transfer_encoding_unsupported"),
            ),
            (
                &[
                    ("transfer-encoding", "chunked"),
                    ("transfer-encoding", "chunked"),
                ],
                Some("transfer_encoding_unsupported"),
            ),
        ] {
            let found = check_encodings(&headers(lines))
                .err()
                .map(|error| error.code());
            assert_eq!(found, code, "{lines:?}");
        }
    }

    #[test]
    fn a_header_that_stands_twice_is_named_as_it_is_usually_written() {
        for (lines, param) in [
            (&[("host", "a"), ("authorization", "x")][..], None),
            (&[("prefer", "a"), ("prefer", "b")], None),
            (
                &[("content-type", "a"), ("content-type", "a")],
                Some("Content-Type"),
            ),
            (&[("host", "a"), ("host", "a")], Some("Host")),
        ] {
            let error = require_single_headers(&headers(lines)).err();
            let found = error.as_ref().and_then(ApiError::parameter);
            assert_eq!(found, param, "{lines:?}");
        }
    }
}
