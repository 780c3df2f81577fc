//! A foreign program reads the document and tries the server by it.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use serde_json::{Value, json};
use tributary_api::caller::internal_token;
use tributary_api::token::Secret;
use tributary_connect::webhooks::{Keyring, MasterKey, Rules, Settings, WebhookConfig};

use crate::fixture::{Fixture, hold, id, pay};

/// Requests that it makes up in all, at least: fewer would mean that it did not do what it is here for.
const REQUESTS_MIN: u64 = 3_000;
/// Requests of each operation that it makes up in one phase, at most.
const EXAMPLES_PER_OPERATION: &str = "15";

/// schemathesis finds no 5xx and no answer that the document does not allow: neither with ids made up by it, nor with
/// accounts and payments that exist.
#[test]
fn a_foreign_program_finds_the_server_to_be_as_documented() {
    if Command::new("schemathesis")
        .arg("--version")
        .output()
        .is_err()
    {
        assert!(
            std::env::var_os("TRIBUTARY_TEST_ALL").is_none(),
            "schemathesis is not on the PATH"
        );
        eprintln!("skipped: schemathesis is not on the PATH; scripts/test installs it");
        return;
    }
    let secret = Secret::random();
    let folder = tempfile::tempdir().expect("a folder");
    // No webhook goes where it makes up that one should.
    let rules = Rules {
        ports: vec![1],
        ..Rules::default()
    };
    let webhooks = WebhookConfig {
        keyring: Keyring::new(
            MasterKey::load(&folder.path().join("key"), true).expect("it is made"),
        ),
        settings: Settings {
            rules,
            resolver: Arc::new(|_| Ok(Vec::new())),
            ..Settings::default()
        },
    };
    let mut server = Fixture::with_webhooks_and(webhooks, |config| {
        config.internal = Some(secret.clone());
    });
    // This key can be neither rotated nor revoked by what the program makes up; the first platform key can.
    let token = internal_token(server.reader().ids(), &secret);
    server.platform.clone_from(&token);
    let mut document: Value =
        serde_json::from_str(&tributary_server::openapi_json()).expect("JSON");
    // Its answer has no end.
    let paths = document["paths"].as_object_mut().expect("paths");
    paths.remove("/v1/events/stream").expect("it is there");
    let mut requests = run(&server, &token, &document, "coverage,fuzzing");
    requests += run(
        &server,
        &token,
        &list_scope(&server, document),
        "fuzzing,stateful",
    );
    assert!(
        requests > REQUESTS_MIN,
        "only {requests} requests were made up"
    );
    let balance = server.get_as(&token, "/v1/trial_balance").expect(200);
    assert_eq!(balance["balanced"], true, "{balance}");
}

/// The document with the accounts and payments that there are, so that what is made up reaches the ledger.
fn list_scope(server: &Fixture, mut document: Value) -> Value {
    let mut accounts: Vec<String> = ["ann", "bob"]
        .iter()
        .map(|owner| server.wallet(owner, 1_000_000))
        .collect();
    accounts.extend(
        ["merchant", "fee", "external"]
            .iter()
            .map(|kind| server.account("shop", kind)),
    );
    let payments: Vec<String> = (0..6)
        .map(|index| match index % 2 {
            0 => pay(&accounts[0], &accounts[2], 1_000),
            _ => hold(&accounts[1], &accounts[2], 1_000),
        })
        .map(|body| id(&server.post("/v1/payments", &body).expect(201)))
        .collect();
    let schemas = &mut document["components"]["schemas"];
    schemas["AccountId"] = json!({"type": "string", "enum": accounts});
    schemas["PaymentId"] = json!({"type": "string", "enum": payments});
    schemas["Currency"] = json!({"type": "string", "enum": ["EUR"]});
    // Accounts from the first run have larger overdrafts.
    schemas["Overdraft"]["oneOf"][0] = schemas["Amount"].clone();
    schemas["Amount"]["maximum"] = json!(2_000);
    document
}

fn run(server: &Fixture, token: &str, document: &Value, phases: &str) -> u64 {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("openapi.json");
    std::fs::write(&path, document.to_string()).expect("it can be written");
    let settings = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/schemathesis.toml");
    let output = Command::new("schemathesis")
        .current_dir(dir.path())
        .arg("--config-file")
        .arg(settings)
        .args([
            "run",
            "--no-color",
            "--phases",
            phases,
            "--max-examples",
            EXAMPLES_PER_OPERATION,
            "--seed",
            "1",
        ])
        .args(["--suppress-health-check", "all", "--warnings", "off"])
        .args(["--url", &format!("http://{}", server.addr)])
        .args(["--header", &format!("Authorization: Bearer {token}")])
        .arg(&path)
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{said}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let generated = said
        .lines()
        .find_map(|line| line.trim().split_once(" generated"));
    let (count, _) =
        generated.unwrap_or_else(|| panic!("it does not say how many requests it made up: {said}"));
    count.parse().expect("a number")
}
