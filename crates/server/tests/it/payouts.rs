//! The life of a payout over REST: pending, paid or failed, returned.

use serde_json::{Value, json};

use crate::fixture::{Fixture, id, pay};

struct Scene {
    server: Fixture,
    wallet: String,
    bank: String,
    seller: String,
}

impl Scene {
    fn new() -> Scene {
        let server = Fixture::start();
        let wallet = server.wallet("seller", 1_000);
        let bank = server.account("platform", "external");
        let seller = server.token("seller", "write");
        Scene {
            server,
            wallet,
            bank,
            seller,
        }
    }

    /// A payout that the seller asks for.
    fn asked(&self, amount: u64) -> Value {
        let body = pay(&self.wallet, &self.bank, amount);
        self.server
            .post_as(&self.seller, "/v1/payouts", &body)
            .expect(201)
    }

    fn about(&self, payout: &str, verb: &str, body: Value) -> Value {
        let url = format!("/v1/payouts/{payout}/{verb}");
        let status = if verb == "returns" { 201 } else { 200 };
        self.server.post(&url, &body).expect(status)
    }

    fn payment(&self, id: &str) -> Value {
        let url = format!("/v1/payments/{id}");
        self.server.get_as(&self.seller, &url).expect(200)
    }

    fn available(&self) -> i64 {
        let url = format!("/v1/accounts/{}", self.wallet);
        let account = self.server.get(&url).expect(200);
        account["available"].as_i64().expect("a number")
    }

    fn ids(&self, query: &str) -> Vec<String> {
        let page = self.server.get_as(&self.seller, query).expect(200);
        let items = page["data"].as_array().expect("items");
        items.iter().map(id).collect()
    }

    /// Types of the last events, the newest first.
    fn events(&self, limit: usize) -> Vec<String> {
        let page = self.server.get(&format!("/v1/events?limit={limit}"));
        let page = page.expect(200);
        let types = page["data"].as_array().expect("items").iter();
        types
            .map(|event| event["type"].as_str().expect("a type").to_owned())
            .collect()
    }
}

#[test]
fn a_payout_is_pending_until_the_platform_pays_it() {
    let scene = Scene::new();
    let asked = scene.asked(600);
    let payout = id(&asked);
    for (field, value) in [
        ("kind", json!("payout")),
        ("status", json!("pending")),
        ("owner", json!("seller")),
        ("amount_held", json!(600)),
        ("amount_captured", json!(0)),
        ("amount_returned", json!(0)),
        ("expires_at", Value::Null),
        ("failure", Value::Null),
        ("reason", Value::Null),
    ] {
        assert_eq!(asked[field], value, "{field}");
    }
    assert_eq!(scene.available(), 400);
    // The money is not to be spent twice.
    let more = pay(&scene.wallet, &scene.bank, 401);
    let refused = scene.server.post_as(&scene.seller, "/v1/payouts", &more);
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (402, "insufficient_funds")
    );
    for (verb, body) in [
        ("pay", json!({})),
        ("fail", json!({"reason": "r"})),
        ("returns", json!({})),
    ] {
        let url = format!("/v1/payouts/{payout}/{verb}");
        let answer = scene.server.post_as(&scene.seller, &url, &body);
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (403, "platform_only"),
            "{verb}"
        );
        let stranger = scene.server.token("stranger", "write");
        assert_eq!(
            scene.server.post_as(&stranger, &url, &body).status,
            404,
            "{verb}"
        );
    }
    let void = format!("/v1/payments/{payout}/void");
    let answer = scene.server.post_as(&scene.seller, &void, &json!({}));
    assert_eq!((answer.status, answer.code().as_str()), (403, "forbidden"));
    let paid = scene.about(&payout, "pay", json!({}));
    assert_eq!(
        (
            &paid["id"],
            &paid["status"],
            &paid["amount_captured"],
            &paid["amount_held"]
        ),
        (&json!(payout), &json!("paid"), &json!(600), &json!(0))
    );
    assert_eq!(scene.payment(&payout), paid);
    assert_eq!(scene.events(1), ["payout.paid"]);
}

#[test]
fn a_failed_payout_says_why_and_gives_the_money_back() {
    let scene = Scene::new();
    let payout = id(&scene.asked(600));
    let url = format!("/v1/payouts/{payout}/fail");
    let answer = scene.server.post(&url, &json!({}));
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (400, "parameter_missing")
    );
    let failed = scene.about(&payout, "fail", json!({"reason": "account closed"}));
    assert_eq!(
        (&failed["status"], &failed["reason"], &failed["failure"]),
        (&json!("failed"), &json!("account closed"), &Value::Null)
    );
    assert_eq!(scene.available(), 1_000);
    assert_eq!(scene.payment(&payout), failed);
    assert_eq!(scene.events(1), ["payout.failed"]);
    assert_eq!(
        scene.ids("/v1/payments?kind=payout&status=failed"),
        [payout]
    );
    assert_eq!(
        scene.ids("/v1/payments?kind=payout&status=pending"),
        [""; 0]
    );
}

