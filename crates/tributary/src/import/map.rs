//! The map file: how the columns of a CSV become accounts and payments. `docs/cli.md` explains it.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context as _;
use serde::Deserialize;

use crate::exit::usage_error;

/// A whole map file. Unknown keys are refused.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Map {
    /// Part of every idempotency key: a map that is renamed imports everything again.
    pub(crate) name: String,
    /// A template that is unique for each row, such as `{transaction_id}`. Without it the file's
    /// digest and the line number take its place.
    pub(crate) key: Option<String>,
    /// A template for the ISO 4217 code, such as `CZK` or `{Currency}`.
    pub(crate) currency: String,
    #[serde(default)]
    pub(crate) csv: Csv,
    pub(crate) amount: Amount,
    pub(crate) date: Option<Date>,
    /// The accounts that rules name.
    pub(crate) accounts: BTreeMap<String, Account>,
    /// What a row becomes: the first rule that matches decides.
    pub(crate) rules: Vec<Rule>,
}

/// How the file is written.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Csv {
    /// One ASCII character; a comma if it is not given.
    pub(crate) delimiter: Option<char>,
    /// The columns' names, for a file whose first line is already data.
    pub(crate) columns: Option<Vec<String>>,
}

/// How amounts are written.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Amount {
    /// The column; a rule may name another.
    pub(crate) column: Option<String>,
    pub(crate) unit: Unit,
    #[serde(default = "point")]
    pub(crate) decimal_mark: char,
    pub(crate) thousands: Option<char>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Unit {
    /// Whole minor units.
    Minor,
    /// A decimal number of the currency.
    Decimal,
}

/// Which column holds the day, and how.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Date {
    pub(crate) column: String,
    /// As in `strftime`; `%Y-%m-%d` if it is not given.
    #[serde(default = "iso_date")]
    pub(crate) format: String,
}

/// An account, or a family of accounts if its templates name columns.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Account {
    pub(crate) external_id: String,
    #[serde(default = "platform")]
    pub(crate) owner: String,
    pub(crate) kind: AccountKind,
    /// How far it may go below zero: minor units, or `"unlimited"`.
    #[serde(default)]
    pub(crate) overdraft: Overdraft,
    /// Another currency than the row's.
    pub(crate) currency: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum AccountKind {
    Wallet,
    Merchant,
    External,
    Fee,
    Suspense,
}

impl AccountKind {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Wallet => "wallet",
            Self::Merchant => "merchant",
            Self::External => "external",
            Self::Fee => "fee",
            Self::Suspense => "suspense",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Overdraft {
    Limit(u64),
    Unlimited,
}

impl Default for Overdraft {
    fn default() -> Self {
        Self::Limit(0)
    }
}

impl<'de> Deserialize<'de> for Overdraft {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(
            untagged,
            expecting = "overdraft is minor units (an integer ≥ 0) or \"unlimited\""
        )]
        enum Raw {
            Limit(u64),
            Word(Word),
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "snake_case")]
        enum Word {
            Unlimited,
        }
        Ok(match Raw::deserialize(deserializer)? {
            Raw::Limit(limit) => Self::Limit(limit),
            Raw::Word(Word::Unlimited) => Self::Unlimited,
        })
    }
}

