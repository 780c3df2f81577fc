//! `/v1/payments`, and the other ways to move money: `/v1/top_ups`, `/v1/transfers`, `/v1/adjustments`.

use std::cell::Cell;

use std::cmp::Reverse;

use axum::BoxError;
use axum::body::{Bytes, HttpBody as Body};
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Deserialize;
use tributary_api::caller::Caller;
use tributary_api::code::ErrorCode;
use tributary_api::draft::CommandDraft;
use tributary_api::error::ApiError;
use tributary_api::failures::read_error;
use tributary_api::form::owner::TextUpdate;
use tributary_api::form::path::payment_in_path;
use tributary_api::form::request::{
    AdjustmentCreate, CaptureForm, Empty, PaymentCreate, TransferCreate,
};
use tributary_api::form::value::{
    AccountText, AmountText, OwnerText, ReferenceText, TimeText, metadata_entry,
};
use tributary_api::render::common::created;
use tributary_api::render::expand::OF_PAYMENT;
use tributary_api::render::list::{Limit, List, PageParams, list};
use tributary_api::render::notes::present_notes;
use tributary_api::render::payment::{PaymentKindForm, PaymentObject, PaymentStatusForm, payment};
use tributary_api::visibility::{ListScope, list_scope};
use tributary_engine::{IdKind, PaymentFilter, Reader, Slice, Start};
use tributary_ledger::codec::Record;
use tributary_ledger::{
    self as ledger, AccountId, Payment, PaymentId, PaymentKind, ReferenceSpace,
};
use utoipa::IntoParams;

use crate::answer::execute_draft;
use crate::app::{App, Shared};
use crate::auth::{Reading, Writing, writer};
use crate::extract::{
    Expand, Id, IdempotencyKey, Json, OptionalJson, Query, body_format, idempotency_key,
    read_object,
};
use crate::prefer::RESPOND_ASYNC;
use crate::response::ErrorResponse;

/// Pays a merchant, or several: at once, or as a hold to be captured.
#[utoipa::path(post, path = "/v1/payments", tag = "payments", operation_id = "createPayment",
    request_body = PaymentCreate, responses(
        (status = 201, description = "The payment.", body = PaymentObject),
        (status = 202, description = "The payment, queued.", body = PaymentObject)
    ))]
pub(crate) async fn create(
    State(app): State<App>,
    request: axum::extract::Request,
) -> Result<Response, ErrorResponse> {
    let (parts, body) = request.into_parts();
    pay(&app, parts.headers, body).await
}

/// [`create`], from headers and body as they came: also for a door that needs no router.
pub(crate) async fn pay<B>(
    app: &App,
    headers: HeaderMap,
    body: B,
) -> Result<Response, ErrorResponse>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    let caller = writer(&headers, &app.shared)?;
    let key = idempotency_key(&headers)?;
    let format = body_format(&headers)?;
    let not_now = RESPOND_ASYNC.is_in(&headers);
    // They keep the connection's buffer, for which another one would have to be made.
    drop(headers);
    let form: PaymentCreate = read_object(format, body, app).await?;
    let draft = form.into_draft(&app.shared.reader, &caller)?;
    execute_draft(app, caller, key, draft.queued_if(not_now)).await
}

/// Brings money in from outside.
#[utoipa::path(post, path = "/v1/top_ups", tag = "payments", operation_id = "createTopUp",
    request_body = TransferCreate, responses(
        (status = 201, description = "The payment.", body = PaymentObject),
        (status = 202, description = "The payment, queued.", body = PaymentObject)
    ))]
pub(crate) async fn create_top_up(
    State(app): State<App>,
    Writing(caller): Writing,
    IdempotencyKey(key): IdempotencyKey,
    headers: HeaderMap,
    Json(body): Json<TransferCreate>,
) -> Result<Response, ErrorResponse> {
    let draft = body.into_draft(PaymentKind::TopUp, &app.shared.reader, &caller)?;
    let draft = draft.queued_if(RESPOND_ASYNC.is_in(&headers));
    execute_draft(&app, caller, key, draft).await
}

