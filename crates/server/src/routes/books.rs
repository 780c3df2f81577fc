//! `/v1/trial_balance`: platform keys only.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use tributary_api::caller::Caller;
use tributary_api::error::ApiError;
use tributary_api::failures::read_error;
use tributary_api::form::request::AccountKindForm;
use tributary_api::moment::{Moment, too_many_records};
use tributary_api::render::account::kind_form;
use tributary_api::render::balance::BalanceBasis;
use tributary_engine::{IdKind, Reader, TRIAL_ACCOUNTS_MAX, TRIAL_RECORDS_MAX, Totals};
use tributary_ledger::{AccountKind, CurrencyTotals};
use utoipa::{IntoParams, ToSchema};

use crate::app::App;
use crate::auth::{PlatformReading, Reading};
use crate::extract::Query;
use crate::response::{ErrorResponse, json};

/// The books at one moment: debits and credits of each currency are equal, or money was lost.
#[derive(Serialize, ToSchema)]
pub(crate) struct TrialBalance {
    #[schema(pattern = "^trial_balance$")]
    object: &'static str,
    /// The last event that was looked at; null if nothing had happened.
    #[schema(required)]
    event: Option<String>,
    /// The moment that was asked for: an event, a time, or a date; null for now.
    #[schema(required)]
    at: Option<String>,
    basis: BalanceBasis,
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
    /// Held by open authorizations, minor units; null on the basis of business dates, which holds do not have.
    #[schema(required, pattern = "^[0-9]+$")]
    pending: Option<String>,
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
    /// Held by open authorizations, minor units; null on the basis of business dates, which holds do not have.
    #[schema(required, pattern = "^[0-9]+$")]
    pending: Option<String>,
}

/// Moment of a trial balance.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct TrialQuery {
    /// The id or the position of an event (the balances after it), a time (what was recorded by then), or a date (what is effective
    /// by then, whenever it was recorded). Now, if left out.
    at: Option<String>,
}

/// Shows what the accounts of each currency hold in all, now or at a moment. Platform keys only.
#[utoipa::path(get, path = "/v1/trial_balance", tag = "books", operation_id = "getTrialBalance", params(TrialQuery),
    responses((status = 200, description = "The trial balance.", body = TrialBalance)))]
pub(crate) async fn trial_balance(
    State(app): State<App>,
    _: PlatformReading,
    Reading(caller): Reading,
    Query(query): Query<TrialQuery>,
) -> Result<Response, ErrorResponse> {
    let answer = app
        .read(caller.actor.owner, move |shared| {
            trial_balance_at(&shared.reader, &caller, query.at.as_deref())
        })
        .await?;
    Ok(json(200, &answer))
}

fn trial_balance_at(
    reader: &Reader,
    caller: &Caller,
    at: Option<&str>,
) -> Result<TrialBalance, ApiError> {
    let at = at.map(|at| Moment::parse(reader, caller, at)).transpose()?;
    let past = |position: u64| -> Result<(u64, Totals), ApiError> {
        let totals = reader.trial_balance_at(position).map_err(read_error)?;
        let totals = totals.ok_or_else(|| {
            too_many_records(format!(
                "More than {TRIAL_ACCOUNTS_MAX} accounts changed since then: ask for a later moment, or export the books."
            ))
        })?;
        Ok((position, totals))
    };
    let (position, totals) = match at {
        None => reader.trial_balance(),
        Some(Moment::Record(position)) => past(position)?,
        Some(Moment::Time(time)) => past(reader.position_by(time).map_err(read_error)?)?,
        Some(Moment::Date(date)) => {
            let totals = reader.trial_balance_on(date).map_err(read_error)?;
            totals.ok_or_else(|| {
                too_many_records(format!(
                    "The journal has more than {TRIAL_RECORDS_MAX} records, too many for balances by business date: ask for a time, or export the books."
                ))
            })?
        }
    };
    let basis = match at {
        Some(Moment::Date(_)) => BalanceBasis::Effective,
        _ => BalanceBasis::Recorded,
    };
    Ok(render(reader, at.as_ref(), basis, position, totals))
}

fn render(
    reader: &Reader,
    at: Option<&Moment>,
    basis: BalanceBasis,
    position: u64,
    totals: Totals,
) -> TrialBalance {
    let mut currencies: BTreeMap<&'static str, Vec<(AccountKind, CurrencyTotals)>> =
        BTreeMap::new();
    for ((currency, kind), sums) in totals {
        currencies
            .entry(currency.code())
            .or_default()
            .push((kind, sums));
    }
    let ids = reader.ids();
    TrialBalance {
        object: "trial_balance",
        event: (position > 0).then(|| ids.encode(IdKind::Event, position)),
        at: at.map(|at| at.show(ids)),
        basis,
        balanced: currencies
            .values()
            .all(|kinds| sum(kinds, |sums| sums.debit) == sum(kinds, |sums| sums.credit)),
        currencies: currencies
            .into_iter()
            .map(|(currency, kinds)| currency_line(currency, basis, &kinds))
            .collect(),
    }
}

fn sum(kinds: &[(AccountKind, CurrencyTotals)], of: impl Fn(&CurrencyTotals) -> i128) -> i128 {
    kinds.iter().map(|(_, sums)| of(sums)).sum()
}

fn currency_line(
    currency: &'static str,
    basis: BalanceBasis,
    kinds: &[(AccountKind, CurrencyTotals)],
) -> CurrencyLine {
    let has_holds = matches!(basis, BalanceBasis::Recorded);
    CurrencyLine {
        currency,
        debits: sum(kinds, |sums| sums.debit).to_string(),
        credits: sum(kinds, |sums| sums.credit).to_string(),
        pending: has_holds.then(|| sum(kinds, |sums| sums.held).to_string()),
        kinds: kinds
            .iter()
            .map(|(kind, sums)| KindLine {
                kind: kind_form(*kind),
                accounts: sums.accounts,
                debits: sums.debit.to_string(),
                credits: sums.credit.to_string(),
                pending: has_holds.then(|| sums.held.to_string()),
            })
            .collect(),
    }
}
