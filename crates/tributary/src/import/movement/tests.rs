//! Rows as movements.

use super::*;

const MAP: &str = r#"
name = "stripe"
key = "{id}"
currency = "{Currency|upper}"
amount = { column = "Gross", unit = "decimal", thousands = "," }
date = { column = "Created", format = "%d.%m.%Y" }
accounts.cards = { external_id = "cards/{Currency}", kind = "external", overdraft = "unlimited" }
accounts.fees = { external_id = "fees", kind = "fee" }
accounts.shop = { external_id = "shop/{Shop}", owner = "{Shop|slug}", kind = "merchant", overdraft = 100 }
[[rules]]
when = { Status = "failed" }
skip = true
[[rules]]
when = { Type = "charge" }
sign = "positive"
payment = "top_up"
from = "cards"
to = "shop"
fee = { to = "fees", column = "Fee", sign = "negative" }
description = "order {Order}"
metadata = { order = "{Order}", nothing = "{Note}" }
[[rules]]
when = { Type = ["charge", "refund"] }
sign = "negative"
payment = "payout"
from = "shop"
to = "cards"
[[rules]]
when = { Type = "odd" }
payment = "transfer"
from = "shop"
to = "cards"
"#;
const COLUMNS: [&str; 10] = [
    "id", "Created", "Type", "Status", "Gross", "Fee", "Currency", "Shop", "Order", "Note",
];

fn plan(map: &str) -> anyhow::Result<Plan> {
    let map: Map = toml::from_str(map)?;
    let columns: Vec<String> = COLUMNS.iter().map(|&name| name.to_owned()).collect();
    Plan::new(&map, &columns, "d1")
}

fn check(fields: [&str; 10], expected: Result<Option<&str>, &str>) {
    let decided = plan(MAP)
        .expect("joins")
        .payment(&Row::from_fields(9, &fields), &mut Keys::default());
    let shown = decided.map(|payment| {
        payment.map(
            |RowPayment {
                 key,
                 movement: m,
                 accounts,
                 ..
             }| {
                let [from, to, ..] = &accounts[..] else {
                    panic!("two accounts: {accounts:?}");
                };
                let fee = m.fee.map_or(String::new(), |(_, fee)| {
                    format!(" fee {fee} {}", accounts[2].external_id)
                });
                format!(
                    "{key} {:?} {} {} {}/{} -> {}/{}{fee} {} {:?}",
                    m.payment,
                    m.amount,
                    m.currency.code(),
                    from.owner,
                    from.external_id,
                    to.owner,
                    to.external_id,
                    m.effective_at.unwrap_or_default(),
                    m.metadata,
                )
            },
        )
    });
    match expected {
        Ok(text) => assert_eq!(shown, Ok(text.map(str::to_owned)), "{fields:?}"),
        Err(part) => {
            let error = shown.expect_err("must be refused");
            assert!(error.contains(part), "{fields:?}: {error}");
        }
    }
}

#[test]
fn rows_become_the_movements_that_the_map_says() {
    check(
        [
            "1",
            "31.12.2025",
            "charge",
            "ok",
            "1,000.50",
            "-29.31",
            "eur",
            "A & B",
            "77",
            "",
        ],
        Ok(Some(
            "stripe:1 TopUp 100050 EUR platform/cards/eur -> A---B/shop/A & B fee 2931 fees 2025-12-31 [(\"order\", \"77\")]",
        )),
    );
    check(
        [
            "2",
            "01.01.2026",
            "refund",
            "ok",
            "-5",
            "",
            "jpy",
            "x",
            "",
            "",
        ],
        Ok(Some(
            "stripe:2 Payout 5 JPY x/shop/x -> platform/cards/jpy 2026-01-01 []",
        )),
    );
    check(
        ["3", "bad", "charge", "failed", "no", "", "eur", "x", "", ""],
        Ok(None),
    );
}

#[test]
fn rows_that_cannot_be_understood_say_why() {
    check(
        ["4", "01.01.2026", "payout", "", "1", "", "eur", "x", "", ""],
        Err("no rule"),
    );
    check(
        ["4", "01.01.2026", "odd", "", "-1", "", "eur", "x", "", ""],
        Err("negative"),
    );
    check(
        ["4", "01.01.2026", "charge", "", "0", "", "eur", "x", "", ""],
        Err("zero"),
    );
    check(
        [
            "4",
            "01.01.2026",
            "charge",
            "",
            "0.005",
            "",
            "eur",
            "x",
            "",
            "",
        ],
        Err("more decimals"),
    );
    check(
        ["4", "2026-01-01", "charge", "", "1", "", "eur", "x", "", ""],
        Err("not a date"),
    );
    check(
        ["4", "31.02.2026", "charge", "", "1", "", "eur", "x", "", ""],
        Err("not a date"),
    );
    check(
        ["4", "01.01.2026", "charge", "", "1", "", "xau", "x", "", ""],
        Err("ISO 4217"),
    );
    check(
        ["4", "01.01.2026", "charge", "", "1", "", "eur", "", "", ""],
        Err("empty"),
    );
    check(
        ["", "01.01.2026", "charge", "", "1", "", "eur", "x", "", ""],
        Err("unique column is empty"),
    );
    check(
        ["ü", "01.01.2026", "charge", "", "1", "", "eur", "x", "", ""],
        Err("visible ASCII"),
    );
    check(
        [
            "4",
            "01.01.2026",
            "charge",
            "",
            "1",
            "?",
            "eur",
            "x",
            "",
            "",
        ],
        Err("fee: `?`"),
    );
    // Stripe writes the fees that it takes positive, PayPal negative: of the other sign they were given back.
    check(
        [
            "4",
            "01.01.2026",
            "charge",
            "",
            "1",
            "0.30",
            "eur",
            "x",
            "",
            "",
        ],
        Err("the fee `0.30` has the sign of a fee that was given back"),
    );
    check(
        [
            "4",
            "01.01.2026",
            "charge",
            "",
            "1",
            "-1.01",
            "eur",
            "x",
            "",
            "",
        ],
        Err("more than the amount"),
    );
    check(
        [
            "4",
            "01.01.2026",
            "charge",
            "",
            "12,34",
            "",
            "eur",
            "x",
            "",
            "",
        ],
        Err("not grouped"),
    );
    check(
        ["4", "01.01.26", "charge", "", "1", "", "eur", "x", "", ""],
        Err("a day of the year 26: `%y`"),
    );
}