#[test]
fn money_that_came_back_is_a_payment_of_its_own() {
    let scene = Scene::new();
    let payout = id(&scene.asked(600));
    scene.about(&payout, "pay", json!({}));
    let body = json!({"amount": 250, "reason": "unknown account", "metadata": {"bank": "r-1"}, "effective_at": "2026-11-19"});
    let first = scene.about(&payout, "returns", body);
    for (field, value) in [
        ("kind", json!("payout_return")),
        ("status", json!("captured")),
        ("payout", json!(payout)),
        ("amount", json!(250)),
        ("owner", json!("seller")),
        ("reason", json!("unknown account")),
        ("metadata", json!({"bank": "r-1"})),
        ("effective_at", json!("2026-11-19")),
        ("source", json!(scene.bank)),
    ] {
        assert_eq!(first[field], value, "{field}");
    }
    assert_eq!(first["splits"][0]["account"], json!(scene.wallet));
    assert_eq!(scene.payment(&id(&first)), first);
    let now = scene.payment(&payout);
    assert_eq!(
        (
            &now["status"],
            &now["amount_returned"],
            &now["amount_refunded"]
        ),
        (&json!("paid"), &json!(250), &json!(0))
    );
    let second = scene.about(&payout, "returns", json!({}));
    assert_eq!(second["amount"], 350);
    assert_eq!(scene.available(), 1_000);
    let returns = [id(&second), id(&first)];
    assert_eq!(scene.ids("/v1/payments?kind=payout_return"), returns);
    assert_eq!(
        scene.ids("/v1/payments?kind=payout&status=paid"),
        std::slice::from_ref(&payout)
    );
    let url = format!("/v1/payouts/{payout}/returns");
    let none_left = scene.server.post(&url, &json!({}));
    assert_eq!(none_left.code(), "return_exceeds_paid");
    assert_eq!(
        scene.events(3),
        [
            "payout.return_refused",
            "payout.returned",
            "payout.returned"
        ]
    );
    // The timeline of the payout has its returns; that of a return begins with itself.
    let timeline = |id: &str| {
        let url = format!("/v1/payments/{id}/timeline");
        let page = scene.server.get(&url).expect(200);
        let entries = page["data"].as_array().expect("entries").clone();
        let decided = |entry: Value| {
            let (kind, status) = (&entry["event_type"], &entry["payment_status"]);
            (entry["type"] == "decision").then(|| format!("{kind} {status}").replace('"', ""))
        };
        entries.into_iter().filter_map(decided).collect::<Vec<_>>()
    };
    assert_eq!(
        timeline(&payout),
        [
            "payout.created pending",
            "payout.paid paid",
            "payout.returned paid",
            "payout.returned paid",
            "payout.return_refused null",
        ]
    );
    assert_eq!(timeline(&id(&first)), ["payout.returned captured"]);
    // Statement of the wallet: what went out and what came back.
    let url = format!("/v1/accounts/{}/entries", scene.wallet);
    let page = scene.server.get(&url).expect(200);
    let lines = page["data"].as_array().expect("lines").iter();
    let lines: Vec<_> = lines
        .map(|line| {
            (
                line["amount"].as_i64().expect("a number"),
                line["payment"].clone(),
            )
        })
        .take(3)
        .collect();
    let returned = |at: usize| json!(returns[at]);
    assert_eq!(
        lines,
        [
            (350, returned(0)),
            (250, returned(1)),
            (-600, json!(payout))
        ]
    );
}

#[test]
fn what_was_done_with_a_payout_survives_a_restart_and_is_answered_again() {
    let mut scene = Scene::new();
    let (first, second) = (id(&scene.asked(100)), id(&scene.asked(200)));
    let returns = format!("/v1/payouts/{first}/returns");
    scene.about(&first, "pay", json!({}));
    let body = json!({"amount": 30});
    let back = scene.server.post_key(&returns, "return-1", &body);
    scene.server.restart();
    let again = scene.server.post_key(&returns, "return-1", &body);
    assert_eq!((again.status, &again.body), (201, &back.body));
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    assert_eq!(scene.payment(&first)["amount_returned"], 30);
    assert_eq!(scene.payment(&second)["status"], "pending");
    assert_eq!(scene.available(), 730);
    // A century is no reason to release it.
    scene.server.clock.advance(100 * 365 * 86_400);
    scene.about(&second, "pay", json!({}));
    assert_eq!(scene.payment(&second)["status"], "paid");
}

#[test]
fn a_batch_pays_fails_and_returns_payouts() {
    let scene = Scene::new();
    let (first, second) = (id(&scene.asked(100)), id(&scene.asked(200)));
    let body = json!([
        {"idempotency_key": "b-1", "payout": {"amount": 50, "currency": "EUR", "source": scene.wallet, "destination": scene.bank, "paid": true}},
        {"idempotency_key": "b-2", "pay_payout": {"payout": first}},
        {"idempotency_key": "b-3", "return_payout": {"payout": first, "amount": 40}},
        {"idempotency_key": "b-4", "fail_payout": {"payout": second, "reason": "closed"}},
        {"idempotency_key": "b-5", "return_payout": {"payout": first, "amount": 61}},
    ]);
    let answer = scene.server.post("/v1/batches", &body).expect(200);
    let results = answer["results"].as_array().expect("results");
    let statuses: Vec<_> = results
        .iter()
        .map(|result| result["status"].clone())
        .collect();
    assert_eq!(
        statuses,
        [201, 200, 201, 200, 402].map(|status| json!(status))
    );
    assert_eq!(scene.available(), 890);
    // All or nothing: a group that ends with a refusal leaves the payout pending.
    let third = id(&scene.asked(10));
    let group = json!([{"group": [
        {"idempotency_key": "g-1", "pay_payout": {"payout": third}},
        {"idempotency_key": "g-2", "pay_payout": {"payout": first}},
    ]}]);
    scene.server.post("/v1/batches", &group).expect(200);
    assert_eq!(scene.payment(&third)["status"], "pending");
}
