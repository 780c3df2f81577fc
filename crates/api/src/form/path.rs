//! Ids in the path of a request.

use tributary_engine::{IdKind, Ids};
use tributary_ledger::{AccountId, PaymentId};

use crate::error::ApiError;

/// Returns the account that the id in the path names. Whether there is one is not known yet.
pub fn account_in_path(ids: &Ids, text: &str) -> Result<AccountId, ApiError> {
    let position = ids.decode(IdKind::Account, text);
    position
        .map(AccountId)
        .ok_or_else(|| ApiError::not_found("account", "id"))
}

/// Returns the payment that the id in the path names. Whether there is one is not known yet.
pub fn payment_in_path(ids: &Ids, text: &str) -> Result<PaymentId, ApiError> {
    let position = ids.decode(IdKind::Payment, text);
    position
        .map(PaymentId)
        .ok_or_else(|| ApiError::not_found("payment", "id"))
}
