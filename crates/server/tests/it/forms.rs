//! What is wrong with the form of a request is refused before anything is done, and the answer names the field.

use serde_json::{Value, json};

use crate::fixture::{Fixture, id, pay};

/// Sends a payment with `text` in the place of a field, or added, and expects this code and field.
#[track_caller]
fn check(server: &Fixture, base: &Value, field: &str, text: &str, code: &str, param: &str) {
    let mut fields: Vec<String> = base
        .as_object()
        .expect("an object")
        .iter()
        .filter(|(name, _)| *name != field)
        .map(|(name, value)| format!("{}:{value}", json!(name)))
        .collect();
    fields.push(format!("{}:{text}", json!(field)));
    let body = format!("{{{}}}", fields.join(","));
    let answer = server.post_raw(
        &server.platform,
        "/v1/payments",
        Some(&server.new_key()),
        body.as_bytes(),
    );
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (400, code),
        "{body}: {}",
        String::from_utf8_lossy(&answer.body)
    );
    assert_eq!(answer.json()["error"]["param"], param, "{body}");
}

#[test]
fn amounts_are_integers_of_minor_units_and_never_floats() {
    let server = Fixture::start();
    let base = pay(
        &server.wallet("ann", 100),
        &server.account("shop", "merchant"),
        1,
    );
    let before = server.reader().head().position;
    for amount in [
        "10.0",
        "10.5",
        "1e3",
        "1E0",
        "-1",
        "-0",
        "-0.0",
        "\"10\"",
        "null",
        "true",
        "[1]",
        "{}",
        "9007199254740992",
        "18446744073709551616",
        "1e400",
        "0.1",
    ] {
        let code = if amount == "1e400" {
            "json_malformed"
        } else {
            "parameter_invalid"
        };
        if amount == "1e400" {
            let body = format!("{{\"amount\":{amount}}}");
            let answer =
                server.post_raw(&server.platform, "/v1/payments", Some("k"), body.as_bytes());
            assert_eq!((answer.status, answer.code().as_str()), (400, code));
            continue;
        }
        check(&server, &base, "amount", amount, code, "amount");
    }
    assert_eq!(
        server.reader().head().position,
        before,
        "nothing was recorded"
    );
}

#[test]
fn negative_refunds_are_refused_by_validation() {
    let server = Fixture::start();
    let (buyer, shop) = (
        server.wallet("ann", 100),
        server.account("shop", "merchant"),
    );
    let payment = id(&server
        .post("/v1/payments", &pay(&buyer, &shop, 100))
        .expect(201));
    let before = server.reader().head().position;
    for amount in [json!(-1), json!(-60), json!(-0.5), json!(i64::MIN)] {
        let answer = server.post(
            "/v1/refunds",
            &json!({"payment": payment, "amount": amount}),
        );
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (400, "parameter_invalid")
        );
        assert_eq!(answer.json()["error"]["param"], "amount");
    }
    assert_eq!(
        server
            .post("/v1/refunds", &json!({"payment": payment, "amount": 0}))
            .code(),
        "amount_zero"
    );
    assert_eq!(
        server.reader().head().position,
        before + 1,
        "only the zero came to the ledger"
    );
    assert_eq!((server.posted(&buyer), server.posted(&shop)), (0, 100));
}

