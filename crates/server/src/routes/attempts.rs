//! `/v1/subscriptions/{id}/attempts`, and how those of bindings are listed: what became of every attempt at delivering an event.

use std::collections::BTreeSet;

use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;
use tributary_api::caller::Caller;
use tributary_api::error::ApiError;
use tributary_api::render::attempt::{AttemptObject, AttemptStatusForm, attempt};
use tributary_api::render::list::{Limit, List, PageParams, list};
use tributary_api::visibility::visible_event;
use tributary_engine::{IdKind, Slice, Start};
use tributary_messaging::{AttemptQuery, SubscriptionId};
use utoipa::IntoParams;

use crate::app::App;
use crate::auth::Reading;
use crate::extract::{Id, Query};
use crate::response::{ErrorResponse, json};
use crate::routes::deliveries::visible;

/// Filter of a list of attempts.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct AttemptsQuery {
    /// Those at this event.
    event: Option<String>,
    /// Those that delivered their event, or those that failed.
    #[param(inline)]
    status: Option<AttemptStatusForm>,
    /// Items at most; 10 if left out.
    #[param(value_type = Option<u8>, minimum = 1, maximum = 100)]
    limit: Option<Limit>,
    /// Those that ended before the one at this cursor.
    starting_after: Option<String>,
}

/// Lists the attempts of a subscription that are over, the one that ended last first, as far as the history reaches back.
#[utoipa::path(get, path = "/v1/subscriptions/{id}/attempts", tag = "subscriptions", operation_id = "listAttempts",
    params(("id" = String, Path, description = "The subscription."), AttemptsQuery),
    responses((status = 200, description = "A page of attempts.", body = List<AttemptObject>)))]
pub(crate) async fn list_all(
    State(app): State<App>,
    Reading(caller): Reading,
    Id(id): Id,
    Query(query): Query<AttemptsQuery>,
) -> Result<Response, ErrorResponse> {
    let found = visible(&app.shared, &caller, &id)?.id;
    let url = format!("/v1/subscriptions/{id}/attempts");
    list_attempts(&app, caller, found, query, url).await
}

/// Lists the attempts of a subscription that the caller may see.
pub(super) async fn list_attempts(
    app: &App,
    caller: Caller,
    id: SubscriptionId,
    query: AttemptsQuery,
    url: String,
) -> Result<Response, ErrorResponse> {
    let page = app
        .read(caller.actor.owner, move |shared| {
            let params = PageParams {
                limit: query.limit,
                starting_after: query.starting_after,
                ..PageParams::default()
            };
            let page = params.page(&shared.reader, &caller, IdKind::Cursor)?;
            if query.status == Some(AttemptStatusForm::Operation) {
                let message = "status must be delivered or failed.";
                return Err(ApiError::invalid("status", message));
            }
            let event = match &query.event {
                None => None,
                Some(event) => {
                    let position = visible_event(&shared.reader, &caller, event)?;
                    let position = position.ok_or_else(|| ApiError::not_found("event", "event"));
                    Some(BTreeSet::from([position?]))
                }
            };
            let found = shared.messaging()?.attempts(&AttemptQuery {
                is_visible: &|_| true,
                subscription: Some(id),
                events: event.as_ref(),
                acknowledged: query
                    .status
                    .map(|status| status == AttemptStatusForm::Delivered),
                before: match page.start {
                    Start::Before(cursor) => Some(cursor),
                    Start::Newest | Start::After(_) => None,
                },
                limit: page.limit,
            });
            let slice = Slice {
                items: found.attempts,
                has_more: found.next.is_some(),
                next: found.next,
            };
            list(&shared.reader, &caller, url, slice, |one| {
                Ok(attempt(&shared.reader, &one))
            })
        })
        .await?;
    Ok(json(200, &page))
}
