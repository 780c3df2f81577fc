//! Filters of lists: what they keep, what they leave out, and what an owner may not find with them.

use serde_json::{Value, json};

use crate::fixture::{Fixture, hold, id, pay};
use crate::owners::patch;

fn ids(list: &Value) -> Vec<String> {
    list["data"]
        .as_array()
        .expect("a list")
        .iter()
        .map(id)
        .collect()
}

struct Scene {
    server: Fixture,
    ann: String,
    bob: String,
    shop: String,
    /// Of 10 with metadata, 20 by bob, 30 held and captured, each to the shop; refused: 5,000 of ann.
    payments: [String; 4],
    /// Of the first and of the second payment.
    refunds: [String; 2],
}

fn scene() -> Scene {
    let server = Fixture::start();
    let (ann, bob) = (server.wallet("ann", 1_000), server.wallet("bob", 1_000));
    let shop = server.account("shop", "merchant");
    let mut first = pay(&ann, &shop, 10);
    first["metadata"] = json!({"order": "4711", "colour": "red"});
    let first = id(&server.post("/v1/payments", &first).expect(201));
    let second = id(&server
        .post("/v1/payments", &pay(&bob, &shop, 20))
        .expect(201));
    let third = id(&server
        .post("/v1/payments", &hold(&ann, &shop, 30))
        .expect(201));
    server
        .post(&format!("/v1/payments/{third}/capture"), &json!({}))
        .expect(200);
    let refused = server
        .post("/v1/payments", &pay(&ann, &shop, 5_000))
        .expect(402);
    let refused = refused["error"]["payment"]
        .as_str()
        .expect("an id")
        .to_owned();
    let refund = |payment: &str| {
        let body = json!({"payment": payment, "amount": 5});
        id(&server.post("/v1/refunds", &body).expect(201))
    };
    let refunds = [refund(&first), refund(&second)];
    Scene {
        server,
        ann,
        bob,
        shop,
        payments: [first, second, third, refused],
        refunds,
    }
}

#[test]
fn payments_are_found_by_amount_counterparty_and_metadata() {
    let Scene {
        server,
        ann,
        bob,
        shop,
        payments,
        ..
    } = scene();
    let [first, second, third, refused] = &payments;
    let found = |query: &str| {
        ids(&server
            .get(&format!("/v1/payments?kind=pay&{query}"))
            .expect(200))
    };
    for (query, expected) in [
        (
            "amount[gte]=20&amount[lte]=30".to_owned(),
            vec![third, second],
        ),
        ("amount[lte]=10".to_owned(), vec![first]),
        ("amount[gte]=31".to_owned(), vec![refused]),
        ("amount[gte]=31&amount[lte]=30".to_owned(), vec![]),
        (format!("counterparty={bob}"), vec![second]),
        (
            format!("counterparty={shop}"),
            vec![refused, third, second, first],
        ),
        (
            format!("account={ann}&counterparty={shop}"),
            vec![refused, third, first],
        ),
        (
            format!("account={shop}&counterparty={ann}&status=captured"),
            vec![third],
        ),
        // Both pay the shop, and neither the other.
        (format!("account={ann}&counterparty={bob}"), vec![]),
        ("metadata_key=order".to_owned(), vec![first]),
        (
            "metadata_key=order&metadata_value=4711".to_owned(),
            vec![first],
        ),
        ("metadata_key=order&metadata_value=4712".to_owned(), vec![]),
        ("metadata_key=size".to_owned(), vec![]),
    ] {
        let expected: Vec<String> = expected.into_iter().cloned().collect();
        assert_eq!(found(&query), expected, "{query}");
    }
    for (query, param) in [
        ("amount[gte]=1.5", "amount[gte]"),
        ("amount[lte]=-1", "amount[lte]"),
        ("amount[gte]=9007199254740992", "amount[gte]"),
        ("metadata_value=x", "metadata_key"),
        ("metadata_key=", "metadata_key"),
        (
            "metadata_key=12345678901234567890123456789012345678901",
            "metadata_key",
        ),
        ("counterparty=acct_x", "counterparty"),
        ("amount=5", "amount"),
    ] {
        let answer = server.get(&format!("/v1/payments?{query}"));
        assert_eq!(answer.status, 400, "{query}");
        assert_eq!(answer.json()["error"]["param"], param, "{query}");
    }
    // The present metadata counts.
    let path = format!("/v1/payments/{first}");
    let change = json!({"metadata": {"order": "4712"}});
    let changed = crate::client::send(
        server.addr,
        "PATCH",
        &path,
        &[
            ("Authorization", &format!("Bearer {}", server.platform)),
            ("Content-Type", "application/json"),
            ("Idempotency-Key", "change"),
        ],
        change.to_string().as_bytes(),
    );
    assert_eq!(changed.status, 200, "{}", changed.json());
    assert_eq!(
        found("metadata_key=order&metadata_value=4712"),
        vec![first.clone()]
    );
    assert!(found("metadata_key=order&metadata_value=4711").is_empty());
}

