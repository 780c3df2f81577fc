//! Reads on a node: how far they are, and how far they ask to be.

use std::time::Duration;

use serde_json::json;

use super::{Cluster, account_of};
use crate::client::{Answer, post, send, until};
use crate::fixture::{Fixture, id};
use crate::stream::Stream;

fn position(answer: &Answer) -> &str {
    answer.header("tributary-position").expect("a position")
}

#[test]
fn answers_show_the_position_of_the_view() {
    let server = Fixture::start();
    let made = server.post("/v1/accounts", &account_of("bob"));
    assert_eq!(position(&made), server.reader().published().to_string());
    for path in ["/v1/accounts", "/v1/accounts/acc_x", "/v1/trial_balance"] {
        assert_eq!(position(&server.get(path)), position(&made), "{path}");
    }
    // Who has no key is not told how much happens, nor is the number of another owner.
    let denied = server.get_as("tk_x", "/v1/accounts");
    assert_eq!(
        (denied.status, denied.header("tributary-position")),
        (401, None)
    );
    let token = server.token("bob", "write");
    let read = server.get_as(&token, "/v1/accounts");
    assert!(position(&read).starts_with("cur_"), "{}", position(&read));
    let ready = server.get("/health/ready");
    assert_eq!(ready.header("tributary-position"), None);
}

#[test]
fn a_read_waits_for_its_position() {
    let server = Fixture::start();
    let token = server.token("bob", "write");
    let head = server.reader().published();
    let path = |position: &str| format!("/v1/accounts?limit=5&min_position={position}");
    for position in [0, 1, head] {
        server.get(&path(&position.to_string())).expect(200);
    }
    let read = server.get_as(&token, "/v1/accounts");
    server.get_as(&token, &path(position(&read))).expect(200);
    server.get(&path(position(&read))).expect(200);
    std::thread::scope(|scope| {
        let next = path(&(head + 1).to_string());
        let reader = scope.spawn({
            let server = &server;
            move || server.get(&next)
        });
        server.post("/v1/accounts", &account_of("bob")).expect(201);
        let page = reader.join().expect("no panic").expect(200);
        assert_eq!(page["data"].as_array().map(Vec::len), Some(1));
    });
}

#[test]
fn a_position_that_is_not_reached_in_time_is_refused_with_how_far_the_server_is() {
    let server = Fixture::start();
    let hasty = server.beside(|limits| limits.request_timeout = Duration::from_millis(100));
    let authorization = format!("Bearer {}", server.platform);
    let headers = [("Authorization", authorization.as_str())];
    for path in [
        "/v1/accounts?min_position=99",
        "/v1/journal/head?min_position=99",
    ] {
        let late = send(hasty.addr(), "GET", path, &headers, b"");
        assert_eq!(
            (late.status, late.code().as_str()),
            (503, "position_not_reached")
        );
        assert_eq!(late.header("retry-after"), Some("1"));
        assert_eq!(position(&late), "1");
        let message = late.json()["error"]["message"].to_string();
        assert!(message.contains("shows position 1."), "{message}");
    }
    // Nobody without a key has it wait.
    let denied = send(
        hasty.addr(),
        "GET",
        "/v1/accounts?min_position=99",
        &[],
        b"",
    );
    assert_eq!(denied.status, 401);
}

#[test]
fn terms_of_reads_are_checked() {
    let server = Fixture::start();
    let token = server.token("bob", "read");
    for (query, param) in [
        ("min_position=x", "min_position"),
        ("min_position=-1", "min_position"),
        ("min_position=1&min_position=1", "min_position"),
        ("consistency=eventual", "consistency"),
        ("consistency=strict&consistency=strict", "consistency"),
    ] {
        let refused = server.get(&format!("/v1/accounts?{query}"));
        assert_eq!(refused.expect(400)["error"]["param"], param, "{query}");
    }
    // A number would tell an owner how much happens.
    let refused = server.get_as(&token, "/v1/accounts?min_position=1");
    assert_eq!(refused.expect(400)["error"]["param"], "min_position");
    let write = server.post("/v1/accounts?min_position=1", &account_of("bob"));
    assert_eq!(write.code(), "parameter_unknown");
    let elsewhere = server.get("/health/live?min_position=1");
    assert_eq!(elsewhere.code(), "parameter_unknown");
    server.get("/v1/accounts?consistency=strict").expect(200);
}

