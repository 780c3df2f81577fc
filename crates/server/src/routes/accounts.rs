//! `/v1/accounts`.

use axum::body::Bytes;
use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;
use tributary_api::caller::Caller;
use tributary_api::code::ErrorCode;
use tributary_api::draft::CommandDraft;
use tributary_api::error::ApiError;
use tributary_api::failures::read_error;
use tributary_api::form::owner::TextUpdate;
use tributary_api::form::path::account_in_path;
use tributary_api::form::request::{AccountCreate, AccountKindForm, Empty};
use tributary_api::form::value::{CurrencyForm, ExternalIdText, OwnerText, TimeText};
use tributary_api::moment::{Moment, too_many_records};
use tributary_api::render::account::{AccountObject, AccountStatusForm, account_now};
use tributary_api::render::balance::{BalanceObject, dated_balance, past_balance};
use tributary_api::render::common::created;
use tributary_api::render::entry::EntryObject;
use tributary_api::render::expand::{OF_ACCOUNT, OF_ENTRY};
use tributary_api::render::list::{Limit, List, PageParams, PageQuery, list};
use tributary_api::visibility::{ListScope, list_scope, visible_account};
use tributary_engine::{IdKind, Slice};
use tributary_ledger::{Account, AccountId, AccountStatus, Body, Key};
use utoipa::IntoParams;

use crate::answer::execute_draft;
use crate::app::{App, Shared};
use crate::auth::{Reading, Writing};
use crate::extract::{Expand, Id, IdempotencyKey, Json, OptionalJson, Query};
use crate::response::{ErrorResponse, json, json_bytes};
use crate::statement_pages::statement;

/// Opens an account.
#[utoipa::path(post, path = "/v1/accounts", tag = "accounts", operation_id = "createAccount",
    request_body = AccountCreate, responses((status = 201, description = "The account.", body = AccountObject)))]
pub(crate) async fn create(
    State(app): State<App>,
    Writing(caller): Writing,
    IdempotencyKey(key): IdempotencyKey,
    Json(body): Json<AccountCreate>,
) -> Result<Response, ErrorResponse> {
    let draft = body.into_draft(&app.shared.reader, &caller)?;
    execute_draft(&app, caller, key, draft).await
}

/// Shows an account with its balances.
#[utoipa::path(get, path = "/v1/accounts/{id}", tag = "accounts", operation_id = "getAccount",
    params(("id" = String, Path, description = "The account.")),
    responses((status = 200, description = "The account.", body = AccountObject)))]
pub(crate) async fn get(
    State(app): State<App>,
    Reading(caller): Reading,
    expand: Expand,
    Id(id): Id,
) -> Result<Response, ErrorResponse> {
    let found = visible_account(&app.shared.reader, &caller, &id)?;
    let opened = created(&app.shared.reader, found.id.0)?;
    let found = account_now(&app.shared.reader, &found, &opened)?;
    expand.answer(&app, caller, OF_ACCOUNT, found).await
}

/// Updates the description and the metadata of an account. A field that is left out keeps its value; the last update wins.
#[utoipa::path(patch, path = "/v1/accounts/{id}", tag = "accounts", operation_id = "updateAccount",
    params(("id" = String, Path, description = "The account.")), request_body = TextUpdate,
    responses((status = 200, description = "The account.", body = AccountObject)))]
pub(crate) async fn update(
    State(app): State<App>,
    Writing(caller): Writing,
    Id(id): Id,
    IdempotencyKey(key): IdempotencyKey,
    Json(body): Json<TextUpdate>,
) -> Result<Response, ErrorResponse> {
    let account = account_in_path(app.shared.reader.ids(), &id)?;
    let draft = body.of_account(account)?.named_by_path();
    execute_draft(&app, caller, key, draft).await
}

/// Filter of a list of accounts.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct AccountsQuery {
    /// Accounts of this owner.
    #[param(value_type = Option<String>, pattern = "^[A-Za-z0-9_.:@-]{1,64}$")]
    owner: Option<OwnerText>,
    /// The account with this external id. A platform key must name the owner too.
    #[param(value_type = Option<String>, min_length = 1, max_length = 64)]
    external_id: Option<ExternalIdText>,
    /// Accounts in this currency.
    #[param(inline)]
    currency: Option<CurrencyForm>,
    /// Accounts of this kind.
    #[param(inline)]
    kind: Option<AccountKindForm>,
    /// Accounts in this state.
    #[param(inline)]
    status: Option<AccountStatusForm>,
    /// Items at most; 10 if left out.
    #[param(value_type = Option<u8>, minimum = 1, maximum = 100)]
    limit: Option<Limit>,
    /// Accounts older than the one with this id or cursor.
    starting_after: Option<String>,
    /// Accounts newer than the one with this id or cursor, the nearest ones.
    ending_before: Option<String>,
    /// Not opened before this time.
    #[serde(rename = "created[gte]")]
    #[param(value_type = Option<String>, format = DateTime)]
    created_gte: Option<TimeText>,
    /// Opened before this time.
    #[serde(rename = "created[lt]")]
    #[param(value_type = Option<String>, format = DateTime)]
    created_lt: Option<TimeText>,
}

