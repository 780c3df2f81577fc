//! The kind `limit`: the most that an account or an owner may pay within a time. The ledger keeps it.

use serde_json::{Map, Value, json};
use tributary_engine::{IdKind, Reader};
use tributary_ledger::{
    AMOUNT_MAX, AccountId, Currency, LIMIT_WINDOW_NS_MAX, LimitSubject, LimitTerms, PaymentKind,
    Setting, SettingBody, SettingId, SettingKind, Slug,
};

use super::SettingType;
use super::defined::{DefinedType, missing, parse_definition, unreadable, within};
use crate::caller::Caller;
use crate::code::ErrorCode;
use crate::error::ApiError;
use crate::form::limit::{LimitCreate, LimitedKindForm};
use crate::form::value::OwnerText;
use crate::render::common::owner_name;
use crate::render::limit::{LimitObject, limit};

/// Nanoseconds in a second.
const SECOND: u64 = 1_000_000_000;

/// The kind `limit`.
#[derive(Clone)]
pub struct LimitType {
    reader: Reader,
}

impl LimitType {
    /// Limits as `reader` shows them.
    pub fn new(reader: Reader) -> LimitType {
        LimitType { reader }
    }

    /// Returns whose payments are meant by an account or an owner, if one of them is given.
    ///
    /// # Errors
    /// If both are given, or there is no such account or owner.
    pub fn subject(
        &self,
        account: Option<&str>,
        owner: Option<&OwnerText>,
    ) -> Result<Option<LimitSubject>, ApiError> {
        match (account, owner) {
            (None, None) => Ok(None),
            (Some(id), None) => {
                let position = self.reader.ids().decode(IdKind::Account, id);
                let account =
                    position.and_then(|position| self.reader.account(AccountId(position)));
                let account = account.ok_or_else(|| ApiError::not_found("account", "account"))?;
                Ok(Some(LimitSubject::Account(account.id)))
            }
            (None, Some(name)) => {
                let owner = self.reader.owner_by_name(&name.0);
                let owner = owner.ok_or_else(|| ApiError::not_found("owner", "owner"))?;
                Ok(Some(LimitSubject::Owner(owner)))
            }
            (Some(_), Some(_)) => {
                let message = "Give either account or owner, not both.";
                Err(ApiError::invalid("owner", message))
            }
        }
    }

    fn read(&self, form: &LimitCreate) -> Result<LimitTerms, ApiError> {
        let subject = self.subject(form.account.as_deref(), form.owner.as_ref())?;
        let subject = subject.ok_or_else(|| missing("account", "Give either account or owner."))?;
        let own = match subject {
            LimitSubject::Account(id) => self.reader.account(id).map(|account| account.currency),
            LimitSubject::Owner(_) => None,
        };
        let kinds: Vec<PaymentKind> = match &form.kinds {
            None => LimitedKindForm::ALL.map(LimitedKindForm::ledger).to_vec(),
            Some(kinds) if kinds.is_empty() => {
                return Err(ApiError::invalid("kinds", "kinds must name a kind."));
            }
            Some(kinds) => kinds.iter().map(|kind| kind.ledger()).collect(),
        };
        let currency = form.currency.as_ref().map(|form| form.0);
        if own.is_some() && currency.is_some() && currency != own {
            let message = "currency must be that of the account.";
            return Err(ApiError::invalid("currency", message));
        }
        let currency = currency.or(own);
        let seconds_max = LIMIT_WINDOW_NS_MAX / SECOND;
        let seconds = within("window_seconds", form.window_seconds, 1, seconds_max)?;
        let maximum =
            |param, max: Option<u64>| max.map(|max| within(param, max, 0, AMOUNT_MAX)).transpose();
        let payments_max = maximum("payments_max", form.payments_max)?;
        let amount_max = maximum("amount_max", form.amount_max)?;
        if payments_max.is_none() && amount_max.is_none() {
            let message = "Give payments_max or amount_max, or both.";
            return Err(missing("payments_max", message));
        }
        if amount_max.is_some() && currency.is_none() {
            let message = "amount_max requires a currency.";
            return Err(missing("currency", message));
        }
        let window = seconds * SECOND;
        LimitTerms::new(subject, &kinds, currency, window, payments_max, amount_max)
            .map_err(|error| ApiError::new(ErrorCode::ParameterInvalid, error.to_string()))
    }
}

impl SettingType for LimitType {
    fn kind(&self) -> SettingKind {
        SettingKind::LIMIT
    }

    fn define(
        &self,
        caller: &Caller,
        _id: SettingId,
        slug: &Slug,
        definition: &Map<String, Value>,
        before: Option<&Setting>,
    ) -> Result<SettingBody, ApiError> {
        caller.must_be_platform()?;
        let form: LimitCreate = parse_definition(slug, definition)?;
        let terms = self.read(&form)?;
        let before = before.map(terms_of).transpose()?;
        if before.is_some_and(|before| before.subject != terms.subject) {
            let message = "A limit stays on its account or owner. Make another limit.";
            let param = if form.account.is_some() {
                "account"
            } else {
                "owner"
            };
            return Err(ApiError::invalid(param, message));
        }
        Ok(SettingBody::new(&terms.to_body()).expect("a limit is short"))
    }

    fn mask(&self, _definition: &mut Map<String, Value>) -> Result<(), ApiError> {
        Ok(())
    }

    fn render(&self, setting: &Setting) -> Result<Value, ApiError> {
        let object = limit(&self.reader, setting, &terms_of(setting)?);
        Ok(serde_json::to_value(object).expect("an object is JSON"))
    }

    fn reveal(&self, _setting: &Setting) -> Result<Option<String>, ApiError> {
        Ok(None)
    }
}

impl DefinedType for LimitType {
    type Object = LimitObject;

    fn reader(&self) -> &Reader {
        &self.reader
    }

    fn definition(&self, setting: &Setting) -> Result<Map<String, Value>, ApiError> {
        let terms = terms_of(setting)?;
        let ids = self.reader.ids();
        let mut definition = Map::new();
        match terms.subject {
            LimitSubject::Account(id) => {
                definition.insert("account".into(), ids.encode(IdKind::Account, id.0).into());
            }
            LimitSubject::Owner(id) => {
                definition.insert("owner".into(), owner_name(&self.reader, id).into());
            }
        }
        let kinds: Vec<&str> = terms.kinds().map(PaymentKind::name).collect();
        let fields = json!({
            "kinds": kinds,
            "currency": terms.currency.map(Currency::code),
            "window_seconds": terms.window_ns / SECOND,
            "payments_max": terms.payments_max,
            "amount_max": terms.amount_max,
        });
        let Value::Object(fields) = fields else {
            unreachable!("it was made as an object")
        };
        definition.extend(fields);
        Ok(definition)
    }

    fn object(&self, setting: &Setting) -> Result<LimitObject, ApiError> {
        let object = limit(&self.reader, setting, &terms_of(setting)?);
        Ok(object.with_usage(&self.reader, setting))
    }
}

fn terms_of(setting: &Setting) -> Result<LimitTerms, ApiError> {
    LimitTerms::from_body(setting.body.as_bytes()).map_err(|error| unreadable(setting, &error))
}
