//! From a payment to a receiver: subscriptions with a URL.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use http_body_util::Full;
use serde_json::{Value, json};
use standardwebhooks::Webhook;
use tributary_connect::webhooks::{Keyring, MasterKey, Rules, Settings, WebhookConfig};

use super::open_settings;
use super::receiver::{Receiver, Reply, Seen, status};
use crate::client::until;
use crate::fixture::{Fixture, id, pay};

/// A receiver that answers what it is told to, and a way to tell it.
fn receiver(first: u16) -> (Receiver, Arc<AtomicU16>) {
    let answer = Arc::new(AtomicU16::new(first));
    let told = answer.clone();
    let receiver = Receiver::start(move |_| status(told.load(Ordering::SeqCst)));
    (receiver, answer)
}

/// The first `count` requests, once there are so many.
fn arrived(receiver: &Receiver, count: usize) -> Vec<Seen> {
    until("webhooks arrive", || {
        let seen = receiver.seen();
        (seen.len() >= count).then_some(seen)
    })
}

fn subscribe(server: &Fixture, receiver: &Receiver, more: &Value) -> Value {
    let mut body =
        json!({"url": format!("http://{}/hooks", receiver.addr), "events": ["payment.captured"]});
    let all = body.as_object_mut().expect("an object");
    all.extend(more.as_object().expect("an object").clone());
    server.post("/v1/subscriptions", &body).expect(201)
}

fn path(subscription: &Value) -> String {
    format!("/v1/subscriptions/{}", id(subscription))
}

fn verifies(secret: &Value, seen: &Seen) -> bool {
    let secret = secret.as_str().expect("a secret");
    let webhook = Webhook::new(secret).expect("a secret");
    webhook.verify(&seen.body, &seen.headers).is_ok()
}

#[test]
fn the_result_of_a_queued_payment_is_told_by_the_webhook_that_it_named() {
    let server = Fixture::with_webhooks();
    let (buyer, shop) = (
        server.wallet("ann", 1_000),
        server.account("shop", "merchant"),
    );
    let (receiver, _) = receiver(200);
    let made = subscribe(&server, &receiver, &json!({"events": []}));
    server
        .post("/v1/payments", &pay(&buyer, &shop, 3))
        .expect(201);
    let mut body = pay(&buyer, &shop, 5);
    body["queue"] = json!({"reply_to": id(&made), "correlation_id": "basket-7"});
    let asked = server.post("/v1/payments", &body).expect(202);
    let seen = arrived(&receiver, 1);
    assert!(verifies(&made["secret"], &seen[0]));
    let event: Value = serde_json::from_slice(&seen[0].body).expect("JSON");
    assert_eq!(event["type"], "payment.captured");
    let data = &event["data"];
    assert_eq!(
        data["reply"],
        json!({"to": id(&made), "asked_by": "platform", "correlation_id": "basket-7"})
    );
    assert_eq!(data["object"]["id"], asked["id"]);
}

#[test]
fn a_payment_is_told_by_a_webhook_that_verifies() {
    let server = Fixture::with_webhooks();
    let (buyer, shop) = (
        server.wallet("ann", 1_000),
        server.account("shop", "merchant"),
    );
    let (receiver, _) = receiver(200);
    let made = subscribe(&server, &receiver, &json!({}));
    let secret = made["secret"].clone();
    let shown = server.get(&path(&made)).expect(200);
    assert_eq!(shown["secret"], Value::Null, "a secret is shown once");
    assert_eq!(
        (&shown["kind"], &shown["url"]),
        (&json!("push"), &made["url"])
    );
    for amount in 1..=3 {
        server
            .post("/v1/payments", &pay(&buyer, &shop, amount))
            .expect(201);
    }
    for seen in arrived(&receiver, 3) {
        assert!(verifies(&secret, &seen));
        let body: Value = serde_json::from_slice(&seen.body).expect("JSON");
        let event = seen.header("webhook-id");
        let listed = server.get(&format!("/v1/events/{event}")).expect(200);
        assert_eq!(body, listed);
    }
    until("all are acknowledged", || {
        let figures = server.get(&path(&made)).expect(200)["figures"].clone();
        (figures["acknowledged"] == 3 && figures["length"] == 0).then_some(())
    });
    assert_eq!(receiver.seen().len(), 3, "each is sent once");
}

