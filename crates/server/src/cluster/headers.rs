//! Headers of requests and answers between nodes.

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};

/// Marks a request that a node forwarded, with the name of the node. Such a request is not forwarded again.
pub(super) const FORWARDED_BY: HeaderName = HeaderName::from_static("tributary-forwarded-by");

/// Headers that are about one connection, and end there.
const HOP_BY_HOP: [HeaderName; 9] = [
    header::CONNECTION,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// Removes the headers that are about the connection over which they came, and those that the connection's own headers name.
pub(super) fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

/// Returns the caller's headers as they are sent to the leader by the node of this name. How the body is framed is said anew.
pub(super) fn outgoing_headers(headers: &HeaderMap, node: &str) -> HeaderMap {
    let mut outgoing = headers.clone();
    remove_hop_by_hop(&mut outgoing);
    for name in [header::HOST, header::CONTENT_LENGTH, header::EXPECT] {
        outgoing.remove(name);
    }
    let by = HeaderValue::from_str(node).unwrap_or(HeaderValue::from_static("a node"));
    outgoing.insert(FORWARDED_BY, by);
    outgoing
}

/// Whether another node forwarded the request.
pub(crate) fn is_forwarded(headers: &HeaderMap) -> bool {
    headers.contains_key(FORWARDED_BY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_of_the_connection_stay_behind_and_all_others_are_sent() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("authorization", "Bearer tk_1"),
            ("idempotency-key", "k"),
            ("tributary-version", "2026-11-01"),
            ("prefer", "respond-async"),
            ("prefer", "return=minimal"),
            ("connection", "close, X-Private"),
            ("connection", "keep-alive"),
            ("x-private", "1"),
            ("keep-alive", "timeout=5"),
            ("te", "trailers"),
            ("trailer", "x"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "websocket"),
            ("proxy-authorization", "x"),
            ("host", "follower.example"),
            ("content-length", "7"),
            ("expect", "100-continue"),
        ] {
            headers.append(name, HeaderValue::from_static(value));
        }
        let outgoing = outgoing_headers(&headers, "node-2");
        let mut names: Vec<&str> = outgoing.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(
            names,
            [
                "authorization",
                "idempotency-key",
                "prefer",
                "tributary-forwarded-by",
                "tributary-version"
            ]
        );
        assert_eq!(outgoing[FORWARDED_BY], "node-2");
        assert_eq!(outgoing.get_all("prefer").iter().count(), 2);
    }

    #[test]
    fn a_connection_header_cannot_take_the_mark_away() {
        let mut headers = HeaderMap::new();
        headers.insert(
            "connection",
            HeaderValue::from_static("tributary-forwarded-by"),
        );
        assert!(is_forwarded(&outgoing_headers(&headers, "node-1")));
    }
}
