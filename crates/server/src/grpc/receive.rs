//! `Receive`: events out in numbered responses, acknowledgements in, on one stream.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::http::HeaderMap;
use bytes::Bytes;
use futures_core::Stream;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tonic::{Request, Status, Streaming};
use tributary_api::caller::Caller;
use tributary_api::error::ApiError;
use tributary_api::subscriptions::{
    must_be_pull, refusal_error, unsettled_error, visible_subscription,
};
use tributary_engine::{IdKind, SharedPlace};
use tributary_messaging::{
    Delivery, DeliveryIds, Messaging, Policy, Receipt, Refusal, Subscription, SubscriptionId,
};

use crate::app::{App, Shared};
use crate::auth::{authenticate, writer};
use crate::grpc::delivery::Response;
use crate::grpc::form::subscription_id;
use crate::grpc::status::status_of;
use crate::grpc::wire::{Fields, Value};

/// Events of a response if nothing else is asked for.
const BATCH_DEFAULT: u64 = 100;
/// Events of a response, at most.
const BATCH_MAX: u64 = 1_000;
/// Responses out at once if nothing else is asked for.
const RESPONSES_OUT: u64 = 4;
/// Events out at once, at most.
const OUT_MAX: u64 = 10_000;
/// Receipts in a request, at most.
const RECEIPTS_MAX: usize = 1_000;
/// Nanoseconds in a second.
const SECOND: u64 = 1_000_000_000;

type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;
type Next = Option<Result<Bytes, Status>>;

/// The responses of a stream.
pub(crate) struct Responses(Step);

enum Step {
    Idle(Box<Receiver>),
    Working(Boxed<(Box<Receiver>, Next)>),
    EndedAttempt,
}

impl Stream for Responses {
    type Item = Result<Bytes, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Next> {
        loop {
            match std::mem::replace(&mut self.0, Step::EndedAttempt) {
                Step::EndedAttempt => return Poll::Ready(None),
                Step::Idle(receiver) => self.0 = Step::Working(Box::pin(receiver.next())),
                Step::Working(mut work) => match work.as_mut().poll(context) {
                    Poll::Pending => {
                        self.0 = Step::Working(work);
                        return Poll::Pending;
                    }
                    Poll::Ready((receiver, Some(Ok(response)))) => {
                        self.0 = Step::Idle(receiver);
                        return Poll::Ready(Some(Ok(response)));
                    }
                    Poll::Ready((_, end)) => return Poll::Ready(end),
                },
            }
        }
    }
}

/// Opens a stream of deliveries.
pub(crate) fn receive(app: &App, request: Request<Streaming<Bytes>>) -> Result<Responses, Status> {
    let headers = request.metadata().as_ref();
    let caller = writer(headers, &app.shared);
    let place = caller.and_then(|caller| app.shared.streams.receiver(caller.actor.owner));
    let place = place.map_err(|error| status_of(&error))?;
    let (metadata, _, requests) = request.into_parts();
    let receiver = Receiver {
        headers: metadata.into_headers(),
        requests,
        stopped: app.shared.stopped.clone(),
        app: app.clone(),
        opened: None,
        taken: Vec::new(),
        done: 0,
        out: VecDeque::new(),
        out_count: 0,
        number: 0,
        response_bytes: 0,
        expired: Vec::new(),
        unsettled: false,
        _place: place,
    };
    Ok(Responses(Step::Idle(Box::new(receiver))))
}

/// The receiver's side of a stream.
struct Receiver {
    app: App,
    /// Headers of the request that opened the stream. The API key is checked again with every message: it may be revoked
    /// meanwhile.
    headers: HeaderMap,
    requests: Streaming<Bytes>,
    stopped: watch::Receiver<bool>,
    opened: Option<Opened>,
    /// Handed out by the subscription. The first `done` of these were sent.
    taken: Vec<Delivery>,
    done: usize,
    /// Responses that were sent and are not answered, by number.
    out: VecDeque<Out>,
    /// Events in these, and those that are about to be sent.
    out_count: usize,
    /// Of the last response with events.
    number: u64,
    /// Bytes of the last one.
    response_bytes: usize,
    /// Bytes behind the receipts to tell of.
    expired: Vec<[u8; 16]>,
    /// Whether events failed that may be dead letters now, and are not known to be in the log.
    unsettled: bool,
    _place: SharedPlace,
}

