//! Existence oracles: wherever a request names an object, an id of another owner is answered exactly like an invented one.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use tributary_engine::{IdKind, Ids};
use tributary_messaging::{DeliveryIds, Receipt, SubscriptionId};

use crate::client::{Answer, send};
use crate::fixture::{Fixture, hold, id, pay};
use crate::grpc::client::{code, param};
use crate::grpc::messages::command::Body;
use crate::grpc::messages::{
    Account, Command, GetAccountRequest, GetPaymentRequest, ListEntriesRequest,
    ListEntriesResponse, PaymentState, ReceiveRequest, ReceiveResponse, SubmitRequest, Void,
};
use crate::grpc::{as_holder, payment};

/// Kinds of ids that requests name.
const KINDS: [&str; 8] = ["acct", "pay", "ref", "evt", "cur", "sub", "key", "rcp"];

/// Ids of one owner's objects, by kind.
type Objects = BTreeMap<&'static str, String>;

struct World {
    server: Fixture,
    token: String,
    own: Objects,
    foreign: Objects,
}

/// Makes an object of each kind for an owner.
fn objects(server: &Fixture, owner: &str, shop: &str) -> (String, Objects) {
    let wallet = server.wallet(owner, 1_000);
    let token = server.token(owner, "write");
    let subscription = json!({"events": ["#"], "start": "beginning"});
    let subscription = id(&server
        .post_as(&token, "/v1/subscriptions", &subscription)
        .expect(201));
    let payment = server
        .post_as(&token, "/v1/payments", &pay(&wallet, shop, 10))
        .expect(201);
    let refund = json!({"payment": id(&payment), "amount": 1});
    let refund = id(&server.post("/v1/refunds", &refund).expect(201));
    server
        .post_as(&token, "/v1/payments", &hold(&wallet, shop, 5))
        .expect(201);
    let page = server.get_as(&token, "/v1/events?limit=1").expect(200);
    let keys = server.get("/v1/api_keys?limit=1").expect(200);
    let path = format!("/v1/subscriptions/{subscription}/receive");
    let taken = server
        .post_as(&token, &path, &json!({"max": 1, "wait_seconds": 20}))
        .expect(200);
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let objects = Objects::from([
        ("acct", wallet),
        ("pay", id(&payment)),
        ("ref", refund),
        ("evt", id(&page["data"][0])),
        ("cur", text(&page["next_cursor"])),
        ("sub", subscription),
        ("key", id(&keys["data"][0])),
        ("rcp", text(&taken["data"][0]["receipt"])),
    ]);
    (token, objects)
}

fn world() -> World {
    let server = Fixture::with_subscriptions_and_grpc();
    let shop = server.account("shop", "merchant");
    let (token, own) = objects(&server, "ann", &shop);
    let (_, foreign) = objects(&server, "bob", &shop);
    World {
        server,
        token,
        own,
        foreign,
    }
}

/// Well-formed ids that name nothing: one that this journal may issue later, and one that it never issued.
fn invented(ids: &Ids, kind: &str) -> [String; 2] {
    const LATER: u64 = 1_000_000;
    let later = match kind {
        "acct" => ids.encode(IdKind::Account, LATER),
        "pay" => ids.encode(IdKind::Payment, LATER),
        "ref" => ids.encode(IdKind::Refund, LATER),
        "evt" => ids.encode(IdKind::Event, LATER),
        "key" => ids.encode(IdKind::ApiKey, LATER),
        "sub" => ids.encode_subscription(SubscriptionId(LATER)),
        "rcp" => ids.encode_receipt(Receipt {
            position: LATER,
            generation: 7,
        }),
        // A cursor is a place, not an object: those of other owners are invented.
        _ => format!("cur_{}", "1".repeat(26)),
    };
    [later, format!("{kind}_{}", "2".repeat(26))]
}

/// Everything that the caller can tell two answers by. The id that was sent and the id of the request are no difference.
fn tellable(answer: &Answer, sent: &str) -> (u16, Vec<(String, String)>, String) {
    let varies = ["date", "request-id", "x-request-id", "idempotency-key"];
    let mut headers = answer.headers.clone();
    headers.retain(|(name, _)| !varies.contains(&name.to_ascii_lowercase().as_str()));
    let body = match serde_json::from_slice::<Value>(&answer.body) {
        Ok(mut body) => {
            if let Some(error) = body["error"].as_object_mut() {
                error.remove("request_id");
            }
            body.to_string()
        }
        Err(_) => String::from_utf8_lossy(&answer.body).into_owned(),
    };
    (answer.status, headers, body.replace(sent, "{id}"))
}

