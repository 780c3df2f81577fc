//! Subscriptions as settings: revisions, repetitions, secrets, and files that are applied.

use std::cell::Cell;

use serde_json::{Value, json};
use tributary_api::settings::{ATTEMPTS_MAX, PutRequest, Revision, put_setting, random_key};
use tributary_ledger::{Actor, SettingId};
use tributary_messaging::DeliveryIds as _;

use crate::client::{Answer, send};
use crate::fixture::{Fixture, id};

/// A write of any method, with an idempotency key or without one.
pub(crate) fn write(
    server: &Fixture,
    token: &str,
    method: &str,
    path: &str,
    key: Option<&str>,
    body: &Value,
) -> Answer {
    let authorization = format!("Bearer {token}");
    let mut headers = vec![
        ("Authorization", authorization.as_str()),
        ("Content-Type", "application/json"),
    ];
    headers.extend(key.map(|key| ("Idempotency-Key", key)));
    let body = body.to_string();
    send(server.addr, method, path, &headers, body.as_bytes())
}

fn patch(server: &Fixture, path: &str, key: Option<&str>, body: &Value) -> Answer {
    write(server, &server.platform, "PATCH", path, key, body)
}

fn path_of(subscription: &Value) -> String {
    format!("/v1/subscriptions/{}", id(subscription))
}

pub(crate) fn is_replayed(answer: &Answer) -> bool {
    answer.header("idempotent-replayed") == Some("true")
}

#[test]
fn a_repeated_create_gives_the_first_answer_and_its_secret_after_a_restart_too() {
    let mut server = Fixture::with_webhooks();
    let body = json!({"events": ["payment.#"], "url": "http://hooks.test/", "slug": "orders"});
    let first = server.post_key("/v1/subscriptions", "one", &body);
    assert!(!is_replayed(&first));
    let first = first.expect(201);
    let secret = first["secret"].as_str().expect("it is shown").to_owned();
    assert_eq!(
        (&first["slug"], &first["revision"], &first["managed_by"]),
        (&json!("orders"), &json!(1), &Value::Null)
    );
    let head = server.reader().head().position;
    server.restart();
    // The id, the seal and the content of another attempt differ; the request is the same.
    let again = server.post_key("/v1/subscriptions", "one", &body);
    assert!(is_replayed(&again));
    let again = again.expect(201);
    assert_eq!(
        (&again["id"], &again["secret"]),
        (&first["id"], &json!(secret))
    );
    assert_eq!(server.reader().head().position, head, "nothing is recorded");
    let changed = patch(&server, &path_of(&first), None, &json!({"name": "a name"}));
    assert_eq!(changed.expect(200)["revision"], 2);
    let again = server
        .post_key("/v1/subscriptions", "one", &body)
        .expect(201);
    assert_eq!(
        (&again["secret"], &again["revision"], &again["name"]),
        (&Value::Null, &json!(1), &json!("")),
        "the first answer, whose secret is no longer the newest revision's"
    );
    let other = json!({"events": ["#"], "url": "http://hooks.test/", "slug": "orders"});
    let reused = server.post_key("/v1/subscriptions", "one", &other);
    assert_eq!(reused.code(), "idempotency_key_reused");
}

/// A given secret is part of the request, though it is sealed anew for each attempt.
#[test]
fn a_repetition_with_another_secret_is_another_request() {
    let server = Fixture::with_webhooks();
    let secret = |byte: &str| format!("whsec_{}", byte.repeat(32));
    let body = |secret: &str| json!({"events": [], "url": "http://hooks.test/", "secret": secret});
    let (one, other) = (secret("A"), secret("B"));
    let made = server
        .post_key("/v1/subscriptions", "one", &body(&one))
        .expect(201);
    let again = server.post_key("/v1/subscriptions", "one", &body(&one));
    assert!(is_replayed(&again));
    assert_eq!(again.expect(201)["id"], made["id"]);
    let reused = server.post_key("/v1/subscriptions", "one", &body(&other));
    assert_eq!(reused.code(), "idempotency_key_reused");
    let rotate = format!("{}/rotate_secret", path_of(&made));
    let rotated = server.post_key(&rotate, "two", &json!({"secret": other}));
    assert_eq!(rotated.expect(200)["secret"], json!(other));
    let again = server.post_key(&rotate, "two", &json!({"secret": other}));
    assert!(is_replayed(&again));
    assert_eq!(again.expect(200)["secret"], json!(other));
    let reused = server.post_key(&rotate, "two", &json!({"secret": one}));
    assert_eq!(reused.code(), "idempotency_key_reused");
    let frames = server.get("/v1/journal/frames").body;
    for secret in [&one, &other] {
        let text = secret.as_bytes();
        assert!(!frames.windows(text.len()).any(|window| window == text));
    }
}

