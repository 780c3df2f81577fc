//! Whoever knows the id of an account cannot write into what its owner sees: lists, statements, events, subscriptions, mailboxes.

mod queued;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::fixture::{Fixture, hold, id, pay};
use crate::grpc::client::Client;
use crate::grpc::messages::command::Body;
use crate::grpc::messages::{Command, Pay, SubmitRequest, Void};
use crate::grpc::{as_holder, payment};

/// Free text of the intruder.
const TEXT: &str = "call-0900-and-win";

struct World {
    server: Fixture,
    /// The victim's key, account and subscription.
    victim: String,
    account: String,
    mailbox: String,
    /// The intruder's key, and an account without money.
    intruder: String,
    empty: String,
}

impl World {
    fn new() -> World {
        let server = Fixture::with_subscriptions_and_grpc();
        let account = server.wallet("vera", 1_000);
        let empty = server.account("ivan", "wallet");
        let victim = server.token("vera", "write");
        let intruder = server.token("ivan", "write");
        let mailbox = json!({"events": ["#"], "start": "beginning"});
        let mailbox = id(&server
            .post_as(&victim, "/v1/subscriptions", &mailbox)
            .expect(201));
        World {
            server,
            victim,
            account,
            mailbox,
            intruder,
            empty,
        }
    }

    /// Everything that the victim sees, by path.
    fn seen(&self) -> BTreeMap<String, String> {
        let pages = [
            "/v1/events?limit=100".to_owned(),
            "/v1/payments?limit=100".to_owned(),
            "/v1/payments?limit=100&status=failed".to_owned(),
            format!("/v1/payments?limit=100&account={}", self.account),
            "/v1/accounts".to_owned(),
            format!("/v1/accounts/{}", self.account),
            format!("/v1/accounts/{}/entries?limit=100", self.account),
            "/v1/settings".to_owned(),
            format!("/v1/subscriptions/{}/attempts", self.mailbox),
            format!("/v1/subscriptions/{}/dead_letters", self.mailbox),
        ];
        let page = |path: String| {
            let answer = self.server.get_as(&self.victim, &path);
            assert_eq!(answer.status, 200, "{path}");
            (path, String::from_utf8(answer.body).expect("UTF-8"))
        };
        pages.into_iter().map(page).collect()
    }

    /// The events that the victim's subscription delivers up to an event of the victim's own.
    fn delivered(&self) -> Vec<Value> {
        let last = json!({"type": "app.last", "data": {}});
        self.server
            .post_as(&self.victim, "/v1/events", &last)
            .expect(201);
        let path = format!("/v1/subscriptions/{}/receive", self.mailbox);
        let mut events = Vec::new();
        loop {
            let body = json!({"max": 100, "wait_seconds": 20});
            let taken = self.server.post_as(&self.victim, &path, &body).expect(200);
            let taken = taken["data"].as_array().expect("a list").clone();
            assert!(!taken.is_empty(), "the last event comes");
            events.extend(taken.into_iter().map(|one| one["event"].clone()));
            if events.iter().any(|event| event["type"] == "app.last") {
                return events;
            }
        }
    }

    fn with_text(mut body: Value) -> Value {
        body["description"] = json!(TEXT);
        body["metadata"] = json!({ "note": TEXT });
        body
    }

    /// What the intruder asks for, by name: none of it may reach the victim.
    fn attacks(&self) -> Vec<(&'static str, Value)> {
        let (from, to) = (&self.empty, &self.account);
        let mut dollars = pay(from, to, 1);
        dollars["currency"] = json!("USD");
        let mut mailbox = pay(from, to, 1);
        mailbox["queue"] = json!({"reply_to": self.mailbox, "correlation_id": TEXT});
        let mut split = pay(from, to, 2);
        let fields = split.as_object_mut().expect("an object");
        fields.remove("destination");
        fields.insert("splits".to_owned(), json!([{"account": to, "amount": 2}]));
        let attacks = [
            ("another's money", pay(to, from, 1)),
            ("no funds", pay(from, to, 5)),
            ("a hold without funds", hold(from, to, 5)),
            ("another currency", dollars),
            ("a payee among others", split),
            ("another's mailbox", mailbox),
        ];
        attacks
            .into_iter()
            .map(|(name, body)| (name, World::with_text(body)))
            .collect()
    }
}