#[test]
fn a_date_may_stand_beside_a_time_of_day() {
    let row = [
        "1",
        "31.12.2025 23:59:30",
        "odd",
        "",
        "1",
        "",
        "eur",
        "x",
        "",
        "",
    ];
    let plan = plan(&MAP.replace("%d.%m.%Y", "%d.%m.%Y %H:%M:%S")).expect("joins");
    assert_eq!(
        moved(&plan, &row).effective_at.as_deref(),
        Some("2025-12-31")
    );
}

fn moved(plan: &Plan, fields: &[&str]) -> Movement {
    paid(plan, fields).movement
}

fn paid(plan: &Plan, fields: &[&str]) -> RowPayment {
    plan.payment(&Row::from_fields(9, fields), &mut Keys::default())
        .expect("decided")
        .expect("pays")
}

#[test]
fn a_year_of_two_digits_is_of_this_century() {
    let row = ["1", "31.12.26", "odd", "", "1", "", "eur", "x", "", ""];
    let plan = plan(&MAP.replace("%d.%m.%Y", "%d.%m.%y")).expect("joins");
    assert_eq!(
        moved(&plan, &row).effective_at.as_deref(),
        Some("2026-12-31")
    );
}

#[test]
fn a_fee_is_part_of_the_amount_or_on_top_of_it_as_the_map_says() {
    let row = [
        "1",
        "01.01.2026",
        "charge",
        "",
        "97.10",
        "2.90",
        "eur",
        "x",
        "",
        "",
    ];
    let positive = MAP.replace("sign = \"negative\" }", "sign = \"positive\" }");
    let within = moved(&plan(&positive).expect("joins"), &row);
    assert_eq!((within.amount, within.fee.expect("a fee").1), (9_710, 290));
    let on_top = positive.replace(
        "sign = \"positive\" }",
        "sign = \"positive\", on_top = true }",
    );
    let on_top = plan(&on_top).expect("joins");
    let moved_on_top = moved(&on_top, &row);
    assert_eq!(
        (moved_on_top.amount, moved_on_top.fee.expect("a fee").1),
        (10_000, 290)
    );
    let mut large = row;
    large[4] = "90071992547409.91";
    let error = on_top.payment(&Row::from_fields(9, &large), &mut Keys::default());
    assert!(error.expect_err("too much").contains("with the fee `2.90`"));
}

#[test]
fn a_key_can_count_equal_rows_and_counts_those_that_are_skipped_too() {
    let row = |line: u64| {
        Row::from_fields(
            line,
            &["1", "01.01.2026", "odd", "", "1", "", "eur", "x", "", ""],
        )
    };
    let counted = plan(&MAP.replace("{id}", "{Created}/{Gross}/{occurrence}")).expect("joins");
    let mut keys = Keys::default();
    let skipped = Row::from_fields(
        3,
        &[
            "1",
            "01.01.2026",
            "odd",
            "failed",
            "1",
            "",
            "eur",
            "x",
            "",
            "",
        ],
    );
    let mut made = Vec::new();
    for row in [row(2), skipped, row(4)] {
        let payment = counted.payment(&row, &mut keys).expect("decided");
        made.extend(payment.map(|payment| payment.key));
    }
    assert_eq!(made, ["stripe:01.01.2026/1/1", "stripe:01.01.2026/1/3"]);
}

#[test]
fn without_a_unique_column_the_file_and_line_are_the_key() {
    let row = ["1", "01.01.2026", "odd", "", "1", "", "eur", "x", "", ""];
    let plan = plan(&MAP.replace("key = \"{id}\"", "")).expect("joins");
    assert_eq!(paid(&plan, &row).key, "stripe:d1:9");
}

#[test]
fn a_map_that_names_a_missing_column_is_refused_with_the_columns() {
    let error = plan(&MAP.replace("{Order}", "{Oder}"))
        .err()
        .expect("refused")
        .to_string();
    assert!(
        error.contains("`Oder`") && error.contains("Gross, Fee"),
        "{error}"
    );
}
