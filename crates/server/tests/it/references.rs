//! References of payments: for whom they are unique, and who finds a payment by them.

use serde_json::{Value, json};

use crate::fixture::{Fixture, id, pay};

struct Scene {
    server: Fixture,
    ann: String,
    shop: String,
    market: String,
}

fn scene() -> Scene {
    let server = Fixture::start();
    let ann = server.wallet("ann", 10_000);
    let shop = server.account("shop", "merchant");
    let market = server.account("market", "merchant");
    Scene {
        server,
        ann,
        shop,
        market,
    }
}

fn order(from: &str, to: &str, amount: u64) -> Value {
    let mut body = pay(from, to, amount);
    body["reference"] = json!("order-1");
    body
}

fn scoped(mut order: Value, scope: &str) -> Value {
    order["reference_scope"] = json!(scope);
    order
}

fn ids(list: &Value) -> Vec<String> {
    list["data"]
        .as_array()
        .expect("a list")
        .iter()
        .map(id)
        .collect()
}

#[test]
fn the_same_order_with_its_payees_in_another_order_pays_once() {
    let s = scene();
    let half = |account: &str| json!({"account": account, "basis_points": 5_000});
    let order = |first: &str, second: &str| {
        json!({"amount": 100, "currency": "EUR", "source": s.ann, "reference": "order-1",
            "splits": [half(first), half(second)]})
    };
    let paid = s.server.post("/v1/payments", &order(&s.shop, &s.market));
    assert_eq!(paid.expect(201)["reference_scope"], Value::Null);
    let again = s.server.post("/v1/payments", &order(&s.market, &s.shop));
    assert_eq!(
        (again.status, again.code().as_str()),
        (402, "reference_in_use")
    );
    let for_shop = scoped(order(&s.shop, &s.market), "shop");
    let paid = s.server.post("/v1/payments", &for_shop).expect(201);
    assert_eq!(paid["reference_scope"], "shop");
    let again = scoped(order(&s.market, &s.shop), "shop");
    assert_eq!(
        s.server.post("/v1/payments", &again).code(),
        "reference_in_use"
    );
    assert_eq!(s.server.posted(&s.ann), 9_800);
}

#[test]
fn a_payer_cannot_take_the_reference_of_a_merchant() {
    let s = scene();
    let (of_ann, of_shop) = (
        s.server.token("ann", "write"),
        s.server.token("shop", "write"),
    );
    let small = s
        .server
        .post_as(&of_ann, "/v1/payments", &order(&s.ann, &s.shop, 1));
    let small = id(&small.expect(201));
    for scope in ["shop", "ann", "nobody"] {
        let taking = scoped(order(&s.ann, &s.shop, 1), scope);
        let refused = s.server.post_as(&of_ann, "/v1/payments", &taking);
        assert_eq!(
            (refused.status, refused.code().as_str()),
            (403, "platform_only"),
            "{scope}"
        );
    }
    // The merchant does not take the payer's payment for the one that it waits for.
    let path = "/v1/payments?reference=order-1";
    assert_eq!(ids(&s.server.get_as(&of_shop, path).expect(200)), [""; 0]);
    assert_eq!(ids(&s.server.get_as(&of_ann, path).expect(200)), [&*small]);
    let real = scoped(order(&s.ann, &s.shop, 500), "shop");
    let real = id(&s.server.post("/v1/payments", &real).expect(201));
    assert_eq!(ids(&s.server.get_as(&of_shop, path).expect(200)), [&*real]);
    let by_platform = s.server.get(&format!("{path}&owner=shop")).expect(200);
    assert_eq!(ids(&by_platform), [&*real]);
}

