//! `/v1/subscriptions`: events, delivered at least once to whoever comes for them.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;
use tokio::time::Instant;
use tributary_engine::{Clock as _, IdKind, Slice, SystemClock};
use tributary_ledger::{OwnerId, OwnerName};
use tributary_messaging::{
    Delivery, DeliveryIds, Kind, Messaging, Receipt, Refusal, Subscription, SubscriptionId, Terms,
    Unsettled,
};
use utoipa::IntoParams;

use crate::app::{App, Shared};
use crate::auth::{Caller, Reading, Writing};
use crate::code::ErrorCode;
use crate::error::ApiError;
use crate::form::idempotency::IdempotencyKey;
use crate::form::json::{Json, OptionalJson};
use crate::form::query::Query;
use crate::form::subscription::{
    AckOf, DeadOf, ExtendOf, NackOf, PauseOf, ReceiveOf, ReplayOf, RewindOf, RotateOf,
    SubscriptionCreate, SubscriptionUpdate, bad_setting, check_receipts, from,
};
use crate::render::event::{EventObject, event};
use crate::render::list::{Limit, List, PageParams, list};
use crate::render::subscription::{
    DeadLetterObject, DeadLettersObject, DeletedObject, DeliveriesObject, DeliveryObject,
    ReceiptsObject, SubscriptionObject, dead_letter, subscription,
};
use crate::routes::{Id, json, mark_replayed};
use crate::submit::failed;
use crate::webhooks::{self, target};

/// What keeps subscriptions here.
pub(crate) fn messaging(shared: &Shared) -> Result<&Arc<Messaging>, ApiError> {
    shared.messaging.as_ref().ok_or_else(|| {
        ApiError::new(
            ErrorCode::MessagingUnavailable,
            "This server keeps no subscriptions.",
        )
    })
}

fn not_found() -> ApiError {
    ApiError::not_found("subscription", "id")
}

pub(crate) fn refused(refusal: Refusal) -> ApiError {
    match refusal {
        Refusal::NotFound => not_found(),
        Refusal::TooMany | Refusal::TooManyReplays | Refusal::IdInUse => ApiError::new(
            ErrorCode::SubscriptionLimit,
            format!("There may be no more: {refusal}."),
        ),
        Refusal::KeyReused => ApiError::new(
            ErrorCode::IdempotencyKeyReused,
            "This idempotency key was used for another request.",
        )
        .param("Idempotency-Key"),
        Refusal::Bad(bad) => bad_setting(bad),
        Refusal::Changed => ApiError::new(
            ErrorCode::Overloaded,
            "The subscription was changed at the same time: send the request again.",
        ),
        Refusal::Expired(_) => {
            ApiError::invalid("receipts", "The receipt is of an attempt that is over.")
        }
    }
}

fn unsettled(unsettled: Unsettled) -> ApiError {
    match unsettled {
        Unsettled::Refused(refusal) => refused(refusal),
        Unsettled::Unread(failure) => failed(failure),
        Unsettled::NotKept(why) => {
            tracing::error!(why, "a subscription could not be kept");
            ApiError::new(
                ErrorCode::MessagingUnavailable,
                "Subscriptions can't be kept now. Send the request again to learn what became of it.",
            )
            .retry_after(Duration::from_secs(1))
        }
    }
}

/// The subscription that the caller names by `id`, if it is there and the caller's to see.
pub(super) fn visible(
    shared: &Shared,
    caller: &Caller,
    id: &str,
) -> Result<Subscription, ApiError> {
    must_see(shared, caller, shared.reader.ids().decode_subscription(id))
}

/// The same by what the id names.
pub(crate) fn must_see(
    shared: &Shared,
    caller: &Caller,
    id: Option<SubscriptionId>,
) -> Result<Subscription, ApiError> {
    let messaging = messaging(shared)?;
    let found = id.and_then(|id| messaging.get(id));
    found
        .filter(|found| caller.is_platform() || found.scope == caller.actor.owner)
        .ok_or_else(not_found)
}

/// The owner of a name that a filter names. An owner's key names its own only.
pub(super) fn filter_owner(
    shared: &Shared,
    caller: &Caller,
    name: &str,
) -> Result<OwnerId, ApiError> {
    let absent = || ApiError::not_found("owner", "owner");
    let owner = match OwnerName::new(name).ok().filter(|_| name != "platform") {
        None if name == "platform" => Some(OwnerId::PLATFORM),
        None => None,
        Some(name) => shared.reader.owner_by_name(&name),
    };
    owner
        .filter(|owner| caller.is_platform() || *owner == caller.actor.owner)
        .ok_or_else(absent)
}