/// Moves money between users.
#[utoipa::path(post, path = "/v1/transfers", tag = "payments", operation_id = "createTransfer",
    request_body = TransferCreate, responses(
        (status = 201, description = "The payment.", body = PaymentObject),
        (status = 202, description = "The payment, queued.", body = PaymentObject)
    ))]
pub(crate) async fn create_transfer(
    State(app): State<App>,
    Writing(caller): Writing,
    IdempotencyKey(key): IdempotencyKey,
    headers: HeaderMap,
    Json(body): Json<TransferCreate>,
) -> Result<Response, ErrorResponse> {
    let draft = body.into_draft(PaymentKind::Transfer, &app.shared.reader, &caller)?;
    let draft = draft.queued_if(RESPOND_ASYNC.is_in(&headers));
    execute_draft(&app, caller, key, draft).await
}

/// Sets something right. Platform keys only.
#[utoipa::path(post, path = "/v1/adjustments", tag = "payments", operation_id = "createAdjustment",
    request_body = AdjustmentCreate, responses(
        (status = 201, description = "The payment.", body = PaymentObject),
        (status = 202, description = "The payment, queued.", body = PaymentObject)
    ))]
pub(crate) async fn create_adjustment(
    State(app): State<App>,
    Writing(caller): Writing,
    IdempotencyKey(key): IdempotencyKey,
    headers: HeaderMap,
    Json(body): Json<AdjustmentCreate>,
) -> Result<Response, ErrorResponse> {
    let draft = body.into_draft(&app.shared.reader, &caller)?;
    let draft = draft.queued_if(RESPOND_ASYNC.is_in(&headers));
    execute_draft(&app, caller, key, draft).await
}

/// Shows a payment as it is now.
#[utoipa::path(get, path = "/v1/payments/{id}", tag = "payments", operation_id = "getPayment",
    params(("id" = String, Path, description = "The payment.")),
    responses((status = 200, description = "The payment.", body = PaymentObject)))]
pub(crate) async fn get(
    State(app): State<App>,
    Reading(caller): Reading,
    expand: Expand,
    Id(id): Id,
) -> Result<Response, ErrorResponse> {
    let position = app.shared.reader.ids().decode(IdKind::Payment, &id);
    let not_found = || ApiError::not_found("payment", "id");
    let id = position.map(PaymentId).ok_or_else(not_found)?;
    let asked = app
        .shared
        .reader
        .record(id.0)
        .map_err(read_error)?
        .ok_or_else(not_found)?;
    if asked
        .outcome
        .payment
        .as_ref()
        .is_none_or(|payment| payment.id != id)
        || !caller.sees_payment(&app.shared.reader, &asked)?
    {
        return Err(not_found().into());
    }
    let now = app
        .shared
        .reader
        .payment(id)
        .map_err(read_error)?
        .ok_or_else(not_found)?;
    let found = payment(&app.shared.reader, &now, &asked)?;
    let found = found.with_challenge(app.shared.reader.ids(), &now, caller.actor.owner);
    expand.answer(&app, caller, OF_PAYMENT, found).await
}

/// Updates the description and the metadata of a payment, by whoever asked for it. A field that is left out keeps its value; the last
/// update wins.
#[utoipa::path(patch, path = "/v1/payments/{id}", tag = "payments", operation_id = "updatePayment",
    params(("id" = String, Path, description = "The payment.")), request_body = TextUpdate,
    responses((status = 200, description = "The payment.", body = PaymentObject)))]
pub(crate) async fn update(
    State(app): State<App>,
    Writing(caller): Writing,
    Id(id): Id,
    IdempotencyKey(key): IdempotencyKey,
    Json(body): Json<TextUpdate>,
) -> Result<Response, ErrorResponse> {
    let payment = payment_in_path(app.shared.reader.ids(), &id)?;
    let draft = body.of_payment(payment)?.named_by_path();
    execute_draft(&app, caller, key, draft).await
}