#[test]
fn a_strict_read_shows_what_was_answered_before_it() {
    let cluster = Cluster::start();
    let follower = &cluster.follower;
    for number in 0..20 {
        let made = cluster
            .leader
            .post("/v1/accounts", &account_of("bob"))
            .expect(201);
        let strict = follower
            .get("/v1/accounts?limit=1&consistency=strict")
            .expect(200);
        assert_eq!(strict["data"][0]["id"], made["id"], "{number}");
    }
    assert_eq!(cluster.forwarded("answered"), 0);
    cluster.pump.hold();
    let made = cluster
        .leader
        .post("/v1/accounts", &account_of("bob"))
        .expect(201);
    let old = follower.get("/v1/accounts?limit=1").expect(200);
    assert_ne!(
        old["data"][0]["id"], made["id"],
        "a plain read shows the view"
    );
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| follower.get("/v1/accounts?limit=1&consistency=strict"));
        cluster.pump.release();
        let strict = reader.join().expect("no panic").expect(200);
        assert_eq!(strict["data"][0]["id"], made["id"]);
    });
    // Without the log nothing is confirmed, on the leader neither.
    cluster.follows.set_log(None);
    cluster.leads.set_log(None);
    for server in [follower, &cluster.leader] {
        let refused = server.get("/v1/accounts?consistency=strict");
        assert_eq!(
            (refused.status, refused.code().as_str()),
            (503, "unavailable")
        );
    }
}

#[test]
fn a_follower_reads_up_to_the_position_that_the_leader_answered() {
    let cluster = Cluster::start();
    let token = cluster.leader.token("bob", "write");
    cluster.catch_up();
    cluster.pump.hold();
    let body = account_of("bob").to_string();
    for token in [&cluster.leader.platform, &token] {
        let made = post(
            cluster.leader.addr,
            token,
            "/v1/accounts",
            Some("k"),
            &[],
            body.as_bytes(),
        );
        let account = id(&made.expect(201));
        let path = format!("/v1/accounts?limit=1&min_position={}", position(&made));
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| cluster.follower.get_as(token, &path));
            cluster.pump.release();
            let page = reader.join().expect("no panic").expect(200);
            assert_eq!(page["data"][0]["id"], account);
        });
        cluster.pump.hold();
    }
}

#[test]
fn events_are_streamed_from_the_followers_own_view() {
    let cluster = Cluster::start();
    let mut stream = Stream::open(
        &cluster.follower,
        &cluster.leader.platform,
        "?events=app.%23",
        None,
    );
    let event = json!({"type": "app.order.made", "data": 1});
    cluster.leader.post("/v1/events", &event).expect(201);
    assert_eq!(stream.event_type(), "app.order.made");
    assert_eq!(cluster.forwarded("answered"), 0);
}

/// A stream that the leader answers, because this node does not know yet after which event it begins.
#[test]
fn a_stream_of_the_leader_comes_through_the_follower() {
    let cluster = Cluster::start();
    cluster.pump.hold();
    let event = json!({"type": "app.order.made", "data": 1});
    let first = cluster.leader.post("/v1/events", &event).expect(201);
    let query = format!("?events=app.%23&after={}", id(&first));
    std::thread::scope(|scope| {
        let opened =
            scope.spawn(|| Stream::open(&cluster.follower, &cluster.leader.platform, &query, None));
        until("the stream is forwarded", || {
            (cluster.forwarded("answered") > 0).then_some(())
        });
        let mut stream = opened.join().expect("no panic");
        let event = json!({"type": "app.order.paid", "data": 2});
        cluster.leader.post("/v1/events", &event).expect(201);
        assert_eq!(stream.event_type(), "app.order.paid");
    });
}
