//! What a node says about itself.

use std::time::Duration;

use serde_json::{Value, json};
use tributary_api::leadership::Role;
use tributary_engine::NEWEST;

use super::Cluster;
use crate::client::send;
use crate::fixture::Fixture;

fn leader_health(server: &Fixture) -> (u16, Value) {
    let answer = send(server.addr, "GET", "/health/leader", &[], b"");
    (answer.status, answer.json())
}

#[test]
fn a_load_balancer_finds_the_server_that_decides() {
    let alone = Fixture::alone();
    assert_eq!(
        leader_health(&alone),
        (200, json!({"role": "alone", "leader_url": null}))
    );
    let cluster = Cluster::start();
    let url = format!("http://{}", cluster.leader.addr);
    assert_eq!(
        leader_health(&cluster.leader),
        (200, json!({"role": "leader", "leader_url": null}))
    );
    assert_eq!(
        leader_health(&cluster.follower),
        (503, json!({"role": "follower", "leader_url": url}))
    );
    cluster.follows.set_role(Role::Follower { leader: None });
    assert_eq!(
        leader_health(&cluster.follower),
        (503, json!({"role": "follower", "leader_url": null}))
    );
}

#[test]
fn a_follower_that_is_behind_answers_no_reads_and_is_not_ready() {
    let cluster = Cluster::start();
    let follower = &cluster.follower;
    let status = |path: &str| follower.get(path).status;
    for (ago, expected) in [
        (Some(Duration::from_secs(5)), 200),
        (Some(Duration::from_secs(6)), 503),
        (None, 503),
    ] {
        cluster.follows.set_confirmed_ago(ago);
        for path in ["/v1/accounts", "/v1/journal/head", "/health/ready"] {
            let answer = follower.get(path);
            assert_eq!(answer.status, expected, "{path} {ago:?}");
            let code = if expected == 503 { "unavailable" } else { "" };
            assert_eq!(answer.code(), code);
        }
        for path in ["/metrics", "/health/live", "/openapi.json", "/v1/cluster"] {
            assert_eq!(status(path), 200, "{path} {ago:?}");
        }
        // What the leader answers, it answers.
        assert_eq!(status("/v1/clock"), 200);
    }
    cluster.leads.set_confirmed_ago(None);
    assert_eq!(
        cluster.leader.get("/health/ready").status,
        200,
        "it decides"
    );
}

#[test]
fn a_node_that_has_stopped_says_so() {
    let cluster = Cluster::start();
    let why = "the log went back".to_owned();
    cluster.follows.set_role(Role::Stopped { why });
    let follower = &cluster.follower;
    for path in ["/health/ready", "/v1/accounts", "/v1/clock"] {
        let answer = follower.get(path);
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (503, "stopping"),
            "{path}"
        );
    }
    assert_eq!(follower.post("/v1/accounts", &json!({})).code(), "stopping");
    assert_eq!(leader_health(follower).1["role"], "stopped");
    let shown = follower.get("/v1/cluster").expect(200);
    assert_eq!(shown["why_stopped"], "the log went back");
}

#[test]
fn the_cluster_is_shown_to_the_platform_and_handed_over_by_the_leader() {
    let cluster = Cluster::start();
    let follower = &cluster.follower;
    let shown = follower.get("/v1/cluster").expect(200);
    let leader = json!({
        "node": "node-1", "url": format!("http://{}", cluster.leader.addr),
        "grpc_url": cluster.leader_address().grpc_url,
    });
    for (field, expected) in [
        ("object", json!("cluster")),
        ("node", json!("node-2")),
        ("role", json!("follower")),
        ("leader", leader),
        ("why_stopped", Value::Null),
        ("term", json!(3)),
        ("settled_position", json!(7)),
        ("position", json!(follower.reader().published())),
        ("confirmed_ms_ago", json!(0)),
        ("written", json!({"format": 1, "rules": 0})),
        (
            "newest",
            json!({"format": NEWEST.format, "rules": NEWEST.rules}),
        ),
        ("entries", json!(20)),
        ("entries_ignored", json!(2)),
        ("leader_changes", json!(1)),
    ] {
        assert_eq!(shown[field], expected, "{field}");
    }
    let (reads, owner) = (
        cluster.leader.token("platform", "read"),
        cluster.leader.token("bob", "write"),
    );
    let path = "/v1/cluster/hand_over";
    for (token, code) in [(&reads, "read_only_key"), (&owner, "platform_only")] {
        let refused = follower.post_raw(token, path, None, b"{}");
        assert_eq!((refused.status, refused.code().as_str()), (403, code));
    }
    for body in [&br#"{"to": "node-2"}"#[..], br#"{"to": null}"#, b"{}", b""] {
        let done = follower.post_raw(&follower.platform, path, None, body);
        assert_eq!(done.expect(200)["role"], "leader", "the leader answers");
    }
    let handed_over =
        std::mem::take(&mut cluster.leads.state.lock().expect("unpoisoned").handed_over);
    assert_eq!(handed_over, [Some("node-2".to_owned()), None, None, None]);
    let path_to_finalize = "/v1/cluster/finalize_upgrade";
    let refused = follower.post_raw(&owner, path_to_finalize, None, b"");
    assert_eq!(refused.code(), "platform_only");
    let done = follower.post_raw(&follower.platform, path_to_finalize, None, b"");
    let done = done.expect(200);
    assert_eq!(
        (&done["role"], &done["written"]),
        (&json!("leader"), &done["newest"])
    );
    let refused = follower.post_raw(&follower.platform, path, None, br#"{"node": "x"}"#);
    assert_eq!(refused.code(), "parameter_unknown");
    let alone = Fixture::alone();
    let answer = alone.get("/v1/cluster");
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (404, "resource_not_found")
    );
    let answer = alone.post_raw(&alone.platform, path, None, b"{}");
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (404, "resource_not_found")
    );
}

#[test]
fn the_metrics_of_a_node_tell_its_role_and_how_far_it_is() {
    let cluster = Cluster::start();
    let page = cluster.follower.get("/metrics");
    let page = String::from_utf8(page.body).expect("text");
    for line in [
        "tributary_cluster_role{role=\"leader\"} 0",
        "tributary_cluster_role{role=\"follower\"} 1",
        "tributary_cluster_role{role=\"stopped\"} 0",
        "tributary_cluster_leader_known 1",
        "tributary_cluster_term 3",
        "tributary_cluster_settled_position 7",
        "tributary_cluster_lag_seconds 0.0",
        "tributary_cluster_entries_total 20",
        "tributary_cluster_entries_ignored_total 2",
        "tributary_cluster_leader_changes_total 1",
        "tributary_cluster_append_seconds_total 1.5",
        "tributary_cluster_appends_total 4",
        "tributary_cluster_appends_unknown_total 1",
        "tributary_forwarded_requests_total{outcome=\"answered\"} 0",
    ] {
        assert!(page.lines().any(|known| known == line), "{line} in\n{page}");
    }
    let alone = Fixture::alone().get("/metrics");
    let page = String::from_utf8(alone.body).expect("text");
    assert!(!page.contains("tributary_cluster") && !page.contains("tributary_forwarded"));
}
