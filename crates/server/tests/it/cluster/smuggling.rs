//! The bytes that the leader gets: a head like the caller's, without what is about the caller's connection.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread::JoinHandle;

use tributary_api::leadership::NodeAddress;

use super::Cluster;
use crate::client::send_raw;

/// Answers one request like this, and returns the request.
pub(super) fn answer_one(answer: &'static str) -> (String, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("it listens"));
    let thread = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        let (mut request, mut piece) = (Vec::new(), [0; 4096]);
        while !request.ends_with(b"{}") {
            let bytes = stream.read(&mut piece).expect("it goes on");
            request.extend_from_slice(&piece[..bytes]);
        }
        stream.write_all(answer.as_bytes()).expect("it is taken");
        if answer.is_empty() {
            // It goes when the other side does.
            let _gone = stream.read(&mut piece);
        }
        String::from_utf8(request).expect("text")
    });
    (url, thread)
}

#[test]
fn a_forwarded_request_is_framed_anew_and_has_nothing_of_the_callers_connection() {
    let cluster = Cluster::start();
    let (url, leader) = answer_one(
        "HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nConnection: x-hidden\r\nKeep-Alive: timeout=5\r\n\
         X-Hidden: 1\r\nX-Shown: 1\r\nRequest-Id: req_of_the_leader\r\nContent-Length: 4\r\n\r\n{1}\n",
    );
    cluster.follow(NodeAddress {
        url,
        ..cluster.leader_address()
    });
    let request = format!(
        "POST /v1/accounts HTTP/1.1\r\nHost: follower\r\nConnection: close, X-Private\r\nX-Private: 1\r\n\
         Keep-Alive: timeout=1\r\nTE: trailers\r\nTrailer: X-Late\r\nUpgrade: h2c\r\nProxy-Authorization: Basic eDp5\r\n\
         Authorization: Bearer {}\r\nIdempotency-Key: k\r\nContent-Type: application/json\r\nX-Kept: a\r\nX-Kept: b\r\n\
         Transfer-Encoding: chunked\r\n\r\n1\r\n{{\r\n1\r\n}}\r\n0\r\nX-Late: 1\r\n\r\n",
        cluster.leader.platform
    );
    let answer = send_raw(cluster.follower.addr, &request);
    let head = leader.join().expect("no panic").to_lowercase();
    let (head, body) = head.split_once("\r\n\r\n").expect("a head and a body");
    assert_eq!(body, "{}");
    let mut lines: Vec<&str> = head.split("\r\n").collect();
    assert_eq!(lines.remove(0), "post /v1/accounts http/1.1");
    lines.retain(|line| !line.starts_with("host: 127.0.0.1:"));
    lines.sort_unstable();
    let authorization = format!("authorization: bearer {}", cluster.leader.platform);
    assert_eq!(
        lines,
        [
            authorization.to_lowercase().as_str(),
            "content-length: 2",
            "content-type: application/json",
            "idempotency-key: k",
            "tributary-forwarded-by: node-2",
            "x-kept: a",
            "x-kept: b",
        ]
    );
    assert_eq!(
        (answer.status, answer.body.as_slice()),
        (201, &b"{1}\n"[..])
    );
    assert_eq!(answer.header("x-shown"), Some("1"));
    assert_eq!(answer.header("request-id"), Some("req_of_the_leader"));
    for name in ["x-hidden", "keep-alive"] {
        assert_eq!(answer.header(name), None, "{name}");
    }
}
