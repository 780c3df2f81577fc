//! Movements as commands of the API.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use crate::error::ApiError;
use crate::form;
use crate::form::batch::Operation;
use crate::map::definition::MovementKind;
use crate::map::fault::{Fault, FaultCode};
use crate::map::plan::{AccountName, Movement};

impl Movement {
    /// Returns the fields of the payment, as the operation of its kind has them in a batch. `id` returns the id of an account;
    /// `paid`: whether a payout is recorded as paid already.
    ///
    /// # Errors
    /// Those of `id`.
    pub fn to_fields<E>(
        &self,
        paid: bool,
        id: impl Fn(&AccountName) -> Result<String, E>,
    ) -> Result<Map<String, Value>, E> {
        let mut fields = Map::new();
        fields.insert("amount".to_owned(), json!(self.amount));
        fields.insert("currency".to_owned(), json!(self.currency.code()));
        fields.insert("source".to_owned(), json!(id(&self.from)?));
        fields.insert("destination".to_owned(), json!(id(&self.to)?));
        if let Some((account, fee)) = &self.fee {
            let fee = json!([{ "account": id(account)?, "amount": fee }]);
            fields.insert("fees".to_owned(), fee);
        }
        let texts = [
            ("effective_at", &self.effective_at),
            ("reference", &self.reference),
            ("description", &self.description),
            ("reason", &self.reason),
        ];
        for (name, text) in texts {
            if let Some(text) = text {
                fields.insert(name.to_owned(), json!(text));
            }
        }
        if !self.metadata.is_empty() {
            let entries = self.metadata.iter();
            let entries = entries.map(|(name, text)| (name.clone(), json!(text)));
            fields.insert("metadata".to_owned(), Value::Object(entries.collect()));
        }
        if paid && self.payment == MovementKind::Payout {
            fields.insert("paid".to_owned(), json!(true));
        }
        Ok(fields)
    }
}

/// Reads the fields of a payment as a request of the API.
pub(super) fn read_operation(
    payment: MovementKind,
    fields: &Map<String, Value>,
) -> Result<Operation, ApiError> {
    Ok(match payment {
        MovementKind::Pay => Operation::Payment(read(fields)?),
        MovementKind::Transfer => Operation::Transfer(read(fields)?),
        MovementKind::TopUp => Operation::TopUp(read(fields)?),
        MovementKind::Payout => Operation::Payout(read(fields)?),
        MovementKind::Adjustment => Operation::Adjustment(read(fields)?),
    })
}

/// Reads fields in the form of `T`.
pub(super) fn read<T: DeserializeOwned>(fields: &Map<String, Value>) -> Result<T, ApiError> {
    // Where a fault stands is found out by reading the JSON of the fields: nearly none has one.
    T::deserialize(fields).or_else(|_| {
        form::json::parse(&serde_json::to_vec(fields).expect("texts and numbers are JSON"))
    })
}

/// Returns the fault of a field that the API refuses.
pub(super) fn refused(code: FaultCode, error: &ApiError) -> Fault {
    let why = error.message().trim_end_matches('.');
    Fault::new(code, error.parameter().unwrap_or_default(), why)
}
