//! NATS JetStream.

mod client;
mod connections;
mod messages;
mod streams;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::json;
use tributary_connect::nats::Nats;
use tributary_connect::port::{Adapter, Binder, Doing};

use super::engine::Engine;
use super::proxy::Proxy;
use super::{Rig, binder, binding, check_binders, check_bindings, group, nameless};
use client::Client;

struct NatsRig {
    engine: Arc<Engine>,
    proxy: Proxy,
    adapter: Nats,
    queues: AtomicU64,
}

impl NatsRig {
    async fn start() -> Option<NatsRig> {
        let engine = Engine::start("nats").await?;
        Some(NatsRig {
            proxy: Proxy::start(engine.address()).await,
            engine,
            adapter: Nats::new(),
            queues: AtomicU64::new(0),
        })
    }

    /// A connection without the adapter and the proxy.
    async fn connect(&self) -> Client {
        Client::connect(self.engine.address()).await
    }

    fn new_name(&self) -> String {
        format!("queue.{}", self.queues.fetch_add(1, Ordering::Relaxed))
    }
}

impl Rig for NatsRig {
    fn adapter(&self) -> &dyn Adapter {
        &self.adapter
    }

    fn binder(&self) -> Binder {
        binder(&format!("nats://{}", self.proxy.address()))
    }

    fn tells_backlog(&self) -> bool {
        true
    }

    fn make_queue(&self) -> Doing<'_, String> {
        Box::pin(async {
            let queue = self.new_name();
            let mut client = self.connect().await;
            client.make_stream(&queue, &json!({})).await;
            client
                .make_stream(&format!("{queue}.tributary.dlq"), &json!({}))
                .await;
            queue
        })
    }

    fn put<'a>(&'a self, queue: &'a str, bodies: &'a [String]) -> Doing<'a, ()> {
        Box::pin(async move {
            let mut client = self.connect().await;
            for body in bodies {
                client.put(queue, &[], body.as_bytes()).await;
            }
        })
    }

    fn kill(&self) -> Doing<'_, ()> {
        self.engine.kill()
    }

    fn restart(&self) -> Doing<'_, ()> {
        self.engine.restart()
    }

    fn cut(&self) {
        self.proxy.cut();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nats_keeps_the_contract() {
    if let Some(rig) = NatsRig::start().await {
        super::pass(&rig).await;
    }
}

/// What only NATS has, on one server.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nats_keeps_what_is_said_of_it() {
    let Some(rig) = NatsRig::start().await else {
        return;
    };
    streams::pass(&rig).await;
    messages::pass(&rig).await;
    connections::pass(&rig).await;
}

#[test]
fn what_nats_can_t_use_is_told() {
    let adapter = Nats::new();
    check_binders(&adapter, "tls://localhost", &[]);
    let nobody = nameless(binder("tls://localhost"));
    adapter.check_binder(&nobody).expect("it is fit");
    let unfit = [
        ("destination", binding("orders.*", 1)),
        ("destination", binding("$JS.API.INFO", 1)),
        ("destination", binding(&"q".repeat(250), 1)),
        ("group", group("a.b")),
    ];
    check_bindings(&adapter, "a.b", &unfit);
}
