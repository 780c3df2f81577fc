//! A payment's life.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::client::PATIENCE;
use crate::fixture::{Fixture, hold, id, pay};

#[test]
fn a_payment_moves_money_and_shows_it() {
    let server = Fixture::start();
    let (buyer, shop, fees) = (
        server.wallet("ann", 10_000),
        server.account("shop", "merchant"),
        server.account("platform", "fee"),
    );
    let mut body = pay(&buyer, &shop, 1_000);
    body["fees"] = json!([{"account": fees, "amount": 30, "basis_points": 150}]);
    body["reference"] = json!("order-1");
    body["description"] = json!("Two books");
    body["metadata"] = json!({"b": "2", "a": "1"});
    body["effective_at"] = json!("1993-02-28");
    let payment = server.post("/v1/payments", &body).expect(201);
    assert_eq!(payment["status"], "captured");
    assert_eq!(payment["kind"], "pay");
    assert_eq!(payment["owner"], "shop");
    assert_eq!(payment["amount_captured"], 1_000);
    assert_eq!(
        payment["splits"],
        json!([{"account": shop, "amount": 955, "captured": 955, "refunded": 0}])
    );
    assert_eq!(
        payment["fees"],
        json!([{"account": fees, "amount": 45, "captured": 45, "refunded": 0}])
    );
    assert_eq!(payment["reference"], "order-1");
    assert_eq!(payment["metadata"], json!({"a": "1", "b": "2"}));
    assert_eq!(payment["effective_at"], "1993-02-28");
    assert_eq!(
        (
            server.posted(&buyer),
            server.posted(&shop),
            server.posted(&fees)
        ),
        (9_000, 955, 45)
    );
    let read = server
        .get(&format!("/v1/payments/{}", id(&payment)))
        .expect(200);
    assert_eq!(read, payment);

    let refund = json!({"payment": id(&payment), "amount": 400, "refund_fee": true, "metadata": {"why": "torn"}});
    let refund = server.post("/v1/refunds", &refund).expect(201);
    assert_eq!(
        (&refund["amount"], &refund["fee_amount"]),
        (&json!(400), &json!(18))
    );
    assert_eq!(refund["payment_status"], "partially_refunded");
    assert_eq!(
        server
            .get(&format!("/v1/refunds/{}", id(&refund)))
            .expect(200),
        refund
    );
    assert_eq!(
        (
            server.posted(&buyer),
            server.posted(&shop),
            server.posted(&fees)
        ),
        (9_400, 573, 27)
    );
}

#[test]
fn a_hold_is_captured_in_parts_and_the_rest_is_released() {
    let server = Fixture::start();
    let (buyer, shop) = (
        server.wallet("ann", 1_000),
        server.account("shop", "merchant"),
    );
    let payment = server
        .post("/v1/payments", &hold(&buyer, &shop, 600))
        .expect(201);
    let path = format!("/v1/payments/{}", id(&payment));
    assert_eq!(
        (&payment["status"], &payment["amount_held"]),
        (&json!("authorized"), &json!(600))
    );
    let account = server.get(&format!("/v1/accounts/{buyer}")).expect(200);
    assert_eq!(
        (
            &account["posted"],
            &account["pending"],
            &account["available"]
        ),
        (&json!(1_000), &json!(600), &json!(400))
    );

    let part = server
        .post(&format!("{path}/capture"), &json!({"amount": 200}))
        .expect(200);
    assert_eq!(
        (&part["status"], &part["amount_held"]),
        (&json!("partially_captured"), &json!(400))
    );
    let last = server
        .post(
            &format!("{path}/capture"),
            &json!({"amount": 100, "final": true}),
        )
        .expect(200);
    assert_eq!(
        (&last["status"], &last["amount_captured"]),
        (&json!("captured"), &json!(300))
    );
    assert_eq!((server.posted(&buyer), server.posted(&shop)), (700, 300));

    // A write without a body means `{}`.
    let other = id(&server
        .post("/v1/payments", &hold(&buyer, &shop, 50))
        .expect(201));
    let token = server.platform.clone();
    let void = server.post_raw(
        &token,
        &format!("/v1/payments/{other}/void"),
        Some("no body"),
        b"",
    );
    assert_eq!(void.expect(200)["status"], "voided");
}

