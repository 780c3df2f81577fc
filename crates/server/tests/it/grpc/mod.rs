//! The server over gRPC: the same rules as over REST, in batches.

pub(crate) mod client;
mod health;
#[rustfmt::skip]
#[allow(
    dead_code,
    missing_docs,
    unreachable_pub,
    clippy::large_enum_variant,
    reason = "generated"
)]
#[path = "../../../src/grpc/messages.rs"]
pub(crate) mod messages;
mod reads;
mod receive;
pub(crate) mod streams;

use std::io::{Read, Write};
use std::net::SocketAddr;

use serde_json::json;
use tonic::Code;
use tributary_api::intake::{IdentityKind, message_key};

use self::client::{Client, code, param};
use self::messages::command::Body;
use self::messages::{
    AccountId, Capture, Command, CommandResult, Fee, GetPaymentRequest, OpenAccount, Pay,
    PaymentState, Publish, Queue, Refund, Split, SubmitRequest, Void, split,
};
use crate::client::{PATIENCE, connect};
use crate::fixture::{Fixture, hold, id, pay};
use crate::limits::tls;

const EUR: u32 = 978;

pub(super) fn start() -> Fixture {
    Fixture::with(|config| config.grpc_listen = Some(SocketAddr::from(([127, 0, 0, 1], 0))))
}

pub(crate) fn platform(server: &Fixture) -> Client {
    as_holder(server, &server.platform)
}

pub(crate) fn as_holder(server: &Fixture, token: &str) -> Client {
    let running = server.running.as_ref().expect("it runs");
    Client::new(running.grpc_addr().expect("it listens"), token)
}

/// The 16 bytes behind an id's text, made here as the definition describes it.
pub(crate) fn block(id: &str) -> Vec<u8> {
    let alphabet = "0123456789abcdefghjkmnpqrstvwxyz";
    let digits = id.rsplit('_').next().expect("digits");
    let number = digits.chars().fold(0u128, |number, digit| {
        number << 5 | alphabet.find(digit).expect("a digit of base 32") as u128
    });
    number.to_be_bytes().to_vec()
}

pub(crate) fn command(key: &str, body: Body) -> Command {
    Command {
        key: key.as_bytes().to_vec(),
        body: Some(body),
        ..Command::default()
    }
}

pub(crate) fn payment(source: &str, destination: &str, amount: u64) -> Pay {
    Pay {
        source: block(source),
        destination: block(destination),
        amount,
        currency: EUR,
        ..Pay::default()
    }
}

pub(crate) fn paying(key: &str, source: &str, destination: &str, amount: u64) -> Command {
    command(key, Body::Pay(payment(source, destination, amount)))
}

pub(crate) fn batch(commands: Vec<Command>) -> SubmitRequest {
    SubmitRequest { commands, batch: 7 }
}

#[track_caller]
fn results(client: &Client, commands: Vec<Command>) -> Vec<CommandResult> {
    let answer = client
        .submit(batch(commands))
        .expect("the batch is answered");
    assert_eq!(answer.batch, 7);
    answer.results
}

fn codes(results: &[CommandResult]) -> Vec<&str> {
    results.iter().map(|result| result.code.as_str()).collect()
}

