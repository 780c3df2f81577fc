//! `/v1/settings`: settings of all kinds, their revisions, and many at once as a file says.

use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;
use tributary_api::caller::Caller;
use tributary_api::error::ApiError;
use tributary_api::failures::read_error;
use tributary_api::form::value::OwnerText;
use tributary_api::render::common::created;
use tributary_api::render::list::{Limit, List, PageParams, PageQuery, list};
use tributary_api::render::setting::SettingObject;
use tributary_api::settings::apply::{AppliedObject, SettingsApply};
use tributary_api::settings::visible_setting;
use tributary_api::visibility::{ListScope, list_scope};
use tributary_engine::{IdKind, Page, Slice, Start};
use tributary_ledger::codec::Record;
use tributary_ledger::{SETTING_KINDS, Setting, SettingKind};
use utoipa::IntoParams;

use crate::app::{App, Shared};
use crate::auth::{Reading, Writing};
use crate::extract::{Id, Json, Query};
use crate::response::{ErrorResponse, json};

/// Which settings to list.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct SettingsQuery {
    /// Only settings of this kind, such as `subscription`.
    kind: Option<String>,
    /// Only settings of this owner.
    owner: Option<OwnerText>,
    /// Only settings that this file or tool manages.
    managed_by: Option<String>,
    /// Items at most; 10 if left out.
    #[param(value_type = Option<u8>, minimum = 1, maximum = 100)]
    limit: Option<Limit>,
    /// Settings that were created before the one at this cursor.
    starting_after: Option<String>,
}

/// Lists settings of all kinds, those that were created last first.
#[utoipa::path(get, path = "/v1/settings", tag = "settings", operation_id = "listSettings", params(SettingsQuery),
    responses((status = 200, description = "A page of settings.", body = List<SettingObject>)))]
pub(crate) async fn list_all(
    State(app): State<App>,
    Reading(caller): Reading,
    Query(query): Query<SettingsQuery>,
) -> Result<Response, ErrorResponse> {
    let page = app
        .read(caller.actor.owner, move |shared| {
            let params = PageParams {
                limit: query.limit,
                starting_after: query.starting_after.clone(),
                ..PageParams::default()
            };
            let page = params.page(&shared.reader, &caller, IdKind::Cursor)?;
            let slice = page_of(settings(shared, &caller, &query)?, page);
            list(
                &shared.reader,
                &caller,
                "/v1/settings".to_owned(),
                slice,
                |setting| show(shared, &created(&shared.reader, setting.changed.position)?),
            )
        })
        .await?;
    Ok(json(200, &page))
}

/// The settings that the caller may see and asks for, the newest first.
fn settings(
    shared: &Shared,
    caller: &Caller,
    query: &SettingsQuery,
) -> Result<Vec<Setting>, ApiError> {
    // Parts are no settings that anybody made.
    let is_shown = |kind: &SettingKind| *kind != SettingKind::MODEL_PART;
    let kinds: Vec<SettingKind> = match &query.kind {
        None => {
            let kinds = SETTING_KINDS.iter().map(|rules| rules.kind);
            kinds.filter(is_shown).collect()
        }
        Some(name) => {
            let kind = SettingKind::from_name(name).filter(is_shown);
            let unknown = || ApiError::invalid("kind", "There is no such kind of setting.");
            vec![kind.ok_or_else(unknown)?]
        }
    };
    let owner = match list_scope(&shared.reader, caller, query.owner.as_ref()) {
        ListScope::Nobody => return Ok(Vec::new()),
        ListScope::All => None,
        ListScope::To(owner) => Some(owner),
    };
    let managed = |setting: &Setting| {
        let manager = setting.managed_by.as_ref().map(|name| name.as_str());
        query.managed_by.is_none() || manager == query.managed_by.as_deref()
    };
    let mut settings = Vec::new();
    for kind in kinds {
        settings.extend(shared.reader.settings(kind, owner));
    }
    settings.retain(managed);
    settings.sort_by_key(|setting| std::cmp::Reverse(setting.created.position));
    Ok(settings)
}

