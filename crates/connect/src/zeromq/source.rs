//! Messages that peers send to one destination.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::Notify;

use super::hub::Pending;
use super::listener::Listener;
use crate::port::{Binding, Doing, Message, Refusal, Source, Trouble};

/// A source. What it holds is its peers' until it is answered.
pub(super) struct ZeroMqSource {
    /// None when it is closed.
    listener: Option<Arc<Listener>>,
    arrived: Arc<Notify>,
    destination: String,
    prefetch: usize,
    /// What was received and not settled, by its token.
    held: BTreeMap<u64, Pending>,
    tokens: u64,
}

impl ZeroMqSource {
    /// A source of a destination that it has been subscribed to.
    pub(super) fn new(
        listener: Arc<Listener>,
        arrived: Arc<Notify>,
        binding: &Binding,
    ) -> ZeroMqSource {
        ZeroMqSource {
            listener: Some(listener),
            arrived,
            destination: binding.destination.clone(),
            prefetch: usize::from(binding.prefetch),
            held: BTreeMap::new(),
            tokens: 0,
        }
    }

    /// Takes a message, if there is one and room for it.
    fn take(&mut self) -> Option<Message> {
        if self.held.len() >= self.prefetch {
            return None;
        }
        let pending = self.listener.as_ref()?.hub().take(&self.destination)?;
        self.tokens += 1;
        let message = pending.request.to_message(self.tokens, &pending.peer.name);
        self.held.insert(self.tokens, pending);
        Some(message)
    }

    /// Gives back what is held.
    fn end(&mut self) -> Option<Arc<Listener>> {
        let listener = self.listener.take()?;
        let held = std::mem::take(&mut self.held).into_values().collect();
        listener.hub().unsubscribe(&self.destination, held);
        Some(listener)
    }
}

impl Source for ZeroMqSource {
    fn receive(&mut self) -> Doing<'_, Result<Message, Trouble>> {
        Box::pin(async move {
            let arrived = self.arrived.clone();
            loop {
                // Asked for before looking, so that nothing is missed.
                let notified = arrived.notified();
                tokio::pin!(notified);
                notified.as_mut().enable();
                if let Some(message) = self.take() {
                    return Ok(message);
                }
                notified.await;
            }
        })
    }

    fn acknowledge(&mut self, token: u64) -> Doing<'_, Result<(), Trouble>> {
        if let Some(pending) = self.held.remove(&token) {
            pending.accept();
        }
        // A peer that has gone asks again.
        Box::pin(async { Ok(()) })
    }

    fn refuse<'a>(
        &'a mut self,
        token: u64,
        refusal: &'a Refusal,
    ) -> Doing<'a, Result<(), Trouble>> {
        if let Some(pending) = self.held.remove(&token) {
            pending.refuse(refusal);
        }
        Box::pin(async { Ok(()) })
    }

    fn close(mut self: Box<Self>) -> Doing<'static, ()> {
        Box::pin(async move {
            if let Some(listener) = self.end() {
                listener.release().await;
            }
        })
    }
}

impl Drop for ZeroMqSource {
    fn drop(&mut self) {
        self.end();
    }
}