#[test]
fn each_command_has_its_own_result_and_what_it_made_is_found_over_rest() {
    let server = start();
    let client = platform(&server);
    let (buyer, shop) = (
        server.wallet("ann", 10_000),
        server.account("shop", "merchant"),
    );
    let fees = server.account("platform", "fee");
    let open = OpenAccount {
        owner: "bob".into(),
        currency: EUR,
        external_id: "x1".into(),
        ..OpenAccount::default()
    };
    let split = Pay {
        destination: Vec::new(),
        splits: vec![Split {
            account: block(&shop),
            part: Some(split::Part::BasisPoints(10_000)),
        }],
        fees: vec![Fee {
            account: block(&fees),
            amount: 5,
            basis_points: 100,
        }],
        reference: "order-1".into(),
        ..payment(&buyer, &shop, 1_000)
    };
    let done = results(
        &client,
        vec![
            paying("a", &buyer, &shop, 500),
            paying("b", &buyer, &shop, 1_000_000),
            command("c", Body::OpenAccount(open)),
            command("d", Body::Pay(split)),
            paying("e", &buyer, &shop, 0),
            // An id as text is as good.
            command(
                "f",
                Body::Pay(Pay {
                    source: buyer.clone().into_bytes(),
                    ..payment(&buyer, &shop, 1)
                }),
            ),
        ],
    );
    let expected = ["", "insufficient_funds", "", "", "amount_zero", ""];
    assert_eq!(codes(&done), expected);
    let payments = server.get("/v1/payments?limit=10").expect(200);
    let listed: Vec<Vec<u8>> = payments["data"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|payment| block(&id(payment)))
        .collect();
    for (index, result) in done.iter().enumerate().filter(|(index, _)| *index != 2) {
        assert!(listed.contains(&result.id), "{index}");
        assert!(!result.replayed);
    }
    let opened = server
        .get("/v1/accounts?owner=bob&external_id=x1")
        .expect(200);
    assert_eq!(block(&id(&opened["data"][0])), done[2].id);
    assert_eq!(server.posted(&shop), 500 + 985 + 1);
    assert_eq!(server.posted(&fees), 15);
}

#[test]
fn captures_voids_and_refunds_do_what_they_do_over_rest() {
    let server = start();
    let client = platform(&server);
    let (buyer, shop) = (
        server.wallet("ann", 10_000),
        server.account("shop", "merchant"),
    );
    let held = |key: &str| {
        let expires_at = Some(1_795_132_800_000_000_000 + 3_600_000_000_000);
        let pay = Pay {
            hold_expires_at: expires_at,
            ..payment(&buyer, &shop, 500)
        };
        command(key, Body::Pay(pay))
    };
    let made = results(&client, vec![held("a"), held("b")]);
    let (one, two) = (made[0].id.clone(), made[1].id.clone());
    let capture = |key: &str, payment: &[u8], amount| {
        let payment = payment.to_vec();
        command(
            key,
            Body::Capture(Capture {
                payment,
                amount,
                r#final: false,
                splits: Vec::new(),
            }),
        )
    };
    let refund = |key: &str, amount| {
        let payment = one.clone();
        command(
            key,
            Body::Refund(Refund {
                payment,
                amount,
                refund_fee: false,
                splits: Vec::new(),
            }),
        )
    };
    let done = results(
        &client,
        vec![
            capture("c", &one, Some(200)),
            capture("d", &one, None),
            capture("e", &two, Some(501)),
            command("f", Body::Void(Void { payment: two })),
            refund("g", Some(100)),
            refund("h", Some(401)),
            refund("i", None),
            // Nobody ever made this one.
            capture("j", &[9; 16], None),
        ],
    );
    let expected = [
        "",
        "",
        "capture_exceeds_hold",
        "",
        "",
        "refund_exceeds_captured",
        "",
        "resource_not_found",
    ];
    assert_eq!(codes(&done), expected);
    assert!(done[7].id.is_empty());
    assert_eq!(server.posted(&buyer), 10_000);
    assert_eq!(server.posted(&shop), 0);
}