#[test]
fn what_is_wrong_is_named() {
    let server = Fixture::start();
    let (buyer, shop) = (
        server.wallet("ann", 100),
        server.account("shop", "merchant"),
    );
    let base = pay(&buyer, &shop, 1);
    let account = json!(shop).to_string();
    for (field, text, code, param) in [
        ("amuont", "1", "parameter_unknown", "amuont"),
        ("currency", "\"EURO\"", "parameter_invalid", "currency"),
        ("currency", "\"eur\"", "parameter_invalid", "currency"),
        ("currency", "978", "parameter_invalid", "currency"),
        ("source", "\"acct_1\"", "parameter_invalid", "source"),
        (
            "source",
            "\"pay_00000000000000000000000000\"",
            "parameter_invalid",
            "source",
        ),
        (
            "effective_at",
            "\"2026-02-30\"",
            "parameter_invalid",
            "effective_at",
        ),
        (
            "effective_at",
            "\"2026-02-03T00:00:00Z\"",
            "parameter_invalid",
            "effective_at",
        ),
        (
            "expires_at",
            "\"tomorrow\"",
            "parameter_invalid",
            "expires_at",
        ),
        (
            "expires_at",
            "\"2026-12-01T00:00:00Z\"",
            "parameter_invalid",
            "expires_at",
        ),
        (
            "capture_method",
            "\"manual\"",
            "parameter_missing",
            "expires_at",
        ),
        (
            "capture_method",
            "\"later\"",
            "parameter_invalid",
            "capture_method",
        ),
        (
            "splits",
            &format!("[{{\"account\":{account},\"amount\":1}}]"),
            "parameter_invalid",
            "splits",
        ),
        (
            "fees",
            &format!("[{{\"account\":{account},\"basis_points\":10001}}]"),
            "parameter_invalid",
            "fees[0].basis_points",
        ),
        (
            "fees",
            &format!("[{{\"account\":{account},\"amount\":1.5}}]"),
            "parameter_invalid",
            "fees[0].amount",
        ),
        (
            "fees",
            &format!("[{{\"account\":{account},\"percent\":1}}]"),
            "parameter_unknown",
            "fees[0].percent",
        ),
        ("fees", "[{}]", "parameter_missing", "fees[0].account"),
        ("reference", "\"\"", "parameter_invalid", "reference"),
        ("reference", "\"   \"", "parameter_invalid", "reference"),
        ("reference", "\"r \"", "parameter_invalid", "reference"),
        ("reference", "\"\\u200b\"", "parameter_invalid", "reference"),
        (
            "reference",
            "\"e\\u0301\"",
            "parameter_invalid",
            "reference",
        ),
        (
            "reference",
            "\"a\\u0000b\"",
            "parameter_invalid",
            "reference",
        ),
        (
            "reference",
            &json!("x".repeat(65)).to_string(),
            "parameter_invalid",
            "reference",
        ),
        (
            "description",
            &json!("x".repeat(1_001)).to_string(),
            "parameter_invalid",
            "description",
        ),
        ("metadata", "{\"a\":1}", "parameter_invalid", "metadata.a"),
        ("metadata", "[]", "parameter_invalid", "metadata"),
        (
            "metadata",
            &json!({"k": "x".repeat(501)}).to_string(),
            "parameter_invalid",
            "metadata",
        ),
    ] {
        check(&server, &base, field, text, code, param);
    }
    for (path, body, code, param) in [
        ("/v1/payments", "{}", "parameter_missing", json!("amount")),
        ("/v1/payments", "[]", "parameter_invalid", json!(null)),
        ("/v1/payments", "[\"x\"]", "parameter_invalid", json!(null)),
        (
            "/v1/payments",
            "[{\"amount\":1}]",
            "parameter_invalid",
            json!(null),
        ),
        (
            "/v1/payments",
            "{\"amount\":1,\"amount\":1}",
            "parameter_invalid",
            json!("amount"),
        ),
        (
            "/v1/payments",
            "{\"amount\":1",
            "json_malformed",
            json!(null),
        ),
        (
            "/v1/payments",
            &format!("{base} {{}}"),
            "json_malformed",
            json!(null),
        ),
        ("/v1/payments", "", "json_malformed", json!(null)),
        (
            "/v1/accounts",
            "{\"currency\":\"EUR\"}",
            "parameter_missing",
            json!("owner"),
        ),
        (
            "/v1/accounts",
            "{\"currency\":\"EUR\",\"owner\":\"a b\"}",
            "parameter_invalid",
            json!("owner"),
        ),
        // Fields without their names, in their order, are none.
        (
            "/v1/accounts",
            "[\"shop\",\"EUR\",null,null,null,null,null]",
            "parameter_invalid",
            json!(null),
        ),
        (
            "/v1/queues/payment_order/pause",
            " []",
            "parameter_invalid",
            json!(null),
        ),
        ("/v1/batches", "{}", "parameter_invalid", json!(null)),
        ("/v1/batches", "[]", "parameter_invalid", json!(null)),
        (
            "/v1/batches",
            "[{\"idempotency_key\":\"k\"}]",
            "parameter_invalid",
            json!("[0]"),
        ),
        (
            "/v1/batches",
            "[{\"void\":{\"payment\":\"pay_00000000000000000000000000\"}}]",
            "idempotency_key_missing",
            json!("[0].idempotency_key"),
        ),
        (
            "/v1/batches",
            "[{\"idempotency_key\":\"k\",\"refund\":{\"payment\":\"pay_00000000000000000000000000\",\"amount\":-1}}]",
            "parameter_invalid",
            json!("[0].refund.amount"),
        ),
        (
            "/v1/batches",
            "[{\"group\":[]}]",
            "parameter_invalid",
            json!("[0].group"),
        ),
        (
            "/v1/batches",
            "[{\"group\":[{\"idempotency_key\":\"k\",\"void\":{\"payment\":1}}]}]",
            "parameter_invalid",
            json!("[0].group[0].void.payment"),
        ),
    ] {
        let answer = server.post_raw(
            &server.platform,
            path,
            Some(&server.new_key()),
            body.as_bytes(),
        );
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (400, code),
            "{path} {body}: {}",
            String::from_utf8_lossy(&answer.body)
        );
        assert_eq!(answer.json()["error"]["param"], param, "{path} {body}");
    }
    for (path, code, param) in [
        ("/v1/payments?limt=1", "parameter_unknown", "limt"),
        ("/v1/payments?limit=0", "parameter_invalid", "limit"),
        ("/v1/payments?limit=101", "parameter_invalid", "limit"),
        ("/v1/payments?limit=+1", "parameter_invalid", "limit"),
        ("/v1/payments?limit=1&limit=2", "parameter_invalid", "limit"),
        ("/v1/payments?status=done", "parameter_invalid", "status"),
        (
            "/v1/payments?starting_after=x",
            "parameter_invalid",
            "starting_after",
        ),
        (
            "/v1/payments?created[gte]=2026",
            "parameter_invalid",
            "created[gte]",
        ),
        ("/v1/accounts?external_id=x", "parameter_missing", "owner"),
        ("/v1/journal/frames?from=0", "parameter_invalid", "from"),
        (
            "/v1/journal/frames?wait_ms=30001",
            "parameter_invalid",
            "wait_ms",
        ),
    ] {
        let answer = server.get(path);
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (400, code),
            "{path}: {}",
            String::from_utf8_lossy(&answer.body)
        );
        assert_eq!(answer.json()["error"]["param"], param, "{path}");
    }
}

