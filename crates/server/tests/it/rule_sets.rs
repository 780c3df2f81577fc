//! Rule sets and lists: their forms, their room, files of them, what they do to payments, and who may see them.

use serde_json::{Value, json};
use tributary_ledger::Effect;

use crate::bindings::with;
use crate::client::{Answer, until};
use crate::fixture::{Fixture, id, pay};
use crate::settings::write;

const RULE_SETS: &str = "/v1/rule_sets";
pub(crate) const LISTS: &str = "/v1/lists";

pub(crate) fn path_of(object: &Value) -> String {
    let nouns = match object["object"].as_str() {
        Some("list") => LISTS,
        _ => RULE_SETS,
    };
    format!("{nouns}/{}", id(object))
}

pub(crate) fn patch(server: &Fixture, object: &Value, body: &Value) -> Answer {
    let path = path_of(object);
    write(server, &server.platform, "PATCH", &path, None, body)
}

pub(crate) fn delete(server: &Fixture, object: &Value) -> Answer {
    let path = path_of(object);
    write(server, &server.platform, "DELETE", &path, None, &json!({}))
}

/// Blocks payments of more than 500 minor units.
fn rule_set(slug: &str, state: &str) -> Value {
    json!({
        "slug": slug, "state": state,
        "rules": [{"name": "large", "when": "amount > 500", "effect": "block"}],
    })
}

/// What the decisions of a payment's timeline show of assessments.
fn assessments(server: &Fixture, token: &str, payment: &str) -> Vec<Value> {
    let path = format!("/v1/payments/{payment}/timeline");
    let timeline = server.get_as(token, &path).expect(200);
    let entries = timeline["data"].as_array().expect("a list").iter();
    let decisions = entries.filter(|entry| entry["type"] == "decision");
    decisions.map(|entry| entry["assessment"].clone()).collect()
}

#[test]
fn a_rule_set_is_made_changed_listed_and_deleted() {
    let server = Fixture::with_subscriptions();
    let whole = json!({
        "slug": "cards", "where": "kind == 'pay'",
        "features": {
            "is_known": {"list": "known", "key": ["payer"]},
            "payments_1h": {"stream": "hourly", "value": "payments", "key": ["payer"], "at": "created"},
        },
        "rules": [
            {"name": "known", "when": "is_known", "effect": "allow", "overrides": ["many"]},
            {"name": "many", "when": "payments_1h > 5", "effect": "block", "points": 100},
            {"name": "night", "when": "amount > 100", "points": -10},
        ],
        "thresholds": {"block": 90, "review": 50}, "on_error": "review", "review_seconds": 600,
    });
    let made = server.post(RULE_SETS, &whole).expect(201);
    assert!(id(&made).starts_with("rset_"), "{made}");
    let hash = made["hash"].as_str().expect("digits").to_owned();
    assert!(hash.len() == 16 && hash.bytes().all(|digit| digit.is_ascii_hexdigit()));
    let fields = json!({
        "id": id(&made), "object": "rule_set", "managed_by": null, "revision": 1, "state": "draft",
        "hash": hash, "created": made["created"], "updated": made["created"],
        "challenge_seconds": 900,
    });
    assert_eq!(made, with_all(&whole, &fields));
    let shown = server.get(&path_of(&made)).expect(200);
    assert_eq!(shown, with_all(&made, &json!({"figures": null})));
    // What a set is used for is no part of what it computes.
    let active = patch(&server, &made, &json!({"state": "active"})).expect(200);
    assert_eq!(
        (&active["revision"], &active["hash"]),
        (&json!(2), &made["hash"])
    );
    let figures = server.get(&path_of(&made)).expect(200)["figures"].clone();
    assert_eq!(figures["assessed"], 0);
    assert_eq!(figures["rules"][2]["name"], "night");
    let changes = json!({"where": null, "thresholds": null, "on_error": null, "state": null, "features": null,
        "rules": [{"name": "night", "when": "amount > 100", "points": -10}]});
    let bare = patch(&server, &made, &changes).expect(200);
    let defaults = json!({"where": null, "thresholds": {}, "on_error": "skip", "state": "draft", "features": {}});
    for (name, value) in defaults.as_object().expect("fields") {
        assert_eq!(&bare[name], value, "{name}");
    }
    assert_ne!(bare["hash"], made["hash"]);
    let overtaken = patch(&server, &made, &json!({"revision": 2, "slug": "other"}));
    assert_eq!(overtaken.code(), "setting_conflict");
    let second = server
        .post(RULE_SETS, &rule_set("second", "retired"))
        .expect(201);
    let page = server.get(RULE_SETS).expect(200);
    let slugs: Vec<&Value> = page["data"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|set| &set["slug"])
        .collect();
    assert_eq!(slugs, ["second", "cards"]);
    let revisions = format!("/v1/settings/{}/revisions", id(&made));
    let revisions = server.get(&revisions).expect(200)["data"].clone();
    assert_eq!(revisions[2]["definition"], made, "a revision stays true");
    for set in [&made, &second] {
        assert_eq!(delete(&server, set).expect(200)["object"], "rule_set");
        assert_eq!(server.get(&path_of(set)).status, 404);
    }
    let event = server.get("/v1/events?limit=1").expect(200)["data"][0].clone();
    assert_eq!(event["type"], "rule_set.deleted");
}

