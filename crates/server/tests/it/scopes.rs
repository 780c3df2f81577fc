//! An owner's key sees and spends only what is its owner's.

use serde_json::json;

use crate::fixture::{Fixture, hold, id, pay};

#[test]
fn an_owner_sees_only_its_own() {
    let server = Fixture::start();
    let (ann, bob) = (server.wallet("ann", 100), server.wallet("bob", 100));
    let shop = server.account("shop", "merchant");
    let of_ann = id(&server
        .post("/v1/payments", &pay(&ann, &shop, 10))
        .expect(201));
    let of_bob = id(&server
        .post("/v1/payments", &pay(&bob, &shop, 10))
        .expect(201));
    let refund = id(&server
        .post("/v1/refunds", &json!({"payment": of_bob, "amount": 1}))
        .expect(201));
    let event_of = |payment: &str| {
        server.get(&format!("/v1/payments/{payment}")).expect(200)["last_event"]
            .as_str()
            .expect("an id")
            .to_owned()
    };
    let token = server.token("ann", "read");
    let (mine, theirs) = (event_of(&of_ann), event_of(&of_bob));
    for (path, status) in [
        (format!("/v1/accounts/{ann}"), 200),
        (format!("/v1/accounts/{ann}/entries"), 200),
        (format!("/v1/payments/{of_ann}"), 200),
        (format!("/v1/events/{mine}"), 200),
        (format!("/v1/accounts/{bob}"), 404),
        (format!("/v1/accounts/{bob}/entries"), 404),
        (format!("/v1/accounts/{shop}"), 404),
        (format!("/v1/payments/{of_bob}"), 404),
        (format!("/v1/refunds/{refund}"), 404),
        (format!("/v1/events/{theirs}"), 404),
        ("/v1/trial_balance".to_owned(), 403),
        ("/v1/journal/head".to_owned(), 403),
        ("/v1/journal/meta".to_owned(), 403),
        ("/v1/journal/frames".to_owned(), 403),
        ("/v1/api_keys".to_owned(), 403),
        ("/metrics".to_owned(), 403),
    ] {
        assert_eq!(server.get_as(&token, &path).status, status, "{path}");
    }
    for (path, count) in [
        ("/v1/accounts".to_owned(), 1),
        ("/v1/accounts?owner=ann".to_owned(), 1),
        ("/v1/accounts?owner=bob".to_owned(), 0),
        ("/v1/payments?kind=pay".to_owned(), 1),
        ("/v1/payments?owner=bob".to_owned(), 0),
        (format!("/v1/payments?account={bob}"), 0),
        // Opened, topped up, paid.
        ("/v1/events".to_owned(), 3),
    ] {
        let list = server.get_as(&token, &path).expect(200);
        assert_eq!(
            list["data"].as_array().expect("a list").len(),
            count,
            "{path}: {list}"
        );
    }
    // What is not the owner's to see looks like what does not exist.
    let absent = server
        .get_as(&token, &format!("/v1/payments/pay_{}", "0".repeat(26)))
        .json();
    let hidden = server
        .get_as(&token, &format!("/v1/payments/{of_bob}"))
        .json();
    for field in ["type", "code", "message", "param", "payment"] {
        assert_eq!(absent["error"][field], hidden["error"][field]);
    }
}

