//! `/v1/owners`: who accounts and API keys belong to.

use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;
use tributary_api::caller::Caller;
use tributary_api::error::ApiError;
use tributary_api::failures::read_error;
use tributary_api::form::owner::{OwnerCreate, OwnerKindForm, OwnerStatusForm, OwnerUpdate};
use tributary_api::form::value::{ExternalIdText, TimeText};
use tributary_api::render::list::{Limit, List, PageParams, list};
use tributary_api::render::owner::{OwnerObject, owner_now};
use tributary_api::visibility::visible_owner;
use tributary_engine::{IdKind, Page, Reader, Slice, Start};
use tributary_ledger::{Owner, OwnerId, OwnerName, OwnerProfile};
use utoipa::IntoParams;

use crate::answer::execute_draft;
use crate::app::{App, Shared};
use crate::auth::{Reading, Writing};
use crate::extract::{Id, IdempotencyKey, Json, Query};
use crate::response::{ErrorResponse, json};

/// Creates an owner before its first account or API key. Naming a new owner there creates it as well. Platform keys only.
#[utoipa::path(post, path = "/v1/owners", tag = "owners", operation_id = "createOwner",
    request_body = OwnerCreate, responses((status = 201, description = "The owner.", body = OwnerObject)))]
pub(crate) async fn create(
    State(app): State<App>,
    Writing(caller): Writing,
    IdempotencyKey(key): IdempotencyKey,
    Json(body): Json<OwnerCreate>,
) -> Result<Response, ErrorResponse> {
    execute_draft(&app, caller, key, body.into_draft()?).await
}

/// Shows an owner. An owner's key sees its own.
#[utoipa::path(get, path = "/v1/owners/{name}", tag = "owners", operation_id = "getOwner",
    params(("name" = String, Path, description = "Name of the owner.")),
    responses((status = 200, description = "The owner.", body = OwnerObject)))]
pub(crate) async fn get(
    State(app): State<App>,
    Reading(caller): Reading,
    Id(name): Id,
) -> Result<Response, ErrorResponse> {
    let owner = owner_in_path(&app.shared.reader, &caller, &name)?;
    Ok(json(200, &owner_now(&app.shared.reader, owner)?))
}

/// Updates an owner. A field that is left out keeps its value; the last update wins. An owner's key may change the description and the
/// metadata of its own.
#[utoipa::path(patch, path = "/v1/owners/{name}", tag = "owners", operation_id = "updateOwner",
    params(("name" = String, Path, description = "Name of the owner.")), request_body = OwnerUpdate,
    responses((status = 200, description = "The owner.", body = OwnerObject)))]
pub(crate) async fn update(
    State(app): State<App>,
    Writing(caller): Writing,
    Id(name): Id,
    IdempotencyKey(key): IdempotencyKey,
    Json(body): Json<OwnerUpdate>,
) -> Result<Response, ErrorResponse> {
    let owner = owner_in_path(&app.shared.reader, &caller, &name)?;
    let mut draft = body.into_draft(owner)?;
    draft.subject = "name";
    execute_draft(&app, caller, key, draft).await
}

/// Filter of a list of owners.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct OwnersQuery {
    /// The owner with this external id.
    #[param(value_type = Option<String>, min_length = 1, max_length = 64)]
    external_id: Option<ExternalIdText>,
    /// Owners of this kind.
    #[param(inline)]
    kind: Option<OwnerKindForm>,
    /// Owners with this status.
    #[param(inline)]
    status: Option<OwnerStatusForm>,
    /// Items at most; 10 if left out.
    #[param(value_type = Option<u8>, minimum = 1, maximum = 100)]
    limit: Option<Limit>,
    /// Owners older than the one with this name or cursor.
    starting_after: Option<String>,
    /// Owners newer than the one with this name or cursor, the nearest ones.
    ending_before: Option<String>,
    /// Not named before this time.
    #[serde(rename = "created[gte]")]
    #[param(value_type = Option<String>, format = DateTime)]
    created_gte: Option<TimeText>,
    /// First named before this time.
    #[serde(rename = "created[lt]")]
    #[param(value_type = Option<String>, format = DateTime)]
    created_lt: Option<TimeText>,
}

/// Lists owners, the newest first; the platform comes last. An owner's key sees its own.
#[utoipa::path(get, path = "/v1/owners", tag = "owners", operation_id = "listOwners", params(OwnersQuery),
    responses((status = 200, description = "A page of owners.", body = List<OwnerObject>)))]
