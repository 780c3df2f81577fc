//! The map file: how the columns of a CSV become accounts and payments. `docs/cli.md` explains it.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context as _;
use serde::Deserialize;

use tributary_api::map::{AccountSource, AmountSource, DateSource, Definition, Fault, Rule};

use super::decode::{find_encoding, is_supported};
use super::records::Dialect;
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
    pub(crate) amount: AmountSource,
    pub(crate) date: Option<DateSource>,
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
        let definition = self.definition();
        definition.check().map_err(why)?;
        for (number, rule) in definition.rules.iter().enumerate() {
            definition
                .check_rule(rule)
                .map_err(|fault| format!("rule {}: {}", number + 1, fault.why))?;
        }
        Ok(())
    }

    /// Returns what the map says of each row, whatever the file and its keys.
    pub(crate) fn definition(&self) -> Definition {
        let source = |account: &Account| AccountSource {
            external_id: Some(account.external_id.clone()),
            owner: Some(account.owner.clone()),
            id: None,
        };
        let accounts = self.accounts.iter();
        Definition {
            currency: self.currency.clone(),
            amount: self.amount.clone(),
            date: self.date.clone(),
            accounts: accounts
                .map(|(name, account)| (name.clone(), source(account)))
                .collect(),
            rules: self.rules.clone(),
        }
    }
}

/// Returns what is wrong, as text.
pub(super) fn why(fault: Fault) -> String {
    fault.why
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
}