/// Filter of a list of payments.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct PaymentsQuery {
    /// Payments that touch this account.
    #[param(value_type = Option<String>, pattern = "^acct_[0-7][0-9a-hjkmnp-tv-z]{25}$")]
    account: Option<AccountText>,
    /// Payments that touch an account of this owner.
    #[param(value_type = Option<String>, pattern = "^[A-Za-z0-9_.:@-]{1,64}$")]
    owner: Option<OwnerText>,
    /// Payments with this reference. With `owner`, or an owner's key: those for which this owner's keys chose it, and
    /// those for which the platform chose it with this owner as `reference_scope`.
    #[param(value_type = Option<String>, min_length = 1, max_length = 64)]
    reference: Option<ReferenceText>,
    /// Payments in this state now.
    #[param(inline)]
    status: Option<PaymentStatusForm>,
    /// Payments of this kind.
    #[param(inline)]
    kind: Option<PaymentKindForm>,
    /// Payments between the accounts of the caller, or `account`, and this one on the other side.
    #[param(value_type = Option<String>, pattern = "^acct_[0-7][0-9a-hjkmnp-tv-z]{25}$")]
    counterparty: Option<AccountText>,
    /// Payments of at least so many minor units.
    #[serde(rename = "amount[gte]")]
    #[param(value_type = Option<u64>, minimum = 0, maximum = 9007199254740991i64)]
    amount_gte: Option<AmountText>,
    /// Payments of at most so many minor units.
    #[serde(rename = "amount[lte]")]
    #[param(value_type = Option<u64>, minimum = 0, maximum = 9007199254740991i64)]
    amount_lte: Option<AmountText>,
    /// Payments whose metadata has this name now.
    #[param(min_length = 1, max_length = 40)]
    metadata_key: Option<String>,
    /// With `metadata_key`: payments whose metadata has this value under that name.
    #[param(max_length = 500)]
    metadata_value: Option<String>,
    /// Items at most; 10 if left out.
    #[param(value_type = Option<u8>, minimum = 1, maximum = 100)]
    limit: Option<Limit>,
    /// Payments older than the one with this id or cursor.
    starting_after: Option<String>,
    /// Payments newer than the one with this id or cursor, the nearest ones.
    ending_before: Option<String>,
    /// Not asked for before this time.
    #[serde(rename = "created[gte]")]
    #[param(value_type = Option<String>, format = DateTime)]
    created_gte: Option<TimeText>,
    /// Asked for before this time.
    #[serde(rename = "created[lt]")]
    #[param(value_type = Option<String>, format = DateTime)]
    created_lt: Option<TimeText>,
}

/// Lists payments, the newest first, each as it is now. For its payees, a queued payment begins when it runs, and has its place there.
#[utoipa::path(get, path = "/v1/payments", tag = "payments", operation_id = "listPayments", params(PaymentsQuery),
    responses((status = 200, description = "A page of payments.", body = List<PaymentObject>)))]
pub(crate) async fn list_all(
    State(app): State<App>,
    Reading(caller): Reading,
    expand: Expand,
    Query(query): Query<PaymentsQuery>,
) -> Result<Response, ErrorResponse> {
    let page = app
        .read(caller.actor.owner, move |shared| {
            payments(shared, &caller, query)
        })
        .await?;
    expand.answer(&app, caller, OF_PAYMENT, page).await
}

