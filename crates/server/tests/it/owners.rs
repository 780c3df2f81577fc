//! Owners as objects, and updates of what accounts, payments and owners say.

use serde_json::{Value, json};
use tributary_ledger as ledger;

use crate::client::{Answer, send, until};
use crate::fixture::{Fixture, id, pay};
use crate::grpc::messages::command::Body;
use crate::grpc::messages::{self, OwnerKind, OwnerStatus, update};
use crate::grpc::{batch, block, command, platform, start};

fn patch_key(server: &Fixture, token: &str, path: &str, key: &str, body: &Value) -> Answer {
    let authorization = format!("Bearer {token}");
    let headers = [
        ("Authorization", authorization.as_str()),
        ("Idempotency-Key", key),
        ("Content-Type", "application/json"),
    ];
    send(
        server.addr,
        "PATCH",
        path,
        &headers,
        body.to_string().as_bytes(),
    )
}

pub(crate) fn patch_as(server: &Fixture, token: &str, path: &str, body: &Value) -> Answer {
    patch_key(server, token, path, &server.new_key(), body)
}

pub(crate) fn patch(server: &Fixture, path: &str, body: &Value) -> Answer {
    patch_as(server, &server.platform, path, body)
}

/// An update that gives the owner another description.
pub(crate) fn update_of(owner: ledger::OwnerId) -> ledger::Body {
    ledger::Body::Update(Box::new(ledger::Update {
        object: ledger::Updated::Owner(owner, ledger::ProfileChange::default()),
        description: true,
        metadata: false,
    }))
}

fn names(list: &Value) -> Vec<&str> {
    let items = list["data"].as_array().expect("a list");
    items
        .iter()
        .map(|item| item["name"].as_str().expect("a name"))
        .collect()
}

#[test]
fn an_owner_is_made_explicitly_or_by_being_named_and_is_the_same_afterwards() {
    let mut server = Fixture::start();
    let made = server.post(
        "/v1/owners",
        &json!({"name": "acme", "kind": "company", "external_id": "crm-7", "description": "A shop",
            "metadata": {"tier": "gold"}}),
    );
    let made = made.expect(201);
    for (field, value) in [
        ("object", json!("owner")),
        ("name", json!("acme")),
        ("kind", json!("company")),
        ("status", json!("active")),
        ("external_id", json!("crm-7")),
        ("description", json!("A shop")),
        ("metadata", json!({"tier": "gold"})),
        ("revision", json!(1)),
    ] {
        assert_eq!(made[field], value, "{field}");
    }
    let account = server.account("acme", "merchant");
    server.account("named", "wallet");
    assert_eq!(server.get("/v1/owners/acme").expect(200), made);
    let named = server.get("/v1/owners/named").expect(200);
    assert_eq!(
        (&named["kind"], &named["revision"]),
        (&json!(null), &json!(1))
    );
    let again = server.post("/v1/owners", &json!({"name": "named"}));
    assert_eq!(
        (again.status, again.code()),
        (409, "owner_exists".to_owned())
    );
    let updated = patch(
        &server,
        "/v1/owners/named",
        &json!({"kind": "person", "external_id": "crm-8"}),
    );
    let updated = updated.expect(200);
    assert_eq!(
        (
            &updated["kind"],
            &updated["external_id"],
            &updated["revision"]
        ),
        (&json!("person"), &json!("crm-8"), &json!(2))
    );
    server.restart();
    assert_eq!(server.get("/v1/owners/named").expect(200), updated);
    assert_eq!(server.get("/v1/owners/acme").expect(200), made);
    let owner = &server.get(&format!("/v1/accounts/{account}")).expect(200)["owner"];
    assert_eq!(owner, "acme");
}

