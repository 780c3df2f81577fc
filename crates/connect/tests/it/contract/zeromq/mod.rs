//! ZeroMQ, with peers that speak ZMTP by code of their own. `pyzmq` is tried with the whole program.

mod dealer;
mod hostile;
mod requests;

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tributary_connect::port::{Adapter, Binder, Doing};
use tributary_connect::zeromq::ZeroMq;

use super::Rig;
use super::engine::free_port;
use super::proxy::Proxy;
use dealer::Dealer;

fn binder_at(port: u16) -> Binder {
    Binder {
        slug: "peers".to_owned(),
        url: format!("tcp://127.0.0.1:{port}"),
        username: None,
        password: None,
        trusted_roots: None,
    }
}

/// A peer that keeps what was not acknowledged, as the protocol wants it.
#[derive(Default)]
struct Keeper {
    /// Destination, id and body, in order.
    kept: Mutex<Vec<(String, String, String)>>,
    changed: Notify,
}

impl Keeper {
    /// Sends what is kept, again after each lost connection, until all is acknowledged.
    async fn run(self: Arc<Keeper>, to: SocketAddr) {
        loop {
            if let Ok(dealer) = Dealer::connect(to).await {
                let _lost = self.talk(dealer).await;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn talk(&self, mut dealer: Dealer) -> std::io::Result<()> {
        let mut sent = BTreeSet::new();
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let kept = self.kept.lock().expect("nobody panics").clone();
            for (to, id, body) in &kept {
                if sent.insert((to.clone(), id.clone())) {
                    dealer.order(to, id, body.as_bytes()).await?;
                }
            }
            let answer = tokio::select! {
                answer = dealer.receive() => answer?,
                () = changed => continue,
            };
            match &answer[..] {
                [version, ok, id] if ok == "OK" => {
                    assert_eq!(version, "tributary/1");
                    let mut kept = self.kept.lock().expect("nobody panics");
                    kept.retain(|(_, kept, _)| kept != id);
                }
                // All that goes there again, in order.
                [_, later, id, _] if later == "LATER" => {
                    let to = kept.iter().find(|(_, kept, _)| kept == id);
                    if let Some((to, ..)) = to {
                        sent.retain(|(other, _)| other != to);
                    }
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                other => panic!("{other:?}"),
            }
        }
    }
}

struct ZeroMqRig {
    adapter: ZeroMq,
    port: u16,
    proxy: Proxy,
    keeper: Arc<Keeper>,
    running: Mutex<Option<JoinHandle<()>>>,
    numbers: AtomicU64,
}

impl ZeroMqRig {
    async fn start() -> ZeroMqRig {
        let port = free_port();
        let rig = ZeroMqRig {
            adapter: ZeroMq::new(),
            port,
            proxy: Proxy::start(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await,
            keeper: Arc::default(),
            running: Mutex::default(),
            numbers: AtomicU64::new(0),
        };
        rig.start_peer();
        rig
    }

    fn start_peer(&self) {
        let peer = tokio::spawn(self.keeper.clone().run(self.proxy.address()));
        *self.running.lock().expect("nobody panics") = Some(peer);
    }

    fn next(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }
}

impl Rig for ZeroMqRig {
    fn adapter(&self) -> &dyn Adapter {
        &self.adapter
    }

    fn binder(&self) -> Binder {
        binder_at(self.port)
    }

    fn wrong_binder(&self) -> Option<Binder> {
        None
    }

    fn is_peer_to_peer(&self) -> bool {
        true
    }

    fn make_queue(&self) -> Doing<'_, String> {
        let queue = format!("queue-{}", self.next());
        Box::pin(async { queue })
    }

    fn put<'a>(&'a self, queue: &'a str, bodies: &'a [String]) -> Doing<'a, ()> {
        let mut kept = self.keeper.kept.lock().expect("nobody panics");
        for body in bodies {
            let id = format!("id-{}", self.next());
            kept.push((queue.to_owned(), id, body.clone()));
        }
        self.keeper.changed.notify_waiters();
        Box::pin(async {})
    }

    fn kill(&self) -> Doing<'_, ()> {
        let running = self.running.lock().expect("nobody panics").take();
        Box::pin(async {
            let running = running.expect("it runs");
            running.abort();
            let ended = running.await.expect_err("it never ends by itself");
            assert!(ended.is_cancelled(), "{ended}");
        })
    }

    fn restart(&self) -> Doing<'_, ()> {
        self.start_peer();
        Box::pin(async {})
    }

    fn cut(&self) {
        self.proxy.cut();
    }
}

#[tokio::test]
async fn zeromq_keeps_the_contract() {
    let rig = ZeroMqRig::start().await;
    super::pass(&rig).await;
}
