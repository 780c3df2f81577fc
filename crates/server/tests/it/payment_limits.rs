//! Limits on what an account or an owner pays: their forms, what they refuse, and that they are exact.

use serde_json::{Value, json};

use crate::bindings::with;
use crate::client::Answer;
use crate::fixture::{Fixture, hold, id, pay};
use crate::settings::write;

const LIMITS: &str = "/v1/limits";

fn patch(server: &Fixture, limit: &Value, body: &Value) -> Answer {
    let path = format!("{LIMITS}/{}", id(limit));
    write(server, &server.platform, "PATCH", &path, None, body)
}

fn payments_of(account: &str, payments: u64) -> Value {
    json!({"slug": "one", "account": account, "window_seconds": 3_600, "payments_max": payments})
}

fn make(server: &Fixture, limit: &Value) -> Value {
    server.post(LIMITS, limit).expect(201)
}

fn usage(server: &Fixture, limit: &Value) -> Value {
    let shown = server.get(&format!("{LIMITS}/{}", id(limit))).expect(200);
    shown["usage"].clone()
}

#[test]
fn a_limit_shows_what_it_says_and_how_much_of_it_is_used() {
    let server = Fixture::start();
    let (ann, shop) = (
        server.wallet("ann", 1_000),
        server.account("shop", "merchant"),
    );
    let limit = make(&server, &payments_of(&ann, 2));
    let created = limit["created"].as_str().expect("a time").to_owned();
    assert!(id(&limit).starts_with("lim_"));
    let expected = json!({
        "id": id(&limit), "object": "limit", "slug": "one", "managed_by": null, "revision": 1,
        "account": ann, "owner": null, "kinds": ["pay", "transfer", "top_up", "payout"],
        "currency": "EUR", "window_seconds": 3_600, "payments_max": 2, "amount_max": null,
        "created": created, "updated": created,
        "usage": {
            "payments": 0, "amount": 0, "counted_from": created,
            "complete_from": limit["usage"]["complete_from"],
        },
    });
    assert_eq!(limit, expected);
    server
        .post("/v1/payments", &hold(&ann, &shop, 10))
        .expect(201);
    server
        .post("/v1/payments", &pay(&ann, &shop, 20))
        .expect(201);
    let refused = server.post("/v1/payments", &pay(&ann, &shop, 30));
    let error = refused.expect(402)["error"].clone();
    assert_eq!(error["code"], "limit_exceeded");
    assert_eq!(error["limit"], limit["id"]);
    assert_eq!(error["param"], "source");
    let path = format!("/v1/payments/{}", error["payment"].as_str().expect("an id"));
    let payment = server.get(&path).expect(200);
    assert_eq!(payment["status"], "failed");
    assert_eq!(payment["failure"]["code"], "limit_exceeded");
    assert_eq!(payment["failure"]["limit"], limit["id"]);
    let used = usage(&server, &limit);
    assert_eq!(
        (&used["payments"], &used["amount"]),
        (&json!(2), &json!(30))
    );
    server.clock.advance(3_600 + 240);
    assert_eq!(usage(&server, &limit)["payments"], 0);
    server
        .post("/v1/payments", &pay(&ann, &shop, 30))
        .expect(201);
    assert_eq!(usage(&server, &limit)["payments"], 1);
}

#[test]
fn the_event_of_a_refused_payment_names_the_limit_and_a_revision_says_it() {
    let server = Fixture::with_subscriptions();
    let (ann, shop) = (
        server.wallet("ann", 1_000),
        server.account("shop", "merchant"),
    );
    let limit = make(&server, &payments_of(&ann, 0));
    server
        .post("/v1/payments", &pay(&ann, &shop, 30))
        .expect(402);
    let events = server.get("/v1/events?limit=2").expect(200)["data"].clone();
    assert_eq!(events[0]["type"], "payment.failed");
    assert_eq!(events[0]["data"]["failure"]["limit"], limit["id"]);
    assert_eq!(events[1]["type"], "limit.created");
    assert_eq!(events[1]["data"]["object"]["id"], limit["id"]);
    let path = format!("/v1/settings/{}/revisions", id(&limit));
    let revisions = server.get(&path).expect(200)["data"].clone();
    let definition = &revisions[0]["definition"];
    assert_eq!(definition["payments_max"], 0);
    assert!(definition["usage"].is_null(), "a revision stays true");
}

