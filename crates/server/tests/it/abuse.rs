//! Abuse before the ledger: what is counted, what is blocked and for how long, and what is told.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};
use tributary_server::AbuseLimits;

use crate::client::{Answer, PATIENCE, read_answer, send, until};
use crate::cluster::Cluster;
use crate::fixture::{Fixture, id, pay};
use crate::grpc::client::code;
use crate::grpc::{as_holder, batch, paying};
use crate::streams::events;

/// Addresses that are not exempt.
const STRANGER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const OTHER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);

const BLOCKS: &str = "/v1/security/blocks";

/// Three of each signal in a minute, and no more.
fn strict() -> AbuseLimits {
    AbuseLimits {
        bad_key_max: 3,
        malformed_max: 3,
        declined_max: 3,
        probing_max: 3,
        enumeration_max: 3,
        timed_out_max: 3,
        ..AbuseLimits::default()
    }
}

fn start(limits: AbuseLimits) -> Fixture {
    Fixture::with(|config| config.limits.abuse = Some(limits))
}

fn start_with_grpc(limits: AbuseLimits) -> Fixture {
    Fixture::with(|config| {
        config.grpc_listen = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
        config.limits.abuse = Some(limits);
    })
}

fn connect_from(source: Ipv4Addr, server: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    let source = SocketAddr::from((source, 0));
    socket
        .bind(&source.into())
        .expect("an address of the loopback");
    socket.connect(&server.into()).expect("the server listens");
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
    stream
}

/// Asks for a path with a token, from an address, on a connection of its own.
fn get_from(source: Ipv4Addr, server: SocketAddr, token: &str, path: &str) -> Answer {
    let stream = connect_from(source, server);
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\r\n"
    );
    std::io::Write::write_all(&mut &stream, request.as_bytes()).expect("the head is taken");
    read_answer(stream)
}

fn is_blocked(answer: &Answer) -> bool {
    let blocked = (answer.status, answer.code().as_str()) == (429, "temporarily_blocked");
    assert_eq!(
        blocked,
        answer.header("retry-after").is_some() && answer.status == 429
    );
    blocked
}

/// Ids of what is blocked.
fn blocked(server: &Fixture) -> Vec<String> {
    let blocks = server.get(BLOCKS).expect(200);
    let data = blocks["data"].as_array().expect("a list");
    assert_eq!(blocks["total"], data.len());
    data.iter().map(id).collect()
}

/// An API key of an owner, as text and as id.
fn key_of(server: &Fixture, owner: &str) -> (String, String) {
    let key = json!({"owner": owner, "access": "write"});
    let key = server.post("/v1/api_keys", &key).expect(201);
    (
        key["secret"].as_str().expect("it is shown").to_owned(),
        id(&key),
    )
}

/// The data of the events of a type, once there are so many.
fn told(server: &Fixture, kind: &str, count: usize) -> Vec<Value> {
    let events = until("the events are published", || {
        let events = events(server, kind);
        (events.len() >= count).then_some(events)
    });
    assert_eq!(events.len(), count);
    events
        .into_iter()
        .map(|event| event["data"].clone())
        .collect()
}

