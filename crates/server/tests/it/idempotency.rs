//! A write under one key is done once, whatever happens in between.

use std::sync::Arc;

use serde_json::{Value, json};
use tributary_api::intake::{IdentityKind, message_key};

use crate::client::send_raw;
use crate::fixture::{Fixture, hold, id, pay};

/// The retry of every kind of write gets the first answer, byte for byte, although the objects have changed since.
#[test]
fn a_retry_gets_the_first_answer_byte_for_byte() {
    let server = Fixture::start();
    let (buyer, shop) = (
        server.wallet("ann", 10_000),
        server.account("shop", "merchant"),
    );
    let held = id(&server
        .post("/v1/payments", &hold(&buyer, &shop, 500))
        .expect(201));
    let voided = id(&server
        .post("/v1/payments", &hold(&buyer, &shop, 500))
        .expect(201));
    let paid = id(&server
        .post("/v1/payments", &pay(&buyer, &shop, 500))
        .expect(201));
    let spare = server.account("ann", "wallet");
    let writes: Vec<(String, Value)> = vec![
        (
            "/v1/accounts".into(),
            json!({"owner": "new", "currency": "EUR", "external_id": "x", "description": "d"}),
        ),
        ("/v1/payments".into(), pay(&buyer, &shop, 100)),
        ("/v1/payments".into(), pay(&buyer, &shop, 1_000_000)),
        (
            format!("/v1/payments/{held}/capture"),
            json!({"amount": 100}),
        ),
        (
            format!("/v1/payments/{held}/capture"),
            json!({"amount": 1_000}),
        ),
        (format!("/v1/payments/{voided}/void"), json!({})),
        ("/v1/refunds".into(), json!({"payment": paid, "amount": 10})),
        ("/v1/transfers".into(), pay(&buyer, &spare, 0)),
        (format!("/v1/accounts/{shop}/freeze"), json!({})),
        (format!("/v1/accounts/{shop}/unfreeze"), json!({})),
        (format!("/v1/accounts/{spare}/close"), json!({})),
    ];
    let first: Vec<_> = writes
        .iter()
        .enumerate()
        .map(|(index, (path, body))| server.post_key(path, &format!("w{index}"), body))
        .collect();
    server
        .post(
            &format!("/v1/payments/{held}/capture"),
            &json!({"final": true}),
        )
        .expect(200);
    server
        .post("/v1/refunds", &json!({"payment": paid}))
        .expect(201);
    for ((index, (path, body)), first) in writes.iter().enumerate().zip(&first) {
        assert_eq!(first.header("idempotent-replayed"), None, "{path}");
        let again = server.post_key(path, &format!("w{index}"), body);
        assert_eq!(again.status, first.status, "{path}");
        assert_eq!(again.header("idempotent-replayed"), Some("true"), "{path}");
        assert_eq!(
            without_request_id(&again.body),
            without_request_id(&first.body),
            "{path}"
        );
    }
}

/// The body with the one thing blanked in which two answers may differ.
fn without_request_id(body: &[u8]) -> String {
    let text = String::from_utf8(body.to_vec()).expect("JSON is UTF-8");
    match text.find("\"req_") {
        Some(start) => {
            let end = start + 1 + text[start + 1..].find('"').expect("a string ends");
            format!("{}{}", &text[..start], &text[end + 1..])
        }
        None => text,
    }
}

#[test]
fn another_body_under_the_same_key_is_refused() {
    let server = Fixture::start();
    let (buyer, shop) = (
        server.wallet("ann", 100),
        server.account("shop", "merchant"),
    );
    server
        .post_key("/v1/payments", "k", &pay(&buyer, &shop, 10))
        .expect(201);
    let other = server.post_key("/v1/payments", "k", &pay(&buyer, &shop, 11));
    assert_eq!(
        (other.status, other.code().as_str()),
        (422, "idempotency_key_reused")
    );
    // The same request in other words is the same request: quoted key, other order of fields, defaults spelt out.
    let same = format!(
        "{{\"destination\":\"{shop}\", \"source\":\"{buyer}\",\"currency\":\"EUR\",\"metadata\":{{}},\"capture_method\":\"automatic\",\"amount\":10}}"
    );
    let same = server.post_raw(
        &server.platform,
        "/v1/payments",
        Some("\"k\""),
        same.as_bytes(),
    );
    assert_eq!(same.header("idempotent-replayed"), Some("true"));
    assert_eq!(server.posted(&shop), 10);
}

#[test]
fn keys_of_different_owners_do_not_meet() {
    let server = Fixture::start();
    let (ann, bob) = (server.wallet("ann", 100), server.wallet("bob", 100));
    let shop = server.account("shop", "merchant");
    for (owner, wallet) in [("ann", &ann), ("bob", &bob)] {
        let token = server.token(owner, "write");
        let body = pay(wallet, &shop, 10).to_string();
        server
            .post_raw(&token, "/v1/payments", Some("same"), body.as_bytes())
            .expect(201);
    }
    assert_eq!(server.posted(&shop), 20);
}

#[test]
fn the_same_key_twice_in_one_batch_is_done_once() {
    let server = Fixture::start();
    let (buyer, shop) = (
        server.wallet("ann", 100),
        server.account("shop", "merchant"),
    );
    let command = json!({"idempotency_key": "k", "payment": pay(&buyer, &shop, 10)});
    let other = json!({"idempotency_key": "k", "payment": pay(&buyer, &shop, 11)});
    let answer = server
        .post("/v1/batches", &json!([command, command, other, command]))
        .expect(200);
    let results = answer["results"].as_array().expect("results");
    let seen: Vec<(u64, bool)> = results
        .iter()
        .map(|result| {
            (
                result["status"].as_u64().expect("a status"),
                result["replayed"].as_bool().expect("a flag"),
            )
        })
        .collect();
    assert_eq!(seen, [(201, false), (201, true), (422, false), (201, true)]);
    assert_eq!(results[0]["result"], results[1]["result"]);
    assert_eq!(server.posted(&shop), 10);
    // The header and the batch share the keys.
    let alone = server.post_key("/v1/payments", "k", &pay(&buyer, &shop, 10));
    assert_eq!(alone.expect(201), results[0]["result"]);
}

