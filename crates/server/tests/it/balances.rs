//! Balances of the past, and statements that a person can read.

use serde_json::{Value, json};

use crate::fixture::{Fixture, hold, id, pay};

fn balance(server: &Fixture, account: &str, at: &str) -> Value {
    server
        .get(&format!("/v1/accounts/{account}/balance?at={at}"))
        .expect(200)
}

/// What the trial balance at a moment says of EUR: debits, credits and pending.
fn trial(server: &Fixture, at: &str) -> Value {
    let trial = server
        .get(&format!("/v1/trial_balance?at={at}"))
        .expect(200);
    assert_eq!(trial["balanced"], true, "{trial}");
    let line = &trial["currencies"][0];
    json!([line["debits"], line["credits"], line["pending"]])
}

/// A scene over four days: the fixture begins on 2026-11-20.
struct Scene {
    server: Fixture,
    buyer: String,
    shop: String,
    /// Events: of the top-up, the first payment, the hold, and the payment that was recorded late.
    events: [String; 4],
}

fn scene() -> Scene {
    let server = Fixture::start();
    let buyer = server.wallet("ann", 1_000);
    let shop = server.account("shop", "merchant");
    let last = |account: &str| {
        id(&server
            .get(&format!("/v1/accounts/{account}/entries"))
            .expect(200)["data"][0])
    };
    let topped_up = last(&buyer);
    server.clock.advance(86_400);
    let paid = server
        .post("/v1/payments", &pay(&buyer, &shop, 100))
        .expect(201);
    server.clock.advance(86_400);
    let held = server
        .post("/v1/payments", &hold(&buyer, &shop, 50))
        .expect(201);
    server.clock.advance(86_400);
    // The business was done before the first payment, and is recorded only now.
    let mut late = pay(&buyer, &shop, 7);
    late["effective_at"] = json!("2026-11-20");
    let late = server.post("/v1/payments", &late).expect(201);
    let event = |payment: &Value| payment["last_event"].as_str().expect("an event").to_owned();
    Scene {
        events: [topped_up, event(&paid), event(&held), event(&late)],
        server,
        buyer,
        shop,
    }
}

#[test]
fn a_balance_is_shown_after_an_event_at_a_time_and_on_a_business_date() {
    let Scene {
        server,
        buyer,
        shop,
        events,
    } = scene();
    let created = server.get(&format!("/v1/events/{}", events[0])).expect(200)["created"].clone();
    assert!(
        created.as_str().expect("a time").starts_with("2026-11-20"),
        "{created}"
    );
    let [topped_up, paid, held, late] = &events;
    let recorded = [
        (topped_up.as_str(), 1_000, 0, topped_up),
        (paid, 900, 0, paid),
        (held, 900, 50, held),
        (late, 893, 50, late),
        ("2026-11-20T23:59:59Z", 1_000, 0, topped_up),
        ("2026-11-21T23:59:59Z", 900, 0, paid),
        ("2026-11-22T23:59:59Z", 900, 50, held),
        ("2026-11-23T23:59:59Z", 893, 50, late),
        ("2030-01-01T00:00:00Z", 893, 50, late),
    ];
    for (at, posted, pending, last) in recorded {
        let found = balance(&server, &buyer, at);
        assert_eq!(
            found,
            json!({"object": "balance", "account": buyer, "currency": "EUR", "at": at, "basis": "recorded",
                "posted": posted, "pending": pending, "available": posted - pending, "last_event": last}),
        );
    }
    // Before there was an account, there was nothing in it.
    let before = balance(&server, &buyer, "2026-11-01T00:00:00Z");
    assert_eq!(
        (&before["posted"], &before["last_event"]),
        (&json!(0), &Value::Null)
    );
    // The payment that was recorded late belongs to its own day.
    for (date, buyers, shops) in [
        ("2026-11-19", 0, 0),
        ("2026-11-20", 993, 7),
        ("2026-11-21", 893, 107),
        ("2030-01-01", 893, 107),
    ] {
        let found = balance(&server, &buyer, date);
        assert_eq!(
            found,
            json!({"object": "balance", "account": buyer, "currency": "EUR", "at": date, "basis": "effective",
                "posted": buyers, "pending": null, "available": null, "last_event": late}),
        );
        assert_eq!(balance(&server, &shop, date)["posted"], shops);
    }
    let now = server
        .get(&format!("/v1/accounts/{buyer}/balance"))
        .expect(200);
    let account = server.get(&format!("/v1/accounts/{buyer}")).expect(200);
    for field in ["posted", "pending", "available", "currency"] {
        assert_eq!(now[field], account[field], "{field}");
    }
    assert_eq!(now["at"], Value::Null);
}

