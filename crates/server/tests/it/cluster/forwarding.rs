//! What a follower forwards to the leader, and how that ends.

use std::net::TcpListener;
use std::time::Duration;

use serde_json::json;
use tributary_api::leadership::{NodeAddress, Role};

use super::proxy::Proxy;
use super::smuggling::answer_one;
use super::{Cluster, FORWARDED_BY, account_of};
use crate::client::{Answer, post, send, until};
use crate::fixture::{id, pay};
use crate::stream::Stream;

#[test]
fn writes_through_a_follower_are_made_by_the_leader_for_the_caller_and_once() {
    let cluster = Cluster::start();
    let (buyer, shop) = cluster.payer_and_payee();
    let follower = &cluster.follower;
    let body = pay(&buyer, &shop, 100);
    let first = follower.post_key("/v1/payments", "k", &body);
    let payment = first.expect(201);
    let again = follower.post_key("/v1/payments", "k", &body);
    assert_eq!(again.expect(201), payment);
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    let at_leader = cluster.leader.post_key("/v1/payments", "k", &body);
    assert_eq!(at_leader.expect(201), payment);
    assert_eq!(cluster.leader.posted(&shop), 100);
    // The leader judges the caller, and its refusals come back as they are.
    let (reads, writes) = (
        cluster.leader.token("ann", "read"),
        cluster.leader.token("shop", "write"),
    );
    let refused = follower.post_as(&reads, "/v1/payments", &body);
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (403, "read_only_key")
    );
    let refused = follower.post_as(&writes, "/v1/payments", &body);
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (404, "resource_not_found")
    );
    let refused = follower.post("/v1/payments", &pay(&buyer, &shop, 1_000_000));
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (402, "insufficient_funds")
    );
    let error = &refused.json()["error"];
    assert_eq!(
        error["request_id"],
        refused.header("request-id").expect("an id")
    );
    assert_eq!(
        follower
            .post_raw("", "/v1/payments", Some("k"), b"{}")
            .status,
        401
    );
    assert_eq!(cluster.leader.posted(&shop), 100);
}

#[test]
fn what_was_written_through_a_follower_is_read_there() {
    let cluster = Cluster::start();
    let (buyer, shop) = cluster.payer_and_payee();
    let follower = &cluster.follower;
    for count in 1..=50 {
        let paid = follower.post("/v1/payments", &pay(&buyer, &shop, 1));
        let payment = id(&paid.expect(201));
        let read = follower.get(&format!("/v1/payments/{payment}"));
        assert_eq!(id(&read.expect(200)), payment);
        assert_eq!(follower.posted(&shop), count);
        let position = |answer: &Answer| -> u64 {
            let position = answer.header("tributary-position").expect("a position");
            position.parse().expect("a number")
        };
        assert!(position(&read) >= position(&paid));
    }
    assert_eq!(cluster.forwarded("answered"), 50, "no read was forwarded");
}

#[test]
fn an_answer_comes_once_the_follower_shows_it() {
    let cluster = Cluster::start();
    cluster.pump.hold();
    let before = cluster.leader.reader().published();
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| cluster.follower.post("/v1/accounts", &account_of("bob")));
        until("the leader writes", || {
            (cluster.leader.reader().published() > before).then_some(())
        });
        cluster.pump.release();
        writer.join().expect("no panic").expect(201);
    });
    assert!(cluster.follower.reader().published() > before);
}

/// The answer of a durable write is not withheld from its caller because this node is behind.
#[test]
fn a_write_is_answered_also_by_a_follower_that_stays_behind_and_its_reads_ask_the_leader() {
    let cluster = Cluster::start();
    cluster.pump.hold();
    let behind = cluster.follower.reader().published();
    let made = cluster.follower.post("/v1/accounts", &account_of("bob"));
    let account = id(&made.expect(201));
    let token = cluster.leader.token("bob", "read");
    // Neither the account nor the key is known here.
    let path = format!("/v1/accounts/{account}");
    assert_eq!(
        id(&cluster.follower.get_as(&token, &path).expect(200)),
        account
    );
    assert_eq!(cluster.follower.reader().published(), behind);
    // What nobody knows is denied by the leader.
    let denied = cluster.follower.get("/v1/accounts/acc_x");
    assert_eq!(
        (denied.status, denied.code().as_str()),
        (404, "resource_not_found")
    );
    let denied = cluster.follower.get_as("tk_x", "/v1/accounts");
    assert_eq!(
        (denied.status, denied.code().as_str()),
        (401, "api_key_invalid")
    );
    assert_eq!(cluster.forwarded("answered"), 4);
    let unasked = send(cluster.follower.addr, "GET", "/v1/accounts", &[], b"");
    assert_eq!(
        (unasked.status, unasked.code().as_str()),
        (401, "api_key_missing")
    );
    assert_eq!(
        cluster.follower.get("/v1/nothing").code(),
        "route_not_found"
    );
    assert_eq!(cluster.forwarded("answered"), 4, "these need no leader");
}

