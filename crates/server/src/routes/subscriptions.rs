//! `/v1/subscriptions`: their definition and state, which are settings of the ledger.

use axum::extract::State;
use axum::response::Response;
use tributary_api::caller::Caller;
use tributary_api::error::ApiError;
use tributary_api::failures::read_error;
use tributary_api::form::subscription::{
    PauseSubscription, RotateSecret, SubscriptionCreate, SubscriptionUpdate,
};
use tributary_api::render::list::{List, PageParams, PageQuery, list};
use tributary_api::render::revision::{RevisionObject, revision};
use tributary_api::render::subscription::{
    DeletedObject, SubscriptionObject, figures, subscription,
};
use tributary_api::settings::subscription::{Change, SubscriptionType, subscription_of};
use tributary_api::settings::{
    PutRequest, SettingType as _, Settled, accepted, delete_command, put_setting, random_key,
    refusal, replayed, submit,
};
use tributary_api::subscriptions::subscription_not_found;
use tributary_engine::{IdKind, Slice};
use tributary_ledger::{Key, Setting, SettingId, SettingKind};
use tributary_messaging::SubscriptionId;

use crate::app::{App, Shared};
use crate::auth::{Reading, Writing};
use crate::extract::{Id, IdempotencyKey, Json, OptionalIdempotencyKey, OptionalJson, Query};
use crate::model::subscription_model;
use crate::response::{ErrorResponse, json, mark_replayed};
use crate::routes::defined::DeleteQuery;

/// The subscriptions of this server as settings.
pub(crate) fn subscription_type(shared: &Shared) -> SubscriptionType {
    SubscriptionType::new(shared.reader.clone(), shared.transport.clone())
}

/// The number of the subscription that an id names, in form.
fn number(shared: &Shared, id: &str) -> Option<SettingId> {
    let (kind, id) = shared.reader.ids().decode_setting(id)?;
    (kind == SettingKind::SUBSCRIPTION).then_some(id)
}

/// The subscription that a setting defines, with its figures.
pub(crate) fn with_figures(
    shared: &Shared,
    setting: &Setting,
) -> Result<SubscriptionObject, ApiError> {
    let of = subscription_of(setting)?;
    // A repetition may come after the subscription was deleted.
    let numbers = shared.messaging()?.figures(SubscriptionId(setting.id.0));
    let (numbers, stalled) = numbers.unwrap_or_default();
    let transport = shared.transport();
    let model = subscription_model(transport, &of, &numbers.rates);
    let figures = figures(&shared.reader, &numbers, stalled, model);
    Ok(subscription(
        &shared.reader,
        transport,
        setting,
        &of,
        Some(figures),
    ))
}

/// The subscription with this id and its figures, if the caller may see it.
pub(crate) fn shown(
    shared: &Shared,
    caller: &Caller,
    id: &str,
) -> Result<SubscriptionObject, ApiError> {
    let setting = subscription_type(shared).visible(caller, number(shared, id))?;
    with_figures(shared, &setting)
}

/// The answer to a request that put a subscription: the subscription as its record left it, and its secret if the record made
/// one and still is the newest.
fn answer_put(
    shared: &Shared,
    settled: &Settled,
    makes_secret: bool,
) -> Result<SubscriptionObject, ApiError> {
    let setting = accepted(&shared.reader, &settled.record)?;
    let kind = subscription_type(shared);
    kind.begin();
    let mut object = with_figures(shared, &setting)?;
    if makes_secret {
        object.secret = kind.secret_of(&settled.record)?;
    }
    Ok(object)
}

/// Creates a subscription.
#[utoipa::path(post, path = "/v1/subscriptions", tag = "subscriptions", operation_id = "createSubscription",
    request_body = SubscriptionCreate,
    responses((status = 201, description = "The subscription.", body = SubscriptionObject)))]
pub(crate) async fn create(
    State(app): State<App>,
    Writing(caller): Writing,
    IdempotencyKey(key): IdempotencyKey,
    Json(body): Json<SubscriptionCreate>,
) -> Result<Response, ErrorResponse> {
    let (object, replayed) = app
        .blocking_within(move |shared| {
            shared.messaging()?;
            let kind = subscription_type(shared);
            let asked = PutRequest {
                actor: caller.actor,
                key,
                request: kind.digest_of_create(&body)?,
                names_revision: true,
            };
            let derive = || kind.create(&caller, body.clone());
            let settled = put_setting(&shared.engine, &asked, derive)?;
            Ok((answer_put(shared, &settled, true)?, settled.replayed))
        })
        .await?;
    Ok(mark_replayed(json(201, &object), replayed))
}

