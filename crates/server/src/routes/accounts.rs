//! `/v1/accounts`.

use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;
use tributary_engine::{IdKind, Slice};
use tributary_ledger::{Account, AccountStatus, Body, ExternalId, OwnerId, OwnerName};
use utoipa::IntoParams;

use crate::app::{App, Shared};
use crate::auth::{Caller, PlatformWriting, Reading, Writing};
use crate::code::ErrorCode;
use crate::error::ApiError;
use crate::form::idempotency::IdempotencyKey;
use crate::form::json::{Json, OptionalJson};
use crate::form::query::Query;
use crate::form::request::{AccountCreate, AccountKindForm, Empty, Wish, owner_name};
use crate::form::value::{CurrencyForm, OwnerText, ReferenceText, TimeText};
use crate::render::account::{AccountObject, AccountStatusForm, EntryObject, account, entry};
use crate::render::created;
use crate::render::list::{Limit, List, PageParams, PageQuery, list};
use crate::routes::{Id, json, visible_account, write};
use crate::submit::failed;

/// Opens an account.
#[utoipa::path(post, path = "/v1/accounts", tag = "accounts", operation_id = "createAccount",
    request_body = AccountCreate, responses((status = 201, description = "The account.", body = AccountObject)))]
pub(crate) async fn create(
    State(app): State<App>,
    Writing(caller): Writing,
    IdempotencyKey(key): IdempotencyKey,
    Json(body): Json<AccountCreate>,
) -> Result<Response, ApiError> {
    let owner = owner_of_new(&app.shared, &caller, body.owner.as_ref())?;
    write(&app, caller, key, body.wish_for(owner)?).await
}

/// The owner of a new account: the one named, else the caller's own.
pub(crate) fn owner_of_new(
    shared: &Shared,
    caller: &Caller,
    named: Option<&OwnerText>,
) -> Result<OwnerName, ApiError> {
    match named {
        Some(text) => owner_name(text),
        None if caller.is_platform() => {
            let message =
                "A platform key must say whose account it opens; platform is the platform itself.";
            Err(ApiError::new(ErrorCode::ParameterMissing, message).param("owner"))
        }
        None => {
            let name = crate::render::owner_name(shared, caller.actor.owner);
            OwnerName::new(&name).map_err(|error| ApiError::invalid("owner", error.to_string()))
        }
    }
}

/// Shows an account with its balances.
#[utoipa::path(get, path = "/v1/accounts/{id}", tag = "accounts", operation_id = "getAccount",
    params(("id" = String, Path, description = "The account.")),
    responses((status = 200, description = "The account.", body = AccountObject)))]
pub(crate) async fn get(
    State(app): State<App>,
    Reading(caller): Reading,
    Id(id): Id,
) -> Result<Response, ApiError> {
    let found = visible_account(&app.shared, &caller, &id)?;
    let opened = created(&app.shared, found.id.0)?;
    Ok(json(200, &account(&app.shared, &found, &opened)))
}