#[test]
fn a_repeated_rotation_shows_its_secret_while_it_is_the_newest_revision() {
    let server = Fixture::with_webhooks();
    let body = json!({"events": [], "url": "http://hooks.test/"});
    let made = server.post("/v1/subscriptions", &body).expect(201);
    let rotate = format!("{}/rotate_secret", path_of(&made));
    let first = server.post_key(&rotate, "r", &json!({})).expect(200);
    assert!(first["secret"].is_string() && first["secret"] != made["secret"]);
    let again = server.post_key(&rotate, "r", &json!({})).expect(200);
    assert_eq!(again["secret"], first["secret"]);
    let second = server.post(&rotate, &json!({})).expect(200);
    assert_ne!(second["secret"], first["secret"]);
    let late = server.post_key(&rotate, "r", &json!({})).expect(200);
    assert_eq!(
        (&late["secret"], &late["revision"]),
        (&Value::Null, &json!(2))
    );
    let shown = server.get(&path_of(&made)).expect(200);
    assert_eq!(shown["secret"], Value::Null);
}

#[test]
fn revisions_say_who_changed_what_and_events_tell_the_owner() {
    let server = Fixture::with_subscriptions();
    server.wallet("ann", 1);
    let (ann, bob) = (server.token("ann", "write"), server.token("bob", "write"));
    let made = server
        .post_as(&ann, "/v1/subscriptions", &json!({"events": ["payment.*"]}))
        .expect(201);
    let path = path_of(&made);
    patch(&server, &path, None, &json!({"events": ["account.*"]})).expect(200);
    let pause = json!({"reason": "a move"});
    write(
        &server,
        &ann,
        "POST",
        &format!("{path}/pause"),
        None,
        &pause,
    )
    .expect(200);
    let revisions = server
        .get_as(&ann, &format!("{path}/revisions"))
        .expect(200);
    let of = |name: &str| -> Vec<Value> {
        let data = revisions["data"].as_array().expect("a list").iter();
        data.map(|one| one[name].clone()).collect()
    };
    assert_eq!(of("revision"), [3, 2, 1]);
    assert_eq!(of("changed_by"), ["ann", "platform", "ann"]);
    let shown: Vec<(Value, Value)> = of("subscription")
        .iter()
        .map(|one| (one["events"][0].clone(), one["status"].clone()))
        .collect();
    assert_eq!(
        shown,
        [
            (json!("account.*"), json!("paused")),
            (json!("account.*"), json!("active")),
            (json!("payment.*"), json!("active"))
        ]
    );
    assert!(
        of("subscription")
            .iter()
            .all(|one| one["figures"].is_null())
    );
    let page = server
        .get_as(&ann, &format!("{path}/revisions?limit=1"))
        .expect(200);
    assert_eq!(page["has_more"], true);
    let next = page["next_cursor"].as_str().expect("a cursor");
    let page = server
        .get_as(
            &ann,
            &format!("{path}/revisions?limit=2&starting_after={next}"),
        )
        .expect(200);
    assert_eq!(page["data"][0]["revision"], 2);
    assert_eq!(page["has_more"], false);
    let events: Vec<String> = of("id")
        .iter()
        .map(|id| id.as_str().expect("an id").to_owned())
        .collect();
    for (event, (kind, revision)) in events.iter().zip([
        ("subscription.updated", 3),
        ("subscription.updated", 2),
        ("subscription.created", 1),
    ]) {
        let event = server.get_as(&ann, &format!("/v1/events/{event}"));
        let event = event.expect(200);
        let object = &event["data"]["object"];
        assert_eq!(event["type"], kind);
        assert_eq!(
            (&object["kind"], &object["owner"], &object["revision"]),
            (&json!("subscription"), &json!("ann"), &json!(revision))
        );
        assert_eq!(object["id"], made["id"]);
    }
    let hidden = format!("/v1/events/{}", events[1]);
    assert_eq!(server.get_as(&bob, &hidden).status, 404);
    for (method, path) in [
        ("GET", format!("{path}/revisions")),
        ("PATCH", path.clone()),
        ("DELETE", path.clone()),
        ("POST", format!("{path}/resume")),
    ] {
        let answer = write(&server, &bob, method, &path, None, &json!({}));
        assert_eq!(answer.code(), "resource_not_found", "{method} {path}");
    }
}