#[test]
fn owners_are_listed_and_filtered_and_a_key_of_an_owner_sees_its_own() {
    let server = Fixture::start();
    for (name, kind) in [("a", "person"), ("b", "company"), ("c", "person")] {
        let body = json!({"name": name, "kind": kind, "external_id": format!("crm-{name}")});
        server.post("/v1/owners", &body).expect(201);
    }
    server.account("d", "wallet");
    patch(&server, "/v1/owners/c", &json!({"status": "inactive"})).expect(200);
    let token = server.token("b", "write");
    for (query, all, own) in [
        ("", vec!["d", "c", "b", "a", "platform"], vec!["b"]),
        ("?kind=person", vec!["c", "a"], vec![]),
        ("?kind=company", vec!["b"], vec!["b"]),
        ("?status=inactive", vec!["c"], vec![]),
        ("?external_id=crm-a", vec!["a"], vec![]),
        ("?external_id=crm-b", vec!["b"], vec!["b"]),
        ("?external_id=nobody", vec![], vec![]),
        ("?external_id=crm-c&status=active", vec![], vec![]),
    ] {
        let path = format!("/v1/owners{query}");
        let seen = server.get(&path).expect(200);
        assert_eq!(names(&seen), all, "{query}");
        let seen = server.get_as(&token, &path).expect(200);
        assert_eq!(names(&seen), own, "{query}");
    }
    for (query, expected) in [
        ("?starting_after=c&limit=2", vec!["b", "a"]),
        ("?ending_before=a&limit=2", vec!["c", "b"]),
        ("?ending_before=platform&limit=2", vec!["b", "a"]),
        ("?starting_after=platform", vec![]),
    ] {
        let seen = server.get(&format!("/v1/owners{query}")).expect(200);
        assert_eq!(names(&seen), expected, "{query}");
    }
    let first = server.get("/v1/owners?limit=3").expect(200);
    let cursor = first["next_cursor"].as_str().expect("it goes on");
    let rest = server.get(&format!("/v1/owners?starting_after={cursor}"));
    assert_eq!(names(&rest.expect(200)), ["a", "platform"]);
    // A name that is not the caller's to see is answered like one that nobody has.
    for name in ["a", "platform", "nobody", "not%20a%20name"] {
        let answer = server.get_as(&token, &format!("/v1/owners/{name}"));
        assert_eq!(answer.status, 404, "{name}");
    }
    for (name, query) in [("a", "starting_after"), ("nobody", "ending_before")] {
        let answer = server.get_as(&token, &format!("/v1/owners?{query}={name}"));
        assert_eq!(
            (answer.status, answer.code()),
            (400, "parameter_invalid".to_owned())
        );
    }
}

#[test]
fn an_update_keeps_what_is_left_out_removes_null_and_replaces_metadata_whole() {
    let mut server = Fixture::start();
    let body = json!({"owner": "ann", "currency": "EUR", "description": "first",
        "metadata": {"a": "1", "b": "2"}});
    let account = id(&server.post("/v1/accounts", &body).expect(201));
    let (ann, shop) = (server.wallet("ann", 50), server.account("shop", "merchant"));
    let mut body = pay(&ann, &shop, 10);
    body["description"] = json!("first");
    body["metadata"] = json!({"a": "1", "b": "2"});
    let payment = id(&server.post("/v1/payments", &body).expect(201));
    for path in [
        format!("/v1/accounts/{account}"),
        format!("/v1/payments/{payment}"),
    ] {
        for (change, description, metadata, revision) in [
            (json!({}), json!("first"), json!({"a": "1", "b": "2"}), 1),
            (
                json!({"description": "second"}),
                json!("second"),
                json!({"a": "1", "b": "2"}),
                2,
            ),
            (
                json!({"metadata": {"c": "3"}}),
                json!("second"),
                json!({"c": "3"}),
                3,
            ),
            (
                json!({"description": null}),
                json!(null),
                json!({"c": "3"}),
                4,
            ),
            (
                json!({"metadata": null, "description": "last"}),
                json!("last"),
                json!({}),
                5,
            ),
            (json!({"metadata": {}}), json!("last"), json!({}), 6),
        ] {
            if change == json!({}) {
                let answer = patch(&server, &path, &change);
                assert_eq!(
                    (answer.status, answer.code()),
                    (400, "parameter_missing".to_owned())
                );
            } else {
                let answer = patch(&server, &path, &change).expect(200);
                assert_eq!(answer["revision"], revision);
                assert_eq!(answer["description"], description, "{change}");
            }
            let object = server.get(&path).expect(200);
            assert_eq!(object["description"], description, "{path} {change}");
            assert_eq!(object["metadata"], metadata, "{path} {change}");
            assert_eq!(object["revision"], revision);
        }
    }
    server.restart();
    let object = server.get(&format!("/v1/payments/{payment}")).expect(200);
    assert_eq!(
        (&object["description"], &object["revision"]),
        (&json!("last"), &json!(6))
    );
    let list = server.get("/v1/accounts?owner=ann").expect(200);
    let mut listed = list["data"].as_array().expect("a list").iter();
    let listed = listed.find(|one| one["id"] == account.as_str());
    assert_eq!(listed.expect("it is there")["description"], "last");
}