impl Drop for Receiver {
    /// However the stream ended, nobody is going to answer for what is out. At a stop the server forgets it all anyway.
    fn drop(&mut self) {
        let Some(opened) = self.opened.as_ref().filter(|_| !*self.stopped.borrow()) else {
            return;
        };
        let sent = self.out.iter().flat_map(|out| out.receipts.iter().copied());
        let sent: Vec<Receipt> = sent.collect();
        let unsent = self.taken[self.done..].iter().map(|one| one.receipt);
        let unsent: Vec<Receipt> = unsent.collect();
        if !sent.is_empty() || !unsent.is_empty() {
            let _deleted = opened.messaging.give_back(opened.id, &sent, &unsent);
        }
    }
}

/// Terms of the stream, from its first request.
struct Opened {
    id: SubscriptionId,
    messaging: Arc<Messaging>,
    bell: Arc<Notify>,
    batch_max: usize,
    out_max: usize,
    visibility: u64,
}

/// A response whose events are in the client's hands.
struct Out {
    number: u64,
    receipts: Vec<Receipt>,
    /// When its events are taken to have failed.
    until: Instant,
}

/// How a stream ends.
enum End {
    Done,
    Failed(ApiError),
    Status(Status),
}

impl From<ApiError> for End {
    fn from(error: ApiError) -> End {
        End::Failed(error)
    }
}

impl Receiver {
    async fn next(mut self: Box<Self>) -> (Box<Self>, Next) {
        let next = match self.response().await {
            Ok(response) => Some(Ok(response)),
            Err(End::Done) => None,
            Err(End::Failed(error)) => Some(Err(status_of(&error))),
            Err(End::Status(status)) => Some(Err(status)),
        };
        (self, next)
    }

    /// The next response, once there is something to say.
    async fn response(&mut self) -> Result<Bytes, End> {
        loop {
            // What has arrived comes first: it makes room.
            while let Some(request) = self.arrived().await {
                self.handle_request(request)?;
                self.settle().await?;
                if !self.expired.is_empty() {
                    return Ok(self.expiry());
                }
            }
            let bell = self.opened.as_ref().map(|opened| opened.bell.clone());
            let bell = bell.unwrap_or_default();
            let mut rings = std::pin::pin!(bell.notified());
            rings.as_mut().enable();
            if *self.stopped.borrow() {
                return Err(stopping());
            }
            self.expire_late();
            if !self.expired.is_empty() {
                return Ok(self.expiry());
            }
            if let Some(response) = self.deliver().await? {
                return Ok(response);
            }
            let late = self.out.front().map(|out| out.until);
            let late = async {
                match late {
                    Some(late) => tokio::time::sleep_until(late).await,
                    None => std::future::pending().await,
                }
            };
            // No thread waits meanwhile.
            let request = tokio::select! {
                _ = self.stopped.wait_for(|stopped| *stopped) => return Err(stopping()),
                request = next(&mut self.requests) => Some(request),
                () = &mut rings => None,
                () = late => None,
            };
            if let Some(request) = request {
                self.handle_request(request)?;
                self.settle().await?;
            }
        }
    }

    /// Returns the next request of the client, if one has arrived.
    async fn arrived(&mut self) -> Option<Next> {
        let requests = &mut self.requests;
        std::future::poll_fn(|context| {
            Poll::Ready(match Pin::new(&mut *requests).poll_next(context) {
                Poll::Pending => None,
                Poll::Ready(next) => Some(next),
            })
        })
        .await
    }

    fn handle_request(&mut self, request: Next) -> Result<(), End> {
        let bytes = match request {
            None => return Err(End::Done),
            Some(Err(status)) => return Err(End::Status(status)),
            Some(Ok(bytes)) => bytes,
        };
        let shared = self.app.shared.clone();
        let caller = writer(&self.headers, &shared)?;
        if self.opened.is_none() {
            self.opened = Some(Opened::read(&shared, &caller, &bytes)?);
            return Ok(());
        }
        self.seen(&caller)?;
        Ok(self.answered(&shared, &bytes)?)
    }

