//! What a map says: the parts that all maps have, as they are written.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tributary_ledger::Currency;
use utoipa::ToSchema;

use crate::map::amount::{Grouping, Notation};
use crate::map::condition::Condition;
use crate::map::fault::Fault;

/// How amounts are written, and where.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = MapAmount)]
pub struct AmountSource {
    /// The field; a rule may name another. Of a file, its name is `column` too.
    #[serde(alias = "column", skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// What is counted.
    pub unit: Unit,
    /// Mark before the decimals; a point if left out.
    #[serde(default = "point")]
    pub decimal_mark: char,
    /// Mark between groups of digits; a blank stands for every kind of blank. Without it no mark is accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thousands: Option<char>,
    /// Sizes of the groups of digits.
    #[serde(default)]
    pub grouping: Grouping,
    /// Currency signs that may stand beside a number, each with the code of its currency, which must be the payment's.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub symbols: BTreeMap<String, String>,
}

/// What a number counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = MapUnit)]
pub enum Unit {
    /// Whole minor units.
    Minor,
    /// A decimal number of the currency.
    Decimal,
}

/// Which field holds the day, and how.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = MapDate)]
pub struct DateSource {
    /// The field. Of a file, its name is `column` too.
    #[serde(alias = "column")]
    pub field: String,
    /// As in `strftime`; `%Y-%m-%d` if left out.
    #[serde(default = "iso_date")]
    pub format: String,
}

/// An account, or a family of accounts if its templates name fields. Give either `external_id` or `id`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = MapAccount)]
pub struct AccountSource {
    /// Template of its external id, which is unique among the owner's accounts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
    /// Template of its owner's name; the owner of the API key if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Template of its id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
}

/// What the documents that match become.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = MapRule)]
pub struct Rule {
    /// What fields must be; all must hold. A rule without conditions matches every document.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub when: BTreeMap<String, Condition>,
    /// Only documents whose amount has this sign. Without it a negative amount is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sign: Option<Sign>,
    /// Leave the documents out, for example those that the source calls failed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub skip: bool,
    /// Kind of payment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payment: Option<MovementKind>,
    /// Name of the account that pays.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Name of the account that receives.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Another field of the amount.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub amount: Option<String>,
    /// Part of the amount that goes to another account.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fee: Option<FeeSource>,
    /// Template of the payment's reference.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// Template of its description.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Templates of its metadata; those that come out empty are left out.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// Template of the reason, for adjustments.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A fee.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = MapFee)]
pub struct FeeSource {
    /// Name of the account that receives it.
    pub to: String,
    /// The field; zero or empty means no fee. Of a file, its name is `column` too.
    #[serde(alias = "column")]
    pub field: String,
    /// Sign of a fee that was paid. A fee of the other sign was given back, and is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required)]
    pub sign: Option<Sign>,
    /// Whether the payer pays the fee on top of the amount. Otherwise the fee is part of the amount.
    #[serde(default)]
    pub on_top: bool,
}

/// Sign of a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = MapSign)]
pub enum Sign {
    /// Zero or more.
    Positive,
    /// Less than zero.
    Negative,
}

/// Kind of a movement of money.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = MapPaymentKind)]
pub enum MovementKind {
    /// A payment to a merchant.
    Pay,
    /// Between users.
    Transfer,
    /// In from outside.
    TopUp,
    /// Out to outside.
    Payout,
    /// Set right by the platform.
    Adjustment,
}

impl MovementKind {
    /// Returns the name of the operation, as a batch has it.
    pub const fn operation(self) -> &'static str {
        match self {
            MovementKind::Pay => "payment",
            MovementKind::Transfer => "transfer",
            MovementKind::TopUp => "top_up",
            MovementKind::Payout => "payout",
            MovementKind::Adjustment => "adjustment",
        }
    }
}

/// What a map says of its documents, whatever else it says.
#[derive(Debug, Clone)]
pub struct Definition {
    /// Template of the currency's code.
    pub currency: String,
    /// How amounts are written.
    pub amount: AmountSource,
    /// Which field holds the day.
    pub date: Option<DateSource>,
    /// The accounts that rules name.
    pub accounts: BTreeMap<String, AccountSource>,
    /// What a document becomes: the first rule that matches decides.
    pub rules: Vec<Rule>,
}

impl Definition {
    /// Checks everything but the rules.
    ///
    /// # Errors
    /// What is wrong.
    pub fn check(&self) -> Result<(), Fault> {
        self.amount.check()?;
        match &self.date {
            Some(date) => date.check(),
            None => Ok(()),
        }
    }

