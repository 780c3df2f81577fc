//! Binders and bindings: their forms, their changes, their secrets, and files that are applied.

use std::time::Instant;

use serde_json::{Value, json};
use tributary_api::brokers::{current_binders, current_bindings};
use tributary_ledger::{
    AccountKind, Actor, Body, Command, Currency, Key, OpenAccount, Origin, Overdraft, OwnerName,
    ReplyAddress,
};
use tributary_messaging::SubscriptionId;

use crate::client::{Answer, PATIENCE};
use crate::fixture::{Fixture, id};
use crate::settings::{is_replayed, write};

pub(crate) const BINDERS: &str = "/v1/binders";
pub(crate) const BINDINGS: &str = "/v1/bindings";

fn patch(server: &Fixture, path: &str, body: &Value) -> Answer {
    write(server, &server.platform, "PATCH", path, None, body)
}

fn delete(server: &Fixture, path: &str) -> Answer {
    write(server, &server.platform, "DELETE", path, None, &json!({}))
}

/// `object` with other fields; null removes one.
pub(crate) fn with(object: &Value, changes: &Value) -> Value {
    let mut object = object.clone();
    let fields = object.as_object_mut().expect("an object");
    for (name, value) in changes.as_object().expect("an object") {
        match value {
            Value::Null => _ = fields.remove(name),
            value => _ = fields.insert(name.clone(), value.clone()),
        }
    }
    object
}

pub(crate) fn binder() -> Value {
    json!({"slug": "main", "type": "memory", "url": "memory:"})
}

/// The id of an API key that may write.
fn api_key(server: &Fixture, owner: &str, access: &str) -> String {
    let body = json!({"owner": owner, "access": access});
    id(&server.post("/v1/api_keys", &body).expect(201))
}

pub(crate) fn binding(acts_as: &str) -> Value {
    json!({
        "slug": "orders", "binder": "main", "direction": "in", "destination": "payment_order",
        "acts_as": acts_as, "identity_from": "field order_id",
    })
}

/// The error of a body that is changed like this, by its code and parameter.
fn refused(answer: &Answer) -> (u16, String, Value) {
    let param = answer.json()["error"]["param"].clone();
    (answer.status, answer.code(), param)
}

#[test]
fn a_binder_is_made_changed_and_deleted_and_its_password_is_never_shown() {
    let mut server = Fixture::with_webhooks();
    let secret = "correct horse battery staple";
    let body = with(
        &binder(),
        &json!({"username": "tributary", "password": secret, "managed_by": "deploy"}),
    );
    let made = server.post(BINDERS, &body).expect(201);
    let path = format!("{BINDERS}/{}", id(&made));
    let mut expected = json!({
        "id": made["id"], "object": "binder", "slug": "main", "managed_by": "deploy", "revision": 1,
        "type": "memory", "url": "memory:", "username": "tributary", "password_set": true,
        "trusted_roots": null, "created": made["created"], "updated": made["created"],
    });
    assert_eq!(made, expected);
    assert!(id(&made).starts_with("bdr_"));
    assert_eq!(server.get(&path).expect(200), expected);
    assert_eq!(server.get(BINDERS).expect(200)["data"], json!([expected]));

    let sealed = |server: &Fixture| {
        let binders = current_binders(&server.reader());
        binders[0].terms.sealed_password.clone()
    };
    let first = sealed(&server).expect("it has a password");
    // What a change does not name stays, the password too.
    let change = json!({"url": "memory:there", "username": null, "managed_by": null});
    let changed = patch(&server, &path, &change).expect(200);
    expected = with(
        &expected,
        &json!({"url": "memory:there", "revision": 2, "updated": changed["updated"]}),
    );
    expected["username"] = Value::Null;
    expected["managed_by"] = Value::Null;
    assert_eq!(changed, expected);
    assert_eq!(sealed(&server).as_ref(), Some(&first));
    // The same password, another one, and none.
    patch(&server, &path, &json!({"password": secret})).expect(200);
    assert_eq!(sealed(&server).as_ref(), Some(&first));
    patch(&server, &path, &json!({"password": "another"})).expect(200);
    assert!(sealed(&server).is_some_and(|sealed| sealed != first));
    server.restart();
    let without = patch(&server, &path, &json!({"password": null})).expect(200);
    assert_eq!(
        (&without["password_set"], &without["revision"]),
        (&json!(false), &json!(5))
    );

    let setting = server.get(&format!("/v1/settings/{}", id(&made)));
    assert_eq!(setting.expect(200)["definition"], without);
    let frames = server.get("/v1/journal/frames").body;
    let bytes = secret.as_bytes();
    assert!(!frames.windows(bytes.len()).any(|window| window == bytes));

    let gone = delete(&server, &path).expect(200);
    assert_eq!(
        gone,
        json!({"id": made["id"], "object": "binder", "deleted": true})
    );
    server.get(&path).expect(404);
    assert_eq!(delete(&server, &path).status, 404);
    assert_eq!(server.get(BINDERS).expect(200)["data"], json!([]));
}

