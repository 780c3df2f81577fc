//! `/v1/events/stream`: events as they happen, as server-sent events.
//!
//! Each stream reads the journal by itself, a slice at a time and only when its caller has taken the one before: nothing is kept
//! for it, and who reads slowly delays nobody else. While nothing happens no thread waits for it.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::Response;
use bytes::Bytes;
use futures_core::Stream;
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tributary_api::caller::Caller;
use tributary_api::error::ApiError;
use tributary_api::failures::read_error;
use tributary_api::form::subscription::{bad_setting, from, patterns};
use tributary_api::render::event::{EventObject, event};
use tributary_api::subscriptions::filter_owner;
use tributary_api::visibility::visible_event;
use tributary_engine::SharedPlace;
use tributary_ledger::{Currency, OwnerId};
use tributary_messaging::{Filter, Matcher, StartAt, scan};
use utoipa::IntoParams;

use crate::app::{App, Shared};
use crate::auth::{Reading, still_valid};
use crate::extract::Query;
use crate::response::ErrorResponse;

/// Where a caller that lost its stream goes on.
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// Wait before a client reconnects, in milliseconds.
const RETRY_MS: u64 = 1_000;
/// Events of one slice, at most.
const SLICE_EVENTS_MAX: usize = 256;
/// Bytes after which a slice ends: one is on its way to the caller and one waits, at most.
const SLICE_BYTES: usize = 64 << 10;
/// From one read of a stream that has nothing left to the next: many small batches are read together.
const PAUSE: Duration = Duration::from_millis(5);

/// Filter of an event stream, and where the stream begins.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct StreamQuery {
    /// Patterns of event types with commas between them, 1 to 16: words between dots, where `*` is one word and `#` (written
    /// `%23` in a URL) any number of words. All events if left out.
    events: Option<String>,
    /// Only events about money in this currency.
    currency: Option<String>,
    /// Only events that this owner may see. An owner's key gets only its own owner's events in any case.
    owner: Option<String>,
    /// Where it begins: `now` (the default), `beginning`, the id of an event to begin after, or a time.
    start: Option<String>,
    /// The id of an event to begin after, also of one that the stream does not have, or a cursor of a stream. Instead of `start`.
    after: Option<String>,
}

impl StreamQuery {
    fn filter(&self, shared: &Shared, caller: &Caller) -> Result<Filter, ApiError> {
        let events: Vec<&str> = self.events.as_deref().unwrap_or("#").split(',').collect();
        let currency = |code: &String| {
            Currency::from_code(code)
                .map_err(|_| ApiError::invalid("currency", "currency must be an ISO 4217 code."))
        };
        let owner = |name: &String| filter_owner(&shared.reader, caller, name);
        let filter = Filter {
            patterns: patterns(&events)?,
            currency: self.currency.as_ref().map(currency).transpose()?,
            owner: self.owner.as_ref().map(owner).transpose()?,
        };
        filter.check().map_err(bad_setting)?;
        Ok(filter)
    }

    /// Where it begins: what the caller had last goes before what stands in the URL, which stays the same when it comes again.
    fn from(
        &self,
        shared: &Shared,
        caller: &Caller,
        headers: &HeaderMap,
    ) -> Result<StartAt, ApiError> {
        if self.start.is_some() && self.after.is_some() {
            let message = "Give either start or after, not both.";
            return Err(ApiError::invalid("after", message));
        }
        if let Some(last) = headers.get(LAST_EVENT_ID).filter(|last| !last.is_empty()) {
            return after(
                shared,
                caller,
                last.to_str().unwrap_or_default(),
                "Last-Event-ID",
            );
        }
        match (&self.after, &self.start) {
            (Some(id), _) => after(shared, caller, id, "after"),
            (None, Some(start)) => from(&shared.reader, caller, start, "start"),
            (None, None) => Ok(StartAt::Now),
        }
    }
}

