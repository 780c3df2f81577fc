//! What all connections and sources of one listening socket share: who is there, and which requests wait for whom.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use super::outbox::Outbox;
use super::protocol::{Answer, REQUEST_BYTES_MAX, Request, answer};
use super::queue::FairQueue;
use crate::port::Refusal;

/// Maximum number of peers that are connected at once.
const PEERS_MAX: usize = 256;
/// Maximum number of peers that are connected at once from one address.
const PEERS_OF_ADDRESS_MAX: usize = 128;
/// Maximum number of requests of one peer that are not answered.
pub(super) const WINDOW: usize = 256;
/// Bytes that a request takes of its peer's window, at least.
const PLACE_BYTES: usize = REQUEST_BYTES_MAX / WINDOW;
/// Beginning of the address of a peer, as replies name it.
pub(super) const PEER_PREFIX: &str = "peer-";

/// What a peer is told whose request can't be taken now.
const NOBODY_READS: &str =
    "No binding takes messages in from this destination now. Send the request again in a moment.";

/// A connected peer.
#[derive(Debug)]
pub(super) struct Peer {
    /// Address of its replies. It is random, and known to nobody else.
    pub(super) name: String,
    ip: IpAddr,
    /// Number of its connection: a greater one came later.
    number: u64,
    /// A request of its was decided, so it knows an API key.
    is_proven: AtomicBool,
    pub(super) outbox: Outbox,
    window: Arc<Semaphore>,
    /// Notified when another peer needs the place.
    pub(super) evicted: Notify,
}

impl Peer {
    /// Waits until there is a place for a request of so many bytes.
    pub(super) async fn place(&self, bytes: usize) -> OwnedSemaphorePermit {
        let size = bytes.clamp(PLACE_BYTES, REQUEST_BYTES_MAX);
        let size = u32::try_from(size).expect("a request is small");
        let place = self.window.clone().acquire_many_owned(size).await;
        place.expect("nobody closes it")
    }
}

/// A request that was read and not answered.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) peer: Arc<Peer>,
    pub(super) request: Request,
    place: OwnedSemaphorePermit,
}

impl Pending {
    pub(super) fn new(peer: Arc<Peer>, request: Request, place: OwnedSemaphorePermit) -> Pending {
        Pending {
            peer,
            request,
            place,
        }
    }

    /// Says that the request is decided.
    pub(super) fn accept(self) {
        self.peer.is_proven.store(true, Ordering::Relaxed);
        self.answer(Answer::Ok);
    }

    /// Says that the request can't be decided.
    pub(super) fn refuse(self, refusal: &Refusal) {
        self.answer(Answer::Refused(refusal));
    }

    fn answer(self, said: Answer<'_>) {
        let bytes = answer(self.request.id.as_bytes(), said);
        self.peer.outbox.answer(bytes, self.place);
    }
}

/// Requests to one destination.
struct Destination {
    waiting: FairQueue<u64, Pending>,
    sources: usize,
    arrived: Arc<Notify>,
}

/// All that is shared.
#[derive(Default)]
pub(super) struct Hub {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    destinations: HashMap<String, Destination>,
    peers: HashMap<String, Arc<Peer>>,
    numbers: u64,
}

impl Hub {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a peer in. If every place is taken, or its address has its share of them, the peer gets the place of the one that is there
    /// for the longest time without having proven that it knows a key; none if there is no such peer.
    pub(super) fn enter(&self, ip: IpAddr) -> Option<Arc<Peer>> {
        let mut random = [0; 16];
        getrandom::fill(&mut random).ok()?;
        let mut state = self.state();
        let of_address = |peer: &&Arc<Peer>| peer.ip == ip;
        let has_share = state.peers.values().filter(of_address).count() >= PEERS_OF_ADDRESS_MAX;
        if has_share || state.peers.len() >= PEERS_MAX {
            let others = state.peers.values();
            let evicted = others
                .filter(|peer| !peer.is_proven.load(Ordering::Relaxed))
                .filter(|peer| !has_share || peer.ip == ip)
                .min_by_key(|peer| peer.number)?
                .clone();
            state.leave(&evicted);
            evicted.evicted.notify_one();
        }
        state.numbers += 1;
        let peer = Arc::new(Peer {
            name: format!("{PEER_PREFIX}{}", hex::encode(random)),
            ip,
            number: state.numbers,
            is_proven: AtomicBool::new(false),
            outbox: Outbox::default(),
            window: Arc::new(Semaphore::new(REQUEST_BYTES_MAX)),
            evicted: Notify::new(),
        });
        state.peers.insert(peer.name.clone(), peer.clone());
        Some(peer)
    }