#[test]
fn an_address_with_too_many_bad_keys_is_blocked_for_a_time_and_nobody_else() {
    let server = start(strict());
    let (addr, platform) = (server.addr, server.platform.as_str());
    for _ in 0..4 {
        assert_eq!(
            get_from(STRANGER, addr, "tk_wrong", "/v1/accounts").status,
            401
        );
    }
    let refused = get_from(STRANGER, addr, platform, "/v1/accounts");
    assert!(is_blocked(&refused), "even a valid key is not looked at");
    assert_eq!(refused.header("retry-after"), Some("60"));
    let message = refused.json()["error"]["message"].to_string();
    assert!(
        message.contains("2026-11-20T00:01:00Z") && message.contains("bad_key"),
        "{message}"
    );
    let unroutable = get_from(STRANGER, addr, platform, "/nothing");
    assert!(is_blocked(&unroutable));
    // What watches the server is answered, and so is everybody else.
    for path in ["/health/live", "/health/ready", "/metrics"] {
        assert_eq!(
            get_from(STRANGER, addr, platform, path).status,
            200,
            "{path}"
        );
    }
    assert_eq!(get_from(OTHER, addr, platform, "/v1/accounts").status, 200);
    assert_eq!(server.get("/v1/accounts").status, 200);
    let block = json!({
        "object": "security_block", "id": "127.0.0.2", "kind": "address", "reason": "bad_key", "signals": {"bad_key": 4},
        "since": "2026-11-20T00:00:00Z", "until": "2026-11-20T00:01:00Z",
    });
    let expected = json!({"object": "security_blocks", "data": [block], "total": 1});
    assert_eq!(server.get(BLOCKS).expect(200), expected);
    let number = |name: &str| server.metric(name);
    assert_eq!(
        number("tributary_abuse_signals_total{signal=\"bad_key\"}"),
        "4"
    );
    assert_eq!(
        number("tributary_abuse_requests_refused_total{scope=\"address\"}"),
        "2"
    );
    assert_eq!(number("tributary_abuse_blocked{scope=\"address\"}"), "1");
    let event = json!({
        "kind": "address", "id": "127.0.0.2", "reason": "bad_key", "signals": {"bad_key": 4},
        "until": "2026-11-20T00:01:00Z", "node": null,
    });
    assert_eq!(told(&server, "security.blocked", 1), [event]);
    server.clock.advance(60);
    assert_eq!(
        get_from(STRANGER, addr, platform, "/v1/accounts").status,
        200
    );
    assert_eq!(number("tributary_abuse_blocked{scope=\"address\"}"), "0");
    until_all_are_closed(&server);
    // The next block lasts longer.
    for _ in 0..4 {
        assert_eq!(
            get_from(STRANGER, addr, "tk_wrong", "/v1/accounts").status,
            401
        );
    }
    let refused = get_from(STRANGER, addr, platform, "/v1/accounts");
    assert_eq!(refused.header("retry-after"), Some("120"));
    assert_eq!(
        told(&server, "security.blocked", 2)[1]["signals"],
        json!({"bad_key": 4})
    );
}

/// A request that goes wrong, with a token, and the status of its answer.
type Wrong = fn(&Fixture, &str, &Scene, u64) -> Answer;

struct Scene {
    wallet: String,
    shop: String,
}

#[test]
fn each_signal_blocks_the_api_key_that_sends_too_many() {
    let cases: [(&str, &str, u16, Wrong); 8] = [
        ("malformed", "a body", 400, |server, token, _, _| {
            server.post_raw(token, "/v1/payments", Some("k"), b"{")
        }),
        ("malformed", "a head", 400, |server, token, _, _| {
            server.get_as(token, "/v1/accounts?dry_run=true")
        }),
        (
            "malformed",
            "a head of a payment",
            400,
            |server, token, _, _| server.post_as(token, "/v1/payments?dry_run=true", &json!({})),
        ),
        ("malformed", "a path", 404, |server, token, _, _| {
            server.get_as(token, "/v1/nothing")
        }),
        ("malformed", "a method", 405, |server, token, _, _| {
            server.post_as(token, "/v1/trial_balance", &json!({}))
        }),
        (
            "enumeration",
            "an id of the wrong shape",
            404,
            |server, token, _, _| server.get_as(token, "/v1/payments/pay_x"),
        ),
        (
            "enumeration",
            "another one's account",
            404,
            |server, token, scene, _| server.get_as(token, &format!("/v1/accounts/{}", scene.shop)),
        ),
        (
            "declined",
            "one amount of one payer",
            402,
            |server, token, scene, _| {
                server.post_as(
                    token,
                    "/v1/payments",
                    &pay(&scene.wallet, &scene.shop, 9_000),
                )
            },
        ),
    ];
    for (reason, what, status, send_wrong) in cases {
        let server = start(strict());
        let scene = Scene {
            wallet: server.wallet("ann", 100),
            shop: server.account("shop", "merchant"),
        };
        let (token, key) = key_of(&server, "ann");
        for number in 0..4 {
            let answer = send_wrong(&server, &token, &scene, number);
            assert_eq!(answer.status, status, "{what}: {:?}", answer.code());
        }
        assert!(
            is_blocked(&send_wrong(&server, &token, &scene, 9)),
            "{what}"
        );
        assert!(is_blocked(&server.get_as(&token, "/v1/accounts")), "{what}");
        // Another key of the same owner and the same address is not.
        let (second, _) = key_of(&server, "ann");
        assert_eq!(server.get_as(&second, "/v1/accounts").status, 200, "{what}");
        assert_eq!(blocked(&server), [key.as_str()], "{what}");
        let event = told(&server, "security.blocked", 1).remove(0);
        assert_eq!(
            (&event["kind"], &event["id"]),
            (&json!("api_key"), &json!(key)),
            "{what}"
        );
        assert_eq!(
            (&event["reason"], &event["signals"][reason]),
            (&json!(reason), &json!(4)),
            "{what}"
        );
        server.clock.advance(60);
        assert_eq!(server.get_as(&token, "/v1/accounts").status, 200, "{what}");
    }
}