    /// Makes durable what failed: a receiver whose stream goes on does not keep the event any more.
    async fn settle(&mut self) -> Result<(), ApiError> {
        if !std::mem::take(&mut self.unsettled) {
            return Ok(());
        }
        let make_durable = |shared: &Shared| {
            let durable = shared.messaging()?.make_durable();
            durable.map_err(unsettled_error)
        };
        self.app.blocking(make_durable).await
    }

    /// The subscription, if it is still there and the caller's to see.
    fn seen(&self, caller: &Caller) -> Result<(), ApiError> {
        let id = self.opened.as_ref().map(|opened| opened.id);
        visible_subscription(self.app.shared.messaging()?, caller, id).map(drop)
    }

    /// Carries out a request that says what became of events. Its form is checked before anything is done.
    fn answered(&mut self, shared: &Shared, bytes: &[u8]) -> Result<(), ApiError> {
        let Some(opened) = &self.opened else {
            return Ok(());
        };
        let messaging = opened.messaging.clone();
        let id = opened.id;
        let (mut acks, mut receipts, mut unknowns) = (Vec::new(), Vec::new(), Vec::new());
        let mut nacks = Vec::new();
        let mut fields = Fields(bytes);
        while let Some(field) = fields.next()? {
            match field {
                (number @ 1..=4, _) => {
                    let message = format!("Field {number} belongs into the first request.");
                    return Err(ApiError::invalid("subscription", message));
                }
                (5, value) => numbers(value, &mut acks)?,
                (6, Value::Bytes(bytes)) => match receipt(shared, bytes)? {
                    Ok(receipt) => receipts.push(receipt),
                    Err(unknown) => unknowns.push(unknown),
                },
                (7, Value::Bytes(bytes)) => nacks.push(Nack::read(shared, bytes)?),
                (unknown, _) => return Err(unknown_field(unknown)),
            }
        }
        let count = |nack: &Nack| nack.receipts.len() + nack.unknowns.len();
        let nacked: usize = nacks.iter().map(count).sum();
        if receipts.len() + unknowns.len() + nacked > RECEIPTS_MAX {
            return Err(ApiError::invalid("ack_receipts", "At most 1,000 receipts."));
        }
        for receipt in &receipts {
            self.forget(*receipt);
        }
        for number in acks {
            receipts.extend(self.close(number));
        }
        if !receipts.is_empty() {
            let results = messaging.ack(id, &receipts).map_err(refusal_error)?;
            let results = receipts.iter().zip(results);
            let over = results.filter(|(_, result)| result.is_err());
            let ids = shared.reader.ids();
            let over = over.map(|(receipt, _)| ids.receipt_block(*receipt));
            self.expired.extend(over);
        }
        // What was never handed out is answered like what is over.
        self.expired.append(&mut unknowns);
        self.unsettled |= !nacks.is_empty();
        for mut nack in nacks {
            for receipt in &nack.receipts {
                self.forget(*receipt);
            }
            for number in nack.responses {
                nack.receipts.extend(self.close(number));
            }
            self.expired.append(&mut nack.unknowns);
            for receipt in nack.receipts {
                match messaging.nack(id, receipt, nack.delay, &nack.error) {
                    Ok(()) => {}
                    Err(Refusal::Expired(_)) => {
                        let block = shared.reader.ids().receipt_block(receipt);
                        self.expired.push(block);
                    }
                    Err(refusal) => return Err(refusal_error(refusal)),
                }
            }
        }
        Ok(())
    }

    /// The events of a response that are not answered yet. It is out no more.
    fn close(&mut self, number: u64) -> Vec<Receipt> {
        match self.out.binary_search_by_key(&number, |out| out.number) {
            Ok(at) => {
                let out = self.out.remove(at).expect("it was just found");
                self.out_count -= out.receipts.len();
                out.receipts
            }
            Err(_) => Vec::new(),
        }
    }

    /// One event is answered by itself.
    fn forget(&mut self, receipt: Receipt) {
        for at in 0..self.out.len() {
            let receipts = &mut self.out[at].receipts;
            // All events of a response were handed out at once.
            if receipts[0].generation != receipt.generation {
                continue;
            }
            if let Some(index) = receipts.iter().position(|other| *other == receipt) {
                receipts.swap_remove(index);
                self.out_count -= 1;
                if receipts.is_empty() {
                    self.out.remove(at);
                }
                return;
            }
        }
    }