fn payments(
    shared: &Shared,
    caller: &Caller,
    query: PaymentsQuery,
) -> Result<List<PaymentObject>, ApiError> {
    let params = PageParams {
        limit: query.limit,
        starting_after: query.starting_after,
        ending_before: query.ending_before,
        created_gte: query.created_gte,
        created_lt: query.created_lt,
    };
    let mut page = params.page(&shared.reader, caller, IdKind::Payment)?;
    let render = |(now, asked): (Payment, Record)| payment(&shared.reader, &now, &asked);
    let url = "/v1/payments".to_owned();
    let nothing = Slice {
        items: Vec::new(),
        has_more: false,
        next: None,
    };
    let owner = match list_scope(&shared.reader, caller, query.owner.as_ref()) {
        ListScope::Nobody => return list(&shared.reader, caller, url, nothing, render),
        ListScope::All => None,
        ListScope::To(owner) => Some(owner),
    };
    let account = match &query.account {
        None => None,
        Some(text) => {
            let position = shared
                .reader
                .ids()
                .position_of(IdKind::Account, text.0)
                .map(AccountId);
            let found = position.and_then(|id| shared.reader.account(id));
            match found.filter(|account| caller.sees_account(account)) {
                Some(account) => Some(account.id),
                None => return list(&shared.reader, caller, url, nothing, render),
            }
        }
    };
    let filter = PaymentFilter {
        account,
        owner,
        reference: query.reference.map(|text| text.0),
        status: query.status.map(PaymentStatusForm::ledger),
        kind: query.kind.map(PaymentKindForm::ledger),
    };
    page.start = place(&shared.reader, &filter, page.start, &params)?;
    let counterparty = match &query.counterparty {
        None => None,
        Some(text) => match shared.reader.ids().position_of(IdKind::Account, text.0) {
            Some(position) => Some(AccountId(position)),
            None => return list(&shared.reader, caller, url, nothing, render),
        },
    };
    if query.metadata_value.is_some() && query.metadata_key.is_none() {
        let message = "metadata_value goes with metadata_key.";
        return Err(ApiError::new(ErrorCode::ParameterMissing, message).param("metadata_key"));
    }
    check_metadata(
        query.metadata_key.as_deref(),
        query.metadata_value.as_deref(),
    )?;
    let conditions = Conditions {
        counterparty,
        least: query.amount_gte.map(|amount| amount.0),
        most: query.amount_lte.map(|amount| amount.0),
        metadata: query.metadata_key.map(|key| (key, query.metadata_value)),
    };
    if !conditions.is_empty() {
        // An error of the interface cannot pass through the walk.
        let failed = Cell::new(None);
        let slice = shared.reader.payments_where(&filter, page, |now, asked| {
            let holds = conditions.hold(&shared.reader, account, now, asked);
            Ok(holds.unwrap_or_else(|error| {
                failed.set(Some(error));
                false
            }))
        });
        let slice = slice.map_err(read_error)?;
        return match failed.take() {
            Some(error) => Err(error),
            None => list(&shared.reader, caller, url, slice, render),
        };
    }
    if let Some(slice) = by_reference(
        shared,
        caller,
        &filter,
        page.start == Start::Newest && page.from.is_none() && page.until.is_none(),
    )? {
        return list(&shared.reader, caller, url, slice, render);
    }
    list(
        &shared.reader,
        caller,
        url,
        shared.reader.payments(&filter, page).map_err(read_error)?,
        render,
    )
}

/// Where the page begins: at a payment that is named by its id, at the place that it has in this list.
fn place(
    reader: &Reader,
    filter: &PaymentFilter,
    start: Start,
    params: &PageParams,
) -> Result<Start, ApiError> {
    let texts = [&params.starting_after, &params.ending_before];
    let id = texts.into_iter().flatten().next();
    let Some(id) = id.and_then(|id| reader.ids().decode(IdKind::Payment, id)) else {
        return Ok(start);
    };
    let at = reader
        .listed_at(filter, PaymentId(id))
        .map_err(read_error)?;
    Ok(match start {
        Start::Newest => Start::Newest,
        Start::Before(_) => Start::Before(at),
        Start::After(_) => Start::After(at),
    })
}

/// What a payment must be besides the engine's filter.
struct Conditions {
    counterparty: Option<AccountId>,
    least: Option<u64>,
    most: Option<u64>,
    /// Name and, if it matters, value.
    metadata: Option<(String, Option<String>)>,
}

impl Conditions {
    fn is_empty(&self) -> bool {
        let bounds = self.least.is_some() || self.most.is_some();
        !bounds && self.counterparty.is_none() && self.metadata.is_none()
    }

    /// Whether a payment of `account`, if one is given, meets them all.
    fn hold(
        &self,
        reader: &Reader,
        account: Option<AccountId>,
        now: &Payment,
        asked: &Record,
    ) -> Result<bool, ApiError> {
        let within = self.least.is_none_or(|least| now.amount >= least)
            && self.most.is_none_or(|most| now.amount <= most);
        let across = self
            .counterparty
            .is_none_or(|other| is_between(now, account, other));
        if !within || !across {
            return Ok(false);
        }
        let Some((key, value)) = &self.metadata else {
            return Ok(true);
        };
        let notes = present_notes(reader, now.text.as_deref(), Some(asked))?;
        let found = notes.metadata.get(key);
        Ok(found.is_some_and(|found| value.as_ref().is_none_or(|value| found == value)))
    }
}

