//! What the head of a request may say. Whatever the server would misunderstand it refuses, before anything happens.

use std::io::{Read, Write};

use serde_json::{Value, json};

use crate::client::{Answer, connect, post, send, send_raw};
use crate::fixture::{Fixture, pay};

/// Each operation of the OpenAPI document: method, path with ids that name nothing, and the names of its query parameters.
fn operations() -> Vec<(String, String, Vec<String>)> {
    let document: Value = serde_json::from_str(&tributary_server::openapi_json()).expect("JSON");
    let mut operations = Vec::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("operations") {
            let parameters = operation["parameters"].as_array().cloned();
            let parameters =
                parameters
                    .unwrap_or_default()
                    .into_iter()
                    .map(|parameter| match parameter["$ref"].as_str() {
                        Some(reference) => document
                            .pointer(reference.strip_prefix('#').expect("a local reference"))
                            .expect("it leads somewhere")
                            .clone(),
                        None => parameter,
                    });
            let of_query = parameters.filter(|parameter| parameter["in"] == "query");
            let names = of_query.map(|parameter| {
                let name = parameter["name"].as_str().expect("a name");
                name.to_owned()
            });
            let path: Vec<&str> = path
                .split('/')
                .map(|part| if part.starts_with('{') { "x" } else { part })
                .collect();
            operations.push((method.to_uppercase(), path.join("/"), names.collect()));
        }
    }
    operations
}

fn ask(server: &Fixture, method: &str, target: &str) -> Answer {
    let authorization = format!("Bearer {}", server.platform);
    let headers = [
        ("Authorization", authorization.as_str()),
        ("Content-Type", "application/json"),
        ("Idempotency-Key", "a-key"),
    ];
    let body: &[u8] = if method == "GET" { b"" } else { b"{}" };
    send(server.addr, method, target, &headers, body)
}

#[test]
fn every_operation_refuses_a_query_parameter_that_it_does_not_know() {
    let server = Fixture::start();
    let operations = operations();
    assert!(operations.len() > 50, "all operations are there");
    let head = server.reader().head();
    for (method, path, known) in &operations {
        for unknown in ["dry_run", "as_of", "Limit", "limit%00", "%20limit"] {
            let answer = ask(&server, method, &format!("{path}?{unknown}=true"));
            let what = format!("{method} {path}?{unknown}: {:?}", answer.code());
            assert_eq!(
                (answer.status, &*answer.code()),
                (400, "parameter_unknown"),
                "{what}"
            );
        }
        // Also behind one that it knows.
        if let Some(known) = known.first() {
            let target = format!("{path}?{known}=x&dry_run=true");
            let answer = ask(&server, method, &target);
            assert_eq!(answer.code(), "parameter_unknown", "{method} {target}");
            assert_eq!(
                answer.json()["error"]["param"],
                "dry_run",
                "{method} {target}"
            );
        }
        if path.ends_with("/stream") {
            continue;
        }
        for known in known {
            let answer = ask(&server, method, &format!("{path}?{known}=x"));
            assert_ne!(
                answer.code(),
                "parameter_unknown",
                "{method} {path} knows {known}"
            );
        }
    }
    assert_eq!(server.reader().head(), head, "nothing was decided");
    for path in ["/docs", "/openapi.json", "/docs/errors/overloaded"] {
        let answer = ask(&server, "GET", &format!("{path}?v=1"));
        assert_eq!(answer.code(), "parameter_unknown", "{path}");
        assert_eq!(
            ask(&server, "GET", &format!("{path}?")).status,
            200,
            "{path}?"
        );
    }
}