/// The object with these fields too, also those that are null.
fn with_all(object: &Value, fields: &Value) -> Value {
    let mut object = object.clone();
    let fields = fields.as_object().expect("fields").clone();
    object.as_object_mut().expect("an object").extend(fields);
    object
}

#[test]
fn what_is_wrong_with_a_rule_set_is_said_with_its_field() {
    let server = Fixture::start();
    let rule = |changes: Value| {
        let rule = json!({"name": "one", "when": "amount > 1", "effect": "block"});
        json!({"rules": [with(&rule, &changes)]})
    };
    let feature = |changes: Value| {
        let feature = json!({"stream": "hourly", "value": "payments", "key": ["payer"]});
        json!({"features": {"f": with(&feature, &changes)}})
    };
    let in_list = |changes: Value| {
        let feature = json!({"list": "known", "key": ["payer"]});
        json!({"features": {"f": with(&feature, &changes)}})
    };
    let many = |count: usize| -> Vec<Value> {
        let name = |at| format!("rule_{at}");
        let rule = |at| json!({"name": name(at), "when": "true", "points": 1});
        (0..count).map(rule).collect()
    };
    let features = |count: usize| -> Value {
        let feature = |at| (format!("f{at}"), json!({"list": "known", "key": ["payer"]}));
        Value::Object((0..count).map(feature).collect())
    };
    let pair = |changes: Value| {
        let first = json!({"name": "first", "when": "true", "effect": "allow"});
        json!({"rules": [with(&first, &changes), {"name": "second", "when": "true", "points": 5}]})
    };
    let key = |parts: usize| feature(json!({"key": vec!["payer"; parts]}));
    let cases = [
        (json!({"slug": "A set"}), "slug"),
        (json!({"state": "on"}), "state"),
        (json!({"rules": null}), "rules"),
        (json!({"rules": []}), "rules"),
        (json!({"rules": many(201)}), "rules"),
        (json!({"features": features(25)}), "features"),
        (json!({"on_error": "ask"}), "on_error"),
        (json!({"thresholds": {"block": 0}}), "thresholds.block"),
        (json!({"thresholds": {"block": 1_001}}), "thresholds.block"),
        (json!({"thresholds": {"ask": 5}}), "thresholds.ask"),
        (json!({"where": "amount"}), "where"),
        (json!({"where": "amount >"}), "where"),
        (json!({"figures": {}}), "figures"),
        (rule(json!({"name": null})), "rules[0].name"),
        (rule(json!({"name": ""})), "rules[0].name"),
        (rule(json!({"name": "1st"})), "rules[0].name"),
        (rule(json!({"name": "One"})), "rules[0].name"),
        (rule(json!({"name": "r".repeat(33)})), "rules[0].name"),
        (rule(json!({"when": null})), "rules[0].when"),
        (rule(json!({"when": "amount > 'much'"})), "rules[0].when"),
        (rule(json!({"when": "unknown_thing > 1"})), "rules[0].when"),
        (rule(json!({"effect": null})), "rules[0].effect"),
        (rule(json!({"effect": "ask"})), "rules[0].effect"),
        (rule(json!({"points": 1_001})), "rules[0].points"),
        (rule(json!({"points": -1_001})), "rules[0].points"),
        (rule(json!({"overrides": ["other"]})), "rules[0].overrides"),
        (rule(json!({"then": "block"})), "rules[0].then"),
        (
            pair(json!({"overrides": ["third"]})),
            "rules[0].overrides[0]",
        ),
        (
            pair(json!({"overrides": ["second", "first"]})),
            "rules[0].overrides[1]",
        ),
        (pair(json!({"name": "second"})), "rules[1].name"),
        (
            feature(json!({"stream": null, "value": null})),
            "features.f.stream",
        ),
        (feature(json!({"list": "known"})), "features.f.list"),
        (feature(json!({"value": null})), "features.f.value"),
        (feature(json!({"value": ""})), "features.f.value"),
        (feature(json!({"stream": "A stream"})), "features.f.stream"),
        (feature(json!({"key": null})), "features.f.key"),
        (key(0), "features.f.key"),
        (key(9), "features.f.key"),
        (feature(json!({"key": ["payer >"]})), "features.f.key[0]"),
        (feature(json!({"at": "payer"})), "features.f.at"),
        (in_list(json!({"list": "/"})), "features.f.list"),
        (in_list(json!({"value": "payments"})), "features.f.value"),
        (in_list(json!({"at": "created"})), "features.f.at"),
        (
            in_list(json!({"key": ["payer", "payee"]})),
            "features.f.key",
        ),
        (
            json!({"features": {"F": {"list": "known", "key": ["payer"]}}}),
            "features.F",
        ),
    ];
    let sound = rule_set("one", "draft");
    for (change, param) in cases {
        let answer = server.post(RULE_SETS, &with(&sound, &change));
        let error = answer.expect(400)["error"].clone();
        assert_eq!(error["param"], param, "{change}: {error}");
    }
    let long = format!("amount > 1{}", " || amount > 1".repeat(9));
    let mut large = many(200);
    large.iter_mut().for_each(|rule| rule["when"] = json!(long));
    let answer = server.post(RULE_SETS, &with(&sound, &json!({"rules": large})));
    let error = answer.expect(400)["error"].clone();
    let message = error["message"].as_str().expect("a text");
    assert!(message.contains("bytes too many"), "{error}");
    // As much as is allowed.
    let most = with(
        &sound,
        &json!({"rules": many(200), "features": features(24)}),
    );
    server.post(RULE_SETS, &most).expect(201);
    let unknown = patch(
        &server,
        &server
            .post(RULE_SETS, &rule_set("two", "draft"))
            .expect(201),
        &json!({"hash": ""}),
    );
    assert_eq!(unknown.code(), "parameter_unknown");
}