#[test]
fn only_a_revision_that_the_caller_names_conflicts() {
    let server = Fixture::with_subscriptions();
    let made = server
        .post("/v1/subscriptions", &json!({"events": []}))
        .expect(201);
    let path = path_of(&made);
    let change = json!({"revision": 1, "name": "one"});
    assert_eq!(
        patch(&server, &path, Some("a"), &change).expect(200)["revision"],
        2
    );
    let again = patch(&server, &path, Some("a"), &change);
    assert!(is_replayed(&again));
    assert_eq!(again.expect(200)["revision"], 2);
    for _ in 0..2 {
        let late = patch(
            &server,
            &path,
            Some("b"),
            &json!({"revision": 1, "name": "two"}),
        );
        assert_eq!(
            (late.status, late.code().as_str()),
            (409, "setting_conflict")
        );
    }
    let none = patch(&server, &path, None, &json!({"revision": 0}));
    assert_eq!(none.json()["error"]["param"], "revision");
    let unnamed = patch(&server, &path, None, &json!({"name": "three"})).expect(200);
    assert_eq!(unnamed["revision"], 3);
    let wrong = write(
        &server,
        &server.platform,
        "DELETE",
        &format!("{path}?revision=2"),
        None,
        &json!({}),
    );
    assert_eq!(wrong.code(), "setting_conflict");
    let delete = |key: Option<&str>| {
        let path = format!("{path}?revision=3");
        write(&server, &server.platform, "DELETE", &path, key, &json!({}))
    };
    assert_eq!(delete(Some("c")).expect(200)["deleted"], true);
    let again = delete(Some("c"));
    assert!(is_replayed(&again));
    assert_eq!(again.expect(200)["deleted"], true);
    assert_eq!(delete(None).status, 404);
    // What was answered before it was deleted is answered again.
    let again = patch(&server, &path, Some("a"), &change);
    assert!(is_replayed(&again));
    assert_eq!(again.expect(200)["name"], "one");
}

/// Changes by many at the same time all happen, each on top of another.
#[test]
fn changes_at_the_same_time_are_all_made() {
    let server = Fixture::with_subscriptions();
    let made = server
        .post("/v1/subscriptions", &json!({"events": []}))
        .expect(201);
    let path = path_of(&made);
    std::thread::scope(|scope| {
        for writer in 0..4 {
            let (server, path) = (&server, &path);
            scope.spawn(move || {
                for number in 0..5 {
                    let key = format!("{writer}-{number}");
                    let body = json!({"name": key});
                    loop {
                        let answer = patch(server, path, Some(&key), &body);
                        if answer.status != 429 {
                            assert_eq!(answer.expect(200)["name"], json!(key));
                            break;
                        }
                    }
                }
            });
        }
    });
    assert_eq!(server.get(&path).expect(200)["revision"], 21);
}

#[test]
fn a_change_that_was_overtaken_too_often_is_made_when_it_is_sent_again() {
    let server = Fixture::with_subscriptions();
    let made = server
        .post("/v1/subscriptions", &json!({"events": []}))
        .expect(201);
    let path = path_of(&made);
    let id = made["id"].as_str().expect("an id");
    let id = server.reader().ids().decode_subscription(id);
    let id = SettingId(id.expect("it is an id").0);
    let newest = || server.reader().setting(id).expect("it lives");
    let asked = PutRequest {
        actor: Actor::SYSTEM,
        key: random_key(),
        request: [7; 16],
        names_revision: false,
    };
    let put = |overtake: &dyn Fn()| {
        put_setting(&server.engine, &asked, || {
            let newest = newest();
            overtake();
            Ok(Revision::after(&newest, newest.body.clone()))
        })
    };
    let others = Cell::new(0);
    let overtake = || {
        others.set(others.get() + 1);
        let name = format!("other-{}", others.get());
        patch(&server, &path, None, &json!({"name": name})).expect(200);
    };
    let refused = put(&overtake).err().expect("others are always faster");
    assert_eq!(refused.code(), "overloaded");
    assert_eq!((others.get(), newest().revision), (ATTEMPTS_MAX, 9));
    let settled = put(&|| ()).expect("nobody is faster");
    assert_eq!(settled.record.outcome.rejection, None);
    assert_eq!((settled.replayed, newest().revision), (false, 10));
    let repeated = put(&|| ()).expect("it is made");
    assert_eq!((repeated.replayed, newest().revision), (true, 10));
}

