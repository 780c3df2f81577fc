//! The sockets that peers connect to: one for each address, however many sources and binders share it. It is closed with the last
//! source, which tells every peer.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use super::connection;
use super::hub::Hub;
use super::place::Place;
use crate::port::{Trouble, TroubleKind};

/// How long an address may still be in use by what was closed just before.
const REBIND_MAX: Duration = Duration::from_secs(2);
/// How often it is tried meanwhile.
const REBIND_EVERY: Duration = Duration::from_millis(20);
/// Wait after a connection could not be accepted: the process may have too many files open.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);
/// How long closing waits for the connections.
const CLOSE_MAX: Duration = Duration::from_secs(3);

/// The sockets of this process.
#[derive(Default)]
pub(super) struct Listeners {
    known: Mutex<HashMap<Place, Weak<Listener>>>,
    /// Held while a socket is opened, so that it is opened once.
    opening: tokio::sync::Mutex<()>,
}

/// A listening socket. Dropped, it is closed, and so are its connections.
pub(super) struct Listener {
    hub: Arc<Hub>,
    stop: watch::Sender<bool>,
    accepting: JoinHandle<()>,
}

impl Listeners {
    fn known(&self) -> MutexGuard<'_, HashMap<Place, Weak<Listener>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the socket at a place, if there is one.
    pub(super) fn find(&self, place: Place) -> Option<Arc<Listener>> {
        self.known().get(&place)?.upgrade()
    }

    /// Returns the socket at a place, which is opened if there is none. `prepare` is done before the first peer connects.
    ///
    /// # Errors
    /// If the address can't be listened at.
    pub(super) async fn open<T>(
        &self,
        place: Place,
        prepare: impl FnOnce(&Hub) -> T,
    ) -> Result<(Arc<Listener>, T), Trouble> {
        let _opening = self.opening.lock().await;
        if let Some(listener) = self.find(place) {
            let prepared = prepare(&listener.hub);
            return Ok((listener, prepared));
        }
        let socket = bind(place).await.map_err(|error| {
            let text = match error.kind() {
                io::ErrorKind::AddrInUse => format!("{place}: another program listens there"),
                _ => format!("{place} can't be listened at: {error}"),
            };
            Trouble::new(TroubleKind::Unreachable, text)
        })?;
        let hub = Arc::new(Hub::default());
        let prepared = prepare(&hub);
        let (stop, stopped) = watch::channel(false);
        let listener = Arc::new(Listener {
            accepting: tokio::spawn(accept(socket, hub.clone(), stopped)),
            hub,
            stop,
        });
        let mut known = self.known();
        known.retain(|_, listener| listener.strong_count() > 0);
        known.insert(place, Arc::downgrade(&listener));
        Ok((listener, prepared))
    }
}

impl Listener {
    pub(super) fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }

    /// Lets go of a socket. If this was the last source, waits until every peer was told and the address is free.
    pub(super) async fn release(self: Arc<Self>) {
        let Some(mut listener) = Arc::into_inner(self) else {
            return;
        };
        listener.stop.send_replace(true);
        let _late = tokio::time::timeout(CLOSE_MAX, &mut listener.accepting).await;
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

async fn bind(place: Place) -> io::Result<TcpListener> {
    let begun = tokio::time::Instant::now();
    loop {
        match TcpListener::bind(place.0).await {
            Err(error)
                if error.kind() == io::ErrorKind::AddrInUse && begun.elapsed() < REBIND_MAX =>
            {
                tokio::time::sleep(REBIND_EVERY).await;
            }
            bound => return bound,
        }
    }
}

/// Lets peers in until `stop` says so, and waits until they have gone.
async fn accept(socket: TcpListener, hub: Arc<Hub>, mut stop: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    let stopped = stop.clone();
    loop {
        let accepted = tokio::select! {
            biased;
            _ = stop.wait_for(|stopped| *stopped) => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
            accepted = socket.accept() => accepted,
        };
        match accepted {
            Ok((stream, from)) => {
                let Some(peer) = hub.enter(from.ip().to_canonical()) else {
                    tracing::debug!(%from, "a ZeroMQ peer was turned away: there is no place");
                    continue;
                };
                keep_alive(&stream);
                let connection = connection::serve(stream, peer, hub.clone(), stopped.clone());
                connections.spawn(connection);
            }
            Err(error) => {
                tracing::warn!(%error, "a ZeroMQ peer could not be let in");
                tokio::time::sleep(ACCEPT_AGAIN).await;
            }
        }
    }
    // Nobody connects to a place that is being left.
    drop(socket);
    while connections.join_next().await.is_some() {}
}

/// Finds out that a peer is gone which knows no heartbeats.
fn keep_alive(stream: &TcpStream) {
    let alive = socket2::TcpKeepalive::new().with_time(Duration::from_secs(60));
    let _ = socket2::SockRef::from(stream).set_tcp_keepalive(&alive);
}