/// Which accounts to list.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct AccountsQuery {
    /// Accounts of this owner.
    #[param(value_type = Option<String>, pattern = "^[A-Za-z0-9_.:@-]{1,64}$")]
    owner: Option<OwnerText>,
    /// The account with this external id. A platform key must name the owner too.
    #[param(value_type = Option<String>, min_length = 1, max_length = 64)]
    external_id: Option<ReferenceText>,
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
    Query(query): Query<AccountsQuery>,
) -> Result<Response, ApiError> {
    let page = app
        .blocking(move |shared| accounts(shared, &caller, query))
        .await?;
    Ok(json(200, &page))
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
    let page = params.page(shared.reader.ids(), IdKind::Account)?;
    let render = |found: Account| Ok(account(shared, &found, &created(shared, found.id.0)?));
    let nothing = Slice {
        items: Vec::new(),
        has_more: false,
        next: None,
    };
    let owner = match narrowed(shared, caller, query.owner.as_ref()) {
        Narrowed::Nobody => return list(shared, url, nothing, render),
        Narrowed::All => None,
        Narrowed::To(owner) => Some(owner),
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
            shared,
            url,
            shared.reader.accounts(owner, page, keep).map_err(failed)?,
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
    let external_id = ExternalId::new(&external_id.0)
        .map_err(|error| ApiError::invalid("external_id", error.to_string()))?;
    let found = shared
        .reader
        .account_by_external(owner, &external_id)
        .map_err(failed)?;
    let items = found.into_iter().filter(keep).collect();
    list(shared, url, Slice { items, ..nothing }, render)
}

/// Whose things a list shows.
pub(crate) enum Narrowed {
    /// Everybody's.
    All,
    /// This owner's.
    To(OwnerId),
    /// Those of an owner that is not there, or not the caller's to see.
    Nobody,
}

/// Whose things the caller may list, having asked for those of `named`.
pub(crate) fn narrowed(shared: &Shared, caller: &Caller, named: Option<&OwnerText>) -> Narrowed {
    let named = named.map(|text| match text.0.as_str() {
        "platform" => Some(OwnerId::PLATFORM),
        name => OwnerName::new(name)
            .ok()
            .and_then(|name| shared.reader.owner_by_name(&name)),
    });
    match (caller.narrowed_to(), named) {
        (_, Some(None)) => Narrowed::Nobody,
        (Some(own), Some(Some(named))) if own != named => Narrowed::Nobody,
        (Some(own), _) => Narrowed::To(own),
        (None, Some(Some(named))) => Narrowed::To(named),
        (None, None) => Narrowed::All,
    }
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
    Id(id): Id,
    Query(query): Query<PageQuery>,
) -> Result<Response, ApiError> {
    let found = visible_account(&app.shared, &caller, &id)?;
    let page = PageParams::from(query).page(app.shared.reader.ids(), IdKind::Event)?;
    let url = format!("/v1/accounts/{id}/entries");
    let page = app
        .blocking(move |shared| {
            let slice = shared.reader.statement(found.id, page).map_err(failed)?;
            list(shared, url, slice, |line| Ok(entry(shared, &line)))
        })
        .await?;
    Ok(json(200, &page))
}

/// Lets an account only receive. Platform keys only.
#[utoipa::path(post, path = "/v1/accounts/{id}/freeze", tag = "accounts", operation_id = "freezeAccount",
    params(("id" = String, Path, description = "The account.")), request_body(content = Empty),
    responses((status = 200, description = "The account.", body = AccountObject)))]
pub(crate) async fn freeze(
    State(app): State<App>,
    PlatformWriting(caller): PlatformWriting,
    Id(id): Id,
    IdempotencyKey(key): IdempotencyKey,
    OptionalJson(Empty {}): OptionalJson<Empty>,
) -> Result<Response, ApiError> {
    let found = visible_account(&app.shared, &caller, &id)?;
    write(
        &app,
        caller,
        key,
        Wish::plain(Body::FreezeAccount(found.id)),
    )
    .await
}

/// Lets a frozen account pay again. Platform keys only.
#[utoipa::path(post, path = "/v1/accounts/{id}/unfreeze", tag = "accounts", operation_id = "unfreezeAccount",
    params(("id" = String, Path, description = "The account.")), request_body(content = Empty),
    responses((status = 200, description = "The account.", body = AccountObject)))]
pub(crate) async fn unfreeze(
    State(app): State<App>,
    PlatformWriting(caller): PlatformWriting,
    Id(id): Id,
    IdempotencyKey(key): IdempotencyKey,
    OptionalJson(Empty {}): OptionalJson<Empty>,
) -> Result<Response, ApiError> {
    let found = visible_account(&app.shared, &caller, &id)?;
    write(
        &app,
        caller,
        key,
        Wish::plain(Body::UnfreezeAccount(found.id)),
    )
    .await
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
) -> Result<Response, ApiError> {
    let found = visible_account(&app.shared, &caller, &id)?;
    write(&app, caller, key, Wish::plain(Body::CloseAccount(found.id))).await
}
