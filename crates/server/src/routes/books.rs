//! `/v1/trial_balance`: platform keys only.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
use tributary_api::form::request::AccountKindForm;
use tributary_api::render::account::kind_form;
use tributary_engine::IdKind;
use tributary_ledger::{AccountKind, CurrencyTotals};
use utoipa::ToSchema;

use crate::app::App;
use crate::auth::PlatformReading;
use crate::response::{ErrorResponse, json};

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
    /// The same by kind of account, as far as there are any.
    kinds: Vec<KindLine>,
}

/// The accounts of one kind in one currency. Their debits and credits need not be equal.
#[derive(Serialize, ToSchema)]
pub(crate) struct KindLine {
    kind: AccountKindForm,
    /// How many.
    accounts: u64,
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
) -> Result<Response, ErrorResponse> {
    let (position, totals) = app
        .blocking(|shared| Ok(shared.reader.trial_balance()))
        .await?;
    let mut currencies: BTreeMap<&'static str, Vec<(AccountKind, CurrencyTotals)>> =
        BTreeMap::new();
    for ((currency, kind), sums) in totals {
        currencies
            .entry(currency.code())
            .or_default()
            .push((kind, sums));
    }
    let event = (position > 0).then(|| app.shared.reader.ids().encode(IdKind::Event, position));
    let answer = TrialBalance {
        object: "trial_balance",
        event,
        balanced: currencies
            .values()
            .all(|kinds| sum(kinds, |sums| sums.debit) == sum(kinds, |sums| sums.credit)),
        currencies: currencies
            .into_iter()
            .map(|(currency, kinds)| currency_line(currency, &kinds))
            .collect(),
    };
    Ok(json(200, &answer))
}

fn sum(kinds: &[(AccountKind, CurrencyTotals)], of: impl Fn(&CurrencyTotals) -> i128) -> i128 {
    kinds.iter().map(|(_, sums)| of(sums)).sum()
}

fn currency_line(currency: &'static str, kinds: &[(AccountKind, CurrencyTotals)]) -> CurrencyLine {
    CurrencyLine {
        currency,
        debits: sum(kinds, |sums| sums.debit).to_string(),
        credits: sum(kinds, |sums| sums.credit).to_string(),
        pending: sum(kinds, |sums| sums.held).to_string(),
        kinds: kinds
            .iter()
            .map(|(kind, sums)| KindLine {
                kind: kind_form(*kind),
                accounts: sums.accounts,
                debits: sums.debit.to_string(),
                credits: sums.credit.to_string(),
                pending: sums.held.to_string(),
            })
            .collect(),
    }
}
