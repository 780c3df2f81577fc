//! Maps of messages: what the messages of a binding become.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::map::compiled::CompiledMap;
use crate::map::constants::check_constants;
use crate::map::definition::{
    AccountSource, AmountSource, DateSource, Definition, FeeSource, MovementKind, Rule,
};
use crate::map::document::Paths;
use crate::map::fault::Fault;
use crate::map::plan::Plan;
use crate::map::queue::QueueTemplates;

/// Maximum number of rules in a map.
pub const RULES_MAX: usize = 64;
/// Maximum number of accounts in a map.
pub const ACCOUNTS_MAX: usize = 64;

/// Names of the accounts of the short form.
const SOURCE: &str = "source";
const DESTINATION: &str = "destination";

/// How messages become payments. The short form has `source` and `destination`, and makes one payment of each message; the long form
/// has `rules`, and names the accounts in `accounts`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MessageMap {
    /// Template of the currency's ISO 4217 code, such as `EUR` or `{currency}`.
    pub currency: String,
    /// Where the amount is, and how it is written.
    pub amount: AmountSource,
    /// Where the business date is; without it the date of the payment is that of its decision.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub date: Option<DateSource>,
    /// The accounts that rules and fees name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub accounts: BTreeMap<String, AccountSource>,
    /// What a message becomes: the first rule that matches decides.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 64)]
    pub rules: Vec<Rule>,
    /// Account that pays.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<AccountPlace>,
    /// Account that receives.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination: Option<AccountPlace>,
    /// Kind of payment; `pay` if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payment: Option<MovementKind>,
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
    /// Whether payouts are recorded as paid already.
    #[serde(default)]
    pub paid: bool,
    /// Queue the payments, and decide each when its turn has come.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<QueueTemplates>,
}

/// An account of the short form: the template of its external id, or all that an account in `accounts` has.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(
    untagged,
    expecting = "an account is the template of its external id, or an object with `external_id` and `owner`, or with `id`"
)]
#[schema(as = MapAccountPlace)]
pub enum AccountPlace {
    /// Its external id.
    ExternalId(String),
    /// More.
    Account(AccountSource),
}

impl MessageMap {
    /// Checks the map, and prepares it for messages.
    ///
    /// # Errors
    /// The first thing that is wrong, with the field of the map: a template or path that can't be read, an account that is not there,
    /// a constant that the API would refuse in every payment, a rule that can never match.
    pub fn check(&self) -> Result<CompiledMap, Fault> {
        self.compile().map_err(|fault| match self.is_short() {
            true => self.as_written(fault.in_short_form()),
            false => fault,
        })
    }

    /// Names an account that is only the template of its external id by the field that holds the template.
    fn as_written(&self, mut fault: Fault) -> Fault {
        for (label, place) in [(SOURCE, &self.source), (DESTINATION, &self.destination)] {
            let field = fault.field.strip_prefix(label);
            if field == Some(".external_id") && matches!(place, Some(AccountPlace::ExternalId(_))) {
                label.clone_into(&mut fault.field);
            }
        }
        fault
    }

    fn is_short(&self) -> bool {
        self.source.is_some() || self.destination.is_some()
    }

    fn compile(&self) -> Result<CompiledMap, Fault> {
        if self.rules.len() > RULES_MAX {
            let why = format!("there are more than {RULES_MAX} rules");
            return Err(Fault::map("rules", why));
        }
        if self.accounts.len() > ACCOUNTS_MAX {
            let why = format!("there are more than {ACCOUNTS_MAX} accounts");
            return Err(Fault::map("accounts", why));
        }
        let definition = self.definition()?;
        definition.check()?;
        for (number, rule) in definition.rules.iter().enumerate() {
            definition
                .check_rule(rule)
                .map_err(|fault| fault.within(&format!("rules[{number}]")))?;
        }
        definition.check_reach()?;
        let pays_out = |rule: &Rule| rule.payment == Some(MovementKind::Payout);
        if self.paid && !definition.rules.iter().any(pays_out) {
            return Err(Fault::map("paid", "`paid` goes with payouts"));
        }
        let queue = self.queue.as_ref();
        check_constants(&definition, self.paid, queue)?;
        let mut paths = Paths::default();
        Ok(CompiledMap {
            plan: Plan::new(&definition, &mut paths)?,
            queue: queue.map(|queue| queue.parse(&mut paths)).transpose()?,
            paths,
            paid: self.paid,
            is_short: self.is_short(),
        })
    }

    /// Returns the map with a rule, also if it has the short form.
    fn definition(&self) -> Result<Definition, Fault> {
        let (accounts, rules) = match (&self.source, &self.destination) {
            (None, None) => self.long_form()?,
            (Some(source), Some(destination)) => self.short_form(source, destination)?,
            (Some(_), None) => return Err(Fault::map(DESTINATION, "`destination` is missing")),
            (None, Some(_)) => return Err(Fault::map(SOURCE, "`source` is missing")),
        };
        Ok(Definition {
            currency: self.currency.clone(),
            amount: self.amount.clone(),
            date: self.date.clone(),
            accounts,
            rules,
        })
    }

    fn long_form(&self) -> Result<(BTreeMap<String, AccountSource>, Vec<Rule>), Fault> {
        for (field, is_given) in [
            ("payment", self.payment.is_some()),
            ("fee", self.fee.is_some()),
            ("reference", self.reference.is_some()),
            ("description", self.description.is_some()),
            ("metadata", !self.metadata.is_empty()),
            ("reason", self.reason.is_some()),
        ] {
            if is_given {
                let why = format!("`{field}` goes with `source` and `destination`, or into a rule");
                return Err(Fault::map(field, why));
            }
        }
        if self.rules.is_empty() {
            let why = "no payment: give `source` and `destination`, or `rules`";
            return Err(Fault::map(SOURCE, why));
        }
        Ok((self.accounts.clone(), self.rules.clone()))
    }

    fn short_form(
        &self,
        source: &AccountPlace,
        destination: &AccountPlace,
    ) -> Result<(BTreeMap<String, AccountSource>, Vec<Rule>), Fault> {
        if !self.rules.is_empty() {
            let why = "give either `source` and `destination`, or `rules`";
            return Err(Fault::map("rules", why));
        }
        let mut accounts = self.accounts.clone();
        for (label, place) in [(SOURCE, source), (DESTINATION, destination)] {
            if accounts.insert(label.to_owned(), place.account()).is_some() {
                let why = format!("`{label}` in `accounts` is given twice");
                return Err(Fault::map(label, why));
            }
        }
        let rule = Rule {
            payment: Some(self.payment.unwrap_or(MovementKind::Pay)),
            from: Some(SOURCE.to_owned()),
            to: Some(DESTINATION.to_owned()),
            fee: self.fee.clone(),
            reference: self.reference.clone(),
            description: self.description.clone(),
            metadata: self.metadata.clone(),
            reason: self.reason.clone(),
            ..Rule::default()
        };
        Ok((accounts, vec![rule]))
    }
}

impl AccountPlace {
    fn account(&self) -> AccountSource {
        match self {
            AccountPlace::ExternalId(external_id) => AccountSource {
                external_id: Some(external_id.clone()),
                ..AccountSource::default()
            },
            AccountPlace::Account(account) => account.clone(),
        }
    }
}
