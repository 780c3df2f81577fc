//! `/v1/subscriptions/{id}/receive` and what follows: events, delivered at least once to whoever comes for them.

use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;
use tokio::time::Instant;
use tributary_api::caller::Caller;
use tributary_api::error::ApiError;
use tributary_api::failures::read_error;
use tributary_api::form::subscription::{
    AcknowledgeEvents, ExtendEvents, ReceiveEvents, RefuseEvents, ReplaySubscription,
    RewindSubscription, SelectDeadLetters, check_receipts, from,
};
use tributary_api::render::event::{EventObject, event};
use tributary_api::render::list::{Limit, List, PageParams, list};
use tributary_api::render::subscription::{
    DeadLetterObject, DeadLettersObject, DeliveriesObject, DeliveryObject, ReceiptsObject,
    SubscriptionObject, dead_letter,
};
use tributary_api::subscriptions::{
    must_be_pull, refusal_error, unsettled_error, visible_subscription,
};
use tributary_api::visibility::visible_event;
use tributary_engine::{IdKind, Slice};
use tributary_ledger::Actor;
use tributary_messaging::{
    Delivery, DeliveryIds, Messaging, Receipt, Refusal, Subscription, SubscriptionId, Unsettled,
};
use utoipa::IntoParams;

use crate::app::{App, Shared};
use crate::auth::{Reading, Writing};
use crate::extract::{Id, Json, OptionalJson, Query};
use crate::response::{ErrorResponse, json};
use crate::routes::subscriptions::shown;

/// The subscription with this id, if the caller may see it.
pub(super) fn visible(
    shared: &Shared,
    caller: &Caller,
    id: &str,
) -> Result<Subscription, ApiError> {
    let id = shared.reader.ids().decode_subscription(id);
    visible_subscription(shared.messaging()?, caller, id)
}

/// Changes the subscription that the caller names, on a thread that may wait for the disk, and shows it.
async fn change(
    app: &App,
    caller: Caller,
    id: String,
    change: impl FnOnce(&Shared, &Messaging, &Subscription) -> Result<(), ApiError> + Send + 'static,
) -> Result<Response, ErrorResponse> {
    let object = app
        .blocking(move |shared| {
            let before = visible(shared, &caller, &id)?;
            change(shared, shared.messaging()?, &before)?;
            shown(shared, &caller, &id)
        })
        .await?;
    Ok(json(200, &object))
}

/// Begins again elsewhere. Backwards, events come again and what was not done yet stays to be done; forwards, what is
/// not done is dropped. Deliveries under way are over.
#[utoipa::path(post, path = "/v1/subscriptions/{id}/rewind", tag = "subscriptions", operation_id = "rewindSubscription",
    params(("id" = String, Path, description = "The subscription.")), request_body = RewindSubscription,
    responses((status = 200, description = "The subscription.", body = SubscriptionObject)))]
pub(crate) async fn rewind(
    State(app): State<App>,
    Writing(caller): Writing,
    Id(id): Id,
    Json(RewindSubscription { to }): Json<RewindSubscription>,
) -> Result<Response, ErrorResponse> {
    let by = caller.actor;
    let make = move |shared: &Shared, messaging: &Messaging, before: &Subscription| {
        let to = from(&shared.reader, &caller, &to, "to")?;
        messaging.rewind(before.id, to, by).map_err(unsettled_error)
    };
    change(&app, caller, id, make).await
}

/// Delivers the matching events of a range again, beside all others.
#[utoipa::path(post, path = "/v1/subscriptions/{id}/replay", tag = "subscriptions", operation_id = "replaySubscription",
    params(("id" = String, Path, description = "The subscription.")), request_body = ReplaySubscription,
    responses((status = 200, description = "The subscription.", body = SubscriptionObject)))]
pub(crate) async fn replay(
    State(app): State<App>,
    Writing(caller): Writing,
    Id(id): Id,
    Json(ReplaySubscription { first, last }): Json<ReplaySubscription>,
) -> Result<Response, ErrorResponse> {
    let by = caller.actor;
    let make = move |shared: &Shared, messaging: &Messaging, before: &Subscription| {
        let position = |id: &str, param| {
            let position = visible_event(&shared.reader, &caller, id)?;
            position.ok_or_else(|| ApiError::not_found("event", param))
        };
        let (first, last) = (position(&first, "first")?, position(&last, "last")?);
        messaging
            .replay(before.id, first, last, by)
            .map_err(unsettled_error)
    };
    change(&app, caller, id, make).await
}