#[test]
fn what_a_receiver_refuses_comes_again_and_can_be_sent_again_by_hand() {
    let mut server = Fixture::with_webhooks();
    let (buyer, shop) = (
        server.wallet("ann", 1_000),
        server.account("shop", "merchant"),
    );
    let (receiver, answer) = receiver(500);
    let at_once = json!({"backoff": {"delays_seconds": [0]}, "attempts_max": 4});
    let made = subscribe(&server, &receiver, &at_once);
    let paid = server
        .post("/v1/payments", &pay(&buyer, &shop, 7))
        .expect(201);
    let seen = arrived(&receiver, 4);
    let ids = seen.iter().map(|seen| seen.header("webhook-id"));
    assert!(
        ids.collect::<Vec<_>>()
            .windows(2)
            .all(|pair| pair[0] == pair[1]),
        "an event keeps its id"
    );
    let letters = until("it is a dead letter", || {
        let letters = server
            .get(&format!("{}/dead_letters", path(&made)))
            .expect(200);
        let count = letters["data"].as_array().expect("a list").len();
        (count == 1).then_some(letters)
    });
    let letter = &letters["data"][0];
    assert!(
        letter.to_string().contains("answered 500"),
        "every attempt's error is kept: {letter}"
    );
    let object = &letter["event"]["data"]["object"];
    assert_eq!(object["id"], paid["id"]);

    answer.store(200, Ordering::SeqCst);
    server.restart();
    let requeued = format!("{}/dead_letters/requeue", path(&made));
    server.post(&requeued, &json!({})).expect(200);
    assert_eq!(arrived(&receiver, 5).len(), 5, "also after a restart");
    until("it is done", || {
        let figures = server.get(&path(&made)).expect(200)["figures"].clone();
        (figures["dead_letters"] == 0 && figures["acknowledged"] == 1).then_some(())
    });
}

#[test]
fn what_a_receiver_asks_to_wait_never_makes_a_wait_shorter() {
    let server = Fixture::with_webhooks();
    let (buyer, shop) = (
        server.wallet("ann", 1_000),
        server.account("shop", "merchant"),
    );
    let receiver = Receiver::start(|_| {
        let response = hyper::Response::builder()
            .status(503)
            .header("retry-after", "0");
        Reply::Answer(response.body(Full::default()).expect("a response"))
    });
    let later = json!({"backoff": {"delays_seconds": [3600]}, "jitter": 0});
    let made = subscribe(&server, &receiver, &later);
    server
        .post("/v1/payments", &pay(&buyer, &shop, 7))
        .expect(201);
    arrived(&receiver, 1);
    until("it waits for its next attempt", || {
        let figures = server.get(&path(&made)).expect(200)["figures"].clone();
        (figures["retrying"] == 1).then_some(())
    });
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(receiver.seen().len(), 1, "the clock stands still: it waits");
    server.clock.advance(3_600);
    arrived(&receiver, 2);
}

#[test]
fn an_endpoint_that_is_gone_is_disabled_and_that_is_told() {
    let server = Fixture::with_webhooks();
    let (buyer, shop) = (
        server.wallet("ann", 1_000),
        server.account("shop", "merchant"),
    );
    let (receiver, answer) = receiver(410);
    let made = subscribe(
        &server,
        &receiver,
        &json!({"backoff": {"delays_seconds": [0]}}),
    );
    let told = server
        .post(
            "/v1/subscriptions",
            &json!({"events": ["subscription.disabled"]}),
        )
        .expect(201);
    server
        .post("/v1/payments", &pay(&buyer, &shop, 7))
        .expect(201);
    until("it is paused", || {
        let shown = server.get(&path(&made)).expect(200);
        (shown["status"] == "paused").then_some(shown)
    });
    let event = until("an event tells", || {
        let answer = server
            .post(&format!("{}/receive", path(&told)), &json!({}))
            .expect(200);
        answer["data"].get(0).map(|one| one["event"].clone())
    });
    assert_eq!(event["type"], "subscription.disabled");
    assert_eq!(event["data"]["subscription"], made["id"]);

    answer.store(204, Ordering::SeqCst);
    let before = receiver.seen().len();
    server
        .post(&format!("{}/resume", path(&made)), &json!({}))
        .expect(200);
    arrived(&receiver, before + 1);
}