#[test]
fn refunds_are_listed_without_a_payment() {
    let Scene {
        server,
        ann,
        bob,
        shop,
        payments,
        refunds,
    } = scene();
    let [first, second] = refunds;
    let found = |token: &str, query: &str| {
        ids(&server
            .get_as(token, &format!("/v1/refunds?{query}"))
            .expect(200))
    };
    let platform = server.platform.clone();
    let both = [second.clone(), first.clone()];
    assert_eq!(found(&platform, ""), both);
    assert_eq!(found(&platform, &format!("account={shop}")), both);
    assert_eq!(
        found(&platform, &format!("account={ann}")),
        vec![first.clone()]
    );
    assert_eq!(found(&platform, "owner=bob"), vec![second.clone()]);
    assert_eq!(
        found(&platform, &format!("payment={}", payments[0])),
        vec![first.clone()]
    );
    assert!(found(&platform, "owner=nobody").is_empty());
    let page = server.get("/v1/refunds?limit=1").expect(200);
    assert_eq!(
        (ids(&page), &page["has_more"]),
        (vec![second.clone()], &json!(true))
    );
    assert_eq!(
        found(&platform, &format!("starting_after={second}")),
        vec![first.clone()]
    );
    assert_eq!(
        found(&platform, &format!("ending_before={first}")),
        vec![second.clone()]
    );
    // An owner finds those of its own accounts.
    let anns = server.token("ann", "read");
    assert_eq!(found(&anns, ""), [first]);
    assert!(found(&anns, &format!("account={bob}")).is_empty());
    assert!(found(&anns, "owner=bob").is_empty());
    let two = server.get(&format!(
        "/v1/refunds?payment={}&account={ann}",
        payments[0]
    ));
    assert_eq!(
        (two.status, two.code().as_str()),
        (400, "parameter_invalid")
    );
}

#[test]
fn events_are_found_by_type_object_and_owner() {
    let Scene {
        server,
        ann,
        bob,
        payments,
        ..
    } = scene();
    let types = |token: &str, query: &str| -> Vec<String> {
        let list = server
            .get_as(token, &format!("/v1/events?limit=100&{query}"))
            .expect(200);
        let events = list["data"].as_array().expect("a list").iter();
        events
            .map(|event| event["type"].as_str().expect("a type").to_owned())
            .collect()
    };
    let platform = server.platform.clone();
    assert_eq!(
        types(&platform, "events=payment.failed"),
        ["payment.failed"]
    );
    let moved = types(&platform, "events=payment.captured,payment.authorized");
    // Two top-ups, two payments, the hold and its capture.
    assert_eq!(moved.len(), 6, "{moved:?}");
    assert_eq!(moved[..2], ["payment.captured", "payment.authorized"]);
    assert!(
        types(&platform, "events=account.*")
            .iter()
            .all(|it| it == "account.opened")
    );
    assert_eq!(
        types(&platform, &format!("object={}", payments[2])),
        ["payment.captured", "payment.authorized"]
    );
    let of_first = format!("object={}", payments[0]);
    assert_eq!(
        types(&platform, &of_first),
        ["payment.partially_refunded", "payment.captured"]
    );
    assert_eq!(
        types(&platform, &format!("{of_first}&events=payment.captured")),
        ["payment.captured"]
    );
    assert_eq!(
        types(&platform, &format!("object={}", payments[3])),
        ["payment.failed"]
    );
    let of_bob = [
        "payment.partially_refunded",
        "payment.captured",
        "payment.captured",
        "account.opened",
    ];
    assert_eq!(types(&platform, &format!("object={bob}")), of_bob);
    assert_eq!(types(&platform, "owner=bob"), of_bob);
    assert!(types(&platform, "owner=nobody").is_empty());
    assert!(types(&platform, &format!("object={ann}&owner=bob")).is_empty());
    // Pages in both directions.
    let path = format!("/v1/events?object={}", payments[0]);
    let page = server.get(&format!("{path}&limit=1")).expect(200);
    assert_eq!(
        (&page["data"][0]["type"], &page["has_more"]),
        (&json!("payment.partially_refunded"), &json!(true))
    );
    let cursor = page["next_cursor"].as_str().expect("a cursor");
    let next = server
        .get(&format!("{path}&starting_after={cursor}"))
        .expect(200);
    assert_eq!(
        (&next["data"][0]["type"], &next["has_more"]),
        (&json!("payment.captured"), &json!(false))
    );
    let newer = server
        .get(&format!("{path}&ending_before={}", id(&next["data"][0])))
        .expect(200);
    assert_eq!(ids(&newer), ids(&page));

    // An owner finds nothing of others, by whatever filter.
    let anns = server.token("ann", "read");
    assert_eq!(
        types(&anns, &of_first),
        ["payment.partially_refunded", "payment.captured"]
    );
    for query in [
        format!("object={bob}"),
        format!("object={}", payments[1]),
        "owner=bob".to_owned(),
    ] {
        assert!(types(&anns, &query).is_empty(), "{query}");
    }
    for (query, param) in [
        ("events=Payment", "events"),
        ("object=evt_00000000000000000000000000", "object"),
        ("object=", "object"),
        ("type=x", "type"),
    ] {
        let answer = server.get(&format!("/v1/events?{query}"));
        assert_eq!(answer.status, 400, "{query}");
        assert_eq!(answer.json()["error"]["param"], param, "{query}");
    }
}

