//! The timelines of accounts and owners: who changed what, and what it was afterwards.

use serde_json::{Value, json};
use tributary_api::intake::{IdentityKind, message_key};
use tributary_engine::IdKind;
use tributary_ledger::{
    Actor, Body, Capture, Command, Origin, PayeeAmounts, PaymentId, ReplyAddress, SettingId,
    SettingKind,
};

use crate::fixture::{Fixture, hold, id};
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

#[test]
fn a_payment_tells_by_which_message_of_which_binding_it_was_changed() {
    let server = Fixture::start();
    let ann = server.wallet("ann", 100);
    let shop = server.account("shop", "merchant");
    let anns = server.token("ann", "write");
    let payment = id(&server
        .post("/v1/payments", &hold(&ann, &shop, 40))
        .expect(201));
    let reader = server.reader();
    let position = reader.ids().decode(IdKind::Payment, &payment);
    let reply = ReplyAddress::new("replies", Some("order-7")).ok();
    for (at, reply) in [reply, None].into_iter().enumerate() {
        let origin = Origin::new(SettingId(7), 3, [0xab; 32], 2, reply);
        let command = Command {
            key: message_key("orders", IdentityKind::Field, "", &[at as u8]),
            actor: Actor::SYSTEM,
            linked: false,
            effective_at: None,
            text: None,
            origin: origin.map(Box::new),
            assessment: None,
            body: Body::Capture(Capture {
                payment: PaymentId(position.expect("its id")),
                amount: Some(10),
                is_final: false,
                splits: PayeeAmounts::default(),
            }),
        };
        let done = server.engine.execute_blocking(vec![command]);
        done.expect("it is decided");
    }
    let path = format!("/v1/payments/{payment}/timeline");
    let seen = server.get(&path).expect(200);
    let origins: Vec<&Value> = entries(&seen, "request")
        .iter()
        .map(|entry| &entry["origin"])
        .collect();
    let expected = |reply_to: Value, correlation_id: Value| {
        json!({
            "binding": reader.ids().encode_setting(SettingKind::BINDING, SettingId(7)),
            "stream": null,
            "revision": 3,
            "message": "ab".repeat(32),
            "hops": 2,
            "reply_to": reply_to,
            "correlation_id": correlation_id,
        })
    };
    assert_eq!(
        origins,
        [
            &Value::Null,
            &expected(json!("replies"), json!("order-7")),
            &expected(Value::Null, Value::Null),
        ]
    );
    // It is the platform's binding: the payer does not see it.
    let seen = server.get_as(&anns, &path).expect(200);
    let hidden = entries(&seen, "request");
    assert_eq!(hidden.len(), 3);
    assert!(hidden.iter().all(|entry| entry["origin"].is_null()));
}