/// What was delivered once is delivered the same for ever, and the answer to an update is the same when it is repeated.
#[test]
fn events_and_answers_show_what_an_object_said_then() {
    let server = Fixture::start();
    let body = json!({"owner": "ann", "currency": "EUR", "description": "first"});
    let account = id(&server.post("/v1/accounts", &body).expect(201));
    let path = format!("/v1/accounts/{account}");
    let freeze = |action: &str| {
        server
            .post(&format!("{path}/{action}"), &json!({}))
            .expect(200)
    };
    freeze("freeze");
    let second = json!({"description": "second"});
    let first_answer = patch_key(&server, &server.platform, &path, "change-1", &second).expect(200);
    let thawed = freeze("unfreeze");
    assert_eq!(thawed["description"], "second");
    patch(
        &server,
        &path,
        &json!({"description": "third", "metadata": {"k": "v"}}),
    )
    .expect(200);
    let repeated = patch_key(&server, &server.platform, &path, "change-1", &second);
    assert_eq!(repeated.header("idempotent-replayed"), Some("true"));
    assert_eq!(repeated.expect(200), first_answer);
    let other = patch_key(
        &server,
        &server.platform,
        &path,
        "change-1",
        &json!({"description": "x"}),
    );
    assert_eq!(
        (other.status, other.code()),
        (422, "idempotency_key_reused".to_owned())
    );
    let events = server.get("/v1/events?limit=100").expect(200);
    let told: Vec<(&str, &Value, &Value)> = events["data"]
        .as_array()
        .expect("a list")
        .iter()
        .rev()
        .filter(|event| event["data"]["object"]["id"] == account.as_str())
        .map(|event| {
            let object = &event["data"]["object"];
            let kind = event["type"].as_str().expect("a type");
            (kind, &object["description"], &object["revision"])
        })
        .collect();
    let expected = [
        ("account.opened", &json!("first"), &json!(1)),
        ("account.frozen", &json!("first"), &json!(1)),
        ("account.updated", &json!("second"), &json!(2)),
        ("account.unfrozen", &json!("second"), &json!(2)),
        ("account.updated", &json!("third"), &json!(3)),
    ];
    assert_eq!(told, expected);
}