#[test]
fn a_trial_balance_is_shown_after_an_event_at_a_time_and_on_a_business_date() {
    let Scene { server, events, .. } = scene();
    let [topped_up, paid, held, late] = &events;
    for (at, expected) in [
        (topped_up.as_str(), json!(["1000", "1000", "0"])),
        (paid, json!(["1000", "1000", "0"])),
        (held, json!(["1000", "1000", "50"])),
        (late, json!(["1000", "1000", "50"])),
        ("2026-11-21T23:59:59Z", json!(["1000", "1000", "0"])),
        ("2026-11-20", json!(["1000", "1000", null])),
    ] {
        assert_eq!(trial(&server, at), expected, "{at}");
    }
    let kinds = |at: &str| -> Vec<(String, String)> {
        let trial = server
            .get(&format!("/v1/trial_balance?at={at}"))
            .expect(200);
        let kinds = trial["currencies"][0]["kinds"]
            .as_array()
            .expect("kinds")
            .clone();
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        kinds
            .iter()
            .map(|kind| (text(&kind["kind"]), text(&kind["credits"])))
            .collect()
    };
    let credits = |wallet: &str, merchant: &str| {
        [
            ("wallet", wallet),
            ("merchant", merchant),
            ("external", "0"),
        ]
        .map(|(kind, credits)| (kind.to_owned(), credits.to_owned()))
        .to_vec()
    };
    assert_eq!(kinds(paid), credits("900", "100"));
    assert_eq!(kinds("2026-11-20"), credits("993", "7"));
    // A platform key may also count events.
    let trial = server.get("/v1/trial_balance?at=1").expect(200);
    assert_eq!(trial["currencies"], json!([]));
    let before = server
        .get("/v1/trial_balance?at=2020-01-01T00:00:00Z")
        .expect(200);
    assert_eq!(
        (&before["event"], &before["currencies"]),
        (&Value::Null, &json!([]))
    );
}

#[test]
fn a_moment_that_is_not_the_callers_to_see_is_answered_like_an_invented_one() {
    let Scene { server, buyer, .. } = scene();
    let ann = server.token("ann", "read");
    let other = server.wallet("bob", 5);
    let foreign = id(&server
        .get(&format!("/v1/accounts/{other}/entries"))
        .expect(200)["data"][0]);
    let path = |at: &str| format!("/v1/accounts/{buyer}/balance?at={at}");
    let invented = foreign.chars().rev().collect::<String>();
    let mut answers = Vec::new();
    for at in [
        foreign.as_str(),
        "evt_00000000000000000000000000",
        &invented,
        "3",
        "yesterday",
        "",
        "2026-02-30",
    ] {
        let answer = server.get_as(&ann, &path(at));
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (400, "parameter_invalid"),
            "{at}"
        );
        let error = answer.json()["error"].clone();
        assert_eq!(error["param"], "at");
        answers.push(error["message"].clone());
    }
    assert!(
        answers.iter().all(|answer| *answer == answers[0]),
        "{answers:?}"
    );
    // The platform may count, but not beyond the last event.
    assert_eq!(server.get(&path("3")).status, 200);
    assert_eq!(server.get(&path("100000")).status, 400);
    assert_eq!(
        server
            .get_as(&ann, &format!("/v1/accounts/{other}/balance"))
            .status,
        404
    );
    assert_eq!(
        server
            .get_as(&ann, "/v1/trial_balance?at=2026-11-20")
            .status,
        403
    );
    assert_eq!(
        server
            .get(&format!("/v1/accounts/{buyer}/balance?on=2026-11-20"))
            .code(),
        "parameter_unknown"
    );
}

/// The lines of a statement, oldest first: kind, amount, counterparties, reference, description.
fn lines(server: &Fixture, token: &str, account: &str) -> Vec<Value> {
    let list = server
        .get_as(token, &format!("/v1/accounts/{account}/entries?limit=100"))
        .expect(200);
    let lines = list["data"].as_array().expect("lines").iter().rev();
    lines
        .map(|line| {
            json!([
                line["payment_kind"],
                line["amount"],
                line["counterparties"],
                line["reference"],
                line["description"]
            ])
        })
        .collect()
}