/// Makes a change of a subscription.
async fn change(
    app: &App,
    caller: Caller,
    key: Option<Key>,
    id: &str,
    change: Change,
) -> Result<Response, ErrorResponse> {
    change.check_revision()?;
    let id = number(&app.shared, id).ok_or_else(subscription_not_found)?;
    let (object, replayed) = app
        .blocking_within(move |shared| {
            shared.messaging()?;
            let kind = subscription_type(shared);
            let asked = PutRequest {
                actor: caller.actor,
                key: key.unwrap_or_else(random_key),
                request: kind.digest_of_change(id, &change)?,
                names_revision: change.revision().is_some(),
            };
            let derive = || kind.change(&caller, id, &change);
            let settled = put_setting(&shared.engine, &asked, derive)?;
            let makes_secret = matches!(change, Change::Rotate(..));
            Ok((
                answer_put(shared, &settled, makes_secret)?,
                settled.replayed,
            ))
        })
        .await?;
    Ok(mark_replayed(json(200, &object), replayed))
}

/// Lets another secret sign the webhooks, and the one before too for a while. The new secret is shown in this answer, and in
/// repetitions of it until the subscription is changed again.
#[utoipa::path(post, path = "/v1/subscriptions/{id}/rotate_secret", tag = "subscriptions", operation_id = "rotateSecret",
    params(("id" = String, Path, description = "The subscription.")), request_body(content = RotateSecret),
    responses((status = 200, description = "The subscription with its new secret.", body = SubscriptionObject)))]
pub(crate) async fn rotate_secret(
    State(app): State<App>,
    Writing(caller): Writing,
    Id(id): Id,
    OptionalIdempotencyKey(key): OptionalIdempotencyKey,
    OptionalJson(body): OptionalJson<RotateSecret>,
) -> Result<Response, ErrorResponse> {
    body.overlap()?;
    let rotate = Change::Rotate(body, app.shared.engine.now());
    change(&app, caller, key, &id, rotate).await
}

/// Lists all subscriptions that the key may see.
#[utoipa::path(get, path = "/v1/subscriptions", tag = "subscriptions", operation_id = "listSubscriptions",
    responses((status = 200, description = "All of them, on one page, the newest first.", body = List<SubscriptionObject>)))]
pub(crate) async fn list_all(
    State(app): State<App>,
    Reading(caller): Reading,
) -> Result<Response, ErrorResponse> {
    let page = app
        .read(caller.actor.owner, move |shared| {
            shared.messaging()?;
            let kind = SettingKind::SUBSCRIPTION;
            let mut items = shared.reader.settings(kind, caller.listed_owner());
            // One that a later version wrote can't be shown, and hides no others.
            items.retain(|setting| subscription_of(setting).is_ok());
            items.reverse();
            let slice = Slice {
                items,
                has_more: false,
                next: None,
            };
            list(
                &shared.reader,
                &caller,
                "/v1/subscriptions".to_owned(),
                slice,
                |setting| with_figures(shared, &setting),
            )
        })
        .await?;
    Ok(json(200, &page))
}

/// Shows a subscription and its figures.
#[utoipa::path(get, path = "/v1/subscriptions/{id}", tag = "subscriptions", operation_id = "getSubscription",
    params(("id" = String, Path, description = "The subscription.")),
    responses((status = 200, description = "The subscription.", body = SubscriptionObject)))]
pub(crate) async fn get(
    State(app): State<App>,
    Reading(caller): Reading,
    Id(id): Id,
) -> Result<Response, ErrorResponse> {
    app.shared.messaging()?;
    Ok(json(200, &shown(&app.shared, &caller, &id)?))
}

/// Lists the revisions of a subscription that exists, the newest first, and who made each.
#[utoipa::path(get, path = "/v1/subscriptions/{id}/revisions", tag = "subscriptions", operation_id = "listSubscriptionRevisions",
    params(("id" = String, Path, description = "The subscription."), PageQuery),
    responses((status = 200, description = "A page of revisions.", body = List<RevisionObject>)))]
