//! NATS JetStream.

mod client;
mod connections;
mod messages;
mod streams;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::json;
use tributary_connect::nats::Nats;
use tributary_connect::port::{Adapter, Binder, Binding, Doing, Secret};

use super::engine::Engine;
use super::proxy::Proxy;
use super::{Rig, binding};
use client::{Client, USER};

struct NatsRig {
    engine: Arc<Engine>,
    proxy: Proxy,
    adapter: Nats,
    queues: AtomicU64,
}

impl NatsRig {
    async fn start() -> Option<NatsRig> {
        let engine = blocking(|| Engine::start("nats")).await?;
        Some(NatsRig {
            proxy: Proxy::start(engine.address()).await,
            engine: Arc::new(engine),
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

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work)
        .await
        .expect("it does not panic")
}

impl Rig for NatsRig {
    fn adapter(&self) -> &dyn Adapter {
        &self.adapter
    }

    fn binder(&self) -> Binder {
        Binder {
            slug: "main".to_owned(),
            url: format!("nats://{}", self.proxy.address()),
            username: Some(USER.to_owned()),
            password: Some(Secret::new(USER)),
            trusted_roots: None,
        }
    }

    fn wrong_binder(&self) -> Option<Binder> {
        let password = Some(Secret::new("not-this-one"));
        Some(Binder {
            password,
            ..self.binder()
        })
    }

    fn is_durable(&self) -> bool {
        true
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
        let engine = self.engine.clone();
        Box::pin(blocking(move || engine.kill()))
    }

    fn restart(&self) -> Doing<'_, ()> {
        let engine = self.engine.clone();
        Box::pin(blocking(move || engine.restart()))
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
    let binder = Binder {
        slug: "main".to_owned(),
        url: "tls://localhost".to_owned(),
        username: Some("tributary".to_owned()),
        password: Some(Secret::new("secret")),
        trusted_roots: None,
    };
    adapter.check_binder(&binder).expect("it is fit");
    let nobody = Binder {
        username: None,
        password: None,
        ..binder.clone()
    };
    adapter.check_binder(&nobody).expect("it is fit");
    let change = |change: fn(&mut Binder)| {
        let mut binder = binder.clone();
        change(&mut binder);
        adapter
            .check_binder(&binder)
            .expect_err("it is unfit")
            .field
    };
    assert_eq!(change(|binder| binder.url = "mq".to_owned()), "url");
    assert_eq!(change(|binder| binder.password = None), "password");
    assert_eq!(
        change(|binder| binder.trusted_roots = Some("x".to_owned())),
        "trusted_roots"
    );
    let unfit = |binding: Binding| {
        adapter
            .check_binding(&binding)
            .expect_err("it is unfit")
            .field
    };
    adapter
        .check_binding(&binding("a.b", 1))
        .expect("it is fit");
    assert_eq!(unfit(binding("", 1)), "destination");
    assert_eq!(unfit(binding("orders.*", 1)), "destination");
    assert_eq!(unfit(binding("$JS.API.INFO", 1)), "destination");
    assert_eq!(unfit(binding(&"q".repeat(250), 1)), "destination");
    assert_eq!(unfit(binding("q", 0)), "prefetch");
    let group = Binding {
        group: "a.b".to_owned(),
        ..binding("q", 1)
    };
    assert_eq!(unfit(group), "group");
}