#[test]
fn a_slug_names_one_living_subscription_of_an_owner() {
    let server = Fixture::with_subscriptions();
    server.wallet("ann", 1);
    let body = json!({"events": [], "slug": "orders"});
    let made = server.post("/v1/subscriptions", &body).expect(201);
    let taken = server.post("/v1/subscriptions", &body);
    assert_eq!((taken.status, taken.code().as_str()), (409, "slug_in_use"));
    server
        .post_as(&server.token("ann", "write"), "/v1/subscriptions", &body)
        .expect(201);
    let renamed = patch(&server, &path_of(&made), None, &json!({"slug": "other"}));
    assert_eq!(renamed.expect(200)["slug"], "other");
    server.post("/v1/subscriptions", &body).expect(201);
    for slug in ["", "A", "-a", &"a".repeat(65)] {
        let wrong = server.post("/v1/subscriptions", &json!({"events": [], "slug": slug}));
        assert_eq!(wrong.json()["error"]["param"], "slug", "{slug}");
    }
}

fn apply(server: &Fixture, body: &Value) -> Answer {
    write(
        server,
        &server.platform,
        "POST",
        "/v1/settings/apply",
        None,
        body,
    )
}

fn actions(applied: &Value) -> Vec<(&str, &str)> {
    let settings = applied["settings"].as_array().expect("a list").iter();
    settings
        .map(|one| {
            (
                one["action"].as_str().expect("an action"),
                one["slug"].as_str().expect("a slug"),
            )
        })
        .collect()
}

#[test]
fn a_file_is_planned_applied_and_then_changes_nothing() {
    let server = Fixture::with_webhooks();
    let secret = format!("whsec_{}", "A".repeat(32));
    let definitions = |name: &str| {
        json!([
            {"kind": "subscription", "slug": "pulled", "events": ["payment.#"], "name": name},
            {"kind": "subscription", "slug": "sent", "events": ["#"], "url": "http://hooks.test/", "secret": secret},
            {"kind": "subscription", "slug": "made", "events": ["#"], "url": "http://hooks.test/", "paused": true},
        ])
    };
    let file = |name: &str, dry_run: bool| json!({"managed_by": "shop", "dry_run": dry_run, "settings": definitions(name)});
    let head = || server.reader().head().position;
    let before = head();
    let plan = apply(&server, &file("one", true)).expect(200);
    assert_eq!(
        actions(&plan),
        [("create", "pulled"), ("create", "sent"), ("create", "made")]
    );
    assert_eq!(head(), before, "a plan does nothing");
    let done = apply(&server, &file("one", false)).expect(200);
    assert_eq!(done["created"], 3);
    assert!(
        done["settings"][2]["secret"].is_string(),
        "a secret that was made is shown"
    );
    assert_eq!(done["settings"][1]["secret"], Value::Null);
    let after = head();
    assert_eq!(after, before + 3);
    for _ in 0..2 {
        let again = apply(&server, &file("one", false)).expect(200);
        assert_eq!((&again["kept"], &again["changed"]), (&json!(3), &json!(0)));
        assert_eq!(head(), after, "applying it again makes no record");
    }
    // State that the file does not mention stays as it is.
    let path = format!(
        "/v1/subscriptions/{}",
        done["settings"][0]["id"].as_str().expect("an id")
    );
    write(
        &server,
        &server.platform,
        "POST",
        &format!("{path}/pause"),
        None,
        &json!({}),
    )
    .expect(200);
    let changed = apply(&server, &file("two", false)).expect(200);
    assert_eq!(
        actions(&changed),
        [("change", "pulled"), ("keep", "sent"), ("keep", "made")]
    );
    assert_eq!(changed["settings"][0]["fields"], json!(["name"]));
    let shown = server.get(&path).expect(200);
    assert_eq!(
        (&shown["name"], &shown["status"], &shown["managed_by"]),
        (&json!("two"), &json!("paused"), &json!("shop"))
    );
    // Another secret is a rotation.
    let mut rotated = file("two", false);
    rotated["settings"][1]["secret"] = json!(format!("whsec_{}", "B".repeat(32)));
    let rotated = apply(&server, &rotated).expect(200);
    assert_eq!(rotated["settings"][1]["fields"], json!(["secret"]));
}