#[test]
fn a_wrong_binder_is_refused_with_the_name_of_the_field() {
    let server = Fixture::with_webhooks();
    let certificate = "-----BEGIN CERTIFICATE-----\n%\n-----END CERTIFICATE-----\n";
    for (change, param) in [
        (json!({"slug": "A b"}), "slug"),
        (json!({"type": "carrier_pigeon"}), "type"),
        (json!({"type": "rabbitmq"}), "type"),
        (json!({"url": "elsewhere:"}), "url"),
        (json!({"url": "memory://user:password@host"}), "url"),
        (json!({"url": ""}), "url"),
        (json!({"username": "a\n"}), "username"),
        (json!({"password": ""}), "password"),
        (json!({"password": "p".repeat(1_025)}), "password"),
        (json!({"trusted_roots": "a file"}), "trusted_roots"),
        (json!({"trusted_roots": certificate}), "trusted_roots"),
    ] {
        let answer = server.post(BINDERS, &with(&binder(), &change));
        let expected = (400, "parameter_invalid".to_owned(), json!(param));
        assert_eq!(refused(&answer), expected, "{change}");
    }
    for field in ["slug", "type", "url"] {
        let mut fields = serde_json::Map::new();
        fields.insert(field.to_owned(), Value::Null);
        let answer = server.post(BINDERS, &with(&binder(), &Value::Object(fields)));
        assert_eq!(answer.code(), "parameter_missing", "{field}");
    }
    let unknown = server.post(BINDERS, &with(&binder(), &json!({"secret": "x"})));
    assert_eq!(unknown.code(), "parameter_unknown");
    assert_eq!(server.get(BINDERS).expect(200)["data"], json!([]));
}

#[test]
fn a_server_without_its_master_key_makes_binders_without_passwords_only() {
    let server = Fixture::start();
    let body = with(&binder(), &json!({"password": "secret"}));
    let answer = server.post(BINDERS, &body);
    assert_eq!(answer.code(), "messaging_unavailable");
    server.post(BINDERS, &binder()).expect(201);
}

#[test]
fn a_repeated_create_of_a_binder_gives_the_first_answer() {
    let server = Fixture::with_webhooks();
    let body = with(&binder(), &json!({"password": "secret"}));
    let first = server.post_key(BINDERS, "one", &body).expect(201);
    let again = server.post_key(BINDERS, "one", &body);
    assert!(is_replayed(&again));
    assert_eq!(again.expect(201), first);
    let other = with(&body, &json!({"password": "another"}));
    let answer = server.post_key(BINDERS, "one", &other);
    assert_eq!(answer.code(), "idempotency_key_reused");
    assert_eq!(server.post(BINDERS, &body).code(), "slug_in_use");
}

