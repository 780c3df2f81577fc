//! Turns the rows of a file into payments, as the map says. Knows no network.

use std::collections::BTreeMap;

use tributary_api::map::{
    self, AccountName, AccountTarget, Fault, FieldIndex, Fields, Movement, Schema, Template,
};

use super::keys::Keys;
use super::map::{Map, Overdraft, why};
use super::report::shown;
use super::rows::Row;
use crate::exit::usage_error;

/// Name that stands in a key for the number of the row among the rows that are equal otherwise, unless the file has such a column.
const OCCURRENCE: &str = "occurrence";

/// A map with the positions of its columns in a file.
pub(crate) struct Plan {
    name: String,
    key: Option<Template>,
    /// Digest of the file. Replaces the unique column if the map has none.
    file_digest: String,
    /// Number of columns, which is the number of the field that `{occurrence}` is in a key.
    columns: usize,
    movements: map::Plan,
    /// What the accounts of the map are opened with, by their names.
    accounts: BTreeMap<String, AccountTerms>,
}

struct AccountTerms {
    kind: &'static str,
    overdraft: Overdraft,
    currency: Option<Template>,
}

/// An account that a payment needs, identified by (owner, external id).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AccountSpec {
    pub(crate) owner: String,
    pub(crate) external_id: String,
    pub(crate) kind: &'static str,
    pub(crate) overdraft: Overdraft,
    pub(crate) currency: String,
}

/// A payment to make of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RowPayment {
    pub(crate) line: u64,
    pub(crate) key: String,
    pub(crate) movement: Movement,
    /// The accounts that the movement names.
    pub(crate) accounts: Vec<AccountSpec>,
}

/// The columns of a file.
struct Columns<'a>(&'a [String]);

impl Schema for Columns<'_> {
    fn find(&mut self, name: &str) -> Result<FieldIndex, Fault> {
        let place = self.0.iter().position(|column| column == name);
        let missing = || Fault::map(name, format!("the file has no column `{name}`"));
        place.map(FieldIndex).ok_or_else(missing)
    }
}

/// The columns of a file, and the number of a row among those that are equal otherwise.
struct KeyColumns<'a>(&'a [String]);

impl Schema for KeyColumns<'_> {
    fn find(&mut self, name: &str) -> Result<FieldIndex, Fault> {
        match Columns(self.0).find(name) {
            Err(_) if name == OCCURRENCE => Ok(FieldIndex(self.0.len())),
            found => found,
        }
    }
}

/// A row and its number among those that are equal otherwise.
struct CountedRow<'a> {
    row: &'a Row,
    columns: usize,
    occurrence: &'a str,
}

impl Fields for CountedRow<'_> {
    fn text(&self, field: FieldIndex) -> Result<&str, Fault> {
        match field.0 == self.columns {
            true => Ok(self.occurrence),
            false => self.row.text(field),
        }
    }
}

impl Plan {
    /// Finds the columns of the map. Refuses a map that names a column that the file does not have.
    pub(crate) fn new(map: &Map, columns: &[String], file_digest: &str) -> anyhow::Result<Self> {
        Self::join(map, columns, file_digest).map_err(|fault| {
            usage_error(format!(
                "the map does not fit the file: {}\n  its columns are: {}",
                fault.why,
                shown(&columns.join(", "))
            ))
        })
    }

    fn join(map: &Map, columns: &[String], digest: &str) -> Result<Self, Fault> {
        let movements = map::Plan::new(&map.definition(), &mut Columns(columns))?;
        let key = map.key.as_ref();
        let used = |name: &str| {
            map.rules.iter().any(|rule| {
                let fee = rule.fee.as_ref().map(|fee| &fee.to);
                [rule.from.as_ref(), rule.to.as_ref(), fee].contains(&Some(&name.to_owned()))
            })
        };
        let mut accounts = BTreeMap::new();
        for (name, account) in map.accounts.iter().filter(|(name, _)| used(name)) {
            let currency = account.currency.as_ref();
            let terms = AccountTerms {
                kind: account.kind.name(),
                overdraft: account.overdraft,
                currency: currency
                    .map(|text| Template::parse(text, &mut Columns(columns)))
                    .transpose()?,
            };
            accounts.insert(name.clone(), terms);
        }
        Ok(Self {
            name: map.name.clone(),
            key: key
                .map(|key| Template::parse(key, &mut KeyColumns(columns)))
                .transpose()?,
            file_digest: digest.to_owned(),
            columns: columns.len(),
            movements,
            accounts,
        })
    }

    /// Returns the payment of a row; none if a rule skips the row. `keys` are those of the rows before it.
    pub(crate) fn payment(&self, row: &Row, keys: &mut Keys) -> Result<Option<RowPayment>, String> {
        // Every row is counted, also one that is skipped or refused: the number of a row must not change when another row of
        // the file is mended.
        let key = self.idempotency_key(row, keys);
        let Some(movement) = self.movements.movement(row).map_err(why)? else {
            return Ok(None);
        };
        let fee = movement.fee.as_ref().map(|(account, _)| account);
        let named = [Some(&movement.from), Some(&movement.to), fee];
        let accounts = named.into_iter().flatten();
        let accounts: Result<_, Fault> = accounts
            .map(|account| self.account(account, row, movement.currency.code()))
            .collect();
        Ok(Some(RowPayment {
            line: row.line,
            key: key?,
            accounts: accounts.map_err(why)?,
            movement,
        }))
    }

    fn account(
        &self,
        account: &AccountName,
        row: &Row,
        currency: &str,
    ) -> Result<AccountSpec, Fault> {
        let (owner, external_id) = owner_and_external_id(account);
        let terms = &self.accounts[&*account.label];
        let own = terms.currency.as_ref();
        let own = own.map(|template| template.render(row)).transpose()?;
        Ok(AccountSpec {
            owner: owner.to_owned(),
            external_id: external_id.to_owned(),
            kind: terms.kind,
            overdraft: terms.overdraft,
            currency: own.unwrap_or_else(|| currency.to_owned()),
        })
    }

    fn idempotency_key(&self, row: &Row, keys: &mut Keys) -> Result<String, String> {
        let render = |template: &Template, occurrence: &str| {
            let row = CountedRow {
                row,
                columns: self.columns,
                occurrence,
            };
            template.render(&row).map_err(why)
        };
        let counter = FieldIndex(self.columns);
        let key = match &self.key {
            None => format!("{}:{}", self.file_digest, row.line),
            Some(template) if template.fields().any(|field| field == counter) => {
                let count = keys.count(&render(template, "")?);
                render(template, &count.to_string())?
            }
            Some(template) => render(template, "")?,
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
}

/// Returns the names of an account's owner and of the account.
///
/// # Panics
/// If the account is not named by both, as every account of a map file is.
pub(super) fn owner_and_external_id(account: &AccountName) -> (&str, &str) {
    match &account.target {
        AccountTarget::External {
            owner: Some(owner),
            external_id,
        } => (owner, external_id),
        _ => panic!("an account of a map file has an owner and an external id"),
    }
}

#[cfg(test)]
mod tests;