#[test]
fn four_rule_sets_are_at_work_at_most_and_a_retired_one_stays_retired() {
    let server = Fixture::start();
    let made: Vec<Value> = ["active", "shadow", "active", "shadow"]
        .iter()
        .enumerate()
        .map(|(at, state)| {
            server
                .post(RULE_SETS, &rule_set(&format!("set-{at}"), state))
                .expect(201)
        })
        .collect();
    let fifth = server
        .post(RULE_SETS, &rule_set("fifth", "draft"))
        .expect(201);
    let refused = |answer: Answer| {
        let error = answer.expect(400)["error"].clone();
        assert_eq!(error["param"], "state", "{error}");
        error["message"].as_str().expect("a text").to_owned()
    };
    let message = refused(server.post(RULE_SETS, &rule_set("sixth", "shadow")));
    assert!(message.contains("At most 4 rule sets"), "{message}");
    refused(patch(&server, &fifth, &json!({"state": "active"})));
    // One that is at work already may change.
    patch(&server, &made[1], &json!({"state": "active"})).expect(200);
    let retired = patch(&server, &made[0], &json!({"state": "retired"})).expect(200);
    patch(&server, &fifth, &json!({"state": "active"})).expect(200);
    for state in ["draft", "shadow", "active"] {
        let message = refused(patch(&server, &retired, &json!({"state": state})));
        assert!(message.contains("Make another one"), "{message}");
    }
    refused(patch(&server, &retired, &json!({"state": null})));
    patch(&server, &retired, &json!({"slug": "old"})).expect(200);
}

#[test]
fn a_rule_set_can_rest_whatever_became_of_its_stream() {
    let server = Fixture::start();
    let stream = json!({
        "slug": "hourly", "from": [{"event": "payment.captured"}], "key": ["payer"],
        "window": {"type": "trailing", "size_seconds": 3600}, "emit": {"payments": "count()"},
    });
    let stream = server.post("/v1/streams", &stream).expect(201);
    // Another one stays at work.
    let other = rule_set("other", "shadow");
    server.post(RULE_SETS, &other).expect(201);
    let feature = json!({"stream": "hourly", "value": "payments", "key": ["payer"]});
    let set = with(
        &rule_set("one", "active"),
        &json!({"features": {"payments_1h": feature}}),
    );
    let set = server.post(RULE_SETS, &set).expect(201);
    let problems = || server.get(&path_of(&set)).expect(200)["figures"]["problems"].clone();
    until("the stream runs", || {
        (problems() == json!([])).then_some(())
    });
    let path = format!("/v1/streams/{}", id(&stream));
    let other = json!({"emit": {"others": "count()"}});
    write(&server, &server.platform, "PATCH", &path, None, &other).expect(200);
    until("the figure is gone", || {
        problems().to_string().contains("emits no").then_some(())
    });
    patch(&server, &set, &json!({"state": "draft"})).expect(200);
    let error = patch(&server, &set, &json!({"state": "active"})).expect(400)["error"].clone();
    assert_eq!(error["param"], "features.payments_1h", "{error}");
    patch(&server, &set, &json!({"state": "retired"})).expect(200);
}