#[test]
fn a_binding_has_the_defaults_of_spring_cloud_stream() {
    let server = Fixture::start();
    server.post(BINDERS, &binder()).expect(201);
    let key = api_key(&server, "shop", "write");
    let made = server.post(BINDINGS, &binding(&key)).expect(201);
    let expected = json!({
        "id": made["id"], "object": "binding", "slug": "orders", "managed_by": null, "revision": 1,
        "status": "active", "paused_reason": null, "direction": "in", "binder": "main",
        "destination": "payment_order", "content_type": null, "declare": "check",
        "group": "tributary", "acts_as": key, "identity": "orders",
        "identity_from": "field order_id", "prefetch": 64,
        "consumer": {
            "concurrency": 1, "max_attempts": 3, "back_off_initial_interval": 1_000,
            "back_off_multiplier": 2, "back_off_max_interval": 10_000,
        },
        "reply": {"allow": []}, "map": null, "producer": null, "routing_key": null,
        "created": made["created"], "updated": made["created"],
    });
    assert_eq!(made, expected);
    assert!(id(&made).starts_with("bnd_"));
    let out = json!({
        "slug": "events", "binder": "main", "direction": "out", "destination": "payments",
        "routing_key": "{type}.{currency}", "producer": {"partition_key": "{object}"},
        "content_type": "application/json; charset=utf-8", "declare": "create",
    });
    let out = server.post(BINDINGS, &out).expect(201);
    for (field, value) in [
        ("routing_key", json!("{type}.{currency}")),
        ("producer", json!({"partition_key": "{object}"})),
        ("declare", json!("create")),
        ("group", Value::Null),
        ("acts_as", Value::Null),
        ("identity", Value::Null),
        ("prefetch", Value::Null),
        ("consumer", Value::Null),
        ("reply", Value::Null),
    ] {
        assert_eq!(out[field], value, "{field}");
    }
    let listed = server.get(BINDINGS).expect(200);
    assert_eq!(listed["data"], json!([out, made]));
    let path = format!("{BINDINGS}/{}", id(&out));
    assert_eq!(server.get(&path).expect(200), out);
}