#[test]
fn probing_is_told_and_blocks_nobody() {
    let mut limits = strict();
    limits.declined_max = 0;
    let server = start(limits);
    let (wallet, shop) = (
        server.wallet("ann", 100),
        server.account("shop", "merchant"),
    );
    let (token, key) = key_of(&server, "ann");
    for number in 0..8 {
        let answer = server.post_as(&token, "/v1/payments", &pay(&wallet, &shop, 9_000 + number));
        assert_eq!(answer.status, 402, "{:?}", answer.code());
    }
    assert!(blocked(&server).is_empty());
    let event = told(&server, "security.suspected", 1).remove(0);
    assert_eq!(
        (&event["id"], &event["reason"], &event["until"]),
        (&json!(key), &json!("probing"), &Value::Null)
    );
}

#[test]
fn bodies_that_do_not_arrive_block_and_are_counted() {
    let limits = AbuseLimits {
        timed_out_max: 1,
        ..strict()
    };
    let server = Fixture::with(|config| {
        config.limits.abuse = Some(limits);
        config.limits.body_read_timeout = Duration::from_millis(50);
    });
    let (token, key) = key_of(&server, "ann");
    for _ in 0..2 {
        let stream = connect_from(STRANGER, server.addr);
        let head = format!(
            "POST /v1/payments HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\
             Content-Type: application/json\r\nIdempotency-Key: k\r\nContent-Length: 10\r\n\r\n{{"
        );
        std::io::Write::write_all(&mut &stream, head.as_bytes()).expect("the server listens");
        assert_eq!(read_answer(stream).status, 408);
    }
    assert_eq!(blocked(&server), [key]);
    let counted = server.metric("tributary_request_timeouts_total{at=\"body\"}");
    assert_eq!(counted, "2");
    let event = told(&server, "security.blocked", 1).remove(0);
    assert_eq!(event["signals"], json!({"timed_out": 2}));
}

#[test]
fn heads_that_do_not_arrive_are_counted() {
    let server = Fixture::with(|config| {
        config.limits.header_read_timeout = Duration::from_millis(50);
    });
    let stream = connect_from(STRANGER, server.addr);
    std::io::Write::write_all(&mut &stream, b"GET /health/live HTT").expect("it is taken");
    let end = std::io::Read::read(&mut &stream, &mut [0; 1]);
    assert!(matches!(end, Ok(0) | Err(_)), "the server closes");
    until("the connection is counted", || {
        let counted = server.metric("tributary_request_timeouts_total{at=\"head\"}");
        (counted == "1").then_some(())
    });
}

#[test]
fn platform_keys_and_exempt_addresses_are_never_blocked() {
    let server = start(strict());
    for _ in 0..20 {
        assert_eq!(server.get("/v1/payments/pay_x").status, 404);
        assert_eq!(server.get("/v1/nothing").status, 404);
    }
    for _ in 0..20 {
        assert_eq!(server.get_as("tk_wrong", "/v1/accounts").status, 401);
    }
    assert_eq!(server.get("/v1/accounts").status, 200);
    assert_eq!(blocked(&server), [""; 0]);
    // The address is told of, once in a minute.
    let event = json!({
        "kind": "address", "id": "127.0.0.1", "reason": "bad_key", "signals": {"bad_key": 4}, "until": null, "node": null,
    });
    assert_eq!(told(&server, "security.suspected", 1), [event]);
    server.clock.advance(60);
    assert_eq!(server.get_as("tk_wrong", "/v1/accounts").status, 401);
    let events = told(&server, "security.suspected", 2);
    assert_eq!(
        events[1]["signals"],
        json!({"bad_key": 16}),
        "those since then"
    );
}