#[test]
fn a_payment_is_updated_by_whoever_asked_for_it_and_its_timeline_says_so() {
    let server = Fixture::start();
    let (ann, shop) = (server.wallet("ann", 50), server.account("shop", "merchant"));
    let (buyer, seller) = (server.token("ann", "write"), server.token("shop", "write"));
    let stranger = server.token("eve", "write");
    let payment = id(&server
        .post_as(&buyer, "/v1/payments", &pay(&ann, &shop, 10))
        .expect(201));
    let path = format!("/v1/payments/{payment}");
    let change = json!({"description": "for ann"});
    for (token, status) in [
        (&seller, 403),
        (&stranger, 404),
        (&buyer, 200),
        (&server.platform, 200),
    ] {
        assert_eq!(patch_as(&server, token, &path, &change).status, status);
    }
    for token in [&buyer, &seller] {
        let seen = server.get_as(token, &path).expect(200);
        assert_eq!(
            (&seen["description"], &seen["revision"]),
            (&json!("for ann"), &json!(3))
        );
        let event = seen["last_event"].as_str().expect("an event");
        let event = server
            .get_as(token, &format!("/v1/events/{event}"))
            .expect(200);
        assert_eq!(event["type"], "payment.updated");
    }
    let timeline = server.get(&format!("{path}/timeline")).expect(200);
    let entries = timeline["data"].as_array().expect("a list");
    let updates = entries.iter().filter(|entry| entry["command"] == "update");
    assert_eq!(updates.count(), 2);
    let changes = entries.iter().filter(|entry| entry["type"] == "change");
    let texts: Vec<&Value> = changes
        .map(|entry| &entry["object"]["description"])
        .collect();
    assert_eq!(texts, ["for ann", "for ann"]);
    let refund = json!({"payment": payment, "amount": 10});
    server.post("/v1/refunds", &refund).expect(201);
    let seen = server.get(&path).expect(200);
    assert_eq!(
        (&seen["status"], &seen["description"]),
        (&json!("refunded"), &json!("for ann"))
    );
    let list = server.get("/v1/payments?kind=pay").expect(200);
    assert_eq!(list["data"][0]["description"], "for ann");
}

/// A payment that failed when its turn came keeps its reason, whatever is said about it later.
#[test]
fn a_failed_payment_keeps_its_reason_after_an_update() {
    let server = Fixture::start();
    let (ann, shop) = (server.wallet("ann", 5), server.account("shop", "merchant"));
    let at_once = server.post("/v1/payments", &pay(&ann, &shop, 10)).json();
    let mut queued = pay(&ann, &shop, 10);
    queued["queue"] = json!({});
    let queued = id(&server.post("/v1/payments", &queued).expect(202));
    let queued = format!("/v1/payments/{queued}");
    until("the payment fails", || {
        (server.get(&queued).expect(200)["status"] == "failed").then_some(())
    });
    let at_once = at_once["error"]["payment"]
        .as_str()
        .expect("an id")
        .to_owned();
    for path in [queued, format!("/v1/payments/{at_once}")] {
        patch(&server, &path, &json!({"description": "why?"})).expect(200);
        let seen = server.get(&path).expect(200);
        assert_eq!(seen["failure"]["code"], "insufficient_funds");
        assert_eq!(
            (&seen["status"], &seen["description"]),
            (&json!("failed"), &json!("why?"))
        );
    }
}