impl World {
    /// The text with the caller's own ids in their places.
    fn with_own(&self, text: &str) -> String {
        self.own.iter().fold(text.to_owned(), |text, (kind, id)| {
            text.replace(&format!("{{{kind}}}"), id)
        })
    }

    fn ask(&self, method: &str, path: &str, body: &str, id: &str) -> Answer {
        let [path, body] = [path, body].map(|text| self.with_own(text).replace("{id}", id));
        let (path, last) = match path.split_once(" Last-Event-ID ") {
            Some((path, last)) => (path.to_owned(), last.to_owned()),
            None => (path, String::new()),
        };
        let authorization = format!("Bearer {}", self.token);
        let key = self.server.new_key();
        let mut headers = vec![("Authorization", authorization.as_str())];
        if !last.is_empty() {
            headers.push(("Last-Event-ID", &last));
        }
        if method != "GET" {
            headers.push(("Idempotency-Key", &key));
            headers.push(("Content-Type", "application/json"));
        }
        send(self.server.addr, method, &path, &headers, body.as_bytes())
    }

    fn check(&self, kind: &'static str, method: &str, path: &str, body: &str) {
        let foreign = &self.foreign[kind];
        let expected = tellable(&self.ask(method, path, body, foreign), foreign);
        for invented in invented(self.server.reader().ids(), kind) {
            let found = tellable(&self.ask(method, path, body, &invented), &invented);
            assert_eq!(
                expected, found,
                "{method} {path} {body}: {foreign} {invented}"
            );
        }
        // The answer is not the same because the request is wrong: an own id has another one.
        if !["key", "rcp"].contains(&kind) {
            let own = &self.own[kind];
            let found = tellable(&self.ask(method, path, body, own), own);
            assert_ne!(expected, found, "{method} {path} {body}: {own}");
        }
    }
}

/// Reads: kind of id and path.
const READS: &[(&str, &str)] = &[
    ("acct", "/v1/accounts/{id}"),
    ("acct", "/v1/accounts/{id}/balance"),
    ("acct", "/v1/events?object={id}"),
    ("pay", "/v1/events?object={id}"),
    ("acct", "/v1/payments?counterparty={id}"),
    ("acct", "/v1/refunds?account={id}"),
    ("acct", "/v1/accounts/{id}/entries"),
    ("evt", "/v1/accounts/{acct}/balance?at={id}"),
    ("acct", "/v1/accounts?starting_after={id}"),
    ("acct", "/v1/accounts?ending_before={id}"),
    ("acct", "/v1/payments?account={id}"),
    ("pay", "/v1/payments/{id}"),
    ("pay", "/v1/payments/{id}/timeline"),
    ("acct", "/v1/accounts/{id}/timeline"),
    ("pay", "/v1/payments?starting_after={id}"),
    ("pay", "/v1/payments?ending_before={id}"),
    ("pay", "/v1/refunds?payment={id}"),
    ("ref", "/v1/refunds/{id}"),
    ("ref", "/v1/refunds?payment={pay}&starting_after={id}"),
    ("ref", "/v1/refunds?payment={pay}&ending_before={id}"),
    ("evt", "/v1/events/{id}"),
    ("evt", "/v1/events?starting_after={id}"),
    ("evt", "/v1/events?ending_before={id}"),
    ("evt", "/v1/accounts/{acct}/entries?starting_after={id}"),
    ("evt", "/v1/accounts/{acct}/entries?ending_before={id}"),
    ("evt", "/v1/payments/{pay}/timeline?starting_after={id}"),
    ("evt", "/v1/accounts/{acct}/timeline?starting_after={id}"),
    (
        "evt",
        "/v1/subscriptions/{sub}/dead_letters?starting_after={id}",
    ),
    (
        "evt",
        "/v1/subscriptions/{sub}/revisions?starting_after={id}",
    ),
    (
        "evt",
        "/v1/subscriptions/{sub}/revisions?ending_before={id}",
    ),
    ("evt", "/v1/subscriptions/{sub}/attempts?event={id}"),
    ("sub", "/v1/subscriptions/{id}"),
    ("sub", "/v1/subscriptions/{id}/revisions"),
    ("sub", "/v1/subscriptions/{id}/attempts"),
    ("sub", "/v1/subscriptions/{id}/dead_letters"),
    ("sub", "/v1/settings/{id}"),
    ("sub", "/v1/settings/{id}/revisions"),
    ("cur", "/v1/accounts?starting_after={id}"),
    ("cur", "/v1/accounts?ending_before={id}"),
    ("cur", "/v1/payments?starting_after={id}"),
    ("cur", "/v1/payments?ending_before={id}"),
    ("cur", "/v1/refunds?payment={pay}&starting_after={id}"),
    ("cur", "/v1/refunds?payment={pay}&ending_before={id}"),
    ("cur", "/v1/events?starting_after={id}"),
    ("cur", "/v1/events?ending_before={id}"),
    ("cur", "/v1/accounts/{acct}/entries?starting_after={id}"),
    ("cur", "/v1/accounts/{acct}/entries?ending_before={id}"),
    ("cur", "/v1/payments/{pay}/timeline?starting_after={id}"),
    ("cur", "/v1/accounts/{acct}/timeline?starting_after={id}"),
    (
        "cur",
        "/v1/subscriptions/{sub}/dead_letters?starting_after={id}",
    ),
    (
        "cur",
        "/v1/subscriptions/{sub}/attempts?starting_after={id}",
    ),
    (
        "cur",
        "/v1/subscriptions/{sub}/revisions?starting_after={id}",
    ),
    (
        "cur",
        "/v1/subscriptions/{sub}/revisions?ending_before={id}",
    ),
    ("cur", "/v1/settings?starting_after={id}"),
    ("cur", "/v1/settings/{sub}/revisions?starting_after={id}"),
    ("cur", "/v1/settings/{sub}/revisions?ending_before={id}"),
];