    /// Forgets a peer and what it asked for.
    pub(super) fn leave(&self, peer: &Arc<Peer>) {
        self.state().leave(peer);
    }

    /// Returns the peer of this name, if it is connected.
    pub(super) fn peer(&self, name: &str) -> Option<Arc<Peer>> {
        self.state().peers.get(name).cloned()
    }

    /// Returns the number of peers that are connected.
    #[cfg(test)]
    pub(super) fn peers(&self) -> usize {
        self.state().peers.len()
    }

    /// Hands a request to the sources of its destination.
    pub(super) fn submit(&self, pending: Pending) {
        let mut state = self.state();
        // One that has gone meanwhile asks again.
        if !state.peers.contains_key(&pending.peer.name) {
            return;
        }
        match state.destinations.get_mut(&pending.request.destination) {
            Some(destination) => {
                destination.waiting.push_back(pending.peer.number, pending);
                destination.arrived.notify_waiters();
            }
            None => pending.answer(Answer::Later(NOBODY_READS)),
        }
    }

    /// Adds a source of a destination. Returns what is notified when a request arrives.
    pub(super) fn subscribe(&self, destination: &str) -> Arc<Notify> {
        let mut state = self.state();
        let made = || Destination {
            waiting: FairQueue::new(),
            sources: 0,
            arrived: Arc::new(Notify::new()),
        };
        let destination = state.destinations.entry(destination.to_owned());
        let destination = destination.or_insert_with(made);
        destination.sources += 1;
        destination.arrived.clone()
    }

    /// Takes the next request to a destination.
    pub(super) fn take(&self, destination: &str) -> Option<Pending> {
        let mut state = self.state();
        state.destinations.get_mut(destination)?.waiting.pop()
    }

    /// Ends a source, which gives back what it holds, in order: to the other sources of its destination; without one, the peers are
    /// told to send again.
    pub(super) fn unsubscribe(&self, name: &str, held: Vec<Pending>) {
        let mut state = self.state();
        let State {
            destinations,
            peers,
            ..
        } = &mut *state;
        let Some(destination) = destinations.get_mut(name) else {
            return;
        };
        destination.sources -= 1;
        for pending in held.into_iter().rev() {
            if peers.contains_key(&pending.peer.name) {
                destination.waiting.push_front(pending.peer.number, pending);
            }
        }
        if destination.sources > 0 {
            destination.arrived.notify_waiters();
            return;
        }
        while let Some(pending) = destination.waiting.pop() {
            pending.answer(Answer::Later(NOBODY_READS));
        }
        destinations.remove(name);
    }
}