/// Takes events: each is this receiver's until its time is over, and comes again unless it is acknowledged by then.
/// Any number of receivers may share a subscription.
#[utoipa::path(post, path = "/v1/subscriptions/{id}/receive", tag = "subscriptions", operation_id = "receiveEvents",
    params(("id" = String, Path, description = "The subscription.")), request_body(content = ReceiveEvents),
    responses((status = 200, description = "Events with their receipts.", body = DeliveriesObject)))]
pub(crate) async fn receive(
    State(app): State<App>,
    Writing(caller): Writing,
    Id(id): Id,
    OptionalJson(body): OptionalJson<ReceiveEvents>,
) -> Result<Response, ErrorResponse> {
    let wanted = body.check()?;
    let until = Instant::now() + Duration::from_nanos(wanted.wait);
    let mut stopped = app.shared.stopped.clone();
    let found = visible(&app.shared, &caller, &id)?;
    must_be_pull(&found, "id")?;
    let messaging = app.shared.messaging()?.clone();
    let mut place = None;
    loop {
        let bell = messaging.arrivals(found.id);
        let mut rings = std::pin::pin!(bell.notified());
        rings.as_mut().enable();
        let taken = messaging.take(found.id, wanted.max, wanted.visibility);
        let taken = taken.map_err(refusal_error)?;
        if !taken.is_empty() {
            let data = app
                .blocking(move |shared| Ok(deliveries(shared, found.id, taken)))
                .await?;
            return Ok(answer(data));
        }
        // Only who waits takes a place.
        if place.is_none() && Instant::now() < until {
            place = Some(app.shared.streams.receiver(caller.actor.owner)?);
        }
        // No thread waits meanwhile.
        tokio::select! {
            () = &mut rings => {}
            () = tokio::time::sleep_until(until) => return Ok(answer(Vec::new())),
            _ = stopped.wait_for(|stopped| *stopped) => return Ok(answer(Vec::new())),
        }
    }
}

fn answer(data: Vec<DeliveryObject>) -> Response {
    let object = DeliveriesObject {
        object: "deliveries",
        data,
    };
    json(200, &object)
}

fn event_at(shared: &Shared, position: u64) -> Result<EventObject, ApiError> {
    let record = shared.reader.record(position).map_err(read_error)?;
    let record = record.ok_or_else(|| ApiError::not_found("event", "id"))?;
    event(&shared.reader, &record)
}

/// The events of deliveries. One that can't be read counts as failed, so that it holds up no others.
fn deliveries(shared: &Shared, id: SubscriptionId, taken: Vec<Delivery>) -> Vec<DeliveryObject> {
    let mut data = Vec::with_capacity(taken.len());
    for delivery in taken {
        match event_at(shared, delivery.position) {
            Ok(event) => data.push(DeliveryObject {
                receipt: shared.reader.ids().encode_receipt(delivery.receipt),
                attempt: delivery.attempt,
                event,
            }),
            Err(error) => {
                if let Some(messaging) = shared.messaging.as_ref() {
                    let _gone = messaging.nack(id, delivery.receipt, None, error.message());
                }
            }
        }
    }
    data
}

/// Does something for each receipt; tells for which it was too late.
fn each(
    shared: &Shared,
    receipts: Vec<String>,
    mut change: impl FnMut(&[Receipt]) -> Result<Vec<bool>, ApiError>,
) -> Result<Response, ErrorResponse> {
    check_receipts(&receipts)?;
    let ids = shared.reader.ids();
    let read: Vec<Option<Receipt>> = receipts
        .iter()
        .map(|text| ids.decode_receipt(text))
        .collect();
    let known: Vec<Receipt> = read.iter().copied().flatten().collect();
    let mut results = change(&known)?.into_iter();
    let mut done = 0;
    let mut expired = Vec::new();
    for (text, read) in receipts.into_iter().zip(read) {
        // What is no receipt was not asked about.
        if read.is_some() && results.next() == Some(true) {
            done += 1;
        } else {
            expired.push(text);
        }
    }
    let object = ReceiptsObject {
        object: "receipts",
        done,
        expired,
    };
    Ok(json(200, &object))
}

