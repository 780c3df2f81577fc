//! The OpenAPI document, the pages, health and metrics.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use tributary_api::render::event_schema::event_types;

use crate::client::{send, until};
use crate::fixture::{Fixture, id, pay};

/// Maximum size of the document per operation, bytes. A larger one repeats what it could refer to.
const BYTES_PER_OPERATION_MAX: usize = 3_800;

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
    let text = tributary_server::openapi_json();
    let document: Value = serde_json::from_str(&text).expect("JSON");
    let paths = document["paths"].as_object().expect("paths").values();
    let operations: usize = paths
        .map(|path| path.as_object().map_or(0, |it| it.len()))
        .sum();
    let each = text.len() / operations;
    assert!(
        each < BYTES_PER_OPERATION_MAX,
        "{each} bytes for each of {operations} operations"
    );
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
fn one_schema_lists_all_error_codes_and_answers_may_have_more() {
    let document: Value = serde_json::from_str(&tributary_server::openapi_json()).expect("JSON");
    let schemas = &document["components"]["schemas"];
    let listed = schemas["ErrorCode"]["enum"].as_array().expect("codes");
    let pages = tributary_api::error_pages::PAGES;
    assert_eq!(listed.len(), pages.len());
    assert!(pages.iter().all(|(code, _)| listed.contains(&json!(code))));
    let open = json!([{"$ref": "#/components/schemas/ErrorCode"}, {"type": "string"}]);
    for holder in ["ErrorDetail", "Failure"] {
        assert_eq!(schemas[holder]["properties"]["code"]["anyOf"], open);
    }
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

/// What a browser sends.
const BROWSER: (&str, &str) = ("Accept", "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8");

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
        "receiveWebhook",
        // The name of a shared parameter and the codes of a shared answer, with links to their pages.
        "Idempotency-Key",
        "<a href=\"docs/errors/overloaded\"><code>overloaded</code></a>",
        // An example.
        "<pre>curl &quot;$SERVER/v1/refunds&quot;",
    ] {
        assert!(text.contains(wanted), "{wanted}");
    }
    let policy = page.header("content-security-policy").expect("a policy");
    assert!(policy.starts_with("default-src 'none';") && !policy.contains("unsafe"));
    // The only script and the only style are the server's own.
    assert_eq!(text.matches("<script").count(), 1);
    assert_eq!(text.matches("<link").count(), 1);
    assert!(!text.contains("src=\"http") && !text.contains(" style=") && !text.contains("<style"));
    for (link, kind) in [
        ("docs/search.js", "text/javascript; charset=utf-8"),
        ("docs/style.css", "text/css; charset=utf-8"),
    ] {
        assert!(text.contains(&format!("=\"{link}\"")), "{link}");
        let part = send(server.addr, "GET", &format!("/{link}"), &[], b"");
        assert_eq!(
            (part.status, part.header("content-type")),
            (200, Some(kind))
        );
    }
}

#[test]
fn an_error_page_is_html_for_browsers_and_markdown_for_others() {
    let server = Fixture::start();
    let (buyer, shop) = (server.wallet("ann", 1), server.account("shop", "merchant"));
    let refused = server.post("/v1/payments", &pay(&buyer, &shop, 2)).json();
    let path = refused["error"]["doc_url"].as_str().expect("a path");
    let page = send(server.addr, "GET", path, &[], b"");
    let markdown = Some("text/markdown; charset=utf-8");
    assert_eq!(page.header("content-type"), markdown);
    assert!(page.body.starts_with(b"# `insufficient_funds`"));
    for (path, part) in [
        (path, "<h1><code>insufficient_funds</code></h1>"),
        ("/docs/errors", "<a href=\"errors/insufficient_funds\">"),
    ] {
        let page = send(server.addr, "GET", path, &[BROWSER], b"");
        assert_eq!(
            page.header("content-type"),
            Some("text/html; charset=utf-8")
        );
        assert_eq!(page.header("vary"), Some("Accept"));
        let text = String::from_utf8(page.body).expect("UTF-8");
        assert!(text.contains(part), "{text}");
    }
    let unknown = send(server.addr, "GET", "/docs/errors/nothing", &[BROWSER], b"");
    assert_eq!(unknown.status, 404);
}

