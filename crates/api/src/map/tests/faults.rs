//! What is refused of a message, and what of an amount.

use serde_json::{Value, json};
use tributary_ledger::AMOUNT_MAX;

use super::{Books, JSON, compile, rules};
use crate::caller::Caller;
use crate::map::FIELD_BYTES_MAX;

#[test]
fn an_amount_is_read_exactly_as_it_is_written_or_refused() {
    let books = Books::new();
    let check = |amount: Value, currency: &str, written: &str, expected: Option<u64>| {
        let mut amount = amount;
        amount["field"] = json!("a");
        let map = json!({
            "currency": currency, "amount": amount,
            "source": "world", "destination": {"external_id": "wallet", "owner": "alice"},
        });
        let pay = books.pay(&map, &format!(r#"{{"a": {written}}}"#));
        assert_eq!(
            pay.as_ref().ok().map(|pay| pay.amount),
            expected,
            "{written}: {pay:?}"
        );
        if let Err((code, field, why)) = pay {
            assert_eq!(
                (code, field.as_str()),
                ("field_invalid", "a"),
                "{written}: {why}"
            );
        }
    };
    let minor = || json!({"unit": "minor"});
    check(minor(), "EUR", "100", Some(100));
    check(minor(), "EUR", r#""100""#, Some(100));
    check(minor(), "EUR", r#"" 100 ""#, Some(100));
    check(minor(), "EUR", "9007199254740991", Some(AMOUNT_MAX));
    for wrong in [
        "9007199254740992",
        "18446744073709551716",
        "100.0",
        "1.5",
        "1e2",
        "0",
        "-5",
        r#""""#,
        r#""1,000""#,
        r#""ten""#,
        "true",
        "{}",
        "[100]",
    ] {
        check(minor(), "EUR", wrong, None);
    }
    let decimal = || json!({"unit": "decimal"});
    check(decimal(), "EUR", "12.5", Some(1_250));
    check(decimal(), "EUR", "12.50", Some(1_250));
    check(decimal(), "EUR", "12.500", Some(1_250));
    check(decimal(), "EUR", "12", Some(1_200));
    check(decimal(), "EUR", r#""12.50""#, Some(1_250));
    // As floating point, these are other numbers.
    check(decimal(), "EUR", "90071992547409.91", Some(AMOUNT_MAX));
    check(decimal(), "EUR", "70368744177.63", Some(7_036_874_417_763));
    check(decimal(), "JPY", "1250", Some(1_250));
    check(decimal(), "KWD", "1.001", Some(1_001));
    for wrong in [
        "90071992547409.92",
        "12.505",
        "0.00",
        "-1.00",
        "1.25e1",
        r#""12,50""#,
    ] {
        check(decimal(), "EUR", wrong, None);
    }
    check(decimal(), "JPY", "12.5", None);
    let german = json!({"unit": "decimal", "decimal_mark": ",", "thousands": "."});
    check(german.clone(), "EUR", r#""1.234,50""#, Some(123_450));
    check(german, "EUR", "12.5", None);
    let signs = json!({"unit": "decimal", "symbols": {"€": "EUR", "$": "USD"}});
    check(signs.clone(), "EUR", r#""€ 12.50""#, Some(1_250));
    check(signs, "EUR", r#""$ 12.50""#, None);
}

#[test]
fn a_message_that_does_not_fit_its_map_says_which_field() {
    let books = Books::new();
    let map = compile(&rules());
    let check = |message: &str, code: &str, field: &str, part: &str| {
        let draft = books.draft(&map, message.as_bytes(), JSON, &Caller::system());
        let (found, at, why) = draft.expect_err(message);
        assert_eq!((found, at.as_str()), (code, field), "{message}: {why}");
        assert!(why.contains(part), "{message}: {why}");
    };
    let sale = |change: &str| {
        let base = r#""type": "sale", "customer": "alice", "total": 500, "id": "7""#;
        match change.split_once(" -> ") {
            Some((from, to)) => format!("{{{}}}", base.replacen(from, to, 1)),
            None => format!("{{{base}, {change}}}"),
        }
    };
    check("[]", "document_malformed", "", "no object");
    check(
        &sale("\"id\": \"8\""),
        "document_malformed",
        "id",
        "given twice",
    );
    check("{}", "rule_missing", "", "no rule");
    check(r#"{"type": "Sale"}"#, "rule_missing", "", "no rule");
    check(
        r#"{"type": {"a": 1}}"#,
        "field_invalid",
        "type",
        "an object",
    );
    // In a condition, a missing field is an empty one.
    check(
        r#"{"type": "refund", "total": -1}"#,
        "rule_missing",
        "",
        "no rule",
    );
    check(
        &sale("\"total\" -> \"sum\""),
        "field_missing",
        "total",
        "no field `total`",
    );
    check(
        &sale("500 -> null"),
        "field_missing",
        "total",
        "no field `total`",
    );
    check(
        &sale("500 -> 5.5"),
        "field_invalid",
        "total",
        "not a whole number",
    );
    check(&sale("500 -> -5"), "field_invalid", "total", "is negative");
    check(&sale("500 -> 0"), "field_invalid", "total", "is zero");
    check(
        &sale("\"fee\": 501"),
        "field_invalid",
        "fee",
        "more than the amount",
    );
    check(&sale("\"fee\": -1"), "field_invalid", "fee", "given back");
    check(
        &sale("\"customer\" -> \"c\""),
        "field_missing",
        "customer",
        "no field",
    );
    check(
        &sale("\"alice\" -> \"\""),
        "field_invalid",
        "accounts.wallet",
        "comes out empty",
    );
    check(
        &sale("\"alice\" -> \"a b\""),
        "field_invalid",
        "accounts.wallet",
        "must be 1 to 64",
    );
    check(
        &sale("\"alice\" -> \"bob\""),
        "account_missing",
        "accounts.wallet",
        "bob has no account with the external id `wallet`",
    );
    check(
        &sale("\"id\" -> \"i\""),
        "field_missing",
        "id",
        "no field `id`",
    );
    check(
        &sale("\"7\" -> \"\\u200b7\""),
        "field_invalid",
        "reference",
        "must be 1 to 64 bytes",
    );
    check(
        &sale("\"note\": \"a\\tb\""),
        "field_invalid",
        "metadata",
        "control",
    );
    check(&sale("\"note\": [1]"), "field_invalid", "note", "an array");
    let long = format!("\"note\": \"{}\"", "x".repeat(FIELD_BYTES_MAX + 1));
    check(
        &sale(&long),
        "field_invalid",
        "note",
        "longer than 16384 bytes",
    );
    let named = |id: &str| format!(r#"{{"type": "named", "total": 1, "account": "{id}"}}"#);
    check(
        &named("wallet"),
        "field_invalid",
        "accounts.named",
        "must be an account id",
    );
    let foreign = "acct_00000000000000000000000000";
    check(
        &named(foreign),
        "account_missing",
        "accounts.named",
        foreign,
    );

    let queued = json!({
        "currency": "{currency}", "amount": {"field": "a", "unit": "minor"},
        "source": "{from}", "destination": {"external_id": "till", "owner": "shop"},
        "queue": {"priority": "{p?}", "not_before": "{t?}", "reply_to": "{r?}"},
    });
    let check = |message: &str, code: &str, field: &str| {
        let (found, at, why) = books.pay(&queued, message).expect_err(message);
        assert_eq!((found, at.as_str()), (code, field), "{message}: {why}");
    };
    let message = |more: &str| format!(r#"{{"currency": "EUR", "a": 5, "from": "world"{more}}}"#);
    let pay = books.pay(
        &queued,
        &message(r#", "p": 9, "t": "2030-01-01T00:00:00Z""#),
    );
    let queue = pay.expect("a payment").queue.expect("it is queued");
    assert_eq!(queue.terms.priority.number(), 9);
    check(&message(r#", "p": 10"#), "field_invalid", "queue.priority");
    check(
        &message(r#", "p": "high""#),
        "field_invalid",
        "queue.priority",
    );
    check(
        &message(r#", "t": "tomorrow""#),
        "field_invalid",
        "queue.not_before",
    );
    check(
        &message(r#", "r": "sub_1""#),
        "field_invalid",
        "queue.reply_to",
    );
    check(
        r#"{"currency": "EURO", "a": 5}"#,
        "field_invalid",
        "currency",
    );
    check(
        r#"{"currency": "EUR", "a": 5, "from": "nobody's"}"#,
        "account_missing",
        "source",
    );
    check(
        r#"{"currency": "EUR", "a": 5, "from": ""}"#,
        "field_invalid",
        "source",
    );
}
