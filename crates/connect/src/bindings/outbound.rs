//! One subscription whose events go to a broker: those that it wants, or the replies of a binding.
//!
//! At most [`UNCONFIRMED_MAX`] messages are unconfirmed at once. Which may be under way together is the subscription's affair: of
//! one object it hands out one event at a time, so that events of an object arrive in order.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use tokio::sync::watch;
use tokio::task::block_in_place;
use tributary_api::attempt_note::AttemptNote;
use tributary_api::brokers::{EventTemplate, Standing};
use tributary_api::render::event::outgoing_event_of;
use tributary_engine::{Clock, Permit, Reader};
use tributary_ledger::OwnerId;
use tributary_messaging::{Messaging, Receipt, SubscriptionId};

use super::back_off::BackOff;
use super::event_message::{body, extensions, fill, headers};
use super::inbound::sleep;
use super::outlet::Outlet;
use super::reply::{order_of, reply};
use crate::counters::{Counters, Part};
use crate::port::{Address, Outgoing, SendError, Trouble};

/// Messages of one subscription that the broker has not confirmed.
const UNCONFIRMED_MAX: usize = 256;
/// Room for messages from which on more events are taken while others are under way: taking a few at a time costs more than sending them.
const ROOM_MIN: usize = UNCONFIRMED_MAX / 8;
/// How long an event may be under way before it is taken again: longer than any call of an adapter.
const VISIBILITY: Duration = Duration::from_secs(900);
/// How often a subscription is looked at without being notified.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// What is sent, and where to.
pub(super) enum Way {
    /// The results of orders, to where each asked for its reply.
    Replies,
    /// Events, to one destination.
    Events {
        /// Exchange, topic or address.
        destination: String,
        /// Routing key or subject.
        routing_key: Option<EventTemplate>,
        /// Key by which the broker keeps an order; what the event is about if there is none.
        key: Option<EventTemplate>,
    },
}

/// A subscription at work.
pub(super) struct Outbound {
    pub(super) reader: Reader,
    pub(super) messaging: Arc<Messaging>,
    pub(super) id: SubscriptionId,
    pub(super) way: Way,
    /// Media type of what is sent: JSON if it says nothing else.
    pub(super) content_type: Option<String>,
    pub(super) outlet: Arc<Outlet>,
    pub(super) counters: Arc<Counters>,
    pub(super) permit: Arc<dyn Permit>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) back_off: BackOff,
}

/// A delivery that was tried.
struct Tried {
    receipt: Receipt,
    /// Where the message went; empty if there was none.
    to: String,
    sent: Sent,
    worked: Duration,
}

/// What became of a delivery.
enum Sent {
    Confirmed,
    /// The broker does not take it: an attempt that failed.
    Refused(String),
    /// Whoever asked for the reply has gone, and asks again: it is done with.
    Absent(String),
    /// Nothing can be sent now: no attempt.
    Lost(Trouble),
    /// There is nothing to send: nobody asked for it.
    Nothing,
}

impl Outbound {
    /// Works until `stop` says so, or the subscription is deleted.
    pub(super) async fn run(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        let mut waits = self.back_off.clone();
        let mut under_way = FuturesUnordered::new();
        if let Way::Events { .. } = self.way {
            self.counters.send_only();
        }
        self.counters.stand(Part::Sending, Standing::Running);
        // Whether anything was sent since the last trouble, and whether the trouble may last.
        let (mut was_connected, mut is_in_trouble) = (false, false);
        while !*stop.borrow_and_update() {
            // Asked for before anything is taken, so that nothing is missed.
            let bell = self.messaging.arrivals(self.id);
            let rung = bell.notified();
            tokio::pin!(rung);
            rung.as_mut().enable();
            if self.messaging.scope(self.id).is_none() {
                return;
            }
            let room = match UNCONFIRMED_MAX - under_way.len() {
                room if room >= ROOM_MIN && self.permit.is_granted() => room,
                _ => 0,
            };
            let visibility = Some(nanos(VISIBILITY));
            let taken = match room {
                0 => Vec::new(),
                room => {
                    let taken = self.messaging.take(self.id, room, visibility);
                    taken.unwrap_or_default()
                }
            };
            let took_all = taken.len() == room;
            if is_in_trouble && room > 0 && taken.is_empty() && under_way.is_empty() {
                // Nothing is left that could show that the broker is back.
                is_in_trouble = false;
                self.counters.stand(Part::Sending, Standing::Running);
            }
            if !taken.is_empty() {
                // Reading may wait for the disk.
                block_in_place(|| {
                    for delivery in taken {
                        let begun = Instant::now();
                        let message = self.message(delivery.position);
                        under_way.push(self.deliver(delivery.receipt, message, begun));
                    }
                });
            }
            let first = tokio::select! {
                Some(tried) = under_way.next(), if !under_way.is_empty() => tried,
                () = rung, if !took_all => continue,
                () = tokio::time::sleep(LOOK_EVERY) => continue,
                _ = stop.changed() => break,
            };
            let mut tried = vec![first];
            while let Some(Some(next)) = under_way.next().now_or_never() {
                tried.push(next);
            }
            was_connected |= tried.iter().any(|one| !matches!(one.sent, Sent::Lost(_)));
            let trouble = self.settle(tried);
            let Some(trouble) = trouble else {
                waits = self.back_off.clone();
                if std::mem::take(&mut is_in_trouble) {
                    self.counters.stand(Part::Sending, Standing::Running);
                }
                continue;
            };
            // Everything else that is under way learns the same.
            self.settle(under_way.by_ref().collect().await);
            tracing::warn!(
                subscription = self.name(),
                kind = trouble.kind.as_str(),
                why = trouble.text,
                "events wait for their broker"
            );
            let was_connected = std::mem::take(&mut was_connected);
            self.counters
                .trouble(Part::Sending, &trouble, was_connected);
            is_in_trouble = true;
            if sleep(&mut stop, waits.next()).await.is_break() {
                return;
            }
        }
        self.settle(under_way.collect().await);
    }