#[test]
fn pruning_deletes_what_the_file_managed_and_nothing_else() {
    let server = Fixture::with_subscriptions();
    let named = |count: usize| -> Vec<Value> {
        let one = |at| json!({"kind": "subscription", "slug": format!("s-{at}"), "events": []});
        (0..count).map(one).collect()
    };
    let file = |count: usize| json!({"managed_by": "shop", "settings": named(count)});
    apply(&server, &file(13)).expect(200);
    let by_hand = json!({"events": [], "slug": "by-hand"});
    server.post("/v1/subscriptions", &by_hand).expect(201);
    let other = json!({"managed_by": "other", "settings": [{"kind": "subscription", "slug": "others", "events": []}]});
    apply(&server, &other).expect(200);
    let with = |count: usize, most: Option<u32>| {
        let mut file = file(count);
        file["prune"] = json!(true);
        file["prune_max"] = json!(most);
        file
    };
    let count = || {
        let list = server.get("/v1/subscriptions").expect(200);
        list["data"].as_array().expect("a list").len()
    };
    // Without it nothing is deleted.
    assert_eq!(apply(&server, &file(2)).expect(200)["deleted"], 0);
    let refused = apply(&server, &with(2, None));
    assert_eq!(
        (refused.code().as_str(), count()),
        ("parameter_invalid", 15)
    );
    assert_eq!(refused.json()["error"]["param"], "prune_max");
    assert_eq!(
        apply(&server, &with(2, Some(11))).expect(200)["deleted"],
        11
    );
    assert_eq!(count(), 4);
    let done = apply(&server, &with(1, None)).expect(200);
    assert_eq!(actions(&done), [("keep", "s-0"), ("delete", "s-1")]);
    assert_eq!(count(), 3);
    // What another file manages, this one does not touch; what nobody manages, it takes over.
    let mut taken = file(0);
    taken["settings"] = json!([{"kind": "subscription", "slug": "others", "events": []}]);
    let refused = apply(&server, &taken);
    assert_eq!(refused.json()["error"]["param"], "settings[0].managed_by");
    taken["settings"][0]["slug"] = json!("by-hand");
    let adopted = apply(&server, &taken).expect(200);
    assert_eq!(adopted["settings"][0]["fields"], json!(["managed_by"]));
}

#[test]
fn an_older_generation_is_skipped_after_a_restart_too() {
    let mut server = Fixture::with_subscriptions();
    let file = |generation: u64, name: &str| {
        json!({"managed_by": "shop", "generation": generation, "settings": [
            {"kind": "subscription", "slug": "orders", "events": [], "name": name}]})
    };
    apply(&server, &file(7, "seven")).expect(200);
    let head = server.reader().head().position;
    apply(&server, &file(7, "seven")).expect(200);
    assert_eq!(server.reader().head().position, head);
    server.restart();
    let older = apply(&server, &file(6, "six")).expect(200);
    assert_eq!(
        (&older["skipped"], &older["settings"]),
        (&json!(true), &json!([]))
    );
    assert_eq!(server.reader().head().position, head);
    let newer = apply(&server, &file(8, "eight")).expect(200);
    assert_eq!(newer["changed"], 1);
    server.wallet("ann", 1);
    let ann = server.token("ann", "write");
    let refused = write(
        &server,
        &ann,
        "POST",
        "/v1/settings/apply",
        None,
        &file(9, "nine"),
    );
    assert_eq!(refused.code(), "platform_only");
}