#[test]
fn blocks_can_be_turned_off() {
    let server = start(AbuseLimits {
        block_keys: false,
        block_addresses: false,
        ..strict()
    });
    let (token, key) = key_of(&server, "ann");
    for _ in 0..10 {
        assert_eq!(
            get_from(STRANGER, server.addr, "tk_wrong", "/v1/accounts").status,
            401
        );
        assert_eq!(server.get_as(&token, "/v1/payments/pay_x").status, 404);
    }
    assert_eq!(blocked(&server), [""; 0]);
    let events = told(&server, "security.suspected", 2);
    let told: Vec<&Value> = events.iter().map(|event| &event["id"]).collect();
    assert_eq!(told, ["127.0.0.2", &key]);
    // Without maxima nothing is found.
    let server = start(AbuseLimits {
        bad_key_max: 0,
        ..strict()
    });
    for _ in 0..10 {
        assert_eq!(
            get_from(STRANGER, server.addr, "tk_wrong", "/v1/accounts").status,
            401
        );
    }
    assert_eq!(blocked(&server), [""; 0]);
}

#[test]
fn a_block_is_lifted_by_the_platform_and_by_nobody_else() {
    let server = start(strict());
    let (token, key) = key_of(&server, "ann");
    for _ in 0..4 {
        get_from(STRANGER, server.addr, "tk_wrong", "/v1/accounts");
        server.get_as(&token, "/v1/payments/pay_x");
    }
    let lift = |token: &str, id: &str| {
        let authorization = format!("Bearer {token}");
        let path = format!("{BLOCKS}/{id}");
        send(
            server.addr,
            "DELETE",
            &path,
            &[("Authorization", &authorization)],
            b"",
        )
    };
    let (other, _) = key_of(&server, "bob");
    assert_eq!(server.get_as(&other, BLOCKS).code(), "platform_only");
    assert_eq!(lift(&other, &key).code(), "platform_only");
    assert!(is_blocked(&lift(&token, &key)));
    assert_eq!(id(&lift(&server.platform, &key).expect(200)), key);
    assert_eq!(server.get_as(&token, "/v1/accounts").status, 200);
    assert_eq!(
        id(&lift(&server.platform, "127.0.0.2").expect(200)),
        "127.0.0.2"
    );
    let answer = get_from(STRANGER, server.addr, &server.platform, "/v1/accounts");
    assert_eq!(answer.status, 200);
    for none in [&*key, "127.0.0.2", "2001:db8::1", "key_x", "-"] {
        assert_eq!(
            lift(&server.platform, none).code(),
            "resource_not_found",
            "{none}"
        );
    }
    assert_eq!(blocked(&server), [""; 0]);
}

#[test]
fn only_the_platform_sees_what_was_found() {
    let server = start(strict());
    let (token, _) = key_of(&server, "ann");
    for _ in 0..4 {
        server.get_as(&token, "/v1/payments/pay_x");
    }
    assert_eq!(told(&server, "security.blocked", 1)[0]["kind"], "api_key");
    let (other, _) = key_of(&server, "ann");
    let seen = server.get_as(&other, "/v1/events").expect(200);
    assert_eq!(seen["data"], json!([]));
    // Nor does anybody but the system publish such an event.
    let event = json!({"type": "security.blocked", "data": {}});
    assert_eq!(server.post("/v1/events", &event).status, 400);
}

/// Waits until no connection is open but that of the question.
fn until_all_are_closed(server: &Fixture) {
    until("the connections are closed", || {
        (server.metric("tributary_http_connections") == "1").then_some(())
    });
}

