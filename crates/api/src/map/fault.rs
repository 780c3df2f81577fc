//! What is wrong with a map, or with a document that a map does not fit.

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
}

impl FaultCode {
    /// Returns the text of the code.
    pub const fn as_str(self) -> &'static str {
        match self {
            FaultCode::MapInvalid => "map_invalid",
            FaultCode::FieldMissing => "field_missing",
            FaultCode::FieldInvalid => "field_invalid",
            FaultCode::RuleMissing => "rule_missing",
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
}
