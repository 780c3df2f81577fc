//! `/v1/api_keys`: platform keys only.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use tributary_api::caller::Caller;
use tributary_api::draft::CommandDraft;
use tributary_api::error::ApiError;
use tributary_api::failures::internal_error;
use tributary_api::form::request::{ApiKeyCreate, ApiKeyRotate, Empty};
use tributary_api::render::answer::answer;
use tributary_api::render::api_key::{ApiKeyObject, api_key};
use tributary_api::render::list::{List, PageParams, PageQuery, list};
use tributary_api::token::Secret;
use tributary_engine::{IdKind, Slice, Start};
use tributary_ledger::{ApiKey, ApiKeyId, ApiKeyStatus, Body, CreateApiKey, Key};

use crate::answer::execute_draft;
use crate::app::{App, Shared};
use crate::auth::{PlatformReading, PlatformWriting};
use crate::extract::{Id, IdempotencyKey, Json, OptionalJson, Query};
use crate::response::{ErrorResponse, json, mark_replayed};
use crate::submit::submit;

/// Creates an API key. Its secret is shown in this answer, and in a repetition of this request under the same idempotency key while the
/// secret is current. A secret that was lost otherwise is replaced by `rotate`.
#[utoipa::path(post, path = "/v1/api_keys", tag = "api_keys", operation_id = "createApiKey",
    request_body = ApiKeyCreate, responses((status = 201, description = "The key, with its secret.", body = ApiKeyObject)))]
pub(crate) async fn create(
    State(app): State<App>,
    PlatformWriting(caller): PlatformWriting,
    IdempotencyKey(key): IdempotencyKey,
    Json(body): Json<ApiKeyCreate>,
) -> Result<Response, ErrorResponse> {
    let secret = new_secret(&app.shared, &caller, &key);
    let draft = CommandDraft::new(Body::CreateApiKey(CreateApiKey {
        owner: body.owner.0,
        access: body.access.ledger(),
        secret_hash: secret.hash(),
        label: body.label.map(|text| text.0),
    }));
    write_secret(&app, caller, key, draft, &secret).await
}

/// Lists the API keys, the newest first.
#[utoipa::path(get, path = "/v1/api_keys", tag = "api_keys", operation_id = "listApiKeys", params(PageQuery),
    responses((status = 200, description = "A page of keys.", body = List<ApiKeyObject>)))]
pub(crate) async fn list_all(
    State(app): State<App>,
    _: PlatformReading,
    Query(query): Query<PageQuery>,
) -> Result<Response, ErrorResponse> {
    let (shared, caller) = (&app.shared, Caller::system());
    let page = PageParams::from(query).page(&shared.reader, &caller, IdKind::ApiKey)?;
    let slice = page_of(shared.reader.api_keys(), page);
    let page = list(
        &shared.reader,
        &caller,
        "/v1/api_keys".to_owned(),
        slice,
        |key| Ok(api_key(&shared.reader, &key, None)),
    )?;
    Ok(json(200, &page))
}

/// The page of `keys`, which are all there are, newest first.
fn page_of(mut keys: Vec<ApiKey>, page: tributary_engine::Page) -> Slice<ApiKey> {
    keys.retain(|key| {
        page.from.is_none_or(|from| key.created_at >= from)
            && page.until.is_none_or(|until| key.created_at < until)
    });
    match page.start {
        Start::Newest => {}
        Start::Before(position) => keys.retain(|key| key.id.0 < position),
        Start::After(position) => keys.retain(|key| key.id.0 > position),
    }
    let has_more = keys.len() > page.limit;
    let upwards = matches!(page.start, Start::After(_));
    if upwards {
        keys.drain(..keys.len().saturating_sub(page.limit));
    } else {
        keys.truncate(page.limit);
    }
    let last = if upwards { keys.first() } else { keys.last() };
    let next = last.map(|key| key.id.0);
    Slice {
        items: keys,
        has_more,
        next,
    }
}

