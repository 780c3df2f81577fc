//! `/v1/bindings`: destinations at brokers, joined to the system.

use axum::Extension;
use axum::extract::{Path, State};
use axum::response::Response;
use serde::Deserialize;
use tributary_api::brokers::{BindingFigures, BindingTerms, Direction};
use tributary_api::caller::Caller;
use tributary_api::error::ApiError;
use tributary_api::failures::read_error;
use tributary_api::form::binding::{BindingCreate, BindingUpdate, PauseBinding};
use tributary_api::form::subscription::SelectDeadLetters;
use tributary_api::intake::message_key;
use tributary_api::render::attempt::AttemptObject;
use tributary_api::render::binding::BindingObject;
use tributary_api::render::binding_work::{
    BindingFiguresObject, BindingMessageObject, binding_figures, binding_message,
};
use tributary_api::render::list::List;
use tributary_api::render::setting::DeletedObject;
use tributary_api::render::subscription::{DeadLetterObject, DeadLettersObject};
use tributary_api::settings::binding::BindingType;
use tributary_api::settings::defined::Change;
use tributary_ledger::Setting;
use tributary_messaging::{Messaging, SubscriptionId};
use utoipa::IntoParams;

use crate::app::{App, RequestId, Shared};
use crate::auth::{PlatformReading, PlatformWriting};
use crate::extract::{Id, IdempotencyKey, Json, OptionalIdempotencyKey, OptionalJson, Query};
use crate::response::{ErrorResponse, json};
use crate::routes::attempts::{AttemptsQuery, list_attempts};
use crate::routes::defined::{self, DeleteQuery};
use crate::routes::deliveries::{DeadLettersQuery, change_dead_letters, list_dead_letters};

fn bindings(shared: &Shared) -> BindingType {
    BindingType::new(shared.reader.clone(), shared.brokers.clone())
}

/// Makes a binding: joins a destination at a broker to the system.
#[utoipa::path(post, path = "/v1/bindings", tag = "bindings", operation_id = "createBinding",
    request_body = BindingCreate,
    responses((status = 201, description = "The binding.", body = BindingObject)))]
pub(crate) async fn create(
    State(app): State<App>,
    PlatformWriting(caller): PlatformWriting,
    IdempotencyKey(key): IdempotencyKey,
    Json(body): Json<BindingCreate>,
) -> Result<Response, ErrorResponse> {
    defined::create(&app, caller, key, bindings(&app.shared), body).await
}

/// Lists all bindings.
#[utoipa::path(get, path = "/v1/bindings", tag = "bindings", operation_id = "listBindings",
    responses((status = 200, description = "All of them, on one page, the newest first.", body = List<BindingObject>)))]
pub(crate) async fn list_all(
    State(app): State<App>,
    PlatformReading(caller): PlatformReading,
) -> Result<Response, ErrorResponse> {
    defined::list_all(&app, caller, bindings(&app.shared), "/v1/bindings").await
}

/// Shows a binding.
#[utoipa::path(get, path = "/v1/bindings/{id}", tag = "bindings", operation_id = "getBinding",
    params(("id" = String, Path, description = "The binding.")),
    responses((status = 200, description = "The binding.", body = BindingObject)))]
pub(crate) async fn get(
    State(app): State<App>,
    PlatformReading(caller): PlatformReading,
    Id(id): Id,
) -> Result<Response, ErrorResponse> {
    defined::get(&app, &caller, &id, &bindings(&app.shared))
}

/// Changes a binding.
#[utoipa::path(patch, path = "/v1/bindings/{id}", tag = "bindings", operation_id = "updateBinding",
    params(("id" = String, Path, description = "The binding.")), request_body = BindingUpdate,
    responses((status = 200, description = "The binding.", body = BindingObject)))]
pub(crate) async fn update(
    State(app): State<App>,
    PlatformWriting(caller): PlatformWriting,
    Id(id): Id,
    OptionalIdempotencyKey(key): OptionalIdempotencyKey,
    Json(body): Json<BindingUpdate>,
) -> Result<Response, ErrorResponse> {
    let change = Change::update(&body)?;
    defined::change(&app, caller, key, &id, bindings(&app.shared), change).await
}

/// Deletes a binding. What was not acknowledged stays at the broker.
#[utoipa::path(delete, path = "/v1/bindings/{id}", tag = "bindings", operation_id = "deleteBinding",
    params(("id" = String, Path, description = "The binding."), DeleteQuery),
    responses((status = 200, description = "The binding is deleted.", body = DeletedObject)))]
