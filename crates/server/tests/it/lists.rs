//! Lists and statements: pages from anywhere, in both directions, without gaps or repetitions.

use serde_json::{Value, json};

use crate::fixture::{Fixture, hold, id, pay};

fn ids(list: &Value) -> Vec<String> {
    list["data"]
        .as_array()
        .expect("a list")
        .iter()
        .map(id)
        .collect()
}

/// All ids of the list at `path`, a page after the other, in the direction of `cursor`.
fn walk(server: &Fixture, path: &str, cursor: &str, mut from: Option<String>) -> Vec<String> {
    let mut all = Vec::new();
    for _ in 0..100 {
        let separator = if path.contains('?') { '&' } else { '?' };
        let start = from.map_or_else(String::new, |from| format!("&{cursor}={from}"));
        let page = server
            .get(&format!("{path}{separator}limit=3{start}"))
            .expect(200);
        assert_eq!(page["object"], "list");
        assert_eq!(page["url"], path.split('?').next().expect("a path"));
        let mut found = ids(&page);
        match cursor {
            "starting_after" => all.append(&mut found),
            _ => all.splice(0..0, found).for_each(drop),
        }
        if page["has_more"] == false {
            assert_eq!(page["next_cursor"], Value::Null);
            return all;
        }
        from = Some(page["next_cursor"].as_str().expect("it goes on").to_owned());
    }
    panic!("the list at {path} does not end");
}

#[test]
fn pages_join_without_gaps_in_both_directions() {
    let server = Fixture::start();
    let (buyer, shop) = (
        server.wallet("ann", 1_000),
        server.account("shop", "merchant"),
    );
    let made: Vec<String> = (0..11)
        .map(|_| {
            id(&server
                .post("/v1/payments", &pay(&buyer, &shop, 1))
                .expect(201))
        })
        .collect();
    let newest_first: Vec<String> = made.iter().rev().cloned().collect();
    for path in [
        "/v1/payments?kind=pay".to_owned(),
        "/v1/payments?owner=shop".to_owned(),
        format!("/v1/payments?account={shop}"),
        format!("/v1/payments?account={buyer}&owner=shop&status=captured"),
    ] {
        assert_eq!(
            walk(&server, &path, "starting_after", None),
            newest_first,
            "{path}"
        );
        assert_eq!(
            walk(&server, &path, "starting_after", Some(made[5].clone())),
            newest_first[6..],
            "{path}"
        );
        assert_eq!(
            walk(&server, &path, "ending_before", Some(made[0].clone())),
            newest_first[..10],
            "{path}"
        );
    }
    for path in ["/v1/accounts", "/v1/events", "/v1/api_keys"] {
        let down = walk(&server, path, "starting_after", None);
        assert!(!down.is_empty(), "{path}");
        let mut up = walk(
            &server,
            path,
            "ending_before",
            Some(down[down.len() - 1].clone()),
        );
        up.push(down[down.len() - 1].clone());
        assert_eq!(up, down, "{path}");
    }
}

#[test]
fn a_statement_runs_from_any_time_and_every_line_has_its_balance() {
    let server = Fixture::start();
    let (buyer, shop) = (
        server.wallet("ann", 1_000),
        server.account("shop", "merchant"),
    );
    let mut balances = vec![1_000];
    for day in 0..8 {
        server.clock.advance(86_400);
        server
            .post("/v1/payments", &pay(&buyer, &shop, 10 + day))
            .expect(201);
        balances.push(balances[balances.len() - 1] - 10 - day as i64);
    }
    // A hold moves nothing, so it is no line.
    server
        .post("/v1/payments", &hold(&buyer, &shop, 5))
        .expect(201);
    let path = format!("/v1/accounts/{buyer}/entries");
    let all = server.get(&format!("{path}?limit=100")).expect(200);
    let lines = all["data"].as_array().expect("lines");
    let seen: Vec<i64> = lines
        .iter()
        .rev()
        .map(|line| line["balance"].as_i64().expect("a balance"))
        .collect();
    assert_eq!(seen, balances);
    for pair in lines.windows(2) {
        let (newer, older) = (&pair[0], &pair[1]);
        assert_eq!(
            newer["balance"],
            json!(
                older["balance"].as_i64().expect("units")
                    + newer["amount"].as_i64().expect("units")
            )
        );
    }
    assert_eq!(lines[0]["type"], "payment.captured");
    assert_eq!(
        server.get(&format!("/v1/events/{}", id(&lines[0]))).status,
        200
    );
    assert_eq!(
        server
            .get(&format!(
                "/v1/payments/{}",
                lines[0]["payment"].as_str().expect("an id")
            ))
            .status,
        200
    );
    assert_eq!(walk(&server, &path, "starting_after", None), ids(&all));

    let window = server
        .get(&format!(
            "{path}?created[gte]=2026-11-22T00:00:00Z&created[lt]=2026-11-25T00:00:00Z"
        ))
        .expect(200);
    let balances: Vec<i64> = window["data"]
        .as_array()
        .expect("lines")
        .iter()
        .map(|line| line["balance"].as_i64().expect("units"))
        .collect();
    assert_eq!(balances, [954, 967, 979]);
    let url_encoded = format!(
        "{path}?created%5Bgte%5D=2026-11-22T00%3A00%3A00Z&created%5Blt%5D=2026-11-25T00%3A00%3A00%2B00%3A00"
    );
    assert_eq!(server.get(&url_encoded).expect(200)["data"], window["data"]);
}