fn rendered(shared: &Shared, of: &Subscription) -> Result<SubscriptionObject, ApiError> {
    let figures = messaging(shared)?.figures(of.id).map_err(refused)?;
    Ok(subscription(shared, of, &figures))
}

/// Changes the subscription that the caller names, on a thread that may wait for the disk, and shows it.
async fn change(
    app: &App,
    caller: Caller,
    id: String,
    change: impl FnOnce(&Shared, &Messaging, &Subscription) -> Result<(), ApiError> + Send + 'static,
) -> Result<Response, ApiError> {
    let object = app
        .blocking(move |shared| {
            let before = visible(shared, &caller, &id)?;
            change(shared, messaging(shared)?, &before)?;
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
) -> Result<Response, ApiError> {
    let all = app.shared.clone();
    let (object, replayed) = app
        .blocking(move |shared| {
            let messaging = messaging(shared)?;
            let digest = blake3::hash(&serde_json::to_vec(&body).expect("a body is JSON"));
            let owner = |name: &str| filter_owner(shared, &caller, name);
            let mut id = [0; 8];
            getrandom::fill(&mut id).expect("the operating system gives random bytes");
            // 0 names none.
            let id = SubscriptionId(u64::from_le_bytes(id).max(1));
            let kind = match &body.url {
                None => Kind::Pull,
                Some(url) => Kind::Push {
                    target: target::target(shared, id, url, body.secret.as_deref())?,
                },
            };
            let (mut terms, start) = body.terms(shared.reader.ids(), owner)?;
            terms.kind = kind;
            let made = Subscription {
                id,
                scope: caller.actor.owner,
                created_at: messaging.now(),
                key: key.as_bytes().to_vec(),
                digest: *digest.as_bytes().first_chunk().expect("it is longer"),
                terms,
            };
            let (made, replayed) = messaging.create(made, start).map_err(unsettled)?;
            if let Err(error) = webhooks::start_if_wanted(&all) {
                tracing::error!(%error, "webhooks can't be sent until the next start");
            }
            Ok((with_secret(shared, &made)?, replayed))
        })
        .await?;
    Ok(mark_replayed(json(201, &object), replayed))
}

/// The subscription with the secret that was just made for it.
fn with_secret(shared: &Shared, of: &Subscription) -> Result<SubscriptionObject, ApiError> {
    let mut object = rendered(shared, of)?;
    object.secret = target::secret(shared, of.id, &of.terms.kind)?;
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
) -> Result<Response, ApiError> {
    let overlap = body.overlap()?;
    let object = app
        .blocking(move |shared| {
            let messaging = messaging(shared)?;
            let found = visible(shared, &caller, &id)?;
            let rotate = |found: &Subscription| -> Result<Terms, ApiError> {
                let (kind, secret) = (&found.terms.kind, body.secret.as_deref());
                // By the clock that webhooks are signed by.
                let now = SystemClock.now();
                Ok(Terms {
                    kind: target::rotated(shared, found.id, kind, secret, overlap, now)?,
                    ..found.terms.clone()
                })
            };
            let changed = messaging.update(found.id, rotate).map_err(unsettled)?;
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
) -> Result<Response, ApiError> {
    let page = app
        .blocking(move |shared| {
            let mut items = messaging(shared)?.subscriptions();
            items.retain(|one| caller.is_platform() || one.scope == caller.actor.owner);
            items.sort_by_key(|one| std::cmp::Reverse((one.created_at, one.id)));
            let slice = Slice {
                items,
                has_more: false,
                next: None,
            };
            list(shared, "/v1/subscriptions".to_owned(), slice, |one| {
                rendered(shared, &one)
            })
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
) -> Result<Response, ApiError> {
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
) -> Result<Response, ApiError> {
    let make = move |shared: &Shared, messaging: &Messaging, before: &Subscription| {
        let change = |before: &Subscription| -> Result<Terms, ApiError> {
            let mut terms = before.terms.clone();
            if let Some(url) = &body.url {
                terms.kind = target::moved(shared, before.id, &terms.kind, url)?;
            }
            body.clone()
                .change(&mut terms, |name| filter_owner(shared, &caller, name))?;
            Ok(terms)
        };
        let changed = messaging.update(before.id, change).map_err(unsettled)?;
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
) -> Result<Response, ApiError> {
    let object = app
        .blocking(move |shared| {
            let found = visible(shared, &caller, &id)?;
            messaging(shared)?.delete(found.id).map_err(unsettled)?;
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
) -> Result<Response, ApiError> {
    let make = move |_: &Shared, messaging: &Messaging, before: &Subscription| {
        messaging.pause(before.id, &reason).map_err(unsettled)?;
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
) -> Result<Response, ApiError> {
    let make = |_: &Shared, messaging: &Messaging, before: &Subscription| {
        messaging.resume(before.id).map_err(unsettled)?;
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
) -> Result<Response, ApiError> {
    let make = move |shared: &Shared, messaging: &Messaging, before: &Subscription| {
        let to = from(shared.reader.ids(), &to, "to")?;
        messaging.rewind(before.id, to).map_err(unsettled)
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
) -> Result<Response, ApiError> {
    let make = move |shared: &Shared, messaging: &Messaging, before: &Subscription| {
        let position = |id: &str, param| {
            let position = shared.reader.ids().decode(IdKind::Event, id);
            position.ok_or_else(|| ApiError::not_found("event", param))
        };
        let (first, last) = (position(&first, "first")?, position(&last, "last")?);
        messaging.replay(before.id, first, last).map_err(unsettled)
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
) -> Result<Response, ApiError> {
    let wanted = body.check()?;
    let until = Instant::now() + Duration::from_nanos(wanted.wait);
    let mut stopped = app.shared.stopped.clone();
    let found = visible(&app.shared, &caller, &id)?;
    must_be_pull(&found, "id")?;
    let messaging = messaging(&app.shared)?.clone();
    loop {
        let bell = messaging.bell(found.id);
        let mut rings = std::pin::pin!(bell.notified());
        rings.as_mut().enable();
        let taken = messaging.take(found.id, wanted.max, wanted.visibility);
        let taken = taken.map_err(refused)?;
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

/// Events of a subscription with a URL are not fetched.
pub(crate) fn must_be_pull(of: &Subscription, param: &str) -> Result<(), ApiError> {
    match of.terms.kind {
        Kind::Pull => Ok(()),
        Kind::Push { .. } => Err(ApiError::invalid(
            param,
            "Events of this subscription are sent, not fetched.",
        )),
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
    let record = shared.reader.record(position).map_err(failed)?;
    let record = record.ok_or_else(|| ApiError::not_found("event", "id"))?;
    event(shared, &record)
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
) -> Result<Response, ApiError> {
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
) -> Result<Response, ApiError> {
    let found = visible(&app.shared, &caller, &id)?;
    let messaging = messaging(&app.shared)?;
    each(&app.shared, receipts, |receipts| {
        let results = messaging.ack(found.id, receipts).map_err(refused)?;
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
) -> Result<Response, ApiError> {
    let found = visible(&app.shared, &caller, &id)?;
    let messaging = messaging(&app.shared)?;
    let (delay, error) = (body.delay()?, body.error);
    each(&app.shared, body.receipts, |receipts| {
        one_by_one(receipts, |receipt| {
            messaging.nack(found.id, receipt, delay, &error)
        })
    })
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
) -> Result<Response, ApiError> {
    let found = visible(&app.shared, &caller, &id)?;
    let messaging = messaging(&app.shared)?;
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
        Err(refusal) => Err(refused(refusal)),
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
) -> Result<Response, ApiError> {
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
            let dead = messaging(shared)?.dead(found.id, after, page.limit);
            let (items, has_more) = dead.map_err(refused)?;
            let slice = Slice {
                next: items.last().map(|(position, _)| *position),
                items,
                has_more,
            };
            let url = format!("/v1/subscriptions/{id}/dead_letters");
            list(shared, url, slice, |(position, letter)| {
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
) -> Result<Response, ApiError> {
    let object = app
        .blocking(move |shared| {
            let found = visible(shared, &caller, &id)?;
            let messaging = messaging(shared)?;
            let positions = body.positions(shared.reader.ids())?;
            let done = change(messaging, found.id, positions.as_deref()).map_err(unsettled)?;
            let (figures, _) = messaging.figures(found.id).map_err(refused)?;
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
) -> Result<Response, ApiError> {
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
) -> Result<Response, ApiError> {
    change_dead(&app, caller, id, body, Messaging::drop_dead).await
}