pub(crate) async fn delete(
    State(app): State<App>,
    PlatformWriting(caller): PlatformWriting,
    Id(id): Id,
    OptionalIdempotencyKey(key): OptionalIdempotencyKey,
    Query(query): Query<DeleteQuery>,
) -> Result<Response, ErrorResponse> {
    defined::delete(&app, caller, key, id, bindings(&app.shared), &query).await
}

/// Takes no messages until the binding is resumed: they wait at the broker.
#[utoipa::path(post, path = "/v1/bindings/{id}/pause", tag = "bindings", operation_id = "pauseBinding",
    params(("id" = String, Path, description = "The binding.")), request_body(content = PauseBinding),
    responses((status = 200, description = "The binding.", body = BindingObject)))]
pub(crate) async fn pause(
    State(app): State<App>,
    PlatformWriting(caller): PlatformWriting,
    Id(id): Id,
    OptionalIdempotencyKey(key): OptionalIdempotencyKey,
    OptionalJson(body): OptionalJson<PauseBinding>,
) -> Result<Response, ErrorResponse> {
    let change = Change::pause(body.reason);
    defined::change(&app, caller, key, &id, bindings(&app.shared), change).await
}

/// Takes messages again.
#[utoipa::path(post, path = "/v1/bindings/{id}/resume", tag = "bindings", operation_id = "resumeBinding",
    params(("id" = String, Path, description = "The binding.")),
    responses((status = 200, description = "The binding.", body = BindingObject)))]
pub(crate) async fn resume(
    State(app): State<App>,
    PlatformWriting(caller): PlatformWriting,
    Id(id): Id,
    OptionalIdempotencyKey(key): OptionalIdempotencyKey,
) -> Result<Response, ErrorResponse> {
    defined::change(
        &app,
        caller,
        key,
        &id,
        bindings(&app.shared),
        Change::resume(),
    )
    .await
}

/// Shows what a binding does.
#[utoipa::path(get, path = "/v1/bindings/{id}/figures", tag = "bindings", operation_id = "getBindingFigures",
    params(("id" = String, Path, description = "The binding.")),
    responses((status = 200, description = "The figures.", body = BindingFiguresObject)))]
pub(crate) async fn figures(
    State(app): State<App>,
    PlatformReading(caller): PlatformReading,
    Id(id): Id,
) -> Result<Response, ErrorResponse> {
    let setting = defined::visible(&app, &caller, &id, &bindings(&app.shared))?;
    let figures = app.shared.brokers.figures(setting.id);
    let stopped = || BindingFigures::stopped("this server runs no bindings");
    let replies = replies(&setting).ok().zip(app.shared.messaging.as_ref());
    let replies = replies.and_then(|(replies, messaging)| messaging.figures(replies).ok());
    let replies = replies.as_ref().map(|(figures, _)| figures);
    let object = binding_figures(figures.unwrap_or_else(stopped), replies);
    Ok(json(200, &object))
}

/// Returns the subscription that has the replies of a binding: it has the binding's number.
fn replies(binding: &Setting) -> Result<SubscriptionId, ApiError> {
    let terms = BindingTerms::from_setting(binding);
    match terms.is_ok_and(|terms| terms.direction == Direction::In) {
        true => Ok(SubscriptionId(binding.id.0)),
        false => Err(ApiError::invalid(
            "id",
            "This binding takes no messages in, so it has no replies. Dead letters of events are those of the subscriptions that send to it.",
        )),
    }
}

fn visible_replies(app: &App, caller: &Caller, id: &str) -> Result<SubscriptionId, ApiError> {
    let binding = defined::visible(app, caller, id, &bindings(&app.shared))?;
    replies(&binding)
}

/// Lists the attempts at sending replies that are over, the one that ended last first, as far as the history reaches back.
#[utoipa::path(get, path = "/v1/bindings/{id}/attempts", tag = "bindings", operation_id = "listReplyAttempts",
    params(("id" = String, Path, description = "The binding."), AttemptsQuery),
    responses((status = 200, description = "A page of attempts. The url of `request` is that of the binder and the address of the reply.", body = List<AttemptObject>)))]
pub(crate) async fn attempts(
    State(app): State<App>,
    PlatformReading(caller): PlatformReading,
    Id(id): Id,
    Query(query): Query<AttemptsQuery>,
) -> Result<Response, ErrorResponse> {
    let replies = visible_replies(&app, &caller, &id)?;
    let url = format!("/v1/bindings/{id}/attempts");
    list_attempts(&app, caller, replies, query, url).await
}

