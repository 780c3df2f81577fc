//! `/v1/refunds`.

use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;
use tributary_api::caller::Caller;
use tributary_api::error::ApiError;
use tributary_api::failures::read_error;
use tributary_api::form::request::{RefundCreate, Request, payment};
use tributary_api::form::value::{AccountText, OwnerText, PaymentText, TimeText};
use tributary_api::render::expand::OF_REFUND;
use tributary_api::render::list::{Limit, List, PageParams, list};
use tributary_api::render::refund::{RefundObject, refund};
use tributary_api::visibility::{ListScope, list_scope, must_see_payment};
use tributary_engine::{IdKind, Slice};
use tributary_ledger::{AccountId, Body};
use utoipa::IntoParams;

use crate::answer::execute_draft;
use crate::app::{App, Shared};
use crate::auth::{Reading, Writing};
use crate::extract::{Expand, Id, IdempotencyKey, Json, Query};
use crate::response::ErrorResponse;

/// Gives back what was captured, or a part; never more than was captured in all.
#[utoipa::path(post, path = "/v1/refunds", tag = "refunds", operation_id = "createRefund",
    request_body = RefundCreate, responses((status = 201, description = "The refund.", body = RefundObject)))]
pub(crate) async fn create(
    State(app): State<App>,
    Writing(caller): Writing,
    IdempotencyKey(key): IdempotencyKey,
    Json(body): Json<RefundCreate>,
) -> Result<Response, ErrorResponse> {
    let draft = body.into_draft(app.shared.reader.ids())?;
    execute_draft(&app, caller, key, draft).await
}

/// Filter of a list of refunds.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct RefundsQuery {
    /// Refunds of this payment.
    #[param(value_type = Option<String>, pattern = "^pay_[0-7][0-9a-hjkmnp-tv-z]{25}$")]
    payment: Option<PaymentText>,
    /// Refunds that touch this account.
    #[param(value_type = Option<String>, pattern = "^acct_[0-7][0-9a-hjkmnp-tv-z]{25}$")]
    account: Option<AccountText>,
    /// Refunds that touch an account of this owner.
    #[param(value_type = Option<String>, pattern = "^[A-Za-z0-9_.:@-]{1,64}$")]
    owner: Option<OwnerText>,
    /// Items at most; 10 if left out.
    #[param(value_type = Option<u8>, minimum = 1, maximum = 100)]
    limit: Option<Limit>,
    /// Refunds older than the one with this id or cursor.
    starting_after: Option<String>,
    /// Refunds newer than the one with this id or cursor, the nearest ones.
    ending_before: Option<String>,
    /// Not done before this time.
    #[serde(rename = "created[gte]")]
    #[param(value_type = Option<String>, format = DateTime)]
    created_gte: Option<TimeText>,
    /// Done before this time.
    #[serde(rename = "created[lt]")]
    #[param(value_type = Option<String>, format = DateTime)]
    created_lt: Option<TimeText>,
}

/// Lists refunds, the newest first. Refunds that the ledger refused are events, not refunds.
#[utoipa::path(get, path = "/v1/refunds", tag = "refunds", operation_id = "listRefunds", params(RefundsQuery),
    responses((status = 200, description = "A page of refunds.", body = List<RefundObject>)))]
pub(crate) async fn list_all(
    State(app): State<App>,
    Reading(caller): Reading,
    expand: Expand,
    Query(query): Query<RefundsQuery>,
) -> Result<Response, ErrorResponse> {
    let page = app
        .read(caller.actor.owner, move |shared| {
            refunds(shared, &caller, query)
        })
        .await?;
    expand.answer(&app, caller, OF_REFUND, page).await
}

fn refunds(
    shared: &Shared,
    caller: &Caller,
    query: RefundsQuery,
) -> Result<List<RefundObject>, ApiError> {
    let params = PageParams {
        limit: query.limit,
        starting_after: query.starting_after,
        ending_before: query.ending_before,
        created_gte: query.created_gte,
        created_lt: query.created_lt,
    };
    let page = params.page(&shared.reader, caller, IdKind::Refund)?;
    let reader = &shared.reader;
    let url = "/v1/refunds".to_owned();
    let show = |slice| list(reader, caller, url, slice, |record| refund(reader, &record));
    if let Some(named) = &query.payment {
        if query.account.is_some() || query.owner.is_some() {
            let message = "Give either a payment, or an account or an owner.";
            return Err(ApiError::invalid("payment", message));
        }
        let payment = payment(reader.ids(), named)?;
        must_see_payment(reader, caller, payment, "payment")?;
        return show(reader.refunds(payment, page).map_err(read_error)?);
    }
    let nothing = Slice {
        items: Vec::new(),
        has_more: false,
        next: None,
    };
    let owner = match list_scope(reader, caller, query.owner.as_ref()) {
        ListScope::Nobody => return show(nothing),
        ListScope::All => None,
        ListScope::To(owner) => Some(owner),
    };
    let account = match &query.account {
        None => None,
        Some(text) => {
            let position = reader.ids().position_of(IdKind::Account, text.0);
            let found = position.and_then(|id| reader.account(AccountId(id)));
            match found.filter(|account| caller.sees_account(account)) {
                Some(account) => Some(account.id),
                None => return show(nothing),
            }
        }
    };
    let slice = reader.all_refunds(account, owner, page);
    show(slice.map_err(read_error)?)
}

/// Shows a refund.
#[utoipa::path(get, path = "/v1/refunds/{id}", tag = "refunds", operation_id = "getRefund",
    params(("id" = String, Path, description = "The refund.")),
    responses((status = 200, description = "The refund.", body = RefundObject)))]
pub(crate) async fn get(
    State(app): State<App>,
    Reading(caller): Reading,
    expand: Expand,
    Id(id): Id,
) -> Result<Response, ErrorResponse> {
    let not_found = || ApiError::not_found("refund", "id");
    let position = app
        .shared
        .reader
        .ids()
        .decode(IdKind::Refund, &id)
        .ok_or_else(not_found)?;
    let record = app
        .shared
        .reader
        .record(position)
        .map_err(read_error)?
        .ok_or_else(not_found)?;
    let is_refund = matches!(record.command.body, Body::Refund(_)) && record.outcome.is_accepted();
    if !is_refund || !caller.sees_record(&app.shared.reader, &record) {
        return Err(not_found().into());
    }
    let found = refund(&app.shared.reader, &record)?;
    expand.answer(&app, caller, OF_REFUND, found).await
}