/// Lists accounts, the newest first.
#[utoipa::path(get, path = "/v1/accounts", tag = "accounts", operation_id = "listAccounts", params(AccountsQuery),
    responses((status = 200, description = "A page of accounts.", body = List<AccountObject>)))]
pub(crate) async fn list_all(
    State(app): State<App>,
    Reading(caller): Reading,
    expand: Expand,
    Query(query): Query<AccountsQuery>,
) -> Result<Response, ErrorResponse> {
    let page = app
        .read(caller.actor.owner, move |shared| {
            accounts(shared, &caller, query)
        })
        .await?;
    expand.answer(&app, caller, OF_ACCOUNT, page).await
}

fn accounts(
    shared: &Shared,
    caller: &Caller,
    query: AccountsQuery,
) -> Result<List<AccountObject>, ApiError> {
    let url = "/v1/accounts".to_owned();
    let params = PageParams {
        limit: query.limit,
        starting_after: query.starting_after,
        ending_before: query.ending_before,
        created_gte: query.created_gte,
        created_lt: query.created_lt,
    };
    let page = params.page(&shared.reader, caller, IdKind::Account)?;
    let render = |found: Account| {
        let opened = created(&shared.reader, found.id.0)?;
        account_now(&shared.reader, &found, &opened)
    };
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
    let keep = |account: &Account| {
        query
            .currency
            .as_ref()
            .is_none_or(|currency| account.currency == currency.0)
            && query.kind.is_none_or(|kind| account.kind == kind.ledger())
            && query
                .status
                .is_none_or(|status| account.status == status_of(status))
    };
    let Some(external_id) = &query.external_id else {
        return list(
            &shared.reader,
            caller,
            url,
            shared
                .reader
                .accounts(owner, page, keep)
                .map_err(read_error)?,
            render,
        );
    };
    let owner = owner.ok_or_else(|| {
        ApiError::new(
            ErrorCode::ParameterMissing,
            "External ids belong to an owner: name the owner too.",
        )
        .param("owner")
    })?;
    let found = shared
        .reader
        .account_by_external(owner, &external_id.0)
        .map_err(read_error)?;
    let items = found.into_iter().filter(keep).collect();
    list(
        &shared.reader,
        caller,
        url,
        Slice { items, ..nothing },
        render,
    )
}

fn status_of(status: AccountStatusForm) -> AccountStatus {
    match status {
        AccountStatusForm::Open => AccountStatus::Open,
        AccountStatusForm::Frozen => AccountStatus::Frozen,
        AccountStatusForm::Closed => AccountStatus::Closed,
    }
}

/// Shows an account's statement: its postings with the balance after each, the newest first.
#[utoipa::path(get, path = "/v1/accounts/{id}/entries", tag = "accounts", operation_id = "listAccountEntries",
    params(("id" = String, Path, description = "The account."), PageQuery),
    responses((status = 200, description = "A page of the statement.", body = List<EntryObject>)))]
pub(crate) async fn entries(
    State(app): State<App>,
    Reading(caller): Reading,
    expand: Expand,
    Id(id): Id,
    Query(query): Query<PageQuery>,
) -> Result<Response, ErrorResponse> {
    let found = visible_account(&app.shared.reader, &caller, &id)?;
    let url = format!("/v1/accounts/{id}/entries");
    let params = PageParams::from(query);
    if app.shared.statement_pages.is_some() && expand.is_empty() {
        let body = cached_entries(&app, caller, found, params, url).await?;
        return Ok(json_bytes(200, body));
    }
    let page = app
        .read(caller.actor.owner, move |shared| {
            let page = params.page(&shared.reader, &caller, IdKind::Event)?;
            statement(&shared.reader, &caller, found.id, page, &url)
        })
        .await?;
    expand.answer(&app, caller, OF_ENTRY, page).await
}

/// [`entries`] by way of the cache of pages.
async fn cached_entries(
    app: &App,
    caller: Caller,
    found: Account,
    params: PageParams,
    url: String,
) -> Result<Bytes, ApiError> {
    let pages = app.shared.statement_pages.as_ref();
    // The page after a cursor takes a read of the record there.
    let newest = match params.is_from_the_newest() {
        true => Some(params.page(&app.shared.reader, &caller, IdKind::Event)?),
        false => None,
    };
    if let Some(body) = newest.and_then(|page| pages?.get(&caller, &found, page)) {
        return Ok(body);
    }
    let work = move |shared: &Shared| {
        let page = match newest {
            Some(page) => page,
            None => params.page(&shared.reader, &caller, IdKind::Event)?,
        };
        let pages = shared.statement_pages.as_ref().expect("it was there");
        if newest.is_none()
            && let Some(body) = pages.get(&caller, &found, page)
        {
            return Ok(body);
        }
        pages.load(&shared.reader, &caller, &found, page, &url)
    };
    app.read(caller.actor.owner, work).await
}

