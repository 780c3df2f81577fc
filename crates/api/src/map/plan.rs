//! Turns documents into movements of money, as a map says.

use std::sync::Arc;

use tributary_ledger::{AMOUNT_MAX, Currency};

use crate::map::amount::{self, Notation};
use crate::map::condition::Condition;
use crate::map::definition::{
    AccountSource, Definition, FeeSource, MovementKind, Rule, Sign, no_amount,
};
use crate::map::description::shorten;
use crate::map::fault::{Fault, FaultCode};
use crate::map::fields::{FieldIndex, Fields, Schema};
use crate::map::template::Template;

/// Earliest year of a date. An earlier one is a year of two digits that was read with `%Y`.
const YEAR_MIN: i16 = 1000;

/// A map whose fields are found in a schema.
#[derive(Debug)]
pub struct Plan {
    currency: Template,
    notation: Notation,
    date: Option<(Place, String)>,
    rules: Vec<RulePlan>,
}

/// A field by its number, with its name for people.
#[derive(Debug)]
struct Place {
    index: FieldIndex,
    name: String,
}

#[derive(Debug)]
struct RulePlan {
    when: Vec<(FieldIndex, Condition)>,
    sign: Option<Sign>,
    /// None only where no amount is read.
    amount: Option<Place>,
    /// Action; none leaves the documents out.
    action: Option<Action>,
}

#[derive(Debug)]
struct Action {
    payment: MovementKind,
    from: AccountPlan,
    to: AccountPlan,
    fee: Option<FeePlan>,
    reference: Option<Template>,
    description: Option<Template>,
    metadata: Vec<(String, Template)>,
    reason: Option<Template>,
}

#[derive(Debug)]
struct FeePlan {
    account: AccountPlan,
    place: Place,
    /// Whether fees that were paid are negative in the document.
    negative: bool,
    on_top: bool,
}

#[derive(Debug)]
struct AccountPlan {
    label: Arc<str>,
    target: TargetPlan,
}

#[derive(Debug)]
enum TargetPlan {
    External {
        owner: Option<Template>,
        external_id: Template,
    },
    Id(Template),
}

/// An account that a movement needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountName {
    /// Name of the account in the map.
    pub label: Arc<str>,
    /// How it is found.
    pub target: AccountTarget,
}

/// How an account is found. No text is empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccountTarget {
    /// By its owner's own name for it.
    External {
        /// Name of the owner; none for the owner of the API key.
        owner: Option<String>,
        /// External id.
        external_id: String,
    },
    /// By its id.
    Id(String),
}

/// A payment to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Movement {
    /// Kind of payment.
    pub payment: MovementKind,
    /// Account that pays.
    pub from: AccountName,
    /// Account that receives.
    pub to: AccountName,
    /// Minor units, 1 to [`AMOUNT_MAX`].
    pub amount: u64,
    /// Of the amount.
    pub currency: Currency,
    /// Account and amount of the fee.
    pub fee: Option<(AccountName, u64)>,
    /// `YYYY-MM-DD`.
    pub effective_at: Option<String>,
    /// Reference.
    pub reference: Option<String>,
    /// Description.
    pub description: Option<String>,
    /// Whether the description is shorter than the document's.
    pub description_cut: bool,
    /// Metadata, by name. No text is empty.
    pub metadata: Vec<(String, String)>,
    /// Reason of an adjustment.
    pub reason: Option<String>,
}

impl Plan {
    /// Finds the fields of the map.
    ///
    /// # Errors
    /// If a template can't be read, or the map names a field that the schema does not have.
    pub fn new(definition: &Definition, schema: &mut dyn Schema) -> Result<Plan, Fault> {
        let mut rules = Vec::with_capacity(definition.rules.len());
        for (number, rule) in definition.rules.iter().enumerate() {
            let plan = join_rule(definition, rule, schema);
            rules.push(
                plan.map_err(|fault| match fault.field.starts_with("accounts.") {
                    true => fault,
                    false => fault.within(&format!("rules[{number}]")),
                })?,
            );
        }
        let date = match &definition.date {
            None => None,
            Some(date) => {
                let place = find(&date.field, schema).map_err(|fault| fault.of("date.field"))?;
                Some((place, date.format.clone()))
            }
        };
        Ok(Plan {
            currency: parse(&definition.currency, "currency", schema)?,
            notation: definition.amount.notation(),
            date,
            rules,
        })
    }