#[test]
fn a_queued_payment_that_would_exceed_a_limit_fails_when_it_runs_and_says_which() {
    let server = Fixture::start();
    let (ann, shop) = (
        server.wallet("ann", 1_000),
        server.account("shop", "merchant"),
    );
    let queued = with(&pay(&ann, &shop, 30), &json!({"queue": {}}));
    let payment = server.post("/v1/payments", &queued);
    let limit = make(&server, &payments_of(&ann, 0));
    let waiting = server.post("/v1/payments", &queued).expect(202);
    let path = format!("/v1/payments/{}", id(&waiting));
    let failed = crate::client::until("the payment is run", || {
        let payment = server.get(&path).expect(200);
        (payment["status"] == "failed").then_some(payment)
    });
    assert_eq!(failed["failure"]["code"], "limit_exceeded");
    assert_eq!(failed["failure"]["limit"], limit["id"]);
    assert!(payment.status < 300);
}

#[test]
fn limits_are_changed_listed_and_deleted() {
    let server = Fixture::start();
    let (ann, shop) = (
        server.wallet("ann", 1_000),
        server.account("shop", "merchant"),
    );
    let first = make(&server, &payments_of(&ann, 1));
    let of_owner = json!({
        "slug": "daily", "owner": "ann", "window_seconds": 86_400,
        "amount_max": 100, "currency": "EUR", "kinds": ["pay", "transfer"],
    });
    let second = make(&server, &of_owner);
    assert_eq!(second["kinds"], json!(["pay", "transfer"]));
    assert_eq!(second["owner"], "ann");
    server
        .post("/v1/payments", &pay(&ann, &shop, 90))
        .expect(201);
    // Another maximum keeps what was counted.
    let raised = patch(&server, &first, &json!({"payments_max": 5})).expect(200);
    assert_eq!(
        (&raised["revision"], &raised["payments_max"]),
        (&json!(2), &json!(5))
    );
    assert_eq!(raised["usage"]["payments"], 1);
    let refused = server.post("/v1/payments", &pay(&ann, &shop, 11));
    assert_eq!(refused.expect(402)["error"]["limit"], second["id"]);
    // Another window begins to count.
    server.clock.advance(60);
    let anew = patch(&server, &second, &json!({"window_seconds": 3_600})).expect(200);
    assert_eq!(anew["usage"]["payments"], 0);
    assert_eq!(anew["usage"]["counted_from"], anew["updated"]);
    let ids = |path: &str| -> Vec<Value> {
        let page = server.get(path).expect(200);
        let data = page["data"].as_array().expect("a list").iter();
        data.map(|limit| limit["id"].clone()).collect()
    };
    assert_eq!(ids(LIMITS), [second["id"].clone(), first["id"].clone()]);
    assert_eq!(
        ids(&format!("{LIMITS}?account={ann}")),
        [first["id"].clone()]
    );
    assert_eq!(ids(&format!("{LIMITS}?owner=ann")), [second["id"].clone()]);
    let page = server.get(&format!("{LIMITS}?limit=1")).expect(200);
    assert_eq!(page["has_more"], true);
    let cursor = page["next_cursor"].as_str().expect("a cursor");
    let next = format!("{LIMITS}?limit=1&starting_after={cursor}");
    assert_eq!(ids(&next), [first["id"].clone()]);
    for limit in [&first, &second] {
        let path = format!("{LIMITS}/{}", id(limit));
        let deleted = write(&server, &server.platform, "DELETE", &path, None, &json!({}));
        assert_eq!(deleted.expect(200)["deleted"], true);
        assert_eq!(server.get(&path).status, 404);
    }
    server
        .post("/v1/payments", &pay(&ann, &shop, 900))
        .expect(201);
}

#[test]
fn what_is_wrong_with_a_limit_is_said_with_its_field() {
    let server = Fixture::start();
    let ann = server.wallet("ann", 1_000);
    let sound = payments_of(&ann, 5);
    let cases = [
        (json!({"account": null}), 400, "account"),
        (json!({"owner": "ann"}), 400, "owner"),
        (json!({"account": null, "owner": "nobody"}), 404, "owner"),
        (json!({"account": "acct_1"}), 404, "account"),
        (json!({"window_seconds": 0}), 400, "window_seconds"),
        (json!({"window_seconds": 31_622_401}), 400, "window_seconds"),
        (json!({"payments_max": null}), 400, "payments_max"),
        (json!({"payments_max": -1}), 400, "payments_max"),
        (
            json!({"payments_max": 9_007_199_254_740_992_u64}),
            400,
            "payments_max",
        ),
        (json!({"kinds": []}), 400, "kinds"),
        (json!({"kinds": ["adjustment"]}), 400, "kinds[0]"),
        (json!({"currency": "JPY"}), 400, "currency"),
        (json!({"currency": "XXX"}), 400, "currency"),
        (
            json!({"account": null, "owner": "ann", "amount_max": 5}),
            400,
            "currency",
        ),
        (json!({"window": "1h"}), 400, "window"),
    ];
    for (change, status, param) in cases {
        let answer = server.post(LIMITS, &with(&sound, &change));
        let error = answer.expect(status)["error"].clone();
        assert_eq!(error["param"], param, "{change}: {error}");
    }
    let limit = make(&server, &sound);
    let other = patch(&server, &limit, &json!({"account": ann}));
    assert_eq!(other.code(), "parameter_unknown");
    let owner = server.token("ann", "write");
    assert_eq!(
        server.post_as(&owner, LIMITS, &sound).code(),
        "platform_only"
    );
    assert_eq!(server.get_as(&owner, LIMITS).code(), "platform_only");
}