#[test]
fn a_line_of_a_statement_says_what_it_was_with_whom_and_why() {
    let server = Fixture::start();
    let buyer = server.wallet("ann", 1_000);
    let (shop, farm) = (
        server.account("shop", "merchant"),
        server.account("farm", "merchant"),
    );
    let fees = server.account("platform", "fee");
    let order = json!({"amount": 500, "currency": "EUR", "source": buyer, "capture_method": "manual",
        "expires_at": "2026-12-01T00:00:00Z", "reference": "order-4711", "description": "Two crates",
        "splits": [{"account": shop, "amount": 300}, {"account": farm, "amount": 190}],
        "fees": [{"account": fees, "amount": 10}]});
    let order = id(&server.post("/v1/payments", &order).expect(201));
    server
        .post(&format!("/v1/payments/{order}/capture"), &json!({}))
        .expect(200);
    let refund = json!({"payment": order, "description": "One crate was broken", "amount": 49});
    server.post("/v1/refunds", &refund).expect(201);
    let out = json!({"amount": 20, "currency": "EUR", "source": shop, "paid": true,
        "destination": server.account("platform", "external")});
    server.post("/v1/payouts", &out).expect(201);

    let party = |account: &str, owner: Option<&str>| json!({"account": account, "owner": owner});
    let all = lines(&server, &server.platform, &shop);
    let buyer_seen = party(&buyer, Some("ann"));
    assert_eq!(
        all[0],
        json!(["pay", 300, [buyer_seen], "order-4711", "Two crates"])
    );
    assert_eq!(all[1][0], "pay");
    assert_eq!(all[1][2], json!([buyer_seen]));
    assert_eq!(
        (&all[1][3], &all[1][4]),
        (&json!("order-4711"), &json!("One crate was broken"))
    );
    assert_eq!(
        (&all[2][0], &all[2][1], &all[2][3]),
        (&json!("payout"), &json!(-20), &Value::Null)
    );
    // Its own key sees with whom, but not who owns what it may not see.
    let shops = server.token("shop", "read");
    let seen = lines(&server, &shops, &shop);
    assert_eq!(
        seen[0],
        json!([
            "pay",
            300,
            [party(&buyer, None)],
            "order-4711",
            "Two crates"
        ])
    );
    assert_eq!(seen.len(), 3);
    // Whoever pays several sees all of them, and knows itself where it paid itself.
    let paid = lines(&server, &server.token("ann", "read"), &buyer);
    assert_eq!(paid[0][0], "top_up");
    let payees = [party(&shop, None), party(&farm, None), party(&fees, None)];
    assert_eq!(
        paid[1],
        json!(["pay", -500, payees, "order-4711", "Two crates"])
    );
    assert_eq!(
        (&paid[2][1], &paid[2][4]),
        (&json!(49), &json!("One crate was broken"))
    );
    // The fee is kept, so its account is not among those that gave back.
    assert_eq!(paid[2][2], json!([party(&shop, None), party(&farm, None)]));
}

#[test]
fn a_line_of_a_statement_says_why_a_payout_came_back_and_why_it_was_adjusted() {
    let server = Fixture::start();
    let seller = server.wallet("seller", 1_000);
    let bank = server.account("platform", "external");
    let out = json!({"amount": 20, "currency": "EUR", "source": seller, "destination": bank, "paid": true});
    let payout = id(&server.post("/v1/payouts", &out).expect(201));
    server
        .post(
            &format!("/v1/payouts/{payout}/returns"),
            &json!({"reason": "account closed"}),
        )
        .expect(201);
    let gift = json!({"amount": 5, "currency": "EUR", "source": bank, "destination": seller, "reason": "our mistake"});
    server.post("/v1/adjustments", &gift).expect(201);
    let list = server
        .get_as(
            &server.token("seller", "read"),
            &format!("/v1/accounts/{seller}/entries?limit=3"),
        )
        .expect(200);
    let lines = list["data"].as_array().expect("lines").iter();
    let told: Vec<Value> = lines
        .map(|line| json!([line["payment_kind"], line["amount"], line["reason"]]))
        .collect();
    assert_eq!(
        json!(told),
        json!([
            ["adjustment", 5, "our mistake"],
            ["payout_return", 20, "account closed"],
            ["payout", -20, null],
        ])
    );
}