#[test]
fn an_owner_lists_the_events_that_its_subscriptions_are_told_and_no_other() {
    let server = Fixture::with_subscriptions();
    let made = json!({"name": "ann", "kind": "person"});
    server.post("/v1/owners", &made).expect(201);
    let (ann, bob) = (server.wallet("ann", 100), server.wallet("bob", 100));
    let (shop, other) = (
        server.account("shop", "merchant"),
        server.account("other", "merchant"),
    );
    let anns = server.token("ann", "write");
    let split = json!({"amount": 10, "currency": "EUR", "source": ann, "splits": [
        {"account": shop, "amount": 6}, {"account": other, "amount": 4}]});
    let payment = id(&server.post("/v1/payments", &split).expect(201));
    let bobs = id(&server
        .post("/v1/payments", &pay(&bob, &shop, 1))
        .expect(201));
    let text = json!({"description": "changed"});
    for path in [
        "/v1/owners/ann".to_owned(),
        "/v1/owners/bob".to_owned(),
        "/v1/owners/platform".to_owned(),
        format!("/v1/accounts/{ann}"),
        format!("/v1/accounts/{bob}"),
        format!("/v1/payments/{payment}"),
        format!("/v1/payments/{bobs}"),
    ] {
        patch(&server, &path, &text).expect(200);
    }
    let frozen = format!("/v1/accounts/{ann}/freeze");
    server.post(&frozen, &json!({})).expect(200);
    let subscription = json!({"name": "mine", "events": ["#"]});
    server
        .post_as(&anns, "/v1/subscriptions", &subscription)
        .expect(201);
    for token in [&anns, &server.platform] {
        let published = json!({"type": "app.order.shipped", "data": {}});
        server.post_as(token, "/v1/events", &published).expect(201);
    }
    let events = |token: &str, query: &str| {
        let path = format!("/v1/events?limit=100{query}");
        server.get_as(token, &path).expect(200)["data"].clone()
    };
    let types = |token: &str, query: &str| -> Vec<String> {
        let list = events(token, query);
        let list = list.as_array().expect("a list");
        let of = |event: &Value| event["type"].as_str().expect("a type").to_owned();
        list.iter().map(of).collect()
    };
    let expected = [
        "app.order.shipped",
        "subscription.created",
        "account.frozen",
        "payment.updated",
        "account.updated",
        "owner.updated",
        "payment.captured",
        "payment.captured",
        "account.opened",
        "owner.created",
    ];
    assert_eq!(types(&anns, ""), expected);
    assert_eq!(types(&server.platform, "&owner=ann"), expected);
    assert_eq!(
        types(&server.platform, "&owner=platform")[..1],
        ["owner.updated"]
    );
    // Every payee of a payment sees that the payment was changed.
    let changed = ["payment.updated", "payment.captured"];
    for owner in ["shop", "other"] {
        let token = server.token(owner, "read");
        let found = types(&token, &format!("&object={payment}"));
        assert_eq!(found, changed, "{owner}");
        assert!(
            types(&token, "").contains(&changed[0].to_owned()),
            "{owner}"
        );
    }
    assert_eq!(
        types(&anns, &format!("&object={ann}")),
        [
            "account.frozen",
            "account.updated",
            "payment.captured",
            "payment.captured",
            "account.opened"
        ]
    );
    assert!(types(&anns, &format!("&object={bob}")).is_empty());
    // What is in no list is not found by id either.
    for token in [
        &anns,
        &server.token("bob", "read"),
        &server.token("other", "read"),
    ] {
        let listed = ids(&json!({"data": events(token, "")}));
        for event in ids(&json!({"data": events(&server.platform, "")})) {
            let found = server.get_as(token, &format!("/v1/events/{event}"));
            assert_eq!(found.status == 200, listed.contains(&event), "{event}");
        }
    }
    // One page at a time, in both directions.
    let whole = ids(&json!({"data": events(&anns, "")}));
    for (at, event) in whole.iter().enumerate() {
        let page = |query: String| {
            let path = format!("/v1/events?limit=1&{query}={event}");
            ids(&server.get_as(&anns, &path).expect(200))
        };
        let (older, newer) = (whole.get(at + 1), at.checked_sub(1).map(|at| &whole[at]));
        assert_eq!(page("starting_after".to_owned()).first(), older);
        assert_eq!(page("ending_before".to_owned()).first(), newer);
    }
}

