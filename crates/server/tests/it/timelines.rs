//! The timelines of accounts and owners: who changed what, and what it was afterwards.

use serde_json::{Value, json};

use crate::fixture::Fixture;
use crate::owners::{patch, patch_as};

fn entries<'a>(list: &'a Value, kind: &str) -> Vec<&'a Value> {
    let all = list["data"].as_array().expect("a list").iter();
    all.filter(|entry| entry["type"] == kind).collect()
}

/// The commands of a timeline with the owners who sent them.
fn commands(list: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let requests = entries(list, "request").into_iter();
    requests
        .map(|entry| (text(&entry["command"]), text(&entry["actor"]["owner"])))
        .collect()
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    let owned = |(command, owner): &(&str, &str)| ((*command).to_owned(), (*owner).to_owned());
    expected.iter().map(owned).collect()
}

#[test]
fn an_account_tells_who_changed_it_and_what_it_was_then() {
    let mut server = Fixture::start();
    let ann = server.wallet("ann", 100);
    let anns = server.token("ann", "write");
    let path = format!("/v1/accounts/{ann}");
    let text = json!({"description": "for holidays", "metadata": {"colour": "red"}});
    patch_as(&server, &anns, &path, &text).expect(200);
    server
        .post(&format!("{path}/freeze"), &json!({}))
        .expect(200);
    // What is refused changes nothing.
    server
        .post(&format!("{path}/freeze"), &json!({}))
        .expect(409);
    patch(&server, &path, &json!({"description": null})).expect(200);
    server
        .post(&format!("{path}/unfreeze"), &json!({}))
        .expect(200);
    let whole = server.get(&format!("{path}/timeline")).expect(200);
    assert_eq!(
        commands(&whole),
        pairs(&[
            ("open_account", "platform"),
            ("update", "ann"),
            ("freeze_account", "platform"),
            ("update", "platform"),
            ("unfreeze_account", "platform"),
        ])
    );
    let types: Vec<&Value> = entries(&whole, "decision")
        .iter()
        .map(|one| &one["event_type"])
        .collect();
    assert_eq!(
        types,
        [
            "account.opened",
            "account.updated",
            "account.frozen",
            "account.updated",
            "account.unfrozen"
        ]
    );
    // The top-up between is no entry.
    assert!(entries(&whole, "posting").is_empty());
    let changes: Vec<(&Value, &Value, &Value, &Value)> = entries(&whole, "change")
        .into_iter()
        .map(|entry| &entry["object"])
        .map(|account| {
            (
                &account["status"],
                &account["revision"],
                &account["description"],
                &account["metadata"],
            )
        })
        .collect();
    let (open, frozen, none) = (json!("open"), json!("frozen"), Value::Null);
    let (holidays, red, empty) = (json!("for holidays"), json!({"colour": "red"}), json!({}));
    let (one, two, three) = (json!(1), json!(2), json!(3));
    assert_eq!(
        changes,
        [
            (&open, &one, &none, &empty),
            (&open, &two, &holidays, &red),
            (&frozen, &two, &holidays, &red),
            (&frozen, &three, &none, &red),
            (&open, &three, &none, &red),
        ]
    );
    // Page by page.
    let mut paged = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = server
            .get(&format!("{path}/timeline?limit=2{cursor}"))
            .expect(200);
        paged.extend(page["data"].as_array().expect("a list").clone());
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&starting_after={next}"),
            None => break,
        }
    }
    assert_eq!(json!(paged), whole["data"]);
    // The owner sees its own keys, and nobody else's; a stranger sees nothing.
    let seen = server
        .get_as(&anns, &format!("{path}/timeline"))
        .expect(200);
    let keys: Vec<bool> = entries(&seen, "request")
        .iter()
        .map(|entry| entry["actor"]["api_key"].is_string())
        .collect();
    assert_eq!(keys, [false, true, false, false, false]);
    let stranger = server.token("eve", "read");
    server
        .get_as(&stranger, &format!("{path}/timeline"))
        .expect(404);
    server.restart();
    assert_eq!(server.get(&format!("{path}/timeline")).expect(200), whole);
}

#[test]
fn an_owner_tells_who_changed_it_and_what_was_known_of_it_then() {
    let server = Fixture::start();
    let made = json!({"name": "acme", "kind": "company"});
    server.post("/v1/owners", &made).expect(201);
    let token = server.token("acme", "write");
    let change = json!({"status": "inactive", "external_id": "crm-7"});
    patch(&server, "/v1/owners/acme", &change).expect(200);
    patch_as(
        &server,
        &token,
        "/v1/owners/acme",
        &json!({"description": "a shop"}),
    )
    .expect(200);
    let path = "/v1/owners/acme/timeline";
    let whole = server.get_as(&token, path).expect(200);
    assert_eq!(
        commands(&whole),
        pairs(&[
            ("create_owner", "platform"),
            ("update", "platform"),
            ("update", "acme")
        ])
    );
    let known: Vec<(&Value, &Value, &Value)> = entries(&whole, "change")
        .into_iter()
        .map(|entry| &entry["object"])
        .map(|owner| {
            (
                &owner["status"],
                &owner["external_id"],
                &owner["description"],
            )
        })
        .collect();
    let (active, inactive, none) = (json!("active"), json!("inactive"), Value::Null);
    let (crm, shop) = (json!("crm-7"), json!("a shop"));
    assert_eq!(
        known,
        [
            (&active, &none, &none),
            (&inactive, &crm, &none),
            (&inactive, &crm, &shop)
        ]
    );
    // One that was only named, and the platform itself.
    server.account("named", "wallet");
    let named = server.get("/v1/owners/named/timeline").expect(200);
    assert_eq!(commands(&named), pairs(&[("open_account", "platform")]));
    assert!(commands(&server.get("/v1/owners/platform/timeline").expect(200)).is_empty());
    // An event of another owner is like an invented one.
    let foreign = named["data"][0]["event"].as_str().expect("an event");
    let refused = |event: &str| {
        let answer = server.get_as(&token, &format!("{path}?starting_after={event}"));
        let error = answer.expect(400)["error"].clone();
        (error["code"].clone(), error["message"].clone())
    };
    assert_eq!(refused(foreign), refused("evt_00000000000000000000000000"));
    for name in ["named", "platform", "invented"] {
        let path = format!("/v1/owners/{name}/timeline");
        let error = server.get_as(&token, &path).expect(404)["error"].clone();
        assert_eq!(error["code"], "resource_not_found");
    }
}