/// Gives an API key another secret. The old one stops working at once, or after `overlap_seconds`. The new secret is shown in this answer,
/// and in a repetition of this request while the secret is current.
#[utoipa::path(post, path = "/v1/api_keys/{id}/rotate", tag = "api_keys", operation_id = "rotateApiKey",
    params(("id" = String, Path, description = "The API key.")), request_body(content = ApiKeyRotate),
    responses((status = 200, description = "The key, with its new secret.", body = ApiKeyObject)))]
pub(crate) async fn rotate(
    State(app): State<App>,
    PlatformWriting(caller): PlatformWriting,
    Id(id): Id,
    IdempotencyKey(key): IdempotencyKey,
    OptionalJson(body): OptionalJson<ApiKeyRotate>,
) -> Result<Response, ErrorResponse> {
    let id = known_key(&app.shared, &id)?;
    let secret = new_secret(&app.shared, &caller, &key);
    let draft = CommandDraft::new(Body::RotateApiKey {
        api_key: id,
        secret_hash: secret.hash(),
        overlap: body.overlap()?,
    });
    write_secret(&app, caller, key, draft, &secret).await
}

/// Ends an API key for good.
#[utoipa::path(post, path = "/v1/api_keys/{id}/revoke", tag = "api_keys", operation_id = "revokeApiKey",
    params(("id" = String, Path, description = "The API key.")), request_body(content = Empty),
    responses((status = 200, description = "The key.", body = ApiKeyObject)))]
pub(crate) async fn revoke(
    State(app): State<App>,
    PlatformWriting(caller): PlatformWriting,
    Id(id): Id,
    IdempotencyKey(key): IdempotencyKey,
    OptionalJson(Empty {}): OptionalJson<Empty>,
) -> Result<Response, ErrorResponse> {
    let id = known_key(&app.shared, &id)?;
    execute_draft(&app, caller, key, CommandDraft::new(Body::RevokeApiKey(id))).await
}

fn known_key(shared: &Shared, id: &str) -> Result<ApiKeyId, ApiError> {
    let position = shared.reader.ids().decode(IdKind::ApiKey, id);
    let key = position.and_then(|position| shared.reader.api_key(ApiKeyId(position)));
    key.map(|key| key.id)
        .ok_or_else(|| ApiError::not_found("API key", "id"))
}

/// Returns the secret for a request under this idempotency key: the same for a repetition, if the server has a source.
fn new_secret(shared: &Shared, caller: &Caller, key: &Key) -> Secret {
    let source = shared.config.secrets.as_ref();
    source.map_or_else(Secret::random, |source| {
        source.secret(caller.actor.owner, key)
    })
}

/// Whether the secret is the newest one of a key that works.
fn is_current(shared: &Shared, id: ApiKeyId, secret: &Secret) -> bool {
    let key = shared.reader.api_key(id);
    key.is_some_and(|key| key.status == ApiKeyStatus::Active && secret.matches(&key.secret_hash))
}

/// Sends a command that sets `secret`, and shows the secret if the command was done now, or before and the secret is current.
async fn write_secret(
    app: &App,
    caller: Caller,
    key: Key,
    draft: CommandDraft,
    secret: &Secret,
) -> Result<Response, ErrorResponse> {
    let command = app.shared.intake.command(&caller, key, draft)?;
    let done = submit(app, command).await?;
    let response = match answer(&app.shared.reader, &done.record) {
        Err(error) => ErrorResponse(error).into_response(),
        Ok(rendered) => {
            let made = done
                .record
                .outcome
                .api_key
                .as_ref()
                .ok_or_else(internal_error)?;
            let shown = !done.replayed || is_current(&app.shared, made.id, secret);
            let shown = shown.then(|| secret.token(app.shared.reader.ids(), made.id));
            json(rendered.status, &api_key(&app.shared.reader, made, shown))
        }
    };
    Ok(mark_replayed(response, done.replayed))
}