#[test]
fn a_request_makes_one_hop() {
    let cluster = Cluster::start();
    let hop = [(FORWARDED_BY, "node-9")];
    let body = account_of("bob").to_string();
    let write = |addr, key| {
        let token = &cluster.leader.platform;
        post(
            addr,
            token,
            "/v1/accounts",
            Some(key),
            &hop,
            body.as_bytes(),
        )
    };
    let refused = write(cluster.follower.addr, "k");
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (421, "not_leader")
    );
    let message = refused.json()["error"]["message"].to_string();
    let url = format!("http://{}", cluster.leader.addr);
    assert!(message.contains(&url), "{message}");
    // A read that another node took for the leader's.
    let authorization = format!("Bearer {}", cluster.leader.platform);
    let headers = [("Authorization", authorization.as_str()), hop[0]];
    let refused = send(cluster.follower.addr, "GET", "/v1/accounts", &headers, b"");
    assert_eq!(refused.status, 421);
    assert_eq!(cluster.forwarded("refused"), 2);
    assert_eq!(
        cluster.leader.reader().published(),
        1,
        "nothing was written"
    );
    // To the leader the mark means nothing, and neither it does to what is about the node.
    assert_eq!(write(cluster.leader.addr, "k").status, 201);
    let live = send(cluster.follower.addr, "GET", "/health/live", &hop, b"");
    assert_eq!(live.status, 200);
}

#[test]
fn without_a_leader_a_write_is_refused_and_nothing_is_written() {
    let cluster = Cluster::with(|config| config.limits.request_timeout = Duration::from_secs(1));
    let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let closed = free.local_addr().expect("it listens");
    drop(free);
    let nobody_there = NodeAddress {
        url: format!("http://{closed}"),
        ..cluster.leader_address()
    };
    // This one follows, too, and says so.
    let follower = NodeAddress {
        url: format!("http://{}", cluster.follower.addr),
        ..cluster.leader_address()
    };
    for (number, leader) in [None, Some(nobody_there), Some(follower)]
        .into_iter()
        .enumerate()
    {
        cluster.follows.set_role(Role::Follower { leader });
        let answer = cluster.follower.post("/v1/accounts", &account_of("bob"));
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (503, "unavailable")
        );
        assert_eq!(answer.header("retry-after"), Some("1"));
        assert_eq!(cluster.forwarded("no_leader"), number as u64 + 1);
    }
    assert_eq!(cluster.leader.reader().published(), 1);
    // Reads that any node answers need no leader.
    cluster.follower.get("/v1/accounts").expect(200);
}

#[test]
fn a_write_waits_for_a_leader() {
    let cluster = Cluster::start();
    let leader = cluster.leader_address();
    // On a machine that stands still the wait may end too early; the key makes it the same write.
    until("a write waits for a leader", || {
        cluster.follows.set_role(Role::Follower { leader: None });
        let answer = std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                cluster
                    .follower
                    .post_key("/v1/accounts", "k", &account_of("bob"))
            });
            std::thread::sleep(Duration::from_millis(300));
            cluster.follow(leader.clone());
            writer.join().expect("no panic")
        });
        (answer.status == 201).then_some(())
    });
}

#[test]
fn a_node_that_comes_to_lead_while_a_write_waits_decides_it() {
    let cluster = Cluster::start();
    let this_node = NodeAddress {
        name: "node-2".to_owned(),
        url: "http://127.0.0.1:1".to_owned(),
        grpc_url: None,
    };
    cluster.pump.hold();
    cluster.follow(this_node);
    cluster
        .follower
        .post("/v1/accounts", &account_of("bob"))
        .expect(201);
    cluster.follows.set_role(Role::Leader);
    cluster
        .follower
        .post("/v1/accounts", &account_of("eve"))
        .expect(201);
    assert_eq!(cluster.forwarded("answered"), 0);
}

#[test]
fn a_write_whose_answer_is_lost_has_an_unknown_outcome_and_its_repetition_the_first_answer() {
    let cluster = Cluster::start();
    let (buyer, shop) = cluster.payer_and_payee();
    let proxy = Proxy::start(cluster.leader.addr);
    cluster.follow(NodeAddress {
        url: format!("http://{}", proxy.addr),
        ..cluster.leader_address()
    });
    proxy.lose_answers(true);
    let body = pay(&buyer, &shop, 100);
    let unknown = cluster.follower.post_key("/v1/payments", "k", &body);
    assert_eq!(
        (unknown.status, unknown.code().as_str()),
        (504, "outcome_unknown")
    );
    assert_eq!(proxy.lost(), 1);
    // A read has no outcome.
    let read = cluster.follower.get("/v1/clock");
    assert_eq!((read.status, read.code().as_str()), (503, "unavailable"));
    assert_eq!(cluster.forwarded("lost"), 2);
    proxy.lose_answers(false);
    let again = cluster.follower.post_key("/v1/payments", "k", &body);
    again.expect(201);
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    assert_eq!(cluster.leader.posted(&shop), 100);
}

