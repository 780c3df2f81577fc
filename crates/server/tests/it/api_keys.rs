//! API keys: a rotation with an overlap, and answers with a secret that were lost. And the version of the API.

use serde_json::{Value, json};
use tributary_api::token::{Secret, SecretSource};
use tributary_ledger::{Access, Actor, ApiKeyId, Body, Command, CreateApiKey, Key, OwnerName};

use crate::client::send;
use crate::fixture::{Fixture, id, pay};

fn secret(key: &Value) -> String {
    key["secret"].as_str().expect("it is shown").to_owned()
}

fn status(server: &Fixture, token: &str) -> u16 {
    server.get_as(token, "/v1/accounts").status
}

#[test]
fn the_old_secret_works_until_its_overlap_ends_by_ledger_time() {
    let mut server = Fixture::start();
    let body = json!({"owner": "ann", "access": "write"});
    let made = server.post("/v1/api_keys", &body).expect(201);
    assert_eq!(made["previous_secret_expires_at"], Value::Null);
    let path = format!("/v1/api_keys/{}", id(&made));
    let rotate = |server: &Fixture, body: Value| {
        let rotated = server.post(&format!("{path}/rotate"), &body).expect(200);
        (
            secret(&rotated),
            rotated["previous_secret_expires_at"].clone(),
        )
    };
    let first = secret(&made);
    let (second, until) = rotate(&server, json!({"overlap_seconds": 60}));
    assert!(until.is_string());
    assert_eq!(
        (status(&server, &first), status(&server, &second)),
        (200, 200)
    );
    server.restart();
    server.clock.advance(59);
    assert_eq!(
        (status(&server, &first), status(&server, &second)),
        (200, 200)
    );
    server.clock.advance(1);
    assert_eq!(
        (status(&server, &first), status(&server, &second)),
        (401, 200)
    );
    // At most two secrets work, and without an overlap one.
    let (third, _) = rotate(&server, json!({"overlap_seconds": 2_592_000}));
    let (fourth, _) = rotate(&server, json!({"overlap_seconds": 60}));
    let works = |token: &String| status(&server, token) == 200;
    assert_eq!([&second, &third, &fourth].map(works), [false, true, true]);
    let (fifth, until) = rotate(&server, json!({}));
    assert_eq!(until, Value::Null);
    assert_eq!([&third, &fourth, &fifth].map(works), [false, false, true]);
    let (sixth, _) = rotate(&server, json!({"overlap_seconds": 60}));
    server
        .post(&format!("{path}/revoke"), &json!({}))
        .expect(200);
    assert_eq!([&fifth, &sixth].map(works), [false, false]);
    let answer = server.post(
        &format!("{path}/rotate"),
        &json!({"overlap_seconds": 2_592_001}),
    );
    assert_eq!(
        (answer.status, answer.code()),
        (400, "parameter_invalid".to_owned())
    );
}

#[test]
fn a_lost_answer_to_a_creation_or_rotation_loses_no_secret_while_it_is_current() {
    let server = Fixture::with(|config| config.secrets = Some(SecretSource::new([7; 32])));
    let body = json!({"owner": "ann", "access": "write"});
    let made = server.post_key("/v1/api_keys", "make", &body).expect(201);
    let again = server.post_key("/v1/api_keys", "make", &body);
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    assert_eq!(again.expect(201), made);
    let other = server.post_key("/v1/api_keys", "other", &body).expect(201);
    assert_ne!(secret(&other), secret(&made));
    let path = format!("/v1/api_keys/{}/rotate", id(&made));
    let rotated = server.post_key(&path, "turn", &json!({})).expect(200);
    assert_ne!(secret(&rotated), secret(&made));
    assert_eq!(
        server.post_key(&path, "turn", &json!({})).expect(200),
        rotated
    );
    assert_eq!(status(&server, &secret(&rotated)), 200);
    // It is not current any more: the answer is the same but for the secret.
    let late = server.post_key("/v1/api_keys", "make", &body).expect(201);
    assert_eq!((&late["id"], &late["secret"]), (&made["id"], &Value::Null));
    let overlap = json!({"overlap_seconds": 60});
    server.post_key(&path, "turn-2", &overlap).expect(200);
    let late = server.post_key(&path, "turn", &json!({})).expect(200);
    assert_eq!(
        late["secret"],
        Value::Null,
        "it works for a while, and is not current"
    );
    let differs = server.post_key(&path, "turn-2", &json!({"overlap_seconds": 61}));
    assert_eq!(
        (differs.status, differs.code()),
        (422, "idempotency_key_reused".to_owned())
    );
    let listed = server.get("/v1/api_keys").expect(200);
    assert!(!listed.to_string().contains("tk_"), "{listed}");
}