#[test]
fn a_refused_payment_leaves_nothing_with_the_payee_over_rest() {
    let world = World::new();
    let before = world.seen();
    for (name, body) in world.attacks() {
        for path in ["/v1/payments", "/v1/transfers"] {
            let answer = world.server.post_as(&world.intruder, path, &body);
            assert!((400..500).contains(&answer.status), "{name}: {answer:?}");
        }
    }
    let payment = id(&world
        .server
        .get_as(&world.victim, "/v1/payments?limit=1")
        .expect(200)["data"][0]);
    for path in [
        format!("/v1/payments/{payment}/void"),
        format!("/v1/payments/{payment}/capture"),
        format!("/v1/accounts/{}/close", world.account),
        format!("/v1/accounts/{}/freeze", world.account),
    ] {
        let answer = world.server.post_as(&world.intruder, &path, &json!({}));
        assert_eq!(answer.status, 404, "{path}");
    }
    let refund = World::with_text(json!({"payment": payment}));
    let answer = world
        .server
        .post_as(&world.intruder, "/v1/refunds", &refund);
    assert_eq!(answer.status, 404);
    assert_eq!(world.seen(), before);
    let delivered = format!("{:?}", world.delivered());
    assert!(!delivered.contains(TEXT), "{delivered}");
    // The intruder sees what became of its own.
    let own = world
        .server
        .get_as(&world.intruder, "/v1/payments?status=failed&limit=100")
        .expect(200);
    assert!(own["data"].as_array().expect("a list").len() >= 3, "{own}");
    // The platform's refused payments are shown to the payee, as before.
    let body = pay(&world.empty, &world.account, 5);
    assert_eq!(world.server.post("/v1/payments", &body).status, 402);
    assert_ne!(world.seen(), before);
}

#[test]
fn a_refused_payment_leaves_nothing_with_the_payee_in_a_batch() {
    let world = World::new();
    let before = world.seen();
    let mut items = Vec::new();
    for (number, (_, body)) in world.attacks().into_iter().enumerate() {
        items.push(json!({"idempotency_key": format!("a{number}"), "payment": body}));
        items.push(json!({"group": [
            {"idempotency_key": format!("b{number}"), "payment": body},
            {"idempotency_key": format!("c{number}"), "payment": World::with_text(pay(&world.empty, &world.account, 9))},
        ]}));
    }
    let done = world
        .server
        .post_as(&world.intruder, "/v1/batches", &json!(items))
        .expect(200);
    for result in done["results"].as_array().expect("results") {
        let status = result["status"].as_u64().expect("a status");
        assert!((400..500).contains(&status), "{result}");
    }
    assert_eq!(world.seen(), before);
    let delivered = format!("{:?}", world.delivered());
    assert!(!delivered.contains(TEXT), "{delivered}");
}

fn submit(client: &Client, command: Command) -> String {
    let answer = client.submit(SubmitRequest {
        commands: vec![command],
        batch: 1,
    });
    answer.expect("answered").results[0].code.clone()
}

#[test]
fn a_refused_payment_leaves_nothing_with_the_payee_over_grpc() {
    let world = World::new();
    let before = world.seen();
    let client = as_holder(&world.server, &world.intruder);
    let (from, to) = (&world.empty, &world.account);
    for (key, body, code) in [
        ("a", Body::Pay(payment(to, from, 1)), "resource_not_found"),
        ("b", Body::Pay(payment(from, to, 1)), "insufficient_funds"),
        (
            "c",
            Body::Pay(Pay {
                currency: 840,
                ..payment(from, to, 1)
            }),
            "currency_mismatch",
        ),
    ] {
        let command = Command {
            key: key.as_bytes().to_vec(),
            description: TEXT.to_owned(),
            body: Some(body),
            ..Command::default()
        };
        assert_eq!(submit(&client, command), code);
    }
    let victim_payment = id(&world
        .server
        .get_as(&world.victim, "/v1/payments?limit=1")
        .expect(200)["data"][0]);
    let void = Body::Void(Void {
        payment: victim_payment.into_bytes(),
    });
    let command = Command {
        key: b"d".to_vec(),
        body: Some(void),
        ..Command::default()
    };
    assert_eq!(submit(&client, command), "resource_not_found");
    assert_eq!(world.seen(), before);
    let delivered = format!("{:?}", world.delivered());
    assert!(!delivered.contains(TEXT), "{delivered}");
}

/// A key that is revoked between the acceptance and the run: the payment fails, and moves nothing.
#[test]
fn a_queued_payment_whose_key_is_revoked_moves_nothing_and_is_told_to_no_mailbox_of_another() {
    let world = World::new();
    let funded = world.server.wallet("ivan", 50);
    let keys = world.server.get("/v1/api_keys?limit=100").expect(200);
    let keys = keys["data"].as_array().expect("keys").clone();
    let key = keys.iter().find(|key| key["owner"] == "ivan");
    let key = id(key.expect("ivan has one"));
    let mut body = pay(&funded, &world.account, 5);
    body["queue"] = json!({"not_before": "2026-11-20T00:01:00Z"});
    let queued = world
        .server
        .post_as(&world.intruder, "/v1/payments", &body)
        .expect(202);
    let revoke = format!("/v1/api_keys/{key}/revoke");
    world.server.post(&revoke, &json!({})).expect(200);
    world.server.clock.advance(3_600);
    let path = format!("/v1/payments/{}", id(&queued));
    crate::client::until("the payment fails", || {
        let shown = world.server.get(&path).expect(200);
        (shown["status"] == "failed").then_some(())
    });
    assert_eq!(world.server.posted(&funded), 50);
    assert_eq!(world.server.posted(&world.account), 1_000);
    let replies = world.delivered();
    let told = replies
        .iter()
        .filter(|event| !event["data"]["reply"].is_null());
    assert_eq!(told.count(), 0);
}