#[test]
fn an_active_set_blocks_by_a_list_and_tells_the_platform_why_and_the_payer_nothing() {
    let server = Fixture::start();
    let (ann, shop) = (
        server.wallet("ann", 1_000),
        server.account("shop", "merchant"),
    );
    let anns = server.token("ann", "write");
    let list = server
        .post(
            LISTS,
            &json!({"slug": "denied", "entries": [{"value": "ann"}]}),
        )
        .expect(201);
    let set = json!({
        "slug": "deny", "state": "shadow",
        "features": {"is_denied": {"list": "denied", "key": ["payer"]}},
        "rules": [{"name": "denied_payer", "when": "is_denied", "effect": "block"}],
    });
    let set = server.post(RULE_SETS, &set).expect(201);
    let pay = || server.post_as(&anns, "/v1/payments", &pay(&ann, &shop, 10));
    let allowed = id(&pay().expect(201));
    let shadowed = assessments(&server, &server.platform, &allowed);
    assert_eq!(shadowed[0]["effect"], "allow");
    assert!(shadowed[0]["report"].to_string().contains("denied_payer"));
    patch(&server, &set, &json!({"state": "active"})).expect(200);
    let error = pay().expect(402)["error"].clone();
    assert_eq!(error["code"], "payment_blocked");
    assert_eq!(error["message"], "The rules for risk block the payment.");
    let blocked = error["payment"].as_str().expect("an id").to_owned();
    let found = assessments(&server, &server.platform, &blocked);
    assert_eq!((found.len(), &found[0]["effect"]), (1, &json!("block")));
    assert!(found[0]["report"].to_string().contains("denied_payer"));
    for payment in [&allowed, &blocked] {
        assert_eq!(assessments(&server, &anns, payment), [Value::Null]);
        for path in [
            format!("/v1/payments/{payment}"),
            format!("/v1/payments/{payment}/timeline"),
            "/v1/events?limit=100".to_owned(),
            "/v1/settings".to_owned(),
        ] {
            let seen = server.get_as(&anns, &path);
            assert_eq!(seen.status, 200, "{path}");
            let seen = String::from_utf8_lossy(&seen.body).into_owned();
            for secret in ["denied_payer", "rset_", "list_", "rule_set."] {
                assert!(!seen.contains(secret), "{path} tells {secret}: {seen}");
            }
        }
    }
    patch(&server, &list, &json!({"remove": ["ann"]})).expect(200);
    pay().expect(201);
    let figures = server.get(&path_of(&set)).expect(200)["figures"].clone();
    assert_eq!(
        (&figures["assessed"], &figures["blocked"]),
        (&json!(2), &json!(1)),
        "as active: {figures}"
    );
}

