//! Captures and refunds of exact amounts per payee.

use serde_json::{Value, json};

use crate::client::Answer;
use crate::fixture::{Fixture, id};

/// An order of 100 from ann: 54 to the shop, 36 to the market, and a fee of 10 to the platform.
struct Scene {
    server: Fixture,
    ann: String,
    shop: String,
    market: String,
    fees: String,
}

impl Scene {
    fn new() -> Scene {
        let server = Fixture::start();
        let ann = server.wallet("ann", 1_000);
        let (shop, market) = (server.wallet("shop", 100), server.wallet("market", 100));
        let fees = server.account("platform", "fee");
        Scene {
            server,
            ann,
            shop,
            market,
            fees,
        }
    }

    fn held(&self) -> String {
        let order = json!({
            "amount": 100, "currency": "EUR", "source": self.ann, "capture_method": "manual",
            "expires_at": "2026-12-01T00:00:00Z", "fees": [{"account": self.fees, "amount": 10}],
            "splits": [{"account": self.shop, "amount": 54}, {"account": self.market, "amount": 36}],
        });
        id(&self.server.post("/v1/payments", &order).expect(201))
    }

    fn captured(&self) -> String {
        let payment = self.held();
        self.capture(&payment, &json!({})).expect(200);
        payment
    }

    fn capture(&self, payment: &str, body: &Value) -> Answer {
        self.server
            .post(&format!("/v1/payments/{payment}/capture"), body)
    }

    fn capture_as(&self, token: &str, payment: &str, body: &Value) -> Answer {
        let path = format!("/v1/payments/{payment}/capture");
        self.server.post_as(token, &path, body)
    }

    fn void_as(&self, token: &str, payment: &str) -> Answer {
        let path = format!("/v1/payments/{payment}/void");
        self.server.post_as(token, &path, &json!({}))
    }

    fn refund(&self, token: &str, payment: &str, parts: Value, refund_fee: bool) -> Answer {
        let body = json!({"payment": payment, "splits": parts, "refund_fee": refund_fee});
        self.server.post_as(token, "/v1/refunds", &body)
    }

    fn part(&self, account: &str, amount: u64) -> Value {
        json!({"account": account, "amount": amount})
    }

    /// Balances of ann, the shop, the market and the fees.
    fn balances(&self) -> [i64; 4] {
        [&self.ann, &self.shop, &self.market, &self.fees].map(|account| self.server.posted(account))
    }
}

/// A capture of one unit more than a payee's part of a hold, or of a part for this account.
pub(crate) fn refused_part(
    server: &Fixture,
    [buyer, shop]: [&str; 2],
    account: Option<&str>,
) -> Answer {
    let more = json!({"capture_method": "manual", "expires_at": "2026-12-01T00:00:00Z"});
    let payment = id(&server
        .post("/v1/payments", &for_two(server, buyer, shop, more))
        .expect(201));
    let splits = json!([{"account": account.unwrap_or(shop), "amount": 5}]);
    let path = format!("/v1/payments/{payment}/capture");
    server.post(&path, &json!({"splits": splits}))
}

/// A refund of one unit more than a payee's part.
pub(crate) fn refused_refund(server: &Fixture, [buyer, shop]: [&str; 2]) -> Answer {
    let order = for_two(server, buyer, shop, json!({}));
    let payment = id(&server.post("/v1/payments", &order).expect(201));
    let splits = json!([{"account": shop, "amount": 5}]);
    server.post(
        "/v1/refunds",
        &json!({"payment": payment, "splits": splits}),
    )
}

/// An order of 10, of which 4 are the shop's.
fn for_two(server: &Fixture, buyer: &str, shop: &str, mut more: Value) -> Value {
    let other = server.account("other", "merchant");
    let fields = more.as_object_mut().expect("fields");
    let splits = json!([{"account": shop, "amount": 4}, {"account": other, "amount": 6}]);
    for (name, value) in [
        ("amount", json!(10)),
        ("currency", json!("EUR")),
        ("source", json!(buyer)),
        ("splits", splits),
    ] {
        fields.insert(name.to_owned(), value);
    }
    more
}

#[test]
fn a_capture_per_payee_takes_exact_amounts_and_shows_them() {
    let s = Scene::new();
    let payment = s.held();
    let splits = json!([s.part(&s.shop, 27)]);
    let after = s.capture(&payment, &json!({"splits": splits})).expect(200);
    assert_eq!(
        (
            &after["status"],
            &after["amount_captured"],
            &after["amount_held"]
        ),
        (&json!("partially_captured"), &json!(30), &json!(70))
    );
    assert_eq!(
        after["splits"],
        json!([
            {"account": s.shop, "amount": 54, "captured": 27, "refunded": 0},
            {"account": s.market, "amount": 36, "captured": 0, "refunded": 0},
        ])
    );
    assert_eq!(after["fees"][0]["captured"], 3);
    assert_eq!(s.balances(), [970, 127, 100, 3]);
    let splits = json!([s.part(&s.market, 36), s.part(&s.shop, 27)]);
    let after = s.capture(&payment, &json!({"splits": splits})).expect(200);
    assert_eq!(
        (&after["status"], &after["fees"][0]["captured"]),
        (&json!("captured"), &json!(10))
    );
    assert_eq!(s.balances(), [900, 154, 136, 10]);
}