/// Behind the event with this id, which the caller may see, or a cursor that a stream gave to the caller's owner.
fn after(shared: &Shared, caller: &Caller, id: &str, param: &str) -> Result<StartAt, ApiError> {
    let cursor = shared.reader.ids().decode_cursor(caller.actor.owner, id);
    let cursor = cursor.filter(|position| *position <= shared.reader.published());
    let position = match cursor {
        Some(position) => Some(position),
        None => visible_event(&shared.reader, caller, id)?,
    };
    position
        .map(StartAt::After)
        .ok_or_else(|| ApiError::not_found("event", param))
}

/// Sends events as they happen, in the order of the journal, as server-sent events: `id` is the event's id, `event` its type and
/// `data` the event. Between events an `id` may be a cursor. The stream goes on after what `Last-Event-ID` names. It ends when the server stops or the key is
/// revoked.
#[utoipa::path(get, path = "/v1/events/stream", tag = "events", operation_id = "streamEvents",
    params(StreamQuery, ("Last-Event-ID" = Option<String>, Header,
        description = "The id that was received last, of an event or a cursor; it goes before `start` and `after`.")),
    responses((status = 200, description = "Events, without end.", body = String, content_type = "text/event-stream")))]
pub(crate) async fn stream(
    State(app): State<App>,
    Reading(caller): Reading,
    headers: HeaderMap,
    Query(query): Query<StreamQuery>,
) -> Result<Response, ErrorResponse> {
    let shared = &app.shared;
    let filter = query.filter(shared, &caller)?;
    let asked = headers.clone();
    let from = app
        .read(caller.actor.owner, move |shared| {
            query.from(shared, &caller, &asked)
        })
        .await?;
    let place = shared.streams.stream(caller.actor.owner)?;
    let position = move |shared: &Shared| from.position(&shared.reader).map_err(read_error);
    let through = app.blocking(position).await?;
    let authorization = headers.get(header::AUTHORIZATION).cloned();
    let streaming = Streaming {
        shared: shared.clone(),
        key: authorization
            .map(|value| (header::AUTHORIZATION, value))
            .into_iter()
            .collect(),
        owner: caller.actor.owner,
        matcher: Some(Matcher::for_filter(caller.actor.owner, filter)),
        through,
        told: 0,
        _place: place,
    };
    let (pieces, taken) = mpsc::channel(1);
    tokio::spawn(streaming.run(pieces));
    let mut response = Response::new(Body::from_stream(Pieces(taken)));
    for (name, value) in [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-store"),
        // Some proxies would gather the events otherwise.
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ] {
        let value = HeaderValue::from_static(value);
        response.headers_mut().insert(name, value);
    }
    Ok(response)
}

/// The body of a stream.
struct Pieces(mpsc::Receiver<Bytes>);

impl Stream for Pieces {
    type Item = Result<Bytes, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(context).map(|piece| piece.map(Ok))
    }
}

/// An open stream.
struct Streaming {
    shared: Arc<Shared>,
    /// Header with the API key. The key is checked again: it may be revoked meanwhile.
    key: HeaderMap,
    owner: OwnerId,
    /// Lent out while the journal is read.
    matcher: Option<Matcher>,
    /// Position up to which it has been looked for events.
    through: u64,
    /// Position of the last id that was sent.
    told: u64,
    _place: SharedPlace,
}

impl Streaming {
    /// Runs until the caller leaves, the server stops, the key is revoked or the journal can't be read.
    async fn run(mut self, pieces: mpsc::Sender<Bytes>) {
        let mut stopped = self.shared.stopped.clone();
        tokio::select! {
            _told_or_gone = stopped.wait_for(|stopped| *stopped) => {}
            () = pieces.closed() => {}
            _ended = self.carry(&pieces) => {}
        }
    }

