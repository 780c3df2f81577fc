//! Lists of texts: their forms, and how entries are added, replaced and removed.

use serde_json::{Value, json};

use crate::client::{Answer, until};
use crate::fixture::{Fixture, id};
use crate::rule_sets::{LISTS, delete, patch, path_of};
use crate::settings::{is_replayed, write};

fn values(list: &Value) -> Vec<&str> {
    let entries = list["entries"].as_array().expect("entries").iter();
    entries
        .map(|entry| entry["value"].as_str().expect("a text"))
        .collect()
}

#[test]
fn a_list_is_made_and_its_entries_are_added_replaced_and_removed() {
    let server = Fixture::with_subscriptions();
    let body = json!({"slug": "blocked", "entries": [
        {"value": "ann", "until": "2026-12-01T01:00:00.5+01:00", "note": "asked to"},
        {"value": "bob"},
    ]});
    let made = server.post(LISTS, &body).expect(201);
    assert!(id(&made).starts_with("list_"), "{made}");
    let expected = json!({
        "id": id(&made), "object": "list", "slug": "blocked", "managed_by": null, "revision": 1,
        "entries": [
            {"value": "ann", "until": "2026-12-01T00:00:00.5Z", "note": "asked to"},
            {"value": "bob", "until": null, "note": null},
        ],
        "created": made["created"], "updated": made["created"],
    });
    assert_eq!(made, expected);
    assert_eq!(server.get(&path_of(&made)).expect(200), expected);
    let change = json!({"add": [{"value": "cid"}, {"value": "ann", "note": "again"}], "remove": ["bob", "nobody"]});
    let changed = patch(&server, &made, &change).expect(200);
    assert_eq!(values(&changed), ["ann", "cid"]);
    assert_eq!(
        changed["entries"][0],
        json!({"value": "ann", "until": null, "note": "again"})
    );
    let renamed = patch(&server, &made, &json!({"slug": "denied"})).expect(200);
    assert_eq!(
        (&renamed["slug"], values(&renamed)),
        (&json!("denied"), vec!["ann", "cid"])
    );
    // A repetition adds nothing a second time, whatever was changed since.
    let add = json!({"add": [{"value": "dan"}]});
    let path = path_of(&made);
    let send = |key| write(&server, &server.platform, "PATCH", &path, Some(key), &add);
    send("k").expect(200);
    patch(&server, &made, &json!({"remove": ["dan"]})).expect(200);
    let again = send("k");
    assert!(is_replayed(&again));
    assert_eq!(
        values(&again.expect(200)),
        ["ann", "cid", "dan"],
        "the first answer"
    );
    assert_eq!(values(&server.get(&path).expect(200)), ["ann", "cid"]);
    let overtaken = patch(&server, &made, &json!({"revision": 1, "remove": ["ann"]}));
    assert_eq!(overtaken.code(), "setting_conflict");
    let replaced = patch(&server, &made, &json!({"entries": [{"value": "eve"}]})).expect(200);
    assert_eq!(values(&replaced), ["eve"]);
    let empty = server.post(LISTS, &json!({"slug": "empty"})).expect(201);
    assert_eq!(empty["entries"], json!([]));
    let page = server.get(LISTS).expect(200);
    assert_eq!(page["data"], json!([empty, replaced]));
    let revisions = server
        .get(&format!("/v1/settings/{}/revisions", id(&made)))
        .expect(200);
    let first = revisions["data"]
        .as_array()
        .expect("a list")
        .last()
        .cloned();
    assert_eq!(first.expect("the first one")["definition"], made);
    assert_eq!(delete(&server, &made).expect(200)["object"], "list");
    assert_eq!(server.get(&path).status, 404);
}

#[test]
fn entries_that_many_add_at_once_are_all_there() {
    let server = Fixture::start();
    let list = server.post(LISTS, &json!({"slug": "busy"})).expect(201);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (server, list) = (&server, &list);
            scope.spawn(move || {
                for at in 0..5 {
                    let add = json!({"add": [{"value": format!("{thread}-{at}")}]});
                    until("the entry is added", || {
                        (patch(server, list, &add).status == 200).then_some(())
                    });
                }
            });
        }
    });
    let list = server.get(&path_of(&list)).expect(200);
    assert_eq!(values(&list).len(), 20, "{list}");
}

#[test]
fn what_is_wrong_with_a_list_is_said_with_its_field() {
    let server = Fixture::start();
    let entries = |count: usize| -> Vec<Value> {
        (0..count)
            .map(|at| json!({"value": at.to_string()}))
            .collect()
    };
    let cases = [
        (json!([{"value": ""}]), "[0].value"),
        (json!([{"value": "a\nb"}]), "[0].value"),
        (
            json!([{"value": "ok"}, {"value": "v".repeat(257)}]),
            "[1].value",
        ),
        (json!([{"value": "same"}, {"value": "same"}]), "[1].value"),
        (json!([{"note": "no value"}]), "[0].value"),
        (json!([{"value": "v", "note": "n".repeat(257)}]), "[0].note"),
        (json!([{"value": "v", "until": "tomorrow"}]), "[0].until"),
        (json!([{"value": "v", "until_ms": 5}]), "[0].until_ms"),
        (json!(entries(1_001)), ""),
        (json!("ann"), ""),
    ];
    let list = server
        .post(LISTS, &json!({"slug": "one", "entries": entries(1_000)}))
        .expect(201);
    for (wrong, place) in cases {
        let check = |answer: Answer, field: &str| {
            let error = answer.expect(400)["error"].clone();
            assert_eq!(
                error["param"],
                format!("{field}{place}"),
                "{wrong}: {error}"
            );
        };
        check(
            server.post(LISTS, &json!({"slug": "two", "entries": wrong})),
            "entries",
        );
        check(patch(&server, &list, &json!({"entries": wrong})), "entries");
        check(patch(&server, &list, &json!({"add": wrong})), "add");
    }
    for (change, param) in [
        (json!({"entries": [], "add": []}), "entries"),
        (json!({"entries": [], "remove": ["1"]}), "entries"),
        (
            json!({"add": [{"value": "a"}], "remove": ["1", "a"]}),
            "remove[1]",
        ),
        (json!({"remove": vec!["1"; 1_001]}), "remove"),
        (json!({"add": [{"value": "one more"}]}), "entries"),
        (json!({"revision": 0}), "revision"),
    ] {
        let error = patch(&server, &list, &change).expect(400)["error"].clone();
        assert_eq!(error["param"], param, "{change}: {error}");
    }
    // An entry takes 270 bytes: {"value":"…"} and a comma.
    let long: Vec<Value> = (0..130)
        .map(|at| json!({"value": format!("{at:0>256}")}))
        .collect();
    let error = server
        .post(LISTS, &json!({"slug": "long", "entries": long}))
        .expect(400)["error"]
        .clone();
    assert_eq!(error["param"], "entries");
    let bytes = serde_json::to_vec(&json!({"entries": long}))
        .expect("JSON")
        .len();
    let excess = format!("{} bytes too many", bytes - 32 * 1_024);
    assert!(
        error["message"].as_str().expect("a text").contains(&excess),
        "{error}"
    );
}