#[test]
fn a_wrong_binding_is_refused_with_the_name_of_the_field() {
    let server = Fixture::start();
    server.post(BINDERS, &binder()).expect(201);
    let key = api_key(&server, "shop", "write");
    let reader = api_key(&server, "shop", "read");
    let revoked = api_key(&server, "shop", "write");
    let path = format!("/v1/api_keys/{revoked}/revoke");
    server.post(&path, &json!({})).expect(200);
    let sound = binding(&key);
    let long = "a".repeat(256);
    for (change, code, param) in [
        (json!({"acts_as": null}), "parameter_missing", "acts_as"),
        (
            json!({"identity_from": null}),
            "parameter_missing",
            "identity_from",
        ),
        (
            json!({"acts_as": "key_00000000000000000000000000"}),
            "resource_not_found",
            "acts_as",
        ),
    ] {
        let answer = server.post(BINDINGS, &with(&sound, &change));
        let found = refused(&answer);
        assert_eq!(
            (found.1.as_str(), found.2),
            (code, json!(param)),
            "{change}"
        );
    }
    let map: serde_json::Map<String, Value> = (0..700)
        .map(|at| (format!("field-{at:010}"), json!(1)))
        .collect();
    for (change, param) in [
        (json!({"acts_as": reader}), "acts_as"),
        (json!({"acts_as": revoked}), "acts_as"),
        (json!({"direction": "sideways"}), "direction"),
        (json!({"binder": ""}), "binder"),
        (json!({"destination": long}), "destination"),
        (json!({"group": "a\n"}), "group"),
        (json!({"content_type": "json"}), "content_type"),
        (json!({"content_type": "a/b c"}), "content_type"),
        (json!({"identity": ""}), "identity"),
        (json!({"identity": "i".repeat(65)}), "identity"),
        (json!({"identity_from": "offset"}), "identity_from"),
        (json!({"identity_from": "field a b"}), "identity_from"),
        (json!({"prefetch": 0}), "prefetch"),
        (json!({"prefetch": 1_001}), "prefetch"),
        (json!({"declare": "always"}), "declare"),
        (
            json!({"consumer": {"concurrency": 17}}),
            "consumer.concurrency",
        ),
        (
            json!({"consumer": {"max_attempts": 0}}),
            "consumer.max_attempts",
        ),
        (
            json!({"consumer": {"back_off_initial_interval": 0}}),
            "consumer.back_off_initial_interval",
        ),
        (
            json!({"consumer": {"back_off_multiplier": 11}}),
            "consumer.back_off_multiplier",
        ),
        (
            json!({"consumer": {"back_off_max_interval": 999}}),
            "consumer.back_off_max_interval",
        ),
        (json!({"reply": {"allow": ["a", "b*c"]}}), "reply.allow[1]"),
        (json!({"reply": {"allow": vec!["a"; 17]}}), "reply.allow"),
        (
            json!({"reply": {"allow": [], "content_type": "x"}}),
            "reply.content_type",
        ),
        (json!({"map": map}), "map"),
        (
            json!({"map": {
                "currency": "EUR", "amount": {"field": "amount", "unit": "minor"},
                "source": "{account", "destination": "shop",
            }}),
            "map.source",
        ),
        (
            json!({"map": {
                "currency": "EUR", "amount": {"field": "amount", "unit": "minor"},
                "source": "{account}", "destination": {"external_id": "{shop", "owner": "shop"},
            }}),
            "map.destination.external_id",
        ),
        (json!({"identity_from": "field a?"}), "identity_from"),
        (json!({"producer": {"partition_key": "a"}}), "producer"),
        (json!({"routing_key": "a"}), "routing_key"),
        (json!({"paused_reason": "why"}), "paused_reason"),
        (
            json!({"paused": true, "paused_reason": "r".repeat(129)}),
            "paused_reason",
        ),
    ] {
        let answer = server.post(BINDINGS, &with(&sound, &change));
        let expected = (400, "parameter_invalid".to_owned(), json!(param));
        assert_eq!(refused(&answer), expected, "{change}");
    }
    let misspelt = with(&sound, &json!({"map": {"curency": "EUR"}}));
    let answer = server.post(BINDINGS, &misspelt);
    let expected = (400, "parameter_unknown".to_owned(), json!("map.curency"));
    assert_eq!(refused(&answer), expected);
    let out = json!({"slug": "o", "binder": "main", "direction": "out", "destination": "d"});
    for (change, param) in [
        (json!({"acts_as": key}), "acts_as"),
        (json!({"reply": {"allow": []}}), "reply"),
        (json!({"map": {}}), "map"),
        (json!({"routing_key": "{amount}"}), "routing_key"),
        (
            json!({"producer": {"partition_key": "{"}}),
            "producer.partition_key",
        ),
    ] {
        let answer = server.post(BINDINGS, &with(&out, &change));
        let expected = (400, "parameter_invalid".to_owned(), json!(param));
        assert_eq!(refused(&answer), expected, "{change}");
    }
    assert_eq!(server.get(BINDINGS).expect(200)["data"], json!([]));
}

/// Whoever changed only the field that names messages would have every message decided again.
#[test]
fn what_names_messages_changes_with_the_name_of_their_stream_only() {
    let server = Fixture::start();
    let key = api_key(&server, "shop", "write");
    // A binding may come before its binder.
    let made = server.post(BINDINGS, &binding(&key)).expect(201);
    let path = format!("{BINDINGS}/{}", id(&made));
    let answer = patch(&server, &path, &json!({"identity_from": "message_id"}));
    let expected = (400, "parameter_invalid".to_owned(), json!("identity_from"));
    assert_eq!(refused(&answer), expected);
    // Another name of the binding is no other stream.
    let renamed = patch(&server, &path, &json!({"slug": "orders-2"})).expect(200);
    assert_eq!(renamed["identity"], "orders");
    let both = json!({"identity": "orders-2", "identity_from": "message_id"});
    let changed = patch(&server, &path, &both).expect(200);
    assert_eq!(changed["identity_from"], "message_id");
    let answer = patch(&server, &path, &json!({"routing_key": "a"}));
    assert_eq!(refused(&answer).2, json!("routing_key"));
}