    fn name(&self) -> String {
        use tributary_messaging::DeliveryIds as _;
        self.reader.ids().encode_subscription(self.id)
    }

    /// Sends the message of one event; none if nobody is to be told.
    async fn deliver(
        &self,
        receipt: Receipt,
        message: Result<Option<Outgoing>, String>,
        begun: Instant,
    ) -> Tried {
        let (to, sent) = match message {
            Err(why) => (String::new(), Sent::Refused(why)),
            Ok(None) => (String::new(), Sent::Nothing),
            Ok(Some(message)) => {
                let sent = match self.outlet.send(&message).await {
                    Ok(()) => Sent::Confirmed,
                    Err(SendError::Refused(trouble)) => Sent::Refused(trouble.text),
                    Err(SendError::Absent(trouble)) => match self.way {
                        Way::Replies => Sent::Absent(trouble.text),
                        // Nobody asks for an event again.
                        Way::Events { .. } => Sent::Refused(trouble.text),
                    },
                    Err(SendError::Disconnected(trouble)) => Sent::Lost(trouble),
                };
                (destination(&message.address), sent)
            }
        };
        Tried {
            receipt,
            to,
            sent,
            worked: begun.elapsed(),
        }
    }

    /// Notes what came of deliveries. Returns the trouble that keeps everything from being sent.
    fn settle(&self, all: Vec<Tried>) -> Option<Trouble> {
        let (mut done, mut trouble) = (Vec::with_capacity(all.len()), None);
        for tried in all {
            let (receipt, nanos) = (tried.receipt, nanos(tried.worked));
            let note = self.note(&tried);
            match tried.sent {
                Sent::Confirmed | Sent::Nothing => {
                    done.push((receipt, nanos, note));
                    match self.way {
                        Way::Replies => self.counters.count_sent(),
                        Way::Events { .. } => self.counters.count_event(nanos, &*self.clock),
                    }
                }
                Sent::Absent(_) => done.push((receipt, nanos, note)),
                Sent::Refused(why) => {
                    let _deleted = self
                        .messaging
                        .nack_noted(self.id, receipt, None, &why, &note);
                }
                Sent::Lost(why) => {
                    let _deleted = self.messaging.give_back(self.id, &[], &[receipt]);
                    trouble.get_or_insert(why);
                }
            }
        }
        if !done.is_empty() {
            let _deleted = self.messaging.ack_all_noted(self.id, &done);
        }
        trouble
    }

    /// Returns what the history keeps of a delivery.
    fn note(&self, tried: &Tried) -> Vec<u8> {
        let error = match &tried.sent {
            Sent::Refused(why) => Some(("refused".to_owned(), why.clone())),
            Sent::Absent(why) => Some(("absent".to_owned(), why.clone())),
            _ => None,
        };
        let note = AttemptNote {
            url: format!("{}/{}", self.outlet.binder().url, tried.to),
            request: String::new(),
            response: String::new(),
            status: None,
            error,
            connected: None,
            answered: None,
            took: u64::try_from(tried.worked.as_micros()).unwrap_or(u64::MAX),
        };
        note.to_bytes()
    }

    /// Returns the message that tells the event at `position`; none if nobody is to be told.
    ///
    /// # Errors
    /// A sentence that says why it can't be made.
    fn message(&self, position: u64) -> Result<Option<Outgoing>, String> {
        let adapter = &**self.outlet.adapter();
        let record = self
            .reader
            .record(position)
            .map_err(|error| error.to_string())?;
        let record = record.ok_or("the event is missing")?;
        match &self.way {
            Way::Replies => {
                let order = order_of(&self.reader, record).map_err(|error| error.to_string())?;
                let Some(origin) = &order.command.origin else {
                    return Ok(None);
                };
                let Some(address) = origin.reply() else {
                    return Ok(None);
                };
                let content_type = self.content_type.as_deref();
                reply(
                    &self.reader,
                    adapter,
                    address,
                    origin,
                    position,
                    content_type,
                )
                .map(Some)
            }
            Way::Events {
                destination,
                routing_key,
                key,
            } => {
                let hops = record
                    .command
                    .origin
                    .as_ref()
                    .map_or(0, |origin| origin.hops());
                let event = outgoing_event_of(&self.reader, &record)?;
                let filled = |template: &EventTemplate| fill(template, &event);
                let key = key.as_ref().map(filled).or_else(|| event.subject.clone());
                let extensions = match self.messaging.scope(self.id) {
                    Some(OwnerId::PLATFORM) => extensions(&self.reader, &record),
                    _ => Vec::new(),
                };
                let (body, content_type) = body(&event, self.content_type.as_deref());
                Ok(Some(Outgoing {
                    address: Address {
                        destination: destination.clone(),
                        routing_key: routing_key.as_ref().map(filled),
                    },
                    key,
                    headers: headers(adapter, &event, extensions, hops),
                    content_type,
                    message_id: event.event.id().to_owned(),
                    correlation_id: None,
                    body,
                }))
            }
        }
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn destination(address: &Address) -> String {
    match &address.routing_key {
        Some(key) => format!("{}/{key}", address.destination),
        None => address.destination.clone(),
    }
}
