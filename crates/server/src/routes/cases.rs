//! `/v1/cases`: payments in review as a list of work, and what people find out about payments.

use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;
use tributary_api::error::ApiError;
use tributary_api::failures::read_error;
use tributary_api::form::path::payment_in_path;
use tributary_api::form::review::{CaseUpdate, OpenCaseState, PaymentApprove};
use tributary_api::form::value::LabelText;
use tributary_api::render::case::{CaseObject, CaseState, case};
use tributary_api::render::common::created;
use tributary_api::render::list::{Limit, List, PageParams, list};
use tributary_api::render::payment::PaymentObject;
use tributary_engine::{IdKind, Start};
use tributary_ledger::Payment;
use utoipa::IntoParams;

use crate::answer::execute_draft;
use crate::app::App;
use crate::auth::{PlatformReading, PlatformWriting, Writing};
use crate::extract::{Id, IdempotencyKey, Json, OptionalJson, Query};
use crate::response::{ErrorResponse, json};

/// Filter of a list of cases.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct CasesQuery {
    /// Cases in this state.
    #[param(inline)]
    state: Option<OpenCaseState>,
    /// Cases that this person or team looks into.
    #[param(value_type = Option<String>, min_length = 1, max_length = 64)]
    assignee: Option<LabelText>,
    /// Items at most; 10 if left out.
    #[param(value_type = Option<u8>, minimum = 1, maximum = 100)]
    limit: Option<Limit>,
    /// Cases younger than the one with this id or cursor.
    starting_after: Option<String>,
}

/// Lists the payments that are in review, the oldest first. Platform keys only.
#[utoipa::path(get, path = "/v1/cases", tag = "rules", operation_id = "listCases", params(CasesQuery),
    responses((status = 200, description = "A page of cases.", body = List<CaseObject>)))]
pub(crate) async fn list_all(
    State(app): State<App>,
    PlatformReading(caller): PlatformReading,
    Query(query): Query<CasesQuery>,
) -> Result<Response, ErrorResponse> {
    let page = app
        .read(caller.actor.owner, move |shared| {
            let params = PageParams {
                limit: query.limit,
                starting_after: query.starting_after,
                ..PageParams::default()
            };
            let page = params.page(&shared.reader, &caller, IdKind::Payment)?;
            // This list runs from the oldest to the newest.
            let after = match page.start {
                Start::Before(position) => position,
                Start::Newest | Start::After(_) => 0,
            };
            let wanted = query.state.map(|state| match state {
                OpenCaseState::Open => CaseState::Open,
                OpenCaseState::Investigating => CaseState::Investigating,
            });
            let fits = |now: &Payment| {
                let review = now.review.as_ref();
                let assignee = review.and_then(|review| review.assignee.as_ref());
                let asked = query.assignee.as_ref().map(|name| &name.0);
                (wanted.is_none() || CaseState::of(now) == wanted)
                    && (asked.is_none() || assignee == asked)
            };
            let slice = shared.reader.in_review(after, page.limit, fits);
            let url = "/v1/cases".to_owned();
            list(&shared.reader, &caller, url, slice, |now| {
                case(&shared.reader, &now, &created(&shared.reader, now.id.0)?)
            })
        })
        .await?;
    Ok(json(200, &page))
}

/// Shows what is known of a payment that is or was in review, or that somebody labelled. Platform keys only.
#[utoipa::path(get, path = "/v1/cases/{id}", tag = "rules", operation_id = "getCase",
    params(("id" = String, Path, description = "The payment.")),
    responses((status = 200, description = "The case.", body = CaseObject)))]
pub(crate) async fn get(
    State(app): State<App>,
    PlatformReading(caller): PlatformReading,
    Id(id): Id,
) -> Result<Response, ErrorResponse> {
    let object = app
        .read(caller.actor.owner, move |shared| {
            let missing = || ApiError::not_found("case", "id");
            let payment = payment_in_path(shared.reader.ids(), &id).map_err(|_| missing())?;
            let now = shared.reader.payment(payment).map_err(read_error)?;
            let now = now.filter(|now| now.review.is_some() || now.label.is_some());
            let now = now.ok_or_else(missing)?;
            case(&shared.reader, &now, &created(&shared.reader, payment.0)?)
        })
        .await?;
    Ok(json(200, &object))
}

/// Records who looks into a payment, a note, or what the payment was. Platform keys only.
#[utoipa::path(patch, path = "/v1/cases/{id}", tag = "rules", operation_id = "updateCase",
    params(("id" = String, Path, description = "The payment.")), request_body = CaseUpdate,
    responses((status = 200, description = "The case.", body = CaseObject)))]
pub(crate) async fn update(
    State(app): State<App>,
    PlatformWriting(caller): PlatformWriting,
    Id(id): Id,
    IdempotencyKey(key): IdempotencyKey,
    Json(body): Json<CaseUpdate>,
) -> Result<Response, ErrorResponse> {
    let payment = payment_in_path(app.shared.reader.ids(), &id)?;
    execute_draft(&app, caller, key, body.into_draft(payment)?.named_by_path()).await
}

/// Approves a payment that is in review: what it asked for is done. With `challenge`, its payer confirmed it to the owner that asked for
/// it. To decline it, void it.
#[utoipa::path(post, path = "/v1/payments/{id}/approve", tag = "payments", operation_id = "approvePayment",
    params(("id" = String, Path, description = "The payment.")), request_body(content = PaymentApprove),
    responses((status = 200, description = "The payment.", body = PaymentObject)))]
pub(crate) async fn approve(
    State(app): State<App>,
    Writing(caller): Writing,
    Id(id): Id,
    IdempotencyKey(key): IdempotencyKey,
    OptionalJson(body): OptionalJson<PaymentApprove>,
) -> Result<Response, ErrorResponse> {
    let ids = app.shared.reader.ids();
    let payment = payment_in_path(ids, &id)?;
    let draft = body.into_draft(ids, payment)?.named_by_path();
    execute_draft(&app, caller, key, draft).await
}
