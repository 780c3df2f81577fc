//! `/v1/risk/backtests`: what rules would have found.

use axum::extract::State;
use axum::response::Response;
use tributary_api::error::ApiError;
use tributary_api::form::rule_set::BacktestCreate;
use tributary_api::risk::{
    BACKTEST_RECORDS_DEFAULT, BACKTEST_RECORDS_MAX, Backtest, BacktestTerms,
};
use tributary_api::settings::rule_set::RuleSetType;

use crate::app::App;
use crate::auth::PlatformReading;
use crate::extract::Json;
use crate::response::{ErrorResponse, json};

/// Applies a rule set to the payments of the newest records as they were then, and keeps nothing of it: what it would have found, and how
/// that differs from what was decided.
#[utoipa::path(post, path = "/v1/risk/backtests", tag = "rules", operation_id = "createBacktest",
    request_body = BacktestCreate,
    responses((status = 200, description = "What the rules would have found.", body = Backtest)))]
pub(crate) async fn create(
    State(app): State<App>,
    PlatformReading(caller): PlatformReading,
    Json(body): Json<BacktestCreate>,
) -> Result<Response, ErrorResponse> {
    let records = body.records.unwrap_or(BACKTEST_RECORDS_DEFAULT);
    if !(1..=BACKTEST_RECORDS_MAX).contains(&records) {
        let message = format!("records must be 1 to {BACKTEST_RECORDS_MAX}.");
        return Err(ApiError::invalid("records", message).into());
    }
    let found = app
        .read(caller.actor.owner, move |shared| {
            let rule_sets = RuleSetType::new(shared.reader.clone(), shared.risk.clone());
            let asked = BacktestTerms {
                rule_set: rule_sets.checked(body.rule_set)?,
                records,
                fraud: body.fraud,
            };
            shared.risk.backtest(&asked)
        })
        .await?;
    Ok(json(200, &found))
}