#[test]
fn a_hold_expires_by_itself() {
    let server = Fixture::start();
    let (buyer, shop) = (
        server.wallet("ann", 1_000),
        server.account("shop", "merchant"),
    );
    let payment = id(&server
        .post("/v1/payments", &hold(&buyer, &shop, 600))
        .expect(201));
    server.clock.advance(30 * 86_400);
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        if server.get(&format!("/v1/payments/{payment}")).expect(200)["status"] == "expired" {
            assert_eq!(
                server.get(&format!("/v1/accounts/{buyer}")).expect(200)["available"],
                1_000
            );
            return;
        }
        std::thread::sleep(Duration::from_millis(25));
    }
    panic!("the hold was not released");
}

#[test]
fn a_refused_payment_is_answered_with_402_and_its_id_and_stays_refused() {
    let server = Fixture::start();
    let (buyer, shop) = (
        server.wallet("ann", 100),
        server.account("shop", "merchant"),
    );
    let body = pay(&buyer, &shop, 101);
    let refused = server.post_key("/v1/payments", "k", &body);
    let error = refused.expect(402)["error"].clone();
    assert_eq!(error["code"], "insufficient_funds");
    assert_eq!(error["type"], "payment_error");
    let payment = error["payment"].as_str().expect("its id").to_owned();
    let failed = server.get(&format!("/v1/payments/{payment}")).expect(200);
    assert_eq!(
        (&failed["status"], &failed["failure"]["code"]),
        (&json!("failed"), &json!("insufficient_funds"))
    );

    server.post("/v1/adjustments", &json!({"amount": 500, "currency": "EUR", "source": server.account("platform", "external"),
        "destination": buyer, "reason": "a gift"})).expect(201);
    let again = server.post_key("/v1/payments", "k", &body);
    assert_eq!(again.code(), "insufficient_funds");
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    assert_eq!(server.posted(&buyer), 600);
}

/// Two 60 € refunds of a 100 € payment at the same moment: exactly one of them is done.
#[test]
fn concurrent_refunds_never_give_back_more_than_was_captured() {
    let server = Arc::new(Fixture::start());
    for round in 0..10 {
        let (buyer, shop) = (
            server.wallet("ann", 100),
            server.account("shop", "merchant"),
        );
        let payment = id(&server
            .post("/v1/payments", &pay(&buyer, &shop, 100))
            .expect(201));
        // The shop has enough for both, so nothing but the rule stands in the way.
        server
            .post(
                "/v1/transfers",
                &pay(&server.wallet("bob", 500), &shop, 500),
            )
            .expect(201);
        let refund = json!({"payment": payment, "amount": 60});
        let threads: Vec<_> = (0..2)
            .map(|index| {
                let (server, refund) = (server.clone(), refund.clone());
                std::thread::spawn(move || {
                    server.post_key("/v1/refunds", &format!("refund-{round}-{index}"), &refund)
                })
            })
            .collect();
        let mut answers: Vec<_> = threads
            .into_iter()
            .map(|thread| thread.join().expect("no panic"))
            .collect();
        answers.sort_by_key(|answer| answer.status);
        answers[0].expect(201);
        assert_eq!(
            (answers[1].status, answers[1].code().as_str()),
            (402, "refund_exceeds_captured")
        );
        assert_eq!(server.posted(&buyer), 60);
    }
}

/// A repeated refund changes nothing: neither does it give back twice, nor does it reverse the first one.
#[test]
fn a_second_refund_never_reverses_the_first() {
    let server = Fixture::start();
    let (buyer, shop) = (
        server.wallet("ann", 100),
        server.account("shop", "merchant"),
    );
    let payment = id(&server
        .post("/v1/payments", &pay(&buyer, &shop, 100))
        .expect(201));
    let refund = json!({"payment": payment});
    let first = server.post_key("/v1/refunds", "first", &refund).expect(201);
    for attempt in 0..3 {
        let second = server.post_key("/v1/refunds", &format!("second-{attempt}"), &refund);
        assert_eq!(
            (second.status, second.code().as_str()),
            (402, "payment_already_refunded")
        );
        assert_eq!((server.posted(&buyer), server.posted(&shop)), (100, 0));
    }
    let repeated = server.post_key("/v1/refunds", "first", &refund);
    assert_eq!(repeated.expect(201), first);
    assert_eq!((server.posted(&buyer), server.posted(&shop)), (100, 0));
    let payment = server.get(&format!("/v1/payments/{payment}")).expect(200);
    assert_eq!(
        (&payment["status"], &payment["amount_refunded"]),
        (&json!("refunded"), &json!(100))
    );
}