/// Whether the payment has `other` on one side, and `account`, if one is given, on the other side.
fn is_between(payment: &Payment, account: Option<AccountId>, other: AccountId) -> bool {
    let receives = |id: AccountId| payment.shares.iter().any(|share| share.account == id);
    match account {
        None => payment.source == other || receives(other),
        Some(account) => {
            (payment.source == other && receives(account))
                || (payment.source == account && receives(other))
        }
    }
}

/// The payments that hold the reference, of the owner and of the platform for the owner, found by the index instead of by
/// looking through the owner's payments. None if that does not answer what was asked.
fn by_reference(
    shared: &Shared,
    caller: &Caller,
    filter: &PaymentFilter,
    first_page: bool,
) -> Result<Option<Slice<(Payment, Record)>>, ApiError> {
    let (Some(owner), Some(reference), None, true) =
        (filter.owner, &filter.reference, filter.account, first_page)
    else {
        return Ok(None);
    };
    let mut found = Vec::new();
    for space in ReferenceSpace::searched_by(owner) {
        let payment = shared.reader.payment_by_reference(space, reference);
        found.extend(payment.map_err(read_error)?);
    }
    if found.is_empty() {
        return Ok(None);
    }
    found.sort_unstable_by_key(|payment| Reverse(payment.id));
    let mut items = Vec::new();
    for payment in found {
        let asked = created(&shared.reader, payment.id.0)?;
        let wanted = filter.status.is_none_or(|status| payment.status == status)
            && filter.kind.is_none_or(|kind| payment.kind == kind)
            && caller.sees_payment(&shared.reader, &asked)?;
        if wanted {
            items.push((payment, asked));
        }
    }
    Ok(Some(Slice {
        items,
        has_more: false,
        next: None,
    }))
}

/// Takes what a payment holds, or a part.
#[utoipa::path(post, path = "/v1/payments/{id}/capture", tag = "payments", operation_id = "capturePayment",
    params(("id" = String, Path, description = "The payment.")), request_body(content = CaptureForm),
    responses((status = 200, description = "The payment.", body = PaymentObject)))]
pub(crate) async fn capture(
    State(app): State<App>,
    Writing(caller): Writing,
    Id(id): Id,
    IdempotencyKey(key): IdempotencyKey,
    OptionalJson(body): OptionalJson<CaptureForm>,
) -> Result<Response, ErrorResponse> {
    let payment = payment_in_path(app.shared.reader.ids(), &id)?;
    let draft = body.into_draft(app.shared.reader.ids(), payment)?;
    let draft = draft.named_by_path();
    execute_draft(&app, caller, key, draft).await
}

/// Releases what a payment holds.
#[utoipa::path(post, path = "/v1/payments/{id}/void", tag = "payments", operation_id = "voidPayment",
    params(("id" = String, Path, description = "The payment.")), request_body(content = Empty),
    responses((status = 200, description = "The payment.", body = PaymentObject)))]
pub(crate) async fn void(
    State(app): State<App>,
    Writing(caller): Writing,
    Id(id): Id,
    IdempotencyKey(key): IdempotencyKey,
    OptionalJson(Empty {}): OptionalJson<Empty>,
) -> Result<Response, ErrorResponse> {
    let payment = payment_in_path(app.shared.reader.ids(), &id)?;
    let draft = CommandDraft::new(ledger::Body::Void(payment)).named_by_path();
    execute_draft(&app, caller, key, draft).await
}

/// Refuses a name or value that no metadata can have.
fn check_metadata(key: Option<&str>, value: Option<&str>) -> Result<(), ApiError> {
    let invalid = |param| move |message: &'static str| ApiError::invalid(param, message);
    metadata_entry(key.unwrap_or("key"), "").map_err(invalid("metadata_key"))?;
    metadata_entry("key", value.unwrap_or_default()).map_err(invalid("metadata_value"))
}