#[test]
fn the_same_key_at_the_same_moment_is_done_once() {
    let server = Arc::new(Fixture::start());
    let (buyer, shop) = (
        server.wallet("ann", 1_000),
        server.account("shop", "merchant"),
    );
    for round in 0..5 {
        let body = pay(&buyer, &shop, 10);
        let threads: Vec<_> = (0..8)
            .map(|_| {
                let (server, body) = (server.clone(), body.clone());
                std::thread::spawn(move || {
                    server.post_key("/v1/payments", &format!("round-{round}"), &body)
                })
            })
            .collect();
        let answers: Vec<_> = threads
            .into_iter()
            .map(|thread| thread.join().expect("no panic"))
            .collect();
        for answer in &answers {
            assert_eq!(answer.expect(201), answers[0].json());
        }
        let first = answers
            .iter()
            .filter(|answer| answer.header("idempotent-replayed").is_none())
            .count();
        assert_eq!(first, 1, "one attempt is the first");
        assert_eq!(server.posted(&shop), 10 * (round + 1));
    }
}

/// The secret is shown once: it can't be stored, so the repetition can't show it, and does not make another one.
#[test]
fn a_retry_never_shows_a_secret_again_and_never_makes_another_key() {
    let server = Fixture::start();
    let body = json!({"owner": "ann", "access": "write"});
    let first = server.post_key("/v1/api_keys", "k", &body).expect(201);
    let token = first["secret"].as_str().expect("it is shown").to_owned();
    let again = server.post_key("/v1/api_keys", "k", &body);
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    let again = again.expect(201);
    assert_eq!(
        (&again["id"], &again["secret"]),
        (&first["id"], &Value::Null)
    );
    assert_eq!(server.get_as(&token, "/v1/accounts").status, 200);

    let path = format!("/v1/api_keys/{}/rotate", id(&first));
    let rotated = server.post_key(&path, "r", &json!({})).expect(200);
    assert_eq!(
        server.get_as(&token, "/v1/accounts").code(),
        "api_key_invalid"
    );
    let token = rotated["secret"].as_str().expect("it is shown").to_owned();
    assert_eq!(
        server.post_key(&path, "r", &json!({})).expect(200)["secret"],
        Value::Null
    );
    assert_eq!(server.get_as(&token, "/v1/accounts").status, 200);
    server
        .post(&format!("/v1/api_keys/{}/revoke", id(&first)), &json!({}))
        .expect(200);
    assert_eq!(
        server.get_as(&token, "/v1/accounts").code(),
        "api_key_invalid"
    );
    let listed = server.get("/v1/api_keys").expect(200);
    assert!(!listed.to_string().contains("tk_"), "{listed}");
}

/// Nobody hears of a payment before it is durable, and who asks again meanwhile waits for the same one.
#[test]
fn a_key_in_flight_waits_for_the_first_attempt() {
    let server = Arc::new(Fixture::start());
    let (buyer, shop) = (
        server.wallet("ann", 100),
        server.account("shop", "merchant"),
    );
    server.faults.hold();
    let threads: Vec<_> = (0..2)
        .map(|_| {
            let (server, body) = (server.clone(), pay(&buyer, &shop, 10));
            std::thread::spawn(move || server.post_key("/v1/payments", "k", &body))
        })
        .collect();
    std::thread::sleep(std::time::Duration::from_millis(200));
    assert!(threads.iter().all(|thread| !thread.is_finished()));
    assert_eq!(server.posted(&shop), 0, "what is not durable is not shown");
    server.faults.release();
    let answers: Vec<_> = threads
        .into_iter()
        .map(|thread| thread.join().expect("no panic").expect(201))
        .collect();
    assert_eq!(answers[0], answers[1]);
    assert_eq!(server.posted(&shop), 10);
}

/// Whoever could send the key of a message could decide it before it comes.
#[test]
fn no_caller_can_use_the_key_of_a_message() {
    let server = Fixture::start();
    let (buyer, shop) = (
        server.wallet("ann", 100),
        server.account("shop", "merchant"),
    );
    let head = server.reader().head();
    let key = message_key("orders", IdentityKind::MessageId, "", b"1");
    let bytes = key.as_bytes();
    // The same bytes as a text, and the prefix with printable characters behind it.
    let texts = [
        bytes.iter().map(|byte| char::from(*byte)).collect(),
        "\0message-1".to_owned(),
    ];
    let body = pay(&buyer, &shop, 10);
    for text in texts {
        let batch = json!([{"idempotency_key": text, "payment": body}]);
        let answer = server.post("/v1/batches", &batch);
        assert_eq!(
            (answer.status, answer.code()),
            (400, "parameter_invalid".to_owned())
        );
        assert_eq!(answer.json()["error"]["param"], "[0].idempotency_key");
        for header in [text.clone(), format!("\"{text}\"")] {
            let (token, body) = (&server.platform, body.to_string());
            let length = body.len();
            let request = format!(
                "POST /v1/payments HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\
                 Content-Type: application/json\r\nIdempotency-Key: {header}\r\n\
                 Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
            );
            assert_eq!(send_raw(server.addr, &request).status, 400);
        }
    }
    assert_eq!(server.reader().head(), head, "nothing was decided");
}
