//! Turns the rows of a file into movements of money, as the map says. Knows no network.

use super::description::shorten;
use super::keys::Keys;
use super::map::{self, Map, Overdraft, PaymentKind, Sign};
use super::report::shown;
use super::rows::Row;
use super::template::Template;
use crate::amount::{self, AMOUNT_MAX, CurrencyOf, Notation};
use crate::exit::usage_error;

/// Earliest year of a date. An earlier one is a year of two digits that was read with `%Y`.
const YEAR_MIN: i16 = 1000;

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
    fee: Option<FeePlan>,
    reference: Option<Template>,
    description: Option<Template>,
    metadata: Vec<(String, Template)>,
    reason: Option<Template>,
}

struct FeePlan {
    account: AccountPlan,
    column: usize,
    /// Whether fees that were paid are negative in the file.
    negative: bool,
    on_top: bool,
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
    /// Whether the description is shorter than the file's.
    pub(crate) description_cut: bool,
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
                .map(|key| Template::parse_key(key, find))
                .transpose()?,
            file_digest: digest.to_owned(),
            currency: Template::parse(&map.currency, find)?,
            notation: map.amount.notation(),
            date,
            rules,
            currency_exponent,
        })
    }

    /// Returns the movement of a row; none if a rule skips the row. `keys` are those of the rows before it.
    pub(crate) fn movement(&self, row: &Row, keys: &mut Keys) -> Result<Option<Movement>, String> {
        // Every row is counted, also one that is skipped or refused: the number of a row must not change when another row of
        // the file is mended.
        let key = self.idempotency_key(row, keys);
        let code = self.currency.render(row);
        let exponent = (self.currency_exponent)(&code)
            .ok_or_else(|| format!("`{code}` is not an ISO 4217 currency"))?;
        let currency = CurrencyOf {
            code: &code,
            exponent,
        };
        let Some((rule, negative)) = self.rule_for(row, currency)? else {
            return Err("no rule of the map matches".to_owned());
        };
        let Some(action) = &rule.action else {
            return Ok(None);
        };
        let (_, mut amount) = amount::parse(row.get(rule.amount), &self.notation, currency)?;
        if negative && rule.sign.is_none() {
            return Err(format!("the amount `{}` is negative", row.get(rule.amount)));
        }
        if amount == 0 {
            return Err("the amount is zero".to_owned());
        }
        let fee = self.parse_fee(action, row, currency, &mut amount)?;
        let description = optional(action.description.as_ref(), row);
        let (description, description_cut) = description.map_or((None, false), shorten);
        let metadata = action
            .metadata
            .iter()
            .map(|(name, text)| (name.clone(), text.render(row)));
        Ok(Some(Movement {
            line: row.line,
            key: key?,
            payment: action.payment,
            from: action.from.render(row, &code)?,
            to: action.to.render(row, &code)?,
            amount,
            fee,
            effective_at: self.parse_date(row)?,
            reference: optional(action.reference.as_ref(), row),
            description,
            description_cut,
            metadata: metadata.filter(|(_, text)| !text.is_empty()).collect(),
            reason: optional(action.reason.as_ref(), row),
            currency: code,
        }))
    }

    /// Returns the first rule that matches, and whether the row's amount is negative.
    fn rule_for(
        &self,
        row: &Row,
        currency: CurrencyOf<'_>,
    ) -> Result<Option<(&Rule, bool)>, String> {
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
            let (negative, _) = amount::parse(row.get(rule.amount), &self.notation, currency)?;
            match rule.sign {
                Some(Sign::Positive) if negative => {}
                Some(Sign::Negative) if !negative => {}
                _ => return Ok(Some((rule, negative))),
            }
        }
        Ok(None)
    }

    fn idempotency_key(&self, row: &Row, keys: &mut Keys) -> Result<String, String> {
        let key = match &self.key {
            None => format!("{}:{}", self.file_digest, row.line),
            Some(template) if template.has_occurrence() => {
                let count = keys.count(&template.render(row));
                template.render_with(row, &count.to_string())
            }
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
        if date.year() < YEAR_MIN {
            return Err(format!(
                "`{text}`, read as {format}, is a day of the year {}: `%y` is for years of two digits",
                date.year()
            ));
        }
        Ok(Some(date.to_string()))
    }

    fn parse_fee(
        &self,
        action: &Action,
        row: &Row,
        currency: CurrencyOf<'_>,
        amount: &mut u64,
    ) -> Result<Option<(AccountSpec, u64)>, String> {
        let Some(plan) = &action.fee else {
            return Ok(None);
        };
        let text = row.get(plan.column);
        if text.is_empty() {
            return Ok(None);
        }
        let (negative, fee) =
            amount::parse(text, &self.notation, currency).map_err(|why| format!("fee: {why}"))?;
        if fee == 0 {
            return Ok(None);
        }
        if negative != plan.negative {
            return Err(format!(
                "the fee `{text}` has the sign of a fee that was given back: it needs a rule of its own"
            ));
        }
        if plan.on_top {
            *amount = amount
                .checked_add(fee)
                .filter(|sum| *sum <= AMOUNT_MAX)
                .ok_or_else(|| {
                    format!(
                        "the amount with the fee `{text}` is more than {AMOUNT_MAX} minor units"
                    )
                })?;
        } else if fee > *amount {
            return Err(format!("the fee `{text}` is more than the amount"));
        }
        Ok(Some((plan.account.render(row, currency.code)?, fee)))
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
        Some(fee) => Some(FeePlan {
            account: account(Some(&fee.to))?,
            column: need(&fee.column, find)?,
            negative: fee.sign.ok_or("`fee.sign` is missing")? == Sign::Negative,
            on_top: fee.on_top,
        }),
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
mod tests;