/// Acknowledges deliveries: these events are done.
#[utoipa::path(post, path = "/v1/subscriptions/{id}/ack", tag = "subscriptions", operation_id = "acknowledgeEvents",
    params(("id" = String, Path, description = "The subscription.")), request_body = AcknowledgeEvents,
    responses((status = 200, description = "What became of each.", body = ReceiptsObject)))]
pub(crate) async fn ack(
    State(app): State<App>,
    Writing(caller): Writing,
    Id(id): Id,
    Json(AcknowledgeEvents { receipts }): Json<AcknowledgeEvents>,
) -> Result<Response, ErrorResponse> {
    let found = visible(&app.shared, &caller, &id)?;
    let messaging = app.shared.messaging()?;
    each(&app.shared, receipts, |receipts| {
        let results = messaging.ack(found.id, receipts).map_err(refusal_error)?;
        Ok(results.iter().map(Result::is_ok).collect())
    })
}

/// Gives deliveries back: they failed and are tried again later, or become dead letters.
#[utoipa::path(post, path = "/v1/subscriptions/{id}/nack", tag = "subscriptions", operation_id = "refuseEvents",
    params(("id" = String, Path, description = "The subscription.")), request_body = RefuseEvents,
    responses((status = 200, description = "What became of each.", body = ReceiptsObject)))]
pub(crate) async fn nack(
    State(app): State<App>,
    Writing(caller): Writing,
    Id(id): Id,
    Json(body): Json<RefuseEvents>,
) -> Result<Response, ErrorResponse> {
    let found = visible(&app.shared, &caller, &id)?;
    let messaging = app.shared.messaging()?;
    let (delay, error) = (body.delay()?, body.error);
    let response = each(&app.shared, body.receipts, |receipts| {
        one_by_one(receipts, |receipt| {
            messaging.nack(found.id, receipt, delay, &error)
        })
    })?;
    // A receiver that is told so does not keep the event any more.
    let make_durable = |shared: &Shared| {
        let durable = shared.messaging()?.make_durable();
        durable.map_err(unsettled_error)
    };
    app.blocking(make_durable).await?;
    Ok(response)
}

/// Keeps deliveries for longer.
#[utoipa::path(post, path = "/v1/subscriptions/{id}/extend", tag = "subscriptions", operation_id = "extendEvents",
    params(("id" = String, Path, description = "The subscription.")), request_body = ExtendEvents,
    responses((status = 200, description = "What became of each.", body = ReceiptsObject)))]
pub(crate) async fn extend(
    State(app): State<App>,
    Writing(caller): Writing,
    Id(id): Id,
    Json(body): Json<ExtendEvents>,
) -> Result<Response, ErrorResponse> {
    let found = visible(&app.shared, &caller, &id)?;
    let messaging = app.shared.messaging()?;
    let visibility = body.visibility()?;
    each(&app.shared, body.receipts, |receipts| {
        one_by_one(receipts, |receipt| {
            messaging.extend(found.id, receipt, visibility)
        })
    })
}

fn one_by_one(
    receipts: &[Receipt],
    change: impl Fn(Receipt) -> Result<(), Refusal>,
) -> Result<Vec<bool>, ApiError> {
    let result = |receipt: &Receipt| match change(*receipt) {
        Ok(()) => Ok(true),
        Err(Refusal::Expired(_)) => Ok(false),
        Err(refusal) => Err(refusal_error(refusal)),
    };
    receipts.iter().map(result).collect()
}

/// Page of a list of dead letters.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct DeadLettersQuery {
    /// Items at most; 10 if left out.
    #[param(value_type = Option<u8>, minimum = 1, maximum = 100)]
    limit: Option<Limit>,
    /// Those of newer events than the one with this id or cursor.
    starting_after: Option<String>,
}

/// Lists dead letters, the oldest event first.
#[utoipa::path(get, path = "/v1/subscriptions/{id}/dead_letters", tag = "subscriptions", operation_id = "listDeadLetters",
    params(("id" = String, Path, description = "The subscription."), DeadLettersQuery),
    responses((status = 200, description = "A page of dead letters.", body = List<DeadLetterObject>)))]
