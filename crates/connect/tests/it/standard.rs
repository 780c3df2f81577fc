//! Deliveries verify with the packages that receivers use.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::Arc;

use serde_json::{Value, json};
use standardwebhooks::Webhook;
use tributary_connect::webhooks::{Endpoint, EndpointUrl, Outcome, SigningSecret, SigningSecrets};
use tributary_engine::{Clock as _, SystemClock};

use crate::receiver::{Receiver, Seen, status};
use crate::{Sending, job, open};

/// Sends to an endpoint whose secret was rotated once, and tells what arrived and by which secrets.
fn rotated() -> (Vec<Seen>, [String; 3]) {
    let receiver = Receiver::start(|_| status(200));
    let [old, new, foreign] = std::array::from_fn(|_| SigningSecret::random());
    let mut secrets = SigningSecrets::new(old.clone());
    let now = SystemClock.now();
    secrets.rotate(new.clone(), now, 3_600).expect("room");
    let endpoint = Arc::new(Endpoint {
        id: "sub_1".to_owned(),
        url: EndpointUrl::parse(&format!("http://{}/hooks", receiver.addr)).expect("a URL"),
        secrets,
    });
    let sending = Sending::start(open());
    for event in 0..5 {
        let mut job = job(&endpoint, event);
        job.body = format!("{{\"text\":\"ünïcode 💶 {event}\", \"n\": 1.50 }}").into();
        assert_eq!(sending.send(job).outcome, Outcome::Delivered);
    }
    (
        receiver.seen(),
        [old, new, foreign].map(|secret| secret.reveal()),
    )
}

#[test]
fn deliveries_verify_with_the_crate_under_the_new_and_the_old_secret_and_no_other() {
    let (seen, secrets) = rotated();
    assert_eq!(seen.len(), 5);
    for request in &seen {
        let verified = secrets.each_ref().map(|secret| {
            let webhook = Webhook::new(secret).expect("a secret");
            webhook.verify(&request.body, &request.headers).is_ok()
        });
        assert_eq!(verified, [true, true, false]);
        let webhook = Webhook::new(&secrets[1]).expect("a secret");
        let mut body = request.body.to_vec();
        body[3] ^= 1;
        assert!(
            webhook.verify(&body, &request.headers).is_err(),
            "another body"
        );
        for (name, value) in [("webhook-id", "evt_x"), ("webhook-timestamp", "1")] {
            let mut headers = request.headers.clone();
            headers.insert(name, value.parse().expect("a value"));
            assert!(webhook.verify(&request.body, &headers).is_err(), "{name}");
        }
    }
}

#[test]
fn a_delivery_has_the_headers_of_the_standard_and_says_who_sends_it() {
    let before = SystemClock.now() / 1_000_000_000;
    let (seen, _) = rotated();
    let after = SystemClock.now() / 1_000_000_000;
    for (event, request) in seen.iter().enumerate() {
        assert_eq!(request.path, "/hooks");
        assert_eq!(request.header("webhook-id"), format!("evt_{event}"));
        let time: u64 = request
            .header("webhook-timestamp")
            .parse()
            .expect("seconds");
        assert!((before..=after).contains(&time));
        let signatures: Vec<&str> = request.header("webhook-signature").split(' ').collect();
        assert_eq!(signatures.len(), 2);
        // `v1,` and the base64 of 32 bytes.
        assert!(
            signatures
                .iter()
                .all(|one| one.starts_with("v1,") && one.len() == 47)
        );
        assert_eq!(request.header("content-type"), "application/json");
        assert!(
            request
                .header("user-agent")
                .starts_with("Tributary-Webhooks/")
        );
        assert_eq!(
            request.header("content-length"),
            request.body.len().to_string()
        );
    }
}

const PYTHON: &str = r#"
import json, sys
from standardwebhooks import Webhook, WebhookVerificationError
for line in sys.stdin:
    case = json.loads(line)
    try:
        Webhook(case["secret"]).verify(case["body"], case["headers"])
        print("yes")
    except WebhookVerificationError:
        print("no")
"#;

/// The package from PyPI, in the environment that scripts/install-tools makes.
#[test]
fn deliveries_verify_with_the_python_package_too() {
    let ready = Command::new("tools-python")
        .args(["-c", "import standardwebhooks"])
        .output()
        .is_ok_and(|output| output.status.success());
    if !ready {
        assert!(
            std::env::var_os("TRIBUTARY_TEST_ALL").is_none(),
            "no tools-python with standardwebhooks is on the PATH"
        );
        eprintln!("skipped: tools-python is not on the PATH; scripts/test installs it");
        return;
    }
    let (seen, secrets) = rotated();
    let mut cases: Vec<Value> = Vec::new();
    for request in &seen {
        let headers: serde_json::Map<String, Value> = request
            .headers
            .keys()
            .map(|name| (name.to_string(), json!(request.header(name.as_str()))))
            .collect();
        let body = str::from_utf8(&request.body).expect("text");
        for secret in &secrets {
            cases.push(json!({"secret": secret, "body": body, "headers": headers}));
        }
        cases.push(json!({"secret": secrets[0], "body": format!("{body} "), "headers": headers}));
    }
    let mut python = Command::new("tools-python")
        .args(["-c", PYTHON])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut input = python.stdin.take().expect("a pipe");
    for case in &cases {
        writeln!(input, "{case}").expect("it reads");
    }
    drop(input);
    let output = python.wait_with_output().expect("it ends");
    let said = String::from_utf8(output.stdout).expect("text");
    let said: Vec<&str> = said.lines().collect();
    assert_eq!(said, ["yes", "yes", "no", "no"].repeat(seen.len()));
}