#[test]
fn a_merchant_finds_its_own_payment_and_the_platforms_for_it() {
    let s = scene();
    let of_shop = s.server.token("shop", "write");
    let theirs = scoped(order(&s.ann, &s.shop, 500), "shop");
    let theirs = id(&s.server.post("/v1/payments", &theirs).expect(201));
    let own = order(&s.shop, &s.ann, 5);
    let own = id(&s
        .server
        .post_as(&of_shop, "/v1/transfers", &own)
        .expect(201));
    // A third payment has the same reference, but not for the merchant.
    let platforms = id(&s
        .server
        .post("/v1/payments", &order(&s.ann, &s.shop, 7))
        .expect(201));
    let find = |token: &str, query: &str| {
        let path = format!("/v1/payments?reference=order-1{query}");
        ids(&s.server.get_as(token, &path).expect(200))
    };
    assert_eq!(find(&of_shop, ""), [&*own, &*theirs]);
    assert_eq!(find(&of_shop, "&kind=transfer"), [&*own]);
    assert_eq!(
        find(&of_shop, "&limit=1&created[gte]=2020-01-01T00:00:00Z"),
        [&*own]
    );
    let other = s.server.token("market", "write");
    assert_eq!(find(&other, ""), [""; 0]);
    assert_eq!(find(&s.server.platform, "&owner=platform"), [&*platforms]);
    assert_eq!(find(&s.server.platform, ""), [&*platforms, &*own, &*theirs]);
}

/// What a person sees as one name is one name: the others are refused, in writes and in look-ups, over REST and gRPC.
#[test]
fn names_that_look_alike_are_not_two_names() {
    let s = scene();
    let looks = [
        "   ",
        "\u{200b}",
        "r\u{200b}",
        "r ",
        " r",
        "r\u{a0}s",
        "r\u{2009}s",
        "\u{feff}r",
        "r\u{ad}s",
        "e\u{301}",
        "r\ts",
    ];
    let refused = |answer: crate::client::Answer, param: &str, what: &str| {
        let error = &answer.json()["error"];
        assert_eq!(
            (answer.status, &error["param"]),
            (400, &json!(param)),
            "{what:?}"
        );
        let message = error["message"].as_str().expect("a message");
        assert!(message.contains("NFC"), "{message}");
    };
    for look in looks {
        let mut body = pay(&s.ann, &s.shop, 1);
        body["reference"] = json!(look);
        refused(s.server.post("/v1/payments", &body), "reference", look);
        let batch = json!([{"idempotency_key": look.len().to_string(), "payment": body}]);
        refused(
            s.server.post("/v1/batches", &batch),
            "[0].payment.reference",
            look,
        );
        let account = json!({"owner": "shop", "currency": "EUR", "external_id": look});
        refused(s.server.post("/v1/accounts", &account), "external_id", look);
    }
    for path in [
        "/v1/payments?reference=r%20",
        "/v1/payments?reference=r%E2%80%8B&owner=shop",
    ] {
        refused(s.server.get(path), "reference", path);
    }
    for name in ["r", "r s", "\u{e9}", "注文 1"] {
        let mut body = pay(&s.ann, &s.shop, 1);
        body["reference"] = json!(name);
        assert_eq!(
            s.server.post("/v1/payments", &body).expect(201)["reference"],
            name
        );
        assert_eq!(
            s.server.post("/v1/payments", &body).code(),
            "reference_in_use"
        );
        let account = json!({"owner": "shop", "currency": "EUR", "external_id": name});
        assert_eq!(
            s.server.post("/v1/accounts", &account).expect(201)["external_id"],
            name
        );
        assert_eq!(
            s.server.post("/v1/accounts", &account).code(),
            "external_id_in_use"
        );
    }
}

#[test]
fn only_a_payer_or_payee_can_be_the_scope_of_a_reference() {
    let s = scene();
    let post = |body: &Value| s.server.post("/v1/payments", body);
    let order = |scope: &str| scoped(order(&s.ann, &s.shop, 1), scope);
    assert_eq!(post(&order("ann")).expect(201)["reference_scope"], "ann");
    let refused = post(&order("market"));
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (402, "reference_scope_not_party")
    );
    let unknown = post(&order("nobody"));
    assert_eq!(
        (unknown.status, unknown.code().as_str()),
        (404, "resource_not_found")
    );
    let mut alone = pay(&s.ann, &s.shop, 1);
    alone["reference_scope"] = json!("ann");
    let refused = post(&alone);
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (400, "parameter_invalid")
    );
    let adjustment = json!({"amount": 1, "currency": "EUR", "source": s.ann, "destination": s.shop,
        "reason": "a mistake", "reference": "a-1", "reference_scope": "shop"});
    let made = s.server.post("/v1/adjustments", &adjustment).expect(201);
    assert_eq!(made["reference_scope"], "shop");
}
