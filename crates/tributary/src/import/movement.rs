//! Turns the rows of a file into movements of money, as the map says. Knows no network.

use super::map::{self, Map, Overdraft, PaymentKind, Sign, Unit};
use super::report::shown;
use super::rows::Row;
use super::template::Template;
use crate::amount::{self, Notation};
use crate::exit::usage_error;

/// Returns the exponent of a currency by its alphabetic code; none if the currency is unknown.
pub(crate) type ExponentOf = fn(&str) -> Option<u8>;

/// A map with the positions of its columns in a file.
pub(crate) struct Plan {
    name: String,
    key: Option<Template>,
    /// Digest of the file. Replaces the unique column if the map has none.
    file_digest: String,
    currency: Template,
    notation: Notation,
    date: Option<(usize, String)>,
    rules: Vec<Rule>,
    currency_exponent: ExponentOf,
}

struct Rule {
    when: Vec<(usize, map::Condition)>,
    sign: Option<Sign>,
    amount: usize,
    /// Action; none skips the row.
    action: Option<Action>,
}

struct Action {
    payment: PaymentKind,
    from: AccountPlan,
    to: AccountPlan,
    fee: Option<(AccountPlan, usize)>,
    reference: Option<Template>,
    description: Option<Template>,
    metadata: Vec<(String, Template)>,
    reason: Option<Template>,
}

#[derive(Clone)]
struct AccountPlan {
    external_id: Template,
    owner: Template,
    kind: &'static str,
    overdraft: Overdraft,
    currency: Option<Template>,
}

/// An account that a movement needs, identified by (owner, external id).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct AccountSpec {
    pub(crate) owner: String,
    pub(crate) external_id: String,
    pub(crate) kind: &'static str,
    pub(crate) overdraft: Overdraft,
    pub(crate) currency: String,
}

/// A payment to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Movement {
    pub(crate) line: u64,
    pub(crate) key: String,
    pub(crate) payment: PaymentKind,
    pub(crate) from: AccountSpec,
    pub(crate) to: AccountSpec,
    pub(crate) amount: u64,
    pub(crate) currency: String,
    pub(crate) fee: Option<(AccountSpec, u64)>,
    /// `YYYY-MM-DD`.
    pub(crate) effective_at: Option<String>,
    pub(crate) reference: Option<String>,
    pub(crate) description: Option<String>,
    pub(crate) metadata: Vec<(String, String)>,
    pub(crate) reason: Option<String>,
}

type Find<'a> = &'a dyn Fn(&str) -> Option<usize>;

impl Plan {
    /// Finds the columns of the map. Refuses a map that names a column that the file does not have.
    pub(crate) fn new(
        map: &Map,
        columns: &[String],
        file_digest: &str,
        currency_exponent: ExponentOf,
    ) -> anyhow::Result<Self> {
        let find = |name: &str| columns.iter().position(|column| column == name);
        Self::join(map, &find, file_digest, currency_exponent).map_err(|error| {
            usage_error(format!(
                "the map does not fit the file: {error}\n  its columns are: {}",
                shown(&columns.join(", "))
            ))
        })
    }

    fn join(
        map: &Map,
        find: Find<'_>,
        digest: &str,
        currency_exponent: ExponentOf,
    ) -> Result<Self, String> {
        let rules = map
            .rules
            .iter()
            .map(|rule| join_rule(map, rule, find))
            .collect::<Result<_, _>>()?;
        let date = match &map.date {
            None => None,
            Some(date) => Some((need(&date.column, find)?, date.format.clone())),
        };
        Ok(Self {
            name: map.name.clone(),
            key: map
                .key
                .as_ref()
                .map(|key| Template::parse(key, find))
                .transpose()?,
            file_digest: digest.to_owned(),
            currency: Template::parse(&map.currency, find)?,
            notation: Notation {
                decimal: map.amount.unit == Unit::Decimal,
                decimal_mark: map.amount.decimal_mark,
                thousands: map.amount.thousands,
            },
            date,
            rules,
            currency_exponent,
        })
    }

