//! Replies to the peers that asked.

use std::sync::Arc;

use super::hub::PEER_PREFIX;
use super::listener::Listeners;
use super::place::Place;
use super::protocol::reply;
use crate::port::{Doing, Outgoing, SendError, Sink, Trouble, TroubleKind};

/// The way to every peer that is connected to one address.
pub(super) struct ZeroMqSink {
    pub(super) listeners: Arc<Listeners>,
    pub(super) place: Place,
}

impl Sink for ZeroMqSink {
    fn send<'a>(&'a self, message: &'a Outgoing) -> Doing<'a, Result<(), SendError>> {
        Box::pin(async move {
            let (to, place) = (&message.address.destination, self.place);
            if !to.starts_with(PEER_PREFIX) {
                let text = format!(
                    "{place}: {to:?} is no peer; ZeroMQ keeps nothing, so only replies to those who ask are sent"
                );
                let trouble = Trouble::new(TroubleKind::DestinationMissing, text);
                return Err(SendError::Refused(trouble));
            }
            let listener = self.listeners.find(place);
            let peer = listener.and_then(|listener| listener.hub().peer(to));
            let sent = match peer {
                Some(peer) => peer.outbox.reply(reply(message)).await.is_ok(),
                None => false,
            };
            if sent {
                return Ok(());
            }
            let text = format!("{place}: the peer that asked is connected no longer");
            Err(SendError::Absent(Trouble::new(
                TroubleKind::DestinationMissing,
                text,
            )))
        })
    }
}