#[test]
fn the_same_key_is_the_same_payment_over_rest_and_grpc() {
    let server = start();
    let client = platform(&server);
    let (buyer, shop) = (
        server.wallet("ann", 1_000),
        server.account("shop", "merchant"),
    );
    let mut body = pay(&buyer, &shop, 10);
    body["description"] = json!("tea");
    body["metadata"] = json!({"b": "2", "a": "1"});
    body["effective_at"] = json!("2026-11-19");
    let over_rest = server.post_key("/v1/payments", "one", &body).expect(201);
    let command = |amount| Command {
        description: "tea".into(),
        metadata: [("a".into(), "1".into()), ("b".into(), "2".into())].into(),
        effective_at: Some(20_776),
        ..paying("one", &buyer, &shop, amount)
    };
    let done = results(&client, vec![command(10), command(11)]);
    assert_eq!(done[0].id, block(&id(&over_rest)));
    assert!(done[0].replayed);
    assert_eq!(codes(&done), ["", "idempotency_key_reused"]);
    assert!(done[1].id.is_empty());
    // And the other way round, a refused one too.
    let done = results(
        &client,
        vec![
            paying("two", &buyer, &shop, 20),
            paying("three", &buyer, &shop, 99_999),
        ],
    );
    let again = server.post_key("/v1/payments", "two", &pay(&buyer, &shop, 20));
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    assert_eq!(block(&id(&again.expect(201))), done[0].id);
    let refused = server.post_key("/v1/payments", "three", &pay(&buyer, &shop, 99_999));
    assert_eq!(refused.header("idempotent-replayed"), Some("true"));
    assert_eq!(refused.code(), done[1].code);
    assert_eq!(server.posted(&shop), 30);
}

#[test]
fn a_batch_sent_again_gets_its_first_answers_and_moves_nothing() {
    let server = start();
    let client = platform(&server);
    let (buyer, shop) = (
        server.wallet("ann", 100),
        server.account("shop", "merchant"),
    );
    let commands = vec![
        paying("a", &buyer, &shop, 60),
        paying("b", &buyer, &shop, 60),
        paying("a", &buyer, &shop, 60),
    ];
    let first = results(&client, commands.clone());
    assert_eq!(codes(&first), ["", "insufficient_funds", ""]);
    assert_eq!(first[0].id, first[2].id);
    let again = results(&client, commands);
    for (first, again) in first.iter().zip(&again) {
        assert_eq!((&first.id, &first.code), (&again.id, &again.code));
        assert!(again.replayed);
    }
    assert_eq!(server.posted(&shop), 60);
}

#[test]
fn a_group_is_done_as_a_whole_or_not_at_all() {
    let server = start();
    let client = platform(&server);
    let (buyer, shop) = (
        server.wallet("ann", 100),
        server.account("shop", "merchant"),
    );
    let linked = |command: Command| Command {
        linked: true,
        ..command
    };
    let done = results(
        &client,
        vec![
            linked(paying("a", &buyer, &shop, 10)),
            paying("b", &buyer, &shop, 10),
            linked(paying("c", &buyer, &shop, 10)),
            paying("d", &buyer, &shop, 1_000),
            linked(paying("e", &buyer, &shop, 10)),
            linked(paying("f", "acct_00000000000000000000000000", &shop, 10)),
            paying("g", &buyer, &shop, 10),
            paying("h", &buyer, &shop, 1),
        ],
    );
    let expected = [
        "",
        "",
        "group_aborted",
        "insufficient_funds",
        "group_aborted",
        "resource_not_found",
        "group_aborted",
        "",
    ];
    assert_eq!(codes(&done), expected);
    assert_eq!(server.posted(&shop), 21);
    let open_end = client
        .submit(batch(vec![linked(paying("z", &buyer, &shop, 1))]))
        .expect_err("it is linked to nothing");
    assert_eq!(code(&open_end), "parameter_invalid");
}