pub(crate) async fn list_all(
    State(app): State<App>,
    Reading(caller): Reading,
    Query(query): Query<OwnersQuery>,
) -> Result<Response, ErrorResponse> {
    let page = app
        .read(caller.actor.owner, move |shared| {
            owners(shared, &caller, &query)
        })
        .await?;
    Ok(json(200, &page))
}

fn owners(
    shared: &Shared,
    caller: &Caller,
    query: &OwnersQuery,
) -> Result<List<OwnerObject>, ApiError> {
    let reader = &shared.reader;
    let page = page_of(reader, caller, query)?;
    let named = query.external_id.as_ref();
    let named = named.map(|external_id| reader.owner_by_external_id(&external_id.0));
    let slice = match (caller.listed_owner(), named) {
        (_, Some(None)) => Slice {
            items: Vec::new(),
            has_more: false,
            next: None,
        },
        (own, named) => {
            let only = own.or(named.flatten());
            let keep = |_: &Owner, profile: Option<&OwnerProfile>| query.keeps(profile);
            reader.owners(only, page, keep).map_err(read_error)?
        }
    };
    list(reader, caller, "/v1/owners".to_owned(), slice, |owner| {
        owner_now(reader, owner.id)
    })
}

impl OwnersQuery {
    /// Whether an owner with this profile is shown.
    fn keeps(&self, profile: Option<&OwnerProfile>) -> bool {
        let unknown = OwnerProfile::default();
        let profile = profile.unwrap_or(&unknown);
        let kind = self.kind.map(OwnerKindForm::ledger);
        let external_id = self.external_id.as_ref().map(|text| &text.0);
        kind.is_none_or(|kind| profile.kind == Some(kind))
            && self
                .status
                .is_none_or(|status| profile.status == status.ledger())
            && external_id.is_none_or(|wanted| profile.external_id.as_ref() == Some(wanted))
    }
}

/// Returns the page that the query asks for. An item of this list is named by its name.
fn page_of(reader: &Reader, caller: &Caller, query: &OwnersQuery) -> Result<Page, ApiError> {
    let ids = reader.ids();
    let cursor = |text: &Option<String>, param| match text {
        None => Ok(None),
        Some(text) if ids.decode_cursor(caller.actor.owner, text).is_some() => Ok(None),
        Some(text) => owner_named(reader, caller, text, param).map(Some),
    };
    let after = cursor(&query.starting_after, "starting_after")?;
    let before = cursor(&query.ending_before, "ending_before")?;
    let unless_named = |text: &Option<String>, named: Option<OwnerId>| match named {
        Some(_) => None,
        None => text.clone(),
    };
    let params = PageParams {
        limit: query.limit,
        starting_after: unless_named(&query.starting_after, after),
        ending_before: unless_named(&query.ending_before, before),
        created_gte: query.created_gte.clone(),
        created_lt: query.created_lt.clone(),
    };
    let page = params.page(reader, caller, IdKind::Cursor)?;
    match (after, before) {
        (None, None) => Ok(page),
        (Some(id), None) if query.ending_before.is_none() => Ok(Page {
            start: Start::Before(id.0),
            ..page
        }),
        (None, Some(id)) if query.starting_after.is_none() => Ok(Page {
            start: Start::After(id.0),
            ..page
        }),
        _ => {
            let message = "Give either starting_after or ending_before, not both.";
            Err(ApiError::invalid("ending_before", message))
        }
    }
}

fn owner_named(
    reader: &Reader,
    caller: &Caller,
    text: &str,
    param: &str,
) -> Result<OwnerId, ApiError> {
    let name = OwnerName::new(text).ok();
    let owner = name.and_then(|name| visible_owner(reader, caller, &name, param).ok());
    owner.ok_or_else(|| {
        let message = format!("{param} must be the name of an owner of this list, or a cursor.");
        ApiError::invalid(param, message)
    })
}

/// Returns the owner that the path names, if the caller may see it.
pub(super) fn owner_in_path(
    reader: &Reader,
    caller: &Caller,
    text: &str,
) -> Result<OwnerId, ApiError> {
    let name = OwnerName::new(text).map_err(|_| ApiError::not_found("owner", "name"))?;
    visible_owner(reader, caller, &name, "name")
}