#[test]
fn a_payment_with_an_unknown_query_parameter_is_not_made() {
    let server = Fixture::start();
    let (buyer, shop) = (
        server.wallet("ann", 100),
        server.account("shop", "merchant"),
    );
    let target = "/v1/payments?dry_run=true";
    let refused = server.post_key(target, "k", &pay(&buyer, &shop, 10));
    assert_eq!(
        (refused.status, &*refused.code()),
        (400, "parameter_unknown")
    );
    assert_eq!(refused.json()["error"]["param"], "dry_run");
    assert_eq!(server.posted(&buyer), 100);
    // The key is free: the refusal is no answer of the ledger.
    let paid = server.post_key("/v1/payments", "k", &pay(&buyer, &shop, 20));
    paid.expect(201);
    assert_eq!(server.posted(&buyer), 80);
    let balance = server.get(&format!("/v1/accounts/{buyer}?as_of=2026-01-01T00:00:00Z"));
    assert_eq!(
        (balance.status, &*balance.code()),
        (400, "parameter_unknown")
    );
}

/// A payment whose head has these lines besides those that it needs, or instead of them.
fn payment_head(
    server: &Fixture,
    buyer: &str,
    shop: &str,
    change: impl Fn(&str) -> Vec<String>,
) -> String {
    let body = pay(buyer, shop, 10).to_string();
    let lines = [
        "Host: localhost".to_owned(),
        format!("Authorization: Bearer {}", server.platform),
        "Content-Type: application/json".to_owned(),
        "Idempotency-Key: a-key".to_owned(),
        format!("Content-Length: {}", body.len()),
        "Connection: close".to_owned(),
    ];
    let lines: Vec<String> = lines.iter().flat_map(|line| change(line)).collect();
    format!(
        "POST /v1/payments HTTP/1.1\r\n{}\r\n\r\n{body}",
        lines.join("\r\n")
    )
}

#[test]
fn a_header_that_counts_stands_in_a_request_once() {
    let server = Fixture::start();
    let (buyer, shop) = (
        server.wallet("ann", 100),
        server.account("shop", "merchant"),
    );
    let head = server.reader().head();
    for (name, missing, twice) in [
        ("Host", "header_missing", "header_repeated"),
        ("Authorization", "api_key_missing", "header_repeated"),
        (
            "Content-Type",
            "content_type_unsupported",
            "header_repeated",
        ),
        (
            "Idempotency-Key",
            "idempotency_key_missing",
            "idempotency_key_invalid",
        ),
    ] {
        let changes: [(usize, &str); 2] = [(0, missing), (2, twice)];
        for (count, code) in changes {
            let request = payment_head(&server, &buyer, &shop, |line| {
                let count = if line.starts_with(name) { count } else { 1 };
                vec![line.to_owned(); count]
            });
            let answer = send_raw(server.addr, &request);
            assert_eq!(answer.code(), code, "{name} {count} times");
            if count == 2 {
                assert_eq!(
                    (answer.status, &answer.json()["error"]["param"]),
                    (400, &json!(name))
                );
            }
        }
    }
    assert_eq!(server.reader().head(), head, "nothing was decided");
    let request = payment_head(&server, &buyer, &shop, |line| vec![line.to_owned()]);
    send_raw(server.addr, &request).expect(201);
    // HTTP/1.0 knows no Host.
    let old = send_raw(server.addr, "GET /health/live HTTP/1.0\r\n\r\n");
    assert_eq!(old.status, 200);
}

#[test]
fn reads_refuse_repeated_headers_too() {
    let server = Fixture::start();
    let token = &server.platform;
    let twice = format!("Authorization: Bearer {token}\r\n").repeat(2);
    for (lines, code) in [
        (format!("Host: localhost\r\n{twice}"), "header_repeated"),
        (
            format!("Authorization: Bearer {token}\r\n"),
            "header_missing",
        ),
        (
            format!("Host: a\r\nHost: b\r\nAuthorization: Bearer {token}\r\n"),
            "header_repeated",
        ),
    ] {
        let request = format!("GET /v1/accounts HTTP/1.1\r\n{lines}Connection: close\r\n\r\n");
        assert_eq!(send_raw(server.addr, &request).code(), code, "{lines}");
    }
}