#[test]
fn a_binding_rests_until_it_is_resumed_whatever_else_is_changed() {
    let mut server = Fixture::start();
    let key = api_key(&server, "shop", "write");
    let made = server.post(BINDINGS, &binding(&key)).expect(201);
    let path = format!("{BINDINGS}/{}", id(&made));
    let step = |server: &Fixture, step: &str, body: &Value| {
        server.post(&format!("{path}/{step}"), body).expect(200)
    };
    let paused = step(&server, "pause", &json!({"reason": "stock-taking"}));
    let state = |binding: &Value| (binding["status"].clone(), binding["paused_reason"].clone());
    assert_eq!(state(&paused), (json!("paused"), json!("stock-taking")));
    // A revoked key stops a binding; the binding can be changed all the same.
    let revoke = format!("/v1/api_keys/{key}/revoke");
    server.post(&revoke, &json!({})).expect(200);
    let changed = patch(&server, &path, &json!({"prefetch": 7, "consumer": null})).expect(200);
    assert_eq!(state(&changed), (json!("paused"), json!("stock-taking")));
    assert_eq!(
        (&changed["prefetch"], &changed["acts_as"]),
        (&json!(7), &json!(key))
    );
    server.restart();
    assert_eq!(server.get(&path).expect(200), changed);
    let bindings = current_bindings(&server.reader());
    assert_eq!((bindings.len(), bindings[0].revision), (1, 3));
    assert_eq!(bindings[0].terms.paused.as_deref(), Some("stock-taking"));
    let resumed = step(&server, "resume", &json!({}));
    assert_eq!(state(&resumed), (json!("active"), Value::Null));
    // A revision that others overtook.
    let late = json!({"revision": 3, "prefetch": 8});
    assert_eq!(patch(&server, &path, &late).code(), "setting_conflict");
    let zero = patch(&server, &path, &json!({"revision": 0}));
    assert_eq!(refused(&zero).2, json!("revision"));
    let gone = delete(&server, &format!("{path}?revision=3"));
    assert_eq!(gone.code(), "setting_conflict");
    delete(&server, &format!("{path}?revision=4")).expect(200);
}

#[test]
fn binders_and_bindings_are_the_platform_s() {
    let server = Fixture::with_subscriptions();
    let made = server.post(BINDERS, &binder()).expect(201);
    let owner = server.token("shop", "write");
    let path = format!("{BINDERS}/{}", id(&made));
    let binding_path = format!("{BINDINGS}/{}/pause", id(&made));
    for (method, path, body) in [
        ("POST", BINDERS, binder()),
        ("PATCH", &path, json!({"url": "memory:mine"})),
        ("DELETE", &path, json!({})),
        ("POST", BINDINGS, json!({})),
        ("POST", &binding_path, json!({})),
    ] {
        let answer = write(&server, &owner, method, path, Some("k"), &body);
        assert_eq!(answer.code(), "platform_only", "{method} {path}");
    }
    for path in [BINDERS, BINDINGS, &path] {
        assert_eq!(server.get_as(&owner, path).code(), "platform_only");
    }
    let setting = format!("/v1/settings/{}", id(&made));
    assert_eq!(server.get_as(&owner, &setting).status, 404);
    let file = json!({"settings": [with(&binder(), &json!({"kind": "binder"}))]});
    let answer = server.post_as(&owner, "/v1/settings/apply", &file);
    assert_eq!(answer.code(), "platform_only");
    // An id of the one is none of the other.
    let other = format!("{BINDINGS}/{}", id(&made));
    assert_eq!(server.get(&other).status, 404);
}

