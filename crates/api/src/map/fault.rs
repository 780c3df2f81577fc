//! What is wrong with a map, or with a document that a map does not fit.

use std::fmt;

use crate::error::ApiError;

/// Kind of a [`Fault`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultCode {
    /// The map itself is wrong, for every document.
    MapInvalid,
    /// A field that the map names is missing.
    FieldMissing,
    /// A field, or what the map makes of it, has a wrong form.
    FieldInvalid,
    /// No rule matches.
    RuleMissing,
    /// There is no such account, or the caller may not see it.
    AccountMissing,
    /// The message can't be read as an object.
    DocumentMalformed,
}

impl FaultCode {
    /// Returns the text of the code.
    pub const fn as_str(self) -> &'static str {
        match self {
            FaultCode::MapInvalid => "map_invalid",
            FaultCode::FieldMissing => "field_missing",
            FaultCode::FieldInvalid => "field_invalid",
            FaultCode::RuleMissing => "rule_missing",
            FaultCode::AccountMissing => "account_missing",
            FaultCode::DocumentMalformed => "document_malformed",
        }
    }
}

/// What is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Kind of the fault.
    pub code: FaultCode,
    /// The field at fault, of the map or of the document; empty if there is none.
    pub field: String,
    /// What is wrong, for people: a phrase that needs no field's name beside it.
    pub why: String,
}

impl Fault {
    /// Returns the fault of a map that is wrong.
    pub fn map(field: &str, why: impl Into<String>) -> Fault {
        Fault::new(FaultCode::MapInvalid, field, why)
    }

    /// Returns the fault of a field with a wrong form.
    pub fn invalid(field: &str, why: impl Into<String>) -> Fault {
        Fault::new(FaultCode::FieldInvalid, field, why)
    }

    /// Returns a fault.
    pub fn new(code: FaultCode, field: &str, why: impl Into<String>) -> Fault {
        Fault {
            code,
            field: field.to_owned(),
            why: why.into(),
        }
    }

    /// Returns the fault with this field.
    #[must_use]
    pub(super) fn of(mut self, field: &str) -> Fault {
        field.clone_into(&mut self.field);
        self
    }

    /// Puts `prefix` before the field, which is one of the map: the place of a rule or an account.
    #[must_use]
    pub(super) fn within(mut self, prefix: &str) -> Fault {
        self.field = match self.field.as_str() {
            "" => prefix.to_owned(),
            field => format!("{prefix}.{field}"),
        };
        self
    }

    /// Names the field as a map of the short form has it, which has no rules, and its two accounts at the top.
    #[must_use]
    pub(super) fn in_short_form(mut self) -> Fault {
        let field = self.field.strip_prefix("rules[0].");
        let field = field.unwrap_or(&self.field);
        let account = field.strip_prefix("accounts.").filter(|account| {
            let label = account.split('.').next();
            matches!(label, Some("source" | "destination"))
        });
        self.field = account.unwrap_or(field).to_owned();
        self
    }

    /// Returns the error of a request that has the map in its field `param`.
    pub fn into_error(self, param: &str) -> ApiError {
        let message = format!("{param}: {}.", self.why);
        ApiError::invalid(&self.within(param).field, message)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

impl std::error::Error for Fault {}