    /// Responses whose time is over make room: their events are somebody else's now.
    fn expire_late(&mut self) {
        let now = Instant::now();
        while let Some(out) = self.out.front().filter(|out| out.until <= now) {
            let number = out.number;
            let receipts = self.close(number);
            let ids = self.app.shared.reader.ids();
            let blocks = receipts.iter().map(|receipt| ids.receipt_block(*receipt));
            self.expired.extend(blocks);
        }
    }

    /// A response without events, that tells of receipts whose attempts are over.
    fn expiry(&mut self) -> Bytes {
        let mut response = Response::new(0, self.expired.len() * 18, 0);
        for receipt in self.expired.drain(..) {
            response.expired(&receipt);
        }
        response.finish()
    }

    /// A response with events, if there are any and there is room for them.
    async fn deliver(&mut self) -> Result<Option<Bytes>, ApiError> {
        let Some(opened) = &self.opened else {
            return Ok(None);
        };
        let id = opened.id;
        loop {
            let messaging = opened.messaging.clone();
            if self.done == self.taken.len() {
                let room = opened.out_max.saturating_sub(self.out_count);
                if room == 0 {
                    return Ok(None);
                }
                let (batch, visibility) = (opened.batch_max.min(room), opened.visibility);
                let caller = authenticate(&self.headers, &self.app.shared)?.may_write()?;
                self.seen(&caller)?;
                let taken = messaging.take(id, batch, Some(visibility));
                self.taken = taken.map_err(refusal_error)?;
                self.done = 0;
                if self.taken.is_empty() {
                    return Ok(None);
                }
                self.out_count += self.taken.len();
            }
            let visibility = Duration::from_nanos(opened.visibility);
            let rest = &self.taken[self.done..];
            let number = self.number + 1;
            let mut response = Response::new(number, self.response_bytes + 256, rest.len());
            let mut done = response.add_kept(&self.app.shared, &messaging, rest);
            if done == 0 {
                // It has to be read, or looked up.
                let rest = rest.to_vec();
                (response, done) = self
                    .app
                    .blocking(move |shared| {
                        let done = response.add_all(shared, &messaging, &rest);
                        for (receipt, error) in response.unreadable.drain(..) {
                            let _gone = messaging.nack(id, receipt, None, error.message());
                        }
                        Ok((response, done))
                    })
                    .await?;
            }
            self.done += done;
            let receipts = std::mem::take(&mut response.sent);
            self.out_count -= done - receipts.len();
            // None of these can be read: on to the next.
            if receipts.is_empty() {
                continue;
            }
            self.number = number;
            // The attempts began a little earlier: what is counted as over here is over there too.
            let until = Instant::now() + visibility;
            self.out.push_back(Out {
                number,
                receipts,
                until,
            });
            let response = response.finish();
            self.response_bytes = response.len();
            return Ok(Some(response));
        }
    }
}

async fn next(requests: &mut Streaming<Bytes>) -> Next {
    std::future::poll_fn(|context| Pin::new(&mut *requests).poll_next(context)).await
}

fn stopping() -> End {
    tributary_api::failures::submit_error(tributary_engine::Refused::Stopping).into()
}

fn unknown_field(number: u32) -> ApiError {
    let message = format!("Field {number} is not known here.");
    ApiError::new(tributary_api::code::ErrorCode::ParameterUnknown, message)
}

/// A number, or several.
fn numbers(value: Value<'_>, into: &mut Vec<u64>) -> Result<(), ApiError> {
    match value {
        Value::Varint(number) => into.push(number),
        Value::Bytes(packed) => {
            let mut packed = Fields(packed);
            while !packed.0.is_empty() {
                into.push(packed.varint()?);
            }
        }
        _ => return Err(ApiError::invalid("responses", "These are numbers.")),
    }
    if into.len() > OUT_MAX as usize {
        return Err(ApiError::invalid("responses", "These are too many."));
    }
    Ok(())
}

