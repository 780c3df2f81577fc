//! The OpenAPI document, the pages, health and metrics.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::client::send;
use crate::fixture::{Fixture, pay};

/// Maximum size of the document. A larger one repeats what it could refer to.
const DOCUMENT_BYTES_MAX: usize = 300_000;

/// `UPDATE=1 cargo test -p tributary-server` writes the document anew.
#[test]
fn the_checked_in_document_is_the_one_that_is_served() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/openapi.json");
    let made = tributary_server::openapi_json();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &made).expect("it can be written");
    }
    let stored = std::fs::read_to_string(&path).expect("docs/openapi.json is there");
    assert!(
        stored == made,
        "docs/openapi.json is not what the handlers say: run the tests with UPDATE=1"
    );
    let server = Fixture::start();
    let served = send(server.addr, "GET", "/openapi.json", &[], b"");
    assert_eq!(served.header("content-type"), Some("application/json"));
    assert!(served.body == made.as_bytes());
}

#[test]
fn the_document_stays_small() {
    let bytes = tributary_server::openapi_json().len();
    assert!(bytes < DOCUMENT_BYTES_MAX, "the document has {bytes} bytes");
}

#[test]
fn a_foreign_validator_accepts_the_document() {
    let has_validator = Command::new("tools-python")
        .args(["-c", "import openapi_spec_validator"])
        .output()
        .is_ok_and(|output| output.status.success());
    if !has_validator {
        assert!(
            std::env::var_os("TRIBUTARY_TEST_ALL").is_none(),
            "tools-python with openapi-spec-validator is not on the PATH"
        );
        eprintln!("skipped: openapi-spec-validator is not installed; scripts/test installs it");
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("openapi.json");
    std::fs::write(&path, tributary_server::openapi_json()).expect("it can be written");
    let output = Command::new("tools-python")
        .args(["-m", "openapi_spec_validator", "--schema", "3.1"])
        .arg(&path)
        .output()
        .expect("the validator runs");
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn every_reference_of_the_document_leads_somewhere() {
    let document: Value = serde_json::from_str(&tributary_server::openapi_json()).expect("JSON");
    assert_eq!(document["openapi"], "3.1.0");
    let mut references = Vec::new();
    collect(&document, &mut references);
    assert!(references.len() > 50);
    for reference in references {
        let pointer = reference.strip_prefix('#').expect("a local reference");
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
}

fn collect(value: &Value, into: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            if let Some(reference) = fields.get("$ref").and_then(Value::as_str) {
                into.push(reference.to_owned());
            }
            fields.values().for_each(|value| collect(value, into));
        }
        Value::Array(items) => items.iter().for_each(|value| collect(value, into)),
        _ => {}
    }
}

#[test]
fn the_pages_need_nothing_from_elsewhere() {
    let server = Fixture::start();
    let page = send(server.addr, "GET", "/docs", &[], b"");
    let text = String::from_utf8(page.body.clone()).expect("UTF-8");
    assert_eq!(page.status, 200);
    for wanted in [
        "createPayment",
        "/v1/payments/{id}/capture",
        "schema-Payment",
        // The name of a shared parameter and the codes of a shared answer.
        "Idempotency-Key",
        "<code>overloaded</code>",
    ] {
        assert!(text.contains(wanted), "{wanted}");
    }
    for refused in ["<script", "http://", "https://", "src="] {
        assert!(!text.contains(refused), "{refused}");
    }
    let (buyer, shop) = (server.wallet("ann", 1), server.account("shop", "merchant"));
    let refused = server.post("/v1/payments", &pay(&buyer, &shop, 2)).json();
    let page = send(
        server.addr,
        "GET",
        refused["error"]["doc_url"].as_str().expect("a path"),
        &[],
        b"",
    );
    assert_eq!(
        page.header("content-type"),
        Some("text/markdown; charset=utf-8")
    );
    assert!(page.body.starts_with(b"# `insufficient_funds`"));
}

#[test]
fn health_and_metrics_tell_how_it_goes() {
    let server = Fixture::with(|config| config.public_metrics = true);
    for path in ["/health/live", "/health/ready"] {
        assert_eq!(
            send(server.addr, "GET", path, &[], b"").status,
            200,
            "{path}"
        );
    }
    let (buyer, shop) = (server.wallet("ann", 10), server.account("shop", "merchant"));
    server
        .post("/v1/payments", &pay(&buyer, &shop, 1))
        .expect(201);
    server.post("/v1/payments", &pay(&buyer, &shop, 100));
    let page = send(server.addr, "GET", "/metrics", &[], b"");
    let text = String::from_utf8(page.body).expect("UTF-8");
    for line in [
        "tributary_http_requests_total{method=\"POST\",route=\"/v1/payments\",status=\"201\"} 1"
            .to_owned(),
        "tributary_http_requests_total{method=\"POST\",route=\"/v1/payments\",status=\"402\"} 1"
            .to_owned(),
        "tributary_records_rejected_total 1".to_owned(),
        "tributary_http_requests_in_flight 1".to_owned(),
        format!(
            "tributary_journal_position {}",
            server.reader().head().position
        ),
    ] {
        assert!(text.lines().any(|known| known == line), "{line} in\n{text}");
    }
}

#[test]
fn every_answer_names_its_request() {
    let server = Fixture::start();
    let ids: Vec<String> = ["/v1/payments", "/v1/nothing", "/health/live"]
        .iter()
        .map(|path| {
            server
                .get(path)
                .header("request-id")
                .expect("an id")
                .to_owned()
        })
        .collect();
    assert!(ids.iter().all(|id| id.starts_with("req_")) && ids[0] != ids[1] && ids[1] != ids[2]);
    let error = server.get("/v1/nothing");
    assert_eq!(
        error.json()["error"]["request_id"],
        error.header("request-id").expect("an id")
    );
}
