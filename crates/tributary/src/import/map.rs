//! The map file: how the columns of a CSV become accounts and payments. `docs/cli.md` explains it.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context as _;
use serde::Deserialize;

use super::decode::{find_encoding, is_supported};
use super::records::Dialect;
use crate::amount::{Grouping, Notation};
use crate::exit::usage_error;

/// A whole map file. Unknown keys are refused.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Map {
    /// Part of every idempotency key: a map that is renamed imports everything again.
    pub(crate) name: String,
    /// A template that is unique for each row, such as `{transaction_id}`; `{occurrence}` counts rows that are equal otherwise.
    /// Without it the file's digest and the line number take its place.
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
    /// Label of the WHATWG Encoding Standard, such as `windows-1252`; UTF-8 if it is not given. A byte order mark overrides it.
    pub(crate) encoding: Option<String>,
    /// Number of lines before the names of the columns (or the first row).
    #[serde(default)]
    pub(crate) skip_lines: u64,
    /// Lines that begin with one of these texts are skipped.
    #[serde(default)]
    pub(crate) skip_prefixes: Vec<String>,
    /// One ASCII character, `"` if it is not given; empty if fields are never quoted.
    pub(crate) quote: Option<String>,
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
    /// Mark between groups of digits; a blank stands for every kind of blank. Without it no mark is accepted.
    pub(crate) thousands: Option<char>,
    #[serde(default)]
    pub(crate) grouping: Grouping,
    /// Currency signs that may stand beside a number → code of their currency, which must be the row's.
    #[serde(default)]
    pub(crate) symbols: BTreeMap<String, String>,
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
    /// The column; zero or empty means no fee.
    pub(crate) column: String,
    /// Sign of a fee that was paid. A fee of the other sign was given back, and is refused.
    pub(crate) sign: Option<Sign>,
    /// Whether the payer pays the fee on top of the amount. Otherwise the fee is part of the amount.
    #[serde(default)]
    pub(crate) on_top: bool,
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
        self.amount.check()?;
        if let Some(date) = &self.date {
            check_date_format(&date.format)?;
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
        if rule.fee.as_ref().is_some_and(|fee| fee.sign.is_none()) {
            return Err(
                "`fee.sign` is missing: say whether the file writes fees that were paid as \"positive\" or \"negative\""
                    .to_owned(),
            );
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

/// Refuses a format without any conversion, such as `dd.mm.yyyy`.
fn check_date_format(format: &str) -> Result<(), String> {
    if format.contains('%') {
        Ok(())
    } else {
        Err(format!(
            "date.format `{format}` has no `%`: it is written as in strftime"
        ))
    }
}

impl Amount {
    fn check(&self) -> Result<(), String> {
        let wrong = |mark: char| mark.is_ascii_alphanumeric() || "+-()\u{2212}".contains(mark);
        for mark in [Some(self.decimal_mark), self.thousands]
            .into_iter()
            .flatten()
        {
            if wrong(mark) {
                return Err(format!("amount: `{mark}` cannot be a mark within a number"));
            }
        }
        if self.thousands == Some(self.decimal_mark) {
            return Err("amount: `thousands` and `decimal_mark` are the same".to_owned());
        }
        if self.grouping == Grouping::Indian && self.thousands.is_none() {
            return Err("amount: `grouping` goes with `thousands`".to_owned());
        }
        for (symbol, code) in &self.symbols {
            let number = |c: char| {
                c.is_ascii_digit() || wrong(c) && !c.is_ascii_alphabetic() || c.is_whitespace()
            };
            let marks = symbol.contains(self.decimal_mark)
                || self.thousands.is_some_and(|mark| symbol.contains(mark));
            if symbol.is_empty() || symbol.chars().any(number) || marks {
                return Err(format!(
                    "amount.symbols: `{symbol}` cannot be told from a part of the number"
                ));
            }
            if crate::amount::exponent_of(code).is_none() {
                return Err(format!(
                    "amount.symbols: `{code}` is not an ISO 4217 currency"
                ));
            }
        }
        Ok(())
    }

    /// Returns how amounts are read.
    pub(crate) fn notation(&self) -> Notation {
        let mut symbols: Vec<_> = self.symbols.clone().into_iter().collect();
        // `US$` is looked for before `$`.
        symbols.sort_by_key(|(symbol, _)| std::cmp::Reverse(symbol.len()));
        Notation {
            decimal: self.unit == Unit::Decimal,
            decimal_mark: self.decimal_mark,
            thousands: self.thousands,
            grouping: self.grouping,
            symbols,
        }
    }
}

impl Csv {
    /// Returns how the text of the file is split.
    pub(crate) fn dialect(&self) -> anyhow::Result<Dialect> {
        let byte = |name: &str, c: char| {
            let byte = u8::try_from(c).ok().filter(u8::is_ascii);
            byte.filter(|byte| !matches!(byte, b'\n' | b'\r'))
                .ok_or_else(|| usage_error(format!("csv.{name} `{c}` is not an ASCII character")))
        };
        let delimiter = byte("delimiter", self.delimiter.unwrap_or(','))?;
        let mut quote = self.quote.as_deref().unwrap_or("\"").chars();
        let quote = match (quote.next(), quote.next()) {
            (None, _) => None,
            (Some(c), None) => Some(byte("quote", c)?),
            _ => return Err(usage_error("csv.quote must be one character, or empty")),
        };
        if quote == Some(delimiter) {
            return Err(usage_error("csv.quote and csv.delimiter are the same"));
        }
        let prefixes = &self.skip_prefixes;
        if prefixes
            .iter()
            .any(|prefix| prefix.is_empty() || prefix.len() > SKIP_PREFIX_BYTES_MAX)
        {
            return Err(usage_error(format!(
                "csv.skip_prefixes: each must be 1 to {SKIP_PREFIX_BYTES_MAX} bytes"
            )));
        }
        Ok(Dialect {
            delimiter,
            quote,
            skip_prefixes: prefixes.clone(),
        })
    }

    /// Returns the encoding of the file, where no byte order mark says otherwise.
    pub(crate) fn encoding(&self) -> anyhow::Result<&'static encoding_rs::Encoding> {
        let label = self.encoding.as_deref().unwrap_or("utf-8");
        find_encoding(label)
            .filter(|encoding| is_supported(encoding))
            .ok_or_else(|| {
                usage_error(format!(
                    "csv.encoding `{label}` is not known: write utf-8, utf-16le, windows-1252, iso-8859-2 or another label of \
                     https://encoding.spec.whatwg.org/#names-and-labels"
                ))
            })
    }
}

/// Maximum size of a prefix of lines that are skipped, in bytes.
const SKIP_PREFIX_BYTES_MAX: usize = 1_024;

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
        let amount = |more: &str| format!("unit = \"decimal\", {more}");
        let amount_is = |more: &str, expected| check("unit = \"minor\"", &amount(more), expected);
        amount_is("thousands = \",\"", None);
        amount_is("thousands = \".\"", Some("the same"));
        amount_is("thousands = \"0\"", Some("`0` cannot be a mark"));
        amount_is("decimal_mark = \"-\"", Some("`-` cannot be a mark"));
        amount_is("thousands = \",\", grouping = \"indian\"", None);
        amount_is("grouping = \"indian\"", Some("goes with `thousands`"));
        amount_is("thousands = \",\", grouping = \"fours\"", Some("fours"));
        amount_is("symbols = { \"€\" = \"EUR\" }", None);
        amount_is("symbols = { \"€\" = \"EURO\" }", Some("`EURO` is not"));
        amount_is("symbols = { \"5\" = \"EUR\" }", Some("cannot be told"));
        amount_is("symbols = { \"Rs.\" = \"INR\" }", Some("cannot be told"));
        let fee =
            |more: &str| format!("to = \"b\"\nfee = {{ to = \"b\", column = \"fee\"{more} }}");
        check(
            "to = \"b\"",
            &fee(""),
            Some("rule 1: `fee.sign` is missing"),
        );
        check(
            "to = \"b\"",
            &fee(", sign = \"negative\", on_top = true"),
            None,
        );
        check("to = \"b\"", &fee(", sign = \"none\""), Some("none"));
        let date = |format: &str| {
            format!("name = \"m\"\ndate = {{ column = \"day\", format = \"{format}\" }}")
        };
        check("name = \"m\"", &date("%d.%m.%y"), None);
        check("name = \"m\"", &date("dd.mm.yyyy"), Some("date.format"));
        check(
            "not = \"failed\"",
            "nott = \"failed\"",
            Some("a condition is"),
        );
    }

    #[test]
    fn what_a_file_cannot_be_split_by_is_refused() {
        let dialect = |change: &dyn Fn(&mut Csv)| {
            let mut csv = Csv::default();
            change(&mut csv);
            let dialect = csv
                .dialect()
                .and_then(|dialect| Ok((dialect, csv.encoding()?)));
            dialect.map(|_| ()).map_err(|error| error.to_string())
        };
        assert_eq!(dialect(&|_| {}), Ok(()));
        assert_eq!(dialect(&|csv| csv.quote = Some(String::new())), Ok(()));
        assert_eq!(dialect(&|csv| csv.encoding = Some("Latin1".into())), Ok(()));
        let refused = |change: &dyn Fn(&mut Csv), part: &str| {
            let error = dialect(change).expect_err(part);
            assert!(error.contains(part), "{error}");
        };
        refused(&|csv| csv.delimiter = Some('§'), "csv.delimiter");
        refused(&|csv| csv.quote = Some("''".into()), "csv.quote");
        refused(&|csv| csv.quote = Some(",".into()), "the same");
        refused(
            &|csv| csv.encoding = Some("utf-32".into()),
            "`utf-32` is not known",
        );
        refused(
            &|csv| csv.skip_prefixes = vec![String::new()],
            "skip_prefixes",
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