#[test]
fn a_final_capture_of_one_payee_releases_the_rest() {
    let s = Scene::new();
    let payment = s.held();
    let body = json!({"splits": [s.part(&s.market, 36)], "final": true});
    let after = s.capture(&payment, &body).expect(200);
    assert_eq!(
        (&after["status"], &after["amount_held"]),
        (&json!("captured"), &json!(0))
    );
    let account = s.server.get(&format!("/v1/accounts/{}", s.ann)).expect(200);
    assert_eq!(
        (&account["posted"], &account["pending"]),
        (&json!(960), &json!(0))
    );
}

#[test]
fn a_refund_per_payee_gives_back_exact_amounts_and_shows_them() {
    let s = Scene::new();
    let payment = s.captured();
    let platform = s.server.platform.clone();
    let refund = s.refund(&platform, &payment, json!([s.part(&s.market, 36)]), true);
    let refund = refund.expect(201);
    assert_eq!(
        (&refund["amount"], &refund["fee_amount"]),
        (&json!(40), &json!(4))
    );
    assert_eq!(refund["splits"], json!([s.part(&s.market, 36)]));
    assert_eq!(refund["fees"], json!([s.part(&s.fees, 4)]));
    assert_eq!(s.balances(), [940, 154, 100, 6]);
    // The seller gives back what is left, and bears its part of the fee.
    let of_shop = s.server.token("shop", "write");
    let refund = s
        .refund(&of_shop, &payment, json!([s.part(&s.shop, 60)]), false)
        .expect(201);
    assert_eq!(
        (&refund["amount"], &refund["fees"]),
        (&json!(60), &json!([]))
    );
    assert_eq!(refund["payment_status"], "refunded");
    assert_eq!(s.balances(), [1_000, 94, 100, 6]);
    let shown = s.server.get(&format!("/v1/payments/{payment}")).expect(200);
    let refunded = |part: &Value| part["refunded"].clone();
    assert_eq!(refunded(&shown["splits"][0]), 60);
    assert_eq!(refunded(&shown["splits"][1]), 36);
    assert_eq!(refunded(&shown["fees"][0]), 4);
}

#[test]
fn an_owner_refunds_its_own_part_and_no_other() {
    let s = Scene::new();
    let payment = s.captured();
    let of_shop = s.server.token("shop", "write");
    for (parts, refund_fee, param) in [
        (json!([s.part(&s.market, 1)]), false, "splits[0].account"),
        (
            json!([s.part(&s.shop, 1), s.part(&s.market, 1)]),
            false,
            "splits[1].account",
        ),
        (json!([s.part(&s.shop, 1)]), true, "refund_fee"),
        (json!([s.part(&s.fees, 1)]), false, "splits[0].account"),
        (Value::Null, false, "splits"),
    ] {
        let refused = s.refund(&of_shop, &payment, parts.clone(), refund_fee);
        assert_eq!(
            (refused.status, refused.code().as_str()),
            (403, "forbidden"),
            "{parts}"
        );
        assert_eq!(refused.json()["error"]["param"], param, "{parts}");
    }
    assert_eq!(s.balances(), [900, 154, 136, 10]);
    s.refund(&of_shop, &payment, json!([s.part(&s.shop, 1)]), false)
        .expect(201);
    assert_eq!(s.balances(), [901, 153, 136, 10]);
    let stranger = s.server.token("stranger", "write");
    let hidden = s.refund(&stranger, &payment, json!([s.part(&s.shop, 1)]), false);
    assert_eq!(
        (hidden.status, hidden.code().as_str()),
        (404, "resource_not_found")
    );
}