#[test]
fn an_owner_says_something_of_itself_and_only_the_platform_says_what_it_is() {
    let server = Fixture::start();
    let token = server.token("ann", "write");
    let updated = patch_as(
        &server,
        &token,
        "/v1/owners/ann",
        &json!({"metadata": {"lang": "de"}}),
    );
    assert_eq!(updated.expect(200)["metadata"], json!({"lang": "de"}));
    for (path, body, status, code) in [
        (
            "/v1/owners/ann",
            json!({"kind": "company"}),
            403,
            "platform_only",
        ),
        (
            "/v1/owners/ann",
            json!({"status": "active", "description": "x"}),
            403,
            "platform_only",
        ),
        (
            "/v1/owners/platform",
            json!({"description": "x"}),
            404,
            "resource_not_found",
        ),
        (
            "/v1/owners/nobody",
            json!({"description": "x"}),
            404,
            "resource_not_found",
        ),
        ("/v1/owners/ann", json!({}), 400, "parameter_missing"),
        (
            "/v1/owners/ann",
            json!({"name": "bob"}),
            400,
            "parameter_unknown",
        ),
    ] {
        let answer = patch_as(&server, &token, path, &body);
        assert_eq!(
            (answer.status, answer.code()),
            (status, code.to_owned()),
            "{path} {body}"
        );
    }
    let answer = server.post_as(&token, "/v1/owners", &json!({"name": "bob"}));
    assert_eq!(
        (answer.status, answer.code()),
        (403, "platform_only".to_owned())
    );
    for (field, value) in [("kind", "person"), ("status", "inactive")] {
        let answer = patch(&server, "/v1/owners/platform", &json!({ (field): value }));
        assert_eq!(
            (answer.status, answer.code()),
            (400, "parameter_invalid".to_owned())
        );
    }
    let platform = patch(
        &server,
        "/v1/owners/platform",
        &json!({"description": "us"}),
    )
    .expect(200);
    assert_eq!(
        (&platform["kind"], &platform["description"]),
        (&json!("platform"), &json!("us"))
    );
    let read_only = server.token("ann", "read");
    let answer = patch_as(
        &server,
        &read_only,
        "/v1/owners/ann",
        &json!({"description": "x"}),
    );
    assert_eq!(
        (answer.status, answer.code()),
        (403, "read_only_key".to_owned())
    );
}

#[test]
fn owners_and_updates_go_in_batches() {
    let server = Fixture::start();
    let account = server.account("ann", "wallet");
    let (bob, shop) = (server.wallet("bob", 9), server.account("shop", "merchant"));
    let payment = id(&server
        .post("/v1/payments", &pay(&bob, &shop, 1))
        .expect(201));
    let commands = json!([
        {"idempotency_key": "1", "owner": {"name": "acme", "kind": "company"}},
        {"idempotency_key": "2", "update_account": {"account": account, "description": "d"}},
        {"idempotency_key": "3", "update_payment": {"payment": payment, "metadata": {"k": "v"}}},
        {"group": [
            {"idempotency_key": "4", "update_owner": {"owner": "ann", "external_id": "x"}},
            {"idempotency_key": "5", "update_owner": {"owner": "bob", "external_id": "x"}},
        ]},
        {"idempotency_key": "6", "update_owner": {"owner": "nobody", "external_id": "x"}},
    ]);
    let done = server.post_raw(
        &server.platform,
        "/v1/batches",
        None,
        commands.to_string().as_bytes(),
    );
    let done = done.expect(200);
    let results = done["results"].as_array().expect("results");
    let statuses: Vec<&Value> = results.iter().map(|result| &result["status"]).collect();
    assert_eq!(statuses, [201, 200, 200, 409, 409, 404]);
    assert_eq!(results[0]["result"]["name"], "acme");
    assert_eq!(results[1]["result"]["description"], "d");
    assert_eq!(results[2]["result"]["metadata"], json!({"k": "v"}));
    assert_eq!(results[3]["error"]["code"], "group_aborted");
    assert_eq!(results[4]["error"]["code"], "owner_external_id_in_use");
    let ann = server.get("/v1/owners/ann").expect(200);
    assert_eq!(
        (&ann["external_id"], &ann["revision"]),
        (&json!(null), &json!(1))
    );
}