/// The receipt of 16 bytes or of its text; the bytes themselves if nothing was handed out under it.
fn receipt(shared: &Shared, bytes: &[u8]) -> Result<Result<Receipt, [u8; 16]>, ApiError> {
    let block = <[u8; 16]>::try_from(bytes).ok().or_else(|| {
        let text = std::str::from_utf8(bytes).ok()?;
        IdKind::Receipt.block(text)
    });
    let block = block.ok_or_else(|| ApiError::invalid("receipts", "This is no receipt."))?;
    Ok(shared.reader.ids().receipt_of(block).ok_or(block))
}

fn bounded(value: u64, max: u64, param: &'static str) -> Result<u64, ApiError> {
    match value {
        1.. if value <= max => Ok(value),
        _ => Err(ApiError::invalid(
            param,
            format!("{param} must be 1 to {max}."),
        )),
    }
}

impl Opened {
    fn read(shared: &Shared, caller: &Caller, bytes: &[u8]) -> Result<Opened, ApiError> {
        let mut id = &[][..];
        let (mut batch_max, mut out_max, mut visibility) = (0, 0, 0);
        let mut fields = Fields(bytes);
        while let Some(field) = fields.next()? {
            match field {
                (1, Value::Bytes(bytes)) => id = bytes,
                (2, Value::Varint(number)) => batch_max = number,
                (3, Value::Varint(number)) => out_max = number,
                (4, Value::Varint(number)) => visibility = number,
                (5..=7, _) => {
                    let message = "The first request names the subscription, and answers nothing.";
                    return Err(ApiError::invalid("ack_responses", message));
                }
                (unknown, _) => return Err(unknown_field(unknown)),
            }
        }
        let found = subscription(shared, caller, id)?;
        must_be_pull(&found, "subscription")?;
        let messaging = shared.messaging()?.clone();
        let or = |given, otherwise| if given == 0 { otherwise } else { given };
        let batch_max = bounded(or(batch_max, BATCH_DEFAULT), BATCH_MAX, "batch_max")?;
        let out_max = bounded(or(out_max, batch_max * RESPONSES_OUT), OUT_MAX, "out_max")?;
        let policy = found.terms.policy.visibility;
        let visibility = match visibility {
            0 => policy,
            given => {
                bounded(given, Policy::VISIBILITY_MAX / SECOND, "visibility_seconds")? * SECOND
            }
        };
        Ok(Opened {
            id: found.id,
            bell: messaging.arrivals(found.id),
            messaging,
            batch_max: batch_max as usize,
            out_max: out_max as usize,
            visibility,
        })
    }
}

fn subscription(shared: &Shared, caller: &Caller, id: &[u8]) -> Result<Subscription, ApiError> {
    let id = subscription_id(shared.reader.ids(), id);
    visible_subscription(shared.messaging()?, caller, id)
        .map_err(|error| error.param("subscription"))
}

/// Events that failed.
struct Nack {
    responses: Vec<u64>,
    receipts: Vec<Receipt>,
    /// Bytes of receipts under which nothing was handed out.
    unknowns: Vec<[u8; 16]>,
    /// Nanoseconds.
    delay: Option<u64>,
    error: String,
}

impl Nack {
    fn read(shared: &Shared, bytes: &[u8]) -> Result<Nack, ApiError> {
        let mut nack = Nack {
            responses: Vec::new(),
            receipts: Vec::new(),
            unknowns: Vec::new(),
            delay: None,
            error: String::new(),
        };
        let mut fields = Fields(bytes);
        while let Some(field) = fields.next()? {
            match field {
                (1, value) => numbers(value, &mut nack.responses)?,
                (2, Value::Bytes(bytes)) => match receipt(shared, bytes)? {
                    Ok(receipt) => nack.receipts.push(receipt),
                    Err(unknown) => nack.unknowns.push(unknown),
                },
                (3, Value::Varint(seconds)) if seconds <= Policy::TIME_MAX / SECOND => {
                    nack.delay = Some(seconds * SECOND);
                }
                (3, _) => {
                    let message = "delay_seconds must be 0 to 2592000.";
                    return Err(ApiError::invalid("nacks.delay_seconds", message));
                }
                (4, Value::Bytes(text)) => nack.error = String::from_utf8_lossy(text).into_owned(),
                (unknown, _) => return Err(unknown_field(unknown).within("nacks")),
            }
        }
        Ok(nack)
    }
}