#[test]
fn a_refusal_for_want_of_funds_says_which_account_lacks_them() {
    let Scene {
        server,
        ann,
        shop,
        payments,
        ..
    } = scene();
    let too_much = pay(&ann, &shop, 100_000);
    let token = server.token("ann", "write");
    for who in [&server.platform, &token] {
        let error = server.post_as(who, "/v1/payments", &too_much).expect(402)["error"].clone();
        assert_eq!(error["code"], "insufficient_funds");
        assert_eq!(
            (&error["param"], &error["account"]),
            (&json!("source"), &json!(ann)),
            "{error}"
        );
    }
    // In a batch, with whole objects and with ids only, and in a repetition.
    let batch = json!([{"idempotency_key": "poor", "payment": too_much}]);
    for preference in ["return=representation", "return=minimal"] {
        let answer = server
            .post_preferring(preference, "/v1/batches", None, &batch)
            .expect(200);
        let error = &answer["results"][0]["error"];
        assert_eq!(
            (&error["param"], &error["account"]),
            (&json!("source"), &json!(ann)),
            "{answer}"
        );
    }
    // The shop spends what it got, and cannot give it back.
    let out = json!({"amount": server.posted(&shop), "currency": "EUR", "source": shop, "paid": true,
        "destination": server.account("platform", "external")});
    server.post("/v1/payouts", &out).expect(201);
    let refund = json!({"payment": payments[2]});
    let error = server.post("/v1/refunds", &refund).expect(402)["error"].clone();
    assert_eq!(error["code"], "insufficient_funds");
    assert_eq!(
        (&error["param"], &error["account"]),
        (&json!("payment"), &json!(shop)),
        "{error}"
    );
    // Of a refund that several payees pay, the one is named that lacks funds, where the API key may see it.
    let (rich, poor) = (
        server.account("rich", "merchant"),
        server.account("poor", "merchant"),
    );
    let split = json!({"amount": 10, "currency": "EUR", "source": ann, "splits": [
        {"account": rich, "amount": 6}, {"account": poor, "amount": 4}]});
    let both = server.post("/v1/payments", &split).expect(201);
    let external = server.account("platform", "external");
    let out = json!({"amount": 4, "currency": "EUR", "source": poor, "paid": true, "destination": external});
    let paid_out = server.post("/v1/payouts", &out).expect(201);
    let refund = json!({"payment": both["id"]});
    let error = server.post("/v1/refunds", &refund).expect(402)["error"].clone();
    assert_eq!(
        (&error["code"], &error["param"], &error["account"]),
        (
            &json!("insufficient_funds"),
            &json!("payment"),
            &json!(poor)
        ),
        "{error}"
    );
    // A payout comes back from the account that it was paid to: here one without overdraft.
    let till = server.account("platform", "fee");
    let out =
        json!({"amount": 6, "currency": "EUR", "source": rich, "paid": true, "destination": till});
    let paid_out_to = server.post("/v1/payouts", &out).expect(201);
    let spent = json!({"amount": 6, "currency": "EUR", "source": till, "destination": external});
    server.post("/v1/transfers", &spent).expect(201);
    let path = format!(
        "/v1/payouts/{}/returns",
        paid_out_to["id"].as_str().unwrap()
    );
    let error = server.post(&path, &json!({})).expect(402)["error"].clone();
    assert_eq!(
        (&error["code"], &error["param"], &error["account"]),
        (&json!("insufficient_funds"), &json!("payout"), &json!(till)),
        "{error}"
    );
    assert_eq!(paid_out["status"], "paid");
    // Other refusals name no account.
    let zero = server
        .post("/v1/payments", &pay(&ann, &shop, 0))
        .expect(402);
    assert_eq!(zero["error"].get("account"), None);
}