/// Reads without an end, if the id is one of the caller's own.
const STREAMS: &[(&str, &str)] = &[
    ("evt", "/v1/events/stream?after={id}"),
    ("evt", "/v1/events/stream?start={id}"),
    ("evt", "/v1/events/stream Last-Event-ID {id}"),
    ("cur", "/v1/events/stream?after={id}"),
    ("cur", "/v1/events/stream Last-Event-ID {id}"),
];

/// Writes: kind of id, method, path and body.
const WRITES: &[(&str, &str, &str, &str)] = &[
    ("acct", "POST", "/v1/accounts/{id}/freeze", ""),
    ("acct", "POST", "/v1/accounts/{id}/unfreeze", ""),
    (
        "acct",
        "POST",
        "/v1/payments",
        r#"{"amount":1,"currency":"EUR","source":"{id}","destination":"{acct}"}"#,
    ),
    (
        "acct",
        "POST",
        "/v1/transfers",
        r#"{"amount":1,"currency":"EUR","source":"{id}","destination":"{acct}"}"#,
    ),
    (
        "acct",
        "POST",
        "/v1/top_ups",
        r#"{"amount":1,"currency":"EUR","source":"{id}","destination":"{acct}"}"#,
    ),
    (
        "acct",
        "POST",
        "/v1/payouts",
        r#"{"amount":1,"currency":"EUR","source":"{id}","destination":"{acct}"}"#,
    ),
    (
        "acct",
        "POST",
        "/v1/adjustments",
        r#"{"amount":1,"currency":"EUR","source":"{id}","destination":"{acct}","reason":"r"}"#,
    ),
    ("pay", "POST", "/v1/payments/{id}/capture", ""),
    ("pay", "POST", "/v1/payments/{id}/void", ""),
    ("pay", "POST", "/v1/payments/{id}/approve", ""),
    ("pay", "POST", "/v1/payouts/{id}/pay", ""),
    ("pay", "POST", "/v1/payouts/{id}/fail", r#"{"reason":"r"}"#),
    ("pay", "POST", "/v1/payouts/{id}/returns", ""),
    ("pay", "POST", "/v1/refunds", r#"{"payment":"{id}"}"#),
    (
        "sub",
        "POST",
        "/v1/payments",
        r#"{"amount":1,"currency":"EUR","source":"{acct}","destination":"{acct}","queue":{"reply_to":"{id}"}}"#,
    ),
    (
        "evt",
        "POST",
        "/v1/subscriptions",
        r#"{"events":["x"],"start":"{id}"}"#,
    ),
    (
        "evt",
        "POST",
        "/v1/subscriptions/{sub}/rewind",
        r#"{"to":"{id}"}"#,
    ),
    (
        "evt",
        "POST",
        "/v1/subscriptions/{sub}/replay",
        r#"{"first":"{id}","last":"{evt}"}"#,
    ),
    (
        "evt",
        "POST",
        "/v1/subscriptions/{sub}/replay",
        r#"{"first":"{evt}","last":"{id}"}"#,
    ),
    (
        "sub",
        "POST",
        "/v1/subscriptions/{id}/rewind",
        r#"{"to":"now"}"#,
    ),
    (
        "sub",
        "POST",
        "/v1/subscriptions/{id}/replay",
        r#"{"first":"{evt}","last":"{evt}"}"#,
    ),
    ("sub", "POST", "/v1/subscriptions/{id}/receive", ""),
    (
        "sub",
        "POST",
        "/v1/subscriptions/{id}/ack",
        r#"{"receipts":["x"]}"#,
    ),
    (
        "sub",
        "POST",
        "/v1/subscriptions/{id}/nack",
        r#"{"receipts":["x"]}"#,
    ),
    (
        "sub",
        "POST",
        "/v1/subscriptions/{id}/extend",
        r#"{"receipts":["x"],"visibility_seconds":5}"#,
    ),
    (
        "sub",
        "POST",
        "/v1/subscriptions/{id}/dead_letters/requeue",
        "{}",
    ),
    (
        "sub",
        "POST",
        "/v1/subscriptions/{id}/dead_letters/drop",
        "{}",
    ),
    ("sub", "POST", "/v1/subscriptions/{id}/pause", "{}"),
    ("sub", "POST", "/v1/subscriptions/{id}/resume", "{}"),
    ("sub", "POST", "/v1/subscriptions/{id}/rotate_secret", "{}"),
    ("sub", "PATCH", "/v1/subscriptions/{id}", r#"{"name":"n"}"#),
    (
        "rcp",
        "POST",
        "/v1/subscriptions/{sub}/ack",
        r#"{"receipts":["{id}"]}"#,
    ),
    (
        "rcp",
        "POST",
        "/v1/subscriptions/{sub}/nack",
        r#"{"receipts":["{id}"]}"#,
    ),
    (
        "rcp",
        "POST",
        "/v1/subscriptions/{sub}/extend",
        r#"{"receipts":["{id}"],"visibility_seconds":5}"#,
    ),
    ("key", "POST", "/v1/api_keys/{id}/rotate", ""),
    ("key", "POST", "/v1/api_keys/{id}/revoke", ""),
    (
        "acct",
        "PATCH",
        "/v1/accounts/{id}",
        r#"{"description":"d"}"#,
    ),
    (
        "pay",
        "PATCH",
        "/v1/payments/{id}",
        r#"{"description":"d"}"#,
    ),
    ("sub", "DELETE", "/v1/subscriptions/{id}", ""),
    ("acct", "POST", "/v1/accounts/{id}/close", ""),
];

#[test]
fn an_id_of_another_owner_is_answered_like_an_invented_one() {
    let world = world();
    for (kind, path) in READS {
        world.check(kind, "GET", path, "");
    }
    for (kind, path) in STREAMS {
        let foreign = &world.foreign[kind];
        let expected = tellable(&world.ask("GET", path, "", foreign), foreign);
        assert!([400, 404].contains(&expected.0), "{path}: {expected:?}");
        for invented in invented(world.server.reader().ids(), kind) {
            let found = tellable(&world.ask("GET", path, "", &invented), &invented);
            assert_eq!(expected, found, "{path}");
        }
    }
    for (kind, method, path, body) in WRITES {
        world.check(kind, method, path, body);
    }
    // A dead letter that is not there is none, whose event it is.
    for path in ["requeue", "drop"] {
        let path = format!("/v1/subscriptions/{{sub}}/dead_letters/{path}");
        let answers = std::iter::once(world.foreign["evt"].clone())
            .chain(invented(world.server.reader().ids(), "evt"))
            .map(|id| {
                tellable(
                    &world.ask("POST", &path, r#"{"events":["{id}"]}"#, &id),
                    &id,
                )
            });
        let answers: BTreeSet<_> = answers.collect();
        assert_eq!(answers.len(), 1, "{answers:?}");
    }
}

#[test]
fn a_batch_answers_an_id_of_another_owner_like_an_invented_one() {
    const PAYMENT: &str = r#"{"amount":1,"currency":"EUR","source":"{id}","destination":"{acct}"}"#;
    let world = world();
    let commands = [
        ("acct", "payment", PAYMENT),
        ("acct", "transfer", PAYMENT),
        ("acct", "top_up", PAYMENT),
        ("acct", "payout", PAYMENT),
        ("acct", "freeze", r#"{"account":"{id}"}"#),
        ("acct", "unfreeze", r#"{"account":"{id}"}"#),
        ("acct", "close", r#"{"account":"{id}"}"#),
        ("pay", "capture", r#"{"payment":"{id}"}"#),
        ("pay", "void", r#"{"payment":"{id}"}"#),
        ("pay", "refund", r#"{"payment":"{id}"}"#),
        ("pay", "pay_payout", r#"{"payout":"{id}"}"#),
        ("pay", "fail_payout", r#"{"payout":"{id}","reason":"r"}"#),
        ("pay", "return_payout", r#"{"payout":"{id}"}"#),
    ];
    for (kind, operation, command) in commands {
        let ask = |id: &str| {
            let key = world.server.new_key();
            let body = format!(r#"[{{"idempotency_key":"{key}","{operation}":{command}}}]"#);
            let (status, headers, body) =
                tellable(&world.ask("POST", "/v1/batches", &body, id), id);
            let request = ["request_id", "idempotency_key"];
            let mut body: Value = serde_json::from_str(&body).expect("JSON");
            for result in body["results"].as_array_mut().expect("results") {
                for place in [&[][..], &["error"]] {
                    let found = place.iter().fold(&mut *result, |at, name| &mut at[*name]);
                    if let Some(fields) = found.as_object_mut() {
                        fields.retain(|name, _| !request.contains(&name.as_str()));
                    }
                }
            }
            (status, headers.len(), body.to_string())
        };
        let expected = ask(&world.foreign[kind]);
        for invented in invented(world.server.reader().ids(), kind) {
            assert_eq!(expected, ask(&invented), "{operation}");
        }
        assert!(expected.2.contains("resource_not_found"), "{expected:?}");
    }
}

#[test]
fn grpc_answers_an_id_of_another_owner_like_an_invented_one() {
    let world = world();
    let client = as_holder(&world.server, &world.token);
    let told = |status: &tonic::Status| {
        format!(
            "{:?} {} {} {}",
            status.code(),
            status.message(),
            code(status),
            param(status)
        )
    };
    type Ask<'a> = Box<dyn Fn(&str) -> String + 'a>;
    let entries = |request: ListEntriesRequest| -> String {
        let found: Result<ListEntriesResponse, _> =
            client.call("/tributary.v1.Ledger/ListEntries", request);
        found.map_or_else(|status| told(&status), |found| format!("{found:?}"))
    };
    let own = world.own["acct"].clone().into_bytes();
    let submitted = |body: Body| {
        let key = world.server.new_key();
        let command = Command {
            key: key.into_bytes(),
            body: Some(body),
            ..Command::default()
        };
        let batch = SubmitRequest {
            commands: vec![command],
            batch: 7,
        };
        let answer = client.submit(batch);
        answer.map_or_else(|status| told(&status), |answer| format!("{answer:?}"))
    };
    let of = |id: &str| id.as_bytes().to_vec();
    let asks: Vec<(&str, Ask<'_>)> = vec![
        (
            "acct",
            Box::new(|id| {
                let request = GetAccountRequest { id: of(id) };
                let found: Result<Account, _> =
                    client.call("/tributary.v1.Ledger/GetAccount", request);
                found.map_or_else(|status| told(&status), |found| format!("{found:?}"))
            }),
        ),
        (
            "pay",
            Box::new(|id| {
                let request = GetPaymentRequest { id: of(id) };
                let found: Result<PaymentState, _> =
                    client.call("/tributary.v1.Ledger/GetPayment", request);
                found.map_or_else(|status| told(&status), |found| format!("{found:?}"))
            }),
        ),
        (
            "acct",
            Box::new(|id| {
                entries(ListEntriesRequest {
                    account: of(id),
                    ..ListEntriesRequest::default()
                })
            }),
        ),
        (
            "evt",
            Box::new(|id| {
                entries(ListEntriesRequest {
                    account: own.clone(),
                    starting_after: of(id),
                    ..ListEntriesRequest::default()
                })
            }),
        ),
        (
            "cur",
            Box::new(|id| {
                entries(ListEntriesRequest {
                    account: own.clone(),
                    ending_before: of(id),
                    ..ListEntriesRequest::default()
                })
            }),
        ),
        (
            "acct",
            Box::new(|id| {
                let mut pay = payment(id, &world.own["acct"], 1);
                pay.source = of(id);
                submitted(Body::Pay(pay))
            }),
        ),
        (
            "pay",
            Box::new(|id| submitted(Body::Void(Void { payment: of(id) }))),
        ),
        (
            "sub",
            Box::new(|id| {
                let request = ReceiveRequest {
                    subscription: of(id),
                    ..ReceiveRequest::default()
                };
                let requests = tokio_stream::iter([request]);
                let ended = client.stream(
                    "/tributary.v1.Subscriptions/Receive",
                    requests,
                    |_: ReceiveResponse| (),
                );
                ended.map_or_else(|status| told(&status), |()| "ended".to_owned())
            }),
        ),
    ];
    for (number, (kind, ask)) in asks.iter().enumerate() {
        let expected = ask(&world.foreign[kind]);
        for invented in invented(world.server.reader().ids(), kind) {
            assert_eq!(expected, ask(&invented), "{number} {kind}");
        }
        assert_ne!(expected, ask(&world.own[kind]), "{number} {kind}");
    }
}

/// The tables above name every route and query parameter of the document that takes an id.
#[test]
fn every_parameter_that_takes_an_id_is_tried() {
    let tried: Vec<(String, String)> = READS
        .iter()
        .chain(STREAMS)
        .map(|(_, path)| ("get".to_owned(), (*path).to_owned()))
        .chain(
            WRITES
                .iter()
                .map(|(_, method, path, _)| (method.to_ascii_lowercase(), (*path).to_owned())),
        )
        .collect();
    let own_removed = |path: &str| {
        KINDS.iter().fold(path.to_owned(), |path, kind| {
            path.replace(&format!("{{{kind}}}"), "{id}")
        })
    };
    let document: Value = serde_json::from_str(&tributary_server::openapi_json()).expect("JSON");
    let ids = [
        "id",
        "starting_after",
        "ending_before",
        "account",
        "payment",
        "event",
        "after",
        "at",
        "object",
        "counterparty",
    ];
    for (path, methods) in document["paths"].as_object().expect("paths") {
        for (method, operation) in methods.as_object().expect("methods") {
            let parameters = operation["parameters"]
                .as_array()
                .cloned()
                .unwrap_or_default();
            for parameter in &parameters {
                let parameter = match parameter["$ref"].as_str() {
                    Some(place) => document
                        .pointer(place.trim_start_matches('#'))
                        .expect("it is there"),
                    None => parameter,
                };
                let name = parameter["name"].as_str().expect("a name");
                // API keys, binders, bindings, cases, limits, lists, models, rule sets, blocks, streams and the trial balance are the platform's; owners are named
                // by their names, which `owners` and `timelines` try.
                let other = [
                    "/v1/api_keys",
                    "/v1/owners",
                    "/v1/owners/{name}/timeline",
                    "/v1/trial_balance",
                ];
                let of_platform = [
                    "/v1/binders",
                    "/v1/bindings",
                    "/v1/cases",
                    "/v1/limits",
                    "/v1/lists",
                    "/v1/models",
                    "/v1/rule_sets",
                    "/v1/security/blocks",
                    "/v1/streams",
                ];
                let is_platform_s = of_platform.iter().any(|noun| path.starts_with(noun));
                if !ids.contains(&name) || other.contains(&path.as_str()) || is_platform_s {
                    continue;
                }
                let found = tried.iter().any(|(tried_method, tried)| {
                    let (route, query) = tried.split_once('?').unwrap_or((tried, ""));
                    let named = match name {
                        "id" => route.contains("{id}"),
                        name => query.contains(&format!("{name}={{id}}")),
                    };
                    tried_method == method && own_removed(route) == *path && named
                });
                assert!(found, "{method} {path}: {name} is not tried");
            }
        }
    }
}
