//! Exact amounts per payee in captures and refunds.

use serde::Deserialize;
use tributary_engine::Ids;
use tributary_ledger::{PayeeAmount, PayeeAmounts};
use utoipa::ToSchema;

use crate::draft::check_payee_count;
use crate::error::ApiError;
use crate::form::value::{AccountText, AmountForm};

/// Amount of one payee.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PayeeAmount)]
pub struct PayeeAmountForm {
    /// Account of a payee of the payment.
    account: AccountText,
    /// Minor units.
    #[schema(inline)]
    amount: AmountForm,
}

/// Checks the form of a capture or refund, which gives either amounts per payee or an amount. An interface checks this before
/// it looks up what the form names.
pub fn check_splits(amount: Option<u64>, splits: Option<usize>) -> Result<(), ApiError> {
    let Some(count) = splits else {
        return Ok(());
    };
    if amount.is_some() {
        let message = "Give either amount or splits, not both.";
        return Err(ApiError::invalid("splits", message));
    }
    check_payee_count(count)
}

/// Returns the amounts per payee of a form that [`check_splits`] found sound.
pub(crate) fn payee_amounts(
    ids: &Ids,
    forms: Option<Vec<PayeeAmountForm>>,
) -> Result<PayeeAmounts, ApiError> {
    let part = |(index, form): (usize, &PayeeAmountForm)| {
        let account = form
            .account
            .find(ids, &format!("splits[{index}].account"))?;
        let amount = form.amount.0;
        Ok(PayeeAmount { account, amount })
    };
    let forms = forms.unwrap_or_default();
    let parts: Result<Vec<_>, ApiError> = forms.iter().enumerate().map(part).collect();
    Ok(PayeeAmounts::new(parts?).expect("the number of payees was checked"))
}