#[test]
fn a_file_makes_binders_and_bindings_and_applying_it_again_makes_no_record() {
    let server = Fixture::with_webhooks();
    let key = api_key(&server, "shop", "write");
    let binder = with(&binder(), &json!({"kind": "binder", "password": "secret"}));
    let binding = with(
        &binding(&key),
        &json!({"kind": "binding", "consumer": {"concurrency": 2}}),
    );
    let file = |binder: &Value, binding: &Value| json!({"managed_by": "brokers", "prune": true, "settings": [binder, binding]});
    let apply = |file: &Value| server.post("/v1/settings/apply", file).expect(200);
    let done = apply(&file(&binder, &binding));
    assert_eq!((&done["created"], &done["kept"]), (&json!(2), &json!(0)));
    assert!(done["settings"][0].get("secret").is_none());
    let paused = format!(
        "{BINDINGS}/{}/pause",
        done["settings"][1]["id"].as_str().expect("an id")
    );
    server.post(&paused, &json!({})).expect(200);
    let head = server.reader().head().position;
    let again = apply(&file(&binder, &binding));
    assert_eq!(again["kept"], 2, "{again}");
    assert_eq!(server.reader().head().position, head, "no record");

    let moved = with(
        &binder,
        &json!({"password": "another", "url": "memory:there"}),
    );
    let narrow = with(&binding, &json!({"consumer": null, "paused": false}));
    let changed = apply(&file(&moved, &narrow));
    let fields = |at: usize| changed["settings"][at]["fields"].clone();
    assert_eq!(fields(0), json!(["url", "password"]));
    assert_eq!(fields(1), json!(["consumer", "paused_reason", "status"]));
    let only = apply(&file(&with(&moved, &json!({"password": "third"})), &narrow));
    assert_eq!(only["settings"][0]["fields"], json!(["password"]));

    let bad = with(&narrow, &json!({"prefetch": 0}));
    let answer = server.post("/v1/settings/apply", &file(&moved, &bad));
    assert_eq!(refused(&answer).2, json!("settings[1].prefetch"));
    let none = json!({"managed_by": "brokers", "prune": true, "settings": []});
    assert_eq!(apply(&none)["deleted"], 2);
}

/// Has a command decided that came as a message of a binding and asked for a reply.
fn ordered(server: &Fixture, binding: &str) {
    let setting = server.reader().ids().decode_setting(binding);
    let (_, setting) = setting.expect("it is an id of a setting");
    let reply = ReplyAddress::new("replies_gone", Some("c-1")).expect("short");
    let origin = Origin::new(setting, 1, [7; 32], 1, Some(reply));
    let command = Command {
        key: Key::from_bytes(server.new_key().as_bytes()).expect("short"),
        actor: Actor::SYSTEM,
        linked: false,
        effective_at: None,
        text: None,
        origin: Some(Box::new(origin.expect("it is sound"))),
        assessment: None,
        body: Body::OpenAccount(OpenAccount {
            owner: OwnerName::new("shop").expect("a name"),
            currency: Currency::from_code("EUR").expect("a currency"),
            kind: AccountKind::Merchant,
            overdraft: Overdraft::NONE,
            external_id: None,
        }),
    };
    let replies = server.engine.execute_blocking(vec![command]);
    assert_eq!(replies.expect("it is decided").len(), 1);
}

/// Fails every attempt at the replies of a binding until so many were given up.
fn give_up(server: &Fixture, binding: &str, count: u64) {
    let messaging = server.messaging.as_ref().expect("deliveries are kept");
    let setting = server.reader().ids().decode_setting(binding);
    let replies = SubscriptionId(setting.expect("it is an id").1.0);
    let begun = Instant::now();
    loop {
        let (figures, _) = messaging.figures(replies).expect("it is known");
        if figures.dead == count {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "{figures:?}");
        for delivery in messaging.take(replies, 10, None).expect("it is known") {
            let refused = messaging.nack(replies, delivery.receipt, Some(0), "no such queue");
            refused.expect("it is under way");
        }
    }
}