#[test]
fn the_largest_amount_comes_back_exactly() {
    let server = Fixture::start();
    let largest = 9_007_199_254_740_991_u64;
    let wallet = server.wallet("ann", largest);
    assert_eq!(server.posted(&wallet), largest as i64);
    let text = String::from_utf8(server.get(&format!("/v1/accounts/{wallet}")).body)
        .expect("JSON is UTF-8");
    assert!(text.contains("\"posted\":9007199254740991,"), "{text}");
}

#[test]
fn too_many_fees_or_payees_are_a_wrong_form_whether_the_accounts_exist_or_not() {
    let server = Fixture::start();
    let nobody = "acct_00000000000000000000000000";
    let part = json!({"account": nobody, "amount": 1});
    for (kind, path, field, count) in [
        ("payment", "/v1/payments", "fees", 17),
        ("payment", "/v1/payments", "splits", 17),
        ("payment", "/v1/payments", "splits", 0),
        ("transfer", "/v1/transfers", "fees", 16),
        ("top_up", "/v1/top_ups", "fees", 16),
        ("payout", "/v1/payouts", "fees", 16),
    ] {
        let mut body = pay(nobody, nobody, 100);
        if field == "splits" {
            body.as_object_mut()
                .expect("an object")
                .remove("destination");
        }
        body[field] = json!(vec![&part; count]);
        let alone = server.post(path, &body);
        assert_eq!(
            (alone.status, alone.code()),
            (400, "parameter_invalid".to_owned()),
            "{body}"
        );
        assert_eq!(alone.json()["error"]["param"], field);
        let mut command = json!({"idempotency_key": "a"});
        command[kind] = body;
        let batch = server.post("/v1/batches", &json!([{"group": [command]}]));
        assert_eq!(
            (batch.status, batch.code()),
            (400, "parameter_invalid".to_owned())
        );
        assert_eq!(
            batch.json()["error"]["param"],
            format!("[0].group[0].{kind}.{field}")
        );
    }
}