    /// Returns the movement of a row; none if a rule skips the row.
    pub(crate) fn movement(&self, row: &Row) -> Result<Option<Movement>, String> {
        let currency = self.currency.render(row);
        let exponent = (self.currency_exponent)(&currency)
            .ok_or_else(|| format!("`{currency}` is not an ISO 4217 currency"))?;
        let Some((rule, negative)) = self.rule_for(row, exponent)? else {
            return Err("no rule of the map matches".to_owned());
        };
        let Some(action) = &rule.action else {
            return Ok(None);
        };
        let (_, amount) = amount::parse(row.get(rule.amount), &self.notation, exponent)?;
        if negative && rule.sign.is_none() {
            return Err(format!("the amount `{}` is negative", row.get(rule.amount)));
        }
        if amount == 0 {
            return Err("the amount is zero".to_owned());
        }
        let metadata = action
            .metadata
            .iter()
            .map(|(name, text)| (name.clone(), text.render(row)));
        Ok(Some(Movement {
            line: row.line,
            key: self.idempotency_key(row)?,
            payment: action.payment,
            from: action.from.render(row, &currency)?,
            to: action.to.render(row, &currency)?,
            amount,
            fee: self.parse_fee(action, row, &currency, exponent)?,
            effective_at: self.parse_date(row)?,
            reference: optional(action.reference.as_ref(), row),
            description: optional(action.description.as_ref(), row),
            metadata: metadata.filter(|(_, text)| !text.is_empty()).collect(),
            reason: optional(action.reason.as_ref(), row),
            currency,
        }))
    }

    /// Returns the first rule that matches, and whether the row's amount is negative.
    fn rule_for(&self, row: &Row, exponent: u8) -> Result<Option<(&Rule, bool)>, String> {
        for rule in &self.rules {
            if !rule
                .when
                .iter()
                .all(|(column, condition)| condition.holds(row.get(*column)))
            {
                continue;
            }
            if rule.action.is_none() && rule.sign.is_none() {
                return Ok(Some((rule, false)));
            }
            let (negative, _) = amount::parse(row.get(rule.amount), &self.notation, exponent)?;
            match rule.sign {
                Some(Sign::Positive) if negative => {}
                Some(Sign::Negative) if !negative => {}
                _ => return Ok(Some((rule, negative))),
            }
        }
        Ok(None)
    }

    fn idempotency_key(&self, row: &Row) -> Result<String, String> {
        let key = match &self.key {
            None => format!("{}:{}", self.file_digest, row.line),
            Some(template) => template.render(row),
        };
        if key.is_empty() {
            return Err("the unique column is empty".to_owned());
        }
        let key = format!("{}:{key}", self.name);
        if key.len() > 255 || !key.chars().all(|c| c.is_ascii_graphic()) {
            return Err(
                "the unique column must be visible ASCII, short enough for a key of 255 bytes"
                    .to_owned(),
            );
        }
        Ok(key)
    }

    fn parse_date(&self, row: &Row) -> Result<Option<String>, String> {
        let Some((column, format)) = &self.date else {
            return Ok(None);
        };
        let text = row.get(*column);
        let date = jiff::civil::Date::strptime(format, text)
            .map_err(|_| format!("`{text}` is not a date written as {format}"))?;
        Ok(Some(date.to_string()))
    }

    fn parse_fee(
        &self,
        action: &Action,
        row: &Row,
        currency: &str,
        exponent: u8,
    ) -> Result<Option<(AccountSpec, u64)>, String> {
        let Some((account, column)) = &action.fee else {
            return Ok(None);
        };
        let text = row.get(*column);
        if text.is_empty() {
            return Ok(None);
        }
        match amount::parse(text, &self.notation, exponent)? {
            (_, 0) => Ok(None),
            (_, fee) => Ok(Some((account.render(row, currency)?, fee))),
        }
    }
}

impl AccountPlan {
    fn new(account: &map::Account, find: Find<'_>) -> Result<Self, String> {
        Ok(Self {
            external_id: Template::parse(&account.external_id, find)?,
            owner: Template::parse(&account.owner, find)?,
            kind: account.kind.name(),
            overdraft: account.overdraft,
            currency: account
                .currency
                .as_ref()
                .map(|text| Template::parse(text, find))
                .transpose()?,
        })
    }