#[test]
fn payments_are_found_by_what_is_known_of_them() {
    let server = Fixture::start();
    let (buyer, shop) = (
        server.wallet("ann", 1_000),
        server.account("shop", "merchant"),
    );
    let mut body = pay(&buyer, &shop, 10);
    body["reference"] = json!("order 1/ü");
    body["reference_scope"] = json!("shop");
    let payment = id(&server.post("/v1/payments", &body).expect(201));
    let held = id(&server
        .post("/v1/payments", &hold(&buyer, &shop, 10))
        .expect(201));
    let failed = server
        .post("/v1/payments", &pay(&buyer, &shop, 100_000))
        .json()["error"]["payment"]
        .as_str()
        .expect("an id")
        .to_owned();
    let token = server.token("shop", "read");
    for (query, found) in [
        ("reference=order%201/%C3%BC", vec![&payment]),
        ("reference=order+1/%C3%BC&owner=shop", vec![&payment]),
        (
            "reference=order+1/%C3%BC&owner=shop&status=refunded",
            vec![],
        ),
        ("reference=nothing&owner=shop", vec![]),
        ("owner=shop", vec![&failed, &held, &payment]),
        ("status=authorized", vec![&held]),
        ("status=failed", vec![&failed]),
        ("kind=payout", vec![]),
        ("owner=nobody", vec![]),
        ("owner=shop&created[gte]=2027-01-01T00:00:00Z", vec![]),
        (
            "owner=shop&created[lt]=2027-01-01T00:00:00Z&status=captured",
            vec![&payment],
        ),
    ] {
        let found: Vec<String> = found.into_iter().cloned().collect();
        assert_eq!(
            ids(&server.get(&format!("/v1/payments?{query}")).expect(200)),
            found,
            "{query}"
        );
        if query.contains("reference") {
            assert_eq!(
                ids(&server
                    .get_as(&token, &format!("/v1/payments?{query}"))
                    .expect(200)),
                found,
                "{query}"
            );
        }
    }
}

#[test]
fn accounts_are_found_by_what_is_known_of_them() {
    let server = Fixture::start();
    let one = id(&server.post("/v1/accounts", &json!({"owner": "ann", "currency": "EUR", "external_id": "a-1", "metadata": {"x": "y"}})).expect(201));
    let two = id(&server
        .post(
            "/v1/accounts",
            &json!({"owner": "ann", "currency": "JPY", "kind": "merchant"}),
        )
        .expect(201));
    let three = id(&server.post("/v1/accounts", &json!({"owner": "platform", "currency": "EUR", "kind": "suspense", "external_id": "a-1"})).expect(201));
    server
        .post(&format!("/v1/accounts/{two}/freeze"), &json!({}))
        .expect(200);
    for (query, found) in [
        ("", vec![&three, &two, &one]),
        ("owner=ann", vec![&two, &one]),
        ("owner=platform", vec![&three]),
        ("owner=ann&external_id=a-1", vec![&one]),
        ("owner=platform&external_id=a-1", vec![&three]),
        ("owner=ann&external_id=a-2", vec![]),
        ("currency=JPY", vec![&two]),
        ("status=frozen", vec![&two]),
        ("kind=suspense", vec![&three]),
        ("owner=ann&status=open", vec![&one]),
    ] {
        let found: Vec<String> = found.into_iter().cloned().collect();
        assert_eq!(
            ids(&server.get(&format!("/v1/accounts?{query}")).expect(200)),
            found,
            "{query}"
        );
    }
    let token = server.token("ann", "read");
    assert_eq!(
        ids(&server
            .get_as(&token, "/v1/accounts?external_id=a-1")
            .expect(200)),
        std::slice::from_ref(&one)
    );
    assert_eq!(
        server.get(&format!("/v1/accounts/{one}")).expect(200)["metadata"],
        json!({"x": "y"})
    );
}

/// A filter that hardly anything matches hands out a cursor after 10,000 records instead of holding up everybody.
#[test]
fn a_list_looks_through_ten_thousand_records_at_most() {
    let server = Fixture::start();
    let wallet = server.wallet("ann", 100);
    let held = id(&server
        .post(
            "/v1/payments",
            &hold(&wallet, &server.account("shop", "merchant"), 10),
        )
        .expect(201));
    let open: Vec<Value> = (0..8_000).map(|index| json!({"idempotency_key": format!("a-{index}"), "account": {"owner": "crowd", "currency": "EUR"}})).collect();
    server.post("/v1/batches", &json!(open)).expect(200);
    let open: Vec<Value> = (0..4_000).map(|index| json!({"idempotency_key": format!("b-{index}"), "account": {"owner": "crowd", "currency": "EUR"}})).collect();
    server.post("/v1/batches", &json!(open)).expect(200);
    let first = server.get("/v1/payments?status=authorized").expect(200);
    assert_eq!((ids(&first).len(), &first["has_more"]), (0, &json!(true)));
    let cursor = first["next_cursor"].as_str().expect("a cursor");
    let second = server
        .get(&format!(
            "/v1/payments?status=authorized&starting_after={cursor}"
        ))
        .expect(200);
    assert_eq!(ids(&second), [held]);
}