#[test]
fn an_address_is_not_blocked_while_somebody_there_has_a_valid_key() {
    let server = start(strict());
    let good = connect_from(STRANGER, server.addr);
    let ask = |connection: &str| {
        let request = format!(
            "GET /v1/accounts HTTP/1.1\r\nHost: localhost\r\nConnection: {connection}\r\nAuthorization: Bearer {}\r\n\r\n",
            server.platform
        );
        std::io::Write::write_all(&mut &good, request.as_bytes()).expect("it is taken");
    };
    ask("keep-alive");
    std::io::Read::read_exact(&mut &good, &mut [0; 12]).expect("it answers");
    for _ in 0..6 {
        assert_eq!(
            get_from(STRANGER, server.addr, "tk_wrong", "/v1/accounts").status,
            401
        );
    }
    assert_eq!(blocked(&server), [""; 0]);
    assert_eq!(told(&server, "security.suspected", 1)[0]["id"], "127.0.0.2");
    ask("close");
    let mut text = Vec::new();
    std::io::Read::read_to_end(&mut &good, &mut text).expect("it answers");
    until("it is blocked", || {
        is_blocked(&get_from(STRANGER, server.addr, "tk_wrong", "/v1/accounts")).then_some(())
    });
    assert_eq!(blocked(&server), ["127.0.0.2"]);
}

#[test]
fn commands_of_batches_are_counted_one_by_one() {
    let server = start(strict());
    let (wallet, shop) = (
        server.wallet("ann", 1_000),
        server.account("shop", "merchant"),
    );
    let batch_of = |token: &str, payments: &[Value]| {
        let commands = payments
            .iter()
            .map(|payment| json!({"idempotency_key": server.new_key(), "payment": payment}));
        let commands: Vec<Value> = commands.collect();
        server.post_raw(
            token,
            "/v1/batches",
            None,
            json!(commands).to_string().as_bytes(),
        )
    };
    let declined = vec![pay(&wallet, &shop, 5_000); 4];
    // As many are accepted.
    let (token, _) = key_of(&server, "ann");
    let both = [declined.clone(), vec![pay(&wallet, &shop, 1); 4]].concat();
    batch_of(&token, &both).expect(200);
    assert_eq!(blocked(&server), [""; 0]);
    batch_of(&token, &declined).expect(200);
    assert!(is_blocked(&batch_of(&token, &declined)));
    let (token, key) = key_of(&server, "ann");
    let foreign = vec![pay(&shop, &wallet, 1); 4];
    batch_of(&token, &foreign).expect(200);
    assert!(is_blocked(&batch_of(&token, &foreign)));
    assert_eq!(blocked(&server).len(), 2);
    let events = told(&server, "security.blocked", 2);
    assert_eq!(events[0]["reason"], "declined");
    assert_eq!(
        (&events[1]["id"], &events[1]["reason"]),
        (&json!(key), &json!("enumeration"))
    );
}

#[test]
fn repetitions_of_a_declined_payment_are_not_counted() {
    let server = start(strict());
    let (wallet, shop) = (
        server.wallet("ann", 100),
        server.account("shop", "merchant"),
    );
    let (token, _) = key_of(&server, "ann");
    let body = pay(&wallet, &shop, 5_000).to_string();
    for _ in 0..10 {
        let answer = server.post_raw(&token, "/v1/payments", Some("once"), body.as_bytes());
        assert_eq!(answer.code(), "insufficient_funds");
    }
    assert_eq!(blocked(&server), [""; 0]);
}