/// What the rows that match become.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rule {
    /// Column → what it must be; all must hold. A rule without conditions matches every row.
    #[serde(default)]
    pub(crate) when: BTreeMap<String, Condition>,
    /// Only rows whose amount has this sign. Without it a negative amount is refused.
    pub(crate) sign: Option<Sign>,
    /// Leave the rows out, for example those that the source calls failed.
    #[serde(default)]
    pub(crate) skip: bool,
    pub(crate) payment: Option<PaymentKind>,
    /// The account that pays.
    pub(crate) from: Option<String>,
    /// The account that receives.
    pub(crate) to: Option<String>,
    /// Another amount column than `[amount]` names.
    pub(crate) amount: Option<String>,
    /// Part of the amount that goes to another account.
    pub(crate) fee: Option<Fee>,
    /// The payment's reference: must be unique per owner.
    pub(crate) reference: Option<String>,
    pub(crate) description: Option<String>,
    /// Templates; those that come out empty are left out.
    #[serde(default)]
    pub(crate) metadata: BTreeMap<String, String>,
    /// Why, for adjustments.
    pub(crate) reason: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Fee {
    pub(crate) to: String,
    /// The column; its sign is ignored, and zero or empty means no fee.
    pub(crate) column: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Sign {
    Positive,
    Negative,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum PaymentKind {
    Pay,
    Transfer,
    TopUp,
    Payout,
    Adjustment,
}

/// What one column must be.
#[derive(Debug, Clone, Deserialize)]
#[serde(
    untagged,
    expecting = "a condition is a text, a list of texts, or a table with `not`, `empty`, `prefix` or `contains`"
)]
pub(crate) enum Condition {
    Is(String),
    AnyOf(Vec<String>),
    Test(Test),
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Test {
    pub(crate) not: Option<Texts>,
    pub(crate) empty: Option<bool>,
    pub(crate) prefix: Option<String>,
    pub(crate) contains: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(crate) enum Texts {
    One(String),
    Many(Vec<String>),
}

impl Condition {
    pub(crate) fn holds(&self, value: &str) -> bool {
        match self {
            Self::Is(text) => value == text,
            Self::AnyOf(texts) => texts.iter().any(|text| value == text),
            Self::Test(test) => test.holds(value),
        }
    }
}

impl Test {
    fn holds(&self, value: &str) -> bool {
        let not = match &self.not {
            None => false,
            Some(Texts::One(text)) => value == text,
            Some(Texts::Many(texts)) => texts.iter().any(|text| value == text),
        };
        !not && self.empty.is_none_or(|empty| value.is_empty() == empty)
            && self
                .prefix
                .as_ref()
                .is_none_or(|prefix| value.starts_with(prefix))
            && self
                .contains
                .as_ref()
                .is_none_or(|part| value.contains(part))
    }
}

impl Map {
    /// Reads and checks a map file.
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read the map {}", path.display()))?;
        Self::parse(&text).map_err(|error| usage_error(format!("{}: {error}", path.display())))
    }

    fn parse(text: &str) -> Result<Self, String> {
        let map: Self = toml::from_str(text).map_err(|error| error.to_string())?;
        map.check()?;
        Ok(map)
    }

    fn check(&self) -> Result<(), String> {
        let name_ok = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
        if self.name.is_empty() || self.name.len() > 64 || !self.name.chars().all(name_ok) {
            return Err("`name` must be 1 to 64 letters, digits, `_`, `.` or `-`".to_owned());
        }
        if self.rules.is_empty() {
            return Err("a map needs at least one [[rules]]".to_owned());
        }
        for (number, rule) in self.rules.iter().enumerate() {
            self.check_rule(rule)
                .map_err(|error| format!("rule {}: {error}", number + 1))?;
        }
        Ok(())
    }

    fn check_rule(&self, rule: &Rule) -> Result<(), String> {
        if rule.skip {
            let acts = rule.payment.is_some() || rule.from.is_some() || rule.to.is_some();
            return if acts {
                Err("`skip` excludes payment, from and to".to_owned())
            } else {
                Ok(())
            };
        }
        let payment = rule
            .payment
            .ok_or("`payment` is missing (or `skip = true`)")?;
        let from = rule.from.as_ref().ok_or("`from` is missing")?;
        let to = rule.to.as_ref().ok_or("`to` is missing")?;
        for name in [Some(from), Some(to), rule.fee.as_ref().map(|fee| &fee.to)]
            .into_iter()
            .flatten()
        {
            if !self.accounts.contains_key(name) {
                return Err(format!("there is no [accounts.{name}]"));
            }
        }
        if from == to {
            return Err(format!("`from` and `to` are both `{from}`"));
        }
        if rule.amount.is_none() && self.amount.column.is_none() {
            return Err("no amount: give `amount.column`, or `amount` in the rule".to_owned());
        }
        if (payment == PaymentKind::Adjustment) != rule.reason.is_some() {
            return Err("`reason` goes with adjustments, and only with them".to_owned());
        }
        Ok(())
    }
}

impl Csv {
    pub(crate) fn delimiter_byte(&self) -> anyhow::Result<u8> {
        let delimiter = self.delimiter.unwrap_or(',');
        u8::try_from(delimiter)
            .ok()
            .filter(u8::is_ascii)
            .ok_or_else(|| {
                usage_error(format!(
                    "csv.delimiter `{delimiter}` is not an ASCII character"
                ))
            })
    }
}

fn point() -> char {
    '.'
}

fn iso_date() -> String {
    "%Y-%m-%d".to_owned()
}

fn platform() -> String {
    "platform".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
name = "m"
key = "{id}"
currency = "EUR"
amount = { column = "amount", unit = "minor" }
accounts.a = { external_id = "a", kind = "external", overdraft = "unlimited" }
accounts.b = { external_id = "b/{id}", owner = "c-{id}", kind = "wallet", overdraft = 5 }
[[rules]]
when = { type = ["x", "y"], state = { not = "failed" } }
payment = "top_up"
from = "a"
to = "b"
"#;

    fn check(from: &str, to: &str, expected: Option<&str>) {
        assert!(GOOD.contains(from), "the case does not apply: {from}");
        let result = Map::parse(&GOOD.replacen(from, to, 1));
        match (result, expected) {
            (Ok(_), None) => {}
            (Err(error), Some(part)) => assert!(error.contains(part), "{to}: {error}"),
            (result, _) => panic!("{to}: {result:?}"),
        }
    }

    #[test]
    fn a_wrong_map_is_refused_with_the_place() {
        check("", "", None);
        check("name = \"m\"", "name = \"a b\"", Some("`name`"));
        check("currency", "curency", Some("curency"));
        check("unit = \"minor\"", "unit = \"cents\"", Some("cents"));
        check("overdraft = 5", "overdraft = -5", Some("overdraft"));
        check("overdraft = 5", "overdraft = \"none\"", Some("overdraft"));
        check(
            "from = \"a\"",
            "from = \"c\"",
            Some("rule 1: there is no [accounts.c]"),
        );
        check("from = \"a\"", "from = \"b\"", Some("both `b`"));
        check("from = \"a\"", "", Some("`from` is missing"));
        check(
            "payment = \"top_up\"",
            "payment = \"adjustment\"",
            Some("`reason`"),
        );
        check(
            "payment = \"top_up\"",
            "skip = true",
            Some("`skip` excludes"),
        );
        check("column = \"amount\", ", "", Some("no amount"));
        check(
            "not = \"failed\"",
            "nott = \"failed\"",
            Some("a condition is"),
        );
    }

    #[test]
    fn conditions_hold_exactly() {
        let map = Map::parse(GOOD).expect("parses");
        let when = &map.rules[0].when;
        assert!(when["type"].holds("x") && when["type"].holds("y") && !when["type"].holds("z"));
        assert!(when["state"].holds("") && !when["state"].holds("failed"));
        let test = Test {
            empty: Some(false),
            prefix: Some("ab".into()),
            ..Test::default()
        };
        assert!(test.holds("abc") && !test.holds("") && !test.holds("xab"));
    }
}
