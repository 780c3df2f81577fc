//! `expand[]`: whole objects in place of the ids that an answer names. One mechanism for all routes that show objects.
//!
//! Expansion goes one step deep: a field of an object that was put in is never expanded. An object that the caller may not see stays an
//! id, and so does one that does not exist.

use std::collections::HashMap;

use serde::Serialize;
use serde_json::Value;
use tributary_engine::{IdKind, Reader};
use tributary_ledger::{AccountId, OwnerName, PaymentId};

use crate::caller::Caller;
use crate::error::ApiError;
use crate::failures::read_error;
use crate::form::query::EXPAND;
use crate::render::account::{AccountObject, account_now};
use crate::render::common::created;
use crate::render::owner::{OwnerObject, owner_now};
use crate::render::payment::{PaymentObject, payment};
use crate::visibility::{must_see_account, must_see_payment, visible_owner};

/// A field whose id can be replaced with the object.
#[derive(Clone, Copy, Debug)]
pub struct Expandable {
    /// Path of the field in the object, with dots; of lists, the field of every item.
    pub field: &'static str,
    names: Named,
}

/// What a field names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Named {
    Account,
    Owner,
    Payment,
}

const fn expandable(field: &'static str, names: Named) -> Expandable {
    Expandable { field, names }
}

/// Fields of a payment.
pub const OF_PAYMENT: &[Expandable] = &[
    expandable("source", Named::Account),
    expandable("splits.account", Named::Account),
    expandable("fees.account", Named::Account),
    expandable("owner", Named::Owner),
];
/// Fields of a refund.
pub const OF_REFUND: &[Expandable] = &[
    expandable("payment", Named::Payment),
    expandable("splits.account", Named::Account),
    expandable("fees.account", Named::Account),
];
/// Fields of an account.
pub const OF_ACCOUNT: &[Expandable] = &[expandable("owner", Named::Owner)];
/// Fields of a line of a statement.
pub const OF_ENTRY: &[Expandable] = &[
    expandable("payment", Named::Payment),
    expandable("counterparties.account", Named::Account),
    expandable("counterparties.owner", Named::Owner),
];

/// Returns the fields that `names` names, each once.
///
/// # Errors
/// If a name is none of the `known` fields.
fn choose_fields(known: &[Expandable], names: &[String]) -> Result<Vec<Expandable>, ApiError> {
    let mut chosen: Vec<Expandable> = Vec::new();
    for name in names {
        let found = known.iter().find(|known| known.field == name);
        let found = found.ok_or_else(|| {
            let fields: Vec<&str> = known.iter().map(|known| known.field).collect();
            let message = format!(
                "{EXPAND} takes {}; {name:.64} is not a field that can be expanded here.",
                fields.join(", ")
            );
            ApiError::invalid(EXPAND, message)
        })?;
        if chosen.iter().all(|known| known.field != found.field) {
            chosen.push(*found);
        }
    }
    Ok(chosen)
}

/// Returns the answer with objects in place of the ids in the fields that `names` names. The answer is an object, or a list of them.
///
/// # Errors
/// If a name is none of the `known` fields, or a record can't be read.
pub fn expand(
    reader: &Reader,
    caller: &Caller,
    known: &[Expandable],
    names: &[String],
    answer: &impl Serialize,
) -> Result<Value, ApiError> {
    let fields = choose_fields(known, names)?;
    let mut answer = serde_json::to_value(answer).expect("an answer is JSON");
    let mut objects = Objects {
        reader,
        caller,
        found: HashMap::new(),
    };
    let is_list = answer["object"] == "list";
    for field in fields {
        let path: Vec<&str> = field.field.split('.').collect();
        let whole = if is_list {
            &mut answer["data"]
        } else {
            &mut answer
        };
        objects.put_in(whole, &path, field.names)?;
    }
    Ok(answer)
}

/// Objects that were looked up for one answer: many items of a page name the same account.
struct Objects<'a> {
    reader: &'a Reader,
    caller: &'a Caller,
    /// By what names them, and their id or name; none if the caller may not see the object.
    found: HashMap<(Named, String), Option<Value>>,
}

impl Objects<'_> {
    /// Replaces the ids at the end of the path.
    fn put_in(&mut self, value: &mut Value, path: &[&str], names: Named) -> Result<(), ApiError> {
        match (value, path) {
            (Value::Array(items), _) => items
                .iter_mut()
                .try_for_each(|item| self.put_in(item, path, names)),
            (Value::Object(fields), [field, rest @ ..]) => match fields.get_mut(*field) {
                Some(value) => self.put_in(value, rest, names),
                None => Ok(()),
            },
            (value, []) => {
                if let Value::String(id) = value
                    && let Some(object) = self.object(names, id)?
                {
                    *value = object;
                }
                Ok(())
            }
            // A field that is null, as of an owner that the caller may not see.
            _ => Ok(()),
        }
    }

    fn object(&mut self, names: Named, id: &str) -> Result<Option<Value>, ApiError> {
        let key = (names, id.to_owned());
        if let Some(known) = self.found.get(&key) {
            return Ok(known.clone());
        }
        let object = match names {
            Named::Account => self.account(id)?.map(to_value),
            Named::Owner => self.owner(id)?.map(to_value),
            Named::Payment => self.payment(id)?.map(to_value),
        };
        self.found.insert(key, object.clone());
        Ok(object)
    }

    fn account(&self, id: &str) -> Result<Option<AccountObject>, ApiError> {
        let position = self.reader.ids().decode(IdKind::Account, id);
        let visible = |id| must_see_account(self.reader, self.caller, id, EXPAND).ok();
        let Some(found) = position.map(AccountId).and_then(visible) else {
            return Ok(None);
        };
        let opened = created(self.reader, found.id.0)?;
        account_now(self.reader, &found, &opened).map(Some)
    }

    fn owner(&self, name: &str) -> Result<Option<OwnerObject>, ApiError> {
        let name = OwnerName::new(name).ok();
        let visible = |name: OwnerName| visible_owner(self.reader, self.caller, &name, EXPAND).ok();
        let found = name.and_then(visible);
        found.map(|id| owner_now(self.reader, id)).transpose()
    }

    fn payment(&self, id: &str) -> Result<Option<PaymentObject>, ApiError> {
        let Some(id) = self.reader.ids().decode(IdKind::Payment, id).map(PaymentId) else {
            return Ok(None);
        };
        let asked = match must_see_payment(self.reader, self.caller, id, EXPAND) {
            Ok(asked) => asked,
            Err(error) if error.status() == 404 => return Ok(None),
            Err(error) => return Err(error),
        };
        let now = self.reader.payment(id).map_err(read_error)?;
        now.map(|now| payment(self.reader, &now, &asked))
            .transpose()
    }
}

fn to_value(object: impl Serialize) -> Value {
    serde_json::to_value(object).expect("an object is JSON")
}
