//! `/v1/subscriptions`: events, delivered at least once to whoever comes for them.

use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;
use tokio::time::Instant;
use tributary_api::caller::Caller;
use tributary_api::error::ApiError;
use tributary_api::failures::read_error;
use tributary_api::form::subscription::{
    AckOf, DeadOf, ExtendOf, NackOf, PauseOf, ReceiveOf, ReplayOf, RewindOf, RotateOf,
    SubscriptionCreate, SubscriptionUpdate, check_receipts, from,
};
use tributary_api::render::event::{EventObject, event};
use tributary_api::render::list::{Limit, List, PageParams, list};
use tributary_api::render::subscription::{
    DeadLetterObject, DeadLettersObject, DeletedObject, DeliveriesObject, DeliveryObject,
    ReceiptsObject, SubscriptionObject, dead_letter, subscription,
};
use tributary_api::subscriptions::{
    change_target, filter_owner, must_be_pull, newest_secret, refusal_error, unsettled_error,
    visible_subscription,
};
use tributary_api::transport::no_transport;
use tributary_engine::{Clock as _, IdKind, Slice, SystemClock};
use tributary_messaging::{
    Delivery, DeliveryIds, Kind, Messaging, Policy, Receipt, Refusal, Subscription, SubscriptionId,
    Terms, Unsettled,
};
use utoipa::IntoParams;

use crate::app::{App, Shared};
use crate::auth::{Reading, Writing};
use crate::extract::{Id, IdempotencyKey, Json, OptionalJson, Query};
use crate::model::subscription_model;
use crate::response::{ErrorResponse, json, mark_replayed};

/// The subscription with this id, if the caller may see it.
fn visible(shared: &Shared, caller: &Caller, id: &str) -> Result<Subscription, ApiError> {
    let id = shared.reader.ids().decode_subscription(id);
    visible_subscription(shared.messaging()?, caller, id)
}

fn rendered(shared: &Shared, of: &Subscription) -> Result<SubscriptionObject, ApiError> {
    let figures = shared.messaging()?.figures(of.id).map_err(refusal_error)?;
    let transport = shared.transport();
    let model = subscription_model(transport, of, &figures.0.rates);
    Ok(subscription(&shared.reader, transport, of, &figures, model))
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
            rendered(shared, &visible(shared, &caller, &id)?)
        })
        .await?;
    Ok(json(200, &object))
}

/// Makes a subscription. The idempotency key names it as long as it exists.
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
        .blocking(move |shared| {
            let messaging = shared.messaging()?;
            let digest = blake3::hash(&serde_json::to_vec(&body).expect("a body is JSON"));
            let owner = |name: &str| filter_owner(&shared.reader, &caller, name);
            let mut id = [0; 8];
            getrandom::fill(&mut id).expect("the operating system gives random bytes");
            // 0 names none.
            let id = SubscriptionId(u64::from_le_bytes(id).max(1));
            let (kind, policy) = match &body.url {
                None => (Kind::Pull, Policy::default()),
                Some(url) => {
                    let transport = shared.transport().ok_or_else(no_transport)?;
                    let target = transport.create_target(id, url, body.secret.as_deref())?;
                    (Kind::Push { target }, transport.default_policy())
                }
            };
            let (terms, start) = body.terms(shared.reader.ids(), kind, policy, owner)?;
            let made = Subscription {
                id,
                scope: caller.actor.owner,
                created_at: messaging.now(),
                key: key.as_bytes().to_vec(),
                digest: *digest.as_bytes().first_chunk().expect("it is longer"),
                terms,
            };
            let (made, replayed) = messaging.create(made, start).map_err(unsettled_error)?;
            if let (Kind::Push { .. }, Some(transport)) = (&made.terms.kind, shared.transport()) {
                transport.begin();
            }
            Ok((with_secret(shared, &made)?, replayed))
        })
        .await?;
    Ok(mark_replayed(json(201, &object), replayed))
}

/// The subscription with the secret that was just made for it.
fn with_secret(shared: &Shared, of: &Subscription) -> Result<SubscriptionObject, ApiError> {
    let mut object = rendered(shared, of)?;
    object.secret = newest_secret(shared.transport(), of)?;
    Ok(object)
}

/// Lets another secret sign the webhooks, and the one before too for a while. The new one is shown now and never again.
#[utoipa::path(post, path = "/v1/subscriptions/{id}/rotate_secret", tag = "subscriptions", operation_id = "rotateSecret",
    params(("id" = String, Path, description = "The subscription.")), request_body(content = RotateOf),
    responses((status = 200, description = "The subscription with its new secret.", body = SubscriptionObject)))]