impl State {
    fn leave(&mut self, peer: &Arc<Peer>) {
        self.peers.remove(&peer.name);
        for destination in self.destinations.values_mut() {
            destination.waiting.remove(&peer.number);
        }
        peer.outbox.close();
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use bytes::Bytes;

    use super::super::protocol::read_request;
    use super::super::zmtp::Message;
    use super::*;

    fn ip(last: u8) -> IpAddr {
        IpAddr::V4(Ipv4Addr::new(10, 0, 0, last))
    }

    async fn pending(peer: &Arc<Peer>, id: &str) -> Pending {
        let frames = ["tributary/1", "orders", id, "key", "", "{}"];
        let request = read_request(Message {
            frames: frames
                .map(|frame| Bytes::copy_from_slice(frame.as_bytes()))
                .to_vec(),
            is_cut: false,
        });
        let place = peer.place(1).await;
        Pending::new(peer.clone(), request.expect("it is sound"), place)
    }

    fn ids(hub: &Hub) -> Vec<String> {
        std::iter::from_fn(|| hub.take("orders"))
            .map(|one| one.request.id.clone())
            .collect()
    }

    fn said(peer: &Peer) -> String {
        let (bytes, _) = peer.outbox.take().unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    #[tokio::test]
    async fn what_a_source_gives_back_goes_to_the_next_one_in_order() {
        let hub = Hub::default();
        let peer = hub.enter(ip(1)).expect("there is room");
        hub.subscribe("orders");
        hub.subscribe("orders");
        for id in ["a", "b", "c"] {
            hub.submit(pending(&peer, id).await);
        }
        let held = vec![
            hub.take("orders").expect("a"),
            hub.take("orders").expect("b"),
        ];
        hub.unsubscribe("orders", held);
        assert_eq!(said(&peer), "");
        assert_eq!(ids(&hub), ["a", "b", "c"]);
        // The last source: what waits is sent again later.
        hub.submit(pending(&peer, "d").await);
        hub.unsubscribe("orders", Vec::new());
        assert!(said(&peer).contains("LATER"));
        hub.submit(pending(&peer, "e").await);
        assert!(said(&peer).contains("LATER"));
    }

    #[tokio::test]
    async fn a_peer_that_goes_takes_what_waits_with_it() {
        let hub = Hub::default();
        let (gone, here) = (
            hub.enter(ip(1)).expect("room"),
            hub.enter(ip(1)).expect("room"),
        );
        hub.subscribe("orders");
        hub.submit(pending(&gone, "a").await);
        hub.submit(pending(&gone, "b").await);
        hub.submit(pending(&here, "c").await);
        let held = vec![hub.take("orders").expect("a")];
        hub.leave(&gone);
        hub.submit(pending(&gone, "late").await);
        hub.subscribe("orders");
        hub.unsubscribe("orders", held);
        assert_eq!(ids(&hub), ["c"]);
        assert!(hub.peer(&gone.name).is_none());
        assert_eq!(
            gone.outbox.reply(Bytes::new()).await,
            Err(super::super::outbox::Gone)
        );
    }

    #[tokio::test]
    async fn a_newcomer_takes_the_place_of_a_peer_that_has_proven_nothing() {
        let hub = Hub::default();
        hub.subscribe("orders");
        let mut first = Vec::new();
        for _ in 0..PEERS_OF_ADDRESS_MAX {
            first.push(hub.enter(ip(1)).expect("there is room"));
        }
        let proven = &first[0];
        hub.submit(pending(proven, "a").await);
        hub.take("orders").expect("a").accept();
        // One address has its share only, and the eldest of its peers that has proven nothing goes.
        let next = hub.enter(ip(1)).expect("one goes");
        assert!(hub.peer(&proven.name).is_some() && hub.peer(&next.name).is_some());
        assert!(hub.peer(&first[1].name).is_none());
        assert_eq!(hub.peers(), PEERS_OF_ADDRESS_MAX);
        for last in 2..=u8::MAX {
            hub.enter(ip(last)).expect("there is room, or one goes");
        }
        assert_eq!(hub.peers(), PEERS_MAX);
        assert!(hub.peer(&proven.name).is_some());
        // Where all are proven, nobody goes.
        for peer in hub.state().peers.values() {
            peer.is_proven.store(true, Ordering::Relaxed);
        }
        assert!(hub.enter(ip(9)).is_none());
    }

    #[tokio::test]
    async fn a_peer_has_a_window_of_requests_and_bytes() {
        let hub = Hub::default();
        let peer = hub.enter(ip(1)).expect("there is room");
        hub.subscribe("orders");
        for number in 0..WINDOW {
            hub.submit(pending(&peer, &number.to_string()).await);
        }
        let waiting = peer.place(1);
        tokio::pin!(waiting);
        let soon = std::time::Duration::from_millis(20);
        assert!(tokio::time::timeout(soon, waiting.as_mut()).await.is_err());
        hub.take("orders").expect("the first").accept();
        // It is answered, and the peer does not read.
        assert!(tokio::time::timeout(soon, waiting.as_mut()).await.is_err());
        drop(peer.outbox.take());
        drop(waiting.await);
        while let Some(pending) = hub.take("orders") {
            pending.accept();
        }
        while peer.outbox.take().is_some() {}
        let whole = peer.place(REQUEST_BYTES_MAX).await;
        assert!(tokio::time::timeout(soon, peer.place(1)).await.is_err());
        drop(whole);
    }

    #[tokio::test]
    async fn replies_wait_for_a_peer_that_reads_slowly() {
        let hub = Hub::default();
        let peer = hub.enter(ip(1)).expect("there is room");
        let large = Bytes::from(vec![0; 300 * 1024]);
        assert_eq!(peer.outbox.reply(large.clone()).await, Ok(()));
        let waiting = peer.outbox.reply(large.clone());
        tokio::pin!(waiting);
        let soon = std::time::Duration::from_millis(20);
        assert!(tokio::time::timeout(soon, waiting.as_mut()).await.is_err());
        drop(peer.outbox.take());
        assert_eq!(waiting.await, Ok(()));
        let waiting = peer.outbox.reply(large);
        hub.leave(&peer);
        assert!(waiting.await.is_err());
    }
}