#[test]
fn a_compressed_body_is_refused_with_its_own_words() {
    let server = Fixture::start();
    let (buyer, shop) = (
        server.wallet("ann", 100),
        server.account("shop", "merchant"),
    );
    // The first bytes of any gzip stream.
    let gzip = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0];
    for path in ["/v1/payments", "/v1/top_ups", "/v1/batches"] {
        let coding = [("Content-Encoding", "gzip")];
        let answer = post(
            server.addr,
            &server.platform,
            path,
            Some("k"),
            &coding,
            &gzip,
        );
        let found = (answer.status, answer.code());
        assert_eq!(
            found,
            (415, "content_encoding_unsupported".to_owned()),
            "{path}"
        );
    }
    let plain = [("Content-Encoding", "identity")];
    let body = pay(&buyer, &shop, 10).to_string();
    post(
        server.addr,
        &server.platform,
        "/v1/payments",
        Some("k"),
        &plain,
        body.as_bytes(),
    )
    .expect(201);
}

#[test]
fn only_a_chunked_transfer_is_taken() {
    let server = Fixture::start();
    let (buyer, shop) = (
        server.wallet("ann", 100),
        server.account("shop", "merchant"),
    );
    let chunked = |coding: &str| {
        let request = payment_head(&server, &buyer, &shop, |line| {
            let coded = format!("Transfer-Encoding: {coding}");
            let length = line.starts_with("Content-Length");
            vec![if length { coded } else { line.to_owned() }]
        });
        let (head, body) = request.split_once("\r\n\r\n").expect("a head and a body");
        let request = format!("{head}\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
        send_raw(server.addr, &request)
    };
    for coding in ["gzip, chunked", "chunked, chunked"] {
        let answer = chunked(coding);
        let found = (answer.status, answer.code());
        assert_eq!(
            found,
            (400, "transfer_encoding_unsupported".to_owned()),
            "{coding}"
        );
    }
    assert_eq!(server.posted(&buyer), 100);
    chunked("chunked").expect(201);
}

#[test]
fn a_body_that_is_announced_as_too_long_is_refused_before_it_is_asked_for() {
    let server = Fixture::with(|config| config.limits.body_bytes_max = 10_000);
    for path in ["/v1/payments", "/v1/top_ups", "/v1/accounts"] {
        for (length, continues) in [(10_001, false), (u64::MAX / 4, false), (10_000, true)] {
            let head = format!(
                "POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\n\
                 Content-Type: application/json\r\nIdempotency-Key: k\r\nContent-Length: {length}\r\n\
                 Expect: 100-continue\r\n\r\n",
                server.platform
            );
            let mut stream = connect(server.addr);
            stream
                .write_all(head.as_bytes())
                .expect("the server listens");
            let mut begun = [0; 12];
            stream.read_exact(&mut begun).expect("it answers");
            let wanted: &[u8] = if continues {
                b"HTTP/1.1 100"
            } else {
                b"HTTP/1.1 413"
            };
            assert_eq!(&begun, wanted, "{path} {length}");
        }
    }
}

#[test]
fn a_head_above_the_documented_size_is_refused_with_its_own_words() {
    let server = Fixture::start();
    let documented = 32 << 10;
    let request = |bytes: usize| {
        let start = "GET /health/live HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nx: ";
        let fill = "x".repeat(bytes - start.len() - 4);
        send_raw(server.addr, &format!("{start}{fill}\r\n\r\n"))
    };
    assert_eq!(request(documented).status, 200);
    for more in [1, 1_000, 20_000] {
        let answer = request(documented + more);
        assert_eq!(
            (answer.status, &*answer.code()),
            (431, "head_too_large"),
            "{more} more"
        );
    }
    assert_eq!(request(3 * documented).status, 431);
    let lines = |count: usize| {
        let lines: String = (0..count - 2).map(|at| format!("x-{at}: x\r\n")).collect();
        let head =
            format!("GET /health/live HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{lines}\r\n");
        send_raw(server.addr, &head)
    };
    assert_eq!(lines(64).status, 200);
    let answer = lines(65);
    assert_eq!((answer.status, &*answer.code()), (431, "head_too_large"));
    // A long target counts as well.
    let target = format!(
        "GET /health/live?{} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        "x".repeat(documented)
    );
    let answer = send_raw(server.addr, &target);
    assert_eq!((answer.status, &*answer.code()), (431, "head_too_large"));
}