#[test]
fn a_wrong_form_fails_the_call_and_nothing_is_done() {
    let server = start();
    let client = platform(&server);
    let (buyer, shop) = (
        server.wallet("ann", 100),
        server.account("shop", "merchant"),
    );
    let good = paying("good", &buyer, &shop, 1);
    let with = |change: fn(&mut Command)| {
        let mut command = paying("k", &buyer, &shop, 1);
        change(&mut command);
        command
    };
    let pay_with = |change: fn(&mut Pay)| {
        let mut pay = payment(&buyer, &shop, 1);
        change(&mut pay);
        command("k", Body::Pay(pay))
    };
    let head = server.reader().head().position;
    let (missing, invalid) = ("parameter_missing", "parameter_invalid");
    for (wrong, expected, at) in [
        (
            with(|command| command.key.clear()),
            "idempotency_key_missing",
            ".key",
        ),
        (
            with(|command| command.key = vec![1; 256]),
            "idempotency_key_invalid",
            ".key",
        ),
        (
            with(|command| command.key = vec![0, 1]),
            "idempotency_key_invalid",
            ".key",
        ),
        (
            with(|command| {
                let key = message_key("orders", IdentityKind::Field, "", b"1");
                command.key = key.as_bytes().to_vec();
            }),
            "idempotency_key_invalid",
            ".key",
        ),
        (with(|command| command.body = None), missing, ".body"),
        (
            with(|command| command.description = "\n".into()),
            invalid,
            ".description",
        ),
        (
            with(|command| command.effective_at = Some(i32::MAX)),
            invalid,
            ".effective_at",
        ),
        (
            with(|command| drop(command.metadata.insert(String::new(), "x".into()))),
            invalid,
            ".metadata",
        ),
        (pay_with(|pay| pay.currency = 999), invalid, ".pay.currency"),
        (pay_with(|pay| pay.source.clear()), missing, ".pay.source"),
        (
            pay_with(|pay| pay.destination.clear()),
            missing,
            ".pay.destination",
        ),
        (pay_with(|pay| pay.kind = 9), invalid, ".pay.kind"),
        (pay_with(|pay| pay.kind = 4), missing, ".pay.reason"),
        (
            pay_with(|pay| pay.reason = "why".into()),
            invalid,
            ".pay.reason",
        ),
        (
            pay_with(|pay| pay.fees = vec![Fee::default(); 17]),
            missing,
            ".pay.fees.account",
        ),
        (
            pay_with(|pay| pay.reference = "x".repeat(65)),
            invalid,
            ".pay.reference",
        ),
    ] {
        let status = client
            .submit(batch(vec![good.clone(), wrong]))
            .expect_err(at);
        assert_eq!(
            (status.code(), code(&status), param(&status)),
            (
                Code::InvalidArgument,
                expected,
                format!("commands[1]{at}").as_str()
            )
        );
    }
    for (size, at) in [(0, "commands"), (8_193, "commands")] {
        let status = client
            .submit(batch(vec![good.clone(); size]))
            .expect_err("a bad size");
        assert_eq!((code(&status), param(&status)), (invalid, at), "{size}");
    }
    assert_eq!(server.reader().head().position, head);
}

