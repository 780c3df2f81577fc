//! Ledger time and the wall clock, as operators see them.

use serde_json::{Value, json};

use crate::client::{send, until};
use crate::fixture::{Fixture, hold, id, pay};

fn clock(server: &Fixture) -> Value {
    server.get("/v1/clock").expect(200)
}

/// What readiness says of the clock: it is ready whatever the clock shows.
fn readiness(server: &Fixture) -> Value {
    let answer = send(server.addr, "GET", "/health/ready", &[], b"").expect(200);
    assert_eq!(answer["status"], "ready");
    answer["clock"].clone()
}

#[test]
fn a_wall_clock_that_is_wrong_is_seen_and_payments_do_not_suffer() {
    let server = Fixture::start();
    let (buyer, shop) = (server.wallet("ann", 90), server.account("shop", "merchant"));
    assert_eq!(readiness(&server)["status"], "in_step");
    assert_eq!(server.metric("tributary_clock_in_step"), "1");

    server.clock.step_wall(7_200);
    let paid = server
        .post("/v1/payments", &pay(&buyer, &shop, 1))
        .expect(201);
    assert_eq!(paid["created"], "2026-11-20T00:00:00Z", "the right time");
    let mut soon = hold(&buyer, &shop, 1);
    soon["expires_at"] = json!("2026-11-20T01:00:00Z");
    server.post("/v1/payments", &soon).expect(201);
    for shown in [clock(&server), readiness(&server)] {
        assert_eq!(shown["status"], "wall_ahead");
        assert_eq!(shown["ledger_time"], "2026-11-20T00:00:00Z");
        assert_eq!(shown["wall_time"], "2026-11-20T02:00:00Z");
        assert_eq!(shown["lead_ms"], 7_200_000);
        assert_eq!(shown["followed_in_ms"], 600_000);
    }
    assert_eq!(server.metric("tributary_clock_in_step"), "0");
    assert_eq!(server.metric("tributary_clock_lead_seconds"), "7200.0");
    let forwards = "tributary_wall_clock_steps_total{direction=\"forwards\"}";
    assert_eq!(server.metric(forwards), "1");

    server.clock.step_wall(-7_210);
    let shown = clock(&server);
    assert_eq!(shown["status"], "wall_behind");
    assert_eq!(
        (&shown["lead_ms"], &shown["followed_in_ms"]),
        (&json!(-10_000), &Value::Null)
    );
    server.clock.advance(10);
    assert_eq!(clock(&server)["ledger_time"], "2026-11-20T00:00:05Z");
    server.clock.advance(10);
    assert_eq!(clock(&server)["status"], "in_step");
    assert_eq!(server.metric("tributary_clock_followed_total"), "0");
}

#[test]
fn a_platform_key_confirms_a_wall_clock_that_is_right() {
    let server = Fixture::start();
    let (buyer, shop) = (server.wallet("ann", 90), server.account("shop", "merchant"));
    let mut soon = hold(&buyer, &shop, 1);
    soon["expires_at"] = json!("2026-11-20T01:00:00Z");
    let held = id(&server.post("/v1/payments", &soon).expect(201));
    server.clock.step_wall(7_200);

    let confirm = |token: &str, time: &str| {
        let body = json!({"wall_time": time}).to_string();
        server.post_raw(token, "/v1/clock/confirm", None, body.as_bytes())
    };
    let wrong = confirm(&server.platform, "2026-11-20T00:00:00Z");
    assert_eq!(wrong.expect(400)["error"]["param"], "wall_time");
    let owner = server.token("ann", "write");
    assert_eq!(
        confirm(&owner, "2026-11-20T02:00:00Z").code(),
        "platform_only"
    );
    assert_eq!(server.get_as(&owner, "/v1/clock").code(), "platform_only");
    let reader = server.token("platform", "read");
    assert_eq!(
        confirm(&reader, "2026-11-20T02:00:00Z").code(),
        "read_only_key"
    );
    assert_eq!(clock(&server)["status"], "wall_ahead", "nothing happened");

    let confirmed = confirm(&server.platform, "2026-11-20T02:00:59Z").expect(200);
    assert_eq!(confirmed["status"], "in_step");
    assert_eq!(confirmed["ledger_time"], "2026-11-20T02:00:00Z");
    assert_eq!(server.metric("tributary_clock_followed_total"), "1");
    let path = format!("/v1/payments/{held}");
    until("the hold is due by now", || {
        (server.get(&path).expect(200)["status"] == "expired").then_some(())
    });
    let again = confirm(&server.platform, "2026-11-20T02:00:00Z").expect(200);
    assert_eq!(again["status"], "in_step", "there is nothing to follow");
}