    async fn carry(&mut self, pieces: &mpsc::Sender<Bytes>) -> Option<Infallible> {
        let heartbeat = self.shared.config.limits.stream_heartbeat;
        let begin = self.without_event(&format!("retry: {RETRY_MS}\n"));
        pieces.send(begin).await.ok()?;
        let mut beat = Instant::now() + heartbeat;
        loop {
            // Nothing is read before there is room for it.
            let room = pieces.reserve().await.ok()?;
            let news = tokio::select! {
                () = self.shared.reader.published_after(self.through) => true,
                () = tokio::time::sleep_until(beat) => false,
            };
            if !still_valid(&self.key, &self.shared) {
                room.send(Bytes::from_static(
                    b": this API key is not valid any more\n\n",
                ));
                return None;
            }
            let head = self.shared.reader.published();
            let mut piece = match news {
                true => self.slice(head).await?,
                false => Bytes::new(),
            };
            if piece.is_empty() && Instant::now() >= beat {
                piece = self.without_event(":\n");
            }
            if !piece.is_empty() {
                room.send(piece);
                beat = Instant::now() + heartbeat;
            }
            if self.through == head {
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    /// These lines, and the id after which to go on, if it is another one than was told last: a caller that lost the stream
    /// then need not be told of anything twice, nor has the journal to be looked through again.
    fn without_event(&mut self, lines: &str) -> Bytes {
        let mut piece = lines.to_owned();
        if self.through > self.told {
            // A cursor, since the event there may be another owner's.
            let ids = self.shared.reader.ids();
            let id = ids.encode_cursor(self.owner, self.through);
            piece.push_str(&format!("id: {id}\n"));
            self.told = self.through;
        }
        piece.push('\n');
        piece.into()
    }

    /// The next events up to `head`, some of them; empty if what was looked at has none. None if the journal can't be read:
    /// nothing is left out.
    async fn slice(&mut self, head: u64) -> Option<Bytes> {
        let turn = self.shared.streams.reads.clone().acquire_owned().await;
        let mut matcher = self.matcher.take()?;
        let (shared, from) = (self.shared.clone(), self.through + 1);
        let read = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            let slice = read(&shared, &mut matcher, from, head);
            (matcher, slice)
        });
        let (matcher, slice) = read.await.ok()?;
        self.matcher = Some(matcher);
        match slice {
            Ok(slice) => {
                self.through = slice.through;
                self.told = slice.told.unwrap_or(self.told);
                Some(slice.bytes.into())
            }
            Err(error) => {
                tracing::error!(error = error.message(), from, "an event stream ends");
                None
            }
        }
    }
}

/// A piece of a stream.
struct Slice {
    bytes: Vec<u8>,
    /// Position up to which it goes.
    through: u64,
    /// Position of the last event in it.
    told: Option<u64>,
}

fn read(shared: &Shared, matcher: &mut Matcher, from: u64, head: u64) -> Result<Slice, ApiError> {
    let (through, matches) =
        scan(&shared.reader, matcher, from, head, SLICE_EVENTS_MAX).map_err(read_error)?;
    let mut slice = Slice {
        bytes: Vec::new(),
        through,
        told: None,
    };
    for matched in matches {
        if slice.bytes.len() >= SLICE_BYTES {
            // The rest comes with the next one.
            slice.through = slice.told.unwrap_or(from - 1);
            break;
        }
        let record = shared.reader.record(matched.position).map_err(read_error)?;
        let record = record.ok_or_else(|| ApiError::not_found("event", "id"))?;
        write(&mut slice.bytes, &event(&shared.reader, &record)?);
        slice.told = Some(matched.position);
    }
    Ok(slice)
}

fn write(into: &mut Vec<u8>, event: &EventObject) {
    let (id, kind) = (event.id(), event.kind());
    into.extend_from_slice(format!("id: {id}\nevent: {kind}\ndata: ").as_bytes());
    let data = into.len();
    serde_json::to_writer(&mut *into, event).expect("an event is JSON");
    // What was published may have been laid out for people. In JSON, ends of lines are mere space.
    for byte in &mut into[data..] {
        if matches!(byte, b'\n' | b'\r') {
            *byte = b' ';
        }
    }
    into.extend_from_slice(b"\n\n");
}