/// A newer client's field must not be overlooked: it may say that the money is only to be held.
#[test]
fn an_unknown_field_is_refused() {
    #[derive(Clone, PartialEq, prost::Message)]
    struct Newer {
        #[prost(bytes = "vec", tag = "1")]
        key: Vec<u8>,
        #[prost(message, optional, tag = "3")]
        pay: Option<Pay>,
        #[prost(fixed64, tag = "99")]
        not_before: u64,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    struct NewerBatch {
        #[prost(message, repeated, tag = "1")]
        commands: Vec<Newer>,
    }
    let server = start();
    let (buyer, shop) = (
        server.wallet("ann", 100),
        server.account("shop", "merchant"),
    );
    let newer = |not_before| NewerBatch {
        commands: vec![Newer {
            key: b"k".to_vec(),
            pay: Some(payment(&buyer, &shop, 1)),
            not_before,
        }],
    };
    let client = platform(&server);
    let answer: Result<messages::SubmitResponse, _> =
        client.call("/tributary.v1.Ledger/Submit", newer(1));
    assert_eq!(
        code(&answer.expect_err("an unknown field")),
        "parameter_unknown"
    );
    let answer: messages::SubmitResponse = client
        .call("/tributary.v1.Ledger/Submit", newer(0))
        .expect("without it");
    assert_eq!(codes(&answer.results), [""]);
}

#[test]
fn who_may_do_what_is_as_over_rest() {
    let server = start();
    let (buyer, shop) = (
        server.wallet("ann", 1_000),
        server.account("shop", "merchant"),
    );
    for (token, status, expected) in [
        (String::new(), Code::Unauthenticated, "api_key_missing"),
        (
            "tk_nonsense".into(),
            Code::Unauthenticated,
            "api_key_invalid",
        ),
        (
            server.token("ann", "read"),
            Code::PermissionDenied,
            "read_only_key",
        ),
    ] {
        let refused = as_holder(&server, &token)
            .submit(batch(vec![paying("k", &buyer, &shop, 1)]))
            .expect_err(expected);
        assert_eq!((refused.code(), code(&refused)), (status, expected));
    }
    let theirs = server
        .post("/v1/payments", &hold(&buyer, &shop, 5))
        .expect(201);
    let (ann, eve) = (server.token("ann", "write"), server.token("eve", "write"));
    let adjustment = Pay {
        kind: 4,
        reason: "why".into(),
        ..payment(&buyer, &shop, 1)
    };
    let freeze = AccountId {
        account: block(&buyer),
    };
    let void = Void {
        payment: block(&id(&theirs)),
    };
    let wishes = vec![
        paying("a", &buyer, &shop, 1),
        command("b", Body::Pay(adjustment)),
        command("c", Body::FreezeAccount(freeze)),
        command("d", Body::Void(void)),
    ];
    let done = results(&as_holder(&server, &ann), wishes.clone());
    assert_eq!(
        codes(&done),
        ["", "platform_only", "platform_only", "forbidden"]
    );
    let done = results(&as_holder(&server, &eve), wishes);
    assert_eq!(codes(&done), ["resource_not_found"; 4]);
    // An owner's key opens accounts for its own owner.
    let open = OpenAccount {
        currency: EUR,
        ..OpenAccount::default()
    };
    let done = results(
        &as_holder(&server, &eve),
        vec![command("e", Body::OpenAccount(open))],
    );
    assert_eq!(codes(&done), [""]);
    let eves = server.get_as(&eve, "/v1/accounts").expect(200);
    assert_eq!(block(&id(&eves["data"][0])), done[0].id);
}

#[test]
fn an_event_is_the_same_over_rest() {
    let server = start();
    let client = platform(&server);
    let event = |data: &str| {
        let publish = Publish {
            r#type: "app.order.shipped".into(),
            key: "order-7".into(),
            data: data.into(),
        };
        command("event-1", Body::Publish(publish))
    };
    let made = results(&client, vec![event("{ \"a\": 1.50 }")]);
    assert_eq!(codes(&made), [""]);
    let body = br#"{"type":"app.order.shipped","key":"order-7","data":{"a":1.50}}"#;
    let again = server.post_raw(&server.platform, "/v1/events", Some("event-1"), body);
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    assert_eq!(made[0].id, block(&id(&again.json())));
    for data in ["", "{", "1e999"] {
        let refused = client.submit(batch(vec![event(data)])).expect_err(data);
        assert_eq!(param(&refused), "commands[0].publish.data");
    }
}

#[test]
fn a_payment_can_be_queued_and_shows_what_became_of_it() {
    let server = Fixture::with_subscriptions_and_grpc();
    let client = platform(&server);
    let (buyer, shop) = (server.wallet("ann", 10), server.account("shop", "merchant"));
    let queued = |key: &str, amount: u64, queue: Queue| {
        let pay = Pay {
            queue: Some(queue),
            ..payment(&buyer, &shop, amount)
        };
        command(key, Body::Pay(pay))
    };
    let found = |id: &[u8]| -> PaymentState {
        let request = GetPaymentRequest { id: id.to_vec() };
        client
            .call("/tributary.v1.Ledger/GetPayment", request)
            .expect("it is there")
    };
    let queue = Queue {
        priority: Some(9),
        not_before: u64::MAX,
        ..Queue::default()
    };
    let made = results(&client, vec![queued("later", 1, queue)]);
    assert_eq!(codes(&made), [""]);
    assert_eq!(found(&made[0].id).status(), messages::PaymentStatus::Queued);
    let made = results(&client, vec![queued("now", 11, Queue::default())]);
    let begun = std::time::Instant::now();
    let failed = loop {
        let now = found(&made[0].id);
        if now.status() != messages::PaymentStatus::Queued {
            break now;
        }
        assert!(begun.elapsed() < PATIENCE);
    };
    assert_eq!(failed.status(), messages::PaymentStatus::Failed);
    // Behind the one that waits for its time, since that has not joined the line yet.
    assert_eq!(failed.failure_code, "insufficient_funds");
    let priority = Some(10);
    let wrong = queued(
        "wrong",
        1,
        Queue {
            priority,
            ..Queue::default()
        },
    );
    let refused = client
        .submit(batch(vec![wrong]))
        .expect_err("no such priority");
    assert_eq!(param(&refused), "commands[0].pay.queue.priority");
    let to = id(&server
        .post("/v1/subscriptions", &json!({"events": []}))
        .expect(201));
    for (key, reply_to, taken) in [
        ("text", to.clone(), true),
        ("unknown", to.replace("sub", "pay"), false),
    ] {
        let queue = Queue {
            reply_to,
            ..Queue::default()
        };
        let expected = if taken { "" } else { "resource_not_found" };
        let done = results(&client, vec![queued(key, 1, queue)]);
        assert_eq!(codes(&done), [expected]);
    }
    // One that is gone fails its command alone, with its group.
    let gone = id(&server
        .post("/v1/subscriptions", &json!({"events": []}))
        .expect(201));
    let bearer = format!("Bearer {}", server.platform);
    let headers = [("Authorization", bearer.as_str())];
    let path = format!("/v1/subscriptions/{gone}");
    crate::client::send(server.addr, "DELETE", &path, &headers, b"").expect(200);
    let queue = Queue {
        reply_to: gone,
        ..Queue::default()
    };
    let named = Command {
        linked: true,
        ..queued("gone", 1, queue)
    };
    let made = results(
        &client,
        vec![
            named,
            queued("with it", 1, Queue::default()),
            queued("alone", 1, Queue::default()),
        ],
    );
    assert_eq!(codes(&made), ["resource_not_found", "group_aborted", ""]);
    let wanted = json!({"max": 10, "wait_seconds": 20});
    let path = format!("/v1/subscriptions/{to}/receive");
    let begun = std::time::Instant::now();
    let told = loop {
        let told = server.post(&path, &wanted).expect(200);
        if told["data"] != json!([]) {
            break told;
        }
        assert!(begun.elapsed() < PATIENCE, "it is never told");
    };
    assert_eq!(told["data"].as_array().map(Vec::len), Some(1));
    assert_eq!(told["data"][0]["event"]["data"]["reply"]["to"], json!(to));
}

#[test]
fn grpc_is_spoken_over_tls_too_and_not_without() {
    let (files, mut config) = tls();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let server = Fixture::with(|settings| {
        settings.tls = Some(files.clone());
        settings.grpc_listen = Some(([127, 0, 0, 1], 0).into());
    });
    let addr = server.running.as_ref().expect("it runs").grpc_addr();
    let addr = addr.expect("it listens");
    let client = Client::over_tls(addr, &server.platform, config);
    let request = SubmitRequest {
        batch: 3,
        ..SubmitRequest::default()
    };
    let error = client.submit(request).expect_err("it is empty");
    assert_eq!(error.code(), tonic::Code::InvalidArgument, "{error:?}");

    let mut plain = connect(addr);
    plain
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        .expect("it is sent");
    let mut answer = Vec::new();
    let _reset = plain.read_to_end(&mut answer);
    // An alert of TLS at most, never HTTP/2.
    assert!(answer.is_empty() || answer[0] == 21, "{answer:?}");
}