/// A hold counts against the balance at once.
#[test]
fn held_money_cannot_be_spent_twice() {
    let server = Fixture::start();
    let (buyer, shop) = (
        server.wallet("ann", 100),
        server.account("shop", "merchant"),
    );
    server
        .post("/v1/payments", &hold(&buyer, &shop, 80))
        .expect(201);
    assert_eq!(
        server.post("/v1/payments", &pay(&buyer, &shop, 21)).code(),
        "insufficient_funds"
    );
    assert_eq!(
        server.post("/v1/payments", &hold(&buyer, &shop, 21)).code(),
        "insufficient_funds"
    );
    server
        .post("/v1/payments", &pay(&buyer, &shop, 20))
        .expect(201);
}

#[test]
fn splits_add_up_to_the_last_cent() {
    let server = Fixture::start();
    let buyer = server.wallet("ann", 100_000);
    let payees: Vec<String> = (0..3)
        .map(|index| server.account(&format!("shop-{index}"), "merchant"))
        .collect();
    let splits: Vec<Value> = payees
        .iter()
        .zip([3333, 3333, 3334])
        .map(|(account, points)| json!({"account": account, "basis_points": points}))
        .collect();
    let payment = server
        .post(
            "/v1/payments",
            &json!({"amount": 100, "currency": "EUR", "source": buyer, "splits": splits}),
        )
        .expect(201);
    let parts: Vec<u64> = payment["splits"]
        .as_array()
        .expect("parts")
        .iter()
        .map(|part| part["amount"].as_u64().expect("units"))
        .collect();
    assert_eq!(parts, [33, 33, 34]);
}

#[test]
fn a_group_is_done_whole_or_not_at_all() {
    let server = Fixture::start();
    let (buyer, shop, other) = (
        server.wallet("ann", 100),
        server.account("shop", "merchant"),
        server.account("eve", "wallet"),
    );
    let group = |name: &str, second: u64| {
        json!([{"group": [
            {"idempotency_key": format!("{name}-1"), "payment": pay(&buyer, &shop, 60)},
            {"idempotency_key": format!("{name}-2"), "transfer": pay(&buyer, &other, second)},
        ]}])
    };
    let refused = server.post("/v1/batches", &group("a", 41)).expect(200);
    let codes: Vec<&str> = refused["results"]
        .as_array()
        .expect("results")
        .iter()
        .map(|result| result["error"]["code"].as_str().expect("an error"))
        .collect();
    assert_eq!(codes, ["group_aborted", "insufficient_funds"]);
    assert_eq!(server.posted(&buyer), 100);
    let done = server.post("/v1/batches", &group("b", 40)).expect(200);
    assert!(
        done["results"]
            .as_array()
            .expect("results")
            .iter()
            .all(|result| result["status"] == 201)
    );
    assert_eq!(
        (
            server.posted(&buyer),
            server.posted(&shop),
            server.posted(&other)
        ),
        (0, 60, 40)
    );

    // A group with a member that names what is not there is not sent at all.
    let mut broken = group("c", 1);
    broken[0]["group"][1]["transfer"]["source"] = json!(format!("acct_{}", "0".repeat(26)));
    let aborted = server.post("/v1/batches", &broken).expect(200);
    let statuses: Vec<u64> = aborted["results"]
        .as_array()
        .expect("results")
        .iter()
        .map(|result| result["status"].as_u64().expect("a status"))
        .collect();
    assert_eq!(statuses, [409, 404]);
}

#[test]
fn balances_and_answers_survive_a_restart() {
    let mut server = Fixture::start();
    let (buyer, shop) = (
        server.wallet("ann", 100),
        server.account("shop", "merchant"),
    );
    let payment = server.post_key("/v1/payments", "once", &pay(&buyer, &shop, 60));
    server.restart();
    assert_eq!((server.posted(&buyer), server.posted(&shop)), (40, 60));
    let again = server.post_key("/v1/payments", "once", &pay(&buyer, &shop, 60));
    assert_eq!(again.body, payment.body);
    assert_eq!((server.posted(&buyer), server.posted(&shop)), (40, 60));
}