pub(crate) async fn rotate_secret(
    State(app): State<App>,
    Writing(caller): Writing,
    Id(id): Id,
    OptionalJson(body): OptionalJson<RotateOf>,
) -> Result<Response, ErrorResponse> {
    let overlap = body.overlap()?;
    let object = app
        .blocking(move |shared| {
            let messaging = shared.messaging()?;
            let found = visible(shared, &caller, &id)?;
            let rotate = |found: &Subscription| -> Result<Terms, ApiError> {
                // By the clock that webhooks are signed by.
                let (id, secret, now) = (found.id, body.secret.as_deref(), SystemClock.now());
                let kind = change_target(shared.transport(), found, |transport, target| {
                    transport.rotate_secret(id, target, secret, overlap, now)
                })?;
                Ok(Terms {
                    kind,
                    ..found.terms.clone()
                })
            };
            let changed = messaging
                .update(found.id, rotate)
                .map_err(unsettled_error)?;
            with_secret(shared, &changed?)
        })
        .await?;
    Ok(json(200, &object))
}

/// Lists all subscriptions that the key may see.
#[utoipa::path(get, path = "/v1/subscriptions", tag = "subscriptions", operation_id = "listSubscriptions",
    responses((status = 200, description = "All of them, on one page.", body = List<SubscriptionObject>)))]
pub(crate) async fn list_all(
    State(app): State<App>,
    Reading(caller): Reading,
) -> Result<Response, ErrorResponse> {
    let page = app
        .blocking(move |shared| {
            let mut items = shared.messaging()?.subscriptions();
            items.retain(|one| caller.is_platform() || one.scope == caller.actor.owner);
            items.sort_by_key(|one| std::cmp::Reverse((one.created_at, one.id)));
            let slice = Slice {
                items,
                has_more: false,
                next: None,
            };
            list(
                &shared.reader,
                "/v1/subscriptions".to_owned(),
                slice,
                |one| rendered(shared, &one),
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
    let found = visible(&app.shared, &caller, &id)?;
    Ok(json(200, &rendered(&app.shared, &found)?))
}

/// Changes a subscription. A changed filter counts for events from now on.
#[utoipa::path(patch, path = "/v1/subscriptions/{id}", tag = "subscriptions", operation_id = "updateSubscription",
    params(("id" = String, Path, description = "The subscription.")), request_body = SubscriptionUpdate,
    responses((status = 200, description = "The subscription.", body = SubscriptionObject)))]
pub(crate) async fn update(
    State(app): State<App>,
    Writing(caller): Writing,
    Id(id): Id,
    Json(body): Json<SubscriptionUpdate>,
) -> Result<Response, ErrorResponse> {
    let make = move |shared: &Shared, messaging: &Messaging, before: &Subscription| {
        let change = |before: &Subscription| -> Result<Terms, ApiError> {
            let mut terms = before.terms.clone();
            if let Some(url) = &body.url {
                terms.kind = change_target(shared.transport(), before, |transport, target| {
                    transport.change_url(before.id, target, url)
                })?;
            }
            body.clone().change(&mut terms, |name| {
                filter_owner(&shared.reader, &caller, name)
            })?;
            Ok(terms)
        };
        let changed = messaging
            .update(before.id, change)
            .map_err(unsettled_error)?;
        changed.map(|_| ())
    };
    change(&app, caller, id, make).await
}

/// Deletes a subscription and its dead letters.
#[utoipa::path(delete, path = "/v1/subscriptions/{id}", tag = "subscriptions", operation_id = "deleteSubscription",
    params(("id" = String, Path, description = "The subscription.")),
    responses((status = 200, description = "It is gone.", body = DeletedObject)))]
pub(crate) async fn delete(
    State(app): State<App>,
    Writing(caller): Writing,
    Id(id): Id,
) -> Result<Response, ErrorResponse> {
    let object = app
        .blocking(move |shared| {
            let found = visible(shared, &caller, &id)?;
            shared
                .messaging()?
                .delete(found.id)
                .map_err(unsettled_error)?;
            Ok(DeletedObject {
                id,
                object: "subscription",
                deleted: true,
            })
        })
        .await?;
    Ok(json(200, &object))
}

/// Hands out nothing until it is resumed. What is out may still be answered.
#[utoipa::path(post, path = "/v1/subscriptions/{id}/pause", tag = "subscriptions", operation_id = "pauseSubscription",
    params(("id" = String, Path, description = "The subscription.")), request_body(content = PauseOf),
    responses((status = 200, description = "The subscription.", body = SubscriptionObject)))]