#[test]
fn a_write_that_takes_too_long_has_an_unknown_outcome() {
    let cluster = Cluster::with(|config| config.limits.request_timeout = Duration::from_secs(1));
    let body = account_of("bob");
    cluster.leader.faults.hold();
    let unknown = cluster.follower.post_key("/v1/accounts", "k", &body);
    assert_eq!(
        (unknown.status, unknown.code().as_str()),
        (504, "outcome_unknown")
    );
    cluster.leader.faults.release();
    // Time enough, now that nothing holds the leader up.
    until("the repetition is answered", || {
        let again = cluster.follower.post_key("/v1/accounts", "k", &body);
        (again.status == 201).then_some(())
    });
    assert_eq!(cluster.leader.reader().published(), 2, "it was made once");
}

#[test]
fn a_write_at_a_leader_that_is_replaced_is_not_waited_for() {
    let cluster = Cluster::start();
    let (url, silent) = answer_one("");
    let replaced = NodeAddress {
        url,
        ..cluster.leader_address()
    };
    cluster.follow(replaced);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let token = &cluster.leader.platform;
            cluster
                .follower
                .post_raw(token, "/v1/accounts", Some("k"), b"{}")
        });
        // The request may be sent only after that, to the new leader, which finds it wrong.
        std::thread::sleep(Duration::from_millis(200));
        cluster.follow(cluster.leader_address());
        let answer = writer.join().expect("no panic");
        assert!(["outcome_unknown", "parameter_missing"].contains(&answer.code().as_str()));
        if answer.status == 504 {
            silent.join().expect("no panic");
        }
    });
}

#[test]
fn a_follower_that_stops_ends_the_streams_of_the_leader() {
    let mut cluster = Cluster::start();
    cluster.pump.hold();
    let event = json!({"type": "app.order.made", "data": 1});
    let first = cluster.leader.post("/v1/events", &event).expect(201);
    let query = format!("?events=app.%23&after={}", id(&first));
    let mut stream = Stream::open(&cluster.follower, &cluster.leader.platform, &query, None);
    assert_eq!(cluster.forwarded("answered"), 1);
    drop(cluster.follower.running.take());
    assert!(stream.ends(), "it ends as a stream of this server does");
}

#[test]
fn events_are_received_and_acknowledged_through_a_follower() {
    let cluster = Cluster::start();
    let follower = &cluster.follower;
    let made = follower.post("/v1/subscriptions", &json!({"events": ["app.#"]}));
    let path = format!("/v1/subscriptions/{}", id(&made.expect(201)));
    let event = json!({"type": "app.order.made", "data": 1});
    follower.post("/v1/events", &event).expect(201);
    let wanted = json!({"max": 10, "wait_seconds": 30});
    let taken = follower
        .post(&format!("{path}/receive"), &wanted)
        .expect(200);
    let deliveries = taken["data"].as_array().expect("a list");
    assert_eq!(deliveries.len(), 1);
    let receipts = json!({"receipts": [deliveries[0]["receipt"]]});
    let extended = json!({"receipts": [deliveries[0]["receipt"]], "visibility_seconds": 60});
    follower
        .post(&format!("{path}/extend"), &extended)
        .expect(200);
    follower.post(&format!("{path}/ack"), &receipts).expect(200);
    // The figures are the leader's.
    let shown = follower.get(&path).expect(200);
    assert_eq!(shown, cluster.leader.get(&path).expect(200));
    assert_eq!(shown["figures"]["acknowledged"], 1);
    follower.get(&format!("{path}/dead_letters")).expect(200);
    follower.get(&format!("{path}/attempts")).expect(200);
}

#[test]
fn a_body_that_is_too_large_is_refused_by_the_follower() {
    let cluster = Cluster::with(|config| config.limits.body_bytes_max = 1 << 20);
    let large = vec![b' '; (1 << 20) + 1];
    let token = &cluster.leader.platform;
    let refused = cluster
        .follower
        .post_raw(token, "/v1/payments", Some("k"), &large);
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (413, "body_too_large")
    );
    let chunked = format!(
        "{:x}\r\n{}\r\n0\r\n\r\n",
        large.len(),
        " ".repeat(large.len())
    );
    let authorization = format!("Bearer {token}");
    let request = format!(
        "POST /v1/payments HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: {authorization}\r\n\
         Content-Type: application/json\r\nIdempotency-Key: k\r\nTransfer-Encoding: chunked\r\n\r\n{chunked}"
    );
    let refused = crate::client::send_raw(cluster.follower.addr, &request);
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (413, "body_too_large")
    );
    assert_eq!(cluster.forwarded("answered"), 0);
}