#[test]
fn wrong_parts_are_refused_and_change_nothing() {
    let s = Scene::new();
    let (held, captured) = (s.held(), s.captured());
    let before = s.balances();
    let invented = format!("acct_{}", "0".repeat(26));
    let shop = |amount: u64| json!([s.part(&s.shop, amount)]);
    let many: Vec<Value> = (0..17).map(|_| s.part(&s.shop, 1)).collect();
    let cases = [
        (json!({"splits": []}), 400, "parameter_invalid"),
        (json!({"splits": many}), 400, "parameter_invalid"),
        (
            json!({"splits": shop(1), "amount": 1}),
            400,
            "parameter_invalid",
        ),
        (
            json!({"splits": [{"account": s.shop}]}),
            400,
            "parameter_missing",
        ),
        (
            json!({"splits": [{"account": s.shop, "basis_points": 1}]}),
            400,
            "parameter_unknown",
        ),
        (
            json!({"splits": [s.part(&invented, 1)]}),
            404,
            "resource_not_found",
        ),
        (
            json!({"splits": [s.part(&s.fees, 1)]}),
            402,
            "payee_not_found",
        ),
        (
            json!({"splits": [s.part(&s.ann, 1)]}),
            402,
            "payee_not_found",
        ),
        (json!({"splits": shop(0)}), 402, "amount_zero"),
        (
            json!({"splits": [s.part(&s.shop, 1), s.part(&s.shop, 1)]}),
            402,
            "duplicate_account",
        ),
    ];
    for (body, status, code) in cases {
        let refused = s.capture(&held, &body);
        assert_eq!(
            (refused.status, refused.code().as_str()),
            (status, code),
            "{body}"
        );
        let mut body = body;
        body["payment"] = json!(captured);
        let refused = s.server.post("/v1/refunds", &body);
        assert_eq!(
            (refused.status, refused.code().as_str()),
            (status, code),
            "{body}"
        );
    }
    let over = s.capture(&held, &json!({"splits": shop(55)}));
    assert_eq!(
        (over.status, over.code().as_str()),
        (402, "capture_exceeds_part")
    );
    for (amount, refund_fee) in [(61, false), (55, true)] {
        let over = s.refund(&s.server.platform, &captured, shop(amount), refund_fee);
        assert_eq!(
            (over.status, over.code().as_str()),
            (402, "refund_exceeds_part")
        );
    }
    assert_eq!(s.balances(), before);
}

#[test]
fn a_batch_captures_and_refunds_per_payee() {
    let s = Scene::new();
    let payment = s.held();
    let batch = json!([
        {"idempotency_key": "a", "capture": {"payment": payment, "splits": [s.part(&s.shop, 54)]}},
        {"idempotency_key": "b", "refund": {"payment": payment, "splits": [s.part(&s.shop, 27)], "refund_fee": true}},
    ]);
    let results = s.server.post("/v1/batches", &batch).expect(200);
    let statuses: Vec<&Value> = results["results"]
        .as_array()
        .expect("results")
        .iter()
        .map(|one| &one["status"])
        .collect();
    assert_eq!(statuses, [200, 201]);
    assert_eq!(s.balances(), [970, 127, 100, 3]);
}

/// A refusal of an owner's key: 403, for a reason that says who may, and the field at fault.
#[track_caller]
fn check_forbidden(answer: &Answer, param: &str, reason: &str) {
    let error = answer.json()["error"].clone();
    assert_eq!((answer.status, &error["code"]), (403, &json!("forbidden")));
    assert_eq!(error["param"], json!(param), "{error}");
    let message = error["message"].as_str().expect("a message");
    assert!(message.contains(reason), "{message}");
}

#[test]
fn a_seller_captures_its_own_part_and_no_other() {
    let s = Scene::new();
    let payment = s.held();
    let keys = ["shop", "market"].map(|owner| s.server.token(owner, "write"));
    let before = s.balances();
    let owners = "Only the owner of every account that this capture pays";
    for (key, own, other) in [
        (&keys[0], &s.shop, &s.market),
        (&keys[1], &s.market, &s.shop),
    ] {
        for (body, param, reason) in [
            (
                json!({"splits": [s.part(other, 1)]}),
                "splits[0].account",
                owners,
            ),
            (
                json!({"splits": [s.part(own, 1), s.part(other, 1)]}),
                "splits[1].account",
                owners,
            ),
            (
                json!({"splits": [s.part(own, 1), s.part(&s.fees, 1)]}),
                "splits[1].account",
                owners,
            ),
            (json!({}), "splits", "accounts of other owners"),
            (json!({"amount": 1}), "splits", "accounts of other owners"),
            (
                json!({"splits": [s.part(own, 1)], "final": true}),
                "final",
                "held for payees of other owners",
            ),
        ] {
            let refused = s.capture_as(key, &payment, &body);
            check_forbidden(&refused, param, reason);
        }
        let refused = s.void_as(key, &payment);
        check_forbidden(&refused, "id", "Only the owner of every payee");
    }
    assert_eq!(s.balances(), before);
    let path = format!("/v1/payments/{payment}");
    assert_eq!(s.server.get(&path).expect(200)["status"], "authorized");

    // The second payee captures first; the first one then may not touch what is left for the second.
    let body = json!({"splits": [s.part(&s.market, 20)]});
    s.capture_as(&keys[1], &payment, &body).expect(200);
    let body = json!({"splits": [s.part(&s.shop, 54)]});
    s.capture_as(&keys[0], &payment, &body).expect(200);
    assert_eq!(s.balances(), [918, 154, 120, 8]);
    let refused = s.void_as(&keys[0], &payment);
    check_forbidden(&refused, "id", "Only the owner of every payee");
    // What is held is for the second alone, who may release it.
    let body = json!({"splits": [s.part(&s.market, 10)], "final": true});
    let after = s.capture_as(&keys[1], &payment, &body).expect(200);
    assert_eq!(
        (&after["status"], &after["amount_held"]),
        (&json!("captured"), &json!(0))
    );
    assert_eq!(s.balances(), [907, 154, 130, 9]);
}