#[test]
fn owners_and_updates_go_over_grpc() {
    let server = start();
    let client = platform(&server);
    let account = server.account("ann", "wallet");
    let text = |mut command: messages::Command| {
        command.description = "over gRPC".to_owned();
        command
    };
    let create = messages::CreateOwner {
        name: "acme".to_owned(),
        kind: OwnerKind::Company.into(),
        external_id: "crm-1".to_owned(),
    };
    let of_owner = |update| messages::Update {
        object: Some(update::Object::Owner("acme".to_owned())),
        ..update
    };
    let of_account = messages::Update {
        object: Some(update::Object::Account(block(&account))),
        ..messages::Update::default()
    };
    let submit = |commands| {
        let answer = client.submit(batch(commands)).expect("it is answered");
        let codes = answer.results.into_iter().map(|result| result.code);
        codes.collect::<Vec<_>>()
    };
    let created = submit(vec![
        text(command("1", Body::CreateOwner(create))),
        text(command("2", Body::Update(of_account.clone()))),
    ]);
    assert_eq!(created, ["", ""]);
    let acme = server.get("/v1/owners/acme").expect(200);
    assert_eq!(
        (&acme["kind"], &acme["description"]),
        (&json!("company"), &json!("over gRPC"))
    );
    let path = format!("/v1/accounts/{account}");
    assert_eq!(server.get(&path).expect(200)["description"], "over gRPC");
    let updated = submit(vec![
        command(
            "3",
            Body::Update(of_owner(messages::Update {
                status: OwnerStatus::Inactive.into(),
                clear_external_id: true,
                clear_description: true,
                ..messages::Update::default()
            })),
        ),
        command(
            "4",
            Body::Update(messages::Update {
                clear_description: true,
                ..of_account.clone()
            }),
        ),
    ]);
    assert_eq!(updated, ["", ""]);
    let acme = server.get("/v1/owners/acme").expect(200);
    assert_eq!(
        (
            &acme["status"],
            &acme["external_id"],
            &acme["description"],
            &acme["revision"]
        ),
        (&json!("inactive"), &json!(null), &json!(null), &json!(2))
    );
    assert_eq!(server.get(&path).expect(200)["description"], json!(null));
    for wrong in [
        command("5", Body::Update(of_account.clone())),
        command("6", Body::Update(messages::Update::default())),
        text(command(
            "7",
            Body::Update(messages::Update {
                clear_description: true,
                ..of_account
            }),
        )),
    ] {
        assert!(client.submit(batch(vec![wrong])).is_err());
    }
}

/// Who may see an object hears of its updates, and nobody else does: an update has no legs to find them by.
#[test]
fn an_update_is_told_to_those_who_may_see_the_object() {
    let server = Fixture::with_subscriptions();
    let (ann, shop) = (server.wallet("ann", 50), server.account("shop", "merchant"));
    let tokens = ["ann", "shop", "eve"].map(|owner| server.token(owner, "write"));
    let payment = server.post_as(&tokens[0], "/v1/payments", &pay(&ann, &shop, 10));
    let payment = id(&payment.expect(201));
    let wanted = json!({"events": ["owner.#", "account.updated", "payment.updated"]});
    let subscribed = tokens.each_ref().map(|token| {
        let made = server
            .post_as(token, "/v1/subscriptions", &wanted)
            .expect(201);
        format!("/v1/subscriptions/{}", id(&made))
    });
    let change = json!({"description": "new"});
    for path in [
        "/v1/owners/ann".to_owned(),
        format!("/v1/accounts/{ann}"),
        format!("/v1/payments/{payment}"),
        format!("/v1/accounts/{shop}"),
    ] {
        patch(&server, &path, &change).expect(200);
    }
    // Refused: told to the platform alone.
    server
        .post("/v1/owners", &json!({"name": "ann"}))
        .expect(409);
    let expected = [
        vec!["owner.updated", "account.updated", "payment.updated"],
        vec!["payment.updated", "account.updated"],
        vec![],
    ];
    for ((token, path), expected) in tokens.iter().zip(&subscribed).zip(expected) {
        let ask = json!({"max": 10, "wait_seconds": 0});
        let mut types: Vec<String> = Vec::new();
        until("the events arrive", || {
            let taken = server
                .post_as(token, &format!("{path}/receive"), &ask)
                .expect(200);
            let deliveries = taken["data"].as_array().expect("deliveries").clone();
            let kind = |one: &Value| one["event"]["type"].as_str().expect("a type").to_owned();
            types.extend(deliveries.iter().map(kind));
            (types.len() >= expected.len()).then_some(())
        });
        assert_eq!(types, expected, "{path}");
    }
}
