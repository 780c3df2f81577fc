//! ZeroMQ, by ZMTP 3. No broker stands between: this side listens as a ROUTER, and peers connect with a DEALER.
//!
//! A request names a destination, an id and an API key, and is answered when its message is decided. Until then the message is its
//! peer's, which keeps it and sends it again. So nothing is kept here, dead letters go back to their senders, and all that goes out
//! are replies. `docs/decisions/0016-zeromq-without-a-library.md` says why no library speaks here.

mod connection;
mod hub;
mod listener;
mod outbox;
mod place;
mod protocol;
mod queue;
mod sink;
mod source;
mod zmtp;

use std::sync::Arc;

use crate::port::{Adapter, Binder, Binding, Doing, Sink, Source, Trouble, Unfit};
use listener::Listeners;
use place::Place;
use sink::ZeroMqSink;
use source::ZeroMqSource;

/// Maximum size of a destination, bytes: that of a name in a request.
const DESTINATION_BYTES_MAX: usize = 255;

/// Adapter to peers that speak ZeroMQ.
#[derive(Default)]
pub struct ZeroMq {
    listeners: Arc<Listeners>,
}

impl ZeroMq {
    /// An adapter.
    pub fn new() -> ZeroMq {
        ZeroMq::default()
    }
}

fn place(binder: &Binder) -> Result<Place, Unfit> {
    Place::parse(&binder.url).map_err(|what| Unfit::new("url", what))
}

impl Adapter for ZeroMq {
    fn name(&self) -> &'static str {
        "zeromq"
    }

    fn check_binder(&self, binder: &Binder) -> Result<(), Unfit> {
        place(binder)?;
        let none = "must be left out: every request brings an API key";
        if binder.username.is_some() {
            return Err(Unfit::new("username", none));
        }
        if binder.password.is_some() {
            return Err(Unfit::new("password", none));
        }
        match binder.trusted_roots {
            Some(_) => Err(Unfit::new(
                "trusted_roots",
                "must be left out: there is no TLS",
            )),
            None => Ok(()),
        }
    }

    fn check_binding(&self, binding: &Binding) -> Result<(), Unfit> {
        let destination = &binding.destination;
        if destination.is_empty() || destination.len() > DESTINATION_BYTES_MAX {
            let what = format!("must have 1 to {DESTINATION_BYTES_MAX} bytes");
            return Err(Unfit::new("destination", what));
        }
        match binding.prefetch {
            0 => Err(Unfit::new("prefetch", "must be at least 1")),
            _ => Ok(()),
        }
    }

    fn check_out(&self) -> Result<(), Unfit> {
        let what = "must be in: ZeroMQ keeps nothing, so an event for a peer that is away would be lost; take events by webhooks, by /v1/events or through a broker";
        Err(Unfit::new("direction", what))
    }

    fn refuses(&self) -> bool {
        true
    }

    fn open_source<'a>(
        &'a self,
        binder: &'a Binder,
        binding: &'a Binding,
    ) -> Doing<'a, Result<Box<dyn Source>, Trouble>> {
        Box::pin(async move {
            let place = place(binder)?;
            let opening = self
                .listeners
                .open(place, |hub| hub.subscribe(&binding.destination));
            let (listener, arrived) = opening.await?;
            let source = ZeroMqSource::new(listener, arrived, binding);
            Ok(Box::new(source) as Box<dyn Source>)
        })
    }

    fn open_sink<'a>(&'a self, binder: &'a Binder) -> Doing<'a, Result<Box<dyn Sink>, Trouble>> {
        Box::pin(async move {
            let sink = ZeroMqSink {
                listeners: self.listeners.clone(),
                place: place(binder)?,
            };
            Ok(Box::new(sink) as Box<dyn Sink>)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::port::Secret;

    #[test]
    fn a_binder_has_an_address_and_nothing_else() {
        let sound = Binder {
            slug: "main".to_owned(),
            url: "tcp://127.0.0.1:5555".to_owned(),
            username: None,
            password: None,
            trusted_roots: None,
        };
        let check = |change: &dyn Fn(&mut Binder)| {
            let mut binder = sound.clone();
            change(&mut binder);
            let checked = ZeroMq::new().check_binder(&binder);
            checked.map_err(|unfit| unfit.field)
        };
        assert_eq!(check(&|_| {}), Ok(()));
        assert_eq!(
            check(&|one| one.url = "tcp://0.0.0.0:1".to_owned()),
            Err("url")
        );
        assert_eq!(
            check(&|one| one.username = Some("u".to_owned())),
            Err("username")
        );
        assert_eq!(
            check(&|one| one.password = Some(Secret::new("p"))),
            Err("password")
        );
        assert_eq!(
            check(&|one| one.trusted_roots = Some(String::new())),
            Err("trusted_roots")
        );
        assert_eq!(
            ZeroMq::new().check_out().map_err(|unfit| unfit.field),
            Err("direction")
        );
    }
}