#[test]
fn an_answer_names_its_version_and_an_unknown_one_is_refused_before_anything_is_done() {
    let server = Fixture::start();
    let (ann, shop) = (server.wallet("ann", 50), server.account("shop", "merchant"));
    let body = pay(&ann, &shop, 10).to_string();
    let bearer = format!("Bearer {}", server.platform);
    let ask = |method: &str, path: &str, versions: &[&str], body: &str| {
        let mut headers = vec![
            ("Authorization", bearer.as_str()),
            ("Idempotency-Key", "order-1"),
            ("Content-Type", "application/json"),
        ];
        headers.extend(
            versions
                .iter()
                .map(|version| ("Tributary-Version", *version)),
        );
        send(server.addr, method, path, &headers, body.as_bytes())
    };
    for wrong in [
        &["2026-11-02"][..],
        &["latest"],
        &[""],
        &["2026-11-01", "2026-11-01"],
    ] {
        for (method, path) in [
            ("POST", "/v1/payments"),
            ("GET", "/v1/accounts"),
            ("POST", "/v1/top_ups"),
        ] {
            let answer = ask(method, path, wrong, &body);
            assert_eq!(
                (answer.status, answer.code()),
                (400, "api_version_unknown".to_owned()),
                "{path} {wrong:?}"
            );
            assert_eq!(answer.header("tributary-version"), Some("2026-11-01"));
        }
    }
    assert_eq!(server.posted(&shop), 0);
    for known in [&["2026-11-01"][..], &[]] {
        for (method, path, status) in [("POST", "/v1/payments", 201), ("GET", "/v1/accounts", 200)]
        {
            let answer = ask(method, path, known, &body);
            assert_eq!(answer.header("tributary-version"), Some("2026-11-01"));
            answer.expect(status);
        }
    }
    assert_eq!(server.posted(&shop), 10, "the key was free");
    let unknown = server.get("/v1/nothing");
    assert_eq!(unknown.header("tributary-version"), Some("2026-11-01"));
}

#[test]
fn key_hashes_and_nothing_else_are_stored() {
    let server = Fixture::start();
    let secret = Secret::random();
    let command = Command {
        key: Key::from_bytes(b"driven").expect("a key"),
        actor: Actor::SYSTEM,
        linked: false,
        effective_at: None,
        text: None,
        origin: None,
        assessment: None,
        body: Body::CreateApiKey(CreateApiKey {
            owner: OwnerName::platform(),
            access: Access::Write,
            secret_hash: secret.hash(),
            label: None,
        }),
    };
    let made = server.engine.execute_blocking(vec![command]);
    made.expect("it is decided");
    let reader = server.reader();
    let token = secret.token(reader.ids(), ApiKeyId(reader.head().position));
    assert_eq!(status(&server, &token), 200);
    let (_, random) = token.rsplit_once('_').expect("two parts");
    let bytes = hex::decode(random).expect("hexadecimal");
    let frames = server.get("/v1/journal/frames").body;
    assert!(frames.windows(32).any(|window| window == secret.hash()));
    assert!(!frames.windows(32).any(|window| window == bytes));
}
