//! The open connections, and which of them gives way when there are too many.
//!
//! A connection without a valid API key costs its maker nothing. Such a connection is closed after a while, and earlier if its
//! place is needed: then the oldest one gives way. A connection that brought a valid key keeps its place. If no connection can
//! give way, the new one is refused at once.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::pin::pin;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// Interval between two warnings of refused connections.
const WARN_EVERY: Duration = Duration::from_secs(60);

/// Bounds on open connections.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConnectionLimits {
    /// Maximum number of open connections.
    pub(crate) all_max: usize,
    /// Maximum number of open connections from one network.
    pub(crate) per_network_max: usize,
    /// Time after which a connection that brought no valid API key is closed.
    pub(crate) unauthenticated_timeout: Duration,
}

/// The part of an address that one caller has: an IPv4 address, or the first 64 bits of an IPv6 address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Network(IpAddr);

impl Network {
    /// Returns the network of an address.
    pub(crate) fn of_address(address: IpAddr) -> Network {
        match address.to_canonical() {
            IpAddr::V6(address) => {
                let network = u128::from(address) >> 64 << 64;
                Network(Ipv6Addr::from(network).into())
            }
            address => Network(address),
        }
    }

    /// Returns the address, or the first one of a network of IPv6.
    pub(crate) fn address(self) -> IpAddr {
        self.0
    }
}

/// Why a connection was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The maximum number of connections is open.
    All,
    /// The maximum number of connections from this network is open.
    Network,
}

/// The open connections of a server, over all of its ports.
#[derive(Debug)]
pub(crate) struct Admission {
    limits: ConnectionLimits,
    open: Mutex<OpenConnections>,
    /// Number of connections refused because of all open ones.
    pub(crate) refused_of_all: AtomicU64,
    /// Number of connections refused because of those of their network.
    pub(crate) refused_of_network: AtomicU64,
    /// Number of connections that gave way to another.
    pub(crate) evicted: AtomicU64,
    /// Number of connections closed because they brought no valid API key in time.
    pub(crate) expired: AtomicU64,
}

#[derive(Debug, Default)]
struct OpenConnections {
    /// Number of the next connection.
    next: u64,
    count: usize,
    /// Connections without a valid API key, the oldest first.
    unauthenticated: BTreeMap<u64, Arc<ConnectionPlace>>,
    networks: HashMap<Network, OpenOfNetwork>,
    warned_at: Option<Instant>,
}

#[derive(Debug, Default)]
struct OpenOfNetwork {
    count: usize,
    /// Numbers of the connections without a valid API key.
    unauthenticated: BTreeSet<u64>,
}

/// The place of one connection among the open ones. Free again when [`Admitted`] is dropped.
#[derive(Debug)]
pub(crate) struct ConnectionPlace {
    number: u64,
    network: Network,
    opened_at: Instant,
    state: AtomicU8,
    changed: Notify,
    admission: Arc<Admission>,
}

// States of a place. Changed only under the lock.
const UNAUTHENTICATED: u8 = 0;
const AUTHENTICATED: u8 = 1;
const EXPIRED: u8 = 2;
const EVICTED: u8 = 3;

/// Why a connection must end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Another connection needs the place: at once.
    Evicted,
    /// No valid API key came in time: after the request in flight.
    Expired,
}

/// An admitted connection, which keeps its place until this is dropped.
#[derive(Debug)]
pub(crate) struct Admitted(pub(crate) Arc<ConnectionPlace>);

impl Admission {
    pub(crate) fn new(limits: ConnectionLimits) -> Arc<Admission> {
        Arc::new(Admission {
            limits,
            open: Mutex::default(),
            refused_of_all: AtomicU64::new(0),
            refused_of_network: AtomicU64::new(0),
            evicted: AtomicU64::new(0),
            expired: AtomicU64::new(0),
        })
    }

    /// Gives a new connection from `address` its place, that of another one if there is none left.
    pub(crate) fn admit(
        self: &Arc<Admission>,
        address: IpAddr,
        now: Instant,
    ) -> Result<Admitted, Refused> {
        let network = Network::of_address(address);
        let mut open = self.open();
        let of_network = open.networks.get(&network);
        if of_network.is_some_and(|of_network| of_network.count >= self.limits.per_network_max) {
            let oldest = of_network.and_then(|of_network| of_network.unauthenticated.first());
            match oldest.copied() {
                Some(oldest) => self.evict(&mut open, oldest),
                None => return Err(self.refuse(&mut open, Refused::Network, now)),
            }
        }
        if open.count >= self.limits.all_max {
            match open.unauthenticated.keys().next().copied() {
                Some(oldest) => self.evict(&mut open, oldest),
                None => return Err(self.refuse(&mut open, Refused::All, now)),
            }
        }
        let place = Arc::new(ConnectionPlace {
            number: open.next,
            network,
            opened_at: now,
            state: AtomicU8::new(UNAUTHENTICATED),
            changed: Notify::new(),
            admission: self.clone(),
        });
        open.next += 1;
        open.count += 1;
        let of_network = open.networks.entry(network).or_default();
        of_network.count += 1;
        of_network.unauthenticated.insert(place.number);
        open.unauthenticated.insert(place.number, place.clone());
        Ok(Admitted(place))
    }

