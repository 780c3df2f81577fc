//! What is refused of a map.

use serde_json::{Value, json};

use super::{compile, parse, rules};
use crate::map::{ACCOUNTS_MAX, FaultCode, RULES_MAX};

#[test]
fn a_wrong_map_is_refused_with_the_field() {
    let short = json!({
        "currency": "EUR", "amount": {"field": "a", "unit": "minor"},
        "source": "world", "destination": "till", "reference": "{id}",
    });
    let sound = |map: &Value| compile(map);
    sound(&short);
    sound(&rules());
    let check = |map: &Value, at: &str, value: Value, field: &str, part: &str| {
        let mut map = map.clone();
        match map.pointer_mut(at) {
            Some(place) => *place = value,
            None => map[&at[1..]] = value,
        }
        let (param, why) = match parse(&map) {
            Ok(map) => {
                let fault = map.check().expect_err(at);
                assert_eq!(fault.code, FaultCode::MapInvalid);
                (fault.field, fault.why)
            }
            Err(error) => (
                error.parameter().unwrap_or_default().to_owned(),
                error.message().to_owned(),
            ),
        };
        assert_eq!(param, field, "{at}: {why}");
        assert!(why.contains(part), "{at}: {why}");
    };
    let of_short =
        |at: &str, value: Value, field: &str, part: &str| check(&short, at, value, field, part);
    of_short("/curency", json!("EUR"), "curency", "no field");
    of_short(
        "/currency",
        json!("EURO"),
        "currency",
        "`EURO` is not an ISO 4217",
    );
    of_short("/currency", json!(""), "currency", "not an ISO 4217");
    of_short("/amount/unit", json!("cents"), "amount.unit", "cents");
    of_short("/amount/field", json!(null), "amount", "no amount");
    of_short("/amount/field", json!("a..b"), "amount", "no path");
    of_short(
        "/amount",
        json!({"field": "a", "unit": "decimal", "decimal_mark": "-"}),
        "amount.decimal_mark",
        "cannot be a mark",
    );
    of_short(
        "/date",
        json!({"field": "d", "format": "dd.mm"}),
        "date.format",
        "no `%`",
    );
    of_short("/date", json!({"field": "d."}), "date.field", "no path");
    of_short("/source", json!(null), "source", "`source` is missing");
    of_short(
        "/destination",
        json!(null),
        "destination",
        "`destination` is missing",
    );
    of_short("/source", json!(5), "source", "an account is the template");
    of_short("/source", json!({}), "source", "either `external_id`");
    of_short(
        "/source",
        json!({"id": "{a}", "external_id": "x"}),
        "source",
        "either `external_id`",
    );
    of_short(
        "/source",
        json!({"id": "{a}", "owner": "x"}),
        "source",
        "either `external_id`",
    );
    of_short("/source", json!("{a"), "source", "without a `}`");
    of_short(
        "/source",
        json!("{a|md5}"),
        "source",
        "unknown filter `md5`",
    );
    of_short("/source", json!(""), "source", "must be 1 to 64");
    of_short(
        "/source",
        json!({"external_id": "{a"}),
        "source.external_id",
        "without a `}`",
    );
    of_short(
        "/source",
        json!({"external_id": "x", "owner": "a b"}),
        "source.owner",
        "must be 1 to 64",
    );
    of_short(
        "/destination",
        json!({"id": "wallet"}),
        "destination.id",
        "an account id",
    );
    of_short(
        "/reference",
        json!("order"),
        "reference",
        "the same for every message",
    );
    of_short("/reference", json!("{}"), "reference", "no path");
    of_short("/description", json!("}"), "description", "without a `{`");
    of_short("/metadata", json!({"": "{a}"}), "metadata", "names must be");
    of_short(
        "/metadata",
        json!({"n": "x".repeat(501)}),
        "metadata",
        "values must be",
    );
    of_short("/metadata", json!({"n": "{a.}"}), "metadata.n", "no path");
    of_short(
        "/payment",
        json!("adjustment"),
        "reason",
        "`reason` goes with",
    );
    of_short("/payment", json!("refund"), "payment", "refund");
    of_short("/reason", json!("why"), "reason", "`reason` goes with");
    of_short("/paid", json!(true), "paid", "goes with payouts");
    of_short(
        "/fee",
        json!({"to": "fees", "field": "f", "sign": "positive"}),
        "fee.to",
        "no [accounts.fees]",
    );
    of_short(
        "/fee",
        json!({"to": "source", "field": "f"}),
        "fee.sign",
        "`fee.sign` is missing",
    );
    of_short(
        "/queue",
        json!({"priority": 10}),
        "queue.priority",
        "from 0 to 9",
    );
    of_short(
        "/queue",
        json!({"not_before": "soon"}),
        "queue.not_before",
        "RFC 3339",
    );
    of_short(
        "/queue",
        json!({"correlation_id": "{a|b}"}),
        "queue.correlation_id",
        "unknown filter",
    );
    of_short(
        "/rules",
        json!([{"skip": true}]),
        "rules",
        "either `source`",
    );
    of_short(
        "/accounts",
        json!({"source": {"external_id": "x"}}),
        "source",
        "given twice",
    );

    let of_rules =
        |at: &str, value: Value, field: &str, part: &str| check(&rules(), at, value, field, part);
    of_rules(
        "/rules",
        json!([]),
        "source",
        "give `source` and `destination`, or `rules`",
    );
    of_rules(
        "/rules",
        json!(vec![json!({"skip": true}); RULES_MAX + 1]),
        "rules",
        "more than 64",
    );
    of_rules("/reference", json!("{id}"), "reference", "or into a rule");
    of_rules(
        "/rules/1/from",
        json!("purse"),
        "rules[1].from",
        "no [accounts.purse]",
    );
    of_rules(
        "/rules/1/to",
        json!("wallet"),
        "rules[1].to",
        "both `wallet`",
    );
    of_rules(
        "/rules/1/payment",
        json!(null),
        "rules[1].payment",
        "`payment` is missing",
    );
    of_rules(
        "/rules/1/reference",
        json!("x"),
        "rules[1].reference",
        "the same for every",
    );
    of_rules(
        "/rules/1/when",
        json!({"a..b": "x"}),
        "rules[1].when.a..b",
        "no path",
    );
    of_rules(
        "/rules/1/when",
        json!({"type": " sale"}),
        "rules[1].when.type",
        "no text fulfils",
    );
    of_rules(
        "/rules/1/when",
        json!({"type": []}),
        "rules[1].when.type",
        "no text fulfils",
    );
    of_rules(
        "/rules/1/when",
        json!({"test": "yes", "type": "sale"}),
        "rules[1]",
        "rule 2 can never match: rule 1 comes first",
    );
    of_rules(
        "/rules/0/when",
        json!({}),
        "rules[1]",
        "rule 2 can never match",
    );
    of_rules(
        "/rules/3/when",
        json!({"type": "sale", "note": "x"}),
        "rules[3]",
        "rule 4 can never match: rule 2",
    );
    of_rules(
        "/accounts/till/owner",
        json!("a b"),
        "accounts.till.owner",
        "must be 1 to 64",
    );
    let kind = json!({"external_id": "w", "kind": "wallet"});
    of_rules("/accounts/wallet", kind, "accounts.wallet.kind", "no field");
    let many: serde_json::Map<String, Value> = (0..=ACCOUNTS_MAX)
        .map(|number| (format!("a{number}"), json!({"external_id": "x"})))
        .collect();
    of_rules("/accounts", json!(many), "accounts", "more than 64");
}
