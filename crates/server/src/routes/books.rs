//! `/v1/trial_balance`: platform keys only.

use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
use tributary_engine::IdKind;
use utoipa::ToSchema;

use crate::app::App;
use crate::auth::PlatformReading;
use crate::error::ApiError;
use crate::routes::json;

/// The books as of one event: debits and credits of each currency are equal, or money was lost.
#[derive(Serialize, ToSchema)]
pub(crate) struct TrialBalance {
    #[schema(pattern = "^trial_balance$")]
    object: &'static str,
    /// The last event that it reflects; null if nothing ever happened.
    #[schema(required)]
    event: Option<String>,
    /// Whether the debits equal the credits in every currency.
    balanced: bool,
    currencies: Vec<CurrencyLine>,
}

/// One currency. Sums are digits in a string: they may be more than a JSON number holds exactly.
#[derive(Serialize, ToSchema)]
pub(crate) struct CurrencyLine {
    /// ISO 4217.
    currency: &'static str,
    /// Sum of the balances below zero, as a positive number of minor units.
    #[schema(pattern = "^[0-9]+$")]
    debits: String,
    /// Sum of the balances above zero, minor units.
    #[schema(pattern = "^[0-9]+$")]
    credits: String,
    /// Held by open authorizations, minor units.
    #[schema(pattern = "^[0-9]+$")]
    pending: String,
}

/// Shows what the accounts of each currency hold in all. Platform keys only.
#[utoipa::path(get, path = "/v1/trial_balance", tag = "books", operation_id = "getTrialBalance",
    responses((status = 200, description = "The trial balance.", body = TrialBalance)))]
pub(crate) async fn trial_balance(
    State(app): State<App>,
    _: PlatformReading,
) -> Result<Response, ApiError> {
    let (position, totals) = app
        .blocking(|shared| Ok(shared.reader.trial_balance()))
        .await?;
    let lines: Vec<CurrencyLine> = totals
        .iter()
        .map(|(currency, totals)| CurrencyLine {
            currency: currency.code(),
            debits: totals.debit.to_string(),
            credits: totals.credit.to_string(),
            pending: totals.held.to_string(),
        })
        .collect();
    let event = (position > 0).then(|| app.shared.reader.ids().encode(IdKind::Event, position));
    let answer = TrialBalance {
        object: "trial_balance",
        event,
        balanced: totals.values().all(|totals| totals.debit == totals.credit),
        currencies: lines,
    };
    Ok(json(200, &answer))
}