    /// Returns the movement that a document becomes; none if a rule leaves the document out.
    ///
    /// # Errors
    /// If no rule matches, or a field is missing or can't be read.
    pub fn movement(&self, fields: &dyn Fields) -> Result<Option<Movement>, Fault> {
        let code = self.currency.render(fields)?;
        let currency = Currency::from_code(&code).map_err(|_| {
            Fault::invalid("currency", format!("`{code}` is not an ISO 4217 currency"))
        })?;
        let Some((rule, negative)) = self.rule_for(fields, currency)? else {
            let why = "no rule of the map matches";
            return Err(Fault::new(FaultCode::RuleMissing, "", why));
        };
        let (Some(action), Some(place)) = (&rule.action, &rule.amount) else {
            return Ok(None);
        };
        let text = fields.text(place.index)?;
        let (_, mut amount) = self.parse_amount(text, place, currency)?;
        if negative && rule.sign.is_none() {
            let why = format!("the amount `{text}` is negative");
            return Err(Fault::invalid(&place.name, why));
        }
        if amount == 0 {
            return Err(Fault::invalid(&place.name, "the amount is zero"));
        }
        let fee = self.parse_fee(action, fields, currency, &mut amount)?;
        let (description, description_cut) =
            optional(action.description.as_ref(), fields)?.map_or((None, false), shorten);
        let mut metadata = Vec::with_capacity(action.metadata.len());
        for (name, template) in &action.metadata {
            let text = template.render(fields)?;
            if !text.is_empty() {
                metadata.push((name.clone(), text));
            }
        }
        Ok(Some(Movement {
            payment: action.payment,
            from: action.from.render(fields)?,
            to: action.to.render(fields)?,
            amount,
            currency,
            fee,
            effective_at: self.parse_date(fields)?,
            reference: optional(action.reference.as_ref(), fields)?,
            description,
            description_cut,
            metadata,
            reason: optional(action.reason.as_ref(), fields)?,
        }))
    }

    /// Returns the first rule that matches, and whether the document's amount is negative.
    fn rule_for(
        &self,
        fields: &dyn Fields,
        currency: Currency,
    ) -> Result<Option<(&RulePlan, bool)>, Fault> {
        'rules: for rule in &self.rules {
            for (field, condition) in &rule.when {
                if !condition.holds(fields.text_or_empty(*field)?) {
                    continue 'rules;
                }
            }
            let place = match &rule.amount {
                Some(place) if rule.action.is_some() || rule.sign.is_some() => place,
                _ => return Ok(Some((rule, false))),
            };
            let (negative, _) = self.parse_amount(fields.text(place.index)?, place, currency)?;
            match rule.sign {
                Some(Sign::Positive) if negative => {}
                Some(Sign::Negative) if !negative => {}
                _ => return Ok(Some((rule, negative))),
            }
        }
        Ok(None)
    }

    fn parse_amount(
        &self,
        text: &str,
        place: &Place,
        currency: Currency,
    ) -> Result<(bool, u64), Fault> {
        amount::parse(text, &self.notation, currency)
            .map_err(|why| Fault::invalid(&place.name, why))
    }

    fn parse_date(&self, fields: &dyn Fields) -> Result<Option<String>, Fault> {
        let Some((place, format)) = &self.date else {
            return Ok(None);
        };
        let text = fields.text(place.index)?;
        let date = jiff::civil::Date::strptime(format, text).map_err(|_| {
            let why = format!("`{text}` is not a date written as {format}");
            Fault::invalid(&place.name, why)
        })?;
        if date.year() < YEAR_MIN {
            let why = format!(
                "`{text}`, read as {format}, is a day of the year {}: `%y` is for years of two digits",
                date.year()
            );
            return Err(Fault::invalid(&place.name, why));
        }
        Ok(Some(date.to_string()))
    }

    fn parse_fee(
        &self,
        action: &Action,
        fields: &dyn Fields,
        currency: Currency,
        amount: &mut u64,
    ) -> Result<Option<(AccountName, u64)>, Fault> {
        let Some(plan) = &action.fee else {
            return Ok(None);
        };
        let text = fields.text(plan.place.index)?;
        if text.is_empty() {
            return Ok(None);
        }
        let refuse = |why: String| Fault::invalid(&plan.place.name, why);
        let (negative, fee) = amount::parse(text, &self.notation, currency)
            .map_err(|why| refuse(format!("fee: {why}")))?;
        if fee == 0 {
            return Ok(None);
        }
        if negative != plan.negative {
            return Err(refuse(format!(
                "the fee `{text}` has the sign of a fee that was given back: it needs a rule of its own"
            )));
        }
        if plan.on_top {
            *amount = amount
                .checked_add(fee)
                .filter(|sum| *sum <= AMOUNT_MAX)
                .ok_or_else(|| {
                    refuse(format!(
                        "the amount with the fee `{text}` is more than {AMOUNT_MAX} minor units"
                    ))
                })?;
        } else if fee > *amount {
            return Err(refuse(format!("the fee `{text}` is more than the amount")));
        }
        Ok(Some((plan.account.render(fields)?, fee)))
    }
}