/// The page of `settings`, which are all there are, newest first.
fn page_of(mut settings: Vec<Setting>, page: Page) -> Slice<Setting> {
    if let Start::Before(cursor) = page.start {
        settings.retain(|setting| setting.created.position < cursor);
    }
    let has_more = settings.len() > page.limit;
    settings.truncate(page.limit);
    Slice {
        next: settings.last().map(|last| last.created.position),
        items: settings,
        has_more,
    }
}

fn show(shared: &Shared, record: &Record) -> Result<SettingObject, ApiError> {
    let shown = shared.setting_types.show(&shared.reader, record);
    shown.ok_or_else(tributary_api::failures::internal_error)
}

/// The setting with this id, if the caller may see it.
fn visible(shared: &Shared, caller: &Caller, id: &str) -> Result<Setting, ApiError> {
    let named = shared.reader.ids().decode_setting(id);
    named
        .and_then(|(kind, id)| visible_setting(&shared.reader, caller, kind, Some(id)))
        .ok_or_else(|| ApiError::not_found("setting", "id"))
}

/// Shows a setting.
#[utoipa::path(get, path = "/v1/settings/{id}", tag = "settings", operation_id = "getSetting",
    params(("id" = String, Path, description = "The setting.")),
    responses((status = 200, description = "The setting.", body = SettingObject)))]
pub(crate) async fn get(
    State(app): State<App>,
    Reading(caller): Reading,
    Id(id): Id,
) -> Result<Response, ErrorResponse> {
    let object = app
        .read(caller.actor.owner, move |shared| {
            let setting = visible(shared, &caller, &id)?;
            show(shared, &created(&shared.reader, setting.changed.position)?)
        })
        .await?;
    Ok(json(200, &object))
}

/// Lists the revisions of a setting that exists, the newest first, and who made each.
#[utoipa::path(get, path = "/v1/settings/{id}/revisions", tag = "settings", operation_id = "listSettingRevisions",
    params(("id" = String, Path, description = "The setting."), PageQuery),
    responses((status = 200, description = "A page of revisions.", body = List<SettingObject>)))]
pub(crate) async fn revisions(
    State(app): State<App>,
    Reading(caller): Reading,
    Id(id): Id,
    Query(query): Query<PageQuery>,
) -> Result<Response, ErrorResponse> {
    let page = app
        .read(caller.actor.owner, move |shared| {
            let setting = visible(shared, &caller, &id)?;
            let page = PageParams::from(query).page(&shared.reader, &caller, IdKind::Cursor)?;
            let slice = shared
                .reader
                .setting_revisions(setting.id, page.start, page.limit)
                .map_err(read_error)?;
            let url = format!("/v1/settings/{id}/revisions");
            list(&shared.reader, &caller, url, slice, |record| {
                show(shared, &record)
            })
        })
        .await?;
    Ok(json(200, &page))
}

/// Creates, changes and, with `prune`, deletes settings so that those of the caller are as the request says. Everything is
/// checked before anything is done. Sending the request again finds nothing to do, and does the rest after a failure half-way.
#[utoipa::path(post, path = "/v1/settings/apply", tag = "settings", operation_id = "applySettings",
    request_body = SettingsApply,
    responses((status = 200, description = "What was done.", body = AppliedObject)))]
pub(crate) async fn apply(
    State(app): State<App>,
    Writing(caller): Writing,
    Json(body): Json<SettingsApply>,
) -> Result<Response, ErrorResponse> {
    let applied = app
        .blocking_within(move |shared| {
            shared.messaging()?;
            let types = &shared.setting_types;
            tributary_api::settings::apply::apply(&shared.engine, types, &caller, &body)
        })
        .await?;
    Ok(json(200, &applied))
}
