//! One subscription whose events go to a broker: those that it wants, or the replies of a binding.
//!
//! At most [`UNCONFIRMED_MAX`] messages are unconfirmed at once. Which may be under way together is the subscription's affair: of
//! one object it hands out one event at a time, so that events of an object arrive in order.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinSet;
use tributary_api::attempt_note::AttemptNote;
use tributary_api::brokers::{EventTemplate, Standing};
use tributary_api::render::event::outgoing_event;
use tributary_engine::{Clock, Permit, Reader};
use tributary_messaging::{Delivery, Messaging, SubscriptionId};

use super::back_off::BackOff;
use super::event_message::{body, fill, headers};
use super::inbound::sleep;
use super::outlet::Outlet;
use super::reply::{order_of, reply};
use crate::counters::{Counters, Part};
use crate::port::{Address, Outgoing, SendError, Trouble};

/// Messages of one subscription that the broker has not confirmed.
const UNCONFIRMED_MAX: usize = 256;
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
        let mut under_way: JoinSet<Option<Trouble>> = JoinSet::new();
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
            if self.messaging.get(self.id).is_none() {
                return;
            }
            let room = match self.permit.is_granted() {
                true => UNCONFIRMED_MAX - under_way.len(),
                false => 0,
            };
            let visibility = u64::try_from(VISIBILITY.as_nanos()).ok();
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
            for delivery in taken {
                let outbound = self.clone();
                under_way.spawn(async move { outbound.deliver(delivery).await });
            }
            let trouble = tokio::select! {
                Some(done) = under_way.join_next(), if !under_way.is_empty() => {
                    done.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
                }
                () = rung, if !took_all => continue,
                () = tokio::time::sleep(LOOK_EVERY) => continue,
                _ = stop.changed() => break,
            };
            let Some(trouble) = trouble else {
                waits = self.back_off.clone();
                was_connected = true;
                if std::mem::take(&mut is_in_trouble) {
                    self.counters.stand(Part::Sending, Standing::Running);
                }
                continue;
            };
            // Everything else that is under way learns the same.
            while under_way.join_next().await.is_some() {}
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
        while under_way.join_next().await.is_some() {}
    }

    fn name(&self) -> String {
        use tributary_messaging::DeliveryIds as _;
        self.reader.ids().encode_subscription(self.id)
    }

    /// Sends one event and notes what came of it. Returns the trouble that keeps everything from being sent.
    async fn deliver(self: Arc<Self>, delivery: Delivery) -> Option<Trouble> {
        let begun = Instant::now();
        let position = delivery.position;
        let outbound = self.clone();
        // Reading may wait for the disk.
        let made = tokio::task::spawn_blocking(move || outbound.message(position)).await;
        let made = made.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
        let (to, sent) = match made {
            Err(why) => (String::new(), Sent::Refused(why)),
            Ok(None) => (String::new(), Sent::Nothing),
            Ok(Some(message)) => {
                let to = destination(&message.address);
                (
                    to,
                    match self.outlet.send(&message).await {
                        Ok(()) => Sent::Confirmed,
                        Err(SendError::Refused(trouble)) => Sent::Refused(trouble.text),
                        Err(SendError::Absent(trouble)) => match self.way {
                            Way::Replies => Sent::Absent(trouble.text),
                            // Nobody asks for an event again.
                            Way::Events { .. } => Sent::Refused(trouble.text),
                        },
                        Err(SendError::Disconnected(trouble)) => Sent::Lost(trouble),
                    },
                )
            }
        };
        let worked = begun.elapsed();
        let error = match &sent {
            Sent::Refused(why) => Some(("refused".to_owned(), why.clone())),
            Sent::Absent(why) => Some(("absent".to_owned(), why.clone())),
            _ => None,
        };
        let note = AttemptNote {
            url: format!("{}/{to}", self.outlet.binder().url),
            request: String::new(),
            response: String::new(),
            status: None,
            error,
            connected: None,
            answered: None,
            took: u64::try_from(worked.as_micros()).unwrap_or(u64::MAX),
        };
        let nanos = u64::try_from(worked.as_nanos()).unwrap_or(u64::MAX);
        let (id, receipt) = (self.id, delivery.receipt);
        match sent {
            Sent::Confirmed | Sent::Nothing => {
                let note = note.to_bytes();
                let _deleted = self.messaging.ack_noted(id, receipt, nanos, &note);
                match self.way {
                    Way::Replies => self.counters.count_sent(),
                    Way::Events { .. } => self.counters.count_event(nanos, &*self.clock),
                }
                None
            }
            Sent::Absent(_) => {
                let note = note.to_bytes();
                let _deleted = self.messaging.ack_noted(id, receipt, nanos, &note);
                None
            }
            Sent::Refused(why) => {
                let note = note.to_bytes();
                let _deleted = self.messaging.nack_noted(id, receipt, None, &why, &note);
                None
            }
            Sent::Lost(trouble) => {
                let _deleted = self.messaging.give_back(id, &[], &[receipt]);
                Some(trouble)
            }
        }
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
                let event = outgoing_event(&self.reader, position)?;
                let filled = |template: &EventTemplate| fill(template, &event);
                let key = key.as_ref().map(filled).or_else(|| event.subject.clone());
                let (body, content_type) = body(&event, self.content_type.as_deref());
                Ok(Some(Outgoing {
                    address: Address {
                        destination: destination.clone(),
                        routing_key: routing_key.as_ref().map(filled),
                    },
                    key,
                    headers: headers(adapter, &event, hops),
                    content_type,
                    message_id: event.event.id().to_owned(),
                    correlation_id: None,
                    body,
                }))
            }
        }
    }
}

fn destination(address: &Address) -> String {
    match &address.routing_key {
        Some(key) => format!("{}/{key}", address.destination),
        None => address.destination.clone(),
    }
}