impl AccountPlan {
    fn new(
        label: &str,
        account: &AccountSource,
        schema: &mut dyn Schema,
    ) -> Result<AccountPlan, Fault> {
        let target = match (&account.id, &account.external_id) {
            (Some(id), None) if account.owner.is_none() => TargetPlan::Id(parse(id, "id", schema)?),
            (None, Some(external_id)) => TargetPlan::External {
                external_id: parse(external_id, "external_id", schema)?,
                owner: parse_optional(account.owner.as_ref(), "owner", schema)?,
            },
            _ => {
                let why = "an account has either `external_id`, with or without `owner`, or `id`";
                return Err(Fault::map("", why));
            }
        };
        Ok(AccountPlan {
            label: label.into(),
            target,
        })
    }

    fn render(&self, fields: &dyn Fields) -> Result<AccountName, Fault> {
        let text = |template: &Template| {
            let text = template.render(fields)?;
            if text.is_empty() {
                let why = "an account's external id or owner comes out empty";
                return Err(Fault::invalid(&format!("accounts.{}", self.label), why));
            }
            Ok(text)
        };
        let target = match &self.target {
            TargetPlan::Id(id) => AccountTarget::Id(text(id)?),
            TargetPlan::External { owner, external_id } => AccountTarget::External {
                external_id: text(external_id)?,
                owner: owner.as_ref().map(text).transpose()?,
            },
        };
        Ok(AccountName {
            label: self.label.clone(),
            target,
        })
    }
}

fn join_rule(
    definition: &Definition,
    rule: &Rule,
    schema: &mut dyn Schema,
) -> Result<RulePlan, Fault> {
    let mut when = Vec::with_capacity(rule.when.len());
    for (field, condition) in &rule.when {
        let found = schema.find(field);
        let found = found.map_err(|fault| fault.of(&format!("when.{field}")))?;
        when.push((found, condition.clone()));
    }
    let amount = match rule.amount.as_ref().or(definition.amount.field.as_ref()) {
        Some(field) => Some(find(field, schema).map_err(|fault| fault.of("amount"))?),
        None if rule.skip => None,
        None => return Err(no_amount()),
    };
    let action = if rule.skip {
        None
    } else {
        Some(join_action(definition, rule, schema)?)
    };
    Ok(RulePlan {
        when,
        sign: rule.sign,
        amount,
        action,
    })
}

fn join_action(
    definition: &Definition,
    rule: &Rule,
    schema: &mut dyn Schema,
) -> Result<Action, Fault> {
    let mut metadata = Vec::with_capacity(rule.metadata.len());
    for (name, text) in &rule.metadata {
        let template = parse(text, &format!("metadata.{name}"), schema)?;
        metadata.push((name.clone(), template));
    }
    let payment = rule.payment;
    Ok(Action {
        payment: payment.ok_or_else(|| Fault::map("payment", "`payment` is missing"))?,
        from: join_account(definition, rule.from.as_deref(), schema)?,
        to: join_account(definition, rule.to.as_deref(), schema)?,
        fee: match &rule.fee {
            Some(fee) => Some(join_fee(definition, fee, schema)?),
            None => None,
        },
        reference: parse_optional(rule.reference.as_ref(), "reference", schema)?,
        description: parse_optional(rule.description.as_ref(), "description", schema)?,
        metadata,
        reason: parse_optional(rule.reason.as_ref(), "reason", schema)?,
    })
}

fn join_fee(
    definition: &Definition,
    fee: &FeeSource,
    schema: &mut dyn Schema,
) -> Result<FeePlan, Fault> {
    let sign = fee.sign;
    let sign = sign.ok_or_else(|| Fault::map("fee.sign", "`fee.sign` is missing"))?;
    Ok(FeePlan {
        account: join_account(definition, Some(&fee.to), schema)?,
        place: find(&fee.field, schema).map_err(|fault| fault.of("fee.field"))?,
        negative: sign == Sign::Negative,
        on_top: fee.on_top,
    })
}

fn join_account(
    definition: &Definition,
    label: Option<&str>,
    schema: &mut dyn Schema,
) -> Result<AccountPlan, Fault> {
    let found = label.and_then(|label| definition.accounts.get_key_value(label));
    let (label, account) = found.ok_or_else(|| Fault::map("", "an account is missing"))?;
    AccountPlan::new(label, account, schema)
        .map_err(|fault| fault.within(&format!("accounts.{label}")))
}

fn find(field: &str, schema: &mut dyn Schema) -> Result<Place, Fault> {
    Ok(Place {
        index: schema.find(field)?,
        name: schema.plain_name(field).to_owned(),
    })
}

/// Parses the template that the map has at `field`.
fn parse(text: &str, field: &str, schema: &mut dyn Schema) -> Result<Template, Fault> {
    Template::parse(text, schema).map_err(|fault| fault.of(field))
}

fn parse_optional(
    text: Option<&String>,
    field: &str,
    schema: &mut dyn Schema,
) -> Result<Option<Template>, Fault> {
    text.map(|text| parse(text, field, schema)).transpose()
}

fn optional(template: Option<&Template>, fields: &dyn Fields) -> Result<Option<String>, Fault> {
    let text = template
        .map(|template| template.render(fields))
        .transpose()?;
    Ok(text.filter(|text| !text.is_empty()))
}