    /// Asks connections to end that brought no valid API key in time.
    pub(crate) fn expire(&self, now: Instant) {
        let open = self.open();
        let overdue = open.unauthenticated.values().take_while(|place| {
            now.saturating_duration_since(place.opened_at) >= self.limits.unauthenticated_timeout
        });
        for place in overdue {
            if place.state.load(Ordering::Relaxed) == UNAUTHENTICATED {
                self.expired.fetch_add(1, Ordering::Relaxed);
                place.change(EXPIRED);
            }
        }
    }

    /// Returns the numbers of open connections, of all and of those without a valid API key.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let open = self.open();
        (open.count, open.unauthenticated.len())
    }

    /// Returns how often [`Admission::expire`] must be called, so that nothing is much overdue.
    pub(crate) fn expire_every(&self) -> Duration {
        let tenth = self.limits.unauthenticated_timeout / 10;
        tenth.clamp(Duration::from_millis(10), Duration::from_secs(1))
    }

    fn evict(&self, open: &mut OpenConnections, number: u64) {
        let place = open.unauthenticated.get(&number).cloned();
        let place = place.expect("both lists have the same connections");
        open.release(&place);
        self.evicted.fetch_add(1, Ordering::Relaxed);
        place.change(EVICTED);
    }

    fn refuse(&self, open: &mut OpenConnections, why: Refused, now: Instant) -> Refused {
        let counter = match why {
            Refused::All => &self.refused_of_all,
            Refused::Network => &self.refused_of_network,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        let quiet = open
            .warned_at
            .is_some_and(|at| now.saturating_duration_since(at) < WARN_EVERY);
        if !quiet {
            open.warned_at = Some(now);
            tracing::warn!(
                open = open.count,
                scope = ?why,
                "connections are refused: raise limits.connections_max or limits.connections_per_address_max, or find out \
                 who keeps so many open"
            );
        }
        why
    }

    fn open(&self) -> MutexGuard<'_, OpenConnections> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OpenConnections {
    fn release(&mut self, place: &ConnectionPlace) {
        self.count -= 1;
        self.unauthenticated.remove(&place.number);
        let of_network = self.networks.get_mut(&place.network);
        let of_network = of_network.expect("a network with a connection is known");
        of_network.count -= 1;
        of_network.unauthenticated.remove(&place.number);
        if of_network.count == 0 {
            self.networks.remove(&place.network);
        }
    }
}

impl ConnectionPlace {
    /// Network of the address from which the connection was made.
    pub(crate) fn network(&self) -> Network {
        self.network
    }

    /// Whether a connection from the same network is open over which a valid API key came: somebody there does as is right.
    pub(crate) fn network_has_key(&self) -> bool {
        let open = self.admission.open();
        let of_network = open.networks.get(&self.network);
        of_network.is_some_and(|one| one.count > one.unauthenticated.len())
    }

    /// Records that a valid API key came over the connection: it keeps its place.
    pub(crate) fn set_authenticated(&self) {
        if self.is_authenticated() {
            return;
        }
        let mut open = self.admission.open();
        if self.state.load(Ordering::Relaxed) == EVICTED {
            // The key came just before the end. A request with a valid key is not cut off: the place is taken back, and for a
            // moment there is one connection more than there may be.
            open.count += 1;
            open.networks.entry(self.network).or_default().count += 1;
        } else {
            open.unauthenticated.remove(&self.number);
            let of_network = open.networks.entry(self.network).or_default();
            of_network.unauthenticated.remove(&self.number);
        }
        self.state.store(AUTHENTICATED, Ordering::Release);
    }

    /// Whether a valid API key came over the connection.
    pub(crate) fn is_authenticated(&self) -> bool {
        self.state.load(Ordering::Acquire) == AUTHENTICATED
    }

    /// Whether the connection must end, and how.
    pub(crate) fn end(&self) -> Option<End> {
        match self.state.load(Ordering::Acquire) {
            EXPIRED => Some(End::Expired),
            EVICTED => Some(End::Evicted),
            _ => None,
        }
    }