    fn render(&self, row: &Row, currency: &str) -> Result<AccountSpec, String> {
        let external_id = self.external_id.render(row);
        let owner = self.owner.render(row);
        if external_id.is_empty() || owner.is_empty() {
            return Err("an account's external id or owner comes out empty".to_owned());
        }
        let own = self.currency.as_ref().map(|template| template.render(row));
        Ok(AccountSpec {
            owner,
            external_id,
            kind: self.kind,
            overdraft: self.overdraft,
            currency: own.unwrap_or_else(|| currency.to_owned()),
        })
    }
}

fn join_rule(map: &Map, rule: &map::Rule, find: Find<'_>) -> Result<Rule, String> {
    let when = rule
        .when
        .iter()
        .map(|(column, condition)| Ok((need(column, find)?, condition.clone())))
        .collect::<Result<_, String>>()?;
    let amount = match rule.amount.as_ref().or(map.amount.column.as_ref()) {
        Some(column) => need(column, find)?,
        None => 0,
    };
    let action = if rule.skip {
        None
    } else {
        Some(join_action(map, rule, find)?)
    };
    Ok(Rule {
        when,
        sign: rule.sign,
        amount,
        action,
    })
}

fn join_action(map: &Map, rule: &map::Rule, find: Find<'_>) -> Result<Action, String> {
    let account = |name: Option<&String>| {
        let account = name
            .and_then(|name| map.accounts.get(name))
            .ok_or("an account is missing")?;
        AccountPlan::new(account, find)
    };
    let template = |text: Option<&String>| text.map(|text| Template::parse(text, find)).transpose();
    let fee = match &rule.fee {
        None => None,
        Some(fee) => Some((account(Some(&fee.to))?, need(&fee.column, find)?)),
    };
    Ok(Action {
        payment: rule.payment.ok_or("`payment` is missing")?,
        from: account(rule.from.as_ref())?,
        to: account(rule.to.as_ref())?,
        fee,
        reference: template(rule.reference.as_ref())?,
        description: template(rule.description.as_ref())?,
        metadata: rule
            .metadata
            .iter()
            .map(|(name, text)| Ok((name.clone(), Template::parse(text, find)?)))
            .collect::<Result<_, String>>()?,
        reason: template(rule.reason.as_ref())?,
    })
}

fn need(column: &str, find: Find<'_>) -> Result<usize, String> {
    find(column).ok_or_else(|| format!("the file has no column `{column}`"))
}

fn optional(template: Option<&Template>, row: &Row) -> Option<String> {
    template
        .map(|template| template.render(row))
        .filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
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
fee = { to = "fees", column = "Fee" }
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

    fn currency_exponent(code: &str) -> Option<u8> {
        match code {
            "EUR" => Some(2),
            "JPY" => Some(0),
            _ => None,
        }
    }

    fn plan(map: &str) -> anyhow::Result<Plan> {
        let map: Map = toml::from_str(map)?;
        let columns: Vec<String> = COLUMNS.iter().map(|&name| name.to_owned()).collect();
        Plan::new(&map, &columns, "d1", currency_exponent)
    }

    fn check(fields: [&str; 10], expected: Result<Option<&str>, &str>) {
        let decided = plan(MAP)
            .expect("joins")
            .movement(&Row::from_fields(9, &fields));
        let shown = decided.map(|movement| {
            movement.map(|m| {
                let fee = m.fee.map_or(String::new(), |(to, fee)| {
                    format!(" fee {fee} {}", to.external_id)
                });
                format!(
                    "{} {:?} {} {} {}/{} -> {}/{}{fee} {} {:?}",
                    m.key,
                    m.payment,
                    m.amount,
                    m.currency,
                    m.from.owner,
                    m.from.external_id,
                    m.to.owner,
                    m.to.external_id,
                    m.effective_at.unwrap_or_default(),
                    m.metadata,
                )
            })
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
            Err("`?`"),
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
        let movement = plan
            .movement(&Row::from_fields(9, &row))
            .expect("decided")
            .expect("moves");
        assert_eq!(movement.effective_at.as_deref(), Some("2025-12-31"));
    }

    #[test]
    fn without_a_unique_column_the_file_and_line_are_the_key() {
        let row = ["1", "01.01.2026", "odd", "", "1", "", "eur", "x", "", ""];
        let plan = plan(&MAP.replace("key = \"{id}\"", "")).expect("joins");
        let movement = plan
            .movement(&Row::from_fields(9, &row))
            .expect("decided")
            .expect("moves");
        assert_eq!(movement.key, "stripe:d1:9");
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
}