#[test]
fn calls_of_grpc_are_counted_like_requests_of_rest() {
    let server = start_with_grpc(AbuseLimits {
        exempt_addresses: Vec::new(),
        ..strict()
    });
    let (wallet, shop) = (
        server.wallet("ann", 100),
        server.account("shop", "merchant"),
    );
    let (token, key) = key_of(&server, "ann");
    let client = as_holder(&server, &token);
    let declined = |key: &str| paying(key, &wallet, &shop, 5_000);
    let sent = client.submit(batch(["a", "b", "c", "d"].map(declined).into()));
    assert_eq!(sent.expect("it is answered").results.len(), 4);
    let refused = client
        .submit(batch(vec![declined("e")]))
        .expect_err("it is blocked");
    assert_eq!(refused.code(), tonic::Code::ResourceExhausted);
    assert_eq!(code(&refused), "temporarily_blocked");
    assert_eq!(blocked(&server), [key]);
    drop(client);
    let stranger = as_holder(&server, "tk_wrong");
    let wrong = || {
        let sent = stranger.submit(batch(vec![declined("f")]));
        code(&sent.expect_err("there is no key")).to_owned()
    };
    for _ in 0..3 {
        assert_eq!(wrong(), "api_key_invalid");
    }
    // It takes a moment until the connections with a key are gone.
    until("it is blocked", || {
        (wrong() == "temporarily_blocked").then_some(())
    });
    server.clock.advance(60);
    assert_eq!(wrong(), "api_key_invalid");
    let client = as_holder(&server, &token);
    let accepted = client.submit(batch(vec![paying("g", &wallet, &shop, 1)]));
    assert_eq!(accepted.expect("the block is over").results[0].code, "");
}

#[test]
fn good_traffic_with_a_few_errors_is_not_blocked_by_the_default() {
    let server = start(AbuseLimits::default());
    let (wallet, shop) = (
        server.wallet("ann", 1_000),
        server.account("shop", "merchant"),
    );
    let (token, _) = key_of(&server, "ann");
    for number in 0..50 {
        let paid = server.post_as(&token, "/v1/payments", &pay(&wallet, &shop, 1));
        let path = format!("/v1/payments/{}", id(&paid.expect(201)));
        assert_eq!(server.get_as(&token, &path).status, 200);
        if number % 5 == 0 {
            assert_eq!(server.get_as(&token, "/v1/payments/pay_x").status, 404);
            let too_much = pay(&wallet, &shop, 5_000);
            assert_eq!(
                server.post_as(&token, "/v1/payments", &too_much).status,
                402
            );
            assert_eq!(
                get_from(STRANGER, server.addr, "tk_wrong", "/v1/accounts").status,
                401
            );
        }
    }
    assert_eq!(blocked(&server), [""; 0]);
    assert!(events(&server, "security.suspected").is_empty());
}

#[test]
fn a_cluster_counts_by_address_where_a_request_comes_in_and_by_key_where_it_is_answered() {
    let cluster = Cluster::with_all(|config| config.limits.abuse = Some(strict()));
    let (wallet, shop) = cluster.payer_and_payee();
    let (leader, follower) = (&cluster.leader, &cluster.follower);
    let (token, key) = key_of(leader, "ann");
    cluster.catch_up();
    for _ in 0..4 {
        let answer = get_from(STRANGER, follower.addr, "tk_wrong", "/v1/accounts");
        assert_eq!(answer.status, 401);
    }
    let refused = get_from(STRANGER, follower.addr, "tk_wrong", "/v1/accounts");
    assert!(is_blocked(&refused));
    assert_eq!(blocked(leader), [""; 0]);
    assert_eq!(blocked(follower), ["127.0.0.2"]);
    for _ in 0..4 {
        let declined = follower.post_as(&token, "/v1/payments", &pay(&wallet, &shop, 50_000));
        assert_eq!(declined.status, 402);
    }
    assert!(is_blocked(&follower.post_as(
        &token,
        "/v1/payments",
        &pay(&wallet, &shop, 1)
    )));
    assert_eq!(blocked(leader), [key.as_str()]);
    let event = told(leader, "security.blocked", 1).remove(0);
    assert_eq!(
        (&event["id"], &event["node"]),
        (&json!(key), &json!("node-1"))
    );
    // What the follower blocks is lifted there.
    let path = format!("{BLOCKS}/127.0.0.2");
    let authorization = format!("Bearer {}", follower.platform);
    let headers = [("Authorization", authorization.as_str())];
    assert_eq!(
        send(leader.addr, "DELETE", &path, &headers, b"").status,
        404
    );
    assert_eq!(
        send(follower.addr, "DELETE", &path, &headers, b"").status,
        200
    );
    assert_eq!(blocked(follower), [""; 0]);
}