pub(crate) async fn revisions(
    State(app): State<App>,
    Reading(caller): Reading,
    Id(id): Id,
    Query(query): Query<PageQuery>,
) -> Result<Response, ErrorResponse> {
    let page = app
        .read(caller.actor.owner, move |shared| {
            let kind = subscription_type(shared);
            let setting = kind.visible(&caller, number(shared, &id))?;
            let page = PageParams::from(query).page(&shared.reader, &caller, IdKind::Event)?;
            let slice = shared
                .reader
                .setting_revisions(setting.id, page.start, page.limit)
                .map_err(read_error)?;
            let url = format!("/v1/subscriptions/{id}/revisions");
            list(&shared.reader, &caller, url, slice, |record| {
                let setting = accepted(&shared.reader, &record)?;
                Ok(revision(&shared.reader, &record, kind.object(&setting)?))
            })
        })
        .await?;
    Ok(json(200, &page))
}

/// Changes a subscription. A changed filter counts for events from now on.
#[utoipa::path(patch, path = "/v1/subscriptions/{id}", tag = "subscriptions", operation_id = "updateSubscription",
    params(("id" = String, Path, description = "The subscription.")), request_body = SubscriptionUpdate,
    responses((status = 200, description = "The subscription.", body = SubscriptionObject)))]
pub(crate) async fn update(
    State(app): State<App>,
    Writing(caller): Writing,
    Id(id): Id,
    OptionalIdempotencyKey(key): OptionalIdempotencyKey,
    Json(body): Json<SubscriptionUpdate>,
) -> Result<Response, ErrorResponse> {
    change(&app, caller, key, &id, Change::Update(Box::new(body))).await
}

/// Deletes a subscription and its dead letters.
#[utoipa::path(delete, path = "/v1/subscriptions/{id}", tag = "subscriptions", operation_id = "deleteSubscription",
    params(("id" = String, Path, description = "The subscription."), DeleteQuery),
    responses((status = 200, description = "The subscription is deleted.", body = DeletedObject)))]
pub(crate) async fn delete(
    State(app): State<App>,
    Writing(caller): Writing,
    Id(id): Id,
    OptionalIdempotencyKey(key): OptionalIdempotencyKey,
    Query(query): Query<DeleteQuery>,
) -> Result<Response, ErrorResponse> {
    let number = number(&app.shared, &id).ok_or_else(subscription_not_found)?;
    let key = key.unwrap_or_else(random_key);
    if query.revision == Some(0) {
        let message = "revision must be at least 1.";
        return Err(ApiError::invalid("revision", message).into());
    }
    let replaces = query.revision.unwrap_or(0);
    let replayed = app
        .blocking_within(move |shared| {
            shared.messaging()?;
            let (reader, kind) = (&shared.reader, SettingKind::SUBSCRIPTION);
            let command = delete_command(caller.actor, key, number, kind, replaces);
            let settled = match subscription_type(shared).visible(&caller, Some(number)) {
                Ok(_) => submit(&shared.engine, command)?,
                Err(error) => {
                    let (owner, digest) = (caller.actor.owner, command.digest());
                    Settled {
                        record: replayed(reader, owner, &command.key, digest, error)?,
                        replayed: true,
                    }
                }
            };
            match settled.record.outcome.rejection {
                None => Ok(settled.replayed),
                Some(_) => Err(refusal(reader, &settled.record)),
            }
        })
        .await?;
    let object = DeletedObject {
        id,
        object: "subscription",
        deleted: true,
    };
    Ok(mark_replayed(json(200, &object), replayed))
}

/// Hands out nothing until it is resumed. What is out may still be answered.
#[utoipa::path(post, path = "/v1/subscriptions/{id}/pause", tag = "subscriptions", operation_id = "pauseSubscription",
    params(("id" = String, Path, description = "The subscription.")), request_body(content = PauseSubscription),
    responses((status = 200, description = "The subscription.", body = SubscriptionObject)))]
pub(crate) async fn pause(
    State(app): State<App>,
    Writing(caller): Writing,
    Id(id): Id,
    OptionalIdempotencyKey(key): OptionalIdempotencyKey,
    OptionalJson(body): OptionalJson<PauseSubscription>,
) -> Result<Response, ErrorResponse> {
    change(&app, caller, key, &id, Change::Pause(body)).await
}

/// Hands out events again.
#[utoipa::path(post, path = "/v1/subscriptions/{id}/resume", tag = "subscriptions", operation_id = "resumeSubscription",
    params(("id" = String, Path, description = "The subscription.")),
    responses((status = 200, description = "The subscription.", body = SubscriptionObject)))]
pub(crate) async fn resume(
    State(app): State<App>,
    Writing(caller): Writing,
    Id(id): Id,
    OptionalIdempotencyKey(key): OptionalIdempotencyKey,
) -> Result<Response, ErrorResponse> {
    change(&app, caller, key, &id, Change::Resume).await
}