#[test]
fn a_wrong_file_does_nothing_and_names_the_place() {
    let server = Fixture::with_subscriptions();
    let good = json!({"kind": "subscription", "slug": "a", "events": []});
    let head = server.reader().head().position;
    for (file, code, param) in [
        (
            json!({"settings": [good, {"kind": "subscription", "slug": "b", "events": ["A"]}]}),
            "parameter_invalid",
            "settings[1].events",
        ),
        (
            json!({"settings": [good, {"kind": "subscription", "slug": "b", "event": []}]}),
            "parameter_unknown",
            "settings[1].event",
        ),
        (
            json!({"settings": [good, good]}),
            "parameter_invalid",
            "settings[1].slug",
        ),
        (
            json!({"settings": [{"kind": "rail", "slug": "b"}]}),
            "parameter_invalid",
            "settings[0].kind",
        ),
        (
            json!({"settings": [{"kind": "subscription", "events": []}]}),
            "parameter_missing",
            "settings[0].slug",
        ),
        (
            json!({"settings": [good], "prune": true}),
            "parameter_missing",
            "managed_by",
        ),
        (
            json!({"settings": [good], "generation": 1}),
            "parameter_missing",
            "managed_by",
        ),
        (
            json!({"settings": [good], "managed_by": "A B"}),
            "parameter_invalid",
            "managed_by",
        ),
    ] {
        let answer = apply(&server, &file);
        assert_eq!(answer.code(), code, "{file}");
        assert_eq!(answer.json()["error"]["param"], param, "{file}");
    }
    assert_eq!(server.reader().head().position, head);
    let made = json!({"settings": [good]});
    apply(&server, &made).expect(200);
    for (field, value) in [
        ("url", json!("http://hooks.test/")),
        ("order", json!("object")),
    ] {
        let mut changed = made.clone();
        changed["settings"][0][field] = value;
        let answer = apply(&server, &changed);
        assert_eq!(
            answer.json()["error"]["param"],
            format!("settings[0].{field}")
        );
    }
}

#[test]
fn settings_of_all_kinds_are_listed_by_owner_kind_and_file() {
    let server = Fixture::with_subscriptions();
    server.wallet("ann", 1);
    let ann = server.token("ann", "write");
    let of_ann = server
        .post_as(
            &ann,
            "/v1/subscriptions",
            &json!({"events": ["#"], "slug": "hers"}),
        )
        .expect(201);
    let file = json!({"managed_by": "shop", "generation": 1, "settings": [
        {"kind": "subscription", "slug": "a", "events": []},
        {"kind": "subscription", "slug": "b", "events": []}]});
    apply(&server, &file).expect(200);
    let slugs = |token: &str, query: &str| -> Vec<Value> {
        let list = server.get_as(token, &format!("/v1/settings{query}"));
        let list = list.expect(200);
        let data = list["data"].as_array().expect("a list").iter();
        data.map(|one| one["slug"].clone()).collect()
    };
    for (token, query, expected) in [
        (&server.platform, "", json!(["shop", "b", "a", "hers"])),
        (
            &server.platform,
            "?kind=subscription",
            json!(["b", "a", "hers"]),
        ),
        (&server.platform, "?kind=applied_file", json!(["shop"])),
        (&server.platform, "?managed_by=shop", json!(["b", "a"])),
        (&server.platform, "?owner=ann", json!(["hers"])),
        (&ann, "", json!(["hers"])),
        (&ann, "?owner=platform", json!([])),
    ] {
        assert_eq!(json!(slugs(token, query)), expected, "{query}");
    }
    let wrong = server.get("/v1/settings?kind=rail");
    assert_eq!(wrong.json()["error"]["param"], "kind");
    let mut paged = Vec::new();
    let mut next = String::new();
    loop {
        let page = server.get(&format!("/v1/settings?limit=3{next}"));
        let page = page.expect(200);
        paged.extend(page["data"].as_array().expect("a list").clone());
        match page["next_cursor"].as_str() {
            Some(cursor) => next = format!("&starting_after={cursor}"),
            None => break,
        }
    }
    assert_eq!(paged.len(), 4);
    assert_eq!(paged[3]["definition"]["events"], json!(["#"]));
    assert_eq!(paged[3]["changed_by"], "ann");
    assert_eq!(paged[0]["definition"], Value::Null);
    let path = format!("/v1/settings/{}", id(&of_ann));
    assert_eq!(server.get_as(&ann, &path).expect(200), paged[3]);
    patch(&server, &path_of(&of_ann), None, &json!({"events": []})).expect(200);
    let revisions = server
        .get_as(&ann, &format!("{path}/revisions"))
        .expect(200);
    let shown: Vec<(&Value, &Value)> = revisions["data"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|one| (&one["changed_by"], &one["definition"]["events"]))
        .collect();
    assert_eq!(
        shown,
        [
            (&json!("platform"), &json!([])),
            (&json!("ann"), &json!(["#"]))
        ]
    );
    let hidden = format!("/v1/settings/{}", paged[1]["id"].as_str().expect("an id"));
    assert_eq!(server.get_as(&ann, &hidden).status, 404);
    assert_eq!(
        server.get_as(&ann, &format!("{hidden}/revisions")).status,
        404
    );
}
