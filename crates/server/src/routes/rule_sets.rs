//! `/v1/rule_sets`: rules by which payments are assessed before they are decided.

use axum::extract::State;
use axum::response::Response;
use tributary_api::form::rule_set::{RuleSetCreate, RuleSetUpdate};
use tributary_api::render::list::List;
use tributary_api::render::rule_set::RuleSetObject;
use tributary_api::render::setting::DeletedObject;
use tributary_api::settings::defined::{Change, DefinedType};
use tributary_api::settings::rule_set::RuleSetType;

use crate::app::{App, Shared};
use crate::auth::{PlatformReading, PlatformWriting};
use crate::extract::{Id, IdempotencyKey, Json, OptionalIdempotencyKey, Query};
use crate::response::{ErrorResponse, json};
use crate::routes::defined::{self, DeleteQuery};

fn rule_sets(shared: &Shared) -> RuleSetType {
    RuleSetType::new(shared.reader.clone(), shared.risk.clone())
}

/// Makes a rule set: rules by which payments are assessed before they are decided. A payment that they block is refused with
/// `payment_blocked`.
#[utoipa::path(post, path = "/v1/rule_sets", tag = "rules", operation_id = "createRuleSet",
    request_body = RuleSetCreate,
    responses((status = 201, description = "The rule set.", body = RuleSetObject)))]
pub(crate) async fn create(
    State(app): State<App>,
    PlatformWriting(caller): PlatformWriting,
    IdempotencyKey(key): IdempotencyKey,
    Json(body): Json<RuleSetCreate>,
) -> Result<Response, ErrorResponse> {
    defined::create(&app, caller, key, rule_sets(&app.shared), body).await
}

/// Lists all rule sets.
#[utoipa::path(get, path = "/v1/rule_sets", tag = "rules", operation_id = "listRuleSets",
    responses((status = 200, description = "All of them, on one page, the newest first.", body = List<RuleSetObject>)))]
pub(crate) async fn list_all(
    State(app): State<App>,
    PlatformReading(caller): PlatformReading,
) -> Result<Response, ErrorResponse> {
    defined::list_all(&app, caller, rule_sets(&app.shared), "/v1/rule_sets").await
}

/// Shows a rule set, and what it did since the server started or the rule set was changed.
#[utoipa::path(get, path = "/v1/rule_sets/{id}", tag = "rules", operation_id = "getRuleSet",
    params(("id" = String, Path, description = "The rule set.")),
    responses((status = 200, description = "The rule set.", body = RuleSetObject)))]
pub(crate) async fn get(
    State(app): State<App>,
    PlatformReading(caller): PlatformReading,
    Id(id): Id,
) -> Result<Response, ErrorResponse> {
    let kind = rule_sets(&app.shared);
    let setting = defined::visible(&app, &caller, &id, &kind)?;
    let object = app
        .read(caller.actor.owner, move |shared| {
            let figures = shared.risk.figures(setting.id);
            Ok(kind.object(&setting)?.with_figures(figures))
        })
        .await?;
    Ok(json(200, &object))
}

/// Changes a rule set. The next payment is assessed by its new revision.
#[utoipa::path(patch, path = "/v1/rule_sets/{id}", tag = "rules", operation_id = "updateRuleSet",
    params(("id" = String, Path, description = "The rule set.")), request_body = RuleSetUpdate,
    responses((status = 200, description = "The rule set.", body = RuleSetObject)))]
pub(crate) async fn update(
    State(app): State<App>,
    PlatformWriting(caller): PlatformWriting,
    Id(id): Id,
    OptionalIdempotencyKey(key): OptionalIdempotencyKey,
    Json(body): Json<RuleSetUpdate>,
) -> Result<Response, ErrorResponse> {
    let change = Change::update(&body)?;
    defined::change(&app, caller, key, &id, rule_sets(&app.shared), change).await
}

/// Deletes a rule set. What it found stays with the payments.
#[utoipa::path(delete, path = "/v1/rule_sets/{id}", tag = "rules", operation_id = "deleteRuleSet",
    params(("id" = String, Path, description = "The rule set."), DeleteQuery),
    responses((status = 200, description = "The rule set is deleted.", body = DeletedObject)))]
pub(crate) async fn delete(
    State(app): State<App>,
    PlatformWriting(caller): PlatformWriting,
    Id(id): Id,
    OptionalIdempotencyKey(key): OptionalIdempotencyKey,
    Query(query): Query<DeleteQuery>,
) -> Result<Response, ErrorResponse> {
    defined::delete(&app, caller, key, id, rule_sets(&app.shared), &query).await
}