#[test]
fn the_payer_neither_captures_nor_voids() {
    let s = Scene::new();
    let payment = s.held();
    let buyer = s.server.token("ann", "write");
    let body = json!({"splits": [s.part(&s.ann, 1)]});
    for body in [json!({}), body] {
        let refused = s.capture_as(&buyer, &payment, &body);
        check_forbidden(&refused, "id", "Only the owner of every account");
    }
    let refused = s.void_as(&buyer, &payment);
    check_forbidden(&refused, "id", "Only the owner of every payee");
}

#[test]
fn a_refused_split_is_named_with_what_is_left() {
    let s = Scene::new();
    let payment = s.held();
    let batch = |splits: &Value| json!([{"idempotency_key": "again", "capture": {"payment": payment, "splits": splits}}]);
    let over = json!([s.part(&s.market, 1), s.part(&s.shop, 55)]);
    let more = [(
        over,
        "splits[1].amount",
        "This payee can capture at most 54.",
    )];
    let of_fee = json!([s.part(&s.shop, 1), s.part(&s.fees, 1)]);
    let no_payee = [(of_fee, "splits[1].account", "no payee")];
    for (splits, param, reason) in more.into_iter().chain(no_payee) {
        let refused = s.capture(&payment, &json!({"splits": splits}));
        let error = refused.expect(402)["error"].clone();
        assert_eq!(error["param"], param);
        let message = error["message"].as_str().expect("a message");
        assert!(message.contains(reason), "{message}");
    }
    // The answer is that of the time of the refusal, with objects and without, and when it is repeated later.
    let batch = batch(&json!([s.part(&s.shop, 55)]));
    for preference in ["return=representation", "return=minimal"] {
        let answer = s
            .server
            .post_preferring(preference, "/v1/batches", None, &batch)
            .expect(200);
        let error = &answer["results"][0]["error"];
        assert_eq!(error["param"], "splits[0].amount", "{answer}");
        let message = error["message"].as_str().expect("a message");
        assert!(message.ends_with("at most 54."), "{message}");
        let splits = json!([s.part(&s.shop, 4)]);
        s.capture(&payment, &json!({"splits": splits})).expect(200);
    }
    let captured = s.captured();
    let platform = s.server.platform.clone();
    let parts = json!([s.part(&s.market, 1), s.part(&s.shop, 61)]);
    let refused = s.refund(&platform, &captured, parts, false).expect(402);
    let error = &refused["error"];
    assert_eq!(error["param"], "splits[1].amount");
    let message = error["message"].as_str().expect("a message");
    assert!(message.ends_with("at most 60."), "{message}");
    let unequal = json!({"amount": 100, "currency": "EUR", "source": s.ann,
        "splits": [{"account": s.shop, "amount": 54}, {"account": s.market, "amount": 36}]});
    let refused = s.server.post("/v1/payments", &unequal).expect(402);
    assert_eq!(
        (&refused["error"]["code"], &refused["error"]["param"]),
        (&json!("split_mismatch"), &json!("splits"))
    );
}

#[test]
fn a_refund_of_one_part_names_the_account_that_lacks_funds() {
    let scene = Scene::new();
    let payment = scene.captured();
    let spend =
        json!({"amount": 154, "currency": "EUR", "source": scene.shop, "destination": scene.ann});
    scene.server.post("/v1/transfers", &spend).expect(201);
    let platform = &scene.server.platform;
    let parts = json!([scene.part(&scene.shop, 54)]);
    let error = scene.refund(platform, &payment, parts, false).expect(402)["error"].clone();
    assert_eq!(error["code"], "insufficient_funds");
    assert_eq!(error["account"], json!(scene.shop), "{error}");
    let both = json!([scene.part(&scene.shop, 54), scene.part(&scene.market, 1)]);
    let error = scene.refund(platform, &payment, both, false).expect(402)["error"].clone();
    assert_eq!(error["account"], json!(scene.shop), "{error}");
}