#[test]
fn replies_that_were_given_up_are_listed_sent_again_and_dropped() {
    let server = Fixture::with_subscriptions();
    server.post(BINDERS, &binder()).expect(201);
    let key = api_key(&server, "shop", "write");
    let made = server.post(BINDINGS, &binding(&key)).expect(201);
    let path = format!("{BINDINGS}/{}", id(&made));
    let list = |query: &str| {
        let path = format!("{path}/dead_letters{query}");
        server.get(&path).expect(200)
    };
    let change = |change: &str, body: &Value| {
        let path = format!("{path}/dead_letters/{change}");
        server.post(&path, body).expect(200)
    };
    assert_eq!(list("")["data"], json!([]));
    for _ in 0..3 {
        ordered(&server, &id(&made));
    }
    give_up(&server, &id(&made), 3);
    let dead = list("?limit=2");
    assert_eq!(
        (&dead["has_more"], &dead["url"]),
        (&json!(true), &json!(format!("{path}/dead_letters")))
    );
    let letters = dead["data"].as_array().expect("a list");
    assert_eq!(letters.len(), 2);
    for letter in letters {
        assert_eq!(letter["object"], "dead_letter");
        assert_eq!(letter["event"]["type"], "account.opened");
        assert_eq!(letter["history"][0]["error"], "no such queue");
    }
    let last = letters[1]["event"]["id"].as_str().expect("an id");
    let attempts = |query: &str| {
        let path = format!("{path}/attempts{query}");
        server.get(&path).expect(200)["data"].clone()
    };
    let count = |list: &Value| list.as_array().expect("a list").len();
    let of_last = attempts(&format!("?limit=100&event={last}&status=failed"));
    assert!(count(&of_last) > 0 && count(&attempts("?limit=100")) > count(&of_last));
    for attempt in of_last.as_array().expect("a list") {
        assert_eq!(attempt["event"], json!(last), "{attempt}");
        assert_eq!(attempt["error"], "no such queue", "{attempt}");
    }
    assert_eq!(attempts("?status=delivered"), json!([]));
    let rest = list(&format!("?starting_after={last}"));
    assert_eq!(rest["data"].as_array().expect("a list").len(), 1);
    let figures = || server.get(&format!("{path}/figures")).expect(200);
    let counts = |figures: &Value| {
        let counts = [&figures["replies_waiting"], &figures["reply_dead_letters"]];
        counts.map(|count| count.as_u64().expect("a count"))
    };
    assert_eq!(counts(&figures()), [0, 3]);

    let requeued = change("requeue", &json!({"events": [last]}));
    assert_eq!(
        requeued,
        json!({"object": "dead_letters", "done": 1, "left": 2})
    );
    assert_eq!(counts(&figures()), [1, 2]);
    let dropped = change("drop", &json!({}));
    assert_eq!(
        dropped,
        json!({"object": "dead_letters", "done": 2, "left": 0})
    );
    assert_eq!(list("")["data"], json!([]));

    // A binding that sends has no replies.
    let out = json!({"slug": "events", "binder": "main", "direction": "out", "destination": "d"});
    let out = id(&server.post(BINDINGS, &out).expect(201));
    let answer = server.get(&format!("{BINDINGS}/{out}/dead_letters"));
    let expected = (400, "parameter_invalid".to_owned(), json!("id"));
    assert_eq!(refused(&answer), expected);
    let figures = server.get(&format!("{BINDINGS}/{out}/figures")).expect(200);
    assert_eq!(figures["reply_dead_letters"], Value::Null);
    // They are the platform's, as bindings are.
    let owner = server.token("shop", "write");
    for list in ["attempts", "dead_letters"] {
        let foreign = server.get_as(&owner, &format!("{path}/{list}"));
        assert_eq!(foreign.code(), "platform_only");
    }
    for change in ["requeue", "drop"] {
        let path = format!("{path}/dead_letters/{change}");
        let answer = server.post_as(&owner, &path, &json!({}));
        assert_eq!(answer.code(), "platform_only");
    }
}