#[test]
fn every_example_of_the_document_has_the_right_form() {
    let document: Value = serde_json::from_str(&tributary_server::openapi_json()).expect("JSON");
    let server = Fixture::with_webhooks();
    let subscription = server.post("/v1/subscriptions", &json!({"events": []}));
    let subscription = id(&subscription.expect(201));
    let hooks = json!({"events": [], "url": "https://shop.example/hooks"});
    let hooks = id(&server.post("/v1/subscriptions", &hooks).expect(201));
    let mut examples = 0;
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("operations") {
            let content = &operation["requestBody"]["content"]["application/json"];
            let (method, name) = (method.to_uppercase(), &operation["operationId"]);
            if content["example"].is_null() {
                continue;
            }
            examples += 1;
            let named = if path.starts_with("/v1/payments") {
                "pay_4b1w9k6z7q0c8n2m5x3v7t9r1p"
            } else if name == "rotateSecret" {
                &hooks
            } else {
                &subscription
            };
            let headers = [
                ("Authorization", format!("Bearer {}", server.platform)),
                ("Idempotency-Key", server.new_key()),
                ("Content-Type", "application/json".to_owned()),
            ];
            let headers = headers
                .each_ref()
                .map(|(name, value)| (*name, value.as_str()));
            let path = path.replace("{id}", named).replace("{name}", "acme");
            let body = content["example"].to_string();
            let term = server.get("/v1/cluster").json()["term"].clone();
            let answer = send(server.addr, &method, &path, &headers, body.as_bytes());
            // What an example names does not exist; but it is named in the right form.
            let missing = answer.status == 404 || answer.code() == "resource_not_found";
            // The clock that it confirms is another one, and this server is no sandbox.
            let elsewhere = match name.as_str() {
                Some("confirmClock") => answer.json()["error"]["param"] == "wall_time",
                // No adapter to a real broker is built in.
                Some("createBinder") => answer.json()["error"]["param"] == "type",
                Some("advanceSandboxClock") => answer.code() == "sandbox_only",
                _ => false,
            };
            assert!(
                missing || elsewhere || (200..300).contains(&answer.status),
                "{name}: {} {}",
                answer.status,
                answer.json()
            );
            if name == "handOverLeadership" && answer.status < 300 {
                // A node of a cluster gives the lead up, and takes it again.
                until("the server leads again", || {
                    let now = server.get("/v1/cluster").json();
                    (now["term"] != term && now["role"] == "leader").then_some(())
                });
                server.wait_until_it_leads();
            }
        }
    }
    assert!(examples > 20, "{examples}");
}

#[test]
fn the_answer_with_only_ids_is_described_as_an_object() {
    let document: Value = serde_json::from_str(&tributary_server::openapi_json()).expect("JSON");
    let schemas = &document["components"]["schemas"];
    let alternatives = schemas["AnswerObject"]["oneOf"].as_array().expect("some");
    assert_eq!(alternatives.len(), 3);
    let named = |schema: &Value| {
        let path = schema["$ref"].as_str().expect("a reference").to_owned();
        document
            .pointer(path.trim_start_matches('#'))
            .expect("it")
            .clone()
    };
    assert!(named(&alternatives[2])["properties"]["id"].is_object());
    for alternative in alternatives {
        let schema = named(alternative);
        assert!(
            schema["type"] == "object" || schema["oneOf"].is_array(),
            "{schema}"
        );
    }
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

#[test]
fn the_page_of_events_names_every_type() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/events.md");
    let page = std::fs::read_to_string(path).expect("docs/events.md is there");
    // The page names these together.
    let together = |kind: &str| {
        let settings = [
            "setting.",
            "applied_file.",
            "master_key.",
            "binder.",
            "binding.",
        ];
        kind.ends_with(".refused") || settings.iter().any(|name| kind.starts_with(name))
    };
    let missing: Vec<_> = event_types()
        .iter()
        .filter(|kind| !together(kind) && !page.contains(&format!("`{kind}`")))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}