/// Moment of a balance.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct BalanceQuery {
    /// The id of an event (the balance after it), a time (what was recorded by then), or a date (what is effective by then, whenever
    /// it was recorded). Now, if left out. A platform key may give a position.
    at: Option<String>,
}

/// Shows what an account held at a moment.
#[utoipa::path(get, path = "/v1/accounts/{id}/balance", tag = "accounts", operation_id = "getAccountBalance",
    params(("id" = String, Path, description = "The account."), BalanceQuery),
    responses((status = 200, description = "The balance.", body = BalanceObject)))]
pub(crate) async fn balance(
    State(app): State<App>,
    Reading(caller): Reading,
    Id(id): Id,
    Query(query): Query<BalanceQuery>,
) -> Result<Response, ErrorResponse> {
    let found = visible_account(&app.shared.reader, &caller, &id)?;
    let balance = app
        .read(caller.actor.owner, move |shared| {
            balance_at(shared, &caller, &found, query.at.as_deref())
        })
        .await?;
    Ok(json(200, &balance))
}

fn balance_at(
    shared: &Shared,
    caller: &Caller,
    found: &Account,
    at: Option<&str>,
) -> Result<BalanceObject, ApiError> {
    let reader = &shared.reader;
    let at = at.map(|at| Moment::parse(reader, caller, at)).transpose()?;
    let position = match at {
        None => reader.published(),
        Some(Moment::Record(position)) => position,
        Some(Moment::Time(time)) => reader.position_by(time).map_err(read_error)?,
        Some(date @ Moment::Date(day)) => {
            let most = shared.config.limits.dated_records_max;
            let balance = reader.balance_on(found.id, day, most).map_err(read_error)?;
            let balance = balance.ok_or_else(|| {
                too_many_records(format!(
                    "The account has more than {most} records, too many for a balance by business date: ask for a time or an event."
                ))
            })?;
            return dated_balance(reader, found, &date, balance);
        }
    };
    let balance = reader.balance_at(found.id, position).map_err(read_error)?;
    past_balance(reader, found, at.as_ref(), balance.unwrap_or_default())
}

/// Freezes an account: it receives and does not pay. Platform keys only.
#[utoipa::path(post, path = "/v1/accounts/{id}/freeze", tag = "accounts", operation_id = "freezeAccount",
    params(("id" = String, Path, description = "The account.")), request_body(content = Empty),
    responses((status = 200, description = "The account.", body = AccountObject)))]
pub(crate) async fn freeze(
    State(app): State<App>,
    Writing(caller): Writing,
    Id(id): Id,
    IdempotencyKey(key): IdempotencyKey,
    OptionalJson(Empty {}): OptionalJson<Empty>,
) -> Result<Response, ErrorResponse> {
    change(&app, caller, &id, key, Body::FreezeAccount).await
}

/// Unfreezes an account: it pays again. Platform keys only.
#[utoipa::path(post, path = "/v1/accounts/{id}/unfreeze", tag = "accounts", operation_id = "unfreezeAccount",
    params(("id" = String, Path, description = "The account.")), request_body(content = Empty),
    responses((status = 200, description = "The account.", body = AccountObject)))]
pub(crate) async fn unfreeze(
    State(app): State<App>,
    Writing(caller): Writing,
    Id(id): Id,
    IdempotencyKey(key): IdempotencyKey,
    OptionalJson(Empty {}): OptionalJson<Empty>,
) -> Result<Response, ErrorResponse> {
    change(&app, caller, &id, key, Body::UnfreezeAccount).await
}

/// Closes an empty account for good.
#[utoipa::path(post, path = "/v1/accounts/{id}/close", tag = "accounts", operation_id = "closeAccount",
    params(("id" = String, Path, description = "The account.")), request_body(content = Empty),
    responses((status = 200, description = "The account.", body = AccountObject)))]
pub(crate) async fn close(
    State(app): State<App>,
    Writing(caller): Writing,
    Id(id): Id,
    IdempotencyKey(key): IdempotencyKey,
    OptionalJson(Empty {}): OptionalJson<Empty>,
) -> Result<Response, ErrorResponse> {
    change(&app, caller, &id, key, Body::CloseAccount).await
}

async fn change(
    app: &App,
    caller: Caller,
    id: &str,
    key: Key,
    change: fn(AccountId) -> Body,
) -> Result<Response, ErrorResponse> {
    let account = account_in_path(app.shared.reader.ids(), id)?;
    let draft = CommandDraft::new(change(account)).named_by_path();
    execute_draft(app, caller, key, draft).await
}
