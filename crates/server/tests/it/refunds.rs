//! Refunds as a list.

use serde_json::{Value, json};

use crate::fixture::{Fixture, hold, id, pay};

fn ids(page: &Value) -> Vec<String> {
    page["data"]
        .as_array()
        .expect("items")
        .iter()
        .map(id)
        .collect()
}

#[test]
fn the_refunds_of_a_payment_are_listed_newest_first() {
    let server = Fixture::start();
    let (ann, shop) = (
        server.wallet("ann", 1_000),
        server.account("shop", "merchant"),
    );
    let payment = id(&server
        .post("/v1/payments", &hold(&ann, &shop, 100))
        .expect(201));
    let other = id(&server
        .post("/v1/payments", &pay(&ann, &shop, 100))
        .expect(201));
    let url = format!("/v1/refunds?payment={payment}");
    assert_eq!(ids(&server.get(&url).expect(200)), [""; 0]);
    let mut made = Vec::new();
    for round in 0..5 {
        // Captures, refusals and refunds of another payment lie between them.
        let capture = format!("/v1/payments/{payment}/capture");
        server.post(&capture, &json!({"amount": 20})).expect(200);
        let refused = server.post("/v1/refunds", &json!({"payment": payment, "amount": 99}));
        assert_eq!(refused.status, 402);
        server
            .post("/v1/refunds", &json!({"payment": other, "amount": 1}))
            .expect(201);
        let refund = json!({"payment": payment, "amount": round + 1});
        made.insert(0, id(&server.post("/v1/refunds", &refund).expect(201)));
        server.clock.advance(10);
    }
    let all = server.get(&url).expect(200);
    assert_eq!(ids(&all), made);
    assert_eq!(
        (&all["has_more"], &all["url"]),
        (&json!(false), &json!("/v1/refunds"))
    );
    assert_eq!(
        all["data"][0],
        server.get(&format!("/v1/refunds/{}", made[0])).expect(200)
    );

    // Page by page, down and up.
    let page = server.get(&format!("{url}&limit=2")).expect(200);
    assert_eq!(
        (ids(&page), &page["has_more"]),
        (made[..2].to_vec(), &json!(true))
    );
    let cursor = page["next_cursor"].as_str().expect("a cursor");
    let page = server.get(&format!("{url}&limit=2&starting_after={cursor}"));
    assert_eq!(ids(&page.expect(200)), made[2..4]);
    let page = server.get(&format!("{url}&starting_after={}", made[3]));
    assert_eq!(ids(&page.expect(200)), made[4..]);
    let page = server
        .get(&format!("{url}&limit=2&ending_before={}", made[3]))
        .expect(200);
    assert_eq!(
        (ids(&page), &page["has_more"]),
        (made[1..3].to_vec(), &json!(true))
    );
    let page = server
        .get(&format!("{url}&limit=3&ending_before={}", made[3]))
        .expect(200);
    assert_eq!(
        (ids(&page), &page["has_more"]),
        (made[..3].to_vec(), &json!(false))
    );
    let page = server.get(&format!(
        "{url}&created[gte]=2026-11-20T00:00:10Z&created[lt]=2026-11-20T00:00:30Z"
    ));
    assert_eq!(ids(&page.expect(200)), made[2..4]);
}

#[test]
fn refunds_are_listed_for_whoever_sees_the_payment() {
    let server = Fixture::start();
    let (ann, shop) = (
        server.wallet("ann", 100),
        server.account("shop", "merchant"),
    );
    let payment = id(&server
        .post("/v1/payments", &pay(&ann, &shop, 100))
        .expect(201));
    server
        .post("/v1/refunds", &json!({"payment": payment}))
        .expect(201);
    for (owner, status) in [("ann", 200), ("shop", 200), ("eve", 404)] {
        let token = server.token(owner, "read");
        let answer = server.get_as(&token, &format!("/v1/refunds?payment={payment}"));
        assert_eq!(answer.status, status, "{owner}");
    }
    for (query, code) in [
        ("?payment=x", "parameter_invalid"),
        ("?payment=x&limit=0", "parameter_invalid"),
    ] {
        let answer = server.get(&format!("/v1/refunds{query}"));
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (400, code),
            "{query}"
        );
    }
}