/// Lists replies that were given up, the oldest first: their address was gone, or the broker refused them again and again.
#[utoipa::path(get, path = "/v1/bindings/{id}/dead_letters", tag = "bindings", operation_id = "listReplyDeadLetters",
    params(("id" = String, Path, description = "The binding."), DeadLettersQuery),
    responses((status = 200, description = "A page of dead letters. The event is what the reply tells.", body = List<DeadLetterObject>)))]
pub(crate) async fn dead_letters(
    State(app): State<App>,
    PlatformReading(caller): PlatformReading,
    Id(id): Id,
    Query(query): Query<DeadLettersQuery>,
) -> Result<Response, ErrorResponse> {
    let replies = visible_replies(&app, &caller, &id)?;
    let url = format!("/v1/bindings/{id}/dead_letters");
    list_dead_letters(&app, caller, replies, query, url).await
}

/// Has replies that were given up sent again: some, or all. At most 10,000 wait for another attempt at once; the rest stays.
#[utoipa::path(post, path = "/v1/bindings/{id}/dead_letters/requeue", tag = "bindings",
    operation_id = "requeueReplyDeadLetters", params(("id" = String, Path, description = "The binding.")),
    request_body(content = SelectDeadLetters),
    responses((status = 200, description = "How many.", body = DeadLettersObject)))]
pub(crate) async fn requeue(
    State(app): State<App>,
    PlatformWriting(caller): PlatformWriting,
    Id(id): Id,
    OptionalJson(body): OptionalJson<SelectDeadLetters>,
) -> Result<Response, ErrorResponse> {
    let replies = visible_replies(&app, &caller, &id)?;
    change_dead_letters(&app, caller, replies, body, Messaging::requeue).await
}

/// Forgets replies that were given up: some, or all. The orders that they answer stay as they are.
#[utoipa::path(post, path = "/v1/bindings/{id}/dead_letters/drop", tag = "bindings",
    operation_id = "dropReplyDeadLetters", params(("id" = String, Path, description = "The binding.")),
    request_body(content = SelectDeadLetters),
    responses((status = 200, description = "How many.", body = DeadLettersObject)))]
pub(crate) async fn drop_dead(
    State(app): State<App>,
    PlatformWriting(caller): PlatformWriting,
    Id(id): Id,
    OptionalJson(body): OptionalJson<SelectDeadLetters>,
) -> Result<Response, ErrorResponse> {
    let replies = visible_replies(&app, &caller, &id)?;
    change_dead_letters(&app, caller, replies, body, Messaging::drop_dead).await
}

/// Which message of a binding.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct MessageQuery {
    /// `source` of the CloudEvent, where messages are identified by `cloudevents`.
    #[serde(default)]
    source: String,
}

/// Shows what became of a message that the binding took in.
#[utoipa::path(get, path = "/v1/bindings/{id}/messages/{message_id}", tag = "bindings", operation_id = "getBindingMessage",
    params(("id" = String, Path, description = "The binding."),
        ("message_id" = String, Path, description = "What identifies the message, as `identity_from` says: a field of its body, the id of a CloudEvent, or a message id."),
        MessageQuery),
    responses((status = 200, description = "The decision.", body = BindingMessageObject)))]
pub(crate) async fn message(
    State(app): State<App>,
    PlatformReading(caller): PlatformReading,
    Extension(request): Extension<RequestId>,
    Path((id, message)): Path<(String, String)>,
    Query(query): Query<MessageQuery>,
) -> Result<Response, ErrorResponse> {
    let setting = defined::visible(&app, &caller, &id, &bindings(&app.shared))?;
    let absent = || ApiError::not_found("message", "message_id");
    let terms = BindingTerms::from_setting(&setting).map_err(|_| absent())?;
    let (Some(from), Some(acts_as)) = (terms.identity_from, terms.acts_as) else {
        return Err(absent().into());
    };
    let key = message_key(
        &terms.identity,
        from.kind(),
        &query.source,
        message.as_bytes(),
    );
    let object = app
        .read(caller.actor.owner, move |shared| {
            let reader = &shared.reader;
            let owner = reader.api_key(acts_as).ok_or_else(absent)?.owner;
            let record = reader.record_by_key(owner, &key).map_err(read_error)?;
            binding_message(reader, &record.ok_or_else(absent)?, &request.0)
        })
        .await?;
    Ok(json(200, &object))
}