#[test]
fn a_rotated_secret_signs_beside_the_one_before() {
    let server = Fixture::with_webhooks();
    let (buyer, shop) = (
        server.wallet("ann", 1_000),
        server.account("shop", "merchant"),
    );
    let (receiver, _) = receiver(200);
    let made = subscribe(&server, &receiver, &json!({}));
    let rotate = format!("{}/rotate_secret", path(&made));
    let second = server.post(&rotate, &json!({})).expect(200);
    assert_ne!(made["secret"], second["secret"]);
    server
        .post("/v1/payments", &pay(&buyer, &shop, 1))
        .expect(201);
    let seen = arrived(&receiver, 1);
    assert!(verifies(&made["secret"], &seen[0]) && verifies(&second["secret"], &seen[0]));
    let third = server
        .post(&rotate, &json!({"overlap_seconds": 0}))
        .expect(200);
    server
        .post("/v1/payments", &pay(&buyer, &shop, 1))
        .expect(201);
    let seen = arrived(&receiver, 2);
    assert!(verifies(&third["secret"], &seen[1]));
    assert!(!verifies(&second["secret"], &seen[1]), "it ended at once");
}

/// Whatever the feed was about to do when the secret was replaced.
#[test]
fn an_event_after_a_rotation_is_signed_by_the_new_secret() {
    let server = Fixture::with_webhooks();
    let (buyer, shop) = (
        server.wallet("ann", 1_000),
        server.account("shop", "merchant"),
    );
    let (receiver, _) = receiver(200);
    for round in 1..=40 {
        let made = subscribe(&server, &receiver, &json!({}));
        let rotate = format!("{}/rotate_secret", path(&made));
        let no_overlap = json!({"overlap_seconds": 0});
        let rotated = server.post(&rotate, &no_overlap).expect(200);
        server
            .post("/v1/payments", &pay(&buyer, &shop, 1))
            .expect(201);
        let seen = arrived(&receiver, round);
        assert!(
            verifies(&rotated["secret"], &seen[round - 1]),
            "round {round}"
        );
        let pause = format!("{}/pause", path(&made));
        server.post(&pause, &json!({})).expect(200);
    }
}

#[test]
fn a_url_that_may_not_be_sent_to_is_refused() {
    let server = Fixture::with_webhooks();
    for (url, part) in [
        ("ftp://example.com/", "url"),
        ("https://user@example.com/", "url"),
        ("nonsense", "url"),
    ] {
        let body = json!({"url": url, "events": ["#"]});
        let refused = server.post("/v1/subscriptions", &body);
        assert_eq!(refused.expect(400)["error"]["param"], part, "{url}");
    }
    let body = json!({"url": "https://example.com/", "secret": "short", "events": ["#"]});
    let refused = server.post("/v1/subscriptions", &body).expect(400);
    assert_eq!(refused["error"]["param"], "secret");
    let fetched = server
        .post("/v1/subscriptions", &json!({"events": ["#"]}))
        .expect(201);
    let refused = server.post(&format!("{}/rotate_secret", path(&fetched)), &json!({}));
    refused.expect(400);
}

/// Whoever subscribes may name any host, also one of the operator's own network.
#[test]
fn a_subscriber_does_not_see_the_internal_address_that_a_name_leads_to() {
    let folder = tempfile::tempdir().expect("a folder");
    let master_key = MasterKey::load(&folder.path().join("key"), true);
    let webhooks = WebhookConfig {
        keyring: Keyring::new(master_key.expect("it is made")),
        settings: Settings {
            rules: Rules::default(),
            resolver: Arc::new(|_| Ok(vec![IpAddr::from([10, 77, 66, 55])])),
            ..open_settings()
        },
    };
    let server = Fixture::with_webhooks_and(webhooks, |_| ());
    let token = server.token("ann", "write");
    let body = json!({
        "url": "https://database.internal/", "events": ["#"], "attempts_max": 1, "start": "beginning",
    });
    let made = server
        .post_as(&token, "/v1/subscriptions", &body)
        .expect(201);
    server.wallet("ann", 5);
    let pages = |path: &str| {
        let answer = server.get_as(&token, path);
        String::from_utf8(answer.body).expect("UTF-8")
    };
    let attempts = format!("{}/attempts", path(&made));
    until("an attempt is over", || {
        pages(&attempts).contains("url_refused").then_some(())
    });
    let dead = format!("{}/dead_letters", path(&made));
    until("the event is dead", || {
        pages(&dead).contains("dead_letter").then_some(())
    });
    let all = [
        "/v1/events",
        "/v1/subscriptions",
        "/v1/settings",
        &attempts,
        &dead,
    ];
    for page in all.into_iter().map(pages) {
        for told in ["10.77", "77.66", "private", "Private"] {
            assert!(!page.contains(told), "{told}: {page}");
        }
    }
}