pub(crate) async fn dead_letters(
    State(app): State<App>,
    Reading(caller): Reading,
    Id(id): Id,
    Query(query): Query<DeadLettersQuery>,
) -> Result<Response, ErrorResponse> {
    let found = visible(&app.shared, &caller, &id)?.id;
    let url = format!("/v1/subscriptions/{id}/dead_letters");
    list_dead_letters(&app, caller, found, query, url).await
}

/// Lists the dead letters of a subscription that the caller may see.
pub(super) async fn list_dead_letters(
    app: &App,
    caller: Caller,
    id: SubscriptionId,
    query: DeadLettersQuery,
    url: String,
) -> Result<Response, ErrorResponse> {
    let page = app
        .read(caller.actor.owner, move |shared| {
            let params = PageParams {
                limit: query.limit,
                starting_after: query.starting_after,
                ..PageParams::default()
            };
            let page = params.page(&shared.reader, &caller, IdKind::Event)?;
            let after = match page.start {
                tributary_engine::Start::Before(position) => position,
                _ => 0,
            };
            let dead = shared.messaging()?.dead(id, after, page.limit);
            let (items, has_more) = dead.map_err(refusal_error)?;
            let slice = Slice {
                next: items.last().map(|(position, _)| *position),
                items,
                has_more,
            };
            list(&shared.reader, &caller, url, slice, |(position, letter)| {
                Ok(dead_letter(&letter, event_at(shared, position).ok()))
            })
        })
        .await?;
    Ok(json(200, &page))
}

/// A change of dead letters, some or all; gives how many.
pub(super) type ChangeDeadLetters =
    fn(&Messaging, SubscriptionId, Option<&[u64]>, Actor) -> Result<usize, Unsettled>;

/// Changes dead letters of a subscription that the caller may see.
pub(super) async fn change_dead_letters(
    app: &App,
    caller: Caller,
    id: SubscriptionId,
    body: SelectDeadLetters,
    change: ChangeDeadLetters,
) -> Result<Response, ErrorResponse> {
    let object = app
        .blocking(move |shared| {
            let messaging = shared.messaging()?;
            let positions = body.positions(shared.reader.ids())?;
            let done = change(messaging, id, positions.as_deref(), caller.actor)
                .map_err(unsettled_error)?;
            let (figures, _) = messaging.figures(id).map_err(refusal_error)?;
            Ok(DeadLettersObject {
                object: "dead_letters",
                done,
                left: figures.dead,
            })
        })
        .await?;
    Ok(json(200, &object))
}

/// Has dead letters delivered again, with all their attempts before them: some, or all. At most 10,000 events wait for
/// another attempt at once; the rest stays.
#[utoipa::path(post, path = "/v1/subscriptions/{id}/dead_letters/requeue", tag = "subscriptions",
    operation_id = "requeueDeadLetters", params(("id" = String, Path, description = "The subscription.")),
    request_body(content = SelectDeadLetters),
    responses((status = 200, description = "How many.", body = DeadLettersObject)))]
pub(crate) async fn requeue(
    State(app): State<App>,
    Writing(caller): Writing,
    Id(id): Id,
    OptionalJson(body): OptionalJson<SelectDeadLetters>,
) -> Result<Response, ErrorResponse> {
    let found = visible(&app.shared, &caller, &id)?.id;
    change_dead_letters(&app, caller, found, body, Messaging::requeue).await
}

/// Forgets dead letters: some, or all.
#[utoipa::path(post, path = "/v1/subscriptions/{id}/dead_letters/drop", tag = "subscriptions",
    operation_id = "dropDeadLetters", params(("id" = String, Path, description = "The subscription.")),
    request_body(content = SelectDeadLetters),
    responses((status = 200, description = "How many.", body = DeadLettersObject)))]
pub(crate) async fn drop_dead(
    State(app): State<App>,
    Writing(caller): Writing,
    Id(id): Id,
    OptionalJson(body): OptionalJson<SelectDeadLetters>,
) -> Result<Response, ErrorResponse> {
    let found = visible(&app.shared, &caller, &id)?.id;
    change_dead_letters(&app, caller, found, body, Messaging::drop_dead).await
}