pub(crate) async fn pause(
    State(app): State<App>,
    Writing(caller): Writing,
    Id(id): Id,
    OptionalJson(PauseOf { reason }): OptionalJson<PauseOf>,
) -> Result<Response, ErrorResponse> {
    let make = move |_: &Shared, messaging: &Messaging, before: &Subscription| {
        messaging
            .pause(before.id, &reason)
            .map_err(unsettled_error)?;
        Ok(())
    };
    change(&app, caller, id, make).await
}

/// Hands out events again.
#[utoipa::path(post, path = "/v1/subscriptions/{id}/resume", tag = "subscriptions", operation_id = "resumeSubscription",
    params(("id" = String, Path, description = "The subscription.")),
    responses((status = 200, description = "The subscription.", body = SubscriptionObject)))]
pub(crate) async fn resume(
    State(app): State<App>,
    Writing(caller): Writing,
    Id(id): Id,
) -> Result<Response, ErrorResponse> {
    let make = |_: &Shared, messaging: &Messaging, before: &Subscription| {
        messaging.resume(before.id).map_err(unsettled_error)?;
        Ok(())
    };
    change(&app, caller, id, make).await
}

/// Begins again elsewhere. Backwards, events come again and what was not done yet stays to be done; forwards, what is
/// not done is dropped. Deliveries under way are over.
#[utoipa::path(post, path = "/v1/subscriptions/{id}/rewind", tag = "subscriptions", operation_id = "rewindSubscription",
    params(("id" = String, Path, description = "The subscription.")), request_body = RewindOf,
    responses((status = 200, description = "The subscription.", body = SubscriptionObject)))]
pub(crate) async fn rewind(
    State(app): State<App>,
    Writing(caller): Writing,
    Id(id): Id,
    Json(RewindOf { to }): Json<RewindOf>,
) -> Result<Response, ErrorResponse> {
    let make = move |shared: &Shared, messaging: &Messaging, before: &Subscription| {
        let to = from(shared.reader.ids(), &to, "to")?;
        messaging.rewind(before.id, to).map_err(unsettled_error)
    };
    change(&app, caller, id, make).await
}

/// Delivers the matching events of a range again, beside all others.
#[utoipa::path(post, path = "/v1/subscriptions/{id}/replay", tag = "subscriptions", operation_id = "replaySubscription",
    params(("id" = String, Path, description = "The subscription.")), request_body = ReplayOf,
    responses((status = 200, description = "The subscription.", body = SubscriptionObject)))]
pub(crate) async fn replay(
    State(app): State<App>,
    Writing(caller): Writing,
    Id(id): Id,
    Json(ReplayOf { first, last }): Json<ReplayOf>,
) -> Result<Response, ErrorResponse> {
    let make = move |shared: &Shared, messaging: &Messaging, before: &Subscription| {
        let position = |id: &str, param| {
            let position = shared.reader.ids().decode(IdKind::Event, id);
            position.ok_or_else(|| ApiError::not_found("event", param))
        };
        let (first, last) = (position(&first, "first")?, position(&last, "last")?);
        messaging
            .replay(before.id, first, last)
            .map_err(unsettled_error)
    };
    change(&app, caller, id, make).await
}

/// Takes events: each is this receiver's until its time is over, and comes again unless it is acknowledged by then.
/// Any number of receivers may share a subscription.
#[utoipa::path(post, path = "/v1/subscriptions/{id}/receive", tag = "subscriptions", operation_id = "receiveEvents",
    params(("id" = String, Path, description = "The subscription.")), request_body(content = ReceiveOf),
    responses((status = 200, description = "Events with their receipts.", body = DeliveriesObject)))]
pub(crate) async fn receive(
    State(app): State<App>,
    Writing(caller): Writing,
    Id(id): Id,
    OptionalJson(body): OptionalJson<ReceiveOf>,
) -> Result<Response, ErrorResponse> {
    let wanted = body.check()?;
    let until = Instant::now() + Duration::from_nanos(wanted.wait);
    let mut stopped = app.shared.stopped.clone();
    let found = visible(&app.shared, &caller, &id)?;
    must_be_pull(&found, "id")?;
    let messaging = app.shared.messaging()?.clone();
    loop {
        let bell = messaging.bell(found.id);
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
    params(("id" = String, Path, description = "The subscription.")), request_body = AckOf,
    responses((status = 200, description = "What became of each.", body = ReceiptsObject)))]