    /// Waits until the connection must end.
    pub(crate) async fn must_end(&self) -> End {
        loop {
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            if let Some(end) = self.end() {
                return end;
            }
            changed.await;
        }
    }

    fn change(&self, state: u8) {
        self.state.store(state, Ordering::Release);
        self.changed.notify_waiters();
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut open = self.0.admission.open();
        // An evicted connection has released its place already.
        if self.0.state.load(Ordering::Relaxed) != EVICTED {
            open.release(&self.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission(all_max: usize, per_network_max: usize) -> Arc<Admission> {
        Admission::new(ConnectionLimits {
            all_max,
            per_network_max,
            unauthenticated_timeout: Duration::from_secs(60),
        })
    }

    fn address(last: u8) -> IpAddr {
        [10, 0, 0, last].into()
    }

    #[test]
    fn the_oldest_connection_without_a_key_gives_way() {
        let admission = admission(3, 3);
        let now = Instant::now();
        let admit = |last| admission.admit(address(last), now);
        let open: Vec<Admitted> = (1..=3).map(|last| admit(last).expect("a place")).collect();
        open[0].0.set_authenticated();
        let fourth = admit(4).expect("the second gives way");
        let ends: Vec<_> = open.iter().map(|one| one.0.end()).collect();
        assert_eq!(ends, [None, Some(End::Evicted), None]);
        assert_eq!(admission.counts(), (3, 2));
        drop(open);
        assert_eq!(admission.counts(), (1, 1));
        drop(fourth);
        assert_eq!(admission.counts(), (0, 0));
        assert!(admission.open().networks.is_empty());
    }

    #[test]
    fn with_valid_keys_on_all_connections_a_new_one_is_refused() {
        let admission = admission(2, 2);
        let now = Instant::now();
        let open: Vec<Admitted> = (1..=2)
            .map(|last| admission.admit(address(last), now).expect("a place"))
            .collect();
        open.iter().for_each(|one| one.0.set_authenticated());
        let refused = admission.admit(address(3), now).map(|_| ());
        assert_eq!(refused, Err(Refused::All));
        assert_eq!(admission.refused_of_all.load(Ordering::Relaxed), 1);
        drop(open);
        assert!(admission.admit(address(3), now).is_ok());
    }

    #[test]
    fn one_network_takes_its_share_and_no_more() {
        let admission = admission(10, 2);
        let now = Instant::now();
        let v6 = |text: &str| -> IpAddr { text.parse().expect("an address") };
        for addresses in [
            [address(1), address(1), address(1)],
            [
                v6("2001:db8:1:1::1"),
                v6("2001:db8:1:1::2"),
                v6("2001:db8:1:1:9::"),
            ],
            // The same caller over a socket for both families.
            [address(2), v6("::ffff:10.0.0.2"), address(2)],
        ] {
            let [first, second, third] = addresses.map(|address| admission.admit(address, now));
            let (first, second) = (first.expect("a place"), second.expect("a place"));
            let third = third.expect("the first gives way");
            assert_eq!(first.0.end(), Some(End::Evicted));
            second.0.set_authenticated();
            third.0.set_authenticated();
            let refused = admission.admit(addresses[0], now).map(|_| ());
            assert_eq!(refused, Err(Refused::Network));
            assert!(
                admission.admit(address(9), now).is_ok(),
                "others have theirs"
            );
        }
        assert_eq!(admission.counts(), (0, 0));
    }

    #[test]
    fn a_connection_without_a_key_expires_and_one_with_a_key_does_not() {
        let admission = admission(10, 10);
        let now = Instant::now();
        let (known, unknown) = (
            admission.admit(address(1), now).expect("a place"),
            admission.admit(address(1), now).expect("a place"),
        );
        known.0.set_authenticated();
        admission.expire(now + Duration::from_secs(59));
        assert_eq!(unknown.0.end(), None);
        let later = now + Duration::from_secs(60);
        let fresh = admission.admit(address(1), later).expect("a place");
        admission.expire(later);
        admission.expire(later);
        let ends = [&known, &unknown, &fresh].map(|one| one.0.end());
        assert_eq!(ends, [None, Some(End::Expired), None]);
        assert_eq!(admission.expired.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_key_that_comes_while_the_connection_gives_way_keeps_it() {
        let admission = admission(1, 1);
        let now = Instant::now();
        let first = admission.admit(address(1), now).expect("a place");
        let second = admission
            .admit(address(2), now)
            .expect("the first gives way");
        first.0.set_authenticated();
        assert_eq!(first.0.end(), None);
        assert_eq!(admission.counts(), (2, 1));
        drop((first, second));
        assert_eq!(admission.counts(), (0, 0));
    }
}