#[test]
fn of_a_thousand_payments_at_once_as_many_pass_as_the_limit_allows_also_across_restarts() {
    let mut server = Fixture::start();
    let (ann, shop) = (
        server.wallet("ann", 100_000),
        server.account("shop", "merchant"),
    );
    let limit = make(&server, &payments_of(&ann, 5));
    let mut passed = 0;
    for round in 0..4 {
        let answers: Vec<u16> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..10)
                .map(|thread| {
                    let (server, body) = (&server, pay(&ann, &shop, 10));
                    scope.spawn(move || -> Vec<u16> {
                        let key = |at: u32| format!("pay-{round}-{thread}-{at}");
                        let pay = |at| server.post_key("/v1/payments", &key(at), &body).status;
                        (0..25).map(pay).collect()
                    })
                })
                .collect();
            let done = threads.into_iter();
            done.flat_map(|thread| thread.join().expect("no client panics"))
                .collect()
        });
        passed += answers.iter().filter(|status| **status == 201).count();
        assert!(answers.iter().all(|status| [201, 402].contains(status)));
        assert_eq!(passed, 5, "in all, after round {round}");
        server.restart();
        server.wait_until_it_leads();
    }
    assert_eq!(server.posted(&shop), 50);
    assert_eq!(usage(&server, &limit)["payments"], 5);
}

#[test]
fn a_file_makes_limits_and_applying_it_again_makes_no_record() {
    let server = Fixture::with_subscriptions();
    let (ann, shop) = (
        server.wallet("ann", 1_000),
        server.account("shop", "merchant"),
    );
    let file = |payments_max: u64| {
        let limit = with(&payments_of(&ann, payments_max), &json!({"kind": "limit"}));
        json!({"managed_by": "risk", "prune": true, "settings": [limit]})
    };
    let apply = |file: &Value| server.post("/v1/settings/apply", file).expect(200);
    assert_eq!(apply(&file(1))["created"], 1);
    server
        .post("/v1/payments", &pay(&ann, &shop, 30))
        .expect(201);
    let head = server.reader().head().position;
    let again = apply(&file(1));
    assert_eq!(
        again["kept"], 1,
        "usage is no part of a definition: {again}"
    );
    assert_eq!(server.reader().head().position, head, "no record");
    let changed = apply(&file(2));
    assert_eq!(changed["settings"][0]["fields"], json!(["payments_max"]));
    let none = json!({"managed_by": "risk", "prune": true, "settings": []});
    assert_eq!(apply(&none)["deleted"], 1);
}

#[test]
fn a_file_may_rename_a_limit_where_there_is_no_room_for_another_and_changes_nothing_if_it_is_wrong()
{
    let server = Fixture::with_subscriptions();
    let ann = server.wallet("ann", 1_000);
    let file = |names: &[&str]| {
        let limit = |name: &&str| {
            with(
                &payments_of(&ann, 5),
                &json!({"kind": "limit", "slug": name}),
            )
        };
        let settings: Vec<Value> = names.iter().map(limit).collect();
        json!({"managed_by": "risk", "prune": true, "settings": settings})
    };
    let apply = |names: &[&str]| server.post("/v1/settings/apply", &file(names));
    assert_eq!(apply(&["a", "b", "c", "d"]).expect(200)["created"], 4);
    let renamed = apply(&["e", "b", "c", "d"]).expect(200);
    assert_eq!(
        (&renamed["created"], &renamed["deleted"]),
        (&json!(1), &json!(1))
    );
    let head = server.reader().head().position;
    let error = apply(&["f", "g", "b", "c", "d"]).expect(400)["error"].clone();
    assert_eq!(error["param"], "settings[1]", "{error}");
    assert_eq!(server.reader().head().position, head, "nothing is changed");
}