pub(crate) async fn ack(
    State(app): State<App>,
    Writing(caller): Writing,
    Id(id): Id,
    Json(AckOf { receipts }): Json<AckOf>,
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
    params(("id" = String, Path, description = "The subscription.")), request_body = NackOf,
    responses((status = 200, description = "What became of each.", body = ReceiptsObject)))]
pub(crate) async fn nack(
    State(app): State<App>,
    Writing(caller): Writing,
    Id(id): Id,
    Json(body): Json<NackOf>,
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
    params(("id" = String, Path, description = "The subscription.")), request_body = ExtendOf,
    responses((status = 200, description = "What became of each.", body = ReceiptsObject)))]
pub(crate) async fn extend(
    State(app): State<App>,
    Writing(caller): Writing,
    Id(id): Id,
    Json(body): Json<ExtendOf>,
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

/// Which dead letters to list.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct DeadQuery {
    /// Items at most; 10 if left out.
    #[param(value_type = Option<u8>, minimum = 1, maximum = 100)]
    limit: Option<Limit>,
    /// Those of newer events than the one with this id or cursor.
    starting_after: Option<String>,
}

/// Lists dead letters, the oldest event first.
#[utoipa::path(get, path = "/v1/subscriptions/{id}/dead_letters", tag = "subscriptions", operation_id = "listDeadLetters",
    params(("id" = String, Path, description = "The subscription."), DeadQuery),
    responses((status = 200, description = "A page of dead letters.", body = List<DeadLetterObject>)))]
pub(crate) async fn dead_letters(
    State(app): State<App>,
    Reading(caller): Reading,
    Id(id): Id,
    Query(query): Query<DeadQuery>,
) -> Result<Response, ErrorResponse> {
    let page = app
        .blocking(move |shared| {
            let found = visible(shared, &caller, &id)?;
            let params = PageParams {
                limit: query.limit,
                starting_after: query.starting_after,
                ..PageParams::default()
            };
            let page = params.page(shared.reader.ids(), IdKind::Event)?;
            let after = match page.start {
                tributary_engine::Start::Before(position) => position,
                _ => 0,
            };
            let dead = shared.messaging()?.dead(found.id, after, page.limit);
            let (items, has_more) = dead.map_err(refusal_error)?;
            let slice = Slice {
                next: items.last().map(|(position, _)| *position),
                items,
                has_more,
            };
            let url = format!("/v1/subscriptions/{id}/dead_letters");
            list(&shared.reader, url, slice, |(position, letter)| {
                Ok(dead_letter(&letter, event_at(shared, position).ok()))
            })
        })
        .await?;
    Ok(json(200, &page))
}

/// A change of dead letters, some or all; gives how many.
type ChangeDead = fn(&Messaging, SubscriptionId, Option<&[u64]>) -> Result<usize, Unsettled>;

async fn change_dead(
    app: &App,
    caller: Caller,
    id: String,
    body: DeadOf,
    change: ChangeDead,
) -> Result<Response, ErrorResponse> {
    let object = app
        .blocking(move |shared| {
            let found = visible(shared, &caller, &id)?;
            let messaging = shared.messaging()?;
            let positions = body.positions(shared.reader.ids())?;
            let done =
                change(messaging, found.id, positions.as_deref()).map_err(unsettled_error)?;
            let (figures, _) = messaging.figures(found.id).map_err(refusal_error)?;
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
    request_body(content = DeadOf),
    responses((status = 200, description = "How many.", body = DeadLettersObject)))]
pub(crate) async fn requeue(
    State(app): State<App>,
    Writing(caller): Writing,
    Id(id): Id,
    OptionalJson(body): OptionalJson<DeadOf>,
) -> Result<Response, ErrorResponse> {
    change_dead(&app, caller, id, body, Messaging::requeue).await
}

/// Forgets dead letters: some, or all.
#[utoipa::path(post, path = "/v1/subscriptions/{id}/dead_letters/drop", tag = "subscriptions",
    operation_id = "dropDeadLetters", params(("id" = String, Path, description = "The subscription.")),
    request_body(content = DeadOf),
    responses((status = 200, description = "How many.", body = DeadLettersObject)))]
pub(crate) async fn drop_dead(
    State(app): State<App>,
    Writing(caller): Writing,
    Id(id): Id,
    OptionalJson(body): OptionalJson<DeadOf>,
) -> Result<Response, ErrorResponse> {
    change_dead(&app, caller, id, body, Messaging::drop_dead).await
}