#[test]
fn an_owner_spends_only_its_own() {
    let server = Fixture::start();
    let (ann, bob) = (server.wallet("ann", 100), server.wallet("bob", 100));
    let shop = server.account("shop", "merchant");
    let (of_ann, of_shop) = (server.token("ann", "write"), server.token("shop", "write"));
    server
        .post_as(&of_ann, "/v1/payments", &pay(&ann, &shop, 10))
        .expect(201);
    let stolen = server.post_as(&of_ann, "/v1/payments", &pay(&bob, &ann, 10));
    assert_eq!(
        (stolen.status, stolen.code().as_str()),
        (404, "resource_not_found")
    );
    assert_eq!(server.posted(&bob), 100);
    // Whoever asked for a payment that failed sees it; others whom it is not about do not.
    let refused = server.post_as(&of_ann, "/v1/payments", &pay(&ann, &bob, 1_000));
    let failed = format!(
        "/v1/payments/{}",
        refused.json()["error"]["payment"].as_str().expect("an id")
    );
    let shown = server.get_as(&of_ann, &failed).expect(200);
    let event = format!(
        "/v1/events/{}",
        shown["last_event"].as_str().expect("an id")
    );
    let told = server.get_as(&of_ann, &event).expect(200);
    assert_eq!(told["type"], "payment.failed");
    for path in [&failed, &event] {
        assert_eq!(server.get_as(&of_shop, path).status, 404);
    }

    let held = id(&server
        .post_as(&of_ann, "/v1/payments", &hold(&ann, &shop, 10))
        .expect(201));
    let captured = server.post_as(&of_ann, &format!("/v1/payments/{held}/capture"), &json!({}));
    assert_eq!(
        (captured.status, captured.code().as_str()),
        (403, "forbidden"),
        "the merchant captures, not the payer"
    );
    server
        .post_as(
            &of_shop,
            &format!("/v1/payments/{held}/capture"),
            &json!({}),
        )
        .expect(200);
    server
        .post_as(&of_shop, "/v1/refunds", &json!({"payment": held}))
        .expect(201);
    let hidden = id(&server
        .post("/v1/payments", &pay(&bob, &shop, 10))
        .expect(201));
    for (path, body) in [
        ("/v1/refunds".to_owned(), json!({"payment": hidden})),
        (format!("/v1/payments/{hidden}/capture"), json!({})),
        (format!("/v1/payments/{hidden}/void"), json!({})),
        (format!("/v1/accounts/{bob}/close"), json!({})),
    ] {
        assert_eq!(server.post_as(&of_ann, &path, &body).status, 404, "{path}");
    }
    for (path, body) in [
        (
            "/v1/adjustments".to_owned(),
            json!({"amount": 1, "currency": "EUR", "source": ann, "destination": bob, "reason": "r"}),
        ),
        (format!("/v1/accounts/{ann}/freeze"), json!({})),
        (
            "/v1/api_keys".to_owned(),
            json!({"owner": "ann", "access": "write"}),
        ),
    ] {
        let answer = server.post_as(&of_ann, &path, &body);
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (403, "platform_only"),
            "{path}"
        );
    }
    let results = server.post_as(&of_ann, "/v1/batches", &json!([
        {"idempotency_key": "b1", "adjustment": {"amount": 1, "currency": "EUR", "source": ann, "destination": bob, "reason": "r"}},
        {"idempotency_key": "b2", "refund": {"payment": hidden}},
    ])).expect(200);
    assert_eq!(
        (
            &results["results"][0]["status"],
            &results["results"][1]["status"]
        ),
        (&json!(403), &json!(404))
    );

    // An owner opens accounts for itself, without overdraft.
    let own = server
        .post_as(&of_ann, "/v1/accounts", &json!({"currency": "USD"}))
        .expect(201);
    assert_eq!(
        (&own["owner"], &own["kind"], &own["overdraft"]),
        (&json!("ann"), &json!("wallet"), &json!(0))
    );
    for body in [
        json!({"currency": "USD", "owner": "bob"}),
        json!({"currency": "USD", "overdraft": 1}),
        json!({"currency": "USD", "kind": "external"}),
    ] {
        let answer = server.post_as(&of_ann, "/v1/accounts", &body);
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (403, "forbidden"),
            "{body}"
        );
    }
    server
        .post_as(
            &of_ann,
            &format!("/v1/accounts/{}/close", id(&own)),
            &json!({}),
        )
        .expect(200);
}

#[test]
fn a_read_key_cannot_write() {
    let server = Fixture::start();
    let (ann, shop) = (
        server.wallet("ann", 100),
        server.account("shop", "merchant"),
    );
    for owner in ["ann", "platform"] {
        let token = server.token(owner, "read");
        let paths = [
            "/v1/payments",
            "/v1/accounts",
            "/v1/refunds",
            "/v1/batches",
            "/v1/transfers",
        ];
        for path in paths {
            let answer = server.post_as(&token, path, &pay(&ann, &shop, 1));
            assert_eq!(
                (answer.status, answer.code().as_str()),
                (403, "read_only_key"),
                "{owner} {path}"
            );
        }
        assert_eq!(
            server.get_as(&token, &format!("/v1/accounts/{ann}")).status,
            200
        );
    }
    let platform = server.token("platform", "read");
    assert_eq!(server.get_as(&platform, "/v1/trial_balance").status, 200);
    assert_eq!(
        server.get_as(&platform, "/v1/journal/frames").status,
        403,
        "frames hold what owners wrote"
    );
}

#[test]
fn a_payment_is_visible_to_the_owners_of_its_legs() {
    let server = Fixture::start();
    let ann = server.wallet("ann", 100);
    let (shop, fees) = (
        server.account("shop", "merchant"),
        server.account("broker", "fee"),
    );
    let mut body = pay(&ann, &shop, 50);
    body["fees"] = json!([{"account": fees, "amount": 5}]);
    let payment = id(&server.post("/v1/payments", &body).expect(201));
    let mut refused = body.clone();
    refused["amount"] = json!(1_000);
    let failed = server.post("/v1/payments", &refused).json()["error"]["payment"]
        .as_str()
        .expect("its id")
        .to_owned();
    for owner in ["ann", "shop", "broker", "stranger"] {
        let token = server.token(owner, "read");
        let status = if owner == "stranger" { 404 } else { 200 };
        assert_eq!(
            server
                .get_as(&token, &format!("/v1/payments/{payment}"))
                .status,
            status,
            "{owner}"
        );
        // A payment that failed has no fees, so it has no legs on fee accounts.
        let status = if matches!(owner, "ann" | "shop") {
            200
        } else {
            404
        };
        assert_eq!(
            server
                .get_as(&token, &format!("/v1/payments/{failed}"))
                .status,
            status,
            "{owner}, failed"
        );
    }
}