#[test]
fn a_queued_payment_shows_what_was_found_as_it_was_made_and_as_it_ran() {
    let server = Fixture::start();
    let (ann, shop) = (
        server.wallet("ann", 1_000),
        server.account("shop", "merchant"),
    );
    let pause = "/v1/queues/payment_order/pause";
    server.post(pause, &json!({})).expect(200);
    server.rules.find(Effect::Allow, br#"{"score": 7}"#);
    let queued = with(&pay(&ann, &shop, 30), &json!({"queue": {}}));
    let queued = id(&server.post("/v1/payments", &queued).expect(202));
    // A report of a later version that is no JSON.
    server.rules.find(Effect::Block, b"\xffreport");
    server
        .post("/v1/queues/payment_order/resume", &json!({}))
        .expect(200);
    let path = format!("/v1/payments/{queued}");
    let failed = until("the payment is run", || {
        let payment = server.get(&path).expect(200);
        (payment["status"] == "failed").then_some(payment)
    });
    assert_eq!(failed["failure"]["code"], "payment_blocked");
    assert_eq!(
        assessments(&server, &server.platform, &queued),
        [
            json!({"effect": "allow", "report": {"score": 7}}),
            json!({"effect": "block", "report": null}),
        ]
    );
}

#[test]
fn a_file_puts_lists_before_rule_sets_and_deletes_them_after() {
    let server = Fixture::with_subscriptions();
    let apply = |settings: &[Value]| {
        let file = json!({"managed_by": "risk", "prune": true, "settings": settings});
        server.post("/v1/settings/apply", &file)
    };
    let steps = |done: &Value| -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        let settings = done["settings"].as_array().expect("steps").iter();
        settings
            .map(|step| (text(&step["action"]), text(&step["slug"])))
            .collect()
    };
    let expect = |done: &Value, expected: &[(&str, &str)]| {
        let expected: Vec<(String, String)> = expected
            .iter()
            .map(|(action, slug)| ((*action).to_owned(), (*slug).to_owned()))
            .collect();
        assert_eq!(steps(done), expected, "{done}");
    };
    let set = |slug: &str, state: &str| with(&rule_set(slug, state), &json!({"kind": "rule_set"}));
    let list = |slug: &str| json!({"kind": "list", "slug": slug, "entries": [{"value": "ann"}]});
    let first = [set("a", "active"), list("l"), set("b", "draft")];
    let done = apply(&first).expect(200);
    expect(&done, &[("create", "l"), ("create", "b"), ("create", "a")]);
    let head = server.reader().head().position;
    assert_eq!(apply(&first).expect(200)["kept"], 3);
    assert_eq!(server.reader().head().position, head, "no record");
    let done = apply(&[set("a", "active"), set("b", "active"), list("m")]).expect(200);
    expect(
        &done,
        &[
            ("create", "m"),
            ("keep", "a"),
            ("change", "b"),
            ("delete", "l"),
        ],
    );
    assert_eq!(done["settings"][2]["fields"], json!(["state"]));
    // A state and entries that a file does not say stay as they are.
    let silent = |slug: &str| with(&set(slug, "active"), &json!({"state": null}));
    let declared = json!({"kind": "list", "slug": "m"});
    assert_eq!(
        apply(&[silent("a"), silent("b"), declared]).expect(200)["kept"],
        3
    );
    // What is wrong changes nothing.
    let head = server.reader().head().position;
    let active =
        |slugs: &[&str]| -> Vec<Value> { slugs.iter().map(|slug| set(slug, "active")).collect() };
    let error = apply(&active(&["a", "b", "c", "d", "e"])).expect(400)["error"].clone();
    assert_eq!(error["param"], "settings[4].state", "{error}");
    let mut wrong = set("w", "draft");
    wrong["rules"][0]["when"] = json!("amount >");
    let error = apply(&[list("m"), wrong]).expect(400)["error"].clone();
    assert_eq!(error["param"], "settings[1].rules[0].when", "{error}");
    assert_eq!(server.reader().head().position, head, "nothing is changed");
    // A set takes the place of another one where there is no room for both.
    apply(&active(&["a", "b", "c", "d"])).expect(200);
    let done = apply(&[
        set("e", "active"),
        set("f", "active"),
        set("b", "active"),
        set("c", "active"),
        set("d", "retired"),
    ]);
    expect(
        &done.expect(200),
        &[
            ("change", "d"),
            ("delete", "a"),
            ("create", "e"),
            ("create", "f"),
            ("keep", "b"),
            ("keep", "c"),
        ],
    );
    let done = apply(&[list("n")]).expect(200);
    assert_eq!((&done["deleted"], &done["created"]), (&json!(5), &json!(1)));
    assert_eq!(apply(&[]).expect(200)["deleted"], 1);
}

#[test]
fn only_the_platform_sees_and_changes_rules_and_lists() {
    let server = Fixture::with_subscriptions();
    let set = server
        .post(RULE_SETS, &rule_set("one", "draft"))
        .expect(201);
    let list = server.post(LISTS, &json!({"slug": "one"})).expect(201);
    let owner = server.token("ann", "write");
    for (object, nouns, body) in [
        (&set, RULE_SETS, rule_set("two", "draft")),
        (&list, LISTS, json!({"slug": "two"})),
    ] {
        let path = path_of(object);
        let answers = [
            server.post_as(&owner, nouns, &body),
            server.get_as(&owner, nouns),
            server.get_as(&owner, &path),
            write(
                &server,
                &owner,
                "PATCH",
                &path,
                None,
                &json!({"slug": "mine"}),
            ),
            write(&server, &owner, "DELETE", &path, None, &json!({})),
        ];
        for answer in answers {
            assert_eq!(answer.code(), "platform_only");
        }
        let setting = server.get_as(&owner, &format!("/v1/settings/{}", id(object)));
        assert_eq!(setting.code(), "resource_not_found");
        let kind = object["object"].as_str().expect("a kind");
        let file = json!({"settings": [with(&body, &json!({"kind": kind}))]});
        let applied = server.post_as(&owner, "/v1/settings/apply", &file);
        assert_eq!(applied.code(), "platform_only");
    }
}