    /// Checks a rule by itself. Whether its templates can be read is found out by [`Plan::new`](crate::map::Plan::new).
    ///
    /// # Errors
    /// What is wrong, with a field of the rule.
    pub fn check_rule(&self, rule: &Rule) -> Result<(), Fault> {
        let has_amount = rule.amount.is_some() || self.amount.field.is_some();
        if rule.skip {
            let acts = rule.payment.is_some() || rule.from.is_some() || rule.to.is_some();
            if acts {
                let why = "`skip` excludes payment, from and to";
                return Err(Fault::map("skip", why));
            }
            return match rule.sign {
                Some(_) if !has_amount => Err(no_amount()),
                _ => Ok(()),
            };
        }
        let missing = |field: &str, why: &str| Fault::map(field, why);
        let payment = rule
            .payment
            .ok_or_else(|| missing("payment", "`payment` is missing (or `skip = true`)"))?;
        let from = rule.from.as_ref();
        let from = from.ok_or_else(|| missing("from", "`from` is missing"))?;
        let to = rule.to.as_ref();
        let to = to.ok_or_else(|| missing("to", "`to` is missing"))?;
        let fee = rule.fee.as_ref();
        for (field, name) in [
            ("from", Some(from)),
            ("to", Some(to)),
            ("fee.to", fee.map(|fee| &fee.to)),
        ] {
            if let Some(name) = name.filter(|name| !self.accounts.contains_key(*name)) {
                return Err(Fault::map(field, format!("there is no [accounts.{name}]")));
            }
        }
        if fee.is_some_and(|fee| fee.sign.is_none()) {
            let why = "`fee.sign` is missing: say whether the file writes fees that were paid as \"positive\" or \"negative\"";
            return Err(Fault::map("fee.sign", why));
        }
        if from == to {
            return Err(Fault::map(
                "to",
                format!("`from` and `to` are both `{from}`"),
            ));
        }
        if !has_amount {
            return Err(no_amount());
        }
        if (payment == MovementKind::Adjustment) != rule.reason.is_some() {
            let why = "`reason` goes with adjustments, and only with them";
            return Err(Fault::map("reason", why));
        }
        Ok(())
    }

    /// Checks that each rule can match a document.
    ///
    /// # Errors
    /// The first rule that cannot: no text fulfils a condition, or a rule before it matches all that it matches.
    pub fn check_reach(&self) -> Result<(), Fault> {
        let rules = &self.rules;
        for (number, rule) in rules.iter().enumerate() {
            for (field, condition) in &rule.when {
                if !condition.can_hold() {
                    let why = format!("no text fulfils the condition on `{field}`");
                    return Err(Fault::map(&format!("rules[{number}].when.{field}"), why));
                }
            }
            let mut before = rules[..number].iter();
            if let Some(other) = before.position(|other| takes_all(other, rule)) {
                let why = format!(
                    "rule {} can never match: rule {} comes first and matches all that it matches",
                    number + 1,
                    other + 1
                );
                return Err(Fault::map(&format!("rules[{number}]"), why));
            }
        }
        Ok(())
    }
}

/// Whether `first` matches whatever `second` matches.
fn takes_all(first: &Rule, second: &Rule) -> bool {
    let is_implied = |(field, condition): (&String, &Condition)| {
        let same_field = second.when.get(field);
        same_field.is_some_and(|narrower| narrower.implies(condition))
    };
    (first.sign.is_none() || first.sign == second.sign) && first.when.iter().all(is_implied)
}

/// Fault of a rule whose amount no field holds.
pub(super) fn no_amount() -> Fault {
    let why = "no amount: give `amount.field` (of a file `amount.column`), or `amount` in the rule";
    Fault::map("amount", why)
}

impl DateSource {
    /// Refuses a format without any conversion, such as `dd.mm.yyyy`.
    fn check(&self) -> Result<(), Fault> {
        if self.format.contains('%') {
            return Ok(());
        }
        let why = format!(
            "date.format `{}` has no `%`: it is written as in strftime",
            self.format
        );
        Err(Fault::map("date.format", why))
    }
}

impl AmountSource {
    fn check(&self) -> Result<(), Fault> {
        let wrong = |mark: char| mark.is_ascii_alphanumeric() || "+-()\u{2212}".contains(mark);
        for (field, mark) in [
            ("amount.decimal_mark", Some(self.decimal_mark)),
            ("amount.thousands", self.thousands),
        ] {
            if let Some(mark) = mark.filter(|mark| wrong(*mark)) {
                let why = format!("amount: `{mark}` cannot be a mark within a number");
                return Err(Fault::map(field, why));
            }
        }
        if self.thousands == Some(self.decimal_mark) {
            let why = "amount: `thousands` and `decimal_mark` are the same";
            return Err(Fault::map("amount.thousands", why));
        }
        if self.grouping == Grouping::Indian && self.thousands.is_none() {
            let why = "amount: `grouping` goes with `thousands`";
            return Err(Fault::map("amount.grouping", why));
        }
        for (symbol, code) in &self.symbols {
            let number = |c: char| {
                c.is_ascii_digit() || wrong(c) && !c.is_ascii_alphabetic() || c.is_whitespace()
            };
            let marks = symbol.contains(self.decimal_mark)
                || self.thousands.is_some_and(|mark| symbol.contains(mark));
            if symbol.is_empty() || symbol.chars().any(number) || marks {
                let why =
                    format!("amount.symbols: `{symbol}` cannot be told from a part of the number");
                return Err(Fault::map("amount.symbols", why));
            }
            if Currency::from_code(code).is_err() {
                let why = format!("amount.symbols: `{code}` is not an ISO 4217 currency");
                return Err(Fault::map("amount.symbols", why));
            }
        }
        Ok(())
    }

    /// Returns how amounts are read.
    pub(super) fn notation(&self) -> Notation {
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

fn point() -> char {
    '.'
}

fn iso_date() -> String {
    "%Y-%m-%d".to_owned()
}
